//! Threads that share a cache whose request hangs, and what the cache for threads has in common with the other.

#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, Endpoint, Error, ErrorKind, Grant, Request, Response, SharedTokenCache, TokenSource,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

type Answer = Result<Response, Error>;

const TIMEOUT: Duration = Duration::from_millis(1200);

fn token(name: &str, seconds: u64) -> Response {
    Response::new(200, format!(r#"{{"access_token":"{name}","expires_in":{seconds}}}"#))
}

/// A server that answers each request when the test says so, whichever comes first: by number, from 0.
struct World {
    seconds: AtomicU64,
    sent: Mutex<Vec<String>>,
    answers: Mutex<Vec<Option<Receiver<Answer>>>>,
}

impl World {
    /// As many requests as may come, and the way to answer each.
    fn new<const N: usize>() -> (Arc<Self>, [Sender<Answer>; N]) {
        let (mut senders, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..N {
            let (sender, receiver) = channel();
            senders.push(sender);
            answers.push(Some(receiver));
        }
        let world = Self { seconds: AtomicU64::new(1000), sent: Mutex::default(), answers: Mutex::new(answers) };
        (Arc::new(world), senders.try_into().unwrap())
    }

    fn cache(self: &Arc<Self>, grant: Grant) -> SharedTokenCache {
        let (server, clock) = (self.clone(), self.clone());
        let send = move |request: &Request| {
            let body = core::str::from_utf8(request.body().unwrap_or_default()).unwrap().to_owned();
            let number = {
                let mut sent = server.sent.lock().unwrap();
                sent.push(body);
                sent.len() - 1
            };
            let answer = server.answers.lock().unwrap()[number].take().unwrap();
            answer.recv().unwrap()
        };
        let now = move || Duration::from_secs(clock.seconds.load(Ordering::SeqCst));
        let client = Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, now);
        SharedTokenCache::new(client.timeout(TIMEOUT), grant)
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    fn until_sent(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.sent().len() < count {
            assert!(Instant::now() < end, "no request came");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn name(result: Result<AccessToken, Error>) -> String {
    result.unwrap().expose().to_owned()
}

#[test]
fn after_half_of_its_time_one_waiting_thread_sends_a_request() {
    let (world, [first, second]) = World::new();
    let tokens = world.cache(Grant::client_credentials());
    thread::scope(|scope| {
        let stuck = scope.spawn(|| name(tokens.token()));
        world.until_sent(1);
        let began = Instant::now();
        let waiting: Vec<_> = (0..10).map(|_| scope.spawn(|| name(tokens.token()))).collect();
        world.until_sent(2);
        assert!(began.elapsed() >= TIMEOUT / 3, "{:?}", began.elapsed());
        // The clock advances, so that it is clear which came first.
        world.seconds.fetch_add(1, Ordering::SeqCst);
        second.send(Ok(token("second", 3600))).unwrap();
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == "second"));
        assert!(began.elapsed() < Duration::from_secs(30));
        // The abandoned request's token comes late: its own caller gets it, and the cache keeps the one that lives longer.
        first.send(Ok(token("first", 60))).unwrap();
        assert_eq!(stuck.join().unwrap(), "first");
    });
    assert_eq!(name(tokens.token()), "second");
    assert_eq!(world.sent().len(), 2);
}

#[test]
fn a_late_failure_of_an_abandoned_request_changes_nothing() {
    for fails in [ErrorKind::Unreachable, ErrorKind::Refused] {
        let (world, [first, second]) = World::new();
        let tokens = world.cache(Grant::client_credentials());
        thread::scope(|scope| {
            let stuck = scope.spawn(|| tokens.token());
            world.until_sent(1);
            let other = scope.spawn(|| name(tokens.token()));
            world.until_sent(2);
            world.seconds.fetch_add(1, Ordering::SeqCst);
            second.send(Ok(token("second", 3600))).unwrap();
            assert_eq!(other.join().unwrap(), "second");
            first.send(Err(Error::new(fails, "too late"))).unwrap();
            // The caller gets the token that came meanwhile.
            assert_eq!(name(stuck.join().unwrap()), "second");
        });
        assert!(tokens.last_failure().is_none());
        assert_eq!(name(tokens.token()), "second");
    }
}

#[test]
fn waiting_threads_get_no_failure_while_another_request_is_under_way() {
    let (world, [first, second]) = World::new();
    let tokens = world.cache(Grant::client_credentials());
    thread::scope(|scope| {
        let stuck = scope.spawn(|| tokens.token());
        world.until_sent(1);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| name(tokens.token()))).collect();
        world.until_sent(2);
        first.send(Err(Error::new(ErrorKind::Unreachable, "cut"))).unwrap();
        assert_eq!(stuck.join().unwrap().unwrap_err().to_string(), "cut");
        second.send(Ok(token("second", 3600))).unwrap();
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == "second"));
    });
}

