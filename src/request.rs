//! The request, as bytes in wiped buffers.

use crate::client_auth::{ClientCertificate, ClientCredentials};
use crate::encode;
use crate::endpoint::{Endpoint, Method, Parameters, Revocation};
use crate::error::{Echoes, Error};
use crate::grant::Grant;
use crate::secret::{Exposed, Field, FieldValue, Secret};
use crate::text::REDACTED;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// A request to an authorization server, ready to be sent: what a [`Transport`](crate::Transport) is given.
///
/// URL, header values and body may hold secrets. They are wiped when the request is dropped; a transport that copies
/// them wipes its copies.
pub struct Request {
    method: Method,
    url: Secret,
    /// Where the path starts, and where the query: what stands before is no secret.
    authority_end: usize,
    query: usize,
    headers: Vec<Header>,
    body: Option<Secret>,
    /// The secrets in it, to be cut out of the server's texts if it echoes them.
    secrets: Vec<Secret>,
    repeatable: bool,
    once: u32,
    to_loopback: bool,
    certificate: Option<ClientCertificate<Secret>>,
    timeout: Duration,
    waited: Duration,
}

struct Header {
    name: String,
    value: Secret,
}

/// The time limit of an exchange, unless the user sets another.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Sent with every request, unless the user says otherwise.
pub(crate) const USER_AGENT: &str = concat!("keyfob/", env!("CARGO_PKG_VERSION"));

impl Request {
    /// The request for a token: `grant`, asked by the client with `credentials`. Secrets are read now.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): a secret that cannot be read or sent, a parameter given twice, a scope
    /// that is missing, a grant other than the one that the endpoint's description names, a method that does not fit
    /// the parameters' place, plain http to a host that is not loopback.
    pub fn token(endpoint: &Endpoint, credentials: &ClientCredentials, grant: &Grant) -> Result<Self, Error> {
        if endpoint.scope_required && grant.scope.is_empty() {
            return Err(Error::config("this endpoint wants a scope, and none is given")
                .with_hint("add the scope its service documents: often the tenant's or host's URL"));
        }
        endpoint.check_method()?;
        check_grant(endpoint, grant)?;
        let is_form = endpoint.parameters == Parameters::Form;
        let proof = credentials.prove(endpoint.authentication, is_form, endpoint.basic_raw)?;
        let mut secrets = proof.secrets;
        let mut authorization = proof.authorization;

        let mut parameters: Vec<(&str, Exposed<'_>)> = Vec::new();
        if let (Some(grant_type), false) = (&grant.grant_type, endpoint.omit_grant_type) {
            parameters.push(("grant_type", Exposed::borrowed(grant_type)));
        }
        parameters.extend(proof.parameters);
        if let Some(bearer) = &grant.bearer {
            if authorization.is_some() {
                return Err(Error::config(
                    "a bearer session and client_secret_basic both want the Authorization header",
                )
                .with_hint("use client_secret_post, or leave the client secret out"));
            }
            let token = bearer.expose_line("session token")?;
            if !token.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) {
                return Err(Error::config("the session token holds a character that is not visible ASCII"));
            }
            secrets.push(Secret::from(&*token));
            // In lower case, as its service documents it; RFC 9110 section 11.1 makes no difference.
            authorization = Some(encode::exact(|out| write!(out, "bearer {}", &*token)));
        }
        let own = parameters.len();
        for field in &grant.fields {
            let value = field.expose()?;
            if field.secret_source().is_some() {
                secrets.push(Secret::from(&*value));
            }
            parameters.push((&field.name, value));
        }
        let own = own..parameters.len();
        if !grant.scope.is_empty() {
            parameters.push(("scope", Exposed::borrowed(&grant.scope)));
        }
        let standard = parameters.len();
        let mut lists: Vec<&str> = Vec::new();
        for field in endpoint.extra.iter().chain(&grant.parameters) {
            // Only `resource` and its like may be repeated (RFC 8707 section 2).
            if parameters[..standard].iter().any(|(name, _)| *name == field.name) {
                return Err(Error::config(format!("the parameter `{}` would be sent twice", field.name)));
            }
            if field.is_list || parameters.iter().any(|(name, _)| *name == field.name) {
                lists.push(&field.name);
            }
            let value = field.expose()?;
            if field.secret_source().is_some() {
                secrets.push(Secret::from(&*value));
            }
            parameters.push((&field.name, value));
        }

        let mut request = Self::new(endpoint, endpoint.method, authorization, secrets)?;
        request.repeatable = grant.is_repeatable();
        // What makes up the grant; for an extension grant that is all that is added.
        let carried = if own.is_empty() { standard..parameters.len() } else { own };
        request.once = hash(parameters[carried].iter().flat_map(|(name, value)| [*name, &**value]));
        request.place(endpoint.parameters, &parameters, &lists);
        request.set_client_certificate(credentials)?;
        Ok(request)
    }

