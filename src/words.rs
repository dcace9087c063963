//! Words of a description: the nearest one that is known, a member that is there twice, a duration.
//!
//! The command reads profiles and options the same way, and has this file as a module of its own.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use miniserde::json::{self, Number, Value};

/// The known word that `given` was probably meant to be: the same but for case, hyphens and one or two characters, or the
/// beginning of it.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &&str| distance(given.as_bytes(), known.replace('-', "_").as_bytes());
    let is_near = |known: &&str| {
        let distance = distance(known);
        (distance <= 2 && distance * 3 <= known.len()) || (given.len() >= 4 && known.starts_with(&given))
    };
    // What is much longer than all words is none of them, and would take long to compare.
    known.into_iter().filter(|_| given.len() <= 64).filter(is_near).min_by_key(distance)
}

/// How many characters have to be added, removed, replaced or swapped with the next (Damerau and Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

/// The first member that an object of this text has twice, and where it begins the second time. The text is known to be
/// JSON.
pub(crate) fn duplicate(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let mut objects: Vec<BTreeSet<String>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => objects.push(BTreeSet::new()),
            b'}' | b']' => drop(objects.pop()),
            b'"' => {
                let start = at;
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                // In JSON nothing but a member's name has a colon behind it.
                if text.get(at + 1..)?.trim_start().starts_with(':') {
                    let name: String = json::from_str(text.get(start..=at)?).ok()?;
                    let members = objects.last_mut()?;
                    if members.contains(&name) {
                        return Some((name, start));
                    }
                    members.insert(name);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Line and column of a place in a text, both counted from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
}

/// What a duration looks like, for messages.
pub(crate) const DURATION: &str = "seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)";

/// Reads a duration: a number of seconds, or with a unit of milliseconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // More than any clock counts is as good as that.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let whole = match milliseconds {
        1 => Duration::from_millis(whole),
        _ => Duration::from_secs(whole.saturating_mul(milliseconds / 1000)),
    };
    let fraction = &fraction[..fraction.len().min(9)];
    let nanoseconds = u128::from(fraction.parse::<u32>().ok()?) * u128::from(milliseconds) * 1_000_000;
    let nanoseconds = nanoseconds / 10_u128.pow(fraction.len() as u32);
    // Less than a day's worth.
    Some(whole.saturating_add(Duration::from_nanos(u64::try_from(nanoseconds).ok()?)))
}

/// Reads a duration as a description has it: a number of seconds, or a text.
pub(crate) fn described_duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(Number::U64(seconds)) => Some(Duration::from_secs(*seconds)),
        Value::Number(Number::F64(seconds)) => Duration::try_from_secs_f64(*seconds).ok(),
        Value::String(text) => duration(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_was_probably_meant() {
        let known = ["client_id", "client_secret_file", "client_secret_env", "url", "keep", "params", "param", "scope"];
        for (given, expected) in [
            ("client-id", Some("client_id")),
            ("CLIENT_ID", Some("client_id")),
            ("clientid", Some("client_id")),
            ("client_secret_fiel", Some("client_secret_file")),
            ("uri", Some("url")),
            ("parms", Some("params")),
            ("parma", Some("param")),
            ("scopes", Some("scope")),
            ("status", None),
            ("x", None),
            ("", None),
            ("résumé", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
        assert_eq!(nearest(&"a".repeat(1_000_000), known), None);
    }

    #[test]
    fn a_duration_has_a_unit_or_counts_seconds() {
        let millis = Duration::from_millis;
        for (text, expected) in [
            ("30", Some(millis(30_000))),
            ("0.5", Some(millis(500))),
            ("1.25", Some(millis(1250))),
            ("5s", Some(millis(5000))),
            ("0.5s", Some(millis(500))),
            ("500ms", Some(millis(500))),
            ("1.5ms", Some(Duration::from_micros(1500))),
            ("2m", Some(millis(120_000))),
            ("1.5h", Some(millis(5_400_000))),
            ("1d", Some(millis(86_400_000))),
            ("0", Some(Duration::ZERO)),
            ("0.0000000001", Some(Duration::ZERO)),
            ("0.999999999999d", Some(Duration::from_nanos(86_399_999_913_600))),
            ("18446744073709551615", Some(Duration::from_secs(u64::MAX))),
            ("99999999999999999999h", Some(Duration::from_secs(u64::MAX))),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1.2.3", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            (" 5", None),
            ("5 s", None),
            ("5S", None),
            ("5w", None),
            ("1h30m", None),
            ("٣", None),
            ("inf", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_found_at_any_depth() {
        for (text, expected) in [
            (r#"{"a": 1, "b": 2}"#, None),
            (r#"{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}"#, None),
            (r#"{"a": "a", "b": "a", "c": ["a", "a", "a:"]}"#, None),
            (r#"{"a": 1, "a": 2}"#, Some(("a", 9))),
            (r#"{"a": 1, "\u0061" : 2}"#, Some(("a", 9))),
            (r#"{"a\"": 1, "a\\": 1, "a\"": 2}"#, Some(("a\"", 21))),
            (r#"{"x": {"a": [1, {"b": 1}], "a": 2}}"#, Some(("a", 27))),
            (r#"{"x": [{"a": 1}, {"a": 1, "a": 1}]}"#, Some(("a", 26))),
        ] {
            let found = duplicate(text);
            assert_eq!(found.as_ref().map(|(name, at)| (name.as_str(), *at)), expected, "{text}");
        }
    }
}
