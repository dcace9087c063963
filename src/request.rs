//! The request to an authorization server, in buffers that are wiped.

mod header;

use crate::assertion::{Occasion, Signed};
use crate::client_auth::{ClientCertificate, ClientCredentials, InTemplate};
use crate::computed;
use crate::encode;
use crate::endpoint::{Endpoint, Method, Parameters, Revocation};
use crate::error::{Echoes, Error};
use crate::field::{Field, FieldValue, Json};
use crate::grant::Grant;
use crate::secret::{Exposed, Secret};
use crate::template::{self, Values};
use crate::text::{self, REDACTED};
use crate::url::{Url, UrlTemplate};
use crate::words;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use header::{Header, is_authorization};

/// A request to an authorization server, ready to be sent by a [`Transport`](crate::Transport).
///
/// URL, header values and body may hold secrets. They are wiped when the request is dropped. A transport that copies
/// them must wipe its copies.
pub struct Request {
    method: Method,
    url: Secret,
    /// The start of the path, and that of the query. The part before the query may be shown.
    authority_end: usize,
    query: usize,
    headers: Vec<Header>,
    body: Option<Secret>,
    /// The secrets in the request. Texts of the server that echo one of them are dropped.
    secrets: Vec<Secret>,
    repeatable: bool,
    once: u32,
    /// The fingerprint of URL and parameters, if they have an assertion, which differs each time.
    stable: Option<u32>,
    /// The wall time at which its assertions were signed.
    signed_at: Option<Duration>,
    /// A fingerprint without the computed parts, if there are any.
    computed: Option<u32>,
    to_loopback: bool,
    certificate: Option<ClientCertificate<Secret>>,
    timeout: Duration,
    waited: Duration,
}

/// The default time limit of an exchange.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The default `User-Agent` header.
pub(crate) const USER_AGENT: &str = concat!("keyfob/", env!("CARGO_PKG_VERSION"));

impl Request {
    /// Builds the request for a token, for `grant` and the client with `credentials`. Reads the secrets now.
    ///
    /// A refresh token is sent in the request that the endpoint's description defines for it, if there is one.
    ///
    /// Assertions are signed with the system's time. Without `std` that is the beginning of 1970: use
    /// [`token_at`](Request::token_at) instead.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): a secret that cannot be read or sent, a variable without a value, a
    /// parameter given twice, a scope that is missing, a grant other than the one that the endpoint's description names,
    /// a method that does not fit the parameters' place, plain http to a host that is not loopback.
    pub fn token(endpoint: &Endpoint, credentials: &ClientCredentials, grant: &Grant) -> Result<Self, Error> {
        Self::signed_at(&system_time, endpoint, credentials, grant)
    }

    /// Builds the same request as [`token`](Request::token), with assertions signed at `wall_time`, the time since
    /// 1970.
    ///
    /// # Errors
    ///
    /// As [`token`](Request::token).
    pub fn token_at(
        wall_time: Duration,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        grant: &Grant,
    ) -> Result<Self, Error> {
        Self::signed_at(&|| wall_time, endpoint, credentials, grant)
    }

