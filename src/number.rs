//! Decimal numbers, as JSON writes them or as a text.

/// The part of a number before its point, without its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Rounded down. [`u64::MAX`] for anything that does not fit.
    pub(crate) value: u64,
    pub(crate) is_negative: bool,
}

/// Reads a decimal number with or without a sign, a fraction, an exponent and spaces around it. Never wraps.
pub(crate) fn whole(text: &[u8]) -> Option<Whole> {
    // Most are plain, and short enough to fit.
    if (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let value = text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return Some(Whole { value, is_negative: false });
    }
    any(text.trim_ascii())
}

/// Counts digits instead of computing with floats: 1e400 is no infinity and 3599.99999999999999999 is 3599.
#[cold]
fn any(text: &[u8]) -> Option<Whole> {
    let (is_negative, text) = sign(text);
    let mantissa_end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_end);
    let exponent = read_exponent(exponent)?;
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    let all_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !all_digits(whole) || (point.is_some() && !all_digits(fraction)) {
        return None;
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
    Some(Whole { value, is_negative })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Reads the part of a number from its `e` on: 0 if there is none.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let Some((_, text)) = text.split_first() else { return Some(0) };
    let (negative, digits) = sign(text);
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
