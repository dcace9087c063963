//! The transport on ureq. Nothing else names it, but for the middleware.
//!
//! What ureq does by default and we do not: follow redirects, turn a status into an error, keep connections and zero
//! 256 KiB of buffers, read proxies from the environment without telling which it cannot use, start a thread for the
//! look-up of an address literal, show URLs with their query in errors, wait for a dead address most of the time.

mod buffers;
mod connect;
mod proxy;
#[cfg(feature = "tls")]
mod tls;

use self::connect::{Dialler, Names};
#[cfg(feature = "tls")]
use super::trust;
use super::{Response, Timing, Transport};
use crate::clock::{BootClock, Clock};
use crate::endpoint::Method;
use crate::error::{Error, ErrorKind};
use crate::request::Request;
#[cfg(feature = "tls")]
use crate::secret::Secret;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;
#[cfg(feature = "tls")]
use ureq::ProxyProtocol;
use ureq::http::{self, HeaderName, HeaderValue, Uri};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, Transport as Connection,
};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

/// Sends requests by ureq: HTTP/1.1, a new connection each time, nothing kept in between.
///
/// Redirects are not followed, bodies end at 1 MiB, headers at 16 KiB, and all that comes at 2 MiB. Proxies are taken
/// from the environment: `https_proxy` (or `HTTPS_PROXY`) for https, `http_proxy` for http, `all_proxy` (or
/// `ALL_PROXY`) for both, `no_proxy` (or `NO_PROXY`) for the hosts that need none; never for this machine itself. For
/// https the trusted roots are those of Mozilla, compiled in.
///
/// ```no_run
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, UreqTransport};
///
/// let transport = UreqTransport::new()
///     .user_agent("meter/1.4")
///     .proxy("http://proxy.example:3128")?;
/// let client = Client::new(Endpoint::new("https://as.example/token")?)
///     .transport(transport)
///     .timeout(Duration::from_secs(5));
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct UreqTransport {
    user_agent: Option<String>,
    proxy: ProxyChoice,
    #[cfg(feature = "tls")]
    roots: trust::Roots,
}

enum ProxyChoice {
    Environment,
    Direct,
    Proxy(Proxy),
}

