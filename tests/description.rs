//! Endpoints described by JSON: what is read, and how mistakes are named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{AccessToken, ClientCredentials, Endpoint, ErrorKind, Grant, Lifetime, Request, Response};

fn request(description: &str, grant: &Grant) -> Request {
    let credentials = ClientCredentials::default().client_id("id").client_secret(keyfob::SecretSource::value("secret"));
    Request::token(&Endpoint::from_json(description).unwrap(), &credentials, grant).unwrap()
}

fn body(request: &Request) -> &str {
    std::str::from_utf8(request.body().unwrap_or_default()).unwrap()
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (description, message) in [
        ("", "description: not a JSON object, at line 1, column 1"),
        ("[]", "description: not a JSON object, at line 1, column 1"),
        (
            "{\n  \"url\": \"https://as.example\"\n  \"params\": \"json\"\n}",
            "description: a comma or a closing bracket is missing, at line 3, column 3",
        ),
        ("{\"url\": \"https://as.example\",\n}", "description: trailing comma, at line 1, column 29"),
        ("{\"é\": 1,, \"url\": 2}", "description: a member name in quotes is missing, at line 1, column 9"),
        ("{\"url\": \"https://as.example\"", "description: the JSON text is cut off, at line 1, column 29"),
        ("{\"url\": \"\\ud800\"}", "description: half of a surrogate pair, or a number that is too large"),
        (
            "{\"url\": \"https://a.example\", \"url\": \"https://b.example\"}",
            "description: duplicate member \"url\", at line 1, column 30",
        ),
        ("{}", "there is no token endpoint"),
        (r#"{"url": 1}"#, "`url`: this must be a string"),
        (r#"{"url": "as.example"}"#, "url: it must start with https:// or http://"),
        // A message shows host and path, also the text inside a filter.
        ("{\"url\": \"https://e.example{json:\u{7f}x/\"}", "url: byte 23 is not visible ASCII"),
        ("{\"url\": \"https://e.example/{url:\u{e9} {a}}/\"}", "url: byte 23 is not visible ASCII"),
        (
            r#"{"url": "https://as.example", "resource": "api.example"}"#,
            "resource: not an absolute URI without a fragment (RFC 8707 section 2)",
        ),
        (
            r#"{"url": "https://as.example", "resource": ["https://a.example", "https://b.example#x"]}"#,
            "resource: not an absolute URI without a fragment (RFC 8707 section 2)",
        ),
        (r#"{"url": "https://as.example", "resource": {"a": "b"}}"#, "`resource`: this must be a string"),
        (
            r#"{"url": "https://as.example", "issuer": "as.example"}"#,
            "issuer: url: it must start with https:// or http://",
        ),
        (
            r#"{"url": "https://as.example", "introspection_url": "as.example"}"#,
            "`introspection_url`: url: it must start with https:// or http://",
        ),
        (r#"{"url": "https://as.example", "parms": "json"}"#, "unknown member \"parms\"; did you mean \"params\"?"),
        (r#"{"url": "https://as.example", "client_secret": "x"}"#, "unknown member \"client_secret\""),
        (
            r#"{"url": "https://as.example", "dialect": "soap"}"#,
            "`dialect`: \"soap\" is none of bearer-session, form-credentials, json-credentials, user-credentials",
        ),
        (r#"{"url": "https://as.example", "params": "xml"}"#, "`params`: \"xml\" is none of form, json, query"),
        (r#"{"url": "https://as.example", "params": true}"#, "`params`: this must be a string"),
        (
            r#"{"url": "https://as.example", "auth": "basic"}"#,
            "`auth`: \"basic\" is none of client_secret_basic, client_secret_post, private_key_jwt, client_secret_jwt, \
             tls_client_auth, none",
        ),
        (r#"{"url": "https://as.example", "method": "PATCH"}"#, "`method`: \"PATCH\" is none of POST, PUT, GET"),
        (
            r#"{"url": "https://as.example", "method": "GET", "params": "form"}"#,
            "`params`: with GET they can only go into the query",
        ),
        (
            r#"{"url": "https://as.example", "method": "GET", "params": "json"}"#,
            "`params`: with GET they can only go into the query",
        ),
        (r#"{"url": "https://as.example", "basic_raw": "yes"}"#, "`basic_raw`: this must be true or false"),
        (
            r#"{"url": "https://as.example", "param": ["a"]}"#,
            "`param`: this must be an object of names with their values",
        ),
        (
            r#"{"url": "https://as.example", "header": {"a": 1}}"#,
            "`header.a`: this must be a string or an array of strings",
        ),
        (r#"{"url": "https://as.example", "keep": "a"}"#, "`keep`: this must be an array of paths"),
        (
            r#"{"url": "https://as.example", "keep": ["a..b"]}"#,
            "keep: \"a..b\" is not a path: names joined by dots, at most 8",
        ),
        (r#"{"url": "https://as.example", "field": 1}"#, "`field`: this must be a string"),
        (r#"{"url": "https://as.example", "field": {"id": "a"}}"#, "unknown member \"field.id\""),
        (
            r#"{"url": "https://as.example", "field": {"expires_inn": "a"}}"#,
            "unknown member \"field.expires_inn\"; did you mean \"expires_in\"?",
        ),
        (r#"{"url": "https://as.example", "field": {"scope": 1}}"#, "`field.scope`: this must be a string"),
        (r#"{"environments": {"eu": 1}, "environment": "eu"}"#, "`environments.eu`: this must be a string"),
        (
            r#"{"url": "https://as.example", "lifetime": 0}"#,
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (
            r#"{"url": "https://as.example", "lifetime": -1}"#,
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (
            r#"{"url": "https://as.example", "lifetime": "1 h"}"#,
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (
            r#"{"url": "https://as.example", "lifetime": {"zero": "never"}}"#,
            "`lifetime.zero`: \"never\" is none of once, unknown, a number of seconds",
        ),
        (
            r#"{"url": "https://as.example", "lifetime": {"unit": "hours"}}"#,
            "`lifetime.unit`: \"hours\" is none of seconds, milliseconds, minutes, text",
        ),
        (r#"{"url": "https://as.example", "lifetime": {"default": 1}}"#, "unknown member \"lifetime.default\""),
        (
            r#"{"url": "https://as.example", "lifetime": {"maximun": 1}}"#,
            "unknown member \"lifetime.maximun\"; did you mean \"maximum\"?",
        ),
        (
            r#"{"url": "https://as.example", "refresh": {"parms": "json"}}"#,
            "unknown member \"refresh.parms\"; did you mean \"params\"?",
        ),
        (r#"{"url": "https://as.example", "revoke": "post"}"#, "`revoke`: \"post\" is none of delete"),
        (
            r#"{"environments": {"eu": "https://eu.example", "us": "https://us.example"}}"#,
            "`environment`: none is chosen of eu, us",
        ),
        (
            r#"{"environments": {"eu": "https://eu.example"}, "environment": "asia"}"#,
            "`environment`: \"asia\" is none of eu",
        ),
        (
            r#"{"environments": ["eu"], "environment": "eu"}"#,
            "`environments`: this must be an object of names with their URLs",
        ),
    ] {
        let error = Endpoint::from_json(description).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{description}");
        assert_eq!(error.to_string(), message, "{description}");
    }
}

#[test]
fn an_environment_is_named_once_and_the_path_stays() {
    for (base, environment, url) in [
        ("https://eu.example", "eu", "https://eu.example/api/token"),
        ("https://eu.example/", "eu", "https://eu.example/api/token"),
        ("https://eu.example/tenant/", "eu", "https://eu.example/tenant/api/token"),
        ("https://eu.example", "us", "https://us.example/api/token"),
    ] {
        let description = format!(
            r#"{{"environments": {{"eu": "{base}", "us": "https://us.example"}}, "environment": "{environment}", "path": "/api/token"}}"#
        );
        assert_eq!(request(&description, &Grant::client_credentials()).url(), url);
    }
    // A URL that is given whole wins.
    let description =
        r#"{"url": "https://own.example/t", "environments": {"eu": "https://eu.example"}, "environment": "eu"}"#;
    assert_eq!(request(description, &Grant::client_credentials()).url(), "https://own.example/t");
}

#[test]
fn a_dialect_is_a_preset_that_each_member_overrides() {
    let cc = Grant::client_credentials;
    for (description, grant, method, url, expected) in [
        (
            r#"{"dialect": "json-credentials", "url": "https://a.example/t"}"#,
            cc(),
            "POST",
            "https://a.example/t",
            r#"{"grant_type":"client_credentials","client_id":"id","client_secret":"secret"}"#,
        ),
        (
            r#"{"dialect": "json-credentials", "url": "https://a.example/t", "method": "GET"}"#,
            cc(),
            "GET",
            "https://a.example/t?grant_type=client_credentials&client_id=id&client_secret=secret",
            "",
        ),
        (
            r#"{"dialect": "json-credentials", "url": "https://a.example/t", "method": "POST"}"#,
            cc(),
            "POST",
            "https://a.example/t",
            r#"{"grant_type":"client_credentials","client_id":"id","client_secret":"secret"}"#,
        ),
        (
            r#"{"dialect": "json-credentials", "url": "https://a.example/t", "params": "form"}"#,
            cc(),
            "POST",
            "https://a.example/t",
            "grant_type=client_credentials&client_id=id&client_secret=secret",
        ),
        (
            r#"{"dialect": "form-credentials", "url": "https://a.example/t"}"#,
            cc().scope("s"),
            "POST",
            "https://a.example/t",
            "grant_type=client_credentials&client_id=id&client_secret=secret&scope=s",
        ),
        (
            r#"{"dialect": "form-credentials", "url": "https://a.example/t", "scope_required": false, "auth": "client_secret_basic"}"#,
            cc(),
            "POST",
            "https://a.example/t",
            "grant_type=client_credentials",
        ),
        (
            r#"{"url": "https://a.example/t?a=b", "params": "query", "param": {"resource": ["x", "y"], "n": ""}}"#,
            cc(),
            "POST",
            "https://a.example/t?a=b&grant_type=client_credentials&client_id=id&client_secret=secret&n=&resource=x&resource=y",
            "",
        ),
        (
            r#"{"url": "https://a.example/t?", "params": "query", "omit_grant_type": true, "auth": "client_secret_basic", "param": {"a": "b c"}}"#,
            cc(),
            "POST",
            "https://a.example/t?a=b%20c",
            "",
        ),
    ] {
        let request = request(description, &grant);
        assert_eq!((request.method(), request.url(), body(&request)), (method, url, expected), "{description}");
    }
}

#[test]
fn the_grants_that_dialects_name() {
    for (dialect, grant) in [
        ("json-credentials", None),
        ("form-credentials", None),
        ("bearer-session", Some("bearer_session")),
        ("user-credentials", Some("password")),
    ] {
        assert_eq!(Endpoint::dialect(dialect.parse().unwrap(), "https://a.example/t").unwrap().grant_type(), grant);
    }
    let endpoint = Endpoint::from_json(r#"{"url": "https://a.example/t", "grant": "bearer_session"}"#).unwrap();
    let credentials = ClientCredentials::default();
    let request =
        Request::token(&endpoint, &credentials, &Grant::bearer_session(keyfob::SecretSource::value("t"))).unwrap();
    assert_eq!((request.method(), request.url(), request.body()), ("GET", "https://a.example/t", None));
}

#[test]
fn fields_and_lifetimes_are_data() {
    let answer = r#"{"accessToken":"t","data":{"ttl":"60000"},"kind":"DPoP","expires_in":5}"#;
    let description = r#"{"url": "https://a.example/t",
        "field": {"access_token": "accessToken", "expires_in": "data.ttl", "token_type": "kind"},
        "lifetime": {"unit": "milliseconds", "absent": 7, "zero": "unknown", "maximum": 30}}"#;
    let read = |description: &str, answer: &str| {
        let endpoint = Endpoint::from_json(description).unwrap();
        AccessToken::read(&endpoint, Response::new(200, answer), Duration::ZERO..Duration::ZERO).unwrap()
    };
    let token = read(description, answer);
    assert_eq!((token.expose(), token.token_type()), ("t", Some("DPoP")));
    assert_eq!(token.lifetime(), Lifetime::Until(Duration::from_secs(30)));
    let until = |seconds| Lifetime::Until(Duration::from_secs(seconds));
    for (lifetime, expires_in, expected) in [
        ("3600", "null", until(3600)),
        ("3600", "0", until(3600)),
        ("3600", "60", until(60)),
        (r#"{"absent": 60}"#, "null", until(60)),
        (r#"{"absent": 60}"#, "0", Lifetime::Once),
        (r#"{"zero": 60}"#, "-1", until(60)),
        (r#"{"zero": "once"}"#, "0", Lifetime::Once),
        (r#"{"zero": "unknown"}"#, "0", Lifetime::Unknown),
        (r#"{"unit": "minutes"}"#, "2", until(120)),
    ] {
        let description = format!(r#"{{"url": "https://a.example/t", "lifetime": {lifetime}}}"#);
        let answer = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
        assert_eq!(read(&description, &answer).lifetime(), expected, "{lifetime} {expires_in}");
    }
}
