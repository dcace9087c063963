//! What a request for a token is made of: its method and the place of its parameters, the grant that its endpoint names,
//! parameters with several values, and what a secret may consist of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    Assertion, Client, ClientAuthentication, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Method, Parameters,
    Request, Response, Secret, SecretSource, Signer,
};

fn endpoint() -> Endpoint {
    Endpoint::new("https://as.example/token").unwrap()
}

fn credentials() -> ClientCredentials {
    ClientCredentials::default().client_id("id").client_secret(SecretSource::value("s3cret"))
}

fn text(request: &Request) -> String {
    let body = String::from_utf8(request.body().unwrap_or(b"-").to_vec()).unwrap();
    format!("{} {} {body}", request.method(), request.url())
}

#[track_caller]
fn assert_config(result: Result<Request, Error>, message: &str, hint: &str) {
    let error = result.map(|request| text(&request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!((error.to_string().as_str(), error.hint().unwrap_or_default()), (message, hint));
}

#[test]
fn no_order_of_the_builder_puts_a_secret_where_it_was_not_meant_to_go() {
    const FORM: &str = "grant_type=client_credentials&client_id=id&client_secret=s3cret";
    const JSON: &str = r#"{"grant_type":"client_credentials","client_id":"id","client_secret":"s3cret"}"#;
    let query = format!("https://as.example/token?{FORM}");
    let get = "`params`: with GET they can only go into the query";
    type Build = fn(Endpoint) -> Endpoint;
    let rows: &[(Build, Result<String, &str>)] = &[
        (|e| e, Ok(format!("POST https://as.example/token {FORM}"))),
        (|e| e.method(Method::Post).parameters(Parameters::Json), Ok(format!("POST https://as.example/token {JSON}"))),
        (|e| e.parameters(Parameters::Json).method(Method::Post), Ok(format!("POST https://as.example/token {JSON}"))),
        (|e| e.parameters(Parameters::Query), Ok(format!("POST {query} "))),
        (|e| e.method(Method::Put), Ok(format!("PUT https://as.example/token {FORM}"))),
        (|e| e.method(Method::Put).parameters(Parameters::Json), Ok(format!("PUT https://as.example/token {JSON}"))),
        (|e| e.method(Method::Put).parameters(Parameters::Query), Ok(format!("PUT {query} "))),
        (|e| e.method(Method::Get), Ok(format!("GET {query} -"))),
        (|e| e.parameters(Parameters::Json).method(Method::Get), Ok(format!("GET {query} -"))),
        (|e| e.method(Method::Get).parameters(Parameters::Query), Ok(format!("GET {query} -"))),
        (|e| e.method(Method::Get).parameters(Parameters::Json), Err(get)),
        (|e| e.method(Method::Get).parameters(Parameters::Form), Err(get)),
    ];
    for (index, (build, expected)) in rows.iter().enumerate() {
        let endpoint = build(endpoint().authentication(ClientAuthentication::ClientSecretPost));
        let request = Request::token(&endpoint, &credentials(), &Grant::client_credentials());
        let got = request.map(|request| text(&request)).map_err(|error| (error.kind(), error.to_string()));
        let expected = expected.clone().map_err(|message| (ErrorKind::Config, message.to_owned()));
        assert_eq!(got, expected, "row {index}");
    }
}

#[test]
fn a_description_takes_put_and_sends_it_like_post() {
    let endpoint = Endpoint::from_json(r#"{"url": "https://as.example/token", "method": "PUT", "params": "json"}"#);
    let request = Request::token(&endpoint.unwrap(), &credentials(), &Grant::client_credentials()).unwrap();
    assert_eq!(request.method(), "PUT");
    assert!(request.headers().any(|header| header == ("Content-Type", "application/json")));
    assert_eq!(
        request.body().unwrap(),
        br#"{"grant_type":"client_credentials","client_id":"id","client_secret":"s3cret"}"#
    );
}

#[test]
fn the_grant_is_the_one_that_the_endpoint_names() {
    let secret = || SecretSource::value("s3cret");
    let grants = || {
        [
            ("client_credentials", Grant::client_credentials()),
            ("password", Grant::password("alice", secret())),
            ("bearer_session", Grant::bearer_session(secret())),
            ("urn:x", Grant::extension("urn:x")),
            ("refresh_token", Grant::refresh_token(secret())),
        ]
    };
    for named in ["client_credentials", "password", "bearer_session", "urn:x", "refresh_token"] {
        let description = format!(r#"{{"url": "https://as.example/token", "grant": "{named}"}}"#);
        let endpoint = Endpoint::from_json(&description).unwrap();
        for (name, grant) in grants() {
            let result = Request::token(&endpoint, &ClientCredentials::default(), &grant);
            // A refresh token may have come with a token of any grant.
            if name == named || name == "refresh_token" {
                assert!(result.is_ok(), "{named}, {name}");
                continue;
            }
            assert_config(
                result,
                &format!("this endpoint's description names the grant `{named}`, and `{name}` is asked for"),
                "use the grant that it names, or name the other one in the description: `grant`",
            );
        }
    }
    let session = Endpoint::dialect(keyfob::Dialect::BearerSession, "https://as.example/token").unwrap();
    assert!(Request::token(&session, &ClientCredentials::default(), &Grant::client_credentials()).is_err());
    let person = Endpoint::dialect(keyfob::Dialect::UserCredentials, "https://as.example/token").unwrap();
    assert!(Request::token(&person, &ClientCredentials::default(), &Grant::client_credentials()).is_err());
    // Where none is named, any will do.
    for (name, grant) in grants() {
        assert!(Request::token(&endpoint(), &ClientCredentials::default(), &grant).is_ok(), "{name}");
    }
}

#[test]
fn several_values_are_an_array_in_json_and_repeated_elsewhere() {
    let described = |params: &str, param: &str| {
        let description = format!(r#"{{"url": "https://as.example/token", "params": "{params}", "param": {param}}}"#);
        let request = Request::token(
            &Endpoint::from_json(&description).unwrap(),
            &ClientCredentials::default(),
            &Grant::client_credentials(),
        );
        text(&request.unwrap())
    };
    const START: &str = "POST https://as.example/token ";
    for (param, json, form) in [
        (
            r#"{"audience": "x", "resource": ["y", "z"]}"#,
            r#","audience":"x","resource":["y","z"]"#,
            "&audience=x&resource=y&resource=z",
        ),
        (r#"{"resource": ["y"]}"#, r#","resource":["y"]"#, "&resource=y"),
        (r#"{"resource": []}"#, r#","resource":[]"#, ""),
        (r#"{"resource": "y"}"#, r#","resource":"y""#, "&resource=y"),
        (r#"{"scope": ["y", "z"]}"#, r#","scope":["y","z"]"#, "&scope=y&scope=z"),
        (r#"{"a": ["\"", "y"], "b": ["", "z"]}"#, r#","a":["\"","y"],"b":["","z"]"#, "&a=%22&a=y&b=&b=z"),
    ] {
        let grant_type = r#"{"grant_type":"client_credentials""#;
        assert_eq!(described("json", param), format!("{START}{grant_type}{json}}}"));
        assert_eq!(described("form", param), format!("{START}grant_type=client_credentials{form}"));
        let query = format!("POST https://as.example/token?grant_type=client_credentials{form} ");
        assert_eq!(described("query", param), query);
    }
    // By the builder, and shared out between endpoint and grant.
    let endpoint = endpoint().parameters(Parameters::Json).parameter("resource", "a").parameter("audience", "b");
    let grant = Grant::client_credentials().parameter("resource", "c").secret_parameter("resource", Secret::from("d"));
    let request = Request::token(&endpoint, &ClientCredentials::default(), &grant).unwrap();
    let expected = r#"{"grant_type":"client_credentials","resource":["a","c","d"],"audience":"b"}"#;
    assert_eq!(text(&request), format!("{START}{expected}"));
}

#[test]
fn a_parameter_that_keyfob_sends_itself_is_not_sent_twice() {
    for params in [Parameters::Form, Parameters::Json, Parameters::Query] {
        let hint = "name another grant (`Grant`), or leave its parameter out (`Endpoint::omit_grant_type`)";
        for (name, hint, grant) in
            [("grant_type", hint, Grant::client_credentials()), ("scope", "", Grant::client_credentials().scope("a"))]
        {
            let endpoint = endpoint().parameters(params).parameter(name, "x");
            assert_config(
                Request::token(&endpoint, &ClientCredentials::default(), &grant),
                &format!("the parameter `{name}` would be sent twice"),
                hint,
            );
        }
    }
}

/// Whether the secret is accepted as a client secret, a password, a refresh token, a session token and a header.
fn fits(value: &str) -> [Result<(), String>; 5] {
    let source = || SecretSource::value(value);
    let public = ClientCredentials::default;
    let post = endpoint().authentication(ClientAuthentication::ClientSecretPost);
    let client = public().client_id("id").client_secret(source());
    let results = [
        Request::token(&post, &client, &Grant::client_credentials()),
        Request::token(&endpoint(), &public(), &Grant::password("alice", source())),
        Request::token(&endpoint(), &public(), &Grant::refresh_token(source())),
        Request::token(&endpoint(), &public(), &Grant::bearer_session(source())),
        Request::token(&endpoint().secret_header("X-Key", source()), &public(), &Grant::client_credentials()),
    ];
    results.map(|result| result.map(|_| ()).map_err(|error| error.to_string()))
}

#[test]
fn a_secret_has_no_line_end_and_no_other_control_character() {
    const WHAT: [&str; 5] = ["client secret", "password", "refresh token", "session token", "header"];
    for (value, offset, kind) in [
        ("geheim\n", 6, "a line end"),
        ("geheim\r\n", 6, "a line end"),
        ("\ngeheim", 0, "a line end"),
        ("ge\rheim", 2, "a line end"),
        ("gehéim\u{7F}", 7, "a control character"),
        ("ge\0heim", 2, "a control character"),
        ("ge\u{1B}[2Jheim", 2, "a control character"),
    ] {
        for (what, result) in WHAT.iter().zip(fits(value)) {
            let message = format!("the {what}: byte {offset} is {kind}, which a {what} cannot hold");
            assert_eq!(result, Err(message), "{value:?}");
        }
    }
    // RFC 6749 appendix A.15 allows a tab in a password alone.
    let [secret, password, ..] = fits("ge\theim");
    assert_eq!(secret.unwrap_err(), "the client secret: byte 2 is a tab, which a client secret cannot hold");
    assert_eq!(password, Ok(()));
    for value in ["geheim", "~ !\"%&+", "s"] {
        assert_eq!(fits(value)[..3], [Ok(()), Ok(()), Ok(())], "{value:?}");
    }
    // Other characters are sent as they are: servers have been seen to hand such secrets out.
    assert_eq!(fits("gehéim ‹›")[..2], [Ok(()), Ok(())]);
}

#[test]
fn a_secret_parameter_may_have_several_lines() {
    const PEM: &str = "-----BEGIN X-----\nAAAA\n-----END X-----\n";
    let grant = Grant::extension("urn:x").secret_parameter("assertion", SecretSource::value(PEM));
    let endpoint = endpoint().parameters(Parameters::Json);
    let request = Request::token(&endpoint, &ClientCredentials::default(), &grant).unwrap();
    assert!(text(&request).contains(r#""assertion":"-----BEGIN X-----\u000aAAAA\u000a"#), "{}", text(&request));
}

#[test]
fn a_text_is_a_secret_only_where_it_is_said_to_be_one() {
    let secret = |source: SecretSource| source.expose().unwrap().to_owned();
    assert_eq!(secret(SecretSource::value("/run/secrets/x")), "/run/secrets/x");
    assert_eq!(secret(SecretSource::value(Secret::from("a"))), "a");
    assert_eq!(secret(Secret::from("a").into()), "a");
    assert_eq!(secret(String::from("a").into()), "a");
}

#[test]
fn an_empty_secret_is_sent_where_it_is_said_on_purpose() {
    let grant = Grant::client_credentials();
    let client = || ClientCredentials::default().client_id("cf");
    let basic = endpoint().authentication(ClientAuthentication::ClientSecretBasic);
    let error = Request::token(&basic, &client(), &grant).unwrap_err();
    assert_eq!(error.to_string(), "the client secret is missing");
    assert!(error.hint().unwrap().ends_with("an empty secret is said by `\"client_secret\": \"\"` in a profile"));
    let own = endpoint().header("Authorization", "Basic {base64:{client_id}:}");
    let request = Request::token(&own, &client(), &grant).unwrap();
    assert!(request.headers().any(|header| header == ("Authorization", "Basic Y2Y6")));
    let empty = client().client_secret(SecretSource::value(""));
    let request = Request::token(&basic, &empty, &grant).unwrap();
    assert!(request.headers().any(|header| header == ("Authorization", "Basic Y2Y6")));
    let post = endpoint().authentication(ClientAuthentication::ClientSecretPost);
    let request = Request::token(&post, &empty, &grant).unwrap();
    assert_eq!(request.body(), Some(b"grant_type=client_credentials&client_id=cf&client_secret=".as_slice()));
}

/// A key in a chip, say.
struct Chip(Result<(), ()>);

impl Signer for Chip {
    fn algorithm(&self) -> &str {
        "ES256"
    }

    fn key_id(&self) -> Option<&str> {
        Some("slot-3")
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        assert_eq!(message.iter().filter(|byte| **byte == b'.').count(), 1);
        self.0.map(|()| vec![1; 64]).map_err(|()| Error::new(ErrorKind::Config, "the chip is locked"))
    }

    fn identity(&self) -> Result<Secret, Error> {
        Ok(Secret::from("slot 3"))
    }
}

#[test]
fn any_signer_will_do() {
    let request = |chip| {
        let credentials = ClientCredentials::default()
            .client_id("id")
            .assertion(Assertion::with_signer(Chip(chip)).random(|| Ok([0; 16])));
        let time = Duration::from_secs(0);
        Request::token_at(time, &endpoint(), &credentials, &Grant::client_credentials()).map(|request| text(&request))
    };
    let header = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InNsb3QtMyJ9";
    let sent = request(Ok(())).unwrap();
    assert!(sent.contains(&format!("&client_assertion={header}.")), "{sent}");
    // 64 times the byte 1.
    assert!(sent.ends_with(&format!(".{}AQ", "AQEB".repeat(21))), "{sent}");
    assert_eq!(request(Err(())).unwrap_err().to_string(), "the chip is locked");
    // Without bytes of one's own: those of the operating system, where there is one.
    let credentials = ClientCredentials::default().client_id("id").assertion(Assertion::with_signer(Chip(Ok(()))));
    let is_made = Request::token(&endpoint(), &credentials, &Grant::client_credentials()).is_ok();
    assert_eq!(is_made, cfg!(all(feature = "std", any(unix, feature = "jwt"))));
}

#[cfg(not(any(feature = "jwt", feature = "cli")))]
#[test]
fn a_build_without_signatures_says_so() {
    let credentials =
        ClientCredentials::default().client_id("id").assertion(Assertion::new(SecretSource::value("key")));
    assert_config(
        Request::token(&endpoint(), &credentials, &Grant::client_credentials()),
        "this build has no signatures: it cannot sign with a key",
        "build keyfob with the feature `jwt`, and the command with `tls`",
    );
}

/// An id that is read is a secret: no error repeats it. In a URL it is none.
#[test]
fn a_client_id_that_is_read_is_a_secret() {
    let read = || ClientCredentials::default().client_id_source(SecretSource::value("k3y"));
    let grant = Grant::client_credentials();
    let with_secret = || read().client_secret(SecretSource::value(""));
    for (endpoint, credentials, expected) in [
        (endpoint(), read(), "grant_type=client_credentials&client_id=k3y"),
        (
            endpoint().authentication(ClientAuthentication::ClientSecretPost),
            with_secret(),
            "grant_type=client_credentials&client_id=k3y&client_secret=",
        ),
        (endpoint().parameter("key", "{client_id}"), read(), "grant_type=client_credentials&key=k3y"),
    ] {
        let request = Request::token(&endpoint, &credentials, &grant).unwrap();
        assert_eq!(request.body().map(|body| String::from_utf8_lossy(body).into_owned()), Some(expected.to_owned()));
        assert!(!format!("{credentials:?} {request:?}").contains("k3y"));
    }
    let request = Request::token(&endpoint(), &with_secret(), &grant).unwrap();
    assert!(request.headers().any(|header| header == ("Authorization", "Basic azN5Og==")));
    let in_path = Endpoint::new("https://as.example/{client_id}/token").unwrap();
    assert_eq!(Request::token(&in_path, &read(), &grant).unwrap().url(), "https://as.example/k3y/token");
    let answer = r#"{"error":"invalid_client","error_description":"no such key: k3y"}"#;
    let client =
        Client::with_parts(endpoint(), move |_: &Request| Ok(Response::new(401, answer.as_bytes())), || Duration::ZERO);
    let error = client.client_id_source(SecretSource::value("k3y")).fetch(&grant).unwrap_err();
    assert!(error.to_string().ends_with("invalid_client (‹redacted›)"), "{error}");
}
