//! The certificates that the client trusts.

use super::certificate::Certificate;
use super::identity::certified_key;
use crate::error::Error;
use crate::fnv::fnv1a;
use crate::observe::{Event, Observer};
use crate::pem::{self, Broken};
use crate::secret::{Secret, io_reason};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The authorities that a server's certificate may come from.
pub(in crate::transport) enum Roots {
    /// Mozilla's, compiled in.
    Mozilla,
    /// With a hash of the certificates.
    Given(Arc<WebPkiServerVerifier>, u32),
    /// Read by the first fetch: a cached token needs none, and reading a system's bundle costs more than all else. Read
    /// again once the file is another one.
    Later(Bundle, Mutex<Option<ReadRoots>>),
}

pub(in crate::transport) struct ReadRoots {
    /// The file's name and state when it was read.
    name: String,
    verifier: Arc<WebPkiServerVerifier>,
}

pub(in crate::transport) enum Bundle {
    System,
    File(PathBuf),
}

/// The places of the systems' bundles, as in Go's crypto/x509.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch, Gentoo, OpenWrt
    "/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",                            // openSUSE
    "/etc/pki/tls/cacert.pem",                           // OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
    "/etc/ssl/cert.pem",                                 // Alpine, macOS, the BSDs
];
/// The variable that names the bundle, as for OpenSSL.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";
/// Mozilla's whole bundle is a quarter of a megabyte.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

impl Roots {
    pub(in crate::transport) fn later(bundle: Bundle) -> Self {
        Self::Later(bundle, Mutex::new(None))
    }

    pub(in crate::transport) fn given(text: &[u8]) -> Result<Self, Error> {
        Ok(Self::Given(given("", text)?, fnv1a(text.iter().copied())))
    }

    /// Names the source of the roots, to distinguish routes. Of a file, path, time, size and inode count, and not the content:
    /// reading it takes a millisecond or more.
    pub(in crate::transport) fn name(&self) -> String {
        match self {
            Self::Mozilla => "mozilla".into(),
            Self::Given(_, hash) => format!("given {hash:08x}"),
            Self::Later(bundle, _) => bundle.name(),
        }
    }

    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        match self {
            Self::Mozilla => verifier(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
            Self::Given(verifier, _) => Ok(verifier.clone()),
            Self::Later(bundle, read) => {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                let name = bundle.name();
                match &*read {
                    Some(last) if last.name == name => return Ok(last.verifier.clone()),
                    _ => {}
                }
                match (bundle.read(), &*read) {
                    (Ok(verifier), _) => Ok(read.insert(ReadRoots { name, verifier }).verifier.clone()),
                    // It may be about to be replaced.
                    (Err(_), Some(last)) => Ok(last.verifier.clone()),
                    (Err(error), None) => Err(error),
                }
            }
        }
    }
}

impl Bundle {
    fn name(&self) -> String {
        match self {
            Self::File(path) => file_name(path),
            Self::System => match std::env::var_os(BUNDLE_VARIABLE).filter(|name| !name.is_empty()) {
                Some(name) => file_name(Path::new(&name)),
                None => BUNDLES.iter().find(|place| Path::new(place).exists()).map_or_else(String::new, file_name),
            },
        }
    }

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

fn file_name(path: impl AsRef<Path>) -> String {
    let (path, state) = (path.as_ref(), std::fs::metadata(path.as_ref()));
    let time = state.as_ref().ok().and_then(|state| state.modified().ok());
    let length = state.as_ref().map_or(0, |state| state.len());
    #[cfg(unix)]
    let inode = state.as_ref().map_or(0, std::os::unix::fs::MetadataExt::ino);
    #[cfg(not(unix))]
    let inode = 0;
    format!("{path:?} {time:?} {length} {inode}")
}

/// Reads PEM, in which every certificate must be readable, or one certificate in DER.
fn given(place: &str, text: &[u8]) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let fail = |why: &str| Error::config(format!("trusted roots: {place}{why}"));
    let mut roots = RootCertStore::empty();
    if text.first() == Some(&DER) {
        let added = roots.add(CertificateDer::from(text));
        added.map_err(|_| fail("this is neither PEM nor one certificate in DER").with_hint(CERTIFICATE_HINT))?;
        return verifier(roots);
    }
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| fail("this is not PEM"))?;
        match section.label {
            // OpenSSL's own format. The purposes that it is trusted for follow, and would be ignored.
            "TRUSTED CERTIFICATE" => {
                return Err(fail("this is a TRUSTED CERTIFICATE, which only OpenSSL reads")
                    .with_hint("convert it: openssl x509 -in trusted.pem -out certificate.pem"));
            }
            label if pem::is_certificate(label) && roots.add(CertificateDer::from(&section.der[..])).is_err() => {
                return Err(fail(&format!("certificate {} cannot be read", roots.len() + 1)));
            }
            _ => {}
        }
    }
    if roots.is_empty() {
        return Err(fail("there is no certificate in it").with_hint(CERTIFICATE_HINT));
    }
    verifier(roots)
}

