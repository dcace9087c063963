//! Reads the parts of an X.509 certificate that error messages need (RFC 5280 section 4.1). rustls alone decides whether one is
//! trusted.

use crate::der::{Element, INTEGER, SEQUENCE};

/// Parts of a certificate, in DER.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate<'c> {
    pub(super) issuer: &'c [u8],
    #[allow(dead_code, reason = "the command, which includes this file, reads it")]
    pub(super) validity: &'c [u8],
    pub(super) subject: &'c [u8],
    pub(super) public_key: &'c [u8],
}

/// `[0]`. A certificate of version 1 does not have it.
const VERSION: u8 = 0xA0;

impl<'c> Certificate<'c> {
    pub(super) fn read(der: &'c [u8]) -> Option<Self> {
        let certificate = Element::read(der).filter(|certificate| certificate.rest.is_empty())?.content(SEQUENCE)?;
        let mut element = Element::read(Element::read(certificate)?.content(SEQUENCE)?)?;
        if element.tag == VERSION {
            element = element.next()?;
        }
        element.content(INTEGER)?; // the serial number
        element = element.next()?;
        element.content(SEQUENCE)?; // the signature's algorithm
        let issuer = element.next()?;
        issuer.content(SEQUENCE)?;
        let validity = issuer.next()?;
        let dates = validity.content(SEQUENCE)?;
        let subject = validity.next()?;
        subject.content(SEQUENCE)?;
        let public_key = subject.next()?;
        public_key.content(SEQUENCE)?;
        Some(Self { issuer: issuer.whole, validity: dates, subject: subject.whole, public_key: public_key.whole })
    }

    /// Returns whether issuer and subject are the same.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Returns whether it has an RSA key of less than 2048 bits (RFC 3279 section 2.3.1). With 2048 bits the element has 294 bytes.
    pub(super) fn has_short_rsa_key(&self) -> bool {
        const RSA: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01";
        self.public_key.len() < 290 && self.public_key.windows(RSA.len()).take(8).any(|window| window == RSA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn der(text: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_short_rsa_key_is_known() {
        for (text, expected) in [
            (include_str!("../../../tests/data/tls/rsa-1024.pem"), true),
            (include_str!("../../../tests/data/tls/client-rsa.pem"), false),
        ] {
            assert_eq!(Certificate::read(&der(text)).unwrap().has_short_rsa_key(), expected);
        }
    }

    #[test]
    fn issuer_and_subject_are_found_and_nothing_in_a_part_of_one() {
        for (text, issuer, subject, is_self_issued) in [
            (include_str!("../../../tests/data/tls/ca.pem"), "ca", "ca", true),
            (include_str!("../../../tests/data/tls/valid.pem"), "ca", "valid", false),
            (include_str!("../../../tests/data/tls/behind.pem"), "intermediate", "behind", false),
            (include_str!("../../../tests/data/tls/many-names.pem"), "ca", "many-names", false),
            (include_str!("../../../tests/data/tls/self-signed.pem"), "self-signed", "self-signed", true),
            (include_str!("../../../tests/data/tls/client-v1.pem"), "client-v1", "client-v1", true),
        ] {
            let der = der(text);
            let certificate = Certificate::read(&der).unwrap();
            assert!(certificate.issuer.ends_with(issuer.as_bytes()), "{issuer}");
            assert!(certificate.subject.ends_with(subject.as_bytes()), "{subject}");
            assert_eq!(certificate.is_self_issued(), is_self_issued, "{subject}");
            assert!(!certificate.has_short_rsa_key());
            // A SEQUENCE with the OID of an elliptic curve's key in it.
            assert!(certificate.public_key.starts_with(b"\x30\x59\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01"));
            for end in 0..der.len() {
                assert_eq!(Certificate::read(&der[..end]), None, "{subject}: {end}");
            }
            let longer = [&der[..], b"\0"].concat();
            assert_eq!(Certificate::read(&longer), None);
        }
        for bytes in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x84\x01\0\0\0", b"\x30\x83\xFF\xFF\xFF", b"\x31\0"] {
            assert_eq!(Certificate::read(bytes), None, "{bytes:?}");
        }
    }
}
