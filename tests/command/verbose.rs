//! `--verbose`: what was asked, through which proxy, with which result, and when again.

use crate::proxy::{CONNECTED, Proxy};
use crate::*;

/// The lines on standard error, without the times and without where the cache is.
fn lines(outcome: &running::Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines().filter(|line| !line.starts_with("keyfob: the cache is in"));
    lines
        .map(|line| {
            match line.split_once(" after ").and_then(|(before, rest)| Some((before, rest.split_once(" ms; ")?.1))) {
                Some((before, after)) => format!("{before} after N ms; {after}"),
                None => line.to_owned(),
            }
        })
        .collect()
}

#[test]
fn each_request_is_logged_with_its_result() {
    let place = Place::new();
    let server = token_server();
    let host = server.address();
    let url = server.url("/t?key=hunter2");
    let options = ["token", "-v", "--url", &url, "--client-id", "c", "--client-secret-file", "secret"];
    let outcome = place.keyfob(options).outcome();
    assert_eq!(
        lines(&outcome),
        [
            format!("keyfob: asking {host} for a token (client_credentials)"),
            format!("keyfob: {host}: status 200 after N ms; the token lives 3599 s"),
            "keyfob: cache: miss".to_owned(),
        ]
    );
    assert_eq!(lines(&place.keyfob(options).outcome()), ["keyfob: cache: hit"]);

    let refusing = Server::answering(json(401, r#"{"error":"invalid_client"}"#));
    let (host, url) = (refusing.address(), refusing.url("/t"));
    let outcome = place.keyfob(["token", "--verbose", "--url", &url, "--client-id", "c"]).outcome();
    assert_eq!(outcome.code, Some(3));
    assert_eq!(
        lines(&outcome)[..3],
        [
            format!("keyfob: asking {host} for a token (client_credentials)"),
            format!("keyfob: {host}: status 401 after N ms; failed: refused"),
            "keyfob: no new token; next attempt in 10 s at the earliest".to_owned(),
        ]
    );
}

#[test]
#[cfg(feature = "tls")]
fn the_proxy_is_logged_without_its_password() {
    let place = Place::new();
    let proxy = Proxy::new(CONNECTED);
    let (_, port) = proxy.url().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let run = place.keyfob(["token", "-v", "--no-cache", "--url", "https://as.invalid/t", "--timeout", "5"]);
    let outcome = run.variable("https_proxy", format!("http://user:hunter2@127.0.0.1:{port}")).outcome();
    assert_eq!(
        lines(&outcome)[..2],
        [
            "keyfob: asking as.invalid for a token (client_credentials)".to_owned(),
            format!("keyfob: through the proxy http://127.0.0.1:{port}"),
        ]
    );
}