    /// The request that ends a token at the server; `token` is its text, from [`AccessToken::expose`].
    ///
    /// [`AccessToken::expose`]: crate::AccessToken::expose
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where the endpoint's description knows no way to end a token.
    pub fn revocation(endpoint: &Endpoint, token: &str) -> Result<Self, Error> {
        match endpoint.revocation {
            Some(Revocation::Delete) => {
                // In lower case, as the session itself was asked for.
                let authorization = encode::exact(|out| write!(out, "bearer {token}"));
                let secrets = alloc::vec![Secret::from(token)];
                let mut request = Self::new(endpoint, Method::Delete, Some(authorization), secrets)?;
                request.repeatable = true;
                Ok(request)
            }
            None => Err(Error::config("this endpoint's description knows no way to end a token")
                .with_hint("of the dialects only bearer-session documents one (`revoke`)")),
        }
    }

    fn new(
        endpoint: &Endpoint,
        method: Method,
        authorization: Option<Secret>,
        mut secrets: Vec<Secret>,
    ) -> Result<Self, Error> {
        let url = &endpoint.url;
        if !url.is_https() && !url.is_near() && !endpoint.allow_http {
            return Err(Error::config(format!(
                "plain http to {} would show the credentials to everyone on the way",
                url.authority()
            ))
            .with_hint("use https, or allow it (`Endpoint::allow_http`) if you trust the network"));
        }
        // With Authorization and Content-Type: it never grows.
        let mut headers = Vec::with_capacity(4 + endpoint.headers.len());
        headers.extend([header("Accept", "application/json"), header("User-Agent", USER_AGENT)]);
        if let Some(value) = authorization {
            check_header("Authorization", value.expose())?;
            headers.push(Header { name: "Authorization".to_owned(), value });
        }
        let mut own = Vec::new();
        for field in &endpoint.headers {
            let value = user_header(field, &headers)?;
            if field.secret_source().is_some() {
                secrets.push(Secret::from(value.expose()));
            }
            own.push(Header { name: field.name.clone(), value });
        }
        // The user's stand in for keyfob's of the same name, and may be several of one name.
        headers.retain(|header| !own.iter().any(|own| own.name.eq_ignore_ascii_case(&header.name)));
        headers.append(&mut own);
        let text = url.as_str();
        Ok(Self {
            method,
            url: Secret::from(text),
            authority_end: url.authority_end(),
            query: url.without_query().len(),
            headers,
            body: None,
            secrets,
            repeatable: false,
            once: 0,
            to_loopback: url.is_loopback(),
            certificate: None,
            timeout: TIMEOUT,
            waited: Duration::ZERO,
        })
    }

