//! `keyfob helper`: answers the credential requests of other programs, in their protocols.

use crate::arguments::{Arguments, usage};
use crate::calendar;
use crate::events;
use crate::fetch;
use crate::format::Format;
use crate::members::{config, take_texts};
use crate::output::{line, reason, to_json};
use crate::settings::{self, Asked, Settings};
use keyfob::{AccessToken, Error, ErrorKind, Secret, TokenCache};
use lexopt::Parser;
use miniserde::Serialize;
use miniserde::json::{self, Object, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<(), Error> {
    // The program reads standard output.
    *format = Format::Token;
    let words = std::mem::take(&mut arguments.program);
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words[..] {
        ["cargo"] => cargo(arguments),
        ["kubectl"] => kubectl(arguments),
        // The token is already in the cache.
        ["git", "store"] => Ok(()),
        ["git", action @ ("get" | "erase")] => git(arguments, action),
        // git may add actions, and requires that unknown ones are ignored.
        ["git", _] => Ok(()),
        ["git"] => Err(usage("helper: git wants get, store or erase")),
        ["docker", action] => docker(arguments, action),
        ["gcp"] => gcp(arguments),
        _ => Err(usage("helper: the programs are git, cargo, kubectl, docker and gcp")),
    }
}

fn tokens(arguments: &Arguments) -> Result<(TokenCache, Asked), Error> {
    if arguments.profile.is_none() {
        return Err(usage("helper: no profile is given"));
    }
    let mut settings = Settings::read(arguments, &mut Format::Token)?;
    if settings.reads_once() {
        return Err(config("helper: the program uses standard input, so secrets must be in files"));
    }
    if !settings.is_repeatable() {
        // Otherwise a signal in the meantime would use up the grant and lose the answer.
        events::finish_first();
    }
    let asked = settings.asked;
    let (grant, store) = (settings.grant()?, settings.store()?);
    Ok((settings::tokens(settings.client()?, grant, store), asked))
}

/// Speaks git's credential protocol (gitcredentials(7)): lines of `name=value`.
fn git(arguments: Arguments, action: &str) -> Result<(), Error> {
    let (mut tokens, asked) = tokens(&arguments)?;
    let question = Question::read()?;
    if action == "erase" {
        // The server refused this token. A different token is not from this profile, or was replaced already.
        let refused = question.last("credential").or_else(|| question.last("password"));
        if let (Some(refused), Some(cached)) = (refused, tokens.at_hand(Duration::ZERO)?) {
            if cached.expose() == refused {
                tokens.renew()?;
            }
        }
        return Ok(());
    }
    let (scheme, host) = (question.last("protocol").unwrap_or_default(), question.last("host").unwrap_or_default());
    check_server("git", &format!("{scheme}://{host}"))?;
    let token = fetch::token(&mut tokens, asked)?;
    // The header has no line break.
    let (name, value) = token.header()?;
    if question.has(("capability[]", "authtype")) {
        let (scheme, credential) = value.expose().split_once(' ').filter(|_| name == "Authorization").ok_or_else(|| {
            config("helper: git sends a scheme and a credential in the header Authorization, and the profile's `api` says otherwise")
        })?;
        line(&format!("capability[]=authtype\nauthtype={scheme}\nephemeral=1"))?;
        line(Secret::from(format!("credential={credential}")).expose())?;
    } else {
        line("username=oauth2")?;
        line(Secret::from(format!("password={}", token.expose())).expose())?;
    }
    match expiry(&tokens, &token) {
        Some(expiry) => line(&format!("password_expiry_utc={expiry}")),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct CargoOk<'a> {
    kind: &'a str,
    token: &'a str,
    cache: &'a str,
    expiration: Option<u64>,
    operation_independent: bool,
}

/// Refuses a server to which the token would be sent in plain text, unless it is this machine.
fn check_server(program: &str, url: &str) -> Result<(), Error> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let is_here = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|here| host.strip_prefix(here).is_some_and(|port| port.is_empty() || port.starts_with(':')));
    match scheme == "https" && !host.is_empty() || is_here {
        true => Ok(()),
        false => Err(config(format!("helper: {program} asks for a server that is not https, which gets no token"))),
    }
}

