//! `keyfob exec`: a program with a token, and every way in which either of them can end.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, answer, json};
use processes::{MOUNTS, Started, can, can_unshare, issuing, script, until};
use running::{Place, Refusing, Run, SENTINEL};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn exec(place: &Place, url: &str, options: &[&str], program: &[&str]) -> Run {
    let run = place.keyfob([&["exec", "--url", url, "--client-id", "c"], options, &["--"], program].concat());
    run.variable("PATH", PATH)
}

fn sh(place: &Place, url: &str, options: &[&str], text: &str) -> Run {
    exec(place, url, options, &["sh", "-c", text])
}

/// The files of tokens that are there.
fn left(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("keyfob-exec-")).collect()
}

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).unwrap_or_default()
}

fn state(process: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Starts a program that writes its number into `here/id` and then does this.
fn start(place: &Place, url: &str, options: &[&str], then: &str) -> (Started, u32) {
    let _ = fs::remove_file(place.path("here/id"));
    let started = Started::new(sh(place, url, options, &format!("echo $$ >id; {then}")).in_own_group());
    until("the program runs", || text(place, "here/id").ends_with('\n'));
    (started, text(place, "here/id").trim().parse().unwrap())
}

// How the program ends.

#[test]
fn each_way_the_program_can_end_is_how_keyfob_ends() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    let codes: Vec<(String, Result<i32, i32>)> =
        [0, 1, 2, 3, 42, 126, 127, 128, 130, 143, 255].iter().map(|code| (format!("exit {code}"), Ok(*code))).collect();
    let names = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("SYS", 31),
    ];
    let signals = names.iter().map(|(name, number)| (format!("kill -{name} $$; sleep 9"), Err(*number)));
    let others = [
        // One that outlives it keeps neither keyfob nor the file.
        ("sleep 20 >/dev/null 2>&1 & exit 5".to_owned(), Ok(5)),
        ("(sleep 20 >/dev/null 2>&1 &) ; kill -TERM $$; sleep 9".to_owned(), Err(15)),
        ("exec sh -c 'exit 6'".to_owned(), Ok(6)),
        ("exec >&- 2>&- <&-; exit 8".to_owned(), Ok(8)),
        ("rm $KEYFOB_TOKEN_FILE; exit 9".to_owned(), Ok(9)),
        ("echo more >${KEYFOB_TOKEN_FILE%/*}/more; exit 10".to_owned(), Ok(10)),
        ("rm -r ${KEYFOB_TOKEN_FILE%/*}; exit 11".to_owned(), Ok(11)),
    ];
    for (line, end) in codes.into_iter().chain(signals).chain(others) {
        for options in [&[][..], &["--env", "T"], &["--env", "T", "--at-end", "stop"]] {
            let line = if options.is_empty() { line.clone() } else { format!("KEYFOB_TOKEN_FILE=none/x; {line}") };
            if !options.is_empty() && line.contains("{") {
                continue;
            }
            let mut command = sh(&place, &url, options, &line).command();
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.code().ok_or(status.signal().unwrap_or(0)), end, "{options:?} {line}");
            assert_eq!(left(&place), [""; 0], "{line}");
        }
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_program_that_cannot_be_started_has_the_code_of_a_shell() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    place.file("here/plain", "exit 0");
    for (program, code, why) in [
        ("nosuch", 127, "there is no such program"),
        ("./nosuch", 127, "there is no such program"),
        ("./plain", 126, "permission denied"),
        (".", 126, "permission denied"),
        ("plain/x", 126, "not a directory"),
    ] {
        for options in [&[][..], &["--env", "T"], &["--env", "T", "--at-end", "stop"], &["--stdin"]] {
            let outcome = exec(&place, &server.url("/t"), options, &[program]).outcome();
            outcome.fails(code, &format!("keyfob: exec: {program}: {why}"));
            assert_eq!(left(&place), [""; 0]);
        }
    }
}

