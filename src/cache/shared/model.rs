//! The lock of [`SharedTokenCache`], explored with loom: each test runs once for every order in which its threads can
//! take the lock, wait and wake. A thread that is never woken fails the test as a deadlock.
//!
//! `RUSTFLAGS='--cfg loom' cargo test --release --no-default-features --features std --lib cache::shared::`

use super::SharedTokenCache;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::file::schedule::{SCHEDULER, Scheduler};
use crate::grant::Grant;
use crate::request::Request;
use crate::token::AccessToken;
use crate::transport::Response;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use loom::thread::{self, JoinHandle};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

trait Server: Fn(usize) -> Result<Response, Error> + Send + Sync + 'static {}
impl<F: Fn(usize) -> Result<Response, Error> + Send + Sync + 'static> Server for F {}

/// A cache, and the number of requests to its server. The threads interact only through the lock, so loom must know
/// only that: the count is an ordinary atomic.
#[derive(Clone)]
struct Model {
    cache: Arc<SharedTokenCache>,
    requests: Arc<AtomicUsize>,
    seconds: Arc<AtomicUsize>,
}

impl Model {
    /// Creates a model whose server answers the n-th request for a token, counted from 1, with `server`.
    fn new(server: impl Server) -> Self {
        Self::with(server, |cache| cache)
    }

    /// Like `new`, but no thread waits, because half of a zero timeout has passed at once. loom has no clock, so
    /// threads give up in this way.
    fn impatient(server: impl Server) -> Self {
        Self::build(server, |cache| cache, Duration::ZERO)
    }

    fn with(server: impl Server, change: fn(SharedTokenCache) -> SharedTokenCache) -> Self {
        Self::build(server, change, Duration::from_secs(3600))
    }

    fn build(server: impl Server, change: fn(SharedTokenCache) -> SharedTokenCache, timeout: Duration) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        let send = move |request: &Request| match request.method() {
            "DELETE" => Ok(Response::new(204, *b"")),
            _ => {
                // Lets the other threads run while the request is under way.
                thread::yield_now();
                server(count.fetch_add(1, Ordering::Relaxed) + 1)
            }
        };
        let endpoint = Endpoint::dialect(crate::Dialect::BearerSession, "https://as.example/session").unwrap();
        let seconds = Arc::new(AtomicUsize::new(1000));
        let time = seconds.clone();
        let clock = move || Duration::from_secs(time.load(Ordering::Relaxed) as u64);
        let client = Client::with_parts(endpoint, send, clock).timeout(timeout);
        let cache = Arc::new(change(SharedTokenCache::new(client, Grant::bearer_session(crate::Secret::from("own")))));
        Self { cache, requests, seconds }
    }

    /// Like `new`, but the cache holds `t1`, which is valid and due to be renewed.
    fn due(server: impl Server) -> Self {
        let model = Self::new(server);
        assert_eq!(ask(&model.cache), token_named("t1"));
        model.seconds.fetch_add(3590, Ordering::Relaxed);
        model
    }

    fn spawn<T: 'static>(&self, work: impl FnOnce(&SharedTokenCache) -> T + 'static) -> JoinHandle<T> {
        let cache = self.cache.clone();
        thread::spawn(move || work(&cache))
    }

    /// Starts threads that ask for a token. Each returns its outcome.
    fn ask(&self, threads: usize) -> Vec<JoinHandle<Outcome>> {
        (0..threads).map(|_| self.spawn(ask)).collect()
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The outcome of a call: a token's text, an error, or a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Token(String),
    Error(ErrorKind),
    Panic,
}

fn ask(cache: &SharedTokenCache) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| cache.token())) {
        Ok(Ok(token)) => token_named(token.expose()),
        Ok(Err(error)) => Outcome::Error(error.kind()),
        Err(_) => Outcome::Panic,
    }
}

fn token_named(name: &str) -> Outcome {
    Outcome::Token(name.to_string())
}

fn joined<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Issues a token. The n-th is called `t‹n›`.
fn issues(number: usize) -> Result<Response, Error> {
    Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)))
}

fn first_fails(number: usize) -> Result<Response, Error> {
    match number {
        1 => Err(Error::new(ErrorKind::Unreachable, "no network")),
        _ => issues(number),
    }
}

fn first_panics(number: usize) -> Result<Response, Error> {
    match number {
        // Without the panic hook, which would print the panic for each order.
        1 => resume_unwind(Box::new("the transport panics")),
        _ => issues(number),
    }
}

fn second_panics(number: usize) -> Result<Response, Error> {
    match number {
        2 => resume_unwind(Box::new("the transport panics")),
        _ => issues(number),
    }
}

