//! The transport against a server that answers byte for byte what a test says: every way in which an answer can
//! be late, cut, too large, or no answer at all.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Seen, Server, Stream, answer, json, read_request};
use keyfob::{AccessToken, BootClock, Client, Endpoint, Error, ErrorKind, Event, Grant, HttpTransport, Parameters};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

fn transport() -> HttpTransport {
    HttpTransport::new().no_proxy()
}

fn client(endpoint: Endpoint, transport: HttpTransport) -> Client {
    Client::with_parts(endpoint, transport, BootClock)
        .client_id("id")
        .client_secret(keyfob::SecretSource::value("hunter2"))
}

fn fetch(url: &str) -> Result<AccessToken, Error> {
    client(Endpoint::new(url).unwrap(), transport()).fetch(&Grant::client_credentials())
}

/// Fetches from a server that answers so.
fn fetch_answer(bytes: impl Into<Vec<u8>>) -> (Result<AccessToken, Error>, SocketAddr) {
    let server = Server::answering(bytes);
    (fetch(&server.url("/token")), server.address())
}

#[track_caller]
fn assert_token(result: Result<AccessToken, Error>, token: &str) {
    assert_eq!(result.unwrap().authorization().unwrap().expose(), format!("Bearer {token}"));
}

#[track_caller]
fn assert_error(result: Result<AccessToken, Error>, kind: ErrorKind, message: &str) -> Error {
    let error = result.expect_err(message);
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    error
}

/// An answer as `answer` makes it, without a length: its end is the connection's.
fn until_close(headers: &[&str], body: &str) -> Vec<u8> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}").into_bytes()
}

