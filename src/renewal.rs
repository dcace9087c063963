//! When a token is renewed, and when the server is left alone: decisions on given times, without I/O and without a clock.

#[cfg(all(feature = "std", unix))]
mod sharing;

use crate::error::{Error, ErrorKind};
use crate::request::fnv1a;
use crate::token::{AccessToken, Lifetime};
use alloc::format;
use core::time::Duration;

/// A renewal starts when this part of a token's life is left at the latest, in percent: an outage shorter than that
/// goes unnoticed. With hourly tokens it is 9 minutes. Each percent costs more than one percent of requests.
const MARGIN_PERCENT: u32 = 15;

/// Renewals are spread over so much of a life before that, in percent, so that a fleet whose requests an outage has
/// pushed together drifts apart again. Margin and spread are what 1.3 times the fewest possible requests allow.
const SPREAD_PERCENT: u32 = 10;

/// The renewal of a token that came when there was no valid one is spread wider, in percent: a fleet that came at one
/// moment comes apart at once, and its peak from the second renewal on is less than twice the mean. It costs one
/// earlier renewal, and never in the first half of a life: a program shorter than that asks once.
const FIRST_SPREAD_PERCENT: u32 = 35;

/// A life below this is short: it is used to the last twentieth, for a wider margin would double the requests.
const SHORT_LIFE: Duration = Duration::from_secs(60);
const SHORT_MARGIN_PERCENT: u32 = 5;

/// And a second less, for many servers count in whole ones: oidc-provider's token of 2 s may end after just more than 1.
/// Half of a life is used in any case.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The server is never asked twice within this time while there is a token: some hand back the same one until it ends.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// After a failure the first wait, doubled with each further failure up to the cap. With no valid token somebody is
/// waiting, so the cap is low; the server sees each client every 10 to 20 s at most.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(20);

/// While the token at hand is valid, nobody waits: the next attempt comes when so much of what is left has passed, in
/// percent, and up to so much more. Sooner would be the more requests in the first minute after an outage: with 60 and
/// nothing the peak was up to 4.4 times the mean.
const CALM_BACKOFF_PERCENT: u32 = 70;
const CALM_SPREAD_PERCENT: u32 = 25;

/// After a refusal, in whatever words, the same credentials are not tried again for this time, doubled up to the cap: a
/// loop that restarts a failing program must not lock the account, and whoever mends the account must not wait long.
const REFUSAL_FIRST: Duration = Duration::from_secs(10);
const REFUSAL_CAP: Duration = Duration::from_secs(300);

/// After the time that the server asked for, a fleet returns over a quarter of it, doubled with each further failure up
/// to this: all of them at once would be turned away again. It halves the requests of a boot storm over the limit.
const ASKED_SPREAD_CAP: Duration = Duration::from_secs(300);

/// Longer waits than a day are taken for a mistake of the server's.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A token that replaced an invalidated one, and is refused younger than this and in the first half of its life, is not
/// replaced again: that it is refused has another reason than its age.
const FRESH: Duration = Duration::from_secs(10);

/// A stable value of one device, by which a fleet's renewals are spread.
///
/// ```
/// use keyfob::Spread;
///
/// let spread = Spread::from_seed(b"machine id 9f86d081");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread(u32);

impl Spread {
    /// Makes the value from something of this device's own: a serial number, a machine id.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Self {
        // The finalizer, for FNV leaves the upper bits of short seeds alike.
        Self(mix(fnv1a(seed.iter().copied())))
    }

    /// Returns this device's part of `whole`: from none of it to nearly all. With it a program spreads what all devices would
    /// do at one moment.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::Spread;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let delay = Spread::from_seed(b"machine id 9f86d081").of(hour);
    /// assert!(delay < hour);
    /// ```
    #[must_use]
    pub fn of(self, whole: Duration) -> Duration {
        self.salted(whole, 0)
    }

    /// A part that is another one for each `salt`.
    fn salted(self, whole: Duration, salt: u32) -> Duration {
        let number = if salt == 0 { self.0 } else { mix(self.0 ^ mix(salt)) };
        // In 2^-16 parts, so that nothing overflows: a year has 2^55 ns.
        whole / (1 << 16) * (number >> 16)
    }
}

