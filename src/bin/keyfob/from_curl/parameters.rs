//! The parameters of a request: read from a body or a query, and sorted into open ones and secrets.

use super::line::{Data, wrong};
use keyfob::Error;
use miniserde::json::{self, Array, Object, Value};

/// A parameter, and whether its value is the name of a file.
pub(super) type Parameter = (String, Value, bool);

/// Returns whether a parameter or header of this name is probably a secret.
pub(super) fn is_secret(name: &str) -> bool {
    const PARTS: &[&str] =
        &["secret", "passw", "token", "key", "assertion", "credential", "signature", "jwt", "apikey"];
    const NAMES: &[&str] = &["code", "pass", "pin", "otp", "authorization", "code_verifier", "ticket"];
    const ENDINGS: &[&str] = &["_type", "_id", "-id", "_format", "_url", "_uri"];
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || PARTS.iter().any(|part| name.contains(part)) && !ENDINGS.iter().any(|ending| name.ends_with(ending))
}

pub(super) fn has_secret_member(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(name, value)| is_secret(name) || has_secret_member(value)),
        Value::Array(array) => array.iter().any(has_secret_member),
        _ => false,
    }
}

pub(super) fn has_secret(query: &str) -> Result<bool, Error> {
    Ok(of_form(&[Data::Raw(query.to_owned())])?.iter().any(|(name, ..)| is_secret(name)))
}

pub(super) fn has(parameters: &[Parameter], name: &str) -> bool {
    parameters
        .iter()
        .filter(|(known, value, is_file)| known == name && matches!(value, Value::String(_)) && !is_file)
        .count()
        == 1
}

pub(super) fn take(parameters: &mut Vec<Parameter>, name: &str) -> Option<String> {
    if !has(parameters, name) {
        return None;
    }
    let at = parameters.iter().position(|(known, ..)| known == name)?;
    match parameters.remove(at).1 {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Adds a value. Several values of one name become a list.
pub(super) fn add(object: &mut Object, name: String, value: Value) {
    let value = match object.remove(&name) {
        None => value,
        Some(Value::Array(mut values)) => {
            values.push(value);
            Value::Array(values)
        }
        Some(first) => Value::Array([first, value].into_iter().collect::<Array>()),
    };
    object.insert(name, value);
}

pub(super) fn joined(data: &[Data], is_json: bool) -> String {
    let mut text = String::new();
    for data in data {
        let Data::Raw(raw) = data else { continue };
        if !text.is_empty() && !is_json {
            text.push('&');
        }
        text.push_str(raw);
    }
    text
}

pub(super) fn of_json(text: &str) -> Result<Vec<Parameter>, Error> {
    match json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object.into_iter().map(|(name, value)| (name, value, false)).collect()),
        _ => Err(wrong("the body is not a JSON object")),
    }
}

pub(super) fn of_form(data: &[Data]) -> Result<Vec<Parameter>, Error> {
    let mut parameters = Vec::new();
    for data in data {
        match data {
            Data::Raw(raw) => {
                for part in raw.split('&').filter(|part| !part.is_empty()) {
                    let (name, value) = part.split_once('=').ok_or_else(|| wrong("a parameter has no equals sign"))?;
                    parameters.push((decoded(name)?, Value::String(decoded(value)?), false));
                }
            }
            Data::Encoded(name, value) => parameters.push((decoded(name)?, Value::String(value.clone()), false)),
            Data::File(name, file) => parameters.push((decoded(name)?, Value::String(absolute(file)), true)),
        }
    }
    Ok(parameters)
}

/// Returns the file's absolute path: a relative path in a profile would start at the profile's directory.
fn absolute(file: &str) -> String {
    let directory = std::env::current_dir().unwrap_or_default();
    directory.join(file).to_string_lossy().into_owned()
}

/// Decodes application/x-www-form-urlencoded. Leaves other text as it is.
fn decoded(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let digit = |byte: u8| (byte as char).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong("a parameter is not UTF-8 text"))
}
