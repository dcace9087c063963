//! Endpoints described by a JSON document, and the descriptions of the five dialects.

use crate::client_auth::ClientAuthentication;
use crate::endpoint::{Endpoint, Members, Method, Parameters, Revocation};
use crate::error::Error;
use crate::json;
use crate::lifetime::{LifetimeRules, LifetimeUnit, NotPositive};
use crate::words;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use miniserde::json::{Object, Value};

/// The members of a description.
const MEMBERS: &[&str] = &[
    "url",
    "environments",
    "environment",
    "path",
    "dialect",
    "grant",
    "params",
    "auth",
    "method",
    "basic_raw",
    "omit_grant_type",
    "scope_required",
    "allow_http",
    "param",
    "header",
    "field",
    "keep",
    "lifetime",
    "revoke",
    "refused_if",
    "api",
];

/// The methods of token requests.
const METHODS: &[(&str, Method)] = &[("POST", Method::Post), ("PUT", Method::Put), ("GET", Method::Get)];

/// The dialects' descriptions, by name: what their services document, and no more.
const DIALECTS: &str = include_str!("dialects.json");

impl Endpoint {
    /// The endpoint at `url`, in a dialect by name: `json-credentials`, `bearer-session`, `form-credentials` or
    /// `user-credentials`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for an unknown name, and as [`Endpoint::new`].
    pub fn dialect(name: &str, url: &str) -> Result<Self, Error> {
        let mut description = Object::new();
        description.insert("dialect".to_owned(), Value::String(name.to_owned()));
        description.insert("url".to_owned(), Value::String(url.to_owned()));
        Self::from_description(&description)
    }

