//! TLS over a connection.

use super::connect::Wire;
use alloc::boxed::Box;
use alloc::sync::Arc;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use std::io::{self, ErrorKind, Read, Write};

/// Returns the rustls error inside an I/O error.
pub(super) fn error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

pub(super) struct Tls {
    session: ClientConnection,
    below: Box<dyn Wire>,
}

impl Tls {
    /// Performs the handshake. The client's last message is kept back if TLS allows it, and is sent together with the request.
    pub(super) fn connect(
        below: Box<dyn Wire>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = ClientConnection::new(config, name).map_err(failed)?;
        let mut tls = Self { session, below };
        while tls.session.is_handshaking() {
            tls.send()?;
            if tls.receive()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(tls)
    }

    /// Returns the version of TLS.
    pub(super) fn version(&self) -> &'static str {
        match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        }
    }

    /// Sends the records that are ready.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.below).map_err(|error| self.last_words(error))?;
        }
        Ok(())
    }

    /// Reads once. Returns 0 at the end.
    fn receive(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.below)?;
        let processed = self.process();
        wipe_stack();
        if let Err(error) = processed {
            // Sends the alert that names the error.
            let _ = self.session.write_tls(&mut self.below);
            return Err(failed(error));
        }
        Ok(count)
    }

    /// Decrypts. In a stack frame of its own, so that `wipe_stack` reaches it.
    #[inline(never)]
    fn process(&mut self) -> Result<(), rustls::Error> {
        self.session.process_new_packets().map(drop)
    }

    /// Encrypts. In a stack frame of its own, as `process`.
    #[inline(never)]
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.writer().write(bytes)
    }

    /// Returns the alert that the server sent before it closed the connection, if there is one. A server may refuse the client
    /// certificate while the client still sends: in TLS 1.3 even while the request is sent.
    fn last_words(&mut self, error: io::Error) -> io::Error {
        if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
            return error;
        }
        while self.session.read_tls(&mut self.below).is_ok_and(|count| count > 0) {
            if let Err(error) = self.session.process_new_packets() {
                return failed(error);
            }
        }
        error
    }
}

impl Wire for Tls {
    fn traffic(&self) -> (usize, usize) {
        self.below.traffic()
    }
}

impl Read for Tls {
    /// Accepts an end without a close_notify: the framing, or the JSON, shows whether the answer is complete.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            // The session may have something to send, such as an answer to a key update.
            self.send()?;
            self.receive()?;
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.encrypt(bytes);
        wipe_stack();
        self.send().and(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Overwrites the stack that earlier calls used. ring copies the last, incomplete block of a record there: up to 15 bytes, which
/// may be the end of a secret.
#[inline(never)]
fn wipe_stack() {
    let mut stack = [0_u8; 8 * 1024];
    // Keeps the compiler from removing it.
    core::hint::black_box(&mut stack);
}
