//! When a cache asks the server and what it hands out, on a virtual clock with a scripted server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, Endpoint, Error, ErrorKind, Grant, Lifetime, LifetimeRules, LifetimeUnit, NotPositive,
    Request, Response, Revocation, Secret, SecretSource, Spread, TokenCache,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const URL: &str = "https://as.example/token";
const DAY: u64 = 24 * 60 * 60;
const YEAR: u64 = 365 * DAY;
const NANOSECOND: Duration = Duration::from_nanos(1);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What the server does with a request. `#` in a body is replaced by the request's number, from 1.
#[derive(Clone, Debug)]
enum Answer {
    Status(u16, String, Vec<(&'static str, String)>),
    Fail(ErrorKind),
    /// The clock advances by this much, then the answer arrives.
    Late(Duration, Box<Answer>),
}

use Answer::Fail;

fn status(status: u16, body: &str) -> Answer {
    Answer::Status(status, body.into(), Vec::new())
}

fn ok(body: &str) -> Answer {
    status(200, body)
}

/// A token `a‹number›` that lives this many seconds.
fn lives(seconds: impl core::fmt::Display) -> Answer {
    ok(&format!(r#"{{"access_token":"a#","expires_in":{seconds}}}"#))
}

/// The same with a refresh token `r‹number›`.
fn refreshable(seconds: u64) -> Answer {
    ok(&format!(r#"{{"access_token":"a#","expires_in":{seconds},"refresh_token":"r#"}}"#))
}

fn refused(code: &str) -> Answer {
    status(400, &format!(r#"{{"error":"{code}"}}"#))
}

fn wait(status: u16, retry_after: &str) -> Answer {
    Answer::Status(status, String::new(), vec![("Retry-After", retry_after.into())])
}

/// The clock, the server and what it was sent.
#[derive(Default)]
struct World {
    nanoseconds: AtomicU64,
    script: Mutex<VecDeque<Answer>>,
    /// The answer after the end of the script. If it is `None`, a further request fails the test.
    always: Mutex<Option<Answer>>,
    requests: Mutex<Vec<String>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn answers(script: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let world = Self::new();
        world.then(script);
        world
    }

    fn always(answer: Answer) -> Arc<Self> {
        let world = Self::new();
        *world.always.lock().unwrap() = Some(answer);
        world
    }

    fn then(&self, script: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(script);
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    fn set(&self, now: Duration) {
        self.nanoseconds.store(now.as_nanos().try_into().unwrap(), Ordering::Relaxed);
    }

    fn pass(&self, time: Duration) {
        self.set(self.now() + time);
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Method, URL and body of each request since the last call.
    fn sent(&self) -> Vec<String> {
        core::mem::take(&mut self.requests.lock().unwrap())
    }

    fn send(&self, request: &Request) -> Result<Response, Error> {
        let body = core::str::from_utf8(request.body().unwrap_or_default()).unwrap();
        let line = format!("{} {} {body}", request.method(), request.url());
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(line.clone());
            requests.len()
        };
        let scripted = self.script.lock().unwrap().pop_front();
        let answer = scripted.or_else(|| self.always.lock().unwrap().clone());
        self.play(answer.unwrap_or_else(|| panic!("nobody expected {line}")), number)
    }

    fn play(&self, answer: Answer, number: usize) -> Result<Response, Error> {
        match answer {
            Answer::Status(status, body, headers) => {
                let response = Response::new(status, body.replace('#', &number.to_string()));
                Ok(headers.iter().fold(response, |response, (name, value)| response.with_header(name, value)))
            }
            Answer::Fail(kind) => Err(Error::new(kind, "it failed")),
            Answer::Late(time, answer) => {
                self.pass(time);
                self.play(*answer, number)
            }
        }
    }

    fn client_at(self: &Arc<Self>, endpoint: Endpoint) -> Client {
        let (server, clock) = (self.clone(), self.clone());
        Client::with_parts(endpoint, move |request: &Request| server.send(request), move || clock.now())
    }

    fn client(self: &Arc<Self>) -> Client {
        self.client_at(Endpoint::new(URL).unwrap())
    }

    fn cache(self: &Arc<Self>) -> TokenCache {
        TokenCache::new(self.client(), Grant::client_credentials())
    }

    /// Asks every `step` until `end`; returns how many requests that took.
    fn asked_until(&self, tokens: &mut TokenCache, end: Duration, step: Duration) -> usize {
        let before = self.requests();
        while self.now() < end {
            let _ = tokens.token();
            self.pass(step);
        }
        self.requests() - before
    }
}

/// A source whose text can be changed.
#[derive(Clone)]
struct Text(Arc<Mutex<String>>);

impl Text {
    fn new(text: &str) -> Self {
        Self(Arc::new(Mutex::new(text.into())))
    }

    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.into();
    }

    fn source(&self) -> SecretSource {
        let text = self.0.clone();
        SecretSource::provider(move || Ok(Secret::from(text.lock().unwrap().as_str())))
    }
}

fn text(result: Result<AccessToken, Error>) -> String {
    result.map(|token| token.expose().to_owned()).unwrap()
}

/// Returns an error's kind, message and wait.
fn failure(result: Result<AccessToken, Error>) -> (ErrorKind, String, Option<Duration>) {
    let error = result.map(|token| token.expose().to_owned()).unwrap_err();
    (error.kind(), error.to_string(), error.retry_after())
}

/// Returns the wait that a paused cache reports, after checking that the failure has this message and costs no request.
fn paused(world: &World, tokens: &mut TokenCache, message: &str) -> Duration {
    let before = world.requests();
    let (kind, text, left) = failure(tokens.token());
    let left = left.unwrap();
    let seconds = left.as_millis().div_ceil(1000);
    match kind {
        // The server's own error contains the wait already.
        ErrorKind::Wait => assert_eq!(text, message),
        _ => assert_eq!(text, format!("{message}; not asked again for {seconds} s")),
    }
    assert_eq!(world.requests(), before, "a request within the pause");
    left
}

/// Waits for the pause's last nanosecond, checks that nothing is sent in it, and goes to its end.
fn sit_out(world: &World, tokens: &mut TokenCache, left: Duration) {
    let before = world.requests();
    world.pass(left - NANOSECOND);
    assert_eq!(failure(tokens.token()).2, Some(NANOSECOND));
    assert_eq!(world.requests(), before, "a request within the pause");
    world.pass(NANOSECOND);
}

const REFRESH: &str = "POST https://as.example/token grant_type=refresh_token&refresh_token=";
const CREDENTIALS: &str = "POST https://as.example/token grant_type=client_credentials";

// When a token is renewed.

#[test]
fn a_hit_makes_no_request() {
    let world = World::answers([lives(3600)]);
    let mut tokens = world.cache();
    for _ in 0..1000 {
        assert_eq!(text(tokens.token()), "a1");
        world.pass(s(2));
    }
    assert_eq!(world.sent(), [CREDENTIALS]);
}

/// When the second request is sent, asking every `step`.
fn renewal_moment(share: Spread, life: &str, step: Duration) -> Duration {
    let world = World::answers([lives(life), lives(life)]);
    let mut tokens = world.cache().spread(share);
    let first = text(tokens.token());
    loop {
        world.pass(step);
        let token = tokens.token().unwrap();
        if token.expose() != first {
            return world.now();
        }
        assert!(!token.is_expired(world.now()));
    }
}

#[test]
fn a_token_is_renewed_within_the_spread_before_the_margin() {
    for (life, earliest, latest, step) in [
        // The first renewal: between a half and 85 % of the life.
        ("31536000", s(YEAR / 100 * 50), s(YEAR / 100 * 85), s(3600)),
        ("86400", s(43_200), s(73_440), s(10)),
        ("3600", s(1800), s(3060), s(1)),
        ("300", s(150), s(255), ms(100)),
        ("60", ms(30_000), ms(51_000), ms(10)),
        // Short lives are used to the last twentieth less the second that some servers cut off, whatever the spread.
        ("59", ms(55_050), ms(55_050), ms(10)),
        ("4", ms(2800), ms(2800), ms(10)),
        ("2", ms(1000), ms(1000), ms(10)),
        // Never twice within a second.
        ("1", s(1), s(1), ms(10)),
    ] {
        for seed in 0..20_u8 {
            let moment = renewal_moment(Spread::from_seed(&[seed]), life, step);
            assert!((earliest..=latest + step).contains(&moment), "{life} s: {moment:?}, seed {seed}");
        }
    }
}

#[test]
fn a_short_token_is_not_fetched_on_each_call() {
    for (life, seconds, most) in [("1", 60, 60), ("2", 60, 60), ("5", 60, 16), ("59", 590, 11), ("60", 600, 15)] {
        let world = World::always(lives(life));
        let mut tokens = world.cache();
        let asked = world.asked_until(&mut tokens, s(seconds), ms(10));
        assert!((seconds as usize / 60..=most).contains(&asked), "{life} s: {asked} requests in {seconds} s");
    }
}

#[test]
fn no_call_ever_gets_an_expired_token_whatever_the_life_and_the_way_takes() {
    for life in [1, 2, 3, 59, 60, 61] {
        for way in [ms(0), ms(300), ms(999)] {
            let world = World::always(Answer::Late(way, Box::new(lives(life))));
            let mut tokens = world.cache();
            for _ in 0..2000 {
                let token = tokens.token().unwrap();
                assert!(!token.is_expired(world.now()), "{life} s, {way:?}");
                world.pass(ms(7));
            }
        }
    }
}

#[test]
fn the_spread_is_stable_per_instance_and_differs_with_the_seed() {
    let moments: Vec<Duration> =
        (0..200_u8).map(|seed| renewal_moment(Spread::from_seed(&[b'd', seed]), "3600", s(4))).collect();
    for (seed, moment) in (0..200_u8).zip(&moments).step_by(40) {
        assert_eq!(renewal_moment(Spread::from_seed(&[b'd', seed]), "3600", s(4)), *moment);
    }
    // 35 % of an hour, in four quarters: each has its part of the devices.
    for quarter in 0..4 {
        let (from, to) = (s(1800 + quarter * 315), s(1800 + (quarter + 1) * 315));
        let count = moments.iter().filter(|moment| (from..to).contains(moment)).count();
        assert!((30..=70).contains(&count), "{count} of 200 in quarter {quarter}");
    }
    // The same instance takes the same place in each life after the first, which is spread wider.
    let world = World::always(lives(3600));
    let mut tokens = world.cache().spread(Spread::from_seed(b"one device"));
    let mut moments = Vec::new();
    for _ in 0..40_000 {
        let before = world.requests();
        tokens.token().unwrap();
        if world.requests() > before {
            moments.push(world.now());
        }
        world.pass(s(1));
    }
    let places: Vec<Duration> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(places.len() > 10 && places[1..].iter().all(|place| *place == places[1]), "{places:?}");
    assert!((s(2700)..=s(3061)).contains(&places[1]), "{places:?}");
}

#[test]
fn a_first_fetch_is_delayed_by_the_devices_own_part() {
    let mut waits = Vec::new();
    for seed in 0..50_u8 {
        let world = World::answers([lives(3600)]);
        world.set(s(7));
        let mut tokens = world.cache().spread(Spread::from_seed(&[seed])).spread_first_fetch(s(600));
        let left = paused(&world, &mut tokens, "the first fetch is delayed to spread the load of a fleet");
        assert!(left < s(600), "{left:?}");
        assert!(tokens.token().unwrap_err().is_retryable());
        sit_out(&world, &mut tokens, left);
        assert_eq!(text(tokens.token()), "a1");
        waits.push(left);
    }
    let early = waits.iter().filter(|left| **left < s(300)).count();
    assert!((10..=40).contains(&early), "{early} of 50 in the first half");
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 50);
    // Without a spread nothing is delayed.
    let world = World::answers([lives(3600)]);
    assert_eq!(text(world.cache().spread_first_fetch(s(0)).token()), "a1");
}

// Lifetimes.

#[test]
fn a_token_with_a_lifetime_of_zero_or_less_is_returned_once_and_never_kept() {
    for life in ["0", "-1", "-3600"] {
        let world = World::always(lives(life));
        let mut tokens = world.cache();
        for number in 1..=5 {
            let token = tokens.token_valid_for(s(3600)).unwrap();
            assert_eq!((token.expose(), token.lifetime()), (format!("a{number}").as_str(), Lifetime::Once), "{life}");
            assert_eq!(world.requests(), number);
        }
    }
}

#[test]
fn an_unknown_lifetime_is_kept_until_it_is_invalidated() {
    for life in ["null", "\"soon\""] {
        let world = World::always(lives(life));
        let mut tokens = world.cache();
        let token = tokens.token().unwrap();
        assert_eq!(token.lifetime(), Lifetime::Unknown);
        world.pass(s(100 * YEAR));
        assert_eq!(text(tokens.token_valid_for(s(YEAR))), "a1");
        assert!(tokens.invalidate(&token));
        assert_eq!(text(tokens.token()), "a2");
        assert_eq!(world.requests(), 2);
    }
}

#[test]
fn the_endpoint_can_say_what_such_lifetimes_mean() {
    let rules = LifetimeRules::default();
    for (rules, life, expected) in [
        (rules, "31536001", Lifetime::Until(s(YEAR))),
        (rules, "18446744073709551615", Lifetime::Unknown),
        (rules.maximum(s(10)), "3600", Lifetime::Until(s(10))),
        (rules.absent(s(60)), "null", Lifetime::Until(s(60))),
        (rules.not_positive(NotPositive::Unknown), "0", Lifetime::Unknown),
        (rules.not_positive(NotPositive::Lives(s(60))), "0", Lifetime::Until(s(60))),
        (rules.unit(LifetimeUnit::Milliseconds), "2000", Lifetime::Until(s(2))),
    ] {
        let world = World::answers([lives(life), lives(life)]);
        let client = world.client_at(Endpoint::new(URL).unwrap().lifetime(rules));
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        assert_eq!(tokens.token().unwrap().lifetime(), expected, "{life}");
        assert_eq!(text(tokens.token()), "a1");
        if let Lifetime::Until(end) = expected {
            world.set(end);
            assert_eq!(text(tokens.token()), "a2", "{life}");
        }
    }
}

// Failures.

#[test]
fn a_backoff_grows_with_each_failure_up_to_its_cap() {
    let seeds = [&b""[..], b"1", b"another", b"yet another"];
    for (answer, message) in [
        (Fail(ErrorKind::Unreachable), "it failed"),
        (Fail(ErrorKind::OutcomeUnknown), "it failed"),
        (Fail(ErrorKind::Untrusted), "it failed"),
        (status(500, ""), "the server answered with status 500"),
        (status(503, ""), "the server asks to wait (status 503)"),
        (status(429, ""), "the server asks to wait (status 429)"),
        // Not a refusal of the credentials (RFC 8628 section 3.5).
        (refused("authorization_pending"), "the server refused (status 400): authorization_pending"),
        (refused("slow_down"), "the server refused (status 400): slow_down"),
        (refused("temporarily_unavailable"), "the server answered with status 400: temporarily_unavailable"),
    ] {
        for seed in seeds {
            let world = World::always(answer.clone());
            let mut tokens = world.cache().spread(Spread::from_seed(seed));
            for whole in [1, 2, 4, 8, 16, 20, 20, 20, 20, 20] {
                let error = tokens.token().unwrap_err();
                assert_eq!(error.to_string(), message, "the first is the failure itself");
                let left = paused(&world, &mut tokens, message);
                assert!((s(whole) / 2..=s(whole)).contains(&left), "{answer:?}: {left:?} of {whole} s");
                let remembered = tokens.token().unwrap_err();
                let parts = |error: &Error| (error.kind(), error.status(), error.is_retryable());
                assert_eq!(parts(&remembered), parts(&error));
                assert_eq!(remembered.oauth_error(), error.oauth_error());
                sit_out(&world, &mut tokens, left);
            }
            assert_eq!(world.requests(), 10);
            world.then([lives(60)]);
            assert_eq!(text(tokens.token()), "a11");
            // A success ends the growth.
            world.pass(s(60));
            tokens.token().unwrap_err();
            assert!(paused(&world, &mut tokens, message) <= s(1));
        }
    }
}

#[test]
fn devices_that_failed_together_return_one_by_one() {
    for failures in [1, 4, 8] {
        let mut waits = Vec::new();
        for seed in 0..100_u8 {
            let world = World::always(Fail(ErrorKind::Unreachable));
            let mut tokens = world.cache().spread(Spread::from_seed(&[seed]));
            let mut left = s(0);
            for _ in 0..failures {
                world.pass(left);
                tokens.token().unwrap_err();
                left = tokens.token().unwrap_err().retry_after().unwrap();
            }
            waits.push(left);
        }
        waits.sort();
        let (first, last) = (waits[0].as_secs_f64(), waits[99].as_secs_f64());
        assert!(last / first > 1.8, "after {failures} failures from {first} s to {last} s");
        waits.dedup();
        assert!(waits.len() > 95);
    }
}

#[test]
fn the_wait_that_a_server_requests_is_respected() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (headers, least, most) in [
        (vec![("Retry-After", "120")], s(120), s(150)),
        (vec![("Retry-After", " 120 ")], s(120), s(150)),
        (vec![("Retry-After", "Sun, 06 Nov 1994 08:51:37 GMT"), ("Date", DATE)], s(120), s(150)),
        // A date that has passed, one without the server's own, and none at all: the default backoff.
        (vec![("Retry-After", "Sun, 06 Nov 1994 08:48:37 GMT"), ("Date", DATE)], ms(500), s(1)),
        (vec![("Retry-After", "Sun, 06 Nov 1994 08:51:37 GMT")], ms(500), s(1)),
        (vec![("Retry-After", "soon")], ms(500), s(1)),
        (vec![("Retry-After", "0")], ms(500), s(1)),
        (vec![("Retry-After", "86400")], s(DAY), s(DAY / 4 * 5)),
        // Longer than a day is a mistake.
        (vec![("Retry-After", "86401")], s(DAY), s(DAY / 4 * 5)),
        (vec![("Retry-After", "18446744073709551616")], s(DAY), s(DAY / 4 * 5)),
        (vec![("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), ("Date", DATE)], s(DAY), s(DAY / 4 * 5)),
    ] {
        for code in [429, 503] {
            let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            let world = World::answers([Answer::Status(code, String::new(), headers)]);
            let mut tokens = world.cache();
            assert_eq!(failure(tokens.token()).0, ErrorKind::Wait);
            let left = paused(&world, &mut tokens, &format!("the server asks to wait (status {code})"));
            assert!((least..=most).contains(&left), "{left:?}, not {least:?} to {most:?}");
            sit_out(&world, &mut tokens, left);
            world.then([lives(60)]);
            assert_eq!(text(tokens.token()), "a2");
        }
    }
}

#[test]
fn a_refusal_is_remembered_for_a_growing_interval_with_a_low_cap() {
    for code in ["invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"] {
        let world = World::always(refused(code));
        let mut tokens = world.cache();
        let message = format!("the server refused (status 400): {code}");
        for whole in [10, 20, 40, 80, 160, 300, 300, 300] {
            assert_eq!(failure(tokens.token()), (ErrorKind::Refused, message.clone(), None));
            let error = tokens.token().unwrap_err();
            assert_eq!(
                (error.kind(), error.oauth_error(), error.status()),
                (ErrorKind::Refused, Some(code), Some(400))
            );
            assert!(!error.is_retryable());
            assert!(error.hint().unwrap().ends_with("; `TokenCache::renew` asks at once"), "{error:?}");
            let left = paused(&world, &mut tokens, &message);
            assert_eq!(left, s(whole));
            sit_out(&world, &mut tokens, left);
        }
        assert_eq!(world.requests(), 8);
        // A success ends the growth.
        world.then([lives(1), refused(code)]);
        tokens.token().unwrap();
        world.pass(s(1));
        tokens.token().unwrap_err();
        assert_eq!(failure(tokens.token()).2, Some(s(10)));
    }
}

#[test]
fn only_changed_credentials_end_a_refusal_early() {
    for (answer, ends) in [
        (refused("invalid_client"), true),
        (refused("invalid_grant"), true),
        (status(401, r#"{"error":"invalid_client"}"#), true),
        (ok(r#"{"error":"invalid_client"}"#), true),
        (status(400, ""), true),
        (status(401, "no"), true),
        (status(403, "<html>"), true),
        (refused("invalid_request"), true),
        (refused("authorization_pending"), false),
        (status(500, r#"{"no":"json"}"#), false),
        (status(503, r#"{"error":"invalid_client"}"#), false),
        (Fail(ErrorKind::Unreachable), false),
        (Fail(ErrorKind::OutcomeUnknown), false),
    ] {
        let secret = Text::new("wrong");
        let world = World::answers([answer.clone()]);
        let client = world.client().client_id("id").client_secret(secret.source());
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        let kind = failure(tokens.token()).0;
        assert_eq!(failure(tokens.token()).0, kind);
        secret.set("right");
        world.then([lives(60)]);
        assert_eq!(tokens.token().is_ok(), ends, "{answer:?}");
        assert_eq!(world.requests(), if ends { 2 } else { 1 });
    }
}

#[test]
fn a_refusal_of_changed_credentials_starts_a_new_count_and_the_old_ones_are_no_change() {
    let password = Text::new("first");
    let world = World::always(refused("invalid_grant"));
    let mut tokens = TokenCache::new(world.client(), Grant::password("alice", password.source()));
    for _ in 0..3 {
        tokens.token().unwrap_err();
        let left = tokens.token().unwrap_err().retry_after().unwrap();
        world.pass(left);
    }
    assert_eq!(world.requests(), 3);
    tokens.token().unwrap_err();
    assert_eq!(failure(tokens.token()).2, Some(s(80)));
    password.set("second");
    assert_eq!(failure(tokens.token()).0, ErrorKind::Refused);
    assert_eq!(failure(tokens.token()).2, Some(s(10)));
    assert_eq!(world.requests(), 5);
}

#[test]
fn a_source_that_fails_does_not_count_as_changed() {
    let fails = Arc::new(AtomicBool::new(false));
    let reader = fails.clone();
    let source = SecretSource::provider(move || {
        if reader.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Config, "the chip does not answer"));
        }
        Ok(Secret::from("secret"))
    });
    let world = World::answers([refused("invalid_client")]);
    let mut tokens = TokenCache::new(world.client().client_id("id").client_secret(source), Grant::client_credentials());
    tokens.token().unwrap_err();
    fails.store(true, Ordering::Relaxed);
    assert_eq!(failure(tokens.token()).0, ErrorKind::Refused);
    // After the pause the source's error is reported. It costs no request and no backoff.
    world.pass(s(10));
    for _ in 0..3 {
        assert_eq!(failure(tokens.token()), (ErrorKind::Config, "the chip does not answer".into(), None));
    }
    fails.store(false, Ordering::Relaxed);
    world.then([lives(60)]);
    assert_eq!(text(tokens.token()), "a2");
}

#[test]
fn a_configuration_error_causes_no_backoff() {
    // Before anything is sent …
    let secret = Text::new("line\nbreak");
    let world = World::answers([lives(60)]);
    let mut tokens = TokenCache::new(world.client(), Grant::bearer_session(secret.source()));
    for _ in 0..3 {
        assert_eq!(failure(tokens.token()).0, ErrorKind::Config);
    }
    secret.set("fine");
    assert_eq!(text(tokens.token()), "a1");
    // … and from the transport.
    let world = World::answers([Fail(ErrorKind::Config), Fail(ErrorKind::Config), lives(60)]);
    let mut tokens = world.cache();
    for _ in 0..2 {
        assert_eq!(failure(tokens.token()), (ErrorKind::Config, "it failed".into(), None));
    }
    assert_eq!(text(tokens.token()), "a3");
}

// With a valid token.

#[test]
fn a_failed_renewal_keeps_the_token_that_is_still_valid() {
    for answer in [
        Fail(ErrorKind::Unreachable),
        Fail(ErrorKind::OutcomeUnknown),
        Fail(ErrorKind::Config),
        Fail(ErrorKind::Untrusted),
        status(500, ""),
        wait(503, "60"),
        wait(429, "999999999"),
        refused("invalid_client"),
        ok("<html>"),
        lives("3600,\"access_token\":\"b\""),
    ] {
        let world = World::answers([lives(3600)]);
        *world.always.lock().unwrap() = Some(answer.clone());
        let mut tokens = world.cache();
        tokens.token().unwrap();
        world.set(s(3168));
        while world.now() < s(3600) {
            assert_eq!(text(tokens.token()), "a1", "{answer:?} at {:?}", world.now());
            world.pass(ms(250));
        }
        assert!(world.requests() > 1);
        assert!(tokens.token().is_err(), "{answer:?}");
    }
}

#[test]
fn while_a_token_is_valid_retries_are_rare() {
    let world = World::answers([lives(3600)]);
    *world.always.lock().unwrap() = Some(Fail(ErrorKind::Unreachable));
    let mut tokens = world.cache();
    let mut moments = Vec::new();
    while world.now() < s(3600) {
        let before = world.requests();
        assert_eq!(text(tokens.token()), "a1");
        if world.requests() > before {
            moments.push(world.now());
        }
        world.pass(ms(10));
    }
    // Each time when three fifths of what was left have passed, but for the last, which are a backoff apart.
    assert!((4..=9).contains(&moments.len()), "{moments:?}");
    for pair in moments[1..].windows(2) {
        let left = s(3600) - pair[0];
        assert!(pair[1] - pair[0] >= left / 100 * 60, "{moments:?}");
    }
    // Without the token a caller waits, so the pause is at most a backoff.
    tokens.token().unwrap_err();
    let left = tokens.token().unwrap_err().retry_after().unwrap();
    assert!(left <= s(20), "{left:?}");
}

#[test]
fn a_long_backoff_ends_when_the_valid_token_is_gone() {
    let world = World::answers([lives(YEAR), Fail(ErrorKind::Unreachable)]);
    let mut tokens = world.cache();
    let token = tokens.token().unwrap();
    world.set(s(YEAR / 100 * 89));
    tokens.token().unwrap();
    assert_eq!(world.requests(), 2);
    // The resource refuses the token: now a caller waits, and only for the short backoff.
    assert!(tokens.invalidate(&token));
    let left = paused(&world, &mut tokens, "it failed");
    assert!(left <= s(1), "{left:?}");
    sit_out(&world, &mut tokens, left);
    world.then([lives(60)]);
    assert_eq!(text(tokens.token()), "a3");
    // The same holds for a caller that needs a longer life than the current token has.
    let world = World::answers([lives(3600), Fail(ErrorKind::Unreachable)]);
    let mut tokens = world.cache();
    tokens.token().unwrap();
    world.set(s(600));
    assert_eq!(failure(tokens.token_valid_for(s(3300))).0, ErrorKind::Unreachable);
    let (kind, _, left) = failure(tokens.token_valid_for(s(3300)));
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(left.unwrap() <= s(1), "{left:?}");
}

#[test]
fn the_wait_that_a_server_requests_outlasts_the_token() {
    let world = World::answers([lives(60), wait(429, "300")]);
    let mut tokens = world.cache();
    tokens.token().unwrap();
    world.set(s(55));
    assert_eq!(text(tokens.token()), "a1");
    world.set(s(60));
    let left = paused(&world, &mut tokens, "the server asks to wait (status 429)");
    assert!((s(295)..=s(370)).contains(&left), "{left:?}");
}

#[test]
fn a_server_that_hands_the_same_token_back_is_not_asked_on_every_call() {
    for life in [10_u64, 60, 3600, DAY] {
        let world = World::new();
        let mut tokens = world.cache();
        let mut asked = 0;
        let step = s(life) / 10_000;
        while world.now() < s(life) {
            let left = (s(life) - world.now()).as_secs();
            *world.always.lock().unwrap() = Some(ok(&format!(r#"{{"access_token":"same","expires_in":"{left}"}}"#)));
            let before = world.requests();
            // In its last second the server says 0.
            if left > 0 {
                assert_eq!(text(tokens.token()), "same");
            }
            asked += world.requests() - before;
            world.pass(step);
        }
        // Half of what is left each time.
        let most = 4 + life.ilog2() as usize;
        assert!((1..=most).contains(&asked), "{asked} requests for {life} s");
    }
}

#[test]
fn a_server_whose_tokens_live_ever_shorter_is_not_asked_on_every_call() {
    let world = World::new();
    let mut tokens = world.cache();
    let mut asked = 0;
    while world.now() < s(7200) {
        // They all end at the same moment, two hours from the start; then they last a second.
        let left = (s(7200) - world.now()).as_secs().max(1);
        *world.always.lock().unwrap() = Some(lives(left));
        let before = world.requests();
        tokens.token().unwrap();
        asked += world.requests() - before;
        world.pass(ms(100));
    }
    assert!((5..=40).contains(&asked), "{asked} requests");
}

#[test]
fn a_token_that_had_expired_on_arrival_is_an_error_with_a_backoff() {
    let world = World::always(Answer::Late(s(3), Box::new(lives(2))));
    let mut tokens = world.cache();
    let message = "the token had expired when it arrived, 3.0 s after the request was sent";
    assert_eq!(failure(tokens.token()), (ErrorKind::Unusable, message.into(), None));
    let left = paused(&world, &mut tokens, message);
    assert!(left <= s(1));
}

// A requested life.

#[test]
fn a_longer_life_can_be_requested() {
    let world = World::answers([lives(3600), lives(3600)]);
    let mut tokens = world.cache();
    assert_eq!(text(tokens.token_valid_for(s(3600))), "a1");
    world.set(s(600));
    assert_eq!(text(tokens.token_valid_for(s(3000))), "a1");
    assert_eq!(text(tokens.token_valid_for(s(3001))), "a2");
    assert_eq!(text(tokens.token()), "a2");
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_life_longer_than_a_fresh_tokens_is_an_error_without_repeated_requests() {
    let world = World::always(lives(60));
    let mut tokens = world.cache();
    let expected = (ErrorKind::Unusable, "a new token lives 60 s, but at least 120 s were requested".to_owned(), None);
    for _ in 0..400 {
        assert_eq!(failure(tokens.token_valid_for(s(120))), expected);
        world.pass(ms(100));
    }
    assert_eq!(world.requests(), 1);
    // A caller that requests less gets the token.
    assert_eq!(text(tokens.token_valid_for(s(20))), "a1");
    let error = tokens.token_valid_for(Duration::MAX).unwrap_err();
    assert!(!error.is_retryable());
    assert_eq!(error.hint(), Some("request less, or have the server issue tokens that live longer"));
    assert_eq!(world.asked_until(&mut tokens, s(60), ms(100)), 1);
}

#[test]
fn a_life_just_below_a_fresh_tokens_does_not_cause_a_request_on_each_call() {
    let world = World::always(lives(3600));
    let mut tokens = world.cache();
    let mut served = 0;
    for _ in 0..1000 {
        served += usize::from(tokens.token_valid_for(ms(3_599_999)).is_ok());
        world.pass(ms(10));
    }
    assert!((9..=11).contains(&world.requests()), "{} requests in 10 s", world.requests());
    assert!(served >= 10, "{served}");
}

// Refresh tokens.

#[test]
fn a_refresh_token_is_used_where_there_is_one() {
    let world = World::answers([refreshable(60), lives(60), lives(60), refreshable(60), lives(60)]);
    let mut tokens = world.cache();
    for number in 1..=5 {
        assert_eq!(text(tokens.token()), format!("a{number}"));
        world.pass(s(60));
    }
    // An answer without a new refresh token leaves the old one valid.
    let refresh = |token| format!("{REFRESH}{token}");
    assert_eq!(world.sent(), [CREDENTIALS.into(), refresh("r1"), refresh("r1"), refresh("r1"), refresh("r4")]);
}

#[test]
fn a_refused_refresh_token_gives_way_to_the_original_grant_with_all_its_parameters() {
    for answer in [
        refused("invalid_grant"),
        refused("unsupported_grant_type"),
        refused("invalid_scope"),
        refused("invalid_request"),
        status(401, r#"{"error":"invalid_token"}"#),
        status(400, ""),
        status(403, "<html>"),
    ] {
        let world = World::answers([refreshable(60), answer.clone(), lives(60), lives(60)]);
        let endpoint = Endpoint::new(URL).unwrap().parameter("audience", "https://api.example");
        let client = world.client_at(endpoint).client_id("id");
        let grant = Grant::password("alice", keyfob::SecretSource::value("wonder land"))
            .scope("read")
            .scope("write")
            .parameter("tenant", "t1")
            .secret_parameter("pin", keyfob::SecretSource::value("1234"));
        let mut tokens = TokenCache::new(client, grant);
        assert_eq!(text(tokens.token()), "a1");
        world.set(s(60));
        assert_eq!(text(tokens.token()), "a3", "{answer:?}");
        world.set(s(120));
        assert_eq!(text(tokens.token()), "a4", "{answer:?}");
        let original = "POST https://as.example/token grant_type=password&client_id=id&username=alice\
                        &password=wonder+land&scope=read+write&audience=https%3A%2F%2Fapi.example&tenant=t1&pin=1234";
        let refresh = "POST https://as.example/token grant_type=refresh_token&client_id=id&refresh_token=r1\
                       &audience=https%3A%2F%2Fapi.example";
        assert_eq!(world.sent(), [original, refresh, original, original], "{answer:?}");
    }
}

#[test]
fn an_attempt_takes_two_requests_at_most() {
    let world = World::answers([refreshable(60), refused("invalid_grant"), refused("invalid_client")]);
    let mut tokens = world.cache();
    tokens.token().unwrap();
    world.set(s(60));
    let refusal = "the server refused (status 400): invalid_client";
    assert_eq!(failure(tokens.token()), (ErrorKind::Refused, refusal.into(), None));
    assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1"), CREDENTIALS.into()]);
    let left = paused(&world, &mut tokens, refusal);
    assert_eq!(left, s(10));
}

#[test]
fn a_refresh_token_outlives_a_failure_that_it_did_not_cause() {
    for answer in [
        Fail(ErrorKind::Unreachable),
        Fail(ErrorKind::Untrusted),
        // From a proxy, which lets nothing through.
        Fail(ErrorKind::Refused),
        wait(503, "1"),
        wait(429, "1"),
    ] {
        let world = World::answers([refreshable(60), answer.clone(), lives(60)]);
        let mut tokens = world.cache();
        tokens.token().unwrap();
        world.set(s(60));
        tokens.token().unwrap_err();
        world.set(s(70));
        assert_eq!(text(tokens.token()), "a3");
        assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1"), format!("{REFRESH}r1")], "{answer:?}");
    }
}

#[test]
fn a_refresh_token_that_may_be_used_up_is_never_sent_again() {
    for (answer, is_lost) in [
        (Fail(ErrorKind::OutcomeUnknown), true),
        // The server accepted it, but the answer cannot be read: the original grant follows at once.
        (ok("<html>"), false),
        (ok(r#"{"access_token":"a","#), false),
    ] {
        let world = World::answers([refreshable(60), answer.clone(), lives(60)]);
        let mut tokens = world.cache();
        tokens.token().unwrap();
        world.set(s(60));
        if is_lost {
            tokens.token().unwrap_err();
            let left = tokens.token().unwrap_err().retry_after().unwrap();
            sit_out(&world, &mut tokens, left);
        }
        assert_eq!(text(tokens.token()), "a3", "{answer:?}");
        assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1"), CREDENTIALS.into()], "{answer:?}");
    }
}

#[test]
fn a_new_refresh_token_is_kept_though_its_token_had_expired_on_arrival() {
    for (source, first) in [
        (Grant::client_credentials(), CREDENTIALS.into()),
        (Grant::refresh_token(keyfob::SecretSource::value("r0")), format!("{REFRESH}r0")),
    ] {
        let late = Answer::Late(s(7200), Box::new(refreshable(60)));
        let world = World::answers([refreshable(60), late, refreshable(60)]);
        let saved = Arc::new(Mutex::new(Vec::new()));
        let save = saved.clone();
        let mut tokens = TokenCache::new(world.client(), source).on_new_refresh_token(move |token| {
            save.lock().unwrap().push(token.expose().to_owned());
            Ok(())
        });
        tokens.token().unwrap();
        world.set(s(60));
        let message = "the token expired before it could be handed out";
        assert_eq!(failure(tokens.token()), (ErrorKind::Unusable, message.into(), None));
        let left = tokens.token().unwrap_err().retry_after().unwrap();
        assert!(left <= s(1));
        world.pass(left);
        assert_eq!(text(tokens.token()), "a3");
        assert_eq!(world.sent(), [first, format!("{REFRESH}r1"), format!("{REFRESH}r2")]);
        assert_eq!(*saved.lock().unwrap(), ["r1", "r2", "r3"]);
    }
}

#[test]
fn a_refresh_token_grant_goes_on_with_the_replacement() {
    for keeps_its_source in [true, false] {
        let source = Text::new("r0");
        let world = World::always(refreshable(60));
        let grant = Grant::refresh_token(source.source());
        let mut tokens = TokenCache::new(world.client(), grant).on_new_refresh_token({
            let source = source.clone();
            move |token| {
                if keeps_its_source {
                    source.set(token.expose());
                }
                Ok(())
            }
        });
        for number in 1..=4 {
            assert_eq!(text(tokens.token()), format!("a{number}"));
            world.pass(s(60));
        }
        assert_eq!(world.sent(), ["r0", "r1", "r2", "r3"].map(|token| format!("{REFRESH}{token}")));
    }
}

#[test]
fn a_server_that_repeats_the_refresh_token_has_not_used_it_up() {
    let repeats = ok(r#"{"access_token":"a#","expires_in":60,"refresh_token":"r0"}"#);
    for grant in
        [Grant::refresh_token(keyfob::SecretSource::value("r0")), Grant::refresh_token(Text::new("r0").source())]
    {
        let world = World::always(repeats.clone());
        let mut tokens = TokenCache::new(world.client(), grant);
        for number in 1..=3 {
            assert_eq!(text(tokens.token()), format!("a{number}"));
            world.pass(s(60));
        }
        assert_eq!(world.sent(), ["r0"; 3].map(|token| format!("{REFRESH}{token}")));
    }
}

const SPENT_HINT: &str = "the refresh token or code may be used up, so it is not sent again: sign in again";

#[test]
fn after_a_lost_answer_nothing_is_sent_until_the_source_returns_a_new_value() {
    let source = Text::new("once");
    let extension = || Grant::extension("urn:example:code").secret_parameter("code", source.source());
    let by_code = "POST https://as.example/token grant_type=urn%3Aexample%3Acode&code=";
    for (grant, request) in [(Grant::refresh_token(source.source()), REFRESH), (extension(), by_code)] {
        source.set("once");
        let world = World::answers([Fail(ErrorKind::OutcomeUnknown)]);
        let mut tokens = TokenCache::new(world.client(), grant);
        for _ in 0..5 {
            let error = tokens.token().unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::OutcomeUnknown, "it failed"));
            assert_eq!((error.is_retryable(), error.retry_after()), (false, None));
            world.pass(s(YEAR));
        }
        assert_eq!(tokens.token().unwrap_err().hint(), Some(SPENT_HINT));
        assert_eq!(world.requests(), 1);
        source.set("another");
        world.then([lives(60)]);
        assert_eq!(text(tokens.token()), "a2");
        assert_eq!(world.sent(), [format!("{request}once"), format!("{request}another")]);
    }
}

#[test]
fn another_client_secret_does_not_bring_a_used_up_token_back() {
    // Lost with its answer …
    let secret = Text::new("first");
    let world = World::answers([Fail(ErrorKind::OutcomeUnknown)]);
    let client = |world: &Arc<World>| world.client().client_id("id").client_secret(secret.source());
    let mut tokens = TokenCache::new(client(&world), Grant::refresh_token(keyfob::SecretSource::value("r0")));
    tokens.token().unwrap_err();
    secret.set("second");
    world.pass(s(DAY));
    assert_eq!(failure(tokens.token()).0, ErrorKind::OutcomeUnknown);
    assert_eq!(world.sent(), [format!("{REFRESH}r0")]);
    // … and replaced by one that was lost.
    let world = World::answers([refreshable(60), Fail(ErrorKind::OutcomeUnknown)]);
    let mut tokens = TokenCache::new(client(&world), Grant::refresh_token(keyfob::SecretSource::value("r0")));
    tokens.token().unwrap();
    world.pass(s(60));
    tokens.token().unwrap_err();
    secret.set("third");
    world.pass(s(DAY));
    assert_eq!(failure(tokens.token()).0, ErrorKind::Config);
    assert_eq!(world.sent(), ["r0", "r1"].map(|token| format!("{REFRESH}{token}")));
}

#[test]
fn when_a_replacement_is_lost_the_one_before_is_not_sent_again() {
    let source = Text::new("r0");
    for answer in [Fail(ErrorKind::OutcomeUnknown), refused("invalid_grant")] {
        source.set("r0");
        let world = World::answers([refreshable(60), answer]);
        let mut tokens = TokenCache::new(world.client(), Grant::refresh_token(source.source()));
        tokens.token().unwrap();
        world.set(s(60));
        tokens.token().unwrap_err();
        world.set(s(DAY));
        for _ in 0..3 {
            let error = tokens.token().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.to_string(), "the grant was already used once, and the refresh token it returned is lost");
            assert_eq!(error.hint(), Some("sign in again"));
        }
        world.then([refreshable(60)]);
        source.set("new");
        assert_eq!(text(tokens.token()), "a3");
        assert_eq!(world.sent(), ["r0", "r1", "new"].map(|token| format!("{REFRESH}{token}")));
    }
}

#[test]
fn when_the_source_follows_the_rotation_a_lost_or_refused_refresh_token_is_not_sent_again() {
    for (answer, kind) in
        [(Fail(ErrorKind::OutcomeUnknown), ErrorKind::OutcomeUnknown), (refused("invalid_grant"), ErrorKind::Refused)]
    {
        let source = Text::new("r0");
        let stored = source.clone();
        let world = World::answers([refreshable(60), answer]);
        let grant = Grant::refresh_token(source.source());
        let mut tokens = TokenCache::new(world.client(), grant).on_new_refresh_token(move |token| {
            stored.set(token.expose());
            Ok(())
        });
        tokens.token().unwrap();
        world.set(s(60));
        assert_eq!(failure(tokens.token()).0, kind);
        source.set("new");
        world.then([refreshable(60), refreshable(60)]);
        assert_eq!(text(tokens.token()), "a3");
        world.set(s(120));
        assert_eq!(text(tokens.token()), "a4");
        assert_eq!(world.sent(), ["r0", "r1", "new", "r3"].map(|token| format!("{REFRESH}{token}")), "{kind:?}");
    }
}

#[test]
fn a_refusal_that_is_not_the_refresh_tokens_fault_does_not_lose_it() {
    // The original grant is used up, so only the refresh token is left.
    for answer in [refused("invalid_client"), status(403, "<html>"), status(400, ""), refused("invalid_scope")] {
        let world = World::answers([refreshable(60), answer.clone()]);
        let mut tokens = TokenCache::new(world.client(), Grant::refresh_token(keyfob::SecretSource::value("r0")));
        tokens.token().unwrap();
        world.set(s(60));
        assert_eq!(failure(tokens.token()).0, ErrorKind::Refused, "{answer:?}");
        let left = tokens.token().unwrap_err().retry_after().unwrap();
        assert!(left <= s(10), "{left:?}");
        sit_out(&world, &mut tokens, left);
        world.then([refreshable(60)]);
        assert_eq!(text(tokens.token()), "a3", "{answer:?}");
        assert_eq!(world.sent(), ["r0", "r1", "r1"].map(|token| format!("{REFRESH}{token}")));
    }
}

#[test]
fn a_refused_refresh_request_is_remembered_until_the_client_secret_changes() {
    let secret = Text::new("old");
    let world = World::answers([refreshable(60)]);
    *world.always.lock().unwrap() = Some(refused("invalid_client"));
    let client = world.client().client_id("id").client_secret(secret.source());
    let mut tokens = TokenCache::new(client, Grant::refresh_token(keyfob::SecretSource::value("r0")));
    tokens.token().unwrap();
    world.set(s(60));
    assert!(world.asked_until(&mut tokens, s(670), ms(100)) <= 7);
    secret.set("new");
    world.then([refreshable(60)]);
    assert!(tokens.token().is_ok());
}

#[test]
fn an_extension_grant_is_not_sent_again_once_it_has_returned_a_refresh_token() {
    let grant = Grant::extension("authorization_code").secret_parameter("code", keyfob::SecretSource::value("c1"));
    let world = World::answers([refreshable(60), refused("invalid_grant")]);
    let mut tokens = TokenCache::new(world.client(), grant);
    tokens.token().unwrap();
    for _ in 0..3 {
        world.pass(s(60));
        assert_eq!(failure(tokens.token()).0, ErrorKind::Config);
    }
    let by_code = "POST https://as.example/token grant_type=authorization_code&code=c1";
    assert_eq!(world.sent(), [by_code.into(), format!("{REFRESH}r1")]);
}

// The hook.

#[test]
fn a_new_refresh_token_reaches_the_hook_before_its_token_is_handed_out() {
    let world = World::answers([refreshable(60), lives(60), refreshable(60)]);
    let saved = Arc::new(Mutex::new(Vec::new()));
    let save = saved.clone();
    let mut tokens = world.cache().on_new_refresh_token(move |token| {
        save.lock().unwrap().push(token.expose().to_owned());
        Ok(())
    });
    for (number, expected) in [(1, vec!["r1"]), (2, vec!["r1"]), (3, vec!["r1", "r3"])] {
        assert_eq!(text(tokens.token()), format!("a{number}"));
        assert_eq!(*saved.lock().unwrap(), expected);
        assert_eq!(text(tokens.token()), format!("a{number}"));
        world.pass(s(60));
    }
    assert_eq!(*saved.lock().unwrap(), ["r1", "r3"]);
}

/// A cache whose hook fails while the flag is set. The hook's arguments are recorded.
fn with_hook(world: &Arc<World>, grant: Grant) -> (TokenCache, Arc<AtomicBool>, Arc<Mutex<Vec<String>>>) {
    let (fails, saved) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (flag, save) = (fails.clone(), saved.clone());
    let tokens = TokenCache::new(world.client(), grant).on_new_refresh_token(move |token| {
        save.lock().unwrap().push(token.expose().to_owned());
        if flag.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Internal, "the disk is full"));
        }
        Ok(())
    });
    (tokens, fails, saved)
}

#[test]
fn a_hook_that_fails_loses_nothing_and_is_tried_again_without_a_request() {
    for grant in [Grant::client_credentials(), Grant::refresh_token(keyfob::SecretSource::value("r0"))] {
        let world = World::answers([refreshable(60)]);
        let (mut tokens, fails, saved) = with_hook(&world, grant);
        for count in 1..=3 {
            assert_eq!(failure(tokens.token()), (ErrorKind::Internal, "the disk is full".into(), None));
            assert_eq!((world.requests(), saved.lock().unwrap().len()), (1, count));
            world.pass(s(10));
        }
        fails.store(false, Ordering::Relaxed);
        assert_eq!(text(tokens.token()), "a1");
        assert_eq!(text(tokens.token()), "a1");
        assert_eq!((world.requests(), saved.lock().unwrap().join(" ")), (1, "r1 r1 r1 r1".into()));
    }
}

#[test]
fn a_token_that_expires_while_the_hook_fails_leaves_its_refresh_token() {
    let world = World::answers([refreshable(60)]);
    let (mut tokens, fails, saved) = with_hook(&world, Grant::refresh_token(keyfob::SecretSource::value("r0")));
    tokens.token().unwrap_err();
    world.pass(s(3600));
    tokens.token().unwrap_err();
    fails.store(false, Ordering::Relaxed);
    world.then([refreshable(60)]);
    assert_eq!(text(tokens.token()), "a2");
    assert_eq!(world.sent(), ["r0", "r1"].map(|token| format!("{REFRESH}{token}")));
    assert_eq!(*saved.lock().unwrap(), ["r1", "r1", "r1", "r2"]);
}

#[test]
fn a_refresh_token_that_was_stored_late_and_then_lost_is_not_sent_again() {
    let world = World::answers([refreshable(60), Fail(ErrorKind::OutcomeUnknown)]);
    let (mut tokens, fails, _) = with_hook(&world, Grant::client_credentials());
    tokens.token().unwrap_err();
    world.pass(s(3600));
    fails.store(false, Ordering::Relaxed);
    assert_eq!(failure(tokens.token()).0, ErrorKind::OutcomeUnknown);
    world.pass(s(20));
    world.then([lives(60)]);
    assert_eq!(text(tokens.token()), "a3");
    assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1"), CREDENTIALS.into()]);
}

#[test]
fn a_hook_that_fails_does_not_remove_a_valid_token() {
    let world = World::answers([refreshable(3600), refreshable(3600)]);
    let (mut tokens, fails, _) = with_hook(&world, Grant::client_credentials());
    fails.store(false, Ordering::Relaxed);
    tokens.token().unwrap();
    world.set(s(3200));
    fails.store(true, Ordering::Relaxed);
    assert_eq!(text(tokens.token()), "a1");
    world.set(s(3599));
    assert_eq!(text(tokens.token()), "a1");
    world.set(s(3600));
    assert_eq!(failure(tokens.token()).1, "the disk is full");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(text(tokens.token()), "a2");
    assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1")]);
}

#[test]
fn a_hook_that_takes_longer_than_the_token_lives_hands_out_no_expired_token() {
    let world = World::answers([refreshable(60), lives(60)]);
    let clock = world.clone();
    let mut tokens = world.cache().on_new_refresh_token(move |_| {
        clock.pass(s(60));
        Ok(())
    });
    assert_eq!(failure(tokens.token()).0, ErrorKind::Unusable);
    let left = tokens.token().unwrap_err().retry_after().unwrap();
    world.pass(left);
    assert_eq!(text(tokens.token()), "a2");
    assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1")]);
}

// Refused and revoked tokens.

#[test]
fn only_the_current_token_can_be_invalidated_and_not_another_of_the_same_text() {
    let world = World::always(ok(r#"{"access_token":"same","expires_in":3600}"#));
    let mut tokens = world.cache();
    let first = tokens.token().unwrap();
    let clone = first.clone();
    assert!(tokens.invalidate(&clone));
    let second = tokens.token().unwrap();
    assert_eq!((second.expose(), world.requests()), ("same", 2));
    // A hundred more were refused with the first one, and one with a token from elsewhere.
    for _ in 0..100 {
        assert!(tokens.invalidate(&first));
        assert!(tokens.invalidate(&AccessToken::bearer("same").unwrap()));
        tokens.token().unwrap();
    }
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_replacement_that_is_refused_within_ten_seconds_is_final() {
    for (life, age, is_another_try, requests) in [
        (3600, s(0), false, 2),
        (3600, ms(9_999), false, 2),
        (3600, s(10), true, 3),
        (3600, s(1000), true, 3),
        // In the second half of a short life its age may be the reason.
        (4, ms(1_999), false, 2),
        (4, s(2), true, 3),
    ] {
        let world = World::always(lives(life));
        let mut tokens = world.cache();
        let first = tokens.token().unwrap();
        // The first one is no replacement, however young.
        assert!(tokens.invalidate(&first));
        let second = tokens.token().unwrap();
        world.pass(age);
        assert_eq!(tokens.invalidate(&second), is_another_try, "{age:?}");
        assert_eq!(tokens.invalidate(&second), is_another_try, "{age:?}");
        tokens.token().unwrap();
        assert_eq!(world.requests(), requests, "{age:?}");
    }
}

#[test]
fn a_token_that_was_renewed_in_time_is_no_replacement() {
    let world = World::always(lives(60));
    let mut tokens = world.cache();
    let first = tokens.token().unwrap();
    tokens.invalidate(&first);
    tokens.token().unwrap();
    world.pass(s(60));
    let third = tokens.token().unwrap();
    assert!(tokens.invalidate(&third));
    assert_eq!(text(tokens.token()), "a4");
}

#[test]
fn an_invalidated_token_is_replaced_by_the_refresh_token() {
    let world = World::always(refreshable(3600));
    let mut tokens = world.cache();
    let first = tokens.token().unwrap();
    assert!(tokens.invalidate(&first));
    assert_eq!(text(tokens.token()), "a2");
    assert_eq!(world.sent(), [CREDENTIALS.into(), format!("{REFRESH}r1")]);
}

#[test]
fn an_invalidated_token_does_not_end_a_backoff() {
    let world = World::answers([lives(3600), wait(429, "300")]);
    let mut tokens = world.cache();
    let token = tokens.token().unwrap();
    world.set(s(3200));
    assert_eq!(text(tokens.token()), "a1");
    assert!(tokens.invalidate(&token));
    let left = paused(&world, &mut tokens, "the server asks to wait (status 429)");
    assert!((s(300)..=s(375)).contains(&left), "{left:?}");
    sit_out(&world, &mut tokens, left);
    world.then([lives(60)]);
    assert_eq!(text(tokens.token()), "a3");
}

#[test]
fn revoking_forgets_first_and_a_revocation_that_fails_forgets_too() {
    for (answer, kind) in [
        (status(200, ""), None),
        (status(204, ""), None),
        (status(500, ""), Some(ErrorKind::Unusable)),
        (wait(503, "60"), Some(ErrorKind::Wait)),
        (status(401, ""), Some(ErrorKind::Refused)),
        (Fail(ErrorKind::Unreachable), Some(ErrorKind::Unreachable)),
        (Fail(ErrorKind::OutcomeUnknown), Some(ErrorKind::OutcomeUnknown)),
    ] {
        let world = World::answers([refreshable(3600), answer.clone(), lives(3600)]);
        let client = world.client_at(Endpoint::new(URL).unwrap().revocation(Revocation::Delete));
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        tokens.revoke().unwrap();
        assert_eq!(world.requests(), 0, "there was nothing to revoke");
        let token = tokens.token().unwrap();
        assert_eq!(tokens.revoke().err().map(|error| error.kind()), kind, "{answer:?}");
        assert!(token.authorization().is_err());
        tokens.revoke().unwrap();
        // Its refresh token is forgotten with it, and a failed revocation is no reason to wait.
        assert_eq!(text(tokens.token()), "a3", "{answer:?}");
        assert_eq!(world.sent(), [CREDENTIALS, "DELETE https://as.example/token ", CREDENTIALS]);
    }
    // If there is no way to revoke a token, it is not forgotten.
    let world = World::always(lives(3600));
    let mut tokens = world.cache();
    let token = tokens.token().unwrap();
    assert_eq!(tokens.revoke().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(text(tokens.token()), "a1");
    assert!(token.authorization().is_ok());
}

#[test]
fn the_newest_refresh_token_is_revoked_though_it_came_with_an_older_token() {
    let endpoint = || Endpoint::new(URL).unwrap().revocation(Revocation::Endpoint("https://as.example/revoke".into()));
    const REFRESH: &str = "POST https://as.example/revoke token=r1&token_type_hint=refresh_token";
    const ACCESS: &str = "POST https://as.example/revoke token=a2&token_type_hint=access_token";
    for (answers, expected) in [
        ([status(200, ""), status(200, "")], Ok(())),
        ([status(503, ""), status(200, "")], Err(ErrorKind::Wait)),
        ([status(200, ""), status(503, "")], Err(ErrorKind::Wait)),
    ] {
        // A renewal without rotation.
        let world = World::answers([refreshable(3600), lives(3600)].into_iter().chain(answers));
        let mut tokens = TokenCache::new(world.client_at(endpoint()), Grant::client_credentials());
        tokens.token().unwrap();
        tokens.renew().unwrap();
        world.sent();
        assert_eq!(tokens.revoke().map_err(|error| error.kind()), expected);
        assert_eq!(world.sent(), [REFRESH, ACCESS]);
        tokens.revoke().unwrap();
        assert_eq!(world.sent(), [] as [&str; 0]);
    }
}

#[test]
fn the_debug_view_shows_no_secret() {
    let world = World::answers([ok(r#"{"access_token":"sentinel-1","refresh_token":"sentinel-2"}"#)]);
    let client = world.client().client_id("id").client_secret(keyfob::SecretSource::value("sentinel-3"));
    let mut tokens = TokenCache::new(client, Grant::client_credentials());
    tokens.token().unwrap();
    let view = format!("{tokens:?}");
    assert!(view.starts_with("TokenCache { client: Client {") && !view.contains("sentinel"), "{view}");
}

#[test]
fn secrets_are_read_for_requests_and_while_a_refusal_is_remembered_but_never_for_a_hit() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = reads.clone();
    let source = SecretSource::provider(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Secret::from("secret"))
    });
    let world = World::answers([lives(3600)]);
    let client = world.client().client_id("id").client_secret(source);
    let mut tokens = TokenCache::new(client, Grant::client_credentials());
    for _ in 0..10 {
        tokens.token().unwrap();
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[test]
fn an_assertion_created_for_each_request_does_not_end_a_refusal_each_time() {
    let count = AtomicU64::new(0);
    let source =
        SecretSource::provider(move || Ok(Secret::from(format!("jwt-{}", count.fetch_add(1, Ordering::Relaxed)))));
    let world = World::always(refused("invalid_client"));
    let mut tokens = TokenCache::new(world.client().client_id("id").client_secret(source), Grant::client_credentials());
    for _ in 0..100 {
        tokens.token().unwrap_err();
    }
    // The first, and one that was let through because it was another.
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_loop_around_the_next_attempt_never_spins() {
    for answer in [lives(0), lives(60), refused("invalid_client"), status(500, "")] {
        let world = World::always(answer);
        let mut tokens = world.cache();
        for _ in 0..20 {
            let before = world.now();
            let _ = tokens.token();
            match tokens.next_attempt() {
                Some(at) => assert!(at > before, "{at:?} after {before:?}"),
                None => break,
            }
            world.pass(tokens.next_attempt().unwrap() - world.now());
        }
    }
}

/// A lost answer uses up an assertion, but not another service's access token.
#[test]
fn a_grant_of_access_tokens_may_be_sent_again() {
    let token = || SecretSource::token(AccessToken::bearer("first").unwrap());
    let exchange = |name: &str| Grant::extension("urn:example:exchange").secret_parameter(name, token());
    for (grant, is_sent_again) in [
        (exchange("subject_token"), true),
        (exchange("subject_token").secret_parameter("actor_token", token()), true),
        (exchange("subject_token").secret_parameter("actor_token", SecretSource::value("once")), false),
        (Grant::extension("urn:example:exchange").secret_parameter("assertion", SecretSource::value("once")), false),
        (Grant::extension("urn:example:exchange"), false),
    ] {
        let world = World::answers([Fail(ErrorKind::OutcomeUnknown), lives(3600)]);
        let mut tokens = TokenCache::new(world.client(), grant);
        assert_eq!(tokens.token().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        world.pass(s(60));
        assert_eq!(tokens.token().is_ok(), is_sent_again);
    }
}
