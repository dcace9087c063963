//! Token exchange (RFC 8693): the type of the issued token is told, and checked if one was requested.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{AccessToken, Client, Endpoint, Error, ErrorKind, Grant, Request, Response, SecretSource};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn grant(requested: Option<&str>) -> Grant {
    let grant = Grant::extension(EXCHANGE)
        .parameter("subject_token_type", JWT)
        .secret_parameter("subject_token", SecretSource::value("the-subject-token"));
    match requested {
        Some(requested) => grant.parameter("requested_token_type", requested),
        None => grant,
    }
}

fn fetch(grant: &Grant, answer: &str) -> Result<AccessToken, Error> {
    let answer = answer.to_owned();
    let send = move |_: &Request| Ok(Response::new(200, answer.clone()));
    Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, || Duration::ZERO).fetch(grant)
}

fn answer(issued: &str) -> String {
    format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":60,{issued}"x":1}}"#)
}

#[test]
fn the_type_of_the_issued_token_is_told_and_must_be_the_requested_one() {
    let issued = |value: &str| answer(&format!(r#""issued_token_type":{value},"#));
    let named = |kind: &str| issued(&format!("\"{kind}\""));
    for (requested, answer, expected) in [
        (None, named(ACCESS), Ok(Some(ACCESS))),
        (None, named(JWT), Ok(Some(JWT))),
        (Some(JWT), named(JWT), Ok(Some(JWT))),
        // RFC 8693 requires the member, and several services leave it out.
        (Some(JWT), answer(""), Ok(None)),
        (Some(JWT), issued("null"), Ok(None)),
        (Some(JWT), issued("7"), Ok(None)),
        (Some(JWT), named(ACCESS), Err(ACCESS)),
        (Some(ACCESS), named("the-subject-token"), Err("was requested")),
        (Some(JWT), named("URN:ietf:params:oauth:token-type:jwt"), Err("URN:ietf:params:oauth:token-type:jwt")),
    ] {
        match (fetch(&grant(requested), &answer), expected) {
            (Ok(token), Ok(expected)) => {
                let told = token.member("issued_token_type").map(|issued| issued.expose().to_owned());
                assert_eq!(told.as_deref(), expected, "{answer}");
            }
            (Err(error), Err(named)) => {
                assert_eq!(error.kind(), ErrorKind::Unusable);
                let text = format!("{error} {}", error.hint().unwrap_or_default());
                let start = "the server issued a token of another type than the requested one";
                assert!(text.starts_with(start) && !text.contains("the-subject-token"), "{text}");
                assert!(text.contains(named) || named.starts_with('‹'), "{text}");
                assert!(
                    text.ends_with("change `requested_token_type`, or leave it out") || named.starts_with('‹'),
                    "{text}"
                );
                assert!(!error.is_retryable());
            }
            (result, expected) => panic!("{answer}: {result:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn a_token_that_is_no_access_token_is_not_sent_and_other_grants_tell_no_type() {
    let text = r#"{"access_token":"t","token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token"}"#;
    let token = fetch(&grant(None), text).unwrap();
    let error = token.header().map(drop).unwrap_err();
    assert_eq!(error.to_string(), r#"a token of type "N_A" cannot be sent as a bearer token"#);
    let other = Grant::client_credentials().parameter("requested_token_type", JWT);
    let token = fetch(&other, &answer(r#""issued_token_type":"other","#)).unwrap();
    assert!(token.member("issued_token_type").is_none());
}
