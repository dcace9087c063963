//! A token's life, on a virtual clock: when it ends, what is told about it, and what a type that is no bearer's does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, Endpoint, Error, ErrorKind, Grant, Lifetime, LifetimeRules, LifetimeUnit, NotPositive,
    Request, Response, TokenSource,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const URL: &str = "https://as.example/token";
const YEAR: u64 = 365 * 24 * 60 * 60;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads an answer that was asked for at `sent_at` and arrived at `arrived_at`.
fn read(endpoint: &Endpoint, body: &str, sent_at: Duration, arrived_at: Duration) -> Result<AccessToken, Error> {
    AccessToken::read(endpoint, Response::new(200, body.as_bytes().to_vec()), sent_at..arrived_at)
}

fn endpoint() -> Endpoint {
    Endpoint::new(URL).unwrap()
}

fn expiring(expires_in: &str) -> String {
    format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#)
}

#[test]
fn a_deadline_is_counted_from_the_moment_of_sending() {
    let token = read(&endpoint(), &expiring("60"), s(100), s(130)).unwrap();
    assert_eq!(token.lifetime(), Lifetime::Until(s(160)));
    for (now, remaining, is_expired) in [
        (s(0), s(160), false),
        (s(100), s(60), false),
        (Duration::new(159, 999_999_999), Duration::new(0, 1), false),
        (s(160), s(0), true),
        (s(161), s(0), true),
        (Duration::MAX, s(0), true),
    ] {
        assert_eq!((token.remaining(now), token.is_expired(now)), (Some(remaining), is_expired), "{now:?}");
    }
}

#[test]
fn a_token_that_is_over_when_it_arrives_is_told_so() {
    for (expires_in, arrived_at, fine) in
        [("2", Duration::from_millis(1999), true), ("2", s(2), false), ("2", s(3), false), ("1", Duration::MAX, false)]
    {
        let result = read(&endpoint(), &expiring(expires_in), s(0), arrived_at);
        assert_eq!(result.is_ok(), fine, "{expires_in} {arrived_at:?}");
        if let Err(error) = result {
            assert_eq!((error.kind(), error.status(), error.is_retryable()), (ErrorKind::Unusable, Some(200), false));
        }
    }
    let error = read(&endpoint(), &expiring("2"), s(10), Duration::from_millis(13_500)).unwrap_err();
    assert_eq!(error.to_string(), "the token had expired when it arrived, 3.5 s after the request was sent");
}

#[test]
fn lifetimes_at_the_edges() {
    let rules = LifetimeRules::default();
    let now = s(1000);
    let until = |seconds| Lifetime::Until(now + s(seconds));
    let hour = rules.absent(s(3600)).not_positive(NotPositive::Lives(s(60)));
    for (rules, expires_in, expected) in [
        (rules, "1", until(1)),
        (rules, "0", Lifetime::Once),
        (rules, "-1", Lifetime::Once),
        (rules, "null", Lifetime::Unknown),
        (rules, "\"soon\"", Lifetime::Unknown),
        (rules, "31536000", until(YEAR)),
        (rules, "31536001", until(YEAR)),
        (rules, "18446744073709551615", Lifetime::Unknown),
        (rules, "1e400", Lifetime::Unknown),
        (hour, "5", until(5)),
        (hour, "null", until(3600)),
        (hour, "0", until(60)),
        (rules.not_positive(NotPositive::Unknown), "0", Lifetime::Unknown),
        (rules.not_positive(NotPositive::Unknown).absent(s(9)), "0", Lifetime::Unknown),
        (rules.unit(LifetimeUnit::Milliseconds), "86399995", Lifetime::Until(now + Duration::from_millis(86_399_995))),
        (rules.unit(LifetimeUnit::Minutes), "60", until(3600)),
        (rules.unit(LifetimeUnit::Minutes), "18446744073709551615", Lifetime::Unknown),
        (rules.maximum(s(10)), "3600", until(10)),
        (rules.maximum(s(10)).absent(s(3600)), "null", until(10)),
    ] {
        let token = read(&endpoint().lifetime(rules), &expiring(expires_in), now, now).unwrap();
        assert_eq!(token.lifetime(), expected, "{rules:?} {expires_in}");
    }
    // The clock's own end: no overflow, and no token that lives for ever.
    let at_the_end = Duration::MAX - s(5);
    let token = read(&endpoint(), &expiring("3600"), at_the_end, at_the_end).unwrap();
    assert_eq!(token.lifetime(), Lifetime::Until(Duration::MAX));
    assert!(read(&endpoint(), &expiring("3600"), Duration::MAX, Duration::MAX).is_err());
    // A clock that went back, against its contract: no panic, and the token ends no later.
    let token = read(&endpoint(), &expiring("60"), s(100), s(50)).unwrap();
    assert_eq!(token.lifetime(), Lifetime::Until(s(160)));
}

