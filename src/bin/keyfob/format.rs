//! How a token is printed.

use crate::output::to_json;
use crate::words;
use keyfob::{AccessToken, Error, ErrorKind};
use miniserde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Token,
    Header,
    Curl,
    Json,
}

/// The formats by name.
const FORMATS: &[(&str, Format)] =
    &[("token", Format::Token), ("header", Format::Header), ("curl", Format::Curl), ("json", Format::Json)];

#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: Option<&'a str>,
    expires_in: Option<u64>,
    scope: Option<&'a str>,
    cache: &'a str,
}

impl Format {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Returns the error for an unknown format. It does not repeat the name, which may be a secret.
    pub(crate) fn unknown(name: &str) -> Error {
        let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
        let message = match words::nearest(name, names.iter().copied()) {
            Some(nearest) => format!("`format`: unknown; did you mean {nearest:?}?"),
            None => format!("`format`: must be one of {}", names.join(", ")),
        };
        Error::new(ErrorKind::Config, message)
    }

    /// Returns the token as one line without its end. `remaining` is the rest of its life, `cache` its origin.
    pub(crate) fn render(self, token: &AccessToken, remaining: Option<Duration>, cache: &str) -> Result<String, Error> {
        Ok(match self {
            Self::Token => token.expose().to_owned(),
            Self::Header => {
                let (name, value) = token.header()?;
                format!("{name}: {}", value.expose())
            }
            // In curl's configuration file a backslash escapes a backslash and a quote.
            Self::Curl => {
                let (name, value) = token.header()?;
                let value = value.expose().replace('\\', "\\\\").replace('"', "\\\"");
                format!("header = \"{name}: {value}\"")
            }
            Self::Json => {
                let answer = to_json(&TokenAnswer {
                    access_token: token.expose(),
                    token_type: token.token_type(),
                    expires_in: remaining.map(|remaining| remaining.as_secs()),
                    scope: token.scope(),
                    cache,
                });
                let members: BTreeMap<&str, &str> =
                    token.members().map(|(name, value)| (name, value.expose())).collect();
                match answer.strip_suffix('}') {
                    Some(answer) if !members.is_empty() => {
                        format!("{answer},\"members\":{}}}", to_json(&members))
                    }
                    _ => answer,
                }
            }
        })
    }
}

/// Returns the origin of a token, as named in the JSON answer.
pub(crate) fn origin(token: &AccessToken, has_store: bool) -> &'static str {
    match token.is_stored() {
        true => "hit",
        false if has_store => "miss",
        false => "none",
    }
}
