//! Many processes of the command that share a store, a refresh token's file, and nothing else.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Seen, Server, json};
use processes::{AHEAD, MOUNTS, Started, at_once, can_unshare, field, issuing, script, until};
use running::{Outcome, Place};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const AT_ONCE: Duration = Duration::ZERO;

fn token(place: &Place, url: &str, options: &[&str]) -> running::Run {
    place.keyfob([&["token", "--url", url, "--client-id", "c"], options].concat())
}

fn run(place: &Place, url: &str, options: &[&str]) -> Outcome {
    token(place, url, options).outcome()
}

/// The names of the files in the cache's directory that begin and end so.
fn cached(place: &Place, start: &str, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap());
    let names = entries.filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with(start) && name.ends_with(end)
    });
    names.map(|entry| entry.path()).collect()
}

/// The one file with a token.
#[track_caller]
fn token_file(place: &Place) -> PathBuf {
    let mut files = cached(place, "keyfob", ".token");
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// How many came out with each of these lines.
fn lines(outcomes: &[Outcome]) -> std::collections::BTreeMap<String, usize> {
    let mut lines = std::collections::BTreeMap::new();
    for outcome in outcomes {
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
        // What is left differs by the time that passes.
        let (start, rest) = outcome.stdout.split_once("\"expires_in\":").unwrap_or((&outcome.stdout, ""));
        let line = format!("{}{}", start.trim_end(), rest.split_once(',').map_or("", |(_, rest)| rest.trim_end()));
        *lines.entry(line).or_insert(0) += 1;
    }
    lines
}

// One asks for all.

#[test]
fn a_hundred_processes_send_one_request_and_one_more_in_another_time_namespace() {
    // Two hours ahead; what others have stored says nothing there.
    let is_ahead = can_unshare("one_more_in_another_time_namespace", AHEAD);
    for (delay, format) in [(0, "token"), (300, "token"), (300, "json")] {
        let place = Place::new();
        let server = issuing(3600, Duration::from_millis(delay));
        let url = server.url("/t");
        let options = ["--format", format];
        let expected = |token: usize, miss: usize, hit: usize| {
            let line = |cache: &str| match format {
                "token" => format!("tok-{token}"),
                _ => {
                    format!(r#"{{"access_token":"tok-{token}","token_type":"Bearer","scope":null,"cache":"{cache}"}}"#)
                }
            };
            let mut lines = std::collections::BTreeMap::new();
            *lines.entry(line("hit")).or_insert(0) += hit;
            *lines.entry(line("miss")).or_insert(0) += miss;
            lines.retain(|_, count| *count > 0);
            lines
        };
        assert_eq!(lines(&at_once(100, || token(&place, &url, &options))), expected(1, 1, 99), "{delay} ms");
        assert_eq!(server.requests().len(), 1, "{delay} ms");
        assert_eq!(lines(&at_once(100, || token(&place, &url, &options))), expected(1, 0, 100), "{delay} ms");
        assert_eq!(server.requests().len(), 1, "{delay} ms");
        if is_ahead {
            let hundred =
                "for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10; do keyfob \"$@\" & done; done; wait";
            let outcome = Started::command(script(AHEAD, token(&place, &url, &options), hundred)).outcome();
            assert_eq!(outcome.stderr, "");
            let each = outcome.stdout.lines().map(|line| Outcome {
                code: outcome.code,
                stdout: format!("{line}\n"),
                stderr: String::new(),
            });
            assert_eq!(lines(&each.collect::<Vec<_>>()), expected(2, 1, 99), "{delay} ms");
            assert_eq!(server.requests().len(), 2, "{delay} ms");
        }
    }
}

#[test]
fn waiting_processes_report_the_failure_of_the_attempt() {
    for (status, body, code, message, later_json) in [
        (
            401,
            r#"{"error":"invalid_client"}"#,
            3,
            "keyfob: the server refused (status 401): invalid_client\n\
             hint: check client id and secret, and the client authentication: some servers want it among the \
             parameters (--auth client_secret_post), or not form-encoded (--basic-raw)\n",
            r#""status":401,"oauth_error":"invalid_client""#,
        ),
        (403, "no", 3, "", r#""status":403,"oauth_error":null"#),
        (500, "", 5, "", r#""status":500,"oauth_error":null"#),
        (503, "", 6, "", r#""status":503,"oauth_error":null"#),
        // The connection is cut.
        (0, "", 4, "", r#""status":null,"oauth_error":null"#),
    ] {
        let place = Place::new();
        place.file("here/other", "another");
        let is_asked = AtomicBool::new(false);
        let server = Server::with(move |_, stream| {
            // Until all of them have come.
            if !is_asked.swap(true, Ordering::SeqCst) {
                std::thread::sleep(Duration::from_secs(1));
            }
            if status > 0 {
                let _ = stream.write_all(&json(status, body));
            }
        });
        let url = server.url("/t");
        let outcomes = at_once(20, || token(&place, &url, &["--client-secret-file", "secret"]));
        for outcome in &outcomes {
            assert_eq!(outcome, &outcomes[0], "{status}");
        }
        assert_eq!((outcomes[0].code, outcomes[0].stdout.as_str()), (Some(code), ""), "{outcomes:?}");
        assert!(message.is_empty() || outcomes[0].stderr == message, "{:?}", outcomes[0].stderr);
        // A failure that may pass is reported once it has happened twice: one of the waiting processes tried again.
        let asked = if matches!(status, 0 | 500) { 2 } else { 1 };
        assert_eq!(server.requests().len(), asked, "{status}");
        // Who comes later is told the same failure, and when to come again.
        let later = run(&place, &url, &["--client-secret-file", "secret"]);
        let (first, _) = outcomes[0].stderr.split_once('\n').unwrap();
        assert_eq!((later.code, later.stdout.as_str()), (Some(code), ""), "{later:?}");
        let told = later.stderr.lines().next().unwrap();
        let seconds = match code {
            6 => {
                assert_eq!(told, first);
                let last = later.stderr.lines().last().unwrap();
                last.strip_prefix("hint: not before ").and_then(|rest| rest.strip_suffix(" s from now"))
            }
            _ => {
                assert!(later.stderr.lines().any(|line| line.starts_with("hint: ") && line.contains("--fresh")));
                let rest = told.strip_prefix(first).and_then(|rest| rest.strip_prefix("; not asked again for "));
                rest.and_then(|rest| rest.strip_suffix(" s"))
            }
        };
        let most = if code == 3 { 10 } else { 2 };
        assert!((1..=most).contains(&seconds.unwrap().parse().unwrap()), "{later:?}");
        let later = run(&place, &url, &["--client-secret-file", "secret", "--format", "json"]);
        assert_eq!(later.code, Some(code), "{later:?}");
        assert!(later.stderr.contains(later_json), "{later:?}");
        assert!(later.stderr.contains(r#""retry_after":"#) && !later.stderr.contains(r#""retry_after":null"#));
        assert_eq!(server.requests().len(), asked, "{status}");
        // Another secret is another request, and who says so asks at once.
        assert_eq!(run(&place, &url, &["--client-secret-file", "other"]).code, Some(code), "{status}");
        assert_eq!(server.requests().len(), asked + 1, "{status}");
        assert_eq!(run(&place, &url, &["--client-secret-file", "secret", "--fresh"]).code, Some(code), "{status}");
        assert_eq!(server.requests().len(), asked + 2, "{status}");
    }
}

/// One lost answer must not fail all of them: a process alone would get a token at its second try.
#[test]
fn one_lost_answer_does_not_fail_all_who_wait_for_it() {
    let place = Place::new();
    let is_asked = AtomicBool::new(false);
    let server = Server::with(move |_, stream| {
        if is_asked.swap(true, Ordering::SeqCst) {
            let _ = stream.write_all(&json(200, r#"{"access_token":"tok","expires_in":3600}"#));
        } else {
            // Until all of them have come; then the connection is cut.
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let url = server.url("/t");
    let outcomes = at_once(20, || token(&place, &url, &["--client-secret-file", "secret"]));
    let tokens = outcomes.iter().filter(|outcome| outcome.stdout == "tok\n").count();
    assert_eq!(tokens, 19, "the one that sent the request reports what became of it: {outcomes:?}");
    assert_eq!(server.requests().len(), 2);
}

/// Answers every request but the first, which it leaves waiting.
fn stalling_first() -> Server {
    let requests = AtomicUsize::new(0);
    Server::with(move |_, stream| {
        match requests.fetch_add(1, Ordering::SeqCst) {
            0 => std::thread::sleep(Duration::from_secs(30)),
            number => {
                let _ =
                    stream.write_all(&json(200, &format!(r#"{{"access_token":"tok-{number}","expires_in":3600}}"#)));
            }
        };
    })
}

#[test]
fn a_process_that_is_killed_while_it_asks_blocks_nobody() {
    let place = Place::new();
    let server = stalling_first();
    let url = server.url("/t");
    let holder = Started::new(token(&place, &url, &[]));
    until("it asks", || server.requests().len() == 1);
    let waiting: Vec<Started> = (0..3).map(|_| Started::new(token(&place, &url, &[]))).collect();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    assert!(holder.kill(), "it was still asking");
    run(&place, &url, &[]).prints("tok-1");
    for process in waiting {
        process.outcome().prints("tok-1");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(server.requests().len(), 2);
}

/// A refresh token that is on its way is used up: the first signal leaves the time to store the new one.
#[test]
fn a_refresh_is_ended_by_the_second_signal_and_not_by_the_first() {
    let answer = r#"{"access_token":"tok-2","refresh_token":"rt-2","expires_in":60}"#;
    let server = Server::with(move |_, stream| {
        std::thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(&json(200, answer));
    });
    for (count, code, stdout, stored) in [(1, 0, "tok-2\n", "rt-2"), (2, 143, "", "rt-1")] {
        let place = Place::new();
        place.file("here/rt", "rt-1");
        let options = ["--grant", "refresh_token", "--refresh-token-file", "rt"];
        let before = server.requests().len();
        let mut process = Started::new(token(&place, &server.url("/t"), &options));
        until("it asks", || server.requests().len() > before);
        for _ in 0..count {
            process.signal(Signal::TERM);
            // Two of one kind that come together are one.
            std::thread::sleep(Duration::from_millis(50));
        }
        process.outcome().is(code, stdout, "");
        assert_eq!(fs::read_to_string(place.path("here/rt")).unwrap(), stored);
    }
}

#[test]
fn a_process_that_waits_for_a_stuck_one_sends_its_own_request_if_that_does_no_harm() {
    let place = Place::new();
    let server = stalling_first();
    let url = server.url("/t");
    let _holder = Started::new(token(&place, &url, &[]));
    until("it asks", || server.requests().len() == 1);
    let start = Instant::now();
    for outcome in at_once(20, || token(&place, &url, &["--timeout", "4"])) {
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    }
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(3500), "{waited:?}");
    // Its token is there for all who come later, though the stuck one still waits.
    let requests = server.requests().len();
    let outcome = run(&place, &url, &["--format", "json"]);
    assert!(outcome.stdout.contains(r#""cache":"hit""#), "{outcome:?}");
    assert_eq!(server.requests().len(), requests);
    // Not all of them have asked.
    assert!(requests < 12, "{requests}");
}

#[test]
fn if_a_second_request_may_do_harm_processes_wait_for_the_whole_time_limit() {
    let place = Place::new();
    place.file("here/rt", "rt-1\n");
    let by_file = ["--grant", "refresh_token", "--refresh-token-file", "rt", "--no-cache"];
    let by_variable = ["--grant", "refresh_token", "--refresh-token-env", "RT"];
    for options in [&by_file[..], &by_variable] {
        let server = stalling_first();
        let url = server.url("/t");
        let asked = |more: &[&str]| token(&place, &url, &[options, more].concat()).variable("RT", "rt-1");
        let _holder = Started::new(asked(&[]));
        until("it asks", || server.requests().len() == 1);
        let start = Instant::now();
        // Many, so that a machine that is busy with them does not wait longer for it.
        for outcome in at_once(50, || asked(&["--timeout", "2"])) {
            let host = server.address();
            outcome.fails(4, &format!("keyfob: another process has been asking {host} for 2 s and has not finished"));
        }
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(3500), "{waited:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_wait_reduces_the_time_limit_of_the_request() {
    let place = Place::new();
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let url = server.url("/t");
    let holder = Started::new(token(&place, &url, &[]));
    until("it asks", || server.requests().len() == 1);
    let start = Instant::now();
    let waiting = Started::new(token(&place, &url, &["--timeout", "3"]));
    std::thread::sleep(Duration::from_millis(1000));
    assert!(holder.kill(), "it was still asking");
    assert_eq!(waiting.outcome().code, Some(4));
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(2900) && waited < Duration::from_secs(4), "{waited:?}");
    assert_eq!(server.requests().len(), 2);
}

// Whose token it is.

#[test]
fn no_process_gets_the_token_of_another_request() {
    let place = Place::new();
    for (name, text) in [("one", "one"), ("two", "two"), ("line", "one\n")] {
        place.file(&format!("here/{name}"), text);
    }
    let issued = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| {
        let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = format!(
            r#"{{"access_token":"tok-{number}","a":"a-{number}","b":"b-{number}","expires_in":3600,"data":{{"token":"d-{number}"}}}}"#
        );
        let _ = stream.write_all(&json(200, &answer));
    });
    let paths = ["/t", "/u", "/t?tenant=a", "/t?tenant=b", "/t?"].map(|path| server.url(path));
    let session = ["--dialect", "bearer-session", "--session-token-file"];
    let password = ["--grant", "password", "--username", "u", "--password-file"];
    let basic = ["--client-id", "c", "--client-secret-file"];
    let assertion = ["--grant", "urn:example:grant", "--param-file"];
    let requests: Vec<(&str, Vec<&str>)> = vec![
        (&paths[0], vec!["--client-id", "c"]),
        (&paths[0], vec!["--client-id", "d"]),
        (&paths[1], vec!["--client-id", "c"]),
        (&paths[2], vec!["--client-id", "c"]),
        (&paths[3], vec!["--client-id", "c"]),
        (&paths[0], vec!["--client-id", "c", "--scope", "a"]),
        (&paths[0], vec!["--client-id", "c", "--scope", "b"]),
        (&paths[0], vec!["--client-id", "c", "--scope", "a", "--scope", "b"]),
        (&paths[0], vec!["--client-id", "c", "--param", "audience=a"]),
        (&paths[0], vec!["--client-id", "c", "--param", "audience=b"]),
        (&paths[0], vec!["--client-id", "c", "--param", "resource=a"]),
        (&paths[0], vec!["--client-id", "c", "--param-file", "audience=one"]),
        (&paths[0], vec!["--client-id", "c", "--param-file", "audience=two"]),
        (&paths[0], vec!["--client-id", "c", "--header", "X-Tenant: a"]),
        (&paths[0], vec!["--client-id", "c", "--header", "X-Tenant: b"]),
        (&paths[0], vec!["--client-id", "c", "--header-file", "X-Tenant: one"]),
        (&paths[0], vec!["--client-id", "c", "--header-file", "X-Tenant: two"]),
        (&paths[0], vec!["--client-id", "c", "--header-file", "X-Other: one"]),
        (&paths[0], vec!["--client-id", "c", "--field", "a"]),
        (&paths[0], vec!["--client-id", "c", "--field", "b"]),
        (&paths[0], vec!["--client-id", "c", "--field", "data.token"]),
        (&paths[0], vec!["--client-id", "c", "--lifetime", "60"]),
        (&paths[0], vec!["--client-id", "c", "--params", "json"]),
        (&paths[0], vec!["--client-id", "c", "--method", "GET"]),
        (&paths[0], [&basic[..], &["one"]].concat()),
        (&paths[0], [&basic[..], &["two"]].concat()),
        (&paths[0], [&basic[..], &["one", "--auth", "client_secret_post"]].concat()),
        (&paths[0], [&basic[..], &["one", "--basic-raw"]].concat()),
        (&paths[0], [&session[..], &["one"]].concat()),
        (&paths[0], [&session[..], &["two"]].concat()),
        (&paths[0], [&password[..], &["one"]].concat()),
        (&paths[0], [&password[..], &["two"]].concat()),
        (&paths[0], ["--grant", "password", "--username", "v", "--password-file", "one"].to_vec()),
        (&paths[0], [&assertion[..], &["assertion=one"]].concat()),
        (&paths[0], [&assertion[..], &["assertion=two"]].concat()),
        (&paths[0], [&assertion[..], &["other=one"]].concat()),
    ];
    let ask = |(url, options): &(&str, Vec<&str>), more: &[&str]| {
        let outcome = place.keyfob([&["token", "--url", url], &options[..], more].concat()).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{url} {options:?}");
        outcome.stdout.trim_end().to_owned()
    };
    let number = |token: &str| token.rsplit('-').next().unwrap().parse::<usize>().unwrap();
    let tokens: Vec<String> = requests.iter().map(|request| ask(request, &[])).collect();
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(number(token), index + 1, "{:?} was given another's", requests[index]);
    }
    // How it comes out, for how long it must live and how long may be waited for it is none of the request.
    for more in [&[][..], &["--min-valid", "30"], &["--timeout", "5"]] {
        for (request, token) in requests.iter().zip(&tokens) {
            assert_eq!(ask(request, more), *token, "{request:?}");
        }
    }
    // The same secret in another file, with a line end or by the environment, is the same secret.
    for same in [["--client-secret-file", "line"], ["--client-secret-env", "SECRET"]] {
        let run = place.keyfob([&["token", "--url", &paths[0], "--client-id", "c"], &same[..]].concat());
        run.variable("SECRET", "one").outcome().prints(&tokens[24]);
    }
    assert_eq!(server.requests().len(), requests.len());
    // What was asked is in the files; nothing that was secret is, and no hash that all machines would make alike.
    for file in cached(&place, "keyfob", ".token") {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("tenant") || text.contains("X-Tenant"), "the query: {text}");
        assert!(!text.contains(r#""one""#) && !text.contains("=one"), "{text}");
    }
}

// A file that is not what it should be.

/// A name, and what it does to a file.
type Way = (&'static str, Box<dyn Fn(&Place, &PathBuf)>);

/// Spoils a cache with a token in it in each of these ways; the next process must ask, and be given the new token.
#[track_caller]
fn is_a_miss(what: &str, file: fn(&Place) -> PathBuf, ways: &[Way]) {
    let place = Place::new();
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    run(&place, &url, &[]).prints("tok-1");
    let kept: Vec<(PathBuf, Vec<u8>)> =
        cached(&place, "keyfob", "").into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    for (way, spoil) in ways {
        for left in cached(&place, "", "") {
            let _ = fs::remove_dir(&left);
            let _ = fs::remove_file(&left);
        }
        for (file, bytes) in &kept {
            fs::write(file, bytes).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        run(&place, &url, &[]).prints("tok-1");
        let before = server.requests().len();
        spoil(&place, &file(&place));
        run(&place, &url, &[]).prints(&format!("tok-{}", before + 1));
        assert_eq!(server.requests().len(), before + 1, "{what}: {way}");
    }
}

/// Its content, cut at each byte, each byte another one, and more.
fn contents(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let cut = (0..bytes.len()).map(|at| (format!("cut at {at}"), bytes[..at].to_vec()));
    let changed = (0..bytes.len()).map(|at| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        (format!("byte {at} changed"), changed)
    });
    let more = [
        ("longer".to_owned(), [bytes, b"\n"].concat()),
        ("twice".to_owned(), [bytes, bytes].concat()),
        ("zeros".to_owned(), vec![0; bytes.len()]),
        ("too long".to_owned(), vec![b'a'; 9 * 1024 * 1024]),
    ];
    cut.chain(changed).chain(more).collect()
}

fn the_token_file(place: &Place) -> PathBuf {
    token_file(place)
}

fn the_key(place: &Place) -> PathBuf {
    PathBuf::from(place.path("cache/keyfob-key"))
}

#[test]
fn a_file_with_one_byte_wrong_is_a_miss() {
    for (what, file) in [("token", the_token_file as fn(&Place) -> PathBuf), ("key", the_key)] {
        let place = Place::new();
        let server = issuing(3600, AT_ONCE);
        let url = server.url("/t");
        run(&place, &url, &[]).prints("tok-1");
        let (token, key) = (token_file(&place), the_key(&place));
        let kept = [&token, &key].map(|file| (file, fs::read(file).unwrap()));
        let path = file(&place);
        let all = contents(&fs::read(&path).unwrap());
        println!("{what}: {} contents", all.len());
        for (way, content) in all {
            // Files that another key made are of no use here, and would be swept away sooner or later.
            cached(&place, "", "").iter().for_each(|left| fs::remove_file(left).unwrap());
            for (file, bytes) in &kept {
                fs::write(file, bytes).unwrap();
                fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
            }
            fs::write(&path, content).unwrap();
            let before = server.requests().len();
            run(&place, &url, &[]).prints(&format!("tok-{}", before + 1));
            assert_eq!(server.requests().len(), before + 1, "{what}: {way}");
            // And it is mended: to see that now and then is enough.
            if before % 16 != 0 {
                continue;
            }
            run(&place, &url, &[]).prints(&format!("tok-{}", before + 1));
        }
    }
}

#[test]
fn a_file_of_another_request_or_with_another_key_is_a_miss() {
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    let (place, foreign) = (Place::new(), Place::new());
    run(&place, &url, &[]).prints("tok-1");
    let own = token_file(&place);
    // The same request, with the key of another directory.
    run(&foreign, &url, &[]).prints("tok-2");
    fs::copy(token_file(&foreign), &own).unwrap();
    run(&place, &url, &[]).prints("tok-3");
    // Another request, with the same key.
    run(&place, &url, &["--scope", "other"]).prints("tok-4");
    let other = cached(&place, "keyfob", ".token").into_iter().find(|file| *file != own).unwrap();
    fs::copy(&other, &own).unwrap();
    run(&place, &url, &[]).prints("tok-5");
    // Both at once: a whole cache of another's, under the own name.
    fs::copy(the_key(&foreign), the_key(&place)).unwrap();
    fs::copy(token_file(&foreign), &own).unwrap();
    run(&place, &url, &[]).prints("tok-6");
    // A key of another boot, which is what a reboot leaves where the directory is on a disk.
    run(&place, &url, &[]).prints("tok-6");
    let key = fs::read_to_string(the_key(&place)).unwrap();
    let (boot, digits) = key.split_once('\n').unwrap();
    fs::write(the_key(&place), format!("{}\n{digits}", boot.replace(['0', '1', '2', '3'], "4"))).unwrap();
    run(&place, &url, &[]).prints("tok-7");
    let new_key = fs::read_to_string(the_key(&place)).unwrap();
    assert!(new_key.starts_with(&format!("{boot}\n")) && !new_key.ends_with(digits), "a new one for this boot");
    // Put back, it shows that the old one's file is gone, or is of no use.
    run(&place, &url, &[]).prints("tok-7");
}

#[test]
fn a_file_that_is_open_to_others_or_not_a_file_is_a_miss_and_a_links_target_stays() {
    let chown_to_nobody = |path: &PathBuf| std::os::unix::fs::chown(path, Some(65534), None).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let ways = || -> Vec<Way> {
        let mode = |name, mode: u32| -> Way {
            (name, Box::new(move |_, path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap()))
        };
        let mut ways: Vec<Way> = vec![
            mode("mode 0644", 0o644),
            mode("mode 0620", 0o620),
            mode("mode 0601", 0o601),
            ("missing", Box::new(|_, path| fs::remove_file(path).unwrap())),
            (
                "directory",
                Box::new(|_, path| {
                    fs::remove_file(path).unwrap();
                    fs::create_dir(path).unwrap();
                }),
            ),
            (
                "pipe",
                Box::new(|_, path| {
                    fs::remove_file(path).unwrap();
                    let mode = rustix::fs::Mode::from_raw_mode(0o600);
                    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                }),
            ),
            // To a file that would be right.
            (
                "link",
                Box::new(|place, path| {
                    let victim = place.path("here/victim");
                    fs::copy(path, &victim).unwrap();
                    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
                    fs::remove_file(path).unwrap();
                    symlink(&victim, path).unwrap();
                }),
            ),
            (
                "dangling link",
                Box::new(|place, path| {
                    fs::remove_file(path).unwrap();
                    symlink(place.path("here/nothing"), path).unwrap();
                }),
            ),
        ];
        if is_root {
            ways.push(("of nobody", Box::new(move |_, path| chown_to_nobody(path))));
        }
        ways
    };
    is_a_miss("token", the_token_file, &ways());
    is_a_miss("key", the_key, &ways());

    let place = Place::new();
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    run(&place, &url, &[]).prints("tok-1");
    let kept = [the_token_file(&place), the_key(&place)].map(|file| (fs::read(&file).unwrap(), file));
    for spoilt in 0..2 {
        for (bytes, file) in &kept {
            let _ = fs::remove_file(file);
            fs::write(file, bytes).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        let victim = place.path("here/victim");
        fs::write(&victim, &kept[spoilt].0).unwrap();
        fs::remove_file(&kept[spoilt].1).unwrap();
        symlink(&victim, &kept[spoilt].1).unwrap();
        for options in [&[][..], &["--fresh"], &["--scope", "other"]] {
            assert_eq!(run(&place, &url, options).code, Some(0));
        }
        assert_eq!(fs::read(&victim).unwrap(), kept[spoilt].0, "what the link leads to");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644);
    }
    assert!(!fs::exists(place.path("here/nothing")).unwrap());
}

// Where the cache is.

#[test]
fn the_cache_is_in_the_first_directory_that_is_private_and_in_memory() {
    if !can_unshare("the_cache_is_in_the_first_directory", MOUNTS) {
        return;
    }
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    // /proc stands for a file system that is not in memory; each case then mounts what it is about. /mnt has what the
    // variables name, for a mount may hide the build directory.
    const SETUP: &str = "
        exec 2>&1
        own=keyfob-$(id -u)
        memory() { mount -t tmpfs memory $1; }
        hide() { mount -t proc proc $1; }
        memory /mnt
        mkdir -m 700 disk /mnt/disk /mnt/a /mnt/b /mnt/nobody; mkdir -m 755 /mnt/open; ln -s a /mnt/link
        mount --bind disk /mnt/disk
        chown 65534 /mnt/nobody
        hide /run; hide /dev/shm; hide /tmp
        if ! [ /var/run -ef /run ]; then hide /var/run; fi";
    const ASK: &str = "
        for i in 1 2; do keyfob \"$@\" -v --format json; done";
    const NONE: &str = "/run/OWN: not in memory; /var/run/OWN: not in memory; /dev/shm/OWN: not in memory; \
                        /tmp/OWN: not in memory";
    let open_to_others = "not this user's, or open to others";
    for (case, expected) in [
        ("".to_owned(), Err(NONE.to_owned())),
        ("export RUNTIME_DIRECTORY=/mnt/a".to_owned(), Ok("/mnt/a")),
        ("export RUNTIME_DIRECTORY=/mnt/a XDG_RUNTIME_DIR=/mnt/b".to_owned(), Ok("/mnt/a")),
        ("export RUNTIME_DIRECTORY=/mnt/open:/mnt/b".to_owned(), Ok("/mnt/b")),
        ("export RUNTIME_DIRECTORY=/mnt/missing XDG_RUNTIME_DIR=/mnt/b".to_owned(), Ok("/mnt/b")),
        ("export RUNTIME_DIRECTORY=mnt/a XDG_RUNTIME_DIR=/mnt/b".to_owned(), Ok("/mnt/b")),
        ("export RUNTIME_DIRECTORY=/mnt/nobody XDG_RUNTIME_DIR=/mnt/b".to_owned(), Ok("/mnt/b")),
        ("export RUNTIME_DIRECTORY= XDG_RUNTIME_DIR=/mnt/b".to_owned(), Ok("/mnt/b")),
        // What a variable names may be a link: whoever sets the variable sets the link.
        ("export XDG_RUNTIME_DIR=/mnt/link".to_owned(), Ok("/mnt/link")),
        ("export XDG_RUNTIME_DIR=/mnt/disk".to_owned(), Err(format!("/mnt/disk: not in memory; {NONE}"))),
        ("export XDG_RUNTIME_DIR=/mnt/open".to_owned(), Err(format!("/mnt/open: {open_to_others}; {NONE}"))),
        ("export XDG_RUNTIME_DIR=/mnt/missing".to_owned(), Err(format!("/mnt/missing: there is no such file; {NONE}"))),
        ("memory /run".to_owned(), Ok("/run/OWN")),
        ("memory /run; export RUNTIME_DIRECTORY=/mnt/open".to_owned(), Ok("/run/OWN")),
        ("memory /dev/shm".to_owned(), Ok("/dev/shm/OWN")),
        ("memory /tmp".to_owned(), Ok("/tmp/OWN")),
        // Whoever may write there can take a name: the next one is tried, and that is told.
        ("memory /run; mkdir -m 755 /run/$own".to_owned(), Ok("/run/OWN-1")),
        ("memory /run; mkdir -m 700 /run/$own; chown 65534 /run/$own".to_owned(), Ok("/run/OWN-1")),
        ("memory /run; ln -s /mnt/a /run/$own".to_owned(), Ok("/run/OWN-1")),
        ("memory /run; ln -s missing /run/$own".to_owned(), Ok("/run/OWN-1")),
        ("memory /run; touch /run/$own".to_owned(), Ok("/run/OWN-1")),
        ("memory /run; for end in '' -1 -2; do mkfifo /run/$own$end; done".to_owned(), Ok("/run/OWN-3")),
        (
            "memory /run; for end in '' -1 -2 -3; do touch /run/$own$end; chown 65534 /run/$own$end; done; memory /tmp"
                .to_owned(),
            Ok("/tmp/OWN"),
        ),
        ("memory /run; mount -o remount,ro /run; memory /tmp".to_owned(), Ok("/tmp/OWN")),
    ] {
        let place = Place::new();
        let own = format!("keyfob-{}", rustix::process::geteuid().as_raw());
        let filled = |text: &str| text.replace("OWN", &own);
        let run = place.keyfob(["token", "--url", &url, "--client-id", "c", "--cache-dir", "x"]);
        let mut plain =
            script(MOUNTS, run, &format!("{SETUP}\n{case}\nshift 7; set -- token --url '{url}' --client-id c\n{ASK}"));
        plain.env_remove("XDG_RUNTIME_DIR");
        let outcome = Started::command(plain).outcome();
        let (first, caches) = match &expected {
            Ok(path) => (format!("keyfob: the cache is in {}", filled(path)), ["miss", "hit"]),
            Err(why) => (format!("keyfob: no directory for the cache: {}", filled(why)), ["none", "none"]),
        };
        let is_request = |line: &&str| line.contains(" for a token (") || line.contains(": status 200 after ");
        let (notes, lines): (Vec<&str>, Vec<&str>) =
            outcome.stdout.lines().filter(|line| !is_request(line)).partition(|line| line.starts_with("keyfob: /run/"));
        let taken = match &case {
            case if case.contains("chown 65534 /run") => "belongs to another user",
            _ => "is not a directory for this user alone (chmod 700)",
        };
        let is_taken = case.contains("/run/$own");
        assert_eq!(notes, vec![format!("keyfob: /run/{own} {taken}"); if is_taken { 2 } else { 0 }], "{case}");
        assert_eq!(lines.len(), 6, "{case}: {outcome:?}");
        for (run, cache) in lines.chunks(3).zip(caches) {
            assert_eq!(run[0], first, "{case}");
            assert_eq!(run[1], format!("keyfob: cache: {cache}"), "{case}");
            assert!(run[2].ends_with(&format!(r#""cache":"{cache}"}}"#)), "{case}: {}", run[2]);
        }
    }
}

#[test]
fn a_directory_named_by_the_user_must_be_private_but_may_be_anywhere() {
    let place = Place::new();
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    for (name, mode) in [("open", 0o755), ("group", 0o750), ("others", 0o701), ("private", 0o700)] {
        fs::create_dir(place.path(name)).unwrap();
        fs::set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
    }
    let open_to_others = "not this user's, or open to others";
    let chmod = |name: &str| format!("\nhint: chmod 700 {}", place.path(name));
    let mut wrong = vec![
        ("open", open_to_others, chmod("open")),
        ("group", open_to_others, chmod("group")),
        ("others", open_to_others, chmod("others")),
        ("missing/too", "there is no such file", String::new()),
        ("here/secret", "not a directory", String::new()),
    ];
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        fs::create_dir(place.path("nobody")).unwrap();
        fs::set_permissions(place.path("nobody"), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(place.path("nobody"), Some(65534), None).unwrap();
        wrong.push(("nobody", open_to_others, chmod("nobody")));
    }
    for (name, why, hint) in wrong {
        let path = place.path(name);
        let message = format!("keyfob: cache directory {path}: {why}{hint}");
        run(&place, &url, &["--cache-dir", &path]).fails(2, &message);
    }
    assert_eq!(server.requests(), [], "nothing was sent");
    for (name, line) in [("private", "tok-1"), ("new", "tok-2"), ("private", "tok-1"), ("new", "tok-2")] {
        run(&place, &url, &["--cache-dir", &place.path(name)]).prints(line);
        assert_eq!(fs::metadata(place.path(name)).unwrap().mode() & 0o777, 0o700);
    }
    // A link that the user names is the user's.
    symlink(place.path("private"), place.path("link")).unwrap();
    run(&place, &url, &["--cache-dir", &place.path("link")]).prints("tok-1");
}

#[test]
fn without_a_boot_id_there_is_no_cache_and_no_error() {
    if !can_unshare("without_a_boot_id", MOUNTS) {
        return;
    }
    let place = Place::new();
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    let why =
        "the cache needs the name of this boot: cannot read /proc/sys/kernel/random/boot_id: there is no such file";
    for (options, stderr) in [("--cache-dir dir", format!("keyfob: {why}\n")), ("", String::new())] {
        let ask = format!(
            "mount -t tmpfs memory /proc/sys/kernel/random; for i in 1 2; do keyfob token --url {url} --client-id c {options}; done"
        );
        let outcome = Started::command(script(MOUNTS, place.keyfob(["token"]), &ask)).outcome();
        let tokens = if options.is_empty() { "tok-3\ntok-4\n" } else { "tok-1\ntok-2\n" };
        assert_eq!((outcome.stdout.as_str(), outcome.stderr), (tokens, stderr.repeat(2)), "{options}");
    }
}

// How long it is believed.

#[test]
fn a_token_without_a_known_expiry_is_never_written() {
    for (lifetime, stderr) in [
        ("", ""),
        (r#","expires_in":null"#, ""),
        (r#","expires_in":"soon""#, ""),
        (
            r#","expires_in":0"#,
            "hint: the server says the token lives 0 s or less; if it means something else, set the lifetime (--lifetime)\n",
        ),
        (
            r#","expires_in":-1"#,
            "hint: the server says the token lives 0 s or less; if it means something else, set the lifetime (--lifetime)\n",
        ),
    ] {
        let place = Place::new();
        let server = Server::answering(json(200, &format!(r#"{{"access_token":"tok-1"{lifetime}}}"#)));
        let url = server.url("/t");
        for count in 1..=3 {
            run(&place, &url, &[]).is(0, "tok-1\n", stderr);
            assert_eq!(server.requests().len(), count, "{lifetime}");
            for file in cached(&place, "", ".token") {
                let text = fs::read_to_string(file).unwrap();
                assert!(text.contains("unshared=") && !text.contains("tok"), "{lifetime}: {text}");
            }
            assert_eq!(cached(&place, "", ".new"), Vec::<PathBuf>::new(), "{lifetime}");
        }
        if lifetime != r#","expires_in":-1"# {
            for _ in 0..2 {
                run(&place, &url, &["--lifetime", "60"]).prints("tok-1");
            }
            assert_eq!(server.requests().len(), 4, "{lifetime}");
        }
        // What does not live long enough is not found good by who comes later.
        assert_eq!(run(&place, &url, &["--lifetime", "60", "--min-valid", "61"]).code, Some(5), "{lifetime}");
    }
}

#[test]
fn an_expired_token_is_not_returned() {
    let place = Place::new();
    let answered = AtomicBool::new(false);
    let server = Server::with(move |_, stream| {
        let _ = stream.write_all(&match answered.swap(true, Ordering::SeqCst) {
            false => json(200, r#"{"access_token":"tok-1","expires_in":2}"#),
            true => json(500, ""),
        });
    });
    let url = server.url("/t");
    run(&place, &url, &[]).prints("tok-1");
    let start = Instant::now();
    let mut hits = 0;
    while start.elapsed() < Duration::from_millis(2100) {
        let asked = start.elapsed();
        let outcome = run(&place, &url, &[]);
        if outcome.code == Some(0) {
            outcome.prints("tok-1");
            assert!(asked < Duration::from_secs(2), "{asked:?}");
            hits += 1;
        }
    }
    assert!(hits > 10, "{hits}");
    let outcome = run(&place, &url, &[]);
    assert!(matches!(outcome.code, Some(5 | 6)) && outcome.stdout.is_empty(), "{outcome:?}");
}

// revoke

#[test]
fn revoke_forgets_the_token_and_then_revokes_it_at_the_server() {
    let place = Place::new();
    let cache = PathBuf::from(place.path("cache"));
    let (issued, seen) = (AtomicUsize::new(0), Arc::new(Mutex::new(Vec::new())));
    let at_delete = seen.clone();
    let server = Server::with(move |request: &Seen, stream| {
        let answer = match &*request.method {
            "DELETE" => {
                let names =
                    fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
                let count = names.filter(|name| name.ends_with(".token")).count();
                at_delete.lock().unwrap().push((request.header("authorization").unwrap().to_owned(), count));
                json(204, "")
            }
            _ => {
                let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                json(200, &format!(r#"{{"access_token":"tok-{number}","expires_in":3600}}"#))
            }
        };
        let _ = stream.write_all(&answer);
    });
    let url = server.url("/s");
    place.file("here/other", "another");
    let options = |file: &'static str| ["--dialect", "bearer-session", "--session-token-file", file];
    let asked = |verb: &str, file: &'static str, more: &[&str]| {
        place.keyfob([&[verb, "--url", &url], &options(file)[..], more].concat()).outcome()
    };
    asked("token", "secret", &[]).prints("tok-1");
    asked("token", "other", &[]).prints("tok-2");
    asked("revoke", "secret", &[]).prints("revoked");
    // One is left: the other user's.
    assert_eq!(*seen.lock().unwrap(), [("bearer tok-1".to_owned(), 1)]);
    asked("revoke", "secret", &[]).prints("nothing to revoke");
    asked("token", "other", &[]).prints("tok-2");
    asked("token", "secret", &[]).prints("tok-3");
    // The token in the cache, named by its file.
    place.file("here/access", "tok-3\n");
    asked("revoke", "secret", &["--access-token-file", "access"]).prints("revoked");
    assert_eq!(seen.lock().unwrap()[1], ("bearer tok-3".to_owned(), 1));
    asked("token", "secret", &[]).prints("tok-4");
    // Another token than that in the cache.
    asked("revoke", "secret", &["--access-token-file", "access"]).prints("revoked");
    assert_eq!(seen.lock().unwrap()[2], ("bearer tok-3".to_owned(), 2));
    asked("token", "secret", &[]).prints("tok-4");
    // A cache that is not to be used is left as it is.
    asked("revoke", "secret", &["--access-token-file", "access", "--no-cache"]).prints("revoked");
    asked("token", "secret", &[]).prints("tok-4");
}

#[test]
fn a_failed_revocation_forgets_the_token_but_an_impossible_one_keeps_it() {
    let place = Place::new();
    let issued = AtomicUsize::new(0);
    let server = Server::with(move |request: &Seen, stream| {
        let _ = stream.write_all(&match &*request.method {
            "DELETE" => json(500, ""),
            _ => {
                let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                json(200, &format!(r#"{{"access_token":"tok-{number}","expires_in":3600}}"#))
            }
        });
    });
    let url = server.url("/t");
    let session = ["--dialect", "bearer-session", "--session-token-file", "secret"];
    let asked = |verb: &str, options: &[&str]| place.keyfob([&[verb, "--url", &url], options].concat()).outcome();
    asked("token", &session).prints("tok-1");
    assert_eq!(asked("revoke", &session).code, Some(5));
    asked("token", &session).prints("tok-2");
    let no_way = "keyfob: HOST: its description has no way to end a token\n\
                  hint: set where tokens are revoked (`revocation_url`), or forget the token here alone \
                  (keyfob forget)";
    let no_way = &no_way.replace("HOST", &server.address().to_string());
    // Whether there is a token or not.
    asked("revoke", &["--client-id", "none"]).fails(2, no_way);
    let client = ["--client-id", "c"];
    asked("token", &client).prints("tok-3");
    asked("revoke", &client).fails(2, no_way);
    place.file("here/access", "tok-3");
    asked("revoke", &[&client[..], &["--access-token-file", "access"]].concat()).fails(2, no_way);
    asked("token", &client).prints("tok-3");
}

// Refresh tokens.

/// A server that hands out a new refresh token each time. One that was used already ends all of them, unless the server
/// also takes `older` ones.
#[derive(Default)]
struct Rotation {
    newest: usize,
    reused: usize,
    is_over: bool,
}

fn long(name: &str, number: usize) -> String {
    // Of different lengths, so that a mixture of two would show.
    format!("{name}-{number}-{}", "x".repeat(50 + number % 7 * 40))
}

fn rotating(older: usize, delay: Duration, name: fn(&str, usize) -> String) -> (Server, Arc<Mutex<Rotation>>) {
    let rotation = Arc::new(Mutex::new(Rotation { newest: 1, ..Rotation::default() }));
    let shared = rotation.clone();
    let server = Server::with(move |seen, stream| {
        std::thread::sleep(delay);
        let sent = field(seen, "refresh_token").unwrap();
        let answer = {
            let mut rotation = shared.lock().unwrap();
            let newest = rotation.newest;
            if !(newest.saturating_sub(older)..=newest).any(|number| name("rt", number) == sent) {
                rotation.reused += 1;
                rotation.is_over = true;
            }
            if rotation.is_over {
                json(400, r#"{"error":"invalid_grant"}"#)
            } else {
                rotation.newest += 1;
                let (token, refresh) = (name("tok", rotation.newest), name("rt", rotation.newest));
                json(200, &format!(r#"{{"access_token":"{token}","refresh_token":"{refresh}","expires_in":3600}}"#))
            }
        };
        let _ = stream.write_all(&answer);
    });
    (server, rotation)
}

fn short(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

const REFRESH: [&str; 4] = ["--grant", "refresh_token", "--refresh-token-file", "rt"];

#[test]
fn processes_that_share_a_refresh_token_never_send_the_same_one() {
    for (delay, options, requests) in
        [(0, &[][..], 1), (100, &[][..], 1), (0, &["--no-cache"], 20), (30, &["--fresh"], 20)]
    {
        let place = Place::new();
        place.file("here/rt", "rt-1\n");
        let (server, rotation) = rotating(0, Duration::from_millis(delay), short);
        let url = server.url("/t");
        let all = [&REFRESH[..], options].concat();
        let outcomes = at_once(20, || token(&place, &url, &all));
        let tokens = lines(&outcomes);
        assert_eq!(tokens.len(), requests, "{options:?}: {tokens:?}");
        assert_eq!(rotation.lock().unwrap().reused, 0, "{options:?}");
        let spent: Vec<String> = server.requests().iter().map(|seen| field(seen, "refresh_token").unwrap()).collect();
        assert_eq!(spent, (1..=requests).map(|number| format!("rt-{number}")).collect::<Vec<_>>(), "{options:?}");
        assert_eq!(fs::read_to_string(place.path("here/rt")).unwrap(), format!("rt-{}\n", requests + 1));
    }
}

#[test]
fn rewriting_a_refresh_token_file_changes_only_its_content() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for (before, after, mode) in
        [("rt-1", "rt-2", 0o600), ("rt-1\n", "rt-2\n", 0o640), ("rt-1\r\n", "rt-2\r\n", 0o660), ("rt-1", "rt-2", 0o400)]
    {
        for is_link in [false, true] {
            let place = Place::new();
            let (server, _) = rotating(0, AT_ONCE, short);
            let url = server.url("/t");
            let file = if is_link { "elsewhere/rt" } else { "here/rt" };
            place.file(file, before);
            fs::set_permissions(place.path(file), Permissions::from_mode(mode)).unwrap();
            if is_root {
                std::os::unix::fs::chown(place.path(file), Some(65534), Some(65533)).unwrap();
            }
            if is_link {
                symlink("../elsewhere/rt", place.path("here/rt")).unwrap();
            }
            run(&place, &url, &REFRESH).prints("tok-2");
            assert_eq!(fs::read_to_string(place.path(file)).unwrap(), after);
            let metadata = fs::metadata(place.path(file)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode);
            if is_root {
                assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533));
            }
            assert_eq!(fs::symlink_metadata(place.path("here/rt")).unwrap().is_symlink(), is_link);
            assert_eq!(
                fs::read_dir(place.path(file).trim_end_matches("/rt")).unwrap().count(),
                1 + usize::from(!is_link)
            );
        }
    }
    // The same token again: the file is not touched.
    let place = Place::new();
    place.file("here/rt", "rt-1\n");
    let server = Server::answering(json(200, r#"{"access_token":"tok-1","refresh_token":"rt-1","expires_in":3600}"#));
    let before = fs::metadata(place.path("here/rt")).unwrap();
    run(&place, &server.url("/t"), &REFRESH).prints("tok-1");
    run(&place, &server.url("/t"), &REFRESH).prints("tok-1");
    let after = fs::metadata(place.path("here/rt")).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn nothing_is_sent_if_the_file_could_not_take_a_new_refresh_token() {
    if !can_unshare("nothing_is_sent_if_the_file_could_not_take_a_new_refresh_token", MOUNTS) {
        return;
    }
    let place = Place::new();
    let (server, _) = rotating(0, AT_ONCE, short);
    let url = server.url("/t");
    let hint = "hint: the server may replace the refresh token with each use, so nothing is sent unless the new one can be \
                stored: put the file where this user can write (a symbolic link to it will do); for a container, mount its \
                directory";
    const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/3";
    for (setup, command, why) in [
        ("mount -o remount,ro DIR", "keyfob", "read-only filesystem or storage medium"),
        ("chmod 755 DIR", NOBODY, "permission denied"),
        // It could be replaced, but would not be its owner's any more.
        ("chmod 777 DIR", NOBODY, "permission denied"),
        ("dd if=/dev/zero of=DIR/full bs=4k 2>/dev/null || true", "keyfob", "no storage space"),
        // Room for the old token and one page more, which a longer one would not fit into.
        ("dd if=/dev/zero of=DIR/full bs=4k count=62 2>/dev/null", "keyfob", "no storage space"),
        ("trap '' XFSZ; ulimit -f 100", "keyfob", "file too large"),
        // A mount point of its own, which would have to be written in place.
        (
            "mount --bind DIR/rt DIR/rt; mount -o remount,bind,ro DIR/rt",
            "keyfob",
            "read-only filesystem or storage medium",
        ),
        (
            "mkdir -p small; mount -t tmpfs -o size=8k memory small; cp -p DIR/rt small/rt; mount --bind small/rt DIR/rt",
            "keyfob",
            "no storage space",
        ),
    ] {
        for no_cache in ["", "--no-cache"] {
            let run = place.keyfob(["token"]);
            let text = "exec 2>&1; mkdir -p dir; mount -t tmpfs -o size=256k memory dir; printf 'rt-1\\n' > dir/rt; chown 0:65534 dir/rt; chmod 640 dir/rt\n";
            let ask = format!(
                "{text}{}\n cd dir; code=0; {command} token --url {url} --grant refresh_token --refresh-token-file rt {no_cache} || code=$?; echo $code; cat rt; ls -A",
                setup.replace("DIR", "dir")
            );
            let outcome = Started::command(script(MOUNTS, run, &ask)).outcome();
            let left = if setup.contains("/full") { "full\nrt\n" } else { "rt\n" };
            let expected =
                format!("keyfob: refresh token file rt: cannot be rewritten: {why}\n{hint}\n2\nrt-1\n{left}");
            assert_eq!(outcome.stdout, expected, "{setup}: {outcome:?}");
        }
    }
    assert_eq!(server.requests(), [], "nothing was sent");
}

#[test]
fn what_is_in_the_way_of_a_new_refresh_token_is_named() {
    let place = Place::new();
    let (server, _) = rotating(0, AT_ONCE, short);
    place.file("here/rt", "rt-1\n");
    fs::create_dir(place.path("here/.rt.new")).unwrap();
    let outcome = run(&place, &server.url("/t"), &["--grant", "refresh_token", "--refresh-token-file", "rt"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("rt: cannot be rewritten: .rt.new is in the way\n"), "{outcome:?}");
    assert_eq!(server.requests(), [], "nothing was sent");
}

/// A refresh token that no file holds: each new one is in the cache alone.
#[test]
fn nothing_is_sent_if_the_store_could_not_take_a_new_refresh_token() {
    if !can_unshare("nothing_is_sent_if_the_store_could_not_take_a_new_refresh_token", MOUNTS) {
        return;
    }
    let place = Place::new();
    let (server, rotation) = rotating(0, AT_ONCE, short);
    let url = server.url("/t");
    let hint = "hint: the server may replace the refresh token with each use, so nothing is sent unless the new one can be \
                stored: make room, use another directory (--cache-dir), or keep the token in a file (--refresh-token-file)";
    for (setup, why) in [
        // Too small for the key; full; and with less room than a new token might need.
        ("mount -t tmpfs -o size=4k,mode=700 memory dir", "no storage space"),
        ("dd if=/dev/zero of=dir/full bs=4k 2>/dev/null || true", "no storage space"),
        ("dd if=/dev/zero of=dir/full bs=4k count=8 2>/dev/null", "no storage space"),
        ("mount -o remount,ro dir", "read-only filesystem or storage medium"),
    ] {
        let ask = format!(
            "exec 2>&1; mkdir -p dir; mount -t tmpfs -o size=64k,mode=700 memory dir
             {setup}
             code=0; RT=rt-1 keyfob token --url {url} --grant refresh_token --refresh-token-env RT --cache-dir dir || code=$?; echo $code"
        );
        let outcome = Started::command(script(MOUNTS, place.keyfob(["token"]), &ask)).outcome();
        let expected = format!("keyfob: cache directory dir: cannot store the new refresh token: {why}\n{hint}\n2\n");
        assert_eq!(outcome.stdout, expected, "{setup}: {outcome:?}");
    }
    assert_eq!(server.requests(), [], "nothing was sent");
    // Where there is room, the newest is used each time.
    for line in ["tok-2", "tok-3", "tok-4"] {
        let options = ["--grant", "refresh_token", "--refresh-token-env", "RT", "--fresh"];
        token(&place, &url, &options).variable("RT", "rt-1").outcome().prints(line);
    }
    assert_eq!(rotation.lock().unwrap().reused, 0);
}

#[test]
fn a_file_with_two_names_is_refused_before_anything_is_sent() {
    let place = Place::new();
    place.file("here/rt", "rt-1\n");
    fs::hard_link(place.path("here/rt"), place.path("here/hard")).unwrap();
    let (server, _) = rotating(0, AT_ONCE, short);
    for name in ["rt", "hard"] {
        for option in ["--fresh", "--no-cache"] {
            let options = ["--grant", "refresh_token", "--refresh-token-file", name, option];
            run(&place, &server.url("/t"), &options).fails(
                2,
                &format!(
                    "keyfob: refresh token file {}: has 2 names (hard links), and a new token would reach only \
                     one of them\nhint: keep one name, and make the others symbolic links to it",
                    place.path(&format!("here/{name}"))
                ),
            );
        }
    }
    assert_eq!(server.requests(), []);
    assert_eq!(fs::read_dir(place.path("here")).unwrap().count(), 3, "the secret and the two names");
}

/// As a container has it that was given the file alone (`docker run -v file:file`, `subPath`).
#[test]
fn a_file_that_is_a_mount_point_is_written_in_place() {
    if !can_unshare("a_file_that_is_a_mount_point_is_written_in_place", MOUNTS) {
        return;
    }
    let place = Place::new();
    let long = |name: &str, number: usize| format!("{name}-{number}{}", "x".repeat(if number == 3 { 5000 } else { 0 }));
    let (server, rotation) = rotating(0, AT_ONCE, long);
    let url = server.url("/t");
    place.file("here/rt", "rt-1\n");
    place.file("host/rt", "rt-1\n");
    let inode = fs::metadata(place.path("host/rt")).unwrap().ino();
    // The third token is longer than the second and the fourth.
    let ask = format!(
        "exec 2>&1; mount --bind ../host/rt rt; for i in 1 2 3; do
         code=0; keyfob token --url {url} --no-cache {} | cut -c 1-8 || code=$?; echo $code; cut -c 1-8 rt; ls -A; done",
        REFRESH.join(" ")
    );
    let outcome = Started::command(script(MOUNTS, place.keyfob(["token"]), &ask)).outcome();
    let expected = "tok-2\n0\nrt-2\nrt\nsecret\ntok-3xxx\n0\nrt-3xxxx\nrt\nsecret\ntok-4\n0\nrt-4\nrt\nsecret\n";
    assert_eq!(outcome.stdout, expected);
    assert_eq!(rotation.lock().unwrap().reused, 0);
    assert_eq!(fs::read_to_string(place.path("host/rt")).unwrap(), "rt-4\n");
    assert_eq!(fs::metadata(place.path("host/rt")).unwrap().ino(), inode);
    // A process was killed while it wrote the file in place: what it had is beside it, from tomorrow.
    place.file("here/.rt.new", "rt-5\n");
    rotation.lock().unwrap().newest = 5;
    let ask = format!(
        "exec 2>&1; mount --bind ../host/rt rt; touch -d tomorrow .rt.new; printf 'rt-5\n4torn' > rt; \
         keyfob token --url {url} --no-cache {}; cat rt; ls -A",
        REFRESH.join(" ")
    );
    let outcome = Started::command(script(MOUNTS, place.keyfob(["token"]), &ask)).outcome();
    assert_eq!(outcome.stdout, "tok-6\nrt-6\nrt\nsecret\n");
    // The file cannot be written any more: the newer one stays where it is, and nothing is sent.
    place.file("here/.rt.new", "rt-7\n");
    let ask = format!(
        "exec 2>&1; mount --bind ../host/rt rt; mount -o remount,bind,ro rt; touch -d tomorrow .rt.new; code=0; \
         keyfob token --url {url} --no-cache {} || code=$?; echo $code; cat rt .rt.new",
        REFRESH.join(" ")
    );
    let outcome = Started::command(script(MOUNTS, place.keyfob(["token"]), &ask)).outcome();
    let (file, new) = (place.path("here/rt"), place.path("here/.rt.new"));
    assert_eq!(
        outcome.stdout,
        format!(
            "keyfob: refresh token file {file}: cannot write the newer token: read-only filesystem or storage \
             medium\nhint: the new token is in {new}: move it into place, because the old one is used up\n2\nrt-6\nrt-7\n"
        )
    );
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn if_the_file_cannot_be_replaced_the_token_is_printed_and_the_new_refresh_token_stays_in_the_draft() {
    let place = Place::new();
    place.file("here/rt", "rt-1\n");
    let (file, kept) = (place.path("here/rt"), place.path("here/kept"));
    let (from, to) = (file.clone(), kept.clone());
    // While it answers, somebody puts a directory into the file's place.
    let server = Server::with(move |seen, stream| {
        let sent = field(seen, "refresh_token").unwrap();
        if sent == "rt-1" {
            fs::rename(&from, &to).unwrap();
            fs::create_dir(&from).unwrap();
        }
        let next = if sent == "rt-1" { 2 } else { 3 };
        let body = format!(r#"{{"access_token":"tok-{next}","refresh_token":"rt-{next}","expires_in":3600}}"#);
        let _ = stream.write_all(&json(200, &body));
    });
    let options = [&REFRESH[..], &["--no-cache"]].concat();
    let new = place.path("here/.rt.new");
    let outcome = run(&place, &server.url("/t"), &options);
    outcome.is(
        0,
        "tok-2\n",
        &format!(
            "keyfob: refresh token file {file}: cannot write the new token: it is a directory\n\
             hint: the new token is in {new}: move it into place, because the old one is used up\n"
        ),
    );
    assert_eq!(fs::read_to_string(&new).unwrap(), "rt-2\n");
    // Where it can be replaced again, that is done first.
    fs::remove_dir(&file).unwrap();
    fs::rename(&kept, &file).unwrap();
    run(&place, &server.url("/t"), &options).prints("tok-3");
    let sent: Vec<String> = server.requests().iter().map(|seen| field(seen, "refresh_token").unwrap()).collect();
    assert_eq!(sent, ["rt-1", "rt-2"]);
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), fs::exists(new).unwrap()), ("rt-3\n", false));
}

#[test]
fn a_killed_processs_draft_is_used_if_it_is_complete_and_newer() {
    for (left, is_older, mode, expected) in [
        ("rt-2\n", false, 0o600, "rt-2"),
        ("rt-2", false, 0o600, "rt-2"),
        // The file was written by somebody since.
        ("rt-2\n", true, 0o600, "rt-1"),
        // It was not done.
        ("rt-2\n   ", false, 0o600, "rt-1"),
        ("    ", false, 0o600, "rt-1"),
        ("", false, 0o600, "rt-1"),
        ("rt-2\0", false, 0o600, "rt-1"),
        // Nor made ready.
        ("rt-2\n", false, 0o644, "rt-1"),
    ] {
        let place = Place::new();
        let server = Server::answering(json(200, r#"{"access_token":"tok-1","refresh_token":"rt-9","expires_in":9}"#));
        place.file("here/rt", "rt-1\n");
        place.file("here/.rt.new", left);
        fs::set_permissions(place.path("here/rt"), Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(place.path("here/.rt.new"), Permissions::from_mode(mode)).unwrap();
        if is_older {
            let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            fs::File::options().append(true).open(place.path("here/.rt.new")).unwrap().set_modified(hour_ago).unwrap();
        }
        run(&place, &server.url("/t"), &REFRESH).prints("tok-1");
        assert_eq!(field(&server.request(), "refresh_token").as_deref(), Some(expected), "{left:?} {mode:o}");
        assert!(fs::read_to_string(place.path("here/rt")).unwrap().starts_with("rt-9"));
        assert!(!fs::exists(place.path("here/.rt.new")).unwrap());
    }
}

#[test]
fn a_refresh_token_longer_than_the_reserved_room_is_written_in_full() {
    let place = Place::new();
    let new = "n".repeat(60_000);
    let answer = format!(r#"{{"access_token":"tok-1","refresh_token":"{new}","expires_in":9}}"#);
    let server = Server::answering(json(200, &answer));
    place.file("here/rt", "rt-1\n");
    run(&place, &server.url("/t"), &REFRESH).prints("tok-1");
    assert_eq!(fs::read_to_string(place.path("here/rt")).unwrap(), format!("{new}\n"));
}

#[test]
fn a_refresh_token_whose_answer_was_lost_is_not_sent_again_until_it_changes() {
    for options in [&["--refresh-token-file", "rt"][..], &["--refresh-token-env", "RT"]] {
        let place = Place::new();
        place.file("here/rt", "rt-1\n");
        let server = Server::with(|seen, stream| {
            let _ = match field(seen, "refresh_token").as_deref() {
                Some("rt-1") => Ok(()),
                _ => stream.write_all(&json(200, r#"{"access_token":"tok-1","expires_in":1}"#)),
            };
        });
        let url = server.url("/t");
        let asked = |token: &str| {
            place.file("here/rt", token);
            let all = [&["token", "--url", &url, "--grant", "refresh_token"], options].concat();
            place.keyfob(all).variable("RT", token).outcome()
        };
        assert_eq!(asked("rt-1").code, Some(4));
        // Another process, with another request, sweeps away what is over. This is not.
        run(&place, &url, &["--scope", "other"]).prints("tok-1");
        let again = asked("rt-1");
        assert_eq!(again.code, Some(4), "{again:?}");
        assert!(
            again.stderr.ends_with(
                "\nhint: the refresh token or code may be used up, so it is not sent again: sign in again\n"
            ),
            "{again:?}"
        );
        assert_eq!(server.requests().len(), 2, "{options:?}");
        asked("rt-2").prints("tok-1");
    }
}

#[test]
fn a_secret_from_a_pipe_is_read_once() {
    let place = Place::new();
    let server = issuing(3600, AT_ONCE);
    let url = server.url("/t");
    for (options, count) in [(&[][..], 1), (&[], 1), (&["--no-cache"], 2)] {
        // As a shell's `<(command)` does it.
        let mut command = token(&place, &url, &[&["--client-secret-file", "/dev/stdin"], options].concat()).command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"piped\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("tok-{count}\n"), "{output:?}");
        assert_eq!(server.requests().len(), count);
    }
    assert_eq!(server.requests()[1].header("authorization"), Some("Basic YzpwaXBlZA=="));
}

// The plug is pulled.

/// The number of a text that `long` made, if it is whole.
fn number_of(name: &str, text: &str) -> Option<usize> {
    let number = text.strip_prefix(name)?.strip_prefix('-')?.split('-').next()?.parse().ok()?;
    (long(name, number) == text).then_some(number)
}

#[test]
fn a_process_killed_at_any_point_of_a_renewal_leaves_complete_files_and_no_error() {
    const KILLS: usize = 500;
    let place = Place::new();
    place.file("here/rt", format!("{}\n", long("rt", 1)));
    // A refresh token whose answer the killed process has not read is still good: many servers do that.
    let (server, rotation) = rotating(1, AT_ONCE, long);
    let url = server.url("/t");
    let all = [&REFRESH[..], &["--fresh"]].concat();

    let is_over = Arc::new(AtomicBool::new(false));
    let observer = {
        let (is_over, refresh, cache) = (is_over.clone(), place.path("here/rt"), place.path("cache"));
        std::thread::spawn(move || {
            let (mut reads, mut stored) = (0, 0);
            while !is_over.load(Ordering::SeqCst) {
                let text = fs::read_to_string(&refresh).expect("it is always there");
                let token = text.strip_suffix('\n').expect("its line end is always there");
                assert!(number_of("rt", token).is_some(), "a refresh token that is not whole: {text:?}");
                reads += 1;
                for entry in fs::read_dir(&cache).unwrap() {
                    let path = entry.unwrap().path();
                    // One that is gone by now was replaced.
                    let Ok(bytes) = fs::read(&path) else { continue };
                    let text = String::from_utf8(bytes).expect("it is text");
                    if path.extension().is_none_or(|extension| extension != "token") {
                        continue;
                    }
                    let (form, seal) = text.split_once('\n').expect("a seal");
                    assert!(seal.len() == 32 && seal.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text:?}");
                    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name));
                    let token = field("token=").expect("a token");
                    assert!(form.starts_with("written=") && number_of("tok", token).is_some(), "{text:?}");
                    stored += 1;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            (reads, stored)
        })
    };

    // How long it lives when nobody kills it, so that the kills are spread over all of it.
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(run(&place, &url, &all).code, Some(0));
    }
    let life = start.elapsed() / 10;
    let (mut kills, mut too_late) = (0, 0);
    while kills < KILLS {
        let process = Started::new(token(&place, &url, &all));
        // By the golden ratio they are spread evenly, however many there are.
        let part = (kills + too_late) as f64 * 0.618_033_988_75 % 1.0;
        std::thread::sleep(life.mul_f64(part));
        match process.kill() {
            true => kills += 1,
            false => too_late += 1,
        }
        assert!(too_late < 20 * KILLS, "nearly all of them are too late");
        let outcome = run(&place, &url, &REFRESH);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "after {kills} kills: {outcome:?}");
        let token = number_of("tok", outcome.stdout.trim_end()).expect("a whole token");
        assert!(token <= rotation.lock().unwrap().newest);
    }
    is_over.store(true, Ordering::SeqCst);
    let (reads, stored) = observer.join().expect("the observer saw nothing wrong");
    println!(
        "{kills} kills in a life of {life:?} ({too_late} came too late), {} renewals, {reads} reads of the refresh token, \
         {stored} of the store",
        server.requests().len()
    );
    assert!(reads > 500 && stored > 100, "{reads} {stored}");
    let left: Vec<_> = fs::read_dir(place.path("here")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() <= 3, "the current directory, with one draft at the most: {left:?}");
}