#[test]
fn an_unknown_lifetime_is_never_over() {
    for body in [expiring("null"), expiring("0")] {
        let token = read(&endpoint(), &body, s(1), s(1)).unwrap();
        assert!(!token.is_expired(Duration::MAX));
        assert_eq!(token.remaining(Duration::MAX), None);
    }
}

#[test]
fn a_transport_that_knows_when_it_sent_makes_the_deadline_later_but_never_later_than_true() {
    // The clock stands at 100 when the fetch starts and at 110 when the answer is there.
    for (elapsed, deadline) in [
        (None, s(160)),
        (Some(s(4)), s(166)),
        (Some(s(0)), s(170)),
        // Longer than the fetch took: the clocks differ, and the start counts.
        (Some(s(50)), s(160)),
        (Some(Duration::MAX), s(160)),
    ] {
        let clock = Arc::new(AtomicU64::new(100));
        let ticks = clock.clone();
        let send = move |_: &Request| {
            ticks.store(110, Ordering::Relaxed);
            let response = Response::new(200, expiring("60"));
            Ok(match elapsed {
                Some(elapsed) => response.with_elapsed(elapsed),
                None => response,
            })
        };
        let client = Client::with_parts(endpoint(), send, move || s(clock.load(Ordering::Relaxed)));
        let token = client.fetch(&Grant::client_credentials()).unwrap();
        assert_eq!(token.lifetime(), Lifetime::Until(deadline), "{elapsed:?}");
    }
}

