//! `keyfob demo`: the five dialects against servers in this process, over real HTTP on loopback.
//!
//! Each server answers only the documented request, with the documented bytes; any other request gets a 400.

use crate::output;
use httpmock::{HttpMockRequest, HttpMockResponse, MockServer};
use keyfob::{BootClock, Client, Endpoint, Error, ErrorKind, Grant, HttpTransport, Lifetime};
use std::sync::{Arc, Mutex};

/// A service: the request that it documents, and its answer.
struct Service {
    letter: char,
    title: &'static str,
    /// The quirk that breaks a strict client or surprises a careful one.
    quirk: &'static str,
    /// An endpoint description; `BASE` is replaced with the server's address.
    description: &'static str,
    grant: fn() -> Grant,
    /// The documented request: method, path with query, body. Its `Authorization` header is that of the session.
    request: (&'static str, &'static str, &'static str),
    authorization: Option<&'static str>,
    answer: &'static str,
}

const CLIENT_ID: &str = "demo-client";
const CLIENT_SECRET: &str = "demo-client-secret";
const PASSWORD: &str = "demo-password";
const SESSION_TOKEN: &str = "demo-long-lived-token";
const ACCESS_TOKEN: &str = "demo-access-token";

const SERVICES: [Service; 5] = [
    Service {
        letter: 'A',
        quirk: "the lifetime is a string, lines end in spaces",
        title: "JSON credentials, named environments",
        description: r#"{"dialect": "json-credentials", "environments": {"eu": "BASE"}, "environment": "eu",
                         "path": "/api/v2/oauth2/token"}"#,
        grant: Grant::client_credentials,
        request: (
            "POST",
            "/api/v2/oauth2/token",
            r#"{"grant_type":"client_credentials","client_id":"demo-client","client_secret":"demo-client-secret"}"#,
        ),
        authorization: None,
        answer: "{  \n  \"token_type\": \"Bearer\",  \n  \"access_token\": \"demo-access-token\",  \n  \"expires_in\": \"3600\"  \n}",
    },
    Service {
        letter: 'B',
        quirk: "the token stands beside the session",
        title: "bearer session",
        description: r#"{"dialect": "bearer-session", "url": "BASE/oauth20/access-token", "keep": ["session.id"]}"#,
        grant: || Grant::bearer_session(keyfob::SecretSource::value(SESSION_TOKEN)),
        request: ("GET", "/oauth20/access-token", ""),
        authorization: Some("bearer demo-long-lived-token"),
        answer: r#"{"session":{"id":"s-7f","user":"demo","active":true},"access_token":"demo-access-token","token_type":"bearer"}"#,
    },
    Service {
        letter: 'C',
        quirk: "the lifetime is a string, and there is a comma too many",
        title: "form credentials, scoped",
        description: r#"{"dialect": "form-credentials", "url": "BASE/configapi/v2/oauth/token"}"#,
        grant: || Grant::client_credentials().scope("https://tenant.example"),
        request: (
            "POST",
            "/configapi/v2/oauth/token",
            "grant_type=client_credentials&client_id=demo-client&client_secret=demo-client-secret\
             &scope=https%3A%2F%2Ftenant.example",
        ),
        authorization: None,
        answer: "{\n\"access_token\":\"demo-access-token\",\n\"token_type\":\"Bearer\",\n\"expires_in\":\"3599\",\n}",
    },
    Service {
        letter: 'D',
        quirk: "no type is told",
        title: "JSON credentials, GET or POST",
        description: r#"{"dialect": "json-credentials", "url": "BASE/oauth/token"}"#,
        grant: Grant::client_credentials,
        request: (
            "POST",
            "/oauth/token",
            r#"{"grant_type":"client_credentials","client_id":"demo-client","client_secret":"demo-client-secret"}"#,
        ),
        authorization: None,
        answer: r#"{"access_token":"demo-access-token","expires_in":7200}"#,
    },
    Service {
        letter: 'E',
        quirk: "the login went in the URL: prefer a form where the service takes one",
        title: "user credentials",
        description: r#"{"dialect": "user-credentials", "url": "BASE/authorization"}"#,
        grant: || Grant::password("demo-user", keyfob::SecretSource::value(PASSWORD)),
        request: ("POST", "/authorization?username=demo-user&password=demo-password", ""),
        authorization: None,
        answer: r#"{"token_type":"bearer","access_token":"demo-access-token","expires_in":3600}"#,
    },
];

pub(crate) fn run() -> Result<(), Error> {
    output::line("Five token services, played by a server in this process. Every line below went over real HTTP.\n")?;
    let mut table =
        String::from("    service                                  token type  expires              the token was\n");
    for service in &SERVICES {
        table.push_str(&play(service)?);
    }
    output::line(&table)?;
    output::line("5 services, 5 tokens.")
}

