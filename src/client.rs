//! The client: fetches a token now, and revokes one.

mod sending;

use self::sending::judged;
use crate::assertion::Assertion;
use crate::client_auth::ClientCredentials;
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::field::Field;
use crate::grant::Grant;
use crate::introspection::Introspection;
use crate::observe::{Event, Observer};
#[cfg(all(feature = "std", unix))]
use crate::refresh_file::RefreshTurn;
use crate::request::{Request, TIMEOUT};
use crate::secret::{Secret, SecretSource};
use crate::token::AccessToken;
use crate::transport::Transport;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A client of one authorization server. It fetches and revokes tokens; a [`TokenCache`](crate::TokenCache) around it keeps one
/// valid.
///
/// ```no_run
/// use keyfob::{Client, Endpoint, Grant, SecretSource};
///
/// let client = Client::new(Endpoint::new("https://as.example/oauth/token")?)
///     .client_id("my-client")
///     .client_secret(SecretSource::file("/run/credentials/my.service/secret"));
/// let token = client.fetch(&Grant::client_credentials().scope("read"))?;
/// println!("{}", token.authorization()?.expose());
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Client {
    endpoint: Endpoint,
    credentials: ClientCredentials,
    transport: Box<dyn Transport>,
    clock: Box<dyn Clock>,
    timeout: Duration,
    observer: Option<Box<dyn Observer>>,
    /// A server's time, and when that was by the own clock: for assertions, if the wall clock was found wrong.
    #[cfg(feature = "std")]
    server_time: std::sync::Mutex<Option<(Duration, Duration)>>,
}

