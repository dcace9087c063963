//! Grants: what a token is asked for with.

use crate::assertion::Assertion;
use crate::field::{Field, FieldValue};
#[cfg(all(feature = "std", unix))]
use crate::secret::RefreshFile;
use crate::secret::SecretSource;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

const REFRESH_TOKEN: &str = "refresh_token";

/// An authorization grant: one of RFC 6749, a bearer session, or an extension grant.
///
/// ```
/// use keyfob::{Grant, SecretSource};
///
/// let machine = Grant::client_credentials().scope("read").scope("write");
/// let person = Grant::password("alice", SecretSource::file("/run/secrets/alice"));
/// let assertion = Grant::extension("urn:ietf:params:oauth:grant-type:saml2-bearer")
///     .secret_parameter("assertion", SecretSource::file("/run/secrets/assertion"));
/// ```
#[derive(Debug)]
pub struct Grant {
    /// The value of `grant_type`. None: no such parameter is sent.
    pub(crate) grant_type: Option<Cow<'static, str>>,
    /// Sent in the `Authorization` header, as `bearer CREDENTIAL`.
    pub(crate) bearer: Option<SecretSource>,
    /// The access token that is being renewed: sent where a template names it.
    pub(crate) token: Option<SecretSource>,
    /// The parameters that make up the grant: nobody may send them a second time.
    pub(crate) fields: Vec<Field>,
    /// Signed for each request, and sent as the parameter `assertion`.
    pub(crate) assertion: Option<Box<Assertion>>,
    pub(crate) scope: String,
    /// The parameters that the user adds.
    pub(crate) parameters: Vec<Field>,
    /// The grant carries something that may be valid for one use only.
    is_once: bool,
}

impl Grant {
    fn new(grant_type: impl Into<Cow<'static, str>>) -> Self {
        Self {
            grant_type: Some(grant_type.into()),
            bearer: None,
            token: None,
            fields: Vec::new(),
            assertion: None,
            scope: String::new(),
            parameters: Vec::new(),
            is_once: false,
        }
    }

    /// Asks for a token for the client itself (RFC 6749 section 4.4). It sends no parameter but `grant_type`, and
    /// [`scope`](Grant::scope) if it is set.
    #[must_use]
    pub fn client_credentials() -> Self {
        Self::new("client_credentials")
    }

    /// Asks with a person's user name and password (RFC 6749 section 4.3). The password is read for each request.
    ///
    /// Servers lock an account after a few wrong passwords, so a cache waits minutes to hours after any refusal of this grant.
    #[must_use]
    pub fn password(username: impl Into<String>, password: impl Into<SecretSource>) -> Self {
        let fields = alloc::vec![Field::plain("username", username), Field::line("password", password)];
        Self { fields, ..Self::new("password") }
    }

    /// Exchanges a long-lived bearer token for the token of a session. The bearer token goes into the `Authorization` header,
    /// and no `grant_type` is sent. No RFC defines this; the dialect `bearer-session` does.
    #[must_use]
    pub fn bearer_session(token: impl Into<SecretSource>) -> Self {
        Self { grant_type: None, bearer: Some(token.into()), ..Self::new("") }
    }

    /// Asks with a refresh token (RFC 6749 section 6). A cache sends the newest one that it received from then on, in memory
    /// only: to keep a rotated token across restarts, use `refresh_token_file`.
    #[must_use]
    pub fn refresh_token(token: impl Into<SecretSource>) -> Self {
        Self { fields: alloc::vec![Field::line(REFRESH_TOKEN, token)], is_once: true, ..Self::new(REFRESH_TOKEN) }
    }

    /// Renews with the refresh token in a file, and writes each new one that the server hands out back into it before the
    /// access token is returned, in a way that survives a power cut. While one process does this, others that share the
    /// file wait.
    ///
    /// The new token is written to `.NAME.new` beside the file, which then takes the file's place. A file that is a mount
    /// point itself, such as a container's volume of a single file, is written in place while `.NAME.new` still holds
    /// the token. If a process is interrupted, the next one moves the token from there into the file.
    ///
    /// Before anything is sent, keyfob checks that the file can be rewritten, with room for a token of 64 KiB. A file with
    /// several names (hard links) is refused. If the new token still cannot be moved into place, the fetch fails with
    /// [`Config`](crate::ErrorKind::Config), and the hint names the file that holds it: see
    /// [`refresh_token_file_with`](Grant::refresh_token_file_with).
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn refresh_token_file(path: impl Into<std::path::PathBuf>) -> Self {
        let file = RefreshFile { path: path.into(), report: None };
        Self::refresh_token(SecretSource::rotated(file))
    }

    /// Renews as [`refresh_token_file`](Grant::refresh_token_file) does, but returns the access token even if its
    /// new refresh token only got into `.NAME.new`: `report` is called with the error, and the next renewal puts the refresh
    /// token in its place first.
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn refresh_token_file_with(
        path: impl Into<std::path::PathBuf>,
        report: impl Fn(&crate::Error) + Send + Sync + 'static,
    ) -> Self {
        let file = RefreshFile { path: path.into(), report: Some(alloc::sync::Arc::new(report)) };
        Self::refresh_token(SecretSource::rotated(file))
    }

