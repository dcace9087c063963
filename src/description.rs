//! Endpoints described by a JSON document, and the descriptions of the dialects.

mod values;

use self::values::{choice, flag, json_value, lifetime, members, one_of, pairs, string, unknown, wrong};
use crate::client_auth::ClientAuthentication;
use crate::endpoint::{Endpoint, Method, Parameters, Refresh, Revocation};
use crate::error::Error;
use crate::grant::Grant;
use crate::json;
use crate::template;
use crate::words;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;
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
    "revocation_url",
    "introspection_url",
    "issuer",
    "resource",
    "var",
    "refresh",
    "refused_if",
    "api",
];

/// The members of `refresh`: a request of its own.
const REFRESH_MEMBERS: &[&str] =
    &["with", "url", "method", "params", "auth", "basic_raw", "omit_grant_type", "param", "header"];

/// The methods of token requests.
const METHODS: &[(&str, Method)] = &[("POST", Method::Post), ("PUT", Method::Put), ("GET", Method::Get)];

/// The descriptions of the dialects, under their names: what their services document, and no more.
const DIALECTS: &str = include_str!("dialects.json");

/// A way of asking for tokens that differs from RFC 6749, with a name: a preset for an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `json-credentials`: the parameters in a JSON body, client id and secret among them.
    JsonCredentials,
    /// `bearer-session`: a long-lived token in the `Authorization` header is exchanged for that of a session with GET, and
    /// the session is ended with DELETE.
    BearerSession,
    /// `form-credentials`: client id and secret in the form, with a scope that must be given.
    FormCredentials,
    /// `user-credentials`: user name and password in the query, without a `grant_type`.
    UserCredentials,
}

impl Dialect {
    const ALL: [Self; 4] = [Self::BearerSession, Self::FormCredentials, Self::JsonCredentials, Self::UserCredentials];

    /// Returns the dialect's name, as a description has it: `json-credentials` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonCredentials => "json-credentials",
            Self::BearerSession => "bearer-session",
            Self::FormCredentials => "form-credentials",
            Self::UserCredentials => "user-credentials",
        }
    }
}

impl FromStr for Dialect {
    type Err = Error;

    /// Reads the name of a dialect.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for an unknown name.
    fn from_str(name: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|dialect| dialect.as_str() == name);
        known.ok_or_else(|| one_of("dialect", name, &Self::ALL.map(Self::as_str)))
    }
}

