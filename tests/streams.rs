//! The command where standard streams are closed, files may not grow, and the answer may be meant for curl.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use processes::{Started, issuing, until};
use running::{Place, Run};
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const STOP: &str = "proto = \"-all\"\n";

/// Runs a shell script in which `"$@"` is the command.
fn shell(run: Run, script: &str) -> Command {
    let like = run.command();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(like.get_program()).args(like.get_args());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = like.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

#[test]
fn a_closed_standard_output_is_an_error_and_dev_null_is_none() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let closed = "keyfob: standard output is closed\n";
    let url = server.url("/t");
    let token: &[&str] = &["token", "--url", &url, "--client-id", "c", "--no-cache"];
    let curl = [token, &["--format", "curl"]].concat();
    for (arguments, redirection, code, stderr) in [
        (token, ">&-", 1, closed),
        (token, "<&- >&-", 1, closed),
        (token, "<&- >&- 2>&-", 1, ""),
        (&curl, ">&-", 1, closed),
        (&["help"], ">&-", 1, closed),
        (&["--version"], ">&-", 1, closed),
        (&["parse"], ">&-", 1, closed),
    ] {
        let command = shell(place.keyfob(arguments), &format!("exec \"$@\" {redirection}"));
        Started::command(command).outcome().is(code, "", stderr);
    }
    assert_eq!(server.requests(), [], "nothing is asked for what nobody can be told");
    for redirection in ["> /dev/null", "<> /dev/null 1>&0", "1<> /dev/null", "<&- > /dev/null", "2>&- > /dev/null"] {
        let command = shell(place.keyfob(token), &format!("exec \"$@\" {redirection}"));
        Started::command(command).outcome().is(0, "", "");
    }
}

#[test]
fn keep_needs_no_stream_and_puts_nothing_else_into_its_file() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let run = place.keyfob(["keep", "-v", "--url", &server.url("/t"), "--client-id", "c", "--file", "token"]);
    let mut keep = Started::command(shell(run, "exec \"$@\" <&- >&- 2>&-"));
    let content = || fs::read_to_string(place.path("here/token")).ok();
    until("it is there", || content().as_deref() == Some("tok-1\n"));
    keep.signal(Signal::HUP);
    until("it is there", || content().as_deref() == Some("tok-2\n"));
    keep.signal(Signal::TERM);
    keep.outcome().is(0, "", "");
}

#[test]
fn a_limit_on_the_size_of_files_does_not_kill_it() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    let run = place.keyfob(["token", "--url", &server.url("/t"), "--client-id", "c"]);
    // The cache is done without.
    Started::command(shell(run, "ulimit -f 0; exec \"$@\"")).outcome().prints("tok-1");
    // Before a refresh token is used up there is room for the next one, or nothing is sent.
    let server = Server::answering(json(200, r#"{"access_token":"a","refresh_token":"rt-2","expires_in":60}"#));
    place.file("here/rt", "rt-1\n");
    let run =
        place.keyfob(["token", "--url", &server.url("/t"), "--grant", "refresh_token", "--refresh-token-file", "rt"]);
    let outcome = Started::command(shell(run, "ulimit -f 0; exec \"$@\"")).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("file too large"), "{outcome:?}");
    assert_eq!(server.requests(), []);
    assert_eq!(fs::read_to_string(place.path("here/rt")).unwrap(), "rt-1\n");
}

