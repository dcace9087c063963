//! The variables that a request's templates name, and their values.

use super::header::is_authorization;
use crate::client_auth::{ClientCredentials, InTemplate};
use crate::computed;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::field::{Field, FieldValue};
use crate::grant::Grant;
use crate::secret::{Exposed, Secret};
use crate::template::{self, Values};
use crate::url::UrlTemplate;
use crate::words;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The values that depend on the grant. A refresh token grant lacks those of the original grant.
const GRANT_VALUES: [&str; 3] = ["username", "password", "session_token"];

/// Returns whether a template of the field names a value that only another grant has.
pub(super) fn lacks_grant_value(field: &Field, values: &Values<'_>) -> bool {
    let mut lacks = false;
    field.templates(&mut |template| {
        template.names(&mut |name| lacks |= GRANT_VALUES.contains(&name) && values.get(name).is_none());
    });
    lacks
}

/// The variables that an endpoint's templates name, each with the template's place in the request.
pub(super) struct Named<'e>(pub(super) Vec<(&'e str, Place<'e>)>);

#[derive(Clone, Copy)]
pub(super) enum Place<'e> {
    Url,
    Query,
    Parameter(&'e str),
    Header(&'e str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url | Self::Query => f.write_str("url"),
            Self::Parameter(name) => write!(f, "parameter `{name}`"),
            Self::Header(name) => write!(f, "header {name}"),
        }
    }
}

impl<'e> Named<'e> {
    pub(super) fn by(template: Option<&'e UrlTemplate>, endpoint: &'e Endpoint, has_parameters: bool) -> Self {
        let mut named = Vec::new();
        if let Some(template) = template {
            template.names(&mut |name, is_query| {
                named.push((name, if is_query { Place::Query } else { Place::Url }));
            });
        }
        let mut add = |fields: &'e [Field], place: fn(&'e str) -> Place<'e>| {
            for field in fields {
                field.templates(&mut |template| template.names(&mut |name| named.push((name, place(&field.name)))));
            }
        };
        add(&endpoint.headers, Place::Header);
        if has_parameters {
            add(&endpoint.extra, Place::Parameter);
        }
        Self(named)
    }

    pub(super) fn has(&self, wanted: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == wanted)
    }

    /// Returns which of the client's credentials the templates send.
    pub(super) fn client(&self) -> InTemplate {
        InTemplate {
            client_id: self.has("client_id"),
            client_secret: self.has("client_secret"),
            authorization: self
                .0
                .iter()
                .any(|(_, place)| matches!(place, Place::Header(name) if is_authorization(name))),
        }
    }

    /// Reads the values of the named variables, each once.
    pub(super) fn values<'v>(
        &self,
        wall_time: &dyn Fn() -> Duration,
        variables: &'v [Field],
        credentials: &'v ClientCredentials,
        grant: &'v Grant,
    ) -> Result<Values<'v>, Error>
    where
        'e: 'v,
    {
        let mut values = Values::default();
        for &(name, place) in &self.0 {
            if values.get(name).is_none() {
                let (secret, own) = match name {
                    "client_id" => (credentials.id_source.as_ref(), credentials.client_id.as_deref()),
                    "client_secret" => (credentials.client_secret.as_ref(), None),
                    "session_token" => (grant.bearer.as_ref(), None),
                    "token" => (grant.token.as_ref(), None),
                    _ => (None, None),
                };
                let fields = grant.fields.iter().chain(variables.iter().rev());
                let field = fields.into_iter().find(|field| field.name == name);
                match (secret, own, field) {
                    (Some(source), ..) if name == "client_id" && matches!(place, Place::Url) => {
                        values.add_read(name, source.expose_line("client id")?);
                    }
                    (Some(source), ..) => values.add_secret(name, source.expose_line(&name.replace('_', " "))?),
                    (_, Some(text), _) => values.add_plain(name, text),
                    (.., Some(field)) => match &field.value {
                        FieldValue::Plain(text) => values.add_plain(name, text),
                        // The URL's names come first. A variable that the URL does not name may be a secret.
                        FieldValue::Read(source) if matches!(place, Place::Url) => {
                            values.add_read(name, source.expose()?);
                        }
                        _ => values.add_secret(name, field.expose(&Values::default())?),
                    },
                    _ if grant.is_refresh() && GRANT_VALUES.contains(&name) => {
                        if matches!(place, Place::Url | Place::Query) {
                            return Err(no_value(name, place, variables));
                        }
                    }
                    _ if computed::is_computed(name) => {
                        let value = computed::value(name, wall_time()).ok_or_else(|| not_computed(name, place))?;
                        values.add_read(name, Exposed::read(Secret::from(value)));
                    }
                    _ => return Err(no_value(name, place, variables)),
                }
            }
            if matches!(place, Place::Url) && values.is_secret(name) {
                return Err(Error::config(format!(
                    "url: {name:?} is secret, and host and path are written into logs and messages"
                ))
                .with_hint("send it in a header or in a parameter"));
            }
        }
        Ok(values)
    }
}

fn not_computed(name: &str, place: Place<'_>) -> Error {
    Error::config(format!("{place}: there is no value for {{{name}}} here")).with_hint(
        "the time needs a clock (`Clock::wall_time`) and a year of four digits, and a random number the feature `std`",
    )
}

/// Returns the error for a variable without a value.
fn no_value(name: &str, place: Place<'_>, variables: &[Field]) -> Error {
    const STANDARD: [(&str, &str); 7] = [
        ("client_id", "the client has no id: set it (`Client::client_id`)"),
        ("client_secret", "the client has no secret: set it (`Client::client_secret`)"),
        ("username", "the grant has no user name"),
        ("password", "the grant has no password"),
        ("session_token", "the grant has no session token"),
        ("refresh_token", "the grant has no refresh token"),
        ("token", "only the request that renews a token has one (`refresh`)"),
    ];
    if let Some((_, hint)) = STANDARD.iter().find(|(standard, _)| *standard == name) {
        return Error::config(format!("{place}: the variable {name:?} has no value")).with_hint(hint);
    }
    if name.starts_with("now") && !template::is_name(name) {
        return Error::config(format!("{place}: {{{name}}} is not a time"))
            .with_hint("it is written as {now:YYYY-MM-DDTHH:mm:ss}, {now+7d:YYYY-MM-DD} or {now:unix}");
    }
    let known = STANDARD.iter().map(|(standard, _)| *standard);
    let known = known.chain(variables.iter().map(|field| field.name.as_str()));
    match words::nearest(name, known) {
        Some(known) => Error::config(format!("{place}: unknown variable {name:?}; did you mean {known:?}?")),
        None if name.ends_with(':') => {
            Error::config(format!("{place}: the filter {name:?} has no closing brace, or is in more than two others"))
        }
        None => Error::config(format!("{place}: the variable {name:?} has no value"))
            .with_hint(format!("set it (`Endpoint::variable`), or write {{{{{name}}}}} for the text itself")),
    }
}
