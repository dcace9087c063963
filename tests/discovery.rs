//! Endpoints found by the issuer's metadata (RFC 8414, OpenID Connect Discovery 1.0).

#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{Client, Discovery, Error, ErrorKind, Grant, Request, Response, SharedTokenCache};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const ISSUER: &str = "https://as.example/tenant";
const OPENID: &str = "https://as.example/tenant/.well-known/openid-configuration";
const OAUTH: &str = "https://as.example/.well-known/oauth-authorization-server/tenant";

/// A server: answers by URL, and the requests that came.
#[derive(Clone, Default)]
struct World {
    answers: Arc<Mutex<BTreeMap<String, (u16, String)>>>,
    requests: Arc<Mutex<Vec<String>>>,
    now: Arc<Mutex<Duration>>,
}

impl World {
    fn answering(answers: &[(&str, u16, &str)]) -> Self {
        let world = Self::default();
        for (url, status, body) in answers {
            world.set(url, *status, body);
        }
        world
    }

    fn set(&self, url: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(url.to_owned(), (status, body.to_owned()));
    }

    fn client(&self, endpoint: keyfob::Endpoint) -> Client {
        let (world, clock) = (self.clone(), self.now.clone());
        let send = move |request: &Request| {
            let names: Vec<&str> = request.headers().map(|(name, _)| name).collect();
            assert!(request.body().is_some() || names == ["Accept", "User-Agent"], "{names:?}");
            world.requests.lock().unwrap().push(format!("{} {}", request.method(), request.url()));
            let answer = world.answers.lock().unwrap().get(request.url()).cloned();
            let (status, body) = answer.unwrap_or((404, "not found".to_owned()));
            Ok(Response::new(status, body))
        };
        Client::with_parts(endpoint, send, move || *clock.lock().unwrap())
    }

