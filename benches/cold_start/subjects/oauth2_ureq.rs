//! The `oauth2` crate with its ureq back end: `oauth2-ureq URL SECRET_FILE [CA_FILE]`.

use oauth2::ureq::AgentBuilder;
use oauth2::{ClientId, ClientSecret, TokenResponse, TokenUrl, basic::BasicClient};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut builder = AgentBuilder::new().redirects(0);
    if let Some(file) = words.get(2) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        builder = builder.tls_config(Arc::new(config));
    }
    let secret = std::fs::read_to_string(&words[1]).expect("the secret");
    let client = BasicClient::new(ClientId::new("my-client".into()))
        .set_client_secret(ClientSecret::new(secret))
        .set_token_uri(TokenUrl::new(words[0].clone()).expect("a URL"));
    let token = client.exchange_client_credentials().request(&builder.build()).expect("a token");
    println!("{}", token.access_token().secret());
}
