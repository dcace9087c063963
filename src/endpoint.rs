//! A token endpoint, described as data.

mod choices;
mod members;
mod parts;

pub use self::choices::{Method, Parameters, Revocation};
pub use self::members::Members;

use crate::api_header::ApiHeader;
use crate::client_auth::ClientAuthentication;
use crate::error::Error;
use crate::field::{Field, FieldValue, Json};
use crate::lifetime::LifetimeRules;
use crate::place::Place;
use crate::refused_if::RefusedIf;
use crate::secret::SecretSource;
use crate::template::Values;
use crate::url::{Url, UrlTemplate};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A token endpoint: where it is, what it wants to be sent and how its answers are to be read. All of it is data.
///
/// ```
/// use keyfob::{Dialect, Endpoint, Parameters};
///
/// // In the program …
/// let endpoint = Endpoint::new("https://as.example/oauth/token")?.parameters(Parameters::Json);
/// // … as a dialect …
/// let endpoint = Endpoint::dialect(Dialect::JsonCredentials, "https://as.example/oauth/token")?;
/// // … or from a document.
/// let endpoint = Endpoint::from_json(r#"{"url": "https://as.example/oauth/token", "params": "json"}"#)?;
/// # Ok::<(), keyfob::Error>(())
/// ```
///
/// # Templates
///
/// The URL and the values of parameters and headers are templates. `{name}` is the value of a variable: one that is set by
/// [`variable`](Endpoint::variable) or [`secret_variable`](Endpoint::secret_variable), or one of `client_id`,
/// `client_secret`, `username`, `password`, `session_token` and `refresh_token`. What a template names is sent there, and
/// not where it is sent otherwise. `{base64:TEXT}`, `{json:TEXT}` (as inside a JSON string), `{url:TEXT}`
/// (percent-encoded) and `{sha256:TEXT}` (in hexadecimal) encode a text that may name variables in turn, three deep at most.
/// `{now:YYYY-MM-DDTHH:mm:ss}`, `{now+7d:unix}` and `{random}` are computed for each request:
/// [profiles](crate::docs::profiles#templates) has the table. `{{name}}` is the text `{name}`; any other brace is itself.
///
/// In a URL a value stays in its place: in the host it must be letters, digits, hyphens, dots and perhaps a port; in the
/// path it is percent-encoded, and must not be empty, `.` or `..`; in the query it is form-encoded. Secrets are refused in
/// host and path. A URL that begins with a variable takes a whole base URL from it, such as `https://acme.example/api`.
///
/// ```
/// use keyfob::{ClientCredentials, Endpoint, Grant, Request, SecretSource};
///
/// let endpoint = Endpoint::new("https://{tenant}.example/oauth/token")?
///     .variable("tenant", "acme")
///     .header("Authorization", "ID {base64:{client_id}:{client_secret}}");
/// let credentials = ClientCredentials::default().client_id("id").client_secret(SecretSource::value("secret"));
/// let request = Request::token(&endpoint, &credentials, &Grant::client_credentials())?;
/// assert_eq!(request.url(), "https://acme.example/oauth/token");
/// assert!(request.headers().any(|header| header == ("Authorization", "ID aWQ6c2VjcmV0")));
/// assert_eq!(request.body(), Some(b"grant_type=client_credentials".as_slice()));
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Endpoint {
    /// With the variables that are not secret, where it names some. Its query is then left to the template.
    pub(crate) url: Url,
    pub(crate) template: Option<UrlTemplate>,
    pub(crate) is_resolved: bool,
    pub(crate) variables: Vec<Field>,
    pub(crate) refresh: Refresh,
    pub(crate) method: Method,
    pub(crate) parameters: Parameters,
    pub(crate) authentication: Option<ClientAuthentication>,
    pub(crate) basic_raw: bool,
    pub(crate) omit_grant_type: bool,
    pub(crate) scope_required: bool,
    pub(crate) extra: Vec<Field>,
    pub(crate) headers: Vec<Field>,
    pub(crate) members: Members,
    pub(crate) session_members: Vec<(String, Place)>,
    pub(crate) refused_if: Vec<RefusedIf>,
    pub(crate) api: Option<ApiHeader>,
    pub(crate) lifetime: LifetimeRules,
    pub(crate) revocation: Option<Revocation>,
    pub(crate) introspection: Option<String>,
    pub(crate) issuer: Option<Url>,
    pub(crate) grant_type: Option<String>,
    pub(crate) allow_http: bool,
}