/// A token response has a few hundred bytes; one over a megabyte is no token response.
const MAX_BODY: usize = 1024 * 1024;
/// All that a server may send, with what is thrown away on the way: headers, sizes of chunks, trailers, interim
/// answers. Without it these would go on until the time is over.
const MAX_ANSWER: usize = 2 * MAX_BODY;
/// A body's first buffer is no larger, whatever length the server claims.
const MAX_FIRST_BUFFER: usize = 16 * 1024;
/// What an answer's headers may have at most; the buffers begin smaller.
const INPUT_BUFFER: usize = 16 * 1024;
/// Holds the whole head of a usual request. A longer line gets a buffer for it: ureq cannot split one.
const OUTPUT_BUFFER: usize = 2 * 1024;
/// For the question whether a port speaks TLS, which is asked only after a request has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Default for UreqTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl UreqTransport {
    /// Creates a transport that takes proxies from the environment and trusts Mozilla's roots.
    #[must_use]
    pub fn new() -> Self {
        Self {
            user_agent: None,
            proxy: ProxyChoice::Environment,
            #[cfg(feature = "tls")]
            roots: trust::Roots::Mozilla,
        }
    }

    /// Says who asks, in place of `keyfob/‹version›`. An endpoint's own `User-Agent` header wins.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Sends everything through this proxy, by CONNECT: `http://user:password@proxy.example:3128`.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for a URL that is none, and for SOCKS, which is not supported.
    pub fn proxy(mut self, url: &str) -> Result<Self, Error> {
        self.proxy = ProxyChoice::Proxy(proxy::parse(url, "proxy")?);
        Ok(self)
    }

    /// Sends everything directly, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::Direct;
        self
    }

    /// Trusts the certificates in this PEM text, and no others.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where there is no certificate in it, or one that cannot be read.
    #[cfg(feature = "tls")]
    pub fn roots_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.roots = trust::Roots::from_pem(pem)?;
        Ok(self)
    }

    /// Trusts the certificates in this PEM file, and no others. It is read by the first fetch over https.
    ///
    /// What is wrong with it is told by the fetch, as [`Config`](ErrorKind::Config) and before anything is sent: it cannot
    /// be read, there is no certificate in it, or one that cannot be read.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn roots_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.roots = trust::Roots::later(trust::Bundle::File(path.into()));
        self
    }

    /// Trusts what this system trusts, in place of Mozilla's roots. Its store is read by the first fetch over https, which
    /// costs a millisecond or more: the PEM file that `SSL_CERT_FILE` names, else the first that is there of
    ///
    /// - `/etc/ssl/certs/ca-certificates.crt`
    /// - `/etc/pki/tls/certs/ca-bundle.crt`
    /// - `/etc/ssl/ca-bundle.pem`
    /// - `/etc/pki/tls/cacert.pem`
    /// - `/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem`
    /// - `/etc/ssl/cert.pem`
    ///
    /// Certificates in it that cannot be read are passed over. Windows has no such file: name one by `SSL_CERT_FILE`.
    ///
    /// Where there is no such file, it cannot be read, or there is no certificate in it that can be, the fetch says so, as
    /// [`Config`](ErrorKind::Config) and before anything is sent.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.roots = trust::Roots::later(trust::Bundle::System);
        self
    }

    fn config(
        &self,
        uri: &Uri,
        is_loopback: bool,
        output_buffer: usize,
        timeout: Duration,
    ) -> Result<ureq::config::Config, Error> {
        let proxy = match &self.proxy {
            ProxyChoice::Environment => proxy::from_environment(uri, is_loopback)?,
            ProxyChoice::Direct => None,
            // To this machine plain http is allowed because it does not leave it; by way of a proxy it would.
            ProxyChoice::Proxy(_) if is_loopback && uri.scheme() == Some(&http::uri::Scheme::HTTP) => {
                return Err(Error::config(
                    "plain http to this machine by way of a proxy would show it the credentials",
                )
                .with_hint("leave the proxy out (--no-proxy), or use https"));
            }
            ProxyChoice::Proxy(proxy) => Some(proxy.clone()),
        };
        Ok(Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .proxy(proxy)
            .max_idle_connections(0)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(output_buffer)
            // The request has its own.
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .build())
    }

    #[cfg(feature = "tls")]
    fn tls_connector(
        &self,
        uri: &Uri,
        certificate: Option<(&Secret, &Secret)>,
        proxy: Option<&Proxy>,
        deadline: Instant,
        progress: &Progress,
    ) -> Result<tls::TlsConnector, Error> {
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let config = |certificate| trust::client_config(&self.roots, certificate, progress.shown.clone());
        let is_proxy_https = proxy.is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https);
        Ok(tls::TlsConnector {
            target: uri.clone(),
            deadline,
            config: is_https.then(|| config(certificate)).transpose()?,
            proxys_config: is_proxy_https.then(|| config(None)).transpose()?,
        })
    }

    /// The request as ureq takes it. URL and header values are handed over in memory that wipes itself.
    fn message<B>(&self, request: &Request, uri: Uri, body: B) -> Result<http::Request<B>, Error> {
        let mut message = http::Request::new(body);
        *message.method_mut() = match request.method() {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Delete => http::Method::DELETE,
            Method::Put => http::Method::PUT,
        };
        *message.uri_mut() = uri;
        let unsendable = |name: &str| Error::config(format!("header {name}: it cannot be sent"));
        for (name, value) in request.headers() {
            let value = match &self.user_agent {
                Some(own) if name == "User-Agent" && value == crate::request::USER_AGENT => own,
                _ => value,
            };
            let bytes = bytes::Bytes::from_owner(Wiped(Zeroizing::new(value.as_bytes().to_vec())));
            let mut value = HeaderValue::from_maybe_shared(bytes).map_err(|_| unsendable(name))?;
            value.set_sensitive(true);
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable(name))?;
            message.headers_mut().append(header, value);
        }
        Ok(message)
    }
}

