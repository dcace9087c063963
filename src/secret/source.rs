//! The source of a secret.

#[cfg(feature = "std")]
use super::read;
use super::{Exposed, Secret};
#[cfg(all(feature = "std", unix))]
use crate::cache::SharedTokenCache;
use crate::error::Error;
use crate::token::TokenSource;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
#[cfg(all(feature = "std", unix))]
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
#[cfg(feature = "std")]
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The source of a secret. It is read for each request, so a rotated secret needs no restart.
///
/// There is no conversion from `&str`, because a text could be a secret, a path or the name of a variable. Choose
/// [`value`](SecretSource::value), [`file`](SecretSource::file) or [`environment`](SecretSource::environment). A
/// [`Secret`] and a `String` convert as `value` does.
///
/// ```no_run
/// use keyfob::SecretSource;
///
/// let rotated_by_somebody = SecretSource::file("/run/credentials/my.service/secret");
/// let set_by_the_shell = SecretSource::environment("CLIENT_SECRET");
/// let in_the_program = SecretSource::value("hunter2");
/// ```
pub struct SecretSource(Source);

enum Source {
    Value(Secret),
    Provider(Box<Provider>),
    Token(Box<dyn TokenSource + Send + Sync>),
    /// A source whose identity is not its value.
    #[cfg(all(feature = "std", unix))]
    Identified(Box<SecretSource>, Identity),
    #[cfg(feature = "std")]
    File(PathBuf),
    /// A refresh token's file: each new one is written back.
    #[cfg(all(feature = "std", unix))]
    Rotated(RefreshFile),
    #[cfg(feature = "std")]
    Environment(String),
}

/// The replacement for a secret in a token's identity.
#[cfg(all(feature = "std", unix))]
pub(crate) enum Identity {
    Text(Secret),
    /// The requests of this cache, with their credentials.
    Cache(Arc<SharedTokenCache>),
}

/// Receives the error if a new refresh token is safe, but not in its file.
#[cfg(all(feature = "std", unix))]
pub(crate) type Report = dyn Fn(&Error) + Send + Sync;

/// The file of a refresh token, and the function that hears of a new one that is not in it.
#[cfg(all(feature = "std", unix))]
pub(crate) struct RefreshFile {
    pub(crate) path: PathBuf,
    pub(crate) report: Option<Arc<Report>>,
}

type Provider = dyn Fn() -> Result<Secret, Error> + Send + Sync;

impl SecretSource {
    /// Holds the secret itself, in memory that is wiped when the source is dropped. Prefer [`file`](SecretSource::file): a
    /// secret that is compiled in cannot be rotated.
    pub fn value(secret: impl Into<Secret>) -> Self {
        Self(Source::Value(secret.into()))
    }

    /// Calls `provider` for each request, to read the secret from flash memory, a security chip or a vault. If it returns an
    /// error, the fetch fails with that error and sends nothing.
    ///
    /// ```
    /// use keyfob::{Secret, SecretSource};
    ///
    /// let source = SecretSource::provider(|| Ok(Secret::from("read from the chip")));
    /// ```
    pub fn provider(provider: impl Fn() -> Result<Secret, Error> + Send + Sync + 'static) -> Self {
        Self(Source::Provider(Box::new(provider)))
    }

    /// Takes the secret from a source of tokens for each request: the token of one service is the credential for the next. The first token keeps its own lifetime and renewal. If a server refuses it, a cache reports that to
    /// `source` ([`TokenSource::invalidate`]) and asks once more with another one.
    ///
    /// For a [`Store`](crate::Store), each new token of the first source is another credential. Name what they have in common
    /// with [`identity_of`](SecretSource::identity_of) or [`identity`](SecretSource::identity).
    ///
    /// ```
    /// use keyfob::{AccessToken, Client, Endpoint, Grant, SecretSource};
    ///
    /// # fn cache() -> AccessToken { AccessToken::bearer("first").unwrap() }
    /// let first = cache(); // an `Arc<SharedTokenCache>`, or any other `TokenSource`
    /// let grant = Grant::extension("urn:ietf:params:oauth:grant-type:token-exchange")
    ///     .parameter("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
    ///     .secret_parameter("subject_token", SecretSource::token(first));
    /// ```
    pub fn token(source: impl TokenSource + Send + Sync + 'static) -> Self {
        Self(Source::Token(Box::new(source)))
    }

