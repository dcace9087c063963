//! `keyfob keep`: what it holds in its file, and what it tells, while servers, signals and other processes come and go.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/keeping.rs"]
mod keeping;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use keeping::{content, holds, keep, token};
use keyfob::{BootClock, Clock};
use processes::{Started, can, can_unshare, field, issuing, script, until};
use running::Place;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is in the current directory besides the secrets.
fn left(place: &Place) -> Vec<String> {
    let names =
        fs::read_dir(place.path("here")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains("token")).collect();
    names.sort();
    names
}

/// Answers what it is told to at the moment: with an empty answer nobody gets any.
fn changing(first: Vec<u8>) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let answer = Arc::new(Mutex::new(first));
    let shared = answer.clone();
    let server = Server::with(move |_, stream| {
        let answer = shared.lock().unwrap().clone();
        let _ = stream.write_all(&answer);
    });
    (server, answer)
}

// The file.

#[test]
fn the_file_is_written_renewed_removed_and_comes_back() {
    let place = Place::new();
    let (server, answer) = changing(token("tok-1", 5));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &[]));
    holds(&place, "tok-1\n");
    assert_eq!(fs::metadata(place.path("here/token")).unwrap().mode() & 0o7777, 0o600);
    // Before its end the next one is there; in between the file is never missing.
    *answer.lock().unwrap() = token("tok-2", 5);
    let start = Instant::now();
    while content(&place).expect("the file is there all the time") != "tok-2\n" {
        assert!(start.elapsed() < Duration::from_secs(5), "tok-1 is over");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The server is gone: so is the token when it is over.
    *answer.lock().unwrap() = Vec::new();
    let start = Instant::now();
    until("it is gone", || content(&place).is_none());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(left(&place), [".token.keyfob"]);
    assert!(keep.is_running());
    *answer.lock().unwrap() = token("tok-3", 3600);
    holds(&place, "tok-3\n");
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{outcome:?}");
    let told: Vec<&str> = outcome.stderr.lines().collect();
    assert!(told.contains(&"keyfob: the token has expired, and there is no new one yet"), "{told:?}");
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn the_file_goes_with_the_process_whichever_way_it_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let mut keep = Started::new(keep(&place, &server.url("/t"), &[]));
        holds(&place, "tok-1\n");
        keep.signal(signal);
        keep.outcome().is(0, "", "");
        assert_eq!(left(&place), [""; 0]);
    }
    // Nor does a server that never answers hold it up.
    let place = Place::new();
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let mut stalled = Started::new(keep(&place, &server.url("/t"), &[]));
    until("it asks", || server.requests().len() == 1);
    let start = Instant::now();
    stalled.signal(Signal::TERM);
    stalled.outcome().is(0, "", "");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn what_a_killed_keep_left_goes_at_the_next_start_even_if_that_fails() {
    for options in [&[][..], &["--cache-dir", "open"], &["--grant", "password", "--username", "u"]] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let url = server.url("/t");
        let killed = Started::new(keep(&place, &url, &["--no-cache"]));
        holds(&place, "tok-1\n");
        assert!(killed.kill());
        assert_eq!(left(&place), [".token.keyfob", "token"], "nobody was there to remove it");
        place.file("here/.token.new", "a draft");
        fs::create_dir(place.path("here/open")).unwrap();
        fs::set_permissions(place.path("here/open"), Permissions::from_mode(0o755)).unwrap();
        let gone = Server::answering("");
        let mut next = Started::new(keep(&place, &gone.url("/t"), options));
        until("it is gone", || content(&place).is_none());
        if options.is_empty() {
            until("it asks", || !gone.requests().is_empty());
            assert_eq!(left(&place), [".token.keyfob"]);
            next.signal(Signal::TERM);
            next.outcome();
        } else {
            assert_eq!(next.outcome().code, Some(2));
        }
        assert_eq!(left(&place), [""; 0]);
    }
}

