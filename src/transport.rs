//! The interface for network I/O: sends a request and returns the answer.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "http")]
pub use self::http::HttpTransport;

use crate::error::Error;
use crate::request::Request;
use crate::secret::Secret;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use zeroize::Zeroizing;

/// Sends a request and returns the answer, whatever its status.
///
/// [`HttpTransport`](crate::HttpTransport) (feature `http`) implements it. Implement it for another HTTP stack, or pass a closure.
/// An implementation
///
/// - sends the method, URL, headers and body of the request, and adds only `Host`, `Content-Length` and the headers that the
///   connection needs;
/// - follows no redirect: the credentials would go to the host that the server names;
/// - checks the server's certificate against its name;
/// - ends within [`Request::timeout`], and reads a body of bounded size (`HttpTransport`: 1 MiB);
/// - shows the server the client certificate of [`Request::client_certificate`], or fails if it cannot;
/// - wipes its copies of the request and the answer.
///
/// It creates errors with [`Error::new`]: [`Unreachable`](crate::ErrorKind::Unreachable) if nothing was sent,
/// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if something was sent, [`Untrusted`](crate::ErrorKind::Untrusted) if TLS
/// failed.
///
/// ```
/// use keyfob::{Endpoint, Error, Grant, ClientCredentials, AccessToken, Request, Response, Transport};
/// use core::time::Duration;
///
/// fn radio(request: &Request) -> Result<Response, Error> {
///     assert_eq!(request.body(), Some(&b"grant_type=client_credentials"[..]));
///     Ok(Response::new(200, br#"{"access_token":"abc","expires_in":"3600",}"#.to_vec()))
/// }
///
/// let endpoint = Endpoint::new("https://as.example/token")?;
/// let request = Request::token(&endpoint, &ClientCredentials::default(), &Grant::client_credentials())?;
/// let (sent_at, arrived_at) = (Duration::from_secs(7), Duration::from_secs(8));
/// let token = AccessToken::read(&endpoint, radio.send(&request)?, sent_at..arrived_at)?;
/// assert_eq!(token.authorization()?.expose(), "Bearer abc");
/// # Ok::<(), Error>(())
/// ```
pub trait Transport: Send + Sync {
    /// Sends `request` and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// Returns an error if no complete answer arrives. An answer of any status is not an error.
    fn send(&self, request: &Request) -> Result<Response, Error>;

    /// Returns a text that names the route to the server of `url`: proxy, trusted roots, address. Default: None.
    ///
    /// A [`Store`](crate::Store) shares a failure without an answer (no connection, no trust) only among clients with the same
    /// route, because another route may work. With None it does not share such failures. The identity of the client does not
    /// belong here: it is part of the request.
    fn route(&self, url: &str) -> Option<Secret> {
        let _ = url;
        None
    }
}

impl<F: Fn(&Request) -> Result<Response, Error> + Send + Sync> Transport for F {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        self(request)
    }
}

#[cfg(target_has_atomic = "ptr")]
impl<T: Transport + ?Sized> Transport for alloc::sync::Arc<T> {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        (**self).send(request)
    }

    fn route(&self, url: &str) -> Option<Secret> {
        (**self).route(url)
    }
}

/// The answer to a request: status, headers and body. Header values and body are wiped when it is dropped. A
/// [`Transport`] creates it.
///
/// ```
/// use keyfob::Response;
///
/// let response = Response::new(503, *b"").with_header("Retry-After", "30");
/// assert_eq!((response.status(), response.header("retry-after")), (503, Some("30")));
/// ```
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: ResponseHeaders,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) framed: bool,
    pub(crate) elapsed: Option<Duration>,
    timing: Option<Timing>,
}

/// Headers. Any of them may echo a secret, so all values are wiped.
#[derive(Default)]
pub(crate) struct ResponseHeaders {
    list: Vec<(String, Secret)>,
    /// The length of all names and values, in bytes.
    length: usize,
}

/// The most bytes of names and values. Headers beyond it are dropped.
const MAX_HEADERS: usize = 16 * 1024;

impl ResponseHeaders {
    pub(crate) fn push(&mut self, name: &str, value: Secret) {
        let length = self.length + name.len() + value.expose().len();
        if length <= MAX_HEADERS {
            self.list.push((name.into(), value));
            self.length = length;
        }
    }

    /// Returns the last value of a header. Most have only one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// Returns every value of a header.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_named = move |(known, _): &&(String, Secret)| known.eq_ignore_ascii_case(name);
        self.list.iter().filter(is_named).map(|(_, value)| value.expose())
    }
}

