//! The identity of a request in a store: everything that is sent, and how the answer is read.

use super::key::Seal;
use crate::client::Client;
use crate::client_auth::ClientAuthentication;
use crate::endpoint::{Endpoint, Parameters, Refresh};
use crate::error::Error;
use crate::field::{Field, FieldValue};
use crate::grant::Grant;
use crate::lifetime::{LifetimeRules, LifetimeUnit, NotPositive};

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

/// The parts of a request's identity as one text. Each has its length in front, so that two parts never read as one.
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds a part that may be absent; an absent one differs from an empty one.
    fn option(&mut self, text: Option<&str>) {
        self.0.push(text.is_some().into());
        self.add(text.unwrap_or_default());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn time(&mut self, time: Duration) {
        self.0.extend_from_slice(&time.as_nanos().to_le_bytes());
    }
}

/// Describes the request and how its answer is read, without the secrets. The order and the words belong to the store's
/// file format ([`FORMAT`](super::FORMAT)).
pub(super) fn describe(client: &Client, grant: &Grant) -> Vec<u8> {
    let endpoint = client.endpoint();
    let mut parts = Parts(Vec::with_capacity(512));
    let out = &mut parts;
    describe_request(out, endpoint);
    out.option(grant.grant_type.as_deref());
    out.option(client.credentials().client_id.as_deref());
    out.add(&grant.scope);
    for (path, is_only) in endpoint.members.parts() {
        out.add(&path);
        out.flag(is_only);
    }
    out.count(endpoint.session_members.len());
    for (name, _) in &endpoint.session_members {
        out.add(name);
    }
    out.count(endpoint.refused_if.len());
    for rule in &endpoint.refused_if {
        let (place, flags, text) = rule.parts();
        out.add(&format!("{place}"));
        flags.into_iter().for_each(|flag| out.flag(flag));
        out.add(text);
    }
    out.flag(endpoint.api.is_some());
    if let Some(api) = &endpoint.api {
        out.add(&api.name);
        out.add(api.value.text());
    }
    let LifetimeRules { absent, not_positive, unit, maximum, jwt, trust_clock } = endpoint.lifetime;
    out.flag(jwt);
    out.flag(trust_clock);
    out.flag(absent.is_some());
    out.time(absent.unwrap_or_default());
    let (meaning, lives) = match not_positive {
        NotPositive::Once => ("once", Duration::ZERO),
        NotPositive::Unknown => ("unknown", Duration::ZERO),
        NotPositive::Lives(lives) => ("lives", lives),
    };
    out.add(meaning);
    out.time(lives);
    out.add(match unit {
        LifetimeUnit::Seconds => "s",
        LifetimeUnit::Milliseconds => "ms",
        LifetimeUnit::Minutes => "min",
        LifetimeUnit::Text => "text",
    });
    out.time(maximum);
    for fields in [&endpoint.headers, &endpoint.extra, &grant.fields, &grant.parameters] {
        describe_fields(out, fields);
    }
    describe_templates(out, endpoint);
    if !endpoint.variables.is_empty() {
        out.add("variables");
        describe_fields(out, &endpoint.variables);
    }
    match &endpoint.refresh {
        Refresh::Standard => {}
        Refresh::Never => out.add("no refresh"),
        Refresh::Block { endpoint, with_token, authenticates } => {
            out.add("refresh");
            out.flag(*with_token);
            out.flag(*authenticates);
            describe_request(out, endpoint);
            describe_fields(out, &endpoint.headers);
            describe_fields(out, &endpoint.extra);
            describe_templates(out, endpoint);
        }
    }
    parts.0
}

fn describe_request(out: &mut Parts, endpoint: &Endpoint) {
    // A new member must be placed here: if what is sent depends on it, two clients may share a token otherwise.
    let Endpoint {
        url,
        method,
        parameters,
        authentication,
        basic_raw,
        omit_grant_type,
        issuer,
        // The caller describes these.
        template: _,
        variables: _,
        refresh: _,
        extra: _,
        headers: _,
        members: _,
        session_members: _,
        refused_if: _,
        api: _,
        lifetime: _,
        // These change nothing in the request for a token and nothing in how its answer is read.
        is_resolved: _,
        scope_required: _,
        grant_type: _,
        allow_http: _,
        revocation: _,
        introspection: _,
    } = endpoint;
    out.add(url.without_query());
    out.add(method.as_str());
    out.add(match parameters {
        Parameters::Form => "form",
        Parameters::Json => "json",
        Parameters::Query => "query",
    });
    out.add(authentication.as_ref().map_or("", ClientAuthentication::as_str));
    out.flag(*basic_raw);
    out.flag(*omit_grant_type);
    if let Some(issuer) = issuer {
        out.add("issuer");
        out.add(issuer.as_str());
    }
}

fn describe_fields(out: &mut Parts, fields: &[Field]) {
    out.count(fields.len());
    for field in fields {
        out.add(&field.name);
        out.option(field.given().as_deref());
        out.flag(matches!(field.value, FieldValue::Json(_)));
    }
}

/// Describes the template of a URL without its query: see [`credentials`].
fn describe_templates(out: &mut Parts, endpoint: &Endpoint) {
    if let Some(template) = &endpoint.template {
        out.add("template");
        out.add(template.without_query());
    }
}

/// Adds each secret that would be sent now, or its identity. The URL's query counts as a secret, because it may contain
/// one.
pub(super) fn credentials(client: &Client, grant: &Grant, mark: &mut Seal) -> Result<(), Error> {
    let endpoint = client.endpoint();
    mark.add(&endpoint.url.as_str()[endpoint.url.without_query().len()..]);
    let block = match &endpoint.refresh {
        Refresh::Block { endpoint, .. } => Some(&**endpoint),
        Refresh::Standard | Refresh::Never => None,
    };
    for endpoint in [Some(endpoint), block].into_iter().flatten() {
        if let Some(query) = endpoint.template.as_ref().and_then(|template| template.query()) {
            mark.add(query.text());
        }
    }
    if let Some(source) = &client.credentials().id_source {
        mark.add("client id");
        mark.add_secret(source)?;
    }
    for source in [client.credentials().client_secret.as_ref(), grant.bearer.as_ref()] {
        match source {
            Some(source) => mark.add_secret(source)?,
            None => mark.add(""),
        }
    }
    for field in [&endpoint.extra, &endpoint.headers, &grant.fields, &grant.parameters].into_iter().flatten() {
        if let Some(source) = field.secret_source() {
            mark.add_secret(source)?;
        }
    }
    for field in
        endpoint.variables.iter().chain(block.iter().flat_map(|block| block.extra.iter().chain(&block.headers)))
    {
        if let Some(source) = field.secret_source() {
            mark.add_secret(source)?;
        }
    }
    for assertion in [client.credentials().assertion.as_ref(), grant.assertion.as_ref()].into_iter().flatten() {
        mark.add("assertion");
        assertion.identify(&mut |part| mark.add(part))?;
    }
    // The private key follows from the certificate.
    match &client.credentials().certificate {
        Some(certificate) => mark.add_secret(&certificate.chain)?,
        None => mark.add(""),
    }
    Ok(())
}