#[test]
fn a_file_that_was_not_its_own_is_moved_aside() {
    let place = Place::new();
    place.file("here/token", "mine");
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    let mut first = Started::new(keep(&place, &url, &[]));
    holds(&place, "tok-1\n");
    first.signal(Signal::TERM);
    first.outcome().is(0, "", "keyfob: token was there already; it is token.old now\n");
    assert_eq!(left(&place), ["token.old"]);
    assert_eq!(fs::read_to_string(place.path("here/token.old")).unwrap(), "mine");
    // Twice is too much.
    place.file("here/token", "mine too");
    Started::new(keep(&place, &url, &[])).outcome().fails(
        2,
        "keyfob: token file token: it is there, and so is one of its name with .old\nhint: remove one of them",
    );
    assert_eq!(left(&place), ["token", "token.old"]);
    assert_eq!(content(&place).as_deref(), Some("mine too"));
}

#[test]
fn a_file_that_cannot_be_kept_ends_it_at_the_start() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    fs::create_dir(place.path("here/directory")).unwrap();
    symlink("secret", place.path("here/link")).unwrap();
    let wrong_mode = "keyfob: `mode`: must be the mode of a file that its owner can read, such as 0600 or 0640";
    let with = |options: &[&str]| {
        let options = [&["keep", "--url", &url, "--client-id", "c"], options].concat();
        Started::new(place.keyfob(options)).outcome()
    };
    for (options, lines) in [
        (&[][..], "keyfob: keep: no file is named\nhint: name it with --file"),
        (&["--file", "directory"], "keyfob: token file directory: it is a directory"),
        (&["--file", "."], "keyfob: token file .: it is a directory"),
        (&["--file", "missing/token"], "keyfob: token file missing/token: there is no such file"),
        (&["--file", "secret/token"], "keyfob: token file secret/token: not a directory"),
        (&["--file", "link"], "keyfob: token file link: it is there, and no file that could be replaced"),
        (&["--file", "token", "--mode", "0240"], wrong_mode),
        (&["--file", "token", "--mode", "0800"], wrong_mode),
        (&["--file", "token", "--mode", "u=rw"], wrong_mode),
        (&["--file", "token", "--mode", "1600"], wrong_mode),
        (&["--file", "token", "--mode", "+600"], wrong_mode),
        (&["--file", "token", "--mode", "00600"], wrong_mode),
        (
            &["--file", "token", "--client-secret-file", "missing"],
            "keyfob: secret file HERE/missing: there is no such file",
        ),
        (
            &["--file", "token", "--grant", "password"],
            "keyfob: the grant `password` needs a user name\nhint: set it with --username",
        ),
    ] {
        with(options).fails(2, &lines.replace("HERE", &place.path("here")));
    }
    assert_eq!(left(&place), [""; 0]);
    assert_eq!(server.requests(), []);
    // Two of them, by whichever way to the same directory.
    let mut first = Started::new(keep(&place, &url, &[]));
    holds(&place, "tok-1\n");
    for file in ["token", "./token", "../here/token"] {
        with(&["--file", file]).fails(2, &format!("keyfob: token file {file}: another keyfob keep is at work on it"));
    }
    assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
    first.signal(Signal::TERM);
    first.outcome().is(0, "", "");
}

#[test]
fn the_file_has_the_mode_and_the_format_that_were_asked_for() {
    for (options, mode, text) in [
        (&["--mode", "0640"][..], 0o640, "tok-1\n".to_owned()),
        (&["--mode", "444"], 0o444, "tok-1\n".to_owned()),
        (&["--format", "header"], 0o600, "Authorization: Bearer tok-1\n".to_owned()),
        (&["--format", "curl"], 0o600, "header = \"Authorization: Bearer tok-1\"\n".to_owned()),
        (
            &["--format", "json"],
            0o600,
            concat!(
                r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3599,"scope":null,"cache":"miss"}"#,
                "\n"
            )
            .to_owned(),
        ),
    ] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let mut keep = Started::new(keep(&place, &server.url("/t"), options));
        holds(&place, &text);
        assert_eq!(fs::metadata(place.path("here/token")).unwrap().mode() & 0o7777, mode);
        keep.signal(Signal::TERM);
        keep.outcome().is(0, "", "");
    }
}

