//! Dates in answers: those of HTTP (RFC 9110 section 5.6.7), of RFC 3339, and Unix times.

use crate::number;

/// A moment, in milliseconds since 1970 began, rounded down.
pub(crate) type Milliseconds = i64;

/// Returns the moment that a text names: an RFC 3339 date and time with its offset, an HTTP date, or a Unix time.
///
/// A date without an offset is not read: it is local time, and nobody knows whose.
pub(crate) fn parse(text: &str) -> Option<Milliseconds> {
    let text = text.trim_ascii();
    rfc_3339(text.as_bytes()).or_else(|| http(text)?.checked_mul(1000)).or_else(|| unix(text.as_bytes()))
}

/// Returns the seconds since 1970 of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`, the form that servers must send.
///
/// The two obsolete forms, which a recipient is to accept as well, are not worth their code: servers have not sent them for
/// decades, and without a date a client waits as long as it does after any other failure.
pub(crate) fn http(text: &str) -> Option<i64> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let text = text.as_bytes();
    if text.len() != 29 || !fits(text, b"___, __ ___ ____ __:__:__ GMT") {
        return None;
    }
    let month = MONTHS.iter().position(|month| *month == &text[8..11])? as i64 + 1;
    seconds([&text[12..16], &text[5..7], &text[17..19], &text[20..22], &text[23..25]].map(digits), month)
}

