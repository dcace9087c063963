//! `keyfob keep` and its file.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use crate::common::json;
use crate::processes::until;
use crate::running::{Place, Run};
use std::fs;

pub fn keep(place: &Place, url: &str, options: &[&str]) -> Run {
    place.keyfob([&["keep", "--url", url, "--client-id", "c", "--file", "token"], options].concat())
}

pub fn content(place: &Place) -> Option<String> {
    fs::read_to_string(place.path("here/token")).ok()
}

/// Waits until the file has this text.
#[track_caller]
pub fn holds(place: &Place, text: &str) {
    until(text, || content(place).as_deref() == Some(text));
}

/// Returns an answer with this token.
pub fn token(name: &str, seconds: u64) -> Vec<u8> {
    json(200, &format!(r#"{{"access_token":"{name}","expires_in":{seconds}}}"#))
}