impl Endpoint {
    /// Creates an endpoint in a dialect. `url` may name [variables](Endpoint#templates).
    ///
    /// # Errors
    ///
    /// As [`Endpoint::new`].
    pub fn dialect(dialect: Dialect, url: &str) -> Result<Self, Error> {
        let mut description = Object::new();
        description.insert("dialect".to_owned(), Value::String(dialect.as_str().to_owned()));
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
            let dialect: Dialect = string("dialect", dialect)?.parse()?;
            if let Some(Value::Object(preset)) = parse(DIALECTS)?.get(dialect.as_str()) {
                members.extend(preset.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
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

        let mut endpoint = Self::of_members(&members)?;
        if let Some(refresh) = members.get("refresh") {
            endpoint.refresh = refresh_rule(refresh, &members)?;
        }
        Ok(endpoint)
    }

    fn of_members(members: &Object) -> Result<Self, Error> {
        let mut endpoint = Self::new(url(members)?)?;
        if let Some(method) = members.get("method") {
            endpoint = endpoint.method(choice("method", method, METHODS)?);
        }
        for (name, value) in members {
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
            // Read afterwards: it builds on the others.
            "refresh" => {}
            "grant" => self.set_grant_type(match string(name, value)? {
                "jwt_bearer" => Grant::JWT_BEARER,
                grant_type => grant_type,
            }),
            "params" => {
                const CHOICES: &[(&str, Parameters)] =
                    &[("form", Parameters::Form), ("json", Parameters::Json), ("query", Parameters::Query)];
                self = self.parameters(choice(name, value, CHOICES)?);
            }
            "auth" => {
                let choices = ClientAuthentication::ALL.map(|known| (known.as_str(), known));
                self = self.authentication(choice(name, value, &choices)?);
            }
            "basic_raw" => self = self.basic_raw(flag(name, value)?),
            "omit_grant_type" => self = self.omit_grant_type(flag(name, value)?),
            "scope_required" => self = self.scope_required(flag(name, value)?),
            "allow_http" => self = self.allow_http(flag(name, value)?),
            "revoke" => self = self.revocation(choice(name, value, &[("delete", Revocation::Delete)])?),
            "param" => {
                let Value::Object(object) = value else {
                    return Err(wrong(name, "an object of names with their values"));
                };
                for (parameter, value) in object {
                    self = match value {
                        Value::String(text) => self.parameter(parameter, text),
                        value => self.json_parameter(parameter, json_value(value)),
                    };
                }
            }
            "header" => {
                for (header, text) in pairs(name, value)? {
                    self = self.header(header, text);
                }
            }
            "var" => {
                let Value::Object(object) = value else {
                    return Err(wrong(name, "an object of names with their texts"));
                };
                for (variable, value) in object {
                    let path = format!("var.{variable}");
                    if !template::is_name(variable) {
                        return Err(wrong(
                            &path,
                            "a name of letters, digits, `_`, `-` and `.` that begins with a letter",
                        ));
                    }
                    self = self.variable(variable, string(&path, value)?);
                }
            }
            "revocation_url" | "introspection_url" => {
                let url = string(name, value)?;
                Self::new(url).map_err(|error| error.in_member(name))?;
                self = match name {
                    "revocation_url" => self.revocation(Revocation::Endpoint(url.to_owned())),
                    _ => self.introspection(url),
                };
            }
            "resource" => {
                let resources =
                    if let Value::Array(resources) = value { &resources[..] } else { core::slice::from_ref(value) };
                for resource in resources {
                    self = self.resource(string(name, resource)?)?;
                }
            }
            "issuer" => self = self.issuer(string(name, value)?)?,
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
            _ => return Err(unknown("", name, MEMBERS)),
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
        Some(base) => {
            let base = string(&format!("environments.{name}"), base)?;
            Ok(format!("{}{path}", base.trim_end_matches('/')))
        }
        None => Err(one_of("environment", name, &names)),
    }
}

/// Reads `refresh`: `false`, or a request of its own, which is like that of the description but for what it says itself
/// and for the parameters.
fn refresh_rule(value: &Value, description: &Object) -> Result<Refresh, Error> {
    let given = match value {
        Value::Bool(false) => return Ok(Refresh::Never),
        Value::Bool(true) => return Ok(Refresh::Standard),
        Value::Object(given) => given,
        _ => return Err(wrong("refresh", "false, or an object")),
    };
    if let Some(name) = given.keys().find(|name| !REFRESH_MEMBERS.contains(&name.as_str())) {
        return Err(unknown("refresh", name, REFRESH_MEMBERS));
    }
    let with_token = match given.get("with") {
        Some(with) => choice("refresh.with", with, &[("refresh_token", false), ("token", true)])?,
        None => false,
    };
    let inherited = ["url", "environments", "environment", "path", "allow_http", "header"];
    let is_inherited = |name: &str| inherited.contains(&name) || REFRESH_MEMBERS.contains(&name) && name != "param";
    let mut members: Object = description.iter().filter(|(name, _)| is_inherited(name)).map(cloned).collect();
    if given.contains_key("method") {
        members.remove("params");
    }
    for (name, value) in given.iter().filter(|(name, _)| *name != "with") {
        match (members.get_mut(name), value) {
            (Some(Value::Object(present)), Value::Object(own)) if name == "header" => {
                let known: Vec<String> = present.keys().cloned().collect();
                for header in known.iter().filter(|known| own.keys().any(|own| own.eq_ignore_ascii_case(known))) {
                    present.remove(header);
                }
                present.extend(own.iter().map(cloned));
            }
            _ => _ = members.insert(name.clone(), value.clone()),
        }
    }
    let endpoint = Endpoint::of_members(&members).map_err(|error| error.in_member("refresh"))?;
    if with_token && !endpoint.names_variable("token") {
        return Err(Error::config("`refresh`: this is with the token, and no template in it names {token}"));
    }
    let authenticates = !matches!(given.get("auth"), Some(Value::String(auth)) if auth == "none");
    Ok(Refresh::Block { endpoint: Box::new(endpoint), with_token, authenticates })
}

fn cloned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}
