//! `keyfob helper`: the bytes that each program gets, and git and cargo themselves where they are installed.

use crate::*;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const AUTHTYPE: &str = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example\n\n";

/// A place with the profile `p`, which asks this server.
fn place(server: &Server) -> Place {
    let place = Place::new();
    let (url, cache) = (server.url("/token"), place.path("cache"));
    let profile = format!(
        r#"{{"url":"{url}","client_id":"c","client_secret_file":"{}","cache_dir":"{cache}","format":"curl"}}"#,
        place.path("here/secret"),
    );
    place.file("config/keyfob/p.json", profile);
    place
}

/// Replaces the time in an hour by N.
#[track_caller]
fn without_time(text: &str, before: &str, after: &str) -> String {
    let (start, rest) = text.split_once(before).expect("the time's beginning");
    let (time, end) = rest.split_once(after).expect("the time's end");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = time.parse::<u64>().unwrap() - now;
    assert!((3580..=3600).contains(&left), "{left}");
    format!("{start}{before}N{after}{end}")
}

#[test]
fn each_program_gets_the_token_in_its_own_words() {
    let server = token_server();
    let place = place(&server);
    let cargo =
        r#"{"v":1,"registry":{"index-url":"sparse+https://index.example/"},"kind":"get","operation":"read","args":[]}"#;
    let args = r#"{"v":1,"registry":{"index-url":"sparse+https://index.example/"},"kind":"get","operation":"read","args":["helper","cargo","p"]}"#;
    let basic = "protocol=https\nhost=git.example\n";
    let cargo_answer = "{\"v\":[1]}\n{\"Ok\":{\"cache\":\"expires\",\"expiration\":N,\"kind\":\"get\",\"operation_independent\":true,\"token\":\"Bearer tok-1\"}}\n";
    let (expiry, expiration) = (("password_expiry_utc=", "\n"), ("\"expiration\":", ","));
    for (words, input, time, expected) in [
        (
            &["helper", "git", "p", "get"][..],
            AUTHTYPE,
            Some(expiry),
            "capability[]=authtype\nauthtype=Bearer\ncredential=tok-1\nephemeral=true\npassword_expiry_utc=N\n",
        ),
        (
            &["helper", "git", "p", "get"],
            basic,
            Some(expiry),
            "username=oauth2\npassword=tok-1\npassword_expiry_utc=N\n",
        ),
        (
            &["helper", "git", "p", "get"],
            "protocol=https\nhost=git.example\nusername=me\n\n",
            Some(expiry),
            "username=me\npassword=tok-1\npassword_expiry_utc=N\n",
        ),
        (
            &["helper", "git", "p", "--as-user", "x-access-token", "get"],
            AUTHTYPE,
            Some(expiry),
            "username=x-access-token\npassword=tok-1\npassword_expiry_utc=N\n",
        ),
        (&["helper", "git", "p", "store"], AUTHTYPE, None, ""),
        (&["helper", "git", "p", "reticulate"], AUTHTYPE, None, ""),
        (&["helper", "cargo", "p"], cargo, Some(expiration), cargo_answer),
        (&["--cargo-plugin"], args, Some(expiration), cargo_answer),
        (
            &["--cargo-plugin"],
            r#"{"v":1,"kind":"logout","args":["helper","cargo","p"]}"#,
            None,
            "{\"v\":[1]}\n{\"Err\":{\"kind\":\"operation-not-supported\"}}\n",
        ),
        (
            &["helper", "docker", "p", "get"],
            "registry.example\n",
            None,
            "{\"Secret\":\"tok-1\",\"ServerURL\":\"registry.example\",\"Username\":\"oauth2\"}\n",
        ),
        (
            &["helper", "gcp", "p"],
            "",
            Some(("\"expiration_time\":", ",")),
            "{\"expiration_time\":N,\"id_token\":\"tok-1\",\"success\":true,\"token_type\":\"urn:ietf:params:oauth:token-type:jwt\",\"version\":1}\n",
        ),
    ] {
        let outcome = place.keyfob(words).input(input).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{words:?}: {outcome:?}");
        let text = match time {
            Some((before, after)) => without_time(&outcome.stdout, before, after),
            None => outcome.stdout,
        };
        assert_eq!(text, expected, "{words:?}");
    }
    let text = place.keyfob(["helper", "kubectl", "p"]).outcome().stdout;
    let (start, rest) = text.split_once("\"expirationTimestamp\":\"").unwrap();
    assert_eq!(start, "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{");
    let (time, end) = rest.split_once('"').unwrap();
    assert!(time.len() == 20 && time.starts_with("2") && time.ends_with('Z'), "{time}");
    assert_eq!(end, ",\"token\":\"tok-1\"}}\n");
    assert_eq!(server.requests().len(), 1, "all the others got it from the cache");
}

