//! Replaces files: a draft is written in full, and then takes the file's place.

use super::{Lock, Slot, schedule};
use crate::clock::{BootClock, Clock};
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

impl Slot {
    pub(crate) fn draft_name(&self) -> String {
        format!(".{}.new", self.name)
    }

    /// Moves the draft of an interrupted process into its place, and returns the lock on it. `None` if there is no
    /// draft, it is incomplete, or the file was written since.
    pub(crate) fn finish(&self, old: &Lock) -> io::Result<Option<Lock>> {
        let draft = Self { directory: self.directory.clone(), name: self.draft_name() };
        let Ok(Some(lock)) = draft.try_lock(false) else { return Ok(None) };
        let (left, own) = (fs::fstat(&lock.0)?, fs::fstat(&old.0)?);
        let is_like = (left.st_uid, left.st_mode) == (own.st_uid, own.st_mode);
        let is_newer = (left.st_mtime, left.st_mtime_nsec) >= (own.st_mtime, own.st_mtime_nsec);
        let content = lock.content()?;
        // The reserved room is cut off last, and data that a power cut lost reads as zeros.
        let is_whole = !content.contains(&0) && content.last().is_some_and(|last| *last != b' ');
        if !(is_like && is_newer && is_whole) {
            return Ok(None);
        }
        lock.0.sync_all()?;
        match fs::renameat(&self.directory, &draft.name, &self.directory, &self.name) {
            Err(Errno::BUSY) => {
                self.copy_over(&lock.0, &self.writable(old, content.len())?, &[&content])?;
                Ok(None)
            }
            result => {
                result?;
                let _ = fs::fsync(&self.directory);
                Ok(Some(lock))
            }
        }
    }

    /// Opens the file to be written in place, and reserves room for `size` bytes without changing its length.
    pub(crate) fn writable(&self, lock: &Lock, size: usize) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.directory, &self.name, flags, Mode::empty())?;
        let (own, locked) = (fs::fstat(&file)?, fs::fstat(&lock.0)?);
        if (own.st_dev, own.st_ino) != (locked.st_dev, locked.st_ino) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        match fs::fallocate(&file, fs::FallocateFlags::KEEP_SIZE, 0, size as u64) {
            // A file system that cannot reserve room: the draft already occupies as much.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = size;
        Ok(file.into())
    }

    /// Writes the contents of a complete draft over the file. Removes the draft once the contents would survive a power
    /// cut.
    fn copy_over(&self, draft: &File, file: &File, contents: &[&[u8]]) -> io::Result<()> {
        // A crash leaves the file incomplete and newer than the draft, so the draft is dated tomorrow until all is
        // written.
        date(draft, file, 24 * 60 * 60)?;
        draft.sync_all()?;
        let _ = fs::fsync(&self.directory);
        if let Err(error) = overwrite(file, contents) {
            let _ = date(draft, file, 0);
            return Err(error);
        }
        let _ = fs::unlinkat(&self.directory, self.draft_name(), AtFlags::empty());
        let _ = fs::fsync(&self.directory);
        Ok(())
    }

    /// Creates the file that will take this one's place: with the mode and owner of `like`, or for this user alone.
    pub(crate) fn draft(&self, like: Option<&Lock>) -> io::Result<Draft> {
        let name = self.draft_name();
        // Removes the draft of a killed process.
        let _ = fs::unlinkat(&self.directory, &name, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
            // For example, a directory.
            Errno::EXIST => io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} is in the way")),
            error => error.into(),
        })?;
        let file = File::from(file);
        let draft = Draft { slot: self.clone(), name, file: Some(file) };
        let Some(file) = &draft.file else { return Err(io::ErrorKind::Other.into()) };
        if let Some(Lock(like)) = like {
            let (like, own) = (fs::fstat(like)?, fs::fstat(file)?);
            if (like.st_uid, like.st_gid) != (own.st_uid, own.st_gid) {
                fs::fchown(file, Some(fs::Uid::from_raw(like.st_uid)), Some(fs::Gid::from_raw(like.st_gid)))?;
            }
            fs::fchmod(file, Mode::from_raw_mode(like.st_mode & 0o7777))?;
        }
        fs::flock(file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(draft)
    }

    /// Creates a file for this user alone that will take this one's place. Its name is unique, so processes that write at the
    /// same time do not collide. [`place_of_draft`] recognises one that a killed process left.
    pub(crate) fn own_draft(&self) -> io::Result<Draft> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, moment) = (std::process::id(), BootClock.now().as_nanos());
        let name = format!(".{}.{process}-{}-{moment}.new", self.name, COUNT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
        fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Draft { slot: self.clone(), name, file: Some(file) })
    }
}

