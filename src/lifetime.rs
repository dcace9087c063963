//! The lifetime of a token: the values in an answer, the rules to read them, and the resulting deadline.

mod jwt;
mod text;

use crate::date::{self, Milliseconds};
use crate::number;
use core::time::Duration;

/// The lifetime of a token, as [`AccessToken::lifetime`](crate::AccessToken::lifetime) returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lifetime {
    /// The token expires at this moment of the [`Clock`](crate::Clock). It is counted from when the request was sent, so the
    /// time that the answer took is not added.
    Until(Duration),
    /// The server named no lifetime, or one of more than ten years, which is probably a point in time. The token is used until
    /// a protected resource answers with 401.
    Unknown,
    /// The server named zero or less, which is not credible. The token is returned once and not kept.
    Once,
}

/// The value of `expires_in` in an answer (RFC 6749 section 5.1), before [`LifetimeRules`] are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresIn {
    /// The member is absent, or is not a number.
    Unknown,
    /// The number is less than one. This is not credible; some servers use it for "never".
    NotPositive,
    /// The number of units, rounded down. A larger number is [`u64::MAX`]. The unit is seconds, unless
    /// [`LifetimeRules::unit`] names another.
    Units(u64),
}

impl ExpiresIn {
    /// Reads a decimal number. It may have a sign, a fraction, an exponent, and spaces around it.
    pub(crate) fn read(text: &[u8]) -> Self {
        match number::whole(text) {
            None => Self::Unknown,
            Some(number) if number.is_negative || number.value == 0 => Self::NotPositive,
            Some(number) => Self::Units(number.value),
        }
    }
}

/// The rules to read the lifetime in an answer. Default: `expires_in` counts seconds, a token without it is kept until a
/// protected resource refuses it, one with zero is used once, and no lifetime is longer than a year.
/// [`Endpoint::lifetime`](crate::Endpoint::lifetime) sets them.
///
/// ```
/// use core::time::Duration;
/// use keyfob::{LifetimeRules, LifetimeUnit};
///
/// let rules = LifetimeRules::default().unit(LifetimeUnit::Milliseconds).absent(Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifetimeRules {
    pub(crate) absent: Option<Duration>,
    pub(crate) not_positive: NotPositive,
    pub(crate) unit: LifetimeUnit,
    pub(crate) maximum: Duration,
    pub(crate) jwt: bool,
    pub(crate) trust_clock: bool,
}

impl LifetimeRules {
    /// Sets the lifetime for answers without a usable one: the member is absent, is not a number, or names more than ten years,
    /// which is probably a point in time. Default: unknown. Such a token is kept until it is invalidated, and never stored.
    #[must_use]
    pub fn absent(mut self, lives: Duration) -> Self {
        self.absent = Some(lives);
        self
    }

    /// Sets the meaning of a lifetime of zero or less, which some servers use for "never". Default:
    /// [`NotPositive::Once`].
    #[must_use]
    pub fn not_positive(mut self, meaning: NotPositive) -> Self {
        self.not_positive = meaning;
        self
    }

    /// Sets the unit that the server counts in. Default: seconds (RFC 6749 section 5.1).
    #[must_use]
    pub fn unit(mut self, unit: LifetimeUnit) -> Self {
        self.unit = unit;
        self
    }

    /// Sets the longest lifetime of a token. Default: a year. A lifetime of up to ten years is shortened to it; a longer one
    /// is not believed, see [`absent`](LifetimeRules::absent).
    #[must_use]
    pub fn maximum(mut self, maximum: Duration) -> Self {
        self.maximum = maximum;
        self
    }

    /// Reads the `exp` of a token that is a JWT (RFC 7519 section 4.1.4). Default: false.
    ///
    /// It is not verified, so it can only shorten the lifetime; an unknown lifetime counts as the longest. A token that is
    /// not a JWT, or has no `exp`, keeps its lifetime.
    #[must_use]
    pub fn jwt(mut self, read: bool) -> Self {
        self.jwt = read;
        self
    }

    /// Reads a date (`expires_at`, or the `exp` of a JWT) against the device's wall clock if the answer has no `Date` of
    /// its own. Default: false, and the date is not used then.
    ///
    /// Allow it only for devices whose clock is right when the token is fetched: a clock that is an hour behind keeps the
    /// token for an hour too long. The time comes from [`Clock::wall_time`](crate::Clock::wall_time).
    #[must_use]
    pub fn trust_clock(mut self, trust: bool) -> Self {
        self.trust_clock = trust;
        self
    }
}

/// A year: no deadline further away is worth trusting, and no clock overflows with it.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Default for LifetimeRules {
    fn default() -> Self {
        Self {
            absent: None,
            not_positive: NotPositive::Once,
            unit: LifetimeUnit::Seconds,
            maximum: YEAR,
            jwt: false,
            trust_clock: false,
        }
    }
}

/// The meaning of a lifetime of zero or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotPositive {
    /// It is not credible: the token is returned once and never kept.
    Once,
    /// The token does not expire: its lifetime is unknown, and [`LifetimeRules::absent`] is not used.
    Unknown,
    /// The token lives this long.
    Lives(Duration),
}

