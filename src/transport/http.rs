//! The transport: HTTP/1.1 on a new connection for each request.
//!
//! It does what a token request needs and no more: it keeps no connection, follows no redirect, and bounds time and memory. Each
//! buffer that may hold a secret is allocated once with its final size, or replaced by a larger one, and wiped.

mod answer;
mod connect;
mod explain;
mod head;
mod host_port;
mod no_proxy;
mod proxy;
mod send;
#[cfg(feature = "tls")]
mod tls_stream;

use self::host_port::HostPort;
use self::proxy::Proxy;
#[cfg(feature = "tls")]
use super::tls;
use crate::error::Error;
use crate::observe::Observer;
use crate::url::{is_link_local, is_loopback};
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// Sends requests with HTTP/1.1, each over a new connection. Needs the feature `http`, and `tls` for https.
///
/// It follows no redirect. An answer may have a body of 1 MiB, headers of 16 KiB, and 2 MiB in all. Default: Mozilla's roots, which
/// are compiled in, a proxy if the environment names one, and `keyfob/VERSION` as `User-Agent`. The time limit is that of
/// [`Client::timeout`](crate::Client::timeout), from the name look-up to the last byte of the answer.
///
/// # Proxies
///
/// The environment names a proxy: `https_proxy` (or `HTTPS_PROXY`) for https, `http_proxy` for http, `all_proxy` (or
/// `ALL_PROXY`) for both. Requests to this machine itself and to link-local addresses, such as a cloud's metadata service
/// (169.254.169.254, fd00:ec2::254), never go through a proxy. `no_proxy` (or `NO_PROXY`) lists the hosts that are asked
/// directly, separated by commas or spaces:
///
/// | entry | means | curl 7.88 | Go |
/// |---|---|---|---|
/// | `*` | every host | alone in the list only | yes |
/// | `example.com` | the host and its subdomains | yes | yes |
/// | `.example.com` | the host and its subdomains | yes | subdomains only |
/// | `*.example.com` | the host and its subdomains | no | subdomains only |
/// | `example.com:8443` | at this port only | no | yes |
/// | `10.1.2.3`, `fd00::1` | the address, however it is written | IPv4, and IPv6 as it is written | yes |
/// | `[fd00::1]` | the address | no | yes |
/// | `10.1.2.3:8443`, `[fd00::1]:8443` | at this port only | no | yes |
/// | `10.0.0.0/8`, `fd00::/8` | every address of the network | IPv4 | yes |
/// | `a.example b.example` | a space separates, too | yes | no |
/// | `10.9.*`, `10.0.0.0/33` | an error: nothing is sent | ignored | ignored |
///
/// ```no_run
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, HttpTransport};
///
/// let transport = HttpTransport::new()
///     .user_agent("meter/1.4")
///     .proxy("http://proxy.example:3128")?;
/// let client = Client::new(Endpoint::new("https://as.example/token")?)
///     .transport(transport)
///     .timeout(Duration::from_secs(5));
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct HttpTransport {
    user_agent: Option<String>,
    proxy: ProxyChoice,
    /// Host and port, or a host alone.
    connect_to: Option<String>,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "tls")]
    roots: tls::Roots,
}

enum ProxyChoice {
    Environment,
    Direct,
    Proxy(Arc<Proxy>),
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpTransport {
    /// Creates a transport that takes proxies from the environment and trusts Mozilla's roots.
    #[must_use]
    pub fn new() -> Self {
        Self {
            user_agent: None,
            proxy: ProxyChoice::Environment,
            connect_to: None,
            observer: None,
            #[cfg(feature = "tls")]
            roots: tls::Roots::Mozilla,
        }
    }

    /// Sets the `User-Agent`. Default: `keyfob/VERSION`. An endpoint's own `User-Agent` header wins.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Sends every request through this proxy, with CONNECT: `http://user:password@proxy.example:3128`. Default: the one that
    /// the environment names.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for SOCKS, which is not supported, and for any text that is not the URL of an http or
    /// https proxy: it has no path, query or fragment. In the user name and the password, write `#` as `%23`, `/` as `%2F`, `?` as
    /// `%3F` and `@` as `%40`.
    pub fn proxy(mut self, url: &str) -> Result<Self, Error> {
        self.proxy = ProxyChoice::Proxy(Arc::new(Proxy::parse(url, "proxy")?));
        Ok(self)
    }

    /// Sends every request directly, even if the environment names a proxy.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::Direct;
        self
    }

