//! The header in which an API wants the token.

use crate::error::Error;
use crate::place;
use crate::secret::{Exposed, Secret};
use crate::template::{Template, Values};
use alloc::format;
use alloc::string::String;

/// A header and its value, which holds the token: `X-Auth-Token: {token}`.
pub(crate) struct ApiHeader {
    pub(crate) name: String,
    pub(crate) value: Template,
}

/// The variable of the issued token.
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
        let mut has_token = false;
        header.value.names(&mut |name| has_token |= name == TOKEN);
        if has_token { Ok(header) } else { Err(fail()) }
    }

    /// Makes the header's value for a token. `values` are those of the other variables.
    pub(crate) fn value<'v>(&self, token: &'v str, mut values: Values<'v>) -> Result<Secret, Error> {
        values.add_secret(TOKEN, Exposed::borrowed(token));
        let mut unknown = None;
        self.value.names(&mut |name| unknown = unknown.or(Some(name).filter(|name| values.get(name).is_none())));
        match unknown {
            Some(name) => Err(Error::config(format!("`api`: the variable {name:?} has no value"))
                .with_hint("set it: `Endpoint::variable` or `Endpoint::secret_variable`")),
            None => Ok(self.value.render(&values)),
        }
    }
}
