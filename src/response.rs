//! The token response (RFC 6749 sections 5.1 and 5.2), read in place and tolerantly.
//!
//! src/docs/tolerances.md lists what is tolerated, and for which server; anything that is not on the list is refused.

mod raw;

use self::raw::Raw;
use crate::endpoint::Members;
use crate::error::is_registered;
use crate::json::Fault;
use crate::lifetime::ExpiresIn;
use crate::place::{Ambiguous, Place};
use crate::transport::{Response, ResponseHeaders};
use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

/// A token response (RFC 6749 section 5.1), borrowed from the answer: nothing is copied. [What is
/// tolerated](crate::docs::tolerances) lists what the reader accepts beyond the RFC.
#[non_exhaustive]
pub struct TokenResponse<'b> {
    /// One or more visible ASCII characters (0x21 to 0x7E).
    pub access_token: &'b str,
    /// As the server sent it. None if it is absent, `null` or empty.
    pub token_type: Option<&'b str>,
    /// The lifetime in the unit that the server uses, seconds in RFC 6749.
    pub expires_in: ExpiresIn,
    /// The moment of expiry as the server sent it, text or number, if [`Members::expires_at`] names its place.
    pub expires_at: Option<&'b str>,
    /// None if it is absent, `null`, empty or holds characters that RFC 6749 appendix A.17 forbids.
    pub refresh_token: Option<&'b str>,
    /// As the server sent it; an array is joined with spaces.
    pub scope: Option<&'b str>,
    /// The lifetime as the server sent it.
    pub(crate) lifetime_text: Option<&'b str>,
}

/// Shows no secret.
impl fmt::Debug for TokenResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// The reason why an answer contains no token, returned by [`TokenResponse::read`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection<'b> {
    /// The server refused with an error of RFC 6749 section 5.2.
    OAuth(OAuthRefusal<'b>),
    /// The answer is not a token response.
    Malformed(Malformed),
}

/// Shows a registered error code, and no other text of the server.
impl fmt::Display for Rejection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OAuth(refusal) => {
                let code = refusal.error();
                f.write_str("the server refused")?;
                if is_registered(&code) { write!(f, ": {code}") } else { Ok(()) }
            }
            Self::Malformed(malformed) => write!(f, "the answer is no token response: {malformed}"),
        }
    }
}

impl core::error::Error for Rejection<'_> {}

/// An OAuth error as the server sent it (RFC 6749 section 5.2), borrowed from the body.
///
/// Both texts come from the server. They may hold control characters and may repeat a secret: check them before you print
/// them. A text of more than 64 KiB is replaced with `‹too long›`.
pub struct OAuthRefusal<'b> {
    error: &'b [u8],
    error_description: Option<&'b [u8]>,
}

impl OAuthRefusal<'_> {
    /// Returns the `error` code, such as `invalid_client`. It need not be a registered one.
    #[must_use]
    pub fn error(&self) -> Cow<'_, str> {
        short_text(self.error)
    }

    /// Returns the `error_description`. None if it is absent, empty or not a string.
    #[must_use]
    pub fn error_description(&self) -> Option<Cow<'_, str>> {
        self.error_description.map(short_text)
    }
}

/// The longest text of a server that is used, in bytes. A longer one explains nothing, and would be copied several times.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// Returns all of a text or nothing, because a search for an echoed secret would miss a part of it.
fn short_text(text: &[u8]) -> Cow<'_, str> {
    if text.len() > MAX_TEXT { Cow::Borrowed("‹too long›") } else { String::from_utf8_lossy(text) }
}

/// Shows neither text: each may echo a secret.
impl fmt::Debug for OAuthRefusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthRefusal").finish_non_exhaustive()
    }
}

/// The reason why an answer is not a token response, and the position in the body, in bytes from its start. It never holds the
/// body's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    reason: Reason,
    offset: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Text(&'static str),
    Status(u16),
}

impl Malformed {
    const fn whole(reason: &'static str) -> Self {
        Self { reason: Reason::Text(reason), offset: None }
    }

    const fn at(reason: &'static str, offset: usize) -> Self {
        Self { reason: Reason::Text(reason), offset: Some(offset) }
    }

