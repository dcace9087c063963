//! When a token is renewed, and when no request is sent. Decides on given times, without I/O and without a clock.

#[cfg(all(feature = "std", unix))]
mod sharing;
mod spread;

pub use self::spread::Spread;

use crate::error::{Error, ErrorKind};
use crate::lifetime::Lifetime;
use crate::token::AccessToken;
use alloc::format;
use core::time::Duration;

/// A renewal starts at the latest when this part of a token's life is left, in percent. A shorter outage goes unnoticed: 9
/// minutes with hourly tokens. Each percent costs more than one percent of requests.
const MARGIN_PERCENT: u32 = 15;

/// Renewals are spread over this part of the life before that, in percent, so that a fleet whose requests an outage has
/// pushed together drifts apart again. Margin and spread are chosen for at most 1.3 times the fewest possible requests.
const SPREAD_PERCENT: u32 = 10;

/// After a fetch without a valid token, the renewal is spread wider, in percent. A fleet that fetched at one moment drifts apart
/// at once, and its peak from the second renewal on is less than twice the mean. The price is one earlier renewal, but never in
/// the first half of a life: a program that runs for less than that sends one request.
const FIRST_SPREAD_PERCENT: u32 = 35;

/// A life below this is short: it is used to the last twentieth, because a wider margin would double the requests.
const SHORT_LIFE: Duration = Duration::from_secs(60);
const SHORT_MARGIN_PERCENT: u32 = 5;

/// A short life is used for a second less, because many servers count whole seconds: oidc-provider's token of 2 s may expire
/// after little more than 1 s. Half of a life is used in any case.
const CUT_OFF: Duration = Duration::from_secs(1);

/// While there is a token, requests are at least this far apart: some servers return the same token until it expires.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The wait after the first failure. It doubles with each further failure, up to the cap. Without a valid token a caller is
/// waiting, so the cap is low; each client sends a request every 10 to 20 s at most.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(20);

/// While the current token is valid, no caller waits: the next attempt comes after this part of the remaining life, in percent,
/// plus up to the spread. Shorter waits cause more requests in the first minute after an outage: with 60 and no spread the
/// peak was up to 4.4 times the mean.
const CALM_BACKOFF_PERCENT: u32 = 70;
const CALM_SPREAD_PERCENT: u32 = 25;

/// After a refusal of any kind, the same credentials are not tried again for this time, doubled up to the cap. A loop that
/// restarts a failing program must not lock the account, and a repaired account must not wait long.
const REFUSAL_FIRST: Duration = Duration::from_secs(10);
const REFUSAL_CAP: Duration = Duration::from_secs(300);

/// After a wait that the server asked for, a fleet returns spread over a quarter of it, doubled with each further failure up to
/// this cap. If all returned at once, they would be turned away again. This halves the requests over the limit after a fleet
/// boots.
const ASKED_SPREAD_CAP: Duration = Duration::from_secs(300);

/// A longer `Retry-After` counts as a mistake of the server.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A token that replaced an invalidated one is not replaced again if it is refused before this age and in the first half of its
/// life: the reason is not its age.
const FRESH: Duration = Duration::from_secs(10);

fn percent(whole: Duration, percent: u32) -> Duration {
    whole / 100 * percent
}

/// The action for a caller that needs a token.
pub(crate) enum Step {
    /// Return this token.
    Use(AccessToken),
    /// Send a request. If that fails, the token is still valid.
    Renew(Option<AccessToken>),
    /// Send no request: it is too early for another attempt.
    Refrain(Error),
}

impl Step {
    /// Returns the valid token, if there is one.
    pub(crate) fn token(self) -> Option<AccessToken> {
        match self {
            Self::Use(token) | Self::Renew(Some(token)) => Some(token),
            Self::Renew(None) | Self::Refrain(_) => None,
        }
    }
}

/// The current token, and the results of past attempts.
pub(crate) struct Renewal {
    spread: Spread,
    pub(crate) held: Option<Held>,
    pub(crate) pause: Option<Pause>,
    /// Failures in a row: the backoff grows with them.
    pub(crate) failures: u32,
    /// Refusals in a row, likewise.
    pub(crate) refusals: u32,
    /// When changed credentials last ended a refusal.
    changed_at: Option<Duration>,
    /// The last token, if a protected resource refused it.
    invalidated: Option<AccessToken>,
    /// `next_attempt` is not before this: an attempt has just begun, or its token is not for keeping.
    quiet_until: Duration,
}

