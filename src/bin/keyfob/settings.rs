//! Makes a client and a grant from a profile and the options.

use crate::arguments::{Arguments, Verb};
use crate::connection::{Connection, LONGEST_WAIT};
use crate::failure::warn;
use crate::format::Format;
use crate::members::{config, is_given, take_duration, take_flag, take_pairs, take_text, take_texts, wrong};
use crate::options;
use crate::output;
use crate::pipe::is_pipe;
use crate::profile::{self, EITHER, locate, override_by, unknown};
use crate::secrets::{self, check_plain, check_stdin, secret_files, secret_from, take_secret, warn_if_public};
use crate::verbose::{Traced, Verbose};
use crate::words;
use keyfob::{
    AccessToken, BootClock, Client, Endpoint, Error, Grant, SecretSource, Spread, Store, TokenCache, Transport,
};
use miniserde::json::{self, Object, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Settings {
    /// The members that are still to be read: client id, user name, scope and where the secrets are.
    members: Object,
    endpoint: Endpoint,
    pub(crate) asked: Asked,
    cache_dir: Option<PathBuf>,
    connection: Connection,
    /// The client authenticates by its certificate (RFC 8705 section 2.1).
    needs_certificate: bool,
    /// A token is to be fetched with a refresh token whose successor only the cache can keep.
    pub(crate) needs_store: bool,
    is_revocation: bool,
}

/// How to get the token.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) min_valid: Option<Duration>,
    pub(crate) no_cache: bool,
    pub(crate) fresh: bool,
    pub(crate) wait: Duration,
    pub(crate) splay: Duration,
    pub(crate) verbose: bool,
}

impl Asked {
    /// Logs a line if `--verbose` is given.
    pub(crate) fn log(&self, text: &str) {
        if self.verbose {
            output::note(&format!("keyfob: {text}"));
        }
    }
}

const DEFAULT_GRANT: &str = "client_credentials";

/// The grants that have a name here; any other word is sent as it is.
const GRANTS: &[&str] = &[DEFAULT_GRANT, "password", "bearer_session", "refresh_token"];

/// The parameters with which a grant is exchanged (RFC 6749 section 4.1.3, 7521, 7636, 8628, 8693): they belong to the
/// grant, and are not sent again with the refresh token that it yields.
const EXCHANGED: &[&str] =
    &["assertion", "code", "code_verifier", "device_code", "subject_token", "actor_token", "ticket"];

impl Settings {
    /// Reads profile and options. `format` is set as soon as it is known: it decides how an error is shown.
    pub(crate) fn read(arguments: &Arguments, format: &mut Format) -> Result<Self, Error> {
        let mut members = match &arguments.profile {
            Some(name) => profile::read(Path::new(name))?,
            None => Object::new(),
        };
        override_by(&mut members, &arguments.options);
        match members.remove("format") {
            None => {}
            Some(Value::String(name)) => *format = Format::from_name(&name).ok_or_else(|| Format::unknown(&name))?,
            Some(_) => return Err(wrong("format", "a string")),
        }
        check_plain(&members)?;
        check_stdin(&members)?;
        if let Some((one, other)) =
            EITHER.iter().find(|(one, other)| is_given(&members, one) && is_given(&members, other))
        {
            return Err(config(format!("`{one}` and `{other}` are both given")).with_hint("remove one of them"));
        }
        let needs_certificate = matches!(members.get("auth"), Some(Value::String(auth)) if auth == "tls_client_auth");
        let (mut description, mut others) = (Object::new(), Object::new());
        for (name, value) in members {
            let row = options::member(&name).ok_or_else(|| unknown(&name))?;
            let known = if row.is_described() { &mut description } else { &mut others };
            known.insert(name, value);
        }
        let mut members = others;
        let endpoint = Endpoint::from_json(&json::to_string(&Value::Object(description)))?;
        Ok(Self {
            endpoint,
            asked: Asked {
                min_valid: take_duration(&mut members, "min_valid")?,
                no_cache: take_flag(&mut members, "no_cache")?,
                fresh: take_flag(&mut members, "fresh")?,
                wait: take_duration(&mut members, "wait")?.unwrap_or_default().min(LONGEST_WAIT),
                splay: take_duration(&mut members, "splay")?.unwrap_or_default().min(LONGEST_WAIT),
                verbose: take_flag(&mut members, "verbose")?,
            },
            cache_dir: take_text(&mut members, "cache_dir")?.map(PathBuf::from),
            connection: Connection::take(&mut members)?,
            needs_certificate,
            needs_store: false,
            is_revocation: arguments.verb == Verb::Revoke,
            members,
        })
    }

