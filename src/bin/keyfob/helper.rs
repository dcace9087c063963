//! `keyfob helper`: answers git, cargo, kubectl, docker and Google's libraries as they ask a credential helper.

use crate::arguments::{Arguments, Verb, usage};
use crate::failure;
use crate::fetch;
use crate::format::Format;
use crate::members::config;
use crate::output::{self, to_json};
use crate::settings::{self, Asked, Settings};
use crate::words;
use keyfob::{AccessToken, BootClock, Clock, Error, TokenCache};
use lexopt::Parser;
use miniserde::json::{self, Number, Object, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

type Helper = fn(&Arguments, &str) -> Result<(), Error>;

/// The programs, each with its helper, which takes the operation.
const HELPERS: &[(&str, Helper)] =
    &[("git", git), ("cargo", cargo), ("kubectl", kubectl), ("docker", docker), ("gcp", gcp)];

/// 2025-01-01: a device whose clock is before this has not set it yet.
const CREDIBLE: Duration = Duration::from_secs(1_735_689_600);

/// A question is a few lines.
const MAX_QUESTION: u64 = 64 * 1024;

const DEFAULT_USER: &str = "oauth2";

pub(crate) fn run(mut arguments: Arguments) -> Result<(), Error> {
    let mut given = std::mem::take(&mut arguments.words).into_iter();
    let program = given.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    arguments.profile = given.next();
    let operation = given.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    let names = HELPERS.iter().map(|(name, _)| *name);
    match HELPERS.iter().find(|(name, _)| *name == program) {
        Some((_, helper)) => helper(&arguments, &operation),
        None => Err(match words::nearest(&program, names.clone()) {
            Some(name) => usage(format!("helper: unknown program {program:?}; did you mean {name:?}?")),
            None => usage(format!("helper: the program is one of {}", names.collect::<Vec<_>>().join(", "))),
        }),
    }
}

/// The git credential protocol (gitcredentials(7), git-credential(1)). An operation that git adds later is ignored, as it wants.
fn git(arguments: &Arguments, operation: &str) -> Result<(), Error> {
    if !["get", "erase"].contains(&operation) {
        return Ok(());
    }
    let question = question()?;
    let lines = || question.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once('='));
    let attribute = |name: &str| lines().find(|(known, _)| *known == name).map(|(_, value)| value);
    if operation == "erase" {
        return replace(arguments, attribute("credential").or_else(|| attribute("password")));
    }
    check_scheme(&format!(
        "{}://{}",
        attribute("protocol").unwrap_or_default(),
        attribute("host").unwrap_or_default()
    ))?;
    let (token, expiry) = token(arguments)?;
    let user = user(arguments);
    let knows_types = lines().any(|line| line == ("capability[]", "authtype"));
    let mut answer = match (user, knows_types) {
        (None, true) => {
            let (scheme, credential) = authorization(&token)?;
            format!("capability[]=authtype\nauthtype={scheme}\ncredential={credential}\nephemeral=true")
        }
        (user, _) => {
            let user = user.or_else(|| attribute("username")).unwrap_or(DEFAULT_USER);
            format!("username={user}\npassword={}", token.expose())
        }
    };
    if let Some(expiry) = expiry {
        answer = format!("{answer}\npassword_expiry_utc={}", expiry.as_secs());
    }
    output::line(&answer)
}

