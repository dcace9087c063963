//! ureq middleware for the user's own agent: sends the token, and renews it if a server refuses it.

use crate::error::Error;
use crate::token::{AccessToken, TokenSource};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use std::io::Read;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, ResponseExt, SendBody};

/// Sends the token with each request of an agent, in the header that the API wants ([`AccessToken::header`]): usually
/// `Authorization: Bearer …` (RFC 6750 section 2.1). On status 401, with or without a challenge, it renews the token and sends
/// the request once more.
///
/// ```no_run
/// use keyfob::{Authorize, Client, Endpoint, Grant, SharedTokenCache};
/// use std::sync::Arc;
///
/// let client = Client::new(Endpoint::new("https://as.example/token")?).client_id("id");
/// let tokens = Arc::new(SharedTokenCache::new(client, Grant::client_credentials()));
/// // The settings are needed twice: a middleware cannot send twice through its own agent.
/// let settings = || ureq::Agent::config_builder().user_agent("meter/1.4");
/// let authorize = Authorize::new(tokens, settings().build().new_agent());
/// let api = settings().middleware(authorize).build().new_agent();
/// let answer = api.get("https://api.example/v1/me").call()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Which requests are sent
///
/// - Use the agent for one API only: every host that it is used for receives the token.
/// - A request that has its own `Authorization` header, or its own header of the name that the API wants, is not changed.
/// - A request is repeated only to its own URL, and only if its body is at most 1 MiB. A larger body is sent once, in chunks.
/// - For an API that answers a POST with a redirect, use an agent with `http_status_as_error(false)`. Otherwise ureq does not
///   report that a 401 came after the redirect, and the POST, which was accepted already, is sent again.
///
/// The agent is one of ureq 3. Its types are in these signatures, so a program must depend on the same major version.
pub struct Authorize {
    tokens: Box<dyn TokenSource + Send + Sync>,
    again: Agent,
}

/// A larger body is not kept in memory, so it cannot be sent again. In bytes.
const MAX_BODY: usize = 1024 * 1024;

impl Authorize {
    /// Creates the middleware. `tokens` is the token source, usually an `Arc` of a
    /// [`SharedTokenCache`](crate::SharedTokenCache). `again` sends a request for the second time: an agent with the same settings
    /// as the one that gets this middleware, but without it.
    ///
    /// After a 401 the token source decides whether the request is repeated
    /// ([`TokenSource::invalidate`]). A closure or an [`AccessToken`] has no other token, so it is not.
    #[must_use]
    pub fn new(tokens: impl TokenSource + Send + Sync + 'static, again: Agent) -> Self {
        Self { tokens: Box::new(tokens), again }
    }

    fn token(&self) -> Result<(AccessToken, HeaderName, HeaderValue), ureq::Error> {
        let other = |error: Error| ureq::Error::Other(error.into());
        let token = self.tokens.token().map_err(other)?;
        let (name, value) = token.header().map_err(other)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| ureq::Error::Http(error.into()))?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|error| ureq::Error::Http(error.into()))?;
        // Keeps the token out of Debug output.
        value.set_sensitive(true);
        Ok((token, name, value))
    }
}

impl Middleware for Authorize {
    fn handle(&self, request: Request<SendBody>, next: MiddlewareNext) -> Result<Response<Body>, ureq::Error> {
        if request.headers().contains_key(AUTHORIZATION) {
            return next.handle(request);
        }
        let (mut parts, body) = request.into_parts();
        let mut rest = body.into_reader();
        let mut bytes = Vec::new();
        rest.by_ref().take(MAX_BODY as u64 + 1).read_to_end(&mut bytes)?;
        // After reading the body, which may take longer than a token lives.
        let (token, name, header) = self.token()?;
        let is_own = parts.headers.contains_key(&name);
        if !is_own {
            parts.headers.insert(name, header);
        }
        if bytes.len() > MAX_BODY {
            let mut whole = bytes.as_slice().chain(rest);
            return next.handle(Request::from_parts(parts, SendBody::from_reader(&mut whole)));
        }
        let may_have_none = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
        let has_body = !(bytes.is_empty() && may_have_none);
        if has_body && !parts.headers.contains_key(TRANSFER_ENCODING) {
            parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
        }
        let mut reader = &bytes[..];
        let first = parts.clone();
        let answer = match has_body {
            true => next.handle(Request::from_parts(first, SendBody::from_reader(&mut reader))),
            false => next.handle(Request::from_parts(first, SendBody::none())),
        };

        let is_refused = match &answer {
            // After a redirect the 401 does not answer this request, and ureq did not send the token along.
            Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED && answer.get_uri() == &parts.uri,
            // Here ureq does not report a redirect before the 401: see the documentation.
            Err(error) => matches!(error, ureq::Error::StatusCode(401)),
        };
        if is_own || !is_refused || !self.tokens.invalidate(&token) {
            return answer;
        }
        // Without a new token the server's answer is the better error.
        let Ok((_, name, header)) = self.token() else { return answer };
        parts.headers.insert(name, header);
        match has_body {
            true => self.again.run(Request::from_parts(parts, &bytes[..])),
            false => self.again.run(Request::from_parts(parts, ())),
        }
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize").finish_non_exhaustive()
    }
}
