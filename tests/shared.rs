//! The cache for threads, on a virtual clock and with a server that answers when the test says: one request at a time, no
//! stuck thread, no revoked token that comes back.

#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Client, Endpoint, Error, ErrorKind, Grant, Request, Response, Secret, SharedTokenCache, TokenSource,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::Instant;

const URL: &str = "https://as.example/session";

/// No test waits longer than this for a thread that is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the server does about a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Issues a token of this life; the n-th request's is called `t‹n›`.
    Token(u64),
    /// The same, with the refresh token `r‹n›`.
    Refreshable(u64),
    Unreachable,
    /// This status, with a `Retry-After` of 5 s.
    Status(u16),
    Panics,
}

/// A cache on a virtual clock, whose server waits for the test to say what it answers.
struct World {
    cache: SharedTokenCache,
    outside: Arc<Outside>,
    answers: Sender<Answer>,
}

struct Outside {
    seconds: AtomicU64,
    clock_panics: AtomicUsize,
    /// The threads that have read the clock. That happens under the lock, so during a request a thread that has read the
    /// clock and not returned is waiting: only then is the lock free.
    readers: Mutex<HashSet<ThreadId>>,
    is_watching: AtomicUsize,
    /// Requests for a token, and revocations.
    requests: AtomicUsize,
    revocations: AtomicUsize,
    next: Mutex<Receiver<Answer>>,
}

impl World {
    fn new() -> Self {
        Self::with(|cache| cache)
    }

    fn with(change: impl FnOnce(SharedTokenCache) -> SharedTokenCache) -> Self {
        Self::build(change, |client| client)
    }

    fn build(change: impl FnOnce(SharedTokenCache) -> SharedTokenCache, set: impl FnOnce(Client) -> Client) -> Self {
        let (answers, next) = channel();
        let outside = Arc::new(Outside {
            seconds: AtomicU64::new(1000),
            clock_panics: AtomicUsize::new(0),
            readers: Mutex::default(),
            is_watching: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            revocations: AtomicUsize::new(0),
            next: Mutex::new(next),
        });
        let (server, clock) = (outside.clone(), outside.clone());
        let endpoint = Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap();
        let client = Client::with_parts(endpoint, move |request: &Request| server.answer(request), move || clock.now());
        let cache =
            change(SharedTokenCache::new(set(client), Grant::bearer_session(keyfob::SecretSource::value("own"))));
        Self { cache, outside, answers }
    }

    /// A world whose cache has fetched a first token of this life, `t1`.
    fn holding(seconds: u64) -> (Self, AccessToken) {
        let world = Self::new();
        world.answer(Answer::Token(seconds));
        let token = world.cache.token().unwrap();
        assert_eq!((token.expose(), world.requests()), ("t1", 1));
        (world, token)
    }

    /// The server's answer to one request, present or future.
    fn answer(&self, answer: Answer) {
        self.answers.send(answer).unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.outside.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.outside.requests.load(Ordering::SeqCst)
    }

    /// Waits until the server has received this many requests.
    fn until_asked(&self, times: usize) {
        until(|| self.requests() >= times, "no request came");
    }

    /// Starts to record which threads read the clock.
    fn watch_readers(&self) {
        self.outside.readers.lock().unwrap().clear();
        self.outside.is_watching.store(1, Ordering::SeqCst);
    }

    /// Waits until this many threads have asked.
    fn until_readers(&self, count: usize) {
        until(|| self.outside.readers.lock().unwrap().len() >= count, "a thread did not ask");
    }

    /// Returns the token of a call, if it succeeds.
    fn name(&self) -> String {
        self.cache.token().unwrap().expose().to_owned()
    }
}