    /// Reads the endpoint that a JSON document describes. [Profiles](crate::docs::profiles) lists the members; an unknown one
    /// is an error, and so is one that is there twice.
    ///
    /// ```
    /// use keyfob::Endpoint;
    ///
    /// let endpoint = Endpoint::from_json(
    ///     r#"{
    ///         "dialect": "json-credentials",
    ///         "environments": {"eu": "https://eu.example", "us": "https://us.example"},
    ///         "environment": "eu",
    ///         "path": "/api/v2/oauth2/token"
    ///     }"#,
    /// )?;
    /// assert_eq!(endpoint.authority(), "eu.example");
    ///
    /// let error = Endpoint::from_json(r#"{"url": "https://as.example/token", "params": "xml"}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "`params`: \"xml\" is none of form, json, query");
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) with line and column where the document is no JSON, else with the
    /// member's name.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::from_description(&parse(text)?)
    }

    fn from_description(given: &Object) -> Result<Self, Error> {
        let mut members = Object::new();
        if let Some(dialect) = given.get("dialect") {
            let name = string("dialect", dialect)?;
            let known = parse(DIALECTS)?;
            let Some(Value::Object(preset)) = known.get(name) else {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                return Err(one_of("dialect", name, &names));
            };
            members.extend(preset.iter().map(|(name, value)| (name.clone(), value.clone())));
            // GET is chosen over the dialect's POST, so the parameters go where GET has them.
            if matches!(given.get("method"), Some(Value::String(method)) if method == "GET") {
                members.remove("params");
            }
        }
        members.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        let is_session = matches!(members.get("grant"), Some(Value::String(grant)) if grant == "bearer_session");
        if is_session && !members.contains_key("method") {
            members.insert("method".to_owned(), Value::String("GET".to_owned()));
        }

        let mut endpoint = Self::new(url(&members)?)?;
        if let Some(method) = members.get("method") {
            endpoint = endpoint.method(choice("method", method, METHODS)?);
        }
        for (name, value) in &members {
            endpoint = endpoint.described(name, value)?;
        }
        endpoint.check_method()?;
        Ok(endpoint)
    }

    /// Takes one member of a description over.
    fn described(mut self, name: &str, value: &Value) -> Result<Self, Error> {
        match name {
            // Read beforehand: the others build on them.
            "dialect" | "url" | "environments" | "environment" | "path" | "method" => {}
            "grant" => self.set_grant_type(string(name, value)?),
            "params" => {
                const CHOICES: &[(&str, Parameters)] =
                    &[("form", Parameters::Form), ("json", Parameters::Json), ("query", Parameters::Query)];
                self = self.parameters(choice(name, value, CHOICES)?);
            }
            "auth" => {
                const CHOICES: &[(&str, ClientAuthentication)] = &[
                    ("client_secret_basic", ClientAuthentication::ClientSecretBasic),
                    ("client_secret_post", ClientAuthentication::ClientSecretPost),
                    ("tls_client_auth", ClientAuthentication::TlsClientAuth),
                    ("none", ClientAuthentication::None),
                ];
                self = self.authentication(choice(name, value, CHOICES)?);
            }
            "basic_raw" => self = self.basic_raw(flag(name, value)?),
            "omit_grant_type" => self = self.omit_grant_type(flag(name, value)?),
            "scope_required" => self = self.scope_required(flag(name, value)?),
            "allow_http" => self = self.allow_http(flag(name, value)?),
            "revoke" => self = self.revocation(choice(name, value, &[("delete", Revocation::Delete)])?),
            "param" => {
                for (parameter, text, is_list) in pairs(name, value)? {
                    match is_list {
                        true => self.list_parameter(parameter, text),
                        false => self = self.parameter(parameter, text),
                    }
                }
            }
            "header" => {
                for (header, text, _) in pairs(name, value)? {
                    self = self.header(header, text);
                }
            }
            "keep" => {
                let Value::Array(paths) = value else { return Err(wrong(name, "an array of paths")) };
                for path in paths {
                    self = self.keep_member(string(name, path)?)?;
                }
            }
            "refused_if" => {
                let Value::Object(places) = value else {
                    return Err(wrong(name, "an object of places with their values"));
                };
                for (place, value) in places {
                    let values =
                        if let Value::Array(values) = value { &values[..] } else { core::slice::from_ref(value) };
                    for value in values {
                        self = self.refused_if(place, &miniserde::json::to_string(value))?;
                    }
                }
            }
            "api" => self = self.api_header(string(name, value)?)?,
            "field" => self = self.members(members(value)?),
            "lifetime" => self = self.lifetime(lifetime(value)?),
            _ => return Err(unknown(name)),
        }
        Ok(self)
    }
}

/// Reads a JSON object. miniserde says no more than that it failed, so our own reader finds the place first.
fn parse(text: &str) -> Result<Object, Error> {
    let fail = |reason: &str, offset: usize| {
        let (line, column) = words::position(text, offset);
        Error::config(format!("description: {reason}, at line {line}, column {column}"))
    };
    let found = json::scan(text.as_bytes(), &mut []).map_err(|fault| fail(fault.reason, fault.offset))?;
    if let Some(offset) = found.trailing_comma {
        return Err(fail("trailing comma", offset));
    }
    if let Some((name, offset)) = words::duplicate(text) {
        return Err(fail(&format!("duplicate member {name:?}"), offset));
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    match miniserde::json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Error::config("description: half of a surrogate pair, or a number that is too large")),
    }
}

/// The URL: given whole, or picked from the named environments.
fn url(members: &Object) -> Result<String, Error> {
    let text = |name: &str| members.get(name).map(|value| string(name, value)).transpose();
    let path = text("path")?.unwrap_or_default();
    if let Some(url) = text("url")? {
        return Ok(url.to_owned());
    }
    let environments = match members.get("environments") {
        Some(Value::Object(environments)) => environments,
        Some(_) => return Err(wrong("environments", "an object of names with their URLs")),
        None => {
            return Err(
                Error::config("there is no token endpoint").with_hint("say where it is: `url` (`Endpoint::new`)")
            );
        }
    };
    let names: Vec<&str> = environments.keys().map(String::as_str).collect();
    let Some(name) = text("environment")? else {
        return Err(Error::config(format!("`environment`: none is chosen of {}", names.join(", "))));
    };
    match environments.get(name) {
        Some(base) => Ok(format!("{}{path}", string(name, base)?.trim_end_matches('/'))),
        None => Err(one_of("environment", name, &names)),
    }
}

