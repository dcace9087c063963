//! The token response (RFC 6749 sections 5.1 and 5.2), read in place and tolerantly.
//!
//! What is tolerated, and for which server, is one list in src/docs/tolerances.md; anything that is not on it is refused.

use crate::endpoint::Members;
use crate::error::is_registered;
use crate::form;
use crate::json::{self, Fault, Kind, Span, Wanted};
use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::ops::{Range, RangeInclusive};

/// A token response as it was read, borrowed from the body: nothing was copied. [What is
/// tolerated](crate::docs::tolerances) lists what the reader accepts.
#[non_exhaustive]
pub struct TokenResponse<'b> {
    /// One or more visible ASCII characters (0x21 to 0x7E).
    pub access_token: &'b str,
    /// As the server sent it; none where it was absent, `null` or empty.
    pub token_type: Option<&'b str>,
    /// How long the token lives, counted by the unit the server uses.
    pub expires_in: ExpiresIn,
    /// None where it was absent, `null`, empty or holds characters that RFC 6749 appendix A.17 forbids.
    pub refresh_token: Option<&'b str>,
    /// As the server sent it; an array is joined with spaces.
    pub scope: Option<&'b str>,
}

/// Shows no secret.
impl fmt::Debug for TokenResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// What the server said about a token's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresIn {
    /// Nothing, or nothing that is a number.
    Unknown,
    /// Zero, negative, or less than one: not credible, for some servers mean "never" by it.
    NotPositive,
    /// So many units, rounded down; what does not fit is [`u64::MAX`].
    Units(u64),
}

/// Why an answer yields no token.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection<'b> {
    /// The server refused, by an error of RFC 6749 section 5.2.
    OAuth(OAuthRefusal<'b>),
    /// The answer is not a token response.
    Malformed(Malformed),
}

/// Shows a registered error code, and nothing else of the server's.
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
/// Both texts are the server's: they may hold control characters, and even echo a secret. In place of one that is
/// larger than 64 KiB stands `‹too long›`.
pub struct OAuthRefusal<'b> {
    error: &'b [u8],
    error_description: Option<&'b [u8]>,
}

impl OAuthRefusal<'_> {
    /// The error code, `invalid_client` for example.
    #[must_use]
    pub fn error(&self) -> Cow<'_, str> {
        short_text(self.error)
    }

    /// The server's explanation; none where it is absent, empty or no string.
    #[must_use]
    pub fn error_description(&self) -> Option<Cow<'_, str>> {
        self.error_description.map(short_text)
    }
}

/// More than this explains nothing, and would be copied several times over.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// All or nothing of a text: half of a secret that it echoes could not be found in it any more.
fn short_text(text: &[u8]) -> Cow<'_, str> {
    if text.len() > MAX_TEXT { Cow::Borrowed("‹too long›") } else { String::from_utf8_lossy(text) }
}

/// Shows the error code alone: a description may echo a secret.
impl fmt::Debug for OAuthRefusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthRefusal").finish_non_exhaustive()
    }
}

/// Why an answer is no token response, and at which byte of the body. Never holds the body's text.
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

    /// What the caller of a service that answers so with a success can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self.reason {
            Reason::Text(UNFRAMED) => "ask whoever runs the server to send a Content-Length, or JSON",
            Reason::Text(COMPRESSED) => "ask for it as it is: send `Accept-Encoding: identity` (`Endpoint::header`)",
            _ => "is this the token endpoint? where the token stands in another member, name it (`Endpoint::members`)",
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

// The members of an answer, by the place of their path in the list that is scanned for. The second half are the
// places at the top level, for members that do not stand beside a nested token.
const ACCESS_TOKEN: usize = 0;
const TOKEN_TYPE: usize = 1;
const EXPIRES_IN: usize = 2;
const REFRESH_TOKEN: usize = 3;
const SCOPE: usize = 4;
const ERROR: usize = 5;
const ERROR_DESCRIPTION: usize = 6;
const COUNT: usize = 7;

