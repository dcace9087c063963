//! Whom the client trusts, and as whom it shows itself, in TLS.

use super::certificate::Certificate;
use super::pem::{self, Broken};
use crate::error::Error;
use crate::secret::{Secret, io_reason};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The authorities that a server's certificate may come from.
pub(super) enum Roots {
    /// Those of Mozilla, compiled in.
    Mozilla,
    Given(Arc<WebPkiServerVerifier>),
    /// Read by the first fetch: a token that is at hand needs none, and a system's bundle costs more than all else.
    Later(Bundle, OnceLock<Arc<WebPkiServerVerifier>>),
}

pub(super) enum Bundle {
    System,
    File(PathBuf),
}

/// Where the systems keep the bundle of the authorities that they trust: the list of Go's crypto/x509.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch, Gentoo, OpenWrt
    "/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",                            // openSUSE
    "/etc/pki/tls/cacert.pem",                           // OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
    "/etc/ssl/cert.pem",                                 // Alpine, macOS, the BSDs
];
/// Names the bundle, as for OpenSSL.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";
/// Mozilla's whole bundle is a quarter of a megabyte.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

impl Roots {
    pub(super) fn later(bundle: Bundle) -> Self {
        Self::Later(bundle, OnceLock::new())
    }

    pub(super) fn from_pem(text: &[u8]) -> Result<Self, Error> {
        given("", text).map(Self::Given)
    }

    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        match self {
            Self::Mozilla => verifier(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
            Self::Given(verifier) => Ok(verifier.clone()),
            Self::Later(bundle, read) => match read.get() {
                Some(verifier) => Ok(verifier.clone()),
                None => bundle.read().map(|verifier| read.get_or_init(|| verifier).clone()),
            },
        }
    }
}

impl Bundle {
    fn read(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        match self {
            Self::File(path) => {
                let place = path.display();
                let text = read(path).map_err(|error| unreadable(&place.to_string(), error))?;
                given(&format!("{place}: "), &text)
            }
            Self::System => of_the_system(),
        }
    }
}

/// Every certificate in the text must be sound.
fn given(place: &str, text: &[u8]) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| Error::config(format!("trusted roots: {place}this is not PEM")))?;
        if section.label == "CERTIFICATE" && roots.add(CertificateDer::from(&section.der[..])).is_err() {
            let number = roots.len() + 1;
            return Err(Error::config(format!("trusted roots: {place}certificate {number} cannot be read")));
        }
    }
    if roots.is_empty() {
        let error = Error::config(format!("trusted roots: {place}there is no certificate in it"));
        return Err(error.with_hint(CERTIFICATE_HINT));
    }
    verifier(roots)
}

/// Those that this system trusts. In bundles of a hundred there may be some that rustls does not read: they are passed
/// over.
fn of_the_system() -> Result<Arc<WebPkiServerVerifier>, Error> {
    let (place, text) = match std::env::var_os(BUNDLE_VARIABLE).filter(|name| !name.is_empty()) {
        // What the user names is taken, or it is an error.
        Some(name) => {
            let place = format!("{BUNDLE_VARIABLE}, {}", Path::new(&name).display());
            let text = read(Path::new(&name)).map_err(|error| unreadable(&place, error))?;
            (place, text)
        }
        None => first_bundle()?,
    };
    let mut roots = RootCertStore::empty();
    for section in pem::sections(&text).flatten().filter(|section| section.label.ends_with("CERTIFICATE")) {
        let _ = roots.add(CertificateDer::from(&section.der[..]));
    }
    if roots.is_empty() {
        return Err(Error::config(format!("trusted roots: {place}: there is no certificate in it that can be read")));
    }
    verifier(roots)
}

fn first_bundle() -> Result<(String, Vec<u8>), Error> {
    for place in BUNDLES {
        match read(Path::new(place)) {
            Ok(text) => return Ok((place.into(), text)),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            // It is there: another one would be a surprise.
            Err(error) => return Err(unreadable(place, error)),
        }
    }
    Err(Error::config("trusted roots: this system has no bundle of them").with_hint(format!(
        "looked for {}; install ca-certificates, name the bundle in {BUNDLE_VARIABLE}, or name a file (--ca-file)",
        BUNDLES.join(", ")
    )))
}

