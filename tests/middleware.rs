//! The ureq middleware with a real agent, against a server on loopback: what goes out, what is sent again, and where the
//! token does not go.

#![cfg(feature = "ureq")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Seen, Server, Stream, answer};
use core::time::Duration;
use keyfob::{Authorize, Client, Endpoint, Error, ErrorKind, Grant, Request, Response, SharedTokenCache};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use ureq::config::{AutoHeaderValue, Config, ConfigBuilder};
use ureq::typestate::AgentScope;
use ureq::{Agent, RequestExt, SendBody, Timeout};

const MIB: usize = 1024 * 1024;

/// The user's agent for an API, and the authorization server that its tokens come from: `t1`, `t2` and so on.
struct User {
    agent: Agent,
    tokens: Arc<SharedTokenCache>,
    token_requests: Arc<AtomicUsize>,
}

impl User {
    fn new(is_status_an_error: bool) -> Self {
        Self::with(is_status_an_error, |number| {
            Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)))
        })
    }

    fn with(
        is_status_an_error: bool,
        issue: impl Fn(usize) -> Result<Response, Error> + Send + Sync + 'static,
    ) -> Self {
        let token_requests = Arc::new(AtomicUsize::new(0));
        let count = token_requests.clone();
        let send = move |_: &Request| issue(count.fetch_add(1, Ordering::SeqCst) + 1);
        let endpoint = Endpoint::new("https://as.example/token").unwrap();
        let client = Client::with_parts(endpoint, send, || Duration::from_secs(1000));
        let tokens = Arc::new(SharedTokenCache::new(client, Grant::client_credentials()));
        let settings = || settings(is_status_an_error);
        let authorize = Authorize::new(tokens.clone(), settings().build().new_agent());
        Self { agent: settings().middleware(authorize).build().new_agent(), tokens, token_requests }
    }

    fn token_requests(&self) -> usize {
        self.token_requests.load(Ordering::SeqCst)
    }
}

fn settings(is_status_an_error: bool) -> ConfigBuilder<AgentScope> {
    let accept = AutoHeaderValue::Provided(Arc::new("text/x-test".to_owned()));
    let patient = Some(Duration::from_secs(20));
    Config::builder()
        .http_status_as_error(is_status_an_error)
        .proxy(None)
        .accept(accept)
        .timeout_recv_response(patient)
        // The server closes each connection: one that is kept may be closed just when it is needed.
        .max_idle_connections(0)
}

/// An API that refuses some tokens, with these header lines.
fn api(challenge: &'static [&'static str], is_fine: fn(&str) -> bool) -> Server {
    Server::with(move |seen, stream| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let bytes = match token.is_some_and(is_fine) {
            true => answer(200, &[], if seen.method == "HEAD" { "" } else { "fine" }),
            false => answer(401, challenge, ""),
        };
        let _ = stream.write_all(&bytes);
    })
}

fn authorizations(server: &Server) -> Vec<Option<String>> {
    server.requests().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect()
}

fn bearer(tokens: &[&str]) -> Vec<Option<String>> {
    tokens.iter().map(|token| Some(format!("Bearer {token}"))).collect()
}

/// Returns the status of a call, from its answer or its error.
fn status(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> u16 {
    match result {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(status)) => status,
        Err(error) => panic!("{error}"),
    }
}

/// Bytes that occur nowhere else.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

/// Reads the rest of a body in chunks, and returns its bytes.
fn dechunk(seen: &Seen, stream: &mut dyn Stream) -> Vec<u8> {
    let mut raw = seen.body.clone();
    let mut buffer = vec![0; 64 * 1024];
    while !raw.ends_with(b"\r\n0\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the body is cut");
        raw.extend_from_slice(&buffer[..count]);
    }
    let (mut body, mut rest) = (Vec::new(), &raw[..]);
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(core::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}

#[test]
fn each_request_carries_the_token() {
    let (server, user) = (api(&[], |_| true), User::new(true));
    for _ in 0..3 {
        let mut answer = user.agent.get(server.url("/v1/me")).call().unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "fine");
    }
    assert_eq!((authorizations(&server), user.token_requests()), (bearer(&["t1"; 3]), 1));
}

