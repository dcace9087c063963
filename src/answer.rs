//! Errors from answers without a token: who must act, by status and OAuth error, and the server's own words.

use crate::date::{self, Milliseconds};
use crate::endpoint::Members;
use crate::error::{Error, ErrorKind, is_registered};
use crate::json::{self, Kind, Wanted};
use crate::refused_if::RefusedIf;
use crate::response::{MAX_TEXT, Rejection, first_text};
use crate::secret::Secret;
use crate::transport::ResponseHeaders;
use crate::url;
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

/// A longer text body is a page, and explains nothing in a line.
const MAX_LINE: usize = 300;

/// The places where servers without an OAuth error say what is wrong, the most telling first.
const EXPLANATIONS: [&str; 15] = [
    "error_description",
    "error.message",
    "errorSummary",
    "error_summary",
    "error_message",
    "errorMessage",
    "errmsg",
    "msg",
    "message",
    "Message",
    "detail",
    "title",
    "errors.0.message",
    "errors.0.detail",
    "0.message",
];

/// The explanation in a body that holds no OAuth error.
pub(crate) enum Said {
    Text(Secret),
    Html,
    /// Something for programs only.
    Other,
    Nothing,
}

impl Said {
    /// Reads the body of an answer that is no success: a success may hold the token in any place.
    pub(crate) fn read(body: &[u8], members: &Members) -> Self {
        let text = match first_text(body) {
            None => return Self::Nothing,
            Some(b'<') => return Self::Html,
            Some(b'{' | b'[') => explanation(body, members.place_of_error_description().path()),
            Some(_) => line(body).map(Secret::from),
        };
        text.map_or(Self::Other, Self::Text)
    }
}

/// Returns the first member that explains the error.
fn explanation(body: &[u8], described: &str) -> Option<Secret> {
    let mut wanted = [Wanted::new(described); EXPLANATIONS.len() + 1];
    wanted[1..].iter_mut().zip(EXPLANATIONS).for_each(|(wanted, path)| *wanted = Wanted::new(path));
    json::scan(body, &mut wanted).ok()?;
    let spans = wanted.iter().filter_map(|wanted| wanted.span);
    let mut short = spans.filter(|span| span.kind == Kind::String && span.range().len() <= MAX_TEXT);
    short.find_map(|span| {
        let text = json::text(body, span, true)?;
        let is_sentence = !text.expose().trim_start().is_empty() && !text.expose().trim_start().starts_with('<');
        is_sentence.then_some(text)
    })
}

/// A body of plain text, if that is one short line without markup.
fn line(body: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(body).ok()?.trim();
    let is_line = text.len() <= MAX_LINE && !text.contains(|c: char| c.is_control() || c == '<');
    is_line.then_some(text)
}

