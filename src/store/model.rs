//! A model of the sharing. Threads play processes. At each point where another process could intervene, a scheduler
//! decides whether the process continues, is delayed, stopped or killed. Time is virtual; the files and the code are
//! real.
//!
//! The tests play all histories with one intervention, every eighth with two (all of them with `KEYFOB_MODEL_ALL=1`,
//! which takes a few minutes), and random ones with more (`KEYFOB_MODEL_ROUNDS` for each scenario).

use super::{FORMAT, Store};
use crate::file::schedule::{SCHEDULER, Scheduler};
use crate::{Client, Endpoint, Error, ErrorKind, Grant, Request, Response, Secret, TokenCache, Transport};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The fate of a process at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    GoesOn,
    IsDelayed,
    /// Stopped for longer than any other process waits, then continued.
    IsStopped,
    IsKilled,
}

const FATES: [Fate; 4] = [Fate::GoesOn, Fate::IsDelayed, Fate::IsStopped, Fate::IsKilled];
const DELAY: Duration = ms(100);
const STOP: Duration = ms(60_000);
/// The wait that the server asks for with status 503.
const RETRY_AFTER: Duration = ms(2000);

/// Interventions: the number of a point, and the fate there.
type History = Vec<(usize, Fate)>;

/// How a process is started.
#[derive(Clone, Copy)]
struct Setting {
    starts_at: Duration,
    timeout: Duration,
    min_life: Duration,
    route: &'static str,
    grant: fn() -> Grant,
    /// The format number of its files, and how far its boot clock is ahead.
    format: u32,
    ahead: Duration,
    calls: u32,
    pause: Duration,
    /// Whether it could not get a token alone either.
    is_hopeless: bool,
}

const PLAIN: Setting = Setting {
    starts_at: Duration::ZERO,
    timeout: ms(4000),
    min_life: Duration::ZERO,
    route: "direct",
    grant: Grant::client_credentials,
    format: FORMAT,
    ahead: Duration::ZERO,
    calls: 1,
    pause: Duration::ZERO,
    is_hopeless: false,
};

/// The answer to a request, with its delay.
enum Answer {
    After(Duration, u16, String),
    Never,
    NoConnection,
}

/// Returns the answer to a request, given its number from 1 and the route.
type Server = fn(usize, &str) -> Answer;

struct Scenario {
    name: &'static str,
    settings: Vec<Setting>,
    server: Server,
    /// The highest number of requests, and the longest time of a call, in a history without interventions.
    requests: usize,
    longest: Duration,
}

/// A finished call of a process.
struct Call {
    process: usize,
    started: Duration,
    ended: Duration,
    /// How long the process was delayed or stopped.
    lost: Duration,
    /// Whether one of its own requests failed, so that it could not have got a token alone either.
    had_failure: bool,
    outcome: Result<String, String>,
}

#[derive(Default)]
struct Process {
    wakes_at: Duration,
    order: u64,
    is_over: bool,
    is_killed: bool,
    lost: Duration,
    had_failure: bool,
    /// The end of the wait that the server asked this process for, in its current call.
    asked_until: Option<Duration>,
}

#[derive(Default)]
struct State {
    now: Duration,
    running: Option<usize>,
    order: u64,
    processes: Vec<Process>,
    arrived: usize,
    points: usize,
    history: History,
    calls: Vec<Call>,
    /// The refresh tokens that were sent, with the senders.
    refreshes: Vec<(usize, String)>,
    requests: usize,
    /// When other processes could first know of a wait that the server asked for, and when it ends.
    asked: Vec<(Duration, Duration)>,
    /// The first request that was sent before the end of such a wait.
    early: Option<String>,
    /// The end of each token, by its number.
    deadlines: Vec<Duration>,
}

struct World {
    state: Mutex<State>,
    /// One for each process.
    turns: Vec<Condvar>,
    server: Server,
}

