//! What an answer without a token means: who must act, whether to come again, and what the server said, by its status and
//! its body. And that no text of an answer shows a secret or takes long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "cli")]
mod common;
#[cfg(feature = "cli")]
#[path = "common/command.rs"]
mod running;

use core::time::Duration;
use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Request, Response, SecretSource, TokenCache};

/// Fetches by a grant that can be repeated.
fn answered(status: u16, body: &str) -> Error {
    fetch(status, body, &Grant::client_credentials())
}

#[track_caller]
fn fetch(status: u16, body: &str, grant: &Grant) -> Error {
    let body = body.as_bytes().to_vec();
    let send = move |_: &Request| Ok(Response::new(status, body.clone()));
    client(send).fetch(grant).unwrap_err()
}

fn client(send: impl Fn(&Request) -> Result<Response, Error> + Send + Sync + 'static) -> Client {
    Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, || Duration::ZERO)
}

const NOTHING: &str = "";
const HTML: &str = "<!doctype html><title>Oops</title>";
const TOKEN: &str = r#"{"access_token":"t0ken","expires_in":60}"#;
const OTHER: &str = r#"{"code":17}"#;
const MESSAGE: &str = r#"{"message":"key revoked"}"#;
const LINE: &str = "key revoked\r\n";
const REGISTERED: &str = r#"{"error":"invalid_client","error_description":"no such client"}"#;
const OWN: &str = r#"{"error":"Not Found","path":"/t"}"#;
const BUSY: &str = r#"{"error":"temporarily_unavailable"}"#;
const BROKEN: &str = r#"{"error":"server_error","error_description":"out of disk"}"#;

#[test]
fn each_status_with_each_body() {
    use ErrorKind::{Refused, Unusable, Wait};
    const BODIES: [&str; 10] = [NOTHING, HTML, TOKEN, OTHER, MESSAGE, LINE, REGISTERED, OWN, BUSY, BROKEN];
    let codes = |body: &str| match body {
        REGISTERED => Some("invalid_client"),
        BUSY => Some("temporarily_unavailable"),
        BROKEN => Some("server_error"),
        _ => None,
    };
    // In the order of the bodies: `R` refused, `U` unusable, `u` unusable for now, `W` wait.
    for (status, kinds) in [
        (200, "UU-UUURRuu"),
        (201, "UU-UUURRuu"),
        (400, "RRRRRRRRuu"),
        (401, "RRRRRRRRuu"),
        (402, "UUUUUURUuu"),
        (403, "RRRRRRRRuu"),
        (404, "UUUUUURUuu"),
        (405, "UUUUUURUuu"),
        (407, "RRRRRRRRRR"),
        (408, "uuuuuuRuuu"),
        (415, "UUUUUURUuu"),
        (418, "UUUUUURUuu"),
        (422, "UUUUUURUuu"),
        (429, "WWWWWWWWWW"),
        (499, "UUUUUURUuu"),
        (500, "uuuuuuuuuu"),
        (501, "uuuuuuuuuu"),
        (502, "uuuuuuuuuu"),
        (503, "WWWWWWWWWW"),
        (504, "uuuuuuuuuu"),
        (520, "uuuuuuuuuu"),
        (599, "uuuuuuuuuu"),
        (600, "UUUUUUUUuu"),
        (999, "UUUUUUUUuu"),
        (100, "UUUUUUUUuu"),
        (304, "UUUUUUUUuu"),
    ] {
        for (body, kind) in BODIES.into_iter().zip(kinds.chars()) {
            let (kind, is_retryable) = match kind {
                'R' => (Refused, false),
                'U' => (Unusable, false),
                'u' => (Unusable, true),
                'W' => (Wait, true),
                // A token.
                _ => continue,
            };
            let error = answered(status, body);
            let expected = (kind, is_retryable, Some(status), codes(body).filter(|_| status != 407));
            let got = (error.kind(), error.is_retryable(), error.status(), error.oauth_error());
            assert_eq!(got, expected, "{status} {body}");

            // Where asking twice is not harmless, nobody is told to.
            let error = fetch(status, body, &Grant::refresh_token(SecretSource::value("r")));
            assert_eq!((error.kind(), error.is_retryable()), (kind, kind == Wait), "{status} {body}");
        }
    }
}