/// The unit of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifetimeUnit {
    /// Seconds, the unit of RFC 6749 section 5.1.
    Seconds,
    /// Milliseconds, as Adobe's JWT service and Fiserv send.
    Milliseconds,
    /// Minutes.
    Minutes,
    /// A text with its own units: `3600s`, `1h 30m`, `2 days`, `01:00:00`, `1.00:00:00` (days before the point), `PT1H`
    /// (ISO 8601). A number alone counts seconds.
    Text,
}

impl LifetimeUnit {
    fn duration(self, units: u64) -> Duration {
        match self {
            Self::Milliseconds => Duration::from_millis(units),
            Self::Seconds | Self::Text => Duration::from_secs(units),
            Self::Minutes => Duration::from_secs(units.saturating_mul(60)),
        }
    }
}

/// No server lets a token live longer. It is less than the seconds from 1970 to today, whatever the clocks say, and far
/// less than the milliseconds.
const CREDIBLE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// An answer's `Date` has no fraction, so the server's clock may have shown almost a second more.
const DATE_STEP: Duration = Duration::from_secs(1);

/// The parts of an answer that determine the lifetime of its token.
pub(crate) struct Told<'a> {
    pub(crate) expires_in: ExpiresIn,
    /// As the server sent it, for [`LifetimeUnit::Text`].
    pub(crate) text: Option<&'a str>,
    pub(crate) expires_at: Option<&'a str>,
    pub(crate) access_token: &'a str,
    /// The server's own time when it answered, or the device's where that is trusted.
    pub(crate) now: Option<Milliseconds>,
}

/// The lifetime that follows from an answer.
pub(crate) struct Judged {
    pub(crate) lifetime: Lifetime,
    /// The answer's lifetime, if it is not believed and not used.
    pub(crate) unbelieved: Option<Duration>,
    /// The reason why the answer's date was not used.
    pub(crate) date_trouble: Option<&'static str>,
}

impl From<Lifetime> for Judged {
    fn from(lifetime: Lifetime) -> Self {
        Self { lifetime, unbelieved: None, date_trouble: None }
    }
}

/// The lifetime that one member names.
enum Named {
    Nothing,
    NotPositive,
    Lives(Duration),
}

impl LifetimeRules {
    /// Judges what an answer says. The earlier of two moments wins; nothing makes a deadline later than what was meant.
    pub(crate) fn judge(&self, told: &Told<'_>, sent_at: Duration) -> Judged {
        let mut date_trouble = None;
        let date = told.expires_at.map_or(Named::Nothing, |text| match (date::parse(text), told.now) {
            (None, _) => {
                date_trouble = Some(NO_DATE);
                Named::Nothing
            }
            // 1970, or Go's zero time in the year 1: "never", mostly.
            (Some(moment), _) if moment <= 0 => Named::NotPositive,
            (Some(_), None) => {
                date_trouble = Some(NO_REFERENCE);
                Named::Nothing
            }
            (Some(moment), Some(now)) => Named::Lives(between(now, moment)),
        });
        let named = [self.named(told), date];
        let lives =
            || named.iter().filter_map(|named| if let Named::Lives(lives) = named { Some(*lives) } else { None });
        let believed = lives().filter(|lives| *lives <= CREDIBLE).min();
        let unbelieved = lives().find(|_| believed.is_none());
        let is_not_positive = unbelieved.is_none() && named.iter().any(|named| matches!(named, Named::NotPositive));
        let known = match (believed, self.not_positive) {
            (Some(lives), _) => Some(lives),
            (None, NotPositive::Once) if is_not_positive => {
                return Judged { lifetime: Lifetime::Once, unbelieved: None, date_trouble };
            }
            (None, NotPositive::Unknown) if is_not_positive => None,
            (None, NotPositive::Lives(lives)) if is_not_positive => Some(lives),
            (None, _) => self.absent,
        };
        let exp = told.now.filter(|_| self.jwt).and_then(|now| Some(between(now, jwt::exp(told.access_token)?)));
        let exp = exp.filter(|exp| *exp <= CREDIBLE);
        let lives = known.into_iter().chain(exp).min();
        let until = |lives: Duration| Lifetime::Until(sent_at.saturating_add(lives.min(self.maximum)));
        Judged { lifetime: lives.map_or(Lifetime::Unknown, until), unbelieved, date_trouble }
    }

    /// Reads the relative lifetime.
    fn named(&self, told: &Told<'_>) -> Named {
        match (self.unit, told.expires_in, told.text) {
            (LifetimeUnit::Text, ExpiresIn::Unknown, Some(text)) => match text::duration(text) {
                None => Named::Nothing,
                Some(Duration::ZERO) => Named::NotPositive,
                Some(lives) => Named::Lives(lives),
            },
            (_, ExpiresIn::Unknown, _) => Named::Nothing,
            (_, ExpiresIn::NotPositive, _) => Named::NotPositive,
            (unit, ExpiresIn::Units(units), _) => Named::Lives(unit.duration(units)),
        }
    }
}

const NO_DATE: &str = "it is no date with an offset, no HTTP date and no Unix time";
const NO_REFERENCE: &str = "the answer has no `Date` to read it against";

/// Returns the time from the server's `now` to a moment, less what the server's date may leave out.
fn between(now: Milliseconds, moment: Milliseconds) -> Duration {
    let milliseconds = u64::try_from(moment.saturating_sub(now)).unwrap_or(0);
    Duration::from_millis(milliseconds).saturating_sub(DATE_STEP)
}
