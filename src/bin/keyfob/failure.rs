//! How a failure is reported, and the exit codes.

use crate::arguments::is_error_to_stdout;
use crate::format::Format;
use crate::output::{line, note, to_json};
use keyfob::{Error, ErrorKind};
use miniserde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) struct CodeRow {
    pub(crate) code: u8,
    pub(crate) kinds: &'static [ErrorKind],
    pub(crate) summary: &'static str,
    pub(crate) when: &'static str,
}

pub(crate) const EXIT_CODES: &[CodeRow] = &[
    CodeRow { code: 0, kinds: &[], summary: "success", when: "success" },
    CodeRow {
        code: 1,
        kinds: &[ErrorKind::Internal],
        summary: "internal error",
        when: "anything else: a mistake in keyfob, a full disk, no standard output",
    },
    CodeRow {
        code: 2,
        kinds: &[ErrorKind::Config],
        summary: "usage or configuration",
        when: "usage or configuration, or a secret that cannot be read or sent; nothing was sent",
    },
    CodeRow {
        code: 3,
        kinds: &[ErrorKind::Refused],
        summary: "refused",
        when: "the server refused the credentials: an OAuth error, or status 400, 401 or 403",
    },
    CodeRow {
        code: 4,
        kinds: &[ErrorKind::Unreachable, ErrorKind::OutcomeUnknown],
        summary: "unreachable or outcome unknown",
        when: "the server was not reached (retry), or the connection broke after the request was sent",
    },
    CodeRow {
        code: 5,
        kinds: &[ErrorKind::Unusable],
        summary: "unusable answer",
        when: "the answer is malformed, a redirect, of another status, or its token does not live long enough",
    },
    CodeRow {
        code: 6,
        kinds: &[ErrorKind::Wait],
        summary: "wait",
        when: "the server asked to wait (status 429 or 503), or a failure is remembered; the hint says how long",
    },
    CodeRow {
        code: 7,
        kinds: &[ErrorKind::Untrusted],
        summary: "untrusted",
        when: "the server's certificate, its host name or TLS itself was not accepted",
    },
    CodeRow {
        code: OVER_LIMIT,
        kinds: &[],
        summary: "over a limit",
        when: "`bench` measured more than a limit allows",
    },
];

const OVER_LIMIT: u8 = 8;

#[derive(Serialize)]
struct ErrorAnswer<'a> {
    error: &'a str,
    message: &'a str,
    status: Option<u16>,
    oauth_error: Option<&'a str>,
    retry_after: Option<u64>,
    retryable: bool,
}

/// Returns an error as JSON.
pub(crate) fn error_json(error: &Error) -> String {
    let message = error.to_string();
    to_json(&ErrorAnswer {
        error: error.kind().as_str(),
        message: &message,
        status: error.status(),
        oauth_error: error.oauth_error(),
        retry_after: error.retry_after().map(whole_seconds),
        retryable: error.is_retryable(),
    })
}

/// Reports that a limit of `bench` is exceeded, and returns the exit code for that.
#[cfg(feature = "tools")]
pub(crate) fn over_limit(message: &str, format: Format) -> ExitCode {
    if format == Format::Json {
        let (status, oauth_error, retry_after) = (None, None, None);
        let error = "threshold";
        note(&to_json(&ErrorAnswer { error, message, status, oauth_error, retry_after, retryable: false }));
    } else {
        note(&format!("keyfob: {message}"));
    }
    ExitCode::from(OVER_LIMIT)
}

/// Reports an error and returns its exit code.
pub(crate) fn report(error: &Error, format: Format) -> ExitCode {
    if format == Format::Json {
        let answer = error_json(error);
        // The error may be that standard output cannot be written to.
        if !is_error_to_stdout() || line(&answer).is_err() {
            note(&answer);
        }
    } else {
        warn(error);
        if let (ErrorKind::Wait, Some(wait)) = (error.kind(), error.retry_after()) {
            hint(&format!("not before {} s from now", whole_seconds(wait)));
        }
    }
    if format == Format::Curl {
        // Makes `keyfob … | curl -K - URL` send nothing instead of a request without a token.
        let _ = line("proto = \"-all\"");
    }
    exit_code(error)
}

/// Returns the exit code of an error.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    let row = EXIT_CODES.iter().find(|row| row.kinds.contains(&error.kind()));
    ExitCode::from(row.map_or(1, |row| row.code))
}

/// Prints an error with its hint.
pub(crate) fn warn(error: &Error) {
    note(&format!("keyfob: {error}"));
    if let Some(text) = error.hint() {
        hint(text);
    }
}

/// Returns a wait in whole seconds, rounded up: an earlier request would be refused.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

pub(crate) fn hint(text: &str) {
    note(&format!("hint: {}", in_options(text)));
}

/// The library's methods that its hints name in backticks, with the equivalent options.
const METHODS: &[(&str, &str)] = &[
    ("`Assertion::algorithm`", "--algorithm"),
    ("`Assertion::audience`", "--audience"),
    ("`Assertion::claim`", "--claim"),
    ("`Assertion::key_id`", "--key-id"),
    ("`Client::assertion`", "--signing-key-file"),
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
    ("`Endpoint::introspection`", "`introspection_url`"),
    ("`Endpoint::members`", "--field"),
    ("`Endpoint::method`", "--method"),
    ("`Endpoint::new`", "--url"),
    ("`Endpoint::omit_grant_type`", "`omit_grant_type` in the profile"),
    ("`Endpoint::parameters`", "--params"),
    ("`Endpoint::revocation`", "`revocation_url`"),
    ("`Endpoint::secret_variable`", "--var-file"),
    ("`Endpoint::variable`", "--var"),
    ("`Endpoint::secret_header`", "--header-file"),
    ("`Grant::password`", "--username with --password-file"),
    ("`Grant::refresh_token_file`", "--refresh-token-file"),
    ("`Grant::scope`", "--scope"),
    ("`Grant`", "--grant"),
    ("`Parameters::Form`", "--params form"),
    ("`Parameters::Json`", "json"),
    ("`Store::at`", "--cache-dir"),
    ("`TokenCache::forget`", "keyfob forget"),
    ("`TokenCache::renew`", "--fresh"),
    ("`HttpTransport::connect_to`", "--connect-to"),
    ("`HttpTransport::no_proxy`", "--no-proxy"),
    ("`HttpTransport::roots_file`", "--ca-file"),
    ("`HttpTransport::system_roots`", "--system-roots"),
];

/// Replaces the methods in a hint of the library with options.
pub(crate) fn in_options(hint: &str) -> String {
    METHODS.iter().fold(hint.to_owned(), |hint, (item, option)| hint.replace(item, option))
}
