//! The values of a description's members.

use crate::endpoint::Members;
use crate::error::Error;
use crate::field::Json;
use crate::lifetime::{LifetimeRules, LifetimeUnit, NotPositive};
use crate::template::Template;
use crate::words;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;
use miniserde::json::Value;

/// The members of `field`.
const FIELD_MEMBERS: &[&str] =
    &["access_token", "token_type", "expires_in", "expires_at", "refresh_token", "scope", "error", "error_description"];

/// The members of `lifetime`.
const LIFETIME_MEMBERS: &[&str] = &["absent", "zero", "unit", "maximum", "jwt", "trust_clock"];

/// `"data.token"`, or an object with a path for each member.
pub(super) fn members(value: &Value) -> Result<Members, Error> {
    let Value::Object(paths) = value else { return Members::new(string("field", value)?) };
    let mut members = match paths.get("access_token") {
        Some(path) => Members::new(string("field.access_token", path)?)?,
        None => Members::default(),
    };
    for (name, path) in paths {
        let path = string(&format!("field.{name}"), path)?;
        members = match name.as_str() {
            "access_token" => members,
            "token_type" => members.token_type(path)?,
            "expires_in" => members.expires_in(path)?,
            "refresh_token" => members.refresh_token(path)?,
            "scope" => members.scope(path)?,
            "expires_at" => members.expires_at(path)?,
            "error" => members.error(path)?,
            "error_description" => members.error_description(path)?,
            _ => return Err(unknown("field", name, FIELD_MEMBERS)),
        };
    }
    Ok(members)
}

/// A number of seconds for tokens whose answer does not say (or says 0), or an object with each rule.
pub(super) fn lifetime(value: &Value) -> Result<LifetimeRules, Error> {
    let mut rules = LifetimeRules::default();
    let Value::Object(given) = value else {
        let seconds = seconds("lifetime", value)?;
        rules.absent = Some(seconds);
        rules.not_positive = NotPositive::Lives(seconds);
        return Ok(rules);
    };
    for (name, value) in given {
        let path = format!("lifetime.{name}");
        match name.as_str() {
            "absent" => rules.absent = Some(seconds(&path, value)?),
            "zero" => {
                rules.not_positive = match value {
                    Value::String(text) if text == "once" => NotPositive::Once,
                    Value::String(text) if text == "unknown" => NotPositive::Unknown,
                    Value::String(text) if words::duration(text).is_none() => {
                        return Err(one_of(&path, text, &["once", "unknown", "a number of seconds"]));
                    }
                    value => NotPositive::Lives(seconds(&path, value)?),
                }
            }
            "unit" => {
                const CHOICES: &[(&str, LifetimeUnit)] = &[
                    ("seconds", LifetimeUnit::Seconds),
                    ("milliseconds", LifetimeUnit::Milliseconds),
                    ("minutes", LifetimeUnit::Minutes),
                    ("text", LifetimeUnit::Text),
                ];
                rules.unit = choice(&path, value, CHOICES)?;
            }
            "maximum" => rules.maximum = seconds(&path, value)?,
            "jwt" => rules.jwt = flag(&path, value)?,
            "trust_clock" => rules.trust_clock = flag(&path, value)?,
            _ => return Err(unknown("lifetime", name, LIFETIME_MEMBERS)),
        }
    }
    Ok(rules)
}

pub(super) fn string<'v>(name: &str, value: &'v Value) -> Result<&'v str, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong(name, "a string")),
    }
}

pub(super) fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(wrong(name, "true or false")),
    }
}

pub(super) fn seconds(name: &str, value: &Value) -> Result<Duration, Error> {
    match words::described_duration(value) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong(name, &format!("longer than 0: {}", words::DURATION))),
    }
}

/// The error for a member of `parent` that is none of `known`.
pub(super) fn unknown(parent: &str, name: &str, known: &[&str]) -> Error {
    let path = if parent.is_empty() { name } else { &format!("{parent}.{name}") };
    match words::nearest(name, known.iter().copied()) {
        Some(known) => Error::config(format!("unknown member {path:?}; did you mean {known:?}?")),
        None => Error::config(format!("unknown member {path:?}")).with_hint(format!("known are {}", known.join(", "))),
    }
}

/// Reads an object of texts; an array of texts gives its name several times.
pub(super) fn pairs<'v>(name: &str, value: &'v Value) -> Result<Vec<(&'v str, &'v str)>, Error> {
    let Value::Object(object) = value else {
        return Err(wrong(name, "an object of names with their texts"));
    };
    let mut pairs = Vec::new();
    for (key, value) in object {
        let values = match value {
            Value::Array(texts) => texts.iter().collect(),
            value => alloc::vec![value],
        };
        for value in values {
            let Value::String(text) = value else {
                return Err(wrong(&format!("{name}.{key}"), "a string or an array of strings"));
            };
            pairs.push((key.as_str(), text.as_str()));
        }
    }
    Ok(pairs)
}

/// Takes a JSON value over, with its strings as templates. The document's reader has bounded its depth.
pub(super) fn json_value(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::Text(Template::new(text)),
        Value::Array(list) => Json::List(list.iter().map(json_value).collect()),
        Value::Object(object) => {
            Json::Object(object.iter().map(|(name, value)| (name.clone(), json_value(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Json::Word(miniserde::json::to_string(value)),
    }
}

pub(super) fn choice<T: Clone>(name: &str, value: &Value, choices: &[(&str, T)]) -> Result<T, Error> {
    let text = string(name, value)?;
    match choices.iter().find(|(choice, _)| *choice == text) {
        Some((_, found)) => Ok(found.clone()),
        None => Err(one_of(name, text, &choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>())),
    }
}

pub(super) fn wrong(name: &str, expected: &str) -> Error {
    Error::config(format!("`{name}`: this must be {expected}"))
}

pub(super) fn one_of(name: &str, given: &str, choices: &[&str]) -> Error {
    Error::config(format!("`{name}`: {given:?} is none of {}", choices.join(", ")))
}
