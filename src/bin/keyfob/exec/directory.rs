//! A directory of one run's own, with the file of its token. Its lock says that the run is still there: what a killed one
//! left goes at the next start, whatever has its process number by then.

use crate::output;
use keyfob::{Error, ErrorKind};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

const PREFIX: &str = "keyfob-exec-";

/// As many runs with the same process number, in containers that share the place, are no accident.
const MOST: usize = 100;

impl Directory {
    /// Makes it in the place where the cache is, or would be.
    pub(crate) fn make(place: &Path) -> Result<Self, Error> {
        let make = || {
            // A program with another working directory finds it, too.
            let place = fs::canonicalize(place)?;
            sweep(&place);
            for number in 0..MOST {
                let path = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
                match DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                }
                // A run that starts at the same time may have taken it for a leftover.
                if let Some(lock) = lock(&path) {
                    return Ok(Self { path, _lock: lock });
                }
            }
            Err(io::ErrorKind::AlreadyExists.into())
        };
        make().map_err(|error: io::Error| {
            let why = format!("exec: no directory for the token in {}: {}", place.display(), output::reason(&error));
            Error::new(ErrorKind::Config, why).with_source(error)
        })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path.join("token")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of runs that were killed.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            let _lock = lock(&entry.path()).inspect(|_| drop(fs::remove_dir_all(entry.path())));
        }
    }
}

/// Returns the lock on a directory of this user's, if nobody has it and the directory is still there.
fn lock(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(open(path, flags, Mode::empty()).ok()?);
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    let own = directory.metadata().ok()?;
    let there = fs::symlink_metadata(path).ok()?;
    let is_own = own.uid() == rustix::process::geteuid().as_raw();
    (is_own && (own.dev(), own.ino()) == (there.dev(), there.ino())).then_some(directory)
}
