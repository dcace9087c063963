//! Decodes Base64. The output may be a private key or a part of a token, so it is wiped when dropped.

use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Decodes Base64 (RFC 4648 section 4) with white space anywhere, for private keys: see `digit`.
#[cfg(any(feature = "tls", feature = "jwt"))]
pub(crate) fn secret(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    decode(text, secret_digit)
}

/// Decodes Base64 with white space anywhere, for certificates. It is faster, because a bundle has a quarter of a megabyte.
#[cfg(any(feature = "tls", feature = "jwt"))]
pub(crate) fn public(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    decode(text, public_digit)
}

/// Decodes Base64url without padding (RFC 7515 section 2), for tokens and the numbers of private keys.
pub(crate) fn url(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    const PADDING: [&[u8]; 4] = [b"", b"===", b"==", b"="];
    let mut padded = Zeroizing::new(Vec::with_capacity(text.len() + 3));
    padded.extend_from_slice(text.as_bytes());
    padded.extend_from_slice(PADDING[text.len() % 4]);
    decode(&padded, |byte| digit(byte, b'-', b'_'))
}

fn decode(mut text: &[u8], value: impl Fn(u8) -> u8) -> Option<Zeroizing<Vec<u8>>> {
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

/// Returns the value of a Base64 digit, or 64 and more for any other byte. `plus` and `slash` are the digits 62 and 63.
///
/// For private keys. Neither the memory accesses nor the execution path depend on the digit: a table leaves traces in
/// the processor's cache, from which keys have been recovered. The length of the text and the positions of line ends
/// and padding remain observable.
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

#[cfg(any(feature = "tls", feature = "jwt"))]
fn secret_digit(byte: u8) -> u8 {
    digit(byte, b'+', b'/')
}

/// Like `secret_digit`, but with a table.
#[cfg(any(feature = "tls", feature = "jwt"))]
fn public_digit(byte: u8) -> u8 {
    VALUES[usize::from(byte)]
}

#[cfg(any(feature = "tls", feature = "jwt"))]
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

/// More than any digit's value.
const NONE: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "tls", feature = "jwt"))]
    #[test]
    fn it_is_read_exactly() {
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
                assert_eq!(decode(text.as_bytes(), digit).as_deref().map(Vec::as_slice), expected, "{text:?}");
            }
        }
    }

    #[cfg(any(feature = "tls", feature = "jwt"))]
    #[test]
    fn a_digit_is_the_same_with_and_without_a_table() {
        for byte in 0..=u8::MAX {
            assert_eq!(secret_digit(byte).min(NONE), public_digit(byte), "{byte}");
        }
    }

    #[test]
    fn without_padding_it_is_read_exactly() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("aGVsbG8", Some(b"hello")),
            ("aGVsbA", Some(b"hell")),
            ("aGVs", Some(b"hel")),
            ("-_-_", Some(&[0xFB, 0xFF, 0xBF])),
            ("aGVsb", None),
            ("+/+/", None),
            ("\u{e9}aa", None),
        ] {
            assert_eq!(url(text).as_deref().map(Vec::as_slice), expected, "{text:?}");
        }
    }
}
