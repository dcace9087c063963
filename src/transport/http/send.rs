//! Sends a request, step by step: name look-up, connection, proxy, TLS handshake, request, answer.

use super::connect::{self, Tcp, Wire};
use super::explain::Call;
use super::{HttpTransport, Target, answer, proxy};
use crate::clock::{BootClock, Clock};
use crate::encode;
use crate::error::Error;
use crate::observe::Event;
use crate::request::{Request, USER_AGENT};
use crate::secret::Secret;
#[cfg(feature = "tls")]
use crate::transport::tls;
use crate::transport::{Response, Timing, Transport};
use crate::url::is_near;
use alloc::boxed::Box;
#[cfg(feature = "tls")]
use alloc::sync::Arc;
use core::time::Duration;
#[cfg(feature = "tls")]
use rustls::ClientConfig;
use std::io::Write;
#[cfg(feature = "tls")]
use std::sync::OnceLock;
use std::time::Instant;

/// Some centuries. More would overflow the clock.
const LONGEST: Duration = Duration::from_secs(1 << 34);
/// The longest URL. No server accepts a longer one.
const MAX_URL: usize = 64 * 1024;

impl Transport for HttpTransport {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let deadline = Instant::now() + request.timeout().min(LONGEST);
        let target = self.target(request.url());
        let target = target.ok_or_else(|| Error::config("url: the host is neither a name nor an address"))?;
        if request.url().len() > MAX_URL {
            return Err(Error::config("url: with its parameters it is longer than 64 KiB"));
        }
        if target.is_https && !cfg!(feature = "tls") {
            return Err(Error::config("url: https needs the feature `tls`, which this build does not have"));
        }
        if !target.is_https && request.client_certificate().is_some() {
            return Err(Error::config("url: a client certificate needs https"));
        }
        if !target.is_https && is_near(&target.server.host) && !is_near(&target.place.host) {
            return Err(Error::config("connect_to: plain http to a local host must not be sent to another")
                .with_hint("use https, or name in the URL the host that is meant"));
        }
        let proxy = self.proxy_for(&target)?;
        let message = self.message(request, &target)?;
        #[cfg(feature = "tls")]
        let sessions = self.sessions(request, target.is_https, proxy.as_ref().is_some_and(|proxy| proxy.is_https))?;
        let call = Call {
            request,
            target: &target,
            proxy: proxy.as_deref(),
            observer: self.observer.as_deref(),
            #[cfg(feature = "tls")]
            shown: &sessions.shown,
        };

        let (mut watch, mut timing) = (Watch::start(), Timing::default());
        let addresses = connect::look_up(call.dialled(), deadline).map_err(|error| call.not_found(error))?;
        timing.look_up = watch.lap();
        call.notify(&Event::AddressesFound { addresses: &addresses });
        let (tcp, address) = Tcp::connect(&addresses, deadline).map_err(|error| call.unreachable(error))?;
        call.notify(&Event::Connected { address });
        let mut wire: Box<dyn Wire> = Box::new(tcp);
        if let Some(proxy) = &proxy {
            #[cfg(feature = "tls")]
            if let Some(config) = sessions.proxy {
                wire = call.handshake(wire, config, &proxy.place.host, true)?;
            }
            let asked = wire.write_all(proxy.connect_request(&target).expose().as_bytes()).and_then(|()| wire.flush());
            asked.map_err(|error| call.not_connected(error.into()))?;
            let head = answer::read_connect(&mut wire).map_err(|fault| call.not_connected(fault))?;
            match head.status {
                200..=299 => {}
                407 => return Err(proxy.unauthorized(&head.headers)),
                status => return Err(call.refused_to_connect(&alloc::format!("proxy server responded {status}"))),
            }
        }
        timing.connect = watch.lap();
        #[cfg(feature = "tls")]
        if let Some(config) = sessions.server {
            wire = call.handshake(wire, config, &target.server.host, false)?;
            timing.tls = watch.lap();
        }

