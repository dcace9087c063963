//! No secret is shown: every public type's `Debug`, every error's `Display`, `Debug`, hint and sources are searched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::error::Error as _;
use core::time::Duration;
use keyfob::{
    AccessToken, Client, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Members, Rejection, Request, Response,
    Secret, SecretSource, Spread, TokenCache, TokenResponse,
};
use std::fmt::Debug;

/// Part of every secret in this file. The form-, JSON- and base64-encoded forms of it are searched for too.
const SENTINEL: &str = "SENT/NEL+";
const FORMS: [&str; 6] = ["SENT/NEL", "SENT%2FNEL", "SENT\\/NEL", "U0VOVC9ORU", "NFTlQvTkVM", "TRU5UL05FT"];

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for form in FORMS {
        assert!(!text.contains(form), "{what} shows a secret: {text}");
    }
}

#[track_caller]
fn assert_debug_clean(what: &str, value: &dyn Debug) {
    assert_clean(what, &format!("{value:?} {value:#?}"));
}

#[track_caller]
fn assert_error_clean(what: &str, error: &Error) {
    assert_clean(
        what,
        &format!("{error} {error:?} {} {:?}", error.hint().unwrap_or_default(), error.oauth_error_description()),
    );
    let mut source = error.source();
    while let Some(cause) = source {
        assert_clean(what, &format!("{cause} {cause:?}"));
        source = cause.source();
    }
}

fn secret() -> SecretSource {
    SecretSource::value(SENTINEL)
}