impl Client {
    /// Creates a client that sends through [`HttpTransport`](crate::HttpTransport) and measures time with
    /// [`BootClock`](crate::BootClock).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_parts(endpoint, crate::HttpTransport::new(), crate::BootClock)
    }

    /// Creates a client with your own transport and clock. Without the `ureq` feature this is the only constructor.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::{Client, Dialect, Endpoint, Error, Grant, Request, Response, Secret};
    ///
    /// fn uptime() -> Duration {
    ///     Duration::from_millis(1234) // from the board's timer
    /// }
    /// fn modem(request: &Request) -> Result<Response, Error> {
    ///     // Send request.method(), request.url(), request.headers() and request.body(), and return the answer:
    ///     Ok(Response::new(200, br#"{"access_token":"abc","token_type":"Bearer","expires_in":"3599",}"#.to_vec()))
    /// }
    ///
    /// let endpoint = Endpoint::dialect(Dialect::FormCredentials, "https://c.example/configapi/v2/oauth/token")?;
    /// let client = Client::with_parts(endpoint, modem, uptime).client_id("id").client_secret(Secret::from("secret"));
    /// let token = client.fetch(&Grant::client_credentials().scope("https://tenant.example"))?;
    /// assert_eq!(token.remaining(uptime()), Some(Duration::from_secs(3599)));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn with_parts(endpoint: Endpoint, transport: impl Transport + 'static, clock: impl Clock + 'static) -> Self {
        Self {
            endpoint,
            credentials: ClientCredentials::default(),
            transport: Box::new(transport),
            clock: Box::new(clock),
            timeout: TIMEOUT,
            observer: None,
            #[cfg(feature = "std")]
            server_time: std::sync::Mutex::default(),
        }
    }

    /// Sets the transport that sends the requests. Default: [`HttpTransport`](crate::HttpTransport) with its defaults.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Box::new(transport);
        self
    }

    /// Sets the clock that token lifetimes are measured with. Default: [`BootClock`](crate::BootClock).
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Sets the time limit of a whole fetch: the wait for another process that fetches the same token, the name lookup, the
    /// connection, the request and the answer. Default: 30 s. At most a year.
    ///
    /// The transport enforces it (see [`Request::timeout`]).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // Transports add it to the current time, which must not overflow.
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Sets the observer that receives the events of this client and of a cache around it. Default: none.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Sets the client identifier (RFC 6749 section 2.2). Default: none.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.credentials = self.credentials.client_id(id);
        self
    }

    /// Sets the source that the client identifier is read from for each request, instead of
    /// [`client_id`](Client::client_id). Some services have a key in its place: it is treated as a secret. Default: none.
    ///
    /// ```no_run
    /// use keyfob::{Client, Endpoint, SecretSource};
    ///
    /// let client = Client::new(Endpoint::new("https://as.example/token")?)
    ///     .client_id_source(SecretSource::file("/run/credentials/my.service/key"))
    ///     .client_secret(SecretSource::value(""));
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    #[must_use]
    pub fn client_id_source(mut self, source: impl Into<SecretSource>) -> Self {
        self.credentials = self.credentials.client_id_source(source);
        self
    }

    /// Sets the client secret (RFC 6749 section 2.3.1), or the source that it is read from for each request. Default: none.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<SecretSource>) -> Self {
        self.credentials = self.credentials.client_secret(secret);
        self
    }

    /// Sets the client certificate and its private key, for `tls_client_auth` (RFC 8705 section 2) or in addition to any other
    /// client authentication. Default: none. A proxy never sees it.
    ///
    /// Both are PEM. `chain` holds the client's certificate first, and then the certificates that issued it, as far as the
    /// server needs them. `key` is the private key, not encrypted: RSA, ECDSA on P-256 or P-384, or Ed25519, in PKCS #8,
    /// PKCS #1 or SEC 1. Both may be in one file; name it twice then.
    ///
    /// Both are read for each fetch, so a new certificate needs no restart. keyfob wipes its copy of the key at once. ring, which
    /// signs with the key, holds its numbers during the fetch and frees them unwiped, and rustls makes one more copy of a SEC 1
    /// key. An allocator that wipes freed memory, as in the command, covers both.
    ///
    /// A fetch fails with [`Config`](ErrorKind::Config), before anything is sent, if one of them cannot be read or contains no
    /// certificate or key, if the key is encrypted, of another kind or does not belong to the certificate, or if the URL is
    /// plain http.
    ///
    /// ```no_run
    /// use keyfob::{Client, ClientAuthentication, Endpoint, SecretSource};
    ///
    /// let endpoint = Endpoint::new("https://as.example/token")?.authentication(ClientAuthentication::TlsClientAuth);
    /// let key = SecretSource::file("/run/credentials/meter.service/key.pem");
    /// let client = Client::new(endpoint)
    ///     .client_id("meter")
    ///     .client_certificate(SecretSource::file("/etc/meter/cert.pem"), key);
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<SecretSource>, key: impl Into<SecretSource>) -> Self {
        self.credentials = self.credentials.client_certificate(chain, key);
        self
    }

    /// Sets the assertions that authenticate the client instead of a secret: `private_key_jwt` or `client_secret_jwt` (RFC 7523
    /// section 2.2). Default: none. Issuer and subject are the client id.
    ///
    /// They are dated by the wall clock. If the server refuses one over https, and its answer's `Date` is more than 30 s off,
    /// keyfob signs another one with the server's time and asks once more. A device whose clock is wrong gets its token
    /// this way. With `std` the client remembers the time.
    ///
    /// ```no_run
    /// use keyfob::{Assertion, Client, Endpoint, SecretSource};
    ///
    /// let key = SecretSource::file("/run/credentials/meter.service/key.pem");
    /// let client = Client::new(Endpoint::new("https://as.example/token")?)
    ///     .client_id("meter")
    ///     .assertion(Assertion::new(key).audience("https://as.example"));
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    #[must_use]
    pub fn assertion(mut self, assertion: Assertion) -> Self {
        self.credentials = self.credentials.assertion(assertion);
        self
    }

    /// Fetches a token now: one request, no retry, no cache.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]; [errors and exit codes](crate::docs::errors) has the table.
    pub fn fetch(&self, grant: &Grant) -> Result<AccessToken, Error> {
        #[cfg(all(feature = "std", unix))]
        if let Some(file) = grant.refresh_file() {
            let (mut turn, waited) = RefreshTurn::wait(file, self.timeout, self.endpoint.authority())?;
            let mut request = self.request(grant)?;
            request.set_waited(waited.saturating_add(request.waited()));
            let (token, in_time) = self.exchange(grant, &request)?;
            token.refresh_token().map_or(Ok(()), |refresh_token| turn.save(refresh_token))?;
            return in_time.map(|()| token);
        }
        let (token, in_time) = self.exchange(grant, &self.request(grant)?)?;
        in_time.map(|()| token)
    }

    /// Builds the request for a token, with the secrets as they are now.
    pub(crate) fn request(&self, grant: &Grant) -> Result<Request, Error> {
        self.request_at(&|| self.wall_time(), grant)
    }

    fn request_at(&self, wall_time: &dyn Fn() -> Duration, grant: &Grant) -> Result<Request, Error> {
        let started = self.clock.now();
        let mut request =
            Request::signed_at(wall_time, &self.endpoint, &self.credentials, grant)?.with_timeout(self.timeout);
        // A command may sign, and a secret may be the token of another client, which had to be asked for.
        request.set_waited(self.clock.now().saturating_sub(started));
        Ok(request)
    }

    /// Returns the time since 1970: a server's, if that was better than the wall clock. Without a clock it is 1970.
    fn wall_time(&self) -> Duration {
        #[cfg(feature = "std")]
        if let Some((time, at)) = *self.server_time.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return time.saturating_add(self.clock.now().saturating_sub(at));
        }
        self.clock.wall_time().unwrap_or_default()
    }

    /// Reports that what this grant sent was refused, to the sources of its secrets that are tokens. Returns whether the next
    /// request may be better.
    pub(crate) fn invalidate_sources(&self, grant: &Grant) -> bool {
        let Endpoint { extra, headers, variables, .. } = &self.endpoint;
        let fields = [extra, headers, variables, &grant.fields, &grant.parameters];
        let fields = fields.into_iter().flatten().filter_map(Field::secret_source);
        let ClientCredentials { id_source, client_secret, .. } = &self.credentials;
        let single = [id_source.as_ref(), client_secret.as_ref(), grant.bearer.as_ref()];
        // Each of them: whose token was refused is unknown.
        single.into_iter().flatten().chain(fields).filter(|source| source.invalidate()).count() > 0
    }

    /// Creates an event and passes it to the observer, if there is one.
    pub(crate) fn notify<'e>(&self, event: impl FnOnce() -> Event<'e>) {
        if let Some(observer) = &self.observer {
            observer.event(&event());
        }
    }

    /// Revokes `token` at the server, in the way that the endpoint defines. Does nothing if it was revoked before. Whatever the
    /// server answers, this process does not use the token again, and wipes its value with its last clone.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the endpoint has no way to revoke a token; then the token stays usable. Otherwise
    /// any [`ErrorKind`].
    pub fn revoke(&self, token: AccessToken) -> Result<(), Error> {
        let request = self.revocation_of("access_token", token.expose())?;
        let refresh_token = token.refresh_token().filter(|_| self.endpoint.revokes_refresh_tokens());
        let refresh_token = refresh_token.map(|token| self.revocation_of("refresh_token", token.expose()));
        let refresh_token = refresh_token.transpose()?;
        if token.is_ended() {
            return Ok(());
        }
        // Before the request, so that no other thread uses it after the server has revoked it.
        token.end();
        let Some(refresh_token) = refresh_token else { return self.send_revocation(request) };
        // A server need not know both types (RFC 7009 section 2.2.1). Where it does not know refresh tokens, the access token is
        // ended all the same, and the error says that the refresh token is still valid.
        let is_unsupported = |error: &Error| error.oauth_error() == Some("unsupported_token_type");
        let of_refresh_token = self.send_revocation(refresh_token);
        if of_refresh_token.as_ref().is_err_and(|error| !is_unsupported(error)) {
            return of_refresh_token;
        }
        match self.send_revocation(request) {
            // It ends access tokens with their refresh token alone.
            Err(error) if is_unsupported(&error) => of_refresh_token,
            result => result.and(of_refresh_token),
        }
    }

    /// Revokes a refresh token that is older than the access token, if the endpoint has a way to.
    pub(crate) fn revoke_refresh_token(&self, refresh_token: &Secret) -> Result<(), Error> {
        match self.endpoint.revokes_refresh_tokens() {
            true => self.send_revocation(self.revocation_of("refresh_token", refresh_token.expose())?),
            false => Ok(()),
        }
    }

    /// Asks the server whether `token`, an access token, is valid (RFC 7662). Nothing is cached.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the endpoint has no [introspection endpoint](Endpoint::introspection),
    /// [`Unusable`](ErrorKind::Unusable) if the answer does not say whether the token is valid. Otherwise any [`ErrorKind`].
    pub fn introspect(&self, token: &str) -> Result<Introspection, Error> {
        let request = Request::introspection_of(&|| self.wall_time(), &self.endpoint, &self.credentials, token)?;
        let request = request.with_timeout(self.timeout);
        let (response, _) = self.send(&request)?;
        Introspection::read(&self.endpoint, response).map_err(|error| judged(&request, None, error, None))
    }

    fn revocation_of(&self, token_type: &str, token: &str) -> Result<Request, Error> {
        Request::revocation_of(&|| self.wall_time(), token_type, &self.endpoint, &self.credentials, token)
    }

    fn send_revocation(&self, request: Request) -> Result<(), Error> {
        let request = request.with_timeout(self.timeout);
        let (response, sent_at) = self.send(&request)?;
        let is_success = (200..300).contains(&response.status);
        match AccessToken::read(&self.endpoint, response, sent_at..sent_at) {
            // A success may have any body, mostly none. An OAuth error counts as an error under any status.
            Err(error) if !is_success || error.kind() == ErrorKind::Refused || error.oauth_error().is_some() => {
                Err(judged(&request, None, error, None))
            }
            _ => Ok(()),
        }
    }

    /// Returns an error if the endpoint has no way to revoke a token, or the revocation request cannot be built.
    pub(crate) fn check_revocation(&self) -> Result<(), Error> {
        self.revocation_of("access_token", "token").map(drop)
    }

    /// Returns the time limit of a whole fetch.
    #[cfg(feature = "std")]
    pub(crate) fn patience(&self) -> Duration {
        self.timeout
    }

    /// Returns the token endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the current time of the client's clock. Token lifetimes are measured with this clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.now()
    }
}

/// Access for a store.
#[cfg(all(feature = "std", unix))]
impl Client {
    /// Returns the name of the route to the server, which tells the failures of different routes apart. `None` if the transport
    /// does not name it.
    pub(crate) fn route(&self) -> Option<crate::secret::Secret> {
        self.transport.route(self.endpoint.url.as_str())
    }

    /// Returns the client's credentials.
    pub(crate) fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }
}

/// Prints no secret.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
