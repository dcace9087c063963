//! Files that several processes read and replace: complete at every moment, and changed by one process at a time.
//!
//! The lock is `flock` on the file itself, so a process that dies releases it and leaves nothing behind. A file is
//! replaced by renaming a new one over it. The new one is locked before that, so a process that arrives in the meantime
//! waits as well.

pub(crate) mod draft;
pub(crate) mod schedule;
pub(crate) mod waits;

use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use zeroize::Zeroizing;

/// A place for a file: a name in an open directory, so that nobody can put another directory in its way.
#[derive(Clone)]
pub(crate) struct Slot {
    directory: Arc<OwnedFd>,
    name: String,
}

/// The lock on a file. No other process gets it until it is dropped.
pub(crate) struct Lock(File);

impl Slot {
    pub(crate) fn new(directory: Arc<OwnedFd>, name: impl Into<String>) -> Self {
        Self { directory, name: name.into() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a file that belongs to this user, is closed to others, is not a link and has at most `most` bytes.
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

    /// Takes the lock. `None` if another process has it. With `make`, creates an empty file if there is none.
    pub(crate) fn try_lock(&self, make: bool) -> io::Result<Option<Lock>> {
        // Each repetition means that the file was just replaced, so this many cannot be chance.
        for _ in 0..100 {
            let file = self.open(if make { OFlags::CREATE } else { OFlags::empty() })?;
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                other => other?,
            }
            schedule::point();
            // If another file has taken its place in the meantime, this lock excludes nobody.
            let lock = Lock(file);
            if self.is_locked_by(&lock)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Returns whether the file in this place is the locked one: another process may have replaced or removed it.
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

    /// Returns whether the file was last written at least `age` ago, both by the wall clock and by `uptime`: either
    /// alone may be wrong, and no file in memory is older than the boot.
    pub(crate) fn is_older_than(&self, age: Duration, uptime: Duration) -> bool {
        let Ok(stat) = fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        now.saturating_sub(written).min(uptime) >= age
    }

    /// Returns whether the file is a mount point, such as a container's volume of a single file, which no rename can replace.
    /// Fails if the file or its directory is marked immutable or append-only. Before Linux 5.8 the kernel does not report
    /// either, and the rename fails instead.
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

    pub(crate) fn remove(&self) {
        schedule::point();
        let _ = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }

    fn open(&self, flags: OFlags) -> io::Result<File> {
        // Opening a pipe must not block.
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.directory, &self.name, flags, Mode::RUSR | Mode::WUSR)?;
        match FileType::from_raw_mode(fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Lock {
    /// Reads the file from its beginning, up to 64 KiB.
    pub(crate) fn content(&self) -> io::Result<Zeroizing<alloc::vec::Vec<u8>>> {
        let length = fs::fstat(&self.0)?.st_size as usize;
        let mut bytes = Zeroizing::new(alloc::vec![0; length.min(64 * 1024)]);
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Returns how many names (hard links) the file has.
    pub(crate) fn names(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.nlink())
    }
}

/// Returns whether the file belongs to this user and nobody else can read it.
pub(crate) fn is_private(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0
}
