//! The command, as scripts see it: what it prints, where, and with which exit code.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/command.rs"]
mod running;

use common::{Seen, Server, answer, json};
use running::{Place, Refusing, SENTINEL, read_once};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A token that lives an hour.
fn token_server() -> Server {
    Server::answering(json(200, r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#))
}

/// Replaces the number after `"expires_in":`, which must be just below `whole`: some of it has passed already.
#[track_caller]
fn without_seconds(line: &str, whole: u64) -> String {
    let (before, rest) = line.split_once("\"expires_in\":").expect("there is the member");
    let (number, after) = rest.split_once(',').expect("there is a member behind it");
    let left: u64 = number.parse().expect("it is a whole number");
    assert!(left < whole && left + 20 > whole, "{left} is not just below {whole}");
    format!("{before}\"expires_in\":N,{after}")
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
            r#"{"access_token":"a\"b\\c/d","token_type":"bearer","expires_in":null,"scope":"read write","cache":"none"}"#,
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
            without_seconds(&outcome.stdout, whole),
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
        without_seconds(&outcome.stdout, 60),
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
    let too_many = "usage: there is a word too many; a secret is never given on the command line";
    for (arguments, message, hint) in [
        (&["hunter2"][..], "usage: the first word is none of token, revoke, parse, demo, help", USAGE_HINT),
        (&["Token"], "usage: the first word is none of token, revoke, parse, demo, help", USAGE_HINT),
        (&[""], "usage: the first word is none of token, revoke, parse, demo, help", USAGE_HINT),
        (
            &["--url", "https://as.example"],
            "usage: the first word must say what to do: token, revoke, parse, demo or help",
            USAGE_HINT,
        ),
        (&["-x", "token"], "usage: the first word must say what to do: token, revoke, parse, demo or help", USAGE_HINT),
        (&["token", "--nonsense"], "usage: there is no option --nonsense", USAGE_HINT),
        (&["token", "--nonsense=hunter2"], "usage: there is no option --nonsense", USAGE_HINT),
        (&["token", "--URL", "https://as.example"], "usage: there is no option --URL", USAGE_HINT),
        (&["token", "--no\u{1b}[31m"], "usage: there is no option --no\\u{1b}[31m", USAGE_HINT),
        (&["token", "--client-secret", "hunter2"], "usage: there is no option --client-secret", &client_secret),
        (&["token", "--client-secret=hunter2"], "usage: there is no option --client-secret", &client_secret),
        (&["token", "--password", "hunter2"], "usage: there is no option --password", &password),
        (&["token", "--session-token", "hunter2"], "usage: there is no option --session-token", &session),
        (&["token", "--refresh-token", "hunter2"], "usage: there is no option --refresh-token", &refresh),
        (&["revoke", "--access-token", "hunter2"], "usage: there is no option --access-token", &access),
        (&["token", "-phunter2"], "usage: there are no one-letter options but -h and -V", USAGE_HINT),
        (&["token", "-p", "hunter2"], "usage: there are no one-letter options but -h and -V", USAGE_HINT),
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
        (&["token", "--timeout", "hunter2"], "usage: --timeout: this must be a whole number", USAGE_HINT),
        (&["token", "--timeout", "1.5"], "usage: --timeout: this must be a whole number", USAGE_HINT),
        (&["token", "--timeout", "+1"], "usage: --timeout: this must be a whole number", USAGE_HINT),
        (&["token", "--timeout=-1"], "usage: --timeout: this must be a whole number", USAGE_HINT),
        (&["token", "--lifetime", ""], "usage: --lifetime: this must be a whole number", USAGE_HINT),
        (&["token", "--min-valid", "1h"], "usage: --min-valid: this must be a whole number", USAGE_HINT),
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
        place.keyfob(arguments).outcome().fails(2, &format!("keyfob: {message}\n{hint}"));
    }
}

#[test]
fn a_command_line_that_is_not_text_is_an_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let not_text = OsStr::from_bytes(b"hunter2\xFF");
    for (arguments, message) in [
        ([OsStr::new("token"), OsStr::new("--client-id"), not_text], "--client-id: the value is not UTF-8 text"),
        ([OsStr::new("token"), OsStr::new("--param"), not_text], "--param: the value is not UTF-8 text"),
        (
            [not_text, OsStr::new("--param"), OsStr::new("a=b")],
            "the first word is none of token, revoke, parse, demo, help",
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
            &["--grant", "hunter2"],
            "`grant`: this must be one of client_credentials, password, bearer_session, refresh_token or a URN",
        ),
        (
            &["--grant", ""],
            "`grant`: this must be one of client_credentials, password, bearer_session, refresh_token or a URN",
        ),
        (&["--params", "xml"], "`params`: \"xml\" is none of form, json, query"),
        (&["--auth", "basic"], "`auth`: \"basic\" is none of client_secret_basic, client_secret_post, none"),
        (&["--method", "get"], "`method`: \"get\" is none of POST, GET"),
        (&["--method", "DELETE"], "`method`: \"DELETE\" is none of POST, GET"),
        (&["--format", "hunter2"], "`format`: this must be one of token, header, curl, json"),
        (&["--timeout", "0"], "`timeout`: nothing can be fetched in no time"),
        (&["--lifetime", "0"], "`lifetime`: this must be a whole number of seconds, at least 1"),
        (&["--field", "a..b"], "field: \"a..b\" is not a path: names joined by dots, at most 8"),
        (&["--field", ""], "field: \"\" is not a path: names joined by dots, at most 8"),
        (
            &["--auth", "client_secret_basic", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has none",
        ),
        (
            &["--auth", "client_secret_post", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has none",
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
            &["--header", "authorization: Bearer x", "--client-id", "c", "--client-secret-file", "secret"],
            "header Authorization: the client authentication sets it already\n\
             hint: authenticate by `none` or client_secret_post to set it yourself",
        ),
        (&["--param", "grant_type=password"], "the parameter `grant_type` would be sent twice"),
        (&["--client-id", "c", "--param", "client_id=d"], "the parameter `client_id` would be sent twice"),
        (&["--scope", "a", "--param", "scope=b"], "the parameter `scope` would be sent twice"),
        (
            &["--params", "json", "--param", "resource=a", "--param", "resource=b"],
            "the parameter `resource` would be sent twice",
        ),
        (
            &["--params", "json", "--param", "assertion=a", "--param-file", "assertion=secret"],
            "the parameter `assertion` would be sent twice",
        ),
        (&["./none"], "profile ./none: entity not found"),
        (&["--ca-file", "none"], "--ca-file none: entity not found"),
    ] {
        place.token(&server.url("/t"), options).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    assert_eq!(server.requests(), []);
}

#[test]
#[cfg(feature = "tls")]
fn trusted_roots_must_be_pem() {
    let place = Place::new();
    let server = token_server();
    let no_certificate =
        "trusted roots: there is no certificate in it\nhint: it must be PEM: -----BEGIN CERTIFICATE-----";
    let damaged = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nQUJD\n";
    for (content, why) in [
        ("hunter2", no_certificate),
        ("", no_certificate),
        (damaged, "trusted roots: certificate 1 cannot be read"),
        (cut, "trusted roots: this is not PEM"),
    ] {
        place.file("work/ca.pem", content);
        let outcome = place.token(&server.url("/t"), &["--ca-file", "ca.pem"]).outcome();
        outcome.fails(2, &format!("keyfob: --ca-file ca.pem: {why}"));
    }
    place.token(&server.url("/t"), &["--ca-file", "."]).outcome().fails(2, "keyfob: --ca-file .: is a directory");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_that_cannot_be_read_is_named_by_its_place() {
    let place = Place::new();
    let server = token_server();
    place.file("work/empty", "");
    place.file("work/line-end", "\r\n");
    place.file("work/not-text", b"hunter2\xFF");
    place.file("work/large", SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1));
    place.file("work/two-lines", "hunter2\nhunter2\n");
    let client = |options: &[&'static str]| [&["--client-id", "c"], options].concat();
    for (options, why) in [
        (client(&["--client-secret-file", "none"]), "secret file none: there is no such file"),
        (client(&["--client-secret-file", "./no/ne"]), "secret file ./no/ne: there is no such file"),
        (client(&["--client-secret-file", "."]), "secret file .: it is a directory"),
        (client(&["--client-secret-file", "empty"]), "secret file empty: it is empty"),
        (client(&["--client-secret-file", "line-end"]), "secret file line-end: it is empty"),
        (client(&["--client-secret-file", "not-text"]), "secret file not-text: it is not UTF-8 text"),
        (
            client(&["--client-secret-file", "large"]),
            "secret file large: it is longer than 64 KiB, so it cannot be a secret",
        ),
        (client(&["--client-secret-env", "NONE"]), "environment variable NONE: it is not set"),
        (client(&["--client-secret-env", "EMPTY"]), "environment variable EMPTY: it is empty"),
        (client(&["--client-secret-env", "NOT_TEXT"]), "environment variable NOT_TEXT: it is not UTF-8 text"),
        (client(&["--client-secret-file", "-"]), "standard input: it is empty"),
        (client(&["--param-file", "assertion=none"]), "secret file none: there is no such file"),
        (client(&["--header-file", "X-Key: none"]), "secret file none: there is no such file"),
        (
            client(&["--header-file", "X-Key: two-lines"]),
            "header X-Key: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
        (vec!["--grant", "refresh_token", "--refresh-token-file", "none"], "secret file none: there is no such file"),
        (
            vec!["--grant", "password", "--username", "u", "--password-env", "NONE"],
            "environment variable NONE: it is not set",
        ),
        (
            vec!["--dialect", "bearer-session", "--session-token-file", "two-lines"],
            "header Authorization: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
    ] {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let run = place.token(&server.url("/t"), &options).variable("EMPTY", "");
        let run = run.variable("NOT_TEXT", OsStr::from_bytes(b"hunter2\xFF"));
        run.outcome().fails(2, &format!("keyfob: {why}"));
    }
    let too_long = place.token(&server.url("/t"), &client(&["--client-secret-file", "-"]));
    too_long
        .input(SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1))
        .outcome()
        .fails(2, "keyfob: standard input: it is longer than 64 KiB, or grew while it was read");
    assert_eq!(server.requests(), []);
}

/// Eight bytes of a secret that is too large.
const SENTINEL_LARGE: &str = "hunter2,";

#[test]
fn standard_input_holds_one_secret() {
    let place = Place::new();
    let server = token_server();
    let password = ["--grant", "password", "--username", "u", "--password-file", "-", "--client-id", "c"];
    for (options, first, second) in [
        ([&password[..], &["--client-secret-file", "-"]].concat(), "password_file", "client_secret_file"),
        ([&password[..], &["--param-file", "otp=-"]].concat(), "password_file", "param_file"),
        (vec!["--param-file", "a=-", "--param-file", "b=-"], "param_file", "param_file"),
        (vec!["--header-file", "A: -", "--header-file", "B: -"], "header_file", "header_file"),
        (
            vec!["--client-id", "c", "--client-secret-file", "-", "--header-file", "B: -"],
            "header_file",
            "client_secret_file",
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
        let json = error_json(kind, message, Some(*status), *oauth_error, None, false);
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
                json(500, r#"{"error":"server_error"}"#),
                500,
                Some("server_error"),
                "the server refused (status 500): server_error",
                None,
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
                Some("odd"),
                &format!("the server refused (status 400): odd ({}…)", "x".repeat(300)),
                None,
            ),
            (
                answer(400, &["content-type: application/x-www-form-urlencoded"], "error=odd&error_description=a+b"),
                400,
                Some("odd"),
                "the server refused (status 400): odd (a b)",
                None,
            ),
        ],
    );
}

#[test]
fn a_refusal_without_words_is_one_too() {
    let silent = |status: u16| format!("the server refused (status {status}) and did not say why");
    check(
        "refused",
        3,
        &[
            (answer(401, &[], ""), 401, None, &silent(401), Some(CREDENTIALS_HINT)),
            (
                answer(401, &["www-authenticate: Basic realm=\"hunter2\""], "no"),
                401,
                None,
                &silent(401),
                Some(CREDENTIALS_HINT),
            ),
            (
                answer(403, &["content-type: text/html"], "<html>hunter2 is forbidden</html>"),
                403,
                None,
                &silent(403),
                Some(CREDENTIALS_HINT),
            ),
            (json(400, r#"{"message":"hunter2"}"#), 400, None, &silent(400), Some(CREDENTIALS_HINT)),
            (json(400, r#"{"access_token":"hunter2"}"#), 400, None, &silent(400), Some(CREDENTIALS_HINT)),
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
            (answer(502, &[], "hunter2"), 502, None, "the server answered with status 502", None),
        ],
    );
}

#[test]
fn an_answer_without_a_status_to_tell_of_is_unusable_too() {
    for (bytes, message) in [
        (answer(200, &[], &"x".repeat(1024 * 1024 + 1)), "the answer is larger than 1 MiB"),
        (b"SSH-2.0-OpenSSH_9.7\r\n".to_vec(), "the answer of HOST is not HTTP"),
    ] {
        let server = Server::answering(bytes);
        let json = error_json("unusable", message, None, None, None, false);
        error_for(&server, &[], 5, &format!("keyfob: {message}"), &json);
    }
}

#[test]
fn a_token_that_lives_too_short_is_unusable() {
    let server = Server::answering(json(200, r#"{"access_token":"hunter2","expires_in":60}"#));
    let message = "the fresh token lives 59 s more, and at least 61 s were asked for (--min-valid)";
    let hint = "hint: ask for less, or whoever runs the server for longer lives";
    let json = error_json("unusable", message, None, None, None, false);
    error_for(&server, &["--min-valid", "61"], 5, &format!("keyfob: {message}\n{hint}"), &json);
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
        let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
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
            error_for(&server, options, 4, &format!("keyfob: {message}"), &json);
        }
    }
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(3)));
    let message = format!("no complete answer from {} within 1 s", server.address());
    place.token(&server.url("/t"), &["--timeout", "1"]).outcome().fails(4, &format!("keyfob: {message}"));
    let json = error_json("outcome_unknown", &message, None, None, None, false);
    let options = [&refresh[..], &["--timeout", "1", "--format", "json"]].concat();
    place.token(&server.url("/t"), &options).outcome().fails(4, &json);
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
    let verb = format!("keyfob: usage: the first word is none of token, revoke, parse, demo, help\n{USAGE_HINT}\n");
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
    let bad = place.token(&server.url("/t"), &["--format", "curl", "--method", "PUT"]).outcome();
    assert_eq!(bad.stdout, "proto = \"-all\"\n");
    let Some(status) = curl(&bad.stdout, &api.url("/api")) else { return };
    assert!(!status.success());
    assert_eq!(api.requests(), []);
    assert!(curl(&good.stdout, &api.url("/api")).unwrap().success());
    assert_eq!(api.request().header("authorization"), Some(r#"Bearer a"b\c"#));
}
