//! Lifetimes written as a text.

use crate::words;
use core::time::Duration;

/// Reads `3600s`, `1h30m`, `2 days`, `01:00:00`, `1.02:03:04`, `PT1H`, or a number of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.contains(':') {
        return clock(text);
    }
    match text.strip_prefix('P') {
        // Months and years have no length; an `M` in front of the `T` would be months.
        Some(iso) => match iso.split_once('T') {
            Some(("", time)) => units(time),
            Some((date, time)) => Some(days(date)?.saturating_add(units(time)?)),
            None => days(iso),
        },
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            words::duration(text)
        }
        None => units(text),
    }
}

/// Reads the part of an ISO 8601 duration in front of its `T`.
fn days(text: &str) -> Option<Duration> {
    if text.contains(['M', 'Y']) { None } else { units(text) }
}

/// Reads numbers with their units, one after the other.
fn units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = words::duration(&rest[..end])?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let is = |names: &[&str]| names.iter().any(|name| rest[..end].eq_ignore_ascii_case(name));
        let number = match () {
            () if is(&["ms", "msec", "millisecond", "milliseconds"]) => number / 1000,
            () if is(&["s", "sec", "secs", "second", "seconds"]) => number,
            () if is(&["m", "min", "mins", "minute", "minutes"]) => times(number, 60),
            () if is(&["h", "hr", "hrs", "hour", "hours"]) => times(number, 3600),
            () if is(&["d", "day", "days"]) => times(number, 86_400),
            () if is(&["w", "week", "weeks"]) => times(number, 604_800),
            () => return None,
        };
        sum = sum.saturating_add(number);
        rest = rest[end..].trim_start_matches([' ', ',']);
    }
    (!text.is_empty()).then_some(sum)
}

fn times(duration: Duration, factor: u32) -> Duration {
    duration.checked_mul(factor).unwrap_or(Duration::MAX)
}

/// Reads hours, minutes and seconds; days before them if there is a fourth number, or a point in the hours. Two numbers
/// are not read: they could be hours and minutes or minutes and seconds.
fn clock(text: &str) -> Option<Duration> {
    let number = |text: &str| words::duration(text).filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let mut parts = text.rsplit(':');
    let seconds = words::duration(parts.next()?).filter(|seconds| *seconds < Duration::from_secs(60))?;
    let minutes = number(parts.next()?).filter(|minutes| *minutes < Duration::from_secs(60))?;
    let hours = parts.next()?;
    let (days, hours) = match parts.next() {
        Some(days) => (number(days)?, number(hours)?),
        None => match hours.split_once('.') {
            Some((days, hours)) => (number(days)?, number(hours)?),
            None => (Duration::ZERO, number(hours)?),
        },
    };
    if parts.next().is_some() {
        return None;
    }
    let hours = times(hours, 3600).saturating_add(times(days, 86_400));
    Some(hours.saturating_add(times(minutes, 60)).saturating_add(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_as_text() {
        let millis = Duration::from_millis;
        let s = Duration::from_secs;
        for (text, expected) in [
            ("3600", Some(s(3600))),
            ("3600s", Some(s(3600))),
            ("3600 s", Some(s(3600))),
            (" 3600.5s ", Some(millis(3_600_500))),
            ("500ms", Some(millis(500))),
            ("60m", Some(s(3600))),
            ("1h", Some(s(3600))),
            ("1H", Some(s(3600))),
            ("1.5h", Some(s(5400))),
            ("1h30m", Some(s(5400))),
            ("1h 30m 5s", Some(s(5405))),
            ("1 hour, 30 minutes", Some(s(5400))),
            ("24h0m0s", Some(s(86_400))),
            ("2 days", Some(s(172_800))),
            ("2 weeks", Some(s(1_209_600))),
            ("01:00:00", Some(s(3600))),
            ("1:00:00", Some(s(3600))),
            ("177:05:38", Some(s(637_538))),
            ("00:59:59.9999999", Some(Duration::from_nanos(3_599_999_999_900))),
            ("1.02:03:04", Some(s(93_784))),
            ("1:02:03:04", Some(s(93_784))),
            ("PT1H", Some(s(3600))),
            ("PT1H30M", Some(s(5400))),
            ("P1DT1H", Some(s(90_000))),
            ("P1D", Some(s(86_400))),
            ("0s", Some(s(0))),
            ("99999999999999999999h", Some(Duration::MAX)),
            ("P1M", None),
            ("P1Y", None),
            ("P", None),
            ("01:00", None),
            ("01:60:00", None),
            ("01:00:60", None),
            ("1:2:3:4:5", None),
            ("-1:00:00", None),
            ("1.5:00:00:00", None),
            (":00:00", None),
            ("1 month", None),
            ("1 fortnight", None),
            ("1h30", None),
            ("h", None),
            ("-1h", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
