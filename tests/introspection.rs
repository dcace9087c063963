//! What a server says about a token (RFC 7662): the request to the byte, and good and bad answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    Client, ClientAuthentication, ClientCredentials, Endpoint, ErrorKind, Introspection, Request, Response,
    SecretSource,
};

const DATE: (&str, &str) = ("Date", "Wed, 25 Nov 2026 12:00:00 GMT");
/// The same moment.
const NOW: u64 = 1_795_608_000;

fn endpoint() -> Endpoint {
    Endpoint::new("https://as.example/token").unwrap().introspection("https://as.example/introspect")
}

fn response(status: u16, body: &str) -> Response {
    Response::new(status, body).with_header(DATE.0, DATE.1)
}

#[test]
fn the_request_is_that_of_rfc_7662_with_the_clients_authentication() {
    let credentials = || ClientCredentials::default().client_id("api").client_secret(SecretSource::value("s&t"));
    let form = "token=a%26b&token_type_hint=access_token";
    for (endpoint, credentials, authorization, body) in [
        (endpoint(), credentials(), Some("Basic YXBpOnMlMjZ0"), form.to_owned()),
        (
            endpoint().authentication(ClientAuthentication::ClientSecretPost),
            credentials(),
            None,
            format!("{form}&client_id=api&client_secret=s%26t"),
        ),
        (endpoint(), ClientCredentials::default().client_id("api"), None, format!("{form}&client_id=api")),
        (endpoint(), ClientCredentials::default(), None, form.to_owned()),
        // What belongs to the token endpoint alone is not sent.
        (
            endpoint().parameters(keyfob::Parameters::Json).parameter("audience", "x"),
            credentials(),
            Some("Basic YXBpOnMlMjZ0"),
            form.to_owned(),
        ),
    ] {
        let request = Request::introspection(&endpoint, &credentials, "a&b").unwrap();
        assert_eq!((request.method(), request.url()), ("POST", "https://as.example/introspect"));
        let sent = request.headers().find(|(name, _)| *name == "Authorization").map(|(_, value)| value);
        if let Some(expected) = authorization {
            assert_eq!(sent, Some(expected));
        }
        let sent_body = core::str::from_utf8(request.body().unwrap()).unwrap();
        match authorization {
            Some(_) => assert_eq!(sent_body, body),
            None => assert!(sent_body == body && sent.is_none(), "{sent_body} {sent:?}"),
        }
        assert!(request.is_repeatable());
        assert!(!format!("{request:?}").contains("a%26b"));
    }
    let error =
        Request::introspection(&Endpoint::new("https://as.example/token").unwrap(), &ClientCredentials::default(), "t")
            .unwrap_err();
    assert_eq!(error.to_string(), "as.example: its description has no introspection endpoint");
    let plain = Endpoint::new("https://as.example/token").unwrap().introspection("http://as.example/introspect");
    let error = Request::introspection(&plain, &ClientCredentials::default(), "t").unwrap_err();
    assert_eq!(error.to_string(), "plain http to as.example would show the credentials to everyone on the way");
}

