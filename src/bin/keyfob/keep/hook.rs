//! The command that `keep` starts after each renewal.

use super::SOON;
use crate::events::Events;
use crate::{output, stderr};
use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

/// The command: one at a time, and never with the token.
pub(super) struct Hook {
    words: Vec<String>,
    /// The variables that it does not inherit.
    secret_variables: Vec<String>,
    /// A thread starts it and waits for its end: a program may be on a file system that never answers.
    running: Option<Receiver<io::Result<ExitStatus>>>,
    pub(super) is_due: bool,
    /// When it is tried again, if the system had no room for a process or thread.
    pub(super) again: Option<Duration>,
}

impl Hook {
    pub(super) fn new(words: Vec<String>, secret_variables: Vec<String>) -> Self {
        Self { words, secret_variables, running: None, is_due: false, again: None }
    }

    /// Starts it if it is due and the previous one has ended.
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

    /// Reports that it could not be started. If the system had no room for it, it is tried again.
    fn failed(&mut self, now: Duration, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            (self.is_due, self.again) = (true, Some(now + SOON));
        }
        let program = self.words.first().map_or("", String::as_str);
        output::note(&format!("keyfob: --on-renew: {program}: {}", output::reason(error)));
    }
}
