//! The bytes of a signing key: PEM, DER, JWK, a service-account file or a shared secret. One that is accepted signs an assertion
//! for the algorithm that was asked for; any other is an error of one line, which shows no byte of it beyond a name.

#![no_main]

use keyfob::{Assertion, ClientCredentials, Endpoint, ErrorKind, Grant, Request, SecretSource};
use keyfob_fuzz::{Input, place, shown};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

const ALGORITHMS: [&str; 8] = ["", "ES256", "ES384", "EdDSA", "RS256", "PS256", "HS256", "none"];

/// The longest of what an error may show: its own words and what it repeats of the file, shortened.
const MOST: usize = 450;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let algorithm = *input.pick(&ALGORITHMS);
    let key = place("key");
    std::fs::write(&key, input.rest()).expect("a directory in memory");
    let assertion = Assertion::new(SecretSource::file(&key)).random(|| Ok([7; 16]));
    let assertion = if algorithm.is_empty() { assertion } else { assertion.algorithm(algorithm) };
    let credentials = ClientCredentials::default().client_id("c").assertion(assertion);
    let endpoint = Endpoint::new("https://as.example/token").expect("a good URL");
    let now = Duration::from_secs(1_800_000_000);
    match Request::token_at(now, &endpoint, &credentials, &Grant::client_credentials()) {
        Ok(request) => {
            assert_ne!(algorithm, "none");
            let body = std::str::from_utf8(request.body().expect("a form")).expect("ASCII");
            let (_, jwt) = body.split_once("&client_assertion=").expect("an assertion");
            let parts: Vec<&str> = jwt.split('.').collect();
            assert!(parts.len() == 3 && !parts.contains(&""), "{jwt}");
            let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            assert!(jwt.bytes().all(is_base64url), "{jwt}");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
            shown(&error, MOST);
        }
    }
});