#[test]
fn only_a_bearer_token_becomes_a_header() {
    for (token_type, expected) in [
        ("null", Some("Bearer t")),
        ("\"\"", Some("Bearer t")),
        ("\"Bearer\"", Some("Bearer t")),
        ("\"bEARER\"", Some("Bearer t")),
        ("\"BearerToken\"", Some("Bearer t")),
        ("\"application access token\"", Some("Bearer t")),
        ("\"mac\"", None),
        ("\"DPoP\"", None),
        ("\"N_A\"", None),
        ("\"Bearer \"", Some("Bearer t")),
        ("\"  bearer  \"", Some("Bearer t")),
        ("\"  \"", Some("Bearer t")),
        ("\"Bearers\"", None),
    ] {
        let body = format!(r#"{{"access_token":"t","token_type":{token_type}}}"#);
        let token = read(&endpoint(), &body, s(0), s(0)).unwrap();
        assert_eq!(token.expose(), "t");
        assert_eq!(token.authorization().ok().map(|header| header.expose()), expected, "{token_type}");
    }
    let token = read(&endpoint(), r#"{"access_token":"t","token_type":"DPoP"}"#, s(0), s(0)).unwrap();
    let error = token.authorization().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unusable);
    assert_eq!(error.to_string(), "a token of type \"DPoP\" cannot be sent as a bearer token");
    assert_eq!(token.token_type(), Some("DPoP"));
}

#[test]
fn other_members_can_be_asked_for_by_path() {
    let body = r#"{"session":{"id":"s\u002d1","user":{"name":"J\u00fcrgen"},"active":true,"n":1.50,"none":null},
                   "instance_url":"https:\/\/i.example","access_token":"t","items":["a\"b"]}"#;
    let endpoint = endpoint();
    let paths = [
        "session.id",
        "session.user.name",
        "session.active",
        "session.n",
        "session.none",
        "session.user",
        "instance_url",
        "items",
        "absent",
        "access_token",
    ];
    let endpoint = paths.iter().try_fold(endpoint, |endpoint, path| endpoint.keep_member(*path)).unwrap();
    let token = read(&endpoint, body, s(0), s(0)).unwrap();
    for (path, expected) in [
        ("session.id", Some("s-1")),
        ("session.user.name", Some("Jürgen")),
        ("session.active", Some("true")),
        ("session.n", Some("1.50")),
        ("session.none", None),
        ("session.user", Some(r#"{"name":"J\u00fcrgen"}"#)),
        ("instance_url", Some("https://i.example")),
        ("items", Some(r#"["a\"b"]"#)),
        ("absent", None),
        ("access_token", Some("t")),
        ("session", None),
    ] {
        assert_eq!(token.member(path).map(|member| member.expose()), expected, "{path}");
    }
}

#[test]
fn a_member_that_may_be_one_of_two_is_none() {
    for (body, expected) in [
        (r#"{"access_token":"t","session":{"id":"a"}}"#, Some("a")),
        (r#"{"access_token":"t","session":{"id":"a","id":"b"}}"#, None),
        (r#"{"access_token":"t","session":{"id":"a"},"session":{"id":"b"}}"#, None),
        (r#"{"access_token":"t","session":{"id":"a"},"session":null}"#, None),
    ] {
        let token = read(&endpoint().keep_member("session.id").unwrap(), body, s(0), s(0)).unwrap();
        assert_eq!(token.member("session.id").map(|member| member.expose()), expected, "{body}");
    }
}

#[test]
fn a_token_of_ones_own_must_fit_into_a_header() {
    assert_eq!(AccessToken::bearer("ghp_abc").unwrap().authorization().unwrap().expose(), "Bearer ghp_abc");
    for bad in ["", "a b", "a\n", "é", "\u{7f}"] {
        let error = AccessToken::bearer(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "the access token is empty, or holds a character that is not visible ASCII");
    }
}

#[test]
fn users_write_against_a_token_source() {
    fn header(tokens: &dyn TokenSource) -> Result<String, Error> {
        Ok(tokens.token()?.authorization()?.expose().to_owned())
    }
    assert_eq!(header(&AccessToken::bearer("fixed").unwrap()).unwrap(), "Bearer fixed");
    let client = Client::with_parts(endpoint(), |_: &Request| Ok(Response::new(200, expiring("60"))), || s(0));
    let grant = Grant::client_credentials();
    assert_eq!(header(&|| client.fetch(&grant)).unwrap(), "Bearer t");
    let failing = || Err(Error::new(ErrorKind::Unreachable, "no network"));
    assert_eq!(header(&failing).unwrap_err().kind(), ErrorKind::Unreachable);
}

#[test]
fn an_ended_token_is_not_sent_again_by_any_clone() {
    for (status, kind) in [
        (200, None),
        (204, None),
        (401, Some(ErrorKind::Refused)),
        (503, Some(ErrorKind::Wait)),
        (500, Some(ErrorKind::Unusable)),
    ] {
        let endpoint = Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap();
        let send = move |request: &Request| {
            assert_eq!((request.method(), request.url(), request.body()), ("DELETE", URL, None));
            let authorization = request.headers().find(|(name, _)| *name == "Authorization").unwrap();
            assert_eq!(authorization.1, "bearer issued");
            Ok(Response::new(status, *b""))
        };
        let client = Client::with_parts(endpoint, send, || s(0));
        let token = AccessToken::bearer("issued").unwrap();
        let clone = token.clone();
        assert_eq!(client.revoke(token).err().map(|error| error.kind()), kind, "{status}");
        let error = clone.authorization().unwrap_err();
        assert_eq!(error.to_string(), "this token was ended and is not sent again");
    }
}

#[test]
fn a_token_that_cannot_be_ended_stays_usable() {
    let client =
        Client::with_parts(endpoint(), |_: &Request| -> Result<Response, Error> { panic!("nothing is sent") }, || s(0));
    let token = AccessToken::bearer("t").unwrap();
    let error = client.revoke(token.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().ends_with("its description has no way to end a token"), "{error}");
    assert!(token.authorization().is_ok());
}

#[test]
fn what_threads_share_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<AccessToken>();
    shared::<Client>();
    shared::<Endpoint>();
    shared::<Grant>();
    shared::<Error>();
    assert!(size_of::<Error>() == size_of::<usize>(), "an error costs a result one word");
}
