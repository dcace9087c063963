//! The records of `LogObserver`: levels, texts, and no secret. A logger is for a whole process, so this test has its own.
#![cfg(feature = "log")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/records.rs"]
mod records;

use core::time::Duration;
use keyfob::{
    Client, Endpoint, Error, ErrorKind, Event, Grant, LogObserver, Observer, Request, Response, SecretSource,
};
use keyfob::{Spread, TokenCache};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[test]
fn each_event_is_one_record_without_a_secret() {
    records::keep();
    let (seconds, count) = (Arc::new(AtomicU64::new(1000)), AtomicUsize::new(0));
    let (client_clock, log_clock, passes) = (seconds.clone(), seconds.clone(), seconds.clone());
    let server = move |_: &Request| {
        passes.fetch_add(2, Ordering::SeqCst);
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(Response::new(
                200,
                *br#"{"access_token":"sentinel-1","expires_in":60,"refresh_token":"sentinel-2"}"#,
            )),
            1 => Ok(Response::new(
                400,
                *br#"{"error":"invalid_grant","error_description":"sentinel-2 has expired, sentinel-3\r\nWARN"}"#,
            )),
            2 => Err(Error::new(ErrorKind::Unreachable, "no network")),
            3 => Ok(Response::new(200, *br#"{"access_token":"sentinel-4"}"#)),
            _ => Ok(Response::new(200, *br#"{"access_token":"sentinel-5","expires_in":0}"#)),
        }
    };
    let client =
        Client::with_parts(Endpoint::new("https://as.example/token?key=sentinel-6").unwrap(), server, move || {
            Duration::from_secs(client_clock.load(Ordering::SeqCst))
        })
        .observer(LogObserver::new(move || Duration::from_secs(log_clock.load(Ordering::SeqCst))));
    let grant = Grant::password("alice", SecretSource::value("sentinel-3"));
    let mut tokens = TokenCache::new(client, grant).spread(Spread::from_seed(b"a"));
    tokens.token().unwrap();
    tokens.token().unwrap();
    assert_eq!(
        records::take(),
        [
            "DEBUG keyfob: fetch (password): started",
            // The clock says 1002; the lifetime counts from when the request was sent.
            "INFO keyfob: fetch (password): a token after 2000 ms, status 200, expires in 58 s",
        ]
    );
    seconds.fetch_add(60, Ordering::SeqCst);
    tokens.token().unwrap_err();
    let found = records::take();
    assert!(!found.join("\n").contains("sentinel"), "{found:?}");
    let (failed, started) = (found[1].as_str(), "DEBUG keyfob: fetch (password): started");
    assert_eq!(found[0], "DEBUG keyfob: fetch (refresh_token): started");
    assert!(
        failed.starts_with("INFO keyfob: fetch (refresh_token): no token after 2000 ms, status 400: refused: "),
        "{failed}"
    );
    assert!(!failed.contains('\n'), "{failed}");
    assert_eq!(found[2], started);
    assert_eq!(found[3], "INFO keyfob: fetch (password): no token after 2000 ms, no answer: unreachable: no network");
    let next = found[4].strip_prefix("WARN keyfob: renewal failed: unreachable: no network; next attempt in ");
    let next = next.and_then(|rest| rest.strip_suffix(" s")).and_then(|left| left.parse().ok());
    assert!(next.is_some_and(|left: u64| (1..=60).contains(&left)), "{found:?}");
    assert_eq!(found.len(), 5);

    seconds.fetch_add(3600, Ordering::SeqCst);
    tokens.token().unwrap();
    let _ = tokens.renew();
    let found: Vec<String> = records::take().into_iter().filter(|record| record.starts_with("INFO")).collect();
    assert_eq!(
        found,
        [
            "INFO keyfob: fetch (password): a token after 2000 ms, status 200, lifetime unknown",
            "INFO keyfob: fetch (password): a token after 2000 ms, status 200, to be used once",
        ]
    );

    LogObserver::new(|| Duration::ZERO).event(&Event::StoreHit);
    assert_eq!(records::take(), ["INFO keyfob: a token from the store, fetched by another process"]);
    assert_eq!(format!("{:?}", LogObserver::new(|| Duration::ZERO)), "LogObserver { .. }");
}