struct Killed;

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until all processes have arrived, and then for the start.
    fn arrive(&self, process: usize, starts_at: Duration) {
        let mut state = self.state();
        let own = &mut state.processes[process];
        (own.wakes_at, own.order) = (starts_at, process as u64);
        state.arrived += 1;
        if state.arrived == state.processes.len() {
            state.order = state.arrived as u64;
            self.next(&mut state);
        }
        self.wait(state, process);
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, process: usize) {
        while state.running != Some(process) {
            state = self.turns[process].wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Continues the process that wakes first. Returns at `wakes_at`, when it is this process's turn.
    fn block(&self, process: usize, wakes_at: Duration) {
        let mut state = self.state();
        state.order += 1;
        let order = state.order;
        let own = &mut state.processes[process];
        (own.wakes_at, own.order) = (wakes_at, order);
        self.next(&mut state);
        self.wait(state, process);
    }

    fn is_over(&self, process: usize) {
        let mut state = self.state();
        state.processes[process].is_over = true;
        self.next(&mut state);
    }

    fn next(&self, state: &mut State) {
        let waiting = state.processes.iter().enumerate().filter(|(_, process)| !process.is_over);
        let first = waiting.min_by_key(|(_, process)| (process.wakes_at, process.order));
        let first = first.map(|(index, process)| (index, process.wakes_at));
        state.running = first.map(|(index, _)| index);
        if let Some((index, wakes_at)) = first {
            state.now = state.now.max(wakes_at);
            self.turns[index].notify_one();
        }
    }
}

struct Seat {
    world: Arc<World>,
    process: usize,
}

impl Scheduler for Seat {
    fn now(&self) -> Duration {
        self.world.state().now
    }

    fn own_number(&self) -> u32 {
        u32::try_from(self.process).unwrap_or_default()
    }

    fn sleep(&self, length: Duration) {
        let until = self.now() + length;
        self.world.block(self.process, until);
    }

    fn point(&self) {
        let mut state = self.world.state();
        let number = state.points;
        state.points += 1;
        let fate = state.history.iter().find(|(at, _)| *at == number).map_or(Fate::GoesOn, |(_, fate)| *fate);
        let length = match fate {
            Fate::GoesOn => return,
            Fate::IsDelayed => DELAY,
            Fate::IsStopped => STOP,
            Fate::IsKilled => {
                state.processes[self.process].is_killed = true;
                drop(state);
                resume_unwind(Box::new(Killed));
            }
        };
        state.processes[self.process].lost += length;
        drop(state);
        self.sleep(length);
    }
}

struct Line {
    seat: Seat,
    route: &'static str,
}

// Each is used only by the thread that plays its process.
impl Transport for Line {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let Seat { world, process } = &self.seat;
        let body = String::from_utf8_lossy(request.body().unwrap_or_default()).into_owned();
        let refresh = body.split('&').find_map(|pair| pair.strip_prefix("refresh_token=")).map(ToOwned::to_owned);
        self.seat.point();
        let answer = {
            let mut state = world.state();
            state.requests += 1;
            let now = state.now;
            // A process that was delayed or stopped had decided before that.
            let decided = now.saturating_sub(state.processes[*process].lost);
            let wait = state.asked.iter().find(|(since, until)| *since < decided && now < *until);
            let early = wait.map(|(since, until)| {
                format!(
                    "{process} sent a request at {now:?}; at {since:?} the server had asked to wait until {until:?}"
                )
            });
            state.early = state.early.take().or(early);
            let answer = (world.server)(state.requests, self.route);
            if let (Some(refresh), false) = (&refresh, matches!(answer, Answer::NoConnection)) {
                state.refreshes.push((*process, refresh.clone()));
            }
            answer
        };
        let timeout = request.timeout();
        let fail = |kind| {
            world.state().processes[*process].had_failure = true;
            Err(Error::new(kind, "it failed"))
        };
        match answer {
            Answer::NoConnection => fail(ErrorKind::Unreachable),
            Answer::After(after, status, body) if after < timeout => {
                self.seat.sleep(after);
                // A process that is stopped here reads the answer later.
                self.seat.point();
                let mut state = world.state();
                if status != 200 {
                    let asked_until = (status == 503).then(|| state.now + RETRY_AFTER);
                    let own = &mut state.processes[*process];
                    (own.had_failure, own.asked_until) = (true, asked_until);
                }
                let number = state.deadlines.len();
                let life =
                    body.split("expires_in\":").nth(1).and_then(|rest| rest.trim_end_matches('}').trim().parse().ok());
                let sent_at = state.now.saturating_sub(after);
                // A token with a lifetime of zero is handed out once.
                let life = life.filter(|life| *life > 0).map(Duration::from_secs);
                state.deadlines.push(life.map_or(Duration::MAX, |life| sent_at + life));
                let response = Response::new(status, body.replace('#', &number.to_string()));
                Ok(match status {
                    503 => response.with_header("Retry-After", &RETRY_AFTER.as_secs().to_string()),
                    _ => response,
                })
            }
            Answer::After(..) | Answer::Never => {
                self.seat.sleep(timeout);
                fail(ErrorKind::OutcomeUnknown)
            }
        }
    }

    fn route(&self, _: &str) -> Option<Secret> {
        Some(Secret::from(self.route))
    }
}

