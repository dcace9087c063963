//! The transport on ureq: the only file that names it.
//!
//! What ureq does by default and we do not: follow redirects, turn a status into an error, keep connections and zero
//! 256 KiB of buffers, read proxies from the environment without telling which it cannot use, start a thread for the
//! look-up of an address literal, show URLs with their query in errors.

use super::{Response, Transport};
use crate::clock::{BootClock, Clock};
use crate::endpoint::Method;
use crate::error::{Error, ErrorKind};
use crate::request::Request;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Instant;
use ureq::http::{self, HeaderName, HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport as Connection,
};
use ureq::{Agent, Proxy, ProxyProtocol};
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
/// use keyfob::{BootClock, Client, Endpoint, UreqTransport};
///
/// let transport = UreqTransport::new()
///     .timeout(Duration::from_secs(5))
///     .user_agent("meter/1.4")
///     .proxy("http://proxy.example:3128")?;
/// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, transport, BootClock);
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct UreqTransport {
    timeout: Duration,
    user_agent: Option<String>,
    proxy: ProxyChoice,
    #[cfg(feature = "tls")]
    roots: ureq::tls::RootCerts,
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
/// ureq zeroes its buffers, twice under TLS; 128 KiB each by default.
const INPUT_BUFFER: usize = 16 * 1024;
/// Holds the whole head of a usual request. A longer line gets a buffer for it: ureq cannot split one.
const OUTPUT_BUFFER: usize = 4 * 1024;
/// getaddrinfo and its plugins, with much room.
const RESOLVER_STACK: usize = 256 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
/// For the question whether a port speaks TLS, which is asked only after a request has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Default for UreqTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl UreqTransport {
    /// A timeout of 30 s for the whole fetch, proxies from the environment, Mozilla's roots.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timeout: TIMEOUT,
            user_agent: None,
            proxy: ProxyChoice::Environment,
            #[cfg(feature = "tls")]
            roots: ureq::tls::RootCerts::WebPki,
        }
    }

    /// Ends a fetch after this time, name look-up included. A thread is started for the look-up of a name, and left to
    /// itself when the time is over; an address literal needs none.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // ureq adds it to the present moment, and panics if that overflows.
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
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
        self.proxy = ProxyChoice::Proxy(parse_proxy(url, "proxy")?);
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
        use ureq::tls::PemItem;
        let mut certificates = Vec::new();
        for item in ureq::tls::parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => {
                    let der = rustls::pki_types::CertificateDer::from(certificate.der());
                    if rustls::RootCertStore::empty().add(der).is_err() {
                        let number = certificates.len() + 1;
                        return Err(Error::config(format!("trusted roots: certificate {number} cannot be read")));
                    }
                    certificates.push(certificate);
                }
                Ok(_) => {}
                Err(_) => return Err(Error::config("trusted roots: this is not PEM")),
            }
        }
        if certificates.is_empty() {
            return Err(Error::config("trusted roots: there is no certificate in it")
                .with_hint("it must be PEM: -----BEGIN CERTIFICATE-----"));
        }
        self.roots = ureq::tls::RootCerts::new_with_certs(&certificates);
        Ok(self)
    }

    fn config(
        &self,
        uri: &Uri,
        is_loopback: bool,
        output_buffer: usize,
        timeout: Duration,
    ) -> Result<ureq::config::Config, Error> {
        let proxy = match &self.proxy {
            ProxyChoice::Environment => proxy_from_environment(uri, is_loopback)?,
            ProxyChoice::Direct => None,
            ProxyChoice::Proxy(proxy) => Some(proxy.clone()),
        };
        let config = Agent::config_builder()
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
            .accept_encoding("");
        #[cfg(feature = "tls")]
        let config = config.tls_config(ureq::tls::TlsConfig::builder().root_certs(self.roots.clone()).build());
        Ok(config.build())
    }

    /// The request as ureq takes it. URL and header values are handed over in memory that wipes itself.
    fn message<B>(&self, request: &Request, uri: Uri, body: B) -> Result<http::Request<B>, Error> {
        let mut message = http::Request::new(body);
        *message.method_mut() = match request.method() {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Delete => http::Method::DELETE,
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
        f.debug_struct("UreqTransport").field("timeout", &self.timeout).finish_non_exhaustive()
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
        let longest_line = request.headers().map(|(name, value)| name.len() + value.len()).max().unwrap_or(0);
        let output_buffer = OUTPUT_BUFFER.max(longest_line.max(request.url().len()) + 64);
        let started = Instant::now();
        let progress = Arc::new(Progress::default());
        let timeout = self.timeout.saturating_sub(request.waited());
        let config = self.config(&uri, request.is_to_loopback(), output_buffer, timeout)?;
        let proxy = config.proxy().map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        // An agent for this request alone: nothing of it is kept, and its progress is its own.
        let agent = Agent::with_parts(
            config,
            DefaultConnector::new().chain(Watch { target: uri.clone(), progress: progress.clone() }),
            Names { progress: progress.clone() },
        );
        let answer = match request.body() {
            Some(body) => agent.run(self.message(request, uri, body)?),
            None => agent.run(self.message(request, uri, ())?),
        };
        answer.and_then(|answer| read(answer, &progress)).map_err(|error| {
            let error = self.explain(error, request, &progress, timeout.saturating_sub(started.elapsed()));
            match proxy {
                Some(proxy) if !progress.is_sent() => {
                    error.with_hint(format!("it is asked by way of the proxy {proxy}"))
                }
                _ => error,
            }
        })
    }

    fn timeout(&self) -> Duration {
        self.timeout
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
    /// The address that the connection went to first, and how many bytes came back.
    address: OnceLock<SocketAddr>,
    received: AtomicUsize,
    /// The input buffer was full, and ureq could still make nothing of it.
    overflowed: AtomicBool,
}

const RESOLVING: u8 = 1;
const CONNECTING: u8 = 2;

impl Progress {
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
    Ok(match progress.sent_at.get() {
        Some(sent_at) => response.elapsed(BootClock.now().saturating_sub(*sent_at)),
        None => response,
    })
}

impl UreqTransport {
    /// Sorts a failure by who must act. Of ureq's own messages none is shown: some hold the URL. Within the time
    /// that is `left`, the server may be asked whether it speaks TLS.
    fn explain(&self, error: ureq::Error, request: &Request, progress: &Progress, left: Duration) -> Error {
        let host = request.authority();
        let seconds = self.timeout.as_secs_f32();
        match error {
            ureq::Error::BodyExceedsLimit(_) => Error::new(ErrorKind::Unusable, "the answer is larger than 1 MiB"),
            ureq::Error::Timeout(_) if progress.is_sent() => {
                Error::new(ErrorKind::OutcomeUnknown, format!("no complete answer from {host} within {seconds} s"))
            }
            ureq::Error::Timeout(_) if progress.stage.load(Ordering::Relaxed) == RESOLVING => {
                Error::new(ErrorKind::Unreachable, format!("the name of {host} was not found within {seconds} s"))
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
            ureq::Error::BodyStalled => explain_io(io::ErrorKind::UnexpectedEof.into(), host, progress),
            ureq::Error::Io(_) if request.url().starts_with("http:") && progress.was_cut_off_speechless(left) => {
                speaks_tls(host)
            }
            ureq::Error::Io(error) => explain_io(error, host, progress),
            #[cfg(feature = "tls")]
            ureq::Error::Rustls(error) => super::tls::explain(&error, host),
            ureq::Error::Tls(_) => {
                Error::new(ErrorKind::Untrusted, format!("{host}: no certificate can be made out for such a name"))
            }
            ureq::Error::HostNotFound => not_found(host),
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

fn explain_io(error: io::Error, host: &str, progress: &Progress) -> Error {
    #[cfg(feature = "tls")]
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        // Once the request is out, a server that refuses the connection says so by an alert. Anything else has broken
        // the answer: a token may have been issued, and what was sent for it used up.
        if !progress.is_sent() || matches!(error, rustls::Error::AlertReceived(_)) {
            return super::tls::explain(error, host);
        }
        return lost(host, "TLS failed").with_source(error.clone());
    }
    let reason = error.kind().to_string();
    let result = match progress.stage.load(Ordering::Relaxed) {
        _ if progress.is_sent() => lost(host, &reason),
        stage if stage < CONNECTING => not_found(host),
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

/// Name look-up with a time limit, and without a thread where there is nothing to look up.
#[derive(Debug)]
struct Names {
    progress: Arc<Progress>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut addresses = self.empty();
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => addresses.push(SocketAddr::new(address, port)),
            Err(_) => {
                self.progress.stage.store(RESOLVING, Ordering::Relaxed);
                // What ureq's list has room for.
                for address in look_up(host, port, timeout)?.into_iter().take(16) {
                    addresses.push(address);
                }
            }
        }
        self.progress.stage.store(CONNECTING, Ordering::Relaxed);
        if let Some(address) = addresses.first() {
            let _ = self.progress.address.set(*address);
        }
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// getaddrinfo cannot be told a time limit, so it runs in a thread of its own that may outlive the request.
fn look_up(host: &str, port: u16, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let host = host.to_owned();
    std::thread::Builder::new().name("keyfob-names".into()).stack_size(RESOLVER_STACK).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|addresses| addresses.collect());
        // Nobody listens any more once the time is over.
        let _ = sender.send(found);
    })?;
    match receiver.recv_timeout(*timeout.after) {
        Ok(found) => Ok(found?),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(timeout.reason)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(ureq::Error::HostNotFound),
    }
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
            progress.sent_at.get_or_init(|| BootClock.now());
        }
        self.connection.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let before = self.connection.buffers().input().len();
        let made_progress = self.connection.await_input(timeout)?;
        if let Some(progress) = &self.progress {
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

/// The proxy that the environment names for this URL, by curl's conventions.
fn proxy_from_environment(uri: &Uri, is_loopback: bool) -> Result<Option<Proxy>, Error> {
    // Plain http is allowed to this machine because it does not leave it; by way of a proxy it would.
    if is_loopback {
        return Ok(None);
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Not HTTP_PROXY: in a CGI program that is the request's `Proxy` header.
    let own: [&str; 2] =
        if uri.scheme_str() == Some("https") { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy"; 2] };
    let found = own.into_iter().chain(["all_proxy", "ALL_PROXY"]).find_map(|name| Some((name, variable(name)?)));
    let Some((name, value)) = found else { return Ok(None) };
    let exceptions = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    if needs_no_proxy(&exceptions, uri.host().unwrap_or_default()) {
        return Ok(None);
    }
    parse_proxy(&value, name).map(Some)
}

/// Whether `no_proxy` names the host: itself, a domain that it is in, or `*`.
fn needs_no_proxy(exceptions: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    exceptions.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        entry == "*"
            || (!domain.is_empty()
                && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))))
    })
}

fn parse_proxy(url: &str, origin: &str) -> Result<Proxy, Error> {
    // The value may hold a password, so it is not shown.
    let proxy = Proxy::new(url).map_err(|_| {
        Error::config(format!("{origin}: this is no proxy's URL")).with_hint("it looks like http://proxy.example:3128")
    })?;
    match proxy.protocol() {
        ProxyProtocol::Http => Ok(proxy),
        ProxyProtocol::Https if cfg!(feature = "tls") => Ok(proxy),
        ProxyProtocol::Https => Err(Error::config(format!("{origin}: an https proxy needs the feature `tls`"))),
        _ => {
            Err(Error::config(format!("{origin}: SOCKS proxies are not supported, and going around it would be wrong"))
                .with_hint("name an http proxy, or list the host in no_proxy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (exceptions, host, expected) in [
            ("", "as.example", false),
            ("*", "as.example", true),
            ("as.example", "as.example", true),
            ("AS.example", "as.EXAMPLE", true),
            ("example", "as.example", true),
            (".example", "as.example", true),
            ("*.example", "as.example", true),
            ("s.example", "as.example", false),
            ("other, 127.0.0.1", "127.0.0.1", true),
            ("::1", "[::1]", true),
            (",,", "as.example", false),
        ] {
            assert_eq!(needs_no_proxy(exceptions, host), expected, "{exceptions} {host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error() {
        for (url, message) in [
            (
                "socks5://p.example:1080",
                "all_proxy: SOCKS proxies are not supported, and going around it would be wrong",
            ),
            ("ftp://p.example", "all_proxy: this is no proxy's URL"),
            ("http://user:hunter2@", "all_proxy: this is no proxy's URL"),
        ] {
            let error = parse_proxy(url, "all_proxy").map(|_| ()).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
        }
        assert!(parse_proxy("http://user:hunter2@p.example:3128", "all_proxy").is_ok());
    }
}