    /// Connects to this host and port instead of the URL's: `10.1.2.3:8443`, `[fd00::1]:8443`, `edge.example`. Default: the URL's.
    /// Without a port, the URL's port.
    ///
    /// All else is still taken from the URL: the `Host` header, the server name in the TLS handshake (SNI), and the name that the
    /// certificate must be for. A proxy is asked to connect to this host and port.
    ///
    /// A URL with plain http to this machine or a link-local address needs no permission, so this host must be one of these, too.
    /// Otherwise the fetch fails with [`Config`](crate::ErrorKind::Config) before anything is sent.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for any text that is not a name or an address with an optional port.
    pub fn connect_to(mut self, place: &str) -> Result<Self, Error> {
        if HostPort::parse(place, 0).is_none() {
            return Err(Error::config("connect_to: this is neither HOST:PORT nor HOST")
                .with_hint("it looks like 10.1.2.3:8443, [fd00::1]:8443 or edge.example"));
        }
        self.connect_to = Some(place.into());
        Ok(self)
    }

    /// Trusts these certificates, in PEM or one in DER, and no others. Default: Mozilla's roots.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if there is no certificate, or one that cannot be read.
    #[cfg(feature = "tls")]
    pub fn roots_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.roots = tls::Roots::given(pem)?;
        Ok(self)
    }

    /// Trusts the certificates in this file, in PEM or one in DER, and no others. Default: Mozilla's roots. The first fetch
    /// over https reads the file. If the file or one of its certificates cannot be read, or it has none, the fetch fails with
    /// [`Config`](crate::ErrorKind::Config) before anything is sent. A fetch after the file was replaced reads it again, and
    /// keeps to what it read before if the new one cannot be used.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn roots_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.roots = tls::Roots::later(tls::Bundle::File(path.into()));
        self
    }

    /// Trusts the roots of this system. Default: Mozilla's roots. The first fetch over https reads the PEM file that `SSL_CERT_FILE`
    /// names, which takes a millisecond or more, or the first that exists of
    ///
    /// - `/etc/ssl/certs/ca-certificates.crt`
    /// - `/etc/pki/tls/certs/ca-bundle.crt`
    /// - `/etc/ssl/ca-bundle.pem`
    /// - `/etc/pki/tls/cacert.pem`
    /// - `/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem`
    /// - `/etc/ssl/cert.pem`
    ///
    /// Certificates in it that cannot be read are skipped. Windows has no such file: name one with `SSL_CERT_FILE`.
    ///
    /// If there is no such file, or it cannot be read, or none of its certificates can, the fetch fails with
    /// [`Config`](crate::ErrorKind::Config) before anything is sent.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.roots = tls::Roots::later(tls::Bundle::System);
        self
    }

    /// Sets the observer that receives the events of connections: [`AddressesFound`](crate::Event::AddressesFound),
    /// [`Connected`](crate::Event::Connected), [`CertificateShown`](crate::Event::CertificateShown) and
    /// [`Secured`](crate::Event::Secured). Default: none.
    ///
    /// ```
    /// use keyfob::{Event, HttpTransport};
    ///
    /// let transport = HttpTransport::new().observer(|event: &Event<'_>| if let Event::Connected { address, .. } = event {
    ///     println!("connected to {address}");
    /// });
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    fn target<'u>(&self, url: &'u str) -> Option<Target<'u>> {
        let mut target = Target::of(url)?;
        if let Some(place) = &self.connect_to {
            target.place = HostPort::parse(place, target.server.port)?;
        }
        Some(target)
    }

    /// Returns the proxy for a target, if it is to be reached through one.
    fn proxy_for(&self, target: &Target<'_>) -> Result<Option<Arc<Proxy>>, Error> {
        // Nobody else sees plain http to this machine, which is why it needs no permission.
        let is_loopback = [&target.server, &target.place].iter().any(|place| is_loopback(&place.host));
        let is_link_local = [&target.server, &target.place].iter().any(|place| is_link_local(&place.host));
        match &self.proxy {
            ProxyChoice::Direct => Ok(None),
            ProxyChoice::Environment if is_loopback || is_link_local => Ok(None),
            ProxyChoice::Environment => Proxy::from_environment(target),
            ProxyChoice::Proxy(_) if is_loopback && !target.is_https || is_link_local => {
                let message = match is_link_local {
                    true => "a link-local address cannot be asked through a proxy: it would be the proxy's own",
                    false => "plain http to this machine through a proxy would show it the credentials",
                };
                Err(Error::config(message).with_hint("leave the proxy out (`HttpTransport::no_proxy`), or use https"))
            }
            ProxyChoice::Proxy(proxy) => Ok(Some(proxy.clone())),
        }
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

/// Where a request goes: the parts of its URL, which was checked when the endpoint was described.
struct Target<'u> {
    is_https: bool,
    /// Host and port as they are written in the URL.
    authority: &'u str,
    server: HostPort,
    /// Where to connect, which is the server unless `connect_to` says otherwise.
    place: HostPort,
    /// Path and query.
    path: &'u str,
}

impl<'u> Target<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let server = HostPort::parse(authority, if is_https { 443 } else { 80 })?;
        Some(Self { is_https, authority, place: server.clone(), server, path })
    }
}