    /// Writes the parameters where they go. Those whose names are in `lists` are arrays in JSON; elsewhere a name is
    /// repeated.
    fn place(&mut self, place: Parameters, parameters: &[(&str, Exposed<'_>)], lists: &[&str]) {
        let form = |out: &mut dyn fmt::Write, space: &str| {
            for (index, (name, value)) in parameters.iter().enumerate() {
                if index > 0 {
                    out.write_char('&')?;
                }
                encode::form(out, name, space)?;
                out.write_char('=')?;
                encode::form(out, value, space)?;
            }
            Ok(())
        };
        let (content_type, body) = match place {
            Parameters::Query => {
                if !parameters.is_empty() {
                    let url = &self.url;
                    let joint = match url.expose().as_bytes().get(self.query..) {
                        Some([b'?'] | [b'?', .., b'&']) => "",
                        Some([b'?', ..]) => "&",
                        _ => "?",
                    };
                    self.url = encode::exact(|out| {
                        out.write_str(url.expose())?;
                        out.write_str(joint)?;
                        form(out, "%20")
                    });
                }
                // A POST has a body even if it is empty: without a length some servers wait for one, or answer 411.
                self.body = (self.method != Method::Get).then(|| Secret::from(""));
                return;
            }
            Parameters::Form => ("application/x-www-form-urlencoded", encode::exact(|out| form(out, "+"))),
            Parameters::Json => (
                "application/json",
                encode::exact(|out| {
                    for (index, (name, value)) in parameters.iter().enumerate() {
                        // It was written with the first value of its name.
                        if parameters[..index].iter().any(|(before, _)| before == name) {
                            continue;
                        }
                        out.write_char(if index > 0 { ',' } else { '{' })?;
                        encode::json_string(out, name)?;
                        out.write_char(':')?;
                        if !lists.contains(name) {
                            encode::json_string(out, value)?;
                            continue;
                        }
                        let values = parameters[index..].iter().filter(|(other, _)| other == name);
                        for (place, (_, value)) in values.enumerate() {
                            out.write_char(if place > 0 { ',' } else { '[' })?;
                            encode::json_string(out, value)?;
                        }
                        out.write_char(']')?;
                    }
                    out.write_str(if parameters.is_empty() { "{}" } else { "}" })
                }),
            ),
        };
        if !self.headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type")) {
            self.headers.insert(2.min(self.headers.len()), header("Content-Type", content_type));
        }
        self.body = Some(body);
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The whole URL. Its query may hold secrets: keep it out of messages.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose()
    }

    /// Host and port of the URL, for messages.
    #[must_use]
    pub fn authority(&self) -> &str {
        let before = &self.url.expose()[..self.authority_end];
        before.split_once("://").map_or(before, |(_, authority)| authority)
    }

    /// Whether it goes to this machine itself: plain http is allowed to it, so it must not go by way of a proxy.
    #[must_use]
    pub fn is_to_loopback(&self) -> bool {
        self.to_loopback
    }

    /// The headers: name and value. `Host` and `Content-Length` are the transport's to add.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|header| (header.name.as_str(), header.value.expose()))
    }

