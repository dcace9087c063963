//! `keyfob bench`: each step tells the truth, and it does no harm.
//!
//! A delay that a server makes is the fact here, so these tests do wait. They check that it lands in its step, whole, and
//! in no other; never how long anything else takes.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;
#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod serving;

#[cfg(feature = "tls")]
use common::Stream;
use common::{Seen, Server, answer, json, read_request};
use miniserde::json::{self as syntax, Number, Value};
use processes::{MOUNTS, Started, can, can_unshare, script, until};
use running::{Outcome, Place, Refusing, Run};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ANSWER: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;
const DELAY: Duration = Duration::from_millis(300);
const STEPS: [&str; 8] =
    ["process_us", "preparing_us", "look_up_us", "connect_us", "tls_us", "waiting_us", "body_us", "reading_us"];

fn bench(place: &Place, url: &str, options: &[&str]) -> Run {
    place.keyfob([&["bench", "--url", url, "--client-id", "c", "--pause", "0"], options].concat())
}

/// Gives a token to each.
fn giving() -> Server {
    Server::answering(json(200, ANSWER))
}

/// Gives so many tokens, then the answer, or none while the other side waits.
fn giving_first(count: usize, then: Option<Vec<u8>>) -> Server {
    let number = AtomicUsize::new(0);
    Server::with(move |_, stream| {
        let answer = match &then {
            _ if number.fetch_add(1, Ordering::SeqCst) < count => json(200, ANSWER),
            Some(answer) => answer.clone(),
            None => {
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        let _ = stream.write_all(&answer);
    })
}

/// The numbers of a run with `--format json`.
struct Report(Value);

impl Report {
    #[track_caller]
    fn of(outcome: &Outcome) -> Self {
        assert!(!outcome.stdout.contains("t0ken"), "{outcome:?}");
        assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
        Self(syntax::from_str(&outcome.stdout).unwrap())
    }

    #[track_caller]
    fn run(run: Run) -> Self {
        let outcome = run.outcome();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        Self::of(&outcome)
    }

    fn member(&self, name: &str) -> &Value {
        let Value::Object(members) = &self.0 else { panic!("no object") };
        &members[name]
    }

    /// A step that did not occur is `null` and took no time.
    fn number(&self, row: &str, column: &str) -> u64 {
        match self.member(row) {
            Value::Object(columns) => number(&columns[column]),
            Value::Null if STEPS.contains(&row) => 0,
            _ => panic!("{row}"),
        }
    }

    fn samples(&self, row: &str) -> Vec<u64> {
        if let (Value::Null, true) = (self.member(row), STEPS.contains(&row)) {
            return vec![0; self.samples("in_all_us").len()];
        }
        let Value::Object(columns) = self.member(row) else { panic!("{row}") };
        let Value::Array(samples) = &columns["samples"] else { panic!("{row}") };
        samples.iter().map(number).collect()
    }

    /// The delay is in this step each time, and in no other each time; the steps make up the whole.
    #[track_caller]
    fn has_the_delay_in(&self, step: &str) {
        for other in STEPS {
            let least = self.number(other, "min");
            let has_it = least >= DELAY.as_micros() as u64;
            assert_eq!(has_it, other == step, "{other}: {least} µs at the least, with the delay in {step}");
        }
        for (index, whole) in self.samples("in_all_us").into_iter().enumerate() {
            assert_eq!(STEPS.iter().map(|step| self.samples(step)[index]).sum::<u64>(), whole);
        }
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Number(Number::U64(number)) => *number,
        _ => panic!("no whole number"),
    }
}

// Each step tells the truth.

#[test]
fn a_slow_answer_is_waited_for_and_a_slow_body_is_read() {
    let place = Place::new();
    for (step, before) in [("waiting_us", 0), ("body_us", 1), ("body_us", 100)] {
        let server = Server::with(move |_, stream| {
            let answer = json(200, ANSWER);
            let _ = stream.write_all(&answer[..before]);
            let _ = stream.flush();
            std::thread::sleep(DELAY);
            let _ = stream.write_all(&answer[before..]);
        });
        Report::run(bench(&place, &server.url("/t"), &["--format", "json", "-n2"])).has_the_delay_in(step);
    }
}

#[cfg(feature = "tls")]
fn over_tls(before: impl Fn() + Send + Sync + 'static, handler: fn(&mut dyn Stream)) -> Server {
    let config = serving::config(serving::VALID, rustls::ALL_VERSIONS);
    let wrapper = move |stream| -> Option<Box<dyn Stream>> {
        before();
        Some(Box::new(serving::Polite(serving::accept(&config, stream)?)))
    };
    Server::start("https", Box::new(wrapper), Box::new(move |_, stream| handler(stream)))
}

#[cfg(feature = "tls")]
#[test]
fn a_slow_handshake_is_that_of_tls_and_the_wait_behind_it_is_none_of_it() {
    let place = Place::new();
    place.file("here/ca.pem", serving::CA);
    let answer = |stream: &mut dyn Stream| drop(stream.write_all(&json(200, ANSWER)));
    let slow_answer = |stream: &mut dyn Stream| {
        std::thread::sleep(DELAY);
        drop(stream.write_all(&json(200, ANSWER)));
    };
    for (step, server) in
        [("tls_us", over_tls(|| std::thread::sleep(DELAY), answer)), ("waiting_us", over_tls(|| {}, slow_answer))]
    {
        let options = ["--ca-file", "ca.pem", "--format", "json", "-n2"];
        let report = Report::run(bench(&place, &server.url("/t"), &options));
        report.has_the_delay_in(step);
        assert!(report.number("tls_us", "min") > 0);
        // The certificate went over the network too.
        assert!(report.number("bytes_received", "min") > 500 + ANSWER.len() as u64);
    }
}

#[test]
fn a_slow_connection_is_that_of_the_network() {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let place = Place::new();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    // The queue of those that wait is full with one, until that is let in.
    listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    let opener = std::thread::spawn(move || {
        std::thread::sleep(DELAY);
        Server::on(listener, |_, stream| drop(stream.write_all(&json(200, ANSWER))))
    });
    let run = bench(&place, &format!("http://{address}/t"), &["--format", "json", "-n1"]);
    Report::run(run).has_the_delay_in("connect_us");
    drop((opener.join().unwrap(), first));
}

#[test]
fn a_proxy_that_is_slow_to_connect_counts_as_the_connection() {
    let place = Place::new();
    let proxy = Server::with(|_, stream| {
        std::thread::sleep(DELAY);
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        if read_request(stream).is_some() {
            let _ = stream.write_all(&json(200, ANSWER));
        }
    });
    let address = format!("http://{}", proxy.address());
    let options = ["--allow-http", "--proxy", &address, "--format", "json", "-n2"];
    Report::run(bench(&place, "http://as.invalid/t", &options)).has_the_delay_in("connect_us");
}

/// Answers each question for an IPv4 address with 127.0.0.1, after the delay, and any other with nothing.
fn slow_name_server() -> Option<UdpSocket> {
    let socket = UdpSocket::bind("127.53.53.54:53").ok()?;
    let server = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut question) {
            std::thread::sleep(DELAY / 2);
            let mut answer = question[..length].to_vec();
            // The name ends with a zero, the type stands behind it: 1 for A.
            let name_end = 12 + answer[12..].iter().position(|byte| *byte == 0).unwrap();
            let is_for_ipv4 = answer[name_end + 1..name_end + 3] == [0, 1];
            answer.truncate(name_end + 5);
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_for_ipv4), 0, 0, 0, 0]);
            if is_for_ipv4 {
                answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            let _ = server.send_to(&answer, from);
        }
    });
    Some(socket)
}