    pub(crate) fn signed_at(
        wall_time: &dyn Fn() -> Duration,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        grant: &Grant,
    ) -> Result<Self, Error> {
        if let Some(api) = &endpoint.api {
            api.check(endpoint)?;
        }
        let whole = endpoint;
        let variables = &endpoint.variables;
        let (endpoint, authenticates) = endpoint.block(grant);
        if endpoint.scope_required && grant.scope.is_empty() {
            return Err(Error::config("this endpoint wants a scope, and none is given")
                .with_hint("add the scope its service documents: often the tenant's or host's URL"));
        }
        endpoint.check_method()?;
        check_grant(endpoint, grant)?;
        let named = Named::by(endpoint.template.as_ref(), endpoint, true);
        let values = named.values(wall_time, variables, credentials, grant)?;
        let is_form = endpoint.parameters == Parameters::Form;
        let nobody = ClientCredentials::default();
        let client = if authenticates { credentials } else { &nobody };
        let template = endpoint.template.as_ref().map(|template| (template, &values));
        let occasion = Occasion { url: &endpoint.url, template, wall_time };
        let authentication = endpoint.authentication.as_ref();
        let proof = client.prove(authentication, is_form, endpoint.basic_raw, &named.client(), &occasion)?;
        let assertion = grant.assertion.as_ref().map(|assertion| assertion.sign(credentials, &occasion)).transpose()?;
        let mut secrets = proof.secrets;
        let mut authorization = proof.authorization;

        let mut parameters: Vec<Parameter<'_>> = Vec::with_capacity(8);
        if let (Some(grant_type), false) = (&grant.grant_type, endpoint.omit_grant_type) {
            parameters.push(Parameter::text("grant_type", Exposed::borrowed(grant_type)));
        }
        parameters.extend(proof.parameters.into_iter().flatten().map(|(name, value)| Parameter::text(name, value)));
        parameters.extend(client_assertion(proof.assertion).into_iter().flatten());
        parameters.extend(assertion.map(|signed| Parameter { name: "assertion", value: Sent::Signed(signed) }));
        if let Some(bearer) = grant.bearer.as_ref().filter(|_| !named.has("session_token")) {
            if authorization.is_some() {
                return Err(Error::config(
                    "a bearer session and client_secret_basic both want the Authorization header",
                )
                .with_hint("use client_secret_post, or leave the client secret out"));
            }
            let token = bearer.expose_line("session token")?;
            if text::first_invisible(&token).is_some() {
                return Err(Error::config("the session token holds a character that is not visible ASCII"));
            }
            secrets.push(Secret::from(&*token));
            // Lower case is the documented form of the service; RFC 9110 section 11.1 makes no difference.
            authorization = Some(encode::exact(|out| write!(out, "bearer {}", &*token)));
        }
        let mut once = Fnv::default();
        for field in &grant.fields {
            // A template that names it has read it already.
            if let Some(value) = values.get(&field.name) {
                once.add(&field.name).add(value);
                continue;
            }
            let value = field.expose(&values)?;
            if field.secret_source().is_some() {
                secrets.push(Secret::from(&*value));
            }
            once.add(&field.name).add(&value);
            parameters.push(Parameter::text(&field.name, value));
        }
        if !grant.scope.is_empty() {
            parameters.push(Parameter::text("scope", Exposed::borrowed(&grant.scope)));
        }
        let standard = parameters.len();
        for field in endpoint.extra.iter().chain(&grant.parameters) {
            // Only parameters such as `resource` may be repeated (RFC 8707 section 2).
            if parameters[..standard].iter().any(|parameter| parameter.name == field.name) {
                let error = Error::config(format!("the parameter `{}` would be sent twice", field.name));
                return Err(match &*field.name {
                    "grant_type" => error.with_hint(
                        "name another grant (`Grant`), or leave its parameter out (`Endpoint::omit_grant_type`)",
                    ),
                    _ => error,
                });
            }
            if lacks_grant_value(field, &values) {
                continue;
            }
            let value = match &field.value {
                FieldValue::Json(json) => Sent::Json(json),
                _ => Sent::Text(field.expose(&values)?),
            };
            if let (Some(_), Sent::Text(text)) = (field.secret_source(), &value) {
                secrets.push(Secret::from(&**text));
            }
            parameters.push(Parameter { name: &field.name, value });
        }
        if grant.fields.is_empty() {
            // An extension grant consists of all added parameters.
            for Parameter { name, value } in &parameters[standard..] {
                once.add(name).add(match value {
                    Sent::Text(text) => text,
                    Sent::Json(_) | Sent::Signed(_) => "",
                });
            }
            values.texts().for_each(|value| _ = once.add(value));
        }

        secrets.extend(values.secrets().map(Secret::from));
        let target = (&endpoint.url, endpoint.template.as_ref());
        let mut request = Self::new(whole, target, endpoint, endpoint.method, authorization, secrets, &values)?;
        let signed = || parameters.iter().filter_map(Parameter::signed);
        if named.0.iter().any(|(name, _)| computed::is_computed(name)) {
            // The fingerprint covers the secrets and the variables; the rest of the request does not change.
            let mut stable = Fnv::default();
            request.secrets.iter().map(Secret::expose).chain(values.texts()).for_each(|text| _ = stable.add(text));
            signed().for_each(|signed| stable.add_bytes(&signed.fingerprint.to_le_bytes()));
            request.computed = Some(stable.0);
        }
        request.secrets.extend(signed().map(|signed| Secret::from(signed.text.expose())));
        endpoint.templates(&mut |template| {
            template.encoded_secrets(&values, &mut |form| request.secrets.push(form));
        });
        request.repeatable = grant.is_repeatable();
        request.once = once.0;
        request.place(endpoint.parameters, &parameters, &values)?;
        request.set_client_certificate(credentials)?;
        Ok(request)
    }

