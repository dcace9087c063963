//! https: whom we trust, and what is said where we do not. The server is rustls with the certificates in `data/tls`.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/tls.rs"]
mod serving;

use common::{Seen, Server, Stream, answer, json, read_request};
use keyfob::{
    AccessToken, BootClock, Client, ClientAuthentication, Endpoint, Error, ErrorKind, Grant, HttpTransport,
    SecretSource,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serving::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// A server that answers with these bytes, and closes without a close_notify unless it is told to be polite.
fn serve(config: Arc<ServerConfig>, bytes: Vec<u8>, is_polite: bool) -> Server {
    let handler = move |_: &Seen, stream: &mut dyn Stream| drop(stream.write_all(&bytes));
    if is_polite {
        return serving::server(config, handler);
    }
    let wrapper = move |stream| -> Option<Box<dyn Stream>> { Some(Box::new(accept(&config, stream)?)) };
    Server::start("https", Box::new(wrapper), Box::new(handler))
}

fn serve_token(pair: Pair) -> Server {
    serve(config(pair, rustls::ALL_VERSIONS), json(200, TOKEN), true)
}

fn transport() -> HttpTransport {
    HttpTransport::new().no_proxy()
}

fn trusting() -> HttpTransport {
    transport().roots_pem(CA).unwrap()
}

/// How the server is reached, and the certificate that it is shown.
struct Setup(HttpTransport, Option<(SecretSource, SecretSource)>);

impl From<HttpTransport> for Setup {
    fn from(transport: HttpTransport) -> Self {
        Self(transport, None)
    }
}

impl Setup {
    fn client(self, endpoint: Endpoint) -> Client {
        let client = Client::new(endpoint).transport(self.0).client_id("id");
        match self.1 {
            Some((chain, key)) => client.client_certificate(chain, key),
            None => client,
        }
    }
}

fn client(url: &str, setup: impl Into<Setup>) -> Client {
    setup.into().client(Endpoint::new(url).unwrap()).client_secret(SecretSource::value("hunter2"))
}

fn fetch(url: &str, setup: impl Into<Setup>) -> Result<AccessToken, Error> {
    client(url, setup).fetch(&Grant::client_credentials())
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
    const UNKNOWN: &str = "its certificate is not from an issuer that is trusted here";
    const ALONE: &str = "the server sent it alone: it must send the intermediate certificates as well; or if the server \
                         has its own authority, name that one's certificate (`HttpTransport::roots_file`)";
    const OWN_AUTHORITY: &str = "if the server has its own authority, name its certificate (`HttpTransport::roots_file`); or trust what \
                                 this system does (`HttpTransport::system_roots`)";
    const NAME: &str = "use a name that the certificate has, and check that nobody intercepts the connection";
    const CA_FALSE: &str = "it needs one that is marked CA:FALSE (openssl req -x509 -addext basicConstraints=CA:FALSE)";
    let trusting_also = |root: &[u8]| transport().roots_pem(&[CA, root].concat()).unwrap();
    let behind = leaked([BEHIND.0, INTERMEDIATE].concat(), BEHIND.1);
    let long = format!("its certificate is for another name: {}…, n2.example, n3.example and 37 more", "a.".repeat(32));
    for (what, pair, transport, why, hint) in [
        ("nobody's roots", VALID, transport(), UNKNOWN, ALONE),
        // Roots of one's own replace the others and each other.
        ("others' roots", VALID, transport().roots_pem(OTHER_NAME.0).unwrap(), UNKNOWN, ALONE),
        ("no intermediate", BEHIND, trusting(), UNKNOWN, ALONE),
        ("an unknown chain", behind, transport(), UNKNOWN, OWN_AUTHORITY),
        (
            "self-signed",
            SELF_SIGNED,
            trusting(),
            "its certificate is self-signed, and not trusted here",
            "if it is the right one, trust it (`HttpTransport::roots_file`)",
        ),
        (
            "self-signed as an authority",
            SELF_SIGNED_CA,
            trusting(),
            "its certificate is self-signed, and marked as an authority's",
            CA_FALSE,
        ),
        (
            "the same, and trusted",
            SELF_SIGNED_CA,
            trusting_also(SELF_SIGNED_CA.0),
            "its certificate is self-signed, and marked as an authority's",
            CA_FALSE,
        ),
        ("another name", OTHER_NAME, trusting(), "its certificate is for another name: other.example", NAME),
        (
            "another address",
            OTHER_ADDRESS,
            trusting(),
            "its certificate is for another name: 192.0.2.7, 2001:db8::7",
            NAME,
        ),
        ("many names", MANY_NAMES, trusting(), long.as_str(), NAME),
        (
            "no name",
            NO_NAME,
            trusting(),
            "its certificate names no host at all",
            "it needs the host as a subject alternative name: a common name is not enough",
        ),
        (
            "for clients",
            FOR_CLIENTS,
            trusting(),
            "its certificate is not for servers",
            "the server needs one with the extended key usage serverAuth",
        ),
    ] {
        let server = serve_token(pair);
        let message = format!("{}: {why}", server.address());
        let error = assert_error(fetch(&server.url("/token"), transport), ErrorKind::Untrusted, &message);
        assert_eq!(error.hint(), Some(hint), "{what}");
        assert!(!error.is_retryable());
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<rustls::Error>());
        assert!(matches!(source, Some(rustls::Error::InvalidCertificate(_))), "{source:?}");
        assert_eq!(server.requests(), []);
    }
}