    /// Returns what the caller can do about such an answer under a status of success.
    pub(crate) fn hint(&self) -> &'static str {
        match self.reason {
            Reason::Text(UNFRAMED) => "ask the server's operator for a Content-Length, or for JSON",
            Reason::Text(COMPRESSED) => "ask for it as it is: send `Accept-Encoding: identity` (`Endpoint::header`)",
            Reason::Text(NO_OBJECT) => {
                "is this the token endpoint? if the body is the token itself, name its place, \"\" (`Endpoint::members`)"
            }
            _ => "is this the token endpoint? if the token is in another place, name it (`Endpoint::members`)",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Text(reason) => f.write_str(reason)?,
            Reason::Status(status) => write!(f, "status {status} without an OAuth error")?,
        }
        match self.offset {
            Some(offset) => write!(f, ", at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Malformed {}

impl From<Fault> for Malformed {
    fn from(fault: Fault) -> Self {
        Self::at(fault.reason, fault.offset)
    }
}

impl From<Fault> for Rejection<'_> {
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault.into())
    }
}

impl<'b> TokenResponse<'b> {
    /// Reads the answer of a token endpoint, in place: the body's bytes change, nothing is allocated.
    ///
    /// A form-encoded answer whose end was not certain ([`Response::with_framed`]) is refused; a JSON object shows its own
    /// end.
    ///
    /// ```
    /// use keyfob::{Members, Response, TokenResponse};
    ///
    /// let mut response = Response::new(200, *br#"{"access_token": "abc", "expires_in": "3600",}"#);
    /// let token = TokenResponse::read(&mut response, &Members::default()).unwrap();
    /// assert_eq!(token.access_token, "abc");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejection::OAuth`] for an error of RFC 6749 section 5.2, under any status; it wins over a token.
    /// [`Rejection::Malformed`] for everything else that is no token response, a status outside 2xx included.
    pub fn read(response: &'b mut Response, members: &Members) -> Result<Self, Rejection<'b>> {
        let Response { status, headers, body, framed, .. } = response;
        Self::read_parts(*status, headers, *framed, body, members)
    }

    pub(crate) fn read_parts(
        status: u16,
        headers: &'b ResponseHeaders,
        framed: bool,
        body: &'b mut [u8],
        members: &Members,
    ) -> Result<Self, Rejection<'b>> {
        let is_form = || is_form(headers.get("content-type"));
        let read = match first_text(body) {
            Some(b'{') => Raw::json(body, members),
            Some(b'[') if members.start_in_array() => Raw::json(body, members),
            // What the body is does not matter if the token is elsewhere.
            _ if !matches!(members.place_of_token(), Place::Path(_)) => Ok(Raw::NONE),
            Some(first) if first != b'<' && is_form() && framed => Raw::form(body, members),
            Some(first) if first != b'<' && is_form() => Err(Malformed::whole(UNFRAMED)),
            first => Err(not_an_answer(first, body)),
        };
        let is_success = (200..300).contains(&status);
        let raw = match read {
            Err(_) if !is_success => return Err(without_error(status)),
            read => read.map_err(Rejection::Malformed)?,
        };
        let elsewhere = match members.is_elsewhere() {
            true => Elsewhere::find(headers, members).map_err(Rejection::Malformed)?,
            false => Elsewhere::default(),
        };

        if raw.error.is_some() || elsewhere.error.is_some() {
            let bytes = |range: Option<Range<usize>>, other: Option<&'b str>| match range {
                Some(range) => Some(&body[range]),
                None => other.map(str::as_bytes),
            };
            return Err(Rejection::OAuth(OAuthRefusal {
                error: bytes(raw.error, elsewhere.error).unwrap_or_default(),
                error_description: bytes(raw.error_description, elsewhere.error_description),
            }));
        }
        if !is_success {
            return Err(without_error(status));
        }
        let access_token = match members.place_of_token() {
            Place::Path(_) => raw.access_token,
            Place::Body => raw::whole_body(body, framed),
            Place::Header(_) | Place::Cookie(_) => elsewhere.check_token().map(|()| 0..0),
        };
        let access_token = access_token.map_err(Rejection::Malformed)?;
        let token_type = raw.token_type.map_err(Rejection::Malformed)?;
        // Only a scope may be no UTF-8, and is none then; an empty text could only come from a mistake of ours, and is refused.
        // Most bodies are UTF-8 as a whole, and are checked faster as one.
        let whole = core::str::from_utf8(body);
        let text = |range: Range<usize>| match whole {
            Ok(whole) => whole.get(range).filter(|text| !text.is_empty()),
            Err(_) => core::str::from_utf8(&body[range]).ok().filter(|text| !text.is_empty()),
        };
        let access_token = elsewhere.access_token.or_else(|| text(access_token));
        Ok(Self {
            access_token: access_token.ok_or(Rejection::Malformed(Malformed::whole(EMPTY_TOKEN)))?,
            token_type: elsewhere.token_type.or_else(|| text(token_type?)),
            expires_in: elsewhere.expires_in.map_or(raw.expires_in, |text| ExpiresIn::read(text.as_bytes())),
            expires_at: elsewhere.expires_at.or_else(|| text(raw.expires_at?)),
            refresh_token: elsewhere.refresh_token.or_else(|| text(raw.refresh_token?)),
            scope: elsewhere.scope.or_else(|| text(raw.scope?)),
            lifetime_text: elsewhere.expires_in.or_else(|| text(raw.lifetime_text?)),
        })
    }
}

