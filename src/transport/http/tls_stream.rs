//! TLS over a connection.

use super::connect::Wire;
use alloc::boxed::Box;
use alloc::sync::Arc;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};

/// Returns the error of rustls that an error of a connection stands for.
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
    /// Shakes hands. The client's last message is kept back where it may be: it goes out together with the request.
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

    /// Sends what is ready to be sent.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.below).map_err(|error| self.last_words(error))?;
        }
        Ok(())
    }

    /// Reads once; 0 at the end.
    fn receive(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.below)?;
        let processed = self.process();
        wipe_stack();
        if let Err(error) = processed {
            // The alert that says so.
            let _ = self.session.write_tls(&mut self.below);
            return Err(failed(error));
        }
        Ok(count)
    }

    /// In a frame of its own, which `wipe_stack` reaches.
    #[inline(never)]
    fn process(&mut self) -> Result<(), rustls::Error> {
        self.session.process_new_packets().map(drop)
    }

    /// As `process`.
    #[inline(never)]
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.writer().write(bytes)
    }

    /// What the server still said, where it would take no more: it refuses a client certificate while that is on its way,
    /// with TLS 1.3 even when the request is.
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
    /// An end without a close_notify is an end as well: its framing, or the JSON, shows whether the answer is whole.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            // What it asks for, such as an answer to new keys.
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

/// Writes over what the calls before it left on the stack. ring copies the last, incomplete block of a record there: up to
/// 15 bytes, which may be the end of a secret.
#[inline(never)]
fn wipe_stack() {
    let mut stack = [0_u8; 8 * 1024];
    // Or it would be left out.
    core::hint::black_box(&mut stack);
}
