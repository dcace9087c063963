//! Runs the command with a profile against a server on loopback, and shows requests and answers as a table has them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use crate::common::{Seen, Server, answer, json};
use crate::running::{Outcome, Place};
use miniserde::json::{self as read, Number, Object, Value};

/// Makes the bytes of an answer.
pub fn bytes(text: &str) -> Vec<u8> {
    match text.split_once("\n\n") {
        Some((head, body)) => {
            let mut lines = head.lines();
            let status = lines.next().unwrap().parse().unwrap();
            answer(status, &lines.collect::<Vec<_>>(), body)
        }
        None => json(200, text),
    }
}

/// Shows a request as a row has it.
pub fn shown(request: &Seen) -> Vec<String> {
    let usual = |name: &str, value: &str| match name {
        "host" => true,
        "content-length" => value == request.body.len().to_string(),
        "accept" => value == "application/json",
        "user-agent" => value == concat!("keyfob/", env!("CARGO_PKG_VERSION")),
        "content-type" => value == "application/x-www-form-urlencoded" || value == "application/json",
        _ => false,
    };
    let place = match request.header("content-type") {
        Some("application/x-www-form-urlencoded") => " form",
        Some("application/json") => " json",
        _ => "",
    };
    let mut lines = vec![format!("{} {}{}{place}", request.method, request.header("host").unwrap(), request.target)];
    let own = request.headers.iter().filter(|(name, value)| !usual(name, value));
    lines.extend(own.map(|(name, value)| format!("{name}: {value}")));
    lines[1..].sort_unstable();
    if !request.body.is_empty() {
        lines.push(format!(">{}", request.body_text()));
    }
    lines
}

/// Calls the command, which connects to the server whatever the profile's host is.
pub fn token(place: &Place, server: &Server, options: &[&str]) -> Outcome {
    let address = server.address().to_string();
    place.keyfob([&["token", "./p.json", "--allow-http", "--connect-to", &address], options].concat()).outcome()
}

/// Returns the token and the rest of its life, as a row has them.
pub fn token_and_lifetime(outcome: &Outcome, expected: &str) -> String {
    let answer: Object = read::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let (Some(Value::String(token)), Some(lifetime)) = (answer.get("access_token"), answer.get("expires_in")) else {
        panic!("{outcome:?}");
    };
    match lifetime {
        Value::Number(Number::U64(seconds)) => {
            // Some of it may have passed.
            let whole: u64 = expected.split(' ').nth(1).and_then(|whole| whole.parse().ok()).unwrap_or_default();
            format!("{token} {}", if (*seconds..*seconds + 20).contains(&whole) { whole } else { *seconds })
        }
        _ => format!("{token} -"),
    }
}