#[test]
fn what_is_wrong_with_the_file_later_is_told_until_it_can_be_written_again() {
    if !can_unshare("what_is_wrong_with_the_file_later", processes::MOUNTS) {
        return;
    }
    let place = Place::new();
    let (server, answer) = changing(token("tok-1", 5));
    let listener = UnixDatagram::bind(place.path("notify")).unwrap();
    let run = place.keyfob(["keep", "--url", &server.url("/t"), "--client-id", "c", "--file", "d/token"]);
    let run = run.variable("NOTIFY_SOCKET", place.path("notify"));
    // It cannot be unmounted as long as the command's directory is in it, and the test writes to it by the process.
    let text = "mkdir d; mount -t tmpfs -o size=16k memory d; exec /proc/self/fd/3 \"$@\"";
    let mut keep = Started::command(script(processes::MOUNTS, run, text));
    let notes = Notes::new(listener);
    notes.until("READY=1");
    let directory = format!("/proc/{}/root{}", keep.id(), place.path("here/d"));
    let read = || fs::read_to_string(format!("{directory}/token")).ok();
    assert_eq!(read().as_deref(), Some("tok-1\n"));
    let _ = fs::write(format!("{directory}/full"), vec![0; 64 * 1024]);
    *answer.lock().unwrap() = token("tok-2", 3600);
    notes.until("STATUS=token file d/token: no space left; next attempt in 1 s");
    until("it is gone", || read().is_none());
    let asked = server.requests().len();
    fs::remove_file(format!("{directory}/full")).unwrap();
    until("it is there", || read().as_deref() == Some("tok-2\n"));
    notes.until("STATUS=the token is valid");
    assert_eq!(server.requests().len(), asked, "the token was there all the time");
    keep.signal(Signal::TERM);
    assert_eq!(keep.outcome().code, Some(0));
}

#[test]
fn a_token_of_unknown_life_stays_and_costs_nothing() {
    let place = Place::new();
    let (server, answer) = changing(token("tok-1", 5));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &["--no-cache"]));
    holds(&place, "tok-1\n");
    *answer.lock().unwrap() = json(200, r#"{"access_token":"tok-2"}"#);
    holds(&place, "tok-2\n");
    let ticks = |id: u32| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // Past the moment at which the first one was to be renewed or removed.
    std::thread::sleep(Duration::from_millis(4000));
    let before = ticks(keep.id());
    std::thread::sleep(Duration::from_millis(500));
    // In hundredths of a second.
    assert!(ticks(keep.id()) - before <= 5, "it spins");
    assert_eq!(content(&place).as_deref(), Some("tok-2\n"));
    assert_eq!(server.requests().len(), 2);
    keep.signal(Signal::TERM);
    assert_eq!(keep.outcome().code, Some(0));
}

#[test]
fn a_life_of_zero_ends_it_only_where_there_is_no_token() {
    let place = Place::new();
    let message = "the server says the token lives 0 s or less, so it cannot be kept";
    let (server, answer) = changing(token("tok-0", 0));
    let url = server.url("/t");
    Started::new(keep(&place, &url, &[]))
        .outcome()
        .fails(5, &format!("keyfob: {message}\nhint: if it means something else, set the lifetime (--lifetime)"));
    *answer.lock().unwrap() = token("tok-1", 3);
    let mut keep = Started::new(keep(&place, &url, &["--no-cache"]));
    holds(&place, "tok-1\n");
    *answer.lock().unwrap() = token("tok-0", 0);
    let asked = server.requests().len();
    until("it asks", || server.requests().len() > asked);
    std::thread::sleep(Duration::from_millis(50));
    assert!(keep.is_running());
    assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
    *answer.lock().unwrap() = token("tok-2", 3600);
    keep.signal(Signal::HUP);
    holds(&place, "tok-2\n");
    keep.signal(Signal::TERM);
    let hint = "hint: if it means something else, set the lifetime (--lifetime)\nhint: next attempt in 1 s";
    keep.outcome().is(0, "", &format!("keyfob: the token is valid, but was not renewed: {message}\n{hint}\n"));
}

#[test]
fn a_server_that_stalls_keeps_no_token_that_is_over_in_the_file() {
    let place = Place::new();
    let asked = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => drop(stream.write_all(&token("tok-1", 2))),
        _ => std::thread::sleep(Duration::from_secs(30)),
    });
    let mut keep = Started::new(keep(&place, &server.url("/t"), &[]));
    holds(&place, "tok-1\n");
    let start = Instant::now();
    until("it asks", || server.requests().len() == 2);
    until("it is gone", || content(&place).is_none());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "keyfob: the token has expired, and there is no new one yet\n");
}

