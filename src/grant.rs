//! What is asked: the grant.

use crate::secret::{Field, SecretSource};
use alloc::string::String;
use alloc::vec::Vec;

/// What a token is asked for with: one of the grants of RFC 6749, a bearer session, or an extension grant.
///
/// ```
/// use keyfob::{Grant, SecretSource};
///
/// let machine = Grant::client_credentials().scope("read").scope("write");
/// let person = Grant::password("alice", SecretSource::file("/run/secrets/alice"));
/// let assertion = Grant::extension("urn:ietf:params:oauth:grant-type:jwt-bearer")
///     .secret_parameter("assertion", SecretSource::file("/run/secrets/assertion"));
/// ```
#[derive(Debug)]
pub struct Grant {
    pub(crate) kind: GrantKind,
    pub(crate) scope: String,
    pub(crate) parameters: Vec<Field>,
}

#[derive(Debug)]
pub(crate) enum GrantKind {
    ClientCredentials,
    Password { username: String, password: SecretSource },
    BearerSession { token: SecretSource },
    RefreshToken { token: SecretSource },
    Extension { grant_type: String },
}

impl Grant {
    fn new(kind: GrantKind) -> Self {
        Self { kind, scope: String::new(), parameters: Vec::new() }
    }

    /// The client asks for itself (RFC 6749 section 4.4).
    #[must_use]
    pub fn client_credentials() -> Self {
        Self::new(GrantKind::ClientCredentials)
    }

    /// The client hands on a person's user name and password (RFC 6749 section 4.3).
    #[must_use]
    pub fn password(username: impl Into<String>, password: impl Into<SecretSource>) -> Self {
        Self::new(GrantKind::Password { username: username.into(), password: password.into() })
    }

    /// Exchanges a long-lived bearer token for a session's token. No RFC has this; dialect B does.
    #[must_use]
    pub fn bearer_session(token: impl Into<SecretSource>) -> Self {
        Self::new(GrantKind::BearerSession { token: token.into() })
    }

    /// Renews by a refresh token (RFC 6749 section 6).
    #[must_use]
    pub fn refresh_token(token: impl Into<SecretSource>) -> Self {
        Self::new(GrantKind::RefreshToken { token: token.into() })
    }

    /// Renews by the refresh token in a file, and writes each new one that the server hands out back into it, before the
    /// access token is returned: by a temporary file beside it, in a way that survives a power cut. While one process does
    /// this, others that share the file wait.
    ///
    /// It is found out before anything is sent whether the file can be rewritten. If the new one cannot be put in its
    /// place all the same, the error says where it is.
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn refresh_token_file(path: impl Into<std::path::PathBuf>) -> Self {
        Self::new(GrantKind::RefreshToken { token: SecretSource::rotated(path.into()) })
    }

    /// Any other grant, by its `grant_type`, mostly a URN (RFC 6749 section 4.5). Add its parameters.
    #[must_use]
    pub fn extension(grant_type: impl Into<String>) -> Self {
        Self::new(GrantKind::Extension { grant_type: grant_type.into() })
    }

    /// Asks for this scope too (RFC 6749 section 3.3); several are joined by a space.
    #[must_use]
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        for scope in scope.as_ref().split(' ').filter(|scope| !scope.is_empty()) {
            if !self.scope.is_empty() {
                self.scope.push(' ');
            }
            self.scope.push_str(scope);
        }
        self
    }

    /// Adds a parameter of this grant. What every request to the endpoint carries belongs to
    /// [`Endpoint::parameter`](crate::Endpoint::parameter) instead.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push(Field::plain(name, value));
        self
    }

    /// Adds a secret parameter of this grant: an assertion, a device code.
    #[must_use]
    pub fn secret_parameter(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.parameters.push(Field::secret(name, value));
        self
    }

    /// The value of `grant_type`; a bearer session has none.
    pub(crate) fn grant_type(&self) -> Option<&str> {
        match &self.kind {
            GrantKind::ClientCredentials => Some("client_credentials"),
            GrantKind::Password { .. } => Some("password"),
            GrantKind::BearerSession { .. } => None,
            GrantKind::RefreshToken { .. } => Some("refresh_token"),
            GrantKind::Extension { grant_type } => Some(grant_type),
        }
    }

    /// The file that a new refresh token is written back to.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn refresh_file(&self) -> Option<&std::path::Path> {
        match &self.kind {
            GrantKind::RefreshToken { token } => token.rotated_file(),
            _ => None,
        }
    }

    /// Whether this grant's own source has the newest refresh token, whatever came by another way.
    pub(crate) fn is_kept_in_file(&self) -> bool {
        #[cfg(all(feature = "std", unix))]
        return self.refresh_file().is_some();
        #[cfg(not(all(feature = "std", unix)))]
        return false;
    }

    /// Whether this grant is a refresh token, and `token` is what it would send.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn is_refresh_by(&self, token: &str) -> bool {
        match &self.kind {
            GrantKind::RefreshToken { token: source } => source.expose().is_ok_and(|own| &*own == token),
            _ => false,
        }
    }

    /// Whether the same request can be sent twice without harm. A refresh token may have been rotated by the first,
    /// and what an extension grant carries may be good for one use.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.kind, GrantKind::RefreshToken { .. } | GrantKind::Extension { .. })
    }
}