    /// Builds the request that revokes an access token in the way that the endpoint's description defines. `token` is
    /// its text, from [`AccessToken::expose`].
    ///
    /// [`AccessToken::expose`]: crate::AccessToken::expose
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the description defines no way to revoke a token. Also those of
    /// [`token`](Request::token).
    pub fn revocation(endpoint: &Endpoint, credentials: &ClientCredentials, token: &str) -> Result<Self, Error> {
        Self::revocation_of(&system_time, "access_token", endpoint, credentials, token)
    }

    /// Builds the request that revokes a token of a type (RFC 7009 section 2.1): `access_token` or `refresh_token`.
    pub(crate) fn revocation_of(
        wall_time: &dyn Fn() -> Duration,
        token_type: &str,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        token: &str,
    ) -> Result<Self, Error> {
        let grant = Grant::renewal(None, Some(token));
        let mut secrets = alloc::vec![Secret::from(token)];
        let mut request = match &endpoint.revocation {
            Some(Revocation::Delete) => {
                let named = Named::by(endpoint.template.as_ref(), endpoint, false);
                let values = named.values(wall_time, &endpoint.variables, credentials, &grant)?;
                // Lower case, as in the request for the session.
                let authorization = encode::exact(|out| write!(out, "bearer {token}"));
                let target = (&endpoint.url, endpoint.template.as_ref());
                Self::new(endpoint, target, endpoint, Method::Delete, Some(authorization), secrets, &values)?
            }
            Some(Revocation::Endpoint(url)) => {
                let template = UrlTemplate::parse(url)?;
                let url = template.as_ref().map_or_else(|| Url::parse(url), UrlTemplate::sample)?;
                let named = Named::by(template.as_ref(), endpoint, false);
                let values = named.values(wall_time, &endpoint.variables, credentials, &grant)?;
                let authentication = endpoint.authentication.as_ref();
                // The audience is the same as for a token: the authorization server.
                let occasion = Occasion { url: &endpoint.url, template: None, wall_time };
                let proof = credentials.prove(authentication, true, endpoint.basic_raw, &named.client(), &occasion)?;
                let mut parameters = alloc::vec![
                    Parameter::text("token", Exposed::borrowed(token)),
                    Parameter::text("token_type_hint", Exposed::borrowed(token_type)),
                ];
                let client = proof.parameters.into_iter().flatten();
                parameters.extend(client.map(|(name, value)| Parameter::text(name, value)));
                secrets.extend(proof.assertion.as_ref().map(|signed| Secret::from(signed.text.expose())));
                parameters.extend(client_assertion(proof.assertion).into_iter().flatten());
                secrets.extend(proof.secrets);
                secrets.extend(values.secrets().map(Secret::from));
                let target = (&url, template.as_ref());
                let mut request =
                    Self::new(endpoint, target, endpoint, Method::Post, proof.authorization, secrets, &values)?;
                request.place(Parameters::Form, &parameters, &values)?;
                request
            }
            None => {
                let host = endpoint.authority();
                return Err(Error::config(format!("{host}: its description has no way to end a token")).with_hint(
                    "set where tokens are revoked (`Endpoint::revocation`), or forget the token here alone \
                     (`TokenCache::forget`)",
                ));
            }
        };
        request.repeatable = true;
        request.set_client_certificate(credentials)?;
        Ok(request)
    }

