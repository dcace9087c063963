//! The client of the settings, and its cache.

use super::Settings;
use crate::connection::Connection;
use crate::discovery;
use crate::members::{config, take_text};
use crate::output;
use crate::profile::{locate, unknown};
use crate::secrets::{take_secret, take_secret_pairs};
use crate::verbose::{Traced, Verbose};
use keyfob::{BootClock, Client, Error, Grant, SecretSource, SharedTokenCache, Spread, Store, TokenCache, Transport};
use miniserde::json::Value;
use std::sync::Arc;

impl Settings {
    /// Returns the store that is shared with other processes. None if it is turned off, or if there is no place for it.
    ///
    /// A refresh token from a variable or standard input cannot be replaced there, so without a cache a new one would
    /// be lost. The server may then take the next use of the old one for theft.
    pub(crate) fn store(&self) -> Result<Option<Store>, Error> {
        let lost = |why: &str| {
            config(format!("the server may hand out a new refresh token, and there is no place to keep it: {why}"))
                .with_hint(
                    "put the refresh token into a file, which is rewritten (--refresh-token-file), or use a cache",
                )
        };
        let store = match &self.cache_dir {
            _ if self.asked.no_cache && self.needs_store => return Err(lost("the cache is turned off (--no-cache)")),
            _ if self.asked.no_cache => return Ok(None),
            Some(directory) => Store::at(directory)?,
            None => match Store::find() {
                Ok(store) => store,
                Err(error) if self.needs_store => {
                    return Err(lost(&format!("{error}: {}", error.hint().unwrap_or_default())).with_source(error));
                }
                Err(error) => {
                    // Another user has caused this, without this user's doing.
                    match error.to_string() {
                        text if text.ends_with("belongs to another user") => output::note(&format!("keyfob: {text}")),
                        text => self.asked.log(&format!("{text}: {}", error.hint().unwrap_or_default())),
                    }
                    return Ok(None);
                }
            },
        };
        if let Some(note) = store.note() {
            output::note(&format!("keyfob: {note}"));
        }
        self.asked.log(&format!("the cache is in {}", store.path().display()));
        Ok(Some(store))
    }

    /// Returns the store for metadata, if there is one. [`store`](Self::store) reports what is wrong with it.
    fn quiet_store(&self) -> Option<Store> {
        self.found_store()?.ok()
    }

    /// Returns the store, or why there is no place for it. None if it is turned off.
    fn found_store(&self) -> Option<Result<Store, Error>> {
        match &self.cache_dir {
            _ if self.asked.no_cache => None,
            Some(directory) => Some(Store::at(directory)),
            None => Some(Store::find()),
        }
    }

    /// Returns a message with the place of the cache, or the reason why there is none.
    pub(crate) fn place_of_cache(&self) -> String {
        match self.found_store() {
            None => "turned off (--no-cache)".to_owned(),
            Some(Ok(store)) => match store.note() {
                Some(note) => format!("{}, but {note}", store.path().display()),
                None => store.path().display().to_string(),
            },
            Some(Err(error)) => match error.hint() {
                Some(hint) => format!("none: {error}: {hint}"),
                None => format!("none: {error}"),
            },
        }
    }

    /// Returns the client, with its secret.
    pub(crate) fn client(self) -> Result<Client, Error> {
        let is_verbose = self.asked.verbose;
        self.client_with(|connection| Ok(Traced { transport: connection.transport()?, is_verbose }))
    }

