//! The program that `exec` runs. It is in the same process group and has the same terminal, so what a terminal sends, and
//! what a shell does with its jobs, reaches it without keyfob. What is sent to keyfob alone is passed on.

use super::SOON_KILLED;
use crate::events::{Events, Received};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getsid, kill_process, waitpid};
use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The signals that are passed on.
pub(crate) const PASSED_ON: &[i32] =
    &[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH];

/// What is done when the token is about to expire, and no newer one came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Keep,
    Signal(Signal),
    Stop,
}

pub(crate) struct Program {
    id: Pid,
    at_end: AtEnd,
    /// When it is killed, because it did not stop.
    pub(crate) kill_at: Option<Duration>,
    /// How it ended, unless somebody else has waited for it.
    status: Option<WaitStatus>,
}

/// What became of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Stopped,
    Ended,
}

impl Program {
    pub(crate) fn start(mut command: Command, at_end: AtEnd) -> io::Result<Self> {
        let child = command.spawn()?;
        Ok(Self { id: Pid::from_child(&child), at_end, kill_at: None, status: None })
    }

    /// Passes signals on, and looks at what became of the program.
    pub(crate) fn go_on(&mut self, now: Duration, events: &mut Events) -> Change {
        for Received { signal, is_by_kernel } in events.received() {
            // A terminal that is gone is reported to the leader of its session alone.
            let is_for_leader = || signal == SIGHUP && getsid(None) == Ok(getpid());
            if let (Some(signal), true) = (named(signal), !is_by_kernel || is_for_leader()) {
                self.send(signal);
            }
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.send(Signal::KILL);
        }
        match waitpid(Some(self.id), WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(None) => Change::None,
            Ok(Some((_, status))) if status.stopped() => Change::Stopped,
            Ok(Some((_, status))) => {
                self.status = Some(status);
                Change::Ended
            }
            Err(rustix::io::Errno::INTR) => Change::None,
            Err(_) => Change::Ended,
        }
    }

    /// Does what is to be done when the token ends.
    pub(crate) fn token_ended(&mut self, now: Duration) {
        match self.at_end {
            AtEnd::Keep => {}
            AtEnd::Signal(signal) => self.send(signal),
            AtEnd::Stop => {
                self.send(Signal::TERM);
                // One that is stopped cannot end.
                self.send(Signal::CONT);
                self.kill_at = self.kill_at.or(Some(now + SOON_KILLED));
            }
        }
    }

    /// Continues the program, as keyfob was continued.
    pub(crate) fn go_on_too(&self) {
        self.send(Signal::CONT);
    }

    /// It has not been waited for, so the number is still its own.
    fn send(&self, signal: Signal) {
        let _ = kill_process(self.id, signal);
    }

    /// Ends as the program did: with its exit code, or by the same signal.
    pub(crate) fn end(self) -> ExitCode {
        let Some(status) = self.status else { return ExitCode::FAILURE };
        if let Some(signal) = status.terminating_signal() {
            // The first process of a container cannot end itself so.
            if getpid() != Pid::INIT {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            return ExitCode::from(128u8.saturating_add(signal as u8));
        }
        ExitCode::from(status.exit_status().unwrap_or(1) as u8)
    }
}

/// Stops this process until it is continued.
pub(crate) fn stop() {
    let _ = kill_process(getpid(), Signal::STOP);
}

fn named(signal: i32) -> Option<Signal> {
    Signal::from_named_raw(signal).filter(|signal| PASSED_ON.contains(&signal.as_raw()))
}

/// The signals that have a name in `--at-end 'signal NAME'`.
const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("WINCH", Signal::WINCH),
];

impl AtEnd {
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Some(match text.split_once(' ') {
            None if text == "keep" => Self::Keep,
            None if text == "stop" => Self::Stop,
            Some(("signal", name)) => {
                let name = name.strip_prefix("SIG").unwrap_or(name);
                Self::Signal(NAMES.iter().find(|(known, _)| *known == name)?.1)
            }
            _ => return None,
        })
    }
}
