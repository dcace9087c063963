//! Years of a cache's life, on a virtual clock and with a server that keeps the truth about each token: random lives,
//! outages, refusals, lost answers and suspends. The seeds are fixed, so each run is the same.
//!
//! A step of the wall clock is no event here: nothing asks that clock, and the boot clock has no steps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, ClientAuthentication, Endpoint, Error, ErrorKind, Grant, Lifetime, Request, Response, Secret,
    SecretSource, Spread, TokenCache,
};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.0 * DAY;
const CALLS: u32 = 20_000;
const SEEDS: u64 = 12;

/// A token is used for this part of its life at least, and one that lives less than a minute for that, less a second.
const LEAST_USED: f64 = 0.5;
const LEAST_USED_SHORT: f64 = 0.95;

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, part: f64) -> bool {
        self.part() < part
    }

    /// Seconds of any magnitude between the two.
    fn seconds(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(from * (to / from).powf(self.part()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Weather {
    Fine,
    Unreachable,
    Lossy,
    Busy,
    Broken,
}

/// What came of the last request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Delivered,
    Failed,
    Refused,
}

/// The server and its truth, and what the cache has promised and holds as seen from outside.
struct World {
    random: Random,
    weather: Weather,
    weather_ends: Duration,
    usual_life: f64,
    issued: u64,
    /// When each token really ends; none: not before it is refused.
    truth: HashMap<String, Option<Duration>>,
    newest: String,
    /// The token that was delivered last, and when.
    delivered: (String, Duration),
    live: HashSet<String>,
    spent: HashSet<String>,
    secret: u64,
    clients_secret: u64,
    /// What the grant's source gives.
    source: String,
    hook_fails: bool,
    has_refresh: bool,

    hand: Option<(AccessToken, Duration)>,
    min_life: Duration,
    promise: Duration,
    outcome: Outcome,
    failures: u32,
    /// From the end of the last attempt to the next one.
    least_wait: Duration,
    last_end: Duration,
    in_call: u32,
    requests: u64,
    attempts: u64,
    reasons: [u64; 3],
}

type Shared = Arc<(Mutex<World>, AtomicU64)>;

fn now(shared: &Shared) -> Duration {
    Duration::from_nanos(shared.1.load(Ordering::Relaxed))
}

fn pass(shared: &Shared, time: Duration) {
    shared.1.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
}

impl World {
    /// Whether this request is one that the policy allows.
    fn check(&mut self, now: Duration) {
        self.requests += 1;
        self.in_call += 1;
        assert!(self.in_call <= 2, "{} requests for one call", self.in_call);
        if self.in_call == 2 {
            return;
        }
        self.attempts += 1;
        assert!(now >= self.promise, "asked at {now:?}, promised not to before {:?}", self.promise);
        let again_at = self.last_end + self.least_wait;
        assert!(now >= again_at, "asked again at {now:?}, not {again_at:?}, after {} failures", self.failures);
        let reason = match &self.hand {
            Some((token, _)) if token.remaining(now).is_some_and(|left| left.is_zero()) => 0,
            None => 0,
            Some((token, _)) if token.remaining(now).is_some_and(|left| left < self.min_life) => 1,
            Some((token, fetched_at)) => {
                let used = (now - *fetched_at).as_secs_f64();
                let life = token.remaining(*fetched_at).expect("an unknown life is not renewed").as_secs_f64();
                let short = if life < 60.0 { life * LEAST_USED_SHORT - 1.0 } else { 0.0 };
                let least = short.max(life * LEAST_USED);
                assert!(used >= 1.0 && used >= least - 1e-6, "renewed after {used} s of {life} s");
                2
            }
        };
        self.reasons[reason] += 1;
    }

    fn body(&mut self, now: Duration) -> String {
        self.issued += 1;
        let left = self.truth.get(&self.newest).copied().flatten().map(|end| end.saturating_sub(now).as_secs());
        if let Some(left) = left.filter(|left| *left > 0 && self.issued % 7 == 0) {
            return format!(r#"{{"access_token":"{}","expires_in":{left}}}"#, self.newest);
        }
        let refresh = if self.has_refresh && self.random.chance(0.9) {
            let refresh = format!("r{}", self.issued);
            self.live.insert(refresh.clone());
            format!(r#","refresh_token":"{refresh}""#)
        } else {
            String::new()
        };
        let token = format!("a{}", self.issued);
        let (says, end) = match self.random.next() % 50 {
            0 => ("0".into(), None),
            1 => ("null".into(), None),
            kind => {
                let life = match kind {
                    2..=6 => self.random.seconds(1.0, YEAR).as_secs(),
                    _ => self.usual_life as u64,
                };
                (life.to_string(), Some(now + Duration::from_secs(life)))
            }
        };
        self.newest.clone_from(&token);
        self.truth.insert(token.clone(), end);
        format!(r#"{{"access_token":"{token}","expires_in":{says}{refresh}}}"#)
    }

    /// What the server makes of a request that reached it.
    fn process(&mut self, body: &str, now: Duration) -> (u16, String) {
        let field = |name: &str| body.split('&').find_map(|field| field.strip_prefix(name)).map(str::to_owned);
        if field("client_secret=") != Some(format!("s{}", self.secret)) {
            return (401, r#"{"error":"invalid_client"}"#.into());
        }
        if let Some(refresh) = field("refresh_token=") {
            assert!(!self.spent.contains(&refresh), "{refresh} was used up, and is sent again");
            if !self.live.contains(&refresh) {
                return (400, r#"{"error":"invalid_grant"}"#.into());
            }
            let answer = self.body(now);
            if answer.contains("refresh_token") {
                self.live.remove(&refresh);
                self.spent.insert(refresh);
            }
            return (200, answer);
        }
        (200, self.body(now))
    }
}

fn send(shared: &Shared, request: &Request) -> Result<Response, Error> {
    let body = core::str::from_utf8(request.body().unwrap()).unwrap();
    let mut world = shared.0.lock().unwrap();
    world.check(now(shared));
    // The way there, with now and then a suspend on it.
    for _ in 0..2 {
        let way = if world.random.chance(0.01) {
            world.random.seconds(60.0, 9.0 * HOUR)
        } else {
            world.random.seconds(0.001, 2.0)
        };
        pass(shared, way);
    }
    world.outcome = Outcome::Failed;
    let loss = if world.weather == Weather::Lossy { 0.7 } else { 0.01 };
    let is_lost = world.random.chance(loss);
    let result = match world.weather {
        Weather::Unreachable => Err(Error::new(ErrorKind::Unreachable, "no network")),
        Weather::Broken => Ok(Response::new(500, *b"")),
        Weather::Busy => {
            let code = if world.random.chance(0.5) { 429 } else { 503 };
            let response = Response::new(code, *b"");
            let asked = world.random.seconds(1.0, 3.0 * DAY).as_secs();
            if world.random.chance(0.5) {
                world.promise = now(shared) + Duration::from_secs(asked.min(DAY as u64));
                Ok(response.with_header("Retry-After", &asked.to_string()))
            } else {
                Ok(response)
            }
        }
        Weather::Fine | Weather::Lossy if is_lost => {
            if world.random.chance(0.7) {
                world.process(body, now(shared));
            }
            Err(Error::new(ErrorKind::OutcomeUnknown, "cut off"))
        }
        Weather::Fine | Weather::Lossy => {
            let (status, answer) = world.process(body, now(shared));
            match status {
                200 if world.random.chance(0.005) => Ok(Response::new(200, *b"<html>")),
                200 => {
                    let back =
                        if world.random.chance(0.01) { world.random.seconds(60.0, 9.0 * HOUR) } else { Duration::ZERO };
                    pass(shared, back);
                    world.outcome = Outcome::Delivered;
                    world.delivered = (world.newest.clone(), now(shared));
                    Ok(Response::new(200, answer))
                }
                status => {
                    world.outcome = Outcome::Refused;
                    Ok(Response::new(status, answer))
                }
            }
        }
    };
    drop(world);
    result
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Credentials,
    Password,
    RefreshStored,
    RefreshInMemory,
}

fn live(seed: u64, mode: Mode) -> (u64, f64) {
    println!("seed {seed}, {mode:?}");
    let mut random = Random((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ mode as u64);
    random.next();
    let world = World {
        random,
        weather: Weather::Fine,
        weather_ends: Duration::ZERO,
        usual_life: 3600.0,
        issued: 0,
        truth: HashMap::new(),
        newest: String::new(),
        delivered: (String::new(), Duration::ZERO),
        live: HashSet::from(["r0".to_owned()]),
        spent: HashSet::new(),
        secret: 1,
        clients_secret: 1,
        source: "r0".into(),
        hook_fails: false,
        has_refresh: mode != Mode::Credentials,
        hand: None,
        min_life: Duration::ZERO,
        promise: Duration::ZERO,
        outcome: Outcome::Delivered,
        failures: 0,
        least_wait: Duration::ZERO,
        last_end: Duration::ZERO,
        in_call: 0,
        requests: 0,
        attempts: 0,
        reasons: [0; 3],
    };
    let shared: Shared = Arc::new((Mutex::new(world), AtomicU64::new(0)));
    let (server, clock, vault, source, hook) =
        (shared.clone(), shared.clone(), shared.clone(), shared.clone(), shared.clone());
    let endpoint = Endpoint::new("https://as.example/token").unwrap();
    let client = Client::with_parts(
        endpoint.authentication(ClientAuthentication::ClientSecretPost),
        move |request: &Request| send(&server, request),
        move || now(&clock),
    )
    .client_id("id")
    .client_secret(SecretSource::provider(move || {
        Ok(Secret::from(format!("s{}", vault.0.lock().unwrap().clients_secret)))
    }));
    let grant = match mode {
        Mode::Credentials => Grant::client_credentials(),
        Mode::Password => Grant::password("alice", keyfob::SecretSource::value("wonderland")),
        _ => Grant::refresh_token(SecretSource::provider(move || {
            Ok(Secret::from(source.0.lock().unwrap().source.as_str()))
        })),
    };
    let mut tokens = TokenCache::new(client, grant)
        .spread(Spread::from_seed(&seed.to_le_bytes()))
        .on_new_refresh_token(move |token| {
            let mut world = hook.0.lock().unwrap();
            if world.hook_fails {
                return Err(Error::new(ErrorKind::Internal, "the disk is full"));
            }
            if mode == Mode::RefreshStored {
                world.source = token.expose().to_owned();
            }
            Ok(())
        });
    for _ in 0..CALLS {
        between(&shared, &mut tokens);
        call(&shared, &mut tokens);
    }
    let world = shared.0.lock().unwrap();
    assert_eq!(world.reasons.iter().sum::<u64>(), world.attempts);
    (world.requests, now(&shared).as_secs_f64() / YEAR)
}

/// What happens between two calls.
fn between(shared: &Shared, tokens: &mut TokenCache) {
    let mut world = shared.0.lock().unwrap();
    let world = &mut *world;
    let random = &mut world.random;
    // Half of the callers come in quick succession; a suspend is nothing but a long time.
    let time = if random.chance(0.5) { random.seconds(0.01, 60.0) } else { random.seconds(1.0, DAY) };
    pass(shared, time);
    let now = now(shared);
    if now >= world.weather_ends {
        let (weather, longest) = match random.next() % 10 {
            0 => (Weather::Unreachable, DAY),
            1 => (Weather::Lossy, DAY),
            2 => (Weather::Busy, HOUR),
            3 => (Weather::Broken, DAY),
            _ => (Weather::Fine, 30.0 * DAY),
        };
        world.weather = weather;
        world.weather_ends = now + random.seconds(1.0, longest);
        world.usual_life = random.seconds(1.0, 30.0 * DAY).as_secs_f64();
    }
    if random.chance(0.002) {
        world.secret += 1;
    }
    if world.clients_secret != world.secret && random.chance(0.05) {
        world.clients_secret = world.secret;
        if world.outcome == Outcome::Refused {
            (world.promise, world.least_wait) = (Duration::ZERO, Duration::ZERO);
        }
    }
    if random.chance(0.01) {
        world.hook_fails = !world.hook_fails && random.chance(0.5);
    }
    // The server ends refresh tokens of itself, without calling them used up.
    if random.chance(0.001) {
        world.live.clear();
    }
    if random.chance(0.005) {
        if let Some((token, _)) = world.hand.clone() {
            if tokens.invalidate(&token) {
                world.hand = None;
            }
        }
    }
    world.min_life = if random.chance(0.05) { random.seconds(1.0, 2.0 * HOUR) } else { Duration::ZERO };
    world.in_call = 0;
}

/// Asks, and checks what comes of it.
fn call(shared: &Shared, tokens: &mut TokenCache) {
    let (before, min_life, is_good) = {
        let world = shared.0.lock().unwrap();
        let before = now(shared);
        let good = |token: &AccessToken| {
            !token.is_expired(before) && token.remaining(before).is_none_or(|left| left >= world.min_life)
        };
        (before, world.min_life, world.hand.as_ref().is_some_and(|(token, _)| good(token)))
    };
    let result = tokens.token_valid_for(min_life);
    let after = now(shared);
    let mut world = shared.0.lock().unwrap();
    if world.in_call > 0 {
        world.last_end = after;
        match world.outcome {
            Outcome::Delivered => (world.failures, world.least_wait) = (0, Duration::ZERO),
            Outcome::Refused => world.least_wait = Duration::from_secs(10),
            Outcome::Failed => {
                world.failures += 1;
                let whole = Duration::from_secs(1 << (world.failures - 1).min(5)).min(Duration::from_secs(20));
                world.least_wait = whole / 2;
            }
        }
    }
    match &result {
        Ok(token) => {
            let end = world.truth.get(token.expose()).expect("the server issued it");
            if token.lifetime() != Lifetime::Once {
                assert!(
                    end.is_none_or(|end| end > after),
                    "{} ended at {end:?}, handed out at {after:?}",
                    token.expose()
                );
            }
            let left = token.remaining(after);
            if world.in_call == 0 {
                assert!(left.is_none_or(|left| left >= min_life), "{left:?} left, {min_life:?} asked for");
            }
            let is_old = world.hand.as_ref().is_some_and(|(hand, _)| hand.lifetime() == token.lifetime());
            let is_new = world.in_call > 0 && world.outcome == Outcome::Delivered;
            // What was delivered may be too short for this caller, who got the old one: what is held is not known.
            if token.lifetime() == Lifetime::Once || is_old && is_new {
                world.hand = None;
            } else if !is_old {
                let (text, arrived_at) = &world.delivered;
                world.hand = (text == token.expose()).then(|| (token.clone(), *arrived_at));
            }
        }
        Err(error) => {
            if is_good {
                let (hand, _) = world.hand.as_ref().unwrap();
                assert!(hand.is_expired(after), "{error:?} at {before:?} with a valid token in hand");
            }
            if let Some(left) = error.retry_after() {
                world.promise = world.promise.max(after + left.min(Duration::from_secs(DAY as u64)));
            }
            // Whatever came is not known from here: a fresh one that is too short, or one whose hook failed.
            if world.in_call > 0 && world.outcome == Outcome::Delivered {
                world.hand = None;
            }
            // Somebody signs in again.
            let is_lost = matches!(error.kind(), ErrorKind::Config | ErrorKind::OutcomeUnknown)
                || error.oauth_error() == Some("invalid_grant");
            if is_lost && world.random.chance(0.3) {
                world.issued += 1;
                world.source = format!("r{}", world.issued);
                let source = world.source.clone();
                world.live.insert(source);
                // What was lost with its answer does not make the backoff grow: it has no end.
                (world.promise, world.least_wait, world.failures) = (Duration::ZERO, Duration::ZERO, 0);
            }
        }
    }
    if world.truth.len() > 10_000 {
        world.truth.retain(|_, end| end.is_none_or(|end| end > after));
    }
}

fn years(mode: Mode) {
    let (mut requests, mut years) = (0, 0.0);
    for seed in 0..SEEDS {
        let (asked, lived) = live(seed, mode);
        requests += asked;
        years += lived;
    }
    println!("{requests} requests for {} calls in {years:.0} years", u64::from(CALLS) * SEEDS);
    assert!(years > SEEDS as f64, "{years}");
    assert!((1000..u64::from(CALLS) * SEEDS).contains(&requests), "{requests}");
}

#[test]
fn years_with_client_credentials() {
    years(Mode::Credentials);
}

#[test]
fn years_with_a_password_and_rotating_refresh_tokens() {
    years(Mode::Password);
}

#[test]
fn years_with_a_rotating_refresh_token_that_a_hook_stores() {
    years(Mode::RefreshStored);
}

#[test]
fn years_with_a_rotating_refresh_token_kept_in_memory() {
    years(Mode::RefreshInMemory);
}

#[test]
fn a_clock_that_cannot_be_read_gives_no_token_and_asks_for_none() {
    let (time, requests) = (Arc::new(AtomicU64::new(100)), Arc::new(AtomicU64::new(0)));
    let seconds = Arc::clone(&time);
    let clock = move || match seconds.load(Ordering::SeqCst) {
        u64::MAX => Duration::MAX,
        seconds => Duration::from_secs(seconds),
    };
    let sent = Arc::clone(&requests);
    let send = move |_: &Request| {
        sent.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(200, r#"{"access_token":"t","expires_in":3600}"#))
    };
    let client = || Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send.clone(), clock.clone());
    let mut owned = TokenCache::new(client(), Grant::client_credentials());
    #[cfg(not(feature = "std"))]
    let mut other = TokenCache::new(client(), Grant::client_credentials());
    #[cfg(feature = "std")]
    let other = keyfob::SharedTokenCache::new(client(), Grant::client_credentials());
    for (at, expected, so_far) in
        [(100, true, 2), (u64::MAX, false, 2), (300, true, 2), (u64::MAX, false, 2), (5000, true, 4)]
    {
        time.store(at, Ordering::SeqCst);
        for (name, token) in [("one", owned.token().map(drop)), ("other", other.token().map(drop))] {
            match token {
                Ok(()) => assert!(expected, "{name} at {at}"),
                Err(error) => {
                    assert!(!expected, "{name} at {at}: {error}");
                    assert_eq!(
                        format!("{error}"),
                        "the clock cannot be read, so it cannot be known when a token expires"
                    );
                }
            }
        }
        assert_eq!(requests.load(Ordering::SeqCst), so_far, "at {at}");
    }
}
