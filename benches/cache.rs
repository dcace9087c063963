//! What a token at hand costs: a hit of [`TokenCache`] and of [`SharedTokenCache`] beside a bare read of their clock, and
//! beside Go's `oauth2.ReuseTokenSource`; by 1, 2, 4 and 8 threads; and while a renewal is under way.
//!
//! `cargo bench --bench cache` prints a table. Go is measured where it is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use keyfob::{BootClock, Client, Clock, Endpoint, Error, Grant, Request, Response, SharedTokenCache, TokenCache};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// All threads together make so many calls in a round; each row is the median of the rounds, which take turns.
const CALLS: usize = 400_000;
const ROUNDS: usize = 15;
const THREADS: [usize; 4] = [1, 2, 4, 8];

/// A hit may cost so much more than the read of the clock that it needs, in nanoseconds.
const MOST_ABOVE_CLOCK: f64 = 25.0;

const GO_PACKAGES: &str = "golang-go golang-golang-x-oauth2-dev";

type Figures = BTreeMap<(String, usize), Vec<f64>>;

fn main() {
    let mut figures = Figures::new();
    let go = build_go();
    for _ in 0..ROUNDS {
        round(&mut figures);
        if let Ok(program) = &go {
            go_round(program, &mut figures);
        }
    }
    let figure = |name: &str, threads: usize| {
        let mut times = figures.get(&(name.to_owned(), threads))?.clone();
        times.sort_by(f64::total_cmp);
        Some(times[times.len() / 2])
    };

    println!("Nanoseconds of a call: the time of {CALLS} calls by all threads together, over their number.\n");
    println!("| | 1 thread | 2 | 4 | 8 |\n|---|--:|--:|--:|--:|");
    for (title, name) in [
        ("bare read of the clock", "clock"),
        ("`TokenCache`, a hit", "owned"),
        ("`SharedTokenCache`, a hit", "shared"),
        ("`SharedTokenCache`, a hit while a renewal runs", "renewing"),
        ("Go: `time.Now()`", "go clock"),
        ("Go: `ReuseTokenSource`, a hit", "go hit"),
    ] {
        let cells = THREADS.map(|threads| figure(name, threads).map_or("-".to_owned(), |time| format!("{time:.0}")));
        println!("| {title} | {} |", cells.join(" | "));
    }
    println!();

    let clock = figure("clock", 1).unwrap();
    let verdict = |is_met: bool| if is_met { "met" } else { "NOT met" };
    for name in ["owned", "shared"] {
        let above = figure(name, 1).unwrap() - clock;
        println!(
            "- {name}: at most {MOST_ABOVE_CLOCK} ns above the clock: {above:.1}, {}",
            verdict(above <= MOST_ABOVE_CLOCK)
        );
    }
    match (&go, figure("shared", 8), figure("go hit", 8)) {
        (_, Some(ours), Some(theirs)) => {
            println!("- 8 threads: no slower than Go: {ours:.0} to {theirs:.0}, {}", verdict(ours <= theirs));
        }
        (Err(reason), ..) => println!("- 8 threads: no slower than Go: {reason}"),
        _ => unreachable!("each round measures both"),
    }
}

/// Makes the calls by so many threads, and notes the time of one.
fn measure(figures: &mut Figures, name: &str, threads: usize, call: impl Fn() + Sync) {
    let start = Barrier::new(threads + 1);
    let elapsed = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                for _ in 0..CALLS / threads {
                    call();
                }
            });
        }
        start.wait();
        Instant::now()
        // The scope ends with the last thread.
    })
    .elapsed();
    figures.entry((name.to_owned(), threads)).or_default().push(elapsed.as_nanos() as f64 / CALLS as f64);
}

fn round(figures: &mut Figures) {
    measure(figures, "clock", 1, || {
        black_box(BootClock.now());
    });

    // One owner has no threads; the calls are a loop all the same.
    let mut tokens = TokenCache::new(client(BootClock, answer), Grant::client_credentials());
    tokens.token().unwrap();
    let start = Instant::now();
    for _ in 0..CALLS {
        assert_eq!(black_box(tokens.token().unwrap()).expose(), "abc");
    }
    let time = start.elapsed().as_nanos() as f64 / CALLS as f64;
    figures.entry(("owned".to_owned(), 1)).or_default().push(time);

    let tokens = SharedTokenCache::new(client(BootClock, answer), Grant::client_credentials());
    tokens.token().unwrap();
    for threads in THREADS {
        measure(figures, "shared", threads, || assert_eq!(black_box(tokens.token().unwrap()).expose(), "abc"));
    }

    renewing(figures);
}

/// While one thread waits for the server's answer, the others get the token at hand.
fn renewing(figures: &mut Figures) {
    let (ahead, requests) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
    // It answers whenever this is not locked.
    let server = Arc::new(Mutex::new(()));
    let clock = {
        let ahead = ahead.clone();
        move || BootClock.now() + Duration::from_secs(ahead.load(Ordering::Relaxed).into())
    };
    let send = {
        let (requests, server) = (requests.clone(), server.clone());
        move |request: &Request| {
            requests.fetch_add(1, Ordering::SeqCst);
            drop(server.lock());
            answer(request)
        }
    };
    let tokens = SharedTokenCache::new(client(clock, send), Grant::client_credentials());
    tokens.token().unwrap();
    // An hour's token is renewed in its last minutes. The server now takes its time.
    ahead.store(3590, Ordering::Relaxed);
    let silence = server.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| tokens.token().unwrap());
        while requests.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        for threads in THREADS {
            measure(figures, "renewing", threads, || assert_eq!(black_box(tokens.token().unwrap()).expose(), "abc"));
        }
        assert_eq!(requests.load(Ordering::SeqCst), 2, "the renewal ran all the time, and it alone");
        drop(silence);
    });
}

fn client(
    clock: impl Clock + 'static,
    send: impl Fn(&Request) -> Result<Response, Error> + Send + Sync + 'static,
) -> Client {
    Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, clock).client_id("id")
}

fn answer(_: &Request) -> Result<Response, Error> {
    Ok(Response::new(200, *br#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#))
}

/// Go's side, built; or why it is not.
fn build_go() -> Result<String, String> {
    let program = format!("{}/cache-go", env!("CARGO_TARGET_TMPDIR"));
    let mut go = Command::new("go");
    // Debian's packages of Go's libraries are in a GOPATH.
    go.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]);
    go.args(["build", "-o", &program, concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cache.go")]);
    match go.output() {
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => Err(format!("apt-get install {GO_PACKAGES}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(_) => Err(format!("not installed here: apt-get install {GO_PACKAGES}")),
    }
}

fn go_round(program: &str, figures: &mut Figures) {
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let [name, threads, time] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("not a figure: {line}") };
        let key = (format!("go {name}"), threads.parse().unwrap());
        figures.entry(key).or_default().push(time.parse().unwrap());
    }
}