/// Plays a process: its calls, one after the other.
fn play(world: &Arc<World>, process: usize, setting: &Setting, directory: PathBuf) {
    let seat = || Seat { world: world.clone(), process };
    SCHEDULER.set(Some(Rc::new(seat())));
    world.arrive(process, setting.starts_at);
    let mut store = Store::at(directory).expect("a store");
    store.prefix = format!("keyfob{}-{}-", setting.format, setting.ahead.as_millis());
    for _ in 0..setting.calls {
        // Each call is a process of its own, as with the command: it knows only the content of the store.
        let (clock, ahead) = (world.clone(), setting.ahead);
        let line = Line { seat: seat(), route: setting.route };
        let endpoint = Endpoint::new("https://as.example/token").expect("a URL");
        let client = Client::with_parts(endpoint, line, move || clock.state().now + ahead).timeout(setting.timeout);
        let mut tokens = TokenCache::new(client, (setting.grant)()).store(store.clone());
        let started = {
            let mut state = world.state();
            let now = state.now;
            let own = &mut state.processes[process];
            (own.lost, own.had_failure) = (Duration::ZERO, false);
            now
        };
        let outcome = tokens
            .token_valid_for(setting.min_life)
            .map(|token| token.expose().to_owned())
            .map_err(|error| error.to_string());
        let mut state = world.state();
        let (ended, own) = (state.now, &state.processes[process]);
        let (lost, had_failure) = (own.lost, own.had_failure);
        let asked_until = state.processes[process].asked_until.take();
        // While the process that makes the key is stopped, nothing can be stored.
        let has_key = std::fs::metadata(store.path().join(super::KEY)).is_ok_and(|key| key.len() > 0);
        // After a stop, the process does not know how old the answer is.
        let is_shared = has_key && lost < STOP;
        state.asked.extend(asked_until.filter(|_| is_shared).map(|until| (ended, until)));
        state.calls.push(Call { process, started, ended, lost, had_failure, outcome });
        drop(state);
        world.block(process, ended + setting.pause);
    }
}