/// Writes `contents` over the file and syncs it to the disk.
fn overwrite(file: &File, contents: &[&[u8]]) -> io::Result<()> {
    let mut offset = 0;
    for content in contents {
        file.write_all_at(content, offset)?;
        offset += content.len() as u64;
    }
    file.set_len(offset)?;
    file.sync_all()
}

/// Dates a draft `ahead` seconds after now, and after the file that it will replace: the clock may have been set back.
fn date(draft: &File, file: &File, ahead: i64) -> io::Result<()> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let newest = now.tv_sec.max(file.metadata()?.mtime().saturating_add(1));
    let at = rustix::time::Timespec { tv_sec: newest.saturating_add(ahead), tv_nsec: 0 };
    Ok(fs::futimens(draft, &fs::Timestamps { last_access: at, last_modification: at })?)
}

/// Returns the name of the file that [`Slot::own_draft`] made this draft for.
pub(crate) fn place_of_draft(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".new")?.rsplit_once('.').map(|(place, _)| place)
}

/// A file that is being written. It is removed if it is dropped before it is complete.
pub(crate) struct Draft {
    slot: Slot,
    name: String,
    file: Option<File>,
}

impl Draft {
    /// Writes `size` bytes of filler, so that a full disk is noticed in time.
    pub(crate) fn reserve(&mut self, size: usize) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&alloc::vec![b' '; size])?;
        io::Seek::rewind(file)
    }

    /// Writes the contents and moves the file into the place of the old one. Returns the lock on it. With `durable` it
    /// survives a power cut.
    pub(crate) fn commit(mut self, contents: &[&[u8]], durable: bool) -> Result<Lock, Unfinished> {
        let file = self.write(contents, durable)?;
        schedule::point();
        match fs::renameat(&self.slot.directory, &self.name, &self.slot.directory, &self.slot.name) {
            Ok(()) => {
                schedule::point();
                // Not every file system can sync a directory; the file itself is safe by now.
                if durable {
                    let _ = fs::fsync(&self.slot.directory);
                }
                Ok(Lock(file))
            }
            // The draft may be the only copy of the contents, so it is kept.
            Err(error) if durable => {
                let _ = fs::fsync(&self.slot.directory);
                Err(Unfinished { error: error.into(), left_in: Some(self.name.clone()) })
            }
            Err(error) => {
                self.file = Some(file);
                Err(io::Error::from(error).into())
            }
        }
    }

    /// Writes the contents over `old`, which a rename cannot replace. The draft keeps them until they are on the disk.
    pub(crate) fn commit_over(mut self, contents: &[&[u8]], old: &File) -> Result<(), Unfinished> {
        let file = self.write(contents, true)?;
        self.slot
            .copy_over(&file, old, contents)
            .map_err(|error| Unfinished { error, left_in: Some(self.name.clone()) })
    }

    /// Writes the contents. From then on the file is kept when this is dropped.
    fn write(&mut self, contents: &[&[u8]], durable: bool) -> io::Result<File> {
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::Other.into()) };
        let mut write = || -> io::Result<()> {
            contents.iter().try_for_each(|content| file.write_all(content))?;
            file.set_len(contents.iter().map(|content| content.len() as u64).sum())?;
            if durable { file.sync_all() } else { Ok(()) }
        };
        match write() {
            Ok(()) => Ok(file),
            Err(error) => {
                self.file = Some(file);
                Err(error)
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::unlinkat(&self.slot.directory, &self.name, AtFlags::empty());
        }
    }
}

/// The reason why a file could not be replaced, and the name of the draft if that is complete.
pub(crate) struct Unfinished {
    pub(crate) error: io::Error,
    pub(crate) left_in: Option<String>,
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Self { error, left_in: None }
    }
}
