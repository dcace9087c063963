//! The client's certificate and key.

use super::certificate::Certificate;
use super::roots::CERTIFICATE_HINT;
use crate::error::Error;
use crate::pem::{self, Broken};
use crate::secret::Secret;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Reads a client's certificate and key, both in PEM.
pub(super) fn certified_key((chain, key): (&Secret, &Secret)) -> Result<CertifiedKey, Error> {
    let chain = read_chain(chain.expose().as_bytes())?;
    let key = read_key(key.expose().as_bytes())?;
    // rustls compares them as well, but cannot read a certificate of version 1.
    let own = chain.first().and_then(|first| Certificate::read(first));
    match (own, key.public_key()) {
        (Some(own), Some(public_key)) if own.public_key != public_key.as_ref() => {
            Err(Error::config("client key: it does not belong to the client certificate")
                .with_hint("the file must start with the client's certificate, followed by those that issued it"))
        }
        _ => Ok(CertifiedKey::new(chain, key)),
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut chain = Vec::new();
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| Error::config("client certificate: this is not PEM"))?;
        if !pem::is_certificate(section.label) {
            continue;
        }
        if Certificate::read(&section.der).is_none() {
            let number = chain.len() + 1;
            return Err(Error::config(format!("client certificate: certificate {number} cannot be read")));
        }
        chain.push(CertificateDer::from(section.der.to_vec()));
    }
    if chain.is_empty() {
        return Err(Error::config("client certificate: there is no certificate in it").with_hint(CERTIFICATE_HINT));
    }
    Ok(chain)
}

fn read_key(text: &[u8]) -> Result<Arc<dyn rustls::sign::SigningKey>, Error> {
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| Error::config("client key: this is not PEM"))?;
        // Borrowed: rustls would not wipe what it owned.
        let der = &section.der[..];
        let key = match section.label {
            "ENCRYPTED PRIVATE KEY" => return Err(pem::encrypted("client key")),
            label if section.is_encrypted && label.ends_with("PRIVATE KEY") => {
                return Err(pem::encrypted("client key"));
            }
            "PRIVATE KEY" => PrivateKeyDer::Pkcs8(der.into()),
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
            _ => continue,
        };
        // Its errors are dropped, because they are about the key.
        return ring::sign::any_supported_type(&key).map_err(|_| {
            Error::config("client key: it cannot be read, or is of a kind that is not supported")
                .with_hint("it must be RSA (2048 bits or more), ECDSA on P-256 or P-384, or Ed25519")
        });
    }
    Err(Error::config("client key: there is no private key in it")
        .with_hint("it must be PEM: -----BEGIN PRIVATE KEY-----"))
}
