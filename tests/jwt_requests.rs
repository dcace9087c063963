//! Requests with assertions: what is sent, what a cache and a store make of it, and devices whose clock is wrong. The server is
//! data, and so are the clocks.

#![cfg(feature = "jwt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/jwt.rs"]
mod assertions;

use assertions::{claims, number, path};
use keyfob::{
    Assertion, Client, ClientAuthentication, ClientCredentials, Clock, Endpoint, Error, ErrorKind, Grant, Parameters,
    Request, Response, Secret, SecretSource, Signer, TokenCache,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;
const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";

fn key(name: &str) -> Assertion {
    Assertion::new(SecretSource::file(path(name)))
}

fn credentials() -> ClientCredentials {
    ClientCredentials::default().client_id("id")
}

fn endpoint() -> Endpoint {
    Endpoint::new("https://as.example/token").unwrap()
}

/// The parameters of a request; of an assertion the algorithm's part alone.
fn sent(request: &Request) -> String {
    let text = std::str::from_utf8(request.body().unwrap()).unwrap();
    text.split('&')
        .map(|pair| match pair.split_once("assertion=") {
            Some((name, value)) => format!("{name}assertion={}…", value.split('.').next().unwrap()),
            None => pair.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&")
}

const TYPE: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
const BEARER: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// `{"alg":"ES256","typ":"JWT"}` and `{"alg":"HS256","typ":"JWT"}`.
const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9";
const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

#[test]
fn a_client_proves_itself_with_an_assertion() {
    use ClientAuthentication::{ClientSecretBasic, ClientSecretJwt, None as Public, PrivateKeyJwt};
    let by_key = || credentials().assertion(key("p256.pem"));
    let by_secret = || credentials().client_secret("s3cret".to_owned());
    let hint = "`private_key_jwt` needs a key (`Client::assertion`), `client_secret_jwt` the client secret, and the others \
                neither";
    let ok = |algorithm: &str| {
        Ok(format!("grant_type=client_credentials&client_id=id&{TYPE}&client_assertion={algorithm}…"))
    };
    let wrong =
        |method: &str, why: &str| Err((format!("the client authentication is `{method}`, and there is {why}"), hint));
    for (named, credentials, expected) in [
        (None, by_key(), ok(ES256)),
        (Some(PrivateKeyJwt), by_key(), ok(ES256)),
        (Some(ClientSecretJwt), by_secret(), ok(HS256)),
        (Some(ClientSecretJwt), by_secret().assertion(Assertion::with_client_secret()), ok(HS256)),
        (None, by_secret().assertion(Assertion::with_client_secret()), ok(HS256)),
        (Some(PrivateKeyJwt), credentials(), wrong("private_key_jwt", "no key")),
        (
            Some(PrivateKeyJwt),
            by_secret().assertion(Assertion::with_client_secret()),
            Err((
                "there is a client secret, but the client authentication is `private_key_jwt`".into(),
                "leave one of them out",
            )),
        ),
        (Some(ClientSecretJwt), by_key(), wrong("client_secret_jwt", "another key for its assertions")),
        (Some(Public), by_key(), wrong("none", "another key for its assertions")),
        (
            Some(ClientSecretBasic),
            by_secret().assertion(key("p256.pem")),
            wrong("client_secret_basic", "another key for its assertions"),
        ),
        (
            Some(ClientSecretJwt),
            credentials(),
            Err((
                "an assertion needs the client secret to be signed with".into(),
                "name the file that holds it (`Client::client_secret`)",
            )),
        ),
        (
            None,
            ClientCredentials::default().assertion(key("p256.pem")),
            Err(("the client id is missing".into(), "give it as client_id (`Client::client_id`)")),
        ),
    ] {
        let endpoint = named.clone().into_iter().fold(endpoint(), Endpoint::authentication);
        let made = Request::token(&endpoint, &credentials, &Grant::client_credentials());
        let made = made.as_ref().map(sent).map_err(|error| (error.to_string(), error.hint().unwrap()));
        assert_eq!(made, expected, "{named:?}");
    }
}

#[test]
fn an_assertion_is_a_grant() {
    let grant = |assertion: Assertion| Grant::jwt_bearer(assertion.claim("sub", "alice")).scope("read");
    let made = |endpoint: &Endpoint, credentials: &ClientCredentials, grant: &Grant| {
        Request::token(endpoint, credentials, grant).map(|request| sent(&request))
    };
    let (public, secret) = (ClientCredentials::default(), credentials().client_secret("s3cret".to_owned()));
    let own = |name| key(name).claim("iss", "id");
    for (credentials, assertion, expected) in [
        (&public, own("p256.pem"), format!("{BEARER}&assertion={ES256}…&scope=read")),
        (&credentials(), key("p256.pem"), format!("{BEARER}&client_id=id&assertion={ES256}…&scope=read")),
        (&secret, key("p256.pem"), format!("{BEARER}&assertion={ES256}…&scope=read")),
        (
            &credentials().assertion(key("p256.pem")),
            key("p256.jwk").header("kid", ""),
            format!(
                "{BEARER}&client_id=id&{TYPE}&client_assertion={ES256}…&\
                 assertion=eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IiJ9…&scope=read"
            ),
        ),
    ] {
        let described = made(&endpoint(), credentials, &grant(assertion)).unwrap();
        assert_eq!(described, expected);
    }
    let error = made(&endpoint(), &public, &grant(key("p256.pem"))).unwrap_err();
    assert_eq!(error.to_string(), "the assertion has no issuer");
    let error = made(&endpoint().parameter("assertion", "x"), &public, &grant(own("p256.pem"))).unwrap_err();
    assert_eq!(error.to_string(), "the parameter `assertion` would be sent twice");
    // In JSON and in a query as well; and a description names the grant by a short name.
    for parameters in [Parameters::Json, Parameters::Query] {
        let request = Request::token(&endpoint().parameters(parameters), &public, &grant(own("p256.pem"))).unwrap();
        let text = format!("{}{}", request.url(), String::from_utf8_lossy(request.body().unwrap()));
        assert!(text.contains(&format!("{ES256}.")), "{text}");
        assert!(request.is_repeatable());
    }
    let described = Endpoint::from_json(r#"{"url": "https://as.example/t", "grant": "jwt_bearer"}"#).unwrap();
    assert!(made(&described, &public, &grant(own("p256.pem"))).is_ok());
}

#[test]
fn the_audience_is_the_url_that_is_asked() {
    let audience = |endpoint: Endpoint| {
        let request =
            Request::token(&endpoint, &credentials().assertion(key("p256.pem")), &Grant::client_credentials());
        let form = String::from_utf8(request.unwrap().body().unwrap().to_vec()).unwrap();
        claims(&form, "client_assertion")
            .unwrap()
            .split("\"aud\":\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let template = Endpoint::new("https://{tenant}.example/{client_id}/token?q={tenant}").unwrap();
    assert_eq!(audience(template.variable("tenant", "acme")), "https://acme.example/id/token");
    assert_eq!(audience(Endpoint::new("https://as.example/token?x=1").unwrap()), "https://as.example/token");
    let known = Endpoint::new("https://as.example/token").unwrap().issuer("https://as.example/").unwrap();
    assert_eq!(audience(known), "https://as.example/");
}

/// A server whose clock is right. It takes assertions that are dated at most 5 minutes from now, and never one twice.
#[derive(Default)]
struct Server {
    seen: Mutex<Vec<String>>,
    refuses: bool,
}

impl Server {
    fn answer(&self, request: &Request) -> Result<Response, Error> {
        let form = std::str::from_utf8(request.body().unwrap()).unwrap();
        let claims = claims(form, "client_assertion").or_else(|| claims(form, "assertion")).unwrap();
        let mut seen = self.seen.lock().unwrap();
        let is_right = (number(&claims, "iat") - NOW).abs() < 300 && !seen.contains(&claims) && !self.refuses;
        seen.push(claims);
        Ok(match is_right {
            true => Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#),
            false => Response::new(401, *br#"{"error":"invalid_client"}"#),
        }
        .with_header("Date", DATE))
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A boot clock that a test sets, and a wall clock that is this far from right.
#[derive(Clone)]
struct Clocks {
    now: Arc<Mutex<Duration>>,
    behind: i64,
}

impl Clocks {
    fn behind(behind: i64) -> Self {
        Self { now: Arc::default(), behind }
    }

    fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }
}

impl Clock for Clocks {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wall_time(&self) -> Option<Duration> {
        u64::try_from(NOW - self.behind).ok().map(Duration::from_secs)
    }
}

fn client(server: &Arc<Server>, url: &str, clocks: &Clocks) -> Client {
    let server = server.clone();
    let endpoint = Endpoint::new(url).unwrap().allow_http(true);
    Client::with_parts(endpoint, move |request: &Request| server.answer(request), clocks.clone())
}

const AUDIENCE: &str = "the server may want another audience (`Assertion::audience`), key id (`Assertion::key_id`) or \
                        algorithm (`Assertion::algorithm`), or not know the key";
const CLOCK: &str = "the clock of this device is wrong, and assertions are dated by it: set the clock";

#[test]
fn a_wrong_clock_costs_a_second_request_and_never_over_http() {
    const DAY: i64 = 86_400;
    let (https, http) = ("https://as.example/token", "http://as.example/token");
    for (url, behind, refuses, requests, hint) in [
        (https, 0, false, 1, None),
        (https, 280, false, 1, None),
        (https, NOW, false, 2, None),
        (https, NOW + 1, false, 2, None), // no wall clock
        (https, -DAY, false, 2, None),
        (https, 7 * DAY, false, 2, None),
        ("HTTPS://as.example/token", 7 * DAY, false, 2, None),
        (http, 0, false, 1, None),
        (http, NOW, false, 1, Some(CLOCK)),
        (http, -DAY, false, 1, Some(CLOCK)),
        (https, 0, true, 1, Some(AUDIENCE)),
        (https, 29, true, 1, Some(AUDIENCE)),
        (https, 31, true, 2, Some(AUDIENCE)),
        (https, NOW, true, 2, Some(AUDIENCE)),
    ] {
        for is_grant in [false, true] {
            let server = Arc::new(Server { refuses, ..Server::default() });
            let clocks = Clocks::behind(behind);
            let client = client(&server, url, &clocks).client_id("id");
            let (client, grant) = match is_grant {
                true => (client, Grant::jwt_bearer(key("ed25519.pem"))),
                false => (client.assertion(key("ed25519.pem")), Grant::client_credentials()),
            };
            let result = client.fetch(&grant);
            let row = format!("{url}, {behind}, {refuses}");
            assert_eq!(result.as_ref().err().map(|error| error.hint().unwrap()), hint, "{row}");
            assert_eq!(server.count(), requests, "{row}");
            // The time is remembered only if it helped, and goes on.
            clocks.pass(100);
            assert_eq!(client.fetch(&grant).is_ok(), hint.is_none(), "{row}");
            let more = if hint.is_none() { 1 } else { requests };
            assert_eq!(server.count(), requests + more, "{row}");
            if behind.abs() > 300 && hint.is_none() {
                let seen = server.seen.lock().unwrap();
                assert_eq!(number(&seen[2], "iat") - number(&seen[1], "iat"), 100, "{row}");
            }
        }
    }
}

/// Any answer over https has the time that a clock lacks which was never set: no assertion needs to be refused first.
#[test]
fn a_clock_that_was_never_set_is_set_by_any_answer_over_https() {
    for (url, behind, second) in [
        ("https://as.example/token", NOW, 0),
        ("https://as.example/token", NOW + 1, 0),
        ("https://as.example/token", 7 * 86_400, -7 * 86_400 - 10),
        ("http://as.example/token", NOW, -NOW),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (dates, clocks) = (seen.clone(), Clocks::behind(behind));
        let answer = move |request: &Request| {
            let form = std::str::from_utf8(request.body().unwrap()).unwrap();
            dates.lock().unwrap().push(number(&claims(form, "client_assertion").unwrap(), "iat") - NOW);
            Ok(Response::new(503, "").with_header("Date", DATE))
        };
        let endpoint = Endpoint::new(url).unwrap().allow_http(true);
        let client = Client::with_parts(endpoint, answer, clocks.clone()).client_id("id").assertion(key("ed25519.pem"));
        client.fetch(&Grant::client_credentials()).unwrap_err();
        clocks.pass(10);
        client.fetch(&Grant::client_credentials()).unwrap_err();
        assert_eq!(seen.lock().unwrap()[1..], [second], "{url} {behind}");
    }
}

/// RFC 7518 section 3.2: some servers refuse a shorter one, and say no more than that the client is unknown.
#[test]
fn a_refused_assertion_of_a_short_secret_says_so() {
    const SHORT: &str = "the secret has less than 32 bytes, and servers may refuse HS256 with it (RFC 7518 section 3.2): use a \
                         longer one";
    let whole = "s".repeat(32);
    for (secret, hint) in [(&whole[1..], SHORT), (&whole, AUDIENCE)] {
        for by_client in [true, false] {
            let server = Arc::new(Server { refuses: true, ..Server::default() });
            let client = client(&server, "https://as.example/token", &Clocks::behind(0)).client_id("id");
            let client = match by_client {
                true => client.client_secret(secret.to_owned()).assertion(Assertion::with_client_secret()),
                false => {
                    client.assertion(Assertion::new(SecretSource::value(format!("{secret}\n"))).algorithm("HS256"))
                }
            };
            assert_eq!(client.fetch(&Grant::client_credentials()).unwrap_err().hint(), Some(hint), "{secret}");
        }
    }
}

/// The time limit is for all of it: a key service that is slow leaves less for the server.
#[test]
fn signing_counts_as_a_part_of_the_time_limit() {
    struct Slow(Clocks);
    impl Signer for Slow {
        fn algorithm(&self) -> &str {
            "ES256"
        }

        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
            self.0.pass(3);
            Ok(vec![1; 64])
        }

        fn identity(&self) -> Result<Secret, Error> {
            Ok("slow".to_owned().into())
        }
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt-slow-refresh");
    std::fs::write(&file, "r").unwrap();
    for grant in [Grant::client_credentials(), Grant::refresh_token_file(&file)] {
        let left = Arc::new(Mutex::new(Vec::new()));
        let (seen, clocks) = (left.clone(), Clocks::behind(NOW));
        let answer = move |request: &Request| {
            seen.lock().unwrap().push(request.timeout().as_secs());
            Ok(Response::new(401, *br#"{"error":"invalid_client"}"#).with_header("Date", DATE))
        };
        let client = Client::with_parts(endpoint(), answer, clocks.clone()).client_id("id");
        let client = client.assertion(Assertion::with_signer(Slow(clocks))).timeout(Duration::from_secs(10));
        client.fetch(&grant).unwrap_err();
        // The second one is signed with the server's time.
        assert_eq!(*left.lock().unwrap(), [7, 4], "{grant:?}");
    }
}

/// Other refusals are not about the clock, and a password or what is good for one use is not sent twice because of it.
#[test]
fn only_a_refused_assertion_is_signed_again() {
    type Make = fn() -> Grant;
    let machine: Make = Grant::client_credentials;
    let bearer: Make = || Grant::jwt_bearer(key("ed25519.pem"));
    let person: Make = || Grant::password("alice", SecretSource::value("s3cret"));
    let refresh: Make = || Grant::refresh_token(SecretSource::value("s3cret"));
    let code: Make = || Grant::extension("authorization_code").secret_parameter("code", SecretSource::value("s3cret"));
    let (client, grant) = (r#"{"error":"invalid_client"}"#, r#"{"error":"invalid_grant"}"#);
    for (make, status, body, requests) in [
        (machine, 400, client, 2),
        (machine, 400, grant, 1),
        (machine, 401, "", 2),
        (machine, 403, "", 2),
        (machine, 400, r#"{"error":"invalid_request"}"#, 2),
        (bearer, 400, grant, 2),
        (person, 401, client, 2),
        (person, 400, grant, 1),
        (person, 401, "", 1),
        (refresh, 401, client, 2),
        (refresh, 400, grant, 1),
        (refresh, 400, r#"{"error":"invalid_request"}"#, 1),
        (code, 401, client, 2),
        (code, 400, grant, 1),
        (code, 401, "", 1),
        (machine, 400, r#"{"error":"invalid_scope"}"#, 1),
        (machine, 400, r#"{"error":"unauthorized_client"}"#, 1),
        (machine, 200, r#"{"error":"invalid_client"}"#, 1),
        (machine, 404, "", 1),
        (machine, 429, "", 1),
        (machine, 500, "", 1),
        (machine, 407, "", 1),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let answer = move |_: &Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Response::new(status, body).with_header("Date", DATE))
        };
        let client = Client::with_parts(endpoint(), answer, Clocks::behind(NOW)).client_id("id");
        client.assertion(key("ed25519.pem")).fetch(&make()).unwrap_err();
        assert_eq!(count.load(Ordering::Relaxed), requests, "{:?} {status} {body}", make());
    }
    // A client without an assertion asks once.
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let answer = move |_: &Request| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(401, *br#"{"error":"invalid_client"}"#).with_header("Date", DATE))
    };
    let client = Client::with_parts(endpoint(), answer, Clocks::behind(NOW)).client_id("id");
    client.client_secret("s3cret".to_owned()).fetch(&Grant::client_credentials()).unwrap_err();
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn a_refusal_is_remembered_though_no_two_assertions_are_alike() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt-rotated.pem");
    for is_grant in [false, true] {
        std::fs::copy(path("p256.pem"), &file).unwrap();
        let server = Arc::new(Server { refuses: true, ..Server::default() });
        let clocks = Clocks::behind(0);
        let own = || Assertion::new(SecretSource::file(&file));
        let client = client(&server, "https://as.example/token", &clocks).client_id("id");
        let mut tokens = match is_grant {
            true => TokenCache::new(client, Grant::jwt_bearer(own())),
            false => TokenCache::new(client.assertion(own()), Grant::client_credentials()),
        };
        for _ in 0..5 {
            clocks.pass(1);
            assert_eq!(tokens.token().unwrap_err().kind(), ErrorKind::Refused);
        }
        assert_eq!(server.count(), 1);
        // Another key is another credential, and is tried.
        std::fs::copy(path("ed25519.pem"), &file).unwrap();
        clocks.pass(1);
        tokens.token().unwrap_err();
        assert_eq!(server.count(), 2);
    }
}

/// What is made anew may be asked for again, even if the first answer was lost or brought a refresh token.
#[test]
fn a_lost_answer_blocks_no_new_assertion() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let answer = move |_: &Request| match counter.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Error::new(ErrorKind::OutcomeUnknown, "the connection was cut")),
        1 => Ok(Response::new(200, *br#"{"access_token":"a","expires_in":60,"refresh_token":"r"}"#)),
        2 => Ok(Response::new(400, *br#"{"error":"invalid_grant"}"#)),
        _ => Ok(Response::new(200, *br#"{"access_token":"b","expires_in":60}"#)),
    };
    let clocks = Clocks::behind(0);
    let client = Client::with_parts(endpoint(), answer, clocks.clone()).client_id("id");
    let mut tokens = TokenCache::new(client, Grant::jwt_bearer(key("ed25519.pem")));
    assert!(tokens.token().unwrap_err().is_retryable());
    clocks.pass(10);
    assert_eq!(tokens.token().unwrap().expose(), "a");
    clocks.pass(60);
    // The refresh token is refused, and the assertion takes its place.
    assert_eq!(tokens.token().unwrap().expose(), "b");
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[cfg(unix)]
#[test]
fn a_stored_token_belongs_to_the_key_and_the_claims() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jwt-store-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let server = Arc::new(Server::default());
    let clocks = Clocks::behind(0);
    let ask = |assertion: Assertion, is_grant: bool| {
        let client = client(&server, "https://as.example/token", &clocks).client_id("id");
        let tokens = match is_grant {
            true => TokenCache::new(client, Grant::jwt_bearer(assertion)),
            false => TokenCache::new(client.assertion(assertion), Grant::client_credentials()),
        };
        tokens.store(keyfob::Store::at(&directory).unwrap()).token().unwrap();
        server.count()
    };
    for (index, (assertion, is_grant)) in [
        (key as fn(&str) -> Assertion, false),
        (key, true),
        (|name| key(name).audience("https://as.example"), false),
        (|name| key(name).claim("sub", "alice"), true),
        (|name| key(name).claim("sub", "bob"), true),
        (|name| key(name).key_id("sub"), true),
        (|name| key(name).header("sub", "bob"), true),
        (|name| key(name).lifetime(Duration::from_secs(60)), true),
    ]
    .into_iter()
    .enumerate()
    {
        for (other, name) in ["ed25519.pem", "p256.pem"].into_iter().enumerate() {
            let expected = index * 2 + other + 1;
            assert_eq!(ask(assertion(name), is_grant), expected, "asked");
            assert_eq!(ask(assertion(name), is_grant), expected, "found");
        }
    }
    // A refusal as well.
    let refusing = Arc::new(Server { refuses: true, ..Server::default() });
    let ask = |name: &str| {
        clocks.pass(1);
        let client = client(&refusing, "https://as.example/other", &clocks).client_id("id").assertion(key(name));
        let tokens = TokenCache::new(client, Grant::client_credentials());
        tokens.store(keyfob::Store::at(&directory).unwrap()).token().unwrap_err();
        refusing.count()
    };
    assert_eq!(["p256.pem", "p256.pem", "ed25519.pem", "ed25519.pem", "p256.pem"].map(ask), [1, 1, 2, 2, 2]);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A server that echoes the assertion does not get it into an error.
#[test]
fn an_echoed_assertion_is_not_shown() {
    let answer = |request: &Request| {
        let form = String::from_utf8(request.body().unwrap().to_vec()).unwrap();
        let assertion = form.split("client_assertion=").nth(1).unwrap();
        Ok(Response::new(400, format!(r#"{{"error":"invalid_client","error_description":"bad: {assertion}"}}"#)))
    };
    let client = Client::with_parts(endpoint(), answer, Clocks::behind(0)).client_id("id");
    let error = client.assertion(key("ed25519.pem")).fetch(&Grant::client_credentials()).unwrap_err();
    assert_eq!(error.oauth_error_description(), Some("‹redacted›"));
}

#[test]
fn a_revocation_is_signed_too() {
    let server = Arc::new(Server::default());
    let clocks = Clocks::behind(0);
    let seen = server.clone();
    let endpoint = endpoint().revocation(keyfob::Revocation::Endpoint("https://as.example/revoke".into()));
    let answer = move |request: &Request| seen.answer(request);
    let client = Client::with_parts(endpoint, answer, clocks).client_id("id").assertion(key("ed25519.pem"));
    client.revoke(keyfob::AccessToken::bearer("abc").unwrap()).unwrap();
    assert!(server.seen.lock().unwrap()[0].contains(r#""aud":"https://as.example/token""#));
}
