//! The client's credentials, and how a request proves that it has them.

use crate::assertion::{Assertion, Occasion, Signed};
use crate::encode;
use crate::error::Error;
use crate::secret::{Exposed, Secret, SecretSource};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The method by which the client authenticates at the token endpoint, with its registered name (RFC 7591 section 2).
///
/// Default: what the credentials allow. `private_key_jwt` or `client_secret_jwt` with an assertion; otherwise
/// `client_secret_basic` with a client secret, or `client_secret_post` if the parameters are not a form; otherwise `none`.
/// [`Endpoint::authentication`](crate::Endpoint::authentication) sets another.
///
/// ```
/// use keyfob::{ClientAuthentication, Endpoint};
///
/// let endpoint = Endpoint::new("https://as.example/token")?.authentication(ClientAuthentication::ClientSecretPost);
/// assert_eq!(ClientAuthentication::ClientSecretPost.as_str(), "client_secret_post");
/// # Ok::<(), keyfob::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// `client_secret_basic`: HTTP Basic, id and secret form-encoded first (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// `client_secret_post`: id and secret among the parameters.
    ClientSecretPost,
    /// `private_key_jwt`: an assertion that a key has signed (RFC 7523 section 2.2), set by
    /// [`Client::assertion`](crate::Client::assertion). There is no client secret.
    PrivateKeyJwt,
    /// `client_secret_jwt`: an assertion that is signed with the client secret, which itself is not sent.
    ClientSecretJwt,
    /// `tls_client_auth`: id among the parameters, and a certificate that the server is shown (RFC 8705 section
    /// 2.1), set by [`Client::client_certificate`](crate::Client::client_certificate). There is no client secret.
    TlsClientAuth,
    /// `none`: a public client, which sends its id alone.
    None,
}

impl ClientAuthentication {
    /// All methods, to find one by its name.
    pub(crate) const ALL: [Self; 6] = [
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
        Self::ClientSecretJwt,
        Self::TlsClientAuth,
        Self::None,
    ];

    /// Returns the registered name, such as `client_secret_basic`. A profile uses the same names in `auth`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::None => "none",
        }
    }
}

/// The credentials of a client: its id, and its secret, key or certificate. Default: none of them.
///
/// A [`Client`](crate::Client) has the same setters. Use this type to build a [`Request`](crate::Request) yourself.
///
/// ```
/// use keyfob::{ClientCredentials, Endpoint, Grant, Request, SecretSource};
///
/// let credentials = ClientCredentials::default().client_id("meter-7").client_secret(SecretSource::value("hunter2"));
/// let endpoint = Endpoint::new("https://as.example/token")?;
/// let request = Request::token(&endpoint, &credentials, &Grant::client_credentials())?;
/// assert_eq!(request.body(), Some(&b"grant_type=client_credentials"[..]));
/// # Ok::<(), keyfob::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ClientCredentials {
    pub(crate) client_id: Option<String>,
    /// The source of the id, which wins over `client_id`.
    pub(crate) id_source: Option<SecretSource>,
    pub(crate) client_secret: Option<SecretSource>,
    pub(crate) certificate: Option<ClientCertificate<SecretSource>>,
    pub(crate) assertion: Option<Box<Assertion>>,
}