#[test]
fn a_refused_token_is_renewed_and_the_request_sent_once_more() {
    for is_status_an_error in [true, false] {
        for challenge in [
            &[][..],
            &["www-authenticate: Bearer realm=\"api\", error=\"invalid_token\""],
            &["www-authenticate: Basic"],
        ] {
            let (server, user) = (api(challenge, |token| token == "t2"), User::new(is_status_an_error));
            let mut answer = user.agent.get(server.url("/a?b=c")).header("x-own", "1").call().unwrap();
            assert_eq!((answer.status().as_u16(), answer.body_mut().read_to_string().unwrap().as_str()), (200, "fine"));
            assert_eq!((authorizations(&server), user.token_requests()), (bearer(&["t1", "t2"]), 2));
            for seen in server.requests() {
                assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a?b=c"));
                // The request's own headers, and what the agent's settings add.
                assert_eq!((seen.header("x-own"), seen.header("accept")), (Some("1"), Some("text/x-test")));
                assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (None, None));
            }
            // From now on the new one is sent at once.
            user.agent.get(server.url("/a")).call().unwrap();
            assert_eq!((server.requests().len(), user.token_requests()), (3, 2));
        }
    }
}

#[test]
fn a_second_refusal_is_final() {
    for is_status_an_error in [true, false] {
        let (server, user) = (api(&[], |_| false), User::new(is_status_an_error));
        assert_eq!(status(user.agent.get(server.url("/")).call()), 401);
        assert_eq!((authorizations(&server), user.token_requests()), (bearer(&["t1", "t2"]), 2));
        // Another call uses a token that is fresh: its refusal has another reason than age.
        assert_eq!(status(user.agent.get(server.url("/")).call()), 401);
        assert_eq!((server.requests().len(), user.token_requests()), (3, 2));
    }
}

#[test]
fn no_other_status_causes_a_renewal() {
    for code in [400, 403, 404, 407, 429, 500, 503] {
        for is_status_an_error in [true, false] {
            let server = Server::answering(answer(code, &["www-authenticate: Bearer error=\"invalid_token\""], "no"));
            let user = User::new(is_status_an_error);
            assert_eq!(status(user.agent.get(server.url("/")).call()), code);
            assert_eq!((server.requests().len(), user.token_requests()), (1, 1), "{code}");
        }
    }
}

#[test]
fn methods_without_a_body() {
    for is_status_an_error in [true, false] {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            let (server, user) = (api(&[], |token| token == "t2"), User::new(is_status_an_error));
            let request = ureq::http::Request::builder().method(method).uri(server.url("/"));
            assert_eq!(status(user.agent.run(request.body(()).unwrap())), 200, "{method}");
            assert_eq!((authorizations(&server), user.token_requests()), (bearer(&["t1", "t2"]), 2), "{method}");
            for seen in server.requests() {
                assert_eq!((seen.method.as_str(), seen.body.len()), (method, 0));
                assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (None, None));
            }
        }
    }
}

#[test]
fn a_body_is_sent_again_byte_for_byte() {
    for is_status_an_error in [true, false] {
        for length in [0, 1, 10_000, MIB - 1, MIB] {
            let (server, user) = (api(&[], |token| token == "t2"), User::new(is_status_an_error));
            let body = noise(length);
            for method in ["POST", "PUT", "PATCH"] {
                user.tokens.token().unwrap();
                let before = server.requests().len();
                let request = ureq::http::Request::builder().method(method).uri(server.url("/"));
                let request = request.header("content-type", "application/x-test").body(&body[..]).unwrap();
                assert_eq!(status(user.agent.run(request)), 200);
                for seen in &server.requests()[before..] {
                    assert!(seen.body == body, "{method} of {length} bytes");
                    assert_eq!(seen.header("content-length"), Some(length.to_string().as_str()));
                    assert_eq!(seen.header("transfer-encoding"), None);
                    assert_eq!(seen.header("content-type"), Some("application/x-test"));
                }
            }
            assert_eq!((authorizations(&server), user.token_requests()), (bearer(&["t1", "t2", "t2", "t2"]), 2));
        }
    }
}