/// The members that are in headers and cookies.
#[derive(Default)]
struct Elsewhere<'b> {
    access_token: Option<&'b str>,
    token_type: Option<&'b str>,
    expires_in: Option<&'b str>,
    refresh_token: Option<&'b str>,
    scope: Option<&'b str>,
    error: Option<&'b str>,
    error_description: Option<&'b str>,
    expires_at: Option<&'b str>,
}

impl<'b> Elsewhere<'b> {
    #[cold]
    fn find(headers: &'b ResponseHeaders, members: &Members) -> Result<Self, Malformed> {
        let mut values = [None; 8];
        for (value, place) in values.iter_mut().zip(members.places()) {
            let found = place.map_or(Ok(None), |place| place.in_headers(headers));
            *value =
                found.map_err(|Ambiguous| Malformed::whole("a header or cookie is there twice, with two values"))?;
        }
        let [access_token, token_type, expires_in, refresh_token, scope, error, error_description, expires_at] = values;
        let printable = |text: &&str| raw::is_vschar(text.as_bytes());
        Ok(Self {
            // As servers send it in a header of the name Authorization.
            access_token: access_token.map(without_scheme),
            token_type: token_type.filter(printable),
            refresh_token: refresh_token.filter(printable),
            expires_in,
            scope,
            error,
            error_description,
            expires_at,
        })
    }

    /// Checks the access token in a header or cookie.
    fn check_token(&self) -> Result<(), Malformed> {
        let token =
            self.access_token.ok_or(Malformed::whole("the answer has no header or cookie with the access token"))?;
        raw::token_text(token.as_bytes(), 0..token.len()).map(drop)
    }
}

fn without_scheme(token: &str) -> &str {
    match token.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start(),
        _ => token,
    }
}

const EMPTY_TOKEN: &str = "the access token is empty";
const UNFRAMED: &str = "a form whose length is not known may be cut off";
const NO_OBJECT: &str = "the body is not a JSON object";
const COMPRESSED: &str = "the body is compressed, though nothing asked for it";

fn without_error<'b>(status: u16) -> Rejection<'b> {
    Rejection::Malformed(Malformed { reason: Reason::Status(status), offset: None })
}

/// The first byte that is neither a byte-order mark nor white space.
pub(crate) fn first_text(body: &[u8]) -> Option<u8> {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    text.iter().copied().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

fn is_form(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn not_an_answer(first: Option<u8>, body: &[u8]) -> Malformed {
    match (first, body) {
        (None, _) => Malformed::whole("the body is empty"),
        (Some(b'<'), _) => Malformed::whole("the body is HTML or XML, not JSON"),
        (_, [0x1F, 0x8B, ..]) => Malformed::whole(COMPRESSED),
        (_, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, ..] | [_, 0, ..]) => {
            Malformed::whole("the body is UTF-16, not UTF-8")
        }
        _ => Malformed::whole(NO_OBJECT),
    }
}
