//! The request to an authorization server, in buffers that are wiped.

mod build;
mod header;
mod parameter;
mod variables;

use crate::client_auth::{ClientCertificate, ClientCredentials};
use crate::endpoint::Endpoint;
use crate::error::{Echoes, Error};
use crate::fnv::Fnv;
use crate::grant::Grant;
use crate::secret::Secret;
use crate::text::REDACTED;
use alloc::vec::Vec;
use build::system_time;
use core::fmt;
use core::time::Duration;
use header::{Header, is_authorization};

/// A request to an authorization server, ready to be sent by a [`Transport`](crate::Transport).
///
/// URL, header values and body may hold secrets. They are wiped when the request is dropped. A transport that copies
/// them must wipe its copies.
pub struct Request {
    method: &'static str,
    url: Secret,
    /// The start of the path, and that of the query. The part before the query may be shown.
    authority_end: usize,
    query: usize,
    headers: Vec<Header>,
    body: Option<Secret>,
    /// The secrets in the request. Texts of the server that echo one of them are dropped.
    secrets: Vec<Secret>,
    repeatable: bool,
    once: u32,
    /// The fingerprint of URL and parameters, if they have an assertion, which differs each time.
    stable: Option<u32>,
    /// The wall time at which its assertions were signed.
    signed_at: Option<Duration>,
    is_by_short_secret: bool,
    /// A fingerprint without the computed parts, if there are any.
    computed: Option<u32>,
    to_loopback: bool,
    certificate: Option<ClientCertificate<Secret>>,
    timeout: Duration,
    waited: Duration,
}

/// The default time limit of an exchange.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The default `User-Agent` header.
pub(crate) const USER_AGENT: &str = concat!("keyfob/", env!("CARGO_PKG_VERSION"));

impl Request {
    /// Builds the request for a token, for `grant` and the client with `credentials`. Reads the secrets now.
    ///
    /// A refresh token is sent in the request that the endpoint's description defines for it, if there is one.
    ///
    /// Assertions are signed with the system's time. Without `std` that is the beginning of 1970: use
    /// [`token_at`](Request::token_at) instead.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): a secret that cannot be read or sent, a variable without a value, a
    /// parameter given twice, a scope that is missing, a grant other than the one that the endpoint's description names,
    /// a method that does not fit the parameters' place, plain http to a host that is not loopback.
    pub fn token(endpoint: &Endpoint, credentials: &ClientCredentials, grant: &Grant) -> Result<Self, Error> {
        Self::signed_at(&system_time, endpoint, credentials, grant)
    }

    /// Builds the same request as [`token`](Request::token), with assertions signed at `wall_time`, the time since
    /// 1970.
    ///
    /// # Errors
    ///
    /// As [`token`](Request::token).
    pub fn token_at(
        wall_time: Duration,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        grant: &Grant,
    ) -> Result<Self, Error> {
        Self::signed_at(&|| wall_time, endpoint, credentials, grant)
    }

    /// Builds the request that revokes an access token in the way that the endpoint's description defines. `token` is
    /// its text, from [`AccessToken::expose`].
    ///
    /// [`AccessToken::expose`]: crate::AccessToken::expose
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the description defines no way to revoke a token. Also those of
    /// [`token`](Request::token).
    pub fn revocation(endpoint: &Endpoint, credentials: &ClientCredentials, token: &str) -> Result<Self, Error> {
        Self::revocation_of(&system_time, "access_token", endpoint, credentials, token)
    }

    /// Builds the request to the [introspection endpoint](Endpoint::introspection) (RFC 7662 section 2.1) about `token`, an
    /// access token.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the endpoint has none. Also those of [`token`](Request::token).
    pub fn introspection(endpoint: &Endpoint, credentials: &ClientCredentials, token: &str) -> Result<Self, Error> {
        Self::introspection_of(&system_time, endpoint, credentials, token)
    }