/// An answer in chunks of at most `size` bytes, ended properly.
fn chunked(headers: &[&str], body: &str, size: usize) -> Vec<u8> {
    let mut bytes = until_close(&[headers, &["transfer-encoding: chunked"]].concat(), "");
    for chunk in body.as_bytes().chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Waits until the client is gone.
fn stall(stream: &mut dyn Stream) {
    let _ = stream.read(&mut [0; 1]);
}

#[test]
fn a_request_carries_what_it_must_and_nothing_else() {
    let server = Server::answering(json(200, TOKEN));
    assert_token(fetch(&server.url("/token?tenant=7")), "t0ken");
    let request = server.request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token?tenant=7"));
    let host = server.address().to_string();
    let expected = [
        ("accept", "application/json"),
        ("authorization", "Basic aWQ6aHVudGVyMg=="),
        ("content-length", "29"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", &host),
        ("user-agent", concat!("keyfob/", env!("CARGO_PKG_VERSION"))),
    ];
    assert_eq!(sorted(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(request.body_text(), "grant_type=client_credentials");
}

#[test]
fn head_and_body_go_out_at_once() {
    let first = Arc::new(Mutex::new(Vec::new()));
    let seen = first.clone();
    let wrapper = move |mut stream: TcpStream| -> Option<Box<dyn Stream>> {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        *seen.lock().unwrap() = bytes[..count].to_vec();
        None
    };
    let server = Server::start("http", Box::new(wrapper), Box::new(|_: &Seen, _: &mut dyn Stream| {}));
    fetch(&server.url("/token")).unwrap_err();
    assert!(first.lock().unwrap().ends_with(b"\r\n\r\ngrant_type=client_credentials"));
}

fn sorted(request: &Seen) -> Vec<(String, String)> {
    let mut headers = request.headers.clone();
    headers.sort();
    headers
}

#[test]
fn a_status_is_an_answer_and_says_who_must_act() {
    const HTML: &str = "<!doctype html><title>Oops</title>";
    const INVALID_CLIENT: &str = r#"{"error":"invalid_client","error_description":"Unknown client"}"#;
    for (status, body, kind, message) in [
        (400, HTML, ErrorKind::Refused, "the server refused (status 400) and answered with HTML"),
        (400, "", ErrorKind::Refused, "the server refused (status 400) and did not say why"),
        (400, INVALID_CLIENT, ErrorKind::Refused, "the server refused (status 400): invalid_client (Unknown client)"),
        (401, HTML, ErrorKind::Refused, "the server refused (status 401) and answered with HTML"),
        (401, INVALID_CLIENT, ErrorKind::Refused, "the server refused (status 401): invalid_client (Unknown client)"),
        (401, TOKEN, ErrorKind::Refused, "the server refused (status 401) and gave no reason in the words of OAuth"),
        (403, HTML, ErrorKind::Refused, "the server refused (status 403) and answered with HTML"),
        (403, r#"{"error":"x"}"#, ErrorKind::Refused, "the server refused (status 403): x"),
        (404, HTML, ErrorKind::Unusable, "the server answered with status 404"),
        (101, "", ErrorKind::Unusable, "the server answered with status 101"),
        (999, TOKEN, ErrorKind::Unusable, "the server answered with status 999"),
        (404, INVALID_CLIENT, ErrorKind::Refused, "the server refused (status 404): invalid_client (Unknown client)"),
        (405, HTML, ErrorKind::Unusable, "the server answered with status 405"),
        (407, HTML, ErrorKind::Refused, "the proxy wants other credentials"),
        (429, HTML, ErrorKind::Wait, "the server asks to wait (status 429)"),
        (429, r#"{"error":"slow"}"#, ErrorKind::Wait, "the server asks to wait (status 429): slow"),
        (500, HTML, ErrorKind::Unusable, "the server answered with status 500"),
        (500, TOKEN, ErrorKind::Unusable, "the server answered with status 500"),
        (503, HTML, ErrorKind::Wait, "the server asks to wait (status 503)"),
        (
            503,
            r#"{"error":"temporarily_unavailable"}"#,
            ErrorKind::Wait,
            "the server asks to wait (status 503): temporarily_unavailable",
        ),
        (200, HTML, ErrorKind::Unusable, "the answer is no token response: the body is HTML or XML, not JSON"),
        (200, "", ErrorKind::Unusable, "the answer is no token response: the body is empty"),
        (200, INVALID_CLIENT, ErrorKind::Refused, "the server refused (status 200): invalid_client (Unknown client)"),
    ] {
        let (result, _) = fetch_answer(answer(status, &[], body));
        let error = assert_error(result, kind, message);
        assert_eq!(error.status(), Some(status), "{message}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Wait || status == 500, "{message}");
    }
}

#[test]
fn any_2xx_with_a_token_is_a_success() {
    for status in [200, 201, 202, 203, 206, 299] {
        assert_token(fetch_answer(json(status, TOKEN)).0, "t0ken");
    }
    let (result, _) = fetch_answer("HTTP/1.1 204 No Content\r\n\r\n");
    assert_error(result, ErrorKind::Unusable, "the answer is no token response: the body is empty");
}

#[test]
fn retry_after_is_read_in_seconds_or_against_the_answers_own_date() {
    const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
    let cases: [(u16, &[&str], Option<u64>); 10] = [
        (429, &["retry-after: 120"], Some(120)),
        (503, &["Retry-After:   7  "], Some(7)),
        (503, &["retry-after: 0"], Some(0)),
        (503, &["retry-after: Sun, 06 Nov 1994 08:50:37 GMT", DATE], Some(60)),
        (429, &["retry-after: Sun, 06 Nov 1994 08:49:36 GMT", DATE], Some(0)),
        (429, &["retry-after: Sun, 06 Nov 1994 08:50:37 GMT"], None),
        (429, &["retry-after: soon", DATE], None),
        (429, &["retry-after: -5"], None),
        (429, &[], None),
        // Only where the server asks to wait.
        (500, &["retry-after: 120"], None),
    ];
    for (status, headers, seconds) in cases {
        let error = fetch_answer(answer(status, headers, "")).0.unwrap_err();
        assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{status} {headers:?}");
    }
}

#[test]
fn a_redirect_is_never_followed_and_its_target_is_named_without_secrets() {
    let elsewhere = Server::answering(json(200, TOKEN));
    let other = elsewhere.address();
    let named = |place: String| Some(format!("it names {place}; if that is the token endpoint, use its URL"));
    let cases = [
        (None, None),
        (Some(String::new()), None),
        (Some(format!("http://{other}/token")), named(format!("http://{other}/token"))),
        (
            Some(format!("http://user:pa55@{other}/token?client_secret=hunter2&x=s3ntinel#s3ntinel")),
            named(format!("http://{other}/token")),
        ),
        (Some(format!("http://user:pa55@{other}?x=s3ntinel")), named(format!("http://{other}"))),
        (Some("/login?return=s3ntinel".to_owned()), named("/login".to_owned())),
        (Some("https://as.example/a@b/hunter2".to_owned()), None),
        (Some(format!("//user:pa55@{other}/token?x=s3ntinel")), named(format!("//{other}/token"))),
        (Some("user:pa55@x://other.example/token".to_owned()), None),
        // What is no URL is not shown: escaped it could be ten times as long.
        (Some("/\u{AD}\u{AD}".to_owned()), None),
        (Some("/a b".to_owned()), None),
    ];
    for status in [301, 302, 303, 307, 308] {
        for (location, hint) in &cases {
            let headers: Vec<String> = location.iter().map(|location| format!("location: {location}")).collect();
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let body = if location.is_some() { "" } else { TOKEN };
            let server = Server::answering(answer(status, &headers, body));
            let message = format!("the server redirects (status {status}), and credentials are not sent after it");
            let error = assert_error(fetch(&server.url("/token")), ErrorKind::Unusable, &message);
            assert_eq!(error.hint(), hint.as_deref(), "{status} {location:?}");
            assert_eq!(error.status(), Some(status));
            assert!(!error.is_retryable());
            server.request();
        }
    }
    assert_eq!(elsewhere.requests(), []);
}

#[test]
fn a_body_of_one_mebibyte_is_read_and_one_byte_more_is_refused() {
    const LIMIT: usize = 1024 * 1024;
    let json = ["content-type: application/json"];
    for (excess, is_read) in [(0, true), (1, false)] {
        let body = format!("{TOKEN}{}", " ".repeat(LIMIT - TOKEN.len() + excess));
        for (how, bytes) in [
            ("length", answer(200, &json, &body)),
            ("chunks", chunked(&json, &body, 10_000)),
            ("close", until_close(&json, &body)),
        ] {
            let result = fetch_answer(bytes).0;
            if is_read {
                assert_eq!(result.expect(how).expose(), "t0ken");
            } else {
                assert_error(result, ErrorKind::Unusable, "the answer is larger than 1 MiB");
            }
        }
    }
}

#[test]
fn a_body_without_end_is_refused_as_soon_as_it_is_too_large() {
    for head in ["content-length: 18446744073709551615", "content-length: 2000000", "x-length: none"] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{{\"a\":\"").as_bytes());
            for _ in 0..32 {
                let _ = stream.write_all(&[b'x'; 40_000]);
            }
            stall(stream);
        });
        assert_error(fetch(&server.url("/token")), ErrorKind::Unusable, "the answer is larger than 1 MiB");
    }
}

#[test]
fn a_head_of_15_kib_is_read_and_one_over_16_kib_is_refused() {
    let with_padding = |length: usize| {
        let lines: String = (0..15).map(|n| format!("x-padding-{n:02}: {}\r\n", "p".repeat(length))).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}content-length: {}\r\n\r\n{TOKEN}", TOKEN.len())
    };
    assert_token(fetch_answer(with_padding(1000)).0, "t0ken");
    for (what, bytes) in [
        ("a little over", with_padding(1100)),
        ("far over", with_padding(10_000)),
        ("one line without end", format!("HTTP/1.1 200 OK\r\nx-padding: {}", "p".repeat(70_000))),
    ] {
        let error = fetch_answer(bytes).0.expect_err(what);
        let message = "the answer's headers are larger than 16 KiB";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unusable, message), "{what}");
    }
}

#[test]
fn an_answer_that_ends_too_early_leaves_the_outcome_unknown() {
    let length = TOKEN.len();
    let whole_chunk = format!("{length:x}\r\n{TOKEN}\r\n");
    for (what, cut) in [
        ("no answer", String::new()),
        ("within the status line", "HTTP/1.1 20".to_owned()),
        ("within the headers", "HTTP/1.1 200 OK\r\ncontent-type: appl".to_owned()),
        ("after the headers", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_owned()),
        ("one byte short", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKEN}", length + 1)),
        ("before the first chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        ("within a chunk's size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4".to_owned()),
        ("after a chunk's size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n".to_owned()),
        (
            "within a chunk",
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{}", &TOKEN[..20]),
        ),
        ("without the last chunk", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{whole_chunk}")),
    ] {
        let (result, host) = fetch_answer(cut);
        let error = result.expect_err(what);
        let message = format!("the connection to {host} ended before the answer did: unexpected end of file");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::OutcomeUnknown, message), "{what}");
        assert!(error.is_retryable(), "asking twice for client credentials is harmless: {what}");
    }
}

#[test]
fn an_answer_that_is_not_http_is_unusable_and_named() {
    let long_chunk_line =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x={}\r\n{{}}\r\n", "y".repeat(20_000));
    const VERSION: &str = "its version is neither HTTP/1.1 nor HTTP/1.0";
    const START: &str = "it does not begin with HTTP/1.1";
    const STATUS: &str = "its status does not have three digits";
    const CONTROL: &str = "a header holds a control character";
    const LENGTH: &str = "its Content-Length is no number";
    const NAME: &str = "the name of a header is not valid";
    const SIZE: &str = "a chunk's size is no number";
    for (bytes, why) in [
        (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n"[..], "it is SSH"),
        (b"220 mail.example ESMTP ready\r\n250 OK\r\n\r\n", "it is a mail or FTP server's greeting"),
        (b"{\"access_token\":\"t0ken\"}\r\n\r\n", "it is JSON without a head"),
        (b"<html>", "it is HTML or XML without a head"),
        (b"POST /token HTTP/1.1\r\n", "it repeats the request"),
        (&[0; 64], START),
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xFF\xFF\xFF\r\n\r\n", "it is HTTP/2"),
        (b"HTTP/2 200\r\n\r\n", VERSION),
        (b"HTTP/1.2 200 OK\r\n\r\n", VERSION),
        (b"HTTP/1.1 20 OK\r\n\r\n{}", STATUS),
        (b"HTTP/1.1 2000 OK\r\n\r\n{}", STATUS),
        (b"HTTP/1.1  200 OK\r\n\r\n{}", STATUS),
        (b"HTTP/1.1 099 OK\r\n\r\n{}", STATUS),
        (b"HTTP/1.1 200 O\0K\r\n\r\n{}", "its status line holds a control character"),
        (b"HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n{}", "a header has no colon"),
        (b"HTTP/1.1 200 OK\r\n x: y\r\n\r\n{}", NAME),
        (b"HTTP/1.1 200 OK\r\n: y\r\n\r\n{}", NAME),
        (b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n{}", NAME),
        (b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n{}", CONTROL),
        (b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n{}", CONTROL),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n \x07\r\n\r\n{}", CONTROL),
        (b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}", LENGTH),
        (b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}", LENGTH),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\xFF\r\n\r\n{}", LENGTH),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}", LENGTH),
        (b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n{}", LENGTH),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ", "it has two lengths"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", SIZE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", SIZE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n", SIZE),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
            "a chunk is longer than its size",
        ),
        (long_chunk_line.as_bytes(), "the line of a chunk's size is longer than 16 KiB"),
    ] {
        let (result, host) = fetch_answer(bytes);
        let error = result.expect_err(why);
        let message = format!("the answer from {host} is not HTTP: {why}");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unusable, message));
        assert!(!error.is_retryable(), "{why}");
    }
}

