//! The command, as scripts see it: what it prints, where, and with which exit code.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/command.rs"]
mod running;
#[cfg(feature = "jwt")]
#[path = "../common/jwt.rs"]
mod signing;
#[cfg(feature = "tls")]
#[path = "../common/tls.rs"]
mod serving;

#[cfg(feature = "jwt")]
mod assertions;
mod chains;
mod failures;
mod from_curl;
mod help;
mod helper;
mod introspect;
mod options;
mod output;
mod parse;
mod probe;
mod profile;
mod proxy;
mod requests;
mod revoke;
mod secrets;
mod status;
mod token;
mod trust;
mod variables;
mod verbose;

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

const USAGE_HINT: &str = "hint: `keyfob help` lists the commands and options";

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

const BODY_HINT: &str = "is this the token endpoint? if the body is the token itself, name its place, \"\" (--field)";

const ENDPOINT_HINT: &str = "is this the token endpoint? if the token is in another place, name it (--field)";

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

/// A secret with everything that needs an escape somewhere.
const ODD_SECRET: &str = "hunter2 &=+\"\\é";

/// The request with its headers sorted: their order says nothing.
fn in_order(request: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = request.split('\n').collect();
    let end = lines.iter().position(|line| line.is_empty()).expect("a blank line ends the headers");
    lines[1..end].sort_unstable();
    lines
}
