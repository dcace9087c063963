//! https: whom we trust, and what is said where we do not. The server is rustls with the certificates in `data/tls`.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/tls.rs"]
mod serving;

use common::{Seen, Server, Stream, answer, json, read_request};
use keyfob::{AccessToken, BootClock, Client, Endpoint, Error, ErrorKind, Grant, UreqTransport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serving::{CA, EXPIRED, NOT_YET_VALID, OTHER_NAME, Pair, Polite, VALID, accept, config};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// A server that answers with these bytes, and closes without a close_notify unless it is told to be polite.
fn serve(config: Arc<ServerConfig>, bytes: Vec<u8>, is_polite: bool) -> Server {
    let wrapper = move |stream: TcpStream| -> Option<Box<dyn Stream>> {
        let stream = accept(&config, stream)?;
        Some(if is_polite { Box::new(Polite(stream)) } else { Box::new(stream) })
    };
    Server::start(
        "https",
        Box::new(wrapper),
        Box::new(move |_: &Seen, stream: &mut dyn Stream| {
            let _ = stream.write_all(&bytes);
        }),
    )
}

fn serve_token(pair: Pair) -> Server {
    serve(config(pair, rustls::ALL_VERSIONS), json(200, TOKEN), true)
}

fn transport() -> UreqTransport {
    UreqTransport::new().no_proxy().timeout(Duration::from_secs(20))
}

fn trusting() -> UreqTransport {
    transport().roots_pem(CA).unwrap()
}

fn fetch(url: &str, transport: UreqTransport) -> Result<AccessToken, Error> {
    let client = Client::with_parts(Endpoint::new(url).unwrap(), transport, BootClock);
    client.client_id("id").client_secret("hunter2").fetch(&Grant::client_credentials())
}

#[track_caller]
fn assert_error(result: Result<AccessToken, Error>, kind: ErrorKind, message: &str) -> Error {
    let error = result.expect_err(message);
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    error
}

#[test]
fn a_certificate_from_a_trusted_issuer_is_accepted_by_address_and_by_name() {
    for version in rustls::ALL_VERSIONS {
        let server = serve(config(VALID, &[*version]), json(200, TOKEN), true);
        let by_name = server.url("/token").replace("127.0.0.1", "localhost");
        for url in [server.url("/token"), by_name] {
            assert_eq!(fetch(&url, trusting()).unwrap().expose(), "t0ken", "{url}");
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].header("authorization"), Some("Basic aWQ6aHVudGVyMg=="));
        assert_eq!(requests[0].body_text(), "grant_type=client_credentials");
        assert_eq!(requests[0].header("host"), Some(server.address().to_string().as_str()));
        assert_eq!(requests[1].header("host"), Some(format!("localhost:{}", server.address().port()).as_str()));
    }
}

