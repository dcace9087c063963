//! Token exchange (RFC 8693): the type of the issued token.

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::field::FieldValue;
use crate::grant::Grant;
use crate::json::Kind;
use crate::place::Place;
use crate::secret::Secret;
use crate::transport::Response;
use alloc::format;

/// The member of the answer that names it (section 2.2.1).
pub(crate) const ISSUED_TOKEN_TYPE: &str = "issued_token_type";

/// Returns the type of the issued token, if the answer to a token exchange names it.
pub(crate) fn issued(grant: &Grant, response: &Response) -> Option<Secret> {
    let place = grant.is_exchange().then(|| Place::Path(ISSUED_TOKEN_TYPE.into()))?;
    let (kind, text) = place.text(&response.headers, &response.body)?;
    (kind == Kind::String).then_some(text)
}

/// Returns an error if another type was requested.
pub(crate) fn check(endpoint: &Endpoint, grant: &Grant, issued: &Secret, status: u16) -> Result<(), Error> {
    let mut fields = endpoint.extra.iter().chain(&grant.parameters);
    let requested = fields.find(|field| field.name == "requested_token_type");
    match requested.map(|field| &field.value) {
        Some(FieldValue::Plain(requested)) if requested != issued.expose() => {
            // As the server's words, so that an echoed secret is cut out of them.
            Err(Error::new(ErrorKind::Unusable, "the server issued a token of another type than the requested one")
                .with_said(None, Some(issued.expose()))
                .with_status(status)
                .with_hint(format!("{requested:?} was requested: change `requested_token_type`, or leave it out")))
        }
        _ => Ok(()),
    }
}
