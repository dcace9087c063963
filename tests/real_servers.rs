//! Against two authorization servers that nobody here wrote, over http and https, with the library and the command: see
//! `servers/README.md`. Where one cannot be had it is skipped; with `CI=true` that is a failure.

#![cfg(all(feature = "cli", feature = "tls"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/command.rs"]
mod running;
#[path = "common/jwt.rs"]
mod signing;

use keyfob::{AccessToken, Assertion, Authorize, BootClock, Client, ClientAuthentication, Clock, Endpoint, Error};
use keyfob::{ErrorKind, Grant, Revocation};
use keyfob::{HttpTransport, Request, Secret, SecretSource, SharedTokenCache, Transport};
use running::{Outcome, Place};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use ureq::http::StatusCode;
use ureq::middleware::MiddlewareNext;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

const CA: &[u8] = include_bytes!("data/tls/ca.pem");

/// A server that runs as long as this process.
struct Server {
    name: &'static str,
    scheme: &'static str,
    values: HashMap<String, String>,
    /// It ends when this is closed, at the latest by the end of this process.
    _stdin: ChildStdin,
}

/// Those that can be had here: each is started once for all tests.
static SERVERS: LazyLock<Vec<Server>> = LazyLock::new(|| {
    let starts = ["oidc-provider", "django-oauth-toolkit"]
        .map(|name| ["http", "https"].map(|scheme| std::thread::spawn(move || (name, Server::start(name, scheme)))));
    let mut servers = Vec::new();
    for start in starts.into_iter().flatten() {
        match start.join().unwrap() {
            (_, Ok(server)) => servers.push(server),
            (name, Err(why)) if std::env::var_os("CI").is_some_and(|value| value == "true") => {
                panic!("{name} is needed here: {why}")
            }
            // Past the harness, which keeps the output of a test that passes to itself.
            (name, Err(why)) => {
                let _ = writeln!(io::stderr(), "real_servers: {name} is skipped, because {why}");
            }
        }
    }
    servers
});

impl Server {
    /// Starts it; an error says why it cannot be had here.
    fn start(name: &'static str, scheme: &'static str) -> Result<Self, String> {
        let mut command = Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/start")).args([name, scheme]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("bash cannot be started: {error}"))?;
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut values, mut reason) = (HashMap::new(), String::new());
        for line in BufReader::new(stdout).lines().map(Result::unwrap) {
            match line.split_once('=') {
                Some((key, value)) => _ = values.insert(key.to_owned(), value.to_owned()),
                None if line.is_empty() => return Ok(Self { name, scheme, values, _stdin: stdin }),
                None => reason = line,
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(77), "{name} over {scheme} does not start");
        Err(reason)
    }

    fn value(&self, key: &str) -> &str {
        &self.values[key]
    }

    fn client_with(&self, endpoint: Endpoint, id: &str, transport: impl Transport + 'static) -> Client {
        let client = Client::with_parts(endpoint, transport, BootClock);
        client.client_id(self.value(id)).client_secret(keyfob::SecretSource::value(self.value("SECRET")))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.value("TOKEN_URL")).unwrap()
    }

    fn client(&self, id: &str) -> Client {
        self.client_with(self.endpoint(), id, transport())
    }

    fn password(&self) -> Grant {
        Grant::password(self.value("USERNAME"), keyfob::SecretSource::value(self.value("PASSWORD"))).scope("read write")
    }

    /// What the protected resource says to this token.
    fn resource(&self, token: &str) -> u16 {
        let request = AGENT.get(self.value("RESOURCE_URL")).header("authorization", format!("Bearer {token}"));
        request.call().unwrap().status().as_u16()
    }

    /// Ends a token by RFC 7009.
    fn revoke(&self, id: &str, token: &str) {
        let form = [("token", token), ("client_id", self.value(id)), ("client_secret", self.value("SECRET"))];
        let answer = AGENT.post(self.value("REVOKE_URL")).send_form(form).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{self}");
    }

    /// A place for the command, with the client's secret, the user's password and the authority's certificate.
    fn place(&self) -> Place {
        let place = Place::new();
        place.file("here/client-secret", self.value("SECRET"));
        place.file("here/password", self.value("PASSWORD"));
        place.file("here/ca.pem", CA);
        place
    }

    /// `keyfob token` with the cache of this place.
    fn run(&self, place: &Place, id: &str, options: &[&str]) -> Outcome {
        self.run_at(self.value("TOKEN_URL"), place, id, options)
    }

    fn run_at(&self, url: &str, place: &Place, id: &str, options: &[&str]) -> Outcome {
        let outcome = place.keyfob([&["token"], &of_client(url, id)[..], options].concat()).outcome();
        for secret in ["SECRET", "PASSWORD"] {
            assert!(!format!("{outcome:?}").contains(self.value(secret)), "{self}: {outcome:?}");
        }
        outcome
    }

    /// The token that the command prints, and where it says that it is from.
    #[track_caller]
    fn printed(&self, place: &Place, id: &str, options: &[&str]) -> (String, String) {
        self.printed_at(self.value("TOKEN_URL"), place, id, options)
    }

    #[track_caller]
    fn printed_at(&self, url: &str, place: &Place, id: &str, options: &[&str]) -> (String, String) {
        let outcome = self.run_at(url, place, self.value(id), &[options, &["--format", "json"]].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{self} {options:?}");
        let member = |name| {
            let (_, value) = outcome.stdout.split_once(&format!("\"{name}\":\""))?;
            value.split('"').next().map(str::to_owned)
        };
        (member("access_token").unwrap(), member("cache").unwrap())
    }

    /// The same; it must be one that the resource takes.
    #[track_caller]
    fn token_by_command(&self, place: &Place, id: &str, options: &[&str]) -> (String, String) {
        let printed = self.printed(place, id, options);
        assert_eq!(self.resource(&printed.0), 200, "{self} {options:?}");
        printed
    }

    /// The command must be refused by the server, with this status and code.
    #[track_caller]
    fn command_is_refused(&self, place: &Place, id: &str, options: &[&str], status: u16, code: &str) {
        let outcome = self.run(place, id, &[options, &["--format", "json"]].concat());
        let end = format!(r#","status":{status},"oauth_error":"{code}","retry_after":null,"retryable":false}}"#);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{self}: {outcome:?}");
        assert!(outcome.stderr.starts_with(r#"{"error":"refused","#), "{self}: {outcome:?}");
        assert!(outcome.stderr.trim_end().ends_with(&end), "{self}: {outcome:?}");
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}", self.name, self.scheme)
    }
}

/// The command's options for a client of a place.
fn of_client<'a>(url: &'a str, id: &'a str) -> [&'a str; 8] {
    ["--url", url, "--client-id", id, "--client-secret-file", "client-secret", "--ca-file", "ca.pem"]
}

fn transport() -> HttpTransport {
    HttpTransport::new().no_proxy().roots_pem(CA).unwrap()
}

/// Counts what it sends, by the grant's name.
fn counting() -> (Arc<Mutex<Vec<String>>>, impl Transport) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (list, transport) = (sent.clone(), transport());
    let send = move |request: &Request| {
        let body = std::str::from_utf8(request.body().unwrap()).unwrap();
        let grant = body.split('&').find_map(|field| field.strip_prefix("grant_type=")).unwrap();
        list.lock().unwrap().push(grant.to_owned());
        transport.send(request)
    };
    (sent, send)
}

