//! The five dialects as their services document them, each against a server that plays it. Every request is compared
//! whole, so that a parameter or a header too many fails as well as one too few.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use httpmock::{HttpMockResponse, MockServer};
use keyfob::{
    AccessToken, Client, ClientAuthentication, Endpoint, Error, ErrorKind, Grant, HttpTransport, Lifetime, Parameters,
};
use miniserde::json::{self, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

// The documented answers, byte for byte. B's has the session's details around the token.
const ANSWER_A: &str =
    "{  \n  \"token_type\": \"Bearer\",  \n  \"access_token\": \"a-token\",  \n  \"expires_in\": \"3600\"  \n}  \n";
const ANSWER_B: &str = concat!(
    r#"{"session":{"id":"5e55","user":{"name":"Zoë","roles":["reader",null]},"started":1795329600.5},"#,
    r#""access_token":"b-issued","limits":{"requests":[10,60]},"token":"not this one"}"#,
);
const ANSWER_C: &str = "{\n\"access_token\":\"c-token\",\n\"token_type\":\"Bearer\",\n\"expires_in\":\"3599\",\n}";
const ANSWER_D: &str = r#"{"access_token":"d-token","expires_in":86400}"#;
const ANSWER_E: &str = r#"{"token_type":"Bearer","access_token":"0123456789abcdef","expires_in":1200}"#;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A request as the server saw it: the path with the query, the headers in the order of their names.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

struct Service {
    server: MockServer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Service {
    fn answering(body: &'static str) -> Self {
        let server = MockServer::start();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, base) = (seen.clone(), server.base_url());
        server.mock(|when, then| {
            when.is_true(|_| true);
            then.respond_with(move |request| {
                let mut headers = request.headers_vec().clone();
                headers.sort();
                kept.lock().unwrap().push(Seen {
                    method: request.method_str().to_owned(),
                    target: request.uri_str().strip_prefix(&base).unwrap().to_owned(),
                    headers,
                    body: String::from_utf8(request.body_vec()).unwrap(),
                });
                HttpMockResponse::builder().status(200).header("content-type", JSON).body(body).build()
            });
        });
        Self { server, seen }
    }

    fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    fn requests(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    #[track_caller]
    fn request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one request and no more");
        requests.remove(0)
    }

    /// The request with these parts, and those that every request has.
    fn expected(&self, method: &str, target: &str, own: &[(&str, &str)], body: Option<&str>) -> Seen {
        let host = self.server.address().to_string();
        let length = body.map(|body| body.len().to_string());
        let mut headers = vec![
            ("accept", JSON),
            ("host", host.as_str()),
            ("user-agent", concat!("keyfob/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend(length.as_deref().map(|length| ("content-length", length)));
        headers.extend(own);
        headers.sort_unstable();
        Seen {
            method: method.into(),
            target: target.into(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: body.unwrap_or_default().into(),
        }
    }
}

/// A clock that stands still: lifetimes come out exactly.
const NOW: Duration = Duration::from_secs(1000);

fn client(endpoint: Endpoint) -> Client {
    let transport = HttpTransport::new().no_proxy();
    Client::with_parts(endpoint, transport, || NOW)
}

#[track_caller]
fn assert_token(token: &AccessToken, value: &str, seconds: Option<u64>) {
    assert_eq!(token.expose(), value);
    assert_eq!(token.authorization().unwrap().expose(), format!("Bearer {value}"));
    let lifetime = match seconds {
        Some(seconds) => Lifetime::Until(NOW + Duration::from_secs(seconds)),
        None => Lifetime::Unknown,
    };
    assert_eq!(token.lifetime(), lifetime);
}

#[track_caller]
fn assert_config(result: Result<AccessToken, Error>, message: &str) -> Error {
    let error = result.expect_err(message);
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    error
}

/// A dialect by its name and by a document.
fn both_ways(dialect: &str, url: &str) -> [Endpoint; 2] {
    let document = format!(r#"{{"dialect": "{dialect}", "url": "{url}"}}"#);
    [Endpoint::dialect(dialect.parse().unwrap(), url).unwrap(), Endpoint::from_json(&document).unwrap()]
}

#[test]
fn dialect_a_posts_json_to_a_named_environment() {
    let (eu, us) = (Service::answering(ANSWER_A), Service::answering(ANSWER_A));
    for (name, asked, other) in [("eu", &eu, &us), ("us", &us, &eu)] {
        let document = format!(
            r#"{{
                "dialect": "json-credentials",
                "environments": {{"eu": "{}", "us": "{}/"}},
                "environment": "{name}",
                "path": "/api/v2/oauth2/token"
            }}"#,
            eu.url(""),
            us.url("")
        );
        let url = asked.url("/api/v2/oauth2/token");
        for endpoint in [
            Endpoint::from_json(&document).unwrap(),
            Endpoint::dialect(keyfob::Dialect::JsonCredentials, &url).unwrap(),
        ] {
            let client = client(endpoint).client_id("my-id").client_secret(keyfob::SecretSource::value("my-secret"));
            assert_token(&client.fetch(&Grant::client_credentials()).unwrap(), "a-token", Some(3600));
            let body = r#"{"grant_type":"client_credentials","client_id":"my-id","client_secret":"my-secret"}"#;
            let own = [("content-type", JSON)];
            assert_eq!(asked.request(), asked.expected("POST", "/api/v2/oauth2/token", &own, Some(body)));
            assert_eq!(other.requests(), []);
        }
    }
}

#[test]
fn dialect_a_without_a_known_environment_asks_nobody() {
    for (environment, message) in [
        ("", "`environment`: none is chosen of eu, us"),
        (r#", "environment": "mars""#, r#"`environment`: "mars" is none of eu, us"#),
    ] {
        let document = format!(
            r#"{{"dialect": "json-credentials", "environments": {{"eu": "https://e", "us": "http://u"}}{environment}}}"#
        );
        let error = Endpoint::from_json(&document).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    }
}

#[test]
fn dialect_b_exchanges_one_bearer_for_another_and_deletes_that_one() {
    let service = Service::answering(ANSWER_B);
    for endpoint in both_ways("bearer-session", &service.url("/api/oauth20/access-token")) {
        let endpoint = endpoint.keep_member("session.id").unwrap().keep_member("session.user").unwrap();
        assert_eq!(endpoint.grant_type(), Some("bearer_session"));
        let client = client(endpoint);
        let token = client.fetch(&Grant::bearer_session(keyfob::SecretSource::value("long-lived"))).unwrap();
        assert_token(&token, "b-issued", None);
        assert_eq!(token.member("session.id").map(|id| id.expose()), Some("5e55"));
        let user = token.member("session.user").map(|user| user.expose());
        assert_eq!(user, Some(r#"{"name":"Zoë","roles":["reader",null]}"#));
        let target = "/api/oauth20/access-token";
        let own = [("authorization", "bearer long-lived")];
        assert_eq!(service.request(), service.expected("GET", target, &own, None));

        let kept = token.clone();
        client.revoke(token).unwrap();
        let own = [("authorization", "bearer b-issued")];
        assert_eq!(service.request(), service.expected("DELETE", target, &own, None));
        let error = kept.authorization().unwrap_err();
        assert_eq!(error.to_string(), "this token was ended and is not sent again");
    }
}

#[test]
fn dialect_b_may_wrap_the_token_in_an_object() {
    let service = Service::answering(
        r#"{"data":{"user":"zoe","token":"b-nested","expires_in":"60"},"access_token":null,"token_type":"bearer"}"#,
    );
    let document = r#"{"dialect": "bearer-session", "field": "data.token", "url": ""#;
    let endpoint = Endpoint::from_json(&format!("{document}{}\"}}", service.url("/oauth20/access-token"))).unwrap();
    let token = client(endpoint).fetch(&Grant::bearer_session(keyfob::SecretSource::value("long-lived"))).unwrap();
    assert_token(&token, "b-nested", Some(60));
    assert_eq!(token.token_type(), Some("bearer"));
}

#[test]
fn dialect_c_posts_a_form_with_its_scope() {
    let service = Service::answering(ANSWER_C);
    for endpoint in both_ways("form-credentials", &service.url("/configapi/v2/oauth/token")) {
        let client = client(endpoint).client_id("my-id").client_secret(keyfob::SecretSource::value("my-secret"));
        let token = client.fetch(&Grant::client_credentials().scope("https://tenant.example")).unwrap();
        assert_token(&token, "c-token", Some(3599));
        let body = "grant_type=client_credentials&client_id=my-id&client_secret=my-secret\
                    &scope=https%3A%2F%2Ftenant.example";
        let own = [("content-type", FORM)];
        assert_eq!(service.request(), service.expected("POST", "/configapi/v2/oauth/token", &own, Some(body)));
    }
}

#[test]
fn dialect_c_without_a_scope_asks_nobody() {
    let service = Service::answering(ANSWER_C);
    for endpoint in both_ways("form-credentials", &service.url("/configapi/v2/oauth/token")) {
        let client = client(endpoint).client_id("my-id").client_secret(keyfob::SecretSource::value("my-secret"));
        for grant in [Grant::client_credentials(), Grant::client_credentials().scope("")] {
            let error = assert_config(client.fetch(&grant), "this endpoint wants a scope, and none is given");
            assert_eq!(error.hint(), Some("add the scope its service documents: often the tenant's or host's URL"));
        }
    }
    assert_eq!(service.requests(), []);
}

#[test]
fn dialect_d_posts_json_or_gets_with_a_query() {
    let service = Service::answering(ANSWER_D);
    let url = service.url("/base/oauth/token");
    let by_get = format!(r#"{{"dialect": "json-credentials", "method": "GET", "url": "{url}"}}"#);
    let [first, second] = both_ways("json-credentials", &url);
    let json = r#"{"grant_type":"client_credentials","client_id":"my-id","client_secret":"my-secret"}"#;
    let post = || service.expected("POST", "/base/oauth/token", &[("content-type", JSON)], Some(json));
    let query = "/base/oauth/token?grant_type=client_credentials&client_id=my-id&client_secret=my-secret";
    let get = || service.expected("GET", query, &[], None);
    for (endpoint, expected) in [
        (first, post()),
        (second, post()),
        (Endpoint::from_json(&by_get).unwrap(), get()),
        (Endpoint::dialect(keyfob::Dialect::JsonCredentials, &url).unwrap().method(keyfob::Method::Get), get()),
    ] {
        let client = client(endpoint).client_id("my-id").client_secret(keyfob::SecretSource::value("my-secret"));
        let token = client.fetch(&Grant::client_credentials()).unwrap();
        assert_token(&token, "d-token", Some(86400));
        assert_eq!(token.token_type(), None);
        assert_eq!(service.request(), expected);
    }
}

#[test]
fn dialect_e_posts_user_name_and_password_alone_in_the_query() {
    let service = Service::answering(ANSWER_E);
    for endpoint in both_ways("user-credentials", &service.url("/v1/authorization")) {
        assert_eq!(endpoint.grant_type(), Some("password"));
        let token = client(endpoint)
            .fetch(&Grant::password("alice@example", keyfob::SecretSource::value("p&ss w0rd+")))
            .unwrap();
        assert_token(&token, "0123456789abcdef", Some(1200));
        let target = "/v1/authorization?username=alice%40example&password=p%26ss%20w0rd%2B";
        assert_eq!(service.request(), service.expected("POST", target, &[], Some("")));
    }
}

#[test]
fn dialect_e_posts_the_same_two_as_a_form_where_that_is_asked_for() {
    let service = Service::answering(ANSWER_E);
    let url = service.url("/v1/authorization");
    let document = format!(r#"{{"dialect": "user-credentials", "params": "form", "url": "{url}"}}"#);
    for endpoint in [
        Endpoint::from_json(&document).unwrap(),
        Endpoint::dialect(keyfob::Dialect::UserCredentials, &url).unwrap().parameters(Parameters::Form),
    ] {
        let token = client(endpoint)
            .fetch(&Grant::password("alice@example", keyfob::SecretSource::value("p&ss w0rd+")))
            .unwrap();
        assert_token(&token, "0123456789abcdef", Some(1200));
        let body = "username=alice%40example&password=p%26ss+w0rd%2B";
        let own = [("content-type", FORM)];
        assert_eq!(service.request(), service.expected("POST", "/v1/authorization", &own, Some(body)));
    }
}

#[test]
fn what_is_missing_is_told_before_anything_is_sent() {
    let service = Service::answering(ANSWER_A);
    let url = service.url("/token");
    let grant = Grant::client_credentials().scope("s");
    let endpoint = Endpoint::dialect(keyfob::Dialect::FormCredentials, &url).unwrap();
    assert_config(client(endpoint).client_id("my-id").fetch(&grant), "the client secret is missing");
    for dialect in ["form-credentials", "json-credentials"] {
        let endpoint = Endpoint::dialect(dialect.parse().unwrap(), &url).unwrap();
        assert_config(
            client(endpoint).client_secret(keyfob::SecretSource::value("my-secret")).fetch(&grant),
            "the client id is missing",
        );
    }
    let endpoint = Endpoint::dialect(keyfob::Dialect::JsonCredentials, &url).unwrap();
    let token = AccessToken::bearer("a-token").unwrap();
    let error = client(endpoint).revoke(token.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().ends_with("its description has no way to end a token"), "{error}");
    assert_eq!(token.authorization().unwrap().expose(), "Bearer a-token");
    assert_eq!(service.requests(), []);
}

/// What has a meaning of its own in one of the encodings.
const TRAPS: &[&str] = &[
    "+",
    "/",
    "%",
    ":",
    "&",
    "=",
    "\"",
    "\\",
    "'",
    " ",
    "é",
    "",
    "?",
    "#",
    ";",
    "~",
    "*-._",
    "%2B",
    "a+b c",
    "{}",
    "\u{1F511}",
    "line\r\nend\t\u{1}\u{7F}",
    "=&=",
    "a:b:c",
    "\\u0041",
];

/// Decodes `application/x-www-form-urlencoded` text, by RFC 6749 appendix B and with no code of keyfob's.
fn decode_form(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => byte,
                _ => panic!("{:?} is not encoded in {text}", char::from(byte)),
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn decode_json(text: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(object)) = json::from_str(text) else { panic!("{text} is no JSON object") };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => panic!("{other:?} is no string"),
    };
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

#[test]
fn every_character_arrives_as_it_was_given() {
    let service = Service::answering(ANSWER_D);
    let url = service.url("/token");
    for trap in TRAPS {
        let name = format!("extra{trap}");
        // A client secret has no control character, and is refused with one: see tests/requests.rs.
        let secret = trap.replace(|c: char| c.is_ascii_control(), "~");
        let mut expected = vec![
            ("grant_type", "client_credentials"),
            ("client_id", trap),
            ("client_secret", secret.as_str()),
            ("scope", trap),
            (name.as_str(), trap),
            ("secret_extra", trap),
        ];
        // A scope of nothing but spaces is none (RFC 6749 section 3.3).
        expected.retain(|(name, value)| *name != "scope" || !value.trim().is_empty());
        let mut expected: Vec<(String, String)> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();

        let grant = || {
            Grant::client_credentials().scope(trap).secret_parameter("secret_extra", keyfob::SecretSource::value(*trap))
        };
        let fetch = |endpoint: Endpoint| {
            let endpoint =
                endpoint.authentication(ClientAuthentication::ClientSecretPost).parameter(name.as_str(), *trap);
            client(endpoint)
                .client_id(*trap)
                .client_secret(keyfob::SecretSource::value(secret.as_str()))
                .fetch(&grant())
                .unwrap();
            service.request()
        };
        let endpoint = || Endpoint::new(&url).unwrap();

        let seen = fetch(endpoint());
        assert_eq!((seen.target.as_str(), decode_form(&seen.body)), ("/token", expected.clone()), "{trap:?}");

        for (endpoint, method) in
            [(endpoint().parameters(Parameters::Query), "POST"), (endpoint().method(keyfob::Method::Get), "GET")]
        {
            let seen = fetch(endpoint);
            let query = seen.target.strip_prefix("/token?").unwrap();
            assert_eq!((seen.method.as_str(), decode_form(query)), (method, expected.clone()), "{trap:?}");
            // Not every parser of a URL takes `+` for a space.
            assert!(!query.contains('+'), "{query}");
            assert_eq!(seen.body, "");
        }

        let seen = fetch(endpoint().parameters(Parameters::Json));
        expected.sort();
        assert_eq!((seen.target.as_str(), decode_json(&seen.body)), ("/token", expected), "{trap:?}");
    }
}

#[test]
fn parameters_join_a_query_that_is_already_there() {
    let service = Service::answering(ANSWER_E);
    for (path, expected) in [
        ("/auth", "/auth?username=u&password=p"),
        ("/auth?", "/auth?username=u&password=p"),
        ("/auth?tenant=7", "/auth?tenant=7&username=u&password=p"),
        ("/auth?tenant=7&", "/auth?tenant=7&username=u&password=p"),
        ("/auth?a=%2B+%20", "/auth?a=%2B+%20&username=u&password=p"),
    ] {
        let endpoint = Endpoint::dialect(keyfob::Dialect::UserCredentials, &service.url(path)).unwrap();
        client(endpoint).fetch(&Grant::password("u", keyfob::SecretSource::value("p"))).unwrap();
        assert_eq!(service.request(), service.expected("POST", expected, &[], Some("")));
    }
}

#[test]
fn basic_credentials_are_form_encoded_first_unless_they_are_to_be_raw() {
    let service = Service::answering(ANSWER_D);
    for (id, secret, is_raw, expected) in [
        // my-id:my-secret
        ("my-id", "my-secret", false, "Basic bXktaWQ6bXktc2VjcmV0"),
        // my+app%3A1%2B%2F%25%C3%A9:p%2B+%2F%25%3A%26%3D%22%5C%27%C3%A9
        (
            "my app:1+/%é",
            "p+ /%:&=\"\\'é",
            false,
            "Basic bXkrYXBwJTNBMSUyQiUyRiUyNSVDMyVBOTpwJTJCKyUyRiUyNSUzQSUyNiUzRCUyMiU1QyUyNyVDMyVBOQ==",
        ),
        // my app+/%é:p+ /%:&="\'é
        ("my app+/%é", "p+ /%:&=\"\\'é", true, "Basic bXkgYXBwKy8lw6k6cCsgLyU6Jj0iXCfDqQ=="),
        // my-id:
        ("my-id", "", false, "Basic bXktaWQ6"),
        // :p%2B+%2F%25%3A%26%3D%22%5C%27%C3%A9
        ("", "p+ /%:&=\"\\'é", false, "Basic OnAlMkIrJTJGJTI1JTNBJTI2JTNEJTIyJTVDJTI3JUMzJUE5"),
        // %7E*-._:a+b
        ("~*-._", "a b", false, "Basic JTdFKi0uXzphK2I="),
        // ~*-._:a b
        ("~*-._", "a b", true, "Basic fiotLl86YSBi"),
    ] {
        let endpoint = Endpoint::new(service.url("/token")).unwrap().basic_raw(is_raw);
        client(endpoint)
            .client_id(id)
            .client_secret(keyfob::SecretSource::value(secret))
            .fetch(&Grant::client_credentials())
            .unwrap();
        let own = [("authorization", expected), ("content-type", FORM)];
        let body = Some("grant_type=client_credentials");
        assert_eq!(service.request(), service.expected("POST", "/token", &own, body), "{id:?} {secret:?}");
    }
    let endpoint = Endpoint::new(service.url("/token")).unwrap().basic_raw(true);
    let result = client(endpoint)
        .client_id("my:id")
        .client_secret(keyfob::SecretSource::value("my-secret"))
        .fetch(&Grant::client_credentials());
    assert_config(result, "a client id with a colon cannot be sent by raw Basic (RFC 7617 section 2)");
    assert_eq!(service.requests(), []);
}

#[test]
fn a_parameter_that_would_be_sent_twice_is_refused() {
    let service = Service::answering(ANSWER_D);
    for parameters in [Parameters::Form, Parameters::Json, Parameters::Query] {
        for name in ["grant_type", "client_id", "client_secret", "scope"] {
            let endpoint = Endpoint::new(service.url("/token"))
                .unwrap()
                .parameters(parameters)
                .authentication(ClientAuthentication::ClientSecretPost)
                .parameter(name, "another");
            let client = client(endpoint).client_id("my-id").client_secret(keyfob::SecretSource::value("my-secret"));
            let result = client.fetch(&Grant::client_credentials().scope("read"));
            assert_config(result, &format!("the parameter `{name}` would be sent twice"));
        }
    }
    assert_eq!(service.requests(), []);
}
