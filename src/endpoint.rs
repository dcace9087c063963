//! A token endpoint, described as data.

mod members;

pub use self::members::Members;

use crate::api_header::ApiHeader;
use crate::client_auth::ClientAuthentication;
use crate::error::Error;
use crate::lifetime::LifetimeRules;
use crate::place::Place;
use crate::refused_if::RefusedIf;
use crate::secret::{Field, SecretSource};
use crate::url::Url;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A token endpoint: where it is, what it wants to be sent and how its answers are to be read. All of it is data.
///
/// ```
/// use keyfob::{Endpoint, Parameters};
///
/// // In the program …
/// let endpoint = Endpoint::new("https://as.example/oauth/token")?.parameters(Parameters::Json);
/// // … by the name of a dialect …
/// let endpoint = Endpoint::dialect("json-credentials", "https://as.example/oauth/token")?;
/// // … or from a document.
/// let endpoint = Endpoint::from_json(r#"{"url": "https://as.example/oauth/token", "params": "json"}"#)?;
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Endpoint {
    pub(crate) url: Url,
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
    pub(crate) grant_type: Option<String>,
    pub(crate) allow_http: bool,
}

/// The HTTP method of a request. A token request knows `POST`, `PUT` and `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `GET`, which has the parameters in the query: for bearer sessions, and for services that document it.
    Get,
    /// `POST`, which RFC 6749 section 3.2 asks for.
    Post,
    /// `DELETE`, which ends a bearer session ([`Revocation::Delete`]). A token is not asked for with it.
    Delete,
    /// `PUT`, for services that document it: as `POST` otherwise.
    Put,
}

impl Method {
    /// Returns the method's name: `GET`, `POST`, `DELETE` or `PUT`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Put => "PUT",
        }
    }
}

/// Where a request's parameters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parameters {
    /// `application/x-www-form-urlencoded` in the body (RFC 6749 appendix B).
    Form,
    /// A JSON object in the body, for dialects A and D.
    Json,
    /// The URL's query, for dialect E and for GET. Servers and proxies write URLs into their logs: prefer a body.
    Query,
}

/// How a token is ended at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Revocation {
    /// `DELETE` on the token endpoint with the issued token as bearer, as dialect B does.
    Delete,
}

impl Endpoint {
    /// An endpoint that keeps to RFC 6749: POST, a form, `client_secret_basic` where there is a secret.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a URL that is none, or holds a user name, a password or a fragment.
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self {
            url: Url::parse(url.as_ref())?,
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
            grant_type: None,
            allow_http: false,
        })
    }

    /// Sets the method of token requests: `POST` (the default), `PUT` or `GET`. `GET` moves the parameters into the
    /// query.
    ///
    /// With `GET`, a body named by [`parameters`](Endpoint::parameters) afterwards is refused as
    /// [`Config`](crate::ErrorKind::Config) before anything is sent, and so is `DELETE`.
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

    /// Authenticates the client so. Left alone it is `client_secret_basic` for a form and `client_secret_post`
    /// otherwise, and `none` where there is no client secret.
    #[must_use]
    pub fn authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Does not form-encode id and secret for Basic, for servers that do not decode them.
    #[must_use]
    pub fn basic_raw(mut self, raw: bool) -> Self {
        self.basic_raw = raw;
        self
    }

    /// Sends no `grant_type`, as dialect E.
    #[must_use]
    pub fn omit_grant_type(mut self, omit: bool) -> Self {
        self.omit_grant_type = omit;
        self
    }

    /// Refuses to ask without a scope, as dialect C.
    #[must_use]
    pub fn scope_required(mut self, required: bool) -> Self {
        self.scope_required = required;
        self
    }

    /// Adds a parameter to every token request: audience, resource, tenant. One that is added several times is repeated
    /// in a form or a query, and an array in JSON.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.push(Field::plain(name, value));
        self
    }

    /// Adds a secret parameter to every token request.
    #[must_use]
    pub fn secret_parameter(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.extra.push(Field::secret(name, value));
        self
    }

    /// Adds a header to every request. One that keyfob sends itself (`Accept`, `User-Agent`, `Content-Type`) is replaced.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Field::plain(name, value));
        self
    }

    /// Adds a secret header to every request: an API key.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.headers.push(Field::secret(name, value));
        self
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
    /// is looked for in the places of [`Members`] and under the usual names. `value` is JSON: `false`, `"error"`, `1`.
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
    /// A token of any type is sent in it. [`AccessToken::header`](crate::AccessToken::header) returns name and value.
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

    /// Says how a token is ended.
    #[must_use]
    pub fn revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = Some(revocation);
        self
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

    /// Host and port of the endpoint, for messages.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    /// Whether the description knows a way to end a token.
    #[must_use]
    pub fn can_revoke(&self) -> bool {
        self.revocation.is_some()
    }

    /// Refuses a method that no token request has, and a body where there can be none: a secret that was meant for a
    /// body must not get lost, nor into a log of URLs.
    pub(crate) fn check_method(&self) -> Result<(), Error> {
        match (self.method, self.parameters) {
            (Method::Delete, _) => {
                Err(Error::config("`method`: a token is not asked for with DELETE").with_hint("use POST, PUT or GET"))
            }
            (Method::Get, Parameters::Form | Parameters::Json) => {
                Err(Error::config("`params`: with GET they can only go into the query")
                    .with_hint("leave `params` out, or use POST"))
            }
            _ => Ok(()),
        }
    }

    /// Adds the elements of an array to every token request: a JSON array, or a parameter that is repeated.
    pub(crate) fn list_parameter(&mut self, name: &str, value: &str) {
        self.extra.push(Field { is_list: true, ..Field::plain(name, value) });
    }

    pub(crate) fn set_grant_type(&mut self, grant_type: &str) {
        self.grant_type = Some(grant_type.to_owned());
    }
}

/// Shows no secret, and no query: it may hold one.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url.without_query())
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
