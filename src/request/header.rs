//! The headers of a request, and the characters that they may contain.

use crate::error::Error;
use crate::field::{Field, FieldValue};
use crate::secret::Secret;
use crate::template::Values;
use alloc::borrow::Cow;
use alloc::format;

/// A header. The name is borrowed if keyfob has it itself.
pub(super) struct Header {
    pub(super) name: Cow<'static, str>,
    pub(super) value: Secret,
}

/// The headers that the transport sets.
const TRANSPORTS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"];

impl Header {
    pub(super) fn new(name: &'static str, value: &str) -> Self {
        Self { name: name.into(), value: Secret::from(value) }
    }

    /// Builds the `Authorization` header.
    pub(super) fn authorization(value: Secret) -> Result<Self, Error> {
        check(AUTHORIZATION, value.expose())?;
        Ok(Self { name: AUTHORIZATION.into(), value })
    }

    /// Builds a header that the user adds to those in `present`.
    pub(super) fn of_user(field: &Field, values: &Values<'_>, present: &[Self]) -> Result<Self, Error> {
        let name = &field.name;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::config(format!("header {name:?}: this is not a header name (RFC 9110 section 5.1)")));
        }
        if TRANSPORTS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            let error = Error::config(format!("header {name}: the HTTP client sets it itself"));
            return Err(match name.eq_ignore_ascii_case("host") {
                true => error.with_hint(
                    "to reach the host of the URL at another address, set the address (`HttpTransport::connect_to`)",
                ),
                false => error,
            });
        }
        if is_authorization(name) && present.iter().any(|header| is_authorization(&header.name)) {
            return Err(Error::config("header Authorization: the client authentication sets it already")
                .with_hint("authenticate by `none` or client_secret_post to set it yourself"));
        }
        let value = match &field.value {
            FieldValue::Secret(source) | FieldValue::Line(source) => source.expose_line("header")?,
            _ => field.expose(values)?,
        };
        check(name, &value)?;
        Ok(Self { name: name.clone().into(), value: value.into_secret() })
    }
}

const AUTHORIZATION: &str = "Authorization";

pub(super) fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case(AUTHORIZATION)
}

/// Refuses a value that is not visible ASCII with spaces inside, because it could end the line.
fn check(name: &str, value: &str) -> Result<(), Error> {
    let fits = value.bytes().all(|byte| matches!(byte, 0x20..=0x7E)) && value.trim() == value && !value.is_empty();
    if fits {
        return Ok(());
    }
    Err(Error::config(format!(
        "header {name}: its value is empty, or holds a character that cannot be sent in a header"
    ))
    .with_hint("only printable ASCII fits, without a space at either end"))
}