impl fmt::Debug for UreqTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqTransport").finish_non_exhaustive()
    }
}

/// Memory for ureq that is wiped when the last part of ureq lets go of it.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Transport for UreqTransport {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let bytes = bytes::Bytes::from_owner(Wiped(Zeroizing::new(request.url().as_bytes().to_vec())));
        let uri = Uri::from_maybe_shared(bytes)
            .map_err(|_| Error::config("url: the HTTP client does not take it; is it longer than 64 KiB?"))?;
        if uri.scheme() == Some(&http::uri::Scheme::HTTPS) && !cfg!(feature = "tls") {
            return Err(Error::config("url: https needs the feature `tls`, which this build does not have"));
        }
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) && request.client_certificate().is_some() {
            return Err(Error::config("url: a client certificate is shown over https alone"));
        }
        let longest_line = request.headers().map(|(name, value)| name.len() + value.len()).max().unwrap_or(0);
        let output_buffer = OUTPUT_BUFFER.max(longest_line.max(request.url().len()) + 64);
        let timeout = request.timeout();
        let deadline = Instant::now() + timeout;
        let progress = Arc::new(Progress::default());
        let config = self.config(&uri, request.is_to_loopback(), output_buffer, timeout)?;
        let proxy = config.proxy().map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        // An agent for this request alone: nothing of it is kept, and its progress is its own.
        let dialler = Dialler { deadline, target: uri.clone(), progress: progress.clone() };
        let connector = ().chain(ConnectProxyConnector::default()).chain(dialler);
        #[cfg(feature = "tls")]
        let connector = connector.chain(self.tls_connector(
            &uri,
            request.client_certificate(),
            config.proxy(),
            deadline,
            &progress,
        )?);
        let agent = Agent::with_parts(
            config,
            connector.chain(Watch { target: uri.clone(), progress: progress.clone() }),
            Names { progress: progress.clone() },
        );
        let answer = match request.body() {
            Some(body) => agent.run(self.message(request, uri, body)?),
            None => agent.run(self.message(request, uri, ())?),
        };
        answer.and_then(|answer| read(answer, &progress)).map_err(|error| {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = self.explain(error, request, &progress, proxy.as_deref(), left);
            match proxy {
                Some(proxy) if error.kind() == ErrorKind::Unreachable && error.hint().is_none() => {
                    error.with_hint(format!("it is asked by way of the proxy {proxy}"))
                }
                _ => error,
            }
        })
    }
}

/// How far a request has come: tells a server that was never reached from an answer that was lost.
#[derive(Debug, Default)]
struct Progress {
    stage: AtomicU8,
    /// When its first byte went out.
    sent_at: OnceLock<Duration>,
    /// The answer began with a TLS alert.
    answered_by_tls: AtomicBool,
    /// The server's address, unless there is a proxy in between, and how many bytes came back.
    address: OnceLock<SocketAddr>,
    received: AtomicUsize,
    /// When the other steps were over, and the look-up began.
    looking_up: OnceLock<Duration>,
    looked_up: OnceLock<Duration>,
    connected: OnceLock<Duration>,
    secured: OnceLock<Duration>,
    answered: OnceLock<Duration>,
    /// What went over the TCP connection.
    bytes_out: AtomicUsize,
    bytes_in: AtomicUsize,
    /// What was shown by a server, or a proxy, that is not trusted.
    #[cfg(feature = "tls")]
    shown: Arc<OnceLock<trust::Shown>>,
    /// The input buffer was full, and ureq could still make nothing of it.
    overflowed: AtomicBool,
}