/// A pair of this chain and key, for the rest of the process.
fn leaked(chain: Vec<u8>, key: &'static [u8]) -> Pair {
    (chain.leak(), key)
}

#[test]
fn a_chain_with_its_intermediate_and_a_self_signed_certificate_that_is_named_are_trusted() {
    let chain = leaked([BEHIND.0, INTERMEDIATE].concat(), BEHIND.1);
    for (pair, root) in [(chain, CA), (BEHIND, INTERMEDIATE), (SELF_SIGNED, SELF_SIGNED.0)] {
        let server = serve_token(pair);
        let transport = transport().roots_pem(root).unwrap();
        assert_eq!(fetch(&server.url("/token"), transport).unwrap().expose(), "t0ken");
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
            "set the device's clock, the usual cause",
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
fn an_https_url_at_a_plain_http_port_is_named() {
    for greeting in [answer(400, &[], "Bad Request"), b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()] {
        let server = wrapped(move |stream| {
            // The client's first message, so that the connection is not reset.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&greeting);
        });
        let message = format!("{}: it does not speak TLS on this port", server.address());
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
fn a_plain_http_url_at_a_tls_port_is_named() {
    let server = serve_token(VALID);
    let url = server.url("/token").replace("https:", "http:");
    let message = format!("{} speaks TLS, and the URL says plain http", server.address());
    let error = assert_error(fetch(&url, trusting()), ErrorKind::Untrusted, &message);
    assert_eq!(error.hint(), Some("write https:// in the URL"));
}

#[test]
fn a_connection_that_ends_within_the_handshake_is_no_tls() {
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
        let message = format!("{}: it closed the connection during the TLS handshake", server.address());
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Untrusted, message), "{what}");
        assert_eq!(error.hint(), Some("check the port, and whether the URL should say http://"));
        assert!(error.is_retryable(), "nothing was sent: {what}");
    }
}

#[test]
fn an_alert_within_the_handshake_is_named() {
    const OLD: &str = "this client speaks TLS 1.2 and 1.3: the server must be updated";
    const OTHER: &str = "it may want a client certificate, or another version or cipher of TLS";
    const OWN: &str = "it may want another client certificate, or another version or cipher of TLS";
    const ASK: &str = "ask the operator of the server which certificates it accepts";
    const RENEW: &str = "get a new one; or the server's clock, or that of its issuer, is wrong";
    const ISSUER: &str =
        "its issuer is not known there: the file must have the intermediate certificates as well, behind its own";
    for (alert, name, hint, refuses_certificate, own_hint) in [
        (40, "HandshakeFailure", OTHER, false, OWN),
        (42, "BadCertificate", OTHER, true, ASK),
        (43, "UnsupportedCertificate", OTHER, true, ASK),
        (44, "CertificateRevoked", OTHER, true, "get a new one from its issuer"),
        (45, "CertificateExpired", OTHER, true, RENEW),
        (46, "CertificateUnknown", OTHER, true, ASK),
        (48, "UnknownCA", OTHER, true, ISSUER),
        (49, "AccessDenied", OTHER, true, ASK),
        (51, "DecryptError", OTHER, true, ASK),
        (70, "ProtocolVersion", OLD, false, OLD),
        (71, "InsufficientSecurity", OTHER, false, OWN),
        (80, "InternalError", "the server has failed: its log may say why", false, ""),
        (112, "UnrecognisedName", "it knows no such host: check the name in the URL", false, ""),
        (116, "CertificateRequired", "", true, "the server does not accept certificates of this kind"),
        (200, "AlertDescription(0xc8)", OTHER, false, OWN),
    ] {
        for shows_itself in [false, true] {
            let server = wrapped(move |stream| {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert]);
            });
            let what = match (alert, shows_itself) {
                (116, false) => "it wants a client certificate".to_owned(),
                (_, true) if refuses_certificate => format!("it refuses the client certificate: {name}"),
                _ => format!("it refused the TLS connection: {name}"),
            };
            let message = format!("{}: {what}", server.address());
            let transport = if shows_itself { as_client(CLIENT.0, CLIENT.1) } else { trusting().into() };
            let error = assert_error(fetch(&server.url("/token"), transport), ErrorKind::Untrusted, &message);
            let hint = match (alert, shows_itself) {
                (116, false) => "name one, and its key (`Client::client_certificate`)",
                (_, true) if !own_hint.is_empty() => own_hint,
                _ => hint,
            };
            assert_eq!(error.hint(), Some(hint), "{message}");
            assert!(!error.is_retryable());
        }
    }
}