/// Cargo's credential provider protocol, version 1. A failure is an answer, and no exit code.
fn cargo(arguments: &Arguments, _: &str) -> Result<(), Error> {
    output::line(r#"{"v":[1]}"#)?;
    let stdin = BufReader::new(stdin()?.take(MAX_QUESTION));
    for line in stdin.lines() {
        let line = line.map_err(unread)?;
        let answer = match json::from_str::<Object>(&line) {
            Ok(question) if text(&question, "kind") == "get" => cargo_get(arguments, &question),
            _ => Ok(object([("Err", object([("kind", string("operation-not-supported"))]))])),
        };
        output::line(&to_json(&answer.unwrap_or_else(|error| {
            let hint = error.hint().map(|hint| string(&failure::in_options(hint)));
            let causes = Value::Array(hint.into_iter().collect());
            let fault = [("kind", string("other")), ("message", string(&error.to_string())), ("caused-by", causes)];
            object([("Err", object(fault))])
        })))?;
    }
    Ok(())
}

fn cargo_get(arguments: &Arguments, question: &Object) -> Result<Value, Error> {
    if let Some(Value::Object(registry)) = question.get("registry") {
        check_scheme(text(registry, "index-url").trim_start_matches("sparse+"))?;
    }
    // Cargo starts the program with one argument of its own, and sends those of its configuration.
    let mut configured = None;
    if let Some(Value::Array(words)) = question.get("args").filter(|_| arguments.profile.is_none()) {
        let words = words.iter().filter_map(|word| if let Value::String(word) = word { Some(word) } else { None });
        let mut read = Arguments::read(Parser::from_args(words))?;
        if read.verb != Verb::Helper || read.words.first().is_none_or(|word| word != "cargo") {
            return Err(usage("the provider is [\"keyfob\", \"helper\", \"cargo\", \"PROFILE\"]"));
        }
        read.profile = read.words.get(1).cloned();
        configured = Some(read);
    }
    let (token, expiry) = token(configured.as_ref().unwrap_or(arguments))?;
    authorization(&token)?;
    let (_, header) = token.header()?;
    let ok = [
        ("kind", string("get")),
        ("token", string(header.expose())),
        ("cache", string(if expiry.is_some() { "expires" } else { "never" })),
        ("expiration", expiry.map_or(Value::Null, |expiry| number(expiry.as_secs()))),
        ("operation_independent", Value::Bool(true)),
    ];
    Ok(object([("Ok", object(ok))]))
}

/// Kubernetes' client.authentication.k8s.io/v1.
fn kubectl(arguments: &Arguments, _: &str) -> Result<(), Error> {
    let (token, expiry) = token(arguments)?;
    let expiry = expiry.map_or(Value::Null, |expiry| Value::String(rfc3339(expiry)));
    let status = object([("token", string(token.expose())), ("expirationTimestamp", expiry)]);
    output::line(&to_json(&object([
        ("apiVersion", string("client.authentication.k8s.io/v1")),
        ("kind", string("ExecCredential")),
        ("status", status),
    ])))
}

/// The protocol of docker-credential-helpers, which shows the fault that is on standard output.
fn docker(arguments: &Arguments, operation: &str) -> Result<(), Error> {
    let answer = || match operation {
        "get" => {
            let question = question()?;
            let (token, _) = token(arguments)?;
            let user = user(arguments).unwrap_or(DEFAULT_USER);
            let secret = string(token.expose());
            let login = [("ServerURL", string(question.trim())), ("Username", string(user)), ("Secret", secret)];
            Ok(to_json(&object(login)))
        }
        _ => Err(usage("helper docker: the operation is get: the token is not docker's to store")),
    };
    output::line(&answer().inspect_err(|error| drop(output::line(&error.to_string())))?)
}

/// Google's executable-sourced credentials (AIP-4117).
fn gcp(arguments: &Arguments, _: &str) -> Result<(), Error> {
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
    let wanted = std::env::var("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE").unwrap_or_else(|_| JWT.to_owned());
    let answer = || {
        if ![JWT, ID_TOKEN].contains(&wanted.as_str()) {
            return Err(config(format!("helper gcp: the token type must be {JWT} or {ID_TOKEN}")));
        }
        let (token, expiry) = token(arguments)?;
        Ok(to_json(&object([
            ("version", number(1)),
            ("success", Value::Bool(true)),
            ("token_type", string(&wanted)),
            ("id_token", string(token.expose())),
            ("expiration_time", expiry.map_or(Value::Null, |expiry| number(expiry.as_secs()))),
        ])))
    };
    output::line(&answer().inspect_err(|error| {
        let _ = output::line(&to_json(&object([
            ("version", number(1)),
            ("success", Value::Bool(false)),
            ("code", string(error.kind().as_str())),
            ("message", string(&error.to_string())),
        ])));
    })?)
}

fn open(arguments: &Arguments) -> Result<(TokenCache, Asked), Error> {
    if arguments.profile.is_none() {
        return Err(usage("helper: no profile is named"));
    }
    let mut options = arguments.options.clone();
    options.remove("as_user");
    let arguments = Arguments { profile: arguments.profile.clone(), options, ..Arguments::new(Verb::Helper) };
    // A profile's `format` is for other verbs.
    let mut settings = Settings::read(&arguments, &mut Format::Token)?;
    if !settings.is_repeatable() {
        crate::events::finish_first();
    }
    let (asked, grant, store) = (settings.asked, settings.grant()?, settings.store()?);
    Ok((settings::tokens(settings.client()?, grant, store), asked))
}

/// Returns a token that can be sent, and when it expires, in time since 1970 began.
fn token(arguments: &Arguments) -> Result<(AccessToken, Option<Duration>), Error> {
    let (mut tokens, asked) = open(arguments)?;
    let token = fetch::token(&mut tokens, asked)?;
    token.header()?;
    let left = token.remaining(tokens.client().now());
    Ok((token, expiry(BootClock.wall_time(), left)))
}

/// Returns when a token expires, unless that or the time of day is not known.
fn expiry(wall_time: Option<Duration>, left: Option<Duration>) -> Option<Duration> {
    wall_time.filter(|time| *time >= CREDIBLE)?.checked_add(left?)
}

/// Replaces the cached token if it is this one, or whichever it is: the server that git talks to has rejected it.
fn replace(arguments: &Arguments, rejected: Option<&str>) -> Result<(), Error> {
    let (mut tokens, _) = open(arguments)?;
    match tokens.at_hand(Duration::ZERO)? {
        Some(token) if rejected.is_none_or(|rejected| rejected == token.expose()) && tokens.invalidate(&token) => {
            tokens.token().map(drop)
        }
        _ => Ok(()),
    }
}

/// Returns scheme and credentials of the `Authorization` header.
fn authorization(token: &AccessToken) -> Result<(&str, &str), Error> {
    match token.header()? {
        (name, value) if name.eq_ignore_ascii_case("authorization") => {
            value.expose().split_once(' ').ok_or_else(|| config("helper: the API's header has no scheme"))
        }
        (name, _) => Err(config(format!("helper: the API wants the token in {name}, not in Authorization"))),
    }
}

/// Returns an error for plain http, on which everybody can read the token, unless the host is this one.
fn check_scheme(url: &str) -> Result<(), Error> {
    let url = url.to_ascii_lowercase();
    let Some(rest) = url.strip_prefix("http://") else { return Ok(()) };
    let place = rest.split('/').next().unwrap_or_default();
    let host = place.rsplit_once(':').filter(|_| !place.ends_with(']')).map_or(place, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err(config("helper: no token for plain http to another host").with_hint("use https"))
}

/// Returns an object of the members that are not null.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter().filter(|(_, value)| !matches!(value, Value::Null));
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn number(number: u64) -> Value {
    Value::Number(Number::U64(number))
}

fn user(arguments: &Arguments) -> Option<&str> {
    Some(text(&arguments.options, "as_user")).filter(|user| !user.is_empty())
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    match object.get(name) {
        Some(Value::String(text)) => text,
        _ => "",
    }
}

/// Reads what the program asks, to its end.
fn question() -> Result<String, Error> {
    let mut text = String::with_capacity(4096);
    stdin()?.take(MAX_QUESTION).read_to_string(&mut text).map_err(unread)?;
    Ok(text)
}

/// Standard input without std's buffer, which would keep a copy of a credential.
fn stdin() -> Result<File, Error> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(unread)
}

fn unread(error: io::Error) -> Error {
    config(format!("standard input: {}", output::reason(&error))).with_source(error)
}

/// Returns a time since 1970 began as in RFC 3339, in UTC.
fn rfc3339(time: Duration) -> String {
    let (days, second) = (time.as_secs() / 86400, time.as_secs() % 86400);
    // Years begin in March, so that the leap day is their last: the days since 0000-03-01 in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, (month + 2) % 12 + 1);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_in_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn without_a_credible_clock_nothing_is_said_about_the_end() {
        let (left, second) = (Duration::from_secs(60), Duration::from_secs(1));
        for (wall_time, left, expected) in [
            (Some(CREDIBLE), Some(left), Some(CREDIBLE + left)),
            (Some(CREDIBLE - second), Some(left), None),
            (None, Some(left), None),
            (Some(CREDIBLE), None, None),
            (Some(Duration::MAX), Some(left), None),
        ] {
            assert_eq!(expiry(wall_time, left), expected, "{wall_time:?}");
        }
    }

    #[test]
    fn plain_http_is_for_this_host_alone() {
        for (url, is_fine) in [
            ("https://git.example", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/index/", true),
            ("http://[::1]", true),
            ("HTTP://localhost", true),
            ("http://git.example", false),
            ("HTTP://git.example:80/", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1@git.example", false),
            ("http://", false),
        ] {
            assert_eq!(check_scheme(url).is_ok(), is_fine, "{url}");
        }
    }
}
