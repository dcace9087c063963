//! A directory for the token file of a single run. A lock on it shows that the run is still active. The next start
//! removes the directories of killed runs, even if another process has their process number by then.

use crate::output;
use keyfob::{Error, ErrorKind, Store};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

const PREFIX: &str = "keyfob-exec-";

/// More runs with the same process number, in containers that share the place, cannot be chance.
const MOST: usize = 100;

/// Returns the place for it: the service's own directory, which is removed with the service, or that of the cache.
pub(crate) fn place(store: Option<&Store>) -> Result<PathBuf, Error> {
    let names = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    // Others may read the place, which is systemd's default: the directories made in it are closed to them.
    let is_own = |path: &PathBuf| {
        let is_safe = |it: Metadata| it.is_dir() && it.uid() == geteuid().as_raw() && it.mode() & 0o022 == 0;
        path.is_absolute() && fs::symlink_metadata(path).is_ok_and(is_safe) && is_in_memory(path)
    };
    if let Some(own) = std::env::split_paths(&names).find(is_own) {
        return Ok(own);
    }
    if let Some(store) = store {
        return Ok(store.path().to_owned());
    }
    let store = Store::find().map_err(|error| {
        let reasons = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let hint = format!("hand it over by --env, --fd or --stdin, or name a directory (--cache-dir){reasons}");
        Error::new(ErrorKind::Config, "exec: no directory in memory for the token").with_hint(hint).with_source(error)
    })?;
    Ok(store.path().to_owned())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58F6;
    rustix::fs::statfs(path).is_ok_and(|system| [TMPFS, RAMFS].contains(&(system.f_type as u32)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_in_memory(_: &Path) -> bool {
    false
}

impl Directory {
    pub(crate) fn make(place: &Path) -> Result<Self, Error> {
        let make = || {
            // An absolute path also works for a program with another working directory.
            let place = fs::canonicalize(place)?;
            sweep(&place);
            for number in 0..MOST {
                let path = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
                match DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                }
                // A run that started at the same time may have removed it as a leftover.
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

/// Locks a directory that belongs to this user and that nobody else may enter. None if it is locked already or was
/// removed.
fn lock(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(open(path, flags, Mode::empty()).ok()?);
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    let own = directory.metadata().ok()?;
    let there = fs::symlink_metadata(path).ok()?;
    let is_own = own.uid() == geteuid().as_raw() && own.mode() & 0o077 == 0;
    (is_own && (own.dev(), own.ino()) == (there.dev(), there.ino())).then_some(directory)
}
