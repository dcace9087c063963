//! Templates, variables, JSON values, the request that renews and the one that revokes: each row of a table is a description
//! and the request that it makes, byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{
    AccessToken, Client, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Request, Response, Secret, SecretSource,
    TokenCache,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn endpoint(description: &str) -> Result<Endpoint, Error> {
    let description = match ["\"url\"", "\"environments\""].iter().any(|start| description.starts_with(start)) {
        true => format!("{{{description}}}"),
        false => format!(r#"{{"url": "https://as.example/t", {description}}}"#),
    };
    let endpoint = Endpoint::from_json(&description)?;
    Ok(endpoint
        .secret_variable("key", SecretSource::value("k/\"+ é"))
        .secret_variable("api_key", SecretSource::value("K1")))
}

fn client() -> ClientCredentials {
    ClientCredentials::default().client_id("my id").client_secret(SecretSource::value("s:1"))
}

fn public() -> ClientCredentials {
    ClientCredentials::default()
}

/// Method, URL, headers but for those that are always the same, and body.
fn shown(request: &Request) -> String {
    let mut text = format!("{} {}", request.method(), request.url());
    for (name, value) in request.headers().filter(|(name, _)| !["Accept", "User-Agent"].contains(name)) {
        match (name, value) {
            ("Content-Type", "application/x-www-form-urlencoded" | "application/json") => {}
            _ => text += &format!(" | {name}: {value}"),
        }
    }
    if let Some(body) = request.body() {
        text += &format!(" | {}", String::from_utf8_lossy(body));
    }
    text
}

fn made(description: &str, credentials: &ClientCredentials, grant: &Grant) -> Result<String, Error> {
    Request::token(&endpoint(description)?, credentials, grant).map(|request| shown(&request))
}

#[test]
fn a_description_is_sent_to_the_byte() {
    let machine = Grant::client_credentials;
    let person = || Grant::password("al", SecretSource::value("p\"w"));
    let session = || Grant::bearer_session(SecretSource::value("S1"));
    let refresh = || Grant::refresh_token(SecretSource::value("r 1"));
    const CC: &str = "grant_type=client_credentials";
    for (description, credentials, grant, expected) in [
        // URLs.
        (
            r#""url": "https://{t}.example/x/t", "var": {"t": "acme"}"#,
            public(),
            machine(),
            format!("POST https://acme.example/x/t | {CC}"),
        ),
        (
            r#""url": "https://{h}/t", "var": {"h": "a-b.example:8443"}"#,
            public(),
            machine(),
            format!("POST https://a-b.example:8443/t | {CC}"),
        ),
        (
            r#""url": "https://as.example:{port}/t", "var": {"port": "8443"}"#,
            public(),
            machine(),
            format!("POST https://as.example:8443/t | {CC}"),
        ),
        (
            r#""url": "https://as.example/{t}/v{v}/t", "var": {"t": "a/b ?#%é", "v": "2"}"#,
            public(),
            machine(),
            format!("POST https://as.example/a%2Fb%20%3F%23%25%C3%A9/v2/t | {CC}"),
        ),
        (
            r#""url": "https://as.example/t?a={t}&b=1", "var": {"t": "x&b=2 #"}"#,
            public(),
            machine(),
            format!("POST https://as.example/t?a=x%26b%3D2%20%23&b=1 | {CC}"),
        ),
        (
            r#""url": "https://as.example/t?key={key}""#,
            public(),
            machine(),
            format!("POST https://as.example/t?key=k%2F%22%2B%20%C3%A9 | {CC}"),
        ),
        (
            r#""url": "{base}/token", "var": {"base": "https://na1.example/api/"}"#,
            public(),
            machine(),
            format!("POST https://na1.example/api/token | {CC}"),
        ),
        (
            r#""url": "https://as.example/{client_id}/t", "auth": "client_secret_basic""#,
            client(),
            machine(),
            format!("POST https://as.example/my%20id/t | Authorization: Basic bXkraWQ6cyUzQTE= | {CC}"),
        ),
        (
            r#""environments": {"eu": "https://{t}.eu.example"}, "environment": "eu", "path": "/{t}", "var": {"t": "x"}"#,
            public(),
            machine(),
            format!("POST https://x.eu.example/x | {CC}"),
        ),
        (
            r#""url": "https://as.example/login?user={username}&pw={password}", "method": "GET", "omit_grant_type": true"#,
            public(),
            person(),
            "GET https://as.example/login?user=al&pw=p%22w".into(),
        ),
        (
            r#""url": "https://as.example/t?v=1", "method": "GET", "param": {"a": "{t}"}, "var": {"t": "&"}"#,
            public(),
            machine(),
            format!("GET https://as.example/t?v=1&{CC}&a=%26"),
        ),
        (
            r#""url": "https://as.example/t?v={t}", "method": "GET", "param": {"a": "1"}, "var": {"t": "2"}"#,
            public(),
            machine(),
            format!("GET https://as.example/t?v=2&{CC}&a=1"),
        ),
        (
            r#""url": "https://as.example/t?h={base64:{t}:}", "var": {"t": "a~"}"#,
            public(),
            machine(),
            format!("POST https://as.example/t?h=YX46 | {CC}"),
        ),
        // Parameters.
        (r#""param": {"aud": "api://{t}"}, "var": {"t": "x y"}"#, public(), machine(), format!("POST https://as.example/t | {CC}&aud=api%3A%2F%2Fx+y")),
        (r#""param": {"k": "{api_key}"}"#, public(), machine(), format!("POST https://as.example/t | {CC}&k=K1")),
        (r#""param": {"n": 1, "b": true, "f": 1.5, "i": -2}"#, public(), machine(), format!("POST https://as.example/t | {CC}&b=true&f=1.5&i=-2&n=1")),
        (r#""param": {"r": ["{t}", 2, false]}, "var": {"t": "a&b"}"#, public(), machine(), format!("POST https://as.example/t | {CC}&r=a%26b&r=2&r=false")),
        (r#""param": {"x": "{{t}}", "y": "{ t }", "z": "}{"}"#, public(), machine(), format!("POST https://as.example/t | {CC}&x=%7Bt%7D&y=%7B+t+%7D&z=%7D%7B")),
        (
            r#""param": {"ClientId": "{client_id}", "Secret": "{client_secret}"}, "omit_grant_type": true"#,
            client(),
            machine(),
            "POST https://as.example/t | ClientId=my+id&Secret=s%3A1".into(),
        ),
        (
            r#""param": {"Secret": "{client_secret}"}, "omit_grant_type": true"#,
            client(),
            machine(),
            "POST https://as.example/t | client_id=my+id&Secret=s%3A1".into(),
        ),
        (
            r#""dialect": "json-credentials", "param": {"key": "{client_id}"}"#,
            client(),
            machine(),
            r#"POST https://as.example/t | {"grant_type":"client_credentials","client_secret":"s:1","key":"my id"}"#.into(),
        ),
        (
            r#""param": {"login": "{username}", "pass": "{password}"}, "omit_grant_type": true"#,
            public(),
            person(),
            "POST https://as.example/t | login=al&pass=p%22w".into(),
        ),
        // The standard refresh leaves out what only the original grant has.
        (
            r#""param": {"login": "{username}", "pass": "{password}", "x": "1"}"#,
            public(),
            refresh(),
            "POST https://as.example/t | grant_type=refresh_token&refresh_token=r+1&x=1".into(),
        ),
        // JSON.
        (
            r#""params": "json", "omit_grant_type": true, "param": {"n": 1, "b": false, "z": null, "o": {}, "l": [], "s": ""}"#,
            public(),
            machine(),
            r#"POST https://as.example/t | {"b":false,"l":[],"n":1,"o":{},"s":"","z":null}"#.into(),
        ),
        (
            r#""params": "json", "omit_grant_type": true,
               "param": {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "{username}", "domain": {"id": "default"}, "password": "{password}"}}}}}"#,
            public(),
            person(),
            r#"POST https://as.example/t | {"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"al","password":"p\"w"}}}}}"#.into(),
        ),
        (
            r#""params": "json", "omit_grant_type": true,
               "param": {"query": "mutation { signIn(email: \"{json:{username}}\", password: \"{json:{password}}\") { token } }"}"#,
            public(),
            person(),
            r#"POST https://as.example/t | {"query":"mutation { signIn(email: \"al\", password: \"p\\\"w\") { token } }"}"#.into(),
        ),
        (
            r#""params": "json", "omit_grant_type": true, "param": {"credentials": {"key": "{key}", "ids": [1, [2, "{t}"]]}}, "var": {"t": "\u0001"}"#,
            public(),
            machine(),
            "POST https://as.example/t | {\"credentials\":{\"ids\":[1,[2,\"\\u0001\"]],\"key\":\"k/\\\"+ é\"}}".into(),
        ),
        (
            r#""params": "json", "omit_grant_type": true, "param": {"a": "{{\"x\":{}}}"}"#,
            public(),
            machine(),
            r#"POST https://as.example/t | {"a":"{{\"x\":{}}}"}"#.into(),
        ),
        (
            r#""params": "json", "param": {"scope": ["a", "b"], "expires": 86400}"#,
            public(),
            machine(),
            r#"POST https://as.example/t | {"grant_type":"client_credentials","expires":86400,"scope":["a","b"]}"#.into(),
        ),
        (
            r#""params": "query", "param": {"n": 1}"#,
            public(),
            machine(),
            format!("POST https://as.example/t?{CC}&n=1 | "),
        ),
        // Headers.
        (
            r#""header": {"Authorization": "Basic {base64:{client_id}:{client_secret}}"}"#,
            client(),
            machine(),
            format!("POST https://as.example/t | Authorization: Basic bXkgaWQ6czox | {CC}"),
        ),
        (
            r#""header": {"Authorization": "ID {base64:{client_id}:{client_secret}}"}, "auth": "client_secret_basic""#,
            client(),
            machine(),
            format!("POST https://as.example/t | Authorization: ID bXkgaWQ6czox | {CC}"),
        ),
        (
            r#""header": {"Authorization": "Basic {base64:{username}:{password}}"}, "omit_grant_type": true, "params": "json""#,
            public(),
            person(),
            "POST https://as.example/t | Authorization: Basic YWw6cCJ3 | {}".into(),
        ),
        (
            r#""header": {"Authorization": "Bearer {api_key}", "X-Tenant": "{t}"}, "var": {"t": "acme"}"#,
            public(),
            machine(),
            format!("POST https://as.example/t | Authorization: Bearer K1 | X-Tenant: acme | {CC}"),
        ),
        (
            r#""header": {"Authorization": "Token {api_key}"}"#,
            client(),
            machine(),
            format!("POST https://as.example/t | Authorization: Token K1 | {CC}&client_id=my+id&client_secret=s%3A1"),
        ),
        (
            r#""header": {"X-Client-Secret": "{client_secret}", "X-Client-Id": "{client_id}"}"#,
            client(),
            machine(),
            format!("POST https://as.example/t | X-Client-Id: my id | X-Client-Secret: s:1 | {CC}"),
        ),
        (
            r#""grant": "bearer_session", "header": {"Authorization": "Bearer {session_token}"}"#,
            public(),
            session(),
            "GET https://as.example/t | Authorization: Bearer S1".into(),
        ),
        (
            r#""grant": "bearer_session", "header": {"X-Key": "{session_token}"}, "method": "PUT", "params": "json""#,
            public(),
            session(),
            "PUT https://as.example/t | X-Key: S1 | {}".into(),
        ),
        (
            r#""header": {"Content-Type": "application/vnd.{t}+json", "Accept": "a/{t}"}, "params": "json", "var": {"t": "x"}"#,
            public(),
            machine(),
            r#"POST https://as.example/t | Content-Type: application/vnd.x+json | {"grant_type":"client_credentials"}"#.into(),
        ),
        (r#""header": {"X": ["{t}", "2"]}, "var": {"t": "1"}"#, public(), machine(), format!("POST https://as.example/t | X: 1 | X: 2 | {CC}")),
        (r#""header": {"X": "{{t}}"}"#, public(), machine(), format!("POST https://as.example/t | X: {{t}} | {CC}")),
        (r#""header": {"X": "{url:{key}}"}"#, public(), machine(), format!("POST https://as.example/t | X: k%2F%22%2B%20%C3%A9 | {CC}")),
        // The request that renews.
        (
            r#""refresh": {"url": "https://as.example/r?t={refresh_token}", "method": "GET", "omit_grant_type": true}"#,
            public(),
            refresh(),
            "GET https://as.example/r?t=r%201".into(),
        ),
        (
            r#""refresh": {"url": "https://as.example/r"}, "param": {"a": "1"}, "params": "json", "header": {"X-Key": "{api_key}"}"#,
            public(),
            refresh(),
            r#"POST https://as.example/r | X-Key: K1 | {"grant_type":"refresh_token","refresh_token":"r 1"}"#.into(),
        ),
        (
            r#""refresh": {"method": "PUT", "params": "json", "omit_grant_type": true, "param": {"data": {"refreshToken": "{refresh_token}"}}}"#,
            client(),
            refresh(),
            r#"PUT https://as.example/t | {"client_id":"my id","client_secret":"s:1","data":{"refreshToken":"r 1"}}"#.into(),
        ),
        (
            r#""refresh": {"auth": "none", "header": {"authorization": "Bearer {refresh_token}"}, "omit_grant_type": true},
               "header": {"Authorization": "Basic {base64:{client_id}:{client_secret}}"}"#,
            client(),
            refresh(),
            "POST https://as.example/t | authorization: Bearer r 1 | ".into(),
        ),
        (
            r#""refresh": {"url": "https://{t}.example/r"}, "var": {"t": "acme"}"#,
            public(),
            refresh(),
            "POST https://acme.example/r | grant_type=refresh_token&refresh_token=r+1".into(),
        ),
        (r#""refresh": {"url": "https://as.example/r"}"#, public(), machine(), format!("POST https://as.example/t | {CC}")),
        (r#""refresh": false"#, public(), machine(), format!("POST https://as.example/t | {CC}")),
    ] {
        assert_eq!(made(description, &credentials, &grant).map_err(|error| error.to_string()), Ok(expected), "{description}");
    }
}

/// A secret header is in no description, and belongs to the request that renews as any other does.
#[test]
fn a_secret_header_is_sent_when_a_token_is_renewed_too() {
    for (refresh, expected) in [
        (r#"{"param": {"a": "b"}}"#, "X-Key: secret | X-Own: secret | "),
        (r#"{"param": {"a": "b"}, "header": {"x-key": "{t}"}}"#, "x-key: plain | X-Own: secret | "),
        ("true", "X-Key: secret | X-Own: secret | "),
    ] {
        let endpoint = endpoint(&format!(r#""refresh": {refresh}, "var": {{"t": "plain"}}"#)).unwrap();
        let endpoint = endpoint.secret_header("X-Key", SecretSource::value("secret"));
        let endpoint = endpoint.secret_header("X-Own", SecretSource::value("secret"));
        let request = Request::token(&endpoint, &public(), &Grant::refresh_token(SecretSource::value("r"))).unwrap();
        let more = if refresh == "true" { "" } else { "&a=b" };
        let body = format!("grant_type=refresh_token&refresh_token=r{more}");
        assert_eq!(shown(&request), format!("POST https://as.example/t | {expected}{body}"), "{refresh}");
    }
}

#[test]
fn mistakes_are_named() {
    let machine = Grant::client_credentials();
    for (description, message) in [
        (
            r#""param": {"a": "{tennant}"}, "var": {"tenant": "x"}"#,
            r#"parameter `a`: unknown variable "tennant"; did you mean "tenant"?"#,
        ),
        (r#""param": {"a": {"b": ["{x}"]}}, "params": "json""#, r#"parameter `a`: the variable "x" has no value"#),
        (r#""header": {"X-A": "{clientid}"}"#, r#"header X-A: unknown variable "clientid"; did you mean "client_id"?"#),
        (r#""header": {"X-A": "{client_secret}"}"#, r#"header X-A: the variable "client_secret" has no value"#),
        (
            r#""header": {"X-A": "{base64:x"}"#,
            r#"header X-A: the filter "base64:" has no closing brace, or is in more than two others"#,
        ),
        (r#""header": {"X-A": "{username}"}"#, r#"header X-A: the variable "username" has no value"#),
        (r#""header": {"X-A": "{token}"}"#, r#"header X-A: the variable "token" has no value"#),
        (
            r#""header": {"X-A": "{t}"}, "var": {"t": "a\r\nB: c"}"#,
            "header X-A: its value is empty, or holds a character that cannot be sent in a header",
        ),
        (
            r#""header": {"X-A": "{key}"}"#,
            "header X-A: its value is empty, or holds a character that cannot be sent in a header",
        ),
        (r#""url": "https://{t}.example/""#, r#"url: the variable "t" has no value"#),
        (
            r#""url": "https://{api_key}.example/""#,
            r#"url: "api_key" is secret, and host and path are written into logs and messages"#,
        ),
        (
            r#""url": "https://as.example/{key}""#,
            r#"url: "key" is secret, and host and path are written into logs and messages"#,
        ),
        (
            r#""url": "https://as.example/{base64:{key}}""#,
            r#"url: "key" is secret, and host and path are written into logs and messages"#,
        ),
        (
            r#""url": "https://{t}.example/", "var": {"t": "evil.example/"}"#,
            "url: the variable in its host must be letters, digits, hyphens and dots, with or without a port",
        ),
        (
            r#""url": "https://{t}.example/", "var": {"t": "u@evil"}"#,
            "url: the variable in its host must be letters, digits, hyphens and dots, with or without a port",
        ),
        (
            r#""url": "https://{t}.example/", "var": {"t": ""}"#,
            "url: the variable in its host must be letters, digits, hyphens and dots, with or without a port",
        ),
        (r#""url": "https://{t}.example/", "var": {"t": "evil:80"}"#, "url: the port is not a number from 1 to 65535"),
        (
            r#""url": "https://as.example/{t}/x", "var": {"t": ".."}"#,
            r#"url: the variable in its path is "..", which would name another path"#,
        ),
        (
            r#""url": "https://as.example/{t}/x", "var": {"t": ""}"#,
            r#"url: the variable in its path is "", which would name another path"#,
        ),
        (
            r#""url": "{t}/x", "var": {"t": "as.example"}"#,
            "url: the variable at its beginning must be an http or https URL without query and dots",
        ),
        (
            r#""url": "{t}/x", "var": {"t": "https://as.example/../x"}"#,
            "url: the variable at its beginning must be an http or https URL without query and dots",
        ),
        (
            r#""url": "{t}/x", "var": {"t": "https://as.example/?t=s3cret"}"#,
            "url: the variable at its beginning must be an http or https URL without query and dots",
        ),
        (
            r#""url": "{t}/x", "var": {"t": "http://as.example"}"#,
            "plain http to {t} would show the credentials to everyone on the way",
        ),
        (r#""url": "http{t}://as.example/", "var": {"t": "s"}"#, "url: a variable cannot be part of the scheme"),
        (r#""url": "https://as.example/{t}#x""#, "url: a token endpoint has no fragment (#…)"),
        (r#""url": "https://as.example/{ t }""#, "url: byte 20 is not visible ASCII"),
        (
            r#""var": {"a b": "x"}"#,
            "`var.a b`: this must be a name of letters, digits, `_`, `-` and `.` that begins with a letter",
        ),
        (r#""var": {"a": 1}"#, "`var.a`: this must be a string"),
        (
            r#""param": {"a": {"b": 1}}"#,
            "parameter `a`: an object, a null or an array in an array can only be sent in JSON",
        ),
        (
            r#""param": {"a": [[1]]}"#,
            "parameter `a`: an object, a null or an array in an array can only be sent in JSON",
        ),
        (
            r#""param": {"a": null}"#,
            "parameter `a`: an object, a null or an array in an array can only be sent in JSON",
        ),
        (r#""refresh": "no""#, "`refresh`: this must be false, or an object"),
        (r#""refresh": {"scope": "x"}"#, r#"unknown member "refresh.scope""#),
        (r#""refresh": {"with": "token"}"#, "`refresh`: this is with the token, and no template in it names {token}"),
        (r#""refresh": {"url": "x"}"#, "`refresh`: url: it must start with https:// or http://"),
        (r#""revocation_url": "x""#, "`revocation_url`: url: it must start with https:// or http://"),
    ] {
        let result = made(description, &public(), &machine).map_err(|error| (error.kind(), error.to_string()));
        assert_eq!(result, Err((ErrorKind::Config, message.to_owned())), "{description}");
    }
}

#[test]
fn a_variable_is_read_once_and_only_if_it_is_named() {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let source = |name: &'static str| {
        let reads = reads.clone();
        SecretSource::provider(move || {
            reads.lock().unwrap().push(name);
            Ok(Secret::from(name))
        })
    };
    let endpoint = Endpoint::new("https://as.example/t?a={a}")
        .unwrap()
        .secret_variable("a", source("a"))
        .secret_variable("b", source("b"))
        .header("X-A", "{a}")
        .parameter("a", "{a}{base64:{a}}")
        .parameter("s", "{client_secret}");
    let credentials = ClientCredentials::default().client_id("id").client_secret(source("secret"));
    let request = Request::token(&endpoint, &credentials, &Grant::client_credentials()).unwrap();
    let body = "grant_type=client_credentials&client_id=id&a=aYQ%3D%3D&s=secret";
    assert_eq!(shown(&request), format!("POST https://as.example/t?a=a | X-A: a | {body}"));
    assert_eq!(*reads.lock().unwrap(), ["a", "secret"]);
}

#[test]
fn nothing_shows_a_value_of_a_variable() {
    let endpoint = Endpoint::new("https://{t}.example/t?k={k}")
        .unwrap()
        .variable("t", "acme")
        .secret_variable("k", SecretSource::value("sentinel"))
        .header("Authorization", "Basic {base64:{k}}")
        .parameter("k", "x{k}");
    let request = Request::token(&endpoint, &public(), &Grant::client_credentials()).unwrap();
    let view = format!("{endpoint:?} {request:?}");
    assert!(!view.contains("sentinel") && !view.contains("c2VudGluZWw"), "{view}");
    assert_eq!((endpoint.authority(), request.authority()), ("acme.example", "acme.example"));
    // What the server echoes of it is left out.
    let answer = |_: &Request| {
        let text = r#"{"error":"invalid_request","error_description":"bad key sentinel or c2VudGluZWw="}"#;
        Ok::<_, Error>(Response::new(400, text.as_bytes().to_vec()))
    };
    let client = Client::with_parts(endpoint, answer, || Duration::ZERO);
    let error = client.fetch(&Grant::client_credentials()).unwrap_err();
    let view = format!("{error} {error:?} {:?}", error.oauth_error_description());
    assert!(!view.contains("sentinel") && !view.contains("c2VudGluZWw"), "{view}");
}

#[test]
fn the_token_of_another_source_is_the_credential() {
    let first = || Ok::<_, Error>(AccessToken::bearer("first").unwrap());
    let endpoint = Endpoint::new("https://as.example/t").unwrap();
    let endpoint = endpoint.secret_variable("up", SecretSource::token(first)).header("Authorization", "Bearer {up}");
    let grant = Grant::extension("urn:x").secret_parameter("subject_token", SecretSource::token(first));
    let request = Request::token(&endpoint, &public(), &grant).unwrap();
    assert_eq!(
        shown(&request),
        "POST https://as.example/t | Authorization: Bearer first | grant_type=urn%3Ax&subject_token=first"
    );
    let failing = || Err::<AccessToken, _>(Error::new(ErrorKind::Unreachable, "the first one is unreachable"));
    let grant = Grant::extension("urn:x").secret_parameter("subject_token", SecretSource::token(failing));
    assert_eq!(Request::token(&endpoint, &public(), &grant).unwrap_err().kind(), ErrorKind::Unreachable);
}

/// The status and the body of an answer.
type Answer = (u16, &'static str);

/// A client that is answered so, one after the other, and what it sent.
fn played(endpoint: Endpoint, answers: &'static [Answer]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let answer = move |request: &Request| {
        let mut seen = seen.lock().unwrap();
        let (status, body) = answers[seen.len()];
        seen.push(shown(request));
        Ok::<_, Error>(Response::new(status, body.as_bytes().to_vec()))
    };
    let client = Client::with_parts(endpoint, answer, || Duration::ZERO);
    (client.client_id("id").client_secret(SecretSource::value("s")), sent)
}

#[test]
fn a_revocation_endpoint_ends_the_refresh_token_first() {
    const TOKEN: Answer = (200, r#"{"access_token":"a1","refresh_token":"r1","expires_in":60}"#);
    const REFUSED: &str = r#"{"error":"unsupported_token_type"}"#;
    const REFRESH: &str =
        "POST https://as.example/revoke | Authorization: Basic aWQ6cw== | token=r1&token_type_hint=refresh_token";
    const ACCESS: &str =
        "POST https://as.example/revoke | Authorization: Basic aWQ6cw== | token=a1&token_type_hint=access_token";
    const ROWS: [(&[Answer], Option<ErrorKind>, &[&str]); 9] = [
        (&[TOKEN, (200, ""), (200, "")], None, &[REFRESH, ACCESS]),
        (&[TOKEN, (204, ""), (202, "ok")], None, &[REFRESH, ACCESS]),
        (&[TOKEN, (200, ""), (400, REFUSED)], None, &[REFRESH, ACCESS]),
        (&[TOKEN, (200, ""), (503, "")], Some(ErrorKind::Wait), &[REFRESH, ACCESS]),
        (&[TOKEN, (400, REFUSED), (200, "")], Some(ErrorKind::Refused), &[REFRESH, ACCESS]),
        (&[TOKEN, (400, REFUSED), (400, REFUSED)], Some(ErrorKind::Refused), &[REFRESH, ACCESS]),
        (&[TOKEN, (400, REFUSED), (503, "")], Some(ErrorKind::Wait), &[REFRESH, ACCESS]),
        (&[TOKEN, (401, r#"{"error":"invalid_client"}"#)], Some(ErrorKind::Refused), &[REFRESH]),
        (&[(200, r#"{"access_token":"a1"}"#), (400, REFUSED)], Some(ErrorKind::Refused), &[ACCESS]),
    ];
    for (answers, kind, expected) in ROWS {
        let endpoint = endpoint(r#""revocation_url": "https://as.example/revoke""#).unwrap();
        let (client, sent) = played(endpoint, answers);
        let token = client.fetch(&Grant::client_credentials()).unwrap();
        let again = token.clone();
        assert_eq!(client.revoke(token).err().map(|error| error.kind()), kind, "{answers:?}");
        assert_eq!(sent.lock().unwrap()[1..], *expected);
        assert!(again.authorization().is_err());
    }
}

#[test]
fn a_cache_renews_as_the_description_has_it() {
    const A1: Answer = (200, r#"{"access_token":"a1","refresh_token":"r1","expires_in":60}"#);
    const A2: Answer = (200, r#"{"access_token":"a2","refresh_token":"r2","expires_in":60}"#);
    const BASIC: &str = "Authorization: Basic aWQ6cw==";
    let original = format!("POST https://as.example/t | {BASIC} | grant_type=client_credentials");
    let standard = format!("POST https://as.example/t | {BASIC} | grant_type=refresh_token&refresh_token=r1");
    let own = "PUT https://as.example/r?t=a1&r=r1 | X-Key: 1 | ".to_owned();
    let with_token = "GET https://as.example/r?t=a1".to_owned();
    const STANDARD: &str = r#""refresh": true"#;
    const NEVER: &str = r#""refresh": false"#;
    const OWN: &str = r#""refresh": {"url": "https://as.example/r?t={token}&r={refresh_token}", "method": "PUT", "auth": "none",
        "omit_grant_type": true, "header": {"X-Key": "1"}}"#;
    const TOKEN: &str =
        r#""refresh": {"with": "token", "url": "https://as.example/r?t={token}", "method": "GET", "auth": "none"}"#;
    const ROWS: [(&str, &[Answer]); 8] = [
        (STANDARD, &[A1, A2]),
        (NEVER, &[A1, A2]),
        (OWN, &[A1, A2]),
        (TOKEN, &[A1, A2]),
        // A refusal gives way to the original grant.
        (STANDARD, &[A1, (400, ""), A2]),
        (OWN, &[A1, (404, "gone"), A2]),
        (TOKEN, &[A1, (400, r#"{"error":"invalid_grant"}"#), A2]),
        (TOKEN, &[A1, (200, "{}"), A2]),
    ];
    for (refresh, answers) in ROWS {
        let renewal = match refresh {
            STANDARD => &standard,
            NEVER => &original,
            OWN => &own,
            _ => &with_token,
        };
        let (client, sent) = played(endpoint(refresh).unwrap(), answers);
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        assert_eq!(tokens.token().unwrap().expose(), "a1");
        assert_eq!(tokens.renew().unwrap().expose(), "a2", "{refresh} {answers:?}");
        let expected = if answers.len() == 2 { vec![&original, renewal] } else { vec![&original, renewal, &original] };
        assert_eq!(sent.lock().unwrap().iter().collect::<Vec<_>>(), expected, "{refresh}");
    }
    // An ended token renews nothing.
    let (client, sent) = played(endpoint(TOKEN).unwrap(), &[A1, A2]);
    let mut tokens = TokenCache::new(client, Grant::client_credentials());
    let token = tokens.token().unwrap();
    tokens.invalidate(&token);
    assert_eq!(tokens.token().unwrap().expose(), "a2");
    assert_eq!(*sent.lock().unwrap(), [original.clone(), original]);
}

/// A clock that stands still at its wall time.
struct Stopped(Duration);

impl keyfob::Clock for Stopped {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_time(&self) -> Option<Duration> {
        Some(self.0).filter(|time| !time.is_zero())
    }
}

#[cfg(feature = "std")]
/// A service that wants each request dated, numbered and signed, as Avanan has it, and a date in a parameter, as Tripletex has it.
const SIGNED: &str = r#""url": "https://as.example/v1.0/auth", "params": "json", "omit_grant_type": true, "var": {"app": "app-1"},
    "header": {
        "X-Id": "{random}", "X-Date": "{now:YYYY-MM-DDTHH:mm:ss}", "X-Again": "{random}",
        "X-Sig": "{sha256:{base64:{app}{now:YYYY-MM-DDTHH:mm:ss}{key}}}"
    },
    "param": {"expirationDate": "{now+7d:YYYY-MM-DD}"}"#;

// Random numbers need `std`.
#[cfg(feature = "std")]
#[test]
fn time_random_numbers_and_hashes_are_computed_for_each_request() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let answer = move |request: &Request| {
        let headers: Vec<_> = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        seen.lock().unwrap().push((headers, String::from_utf8(request.body().unwrap().to_vec()).unwrap()));
        Ok::<_, Error>(Response::new(
            401,
            r#"{"message":"4bc3a0e759fdb895c226fbbad15330a76098a784f72d68c702cc2d490da73847"}"#,
        ))
    };
    let clock = Stopped(Duration::from_secs(1_772_625_296));
    let client = Client::with_parts(endpoint(SIGNED).unwrap(), answer, clock);
    for _ in 0..2 {
        let error = client.fetch(&Grant::client_credentials()).unwrap_err();
        // A hash with a secret in it is not shown.
        assert_eq!(error.to_string(), "the server refused (status 401): ‹redacted›");
    }
    let sent = sent.lock().unwrap();
    let header = |index: usize, wanted: &str| {
        let (headers, _): &(Vec<(String, String)>, String) = &sent[index];
        headers.iter().find(|(name, _)| name == wanted).unwrap().1.clone()
    };
    assert_eq!(header(0, "X-Date"), "2026-03-04T11:54:56");
    assert_eq!(header(0, "X-Sig"), "4bc3a0e759fdb895c226fbbad15330a76098a784f72d68c702cc2d490da73847");
    assert_eq!(header(0, "X-Id"), header(0, "X-Again"));
    assert_ne!(header(0, "X-Id"), header(1, "X-Id"));
    assert_eq!(sent[0].1, r#"{"expirationDate":"2026-03-11"}"#);
}

/// Each request differs, and all the same it is the one that was refused.
// Random numbers need `std`.
#[cfg(feature = "std")]
#[test]
fn a_refusal_is_remembered_for_requests_with_computed_parts() {
    const REFUSED: Answer = (401, r#"{"error":"invalid_client"}"#);
    for members in [
        r#""header": {"X-Id": "{random}"}"#,
        #[cfg(feature = "jwt")]
        r#""header": {"X-Id": "{random}"}, "auth": "client_secret_jwt""#,
    ] {
        let (client, sent) = played(endpoint(members).unwrap(), &[REFUSED]);
        let client = client.client_secret(SecretSource::value("a secret that is long enough for it"));
        let mut tokens = TokenCache::new(client, Grant::client_credentials());
        for _ in 0..3 {
            assert_eq!(tokens.token().unwrap_err().kind(), ErrorKind::Refused);
        }
        assert_eq!(sent.lock().unwrap().len(), 1);
    }
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    for (value, wall_time, message) in [
        ("{now:yyyy-mm-dd}", 1, "header X: {now:yyyy-mm-dd} is not a time"),
        ("{now+7:}", 1, "header X: {now+7:} is not a time"),
        ("{sha256:{now+1w}}", 1, "header X: {now+1w} is not a time"),
        ("{now}", 0, "header X: there is no value for {now} here"),
        ("{now-10s:unix}", 1, "header X: there is no value for {now-10s:unix} here"),
        ("{now_}", 1, "header X: the variable \"now_\" has no value"),
    ] {
        let endpoint = endpoint(r#""omit_grant_type": true"#).unwrap().header("X", value);
        let none = |_: &Request| -> Result<Response, Error> { panic!("nothing is sent") };
        let client = Client::with_parts(endpoint, none, Stopped(Duration::from_secs(wall_time)));
        let error = client.fetch(&Grant::client_credentials()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    }
    // The user's own variable comes first.
    let (client, sent) = played(
        endpoint(r#""header": {"X": "{now}{random}"}, "var": {"now": "a", "random": "b"}"#).unwrap(),
        &[(200, "")],
    );
    assert!(client.fetch(&Grant::client_credentials()).is_err());
    assert!(sent.lock().unwrap()[0].contains(" | X: ab"));
}
