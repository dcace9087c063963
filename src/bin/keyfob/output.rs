//! What comes out: one answer on standard output, errors and hints on standard error.

use crate::{process, stderr};
use keyfob::{AccessToken, Error, ErrorKind};
use miniserde::{Serialize, json};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

/// How the token is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Token,
    Header,
    Curl,
    Json,
}

impl Format {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "token" => Self::Token,
            "header" => Self::Header,
            "curl" => Self::Curl,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: Option<&'a str>,
    expires_in: Option<u64>,
    scope: Option<&'a str>,
    cache: &'a str,
}

#[derive(Serialize)]
struct RevokedAnswer {
    revoked: bool,
}

#[derive(Serialize)]
struct ErrorAnswer<'a> {
    error: &'a str,
    message: &'a str,
    status: Option<u16>,
    oauth_error: Option<&'a str>,
    retry_after: Option<u64>,
    retryable: bool,
}

/// The token as one line without its end; `remaining` is what is left of its life, `cache` where it is from.
pub(crate) fn render(
    token: &AccessToken,
    remaining: Option<Duration>,
    format: Format,
    cache: &str,
) -> Result<String, Error> {
    Ok(match format {
        Format::Token => token.expose().to_owned(),
        Format::Header => format!("Authorization: {}", token.authorization()?.expose()),
        // curl's configuration file: a backslash escapes itself and the quote.
        Format::Curl => {
            let header = token.authorization()?.expose().replace('\\', "\\\\").replace('"', "\\\"");
            format!("header = \"Authorization: {header}\"")
        }
        Format::Json => to_json(&TokenAnswer {
            access_token: token.expose(),
            token_type: token.token_type(),
            expires_in: remaining.map(|remaining| remaining.as_secs()),
            scope: token.scope(),
            cache,
        }),
    })
}

/// Where a token is from, as the JSON answer says it.
pub(crate) fn origin(token: &AccessToken, has_store: bool) -> &'static str {
    match token.is_stored() {
        true => "hit",
        false if has_store => "miss",
        false => "none",
    }
}

/// Tells whether there was a token to revoke.
pub(crate) fn revoked(revoked: bool, format: Format) -> Result<(), Error> {
    line(match (format, revoked) {
        (Format::Json, _) => return line(&to_json(&RevokedAnswer { revoked })),
        (_, true) => "revoked",
        (_, false) => "nothing to revoke",
    })
}

/// JSON on one line, in which nothing can deceive a terminal: miniserde escapes what JSON must, and these could only stand
/// inside strings.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let text = json::to_string(value);
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FFF9}'..='\u{FFFB}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
    };
    if !text.contains(is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Why something could not be read or written, in plain words.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        io::ErrorKind::StorageFull => "no space left".to_owned(),
        kind => kind.to_string(),
    }
}

/// Writes one line to standard output, past std's buffer: that one would keep a copy of the token.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    check_stdout()?;
    let write = || {
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut line = String::with_capacity(text.len() + 1);
        line.push_str(text);
        line.push('\n');
        stdout.write_all(line.as_bytes())
    };
    write().map_err(|error| {
        Error::new(ErrorKind::Internal, format!("standard output: {}", reason(&error))).with_source(error)
    })
}

/// Returns an error where the process was started without a standard output.
pub(crate) fn check_stdout() -> Result<(), Error> {
    match process::is_stdout_closed() {
        true => Err(Error::new(ErrorKind::Internal, "standard output is closed")),
        false => Ok(()),
    }
}

/// Tells an error, and gives its exit code.
pub(crate) fn failure(error: &Error, format: Format) -> ExitCode {
    let message = error.to_string();
    if format == Format::Json {
        note(&to_json(&ErrorAnswer {
            error: error.kind().as_str(),
            message: &message,
            status: error.status(),
            oauth_error: error.oauth_error(),
            retry_after: error.retry_after().map(whole_seconds),
            retryable: error.is_retryable(),
        }));
    } else {
        note(&format!("keyfob: {message}"));
        if let Some(text) = error.hint() {
            hint(text);
        }
        if let (ErrorKind::Wait, Some(wait)) = (error.kind(), error.retry_after()) {
            hint(&format!("not before {} s from now", whole_seconds(wait)));
        }
    }
    if format == Format::Curl {
        // So that `keyfob … | curl -K - URL` sends nothing instead of a request without a token.
        let _ = line("proto = \"-all\"");
    }
    ExitCode::from(match error.kind() {
        ErrorKind::Config => 2,
        ErrorKind::Refused => 3,
        ErrorKind::Unreachable | ErrorKind::OutcomeUnknown => 4,
        ErrorKind::Unusable => 5,
        ErrorKind::Wait => 6,
        ErrorKind::Untrusted => 7,
        _ => 1,
    })
}

/// Rounded up: who comes earlier is turned away.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

pub(crate) fn hint(text: &str) {
    note(&format!("hint: {}", in_options(text)));
}

/// What the library's hints name in backticks, and what it is called here.
const OPTIONS: &[(&str, &str)] = &[
    ("`Client::client_certificate`", "--client-cert-file, --client-key-file"),
    ("`Client::client_id`", "--client-id"),
    ("`Client::client_secret`", "--client-secret-file"),
    ("`ClientAuthentication::ClientSecretPost`", "--auth client_secret_post"),
    ("`ClientAuthentication::None`", "--auth none"),
    ("`Endpoint::allow_http`", "--allow-http"),
    ("`Endpoint::authentication`", "--auth"),
    ("`Endpoint::basic_raw`", "--basic-raw"),
    ("`Endpoint::dialect`", "--dialect"),
    ("`Endpoint::header`", "--header"),
    ("`Endpoint::members`", "--field"),
    ("`Endpoint::method`", "--method"),
    ("`Endpoint::new`", "--url"),
    ("`Endpoint::parameters`", "--params"),
    ("`Endpoint::secret_header`", "--header-file"),
    ("`Grant::password`", "--username with --password-file"),
    ("`Grant::refresh_token_file`", "--refresh-token-file"),
    ("`Grant::scope`", "--scope"),
    ("`Grant`", "--grant"),
    ("`Parameters::Form`", "--params form"),
    ("`Parameters::Json`", "json"),
    ("`Store::at`", "--cache-dir"),
    ("`TokenCache::renew`", "--fresh"),
    ("`HttpTransport::connect_to`", "--connect-to"),
    ("`HttpTransport::no_proxy`", "--no-proxy"),
    ("`HttpTransport::roots_file`", "--ca-file"),
    ("`HttpTransport::system_roots`", "--system-roots"),
];

/// A hint of the library's in the words of the command.
fn in_options(hint: &str) -> String {
    OPTIONS.iter().fold(hint.to_owned(), |hint, (item, option)| hint.replace(item, option))
}

/// One line for a person.
pub(crate) fn note(text: &str) {
    stderr::line(text);
}
