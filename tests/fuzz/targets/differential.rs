//! The reader of JSON against serde_json. What serde_json accepts as an object is read the same, or refused for one of
//! the reasons in [`expected`]; what serde_json refuses is refused, unless it is sound after what [`tolerated`] mends.

#![no_main]

use keyfob::{ExpiresIn, Members, Rejection, Response, TokenResponse};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// An error whose code is a number.
fn is_error_number((name, value): &(String, Value)) -> bool {
    name == "error" && value.is_number()
}

/// A number with an exponent: serde_json writes a small `e` and always a sign.
fn as_serde_json_has_it(number: &str) -> String {
    let number = number.replace('E', "e");
    match number.split_once('e') {
        Some((digits, exponent)) if exponent.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{digits}e+{exponent}")
        }
        _ => number,
    }
}

/// How an answer is to be read.
#[derive(Debug, PartialEq)]
enum Verdict {
    Token {
        access_token: String,
        token_type: Option<String>,
        expires_in: ExpiresIn,
        refresh_token: Option<String>,
        scope: Option<String>,
    },
    OAuth {
        error: String,
        description: Option<String>,
    },
    /// One of these reasons begins what is said.
    Refused(&'static [&'static str]),
}

const TWICE: &str = "a member stands there twice";
const NAMES: [&str; 7] =
    ["access_token", "token_type", "expires_in", "refresh_token", "scope", "error", "error_description"];

fuzz_target!(|body: &[u8]| {
    // serde_json's own mark for a number that it keeps as text: an object with it is taken for one.
    if body.windows(8).any(|part| part == b"$serde_j") {
        return;
    }
    let mended = tolerated(body);
    if depth(&mended) > 1000 {
        // serde_json's values nest on the stack; there is no such input in a run, for it is too long.
        assert!(read(body, true).is_err());
        return;
    }
    let strict = object(body);
    let is_strict = strict.is_some();
    let members = strict.or_else(|| object(&mended));
    let got = read(body, is_strict);
    let Some(members) = members else {
        assert!(got.is_err(), "serde_json refuses it, keyfob reads {got:?}");
        return;
    };
    match (expected(&members, is_strict, depth(&mended)), got) {
        (_, Err(reason)) if reason.starts_with(TWICE) => {
            // Two texts of one value, `"a"` and `"\u0061"`, are refused as well. When unsure, no token.
            assert!(NAMES.iter().any(|name| members.iter().filter(|(known, _)| known == name).count() > 1), "{reason}");
        }
        (Verdict::Refused(reasons), Err(reason)) => {
            assert!(reasons.iter().any(|known| reason.starts_with(known)), "{reason:?}, not one of {reasons:?}");
        }
        (expected, Ok(mut got)) => {
            if let (Verdict::OAuth { error, .. }, true) = (&mut got, members.iter().any(is_error_number)) {
                *error = as_serde_json_has_it(error);
            }
            assert_eq!(got, expected);
            let same = |(name, value): &(String, Value)| members.iter().all(|(n, v)| n != name || v == value);
            let is_named = |name: &String| NAMES.contains(&name.as_str());
            let is_error = matches!(got, Verdict::OAuth { .. });
            assert!(is_error || members.iter().filter(|(name, _)| is_named(name)).all(same), "two values, and {got:?}");
        }
        (expected, got) => panic!("keyfob says {got:?}, right is {expected:?}"),
    }
});

fn read(body: &[u8], is_strict: bool) -> Result<Verdict, String> {
    match TokenResponse::read(&mut Response::new(200, body), &Members::default()) {
        Ok(token) => Ok(Verdict::Token {
            access_token: token.access_token.to_owned(),
            token_type: token.token_type.map(str::to_owned),
            expires_in: token.expires_in,
            refresh_token: token.refresh_token.map(str::to_owned),
            scope: token.scope.and_then(|text| scope(text, is_strict)),
        }),
        Err(Rejection::OAuth(refusal)) => Ok(Verdict::OAuth {
            error: refusal.error().into_owned(),
            description: refusal.error_description().map(|text| text.into_owned()),
        }),
        Err(Rejection::Malformed(malformed)) => Err(malformed.to_string()),
        Err(other) => panic!("{other}"),
    }
}

