//! Refusals as they are shown: one line, bounded, nothing that deceives a terminal, and none of the secrets that were
//! sent, however the server echoes them: as they are, percent-, form-, JSON- or HTML-encoded, or as Basic credentials.

#![no_main]

use keyfob::{Client, Endpoint, Error, Grant, Parameters, Request, Response, SecretSource};
use keyfob_fuzz::{Input, check_line, shown};
use libfuzzer_sys::fuzz_target;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STATUSES: [u16; 10] = [400, 401, 403, 200, 404, 429, 500, 503, 302, 307];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (how, status) = (input.byte(), *input.pick(&STATUSES));
    // They begin so that none of them is a part of keyfob's own words.
    let (Some(secret), Some(own)) = (secret("Zq", &input.text()), secret("Zv", &input.text())) else { return };
    let code = input.chunk().to_vec();
    let text = input.rest().to_vec();

    let (name, kept) = (if how & 3 == 0 { "form-credentials" } else { "json-credentials" }, "session.id");
    let dialect: Result<keyfob::Dialect, _> = name.parse();
    let endpoint = dialect.and_then(|dialect| Endpoint::dialect(dialect, "https://as.example/token"));
    let endpoint = endpoint.and_then(|endpoint| endpoint.keep_member(kept));
    let endpoint = match how & 3 {
        2 => endpoint.map(|endpoint| endpoint.parameters(Parameters::Query)),
        3 => endpoint.map(|endpoint| endpoint.authentication(keyfob::ClientAuthentication::ClientSecretBasic)),
        _ => endpoint,
    };
    let endpoint = endpoint.expect("this is a description").basic_raw(how & 4 != 0);
    let grant = match how >> 3 & 3 {
        0 => Grant::client_credentials().secret_parameter("assertion", SecretSource::value(own.as_str())),
        1 => Grant::password("alice", SecretSource::value(own.as_str())),
        2 => Grant::refresh_token(SecretSource::value(own.as_str())),
        _ => Grant::extension("urn:x").secret_parameter("code", SecretSource::value(own.as_str())),
    };

    // What was written into the answer in place of a secret.
    let echoes = Arc::new(Mutex::new(Vec::new()));
    let (secrets, seen) = ([secret.clone(), own.clone()], echoes.clone());
    let server = move |request: &Request| {
        let basic = request.headers().find(|(name, _)| *name == "Authorization");
        let basic = basic.and_then(|(_, value)| value.split_once(' ')).map_or("", |(_, credentials)| credentials);
        let echoed = |text: &[u8]| write_echoes(text, &secrets, basic, &mut seen.lock().expect("one thread"));
        let description = echoed(&text);
        let body = match how & 0x80 {
            0 => {
                let error = String::from_utf8_lossy(&echoed(&code)).into_owned();
                let description = String::from_utf8_lossy(&description);
                serde_json::json!({"error": error, "error_description": description}).to_string().into_bytes()
            }
            _ => description.clone(),
        };
        let place = String::from_utf8_lossy(&description);
        Ok(Response::new(status, body).with_header("Location", &place).with_header("Content-Type", "application/json"))
    };
    let client = Client::with_parts(endpoint, server, || Duration::from_secs(7));
    let client = client.client_id("id").client_secret(SecretSource::value(secret.as_str()));
    match client.fetch(&grant.scope("https://t.example")) {
        Ok(token) => {
            // Up to 300 characters of its type go into a message, backslashes doubled.
            if let Err(error) = token.authorization() {
                shown(&error, 900);
            }
            check_line(&format!("{:?}", token.lifetime()), 100);
        }
        Err(error) => check(&error, &[secret, own], &echoes.lock().expect("one thread")),
    }
});