    /// The body. An empty one is sent as such, with a length of 0.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|body| body.expose().as_bytes())
    }

    /// Whether sending it twice does no harm.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Returns the client certificate to show to the server, and to nobody else, as (chain, private key) in PEM: see
    /// [`Client::client_certificate`](crate::Client::client_certificate). A transport that cannot show it must fail.
    #[must_use]
    pub fn client_certificate(&self) -> Option<(&Secret, &Secret)> {
        self.certificate.as_ref().map(|certificate| (&certificate.chain, &certificate.key))
    }

    /// Reads the client's certificate, where it has one.
    pub(crate) fn set_client_certificate(&mut self, credentials: &ClientCredentials) -> Result<(), Error> {
        self.certificate = credentials.certificate.as_ref().map(ClientCertificate::read).transpose()?;
        Ok(())
    }

    /// Returns the time that is left for the whole exchange, from the name look-up to the end of the answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.saturating_sub(self.waited)
    }

    /// Sets the time limit of the exchange. Default: 30 s. A [`Client`](crate::Client) sets its own.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The whole time limit, the part that has passed included: for messages.
    #[cfg(feature = "http")]
    pub(crate) fn whole_timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes off the time limit what has passed while another process was waited for.
    pub(crate) fn set_waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// A number that differs (nearly always) where URL, headers or body differ. It is kept in memory only.
    pub(crate) fn fingerprint(&self) -> u32 {
        let headers = self.headers.iter().flat_map(|header| [header.name.as_str(), header.value.expose()]);
        let body = self.body.as_ref().map_or("", |body| body.expose());
        let certificate = self.certificate.as_ref().map_or("", |certificate| certificate.chain.expose());
        hash([self.url.expose(), body, certificate].into_iter().chain(headers))
    }

    /// The same for what may be good for one use: the refresh token, or the parameters of an extension grant. The
    /// client's own credentials do not count.
    pub(crate) fn once(&self) -> u32 {
        self.once
    }

    /// Whether it sends this refresh token.
    pub(crate) fn is_refresh_by(&self, token: &Secret) -> bool {
        self.once == hash(["refresh_token", token.expose()].into_iter())
    }

    /// Drops the server's texts in `error` that echo a secret of this request.
    pub(crate) fn redact(&self, error: Error) -> Error {
        error.without(&self.echoes())
    }

    /// What must not be shown of an answer.
    pub(crate) fn echoes(&self) -> Echoes<'_> {
        let authorization = self.headers().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let credentials = authorization.map(|(_, value)| value.split_once(' ').map_or(value, |(_, value)| value));
        // The padding of base64 is no secret, and some leave it out.
        let credentials = credentials.map(|value| value.trim_end_matches('='));
        Echoes::new(credentials.chain(self.secrets.iter().map(Secret::expose)))
    }
}

/// Shows no secret: method, URL without its query, the headers' names.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| header.name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &&self.url.expose()[..self.query])
            .field("headers", &names)
            .field("body", &self.body.as_ref().map(|_| REDACTED))
            .finish()
    }
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    fnv1a(texts.flat_map(|text| text.bytes().chain([0])))
}

/// The hash FNV-1a: for telling apart, not for hiding.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Refuses a grant that the endpoint's description does not name: what it describes fits that grant alone. A refresh
/// token is what any of them may have led to.
fn check_grant(endpoint: &Endpoint, grant: &Grant) -> Result<(), Error> {
    match &endpoint.grant_type {
        Some(described) if described != grant.name() && grant.name() != "refresh_token" => Err(Error::config(format!(
            "this endpoint's description names the grant `{described}`, and `{}` is asked for",
            grant.name()
        ))
        .with_hint("use the grant that it names, or name the other one in the description: `grant`")),
        _ => Ok(()),
    }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: Secret::from(value) }
}

/// Reads a header that the user adds, and refuses those that would break the request.
fn user_header(field: &Field, present: &[Header]) -> Result<Secret, Error> {
    let name = &field.name;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Error::config(format!("header {name:?}: this is not a header name (RFC 9110 section 5.1)")));
    }
    let own = ["host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"];
    if own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(Error::config(format!("header {name}: the HTTP client sets it itself")));
    }
    if name.eq_ignore_ascii_case("authorization") && present.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    {
        return Err(Error::config("header Authorization: the client authentication sets it already")
            .with_hint("authenticate by `none` or client_secret_post to set it yourself"));
    }
    let value = match &field.value {
        FieldValue::Plain(text) => Exposed::borrowed(text),
        FieldValue::Secret(source) | FieldValue::Line(source) => source.expose_line("header")?,
    };
    check_header(name, &value)?;
    Ok(Secret::from(&*value))
}

/// A header value is visible ASCII with spaces inside: nothing that could end the line.
fn check_header(name: &str, value: &str) -> Result<(), Error> {
    let fits = value.bytes().all(|byte| matches!(byte, 0x20..=0x7E)) && value.trim() == value && !value.is_empty();
    if fits {
        return Ok(());
    }
    Err(Error::config(format!(
        "header {name}: its value is empty, or holds a character that cannot be sent in a header"
    ))
    .with_hint("only printable ASCII fits, without a space at either end"))
}
