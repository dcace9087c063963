//! `keyfob parse`: shows how keyfob reads the token response on standard input.

use crate::arguments::Arguments;
use crate::output;
use keyfob::{Error, ErrorKind, ExpiresIn, Members, Rejection, Response, TokenResponse};
use miniserde::Serialize;
use miniserde::json::{Number, Value};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::ExitCode;

#[derive(Serialize)]
struct Accepted<'a> {
    ok: Token<'a>,
}

#[derive(Serialize)]
struct Token<'a> {
    access_token: &'a str,
    token_type: Option<&'a str>,
    expires_in_s: Option<u64>,
    refresh_token: Option<&'a str>,
    scope: Option<&'a str>,
}

#[derive(Serialize)]
struct Refused<'a> {
    oauth_error: OAuthError<'a>,
}

#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'a str,
    error_description: Option<&'a str>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    reject: &'a str,
}

/// The same limit as for an answer from the network.
const MAX_BODY: u64 = 1024 * 1024;

const REFUSED: u8 = 3;
const REJECTED: u8 = 5;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let status = match arguments.options.get("status") {
        None => 200,
        Some(Value::Number(Number::U64(status @ 100..=999))) => *status as u16,
        Some(_) => return Err(Error::new(ErrorKind::Config, "usage: --status: this must be an HTTP status")),
    };
    let content_type = match arguments.options.get("content_type") {
        Some(Value::String(content_type)) => Some(content_type.as_str()),
        _ => None,
    };
    let show_secrets = arguments.options.contains_key("show_secrets");
    let secret = |text| if show_secrets { text } else { "‹redacted›" };

    let mut body = Vec::new();
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin.and_then(|stdin| stdin.take(MAX_BODY + 1).read_to_end(&mut body)).map_err(|error| {
        Error::new(ErrorKind::Config, format!("standard input: {}", output::reason(&error))).with_source(error)
    })?;
    let (answer, code) = if body.len() as u64 > MAX_BODY {
        (output::to_json(&Rejected { reject: "the answer is larger than 1 MiB" }), REJECTED)
    } else {
        let mut response = Response::new(status, body);
        if let Some(content_type) = content_type {
            response = response.with_header("content-type", content_type);
        }
        match TokenResponse::read(&mut response, &Members::default()) {
            Ok(token) => {
                let answer = Accepted {
                    ok: Token {
                        access_token: secret(token.access_token),
                        token_type: token.token_type,
                        expires_in_s: match token.expires_in {
                            ExpiresIn::NotPositive => Some(0),
                            ExpiresIn::Units(seconds) => Some(seconds),
                            _ => None,
                        },
                        refresh_token: token.refresh_token.map(secret),
                        scope: token.scope,
                    },
                };
                (output::to_json(&answer), 0)
            }
            Err(Rejection::OAuth(refusal)) => {
                let (error, description) = (refusal.error(), refusal.error_description());
                let answer =
                    Refused { oauth_error: OAuthError { error: &error, error_description: description.as_deref() } };
                (output::to_json(&answer), REFUSED)
            }
            Err(Rejection::Malformed(malformed)) => {
                (output::to_json(&Rejected { reject: &malformed.to_string() }), REJECTED)
            }
            Err(other) => (output::to_json(&Rejected { reject: &other.to_string() }), REJECTED),
        }
    };
    output::line(&answer)?;
    Ok(ExitCode::from(code))
}