    fn new(
        endpoint: &Endpoint,
        (url, template): (&Url, Option<&UrlTemplate>),
        block: &Endpoint,
        method: Method,
        authorization: Option<Secret>,
        mut secrets: Vec<Secret>,
        values: &Values<'_>,
    ) -> Result<Self, Error> {
        let (rendered, query) = match template {
            Some(template) => template.render(values).map(|(url, query)| (Some(url), query))?,
            None => (None, None),
        };
        let url = rendered.as_ref().unwrap_or(url);
        if !url.is_https() && !url.is_near() && !endpoint.allow_http {
            // The host of the template: the values in it come from an answer and may repeat a secret.
            let host = template.map_or(url.authority(), UrlTemplate::authority);
            return Err(Error::config(format!(
                "plain http to {host} would show the credentials to everyone on the way"
            ))
            .with_hint("use https, or allow it (`Endpoint::allow_http`) if you trust the network"));
        }
        let mut headers = Vec::with_capacity(4 + endpoint.headers.len());
        headers.push(Header::new("Accept", "application/json"));
        headers.push(Header::new("User-Agent", USER_AGENT));
        if let Some(value) = authorization {
            headers.push(Header::authorization(value)?);
        }
        let standard = headers.len();
        for field in endpoint.headers_in(block) {
            if lacks_grant_value(field, values) {
                continue;
            }
            let header = Header::of_user(field, values, &headers[..standard])?;
            if field.secret_source().is_some() {
                secrets.push(Secret::from(header.value.expose()));
            }
            headers.push(header);
        }
        // A header of the user replaces keyfob's header of the same name, and may occur several times.
        for index in (0..standard).rev() {
            if headers[standard..].iter().any(|own| own.name.eq_ignore_ascii_case(&headers[index].name)) {
                headers.remove(index);
            }
        }
        let text = match &query {
            Some(query) => encode::exact(|out| write!(out, "{}?{}", url.as_str(), query.expose())),
            None => Secret::from(url.as_str()),
        };
        Ok(Self {
            method,
            url: text,
            authority_end: url.authority_end(),
            query: url.without_query().len(),
            headers,
            body: None,
            secrets,
            repeatable: false,
            once: 0,
            stable: None,
            signed_at: None,
            computed: None,
            to_loopback: url.is_loopback(),
            certificate: None,
            timeout: TIMEOUT,
            waited: Duration::ZERO,
        })
    }

