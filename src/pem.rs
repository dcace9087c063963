//! Reads certificates and keys in PEM (RFC 7468). The output may be a private key, so it is wiped when dropped; the
//! reader of rustls would leave a copy.

use crate::error::Error;
use alloc::format;
use alloc::vec::Vec;
use std::io::BufRead;
use zeroize::Zeroizing;

pub(crate) struct Section<'p> {
    /// The text after BEGIN: `CERTIFICATE`.
    pub(crate) label: &'p str,
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// Whether the section has the header of RFC 1421 for encryption. `der` is then empty.
    pub(crate) is_encrypted: bool,
}

/// A section that is incomplete, or whose content is not Base64.
pub(crate) struct Broken;

/// Iterates over the sections of a text and skips the rest. Continues after a broken section.
pub(crate) struct Sections<'p>(&'p [u8]);

/// Returns the sections of a text. Skips a byte-order mark at its start, which Windows writes.
pub(crate) fn sections(text: &[u8]) -> Sections<'_> {
    Sections(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text))
}

/// Returns the error for an encrypted private key.
pub(crate) fn encrypted(what: &str) -> Error {
    Error::config(format!("{what}: it is encrypted, and keyfob cannot ask for its password")).with_hint(
        "decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
    )
}

/// Returns whether a label is that of a certificate: the one of RFC 7468 section 5.1, or its predecessor.
#[cfg(feature = "tls")]
pub(crate) fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE")
}

impl<'p> Sections<'p> {
    /// Returns the text before the next line that starts with five dashes, and that line. It searches for single
    /// dashes, because they are rare and a bundle has a quarter of a megabyte.
    fn boundary(&mut self) -> Option<(&'p [u8], &'p [u8])> {
        let (text, mut at) = (core::mem::take(&mut self.0), 0);
        loop {
            at += find(&text[at..], b'-')?;
            let indent = text[..at].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0C')).count();
            let is_at_start = matches!(text[..at - indent].last(), None | Some(b'\n' | b'\r'));
            if is_at_start && text[at..].starts_with(DASHES) {
                let rest = &text[at..];
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                self.0 = rest.get(end + 1..).unwrap_or_default();
                return Some((&text[..at - indent], rest[..end].trim_ascii_end()));
            }
            at += 1;
        }
    }
}

impl<'p> Iterator for Sections<'p> {
    type Item = Result<Section<'p>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = loop {
            if let Some(label) = self::label(self.boundary()?.1, "BEGIN ") {
                break label;
            }
        };
        let start = self.0;
        let Some((content, line)) = self.boundary() else { return Some(Err(Broken)) };
        if self::label(line, "END ") == Some(label) {
            return Some(section(label, content).ok_or(Broken));
        }
        if !line.starts_with(b"-----END ") {
            // This line may begin the next section.
            self.0 = &start[content.len()..];
        }
        Some(Err(Broken))
    }
}

const DASHES: &[u8] = b"-----";

fn label<'p>(line: &'p [u8], kind: &str) -> Option<&'p str> {
    let inner = line.strip_prefix(DASHES)?.strip_prefix(kind.as_bytes())?.strip_suffix(DASHES)?;
    core::str::from_utf8(inner).ok()
}

/// Returns the position of a byte. Searches many bytes at a time.
fn find(text: &[u8], byte: u8) -> Option<usize> {
    let mut rest = text;
    let count = rest.skip_until(byte).ok()?;
    text[..count].ends_with(&[byte]).then(|| count - 1)
}

fn section<'p>(label: &'p str, content: &[u8]) -> Option<Section<'p>> {
    // RFC 1421 section 4.6.1.1, used by older keys of OpenSSL.
    let is_encrypted = content.trim_ascii_start().starts_with(b"Proc-Type:");
    let der = match label.ends_with("CERTIFICATE") {
        _ if is_encrypted => Zeroizing::default(),
        true => base64(content, public_digit)?,
        false => base64(content, secret_digit)?,
    };
    Some(Section { label, der, is_encrypted })
}

/// Returns the value of a Base64 digit (RFC 4648 section 4), or 64 and more for any other byte.
///
/// For private keys. Neither the memory accesses nor the execution path depend on the digit: a table leaves traces in
/// the processor's cache, from which keys have been recovered. The length of the text and the positions of line ends
/// and padding remain observable.
fn secret_digit(byte: u8) -> u8 {
    digit(byte, b'+', b'/')
}

/// Like `secret_digit`, with `plus` and `slash` for the digits 62 and 63.
fn digit(byte: u8, plus: u8, slash: u8) -> u8 {
    let byte = i16::from(byte);
    // All ones where the byte is from `first` to `last`.
    let is_within = |first: u8, last: u8| ((i16::from(first) - 1 - byte) & (byte - i16::from(last) - 1)) >> 8;
    let value = (is_within(b'A', b'Z') & (byte - 64))
        | (is_within(b'a', b'z') & (byte - 70))
        | (is_within(b'0', b'9') & (byte + 5))
        | (is_within(plus, plus) & 63)
        | (is_within(slash, slash) & 64);
    // Any other byte: 0 becomes 255.
    (value - 1) as u8
}