pub(crate) struct Held {
    pub(crate) token: AccessToken,
    pub(crate) fetched_at: Duration,
    pub(crate) renew_at: Duration,
    /// It replaced a token that was refused.
    pub(crate) is_replacement: bool,
}

/// A pause after a failure. No request is sent before `until`; callers without a valid token get `error`.
#[derive(Clone)]
pub(crate) struct Pause {
    pub(crate) since: Duration,
    pub(crate) until: Duration,
    /// With a valid token, no request is sent before this.
    pub(crate) calm_until: Duration,
    pub(crate) error: Error,
    /// The refused value. A request with a different one ends the pause.
    pub(crate) refused: Option<Refused>,
}

/// The fingerprint of what must not be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A request with these credentials.
    Request(u32),
    /// A refresh token or a code that may be used up, with any client credentials.
    Once(u32),
}

impl Renewal {
    pub(crate) fn new(spread: Spread) -> Self {
        Self {
            spread,
            held: None,
            pause: None,
            failures: 0,
            refusals: 0,
            changed_at: None,
            invalidated: None,
            quiet_until: Duration::ZERO,
        }
    }

    /// Delays the first fetch by this device's part of `spread`, so that the devices of a site do not all fetch at once when its
    /// power returns.
    pub(crate) fn spread_first(&mut self, now: Duration, spread: Duration) {
        let until = now.saturating_add(self.spread.of(spread));
        self.pause = Some(Pause {
            since: now,
            until,
            calm_until: until,
            error: Error::new(ErrorKind::Wait, "the first fetch is delayed to spread the load of a fleet")
                .retryable(true),
            refused: None,
        });
    }

    /// Returns what to do at `now` for a caller that needs a token for at least `min_life`. An unknown lifetime is accepted.
    pub(crate) fn step(&self, now: Duration, min_life: Duration) -> Step {
        let pause = self.pause.as_ref();
        let held = self.held.as_ref().filter(|held| !held.token.is_expired(now) && !held.token.is_ended());
        let good = held.filter(|held| held.token.remaining(now).is_none_or(|left| left >= min_life));
        if let (None, Some(held)) = (good, held) {
            // A new token would live no longer, or hardly.
            let life = held.token.remaining(held.fetched_at).unwrap_or(Duration::MAX);
            if life < min_life || now < held.fetched_at.saturating_add(MIN_INTERVAL) {
                return Step::Refrain(too_short(life, min_life));
            }
        }
        match (good, pause) {
            (Some(held), _) if now < held.renew_at => Step::Use(held.token.clone()),
            (Some(held), Some(pause)) if now < pause.calm_until => Step::Use(held.token.clone()),
            (Some(held), _) => Step::Renew(Some(held.token.clone())),
            (None, Some(pause)) if now < pause.until => Step::Refrain(pause.error_at(now)),
            (None, _) => Step::Renew(None),
        }
    }