impl Outside {
    fn now(&self) -> Duration {
        if self.clock_panics.load(Ordering::SeqCst) > 0 {
            self.clock_panics.fetch_sub(1, Ordering::SeqCst);
            panic!("the clock panics");
        }
        if self.is_watching.load(Ordering::SeqCst) == 1 {
            self.readers.lock().unwrap().insert(thread::current().id());
        }
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn answer(&self, request: &Request) -> Result<Response, Error> {
        if request.method() == "DELETE" {
            self.revocations.fetch_add(1, Ordering::SeqCst);
            return Ok(Response::new(204, *b""));
        }
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let next = self.next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let answer = next.recv_timeout(PATIENCE).expect("the test says what the server answers");
        drop(next);
        match answer {
            Answer::Token(life) => {
                Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":{life}}}"#)))
            }
            Answer::Refreshable(life) => {
                let body = format!(r#"{{"access_token":"t{number}","refresh_token":"r{number}","expires_in":{life}}}"#);
                Ok(Response::new(200, body))
            }
            Answer::Unreachable => Err(Error::new(ErrorKind::Unreachable, "no network")),
            Answer::Status(status) => Ok(Response::new(status, *b"").with_header("retry-after", "5")),
            Answer::Panics => panic!("the transport panics"),
        }
    }
}

#[track_caller]
fn until(is_so: impl Fn() -> bool, otherwise: &str) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{otherwise}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_thousand_threads_that_ask_for_an_expired_token_cause_one_request() {
    const THREADS: usize = 1000;
    let (world, _) = World::holding(3600);
    world.pass(3600);
    world.watch_readers();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        let ask = || {
            start.wait();
            let token = world.cache.token().unwrap();
            assert_eq!(token.remaining(Duration::from_secs(4600)), Some(Duration::from_secs(3600)));
            token.expose().to_owned()
        };
        let small = || thread::Builder::new().stack_size(128 * 1024);
        let threads: Vec<_> = (0..THREADS).map(|_| small().spawn_scoped(scope, ask).unwrap()).collect();
        // All of them are there before the server answers.
        world.until_readers(THREADS);
        world.answer(Answer::Token(3600));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), "t2");
        }
    });
    assert_eq!((world.requests(), world.name().as_str()), (2, "t2"));
}

#[test]
fn while_one_renews_the_others_get_the_token_that_is_still_valid() {
    let (world, _) = World::holding(3600);
    world.pass(3590);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.name());
        world.until_asked(2);
        for _ in 0..100 {
            assert_eq!(world.name(), "t1");
        }
        // Once it has expired, they wait.
        world.pass(10);
        world.watch_readers();
        let waiting = scope.spawn(|| world.name());
        world.until_readers(1);
        world.answer(Answer::Token(3600));
        assert_eq!((renewing.join().unwrap().as_str(), waiting.join().unwrap().as_str()), ("t2", "t2"));
    });
    assert_eq!((world.requests(), world.name().as_str()), (2, "t2"));
}

#[test]
fn a_failed_renewal_does_not_remove_a_valid_token() {
    let (world, _) = World::holding(3600);
    world.pass(3500);
    world.answer(Answer::Unreachable);
    assert_eq!((world.name().as_str(), world.requests()), ("t1", 2));
    // Nor is it tried again at once.
    assert_eq!((world.name().as_str(), world.requests()), ("t1", 2));
    world.pass(99);
    world.answer(Answer::Token(3600));
    assert_eq!((world.name().as_str(), world.requests()), ("t3", 3));
}

/// A refusal and a wait that the server asks for are told to all. The first lost answer is told to the thread that asked, and
/// one of the others asks again after the backoff; a second one is told to all.
#[test]
fn waiting_threads_get_the_failure_unless_it_is_the_first_lost_answer() {
    const THREADS: usize = 100;
    for (answers, requests, tokens, kind) in [
        ([Answer::Status(401), Answer::Panics], 1, 0, ErrorKind::Refused),
        ([Answer::Status(503), Answer::Panics], 1, 0, ErrorKind::Wait),
        ([Answer::Unreachable, Answer::Token(3600)], 2, THREADS - 1, ErrorKind::Unreachable),
        ([Answer::Unreachable, Answer::Unreachable], 2, 0, ErrorKind::Unreachable),
        ([Answer::Unreachable, Answer::Status(401)], 2, 0, ErrorKind::Refused),
    ] {
        let world = World::new();
        world.watch_readers();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| world.cache.token())).collect();
            world.until_readers(THREADS);
            world.answer(answers[0]);
            until(|| world.cache.last_failure().is_some(), "no failure");
            // Nobody asks before the backoff has passed.
            thread::sleep(Duration::from_millis(20));
            assert_eq!(world.requests(), 1, "{kind:?}");
            world.pass(1);
            world.answer(answers[1]);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(world.requests(), requests, "{kind:?}");
        assert_eq!(outcomes.iter().flatten().filter(|token| token.expose() == "t2").count(), tokens, "{kind:?}");
        let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), THREADS - tokens, "{kind:?}");
        // The thread that sent the first request gets the failure of that one.
        let first = errors.iter().filter(|error| error.kind() != kind).count();
        assert_eq!(first, usize::from(kind == ErrorKind::Refused && requests == 2), "{kind:?}");
    }
}

