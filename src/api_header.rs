//! The header in which an API expects the token.

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::field::FieldValue;
use crate::place;
use crate::secret::{Exposed, Secret};
use crate::template::{Template, Values};
use crate::words;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A header and its value, which holds the token: `X-Auth-Token: {token}`.
pub(crate) struct ApiHeader {
    pub(crate) name: String,
    pub(crate) value: Template,
}

/// The variable with the issued token.
const TOKEN: &str = "token";

impl ApiHeader {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fail =
            || Error::config("`api`: this must be a header with the token in it").with_hint("as X-Auth-Token: {token}");
        let (name, value) = text.split_once(':').ok_or_else(fail)?;
        let header = Self { name: name.trim().into(), value: Template::new(value.trim()) };
        if !place::is_name(&header.name) || !header.value.text().bytes().all(|byte| matches!(byte, 0x20..=0x7E)) {
            return Err(fail());
        }
        if header.names(TOKEN) { Ok(header) } else { Err(fail()) }
    }

    /// Refuses a variable that has no value in the header or cannot be read, before a token is requested.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let kept = endpoint.session_members.iter().map(|(name, _)| name);
        let kept: Vec<(String, Secret)> = kept.map(|name| (name.clone(), Secret::from("x"))).collect();
        match self.make(endpoint, "x", &kept) {
            Ok(_) => Ok(()),
            Err(Fault::Missing(name)) => {
                let plain = endpoint.variables.iter().map(|field| &field.name);
                let known = plain.chain(kept.iter().map(|(name, _)| name)).map(String::as_str);
                match words::nearest(name, known.chain([TOKEN])) {
                    Some(known) => {
                        Err(Error::config(format!("`api`: unknown variable {name:?}; did you mean {known:?}?")))
                    }
                    None => Err(Error::config(format!("`api`: the variable {name:?} has no value"))
                        .with_hint("set it (`Endpoint::variable`), or keep the answer's member of this name (`keep`)")),
                }
            }
            Err(Fault::Unread(error)) => Err(error),
            Err(Fault::Unprintable) => Err(Error::config(format!("`api`: {UNPRINTABLE}"))),
        }
    }

    /// Returns the header's value for a token, with the kept members of its answer.
    pub(crate) fn value(&self, endpoint: &Endpoint, token: &str, kept: &[(String, Secret)]) -> Result<Secret, Error> {
        self.make(endpoint, token, kept).map_err(|fault| match fault {
            Fault::Missing(name) => {
                Error::new(ErrorKind::Unusable, format!("the answer has no member {name:?}, which `api` names"))
            }
            Fault::Unread(error) => error,
            Fault::Unprintable => Error::new(ErrorKind::Unusable, format!("`api`: {UNPRINTABLE}")),
        })
    }

    /// Returns whether the header has a secret besides the token.
    pub(crate) fn has_secret(&self, endpoint: &Endpoint) -> bool {
        endpoint.variables.iter().any(|field| field.secret_source().is_some() && self.names(&field.name))
    }

    fn names(&self, wanted: &str) -> bool {
        let mut is_named = false;
        self.value.names(&mut |name| is_named |= name == wanted);
        is_named
    }

    fn make(&self, endpoint: &Endpoint, token: &str, kept: &[(String, Secret)]) -> Result<Secret, Fault<'_>> {
        let mut values = Values::default();
        values.add_secret(TOKEN, Exposed::borrowed(token));
        for field in endpoint.variables.iter().rev() {
            match &field.value {
                FieldValue::Plain(text) => values.add_plain(&field.name, text),
                _ if self.names(&field.name) => {
                    values.add_secret(&field.name, field.expose(&Values::default()).map_err(Fault::Unread)?);
                }
                _ => {}
            }
        }
        for (name, value) in kept {
            values.add_secret(name, Exposed::borrowed(value.expose()));
        }
        let mut missing = None;
        self.value.names(&mut |name| missing = missing.or(Some(name).filter(|name| values.get(name).is_none())));
        if let Some(name) = missing {
            return Err(Fault::Missing(name));
        }
        let value = self.value.render(&values);
        // Another character could end the header and start a new one.
        let is_printable = value.expose().bytes().all(|byte| matches!(byte, 0x20..=0x7E));
        if is_printable { Ok(value) } else { Err(Fault::Unprintable) }
    }
}

/// The reason why there is no value.
enum Fault<'n> {
    /// The variable of this name has no value.
    Missing(&'n str),
    Unread(Error),
    Unprintable,
}

const UNPRINTABLE: &str = "a value in it has a character other than printable ASCII, which no header can have";