#[test]
fn a_form_an_empty_body_and_a_forced_body_are_sent_again() {
    let (server, user) = (api(&[], |token| token == "t2"), User::new(true));
    user.agent.post(server.url("/form")).send_form([("a", "b c"), ("d", "é")]).unwrap();
    user.tokens.invalidate(&user.tokens.token().unwrap());
    user.agent.post(server.url("/empty")).send_empty().unwrap();
    user.agent.delete(server.url("/forced")).force_send_body().send("why").unwrap();
    let seen: Vec<_> = server.requests().into_iter().map(|seen| (seen.target.clone(), seen.body_text())).collect();
    let expected = [("/form", "a=b+c&d=%C3%A9"), ("/form", "a=b+c&d=%C3%A9"), ("/empty", ""), ("/forced", "why")];
    assert_eq!(seen, expected.map(|(target, body)| (target.to_owned(), body.to_owned())));
}

#[test]
fn a_body_from_a_reader_is_sent_again() {
    for is_status_an_error in [true, false] {
        let (server, user) = (api(&[], |token| token == "t2"), User::new(is_status_an_error));
        let body = noise(300_000);
        // In two parts, the second shorter than a buffer.
        let mut reader = body[..290_000].chain(&body[290_000..]);
        assert_eq!(status(user.agent.post(server.url("/")).send(SendBody::from_reader(&mut reader))), 200);
        // The length is known now, so it is sent.
        for seen in server.requests() {
            assert!(seen.body == body);
            assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (Some("300000"), None));
        }
        assert_eq!((server.requests().len(), user.token_requests()), (2, 2));
    }
}

#[test]
fn a_large_body_is_sent_once() {
    for is_status_an_error in [true, false] {
        for length in [MIB + 1, 3 * MIB] {
            let expected = noise(length);
            let server = Server::with(move |seen, stream| {
                assert_eq!((seen.header("transfer-encoding"), seen.header("content-length")), (Some("chunked"), None));
                let code = if dechunk(seen, stream) == expected { 401 } else { 400 };
                let _ = stream.write_all(&answer(code, &[], ""));
            });
            let user = User::new(is_status_an_error);
            assert_eq!(status(user.agent.post(server.url("/")).send(&noise(length)[..])), 401);
            let body = noise(length);
            assert_eq!(status(user.agent.put(server.url("/")).send(SendBody::from_reader(&mut &body[..]))), 401);
            assert_eq!((authorizations(&server).len(), user.token_requests()), (2, 2 - 1), "{length}");
        }
    }
}

#[test]
fn a_body_that_cannot_be_read_is_not_sent() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let (server, user) = (api(&[], |_| true), User::new(true));
    let error = user.agent.post(server.url("/")).send(SendBody::from_reader(&mut Broken)).unwrap_err();
    assert!(matches!(&error, ureq::Error::Io(error) if error.to_string() == "the disk is gone"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_request_with_its_own_authorization_is_not_changed() {
    let (server, user) = (api(&[], |_| false), User::new(false));
    let answer = user.agent.post(server.url("/")).header("Authorization", "Basic b3du").send("body").unwrap();
    assert_eq!((answer.status().as_u16(), user.token_requests()), (401, 0));
    assert_eq!(
        (server.request().header("authorization"), server.request().body_text().as_str()),
        (Some("Basic b3du"), "body")
    );
}

#[test]
fn the_token_is_sent_in_the_header_that_the_api_wants() {
    let server = Server::with(|seen, stream| {
        let is_fine = seen.header("x-auth-token") == Some("acme t2");
        let _ = stream.write_all(&answer(if is_fine { 200 } else { 401 }, &[], ""));
    });
    let number = AtomicUsize::new(0);
    let send = move |_: &Request| {
        let number = number.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)))
    };
    let endpoint = Endpoint::new("https://as.example/token").unwrap().variable("tenant", "acme");
    let endpoint = endpoint.api_header("X-Auth-Token: {tenant} {token}").unwrap();
    let client = Client::with_parts(endpoint, send, || Duration::from_secs(1000));
    let tokens = Arc::new(SharedTokenCache::new(client, Grant::client_credentials()));
    let authorize = Authorize::new(tokens, settings(false).build().new_agent());
    let agent: Agent = settings(false).middleware(authorize).build().new_agent();
    // Refused once, with a header of its own, and fine.
    assert_eq!(status(agent.get(server.url("/")).call()), 200);
    assert_eq!(status(agent.get(server.url("/")).header("x-auth-token", "own").call()), 401);
    assert_eq!(status(agent.post(server.url("/")).send("body")), 200);
    let sent = server.requests();
    let sent: Vec<_> = sent.iter().map(|seen| (seen.header("x-auth-token"), seen.header("authorization"))).collect();
    assert_eq!(sent, ["acme t1", "acme t2", "own", "acme t2"].map(|value| (Some(value), None)));
}

