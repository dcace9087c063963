//! Reads secrets from files, pipes and the environment.

use super::Secret;
use crate::error::Error;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Longer secrets are refused: a file of this size was named by mistake.
pub(crate) const MAX_SECRET: usize = 64 * 1024;

/// Returns a file's name for messages, with its whole path: the current directory is often not the expected one.
pub(super) fn file_origin(path: &std::path::Path) -> String {
    let whole = std::path::absolute(path);
    format!("secret file {}", whole.as_deref().unwrap_or(path).display())
}

pub(super) fn read_file(path: &std::path::Path) -> Result<Secret, Error> {
    text(&read_file_bytes(path)?).map_err(|why| Error::config(format!("{}: {why}", file_origin(path))))
}

/// Reads a file that need not be text.
pub(super) fn read_file_bytes(path: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fail = |why: &str| Error::config(format!("{}: {why}", file_origin(path)));
    let open = || {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = open().map_err(|error: std::io::Error| fail(&io_reason(&error)).with_source(error))?;
    if metadata.is_dir() {
        return Err(fail("it is a directory"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(fail("it is a device"));
        }
        if kind.is_fifo() {
            return read_bytes(Patient(file), MAX_SECRET).map_err(|why| fail(&why));
        }
    }
    if metadata.len() > MAX_SECRET as u64 {
        return Err(fail("it is longer than 64 KiB, so it cannot be a secret"));
    }
    // The length of a file is known, so the buffer has its final size. That of a pipe is not.
    let size = if metadata.is_file() { metadata.len() as usize } else { MAX_SECRET };
    read_bytes(file, size).map_err(|why| fail(&why))
}

#[cfg(not(unix))]
fn open_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}

/// Opens a file. Does not wait for the other end of a pipe.
#[cfg(unix)]
fn open_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// A pipe that is waited for: 30 s for each read.
#[cfg(unix)]
struct Patient(std::fs::File);

#[cfg(unix)]
impl Patient {
    const NAP: core::time::Duration = core::time::Duration::from_millis(5);
    const NAPS: u32 = 6000;
}

#[cfg(unix)]
impl std::io::Read for Patient {
    /// Waits for the first writer too: a pipe that nobody has opened yet reads like one that has ended.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, poll};
        for _ in 0..Self::NAPS {
            match self.0.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) => {
                    // It has ended only if there was somebody.
                    let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
                    let nothing = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
                    if poll(&mut descriptors, Some(&nothing)).is_ok_and(|count| count > 0) {
                        return Ok(0);
                    }
                }
                result => return result,
            }
            std::thread::sleep(Self::NAP);
        }
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

/// Reads a secret of at most `size` bytes, without one line end at its end. Never grows a buffer.
pub(super) fn read_text(reader: impl std::io::Read, size: usize) -> Result<Secret, String> {
    text(&read_bytes(reader, size)?)
}

/// Reads at most `size` bytes. Never grows a buffer.
fn read_bytes(mut reader: impl std::io::Read, size: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    // One byte more than expected, to see the end.
    let mut bytes = Zeroizing::new(alloc::vec![0; size + 1]);
    let mut length = 0;
    loop {
        match reader.read(&mut bytes[length..]) {
            Ok(0) if length > size => return Err("it is longer than 64 KiB, or grew while it was read".into()),
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_reason(&error)),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Returns a secret's text, without one line end at its end.
fn text(bytes: &[u8]) -> Result<Secret, String> {
    let text = bytes.strip_suffix(b"\n").map_or(bytes, |text| text.strip_suffix(b"\r").unwrap_or(text));
    match core::str::from_utf8(text) {
        Ok("") => Err("it is empty".into()),
        Ok(text) if text.starts_with('\u{FEFF}') => Err("it begins with a byte-order mark: save it without one".into()),
        Ok(text) if text.contains('\0') => Err("it holds a NUL, so it is not text".into()),
        Ok(text) => Ok(Secret::from(text)),
        Err(_) => Err("it is not UTF-8 text".into()),
    }
}

pub(super) fn read_environment(name: &str) -> Result<Secret, Error> {
    let fail = |why: &str| Error::config(format!("environment variable {name}: {why}"));
    let value = std::env::var_os(name).ok_or_else(|| fail("it is not set"))?;
    text(&Zeroizing::new(value.into_encoded_bytes())).map_err(|why| fail(&why))
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Returns why an operation on a file failed, in lower case and without the operating system's error number.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a directory".into(),
        // The error names the existing file.
        std::io::ErrorKind::AlreadyExists if error.get_ref().is_some() => format!("{error}"),
        // `std` has no kind for these.
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => "too many files are open".into(),
        kind => format!("{kind}"),
    }
}
