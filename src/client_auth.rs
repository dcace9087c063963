//! Who asks: the client, and how it proves so.

use crate::encode;
use crate::error::Error;
use crate::secret::{Exposed, Secret, SecretSource};
use alloc::string::String;
use alloc::vec::Vec;

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

    /// Reads the secrets and makes of them what one request carries to prove who the client is: by the method that the
    /// endpoint has `named`, in a request whose parameters are a form or not.
    pub(crate) fn prove(
        &self,
        named: Option<ClientAuthentication>,
        is_form: bool,
        basic_raw: bool,
    ) -> Result<Proof<'_>, Error> {
        let method = self.method(named, is_form)?;
        let id = self.client_id.as_deref();
        let secret = self.client_secret.as_ref().map(|secret| secret.expose_line("client secret")).transpose()?;
        let mut proof = Proof {
            authorization: None,
            parameters: Vec::new(),
            secrets: secret.iter().map(|secret| Secret::from(&**secret)).collect(),
        };
        match (method, secret) {
            (ClientAuthentication::ClientSecretBasic, Some(secret)) => {
                proof.authorization = Some(basic(id.unwrap_or_default(), &secret, basic_raw)?);
            }
            (_, secret) => {
                let id = id.map(|id| ("client_id", Exposed::borrowed(id)));
                proof.parameters.extend(id);
                proof.parameters.extend(secret.map(|secret| ("client_secret", secret)));
            }
        }
        Ok(proof)
    }

    /// The method that is named. Without one: `none` if the client has no secret, `client_secret_basic` if the
    /// parameters are a form, else `client_secret_post`.
    fn method(&self, named: Option<ClientAuthentication>, is_form: bool) -> Result<ClientAuthentication, Error> {
        let (has_id, has_secret) = (self.client_id.is_some(), self.client_secret.is_some());
        let method = match named {
            Some(method) => method,
            None if !has_secret => ClientAuthentication::None,
            None if is_form => ClientAuthentication::ClientSecretBasic,
            None => ClientAuthentication::ClientSecretPost,
        };
        match method {
            ClientAuthentication::None if has_secret => {
                Err(Error::config("there is a client secret, but the client authentication is `none`")
                    .with_hint("leave one of them out"))
            }
            ClientAuthentication::None => Ok(method),
            ClientAuthentication::TlsClientAuth if has_secret => {
                Err(Error::config("there is a client secret, but the client authentication is `tls_client_auth`")
                    .with_hint("leave one of them out"))
            }
            ClientAuthentication::TlsClientAuth if has_id => Ok(method),
            ClientAuthentication::TlsClientAuth => Err(missing_id()),
            _ if !has_secret => Err(Error::config("the client secret is missing").with_hint(
                "name the file that holds it (`Client::client_secret`), or authenticate by `none` if the client has none; \
                 a client whose secret is the empty text sends `Basic ` and the base64 of its id with a colon as its own \
                 Authorization header (`ClientAuthentication::None`, `Endpoint::secret_header`)",
            )),
            _ if !has_id => Err(missing_id()),
            _ => Ok(method),
        }
    }
}

/// What a request carries to prove who the client is.
pub(crate) struct Proof<'c> {
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<Secret>,
    pub(crate) parameters: Vec<(&'static str, Exposed<'c>)>,
    /// The secrets in them, as they are.
    pub(crate) secrets: Vec<Secret>,
}

fn missing_id() -> Error {
    Error::config("the client id is missing").with_hint("give it as client_id (`Client::client_id`)")
}

/// HTTP Basic with form-encoded id and secret (RFC 6749 section 2.3.1), or as they are.
fn basic(id: &str, secret: &str, is_raw: bool) -> Result<Secret, Error> {
    if is_raw && id.contains(':') {
        return Err(Error::config("a client id with a colon cannot be sent by raw Basic (RFC 7617 section 2)")
            .with_hint("leave `Endpoint::basic_raw` out, or use client_secret_post"));
    }
    let pair = encode::exact(|out| {
        if is_raw {
            return write!(out, "{id}:{secret}");
        }
        encode::form(out, id, "+")?;
        out.write_char(':')?;
        encode::form(out, secret, "+")
    });
    Ok(encode::exact(|out| {
        out.write_str("Basic ")?;
        encode::base64(out, pair.expose().as_bytes())
    }))
}
