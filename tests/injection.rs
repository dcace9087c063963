//! Nothing that a user types or a server answers adds a header, a parameter or a line: not to the request, not to the
//! terminal, not to the cache's file, not to curl's configuration.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/command.rs"]
mod running;

use common::{Seen, Server, json};
use running::Place;
use std::io::Write;
use std::process::{Command, Stdio};

/// What could end a value in any of the languages that it passes through.
const NASTY: &str = "v&admin=1\r\nX-Evil: 1\r\n\r\n\"'\\%00%0d%0a+;#\t\u{1b}[31m\u{202e}é=";

/// The same without control characters, which keep a client secret or a password from being sent at all.
const NASTY_LINE: &str = "v&admin=1 X-Evil: 1\"'\\%00%0d%0a+;#[31m\u{202e}é=";

/// `application/x-www-form-urlencoded`, decoded by somebody else's rules: WHATWG's.
fn decoded(form: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        loop {
            rest = match rest {
                [b'%', high, low, rest @ ..] => {
                    let digits = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    rest
                }
                [b'+', rest @ ..] => {
                    bytes.push(b' ');
                    rest
                }
                [byte, rest @ ..] => {
                    bytes.push(*byte);
                    rest
                }
                [] => return String::from_utf8(bytes).unwrap(),
            }
        }
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (decode(name), decode(value))
    };
    form.split('&').map(pair).collect()
}

fn header_names(request: &Seen) -> Vec<&str> {
    request.headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn an_option_stays_what_it_is() {
    let place = Place::new();
    place.file("here/nasty", NASTY);
    place.file("here/line", NASTY_LINE);
    let parameter = format!("{}={NASTY}", NASTY.replace('=', ""));
    let options = ["--client-id", NASTY, "--scope", NASTY, "--grant", "password", "--username", NASTY];
    let secrets = ["--password-file", "line", "--client-secret-file", "line", "--param-file", "otp=nasty"];
    let given = [&options[..], &secrets, &["--param", &parameter, "--auth", "client_secret_post"]].concat();
    let scope = NASTY.split(' ').collect::<Vec<_>>().join(" ");
    let name = NASTY.replace('=', "");
    let mut expected: Vec<(&str, &str)> = vec![
        ("client_id", NASTY),
        ("client_secret", NASTY_LINE),
        ("grant_type", "password"),
        ("otp", NASTY),
        ("password", NASTY_LINE),
        ("scope", &scope),
        ("username", NASTY),
        (&name, NASTY),
    ];
    expected.sort_unstable();
    let answer = || json(200, r#"{"access_token":"tok"}"#);
    for place_of_parameters in ["form", "json", "query"] {
        let server = Server::answering(answer());
        place
            .token(&server.url("/t"), &[&given[..], &["--params", place_of_parameters]].concat())
            .outcome()
            .prints("tok");
        let request = server.request();
        let mut sent = match place_of_parameters {
            "form" => decoded(&request.body_text()),
            "query" => decoded(request.target.strip_prefix("/t?").unwrap()),
            // By somebody else's reader.
            _ => match miniserde::json::from_str(&request.body_text()).unwrap() {
                miniserde::json::Value::Object(members) => members
                    .into_iter()
                    .map(|(name, value)| match value {
                        miniserde::json::Value::String(text) => (name, text),
                        other => panic!("{other:?}"),
                    })
                    .collect(),
                other => panic!("{other:?}"),
            },
        };
        sent.sort_unstable();
        let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(sent, expected, "{place_of_parameters}");
        let content: &[&str] = if place_of_parameters == "query" { &[] } else { &["content-type"] };
        let mut names = header_names(&request);
        names.sort_unstable();
        let mut usual = [&["accept", "content-length", "host", "user-agent"], content].concat();
        usual.sort_unstable();
        assert_eq!(names, usual, "{place_of_parameters}");
    }
    // Basic holds whatever it is given.
    let server = Server::answering(answer());
    let basic = ["--client-id", NASTY, "--client-secret-file", "line"];
    place.token(&server.url("/t"), &basic).outcome().prints("tok");
    assert!(!header_names(&server.request()).contains(&"x-evil"));
}

#[test]
fn what_cannot_stand_in_a_header_or_a_url_is_refused() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"tok"}"#));
    place.file("here/nasty", NASTY);
    place.file(
        "here/profile.json",
        r#"{"url": "URL", "header": {"X-A\r\nX-Evil": "1"}}"#.replace("URL", &server.url("/")),
    );
    let url = server.url("/t");
    for arguments in [
        vec!["token", "--url", &url, "--header", "X-A: 1\r\nX-Evil: 1"],
        vec!["token", "--url", &url, "--header", "X-A\r\nX-Evil: 1"],
        vec!["token", "--url", &url, "--header-file", "X-A: nasty"],
        vec!["token", "--url", &url, "--dialect", "bearer-session", "--session-token-file", "nasty"],
        vec!["token", "./profile.json"],
        vec!["token", "--url", &format!("{url}\r\nX-Evil: 1")],
        vec!["token", "--url", &format!("{url} HTTP/1.1")],
    ] {
        let outcome = place.keyfob(arguments).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(is_plain(&outcome.stderr) && outcome.stderr.lines().count() <= 2, "{outcome:?}");
    }
    assert_eq!(server.requests(), []);
}