/// Makes the error for an answer without a token.
pub(crate) fn rejected(status: u16, headers: &ResponseHeaders, rejection: &Rejection<'_>, said: &Said) -> Error {
    let refusal = match rejection {
        Rejection::OAuth(refusal) => Some((refusal.error(), refusal.error_description())),
        Rejection::Malformed(_) => None,
    };
    let code = refusal.as_ref().map(|(code, _)| &**code);
    let (kind, is_retryable) = judge(status, code);
    let message = match (kind, rejection, said) {
        (ErrorKind::Wait, ..) => format!("the server asks to wait (status {status})"),
        (ErrorKind::Refused, ..) if status == 407 => "the proxy wants other credentials".to_string(),
        (ErrorKind::Refused, Rejection::OAuth(_), _) | (ErrorKind::Refused, _, Said::Text(_)) => {
            format!("the server refused (status {status})")
        }
        (ErrorKind::Refused, _, Said::Nothing) => format!("the server refused (status {status}) and did not say why"),
        (ErrorKind::Refused, _, Said::Html) => format!("the server refused (status {status}) and answered with HTML"),
        (ErrorKind::Refused, _, Said::Other) => {
            format!("the server refused (status {status}) and gave no reason in the words of OAuth")
        }
        (_, Rejection::Malformed(malformed), _) if (200..300).contains(&status) => {
            format!("the answer is no token response: {malformed}")
        }
        _ => format!("the server answered with status {status}"),
    };
    let error = Error::new(kind, message).with_status(status).retryable(is_retryable);
    let error = match (&refusal, said) {
        (Some((code, description)), _) if status != 407 => error.with_said(Some(code), description.as_deref()),
        // A proxy's text may echo its own credentials, which nobody here knows.
        (None, Said::Text(text)) if status != 407 => error.with_said(None, Some(text.expose())),
        _ => error,
    };
    let error = match hint(kind, status, code, rejection, said) {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    error.with_retry_after(retry_after(headers).filter(|_| kind == ErrorKind::Wait))
}

/// Who must act, and whether the same request may succeed later.
fn judge(status: u16, code: Option<&str>) -> (ErrorKind, bool) {
    match (status, code) {
        (429 | 503, _) => (ErrorKind::Wait, true),
        // The proxy's words, whatever they are.
        (407, _) => (ErrorKind::Refused, false),
        (500..=599, _) | (_, Some("server_error" | "temporarily_unavailable")) => (ErrorKind::Unusable, true),
        (200..=299, Some(_)) | (400 | 401 | 403, _) => (ErrorKind::Refused, false),
        // A web framework has a word for each status, as `Not Found`.
        (400..=499, Some(code)) if is_registered(code) => (ErrorKind::Refused, false),
        (408, _) => (ErrorKind::Unusable, true),
        _ => (ErrorKind::Unusable, false),
    }
}

/// Returns what the caller can do about it. Names in backticks are the library's; the command replaces them with its own.
fn hint(
    kind: ErrorKind,
    status: u16,
    code: Option<&str>,
    rejection: &Rejection<'_>,
    said: &Said,
) -> Option<&'static str> {
    match (kind, status, code) {
        (ErrorKind::Refused | ErrorKind::Wait, _, Some(code)) if status != 407 => match code {
            "invalid_client" => Some(
                "check client id and secret, and the client authentication: some servers want it among the parameters \
                 (`ClientAuthentication::ClientSecretPost`), or not form-encoded (`Endpoint::basic_raw`)",
            ),
            "invalid_grant" => Some("the password or the token that was sent is wrong, expired or used up"),
            "unauthorized_client" => Some("the server does not allow this client this grant"),
            "unsupported_grant_type" => {
                Some("the server does not know this grant: check `Grant` and `Endpoint::parameters`")
            }
            "invalid_scope" => Some("the server does not allow this scope: check `Grant::scope`"),
            "invalid_request" => {
                Some("a parameter is missing or unknown: compare the request with the service's documentation")
            }
            _ => None,
        },
        (_, 403, _) if matches!(said, Said::Text(text) if text.expose() == "error code: 1010") => {
            Some("this is Cloudflare, which does not take this User-Agent: send another one (`Endpoint::header`)")
        }
        (_, 400 | 401 | 403, None) => Some(
            "check the credentials, and that the request is what the service documents \
             (`Endpoint::dialect`, `Endpoint::parameters`, `Endpoint::authentication`)",
        ),
        (_, 404, _) => Some("check the URL's path"),
        (_, 405, _) => Some("check the method: `Endpoint::method`"),
        (_, 407, _) => Some("check the user name and the password in the proxy's URL"),
        (_, 415, _) => Some("the server wants the parameters elsewhere: `Parameters::Form` or `Parameters::Json`"),
        (_, 200..300, None) => match rejection {
            Rejection::Malformed(malformed) => Some(malformed.hint()),
            Rejection::OAuth(_) => None,
        },
        _ => None,
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date. A date is read against the answer's own, for the device's may be wrong.
fn retry_after(headers: &ResponseHeaders) -> Option<Duration> {
    let text = headers.get("retry-after")?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = date::http(text)?;
    let now = date::http(headers.get("date")?.trim())?;
    Some(Duration::from_secs(u64::try_from(until.saturating_sub(now)).unwrap_or(0)))
}

/// The error for an answer that says no under a status of success, as the endpoint's description has it.
pub(crate) fn said_no(status: u16, rule: &RefusedIf, said: &Said) -> Error {
    let message = match said {
        Said::Text(_) => format!("the server refused (status {status})"),
        _ => format!("the server refused (status {status}: {rule}) and did not say why"),
    };
    let error = Error::new(ErrorKind::Refused, message).with_status(status);
    match said {
        Said::Text(text) => error.with_said(None, Some(text.expose())),
        _ => error,
    }
}

/// Returns the server's time when it answered: the answer's `Date`, and its `Age` where a cache kept it (RFC 9111 section
/// 5.1). The latest counts if there are several.
pub(crate) fn server_time(headers: &ResponseHeaders) -> Option<Milliseconds> {
    let date = headers.all("date").filter_map(|date| date::http(date.trim())).max()?;
    let age = headers.all("age").filter_map(|age| age.trim().parse::<u32>().ok()).max().unwrap_or(0);
    Some((date + i64::from(age)) * 1000)
}

/// Makes the error for a redirect, with the place that it names.
pub(crate) fn redirect(status: u16, headers: &ResponseHeaders) -> Error {
    let error = Error::new(
        ErrorKind::Unusable,
        format!("the server redirects (status {status}), and credentials are not sent after it"),
    )
    .with_status(status);
    match headers.get("location").filter(|location| !location.is_empty()).and_then(url::shown) {
        Some(place) => error.with_server_hint(format!("it names {place}; if that is the token endpoint, use its URL")),
        None => error,
    }
}