#[test]
fn an_answer_may_be_written_in_unusual_ways() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n{TOKEN}", "x: y\r\n".repeat(2000));
    let length = TOKEN.len();
    for bytes in [
        many_headers,
        // obs-fold, in a header of no interest and in one that counts.
        format!("HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length:\r\n\t{length}\r\n\r\n{TOKEN}more"),
        // Line feeds alone.
        format!("HTTP/1.1 200 OK\ncontent-length: {length}\n\n{TOKEN}more"),
        format!("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n{length:x}\n{TOKEN}\n0\n\n"),
        // Empty lines before it.
        format!("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{TOKEN}"),
        format!("HTTP/1.1 200 \r\n\r\n{TOKEN}"),
        // The same length twice.
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nContent-Length: {length}\r\n\r\n{TOKEN}more"),
        // Chunks with an extension, leading zeros, capital letters, and trailers.
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\ncontent-length: 5\r\n\r\n\
             000{length:X} ;x=\"y\"\r\n{TOKEN}\r\n0\r\nx: y\r\n\r\n"
        ),
        // With the last chunk's size the body is whole (RFC 9112 section 8).
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{TOKEN}\r\n0\r\n"),
    ] {
        let (result, _) = fetch_answer(bytes.as_str());
        assert_token(result.map_err(|error| panic!("{error}: {}", &bytes[..100])), "t0ken");
    }
}

