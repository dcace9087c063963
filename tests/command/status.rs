//! `keyfob status`, `keyfob forget` and `--offline`.

use crate::*;

const NONE: &str = "keyfob: no valid token is cached, and nobody was asked";

/// A server that refuses clients whose name begins with `bad`.
fn server() -> Server {
    Server::with(|seen, stream| {
        let answer = match seen.body_text().contains("client_id=bad") {
            true => json(400, r#"{"error":"invalid_client"}"#),
            false => json(200, r#"{"access_token":"hunter2-t","expires_in":3600}"#),
        };
        let _ = stream.write_all(&answer);
    })
}

/// Cuts the numbers of seconds, which depend on how busy the machine is and on its id.
fn without_numbers(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at].trim_end_matches([';', '.', '\n']) == "s" {
            words[at - 1] = "N".to_owned();
        }
    }
    words.join(" ")
}

#[test]
fn what_is_cached_and_remembered_is_shown_and_never_a_token() {
    let place = Place::new();
    let server = server();
    let (url, cache) = (server.url("/t"), place.path("cache"));
    let host = server.address().to_string();
    let token = |options: &[&str]| place.keyfob([&["token", "--url", &url], options].concat()).outcome_with_secrets();
    let status = |options: &[&str]| place.keyfob([&["status", "--url", &url], options].concat()).outcome();
    let show = |options: &[&str], code: i32, text: &str| {
        let outcome = status(options);
        let stdout = without_numbers(&outcome.stdout);
        assert_eq!((outcome.code, stdout.as_str(), outcome.stderr.as_str()), (Some(code), text, ""));
    };
    show(&["--client-id", "c"], 4, &format!("{host}: no token ({host}, in {cache})\n"));
    assert_eq!(token(&["--client-id", "c"]).code, Some(0));
    show(&["--client-id", "c"], 0, &format!("{host}: valid for N s; to be renewed in N s ({host}, in {cache})\n"));
    assert_eq!(token(&["--client-id", "bad"]).code, Some(3));
    let refused = "the server refused (status 400): invalid_client";
    show(
        &["--client-id", "bad"],
        3,
        &format!("{host}: {refused}; next attempt in N s at the earliest ({host}, in {cache})\n"),
    );
    let count = server.requests().len();
    // Each is one object on a line.
    let outcome = status(&["--client-id", "bad", "--format", "json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(3), ""));
    let (before, after) = outcome.stdout.split_once("\"next_attempt_in\":").unwrap();
    assert_eq!(
        before,
        format!(r#"{{"profile":null,"environment":null,"host":"{host}","state":"failed","expires_in":null,"#)
    );
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    assert_eq!(after, format!(",\"error\":\"refused\",\"message\":\"{refused}\",\"cache\":\"{cache}\"}}\n"));
    // Without a cache nothing is known; and a secret that cannot be read is an error.
    show(&["--no-cache"], 4, &format!("{host}: no token\n"));
    status(&["--client-id", "c", "--client-secret-file", "nosuch"])
        .fails(2, &format!("keyfob: secret file {}: there is no such file", place.path("here/nosuch")));
    status(&["--format", "header"]).fails(2, "keyfob: status: --format must be json, or left out");
    assert_eq!(server.requests().len(), count, "the server is not asked");
}

#[test]
fn all_profiles_are_shown_with_their_environments() {
    let place = Place::new();
    let server = server();
    let url = server.url("");
    let (host, cache) = (server.address(), place.path("cache"));
    place.keyfob(["status"]).outcome().is(0, "there is no profile, and no valid token is cached\n", "");
    let profile =
        |name: &str, members: &str| place.file(&format!("config/keyfob/{name}.json"), format!("{{{members}}}"));
    profile("a", &format!(r#""environments": {{"eu": "{url}", "us": "{url}"}}, "path": "/t", "client_id": "c""#));
    profile("b", &format!(r#""url": "{url}/t", "client_id": "bad", "format": "header""#));
    profile("c", &format!(r#""url": "{url}/t", "client_id": "c", "client_secret_file": "nosuch""#));
    profile("d", &format!(r#""url": "{url}/t", "client_id": "c", "client_secret_file": "-""#));
    profile("e", "\"nonsense\": 1");
    for (arguments, code) in [
        (&["token", "a", "--environment", "us"][..], 0),
        (&["token", "b"], 3),
        (&["token", "--url", &format!("{url}/other"), "--client-id", "c"], 0),
    ] {
        assert_eq!(place.keyfob(arguments).outcome_with_secrets().code, Some(code), "{arguments:?}");
    }
    let outcome = place.keyfob(["status"]).outcome();
    let lines = [
        // Both environments have the same URL here, and so the same token.
        format!("a eu: valid for N s; to be renewed in N s ({host}, in {cache})"),
        format!("a us: valid for N s; to be renewed in N s ({host}, in {cache})"),
        format!(
            "b: the server refused (status 400): invalid_client; next attempt in N s at the earliest ({host}, in {cache})"
        ),
        format!("c: secret file {}: there is no such file", place.path("config/keyfob/nosuch")),
        "d: not known: a secret comes from standard input or a pipe".to_owned(),
        "e: profile: unknown member \"nonsense\"".to_owned(),
    ];
    assert_eq!(without_numbers(&outcome.stdout), format!("{}\n", lines.join("\n")));
    // The code is that of the first without a token.
    assert_eq!(outcome.code, Some(3));
    assert!(
        place
            .keyfob(["status", "--format", "json"])
            .outcome()
            .stdout
            .lines()
            .all(|line| line.starts_with("{\"profile\":\""))
    );
    for name in ["b", "c", "d", "e", "a"] {
        std::fs::remove_file(place.path(&format!("config/keyfob/{name}.json"))).unwrap();
    }
    place.keyfob(["status"]).outcome().is(0, "2 more valid in the cache, which no profile describes\n", "");
}

#[test]
fn what_is_cached_and_remembered_is_forgotten_here_alone() {
    let place = Place::new();
    let server = server();
    let url = server.url("/t");
    let run = |verb: &str, options: &[&str]| place.keyfob([&[verb, "--url", &url], options].concat());
    for (client, code) in [("c", 0), ("bad", 3)] {
        let client = ["--client-id", client];
        run("forget", &client).outcome().prints("nothing to forget");
        assert_eq!(run("token", &client).outcome_with_secrets().code, Some(code));
        run("forget", &client).outcome().prints("forgotten");
        run("forget", &[&client[..], &["--format", "json"]].concat()).outcome().prints("{\"forgotten\":false}");
        run("token", &[&client[..], &["--offline"]].concat()).outcome().fails(4, NONE);
        assert_eq!(run("token", &client).outcome_with_secrets().code, Some(code));
    }
    assert_eq!(server.requests().len(), 4, "the server is asked for tokens alone, and again");
    // A failure on the way to the server, and everything.
    let gone = Refusing::new();
    let gone = format!("http://{}/t", gone.address());
    place.keyfob(["token", "--url", &gone, "--client-id", "c"]).outcome();
    place.keyfob(["forget", "--url", &gone, "--client-id", "c"]).outcome().prints("forgotten");
    place.keyfob(["forget", "--url", &gone, "--client-id", "c"]).outcome().prints("nothing to forget");
    place.keyfob(["forget", "--all"]).outcome().prints("forgotten");
    place.keyfob(["forget", "--all"]).outcome().prints("nothing to forget");
    let left: Vec<_> = std::fs::read_dir(place.path("cache")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["keyfob-key"]);
    place.keyfob(["forget"]).outcome().fails(2, "keyfob: forget: neither a profile nor --all is given");
    run("forget", &["--all"]).outcome().fails(2, "keyfob: forget: --all is for no profile");
    run("forget", &["--client-id", "c", "--client-secret-file", "nosuch"])
        .outcome()
        .fails(2, &format!("keyfob: secret file {}: there is no such file", place.path("here/nosuch")));
}

#[test]
fn offline_takes_what_is_cached_and_asks_nobody() {
    let place = Place::new();
    let server = server();
    let url = server.url("/t");
    let run = |verb: &str, options: &[&str]| place.keyfob([&[verb, "--url", &url], options].concat());
    run("token", &["--client-id", "c", "--offline"]).outcome().fails(4, NONE);
    run("token", &["--client-id", "c", "--offline", "--no-cache"]).outcome().fails(4, NONE);
    run("exec", &["--client-id", "c", "--offline", "--", "true"]).outcome().fails(4, NONE);
    run("token", &["--client-id", "c"]).outcome_with_secrets();
    run("token", &["--client-id", "c", "--offline"]).outcome_with_secrets().prints("hunter2-t");
    run("token", &["--client-id", "c", "--offline", "--min-valid", "2h"]).outcome().fails(4, NONE);
    run("token", &["--client-id", "bad"]).outcome();
    assert_eq!(run("token", &["--client-id", "bad", "--offline"]).outcome().code, Some(3));
    assert_eq!(server.requests().len(), 2);
}
