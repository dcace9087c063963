//! The reader of answers, JSON and form, whole and cut. It never panics and allocates nothing; a token is visible ASCII;
//! a reason's offset lies within the body; and no cut of an answer yields what the whole does not.

#![no_main]

use keyfob::{ExpiresIn, Members, Rejection, Response, TokenResponse};
use keyfob_fuzz::{Input, allocations, check_line};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const CONTENT_TYPES: [Option<&str>; 4] = [
    Some("application/json"),
    Some("application/x-www-form-urlencoded"),
    Some("Application/X-WWW-Form-Urlencoded ; charset=utf-8"),
    None,
];

static MEMBERS: LazyLock<[Members; 8]> = LazyLock::new(|| {
    let path = |path: &str| Members::new(path).expect("this is a path");
    [
        Members::default(),
        path("data.token"),
        path("a.b.c.d.e.f.g.h"),
        path("token")
            .expires_in("data.ttl")
            .and_then(|members| members.scope("access_token"))
            .expect("these are paths"),
        path("0.token"),
        path("a.1.b.token").expires_at("expires_at").expect("this is a path"),
        path("token").error("errors.0.code").and_then(|members| members.error_description("errors.0.text")).expect("paths"),
        path("token").expires_at("header:date").expect("this is a header"),
    ]
});

#[derive(Clone, Debug, PartialEq)]
enum Reading {
    Token { access_token: String, others: [Option<String>; 3], expires_in: ExpiresIn },
    OAuth,
    Malformed,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let how = input.byte();
    let content_type = CONTENT_TYPES[usize::from(how & 3)];
    let members = &MEMBERS[usize::from(how >> 2 & 7)];
    let status = [200, 201, 400, 503][usize::from(how >> 5 & 3)];
    let cut = usize::from(input.byte());
    let body = input.rest();

    let read = |body: &[u8], framed: bool| read(status, content_type, framed, body, members);
    let whole = read(body, true);
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let is_array = usize::from(how >> 2 & 7) == 4;
    let first = text.iter().find(|byte| !is_space(byte));
    let is_json = first == Some(&b'{') || is_array && first == Some(&b'[');
    let unframed = read(body, false);
    assert_eq!(unframed, if is_json { whole.clone() } else { Reading::Malformed }, "with an uncertain end");

    let end = body.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    let places = [cut * end / 256, end.wrapping_sub(1 + cut % 16), end.wrapping_sub(1), body.len().wrapping_sub(1)];
    for place in places.into_iter().filter(|place| *place < body.len()) {
        let cut = read(&body[..place], false);
        let expected = if is_json && place >= end { &whole } else { &Reading::Malformed };
        // What is no answer as a whole may be one as far as it goes: text behind the object.
        if whole != Reading::Malformed || !is_json {
            assert_eq!(&cut, expected, "cut at {place}");
        }
        if is_json {
            assert_eq!(read(&body[..place], true), cut, "cut at {place}, with a certain end");
        } else if place == 0 {
            assert_eq!(cut, Reading::Malformed);
        }
    }
});

fn read(status: u16, content_type: Option<&str>, framed: bool, body: &[u8], members: &Members) -> Reading {
    let length = body.len();
    let mut response = Response::new(status, body).with_framed(framed);
    if let Some(content_type) = content_type {
        response = response.with_header("content-type", content_type);
    }
    let before = allocations();
    let read = TokenResponse::read(&mut response, members);
    assert_eq!(allocations(), before, "reading allocates");
    match read {
        Ok(token) => {
            assert!((200..300).contains(&status));
            assert!(!token.access_token.is_empty());
            assert!(token.access_token.bytes().all(|byte| matches!(byte, 0x21..=0x7E)), "{:?}", token.access_token);
            for text in [token.token_type, token.refresh_token].into_iter().flatten() {
                assert!(!text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x20..=0x7E)), "{text:?}");
            }
            assert_ne!(token.scope, Some(""));
            Reading::Token {
                access_token: token.access_token.to_owned(),
                others: [token.token_type, token.refresh_token, token.scope].map(|text| text.map(str::to_owned)),
                expires_in: token.expires_in,
            }
        }
        Err(Rejection::OAuth(refusal)) => {
            assert!(!refusal.error().is_empty());
            assert!(refusal.error_description().is_none_or(|text| !text.is_empty()));
            Reading::OAuth
        }
        Err(Rejection::Malformed(malformed)) => {
            let shown = malformed.to_string();
            check_line(&shown, 100);
            if let Some((_, offset)) = shown.rsplit_once(", at byte ") {
                assert!(offset.parse::<usize>().is_ok_and(|offset| offset <= length), "{shown}, of {length}");
            }
            Reading::Malformed
        }
        Err(other) => panic!("{other}"),
    }
}