#[test]
fn a_redirect_to_another_host_carries_no_token() {
    let elsewhere = Server::answering(answer(401, &["www-authenticate: Bearer"], ""));
    let location = format!("location: {}", elsewhere.url("/there"));
    for (is_status_an_error, method) in [(false, "GET"), (false, "POST"), (true, "GET"), (true, "POST")] {
        let line = location.clone();
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(&answer(302, &[&line], ""));
        });
        let user = User::new(is_status_an_error);
        let body: &[u8] = if method == "GET" { b"" } else { b"a body" };
        let request = ureq::http::Request::builder().method(method).uri(server.url("/"));
        let result = match method {
            "GET" => user.agent.run(request.body(()).unwrap()),
            _ => user.agent.run(request.body(body).unwrap()),
        };
        assert_eq!(status(result), 401);
        if !is_status_an_error {
            // That 401 is not about the token.
            assert_eq!((server.requests().len(), user.token_requests()), (1, 1), "{method}");
        }
        assert!(server.requests().iter().all(|seen| seen.body == body && seen.header("authorization").is_some()));
    }
    for seen in elsewhere.requests() {
        assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.header("authorization")), ("GET", "/there", None));
        assert_eq!((seen.header("content-length"), seen.body.len()), (None, 0));
    }
    assert!(elsewhere.requests().len() >= 4);
}

#[test]
fn without_a_token_nothing_is_sent_and_the_caller_gets_our_error() {
    let server = api(&[], |_| true);
    let user = User::with(true, |_| Err(Error::new(ErrorKind::Unreachable, "no network")));
    for message in ["no network", "no network; not asked again for 1 s"] {
        let ureq::Error::Other(error) = user.agent.get(server.url("/")).call().unwrap_err() else { panic!() };
        let error = error.downcast_ref::<Error>().unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unreachable, message));
    }
    assert_eq!((server.requests().len(), user.token_requests()), (0, 1));

    let body = *br#"{"access_token":"t","token_type":"DPoP"}"#;
    let user = User::with(true, move |_| Ok(Response::new(200, body)));
    let ureq::Error::Other(error) = user.agent.get(server.url("/")).call().unwrap_err() else { panic!() };
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Unusable);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn if_the_renewal_fails_the_apis_own_answer_is_returned() {
    for is_status_an_error in [true, false] {
        let server = Server::answering(answer(401, &["x-why: expired"], "the API's reason"));
        let user = User::with(is_status_an_error, |number| match number {
            1 => Ok(Response::new(200, *br#"{"access_token":"t1","expires_in":3600}"#)),
            _ => Err(Error::new(ErrorKind::Unreachable, "no network")),
        });
        match user.agent.get(server.url("/")).call() {
            Ok(mut answer) => {
                assert_eq!(answer.headers()["x-why"], "expired");
                assert_eq!(answer.body_mut().read_to_string().unwrap(), "the API's reason");
                assert!(!is_status_an_error);
            }
            Err(error) => assert!(is_status_an_error && matches!(error, ureq::Error::StatusCode(401)), "{error}"),
        }
        assert_eq!((server.requests().len(), user.token_requests()), (1, 2));
    }
}

#[test]
fn the_settings_of_a_request_apply_both_times_it_is_sent() {
    // The server answers the first request of each pair with `first`, and the second never.
    for first in [None, Some(401)] {
        let (count, refused) = (AtomicU32::new(0), answer(401, &[], ""));
        let server = Server::with(move |_, stream| {
            if first.is_some() && count.fetch_add(1, Ordering::SeqCst) == 0 {
                let _ = stream.write_all(&refused);
                return;
            }
            // Until the client hangs up.
            let _ = stream.read(&mut [0]);
        });
        let user = User::new(true);
        let impatient = Some(Duration::from_millis(200));
        let error = user.agent.get(server.url("/")).config().timeout_recv_response(impatient).build().call();
        assert!(matches!(error, Err(ureq::Error::Timeout(Timeout::RecvResponse))), "{error:?}");
        assert_eq!(server.requests().len(), if first.is_some() { 2 } else { 1 });
    }
    // A request that returns the status as an answer, with an agent that returns it as an error.
    let (server, user) = (api(&[], |_| false), User::new(true));
    let answer = user.agent.get(server.url("/")).config().http_status_as_error(false).build().call().unwrap();
    assert_eq!((answer.status().as_u16(), server.requests().len(), user.token_requests()), (401, 2, 2));
    // The same for a request of the http crate.
    let (server, user) = (api(&[], |token| token == "t2"), User::new(true));
    let request = ureq::http::Request::post(server.url("/")).body("body").unwrap();
    let answer = request.with_agent(&user.agent).configure().http_status_as_error(false).build().run().unwrap();
    assert_eq!((answer.status().as_u16(), server.requests().len(), user.token_requests()), (200, 2, 2));
}

#[test]
fn threads_that_share_an_agent_renew_once() {
    let (server, user) = (api(&[], |token| token == "t2"), User::new(true));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut answer = user.agent.post(server.url("/")).send("body").unwrap();
                assert_eq!(answer.body_mut().read_to_string().unwrap(), "fine");
            });
        }
    });
    assert_eq!(user.token_requests(), 2);
}