impl<'b> TokenResponse<'b> {
    /// Reads the answer `body` of a token endpoint, in place: the body's bytes change, nothing is allocated.
    ///
    /// `framed` tells that the body's end was certain: it had a length, or came in chunks. A JSON object shows its
    /// own end; a form does not, so an unframed one is refused.
    ///
    /// # Errors
    ///
    /// [`Rejection::OAuth`] for an error of RFC 6749 section 5.2, under any status; it wins over a token.
    /// [`Rejection::Malformed`] for everything else that is no token response, a status outside 2xx included.
    pub fn read(
        status: u16,
        content_type: Option<&str>,
        framed: bool,
        body: &'b mut [u8],
        members: &Members,
    ) -> Result<Self, Rejection<'b>> {
        let read = match first_text(body) {
            Some(b'{') => Raw::json(body, members),
            Some(first) if first != b'<' && is_form(content_type) && framed => Raw::form(body, members),
            Some(first) if first != b'<' && is_form(content_type) => Err(Malformed::whole(UNFRAMED)),
            first => Err(not_an_answer(first, body)),
        };
        let is_success = (200..300).contains(&status);
        let raw = match read {
            Err(_) if !is_success => return Err(without_error(status)),
            read => read.map_err(Rejection::Malformed)?,
        };

        if let Some(error) = raw.error {
            let text = |range: Range<usize>| &body[range];
            return Err(Rejection::OAuth(OAuthRefusal {
                error: text(error),
                error_description: raw.error_description.map(text),
            }));
        }
        if !is_success {
            return Err(without_error(status));
        }
        let access_token = raw.access_token.map_err(Rejection::Malformed)?;
        let token_type = raw.token_type.map_err(Rejection::Malformed)?;
        // Only a scope may be no UTF-8, and is none then; an empty text could only come from a mistake of ours, and is refused.
        // Mostly all of the body is UTF-8, and is checked faster as one.
        let whole = core::str::from_utf8(body);
        let text = |range: Range<usize>| match whole {
            Ok(whole) => whole.get(range).filter(|text| !text.is_empty()),
            Err(_) => core::str::from_utf8(&body[range]).ok().filter(|text| !text.is_empty()),
        };
        Ok(Self {
            access_token: text(access_token).ok_or(Rejection::Malformed(Malformed::whole(EMPTY_TOKEN)))?,
            token_type: token_type.and_then(text),
            expires_in: raw.expires_in,
            refresh_token: raw.refresh_token.and_then(text),
            scope: raw.scope.and_then(text),
        })
    }
}

const EMPTY_TOKEN: &str = "the access token is empty";
const UNFRAMED: &str = "a form whose length is not known may be cut off";
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
        _ => Malformed::whole("the body is not a JSON object"),
    }
}

/// What both syntaxes are read into: the places of the texts, unescaped and checked.
struct Raw {
    access_token: Result<Range<usize>, Malformed>,
    token_type: Result<Option<Range<usize>>, Malformed>,
    expires_in: ExpiresIn,
    refresh_token: Option<Range<usize>>,
    scope: Option<Range<usize>>,
    error: Option<Range<usize>>,
    error_description: Option<Range<usize>>,
}

