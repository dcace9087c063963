//! Failures of a cache: how often the server is asked after each kind, and that none of them is for ever while the server
//! would take a credential that the client still has. On a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Request, Response, Secret, SecretSource, TokenCache};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

const URL: &str = "https://as.example/token";

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Status(u16, &'static str),
    /// Status 503, with this `Retry-After`.
    Wait(u64),
    Fail(ErrorKind),
    /// A token that lives so many seconds, without a refresh token.
    Token(u64),
    /// The same with a new refresh token, after which the old one is worth nothing.
    Rotate(u64),
    /// The server does as `Rotate`, and the answer is lost.
    Lost,
}

use Answer::{Fail, Lost, Rotate, Status, Token, Wait};

/// The clock, the server, and what it was sent.
struct World {
    now: Duration,
    /// The answers to the original grant and to a held refresh token.
    original: Answer,
    refresh: Answer,
    /// What a request to the original grant is recognised by.
    original_grant: &'static str,
    issued: u32,
    /// Each request: `O` or `R`, the refresh token or assertion in it, when, and its answer.
    sent: Vec<(char, String, Duration, Answer)>,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn new(original_grant: &'static str, original: Answer, refresh: Answer) -> Shared {
        let (now, issued, sent) = (s(1000), 0, Vec::new());
        Arc::new(Mutex::new(Self { now, original, refresh, original_grant, issued, sent }))
    }

