//! Where the members of an answer are found: paths through objects and arrays, headers, cookies, the whole body; what says no
//! under a status of success; and the header in which an API wants the token.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Lifetime, Request, Response, SecretSource,
};

const SENT: Duration = Duration::from_secs(1000);

fn endpoint(members: &str) -> Endpoint {
    Endpoint::from_json(&format!(r#"{{"url":"https://as.example/login",{members}}}"#)).unwrap()
}

fn read(members: &str, response: Response) -> Result<AccessToken, Error> {
    AccessToken::read(&endpoint(members), response, SENT..SENT)
}

/// The token, or the error's text.
fn token(members: &str, response: Response) -> String {
    match read(members, response) {
        Ok(token) => token.expose().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_path_leads_through_objects_and_arrays() {
    for (path, body, expected) in [
        ("data.0.token", r#"{"data":[{"token":"a"},{"token":"b"}]}"#, "a"),
        ("data.1.token", r#"{"data":[{"token":"a"},{"token":"b"}]}"#, "b"),
        ("data.10", r#"{"data":[0,1,2,3,4,5,6,7,8,9,"t"]}"#, "t"),
        ("0.token", r#" [{"token":"t"}] "#, "t"),
        ("0", r#"["t"]"#, "t"),
        ("1.0.1", r#"[[],[["a","t"]]]"#, "t"),
        ("a.1.b.0.c", r#"{"a":[[1,[2]],{"b":[{"c":"t"}],"x":[]}]}"#, "t"),
        ("a.0", r#"{"a":[{"0":"no"},"x"]}"#, "the access token is an object, not a string"),
        // A member whose name is a number.
        ("a.0", r#"{"a":{"0":"t"}}"#, "t"),
        ("a.00", r#"{"a":["t"]}"#, "there is no access token"),
        ("a.b", r#"{"a":[{"b":"t"}]}"#, "the access token's path leads into an array and needs an index there"),
        ("a.2", r#"{"a":["t"]}"#, "there is no access token"),
        ("a[0]", r#"{"a":["t"]}"#, "there is no access token; a path is written as data.0.token"),
        ("$.a", r#"{"a":"t"}"#, "there is no access token; a path is written as data.0.token"),
        ("/a", r#"{"a":"t"}"#, "there is no access token; a path is written as data.0.token"),
        ("/a", r#"{"/a":"t"}"#, "t"),
        ("token", r#"[{"token":"t"}]"#, "the body is not a JSON object"),
        ("0.token", r#"{"token":"t"}"#, "there is no access token"),
        ("0.token", r#"[{"token":"t"}"#, "the JSON text is cut off"),
        ("0.token", r#"[{"token":"t"}] x"#, "text after the end of the JSON object"),
        ("0.token", r#"[{"token":"t","token":"u"}]"#, "duplicate member with two values"),
    ] {
        let got = token(&format!(r#""field":"{path}""#), Response::new(200, body));
        let got = got.strip_prefix("the answer is no token response: ").unwrap_or(&got).to_owned();
        assert_eq!(got.split(", at byte").next(), Some(expected), "{path} {body}");
    }
}

#[test]
fn the_other_members_are_beside_the_token_in_an_array() {
    let body = r#"[{"token":"t","expires_in":60,"scope":["a","b"]},{"token":"u","expires_in":5}]"#;
    let token = read(r#""field":"0.token""#, Response::new(200, body)).unwrap();
    assert_eq!(token.lifetime(), Lifetime::Until(SENT + Duration::from_secs(60)));
    assert_eq!(token.scope(), Some("a b"));
}

#[test]
fn a_token_in_a_header_or_a_cookie() {
    let keystone = r#""field":{"access_token":"header:X-Subject-Token","expires_at":"token.expires_at"}"#;
    let body = r#"{"token":{"expires_at":"2026-11-25T13:00:00.000000Z","methods":["password"]}}"#;
    let response = Response::new(201, body)
        .with_header("x-subject-token", "gAAAAA")
        .with_header("Date", "Wed, 25 Nov 2026 12:00:00 GMT");
    let token = read(keystone, response).unwrap();
    assert_eq!((token.expose(), token.lifetime()), ("gAAAAA", Lifetime::Until(SENT + Duration::from_secs(3599))));

    let of = |place: &str, body: &str, headers: &[(&str, &str)]| {
        let response = Response::new(200, body);
        let response = headers.iter().fold(response, |response, (name, value)| response.with_header(name, value));
        self::token(&format!(r#""field":"{place}""#), response)
    };
    for (place, body, headers, expected) in [
        ("header:X-Jwt-Token", "", &[("X-JWT-Token", " t ")][..], "t"),
        ("header:X-Jwt-Token", "<html>", &[("X-JWT-Token", "t")], "t"),
        ("header:Authorization", "{}", &[("Authorization", "Bearer t")], "t"),
        ("header:X-T", "{}", &[("X-T", "t"), ("X-T", "t")], "t"),
        ("header:X-T", "{}", &[("X-T", "t"), ("X-T", "u")], "a header or cookie is there twice, with two values"),
        ("header:X-T", r#"{"token":"u"}"#, &[("X-U", "t")], "the answer has no header or cookie with the access token"),
        (
            "header:X-T",
            "{}",
            &[("X-T", "a b")],
            "the access token holds a character that is not visible ASCII, at byte 1",
        ),
        ("header:X-T", "{", &[("X-T", "t")], "the JSON text is cut off, at byte 1"),
        ("cookie:sid", "ok", &[("Set-Cookie", "sid=t; Path=/; HttpOnly")], "t"),
        ("cookie:sid", "ok", &[("Set-Cookie", "other=u; sid=v"), ("set-cookie", "sid=t==")], "t=="),
        ("cookie:sid", "", &[("Set-Cookie", "sid=; Max-Age=0"), ("Set-Cookie", "sid=t")], "t"),
        ("cookie:sid", "", &[("Set-Cookie", "SID=t")], "the answer has no header or cookie with the access token"),
        (
            "cookie:sid",
            "",
            &[("Set-Cookie", "sid=t"), ("Set-Cookie", "sid=u")],
            "a header or cookie is there twice, with two values",
        ),
    ] {
        let got = of(place, body, headers);
        let got = got.strip_prefix("the answer is no token response: ").unwrap_or(&got);
        assert_eq!(got, expected, "{place} {headers:?}");
    }
    // A status that is no success is none, whatever its headers hold.
    let response = Response::new(401, "").with_header("X-T", "t");
    assert_eq!(self::token(r#""field":"header:X-T""#, response), "the server refused (status 401) and did not say why");
}

#[test]
fn a_body_that_is_the_token() {
    let long = "x".repeat(16 * 1024 + 1);
    for (body, expected) in [
        ("t", "t"),
        ("eyJ0.eyJl.c2ln\r\n", "eyJ0.eyJl.c2ln"),
        ("\u{FEFF} t \n", "t"),
        ("\"t\"", "t"),
        ("\"a\\/b\"", "a/b"),
        ("", "the body is empty"),
        (" \n", "the body is empty"),
        ("a b", "the access token holds a character that is not visible ASCII, at byte 1"),
        ("a\nb", "the access token holds a character that is not visible ASCII, at byte 1"),
        ("é", "the access token holds a character that is not visible ASCII, at byte 0"),
        ("<html>", "the body is HTML or XML, not an access token"),
        ("{\"token\":\"t\"}", "the body is JSON, and not the access token alone, at byte 0"),
        ("[\"t\"]", "the body is JSON, and not the access token alone, at byte 0"),
        (&long, "the body is too long for an access token"),
    ] {
        let got = token(r#""field":"""#, Response::new(200, body));
        assert_eq!(got.strip_prefix("the answer is no token response: ").unwrap_or(&got), expected, "{body:.20}");
    }
    let unframed = Response::new(200, "t").with_framed(false);
    let message = "the answer is no token response: an access token whose length is not known may be cut off";
    assert_eq!(token(r#""field":"""#, unframed), message);
    // Only if the description says so, and not what is said under another status.
    assert_eq!(
        token(r#""params":"form""#, Response::new(200, "t")),
        "the answer is no token response: the body is not a JSON object"
    );
    assert_eq!(token(r#""field":"""#, Response::new(403, "Wrong key")), "the server refused (status 403): Wrong key");
    let oauth = Response::new(200, r#"{"error":"invalid_client"}"#);
    assert_eq!(token(r#""field":"""#, oauth), "the server refused (status 200): invalid_client");
}

#[test]
fn every_member_is_found_in_its_place() {
    let members = r#""field":{"access_token":"a.0","token_type":"header:X-Type","expires_in":"header:X-Ttl",
        "refresh_token":"cookie:refresh","scope":"b.1"},"keep":["a.1","header:X-Region","cookie:node","c","missing"]"#;
    let body = r#"{"a":["t",{"k":1}],"b":["x","read write"],"c":null}"#;
    let response = [
        ("X-Type", "Bearer"),
        ("X-Ttl", "60"),
        ("Set-Cookie", "refresh=r; Secure"),
        ("Set-Cookie", "node=n7"),
        ("X-Region", "eu"),
    ]
    .into_iter()
    .fold(Response::new(200, body), |response, (name, value)| response.with_header(name, value));
    let token = read(members, response).unwrap();
    assert_eq!(token.authorization().unwrap().expose(), "Bearer t");
    assert_eq!((token.token_type(), token.scope()), (Some("Bearer"), Some("read write")));
    assert_eq!(token.lifetime(), Lifetime::Until(SENT + Duration::from_secs(60)));
    assert_eq!(token.refresh_token().unwrap().expose(), "r");
    let kept = |place| token.member(place).map(keyfob::Secret::expose);
    assert_eq!(
        [kept("a.1"), kept("header:X-Region"), kept("cookie:node")],
        [Some("{\"k\":1}"), Some("eu"), Some("n7")]
    );
    assert_eq!([kept("c"), kept("missing")], [None, None]);
}

#[test]
fn places_that_are_none_are_refused() {
    for (members, message) in [
        (r#""field":"a..b""#, "field: \"a..b\" is not a path: names joined by dots, at most 8"),
        (r#""field":"header:""#, "field: \"header:\" does not name a header or a cookie"),
        (r#""field":"cookie:a b""#, "field: \"cookie:a b\" does not name a header or a cookie"),
        (r#""field":{"scope":""}"#, "field: \"\" is the whole body, which only the access token can be"),
        (r#""keep":[""]"#, "keep: \"\" is the whole body, which only the access token can be"),
        (r#""refused_if":{"":1}"#, "refused_if: \"\" is the whole body, which only the access token can be"),
        (
            r#""refused_if":{"a":{}}"#,
            "`refused_if.a`: this must be a string, a number, true, false or null, or one of these as {\"not\": VALUE}",
        ),
        (
            r#""refused_if":{"a":{"not":0,"x":1}}"#,
            "`refused_if.a`: this must be a string, a number, true, false or null, or one of these as {\"not\": VALUE}",
        ),
        (r#""refused_if":["a"]"#, "`refused_if`: this must be an object of places with their values"),
        (r#""api":"X-Token""#, "`api`: this must be a header with the token in it"),
        (r#""api":"X-Token: secret""#, "`api`: this must be a header with the token in it"),
        (r#""api":"X Token: {token}""#, "`api`: this must be a header with the token in it"),
        (r#""api":"X-Token: é{token}""#, "`api`: this must be a header with the token in it"),
    ] {
        let description = format!(r#"{{"url":"https://as.example",{members}}}"#);
        let error = Endpoint::from_json(&description).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{members}");
    }
}

#[test]
fn a_value_says_no_under_a_status_of_success() {
    let rule = r#""refused_if":{"success":false,"status":["error","fail"],"code":1,"header:X-Auth":"denied"}"#;
    for (body, expected) in [
        (r#"{"success":false,"message":"Wrong password"}"#, "the server refused (status 200): Wrong password"),
        (r#"{"access_token":"t","status":"fail","detail":"No"}"#, "the server refused (status 200): No"),
        (r#"{"code":1,"errors":[{"message":"Bad key"}]}"#, "the server refused (status 200): Bad key"),
        (
            r#"{"access_token":"t","success":false}"#,
            "the server refused (status 200: `success` is false) and did not say why",
        ),
        (r#"{"error":"invalid_grant","success":false}"#, "the server refused (status 200): invalid_grant"),
        (r#"{"access_token":"t","success":true,"status":"ok","code":0}"#, "t"),
        (r#"{"access_token":"t","success":"false","code":"1"}"#, "t"),
        (r#"{"access_token":"t"}"#, "t"),
    ] {
        assert_eq!(token(rule, Response::new(200, body)), expected, "{body}");
    }
    let error = read(rule, Response::new(200, r#"{"success":false}"#)).unwrap_err();
    assert_eq!((error.kind(), error.status(), error.is_retryable()), (ErrorKind::Refused, Some(200), false));
    let denied = Response::new(200, r#"{"access_token":"t"}"#).with_header("X-Auth", "denied");
    assert_eq!(read(rule, denied).unwrap_err().kind(), ErrorKind::Refused);
    // It is about successes: another status has its own meaning.
    assert_eq!(read(rule, Response::new(503, r#"{"success":false}"#)).unwrap_err().kind(), ErrorKind::Wait);
}

#[test]
fn a_null_says_no() {
    let rule = r#""refused_if":{"data":null}"#;
    assert_eq!(
        token(rule, Response::new(200, r#"{"data":null,"message":"No such user"}"#)),
        "the server refused (status 200): No such user"
    );
}

#[test]
fn only_one_value_says_yes() {
    let rule = r#""refused_if":{"code":{"not":0}},"field":{"access_token":"data.token","error_description":"msg"}"#;
    for (body, expected) in [
        (r#"{"code":0,"msg":"ok","data":{"token":"t"}}"#, "t"),
        (r#"{"data":{"token":"t"}}"#, "t"),
        (r#"{"code":10003,"msg":"invalid app_id"}"#, "the server refused (status 200): invalid app_id"),
        (
            r#"{"code":"0","data":{"token":"t"}}"#,
            "the server refused (status 200: `code` is not 0) and did not say why",
        ),
    ] {
        assert_eq!(token(rule, Response::new(200, body)), expected, "{body}");
    }
}

#[test]
fn an_error_and_its_text_are_found_in_their_places() {
    let members = r#""field":{"error":"fault.code","error_description":"fault.text.0"}"#;
    for (status, body, expected) in [
        (200, r#"{"fault":{"code":"E17","text":["Locked"]}}"#, "the server refused (status 200): E17 (Locked)"),
        (200, r#"{"fault":{"code":17},"access_token":"t"}"#, "the server refused (status 200): 17"),
        (401, r#"{"fault":{"text":["Locked"]}}"#, "the server refused (status 401): Locked"),
        (200, r#"{"access_token":"t","fault":null}"#, "t"),
    ] {
        assert_eq!(token(members, Response::new(status, body)), expected, "{body}");
    }
    for (body, expected) in [
        (r#"{"errors":[{"detail":"Bad key"}]}"#, "the server refused (status 401): Bad key"),
        (r#"[{"message":"Session expired","errorCode":"X"}]"#, "the server refused (status 401): Session expired"),
    ] {
        assert_eq!(token(r#""params":"form""#, Response::new(401, body)), expected);
    }
}

#[test]
fn an_api_wants_the_token_in_a_header_of_its_own() {
    let answer = || Response::new(200, r#"{"access_token":"t","token_type":"mac"}"#);
    for (api, name, value) in [
        ("X-Auth-Token: {token}", "X-Auth-Token", "t"),
        ("Authorization: Token {token}", "Authorization", "Token t"),
        ("authorization: {token}", "authorization", "t"),
        ("Cookie: sid={token}; lang=en", "Cookie", "sid=t; lang=en"),
        ("Authorization: Basic {base64:api:{token}}", "Authorization", "Basic YXBpOnQ="),
    ] {
        let token = read(&format!(r#""api":"{api}""#), answer()).unwrap();
        let header = token.header().unwrap();
        assert_eq!((header.0, header.1.expose(), token.expose()), (name, value, "t"));
        match token.authorization() {
            Ok(header) => assert_eq!((header.expose(), name.to_ascii_lowercase().as_str()), (value, "authorization")),
            Err(error) => assert_eq!(error.to_string(), format!("the token is sent in the header {name}")),
        }
        assert!(!format!("{token:?}").contains("YXBpOnQ"));
    }
    let token = AccessToken::bearer("t").unwrap();
    let header = token.header().unwrap();
    assert_eq!((header.0, header.1.expose()), ("Authorization", "Bearer t"));
    assert_eq!(
        read(r#""params":"form""#, answer()).unwrap().header().unwrap_err().to_string(),
        "a token of type \"mac\" cannot be sent as a bearer token"
    );
}

/// Variables, and members of the answer. Whether there are all is found before anything is sent.
#[test]
fn the_header_of_an_api_may_name_variables() {
    let members = |api: &str| {
        format!(r#""api":"{api}","var":{{"tenant":"acme","odd":"a\nb","id":"own"}},"keep":["id","session.key","gone"]"#)
    };
    let answer = || Response::new(200, r#"{"access_token":"t","id":"other","session":{"key":"é\n"}}"#);
    let checked = |members: &str| {
        let endpoint = endpoint(members)
            .secret_variable("none", SecretSource::provider(|| Err(Error::new(ErrorKind::Config, "no key"))));
        Request::token(&endpoint, &ClientCredentials::default(), &Grant::client_credentials())
    };
    for (api, expected) in [
        ("X-T: {tenant} {token}", Ok("acme t")),
        ("X-T: {id} {token}", Ok("own t")),
        ("X-T: {token} {base64:{session.key}{odd}}", Ok("t w6kKYQpi")),
        ("X-T: {token} {gone}", Err("the answer has no member \"gone\", which `api` names")),
        (
            "X-T: {token} {session.key}",
            Err("`api`: a value in it has a character other than printable ASCII, which no header can have"),
        ),
    ] {
        assert!(checked(&members(api)).is_ok(), "{api}");
        let read = read(&members(api), answer());
        let made = read.as_ref().map(|token| token.header().unwrap().1.expose()).map_err(ToString::to_string);
        assert_eq!(made.as_ref().map(|made| *made).map_err(String::as_str), expected, "{api}");
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::Unusable));
    }
    for (api, message) in [
        ("X-T: {tennant} {token}", "`api`: unknown variable \"tennant\"; did you mean \"tenant\"?"),
        ("X-T: {other} {token}", "`api`: the variable \"other\" has no value"),
        ("X-T: {base64:{token}", "`api`: this must be a header with the token in it"),
        ("X-T: {none} {token}", "no key"),
        (
            "X-T: {odd} {token}",
            "`api`: a value in it has a character other than printable ASCII, which no header can have",
        ),
    ] {
        let error = match Endpoint::from_json(&format!(r#"{{"url":"https://as.example/t",{}}}"#, members(api))) {
            Ok(_) => checked(&members(api)).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{api}");
    }
}
