//! The access token and its deadline.

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
    /// The header's value: `Bearer ‹token›`, so that memory holds the secret once. The token alone if its type cannot be sent as
    /// a header.
    header: Secret,
    value_start: usize,
    /// The name of another header, if the API requires one, and the token, which may be encoded in that header's value.
    api: Option<(String, Secret)>,
    token_type: Option<String>,
    scope: Option<String>,
    refresh_token: Option<Secret>,
    members: Vec<(String, Secret)>,
    lifetime: Lifetime,
    unbelieved: Option<Duration>,
    date_trouble: Option<&'static str>,
    is_stored: bool,
    /// The header holds another secret in addition to the token.
    #[cfg_attr(not(all(feature = "std", unix)), allow(dead_code, reason = "there is no store"))]
    has_secret: bool,
    ended: AtomicBool,
}

const BEARER: &str = "Bearer ";

impl AccessToken {
    /// Creates a token from a text, such as a personal access token or a value for tests. Its lifetime is unknown, and it has
    /// neither type, scope nor refresh token.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the text is empty or holds a character outside visible ASCII (0x21 to 0x7E).
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

    /// Creates a token from the record of a store.
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

    /// Returns the token itself, even after it was ended. For an HTTP header, use [`header`](AccessToken::header), which also
    /// refuses a token that must not be sent. Allocates nothing.
    #[must_use]
    pub fn expose(&self) -> &str {
        match &self.0.api {
            Some((_, token)) => token.expose(),
            None => &self.0.header.expose()[self.0.value_start..],
        }
    }

    /// Returns the name and the value of the header that carries the token to the API: `Authorization` with `Bearer ‹token›`
    /// (RFC 6750 section 2.1), unless [`Endpoint::api_header`](crate::Endpoint::api_header) sets another. Allocates nothing.
    ///
    /// ```
    /// use keyfob::AccessToken;
    ///
    /// let token = AccessToken::bearer("abc")?;
    /// let (name, value) = token.header()?;
    /// assert_eq!((name, value.expose()), ("Authorization", "Bearer abc"));
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) for a token that was ended, and for one of a type other than Bearer if
    /// [`Endpoint::api_header`](crate::Endpoint::api_header) is not set.
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

    /// Returns whether the header holds another secret in addition to the token. Such a token is not stored.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn has_secret(&self) -> bool {
        self.0.has_secret
    }

    /// Returns the value of the `Authorization` header: `Bearer ‹token›` (RFC 6750 section 2.1), unless
    /// [`Endpoint::api_header`](crate::Endpoint::api_header) sets another. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) for a token of a type other than Bearer, which must not be sent as one
    /// (RFC 6749 section 7.1), for a token that was ended, and for one that belongs in another header: use
    /// [`header`](AccessToken::header) then.
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

    /// Returns the `token_type` as the server sent it (RFC 6749 section 7.1). None if the server sent none, which counts as
    /// Bearer.
    #[must_use]
    pub fn token_type(&self) -> Option<&str> {
        self.0.token_type.as_deref()
    }

    /// Returns the `scope` as the server sent it. None if the server sent none: it is the requested scope then (RFC 6749
    /// section 5.1).
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// Returns the refresh token of the same answer (RFC 6749 section 6). None if there was none. A cache uses it by itself.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.0.refresh_token.as_ref()
    }

    /// Returns another member of the answer, by the place that [`Endpoint::keep_member`](crate::Endpoint::keep_member) named. A
    /// string is returned as its text, any other value as JSON. None if the answer did not have the member, or if it was `null`.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&Secret> {
        self.0.members.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// Returns the kept members as pairs of place and value, in the order of the calls of
    /// [`Endpoint::keep_member`](crate::Endpoint::keep_member).
    pub fn members(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns whether the token came from a [`Store`](crate::Store), where another process or an earlier run had put it.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.0.is_stored
    }

    /// Returns the token's lifetime, as a deadline of the clock that the token was read with.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.0.lifetime
    }

    /// Returns the lifetime that the server named if it is longer than ten years and therefore not believed: it is probably a
    /// point in time, in seconds or milliseconds since 1970. [`lifetime`](AccessToken::lifetime) then is the one of
    /// [`LifetimeRules::absent`](crate::LifetimeRules::absent), or unknown.
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

    /// Returns whether the token has expired at `now`, a time of the clock that it was read with. A token with an unknown
    /// lifetime never expires.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.remaining(now).is_some_and(|remaining| remaining.is_zero())
    }

    /// Returns the rest of the token's lifetime at `now`, a time of the clock that it was read with. Zero if it has expired, None
    /// if the lifetime is unknown.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        match self.0.lifetime {
            Lifetime::Until(deadline) => Some(deadline.saturating_sub(now)),
            Lifetime::Unknown | Lifetime::Once => None,
        }
    }

    /// Returns whether this is a clone of `other`. Another token with the same text is not.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Shared::ptr_eq(&self.0, &other.0)
    }

    /// Keeps a member of the answer in addition to those that [`Endpoint::keep_member`] names. Call it before the token is
    /// shared.
    pub(crate) fn keep(&mut self, name: &str, value: Secret) {
        let Some(inner) = Shared::get_mut(&mut self.0) else { return };
        if inner.members.iter().all(|(known, _)| known != name) {
            inner.members.push((name.to_owned(), value));
        }
    }

    /// Removes the token's type if it echoes a secret that was sent. Call it before the token is shared.
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

    /// Ends the token: from now on no clone of it is sent.
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

/// Returns whether a token type counts as Bearer: absent, `bearer` in any case, Apigee's `BearerToken` and eBay's `Application
/// Access Token`.
fn is_bearer(token_type: Option<&str>) -> bool {
    let same = |name: &&str| token_type.is_some_and(|token_type| token_type.eq_ignore_ascii_case(name));
    token_type.is_none() || ["Bearer", "BearerToken", "Application Access Token"].iter().any(same)
}