#[test]
fn a_later_caller_gets_the_failure_and_when_to_try_again() {
    let world = World::new();
    world.answer(Answer::Unreachable);
    assert_eq!(world.cache.token().unwrap_err().to_string(), "no network");
    let error = world.cache.token().unwrap_err();
    assert_eq!((error.kind(), world.requests()), (ErrorKind::Unreachable, 1));
    assert_eq!(error.to_string(), "no network; not asked again for 1 s");
    assert!(error.retry_after().unwrap() <= Duration::from_secs(1));
    world.pass(1);
    world.answer(Answer::Token(3600));
    assert_eq!(world.name(), "t2");
}

#[test]
fn a_thread_that_waits_for_a_forced_renewal_asks_again_after_a_lost_answer() {
    let world = World::new();
    thread::scope(|scope| {
        let asking = scope.spawn(|| world.cache.renew());
        world.until_asked(1);
        let waiting = scope.spawn(|| world.cache.renew());
        // It reads no clock, so nothing shows that it waits.
        thread::sleep(Duration::from_millis(100));
        world.answer(Answer::Unreachable);
        world.answer(Answer::Token(3600));
        assert_eq!(asking.join().unwrap().unwrap_err().to_string(), "no network");
        assert_eq!(waiting.join().unwrap().unwrap().expose(), "t2");
    });
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_thread_whose_time_ends_before_the_backoff_gets_the_failure() {
    let world = World::build(|cache| cache, |client| client.timeout(Duration::from_millis(400)));
    world.watch_readers();
    thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| world.cache.token().unwrap_err()));
        world.until_readers(3);
        world.answer(Answer::Unreachable);
        for thread in threads {
            let error = thread.join().unwrap();
            assert!(error.to_string().starts_with("no network"), "{error}");
        }
    });
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_lost_answer_to_a_grant_for_one_use_is_told_to_all_who_wait() {
    let requests = Arc::new(AtomicUsize::new(0));
    let (go, gate) = channel::<()>();
    let (count, gate) = (requests.clone(), Mutex::new(gate));
    let send = move |_: &Request| {
        count.fetch_add(1, Ordering::SeqCst);
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Err::<Response, _>(Error::new(ErrorKind::Unreachable, "no network"))
    };
    let client = Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, || Duration::ZERO);
    let cache = SharedTokenCache::new(client, Grant::refresh_token(Secret::from("r1")));
    thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| cache.token().unwrap_err()));
        until(|| requests.load(Ordering::SeqCst) == 1, "no request came");
        thread::sleep(Duration::from_millis(100));
        go.send(()).unwrap();
        for thread in threads {
            assert!(thread.join().unwrap().to_string().starts_with("no network"));
        }
    });
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_of_the_transport_leaves_nobody_stuck() {
    const THREADS: usize = 50;
    let world = World::new();
    world.watch_readers();
    thread::scope(|scope| {
        let ask = || catch_unwind(AssertUnwindSafe(|| world.name())).ok();
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        world.until_readers(THREADS);
        // The next of them asks instead.
        world.answer(Answer::Panics);
        world.until_asked(2);
        world.answer(Answer::Token(3600));
        let names: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(names.iter().filter(|name| name.is_none()).count(), 1);
        assert!(names.iter().flatten().all(|name| name == "t2"), "{names:?}");
    });
    assert_eq!((world.requests(), world.name().as_str()), (2, "t2"));
}