#[test]
fn several_roots_and_text_between_them_are_accepted() {
    let server = serve_token(VALID);
    let other = OTHER_NAME.0;
    let bundle = [b"# our authorities\n", other, b"\n# and the one that counts\n", CA].concat();
    for pem in [bundle, String::from_utf8_lossy(CA).replace('\n', "\r\n").into_bytes()] {
        let transport = transport().roots_pem(&pem).unwrap();
        assert_eq!(fetch(&server.url("/token"), transport).unwrap().expose(), "t0ken");
    }
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_refused_before_anything_is_sent() {
    for (pair, transport, why) in [
        (VALID, transport(), "its certificate is not from an issuer that is trusted here"),
        // Roots of one's own replace the others and each other.
        (
            VALID,
            transport().roots_pem(OTHER_NAME.0).unwrap(),
            "its certificate is not from an issuer that is trusted here",
        ),
        (OTHER_NAME, trusting(), "its certificate is for another name"),
    ] {
        let server = serve_token(pair);
        let message = format!("{}: {why}", server.address());
        let error = assert_error(fetch(&server.url("/token"), transport), ErrorKind::Untrusted, &message);
        assert!(!error.is_retryable());
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<rustls::Error>());
        assert!(matches!(source, Some(rustls::Error::InvalidCertificate(_))), "{source:?}");
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn a_wrong_date_names_both_dates_and_only_one_to_come_is_worth_a_retry() {
    for (pair, start, hint, is_retryable) in [
        (
            EXPIRED,
            "its certificate has expired: it ended 2021-01-01 00:00 UTC, and this device's clock says ",
            "if the device's clock is right, the server needs a new certificate",
            false,
        ),
        (
            NOT_YET_VALID,
            "its certificate is not yet valid: it starts 2120-01-01 00:00 UTC, and this device's clock says ",
            "set the device's clock; it is the usual culprit",
            true,
        ),
    ] {
        let server = serve_token(pair);
        let before = minute();
        let error = fetch(&server.url("/token"), trusting()).unwrap_err();
        let after = minute();
        let start = format!("{}: {start}", server.address());
        let message = error.to_string();
        let clock = message.strip_prefix(&start).unwrap_or_else(|| panic!("{message}"));
        assert!((before..=after).contains(&minutes(clock)), "{clock}");
        assert_eq!((error.kind(), error.hint()), (ErrorKind::Untrusted, Some(hint)));
        assert_eq!(error.is_retryable(), is_retryable, "{message}");
        assert_eq!(server.requests(), []);
    }
}

/// The minutes since 1970.
fn minute() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60
}

/// The minutes from 1970 to `2026-11-22 06:40 UTC`, counted year by year and month by month.
fn minutes(text: &str) -> u64 {
    let numbers: Vec<u64> = text.split(['-', ' ', ':']).filter_map(|part| part.parse().ok()).collect();
    let [year, month, day, hour, minute] = numbers[..] else { panic!("{text}") };
    assert_eq!(text, format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"));
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days = years + months.iter().take(month as usize - 1).sum::<u64>() + day - 1;
    days * 1440 + hour * 60 + minute
}

#[test]
fn an_https_url_at_a_plain_http_port_is_told_as_such() {
    for greeting in [answer(400, &[], "Bad Request"), b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()] {
        let server = wrapped(move |stream| {
            // The client's first message, so that the connection is not reset.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&greeting);
        });
        let message = format!("{}: it does not speak TLS there", server.address());
        let error = assert_error(fetch(&server.url("/token"), trusting()), ErrorKind::Untrusted, &message);
        assert_eq!(error.hint(), Some("check the port, and whether the URL should say http://"));
        assert!(!error.is_retryable());
    }
}

/// A server that does this with each connection, and speaks no HTTP.
fn wrapped(act: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Server {
    let wrapper = move |mut stream: TcpStream| -> Option<Box<dyn Stream>> {
        act(&mut stream);
        None
    };
    Server::start("https", Box::new(wrapper), Box::new(|_: &Seen, _: &mut dyn Stream| {}))
}

#[test]
fn a_plain_http_url_at_a_tls_port_is_told_as_such() {
    let server = serve_token(VALID);
    let url = server.url("/token").replace("https:", "http:");
    let message = format!("{} speaks TLS, and the URL says plain http", server.address());
    let error = assert_error(fetch(&url, trusting()), ErrorKind::Untrusted, &message);
    assert_eq!(error.hint(), Some("write https:// in the URL"));
}

#[test]
fn a_connection_that_ends_within_the_handshake_is_unreachable() {
    for (what, bytes) in [
        ("at once", &b""[..]),
        // The head of a handshake record, and no more of it.
        ("within a record", &[22, 3, 3, 0, 100, 2]),
    ] {
        let server = wrapped(move |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        });
        let error = fetch(&server.url("/token"), trusting()).expect_err(what);
        let message = format!("no connection to {}: unexpected end of file", server.address());
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unreachable, message), "{what}");
        assert!(error.is_retryable(), "nothing was sent: {what}");
    }
}

