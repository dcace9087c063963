//! The server's side of TLS, with the certificates in `tests/data/tls`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

pub const CA: &[u8] = include_bytes!("../data/tls/ca.pem");
pub const VALID: Pair = (include_bytes!("../data/tls/valid.pem"), include_bytes!("../data/tls/valid.key.pem"));
pub const EXPIRED: Pair = (include_bytes!("../data/tls/expired.pem"), include_bytes!("../data/tls/expired.key.pem"));
pub const NOT_YET_VALID: Pair =
    (include_bytes!("../data/tls/not-yet-valid.pem"), include_bytes!("../data/tls/not-yet-valid.key.pem"));
pub const OTHER_NAME: Pair =
    (include_bytes!("../data/tls/other-name.pem"), include_bytes!("../data/tls/other-name.key.pem"));

/// A certificate and its key, as PEM.
pub type Pair = (&'static [u8], &'static [u8]);
pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// The server's side of a connection; it may say goodbye, as TLS wants it, before the connection is closed.
pub struct Polite(pub Tls);

impl Read for Polite {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Polite {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    /// Called once, after the answer was written.
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

pub fn config(pair: Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(pair.0).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(pair.1).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("the key fits"))
}

/// Shakes hands; none if that failed.
pub fn accept(config: &Arc<ServerConfig>, mut stream: TcpStream) -> Option<Tls> {
    let mut connection = ServerConnection::new(config.clone()).expect("a configuration that can be used");
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            // The alert that says why, and the other side's last words: unread, they would reset the connection.
            let _ = connection.write_tls(&mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            return None;
        }
    }
    Some(StreamOwned::new(connection, stream))
}
