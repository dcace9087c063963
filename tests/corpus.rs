//! What real token endpoints answer, and how keyfob reads it: every case of tests/data/token_responses.jsonl, whole,
//! cut at every byte, and with every byte changed in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{ExpiresIn, Members, Rejection, Response, TokenResponse};
use miniserde::json::{self, Number, Object, Value};
use std::collections::BTreeSet;

/// A case of the corpus.
struct Case {
    name: String,
    class: String,
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
    outcomes: Vec<Outcome>,
    secrets: Vec<String>,
    any_at_least: Option<u64>,
}

/// How an answer is, or may be, read; normalised for comparison.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Token {
        access_token: String,
        token_type: Option<String>,
        expires_in: Option<u64>,
        refresh_token: Option<String>,
        scope: Option<String>,
    },
    OAuthError {
        error: String,
        description: Option<String>,
    },
    Reject,
}

fn corpus() -> Vec<Case> {
    let cases: Vec<Case> = include_str!("data/token_responses.jsonl").lines().map(read_case).collect();
    assert_eq!(cases.len(), 211);
    assert_eq!(cases.iter().map(|case| &case.class).collect::<BTreeSet<_>>().len(), 110);
    cases
}

fn read_case(line: &str) -> Case {
    let Ok(Value::Object(case)) = json::from_str(line) else { panic!("a case is an object: {line}") };
    let Value::Object(expect) = &case["expect"] else { panic!("an expectation is an object") };
    let outcomes = match expect.get("either") {
        Some(Value::Array(outcomes)) => outcomes.iter().map(read_outcome).collect(),
        _ => vec![read_outcome(&case["expect"])],
    };
    let secrets = match case.get("secrets") {
        Some(Value::Array(secrets)) => secrets.iter().filter_map(text).collect(),
        _ => Vec::new(),
    };
    Case {
        name: text(&case["name"]).unwrap(),
        class: text(&case["class"]).unwrap(),
        status: number(&case["status"]).unwrap() as u16,
        content_type: text(&case["content_type"]),
        body: base64(&text(&case["body_b64"]).unwrap()),
        outcomes,
        secrets,
        any_at_least: case.get("expires_in_any_at_least").and_then(number),
    }
}

fn read_outcome(value: &Value) -> Outcome {
    let Value::Object(outcome) = value else { panic!("an outcome is an object") };
    if let Some(Value::Object(token)) = outcome.get("ok") {
        return Outcome::Token {
            access_token: text(&token["access_token"]).unwrap(),
            token_type: normal_type(optional(token, "token_type")),
            expires_in: number(&token["expires_in_s"]),
            refresh_token: optional(token, "refresh_token"),
            scope: normal_scope(optional(token, "scope")),
        };
    }
    if let Some(Value::Object(error)) = outcome.get("oauth_error") {
        return Outcome::OAuthError {
            error: text(&error["error"]).unwrap(),
            description: normal_description(optional(error, "error_description")),
        };
    }
    assert!(outcome.contains_key("reject"));
    Outcome::Reject
}

fn optional(object: &Object, name: &str) -> Option<String> {
    object.get(name).and_then(text)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(Number::U64(number)) => Some(*number),
        _ => None,
    }
}

fn normal_type(token_type: Option<String>) -> Option<String> {
    token_type.map(|text| text.to_ascii_lowercase()).filter(|text| !text.is_empty())
}

fn normal_scope(scope: Option<String>) -> Option<String> {
    scope.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn normal_description(description: Option<String>) -> Option<String> {
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let words =
        description.map(|text| text.split(is_gap).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    words.filter(|text| !text.is_empty())
}

fn base64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|byte| *byte != b'=').map(|byte| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64"),
    });
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn read(case: &Case, body: &[u8], framed: bool) -> Outcome {
    read_with(case, body, framed, &Members::default())
}

fn read_with(case: &Case, body: &[u8], framed: bool, members: &Members) -> Outcome {
    let mut response = Response::new(case.status, body).with_framed(framed);
    if let Some(content_type) = &case.content_type {
        response = response.with_header("content-type", content_type);
    }
    match TokenResponse::read(&mut response, members) {
        Ok(token) => {
            assert!(token.access_token.bytes().all(|byte| matches!(byte, 0x21..=0x7E)), "{}", case.name);
            assert!(!token.access_token.is_empty(), "{}", case.name);
            Outcome::Token {
                access_token: token.access_token.to_owned(),
                token_type: normal_type(token.token_type.map(str::to_owned)),
                expires_in: match token.expires_in {
                    ExpiresIn::NotPositive => Some(0),
                    ExpiresIn::Units(seconds) => Some(seconds),
                    _ => None,
                },
                refresh_token: token.refresh_token.map(str::to_owned),
                scope: normal_scope(token.scope.map(str::to_owned)),
            }
        }
        Err(Rejection::OAuth(refusal)) => Outcome::OAuthError {
            error: refusal.error().into_owned(),
            description: normal_description(refusal.error_description().map(|text| text.into_owned())),
        },
        Err(Rejection::Malformed(malformed)) => {
            let shown = format!("{malformed} {malformed:?}");
            for secret in &case.secrets {
                assert!(!shown.contains(secret.as_str()), "{}: {shown}", case.name);
            }
            Outcome::Reject
        }
        Err(other) => panic!("{}: {other}", case.name),
    }
}