#[test]
fn the_message_has_what_the_server_says() {
    for (status, body, message) in [
        (401, NOTHING, "the server refused (status 401) and did not say why"),
        (401, " \r\n", "the server refused (status 401) and did not say why"),
        (401, HTML, "the server refused (status 401) and answered with HTML"),
        (401, OTHER, "the server refused (status 401) and gave no reason in the words of OAuth"),
        (401, "[1]", "the server refused (status 401) and gave no reason in the words of OAuth"),
        (401, "{broken", "the server refused (status 401) and gave no reason in the words of OAuth"),
        (401, "two\nlines", "the server refused (status 401) and gave no reason in the words of OAuth"),
        (401, "a <b>line</b>", "the server refused (status 401) and gave no reason in the words of OAuth"),
        (401, LINE, "the server refused (status 401): key revoked"),
        (400, "Missing parameter: scope", "the server refused (status 400): Missing parameter: scope"),
        (403, "error code: 1010", "the server refused (status 403): error code: 1010"),
        (401, MESSAGE, "the server refused (status 401): key revoked"),
        (401, r#"{"Message":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"msg":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"errmsg":"key revoked","errcode":7}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"errorMessage":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"error_message":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"errorCode":"x","errorSummary":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"error_summary":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"error":{"message":"key revoked","code":1}}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"error":null,"error_description":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"title":"Unauthorized","detail":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"title":"Unauthorized"}"#, "the server refused (status 401): Unauthorized"),
        (401, r#"{"message":"","detail":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"message":7,"detail":"key revoked"}"#, "the server refused (status 401): key revoked"),
        (401, r#"{"message":"<p>no</p>","title":"no"}"#, "the server refused (status 401): no"),
        (401, r#"{"message":"a\nb\u001b[2J\u202e"}"#, "the server refused (status 401): a b\\u{1b}[2J\\u{202e}"),
        (404, OWN, "the server answered with status 404: Not Found"),
        (404, MESSAGE, "the server answered with status 404: key revoked"),
        (404, REGISTERED, "the server refused (status 404): invalid_client (no such client)"),
        (400, BROKEN, "the server answered with status 400: server_error (out of disk)"),
        (200, BUSY, "the server answered with status 200: temporarily_unavailable"),
        (500, r#"{"error":"Internal Server Error"}"#, "the server answered with status 500: Internal Server Error"),
        (502, HTML, "the server answered with status 502"),
        (502, LINE, "the server answered with status 502: key revoked"),
        (503, REGISTERED, "the server asks to wait (status 503): invalid_client (no such client)"),
        (503, MESSAGE, "the server asks to wait (status 503): key revoked"),
        // A proxy's words may hold its own credentials, and a success's the token.
        (407, MESSAGE, "the proxy wants other credentials"),
        (407, REGISTERED, "the proxy wants other credentials"),
        (200, MESSAGE, "the answer is no token response: there is no access token"),
        (200, LINE, "the answer is no token response: the body is not a JSON object"),
    ] {
        assert_eq!(answered(status, body).to_string(), message, "{status} {body}");
    }
    let endless = "a".repeat(5000);
    let message = answered(401, &format!(r#"{{"message":"{endless}"}}"#)).to_string();
    assert_eq!(message, format!("the server refused (status 401): {}…", &endless[..300]));
    let error = answered(401, &endless).to_string();
    assert_eq!(error, "the server refused (status 401) and gave no reason in the words of OAuth");
}

#[test]
fn a_hint_names_what_the_library_has() {
    for (status, body, hint) in [
        (
            403,
            "error code: 1010",
            "this is Cloudflare, which does not take this User-Agent: send another one (`Endpoint::header`)",
        ),
        (404, OWN, "check the URL's path"),
        (405, NOTHING, "check the method: `Endpoint::method`"),
        (407, NOTHING, "check the user name and the password in the proxy's URL"),
        (415, NOTHING, "the server wants the parameters elsewhere: `Parameters::Form` or `Parameters::Json`"),
        (400, r#"{"error":"invalid_scope"}"#, "the server does not allow this scope: check `Grant::scope`"),
        (200, "{}", "is this the token endpoint? if the token is in another place, name it (`Endpoint::members`)"),
        (
            200,
            "\u{1f}",
            "is this the token endpoint? if the body is the token itself, name its place, \"\" (`Endpoint::members`)",
        ),
    ] {
        let error = answered(status, body);
        assert_eq!(error.hint(), Some(hint), "{status} {body}");
        assert!(!error.hint().unwrap().contains("--"), "{hint}");
    }
    // The server is at fault, whatever it says of the client.
    assert_eq!(answered(500, REGISTERED).hint(), None);
}

#[test]
fn a_revocation_that_the_server_refuses_in_any_words_is_an_error() {
    for (status, body, kind) in [
        (200, NOTHING, None),
        (200, "revoked", None),
        (200, MESSAGE, None),
        (200, r#"{"error":"x"}"#, Some(ErrorKind::Refused)),
        (200, BROKEN, Some(ErrorKind::Unusable)),
        (401, MESSAGE, Some(ErrorKind::Refused)),
        (500, REGISTERED, Some(ErrorKind::Unusable)),
    ] {
        let endpoint = Endpoint::dialect(keyfob::Dialect::BearerSession, "https://as.example/token").unwrap();
        let client =
            Client::with_parts(endpoint, move |_: &Request| Ok(Response::new(status, body)), || Duration::ZERO);
        let token = keyfob::AccessToken::bearer("issued").unwrap();
        assert_eq!(client.revoke(token).err().map(|error| error.kind()), kind, "{status} {body}");
    }
}

// Echoes.

/// All that is shown of an error.
fn shown(error: &Error) -> String {
    let texts = [error.hint(), error.oauth_error(), error.oauth_error_description()];
    texts.iter().flatten().fold(format!("{error} {error:?}"), |all, text| all + " " + text)
}

#[test]
fn no_text_of_an_answer_shows_a_secret() {
    const SECRET: &str = "correct horse battery staple";
    for echo in [
        SECRET.to_owned(),
        SECRET.replace(' ', "\\n"),
        SECRET.replace(' ', " \\r\\n  "),
        SECRET.replace(' ', "+"),
        SECRET.replace(' ', "%20"),
        SECRET.replace(' ', "&#32;"),
        SECRET.replace('e', "\\\\u0065"),
        SECRET.replace("horse", "%68orse").replace(' ', "+"),
    ] {
        for body in [
            format!(r#"{{"error":"x","error_description":"got {echo}!"}}"#),
            format!(r#"{{"error":"got {echo}!"}}"#),
            format!(r#"{{"message":"got {echo}!"}}"#),
            format!(r#"{{"error":{{"message":"got {echo}!"}}}}"#),
            format!("got {}!", echo.replace("\\n", " ").replace("\\r", "").replace("\\\\", "\\")),
        ] {
            for status in [400, 401, 404, 500, 503] {
                let send = {
                    let body = body.clone();
                    move |_: &Request| Ok(Response::new(status, body.clone()))
                };
                let client = client(send).client_id("id").client_secret(SecretSource::value(SECRET));
                let error = client.fetch(&Grant::client_credentials()).unwrap_err();
                let shown = shown(&error);
                assert!(!shown.contains("staple") && !shown.contains("battery"), "{status} {body}: {shown}");
                assert!(shown.contains("‹redacted›"), "{status} {body}: {shown}");
            }
        }
    }
}

#[test]
fn what_holds_no_secret_is_shown_whole() {
    let body = r#"{"error":"invalid_client","error_description":"client id is unknown"}"#;
    let client = client(move |_: &Request| Ok(Response::new(401, body)));
    // A part of the code, which is a registered one.
    let client = client.client_id("id").client_secret(SecretSource::value("client_"));
    let error = client.fetch(&Grant::client_credentials()).unwrap_err();
    assert_eq!(error.to_string(), "the server refused (status 401): invalid_client (client id is unknown)");
}

#[test]
fn basic_credentials_are_an_echo_with_and_without_their_padding() {
    // `id:hunter2-x7`
    for echo in ["aWQ6aHVudGVyMi14Nw==", "aWQ6aHVudGVyMi14Nw", "aWQ6aHVudGVyMi14Nw%3D%3D"] {
        let body = format!(r#"{{"error":"x","error_description":"bad header: Basic {echo}"}}"#);
        let client = client(move |_: &Request| Ok(Response::new(400, body.clone())));
        let client = client.client_id("id").client_secret(SecretSource::value("hunter2-x7"));
        let error = client.fetch(&Grant::client_credentials()).unwrap_err();
        assert_eq!(error.to_string(), "the server refused (status 400): x (‹redacted›)", "{echo}");
    }
}

#[test]
fn a_token_type_that_is_a_secret_is_not_shown() {
    for (token_type, message) in [
        ("hunter2-x7", "a token of type \"‹redacted›\" cannot be sent as a bearer token"),
        ("my hunter2%2Dx7", "a token of type \"‹redacted›\" cannot be sent as a bearer token"),
        ("DPoP", "a token of type \"DPoP\" cannot be sent as a bearer token"),
    ] {
        let body = format!(r#"{{"access_token":"t","token_type":"{token_type}","expires_in":60}}"#);
        let client = client(move |_: &Request| Ok(Response::new(200, body.clone())));
        let client = client.client_id("id").client_secret(SecretSource::value("hunter2-x7"));
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        for _ in 0..2 {
            let token = tokens.token().unwrap();
            assert_eq!(token.authorization().unwrap_err().to_string(), message);
            assert!(!format!("{token:?}").contains("hunter2"));
        }
    }
}

/// The worst that a server can write into each text of an answer, against the longest secret: 71 s it took when each
/// place of the text was compared with the whole secret. Now it is the size of the text that counts.
#[test]
fn no_text_of_an_answer_takes_long() {
    let secret = format!("{}b", "a".repeat(60_000));
    let started = std::time::Instant::now();
    let mut count = 0;
    for unit in ["a", "%61", "\\\\u0061", "&#97;", "&amp;", "%25", "\\\\\\\\", "+ "] {
        let long = unit.repeat(64 * 1024 / unit.replace("\\\\", "\\").len());
        for (status, body) in [
            (400, format!(r#"{{"error":"{long}","error_description":"{long}","error_uri":"{long}"}}"#)),
            (400, format!(r#"{{"message":"{long}","detail":"{long}"}}"#)),
            (400, long.clone()),
            (302, String::new()),
            (200, format!(r#"{{"access_token":"t","token_type":"{long}","scope":"{long}"}}"#)),
        ] {
            let place = format!("/{long}");
            let send = move |_: &Request| Ok(Response::new(status, body.clone()).with_header("location", &place));
            let client = client(send).client_id("id").client_secret(SecretSource::value(secret.clone()));
            let grant = Grant::refresh_token(SecretSource::value(secret.clone()));
            match client.fetch(&grant) {
                Ok(token) => drop(token.authorization()),
                Err(error) => assert!(error.to_string().chars().count() < 700),
            }
            count += 1;
        }
    }
    // All of them take a second in an unoptimised build; each of them alone took longer.
    assert!(started.elapsed() < Duration::from_secs(20), "{count} answers took {:?}", started.elapsed());
}

// Errors as values.

#[test]
fn an_error_is_cloned_with_its_source() {
    use core::error::Error as _;
    let cause = std::io::Error::other("the cause");
    let error = Error::new(ErrorKind::Unreachable, "no network").with_hint("plug it in").with_source(cause);
    let clone = error.clone();
    drop(error);
    assert_eq!((clone.kind(), clone.hint(), clone.is_retryable()), (ErrorKind::Unreachable, Some("plug it in"), true));
    assert_eq!(clone.source().unwrap().to_string(), "the cause");
}

#[cfg(feature = "std")]
#[test]
fn an_error_is_one_of_io_too() {
    fn read() -> std::io::Result<()> {
        Err(answered(401, REGISTERED))?;
        Ok(())
    }
    let error = read().unwrap_err();
    assert_eq!(error.to_string(), "the server refused (status 401): invalid_client (no such client)");
    let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(inner.oauth_error(), Some("invalid_client"));
}

#[test]
fn a_rejection_is_an_error_that_shows_no_text_of_the_server() {
    use keyfob::{Members, TokenResponse};
    for (body, message) in [
        (REGISTERED, "the server refused: invalid_client"),
        (r#"{"error":"hunter2"}"#, "the server refused"),
        ("{}", "the answer is no token response: there is no access token"),
    ] {
        let mut response = Response::new(200, body);
        let rejection = TokenResponse::read(&mut response, &Members::default()).unwrap_err();
        let error: &dyn core::error::Error = &rejection;
        assert_eq!(error.to_string(), message);
    }
}

#[cfg(feature = "std")]
#[test]
fn no_hint_of_the_library_names_an_option_of_the_command() {
    for file in ["answer", "client_auth", "description", "error", "request", "response", "token", "url"]
        .into_iter()
        .chain(["transport/tls/roots", "transport/tls/failure"])
    {
        let path = format!("{}/src/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).unwrap();
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let is_option = |(at, _): (usize, &str)| line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
            assert!(!line.match_indices("--").any(is_option), "{file}: {line}");
        }
    }
}

/// A server that fails is waited for, whatever it says; one that refuses is not.
#[cfg(feature = "cli")]
#[test]
fn a_server_in_trouble_is_waited_for() {
    use common::{Server, json};
    let place = running::Place::new();
    std::thread::scope(|scope| {
        for (status, body, code) in [
            (500, NOTHING, 0),
            (500, REGISTERED, 0),
            (502, HTML, 0),
            (504, OWN, 0),
            (400, BUSY, 0),
            (200, BROKEN, 0),
            (408, NOTHING, 0),
            (401, NOTHING, 3),
            (400, REGISTERED, 3),
            (404, OWN, 5),
        ] {
            let place = &place;
            scope.spawn(move || {
                let asked = std::sync::atomic::AtomicBool::new(false);
                let server = Server::with(move |_, stream| {
                    let is_first = !asked.swap(true, std::sync::atomic::Ordering::Relaxed);
                    let answer = if is_first { json(status, body) } else { json(200, TOKEN) };
                    let _ = stream.write_all(&answer);
                });
                let outcome = place.token(&server.url("/t"), &["--wait", "20"]).outcome();
                assert_eq!(outcome.code, Some(code), "{status} {body}: {outcome:?}");
                assert_eq!(server.requests().len(), if code == 0 { 2 } else { 1 }, "{status} {body}");
            });
        }
    });
}
