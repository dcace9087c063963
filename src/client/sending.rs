//! Sending a request and judging its answer.

use super::Client;
use crate::answer;
use crate::error::{Error, ErrorKind};
use crate::exchange;
use crate::grant::Grant;
use crate::observe::Event;
use crate::request::Request;
use crate::token::AccessToken;
use crate::transport::Response;
use core::time::Duration;

impl Client {
    /// Sends a request for a token and reads the answer. The inner result says whether it came in time; if not, a refresh token
    /// in it can still be used.
    ///
    /// If an assertion was refused that is dated far from the server's time, another one is signed with that time and sent.
    pub(crate) fn exchange(&self, grant: &Grant, request: &Request) -> Exchanged {
        let started = self.clock.now();
        let mut server_time = None;
        let exchanged = self.exchange_once(grant, request, &mut server_time);
        // A clock that was never set is known to be wrong, whatever the answer: the next assertion is dated better.
        #[cfg(feature = "std")]
        if let (true, Some(time)) = (request.is_https() && was_never_set(request), server_time) {
            self.remember(time);
        }
        let is_about_clock = exchanged.as_ref().is_err_and(|error| may_be_clock(request, grant, error));
        let Some(time) = server_time.filter(|_| is_about_clock) else { return exchanged };
        // Over plain http anybody on the way could name a time, and keep the assertion for then.
        if !request.is_https() || !is_far(request, time) {
            return exchanged;
        }
        let now = self.clock.now();
        let Ok(mut again) = self.request_at(&|| time, grant) else { return exchanged };
        let waited = request.waited().saturating_add(now.saturating_sub(started));
        again.set_waited(waited.saturating_add(again.waited()));
        let second = self.exchange_once(grant, &again, &mut server_time);
        #[cfg(feature = "std")]
        if second.is_ok() {
            self.remember(time.saturating_add(self.clock.now().saturating_sub(now)));
        }
        second
    }

    /// Dates assertions by the server's time from now on.
    #[cfg(feature = "std")]
    fn remember(&self, time: Duration) {
        let known = Some((time, self.clock.now()));
        *self.server_time.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = known;
    }

    /// Sends one request and reads the answer. Sets the server's time if that may matter.
    fn exchange_once(&self, grant: &Grant, request: &Request, server_time: &mut Option<Duration>) -> Exchanged {
        if !grant.is_repeatable() {
            check_memory()?;
        }
        let grant_type = grant.grant_type.as_deref();
        self.notify(|| Event::FetchStarted { grant_type });
        let started = self.clock.now();
        let mut status = None;
        let exchanged = self.send(request).and_then(|(response, sent_at)| {
            let answered = response.status;
            status = Some(answered);
            let time = request.signed_at_time().and_then(|_| answer::server_time(&response.headers));
            *server_time = time.and_then(|time| u64::try_from(time).ok()).map(Duration::from_millis);
            let issued = exchange::issued(grant, &response);
            let wall_time = if self.endpoint.lifetime.trust_clock { self.clock.wall_time() } else { None };
            let token = AccessToken::read_late(&self.endpoint, response, sent_at, wall_time);
            let token = token.and_then(|mut token| {
                if let Some(issued) = issued {
                    exchange::check(&self.endpoint, grant, &issued, answered)?;
                    token.keep(exchange::ISSUED_TOKEN_TYPE, issued);
                }
                Ok(token)
            });
            let mut token = token.map_err(|error| judged(request, Some(grant), error, *server_time))?;
            token.redact(&request.echoes());
            let in_time = token.in_time(answered, sent_at, self.clock.now());
            Ok((token, in_time))
        });
        self.notify(|| Event::FetchFinished {
            grant_type,
            status,
            elapsed: self.clock.now().saturating_sub(started),
            result: match &exchanged {
                Ok((token, Ok(()))) => Ok(token.lifetime()),
                Ok((_, Err(error))) | Err(error) => Err(error),
            },
        });
        exchanged
    }

