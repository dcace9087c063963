//! The access token, with a deadline.

use crate::endpoint::{Endpoint, LifetimeRules, NotPositive};
use crate::error::{Error, ErrorKind, shorten};
use crate::http_date;
use crate::json::{self, Kind, Wanted};
use crate::response::{ExpiresIn, Rejection, TokenResponse};
use crate::secret::Secret;
use crate::transport::{Response, ResponseHeaders};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

#[cfg(not(target_has_atomic = "ptr"))]
use alloc::rc::Rc as Shared;
#[cfg(target_has_atomic = "ptr")]
use alloc::sync::Arc as Shared;

/// An access token. Its clones share one secret, which is wiped with the last of them.
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
    /// `Bearer ‹token›`: the header and the token in one, so that the secret stands once. The token alone, where its
    /// type cannot be sent as a header.
    header: Secret,
    value_start: usize,
    token_type: Option<String>,
    scope: Option<String>,
    refresh_token: Option<Secret>,
    members: Vec<(String, Secret)>,
    lifetime: Lifetime,
    is_stored: bool,
    ended: AtomicBool,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lifetime {
    /// Until this moment of the clock, counted from when the request was sent.
    Until(Duration),
    /// The server did not say: until somebody hears of a 401.
    Unknown,
    /// The server said zero or less, which is not credible: use it once, and do not keep it.
    Once,
}

const BEARER: &str = "Bearer ";

impl AccessToken {
    /// A token that is already there: a personal access token, or a stand-in for tests. Its lifetime is unknown.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where it is empty or holds a character outside visible ASCII (0x21 to 0x7E).
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, Error> {
        let token = token.as_ref();
        if token.is_empty() || !token.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) {
            return Err(Error::config("the access token is empty, or holds a character that is not visible ASCII"));
        }
        let response = TokenResponse {
            access_token: token,
            token_type: None,
            expires_in: ExpiresIn::Unknown,
            refresh_token: None,
            scope: None,
        };
        Ok(Self::new(&response, Lifetime::Unknown, Vec::new(), false))
    }

    /// Reads the token out of an answer to a request that was sent at `sent_at` and answered at `arrived_at`, both by
    /// the same [`Clock`](crate::Clock).
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused), [`Wait`](ErrorKind::Wait) or [`Unusable`](ErrorKind::Unusable), by the table in
    /// the README.
    pub fn read(
        endpoint: &Endpoint,
        response: Response,
        sent_at: Duration,
        arrived_at: Duration,
    ) -> Result<Self, Error> {
        let status = response.status;
        let token = Self::read_late(endpoint, response, sent_at)?;
        token.in_time(status, sent_at, arrived_at)?;
        Ok(token)
    }

    /// As [`read`](AccessToken::read), for a token that may have expired on its way.
    pub(crate) fn read_late(endpoint: &Endpoint, mut response: Response, sent_at: Duration) -> Result<Self, Error> {
        let Response { status, headers, body, framed, .. } = &mut response;
        let status = *status;
        // Before the body is changed in place. Whether it is sound is settled below.
        let members = endpoint.session_members.iter().filter_map(|path| member(body, path)).collect();
        let content_type = headers.get("content-type");
        let read = TokenResponse::read(status, content_type, *framed, body, &endpoint.members);
        if matches!(status, 301..=303 | 307 | 308) {
            return Err(redirect(status, headers));
        }
        let token = read.map_err(|rejection| rejected(status, headers, rejection))?;
        let lifetime = lifetime(&endpoint.lifetime, token.expires_in, sent_at);
        Ok(Self::new(&token, lifetime, members, false))
    }

    /// An error if the token had expired when it arrived.
    pub(crate) fn in_time(&self, status: u16, sent_at: Duration, arrived_at: Duration) -> Result<(), Error> {
        if !self.is_expired(arrived_at) {
            return Ok(());
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

    /// A token as it came out of a store.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn stored(response: &TokenResponse<'_>, lifetime: Lifetime, members: Vec<(String, Secret)>) -> Self {
        Self::new(response, lifetime, members, true)
    }

    fn new(response: &TokenResponse<'_>, lifetime: Lifetime, members: Vec<(String, Secret)>, is_stored: bool) -> Self {
        let prefix = if is_bearer(response.token_type) { BEARER } else { "" };
        let mut header = String::with_capacity(prefix.len() + response.access_token.len());
        header.push_str(prefix);
        header.push_str(response.access_token);
        Self(Shared::new(Inner {
            header: header.into(),
            value_start: prefix.len(),
            token_type: response.token_type.map(String::from),
            scope: response.scope.map(String::from),
            refresh_token: response.refresh_token.map(Secret::from),
            members,
            lifetime,
            is_stored,
            ended: AtomicBool::new(false),
        }))
    }

    /// The token itself, even of one that was ended. For an HTTP header use
    /// [`authorization`](AccessToken::authorization).
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0.header.expose()[self.0.value_start..]
    }

    /// The value of the `Authorization` header: `Bearer ‹token›` (RFC 6750 section 2.1). Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) for a token of a type other than Bearer, which must not be sent as one
    /// (RFC 6749 section 7.1), and for a token that was ended.
    pub fn authorization(&self) -> Result<&Secret, Error> {
        if self.is_ended() {
            return Err(ended());
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

    /// The token's type as the server sent it; none where it did not say, which is taken for Bearer.
    #[must_use]
    pub fn token_type(&self) -> Option<&str> {
        self.0.token_type.as_deref()
    }

    /// The scope as the server sent it. Where it is none, it is the one that was asked for (RFC 6749 section 5.1).
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// The refresh token that came with it.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.0.refresh_token.as_ref()
    }

    /// Another member of the answer that [`Endpoint::keep_member`] asked for: a string's text, or anything else as
    /// JSON. None where the answer did not have it.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&Secret> {
        self.0.members.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// The members that were asked for, with their paths.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn members(&self) -> &[(String, Secret)] {
        &self.0.members
    }

    /// Whether another process fetched it, and it came out of a store.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.0.is_stored
    }

    /// How long the token lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.0.lifetime
    }

    /// Whether the token's life is over at `now`, by the clock it was read with. An unknown lifetime is never over.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.remaining(now).is_some_and(|remaining| remaining.is_zero())
    }

    /// What is left of the token's life at `now`; none where that is not known.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        match self.0.lifetime {
            Lifetime::Until(deadline) => Some(deadline.saturating_sub(now)),
            Lifetime::Unknown | Lifetime::Once => None,
        }
    }

    /// Whether this is a clone of `other`, and not just of the same text.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Shared::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// From now on no clone of this token is sent any more.
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