/// How a token is renewed.
pub(crate) enum Refresh {
    /// With the refresh token, as RFC 6749 section 6 has it.
    Standard,
    /// With the original grant alone.
    Never,
    /// With a request of its own.
    Block {
        endpoint: Box<Endpoint>,
        /// The access token is what it asks with, and there is no refresh token.
        with_token: bool,
        /// The client proves who it is in this request too.
        authenticates: bool,
    },
}

impl Endpoint {
    /// Creates an endpoint that keeps to RFC 6749: POST, a form, `client_secret_basic` where there is a secret.
    ///
    /// `url` may name [variables](Endpoint#templates).
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a URL that is none, or holds a user name, a password or a fragment.
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        let url = url.as_ref();
        let template = UrlTemplate::parse(url)?;
        let parsed = match &template {
            Some(template) => template.sample()?,
            None => Url::parse(url)?,
        };
        Ok(Self {
            url: parsed,
            is_resolved: template.is_none(),
            template,
            variables: Vec::new(),
            refresh: Refresh::Standard,
            method: Method::Post,
            parameters: Parameters::Form,
            authentication: None,
            basic_raw: false,
            omit_grant_type: false,
            scope_required: false,
            extra: Vec::new(),
            headers: Vec::new(),
            members: Members::default(),
            session_members: Vec::new(),
            refused_if: Vec::new(),
            api: None,
            lifetime: LifetimeRules::default(),
            revocation: None,
            introspection: None,
            issuer: None,
            grant_type: None,
            allow_http: false,
        })
    }

    /// Sets the method of token requests: `POST` (the default), `PUT` or `GET`. `GET` moves the parameters into the
    /// query.
    ///
    /// With `GET`, a body named by [`parameters`](Endpoint::parameters) afterwards is refused as
    /// [`Config`](crate::ErrorKind::Config) before anything is sent.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        if method == Method::Get {
            self.parameters = Parameters::Query;
        }
        self
    }

    /// Sets where the parameters go. Default: a form in the body; the query with `GET`, which has no other place.
    #[must_use]
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets how the client authenticates. Default: `client_secret_basic` for a form and `client_secret_post` otherwise, and
    /// `none` where there is no client secret.
    #[must_use]
    pub fn authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Sets whether Basic takes id and secret as they are, not form-encoded (RFC 6749 section 2.3.1), for servers that do
    /// not decode them. Default: false.
    #[must_use]
    pub fn basic_raw(mut self, raw: bool) -> Self {
        self.basic_raw = raw;
        self
    }

    /// Sets whether the parameter `grant_type` is left out. Default: false.
    #[must_use]
    pub fn omit_grant_type(mut self, omit: bool) -> Self {
        self.omit_grant_type = omit;
        self
    }

    /// Sets whether a request without a scope is refused as [`Config`](crate::ErrorKind::Config), before it is sent.
    /// Default: false.
    #[must_use]
    pub fn scope_required(mut self, required: bool) -> Self {
        self.scope_required = required;
        self
    }

    /// Adds a parameter to every token request: audience, resource, tenant. Its value is a [template](Endpoint#templates). One
    /// that is added several times is repeated in a form or a query, and an array in JSON.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.push(Field::template(name, value));
        self
    }

    /// Adds the parameter `resource`, the API that the token is for (RFC 8707 section 2), to every token request. It is a
    /// [template](Endpoint#templates), and may be added several times. Default: none.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if it is no absolute URI without a fragment.
    pub fn resource(self, uri: impl Into<String>) -> Result<Self, Error> {
        let uri = uri.into();
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        // A variable may hold the beginning.
        let is_absolute = uri.starts_with('{') || uri.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
        if !is_absolute || uri.contains('#') {
            return Err(Error::config("resource: not an absolute URI without a fragment (RFC 8707 section 2)"));
        }
        Ok(self.parameter("resource", uri))
    }

    /// Adds a secret parameter to every token request, sent as it is read.
    #[must_use]
    pub fn secret_parameter(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.extra.push(Field::secret(name, value));
        self
    }

    /// Adds a header to every request. Its value is a [template](Endpoint#templates). One that keyfob sends itself (`Accept`,
    /// `User-Agent`, `Content-Type`) is replaced, and so is the client authentication's `Authorization` if the value names
    /// a variable.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Field::template(name, value));
        self
    }

    /// Adds a secret header to every request: an API key.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.headers.push(Field::secret(name, value));
        self
    }

    /// Sets the value of a variable for this endpoint's [templates](Endpoint#templates). The last value of a name counts.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set_variable(Field::plain(name, value));
        self
    }

    /// Sets a secret variable for this endpoint's [templates](Endpoint#templates). It is read for each request that names
    /// it.
    #[must_use]
    pub fn secret_variable(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.set_variable(Field::secret(name, value));
        self
    }

    /// Sets a variable for this endpoint's [templates](Endpoint#templates) that is read for each request that names it, and
    /// may be in the URL's host and path, where it is no secret: a member of another service's answer, for example.
    ///
    /// ```no_run
    /// use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Secret, SecretSource, SharedTokenCache};
    ///
    /// let login = Client::new(Endpoint::new("https://login.example/token")?.keep_member("instance_url")?);
    /// let login = SharedTokenCache::new(login, Grant::client_credentials());
    /// let instance = SecretSource::provider(move || match login.token()?.member("instance_url") {
    ///     Some(url) => Ok(Secret::from(url.expose())),
    ///     None => Err(Error::new(ErrorKind::Unusable, "the answer has no instance_url")),
    /// });
    /// let endpoint = Endpoint::new("{instance_url}/oauth/token")?.read_variable("instance_url", instance);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn read_variable(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.set_variable(Field { name: name.into(), value: FieldValue::Read(value.into()) });
        self
    }

    fn set_variable(&mut self, field: Field) {
        self.variables.push(field);
        self.resolve();
    }

    /// Puts the variables into the URL that messages and proxies see, as soon as there are all that it needs.
    fn resolve(&mut self) {
        let Some(template) = &self.template else { return };
        let mut values = Values::default();
        for field in self.variables.iter().rev() {
            if let FieldValue::Plain(text) = &field.value {
                values.add_plain(&field.name, text);
            }
        }
        // What is wrong is said when a request is made.
        if let Ok((url, _)) = template.render(&values) {
            self.url = url;
            self.is_resolved = true;
        }
    }

    /// Names the answer's members, where they are not RFC 6749's.
    #[must_use]
    pub fn members(mut self, members: Members) -> Self {
        self.members = members;
        self
    }

    /// Keeps another member of the answer, by its place ([`Members`] has the forms): a session's details, an instance URL.
    /// [`AccessToken::member`](crate::AccessToken::member) returns it.
    ///
    /// # Errors
    ///
    /// As [`Members::new`].
    pub fn keep_member(mut self, member: impl Into<String>) -> Result<Self, Error> {
        let name = member.into();
        let place = Place::of_member("keep", name.clone())?;
        self.session_members.push((name, place));
        Ok(self)
    }

    /// Adds a value that says no under a status of success: an answer that has it in this place is a refusal, and its text
    /// is looked for in the places of [`Members`] and under the usual names. `value` is JSON: `false`, `"error"`, `1`. With
    /// `{"not": 0}` any other value is a refusal.
    ///
    /// ```
    /// let endpoint = keyfob::Endpoint::new("https://as.example/login")?.refused_if("success", "false")?;
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`], and [`Config`](crate::ErrorKind::Config) for a value that is no string, number, boolean or
    /// `null`.
    pub fn refused_if(mut self, place: impl Into<String>, value: &str) -> Result<Self, Error> {
        self.refused_if.push(RefusedIf::new(place, value)?);
        Ok(self)
    }

    /// Sets the header in which the API wants the token, as a template: `X-Auth-Token: {token}`, `Authorization: Token {token}`,
    /// `Cookie: session={token}`. Default: `Authorization: Bearer {token}` (RFC 6750 section 2.1).
    ///
    /// A token of any type is sent in it. [`AccessToken::header`](crate::AccessToken::header) returns name and value. Besides
    /// `{token}` the template may name [variables](Endpoint::variable), and members of the answer that are
    /// [kept](Endpoint::keep_member). If it names a secret variable, the token is not put into a store. A request fails as [`Config`](crate::ErrorKind::Config), before it is sent, if one
    /// of them has no value; an answer without a kept member that is named is [`Unusable`](crate::ErrorKind::Unusable).
    ///
    /// ```
    /// use keyfob::Endpoint;
    ///
    /// let endpoint = Endpoint::new("https://as.example/token")?
    ///     .variable("tenant", "acme")
    ///     .api_header("Authorization: Session {tenant} {token}")?;
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for anything but a header name, a colon and printable ASCII that names `{token}`.
    pub fn api_header(mut self, header: &str) -> Result<Self, Error> {
        self.api = Some(ApiHeader::parse(header)?);
        Ok(self)
    }

    /// Sets how lifetimes are read. Default: [`LifetimeRules::default`].
    #[must_use]
    pub fn lifetime(mut self, rules: LifetimeRules) -> Self {
        self.lifetime = rules;
        self
    }

    /// Sets how a token is ended at the server. Default: it cannot be ended.
    #[must_use]
    pub fn revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Sets the URL of the introspection endpoint (RFC 7662), which says whether a token is valid. It may name
    /// [variables](Endpoint#templates). Default: none.
    #[must_use]
    pub fn introspection(mut self, url: impl Into<String>) -> Self {
        self.introspection = Some(url.into());
        self
    }

    /// Sets the issuer identifier of the authorization server (RFC 8414 section 2), which is then the audience of
    /// [assertions](crate::Assertion). Default: none, and the audience is the URL of the token endpoint.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if it is no http or https URL.
    pub fn issuer(mut self, issuer: &str) -> Result<Self, Error> {
        self.issuer = Some(Url::parse(issuer).map_err(|error| error.within("issuer"))?);
        Ok(self)
    }

    /// Allows plain http to any host: everyone on the way can read the secret and the token. Default: false, and plain http is
    /// allowed only to this machine, to link-local addresses and to `metadata.google.internal`.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Returns the grant that the description names: `bearer_session` for the dialect `bearer-session`, `password` for
    /// `user-credentials`. Another one is refused as [`Config`](crate::ErrorKind::Config), but for a refresh token.
    #[must_use]
    pub fn grant_type(&self) -> Option<&str> {
        self.grant_type.as_deref()
    }

    /// Returns host and port of the endpoint, for messages.
    #[must_use]
    pub fn authority(&self) -> &str {
        match &self.template {
            // The URL itself comes from the issuer's metadata.
            Some(template) if !self.is_resolved && template.authority().starts_with('{') => {
                self.issuer.as_ref().map_or_else(|| template.authority(), Url::authority)
            }
            Some(template) if !self.is_resolved => template.authority(),
            _ => self.url.authority(),
        }
    }

    /// Returns whether the description knows a way to end a token.
    #[must_use]
    pub fn can_revoke(&self) -> bool {
        self.revocation.is_some()
    }

    /// Adds a parameter with a JSON value to every token request.
    pub(crate) fn json_parameter(mut self, name: &str, value: Json) -> Self {
        self.extra.push(Field { name: name.to_owned(), value: FieldValue::Json(value) });
        self
    }

    pub(crate) fn set_grant_type(&mut self, grant_type: &str) {
        self.grant_type = Some(grant_type.to_owned());
    }
}

/// Shows no secret, and no query: it may hold one.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.template.as_ref().map_or(self.url.without_query(), UrlTemplate::without_query))
            .field("method", &self.method)
            .field("parameters", &self.parameters)
            .field("authentication", &self.authentication)
            .field("extra", &self.extra)
            .field("headers", &self.headers)
            .field("members", &self.members)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
