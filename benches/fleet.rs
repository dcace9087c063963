//! A fleet at one authorization server: 100,000 devices that boot in the same second, for 24 h of virtual time.
//!
//! `cargo bench --bench fleet` prints the table and draws `benches/fleet.svg`; another path may be given after `--`.
//! The devices of keyfob run the library's own code; the other two are models of when the peer asks. Nothing is random,
//! so each run gives the same figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Lifetime, Request, Response, Spread, TokenCache};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DEVICES: u32 = 100_000;
const DAY: Duration = hours(24);
const MINUTES: usize = 24 * 60;
const LIFE: Duration = hours(1);
/// Each device needs a token at any time. Each hourly token used to its end, that is 24 a day.
const FEWEST: u32 = DEVICES * 24;

/// How often a device of the peers uses its token, and so tries again after a failure.
const USE_EVERY: Duration = Duration::from_secs(5);

/// Chosen so that all three fleets have renewals in it.
const OUTAGE: Range<Duration> = Duration::from_secs(12 * 3600 - 600)..hours(12);
/// So many requests are answered in each minute: 1.5 times what the fleet needs at least.
const LIMIT: u32 = FEWEST * 3 / 2 / (24 * 60);

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// What happens on the day.
#[derive(Clone, Copy, PartialEq)]
enum Scenario {
    Calm,
    Outage,
    Limit,
}

/// Who asks the server, and when.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Keyfob,
    /// As keyfob, with the first fetch put off by the device's share of this time.
    KeyfobSpread(Duration),
    /// Go's oauth2: 10 s before the end, and again with the next use; no jitter, no backoff.
    Go,
    /// huskarl 0.11: 30 s before the end, and up to 30 s earlier by a jitter that is the device's own. Within that time
    /// it tries again with each use; later a failure reaches its caller, who obeys Retry-After.
    Huskarl,
}

/// The server and the time, which all devices of a run share.
struct World {
    scenario: Scenario,
    now: AtomicU64,
    log: Mutex<Log>,
}

struct Log {
    /// Requests sent, by the minute.
    requests: Vec<u32>,
    tokens: u32,
}

enum Answer {
    Token,
    Unreachable,
    Wait(Duration),
}

