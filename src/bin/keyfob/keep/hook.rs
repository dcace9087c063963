//! The command that `keep` starts after each renewal.

use super::SOON;
use crate::events::Events;
use crate::{output, stderr};
use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

/// The command. It runs once at a time and never gets the token.
pub(super) struct Hook {
    words: Vec<String>,
    /// The variables that the command does not inherit.
    secret_variables: Vec<String>,
    /// The thread that starts the command and waits for its end: the program may be on a file system that never
    /// answers.
    running: Option<Receiver<io::Result<ExitStatus>>>,
    pub(super) is_due: bool,
    /// When the start is repeated, if the system lacked room for a process or thread.
    pub(super) again: Option<Duration>,
}

impl Hook {
    pub(super) fn new(words: Vec<String>, secret_variables: Vec<String>) -> Self {
        Self { words, secret_variables, running: None, is_due: false, again: None }
    }

    /// Starts the command if it is due and the previous run has ended.
    pub(super) fn go_on(&mut self, now: Duration, events: &Events) {
        match self.running.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(Ok(status))) if !status.success() => output::note(&format!("keyfob: --on-renew: {status}")),
            Some(Ok(Err(error))) => self.failed(now, &error),
            _ => {}
        }
        self.running = None;
        let [program, arguments @ ..] = &self.words[..] else { return };
        if !self.is_due || self.again.is_some_and(|again| now < again) {
            return;
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(stderr::for_child()).stderr(stderr::for_child());
        for variable in self.secret_variables.iter().map(String::as_str).chain(["NOTIFY_SOCKET"]) {
            command.env_remove(variable);
        }
        (self.is_due, self.again) = (false, None);
        let (send, ended) = sync_channel(1);
        let wake = events.waker();
        let work = move || {
            let _ = send.send(command.status());
            wake();
        };
        match std::thread::Builder::new().name("keyfob-hook".into()).spawn(work) {
            Ok(_) => self.running = Some(ended),
            Err(error) => self.failed(now, &error),
        }
    }

    /// Reports a failed start. If the system lacked room, the start is repeated.
    fn failed(&mut self, now: Duration, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            (self.is_due, self.again) = (true, Some(now + SOON));
        }
        let program = self.words.first().map_or("", String::as_str);
        output::note(&format!("keyfob: --on-renew: {program}: {}", output::reason(error)));
    }
}