#[test]
fn a_transfer_coding_that_is_not_chunked_voids_the_length() {
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for coding in ["identity", "xchunked", "chunked, gzip", "chunked, identity"] {
        let head = format!("HTTP/1.1 200 OK\r\n{form}transfer-encoding: {coding}\r\ncontent-length: 18\r\n\r\n");
        assert_error(
            fetch_answer(head + "access_token=TOKENLONG&token_type=bearer").0,
            ErrorKind::Unusable,
            "the answer is no token response: a form whose length is not known may be cut off",
        );
    }
}

#[test]
fn a_form_is_accepted_only_where_its_end_is_certain() {
    const FORM: &str = "access_token=t0ken&token_type=bearer&expires_in=3600";
    let form = ["content-type: application/x-www-form-urlencoded; charset=utf-8"];
    assert_token(fetch_answer(answer(200, &form, FORM)).0, "t0ken");
    assert_token(fetch_answer(chunked(&form, FORM, 7)).0, "t0ken");
    let until_close_in_another_coding = until_close(&[form[0], "transfer-encoding: identity"], FORM);
    let mut http_1_0 = chunked(&form, FORM, 100);
    http_1_0[..8].copy_from_slice(b"HTTP/1.0");
    for bytes in [until_close(&form, FORM), until_close_in_another_coding, http_1_0] {
        assert_error(
            fetch_answer(bytes).0,
            ErrorKind::Unusable,
            "the answer is no token response: a form whose length is not known may be cut off",
        );
    }
}

#[test]
fn json_shows_its_own_end() {
    for bytes in [
        until_close(&[], TOKEN),
        chunked(&[], TOKEN, 1),
        format!("HTTP/1.0 200 OK\r\n\r\n{TOKEN}").into_bytes(),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{TOKEN}").into_bytes(),
        format!("HTTP/1.1 200\r\n\r\n{TOKEN}").into_bytes(),
    ] {
        assert_token(fetch_answer(bytes).0, "t0ken");
    }
    for end in 1..TOKEN.len() {
        let error = fetch_answer(until_close(&[], &TOKEN[..end])).0.expect_err("a JSON object that was cut");
        assert_eq!(error.kind(), ErrorKind::Unusable, "{end}");
    }
}

#[test]
fn a_stalled_answer_ends_within_the_timeout_and_is_asked_for_again_only_where_that_is_harmless() {
    let timeout = Duration::from_millis(400);
    for (what, sent) in [
        ("before the answer", String::new()),
        ("within the headers", "HTTP/1.1 200 OK\r\ncontent-le".to_owned()),
        ("within the body", format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{TOKEN}")),
        ("within a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{".to_owned()),
        ("before the connection's end", until_close_text(TOKEN)),
    ] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(sent.as_bytes());
            stall(stream);
        });
        let fetch = |grant: Grant, is_retryable: bool| {
            let endpoint = Endpoint::new(server.url("/token")).unwrap();
            let started = Instant::now();
            let result = client(endpoint, transport()).timeout(timeout).fetch(&grant);
            let took = started.elapsed();
            let message = format!("no complete answer from {} within 0.4 s", server.address());
            let error = assert_error(result, ErrorKind::OutcomeUnknown, &message);
            assert_eq!(error.is_retryable(), is_retryable, "{what}: {grant:?}");
            assert!(took >= timeout && took < Duration::from_secs(10), "{what}: {took:?}");
        };
        let assertion = Grant::extension("urn:ietf:params:oauth:grant-type:jwt-bearer").parameter("assertion", "a");
        std::thread::scope(|scope| {
            scope.spawn(|| fetch(Grant::client_credentials(), true));
            scope.spawn(|| fetch(Grant::password("alice", keyfob::SecretSource::value("hunter2")), true));
            scope.spawn(|| fetch(Grant::refresh_token(keyfob::SecretSource::value("r0tated")), false));
            scope.spawn(|| fetch(assertion, false));
        });
        assert_eq!(server.requests().len(), 4, "{what}");
    }
}

