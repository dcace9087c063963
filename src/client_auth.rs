//! Who asks: the client, and how it proves so.

use crate::secret::SecretSource;
use alloc::string::String;

/// How the client authenticates at the token endpoint, by the registered names (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// `client_secret_basic`: HTTP Basic, id and secret form-encoded first (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// `client_secret_post`: id and secret among the parameters.
    ClientSecretPost,
    /// `tls_client_auth`: id among the parameters, and a certificate that the transport shows the server (RFC 8705
    /// section 2.1), as `UreqTransport::client_certificate_pem` has it do. There is no client secret.
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
}