#[test]
fn a_slow_name_server_is_that_of_the_look_up() {
    let test = "a_slow_name_server_is_that_of_the_look_up";
    if !can_unshare(test, MOUNTS) {
        return;
    }
    let Some(_server) = slow_name_server() else {
        assert!(std::env::var("CI").is_err(), "{test}: port 53 is taken");
        println!("{test}: skipped, because port 53 is taken");
        return;
    };
    let (place, server) = (Place::new(), giving());
    place.file("here/hosts", "");
    place.file("here/resolv.conf", "nameserver 127.53.53.54\n");
    place.file("here/nsswitch.conf", "hosts: files dns\n");
    let url = format!("http://as.example:{}/t", server.address().port());
    let run = bench(&place, &url, &["--allow-http", "--format", "json", "-n2"]);
    let mounts = "for file in hosts resolv.conf nsswitch.conf; do mount --bind $file /etc/$file; done; keyfob \"$@\"";
    let outcome = Started::command(script(MOUNTS, run, mounts)).outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    // Both questions, for IPv4 and IPv6, are asked at once and answered one after the other.
    Report::of(&outcome).has_the_delay_in("look_up_us");
}

#[test]
fn the_bytes_are_those_that_went_over_the_wire() {
    struct Counted(TcpStream, Arc<AtomicUsize>);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1.fetch_add(count, Ordering::SeqCst);
            Ok(count)
        }
    }
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let place = Place::new();
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    let server = Server::start(
        "http",
        Box::new(move |stream| Some(Box::new(Counted(stream, count.clone())))),
        Box::new(|_, stream| drop(stream.write_all(&json(200, ANSWER)))),
    );
    let report = Report::run(bench(&place, &server.url("/t"), &["--format", "json", "-n1"]));
    assert_eq!(report.samples("bytes_sent"), [arrived.load(Ordering::SeqCst) as u64]);
    assert_eq!(report.samples("bytes_received"), [json(200, ANSWER).len() as u64]);
}

