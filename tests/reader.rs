//! The tolerant reader, quirk by quirk: what is read, what is refused, with which reason and where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{ExpiresIn, Members, Rejection, Response, TokenResponse};

const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

fn response(status: u16, content_type: Option<&str>, body: &[u8]) -> Response {
    let response = Response::new(status, body);
    match content_type {
        Some(content_type) => response.with_header("content-type", content_type),
        None => response,
    }
}

/// The reason that an answer is refused for.
#[track_caller]
fn refusal(status: u16, content_type: Option<&str>, body: &[u8]) -> String {
    match TokenResponse::read(&mut response(status, content_type, body), &Members::default()) {
        Err(Rejection::Malformed(malformed)) => malformed.to_string(),
        Err(Rejection::OAuth(refusal)) => format!("OAuth error {}", refusal.error()),
        Err(other) => panic!("{other}"),
        Ok(token) => panic!("a token: {}", token.access_token),
    }
}

#[track_caller]
fn with_token<T>(
    content_type: Option<&str>,
    members: &Members,
    body: &str,
    look: impl FnOnce(&TokenResponse<'_>) -> T,
) -> T {
    match TokenResponse::read(&mut response(200, content_type, body.as_bytes()), members) {
        Ok(token) => look(&token),
        Err(rejection) => panic!("refused: {rejection:?}"),
    }
}

#[test]
fn what_is_no_token_response_is_refused_with_reason_and_place() {
    let deep = format!(r#"{{"access_token":"t","x":{}1{}}}"#, "[".repeat(128), "]".repeat(128));
    for (body, reason) in [
        ("", "the body is empty"),
        (" \r\n\t", "the body is empty"),
        ("\u{FEFF}", "the body is empty"),
        ("<!DOCTYPE html>", "the body is HTML or XML, not JSON"),
        ("\u{FEFF}\n<html>", "the body is HTML or XML, not JSON"),
        ("null", "the body is not a JSON object"),
        ("[{\"access_token\":\"t\"}]", "the body is not a JSON object"),
        ("\"{}\"", "the body is not a JSON object"),
        ("eyJhbGciOiJub25lIn0.e30.", "the body is not a JSON object"),
        ("{}", "there is no access token"),
        (r#"{"Access_Token":"t"}"#, "there is no access token"),
        (r#"{"x":{"access_token":"t"}}"#, "there is no access token"),
        (r#"{"access_token":null}"#, "the access token is no string, at byte 16"),
        (r#"{"access_token":{"token":"t"}}"#, "the access token is an object, not a string, at byte 16"),
        (r#"{"access_token":["t"]}"#, "the access token is no string, at byte 16"),
        (r#"{"access_token":1}"#, "the access token is no string, at byte 16"),
        (r#"{"access_token":""}"#, "the access token is empty, at byte 17"),
        (r#"{"access_token":"a b"}"#, "the access token holds a character that is not visible ASCII, at byte 18"),
        (r#"{"access_token":"a\r\nX: 1"}"#, "the access token holds a character that is not visible ASCII, at byte 18"),
        (r#"{"access_token":"é"}"#, "the access token holds a character that is not visible ASCII, at byte 17"),
        (r#"{"access_token":"\ud83d"}"#, "half of a surrogate pair in a string, at byte 17"),
        (r#"{"access_token":"\ud83dA"}"#, "half of a surrogate pair in a string, at byte 17"),
        (r#"{"access_token":"\x41"}"#, "an unknown escape in a string, at byte 18"),
        (r#"{"access_token":"\u12"}"#, "a \\u escape without four hex digits, at byte 21"),
        ("{\"access_token\":\"a\nb\"}", "a control character in a string, at byte 18"),
        (r#"{"access_token":"a","access_token":"b"}"#, "a member stands there twice, with two values, at byte 36"),
        (r#"{"access_token":"a","access\u005ftoken":"b"}"#, "a member stands there twice, with two values, at byte 41"),
        (
            r#"{"access_token":"a","expires_in":1,"expires_in":2}"#,
            "a member stands there twice, with two values, at byte 48",
        ),
        (r#"{"access_token":"t","token_type":7}"#, "the token type is no string, at byte 33"),
        (
            r#"{"access_token":"t","token_type":"a\nb"}"#,
            "the token type holds a character that is not printable ASCII, at byte 35",
        ),
        (r#"{"access_token":"t","error":{}}"#, "the member `error` is no string, at byte 28"),
        (r#"{"access_token":"t","error":false}"#, "the member `error` is no string, at byte 28"),
        (r#"{"access_token":"t",,}"#, "a member name in quotes is missing, at byte 20"),
        (r#"{"access_token":"t" "x":1}"#, "a comma or a closing bracket is missing, at byte 20"),
        (r#"{"access_token" "t"}"#, "a colon is missing, at byte 16"),
        (r#"{access_token:"t"}"#, "a member name in quotes is missing, at byte 1"),
        (r#"{"access_token":"t"} {}"#, "text after the end of the JSON object, at byte 21"),
        (r#"{"access_token":"t"}}"#, "text after the end of the JSON object, at byte 20"),
        (r#"{"access_token":"t"]"#, "a comma or a closing bracket is missing, at byte 19"),
        (r#"{"access_token":"t","x":[1}"#, "a comma or a closing bracket is missing, at byte 26"),
        (r#"{"access_token":"t","x":01}"#, "a number with a leading zero, at byte 25"),
        (r#"{"access_token":"t","x":1.}"#, "a digit is missing, at byte 26"),
        (r#"{"access_token":"t","x":-}"#, "a digit is missing, at byte 25"),
        (r#"{"access_token":"t","x":nul}"#, "not a JSON value, at byte 27"),
        (r#"{"access_token":"t","x":[,]}"#, "not a JSON value, at byte 25"),
        (r#"{"access_token":"t"#, "the JSON text is cut off, at byte 18"),
        (r#"{"access_token":"t","#, "the JSON text is cut off, at byte 20"),
        (r#"{"access_token":"t"} // done"#, "text after the end of the JSON object, at byte 21"),
        (&deep, "nested deeper than 128 levels, at byte 151"),
    ] {
        assert_eq!(refusal(200, JSON, body.as_bytes()), reason, "{body}");
    }
    for (body, reason) in [
        (&b"\x1F\x8B\x08\0"[..], "the body is compressed, though nothing asked for it"),
        (b"\xFF\xFE{\0}\0", "the body is UTF-16, not UTF-8"),
        (b"{\0\"\0", "a member name in quotes is missing, at byte 1"),
        (b"\0{\0\"", "the body is UTF-16, not UTF-8"),
        (b"{\"access_token\":\"a\xFF\"}", "the access token holds a character that is not visible ASCII, at byte 18"),
        (b"{\"access_token\":\"a\x7F\"}", "the access token holds a character that is not visible ASCII, at byte 18"),
        (b"{\"access_token\":\"t\"}\0", "text after the end of the JSON object, at byte 20"),
    ] {
        assert_eq!(refusal(200, JSON, body), reason, "{body:?}");
    }
}

#[test]
fn a_form_is_read_only_where_it_is_one() {
    for (content_type, body, reason) in [
        (None, "access_token=t", "the body is not a JSON object"),
        (Some("text/plain"), "access_token=t", "the body is not a JSON object"),
        (FORM, "access_token=", "the access token is empty, at byte 13"),
        (FORM, "access_token=a+b", "the access token holds a character that is not visible ASCII, at byte 14"),
        (FORM, "access_token=a%0d%0aX", "the access token holds a character that is not visible ASCII, at byte 14"),
        (FORM, "access_token=a%4", "a percent sign without two hex digits, at byte 14"),
        (FORM, "access_token=a&x=%zz", "a percent sign without two hex digits, at byte 17"),
        (FORM, "access_token=a&access_token=a", "a member stands there twice, at byte 15"),
        (FORM, "old_access_token=a", "there is no access token"),
        (FORM, "access_token", "the access token is empty, at byte 12"),
        (FORM, "error=&access_token=", "the access token is empty, at byte 20"),
        (FORM, "error=invalid_grant&access_token=a", "OAuth error invalid_grant"),
        (FORM, "[1]", "there is no access token"),
        (Some("text/html"), r#"{"error":"invalid_grant"}"#, "OAuth error invalid_grant"),
    ] {
        assert_eq!(refusal(200, content_type, body.as_bytes()), reason, "{body}");
    }
    let members = Members::default();
    for (content_type, body) in [
        (FORM, "access_token=a%2Bb%3D&token_type=bearer&scope=x+y&expires_in=3600&refresh_token=r"),
        (
            Some("Application/X-WWW-Form-URLencoded ; charset=utf-8"),
            "&&expires_in=3600&access%5Ftoken=a%2bb%3d&refresh_token=r&scope=x%20y&token_type=bearer",
        ),
    ] {
        with_token(content_type, &members, body, |token| {
            assert_eq!((token.access_token, token.token_type), ("a+b=", Some("bearer")), "{body}");
            assert_eq!(
                (token.expires_in, token.refresh_token, token.scope),
                (ExpiresIn::Units(3600), Some("r"), Some("x y"))
            );
        });
    }
}

#[test]
fn only_2xx_yields_a_token_and_an_error_wins_under_any_status() {
    let token = br#"{"access_token":"t","token_type":"Bearer"}"#;
    for status in [100, 199, 300, 302, 304, 400, 401, 404, 500, 503, 599, 999] {
        assert_eq!(refusal(status, JSON, token), format!("status {status} without an OAuth error"));
        assert_eq!(refusal(status, JSON, b"<html>"), format!("status {status} without an OAuth error"));
        assert_eq!(refusal(status, JSON, br#"{"error":"x"}"#), "OAuth error x");
    }
    for status in [200, 201, 202, 203, 299] {
        assert!(TokenResponse::read(&mut response(status, None, token), &Members::default()).is_ok(), "{status}");
        assert_eq!(refusal(status, JSON, br#"{"access_token":"t","error":"x",}"#), "OAuth error x");
        assert_eq!(refusal(status, JSON, br#"{"access_token":"t","error":401}"#), "OAuth error 401");
    }
}

#[test]
fn every_error_of_rfc_6749_section_5_2_is_told_with_its_description() {
    for code in [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ] {
        let body = format!("{{\"error\":\"{code}\",\"error_description\":\"line\\r\\none \\uD83D\\uDE22 \\ud800\"}}")
            .into_bytes();
        match TokenResponse::read(&mut response(400, JSON, &body), &Members::default()) {
            Err(Rejection::OAuth(refusal)) => {
                assert_eq!(refusal.error(), code);
                assert_eq!(refusal.error_description().unwrap(), "line\r\none 😢 \u{FFFD}");
            }
            _ => panic!("{code}"),
        }
    }
}

#[test]
fn lifetimes_are_rounded_down_and_never_wrap() {
    use ExpiresIn::{NotPositive, Units, Unknown};
    let most = Units(u64::MAX);
    for (text, expected) in [
        ("3600", Units(3600)),
        ("\"3600\"", Units(3600)),
        ("\" 3600 \"", Units(3600)),
        ("\"\\n1800\\t\"", Units(1800)),
        ("\"+60\"", Units(60)),
        ("\"007\"", Units(7)),
        ("3600.9", Units(3600)),
        ("3599.99999999999999999999999999", Units(3599)),
        ("\"3599.0\"", Units(3599)),
        ("3.6e3", Units(3600)),
        ("36000E-1", Units(3600)),
        ("\"3.6e+3\"", Units(3600)),
        ("1e0", Units(1)),
        ("0.0036e6", Units(3600)),
        ("18446744073709551614", Units(u64::MAX - 1)),
        ("18446744073709551615", most),
        ("18446744073709551616", most),
        ("1e400", most),
        ("1e99999999999999999999999999", most),
        ("0e99999999999999999999999999", NotPositive),
        ("1e-99999999999999999999999999", NotPositive),
        ("0", NotPositive),
        ("-0", NotPositive),
        ("0.9", NotPositive),
        ("-1", NotPositive),
        ("-9223372036854775808", NotPositive),
        ("\"-1e400\"", NotPositive),
        ("null", Unknown),
        ("true", Unknown),
        ("{}", Unknown),
        ("[3600]", Unknown),
        ("\"\"", Unknown),
        ("\" \"", Unknown),
        ("\"never\"", Unknown),
        ("\"3600s\"", Unknown),
        ("\"3_600\"", Unknown),
        ("\"3,600\"", Unknown),
        ("\"3 600\"", Unknown),
        ("\"0x0E10\"", Unknown),
        ("\"1e\"", Unknown),
        ("\"1e+\"", Unknown),
        ("\"1.\"", Unknown),
        ("\".5\"", Unknown),
        ("\"--1\"", Unknown),
        ("\"+-1\"", Unknown),
        ("\"1.2.3\"", Unknown),
        ("\"NaN\"", Unknown),
        ("\"Infinity\"", Unknown),
        ("\"\\ud800\"", Unknown),
        ("\"٣٦٠٠\"", Unknown),
    ] {
        let body = format!(r#"{{"access_token":"t","expires_in":{text}}}"#);
        let got = with_token(JSON, &Members::default(), &body, |token| token.expires_in);
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn odd_companions_do_not_cost_the_token() {
    for (member, refresh_token, scope) in [
        (r#""refresh_token":null,"scope":null"#, None, None),
        (r#""refresh_token":"","scope":"""#, None, None),
        (r#""refresh_token":1,"scope":7"#, None, None),
        (r#""refresh_token":"r\r\nevil","scope":"a\u0062""#, None, Some("ab")),
        (r#""refresh_token":"a b","scope":"repo,gist""#, Some("a b"), Some("repo,gist")),
        (r#""refresh_token":"\u0072","scope":["a","\u0062\/c","d",]"#, Some("r"), Some("a b/c d")),
        (r#""scope":[]"#, None, None),
        (r#""scope":["a",1]"#, None, None),
        (r#""scope":["a",["b"]]"#, None, None),
        (r#""scope":{"a":1}"#, None, None),
        ("\"x\":\"\\uDE22 \u{FFFD}\",\"y\":[{\"access_token\":\"no\"},-1.5E+9,true,{}]", None, None),
    ] {
        let body = format!(r#"{{{member},"access_token":"t"}}"#);
        with_token(JSON, &Members::default(), &body, |token| {
            assert_eq!((token.access_token, token.refresh_token, token.scope), ("t", refresh_token, scope), "{member}");
        });
    }
    let body = b"{\"name\":\"J\xFCrgen\",\"access_token\":\"t\"}".to_vec();
    assert!(TokenResponse::read(&mut response(200, JSON, &body), &Members::default()).is_ok());
}

#[test]
fn members_are_found_by_their_paths_and_beside_the_token() {
    let path = |path: &str| Members::new(path).unwrap();
    let deep = path("a.b.c.d.e.f.g.h");
    for (members, body, expected) in [
        (path("token"), r#"{"token":"t","expires_in":5}"#, ("t", ExpiresIn::Units(5))),
        (path("data.token"), r#"{"data":{"token":"t","expires_in":5},"expires_in":9}"#, ("t", ExpiresIn::Units(5))),
        (path("data.token"), r#"{"expires_in":9,"data":{"token":"t"}}"#, ("t", ExpiresIn::Units(9))),
        (
            path("data.token").expires_in("ttl").unwrap(),
            r#"{"expires_in":9,"data":{"token":"t"}}"#,
            ("t", ExpiresIn::Unknown),
        ),
        (
            path("data.token").expires_in("ttl").unwrap(),
            r#"{"ttl":7,"data":{"token":"t"}}"#,
            ("t", ExpiresIn::Units(7)),
        ),
        (path("data.token"), r#"{"d\u0061ta":{"t\u006fken":"t"},"x":1}"#, ("t", ExpiresIn::Unknown)),
        (
            path("data.token"),
            r#"{"data":[{"token":"no"}],"data2":{"token":"no"},"data":[{"token":"no"}]}"#,
            ("", ExpiresIn::Unknown),
        ),
        (
            path("data.token"),
            r#"{"data.token":"no","token":"no","x":{"data":{"token":"no"}}}"#,
            ("", ExpiresIn::Unknown),
        ),
        (
            path("token"),
            r#"{"":"no","toke":"no","token2":"no","token.":"no","token.x":"no"}"#,
            ("", ExpiresIn::Unknown),
        ),
        (
            path("data.token"),
            r#"{"data\u002etoken":"no","data\u002e":{"token":"no"},"data":{"":{"token":"no"},"token\u002e":"no"}}"#,
            ("", ExpiresIn::Unknown),
        ),
        // Paths that part at different lengths, some of them through escaped names.
        (
            path("a.b.token").expires_in("a.bbbb.c.ttl").unwrap(),
            r#"{"a":{"bbbb":{"token":"no","c":{"ttl":7}},"b":{"c":{"ttl":8},"ttl":9,"token":"t"}}}"#,
            ("t", ExpiresIn::Units(7)),
        ),
        (
            path("é.bé.token").expires_in("é.b.ttl").unwrap(),
            r#"{"\u00e9":{"b":{"ttl":7},"b\u00e9":{"token":"t"}},"b":{"ttl":8}}"#,
            ("t", ExpiresIn::Units(7)),
        ),
        (
            path("a.token"),
            r#"{"expires_in":5,"a":{"expires_in":{"token":"no"},"token":"t"}}"#,
            ("t", ExpiresIn::Unknown),
        ),
        (deep, r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":"t","expires_in":"3"}}}}}}}}"#, ("t", ExpiresIn::Units(3))),
    ] {
        let got = match TokenResponse::read(&mut response(200, JSON, body.as_bytes()), &members) {
            Ok(token) => (token.access_token.to_owned(), token.expires_in),
            Err(_) => (String::new(), ExpiresIn::Unknown),
        };
        assert_eq!(got, (expected.0.to_owned(), expected.1), "{body}");
    }
    for bad in [".", "a.", ".a", "a..b", "a.b.c.d.e.f.g.h.i"] {
        let error = Members::new(bad).unwrap_err();
        assert_eq!(error.to_string(), format!("field: {bad:?} is not a path: names joined by dots, at most 8"));
    }
}

#[test]
fn every_byte_is_seen_at_every_place_of_a_string() {
    // The reader looks at several bytes at a time. What stands around a byte must not hide it, nor pass for it: these are
    // next to what it looks for, or differ from it in the highest bit.
    for around in *b"a !#[]~\x7F\x80\x9F\xA0\xA2\xDC\xFF" {
        for place in 0..24 {
            for byte in 0..=0xFF {
                let mut text = [around; 24];
                text[place] = byte;
                let body = [&b"{\"x\":\""[..], &text, b"\",\"access_token\":\"t\"}"].concat();
                let at = 6 + place;
                let fault = match byte {
                    0..=0x1F => format!("a control character in a string, at byte {at}"),
                    // The spaces are skipped, up to the mark that was to close it.
                    b'"' if around == b' ' => "a comma or a closing bracket is missing, at byte 30".to_owned(),
                    b'"' => format!("a comma or a closing bracket is missing, at byte {}", at + 1),
                    // It escapes the closing mark, so the string goes on to the next one.
                    b'\\' if place == 23 => "a comma or a closing bracket is missing, at byte 33".to_owned(),
                    b'\\' => format!("an unknown escape in a string, at byte {}", at + 1),
                    _ => String::new(),
                };
                let got = match TokenResponse::read(&mut response(200, JSON, &body), &Members::default()) {
                    Err(Rejection::Malformed(malformed)) => malformed.to_string(),
                    token => token.map(|_| String::new()).unwrap(),
                };
                assert_eq!(got, fault, "{byte:#x} at {place} among {around:#x}");
            }
        }
    }
    for around in *b"!a~" {
        for place in 0..40 {
            for byte in (0x20..=0xFF).filter(|byte| !matches!(byte, b'"' | b'\\')) {
                let mut text = [around; 40];
                text[place] = byte;
                let body = [&b"{\"access_token\":\""[..], &text, b"\"}"].concat();
                let got = match TokenResponse::read(&mut response(200, JSON, &body), &Members::default()) {
                    Err(Rejection::Malformed(malformed)) => malformed.to_string(),
                    token => token.map(|token| token.access_token.to_owned()).unwrap(),
                };
                let expected = match byte {
                    0x21..=0x7E => String::from_utf8(text.to_vec()).unwrap(),
                    _ => {
                        format!("the access token holds a character that is not visible ASCII, at byte {}", 17 + place)
                    }
                };
                assert_eq!(got, expected, "{byte:#x} at {place} among {around:#x}");
            }
        }
    }
}

#[test]
fn escapes_anywhere_are_unescaped() {
    for before in 0..20 {
        for after in 0..20 {
            let [before, after] = [before, after].map(|length| &"abcdefghijklmnopqrstuvwxyz"[..length]);
            let body = format!(r#"{{"access_token":"{before}\/{after}\u0021\\{after}","scope":"{before}\"{after}"}}"#);
            with_token(JSON, &Members::default(), &body, |token| {
                assert_eq!(token.access_token, format!("{before}/{after}!\\{after}"));
                assert_eq!(token.scope, Some(format!("{before}\"{after}").as_str()));
            });
        }
    }
}

#[test]
fn fifty_megabytes_of_brackets_are_refused_at_once() {
    let mut body = vec![b'['; 50_000_000];
    body[0] = b'{';
    let members = Members::default();
    assert!(TokenResponse::read(&mut response(200, JSON, &body), &members).is_err());
    body[..5].copy_from_slice(b"{\"x\":");
    match TokenResponse::read(&mut response(200, JSON, &body), &members) {
        Err(Rejection::Malformed(malformed)) => {
            assert_eq!(malformed.to_string(), "nested deeper than 128 levels, at byte 132");
        }
        _ => panic!("this is nested too deeply"),
    }
}

#[test]
fn a_path_is_followed_to_one_place_only() {
    let twice = |at: usize| Err(format!("an object that leads to a member stands there twice, at byte {at}"));
    for (path, body, expected) in [
        ("data.token", r#"{"data":{"token":"a","expires_in":5},"data":{"token_type":"Bearer"}}"#, twice(44)),
        ("data.token", r#"{"data":{"expires_in":5},"data":{"token":"a"}}"#, twice(32)),
        ("data.token", r#"{"data":{"token":"a"},"data":{"token":"a"}}"#, twice(29)),
        ("data.token", r#"{"data":{"token":"a"},"data":null}"#, twice(29)),
        ("data.token", r#"{"data":{"token":"a"},"data":"x"}"#, twice(29)),
        ("data.token", r#"{"data":{"token":"a"},"data":[]}"#, twice(29)),
        ("data.token", r#"{"data":null,"data":{"token":"a"}}"#, twice(20)),
        ("data.token", r#"{"data":{"token":"a"},"d\u0061ta":1}"#, twice(34)),
        ("a.b.token", r#"{"a":{"b":{"token":"t"}},"a":{}}"#, twice(29)),
        ("a.b.token", r#"{"a":{"b":{"token":"t"},"b":{}}}"#, twice(28)),
        ("a.b.token", r#"{"a":{"b":{"token":"t"},"x":{"b":1}},"b":{},"x":{"a":{}}}"#, Ok("t")),
        // Objects that lead nowhere may come again.
        ("token", r#"{"x":{"token":"a"},"token":"t","x":{"token":"b"}}"#, Ok("t")),
        ("data.token", r#"{"data":{"token":"t","x":1,"x":2}}"#, Ok("t")),
        ("data.token", r#"{"data":{"token":"t","token":"t"}}"#, Ok("t")),
    ] {
        let mut response = response(200, JSON, body.as_bytes());
        let got = match TokenResponse::read(&mut response, &Members::new(path).unwrap()) {
            Ok(token) => Ok(token.access_token),
            Err(rejection) => Err(rejection.to_string().replace("the answer is no token response: ", "")),
        };
        assert_eq!(got, expected, "{path} {body}");
    }
}

#[test]
fn a_path_that_leads_nowhere_is_told_where_it_ends() {
    const INTO_ARRAY: &str = "the access token's path leads into an array and needs an index there, at byte 8";
    for (path, body, reason) in [
        ("data.token", r#"{"data":[{"token":"a"}]}"#, INTO_ARRAY),
        ("data.x.token", r#"{"data":[{"token":"a"}]}"#, INTO_ARRAY),
        ("data.1.token", r#"{"data":[{"token":"a"}]}"#, "there is no access token"),
        ("data.0.token", r#"{"data":["a"]}"#, "the access token's path leads through what is no object, at byte 10"),
        (
            "a.b.c.token",
            r#"{"a":{"b": [1]}}"#,
            "the access token's path leads into an array and needs an index there, at byte 11",
        ),
        ("data.token", r#"{"data":"x"}"#, "the access token's path leads through what is no object, at byte 9"),
        ("data.token", r#"{"data":null}"#, "the access token's path leads through what is no object, at byte 8"),
        ("data", r#"{"data":{"token":"a"}}"#, "the access token is an object, not a string, at byte 8"),
        ("data", r#"{"data":["a"]}"#, "the access token is no string, at byte 8"),
        ("data.token", r#"{"data":{}}"#, "there is no access token"),
        ("data.token", r#"{"dat":{"token":"a"}}"#, "there is no access token"),
        ("a.b.token", r#"{"a":{}}"#, "there is no access token"),
    ] {
        match TokenResponse::read(&mut response(200, JSON, body.as_bytes()), &Members::new(path).unwrap()) {
            Err(Rejection::Malformed(malformed)) => assert_eq!(malformed.to_string(), reason, "{path} {body}"),
            _ => panic!("{path} {body}"),
        }
    }
}

#[test]
fn a_scheme_before_the_token_is_named() {
    for (content_type, body, reason) in [
        (JSON, r#"{"access_token":"Bearer abc"}"#, "the access token has its scheme, `Bearer`, before it, at byte 17"),
        (JSON, r#"{"access_token":"bearer abc"}"#, "the access token has its scheme, `Bearer`, before it, at byte 17"),
        (FORM, "access_token=Bearer+abc", "the access token has its scheme, `Bearer`, before it, at byte 13"),
        (
            JSON,
            r#"{"access_token":"Bearers abc"}"#,
            "the access token holds a character that is not visible ASCII, at byte 24",
        ),
        (
            JSON,
            r#"{"access_token":"Basic abc"}"#,
            "the access token holds a character that is not visible ASCII, at byte 22",
        ),
    ] {
        assert_eq!(refusal(200, content_type, body.as_bytes()), reason, "{body}");
    }
}

#[test]
fn spaces_around_a_token_type_are_no_part_of_it() {
    for (token_type, expected) in [
        ("Bearer ", Some("Bearer")),
        ("  Bearer", Some("Bearer")),
        (" a b ", Some("a b")),
        ("   ", None),
        (r"\u0020Bearer\u0020", Some("Bearer")),
    ] {
        let body = format!(r#"{{"access_token":"t","token_type":"{}"}}"#, token_type);
        with_token(JSON, &Members::default(), &body, |token| assert_eq!(token.token_type, expected, "{body}"));
    }
    with_token(FORM, &Members::default(), "access_token=t&token_type=+Bearer+", |token| {
        assert_eq!(token.token_type, Some("Bearer"));
    });
}
