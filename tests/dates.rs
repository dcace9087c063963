//! Tokens that end at a date: it is read against the answer's own `Date`, and no deadline is later than what was meant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, Clock, Endpoint, Error, ErrorKind, Grant, Lifetime, Request, Response, SecretSource,
};

/// 2026-11-25T12:00:00Z.
const NOW: i64 = 1_795_608_000;
const DATE: &str = "Wed, 25 Nov 2026 12:00:00 GMT";
/// When the request is sent, by the clock since the boot.
const SENT: Duration = Duration::from_secs(1000);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn endpoint(rules: &str) -> Endpoint {
    let field = r#""field":{"expires_at":"expires_at"}"#;
    Endpoint::from_json(&format!(r#"{{"url":"https://as.example/t",{field},"lifetime":{{{rules}}}}}"#)).unwrap()
}

fn read(rules: &str, members: &str, headers: &[(&str, &str)]) -> Result<AccessToken, Error> {
    let response = Response::new(200, format!(r#"{{"access_token":"t",{members}}}"#));
    let response = headers.iter().fold(response, |response, (name, value)| response.with_header(name, value));
    AccessToken::read(&endpoint(rules), response, SENT..SENT)
}

/// What is left of the lifetime when the request is sent: none if it is unknown, zero if the token had expired.
fn left(rules: &str, members: &str, headers: &[(&str, &str)]) -> Option<Duration> {
    match read(rules, members, headers) {
        Ok(token) => token.remaining(SENT),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unusable);
            assert_eq!(error.to_string(), "the token had expired when the server answered");
            Some(Duration::ZERO)
        }
    }
}

#[test]
fn a_date_ends_a_token() {
    const UNKNOWN: Option<u64> = None;
    const EXPIRED: Option<u64> = Some(0);
    const YEAR: u64 = 365 * 24 * 60 * 60;
    for (expires_at, seconds) in [
        // An hour, less the second that the answer's `Date` may leave out.
        (r#""2026-11-25T13:00:00Z""#, Some(3599)),
        (r#""2026-11-25T13:00:00.000Z""#, Some(3599)),
        (r#""2026-11-25T13:00:00.000000+00:00""#, Some(3599)),
        (r#""2026-11-25 13:00:00+00:00""#, Some(3599)),
        (r#""2026-11-25T14:00:00+01:00""#, Some(3599)),
        (r#""2026-11-25T05:00:00-08:00""#, Some(3599)),
        (r#""2026-11-26T12:59:00+23:59""#, Some(3599)),
        (r#""2026\u002d11-25T13:00:00Z""#, Some(3599)),
        (r#""Wed, 25 Nov 2026 13:00:00 GMT""#, Some(3599)),
        ("1795611600", Some(3599)),
        (r#""1795611600""#, Some(3599)),
        ("1795611600.0", Some(3599)),
        ("1.7956116e9", Some(3599)),
        ("1795611600000", Some(3599)),
        (r#""1795611600000""#, Some(3599)),
        ("1795611600000000", Some(3599)),
        // The end has come, or is less than a second away.
        (r#""2026-11-25T12:00:01Z""#, EXPIRED),
        (r#""2026-11-25T12:00:00Z""#, EXPIRED),
        (r#""2026-11-25T11:59:59Z""#, EXPIRED),
        (r#""2026-11-25T12:30:00+01:00""#, EXPIRED),
        (r#""1970-01-01T00:00:01Z""#, EXPIRED),
        ("1795607999", EXPIRED),
        ("3600", EXPIRED),
        // A leap second, and the end of a year.
        (r#""2026-12-31T23:59:60Z""#, Some(3_153_599)),
        (r#""2027-01-01T00:00:00Z""#, Some(3_153_599)),
        // Longer than a year, and than ten.
        (r#""2028-11-25T12:00:00Z""#, Some(YEAR)),
        (r#""2036-11-25T12:00:00Z""#, UNKNOWN),
        (r#""9999-12-31T23:59:59Z""#, UNKNOWN),
        ("18446744073709551615", UNKNOWN),
        ("1e400", UNKNOWN),
        // "Never", mostly: used once.
        ("0", UNKNOWN),
        ("-1", UNKNOWN),
        (r#""0001-01-01T00:00:00Z""#, UNKNOWN),
        (r#""1969-12-31T23:59:59Z""#, UNKNOWN),
        // No date: without an offset it is somewhere's local time.
        (r#""2026-11-25T13:00:00""#, UNKNOWN),
        (r#""2026-11-25 13:00:00""#, UNKNOWN),
        (r#""2026-11-25""#, UNKNOWN),
        (r#""2026-02-30T13:00:00Z""#, UNKNOWN),
        (r#""11/25/2026 1:00:00 PM""#, UNKNOWN),
        (r#""Wed Nov 25 13:00:00 2026""#, UNKNOWN),
        (r#""3600s""#, UNKNOWN),
        (r#""soon""#, UNKNOWN),
        (r#""""#, UNKNOWN),
        ("null", UNKNOWN),
        ("true", UNKNOWN),
        ("{}", UNKNOWN),
        (r#"["2026-11-25T13:00:00Z"]"#, UNKNOWN),
    ] {
        let got = left("", &format!(r#""expires_at":{expires_at}"#), &[("Date", DATE)]);
        assert_eq!(got, seconds.map(s), "{expires_at}");
    }
    let lifetime = |value| read("", &format!(r#""expires_at":{value}"#), &[("Date", DATE)]).unwrap().lifetime();
    assert_eq!(lifetime("0"), Lifetime::Once);
    assert_eq!(lifetime("\"soon\""), Lifetime::Unknown);
}

#[test]
fn the_earlier_of_two_ends_wins() {
    let date = |hour: u64| format!(r#""2026-11-25T{}:00:00Z""#, 12 + hour);
    for (rules, expires_in, expires_at, seconds) in [
        ("", "60", date(1), Some(60)),
        ("", "7200", date(1), Some(3599)),
        ("", "null", date(1), Some(3599)),
        ("", "0", date(1), Some(3599)),
        ("", "\"soon\"", date(1), Some(3599)),
        // A point in time in the lifetime's place is not believed.
        ("", "1795611600", date(1), Some(3599)),
        ("", "60", "\"soon\"".to_owned(), Some(60)),
        ("", "60", "0".to_owned(), Some(60)),
        ("", "7200", "\"9999-12-31T23:59:59Z\"".to_owned(), Some(7200)),
        (r#""absent":30"#, "null", "\"soon\"".to_owned(), Some(30)),
        (r#""absent":30"#, "null", date(1), Some(3599)),
        (r#""maximum":300"#, "null", date(1), Some(300)),
        (r#""unit":"text""#, "\"10m\"", date(1), Some(600)),
        (r#""unit":"text""#, "\"02:00:00\"", date(1), Some(3599)),
        (r#""unit":"text""#, "90", "null".to_owned(), Some(90)),
    ] {
        let members = format!(r#""expires_in":{expires_in},"expires_at":{expires_at}"#);
        assert_eq!(left(rules, &members, &[("Date", DATE)]), seconds.map(s), "{rules} {members}");
    }
}

#[test]
fn the_date_is_read_against_the_servers_own() {
    const LATER: &str = "Wed, 25 Nov 2026 12:30:00 GMT";
    let member = r#""expires_at":"2026-11-25T13:00:00Z""#;
    for (headers, seconds) in [
        (&[("Date", DATE)][..], Some(3599)),
        (&[("date", " Wed, 25 Nov 2026 12:00:00 GMT ")], Some(3599)),
        // A server whose clock is wrong by years is right about its own tokens.
        (&[("Date", "Wed, 25 Nov 2026 12:59:00 GMT")], Some(59)),
        // An answer from a cache: the server's time has gone on.
        (&[("Date", DATE), ("Age", "600")], Some(2999)),
        (&[("Date", DATE), ("Age", "soon")], Some(3599)),
        (&[("Date", DATE), ("Date", LATER)], Some(1799)),
        (&[("Date", LATER), ("Date", DATE)], Some(1799)),
        (&[], None),
        (&[("Date", "today")], None),
        (&[("Date", "2026-11-25T12:00:00Z")], None),
    ] {
        assert_eq!(left("", member, headers), seconds.map(s), "{headers:?}");
    }
    let trouble = |members: &str, headers: &[(&str, &str)]| read("", members, headers).unwrap().expires_at_trouble();
    assert_eq!(trouble(member, &[]), Some("the answer has no `Date` to read it against"));
    assert_eq!(trouble(member, &[("Date", DATE)]), None);
    let no_date = Some("it is no date with an offset, no HTTP date and no Unix time");
    assert_eq!(trouble(r#""expires_at":"soon""#, &[("Date", DATE)]), no_date);
    assert_eq!(trouble(r#""expires_in":5"#, &[]), None);
}

/// A clock since the boot, and a wall clock beside it.
struct Clocks(Option<Duration>);

impl Clock for Clocks {
    fn now(&self) -> Duration {
        SENT
    }

    fn wall_time(&self) -> Option<Duration> {
        self.0
    }
}

#[test]
fn the_devices_clock_is_asked_only_if_it_is_trusted() {
    let member = r#""expires_at":"2026-11-25T13:00:00Z""#;
    let right = Some(Duration::from_secs(NOW as u64));
    for (rules, wall, date, expected) in [
        ("", right, None, None),
        (r#""trust_clock":true"#, right, None, Some(3599)),
        (r#""trust_clock":true"#, None, None, None),
        // The server's own date is better, and a clock that says 1970 does no harm then.
        (r#""trust_clock":true"#, Some(Duration::from_secs(5)), Some(DATE), Some(3599)),
        // A date that is too far away by that clock is not believed.
        (r#""trust_clock":true"#, Some(Duration::from_secs(5)), None, None),
    ] {
        let send = move |_: &Request| {
            let response = Response::new(200, format!(r#"{{"access_token":"t",{member}}}"#));
            Ok(date.into_iter().fold(response, |response, date| response.with_header("Date", date)))
        };
        let client = Client::with_parts(endpoint(rules), send, Clocks(wall));
        let client = client.client_id("id").client_secret(SecretSource::value("secret"));
        let token = client.fetch(&Grant::client_credentials()).unwrap();
        assert_eq!(token.remaining(SENT), expected.map(s), "{rules} {wall:?} {date:?}");
    }
}

#[test]
fn the_exp_of_a_jwt_only_shortens() {
    // {"exp":1795611600}, an hour after the answer's date; {"exp":1795607000}, before it.
    const HOUR: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTU2MTE2MDB9.c2ln";
    const PAST: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTU2MDcwMDB9.c2ln";
    for (rules, token, expires_in, headers, seconds) in [
        (r#""jwt":true"#, HOUR, "60", &[("Date", DATE)][..], Some(60)),
        (r#""jwt":true"#, HOUR, "7200", &[("Date", DATE)], Some(3599)),
        (r#""jwt":true"#, HOUR, "null", &[("Date", DATE)], Some(3599)),
        (r#""jwt":true"#, HOUR, "null", &[], None),
        (r#""jwt":true,"absent":30"#, HOUR, "null", &[("Date", DATE)], Some(30)),
        (r#""jwt":true,"maximum":300"#, HOUR, "null", &[("Date", DATE)], Some(300)),
        (r#""jwt":true"#, PAST, "7200", &[("Date", DATE)], Some(0)),
        (r#""jwt":true"#, "opaque", "7200", &[("Date", DATE)], Some(7200)),
        ("", HOUR, "7200", &[("Date", DATE)], Some(7200)),
        ("", HOUR, "null", &[("Date", DATE)], None),
    ] {
        let response = Response::new(200, format!(r#"{{"access_token":"{token}","expires_in":{expires_in}}}"#));
        let response = headers.iter().fold(response, |response, (name, value)| response.with_header(name, value));
        let left = match AccessToken::read(&endpoint(rules), response, SENT..SENT) {
            Ok(token) => token.remaining(SENT),
            Err(_) => Some(Duration::ZERO),
        };
        assert_eq!(left, seconds.map(s), "{rules} {expires_in}");
    }
}
