//! The server's side of TLS, with the certificates in `tests/data/tls`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use crate::common::{Seen, Server, Stream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../data/tls/", $name, ".pem")) as &[u8]
    };
}
macro_rules! pair {
    ($name:literal) => {
        (file!($name), include_bytes!(concat!("../data/tls/", $name, ".key.pem")) as &[u8])
    };
}

pub const CA: &[u8] = file!("ca");
pub const INTERMEDIATE: &[u8] = file!("intermediate");
pub const VALID: Pair = pair!("valid");
pub const EXPIRED: Pair = pair!("expired");
pub const NOT_YET_VALID: Pair = pair!("not-yet-valid");
pub const OTHER_NAME: Pair = pair!("other-name");
pub const OTHER_ADDRESS: Pair = pair!("other-address");
pub const MANY_NAMES: Pair = pair!("many-names");
pub const NO_NAME: Pair = pair!("no-name");
pub const FOR_CLIENTS: Pair = pair!("for-clients");
pub const BEHIND: Pair = pair!("behind");
pub const SELF_SIGNED: Pair = pair!("self-signed");
pub const SELF_SIGNED_CA: Pair = pair!("self-signed-ca");
pub const CLIENT: Pair = pair!("client");
pub const CLIENT_SEC1: &[u8] = file!("client.sec1");
pub const CLIENT_ENCRYPTED: &[u8] = file!("client.encrypted");
pub const CLIENT_LEGACY_ENCRYPTED: &[u8] = file!("client.legacy-encrypted");
pub const CLIENT_RSA: Pair = pair!("client-rsa");
pub const CLIENT_EXPIRED: Pair = pair!("client-expired");
pub const CLIENT_V1: &[u8] = file!("client-v1");

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
    config_of(pair, versions, None)
}

/// The same, for clients with a certificate that these issued.
pub fn config_for_clients_of(
    issuers: &[u8],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    config_of(VALID, versions, Some(issuers))
}

fn config_of(
    pair: Pair,
    versions: &[&'static rustls::SupportedProtocolVersion],
    issuers: Option<&[u8]>,
) -> Arc<ServerConfig> {
    let read = |pem| CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_slice(pair.1).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).expect("versions");
    let builder = match issuers {
        None => builder.with_no_client_auth(),
        Some(issuers) => {
            let mut roots = rustls::RootCertStore::empty();
            read(issuers).for_each(|root| roots.add(root).expect("a root"));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    Arc::new(builder.with_single_cert(read(pair.0).collect(), key).expect("the key fits"))
}

/// A server that speaks TLS, and says goodbye after each answer.
pub fn server(config: Arc<ServerConfig>, handler: impl Fn(&Seen, &mut dyn Stream) + Send + Sync + 'static) -> Server {
    let wrapper = move |stream| -> Option<Box<dyn Stream>> { Some(Box::new(Polite(accept(&config, stream)?))) };
    Server::start("https", Box::new(wrapper), Box::new(handler))
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