/// Something that gives a token: write your code against it, and test it without a server.
///
/// An [`AccessToken`] gives itself, and so is any closure one: `|| client.fetch(&grant)`.
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
    /// A token that is valid now.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from getting one.
    fn token(&self) -> Result<AccessToken, Error>;
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

/// Absent, `bearer` in any case, Apigee's `BearerToken` and eBay's `Application Access Token`.
fn is_bearer(token_type: Option<&str>) -> bool {
    let same = |name: &&str| token_type.is_some_and(|token_type| token_type.eq_ignore_ascii_case(name));
    token_type.is_none() || ["Bearer", "BearerToken", "Application Access Token"].iter().any(same)
}

fn lifetime(rules: &LifetimeRules, expires_in: ExpiresIn, sent_at: Duration) -> Lifetime {
    let lives = match expires_in {
        ExpiresIn::Units(units) => Some(rules.unit.duration(units)),
        ExpiresIn::Unknown => rules.absent,
        ExpiresIn::NotPositive => match rules.not_positive {
            NotPositive::Once => return Lifetime::Once,
            NotPositive::Unknown => None,
            NotPositive::Lives(lives) => Some(lives),
        },
    };
    match lives {
        Some(lives) => Lifetime::Until(sent_at.saturating_add(lives.min(rules.maximum))),
        None => Lifetime::Unknown,
    }
}

/// The member of a JSON answer at `path`, decoded into a text of its own.
fn member(body: &[u8], path: &str) -> Option<(String, Secret)> {
    let mut wanted = [Wanted::new(path)];
    json::scan(body, &mut wanted, false).ok()?;
    let span = wanted[0].span.filter(|span| span.kind != Kind::Null)?;
    let mut text = zeroize::Zeroizing::new(body[span.range()].to_vec());
    if span.kind == Kind::String {
        let whole = json::Span { start: 0, end: text.len(), ..span };
        let decoded = json::unescape(&mut text, whole, true).ok()?;
        text.truncate(decoded.end);
    }
    Some((path.into(), Secret::from(core::str::from_utf8(&text).ok()?)))
}

/// A place longer than this is no token endpoint's, and no hint.
const MAX_PLACE: usize = 300;

