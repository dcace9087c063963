//! Takes the members of a profile by type.

use crate::words;
use keyfob::{Error, ErrorKind};
use miniserde::json::{Object, Value};
use std::time::Duration;

/// Returns names with texts. A name with several texts appears several times. `what` describes the texts in messages.
pub(crate) fn take_pairs(members: &mut Object, name: &str, what: &str) -> Result<Vec<(String, String)>, Error> {
    let fail = || wrong(name, &format!("an object of names with {what}"));
    let object = match members.remove(name) {
        None => return Ok(Vec::new()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(fail()),
    };
    let mut pairs = Vec::new();
    for (key, value) in object {
        match value {
            Value::String(file) => pairs.push((key, file)),
            Value::Array(files) => {
                for file in &files {
                    let Value::String(file) = file else { return Err(fail()) };
                    pairs.push((key.clone(), file.clone()));
                }
            }
            _ => return Err(fail()),
        }
    }
    Ok(pairs)
}

/// Returns names with values of any kind.
pub(crate) fn take_object(members: &mut Object, name: &str) -> Result<Object, Error> {
    match members.remove(name) {
        None => Ok(Object::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(wrong(name, "an object of names with values")),
    }
}

/// Returns the texts of a member that is a string or an array of strings.
pub(crate) fn take_texts(members: &mut Object, name: &str) -> Result<Vec<String>, Error> {
    let fail = || wrong(name, "a string or an array of strings");
    match members.remove(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(texts)) => texts
            .iter()
            .map(|text| match text {
                Value::String(text) => Ok(text.clone()),
                _ => Err(fail()),
            })
            .collect(),
        Some(_) => Err(fail()),
    }
}

/// Returns the words of a command: a text, split at spaces, or an array.
pub(crate) fn take_words(members: &mut Object, name: &str) -> Result<Vec<String>, Error> {
    match members.get(name) {
        Some(Value::String(text)) => Ok(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()),
        _ => take_texts(members, name),
    }
}

pub(crate) fn take_text(members: &mut Object, name: &str) -> Result<Option<String>, Error> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name, "a string")),
    }
}

pub(crate) fn take_flag(members: &mut Object, name: &str) -> Result<bool, Error> {
    match members.remove(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(wrong(name, "true or false")),
    }
}

pub(crate) fn take_duration(members: &mut Object, name: &str) -> Result<Option<Duration>, Error> {
    let Some(value) = members.remove(name) else { return Ok(None) };
    match words::described_duration(&value) {
        Some(duration) => Ok(Some(duration)),
        None => Err(wrong(name, words::DURATION)),
    }
}

/// Returns whether a member is present and not `false`.
pub(crate) fn is_given(members: &Object, name: &str) -> bool {
    !matches!(members.get(name), None | Some(Value::Bool(false)))
}

pub(crate) fn wrong(name: &str, expected: &str) -> Error {
    config(format!("`{name}`: must be {expected}"))
}

pub(crate) fn config(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// Returns the error for a missing token if the server must not be asked.
pub(crate) fn nothing_cached() -> Error {
    Error::new(ErrorKind::Unreachable, "no valid token is cached, and nobody was asked")
}