/// Reads `1985-04-12T23:20:50.52Z` and `1996-12-19T16:39:57-08:00` (RFC 3339 section 5.6). Tolerated beside it: a space for
/// the `T`, and an offset without its colon or its minutes.
fn rfc_3339(text: &[u8]) -> Option<Milliseconds> {
    let (date, rest) = text.split_at_checked(19)?;
    if !fits(date, b"____-__-__T__:__:__") && !fits(date, b"____-__-__t__:__:__") && !fits(date, b"____-__-__ __:__:__")
    {
        return None;
    }
    let month = digits(&date[5..7])?;
    let seconds = seconds([&date[..4], &date[8..10], &date[11..13], &date[14..16], &date[17..]].map(digits), month)?;
    let (thousandths, offset) = match rest {
        [b'.', fraction @ ..] => {
            let length = fraction.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(fraction.len());
            // The digits behind the third are less than a millisecond: rounded down.
            let digits = (0..3).map(|index| fraction[..length].get(index).map_or(0, |digit| i64::from(digit - b'0')));
            (digits.fold(0, |value, digit| value * 10 + digit), (length > 0).then_some(&fraction[length..])?)
        }
        offset => (0, offset),
    };
    let (is_behind, hours, minutes) = match offset {
        [b'Z' | b'z'] => (false, 0, 0),
        [sign @ (b'+' | b'-'), time @ ..] => {
            let (hours, minutes) = match time {
                [_, _, b':', _, _] => (&time[..2], &time[3..]),
                [_, _, _, _] => (&time[..2], &time[2..]),
                [_, _] => (time, &b"00"[..]),
                _ => return None,
            };
            (*sign == b'-', digits(hours)?, digits(minutes)?)
        }
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = (hours * 60 + minutes) * 60;
    let seconds = if is_behind { seconds + offset } else { seconds - offset };
    Some(seconds * 1000 + thousandths)
}

/// Reads a Unix time: in seconds, or in milliseconds, microseconds or nanoseconds if seconds would be beyond the year
/// 5138. A finer unit is an earlier moment, so a mistake only shortens. A fraction is cut off.
fn unix(text: &[u8]) -> Option<Milliseconds> {
    const YEAR_5138: i128 = 100_000_000_000_000;
    let number = number::whole(text)?;
    let value = i128::from(number.value);
    let mut milliseconds = value * 1000;
    for _ in 0..3 {
        if milliseconds >= YEAR_5138 {
            milliseconds /= 1000;
        }
    }
    let milliseconds = i64::try_from(milliseconds).ok()?;
    Some(if number.is_negative { -milliseconds } else { milliseconds })
}

/// Whether a text has this form, in which `_` is any character.
fn fits(text: &[u8], form: &[u8]) -> bool {
    text.len() == form.len() && text.iter().zip(form).all(|(byte, form)| *form == b'_' || byte == form)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Returns the seconds since 1970 of year, day, hour, minute and second, and a month, in UTC. A leap second is the first
/// second of the next minute.
fn seconds([year, day, hour, minute, second]: [Option<i64>; 5], month: i64) -> Option<i64> {
    let (year, day, hour, minute, second) = (year?, day?, hour?, minute?, second?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    let is_valid = (1..=length).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    is_valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar. The year is made to start in March, so that the
/// leap day is its last; the 400 years more keep every term positive.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468 - 146_097
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Fri, 31 Dec 9999 23:59:60 GMT", Some(253_402_300_800)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Mon, 30 Feb 2000 23:59:59 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT ", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Sün, 06 Nov 1994 08:49:37 GMT", None),
            ("3600", None),
            ("", None),
        ] {
            assert_eq!(http(text), seconds, "{text}");
        }
    }

    /// 60 forms and edges. What is no certain moment is none, and no moment is later than the one that was meant.
    #[test]
    fn dates_of_every_form() {
        const AT: i64 = 784_111_777_000;
        for (text, moment) in [
            // RFC 3339, with and without a fraction and an offset.
            ("1994-11-06T08:49:37Z", Some(AT)),
            ("1994-11-06t08:49:37z", Some(AT)),
            ("1994-11-06 08:49:37Z", Some(AT)),
            (" 1994-11-06T08:49:37Z\n", Some(AT)),
            ("1994-11-06T08:49:37.0Z", Some(AT)),
            ("1994-11-06T08:49:37.5Z", Some(AT + 500)),
            ("1994-11-06T08:49:37.05Z", Some(AT + 50)),
            ("1994-11-06T08:49:37.999Z", Some(AT + 999)),
            ("1994-11-06T08:49:37.999999Z", Some(AT + 999)),
            ("1994-11-06T08:49:37.9999999999999999999Z", Some(AT + 999)),
            ("1994-11-06T08:49:37.000000+00:00", Some(AT)),
            ("1994-11-06T08:49:37+00:00", Some(AT)),
            ("1994-11-06T08:49:37-00:00", Some(AT)),
            ("1994-11-06T10:19:37+01:30", Some(AT)),
            ("1994-11-06T00:49:37-08:00", Some(AT)),
            ("1994-11-06T00:49:37-0800", Some(AT)),
            ("1994-11-06T00:49:37-08", Some(AT)),
            ("1994-11-06T10:49:37.25+0200", Some(AT + 250)),
            ("1994-11-07T08:48:37+23:59", Some(AT)),
            // No offset: local time of an unknown place.
            ("1994-11-06T08:49:37", None),
            ("1994-11-06 08:49:37", None),
            ("1994-11-06T08:49:37.123", None),
            ("1994-11-06", None),
            ("1994-11-06T08:49Z", None),
            // No date.
            ("1994-11-06T08:49:37.Z", None),
            ("1994-11-06T08:49:37,5Z", None),
            ("1994-11-06T08:49:37Z0", None),
            ("1994-11-06T08:49:37 Z", None),
            ("1994-11-06T08:49:37+24:00", None),
            ("1994-11-06T08:49:37+01:60", None),
            ("1994-11-06T08:49:37+1", None),
            ("1994-11-06T08:49:37+1:00", None),
            ("1994-11-06T08:49:37+-1:00", None),
            ("1994-11-06T08:49:37 CET", None),
            ("1994-13-06T08:49:37Z", None),
            ("1994-00-06T08:49:37Z", None),
            ("1994-11-00T08:49:37Z", None),
            ("1994-11-31T08:49:37Z", None),
            ("1994-11-06T24:00:00Z", None),
            ("1994-11-06T08:60:37Z", None),
            ("1994-11-06T08:49:61Z", None),
            ("94-11-06T08:49:37Z", None),
            ("19941106T084937Z", None),
            ("06.11.1994 08:49:37", None),
            ("11/06/1994 08:49:37 AM", None),
            // The calendar's edges.
            ("2000-02-29T23:59:59Z", Some(951_868_799_000)),
            ("1900-02-29T00:00:00Z", None),
            ("2023-02-29T00:00:00Z", None),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", Some(-1000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000)),
            ("0000-01-01T00:00:00+23:59", Some(-62_167_305_540_000)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            ("9999-12-31T23:59:60-23:59", Some(253_402_387_140_000)),
            // HTTP's date.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(AT)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            // Unix times, as number or string.
            ("784111777", Some(AT)),
            ("784111777.9", Some(AT)),
            ("7.84111777e8", Some(AT)),
            (" +784111777 ", Some(AT)),
            ("784111777000", Some(AT)),
            ("784111777999", Some(AT + 999)),
            ("784111777000000", Some(AT)),
            ("784111777000000000", Some(AT)),
            ("0", Some(0)),
            ("-1", Some(-1000)),
            ("99999999999", Some(99_999_999_999_000)),
            ("100000000000", Some(100_000_000_000)),
            ("18446744073709551615", Some(18_446_744_073_709)),
            ("1e400", Some(18_446_744_073_709)),
            ("784111777s", None),
            ("0x2EBC9661", None),
            ("never", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(parse(text), moment, "{text}");
        }
    }
}
