//! A token response as ranges of the body, whatever its syntax.

use super::{EMPTY_TOKEN, Malformed};
use crate::endpoint::Members;
use crate::form;
use crate::json::{self, Kind, Span};
use crate::lifetime::ExpiresIn;
use crate::place;
use core::ops::{Range, RangeInclusive};

// The members of an answer, by the place of their path in the list that is scanned for. The second half are the
// places at the top level, for members that are not beside a nested token.
const ACCESS_TOKEN: usize = 0;
const TOKEN_TYPE: usize = 1;
const EXPIRES_IN: usize = 2;
const REFRESH_TOKEN: usize = 3;
const SCOPE: usize = 4;
const ERROR: usize = 5;
const ERROR_DESCRIPTION: usize = 6;
const EXPIRES_AT: usize = 7;
/// From a member to the place to fall back to.
const FALLBACK: usize = 7;

/// The members as ranges of the body, unescaped and checked.
pub(super) struct Raw {
    pub(super) access_token: Result<Range<usize>, Malformed>,
    pub(super) token_type: Result<Option<Range<usize>>, Malformed>,
    pub(super) expires_in: ExpiresIn,
    pub(super) lifetime_text: Option<Range<usize>>,
    pub(super) expires_at: Option<Range<usize>>,
    pub(super) refresh_token: Option<Range<usize>>,
    pub(super) scope: Option<Range<usize>>,
    pub(super) error: Option<Range<usize>>,
    pub(super) error_description: Option<Range<usize>>,
}

impl Raw {
    /// An answer whose body is not read.
    pub(super) const NONE: Self = Self {
        access_token: Err(NO_TOKEN),
        token_type: Ok(None),
        expires_in: ExpiresIn::Unknown,
        lifetime_text: None,
        expires_at: None,
        refresh_token: None,
        scope: None,
        error: None,
        error_description: None,
    };

    pub(super) fn json(body: &mut [u8], members: &Members) -> Result<Self, Malformed> {
        let mut wanted = members.wanted();
        let json::Found { twice, .. } = json::scan(body, &mut wanted[..members.count()])?;
        let found = |index: usize| wanted[index].span;
        let beside = |index: usize| found(index).or(wanted.get(FALLBACK + index).and_then(|other| other.span));

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
            None => Err(not_found(body, members.place_of_token().path())),
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
        let number_or_text = |body: &mut [u8], span: Option<Span>| match span? {
            span if span.kind == Kind::Number => Some(span.range()),
            span if span.kind == Kind::String => json::unescape(body, span, false).ok(),
            _ => None,
        };
        let lifetime_text = number_or_text(body, beside(EXPIRES_IN));
        let expires_in = lifetime_text.clone().map_or(ExpiresIn::Unknown, |range| ExpiresIn::read(&body[range]));
        let expires_at = number_or_text(body, found(EXPIRES_AT));
        let scope = match beside(SCOPE) {
            Some(span) if span.kind == Kind::Array => json::join(body, span),
            _ => string(body, SCOPE),
        };
        Ok(Self {
            access_token,
            token_type,
            expires_in,
            lifetime_text,
            expires_at,
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

    pub(super) fn form(body: &mut [u8], members: &Members) -> Result<Self, Malformed> {
        let mut found = form::scan(body, &members.names())?;
        let mut take = |index: usize| found[index].take().filter(|range| !range.is_empty());
        let (error, error_description) = (take(ERROR), take(ERROR_DESCRIPTION));
        let (refresh_token, scope) = (take(REFRESH_TOKEN), take(SCOPE));
        Ok(Self {
            access_token: match found[ACCESS_TOKEN].take() {
                None => Err(NO_TOKEN),
                Some(range) => token_text(body, range),
            },
            token_type: found[TOKEN_TYPE].take().map_or(Ok(None), |range| type_text(body, range)),
            expires_in: found[EXPIRES_IN].clone().map_or(ExpiresIn::Unknown, |range| ExpiresIn::read(&body[range])),
            lifetime_text: found[EXPIRES_IN].take(),
            expires_at: found[EXPIRES_AT].take(),
            refresh_token: refresh_token.filter(|range| is_vschar(&body[range.clone()])),
            scope,
            error,
            error_description,
        })
    }
}

const NO_TOKEN: Malformed = Malformed::whole("there is no access token");

/// Why there is no access token at `path`: on the way there may be something that no path leads through.
#[cold]
fn not_found(body: &[u8], path: &str) -> Malformed {
    for (end, _) in path.match_indices('.') {
        match place::find(body, &path[..end]) {
            Some(Span { kind: Kind::Object, .. }) => {}
            Some(Span { kind: Kind::Array, start, .. }) if !json::is_index(json::first_name(&path[end + 1..])) => {
                return Malformed::at("the access token's path leads into an array and needs an index there", start);
            }
            Some(Span { kind: Kind::Array, .. }) => {}
            Some(span) => return Malformed::at("the access token's path leads through what is no object", span.start),
            None => break,
        }
    }
    match path.contains(['[', '/', '$']) {
        true => Malformed::whole("there is no access token; a path is written as data.0.token"),
        false => NO_TOKEN,
    }
}

/// A body that is nothing but the token.
const MAX_TOKEN: usize = 16 * 1024;

/// Reads a body that is the token and nothing else: one line, or a JSON string.
pub(super) fn whole_body(body: &mut [u8], framed: bool) -> Result<Range<usize>, Malformed> {
    let start = if body.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let text = body[start..].trim_ascii();
    let start = start + body[start..].len() - body[start..].trim_ascii_start().len();
    let range = start..start + text.len();
    match text {
        [] => Err(Malformed::whole("the body is empty")),
        [b'<', ..] => Err(Malformed::whole("the body is HTML or XML, not an access token")),
        [b'{' | b'[', ..] => Err(Malformed::at("the body is JSON, and not the access token alone", start)),
        _ if !framed => Err(Malformed::whole("an access token whose length is not known may be cut off")),
        _ if text.len() > MAX_TOKEN => Err(Malformed::whole("the body is too long for an access token")),
        [b'"', inner @ .., b'"'] if !inner.iter().any(|byte| matches!(byte, 0..=0x1F | b'"')) => {
            let inner = range.start + 1..range.end - 1;
            let is_escaped = body[inner.clone()].contains(&b'\\');
            let span = Span { kind: Kind::String, start: inner.start, end: inner.end, is_escaped };
            json::unescape(body, span, false).map_err(Malformed::from).and_then(|range| token_text(body, range))
        }
        _ => token_text(body, range),
    }
}

/// An access token: RFC 6749's VSCHAR less the space, for a header cannot end in one, and a text with spaces is an
/// error message in the token's place. RFC 6750's b64token is narrower, and real servers do not keep to it.
pub(super) fn token_text(body: &[u8], range: Range<usize>) -> Result<Range<usize>, Malformed> {
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
pub(super) fn is_vschar(text: &[u8]) -> bool {
    first_outside(text, 0x20..=0x7E).is_none()
}

/// Returns the index of the first byte that is not one of these.
fn first_outside(text: &[u8], allowed: RangeInclusive<u8>) -> Option<usize> {
    let is_outside = |byte: &u8| !allowed.contains(byte);
    // All of them are looked at first: without a way out in between, the compiler compares many at a time.
    let is_any = text.iter().fold(false, |is_any, byte| is_any | is_outside(byte));
    if is_any { text.iter().position(is_outside) } else { None }
}