/// A secret as a server may have been given it; none where its text could come about by other means.
fn secret(prefix: &str, text: &str) -> Option<String> {
    let is_shown_otherwise = |c: char| c.is_control() || matches!(c, '‹' | '›' | '…' | '\u{FFFD}');
    let secret = format!("{prefix}{text}");
    (secret.len() >= 6 && !secret.contains(is_shown_otherwise)).then_some(secret)
}

fn check(error: &Error, secrets: &[String], echoes: &[String]) {
    let all: Vec<&str> = secrets.iter().chain(echoes).map(String::as_str).collect();
    for text in [error.oauth_error(), error.oauth_error_description()].into_iter().flatten() {
        assert!(!all.iter().any(|secret| text.contains(secret)), "one of {all:?} in {text:?}");
    }
    // In what is shown, white space and hidden marks are changed, which may make a secret of what was none.
    let is_kept = |text: &&&str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7E) && byte != b'\\');
    for text in shown(error, 1500) {
        assert!(!all.iter().filter(is_kept).any(|secret| text.contains(secret)), "one of {all:?} in {text:?}");
    }
}

/// A text in which the bytes 1, 2 and 3 stand for the two secrets and the Basic credentials, encoded as the byte behind
/// them says.
fn write_echoes(text: &[u8], secrets: &[String; 2], basic: &str, echoes: &mut Vec<String>) -> Vec<u8> {
    let mut written = Vec::new();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let echo = match byte {
            1 | 2 => encode(&secrets[usize::from(byte - 1)], *bytes.next().unwrap_or(&0)),
            3 if !basic.is_empty() => basic.to_owned(),
            _ => {
                written.push(*byte);
                continue;
            }
        };
        written.extend_from_slice(echo.as_bytes());
        echoes.push(echo);
    }
    written
}

/// The secret as somebody's library writes it.
fn encode(secret: &str, how: u8) -> String {
    let mut text = String::new();
    for (index, c) in secret.chars().enumerate() {
        // From 16 on the way changes with each character: what went through two hands, or was encoded in part.
        let how = if how < 16 { how } else { (how as usize + index * 5) as u8 % 14 };
        let percent = |text: &mut String, upper: bool| {
            c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| match upper {
                true => write!(text, "%{byte:02X}"),
                false => write!(text, "%{byte:02x}"),
            })
        };
        let is_plain = c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '*');
        let number = u32::from(c);
        let _ = match (how, c) {
            (1, c) if !is_plain && c != '~' => percent(&mut text, true),
            (2, _) if !is_plain => percent(&mut text, false),
            (3, _) => percent(&mut text, true),
            (4, ' ') => text.write_char('+'),
            (4, _) if !is_plain => percent(&mut text, true),
            (5..=7, '"' | '\\') => write!(text, "\\{c}"),
            // PHP escapes the slash, and what is not ASCII; .NET and Java what is dangerous in HTML.
            (6, '/') => write!(text, "\\/"),
            (6, c) if !c.is_ascii() => {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(text, "\\u{unit:04x}"))
            }
            (7, '<' | '>' | '&' | '\'' | '+') => write!(text, "\\u{number:04X}"),
            (8.., '&') if how != 13 => text.write_str(["&amp;", "&#38;", "&#x26;"][usize::from(how % 3)]),
            (8.., '"') if how != 13 => text.write_str(["&quot;", "&#34;", "&#x22;"][usize::from(how % 3)]),
            (8.., '\'') if how != 13 => text.write_str(["&#39;", "&#039;", "&apos;"][usize::from(how % 3)]),
            (8.., '<') if how != 13 => text.write_str(["&lt;", "&#60;", "&#x3C;"][usize::from(how % 3)]),
            (8.., '>') if how != 13 => text.write_str(["&gt;", "&#62;", "&#x3e;"][usize::from(how % 3)]),
            (10, c) if !c.is_ascii() => write!(text, "&#{number};"),
            (11, c) if !c.is_ascii() => write!(text, "&#x{number:X};"),
            (_, c) => text.write_char(c),
        };
    }
    text
}