        watch = Watch::start();
        let sent_at = watch.last;
        wire.write_all(message.expose().as_bytes()).and_then(|()| wire.flush()).map_err(|error| call.lost(error))?;
        let response = answer::read(&mut wire, &mut || timing.waiting = watch.lap());
        let response = response.map_err(|fault| call.not_answered(fault))?;
        timing.body = watch.lap();
        (timing.bytes_sent, timing.bytes_received) = wire.traffic();
        Ok(response.with_timing(timing).with_elapsed(watch.last.saturating_sub(sent_at)))
    }

    /// Names the proxy with its credentials, the place of `connect_to`, and for https the source of the roots. Of a file of roots,
    /// the inode, the size and the time count, and not the content.
    fn route(&self, url: &str) -> Option<Secret> {
        let target = self.target(url)?;
        // With a wrong configuration there is no connection that can fail.
        let proxy = proxy::name(self.proxy_for(&target).ok()?.as_deref());
        let place = self.connect_to.as_deref().unwrap_or_default();
        #[cfg(feature = "tls")]
        let roots = if target.is_https { self.roots.name() } else { Default::default() };
        #[cfg(not(feature = "tls"))]
        let roots = "";
        Some(encode::exact(|out| write!(out, "{}\n{place}\n{roots}", proxy.expose())))
    }
}

impl HttpTransport {
    /// Returns the whole request in one buffer of its exact size.
    fn message(&self, request: &Request, target: &Target<'_>) -> Result<Secret, Error> {
        let mut headers = alloc::vec::Vec::new();
        for (name, value) in request.headers() {
            let value = match &self.user_agent {
                Some(own) if name == "User-Agent" && value == USER_AGENT => own,
                _ => value,
            };
            if !value.bytes().all(|byte| matches!(byte, 0x20..=0x7E)) {
                return Err(Error::config(alloc::format!(
                    "header {name}: its value has a character that cannot be sent"
                )));
            }
            headers.push((name, value));
        }
        let method = request.method();
        // A request's body is text.
        let body = request.body().map(|body| core::str::from_utf8(body).unwrap_or_default());
        Ok(encode::exact(|out| {
            let slash = if target.path.starts_with('/') { "" } else { "/" };
            write!(out, "{method} {slash}{} HTTP/1.1\r\nHost: {}\r\n", target.path, target.authority)?;
            for (name, value) in &headers {
                write!(out, "{name}: {value}\r\n")?;
            }
            if let Some(body) = body {
                write!(out, "Content-Length: {}\r\n", body.len())?;
            }
            write!(out, "\r\n{}", body.unwrap_or_default())
        }))
    }

    /// Returns the TLS settings for the server and the proxy. Only the server is shown the client certificate.
    #[cfg(feature = "tls")]
    fn sessions(&self, request: &Request, is_https: bool, is_proxy_https: bool) -> Result<Sessions, Error> {
        let shown = Arc::new(OnceLock::new());
        let config = |certificate, is_proxys| {
            tls::client_config(&self.roots, certificate, shown.clone(), self.observer.clone(), is_proxys)
        };
        Ok(Sessions {
            server: is_https.then(|| config(request.client_certificate(), false)).transpose()?,
            proxy: is_proxy_https.then(|| config(None, true)).transpose()?,
            shown,
        })
    }
}

#[cfg(feature = "tls")]
struct Sessions {
    server: Option<Arc<ClientConfig>>,
    proxy: Option<Arc<ClientConfig>>,
    /// The certificate that was not trusted, of the server or the proxy.
    shown: Arc<OnceLock<tls::Shown>>,
}

/// Measures one step after the other.
struct Watch {
    last: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { last: BootClock.now() }
    }

    /// Returns the time since the last step.
    fn lap(&mut self) -> Duration {
        let now = BootClock.now();
        now.saturating_sub(core::mem::replace(&mut self.last, now))
    }
}