#[test]
fn without_a_token_the_program_is_not_started() {
    let place = Place::new();
    let refused = Server::answering(json(401, r#"{"error":"invalid_client"}"#));
    let unusable = Server::answering(answer(200, &[], "<html>"));
    let wait = Server::answering(answer(429, &["retry-after: 9"], ""));
    let once = Server::answering(json(200, r#"{"access_token":"t","expires_in":0}"#));
    let gone = Refusing::new();
    for (url, options, code) in [
        (refused.url("/t"), &[][..], 3),
        (format!("http://{}/t", gone.address()), &[], 4),
        (unusable.url("/t"), &[], 5),
        (wait.url("/t"), &[], 6),
        (once.url("/t"), &[], 5),
        (once.url("/t"), &["--client-secret-file", "nosuch"], 2),
    ] {
        for format in ["token", "curl", "json"] {
            let options = [options, &["--format", format]].concat();
            let outcome = sh(&place, &url, &options, "touch started").outcome();
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{url} {outcome:?}");
            assert!(outcome.stderr.starts_with(if format == "json" { "{\"error\":" } else { "keyfob: " }));
        }
        assert!(!fs::exists(place.path("here/started")).unwrap());
        assert_eq!(left(&place), [""; 0]);
    }
}

#[test]
fn usage() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    for (options, message) in [
        (&["--env", ""][..], "--env: this cannot be the name of a variable"),
        (&["--env", "A=B"], "--env: this cannot be the name of a variable"),
        (&["--env", "A", "--stdin"], "exec: --env, --fd and --stdin exclude each other"),
        (&["--fd", "3", "--stdin"], "exec: --env, --fd and --stdin exclude each other"),
        (&["--fd", "2"], "--fd: must be 3 or more"),
        (&["--fd", "4294967297"], "--fd: must be 3 or more"),
        (&["--at-end", "signal"], "--at-end: must be keep, stop or 'signal NAME', as 'signal HUP'"),
        (&["--at-end", "signal NONE"], "--at-end: must be keep, stop or 'signal NAME', as 'signal HUP'"),
    ] {
        sh(&place, &server.url("/t"), options, "touch started").outcome().fails(2, &format!("keyfob: {message}"));
    }
    let hint = "hint: `keyfob help` lists the commands and options";
    for (words, message) in [
        (&["exec", "p"][..], "exec: no program to run; put it after --"),
        (&["exec", "p", "--"], "exec: no program to run; put it after --"),
        (&["exec", "p", "sh", "--", "sh"], "exec: unexpected argument; the program comes after --"),
    ] {
        let outcome = place.keyfob(words).outcome();
        outcome.fails(2, &format!("keyfob: usage: {message}\n{hint}"));
    }
    assert_eq!(server.requests(), []);
}

// What the program gets.

#[test]
fn the_token_is_where_it_was_asked_for_and_in_no_argument_list() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    for (options, line, output) in [
        (&[][..], "cat $KEYFOB_TOKEN_FILE; stat -c %a $KEYFOB_TOKEN_FILE ${KEYFOB_TOKEN_FILE%/*}", "tok-1\n600\n700\n"),
        (&["--format", "header"], "cat $KEYFOB_TOKEN_FILE", "Authorization: Bearer tok-1\n"),
        (&["--env", "T"], "echo $T-$KEYFOB_TOKEN_FILE", "tok-1-\n"),
        (&["--env", "T", "--at-end", "signal HUP"], "echo $T", "tok-1\n"),
        (&["--stdin"], "cat; cat", "tok-1\n"),
        (&["--stdin", "--format", "curl"], "cat", "header = \"Authorization: Bearer tok-1\"\n"),
        (&["--fd", "3"], "cat <&3; cat <&3", "tok-1\n"),
        (&["--fd", "9", "--at-end", "stop"], "cat /dev/fd/9", "tok-1\n"),
        (&[], "tr '\\0' '\\n' </proc/$PPID/cmdline | grep -c tok-[0-9]", "0\n"),
        // The environment is the program's, but for the secrets that keyfob was given.
        (&["--client-secret-env", "S"], "echo $S-$OTHER", "-other\n"),
    ] {
        let run = sh(&place, &server.url("/t"), options, line).variable("S", SENTINEL).variable("OTHER", "other");
        let outcome = run.outcome();
        assert_eq!(
            (outcome.stdout.replace("tok-2", "tok-1").as_str(), outcome.stderr.as_str()),
            (output, ""),
            "{options:?}"
        );
        assert_eq!(left(&place), [""; 0]);
    }
    // A pipe takes a token that is longer than usual.
    let long = Server::answering(json(200, &format!(r#"{{"access_token":"{}","expires_in":9}}"#, "x".repeat(200_000))));
    sh(&place, &long.url("/t"), &["--stdin"], "wc -c").outcome().prints("200001");
}

#[test]
fn the_program_is_as_if_started_directly() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    // Descriptors, the limit on core dumps, ignored signals (without those that glibc keeps for itself), and the group.
    let line = r#"ls -l /proc/self/fd >fds; sed 's/.* \([0-9]* ->\)/\1/;/proc/d' fds; ulimit -c; sed -n 's/^Sig[IB].*\(.......\)$/\1/p' /proc/self/status; cut -d' ' -f5 /proc/$$/stat"#;
    let wrap = |command: &Command| {
        let mut outer = Command::new("sh");
        let prepare = r#"ulimit -Sc unlimited 2>/dev/null; trap "" HUP USR2; exec 7</dev/null; exec "$0" "$@""#;
        outer.args(["-c", prepare]).arg(command.get_program()).args(command.get_args());
        outer.current_dir(place.path("here")).env_clear().env("PATH", PATH).stdin(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut outer, 0);
        outer
    };
    let run = |command: &mut Command| {
        let mut child = command.stdout(fs::File::create(place.path("here/out")).unwrap()).spawn().unwrap();
        let id = child.id().to_string();
        assert!(child.wait().unwrap().success());
        text(&place, "here/out").replace(&id, "GROUP")
    };
    let mut direct = Command::new("sh");
    let expected = run(&mut wrap(direct.args(["-c", line])));
    for options in [&[][..], &["--env", "T"], &["--env", "T", "--at-end", "stop"]] {
        let command = sh(&place, &server.url("/t"), options, line).command();
        assert_eq!(run(&mut wrap(&command)), expected, "{options:?}");
    }
    // Where nothing is left to do, there is one process.
    let mut child = sh(&place, &server.url("/t"), &["--env", "T"], "echo $$ >id").command().spawn().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(text(&place, "here/id").trim(), child.id().to_string());
}

// Signals.

#[test]
fn a_signal_to_keyfob_reaches_the_program_once() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    for (name, number) in [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("ALRM", Signal::ALARM),
        ("WINCH", Signal::WINCH),
        ("CONT", Signal::CONT),
    ] {
        for options in [&[][..], &["--env", "T", "--at-end", "stop"]] {
            let _ = ["here/got", "here/set"].map(|name| fs::remove_file(place.path(name)));
            let then = format!(
                "trap 'echo {name} >>got' {name}; echo >set; until [ -e got ]; do sleep 0.01; done; sleep 0.1; exit 7"
            );
            let (mut started, _) = start(&place, &server.url("/t"), options, &then);
            until("the trap is set", || !text(&place, "here/set").is_empty());
            started.signal(number);
            started.outcome().is(7, "", "");
            assert_eq!(text(&place, "here/got"), format!("{name}\n"));
            assert_eq!(left(&place), [""; 0]);
        }
    }
    // With a grant that is good for one use, keyfob itself would end at a second one, but only while it fetches.
    place.file("here/refresh", "rt");
    let _ = ["here/got", "here/set"].map(|name| fs::remove_file(place.path(name)));
    let then =
        "trap 'echo TERM >>got' TERM; echo >set; until [ $(wc -l <got) = 2 ]; do sleep 0.01; done 2>/dev/null; exit 7";
    let grant = ["--grant", "refresh_token", "--refresh-token-file", "refresh"];
    let (mut started, _) = start(&place, &server.url("/t"), &grant, then);
    until("the trap is set", || !text(&place, "here/set").is_empty());
    for count in 1..=2 {
        started.signal(Signal::TERM);
        until("it has come", || text(&place, "here/got").lines().count() == count);
    }
    started.outcome().is(7, "", "");
    // Without a trap it ends the program, and so keyfob.
    let (mut started, _) = start(&place, &server.url("/t"), &[], "exec sleep 30");
    started.signal(Signal::TERM);
    assert_eq!(started.outcome().code, None);
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn keyfob_stops_and_continues_with_the_program() {
    for (options, to_program, number) in [
        (&[][..], true, Signal::STOP),
        (&[], false, Signal::TSTP),
        (&["--env", "T", "--at-end", "stop"], true, Signal::TTIN),
        (&["--env", "T", "--at-end", "stop"], false, Signal::TSTP),
    ] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let then = "until [ -e go ]; do sleep 0.01; done; cat ${KEYFOB_TOKEN_FILE:-/dev/null}; exit 7";
        let (mut started, program) = start(&place, &server.url("/t"), options, then);
        let keyfob = started.id();
        signal(if to_program { program } else { keyfob }, number);
        until("keyfob is stopped", || state(keyfob) == 'T');
        assert_eq!(state(program), 'T');
        // It could expire meanwhile.
        assert!(left(&place).iter().all(|name| !fs::exists(place.path(&format!("cache/{name}/token"))).unwrap()));
        started.signal(Signal::CONT);
        until("both go on", || state(keyfob) != 'T' && state(program) != 'T');
        place.file("here/go", "");
        started.outcome().is(7, if options.is_empty() { "tok-1\n" } else { "" }, "");
        assert_eq!(left(&place), [""; 0]);
    }
}

#[test]
fn a_terminal_is_the_programs_own() {
    if !can("exec", "it needs util-linux' script", Command::new("script").arg("--version")) {
        return;
    }
    // Ctrl-C, and a terminal that goes away: the program gets the signal once.
    for (typed, name) in [(Some("\x03"), "INT"), (None, "HUP")] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        place.file(
            "here/program",
            format!("trap 'echo {name} >>got' {name}; tty >id; until [ -e got ]; do sleep 0.01; done; sleep 0.2; echo end >>got"),
        );
        let run = exec(&place, &server.url("/t"), &[], &["sh", "program"]).command();
        let words: Vec<&str> =
            [run.get_program()].into_iter().chain(run.get_args()).map(|word| word.to_str().unwrap()).collect();
        let mut command = Command::new("script");
        command.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(place.path("here"));
        command.env_clear().env("PATH", PATH).env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        until("the program runs", || text(&place, "here/id").starts_with("/dev/"));
        let mut stdin = child.stdin.take().unwrap();
        match typed {
            Some(keys) => std::io::Write::write_all(&mut stdin, keys.as_bytes()).unwrap(),
            None => child.kill().unwrap(),
        }
        until("the program has ended", || text(&place, "here/got").ends_with("end\n"));
        assert_eq!(text(&place, "here/got"), format!("{name}\nend\n"));
        until("the token is gone", || left(&place).is_empty());
        drop(stdin);
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn kill_9_of_keyfob_leaves_what_the_next_start_removes() {
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    let (killed, program) = start(&place, &url, &[], "exec sleep 30");
    let (mut other, _) = start(&place, &url, &[], "until [ -e go ]; do sleep 0.01; done; cat $KEYFOB_TOKEN_FILE");
    assert_eq!(left(&place).len(), 2);
    assert!(killed.kill());
    assert_eq!(left(&place).len(), 2, "nobody was there to remove it");
    assert!(matches!(state(program), 'S' | 'R'), "the program goes on");
    sh(&place, &url, &[], "ls -d ${KEYFOB_TOKEN_FILE%/*/*}/keyfob-exec-* | wc -l").outcome().prints("2");
    // That of the other run stays.
    assert_eq!(left(&place).len(), 1);
    assert!(other.is_running());
    place.file("here/go", "");
    other.outcome().is(0, "tok-1\n", "");
    signal(program, Signal::KILL);
    assert_eq!(left(&place), [""; 0]);
}

// The token.

#[test]
fn the_token_is_renewed_and_leaves_before_it_expires() {
    let place = Place::new();
    let is_up = Arc::new(AtomicBool::new(true));
    let (up, count) = (is_up.clone(), std::sync::atomic::AtomicUsize::new(0));
    let server = Server::with(move |_, stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let token = format!(r#"{{"access_token":"tok-{number}","expires_in":3}}"#);
        let _ = stream.write_all(&if up.load(Ordering::SeqCst) { json(200, &token) } else { json(500, "{}") });
    });
    let then = "trap 'echo over >>got' USR1; until [ -e go ]; do cat $KEYFOB_TOKEN_FILE >>seen || echo none >>seen; sleep 0.05; done 2>/dev/null; exit 7";
    let (started, _) = start(&place, &server.url("/t"), &["--at-end", "signal USR1"], then);
    until("two renewals", || text(&place, "here/seen").contains("tok-3"));
    let seen = text(&place, "here/seen");
    assert!(!seen.contains("none"), "the file was missing: {seen}");
    is_up.store(false, Ordering::SeqCst);
    until("it is gone", || text(&place, "here/seen").ends_with("none\n"));
    until("the program is told", || !text(&place, "here/got").is_empty());
    is_up.store(true, Ordering::SeqCst);
    until("it is back", || !text(&place, "here/seen").ends_with("none\n"));
    place.file("here/go", "");
    let outcome = started.outcome();
    assert_eq!(outcome.code, Some(7));
    assert!(outcome.stderr.contains("keyfob: the token has expired, and there is no new one yet\n"), "{outcome:?}");
    assert_eq!(text(&place, "here/got"), "over\n");
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn at_the_end_of_a_token_the_program_is_stopped_or_told_or_left_alone() {
    for (at_end, line, code) in [
        ("keep", "sleep 2.5; exit 7", Some(7)),
        ("signal USR1", "trap 'exit 8' USR1; while :; do sleep 0.05; done", Some(8)),
        ("stop", "exec sleep 30", None),
        ("stop", "trap 'exit 9' TERM; kill -STOP $$; while :; do sleep 0.05; done", Some(9)),
    ] {
        let place = Place::new();
        let server = issuing(2, Duration::ZERO);
        let mut started = Started::new(sh(&place, &server.url("/t"), &["--env", "T", "--at-end", at_end], line));
        if line.contains("STOP") {
            let keyfob = started.id();
            until("keyfob is stopped", || state(keyfob) == 'T');
            std::thread::sleep(Duration::from_secs(2));
            started.signal(Signal::CONT);
        }
        assert_eq!(started.outcome().code, code, "{at_end}: {line}");
    }
}

// Where the file is.

#[test]
fn a_service_has_the_file_in_its_own_directory() {
    if !can_unshare("exec", MOUNTS) {
        return;
    }
    // As systemd makes it; as others could change it; and on a disk.
    for (mount, is_there) in [
        ("mount -t tmpfs -o mode=755 tmpfs own", true),
        ("mount -t tmpfs -o mode=775 tmpfs own", false),
        ("mount -t tmpfs -o mode=755,uid=65534 tmpfs own", false),
        (":", false),
    ] {
        let place = Place::new();
        let server = issuing(3600, Duration::ZERO);
        let own = place.path("here/own");
        let run =
            sh(&place, &server.url("/t"), &[], "echo ${KEYFOB_TOKEN_FILE%/*/*}; stat -c %a ${KEYFOB_TOKEN_FILE%/*}");
        let text = format!("mkdir own; {mount}; keyfob \"$@\"; ls own");
        let outcome = Started::command(script(MOUNTS, run.variable("RUNTIME_DIRECTORY", &own), &text)).outcome();
        outcome.is(0, &format!("{}\n700\n", if is_there { own } else { place.path("cache") }), "");
    }
}

// Where there is no room.

#[test]
fn without_room_in_memory_nothing_is_sent_or_started() {
    if !can_unshare("exec", MOUNTS) {
        return;
    }
    let place = Place::new();
    let server = issuing(3600, Duration::ZERO);
    let run = || sh(&place, &server.url("/t"), &[], "touch started");
    // The key of the cache and its token do not fit, nor does the token's file.
    let full =
        "mount -t tmpfs -o size=4k,mode=700 tmpfs ../cache; head -c 4096 /dev/zero >../cache/full || :; keyfob \"$@\"";
    let outcome = Started::command(script(MOUNTS, run(), full)).outcome();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("no space left"), "{outcome:?}");
    let count = server.requests().len();
    let no_memory =
        "mkdir -p ../disk; for place in /run /dev/shm /tmp; do mount --bind ../disk $place; done; keyfob \"$@\"";
    let run = sh(&place, &server.url("/t"), &["--no-cache"], "touch started");
    let outcome = Started::command(script(MOUNTS, run, no_memory)).outcome();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let first = "keyfob: exec: no directory in memory for the token\nhint: hand it over by --env, --fd or --stdin, ";
    assert!(outcome.stderr.starts_with(first), "{outcome:?}");
    assert_eq!(server.requests().len(), count);
    assert!(!fs::exists(place.path("here/started")).unwrap());
}