impl Response {
    /// Creates an answer with this status and body, without headers. It takes ownership of a `Vec` without a copy; other types
    /// are copied, and the caller must wipe the original.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: ResponseHeaders::default(),
            body: Zeroizing::new(body.into()),
            framed: true,
            elapsed: None,
            timing: None,
        }
    }

    /// Adds a header. Add all headers of the answer: keyfob reads `Content-Type`, `Retry-After`, `Date`, `Age`, `Location` and
    /// `Proxy-Authenticate`, and those that the endpoint names. Headers beyond 16 KiB of names and values are dropped.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value.into());
        self
    }

    /// Sets whether the end of the body was certain, from its length or its chunks. Default: true. Pass false if the body ended
    /// with the connection: a form-encoded answer is then refused, because it may be incomplete.
    #[must_use]
    pub fn with_framed(mut self, framed: bool) -> Self {
        self.framed = framed;
        self
    }

    /// Sets the time since the request was sent, measured with a clock that counts suspended time. The token's lifetime is
    /// counted from then. Default: unknown, and the lifetime is counted from before the connection was made.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = Some(elapsed);
        self
    }

    /// Sets the duration of each step and the bytes on the network. Default: unknown.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    /// Returns the body, for a transport that checks or decodes the answer of another one. It holds the token.
    #[must_use]
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.body
    }

    /// Returns the HTTP status (RFC 9110 section 15).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of a header, or the last one of several. The case of the name does not matter. None if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the headers as pairs of name and value, in the order in which they were added. Any value may repeat a secret.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.list.iter().map(|(name, value)| (&**name, value.expose()))
    }

    /// Returns the server's time since 1970 when it answered: its `Date` and `Age` headers (RFC 9110 section 6.6.1, RFC 9111
    /// section 5.1). None without a `Date` that can be read.
    #[must_use]
    pub fn server_time(&self) -> Option<Duration> {
        let milliseconds = crate::answer::server_time(&self.headers)?;
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }

    /// Returns the duration of each step and the bytes on the network. None if the transport does not measure them.
    /// `HttpTransport` does.
    #[must_use]
    pub fn timing(&self) -> Option<&Timing> {
        self.timing.as_ref()
    }
}

/// The duration of each step of a request, and the bytes on the network. The duration of a step that was not needed is zero.
///
/// A transport that delegates to another can read it:
///
/// ```
/// use core::time::Duration;
/// use keyfob::{Error, Request, Response, Timing, Transport};
///
/// struct Watched<T>(T);
///
/// impl<T: Transport> Transport for Watched<T> {
///     fn send(&self, request: &Request) -> Result<Response, Error> {
///         let response = self.0.send(request)?;
///         if let Some(Timing { connect, waiting, .. }) = response.timing() {
///             println!("connected within {connect:?}, answered within {waiting:?}");
///         }
///         Ok(response)
///     }
///
///     fn route(&self, url: &str) -> Option<keyfob::Secret> {
///         self.0.route(url)
///     }
/// }
///
/// // A transport of your own reports what it measures.
/// let mut timing = Timing::default();
/// timing.waiting = Duration::from_millis(70);
/// let response = Response::new(200, *b"{}").with_timing(timing);
/// assert_eq!(response.timing(), Some(&timing));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The name look-up. With a proxy, that of the proxy's name.
    pub look_up: Duration,
    /// From the look-up to the connection. With a proxy, until the proxy is connected to the server.
    pub connect: Duration,
    /// The TLS handshake with the server.
    pub tls: Duration,
    /// From the first byte of the request to the first of the answer.
    pub waiting: Duration,
    /// From the first byte of the answer to the last.
    pub body: Duration,
    /// The bytes written to the TCP connection, with those of TLS and of a proxy.
    pub bytes_sent: usize,
    /// The bytes read from the TCP connection, with those of TLS and of a proxy.
    pub bytes_received: usize,
}

/// Shows the status only: the body holds the token.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_bounded() {
        let response = Response::new(200, *b"").with_header("Content-Type", "a").with_header("content-type", "b");
        assert_eq!((response.header("CONTENT-TYPE"), response.header("date")), (Some("b"), None));
        assert_eq!(response.headers().collect::<Vec<_>>(), [("Content-Type", "a"), ("content-type", "b")]);
        let dated = |date| Response::new(200, *b"").with_header("Date", date).with_header("Age", "2").server_time();
        assert_eq!(dated("Thu, 01 Jan 1970 00:00:05 GMT"), Some(Duration::from_secs(7)));
        assert_eq!((dated("now"), dated("Wed, 31 Dec 1969 00:00:00 GMT")), (None, None));
        assert_eq!(response.headers.all("Content-type").collect::<Vec<_>>(), ["a", "b"]);
        let name = "x".repeat(1024);
        let response = (0..20).fold(response, |response, _| response.with_header(&name, ""));
        assert_eq!(response.headers.all(&name).count(), 15);
    }
}