    /// Returns the HTTP method: `POST`, `PUT` or `GET` for a token, `DELETE` to end a bearer session.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Returns the whole URL. Its query may hold secrets: keep it out of messages.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose()
    }

    /// Returns host and port of the URL, for messages.
    #[must_use]
    pub fn authority(&self) -> &str {
        let before = &self.url.expose()[..self.authority_end];
        before.split_once("://").map_or(before, |(_, authority)| authority)
    }

    /// Returns whether the request goes to this machine. Such a request may use plain http, and must not go through a
    /// proxy.
    #[must_use]
    pub fn is_to_loopback(&self) -> bool {
        self.to_loopback
    }

    /// Returns the headers as pairs of name and value. The transport adds `Host` and `Content-Length`.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|header| (&*header.name, header.value.expose()))
    }

    /// Returns the body. An empty one is sent as such, with a length of 0.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|body| body.expose().as_bytes())
    }

    /// Returns whether the request may be sent twice without harm.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Returns the client certificate as (chain, private key) in PEM. It is for this server only: see
    /// [`Client::client_certificate`](crate::Client::client_certificate). A transport that cannot present it must fail.
    #[must_use]
    pub fn client_certificate(&self) -> Option<(&Secret, &Secret)> {
        self.certificate.as_ref().map(|certificate| (&certificate.chain, &certificate.key))
    }

    /// Reads the client's certificate, if there is one.
    fn set_client_certificate(&mut self, credentials: &ClientCredentials) -> Result<(), Error> {
        self.certificate = credentials.certificate.as_ref().map(ClientCertificate::read).transpose()?;
        Ok(())
    }

    /// Returns the rest of the time limit. It covers the whole exchange, from the name look-up to the end of the
    /// answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.saturating_sub(self.waited)
    }

    /// Sets the time limit of the exchange. Default: 30 s. A [`Client`](crate::Client) sets its own.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the whole time limit, including the time that has passed, for messages.
    #[cfg(feature = "http")]
    pub(crate) fn whole_timeout(&self) -> Duration {
        self.timeout
    }

    /// Subtracts the time spent waiting for another process from the time limit.
    pub(crate) fn set_waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// Returns a number that almost always differs if URL, headers or body differ. It is kept in memory only.
    pub(crate) fn fingerprint(&self) -> u32 {
        let headers = self.headers.iter().flat_map(|header| [&*header.name, header.value.expose()]);
        let body = self.body.as_ref().map_or("", |body| body.expose());
        let certificate = self.certificate.as_ref().map_or("", |certificate| certificate.chain.expose());
        if let Some(computed) = self.computed {
            return Fnv(computed).add(certificate).0;
        }
        let Some(stable) = self.stable else {
            return hash([self.url.expose(), body, certificate].into_iter().chain(headers));
        };
        let mut hash = Fnv(stable);
        core::iter::once(certificate).chain(headers).for_each(|text| _ = hash.add(text));
        hash.0
    }

    /// Returns the wall time at which the assertions were signed, if there are any.
    pub(crate) fn signed_at_time(&self) -> Option<Duration> {
        self.signed_at
    }

    /// Returns whether the assertions are signed with a secret that is too short.
    pub(crate) fn is_by_short_secret(&self) -> bool {
        self.is_by_short_secret
    }

    /// Returns the part of the time limit that had passed before the request was sent.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether the request uses https.
    pub(crate) fn is_https(&self) -> bool {
        self.url.expose().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }

    /// Returns a fingerprint of the parts that may be good for one use: the refresh token, or the parameters of an
    /// extension grant. The client's own credentials do not count.
    pub(crate) fn once(&self) -> u32 {
        self.once
    }

    /// Returns whether the request sends this refresh token.
    pub(crate) fn is_refresh_by(&self, token: &Secret) -> bool {
        self.once == hash(["refresh_token", token.expose()].into_iter())
    }

    /// Drops the server's texts in `error` that echo a secret of this request.
    pub(crate) fn redact(&self, error: Error) -> Error {
        error.without(&self.echoes())
    }

    /// Returns whether a text of the server repeats a secret of this request, literally or encoded. Such a text must
    /// not be shown or logged.
    #[must_use]
    pub fn is_echoed_in(&self, text: &str) -> bool {
        self.echoes().are_in(text)
    }

    /// Returns the secrets that an answer may repeat.
    pub(crate) fn echoes(&self) -> Echoes<'_> {
        let authorization = self.headers().filter(|(name, _)| is_authorization(name));
        let credentials = authorization.map(|(_, value)| value.split_once(' ').map_or(value, |(_, value)| value));
        // The padding of base64 is no secret, and an echo may lack it.
        let credentials = credentials.map(|value| value.trim_end_matches('='));
        Echoes::new(credentials.chain(self.secrets.iter().map(Secret::expose)))
    }
}

/// Shows the method, the URL without its query, and the names of the headers. Shows no secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| &*header.name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &&self.url.expose()[..self.query])
            .field("headers", &names)
            .field("body", &self.body.as_ref().map(|_| REDACTED))
            .finish()
    }
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    let mut hash = Fnv::default();
    texts.for_each(|text| _ = hash.add(text));
    hash.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn sent(refresh: &str, grant: &Grant) -> Result<alloc::string::String, Error> {
        let endpoint = Endpoint::from_json(&format!(r#"{{"url": "https://as.example/t", "refresh": {refresh}}}"#))?;
        let request = Request::token(&endpoint, &ClientCredentials::default(), grant)?;
        Ok(format!("{} {}", request.method(), request.url()))
    }

    #[test]
    fn a_token_is_renewed_with_itself_or_with_its_refresh_token() {
        let long_lived = r#"{"with": "token", "url": "https://as.example/r?t={token}", "method": "GET"}"#;
        let both =
            r#"{"url": "https://as.example/r?t={token}&r={refresh_token}", "method": "GET", "omit_grant_type": true}"#;
        for (refresh, refresh_token, token, expected) in [
            (long_lived, None, Some("a 1"), Ok("GET https://as.example/r?t=a%201")),
            (both, Some("r1"), Some("a1"), Ok("GET https://as.example/r?t=a1&r=r1")),
            (both, Some("r1"), None, Err("url: the variable \"token\" has no value")),
            (both, None, Some("a1"), Err("url: the variable \"refresh_token\" has no value")),
        ] {
            let made = sent(refresh, &Grant::renewal(refresh_token, token));
            assert_eq!(
                made.map_err(|error| format!("{error}")),
                expected.map(Into::into).map_err(Into::into),
                "{refresh}"
            );
        }
    }
}