impl Raw {
    fn json(body: &mut [u8], members: &Members) -> Result<Self, Malformed> {
        let mut wanted = members.wanted();
        let places = if members.is_nested() { wanted.len() } else { COUNT };
        let json::Found { twice, .. } = json::scan(body, &mut wanted[..places])?;
        let found = |index: usize| wanted[index].span;
        let beside = |index: usize| found(index).or(wanted.get(COUNT + index).and_then(|other| other.span));

        let error = match found(ERROR) {
            None => None,
            Some(span) => match span.kind {
                Kind::Null => None,
                Kind::String => Some(json::unescape(body, span, true)?).filter(|range| !range.is_empty()),
                Kind::Number => Some(span.range()),
                _ => return Err(Malformed::at("the member `error` is no string", span.start)),
            },
        };
        // Beside an error no token comes out anyway, and the error's code is worth more than the fault.
        if let (None, Some(fault)) = (&error, twice) {
            return Err(fault.into());
        }
        let string = |body: &mut [u8], index: usize| -> Option<Range<usize>> {
            let span = beside(index).filter(|span| span.kind == Kind::String)?;
            json::unescape(body, span, false).ok().filter(|range| !range.is_empty())
        };
        let access_token = match found(ACCESS_TOKEN) {
            None => Err(not_found(body, members.access_token())),
            Some(span @ Span { kind: Kind::String, .. }) => {
                json::unescape(body, span, false).map_err(Malformed::from).and_then(|range| token_text(body, range))
            }
            Some(span @ Span { kind: Kind::Object, .. }) => {
                Err(Malformed::at("the access token is an object, not a string", span.start))
            }
            Some(span) => Err(Malformed::at("the access token is no string", span.start)),
        };
        let token_type = match beside(TOKEN_TYPE) {
            None | Some(Span { kind: Kind::Null, .. }) => Ok(None),
            Some(span @ Span { kind: Kind::String, .. }) => {
                json::unescape(body, span, false).map_err(Malformed::from).and_then(|range| type_text(body, range))
            }
            Some(span) => Err(Malformed::at("the token type is no string", span.start)),
        };
        let expires_in = match beside(EXPIRES_IN) {
            Some(span) if span.kind == Kind::Number => lifetime(&body[span.range()]),
            Some(span) if span.kind == Kind::String => match json::unescape(body, span, false) {
                Ok(range) => lifetime(&body[range]),
                Err(_) => ExpiresIn::Unknown,
            },
            _ => ExpiresIn::Unknown,
        };
        let scope = match beside(SCOPE) {
            Some(span) if span.kind == Kind::Array => json::join(body, span),
            _ => string(body, SCOPE),
        };
        Ok(Self {
            access_token,
            token_type,
            expires_in,
            refresh_token: string(body, REFRESH_TOKEN).filter(|range| is_vschar(&body[range.clone()])),
            scope,
            error,
            error_description: match found(ERROR_DESCRIPTION) {
                Some(span) if span.kind == Kind::String => {
                    json::unescape(body, span, true).ok().filter(|range| !range.is_empty())
                }
                _ => None,
            },
        })
    }

    fn form(body: &mut [u8], members: &Members) -> Result<Self, Malformed> {
        let mut found = form::scan(body, &members.names())?;
        let mut take = |index: usize| found[index].take().filter(|range| !range.is_empty());
        let (error, error_description) = (take(ERROR), take(ERROR_DESCRIPTION));
        let (refresh_token, scope) = (take(REFRESH_TOKEN), take(SCOPE));
        Ok(Self {
            access_token: match found[ACCESS_TOKEN].take() {
                None => Err(Malformed::whole("there is no access token")),
                Some(range) => token_text(body, range),
            },
            token_type: found[TOKEN_TYPE].take().map_or(Ok(None), |range| type_text(body, range)),
            expires_in: found[EXPIRES_IN].take().map_or(ExpiresIn::Unknown, |range| lifetime(&body[range])),
            refresh_token: refresh_token.filter(|range| is_vschar(&body[range.clone()])),
            scope,
            error,
            error_description,
        })
    }
}

/// Why there is no access token at `path`: on the way there may be something that no path leads through.
#[cold]
fn not_found(body: &[u8], path: &str) -> Malformed {
    for (end, _) in path.match_indices('.') {
        let mut parent = [Wanted::new(&path[..end])];
        let _ = json::scan(body, &mut parent);
        match parent[0].span {
            Some(Span { kind: Kind::Object, .. }) => {}
            Some(Span { kind: Kind::Array, start, .. }) => {
                return Malformed::at("the access token's path leads into an array", start);
            }
            Some(span) => return Malformed::at("the access token's path leads through what is no object", span.start),
            None => break,
        }
    }
    Malformed::whole("there is no access token")
}

