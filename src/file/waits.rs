//! Waits of one process for another.

use super::schedule;
use crate::error::{Error, ErrorKind};
use alloc::format;
use core::time::Duration;

/// The time spent waiting for another process, in short naps. It is measured with the clock, because a nap may take
/// longer than planned.
#[derive(Default)]
pub(crate) struct Waits {
    since: Option<Duration>,
}

impl Waits {
    pub(crate) fn has_waited(&self) -> bool {
        self.since.is_some()
    }

    pub(crate) fn waited(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| schedule::now().saturating_sub(since))
    }

    /// Sleeps for a moment while another process sends a request to `host`.
    ///
    /// # Errors
    ///
    /// [`timeout`](Waits::timeout) if the waits have already taken `patience`.
    pub(crate) fn wait(&mut self, patience: Duration, host: &str) -> Result<(), Error> {
        self.since.get_or_insert_with(schedule::now);
        let waited = self.waited();
        if waited >= patience {
            return Err(self.timeout(host));
        }
        // As long as all waits so far, which keeps a short wait short and makes a long one cheap.
        let length = waited.clamp(Duration::from_millis(1), Duration::from_millis(50));
        schedule::sleep(length.min(patience.saturating_sub(waited)));
        Ok(())
    }

    /// Returns the error of a wait that has taken too long.
    pub(crate) fn timeout(&self, host: &str) -> Error {
        let seconds = self.waited().as_secs();
        Error::new(
            ErrorKind::Unreachable,
            format!("another process has been asking {host} for {seconds} s and has not finished"),
        )
    }
}