#[test]
fn a_panic_of_the_hook_leaves_nobody_stuck() {
    let panics = Arc::new(AtomicUsize::new(1));
    let left = panics.clone();
    let world = World::with(|cache| {
        cache.on_new_refresh_token(move |_: &Secret| {
            if left.load(Ordering::SeqCst) > 0 {
                left.fetch_sub(1, Ordering::SeqCst);
                panic!("the hook panics");
            }
            Ok(())
        })
    });
    world.watch_readers();
    thread::scope(|scope| {
        let ask = || catch_unwind(AssertUnwindSafe(|| world.name())).ok();
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(ask)).collect();
        world.until_readers(10);
        world.answer(Answer::Refreshable(3600));
        world.answer(Answer::Refreshable(3600));
        let names: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(names.iter().filter(|name| name.is_none()).count(), 1);
        let first = names.iter().flatten().next().unwrap();
        assert!(names.iter().flatten().all(|name| name == first), "{names:?}");
    });
    assert!(world.cache.token().is_ok());
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}

#[test]
fn a_panic_of_the_clock_under_the_lock_poisons_nothing() {
    let (world, token) = World::holding(3600);
    world.outside.clock_panics.store(1, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| world.cache.token())).is_err());
    assert_eq!((world.name().as_str(), world.requests()), ("t1", 1));
    assert!(world.cache.invalidate(&token));
    world.answer(Answer::Token(3600));
    assert_eq!(world.name(), "t2");
}

#[test]
fn the_hook_runs_without_the_lock_and_before_the_token_is_handed_out() {
    let (reached, at_hook) = channel();
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let world = World::with(|cache| {
        cache.on_new_refresh_token(move |secret: &Secret| {
            reached.send(secret.expose().to_owned()).unwrap();
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Ok(())
        })
    });
    world.answer(Answer::Refreshable(3600));
    go.send(()).unwrap();
    assert_eq!((world.name().as_str(), at_hook.recv().unwrap().as_str()), ("t1", "r1"));
    world.pass(3590);
    world.answer(Answer::Refreshable(3600));
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.name());
        assert_eq!(at_hook.recv_timeout(PATIENCE).unwrap(), "r2");
        // The new token is there, but not stored yet: the old one is handed out, and the lock is free for that.
        assert_eq!(world.name(), "t1");
        go.send(()).unwrap();
        assert_eq!(renewing.join().unwrap(), "t2");
    });
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_hundred_threads_refused_with_the_same_token_cause_one_request() {
    const THREADS: usize = 100;
    let (world, stale) = World::holding(3600);
    let start = Barrier::new(THREADS);
    world.answer(Answer::Token(3600));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                assert!(world.cache.invalidate(&stale));
                assert_eq!(world.name(), "t2");
            });
        }
    });
    assert_eq!(world.requests(), 2);

    // A second refusal, with the fresh one, is final: for each of them, and the token stays.
    let fresh = world.cache.token().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| assert!(!world.cache.invalidate(&fresh)));
        }
    });
    assert_eq!((world.name().as_str(), world.requests()), ("t2", 2));
    // A thread that still has the stale token should try the fresh one.
    assert!(world.cache.invalidate(&stale));
    assert_eq!((world.name().as_str(), world.requests()), ("t2", 2));
    // Later it is as good as any other that was refused.
    world.pass(60);
    assert!(world.cache.invalidate(&fresh));
    world.answer(Answer::Token(3600));
    assert_eq!((world.name().as_str(), world.requests()), ("t3", 3));
}

#[test]
fn a_token_refused_during_its_renewal_is_not_handed_out_meanwhile() {
    let (world, stale) = World::holding(3600);
    world.pass(3590);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.name());
        world.until_asked(2);
        assert!(world.cache.invalidate(&stale));
        world.watch_readers();
        let waiting = scope.spawn(|| world.name());
        world.until_readers(1);
        world.answer(Answer::Token(3600));
        assert_eq!((renewing.join().unwrap().as_str(), waiting.join().unwrap().as_str()), ("t2", "t2"));
    });
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_revocation_during_a_request_does_not_resurrect_the_token() {
    let (world, first) = World::holding(3600);
    world.pass(3590);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.name());
        world.until_asked(2);
        world.cache.revoke().unwrap();
        assert!(first.authorization().is_err(), "it was ended");
        world.watch_readers();
        let waiting = scope.spawn(|| world.name());
        world.until_readers(1);
        world.answer(Answer::Token(3600));
        // Both asked for it, and get it; it is not kept.
        assert_eq!((renewing.join().unwrap().as_str(), waiting.join().unwrap().as_str()), ("t2", "t2"));
    });
    assert_eq!((world.requests(), world.outside.revocations.load(Ordering::SeqCst)), (2, 1));
    world.answer(Answer::Token(3600));
    assert_eq!((world.name().as_str(), world.requests()), ("t3", 3));
}