    fn send(&mut self, request: &Request) -> Result<Response, Error> {
        let body = core::str::from_utf8(request.body().unwrap_or_default()).unwrap();
        let field = |name: &str| {
            body.split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let carried = field("refresh_token").or_else(|| field("assertion")).unwrap_or_default().to_owned();
        let is_original = field("grant_type") == Some(self.original_grant) && !carried.starts_with("held");
        let answer = if is_original { self.original } else { self.refresh };
        self.sent.push((if is_original { 'O' } else { 'R' }, carried, self.now, answer));
        let token = |this: &mut Self, seconds: u64, refresh: bool| {
            this.issued += 1;
            let refresh = if refresh { format!(r#","refresh_token":"held{}""#, this.issued) } else { String::new() };
            Ok(Response::new(200, format!(r#"{{"access_token":"a{}","expires_in":{seconds}{refresh}}}"#, this.issued)))
        };
        match answer {
            Status(status, body) => Ok(Response::new(status, body)),
            Wait(seconds) => Ok(Response::new(503, *b"").with_header("Retry-After", &seconds.to_string())),
            Fail(kind) => Err(Error::new(kind, "it failed")),
            Lost => Err(Error::new(ErrorKind::OutcomeUnknown, "it was cut")),
            Token(seconds) => token(self, seconds, false),
            Rotate(seconds) => token(self, seconds, true),
        }
    }
}

fn client(world: &Shared) -> Client {
    let (server, clock) = (world.clone(), world.clone());
    let send = move |request: &Request| server.lock().unwrap().send(request);
    Client::with_parts(Endpoint::new(URL).unwrap(), send, move || clock.lock().unwrap().now).client_id("id")
}

/// Which requests were sent since the last call.
fn letters(world: &Shared) -> String {
    world.lock().unwrap().sent.drain(..).map(|(letter, ..)| letter).collect()
}

// How often the server is asked.

#[test]
fn only_a_persons_password_is_refused_by_every_final_answer() {
    let slow = s(10);
    let value = |text: &str| SecretSource::value(text);
    for (name, grant) in [
        ("client_credentials", Grant::client_credentials()),
        ("password", Grant::password("alice", value("wrong"))),
        ("password-realm", Grant::extension("urn:example:password-realm").secret_parameter("password", value("wrong"))),
    ] {
        let is_login = name != "client_credentials";
        let world = World::new("none", Status(0, ""), Status(404, "<html>"));
        let mut tokens = TokenCache::new(client(&world), grant);
        let first = tokens.token().unwrap_err();
        let again = tokens.token().unwrap_err();
        assert_eq!((first.kind(), again.kind()), (ErrorKind::Unusable, ErrorKind::Unusable), "{name}");
        assert_eq!(again.retry_after() == Some(slow), is_login, "{name}: {again:?}");
    }
}

#[test]
fn a_password_that_was_changed_is_tried_at_once_after_a_login_page() {
    let world = World::new("password", Status(200, "<html>Sign in</html>"), Token(60));
    let password = Arc::new(Mutex::new("wrong"));
    let source = password.clone();
    let grant = Grant::password("alice", SecretSource::provider(move || Ok(Secret::from(*source.lock().unwrap()))));
    let mut tokens = TokenCache::new(client(&world), grant);
    assert_eq!(tokens.token().unwrap_err().kind(), ErrorKind::Unusable);
    assert!(tokens.token().is_err());
    assert_eq!(letters(&world), "O");
    *password.lock().unwrap() = "right";
    world.lock().unwrap().original = Token(60);
    assert!(tokens.token().is_ok());
}

#[test]
fn a_token_that_came_too_late_is_no_refusal_of_the_password() {
    let world = World::new("password", Status(200, r#"{"access_token":"a","expires_in":1}"#), Token(60));
    let (server, clock) = (world.clone(), world.clone());
    let send = move |request: &Request| {
        let mut world = server.lock().unwrap();
        world.now += s(2);
        world.send(request)
    };
    let clock = move || clock.lock().unwrap().now;
    let client = Client::with_parts(Endpoint::new(URL).unwrap(), send, clock).client_id("id");
    let mut tokens = TokenCache::new(client, Grant::password("alice", SecretSource::value("right")));
    assert_eq!(
        tokens.token().unwrap_err().to_string().split(',').next(),
        Some("the token had expired when it arrived")
    );
    assert!(tokens.token().unwrap_err().retry_after() < Some(s(10)));
}

#[test]
fn every_refusal_of_the_credentials_is_on_the_slow_schedule() {
    const SLOW: [u64; 8] = [10, 20, 40, 80, 160, 300, 300, 300];
    for (answer, is_slow) in [
        (Status(400, r#"{"error":"invalid_client"}"#), true),
        (Status(401, r#"{"error":"invalid_grant"}"#), true),
        (Status(400, r#"{"error":"invalid_request"}"#), true),
        (Status(400, r#"{"error":"access_denied"}"#), true),
        (Status(403, r#"{"error":"user_is_locked"}"#), true),
        (Status(200, r#"{"error":"invalid_client"}"#), true),
        (Status(401, ""), true),
        (Status(401, r#"{"message":"bad credentials"}"#), true),
        (Status(403, "<html>Forbidden</html>"), true),
        (Status(400, "wrong password"), true),
        // A proxy's, told by the transport.
        (Fail(ErrorKind::Refused), true),
        (Status(400, r#"{"error":"authorization_pending"}"#), false),
        (Status(400, r#"{"error":"slow_down"}"#), false),
        (Status(500, "<html>"), false),
        // A login without OAuth errors has many answers to a wrong password, and may lock the account after any of them.
        (Status(200, "<html>Sign in</html>"), true),
        (Status(200, r#"{"success":false}"#), true),
        (Status(200, ""), true),
        (Status(302, ""), true),
        (Status(404, r#"{"message":"no such user"}"#), true),
        (Status(422, ""), true),
        (Status(423, "locked"), true),
        (Status(500, r#"{"error":"invalid_grant"}"#), true),
        (Status(500, r#"{"error":"server_error"}"#), false),
        (Status(408, ""), false),
        (Status(502, "<html>"), false),
        (Status(429, ""), false),
        (Wait(0), false),
        (Fail(ErrorKind::Unreachable), false),
        (Fail(ErrorKind::Untrusted), false),
        (Fail(ErrorKind::OutcomeUnknown), false),
    ] {
        let world = World::new("password", answer, answer);
        let mut tokens =
            TokenCache::new(client(&world), Grant::password("alice", keyfob::SecretSource::value("wrong")));
        for seconds in SLOW {
            let first = tokens.token().unwrap_err();
            let again = tokens.token().unwrap_err();
            let parts = |error: &Error| (error.kind(), error.status(), error.is_retryable());
            assert_eq!(parts(&first), parts(&again), "{answer:?}");
            assert_eq!(first.oauth_error(), again.oauth_error(), "{answer:?}");
            let left = again.retry_after().unwrap();
            match is_slow {
                true => assert_eq!(left, s(seconds), "{answer:?}"),
                false => assert!(left <= s(20), "{answer:?}: {left:?}"),
            }
            world.lock().unwrap().now += left;
        }
        assert_eq!(letters(&world), "OOOOOOOO", "{answer:?}");
    }
}

#[test]
fn a_wrong_password_is_sent_six_times_in_ten_minutes_and_twelve_times_an_hour_after_that() {
    let world = World::new("password", Status(401, "wrong"), Lost);
    let mut tokens = TokenCache::new(client(&world), Grant::password("alice", keyfob::SecretSource::value("wrong")));
    let mut asked_until = |end: Duration| {
        // As a service does that is restarted twice a second.
        while world.lock().unwrap().now < end {
            tokens.token().unwrap_err();
            world.lock().unwrap().now += Duration::from_millis(500);
        }
        letters(&world).len()
    };
    assert_eq!(asked_until(s(1600)), 6);
    assert_eq!(asked_until(s(5200)), 12);
    assert_eq!(asked_until(s(1000 + 86_400)), 6 + 286 - 18);
}

// After a refresh that failed.

/// What there is to ask with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    ClientCredentials,
    Password,
    /// An assertion that is another one for each request, and one that stays the same.
    FreshAssertion,
    SameAssertion,
    /// A refresh token: its text; a source that stays as it is; one that the hook writes to; a file.
    Value,
    Provider,
    Followed,
    #[cfg(all(feature = "std", unix))]
    File,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::ClientCredentials,
        Self::Password,
        Self::FreshAssertion,
        Self::SameAssertion,
        Self::Value,
        Self::Provider,
        Self::Followed,
    ];

    /// Whether the original grant can be sent however often.
    fn has_other_credentials(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::Password | Self::FreshAssertion)
    }

    /// Whether the grant's own source gives the newest refresh token.
    fn is_own_source(self) -> bool {
        !self.has_other_credentials() && !matches!(self, Self::SameAssertion | Self::Value | Self::Provider)
    }

    fn grant_type(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::FreshAssertion | Self::SameAssertion => "assertion",
            _ => "refresh_token",
        }
    }

    /// A cache, and the text that its source gives.
    fn cache(self, world: &Shared, directory: &std::path::Path) -> (TokenCache, Arc<Mutex<String>>) {
        let text = Arc::new(Mutex::new(String::from("first")));
        let (reader, writer) = (text.clone(), text.clone());
        let source = SecretSource::provider(move || Ok(Secret::from(reader.lock().unwrap().as_str())));
        let number = Mutex::new(0);
        let grant = match self {
            Self::ClientCredentials => Grant::client_credentials(),
            Self::Password => Grant::password("alice", keyfob::SecretSource::value("secret")),
            Self::FreshAssertion => Grant::extension("assertion").secret_parameter(
                "assertion",
                SecretSource::provider(move || {
                    *number.lock().unwrap() += 1;
                    Ok(Secret::from(format!("jwt{}", number.lock().unwrap()).as_str()))
                }),
            ),
            Self::SameAssertion => Grant::extension("assertion").secret_parameter("assertion", source),
            Self::Value | Self::Provider | Self::Followed => Grant::refresh_token(source),
            #[cfg(all(feature = "std", unix))]
            Self::File => {
                std::fs::write(directory.join("token"), "first").unwrap();
                Grant::refresh_token_file(directory.join("token"))
            }
        };
        let _ = directory;
        let tokens = TokenCache::new(client(world), grant);
        let tokens = match self {
            Self::Followed => tokens.on_new_refresh_token(move |token| {
                *writer.lock().unwrap() = token.expose().to_owned();
                Ok(())
            }),
            _ => tokens,
        };
        (tokens, text)
    }
}

/// What an answer says about a refresh token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// Nothing: the token was not looked at, or comes later.
    Later,
    /// It was not taken, for whatever reason, and may still be good.
    Other,
    /// It is refused itself.
    Refused,
    /// The server answered, and may have taken it.
    PerhapsTaken,
    /// The same without an answer.
    Lost,
}

const AFTER_A_REFRESH: [(Answer, Meaning); 27] = [
    (Status(404, "<html>Not Found"), Meaning::Other),
    (Status(404, r#"{"message":"Not Found"}"#), Meaning::Other),
    (Status(405, ""), Meaning::Other),
    (Status(410, ""), Meaning::Other),
    (Status(415, ""), Meaning::Other),
    (Status(422, r#"{"detail":"grant_type"}"#), Meaning::Other),
    (Status(302, ""), Meaning::Other),
    (Status(408, ""), Meaning::Other),
    (Status(500, "<html>"), Meaning::Other),
    (Status(500, r#"{"message":"it broke"}"#), Meaning::Other),
    (Status(501, ""), Meaning::Other),
    (Status(401, r#"{"error":"invalid_client"}"#), Meaning::Other),
    (Status(401, ""), Meaning::Other),
    (Status(403, "<html>"), Meaning::Other),
    (Status(400, r#"{"error":"invalid_scope"}"#), Meaning::Other),
    (Status(400, r#"{"error":"unsupported_grant_type"}"#), Meaning::Other),
    (Status(200, r#"{"error":"invalid_request"}"#), Meaning::Other),
    (Status(400, r#"{"error":"invalid_grant"}"#), Meaning::Refused),
    (Status(200, r#"{"error":"invalid_grant"}"#), Meaning::Refused),
    (Status(200, "<html>"), Meaning::PerhapsTaken),
    (Status(200, "{}"), Meaning::PerhapsTaken),
    (Status(502, "<html>"), Meaning::PerhapsTaken),
    (Status(504, ""), Meaning::PerhapsTaken),
    (Lost, Meaning::Lost),
    (Wait(5), Meaning::Later),
    (Fail(ErrorKind::Unreachable), Meaning::Later),
    (Fail(ErrorKind::Refused), Meaning::Later),
];

struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keyfob-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_failed_refresh_gives_way_to_the_original_grant_or_loses_nothing() {
    let directory = Directory::new("dead-ends");
    let kinds = Kind::ALL.to_vec();
    #[cfg(all(feature = "std", unix))]
    let kinds = [kinds, vec![Kind::File]].concat();
    for (answer, meaning) in AFTER_A_REFRESH {
        for &kind in &kinds {
            for insists in [false, true] {
                let case = format!("{answer:?} {kind:?}, renew(): {insists}");
                let world = World::new(kind.grant_type(), Rotate(60), answer);
                let (mut tokens, source) = kind.cache(&world, &directory.0);
                tokens.token().unwrap();
                assert_eq!(letters(&world), "O", "{case}");
                // From now on the original grant brings no new refresh token.
                world.lock().unwrap().original = Token(60);
                let mut attempts = Vec::new();
                for _ in 0..3 {
                    world.lock().unwrap().now += s(400);
                    let result = if insists { tokens.renew() } else { tokens.token() };
                    attempts.push(format!("{}{}", letters(&world), if result.is_ok() { '+' } else { '-' }));
                }
                let expected = match meaning {
                    Meaning::Later => ["R-", "R-", "R-"],
                    Meaning::Lost if kind.has_other_credentials() => ["R-", "O+", "O+"],
                    _ if kind.has_other_credentials() => ["RO+", "O+", "O+"],
                    Meaning::Other => ["R-", "R-", "R-"],
                    // What its owner's source gives is tried on the slow schedule.
                    Meaning::Refused if kind.is_own_source() => ["R-", "R-", "R-"],
                    // An attempt that is insisted on sends what is there.
                    _ if kind.is_own_source() && insists => ["R-", "R-", "R-"],
                    Meaning::Refused | Meaning::PerhapsTaken | Meaning::Lost => ["R-", "-", "-"],
                };
                assert_eq!(attempts, expected, "{case}");
                // Nothing is lost that is still good; and another refresh token or assertion always helps.
                world.lock().unwrap().refresh = Rotate(60);
                let is_ended = matches!(meaning, Meaning::Refused | Meaning::PerhapsTaken | Meaning::Lost);
                if is_ended && !kind.has_other_credentials() {
                    *source.lock().unwrap() = "second".into();
                    std::fs::write(directory.0.join("token"), "second").unwrap();
                }
                world.lock().unwrap().now += s(400);
                let token = tokens.token();
                assert!(token.is_ok(), "{case}: {token:?}");
            }
        }
    }
}

// Whatever happens.

/// George Marsaglia's xorshift, so that a history can be repeated from its number.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }

    fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len() as u64) as usize]
    }

    fn answer(&mut self) -> Answer {
        match self.below(6) {
            0 => Token(self.life()),
            1 | 2 => Rotate(self.life()),
            3 => Wait(self.below(120)),
            _ => self.one_of(&AFTER_A_REFRESH).0,
        }
    }

    fn life(&mut self) -> u64 {
        self.one_of(&[60, 61, 90, 300, 3600])
    }
}

fn meaning(answer: Answer) -> Meaning {
    match answer {
        Wait(_) | Fail(_) => Meaning::Later,
        _ => AFTER_A_REFRESH.iter().find(|(known, _)| *known == answer).map_or(Meaning::Other, |(_, meaning)| *meaning),
    }
}

/// What the client can still ask with, by what the server has seen.
struct Left {
    /// The original request, for a grant that is good for one use: by a token that replaced it, or by a lost answer.
    original: bool,
    /// The refresh token that is held beside it.
    held: bool,
}

impl Left {
    /// Reads the requests in order; also checks that what may have been taken is never sent again.
    fn after(kind: Kind, sent: &[(char, String, Duration, Answer)], case: &str) -> Self {
        let mut left = Self { original: true, held: false };
        let mut gone = HashSet::new();
        for (letter, carried, _, answer) in sent {
            assert!(carried.is_empty() || !gone.contains(carried.as_str()), "{case}: {carried} was sent again");
            let meaning = meaning(*answer);
            let is_taken = matches!(meaning, Meaning::PerhapsTaken | Meaning::Lost);
            // A refresh token that was not replaced, and an assertion that brought none, stay good.
            let is_over = is_taken || matches!(answer, Rotate(_));
            let is_refresh = *letter == 'R' || kind.is_own_source();
            if is_over && (is_refresh || !kind.has_other_credentials()) {
                gone.insert(carried.as_str());
            }
            match (letter, answer) {
                _ if kind.is_own_source() => left.original &= !is_taken,
                ('O', _) if !kind.has_other_credentials() => left.original &= !is_over,
                ('R', _) => {
                    // With other credentials a refresh token is given up for any answer that was none.
                    let is_given_up = meaning == Meaning::Other && !matches!(answer, Token(_) | Rotate(_));
                    let is_given_up = is_given_up && (kind.has_other_credentials() || left.original);
                    left.held &= !(is_taken || meaning == Meaning::Refused || is_given_up);
                    if meaning == Meaning::Refused {
                        gone.insert(carried.as_str());
                    }
                }
                _ => {}
            }
            if matches!(answer, Rotate(_)) {
                // The source that follows has the new one.
                left.held = true;
            }
        }
        left
    }
}

/// Checks that the attempts are as far apart as their failures ask for.
fn check_schedule(kind: Kind, sent: &[(char, String, Duration, Answer)], case: &str) {
    let (mut refusals, mut failures) = (0, 0);
    let mut last: Option<(Duration, Duration)> = None;
    let mut requests = sent.iter().peekable();
    // An assertion that is made for each request is another credential, which may be let through at once.
    while let Some((letter, _, at, answer)) = requests.next().filter(|_| kind != Kind::FreshAssertion) {
        if let Some((before, gap)) = last {
            assert!(*at >= before + gap, "{case}: asked at {at:?}, {gap:?} after {before:?} at the earliest: {sent:?}");
        }
        // Two requests at one moment are one attempt, whose outcome is that of the second.
        let (mut letter, mut answer) = (letter, answer);
        if let Some((its_letter, _, _, second)) = requests.next_if(|(.., second, _)| second == at) {
            (letter, answer) = (its_letter, second);
        }
        let is_login = kind == Kind::Password && *letter == 'O';
        assert!(requests.peek().is_none_or(|(.., next, _)| next > at), "{case}: three requests in one attempt");
        let is_refused = match answer {
            Fail(kind) => *kind == ErrorKind::Refused,
            Status(status, body) => {
                let is_later = matches!(status, 408 | 429 | 500..) || body.contains("server_error");
                matches!(status, 400 | 401 | 403) || body.contains(r#""error":"invalid"#) || (is_login && !is_later)
            }
            _ => false,
        };
        let gap = match answer {
            Token(_) | Rotate(_) => {
                (refusals, failures) = (0, 0);
                s(1)
            }
            _ if is_refused => {
                refusals += 1;
                s(300.min(10 << (refusals - 1).min(9)))
            }
            _ => {
                failures += 1;
                let asked = if let Wait(seconds) = answer { *seconds } else { 0 };
                s(20.min(1 << (failures - 1).min(9))).max(s(asked) * 2) / 2
            }
        };
        last = Some((*at, gap));
    }
    for (number, (.., end, _)) in sent.iter().enumerate() {
        let hour = sent[..number].iter().rev().take_while(|(.., at, _)| *at + s(3600) > *end).count();
        assert!(hour <= 400, "{case}: {hour} requests within an hour");
    }
}

#[test]
fn no_history_ends_without_a_token_that_the_server_would_issue() {
    let directory = Directory::new("histories");
    let mut is_checked = [0; 2];
    for number in 1..=25_000_u64 {
        let mut random = Random::new(number);
        let kind = random.one_of(&Kind::ALL);
        let case = format!("history {number}, {kind:?}");
        let world = World::new(kind.grant_type(), Rotate(60), Rotate(60));
        let (mut tokens, _source) = kind.cache(&world, &directory.0);
        // The number of the token that comes, and when it ends.
        let ends_at = Cell::new(Duration::ZERO);
        let ask = |tokens: &mut TokenCache| {
            let token = tokens.token().ok()?;
            let now = world.lock().unwrap().now;
            let left = token.remaining(now).unwrap();
            assert!(!left.is_zero(), "{case}: a late token");
            ends_at.set(now + left);
            token.expose()[1..].parse::<u32>().ok()
        };
        for _ in 0..random.below(6) {
            let (original, refresh) = (random.answer(), random.answer());
            {
                let mut world = world.lock().unwrap();
                (world.original, world.refresh) = (original, refresh);
            }
            for _ in 0..=random.below(6) {
                // A moment that the cache names, or any other.
                let next = tokens.next_attempt().filter(|_| random.below(2) == 0);
                let now = world.lock().unwrap().now;
                let any = now + Duration::from_millis(random.below(100_000));
                world.lock().unwrap().now = next.map_or(any, |next| next.max(now));
                ask(&mut tokens);
            }
        }
        let left = Left::after(kind, &world.lock().unwrap().sent, &case);
        // The server mends one of its ways; the other may stay as it is, unless it says "later" for the whole server.
        let is_original_mended = random.below(2) == 0;
        let mended = if random.below(2) == 0 { Token(60) } else { Rotate(60) };
        let mut broken = random.answer();
        while meaning(broken) == Meaning::Later {
            broken = random.answer();
        }
        let (original, refresh) = match is_original_mended {
            true => (mended, broken),
            false => (broken, mended),
        };
        {
            let mut world = world.lock().unwrap();
            (world.original, world.refresh) = (original, refresh);
        }
        let would_give = match (is_original_mended, kind.is_own_source()) {
            // The source has its first token, or the last that came, and that alone is sent.
            (true, true) => left.original && !left.held,
            (false, true) => left.original && left.held,
            (true, false) => left.original,
            (false, false) => left.held,
        };
        // The longest wait that the schedule knows here, and one more attempt where an answer was lost.
        let issued = world.lock().unwrap().issued;
        let now = world.lock().unwrap().now;
        ask(&mut tokens);
        let end = ends_at.get().max(now) + s(450);
        let mut has_token = false;
        while !has_token {
            let Some(next) = tokens.next_attempt().filter(|next| *next <= end) else { break };
            let now = world.lock().unwrap().now;
            world.lock().unwrap().now = next.max(now);
            has_token = ask(&mut tokens).is_some_and(|number| number > issued);
            assert!(tokens.next_attempt().is_none_or(|at| at > world.lock().unwrap().now), "{case}: the cache spins");
        }
        let sent = &world.lock().unwrap().sent;
        Left::after(kind, sent, &case);
        check_schedule(kind, sent, &case);
        is_checked[usize::from(is_original_mended)] += usize::from(would_give);
        assert!(
            has_token || !would_give,
            "{case}: no token, though {original:?} or {refresh:?} would give one; {sent:?}"
        );
    }
    assert!(is_checked.iter().all(|count| *count > 2000), "{is_checked:?}");
}

#[test]
fn a_source_is_read_once_for_each_attempt() {
    let world = World::new("refresh_token", Rotate(60), Rotate(60));
    let reads = Arc::new(Mutex::new(0));
    let counter = reads.clone();
    let source = SecretSource::provider(move || {
        *counter.lock().unwrap() += 1;
        Ok(Secret::from("first"))
    });
    let mut tokens = TokenCache::new(client(&world), Grant::refresh_token(source));
    for attempt in 1..=4 {
        // The last one is refused, and looks whether the source has another.
        if attempt == 4 {
            world.lock().unwrap().refresh = Status(400, r#"{"error":"invalid_grant"}"#);
        }
        assert_eq!(tokens.token().is_ok(), attempt < 4);
        assert_eq!(*reads.lock().unwrap(), attempt);
        world.lock().unwrap().now += s(60);
    }
    assert_eq!(letters(&world), "ORRR");
}