#[test]
fn an_alert_within_the_handshake_is_named() {
    for (alert, name) in [(40, "HandshakeFailure"), (116, "CertificateRequired"), (70, "ProtocolVersion")] {
        let server = wrapped(move |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert]);
        });
        let message = format!("{}: it refused the TLS connection: {name}", server.address());
        let error = assert_error(fetch(&server.url("/token"), trusting()), ErrorKind::Untrusted, &message);
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_server_that_wants_a_client_certificate_is_told_as_such() {
    for version in rustls::ALL_VERSIONS {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[*version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(VALID.0).unwrap()],
                PrivateKeyDer::from_pem_slice(VALID.1).unwrap(),
            )
            .unwrap();
        let server = serve(Arc::new(config), json(200, TOKEN), true);
        let message = format!("{}: it refused the TLS connection: CertificateRequired", server.address());
        let error = assert_error(fetch(&server.url("/token"), trusting()), ErrorKind::Untrusted, &message);
        assert!(!error.is_retryable());
        assert_eq!(error.hint(), Some("it may want a client certificate, or another version or cipher of TLS"));
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn a_stalled_handshake_ends_within_the_timeout() {
    let timeout = Duration::from_millis(400);
    let server = wrapped(|stream| {
        // Until the client is gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let started = Instant::now();
    let result = fetch(&server.url("/token"), trusting().timeout(timeout));
    let took = started.elapsed();
    let message = format!("no connection to {} within 0.4 s", server.address());
    let error = assert_error(result, ErrorKind::Unreachable, &message);
    assert!(error.is_retryable());
    assert!(took >= timeout && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_stalled_answer_leaves_the_outcome_unknown() {
    let config = config(VALID, rustls::ALL_VERSIONS);
    let wrapper = move |stream: TcpStream| -> Option<Box<dyn Stream>> {
        let connection = ServerConnection::new(config.clone()).unwrap();
        Some(Box::new(StreamOwned::new(connection, stream)))
    };
    let server = Server::start(
        "https",
        Box::new(wrapper),
        Box::new(|_: &Seen, stream: &mut dyn Stream| {
            let _ = stream.read(&mut [0; 1]);
        }),
    );
    let message = format!("no complete answer from {} within 0.4 s", server.address());
    let result = fetch(&server.url("/token"), trusting().timeout(Duration::from_millis(400)));
    assert_error(result, ErrorKind::OutcomeUnknown, &message);
    server.request();
}

#[test]
fn an_answer_that_is_cut_leaves_the_outcome_unknown() {
    let length = TOKEN.len();
    for is_polite in [true, false] {
        for (what, bytes) in [
            ("no answer", String::new()),
            ("within the headers", "HTTP/1.1 200 OK\r\ncontent-type: appl".to_owned()),
            ("within the body", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKEN}", length + 1)),
            (
                "before the last chunk",
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{TOKEN}\r\n"),
            ),
        ] {
            let server = serve(config(VALID, rustls::ALL_VERSIONS), bytes.into_bytes(), is_polite);
            let error = fetch(&server.url("/token"), trusting()).expect_err(what);
            let message =
                format!("the connection to {} ended before the answer did: unexpected end of file", server.address());
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::OutcomeUnknown, message), "{what}");
            assert!(error.is_retryable(), "{what}");
        }
    }
}

#[test]
fn json_without_a_length_shows_its_own_end_with_a_goodbye_and_without() {
    for is_polite in [true, false] {
        let whole = format!("HTTP/1.1 200 OK\r\n\r\n{TOKEN}");
        let server = serve(config(VALID, rustls::ALL_VERSIONS), whole.clone().into_bytes(), is_polite);
        assert_eq!(fetch(&server.url("/token"), trusting()).unwrap().expose(), "t0ken");

        let cut = whole[..whole.len() - 1].to_owned();
        let server = serve(config(VALID, rustls::ALL_VERSIONS), cut.into_bytes(), is_polite);
        let error = fetch(&server.url("/token"), trusting()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unusable, "{error}");
    }
}

#[test]
fn through_a_proxy_it_is_the_server_that_must_be_trusted() {
    for (pair, is_trusted) in [(VALID, true), (OTHER_NAME, false)] {
        let config = config(pair, rustls::ALL_VERSIONS);
        // The proxy, and the server behind it, at a name that only the proxy looks up.
        let tunnel = move |_: &Seen, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            if let Some(request) = read_request(&mut tls) {
                assert_eq!(request.header("authorization"), Some("Basic aWQ6aHVudGVyMg=="));
                let _ = tls.write_all(&json(200, TOKEN));
            }
        };
        let proxy = Server::with(tunnel);
        let transport = trusting().proxy(&format!("http://{}", proxy.address())).unwrap();
        let result = fetch("https://localhost/token", transport);
        if is_trusted {
            assert_eq!(result.unwrap().expose(), "t0ken");
        } else {
            assert_error(result, ErrorKind::Untrusted, "localhost: its certificate is for another name");
        }
        let connect = proxy.request();
        assert_eq!((connect.method.as_str(), connect.target.as_str()), ("CONNECT", "localhost:443"));
        assert_eq!(connect.header("authorization"), None);
    }
}

#[test]
fn a_proxy_may_speak_tls_itself() {
    for (pair, is_trusted) in [(VALID, true), (OTHER_NAME, false)] {
        let config = config(pair, rustls::ALL_VERSIONS);
        let wrapper = move |stream: TcpStream| -> Option<Box<dyn Stream>> {
            Some(Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)))
        };
        let tunnel = |_: &Seen, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            if read_request(stream).is_some() {
                let _ = stream.write_all(&json(200, TOKEN));
            }
        };
        let proxy = Server::start("https", Box::new(wrapper), Box::new(tunnel));
        let transport = trusting().proxy(&proxy.url("")).unwrap();
        let result = fetch("http://localhost/token", transport);
        if is_trusted {
            assert_eq!(result.unwrap().expose(), "t0ken");
            assert_eq!(proxy.request().target, "localhost:80");
        } else {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Untrusted);
            assert_eq!(proxy.requests(), []);
        }
    }
}

#[test]
fn roots_that_cannot_be_read_are_refused() {
    let not_a_certificate = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let second_is_none = [CA, not_a_certificate].concat();
    const NONE: &str = "trusted roots: there is no certificate in it";
    const NOT_PEM: &str = "trusted roots: this is not PEM";
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty", b"", NONE),
        ("garbage", b"\xFF\xFE garbage \0", NONE),
        ("a key alone", VALID.1, NONE),
        ("no Base64", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", NOT_PEM),
        ("cut", &CA[..CA.len() / 2], NOT_PEM),
        ("cut in the second", &[CA, &CA[..CA.len() / 2]].concat(), NOT_PEM),
        ("no certificate", not_a_certificate, "trusted roots: certificate 1 cannot be read"),
        ("the second is none", &second_is_none, "trusted roots: certificate 2 cannot be read"),
    ];
    for (what, pem, message) in cases {
        let error = transport().roots_pem(pem).expect_err(what);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{what}");
        let hint = (message == NONE).then_some("it must be PEM: -----BEGIN CERTIFICATE-----");
        assert_eq!(error.hint(), hint, "{what}");
    }
}
