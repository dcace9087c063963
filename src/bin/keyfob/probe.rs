//! `keyfob probe`: one fetch with a report for a person: the request, the answer, its oddities, and the lines of the
//! profile that would help.

mod answer;
mod body;
#[cfg(feature = "tls")]
mod certificate;

use crate::arguments::{Arguments, usage};
use crate::failure::{exit_code, in_options, whole_seconds};
use crate::format::Format;
use crate::members::config;
use crate::settings::Settings;
use crate::verbose::proxy_of;
use crate::{events, output, while_saying};
use answer::Answer;
use keyfob::{
    AccessToken, BootClock, Clock, Error, ErrorKind, Event, HttpTransport, Lifetime, Request, Response, Secret,
    Transport,
};
use miniserde::json::Value;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) fn run(arguments: &Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    if arguments.options.get("format").is_some_and(|format| !matches!(format, Value::String(f) if f == "json")) {
        return Err(usage("probe: --format must be json, or left out for a text"));
    }
    output::check_stdout()?;
    let mut settings = Settings::read(arguments, format)?;
    // A format in the profile is for tokens.
    if arguments.options.get("format").is_none() {
        *format = Format::Token;
    }
    let is_repeatable = settings.is_repeatable();
    let grant = settings.grant()?;
    if settings.needs_store {
        return Err(config("probe: the server may hand out a new refresh token, and probe stores nothing")
            .with_hint("put the refresh token into a file, which is rewritten (--refresh-token-file)"));
    }
    let cache = settings.place_of_cache();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (route, exchange) = (seen.clone(), seen.clone());
    let client = settings.client_with(|connection| {
        let observer = move |event: &Event<'_>| update(&route, |seen| seen.note(event));
        Ok(Recorder { transport: connection.transport()?.observer(observer), seen: exchange })
    })?;
    let ends_session = client.endpoint().grant_type() == Some("bearer_session") && client.endpoint().can_revoke();
    if !is_repeatable || ends_session {
        events::finish_first();
    }
    let host = client.endpoint().authority().to_owned();
    let result = while_saying(&host, || client.fetch(&grant));
    let now = client.now();
    let seen = seen.lock().map(|mut seen| std::mem::take(&mut *seen)).unwrap_or_default();
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Config) {
        // Nothing was sent, so there is nothing to report.
        return result.map(|_| ExitCode::SUCCESS);
    }
    let mut rows = seen.rows();
    rows.push(("cache", Row::Text(cache)));
    match &result {
        Ok(token) => {
            rows.push(("lifetime", Row::Text(seen.lifetime(token, now))));
            rows.push(("result", Row::Text("a token".to_owned())));
        }
        Err(error) => {
            rows.push(("result", Row::Text(error.kind().as_str().to_owned())));
            rows.push(("message", Row::Text(error.to_string())));
            rows.extend(error.hint().map(|hint| ("hint", Row::Text(in_options(hint)))));
            let wait = error.retry_after().map(whole_seconds).and_then(|wait| i64::try_from(wait).ok());
            rows.extend(wait.map(|wait| ("retry_after_s", Row::Number(wait))));
        }
    }
    rows.push(("profile", Row::Lines(seen.advice(result.as_ref()))));
    let printed = output::line(&match *format {
        Format::Json => to_json(&rows),
        _ => to_text(&rows),
    });
    match result {
        // End the session even if the report cannot be printed.
        Ok(token) if ends_session => client.revoke(token).and(printed).map(|()| ExitCode::SUCCESS),
        Ok(_) => printed.map(|()| ExitCode::SUCCESS),
        // The report has already shown the error.
        Err(error) => printed.map(|()| exit_code(&error)),
    }
}

/// Sends requests and records the last one.
struct Recorder {
    transport: HttpTransport,
    seen: Arc<Mutex<Seen>>,
}

impl Transport for Recorder {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let proxy = self.transport.route(request.url()).as_ref().and_then(proxy_of);
        update(&self.seen, |seen| *seen = Seen::of(request, proxy));
        let mut response = self.transport.send(request)?;
        let wall_time = BootClock.wall_time();
        let answer = Answer::see(request, &mut response, wall_time);
        update(&self.seen, |seen| seen.answer = Some(answer));
        Ok(response)
    }

    fn route(&self, url: &str) -> Option<Secret> {
        self.transport.route(url)
    }
}

fn update(seen: &Mutex<Seen>, change: impl FnOnce(&mut Seen)) {
    if let Ok(mut seen) = seen.lock() {
        change(&mut seen);
    }
}