#[test]
fn the_search_finds_every_form() {
    let base64 = |text: &str| {
        let client = Client::with_parts(
            Endpoint::from_json(r#"{"url":"https://as.example","basic_raw":true}"#).unwrap(),
            |request: &Request| {
                Err(Error::new(
                    ErrorKind::Internal,
                    request.headers().find(|(name, _)| *name == "Authorization").unwrap().1,
                ))
            },
            || Duration::ZERO,
        );
        client
            .client_id("i".repeat(text.len()))
            .client_secret(SecretSource::value(SENTINEL))
            .fetch(&Grant::client_credentials())
            .unwrap_err()
            .to_string()
    };
    for text in ["SENT/NEL+", "SENT%2FNEL", r"SENT\/NEL+", &base64("a"), &base64("ab"), &base64("abc")] {
        assert!(FORMS.iter().any(|form| text.contains(form)), "{text}");
    }
}

#[test]
fn no_type_shows_a_secret() {
    let endpoint = Endpoint::new(format!("https://as.example/token?key={}", SENTINEL.replace('+', "")))
        .unwrap()
        .secret_parameter("assertion", secret())
        .secret_header("X-Key", secret())
        .keep_member("session")
        .unwrap();
    let credentials = ClientCredentials::default().client_id("id").client_secret(secret());
    let grants = [
        Grant::password("user", secret()),
        Grant::bearer_session(secret()),
        Grant::refresh_token(secret()),
        Grant::extension("urn:x").secret_parameter("p", secret()),
    ];
    assert_debug_clean("Endpoint", &endpoint);
    assert_debug_clean("ClientCredentials", &credentials);
    assert_debug_clean("Secret", &Secret::from(SENTINEL));
    assert_debug_clean("SecretSource", &secret());
    assert_debug_clean("Exposed", &secret().expose().unwrap());
    for grant in &grants {
        assert_debug_clean("Grant", grant);
        let public = ClientCredentials::default();
        let request = Request::token(&endpoint, &public, grant).unwrap();
        assert_debug_clean("Request", &request);
        assert_eq!(request.authority(), "as.example");
    }
    for description in [
        r#"{"url":"https://as.example/?k=SENT/NEL","params":"query"}"#,
        r#"{"url":"https://as.example","params":"json"}"#,
    ] {
        let request = Request::token(&Endpoint::from_json(description).unwrap(), &credentials, &grants[0]).unwrap();
        assert_debug_clean("Request", &request);
    }
    let body = format!(r#"{{"access_token":"{SENTINEL}","refresh_token":"{SENTINEL}","session":"{SENTINEL}"}}"#);
    let response = Response::new(200, body.clone()).with_header("location", SENTINEL);
    assert_debug_clean("Response", &response);
    let token = AccessToken::read(&endpoint, response, Duration::ZERO..Duration::ZERO).unwrap();
    assert_eq!(token.member("session").unwrap().expose(), SENTINEL);
    assert_debug_clean("AccessToken", &token);
    assert_debug_clean("AccessToken::authorization", &token.authorization());
    assert_debug_clean(
        "Client",
        &Client::with_parts(endpoint, |_: &Request| Ok(Response::new(200, *b"")), || Duration::ZERO)
            .client_secret(secret()),
    );
    let mut response = Response::new(200, body);
    let read = TokenResponse::read(&mut response, &Members::default());
    assert_debug_clean("TokenResponse", &read);
    let refusal = format!(r#"{{"error":"{SENTINEL}","error_description":"{SENTINEL}"}}"#);
    let mut refusal = Response::new(400, refusal);
    match TokenResponse::read(&mut refusal, &Members::default()) {
        Err(Rejection::OAuth(refusal)) => assert_debug_clean("OAuthRefusal", &refusal),
        _ => panic!("this is an OAuth error"),
    }
    #[cfg(feature = "http")]
    {
        let proxied = keyfob::HttpTransport::new().user_agent("x").proxy("http://user:SENT%2FNEL@p.example:1").unwrap();
        assert_debug_clean("HttpTransport", &proxied);
    }
}

#[test]
fn no_cache_shows_a_secret() {
    let client = |status: u16| {
        let body = format!(
            r#"{{"access_token":"{SENTINEL}","refresh_token":"{SENTINEL}","error":"{}"}}"#,
            if status == 200 { "" } else { "invalid_grant" }
        );
        let send = move |_: &Request| Ok(Response::new(status, body.clone()));
        Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), send, || Duration::ZERO)
            .client_id("id")
            .client_secret(secret())
    };
    let mut tokens = TokenCache::new(client(200), Grant::password("user", secret()));
    assert_eq!(tokens.token().unwrap().expose(), SENTINEL);
    assert_debug_clean("TokenCache", &tokens);
    assert_debug_clean("Spread", &Spread::from_seed(SENTINEL.as_bytes()));
    let mut refused = TokenCache::new(client(400), Grant::refresh_token(secret()));
    for _ in 0..2 {
        assert_error_clean("a refusal, and the memory of it", &refused.token().unwrap_err());
    }
    assert_debug_clean("TokenCache", &refused);
    #[cfg(feature = "std")]
    {
        let tokens = keyfob::SharedTokenCache::new(client(200), Grant::password("user", secret()));
        assert_eq!(tokens.token().unwrap().expose(), SENTINEL);
        assert_debug_clean("SharedTokenCache", &tokens);
        #[cfg(feature = "ureq")]
        {
            let again = ureq::Agent::config_builder().build().new_agent();
            assert_debug_clean("Authorize", &keyfob::Authorize::new(std::sync::Arc::new(tokens), again));
        }
    }
}

#[test]
fn no_answer_makes_an_error_that_shows_a_secret() {
    // What is sent is a secret, and so is what comes back where a token would stand.
    for (status, body) in [
        (200, r#"{"access_token":"SENT/NEL+ x"}"#),
        (200, r#"{"access_token":"SENT/NEL+","#),
        (200, r#"{"access_token":"SENT/NEL+","access_token":"SENT/NEL+2"}"#),
        (200, r#"{"SENT/NEL+":"SENT/NEL+"}"#),
        (200, "SENT/NEL+"),
        (200, "<html>SENT/NEL+</html>"),
        (200, r#"{"access_token":"t","token_type":"SENT/NEL\n"}"#),
        (400, r#"{"access_token":"SENT/NEL+"}"#),
        (400, r#"{"error":"SENT/NEL+","error_description":"you sent SENT/NEL+ and SENT/NEL+"}"#),
        (401, "SENT/NEL+"),
        (302, "SENT/NEL+"),
        (429, r#"{"error":"slow_down","error_description":"SENT/NEL+"}"#),
        (503, "SENT/NEL+"),
        (500, "SENT/NEL+"),
    ] {
        for grant in
            [Grant::password("user", secret()), Grant::refresh_token(secret()), Grant::bearer_session(secret())]
        {
            let send = move |_: &Request| {
                let location = "https://u:SENT%2FNEL@as.example/t?secret=SENT%2FNEL#SENT/NEL";
                Ok(Response::new(status, body).with_header("Location", location).with_header("Retry-After", "SENT/NEL"))
            };
            let endpoint = Endpoint::new("https://as.example/t").unwrap();
            let client = Client::with_parts(endpoint, send, || Duration::ZERO);
            let error = client.fetch(&grant).unwrap_err();
            assert_error_clean(body, &error);
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn no_configuration_makes_an_error_that_shows_a_secret() {
    let endpoint = |description: &str| Endpoint::from_json(description);
    for description in [
        r#"{"url":"https://user:SENT%2FNEL@as.example/"}"#,
        r#"{"url":"http://as.example/?secret=SENT%2FNEL"}"#,
        r#"{"url":"https://as.example/?SENT/NEL é"}"#,
        r#"{"url":"https://as.example/", "client_secret": "SENT/NEL+"}"#,
        r#"{"url":"https://as.example/", "param": {"grant_type": "SENT/NEL+"}}"#,
        r#"{"url":"https://as.example/", "header": {"X": "SENT/NEL+\n"}}"#,
        r#"{"url":"https://as.example/", "header": {"Authorization": "SENT/NEL+"}}"#,
        r#"{"url":"https://as.example/", "header": {"Content-Length": "SENT/NEL+"}}"#,
        r#"{"url":"https://as.example/" "SENT/NEL+"}"#,
    ] {
        let result = endpoint(description).and_then(|endpoint| {
            let credentials = ClientCredentials::default().client_id("id").client_secret(secret());
            Request::token(&endpoint, &credentials, &Grant::client_credentials())
        });
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{description}");
        assert_error_clean(description, &error);
    }
    for grant in [
        Grant::bearer_session(SecretSource::value("SENT/NEL+ x")),
        Grant::bearer_session(SecretSource::value("SENT/NEL+\n")),
        Grant::client_credentials().secret_parameter("grant_type", secret()),
    ] {
        let error = Request::token(
            &endpoint(r#"{"url":"https://as.example/"}"#).unwrap(),
            &ClientCredentials::default(),
            &grant,
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{grant:?}");
        assert_error_clean("grant", &error);
    }
    assert_error_clean("bearer", &AccessToken::bearer("SENT/NEL+ x").unwrap_err());
}

#[test]
fn an_error_is_one_line_and_cannot_deceive_a_terminal() {
    let body = "{\"error\":\"a\\nb\",\"error_description\":\"\\u001b[2Jred \\u202E back\\r\\n\\r\\nTrace: \\u0000 \\u0085 end\"}";
    let send = move |_: &Request| Ok(Response::new(400, body));
    let client = Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), send, || Duration::ZERO);
    let error = client.fetch(&Grant::client_credentials()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server refused (status 400): a b (\\u{1b}[2Jred \\u{202e} back Trace: \\u{0} \\u{85} end)"
    );
    assert_eq!(error.oauth_error(), None, "it is no registered code");
    let description = "\u{1b}[2Jred \u{202E} back\r\n\r\nTrace: \0 \u{85} end";
    assert_eq!(error.oauth_error_description(), Some(description), "as the server sent it");
    let endless = format!(r#"{{"error":"x","error_description":"{}"}}"#, "é".repeat(5000));
    let client = Client::with_parts(
        Endpoint::new("https://as.example/t").unwrap(),
        move |_: &Request| Ok(Response::new(400, endless.clone())),
        || Duration::ZERO,
    );
    assert!(client.fetch(&Grant::client_credentials()).unwrap_err().to_string().chars().count() < 400);
}
