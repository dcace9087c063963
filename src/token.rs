//! The access token, with a deadline.

mod read;
mod source;

pub use self::source::TokenSource;

use crate::error::{Echoes, Error, ErrorKind, Shared};
use crate::lifetime::{ExpiresIn, Judged, Lifetime};
use crate::response::TokenResponse;
use crate::secret::Secret;
use crate::text::{REDACTED, shorten};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use zeroize::Zeroize;

/// An access token. Its clones share one secret, which is wiped when the last clone is dropped.
///
/// ```
/// use keyfob::AccessToken;
///
/// let token = AccessToken::bearer("a-personal-access-token")?;
/// assert_eq!(token.authorization()?.expose(), "Bearer a-personal-access-token");
/// assert_eq!(format!("{token:?}"), "AccessToken { token_type: None, scope: None, lifetime: Unknown, .. }");
/// # Ok::<(), keyfob::Error>(())
/// ```
#[derive(Clone)]
pub struct AccessToken(Shared<Inner>);

struct Inner {
    /// The header's value: `Bearer ‹token›`, so that the secret is there once. The token alone if its type cannot be sent as a
    /// header.
    header: Secret,
    value_start: usize,
    /// If the API wants another header: its name, and the token, for it may be encoded in the header's value.
    api: Option<(String, Secret)>,
    token_type: Option<String>,
    scope: Option<String>,
    refresh_token: Option<Secret>,
    members: Vec<(String, Secret)>,
    lifetime: Lifetime,
    unbelieved: Option<Duration>,
    date_trouble: Option<&'static str>,
    is_stored: bool,
    /// The header has a secret besides the token.
    #[cfg_attr(not(all(feature = "std", unix)), allow(dead_code, reason = "there is no store"))]
    has_secret: bool,
    ended: AtomicBool,
}

const BEARER: &str = "Bearer ";