// What comes out.

#[test]
fn it_says_first_what_it_takes_and_takes_ten() {
    let (place, server) = (Place::new(), giving());
    let outcome = bench(&place, &server.url("/t"), &[]).outcome();
    let host = server.address();
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), &*format!("keyfob: bench fetches 10 tokens from {host}\n")));
    assert_eq!(server.requests().len(), 10);
    assert!(!outcome.stdout.contains("t0ken"), "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], format!("10 cold-start fetches from {host}, in milliseconds"));
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["min", "median", "p90", "p99", "max"]);
    let end = lines.iter().position(|line| line.starts_with("in all, from")).unwrap();
    let rows: Vec<&str> = lines[3..end - 1].iter().map(|line| line[..15].trim()).collect();
    // No TLS and no processes; the look-up of an address may take a microsecond.
    let rows: Vec<&str> = rows.into_iter().filter(|row| *row != "look-up").collect();
    assert_eq!(rows, ["preparing", "connect", "waiting", "body", "reading", "in all", "bytes sent", "bytes received"]);
    for line in &lines[3..end - 1] {
        let values = line[15..].split_whitespace();
        let is_number = |value: &str| value.parse::<f64>().is_ok();
        assert!(values.clone().count() == 5 && values.clone().all(is_number), "{line}");
    }
    let mut drawn = 0;
    for line in &lines[end + 1..] {
        let count: usize = line.split_whitespace().last().unwrap().parse().unwrap();
        assert_eq!(line.matches('█').count(), count, "{line}");
        drawn += count;
    }
    assert_eq!(drawn, 10);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", outcome.stdout);
}

#[test]
fn the_columns_are_samples_by_the_nearest_rank() {
    let number = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| {
        // Not in order.
        let number = number.fetch_add(7, Ordering::SeqCst) % 11;
        std::thread::sleep(Duration::from_millis(5 * number as u64));
        let _ = stream.write_all(&json(200, ANSWER));
    });
    let place = Place::new();
    let report = Report::run(bench(&place, &server.url("/t"), &["--format", "json", "-n", "11"]));
    assert_eq!((report.member_number("asked_for"), report.member_number("fetched")), (11, 11));
    for row in STEPS.into_iter().chain(["in_all_us", "bytes_sent", "bytes_received"]) {
        let mut sorted = report.samples(row);
        sorted.sort_unstable();
        assert_eq!(sorted.len(), 11, "{row}");
        for (column, rank) in [("min", 1), ("median", 6), ("p90", 10), ("p99", 11), ("max", 11)] {
            assert_eq!(report.number(row, column), sorted[rank - 1], "{row} {column}");
        }
    }
    assert!(report.number("waiting_us", "max") >= 50_000);
    assert!(report.number("waiting_us", "median") >= 25_000);
}