#[test]
fn a_refresh_token_is_sent_by_one_thread_alone() {
    let (world, [first, second, third]) = World::new();
    let tokens = world.cache(Grant::password("alice", keyfob::SecretSource::value("secret")));
    first.send(Ok(Response::new(200, *br#"{"access_token":"a","expires_in":60,"refresh_token":"r1"}"#))).unwrap();
    tokens.token().unwrap();
    world.seconds.fetch_add(60, Ordering::SeqCst);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| name(tokens.token()));
        world.until_sent(2);
        let other = scope.spawn(|| name(tokens.token()));
        world.until_sent(3);
        third.send(Ok(token("by-password", 3600))).unwrap();
        assert_eq!(other.join().unwrap(), "by-password");
        second.send(Ok(token("by-refresh", 3600))).unwrap();
        assert_eq!(stuck.join().unwrap(), "by-refresh");
    });
    let password = "grant_type=password&username=alice&password=secret";
    assert_eq!(world.sent(), [password, "grant_type=refresh_token&refresh_token=r1", password]);
}

#[test]
fn threads_wait_for_a_one_time_request_and_the_error_names_the_host() {
    for grant in [
        Grant::refresh_token(keyfob::SecretSource::value("r0")),
        Grant::extension("urn:x").secret_parameter("assertion", keyfob::SecretSource::value("a")),
    ] {
        let (world, [first]) = World::new();
        let tokens = world.cache(grant);
        thread::scope(|scope| {
            let stuck = scope.spawn(|| name(tokens.token()));
            world.until_sent(1);
            let began = Instant::now();
            let error = tokens.token().unwrap_err();
            assert!(began.elapsed() >= TIMEOUT, "{:?}", began.elapsed());
            let message = "another thread has been asking as.example for 1 s and has not finished";
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unreachable, message));
            assert!(error.is_retryable());
            first.send(Ok(token("first", 3600))).unwrap();
            assert_eq!(stuck.join().unwrap(), "first");
        });
        assert_eq!((name(tokens.token()), world.sent().len()), ("first".into(), 1));
    }
}

#[test]
fn the_shared_cache_has_the_methods_of_the_cache_for_one_owner() {
    let (world, [first, second, third, fourth]) = World::new();
    let tokens = world.cache(Grant::client_credentials());
    assert_eq!(tokens.client().now(), Duration::from_secs(1000));
    assert!(tokens.at_hand(Duration::ZERO).unwrap().is_none() && world.sent().is_empty());
    first.send(Ok(token("first", 60))).unwrap();
    assert_eq!(name(tokens.token()), "first");
    assert_eq!(tokens.at_hand(Duration::from_secs(60)).unwrap().unwrap().expose(), "first");
    assert!(tokens.at_hand(Duration::from_secs(61)).unwrap().is_none());
    // A request is sent although there is a token, and although a backoff is in effect.
    second.send(Err(Error::new(ErrorKind::Unreachable, "no network"))).unwrap();
    assert_eq!(tokens.renew().unwrap_err().to_string(), "no network");
    assert_eq!(tokens.last_failure().unwrap().to_string(), "no network");
    assert_eq!(name(tokens.token()), "first");
    third.send(Ok(token("third", 60))).unwrap();
    assert_eq!(name(tokens.renew()), "third");
    assert!(tokens.last_failure().is_none());
    assert_eq!(name(tokens.token()), "third");
    // As a token source, through an `Arc` too.
    let source: Arc<dyn TokenSource + Send + Sync> = Arc::new(tokens);
    let token_now = source.token().unwrap();
    assert!(source.invalidate(&token_now));
    fourth.send(Ok(token("fourth", 60))).unwrap();
    assert_eq!(name(source.token()), "fourth");
    // A source without another token says so.
    assert!(!AccessToken::bearer("fixed").unwrap().invalidate(&token_now));
    let closure: &dyn TokenSource = &|| AccessToken::bearer("made");
    assert!(!closure.invalidate(&token_now));
}
