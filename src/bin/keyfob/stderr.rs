//! Standard error. A process with other duties never waits for its reader: a line that cannot be written at once is
//! dropped, counted and reported later.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{SendFlags, send};
use std::fs::File;
use std::io::{self, Write};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A way of writing a line without waiting.
enum Way {
    /// A pipe or a terminal, opened again: the flag that makes writes fail instead of wait then affects only this
    /// process.
    Own(File),
    /// A socket, which accepts the flag with each write.
    Socket,
    /// A regular file, which never makes a writer wait.
    Regular,
    /// A pipe or a terminal of another user, which cannot be opened again. Before each write it is checked for room.
    Shared,
}

static WAY: OnceLock<Way> = OnceLock::new();
static LOST: AtomicUsize = AtomicUsize::new(0);

/// The longest line in bytes. Together with the report of lost lines it fits into a pipe that reports room (4096
/// bytes).
const MAX_LINE: usize = 3072;

/// Makes every line from now on fail instead of waiting for a reader.
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

/// Writes one line. Ignores errors, because there is nowhere to report them.
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

/// Returns the standard error of a started program: this process's own, unless the program could fill a pipe that this
/// process writes to.
pub(crate) fn for_child() -> Stdio {
    match WAY.get() {
        Some(Way::Shared) => Stdio::null(),
        _ => io::stderr().into(),
    }
}

/// Returns the text, cut to this number of bytes.
pub(crate) fn shorten(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

impl Way {
    /// Writes the whole line. Returns whether that succeeded.
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