    /// Writes the parameters into the body or the query. JSON has an array for several parameters of one name; the
    /// other formats repeat the name.
    fn place(&mut self, place: Parameters, parameters: &[Parameter<'_>], values: &Values<'_>) -> Result<(), Error> {
        if place != Parameters::Json {
            parameters.iter().try_for_each(Parameter::check_text)?;
        }
        if let Some(signed) = parameters.iter().find_map(Parameter::signed) {
            let mut stable = Fnv::default();
            stable.add(self.url.expose());
            parameters.iter().for_each(|parameter| parameter.mark(values, &mut stable));
            (self.signed_at, self.stable) = (Some(signed.at), Some(stable.0));
        }
        let form = |out: &mut dyn fmt::Write, space: &str| {
            let mut joint = "";
            parameters.iter().try_for_each(|parameter| {
                parameter.each_text(values, &mut |text| {
                    out.write_str(core::mem::replace(&mut joint, "&"))?;
                    encode::form(out, parameter.name, space)?;
                    out.write_char('=')?;
                    encode::form(out, text, space)
                })
            })
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
                // A POST always has a body, even if it is empty: without a length some servers wait for it, or answer
                // 411.
                self.body = (self.method != Method::Get).then(|| Secret::from(""));
                return Ok(());
            }
            Parameters::Form => ("application/x-www-form-urlencoded", encode::exact(|out| form(out, "+"))),
            Parameters::Json => ("application/json", encode::exact(|out| json(out, parameters, values))),
        };
        if !self.headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type")) {
            self.headers.insert(2.min(self.headers.len()), Header::new("Content-Type", content_type));
        }
        self.body = Some(body);
        Ok(())
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the whole URL. Its query may hold secrets: keep it out of messages.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose()
    }

    /// Returns host and port of the URL, for messages.
    #[must_use]
    pub fn authority(&self) -> &str {
        let before = &self.url.expose()[..self.authority_end];
        before.split_once("://").map_or(before, |(_, authority)| authority)
    }

    /// Returns whether the request goes to this machine. Such a request may use plain http, and must not go through a
    /// proxy.
    #[must_use]
    pub fn is_to_loopback(&self) -> bool {
        self.to_loopback
    }

    /// Returns the headers as pairs of name and value. The transport adds `Host` and `Content-Length`.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|header| (&*header.name, header.value.expose()))
    }

    /// Returns the body. An empty one is sent as such, with a length of 0.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|body| body.expose().as_bytes())
    }

    /// Returns whether the request may be sent twice without harm.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Returns the client certificate as (chain, private key) in PEM. It is for this server only: see
    /// [`Client::client_certificate`](crate::Client::client_certificate). A transport that cannot present it must fail.
    #[must_use]
    pub fn client_certificate(&self) -> Option<(&Secret, &Secret)> {
        self.certificate.as_ref().map(|certificate| (&certificate.chain, &certificate.key))
    }

    /// Reads the client's certificate, if there is one.
    fn set_client_certificate(&mut self, credentials: &ClientCredentials) -> Result<(), Error> {
        self.certificate = credentials.certificate.as_ref().map(ClientCertificate::read).transpose()?;
        Ok(())
    }

    /// Returns the rest of the time limit. It covers the whole exchange, from the name look-up to the end of the
    /// answer.
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

    /// Returns the whole time limit, including the time that has passed, for messages.
    #[cfg(feature = "http")]
    pub(crate) fn whole_timeout(&self) -> Duration {
        self.timeout
    }

    /// Subtracts the time spent waiting for another process from the time limit.
    pub(crate) fn set_waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// Returns a number that almost always differs if URL, headers or body differ. It is kept in memory only.
    pub(crate) fn fingerprint(&self) -> u32 {
        let headers = self.headers.iter().flat_map(|header| [&*header.name, header.value.expose()]);
        let body = self.body.as_ref().map_or("", |body| body.expose());
        let certificate = self.certificate.as_ref().map_or("", |certificate| certificate.chain.expose());
        if let Some(computed) = self.computed {
            return Fnv(computed).add(certificate).0;
        }
        let Some(stable) = self.stable else {
            return hash([self.url.expose(), body, certificate].into_iter().chain(headers));
        };
        let mut hash = Fnv(stable);
        core::iter::once(certificate).chain(headers).for_each(|text| _ = hash.add(text));
        hash.0
    }

    /// Returns the wall time at which the assertions were signed, if there are any.
    pub(crate) fn signed_at_time(&self) -> Option<Duration> {
        self.signed_at
    }

    /// Returns the part of the time limit that had passed before the request was sent.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether the request uses https.
    pub(crate) fn is_https(&self) -> bool {
        self.url.expose().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }

    /// Returns a fingerprint of the parts that may be good for one use: the refresh token, or the parameters of an
    /// extension grant. The client's own credentials do not count.
    pub(crate) fn once(&self) -> u32 {
        self.once
    }

    /// Returns whether the request sends this refresh token.
    pub(crate) fn is_refresh_by(&self, token: &Secret) -> bool {
        self.once == hash(["refresh_token", token.expose()].into_iter())
    }

    /// Drops the server's texts in `error` that echo a secret of this request.
    pub(crate) fn redact(&self, error: Error) -> Error {
        error.without(&self.echoes())
    }

    /// Returns whether a text of the server repeats a secret of this request, literally or encoded. Such a text must
    /// not be shown or logged.
    #[must_use]
    pub fn is_echoed_in(&self, text: &str) -> bool {
        self.echoes().are_in(text)
    }

    /// Returns the secrets that an answer may repeat.
    pub(crate) fn echoes(&self) -> Echoes<'_> {
        let authorization = self.headers().filter(|(name, _)| is_authorization(name));
        let credentials = authorization.map(|(_, value)| value.split_once(' ').map_or(value, |(_, value)| value));
        // The padding of base64 is no secret, and an echo may lack it.
        let credentials = credentials.map(|value| value.trim_end_matches('='));
        Echoes::new(credentials.chain(self.secrets.iter().map(Secret::expose)))
    }
}

/// Shows the method, the URL without its query, and the names of the headers. Shows no secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| &*header.name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &&self.url.expose()[..self.query])
            .field("headers", &names)
            .field("body", &self.body.as_ref().map(|_| REDACTED))
            .finish()
    }
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    let mut hash = Fnv::default();
    texts.for_each(|text| _ = hash.add(text));
    hash.0
}

/// The hash FNV-1a, which distinguishes inputs but does not hide them.
pub(crate) struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811C_9DC5)
    }
}

impl Fnv {
    fn add(&mut self, text: &str) -> &mut Self {
        self.add_bytes(text.as_bytes());
        self
    }

    /// Adds bytes with their length, so that two lists of the same bytes with other boundaries have different hashes.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.iter().copied().chain([0]));
    }

    pub(crate) fn value(&self) -> u32 {
        self.0
    }

    fn fold(&mut self, bytes: impl Iterator<Item = u8>) {
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    }
}

/// Returns the hash of some bytes.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut hash = Fnv::default();
    hash.fold(bytes);
    hash.0
}