    /// Returns when the next request will be sent for a caller that needs any valid token. `None`: not before something changes.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        let (until, calm_until) = match &self.pause {
            None => Default::default(),
            // No request is sent until the source gives a different value, but the source must be read.
            Some(Pause { refused: Some(Refused::Once(_)), calm_until, .. }) => (Duration::ZERO, *calm_until),
            Some(pause) => (pause.until, pause.calm_until),
        };
        let at = match self.held.as_ref().filter(|held| !held.token.is_ended()) {
            None => until,
            Some(held) => match (held.token.lifetime(), held.renew_at.max(calm_until)) {
                // Once the token has expired, a caller may be waiting.
                (Lifetime::Until(deadline), calm) if calm >= deadline => deadline.max(until),
                (_, calm) => calm,
            },
        };
        Some(at.max(self.quiet_until)).filter(|at| *at < Duration::MAX)
    }

    /// Notes that an attempt begins. A loop around `next_attempt` must not spin during it, nor if it fails without a backoff.
    pub(crate) fn begins(&mut self, now: Duration) {
        self.quiet_until = now.saturating_add(MIN_INTERVAL);
    }

    /// Notes that nothing can be sent for a while.
    pub(crate) fn waits(&mut self, now: Duration, wait: Duration) {
        self.quiet_until = self.quiet_until.max(now.saturating_add(wait));
    }

    /// Notes that the credentials were compared with the refused ones.
    pub(crate) fn looked(&mut self, now: Duration) {
        if let Some(Refused::Once(_)) = self.refused() {
            self.quiet_until = now.saturating_add(REFUSAL_FIRST);
        }
    }

    /// Returns the refused value, during the pause.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.pause.as_ref()?.refused
    }

    /// Ends the pause of a refusal because the credentials have changed, but not again and again: an assertion that is created
    /// for each request differs each time.
    pub(crate) fn forget_refusal(&mut self, now: Duration) {
        if self.changed_at.is_some_and(|at| now < at.saturating_add(REFUSAL_FIRST)) {
            return;
        }
        (self.pause, self.refusals, self.changed_at) = (None, 0, Some(now));
    }

    /// Keeps a token that was requested at `asked_at` and came at `fetched_at`, unless its lifetime is not credible or another
    /// token that came in the meantime lives at least as long.
    pub(crate) fn succeeded(&mut self, now: Duration, asked_at: Duration, fetched_at: Duration, token: &AccessToken) {
        // The server may have asked another attempt to wait while this one was under way.
        let is_over = |pause: &mut Pause| !(pause.is_asked() && pause.since > asked_at);
        self.pause.take_if(is_over);
        (self.failures, self.refusals) = (0, 0);
        if token.lifetime() == Lifetime::Once {
            // Not for keeping. The token from before stays if it is still valid, and no request is sent for a while.
            self.quiet_until = Duration::MAX;
            if let Some(held) = &mut self.held {
                let left = held.token.remaining(now).unwrap_or_default();
                held.renew_at = now.saturating_add((left / 2).max(MIN_INTERVAL));
                self.quiet_until = held.renew_at;
            }
            return;
        }
        let ends_before = |held: &Held| match (held.token.lifetime(), token.lifetime()) {
            (Lifetime::Until(held), Lifetime::Until(deadline)) => held < deadline,
            _ => false,
        };
        if self.came_after(asked_at).is_some_and(|held| !held.token.is_expired(now) && !ends_before(held)) {
            return;
        }
        let last = self.held.take();
        let same = last.as_ref().is_some_and(|held| held.token.expose() == token.expose());
        // Without a token before, other devices may have fetched theirs at this moment too.
        let spread =
            if last.is_some_and(|held| !held.token.is_expired(now)) { SPREAD_PERCENT } else { FIRST_SPREAD_PERCENT };
        let renew_at = match token.lifetime() {
            Lifetime::Unknown | Lifetime::Once => Duration::MAX,
            Lifetime::Until(deadline) => {
                let life = deadline.saturating_sub(now);
                let renew_at = deadline.saturating_sub(self.early(life, spread));
                // The server returned the same token, so it renews late: wait for half of the remaining life.
                let least = if same { life / 2 } else { Duration::ZERO };
                renew_at.max(now.saturating_add(least.max(MIN_INTERVAL)))
            }
        };
        let is_replacement = self.invalidated.take().is_some();
        self.held = Some(Held { token: token.clone(), fetched_at, renew_at, is_replacement });
    }

    /// Returns how long before its expiry a token of this life is renewed. `spread` is in percent of the life.
    fn early(&self, life: Duration, spread: u32) -> Duration {
        if life < SHORT_LIFE {
            return (percent(life, SHORT_MARGIN_PERCENT) + CUT_OFF).min(life / 2);
        }
        // A larger value comes later each time, as at the first fetch, so that the distances add up.
        let whole = percent(life, spread);
        percent(life, MARGIN_PERCENT) + whole.saturating_sub(self.spread.of(whole))
    }

    /// Returns the current token, if another attempt brought it after `asked_at`.
    fn came_after(&self, asked_at: Duration) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.fetched_at > asked_at && !held.token.is_ended())
    }

    /// Notes that an attempt that began at `asked_at` failed. `refused` is the fingerprint of the request, if it was refused. The
    /// current token stays.
    pub(crate) fn failed(&mut self, now: Duration, asked_at: Duration, error: &Error, refused: Option<u32>) {
        // Either nothing was sent, so the next call may try at once, or another attempt has succeeded in the meantime.
        if error.kind() == ErrorKind::Config || self.came_after(asked_at).is_some() {
            return;
        }
        let (wait, calm) = if refused.is_some() {
            self.refusals = self.refusals.saturating_add(1);
            (grown(REFUSAL_FIRST, self.refusals, REFUSAL_CAP), Duration::ZERO)
        } else {
            self.failures = self.failures.saturating_add(1);
            let most = grown(BACKOFF_FIRST, self.failures, BACKOFF_CAP);
            // Half of it is spread, differently each time, so that devices that failed together return one by one.
            let backoff = most / 2 + self.spread.salted(most / 2, self.failures);
            let calm = self.held.as_ref().and_then(|held| held.token.remaining(now)).unwrap_or_default();
            let calm = percent(calm, CALM_BACKOFF_PERCENT)
                + self.spread.salted(percent(calm, CALM_SPREAD_PERCENT), self.failures);
            let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
            let cap = ASKED_SPREAD_CAP.max(asked / 4);
            let asked = asked + self.spread.salted(grown(asked / 4, self.failures, cap), self.failures);
            (backoff.max(asked), calm)
        };
        let pause = Pause {
            since: now,
            until: now.saturating_add(wait),
            calm_until: now.saturating_add(wait.max(calm)),
            error: error.clone(),
            refused: refused.map(Refused::Request),
        };
        // A failure does not shorten a wait that the server asked for.
        self.pause = Some(match self.pause.take().filter(Pause::is_asked) {
            Some(asked) => asked.merge(pause),
            None => pause,
        });
    }

    /// Notes that a one-time value may be used up although no answer came. It is not sent again.
    pub(crate) fn spent(&mut self, error: &Error, once: u32) {
        let error =
            error.clone().with_hint("the refresh token or code may be used up, so it is not sent again: sign in again");
        let refused = Some(Refused::Once(once));
        let (since, until) = (Duration::ZERO, Duration::MAX);
        self.pause = Some(Pause { since, until, calm_until: until, error, refused });
    }

    /// Forgets `token` if it is the current one, because a server refused it. Returns whether to try again: not if it has just
    /// replaced a refused one, because then its age is not the reason.
    pub(crate) fn invalidate(&mut self, now: Duration, token: &AccessToken) -> bool {
        match &self.held {
            Some(held) if held.token.is_same(token) => {
                let life = held.token.remaining(held.fetched_at).unwrap_or(Duration::MAX);
                let fresh_until = held.fetched_at.saturating_add(FRESH.min(life / 2));
                let is_final = held.is_replacement && now < fresh_until;
                if !is_final {
                    self.held = None;
                    self.invalidated = Some(token.clone());
                }
                !is_final
            }
            // Another caller has renewed it already, or is about to.
            _ => true,
        }
    }

    /// Returns the error of the last attempt, if it failed.
    pub(crate) fn last_failure(&self) -> Option<Error> {
        self.pause.as_ref().map(|pause| pause.error.clone())
    }

    /// Takes the current token out, so that it is no longer handed out.
    pub(crate) fn take(&mut self) -> Option<AccessToken> {
        self.invalidated = None;
        self.held.take().map(|held| held.token)
    }
}

