//! Variables that are computed for each request: the time, and a random number.

use crate::calendar;
use crate::words;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;

/// The variable with a random UUID (RFC 9562 section 5.4), the same throughout one request.
const RANDOM: &str = "random";

/// Returns whether the name has the form of a computed variable: `random`, `now`, `now:FORMAT`, `now+1h`,
/// `now-10s:FORMAT`.
pub(crate) fn is_computed(name: &str) -> bool {
    name == RANDOM || time(name).is_some()
}

/// Computes a variable. None if the system has no clock or no random numbers.
pub(crate) fn value(name: &str, wall_time: Duration) -> Option<String> {
    if name == RANDOM {
        return random();
    }
    let (is_later, offset, format) = time(name)?;
    if wall_time.is_zero() {
        return None;
    }
    let time = if is_later { wall_time.checked_add(offset)? } else { wall_time.checked_sub(offset)? };
    // The calendar below has years of four digits.
    (time.as_secs() < 253_402_300_800).then(|| written(time, format))
}

/// Reads `now`, an offset if there is one, and the format.
fn time(name: &str) -> Option<(bool, Duration, &str)> {
    let rest = name.strip_prefix("now")?;
    let (offset, format) = rest.split_once(':').unwrap_or((rest, "YYYY-MM-DDTHH:mm:ssZ"));
    let is_format = ["unix", "unix_ms"].contains(&format) || format.contains("YYYY") || format.contains("HH");
    let (is_later, offset) = match offset.split_at_checked(1) {
        None => (true, Duration::ZERO),
        Some(("+", offset)) => (true, words::duration(offset)?),
        Some(("-", offset)) => (false, words::duration(offset)?),
        Some(_) => return None,
    };
    is_format.then_some((is_later, offset, format))
}

/// Writes a time in UTC. Other characters of the format are copied.
fn written(time: Duration, format: &str) -> String {
    let seconds = time.as_secs();
    match format {
        "unix" => return format!("{seconds}"),
        "unix_ms" => return format!("{}", time.as_millis()),
        _ => {}
    }
    let (year, month, day) = calendar::date(seconds / 86_400);
    let parts = [
        ("YYYY", year, 4),
        ("MM", month, 2),
        ("DD", day, 2),
        ("HH", seconds / 3600 % 24, 2),
        ("mm", seconds / 60 % 60, 2),
        ("ss", seconds % 60, 2),
        ("SSS", u64::from(time.subsec_millis()), 3),
    ];
    let (mut text, mut rest) = (String::new(), format);
    while let Some(first) = rest.chars().next() {
        match parts.iter().find(|(part, ..)| rest.starts_with(part)) {
            Some((part, number, width)) => {
                let _ = write!(text, "{number:0width$}");
                rest = &rest[part.len()..];
            }
            None => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    text
}

/// Returns a random UUID. It identifies a request and is not a key, so the seed of std's hash tables is random enough.
#[cfg(feature = "std")]
fn random() -> Option<String> {
    use std::hash::{BuildHasher, RandomState};
    let number = || RandomState::new().hash_one(0_u8);
    let bits = u128::from(number()) << 64 | u128::from(number());
    // Version 4, variant 10.
    let bits = bits & !(0xF << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{bits:032x}");
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(not(feature = "std"))]
fn random() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = Duration::from_millis(1_772_625_296_045); // 2026-03-04T11:54:56.045Z
        for (name, expected) in [
            ("now", Some("2026-03-04T11:54:56Z")),
            ("now:YYYY-MM-DDTHH:mm:ss", Some("2026-03-04T11:54:56")),
            ("now:YYYY-MM-DD HH:mm:ss.SSS", Some("2026-03-04 11:54:56.045")),
            ("now:YYYYMMDD", Some("20260304")),
            ("now:unix", Some("1772625296")),
            ("now:unix_ms", Some("1772625296045")),
            ("now+7d:YYYY-MM-DD", Some("2026-03-11")),
            ("now-1h:HH:mm", Some("10:54")),
            ("now+1h", Some("2026-03-04T12:54:56Z")),
            ("now+300d:YYYY-MM-DD", Some("2026-12-29")),
            ("now-5d:YYYY-MM-DD", Some("2026-02-27")),
            ("now+9999999d:YYYY", None),
            ("now-99999d:YYYY", None),
            ("now:yyyy-mm-dd", None),
            ("now:", None),
            ("now+:unix", None),
            ("now+7w:unix", None),
            ("now 7d:unix", None),
            ("nowhere", None),
            ("then", None),
        ] {
            assert_eq!(value(name, at).as_deref(), expected, "{name}");
        }
        assert_eq!(value("now", Duration::ZERO), None);
    }

    #[cfg(feature = "std")]
    #[test]
    fn random_numbers_are_uuids() {
        let uuids: alloc::collections::BTreeSet<_> =
            (0..1000).map(|_| value("random", Duration::ZERO).unwrap_or_default()).collect();
        assert_eq!(uuids.len(), 1000);
        for uuid in &uuids {
            assert_eq!((uuid.len(), &uuid[14..15], &uuid[8..9]), (36, "4", "-"), "{uuid}");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        }
    }
}