fn redirect(status: u16, headers: &ResponseHeaders) -> Error {
    let error = Error::new(
        ErrorKind::Unusable,
        format!("the server redirects (status {status}), and credentials are not sent after it"),
    )
    .with_status(status);
    match headers.get("location").filter(|location| !location.is_empty()) {
        // Neither user information nor the query: both may hold a secret.
        Some(location) => {
            let place = location.split(['?', '#']).next().unwrap_or_default();
            // A URL without a scheme (`//host/path`) has an authority too.
            let place = match place.split_once("//").filter(|(before, _)| before.is_empty() || before.ends_with(':')) {
                // That is no scheme, but may be user information.
                Some((before, _)) if before.contains('@') => return error,
                Some((scheme, rest)) => {
                    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                    format!("{scheme}//{}{path}", authority.rsplit('@').next().unwrap_or_default())
                }
                // What is neither a URL nor a path may hold user information in any place.
                None if place.contains('@') && !place.starts_with('/') => return error,
                None => place.to_string(),
            };
            // What would have to be escaped is no URL, and could be many times as long.
            let is_plain = place.bytes().all(|byte| matches!(byte, 0x21..=0x7E) && byte != b'\\');
            if !is_plain || place.len() > MAX_PLACE {
                return error;
            }
            error.with_server_hint(format!("it names {place}; if that is the token endpoint, use its URL"))
        }
        None => error,
    }
}

/// The error for an answer without a token: who must act follows from the status and the OAuth error.
fn rejected(status: u16, headers: &ResponseHeaders, rejection: Rejection<'_>) -> Error {
    let is_wait = matches!(status, 429 | 503);
    let kind = match &rejection {
        _ if is_wait => ErrorKind::Wait,
        Rejection::OAuth(_) => ErrorKind::Refused,
        Rejection::Malformed(_) if matches!(status, 400 | 401 | 403) => ErrorKind::Refused,
        Rejection::Malformed(_) => ErrorKind::Unusable,
    };
    let error = match &rejection {
        Rejection::OAuth(_) if is_wait => Error::new(kind, format!("the server asks to wait (status {status})")),
        Rejection::OAuth(_) => Error::new(kind, format!("the server refused (status {status})")),
        Rejection::Malformed(_) if is_wait => Error::new(kind, format!("the server asks to wait (status {status})")),
        Rejection::Malformed(_) if kind == ErrorKind::Refused => {
            Error::new(kind, format!("the server refused (status {status}) and did not say why"))
        }
        Rejection::Malformed(malformed) if (200..300).contains(&status) => {
            Error::new(kind, format!("the answer is no token response: {malformed}"))
        }
        Rejection::Malformed(_) => Error::new(kind, format!("the server answered with status {status}")),
    };
    let error = match &rejection {
        Rejection::OAuth(refusal) => error.with_oauth(&refusal.error(), refusal.error_description().as_deref()),
        Rejection::Malformed(_) => error,
    };
    let error = match hint(status, &rejection) {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    error.with_status(status).retryable(is_wait).with_retry_after(retry_after(headers).filter(|_| is_wait))
}

/// What the caller can do about it.
fn hint(status: u16, rejection: &Rejection<'_>) -> Option<&'static str> {
    if let Rejection::OAuth(refusal) = rejection {
        return Some(match &*refusal.error() {
            "invalid_client" => {
                "check client id and secret, and the client authentication: some servers want it among the parameters \
                 (--auth client_secret_post), or not form-encoded (--basic-raw)"
            }
            "invalid_grant" => "the password or the token that was sent is wrong, expired or used up",
            "unauthorized_client" => "the server does not allow this client this grant",
            "unsupported_grant_type" => "the server does not know this grant: check --grant and --params",
            "invalid_scope" => "the server does not allow this scope: check --scope",
            "invalid_request" => {
                "a parameter is missing or unknown: compare the request with the service's documentation"
            }
            _ => return None,
        });
    }
    match status {
        400 | 401 | 403 => Some(
            "check the credentials, and that the request is what the service documents (--dialect, --params, --auth)",
        ),
        404 => Some("check the URL's path"),
        405 => Some("check the method: --method"),
        415 => Some("the server wants the parameters elsewhere: --params form or json"),
        200..300 => Some("is this the token endpoint? where the token stands in another member, name it (--field)"),
        _ => None,
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date. A date is read against the answer's own, for the device's may be wrong.
fn retry_after(headers: &ResponseHeaders) -> Option<Duration> {
    let text = headers.get("retry-after")?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = http_date::parse(text)?;
    let now = http_date::parse(headers.get("date")?.trim())?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}