#[test]
fn three_threads_cause_one_request() {
    loom::model(|| {
        let model = Model::new(issues);
        let threads = model.ask(2);
        assert_eq!(ask(&model.cache), token_named("t1"));
        for outcome in joined(threads) {
            assert_eq!(outcome, token_named("t1"));
        }
        assert_eq!(model.requests(), 1);
    });
}

#[test]
fn while_one_renews_the_others_get_what_is_valid() {
    loom::model(|| {
        let model = Model::due(issues);
        let threads = model.ask(2);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        assert!(outcomes.contains(&token_named("t2")), "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| [token_named("t1"), token_named("t2")].contains(outcome)));
        assert_eq!(model.requests(), 2);
    });
}

/// Ends the wait for a backoff at once, on the model's clock. All of loom's threads are coroutines of one thread.
struct Skip(Arc<AtomicUsize>);

impl Scheduler for Skip {
    fn own_number(&self) -> u32 {
        0
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn point(&self) {}
}

/// Tries the interleavings with at most three preemptions: two requests side by side have too many to try all of them.
fn with_few_preemptions(model: impl Fn() + Send + Sync + 'static) {
    let mut models = loom::model::Builder::new();
    models.preemption_bound = Some(3);
    models.check(model);
}

/// Runs three threads; those that arrive after the failure get it too.
fn three_after_a_failure(server: impl Server + Copy, check: impl Fn(usize, usize) + Send + Sync + 'static) {
    with_few_preemptions(move || {
        let model = Model::new(server);
        SCHEDULER.set(Some(Rc::new(Skip(model.seconds.clone()))));
        let threads = model.ask(2);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        let tokens = outcomes.iter().filter(|outcome| **outcome == token_named("t2")).count();
        let errors = outcomes.iter().filter(|outcome| **outcome == Outcome::Error(ErrorKind::Unreachable)).count();
        assert_eq!(tokens + errors, 3, "{outcomes:?}");
        check(tokens, model.requests());
        SCHEDULER.set(None);
    });
}

#[test]
fn after_a_lost_answer_one_of_those_who_wait_asks_again() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    three_after_a_failure(first_fails, move |tokens, requests| {
        // The sender of the first request gets the token too, if it arrives before the sender returns.
        assert!((tokens, requests) == (0, 1) || (1..=3).contains(&tokens) && requests == 2, "{tokens} {requests}");
        seen.fetch_max(tokens, Ordering::Relaxed);
    });
    assert!(most.load(Ordering::Relaxed) >= 2, "all who wait get the token");
}

#[test]
fn a_second_lost_answer_is_the_outcome_of_those_who_wait_and_no_more_requests_follow() {
    three_after_a_failure(
        |_| Err(Error::new(ErrorKind::Unreachable, "no network")),
        |tokens, requests| assert!(tokens == 0 && (1..3).contains(&requests), "{tokens} {requests}"),
    );
}

#[test]
fn requests_side_by_side_leave_one_of_their_tokens() {
    with_few_preemptions(|| {
        let model = Model::impatient(issues);
        let threads = model.ask(1);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        assert!(outcomes.iter().all(|outcome| [token_named("t1"), token_named("t2")].contains(outcome)));
        assert!(model.requests() <= 2);
        let requests = model.requests();
        assert!([token_named("t1"), token_named("t2")].contains(&ask(&model.cache)));
        assert_eq!(model.requests(), requests, "a token is held");
    });
}

#[test]
fn a_failure_during_a_success_does_not_remove_the_token() {
    with_few_preemptions(|| {
        let model = Model::impatient(first_fails);
        let threads = model.ask(1);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        let expected = [Outcome::Error(ErrorKind::Unreachable), token_named("t2")];
        assert!(outcomes.iter().all(|outcome| expected.contains(outcome)), "{outcomes:?}");
        if model.requests() == 2 {
            // The second token arrived at the same moment of the clock, so the failure may be recorded last; but the
            // token is kept.
            assert_eq!(ask(&model.cache), token_named("t2"));
        }
    });
}

#[test]
fn a_panic_while_asking_leaves_nobody_behind() {
    loom::model(|| {
        let model = Model::new(first_panics);
        let threads = model.ask(2);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        let panics = outcomes.iter().filter(|outcome| **outcome == Outcome::Panic).count();
        let tokens = outcomes.iter().filter(|outcome| **outcome == token_named("t2")).count();
        assert_eq!((panics, tokens, model.requests()), (1, 2, 2), "{outcomes:?}");
        assert_eq!(ask(&model.cache), token_named("t2"));
    });
}

#[test]
fn a_panic_of_a_hook_leaves_nobody_behind() {
    loom::model(|| {
        let server =
            |number| Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","refresh_token":"r{number}"}}"#)));
        let model = Model::with(server, |cache| {
            let is_first = AtomicBool::new(true);
            cache.on_new_refresh_token(move |_| match is_first.swap(false, Ordering::Relaxed) {
                true => resume_unwind(Box::new("the hook panics")),
                false => Ok(()),
            })
        });
        let threads = model.ask(1);
        let mut outcomes = Vec::from([ask(&model.cache)]);
        outcomes.extend(joined(threads));
        // The tokens that arrived are not lost: the other thread has the hook store them, without a request.
        assert!(outcomes.contains(&Outcome::Panic) && outcomes.contains(&token_named("t1")), "{outcomes:?}");
        assert_eq!(model.requests(), 1);
    });
}

#[test]
fn threads_that_were_refused_with_the_same_token_cause_one_request() {
    loom::model(|| {
        let model = Model::new(issues);
        let stale = model.cache.token().unwrap();
        let refused = |stale: AccessToken| {
            move |cache: &SharedTokenCache| {
                assert!(cache.invalidate(&stale));
                ask(cache)
            }
        };
        let threads = Vec::from([stale.clone(), stale.clone()].map(|stale| model.spawn(refused(stale))));
        assert_eq!(refused(stale)(&model.cache), token_named("t2"));
        for outcome in joined(threads) {
            assert_eq!(outcome, token_named("t2"));
        }
        assert_eq!(model.requests(), 2);
        let fresh = model.cache.token().unwrap();
        assert!(!model.cache.invalidate(&fresh), "a second refusal is final");
    });
}

#[test]
fn a_panic_after_a_refusal_leaves_nobody_behind() {
    loom::model(|| {
        let model = Model::new(second_panics);
        let stale = model.cache.token().unwrap();
        let threads = Vec::from([stale.clone(), stale].map(|stale| {
            model.spawn(move |cache| {
                assert!(cache.invalidate(&stale));
                ask(cache)
            })
        }));
        let outcomes = joined(threads);
        assert!(outcomes.contains(&Outcome::Panic) && outcomes.contains(&token_named("t3")), "{outcomes:?}");
        assert_eq!(model.requests(), 3);
    });
}

#[test]
fn a_token_that_arrives_after_a_revocation_is_not_kept() {
    loom::model(|| {
        // 0: no revocation yet; 1: it begins; 2: it is done. An atomic of loom's, so that loom also tries a later
        // begin.
        let stage = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let is_within = Arc::new(AtomicBool::new(false));
        let (seen, within) = (stage.clone(), is_within.clone());
        let model = Model::new(move |number| {
            let before = seen.load(Ordering::SeqCst);
            within.fetch_or(before == 0 && seen.load(Ordering::SeqCst) == 2, Ordering::Relaxed);
            issues(number)
        });
        let asking = model.ask(1);
        stage.store(1, Ordering::SeqCst);
        model.cache.revoke().unwrap();
        stage.store(2, Ordering::SeqCst);
        assert_eq!(joined(asking), [token_named("t1")]);
        let again = ask(&model.cache);
        if is_within.load(Ordering::Relaxed) {
            assert_eq!((again, model.requests()), (token_named("t2"), 2));
        } else {
            assert!([token_named("t1"), token_named("t2")].contains(&again), "{again:?}");
        }
    });
}

#[test]
fn a_revocation_among_threads_that_wait() {
    loom::model(|| {
        let model = Model::new(issues);
        let asking = model.ask(2);
        model.cache.revoke().unwrap();
        for outcome in joined(asking) {
            assert!([token_named("t1"), token_named("t2")].contains(&outcome), "{outcome:?}");
        }
        assert!(model.requests() <= 2);
    });
}

#[test]
fn a_token_revoked_before_its_renewal_failed_is_not_handed_out() {
    loom::model(|| {
        let (revoked, failed_after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_revoked, is_after) = (revoked.clone(), failed_after.clone());
        let model = Model::due(move |number| {
            is_after.store(is_revoked.load(Ordering::Relaxed), Ordering::Relaxed);
            if number == 2 { Err(Error::new(ErrorKind::Unreachable, "no network")) } else { issues(number) }
        });
        let asking = model.ask(1);
        model.cache.revoke().unwrap();
        revoked.store(true, Ordering::Relaxed);
        let outcomes = joined(asking);
        if failed_after.load(Ordering::Relaxed) {
            assert_eq!(outcomes, [Outcome::Error(ErrorKind::Unreachable)]);
        }
        assert_eq!(model.requests(), 2);
    });
}