/// Like `secret_digit`, but with a table. For certificates, because a bundle has a quarter of a megabyte.
fn public_digit(byte: u8) -> u8 {
    VALUES[usize::from(byte)]
}

const VALUES: [u8; 256] = {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NONE: u8 = 64;

/// Decodes base64url without padding (RFC 7515 section 2), for the numbers of a private key.
#[cfg(any(feature = "jwt", feature = "command"))]
pub(crate) fn base64_url(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    const PADDING: [&[u8]; 4] = [b"", b"===", b"==", b"="];
    let mut padded = Zeroizing::new(Vec::with_capacity(text.len() + 3));
    padded.extend_from_slice(text.as_bytes());
    padded.extend_from_slice(PADDING[text.len() % 4]);
    base64(&padded, |byte| digit(byte, b'-', b'_'))
}

/// Decodes Base64 with white space anywhere.
fn base64(mut text: &[u8], value: impl Fn(u8) -> u8) -> Option<Zeroizing<Vec<u8>>> {
    // Enough capacity: growing would leave a copy.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let (mut group, mut digits, mut padding) = (0_u32, 0, 0);
    loop {
        // Reads whole groups as long as possible: lines have 64 digits.
        while let ([a, b, c, d, rest @ ..], 0, 0) = (text, digits, padding) {
            let (a, b, c, d) = (value(*a), value(*b), value(*c), value(*d));
            if a | b | c | d >= NONE {
                break;
            }
            bytes.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
            text = rest;
        }
        let Some((byte, rest)) = text.split_first() else { break };
        text = rest;
        match byte {
            b'=' => padding += 1,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if padding > 0 || value(*byte) >= NONE => return None,
            _ => {
                group = group << 6 | u32::from(value(*byte));
                digits += 1;
            }
        }
        if digits == 4 {
            bytes.extend_from_slice(&group.to_be_bytes()[1..]);
            (group, digits) = (0, 0);
        }
    }
    match (digits, padding) {
        (0, 0) => {}
        (2, 2) => bytes.push((group >> 4) as u8),
        (3, 1) => bytes.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn base64_is_read_exactly() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("aGVsbG8=", Some(b"hello")),
            ("aGVs\r\nbG8 =\t", Some(b"hello")),
            ("aGVsbA==", Some(b"hell")),
            ("aGVs", Some(b"hel")),
            ("+/+/", Some(&[0xFB, 0xFF, 0xBF])),
            ("aGVsbG8", None),
            ("aGVsbA=", None),
            ("aGVsb", None),
            ("aGVs=", None),
            ("aGVsbA==aGVs", None),
            ("a-_b", None),
            ("!!!!", None),
        ] {
            for digit in [public_digit, secret_digit] {
                assert_eq!(base64(text.as_bytes(), digit).as_deref().map(Vec::as_slice), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_digit_is_the_same_with_and_without_a_table() {
        for byte in 0..=u8::MAX {
            assert_eq!(secret_digit(byte).min(NONE), public_digit(byte), "{byte}");
        }
    }

    #[test]
    fn sections_are_found_between_other_text_and_after_broken_ones() {
        let section = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        let good = section("A B", "aGVs\nbG8=");
        let legacy = section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naGVsbG8=");
        let cut = "-----BEGIN A-----\naGVs\n";
        let wrong_end = "-----BEGIN A-----\naGVs\n-----END B-----\n";
        for (text, expected) in [
            (String::new(), ""),
            ("-----BEGIN A----\n".into(), ""),
            (good.clone(), "A B=hello "),
            (format!("\u{FEFF}{good}"), "A B=hello "),
            (good.trim_end().into(), "A B=hello "),
            (good.replace('\n', "\r\n"), "A B=hello "),
            (good.replace('\n', " \n"), "A B=hello "),
            (good.replace('\n', "\r"), "A B=hello "),
            (good.replace("-----END", " \x0C-----END"), "A B=hello "),
            (good.replace("aGVs", "aGVs-----END A B-----"), "broken "),
            (format!("text\n{good}more\n{good}"), "A B=hello A B=hello "),
            (section("A", "!"), "broken "),
            (cut.into(), "broken "),
            (format!("{cut}{good}"), "broken A B=hello "),
            (format!("{wrong_end}{good}"), "broken A B=hello "),
            (format!("{}{good}", section("A", "!")), "broken A B=hello "),
            (legacy, "RSA PRIVATE KEY encrypted "),
        ] {
            let found: String = sections(text.as_bytes())
                .map(|section| match section {
                    Err(Broken) => "broken ".into(),
                    Ok(section) if section.is_encrypted => format!("{} encrypted ", section.label),
                    Ok(section) => format!("{}={} ", section.label, String::from_utf8_lossy(&section.der)),
                })
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