/// A client certificate with its private key, both in PEM: their sources, or their texts.
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
    /// Sets the client identifier (RFC 6749 section 2.2). Default: none.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Sets the source that the client identifier is read from for each request, as
    /// [`Client::client_id_source`](crate::Client::client_id_source) does. Default: none.
    #[must_use]
    pub fn client_id_source(mut self, source: impl Into<SecretSource>) -> Self {
        self.id_source = Some(source.into());
        self
    }

    /// Sets the source of the client secret (RFC 6749 section 2.3.1), which is read for each request. Default: none.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<SecretSource>) -> Self {
        self.client_secret = Some(secret.into());
        self
    }

    /// Sets the client certificate and its private key, both in PEM (RFC 8705 section 2), as
    /// [`Client::client_certificate`](crate::Client::client_certificate) does. Default: none.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<SecretSource>, key: impl Into<SecretSource>) -> Self {
        self.certificate = Some(ClientCertificate { chain: chain.into(), key: key.into() });
        self
    }

    /// Sets the assertion that authenticates the client (RFC 7523 section 2.2), as
    /// [`Client::assertion`](crate::Client::assertion) does. It is signed for each request. Default: none.
    #[must_use]
    pub fn assertion(mut self, assertion: Assertion) -> Self {
        self.assertion = Some(Box::new(assertion));
        self
    }

    /// Returns the client identifier as it is now.
    pub(crate) fn id(&self) -> Result<Option<Exposed<'_>>, Error> {
        match &self.id_source {
            Some(source) => source.expose_line("client id").map(Some),
            None => Ok(self.client_id.as_deref().map(Exposed::borrowed)),
        }
    }

    /// Reads the secrets and returns the proof that one request carries. `named` is the endpoint's method, if it has one;
    /// `is_form` says whether the parameters are a form; `in_template` lists what the endpoint's templates send already.
    pub(crate) fn prove(
        &self,
        named: Option<&ClientAuthentication>,
        is_form: bool,
        basic_raw: bool,
        in_template: &InTemplate,
        occasion: &Occasion<'_>,
    ) -> Result<Proof<'_>, Error> {
        use ClientAuthentication::{
            ClientSecretBasic, ClientSecretJwt, ClientSecretPost, None as Public, PrivateKeyJwt, TlsClientAuth,
        };
        let read_id = self.id()?;
        let id = read_id.as_deref();
        let sent_id = || match (&self.id_source, id) {
            (Some(_), Some(id)) => Some(("client_id", Exposed::read(Secret::from(id)))),
            _ => self.client_id.as_deref().map(|id| ("client_id", Exposed::borrowed(id))),
        };
        let secret = self.client_secret.as_ref().filter(|_| !in_template.client_secret);
        let by_secret = self.assertion.as_ref().map(|assertion| assertion.is_by_client_secret());
        let method = match named {
            // The template sends the secret.
            Some(ClientSecretBasic | ClientSecretPost) if in_template.client_secret => &Public,
            Some(method) => method,
            None if by_secret == Some(true) => &ClientSecretJwt,
            None if by_secret.is_some() => &PrivateKeyJwt,
            None if secret.is_none() => &Public,
            None if is_form && !in_template.authorization => &ClientSecretBasic,
            None => &ClientSecretPost,
        };
        let mut proof = Proof::default();
        proof.secrets.extend(id.filter(|_| self.id_source.is_some()).map(Secret::from));
        if let (Public | TlsClientAuth | PrivateKeyJwt, Some(_)) = (method, secret) {
            return Err(Error::config(format!(
                "there is a client secret, but the client authentication is `{}`",
                method.as_str()
            ))
            .with_hint("leave one of them out"));
        }
        let fits = match method {
            ClientSecretJwt => by_secret != Some(false),
            PrivateKeyJwt => by_secret == Some(false),
            _ => by_secret.is_none(),
        };
        if !fits {
            let why = if by_secret.is_some() { "another key for its assertions" } else { "no key" };
            return Err(Error::config(format!(
                "the client authentication is `{}`, and there is {why}",
                method.as_str()
            ))
            .with_hint(
                "`private_key_jwt` needs a key (`Client::assertion`), `client_secret_jwt` the client secret, and the others \
                 neither",
            ));
        }
        let missing_secret = || {
            Error::config("the client secret is missing").with_hint(
                "name the file that holds it (`Client::client_secret`), or authenticate by `none` if the client has none; \
                 an empty secret is said by `\"client_secret\": \"\"` in a profile",
            )
        };
        let missing_id =
            || Error::config("the client id is missing").with_hint("give it as client_id (`Client::client_id`)");
        let read = || {
            let source = secret.ok_or_else(missing_secret)?;
            let id = id.ok_or_else(missing_id)?;
            Ok::<_, Error>((id, source.expose_line("client secret")?))
        };
        match method {
            ClientSecretBasic => {
                let (id, secret) = read()?;
                proof.authorization = Some(basic(id, &secret, basic_raw)?);
                proof.secrets.push(Secret::from(&*secret));
            }
            ClientSecretPost => {
                let (_, secret) = read()?;
                proof.secrets.push(Secret::from(&*secret));
                proof.parameters = [sent_id(), Some(("client_secret", secret))];
            }
            PrivateKeyJwt | ClientSecretJwt => {
                proof.parameters[0] = Some(sent_id().ok_or_else(missing_id)?);
                proof.assertion = Some(match &self.assertion {
                    Some(assertion) => assertion.sign(self, occasion)?,
                    None => Assertion::with_client_secret().sign(self, occasion)?,
                });
            }
            TlsClientAuth => proof.parameters[0] = Some(sent_id().ok_or_else(missing_id)?),
            Public => proof.parameters[0] = sent_id(),
        }
        if in_template.client_id {
            proof.parameters[0] = None;
        }
        Ok(proof)
    }
}

/// What the endpoint's templates send, so that it is not sent a second time.
pub(crate) struct InTemplate {
    pub(crate) client_id: bool,
    pub(crate) client_secret: bool,
    /// The `Authorization` header is a template.
    pub(crate) authorization: bool,
}

/// The proof of the client's identity in one request.
#[derive(Default)]
pub(crate) struct Proof<'c> {
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<Secret>,
    pub(crate) parameters: [Option<(&'static str, Exposed<'c>)>; 2],
    pub(crate) assertion: Option<Signed>,
    /// The secrets in them, as they are.
    pub(crate) secrets: Vec<Secret>,
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