#[test]
fn the_token_is_in_no_debug_output() {
    let user = User::new(true);
    let authorize = Authorize::new(user.tokens.clone(), settings(true).build().new_agent());
    user.tokens.token().unwrap();
    let shown = format!("{authorize:?}");
    assert!(shown == "Authorize { .. }", "{shown}");
}

#[test]
fn a_post_that_was_answered_by_a_redirect_is_not_sent_again() {
    // POST /orders makes an order and answers 303 to it; ureq takes no Authorization along, so that is a 401.
    let server = Server::with(|seen, stream| {
        let bytes = match (seen.method.as_str(), seen.header("authorization")) {
            ("POST", Some(_)) => answer(303, &["location: /orders/1"], ""),
            (_, Some(_)) => answer(200, &[], "fine"),
            _ => answer(401, &["www-authenticate: Bearer"], ""),
        };
        let _ = stream.write_all(&bytes);
    });
    let user = User::new(false);
    let status = user.agent.post(server.url("/orders")).send("one order").unwrap().status();
    let orders = server.requests().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!((status.as_u16(), orders, user.token_requests()), (401, 1, 1));
}

#[test]
fn the_token_is_chosen_after_the_body_is_read() {
    /// A body before whose end a token of an hour has run out.
    struct Slow(Arc<AtomicUsize>, bool);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, true) {
                return Ok(0);
            }
            self.0.fetch_add(7200, Ordering::SeqCst);
            buffer[0] = b'x';
            Ok(1)
        }
    }
    let seconds = Arc::new(AtomicUsize::new(0));
    let time = seconds.clone();
    let count = AtomicUsize::new(0);
    let send = move |_: &Request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)))
    };
    let clock = move || Duration::from_secs(time.load(Ordering::SeqCst) as u64);
    let client = Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, clock);
    let tokens = Arc::new(SharedTokenCache::new(client, Grant::client_credentials()));
    let authorize = Authorize::new(tokens, settings(true).build().new_agent());
    let agent = settings(true).middleware(authorize).build().new_agent();
    let server = Server::answering(answer(200, &[], ""));
    agent.get(server.url("/")).call().unwrap();
    agent.post(server.url("/")).send(SendBody::from_owned_reader(Slow(seconds, false))).unwrap();
    let sent: Vec<_> = server.requests().iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer t1", "Bearer t2"]);
}
