//! `keyfob introspect`: what the server says about a token (RFC 7662).

use crate::arguments::Arguments;
use crate::format::Format;
use crate::members::config;
use crate::output;
use crate::settings::{self, Settings};
use crate::while_saying;
use keyfob::{Error, Introspection, Secret};
use miniserde::json::{self, Number, Object, Value};
use std::process::ExitCode;
use std::time::Duration;

/// Prints the answer as JSON. The code is 0 for an active token and 3 for any other.
pub(crate) fn run(arguments: &Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    let mut settings = Settings::read(arguments, format)?;
    let named = settings.access_token()?;
    let (grant, store) = (settings.grant(), settings.store()?);
    let client = settings.client()?;
    let host = client.endpoint().authority().to_owned();
    let said = match named {
        Some(token) => while_saying(&host, || client.introspect(token.expose()))?,
        None => {
            let mut tokens = settings::tokens(client, grant?, store);
            let token = tokens.at_hand(Duration::ZERO)?.ok_or_else(|| {
                config("introspect: no token is cached")
                    .with_hint("fetch one (keyfob token), or name the file of another (--access-token-file)")
            })?;
            while_saying(&host, || tokens.client().introspect(token.expose()))?
        }
    };
    output::line(&output::to_json(&object(&said)))?;
    Ok(ExitCode::from(if said.is_active() { 0 } else { 3 }))
}

/// The members whose values are no strings (RFC 7662 section 2.2, RFC 7800 section 3.1).
const JSON: [&str; 5] = ["exp", "iat", "nbf", "aud", "cnf"];

fn object(said: &Introspection) -> Value {
    let mut object = Object::new();
    object.insert("active".to_owned(), Value::Bool(said.is_active()));
    let remaining = said.remaining().map_or(Value::Null, |left| Value::Number(Number::U64(left.as_secs())));
    object.insert("expires_in".to_owned(), remaining);
    for (name, value) in said.members().filter(|(name, _)| !name.starts_with("cnf.")) {
        object.insert(name.to_owned(), as_json(name, value));
    }
    Value::Object(object)
}

fn as_json(name: &str, value: &Secret) -> Value {
    let parsed = JSON.contains(&name).then(|| json::from_str(value.expose()).ok()).flatten();
    parsed.unwrap_or_else(|| Value::String(value.expose().to_owned()))
}
