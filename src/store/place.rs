//! The place of a store: directories of this user's own, the name of this boot, and the time namespace.

use crate::file;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The file with the kernel's name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the kernel's name for this boot.
pub(super) fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string(BOOT_ID)?;
    match text.trim() {
        "" => Err(io::Error::other("empty")),
        name => Ok(name.to_string()),
    }
}

/// Returns the message for a system without a name for its boots.
pub(super) fn no_boot(error: &io::Error) -> String {
    format!("the cache needs the name of this boot: cannot read {BOOT_ID}: {}", reason(error))
}

/// Names this process's boot clock. Each time namespace has its own clock, and a moment of one is meaningless in
/// another. The offset is part of the name, because the kernel reuses the numbers of namespaces.
pub(super) fn time_namespace() -> String {
    const INITIAL: u64 = 0xEFFF_FFFA;
    match fs::stat("/proc/self/ns/time") {
        Ok(stat) if stat.st_ino != INITIAL => {
            let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
            let offset = offsets.lines().find_map(|line| line.strip_prefix("boottime")).unwrap_or_default();
            let offset: Vec<&str> = offset.split_whitespace().collect();
            format!("{}.{}", stat.st_ino, offset.join("."))
        }
        // A kernel without time namespaces has one clock.
        _ => "0".to_string(),
    }
}

pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory of this name below `place`, and creates it if needed. A symbolic link is refused.
pub(super) fn own_directory(place: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::mkdirat(place, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::openat(place, name, flags, Mode::empty())?)
}

/// Returns the reason why this name is taken, if it is.
pub(super) fn taken(place: &OwnedFd, name: &str) -> Option<&'static str> {
    let stat = fs::statat(place, name, fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(match stat.st_uid == rustix::process::geteuid().as_raw() {
        true => "is not a directory for this user alone (chmod 700)",
        false => "belongs to another user",
    })
}

/// Returns the directory if it is on a file system in memory.
pub(super) fn in_memory(directory: OwnedFd) -> io::Result<OwnedFd> {
    in_memory_system(&directory)?;
    Ok(directory)
}

/// Returns the directory if it is this user's and closed to others (mode 0700).
pub(super) fn private(directory: OwnedFd) -> io::Result<OwnedFd> {
    match file::is_private(&fs::fstat(&directory)?) {
        true => Ok(directory),
        false => Err(io::Error::other("not this user's, or open to others")),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn in_memory_system(directory: &OwnedFd) -> io::Result<()> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58F6;
    match fs::fstatfs(directory)?.f_type as u32 {
        TMPFS | RAMFS => Ok(()),
        _ => Err(io::Error::other("not in memory")),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn in_memory_system(_: &OwnedFd) -> io::Result<()> {
    Err(io::Error::other("cannot find out whether it is in memory"))
}

/// Returns the reason of a failure in plain words.
pub(super) fn reason(error: &io::Error) -> String {
    match error.get_ref() {
        Some(own) => own.to_string(),
        None => crate::secret::io_reason(error),
    }
}
