//! Who asks: the client, and how it proves so.

use crate::error::Error;
use crate::secret::{Secret, SecretSource};
use alloc::string::String;

/// How the client authenticates at the token endpoint, by the registered names (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// `client_secret_basic`: HTTP Basic, id and secret form-encoded first (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// `client_secret_post`: id and secret among the parameters.
    ClientSecretPost,
    /// `tls_client_auth`: id among the parameters, and a certificate that the server is shown (RFC 8705 section
    /// 2.1), set by [`Client::client_certificate`](crate::Client::client_certificate). There is no client secret.
    TlsClientAuth,
    /// `none`: a public client, which sends its id alone.
    None,
}

/// The client's id and secret, where it has them: dialects B and E know neither.
///
/// A [`Client`](crate::Client) holds its own; this type is for those who build a [`Request`](crate::Request) themselves.
#[derive(Debug, Default)]
pub struct ClientCredentials {
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<SecretSource>,
    pub(crate) certificate: Option<ClientCertificate<SecretSource>>,
}

/// A client certificate with its private key, both in PEM: where they are read from, or as they were read.
#[derive(Debug)]
pub(crate) struct ClientCertificate<T> {
    /// The client's certificate first, then those that issued it.
    pub(crate) chain: T,
    pub(crate) key: T,
}

impl ClientCertificate<SecretSource> {
    pub(crate) fn read(&self) -> Result<ClientCertificate<Secret>, Error> {
        Ok(ClientCertificate { chain: Secret::from(&*self.chain.expose()?), key: Secret::from(&*self.key.expose()?) })
    }
}

impl ClientCredentials {
    /// The client identifier (RFC 6749 section 2.2).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// The client secret, or where it is read from for each request.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<SecretSource>) -> Self {
        self.client_secret = Some(secret.into());
        self
    }

    /// Sets the client certificate and its private key, both in PEM (RFC 8705 section 2), as
    /// [`Client::client_certificate`](crate::Client::client_certificate) does.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<SecretSource>, key: impl Into<SecretSource>) -> Self {
        self.certificate = Some(ClientCertificate { chain: chain.into(), key: key.into() });
        self
    }
}
