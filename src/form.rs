//! Form-encoded answers (`application/x-www-form-urlencoded`), read in place.
//!
//! GitHub's default, Stack Exchange, QQ and others answer a token request so. No RFC says what a form is cut off
//! like, so the caller makes sure first that the body was framed.

use crate::json::Fault;
use core::ops::Range;

/// Finds the members `names` in the form `bytes` and decodes them in place.
///
/// A member that stands there twice is refused, as RFC 6749 section 3.2 asks.
pub(crate) fn scan<const N: usize>(bytes: &mut [u8], names: &[&str; N]) -> Result<[Option<Range<usize>>; N], Fault> {
    // HTML with a link in it looks much like a form; these bytes are in every page and in no form.
    if let Some(offset) = bytes.iter().position(|byte| matches!(byte, 0..=b' ' | b'"' | b'<' | b'>')) {
        return Err(Fault { reason: "a character that cannot stand in a form", offset });
    }
    let mut members = [const { None }; N];
    let mut start = 0;
    while start <= bytes.len() {
        let end = bytes[start..].iter().position(|byte| *byte == b'&').map_or(bytes.len(), |length| start + length);
        let equals = bytes[start..end].iter().position(|byte| *byte == b'=').map_or(end, |length| start + length);
        let name = decode(bytes, start..equals)?;
        let value = decode(bytes, end.min(equals + 1)..end)?;
        // An empty name is not looked for, but may be there: behind the last `&`.
        let is_wanted = |wanted: &&str| !wanted.is_empty() && wanted.as_bytes() == &bytes[name.clone()];
        if let Some(index) = names.iter().position(is_wanted) {
            if members[index].is_some() {
                return Err(Fault { reason: "a member stands there twice", offset: start });
            }
            members[index] = Some(value);
        }
        start = end + 1;
    }
    Ok(members)
}

/// Decodes `%XX` and `+` in place; what is no longer needed is filled with spaces.
pub(crate) fn decode(bytes: &mut [u8], range: Range<usize>) -> Result<Range<usize>, Fault> {
    let Some(first) = bytes[range.clone()].iter().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(range);
    };
    let (mut read, mut write) = (range.start + first, range.start + first);
    while read < range.end {
        bytes[write] = match bytes[read] {
            b'+' => b' ',
            b'%' => {
                let digit = |at: usize| (at < range.end).then(|| char::from(bytes[at]).to_digit(16)).flatten();
                let (Some(high), Some(low)) = (digit(read + 1), digit(read + 2)) else {
                    return Err(Fault { reason: "a percent sign without two hex digits", offset: read });
                };
                read += 2;
                (high << 4 | low) as u8
            }
            other => other,
        };
        read += 1;
        write += 1;
    }
    bytes[write..range.end].fill(b' ');
    Ok(range.start..write)
}
