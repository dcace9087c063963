//! The `oauth2` crate with its reqwest back end, blocking: `oauth2-reqwest URL SECRET_FILE [CA_FILE]`.

use oauth2::reqwest::{Certificate, blocking::Client, redirect::Policy};
use oauth2::{ClientId, ClientSecret, TokenResponse, TokenUrl, basic::BasicClient};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut builder = Client::builder().redirect(Policy::none());
    if let Some(file) = words.get(2) {
        let root = Certificate::from_pem(&std::fs::read(file).expect("a file")).expect("a certificate");
        builder = builder.tls_built_in_root_certs(false).add_root_certificate(root);
    }
    let secret = std::fs::read_to_string(&words[1]).expect("the secret");
    let client = BasicClient::new(ClientId::new("my-client".into()))
        .set_client_secret(ClientSecret::new(secret))
        .set_token_uri(TokenUrl::new(words[0].clone()).expect("a URL"));
    let http = builder.build().expect("a client");
    let token = client.exchange_client_credentials().request(&http).expect("a token");
    println!("{}", token.access_token().secret());
}