/// Plays one history. Returns the number of points, and the fault if there is one.
fn run(scenario: &Scenario, history: History) -> (usize, Result<(), String>) {
    static NUMBER: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("keyfob-model-{}-{number}", std::process::id()));
    let start = Duration::from_secs(1000);
    let mut processes: Vec<Process> = Vec::new();
    processes.resize_with(scenario.settings.len(), Process::default);
    let turns = processes.iter().map(|_| Condvar::new()).collect();
    let is_calm = history.is_empty();
    let state = State { now: start, processes, history, ..State::default() };
    let world = Arc::new(World { state: Mutex::new(state), turns, server: scenario.server });
    std::thread::scope(|scope| {
        for (process, setting) in scenario.settings.iter().enumerate() {
            let (world, directory) = (&world, directory.clone());
            let setting = Setting { starts_at: start + setting.starts_at, ..*setting };
            scope.spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| play(world, process, &setting, directory)));
                SCHEDULER.set(None);
                world.is_over(process);
                if let Err(panic) = result {
                    if !panic.is::<Killed>() {
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
    let _ = std::fs::remove_dir_all(&directory);
    let state = world.state();
    (state.points, check(scenario, &state, is_calm))
}

fn check(scenario: &Scenario, state: &State, is_calm: bool) -> Result<(), String> {
    for call in &state.calls {
        let setting = &scenario.settings[call.process];
        let took = call.ended - call.started;
        let what = format!("process {} at {:?}, after {took:?}: {:?}", call.process, call.started, call.outcome);
        if took > setting.timeout + call.lost {
            return Err(format!("past its timeout: {what}"));
        }
        if is_calm && took > scenario.longest {
            return Err(format!("not as fast as it could be: {what}"));
        }
        match &call.outcome {
            Ok(token) => {
                let number =
                    token.strip_prefix("t").and_then(|number| number.parse::<usize>().ok()).unwrap_or(usize::MAX);
                if state.deadlines.get(number).is_none_or(|deadline| *deadline <= call.ended) {
                    return Err(format!("an expired token: {what}"));
                }
            }
            // A process may spend half of its time before it sends its own request. Any other cause of a failure is its
            // own.
            Err(_) if setting.is_hopeless || call.had_failure || !(setting.grant)().is_repeatable() => {}
            Err(_) if call.lost > DELAY * 2 => {}
            Err(error) if error.contains("the server asks to wait") => {}
            Err(_) => return Err(format!("worse than alone: {what}")),
        }
    }
    for (index, (process, refresh)) in state.refreshes.iter().enumerate() {
        let before = state.refreshes[..index].iter().find(|(_, other)| other == refresh);
        // It is unknown which requests a killed process has sent.
        if let Some((other, _)) = before.filter(|(other, _)| !state.processes[*other].is_killed) {
            return Err(format!("{refresh} sent twice: by {other} and {process}"));
        }
    }
    if let Some(early) = &state.early {
        return Err(format!("early: {early}"));
    }
    if is_calm && state.requests > scenario.requests {
        return Err(format!("{} requests", state.requests));
    }
    Ok(())
}

fn token(life: &str) -> String {
    format!(r#"{{"access_token":"t#"{life}}}"#)
}

/// Returns an answer that rotates: each refresh token is a new one.
fn rotating(after: Duration) -> Answer {
    Answer::After(after, 200, r#"{"access_token":"t#","refresh_token":"r#x","expires_in":10}"#.to_owned())
}

fn scenarios() -> Vec<Scenario> {
    const HOUR: &str = r#","expires_in":3600"#;
    let three = |setting: Setting| Vec::from([setting; 3]);
    let by_refresh_token: fn() -> Grant = || Grant::refresh_token(crate::SecretSource::value("r0"));
    let by_password: fn() -> Grant = || Grant::password("alice", crate::SecretSource::value("p"));
    let early = Setting { min_life: ms(20_000), ..PLAIN };
    let repeated = Setting { calls: 3, pause: ms(11_000), ..PLAIN };
    Vec::from([
        Scenario {
            name: "all is well",
            settings: three(Setting { calls: 2, ..PLAIN }),
            server: |_, _| Answer::After(ms(100), 200, token(HOUR)),
            requests: 1,
            longest: ms(200),
        },
        Scenario {
            name: "tokens that cannot be stored",
            settings: three(Setting { timeout: ms(8000), ..PLAIN }),
            server: |_, _| Answer::After(ms(800), 200, token("")),
            requests: 3,
            longest: ms(1700),
        },
        Scenario {
            name: "tokens that are over at once",
            settings: three(Setting { timeout: ms(8000), ..PLAIN }),
            server: |_, _| Answer::After(ms(800), 200, token(r#","expires_in":0"#)),
            requests: 3,
            longest: ms(1700),
        },
        Scenario {
            name: "the first request hangs",
            settings: three(Setting { calls: 2, pause: ms(3000), ..PLAIN }),
            server: |number, _| match number {
                1 => Answer::Never,
                _ => Answer::After(ms(50), 200, token(HOUR)),
            },
            requests: 3,
            longest: ms(8000),
        },
        Scenario {
            name: "one has less time than the server takes",
            settings: Vec::from([
                Setting { is_hopeless: true, timeout: ms(1000), calls: 4, pause: ms(1000), ..PLAIN },
                Setting { timeout: ms(6000), calls: 4, pause: ms(1000), starts_at: ms(10), ..PLAIN },
                Setting { timeout: ms(8000), calls: 4, pause: ms(1000), starts_at: ms(20), ..PLAIN },
            ]),
            server: |_, _| Answer::After(ms(1500), 200, token(r#","expires_in":5"#)),
            requests: 20,
            longest: ms(8000),
        },
        Scenario {
            name: "one goes by a dead proxy",
            settings: Vec::from([
                Setting { is_hopeless: true, route: "dead", calls: 3, pause: ms(500), ..PLAIN },
                Setting { calls: 3, pause: ms(500), starts_at: ms(10), ..PLAIN },
                Setting { calls: 3, pause: ms(500), starts_at: ms(20), ..PLAIN },
            ]),
            server: |_, route| match route {
                "dead" => Answer::NoConnection,
                _ => Answer::After(ms(100), 200, token(r#","expires_in":3"#)),
            },
            requests: 8,
            longest: ms(8000),
        },
        Scenario {
            name: "a refresh token from the environment",
            settings: three(Setting { grant: by_refresh_token, ..repeated }),
            server: |_, _| rotating(ms(100)),
            requests: 3,
            longest: ms(8000),
        },
        Scenario {
            name: "a refresh token from the environment, and one goes by a dead proxy",
            settings: Vec::from([
                Setting { grant: by_refresh_token, is_hopeless: true, route: "dead", ..repeated },
                Setting { grant: by_refresh_token, starts_at: ms(10), ..repeated },
                Setting { grant: by_refresh_token, starts_at: ms(20), ..repeated },
            ]),
            server: |_, route| match route {
                "dead" => Answer::NoConnection,
                _ => rotating(ms(100)),
            },
            requests: 6,
            longest: ms(8000),
        },
        Scenario {
            name: "a password, and refresh tokens",
            settings: three(Setting { grant: by_password, ..repeated }),
            server: |_, _| rotating(ms(100)),
            requests: 3,
            longest: ms(8000),
        },
        Scenario {
            name: "a password, and refresh tokens, the first refresh hangs",
            settings: three(Setting { grant: by_password, ..repeated }),
            server: |number, _| match number {
                2 => Answer::Never,
                _ => rotating(ms(100)),
            },
            requests: 5,
            longest: ms(8000),
        },
        Scenario {
            name: "a renewal fails on its way, and then the server asks others to wait",
            settings: Vec::from([
                Setting { calls: 2, pause: ms(86_000), ..PLAIN },
                Setting { starts_at: ms(86_500), timeout: ms(6000), ..early },
                Setting { starts_at: ms(87_600), calls: 2, pause: ms(400), is_hopeless: true, ..early },
            ]),
            server: |number, _| match number {
                2 => Answer::NoConnection,
                3 => Answer::After(ms(50), 503, String::new()),
                _ => Answer::After(ms(50), 200, token(r#","expires_in":100"#)),
            },
            requests: 4,
            longest: ms(1000),
        },
        Scenario {
            name: "one asks by itself and is told to wait, while another gets a token that expires during the wait",
            settings: Vec::from([
                Setting { timeout: ms(8000), calls: 2, pause: ms(1500), ..PLAIN },
                Setting { timeout: ms(3000), starts_at: ms(10), is_hopeless: true, ..PLAIN },
                Setting { timeout: ms(8000), starts_at: ms(3500), calls: 2, pause: ms(1500), ..PLAIN },
            ]),
            server: |number, _| match number {
                1 => Answer::After(ms(1900), 200, token(r#","expires_in":3"#)),
                2 => Answer::After(ms(600), 503, String::new()),
                _ => Answer::After(ms(50), 200, token(HOUR)),
            },
            requests: 3,
            longest: ms(2500),
        },
        Scenario {
            name: "another format",
            settings: Vec::from([
                Setting { grant: by_refresh_token, ..repeated },
                Setting { grant: by_refresh_token, starts_at: ms(50), ..repeated },
                Setting { format: FORMAT + 1, starts_at: ms(500), ..repeated },
            ]),
            server: |_, _| rotating(ms(100)),
            requests: 6,
            longest: ms(8000),
        },
        Scenario {
            name: "another clock",
            settings: Vec::from([
                Setting { ahead: ms(25_000), ..repeated },
                Setting { calls: 6, pause: ms(8_000), ..PLAIN },
                Setting { calls: 6, pause: ms(9_000), starts_at: ms(27_000), ..PLAIN },
            ]),
            server: |_, _| Answer::After(ms(100), 200, token(r#","expires_in":20"#)),
            requests: 9,
            longest: ms(8000),
        },
    ])
}

/// Plays the histories that `next` returns, for all scenarios. `next` gets the number of points of the history without
/// interventions.
fn explore(mut histories: impl FnMut(usize) -> Vec<History>) {
    let mut count = 0;
    let mut lengths = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    for scenario in scenarios() {
        let (points, result) = run(&scenario, History::new());
        lengths.push(points);
        let mut first = result.err().map(|why| (History::new(), why));
        for history in histories(points) {
            count += 1;
            if let (None, (_, Err(why))) = (&first, run(&scenario, history.clone())) {
                first = Some((history, why));
            }
            if first.is_some() {
                break;
            }
        }
        if let Some((history, why)) = first {
            wrong.push(format!("{}: {why}; {history:?}", scenario.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    std::println!("{count} histories; points of the calm ones: {lengths:?}");
}

#[test]
fn sharing_is_never_worse_than_not_sharing_even_if_a_process_is_delayed_stopped_or_killed() {
    explore(|points| {
        let single = (0..points).flat_map(|at| FATES[1..].iter().map(move |fate| (at, *fate)));
        let single: Vec<(usize, Fate)> = single.collect();
        let pairs = single.iter().enumerate().flat_map(|(index, first)| {
            let later = single[index + 1..].iter().filter(|(at, _)| *at != first.0);
            later.map(|second| Vec::from([*first, *second])).collect::<Vec<_>>()
        });
        let step = if std::env::var_os("KEYFOB_MODEL_ALL").is_some() { 1 } else { 8 };
        single.iter().map(|one| Vec::from([*one])).chain(pairs.step_by(step)).collect()
    });
}

#[test]
fn sharing_is_never_worse_than_not_sharing_at_random() {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % below
    };
    let rounds = std::env::var("KEYFOB_MODEL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    explore(|points| {
        let mut history = || {
            let count = 3 + random(4);
            (0..count).map(|_| (random(points * 2), FATES[1 + random(3)])).collect()
        };
        (0..rounds).map(|_| history()).collect()
    });
}