/// Speaks cargo's credential protocol, version 1: a JSON object on each line. The program's words include those of
/// cargo's configuration.
fn cargo(given: Arguments) -> Result<(), Error> {
    line(r#"{"v":[1]}"#)?;
    for question in stdin()?.lines() {
        let question = question.map_err(|error| unreadable(&error))?;
        let members = match json::from_str(&question) {
            Ok(Value::Object(members)) => members,
            _ => Object::new(),
        };
        if text(&members, "kind").as_deref() != Some("get") {
            line(r#"{"Err":{"kind":"operation-not-supported"}}"#)?;
            continue;
        }
        match cargo_answer(&given, members) {
            Ok(answer) => line(answer.expose())?,
            Err(error) => {
                let message = json::to_string(&error.to_string());
                line(&format!(r#"{{"Err":{{"kind":"other","message":{message},"caused-by":[]}}}}"#))?;
                return Err(error);
            }
        }
    }
    Ok(())
}

fn cargo_answer(given: &Arguments, mut members: Object) -> Result<Secret, Error> {
    let words = take_texts(&mut members, "args")?;
    let read;
    let arguments = match words.is_empty() {
        true => given,
        false => {
            read = Arguments::read(Parser::from_iter(std::iter::once("keyfob".to_owned()).chain(words)))?;
            &read
        }
    };
    let registry = match members.get("registry") {
        Some(Value::Object(registry)) => text(registry, "index-url"),
        _ => None,
    };
    check_server("cargo", registry.unwrap_or_default().trim_start_matches("sparse+"))?;
    let (mut tokens, asked) = tokens(arguments)?;
    let token = fetch::token(&mut tokens, asked)?;
    let expiration = expiry(&tokens, &token);
    let ok = to_json(&CargoOk {
        kind: "get",
        token: token.authorization()?.expose(),
        cache: if expiration.is_some() { "expires" } else { "never" },
        expiration,
        operation_independent: true,
    });
    // cargo accepts no `null` for a missing time.
    Ok(format!(r#"{{"Ok":{}}}"#, ok.replace(r#""expiration":null,"#, "")).into())
}

/// Prints the ExecCredential of client-go, in the version that the request names.
fn kubectl(arguments: Arguments) -> Result<(), Error> {
    let (mut tokens, asked) = tokens(&arguments)?;
    let asked_for = std::env::var("KUBERNETES_EXEC_INFO").unwrap_or_default();
    let version = match json::from_str(&asked_for) {
        Ok(Value::Object(members)) => text(&members, "apiVersion"),
        _ => None,
    };
    let version = version.unwrap_or_else(|| "client.authentication.k8s.io/v1".to_owned());
    let token = fetch::token(&mut tokens, asked)?;
    let expiry = expiry(&tokens, &token).map(|expiry| format!(r#","expirationTimestamp":"{}""#, rfc_3339(expiry)));
    let (version, shown) = (json::to_string(&version), json::to_string(&token.expose().to_owned()));
    line(&format!(
        r#"{{"apiVersion":{version},"kind":"ExecCredential","status":{{"token":{shown}{}}}}}"#,
        expiry.unwrap_or_default()
    ))
}

#[derive(Serialize)]
struct DockerLogin<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    user: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

/// Speaks the protocol of docker-credential-helpers. docker shows the error from standard output.
fn docker(arguments: Arguments, action: &str) -> Result<(), Error> {
    let answer = || {
        if action != "get" {
            return Err(usage("helper: docker may get the token, not store or erase it"));
        }
        let (mut tokens, asked) = tokens(&arguments)?;
        let question = Question::read()?;
        let server = question.0.expose().trim();
        // docker omits the scheme of a registry that it uses over https.
        check_server("docker", &if server.contains("://") { server.to_owned() } else { format!("https://{server}") })?;
        let token = fetch::token(&mut tokens, asked)?;
        let login = DockerLogin { server, user: "oauth2", secret: token.expose() };
        Ok(Secret::from(to_json(&login)))
    };
    line(answer().inspect_err(|error| drop(line(&error.to_string())))?.expose())
}

#[derive(Serialize)]
struct GcpToken<'a> {
    version: u32,
    success: bool,
    token_type: &'a str,
    id_token: &'a str,
    expiration_time: Option<u64>,
}

#[derive(Serialize)]
struct GcpFault<'a> {
    version: u32,
    success: bool,
    code: &'a str,
    message: &'a str,
}

/// Prints Google's executable-sourced credentials, with the token type that the library requests.
fn gcp(arguments: Arguments) -> Result<(), Error> {
    const TYPES: &str = "urn:ietf:params:oauth:token-type:";
    let token_type = std::env::var("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE").unwrap_or_else(|_| format!("{TYPES}jwt"));
    let answer = || {
        if !["jwt", "id_token"].iter().any(|known| token_type.strip_prefix(TYPES) == Some(known)) {
            return Err(config("helper: gcp gets a token of type jwt or id_token"));
        }
        let (mut tokens, asked) = tokens(&arguments)?;
        let token = fetch::token(&mut tokens, asked)?;
        let answer = to_json(&GcpToken {
            version: 1,
            success: true,
            token_type: &token_type,
            id_token: token.expose(),
            expiration_time: expiry(&tokens, &token),
        });
        Ok(Secret::from(answer.replace(r#","expiration_time":null"#, "")))
    };
    let fault = |error: &Error| {
        let (code, message) = (error.kind().as_str(), error.to_string());
        let _ = line(&to_json(&GcpFault { version: 1, success: false, code, message: &message }));
    };
    line(answer().inspect_err(fault)?.expose())
}

/// Returns when the token expires, in seconds since 1970. None if that is unknown, or if the wall clock is not
/// credible.
fn expiry(tokens: &TokenCache, token: &AccessToken) -> Option<u64> {
    const BUILT: u64 = 1_735_689_600;
    let now = SystemTime::UNIX_EPOCH.elapsed().ok()?.as_secs();
    let left = token.remaining(tokens.client().now())?.as_secs();
    (now >= BUILT).then(|| now.saturating_add(left))
}

/// Writes a time in UTC.
pub(crate) fn rfc_3339(seconds: u64) -> String {
    let (year, month, day) = calendar::date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn text(members: &Object, name: &str) -> Option<String> {
    match members.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Opens standard input without std's buffer, which keeps a copy of its content.
fn stdin() -> Result<BufReader<File>, Error> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    stdin.map(|stdin| BufReader::new(stdin.into())).map_err(|error| unreadable(&error))
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("standard input: {}", reason(error)))
}

/// git's request, which may contain a credential.
struct Question(Secret);

impl Question {
    fn read() -> Result<Self, Error> {
        const MOST: usize = 64 * 1024;
        // With enough capacity the text does not grow, which would leave copies behind.
        let mut text = String::with_capacity(MOST + 64);
        stdin()?.take(MOST as u64).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
        Ok(Self(text.into()))
    }

    /// Returns the last value of this name, which is the one that counts.
    fn last(&self, name: &str) -> Option<&str> {
        self.pairs().filter(|(known, _)| *known == name).last().map(|(_, value)| value)
    }

    fn has(&self, pair: (&str, &str)) -> bool {
        self.pairs().any(|known| known == pair)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.expose().lines().filter_map(|line| line.split_once('='))
    }
}

#[cfg(test)]
mod tests {
    use super::rfc_3339;

    #[test]
    fn moments_are_written_as_kubectl_reads_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(seconds), text);
        }
    }
}
