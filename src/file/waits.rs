//! How long one process waits for another.

use super::schedule;
use crate::error::{Error, ErrorKind};
use alloc::format;
use core::time::Duration;

/// The time spent waiting for another process, in short naps. It is measured with the clock, because a nap may take longer than
/// it should.
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

    /// Sleeps for a moment, while another process asks `host`.
    ///
    /// # Errors
    ///
    /// [`timeout`](Waits::timeout) if the waits have taken `patience` already.
    pub(crate) fn wait(&mut self, patience: Duration, host: &str) -> Result<(), Error> {
        self.since.get_or_insert_with(schedule::now);
        let waited = self.waited();
        if waited >= patience {
            return Err(self.timeout(host));
        }
        // As long as the waits so far, so that a short wait stays short and a long one costs little.
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