    /// Reads a file for each request, without one line end at its end. It must be UTF-8, not empty and at most 64 KiB long. A
    /// pipe is read to its end, with up to 30 s for each read. A device is refused. If the file cannot be read, the fetch fails with
    /// [`Config`](crate::ErrorKind::Config) and sends nothing.
    #[cfg(feature = "std")]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Reads an environment variable for each request, without one line end at its end. It must be UTF-8 and not empty.
    ///
    /// Prefer [`file`](SecretSource::file). The environment stays in the process's memory for life, where keyfob cannot wipe
    /// it, and every child process inherits it.
    #[cfg(feature = "std")]
    pub fn environment(name: impl Into<String>) -> Self {
        Self(Source::Environment(name.into()))
    }

    /// Sets a text that takes the secret's place in a token's identity. Default: the secret itself.
    ///
    /// A [`Store`](crate::Store) shares a token only among clients that would send the same request, including its secrets. A
    /// provider that signs a new assertion for each request never sends the same one: name the key that it signs with, and all
    /// that the assertion says about the client. Two sources with the same identity share their tokens.
    ///
    /// ```
    /// use keyfob::{Grant, Secret, SecretSource};
    ///
    /// # fn sign() -> Secret { Secret::from("header.claims.signature") }
    /// let assertion = SecretSource::provider(|| Ok(sign())).identity("key 2026-11, issuer my-service");
    /// let grant = Grant::extension("urn:ietf:params:oauth:grant-type:jwt-bearer").secret_parameter("assertion", assertion);
    /// ```
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn identity(self, text: impl Into<Secret>) -> Self {
        Self(Source::Identified(Box::new(self), Identity::Text(text.into())))
    }

    /// Sets that what `tokens` asks for, and with which credentials, takes the secret's place in a token's identity: for a
    /// secret that is the token of another cache, or a part of that token's answer. The second token then outlives a renewal
    /// of the first in a [`Store`](crate::Store), and is found there without asking for the first.
    ///
    /// ```no_run
    /// use keyfob::{Client, Endpoint, Grant, SecretSource, SharedTokenCache, Store, TokenCache};
    /// use std::sync::Arc;
    ///
    /// let store = Store::find()?;
    /// let first = Client::new(Endpoint::new("https://login.example/token")?).client_id("id");
    /// let first = Arc::new(SharedTokenCache::new(first, Grant::client_credentials()).store(store.clone()));
    /// let grant = Grant::extension("urn:ietf:params:oauth:grant-type:jwt-bearer")
    ///     .secret_parameter("assertion", SecretSource::token(first.clone()).identity_of(first));
    /// let second = Client::new(Endpoint::new("https://api.example/token")?);
    /// let mut tokens = TokenCache::new(second, grant).store(store);
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn identity_of(self, tokens: Arc<SharedTokenCache>) -> Self {
        Self(Source::Identified(Box::new(self), Identity::Cache(tokens)))
    }

