//! Standard error. A process with a duty of its own never waits for whoever reads it: a line that cannot be written at
//! once is dropped, counted and reported later.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{SendFlags, send};
use std::fs::File;
use std::io::{self, Write};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a line is written without waiting.
enum Way {
    /// A pipe or a terminal, opened again: the flag that makes writes fail instead of wait then belongs to this process
    /// alone.
    Own(File),
    /// A socket takes the flag with each write.
    Socket,
    /// A regular file never makes a writer wait.
    Regular,
    /// A pipe or a terminal of another user, which cannot be opened again. It is asked first whether it has room.
    Shared,
}

static WAY: OnceLock<Way> = OnceLock::new();
static LOST: AtomicUsize = AtomicUsize::new(0);

/// The longest line in bytes. With the report of lost lines it fits into a pipe that says it has room (4096 bytes).
const MAX_LINE: usize = 3072;

/// From now on no line waits for a reader.
pub(crate) fn never_wait() {
    WAY.get_or_init(|| {
        let stderr = rustix::stdio::stderr();
        let kind = rustix::fs::fstat(stderr).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match rustix::fs::open("/dev/fd/2", flags, Mode::empty()) {
                    Ok(own) => Way::Own(own.into()),
                    Err(_) => Way::Shared,
                }
            }
            _ => Way::Regular,
        }
    });
}

/// Writes one line. Where it cannot be written there is nobody to tell.
pub(crate) fn line(text: &str) {
    let Some(way) = WAY.get() else {
        let _ = writeln!(io::stderr(), "{text}");
        return;
    };
    let lost = LOST.swap(0, Ordering::Relaxed);
    let report = match lost {
        0 => String::new(),
        lost => format!("keyfob: {lost} lines before this one were dropped, because nobody read standard error\n"),
    };
    let line = format!("{report}{}\n", shorten(text, MAX_LINE));
    if !way.write(line.as_bytes()) {
        LOST.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
    }
}

/// Where a program that is started prints: to standard error, unless it could fill what this process has to write to.
pub(crate) fn for_child() -> Stdio {
    match WAY.get() {
        Some(Way::Shared) => Stdio::null(),
        _ => io::stderr().into(),
    }
}

/// The text, cut to so many bytes.
pub(crate) fn shorten(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

impl Way {
    /// Writes the whole line, or tells that it could not.
    fn write(&self, line: &[u8]) -> bool {
        let stderr = rustix::stdio::stderr();
        let count = match self {
            Self::Own(file) => (&*file).write(line).ok(),
            Self::Socket => send(stderr, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok(),
            Self::Regular => rustix::io::write(stderr, line).ok(),
            Self::Shared => {
                let mut room = [PollFd::new(&stderr, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                match poll(&mut room, Some(&now)) {
                    Ok(1) => rustix::io::write(stderr, line).ok(),
                    _ => None,
                }
            }
        };
        count == Some(line.len())
    }
}
