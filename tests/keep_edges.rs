//! `keyfob keep` where what it writes to hangs, where others have prepared its directory, and where the system refuses.

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

use common::{Server, answer, json};
use keeping::{content, holds, keep, token};
use processes::{Started, can, issuing, until};
use running::Place;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Issues tok-1 for so long, and answers everything later with an error.
fn once(seconds: u64) -> Server {
    let asked = AtomicUsize::new(0);
    Server::with(move |_, stream| {
        let answer = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => token("tok-1", seconds),
            _ => json(500, "{}"),
        };
        let _ = stream.write_all(&answer);
    })
}

/// The user that a process of root's is run as where it must have no privileges, and another one.
const USER: u32 = 4343;
const STRANGER: u32 = 4242;

/// The same command, as another user.
fn as_user(user: u32, like: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    command.arg(like.get_program()).args(like.get_args());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = like.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

fn can_be_another_user(test: &str, place: &Place) -> bool {
    let like = place.keyfob(["--version"]).command();
    can(test, "it needs root, and a build directory that others can enter", &mut as_user(USER, &like))
}

fn own(path: &str, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
}

fn mode(path: &str, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

// What it writes to.

/// A pipe that is full and that nobody reads: its writing end, and the process that has the other one.
fn full_pipe() -> (OwnedFd, Silent) {
    let mut reader = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = OwnedFd::from(reader.stdin.take().unwrap());
    fill(&pipe);
    (pipe, Silent(reader))
}

fn fill(pipe: &OwnedFd) {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    for size in [512, 1] {
        while rustix::io::write(pipe, &vec![b'x'; size]).is_ok() {}
    }
    rustix::io::ioctl_fionbio(pipe, false).unwrap();
}

/// A process that is there and does nothing, or whose output nobody reads.
struct Silent(Child);

impl Silent {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Whether it ends within 3 s.
    fn ends(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The token leaves the file in time, and SIGTERM ends the process, whatever its standard error is.
fn is_held_up_by_nothing(name: &str, place: &Place, mut command: Command, stderr: impl Into<Stdio>) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let mut keep = Silent(child);
    holds(place, "tok-1\n");
    let start = Instant::now();
    until(name, || content(place).is_none());
    assert!(start.elapsed() < Duration::from_secs(3), "{name}: the token was in the file for too long");
    keep.signal(Signal::TERM);
    assert_eq!(keep.ends(), Some(0), "{name}: it ends at SIGTERM");
}

#[test]
fn nothing_that_it_writes_to_holds_up_the_removal_or_the_end() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (place, server, (pipe, _reader)) = (Place::new(), once(3), full_pipe());
            is_held_up_by_nothing("a full pipe", &place, keep(&place, &server.url("/t"), &["-v"]).command(), pipe);
        });
        scope.spawn(|| {
            let (place, server) = (Place::new(), once(3));
            let (unread, socket) = UnixStream::pair().unwrap();
            let socket = OwnedFd::from(socket);
            fill(&socket);
            is_held_up_by_nothing("a full socket", &place, keep(&place, &server.url("/t"), &["-v"]).command(), socket);
            drop(unread);
        });
        scope.spawn(|| {
            let (place, server) = (Place::new(), once(3));
            let reader = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
            let mut reader = Silent(reader);
            let pipe = OwnedFd::from(reader.0.stdin.take().unwrap());
            let run = keep(&place, &server.url("/t"), &["--on-renew", "seq 100000"]);
            let run = run.variable("PATH", std::env::var("PATH").unwrap());
            is_held_up_by_nothing("a hook that fills the pipe", &place, run.command(), pipe);
        });
        scope.spawn(|| {
            let (place, server) = (Place::new(), once(3));
            let listener = UnixDatagram::bind(place.path("notify")).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            sender.set_nonblocking(true).unwrap();
            while sender.send_to(b"X=1", place.path("notify")).is_ok() {}
            let run = keep(&place, &server.url("/t"), &[]).variable("NOTIFY_SOCKET", place.path("notify"));
            is_held_up_by_nothing("a notify socket that is full", &place, run.command(), Stdio::null());
            drop(listener);
        });
        scope.spawn(|| {
            let (place, server, (pipe, _reader)) = (Place::new(), once(3), full_pipe());
            if can_be_another_user("a full pipe of another user's", &place) {
                own(&place.path("here"), USER);
                own(&place.path("here/secret"), USER);
                let run = keep(&place, &server.url("/t"), &["--no-cache", "-v"]);
                is_held_up_by_nothing("a full pipe of another user's", &place, as_user(USER, &run.command()), pipe);
            }
        });
    });
}

