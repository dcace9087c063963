//! Endpoints described by JSON. A bad description is an error of one line; a good one makes requests in which nothing can
//! add a header, a parameter or a line, and reads a few answers: a token that it finds is sent in a header of one line.

#![no_main]

use keyfob::{AccessToken, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Request, Response, SecretSource};
use keyfob_fuzz::{check_line, shown};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

/// Bodies with something in the usual places.
const ANSWERS: [&str; 4] = [
    "t",
    "\"t\"",
    r#"[{"token":"t","expires_in":"1h"},{"accessToken":"u"}]"#,
    r#"{"access_token":"t","token":"u","data":[{"token":"v"}],"expires_in":"01:00:00","expires_at":1893459600,
        "code":0,"success":true,"message":"m"}"#,
];

/// What is shown may repeat a member of the description, escaped.
const MOST: usize = 12 * 4096 + 500;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let endpoint = match Endpoint::from_json(&text) {
        Ok(endpoint) => endpoint,
        Err(error) => return check(&error),
    };
    let plain = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let strict = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(plain);
    assert!(strict.is_ok() || text.contains("$serde_j"), "serde_json refuses it: {}", strict.expect_err("seen"));
    check_line(endpoint.authority(), 4096);
    if let Ok(request) = Request::revocation(&endpoint, &ClientCredentials::default(), "token") {
        check_request(&request);
    }
    for body in ANSWERS {
        let response = Response::new(200, body)
            .with_header("Date", "Tue, 01 Jan 2030 00:00:00 GMT")
            .with_header("Set-Cookie", "sid=c; Path=/")
            .with_header("X-Token", "Bearer h");
        match AccessToken::read(&endpoint, response, Duration::ZERO..Duration::ZERO) {
            Ok(token) => {
                if let Ok((name, value)) = token.header() {
                    check_header(name, value.expose());
                }
            }
            Err(error) => _ = shown(&error, MOST),
        }
    }
    let credentials =
        ClientCredentials::default().client_id("a&b=c\r\n").client_secret(SecretSource::value("s\"e{c}ret X: y&"));
    for credentials in [credentials, ClientCredentials::default()] {
        for grant in [
            Grant::client_credentials().scope("https://t.example a\nb"),
            Grant::password("al\"ice&x=", SecretSource::value("pass\tword")),
            Grant::bearer_session(SecretSource::value("session")),
            Grant::extension("urn:x").parameter("a", "b").parameter("grant_typ\u{65}", "\r\n"),
        ] {
            match Request::token(&endpoint, &credentials, &grant) {
                Ok(request) => check_request(&request),
                Err(error) => check(&error),
            }
        }
    }
});

fn check(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Config);
    shown(error, MOST);
}

fn check_header(name: &str, value: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
    assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7E)) && value.trim() == value, "{name}: {value:?}");
}

fn check_request(request: &Request) {
    let is_visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
    assert!(is_visible(request.url()) && !request.url().contains(['#', '\\']), "{}", request.url());
    let mut is_json = None;
    for (name, value) in request.headers() {
        check_header(name, value);
        let is_length = name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding");
        assert!(!is_length, "{name}: {value}");
        if name == "Content-Type" {
            is_json = Some(value == "application/json");
        }
    }
    match (request.body(), is_json) {
        (Some(body), Some(true)) => {
            let body = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
            body.expect("a JSON object");
        }
        (Some(body), Some(false)) => {
            let is_form = |byte: &u8| byte.is_ascii_alphanumeric() || b"*-._+%=&".contains(byte);
            // Content types of the user's own are not looked at.
            assert!(body.iter().all(is_form) || body.first() == Some(&b'{'), "{:?}", String::from_utf8_lossy(body));
        }
        _ => {}
    }
    check_line(&format!("{request:?}"), usize::MAX);
}