impl World {
    fn new(scenario: Scenario) -> Self {
        Self { scenario, now: AtomicU64::new(0), log: Mutex::new(Log { requests: vec![0; MINUTES], tokens: 0 }) }
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    fn ask(&self) -> Answer {
        let (now, mut log) = (self.now(), self.log.lock().unwrap());
        let minute = minute(now);
        log.requests[minute] += 1;
        match self.scenario {
            Scenario::Outage if OUTAGE.contains(&now) => Answer::Unreachable,
            Scenario::Limit if log.requests[minute] > LIMIT => {
                Answer::Wait(Duration::from_secs(60 - now.as_secs() % 60))
            }
            _ => {
                log.tokens += 1;
                Answer::Token
            }
        }
    }
}

fn minute(at: Duration) -> usize {
    (at.as_secs() / 60) as usize
}

/// A part of `whole` that is the device's own.
fn part(whole: Duration, number: u32, salt: u32) -> Duration {
    let hash = (u64::from(number) << 32 | u64::from(salt)).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = (hash ^ hash >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 48;
    whole / (1 << 16) * hash as u32
}

enum Device {
    Keyfob(Box<TokenCache>),
    Peer { jitter: Duration, margin: Duration, obeys: bool, deadline: Duration },
}

impl Device {
    fn new(policy: Policy, number: u32, world: &Arc<World>) -> Self {
        let keyfob = || {
            let (server, clock) = (Arc::clone(world), Arc::clone(world));
            let answer = move |_: &Request| match server.ask() {
                Answer::Token => Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#)),
                Answer::Unreachable => Err(Error::new(ErrorKind::Unreachable, "the server is away")),
                Answer::Wait(wait) => {
                    Ok(Response::new(429, *b"").with_header("Retry-After", &wait.as_secs().to_string()))
                }
            };
            let endpoint = Endpoint::new("https://as.example/token").unwrap();
            let client = Client::with_parts(endpoint, answer, move || clock.now())
                .client_id("id")
                .client_secret(keyfob::SecretSource::value("s"));
            TokenCache::new(client, Grant::client_credentials()).spread(Spread::from_seed(&number.to_le_bytes()))
        };
        match policy {
            Policy::Keyfob => Self::Keyfob(Box::new(keyfob())),
            Policy::KeyfobSpread(spread) => Self::Keyfob(Box::new(keyfob().spread_first_fetch(spread))),
            Policy::Go => Self::Peer {
                jitter: Duration::ZERO,
                margin: Duration::from_secs(10),
                obeys: false,
                deadline: Duration::ZERO,
            },
            Policy::Huskarl => Self::Peer {
                jitter: part(Duration::from_secs(30), number, 1),
                margin: Duration::from_secs(30),
                obeys: true,
                deadline: Duration::ZERO,
            },
        }
    }

    /// Uses the token, which is renewed if it is time. Returns until when the device has one, and when it comes again.
    fn call(&mut self, world: &World) -> (Option<Duration>, Duration) {
        let now = world.now();
        match self {
            Self::Keyfob(cache) => {
                let until = cache.token().ok().and_then(|token| match token.lifetime() {
                    Lifetime::Until(deadline) => Some(deadline),
                    _ => None,
                });
                (until, cache.next_attempt().expect("it asks again"))
            }
            Self::Peer { jitter, margin, obeys, deadline } => {
                let next_use = now + USE_EVERY;
                let again = match world.ask() {
                    Answer::Token => {
                        *deadline = now + LIFE;
                        // With the first use past that moment.
                        let wait = LIFE - *margin - *jitter;
                        now + USE_EVERY * wait.as_nanos().div_ceil(USE_EVERY.as_nanos()) as u32
                    }
                    Answer::Wait(wait) if *obeys && now + *margin >= *deadline => next_use.max(now + wait),
                    Answer::Wait(_) | Answer::Unreachable => next_use,
                };
                (deadline.checked_sub(*margin).filter(|until| *until > now), again)
            }
        }
    }
}

/// What came of a day.
struct Outcome {
    requests: Vec<u32>,
    tokens: u32,
    second_renewal: Duration,
    longest_without: Duration,
}

fn run(scenario: Scenario, policy: Policy) -> Outcome {
    let world = Arc::new(World::new(scenario));
    let mut devices: Vec<_> = (0..DEVICES).map(|number| Device::new(policy, number, &world)).collect();
    // All boot in the same second.
    let boot = |number| part(Duration::from_secs(1), number, 0);
    let mut until: Vec<_> = (0..DEVICES).map(boot).collect();
    let mut tokens = vec![0_u32; devices.len()];
    let mut queue: BinaryHeap<_> = (0..DEVICES).map(|number| Reverse((boot(number), number))).collect();
    let (mut second_renewal, mut longest_without) = (DAY, Duration::ZERO);
    // From when the server is up, and not from when the token ran out in the outage.
    let without = |from: Duration, to: Duration| match scenario {
        Scenario::Outage if OUTAGE.contains(&from) => to.saturating_sub(from.max(OUTAGE.end)),
        _ => to.saturating_sub(from),
    };
    while let Some(Reverse((now, number))) = queue.pop() {
        if now >= DAY {
            break;
        }
        world.now.store(now.as_nanos() as u64, Ordering::Relaxed);
        let index = number as usize;
        let (new, again) = devices[index].call(&world);
        if let Some(new) = new.filter(|new| *new > until[index]) {
            longest_without = longest_without.max(without(until[index], now));
            until[index] = new;
            tokens[index] += 1;
            if tokens[index] == 3 {
                second_renewal = second_renewal.min(now);
            }
        }
        assert!(again > now, "a device that comes again at once would never let time pass");
        queue.push(Reverse((again, number)));
    }
    for until in until {
        longest_without = longest_without.max(without(until, DAY));
    }
    drop(devices);
    let log = Arc::into_inner(world).unwrap().log.into_inner().unwrap();
    Outcome { requests: log.requests, tokens: log.tokens, second_renewal, longest_without }
}

/// The figures of a day, as the table has them.
struct Figures {
    requests: u64,
    ratio: f64,
    peak: f64,
    settled: f64,
    after: Option<f64>,
    without: Duration,
}

impl Outcome {
    fn figures(&self, scenario: Scenario) -> Figures {
        let requests = self.requests.iter().map(|count| u64::from(*count)).sum();
        // The mean of what is of use: requests in vain would make the peak look smaller.
        let mean = f64::from(self.tokens) / MINUTES as f64;
        let peak = |minutes: &[u32]| f64::from(minutes.iter().copied().max().unwrap_or(0)) / mean;
        let end = if scenario == Scenario::Outage { minute(OUTAGE.start) } else { MINUTES };
        Figures {
            requests,
            ratio: requests as f64 / f64::from(FEWEST),
            peak: peak(&self.requests),
            settled: peak(&self.requests[minute(self.second_renewal).min(end)..end]),
            after: (scenario == Scenario::Outage).then(|| peak(&self.requests[minute(OUTAGE.end)..])),
            without: self.longest_without,
        }
    }
}

impl Scenario {
    fn title(self) -> String {
        match self {
            Self::Calm => "a calm day".into(),
            Self::Outage => "no server for 10 min before hour 12".into(),
            Self::Limit => format!("429 over {} a minute", thousands(LIMIT.into())),
        }
    }

    fn policies(self) -> Vec<Policy> {
        let mut policies = vec![Policy::Keyfob, Policy::Huskarl, Policy::Go];
        if self == Self::Limit {
            policies.insert(1, Policy::KeyfobSpread(Duration::from_secs(45 * 60)));
        }
        policies
    }
}

impl Policy {
    fn name(self) -> String {
        match self {
            Self::Keyfob => "keyfob".into(),
            Self::KeyfobSpread(spread) => format!("keyfob, first fetch spread over {} min", spread.as_secs() / 60),
            Self::Go => "Go's oauth2".into(),
            Self::Huskarl => "huskarl".into(),
        }
    }
}

fn thousands(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1000), number % 1000) }
}