fn until_close_text(body: &str) -> String {
    String::from_utf8(until_close(&[], body)).unwrap()
}

#[test]
fn a_timeout_may_be_as_short_or_as_long_as_can_be() {
    let server = Server::answering(json(200, TOKEN));
    let fetch = |timeout| {
        let endpoint = Endpoint::new(server.url("/token")).unwrap();
        client(endpoint, transport()).timeout(timeout).fetch(&Grant::client_credentials())
    };
    let message = format!("no connection to {} within 0 s", server.address());
    assert_error(fetch(Duration::ZERO), ErrorKind::Unreachable, &message);
    assert_eq!(server.requests(), []);
    assert_token(fetch(Duration::MAX), "t0ken");
}

#[test]
fn an_answer_that_trickles_ends_within_the_timeout_too() {
    let server = Server::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let endpoint = Endpoint::new(server.url("/token")).unwrap();
    let started = Instant::now();
    let result = client(endpoint, transport()).timeout(Duration::from_millis(500)).fetch(&Grant::client_credentials());
    let message = format!("no complete answer from {} within 0.5 s", server.address());
    assert_error(result, ErrorKind::OutcomeUnknown, &message);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_tls_port_at_a_plain_http_url_is_named() {
    // RFC 8446 section 6: a fatal alert, record_overflow, as OpenSSL and rustls answer to plain text.
    for alert in [&[0x15, 3, 3, 0, 2, 2, 0x46][..], &[0x15, 3, 1, 0, 2, 2, 0x16]] {
        let (result, host) = fetch_answer(alert);
        let message = format!("{host} speaks TLS, and the URL says plain http");
        let error = assert_error(result, ErrorKind::Untrusted, &message);
        assert_eq!(error.hint(), Some("write https:// in the URL"));
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_server_that_says_nothing_at_a_plain_http_url_may_speak_tls() {
    let (result, host) = fetch_answer("");
    let message = format!("the connection to {host} ended before the answer did: unexpected end of file");
    let error = assert_error(result, ErrorKind::OutcomeUnknown, &message);
    assert_eq!(error.hint(), Some("the server sent nothing: if it speaks TLS, write https:// in the URL"));
    assert_eq!(fetch_answer("H").0.unwrap_err().hint(), None);
}

/// An address that nobody listens at, and the connection that keeps anybody else from taking it.
fn closed_port() -> (SocketAddr, [TcpStream; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near.local_addr().unwrap(), [near, far])
}

#[test]
fn a_refused_connection_is_unreachable() {
    let (address, _guard) = closed_port();
    let error = assert_error(
        fetch(&format!("http://{address}/token?x=s3ntinel")),
        ErrorKind::Unreachable,
        &format!("no connection to {address}: connection refused"),
    );
    assert!(error.is_retryable());
    let source = std::error::Error::source(&error).expect("the cause").downcast_ref::<std::io::Error>();
    assert_eq!(source.expect("an I/O error").kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_unknown_host_name_is_unreachable() {
    let long_label = format!("{}.invalid", "a".repeat(64));
    for host in [long_label.as_str(), "nonexistent.invalid"] {
        let endpoint = Endpoint::new(format!("http://{host}/token?x=s3ntinel")).unwrap().allow_http(true);
        let error = client(endpoint, transport()).fetch(&Grant::client_credentials()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.is_retryable());
        let message = error.to_string();
        // Without a network the second takes as long as the system's resolver tries.
        let expected = format!("the name {host} was not found");
        assert!(message == expected || message == format!("{expected} within 20 s"), "{message}");
    }
}

#[test]
fn plain_http_is_refused_before_anything_is_sent_unless_it_is_allowed() {
    // `0.0.0.0` reaches this server on Linux, yet it is no loopback address.
    let server = Server::answering(json(200, TOKEN));
    let host = format!("0.0.0.0:{}", server.address().port());
    let url = format!("http://{host}/token");
    let error = assert_error(
        fetch(&url),
        ErrorKind::Config,
        &format!("plain http to {host} would show the credentials to everyone on the way"),
    );
    assert_eq!(error.hint(), Some("use https, or allow it (`Endpoint::allow_http`) if you trust the network"));
    assert_eq!(server.requests(), []);
    if cfg!(target_os = "linux") {
        let endpoint = Endpoint::new(&url).unwrap().allow_http(true);
        assert_token(client(endpoint, transport()).fetch(&Grant::client_credentials()), "t0ken");
        assert_eq!(server.request().header("host"), Some(host.as_str()));
    }
}

#[test]
fn long_tokens_and_long_secrets_pass() {
    let token = "t".repeat(8192);
    assert_token(fetch_answer(json(200, &format!(r#"{{"access_token":"{token}"}}"#))).0, &token);

    let secret = "s".repeat(16 * 1024);
    let grant = Grant::client_credentials();
    for parameters in [Parameters::Form, Parameters::Json, Parameters::Query] {
        let server = Server::answering(json(200, TOKEN));
        let endpoint = Endpoint::new(server.url("/token")).unwrap().parameters(parameters);
        let client = Client::with_parts(endpoint, transport(), BootClock)
            .client_id("id")
            .client_secret(keyfob::SecretSource::value(&*secret));
        assert_token(client.fetch(&grant), "t0ken");
        let request = server.request();
        match parameters {
            // The Base64 of `id:` and of three times `s` are `aWQ6` and `c3Nz`; one `s` is left over.
            Parameters::Form => assert_eq!(
                request.header("authorization"),
                Some(format!("Basic aWQ6{}cw==", "c3Nz".repeat(16 * 1024 / 3)).as_str())
            ),
            Parameters::Json => assert!(request.body_text().contains(&format!(r#""client_secret":"{secret}""#))),
            _ => assert!(request.target.ends_with(&format!("&client_secret={secret}"))),
        }
    }
}

#[test]
fn a_post_without_a_body_says_that_its_length_is_0() {
    let server = Server::answering(json(200, TOKEN));
    let endpoint = Endpoint::new(server.url("/token")).unwrap().parameters(Parameters::Query);
    assert_token(client(endpoint, transport()).fetch(&Grant::client_credentials()), "t0ken");
    let request = server.request();
    assert_eq!(request.target, "/token?grant_type=client_credentials&client_id=id&client_secret=hunter2");
    assert_eq!(request.header("content-length"), Some("0"));
    assert_eq!(request.header("content-type"), None);
    assert_eq!(request.body, b"");
}

#[test]
fn a_url_is_sent_as_it_was_given() {
    for (given, asked) in [
        ("", "/"),
        ("?tenant=7", "/?tenant=7"),
        ("/a//b/../c;d=e", "/a//b/../c;d=e"),
        ("/%7Ea%2f?x=%41+b?c", "/%7Ea%2f?x=%41+b?c"),
    ] {
        let server = Server::answering(json(200, TOKEN));
        assert_token(fetch(&server.url(given)), "t0ken");
        assert_eq!(server.request().target, asked);
    }
}

#[test]
fn a_url_that_grows_too_long_by_its_parameters_is_refused_before_anything_is_sent() {
    let server = Server::answering(json(200, TOKEN));
    let endpoint = Endpoint::new(server.url("/token")).unwrap().parameters(Parameters::Query);
    let client = Client::with_parts(endpoint, transport(), BootClock).client_id("id");
    let result = client
        .client_secret(keyfob::SecretSource::value("s".repeat(65_536).as_str()))
        .fetch(&Grant::client_credentials());
    let message = "url: with its parameters it is longer than 64 KiB";
    assert_error(result, ErrorKind::Config, message);
    assert_eq!(server.requests(), []);
}

#[test]
fn an_ipv6_address_needs_no_name_look_up() {
    // Nobody listens there; where there is no IPv6 at all, that is as good as refused.
    let guard = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("[::1]:{}", guard.local_addr().unwrap().port());
    let error = fetch(&format!("http://{host}/token")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().starts_with(&format!("no connection to {host}: ")), "{error}");
}

#[test]
fn an_answer_in_many_small_writes_is_put_together() {
    for bytes in [json(200, TOKEN), chunked(&[], TOKEN, 5), until_close(&[], TOKEN)] {
        let server = Server::with(move |_, stream| {
            for byte in &bytes {
                let _ = stream.write_all(&[*byte]);
                let _ = stream.flush();
            }
        });
        assert_token(fetch(&server.url("/token")), "t0ken");
    }
}

#[test]
fn of_two_answers_in_one_connection_the_first_counts() {
    let second = json(200, r#"{"access_token":"second"}"#);
    for first in [json(200, TOKEN), chunked(&[], TOKEN, 9)] {
        assert_token(fetch_answer([first, second.clone()].concat()).0, "t0ken");
    }
    let (result, _) = fetch_answer([json(401, "{}"), second].concat());
    assert_error(
        result,
        ErrorKind::Refused,
        "the server refused (status 401) and gave no reason in the words of OAuth",
    );
}

#[test]
fn interim_answers_are_skipped() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n",
    ] {
        assert_token(fetch_answer([interim.as_bytes(), &json(200, TOKEN)].concat()).0, "t0ken");
    }
}

#[test]
fn a_compressed_answer_that_nobody_asked_for_is_named() {
    let mut bytes = answer(200, &["content-encoding: gzip", "content-type: application/json"], "");
    let start = bytes.windows(17).position(|window| window == b"content-length: 0").unwrap();
    bytes.splice(start..start + 17, *b"content-length: 9");
    bytes.extend_from_slice(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0]);
    let server = Server::answering(bytes);
    assert_error(
        fetch(&server.url("/token")),
        ErrorKind::Unusable,
        "the answer is no token response: the body is compressed, though nothing asked for it",
    );
    assert_eq!(server.request().header("accept-encoding"), None);
}

#[test]
fn the_user_agent_is_the_endpoints_else_the_transports_else_our_own() {
    const OWN: &str = concat!("keyfob/", env!("CARGO_PKG_VERSION"));
    for (endpoints, transports, expected) in [
        (None, None, OWN),
        (None, Some("meter/1.4"), "meter/1.4"),
        (Some("probe/2"), None, "probe/2"),
        (Some("probe/2"), Some("meter/1.4"), "probe/2"),
        (Some("keyfob/9 (my own)"), Some("meter/1.4"), "keyfob/9 (my own)"),
    ] {
        let server = Server::answering(json(200, TOKEN));
        let mut endpoint = Endpoint::new(server.url("/token")).unwrap();
        if let Some(value) = endpoints {
            endpoint = endpoint.header("User-Agent", value);
        }
        let mut transport = transport();
        if let Some(value) = transports {
            transport = transport.user_agent(value);
        }
        assert_token(client(endpoint, transport).fetch(&Grant::client_credentials()), "t0ken");
        let agents: Vec<_> = server.request().headers.into_iter().filter(|(name, _)| name == "user-agent").collect();
        assert_eq!(agents, [("user-agent".to_owned(), expected.to_owned())]);
    }
    let (address, _guard) = closed_port();
    let endpoint = Endpoint::new(format!("http://{address}/")).unwrap();
    let result = client(endpoint, transport().user_agent("a\r\nx-injected: b")).fetch(&Grant::client_credentials());
    assert_error(result, ErrorKind::Config, "header User-Agent: its value has a character that cannot be sent");
}

#[test]
fn an_endpoints_headers_are_added_or_replace_ours() {
    let server = Server::answering(json(200, TOKEN));
    let endpoint = Endpoint::new(server.url("/token"))
        .unwrap()
        .header("accept", "application/vnd.example+json")
        .header("Content-TYPE", "application/x-www-form-urlencoded; charset=UTF-8")
        .header("X-Tenant", "7")
        .secret_header("X-Api-Key", keyfob::SecretSource::value("k3y"));
    assert_token(client(endpoint, transport()).fetch(&Grant::client_credentials()), "t0ken");
    let host = server.address().to_string();
    let expected = [
        ("accept", "application/vnd.example+json"),
        ("authorization", "Basic aWQ6aHVudGVyMg=="),
        ("content-length", "29"),
        ("content-type", "application/x-www-form-urlencoded; charset=UTF-8"),
        ("host", &host),
        ("user-agent", concat!("keyfob/", env!("CARGO_PKG_VERSION"))),
        ("x-api-key", "k3y"),
        ("x-tenant", "7"),
    ];
    assert_eq!(sorted(&server.request()), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_header_that_would_break_the_request_is_refused_before_anything_is_sent() {
    const WHY: &str = "its value is empty, or holds a character that cannot be sent in a header";
    let server = Server::answering(json(200, TOKEN));
    for (name, value, message) in [
        ("X-Key", "a\r\nx-injected: b", format!("header X-Key: {WHY}")),
        ("X-Key", "é", format!("header X-Key: {WHY}")),
        ("X-Key", "", format!("header X-Key: {WHY}")),
        ("X-Key", " a", format!("header X-Key: {WHY}")),
        ("X Key", "a", r#"header "X Key": this is not a header name (RFC 9110 section 5.1)"#.to_owned()),
        ("Host", "evil.example", "header Host: the HTTP client sets it itself".to_owned()),
        ("Content-Length", "0", "header Content-Length: the HTTP client sets it itself".to_owned()),
        ("Transfer-Encoding", "chunked", "header Transfer-Encoding: the HTTP client sets it itself".to_owned()),
        ("Expect", "100-continue", "header Expect: the HTTP client sets it itself".to_owned()),
        ("authorization", "Basic eDp5", "header Authorization: the client authentication sets it already".to_owned()),
    ] {
        let endpoint = Endpoint::new(server.url("/token")).unwrap().header(name, value);
        let result = client(endpoint, transport()).fetch(&Grant::client_credentials());
        assert_error(result, ErrorKind::Config, &message);
    }
    assert_eq!(server.requests(), []);
}

/// A proxy that grants every CONNECT and plays the server behind it; what went through the tunnel is kept.
fn proxy() -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let tunnelled = Arc::new(Mutex::new(Vec::new()));
    let kept = tunnelled.clone();
    let proxy = Server::with(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        if let Some(request) = read_request(stream) {
            kept.lock().unwrap().push(request);
            let _ = stream.write_all(&json(200, TOKEN));
        }
    });
    (proxy, tunnelled)
}

fn fetch_through(proxy: &str) -> Result<AccessToken, Error> {
    // A name that is not looked up here: the proxy does that.
    let endpoint = Endpoint::new("http://as.invalid/token").unwrap().allow_http(true);
    let transport = HttpTransport::new().proxy(proxy).unwrap();
    client(endpoint, transport).fetch(&Grant::client_credentials())
}

#[test]
fn a_proxy_is_asked_to_connect_and_sees_no_credentials_of_ours() {
    for (user_info, authorization) in [("", None), ("me:p%40ss@", Some("Basic bWU6cEBzcw=="))] {
        let (proxy, tunnelled) = proxy();
        assert_token(fetch_through(&format!("http://{user_info}{}", proxy.address())), "t0ken");

        let connect = proxy.request();
        assert_eq!((connect.method.as_str(), connect.target.as_str()), ("CONNECT", "as.invalid:80"));
        assert_eq!(connect.body, b"");
        assert_eq!(connect.header("proxy-authorization"), authorization);
        let names: Vec<&str> = connect.headers.iter().map(|(name, _)| name.as_str()).collect();
        let known = ["host", "proxy-connection", "proxy-authorization"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");

        let tunnelled = tunnelled.lock().unwrap();
        assert_eq!(tunnelled.len(), 1);
        let names: Vec<(String, String)> = sorted(&tunnelled[0]);
        let expected = [
            ("accept", "application/json"),
            ("authorization", "Basic aWQ6aHVudGVyMg=="),
            ("content-length", "29"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "as.invalid"),
            ("user-agent", concat!("keyfob/", env!("CARGO_PKG_VERSION"))),
        ];
        assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

#[test]
fn a_proxy_that_does_not_connect_leaves_the_server_unreachable() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let early = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &json(200, TOKEN)].concat();
    for (answer, message) in [
        (&answer(502, &[], "")[..], "the proxy does not connect to as.invalid: proxy server responded 502"),
        (b"", "the proxy does not connect to as.invalid: it closed the connection"),
        (large.as_bytes(), "the proxy does not connect to as.invalid: its answer is larger than 16 KiB"),
        (&early, "the proxy does not connect to as.invalid: its answer is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "the proxy does not connect to as.invalid: its answer is not HTTP"),
        (&[0x15, 3, 3, 0, 2, 2, 0x46], "the proxy does not connect to as.invalid: its answer is not HTTP"),
    ] {
        let proxy = Server::answering(answer);
        let error = fetch_through(&format!("http://{}", proxy.address())).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unreachable, message));
        assert!(error.is_retryable());
        assert_eq!(proxy.request().method, "CONNECT");
    }
}

#[test]
fn a_proxy_that_stalls_or_is_not_there_leaves_the_server_unreachable() {
    let stalled = Server::with(|_, stream| stall(stream));
    let endpoint = Endpoint::new("http://as.invalid/token").unwrap().allow_http(true);
    let transport = HttpTransport::new().proxy(&format!("http://{}", stalled.address())).unwrap();
    let result = client(endpoint, transport).timeout(Duration::from_millis(300)).fetch(&Grant::client_credentials());
    assert_error(result, ErrorKind::Unreachable, "no connection to as.invalid within 0.3 s");

    let (address, _guard) = closed_port();
    let result = fetch_through(&format!("http://{address}"));
    assert_error(result, ErrorKind::Unreachable, "no connection to as.invalid: connection refused");
}

#[test]
fn a_connection_that_is_cut_behind_the_proxy_leaves_the_outcome_unknown() {
    let proxy = Server::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        read_request(stream);
    });
    assert_error(
        fetch_through(&format!("http://{}", proxy.address())),
        ErrorKind::OutcomeUnknown,
        "the connection to as.invalid ended before the answer did: unexpected end of file",
    );
}

#[test]
fn a_url_that_is_no_proxys_is_refused() {
    for (url, message) in [
        ("socks5://p.example:1080", "proxy: SOCKS proxies are not supported, and must not be bypassed"),
        ("socks4://p.example:1080", "proxy: SOCKS proxies are not supported, and must not be bypassed"),
        ("ftp://hunter2@p.example", "proxy: this is not the URL of a proxy"),
        ("http://", "proxy: this is not the URL of a proxy"),
        ("", "proxy: this is not the URL of a proxy"),
    ] {
        let error = HttpTransport::new().proxy(url).map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{url}");
    }
}

#[test]
fn a_request_of_its_own_may_have_any_time_limit() {
    use keyfob::{ClientCredentials, Request, Transport};
    let server = Server::answering(json(200, TOKEN));
    let endpoint = Endpoint::new(server.url("/token")).unwrap();
    let request = Request::token(&endpoint, &ClientCredentials::default(), &Grant::client_credentials()).unwrap();
    let response = transport().send(&request.with_timeout(Duration::MAX)).unwrap();
    assert_eq!((response.status(), response.header("Content-Type")), (200, Some("application/json")));
}

#[test]
fn an_observer_of_the_transport_receives_the_addresses_and_the_one_that_answered() {
    let server = Server::answering(json(200, r#"{"access_token":"a"}"#));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let transport = transport().observer(move |event: &Event<'_>| hears.lock().unwrap().push(format!("{event:?}")));
    client(Endpoint::new(server.url("/t")).unwrap(), transport).fetch(&Grant::client_credentials()).unwrap();
    let address = server.address();
    let expected =
        [format!("AddressesFound {{ addresses: [{address}] }}"), format!("Connected {{ address: {address} }}")];
    assert_eq!(*heard.lock().unwrap(), expected);
}