#[test]
fn a_revoked_token_is_not_the_answer_to_a_renewal_that_failed() {
    let (world, _) = World::holding(3600);
    world.pass(3590);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.cache.token());
        world.until_asked(2);
        world.cache.revoke().unwrap();
        world.answer(Answer::Unreachable);
        let error = renewing.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    });
}

#[test]
fn a_hit_allocates_nothing_and_waits_for_no_request() {
    let (world, _) = World::holding(3600);
    let count = || {
        let before = ALLOCATIONS.get();
        let token = world.cache.token().unwrap();
        let header = token.authorization().unwrap();
        assert_eq!(header.expose(), "Bearer t1");
        ALLOCATIONS.get() - before
    };
    assert_eq!(count(), 0);
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(String::from("counted")));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the count works");
    // The same while another thread renews: the server does not answer before this has ended.
    world.pass(3590);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| world.name());
        world.until_asked(2);
        assert_eq!(count(), 0);
        world.answer(Answer::Token(3600));
        assert_eq!(renewing.join().unwrap(), "t2");
    });
}

#[test]
fn each_waiting_thread_has_its_own_minimum_life() {
    let (world, _) = World::holding(60);
    world.pass(60);
    world.watch_readers();
    thread::scope(|scope| {
        let asking = [0, 30, 60, 61, 100].map(|least| {
            let world = &world;
            (least, scope.spawn(move || world.cache.token_valid_for(Duration::from_secs(least))))
        });
        world.until_readers(5);
        world.answer(Answer::Token(60));
        for (least, thread) in asking {
            match thread.join().unwrap() {
                Ok(token) => assert_eq!((token.expose(), least <= 60), ("t2", true), "{least}"),
                Err(error) => assert_eq!((error.kind(), least > 60), (ErrorKind::Unusable, true), "{least}"),
            }
        }
    });
    assert_eq!(world.requests(), 2);
    // A fresh one would live no longer, so no request is sent.
    assert_eq!(world.cache.token_valid_for(Duration::from_secs(61)).unwrap_err().kind(), ErrorKind::Unusable);
    assert_eq!(world.requests(), 2);
    // A fresh one would live long enough: while it is fetched, callers that need less get the current one.
    world.pass(20);
    thread::scope(|scope| {
        let asking = scope.spawn(|| world.cache.token_valid_for(Duration::from_secs(50)).unwrap());
        world.until_asked(3);
        assert_eq!(world.name(), "t2");
        world.answer(Answer::Token(60));
        assert_eq!(asking.join().unwrap().expose(), "t3");
    });
    assert_eq!((world.name().as_str(), world.requests()), ("t3", 3));
}

#[test]
fn a_shared_cache_can_be_a_static() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    static TOKENS: LazyLock<SharedTokenCache> = LazyLock::new(|| {
        let send = |_: &Request| {
            REQUESTS.fetch_add(1, Ordering::SeqCst);
            Ok(Response::new(200, *br#"{"access_token":"static","expires_in":60}"#))
        };
        let endpoint = Endpoint::new("https://as.example/token").unwrap();
        SharedTokenCache::new(Client::with_parts(endpoint, send, || Duration::ZERO), Grant::client_credentials())
    });
    let threads = [(); 8].map(|()| thread::spawn(|| TOKENS.token().unwrap().expose().to_owned()));
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "static");
    }
    assert_eq!(REQUESTS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_shared_cache_is_send_and_sync_and_a_token_source() {
    fn shared<T: Send + Sync + 'static>() {}
    fn header(tokens: &dyn TokenSource) -> Result<String, Error> {
        Ok(tokens.token()?.authorization()?.expose().to_owned())
    }
    shared::<SharedTokenCache>();
    let (world, _) = World::holding(3600);
    assert_eq!(header(&world.cache).unwrap(), "Bearer t1");
    assert_eq!(header(&|| world.cache.token()).unwrap(), "Bearer t1");
    let shown = format!("{:?}", world.cache);
    assert!(shown.starts_with("SharedTokenCache { client: Client {") && !shown.contains("own"), "{shown}");
}