    /// Returns the client, with its secret and a transport made from the connection.
    pub(crate) fn client_with<T: Transport + 'static>(
        mut self,
        transport: impl FnOnce(Connection) -> Result<T, Error>,
    ) -> Result<Client, Error> {
        let store = self.issuer.as_ref().and_then(|_| self.quiet_store());
        let parameters = self.secret_parameters(false)?;
        let assertion = self.client_assertion()?;
        let (members, links) = (&mut self.members, &mut self.links);
        let mut endpoint = self.endpoint;
        for (name, source) in parameters {
            endpoint = endpoint.secret_parameter(name, source);
        }
        for (name, source) in take_secret_pairs(members, links, "header")? {
            endpoint = endpoint.secret_header(name, source);
        }
        for (name, source) in take_secret_pairs(members, links, "var")? {
            endpoint = endpoint.secret_variable(name, source);
        }
        for (name, source) in links.kept()?.into_iter().filter(|(name, _)| !self.variables.contains(name)) {
            endpoint = endpoint.read_variable(name, source);
        }
        if let Some(issuer) = self.issuer {
            let (asked, timeout) = (self.asked, self.connection.timeout);
            let transport = Arc::new(self.connection.transport()?);
            endpoint = discovery::variables(endpoint, issuer, asked, timeout, &transport, store.as_ref())?;
        }
        let certificate = take_text(members, "client_cert_file")?;
        let identity = match (certificate, take_secret(members, links, "client_key")?) {
            // The certificate is not secret and may be readable for everyone.
            (Some(certificate), Some(key)) => Some((SecretSource::file(locate(&certificate)), key)),
            (None, None) if self.auth.as_deref() == Some("tls_client_auth") => {
                return Err(config("`tls_client_auth` needs a client certificate")
                    .with_hint("name a certificate and its key (--client-cert-file, --client-key-file)"));
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(config("the client certificate has no key").with_hint("name its key (--client-key-file)"));
            }
            (None, Some(_)) => {
                return Err(
                    config("the client key has no certificate").with_hint("name its certificate (--client-cert-file)")
                );
            }
        };
        let timeout = self.connection.timeout;
        let is_verbose = self.asked.verbose;
        let mut client = Client::with_parts(endpoint, transport(self.connection)?, BootClock);
        if is_verbose {
            let observer = Verbose::new(client.endpoint().authority());
            client = client.observer(observer);
        }
        if let Some(timeout) = timeout {
            client = client.timeout(timeout);
        }
        if let Some((certificate, key)) = identity {
            client = client.client_certificate(certificate, key);
        }
        if let Some(assertion) = assertion {
            client = client.assertion(assertion);
        }
        match (take_secret(members, links, "client_id")?, take_text(members, "client_id")?) {
            (Some(source), None) => client = client.client_id_source(source),
            (None, Some(id)) => client = client.client_id(id),
            (Some(_), Some(_)) => return Err(config("`client_id` is given twice").with_hint("remove one of them")),
            (None, None) => {}
        }
        match (take_secret(members, links, "client_secret")?, members.remove("client_secret")) {
            (Some(secret), None) => client = client.client_secret(secret),
            // Some services have no client secret, and require an empty one.
            (None, Some(Value::String(empty))) if empty.is_empty() => client = client.client_secret(String::new()),
            (Some(_), Some(_)) => return Err(config("`client_secret` is given twice").with_hint("remove one of them")),
            (None, Some(_)) => return Err(unknown("client_secret")),
            (None, None) => {}
        }
        Ok(client)
    }
}

/// Returns the cache of a client and a grant, shared through the store if there is one.
pub(crate) fn tokens(client: Client, grant: Grant, store: Option<Store>) -> TokenCache {
    let tokens = TokenCache::new(client, grant).spread(spread());
    match store {
        Some(store) => tokens.store(store),
        None => tokens,
    }
}

/// Returns the same for several users at once.
pub(crate) fn shared_tokens(client: Client, grant: Grant, store: Option<Store>) -> SharedTokenCache {
    let tokens = SharedTokenCache::new(client, grant).spread(spread());
    match store {
        Some(store) => tokens.store(store),
        None => tokens,
    }
}

/// Returns the spread of this device: from its machine id, or else from a name that is new with each boot.
pub(crate) fn spread() -> Spread {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"]
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .find(|id| !id.trim_ascii().is_empty());
    Spread::from_seed(id.unwrap_or_default().trim_ascii())
}