/// Whether a reading is one of those that are right.
fn is_right(case: &Case, read: &Outcome) -> bool {
    let absurd = |expected: &Outcome| match (expected, read, case.any_at_least) {
        (Outcome::Token { .. }, Outcome::Token { expires_in: got, .. }, Some(least))
            if got.is_none_or(|got| got >= least) =>
        {
            without_lifetime(expected) == without_lifetime(read)
        }
        _ => false,
    };
    case.outcomes.iter().any(|expected| match expected {
        // Any error is right where no token may come out.
        Outcome::Reject => !matches!(read, Outcome::Token { .. }),
        expected => expected == read || absurd(expected),
    })
}

fn without_lifetime(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    if let Outcome::Token { expires_in, .. } = &mut outcome {
        *expires_in = None;
    }
    outcome
}

fn is_form(case: &Case) -> bool {
    case.content_type.as_deref().is_some_and(|content_type| content_type.contains("form"))
        && !case.body.starts_with(b"{")
}

#[test]
fn every_case_is_read_right() {
    for case in corpus() {
        let got = read(&case, &case.body, true);
        assert!(is_right(&case, &got), "{}: read {got:?}, right is {:?}", case.name, case.outcomes);
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_command_reads_every_case_right() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    for case in corpus() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
        command.env_clear().args(["parse", "--show-secrets", "--status", &case.status.to_string()]);
        if let Some(content_type) = &case.content_type {
            command.arg("--content-type").arg(content_type);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        child.stdin.take().unwrap().write_all(&case.body).unwrap();
        let output = child.wait_with_output().unwrap();

        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answer.lines().count(), 1, "{}", case.name);
        let got = read_outcome(&json::from_str(&answer).unwrap());
        assert!(is_right(&case, &got), "{}: read {got:?}, right is {:?}", case.name, case.outcomes);
        let code = match got {
            Outcome::Token { .. } => 0,
            Outcome::OAuthError { .. } => 3,
            Outcome::Reject => 5,
        };
        assert_eq!(output.status.code(), Some(code), "{}", case.name);
        assert_eq!(output.stderr, b"", "{}", case.name);
    }
}

#[test]
fn a_cut_answer_yields_no_token() {
    let mut cuts = 0;
    for case in &corpus() {
        let whole = read(case, &case.body, true);
        if !matches!(whole, Outcome::Token { .. }) {
            continue;
        }
        // White space behind the object may be missing; the object itself may not.
        let end = case.body.trim_ascii_end().len();
        for length in 0..end {
            let (body, is_form) = (&case.body[..length], is_form(case));
            let got = read(case, body, !is_form);
            assert!(!matches!(got, Outcome::Token { .. }), "{} cut at {length}: {got:?}", case.name);
            cuts += 1;
        }
        if !is_form(case) {
            assert_eq!(read(case, &case.body[..end], false), whole, "{}", case.name);
        }
    }
    assert!(cuts > 80_000, "{cuts}");
}

#[test]
fn a_form_counts_only_where_its_end_is_known() {
    let cases = corpus();
    let forms: Vec<&Case> = cases
        .iter()
        .filter(|case| is_form(case) && matches!(read(case, &case.body, true), Outcome::Token { .. }))
        .collect();
    assert!(forms.len() >= 4);
    for case in forms {
        assert_eq!(read(case, &case.body, false), Outcome::Reject, "{}", case.name);
    }
}

#[test]
fn a_changed_byte_never_panics_and_never_lets_a_forbidden_byte_into_a_token() {
    // The longest bodies are padding; a sample of their bytes is enough.
    let nested = Members::new("a.b.access_token").unwrap();
    for case in corpus() {
        let step = 1 + case.body.len() / 700;
        for at in (0..case.body.len()).step_by(step) {
            for byte in [0, b'"', b'\\', b'{', b'}', b'[', b',', b':', b'%', b'&', b'u', 0x7F, 0x80, 0xFF] {
                let mut body = case.body.clone();
                body[at] = byte;
                read(&case, &body, true);
                read_with(&case, &body, true, &nested);
            }
        }
    }
}

#[test]
fn a_wrapped_answer_is_read_by_its_path() {
    // Every sound JSON answer, put into an object beside decoys.
    for case in corpus() {
        let whole = read(&case, &case.body, true);
        let body = case.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&case.body);
        if !matches!(whole, Outcome::Token { .. }) || is_form(&case) {
            continue;
        }
        let mut wrapped = br#"{"x":[{"data":{"access_token":"decoy"}}],"data":"#.to_vec();
        wrapped.extend_from_slice(body);
        wrapped.extend_from_slice(br#","y":{"access_token":"decoy"}}"#);
        let got = read_with(&case, &wrapped, true, &Members::new("data.access_token").unwrap());
        assert_eq!(got, whole, "{}", case.name);
        assert_eq!(read(&case, &wrapped, true), Outcome::Reject, "{}", case.name);
    }
}