#[test]
fn lines_that_nobody_read_are_counted() {
    let (place, server) = (Place::new(), Server::answering(json(500, "{}")));
    let (unread, socket) = UnixStream::pair().unwrap();
    let socket = OwnedFd::from(socket);
    fill(&socket);
    let mut command = keep(&place, &server.url("/t"), &["-v", "--no-cache"]).command();
    let keep = Silent(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(socket).spawn().unwrap());
    // Each failure is two lines.
    until("it asks twice", || server.requests().len() >= 2);
    let mut unread = unread;
    unread.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let mut text = String::new();
    // The report may come as soon as there is room.
    while let Some(count) = unread.read(&mut bytes).ok().filter(|count| *count > 0) {
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    keep.signal(Signal::HUP);
    until("it says so", || {
        let count = unread.read(&mut bytes).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        text.contains("lines before this one were dropped, because nobody read standard error\n")
    });
}

#[test]
fn ready_is_said_when_the_socket_has_room_again() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let listener = UnixDatagram::bind(place.path("notify")).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"X=1", place.path("notify")).is_ok() {}
    let _keep = Started::new(keep(&place, &server.url("/t"), &[]).variable("NOTIFY_SOCKET", place.path("notify")));
    holds(&place, "tok-1\n");
    listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = [0; 1024];
    loop {
        let count = listener.recv(&mut bytes).expect("it says so within 10 s");
        match &bytes[..count] {
            b"X=1" => {}
            b"READY=1" => break,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
}

// What is in its directory.

/// Every name in the current directory, with what is behind it.
fn listing(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.path("here"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.path().symlink_metadata().unwrap();
            let text = if metadata.is_file() { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
            format!("{} {:o} {} {text:?}", entry.file_name().display_lossy(), metadata.mode(), metadata.uid())
        })
        .collect();
    names.sort();
    names
}

trait DisplayLossy {
    fn display_lossy(&self) -> String;
}

impl DisplayLossy for std::ffi::OsString {
    fn display_lossy(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

const HINT: &str = "hint: remove it, or keep the token in another directory";

#[test]
fn a_name_beside_the_file_that_keyfob_did_not_make_is_left_alone() {
    let server = issuing(3600, Duration::ZERO);
    type Prepare = fn(&Place);
    let prepare: [(&str, &str, Prepare); 7] = [
        ("a link", "is not a regular file", |place| symlink("other", place.path("here/.token.keyfob")).unwrap()),
        ("a dangling link", "is not a regular file", |place| {
            symlink("missing", place.path("here/.token.keyfob")).unwrap();
        }),
        ("a pipe", "is not a regular file", |place| {
            let made = Command::new("mkfifo").arg(place.path("here/.token.keyfob")).status();
            assert!(made.unwrap().success());
        }),
        ("a directory", "is not a regular file", |place| fs::create_dir(place.path("here/.token.keyfob")).unwrap()),
        ("a hard link", "was not made by keyfob", |place| {
            fs::hard_link(place.path("here/other"), place.path("here/.token.keyfob")).unwrap();
        }),
        ("a text", "was not made by keyfob", |place| place.file("here/.token.keyfob", "a shopping list\n")),
        ("more than one of its own texts", "was not made by keyfob", |place| {
            place.file("here/.token.keyfob", "1 2 3\n4 5 6\nnote\n");
        }),
    ];
    for (name, what, prepare) in prepare {
        let place = Place::new();
        place.file("here/other", "precious");
        place.file("here/token", "mine");
        prepare(&place);
        let before = listing(&place);
        let start = Instant::now();
        Started::new(keep(&place, &server.url("/t"), &[]))
            .outcome()
            .fails(2, &format!("keyfob: token file token: .token.keyfob {what}\n{HINT}"));
        assert!(start.elapsed() < Duration::from_secs(2), "{name}");
        assert_eq!(listing(&place), before, "{name}");
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn an_empty_file_of_that_name_does_not_make_the_users_own_file_the_tokens() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    place.file("here/.token.keyfob", "");
    place.file("here/token", "mine");
    let mut keep = Started::new(keep(&place, &server.url("/t"), &[]));
    holds(&place, "tok-1\n");
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "keyfob: token was there already; it is token.old now\n");
    assert_eq!(fs::read_to_string(place.path("here/token.old")).unwrap(), "mine");
}

#[test]
fn what_the_user_wrote_over_a_killed_keeps_token_is_moved_aside() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let url = server.url("/t");
    for text in ["tok-1\n", "tok-2\n"] {
        let killed = Started::new(keep(&place, &url, &["--no-cache"]));
        holds(&place, text);
        assert!(killed.kill());
    }
    assert!(!fs::exists(place.path("here/token.old")).unwrap(), "its own token is removed");
    place.file("here/token", "mine");
    let mut keep = Started::new(keep(&place, &url, &["--no-cache"]));
    holds(&place, "tok-3\n");
    assert_eq!(fs::read_to_string(place.path("here/token.old")).unwrap(), "mine");
    keep.signal(Signal::TERM);
    assert_eq!(keep.outcome().code, Some(0));
}

#[test]
fn a_draft_that_is_anothers_is_left_alone() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    place.file("here/other", "precious");
    symlink("other", place.path("here/.token.new")).unwrap();
    Started::new(keep(&place, &server.url("/t"), &[]))
        .outcome()
        .fails(2, "keyfob: token file token: .token.new is there, and was not made by keyfob");
    assert_eq!(fs::read_to_string(place.path("here/other")).unwrap(), "precious");
    assert!(fs::symlink_metadata(place.path("here/.token.new")).unwrap().is_symlink());
}

#[test]
fn what_another_user_has_prepared_is_an_error_and_nothing_is_touched() {
    if !can_be_another_user("what_another_user_has_prepared", &Place::new()) {
        return;
    }
    let server = issuing(3600, Duration::ZERO);
    let claim = |what| format!("keyfob: token file token: .token.keyfob {what}\n{HINT}\n");
    let (kind, owner) = (claim("is not a regular file"), claim("is another user's"));
    let token = "keyfob: token file token: it is there, and is another user's\n".to_owned();
    for directory in [0o777, 0o1777] {
        for (script, message) in [
            ("ln -s other .token.keyfob", &kind),
            ("ln -s made .token.keyfob", &kind),
            ("mkfifo -m 666 .token.keyfob", &kind),
            ("touch .token.keyfob", &owner),
            ("touch .token.keyfob; (flock -x 9; sleep 20) 9<.token.keyfob >&- 2>&- & sleep 0.1", &owner),
            ("rm -f token; echo theirs > token", &token),
        ] {
            let place = Place::new();
            let here = place.path("here");
            mode(&here, directory);
            place.file("here/other", "precious");
            own(&place.path("here/other"), USER);
            if message != &token {
                place.file("here/token", "mine");
                own(&place.path("here/token"), USER);
            }
            let mut stranger = Command::new("sh");
            stranger.args(["-c", &format!("umask 0; {script}")]).current_dir(&here);
            assert!(as_user(STRANGER, &stranger).status().unwrap().success(), "{script}");
            let before = listing(&place);
            let like = keep(&place, &server.url("/t"), &["--no-cache"]).command();
            Started::command(as_user(USER, &like)).outcome().is(2, "", message);
            assert_eq!(listing(&place), before, "{script}");
        }
    }
    assert_eq!(server.requests(), []);
}

// What the system refuses.

#[test]
fn a_token_that_cannot_be_removed_is_emptied_tried_again_and_reported() {
    let place = Place::new();
    if !can_be_another_user("a_token_that_cannot_be_removed", &place) {
        return;
    }
    let here = place.path("here");
    own(&here, USER);
    let message = "keyfob: token file token: it cannot be removed: permission denied; it is empty now\n";
    for is_opened_again in [true, false] {
        let server = once(3);
        let like = keep(&place, &server.url("/t"), &["--no-cache"]).command();
        let mut keep = Started::command(as_user(USER, &like));
        holds(&place, "tok-1\n");
        mode(&here, 0o555);
        let start = Instant::now();
        until("it is empty", || content(&place).as_deref() == Some(""));
        assert!(start.elapsed() < Duration::from_secs(3));
        if is_opened_again {
            mode(&here, 0o755);
            until("it is gone", || content(&place).is_none());
        }
        keep.signal(Signal::TERM);
        let outcome = keep.outcome();
        assert_eq!(outcome.code, Some(if is_opened_again { 0 } else { 1 }), "{outcome:?}");
        assert!(outcome.stderr.contains(message), "{outcome:?}");
        assert!(is_opened_again || outcome.stderr.ends_with(message), "{outcome:?}");
        mode(&here, 0o755);
    }
    // The next one knows whose it was.
    let server = issuing(3600, Duration::ZERO);
    let like = keep(&place, &server.url("/t"), &["--no-cache"]).command();
    let mut keep = Started::command(as_user(USER, &like));
    holds(&place, "tok-1\n");
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "");
    assert!(!fs::exists(place.path("here/token.old")).unwrap());
}

