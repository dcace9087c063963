//! The head of an HTTP/1.1 response (RFC 9112): status, headers, and where the body ends.

use crate::secret::Secret;
use crate::transport::ResponseHeaders;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// The way to find the end of a body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// At the end of the connection.
    Close,
}

pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: ResponseHeaders,
    is_http_1_0: bool,
}

impl Head {
    pub(super) fn read(text: &[u8]) -> Result<Self, &'static str> {
        let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let (is_http_1_0, status) = status_line(lines.next().unwrap_or_default())?;
        let mut headers = ResponseHeaders::default();
        let mut lines = lines.filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a header has no colon")?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err("the name of a header is not valid");
            }
            // obs-fold (RFC 9112 section 5.2): a line that begins with a space continues the one before it.
            let mut joined: Option<Zeroizing<Vec<u8>>> = None;
            while let Some(more) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
                let before = joined.as_ref().map_or(trim(value), |joined| joined.as_slice());
                joined = Some(Zeroizing::new([before, b" ", trim(more)].concat()));
            }
            let value = trim(joined.as_ref().map_or(value, |joined| joined.as_slice()));
            if !is_text(value) {
                return Err("a header holds a control character");
            }
            headers.push(&String::from_utf8_lossy(name), lossy(value));
        }
        Ok(Self { status, headers, is_http_1_0 })
    }

    pub(super) fn framing(&self) -> Result<Framing, &'static str> {
        let mut lengths = self.headers.all("content-length");
        let length =
            lengths.next().map(|length| digits(length, 10).ok_or("its Content-Length is no number")).transpose()?;
        if lengths.any(|other| digits(other, 10) != length) {
            return Err("it has two lengths");
        }
        let last_coding = self
            .headers
            .all("transfer-encoding")
            .last()
            .map(|codings| codings.rsplit(',').next().unwrap_or_default().trim());
        Ok(match (self.status, last_coding, length) {
            (101 | 204 | 304, _, _) => Framing::Length(0),
            // Any transfer coding voids the length. HTTP/1.0 knows none.
            (_, Some(coding), _) if coding.eq_ignore_ascii_case("chunked") && !self.is_http_1_0 => Framing::Chunked,
            (_, Some(_), _) | (_, None, None) => Framing::Close,
            (_, None, Some(length)) => Framing::Length(length),
        })
    }
}

/// Reads `HTTP/1.1 200 OK`. The reason, and the space before it, may be missing.
fn status_line(line: &[u8]) -> Result<(bool, u16), &'static str> {
    let (is_http_1_0, rest) = match (line.strip_prefix(b"HTTP/1.1"), line.strip_prefix(b"HTTP/1.0")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("its version is neither HTTP/1.1 nor HTTP/1.0"),
    };
    let rest = rest.strip_prefix(b" ").unwrap_or_default();
    let (status, reason) = rest.split_at_checked(3).ok_or("its status does not have three digits")?;
    let is_number = matches!(status, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) && matches!(reason, [] | [b' ', ..]);
    match status.iter().fold(0, |number, digit| number * 10 + u16::from(digit.wrapping_sub(b'0'))) {
        _ if !is_number => Err("its status does not have three digits"),
        _ if !is_text(reason) => Err("its status line holds a control character"),
        status => Ok((is_http_1_0, status)),
    }
}

/// Removes spaces and tabs at both ends.
fn trim(text: &[u8]) -> &[u8] {
    let is_inner = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = text.iter().position(is_inner).unwrap_or(text.len());
    let end = text.iter().rposition(is_inner).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Returns whether there is no control character (RFC 9110 section 5.5).
fn is_text(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7E | 0x80..))
}

/// Replaces bytes that are not UTF-8, so that two values are never taken for one.
fn lossy(value: &[u8]) -> Secret {
    match String::from_utf8_lossy(value) {
        Cow::Borrowed(text) => Secret::from(text),
        Cow::Owned(text) => Secret::from(text),
    }
}

/// Returns whether a byte may be in a header's name (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Reads a number of digits only: `u64::from_str_radix` accepts a sign as well.
pub(super) fn digits(text: &str, radix: u32) -> Option<u64> {
    let is_number = text.bytes().all(|byte| char::from(byte).is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_number)
}

/// Returns the place after the first empty line that ends at `start` or later.
pub(super) fn end_of_head(text: &[u8], start: usize) -> Option<usize> {
    (start..text.len()).find_map(|at| match &text[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}