const RESOLVING: u8 = 1;
const CONNECTING: u8 = 2;
/// The proxy has connected.
const TUNNELLED: u8 = 3;

/// Notes that it is now, if that is not noted yet.
fn mark(moment: &OnceLock<Duration>) {
    moment.get_or_init(|| BootClock.now());
}

impl Progress {
    fn timing(&self, end: Duration) -> Timing {
        let mut before = self.looking_up.get().copied().unwrap_or(end);
        let mut step = |moment: &OnceLock<Duration>| {
            let at = moment.get().copied().unwrap_or(before);
            at.saturating_sub(core::mem::replace(&mut before, at))
        };
        let (look_up, connect, tls) = (step(&self.looked_up), step(&self.connected), step(&self.secured));
        // What lies between is the making of the message.
        step(&self.sent_at);
        Timing {
            look_up,
            connect,
            tls,
            waiting: step(&self.answered),
            body: end.saturating_sub(before),
            bytes_sent: self.bytes_out.load(Ordering::Relaxed),
            bytes_received: self.bytes_in.load(Ordering::Relaxed),
        }
    }

    fn is_sent(&self) -> bool {
        self.sent_at.get().is_some()
    }

    /// The request went out, not a byte came back, and the server turns out to speak TLS, if it says so within `time`.
    fn was_cut_off_speechless(&self, time: Duration) -> bool {
        let address = self.address.get().filter(|_| self.is_sent() && self.received.load(Ordering::Relaxed) == 0);
        address.is_some_and(|address| answers_tls(*address, time))
    }
}