#[test]
fn a_token_that_comes_when_it_is_as_good_as_over_is_not_put_into_the_file() {
    let place = Place::new();
    let server = issuing(1, Duration::from_millis(950));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &["--no-cache"]));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        assert_eq!(content(&place), None);
        std::thread::sleep(Duration::from_millis(1));
    }
    keep.signal(Signal::TERM);
    assert_eq!(keep.outcome().code, Some(0));
}

// Refresh tokens.

/// What it has sent by then is used up: the new one must reach its file.
#[test]
fn a_refresh_that_is_under_way_is_finished_before_it_ends() {
    let place = Place::new();
    place.file("here/rt", "rt-1\n");
    let server = Server::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(&json(200, r#"{"access_token":"tok","refresh_token":"rt-2","expires_in":60}"#));
    });
    let options = ["--grant", "refresh_token", "--refresh-token-file", "rt"];
    let mut keep = Started::new(keep(&place, &server.url("/t"), &options));
    until("it asks", || server.requests().len() == 1);
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "");
    assert_eq!(fs::read_to_string(place.path("here/rt")).unwrap(), "rt-2\n");
    assert_eq!(content(&place), None);
}

#[test]
fn a_refresh_token_in_a_file_is_spent_again_and_again() {
    // A server that hands out a new one each time, and one that hands out the same one.
    for is_rotating in [true, false] {
        let place = Place::new();
        place.file("here/rt", "rt-1\n");
        let number = AtomicUsize::new(1);
        let server = Server::with(move |seen, stream| {
            let now = number.load(Ordering::SeqCst);
            let newest = if is_rotating { now } else { 1 };
            let answer = if field(seen, "refresh_token") == Some(format!("rt-{newest}")) {
                number.store(now + 1, Ordering::SeqCst);
                let next = if is_rotating { now + 1 } else { 1 };
                json(200, &format!(r#"{{"access_token":"tok-{now}","refresh_token":"rt-{next}","expires_in":2}}"#))
            } else {
                json(400, r#"{"error":"invalid_grant"}"#)
            };
            let _ = stream.write_all(&answer);
        });
        for options in [&[][..], &["--no-cache"]] {
            let refresh = [&["--grant", "refresh_token", "--refresh-token-file", "rt"], options].concat();
            let mut keep = Started::new(keep(&place, &server.url("/t"), &refresh));
            let first = server.requests().len();
            until("four of them", || server.requests().len() >= first + 4);
            keep.signal(Signal::TERM);
            // Tokens of 2 s leave the file before the next one comes.
            let outcome = keep.outcome();
            let is_told = |line: &str| line == "keyfob: the token has expired, and there is no new one yet";
            assert!(outcome.code == Some(0) && outcome.stderr.lines().all(is_told), "{outcome:?}");
        }
    }
}

// Signals and systemd.

/// What was sent to a socket so far, line by line.
struct Notes(UnixDatagram);

impl Notes {
    fn new(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    /// The next one, but for those that ask for more time to start.
    fn next(&self) -> String {
        loop {
            let mut bytes = [0; 4096];
            let count = self.0.recv(&mut bytes).expect("something is told within 20 s");
            let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
            if text != "EXTEND_TIMEOUT_USEC=60000000" {
                return text;
            }
        }
    }

    /// Reads on to this line; returns what came before it.
    #[track_caller]
    fn until(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let next = self.next();
            if next == line {
                return before;
            }
            before.push(next);
            assert!(before.len() < 100, "{line} does not come: {before:?}");
        }
    }
}

#[test]
fn systemd_is_told_what_is_the_matter() {
    let place = Place::new();
    for (name, address) in [
        (place.path("socket"), SocketAddr::from_pathname(place.path("socket")).unwrap()),
        (
            format!("@keyfob-keep-{}", std::process::id()),
            SocketAddr::from_abstract_name(format!("keyfob-keep-{}", std::process::id())).unwrap(),
        ),
    ] {
        let (server, answer) = changing(json(401, r#"{"error":"invalid_client"}"#));
        let notes = Notes::new(UnixDatagram::bind_addr(&address).unwrap());
        let run = keep(&place, &server.url("/t"), &["--client-secret-file", "secret"]);
        place.file("here/secret", "wrong");
        let mut keep = Started::new(run.variable("NOTIFY_SOCKET", &name));
        let status = notes.next();
        assert_eq!(status, "STATUS=the server refused (status 401): invalid_client; next attempt in 10 s");
        // Ready it is when there is a token. Another secret ends the wait after a refusal, and a reload begins and ends.
        place.file("here/secret", "right");
        *answer.lock().unwrap() = token("tok-1", 3600);
        keep.signal(Signal::HUP);
        let reloading = notes.next();
        let microseconds = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a reload");
        assert!(microseconds.parse::<u64>().unwrap() > 0);
        assert_eq!(notes.next(), "STATUS=the token is valid");
        assert_eq!(content(&place).as_deref(), Some("tok-1\n"), "it is there before it is told");
        assert_eq!(notes.next(), "READY=1");
        // A reload that fails takes nothing away, and says so.
        *answer.lock().unwrap() = json(500, "");
        keep.signal(Signal::HUP);
        assert!(notes.next().starts_with("RELOADING=1\n"));
        let status = notes.next();
        assert!(status.starts_with("STATUS=") && status.contains("500"), "{status}");
        assert_eq!(notes.next(), "READY=1");
        assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
        fs::remove_file(place.path("here/secret")).unwrap();
        keep.signal(Signal::HUP);
        assert!(notes.next().starts_with("RELOADING=1\n"));
        let status = notes.next();
        let told = format!("STATUS=secret file {}: there is no such file; next attempt in ", place.path("here/secret"));
        assert!(status.starts_with(&told), "{status}");
        assert_eq!(notes.next(), "READY=1");
        keep.signal(Signal::TERM);
        assert_eq!(notes.next(), "STOPPING=1");
        assert_eq!(keep.outcome().code, Some(0));
        let seen = server.requests();
        let sent: Vec<_> = seen.iter().map(|seen| seen.header("authorization").unwrap()).collect();
        assert_eq!(sent, ["Basic Yzp3cm9uZw==", "Basic YzpyaWdodA==", "Basic YzpyaWdodA=="]);
    }
}

#[test]
fn the_watchdog_of_systemd_gets_signs_of_life_with_and_without_a_token() {
    for answer in [token("tok-1", 3600), json(401, r#"{"error":"invalid_client"}"#)] {
        let place = Place::new();
        let server = Server::answering(answer);
        let address = SocketAddr::from_pathname(place.path("socket")).unwrap();
        let notes = Notes::new(UnixDatagram::bind_addr(&address).unwrap());
        let run = keep(&place, &server.url("/t"), &[]).variable("NOTIFY_SOCKET", place.path("socket"));
        let mut keep = Started::new(run.variable("WATCHDOG_USEC", "400000"));
        for _ in 0..4 {
            notes.until("WATCHDOG=1");
        }
        keep.signal(Signal::TERM);
        notes.until("STOPPING=1");
        assert_eq!(keep.outcome().code, Some(0));
    }
}

#[test]
fn a_socket_that_is_not_there_is_no_error() {
    for name in ["", "@", "relative", "/nowhere/at/all", "vsock:2:1234"] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let mut keep = Started::new(keep(&place, &server.url("/t"), &[]).variable("NOTIFY_SOCKET", name));
        holds(&place, "tok-1\n");
        keep.signal(Signal::TERM);
        keep.outcome().is(0, "", "");
    }
}

#[test]
fn who_must_be_told_of_a_renewal_is_told_without_the_token_and_one_at_a_time() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    // It takes its time, and says so if another one is there.
    let program = "#!/bin/sh\nmkdir busy || echo two at once >> told\nread line || true\n\
         { echo \"$# $* / $(cat token)\"; tr '\\0' ' ' < /proc/$$/cmdline; env; } >> told\n\
         echo to standard output\nsleep 0.3\nrmdir busy\n";
    place.file("here/program", program);
    fs::set_permissions(place.path("here/program"), Permissions::from_mode(0o755)).unwrap();
    let told = || fs::read_to_string(place.path("here/told")).unwrap_or_default();
    let listener = UnixDatagram::bind(place.path("notify")).unwrap();
    let run = keep(&place, &url, &["--on-renew", "./program  one --two"]);
    let path = std::env::var("PATH").unwrap();
    let run = run.variable("PATH", path).variable("NOTIFY_SOCKET", place.path("notify"));
    let mut keep = Started::new(run);
    until("it is told", || told().contains("1 one") || told().contains("2 one --two / tok-1\n"));
    // Three renewals while it is at work are told once, when it is done.
    for number in 2..=4 {
        keep.signal(Signal::HUP);
        holds(&place, &format!("tok-{number}\n"));
    }
    until("it is told again", || told().contains("2 one --two / tok-4\n"));
    std::thread::sleep(Duration::from_millis(700));
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    drop(listener);
    let told = told();
    let times = told.matches("2 one --two / tok-").count();
    assert_eq!(outcome.stderr, "to standard output\n".repeat(times));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""));
    assert_eq!(times, 2, "{told}");
    assert!(!told.contains("two at once"), "{told}");
    assert_eq!(told.matches("tok-").count(), times, "the token is neither an argument nor in the environment: {told}");
    assert!(!told.contains("NOTIFY_SOCKET"), "{told}");
}

#[test]
fn where_who_must_be_told_fails_that_is_said_and_the_token_stays() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    place.file("here/no-program", "");
    for (command, line) in [
        ("false", "keyfob: --on-renew: exit status: 1\n"),
        ("./missing", "keyfob: --on-renew: ./missing: there is no such file\n"),
        ("./no-program", "keyfob: --on-renew: ./no-program: permission denied\n"),
        ("", ""),
        (" ", ""),
    ] {
        let run = keep(&place, &server.url("/t"), &["--on-renew", command]);
        let mut keep = Started::new(run.variable("PATH", std::env::var("PATH").unwrap()));
        holds(&place, "tok-1\n");
        std::thread::sleep(Duration::from_millis(200));
        assert!(keep.is_running());
        assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
        keep.signal(Signal::TERM);
        keep.outcome().is(0, "", line);
    }
}

// Never a token that is over.

#[test]
fn after_a_suspend_a_token_that_is_over_is_removed_or_renewed() {
    let mut python = Command::new("python3");
    if !can_unshare("after_a_suspend", processes::AHEAD)
        || !can("after_a_suspend", "python3 moves the process", python.arg("-V"))
    {
        return;
    }
    let place = Place::new();
    // A namespace whose boot clock is two hours ahead, as after a suspend; it lasts as long as this process.
    let mut ahead = Command::new("unshare")
        .args(processes::AHEAD)
        .args(["sh", "-c", "echo $$; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    BufReader::new(ahead.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let namespace = format!("/proc/{}/ns/time", id.trim());
    for is_server_there in [true, false] {
        let (server, answer) = changing(token("tok-1", 3600));
        let mut keep = Started::new(keep(&place, &server.url("/t"), &["--no-cache"]));
        holds(&place, "tok-1\n");
        // A process with threads cannot be moved; the one that asked has ended by then.
        let tasks = format!("/proc/{}/task", keep.id());
        until("it has one thread", || fs::read_dir(&tasks).unwrap().count() == 1);
        *answer.lock().unwrap() = if is_server_there { token("tok-2", 3600) } else { Vec::new() };
        let tracer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tracer.py");
        let moved =
            Command::new("python3").args([tracer, "suspend", &keep.id().to_string(), &namespace]).output().unwrap();
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
        // A real suspend makes the timer go off, for its clock has gone on; here the timer's clock stays behind, so a signal
        // wakes it. SIGHUP would renew in any case, SIGCHLD has no other effect.
        keep.signal(Signal::CHILD);
        if is_server_there {
            holds(&place, "tok-2\n");
        } else {
            until("it is gone", || content(&place).is_none());
        }
        keep.signal(Signal::TERM);
        let outcome = keep.outcome();
        assert_eq!(outcome.code, Some(0));
        assert!(
            outcome.stderr.starts_with("keyfob: the token has expired, and there is no new one yet\n"),
            "{outcome:?}"
        );
    }
    drop(ahead.stdin.take());
    ahead.wait().unwrap();
}

fn milliseconds() -> u64 {
    u64::try_from(BootClock.now().as_millis()).unwrap()
}

/// Issues tokens that say themselves when they are over, for 2 or 3 s, on a port that stays the same.
fn telling(address: &str) -> Server {
    let number = AtomicU64::new(0);
    Server::on(TcpListener::bind(address).expect("the port is free again"), move |_, stream| {
        let life = 2 + number.fetch_add(1, Ordering::SeqCst) % 2;
        // The answer is sent after this moment, so the token is over earlier than the client believes at the latest.
        let _ = stream.write_all(&token(&format!("t-{}", milliseconds() + life * 1000), life));
    })
}

/// How long past its end a token was read at the latest; and how many reads there were, with and without a token.
#[derive(Debug, Default)]
struct Seen {
    with: usize,
    without: usize,
    over: Vec<String>,
}

#[test]
fn whoever_reads_the_file_never_reads_a_token_that_is_over() {
    let place = Place::new();
    let mut server = Some(telling("127.0.0.1:0"));
    let address = server.as_ref().unwrap().address().to_string();
    let url = server.as_ref().unwrap().url("/t");
    let (is_over, is_kept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let observer = {
        let (file, is_over, is_kept) = (place.path("here/token"), is_over.clone(), is_kept.clone());
        std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !is_over.load(Ordering::SeqCst) {
                // Before it is read, so that a pause of this thread is not taken for a fault of keep's.
                let (now, was_kept) = (milliseconds(), is_kept.load(Ordering::SeqCst));
                match fs::read_to_string(&file) {
                    Ok(text) if was_kept && is_kept.load(Ordering::SeqCst) => {
                        let deadline = text.strip_prefix("t-").and_then(|text| text.strip_suffix('\n'));
                        let deadline: u64 = deadline.and_then(|text| text.parse().ok()).expect("a whole token");
                        seen.with += 1;
                        if deadline <= now {
                            seen.over.push(format!("{} ms past its end", now - deadline));
                        }
                    }
                    Ok(_) => {}
                    Err(_) => seen.without += 1,
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            seen
        })
    };
    let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
    let mut kept = Started::new(keep(&place, &url, &[]));
    for options in [&["--no-cache"][..], &[]] {
        let start = || Started::new(keep(&place, &url, options));
        let some = || until("there is a token", || content(&place).is_some());
        // An outage that is shorter than a life, and one that is longer.
        for outage in [700, 2800] {
            some();
            drop(server.take());
            pause(outage);
            server = Some(telling(&address));
        }
        some();
        kept.signal(Signal::TERM);
        assert_eq!(kept.outcome().code, Some(0));
        assert_eq!(content(&place), None, "nobody keeps it");
        kept = start();
        for is_server_there in [true, false] {
            // Nobody can remove a file whose keeper was killed: until the next one is at work it may be stale, and only
            // from then on is it looked at again.
            some();
            is_kept.store(false, Ordering::SeqCst);
            assert!(kept.kill());
            let stale = content(&place);
            drop(server.take());
            pause(if is_server_there { 300 } else { 2100 });
            assert_eq!(content(&place), stale, "it stays, which is what is to be mended");
            if is_server_there {
                server = Some(telling(&address));
            }
            kept = start();
            until("the stale one is gone", || content(&place) != stale || stale.is_none());
            is_kept.store(true, Ordering::SeqCst);
            pause(1000);
        }
        server = Some(telling(&address));
    }
    pause(1000);
    kept.signal(Signal::TERM);
    assert_eq!(kept.outcome().code, Some(0));
    is_over.store(true, Ordering::SeqCst);
    drop(server);
    let seen = observer.join().expect("each read was a whole token");
    println!("{} reads with a token, {} without", seen.with, seen.without);
    assert_eq!(seen.over, [""; 0], "tokens that were over");
    assert!(seen.with > 5000 && seen.without > 500, "{seen:?}");
}

/// A failure of the profile whose token is needed is not told each second, and its server is left alone.
#[test]
fn a_token_of_another_profile_is_waited_for() {
    let place = Place::new();
    let (first, second) =
        (Server::answering(json(401, r#"{"error":"invalid_client"}"#)), issuing(3600, Duration::ZERO));
    place.file("config/keyfob/login.json", format!(r#"{{"url": "{}"}}"#, first.url("/t")));
    let mut keep = Started::new(keep(&place, &second.url("/t"), &["--header-profile", "X-Login: login"]));
    until("it asks", || first.requests().len() == 1);
    std::thread::sleep(Duration::from_millis(3500));
    keep.signal(Signal::TERM);
    let told = keep.outcome().stderr;
    let count = told.lines().filter(|line| line.starts_with("keyfob: profile \"login\": ")).count();
    assert!(matches!(count, 1..=2), "{told}");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
}
