//! The client: fetch a token now, and end it.

use crate::client_auth::ClientCredentials;
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::grant::Grant;
#[cfg(all(feature = "std", unix))]
use crate::refresh_file::RefreshTurn;
use crate::request::Request;
use crate::secret::SecretSource;
use crate::token::AccessToken;
use crate::transport::{Response, Transport};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// A client of one authorization server.
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
}

impl Client {
    /// A client that sends by ureq and counts time by the system's clock since boot.
    #[cfg(feature = "ureq")]
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_parts(endpoint, crate::UreqTransport::new(), crate::BootClock)
    }

    /// A client with a transport and a clock of your own, with or without `std`.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::{Client, Endpoint, Error, Grant, Request, Response};
    ///
    /// fn uptime() -> Duration {
    ///     Duration::from_millis(1234) // from the board's timer
    /// }
    /// fn modem(request: &Request) -> Result<Response, Error> {
    ///     // request.method(), request.url(), request.headers(), request.body() go out; what comes back:
    ///     Ok(Response::new(200, br#"{"access_token":"abc","token_type":"Bearer","expires_in":"3599",}"#.to_vec()))
    /// }
    ///
    /// let endpoint = Endpoint::dialect("form-credentials", "https://c.example/configapi/v2/oauth/token")?;
    /// let client = Client::with_parts(endpoint, modem, uptime).client_id("id").client_secret("secret");
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
        }
    }

    /// The client identifier (RFC 6749 section 2.2).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.credentials = self.credentials.client_id(id);
        self
    }

    /// The client secret, or where it is read from for each request.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<SecretSource>) -> Self {
        self.credentials = self.credentials.client_secret(secret);
        self
    }

    /// Fetches a token now: one request, no retry, no cache.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]; the README has the table.
    pub fn fetch(&self, grant: &Grant) -> Result<AccessToken, Error> {
        #[cfg(all(feature = "std", unix))]
        if let Some((mut turn, waited)) = RefreshTurn::wait(grant, self.patience(), self.endpoint.authority())? {
            let mut request = self.request(grant)?;
            request.set_waited(waited);
            let (token, in_time) = self.exchange(&request)?;
            token.refresh_token().map_or(Ok(()), |refresh_token| turn.save(refresh_token))?;
            return in_time.map(|()| token);
        }
        let (token, in_time) = self.exchange(&self.request(grant)?)?;
        in_time.map(|()| token)
    }

    /// The request for a token, with the secrets as they are now.
    pub(crate) fn request(&self, grant: &Grant) -> Result<Request, Error> {
        Request::token(&self.endpoint, &self.credentials, grant)
    }

    /// Sends a request for a token and reads the answer; tells too whether it came in time. If it did not, a refresh
    /// token in it is good all the same.
    pub(crate) fn exchange(&self, request: &Request) -> Result<(AccessToken, Result<(), Error>), Error> {
        let (response, sent_at) = self.send(request)?;
        let status = response.status;
        let token = AccessToken::read_late(&self.endpoint, response, sent_at);
        let mut token = token.map_err(|error| judged(request, error))?;
        token.redact(&request.echoes());
        let in_time = token.in_time(status, sent_at, self.clock.now());
        Ok((token, in_time))
    }

    /// Ends `token` at the server, as the endpoint's description says; one that was ended already is left alone. It is
    /// not sent again by this process, whatever the server answers, and its value is wiped with its last clone.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where the description knows no way to end a token; it can still be used then.
    /// Otherwise any [`ErrorKind`].
    pub fn revoke(&self, token: AccessToken) -> Result<(), Error> {
        let request = Request::revocation(&self.endpoint, token.expose())?;
        if token.is_ended() {
            return Ok(());
        }
        // First, so that no other thread sends it after the server has forgotten it.
        token.end();
        let (response, sent_at) = self.send(&request)?;
        let is_success = (200..300).contains(&response.status);
        match AccessToken::read(&self.endpoint, response, sent_at, sent_at) {
            // A success has any body, and mostly none; but an OAuth error is one under any status.
            Err(error) if !is_success || error.kind() == ErrorKind::Refused || error.oauth_error().is_some() => {
                Err(judged(&request, error))
            }
            _ => Ok(()),
        }
    }

    /// What sends the requests.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn transport(&self) -> &dyn Transport {
        &*self.transport
    }

    /// How long a whole fetch may take.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn patience(&self) -> Duration {
        self.transport.timeout()
    }

    /// Who asks.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }

    /// The endpoint that this client asks.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What tells the time for this client's tokens.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Sends a request; returns the answer, and when the request went out.
    fn send(&self, request: &Request) -> Result<(Response, Duration), Error> {
        let started = self.clock.now();
        let response = self.transport.send(request).map_err(|error| {
            let retryable = error.kind() == ErrorKind::OutcomeUnknown && request.is_repeatable();
            let retryable = retryable || error.is_retryable();
            error.retryable(retryable)
        })?;
        let sent_at = match response.elapsed {
            Some(elapsed) => self.clock.now().saturating_sub(elapsed).max(started),
            None => started,
        };
        Ok((response, sent_at))
    }
}

/// The error of an answer, without the request's secrets; what the server failed at is tried again only where that is
/// harmless.
fn judged(request: &Request, error: Error) -> Error {
    let is_harmless = error.kind() != ErrorKind::Unusable || request.is_repeatable();
    let is_retryable = error.is_retryable() && is_harmless;
    request.redact(error).retryable(is_retryable)
}

/// Shows no secret.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
