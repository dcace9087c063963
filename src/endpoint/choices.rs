//! The choices that describe an endpoint.

use alloc::string::String;

/// The HTTP method of token requests. Default: `POST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `GET`, which has the parameters in the query: for bearer sessions, and for services that document it.
    Get,
    /// `POST`, which RFC 6749 section 3.2 asks for.
    Post,
    /// `PUT`, for services that document it: as `POST` otherwise.
    Put,
}

impl Method {
    /// Returns the method's name: `GET`, `POST` or `PUT`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Where a request's parameters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parameters {
    /// `application/x-www-form-urlencoded` in the body (RFC 6749 appendix B).
    Form,
    /// A JSON object in the body.
    Json,
    /// The URL's query, and the only place with `GET`. Servers and proxies write URLs into their logs: prefer a body.
    Query,
}

/// How a token is ended at the server.
///
/// ```
/// use keyfob::{Endpoint, Revocation};
///
/// let endpoint = Endpoint::new("https://as.example/token")?
///     .revocation(Revocation::Endpoint("https://as.example/revoke".into()));
/// assert!(endpoint.can_revoke());
/// # Ok::<(), keyfob::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// `DELETE` on the token endpoint with the issued token as bearer, as the dialect `bearer-session` has it.
    Delete,
    /// A revocation endpoint (RFC 7009) at this URL. The refresh token is revoked first, if there is one, and then the
    /// access token.
    Endpoint(String),
}