/// Lines of visible characters.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c)))
}

#[test]
fn an_answer_adds_no_line_to_what_comes_out() {
    let place = Place::new();
    let evil = r"x\r\nkeyfob: evil\u001b[2J\u202e\u0000\u2028&token=evil";
    for (status, body, code) in [
        (200, format!(r#"{{"access_token":"tok","expires_in":60,"token_type":"bearer","scope":"{evil}"}}"#), 0),
        (200, format!(r#"{{"access_token":"tok{evil}"}}"#), 5),
        (200, format!(r#"{{"access_token":"tok","token_type":"{evil}"}}"#), 5),
        (400, format!(r#"{{"error":"{evil}","error_description":"{evil}"}}"#), 3),
        (401, format!(r#"{{"error":"invalid_client","error_description":"{evil}"}}"#), 3),
    ] {
        // Each of them twice: the second answer is the cache's, where there is one.
        let server = Server::answering(json(status, &body));
        for (format, start) in [
            ("token", "tok"),
            ("header", "Authorization: Bearer tok"),
            ("curl", "header = "),
            ("json", "{"),
            ("json", "{"),
        ] {
            let url = server.url("/t");
            let outcome = place.keyfob(["token", "--url", &url, "--format", format]).outcome();
            assert_eq!(outcome.code, Some(code), "{body}: {outcome:?}");
            assert!(is_plain(&outcome.stdout) && is_plain(&outcome.stderr), "{body}: {outcome:?}");
            let lines = outcome.stdout.lines().count();
            match (code, format) {
                (0, _) => assert!(lines == 1 && outcome.stdout.starts_with(start), "{outcome:?}"),
                (_, "curl") => assert_eq!(outcome.stdout, "proto = \"-all\"\n"),
                _ => assert_eq!(lines, 0, "{outcome:?}"),
            }
            // What failed, a hint of what to do, and when to come again.
            assert!(outcome.stderr.lines().count() <= 3, "{outcome:?}");
            assert!(!outcome.stderr.lines().any(|line| line.starts_with("keyfob: evil")), "{outcome:?}");
        }
        // Each was asked for once: the rest came out of the cache, or was told that it is too early.
        assert_eq!(server.requests().len(), 1, "{body}");
    }
}

/// All that may stand in a token, through curl's own reader.
#[test]
fn curl_reads_each_character_of_a_token_as_it_is() {
    let place = Place::new();
    let token: String = ('\u{21}'..='\u{7e}').collect();
    let escaped = token.replace('\\', r"\\").replace('"', r#"\""#);
    let server = Server::answering(json(200, &format!(r#"{{"access_token":"{escaped}"}}"#)));
    place.token(&server.url("/t"), &["--format", "token"]).outcome().prints(&token);
    let configuration = place.token(&server.url("/t"), &["--format", "curl"]).outcome().stdout;
    assert_eq!(configuration.lines().count(), 1);
    let api = Server::answering(json(200, "{}"));
    let mut curl = Command::new("curl");
    curl.args(["-q", "-s", "--noproxy", "*", "--max-time", "20", "-K", "-", &api.url("/api")]);
    let Ok(mut child) = curl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("skipped: there is no curl here");
        return;
    };
    child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(api.request().header("authorization"), Some(format!("Bearer {token}").as_str()));
}
