//! The command, as scripts see it: what it prints, where, and with which exit code.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/command.rs"]
mod running;
#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod serving;

use common::{Seen, Server, answer, json};
use running::{Place, Refusing, SENTINEL, read_once};
use std::ffi::OsStr;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A token that lives an hour.
fn token_server() -> Server {
    Server::answering(json(200, r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#))
}

/// Replaces the number between `before` and `after` by N; it must be just below `whole`: some of it has passed already.
#[track_caller]
fn without_seconds(text: &str, before: &str, after: &str, whole: u64) -> String {
    let (start, rest) = text.split_once(before).expect("the number's beginning");
    let (number, end) = rest.split_once(after).expect("the number's end");
    let left: u64 = number.parse().expect("it is a whole number");
    assert!(left < whole && left + 20 > whole, "{left} is not just below {whole}");
    format!("{start}{before}N{after}{end}")
}

// The token.

#[test]
fn a_token_comes_out_in_each_format_as_one_line() {
    let place = Place::new();
    let body = r#"{"access_token":"a\"b\\c/d","token_type":"bearer","scope":"read write"}"#;
    let server = Server::answering(json(200, body));
    for (format, line) in [
        ("token", r#"a"b\c/d"#),
        ("header", r#"Authorization: Bearer a"b\c/d"#),
        ("curl", r#"header = "Authorization: Bearer a\"b\\c/d""#),
        (
            "json",
            "{\"access_token\":\"a\\\"b\\\\c/d\",\"token_type\":\"bearer\",\"expires_in\":null,\
             \"scope\":\"read write\",\"cache\":\"none\"}",
        ),
    ] {
        place.token(&server.url("/t"), &["--format", format]).outcome().prints(line);
    }
    place.token(&server.url("/t"), &[]).outcome().prints(r#"a"b\c/d"#);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn json_tells_what_is_left_of_the_life_in_whole_seconds_rounded_down() {
    let place = Place::new();
    for (lifetime, options, whole) in [
        (r#""expires_in":3600,"#, &[][..], 3600),
        (r#""expires_in":"3599","#, &[], 3599),
        ("", &["--lifetime", "600"], 600),
        (r#""expires_in":0,"#, &["--lifetime", "600"], 600),
        (r#""expires_in":3600,"#, &["--lifetime", "600"], 3600),
        (r#""expires_in":3600,"#, &["--min-valid", "3500"], 3600),
    ] {
        let server = Server::answering(json(200, &format!(r#"{{{lifetime}"access_token":"tok-1"}}"#)));
        let outcome = place.token(&server.url("/t"), &[&["--format", "json"], options].concat()).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{lifetime} {options:?}");
        assert_eq!(
            without_seconds(&outcome.stdout, "\"expires_in\":", ",", whole),
            "{\"access_token\":\"tok-1\",\"token_type\":null,\"expires_in\":N,\"scope\":null,\"cache\":\"none\"}\n"
        );
    }
}

#[test]
fn an_unknown_life_is_null_and_long_enough() {
    let place = Place::new();
    for lifetime in ["", r#""expires_in":null,"#, r#""expires_in":"soon","#] {
        let server = Server::answering(json(200, &format!(r#"{{{lifetime}"access_token":"tok-1"}}"#)));
        place
            .token(&server.url("/t"), &["--format", "json", "--min-valid", "86400"])
            .outcome()
            .prints(r#"{"access_token":"tok-1","token_type":null,"expires_in":null,"scope":null,"cache":"none"}"#);
    }
}

#[test]
fn a_life_of_zero_is_handed_out_with_a_hint() {
    let place = Place::new();
    for lifetime in ["0", "-1", "\"0\""] {
        let server = Server::answering(json(200, &format!(r#"{{"access_token":"tok-1","expires_in":{lifetime}}}"#)));
        place.token(&server.url("/t"), &[]).outcome().is(
            0,
            "tok-1\n",
            "hint: the server says the token lives 0 s or less; if it means something else, say so (--lifetime)\n",
        );
    }
}

#[test]
fn a_token_of_another_type_comes_out_bare_but_not_as_a_bearer_token() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"tok-1","token_type":"mac"}"#));
    place.token(&server.url("/t"), &["--format", "token"]).outcome().prints("tok-1");
    place
        .token(&server.url("/t"), &["--format", "json"])
        .outcome()
        .prints(r#"{"access_token":"tok-1","token_type":"mac","expires_in":null,"scope":null,"cache":"none"}"#);
    let message = "keyfob: a token of type \"mac\" cannot be sent as a bearer token\n\
         hint: such a token needs more than a header; ask whoever runs the server for a bearer token\n";
    place.token(&server.url("/t"), &["--format", "header"]).outcome().is(5, "", message);
    place.token(&server.url("/t"), &["--format", "curl"]).outcome().is(5, "proto = \"-all\"\n", message);
}

#[test]
fn a_token_may_stand_in_another_member() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"data":{"token":"tok-1","expires_in":60},"token_type":"Bearer"}"#));
    let outcome = place.token(&server.url("/t"), &["--field", "data.token", "--format", "json"]).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        without_seconds(&outcome.stdout, "\"expires_in\":", ",", 60),
        "{\"access_token\":\"tok-1\",\"token_type\":\"Bearer\",\"expires_in\":N,\"scope\":null,\"cache\":\"none\"}\n"
    );
    place.token(&server.url("/t"), &[]).outcome().fails(
        5,
        "keyfob: the answer is no token response: there is no access token\n\
         hint: is this the token endpoint? where the token stands in another member, name it (--field)",
    );
}

#[test]
fn the_documented_answer_of_form_credentials_is_read() {
    let place = Place::new();
    let server = Server::answering(json(200, common::ANSWER_C));
    let options =
        ["--dialect", "form-credentials", "--scope", "s", "--client-id", "c", "--client-secret-file", "secret"];
    place.token(&server.url("/t"), &options).outcome().prints("c-token");
}

// Exit code 2: usage and configuration.

const USAGE_HINT: &str = "hint: keyfob help shows what there is";

#[test]
fn a_command_line_that_is_wrong_is_named_without_what_may_be_a_secret() {
    let place = Place::new();
    let in_file =
        |secret: &str| format!("hint: everyone can read argument lists: put it into a file and use --{secret}-file");
    let (client_secret, password) = (in_file("client-secret"), in_file("password"));
    let (session, refresh, access) = (in_file("session-token"), in_file("refresh-token"), in_file("access-token"));
    let duration = |option: &str| {
        format!("usage: --{option}: this must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)")
    };
    let too_many = "usage: there is a word too many; a secret is never given on the command line";
    for (arguments, message, hint) in [
        (
            &["hunter2"][..],
            "usage: the first word is none of token, revoke, keep, bench, parse, demo, help",
            USAGE_HINT,
        ),
        (&["Token"], "usage: unknown command \"Token\"; did you mean \"token\"?", USAGE_HINT),
        (&["tokn"], "usage: unknown command \"tokn\"; did you mean \"token\"?", USAGE_HINT),
        (&[""], "usage: the first word is none of token, revoke, keep, bench, parse, demo, help", USAGE_HINT),
        (
            &["--url", "https://as.example"],
            "usage: the first word must say what to do: token, revoke, keep, bench, parse, demo or help",
            USAGE_HINT,
        ),
        (
            &["-x", "token"],
            "usage: the first word must say what to do: token, revoke, keep, bench, parse, demo or help",
            USAGE_HINT,
        ),
        (&["token", "--nonsense"], "usage: there is no option --nonsense", USAGE_HINT),
        (&["token", "--nonsense=hunter2"], "usage: there is no option --nonsense", USAGE_HINT),
        (&["token", "--URL", "https://as.example"], "usage: there is no option --URL; did you mean --url?", USAGE_HINT),
        (&["token", "--no\u{1b}[31m"], "usage: there is no option --no\\u{1b}[31m", USAGE_HINT),
        (&["token", "--client-secret", "hunter2"], "usage: there is no option --client-secret", &client_secret),
        (&["token", "--client-secret=hunter2"], "usage: there is no option --client-secret", &client_secret),
        (&["token", "--password", "hunter2"], "usage: there is no option --password", &password),
        (&["token", "--session-token", "hunter2"], "usage: there is no option --session-token", &session),
        (&["token", "--refresh-token", "hunter2"], "usage: there is no option --refresh-token", &refresh),
        (&["revoke", "--access-token", "hunter2"], "usage: there is no option --access-token", &access),
        (&["token", "-phunter2"], "usage: there are no one-letter options but -h, -v, -V and bench's -n", USAGE_HINT),
        (
            &["token", "-p", "hunter2"],
            "usage: there are no one-letter options but -h, -v, -V and bench's -n",
            USAGE_HINT,
        ),
        (&["token", "--url"], "usage: --url wants a value", USAGE_HINT),
        (&["token", "--client-secret-file"], "usage: --client-secret-file wants a value", USAGE_HINT),
        (&["token", "--no-cache=hunter2"], "usage: --no-cache takes no value", USAGE_HINT),
        (&["token", "--url", "a", "--url", "b"], "usage: --url is given twice", USAGE_HINT),
        (&["token", "--timeout", "5", "--timeout=5"], "usage: --timeout is given twice", USAGE_HINT),
        (
            &["token", "--client-secret-file", "a", "--client-secret-file", "a"],
            "usage: --client-secret-file is given twice",
            USAGE_HINT,
        ),
        (&["token", "--timeout", "hunter2"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout", "1,5"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout", "+1"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout=-1"], &duration("timeout"), USAGE_HINT),
        (&["token", "--lifetime", ""], &duration("lifetime"), USAGE_HINT),
        (&["token", "--min-valid", "1w"], &duration("min-valid"), USAGE_HINT),
        (&["token", "--param", "hunter2"], "usage: --param: this must be NAME=VALUE", USAGE_HINT),
        (&["token", "--param-file", "hunter2"], "usage: --param-file: this must be NAME=VALUE", USAGE_HINT),
        (&["token", "--header", "Bearer hunter2"], "usage: --header: this must be NAME:VALUE", USAGE_HINT),
        (&["token", "--header-file", "hunter2"], "usage: --header-file: this must be NAME:VALUE", USAGE_HINT),
        (&["token", "./profile", "hunter2"], too_many, USAGE_HINT),
        (&["token", "./profile", "hunter2", "x"], too_many, USAGE_HINT),
        (&["revoke", "./profile", "--", "--hunter2"], too_many, USAGE_HINT),
        (&["parse", "hunter2"], too_many, USAGE_HINT),
        (&["help", "hunter2"], too_many, USAGE_HINT),
        (&["--version", "hunter2"], too_many, USAGE_HINT),
        (&["parse", "--url", "https://as.example"], "usage: there is no option --url", USAGE_HINT),
        (&["token", "--status", "200"], "usage: there is no option --status", USAGE_HINT),
        (&["help", "--url=x"], "usage: there is no option --url", USAGE_HINT),
    ] {
        // Of a profile that is not there nobody can say that it is not meant for curl.
        let stdout = if arguments.starts_with(&["token", "./profile"]) { "proto = \"-all\"\n" } else { "" };
        place.keyfob(arguments).outcome().is(2, stdout, &format!("keyfob: {message}\n{hint}\n"));
    }
}

#[test]
fn a_command_line_that_is_not_text_is_an_error() {
    let place = Place::new();
    let not_text = OsStr::from_bytes(b"hunter2\xFF");
    for (arguments, message) in [
        ([OsStr::new("token"), OsStr::new("--client-id"), not_text], "--client-id: the value is not UTF-8 text"),
        ([OsStr::new("token"), OsStr::new("--param"), not_text], "--param: the value is not UTF-8 text"),
        (
            [not_text, OsStr::new("--param"), OsStr::new("a=b")],
            "the first word is none of token, revoke, keep, bench, parse, demo, help",
        ),
    ] {
        place.keyfob(arguments).outcome().fails(2, &format!("keyfob: usage: {message}\n{USAGE_HINT}"));
    }
}

#[test]
fn a_wrong_url_is_named() {
    let place = Place::new();
    for (url, lines) in [
        ("as.example/token", "url: it must start with https:// or http://"),
        ("", "url: it must start with https:// or http://"),
        ("ftp://as.example/token", "url: only https and http are known"),
        ("https://", "url: the host is missing"),
        ("https://as.example:99999/", "url: the port is not a number from 1 to 65535"),
        ("https://as.example/token#part", "url: a token endpoint has no fragment (#…)"),
        (
            "https://me:hunter2@as.example/token",
            "url: a user name or password cannot stand in it\n\
             hint: use a client secret or --username with --password-file",
        ),
        (
            "https://as.example/a token",
            "url: only visible ASCII can stand in it, see byte 20\n\
             hint: percent-encode the character (a space is %20), and write a host name in punycode",
        ),
        (
            "http://as.example/token?key=hunter2",
            "plain http to as.example would show the credentials to everyone on the way\n\
             hint: use https, or allow it (--allow-http) if you trust the network",
        ),
        (
            "http://127.0.0.1.example:8080/token",
            "plain http to 127.0.0.1.example:8080 would show the credentials to everyone on the way\n\
             hint: use https, or allow it (--allow-http) if you trust the network",
        ),
    ] {
        place.token(url, &[]).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    for verb in ["token", "revoke"] {
        place
            .keyfob([verb])
            .outcome()
            .fails(2, "keyfob: there is no token endpoint\nhint: say where it is: `url` (--url)");
    }
}

#[test]
fn options_that_do_not_fit_are_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let server = token_server();
    for (options, lines) in [
        (
            &["--method", "GET", "--params", "form"][..],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--method", "GET", "--params", "json"],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--grant", "bearer_session", "--params", "json", "--session-token-file", "secret"],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--dialect", "form-credentials", "--client-id", "c", "--client-secret-file", "secret"],
            "this endpoint wants a scope, and none is given\n\
             hint: add the scope its service documents: often the tenant's or host's URL",
        ),
        (
            &["--dialect", "form-credentials", "--scope", ""],
            "this endpoint wants a scope, and none is given\n\
             hint: add the scope its service documents: often the tenant's or host's URL",
        ),
        (
            &["--dialect", "entra"],
            "`dialect`: \"entra\" is none of bearer-session, form-credentials, json-credentials, user-credentials",
        ),
        (
            &["--grant", "client_credential"],
            "unknown grant \"client_credential\"; did you mean \"client_credentials\"?",
        ),
        (
            &["--grant", "client-credentials"],
            "unknown grant \"client-credentials\"; did you mean \"client_credentials\"?",
        ),
        (&["--grant", "Password"], "unknown grant \"Password\"; did you mean \"password\"?"),
        (&["--grant", "refresh"], "unknown grant \"refresh\"; did you mean \"refresh_token\"?"),
        (&["--grant", ""], "`grant`: it is empty"),
        (&["--params", "xml"], "`params`: \"xml\" is none of form, json, query"),
        (
            &["--auth", "basic"],
            "`auth`: \"basic\" is none of client_secret_basic, client_secret_post, tls_client_auth, none",
        ),
        (&["--method", "get"], "`method`: \"get\" is none of POST, PUT, GET"),
        (&["--method", "DELETE"], "`method`: \"DELETE\" is none of POST, PUT, GET"),
        (&["--format", "hunter2"], "`format`: this must be one of token, header, curl, json"),
        (&["--timeout", "0"], "`timeout`: this must be longer than 0 s"),
        (
            &["--lifetime", "0"],
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (&["--field", "a..b"], "field: \"a..b\" is not a path: names joined by dots, at most 8"),
        (&["--field", ""], "field: \"\" is not a path: names joined by dots, at most 8"),
        (
            &["--auth", "client_secret_basic", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has \
             none; a client whose secret is the empty text sends `Basic ` and the base64 of its id with a colon as its \
             own Authorization header (--auth none, --header-file)",
        ),
        (
            &["--auth", "client_secret_post", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has \
             none; a client whose secret is the empty text sends `Basic ` and the base64 of its id with a colon as its \
             own Authorization header (--auth none, --header-file)",
        ),
        (&["--client-secret-file", "secret"], "the client id is missing\nhint: give it as client_id (--client-id)"),
        (
            &["--basic-raw", "--client-id", "a:b", "--client-secret-file", "secret"],
            "a client id with a colon cannot be sent by raw Basic (RFC 7617 section 2)\n\
             hint: leave --basic-raw out, or use client_secret_post",
        ),
        (
            &["--grant", "password", "--password-file", "secret"],
            "the grant `password` needs a user name\nhint: give it by --username",
        ),
        (
            &["--grant", "password", "--username", "u"],
            "the grant `password` needs a password\nhint: give it by --password-file",
        ),
        (
            &["--dialect", "user-credentials", "--username", "u"],
            "the grant `password` needs a password\nhint: give it by --password-file",
        ),
        (
            &["--dialect", "bearer-session"],
            "the grant `bearer_session` needs a session token\nhint: give it by --session-token-file",
        ),
        (
            &["--grant", "refresh_token"],
            "the grant `refresh_token` needs a refresh token\nhint: give it by --refresh-token-file",
        ),
        (
            &["--client-secret-file", "secret", "--client-secret-env", "SECRET"],
            "`client_secret_file` and `client_secret_env` are both given",
        ),
        (
            &["--header", "X: a\r\nB: hunter2"],
            "header X: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
        (
            &["--header", "X:"],
            "header X: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
        (&["--header", "X : a"], "header \"X \": this is not a header name (RFC 9110 section 5.1)"),
        (&["--header", ": a"], "header \"\": this is not a header name (RFC 9110 section 5.1)"),
        (&["--header", "a\r\nb: c"], "header \"a\\r\\nb\": this is not a header name (RFC 9110 section 5.1)"),
        (&["--header", "Host: as.example"], "header Host: the HTTP client sets it itself"),
        (&["--header", "content-length: 1"], "header content-length: the HTTP client sets it itself"),
        (
            &["--header", "authorization: Bearer hunter2"],
            "`header`: Authorization is a secret, and is never given as it is\n\
             hint: put it into a file and use --header-file 'Authorization: FILE'",
        ),
        (
            &["--param", "client_secret=hunter2"],
            "`param`: client_secret is a secret, and is never given as it is\n\
             hint: put it into a file and use --client-secret-file",
        ),
        (
            &["--header-file", "authorization: secret", "--client-id", "c", "--client-secret-file", "secret"],
            "header Authorization: the client authentication sets it already\n\
             hint: authenticate by `none` or client_secret_post to set it yourself",
        ),
        (&["--param", "grant_type=password"], "the parameter `grant_type` would be sent twice"),
        (&["--client-id", "c", "--param", "client_id=d"], "the parameter `client_id` would be sent twice"),
        (&["--scope", "a", "--param", "scope=b"], "the parameter `scope` would be sent twice"),
    ] {
        place.token(&server.url("/t"), options).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    // A profile that cannot be read might have said `"format": "curl"`, so curl is kept from sending anything.
    let outcome = place.token(&server.url("/t"), &["./none"]).outcome();
    outcome.fails_and_stops_curl(2, "keyfob: profile ./none: there is no such file");
    assert_eq!(server.requests(), []);
}

#[test]
#[cfg(feature = "tls")]
fn the_systems_roots_are_those_of_its_bundle() {
    let place = Place::new();
    let server = https_server(serving::config(serving::VALID, rustls::ALL_VERSIONS));
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\naGVs\n";
    let ca = String::from_utf8_lossy(serving::CA);
    // In the system's bundle, what cannot be read is passed over.
    place.file("here/bundle.pem", format!("# all\n{no_certificate}{cut}{ca}{cut}"));
    place.file("here/p.json", format!(r#"{{"url": "{}", "system_roots": true}}"#, server.url("/t")));
    place.file("here/c.json", format!(r#"{{"url": "{}", "ca_file": "none"}}"#, server.url("/t")));
    let url = server.url("/t");
    for words in [&["--url", &url, "--system-roots"][..], &["./p.json"], &["./c.json", "--system-roots"]] {
        let run = place.keyfob([&["token", "--no-cache"], words].concat());
        run.variable("SSL_CERT_FILE", "bundle.pem").outcome().prints("tok-1");
    }
    // Without the option they are not.
    let outcome = place.token(&url, &[]).variable("SSL_CERT_FILE", "bundle.pem").outcome();
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    assert_eq!(place.token(&url, &["--system-roots"]).outcome().code, Some(7), "this system does not trust the tests");

    place.file("here/empty.pem", "");
    place.file("here/none.pem", format!("{no_certificate}{cut}"));
    for (name, why) in [
        ("missing.pem", "there is no such file"),
        (".", "it is a directory"),
        ("empty.pem", "there is no certificate in it that can be read"),
        ("none.pem", "there is no certificate in it that can be read"),
        ("/dev/zero", "there is no certificate in it that can be read"),
    ] {
        let outcome = place.token(&url, &["--system-roots"]).variable("SSL_CERT_FILE", name).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: SSL_CERT_FILE, {name}: {why}"));
    }
    let both = place.token(&url, &["--system-roots", "--ca-file", "bundle.pem"]).outcome();
    both.fails(2, "keyfob: `ca_file` and `system_roots` are both given\nhint: leave one of them out");
    assert_eq!(server.requests().len(), 3);

    // For a token that is at hand no roots are read.
    let cached = |roots: &[&str]| place.keyfob([&["token", "--url", &url, "--cache-dir", "cache"], roots].concat());
    cached(&["--ca-file", "bundle.pem"])
        .outcome()
        .fails(2, "keyfob: trusted roots: bundle.pem: certificate 1 cannot be read");
    cached(&["--system-roots"]).variable("SSL_CERT_FILE", "bundle.pem").outcome().prints("tok-1");
    for roots in [&["--ca-file", "bundle.pem"][..], &["--system-roots"], &[]] {
        cached(roots).variable("SSL_CERT_FILE", "none").outcome().prints("tok-1");
    }
    assert_eq!(server.requests().len(), 4);
}

#[cfg(feature = "tls")]
fn https_server(config: Arc<rustls::ServerConfig>) -> Server {
    let wrapper = move |stream: TcpStream| -> Option<Box<dyn common::Stream>> {
        Some(Box::new(serving::Polite(serving::accept(&config, stream)?)))
    };
    let answer = json(200, r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#);
    let handler = move |_: &common::Seen, stream: &mut dyn common::Stream| drop(stream.write_all(&answer));
    Server::start("https", Box::new(wrapper), Box::new(handler))
}

#[test]
#[cfg(feature = "tls")]
fn a_client_is_known_by_its_certificate() {
    let place = Place::new();
    place.file("here/ca.pem", serving::CA);
    place.file("here/cert.pem", serving::CLIENT.0);
    place.file("here/key.pem", serving::CLIENT.1);
    place.file("here/expired.pem", serving::CLIENT_EXPIRED.0);
    place.file("here/expired.key.pem", serving::CLIENT_EXPIRED.1);
    place.file("here/both.pem", [serving::CLIENT.1, serving::CLIENT.0].concat());
    place.file("credentials/key-of-the-unit", serving::CLIENT.1);
    place.file("here/encrypted.pem", serving::CLIENT_ENCRYPTED);
    let server = https_server(serving::config_for_clients_of(serving::CA, rustls::ALL_VERSIONS));
    let url = server.url("/t");
    place.file(
        "here/p.json",
        format!(
            r#"{{"url": "{url}", "auth": "tls_client_auth", "client_id": "id", "ca_file": "ca.pem",
                "client_cert_file": "cert.pem", "client_key_file": "key.pem"}}"#
        ),
    );
    let key = String::from_utf8_lossy(serving::CLIENT.1);
    let by_options = |certificate: &'static str, key: &'static str| {
        let options = ["--ca-file", "ca.pem", "--auth", "tls_client_auth", "--client-id", "id"];
        place.token(&url, &[&options[..], &["--client-cert-file", certificate, "--client-key-file", key]].concat())
    };
    let in_variable = ["--no-cache", "./p.json", "--client-key-env", "KEY"];
    let mut count = 0;
    for run in [
        by_options("cert.pem", "key.pem"),
        by_options("both.pem", "both.pem"),
        by_options("cert.pem", "-").input(serving::CLIENT.1),
        by_options("cert.pem", "key-of-the-unit").variable("CREDENTIALS_DIRECTORY", place.path("credentials")),
        place.keyfob(["token", "--no-cache", "./p.json"]),
        place.keyfob([&["token"], &in_variable[..]].concat()).variable("KEY", &*key),
    ] {
        run.outcome().prints("tok-1");
        count += 1;
    }
    let requests = server.requests();
    assert_eq!(requests.len(), count);
    for request in requests {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.body_text(), "grant_type=client_credentials&client_id=id");
    }

    // A refusal is code 7, what cannot work is code 2.
    let outcome = by_options("expired.pem", "expired.key.pem").outcome();
    outcome.fails(
        7,
        &format!(
            "keyfob: {}: it refuses the client certificate: CertificateExpired\n\
             hint: get a new one; or the server's clock, or that of its issuer, is wrong",
            server.address()
        ),
    );
    let options = ["--ca-file", "ca.pem", "--client-id", "id"];
    for (more, why) in [
        (
            &["--auth", "tls_client_auth"][..],
            "`tls_client_auth` needs a client certificate\n\
             hint: name it, and its key (--client-cert-file, --client-key-file)",
        ),
        (&["--client-cert-file", "cert.pem"], "the client certificate has no key\nhint: name it (--client-key-file)"),
        (&["--client-key-file", "key.pem"], "the client key has no certificate\nhint: name it (--client-cert-file)"),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "expired.key.pem"],
            "client key: it does not belong to the client certificate\n\
             hint: the client's certificate stands first in its file, then those that issued it",
        ),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "encrypted.pem"],
            "client key: it is encrypted, and nobody is there to ask for its password\n\
             hint: decrypt it into a file that others cannot read: \
             (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
        ),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "missing.pem"],
            "secret file HERE/missing.pem: there is no such file",
        ),
        (
            &["--client-cert-file", "-", "--client-key-file", "-"],
            "`client_cert_file` and `client_key_file` both read standard input, which holds one secret",
        ),
        (
            &["--client-key", "hunter2"],
            "usage: there is no option --client-key\n\
             hint: everyone can read argument lists: put it into a file and use --client-key-file",
        ),
    ] {
        let why = why.replace("HERE", &place.path("here"));
        place.token(&url, &[&options[..], more].concat()).outcome().fails(2, &format!("keyfob: {why}"));
    }
    place.file("here/q.json", format!(r#"{{"url": "{url}", "client_key": "hunter2"}}"#));
    place.keyfob(["token", "--no-cache", "./q.json"]).outcome().fails(
        2,
        "keyfob: profile: unknown member \"client_key\"\n\
         hint: a profile holds no secret, but where it is: `client_key_file`",
    );
    assert_eq!(server.requests().len(), count);
}

#[test]
#[cfg(feature = "tls")]
fn trusted_roots_must_be_pem() {
    let place = Place::new();
    let no_certificate = "there is no certificate in it\nhint: it must be PEM: -----BEGIN CERTIFICATE-----";
    place.file("here/garbage.pem", "hunter2");
    place.file("here/empty.pem", "");
    for (file, why) in [
        ("/dev/zero", no_certificate),
        ("garbage.pem", no_certificate),
        ("empty.pem", no_certificate),
        (".", "it is a directory"),
        ("none", "there is no such file"),
    ] {
        let outcome = place.token("https://as.example", &["--ca-file", file]).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: {file}: {why}"));
    }
    // Where they are not needed they are not read: not for plain http, and not for a token that is there.
    let server = token_server();
    place.token(&server.url("/t"), &["--ca-file", "none"]).outcome().prints("tok-1");
}

#[test]
fn a_secret_that_cannot_be_read_is_named_by_its_place() {
    let place = Place::new();
    let server = token_server();
    place.file("here/empty", "");
    place.file("here/line-end", "\r\n");
    place.file("here/not-text", b"hunter2\xFF");
    place.file("here/large", SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1));
    place.file("here/two-lines", "hunter2\nhunter2\n");
    let client = |options: &[&'static str]| [&["--client-id", "c"], options].concat();
    for (options, why) in [
        (client(&["--client-secret-file", "none"]), "secret file HERE/none: there is no such file"),
        (client(&["--client-secret-file", "./no/ne"]), "secret file HERE/no/ne: there is no such file"),
        (client(&["--client-secret-file", "."]), "secret file HERE: it is a directory"),
        (client(&["--client-secret-file", "/dev/null"]), "secret file /dev/null: it is a device"),
        (client(&["--client-secret-file", "/dev/zero"]), "secret file /dev/zero: it is a device"),
        (client(&["--client-secret-file", "empty"]), "secret file HERE/empty: it is empty"),
        (client(&["--client-secret-file", "line-end"]), "secret file HERE/line-end: it is empty"),
        (client(&["--client-secret-file", "not-text"]), "secret file HERE/not-text: it is not UTF-8 text"),
        (
            client(&["--client-secret-file", "large"]),
            "secret file HERE/large: it is longer than 64 KiB, so it cannot be a secret",
        ),
        (client(&["--client-secret-env", "NONE"]), "environment variable NONE: it is not set"),
        (client(&["--client-secret-env", "EMPTY"]), "environment variable EMPTY: it is empty"),
        (client(&["--client-secret-env", "NOT_TEXT"]), "environment variable NOT_TEXT: it is not UTF-8 text"),
        (client(&["--client-secret-file", "-"]), "standard input: it is empty"),
        (client(&["--param-file", "assertion=none"]), "secret file HERE/none: there is no such file"),
        (client(&["--header-file", "X-Key: none"]), "secret file HERE/none: there is no such file"),
        (
            client(&["--header-file", "X-Key: two-lines"]),
            "secret file HERE/two-lines: byte 7 is a line end, which a header cannot hold\n\
             hint: take it out; only a single line end at the very end of a file or variable is ignored",
        ),
        (
            vec!["--grant", "refresh_token", "--refresh-token-file", "none"],
            "secret file HERE/none: there is no such file",
        ),
        (
            vec!["--grant", "password", "--username", "u", "--password-env", "NONE"],
            "environment variable NONE: it is not set",
        ),
        (
            vec!["--dialect", "bearer-session", "--session-token-file", "two-lines"],
            "secret file HERE/two-lines: byte 7 is a line end, which a session token cannot hold\n\
             hint: take it out; only a single line end at the very end of a file or variable is ignored",
        ),
    ] {
        let run = place.token(&server.url("/t"), &options).variable("EMPTY", "");
        let run = run.variable("NOT_TEXT", OsStr::from_bytes(b"hunter2\xFF"));
        run.outcome().fails(2, &format!("keyfob: {}", why.replace("HERE", &place.path("here"))));
    }
    let too_long = place.token(&server.url("/t"), &client(&["--client-secret-file", "-"]));
    too_long
        .input(SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1))
        .outcome()
        .fails(2, "keyfob: standard input: it is longer than 64 KiB, or grew while it was read");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_file_that_everybody_can_read_is_pointed_out() {
    let place = Place::new();
    let server = token_server();
    let options = ["--client-id", "c", "--client-secret-file", "secret"];
    for (mode, stderr) in [
        (0o600, ""),
        (0o640, ""),
        (0o644, "hint: secret file secret: everybody can read it (chmod o-r)\n"),
        (0o444, "hint: secret file secret: everybody can read it (chmod o-r)\n"),
    ] {
        std::fs::set_permissions(place.path("here/secret"), std::fs::Permissions::from_mode(mode)).unwrap();
        place.token(&server.url("/t"), &options).outcome().is(0, "tok-1\n", stderr);
    }
}

/// As a shell makes one of `<(command)`: the writer may come late and take its time.
#[test]
fn a_secret_may_come_out_of_a_pipe() {
    let place = Place::new();
    let server = token_server();
    let path = place.path("here/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for part in ["hun", "ter2\n"] {
            std::thread::sleep(Duration::from_millis(50));
            pipe.write_all(part.as_bytes()).unwrap();
        }
    });
    let options = ["--client-id", "c", "--client-secret-file", "pipe", "--auth", "client_secret_post"];
    place.token(&server.url("/t"), &options).outcome().prints("tok-1");
    writer.join().unwrap();
    assert_eq!(server.request().body_text(), "grant_type=client_credentials&client_id=c&client_secret=hunter2");
}

/// Eight bytes of a secret that is too large.
const SENTINEL_LARGE: &str = "hunter2,";

#[test]
fn standard_input_holds_one_secret() {
    let place = Place::new();
    let server = token_server();
    let password = ["--grant", "password", "--username", "u", "--password-file", "-", "--client-id", "c"];
    for (options, first, second) in [
        ([&password[..], &["--client-secret-file", "-"]].concat(), "client_secret_file", "password_file"),
        ([&password[..], &["--param-file", "otp=-"]].concat(), "param_file", "password_file"),
        (vec!["--param-file", "a=-", "--param-file", "b=-"], "param_file", "param_file"),
        (vec!["--header-file", "A: -", "--header-file", "B: -"], "header_file", "header_file"),
        (
            vec!["--client-id", "c", "--client-secret-file", "-", "--header-file", "B: -"],
            "client_secret_file",
            "header_file",
        ),
    ] {
        place
            .token(&server.url("/t"), &options)
            .input(SENTINEL)
            .outcome()
            .fails(2, &format!("keyfob: `{first}` and `{second}` both read standard input, which holds one secret"));
    }
    assert_eq!(server.requests(), []);
}

// Exit codes 3 to 7: what the server and the network do.

/// Starts the command with a client secret against a server that answers so, and checks its error in every format.
/// `HOST` stands for the server's host and port.
#[track_caller]
fn error_for(server: &Server, options: &[&str], code: i32, text: &str, json: &str) {
    let place = Place::new();
    let url = server.url("/t?key=hunter2");
    let options = [&["--client-id", "c", "--client-secret-file", "secret"], options].concat();
    let host = server.address().to_string();
    let (text, json) = (format!("{}\n", text.replace("HOST", &host)), format!("{}\n", json.replace("HOST", &host)));
    place.token(&url, &options).outcome().is(code, "", &text);
    place.token(&url, &[&options[..], &["--format", "header"]].concat()).outcome().is(code, "", &text);
    place.token(&url, &[&options[..], &["--format", "curl"]].concat()).outcome().is(code, "proto = \"-all\"\n", &text);
    place.token(&url, &[&options[..], &["--format", "json"]].concat()).outcome().is(code, "", &json);
}

/// The members of an error in JSON, in their order.
fn error_json(
    kind: &str,
    message: &str,
    status: Option<u16>,
    oauth_error: Option<&str>,
    wait: Option<u64>,
    retryable: bool,
) -> String {
    let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
    let oauth_error = oauth_error.map_or("null".to_owned(), |code| format!("\"{code}\""));
    let (status, wait) = (number(status.map(u64::from)), number(wait));
    let message = message.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{{\"error\":\"{kind}\",\"message\":\"{message}\",\"status\":{status},\"oauth_error\":{oauth_error},\
         \"retry_after\":{wait},\"retryable\":{retryable}}}"
    )
}

const CREDENTIALS_HINT: &str =
    "check the credentials, and that the request is what the service documents (--dialect, --params, --auth)";
const CLIENT_HINT: &str = "check client id and secret, and the client authentication: some servers want it among the \
                           parameters (--auth client_secret_post), or not form-encoded (--basic-raw)";
const ENDPOINT_HINT: &str = "is this the token endpoint? where the token stands in another member, name it (--field)";

/// An answer with its status, the OAuth error in it, and what the command makes of it.
type Row<'a> = (Vec<u8>, u16, Option<&'a str>, &'a str, Option<&'a str>);

#[track_caller]
fn check(kind: &str, code: i32, rows: &[Row<'_>]) {
    for (answer, status, oauth_error, message, hint) in rows {
        let server = Server::answering(answer.clone());
        let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        // What the server fails at may pass.
        let json = error_json(kind, message, Some(*status), *oauth_error, None, *status >= 500);
        error_for(&server, &[], code, &format!("keyfob: {message}{hint}"), &json);
    }
}

#[test]
fn a_refusal_keeps_the_servers_words() {
    let long = "x".repeat(400);
    check(
        "refused",
        3,
        &[
            (
                json(400, r#"{"error":"invalid_client","error_description":"no such client"}"#),
                400,
                Some("invalid_client"),
                "the server refused (status 400): invalid_client (no such client)",
                Some(CLIENT_HINT),
            ),
            (
                json(401, r#"{"error":"invalid_client"}"#),
                401,
                Some("invalid_client"),
                "the server refused (status 401): invalid_client",
                Some(CLIENT_HINT),
            ),
            (
                json(200, r#"{"error":"invalid_grant","error_description":"used up","access_token":"hunter2"}"#),
                200,
                Some("invalid_grant"),
                "the server refused (status 200): invalid_grant (used up)",
                Some("the password or the token that was sent is wrong, expired or used up"),
            ),
            (
                json(400, r#"{"error":"unauthorized_client"}"#),
                400,
                Some("unauthorized_client"),
                "the server refused (status 400): unauthorized_client",
                Some("the server does not allow this client this grant"),
            ),
            (
                json(400, r#"{"error":"unsupported_grant_type"}"#),
                400,
                Some("unsupported_grant_type"),
                "the server refused (status 400): unsupported_grant_type",
                Some("the server does not know this grant: check --grant and --params"),
            ),
            (
                json(400, r#"{"error":"invalid_scope"}"#),
                400,
                Some("invalid_scope"),
                "the server refused (status 400): invalid_scope",
                Some("the server does not allow this scope: check --scope"),
            ),
            (
                json(400, r#"{"error":"invalid_request","error_description":"two\nlines and \u001b[31m red"}"#),
                400,
                Some("invalid_request"),
                "the server refused (status 400): invalid_request (two lines and \\u{1b}[31m red)",
                Some("a parameter is missing or unknown: compare the request with the service's documentation"),
            ),
            (
                json(400, &format!(r#"{{"error":"odd","error_description":"{long}"}}"#)),
                400,
                None,
                &format!("the server refused (status 400): odd ({}…)", "x".repeat(300)),
                None,
            ),
            (
                answer(400, &["content-type: application/x-www-form-urlencoded"], "error=odd&error_description=a+b"),
                400,
                None,
                "the server refused (status 400): odd (a b)",
                None,
            ),
        ],
    );
}

#[test]
fn a_refusal_without_words_is_one_too() {
    let refused = |status: u16, why: &str| format!("the server refused (status {status}){why}");
    let wordless = |status: u16| refused(status, " and gave no reason in the words of OAuth");
    check(
        "refused",
        3,
        &[
            (answer(401, &[], ""), 401, None, &refused(401, " and did not say why"), Some(CREDENTIALS_HINT)),
            (
                answer(401, &["www-authenticate: Basic realm=\"hunter2\""], "no\n"),
                401,
                None,
                &refused(401, ": no"),
                Some(CREDENTIALS_HINT),
            ),
            (
                answer(403, &["content-type: text/html"], "<html>hunter2 is forbidden</html>"),
                403,
                None,
                &refused(403, " and answered with HTML"),
                Some(CREDENTIALS_HINT),
            ),
            (
                answer(403, &["content-type: text/plain"], "error code: 1010"),
                403,
                None,
                &refused(403, ": error code: 1010"),
                Some("this is Cloudflare, which does not take this User-Agent: send another one (--header)"),
            ),
            (json(400, r#"{"message":"bad key"}"#), 400, None, &refused(400, ": bad key"), Some(CREDENTIALS_HINT)),
            (json(400, r#"{"access_token":"hunter2"}"#), 400, None, &wordless(400), Some(CREDENTIALS_HINT)),
        ],
    );
}

#[test]
fn an_answer_that_cannot_be_used_is_told_without_its_text() {
    let not_a_token = |why: &str| format!("the answer is no token response: {why}");
    let redirects =
        |status: u16| format!("the server redirects (status {status}), and credentials are not sent after it");
    check(
        "unusable",
        5,
        &[
            (
                answer(200, &["content-type: text/html"], "<html>hunter2</html>"),
                200,
                None,
                &not_a_token("the body is HTML or XML, not JSON"),
                Some(ENDPOINT_HINT),
            ),
            (json(200, ""), 200, None, &not_a_token("the body is empty"), Some(ENDPOINT_HINT)),
            (
                b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                204,
                None,
                &not_a_token("the body is empty"),
                Some(ENDPOINT_HINT),
            ),
            (json(200, "hunter2"), 200, None, &not_a_token("the body is not a JSON object"), Some(ENDPOINT_HINT)),
            (
                json(200, r#"{"access_token":"hunter2"#),
                200,
                None,
                &not_a_token("the JSON text is cut off, at byte 24"),
                Some(ENDPOINT_HINT),
            ),
            (
                json(200, r#"{"access_token":"hunter2 "}"#),
                200,
                None,
                &not_a_token("the access token holds a character that is not visible ASCII, at byte 24"),
                Some(ENDPOINT_HINT),
            ),
            (
                json(200, r#"{"access_token":""}"#),
                200,
                None,
                &not_a_token("the access token is empty, at byte 17"),
                Some(ENDPOINT_HINT),
            ),
            (
                answer(302, &["location: https://other.example/token?key=hunter2"], ""),
                302,
                None,
                &redirects(302),
                Some("it names https://other.example/token; if that is the token endpoint, use its URL"),
            ),
            (
                answer(307, &["location: https://me:hunter2@other.example/token#hunter2"], ""),
                307,
                None,
                &redirects(307),
                Some("it names https://other.example/token; if that is the token endpoint, use its URL"),
            ),
            (
                answer(308, &["location: /login?next=hunter2"], r#"{"access_token":"hunter2"}"#),
                308,
                None,
                &redirects(308),
                Some("it names /login; if that is the token endpoint, use its URL"),
            ),
            (answer(301, &[], ""), 301, None, &redirects(301), None),
            (
                answer(404, &["content-type: text/html"], "<html>hunter2</html>"),
                404,
                None,
                "the server answered with status 404",
                Some("check the URL's path"),
            ),
            (
                answer(405, &[], ""),
                405,
                None,
                "the server answered with status 405",
                Some("check the method: --method"),
            ),
            (
                answer(415, &[], ""),
                415,
                None,
                "the server answered with status 415",
                Some("the server wants the parameters elsewhere: --params form or json"),
            ),
            (json(500, r#"{"access_token":"hunter2"}"#), 500, None, "the server answered with status 500", None),
            (
                json(500, r#"{"error":"server_error"}"#),
                500,
                Some("server_error"),
                "the server answered with status 500: server_error",
                None,
            ),
            (
                json(500, r#"{"error":"Internal Server Error","message":"hunter2"}"#),
                500,
                None,
                "the server answered with status 500: Internal Server Error",
                None,
            ),
            (answer(502, &[], "<html>hunter2</html>"), 502, None, "the server answered with status 502", None),
        ],
    );
}

#[test]
fn an_answer_without_a_status_to_tell_of_is_unusable_too() {
    for (bytes, message) in [
        (answer(200, &[], &"x".repeat(1024 * 1024 + 1)), "the answer is larger than 1 MiB"),
        (b"SSH-2.0-OpenSSH_9.7\r\n".to_vec(), "the answer of HOST is not HTTP: it is SSH"),
    ] {
        let server = Server::answering(bytes);
        let json = error_json("unusable", message, None, None, None, false);
        error_for(&server, &[], 5, &format!("keyfob: {message}"), &json);
    }
}

#[test]
fn a_token_that_lives_too_short_is_unusable() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"hunter2","expires_in":60}"#));
    let message = "a fresh token lives 60 s, and at least 61 s were asked for";
    let text = format!("keyfob: {message}\nhint: ask for less, or whoever runs the server for longer lives\n");
    let json = format!("{}\n", error_json("unusable", message, None, None, None, false));
    for (format, stdout, stderr) in
        [("token", "", &text), ("header", "", &text), ("curl", "proto = \"-all\"\n", &text), ("json", "", &json)]
    {
        place.token(&server.url("/t"), &["--min-valid", "61", "--format", format]).outcome().is(5, stdout, stderr);
    }
}

#[test]
fn a_token_that_expired_on_its_way_is_unusable() {
    let place = Place::new();
    let server = Server::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(1100));
        let _ = stream.write_all(&json(200, r#"{"access_token":"hunter2","expires_in":1}"#));
    });
    let outcome = place.token(&server.url("/t"), &[]).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(5), ""));
    let (before, rest) = outcome.stderr.split_once(", ").expect("there is a comma");
    let (seconds, after) = rest.split_once(" s ").expect("there are seconds");
    assert_eq!(before, "keyfob: the token had expired when it arrived");
    assert!(seconds.parse::<f32>().is_ok_and(|seconds| (1.1..20.0).contains(&seconds)), "{seconds}");
    assert_eq!(
        after,
        "after the request was sent\n\
         hint: the connection is slower than the token's life: ask whoever runs the server for a longer one\n"
    );
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for() {
    let oauth = r#"{"error":"temporarily_unavailable","error_description":"back soon"}"#;
    let refusal = r#"{"error":"invalid_client"}"#;
    let date = "date: Sun, 22 Nov 2026 06:40:00 GMT";
    for (answer, message, status, oauth_error, wait, hint) in [
        (answer(429, &["Retry-After: 7"], ""), "the server asks to wait (status 429)", 429, None, Some(7), ""),
        (answer(503, &["retry-after:  0 "], ""), "the server asks to wait (status 503)", 503, None, Some(0), ""),
        (answer(503, &["retry-after: soon"], ""), "the server asks to wait (status 503)", 503, None, None, ""),
        (
            answer(503, &["retry-after: Sun, 22 Nov 2026 06:42:00 GMT", date], ""),
            "the server asks to wait (status 503)",
            503,
            None,
            Some(120),
            "",
        ),
        (
            answer(503, &["retry-after: Sun, 22 Nov 2026 06:42:00 GMT"], ""),
            "the server asks to wait (status 503)",
            503,
            None,
            None,
            "",
        ),
        (
            answer(503, &["content-type: application/json", "retry-after: 7"], oauth),
            "the server asks to wait (status 503): temporarily_unavailable (back soon)",
            503,
            Some("temporarily_unavailable"),
            Some(7),
            "",
        ),
        (
            answer(429, &["content-type: application/json"], refusal),
            "the server asks to wait (status 429): invalid_client",
            429,
            Some("invalid_client"),
            None,
            CLIENT_HINT,
        ),
        (
            answer(429, &["content-type: application/json"], r#"{"access_token":"hunter2"}"#),
            "the server asks to wait (status 429)",
            429,
            None,
            None,
            "",
        ),
    ] {
        let server = Server::answering(answer);
        let mut hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
        if let Some(seconds) = wait {
            hint += &format!("\nhint: not before {seconds} s from now");
        }
        let json = error_json("wait", message, Some(status), oauth_error, wait, true);
        error_for(&server, &[], 6, &format!("keyfob: {message}{hint}"), &json);
    }
}

#[test]
fn a_port_that_refuses_is_unreachable() {
    let place = Place::new();
    let nobody = Refusing::new();
    let url = format!("http://{}/t?key=hunter2", nobody.address());
    let message = format!("no connection to {}: connection refused", nobody.address());
    place.token(&url, &[]).outcome().fails(4, &format!("keyfob: {message}"));
    let json = error_json("unreachable", &message, None, None, None, true);
    place.token(&url, &["--format", "json"]).outcome().fails(4, &json);
    place.token(&url, &["--format=curl"]).outcome().is(4, "proto = \"-all\"\n", &format!("keyfob: {message}\n"));
}

#[test]
fn an_answer_that_was_cut_off_may_be_asked_for_again_only_where_that_is_harmless() {
    let place = Place::new();
    let refresh = ["--grant", "refresh_token", "--refresh-token-file", "secret"];
    let password = ["--grant", "password", "--username", "u", "--password-file", "secret"];
    let assertion = ["--grant", "urn:ietf:params:oauth:grant-type:jwt-bearer", "--param-file", "assertion=secret"];
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":\"hunter2"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{\"access_token\":\"hunter2",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"",
    ] {
        let server = Server::answering(answer);
        let message =
            format!("the connection to {} ended before the answer did: unexpected end of file", server.address());
        for (options, retryable) in [
            (&[][..], true),
            (&["--dialect", "bearer-session", "--session-token-file", "secret"], true),
            (&password, true),
            (&refresh, false),
            (&assertion, false),
        ] {
            let json = error_json("outcome_unknown", &message, None, None, None, retryable);
            let hint = match answer {
                b"" => "\nhint: the server said nothing: if it speaks TLS, write https:// in the URL",
                _ => "",
            };
            error_for(&server, options, 4, &format!("keyfob: {message}{hint}"), &json);
        }
    }
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(3)));
    let message = format!("no complete answer from {} within 1 s", server.address());
    place.token(&server.url("/t"), &["--timeout", "1"]).outcome().fails(4, &format!("keyfob: {message}"));
    let json = error_json("outcome_unknown", &message, None, None, None, false);
    let options = [&refresh[..], &["--timeout", "1", "--format", "json"]].concat();
    place.token(&server.url("/t"), &options).outcome().fails(4, &json);
}

/// That the one before is used up, which the cache knows, is no reason to refuse the one that came for it.
#[test]
fn a_rotated_refresh_token_is_spent_by_the_next_process() {
    let place = Place::new();
    let server = Server::with(|seen, stream| {
        let body = seen.body_text();
        let (_, number) = body.split_once("refresh_token=r").unwrap();
        let next = number.parse::<u32>().unwrap() + 1;
        let body = format!(r#"{{"access_token":"a{next}","expires_in":3600,"refresh_token":"r{next}"}}"#);
        let _ = stream.write_all(&json(200, &body));
    });
    place.file("here/refresh", "r1");
    let url = server.url("/t");
    for (more, token) in [(&[][..], "a2"), (&["--fresh"], "a3"), (&[], "a3"), (&["--fresh"], "a4")] {
        let options = ["token", "--url", &url, "--grant", "refresh_token", "--refresh-token-file", "refresh"];
        place.keyfob([&options, more].concat()).outcome().prints(token);
        assert_eq!(std::fs::read_to_string(place.path("here/refresh")).unwrap(), token.replace('a', "r"));
    }
}

/// A server that answers whatever it is sent with these bytes: not after a request, for there may be none.
#[cfg(feature = "tls")]
fn blurting(bytes: &'static [u8]) -> Server {
    let wrapper = move |mut stream: TcpStream| {
        read_once(&mut stream);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while !read_once(&mut stream).is_empty() {}
        None
    };
    Server::start("https", Box::new(wrapper), Box::new(|_, _| {}))
}

#[test]
#[cfg(feature = "tls")]
fn a_server_that_speaks_no_tls_under_https_is_not_trusted() {
    let server = blurting(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let message = format!("{}: it does not speak TLS there", server.address());
    let hint = "hint: check the port, and whether the URL should say http://";
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\n{hint}"), &json);

    let server = blurting(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28]);
    let message = format!("{}: it refused the TLS connection: HandshakeFailure", server.address());
    let hint = "hint: it may want a client certificate, or another version or cipher of TLS";
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\n{hint}"), &json);
}

#[test]
#[cfg(not(feature = "tls"))]
fn https_without_tls_is_an_error() {
    let place = Place::new();
    let server = token_server();
    place
        .token(&format!("https://{}/t", server.address()), &[])
        .outcome()
        .fails(2, "keyfob: url: https needs the feature `tls`, which this build does not have");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_server_that_speaks_tls_under_http_is_not_trusted() {
    let server = Server::answering([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]);
    let message = format!("{} speaks TLS, and the URL says plain http", server.address());
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\nhint: write https:// in the URL"), &json);
}

#[test]
fn a_wrong_command_line_stops_curl_and_json_too() {
    let place = Place::new();
    let stop = "proto = \"-all\"\n";
    let no_url = "keyfob: there is no token endpoint\nhint: say where it is: `url` (--url)\n";
    let twice = format!("keyfob: usage: --url is given twice\n{USAGE_HINT}\n");
    let verb = format!("keyfob: usage: unknown command \"tokn\"; did you mean \"token\"?\n{USAGE_HINT}\n");
    for (arguments, stdout, stderr) in [
        (&["token", "--format", "curl"][..], stop, no_url),
        (&["token", "--format=curl"], stop, no_url),
        (&["revoke", "--format=curl"], stop, no_url),
        (&["token", "--url", "a", "--url", "b", "--format", "curl"], stop, &twice),
        (&["token", "--format=curl", "--url", "a", "--url", "b"], stop, &twice),
        (&["tokn", "--format=curl"], stop, &verb),
        (&["token", "--format", "token"], "", no_url),
        (
            &["token", "--format=json"],
            "",
            "{\"error\":\"config\",\"message\":\"there is no token endpoint\",\"status\":null,\"oauth_error\":null,\
             \"retry_after\":null,\"retryable\":false}\n",
        ),
        (
            &["token", "--nonsense", "--format", "json"],
            "",
            "{\"error\":\"config\",\"message\":\"usage: there is no option --nonsense\",\"status\":null,\
             \"oauth_error\":null,\"retry_after\":null,\"retryable\":false}\n",
        ),
    ] {
        place.keyfob(arguments).outcome().is(2, stdout, stderr);
    }
}

/// Pipes a configuration into the real curl; none where there is no curl.
fn curl(configuration: &str, url: &str) -> Option<std::process::ExitStatus> {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-q", "-s", "--noproxy", "*", "--max-time", "20", "-K", "-", url]);
    let child = curl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        println!("skipped: there is no curl here");
        return None;
    };
    child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    Some(child.wait().unwrap())
}

#[test]
fn curl_sends_the_header_and_after_an_error_nothing() {
    let place = Place::new();
    let api = Server::answering(answer(200, &[], ""));
    let server = Server::answering(json(200, r#"{"access_token":"a\"b\\c"}"#));
    let good = place.token(&server.url("/t"), &["--format", "curl"]).outcome();
    let bad = place.token(&server.url("/t"), &["--format", "curl", "--method", "PATCH"]).outcome();
    assert_eq!(bad.stdout, "proto = \"-all\"\n");
    let Some(status) = curl(&bad.stdout, &api.url("/api")) else { return };
    assert!(!status.success());
    assert_eq!(api.requests(), []);
    assert!(curl(&good.stdout, &api.url("/api")).unwrap().success());
    assert_eq!(api.request().header("authorization"), Some(r#"Bearer a"b\c"#));
}

// Secrets.

#[test]
fn a_secret_comes_from_a_file_a_variable_or_standard_input() {
    let place = Place::new();
    place.file("here/lf", "file-lf\n");
    place.file("here/crlf", "file-crlf\r\n");
    place.file("here/bare", "file-bare");
    place.file("here/spaces", " spaces \n");
    place.file("credentials/lf", "credential");
    place.file("credentials/other", "other-credential\n");
    let credentials = place.path("credentials");
    for (options, input, directory, secret) in [
        (["--client-secret-file", "lf"], "", "", "file-lf"),
        (["--client-secret-file", "crlf"], "", "", "file-crlf"),
        (["--client-secret-file", "bare"], "", "", "file-bare"),
        (["--client-secret-file", "spaces"], "", "", "+spaces+"),
        (["--client-secret-env", "SECRET"], "", "", "variable"),
        (["--client-secret-env", "SECRET_LF"], "", "", "variable-lf"),
        (["--client-secret-env", "SECRET_CRLF"], "", "", "variable-crlf"),
        (["--client-secret-file", "-"], "input-lf\n", "", "input-lf"),
        (["--client-secret-file", "-"], "input-crlf\r\n", "", "input-crlf"),
        (["--client-secret-file", "-"], "input-bare", "", "input-bare"),
        (["--client-secret-file", "lf"], "", &credentials, "credential"),
        (["--client-secret-file", "other"], "", &credentials, "other-credential"),
        (["--client-secret-file", "crlf"], "", &credentials, "file-crlf"),
        (["--client-secret-file", "./lf"], "", &credentials, "file-lf"),
        (["--client-secret-file", "../here/lf"], "", &credentials, "file-lf"),
        (["--client-secret-file", "-"], "input-bare", &credentials, "input-bare"),
    ] {
        let server = token_server();
        let options = [&["--client-id", "c", "--auth", "client_secret_post"], &options[..]].concat();
        let mut run = place.token(&server.url("/t"), &options).input(input).variable("SECRET", "variable");
        run = run.variable("SECRET_LF", "variable-lf\n").variable("SECRET_CRLF", "variable-crlf\r\n");
        if !directory.is_empty() {
            run = run.variable("CREDENTIALS_DIRECTORY", directory);
        }
        run.outcome().prints("tok-1");
        assert_eq!(
            server.request().body_text(),
            format!("grant_type=client_credentials&client_id=c&client_secret={secret}"),
            "{options:?}"
        );
    }
}

#[test]
fn a_file_with_a_slash_is_not_looked_for_among_the_credentials() {
    let place = Place::new();
    place.file("credentials/sub/only-there", SENTINEL);
    place.file("credentials/only-there", SENTINEL);
    let server = token_server();
    for file in ["./only-there", "sub/only-there"] {
        let run = place.token(&server.url("/t"), &["--client-id", "c", "--client-secret-file", file]);
        run.variable("CREDENTIALS_DIRECTORY", place.path("credentials")).outcome().fails(
            2,
            &format!(
                "keyfob: secret file {}: there is no such file",
                place.path(&format!("here/{}", file.trim_start_matches("./")))
            ),
        );
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_that_the_server_echoes_is_cut_out() {
    let place = Place::new();
    place.file("here/key", "hunter2-key\n");
    let echo = |text: String| {
        let body = format!(r#"{{"error":"invalid_client {text}","error_description":"not {text}, {text}"}}"#);
        answer(400, &["content-type: application/json"], &body)
    };
    for (options, input) in [
        (&["--client-id", "c", "--client-secret-file", "secret"][..], ""),
        (&["--client-id", "c", "--client-secret-file", "secret", "--params", "json"], ""),
        (&["--client-id", "c", "--client-secret-file", "-"], "hunter2"),
        (&["--client-id", "c", "--client-secret-env", "SECRET"], ""),
        (&["--grant", "password", "--username", "u", "--password-file", "secret"], ""),
        (&["--grant", "refresh_token", "--refresh-token-file", "secret"], ""),
        (&["--dialect", "bearer-session", "--session-token-file", "secret"], ""),
        (&["--param-file", "assertion=secret"], ""),
        (&["--header-file", "X-Key: secret"], ""),
    ] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(&echo(SENTINEL.to_owned()));
        });
        let run = place.token(&server.url("/t"), options).variable("SECRET", SENTINEL).input(input);
        run.outcome().fails(3, "keyfob: the server refused (status 400): ‹redacted› (‹redacted›)");
        let json = [options, &["--format", "json"]].concat();
        let run = place.token(&server.url("/t"), &json).variable("SECRET", SENTINEL).input(input);
        run.outcome().fails(
            3,
            "{\"error\":\"refused\",\
             \"message\":\"the server refused (status 400): ‹redacted› (‹redacted›)\",\
             \"status\":400,\"oauth_error\":null,\"retry_after\":null,\"retryable\":false}",
        );
    }
    // In the redirect's path, and in the answer to a revocation.
    let server = Server::answering(answer(302, &["location: https://other.example/hunter2/x"], ""));
    place
        .token(&server.url("/t"), &["--param-file", "a=secret"])
        .outcome()
        .fails(5, "keyfob: the server redirects (status 302), and credentials are not sent after it");
    let server = Server::answering(json(401, r#"{"error":"x","error_description":"bad hunter2"}"#));
    let options = ["--dialect", "bearer-session", "--access-token-file", "secret"];
    place
        .keyfob([&["revoke", "--url", &server.url("/t")], &options[..]].concat())
        .outcome()
        .fails(3, "keyfob: the server refused (status 401): x (‹redacted›)");
}

// What is sent.

/// The request as a text: method and target, the headers that are not in every request, a blank line, the body.
#[track_caller]
fn shown(request: &Seen, server: &Server) -> String {
    assert_eq!(request.header("host"), Some(server.address().to_string().as_str()));
    let length = request.body.len().to_string();
    let has_body = request.method != "GET";
    assert_eq!(request.header("content-length"), has_body.then_some(length.as_str()));
    let agent = format!("keyfob/{VERSION}");
    let usual = [("accept", "application/json"), ("user-agent", &agent)];
    let mut text = format!("{} {}\n", request.method, request.target);
    for (name, value) in &request.headers {
        if name != "host" && name != "content-length" && !usual.contains(&(name, value)) {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    for (name, _) in usual {
        let count = request.headers.iter().filter(|(known, _)| known == name).count();
        assert_eq!(count, 1, "each request has one {name}");
    }
    format!("{text}\n{}", request.body_text())
}

#[test]
fn a_request_has_these_headers_and_no_others() {
    let place = Place::new();
    let server = token_server();
    place
        .token(&server.url("/oauth/token?tenant=1"), &["--client-id", "my-client", "--client-secret-file", "secret"])
        .outcome()
        .prints("tok-1");
    let mut request = server.request();
    request.headers.sort();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        request,
        Seen {
            method: "POST".into(),
            target: "/oauth/token?tenant=1".into(),
            headers: vec![
                header("accept", "application/json"),
                header("authorization", "Basic bXktY2xpZW50Omh1bnRlcjI="),
                header("content-length", "29"),
                header("content-type", "application/x-www-form-urlencoded"),
                header("host", &server.address().to_string()),
                header("user-agent", &format!("keyfob/{VERSION}")),
            ],
            body: b"grant_type=client_credentials".to_vec(),
        }
    );
}

/// A secret with everything that needs an escape somewhere.
const ODD_SECRET: &str = "hunter2 &=+\"\\é";

#[test]
fn each_option_reaches_the_request_and_so_does_each_member_of_a_profile() {
    const FORM: &str = "content-type: application/x-www-form-urlencoded\n";
    const JSON: &str = "content-type: application/json\n";
    let place = Place::new();
    place.file("here/odd", ODD_SECRET);
    place.file("here/key", "hunter2-key\n");
    let id = ["--client-id", "my-client", "--client-secret-file", "secret"];
    let odd = ["--client-id", "my client", "--client-secret-file", "odd"];
    let id_members = r#""client_id":"my-client","client_secret_file":"secret""#;
    let odd_members = r#""client_id":"my client","client_secret_file":"odd""#;
    let with = |common: &[&'static str], options: &[&'static str]| [common, options].concat();
    let urn = "urn:ietf:params:oauth:grant-type:device_code";
    for (options, members, request) in [
        // Who asks.
        (vec![], String::new(), format!("POST /t\n{FORM}\ngrant_type=client_credentials")),
        (
            with(&["--client-id", "my-client"], &[]),
            r#""client_id":"my-client""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client"),
        ),
        (
            with(&odd, &[]),
            odd_members.into(),
            format!(
                "POST /t\n{FORM}authorization: Basic bXkrY2xpZW50Omh1bnRlcjIrJTI2JTNEJTJCJTIyJTVDJUMzJUE5\n\n\
                 grant_type=client_credentials"
            ),
        ),
        (
            with(&odd, &["--basic-raw"]),
            format!(r#"{odd_members},"basic_raw":true"#),
            format!(
                "POST /t\n{FORM}authorization: Basic bXkgY2xpZW50Omh1bnRlcjIgJj0rIlzDqQ==\n\n\
                 grant_type=client_credentials"
            ),
        ),
        (
            with(&id, &["--auth", "client_secret_basic", "--params", "json"]),
            format!(r#"{id_members},"auth":"client_secret_basic","params":"json""#),
            format!(
                "POST /t\n{JSON}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\n\
                 {{\"grant_type\":\"client_credentials\"}}"
            ),
        ),
        (
            with(&odd, &["--auth", "client_secret_post"]),
            format!(r#"{odd_members},"auth":"client_secret_post""#),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my+client\
                 &client_secret=hunter2+%26%3D%2B%22%5C%C3%A9"
            ),
        ),
        (
            vec!["--auth", "none", "--client-id", "my-client"],
            r#""auth":"none","client_id":"my-client""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client"),
        ),
        (
            vec!["--client-id", "my-client", "--client-secret-env", "SECRET"],
            r#""client_id":"my-client","client_secret_env":"SECRET""#.into(),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        // Where the parameters go.
        (
            with(&id, &["--params", "form"]),
            format!(r#"{id_members},"params":"form""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        (
            with(&odd, &["--params", "json", "--scope", "a", "--scope", "b", "--param", "audience=x/y"]),
            format!(r#"{odd_members},"params":"json","scope":["a","b"],"param":{{"audience":"x/y"}}"#),
            format!(
                "POST /t\n{JSON}\n{{\"grant_type\":\"client_credentials\",\"client_id\":\"my client\",\
                 \"client_secret\":\"hunter2 &=+\\\"\\\\é\",\"scope\":\"a b\",\"audience\":\"x/y\"}}"
            ),
        ),
        (
            with(&odd, &["--params", "query"]),
            format!(r#"{odd_members},"params":"query""#),
            "POST /t?grant_type=client_credentials&client_id=my%20client\
             &client_secret=hunter2%20%26%3D%2B%22%5C%C3%A9\n\n"
                .into(),
        ),
        (
            with(&id, &["--method", "GET"]),
            format!(r#"{id_members},"method":"GET""#),
            "GET /t?grant_type=client_credentials&client_id=my-client&client_secret=hunter2\n\n".into(),
        ),
        (
            with(&id, &["--method", "POST"]),
            format!(r#"{id_members},"method":"POST""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        // The dialects.
        (
            with(&id, &["--dialect", "json-credentials"]),
            format!(r#"{id_members},"dialect":"json-credentials""#),
            format!(
                "POST /t\n{JSON}\n{{\"grant_type\":\"client_credentials\",\"client_id\":\"my-client\",\
                 \"client_secret\":\"hunter2\"}}"
            ),
        ),
        (
            with(&id, &["--dialect", "json-credentials", "--method", "GET"]),
            format!(r#"{id_members},"dialect":"json-credentials","method":"GET""#),
            "GET /t?grant_type=client_credentials&client_id=my-client&client_secret=hunter2\n\n".into(),
        ),
        (
            vec!["--dialect", "bearer-session", "--session-token-file", "secret"],
            r#""dialect":"bearer-session","session_token_file":"secret""#.into(),
            "GET /t\nauthorization: bearer hunter2\n\n".into(),
        ),
        (
            with(&id, &["--dialect", "form-credentials", "--scope", "https://tenant.example"]),
            format!(r#"{id_members},"dialect":"form-credentials","scope":"https://tenant.example""#),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client&client_secret=hunter2\
                 &scope=https%3A%2F%2Ftenant.example"
            ),
        ),
        (
            vec!["--dialect", "user-credentials", "--username", "a b", "--password-file", "secret"],
            r#""dialect":"user-credentials","username":"a b","password_file":"secret""#.into(),
            "POST /t?username=a%20b&password=hunter2\n\n".into(),
        ),
        (
            vec!["--dialect", "user-credentials", "--params", "form", "--username", "u", "--password-env", "SECRET"],
            r#""dialect":"user-credentials","params":"form","username":"u","password_env":"SECRET""#.into(),
            format!("POST /t\n{FORM}\nusername=u&password=hunter2"),
        ),
        // The grants.
        (
            with(&id, &["--grant", "client_credentials"]),
            format!(r#"{id_members},"grant":"client_credentials""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        (
            vec!["--grant", "password", "--username", "u", "--password-file", "odd", "--scope", "a b"],
            r#""grant":"password","username":"u","password_file":"odd","scope":"a b""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=password&username=u&password=hunter2+%26%3D%2B%22%5C%C3%A9&scope=a+b"),
        ),
        (
            vec!["--grant", "bearer_session", "--session-token-env", "SECRET"],
            r#""grant":"bearer_session","session_token_env":"SECRET""#.into(),
            "GET /t\nauthorization: bearer hunter2\n\n".into(),
        ),
        (
            vec!["--grant", "refresh_token", "--refresh-token-file", "secret", "--client-id", "c"],
            r#""grant":"refresh_token","refresh_token_file":"secret","client_id":"c""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=refresh_token&client_id=c&refresh_token=hunter2"),
        ),
        (
            vec!["--grant", "account_credentials", "--param", "account_id=7"],
            r#""grant":"account_credentials","param":{"account_id":"7"}"#.into(),
            format!("POST /t\n{FORM}\ngrant_type=account_credentials&account_id=7"),
        ),
        (
            vec!["--method", "PUT", "--params", "json", "--param", "resource=a", "--param", "resource=b"],
            r#""method":"PUT","params":"json","param":{"resource":["a","b"]}"#.into(),
            r#"PUT /t
content-type: application/json

{"grant_type":"client_credentials","resource":["a","b"]}"#
                .into(),
        ),
        (
            vec!["--grant", urn, "--client-id", "c", "--param-file", "device_code=key", "--param", "x=1=2"],
            format!(r#""grant":"{urn}","client_id":"c","param_file":{{"device_code":"key"}},"param":{{"x":"1=2"}}"#),
            format!(
                "POST /t\n{FORM}\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=c\
                 &x=1%3D2&device_code=hunter2-key"
            ),
        ),
        // What is added.
        (
            vec!["--param", "resource=https://a.example", "--param=resource=https://b.example", "--param", "empty="],
            r#""param":{"resource":["https://a.example","https://b.example"],"empty":""}"#.into(),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&empty=&resource=https%3A%2F%2Fa.example\
                 &resource=https%3A%2F%2Fb.example"
            ),
        ),
        (
            vec!["--header", "X-Tenant:  a: b ", "--header-file", "X-Key: key", "--header", "x-empty-not: 0"],
            r#""header":{"X-Tenant":"a: b","x-empty-not":"0"},"header_file":{"X-Key":"key"}"#.into(),
            format!(
                "POST /t\n{FORM}x-tenant: a: b\nx-empty-not: 0\nx-key: hunter2-key\n\ngrant_type=client_credentials"
            ),
        ),
        (
            vec!["--header-file", "Authorization: secret"],
            r#""header_file":{"Authorization":"secret"}"#.into(),
            format!("POST /t\n{FORM}authorization: hunter2\n\ngrant_type=client_credentials"),
        ),
        (
            vec!["--header", "content-type: application/x-www-form-urlencoded;charset=UTF-8"],
            r#""header":{"content-type":"application/x-www-form-urlencoded;charset=UTF-8"}"#.into(),
            "POST /t\ncontent-type: application/x-www-form-urlencoded;charset=UTF-8\n\ngrant_type=client_credentials"
                .into(),
        ),
        // What changes the answer or the way there alone.
        (
            vec![
                "--allow-http",
                "--timeout",
                "20s",
                "--lifetime",
                "1m",
                "--min-valid",
                "0.5",
                "--field",
                "access_token",
            ],
            r#""allow_http":true,"timeout":"20s","lifetime":"1m","min_valid":0.5,"field":"access_token""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
        (
            vec!["--fresh", "--cache-dir", "cache", "--format", "token"],
            r#""fresh":true,"cache_dir":"cache","format":"token""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
        (
            vec!["--access-token-file", "none"],
            r#""access_token_file":"none""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
    ] {
        let server = token_server();
        place.token(&server.url("/t"), &options).variable("SECRET", SENTINEL).outcome().prints("tok-1");
        let seen = server.request();
        assert_eq!(in_order(&shown(&seen, &server)), in_order(&request), "{options:?}");

        let server = token_server();
        let comma = if members.is_empty() { "" } else { "," };
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true{comma}{members}}}"#, server.url("/t")));
        place.keyfob(["token", "./p.json"]).variable("SECRET", SENTINEL).outcome().prints("tok-1");
        assert_eq!(in_order(&shown(&server.request(), &server)), in_order(&request), "{members}");
    }
}

/// The request with its headers sorted: their order says nothing.
fn in_order(request: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = request.split('\n').collect();
    let end = lines.iter().position(|line| line.is_empty()).expect("a blank line ends the headers");
    lines[1..end].sort_unstable();
    lines
}

// Profiles.

#[test]
fn a_profile_is_found_by_its_path_or_its_name() {
    let place = Place::new();
    let (by_path, in_config, in_home) = (token_server(), token_server(), token_server());
    let profile = |server: &Server, path: &str| format!(r#"{{"url":"{}","no_cache":true}}"#, server.url(path));
    place.file("here/p.json", profile(&by_path, "/path"));
    place.file("here/meter", profile(&by_path, "/path-of-the-same-name"));
    place.file("config/keyfob/meter.json", profile(&in_config, "/config"));
    place.file("home/.config/keyfob/meter.json", profile(&in_home, "/home"));
    place.keyfob(["token", "./p.json"]).outcome().prints("tok-1");
    place.keyfob(["token", "./meter"]).outcome().prints("tok-1");
    place.keyfob(["token".to_owned(), place.path("here/p.json")]).outcome().prints("tok-1");
    place.keyfob(["token", "meter"]).outcome().prints("tok-1");
    place.keyfob(["token", "--timeout", "9", "meter"]).without_variable("XDG_CONFIG_HOME").outcome().prints("tok-1");
    place.keyfob(["token", "meter"]).variable("XDG_CONFIG_HOME", "").outcome().prints("tok-1");
    // The XDG specification: a relative path is invalid and ignored.
    place.keyfob(["token", "meter"]).variable("XDG_CONFIG_HOME", "../config").outcome().prints("tok-1");
    let targets = |server: &Server| server.requests().into_iter().map(|seen| seen.target).collect::<Vec<_>>();
    assert_eq!(targets(&by_path), ["/path", "/path-of-the-same-name", "/path"]);
    assert_eq!(targets(&in_config), ["/config"]);
    assert_eq!(targets(&in_home), ["/home", "/home", "/home"]);
}

#[test]
fn a_profile_that_is_nowhere_is_an_error_that_says_where_it_was_looked_for() {
    let place = Place::new();
    // In the current directory, where a name alone does not look.
    place.file("here/meter", "{}");
    place.file("here/meter.json", "{}");
    for (variable, directory) in [("XDG_CONFIG_HOME", "config"), ("HOME", "home/.config")] {
        let mut run = place.keyfob(["token", "meter"]);
        if variable == "HOME" {
            run = run.without_variable("XDG_CONFIG_HOME");
        }
        let own = place.path(directory);
        run.outcome().is(
            2,
            "proto = \"-all\"\n",
            &format!(
                "keyfob: profile meter: there is none\n\
                 hint: looked for {own}/keyfob/meter.json and /etc/keyfob/meter.json; \
                 a file elsewhere is named with a slash\n"
            ),
        );
    }
}

#[test]
fn a_profile_without_an_end_is_not_read_for_ever() {
    let outcome = Place::new().keyfob(["token", "/dev/zero"]).outcome();
    outcome.is(2, "proto = \"-all\"\n", "keyfob: profile /dev/zero: it is larger than 1 MiB\n");
}

#[test]
fn a_wrong_profile_is_an_error_that_names_the_place() {
    let place = Place::new();
    for (profile, lines) in [
        (
            "{\n  \"url\": \"https://as.example\",\n  \"client_secret\": hunter2\n}",
            "profile ./p.json: description: not a JSON value, at line 3, column 20",
        ),
        (
            "{\n  \"url\": \"https://as.example\",\n}\n",
            "profile ./p.json: description: trailing comma, at line 2, column 30",
        ),
        (
            "{\"url\": \"https://as.example\"\n \"client_secret\": \"hunter2\"}",
            "profile ./p.json: description: a comma or a closing bracket is missing, at line 2, column 2",
        ),
        (
            "{\"url\": \"é\" x",
            "profile ./p.json: description: a comma or a closing bracket is missing, at line 1, column 13",
        ),
        ("", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("[]", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("url = 1", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("\"hunter2", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        (
            r#"{"url": "https://as.example", "client-id": "c"}"#,
            "profile: unknown member \"client-id\"; did you mean \"client_id\"?",
        ),
        (
            r#"{"url": "https://as.example", "status": 200}"#,
            "profile: unknown member \"status\"\n\
             hint: `keyfob help` lists the options, which are its members with underscores for hyphens",
        ),
        (
            r#"{"url": "https://as.example", "client_secret": "hunter2"}"#,
            "profile: unknown member \"client_secret\"\n\
             hint: a profile holds no secret, but where it is: `client_secret_file`",
        ),
        (
            r#"{"url": "https://as.example", "password": "hunter2"}"#,
            "profile: unknown member \"password\"\n\
             hint: a profile holds no secret, but where it is: `password_file`",
        ),
        (
            r#"{"url": "https://as.example", "session_token": "hunter2"}"#,
            "profile: unknown member \"session_token\"\n\
             hint: a profile holds no secret, but where it is: `session_token_file`",
        ),
        (
            r#"{"url": "https://as.example", "refresh_token": "hunter2"}"#,
            "profile: unknown member \"refresh_token\"\n\
             hint: a profile holds no secret, but where it is: `refresh_token_file`",
        ),
        (
            r#"{"url": "https://as.example", "access_token": "hunter2"}"#,
            "profile: unknown member \"access_token\"\n\
             hint: a profile holds no secret, but where it is: `access_token_file`",
        ),
        (r#"{"url": 1}"#, "`url`: this must be a string"),
        (
            r#"{"url": "https://as.example", "timeout": "5x"}"#,
            "`timeout`: this must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (
            r#"{"url": "https://as.example", "timeout": -5}"#,
            "`timeout`: this must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (r#"{"url": "https://as.example", "timeout": 0}"#, "`timeout`: this must be longer than 0 s"),
        (
            r#"{"url": "https://as.example", "lifetime": -1.5}"#,
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (r#"{"url": "https://as.example", "no_cache": "no"}"#, "`no_cache`: this must be true or false"),
        (r#"{"url": "https://as.example", "allow_http": 1}"#, "`allow_http`: this must be true or false"),
        (r#"{"url": "https://as.example", "format": 1}"#, "`format`: this must be a string"),
        (r#"{"url": "https://as.example", "scope": 1}"#, "`scope`: this must be a string or an array of them"),
        (r#"{"url": "https://as.example", "scope": [1]}"#, "`scope`: this must be a string or an array of them"),
        (r#"{"url": "https://as.example", "client_id": ["c"]}"#, "`client_id`: this must be a string"),
        (
            r#"{"url": "https://as.example", "param": {"a": 1}}"#,
            "`param`: this must be an object of names with their text, or an array of texts",
        ),
        (
            r#"{"url": "https://as.example", "param_file": "a=b"}"#,
            "`param_file`: this must be an object of names with files",
        ),
        (
            r#"{"url": "https://as.example", "client_secret_file": "a", "client_secret_env": "B"}"#,
            "`client_secret_file` and `client_secret_env` are both given",
        ),
        (r#"{"environments": {"eu": "https://as.example"}}"#, "`environment`: none is chosen of eu"),
        (
            r#"{"environments": {"eu": "https://as.example", "us": "https://as.example"}, "environment": "fr"}"#,
            "`environment`: \"fr\" is none of eu, us",
        ),
        (
            r#"{"environments": [], "environment": "fr"}"#,
            "`environments`: this must be an object of names with their URLs",
        ),
    ] {
        place.file("here/p.json", profile);
        place.keyfob(["token", "./p.json"]).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    place.file("here/p.json", b"{\"client_secret\": \"hunter2\xFF\"}");
    place.keyfob(["token", "./p.json"]).outcome().fails(2, "keyfob: profile ./p.json: it is not UTF-8 text");
    for (name, message) in [("./", "profile ./: is a directory"), ("./none", "profile ./none: there is no such file")] {
        place.keyfob(["token", name]).outcome().is(2, "proto = \"-all\"\n", &format!("keyfob: {message}\n"));
    }
}

#[test]
fn an_option_overrides_its_member_of_the_profile() {
    let place = Place::new();
    place.file("here/other", "other");
    let server = token_server();
    let profile = r#"{
        "url": "URL/profile",
        "client_id": "profile",
        "client_secret_file": "secret",
        "auth": "client_secret_post",
        "scope": ["profile", "too"],
        "param": {"a": ["profile", "too"], "b": "profile"},
        "param_file": {"f": "secret", "g": "secret"},
        "header": {"x-a": "profile", "x-b": "profile"},
        "lifetime": 60,
        "format": "header",
        "no_cache": true
    }"#;
    place.file("here/p.json", profile.replace("URL", &server.url("")));
    let form = "content-type: application/x-www-form-urlencoded\n";
    let url = server.url("/option");
    let headers = format!("{form}x-a: profile\nx-b: profile\n");
    let body = "grant_type=client_credentials&client_id=profile&client_secret=hunter2&scope=profile+too\
                &a=profile&a=too&b=profile&f=hunter2&g=hunter2";
    let usual = format!("POST /profile\n{headers}\n{body}");
    for (options, request) in [
        (&[][..], usual.clone()),
        (&["--url", &url], usual.replace("/profile", "/option")),
        (&["--client-id", "option"], usual.replace("client_id=profile", "client_id=option")),
        (&["--client-secret-file", "other"], usual.replace("client_secret=hunter2", "client_secret=other")),
        (&["--client-secret-env", "SECRET"], usual.replace("client_secret=hunter2", "client_secret=variable")),
        (&["--scope", "option"], usual.replace("scope=profile+too", "scope=option")),
        (&["--param", "a=option"], usual.replace("a=profile&a=too", "a=option")),
        (&["--param", "a=1", "--param", "a=2"], usual.replace("a=profile&a=too", "a=1&a=2")),
        (&["--param", "c=option"], usual.replace("&b=profile", "&b=profile&c=option")),
        (&["--param-file", "f=other"], usual.replace("&f=hunter2", "&f=other")),
        (&["--header", "x-a: option"], usual.replace("x-a: profile", "x-a: option")),
        (&["--header", "x-c: option"], usual.replace("x-b: profile\n", "x-b: profile\nx-c: option\n")),
        (
            &["--auth", "client_secret_basic", "--params", "query"],
            "POST /profile?grant_type=client_credentials&scope=profile%20too&a=profile&a=too&b=profile&f=hunter2\
             &g=hunter2\nauthorization: Basic cHJvZmlsZTpodW50ZXIy\nx-a: profile\nx-b: profile\n\n"
                .into(),
        ),
    ] {
        let before = server.requests().len();
        let run = place.keyfob([&["token", "./p.json"], options].concat()).variable("SECRET", "variable");
        run.outcome().prints("Authorization: Bearer tok-1");
        let requests = server.requests();
        assert_eq!(requests.len(), before + 1, "{options:?}");
        assert_eq!(in_order(&shown(&requests[before], &server)), in_order(&request), "{options:?}");
    }
    place.keyfob(["token", "./p.json", "--format", "token"]).outcome().prints("tok-1");
    // A secret in a variable gives way to one in a file, too.
    place
        .file("here/p.json", format!(r#"{{"url":"{}","client_id":"c","client_secret_env":"NONE"}}"#, server.url("/t")));
    place.keyfob(["token", "./p.json", "--no-cache", "--client-secret-file", "other"]).outcome().prints("tok-1");
    assert_eq!(server.requests().last().unwrap().header("authorization"), Some("Basic YzpvdGhlcg=="));
}

#[test]
fn an_environment_is_named_once_and_the_path_stays_the_same() {
    let place = Place::new();
    let server = token_server();
    let base = server.url("");
    let environments = format!(r#""environments":{{"eu":"{base}/eu/","us":"{base}/us"}},"path":"/oauth2/token""#);
    for (rest, options, target) in [
        ("", vec!["--environment", "eu"], "/eu/oauth2/token"),
        ("", vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu""#, vec![], "/eu/oauth2/token"),
        (r#","environment":"eu""#, vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu","url":"URL/default""#, vec![], "/default"),
        (r#","url":"URL/default""#, vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu""#, vec!["--url", "URL/option"], "/option"),
        ("", vec!["--environment", "us", "--url", "URL/option"], "/option"),
    ] {
        let rest = rest.replace("URL", &base);
        let options: Vec<String> = options.iter().map(|option| option.replace("URL", &base)).collect();
        place.file("here/p.json", format!("{{{environments}{rest}}}"));
        let arguments = ["token", "./p.json", "--no-cache"].map(str::to_owned).into_iter().chain(options.clone());
        let before = server.requests().len();
        place.keyfob(arguments).outcome().prints("tok-1");
        let targets: Vec<String> = server.requests().into_iter().skip(before).map(|seen| seen.target).collect();
        assert_eq!(targets, [target], "{rest} {options:?}");
    }
    place.file("here/p.json", format!("{{{environments}}}"));
    place
        .keyfob(["token", "./p.json", "--environment", "fr"])
        .outcome()
        .fails(2, "keyfob: `environment`: \"fr\" is none of eu, us");
}

// revoke

#[test]
fn nothing_to_revoke_is_no_error() {
    let place = Place::new();
    let server = token_server();
    let arguments = ["revoke", "--url", &server.url("/t"), "--dialect", "bearer-session"];
    place.keyfob(arguments).outcome().prints("nothing to revoke");
    place.keyfob([&arguments[..], &["--format", "json"]].concat()).outcome().prints("{\"revoked\":false}");
    place
        .keyfob([&arguments[..], &["--no-cache"]].concat())
        .outcome()
        .fails(2, "keyfob: revoke: there is no token to end\nhint: name the file that holds it (--access-token-file)");
    place.keyfob([&arguments[..], &["--no-cache", "--format", "curl"]].concat()).outcome().is(
        2,
        "proto = \"-all\"\n",
        "keyfob: revoke: there is no token to end\nhint: name the file that holds it (--access-token-file)\n",
    );
    assert_eq!(server.requests(), []);
}

#[test]
fn a_session_is_ended_with_its_token() {
    let place = Place::new();
    for (options, line) in [
        (&["--access-token-file", "secret"][..], "revoked"),
        (&["--access-token-file", "-", "--no-cache"], "revoked"),
        (&["--access-token-env", "SECRET"], "revoked"),
        (&["--access-token-file", "secret", "--format", "json"], "{\"revoked\":true}"),
    ] {
        for answer in [answer(200, &[], ""), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), answer(200, &[], "<html>")] {
            let server = Server::answering(answer);
            let url = server.url("/session");
            let arguments = [&["revoke", "--url", &url, "--dialect", "bearer-session"], options].concat();
            let run = place.keyfob(arguments).variable("SECRET", SENTINEL).input("hunter2\n");
            run.outcome().prints(line);
            let request = server.request();
            assert_eq!((request.method.as_str(), request.target.as_str()), ("DELETE", "/session"));
            assert_eq!(request.header("authorization"), Some("bearer hunter2"));
            assert_eq!(request.header("accept"), Some("application/json"));
            assert_eq!(request.body, b"");
        }
    }
}

#[test]
fn a_revocation_that_fails_says_so() {
    let place = Place::new();
    let server = Server::answering(answer(401, &[], ""));
    let url = server.url("/session");
    let revoke = |options: &[&str]| place.keyfob([&["revoke", "--url", &url], options].concat()).outcome();
    let session = ["--dialect", "bearer-session", "--access-token-file", "secret"];
    let refused = "the server refused (status 401) and did not say why";
    revoke(&session).fails(3, &format!("keyfob: {refused}\nhint: {CREDENTIALS_HINT}"));
    let json = error_json("refused", refused, Some(401), None, None, false);
    revoke(&[&session[..], &["--format", "json"]].concat()).fails(3, &json);
    assert_eq!(server.requests().len(), 2);

    let no_way = "keyfob: this endpoint's description knows no way to end a token\n\
                  hint: of the dialects only bearer-session documents one (`revoke`)";
    for dialect in ["json-credentials", "form-credentials", "user-credentials"] {
        revoke(&["--dialect", dialect, "--access-token-file", "secret"]).fails(2, no_way);
    }
    revoke(&["--access-token-file", "secret"]).fails(2, no_way);
    place.file("here/empty", "\n");
    place.file("here/spaces", "hunter2 hunter2");
    for (file, why) in [
        ("none", "secret file HERE/none: there is no such file"),
        ("empty", "secret file HERE/empty: it is empty"),
        ("spaces", "the access token is empty, or holds a character that is not visible ASCII"),
    ] {
        let why = why.replace("HERE", &place.path("here"));
        revoke(&["--dialect", "bearer-session", "--access-token-file", file]).fails(2, &format!("keyfob: {why}"));
    }
    assert_eq!(server.requests().len(), 2);

    let server = Server::answering(answer(503, &["retry-after: 7"], ""));
    let json = error_json("wait", "the server asks to wait (status 503)", Some(503), None, Some(7), true);
    let url = server.url("/s");
    let arguments = [&["revoke", "--url", &url, "--format", "json"], &session[..]].concat();
    place.keyfob(arguments).outcome().fails(6, &json);

    let nobody = Refusing::new();
    let url = format!("http://{}/s", nobody.address());
    place
        .keyfob([&["revoke", "--url", &url], &session[..]].concat())
        .outcome()
        .fails(4, &format!("keyfob: no connection to {}: connection refused", nobody.address()));
}

// parse

/// What `parse` shows of a token that is alone but for its lifetime.
fn redacted(expires_in: &str) -> String {
    format!(
        "{{\"ok\":{{\"access_token\":\"‹redacted›\",\"token_type\":null,\"expires_in_s\":{expires_in},\
         \"refresh_token\":null,\"scope\":null}}}}"
    )
}

#[test]
fn parse_tells_how_an_answer_is_read() {
    let place = Place::new();
    let form = "--content-type=application/x-www-form-urlencoded";
    let all = r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":"3599","refresh_token":"hunter2",
        "scope":"a b",}"#;
    for (input, options, code, line) in [
        (
            all,
            &[][..],
            0,
            "{\"ok\":{\"access_token\":\"‹redacted›\",\"token_type\":\"Bearer\",\"expires_in_s\":3599,\
             \"refresh_token\":\"‹redacted›\",\"scope\":\"a b\"}}",
        ),
        (r#"{"access_token":"hunter2"}"#, &[], 0, &redacted("null")),
        (
            r#"{"access_token":"hunter2","expires_in":0}"#,
            &["--status", "201", "--content-type", "text/plain"],
            0,
            &redacted("0"),
        ),
        ("access_token=hunter2&expires_in=60", &[form], 0, &redacted("60")),
        (
            r#"{"error":"invalid_client","error_description":"no"}"#,
            &[],
            3,
            r#"{"oauth_error":{"error":"invalid_client","error_description":"no"}}"#,
        ),
        (
            r#"{"error":"invalid_client"}"#,
            &["--status", "401"],
            3,
            r#"{"oauth_error":{"error":"invalid_client","error_description":null}}"#,
        ),
        ("error=odd", &[form], 3, r#"{"oauth_error":{"error":"odd","error_description":null}}"#),
        (
            r#"{"error":"a\"b","error_description":"\u001b[31m\n\t\u0000\u0007 \\ é"}"#,
            &["--status=400"],
            3,
            r#"{"oauth_error":{"error":"a\"b","error_description":"\u001b[31m\n\t\u0000\u0007 \\ é"}}"#,
        ),
        (all, &["--status", "500"], 5, r#"{"reject":"status 500 without an OAuth error"}"#),
        ("", &["--status", "429"], 5, r#"{"reject":"status 429 without an OAuth error"}"#),
        ("", &[], 5, r#"{"reject":"the body is empty"}"#),
        (" \r\n", &[], 5, r#"{"reject":"the body is empty"}"#),
        ("<html>hunter2", &[], 5, r#"{"reject":"the body is HTML or XML, not JSON"}"#),
        ("access_token=hunter2", &[], 5, r#"{"reject":"the body is not a JSON object"}"#),
        (r#"{"access_token":"hunter2""#, &[], 5, r#"{"reject":"the JSON text is cut off, at byte 25"}"#),
        (r#"{"token":"hunter2"}"#, &[], 5, r#"{"reject":"there is no access token"}"#),
        (
            r#"{"access_token":"hunter2 x"}"#,
            &["--show-secrets"],
            5,
            r#"{"reject":"the access token holds a character that is not visible ASCII, at byte 24"}"#,
        ),
        ("access_token=a%2", &[form], 5, r#"{"reject":"a percent sign without two hex digits, at byte 14"}"#),
    ] {
        let outcome = place.keyfob([&["parse"], options].concat()).input(input).outcome();
        outcome.is(code, &format!("{line}\n"), "");
    }
}

#[test]
fn parse_shows_secrets_when_asked_to() {
    let place = Place::new();
    let body = r#"{"access_token":"t\"\\1","refresh_token":"r1"}"#;
    place.keyfob(["parse", "--show-secrets"]).input(body).outcome().prints(
        r#"{"ok":{"access_token":"t\"\\1","token_type":null,"expires_in_s":null,"refresh_token":"r1","scope":null}}"#,
    );
}

#[test]
fn parse_reads_a_mebibyte_and_no_more() {
    let place = Place::new();
    let body = r#"{"access_token":"hunter2"}"#;
    let padding = 1024 * 1024 - body.len();
    place.keyfob(["parse"]).input(format!("{body}{}", " ".repeat(padding))).outcome().prints(&redacted("null"));
    for more in [1, 200_000] {
        let input = format!("{body}{}", " ".repeat(padding + more));
        let outcome = place.keyfob(["parse"]).input(input).outcome();
        outcome.is(5, "{\"reject\":\"the answer is larger than 1 MiB\"}\n", "");
    }
}

#[test]
fn parse_wants_a_status_that_is_one() {
    let place = Place::new();
    for (status, lines) in [
        ("99", "usage: --status: this must be an HTTP status"),
        ("1000", "usage: --status: this must be an HTTP status"),
        ("65736", "usage: --status: this must be an HTTP status"),
        ("hunter2", "usage: --status: this must be a whole number\nhint: keyfob help shows what there is"),
        ("-200", "usage: --status: this must be a whole number\nhint: keyfob help shows what there is"),
    ] {
        let outcome = place.keyfob(["parse", &format!("--status={status}")]).input("{}").outcome();
        outcome.fails(2, &format!("keyfob: {lines}"));
    }
}

// help and version

#[test]
fn help_and_version_come_out_on_standard_output() {
    let place = Place::new();
    let help = place.keyfob(["help"]).outcome();
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.starts_with("keyfob gets an OAuth 2.0 access token.\n\n"), "{}", help.stdout);
    assert!(help.stdout.ends_with('\n') && !help.stdout.ends_with("\n\n"));
    for arguments in [&["--help"][..], &["-h"], &["token", "--help"], &["revoke", "-h"], &["parse", "--help"]] {
        assert_eq!(place.keyfob(arguments).outcome(), help, "{arguments:?}");
    }
    // Nothing was asked for, and nothing done.
    place.keyfob([""; 0]).outcome().is(2, "", &help.stdout);
    for argument in ["--version", "-V"] {
        place.keyfob([argument]).outcome().prints(&format!("keyfob {VERSION}"));
    }
}

#[test]
fn help_mentions_every_option() {
    let help = Place::new().keyfob(["help"]).outcome().stdout;
    let words: Vec<&str> = help.split([' ', ',', '\n', '[', ']', '(', ')']).collect();
    for option in [
        "--url",
        "--dialect",
        "--grant",
        "--params",
        "--auth",
        "--method",
        "--client-id",
        "--username",
        "--client-secret-file",
        "--password-file",
        "--session-token-file",
        "--refresh-token-file",
        "--access-token-file",
        "--client-secret-env",
        "--password-env",
        "--scope",
        "--param",
        "--param-file",
        "--header",
        "--header-file",
        "--environment",
        "--field",
        "--basic-raw",
        "--ca-file",
        "--system-roots",
        "--client-cert-file",
        "--client-key-file",
        "--client-key-env",
        "--proxy",
        "--no-proxy",
        "--allow-http",
        "--timeout",
        "--lifetime",
        "--min-valid",
        "--no-cache",
        "--fresh",
        "--cache-dir",
        "--wait",
        "--splay",
        "--file",
        "--mode",
        "--on-renew",
        "--verbose",
        "--format",
        "--status",
        "--content-type",
        "--show-secrets",
        "--help",
        "--version",
    ] {
        assert!(words.contains(&option), "help does not mention {option}");
    }
    for verb in ["token", "revoke", "parse", "demo", "help"] {
        assert!(help.contains(&format!("keyfob {verb}")), "help does not mention {verb}");
    }
}

// Proxies.

/// A proxy that answers CONNECT so, and then passes everything on to where it was asked to.
struct Proxy {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn new(answer: &'static [u8]) -> Self {
        Self::leading_to(None, answer)
    }

    /// Passes everything on to this address, whatever name it was asked for.
    fn leading_to(address: Option<SocketAddr>, answer: &'static [u8]) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let wrapper = move |mut client: TcpStream| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let some = read_once(&mut client);
                if some.is_empty() {
                    return None;
                }
                head.extend(some);
            }
            let head = String::from_utf8(head).unwrap();
            log.lock().unwrap().push(head.clone());
            client.write_all(answer).ok()?;
            let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next())?;
            let target = address.map_or(target.to_owned(), |address| address.to_string());
            if !answer.starts_with(b"HTTP/1.1 200") {
                return None;
            }
            let mut server = TcpStream::connect(target).ok()?;
            let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
            let back = std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            // The client hears of the end first: it has its answer.
            let _ = back_and_forth(&mut client, &mut server);
            let _ = back.join();
            None
        };
        Self { server: Server::start("http", Box::new(wrapper), Box::new(|_, _| {})), asked }
    }

    fn url(&self) -> String {
        self.server.url("")
    }

    /// The first lines of what it was asked.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn back_and_forth(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(client, server)?;
    server.shutdown(std::net::Shutdown::Write)
}

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connected\r\n\r\n";

#[test]
fn a_proxy_from_the_environment_is_used_unless_the_host_needs_none() {
    let place = Place::new();
    for (variable, exceptions, used) in [
        ("http_proxy", "", true),
        ("all_proxy", "", true),
        ("ALL_PROXY", "", true),
        ("http_proxy", "s.invalid,127.0.0.2", true),
        ("http_proxy", "as.invalid", false),
        ("http_proxy", "other.example, .invalid", false),
        ("all_proxy", "*", false),
        // In a CGI program this would be a request's header.
        ("HTTP_PROXY", "", false),
        ("https_proxy", "", false),
    ] {
        let server = token_server();
        let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
        // The name is found by nobody, and some name servers take long to say so.
        let timeout = if used { "20" } else { "1" };
        let run = place.token("http://as.invalid/t", &["--allow-http", "--timeout", timeout]);
        let run = run.variable(variable, proxy.url()).variable("no_proxy", exceptions);
        if used {
            run.outcome().prints("tok-1");
            assert_eq!(proxy.asked(), ["CONNECT as.invalid:80 HTTP/1.1"], "{variable} {exceptions}");
            assert_eq!(server.request().body_text(), "grant_type=client_credentials");
        } else {
            // Directly, where nobody knows the name.
            assert_eq!(run.outcome().code, Some(4), "{variable} {exceptions}");
            assert_eq!(proxy.asked(), [""; 0], "{variable} {exceptions}");
        }
    }
    let proxy = Proxy::new(CONNECTED);
    let run =
        place.token("http://as.invalid/t", &["--allow-http", "--timeout", "1"]).variable("http_proxy", proxy.url());
    assert_eq!(run.variable("NO_PROXY", "as.invalid").outcome().code, Some(4));
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn what_goes_to_this_machine_never_goes_by_a_proxy_of_the_environment() {
    let place = Place::new();
    let (server, proxy) = (token_server(), Proxy::new(CONNECTED));
    let local = server.url("/t").replace("127.0.0.1", "localhost");
    for url in [server.url("/t"), local] {
        for value in [proxy.url(), "socks5://proxy.invalid".to_owned()] {
            place
                .token(&url, &[])
                .variable("http_proxy", value.clone())
                .variable("all_proxy", value)
                .outcome()
                .prints("tok-1");
        }
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let proxy = Proxy::new(CONNECTED);
    let port = proxy.server.address();
    let socks = "SOCKS proxies are not supported, and going around it would be wrong\n\
                 hint: name an http proxy, or list the host in no_proxy";
    let no_url = "this is no proxy's URL\nhint: it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, ? as \
                  %3F, @ as %40";
    for (variable, value, why) in [
        ("all_proxy", format!("socks5://{port}"), socks),
        ("ALL_PROXY", format!("socks5://me:hunter2@{port}"), socks),
        ("http_proxy", format!("socks4://{port}"), socks),
        ("http_proxy", "ftp://me:hunter2@proxy.example".into(), no_url),
    ] {
        let run = place.token("http://as.invalid/t", &["--allow-http"]).variable(variable, value);
        run.outcome().fails(2, &format!("keyfob: {variable}: {why}"));
    }
    let options = ["--allow-http", "--timeout", "1"];
    let run = place.token("http://as.invalid/t", &options).variable("all_proxy", format!("socks5://{port}"));
    assert_eq!(run.variable("no_proxy", "as.invalid").outcome().code, Some(4));
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_proxy_is_sent_its_password_and_shows_it_to_nobody() {
    let place = Place::new();
    let proxy = Proxy::new(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://me:hunter2@{}", proxy.server.address());
    let outcome = place.token("http://as.invalid/t", &["--allow-http"]).variable("http_proxy", url).outcome();
    let address = proxy.server.address();
    let message = "keyfob: the proxy wants other credentials\n\
                   hint: check the user name and the password in the URL of the proxy";
    outcome.fails(3, &format!("{message} {address}"));
    assert_eq!(proxy.asked(), ["CONNECT as.invalid:80 HTTP/1.1"]);
    let head = proxy.asked.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic bwu6ahvudgvymg=="), "{head}");
}

#[test]
fn a_proxy_that_is_named_counts_whatever_the_environment_says() {
    let place = Place::new();
    let server = token_server();
    let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
    let other = Proxy::new(CONNECTED);
    let url = proxy.url();
    place.file("here/p.json", format!(r#"{{"url": "http://as.invalid/t", "allow_http": true, "proxy": "{url}"}}"#));
    place.file("here/n.json", r#"{"url": "http://as.invalid/t", "allow_http": true, "no_proxy": true}"#);
    let mut count = 0;
    for (words, is_used) in [
        (&["--url", "http://as.invalid/t", "--allow-http", "--proxy", &url][..], true),
        (&["./p.json"], true),
        (&["./n.json", "--proxy", &url], true),
        (&["./p.json", "--no-proxy"], false),
        (&["./n.json"], false),
        (&["--url", "http://as.invalid/t", "--allow-http", "--no-proxy"], false),
    ] {
        let timeout = if is_used { "20" } else { "1" };
        let run = place.keyfob([&["token"], words, &["--no-cache", "--timeout", timeout]].concat());
        // The exceptions are those of the environment's proxies.
        let run = run.variable("http_proxy", other.url()).variable("no_proxy", if is_used { "*" } else { "" });
        let outcome = run.outcome();
        if is_used {
            outcome.prints("tok-1");
            count += 1;
        } else {
            assert_eq!(outcome.code, Some(4), "{words:?}");
        }
        assert_eq!(proxy.asked().len(), count, "{words:?}");
    }
    assert!(proxy.asked().iter().all(|asked| asked == "CONNECT as.invalid:80 HTTP/1.1"));
    assert_eq!(other.asked(), [""; 0]);
}

#[test]
fn a_proxy_that_is_named_and_cannot_be_used_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let proxy = Proxy::new(CONNECTED);
    let address = proxy.server.address();
    let no_url = "proxy: this is no proxy's URL\nhint: it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, \
                  ? as %3F, @ as %40";
    let socks = "proxy: SOCKS proxies are not supported, and going around it would be wrong\n\
                 hint: name an http proxy, or list the host in no_proxy";
    let password = "`proxy`: it holds a user name or a password, and everyone can read argument lists\n\
                    hint: give it by the environment: https_proxy, http_proxy or all_proxy";
    for (value, why) in [
        (String::new(), no_url),
        ("ftp://proxy.example".into(), no_url),
        (format!("socks5://{address}"), socks),
        (format!("http://me:hunter2@{address}"), password),
        (format!("http://hunter2@{address}"), password),
        (format!("me:hunter2@{address}"), password),
    ] {
        let outcome = place.token("http://as.invalid/t", &["--allow-http", "--proxy", &value]).outcome();
        outcome.fails(2, &format!("keyfob: {why}"));
        place.file(
            "here/p.json",
            format!(r#"{{"url": "http://as.invalid/t", "allow_http": true, "proxy": "{value}"}}"#),
        );
        place.keyfob(["token", "./p.json", "--no-cache"]).outcome().fails(2, &format!("keyfob: {why}"));
    }
    let both = ["--allow-http", "--proxy", &proxy.url(), "--no-proxy"];
    place
        .token("http://as.invalid/t", &both)
        .outcome()
        .fails(2, "keyfob: `proxy` and `no_proxy` are both given\nhint: leave one of them out");
    // Plain http is allowed to this machine because it does not leave it.
    let server = token_server();
    place.token(&server.url("/t"), &["--proxy", &proxy.url()]).outcome().fails(
        2,
        "keyfob: plain http to this machine through a proxy would show it the credentials\n\
         hint: leave the proxy out (--no-proxy), or use https",
    );
    assert_eq!((proxy.asked(), server.requests()), (vec![], vec![]));
}

#[test]
fn a_proxy_that_trickles_ends_within_the_timeout() {
    let proxy = Server::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(b"y").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let place = Place::new();
    let started = Instant::now();
    let options = ["--allow-http", "--proxy", &proxy.url(""), "--timeout", "1"];
    place.token("http://as.invalid/t", &options).outcome().fails(
        4,
        &format!(
            "keyfob: no connection to as.invalid within 1 s\nhint: connecting through the proxy {}",
            proxy.address()
        ),
    );
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn plain_http_to_another_host_goes_out_only_if_it_is_allowed() {
    let place = Place::new();
    let server = token_server();
    let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
    let run = |options: &[&str]| place.token("http://as.example/t", options).variable("http_proxy", proxy.url());
    run(&[]).outcome().fails(
        2,
        "keyfob: plain http to as.example would show the credentials to everyone on the way\n\
         hint: use https, or allow it (--allow-http) if you trust the network",
    );
    assert_eq!(proxy.asked(), [""; 0]);
    run(&["--allow-http"]).outcome().prints("tok-1");
    // The name is the proxy's to look up.
    assert_eq!(proxy.asked(), ["CONNECT as.example:80 HTTP/1.1"]);
    assert_eq!(server.request().header("host"), Some("as.example"));
}

// Standard output that takes nothing.

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    let place = Place::new();
    // The server answers when the pipe is closed, not before.
    let (closed, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::with(move |_, stream| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        let _ = stream.write_all(&json(200, r#"{"access_token":"hunter2"}"#));
    });
    for (format, stderr) in [
        ("token", "keyfob: standard output: broken pipe\n"),
        ("curl", "keyfob: standard output: broken pipe\n"),
        (
            "json",
            "{\"error\":\"internal\",\"message\":\"standard output: broken pipe\",\"status\":null,\
             \"oauth_error\":null,\"retry_after\":null,\"retryable\":false}\n",
        ),
    ] {
        let mut command = place.token(&server.url("/t"), &["--format", format]).command();
        // Not a pipe: a child that another test starts just now would hold its other end for a moment.
        let (own, other) = UnixStream::pair().unwrap();
        command.stdin(Stdio::null()).stdout(OwnedFd::from(other)).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        own.shutdown(Shutdown::Both).unwrap();
        closed.send(()).unwrap();
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.as_str()), (Some(1), stderr));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_no_panic() {
    let place = Place::new();
    let server = token_server();
    for run in [place.token(&server.url("/t"), &[]), place.keyfob(["help"]), place.keyfob(["--version"])] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run.command().stdin(Stdio::null()).stdout(full).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.as_str()), (Some(1), "keyfob: standard output: no space left\n"));
    }
}

// What the command does not do yet.

#[test]
fn a_profile_that_asks_for_curl_stops_it_after_each_error() {
    let place = Place::new();
    for (members, lines) in [
        (r#""timeout":0"#, "`timeout`: this must be longer than 0 s"),
        (
            r#""param":{"password":"hunter2"}"#,
            "`param`: password is a secret, and is never given as it is\nhint: put it into a file and use --password-file",
        ),
        (r#""params":"xml""#, "`params`: \"xml\" is none of form, json, query"),
        (
            r#""nonsense":1"#,
            "profile: unknown member \"nonsense\"\nhint: `keyfob help` lists the options, which are its members with underscores for hyphens",
        ),
    ] {
        place.file("here/p.json", format!(r#"{{"url":"https://as.example","format":"curl",{members}}}"#));
        let outcome = place.keyfob(["token", "./p.json"]).outcome();
        outcome.is(2, "proto = \"-all\"\n", &format!("keyfob: {lines}\n"));
    }
    let outcome = place.keyfob(["token", "--format", "curl", "--format", "token"]).outcome();
    outcome.is(2, "proto = \"-all\"\n", &format!("keyfob: usage: --format is given twice\n{USAGE_HINT}\n"));
}

#[test]
fn an_option_overrides_the_header_that_a_profile_names_in_another_way() {
    let place = Place::new();
    let server = token_server();
    for (members, options, header) in [
        (r#""header_file":{"X-Key":"secret"}"#, ["--header", "X-Key: option"], "option"),
        (r#""header":{"x-key":"profile"}"#, ["--header", "X-Key: option"], "option"),
        (r#""header":{"x-key":"profile"}"#, ["--header-file", "X-Key: secret"], SENTINEL),
    ] {
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
        place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
        assert_eq!(server.requests().last().unwrap().header("x-key"), Some(header), "{members} {options:?}");
    }
}

#[test]
fn an_option_overrides_the_parameter_that_a_profile_names_in_another_way() {
    let place = Place::new();
    for (members, options, body) in [
        (r#""param_file":{"a":"secret"}"#, ["--param", "a=option"], "a=option"),
        (r#""param":{"a":"profile"}"#, ["--param-file", "a=secret"], "a=hunter2"),
    ] {
        let server = token_server();
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
        place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
        assert_eq!(server.request().body_text(), format!("grant_type=client_credentials&{body}"), "{options:?}");
    }
}

#[test]
fn json_has_no_control_character_of_any_kind() {
    let place = Place::new();
    let body = r#"{"error":"a\u007f\u009b","error_description":"b\u0085\u202e"}"#;
    let outcome = place.keyfob(["parse"]).input(body).outcome();
    let line = r#"{"oauth_error":{"error":"a\u007f\u009b","error_description":"b\u0085\u202e"}}"#;
    outcome.is(3, &format!("{line}\n"), "");
    let server = Server::answering(json(400, body));
    let outcome = place.token(&server.url("/t"), &["--format", "json"]).outcome();
    assert!(outcome.stderr.contains(r#": a\\u{7f}\\u{9b} (b\\u{85}\\u{202e})""#), "{outcome:?}");
    assert!(outcome.stderr.trim_end().chars().all(|c| !c.is_control()), "{outcome:?}");
}

#[test]
fn a_secret_that_the_server_echoes_encoded_is_cut_out() {
    let place = Place::new();
    place.file("here/odd", "p&ss w\"rd");
    let id = ["--client-id", "c", "--client-secret-file", "odd"];
    for (options, encoded) in [
        (vec!["--auth", "client_secret_basic"], "YzpwJTI2c3MrdyUyMnJk"),
        (vec!["--auth", "client_secret_basic", "--basic-raw"], "YzpwJnNzIHcicmQ="),
        (vec!["--auth", "client_secret_post"], "p%26ss+w%22rd"),
        (vec!["--params", "query"], "p%26ss%20w%22rd"),
        (vec!["--params", "json"], "p&ss w\\\"rd"),
    ] {
        // As the server was sent it: in a header, or in the parameters.
        let server = Server::with(|request, stream| {
            let sent = format!(
                "{} {} {}",
                request.header("authorization").unwrap_or_default(),
                request.target,
                request.body_text()
            );
            let text = sent.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = stream.write_all(&json(400, &format!(r#"{{"error":"x","error_description":"{text}"}}"#)));
        });
        let outcome = place.token(&server.url("/t"), &[&id[..], &options].concat()).outcome();
        assert_eq!(outcome.code, Some(3));
        assert!(!outcome.stderr.contains(encoded), "{options:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_redirect_without_a_scheme_hides_the_user_information_too() {
    let place = Place::new();
    let server = Server::answering(answer(302, &["location: //me:hunter2@other.example/token?x"], ""));
    place.token(&server.url("/t"), &[]).outcome().fails(
        5,
        "keyfob: the server redirects (status 302), and credentials are not sent after it\n\
         hint: it names //other.example/token; if that is the token endpoint, use its URL",
    );
}

#[test]
fn two_secrets_from_standard_input_are_an_error_even_if_one_is_not_needed() {
    let place = Place::new();
    let server = token_server();
    let options = ["--client-id", "c", "--client-secret-file", "-", "--password-file", "-"];
    let outcome = place.token(&server.url("/t"), &options).input(SENTINEL).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_profile_may_begin_with_a_byte_order_mark() {
    let place = Place::new();
    let server = token_server();
    place.file("here/p.json", format!("\u{FEFF}{{\"url\":\"{}\",\"no_cache\":true}}", server.url("/t")));
    place.keyfob(["token", "./p.json"]).outcome().prints("tok-1");
}

#[test]
#[cfg(feature = "tls")]
fn trusted_roots_that_are_damaged_have_no_empty_hint() {
    let place = Place::new();
    for (content, why) in [
        ("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nQUJD\n", "this is not PEM"),
    ] {
        place.file("here/ca.pem", content);
        let outcome = place.token("https://as.example", &["--ca-file", "ca.pem"]).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: ca.pem: {why}"));
    }
}

// What a fresh pair of eyes found.

#[test]
fn an_option_says_only_its_part_of_what_a_profile_says() {
    let place = Place::new();
    let answer = r#"{"d":{"t":"tok-2","ttl":3600000},"access_token":"tok-1","expires_in":0}"#;
    let server = Server::answering(json(200, answer));
    let profile = |members: &str| format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t"));
    // The unit and the longest life stay when only the default is said anew.
    place.file(
        "here/p.json",
        profile(
            r#""field":{"access_token":"x","expires_in":"d.ttl"},"lifetime":{"unit":"milliseconds","maximum":600}"#,
        ),
    );
    let run = place.keyfob(["token", "./p.json", "--field", "d.t", "--lifetime", "60", "--format", "json"]);
    let stdout = run.outcome().stdout;
    assert!(stdout.contains(r#""access_token":"tok-2""#), "{stdout}");
    assert!(stdout.contains(r#""expires_in":599"#) || stdout.contains(r#""expires_in":600"#), "{stdout}");
}

#[test]
fn a_dialect_on_the_command_line_sets_what_a_profile_set_otherwise() {
    let place = Place::new();
    let server = token_server();
    let members = r#""auth":"client_secret_basic","params":"json","grant":"client_credentials""#;
    place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
    let options = ["--dialect", "user-credentials", "--username", "u", "--password-file", "secret"];
    place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
    let seen = server.request();
    assert_eq!((seen.target.as_str(), seen.header("authorization")), ("/t?username=u&password=hunter2", None));
    place.file("here/q.json", format!(r#"{{"url":"{}","no_cache":true,"params":"json"}}"#, server.url("/t")));
    place.keyfob(["token", "./q.json", "--method", "GET"]).outcome().prints("tok-1");
    assert_eq!(server.requests()[1].target, "/t?grant_type=client_credentials");
}

#[test]
fn html_is_no_form_whatever_it_is_called() {
    let place = Place::new();
    for (body, reject) in [
        ("<a href=\"/l?a=1&access_token=evil&b=2\">", "the body is HTML or XML, not JSON"),
        ("Log in at http://portal/?x=1&access_token=evil&n=2", "a character that cannot stand in a form, at byte 3"),
        ("x=1&access_token=evil&n=\"", "a character that cannot stand in a form, at byte 24"),
    ] {
        let run = place.keyfob(["parse", "--content-type", "application/x-www-form-urlencoded"]).input(body);
        run.outcome().is(5, &format!("{{\"reject\":\"{reject}\"}}\n"), "");
    }
}

#[test]
fn an_echo_in_any_coding_is_cut_out_and_our_own_words_are_not() {
    let place = Place::new();
    place.file("here/odd", "p@ss+w%rd &<\"x");
    place.file("here/quoted", "päss'/&");
    place.file("here/percent", "100%25 off now");
    place.file("here/short", "secret");
    place.file("here/longer", "secret-and-more");
    let id = ["--client-id", "c"];
    for (options, body, message) in [
        (
            vec!["--client-secret-file", "odd"],
            r#"{"error":"x","error_description":"got p%40ss%2bw%25rd%20%26%3c%22x, p@ss+w%rd &amp;&lt;&quot;x"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        // As PHP, .NET and Python write it into HTML and into JSON inside of JSON.
        (
            vec!["--client-secret-file", "quoted"],
            r#"{"error":"x","error_description":"p&#228;ss&#039;&#x2f;&#38;, p&#xE4;ss&apos;/&#x26;, p\\u00e4ss\\u0027\\/\\u0026"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        // In part: a percent sign as it is before one that is encoded.
        (
            vec!["--client-secret-file", "percent"],
            r#"{"error":"x","error_description":"got 100%25%20off+now, 100%2525%20off%20now"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        (
            vec![
                "--client-secret-file",
                "short",
                "--grant",
                "password",
                "--username",
                "u",
                "--password-file",
                "longer",
            ],
            r#"{"error":"x","error_description":"got secret-and-more"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        (
            vec!["--client-secret-file", "short"],
            r#"{"error":"invalid_client","error_description":"wrong secret"}"#,
            "keyfob: the server refused (status 400): invalid_client (‹redacted›)\n\
             hint: check client id and secret, and the client authentication: some servers want it among the parameters \
             (--auth client_secret_post), or not form-encoded (--basic-raw)\n",
        ),
    ] {
        let server = Server::answering(json(400, body));
        let outcome = place.token(&server.url("/t"), &[&id[..], &options].concat()).outcome();
        outcome.is(3, "", message);
    }
}

#[test]
fn plain_http_at_a_port_that_speaks_tls_and_just_closes_gets_a_hint_and_no_second_connection() {
    let place = Place::new();
    // Closes on whatever is no TLS, as many servers do.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        read_once(&mut listener.accept().unwrap().0);
        listener
    });
    let outcome = place.token(&format!("http://{address}/t"), &[]).outcome();
    outcome.fails(
        4,
        &format!(
            "keyfob: the connection to {address} ended before the answer did: unexpected end of file\n\
             hint: the server said nothing: if it speaks TLS, write https:// in the URL"
        ),
    );
    let listener = server.join().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
