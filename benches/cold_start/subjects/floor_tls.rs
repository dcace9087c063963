//! The least that a fetch over https costs with rustls: `floor-tls URL SECRET_FILE CA_FILE`.

mod floor;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

fn main() {
    let (authority, path, secret) = floor::arguments();
    let mut roots = RootCertStore::empty();
    let file = std::env::args().nth(3).expect("a file of certificates");
    for root in CertificateDer::pem_file_iter(file).expect("a file that can be read") {
        // A system's bundle may have some that webpki does not read.
        let _ = root.map(|root| roots.add(root));
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // A process that fetches once has no session to resume.
    config.resumption = Resumption::disabled();
    let host = authority.split(':').next().expect("a host").to_owned();
    let name = ServerName::try_from(host).expect("a name");
    let conn = ClientConnection::new(Arc::new(config), name).expect("a configuration that can be used");
    let sock = TcpStream::connect(authority.as_str()).expect("a server");
    sock.set_nodelay(true).expect("an open socket");
    floor::fetch(StreamOwned::new(conn, sock), &authority, &path, &secret);
}