    /// Whether the grant can be sent more than once.
    pub(crate) fn is_repeatable(&self) -> bool {
        let name = self.endpoint.grant_type().unwrap_or(DEFAULT_GRANT);
        [DEFAULT_GRANT, "password", "bearer_session"].contains(&name)
    }

    /// Whether a certificate comes from a pipe, which can be read once.
    pub(crate) fn has_piped_certificates(&self) -> bool {
        let own = matches!(self.members.get("client_cert_file"), Some(Value::String(file)) if is_pipe(&locate(file)));
        own || self.connection.ca_file.as_deref().is_some_and(is_pipe)
    }

    /// Whether a secret comes from standard input or a pipe, which can be read once.
    pub(crate) fn reads_once(&self) -> bool {
        let is_stdin = |file: &str| ["-", "/dev/stdin"].contains(&file);
        secret_files(&self.members).iter().any(|(_, file)| is_stdin(file) || is_pipe(&locate(file)))
    }

    /// Returns the grant, with its secrets.
    pub(crate) fn grant(&mut self) -> Result<Grant, Error> {
        let name = self.endpoint.grant_type().unwrap_or(DEFAULT_GRANT).to_owned();
        let mut grant = match name.as_str() {
            DEFAULT_GRANT => Grant::client_credentials(),
            "password" => {
                let username = take_text(&mut self.members, "username")?;
                let username = username.ok_or_else(|| missing(&name, "a user name", "--username"))?;
                Grant::password(username, self.needed(&name, "password")?)
            }
            "bearer_session" => Grant::bearer_session(self.needed(&name, "session_token")?),
            // A new one is written back to where this one is from.
            "refresh_token" => match self.members.get("refresh_token_file") {
                Some(Value::String(file)) if file != "-" && !self.members.contains_key("refresh_token_env") => {
                    let file = locate(file);
                    warn_if_public(&file);
                    Grant::refresh_token_file_with(file, warn)
                }
                _ => {
                    self.needs_store = !self.is_revocation;
                    Grant::refresh_token(self.needed(&name, "refresh_token")?)
                }
            },
            "" => return Err(config("`grant`: must not be empty")),
            other => match words::nearest(other, GRANTS.iter().copied()) {
                // A near miss is a mistake, and would be sent without the secret that the grant needs.
                Some(known) => return Err(config(format!("unknown grant {other:?}; did you mean {known:?}?"))),
                None => Grant::extension(other),
            },
        };
        for scope in take_texts(&mut self.members, "scope")? {
            grant = grant.scope(scope);
        }
        for (name, file) in self.parameter_files(true)? {
            grant = grant.secret_parameter(&name, secret_from(&name, &file)?);
        }
        Ok(grant)
    }

    /// Takes the secret parameters that belong to the grant, or the others, which are in each request for a token.
    fn parameter_files(&mut self, of_grant: bool) -> Result<Vec<(String, String)>, Error> {
        let Some(Value::Object(given)) = self.members.get_mut("param_file") else {
            return take_pairs(&mut self.members, "param_file");
        };
        let mut taken = Object::new();
        let is_taken = |name: &&String| EXCHANGED.contains(&name.as_str()) == of_grant;
        for name in given.keys().filter(is_taken).cloned().collect::<Vec<_>>() {
            if let Some(file) = given.remove(&name) {
                taken.insert(name, file);
            }
        }
        let mut taken = [("param_file".to_owned(), Value::Object(taken))].into_iter().collect();
        take_pairs(&mut taken, "param_file")
    }

    /// Returns the store that is shared with other processes; none if it is not wanted, or there is no place for it.
    ///
    /// A refresh token from a variable or standard input cannot be replaced there, so without a cache a new one
    /// would be lost. The server may then take the next use of the old one for theft.
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
                    // Another user did that, and this one did not ask for it.
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

