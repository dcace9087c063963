//! Against two authorization servers that nobody here wrote, over http and https, with the library and the command: see
//! `servers/README.md`. Where one cannot be had it is skipped; with `CI=true` that is a failure.

#![cfg(all(feature = "cli", feature = "tls"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/command.rs"]
mod running;

use keyfob::{AccessToken, Authorize, BootClock, Client, ClientAuthentication, Endpoint, Error, ErrorKind, Grant};
use keyfob::{Request, Secret, SecretSource, SharedTokenCache, Transport, UreqTransport};
use running::{Outcome, Place};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
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
        client.client_id(self.value(id)).client_secret(self.value("SECRET"))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.value("TOKEN_URL")).unwrap()
    }

    fn client(&self, id: &str) -> Client {
        self.client_with(self.endpoint(), id, transport())
    }

    fn password(&self) -> Grant {
        Grant::password(self.value("USERNAME"), self.value("PASSWORD")).scope("read write")
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

    fn run(&self, place: &Place, id: &str, options: &[&str]) -> Outcome {
        let client = ["--client-id", id, "--client-secret-file", "client-secret", "--ca-file", "ca.pem"];
        let outcome = place.token(self.value("TOKEN_URL"), &[&client, options].concat()).outcome();
        for secret in ["SECRET", "PASSWORD"] {
            assert!(!format!("{outcome:?}").contains(self.value(secret)), "{self}: {outcome:?}");
        }
        outcome
    }

    /// The token that the command prints; it must be one that the resource takes.
    #[track_caller]
    fn token_by_command(&self, place: &Place, id: &str, options: &[&str]) {
        let outcome = self.run(place, self.value(id), options);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{self} {options:?}");
        assert_eq!(self.resource(outcome.stdout.trim_end()), 200, "{self} {options:?}");
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}", self.name, self.scheme)
    }
}

