//! How many of the answers in `tests/data/token_responses.jsonl` each subject reads right.

use crate::{Answer, Read, SUBJECTS, Token};
use serde_json::Value;

/// What may come out: one of these tokens, or none.
struct Case {
    answer: Answer,
    tokens: Vec<Outcome>,
    may_be_refused: bool,
    any_at_least: Option<u64>,
}

/// A token, normalised for comparison as tests/data/README.md says.
#[derive(PartialEq)]
struct Outcome {
    texts: [Option<String>; 4],
    expires_in: Option<u64>,
}

impl Outcome {
    fn new(
        access: &str,
        token_type: Option<&str>,
        refresh: Option<&str>,
        scope: Option<&str>,
        expires_in: Option<u64>,
    ) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let texts = [
            some(access.to_owned()),
            token_type.map(str::to_ascii_lowercase).and_then(some),
            refresh.map(str::to_owned),
            scope.map(|text| text.trim().to_owned()).and_then(some),
        ];
        Self { texts, expires_in }
    }
}

/// Prints how many answers with a token each reads right, to the last member; and to how many others it yields no token,
/// or one that may come out.
pub fn print() {
    let cases: Vec<Case> = include_str!("../../../tests/data/token_responses.jsonl").lines().map(case).collect();
    let (tokens, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| !case.may_be_refused);
    println!("| | tokens read right, of {} | the others, of {} |\n|---|--:|--:|", tokens.len(), others.len());
    for (name, read) in SUBJECTS {
        let right = |cases: &[&Case]| cases.iter().filter(|case| is_right(case, read)).count();
        println!("| {name} | {} | {} |", right(&tokens), right(&others));
        if name == crate::KEYFOB {
            assert_eq!((right(&tokens), right(&others)), (tokens.len(), others.len()));
        }
    }
}

fn is_right(case: &Case, read: Read) -> bool {
    let mut seen = None;
    let mut look = |token: &Token<'_>| {
        let scope = (token.scope)();
        seen = Some(Outcome::new(
            token.access_token,
            token.token_type,
            token.refresh_token,
            scope.as_deref(),
            token.expires_in,
        ));
    };
    read(&case.answer, &mut case.answer.copy(), &mut look);
    let Some(seen) = seen else { return case.may_be_refused };
    case.tokens.iter().any(|token| {
        let is_absurd = case.any_at_least.is_some_and(|least| seen.expires_in.is_none_or(|life| life >= least));
        token.texts == seen.texts && (is_absurd || token.expires_in == seen.expires_in)
    })
}

fn case(line: &str) -> Case {
    let case: Value = serde_json::from_str(line).expect("a case is JSON");
    let expect = &case["expect"];
    let outcomes = expect["either"].as_array().cloned().unwrap_or_else(|| vec![expect.clone()]);
    let tokens: Vec<Outcome> = outcomes
        .iter()
        .filter_map(|outcome| outcome.get("ok"))
        .map(|token| {
            let text = |name: &str| token[name].as_str();
            Outcome::new(
                text("access_token").expect("a token"),
                text("token_type"),
                text("refresh_token"),
                text("scope"),
                token["expires_in_s"].as_u64(),
            )
        })
        .collect();
    Case {
        answer: Answer {
            status: case["status"].as_u64().expect("a status") as u16,
            content_type: case["content_type"].as_str().map(str::to_owned),
            body: base64(case["body_b64"].as_str().expect("a body")),
        },
        may_be_refused: tokens.len() < outcomes.len(),
        tokens,
        any_at_least: case["expires_in_any_at_least"].as_u64(),
    }
}

fn base64(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        let value =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|d| *d == digit);
        bits = bits << 6 | value.expect("base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