/// What is tolerated beyond RFC 8259, mended: a byte-order mark; bytes that are not UTF-8, and halves of surrogate pairs,
/// which stand for no character; one trailing comma in an object or array.
fn tolerated(body: &[u8]) -> Vec<u8> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let (mut mended, mut at, mut in_string, mut last) = (Vec::new(), 0, false, b' ');
    while at < bytes.len() {
        let length = match (in_string, bytes[at]) {
            (true, b'\\') => match unit(at) {
                Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
                Some(0xD800..=0xDFFF) => {
                    mended.extend_from_slice(b"\\ufffd");
                    at += 6;
                    continue;
                }
                _ => 2,
            },
            (_, b'"') => {
                in_string = !in_string;
                1
            }
            (false, b',') => {
                let next = bytes[at + 1..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
                if matches!(next, Some(b'}' | b']')) && !matches!(last, b'[' | b'{' | b',' | b':') {
                    at += 1;
                    continue;
                }
                1
            }
            _ => 1,
        };
        if !matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r') {
            last = bytes[at];
        }
        let end = bytes.len().min(at + length);
        mended.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    mended
}

/// How deeply containers are nested.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut most, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// The members of an object, those that stand there twice too.
fn object(body: &[u8]) -> Option<Vec<(String, Value)>> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, Value)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.disable_recursion_limit();
    let pairs = deserializer.deserialize_map(Pairs).ok()?;
    deserializer.end().ok()?;
    Some(pairs)
}

fn expected(members: &[(String, Value)], is_strict: bool, depth: usize) -> Verdict {
    if depth > 128 {
        return Verdict::Refused(&["nested deeper than 128 levels"]);
    }
    let get = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let string = |name: &str| get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    match get("error") {
        None | Some(Value::Null) => {}
        Some(Value::String(error)) if error.is_empty() => {}
        Some(Value::String(error)) => {
            return Verdict::OAuth { error: error.clone(), description: string("error_description") };
        }
        Some(Value::Number(error)) => {
            return Verdict::OAuth { error: error.to_string(), description: string("error_description") };
        }
        Some(_) => return Verdict::Refused(&["the member `error` is no string"]),
    }
    let access_token = match get("access_token") {
        None => return Verdict::Refused(&["there is no access token"]),
        Some(Value::String(text)) if text.is_empty() => return Verdict::Refused(&["the access token is empty"]),
        Some(Value::String(text)) if text.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) => text.clone(),
        Some(Value::String(_)) => {
            return Verdict::Refused(&[
                "the access token holds a character",
                "the access token has its scheme",
                "half of a surrogate pair",
            ]);
        }
        Some(Value::Object(_)) => return Verdict::Refused(&["the access token is an object"]),
        Some(_) => return Verdict::Refused(&["the access token is no string"]),
    };
    let is_printable = |text: &str| text.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
    let token_type = match get("token_type") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_printable(text) => {
            Some(text.trim_matches(' ').to_owned()).filter(|text| !text.is_empty())
        }
        Some(Value::String(_)) => {
            return Verdict::Refused(&["the token type holds a character", "half of a surrogate pair"]);
        }
        Some(_) => return Verdict::Refused(&["the token type is no string"]),
    };
    let expires_in = match get("expires_in") {
        Some(Value::Number(number)) => lifetime(&number.to_string()),
        Some(Value::String(text)) => lifetime(text),
        _ => ExpiresIn::Unknown,
    };
    let given = match get("scope") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(texts)) => {
            texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|texts| texts.join(" "))
        }
        _ => None,
    };
    Verdict::Token {
        access_token,
        token_type,
        expires_in,
        refresh_token: string("refresh_token").filter(|text| is_printable(text)),
        scope: given.and_then(|text| scope(&text, is_strict)),
    }
}

/// The scopes, however many spaces are between them. The reader takes one with what stands for no character for absent;
/// in a mended text that is not told from U+FFFD.
fn scope(text: &str, is_strict: bool) -> Option<String> {
    if !is_strict && text.contains('\u{FFFD}') {
        return None;
    }
    let words = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    Some(words).filter(|words| !words.is_empty())
}

/// The lifetime, by moving the point in the text.
fn lifetime(text: &str) -> ExpiresIn {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{C}']);
    let (sign, rest) = text.split_at(text.find(|c| c != '+' && c != '-').unwrap_or(text.len()));
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent),
        None => (rest, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if sign.len() > 1 || !is_number(whole) || !is_number(fraction) || !is_number(digits) {
        return ExpiresIn::Unknown;
    }
    // Inputs have a few thousand bytes at most: beyond that only the sign of the exponent matters.
    let shift = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
    let shift = shift.clamp(-100_000, 100_000);
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i64 + shift;
    let whole: String = match usize::try_from(point) {
        Ok(point) => (0..point).map(|at| all.as_bytes().get(at).map_or('0', |digit| char::from(*digit))).collect(),
        Err(_) => String::new(),
    };
    let significant = whole.trim_start_matches('0');
    match significant {
        "" => ExpiresIn::NotPositive,
        _ if sign == "-" => ExpiresIn::NotPositive,
        digits => ExpiresIn::Units(digits.parse().unwrap_or(u64::MAX)),
    }
}
