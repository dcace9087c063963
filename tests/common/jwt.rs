//! Keys for tests, and the reading of assertions.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jwt").join(name)
}

const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Decodes base64url without padding.
pub fn decoded(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.chars() {
        bits = bits << 6 | DIGITS.find(digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Encodes in base64url without padding.
pub fn encoded(bytes: &[u8]) -> String {
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        (0..=chunk.len()).map(move |at| char::from(DIGITS.as_bytes()[(bits >> (18 - 6 * at) & 63) as usize]))
    });
    digits.collect()
}

/// The claims of the assertion that is this parameter of a form.
pub fn claims(form: &str, parameter: &str) -> Option<String> {
    let mut values = form.split('&').filter_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('='));
    Some(String::from_utf8(decoded(values.next()?.split('.').nth(1)?)).unwrap())
}

/// A claim that is a number.
pub fn number(claims: &str, name: &str) -> i64 {
    let rest = claims.split(&format!("\"{name}\":")).nth(1).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}
