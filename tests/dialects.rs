//! The five dialects as their services document them, each against a server that plays it: every request is compared
//! whole, so that a parameter or a header too many fails as well as one too few.
#![cfg(feature = "ureq")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use httpmock::{HttpMockResponse, MockServer};
use keyfob::{
    BootClock, Client, ClientAuthentication, Endpoint, Error, ErrorKind, Grant, Lifetime, Parameters, UreqTransport,
};
use miniserde::json::{self, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ANSWER_A: &str =
    "{  \n  \"token_type\": \"Bearer\",  \n  \"access_token\": \"a-token\",  \n  \"expires_in\": \"3600\"  \n}  \n";
const ANSWER_B: &str = concat!(
    r#"{"session":{"id":"5e55","user":{"name":"Zoë","roles":["reader",null]},"started":1795329600.5},"#,
    r#""access_token":"b-issued","limits":{"requests":[10,60]},"token":"not this one"}"#,
);
const ANSWER_C: &str = "{\n\"access_token\":\"c-token\",\n\"token_type\":\"Bearer\",\n\"expires_in\":\"3599\",\n}";
const ANSWER_D: &str = r#"{"access_token":"d-token","expires_in":86400}"#;
const ANSWER_E: &str = r#"{"token_type":"Bearer","access_token":"0123456789abcdef","expires_in":1200}"#;

/// A request as the server saw it: method, path and query, the headers in the order of their names, the body.
type Seen = (String, String, Vec<(String, String)>, String);

struct Service {
    server: MockServer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Service {
    fn answering(body: &'static str) -> Self {
        let server = MockServer::start();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        server.mock(|when, then| {
            when.is_true(|_| true);
            then.respond_with(move |request| {
                let mut headers = request.headers_vec().clone();
                headers.sort();
                let body = String::from_utf8(request.body_vec()).unwrap();
                kept.lock().unwrap().push((
                    request.method_str().to_owned(),
                    request.uri_str().to_owned(),
                    headers,
                    body,
                ));
                HttpMockResponse::builder()
                    .status(200)
                    .header("content-type", "application/json")
                    .body(body_of(body_kind(&request.method_str(), body)))
                    .build()
            });
        });
        Self { server, seen }
    }
}
