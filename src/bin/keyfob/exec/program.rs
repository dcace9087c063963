//! The program that `exec` runs. It is in the same process group and on the same terminal, so the signals of a terminal
//! and of a shell's job control reach it directly. Signals sent to keyfob alone are passed on.

use super::SOON_KILLED;
use crate::events::{Events, Received};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getsid, kill_process, waitpid};
use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

pub(crate) const PASSED_ON: &[i32] =
    &[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH];

/// The action for a token that is about to expire without a newer one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Keep,
    Signal(Signal),
    Stop,
}

pub(crate) struct Program {
    id: Pid,
    at_end: AtEnd,
    /// The time at which it is killed if it did not stop.
    pub(crate) kill_at: Option<Duration>,
    /// Its exit status, unless something else has waited for it.
    status: Option<WaitStatus>,
}

/// A change in the program's state.
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

    /// Passes signals on, and returns whether the program has changed its state.
    pub(crate) fn go_on(&mut self, now: Duration, events: &mut Events) -> Change {
        for Received { signal, is_by_kernel } in events.received() {
            // The kernel reports a closed terminal only to the leader of its session.
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

    /// Takes the action for the end of the token.
    pub(crate) fn token_ended(&mut self, now: Duration) {
        match self.at_end {
            AtEnd::Keep => {}
            AtEnd::Signal(signal) => self.send(signal),
            AtEnd::Stop => {
                self.send(Signal::TERM);
                // A stopped program cannot end.
                self.send(Signal::CONT);
                self.kill_at = self.kill_at.or(Some(now + SOON_KILLED));
            }
        }
    }

    /// Continues the program, because keyfob was continued.
    pub(crate) fn go_on_too(&self) {
        self.send(Signal::CONT);
    }

    /// Sends a signal. The program has not been waited for, so the process number is still its own.
    fn send(&self, signal: Signal) {
        let _ = kill_process(self.id, signal);
    }

    /// Ends as the program did: with its exit code, or through the same signal.
    pub(crate) fn end(self) -> ExitCode {
        let Some(status) = self.status else { return ExitCode::FAILURE };
        if let Some(signal) = status.terminating_signal() {
            // The first process of a container cannot end itself through a signal.
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

/// The signals with a name in `--at-end 'signal NAME'`.
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