/// The finalizer of MurmurHash3: each bit of the input changes each bit of the output half of the time.
fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

fn percent(whole: Duration, percent: u32) -> Duration {
    whole / 100 * percent
}

/// What to do for somebody who asks for a token.
pub(crate) enum Step {
    /// Hand this one out.
    Use(AccessToken),
    /// Ask the server. Where there is a token it is valid, and good enough if the renewal fails.
    Renew(Option<AccessToken>),
    /// Ask nobody: it is too early for another attempt.
    Refrain(Error),
}

impl Step {
    /// The valid token, where there is one.
    pub(crate) fn token(self) -> Option<AccessToken> {
        match self {
            Self::Use(token) | Self::Renew(Some(token)) => Some(token),
            Self::Renew(None) | Self::Refrain(_) => None,
        }
    }
}

/// The token at hand, and what the server has been like.
pub(crate) struct Renewal {
    share: Spread,
    pub(crate) held: Option<Held>,
    pub(crate) pause: Option<Pause>,
    /// Failures in a row, by which the backoff grows; refusals likewise.
    pub(crate) failures: u32,
    pub(crate) refusals: u32,
    /// When other credentials than the refused ones were let through.
    changed_at: Option<Duration>,
    /// The last token, if it was refused by the resource.
    invalidated: Option<AccessToken>,
    /// Who renews ahead does not come before this: an attempt has just begun, or what it gives is not for keeping.
    quiet_until: Duration,
}

pub(crate) struct Held {
    pub(crate) token: AccessToken,
    pub(crate) fetched_at: Duration,
    pub(crate) renew_at: Duration,
    /// It came because the one before was refused.
    pub(crate) is_replacement: bool,
}

/// No request is sent before `until`; who asks meanwhile is told `error`.
pub(crate) struct Pause {
    pub(crate) until: Duration,
    /// Nor before this, as long as the token at hand is good enough.
    pub(crate) calm_until: Duration,
    pub(crate) error: Error,
    /// The refused request: another one ends the pause.
    pub(crate) refused: Option<Refused>,
}

/// What is not to be sent again, by its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A request with these credentials.
    Request(u32),
    /// A refresh token or a code that may be used up, whatever the client's credentials.
    Once(u32),
}

impl Renewal {
    pub(crate) fn new(share: Spread) -> Self {
        Self {
            share,
            held: None,
            pause: None,
            failures: 0,
            refusals: 0,
            changed_at: None,
            invalidated: None,
            quiet_until: Duration::ZERO,
        }
    }

    /// Puts the first fetch off by this instance's share of `spread`, so that a site whose power returns does not come
    /// all at once.
    pub(crate) fn spread_first(&mut self, now: Duration, spread: Duration) {
        let until = now.saturating_add(self.share.of(spread));
        self.pause = Some(Pause {
            until,
            calm_until: until,
            error: Error::new(ErrorKind::Wait, "the first fetch is put off by this device's share").retryable(true),
            refused: None,
        });
    }