/// Reads the whole body, into buffers that are wiped as they are outgrown.
fn read(answer: http::Response<ureq::Body>, progress: &Progress) -> Result<Response, ureq::Error> {
    let (head, mut body) = answer.into_parts();
    // As ureq decides it: any other transfer coding, and any under HTTP/1.0, leaves the end to the connection's.
    let is_chunked = head.version != http::Version::HTTP_10
        && (head.headers.get_all(http::header::TRANSFER_ENCODING).iter())
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    let length = body.content_length();
    let first = length.map_or(MAX_FIRST_BUFFER, |length| length.min(MAX_FIRST_BUFFER as u64) as usize);
    // One byte more, to see the end.
    let mut bytes = Zeroizing::new(alloc::vec![0; first + 1]);
    let mut filled = 0;
    let mut reader = body.as_reader();
    loop {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if filled > MAX_BODY {
            return Err(ureq::Error::BodyExceedsLimit(MAX_BODY as u64));
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(alloc::vec![0; (filled * 4).min(MAX_BODY + 1)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(filled);

    let mut response = Response::new(head.status.as_u16(), Vec::new()).framed(length.is_some() || is_chunked);
    response.body = bytes;
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            response = response.header(name.as_str(), value);
        }
    }
    let now = BootClock.now();
    let response = response.with_timing(progress.timing(now));
    Ok(match progress.sent_at.get() {
        Some(sent_at) => response.elapsed(now.saturating_sub(*sent_at)),
        None => response,
    })
}

impl UreqTransport {
    /// Sorts a failure by who must act. Of ureq's own messages none is shown: some hold the URL. Within the time
    /// that is `left`, the server may be asked whether it speaks TLS.
    fn explain(
        &self,
        error: ureq::Error,
        request: &Request,
        progress: &Progress,
        proxy: Option<&str>,
        left: Duration,
    ) -> Error {
        let host = request.authority();
        // With a proxy that is the only one whose name is looked up here.
        let looked_up = || proxy.map_or(host.to_string(), |proxy| format!("the proxy {proxy}"));
        let seconds = seconds(request.whole_timeout());
        match error {
            ureq::Error::BodyExceedsLimit(_) => Error::new(ErrorKind::Unusable, "the answer is larger than 1 MiB"),
            ureq::Error::Timeout(_) if progress.is_sent() => {
                Error::new(ErrorKind::OutcomeUnknown, format!("no complete answer from {host} within {seconds} s"))
            }
            ureq::Error::Timeout(_) if progress.stage.load(Ordering::Relaxed) == RESOLVING => {
                let name = looked_up();
                Error::new(ErrorKind::Unreachable, format!("the name of {name} was not found within {seconds} s"))
                    .with_hint("the name servers do not answer: check the network")
            }
            ureq::Error::Timeout(_) => {
                Error::new(ErrorKind::Unreachable, format!("no connection to {host} within {seconds} s"))
            }
            ureq::Error::Io(_) if progress.overflowed.load(Ordering::Relaxed) => {
                Error::new(ErrorKind::Unusable, "the answer's headers are larger than 16 KiB")
            }
            ureq::Error::BodyStalled if progress.overflowed.load(Ordering::Relaxed) => {
                Error::new(ErrorKind::Unusable, format!("the answer of {host} is not HTTP"))
            }
            // The end of the connection within the line that tells a chunk's size.
            ureq::Error::BodyStalled => explain_io(io::ErrorKind::UnexpectedEof.into(), host, &looked_up(), progress),
            ureq::Error::Io(_) if request.url().starts_with("http:") && progress.was_cut_off_speechless(left) => {
                speaks_tls(host)
            }
            #[cfg(feature = "tls")]
            ureq::Error::Io(ref io) if tls::error_in(io).is_some_and(|error| is_tls_to_blame(error, progress)) => {
                let is_proxys = proxy.is_some() && progress.stage.load(Ordering::Relaxed) < TUNNELLED;
                let who = if is_proxys { looked_up() } else { host.to_string() };
                let shows_itself = request.client_certificate().is_some() && !is_proxys;
                let error = tls::error_in(io).cloned().unwrap_or(rustls::Error::HandshakeNotComplete);
                super::tls::explain(error, &who, progress.shown.get().copied(), shows_itself)
            }
            ureq::Error::Io(error) => explain_io(error, host, &looked_up(), progress),
            ureq::Error::Tls(_) => {
                Error::new(ErrorKind::Untrusted, format!("{host}: no certificate can be made out for such a name"))
            }
            ureq::Error::HostNotFound => not_found(&looked_up()),
            ureq::Error::ConnectProxyFailed(reason) => {
                // ureq tells the status twice: `407/407`.
                let reason = reason.split('/').next().unwrap_or_default();
                Error::new(ErrorKind::Unreachable, format!("the proxy does not connect to {host}: {reason}"))
            }
            ureq::Error::Protocol(_) if progress.answered_by_tls.load(Ordering::Relaxed) => speaks_tls(host),
            ureq::Error::Protocol(_) if progress.is_sent() => {
                Error::new(ErrorKind::Unusable, format!("the answer of {host} is not HTTP"))
            }
            // Before the request went out only a proxy has answered.
            ureq::Error::Protocol(_) => Error::new(
                ErrorKind::Unreachable,
                format!("the proxy does not connect to {host}: its answer is not HTTP"),
            ),
            ureq::Error::Http(_) => Error::config("the request cannot be sent: a part of it is not allowed in HTTP"),
            _ => Error::new(ErrorKind::Internal, "the HTTP client failed"),
        }
    }
}

/// In seconds: `30`, `0.25`. Not by a float, whose printing is large.
fn seconds(time: Duration) -> String {
    let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn speaks_tls(host: &str) -> Error {
    Error::new(ErrorKind::Untrusted, format!("{host} speaks TLS, and the URL says plain http"))
        .with_hint("write https:// in the URL")
}

/// Whether whoever listens at `address` answers the beginning of a TLS handshake in kind. Most servers just close when
/// they are sent plain http there, and so the only way to tell is to ask.
fn answers_tls(address: SocketAddr, time: Duration) -> bool {
    // RFC 5246 section 7.4.1.2: a ClientHello of TLS 1.2 with two ciphers and nothing else.
    const HELLO: &[u8] = b"\x16\x03\x01\x00\x2F\x01\x00\x00\x2B\x03\x03keyfob asks: is this TLS or HTTP\x00\x00\x04\xC0\x2B\xC0\x2F\x01\x00";
    let (started, time) = (Instant::now(), time.min(PROBE_TIMEOUT));
    let left = || time.saturating_sub(started.elapsed());
    let ask = || -> io::Result<bool> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, left())?;
        stream.set_write_timeout(Some(left()))?;
        io::Write::write_all(&mut stream, HELLO)?;
        stream.set_read_timeout(Some(left()))?;
        let mut start = [0; 2];
        // Once: each further read would have the whole time again.
        let _ = stream.read(&mut start)?;
        // RFC 8446 section 5.1: a handshake (22) or alert (21) record, of any version 3.x.
        Ok(matches!(start, [21 | 22, 3]))
    };
    ask().unwrap_or(false)
}

/// Once the request is out, a server that refuses the connection says so by an alert. Anything else has broken the
/// answer: a token may have been issued, and what was sent for it used up.
#[cfg(feature = "tls")]
fn is_tls_to_blame(error: &rustls::Error, progress: &Progress) -> bool {
    !progress.is_sent() || matches!(error, rustls::Error::AlertReceived(_))
}

fn explain_io(error: io::Error, host: &str, looked_up: &str, progress: &Progress) -> Error {
    #[cfg(feature = "tls")]
    if let Some(error) = tls::error_in(&error) {
        return lost(host, "TLS failed").with_source(error.clone());
    }
    let reason = error.kind().to_string();
    let result = match progress.stage.load(Ordering::Relaxed) {
        _ if progress.is_sent() => lost(host, &reason),
        stage if stage < CONNECTING => not_found(looked_up),
        _ => Error::new(ErrorKind::Unreachable, format!("no connection to {host}: {reason}")),
    };
    result.with_source(error)
}

fn lost(host: &str, reason: &str) -> Error {
    let message = format!("the connection to {host} ended before the answer did: {reason}");
    Error::new(ErrorKind::OutcomeUnknown, message)
}

fn not_found(host: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("the name of {host} was not found"))
        .with_hint("check the host's name in the URL, and the network")
}