const WIDTH: f64 = 800.0;
const LEFT: f64 = 62.0;
const PLOT: f64 = 720.0;
const STRIP: f64 = 74.0;
/// Requests per minute at the upper edge of a strip. What is more is cut off, and its number written there.
const TOP: f64 = 8_000.0;

/// Draws one policy's day with its upper edge at `y`.
fn strip(svg: &mut String, y: f64, scenario: Scenario, policy: Policy, requests: &[u32]) {
    let color = if policy == Policy::Keyfob { "#1d5fa8" } else { "#b3541e" };
    let x = |minute: usize| LEFT + PLOT * minute as f64 / MINUTES as f64;
    let height = |count: f64| y + STRIP - STRIP * count.min(TOP) / TOP;
    writeln!(svg, r##"<rect x="{LEFT}" y="{y}" width="{PLOT}" height="{STRIP}" fill="#f6f7f9"/>"##).unwrap();
    if scenario == Scenario::Outage {
        let (from, to) = (x(minute(OUTAGE.start)), x(minute(OUTAGE.end)));
        let width = to - from;
        writeln!(svg, r##"<rect x="{from:.1}" y="{y}" width="{width:.1}" height="{STRIP}" fill="#f3b6b6"/>"##).unwrap();
    }
    for count in [0_u32, 4_000, 8_000] {
        let at = height(f64::from(count));
        let (text, label) = (at + 4.0, thousands(count.into()));
        writeln!(svg, r##"<path d="M{LEFT} {at:.1}h{PLOT}" stroke="#d5d9de"/>"##).unwrap();
        write_at(svg, (LEFT - 6.0, text), r##"text-anchor="end" fill="#555""##, &label);
    }
    let mut path = format!("M{LEFT} {:.1}", y + STRIP);
    for (minute, count) in requests.iter().enumerate() {
        // Where the next minute is the same, the line goes on.
        if requests.get(minute + 1) != Some(count) {
            write!(path, "V{:.1}H{:.1}", height(f64::from(*count)), x(minute + 1)).unwrap();
        }
    }
    writeln!(svg, r##"<path d="{path}V{:.1}Z" fill="{color}"/>"##, y + STRIP).unwrap();
    let most = requests.iter().copied().max().unwrap_or(0);
    let settled = requests[120..].iter().copied().max().unwrap_or(0);
    let line = format!("peak {}, after the first two hours {}", thousands(most.into()), thousands(settled.into()));
    let label = y - 5.0;
    write_at(svg, (LEFT, label), &format!(r##"font-weight="bold" fill="{color}""##), &policy.name());
    write_at(svg, (LEFT + PLOT, label), r##"text-anchor="end" fill="#555""##, &line);
}

fn picture(days: &[(Scenario, Policy, Outcome)]) -> String {
    let (mut body, mut y) = (String::new(), 70.0);
    for scenario in [Scenario::Outage, Scenario::Limit] {
        write_at(&mut body, (LEFT, y), r##"font-size="14" fill="#111""##, &heading(scenario));
        y += 26.0;
        for (_, policy, outcome) in days.iter().filter(|day| day.0 == scenario) {
            if !matches!(policy, Policy::KeyfobSpread(_)) {
                strip(&mut body, y, scenario, *policy, &outcome.requests);
                y += STRIP + 26.0;
            }
        }
        y -= 12.0;
        for hour in (0..=24).step_by(3) {
            let x = LEFT + PLOT * f64::from(hour) / 24.0;
            write_at(&mut body, (x, y), r##"text-anchor="middle" fill="#555""##, &format!("{hour} h"));
        }
        y += 36.0;
    }
    let height = y - 24.0;
    let mut svg = format!(r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" "##);
    writeln!(svg, r##"width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">"##).unwrap();
    writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##).unwrap();
    let title = format!("Requests per minute of {} devices with hourly tokens", thousands(DEVICES.into()));
    write_at(&mut svg, (LEFT, 24.0), r##"font-size="16" font-weight="bold" fill="#111""##, &title);
    let note = format!(
        "All boot in the same second. Cut off at {} a minute; the peaks are written beside.",
        thousands(TOP as u64)
    );
    write_at(&mut svg, (LEFT, 42.0), r##"fill="#555""##, &note);
    svg + &body + "</svg>\n"
}

fn write_at(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    writeln!(svg, r##"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"##).unwrap();
}

fn heading(scenario: Scenario) -> String {
    match scenario {
        Scenario::Calm => "A calm day".into(),
        Scenario::Outage => "The server cannot be reached for 10 minutes before hour 12".into(),
        Scenario::Limit => {
            format!("The server gives {} tokens a minute, and answers 429 to the rest", thousands(LIMIT.into()))
        }
    }
}

fn main() {
    // cargo adds options of its own.
    let path = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let path = path.unwrap_or_else(|| "benches/fleet.svg".into());
    let mut days = Vec::new();
    print!("| The day | Who asks | Requests | To the fewest possible | Peak to mean ");
    println!("| From the second renewal on | After the outage | Longest without a token |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for scenario in [Scenario::Calm, Scenario::Outage, Scenario::Limit] {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let runs: Vec<_> = scenario
                .policies()
                .into_iter()
                .map(|policy| (policy, scope.spawn(move || run(scenario, policy))))
                .collect();
            runs.into_iter().map(|(policy, run)| (scenario, policy, run.join().unwrap())).collect()
        });
        for (_, policy, outcome) in &outcomes {
            let Figures { requests, ratio, peak, settled, after, without } = outcome.figures(scenario);
            let (day, name, requests) = (scenario.title(), policy.name(), thousands(requests));
            let after = after.map_or(String::new(), |after| format!("{after:.2}"));
            let without = without.as_secs_f64();
            println!(
                "| {day} | {name} | {requests} | {ratio:.2} | {peak:.1} | {settled:.2} | {after} | {without:.0} s |"
            );
        }
        days.extend(outcomes);
    }
    std::fs::write(&path, picture(&days)).expect("the picture can be written");
    println!("\nThe picture is in {path}.");
}
