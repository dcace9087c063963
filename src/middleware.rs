//! ureq middleware for the user's own agent: sends the token, and renews it when a server refuses it.

use crate::error::Error;
use crate::token::{AccessToken, TokenSource};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use std::io::Read;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING};
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, ResponseExt, SendBody};

/// Sends `Authorization: Bearer …` with each request of an agent. On status 401, with or without a challenge, it has the
/// token renewed and sends the request once more.
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
/// A request is sent again to the URL that it was for and no other, and only if its body is at most 1 MiB; a larger one is
/// sent once, in chunks. For an API that answers a POST with a redirect, use an agent with `http_status_as_error(false)`:
/// else ureq does not tell that a 401 came after the redirect, when the request was taken already, and it is sent again. A
/// request with an `Authorization` header of its own is left alone. Use such an agent for one API only: the token goes to
/// every host that it is used for.
///
/// The agent is one of ureq 3, whose types are in these signatures: a program must depend on the same major version.
pub struct Authorize {
    tokens: Box<dyn TokenSource + Send + Sync>,
    again: Agent,
}

/// Larger bodies are not kept in memory to be sent again.
const MAX_BODY: usize = 1024 * 1024;

impl Authorize {
    /// Takes tokens from `tokens`, mostly an `Arc` of a [`SharedTokenCache`](crate::SharedTokenCache). Sends a request for
    /// the second time through `again`, an agent with the same settings as the one that this becomes a middleware of, but
    /// without this middleware.
    ///
    /// After a 401 the source decides whether there is a second time: a closure or an [`AccessToken`] has no other token.
    #[must_use]
    pub fn new(tokens: impl TokenSource + Send + Sync + 'static, again: Agent) -> Self {
        Self { tokens: Box::new(tokens), again }
    }

    fn token(&self) -> Result<(AccessToken, HeaderValue), ureq::Error> {
        let other = |error: Error| ureq::Error::Other(error.into());
        let token = self.tokens.token().map_err(other)?;
        let header = token.authorization().map_err(other)?.expose();
        let mut value = HeaderValue::from_str(header).map_err(|error| ureq::Error::Http(error.into()))?;
        // Keeps it out of Debug output.
        value.set_sensitive(true);
        Ok((token, value))
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
        // Not before the body is there: that may take longer than a token lives.
        let (token, header) = self.token()?;
        parts.headers.insert(AUTHORIZATION, header);
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
            // After a redirect the 401 is no answer to this request, and ureq took no token along.
            Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED && answer.get_uri() == &parts.uri,
            // Here ureq does not tell whether it was redirected before: see the documentation.
            Err(error) => matches!(error, ureq::Error::StatusCode(401)),
        };
        if !is_refused || !self.tokens.invalidate(&token) {
            return answer;
        }
        // Without a new token the server's own answer says more.
        let Ok((_, header)) = self.token() else { return answer };
        parts.headers.insert(AUTHORIZATION, header);
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