/// `"data.token"`, or an object with a path for each member.
fn members(value: &Value) -> Result<Members, Error> {
    let Value::Object(paths) = value else { return Members::new(string("field", value)?) };
    let mut members = match paths.get("access_token") {
        Some(path) => Members::new(string("field", path)?)?,
        None => Members::default(),
    };
    for (name, path) in paths {
        let path = string("field", path)?;
        members = match name.as_str() {
            "access_token" => members,
            "token_type" => members.token_type(path)?,
            "expires_in" => members.expires_in(path)?,
            "refresh_token" => members.refresh_token(path)?,
            "scope" => members.scope(path)?,
            "expires_at" => members.expires_at(path)?,
            "error" => members.error(path)?,
            "error_description" => members.error_description(path)?,
            _ => {
                let names = [
                    "access_token",
                    "token_type",
                    "expires_in",
                    "expires_at",
                    "refresh_token",
                    "scope",
                    "error",
                    "error_description",
                ];
                return Err(one_of("field", name, &names));
            }
        };
    }
    Ok(members)
}

/// A number of seconds for tokens whose answer does not say (or says 0), or an object with each rule.
fn lifetime(value: &Value) -> Result<LifetimeRules, Error> {
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
            _ => return Err(one_of("lifetime", name, &["absent", "zero", "unit", "maximum", "jwt", "trust_clock"])),
        }
    }
    Ok(rules)
}

fn string<'v>(name: &str, value: &'v Value) -> Result<&'v str, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong(name, "a string")),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(wrong(name, "true or false")),
    }
}

fn seconds(name: &str, value: &Value) -> Result<Duration, Error> {
    match words::described_duration(value) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong(name, &format!("longer than 0: {}", words::DURATION))),
    }
}

fn unknown(name: &str) -> Error {
    match words::nearest(name, MEMBERS.iter().copied()) {
        Some(known) => Error::config(format!("unknown member {name:?}; did you mean {known:?}?")),
        None => {
            Error::config(format!("unknown member {name:?}")).with_hint(format!("known are {}", MEMBERS.join(", ")))
        }
    }
}

/// An object of strings; an array of strings gives its name several times, marked as an array's.
fn pairs<'v>(name: &str, value: &'v Value) -> Result<Vec<(&'v str, &'v str, bool)>, Error> {
    let fail = || wrong(name, "an object of names with their text, or an array of texts");
    let Value::Object(object) = value else { return Err(fail()) };
    let mut pairs = Vec::new();
    for (key, value) in object {
        match value {
            Value::String(text) => pairs.push((key.as_str(), text.as_str(), false)),
            Value::Array(texts) => {
                for text in texts {
                    let Value::String(text) = text else { return Err(fail()) };
                    pairs.push((key.as_str(), text.as_str(), true));
                }
            }
            _ => return Err(fail()),
        }
    }
    Ok(pairs)
}

fn choice<T: Copy>(name: &str, value: &Value, choices: &[(&str, T)]) -> Result<T, Error> {
    let text = string(name, value)?;
    match choices.iter().find(|(choice, _)| *choice == text) {
        Some((_, found)) => Ok(*found),
        None => Err(one_of(name, text, &choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>())),
    }
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::config(format!("`{name}`: this must be {expected}"))
}

fn one_of(name: &str, given: &str, choices: &[&str]) -> Error {
    Error::config(format!("`{name}`: {given:?} is none of {}", choices.join(", ")))
}
