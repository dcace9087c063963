//! Events of fetches and renewals, for logs and metrics.

use crate::error::Error;
use crate::lifetime::Lifetime;
use core::net::SocketAddr;
use core::time::Duration;

/// Receives the events of a [`Client`](crate::Client) and of a cache around it. Set it with
/// [`Client::observer`](crate::Client::observer). Implemented for closures.
///
/// Runs in the thread that fetches, with no lock held. It must return soon, and must not ask the same cache for a token,
/// because a caller of that cache waits for it.
///
/// ```
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, Error, Event, Grant, Request, Response};
///
/// let answer = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
/// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, answer, || Duration::ZERO)
///     .observer(|event: &Event<'_>| if let Event::FetchFinished { status, elapsed, .. } = event {
///         println!("fetched: {status:?}, {} ms", elapsed.as_millis());
///     });
/// client.fetch(&Grant::client_credentials())?;
/// # Ok::<(), Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Receives one event. An event contains no secret.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// An event of a client or a cache. Times are measured with the client's clock, except in [`Waited`](Event::Waited).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client is about to send a token request.
    #[non_exhaustive]
    FetchStarted {
        /// The value of `grant_type`. `None` if the request has no such parameter.
        grant_type: Option<&'a str>,
    },
    /// The server answered the token request, or the request failed.
    #[non_exhaustive]
    FetchFinished {
        /// The value of `grant_type`. `None` if the request has no such parameter.
        grant_type: Option<&'a str>,
        /// The HTTP status of the answer. `None` if there was no answer.
        status: Option<u16>,
        /// The time since the request was sent.
        elapsed: Duration,
        /// The token's lifetime, or the reason for the failure.
        result: Result<Lifetime, &'a Error>,
    },
    /// A cache failed to renew its token. If its current token is valid, it keeps that one.
    #[non_exhaustive]
    RenewalFailed {
        /// The reason for the failure.
        error: &'a Error,
        /// The moment of the next request, by the client's clock: see
        /// [`TokenCache::next_attempt`](crate::TokenCache::next_attempt).
        next_attempt: Option<Duration>,
    },
    /// A call has waited for the fetch of another thread or process.
    #[non_exhaustive]
    Waited {
        /// The length of the wait, by the system's clock.
        elapsed: Duration,
    },
    /// A cache took a token from the store, which another process had fetched.
    StoreHit,
    /// The addresses of the server, or of the proxy, were found. This event and the following ones go to the observer of
    /// `HttpTransport`, and not to that of a client.
    #[non_exhaustive]
    AddressesFound {
        /// The addresses, in the system's order.
        addresses: &'a [SocketAddr],
    },
    /// A TCP connection to one of the addresses was made.
    #[non_exhaustive]
    Connected {
        /// The address of the server, or of the proxy.
        address: SocketAddr,
    },
    /// A server showed its certificate, which is not checked yet.
    #[non_exhaustive]
    CertificateShown {
        /// The certificate in DER (RFC 5280 section 4.1), without those of its issuers.
        certificate: &'a [u8],
        /// True for the proxy's certificate, false for the server's.
        is_proxys: bool,
    },
    /// A TLS handshake succeeded.
    #[non_exhaustive]
    Secured {
        /// `TLS 1.2` or `TLS 1.3`.
        version: &'static str,
        /// True for the handshake with the proxy, false for that with the server.
        is_proxys: bool,
    },
}
