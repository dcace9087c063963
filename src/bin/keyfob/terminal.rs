//! Reads a secret that a person types. The terminal does not show it, and its settings are restored in any case.

use keyfob::{Error, ErrorKind, Secret};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Prompts for the secret on standard error and reads one line.
pub(crate) fn read_secret(terminal: File, name: &str) -> Result<Secret, Error> {
    let fail = |_| Error::new(ErrorKind::Config, "standard input: the terminal cannot be kept from showing a secret");
    let mut typed = Typed { quiet: Quiet::new(terminal).map_err(fail)?, signals: Signals::new(), is_whole: false };
    let _ = write!(std::io::stderr(), "{name}: ");
    let secret = Secret::read_from(&mut typed, "standard input");
    let signal = typed.signals.seen();
    drop(typed);
    let _ = writeln!(std::io::stderr());
    if signal != 0 {
        // The signal was held back, and ends the process now.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    secret
}

/// A terminal that does not show typed characters.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> rustix::io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // A process that is stopped (Ctrl-Z) would leave the terminal without echo.
        quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    /// Restores the terminal. Discards further input, which may also be secret and must not reach the shell.
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// The signals that end a process, held back until the terminal is restored.
struct Signals {
    seen: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    fn new() -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let register = |signal| signal_hook::flag::register_usize(signal, seen.clone(), signal as usize).ok();
        let registered = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter_map(register).collect();
        Self { seen, registered }
    }

    /// Returns the last signal, or 0.
    fn seen(&self) -> i32 {
        self.seen.load(Ordering::Relaxed) as i32
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// A line from the terminal.
struct Typed {
    quiet: Quiet,
    signals: Signals,
    is_whole: bool,
}

impl Read for &mut Typed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while !self.is_whole && self.signals.seen() == 0 {
            // With a limit, because a signal may arrive just before the wait.
            let nap = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let mut descriptors = [PollFd::new(&self.quiet.terminal, PollFlags::IN)];
            if poll(&mut descriptors, Some(&nap)).is_ok_and(|count| count > 0) {
                let count = self.quiet.terminal.read(buffer)?;
                self.is_whole = count == 0 || buffer[..count].contains(&b'\n');
                return Ok(count);
            }
        }
        Ok(0)
    }
}
