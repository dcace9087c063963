//! Files that several processes read and replace: whole at every moment, and one process at a time works on them.
//!
//! The lock is `flock` on the file itself, so a process that dies gives it back and nothing is left over. A file is
//! replaced by renaming a new one over it; the new one is locked before it takes the old one's place, so whoever comes
//! meanwhile waits as well.

pub(crate) mod schedule;

use crate::clock::{BootClock, Clock};
use crate::error::{Error, ErrorKind};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use zeroize::Zeroizing;

/// A place for a file: a name in an open directory, so that nobody can put another directory in its way.
#[derive(Clone)]
pub(crate) struct Slot {
    directory: Arc<OwnedFd>,
    name: String,
}

/// A turn: until it is dropped, no other process has it.
pub(crate) struct Lock(File);

impl Slot {
    pub(crate) fn new(directory: Arc<OwnedFd>, name: impl Into<String>) -> Self {
        Self { directory, name: name.into() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The content of a file that is this user's, closed to others, no link and at most `most` bytes long.
    pub(crate) fn read(&self, most: usize) -> io::Result<Zeroizing<alloc::vec::Vec<u8>>> {
        let mut file = self.open(OFlags::empty())?;
        let stat = fs::fstat(&file)?;
        if !is_private(&stat) || stat.st_size as usize > most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Zeroizing::new(alloc::vec![0; stat.st_size as usize]);
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes the lock, unless somebody has it. `make` makes an empty file where there is none.
    pub(crate) fn try_lock(&self, make: bool) -> io::Result<Option<Lock>> {
        // Each round but the last means that the file was just replaced, so many are no accident.
        for _ in 0..100 {
            let file = self.open(if make { OFlags::CREATE } else { OFlags::empty() })?;
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                other => other?,
            }
            schedule::point();
            // Another file may have taken its place by now, and then this lock keeps nobody out.
            let lock = Lock(file);
            if self.is_locked_by(&lock)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Returns whether the file in this place is the one that is locked: another process may have replaced or removed it.
    pub(crate) fn is_locked_by(&self, lock: &Lock) -> io::Result<bool> {
        let here = fs::fstat(&lock.0)?;
        match fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Returns whether the file was last written at least `age` ago, by the wall clock and by `uptime` both: either alone
    /// may be wrong, and no file in memory is older than the boot.
    pub(crate) fn is_older_than(&self, age: Duration, uptime: Duration) -> bool {
        let Ok(stat) = fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        now.saturating_sub(written).min(uptime) >= age
    }

    pub(crate) fn draft_name(&self) -> String {
        format!(".{}.new", self.name)
    }

    /// Puts a draft that was left into its place: whoever wrote it was killed before, or was not let. Returns the lock on
    /// it. None where there is none, or it is not whole, or the file was written since.
    pub(crate) fn finish(&self, old: &Lock) -> io::Result<Option<Lock>> {
        let draft = Self { directory: self.directory.clone(), name: self.draft_name() };
        let Ok(Some(lock)) = draft.try_lock(false) else { return Ok(None) };
        let (left, own) = (fs::fstat(&lock.0)?, fs::fstat(&old.0)?);
        let is_like = (left.st_uid, left.st_mode) == (own.st_uid, own.st_mode);
        let is_newer = (left.st_mtime, left.st_mtime_nsec) >= (own.st_mtime, own.st_mtime_nsec);
        let content = lock.content()?;
        // The room that was taken up goes last, and what a power cut left unwritten reads as zeros.
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

    /// Whether the file is a mount point of its own, as a container's volume of a single file is: no rename replaces it.
    /// An error where it, or its directory, is marked immutable or append-only. Before Linux 5.8 the kernel does not say,
    /// and then the rename fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn is_mount_point(&self) -> io::Result<bool> {
        use fs::{StatxAttributes as Attributes, StatxFlags, statx};
        let attributes = |name: &str| {
            statx(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
                .map_or(Attributes::empty(), |stat| stat.stx_attributes)
        };
        let file = attributes(&self.name);
        match file.union(attributes(".")).intersects(Attributes::IMMUTABLE | Attributes::APPEND) {
            true => Err(Errno::PERM.into()),
            false => Ok(file.contains(Attributes::MOUNT_ROOT)),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn is_mount_point(&self) -> io::Result<bool> {
        Ok(false)
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
            // A file system that cannot: the draft beside it has the room.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = size;
        Ok(file.into())
    }

    /// Writes the contents of a whole draft over the file, and removes the draft once they would survive a power cut.
    fn copy_over(&self, draft: &File, file: &File, contents: &[&[u8]]) -> io::Result<()> {
        // A crash leaves the file torn, and younger than the draft. So the draft is from tomorrow until all is written.
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

    /// A new file that is to take this one's place, with its mode and owner, or for this user alone.
    pub(crate) fn draft(&self, like: Option<&Lock>) -> io::Result<Draft> {
        let name = self.draft_name();
        // What a process left that was killed.
        let _ = fs::unlinkat(&self.directory, &name, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
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

    /// Makes a new file for this user alone that is to take this one's place. Its name is its own, so processes that write at the
    /// same time do not meet, and what a killed one left is found by [`place_of_draft`].
    pub(crate) fn own_draft(&self) -> io::Result<Draft> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, moment) = (std::process::id(), BootClock.now().as_nanos());
        let name = format!(".{}.{process}-{}-{moment}.new", self.name, COUNT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
        fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Draft { slot: self.clone(), name, file: Some(file) })
    }

    pub(crate) fn remove(&self) {
        schedule::point();
        let _ = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }

    fn open(&self, flags: OFlags) -> io::Result<File> {
        // A pipe in its place must not be waited for.
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.directory, &self.name, flags, Mode::RUSR | Mode::WUSR)?;
        match FileType::from_raw_mode(fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Lock {
    /// The content of the file, from its beginning.
    pub(crate) fn content(&self) -> io::Result<Zeroizing<alloc::vec::Vec<u8>>> {
        let length = fs::fstat(&self.0)?.st_size as usize;
        let mut bytes = Zeroizing::new(alloc::vec![0; length.min(64 * 1024)]);
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// How many names (hard links) the file has.
    pub(crate) fn names(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.nlink())
    }
}

/// Writes `contents` over the file, to the disk.
fn overwrite(file: &File, contents: &[&[u8]]) -> io::Result<()> {
    let mut offset = 0;
    for content in contents {
        file.write_all_at(content, offset)?;
        offset += content.len() as u64;
    }
    file.set_len(offset)?;
    file.sync_all()
}

/// Dates a draft `ahead` seconds after now, and after the file that it is to replace: the clock may have been set back.
fn date(draft: &File, file: &File, ahead: i64) -> io::Result<()> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let newest = now.tv_sec.max(file.metadata()?.mtime().saturating_add(1));
    let at = rustix::time::Timespec { tv_sec: newest.saturating_add(ahead), tv_nsec: 0 };
    Ok(fs::futimens(draft, &fs::Timestamps { last_access: at, last_modification: at })?)
}

/// Whether nobody else can read it or has put it there.
pub(crate) fn is_private(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0
}

/// Returns the name of the place that a draft of this name was made for by [`Slot::own_draft`].
pub(crate) fn place_of_draft(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".new")?.rsplit_once('.').map(|(place, _)| place)
}

/// How long another process has been waited for, in short naps. The clock is asked, for a nap takes as long as the machine,
/// or whoever stops the process, makes it.
#[derive(Default)]
pub(crate) struct Waits {
    since: Option<Duration>,
}

impl Waits {
    pub(crate) fn has_waited(&self) -> bool {
        self.since.is_some()
    }

    pub(crate) fn waited(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| schedule::now().saturating_sub(since))
    }

    /// Waits a little for the process that asks `host`.
    ///
    /// # Errors
    ///
    /// [`is_over`](Waits::is_over) where that has taken `patience` already.
    pub(crate) fn wait(&mut self, patience: Duration, host: &str) -> Result<(), Error> {
        self.since.get_or_insert_with(schedule::now);
        let waited = self.waited();
        if waited >= patience {
            return Err(self.is_over(host));
        }
        // As long as was waited already, so that a short wait stays short and a long one costs little.
        let length = waited.clamp(Duration::from_millis(1), Duration::from_millis(50));
        schedule::sleep(length.min(patience.saturating_sub(waited)));
        Ok(())
    }

    /// Returns the error of a wait that has taken too long.
    pub(crate) fn is_over(&self, host: &str) -> Error {
        let seconds = self.waited().as_secs();
        Error::new(
            ErrorKind::Unreachable,
            format!("another process has been asking {host} for {seconds} s, and is not done"),
        )
    }
}

/// A file that is being written, and is gone if it is dropped unfinished.
pub(crate) struct Draft {
    slot: Slot,
    name: String,
    file: Option<File>,
}

impl Draft {
    /// Takes up room, so that a full disk shows before it is too late.
    pub(crate) fn reserve(&mut self, size: usize) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&alloc::vec![b' '; size])?;
        io::Seek::rewind(file)
    }

    /// Puts this file, with these contents, into the place of the old one; returns the lock on it. With `durable` it is
    /// there after a power cut too.
    pub(crate) fn commit(mut self, contents: &[&[u8]], durable: bool) -> Result<Lock, Unfinished> {
        let file = self.write(contents, durable)?;
        schedule::point();
        match fs::renameat(&self.slot.directory, &self.name, &self.slot.directory, &self.slot.name) {
            Ok(()) => {
                schedule::point();
                // Not every file system can; the file itself is safe by now.
                if durable {
                    let _ = fs::fsync(&self.slot.directory);
                }
                Ok(Lock(file))
            }
            // It is all there is, so it stays.
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
}

impl Draft {
    /// Writes these contents over `old`, which no rename replaces; this file has them until they are on the disk.
    pub(crate) fn commit_over(mut self, contents: &[&[u8]], old: &File) -> Result<(), Unfinished> {
        let file = self.write(contents, true)?;
        self.slot
            .copy_over(&file, old, contents)
            .map_err(|error| Unfinished { error, left_in: Some(self.name.clone()) })
    }

    /// Writes the contents; from then on the file stays if this is dropped.
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

/// A file that could not be replaced, and the name of the new one where that is whole.
pub(crate) struct Unfinished {
    pub(crate) error: io::Error,
    pub(crate) left_in: Option<String>,
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Self { error, left_in: None }
    }
}