    /// Asks for a new token with a refresh token, the current access token, or both, as the endpoint's description says.
    pub(crate) fn renewal(refresh_token: Option<&str>, token: Option<&str>) -> Self {
        let token = token.map(SecretSource::value);
        match refresh_token {
            Some(refresh_token) => Self { token, ..Self::refresh_token(SecretSource::value(refresh_token)) },
            None => Self { grant_type: None, token, is_once: true, ..Self::new("") },
        }
    }

    /// Asks with an assertion that is signed for each request (RFC 7523 section 2.1). Google, Salesforce and DocuSign require
    /// it. The claim `sub` names the user or account that the token is for.
    ///
    /// For an assertion that another party has signed, use [`extension`](Grant::extension) with a parameter.
    ///
    /// ```
    /// use keyfob::{Assertion, Grant, SecretSource};
    ///
    /// let assertion = Assertion::new(SecretSource::file("/run/secrets/service-account.json"))
    ///     .claim("scope", "https://www.googleapis.com/auth/devstorage.read_only");
    /// let grant = Grant::jwt_bearer(assertion);
    /// ```
    #[must_use]
    pub fn jwt_bearer(assertion: Assertion) -> Self {
        Self { assertion: Some(Box::new(assertion)), ..Self::new(Self::JWT_BEARER) }
    }

    /// The value of `grant_type` in RFC 7523 section 2.1.
    /// The grant type of a token exchange (RFC 8693 section 2.1).
    const TOKEN_EXCHANGE: &'static str = "urn:ietf:params:oauth:grant-type:token-exchange";

    /// Returns whether this is a token exchange, whose answer names the type of the issued token.
    pub(crate) fn is_exchange(&self) -> bool {
        self.name() == Self::TOKEN_EXCHANGE
    }

    pub(crate) const JWT_BEARER: &'static str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

    /// Asks with any other grant (RFC 6749 section 4.5). `grant_type` is usually a URN. Add its parameters with
    /// [`parameter`](Grant::parameter) and [`secret_parameter`](Grant::secret_parameter).
    ///
    /// keyfob assumes that its secrets may be valid for one use only, so an error with an unknown outcome is not retryable.
    #[must_use]
    pub fn extension(grant_type: impl Into<String>) -> Self {
        Self { is_once: true, ..Self::new(grant_type.into()) }
    }

    /// Adds a scope to the request (RFC 6749 section 3.3). Several calls, or a text with spaces, add several scopes. Default:
    /// no `scope` is sent, and the server chooses.
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

    /// Adds a parameter of this grant. The value is sent literally: it is not a template. For a parameter of every request to
    /// the endpoint, use [`Endpoint::parameter`](crate::Endpoint::parameter).
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push(Field::plain(name, value));
        self
    }

    /// Adds a secret parameter of this grant, such as an assertion or a device code. The source is read for each request.
    #[must_use]
    pub fn secret_parameter(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.parameters.push(Field::secret(name, value));
        self
    }

    /// The grant's name in a description: its `grant_type`, or `bearer_session`, which has none.
    pub(crate) fn name(&self) -> &str {
        self.grant_type.as_deref().unwrap_or("bearer_session")
    }

    /// Returns whether this grant renews a token, with a refresh token or the current access token.
    pub(crate) fn is_refresh(&self) -> bool {
        self.refresh_source().is_some() || self.token.is_some()
    }

    /// Returns the source of the refresh token, if this is a refresh token grant.
    fn refresh_source(&self) -> Option<&SecretSource> {
        match &self.fields[..] {
            [Field { name, value: FieldValue::Line(source), .. }] if name == REFRESH_TOKEN => Some(source),
            _ => None,
        }
    }

    /// The file that a new refresh token is written back to.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn refresh_file(&self) -> Option<&RefreshFile> {
        self.refresh_source()?.rotated_file()
    }

    /// Returns whether this grant carries a person's password: servers lock an account after a few wrong ones.
    pub(crate) fn is_login(&self) -> bool {
        self.fields.iter().chain(&self.parameters).any(|field| field.name == "password")
    }

    /// Returns whether the source of this grant always holds the newest refresh token.
    pub(crate) fn is_kept_in_file(&self) -> bool {
        #[cfg(all(feature = "std", unix))]
        return self.refresh_file().is_some();
        #[cfg(not(all(feature = "std", unix)))]
        return false;
    }

    /// Returns whether this grant would send `token` as its refresh token.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn is_refresh_by(&self, token: &str) -> bool {
        self.refresh_source().is_some_and(|source| source.expose().is_ok_and(|own| &*own == token))
    }

    /// Returns whether the same request can be sent twice without harm. The first may have rotated the refresh token, and the
    /// secrets of an extension grant may be valid for one use only, unless they are another service's access token.
    pub(crate) fn is_repeatable(&self) -> bool {
        let mut secrets = self.parameters.iter().filter_map(Field::secret_source).peekable();
        let is_exchange = self.fields.is_empty() && secrets.peek().is_some() && secrets.all(SecretSource::is_token);
        !self.is_once || is_exchange
    }
}