impl AccessToken {
    /// Makes a token from a text: a personal access token, or a stand-in for tests. Its lifetime is unknown.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if it is empty or holds a character outside visible ASCII (0x21 to 0x7E).
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, Error> {
        let token = token.as_ref();
        if token.is_empty() || !token.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) {
            return Err(Error::config("the access token is empty, or holds a character that is not visible ASCII"));
        }
        let response = TokenResponse {
            access_token: token,
            token_type: None,
            expires_in: ExpiresIn::Unknown,
            expires_at: None,
            refresh_token: None,
            scope: None,
            lifetime_text: None,
        };
        Ok(Self::new(&response, Lifetime::Unknown.into(), Vec::new(), None, false, false))
    }

    /// Makes a token from what a store holds.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn stored(
        response: &TokenResponse<'_>,
        lifetime: Lifetime,
        members: Vec<(String, Secret)>,
        api: Option<(String, Secret)>,
    ) -> Self {
        Self::new(response, lifetime.into(), members, api, true, false)
    }

    fn new(
        response: &TokenResponse<'_>,
        judged: Judged,
        members: Vec<(String, Secret)>,
        api: Option<(String, Secret)>,
        is_stored: bool,
        has_secret: bool,
    ) -> Self {
        let Judged { lifetime, unbelieved, date_trouble } = judged;
        let prefix = if is_bearer(response.token_type) { BEARER } else { "" };
        let (header, api) = match api {
            Some((name, value)) => (value, Some((name, response.access_token.into()))),
            None => {
                let mut header = String::with_capacity(prefix.len() + response.access_token.len());
                header.push_str(prefix);
                header.push_str(response.access_token);
                (header.into(), None)
            }
        };
        Self(Shared::new(Inner {
            header,
            value_start: prefix.len(),
            api,
            token_type: response.token_type.map(String::from),
            scope: response.scope.map(String::from),
            refresh_token: response.refresh_token.map(Secret::from),
            members,
            lifetime,
            unbelieved,
            date_trouble,
            is_stored,
            has_secret,
            ended: AtomicBool::new(false),
        }))
    }

    /// Returns the token itself, even after it was ended. For an HTTP header use [`header`](AccessToken::header).
    #[must_use]
    pub fn expose(&self) -> &str {
        match &self.0.api {
            Some((_, token)) => token.expose(),
            None => &self.0.header.expose()[self.0.value_start..],
        }
    }

    /// Returns the name and the value of the header in which the API wants the token: what [`Endpoint::api_header`] says, or
    /// `Authorization` with `Bearer ‹token›`. Allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`authorization`](AccessToken::authorization), but for the header's name.
    pub fn header(&self) -> Result<(&str, &Secret), Error> {
        match &self.0.api {
            Some(_) if self.is_ended() => Err(ended()),
            Some((name, _)) => Ok((name, &self.0.header)),
            None => Ok(("Authorization", self.authorization()?)),
        }
    }

    /// Returns the name and the value of a header that is not the default one.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn api_header(&self) -> Option<(&str, &str)> {
        self.0.api.as_ref().map(|(name, _)| (name.as_str(), self.0.header.expose()))
    }

    /// Whether the header has a secret besides the token: then it is not stored.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn has_secret(&self) -> bool {
        self.0.has_secret
    }

    /// Returns the value of the `Authorization` header: `Bearer ‹token›` (RFC 6750 section 2.1), or what
    /// [`Endpoint::api_header`] says. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) for a token of a type other than Bearer, which must not be sent as one
    /// (RFC 6749 section 7.1), for a token that was ended, and for one that the API wants in another header.
    pub fn authorization(&self) -> Result<&Secret, Error> {
        if self.is_ended() {
            return Err(ended());
        }
        if let Some((name, _)) = &self.0.api {
            return match name.eq_ignore_ascii_case("authorization") {
                true => Ok(&self.0.header),
                false => Err(Error::new(ErrorKind::Unusable, format!("the token is sent in the header {name}"))
                    .with_hint("take the name and the value from `AccessToken::header`")),
            };
        }
        if self.0.value_start == 0 {
            let token_type = shorten(self.token_type().unwrap_or_default());
            return Err(Error::new(
                ErrorKind::Unusable,
                format!("a token of type {token_type:?} cannot be sent as a bearer token"),
            )
            .with_hint("such a token needs more than a header; ask whoever runs the server for a bearer token"));
        }
        Ok(&self.0.header)
    }

    /// Returns the token's type as the server sent it. None if the server sent none, which counts as Bearer.
    #[must_use]
    pub fn token_type(&self) -> Option<&str> {
        self.0.token_type.as_deref()
    }

    /// Returns the scope as the server sent it. None if it is the scope that was asked for (RFC 6749 section 5.1).
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// Returns the refresh token that came with it.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.0.refresh_token.as_ref()
    }

    /// Returns another member of the answer, by the place that [`Endpoint::keep_member`] named: a string's text, or anything
    /// else as JSON. None if the answer did not have it.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&Secret> {
        self.0.members.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// Returns the members that were kept, by their places.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns whether the token came out of a store, where another process had put it.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.0.is_stored
    }

    /// Returns how long the token lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.0.lifetime
    }

    /// Returns the lifetime that the server named where it is not believed, for it is longer than ten years: a point in
    /// time, probably, in seconds or milliseconds since 1970. The token's own lifetime then is what
    /// [`LifetimeRules::absent`](crate::LifetimeRules::absent) says, or unknown.
    #[must_use]
    pub fn unbelieved_lifetime(&self) -> Option<Duration> {
        self.0.unbelieved
    }

    /// Returns why the answer's [`expires_at`](crate::Members::expires_at) was not used, in words that complete "it was not
    /// used, because": it cannot be read, or the answer has no `Date` to read it against. None if it was used, or is absent.
    #[must_use]
    pub fn expires_at_trouble(&self) -> Option<&'static str> {
        self.0.date_trouble
    }

    /// Returns whether the token has expired at `now`, by the clock it was read with. One with an unknown lifetime never has.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.remaining(now).is_some_and(|remaining| remaining.is_zero())
    }

    /// Returns the rest of the token's lifetime at `now`, zero if it has expired. None if the lifetime is unknown.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        match self.0.lifetime {
            Lifetime::Until(deadline) => Some(deadline.saturating_sub(now)),
            Lifetime::Unknown | Lifetime::Once => None,
        }
    }

    /// Returns whether this is a clone of `other`, and not just a token of the same text.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Shared::ptr_eq(&self.0, &other.0)
    }

    /// Drops the token's type if it echoes a secret that was sent. Call it before the token is shared.
    pub(crate) fn redact(&mut self, echoes: &Echoes<'_>) {
        let is_bearer = is_bearer(self.token_type());
        let Some(token_type) = Shared::get_mut(&mut self.0).and_then(|inner| inner.token_type.as_mut()) else { return };
        if !is_bearer && echoes.are_in(token_type) {
            token_type.zeroize();
            REDACTED.clone_into(token_type);
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Ends the token: no clone of it is sent any more.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Shows no secret.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("token_type", &self.token_type())
            .field("scope", &self.scope())
            .field("lifetime", &self.lifetime())
            .finish_non_exhaustive()
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unusable, "this token was ended and is not sent again")
}

/// Absent, `bearer` in any case, Apigee's `BearerToken` and eBay's `Application Access Token`.
fn is_bearer(token_type: Option<&str>) -> bool {
    let same = |name: &&str| token_type.is_some_and(|token_type| token_type.eq_ignore_ascii_case(name));
    token_type.is_none() || ["Bearer", "BearerToken", "Application Access Token"].iter().any(same)
}