#[test]
fn a_second_name_of_the_file_keeps_no_token() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &["--no-cache"]));
    holds(&place, "tok-1\n");
    fs::hard_link(place.path("here/token"), place.path("here/linked")).unwrap();
    keep.signal(Signal::HUP);
    holds(&place, "tok-2\n");
    assert_eq!(fs::read_to_string(place.path("here/linked")).unwrap(), "");
    fs::rename(place.path("here/token"), place.path("here/renamed")).unwrap();
    place.file("here/token", "somebody else's");
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "");
    assert_eq!(fs::read_to_string(place.path("here/renamed")).unwrap(), "");
    assert_eq!(content(&place).as_deref(), Some("somebody else's"));
}

#[test]
fn a_token_that_was_taken_out_for_its_age_stays_out() {
    let (place, server) = (Place::new(), once(4));
    place.file("here/hook", "#!/bin/sh\necho >> ran\n");
    mode(&place.path("here/hook"), 0o755);
    let run = keep(&place, &server.url("/t"), &["--on-renew", "./hook"]);
    let mut keep = Started::new(run.variable("PATH", std::env::var("PATH").unwrap()));
    holds(&place, "tok-1\n");
    until("it is gone", || content(&place).is_none());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(content(&place), None, "after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    assert_eq!(fs::read_to_string(place.path("here/ran")).unwrap(), "\n", "{outcome:?}");
    assert!(!outcome.stderr.contains("valid\n"), "{outcome:?}");
}

/// Some servers hand out one value for ever, with a new life.
#[test]
fn the_same_token_with_a_longer_life_comes_back() {
    let (place, server) = (Place::new(), Server::answering(token("tok-1", 2)));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &["--no-cache"]));
    holds(&place, "tok-1\n");
    let start = Instant::now();
    let mut with = 0;
    while start.elapsed() < Duration::from_secs(3) {
        with += u32::from(content(&place).is_some());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(with > 150, "in the file at {with} of 300 looks");
    keep.signal(Signal::TERM);
    assert_eq!(keep.outcome().code, Some(0));
}