/// Returns the parameters with which an assertion authenticates the client (RFC 7523 section 2.2).
fn client_assertion<'a>(assertion: Option<Signed>) -> Option<[Parameter<'a>; 2]> {
    let kind = Exposed::borrowed("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let value = Sent::Signed(assertion?);
    Some([Parameter::text("client_assertion_type", kind), Parameter { name: "client_assertion", value }])
}

/// Returns the system's wall time, or zero if it is unknown.
fn system_time() -> Duration {
    #[cfg(feature = "std")]
    return crate::Clock::wall_time(&crate::BootClock).unwrap_or_default();
    #[cfg(not(feature = "std"))]
    return Duration::ZERO;
}

/// A parameter of a request.
struct Parameter<'a> {
    name: &'a str,
    value: Sent<'a>,
}

enum Sent<'a> {
    Text(Exposed<'a>),
    Json(&'a Json),
    Signed(Signed),
}

impl<'a> Parameter<'a> {
    fn text(name: &'a str, text: Exposed<'a>) -> Self {
        Self { name, value: Sent::Text(text) }
    }

    fn signed(&self) -> Option<&Signed> {
        match &self.value {
            Sent::Signed(signed) => Some(signed),
            Sent::Text(_) | Sent::Json(_) => None,
        }
    }

    /// Refuses a value that only JSON can express.
    fn check_text(&self) -> Result<(), Error> {
        let is_text = |json: &Json| match json {
            Json::Word(word) => word != "null",
            Json::Text(_) => true,
            Json::List(_) | Json::Object(_) => false,
        };
        match self.value {
            Sent::Text(_) | Sent::Signed(_) => Ok(()),
            Sent::Json(Json::List(list)) if list.iter().all(is_text) => Ok(()),
            Sent::Json(json) if is_text(json) => Ok(()),
            Sent::Json(_) => Err(Error::config(format!(
                "parameter `{}`: an object, a null or an array in an array can only be sent in JSON",
                self.name
            ))
            .with_hint("send the parameters as JSON: `params` (`Endpoint::parameters`)")),
        }
    }

    /// Calls `each` with each text of the parameter, for a form.
    fn each_text(&self, values: &Values<'_>, each: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        let mut one = |json: &Json| match json {
            Json::Word(word) => each(word),
            Json::Text(template) => each(template.render(values).expose()),
            Json::List(_) | Json::Object(_) => Ok(()),
        };
        match &self.value {
            Sent::Text(text) => each(text),
            Sent::Signed(signed) => each(signed.text.expose()),
            Sent::Json(Json::List(list)) => list.iter().try_for_each(one),
            Sent::Json(json) => one(json),
        }
    }

    /// Adds the parameter to a fingerprint; of an assertion only the part that stays the same.
    fn mark(&self, values: &Values<'_>, hash: &mut Fnv) {
        hash.add(self.name);
        match &self.value {
            Sent::Text(text) => _ = hash.add(text),
            Sent::Signed(signed) => hash.add_bytes(&signed.fingerprint.to_le_bytes()),
            Sent::Json(_) => _ = hash.add(encode::exact(|out| self.write_json(out, values)).expose()),
        }
    }

    /// Returns whether the value is an array.
    fn is_list(&self) -> bool {
        matches!(self.value, Sent::Json(Json::List(_)))
    }

    /// Writes the value, or the elements of an array.
    fn write_json(&self, out: &mut dyn fmt::Write, values: &Values<'_>) -> fmt::Result {
        match &self.value {
            Sent::Text(text) => encode::json_string(out, text),
            Sent::Signed(signed) => encode::json_string(out, signed.text.expose()),
            Sent::Json(Json::List(list)) => list.iter().enumerate().try_for_each(|(index, value)| {
                out.write_str(if index > 0 { "," } else { "" })?;
                value.write(out, values)
            }),
            Sent::Json(json) => json.write(out, values),
        }
    }
}