impl Pause {
    /// Returns whether the server asked to wait.
    pub(crate) fn is_asked(&self) -> bool {
        self.error.kind() == ErrorKind::Wait
    }

    /// Merges two pauses that are both in effect: neither is shortened, and the reason is that of the longer one.
    pub(crate) fn merge(self, other: Self) -> Self {
        let calm_until = self.calm_until.max(other.calm_until);
        let longer = if other.until > self.until { other } else { self };
        Self { calm_until, ..longer }
    }

    /// Returns the error for callers during the pause: the failure that caused it, with the rest of the wait.
    fn error_at(&self, now: Duration) -> Error {
        match self.until {
            Duration::MAX => self.error.clone(),
            until => self.error.clone().remembered(until.saturating_sub(now)),
        }
    }
}

/// Returns the error for a `min_life` that is longer than a new token's life.
pub(crate) fn too_short(life: Duration, min_life: Duration) -> Error {
    let rounded = |time: Duration| time.saturating_add(Duration::from_millis(500)).as_secs();
    let (life, min_life) = (rounded(life), rounded(min_life));
    Error::new(ErrorKind::Unusable, format!("a new token lives {life} s, but at least {min_life} s were requested"))
        .with_hint("request less, or have the server issue tokens that live longer")
}

/// Returns the error for a token that expired on its way, or while the hook stored its refresh token.
pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::Unusable, "the token expired before it could be handed out")
        .with_hint("the connection is slower than the token's life: have the server issue tokens that live longer")
}

/// Returns `first`, doubled for each time after the first, up to `cap`.
fn grown(first: Duration, times: u32, cap: Duration) -> Duration {
    let doublings = times.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(cap)
}