#[test]
fn a_thread_that_cannot_be_started_is_tried_again_and_the_token_stays() {
    let place = Place::new();
    let limit = |id: u32, limit: &str| {
        let mut prlimit = Command::new("prlimit");
        as_user(USER, prlimit.arg(format!("--pid={id}")).arg(format!("--nproc={limit}:")))
    };
    if !can_be_another_user("a_thread_that_cannot_be_started", &place)
        || !can("a_thread_that_cannot_be_started", "prlimit sets the limit", Command::new("prlimit").arg("--version"))
    {
        return;
    }
    own(&place.path("here"), USER);
    let server = issuing(3600, Duration::ZERO);
    let run = keep(&place, &server.url("/t"), &["--no-cache", "--on-renew", "true"]);
    let run = run.variable("PATH", std::env::var("PATH").unwrap());
    let mut keep = Started::command(as_user(USER, &run.command()));
    holds(&place, "tok-1\n");
    assert!(limit(keep.id(), "1").status().unwrap().success());
    keep.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(keep.is_running());
    assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
    assert!(limit(keep.id(), "1000").status().unwrap().success());
    holds(&place, "tok-2\n");
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    assert_eq!(outcome.code, Some(0));
    let message = "keyfob: cannot start a thread: operation would block\nhint: next attempt in 1 s\n";
    assert!(outcome.stderr.contains(message), "{outcome:?}");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_another() {
    let (place, asked) = (Place::new(), AtomicUsize::new(0));
    let server = Server::with(move |_, stream| {
        let size = if asked.fetch_add(1, Ordering::SeqCst) == 0 { 100 } else { 3000 };
        let _ = stream.write_all(&token(&"t".repeat(size), 3));
    });
    let like = keep(&place, &server.url("/t"), &["--no-cache"]).command();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 4; exec \"$@\"", "sh"]).arg(like.get_program()).args(like.get_args());
    limited.current_dir(place.path("here"));
    let mut keep = Started::command(limited);
    until("it is there", || content(&place).is_some_and(|text| text.len() == 101));
    let start = Instant::now();
    until("it is gone", || content(&place).is_none());
    assert!(start.elapsed() < Duration::from_secs(3));
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stderr.starts_with("keyfob: token file token: file too large\n"), "{outcome:?}");
}