fn unreadable(place: &str, error: std::io::Error) -> Error {
    Error::config(format!("trusted roots: {place}: {}", io_reason(&error))).with_source(error)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    // All of it at once, where its length is known.
    let length = file.metadata()?.len().min(MAX_BUNDLE);
    let mut text = Vec::with_capacity(length as usize + 1);
    file.take(MAX_BUNDLE).read_to_end(&mut text)?;
    Ok(text)
}

/// The user's own provider of cryptography if he has set one for the process, else ring, with the suite first that
/// RFC 8446 section 9.1 asks everybody for: SHA-256 costs less than SHA-384.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| {
        let mut provider = ring::default_provider();
        let suites = &mut provider.cipher_suites;
        if let Some(at) = suites.iter().position(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256) {
            suites[..=at].rotate_right(1);
        }
        Arc::new(provider)
    })
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| Error::config("trusted roots: they cannot be used").with_source(error))
}

const CERTIFICATE_HINT: &str = "it must be PEM: -----BEGIN CERTIFICATE-----";

/// Makes of a client's certificate and key, both PEM, what signs in a handshake.
fn certified_key((chain, key): (&Secret, &Secret)) -> Result<CertifiedKey, Error> {
    let chain = read_chain(chain.expose().as_bytes())?;
    let key = read_key(key.expose().as_bytes())?;
    // rustls compares them too, but reads no certificate of version 1 for it.
    let own = chain.first().and_then(|first| Certificate::read(first));
    match (own, key.public_key()) {
        (Some(own), Some(public_key)) if own.public_key != public_key.as_ref() => {
            Err(Error::config("client key: it does not belong to the client certificate")
                .with_hint("the client's certificate stands first in its file, then those that issued it"))
        }
        _ => Ok(CertifiedKey::new(chain, key)),
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut chain = Vec::new();
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| Error::config("client certificate: this is not PEM"))?;
        if section.label != "CERTIFICATE" {
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
            "ENCRYPTED PRIVATE KEY" => return Err(encrypted()),
            label if section.is_encrypted && label.ends_with("PRIVATE KEY") => return Err(encrypted()),
            "PRIVATE KEY" => PrivateKeyDer::Pkcs8(der.into()),
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
            _ => continue,
        };
        // Of its errors nothing is kept: they are about the key.
        return ring::sign::any_supported_type(&key).map_err(|_| {
            Error::config("client key: it cannot be read, or is of a kind that is not supported")
                .with_hint("it must be RSA (2048 bits or more), ECDSA on P-256 or P-384, or Ed25519")
        });
    }
    Err(Error::config("client key: there is no private key in it")
        .with_hint("it must be PEM: -----BEGIN PRIVATE KEY-----"))
}

fn encrypted() -> Error {
    Error::config("client key: it is encrypted, and nobody is there to ask for its password").with_hint(
        "decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
    )
}

/// What a server showed that was not trusted: rustls's error does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    SelfSigned,
    /// One certificate, and not the one that issued it.
    Alone,
    Chain,
}

/// What is set for a connection: how its server is judged, and as whom the client shows itself if it is asked.
pub(super) fn client_config(
    roots: &Roots,
    certificate: Option<(&Secret, &Secret)>,
    shown: Arc<OnceLock<Shown>>,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Observer { verifier: roots.verifier()?, shown };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| Error::config("the process's provider of cryptography cannot do TLS").with_source(error))?
        // Not dangerous: it asks rustls's own verifier.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match certificate {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(pair)?))),
        None => builder.with_no_client_auth(),
    };
    // No connection is ever resumed, so no key for it is kept.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Decides as rustls does, and remembers what was shown if that was refused.
#[derive(Debug)]
struct Observer {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Arc<OnceLock<Shown>>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verdict.is_err() {
            let is_self_signed = Certificate::read(end_entity).is_some_and(|certificate| certificate.is_self_issued());
            let _ = self.shown.set(match is_self_signed {
                true => Shown::SelfSigned,
                false if intermediates.is_empty() => Shown::Alone,
                false => Shown::Chain,
            });
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
