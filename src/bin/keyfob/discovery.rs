//! Discovery of the endpoints by the issuer (`--issuer`).

#[cfg(not(feature = "tools"))]
use crate::members::config;
#[cfg(feature = "tools")]
use crate::output;
use crate::settings::Asked;
#[cfg(feature = "tools")]
use crate::settings::shared_tokens;
#[cfg(feature = "tools")]
use keyfob::{Client, Discovery, Grant};
use keyfob::{Endpoint, Error, HttpTransport, Store};
use miniserde::json::{Object, Value};
use std::sync::Arc;
use std::time::Duration;

/// The members that the metadata provides, with the variables that hold them.
const FOUND: [(&str, &str); 3] = [
    ("url", "{token_endpoint}"),
    ("revocation_url", "{revocation_endpoint}"),
    ("introspection_url", "{introspection_endpoint}"),
];

/// Returns the issuer whose metadata has the endpoints, and describes them with variables.
pub(crate) fn describe(description: &mut Object) -> Option<String> {
    let Some(Value::String(issuer)) = description.get("issuer") else { return None };
    if ["url", "environments"].iter().any(|name| description.contains_key(*name)) {
        return None;
    }
    let issuer = issuer.clone();
    for (name, variable) in FOUND {
        if name != "revocation_url" || !description.contains_key("revoke") {
            description.entry(name.to_owned()).or_insert_with(|| Value::String(variable.to_owned()));
        }
    }
    Some(issuer)
}

#[cfg(not(feature = "tools"))]
pub(crate) fn variables(
    _: Endpoint,
    _: String,
    _: Asked,
    _: Option<Duration>,
    _: &Arc<HttpTransport>,
    _: Option<&Store>,
) -> Result<Endpoint, Error> {
    Err(config("`issuer`: this build does not look endpoints up").with_hint("give the token endpoint (--url)"))
}

/// Adds the variables to the endpoint. The metadata is fetched when one is needed.
#[cfg(feature = "tools")]
pub(crate) fn variables(
    mut endpoint: Endpoint,
    issuer: String,
    asked: Asked,
    timeout: Option<Duration>,
    transport: &Arc<HttpTransport>,
    store: Option<&Store>,
) -> Result<Endpoint, Error> {
    let tokens = |place: Endpoint| {
        let mut client = Client::new(place).transport(transport.clone());
        if let Some(timeout) = timeout {
            client = client.timeout(timeout);
        }
        Ok(shared_tokens(client, Grant::client_credentials(), store.cloned()))
    };
    let mut discovery = Discovery::new(issuer, tokens)?.on_fetched(|metadata| {
        let mut hosts: Vec<&str> = metadata.other_hosts().collect();
        hosts.sort_unstable();
        hosts.dedup();
        if !hosts.is_empty() {
            let hosts = hosts.join(", ");
            output::note(&format!("keyfob: the issuer's metadata has endpoints on another host: {hosts}"));
        }
    });
    if asked.offline {
        discovery = discovery.offline();
    }
    if asked.fresh {
        discovery = discovery.fresh();
    }
    let discovery = Arc::new(discovery);
    for (name, source) in discovery.variables() {
        endpoint = endpoint.read_variable(name, source);
    }
    Ok(endpoint)
}