#[test]
fn a_limit_on_memory_loses_no_refresh_token() {
    let place = Place::new();
    place.file("here/rt", "rt-0\n");
    let issued = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| {
        let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
        let rest = "x".repeat(900_000);
        let body = format!(r#"{{"access_token":"t","refresh_token":"rt-{n}","expires_in":60,"x":"{rest}"}}"#);
        let _ = stream.write_all(&json(200, &body));
    });
    let url = server.url("/t");
    let run = |limit: usize| {
        let run =
            place.keyfob(["token", "--fresh", "--url", &url, "--grant", "refresh_token", "--refresh-token-file", "rt"]);
        let outcome = Started::command(shell(run, &format!("ulimit -v {limit}; exec \"$@\""))).outcome();
        let content = fs::read_to_string(place.path("here/rt")).unwrap();
        assert_eq!(content, format!("rt-{}\n", server.requests().len()), "{limit} KiB: {outcome:?}");
        outcome
    };
    // The least that it needs, in KiB.
    let (mut few, mut enough) = (1_usize << 12, 1_usize << 22);
    while enough - few > 64 {
        let middle = few.midpoint(enough);
        match run(middle).code {
            Some(0) => enough = middle,
            _ => few = middle,
        }
    }
    // With a little less it fails before anything is sent. With much less the system cannot start it.
    let expected = "keyfob: memory: not enough for the server's answer\n\
                    hint: the server may replace the refresh token with each use, so nothing is sent unless the answer can be \
                    read: raise the limit (`ulimit -v`)\n";
    for limit in (enough - 6 * 1024..enough - 64).step_by(64) {
        let outcome = run(limit);
        if limit > enough - 2 * 1024 {
            outcome.is(2, "", expected);
        }
    }
}

#[test]
fn an_error_before_the_format_is_known_stops_curl() {
    let place = Place::new();
    let file = |name: &str, text: &str| place.file(&format!("here/{name}"), text);
    file("curl.json", r#"{"url":"https://as.example/t","format":"curl"}"#);
    file("unknown-member.json", r#"{"url":"https://as.example/t","bogus":1,"format":"curl"}"#);
    file("broken-curl.json", r#"{"url":"https://as.example/t","format":"curl""#);
    file("broken.json", r#"{"url":"https://as.example/t""#);
    file("like-curl.json", r#"{"url":"https://as.example/t","format":"Curl"}"#);
    file("token.json", r#"{"url":"https://as.example/t","client_id":"curl"}"#);
    file("json.json", r#"{"url":"https://as.example/t","format":"json"}"#);
    fs::create_dir(place.path("here/directory.json")).unwrap();
    for (arguments, stdout) in [
        (&["./curl.json", "--wrong"][..], STOP),
        (&["./curl.json", "--wrong", "x"], STOP),
        (&["--wrong", "./curl.json"], STOP),
        (&["./curl.json", "--timeout", "x"], STOP),
        (&["./curl.json", "--url", "a", "--url", "b"], STOP),
        (&["-x", "./curl.json"], STOP),
        (&["./curl.json", "./token.json"], STOP),
        (&["./unknown-member.json"], STOP),
        (&["./broken-curl.json"], STOP),
        (&["./like-curl.json"], STOP),
        (&["./directory.json"], STOP),
        (&["./missing.json"], STOP),
        (&["missing"], STOP),
        (&["--format", "crul"], STOP),
        (&["--format"], STOP),
        (&["--format=curl", "--wrong"], STOP),
        // What is not for curl is left alone.
        (&["./broken.json"], ""),
        (&["./token.json", "--wrong"], ""),
        (&["./token.json", "--wrong", "x"], ""),
        (&["./json.json", "--wrong"], ""),
        (&["./curl.json", "--format", "token", "--wrong"], ""),
        (&["./missing.json", "--format", "header"], ""),
        (&["--client-secret-file", "./missing", "--wrong"], ""),
        (&["--wrong", "value"], ""),
        (&["--format", "xml"], ""),
        (&[], ""),
    ] {
        let outcome = place.keyfob([&["token", "--no-cache"], arguments].concat()).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), stdout), "{arguments:?}: {outcome:?}");
    }
    // Nor is it known where the verb is wrong or forgotten, or the format is no text.
    for (words, stdout) in [
        (&["tokn", "./curl.json"][..], STOP),
        (&["tokn", "--format", "curl"], STOP),
        (&["./curl.json"], STOP),
        (&["tokn", "./token.json"], ""),
        (&["tokn"], ""),
        (&["parse", "./curl.json"], ""),
    ] {
        let outcome = place.keyfob(words).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), stdout), "{words:?}: {outcome:?}");
    }
    let script = r#"exec "$@" --format "$(printf 'curl\377')""#;
    let outcome = Started::command(shell(place.keyfob(["token", "./token.json"]), script)).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), STOP), "{outcome:?}");
    // Only a token is handed to curl.
    for verb in ["revoke", "keep"] {
        let outcome = place.keyfob([verb, "missing"]).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{verb}");
    }
}
