//! The lifetime of a token, by what the answer says: a point in time is none, whatever its form, its member and its unit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "cli")]
mod common;
#[cfg(feature = "cli")]
#[path = "common/command.rs"]
mod running;

use core::time::Duration;
use keyfob::{AccessToken, Endpoint, Lifetime, LifetimeRules, LifetimeUnit, Members, NotPositive, Response};

const YEAR: u64 = 365 * 24 * 60 * 60;
/// 2026-11-25T12:00:00Z.
const NOW: u64 = 1_795_608_000;
/// When the request is sent, by the clock since the boot.
const SENT: u64 = 1000;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn read(endpoint: Endpoint, response: Response) -> AccessToken {
    AccessToken::read(&endpoint, response, s(SENT)..s(SENT)).unwrap()
}

fn json(member: &str, value: &str) -> Response {
    Response::new(200, format!(r#"{{"access_token":"t","{member}":{value}}}"#).into_bytes())
}

fn endpoint(rules: LifetimeRules) -> Endpoint {
    Endpoint::new("https://as.example/token").unwrap().lifetime(rules)
}

const UNKNOWN: Lifetime = Lifetime::Unknown;

const fn until(seconds: u64) -> Lifetime {
    Lifetime::Until(s(SENT + seconds))
}

#[test]
fn a_lifetime_of_more_than_ten_years_is_not_believed() {
    let seconds = LifetimeRules::default();
    let milliseconds = seconds.unit(LifetimeUnit::Milliseconds);
    let minutes = seconds.unit(LifetimeUnit::Minutes);
    let hour = seconds.absent(s(3600));
    let known = hour.not_positive(NotPositive::Lives(s(3600)));
    for (rules, value, lifetime, is_unbelieved) in [
        // Lifetimes.
        (seconds, "1", until(1), false),
        (seconds, "3600", until(3600), false),
        (seconds, "\"3600\"", until(3600), false),
        (seconds, "31536000", until(YEAR), false),
        (seconds, "31536001", until(YEAR), false),
        (seconds, "157680000", until(YEAR), false),
        (seconds, "315360000", until(YEAR), false),
        (seconds, "3.1536e8", until(YEAR), false),
        (milliseconds, "3600000", until(3600), false),
        (milliseconds, "315360000000", until(YEAR), false),
        (minutes, "60", until(3600), false),
        (minutes, "5256000", until(YEAR), false),
        // One more.
        (seconds, "315360001", UNKNOWN, true),
        (seconds, "\"315360001\"", UNKNOWN, true),
        (milliseconds, "315360000001", UNKNOWN, true),
        (minutes, "5256001", UNKNOWN, true),
        // Points in time: seconds, milliseconds, microseconds, nanoseconds since 1970, number or text.
        (seconds, "1795608000", UNKNOWN, true),
        (seconds, "\"1795608000\"", UNKNOWN, true),
        (seconds, "\" 1795608000 \"", UNKNOWN, true),
        (seconds, "1795608000.5", UNKNOWN, true),
        (seconds, "1.795608e9", UNKNOWN, true),
        (seconds, "\"1.795608E9\"", UNKNOWN, true),
        (seconds, "1795608000000", UNKNOWN, true),
        (seconds, "\"1795608000000\"", UNKNOWN, true),
        (seconds, "1795608000000000", UNKNOWN, true),
        (seconds, "\"1795608000000000\"", UNKNOWN, true),
        (seconds, "1795608000000000000", UNKNOWN, true),
        (milliseconds, "1795608000000", UNKNOWN, true),
        (milliseconds, "\"1795608000000\"", UNKNOWN, true),
        (milliseconds, "1795608000000000", UNKNOWN, true),
        (minutes, "29926800", UNKNOWN, true),
        (minutes, "1795608000", UNKNOWN, true),
        // The year 2001, and the end of 32 bits.
        (seconds, "1000000000", UNKNOWN, true),
        (seconds, "2147483647", UNKNOWN, true),
        (seconds, "4294967295", UNKNOWN, true),
        // Whatever else is too large.
        (seconds, "9223372036854775807", UNKNOWN, true),
        (seconds, "18446744073709551615", UNKNOWN, true),
        (seconds, "18446744073709551616", UNKNOWN, true),
        (seconds, "1e400", UNKNOWN, true),
        (minutes, "18446744073709551615", UNKNOWN, true),
        // No `maximum` makes it a lifetime.
        (seconds.maximum(s(3600)), "1795608000", UNKNOWN, true),
        (seconds.maximum(s(3600)), "1795608000000", UNKNOWN, true),
        (milliseconds.maximum(s(3600)), "1795608000000", UNKNOWN, true),
        (seconds.maximum(s(100 * YEAR)), "1795608000", UNKNOWN, true),
        (seconds.maximum(s(3600)), "7200", until(3600), false),
        (seconds.maximum(s(5 * YEAR)), "94608000", until(3 * YEAR), false),
        // It says as much as an answer without one: who knows better has said so for that case.
        (hour, "1795608000", until(3600), true),
        (hour.maximum(s(60)), "1795608000000", until(60), true),
        (known, "\"1795608000\"", until(3600), true),
        (known, "7200", until(7200), false),
        // What is no number never was one.
        (seconds, "\"2026-11-25T12:00:00Z\"", UNKNOWN, false),
        (seconds, "null", UNKNOWN, false),
        (seconds, "0", Lifetime::Once, false),
        (seconds, "-1795608000", Lifetime::Once, false),
    ] {
        let token = read(endpoint(rules), json("expires_in", value));
        assert_eq!(token.lifetime(), lifetime, "{rules:?} {value}");
        assert_eq!(token.unbelieved_lifetime().is_some(), is_unbelieved, "{rules:?} {value}");
        assert!(lifetime != UNKNOWN || token.remaining(Duration::MAX).is_none(), "{value}");
    }
    let token = read(endpoint(seconds), json("expires_in", "1795608000"));
    assert_eq!(token.unbelieved_lifetime(), Some(s(NOW)));
    let token = read(endpoint(milliseconds), json("expires_in", "1795608000500"));
    assert_eq!(token.unbelieved_lifetime(), Some(Duration::from_millis(NOW * 1000 + 500)));
}

#[test]
fn the_member_makes_no_difference() {
    let named = |path: &str| Members::default().expires_in(path).unwrap();
    for (members, body) in [
        (named("expires_at"), r#"{"access_token":"t","expires_at":1795608000}"#),
        (named("expires_at"), r#"{"access_token":"t","expires_at":"1795608000000"}"#),
        (named("session.ends"), r#"{"access_token":"t","session":{"ends":1795608000000}}"#),
        (Members::new("data.token").unwrap(), r#"{"data":{"token":"t","expires_in":1795608000}}"#),
        (Members::new("data.token").unwrap(), r#"{"data":{"token":"t"},"expires_in":1795608000}"#),
    ] {
        let endpoint = endpoint(LifetimeRules::default()).members(members);
        let token = read(endpoint, Response::new(200, body.as_bytes().to_vec()));
        assert_eq!(token.lifetime(), UNKNOWN, "{body}");
        assert!(token.unbelieved_lifetime().is_some(), "{body}");
    }
    let form = Response::new(200, *b"access_token=t&expires_in=1795608000");
    let form = form.with_header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(read(endpoint(LifetimeRules::default()), form).lifetime(), UNKNOWN);
}

#[test]
fn a_description_says_how_long_such_tokens_live() {
    for (lifetime, expected) in [
        (r#"{"maximum":3600}"#, UNKNOWN),
        (r#"{"unit":"milliseconds"}"#, UNKNOWN),
        (r#"{"absent":3600}"#, until(3600)),
        ("3600", until(3600)),
    ] {
        let description = format!(r#"{{"url":"https://as.example/token","lifetime":{lifetime}}}"#);
        let endpoint = Endpoint::from_json(&description).unwrap();
        assert_eq!(read(endpoint, json("expires_in", "1795608000000")).lifetime(), expected, "{lifetime}");
    }
}

#[cfg(feature = "cli")]
mod command {
    use super::common::{Server, json};
    use super::running::Place;

    const HINT: &str = "hint: the server says that the token lives 56 years, so it is not stored; if that is a point in \
                        time, name it in the profile (`field`: {\"expires_at\": PLACE}), or set the lifetime \
                        (--lifetime)\n";

    fn body(lifetime: &str) -> Vec<u8> {
        json(200, &format!(r#"{{"access_token":"tok","expires_in":{lifetime}}}"#))
    }

    #[test]
    fn a_point_in_time_is_not_stored_and_said() {
        let place = Place::new();
        let server = Server::answering(body("1795608000"));
        for _ in 0..2 {
            let outcome = place.keyfob(["token", "--url", &server.url("/t"), "--format", "json"]).outcome();
            let answer = r#"{"access_token":"tok","token_type":null,"expires_in":null,"scope":null,"cache":"miss"}"#;
            outcome.is(0, &format!("{answer}\n"), HINT);
        }
        assert_eq!(server.requests().len(), 2);
        // Once it is said how long they live, it is one of them.
        for cache in ["miss", "hit"] {
            let words = ["token", "--url", &server.url("/t"), "--lifetime", "3600", "--format", "json"];
            let outcome = place.keyfob(words).outcome();
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
            assert!(outcome.stdout.contains(&format!(r#""cache":"{cache}""#)), "{outcome:?}");
        }
    }

    #[test]
    fn a_date_that_is_not_used_is_told() {
        let place = Place::new();
        for (date, header, reason) in [
            (
                "2099-01-01T00:00:00Z",
                "",
                "the answer has no `Date` to read it against; set the lifetime (--lifetime), or trust this device's clock \
                 (`lifetime.trust_clock` in the profile)",
            ),
            (
                "tomorrow",
                "date: Wed, 25 Nov 2026 12:00:00 GMT\r\n",
                "it is no date with an offset, no HTTP date and no Unix time; set the lifetime (--lifetime)",
            ),
        ] {
            let body = format!(r#"{{"access_token":"tok","expires_at":"{date}"}}"#);
            let server =
                Server::answering(format!("HTTP/1.1 200 OK\r\n{header}content-length: {}\r\n\r\n{body}", body.len()));
            let text = format!(r#"{{"url": "{}", "field": {{"expires_at": "expires_at"}}}}"#, server.url("/t"));
            place.file("here/p.json", text);
            let told = format!("`expires_at` was not used: {reason}\n");
            let outcome = place.keyfob(["token", "./p.json"]).outcome();
            outcome.is(0, "tok\n", &format!("hint: {told}"));
            // With a lifetime it is no more than a line of the log.
            for (options, count) in
                [(&["--lifetime", "60", "--fresh"][..], 0), (&["--lifetime", "60", "--fresh", "-v"], 1)]
            {
                let outcome = place.keyfob([&["token", "./p.json"], options].concat()).outcome();
                assert_eq!(outcome.stderr.matches(&format!("keyfob: {told}")).count(), count, "{outcome:?}");
            }
        }
    }

    #[test]
    fn a_token_that_is_not_stored_is_told_to_who_wants_to_know() {
        let place = Place::new();
        let server = Server::answering(body("null"));
        let told = "keyfob: not stored: the answer does not say how long the token lives (--lifetime)";
        for (options, is_told) in [(&["-v"][..], true), (&[], false), (&["-v", "--no-cache"], false)] {
            let outcome = place.keyfob([&["token", "--url", &server.url("/t")], options].concat()).outcome();
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "tok\n"), "{outcome:?}");
            assert_eq!(outcome.stderr.lines().any(|line| line == told), is_told, "{options:?} {outcome:?}");
        }
    }
}
