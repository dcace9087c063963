//! Processes that share a store, played by caches with their own clocks and servers. Tokens and refusals of one are known to
//! the others, and no process gets the token of another request. Real processes are in `processes.rs`.

#![cfg(all(feature = "std", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    Client, Endpoint, Error, ErrorKind, Grant, Request, Response, Secret, SecretSource, SharedTokenCache, Store,
    TokenCache, Transport,
};
use std::fs::{DirBuilder, read_dir};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

const URL: &str = "https://as.example/token";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A directory that is removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("store-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        Store::at(self.0.join("store")).unwrap()
    }

    /// A file with a refresh token.
    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("refresh-token");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// All that the store's files hold.
    fn content(&self) -> String {
        let files = read_dir(self.0.join("store")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.extension().is_some()).map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A transport that names its route, so that failures on the way are shared.
struct By<T>(Option<&'static str>, T);

impl<T: Transport> Transport for By<T> {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        self.1.send(request)
    }

    fn route(&self, _: &str) -> Option<Secret> {
        self.0.map(Secret::from)
    }
}

/// The clock, and a server that answers each request with the next of its answers, and from the last on with that one. `#` is
/// replaced by the request's number.
#[derive(Default)]
struct World {
    seconds: AtomicU32, // some processors have no AtomicU64
    answers: Mutex<Vec<Result<String, ErrorKind>>>,
    sent: Mutex<Vec<String>>,
}

impl World {
    fn answering(answers: &[&str]) -> Arc<Self> {
        let world = Self::default();
        world.pass(1000);
        world.then(answers);
        Arc::new(world)
    }

    fn then(&self, answers: &[&str]) {
        *self.answers.lock().unwrap() = answers.iter().map(|answer| Ok((*answer).to_owned())).rev().collect();
    }

    fn then_fails(&self, kind: ErrorKind) {
        *self.answers.lock().unwrap() = vec![Err(kind)];
    }

    fn pass(&self, seconds: u32) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The bodies that were sent since the last call.
    fn sent(&self) -> Vec<String> {
        core::mem::take(&mut self.sent.lock().unwrap())
    }

    fn client_at(self: &Arc<Self>, endpoint: Endpoint) -> Client {
        self.client_by(Some("direct"), endpoint)
    }

    fn client_by(self: &Arc<Self>, route: Option<&'static str>, endpoint: Endpoint) -> Client {
        let (server, clock) = (self.clone(), self.clone());
        let send = move |request: &Request| -> Result<Response, Error> {
            let body = String::from_utf8(request.body().unwrap_or_default().to_vec()).unwrap();
            let number = {
                let mut sent = server.sent.lock().unwrap();
                sent.push(body);
                sent.len()
            };
            let mut answers = server.answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
            let answer = answer.map_err(|kind| Error::new(kind, "it failed"))?;
            let (status, body) = answer.split_once(' ').unwrap();
            Ok(Response::new(status.parse().unwrap(), body.replace('#', &number.to_string())))
        };
        Client::with_parts(endpoint, By(route, send), move || s(clock.seconds.load(Ordering::SeqCst).into()))
    }

    fn client(self: &Arc<Self>) -> Client {
        self.client_at(Endpoint::new(URL).unwrap()).client_id("id").client_secret(keyfob::SecretSource::value("s3cret"))
    }

    /// Another process: it knows nothing but what is in the store.
    fn process(self: &Arc<Self>, directory: &Directory, grant: Grant) -> TokenCache {
        TokenCache::new(self.client(), grant).store(directory.store())
    }

    fn machine(self: &Arc<Self>, directory: &Directory) -> TokenCache {
        self.process(directory, Grant::client_credentials())
    }
}

const HOURLY: &str = r#"200 {"access_token":"a#","expires_in":3600}"#;
const REFRESHABLE: &str = r#"200 {"access_token":"a#","expires_in":3600,"refresh_token":"r#"}"#;

#[track_caller]
fn text(tokens: &mut TokenCache) -> String {
    tokens.token().unwrap().expose().to_owned()
}

#[test]
fn a_token_that_one_process_fetched_serves_the_next_until_it_expires() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let first = world.machine(&directory).token().unwrap();
    assert_eq!((first.expose(), first.is_stored()), ("a1", false));
    for seconds in [0, 1, 1700] {
        world.pass(seconds);
        let token = world.machine(&directory).token().unwrap();
        assert_eq!((token.expose(), token.is_stored(), token.lifetime()), ("a1", true, first.lifetime()));
    }
    assert_eq!(world.sent().len(), 1);
    // The server is gone, and the token is handed out to its last second, not longer.
    world.then_fails(ErrorKind::Unreachable);
    world.pass(1898);
    assert_eq!(text(&mut world.machine(&directory)), "a1");
    world.pass(1);
    let error = world.machine(&directory).token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[test]
fn what_is_forgotten_is_asked_for_again_and_the_server_is_not_told() {
    let directory = Directory::new();
    let world = World::answering(&[REFRESHABLE]);
    let mut tokens = world.machine(&directory);
    assert!(!tokens.forget().unwrap());
    assert_eq!(text(&mut tokens), "a1");
    assert!(world.machine(&directory).forget().unwrap(), "by another process");
    assert_eq!((directory.content(), text(&mut tokens)), (String::new(), "a1".to_owned()));
    assert!(tokens.forget().unwrap());
    assert!(!tokens.forget().unwrap());
    assert_eq!(text(&mut tokens), "a2");
    assert!(world.sent().iter().all(|body| body == "grant_type=client_credentials"), "not by the refresh token");
    tokens.forget().unwrap();
    // Of the server, and on the way to it.
    for answer in [Ok(r#"400 {"error":"invalid_client"}"#), Err(ErrorKind::Unreachable)] {
        world.pass(1);
        match answer {
            Ok(answer) => world.then(&[answer]),
            Err(kind) => world.then_fails(kind),
        }
        world.machine(&directory).token().unwrap_err();
        tokens.token().unwrap_err();
        assert_eq!(world.sent().len(), 1, "the failure is remembered");
        assert!(tokens.forget().unwrap());
        assert!(!world.machine(&directory).forget().unwrap());
        world.then(&[HOURLY]);
        assert!(tokens.token().is_ok());
        tokens.forget().unwrap();
        world.sent();
    }
    let unreadable = Grant::bearer_session(SecretSource::file("/nonexistent/secret"));
    assert_eq!(world.process(&directory, unreadable).forget().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn the_header_that_an_api_wants_comes_back_with_the_token() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let tokens = || {
        let endpoint = Endpoint::new(URL).unwrap().api_header("X-Auth: Basic {base64:api:{token}}").unwrap();
        let client = world.client_at(endpoint).client_id("id").client_secret(keyfob::SecretSource::value("s3cret"));
        TokenCache::new(client, Grant::client_credentials()).store(directory.store())
    };
    for is_stored in [false, true] {
        let token = tokens().token().unwrap();
        let (name, value) = token.header().unwrap();
        assert_eq!((name, value.expose(), token.expose()), ("X-Auth", "Basic YXBpOmEx", "a1"));
        assert_eq!(token.is_stored(), is_stored);
    }
}

#[test]
fn everything_that_came_with_a_token_is_stored_with_it() {
    let directory = Directory::new();
    let answer = r#"200 {"data":{"token":"a\"&=%/é"}}"#;
    assert!(World::answering(&[answer]).machine(&directory).token().is_err(), "no token, nothing is stored");

    let answer = r#"200 {"access_token":"a\"&=%+/","token_type":"bearer","expires_in":"3600","scope":"a b/é",
                    "refresh_token":"r &=%","session":{"id":"s&1","on":true}}"#;
    let endpoint = || Endpoint::new(URL).unwrap().keep_member("session.id").unwrap().keep_member("session").unwrap();
    let world = World::answering(&[answer]);
    let process = || {
        let client = world.client_at(endpoint()).client_id("id").client_secret(keyfob::SecretSource::value("s3cret"));
        TokenCache::new(client, Grant::client_credentials()).store(directory.store())
    };
    let (fetched, stored) = (process().token().unwrap(), process().token().unwrap());
    assert_eq!((fetched.is_stored(), stored.is_stored()), (false, true));
    for token in [fetched, stored] {
        assert_eq!(token.authorization().unwrap().expose(), "Bearer a\"&=%+/");
        assert_eq!((token.token_type(), token.scope()), (Some("bearer"), Some("a b/é")));
        assert_eq!(token.refresh_token().unwrap().expose(), "r &=%");
        assert_eq!(token.member("session.id").unwrap().expose(), "s&1");
        assert_eq!(token.member("session").unwrap().expose(), r#"{"id":"s&1","on":true}"#);
        assert_eq!(token.remaining(s(1000)), Some(s(3600)));
    }
    assert_eq!(world.sent().len(), 1);
    // A token of another type stays what it is.
    let world = World::answering(&[r#"200 {"access_token":"a","token_type":"mac","expires_in":60}"#]);
    let grant = || Grant::client_credentials().scope("mac");
    for _ in 0..2 {
        let token = world.process(&directory, grant()).token().unwrap();
        assert_eq!((token.expose(), token.token_type()), ("a", Some("mac")));
        assert!(token.authorization().is_err());
    }
}

#[test]
fn a_token_without_a_known_expiry_is_not_stored() {
    for answer in [r#"200 {"access_token":"unknown#"}"#, r#"200 {"access_token":"once#","expires_in":0}"#] {
        let directory = Directory::new();
        let world = World::answering(&[answer]);
        for _ in 0..2 {
            assert!(!world.machine(&directory).token().unwrap().is_stored());
            assert!(!directory.content().contains("token="), "{}", directory.content());
        }
        assert_eq!(world.sent().len(), 2);
    }
}

#[test]
fn a_different_request_has_a_different_file() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let endpoint = || Endpoint::new(URL).unwrap();
    let described = |member: &str| Endpoint::from_json(&format!(r#"{{"url": "{URL}", {member}}}"#)).unwrap();
    let basic = |endpoint: Endpoint| {
        world.client_at(endpoint).client_id("id").client_secret(keyfob::SecretSource::value("s3cret"))
    };
    let machine = Grant::client_credentials;
    let processes: Vec<(Client, Grant)> = vec![
        (basic(endpoint()), machine()),
        (basic(Endpoint::new("https://as.example/token?tenant=a").unwrap()), machine()),
        (basic(Endpoint::new("https://as.example/token?tenant=b").unwrap()), machine()),
        (basic(Endpoint::new("https://other.example/token").unwrap()), machine()),
        (
            world.client_at(endpoint()).client_id("other").client_secret(keyfob::SecretSource::value("s3cret")),
            machine(),
        ),
        (world.client_at(endpoint()).client_id("id").client_secret(keyfob::SecretSource::value("other")), machine()),
        (world.client_at(endpoint()).client_id("id"), machine()),
        (basic(endpoint().basic_raw(true)), machine()),
        (basic(endpoint().parameters(keyfob::Parameters::Json)), machine()),
        (basic(endpoint().parameter("audience", "a")), machine()),
        (basic(endpoint().parameter("audience", "b")), machine()),
        (basic(endpoint().secret_parameter("audience", keyfob::SecretSource::value("a"))), machine()),
        (basic(endpoint().secret_parameter("audience", keyfob::SecretSource::value("b"))), machine()),
        (basic(endpoint().header("X-Tenant", "a")), machine()),
        (basic(endpoint().secret_header("X-Tenant", keyfob::SecretSource::value("a"))), machine()),
        (basic(endpoint().secret_header("X-Tenant", keyfob::SecretSource::value("b"))), machine()),
        (basic(endpoint().variable("t", "a")), machine()),
        (basic(endpoint().variable("t", "b")), machine()),
        (basic(endpoint().secret_variable("t", keyfob::SecretSource::value("a"))), machine()),
        (basic(endpoint().secret_variable("t", keyfob::SecretSource::value("b"))), machine()),
        (basic(described(r#""param": {"a": "1"}"#)), machine()),
        (basic(described(r#""param": {"a": 1}"#)), machine()),
        (basic(described(r#""param": {"a": ["1"]}"#)), machine()),
        (basic(described(r#""refresh": false"#)), machine()),
        (basic(described(r#""refresh": {"method": "PUT"}"#)), machine()),
        (basic(described(r#""refresh": {"param": {"a": "1"}}"#)), machine()),
        (basic(described(r#""refresh": {"url": "https://as.example/r?a={t}"}"#)), machine()),
        (basic(described(r#""refresh": {"url": "https://as.example/r?b={t}"}"#)), machine()),
        (basic(endpoint().lifetime(keyfob::LifetimeRules::default().maximum(s(60)))), machine()),
        (basic(endpoint().keep_member("id").unwrap()), machine()),
        (basic(endpoint().refused_if("ok", "false").unwrap()), machine()),
        (basic(endpoint().refused_if("ok", "\"false\"").unwrap()), machine()),
        (basic(endpoint().refused_if("ok", r#"{"not": false}"#).unwrap()), machine()),
        (basic(endpoint().api_header("X-Token: {token}").unwrap()), machine()),
        (basic(endpoint().api_header("X-Token: t={token}").unwrap()), machine()),
        (basic(endpoint().lifetime(keyfob::LifetimeRules::default().jwt(true))), machine()),
        (basic(endpoint().members(keyfob::Members::default().expires_at("expires_at").unwrap())), machine()),
        (basic(endpoint().members(keyfob::Members::default().error("fault").unwrap())), machine()),
        (basic(endpoint()), machine().scope("a")),
        (basic(endpoint()), machine().scope("a b")),
        (basic(endpoint()), machine().parameter("audience", "c")),
        (basic(endpoint()), machine().secret_parameter("audience", keyfob::SecretSource::value("c"))),
        (basic(endpoint()), Grant::password("alice", keyfob::SecretSource::value("p"))),
        (basic(endpoint()), Grant::password("alice", keyfob::SecretSource::value("q"))),
        (basic(endpoint()), Grant::password("bob", keyfob::SecretSource::value("p"))),
        (basic(endpoint()), Grant::refresh_token(keyfob::SecretSource::value("p"))),
        (basic(endpoint()), Grant::refresh_token(keyfob::SecretSource::value("q"))),
        (basic(endpoint()), Grant::extension("urn:x")),
        (
            world.client_at(Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap()),
            Grant::bearer_session(keyfob::SecretSource::value("p")),
        ),
        (
            world.client_at(Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap()),
            Grant::bearer_session(keyfob::SecretSource::value("q")),
        ),
    ];
    let count = processes.len();
    for (client, grant) in processes {
        assert!(!TokenCache::new(client, grant).store(directory.store()).token().unwrap().is_stored());
    }
    assert_eq!(world.sent().len(), count);
    // None of them is taken for another, and the files contain nothing of a request, least of all its secrets.
    let content = directory.content();
    assert!(content.contains("token=a1&"), "{content}");
    for part in ["as.example", "audience", "alice", "s3cret", "tenant", "X-Tenant"] {
        assert!(!content.contains(part), "{part}: {content}");
    }
}

/// A client certificate is part of the request, so it distinguishes clients even if their transport is wrapped.
#[test]
fn clients_with_different_certificates_never_share_a_token() {
    struct Delegating<T>(T);
    impl<T: Transport> Transport for Delegating<T> {
        fn send(&self, request: &Request) -> Result<Response, Error> {
            self.0.send(request)
        }
    }
    fn shown(request: &Request) -> Result<Response, Error> {
        let (chain, _) = request.client_certificate().unwrap();
        Ok(Response::new(200, format!(r#"{{"access_token":"for-{}","expires_in":3600}}"#, chain.expose())))
    }
    type Wrapper = fn(Client) -> Client;
    let wrappers: [(&str, Wrapper); 5] = [
        ("a function", |client| client.transport(shown)),
        ("a struct that delegates", |client| client.transport(Delegating(shown))),
        ("two of them", |client| client.transport(Delegating(Delegating(shown)))),
        ("a closure around one", |client| {
            let inner = Delegating(shown);
            client.transport(move |request: &Request| inner.send(request))
        }),
        ("an Arc", |client| client.transport(Arc::new(Delegating(shown)))),
    ];
    for (what, wrap) in wrappers {
        let directory = Directory::new();
        for (certificate, is_stored) in [("a", false), ("b", false), ("a", true), ("b", true)] {
            let client = wrap(Client::with_parts(Endpoint::new(URL).unwrap(), shown, || s(1000)));
            let client = client.client_certificate(SecretSource::value(certificate), SecretSource::value("key"));
            let mut tokens = TokenCache::new(client, Grant::client_credentials()).store(directory.store());
            let token = tokens.token().unwrap();
            let expected = (format!("for-{certificate}"), is_stored);
            assert_eq!((token.expose(), token.is_stored()), (expected.0.as_str(), expected.1), "{what}");
        }
    }
}

#[test]
fn a_process_whose_clock_is_behind_ignores_the_store() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    world.machine(&directory).token().unwrap();
    // Another time namespace, whose boot clock is behind.
    let behind = World::answering(&[HOURLY]);
    behind.seconds.store(999, Ordering::SeqCst);
    assert!(!behind.machine(&directory).token().unwrap().is_stored());
}

#[test]
fn all_processes_remember_a_refusal_until_its_time_has_passed_or_the_secret_changes() {
    let directory = Directory::new();
    let world = World::answering(&[r#"401 {"error":"invalid_client","error_description":"no such & client"}"#]);
    let error = world.machine(&directory).token().unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(401)));
    for seconds in [0, 4, 5] {
        world.pass(seconds);
        let error = world.machine(&directory).token().unwrap_err();
        let text = "the server refused (status 401): invalid_client (no such & client); not asked again for ";
        assert!(error.kind() == ErrorKind::Refused && error.to_string().starts_with(text), "{error}");
        assert_eq!((error.status(), error.oauth_error()), (Some(401), Some("invalid_client")));
        assert!(error.hint().unwrap().starts_with("check client id and secret"));
    }
    assert_eq!(world.sent().len(), 1);
    // It ends, and grows.
    world.pass(1);
    assert_eq!(world.machine(&directory).token().unwrap_err().kind(), ErrorKind::Refused);
    world.pass(19);
    let left = world.machine(&directory).token().unwrap_err().retry_after();
    assert_eq!((world.sent().len(), left), (1, Some(s(1))));
    // Another secret is tried at once, and does not end the pause of the first.
    world.then(&[HOURLY]);
    let other = world
        .client_at(Endpoint::new(URL).unwrap())
        .client_id("id")
        .client_secret(keyfob::SecretSource::value("other"));
    let mut other = TokenCache::new(other, Grant::client_credentials()).store(directory.store());
    assert_eq!(text(&mut other), "a1");
    assert_eq!(world.machine(&directory).token().unwrap_err().kind(), ErrorKind::Refused);
    // A forced renewal is sent, and its success serves all.
    assert_eq!(world.machine(&directory).renew().unwrap().expose(), "a2");
    assert!(world.machine(&directory).token().unwrap().is_stored());
}

#[test]
fn in_an_outage_processes_share_the_backoff_and_keep_a_valid_token() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    world.machine(&directory).token().unwrap();
    world.sent();
    // Past the middle of its life it is to be renewed.
    world.pass(3500);
    world.then_fails(ErrorKind::Unreachable);
    for _ in 0..5 {
        assert_eq!(text(&mut world.machine(&directory)), "a1");
    }
    assert_eq!(world.sent().len(), 1);
    let error = world.machine(&directory).renew().unwrap_err();
    assert_eq!((error.kind(), world.sent().len()), (ErrorKind::Unreachable, 1));
    assert_eq!(text(&mut world.machine(&directory)), "a1");
    world.pass(100);
    let kinds = [0; 3].map(|_| world.machine(&directory).token().unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::Unreachable; 3]);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn no_other_process_sends_a_refresh_token_that_may_be_used_up() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    world.then_fails(ErrorKind::OutcomeUnknown);
    let process = |token: &str| world.process(&directory, Grant::refresh_token(keyfob::SecretSource::value(token)));
    for _ in 0..3 {
        let error = process("r0").token().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        world.pass(10_000);
    }
    assert_eq!(world.sent().len(), 1);
    world.then(&[HOURLY]);
    assert_eq!(text(&mut process("r1")), "a1");
}

#[test]
fn the_next_process_goes_on_with_the_refresh_token() {
    let code = || Grant::extension("urn:example:code").secret_parameter("code", keyfob::SecretSource::value("c0de"));
    let by_code = "grant_type=urn%3Aexample%3Acode&code=c0de";
    let by_password = "grant_type=password&username=alice&password=p";
    let password = || Grant::password("alice", keyfob::SecretSource::value("p"));
    for (grant, first) in [(&code as &dyn Fn() -> Grant, by_code), (&password, by_password)] {
        let directory = Directory::new();
        let world = World::answering(&[REFRESHABLE]);
        for _ in 0..3 {
            world.process(&directory, grant()).token().unwrap();
            world.pass(3600);
        }
        let refresh = |number: u32| format!("grant_type=refresh_token&refresh_token=r{number}");
        assert_eq!(world.sent(), [first.to_owned(), refresh(1), refresh(2)]);
        // It is refused: a password can be sent again, a code cannot.
        world.then(&[r#"400 {"error":"invalid_grant"}"#, HOURLY]);
        let result = world.process(&directory, grant()).token();
        match first == by_password {
            true => {
                assert_eq!(result.unwrap().expose(), "a2");
                assert_eq!(world.sent(), [refresh(3), first.to_owned()]);
            }
            false => {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
                assert_eq!(world.sent(), [refresh(3)]);
            }
        }
    }
}

#[test]
fn a_token_that_a_resource_refused_is_not_taken_from_the_store_again() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let (mut one, mut other) = (world.machine(&directory), world.machine(&directory));
    let token = one.token().unwrap();
    assert!(one.invalidate(&token));
    assert_eq!(text(&mut one), "a2");
    // The other process finds the new refresh token too, if the store has it.
    assert_eq!(text(&mut other), "a2");
    assert_eq!(world.sent().len(), 2);
    let mut late = world.machine(&directory);
    let token = late.token().unwrap();
    world.machine(&directory).renew().unwrap();
    assert!(late.invalidate(&token));
    assert_eq!(text(&mut late), "a1", "the first since the last look, fetched by another");
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn a_revoked_token_is_gone_for_all_processes() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let endpoint = || Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap();
    let process = || {
        TokenCache::new(world.client_at(endpoint()), Grant::bearer_session(keyfob::SecretSource::value("p")))
            .store(directory.store())
    };
    process().token().unwrap();
    let token = process().at_hand(s(60)).unwrap().unwrap();
    assert!(token.is_stored());
    assert_eq!(process().at_hand(s(3601)).unwrap().map(|token| token.expose().to_owned()), None);
    assert_eq!(world.sent().len(), 1);
    world.then(&["200 "]);
    process().revoke().unwrap();
    assert_eq!(world.sent().len(), 1);
    process().revoke().unwrap();
    assert_eq!((world.sent().len(), directory.content().as_str()), (0, ""));
    assert!(process().at_hand(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_refresh_token_that_only_the_store_has_is_revoked() {
    const REFRESH: &str = "token=r1&token_type_hint=refresh_token";
    for (passed, expected) in [(60, &[REFRESH, "token=a1&token_type_hint=access_token"][..]), (3601, &[REFRESH])] {
        let directory = Directory::new();
        let world = World::answering(&[r#"200 {"access_token":"a#","expires_in":3600,"refresh_token":"r1"}"#]);
        let endpoint =
            || Endpoint::new(URL).unwrap().revocation(keyfob::Revocation::Endpoint("https://as.example/revoke".into()));
        let process =
            || TokenCache::new(world.client_at(endpoint()), Grant::client_credentials()).store(directory.store());
        process().token().unwrap();
        world.pass(passed);
        if passed > 3600 {
            // A failure is written after the access token has expired: only the refresh token is left in the record.
            world.then_fails(ErrorKind::Unreachable);
            process().token().unwrap_err();
        }
        world.sent();
        world.then(&["200 "]);
        process().revoke().unwrap();
        assert_eq!(world.sent(), expected, "after {passed} s");
        assert!(!directory.content().contains("refresh="), "{}", directory.content());
    }
}

#[test]
fn threads_of_several_processes_send_one_request() {
    let directory = Directory::new();
    for is_refused in [false, true] {
        let world = World::answering(&[HOURLY]);
        if is_refused {
            world.then(&[r#"401 {"error":"invalid_client"}"#]);
        }
        let scope = if is_refused { "b" } else { "a" };
        let process = || {
            let grant = Grant::client_credentials().scope(scope);
            SharedTokenCache::new(world.client(), grant).store(directory.store())
        };
        let processes = [(); 4].map(|()| process());
        let start = std::sync::Barrier::new(40);
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..40)
                .map(|number| {
                    let (tokens, start) = (&processes[number % 4], &start);
                    scope.spawn(move || {
                        start.wait();
                        tokens.token().map(|token| token.expose().to_owned())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(world.sent().len(), 1);
        for result in results {
            match result {
                Ok(token) => assert_eq!((token.as_str(), is_refused), ("a1", false)),
                Err(error) => {
                    assert!(is_refused && error.oauth_error() == Some("invalid_client"), "{error}");
                    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
                }
            }
        }
    }
}

#[test]
fn a_request_whose_secret_differs_each_time_shares_no_token() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let process = || {
        let number = Arc::new(AtomicU32::new(0));
        let assertion = SecretSource::provider(move || {
            Ok(Secret::from(format!("assertion-{}", number.fetch_add(1, Ordering::SeqCst)).as_str()))
        });
        let grant = Grant::extension("urn:x").secret_parameter("assertion", assertion);
        TokenCache::new(world.client(), grant).store(directory.store())
    };
    let mut tokens = process();
    assert_eq!((text(&mut tokens), text(&mut tokens)), ("a1".into(), "a1".into()));
    assert!(!process().token().unwrap().is_stored());
    assert_eq!((world.sent().len(), directory.content().as_str()), (2, ""));
}

#[test]
fn expired_files_are_removed() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let count = || read_dir(directory.0.join("store")).unwrap().count();
    for number in 0..5 {
        world.process(&directory, Grant::client_credentials().scope(format!("{number}"))).token().unwrap();
    }
    let names = || {
        let entries = read_dir(directory.0.join("store")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    let name = names().find(|name| name.ends_with(".token")).unwrap();
    let own = name.rsplit_once('-').unwrap().0;
    // Of this format; of others; and none of keyfob's.
    let left =
        ["keyfob-0123.token", ".keyfob-0123.token.new", "keyfob1-9-0123.token", "keyfob2-0-0123.pause", "other.token"];
    for name in
        left.map(str::to_owned).into_iter().chain([format!("{own}-0123.token"), format!(".{own}-0.pause.7.new")])
    {
        std::fs::write(directory.0.join("store").join(name), "nonsense").unwrap();
    }
    assert_eq!(count(), 13);
    world.pass(3600);
    world.process(&directory, Grant::client_credentials().scope("new")).token().unwrap();
    // The key, the new one, and what is not of this format.
    assert_eq!(count(), 7);
    assert!(left.iter().all(|name| names().any(|there| there == *name)));
    // That goes by age: by the file's time and the clock, both.
    let of_age = |name: &str, days: u64| {
        let file = std::fs::File::options().append(true).open(directory.0.join("store").join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - s(days * 24 * 3600)).unwrap();
    };
    left[..4].iter().for_each(|name| of_age(name, 41));
    of_age(left[4], 41);
    of_age(left[2], 39);
    world.process(&directory, Grant::client_credentials().scope("newer")).token().unwrap();
    assert_eq!(count(), 8, "this boot is younger than that");
    world.pass(40 * 24 * 3600);
    world.process(&directory, Grant::client_credentials().scope("newest")).token().unwrap();
    let mut names: Vec<String> = names().filter(|name| !name.starts_with(own)).collect();
    names.sort();
    assert_eq!(names, ["keyfob-key", "keyfob1-9-0123.token", "other.token"]);
}

// A refresh token in a file.

#[test]
fn a_new_refresh_token_is_written_back_before_the_token_is_handed_out() {
    for (before, end) in [("r0\n", "\n"), ("r0", "")] {
        let directory = Directory::new();
        let path = directory.file(before);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.0.join("link");
        std::os::unix::fs::symlink("refresh-token", &link).unwrap();
        let world = World::answering(&[REFRESHABLE]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hook = {
            let (seen, path) = (seen.clone(), path.clone());
            move |token: &Secret| {
                let stored = std::fs::read_to_string(&path).unwrap();
                seen.lock().unwrap().push((token.expose().to_owned(), stored));
                Ok(())
            }
        };
        let mut tokens = TokenCache::new(world.client(), Grant::refresh_token_file(&link)).on_new_refresh_token(hook);
        for number in 1..=3 {
            assert_eq!(text(&mut tokens), format!("a{number}"));
            world.pass(3600);
        }
        let expected = [1, 2, 3].map(|number| (format!("r{number}"), format!("r{number}{end}")));
        assert_eq!(*seen.lock().unwrap(), expected);
        let refresh = |number: u32| format!("grant_type=refresh_token&refresh_token=r{number}");
        assert_eq!(world.sent(), [0, 1, 2].map(refresh));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        // Without a cache too.
        world.client().fetch(&Grant::refresh_token_file(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("r1{end}"));
        assert_eq!(read_dir(&directory.0).unwrap().count(), 2, "nothing is left beside it");
    }
}

#[test]
fn processes_with_one_refresh_token_share_its_tokens() {
    let directory = Directory::new();
    let path = directory.file("r0");
    let world = World::answering(&[REFRESHABLE]);
    let process = || world.process(&directory, Grant::refresh_token_file(&path));
    let mut long_lived = process();
    assert_eq!(text(&mut long_lived), "a1");
    assert!(process().token().unwrap().is_stored());
    assert_eq!(directory.content().matches("r1").count(), 0, "the file has it, so the store need not");
    // Another process renews, and the first finds it: it never sends the one that it knew.
    world.pass(3600);
    assert_eq!(text(&mut process()), "a2");
    assert_eq!(text(&mut long_lived), "a2");
    world.pass(3600);
    assert_eq!(text(&mut long_lived), "a3");
    assert_eq!(world.sent().len(), 3);
    // After a new sign-in the identity is another one.
    std::fs::write(&path, "other").unwrap();
    assert!(!process().token().unwrap().is_stored());
}

#[test]
fn a_server_that_repeats_the_refresh_token_leaves_the_file_alone() {
    let directory = Directory::new();
    let path = directory.file("r0\n");
    let before = std::fs::metadata(&path).unwrap();
    let world = World::answering(&[r#"200 {"access_token":"a#","expires_in":60,"refresh_token":"r0"}"#]);
    let mut tokens = world.process(&directory, Grant::refresh_token_file(&path));
    for _ in 0..3 {
        tokens.token().unwrap();
        world.pass(60);
    }
    assert_eq!(world.sent().len(), 3);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before.ino());
}

#[test]
fn a_refresh_token_that_cannot_be_rewritten_is_not_sent() {
    let directory = Directory::new();
    let world = World::answering(&[REFRESHABLE]);
    for (name, message) in [
        ("missing", "secret file PATH: there is no such file"),
        ("directory", "secret file PATH: it is a directory"),
        ("empty", "secret file PATH: it is empty"),
    ] {
        let path = directory.0.join(name);
        match name {
            "directory" => std::fs::create_dir(&path).unwrap(),
            "empty" => std::fs::write(&path, "\n").unwrap(),
            _ => {}
        }
        for result in [
            world.client().fetch(&Grant::refresh_token_file(&path)),
            world.process(&directory, Grant::refresh_token_file(&path)).token(),
        ] {
            let error = result.unwrap_err();
            let message = message.replace("PATH", &path.display().to_string());
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, message));
        }
    }
    // Not even root can write below /proc.
    let error = world.client().fetch(&Grant::refresh_token_file("/proc/self/comm")).unwrap_err();
    let message = "refresh token file /proc/self/comm: cannot be rewritten: ";
    assert!(error.kind() == ErrorKind::Config && error.to_string().starts_with(message), "{error}");
    assert_eq!(world.sent(), [""; 0]);
}

// The directory.

#[test]
fn a_directory_that_is_not_this_users_alone_is_refused() {
    let directory = Directory::new();
    for mode in [0o755, 0o701, 0o770, 0o777] {
        let path = directory.0.join(format!("{mode:o}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Store::at(&path).unwrap_err();
        let message = format!("cache directory {}: not this user's, or open to others", path.display());
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, message));
        assert_eq!(error.hint(), Some(format!("chmod 700 {}", path.display()).as_str()));
    }
    std::fs::write(directory.0.join("file"), "").unwrap();
    for (name, why) in [("file", "not a directory"), ("none/below", "there is no such file")] {
        let path = directory.0.join(name);
        let message = format!("cache directory {}: {why}", path.display());
        assert_eq!(Store::at(&path).unwrap_err().to_string(), message);
    }
    let store = Store::at(directory.0.join("made")).unwrap();
    assert_eq!(store.path(), directory.0.join("made"));
    assert_eq!(std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Without the key's file, or with another one, no file counts.
#[test]
fn a_key_of_another_boot_empties_the_store() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    world.machine(&directory).token().unwrap();
    let key = directory.0.join("store/keyfob-key");
    let good = std::fs::read_to_string(&key).unwrap();
    let (boot, digits) = good.split_once('\n').unwrap();
    assert_eq!((boot.len(), digits.len()), (36, 64));
    let other_boot = good.replacen(&boot[..4], "0000", 1);
    let other_key = format!("{boot}\n{}", "0".repeat(64));
    for (count, bad) in
        [other_boot.as_str(), &other_key, "", &good[..90], &good.replace(&digits[..1], "x")].into_iter().enumerate()
    {
        std::fs::write(&key, bad).unwrap();
        assert!(!world.machine(&directory).token().unwrap().is_stored(), "{count}");
        assert!(world.machine(&directory).token().unwrap().is_stored(), "{count}");
        assert_eq!(world.sent().len(), if count == 0 { 2 } else { 1 }, "{count}");
    }
}

// The processes that a failure concerns.

/// The server's answers concern all processes that would send the same request. A failure on the way concerns only processes
/// with the same route and time limit.
#[test]
fn a_failure_is_shared_with_the_processes_that_it_concerns() {
    type Change = (&'static str, Option<&'static str>, u64, &'static str);
    let same: Change = ("the same", Some("direct"), 30, "s3cret");
    let changes: [Change; 5] = [
        same,
        ("another proxy", Some("by proxy"), 30, "s3cret"),
        ("a transport that does not say", None, 30, "s3cret"),
        ("more time", Some("direct"), 60, "s3cret"),
        ("another secret", Some("direct"), 30, "other"),
    ];
    let fails = |kind| Box::new(move |world: &World| world.then_fails(kind));
    let answers = |answer: &'static str| Box::new(move |world: &World| world.then(&[answer]));
    type Failure = (&'static str, Box<dyn Fn(&World)>, [bool; 5]);
    // Whether each of them asks.
    let (way, server) = ([false, true, true, true, true], [false, false, false, false, true]);
    let failures: [Failure; 9] = [
        ("no connection", fails(ErrorKind::Unreachable), way),
        ("no trust", fails(ErrorKind::Untrusted), way),
        ("no answer", fails(ErrorKind::OutcomeUnknown), way),
        ("the proxy refuses", answers("407 "), way),
        ("too many requests", answers("429 "), server),
        ("out of order", answers("503 "), server),
        ("broken", answers("500 "), server),
        ("refused", answers(r#"401 {"error":"invalid_client"}"#), server),
        ("no token", answers("200 hello"), server),
    ];
    for (what, fail, expected) in failures {
        for ((change, route, timeout, secret), asks) in changes.into_iter().zip(expected) {
            let directory = Directory::new();
            let world = World::answering(&[HOURLY]);
            let process = |(_, route, timeout, secret): Change| {
                let client = world.client_by(route, Endpoint::new(URL).unwrap()).timeout(s(timeout));
                let client = client.client_id("id").client_secret(keyfob::SecretSource::value(secret));
                TokenCache::new(client, Grant::client_credentials()).store(directory.store())
            };
            fail(&world);
            process(same).token().unwrap_err();
            world.then(&[HOURLY]);
            let result = process((change, route, timeout, secret)).token();
            assert_eq!((result.is_ok(), world.sent().len()), (asks, 1 + usize::from(asks)), "{what}, {change}");
        }
    }
}

/// A failure on the way changes neither the server's last answer nor the token of processes with another route.
#[test]
fn a_failure_of_one_route_leaves_the_tokens_of_others() {
    let directory = Directory::new();
    let world = World::answering(&[r#"401 {"error":"invalid_client"}"#]);
    let by = |route| {
        let client = world
            .client_by(Some(route), Endpoint::new(URL).unwrap())
            .client_id("id")
            .client_secret(keyfob::SecretSource::value("s3cret"));
        TokenCache::new(client, Grant::client_credentials()).store(directory.store())
    };
    by("direct").token().unwrap_err();
    world.then_fails(ErrorKind::Unreachable);
    by("dead").renew().unwrap_err();
    // The refusal is still known: the credentials are not sent again.
    let error = by("direct").token().unwrap_err();
    assert_eq!((error.oauth_error(), world.sent().len()), (Some("invalid_client"), 2));
    world.pass(10);
    world.then(&[HOURLY]);
    assert_eq!(text(&mut by("direct")), "a1");
    world.then_fails(ErrorKind::Unreachable);
    by("dead").renew().unwrap_err();
    world.then(&[HOURLY]);
    for route in ["dead", "direct"] {
        let token = by(route).token().unwrap();
        assert_eq!((token.expose(), token.is_stored()), ("a1", true), "{route}");
    }
    // Once the route works again, nothing is left of the failure.
    by("dead").renew().unwrap();
    let names =
        read_dir(directory.0.join("store")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".pause")).count(), 0);
}

/// A source that signs a new assertion for each request can name a stable identity, and then shares.
#[test]
fn a_secret_with_its_own_identity_is_distinguished_by_that() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let number = Arc::new(AtomicU32::new(0));
    let process = |identity: &'static str| {
        let number = number.clone();
        let signed = move || {
            let number = number.fetch_add(1, Ordering::SeqCst);
            Ok(Secret::from(format!("assertion-{number}").as_str()))
        };
        let assertion = SecretSource::provider(signed).identity(identity);
        let grant = Grant::extension("urn:x").secret_parameter("assertion", assertion);
        TokenCache::new(world.client(), grant).store(directory.store())
    };
    assert_eq!((text(&mut process("key 1")), text(&mut process("key 1"))), ("a1".into(), "a1".into()));
    assert_eq!(world.sent(), ["grant_type=urn%3Ax&assertion=assertion-0"], "it is signed for the request alone");
    assert!(!process("key 2").token().unwrap().is_stored());
    // A value is not an identity, even if both have the same text.
    let value = Grant::extension("urn:x").secret_parameter("assertion", keyfob::SecretSource::value("key 1"));
    assert!(!world.process(&directory, value).token().unwrap().is_stored());
    assert!(process("key 1").token().unwrap().is_stored());
}

// Processes that are stuck.

fn session() -> (Endpoint, Grant) {
    (Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap(), Grant::bearer_session(SecretSource::value("p")))
}

/// A process that sends a request and gets no answer before `go`. It has its own cache and the common store.
fn stuck<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    world: &Arc<World>,
    directory: &Directory,
    (endpoint, grant): (Endpoint, Grant),
    answer: &'static str,
) -> (std::sync::mpsc::Sender<()>, std::thread::ScopedJoinHandle<'s, Result<String, Error>>) {
    let (go, gate) = std::sync::mpsc::channel();
    let (asks, asked) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let (store, clock) = (directory.store(), world.clone());
    let thread = scope.spawn(move || {
        let send = move |_: &Request| {
            asks.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            Ok(Response::new(200, answer.as_bytes().to_vec()))
        };
        let client = Client::with_parts(endpoint, By(Some("direct"), send), move || {
            s(clock.seconds.load(Ordering::SeqCst).into())
        });
        let mut tokens = TokenCache::new(client, grant).store(store);
        tokens.token().map(|token| token.expose().to_owned())
    });
    asked.recv().unwrap();
    (go, thread)
}

#[test]
fn a_process_that_was_stuck_does_not_bring_a_revoked_token_back() {
    const ANSWER: &str = r#"{"access_token":"late","expires_in":3600}"#;
    for is_fetched_again in [false, true] {
        let directory = Directory::new();
        let world = World::answering(&[HOURLY]);
        let process = || {
            let client = world.client_at(Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap());
            TokenCache::new(
                client.timeout(Duration::from_millis(200)),
                Grant::bearer_session(keyfob::SecretSource::value("p")),
            )
            .store(directory.store())
        };
        std::thread::scope(|scope| {
            let (go, thread) = stuck(scope, &world, &directory, session(), ANSWER);
            // The others wait for it, but not longer than half of their time.
            process().revoke().unwrap();
            if is_fetched_again {
                assert_eq!(text(&mut process()), "a1");
            }
            go.send(()).unwrap();
            assert_eq!(thread.join().unwrap().unwrap(), "late");
        });
        assert!(!directory.content().contains("late"), "{}", directory.content());
        let token = process().at_hand(Duration::ZERO).unwrap();
        assert_eq!(token.map(|token| token.expose().to_owned()), is_fetched_again.then(|| "a1".to_owned()));
    }
}

#[test]
fn a_token_that_arrives_after_the_time_limit_is_stored_for_the_others() {
    const ANSWER: &str = r#"{"access_token":"late","expires_in":3600}"#;
    let one_time = || {
        let grant = Grant::extension("urn:x").secret_parameter("assertion", SecretSource::value("once"));
        (Endpoint::new(URL).unwrap(), grant)
    };
    for (what, is_repeatable) in [(session as fn() -> _, true), (one_time, false)] {
        let directory = Directory::new();
        let world = World::answering(&["503 "]);
        let process = |timeout| {
            let (endpoint, grant): (Endpoint, Grant) = what();
            TokenCache::new(world.client_at(endpoint).timeout(timeout), grant).store(directory.store())
        };
        std::thread::scope(|scope| {
            let (go, thread) = stuck(scope, &world, &directory, what(), ANSWER);
            let error = process(Duration::from_millis(200)).token().unwrap_err();
            let waited = "another process has been asking as.example for 0 s and has not finished";
            assert_eq!(error.to_string() == waited, !is_repeatable, "{error}");
            assert_eq!(world.sent().len(), usize::from(is_repeatable));
            // All time limits have passed.
            world.pass(120);
            go.send(()).unwrap();
            assert_eq!(thread.join().unwrap().unwrap(), "late");
        });
        let token = process(s(30)).token().unwrap();
        assert_eq!((token.expose(), token.is_stored(), world.sent().len()), ("late", true, 0));
    }
}

#[test]
fn a_process_that_was_stuck_does_not_remove_a_newer_token() {
    for answer in [r#"{"access_token":"late","expires_in":3600}"#, r#"{"error":"invalid_request"}"#, "hello"] {
        let directory = Directory::new();
        let world = World::answering(&[HOURLY]);
        let process = || {
            let client = world.client_at(Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap());
            TokenCache::new(
                client.timeout(Duration::from_millis(400)),
                Grant::bearer_session(keyfob::SecretSource::value("p")),
            )
            .store(directory.store())
        };
        std::thread::scope(|scope| {
            let (go, thread) = stuck(scope, &world, &directory, session(), answer);
            assert_eq!(text(&mut process()), "a1");
            go.send(()).unwrap();
            let _ = thread.join().unwrap();
        });
        let token = process().token().unwrap();
        assert_eq!((token.expose(), token.is_stored(), world.sent().len()), ("a1", true, 1), "{answer}");
    }
}

#[test]
fn waiting_for_another_process_does_not_read_a_secret_repeatedly() {
    let directory = Directory::new();
    let world = World::answering(&[HOURLY]);
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let secret = SecretSource::provider(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Secret::from("p"))
    });
    std::thread::scope(|scope| {
        let (go, thread) = stuck(scope, &world, &directory, session(), r#"{"access_token":"late","expires_in":3600}"#);
        let client = world
            .client_at(Endpoint::dialect(keyfob::Dialect::BearerSession, URL).unwrap())
            .timeout(Duration::from_millis(400));
        let mut tokens = TokenCache::new(client, Grant::bearer_session(secret)).store(directory.store());
        assert_eq!(text(&mut tokens), "a1");
        go.send(()).unwrap();
        let _ = thread.join().unwrap();
    });
    // Before the wait, for the request, and afterwards to check that it has not changed.
    assert_eq!(reads.load(Ordering::SeqCst), 3);
}