#[test]
fn a_limit_that_is_exceeded_is_8_and_the_report_is_whole() {
    let slow = Server::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(20));
        let _ = stream.write_all(&json(200, ANSWER));
    });
    let place = Place::new();
    let first = bench(&place, &slow.url("/t"), &["-n2", "--format", "json"]);
    let report = Report::run(first);
    let bytes = report.number("bytes_sent", "max") + report.number("bytes_received", "max");
    let (equal, less) = (bytes.to_string(), (bytes - 1).to_string());
    for (limits, over) in [
        (&["--max-median", "60000", "--max-p90", "60000", "--max-bytes", &*equal][..], None),
        (&["--max-median", "1"], Some("bench: the median is N ms, more than --max-median 1")),
        (&["--max-p90", "1"], Some("bench: the 90th percentile is N ms, more than --max-p90 1")),
        (&["--max-bytes", &*less], Some("bench: a fetch took N bytes, more than --max-bytes ")),
        (
            &["--max-p90", "1", "--max-median", "60000"],
            Some("bench: the 90th percentile is N ms, more than --max-p90 1"),
        ),
    ] {
        for format in [&[][..], &["--format", "json"], &["--format", "csv"]] {
            let options = [&["-n2"], limits, format].concat();
            let outcome = bench(&place, &slow.url("/t"), &options).outcome();
            assert_eq!(outcome.code, Some(if over.is_some() { 8 } else { 0 }), "{options:?} {outcome:?}");
            assert!(outcome.stdout.lines().count() >= 1, "{outcome:?}");
            let told = outcome.stderr.lines().nth(1).unwrap_or_default();
            let Some(over) = over else {
                assert_eq!(told, "");
                continue;
            };
            let words = told.split(' ').map(|word| if word.parse::<f64>().is_ok_and(|n| n > 1.0) { "N" } else { word });
            let words = words.collect::<Vec<_>>().join(" ");
            match format {
                ["--format", "json"] => {
                    assert!(told.starts_with(r#"{"error":"threshold","message":"bench: "#), "{told}");
                }
                _ => assert!(words.starts_with(&format!("keyfob: {over}")), "{words}"),
            }
        }
    }
}

#[test]
fn csv_has_a_line_for_each_fetch_and_json_says_what_was_run() {
    let (place, server) = (Place::new(), giving());
    let outcome = bench(&place, &server.url("/t"), &["-n3", "--format", "csv"]).outcome();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "fetch,process_us,preparing_us,look_up_us,connect_us,tls_us,waiting_us,body_us,reading_us,in_all_us,bytes_sent,\
         bytes_received"
    );
    assert_eq!(lines.len(), 4);
    for (number, line) in (1..).zip(&lines[1..]) {
        let values: Vec<u64> = line.split(',').map(|value| value.parse().unwrap()).collect();
        assert_eq!((values.len(), values[0]), (12, number));
        assert_eq!(values[1..9].iter().sum::<u64>(), values[9], "the steps are the whole");
    }
    let report =
        Report::run(place.keyfob(["bench", "--url", &server.url("/t"), "-n1", "--pause", "0.5", "--format", "json"]));
    assert_eq!(report.member_number("pause_ms"), 500);
    assert!(matches!(report.member("tls_us"), Value::Null), "http has no TLS");
    assert!(matches!(report.member("error"), Value::Null));
    assert!(matches!(report.member("begun"), Value::String(begun) if begun.len() == 20 && begun.ends_with('Z')));
    assert!(matches!(report.member("version"), Value::String(version) if version == env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_utf_8_the_bars_are_ascii() {
    let (place, server) = (Place::new(), giving());
    for (name, value, bar) in [("LANG", "C", '#'), ("LC_ALL", "POSIX", '#'), ("LANG", "de_DE.UTF-8", '█')] {
        let run = bench(&place, &server.url("/t"), &["-n2"]).variable(name, value);
        let outcome = run.outcome();
        assert!(outcome.stdout.contains(bar), "{name}={value}: {}", outcome.stdout);
        assert_eq!(outcome.stdout.is_ascii(), bar == '#');
    }
}

impl Report {
    fn member_number(&self, name: &str) -> u64 {
        number(self.member(name))
    }
}

#[test]
fn it_pauses_between_the_requests() {
    let place = Place::new();
    for (options, least) in [(&[][..], Duration::from_millis(200)), (&["--pause", "1"], Duration::from_secs(1))] {
        let times = Arc::new(Mutex::new(Vec::new()));
        let arrived = times.clone();
        let server = Server::with(move |_, stream| {
            arrived.lock().unwrap().push(Instant::now());
            let _ = stream.write_all(&json(200, ANSWER));
        });
        let url = server.url("/t");
        let words = [&["bench", "--url", &url, "--client-id", "c", "-n", "2"], options].concat();
        assert_eq!(place.keyfob(words).outcome().code, Some(0));
        let times = times.lock().unwrap();
        assert!(times[1] - times[0] >= least, "{options:?}: {times:?}");
    }
}

#[test]
fn a_profile_is_measured_as_it_is() {
    let (place, server) = (Place::new(), giving());
    let profile = format!(
        r#"{{"url":"{}","client_id":"c","client_secret_file":"../../here/secret","format":"curl","min_valid":600}}"#,
        server.url("/t")
    );
    place.file("config/keyfob/meter.json", profile);
    let outcome = place.keyfob(["bench", "meter", "-n1"]).outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.starts_with("1 cold-start fetch from"), "{outcome:?}");
    // c:hunter2
    assert_eq!(server.request().header("authorization"), Some("Basic YzpodW50ZXIy"));
}

// It does no harm.

#[test]
fn it_stops_at_the_first_failure_and_prints_what_there_is() {
    let place = Place::new();
    let wait = answer(429, &["retry-after: 7", "content-type: application/json"], "{}");
    let refusal = json(401, r#"{"error":"access_denied"}"#);
    for (then, code, message, object) in [
        (
            wait,
            6,
            "keyfob: the server asks to wait (status 429)\nhint: not before 7 s from now\n",
            r#"{"error":"wait","message":"the server asks to wait (status 429)","status":429,"oauth_error":null,"retry_after":7,"retryable":true}"#,
        ),
        (
            refusal,
            3,
            "keyfob: the server refused (status 401): access_denied\n",
            r#"{"error":"refused","message":"the server refused (status 401): access_denied","status":401,"oauth_error":"access_denied","retry_after":null,"retryable":false}"#,
        ),
    ] {
        for processes in [&[][..], &["--processes"]] {
            for before in [0, 2] {
                let server = giving_first(before, Some(then.clone()));
                let told = format!("keyfob: bench fetches 5 tokens from {}\n", server.address());
                let outcome = bench(&place, &server.url("/t"), &[&["-n5"], processes].concat()).outcome();
                assert_eq!((outcome.code, outcome.stderr), (Some(code), format!("{told}{message}")));
                match before {
                    0 => assert_eq!(outcome.stdout, ""),
                    _ => assert!(outcome.stdout.starts_with("2 of 5 cold-start fetches"), "{}", outcome.stdout),
                }
                assert_eq!(server.requests().len(), before + 1);
            }
            let server = giving_first(2, Some(then.clone()));
            let told = format!("keyfob: bench fetches 5 tokens from {}\n", server.address());
            let options = [&["-n5", "--format", "json"], processes].concat();
            let outcome = bench(&place, &server.url("/t"), &options).outcome();
            assert_eq!((outcome.code, &*outcome.stderr), (Some(code), &*format!("{told}{object}\n")));
            let report = Report::of(&outcome);
            assert_eq!((report.member_number("asked_for"), report.member_number("fetched")), (5, 2));
            assert!(outcome.stdout.ends_with(&format!(",\"error\":{object}}}\n")), "{}", outcome.stdout);
            assert_eq!(report.samples("in_all_us").len(), 2);
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_told_as_ever() {
    let (place, refusing) = (Place::new(), Refusing::new());
    let host = refusing.address();
    let told =
        format!("keyfob: bench fetches 1 token from {host}\nkeyfob: no connection to {host}: connection refused");
    bench(&place, &format!("http://{host}/t"), &["-n1"]).outcome().fails(4, &told);
}

#[cfg(feature = "tls")]
#[test]
fn it_does_not_say_what_it_takes_before_it_could() {
    let place = Place::new();
    let told = "keyfob: proxy: SOCKS proxies are not supported, and must not be bypassed\n\
                hint: name an http proxy, or list the host in no_proxy";
    bench(&place, "https://localhost/t", &["--proxy", "socks5://localhost"]).outcome().fails(2, told);
}

#[test]
fn what_may_be_good_for_one_use_is_not_sent() {
    let (place, server) = (Place::new(), giving());
    let url = server.url("/t");
    for options in [
        &["--grant", "refresh_token", "--refresh-token-file", "secret"][..],
        &["--grant", "urn:ietf:params:oauth:grant-type:device_code", "--param-file", "device_code=secret"],
    ] {
        bench(&place, &url, options).outcome().fails(
            2,
            "keyfob: bench: this grant may be good for one use, and would be used up\n\
             hint: the grants client_credentials, password and bearer_session can be measured",
        );
    }
    bench(&place, &url, &["--grant", "bearer_session", "--session-token-file", "secret"]).outcome().fails(
        2,
        "keyfob: bench: this endpoint does not say how to end the sessions that bench would start\n\
         hint: set \"revoke\": \"delete\" in the profile, or use --dialect bearer-session",
    );
    assert_eq!(server.requests(), []);
}

const SESSIONS: [&str; 4] = ["--dialect", "bearer-session", "--session-token-file", "secret"];

/// Begins sessions, after a while, and ends them, after another.
fn sessions(beginning: Duration, ending: Duration, ended: u16) -> Server {
    let number = AtomicUsize::new(0);
    Server::with(move |seen, stream| {
        let answer = if seen.method == "GET" {
            std::thread::sleep(beginning);
            let number = number.fetch_add(1, Ordering::SeqCst) + 1;
            json(200, &format!(r#"{{"session":{{}},"access_token":"tok-{number}","token_type":"bearer"}}"#))
        } else {
            std::thread::sleep(ending);
            json(ended, "{}")
        };
        let _ = stream.write_all(&answer);
    })
}

/// The requests, each by its method and whose token it carried.
fn said(server: &Server) -> Vec<String> {
    let say = |seen: &Seen| format!("{} {}", seen.method, seen.header("authorization").unwrap_or_default());
    server.requests().iter().map(say).collect()
}

#[test]
fn each_session_is_ended_outside_of_the_timed_part() {
    let place = Place::new();
    for processes in [&[][..], &["--processes"]] {
        let server = sessions(Duration::ZERO, DELAY, 200);
        let options = [&SESSIONS[..], &["-n2", "--format", "json"], processes].concat();
        let url = server.url("/t");
        let outcome = place.keyfob([&["bench", "--url", &url, "--pause", "0"], &options[..]].concat()).outcome();
        let told = format!("keyfob: bench fetches 2 tokens from {}, and ends each\n", server.address());
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), &*told));
        assert!(!outcome.stdout.contains("tok-"), "{outcome:?}");
        let report = Report::of(&outcome);
        assert!(report.number("in_all_us", "min") < DELAY.as_micros() as u64, "{}", outcome.stdout);
        assert_eq!(report.number("process_us", "min") > 0, !processes.is_empty());
        assert_eq!(
            said(&server),
            ["GET bearer hunter2", "DELETE bearer tok-1", "GET bearer hunter2", "DELETE bearer tok-2"]
        );
    }
}

#[test]
fn a_session_that_cannot_be_ended_is_the_last() {
    let place = Place::new();
    for processes in [&[][..], &["--processes"]] {
        let server = sessions(Duration::ZERO, Duration::ZERO, 500);
        let options = [&SESSIONS[..], &["-n5", "--pause", "0"], processes].concat();
        let outcome = place.keyfob([&["bench", "--url", &server.url("/t")], &options[..]].concat()).outcome();
        assert_eq!(outcome.code, Some(5), "{outcome:?}");
        let told = "\nkeyfob: bench: a session was not ended: the server answered with status 500\n";
        assert!(outcome.stderr.ends_with(told), "{outcome:?}");
        assert!(outcome.stdout.starts_with("1 of 5 cold-start fetches"), "{outcome:?}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[test]
fn a_signal_ends_it_and_what_there_is_is_printed() {
    let place = Place::new();
    for processes in [&[][..], &["--processes"]] {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
            // While the server lets it wait, and in a pause.
            let (stalling, quick) = (giving_first(2, None), giving());
            for (server, options, requests, start) in [
                (&stalling, &["bench", "--pause", "0"][..], 3, "2 of 10 cold-start fetches"),
                (&quick, &["bench", "--pause", "600"], 1, "1 of 10 cold-start fetches"),
            ] {
                let url = server.url("/t");
                let mut started = Started::new(place.keyfob([options, &["--url", &url], processes].concat()));
                until("it asks", || server.requests().len() == requests);
                let is_pausing = options.contains(&"600");
                let id = started.id();
                let task = format!("/proc/{id}/task");
                let is_alone = || {
                    let children = std::fs::read_to_string(format!("{task}/{id}/children")).unwrap();
                    children.is_empty() && std::fs::read_dir(&task).unwrap().count() == 1
                };
                until("the fetch is over", || !is_pausing || is_alone());
                started.signal(signal);
                let outcome = started.outcome();
                assert_eq!(outcome.code, Some(code), "{processes:?} {outcome:?}");
                assert!(outcome.stdout.starts_with(start), "{processes:?} {outcome:?}");
                assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
                assert_eq!(server.requests().len(), requests);
            }
        }
    }
}

#[test]
fn a_signal_leaves_no_session_behind() {
    let place = Place::new();
    for processes in [&[][..], &["--processes"]] {
        let server = sessions(DELAY, DELAY, 200);
        let options = [&SESSIONS[..], processes].concat();
        let mut command = place.keyfob([&["bench", "--url", &server.url("/t")], &options[..]].concat()).command();
        // To all of the group, as a terminal does it.
        command.process_group(0);
        let mut started = Started::command(command);
        until("it asks", || server.requests().len() == 1);
        kill_process_group(Pid::from_raw(started.id() as i32).unwrap(), Signal::INT).unwrap();
        let outcome = started.outcome();
        assert_eq!(outcome.code, Some(130), "{outcome:?}");
        assert!(outcome.stdout.starts_with("1 of 10 cold-start fetches"), "{outcome:?}");
        assert_eq!(said(&server), ["GET bearer hunter2", "DELETE bearer tok-1"]);
        // Who asks twice does not care.
        let server = sessions(Duration::from_secs(60), DELAY, 200);
        let mut started = Started::new(place.keyfob([&["bench", "--url", &server.url("/t")], &options[..]].concat()));
        until("it asks", || server.requests().len() == 1);
        started.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(50));
        assert!(started.is_running());
        started.signal(Signal::INT);
        assert_eq!(started.outcome().code, Some(130));
    }
}

// A process for each.

#[test]
fn a_process_is_started_for_each_fetch_with_the_same_words() {
    let (place, server) = (Place::new(), giving_first(1, None));
    let words = ["bench", "--url", &server.url("/t"), "--client-id=c", "--client-secret-file", "secret", "-n2"];
    let mut started = Started::new(place.keyfob([&words[..], &["--processes"]].concat()));
    until("it asks again", || server.requests().len() == 2);
    let id = started.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let child = children.trim().to_owned();
    let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
    let expected = [&["keyfob", "bench", "--single"], &words[1..], &["--processes"]].concat();
    assert_eq!(line.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), expected);
    started.signal(Signal::TERM);
    assert_eq!(started.outcome().code, Some(143));
    let is_there = || std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    until("its process ends with it", || !is_there());
}

#[test]
fn exec_and_exit_count_with_processes_alone() {
    let (place, server) = (Place::new(), giving());
    for (options, counts) in [(&[][..], false), (&["--processes"], true)] {
        let options = [&["--format", "json", "-n3"], options].concat();
        let report = Report::run(bench(&place, &server.url("/t"), &options));
        assert!(report.samples("process_us").iter().all(|process| (*process > 0) == counts));
        for (index, whole) in report.samples("in_all_us").into_iter().enumerate() {
            assert_eq!(STEPS.iter().map(|step| report.samples(step)[index]).sum::<u64>(), whole);
        }
    }
    assert_eq!(server.requests().len(), 6);
}

/// It is closed to others of its user, and must find its own program all the same.
#[test]
fn another_user_than_root_can_start_the_processes() {
    let server = giving();
    let mut command = Command::new("sh");
    let run = r#"exec 3<"$0" && exec setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/3 "$@""#;
    let mut probe = Command::new("setpriv");
    probe.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "true"]);
    if !can("another_user_than_root_can_start_the_processes", "only root can act as another user", &mut probe) {
        return;
    }
    command.args(["-c", run, env!("CARGO_BIN_EXE_keyfob"), "bench", "--url", &server.url("/t")]);
    command.args(["--client-id", "c", "--processes", "-n2", "--pause", "0"]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let outcome = Started::command(command).outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_secret_that_can_be_read_once_is_read_once() {
    let (place, server) = (Place::new(), giving());
    place.file("here/profile.json", r#"{"header_file": {"X-Key": ["secret", "-"]}}"#);
    let pipe = place.path("here/pipe");
    assert!(Command::new("mkfifo").args(["-m", "600", &pipe]).status().unwrap().success());
    for options in [
        &["--client-secret-file", "-"][..],
        &["--client-secret-file", "pipe"],
        &["--param-file", "key=-"],
        &["./profile.json"],
    ] {
        bench(&place, &server.url("/t"), &[options, &["--processes"]].concat()).input("hunter2").outcome().fails(
            2,
            "keyfob: usage: bench: with --processes each fetch reads profile and secrets, so they must be in files, not pipes or standard input\n\
             hint: `keyfob help` lists the commands and options",
        );
    }
    for option in ["--ca-file", "--client-cert-file"] {
        bench(&place, &server.url("/t"), &[option, "pipe"]).outcome().fails(
            2,
            "keyfob: usage: bench: each fetch reads the certificates, so they must be in files, not pipes\n\
             hint: `keyfob help` lists the commands and options",
        );
    }
    assert_eq!(server.requests(), []);
    let run = bench(&place, &server.url("/t"), &["--client-secret-file", "-", "-n2"]).input("hunter2");
    assert_eq!(run.outcome().code, Some(0));
    // c:hunter2
    let authorizations: Vec<_> = server.requests();
    assert!(authorizations.iter().all(|seen| seen.header("authorization") == Some("Basic YzpodW50ZXIy")));
    assert_eq!(authorizations.len(), 2);
}

#[test]
fn a_hint_about_a_file_is_given_once() {
    use std::os::unix::fs::PermissionsExt;
    let (place, server) = (Place::new(), giving());
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("here/secret"), mode).unwrap();
    for processes in [&[][..], &["--processes"]] {
        let options = [&["--client-secret-file", "secret", "-n3"], processes].concat();
        let outcome = bench(&place, &server.url("/t"), &options).outcome();
        let told = format!(
            "hint: secret file secret: everybody can read it (chmod o-r)\nkeyfob: bench fetches 3 tokens from {}\n",
            server.address()
        );
        assert_eq!((outcome.code, outcome.stderr), (Some(0), told));
    }
}

// What is asked in a wrong way.

#[test]
fn a_wrong_option_is_named_and_nothing_is_sent() {
    let (place, server) = (Place::new(), giving());
    let range = "usage: -n: must be a number from 1 to 1000";
    let format = "usage: bench: --format must be json or csv, or left out for a table";
    for (options, message) in [
        (&["-n0"][..], range),
        (&["-n", "1001"], range),
        (&["-n", "99999999999999999999"], "usage: --count: must be a whole number"),
        (&["-n", "ten"], "usage: --count: must be a whole number"),
        (&["-n=-1"], "usage: --count: must be a whole number"),
        (&["-n"], "usage: -n needs a value"),
        (&["-n1", "--count", "1"], "usage: --count is given twice"),
        (&["-x"], "usage: unknown one-letter option; there are -h, -V, -v and, for bench, -n"),
        (
            &["--pause", "x"],
            "usage: --pause: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (&["--processes=2"], "usage: --processes takes no value"),
        (&["--format", "token"], format),
        (&["--format", "header"], format),
        (&["--file", "token"], "usage: unknown option --file"),
        (&["./a", "./b"], "usage: unexpected argument; a secret is never given on the command line"),
    ] {
        let url = server.url("/t");
        let words = [&["bench", "--url", &url], options].concat();
        place
            .keyfob(words)
            .outcome()
            .fails(2, &format!("keyfob: {message}\nhint: `keyfob help` lists the commands and options"));
    }
    let curl = ["bench", "--url", &server.url("/t"), "--format", "curl"];
    let told = format!("keyfob: {format}\nhint: `keyfob help` lists the commands and options\n");
    place.keyfob(curl).outcome().is(2, "proto = \"-all\"\n", &told);
    place
        .token(&server.url("/t"), &["-n2"])
        .outcome()
        .fails(2, "keyfob: usage: unknown one-letter option; there are -h, -V, -v and, for bench, -n\nhint: `keyfob help` lists the commands and options");
    place
        .keyfob(["bench"])
        .outcome()
        .fails(2, "keyfob: there is no token endpoint\nhint: say where it is: `url` (--url)");
    place.file("here/profile.json", r#"{"count": 3}"#);
    place
        .keyfob(["bench", "./profile.json"])
        .outcome()
        .fails(2, "keyfob: profile: unknown member \"count\"\nhint: `keyfob help profile` lists the members");
    assert_eq!(server.requests(), []);
}