/// The record of a fetch. It contains no secret.
#[derive(Default)]
struct Seen {
    request: String,
    headers: Vec<String>,
    parameters: Vec<String>,
    has_basic: bool,
    has_secret: bool,
    content_type: String,
    proxy: Option<String>,
    addresses: Vec<String>,
    connected: Option<String>,
    tls: Option<&'static str>,
    certificate: Vec<(&'static str, String)>,
    answer: Option<Answer>,
}

/// A fact: a text, a number, names on one line, or lines.
enum Row {
    Text(String),
    Number(i64),
    Names(Vec<String>),
    Lines(Vec<String>),
}

type Rows = Vec<(&'static str, Row)>;

impl Seen {
    fn of(request: &Request, proxy: Option<String>) -> Self {
        // Scheme, host and path never hold a secret.
        let (place, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        let names = |text: &[u8]| body::form(text).into_iter().map(|member| member.path).collect::<Vec<_>>();
        let header = |wanted: &str| {
            let mut headers = request.headers();
            headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or("", |(_, value)| value)
        };
        let content_type = header("content-type").to_owned();
        let body = request.body().unwrap_or_default();
        let mut parameters = names(query.as_bytes());
        parameters.extend(match content_type.as_str() {
            "application/json" => {
                let members = body::json(body, &mut answer::Oddities::default());
                members.into_iter().map(|member| member.path).collect()
            }
            _ => names(body),
        });
        // A template may put a secret into a name of the query.
        parameters.retain(|name| !request.is_echoed_in(name));
        Self {
            request: format!("{} {}", request.method(), place),
            headers: request.headers().map(|(name, _)| name.to_owned()).collect(),
            has_basic: header("authorization").starts_with("Basic "),
            has_secret: parameters.iter().any(|name| name == "client_secret"),
            parameters,
            content_type,
            proxy,
            ..Self::default()
        }
    }

    /// Records an event of the connection.
    fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::AddressesFound { addresses, .. } => {
                self.addresses = addresses.iter().map(ToString::to_string).collect();
            }
            Event::Connected { address, .. } => self.connected = Some(address.to_string()),
            #[cfg(feature = "tls")]
            Event::CertificateShown { certificate, is_proxys, .. } => {
                self.certificate = match certificate::Words::of(certificate) {
                    Some(words) => vec![
                        ("certificate_subject", words.subject),
                        ("certificate_issuer", words.issuer),
                        ("certificate_end", words.end),
                    ],
                    None => vec![("certificate_subject", "unreadable".to_owned())],
                };
                if is_proxys {
                    self.certificate.push(("certificate_of", "the proxy".to_owned()));
                }
            }
            Event::Secured { version, is_proxys: false, .. } => self.tls = Some(version),
            _ => {}
        }
    }

    /// Returns the facts of the request, of the connection and of the answer.
    fn rows(&self) -> Rows {
        let text = |text: &str| Row::Text(text.to_owned());
        let mut rows = vec![
            ("request", text(&self.request)),
            ("request_headers", Row::Names(self.headers.clone())),
            ("parameters", Row::Names(self.parameters.clone())),
            ("proxy", text(self.proxy.as_deref().unwrap_or("none"))),
            ("addresses", Row::Names(self.addresses.clone())),
            ("connected", text(self.connected.as_deref().unwrap_or("no"))),
        ];
        rows.extend(self.tls.map(|version| ("tls", text(version))));
        rows.extend(self.certificate.iter().map(|(name, value)| (*name, text(value))));
        let Some(answer) = &self.answer else {
            rows.push(("answer", text("none")));
            return rows;
        };
        rows.extend([
            ("status", Row::Number(answer.status.into())),
            ("answer", text(&answer.body)),
            ("answer_headers", Row::Names(answer.headers.clone())),
            ("members", Row::Lines(answer.members.clone())),
            ("tolerated", Row::Lines(answer.oddities.explained())),
            ("clock", Row::Text(clock(answer.clock_ahead))),
        ]);
        rows
    }

    /// Describes how the lifetime was read.
    fn lifetime(&self, token: &AccessToken, now: Duration) -> String {
        let answer = self.answer.as_ref();
        let places: Vec<String> = answer.map_or(Vec::new(), |answer| {
            answer.lifetimes.iter().chain(&answer.moments).map(|place| format!("`{place}`")).collect()
        });
        let trouble =
            token.expires_at_trouble().map(|why| format!("; the moment of expiry was not used, because {why}"));
        let text = match (token.lifetime(), token.remaining(now)) {
            (Lifetime::Once, _) => "one use: the server says 0 s or less".to_owned(),
            (_, Some(left)) => match places.is_empty() {
                true => format!("{} s, from the profile", whole_seconds(left)),
                false => format!("{} s, the answer has {}", whole_seconds(left), places.join(", ")),
            },
            _ if token.unbelieved_lifetime().is_some() => "unknown: what the server says is not believed".to_owned(),
            _ => "unknown: the token is never stored".to_owned(),
        };
        text + &trouble.unwrap_or_default()
    }

    /// Returns lines for the profile that may help.
    fn advice(&self, result: Result<&AccessToken, &Error>) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(answer) = &self.answer else { return lines };
        let first = |places: &[String]| places.first().map(output::to_json);
        match result {
            Ok(token) => {
                let has_trouble = token.expires_at_trouble().is_some();
                let is_unknown = token.remaining(BootClock.now()).is_none();
                if is_unknown && !has_trouble {
                    let is_own = |place: &&String| place.ends_with("expires_in");
                    let is_new = token.unbelieved_lifetime().is_none();
                    let moment = answer.moments.iter().find(|place| is_new || is_own(place));
                    let lifetime = answer.lifetimes.iter().find(|place| !is_own(place));
                    lines.push(match (moment, lifetime) {
                        (Some(place), _) => format!("\"field\": {{\"expires_at\": {}}}", output::to_json(place)),
                        (None, Some(place)) => format!("\"field\": {{\"expires_in\": {}}}", output::to_json(place)),
                        _ => "\"lifetime\": 3600".to_owned(),
                    });
                }
                if has_trouble && answer.clock_ahead.is_none() {
                    lines.push("\"lifetime\": {\"trust_clock\": true}".to_owned());
                }
                let word = token.token_type().unwrap_or_default();
                // Other values need more than a header.
                let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    && !["dpop", "mac", "pop"].contains(&&*word.to_ascii_lowercase());
                if token.header().is_err() && is_plain {
                    let header = format!("Authorization: {word} {{token}}");
                    lines.push(format!("\"api\": {}", output::to_json(&header)));
                }
            }
            Err(error) => {
                let status = answer.status;
                if error.kind() == ErrorKind::Unusable && (200..300).contains(&status) {
                    lines.extend(first(&answer.refusals).map(|place| format!("\"refused_if\": {{{place}: false}}")));
                    lines.extend(first(&answer.tokens).map(|place| format!("\"field\": {place}")));
                }
                let is_json = self.content_type == "application/json";
                // Services that expect the other form find no parameters.
                let sees_none = match error.oauth_error() {
                    Some(code) => ["invalid_request", "unsupported_grant_type"].contains(&code),
                    None => matches!(status, 400 | 415),
                };
                if sees_none {
                    lines.push(format!("\"params\": \"{}\"", if is_json { "form" } else { "json" }));
                }
                if status == 405 {
                    let other = if self.request.starts_with("GET") { "POST" } else { "GET" };
                    lines.push(format!("\"method\": \"{other}\""));
                }
                if error.oauth_error() == Some("invalid_client") || status == 401 {
                    if self.has_basic {
                        lines.push("\"auth\": \"client_secret_post\"".to_owned());
                        lines.push("\"basic_raw\": true".to_owned());
                    } else if self.has_secret {
                        lines.push("\"auth\": \"client_secret_basic\"".to_owned());
                    }
                }
            }
        }
        lines
    }
}