    fn discovery(&self, issuer: &str) -> Result<Discovery, Error> {
        let world = self.clone();
        Discovery::new(issuer, move |place| Ok(SharedTokenCache::new(world.client(place), Grant::client_credentials())))
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn passes(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }
}

fn metadata(issuer: &str, more: &str) -> String {
    format!(r#"{{"issuer": "{issuer}", "token_endpoint": "https://as.example/tenant/token"{more}}}"#)
}

#[test]
fn the_two_places_are_asked_in_turn() {
    let good = metadata(ISSUER, "");
    let (openid, oauth) = (format!("GET {OPENID}"), format!("GET {OAUTH}"));
    let both = vec![openid.clone(), oauth];
    for (answers, requests) in [
        (&[(OPENID, 200, good.as_str()), (OAUTH, 200, "{}")][..], vec![openid.clone()]),
        (&[(OAUTH, 200, &good)], both.clone()),
        (&[(OPENID, 403, "<html>"), (OAUTH, 200, &good)], both.clone()),
        (&[(OPENID, 400, r#"{"error":"invalid_request"}"#), (OAUTH, 200, &good)], both.clone()),
        // A page for every path.
        (&[(OPENID, 200, "<html>"), (OAUTH, 200, &good)], both.clone()),
        (&[(OPENID, 200, r#"{"issuer": "x"}"#), (OAUTH, 200, &good)], both),
    ] {
        let world = World::answering(answers);
        let found = world.discovery(ISSUER).unwrap().metadata().unwrap();
        assert_eq!(found.url("token_endpoint"), Some("https://as.example/tenant/token"), "{answers:?}");
        assert_eq!(world.sent(), requests, "{answers:?}");
    }
}

#[test]
fn an_answer_that_is_no_refusal_of_the_path_ends_the_search() {
    for (status, kind, message) in [
        (500, ErrorKind::Unusable, "the server answered with status 500"),
        (503, ErrorKind::Wait, "the server asks to wait (status 503)"),
        (429, ErrorKind::Wait, "the server asks to wait (status 429)"),
        (407, ErrorKind::Refused, "the proxy wants other credentials"),
        (302, ErrorKind::Unusable, "the server redirects (status 302), and a token request follows no redirect"),
    ] {
        let world = World::answering(&[(OPENID, status, "")]);
        let error = world.discovery(ISSUER).unwrap().metadata().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.starts_with("discovery of https://as.example/tenant: "), "{text}");
        assert!(status == 302 || text.ends_with(message), "{text}");
        assert_eq!(world.sent().len(), 1);
    }
    let world = World::default();
    let error = world.discovery(ISSUER).unwrap().metadata().unwrap_err();
    assert_eq!(error.to_string(), "discovery of https://as.example/tenant: the server has no metadata");
    assert_eq!(
        error.hint(),
        Some(&*format!(
            "{OPENID} was answered with status 404, {OAUTH} with status 404; is this the issuer? If it has no metadata, \
             give the URL of its token endpoint (`Endpoint::new`)"
        ))
    );
}

#[test]
fn the_metadata_is_believed_if_it_names_this_issuer_and_https_urls() {
    let with = |more: &str| metadata(ISSUER, more);
    for (body, expected) in [
        (with(""), Ok(())),
        (with(r#", "revocation_endpoint": "https://other.example/r""#), Ok(())),
        (with(r#", "introspection_endpoint": "http://127.0.0.1:1/i""#), Ok(())),
        (with(r#", "revocation_endpoint": null"#), Ok(())),
        (
            metadata("https://as.example/tenant/", ""),
            Err(r#"the metadata is that of the issuer "https://as.example/tenant/""#),
        ),
        (
            metadata("https://AS.example/tenant", ""),
            Err(r#"the metadata is that of the issuer "https://AS.example/tenant""#),
        ),
        (metadata("https://evil.example", ""), Err(r#"the metadata is that of the issuer "https://evil.example""#)),
        (r#"{"token_endpoint": "https://as.example/t"}"#.to_owned(), Err("the metadata does not name its issuer")),
        (
            format!(r#"{{"issuer": "{ISSUER}", "token_endpoint": "http://as.example/t"}}"#),
            Err("`token_endpoint` in the metadata is not https"),
        ),
        (
            with(r#", "revocation_endpoint": "http://as.example/r""#),
            Err("`revocation_endpoint` in the metadata is not https"),
        ),
        (
            with(r#", "introspection_endpoint": "/introspect""#),
            Err("`introspection_endpoint` in the metadata: url: it must start with https:// or http://"),
        ),
        (
            with(r#", "revocation_endpoint": "https://user@as.example/r""#),
            Err("`revocation_endpoint` in the metadata: url: a user name or password cannot be part of it"),
        ),
    ] {
        let world = World::answering(&[(OPENID, 200, &body)]);
        let found = world.discovery(ISSUER).unwrap().metadata();
        let text = found.as_ref().map(drop).map_err(ToString::to_string);
        let expected = expected.map_err(|why: &str| format!("discovery of {ISSUER}: {why}"));
        assert_eq!(text, expected, "{body}");
    }
    let world = World::answering(&[(OPENID, 200, &metadata("https://as.example/tenant/", ""))]);
    let error = world.discovery(ISSUER).unwrap().metadata().unwrap_err();
    assert_eq!(
        error.hint(),
        Some(r#"if that is the right one, name it exactly so: "issuer": "https://as.example/tenant/""#)
    );
}

#[test]
fn an_issuer_is_an_https_url_without_query_and_fragment() {
    for (issuer, expected) in [
        ("https://as.example", Ok(())),
        ("https://as.example/", Ok(())),
        ("http://127.0.0.1:8080", Ok(())),
        ("http://as.example", Err("issuer: it must start with https://")),
        ("http://169.254.169.254", Err("issuer: it must start with https://")),
        ("as.example", Err("issuer: url: it must start with https:// or http://")),
        ("https://as.example?tenant=1", Err("issuer: it has no query (RFC 8414 section 2)")),
        ("https://as.example#x", Err("issuer: url: a token endpoint has no fragment (#…)")),
        ("https://{tenant}.example", Err("issuer: url: it holds a character that is not allowed there")),
    ] {
        let made = World::default().discovery(issuer);
        assert_eq!(made.map(drop).map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{issuer}");
    }
}

#[test]
fn every_request_goes_to_the_urls_of_the_metadata_which_is_fetched_once_a_day() {
    let world = World::answering(&[
        (
            OPENID,
            200,
            &metadata(
                ISSUER,
                r#", "revocation_endpoint": "https://r.example/r", "introspection_endpoint": "https://as.example/i""#,
            ),
        ),
        ("https://as.example/tenant/token", 200, r#"{"access_token": "t", "expires_in": 60}"#),
        ("https://as.example/i", 200, r#"{"active": true}"#),
        ("https://r.example/r", 200, ""),
    ]);
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let seen = hosts.clone();
    let discovery = world.discovery(ISSUER).unwrap().on_fetched(move |metadata| {
        seen.lock().unwrap().extend(metadata.other_hosts().map(str::to_owned));
    });
    let discovery = Arc::new(discovery);
    let endpoint = discovery.endpoint().unwrap();
    assert_eq!(endpoint.authority(), "as.example");
    let client = world.client(endpoint).client_id("meter");
    assert_eq!(world.sent(), [] as [&str; 0], "nothing is fetched before it is needed");

    let token = client.fetch(&Grant::client_credentials()).unwrap();
    assert_eq!(world.sent(), [&*format!("GET {OPENID}"), "POST https://as.example/tenant/token"]);
    assert!(client.introspect(token.expose()).unwrap().is_active());
    client.revoke(token).unwrap();
    assert_eq!(world.sent(), ["POST https://as.example/i", "POST https://r.example/r"]);
    assert_eq!(*hosts.lock().unwrap(), ["r.example"]);

    // The server moved; a day later that is found out.
    world.set(OPENID, 200, &metadata(ISSUER, "").replace("/token", "/new"));
    world.set("https://as.example/tenant/new", 200, r#"{"access_token": "u", "expires_in": 60}"#);
    let fetch = || client.fetch(&Grant::client_credentials()).unwrap().expose().to_owned();
    assert_eq!(fetch(), "t");
    world.sent();
    world.passes(86_401);
    assert_eq!(fetch(), "u");
    assert_eq!(world.sent(), [&*format!("GET {OPENID}"), "POST https://as.example/tenant/new"]);
    let error = client.introspect("t").unwrap_err();
    assert_eq!(error.to_string(), format!("the metadata of {ISSUER} has no `introspection_endpoint`"));
}

#[test]
fn offline_asks_nobody_and_fresh_asks_once_more() {
    let world = World::answering(&[(OPENID, 200, &metadata(ISSUER, ""))]);
    let offline = world.discovery(ISSUER).unwrap().offline();
    let error = offline.metadata().unwrap_err();
    assert_eq!(error.to_string(), format!("discovery of {ISSUER}: no metadata is cached, and nobody was asked"));
    assert_eq!(world.sent().len(), 0);
    let discovery = world.discovery(ISSUER).unwrap();
    discovery.metadata().unwrap();
    discovery.metadata().unwrap();
    assert_eq!(world.sent().len(), 1);
    let discovery = discovery.fresh();
    world.passes(5);
    discovery.metadata().unwrap();
    discovery.metadata().unwrap();
    assert_eq!(world.sent().len(), 1);
}
