//! Texts with secrets in them, written into buffers of their final size.

use crate::secret::Secret;
use alloc::string::String;
use core::fmt::{self, Write};
use zeroize::Zeroizing;

/// Writes a text twice: first to count its bytes, then into a buffer of just that size. So no buffer grows, which
/// would leave the text's beginning behind in the memory it grew out of.
pub(crate) fn exact(write: impl Fn(&mut dyn Write) -> fmt::Result) -> Secret {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither of the two can fail: both take everything.
    let _ = write(&mut count);
    let mut text = Zeroizing::new(String::with_capacity(count.0));
    let _ = write(&mut *text);
    debug_assert_eq!(text.len(), count.0, "both passes write the same");
    Secret::new(text)
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B); a space is written as `space`: `+`, or `%20` in a query,
/// which generic URL parsers and form decoders both understand.
pub(crate) fn form(out: &mut dyn Write, text: &str, space: &str) -> fmt::Result {
    let is_escaped = |byte: u8| !byte.is_ascii_alphanumeric() && !b"*-._".contains(&byte);
    escaped(out, text, is_escaped, &mut |out, byte| match byte {
        b' ' => out.write_str(space),
        byte => percent(out, byte),
    })
}

fn percent(out: &mut dyn Write, byte: u8) -> fmt::Result {
    write!(out, "%{byte:02X}")
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 section 2.3.
pub(crate) fn url(out: &mut dyn Write, text: &str) -> fmt::Result {
    escaped(out, text, |byte| !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte), &mut percent)
}

/// Writes a JSON string (RFC 8259 section 7), quotes included.
pub(crate) fn json_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    json_text(out, text)?;
    out.write_char('"')
}

/// Writes a text as it is inside the quotes of a JSON string.
pub(crate) fn json_text(out: &mut dyn Write, text: &str) -> fmt::Result {
    let is_escaped = |byte| matches!(byte, b'"' | b'\\' | 0..=0x1F | 0x7F);
    escaped(out, text, is_escaped, &mut |out, byte| match byte {
        b'"' => out.write_str("\\\""),
        b'\\' => out.write_str("\\\\"),
        byte => write!(out, "\\u{byte:04x}"),
    })
}

/// Writes a text, with `escape` for those of its bytes that `is_escaped` names: of ASCII any, of the others none or all.
fn escaped(
    out: &mut dyn Write,
    text: &str,
    is_escaped: impl Fn(u8) -> bool,
    escape: &mut dyn FnMut(&mut dyn Write, u8) -> fmt::Result,
) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(&is_escaped) {
        // Inside a character there is no cut: either none of its bytes is escaped, or each is.
        let length = rest[at..].chars().next().map_or(1, char::len_utf8);
        out.write_str(&rest[..at])?;
        rest[at..at + length].bytes().try_for_each(|byte| escape(out, byte))?;
        rest = &rest[at + length..];
    }
    out.write_str(rest)
}

/// Base64 with padding (RFC 4648 section 4).
pub(crate) fn base64(out: &mut dyn Write, bytes: &[u8]) -> fmt::Result {
    groups(out, bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "=")
}

/// Base64url without padding (RFC 7515 section 2).
pub(crate) fn base64_url(out: &mut dyn Write, bytes: &[u8]) -> fmt::Result {
    groups(out, bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", "")
}

fn groups(out: &mut dyn Write, bytes: &[u8], digits: &[u8; 64], padding: &str) -> fmt::Result {
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = char::from(digits[(group >> (18 - 6 * place) & 0x3F) as usize]);
            if place <= chunk.len() { out.write_char(digit) } else { out.write_str(padding) }?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut dyn Write) -> fmt::Result) -> String {
        exact(write).expose().into()
    }

    #[test]
    fn rfc_4648_section_10() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{FF}\u{FE}~~?", "w7/Dvn5+Pw=="),
        ] {
            assert_eq!(text(|out| base64(out, plain.as_bytes())), encoded);
            let url = encoded.trim_end_matches('=').replace('+', "-").replace('/', "_");
            assert_eq!(text(|out| base64_url(out, plain.as_bytes())), url);
        }
    }

    #[test]
    fn rfc_6749_appendix_b() {
        assert_eq!(text(|out| form(out, " %&+£€", "+")), "+%25%26%2B%C2%A3%E2%82%AC");
        assert_eq!(text(|out| form(out, "a b~*-._", "%20")), "a%20b%7E*-._");
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(text(|out| json_string(out, "a\"\\\n\u{1}\u{7F}é/")), r#""a\"\\\u000a\u0001\u007fé/""#);
    }
}