/// Compares the device's clock with the server's. `Date` has whole seconds, and the answer took time to arrive.
fn clock(ahead: Option<i64>) -> String {
    const UNITS: [(u64, &str); 4] = [(2 * 86_400, "days"), (2 * 3600, "h"), (120, "min"), (0, "s")];
    let Some(ahead) = ahead else { return "the answer has no `Date` to compare with".to_owned() };
    let seconds = ahead.unsigned_abs();
    if seconds <= 3 {
        return "agrees with the server's".to_owned();
    }
    let unit = UNITS.iter().find(|(least, _)| seconds + 60 >= *least).map_or("s", |(_, unit)| unit);
    let length = match unit {
        "days" => 86_400,
        "h" => 3600,
        "min" => 60,
        _ => 1,
    };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    format!("this device's is {} {unit} {side} the server's", (seconds + length / 2) / length)
}

fn to_text(rows: &Rows) -> String {
    const INDENT: usize = 20;
    let mut text = String::new();
    for (name, row) in rows {
        let lines = match row {
            Row::Text(line) => vec![line.clone()],
            Row::Number(number) => vec![number.to_string()],
            Row::Names(names) => vec![names.join(", ")],
            Row::Lines(lines) => lines.clone(),
        };
        for (index, line) in lines.iter().filter(|line| !line.is_empty()).enumerate() {
            let name = if index == 0 { name.replace('_', " ") } else { String::new() };
            text.push_str(&format!("{name:INDENT$}{line}\n"));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn to_json(rows: &Rows) -> String {
    let members: Vec<String> = rows
        .iter()
        .map(|(name, row)| match row {
            Row::Text(text) => format!("\"{name}\":{}", output::to_json(text)),
            Row::Number(number) => format!("\"{name}\":{number}"),
            Row::Names(texts) | Row::Lines(texts) => format!("\"{name}\":{}", output::to_json(texts)),
        })
        .collect();
    format!("{{{}}}", members.join(","))
}