    /// What to do at `now` for somebody who wants a token that lives `min_life` at least. An unknown lifetime is long
    /// enough.
    pub(crate) fn step(&self, now: Duration, min_life: Duration) -> Step {
        let pause = self.pause.as_ref();
        let held = self.held.as_ref().filter(|held| !held.token.is_expired(now) && !held.token.is_ended());
        let good = held.filter(|held| held.token.remaining(now).is_none_or(|left| left >= min_life));
        if let (None, Some(held)) = (good, held) {
            // A fresh one would be no longer, or hardly, so asking is of no use.
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

    /// When the server will be asked next for somebody who wants any valid token; none: not before something changes.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        let (until, calm_until) = match &self.pause {
            None => Default::default(),
            // Until its source gives another, no request is sent; but somebody must look there.
            Some(Pause { refused: Some(Refused::Once(_)), calm_until, .. }) => (Duration::ZERO, *calm_until),
            Some(pause) => (pause.until, pause.calm_until),
        };
        let at = match self.held.as_ref().filter(|held| !held.token.is_ended()) {
            None => until,
            Some(held) => match (held.token.lifetime(), held.renew_at.max(calm_until)) {
                // Once the token at hand is over, somebody may be waiting.
                (Lifetime::Until(deadline), calm) if calm >= deadline => deadline.max(until),
                (_, calm) => calm,
            },
        };
        Some(at.max(self.quiet_until)).filter(|at| *at < Duration::MAX)
    }

    /// An attempt begins. Until it is over, and if it fails without a backoff, a loop around `next_attempt` must not spin.
    pub(crate) fn begins(&mut self, now: Duration) {
        self.quiet_until = now.saturating_add(MIN_INTERVAL);
    }

    /// The credentials were compared with those that were refused, and are the same.
    pub(crate) fn looked(&mut self, now: Duration) {
        if let Some(Refused::Once(_)) = self.refused() {
            self.quiet_until = now.saturating_add(REFUSAL_FIRST);
        }
    }