    /// Returns what takes the secret's place in an identity, if anything does.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn own_identity(&self) -> Option<&Identity> {
        match &self.0 {
            Source::Identified(_, identity) => Some(identity),
            _ => None,
        }
    }

    /// A file with a refresh token, which is rewritten when the server hands out a new one.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn rotated(file: RefreshFile) -> Self {
        Self(Source::Rotated(file))
    }

    /// The file that a new one is written back to.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn rotated_file(&self) -> Option<&RefreshFile> {
        match &self.0 {
            Source::Rotated(file) => Some(file),
            Source::Identified(source, _) => source.rotated_file(),
            _ => None,
        }
    }

    /// Returns the secret as it is now: borrowed where it is held, else read, and wiped when this is dropped.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where a file or a variable is missing, empty, too long or not UTF-8;
    /// whatever a provider returns.
    pub fn expose(&self) -> Result<Exposed<'_>, Error> {
        match &self.0 {
            Source::Value(secret) => Ok(Exposed::borrowed(secret.expose())),
            Source::Provider(provider) => provider().map(Exposed::read),
            Source::Token(source) => source.token().map(|token| Exposed::read(token.expose().into())),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.expose(),
            #[cfg(feature = "std")]
            Source::File(path) => read::read_file(path).map(Exposed::read),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => read::read_file(path).map(Exposed::read),
            #[cfg(feature = "std")]
            Source::Environment(name) => read::read_environment(name).map(Exposed::read),
        }
    }

    /// Returns whether it is the token of another source, which is good for many uses.
    pub(crate) fn is_token(&self) -> bool {
        match &self.0 {
            Source::Token(_) => true,
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.is_token(),
            _ => false,
        }
    }

    /// Reports that the secret was refused, if it is a token. Returns whether the next one may be better.
    pub(crate) fn invalidate(&self) -> bool {
        match &self.0 {
            Source::Token(source) => source.token().is_ok_and(|token| source.invalidate(&token)),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.invalidate(),
            _ => false,
        }
    }

    /// Returns the secret's bytes as they are now. A file need not be text.
    pub(crate) fn expose_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        match &self.0 {
            #[cfg(feature = "std")]
            Source::File(path) => read::read_file_bytes(path),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.expose_bytes(),
            _ => self.expose().map(|text| Zeroizing::new(text.as_bytes().to_vec())),
        }
    }

    /// Returns the secret as it is now, where RFC 6749 appendix A makes it one line of text: the client secret, a password, a
    /// token. A control character in it is always a mistake, mostly a second line end, which would be sent encoded.
    /// `what` is the secret's name in messages.
    pub(crate) fn expose_line(&self, what: &str) -> Result<Exposed<'_>, Error> {
        let secret = self.expose()?;
        if !secret.bytes().any(|byte| byte.is_ascii_control()) {
            return Ok(secret);
        }
        // Of the control characters only a password may hold one: a tab (RFC 6749 appendix A).
        let is_wrong = |c: char| c.is_ascii_control() && !(c == '\t' && what == "password");
        let Some((offset, c)) = secret.char_indices().find(|(_, c)| is_wrong(*c)) else { return Ok(secret) };
        let kind = match c {
            '\n' | '\r' => "a line end",
            '\t' => "a tab",
            _ => "a control character",
        };
        let origin = self.origin().unwrap_or_else(|| format!("the {what}"));
        Err(Error::config(format!("{origin}: byte {offset} is {kind}, which a {what} cannot hold"))
            .with_hint("take it out; only a single line end at the very end of a file or variable is ignored"))
    }

    /// Returns the place that it is read from, for messages. None where it is held or provided.
    fn origin(&self) -> Option<String> {
        match &self.0 {
            Source::Value(_) | Source::Provider(_) | Source::Token(_) => None,
            #[cfg(feature = "std")]
            Source::File(path) => Some(read::file_origin(path)),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => Some(read::file_origin(path)),
            #[cfg(feature = "std")]
            Source::Environment(name) => Some(format!("environment variable {name}")),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.origin(),
        }
    }
}

/// As [`SecretSource::value`].
impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::value(secret)
    }
}

/// As [`SecretSource::value`]: the text is the secret, not a path. It is taken over and wiped later.
impl From<String> for SecretSource {
    fn from(text: String) -> Self {
        Self::value(text)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Value(secret) => secret.fmt(f),
            Source::Provider(_) => f.write_str("Provider"),
            Source::Token(_) => f.write_str("Token"),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.fmt(f),
            #[cfg(feature = "std")]
            Source::File(path) => f.debug_tuple("File").field(path).finish(),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => f.debug_tuple("Rotated").field(path).finish(),
            #[cfg(feature = "std")]
            Source::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
        }
    }
}