#[test]
fn a_token_of_unknown_life_has_no_time() {
    let server = Server::answering(json(200, r#"{"access_token":"tok-1"}"#));
    let place = place(&server);
    for (words, expected) in [
        (
            &["helper", "git", "p", "get"][..],
            "capability[]=authtype\nauthtype=Bearer\ncredential=tok-1\nephemeral=true\n",
        ),
        (
            &["helper", "kubectl", "p"],
            "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"tok-1\"}}\n",
        ),
    ] {
        place.keyfob(words).input(AUTHTYPE).outcome().is(0, expected, "");
    }
    place.keyfob(["helper", "cargo", "p"]).input(r#"{"v":1,"kind":"get"}"#).outcome().is(
        0,
        "{\"v\":[1]}\n{\"Ok\":{\"cache\":\"never\",\"kind\":\"get\",\"operation_independent\":true,\"token\":\"Bearer tok-1\"}}\n",
        "",
    );
}

#[test]
fn erase_replaces_the_token_that_was_rejected_and_no_other() {
    let server = token_server();
    let place = place(&server);
    let fetches = |erased: &str| {
        place.keyfob(["helper", "git", "p", "erase"]).input(erased).outcome().is(0, "", "");
        place.keyfob(["helper", "git", "p", "get"]).input(AUTHTYPE).outcome();
        server.requests().len()
    };
    assert_eq!(fetches("protocol=https\nhost=git.example\npassword=other\n"), 1);
    assert_eq!(fetches("protocol=https\nhost=git.example\npassword=other\n"), 1);
    assert_eq!(fetches("protocol=https\nhost=git.example\npassword=tok-1\n"), 2);
    assert_eq!(fetches("capability[]=authtype\nauthtype=Bearer\ncredential=tok-1\n"), 3);
    assert_eq!(fetches("protocol=https\nhost=git.example\n"), 4);
}

#[test]
fn a_failure_is_told_where_the_program_looks_for_it() {
    let server = Server::answering(json(401, r#"{"error":"invalid_client"}"#));
    let place = place(&server);
    let first = place.keyfob(["helper", "git", "p", "get"]).input(AUTHTYPE).outcome();
    assert_eq!((first.code, first.stdout.as_str()), (Some(3), ""), "{first:?}");
    let outcome = place.keyfob(["helper", "gcp", "p"]).outcome();
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stdout.starts_with("{\"code\":\"refused\",\"message\":\""), "{outcome:?}");
    assert!(outcome.stdout.ends_with("\"success\":false,\"version\":1}\n"), "{outcome:?}");
    let outcome = place.keyfob(["helper", "docker", "p", "get"]).outcome();
    assert!(outcome.code == Some(3) && outcome.stdout.contains("invalid_client"), "{outcome:?}");
    let outcome = place.keyfob(["helper", "cargo", "p"]).input(r#"{"v":1,"kind":"get"}"#).outcome();
    let start = "{\"v\":[1]}\n{\"Err\":{\"caused-by\":[";
    assert!(outcome.code == Some(0) && outcome.stdout.starts_with(start), "{outcome:?}");
    assert!(outcome.stdout.contains("\"kind\":\"other\",\"message\":\""), "{outcome:?}");
}

#[test]
fn what_is_wrong_with_the_call_is_named_and_nothing_is_sent() {
    let server = token_server();
    let place = place(&server);
    let usage = |message: &str| format!("keyfob: usage: {message}\n{USAGE_HINT}\n");
    let plain = "keyfob: helper: no token for plain http to another host\nhint: use https\n";
    let docker = "helper docker: the operation is get: the token is not docker's to store";
    for (words, input, stdout, stderr) in [
        (&["helper"][..], "", "", usage("helper: the program is one of git, cargo, kubectl, docker, gcp")),
        (&["helper", "gti"], "", "", usage("helper: unknown program \"gti\"; did you mean \"git\"?")),
        (&["helper", "kubectl"], "", "", usage("helper: no profile is named")),
        (&["helper", "git", "p", "get"], "protocol=http\nhost=git.example\n", "", plain.to_owned()),
        (&["helper", "docker", "p", "store"], "{}", &format!("usage: {docker}\n"), usage(docker)),
    ] {
        place.keyfob(words).input(input).outcome().is(2, stdout, &stderr);
    }
    let question = r#"{"kind":"get","registry":{"index-url":"sparse+http://index.example/"},"args":[]}"#;
    place.keyfob(["helper", "cargo", "p"]).input(question).outcome().is(
        0,
        "{\"v\":[1]}\n{\"Err\":{\"caused-by\":[\"use https\"],\"kind\":\"other\",\"message\":\"helper: no token for plain http to another host\"}}\n",
        "",
    );
    place.file("config/keyfob/x.json", format!(r#"{{"url":"{}","api":"X-Token: {{token}}"}}"#, server.url("/")));
    let outcome = place.keyfob(["helper", "git", "x", "--no-cache", "get"]).input(AUTHTYPE).outcome();
    outcome.fails(2, "keyfob: helper: the API wants the token in X-Token, not in Authorization");
}

/// A program with an environment of its own.
fn program(name: &str, place: &Place) -> Command {
    let mut command = Command::new(name);
    command.env_clear().current_dir(place.path("here"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", place.path("home")).env("XDG_CONFIG_HOME", place.path("config"));
    command
}

#[test]
fn git_sends_the_token_and_asks_again_after_a_rejection() {
    let tokens = token_server();
    let place = place(&tokens);
    let remote = Server::with(|_, stream| {
        let _ = stream.write_all(&answer(401, &["www-authenticate: Basic realm=\"x\""], ""));
    });
    for round in 1..=2 {
        let helper = format!("credential.helper=!{} helper git p", env!("CARGO_BIN_EXE_keyfob"));
        let mut git = program("git", &place);
        git.args(["-c", &helper, "ls-remote", &remote.url("/r.git")]);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        let Ok(output) = git.output() else { return };
        assert!(!output.status.success());
        let sent: Vec<_> =
            remote.requests().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
        assert_eq!(sent.len(), round, "{output:?}");
        // Basic is oauth2:tok-1, as git before 2.46 sends it.
        assert!(
            sent.iter().all(|sent| ["Bearer tok-1", "Basic b2F1dGgyOnRvay0x"].contains(&sent.as_str())),
            "{sent:?}"
        );
        assert_eq!(tokens.requests().len(), round + 1, "git has the rejected token replaced");
    }
}

#[test]
fn cargo_sends_the_token() {
    let tokens = token_server();
    let place = place(&tokens);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let config = format!(r#"{{"dl":"{api}","api":"{api}"}}"#);
    let index = Server::on(listener, move |seen, stream| {
        let body = if seen.target == "/config.json" { config.as_str() } else { r#"{"users":[]}"# };
        let _ = stream.write_all(&json(200, body));
    });
    let keyfob = env!("CARGO_BIN_EXE_keyfob");
    place.file(
        "here/.cargo/config.toml",
        format!("[registries.r]\nindex = \"sparse+{api}/\"\ncredential-provider = [\"{keyfob}\", \"helper\", \"cargo\", \"p\"]\n"),
    );
    let mut cargo = program(env!("CARGO"), &place);
    cargo.args(["owner", "--list", "--registry", "r", "foo"]).env("CARGO_HOME", place.path("home"));
    let output = cargo.output().unwrap();
    let requests = index.requests();
    let last = requests.last().unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(last.target, "/api/v1/crates/foo/owners", "{output:?}");
    assert_eq!(last.header("authorization"), Some("Bearer tok-1"));
    assert!(output.status.success(), "{output:?}");
}