#[test]
fn an_active_token_is_described_by_the_answers_members() {
    let body = format!(
        r#"{{"active": true, "scope": "read write", "client_id": "meter", "username": "alice", "token_type": "Bearer",
            "exp": {}, "iat": 1, "sub": "Z5O3", "aud": ["a", "b"], "iss": "https://as.example", "jti": null,
            "cnf": {{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, "tenant": {{"id": 7}}, "other": "x",}}"#,
        NOW + 90
    );
    let endpoint = endpoint().keep_member("tenant.id").unwrap().keep_member("scope").unwrap();
    let said = Introspection::read(&endpoint, response(200, &body)).unwrap();
    assert!(said.is_active());
    assert_eq!(said.remaining(), Some(Duration::from_secs(90)));
    assert_eq!((said.scope(), said.client_id(), said.username()), (Some("read write"), Some("meter"), Some("alice")));
    let member = |name| said.member(name).map(|value| value.expose().to_owned());
    for (name, expected) in [
        ("token_type", Some("Bearer")),
        ("aud", Some(r#"["a", "b"]"#)),
        ("cnf.x5t#S256", Some("bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2")),
        ("cnf.jkt", None),
        ("tenant.id", Some("7")),
        ("jti", None),
        ("other", None),
        ("active", None),
    ] {
        assert_eq!(member(name).as_deref(), expected, "{name}");
    }
    assert_eq!(said.members().filter(|(name, _)| *name == "scope").count(), 1);
    let shown = format!("{said:?}");
    assert!(shown.contains("cnf.x5t#S256") && !shown.contains("alice"), "{shown}");
}

#[test]
fn only_an_answer_that_says_so_makes_a_token_active() {
    const NOT_SAID: &str = "the answer is no introspection response: it has no member `active` that is true or false";
    for (status, body, expected) in [
        (200, r#"{"active": true}"#, Ok(true)),
        (200, r#"{"active": false}"#, Ok(false)),
        (201, r#"{"active": false, "scope": "read", "exp": 9999999999}"#, Ok(false)),
        (200, r#"{"active": true, "active": true}"#, Ok(true)),
        (200, r#"{"active": true, "active": false}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"active": "true"}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"active": 1}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"active": null}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"Active": true}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"data": {"active": true}}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"active": true"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"[{"active": true}]"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (200, "active=true", Err((ErrorKind::Unusable, NOT_SAID))),
        (200, "", Err((ErrorKind::Unusable, NOT_SAID))),
        (200, r#"{"access_token": "t"}"#, Err((ErrorKind::Unusable, NOT_SAID))),
        (
            200,
            r#"{"error": "invalid_client"}"#,
            Err((ErrorKind::Refused, "the server refused (status 200): invalid_client")),
        ),
        (
            401,
            r#"{"error": "invalid_client", "active": true}"#,
            Err((ErrorKind::Refused, "the server refused (status 401): invalid_client")),
        ),
        (
            403,
            r#"{"active": true}"#,
            Err((ErrorKind::Refused, "the server refused (status 403) and gave no reason in the words of OAuth")),
        ),
        (404, r#"{"active": true}"#, Err((ErrorKind::Unusable, "the server answered with status 404"))),
        (503, r#"{"active": true}"#, Err((ErrorKind::Wait, "the server asks to wait (status 503)"))),
        (500, "", Err((ErrorKind::Unusable, "the server answered with status 500"))),
    ] {
        match (Introspection::read(&endpoint(), response(status, body)), expected) {
            (Ok(said), Ok(active)) => {
                assert_eq!(said.is_active(), active, "{status} {body}");
                assert!(active || (said.members().count() == 0 && said.remaining().is_none()), "{body}");
            }
            (Err(error), Err((kind, message))) => {
                assert_eq!((error.kind(), &*error.to_string()), (kind, message), "{status} {body}");
            }
            (said, expected) => panic!("{status} {body}: {said:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn the_rest_of_the_life_is_counted_by_the_answers_own_date() {
    let read = |exp: String, date: Option<&str>| {
        let response = Response::new(200, format!(r#"{{"active": true, "exp": {exp}}}"#));
        let response = if let Some(date) = date { response.with_header("Date", date) } else { response };
        Introspection::read(&endpoint(), response).unwrap().remaining()
    };
    for (exp, date, expected) in [
        ((NOW + 1).to_string(), Some(DATE.1), Some(1)),
        (format!("\"{}\"", NOW + 60), Some(DATE.1), Some(60)),
        (((NOW + 60) * 1000).to_string(), Some(DATE.1), Some(60)),
        ((NOW - 60).to_string(), Some(DATE.1), Some(0)),
        ((NOW + 60).to_string(), None, None),
        ((NOW + 60).to_string(), Some("yesterday"), None),
        ("\"soon\"".to_owned(), Some(DATE.1), None),
        ("null".to_owned(), Some(DATE.1), None),
    ] {
        assert_eq!(read(exp.clone(), date), expected.map(Duration::from_secs), "{exp} {date:?}");
    }
}

#[test]
fn each_question_is_sent_and_an_echoed_token_is_cut_out_of_the_error() {
    let answers = std::sync::Mutex::new(vec![
        (401, r#"{"error": "invalid_request", "error_description": "unknown token the-token"}"#),
        (200, r#"{"active": false}"#),
        (200, r#"{"active": true}"#),
    ]);
    let send = move |request: &Request| {
        assert_eq!(request.body(), Some(b"token=the-token&token_type_hint=access_token".as_slice()));
        let (status, body) = answers.lock().unwrap().pop().unwrap();
        Ok(response(status, body))
    };
    let client = Client::with_parts(endpoint(), send, || Duration::from_secs(1));
    assert!(client.introspect("the-token").unwrap().is_active());
    assert!(!client.introspect("the-token").unwrap().is_active());
    let error = client.introspect("the-token").unwrap_err();
    assert_eq!((error.kind(), error.oauth_error()), (ErrorKind::Refused, Some("invalid_request")));
    assert!(!format!("{error} {error:?}").contains("the-token"), "{error:?}");
}
