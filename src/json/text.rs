//! Decodes the escapes of a JSON string, in place.

use super::grammar::plain_length;
use super::{Cursor, Fault, Kind, Span};
use crate::secret::Secret;
use core::ops::Range;
use zeroize::Zeroizing;

/// Returns whether `name`, which holds escapes, is `text`.
pub(super) fn is_same_escaped(text: &[u8], name: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(text) else { return false };
    let mut expected = text.chars();
    let mut at = 0;
    while at < name.len() {
        let c = if name[at] == b'\\' {
            let Some((c, length)) = escape(name, at) else { return false };
            at += length;
            Some(c)
        } else {
            at += 1;
            // A byte beyond ASCII is a part of a character, and no wanted name has one together with an escape.
            char::from(name[at - 1]).is_ascii().then_some(char::from(name[at - 1]))
        };
        if c.is_none() || expected.next() != c {
            return false;
        }
    }
    expected.next().is_none()
}

/// Returns the character of the escape at `at`, and how many bytes it takes. None for a lone surrogate.
fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let simple = match *bytes.get(at + 1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = hex4(bytes, at + 2)?;
            if !(0xD800..0xDC00).contains(&high) {
                return char::from_u32(high).map(|c| (c, 6));
            }
            let low = hex4(bytes, at + 8).filter(|_| bytes[at + 6..].starts_with(b"\\u"))?;
            let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
            return char::from_u32(0x10000 + ((high - 0xD800) << 10) + low).map(|c| (c, 12));
        }
        other => char::from(other),
    };
    Some((simple, 2))
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let mut value = 0;
    for byte in bytes.get(at..at + 4)? {
        value = value << 4 | char::from(*byte).to_digit(16)?;
    }
    Some(value)
}

/// Turns the string at `span`, which [`scan`](super::scan) has checked, into its text, in place. The unused bytes
/// are filled with spaces, so that no part of a secret stays behind the text.
///
/// A lone surrogate is not a character: it is a [`Fault`], or U+FFFD if `lossy` is set.
pub(crate) fn unescape(bytes: &mut [u8], span: Span, lossy: bool) -> Result<Range<usize>, Fault> {
    if span.is_escaped { unescape_escaped(bytes, span, lossy) } else { Ok(span.range()) }
}

#[cold]
fn unescape_escaped(bytes: &mut [u8], span: Span, lossy: bool) -> Result<Range<usize>, Fault> {
    let (mut read, mut write) = (span.start, span.start);
    loop {
        let plain = plain_length(&bytes[read..span.end]);
        bytes.copy_within(read..read + plain, write);
        read += plain;
        write += plain;
        if read == span.end {
            break;
        }
        let (c, length) = match escape(&bytes[..span.end], read) {
            Some(found) => found,
            None if lossy => (char::REPLACEMENT_CHARACTER, 6),
            None => return Err(Fault { reason: "half of a surrogate pair in a string", offset: read }),
        };
        read += length;
        write += c.encode_utf8(&mut bytes[write..]).len();
    }
    bytes[write..span.end].fill(b' ');
    Ok(span.start..write)
}

/// A copy of the value at `span`: a string's text, or anything else as JSON; none if it is not UTF-8, or holds a lone
/// surrogate that is not tolerated.
pub(crate) fn text(bytes: &[u8], span: Span, lossy: bool) -> Option<Secret> {
    let mut text = Zeroizing::new(bytes[span.range()].to_vec());
    if span.kind == Kind::String {
        let whole = Span { start: 0, end: text.len(), ..span };
        let decoded = unescape(&mut text, whole, lossy).ok()?;
        text.truncate(decoded.end);
    }
    core::str::from_utf8(&text).ok().map(Secret::from)
}

/// Joins the strings of the array at `span` with one space each, in place; none if an element is not a string.
pub(crate) fn join(bytes: &mut [u8], span: Span) -> Option<Range<usize>> {
    let (mut read, mut write) = (span.start + 1, span.start);
    loop {
        let mut cursor = Cursor { bytes, at: read };
        match cursor.skip_space()? {
            b']' => break,
            b',' => cursor.at += 1,
            b'"' => {
                let string = cursor.string().ok()?;
                read = cursor.at;
                let text = unescape(bytes, string, false).ok()?;
                if write > span.start {
                    bytes[write] = b' ';
                    write += 1;
                }
                let length = text.len();
                bytes.copy_within(text, write);
                write += length;
                continue;
            }
            _ => return None,
        }
        read = cursor.at;
    }
    bytes[write..span.end].fill(b' ');
    Some(span.start..write)
}
