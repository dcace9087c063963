//! The access token, with a deadline.

use crate::answer::{self, Said};
use crate::endpoint::Endpoint;
use crate::error::{Echoes, Error, ErrorKind, Shared};
use crate::json::Kind;
use crate::lifetime::{ExpiresIn, Judged, Lifetime, Told};
use crate::response::{Rejection, TokenResponse};
use crate::secret::Secret;
use crate::text::{REDACTED, shorten};
use crate::transport::Response;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
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

    /// Reads the token out of the answer to a request. The range is from when the request was sent to when the answer
    /// arrived, both by the same [`Clock`](crate::Clock): the lifetime is counted from the first.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::{AccessToken, Endpoint, Lifetime, Response};
    ///
    /// let endpoint = Endpoint::new("https://as.example/token")?;
    /// let response = Response::new(200, *br#"{"access_token": "abc", "expires_in": 60}"#);
    /// let (sent_at, arrived_at) = (Duration::from_secs(7), Duration::from_secs(8));
    /// let token = AccessToken::read(&endpoint, response, sent_at..arrived_at)?;
    /// assert_eq!(token.lifetime(), Lifetime::Until(Duration::from_secs(67)));
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused), [`Wait`](ErrorKind::Wait) or [`Unusable`](ErrorKind::Unusable), by the table in
    /// [errors and exit codes](crate::docs::errors).
    pub fn read(endpoint: &Endpoint, response: Response, sent_to_arrived: Range<Duration>) -> Result<Self, Error> {
        let Range { start: sent_at, end: arrived_at } = sent_to_arrived;
        let status = response.status;
        let token = Self::read_late(endpoint, response, sent_at, None)?;
        token.in_time(status, sent_at, arrived_at)?;
        Ok(token)
    }

    /// As [`read`](AccessToken::read), for a token that may have expired on its way. `wall_time` is the device's, since
    /// 1970.
    pub(crate) fn read_late(
        endpoint: &Endpoint,
        mut response: Response,
        sent_at: Duration,
        wall_time: Option<Duration>,
    ) -> Result<Self, Error> {
        let Response { status, headers, body, framed, .. } = &mut response;
        let (status, headers) = (*status, &*headers);
        // Before the body is changed in place. Whether it is sound is found below.
        let kept = endpoint.session_members.iter();
        let kept = kept.filter_map(|(name, place)| Some((name.clone(), place.text(headers, body)?)));
        let members: Vec<_> =
            kept.filter(|(_, (kind, _))| *kind != Kind::Null).map(|(name, (_, text))| (name, text)).collect();
        let is_success = (200..300).contains(&status);
        let refused = endpoint.refused_if.iter().find(|rule| is_success && rule.matches(headers, body));
        let said = match is_success && refused.is_none() {
            true => Said::Nothing,
            false => Said::read(body, &endpoint.members),
        };
        let read = TokenResponse::read_parts(status, headers, *framed, body, &endpoint.members);
        if matches!(status, 301..=303 | 307 | 308) {
            return Err(answer::redirect(status, headers));
        }
        let response = match (read, refused) {
            (Err(rejection @ Rejection::OAuth(_)), _) | (Err(rejection), None) => {
                return Err(answer::rejected(status, headers, &rejection, &said));
            }
            (_, Some(rule)) => return Err(answer::said_no(status, rule, &said)),
            (Ok(response), None) => response,
        };
        let device_time = || i64::try_from(wall_time.filter(|_| endpoint.lifetime.trust_clock)?.as_millis()).ok();
        let told = Told {
            expires_in: response.expires_in,
            text: response.lifetime_text,
            expires_at: response.expires_at,
            access_token: response.access_token,
            now: answer::server_time(headers).or_else(device_time),
        };
        let api = endpoint
            .api
            .as_ref()
            .map(|api| Ok((api.name.clone(), api.value(endpoint, response.access_token, &members)?)));
        let has_secret = endpoint.api.as_ref().is_some_and(|api| api.has_secret(endpoint));
        let judged = endpoint.lifetime.judge(&told, sent_at);
        Ok(Self::new(&response, judged, members, api.transpose()?, false, has_secret))
    }

    /// An error if the token had expired when it arrived.
    pub(crate) fn in_time(&self, status: u16, sent_at: Duration, arrived_at: Duration) -> Result<(), Error> {
        if !self.is_expired(arrived_at) {
            return Ok(());
        }
        // Not by the time that the answer took, but by the date that it names.
        if self.is_expired(sent_at) {
            return Err(Error::new(ErrorKind::Unusable, "the token had expired when the server answered")
                .with_status(status)
                .with_hint("the date at which it expires is not after the answer's own `Date`"));
        }
        let tenths = arrived_at.saturating_sub(sent_at).as_millis() / 100;
        let (late, tenths) = (tenths / 10, tenths % 10);
        Err(Error::new(
            ErrorKind::Unusable,
            format!("the token had expired when it arrived, {late}.{tenths} s after the request was sent"),
        )
        .with_status(status)
        .with_hint("the connection is slower than the token's life: ask whoever runs the server for a longer one"))
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

/// A source of tokens. Code that is written against it can be tested without a server.
///
/// Implemented for [`SharedTokenCache`](crate::SharedTokenCache), for [`AccessToken`] (which returns a clone of itself), for
/// closures such as `|| client.fetch(&grant)`, and for an `Arc` of any of them.
///
/// ```
/// use keyfob::{AccessToken, Error, TokenSource};
///
/// fn header(tokens: &dyn TokenSource) -> Result<String, Error> {
///     Ok(tokens.token()?.authorization()?.expose().to_owned())
/// }
///
/// assert_eq!(header(&AccessToken::bearer("stand-in")?)?, "Bearer stand-in");
/// # Ok::<(), Error>(())
/// ```
pub trait TokenSource {
    /// Returns a token that is valid now.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`], depending on the source.
    fn token(&self) -> Result<AccessToken, Error>;

    /// Reports that a protected resource refused `token` (status 401). Returns whether another call of
    /// [`token`](TokenSource::token) may bring a better one. Default: false.
    fn invalidate(&self, token: &AccessToken) -> bool {
        let _ = token;
        false
    }
}

impl TokenSource for AccessToken {
    fn token(&self) -> Result<AccessToken, Error> {
        if self.is_ended() { Err(ended()) } else { Ok(self.clone()) }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unusable, "this token was ended and is not sent again")
}

impl<F: Fn() -> Result<AccessToken, Error>> TokenSource for F {
    fn token(&self) -> Result<AccessToken, Error> {
        self()
    }
}

#[cfg(target_has_atomic = "ptr")]
impl<T: TokenSource + ?Sized> TokenSource for Shared<T> {
    fn token(&self) -> Result<AccessToken, Error> {
        (**self).token()
    }

    fn invalidate(&self, token: &AccessToken) -> bool {
        (**self).invalidate(token)
    }
}

/// Absent, `bearer` in any case, Apigee's `BearerToken` and eBay's `Application Access Token`.
fn is_bearer(token_type: Option<&str>) -> bool {
    let same = |name: &&str| token_type.is_some_and(|token_type| token_type.eq_ignore_ascii_case(name));
    token_type.is_none() || ["Bearer", "BearerToken", "Application Access Token"].iter().any(same)
}
