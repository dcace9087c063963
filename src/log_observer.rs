//! Events as records of the `log` crate.

use crate::clock::Clock;
use crate::lifetime::Lifetime;
use crate::observe::{Event, Observer};
use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;
use log::{debug, info, warn};

/// Writes the events of a client and of the caches around it as records of the [`log`] crate, with the target `keyfob`. Needs
/// the feature `log`.
///
/// | level | records |
/// |---|---|
/// | debug | a request is sent; a call has waited for the fetch of another thread or process; a connection was made and secured |
/// | info | a fetch ended, with its status, its time and the token's lifetime or the error; a token came from the store |
/// | warn | a cache could not renew its token, with the error and the time until the next attempt |
///
/// No record at any level holds a secret, a token or a URL.
///
/// ```
/// use keyfob::{BootClock, Client, Endpoint, LogObserver};
///
/// # #[cfg(feature = "http")] {
/// let client = Client::new(Endpoint::new("https://as.example/token")?).observer(LogObserver::new(BootClock));
/// # }
/// # Ok::<(), keyfob::Error>(())
/// ```
///
/// ```text
/// DEBUG keyfob: fetch (client_credentials): started
/// INFO keyfob: fetch (client_credentials): a token after 83 ms, status 200, expires in 3600 s
/// INFO keyfob: fetch (client_credentials): no token after 5000 ms, no answer: unreachable: no connection to as.example within 5 s
/// WARN keyfob: renewal failed: unreachable: no connection to as.example within 5 s; next attempt in 8 s
/// ```
pub struct LogObserver {
    clock: Box<dyn Clock>,
}

impl LogObserver {
    /// Creates an observer. It reads `clock` to compute the time until the next attempt, so pass the client's clock, which is
    /// `BootClock` by default.
    #[must_use]
    pub fn new(clock: impl Clock + 'static) -> Self {
        Self { clock: Box::new(clock) }
    }

    /// Returns the seconds until a moment of the clock, rounded up.
    fn seconds_until(&self, at: Duration) -> u64 {
        let left = at.saturating_sub(self.clock.now());
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}

const TARGET: &str = "keyfob";

impl Observer for LogObserver {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::FetchStarted { grant_type } => {
                debug!(target: TARGET, "fetch ({}): started", name(grant_type));
            }
            Event::FetchFinished { grant_type, status, elapsed, ref result } => {
                let (name, elapsed, status) = (name(grant_type), elapsed.as_millis(), Status(status));
                match *result {
                    Ok(Lifetime::Until(at)) => {
                        let left = self.seconds_until(at);
                        info!(target: TARGET, "fetch ({name}): a token after {elapsed} ms, {status}, expires in {left} s");
                    }
                    Ok(Lifetime::Unknown) => {
                        info!(target: TARGET, "fetch ({name}): a token after {elapsed} ms, {status}, lifetime unknown");
                    }
                    Ok(Lifetime::Once) => {
                        info!(target: TARGET, "fetch ({name}): a token after {elapsed} ms, {status}, to be used once");
                    }
                    Err(error) => {
                        let kind = error.kind().as_str();
                        info!(target: TARGET, "fetch ({name}): no token after {elapsed} ms, {status}: {kind}: {error}");
                    }
                }
            }
            Event::RenewalFailed { error, next_attempt } => {
                let kind = error.kind().as_str();
                match next_attempt.map(|at| self.seconds_until(at)) {
                    Some(left) => {
                        warn!(target: TARGET, "renewal failed: {kind}: {error}; next attempt in {left} s");
                    }
                    None => warn!(target: TARGET, "renewal failed: {kind}: {error}; no further attempt"),
                }
            }
            Event::Waited { elapsed } => {
                debug!(target: TARGET, "waited {} ms for another fetch of the same token", elapsed.as_millis());
            }
            Event::StoreHit => info!(target: TARGET, "a token from the store, fetched by another process"),
            Event::Connected { address } => debug!(target: TARGET, "connected to {address}"),
            Event::Secured { version, .. } => debug!(target: TARGET, "secured by {version}"),
            Event::AddressesFound { .. } | Event::CertificateShown { .. } => {}
        }
    }
}

impl fmt::Debug for LogObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogObserver").finish_non_exhaustive()
    }
}

fn name(grant_type: Option<&str>) -> &str {
    grant_type.unwrap_or("bearer session")
}

struct Status(Option<u16>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(f, "status {status}"),
            None => f.write_str("no answer"),
        }
    }
}