/// A way to the server that sees who comes, and nothing else.
struct Door {
    url: String,
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Door {
    fn before(server: &Server) -> Self {
        let (scheme, rest) = server.value("TOKEN_URL").split_once("://").unwrap();
        let (inside, path) = rest.split_once('/').unwrap();
        let (inside, listener) = (inside.to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("{scheme}://{}/{path}", listener.local_addr().unwrap());
        let came = Arc::new(Mutex::new(Vec::new()));
        let list = came.clone();
        std::thread::spawn(move || {
            for from in listener.incoming().map(Result::unwrap) {
                list.lock().unwrap().push(Instant::now());
                let to = TcpStream::connect(&inside).unwrap();
                for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { url, came }
    }

    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// When the last one came.
    fn last(&self) -> Instant {
        *self.came.lock().unwrap().last().unwrap()
    }
}

static AGENT: LazyLock<Agent> = LazyLock::new(|| agent().build().new_agent());

/// The settings of an agent for the resource. A connection that is kept may be closed just when it is needed.
fn agent() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(CA).unwrap()]);
    let tls = TlsConfig::builder().root_certs(roots).build();
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(tls)
        .max_idle_connections(0)
        .timeout_global(Some(Duration::from_secs(20)))
}

type Statuses = Arc<Mutex<Vec<(u16, Instant)>>>;

/// An agent that sends the tokens of this cache, and the status of each answer to it with its moment.
fn authorizing(tokens: Arc<SharedTokenCache>) -> (Statuses, Agent) {
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let counted = || {
        let statuses = statuses.clone();
        move |request: ureq::http::Request<SendBody>, next: MiddlewareNext| {
            let answer: Result<ureq::http::Response<Body>, ureq::Error> = next.handle(request);
            statuses.lock().unwrap().push((answer.as_ref().unwrap().status().as_u16(), Instant::now()));
            answer
        }
    };
    let authorize = Authorize::new(tokens, agent().middleware(counted()).build().new_agent());
    let agent = agent().middleware(authorize).middleware(counted()).build().new_agent();
    (statuses, agent)
}

fn refresh_token(token: &AccessToken) -> String {
    token.refresh_token().expect("there is a refresh token").expose().to_owned()
}

#[track_caller]
fn assert_refused(server: &Server, result: Result<AccessToken, Error>, status: u16, code: &str) {
    let error = result.expect_err(code);
    assert_eq!(
        (error.kind(), error.status(), error.oauth_error()),
        (ErrorKind::Refused, Some(status), Some(code)),
        "{server}"
    );
}

#[test]
fn client_credentials_may_hold_any_character() {
    for server in &*SERVERS {
        for (authentication, name) in [
            (ClientAuthentication::ClientSecretBasic, "client_secret_basic"),
            (ClientAuthentication::ClientSecretPost, "client_secret_post"),
        ] {
            let endpoint = server.endpoint().authentication(authentication);
            let client = server.client_with(endpoint, "MACHINE_ID", transport());
            let token = client.fetch(&Grant::client_credentials().scope("read")).unwrap();
            assert_eq!((token.token_type(), token.scope()), (Some("Bearer"), Some("read")), "{server} {name}");
            let left = token.remaining(client.now()).unwrap();
            assert!((580..600).contains(&left.as_secs()), "{server} {name}: {left:?}");
            assert_eq!(server.resource(token.expose()), 200, "{server} {name}");
            server.token_by_command(&server.place(), "MACHINE_ID", &["--auth", name, "--scope", "read"]);
        }
    }
}

/// Those that take assertions.
fn of_assertions() -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(|server| server.name == "oidc-provider")
}

fn key(name: &str) -> Assertion {
    Assertion::new(SecretSource::file(signing::path(name)))
}

/// A client with a key, at a server, whose wall clock is this far behind.
fn signing_client(server: &Server, assertion: Assertion, behind: i64) -> Client {
    struct Behind(i64);
    impl Clock for Behind {
        fn now(&self) -> Duration {
            BootClock.now()
        }

        fn wall_time(&self) -> Option<Duration> {
            Duration::from_secs(BootClock.wall_time()?.as_secs().checked_add_signed(-self.0)?).into()
        }
    }
    let endpoint = server.endpoint().revocation(Revocation::Endpoint(server.value("REVOKE_URL").into()));
    let client = Client::with_parts(endpoint, transport(), Behind(behind));
    client.client_id(server.value("KEY_ID")).assertion(assertion)
}

#[test]
fn assertions_of_each_algorithm_authenticate_a_client() {
    for server in of_assertions() {
        for (file, algorithm) in [
            ("p256.pem", "ES256"),
            ("p256.sec1.pem", "ES256"),
            ("p384.jwk", "ES384"),
            ("ed25519.pem", "EdDSA"),
            ("ed25519.pem", "Ed25519"),
            ("rsa.pem", "RS256"),
            ("rsa.der", "PS256"),
        ] {
            for audience in [None, Some("ISSUER"), Some("TOKEN_URL")] {
                let assertion = key(file).algorithm(algorithm);
                // That of a JWK is its own.
                let assertion = assertion.header("kid", file.split('.').next().unwrap());
                let assertion =
                    audience.map(|name| server.value(name)).into_iter().fold(assertion, Assertion::audience);
                let client = signing_client(server, assertion, 0);
                let token = client.fetch(&Grant::client_credentials().scope("read")).unwrap();
                assert_eq!(server.resource(token.expose()), 200, "{server} {file} {algorithm}");
                client.revoke(token.clone()).unwrap();
                assert_eq!(server.resource(token.expose()), 401, "{server} {file} {algorithm}");
            }
        }
        let endpoint = server.endpoint().authentication(ClientAuthentication::ClientSecretJwt);
        let client = Client::with_parts(endpoint, transport(), BootClock).client_id(server.value("SECRET_JWT_ID"));
        let secret = SecretSource::value(server.value("LONG_SECRET"));
        client.client_secret(secret).fetch(&Grant::client_credentials()).unwrap();

        let place = server.place();
        place.file("here/key.pem", std::fs::read(signing::path("p256.pem")).unwrap());
        place.file("here/long-secret", server.value("LONG_SECRET"));
        let sign = format!("openssl dgst -sha256 -sign {}", place.path("here/key.pem"));
        let path = std::env::var_os("PATH").unwrap();
        for options in [
            &["--client-id", server.value("KEY_ID"), "--signing-key-file", "key.pem"][..],
            &["--client-id", server.value("KEY_ID"), "--sign-command", &sign, "--algorithm", "ES256"],
            &[
                "--client-id",
                server.value("SECRET_JWT_ID"),
                "--auth",
                "client_secret_jwt",
                "--client-secret-file",
                "long-secret",
            ],
        ] {
            let words = [&["token", "--url", server.value("TOKEN_URL"), "--ca-file", "ca.pem"][..], options].concat();
            let outcome = place.keyfob(words).variable("PATH", &path).outcome();
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{server} {options:?}");
            assert_eq!(server.resource(outcome.stdout.trim_end()), 200, "{server} {options:?}");
        }
    }
}

#[test]
fn an_assertion_is_a_grant_and_a_wrong_one_is_refused() {
    const AUDIENCE: &str = "the server may want another audience (`Assertion::audience`), key id (`Assertion::key_id`) or \
                            algorithm (`Assertion::algorithm`), or not know the key";
    for server in of_assertions() {
        let id = server.value("KEY_ID");
        let client = || signing_client(server, key("p256.pem"), 0);
        let bearer = |assertion: Assertion| Grant::jwt_bearer(assertion.claim("sub", "alice")).scope("read");
        let token = client().fetch(&bearer(key("rsa.pem"))).unwrap();
        assert_eq!(server.resource(token.expose()), 200, "{server}");
        let other = client().fetch(&Grant::jwt_bearer(key("rsa.pem").claim("sub", "mallory")));
        for (result, status, code) in [
            (other, 400, "invalid_grant"),
            (client().fetch(&bearer(key("rsa.pem").audience("https://other.example"))), 400, "invalid_grant"),
            (
                signing_client(server, key("p256.pem").key_id("other"), 0).fetch(&bearer(key("rsa.pem"))),
                401,
                "invalid_client",
            ),
            (
                signing_client(server, key("p256.pem").audience("https://other.example"), 0)
                    .fetch(&bearer(key("rsa.pem"))),
                401,
                "invalid_client",
            ),
            (
                signing_client(server, key("p256.pem").claim("sub", "x"), 0).fetch(&Grant::client_credentials()),
                400,
                "invalid_request",
            ),
        ] {
            let error = result.as_ref().unwrap_err();
            assert_eq!(error.hint(), Some(AUDIENCE), "{server} {id}");
            assert_refused(server, result, status, code);
        }
    }
}

/// Over https a wrong clock costs a second request, and over plain http the token.
#[test]
fn a_wrong_clock_is_set_by_the_server() {
    const DAY: i64 = 86_400;
    let now = i64::try_from(BootClock.wall_time().unwrap().as_secs()).unwrap();
    for server in of_assertions() {
        for behind in [now, 7 * DAY, 600] {
            for grant in [Grant::client_credentials(), Grant::jwt_bearer(key("ed25519.pem").claim("sub", "alice"))] {
                let result = signing_client(server, key("p256.pem"), behind).fetch(&grant);
                if server.scheme == "https" {
                    assert_eq!(server.resource(result.unwrap().expose()), 200, "{server} {behind}");
                    continue;
                }
                let hint = "the clock of this device is wrong, and assertions are dated by it: set the clock";
                assert_eq!(result.as_ref().unwrap_err().hint(), Some(hint), "{server} {behind}");
                assert_refused(server, result, 401, "invalid_client");
            }
        }
        // This one does not mind a date in the future for a client; for a grant it does.
        let ahead = signing_client(server, key("p256.pem"), -DAY);
        ahead.fetch(&Grant::client_credentials()).unwrap();
        let result = ahead.fetch(&Grant::jwt_bearer(key("p256.pem").claim("sub", "alice")));
        assert_eq!(result.is_ok(), server.scheme == "https", "{server}");
    }
}

/// The issuer is all that these are told: discovery, then token, introspection, revocation, exchange and a resource.
#[test]
fn the_endpoints_are_found_by_the_issuer() {
    for server in of_assertions() {
        let place = server.place();
        let run = |verb: &str, options: &[&str]| {
            let client = ["--issuer", server.value("ISSUER"), "--client-id", server.value("MACHINE_ID")];
            let secrets = ["--client-secret-file", "client-secret", "--ca-file", "ca.pem"];
            let cache = ["--cache-dir", &place.path("cache")];
            let shared: &[&str] = if verb == "introspect" { &cache } else { &[] };
            let outcome = place.keyfob([&[verb], &client[..], &secrets, shared, options].concat()).outcome();
            (outcome.code, outcome.stdout.trim_end().to_owned(), outcome.stderr)
        };
        let prints = |verb: &str, options: &[&str]| {
            let (code, stdout, stderr) = run(verb, options);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{server} {verb} {options:?}");
            stdout
        };
        let token = prints("token", &["--scope", "read"]);
        assert_eq!(server.resource(&token), 200, "{server}");
        let said = prints("introspect", &["--scope", "read"]);
        for member in [r#""active":true"#, r#""scope":"read""#, r#""client_id":"machine:a+% b""#] {
            assert!(said.contains(member), "{server}: {said}");
        }
        place.file("here/token", &token);
        assert_eq!(prints("revoke", &["--scope", "read"]), "revoked");
        assert_eq!(server.resource(&token), 401, "{server}");
        let (code, stdout, stderr) = run("introspect", &["--access-token-file", "token"]);
        let ended = "{\"active\":false,\"expires_in\":null}";
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(3), ended, ""), "{server}");

