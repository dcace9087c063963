//! TLS over a connection of ureq's, by rustls. ureq's own connector panics over a key that does not fit its certificate,
//! and says of a certificate that was refused nothing but why.

use super::buffers::WipedBuffers;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::time::Instant;
use ureq::http::Uri;
use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport as Connection, TransportAdapter,
};

/// The error of rustls that one of a connection stands for.
pub(super) fn error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[derive(Debug)]
pub(super) struct TlsConnector {
    pub(super) target: Uri,
    pub(super) deadline: Instant,
    /// For the server, and for the proxy on the way to it: the client shows itself to the server alone.
    pub(super) config: Option<Arc<ClientConfig>>,
    pub(super) proxys_config: Option<Arc<ClientConfig>>,
}

impl<In: Connection> Connector<In> for TlsConnector {
    type Out = Either<In, Tls>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(connection) = chained else { return Ok(None) };
        // A proxy's own connection is not that to the server: that is told by `is_tls` as well.
        if !details.needs_tls() || connection.is_tls() {
            return Ok(Some(Either::A(connection)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("no name for a certificate"))?.to_owned();
        let config = if details.uri == &self.target { &self.config } else { &self.proxys_config };
        let config = config.clone().ok_or(ureq::Error::TlsRequired)?;
        let failed = |error| ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error));
        let conn = ClientConnection::new(config, name).map_err(failed)?;
        let mut sock = TransportAdapter::new(Box::new(connection) as Box<dyn Connection>, details.current_time.clone());
        let left = self.deadline.saturating_duration_since(Instant::now());
        sock.set_timeout(NextTimeout { after: Duration::Exact(left), ..details.timeout });
        let buffers = WipedBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let mut tls = Tls { stream: StreamOwned { conn, sock }, buffers };
        if let Err(error) = tls.stream.conn.complete_io(&mut tls.stream.sock) {
            return Err(tls.last_words(error).into());
        }
        Ok(Some(Either::B(tls)))
    }
}

pub(super) struct Tls {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: WipedBuffers,
}

impl Tls {
    /// What the server still said, where it would take no more: it refuses a client certificate while that is on its way,
    /// by TLS 1.3 even when the request is.
    fn last_words(&mut self, error: io::Error) -> io::Error {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return error;
        }
        while self.stream.conn.read_tls(&mut self.stream.sock).is_ok_and(|count| count > 0) {
            if let Err(error) = self.stream.conn.process_new_packets() {
                return io::Error::new(io::ErrorKind::InvalidData, error);
            }
        }
        error
    }
}

impl Connection for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let sent = self.stream.write_all(&self.buffers.output()[..amount]);
        wipe_stack();
        sent.map_err(|error| self.last_words(error).into())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf());
        wipe_stack();
        let count = count?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// It serves one request, and is never used again.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Writes over what the calls before it left on the stack. ring copies the last, incomplete block of a record there: up to
/// 15 bytes, which may be the end of a secret.
#[inline(never)]
fn wipe_stack() {
    let mut stack = [0_u8; 8 * 1024];
    // Or it would be left out.
    core::hint::black_box(&mut stack);
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("below", &self.stream.sock.get_ref()).finish_non_exhaustive()
    }
}
