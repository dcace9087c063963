//! No log record of any crate, at any level, shows a secret or a token: neither of a fetch that succeeds nor of one that
//! fails. A logger is for a whole process, so this test has its own.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/tls.rs"]
mod tls;
#[path = "common/records.rs"]
mod records;

use common::{Server, answer, json};
use keyfob::{BootClock, Client, ClientAuthentication, Endpoint, Grant, HttpTransport, SharedTokenCache};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Part of every secret, with characters that each encoding changes; and how base64 and the encodings show a part of it.
const SENTINEL: &str = "SENT/NEL+";
const FORMS: [&str; 6] = ["SENT/NEL", "SENT%2FNEL", "SENT\\/NEL", "U0VOVC9ORU", "NFTlQvTkVM", "TRU5UL05FT"];

#[test]
fn no_log_record_shows_a_secret() {
    records::keep();
    let token = r#"{"access_token":"SENT/NEL+t","refresh_token":"SENT/NEL+r","expires_in":60}"#;
    let refusal = r#"{"error":"invalid_client","error_description":"SENT/NEL+ is not known"}"#;
    let answers = [
        json(200, token),
        json(401, refusal),
        json(200, "SENT/NEL+ is no token response"),
        answer(302, &["location: https://SENT%2FNEL+@other.example/?token=SENT%2FNEL+"], ""),
        answer(503, &["retry-after: 1", "x-session: SENT/NEL+", "set-cookie: SENT/NEL+"], token),
        b"HTTP/1.1 200 SENT/NEL+\r\ncontent-length: 100\r\n\r\n{\"access_token\":\"SENT/NEL+".to_vec(),
        b"SENT/NEL+\r\n\r\n".to_vec(),
    ];
    let mut count = 0;
    for answer in &answers {
        for is_https in [false, true] {
            let server = match is_https {
                false => Server::answering(answer.clone()),
                true => {
                    let (config, answer) = (tls::config(tls::VALID, rustls::ALL_VERSIONS), answer.clone());
                    tls::server(config, move |_, stream| drop(stream.write_all(&answer)))
                }
            };
            for (client, grant) in askers(&server) {
                let _ = SharedTokenCache::new(client, grant).token();
                count += server.requests().len();
            }
        }
    }
    assert!(count > 100, "{count}");
    let records = records::take();
    // What the observer writes, and the crates below. The transport writes nothing.
    println!("{} records", records.len());
    assert!(records.len() > 100 || cfg!(not(feature = "log")));
    for record in records.iter() {
        assert!(!FORMS.iter().any(|form| record.contains(form)), "{record}");
    }
}

/// Each way of sending a secret.
fn askers(server: &Server) -> Vec<(Client, Grant)> {
    let client = |endpoint: Endpoint| {
        let transport = HttpTransport::new().no_proxy();
        let client = Client::new(endpoint).transport(transport.roots_pem(tls::CA).unwrap());
        #[cfg(feature = "log")]
        let client = client.observer(keyfob::LogObserver::new(BootClock));
        client.timeout(Duration::from_secs(5))
    };
    let url = server.url("/t?key=SENT%2FNEL+");
    let endpoint = || Endpoint::new(&url).unwrap();
    let dialect = |name: &str| Endpoint::dialect(name.parse().unwrap(), &url).unwrap();
    let with_secret =
        |endpoint: Endpoint| client(endpoint).client_id("id").client_secret(keyfob::SecretSource::value(SENTINEL));
    let machine = Grant::client_credentials;
    let by_get = dialect("json-credentials").method(keyfob::Method::Get);
    let post = endpoint().authentication(ClientAuthentication::ClientSecretPost);
    let mut askers = vec![
        (with_secret(endpoint()), machine()),
        (with_secret(post), machine()),
        (with_secret(dialect("json-credentials")), machine()),
        (with_secret(by_get), machine()),
        (client(dialect("bearer-session")), Grant::bearer_session(keyfob::SecretSource::value(SENTINEL))),
        (with_secret(dialect("form-credentials")), machine().scope("s")),
        (client(dialect("user-credentials")), Grant::password("alice", keyfob::SecretSource::value(SENTINEL))),
        (client(endpoint()), Grant::refresh_token(keyfob::SecretSource::value(SENTINEL))),
        (
            client(endpoint()),
            Grant::extension("urn:x").secret_parameter("assertion", keyfob::SecretSource::value(SENTINEL)),
        ),
    ];
    askers.push((client(endpoint().secret_header("X-Key", keyfob::SecretSource::value(SENTINEL))), machine()));
    askers
}

/// The search finds what there is to be found, in each form.
#[test]
fn the_search_finds_every_form() {
    let base64 = ["SENT/NEL+", "aSENT/NEL+", "abSENT/NEL+"].map(|text| {
        let seen = Arc::new(Mutex::new(String::new()));
        let basic = seen.clone();
        let send = move |request: &keyfob::Request| {
            let (_, value) = request.headers().find(|(name, _)| *name == "Authorization").unwrap();
            *basic.lock().unwrap() = value.to_owned();
            Ok(keyfob::Response::new(500, ""))
        };
        let endpoint = Endpoint::new("https://as.example/t").unwrap().basic_raw(true);
        let client = Client::with_parts(endpoint, send, BootClock)
            .client_id("i")
            .client_secret(keyfob::SecretSource::value(text));
        let _ = client.fetch(&Grant::client_credentials());
        seen.lock().unwrap().clone()
    });
    for text in ["a SENT/NEL+", "SENT%2FNEL", r"SENT\/NEL+"].into_iter().chain(base64.iter().map(String::as_str)) {
        assert!(FORMS.iter().any(|form| text.contains(form)), "{text}");
    }
}