/// An access token: RFC 6749's VSCHAR less the space, for a header cannot end in one, and a text with spaces is an
/// error message in the token's place. RFC 6750's b64token is narrower, and real servers do not keep to it.
fn token_text(body: &[u8], range: Range<usize>) -> Result<Range<usize>, Malformed> {
    if range.is_empty() {
        return Err(Malformed::at(EMPTY_TOKEN, range.start));
    }
    match first_outside(&body[range.clone()], 0x21..=0x7E) {
        None => Ok(range),
        // Compared in place: a copy of the token would not be wiped.
        Some(6) if body[range.clone()][..6].eq_ignore_ascii_case(b"bearer") && body[range.start + 6] == b' ' => {
            Err(Malformed::at("the access token has its scheme, `Bearer`, before it", range.start))
        }
        Some(at) => {
            Err(Malformed::at("the access token holds a character that is not visible ASCII", range.start + at))
        }
    }
}

/// A token type goes into a header, so it is printable ASCII (0x20 to 0x7E). Spaces around it are no part of it.
fn type_text(body: &[u8], mut range: Range<usize>) -> Result<Option<Range<usize>>, Malformed> {
    while let [b' ', ..] = &body[range.clone()] {
        range.start += 1;
    }
    while let [.., b' '] = &body[range.clone()] {
        range.end -= 1;
    }
    match first_outside(&body[range.clone()], 0x20..=0x7E) {
        None => Ok(Some(range).filter(|range| !range.is_empty())),
        Some(at) => {
            Err(Malformed::at("the token type holds a character that is not printable ASCII", range.start + at))
        }
    }
}

/// RFC 6749 appendix A: `VSCHAR = %x20-7E`.
fn is_vschar(text: &[u8]) -> bool {
    first_outside(text, 0x20..=0x7E).is_none()
}

/// Where the first byte stands that is not one of these.
fn first_outside(text: &[u8], allowed: RangeInclusive<u8>) -> Option<usize> {
    let is_outside = |byte: &u8| !allowed.contains(byte);
    // All of them are looked at first: without a way out in between, the compiler compares many at a time.
    let is_any = text.iter().fold(false, |is_any, byte| is_any | is_outside(byte));
    if is_any { text.iter().position(is_outside) } else { None }
}

/// Reads `expires_in`: decimal, with a fraction or an exponent, spaces around it. Rounds down, never wraps.
fn lifetime(text: &[u8]) -> ExpiresIn {
    // Mostly it is a plain number, of so few digits that it fits.
    if (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let value = text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return if value == 0 { ExpiresIn::NotPositive } else { ExpiresIn::Units(value) };
    }
    any_lifetime(text.trim_ascii())
}

/// Digits are counted out instead of computed with floats: 1e400 is no infinity and 3599.99999999999999999 is 3599.
#[cold]
fn any_lifetime(text: &[u8]) -> ExpiresIn {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mantissa_end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_end);
    let Some(exponent) = read_exponent(exponent) else { return ExpiresIn::Unknown };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    let all_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !all_digits(whole) || (point.is_some() && !all_digits(fraction)) {
        return ExpiresIn::Unknown;
    }
    // The digits before the point, once the exponent has moved it.
    let count = i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(exponent);
    let mut digits = whole.iter().chain(fraction);
    let mut value = 0u64;
    let mut taken = 0;
    while taken < count {
        let digit = match digits.next() {
            Some(digit) => u64::from(digit - b'0'),
            // Only zeros are left: without a digit before them the value stays zero, else it soon is at the top.
            None if value == 0 || value == u64::MAX => break,
            None => 0,
        };
        value = value.saturating_mul(10).saturating_add(digit);
        taken += 1;
    }
    match value {
        _ if negative => ExpiresIn::NotPositive,
        0 => ExpiresIn::NotPositive,
        value => ExpiresIn::Units(value),
    }
}

/// The part of a number from its `e` on; an absent one is 0, one that is no number is none.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let Some((_, text)) = text.split_first() else { return Some(0) };
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        value = value.saturating_mul(10).saturating_add(i64::from(char::from(*byte).to_digit(10)?));
    }
    // A body is at most 1 MiB, so an exponent beyond that moves the point past every digit.
    let value = value.min(1 << 32);
    Some(if negative { -value } else { value })
}