/// Writes the parameters as a JSON object.
fn json(out: &mut dyn fmt::Write, parameters: &[Parameter<'_>], values: &Values<'_>) -> fmt::Result {
    out.write_char('{')?;
    for (index, parameter) in parameters.iter().enumerate() {
        // Already written with the first parameter of this name.
        if parameters[..index].iter().any(|before| before.name == parameter.name) {
            continue;
        }
        out.write_str(if index > 0 { "," } else { "" })?;
        encode::json_string(out, parameter.name)?;
        out.write_char(':')?;
        let mut same = parameters[index + 1..].iter().filter(|other| other.name == parameter.name).peekable();
        if same.peek().is_none() && !parameter.is_list() {
            parameter.write_json(out, values)?;
            continue;
        }
        out.write_char('[')?;
        let mut joint = "";
        for parameter in core::iter::once(parameter).chain(same) {
            if matches!(parameter.value, Sent::Json(Json::List(list)) if list.is_empty()) {
                continue;
            }
            out.write_str(core::mem::replace(&mut joint, ","))?;
            parameter.write_json(out, values)?;
        }
        out.write_char(']')?;
    }
    out.write_char('}')
}

/// The values that depend on the grant. A refresh token grant lacks those of the original grant.
const GRANT_VALUES: [&str; 3] = ["username", "password", "session_token"];

/// Returns whether a template of the field names a value that only another grant has.
fn lacks_grant_value(field: &Field, values: &Values<'_>) -> bool {
    let mut lacks = false;
    field.templates(&mut |template| {
        template.names(&mut |name| lacks |= GRANT_VALUES.contains(&name) && values.get(name).is_none());
    });
    lacks
}

/// The variables that an endpoint's templates name, each with the template's place in the request.
struct Named<'e>(Vec<(&'e str, Place<'e>)>);

#[derive(Clone, Copy)]
enum Place<'e> {
    Url,
    Query,
    Parameter(&'e str),
    Header(&'e str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url | Self::Query => f.write_str("url"),
            Self::Parameter(name) => write!(f, "parameter `{name}`"),
            Self::Header(name) => write!(f, "header {name}"),
        }
    }
}

impl<'e> Named<'e> {
    fn by(template: Option<&'e UrlTemplate>, endpoint: &'e Endpoint, has_parameters: bool) -> Self {
        let mut named = Vec::new();
        if let Some(template) = template {
            template.names(&mut |name, is_query| {
                named.push((name, if is_query { Place::Query } else { Place::Url }));
            });
        }
        let mut add = |fields: &'e [Field], place: fn(&'e str) -> Place<'e>| {
            for field in fields {
                field.templates(&mut |template| template.names(&mut |name| named.push((name, place(&field.name)))));
            }
        };
        add(&endpoint.headers, Place::Header);
        if has_parameters {
            add(&endpoint.extra, Place::Parameter);
        }
        Self(named)
    }

    fn has(&self, wanted: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == wanted)
    }

    /// Returns which of the client's credentials the templates send.
    fn client(&self) -> InTemplate {
        InTemplate {
            client_id: self.has("client_id"),
            client_secret: self.has("client_secret"),
            authorization: self
                .0
                .iter()
                .any(|(_, place)| matches!(place, Place::Header(name) if is_authorization(name))),
        }
    }

    /// Reads the values of the named variables, each once.
    fn values<'v>(
        &self,
        wall_time: &dyn Fn() -> Duration,
        variables: &'v [Field],
        credentials: &'v ClientCredentials,
        grant: &'v Grant,
    ) -> Result<Values<'v>, Error>
    where
        'e: 'v,
    {
        let mut values = Values::default();
        for &(name, place) in &self.0 {
            if values.get(name).is_none() {
                let (secret, own) = match name {
                    "client_id" => (credentials.id_source.as_ref(), credentials.client_id.as_deref()),
                    "client_secret" => (credentials.client_secret.as_ref(), None),
                    "session_token" => (grant.bearer.as_ref(), None),
                    "token" => (grant.token.as_ref(), None),
                    _ => (None, None),
                };
                let fields = grant.fields.iter().chain(variables.iter().rev());
                let field = fields.into_iter().find(|field| field.name == name);
                match (secret, own, field) {
                    (Some(source), ..) if name == "client_id" && matches!(place, Place::Url) => {
                        values.add_read(name, source.expose_line("client id")?);
                    }
                    (Some(source), ..) => values.add_secret(name, source.expose_line(&name.replace('_', " "))?),
                    (_, Some(text), _) => values.add_plain(name, text),
                    (.., Some(field)) => match &field.value {
                        FieldValue::Plain(text) => values.add_plain(name, text),
                        // The URL's names come first. A variable that the URL does not name may be a secret.
                        FieldValue::Read(source) if matches!(place, Place::Url) => {
                            values.add_read(name, source.expose()?);
                        }
                        _ => values.add_secret(name, field.expose(&Values::default())?),
                    },
                    _ if grant.is_refresh() && GRANT_VALUES.contains(&name) => {
                        if matches!(place, Place::Url | Place::Query) {
                            return Err(no_value(name, place, variables));
                        }
                    }
                    _ if computed::is_computed(name) => {
                        let value = computed::value(name, wall_time()).ok_or_else(|| not_computed(name, place))?;
                        values.add_read(name, Exposed::read(Secret::from(value)));
                    }
                    _ => return Err(no_value(name, place, variables)),
                }
            }
            if matches!(place, Place::Url) && values.is_secret(name) {
                return Err(Error::config(format!(
                    "url: {name:?} is secret, and host and path are written into logs and messages"
                ))
                .with_hint("send it in a header or in a parameter"));
            }
        }
        Ok(values)
    }
}