        // A token with an audience.
        let resource = server.value("AUDIENCE");
        prints("token", &["--resource", resource]);
        let said = prints("introspect", &["--resource", resource]);
        assert!(said.contains(&format!(r#""aud":"{}""#, server.value("AUDIENCE"))), "{server}: {said}");

        // An exchange, whose subject token is another one's.
        place.file("here/subject", prints("token", &[]));
        let exchange = ["--grant", "urn:ietf:params:oauth:grant-type:token-exchange", "--subject-token-file"];
        let kind = "subject_token_type=urn:ietf:params:oauth:token-type:access_token";
        let answer = prints("token", &[&exchange[..], &["subject", "--param", kind, "--format", "json"]].concat());
        let issued = r#""issued_token_type":"urn:ietf:params:oauth:token-type:access_token""#;
        assert!(answer.contains(issued), "{server}: {answer}");

        for (options, code) in [
            (&["--resource", "https://other.example"][..], "invalid_target"),
            (&[&exchange[..], &["token", "--param", kind]].concat(), "invalid_grant"),
            (&["--scope", "admin"], "invalid_scope"),
        ] {
            let (exit, stdout, stderr) = run("token", options);
            assert_eq!((exit, stdout.as_str()), (Some(3), ""), "{server} {options:?}");
            assert!(stderr.starts_with("keyfob: the server refused (status 400): "), "{server}: {stderr}");
            assert!(stderr.contains(code), "{server}: {stderr}");
        }
    }
}

/// The client authenticates by its certificate, and its token is good with that alone (RFC 8705).
#[test]
fn a_token_is_bound_to_the_clients_certificate() {
    for server in of_assertions().filter(|server| server.scheme == "https") {
        let place = server.place();
        for (name, text) in [
            ("cert.pem", &include_bytes!("data/tls/client.pem")[..]),
            ("key.pem", include_bytes!("data/tls/client.key.pem")),
            ("other.pem", include_bytes!("data/tls/client-rsa.pem")),
            ("other.key.pem", include_bytes!("data/tls/client-rsa.key.pem")),
        ] {
            place.file(&format!("here/{name}"), text);
        }
        let run = |id: &str, options: &[&str]| {
            let words = ["token", "--issuer", server.value("ISSUER"), "--ca-file", "ca.pem", "--client-id"];
            let outcome = place.keyfob([&words[..], &[server.value(id)], options].concat()).outcome();
            (outcome.code, outcome.stdout.trim_end().to_owned(), outcome.stderr)
        };
        let certificate =
            ["--auth", "tls_client_auth", "--client-cert-file", "cert.pem", "--client-key-file", "key.pem"];
        let (code, token, stderr) = run("CERTIFICATE_ID", &certificate);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{server}");
        place.file("here/token", &token);
        let words = ["introspect", "--issuer", server.value("ISSUER"), "--ca-file", "ca.pem", "--access-token-file"];
        let client = ["token", "--client-id", server.value("MACHINE_ID"), "--client-secret-file", "client-secret"];
        let said = place.keyfob([&words[..], &client].concat()).outcome().stdout;
        assert!(said.contains(&format!(r#""x5t#S256":"{}""#, server.value("CERTIFICATE"))), "{server}: {said}");

        let other =
            ["--auth", "tls_client_auth", "--client-cert-file", "other.pem", "--client-key-file", "other.key.pem"];
        for options in [&other[..], &["--auth", "none"]] {
            let (code, stdout, stderr) = run("CERTIFICATE_ID", options);
            assert_eq!((code, stdout.as_str()), (Some(3), ""), "{server} {options:?} {stderr}");
            assert!(stderr.contains("invalid_client"), "{server}: {stderr}");
        }
    }
}

/// One asks, the others get its token, though each would sign another assertion.
#[test]
fn ten_processes_with_one_key_cause_one_request() {
    for server in of_assertions() {
        let (door, place) = (Door::before(server), server.place());
        place.file("here/key.pem", std::fs::read(signing::path("p256.pem")).unwrap());
        let words =
            ["token", "--url", &door.url, "--client-id", server.value("KEY_ID"), "--signing-key-file", "key.pem"];
        let words = [&words[..], &["--ca-file", "ca.pem", "--audience", server.value("ISSUER")]].concat();
        let tokens: HashSet<String> = std::thread::scope(|scope| {
            let runs = [(); 10].map(|()| scope.spawn(|| place.keyfob(&words).outcome()));
            runs.into_iter().map(|run| run.join().unwrap()).map(|outcome| outcome.stdout).collect()
        });
        assert_eq!((tokens.len(), door.count()), (1, 1), "{server}");
    }
}

#[test]
fn a_password_may_hold_any_character() {
    for server in &*SERVERS {
        let token = server.client("PERSON_ID").fetch(&server.password()).unwrap();
        assert_eq!((server.resource(token.expose()), token.scope()), (200, Some("read write")), "{server}");
        let options = ["--grant", "password", "--username", server.value("USERNAME"), "--password-file", "password"];
        let options = [&options[..], &["--scope", "read write"]].concat();
        server.token_by_command(&server.place(), "PERSON_ID", &options);
    }
}

#[test]
fn a_cache_follows_the_rotation_of_refresh_tokens() {
    for server in &*SERVERS {
        for begins_with in ["password", "refresh_token"] {
            // What a program would keep on its disk.
            let stored = Arc::new(Mutex::new(Vec::new()));
            let grant = match begins_with {
                "password" => server.password(),
                _ => {
                    let first = server.client("PERSON_ID").fetch(&server.password()).unwrap();
                    stored.lock().unwrap().push(refresh_token(&first));
                    let newest = stored.clone();
                    let newest = move || Ok(Secret::from(newest.lock().unwrap().last().unwrap().as_str()));
                    Grant::refresh_token(SecretSource::provider(newest))
                }
            };
            let before = stored.lock().unwrap().len();
            let (sent, transport) = counting();
            let hook = stored.clone();
            let tokens = SharedTokenCache::new(server.client_with(server.endpoint(), "PERSON_ID", transport), grant)
                .on_new_refresh_token(move |token| {
                    hook.lock().unwrap().push(token.expose().to_owned());
                    Ok(())
                });
            let first = tokens.token().unwrap();
            assert!(tokens.invalidate(&first));
            let second = tokens.token().unwrap();
            assert_ne!(first.expose(), second.expose());
            assert_eq!(server.resource(second.expose()), 200, "{server}");
            assert_eq!(*sent.lock().unwrap(), [begins_with, "refresh_token"], "{server}");
            // Each is another one, and the newest works.
            let mut all = stored.lock().unwrap().clone();
            let newest = all.last().unwrap().clone();
            let token = server
                .client("PERSON_ID")
                .fetch(&Grant::refresh_token(keyfob::SecretSource::value(newest.as_str())))
                .unwrap();
            all.push(refresh_token(&token));
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!((all.len(), count), (before + 3, before + 3), "{server}");
        }
    }
}

#[test]
fn the_command_refreshes_by_a_token_from_a_file() {
    for server in &*SERVERS {
        let place = server.place();
        let first = server.client("PERSON_ID").fetch(&server.password()).unwrap();
        place.file("here/refresh-token", format!("{}\n", refresh_token(&first)));
        server.token_by_command(&place, "PERSON_ID", REFRESH);
    }
}

const REFRESH: &[&str] = &["--grant", "refresh_token", "--refresh-token-file", "refresh-token"];

/// A place with a refresh token in a file, and that token.
fn place_with_refresh_token(server: &Server, id: &str) -> (Place, String) {
    let place = server.place();
    let token = refresh_token(&server.client(id).fetch(&server.password()).unwrap());
    place.file("here/refresh-token", &token);
    (place, token)
}

/// What the file holds now.
fn stored(place: &Place) -> String {
    std::fs::read_to_string(place.path("here/refresh-token")).unwrap()
}

#[test]
fn the_command_writes_the_rotated_refresh_token_back() {
    for server in &*SERVERS {
        for (each, from) in [("--fresh", "miss"), ("--no-cache", "none")] {
            let (place, mut last) = place_with_refresh_token(server, "PERSON_ID");
            let mut access = Vec::new();
            // Each of them would be refused if the file still had the one before.
            for _ in 0..3 {
                let (token, origin) = server.token_by_command(&place, "PERSON_ID", &[REFRESH, &[each]].concat());
                assert_eq!(origin, from, "{server} {each}");
                assert!(!access.contains(&token), "{server} {each}");
                access.push(token);
                assert_ne!(stored(&place), last, "{server} {each}");
                last = stored(&place);
            }
            // With the cache the next run needs no request, though the file has changed.
            if each == "--fresh" {
                let hit = (access[2].clone(), "hit".to_owned());
                assert_eq!(server.token_by_command(&place, "PERSON_ID", REFRESH), hit, "{server}");
                assert_eq!(stored(&place), last, "{server}");
            }
            let token = server
                .client("PERSON_ID")
                .fetch(&Grant::refresh_token(keyfob::SecretSource::value(last.as_str())))
                .unwrap();
            assert_eq!(server.resource(token.expose()), 200, "{server} {each}");
        }
    }
}

#[test]
fn processes_at_once_do_not_spend_a_refresh_token_twice() {
    const PROCESSES: usize = 6;
    for server in &*SERVERS {
        for options in [&[][..], &["--fresh"], &["--no-cache"]] {
            let (place, first) = place_with_refresh_token(server, "PERSON_ID");
            let print = || server.printed(&place, "PERSON_ID", &[REFRESH, options].concat());
            let printed: Vec<(String, String)> = std::thread::scope(|scope| {
                let runs = [(); PROCESSES].map(|()| scope.spawn(print));
                runs.into_iter().map(|run| run.join().unwrap()).collect()
            });
            let count = |from| printed.iter().filter(|(_, origin)| origin == from).count();
            let different: HashSet<&str> = printed.iter().map(|(token, _)| token.as_str()).collect();
            let expected = match options {
                // One refreshes, the others get what it got.
                [] => (1, PROCESSES - 1, 0, 1),
                // Each in its turn, with what the one before has left.
                ["--fresh"] => (PROCESSES, 0, 0, PROCESSES),
                _ => (0, 0, PROCESSES, PROCESSES),
            };
            assert_eq!((count("miss"), count("hit"), count("none"), different.len()), expected, "{server} {options:?}");
            assert_ne!(stored(&place), first, "{server} {options:?}");
            // Had one been sent twice, its family would be ended, and the last one refused.
            server.token_by_command(&place, "PERSON_ID", &[REFRESH, options].concat());
            server.token_by_command(&place, "PERSON_ID", &[REFRESH, &["--fresh"]].concat());
        }
    }
}

/// Why a refresh token is never sent twice: for the server that is a thief, and the whole family ends.
#[test]
fn a_refresh_token_that_is_sent_again_ends_its_family() {
    for server in &*SERVERS {
        let client = server.client("PERSON_ID");
        let refresh = |token: &AccessToken| {
            client.fetch(&Grant::refresh_token(keyfob::SecretSource::value(refresh_token(token).as_str())))
        };
        let first = client.fetch(&server.password()).unwrap();
        let second = refresh(&first).unwrap();
        assert_eq!(server.resource(second.expose()), 200, "{server}");
        assert_refused(server, refresh(&first), 400, "invalid_grant");
        assert_refused(server, refresh(&second), 400, "invalid_grant");
        assert_eq!(server.resource(second.expose()), 401, "{server}");
    }
}

#[test]
fn a_revoked_token_is_replaced_when_the_resource_refuses_it() {
    for server in &*SERVERS {
        for (id, grant, renewed_by) in [
            ("MACHINE_ID", Grant::client_credentials().scope("read"), &["client_credentials"; 2][..]),
            // Both end the refresh token together with the access token: then only the password is left.
            ("PERSON_ID", server.password(), &["password", "refresh_token", "password"]),
        ] {
            let (sent, transport) = counting();
            let tokens = Arc::new(SharedTokenCache::new(server.client_with(server.endpoint(), id, transport), grant));
            let (statuses, agent) = authorizing(tokens.clone());
            let call = || agent.get(server.value("RESOURCE_URL")).call().unwrap().status();
            assert_eq!(call(), StatusCode::OK, "{server}");
            server.revoke(id, tokens.token().unwrap().expose());
            for _ in 0..3 {
                assert_eq!(call(), StatusCode::OK, "{server}");
            }
            let statuses: Vec<u16> = statuses.lock().unwrap().iter().map(|(status, _)| *status).collect();
            assert_eq!(statuses, [200, 401, 200, 200, 200], "{server}");
            assert_eq!(*sent.lock().unwrap(), renewed_by, "{server}");
        }
    }
}

/// The same by the command: who made a copy of the file and uses it has ended the original too.
#[test]
fn a_copy_of_a_refresh_token_ends_its_family_for_the_command() {
    for server in &*SERVERS {
        let (place, first) = place_with_refresh_token(server, "PERSON_ID");
        let (access, _) = server.token_by_command(&place, "PERSON_ID", REFRESH);
        place.file("here/copy", &first);
        let (id, copy) = (server.value("PERSON_ID"), ["--grant", "refresh_token", "--refresh-token-file", "copy"]);
        server.command_is_refused(&place, id, &copy, 400, "invalid_grant");
        assert_eq!(std::fs::read_to_string(place.path("here/copy")).unwrap(), first, "{server}");
        assert_eq!(server.resource(&access), 401, "{server}");
        let last = stored(&place);
        server.command_is_refused(&place, id, &[REFRESH, &["--fresh"]].concat(), 400, "invalid_grant");
        assert_eq!(stored(&place), last, "{server}");
    }
}

#[test]
fn a_revoked_token_is_replaced_by_fresh() {
    for server in &*SERVERS {
        for (id, grant) in [("MACHINE_ID", &["--scope", "read"][..]), ("PERSON_ID", &PASSWORD)] {
            let place = server.place();
            let (first, from) = server.token_by_command(&place, id, grant);
            assert_eq!(from, "miss", "{server} {id}");
            server.revoke(id, &first);
            // Nobody has told the cache.
            assert_eq!(server.printed(&place, id, grant), (first.clone(), "hit".to_owned()), "{server} {id}");
            assert_eq!(server.resource(&first), 401, "{server} {id}");
            let (second, from) = server.token_by_command(&place, id, &[grant, &["--fresh"]].concat());
            assert_ne!(second, first, "{server} {id}");
            assert_eq!(from, "miss", "{server} {id}");
            assert_eq!(server.token_by_command(&place, id, grant), (second, "hit".to_owned()), "{server} {id}");
        }
    }
}

const PASSWORD: [&str; 8] =
    ["--grant", "password", "--username", "alice", "--password-file", "password", "--scope", "read write"];

#[test]
fn a_refusal_is_remembered_until_the_secret_is_another() {
    for server in &*SERVERS {
        let (place, door) = (server.place(), Door::before(server));
        let run = || {
            let outcome = server.run_at(&door.url, &place, server.value("MACHINE_ID"), &["--scope", "read"]);
            (outcome.code.unwrap(), door.count(), outcome)
        };
        place.file("here/client-secret", "wrong");
        let (code, count, outcome) = run();
        assert_eq!((code, count), (3, 1), "{server}: {outcome:?}");
        for _ in 0..2 {
            let (code, count, outcome) = run();
            assert_eq!((code, count), (3, 1), "{server}: {outcome:?}");
            assert!(outcome.stderr.contains("invalid_client"), "{server}: {outcome:?}");
        }
        // The right one is asked about at once, and then the token is there.
        place.file("here/client-secret", server.value("SECRET"));
        for _ in 0..2 {
            let (code, count, outcome) = run();
            assert_eq!((code, count, outcome.stderr.as_str()), (0, 2, ""), "{server}");
            assert_eq!(server.resource(outcome.stdout.trim_end()), 200, "{server}");
        }
        // Who has the wrong one gets nothing of it.
        place.file("here/client-secret", "wrong");
        let (code, count, outcome) = run();
        assert_eq!((code, count), (3, 2), "{server}: {outcome:?}");
    }
}

/// What is asked in a refused request: the client, its secret, and the rest in the library's words and the command's.
struct Refused {
    id: fn(&Server) -> &str,
    secret: fn(&Server) -> &str,
    endpoint: fn(Endpoint) -> Endpoint,
    grant: fn(&Server) -> Grant,
    options: &'static [&'static str],
    /// What oidc-provider and django-oauth-toolkit answer.
    answers: [(u16, &'static str); 2],
}

const fn asked(grant: fn(&Server) -> Grant, options: &'static [&'static str], answer: (u16, &'static str)) -> Refused {
    Refused {
        id: |server| server.value("MACHINE_ID"),
        secret: |server| server.value("SECRET"),
        endpoint: |endpoint| endpoint,
        grant,
        options,
        answers: [answer; 2],
    }
}

#[test]
fn refusals_keep_the_servers_code() {
    fn machine(_: &Server) -> Grant {
        Grant::client_credentials().scope("read")
    }
    fn wrong_password(server: &Server) -> Grant {
        Grant::password(server.value("USERNAME"), keyfob::SecretSource::value("wrong")).scope("read")
    }
    let person: fn(&Server) -> &str = |server| server.value("PERSON_ID");
    let refused = |options| asked(machine, options, (401, "invalid_client"));
    let post: fn(Endpoint) -> Endpoint = |endpoint| endpoint.authentication(ClientAuthentication::ClientSecretPost);
    let by_post = &["--scope", "read", "--auth", "client_secret_post"];
    let by_password = &["--grant", "password", "--username", "alice", "--password-file", "wrong", "--scope", "read"];
    let by_right_password =
        &["--grant", "password", "--username", "alice", "--password-file", "password", "--scope", "read write"];
    for case in [
        Refused { secret: |_| "wrong", ..refused(&["--scope", "read"]) },
        Refused { secret: |_| "wrong", endpoint: post, ..refused(by_post) },
        Refused { id: |_| "nobody", ..refused(&["--scope", "read"]) },
        Refused { id: |_| "nobody", endpoint: post, ..refused(by_post) },
        // Not encoded, `%` begins nothing: oidc-provider takes the request for malformed.
        Refused {
            id: |server| server.value("SHORT_ID"),
            endpoint: |endpoint| endpoint.basic_raw(true),
            answers: [(400, "invalid_request"), (401, "invalid_client")],
            ..refused(&["--scope", "read", "--basic-raw"])
        },
        asked(|_| Grant::client_credentials().scope("admin"), &["--scope", "admin"], (400, "invalid_scope")),
        asked(|_| Grant::extension("urn:x"), &["--grant", "urn:x"], (400, "unsupported_grant_type")),
        Refused { id: person, ..asked(wrong_password, by_password, (400, "invalid_grant")) },
        // A grant that the server knows, and this client may not use.
        Refused {
            answers: [(400, "invalid_request"), (400, "unauthorized_client")],
            ..asked(Server::password, by_right_password, (0, ""))
        },
        Refused {
            id: person,
            ..asked(|_| Grant::refresh_token(keyfob::SecretSource::value("wrong")), REFRESH, (400, "invalid_grant"))
        },
    ] {
        for server in &*SERVERS {
            let (id, secret) = ((case.id)(server), (case.secret)(server));
            let (status, code) = case.answers[usize::from(server.name == "django-oauth-toolkit")];
            let client = Client::with_parts((case.endpoint)(server.endpoint()), transport(), BootClock);
            let client = client.client_id(id).client_secret(keyfob::SecretSource::value(secret));
            assert_refused(server, client.fetch(&(case.grant)(server)), status, code);

            let place = server.place();
            place.file("here/client-secret", secret);
            for name in ["wrong", "refresh-token"] {
                place.file(&format!("here/{name}"), "wrong");
            }
            server.command_is_refused(&place, id, case.options, status, code);
        }
    }
}

/// A scope that no client of oidc-provider has is left out there, and the token has none: that must not pass for granted.
#[test]
fn a_scope_that_is_left_out_is_not_said_to_be_granted() {
    for server in SERVERS.iter().filter(|server| server.name == "oidc-provider") {
        let token = server.client("MACHINE_ID").fetch(&Grant::client_credentials().scope("unheard-of")).unwrap();
        assert_eq!(token.scope(), None, "{server}");
    }
}

const PACE: Duration = Duration::from_millis(50);

/// Tokens of 2 s in use, as the resource and the server's door see them.
struct Uses<'a> {
    server: &'a Server,
    door: Door,
    start: Instant,
    last: String,
    /// Of the last token, when the server was asked for it and when it was seen first.
    asked: Instant,
    seen: Instant,
    count: usize,
    /// The ages of those that were refused before their life was over.
    refused: Vec<Duration>,
}

impl<'a> Uses<'a> {
    /// How long a token may be in use before another is needed. oidc-provider counts in whole seconds: a token of 2 s that
    /// is issued at 0.9 s past one ends 1.1 s later.
    const HALF: Duration = Duration::from_secs(1);

    fn of(server: &'a Server, start: Instant) -> Self {
        let door = Door::before(server);
        let (last, count, refused) = (String::new(), 0, Vec::new());
        Self { server, door, start, last, asked: start, seen: start, count, refused }
    }

    fn goes_on(&self) -> bool {
        self.start.elapsed() < Duration::from_secs(20)
    }

    fn client(&self, id: &str, transport: impl Transport + 'static) -> Client {
        self.server.client_with(Endpoint::new(&self.door.url).unwrap(), id, transport)
    }

    /// Uses a token that is there now, and was asked for at `since`; returns how long it had been there then.
    fn of_token(&mut self, token: &str, since: Instant) -> Duration {
        if token != self.last {
            (self.last, self.asked, self.seen) = (token.to_owned(), self.door.last(), Instant::now());
        }
        let status = self.server.resource(token);
        self.answered(status, Instant::now(), self.asked);
        since.saturating_duration_since(self.seen)
    }

    /// No token is refused before its time: what the server grants it at least, from when it was asked for. A use that
    /// ends later may be refused: the token was handed out in time, and then the way to the resource took the rest.
    fn answered(&mut self, status: u16, at: Instant, asked: Instant) {
        let granted = if self.server.name == "oidc-provider" { Self::HALF } else { Self::HALF * 2 };
        let age = at.saturating_duration_since(asked);
        self.count += 1;
        match status {
            200 => {}
            401 if age >= granted => {}
            _ => self.refused.push(age),
        }
    }

    #[track_caller]
    fn end(self, how: &str) {
        let (server, fetches) = (self.server, self.door.count());
        assert_eq!(self.refused, [], "{server} {how}");
        // Each is used for half of the life that was told, and for no more than all of it; one more at each end.
        assert!((10..=22).contains(&fetches), "{server} {how}: {fetches} fetches");
        assert!(self.count > fetches, "{server} {how}: {} uses", self.count);
    }
}

/// In use all the time, a token of 2 s is renewed in time, and no sooner than its life demands.
#[test]
fn tokens_of_two_seconds_are_in_use_for_twenty() {
    let servers = &*SERVERS;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for server in servers {
            scope.spawn(move || by_cache(Uses::of(server, start)));
            scope.spawn(move || by_middleware(Uses::of(server, start)));
            scope.spawn(move || by_command(Uses::of(server, start)));
            scope.spawn(move || by_keep(Uses::of(server, start)));
        }
    });
}

fn by_cache(mut uses: Uses) {
    let (sent, transport) = counting();
    let tokens = SharedTokenCache::new(uses.client("SHORT_ID", transport), Grant::client_credentials().scope("read"));
    while uses.goes_on() {
        let since = Instant::now();
        let token = tokens.token().unwrap();
        let age = uses.of_token(token.expose(), since);
        assert!(age < Uses::HALF, "{}: {age:?}", uses.server);
        std::thread::sleep(PACE);
    }
    assert_eq!(sent.lock().unwrap().len(), uses.door.count(), "{}", uses.server);
    uses.end("by the cache");
}

/// By rotating refresh tokens.
fn by_middleware(mut uses: Uses) {
    let (sent, transport) = counting();
    let tokens = SharedTokenCache::new(uses.client("SHORT_PERSON_ID", transport), uses.server.password());
    let (statuses, agent) = authorizing(Arc::new(tokens));
    while uses.goes_on() {
        assert_eq!(agent.get(uses.server.value("RESOURCE_URL")).call().unwrap().status(), StatusCode::OK);
        for (status, at) in statuses.lock().unwrap().drain(..) {
            // What was asked for later is the replacement.
            let asked = *uses.door.came.lock().unwrap().iter().rfind(|asked| **asked < at).unwrap();
            uses.answered(status, at, asked);
        }
        std::thread::sleep(PACE);
    }
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0], "password", "{}", uses.server);
    assert!(sent[1..].iter().all(|grant| grant == "refresh_token"), "{}: {sent:?}", uses.server);
    uses.end("by the middleware");
}

/// Each token by a process of its own, with the cache and the refresh token's file that they share.
fn by_command(mut uses: Uses) {
    let (place, _) = place_with_refresh_token(uses.server, "SHORT_PERSON_ID");
    let mut misses = 0;
    while uses.goes_on() {
        let since = Instant::now();
        let (token, from) = uses.server.printed_at(&uses.door.url, &place, "SHORT_PERSON_ID", REFRESH);
        misses += usize::from(from == "miss");
        let age = uses.of_token(&token, since);
        assert!(age < Uses::HALF, "{}: {age:?}", uses.server);
        std::thread::sleep(PACE * 2);
    }
    assert_eq!(misses, uses.door.count(), "{}", uses.server);
    uses.end("by the command");
}

/// As `keyfob keep` has it in a file.
fn by_keep(mut uses: Uses) {
    let (server, place) = (uses.server, uses.server.place());
    let of_client = of_client(&uses.door.url, server.value("SHORT_ID"));
    let run = place.keyfob([&["keep"], &of_client[..], &["--scope", "read", "--file", "token"]].concat());
    let keep = Kept(run.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let (mut last, mut absent) = (Instant::now(), Duration::ZERO);
    while uses.goes_on() {
        let since = Instant::now();
        match std::fs::read_to_string(place.path("here/token")) {
            Ok(line) => {
                let age = uses.of_token(line.strip_suffix('\n').unwrap(), since);
                // It is removed by another process, and that may be busy.
                assert!(age < Uses::HALF * 3 / 2, "{server}: {age:?}");
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "{server}");
                absent += since - last;
            }
        }
        last = since;
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, output) = keep.end();
    assert_eq!(code, Some(0), "{server}: {output}");
    assert!(!std::fs::exists(place.path("here/token")).unwrap(), "{server}");
    // Of 2 s it leaves the file after 1 s, and is renewed no sooner: there is none while the server is asked.
    const OVER: &str = "keyfob: the token has expired, and there is no new one yet";
    assert!(output.lines().all(|line| line == OVER), "{server}: {output}");
    assert!(absent < Duration::from_secs(5), "{server}: {absent:?}");
    uses.end("by keep");
}

/// A `keyfob keep` that runs no longer than its test.
struct Kept(Child);

impl Kept {
    /// Ends it as a service manager would; returns its code and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let (mut stdout, mut stderr) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let mut output = String::new();
        stdout.read_to_string(&mut output).unwrap();
        stderr.read_to_string(&mut output).unwrap();
        (self.0.wait().unwrap().code(), output)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