    /// What was refused, while it is remembered.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.pause.as_ref()?.refused
    }

    /// Other credentials than those that were refused may be tried at once, but not others again and again: an assertion
    /// that is made anew for each request differs each time, and is no better for it.
    pub(crate) fn forget_refusal(&mut self, now: Duration) {
        if self.changed_at.is_some_and(|at| now < at.saturating_add(REFUSAL_FIRST)) {
            return;
        }
        (self.pause, self.refusals, self.changed_at) = (None, 0, Some(now));
    }

    /// A token that was asked for at `asked_at` came at `fetched_at`: it is kept, unless its lifetime is not credible, or
    /// another that came meanwhile lives as long.
    pub(crate) fn succeeded(&mut self, now: Duration, asked_at: Duration, fetched_at: Duration, token: &AccessToken) {
        (self.pause, self.failures, self.refusals) = (None, 0, 0);
        if token.lifetime() == Lifetime::Once {
            // Not for keeping; what was held before stays, if it is still valid, and the server is left alone for a while.
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
        // Where there was none, others may have been without one too, and have come at this moment as well.
        let spread =
            if last.is_some_and(|held| !held.token.is_expired(now)) { SPREAD_PERCENT } else { FIRST_SPREAD_PERCENT };
        let renew_at = match token.lifetime() {
            Lifetime::Unknown | Lifetime::Once => Duration::MAX,
            Lifetime::Until(deadline) => {
                let life = deadline.saturating_sub(now);
                let renew_at = deadline.saturating_sub(self.early(life, spread));
                // The same token again: the server renews late, so what is left is halved instead of asking each time.
                let least = if same { life / 2 } else { Duration::ZERO };
                renew_at.max(now.saturating_add(least.max(MIN_INTERVAL)))
            }
        };
        let is_replacement = self.invalidated.take().is_some();
        self.held = Some(Held { token: token.clone(), fetched_at, renew_at, is_replacement });
    }

    /// How long before its end a token of this life is renewed, spread over so many percent of it.
    fn early(&self, life: Duration, spread: u32) -> Duration {
        if life < SHORT_LIFE {
            return (percent(life, SHORT_MARGIN_PERCENT) + CUT_OFF).min(life / 2);
        }
        // A larger share comes later each time, as it does at the first fetch, so that the distances add up.
        let spread = percent(life, spread);
        percent(life, MARGIN_PERCENT) + spread.saturating_sub(self.share.of(spread))
    }

    /// The token at hand, if another attempt than that of `asked_at` brought it meanwhile.
    fn came_after(&self, asked_at: Duration) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.fetched_at > asked_at && !held.token.is_ended())
    }

    /// An attempt that began at `asked_at` failed; `refused` is the fingerprint of the request, where that was refused. What is
    /// held stays.
    pub(crate) fn failed(&mut self, now: Duration, asked_at: Duration, error: &Error, refused: Option<u32>) {
        // Nothing was sent, and the next call may try at once; or another attempt has succeeded meanwhile.
        if error.kind() == ErrorKind::Config || self.came_after(asked_at).is_some() {
            return;
        }
        let (wait, calm) = if refused.is_some() {
            self.refusals = self.refusals.saturating_add(1);
            (grown(REFUSAL_FIRST, self.refusals, REFUSAL_CAP), Duration::ZERO)
        } else {
            self.failures = self.failures.saturating_add(1);
            let most = grown(BACKOFF_FIRST, self.failures, BACKOFF_CAP);
            // Half of it is spread, by another share each time: those who failed together return one by one.
            let backoff = most / 2 + self.share.salted(most / 2, self.failures);
            let calm = self.held.as_ref().and_then(|held| held.token.remaining(now)).unwrap_or_default();
            let calm = percent(calm, CALM_BACKOFF_PERCENT)
                + self.share.salted(percent(calm, CALM_SPREAD_PERCENT), self.failures);
            let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
            let cap = ASKED_SPREAD_CAP.max(asked / 4);
            let asked = asked + self.share.salted(grown(asked / 4, self.failures, cap), self.failures);
            (backoff.max(asked), calm)
        };
        self.pause = Some(Pause {
            until: now.saturating_add(wait),
            calm_until: now.saturating_add(wait.max(calm)),
            error: error.clone(),
            refused: refused.map(Refused::Request),
        });
    }

    /// What was sent may have been used up though no answer came: it is not sent again until it is another.
    pub(crate) fn spent(&mut self, error: &Error, once: u32) {
        let error = error.clone().with_hint("what was sent may be used up: a new one is needed");
        let refused = Some(Refused::Once(once));
        self.pause = Some(Pause { until: Duration::MAX, calm_until: Duration::MAX, error, refused });
    }

    /// Forgets `token` if it is the one at hand, because a server refused it. Tells whether another try makes sense:
    /// not if this one was fetched just now, for then its age is not the reason.
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
            // Somebody else has renewed it already, or is about to.
            _ => true,
        }
    }

    /// What the last attempt came to, if it failed.
    pub(crate) fn last_failure(&self) -> Option<Error> {
        self.pause.as_ref().map(|pause| pause.error.clone())
    }

    /// Takes the token at hand out: it is not handed out any more.
    pub(crate) fn take(&mut self) -> Option<AccessToken> {
        self.invalidated = None;
        self.held.take().map(|held| held.token)
    }
}

impl Pause {
    /// The error for somebody who asks within the pause: the failure that caused it, with what is left of the wait.
    fn error_at(&self, now: Duration) -> Error {
        match self.until {
            Duration::MAX => self.error.clone(),
            until => self.error.clone().remembered(until.saturating_sub(now)),
        }
    }
}

/// The error for somebody who wants a longer life than a fresh token has.
pub(crate) fn too_short(life: Duration, min_life: Duration) -> Error {
    let rounded = |time: Duration| time.saturating_add(Duration::from_millis(500)).as_secs();
    let (life, min_life) = (rounded(life), rounded(min_life));
    Error::new(ErrorKind::Unusable, format!("a fresh token lives {life} s, and at least {min_life} s were asked for"))
        .with_hint("ask for less, or whoever runs the server for longer lives")
}

/// The error for a token that ran out on its way, or while a hook stored what came with it.
pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::Unusable, "the token had expired before it could be handed out")
        .with_hint("the connection is slower than the token's life: ask whoever runs the server for a longer one")
}

/// `first`, doubled with each time after the first, up to `cap`.
fn grown(first: Duration, times: u32, cap: Duration) -> Duration {
    let doublings = times.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(cap)
}