// What other processes do.

#[test]
fn a_token_that_another_process_revokes_or_replaces_leaves_the_file() {
    let (place, issued) = (Place::new(), AtomicUsize::new(0));
    let server = Server::with(move |seen, stream| {
        let reply = match seen.method.as_str() {
            "DELETE" => answer(204, &[], ""),
            _ => token(&format!("tok-{}", issued.fetch_add(1, Ordering::SeqCst) + 1), 3600),
        };
        let _ = stream.write_all(&reply);
    });
    let profile = format!(r#"{{"url":"{}","client_id":"c","revoke":"delete"}}"#, server.url("/t"));
    place.file("here/p.json", profile);
    let mut keep = Started::new(place.keyfob(["keep", "./p.json", "--file", "token"]));
    holds(&place, "tok-1\n");
    let within = |what: &str, text: &str| {
        let start = Instant::now();
        until(what, || content(&place).as_deref() == Some(text));
        assert!(start.elapsed() < Duration::from_secs(5), "{what} took {:?}", start.elapsed());
    };
    place.keyfob(["revoke", "./p.json"]).outcome().prints("revoked");
    within("the next one", "tok-2\n");
    place.keyfob(["token", "./p.json", "--fresh"]).outcome().prints("tok-3");
    within("the other's", "tok-3\n");
    keep.signal(Signal::TERM);
    let message = "keyfob: another process has revoked the token, and there is no new one yet\n";
    keep.outcome().is(0, "", message);
    assert_eq!(server.requests().len(), 4, "nothing is asked twice");
}

#[test]
fn sighup_asks_nothing_while_the_server_wants_to_be_left_alone() {
    let (place, asked) = (Place::new(), AtomicUsize::new(0));
    let server = Server::with(move |_, stream| {
        let reply = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => token("tok-1", 3600),
            _ => answer(429, &["Retry-After: 3600"], ""),
        };
        let _ = stream.write_all(&reply);
    });
    let listener = UnixDatagram::bind(place.path("notify")).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let run = keep(&place, &server.url("/t"), &["--no-cache"]).variable("NOTIFY_SOCKET", place.path("notify"));
    let mut keep = Started::new(run);
    let ready = || {
        let mut bytes = [0; 1024];
        while listener.recv(&mut bytes).map(|count| bytes[..count] != *b"READY=1").unwrap() {}
    };
    ready();
    for _ in 0..5 {
        keep.signal(Signal::HUP);
        ready();
    }
    assert_eq!(content(&place).as_deref(), Some("tok-1\n"));
    keep.signal(Signal::TERM);
    let outcome = keep.outcome();
    assert_eq!(server.requests().len(), 2, "{outcome:?}");
    let message = "keyfob: not renewed: the server asked to wait\nhint: next attempt in ";
    assert!(outcome.stderr.contains(message), "{outcome:?}");
}

// What it tells, and to whom.

#[test]
fn what_is_started_does_not_inherit_a_secrets_variable() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    place.file("here/hook", "#!/bin/sh\nenv > environment.part\nmv environment.part environment\n");
    mode(&place.path("here/hook"), 0o755);
    let options = ["--client-secret-env", "KEYFOB_TEST_SECRET", "--on-renew", "./hook"];
    let run = keep(&place, &server.url("/t"), &options).variable("KEYFOB_TEST_SECRET", running::SENTINEL);
    let run = run.variable("PATH", std::env::var("PATH").unwrap()).variable("OTHER", "value");
    let _keep = Started::new(run);
    until("it runs", || fs::exists(place.path("here/environment")).unwrap());
    let environment = fs::read_to_string(place.path("here/environment")).unwrap();
    assert!(environment.contains("OTHER=value"));
    assert!(!environment.contains("KEYFOB_TEST_SECRET"), "{environment}");
}