fn not_computed(name: &str, place: Place<'_>) -> Error {
    Error::config(format!("{place}: there is no value for {{{name}}} here")).with_hint(
        "the time needs a clock (`Clock::wall_time`) and a year of four digits, and a random number the feature `std`",
    )
}

/// Returns the error for a variable without a value.
fn no_value(name: &str, place: Place<'_>, variables: &[Field]) -> Error {
    const STANDARD: [(&str, &str); 7] = [
        ("client_id", "the client has no id: set it (`Client::client_id`)"),
        ("client_secret", "the client has no secret: set it (`Client::client_secret`)"),
        ("username", "the grant has no user name"),
        ("password", "the grant has no password"),
        ("session_token", "the grant has no session token"),
        ("refresh_token", "the grant has no refresh token"),
        ("token", "only the request that renews a token has one (`refresh`)"),
    ];
    if let Some((_, hint)) = STANDARD.iter().find(|(standard, _)| *standard == name) {
        return Error::config(format!("{place}: the variable {name:?} has no value")).with_hint(hint);
    }
    if name.starts_with("now") && !template::is_name(name) {
        return Error::config(format!("{place}: {{{name}}} is not a time"))
            .with_hint("it is written as {now:YYYY-MM-DDTHH:mm:ss}, {now+7d:YYYY-MM-DD} or {now:unix}");
    }
    let known = STANDARD.iter().map(|(standard, _)| *standard);
    let known = known.chain(variables.iter().map(|field| field.name.as_str()));
    match words::nearest(name, known) {
        Some(known) => Error::config(format!("{place}: unknown variable {name:?}; did you mean {known:?}?")),
        None if name.ends_with(':') => {
            Error::config(format!("{place}: the filter {name:?} has no closing brace, or is in more than two others"))
        }
        None => Error::config(format!("{place}: the variable {name:?} has no value"))
            .with_hint(format!("set it (`Endpoint::variable`), or write {{{{{name}}}}} for the text itself")),
    }
}

/// Refuses a grant other than the one that the endpoint's description names, because the description fits only that. A
/// refresh token is accepted, because any grant may have led to it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(refresh: &str, grant: &Grant) -> Result<alloc::string::String, Error> {
        let endpoint = Endpoint::from_json(&format!(r#"{{"url": "https://as.example/t", "refresh": {refresh}}}"#))?;
        let request = Request::token(&endpoint, &ClientCredentials::default(), grant)?;
        Ok(format!("{} {}", request.method().as_str(), request.url()))
    }

    #[test]
    fn a_token_is_renewed_with_itself_or_with_its_refresh_token() {
        let long_lived = r#"{"with": "token", "url": "https://as.example/r?t={token}", "method": "GET"}"#;
        let both =
            r#"{"url": "https://as.example/r?t={token}&r={refresh_token}", "method": "GET", "omit_grant_type": true}"#;
        for (refresh, refresh_token, token, expected) in [
            (long_lived, None, Some("a 1"), Ok("GET https://as.example/r?t=a%201")),
            (both, Some("r1"), Some("a1"), Ok("GET https://as.example/r?t=a1&r=r1")),
            (both, Some("r1"), None, Err("url: the variable \"token\" has no value")),
            (both, None, Some("a1"), Err("url: the variable \"refresh_token\" has no value")),
        ] {
            let made = sent(refresh, &Grant::renewal(refresh_token, token));
            assert_eq!(
                made.map_err(|error| format!("{error}")),
                expected.map(Into::into).map_err(Into::into),
                "{refresh}"
            );
        }
    }
}