    /// Sends a request. Returns the answer, and when the request was sent.
    pub(super) fn send(&self, request: &Request) -> Result<(Response, Duration), Error> {
        let started = self.clock.now();
        if started == Duration::MAX {
            return Err(Error::config("the clock cannot be read, so it cannot be known when a token expires")
                .with_hint("on Linux keyfob needs a working CLOCK_BOOTTIME, or /proc/uptime"));
        }
        let response = self.transport.send(request).map_err(|error| {
            let retryable = error.kind() == ErrorKind::OutcomeUnknown && request.is_repeatable();
            let retryable = retryable || error.is_retryable();
            error.retryable(retryable)
        })?;
        let sent_at = match response.elapsed {
            Some(elapsed) => self.clock.now().saturating_sub(elapsed).max(started),
            None => started,
        };
        Ok((response, sent_at))
    }
}

/// Enough to read the largest answer and to store its refresh token.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ROOM_FOR_ANSWER: usize = 4 * 1024 * 1024;

/// Returns an error if there is not enough memory for an answer. A process that runs out of memory is aborted, and would lose
/// the new refresh token.
fn check_memory() -> Result<(), Error> {
    // Elsewhere memory is not limited for a process, or the device has less than that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut room = alloc::vec::Vec::<u8>::new();
        room.try_reserve_exact(ROOM_FOR_ANSWER).map_err(|_| {
            Error::config("memory: not enough for the server's answer").with_hint(
                "the server may replace the refresh token with each use, so nothing is sent unless the answer can be read: \
                 raise the limit (`ulimit -v`)",
            )
        })?;
        // The compiler may leave out memory that nothing uses.
        core::hint::black_box(&room);
    }
    Ok(())
}

/// A token, and whether it came in time.
pub(super) type Exchanged = Result<(AccessToken, Result<(), Error>), Error>;

/// Returns whether a wrong clock may be why the request was refused, and another one does no harm: a password, or what is good
/// for one use, is sent again only if the server did not get as far as that.
fn may_be_clock(request: &Request, grant: &Grant, error: &Error) -> bool {
    request.signed_at_time().is_some()
        && error.kind() == ErrorKind::Refused
        && matches!(error.status(), Some(400 | 401 | 403))
        && match error.oauth_error() {
            Some("invalid_client") => true,
            Some("invalid_grant") => grant.assertion.is_some(),
            Some("invalid_request") | None => request.is_repeatable() && !grant.is_login(),
            Some(_) => false,
        }
}

/// The beginning of 2026. A clock that is behind that was never set.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Returns whether an assertion is dated by a clock that was never set.
fn was_never_set(request: &Request) -> bool {
    request.signed_at_time().is_some_and(|at| at < EARLIEST)
}

/// Returns whether an assertion is dated more than 30 s away from the server's time.
fn is_far(request: &Request, server_time: Duration) -> bool {
    request.signed_at_time().is_some_and(|at| at.abs_diff(server_time) > Duration::from_secs(30))
}

/// Removes the request's secrets from an answer's error. A server's failure stays retryable only if repeating the request is
/// harmless.
pub(super) fn judged(request: &Request, grant: Option<&Grant>, error: Error, server_time: Option<Duration>) -> Error {
    let is_by_assertion = grant.is_some_and(|grant| may_be_clock(request, grant, &error));
    let error = match request.signed_at_time().filter(|_| is_by_assertion) {
        None => error,
        Some(_) if was_never_set(request) || server_time.is_some_and(|time| is_far(request, time)) => {
            error.with_hint("the clock of this device is wrong, and assertions are dated by it: set the clock")
        }
        Some(_) if request.is_by_short_secret() => error.with_hint(
            "the secret has less than 32 bytes, and servers may refuse HS256 with it (RFC 7518 section 3.2): use a longer one",
        ),
        Some(_) => error.with_hint(
            "the server may want another audience (`Assertion::audience`), key id (`Assertion::key_id`) or algorithm \
             (`Assertion::algorithm`), or not know the key",
        ),
    };
    let is_harmless = error.kind() != ErrorKind::Unusable || request.is_repeatable();
    let is_retryable = error.is_retryable() && is_harmless;
    request.redact(error).retryable(is_retryable)
}
