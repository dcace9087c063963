//! Makes errors of failures, sorted by who must act.

use super::Target;
use super::answer::Fault;
#[cfg(feature = "tls")]
use super::connect::Wire;
use super::host_port::HostPort;
use super::proxy::Proxy;
#[cfg(feature = "tls")]
use super::tls_stream::{Tls, error_in};
use crate::error::{Error, ErrorKind};
use crate::observe::{Event, Observer};
use crate::request::Request;
#[cfg(feature = "tls")]
use crate::transport::tls;
#[cfg(feature = "tls")]
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
#[cfg(feature = "tls")]
use alloc::sync::Arc;
use core::time::Duration;
use std::io;
#[cfg(feature = "tls")]
use std::sync::OnceLock;

/// A request on its way, with all that its errors name.
pub(super) struct Call<'c> {
    pub(super) request: &'c Request,
    pub(super) target: &'c Target<'c>,
    pub(super) proxy: Option<&'c Proxy>,
    pub(super) observer: Option<&'c dyn Observer>,
    #[cfg(feature = "tls")]
    pub(super) shown: &'c OnceLock<tls::Shown>,
}

impl Call<'_> {
    /// Returns where the connection goes: to the proxy, or to the server.
    pub(super) fn dialled(&self) -> &HostPort {
        self.proxy.map_or(&self.target.place, |proxy| &proxy.place)
    }

    pub(super) fn notify(&self, event: &Event<'_>) {
        if let Some(observer) = self.observer {
            observer.event(event);
        }
    }

    /// Returns whether `connect_to` names another place than the URL.
    fn is_elsewhere(&self) -> bool {
        self.target.place != self.target.server
    }

    /// Returns the error for a name look-up that failed: the proxy's name if there is a proxy.
    pub(super) fn not_found(&self, error: io::Error) -> Error {
        let name = match self.proxy {
            Some(proxy) => format!("of the proxy {}", proxy.place.host),
            None => self.target.place.host.clone(),
        };
        let (message, hint) = match error.kind() {
            io::ErrorKind::TimedOut => (
                format!("the name {name} was not found within {}", self.seconds()),
                "the name servers do not answer: check the network",
            ),
            io::ErrorKind::NotFound if self.proxy.is_some() => {
                (format!("the name {name} was not found"), "check the proxy's name, and the network")
            }
            io::ErrorKind::NotFound if self.is_elsewhere() => (
                format!("the name {name} was not found"),
                "check the host's name (`HttpTransport::connect_to`), and the network",
            ),
            io::ErrorKind::NotFound => {
                (format!("the name {name} was not found"), "check the host's name in the URL, and the network")
            }
            _ => (format!("the name {name} cannot be looked up: {error}"), "check the limits of this process"),
        };
        Error::new(ErrorKind::Unreachable, message).with_hint(hint).with_source(error)
    }

    /// Returns the error for a connection that was not made. Nothing was sent to the server.
    pub(super) fn unreachable(&self, error: io::Error) -> Error {
        let host = self.target.authority;
        let place = match self.is_elsewhere() {
            true => format!(" at {}", self.target.place),
            false => String::new(),
        };
        let message = match error.kind() {
            io::ErrorKind::TimedOut => format!("no connection to {host}{place} within {}", self.seconds()),
            kind => format!("no connection to {host}{place}: {kind}"),
        };
        self.through(Error::new(ErrorKind::Unreachable, message).with_source(error))
    }

    /// Returns the error for a CONNECT that could not be sent or was not answered.
    pub(super) fn not_connected(&self, fault: Fault) -> Error {
        match fault {
            // In TLS 1.3 a proxy refuses a client without a certificate after the handshake.
            #[cfg(feature = "tls")]
            Fault::Io(error) | Fault::Nothing(error) if error_in(&error).is_some() => {
                let cause = error_in(&error).cloned().unwrap_or(rustls::Error::HandshakeNotComplete);
                self.untrusted(cause, true)
            }
            Fault::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.refused_to_connect("it closed the connection")
            }
            Fault::Io(error) | Fault::Nothing(error) => self.unreachable(error),
            Fault::NotHttp(_) | Fault::Tls => self.refused_to_connect("its answer is not HTTP"),
            Fault::HeadTooLarge | Fault::BodyTooLarge => self.refused_to_connect("its answer is larger than 16 KiB"),
        }
    }

    pub(super) fn refused_to_connect(&self, why: &str) -> Error {
        let message = format!("the proxy does not connect to {}: {why}", self.target.authority);
        self.through(Error::new(ErrorKind::Unreachable, message))
    }

    /// Returns the error for a connection that failed after a part of the request was sent.
    pub(super) fn lost(&self, error: io::Error) -> Error {
        let host = self.target.authority;
        #[cfg(feature = "tls")]
        if let Some(cause) = error_in(&error) {
            // A server refuses a connection with an alert. Any other fault broke the answer: the server may have issued a
            // token, and the grant may be used up.
            return match cause {
                rustls::Error::AlertReceived(_) => self.untrusted(cause.clone(), false),
                _ => Self::cut_off(host, "TLS failed").with_source(cause.clone()),
            };
        }
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let message = format!("no complete answer from {host} within {}", self.seconds());
                Error::new(ErrorKind::OutcomeUnknown, message)
            }
            kind => Self::cut_off(host, &kind.to_string()).with_source(error),
        }
    }

    fn cut_off(host: &str, why: &str) -> Error {
        Error::new(ErrorKind::OutcomeUnknown, format!("the connection to {host} ended before the answer did: {why}"))
    }

    /// Returns the error for a request without an answer that can be read.
    pub(super) fn not_answered(&self, fault: Fault) -> Error {
        let host = self.target.authority;
        let unusable = |message: String| Error::new(ErrorKind::Unusable, message);
        match fault {
            Fault::Io(error) => self.lost(error),
            Fault::Nothing(error) => match self.target.is_https || error.kind() == io::ErrorKind::TimedOut {
                true => self.lost(error),
                false => {
                    self.lost(error).with_hint("the server sent nothing: if it speaks TLS, write https:// in the URL")
                }
            },
            Fault::Tls if !self.target.is_https => {
                Error::new(ErrorKind::Untrusted, format!("{host} speaks TLS, and the URL says plain http"))
                    .with_hint("write https:// in the URL")
            }
            Fault::Tls => unusable(format!("the answer from {host} is not HTTP: it is a TLS alert")),
            Fault::NotHttp(why) => unusable(format!("the answer from {host} is not HTTP: {why}")),
            Fault::HeadTooLarge => unusable("the answer's headers are larger than 16 KiB".into()),
            Fault::BodyTooLarge => unusable("the answer is larger than 1 MiB".into()),
        }
    }

    /// Starts TLS on a connection to the server or the proxy.
    #[cfg(feature = "tls")]
    pub(super) fn handshake(
        &self,
        wire: Box<dyn Wire>,
        config: Arc<rustls::ClientConfig>,
        host: &str,
        is_proxys: bool,
    ) -> Result<Box<dyn Wire>, Error> {
        let Ok(name) = rustls::pki_types::ServerName::try_from(host) else {
            let message = format!("{}: no certificate can be issued for such a name", self.peer(is_proxys));
            return Err(Error::new(ErrorKind::Untrusted, message));
        };
        match Tls::connect(wire, config, name.to_owned()) {
            Ok(tls) => {
                self.notify(&Event::Secured { version: tls.version(), is_proxys });
                Ok(Box::new(tls))
            }
            Err(error) => Err(match error_in(&error) {
                Some(cause) => self.untrusted(cause.clone(), is_proxys),
                None if is_end(&error) => {
                    let message =
                        format!("{}: it closed the connection during the TLS handshake", self.peer(is_proxys));
                    Error::new(ErrorKind::Untrusted, message)
                        .with_hint("check the port, and whether the URL should say http://")
                        // The server may be restarting, and nothing was sent.
                        .retryable(true)
                        .with_source(error)
                }
                None => self.unreachable(error),
            }),
        }
    }

    #[cfg(feature = "tls")]
    fn untrusted(&self, error: rustls::Error, is_proxys: bool) -> Error {
        let shows_itself = self.request.client_certificate().is_some() && !is_proxys;
        tls::explain(error, &self.peer(is_proxys), self.shown.get().copied(), shows_itself)
    }

    /// Names the other side of the connection.
    #[cfg(feature = "tls")]
    fn peer(&self, is_proxys: bool) -> String {
        match self.proxy.filter(|_| is_proxys) {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.target.authority.to_string(),
        }
    }

    fn through(&self, error: Error) -> Error {
        match self.proxy {
            Some(proxy) => error.with_hint(format!("connecting through the proxy {proxy}")),
            None => error,
        }
    }

    /// Returns the time limit as text: `30 s`, `0.25 s`.
    fn seconds(&self) -> String {
        let time: Duration = self.request.whole_timeout();
        // Formatting a float takes much code.
        let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
        format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Returns whether the other side closed the connection.
#[cfg(feature = "tls")]
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}