/// The first byte of a certificate in DER: a SEQUENCE. PEM does not begin with it, which would be the digit 0.
const DER: u8 = 0x30;

/// Reads the roots of this system. Certificates that rustls cannot read are skipped: a bundle of a hundred may have some.
fn of_the_system() -> Result<Arc<WebPkiServerVerifier>, Error> {
    let (place, text) = match std::env::var_os(BUNDLE_VARIABLE).filter(|name| !name.is_empty()) {
        // If the user names a file, no other is read.
        Some(name) => {
            let place = format!("{BUNDLE_VARIABLE}, {}", Path::new(&name).display());
            let text = read(Path::new(&name)).map_err(|error| unreadable(&place, error))?;
            (place, text)
        }
        None => first_bundle()?,
    };
    let mut roots = RootCertStore::empty();
    for section in pem::sections(&text).flatten().filter(|section| pem::is_certificate(section.label)) {
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
            // The file exists: reading another would be a surprise.
            Err(error) => return Err(unreadable(place, error)),
        }
    }
    Err(Error::config("trusted roots: this system has no certificate bundle").with_hint(format!(
        "looked for {}; install ca-certificates, name the bundle in {BUNDLE_VARIABLE}, or name a file (`HttpTransport::roots_file`)",
        BUNDLES.join(", ")
    )))
}

fn unreadable(place: &str, error: std::io::Error) -> Error {
    Error::config(format!("trusted roots: {place}: {}", io_reason(&error))).with_source(error)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    // One allocation if the length is known.
    let length = file.metadata()?.len().min(MAX_BUNDLE);
    let mut text = Vec::with_capacity(length as usize + 1);
    file.take(MAX_BUNDLE).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns the provider of cryptography that is set for the process, or else ring. The suite that RFC 8446 section 9.1 requires is
/// first then: SHA-256 costs less than SHA-384.
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

pub(super) const CERTIFICATE_HINT: &str = "it must be PEM: -----BEGIN CERTIFICATE-----";

/// The kind of a certificate that was not trusted. The error of rustls does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Shown {
    SelfSigned,
    /// It has an RSA key that is too short for ring.
    ShortKey,
    /// It came without its issuer.
    Alone,
    Chain,
}

/// Returns the settings for a connection: the check of the server's certificate, and the client's own.
pub(in crate::transport) fn client_config(
    roots: &Roots,
    certificate: Option<(&Secret, &Secret)>,
    shown: Arc<OnceLock<Shown>>,
    observer: Option<Arc<dyn Observer>>,
    is_proxys: bool,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Verifier { verifier: roots.verifier()?, shown, observer, is_proxys };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| Error::config("the process's provider of cryptography cannot do TLS").with_source(error))?
        // It asks rustls's own verifier.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match certificate {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(pair)?))),
        None => builder.with_no_client_auth(),
    };
    // No connection is resumed, so no key for that is kept.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Decides as rustls does, and remembers the kind of a refused certificate.
struct Verifier {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Arc<OnceLock<Shown>>,
    observer: Option<Arc<dyn Observer>>,
    is_proxys: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// rustls reports a signature with such a key as wrong.
    fn note_short_key(&self, certificate: &CertificateDer<'_>, is_refused: bool) {
        if is_refused && Certificate::read(certificate).is_some_and(|certificate| certificate.has_short_rsa_key()) {
            let _ = self.shown.set(Shown::ShortKey);
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(observer) = &self.observer {
            observer.event(&Event::CertificateShown { certificate: end_entity, is_proxys: self.is_proxys });
        }
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
        let verdict = self.verifier.verify_tls12_signature(message, certificate, signature);
        self.note_short_key(certificate, verdict.is_err());
        verdict
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self.verifier.verify_tls13_signature(message, certificate, signature);
        self.note_short_key(certificate, verdict.is_err());
        verdict
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
