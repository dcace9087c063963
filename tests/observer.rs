//! The events that an observer receives of fetches and renewals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{Client, Endpoint, Error, ErrorKind, Event, Grant, Request, Response, TokenCache};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn an_observer_receives_each_fetch_and_failure_without_a_secret() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (seconds, count) = (Arc::new(AtomicU64::new(1000)), AtomicUsize::new(0));
    let (clock, passes, hears) = (seconds.clone(), seconds.clone(), heard.clone());
    let server = move |_: &Request| {
        passes.fetch_add(2, Ordering::SeqCst);
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(Response::new(
                200,
                *br#"{"access_token":"sentinel-1","expires_in":60,"refresh_token":"sentinel-2"}"#,
            )),
            1 => Ok(Response::new(400, *br#"{"error":"invalid_grant","error_description":"sentinel-2 is over"}"#)),
            _ => Err(Error::new(ErrorKind::Unreachable, "no network")),
        }
    };
    let now = move || Duration::from_secs(clock.load(Ordering::SeqCst));
    let client = Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), server, now)
        .observer(move |event: &Event<'_>| hears.lock().unwrap().push(format!("{event:?}")));
    let mut tokens = TokenCache::new(client, Grant::password("alice", keyfob::SecretSource::value("sentinel-3")));
    tokens.token().unwrap();
    tokens.token().unwrap();
    seconds.fetch_add(60, Ordering::SeqCst);
    tokens.token().unwrap_err();
    tokens.token().unwrap_err();
    let heard = heard.lock().unwrap().join("\n");
    assert!(!heard.contains("sentinel"), "{heard}");
    let expected = [
        r#"FetchStarted { grant_type: Some("password") }"#,
        r#"FetchFinished { grant_type: Some("password"), status: Some(200), elapsed: 2s, result: Ok(Until(1060s)) }"#,
        r#"FetchStarted { grant_type: Some("refresh_token") }"#,
        r#"FetchFinished { grant_type: Some("refresh_token"), status: Some(400), elapsed: 2s, result: Err("#,
        r#"FetchStarted { grant_type: Some("password") }"#,
        r#"FetchFinished { grant_type: Some("password"), status: None, elapsed: 2s, result: Err(unreachable: no network) }"#,
        r#"RenewalFailed { error: unreachable: no network, next_attempt: Some(106"#,
    ];
    let lines: Vec<_> = heard.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{heard}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}, not {expected}");
    }
}