fn transport() -> UreqTransport {
    UreqTransport::new().no_proxy().roots_pem(CA).unwrap()
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

/// An agent that sends the tokens of this cache, and the status of each answer to it.
fn authorizing(tokens: Arc<SharedTokenCache>) -> (Arc<Mutex<Vec<u16>>>, Agent) {
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let counted = || {
        let statuses = statuses.clone();
        move |request: ureq::http::Request<SendBody>, next: MiddlewareNext| {
            let answer: Result<ureq::http::Response<Body>, ureq::Error> = next.handle(request);
            statuses.lock().unwrap().push(answer.as_ref().unwrap().status().as_u16());
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
            let left = token.remaining(client.clock().now()).unwrap();
            assert!((580..600).contains(&left.as_secs()), "{server} {name}: {left:?}");
            assert_eq!(server.resource(token.expose()), 200, "{server} {name}");
            server.token_by_command(&server.place(), "MACHINE_ID", &["--auth", name, "--scope", "read"]);
        }
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
            let token = server.client("PERSON_ID").fetch(&Grant::refresh_token(newest.as_str())).unwrap();
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

#[test]
#[ignore = "the command does not write it back yet"]
fn the_command_writes_the_rotated_refresh_token_back() {
    for server in &*SERVERS {
        let place = server.place();
        let mut last = refresh_token(&server.client("PERSON_ID").fetch(&server.password()).unwrap());
        place.file("here/refresh-token", &last);
        // Each of them would be refused if the file still had the one before.
        for _ in 0..3 {
            server.token_by_command(&place, "PERSON_ID", REFRESH);
            let stored = std::fs::read_to_string(place.path("here/refresh-token")).unwrap();
            assert_ne!(stored.trim_end(), last, "{server}");
            last = stored.trim_end().to_owned();
        }
        let token = server.client("PERSON_ID").fetch(&Grant::refresh_token(last.as_str())).unwrap();
        assert_eq!(server.resource(token.expose()), 200, "{server}");
    }
}

/// Why a refresh token is never sent twice: for the server that is a thief, and the whole family ends.
#[test]
fn a_refresh_token_that_is_sent_again_ends_its_family() {
    for server in &*SERVERS {
        let client = server.client("PERSON_ID");
        let refresh = |token: &AccessToken| client.fetch(&Grant::refresh_token(refresh_token(token).as_str()));
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
            assert_eq!(*statuses.lock().unwrap(), [200, 401, 200, 200, 200], "{server}");
            assert_eq!(*sent.lock().unwrap(), renewed_by, "{server}");
        }
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
        Grant::password(server.value("USERNAME"), "wrong").scope("read")
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
        Refused { id: person, ..asked(|_| Grant::refresh_token("wrong"), REFRESH, (400, "invalid_grant")) },
    ] {
        for server in &*SERVERS {
            let (id, secret) = ((case.id)(server), (case.secret)(server));
            let (status, code) = case.answers[usize::from(server.name == "django-oauth-toolkit")];
            let client = Client::with_parts((case.endpoint)(server.endpoint()), transport(), BootClock);
            let client = client.client_id(id).client_secret(secret);
            assert_refused(server, client.fetch(&(case.grant)(server)), status, code);

            let place = server.place();
            place.file("here/client-secret", secret);
            for name in ["wrong", "refresh-token"] {
                place.file(&format!("here/{name}"), "wrong");
            }
            let outcome = server.run(&place, id, &[case.options, &["--format", "json"]].concat());
            let end = format!(r#","status":{status},"oauth_error":"{code}","retry_after":null,"retryable":false}}"#);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{server}: {outcome:?}");
            assert!(outcome.stderr.starts_with(r#"{"error":"refused","#), "{server}: {outcome:?}");
            assert!(outcome.stderr.trim_end().ends_with(&end), "{server}: {outcome:?}");
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

/// In use all the time, a token of 2 s is renewed in time, and no sooner than its life demands.
#[test]
fn tokens_of_two_seconds_are_in_use_for_twenty() {
    const PACE: Duration = Duration::from_millis(50);
    /// Of 2 s the last twentieth: a use that takes longer, on a busy machine, may be refused.
    const MARGIN: Duration = Duration::from_millis(100);
    let servers = &*SERVERS;
    let start = Instant::now();
    let lasts = || start.elapsed() < Duration::from_secs(20);
    let check = |server: &Server, refused: &[Duration], sent: &[String], first: &str, then: &str| {
        match server.name {
            // It counts in whole seconds: a token that is issued at 0.9 s past one ends 1.1 s later. keyfob takes it at its
            // word, so it may be refused in its last second, and not before.
            "oidc-provider" => {
                assert!(refused.iter().all(|age| *age >= Duration::from_secs(1)), "{server}: {refused:?}");
                // At worst each life is one second, and is ended by a refusal; one more for the first moment.
                assert!(sent.len() <= 21, "{server}: {sent:?}");
            }
            // 20 s are ten lives, of which each is used to 95 %; one more for the first moment.
            _ => {
                assert_eq!(refused, [], "{server}");
                assert!(sent.len() <= 11, "{server}: {sent:?}");
            }
        }
        assert_eq!(sent[0], first, "{server}");
        assert!(sent[1..].iter().all(|grant| grant == then), "{server}: {sent:?}");
    };
    std::thread::scope(|scope| {
        for server in servers {
            scope.spawn(move || {
                let (sent, transport) = counting();
                let client = server.client_with(server.endpoint(), "SHORT_ID", transport);
                let tokens = SharedTokenCache::new(client, Grant::client_credentials().scope("read"));
                let (mut last, mut since, mut refused) = (String::new(), start, Vec::new());
                while lasts() {
                    let asked = Instant::now();
                    let token = tokens.token().unwrap();
                    let taken = Instant::now();
                    if token.expose() != last {
                        (last, since) = (token.expose().to_owned(), asked);
                    }
                    match server.resource(token.expose()) {
                        200 => {}
                        status => {
                            assert_eq!(status, 401, "{server}");
                            if taken.elapsed() < MARGIN {
                                refused.push(since.elapsed());
                            }
                        }
                    }
                    std::thread::sleep(PACE);
                }
                let sent = sent.lock().unwrap();
                check(server, &refused, &sent, "client_credentials", "client_credentials");
            });
            // By rotating refresh tokens and the middleware, which renews what is refused.
            scope.spawn(move || {
                let (sent, transport) = counting();
                let client = server.client_with(server.endpoint(), "SHORT_PERSON_ID", transport);
                let (_, agent) = authorizing(Arc::new(SharedTokenCache::new(client, server.password())));
                let mut uses = 0;
                while lasts() {
                    uses += usize::from(agent.get(server.value("RESOURCE_URL")).call().unwrap().status() == 200);
                    std::thread::sleep(PACE);
                }
                assert!(uses > 20, "{server}");
                check(server, &[], &sent.lock().unwrap(), "password", "refresh_token");
            });
        }
    });
}