/// RFC 5246 section 7.4.1.3, with this version and cipher, and nothing else.
fn server_hello(version: u8, cipher: [u8; 2]) -> Vec<u8> {
    let head = [22, 3, version, 0, 42, 2, 0, 0, 38, 3, version];
    [&head[..], &[7; 32], &[0], &cipher, &[0]].concat()
}

#[test]
fn a_protocol_error_is_named() {
    const BROKEN: &str = "its TLS is broken: it violates the protocol";
    const OLD: &str = "this client speaks TLS 1.2 and 1.3: the server must be updated";
    const CHECK: &str = "check the port and the server";
    for (what, bytes, why, hint) in [
        ("TLS 1.1", server_hello(2, [0xC0, 0x13]), "it speaks no version of TLS that is safe", OLD),
        ("TLS 1.0", server_hello(1, [0xC0, 0x13]), "it speaks no version of TLS that is safe", OLD),
        ("SSL 3", server_hello(0, [0xC0, 0x13]), "it speaks no version of TLS that is safe", OLD),
        // It answers with a cipher that was not offered, as no server should: they refuse by an alert.
        ("another cipher", server_hello(3, [0, 0x2F]), BROKEN, CHECK),
        ("an answer out of order", vec![22, 3, 3, 0, 4, 14, 0, 0, 0], BROKEN, CHECK),
    ] {
        let server = wrapped(move |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&bytes);
        });
        let message = format!("{}: {why}", server.address());
        let error = fetch(&server.url("/token"), trusting()).expect_err(what);
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Untrusted, message), "{what}");
        assert_eq!(error.hint(), Some(hint), "{what}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_record_that_was_changed_in_transit_is_named() {
    let config = config(VALID, &[&rustls::version::TLS13]);
    let server = wrapped(move |stream| {
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        let _ = connection.read_tls(stream);
        let _ = connection.process_new_packets();
        let mut bytes = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).unwrap();
        }
        *bytes.last_mut().unwrap() ^= 1;
        let _ = stream.write_all(&bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let message = format!("{}: its TLS is broken: a record of it cannot be decrypted", server.address());
    let error = assert_error(fetch(&server.url("/token"), trusting()), ErrorKind::Untrusted, &message);
    assert_eq!(error.hint(), Some("something in between changes the data, or the server is faulty"));
}

fn text(pem: &'static [u8]) -> &'static str {
    std::str::from_utf8(pem).unwrap()
}

fn as_client(chain: &'static [u8], key: &'static [u8]) -> Setup {
    Setup(trusting(), Some((SecretSource::value(text(chain)), SecretSource::value(text(key)))))
}

/// What is asked by a client that authenticates by its certificate.
fn fetch_by_certificate(url: &str, setup: impl Into<Setup>) -> Result<AccessToken, Error> {
    let endpoint = Endpoint::new(url).unwrap().authentication(ClientAuthentication::TlsClientAuth);
    setup.into().client(endpoint).fetch(&Grant::client_credentials())
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let in_one_file: &'static [u8] = [CLIENT.1, CLIENT.0].concat().leak();
    let with_text: &'static [u8] = [&b"# the meter's\n"[..], CLIENT.0, b"\n# and its issuer\n", CA].concat().leak();
    for version in rustls::ALL_VERSIONS {
        let server = serve(config_for_clients_of(CA, &[*version]), json(200, TOKEN), true);
        let mut count = 0;
        for (chain, key) in
            [CLIENT, CLIENT_RSA, (CLIENT.0, CLIENT_SEC1), (with_text, CLIENT.1), (in_one_file, in_one_file)]
        {
            let token = fetch_by_certificate(&server.url("/token"), as_client(chain, key)).unwrap();
            assert_eq!(token.expose(), "t0ken");
            count += 1;
        }
        let requests = server.requests();
        assert_eq!(requests.len(), count);
        for request in requests {
            assert_eq!(request.header("authorization"), None);
            assert_eq!(request.body_text(), "grant_type=client_credentials&client_id=id");
        }
        // Beside a secret, for a server that wants both.
        assert_eq!(fetch(&server.url("/token"), as_client(CLIENT.0, CLIENT.1)).unwrap().expose(), "t0ken");
        assert_eq!(server.requests()[count].header("authorization"), Some("Basic aWQ6aHVudGVyMg=="));
    }
    // One that asks for no certificate is not shown any, and does not mind.
    let server = serve_token(VALID);
    assert!(fetch_by_certificate(&server.url("/token"), as_client(CLIENT.0, CLIENT.1)).is_ok());
}

#[test]
fn a_client_certificate_that_is_refused_is_named() {
    for version in rustls::ALL_VERSIONS {
        for (issuers, transport, why, hint) in [
            (
                CA,
                trusting().into(),
                "it wants a client certificate",
                "name one, and its key (`Client::client_certificate`)",
            ),
            (
                CA,
                as_client(CLIENT_EXPIRED.0, CLIENT_EXPIRED.1),
                "it refuses the client certificate: CertificateExpired",
                "get a new one; or the server's clock, or that of its issuer, is wrong",
            ),
            (
                INTERMEDIATE,
                as_client(CLIENT.0, CLIENT.1),
                "it refuses the client certificate: UnknownCA",
                "its issuer is not known there: the file must have the intermediate certificates as well, behind its own",
            ),
            (
                CA,
                as_client(VALID.0, VALID.1),
                "it refuses the client certificate: UnsupportedCertificate",
                "ask the operator of the server which certificates it accepts",
            ),
        ] {
            let server = serve(config_for_clients_of(issuers, &[*version]), json(200, TOKEN), true);
            let message = format!("{}: {why}", server.address());
            let result = fetch_by_certificate(&server.url("/token"), transport);
            let error = assert_error(result, ErrorKind::Untrusted, &message);
            assert!(!error.is_retryable());
            assert_eq!(error.hint(), Some(hint));
            assert_eq!(server.requests(), []);
        }
    }
}

#[test]
fn a_client_certificate_or_key_that_cannot_be_used_is_an_error_before_anything_is_sent() {
    const NOT_PEM: &[u8] = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    const NO_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    const BROKEN_KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n";
    const NO_KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
    const ENCRYPTED: &str = "client key: it is encrypted, and keyfob cannot ask for its password";
    const OTHERS: &str = "client key: it does not belong to the client certificate";
    const NOT_READ: &str = "client key: it cannot be read, or is of a kind that is not supported";
    let cut = &CLIENT.1[..CLIENT.1.len() / 2];
    let second: &'static [u8] = [CLIENT.0, NO_CERTIFICATE].concat().leak();
    let upside_down: &'static [u8] = [CA, CLIENT.0].concat().leak();
    let server = serve(config_for_clients_of(CA, rustls::ALL_VERSIONS), json(200, TOKEN), true);
    for (what, chain, key, message) in [
        ("no certificate", CLIENT.1, CLIENT.1, "client certificate: there is no certificate in it"),
        ("a broken certificate", NOT_PEM, CLIENT.1, "client certificate: this is not PEM"),
        ("no certificate inside", NO_CERTIFICATE, CLIENT.1, "client certificate: certificate 1 cannot be read"),
        ("no second certificate inside", second, CLIENT.1, "client certificate: certificate 2 cannot be read"),
        ("no key", CLIENT.0, CLIENT.0, "client key: there is no private key in it"),
        ("a broken key", CLIENT.0, BROKEN_KEY, "client key: this is not PEM"),
        ("a cut key", CLIENT.0, cut, "client key: this is not PEM"),
        ("no key inside", CLIENT.0, NO_KEY, NOT_READ),
        ("an encrypted key", CLIENT.0, CLIENT_ENCRYPTED, ENCRYPTED),
        ("an encrypted key of the old form", CLIENT.0, CLIENT_LEGACY_ENCRYPTED, ENCRYPTED),
        ("another's key", CLIENT.0, VALID.1, OTHERS),
        ("another's key of another kind", CLIENT.0, CLIENT_RSA.1, OTHERS),
        ("the issuer first", upside_down, CLIENT.1, OTHERS),
    ] {
        let error = fetch_by_certificate(&server.url("/token"), as_client(chain, key)).expect_err(what);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{what}");
        let expected = match message {
            "client certificate: there is no certificate in it" => Some("it must be PEM: -----BEGIN CERTIFICATE-----"),
            "client key: there is no private key in it" => Some("it must be PEM: -----BEGIN PRIVATE KEY-----"),
            ENCRYPTED => Some(
                "decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
            ),
            OTHERS => Some("the file must start with the client's certificate, followed by those that issued it"),
            NOT_READ => Some("it must be RSA (2048 bits or more), ECDSA on P-256 or P-384, or Ed25519"),
            _ => None,
        };
        assert_eq!(error.hint(), expected, "{what}");
        assert!(std::error::Error::source(&error).is_none(), "it might be about the key");
        assert!(!format!("{error:?}").contains("MIGHAgEA"), "the key itself is not shown");
    }
    let missing = Setup(trusting(), Some((SecretSource::file("/nonexistent/a"), SecretSource::value(text(CLIENT.1)))));
    let message = "secret file /nonexistent/a: there is no such file";
    assert_error(fetch_by_certificate(&server.url("/token"), missing), ErrorKind::Config, message);
    let plain = server.url("/token").replace("https:", "http:");
    let message = "url: a client certificate needs https";
    assert_error(fetch_by_certificate(&plain, as_client(CLIENT.0, CLIENT.1)), ErrorKind::Config, message);
    assert_eq!(server.requests(), []);
}

#[test]
fn a_client_certificate_of_version_1_is_shown() {
    // This server does not read such a one, but it was not ours to refuse it.
    let server = serve(config_for_clients_of(CLIENT_V1, rustls::ALL_VERSIONS), json(200, TOKEN), true);
    let result = fetch_by_certificate(&server.url("/token"), as_client(CLIENT_V1, CLIENT.1));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Untrusted);
}

#[test]
fn a_client_certificate_is_read_for_each_fetch() {
    let server = serve(config_for_clients_of(CA, rustls::ALL_VERSIONS), json(200, TOKEN), true);
    let pair = Arc::new(std::sync::Mutex::new(CLIENT_EXPIRED));
    let (first, second) = (pair.clone(), pair.clone());
    let chain = SecretSource::provider(move || Ok(text(first.lock().unwrap().0).into()));
    let key = SecretSource::provider(move || Ok(text(second.lock().unwrap().1).into()));
    let endpoint = Endpoint::new(server.url("/token")).unwrap().authentication(ClientAuthentication::TlsClientAuth);
    let client = Client::new(endpoint).transport(trusting()).client_id("id").client_certificate(chain, key);
    assert_eq!(client.fetch(&Grant::client_credentials()).unwrap_err().kind(), ErrorKind::Untrusted);
    *pair.lock().unwrap() = CLIENT;
    assert_eq!(client.fetch(&Grant::client_credentials()).unwrap().expose(), "t0ken");
}

#[test]
fn tls_client_auth_has_an_id_and_no_secret() {
    let endpoint = || Endpoint::from_json(r#"{"url": "https://as.example/token", "auth": "tls_client_auth"}"#).unwrap();
    let client = || {
        Client::new(endpoint())
            .client_certificate(SecretSource::value(text(CLIENT.0)), SecretSource::value(text(CLIENT.1)))
    };
    for (client, message) in [
        (client(), "the client id is missing"),
        (
            client().client_id("id").client_secret(keyfob::SecretSource::value("hunter2")),
            "there is a client secret, but the client authentication is `tls_client_auth`",
        ),
    ] {
        assert_error(client.fetch(&Grant::client_credentials()), ErrorKind::Config, message);
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
    let result = client(&server.url("/token"), trusting()).timeout(timeout).fetch(&Grant::client_credentials());
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
    let client = client(&server.url("/token"), trusting()).timeout(Duration::from_millis(400));
    let result = client.fetch(&Grant::client_credentials());
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

/// A proxy that passes on to this server what it is asked to, and keeps all that it sees, both ways.
fn relay(server: &Server) -> (Server, Arc<std::sync::Mutex<Vec<u8>>>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (kept, address) = (seen.clone(), server.address());
    let wrapper = move |mut client: TcpStream| -> Option<Box<dyn Stream>> {
        let connect = read_request(&mut client)?;
        let head = format!("{} {} {:?}\n", connect.method, connect.target, connect.headers);
        kept.lock().unwrap().extend_from_slice(head.as_bytes());
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        let server = TcpStream::connect(address).ok()?;
        let copy = |mut from: TcpStream, mut to: TcpStream| {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        std::thread::scope(|scope| {
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            scope.spawn(move || copy(from, to));
            copy(server, client);
        });
        None
    };
    (Server::start("http", Box::new(wrapper), Box::new(|_: &Seen, _: &mut dyn Stream| {})), seen)
}

#[test]
fn a_proxy_sees_where_an_https_request_goes_and_nothing_of_it() {
    for version in rustls::ALL_VERSIONS {
        for user_info in ["", "me:pr0xy@"] {
            let server = serve(config_for_clients_of(CA, &[*version]), json(200, TOKEN), true);
            let (proxy, seen) = relay(&server);
            let Setup(transport, shown) = as_client(CLIENT.0, CLIENT.1);
            let transport = transport.proxy(&format!("http://{user_info}{}", proxy.address())).unwrap();
            let endpoint = Endpoint::new("https://localhost/t0kens?x=y").unwrap().header("X-Key", "k3y");
            let client = Setup(transport, shown)
                .client(endpoint)
                .client_id("my-id")
                .client_secret(SecretSource::value("hunter2"));
            assert_eq!(client.fetch(&Grant::client_credentials()).unwrap().expose(), "t0ken");
            let request = server.request();
            assert_eq!(request.header("authorization"), Some("Basic bXktaWQ6aHVudGVyMg=="));

            let seen = seen.lock().unwrap();
            let head_end = seen.iter().position(|byte| *byte == b'\n').unwrap();
            let authorization = match user_info {
                "" => "",
                _ => r#", ("proxy-authorization", "Basic bWU6cHIweHk=")"#,
            };
            assert_eq!(
                String::from_utf8_lossy(&seen[..head_end]),
                format!(
                    "CONNECT localhost:443 [(\"host\", \"localhost:443\"), (\"proxy-connection\", \"Keep-Alive\")\
                     {authorization}]"
                )
            );
            assert!(seen.len() > 1000, "the request went by it");
            for secret in ["hunter2", "bXktaWQ6aHVudGVyMg", "k3y", "t0ken", "t0kens", "my-id"] {
                assert!(!seen.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
            }
        }
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
            let message = "localhost: its certificate is for another name: other.example";
            let error = assert_error(result, ErrorKind::Untrusted, message);
            // What helps is not hidden by the proxy.
            let hint = "use a name that the certificate has, and check that nobody intercepts the connection";
            assert_eq!(error.hint(), Some(hint));
        }
        let connect = proxy.request();
        assert_eq!((connect.method.as_str(), connect.target.as_str()), ("CONNECT", "localhost:443"));
        assert_eq!(connect.header("authorization"), None);
    }
}

/// A proxy that is spoken to by TLS, and plays the server behind it: by TLS again, if it has a configuration for that.
fn tls_proxy(proxys: Arc<ServerConfig>, servers: Option<Arc<ServerConfig>>) -> Server {
    let wrapper = move |stream: TcpStream| -> Option<Box<dyn Stream>> {
        Some(Box::new(StreamOwned::new(ServerConnection::new(proxys.clone()).unwrap(), stream)))
    };
    let tunnel = move |_: &Seen, stream: &mut dyn Stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let answer = |stream: &mut dyn Stream| {
            if read_request(stream).is_some() {
                let _ = stream.write_all(&json(200, TOKEN));
            }
        };
        match &servers {
            Some(config) => answer(&mut StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)),
            None => answer(stream),
        }
    };
    Server::start("https", Box::new(wrapper), Box::new(tunnel))
}

#[test]
fn a_proxy_may_speak_tls_itself() {
    for (pair, is_trusted) in [(VALID, true), (OTHER_NAME, false)] {
        let proxy = tls_proxy(config(pair, rustls::ALL_VERSIONS), None);
        let transport = trusting().proxy(&proxy.url("")).unwrap();
        let endpoint = Endpoint::new("http://as.invalid/token").unwrap().allow_http(true);
        let client = Client::with_parts(endpoint, transport, BootClock)
            .client_id("id")
            .client_secret(keyfob::SecretSource::value("hunter2"));
        let result = client.fetch(&Grant::client_credentials());
        if is_trusted {
            assert_eq!(result.unwrap().expose(), "t0ken");
            assert_eq!(proxy.request().target, "as.invalid:80");
        } else {
            let message = format!("the proxy {}: its certificate is for another name: other.example", proxy.address());
            assert_error(result, ErrorKind::Untrusted, &message);
            assert_eq!(proxy.requests(), []);
        }
    }
}

#[test]
fn a_proxy_that_speaks_tls_is_not_shown_the_client_certificate() {
    let servers = config_for_clients_of(CA, rustls::ALL_VERSIONS);
    let proxy = tls_proxy(config(VALID, rustls::ALL_VERSIONS), Some(servers.clone()));
    let through = |proxy: &Server| {
        let Setup(transport, shown) = as_client(CLIENT.0, CLIENT.1);
        Setup(transport.proxy(&proxy.url("")).unwrap(), shown)
    };
    assert_eq!(fetch_by_certificate("https://localhost/token", through(&proxy)).unwrap().expose(), "t0ken");

    // One that wants one gets none.
    for version in rustls::ALL_VERSIONS {
        let proxy = tls_proxy(config_for_clients_of(CA, &[*version]), Some(servers.clone()));
        let message = format!("the proxy {}: it wants a client certificate", proxy.address());
        let result = fetch_by_certificate("https://localhost/token", through(&proxy));
        assert_error(result, ErrorKind::Untrusted, &message);
        assert_eq!(proxy.requests(), []);
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

#[test]
fn a_file_of_roots_that_was_replaced_is_read_again() {
    let server = serve_token(VALID);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("roots-that-are-replaced");
    let put = |roots: &[u8]| {
        let new = path.with_extension("new");
        std::fs::write(&new, roots).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    put(OTHER_NAME.0);
    let client = client(&server.url("/token"), transport().roots_file(&path));
    let fetch = || client.fetch(&Grant::client_credentials());
    assert_eq!(fetch().unwrap_err().kind(), ErrorKind::Untrusted);
    put(CA);
    assert_eq!(fetch().unwrap().expose(), "t0ken");
    // Half of a new file, and none, change nothing.
    for roots in [&b"-----BEGIN CERTIFICATE-----\nMIIB"[..], b""] {
        put(roots);
        assert_eq!(fetch().unwrap().expose(), "t0ken");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(fetch().unwrap().expose(), "t0ken");
    put(OTHER_NAME.0);
    assert_eq!(fetch().unwrap_err().kind(), ErrorKind::Untrusted);
}

#[test]
fn roots_may_begin_with_a_byte_order_mark_or_be_one_certificate_in_der() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let server = serve_token(VALID);
    let der = CertificateDer::from_pem_slice(CA).unwrap();
    let older = text(CA).replace("CERTIFICATE", "X509 CERTIFICATE").into_bytes();
    for roots in [[b"\xEF\xBB\xBF", CA].concat(), der.to_vec(), older] {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("roots-in-other-forms");
        std::fs::write(&path, &roots).unwrap();
        for transport in [transport().roots_pem(&roots).unwrap(), transport().roots_file(&path)] {
            assert_eq!(fetch(&server.url("/token"), transport).unwrap().expose(), "t0ken");
        }
    }
    for (roots, message, hint) in [
        (
            &der[..der.len() - 1],
            "trusted roots: this is neither PEM nor one certificate in DER",
            "it must be PEM: -----BEGIN CERTIFICATE-----",
        ),
        (
            text(CA).replace("CERTIFICATE", "TRUSTED CERTIFICATE").as_bytes(),
            "trusted roots: this is a TRUSTED CERTIFICATE, which only OpenSSL reads",
            "convert it: openssl x509 -in trusted.pem -out certificate.pem",
        ),
    ] {
        let error = transport().roots_pem(roots).map(|_| ()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint()), (message, Some(hint)));
    }
}

/// What the client sends at once after the server's part of the handshake, and whether the request was in it.
#[test]
fn the_request_goes_out_together_with_the_last_message_of_the_handshake() {
    let config = config(VALID, &[&rustls::version::TLS13]);
    let with_request = Arc::new(std::sync::Mutex::new(None));
    let seen = with_request.clone();
    let server = wrapped(move |stream| {
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        while connection.is_handshaking() {
            let mut bytes = [0; 16 * 1024];
            // Once: it is one segment.
            let count = stream.read(&mut bytes).unwrap();
            let mut bytes = &bytes[..count];
            while !bytes.is_empty() {
                connection.read_tls(&mut bytes).unwrap();
                connection.process_new_packets().unwrap();
            }
            while connection.wants_write() {
                connection.write_tls(stream).unwrap();
            }
        }
        let mut request = String::new();
        let _ = connection.reader().read_to_string(&mut request);
        *seen.lock().unwrap() = Some(request);
    });
    fetch(&server.url("/token"), trusting()).unwrap_err();
    let request = with_request.lock().unwrap().clone().unwrap();
    assert!(request.starts_with("POST /token HTTP/1.1\r\nHost: "), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials"), "{request}");
}
