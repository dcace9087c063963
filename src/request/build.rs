//! How a request is built: from endpoint, credentials and grant to URL, headers and body.

use super::header::Header;
use super::parameter::{Parameter, Sent, client_assertion, json};
use super::variables::{Named, lacks_grant_value};
use super::{Request, TIMEOUT, USER_AGENT};
use crate::assertion::Occasion;
use crate::client_auth::ClientCredentials;
use crate::computed;
use crate::encode;
use crate::endpoint::{Endpoint, Parameters, Revocation};
use crate::error::Error;
use crate::field::FieldValue;
use crate::fnv::Fnv;
use crate::grant::Grant;
use crate::secret::{Exposed, Secret};
use crate::template::Values;
use crate::text;
use crate::url::{Url, UrlTemplate};
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

impl Request {
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
        let occasion = Occasion { issuer: whole.issuer.as_ref(), url: &endpoint.url, template, wall_time };
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
        let mut request =
            Self::new(whole, target, endpoint, endpoint.method.as_str(), authorization, secrets, &values)?;
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

    /// Builds the request that revokes a token of a type (RFC 7009 section 2.1): `access_token` or `refresh_token`.
    pub(crate) fn revocation_of(
        wall_time: &dyn Fn() -> Duration,
        token_type: &str,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        token: &str,
    ) -> Result<Self, Error> {
        match &endpoint.revocation {
            Some(Revocation::Endpoint(url)) => {
                Self::about_token(wall_time, url, token_type, endpoint, credentials, token)
            }
            Some(Revocation::Delete) => {
                let grant = Grant::renewal(None, Some(token));
                let secrets = alloc::vec![Secret::from(token)];
                let named = Named::by(endpoint.template.as_ref(), endpoint, false);
                let values = named.values(wall_time, &endpoint.variables, credentials, &grant)?;
                // Lower case, as in the request for the session.
                let authorization = encode::exact(|out| write!(out, "bearer {token}"));
                let target = (&endpoint.url, endpoint.template.as_ref());
                let request = Self::new(endpoint, target, endpoint, "DELETE", Some(authorization), secrets, &values)?;
                request.harmless(credentials)
            }
            None => {
                let host = endpoint.authority();
                Err(Error::config(format!("{host}: its description has no way to end a token")).with_hint(
                    "set where tokens are revoked (`Endpoint::revocation`), or forget the token here alone \
                     (`TokenCache::forget`)",
                ))
            }
        }
    }

    /// Marks a request that can be sent again without harm.
    fn harmless(mut self, credentials: &ClientCredentials) -> Result<Self, Error> {
        self.repeatable = true;
        self.set_client_certificate(credentials)?;
        Ok(self)
    }

    pub(crate) fn introspection_of(
        wall_time: &dyn Fn() -> Duration,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        token: &str,
    ) -> Result<Self, Error> {
        let url = endpoint.introspection.as_deref().ok_or_else(|| {
            let host = endpoint.authority();
            Error::config(format!("{host}: its description has no introspection endpoint"))
                .with_hint("set where the server says whether a token is valid (`Endpoint::introspection`)")
        })?;
        Self::about_token(wall_time, url, "access_token", endpoint, credentials, token)
    }

    /// Builds the request to an endpoint beside the token endpoint, about a token of this type: RFC 7009 section 2.1 and
    /// RFC 7662 section 2.1 have the same parameters.
    fn about_token(
        wall_time: &dyn Fn() -> Duration,
        url: &str,
        token_type: &str,
        endpoint: &Endpoint,
        credentials: &ClientCredentials,
        token: &str,
    ) -> Result<Self, Error> {
        let grant = Grant::renewal(None, Some(token));
        let mut secrets = alloc::vec![Secret::from(token)];
        let template = UrlTemplate::parse(url)?;
        let url = template.as_ref().map_or_else(|| Url::parse(url), UrlTemplate::sample)?;
        let named = Named::by(template.as_ref(), endpoint, false);
        let values = named.values(wall_time, &endpoint.variables, credentials, &grant)?;
        let authentication = endpoint.authentication.as_ref();
        // The audience is the same as for a token: the authorization server.
        let occasion = Occasion { issuer: endpoint.issuer.as_ref(), url: &endpoint.url, template: None, wall_time };
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
        let mut request = Self::new(endpoint, target, endpoint, "POST", proof.authorization, secrets, &values)?;
        request.place(Parameters::Form, &parameters, &values)?;
        request.harmless(credentials)
    }

    pub(super) fn new(
        endpoint: &Endpoint,
        (url, template): (&Url, Option<&UrlTemplate>),
        block: &Endpoint,
        method: &'static str,
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
            is_by_short_secret: false,
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
            self.is_by_short_secret = signed.is_by_short_secret;
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
                self.body = (self.method != "GET").then(|| Secret::from(""));
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

/// Returns the system's wall time, or zero if it is unknown.
pub(super) fn system_time() -> Duration {
    #[cfg(feature = "std")]
    return crate::Clock::wall_time(&crate::BootClock).unwrap_or_default();
    #[cfg(not(feature = "std"))]
    return Duration::ZERO;
}