/// The last link of ureq's chain of connectors: notes when the request goes out over the finished connection.
#[derive(Debug)]
struct Watch {
    target: Uri,
    progress: Arc<Progress>,
}

impl<In: Connection> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        // A proxy's own connection passes here too, and what it is sent is not the request.
        let progress = (details.uri == &self.target).then(|| self.progress.clone());
        if let (Some(progress), true) = (&progress, chained.as_ref().is_some_and(Connection::is_tls)) {
            mark(&progress.secured);
        }
        Ok(chained.map(|connection| Watched { connection, progress }))
    }
}

#[derive(Debug)]
struct Watched<In> {
    connection: In,
    progress: Option<Arc<Progress>>,
}

impl<In: Connection> Connection for Watched<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if let Some(progress) = &self.progress {
            mark(&progress.sent_at);
        }
        self.connection.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let before = self.connection.buffers().input().len();
        let made_progress = self.connection.await_input(timeout)?;
        if let Some(progress) = &self.progress {
            mark(&progress.answered);
            let arrived = self.connection.buffers().input().len().saturating_sub(before);
            if progress.received.fetch_add(arrived, Ordering::Relaxed) + arrived > MAX_ANSWER {
                return Err(ureq::Error::BodyExceedsLimit(MAX_ANSWER as u64));
            }
            // RFC 8446 section 5.1: a record of type alert (21), of any version 3.x.
            if self.connection.buffers().input().starts_with(&[21, 3]) {
                progress.answered_by_tls.store(true, Ordering::Relaxed);
            }
            if !made_progress && self.connection.buffers().input().len() >= INPUT_BUFFER {
                progress.overflowed.store(true, Ordering::Relaxed);
            }
        }
        Ok(made_progress)
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}