/// Takes a token from the service, uses it, and ends it if the service documents that. Returns a row of the table.
fn play(service: &Service) -> Result<String, Error> {
    let seen = Arc::new(Mutex::new(String::new()));
    let server = serve(service, &seen);
    let endpoint = Endpoint::from_json(&service.description.replace("BASE", &server.base_url()))?;
    let mut client = Client::with_parts(endpoint, HttpTransport::new().no_proxy(), BootClock);
    if service.request.0 == "POST" && !service.request.1.contains('?') {
        client = client.client_id(CLIENT_ID).client_secret(keyfob::SecretSource::value(CLIENT_SECRET));
    }
    let token = client.fetch(&(service.grant)())?;

    let sent = seen.lock().map(|seen| hide(&seen)).unwrap_or_default();
    let kind = token.token_type().unwrap_or("none told, so Bearer").to_owned();
    let expires = match token.remaining(client.now()) {
        Some(left) => format!("in {} min {} s", left.as_secs() / 60, left.as_secs() % 60),
        None if token.lifetime() == Lifetime::Unknown => "not told".to_owned(),
        None => "not credible".to_owned(),
    };
    let status = call(&server.url("/resource"), token.authorization()?.expose())?;
    let mut fate = format!("used: {status}");
    let made = match token.member("session.id") {
        Some(id) => format!("{kind}, expires {expires}, of session {}", id.expose()),
        None => format!("{kind}, expires {expires}"),
    };
    if client.endpoint().can_revoke() {
        client.revoke(token)?;
        fate.push_str(", then ended");
    }
    output::line(&format!(
        "{}   {}\n    sent       {}\n    came back  200  {}\n    read as    {made}\n    mind       {}\n",
        service.letter,
        service.title,
        sent.replace('\n', "\n               "),
        hide(service.answer).replace('\n', "\n                    "),
        service.quirk,
    ))?;
    Ok(format!("{}   {:<40} {:<11} {:<20} {fate}\n", service.letter, service.title, short(&kind), expires))
}

/// Starts a server that plays the service: its token endpoint, a protected resource, and the end of a session.
fn serve(service: &Service, seen: &Arc<Mutex<String>>) -> MockServer {
    let server = MockServer::start();
    let (request, authorization, answer) = (service.request, service.authorization, service.answer);
    let seen = seen.clone();
    server.mock(|when, then| {
        when.is_true(|_| true);
        then.respond_with(move |got| {
            let (method, target) = (got.method_str(), target(got));
            let token = header(got, "authorization").unwrap_or_default();
            let documented = method == request.0
                && target == request.1
                && got.body_ref() == request.2.as_bytes()
                && header(got, "authorization") == authorization;
            if documented {
                if let Ok(mut seen) = seen.lock() {
                    *seen = describe(got);
                }
                return respond(200, answer);
            }
            let is_ours = token.eq_ignore_ascii_case("bearer demo-access-token");
            match (method, target.as_str()) {
                ("GET", "/resource") if is_ours => respond(200, "{}"),
                ("DELETE", _) if target == request.1 && is_ours => respond(200, ""),
                _ => respond(400, r#"{"error":"invalid_request"}"#),
            }
        });
    });
    server
}

fn respond(status: u16, body: &str) -> HttpMockResponse {
    HttpMockResponse::builder().status(status).header("content-type", "application/json").body(body).build()
}

/// Returns the path with the query.
fn target(request: &HttpMockRequest) -> String {
    request.uri().path_and_query().map(ToString::to_string).unwrap_or_default()
}

fn header<'r>(request: &'r HttpMockRequest, name: &str) -> Option<&'r str> {
    request.headers_vec().iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Returns the request as it arrived, on a few lines.
fn describe(request: &HttpMockRequest) -> String {
    let mut text = format!("{} {}", request.method_str(), target(request));
    for name in ["authorization", "content-type"] {
        if let Some(value) = header(request, name) {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    let body = String::from_utf8_lossy(request.body_ref());
    if !body.is_empty() {
        text.push_str(&format!("\n{body}"));
    }
    text
}

/// Calls the resource with the token, through a separate HTTP client as a user would. Returns the status.
fn call(url: &str, authorization: &str) -> Result<u16, Error> {
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build();
    let answer = config.new_agent().get(url).header("Authorization", authorization).call();
    answer
        .map(|answer| answer.status().as_u16())
        .map_err(|_| Error::new(ErrorKind::Internal, "demo: the server in this process cannot be called"))
}

fn hide(text: &str) -> String {
    [CLIENT_SECRET, PASSWORD, SESSION_TOKEN, ACCESS_TOKEN]
        .iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, "‹hidden›"))
}

fn short(kind: &str) -> &str {
    kind.split(',').next().unwrap_or(kind)
}
