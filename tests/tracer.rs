//! The tracer moves a waiting process in time, without disturbing it; and the command, moved while it waits for an answer,
//! knows that the time has passed. It needs root, Linux with time namespaces and Python; elsewhere it is skipped, and with
//! `CI=true` that is a failure.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/command.rs"]
mod running;
#[path = "common/time.rs"]
mod time;
#[path = "common/tracer.rs"]
mod tracer;

use common::{Server, json};
use running::Place;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use time::Holder;
use tracer::Tracer;

const ASLEEP: Duration = Duration::from_secs(7200);

fn tools() -> Option<(Tracer, Holder)> {
    let tracer = Tracer::new("tracer")?;
    match Holder::start(ASLEEP) {
        Ok(holder) => Some((tracer, holder)),
        Err(reason) => {
            let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!is_ci, "there is no time namespace: {reason}");
            println!("tracer: skipped, because there is no time namespace: {reason}");
            None
        }
    }
}

/// Waits in one system call, and tells what that came to, and how far two clocks went on meanwhile. By the C library, for
/// Python itself goes on waiting after an interruption.
const WAIT: &str = r#"
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(8)
boot, steady = time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
print("ready", flush=True)
if sys.argv[1] == "poll":
    result = libc.poll(None, 0, 1500)
elif sys.argv[1] == "nanosleep":
    result = libc.nanosleep((ctypes.c_long * 2)(1, 500_000_000), None)
elif sys.argv[1] == "read":
    result = libc.read(0, buffer, 8)
else:
    result = 0
    while time.monotonic() < steady + 1.5:
        pass
print(result, ctypes.get_errno(), int(time.clock_gettime(time.CLOCK_BOOTTIME) - boot), time.monotonic() - steady)
"#;

#[test]
fn a_process_finds_its_boot_clock_ahead_and_waits_on() {
    let Some((tracer, holder)) = tools() else { return };
    for (wait, result) in [("poll", "0"), ("nanosleep", "0"), ("read", "5"), ("nothing", "0")] {
        let mut python = tracer.python();
        python.args(["-I", "-c", WAIT, wait]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        if wait != "nothing" {
            until_asleep(process.id());
        }
        tracer.suspend(process.id(), &holder.namespace);
        if wait == "read" {
            std::thread::sleep(Duration::from_millis(1500));
        }
        process.stdin.take().unwrap().write_all(b"hello").unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(process.wait().unwrap().success());
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..2], [result, "0"], "{wait}: result and errno");
        let (boot, steady): (u64, f64) = (words[2].parse().unwrap(), words[3].parse().unwrap());
        assert!((7201..7230).contains(&boot) && (1.5..30.0).contains(&steady), "{wait}: {line}");
    }
}

/// Waits until the process waits for something.
fn until_asleep(process: u32) {
    let start = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        if stat.rsplit(") ").next().unwrap().starts_with('S') {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{stat}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_token_that_came_before_a_suspend_has_aged_in_it() {
    let Some((tracer, holder)) = tools() else { return };
    let place = Place::new();
    for (lifetime, code, is_told) in [(7100, 5, false), (10_000, 0, true)] {
        let (asked, is_asked) = mpsc::channel();
        let (answer, may_answer) = mpsc::channel::<()>();
        let (asked, may_answer) = (Mutex::new(asked), Mutex::new(may_answer));
        let server = Server::with(move |_, stream| {
            asked.lock().unwrap().send(()).unwrap();
            may_answer.lock().unwrap().recv().unwrap();
            let _ = stream.write_all(&json(200, &format!(r#"{{"access_token":"t","expires_in":{lifetime}}}"#)));
        });
        let mut command = place.token(&server.url("/t"), &["--client-id", "id", "--format", "json"]).command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        is_asked.recv_timeout(Duration::from_secs(20)).unwrap();
        until_asleep(process.id());
        tracer.suspend(process.id(), &holder.namespace);
        answer.send(()).unwrap();
        let mut told = String::new();
        process.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(code), "{lifetime}: {told}");
        let left = told.split_once("\"expires_in\":").and_then(|(_, rest)| rest.split_once(','));
        let left: Option<u64> = left.map(|(left, _)| left.parse().unwrap());
        assert_eq!(left.is_some_and(|left| (2700..2800).contains(&left)), is_told, "{lifetime}: {told}");
    }
}