#[test]
fn verbose_logs_each_renewal() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let mut keep = Started::new(keep(&place, &server.url("/t"), &["-v", "--no-cache"]));
    for number in 1..=3 {
        holds(&place, &format!("tok-{number}\n"));
        keep.signal(if number < 3 { Signal::HUP } else { Signal::TERM });
    }
    let outcome = keep.outcome();
    let renewal = [
        format!("keyfob: asking {} for a token (client_credentials)", server.address()),
        format!("keyfob: {}: status 200 after N ms; the token lives 3599 s", server.address()),
        "keyfob: the new token is in the file; cache: none".to_owned(),
        "keyfob: the next renewal is in N s".to_owned(),
    ];
    let without_number = |line: &str| {
        let words = line.split(' ').collect::<Vec<_>>();
        let is_time =
            |index: usize| ["ms;", "s"].contains(words.get(index + 1).unwrap_or(&"")) && words[index - 1] != "lives";
        let words = (0..words.len()).map(|index| if is_time(index) { "N" } else { words[index] });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = outcome.stderr.lines().map(without_number).collect();
    assert_eq!((outcome.code, lines), (Some(0), [&renewal[..], &renewal, &renewal].concat()));
}

#[test]
fn systemd_gives_more_time_while_there_is_no_token_yet() {
    let place = Place::new();
    let listener = UnixDatagram::bind(place.path("notify")).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut bytes = [0; 1024];
        let count = listener.recv(&mut bytes).expect("it is told within 20 s");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    // A server that takes its time.
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let run = keep(&place, &server.url("/t"), &[]).variable("NOTIFY_SOCKET", place.path("notify"));
    let mut stalled = Started::new(run);
    assert_eq!(next(), "EXTEND_TIMEOUT_USEC=60000000");
    stalled.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    stalled.outcome().is(0, "", "");
    // And a first fetch that is put off.
    let day = Duration::from_secs(86400);
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"];
    let id = id.iter().filter_map(|file| fs::read(file).ok()).find(|id| !id.trim_ascii().is_empty()).unwrap();
    let until = keyfob::Spread::from_seed(id.trim_ascii()).of(day);
    if until <= keyfob::Clock::now(&keyfob::BootClock) + Duration::from_secs(5) {
        println!("skipped: this machine's share of a day has passed");
        return;
    }
    let run = keep(&place, &server.url("/t"), &["--splay", "86400"]);
    let mut put_off = Started::new(run.variable("NOTIFY_SOCKET", place.path("notify")));
    let seconds = until.as_secs();
    assert_eq!(next(), format!("STATUS=the first fetch is delayed until {seconds} s after boot (--splay)"));
    assert_eq!(next(), "EXTEND_TIMEOUT_USEC=60000000");
    put_off.signal(Signal::TERM);
    put_off.outcome().is(0, "", "");
}

#[test]
fn a_secret_that_is_read_for_ever_holds_up_neither_the_removal_nor_the_end() {
    for grant in ["client_credentials", "refresh_token"] {
        let (place, server) = (Place::new(), once(3));
        let pipe = |name: &str| {
            let _ = fs::remove_file(place.path(name));
            assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
        };
        place.file("here/rt", "rt-1");
        let secrets = ["--client-secret-file", "./secret", "--refresh-token-file", "rt"];
        let secrets = if grant == "refresh_token" { &secrets[..] } else { &secrets[..2] };
        let options = [&["--grant", grant], secrets].concat();
        let mut keep = Started::new(keep(&place, &server.url("/t"), &options));
        holds(&place, "tok-1\n");
        pipe("here/secret");
        // The store is looked at as well, for something else has come into it.
        place.file("cache/other", "");
        let start = Instant::now();
        until("it is gone", || content(&place).is_none());
        assert!(start.elapsed() < Duration::from_secs(3), "{grant}");
        let stat = fs::read_to_string(format!("/proc/{}/stat", keep.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let used = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        assert!(used < 50, "it spins: {used} hundredths of a second");
        // A refresh may be under way: then the second one ends it.
        keep.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(keep.is_running(), grant == "refresh_token");
        if keep.is_running() {
            keep.signal(Signal::TERM);
        }
        let outcome = keep.outcome();
        assert_eq!(outcome.code, Some(if grant == "refresh_token" { 143 } else { 0 }), "{outcome:?}");
        assert_eq!(content(&place), None);
    }
}

#[test]
fn a_signal_ends_it_while_a_secret_is_waited_for() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let made = Command::new("mkfifo").arg(place.path("here/pipe")).status();
    assert!(made.unwrap().success());
    let run = keep(&place, &server.url("/t"), &["--client-secret-file", "./pipe"]);
    let mut keep = Started::new(run);
    until("it has its claim", || fs::exists(place.path("here/.token.keyfob")).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    keep.signal(Signal::TERM);
    let start = Instant::now();
    while keep.is_running() {
        assert!(start.elapsed() < Duration::from_secs(2), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