    /// Says where the cache is, or why there is none.
    pub(crate) fn place_of_cache(&self) -> String {
        let store = match &self.cache_dir {
            _ if self.asked.no_cache => return "turned off (--no-cache)".to_owned(),
            Some(directory) => Store::at(directory),
            None => Store::find(),
        };
        match store {
            Ok(store) => match store.note() {
                Some(note) => format!("{}, but {note}", store.path().display()),
                None => store.path().display().to_string(),
            },
            Err(error) => match error.hint() {
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
        let parameters = self.parameter_files(false)?;
        let mut endpoint = self.endpoint;
        for (name, file) in parameters {
            endpoint = endpoint.secret_parameter(&name, secret_from(&name, &file)?);
        }
        for (name, file) in take_pairs(&mut self.members, "header_file")? {
            endpoint = endpoint.secret_header(&name, secret_from(&name, &file)?);
        }
        for (name, file) in take_pairs(&mut self.members, "var_file")? {
            endpoint = endpoint.secret_variable(&name, secret_from(&name, &file)?);
        }
        let certificate = take_text(&mut self.members, "client_cert_file")?;
        let identity = match (certificate, take_secret(&mut self.members, "client_key")?) {
            // The certificate is no secret: everybody may read it.
            (Some(certificate), Some(key)) => Some((SecretSource::file(locate(&certificate)), key)),
            (None, None) if self.needs_certificate => {
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
        if let Some(id) = take_text(&mut self.members, "client_id")? {
            client = client.client_id(id);
        }
        if let Some(secret) = take_secret(&mut self.members, "client_secret")? {
            client = client.client_secret(secret);
        }
        Ok(client)
    }

    /// Returns the token to revoke, if one is named.
    pub(crate) fn access_token(&mut self) -> Result<Option<AccessToken>, Error> {
        Ok(match take_secret(&mut self.members, "access_token")? {
            Some(source) => Some(AccessToken::bearer(&*source.expose()?)?),
            None => None,
        })
    }

    /// Returns the file of `keep`, its mode, and the command to start after each renewal.
    pub(crate) fn kept_file(&mut self) -> Result<(PathBuf, u32, Vec<String>), Error> {
        let file = take_text(&mut self.members, "file")?;
        let file = file.ok_or_else(|| config("keep: no file is named").with_hint("name it with --file"))?;
        let mode = match take_text(&mut self.members, "mode")? {
            None => 0o600,
            Some(text) => match u32::from_str_radix(&text, 8) {
                // A file that its owner cannot read is a mistake.
                Ok(mode @ 0o400..=0o777) if mode & 0o400 != 0 && text.len() <= 4 && !text.starts_with('+') => mode,
                _ => {
                    return Err(config(
                        "`mode`: must be the mode of a file that its owner can read, such as 0600 or 0640",
                    ));
                }
            },
        };
        let words = match self.members.get("on_renew") {
            Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            _ => take_texts(&mut self.members, "on_renew")?,
        };
        Ok((file.into(), mode, words))
    }

    /// Returns the environment variables that contain secrets.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        secrets::variables(&self.members)
    }

    fn needed(&mut self, grant: &str, secret: &str) -> Result<SecretSource, Error> {
        let option = format!("--{}-file", secret.replace('_', "-"));
        take_secret(&mut self.members, secret)?
            .ok_or_else(|| missing(grant, &format!("a {}", secret.replace('_', " ")), &option))
    }
}

/// Returns the cache of a client and a grant, shared if there is a store.
pub(crate) fn tokens(client: Client, grant: Grant, store: Option<Store>) -> TokenCache {
    let tokens = TokenCache::new(client, grant).spread(spread());
    match store {
        Some(store) => tokens.store(store),
        None => tokens,
    }
}

/// Returns the spread of this device: by its machine id, or else by a name that is new with each boot.
pub(crate) fn spread() -> Spread {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"]
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .find(|id| !id.trim_ascii().is_empty());
    Spread::from_seed(id.unwrap_or_default().trim_ascii())
}

fn missing(grant: &str, what: &str, option: &str) -> Error {
    config(format!("the grant `{grant}` needs {what}")).with_hint(format!("set it with {option}"))
}
