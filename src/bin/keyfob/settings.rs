//! What a profile and the options say, made into a client and a grant.

use crate::arguments::{Arguments, Verb};
use crate::output::{self, Format};
use crate::profile::{self, DESCRIPTION, EITHER, SECRETS, is_pipe, locate, override_by, unknown};
use crate::terminal;
use crate::words;
use keyfob::{
    AccessToken, BootClock, Client, Endpoint, Error, ErrorKind, Grant, HttpTransport, Secret, SecretSource, Spread,
    Store, TokenCache, Transport,
};
use miniserde::json::{self, Object, Value};
use std::fs::{File, Metadata};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Settings {
    /// What is left to be read: the endpoint's description, client id, user name, scope and where the secrets are.
    members: Object,
    endpoint: Endpoint,
    pub(crate) asked: Asked,
    cache_dir: Option<PathBuf>,
    connection: Connection,
    /// The client authenticates by its certificate (RFC 8705 section 2.1).
    needs_certificate: bool,
    /// A token is to be fetched, with a refresh token that only the cache can take the next one of.
    needs_store: bool,
    is_revocation: bool,
}

/// How the server is reached, whom it is trusted to be, and by what the client shows itself.
pub(crate) struct Connection {
    timeout: Option<Duration>,
    ca_file: Option<PathBuf>,
    system_roots: bool,
    proxy: Option<String>,
    no_proxy: bool,
    connect_to: Option<String>,
}

/// How the token is to be had.
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
    /// Tells a person who wants to know what happens.
    pub(crate) fn tell(&self, text: &str) {
        if self.verbose {
            output::note(&format!("keyfob: {text}"));
        }
    }
}

const DEFAULT_GRANT: &str = "client_credentials";

/// The grants that have a name of their own here; any other word is sent as it is.
const GRANTS: &[&str] = &[DEFAULT_GRANT, "password", "bearer_session", "refresh_token"];

/// The parameters that carry what a grant exchanges (RFC 6749 section 4.1.3, 7521, 7636, 8628, 8693): they belong to the
/// grant, and no request with the refresh token that came for it has them.
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
            Some(Value::String(name)) => {
                *format = Format::from_name(&name)
                    .ok_or_else(|| config("`format`: this must be one of token, header, curl, json"))?;
            }
            Some(_) => return Err(wrong("format", "a string")),
        }
        check_plain(&members)?;
        check_stdin(&members)?;
        if let Some((one, other)) =
            EITHER.iter().find(|(one, other)| is_given(&members, one) && is_given(&members, other))
        {
            return Err(config(format!("`{one}` and `{other}` are both given")).with_hint("leave one of them out"));
        }
        let needs_certificate = matches!(members.get("auth"), Some(Value::String(auth)) if auth == "tls_client_auth");
        let (mut description, mut others) = (Object::new(), Object::new());
        for (name, value) in members {
            let known = match DESCRIPTION.contains(&&*name) {
                true => &mut description,
                false if profile::is_member(&name) => &mut others,
                false => {
                    return Err(unknown(&name));
                }
            };
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
            connection: Connection {
                timeout: take_duration(&mut members, "timeout")?.map(check_timeout).transpose()?,
                ca_file: take_text(&mut members, "ca_file")?.map(PathBuf::from),
                system_roots: take_flag(&mut members, "system_roots")?,
                proxy: take_text(&mut members, "proxy")?,
                no_proxy: take_flag(&mut members, "no_proxy")?,
                connect_to: take_text(&mut members, "connect_to")?,
            },
            needs_certificate,
            needs_store: false,
            is_revocation: arguments.verb == Verb::Revoke,
            members,
        })
    }

    /// Whether what the grant sends can be sent again and again.
    pub(crate) fn is_repeatable(&self) -> bool {
        let name = self.endpoint.grant_type().unwrap_or(DEFAULT_GRANT);
        [DEFAULT_GRANT, "password", "bearer_session"].contains(&name)
    }

    /// Whether a certificate comes from a pipe, which can be read once.
    pub(crate) fn has_certificates_by_pipe(&self) -> bool {
        let own = matches!(self.members.get("client_cert_file"), Some(Value::String(file)) if is_pipe(&locate(file)));
        own || self.connection.ca_file.as_deref().is_some_and(is_pipe)
    }

    /// Whether a secret comes from where it can be read once: standard input, or a pipe.
    pub(crate) fn reads_once(&self) -> bool {
        let is_stdin = |file: &str| ["-", "/dev/stdin"].contains(&file);
        secret_files(&self.members).iter().any(|(_, file)| is_stdin(file) || is_pipe(&locate(file)))
    }

    /// The grant, with its secrets.
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
            "" => return Err(config("`grant`: it is empty")),
            other => match words::nearest(other, GRANTS.iter().copied()) {
                // What is nearly one of them is a mistake, and would be sent without the secret that it needs.
                Some(known) => return Err(config(format!("unknown grant {other:?}; did you mean {known:?}?"))),
                None => Grant::extension(other),
            },
        };
        match self.members.remove("scope") {
            None => {}
            Some(Value::String(scope)) => grant = grant.scope(scope),
            Some(Value::Array(scopes)) => {
                for scope in &scopes {
                    let Value::String(scope) = scope else {
                        return Err(wrong("scope", "a string or an array of them"));
                    };
                    grant = grant.scope(scope);
                }
            }
            Some(_) => return Err(wrong("scope", "a string or an array of them")),
        }
        for (name, file) in self.parameter_files(true)? {
            grant = grant.secret_parameter(&name, secret_from(&name, &file)?);
        }
        Ok(grant)
    }

    /// Takes the secret parameters that belong to the grant, or the others: those are in each request for a token.
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

    /// Where tokens are shared with other processes; nowhere if that is not wanted, or there is no place for it.
    ///
    /// A refresh token from a variable or standard input cannot be replaced there, so without a cache a new one
    /// would be lost. The server may then take the next use of the old one for theft.
    pub(crate) fn store(&self) -> Result<Option<Store>, Error> {
        let lost = |why: &str| {
            config(format!("the server may hand out a new refresh token, and there is no place to keep it: {why}"))
                .with_hint(
                    "give the refresh token in a file, which is rewritten (--refresh-token-file), or use a cache",
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
                    // Somebody has done that to this user, who did not ask for it.
                    match error.to_string() {
                        text if text.ends_with("belongs to another user") => output::note(&format!("keyfob: {text}")),
                        text => self.asked.tell(&format!("{text}: {}", error.hint().unwrap_or_default())),
                    }
                    return Ok(None);
                }
            },
        };
        if let Some(note) = store.note() {
            output::note(&format!("keyfob: {note}"));
        }
        self.asked.tell(&format!("the cache is in {}", store.path().display()));
        Ok(Some(store))
    }

    /// The client, with its secret.
    pub(crate) fn client(self) -> Result<Client, Error> {
        self.client_by(|connection| connection.transport())
    }

    /// The client, with its secret and a transport that is made of how the server is reached.
    pub(crate) fn client_by<T: Transport + 'static>(
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
        let certificate = take_text(&mut self.members, "client_cert_file")?;
        let identity = match (certificate, take_secret(&mut self.members, "client_key")?) {
            // The certificate is no secret: everybody may read it.
            (Some(certificate), Some(key)) => Some((SecretSource::file(locate(&certificate)), key)),
            (None, None) if self.needs_certificate => {
                return Err(config("`tls_client_auth` needs a client certificate")
                    .with_hint("name it, and its key (--client-cert-file, --client-key-file)"));
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(config("the client certificate has no key").with_hint("name it (--client-key-file)"));
            }
            (None, Some(_)) => {
                return Err(config("the client key has no certificate").with_hint("name it (--client-cert-file)"));
            }
        };
        let timeout = self.connection.timeout;
        let mut client = Client::with_parts(endpoint, transport(self.connection)?, BootClock);
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

    /// The token that `revoke` is to end, where one is named.
    pub(crate) fn access_token(&mut self) -> Result<Option<AccessToken>, Error> {
        Ok(match take_secret(&mut self.members, "access_token")? {
            Some(source) => Some(AccessToken::bearer(&*source.expose()?)?),
            None => None,
        })
    }

    /// The file that `keep` is for, its mode, and what is started after each renewal.
    pub(crate) fn kept_file(&mut self) -> Result<(PathBuf, u32, Vec<String>), Error> {
        let file = take_text(&mut self.members, "file")?;
        let file = file.ok_or_else(|| config("keep: it is not said in which file").with_hint("name it (--file)"))?;
        let mode = match take_text(&mut self.members, "mode")? {
            None => 0o600,
            Some(text) => match u32::from_str_radix(&text, 8) {
                // What this user could not read itself is a mistake.
                Ok(mode @ 0o400..=0o777) if mode & 0o400 != 0 && text.len() <= 4 && !text.starts_with('+') => mode,
                _ => return Err(config("`mode`: this must be a file's mode, as 0600 or 0640")),
            },
        };
        let fail = || wrong("on_renew", "a command: a string, split at its spaces, or an array of strings");
        let words = match self.members.remove("on_renew") {
            None => Vec::new(),
            Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            Some(Value::Array(words)) => words
                .iter()
                .map(|word| match word {
                    Value::String(word) => Ok(word.clone()),
                    _ => Err(fail()),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(fail()),
        };
        Ok((file.into(), mode, words))
    }

    /// The environment variables that secrets come from: no program that is started inherits them.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        let named = SECRETS.iter().filter_map(|secret| match self.members.get(&format!("{secret}_env")) {
            Some(Value::String(variable)) => Some(variable.clone()),
            _ => None,
        });
        named.collect()
    }

    fn needed(&mut self, grant: &str, secret: &str) -> Result<SecretSource, Error> {
        let option = format!("--{}-file", secret.replace('_', "-"));
        take_secret(&mut self.members, secret)?
            .ok_or_else(|| missing(grant, &format!("a {}", secret.replace('_', " ")), &option))
    }
}

impl Connection {
    pub(crate) fn transport(&self) -> Result<HttpTransport, Error> {
        let mut transport = HttpTransport::new();
        if let Some(file) = &self.ca_file {
            transport = trust(transport, file)?;
        }
        if self.system_roots {
            transport = trust_as_the_system(transport)?;
        }
        match &self.proxy {
            // It is not shown: the part before the `@` may be a secret.
            Some(url) if url.contains('@') => {
                return Err(config(
                    "`proxy`: it holds a user name or a password, and everyone can read argument lists",
                )
                .with_hint("give it by the environment: https_proxy, http_proxy or all_proxy"));
            }
            Some(url) => transport = transport.proxy(url)?,
            None if self.no_proxy => transport = transport.no_proxy(),
            None => {}
        }
        match &self.connect_to {
            Some(place) => transport.connect_to(place),
            None => Ok(transport),
        }
    }
}

/// What keeps the token of a client and a grant, and shares it where there is a store.
pub(crate) fn tokens(client: Client, grant: Grant, store: Option<Store>) -> TokenCache {
    let tokens = TokenCache::new(client, grant).spread(spread());
    match store {
        Some(store) => tokens.store(store),
        None => tokens,
    }
}

/// This device's place among its likes: by its machine id, or where it has none by a name that is new with each boot.
pub(crate) fn spread() -> Spread {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"]
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .find(|id| !id.trim_ascii().is_empty());
    Spread::from_seed(id.unwrap_or_default().trim_ascii())
}

/// A secret from a file, or from standard input for `-`; at a terminal the prompt is the secret's name.
fn secret_from(name: &str, file: &str) -> Result<SecretSource, Error> {
    if file == "-" {
        // Not by std's buffer, which keeps what it read.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
        let stdin = stdin.map_err(|_| config("standard input: it cannot be read"))?;
        if stdin.is_terminal() {
            return Ok(terminal::read_secret(stdin, &name.replace('_', " "))?.into());
        }
        return Ok(Secret::read_from(stdin, "standard input")?.into());
    }
    let file = locate(file);
    let metadata = warn_if_public(&file);
    let source = SecretSource::file(&file);
    // A pipe, as a shell makes it for `<(command)`, gives its content once, and with a cache a secret is read more often.
    match metadata.is_some_and(|file| file.file_type().is_fifo()) {
        true => Ok(Secret::from(&*source.expose()?).into()),
        false => Ok(source),
    }
}

/// Shows an error that does not end the command.
fn warn(error: &Error) {
    output::note(&format!("keyfob: {error}"));
    if let Some(hint) = error.hint() {
        output::hint(hint);
    }
}

/// Whoever is on the machine can read it: often so in containers, and there it may be meant.
fn warn_if_public(file: &Path) -> Option<Metadata> {
    let metadata = std::fs::metadata(file).ok();
    if metadata.as_ref().is_some_and(|file| file.is_file() && file.mode() & 0o004 != 0) {
        output::hint(&format!("secret file {}: everybody can read it (chmod o-r)", file.display()));
    }
    metadata
}

/// Whether a member says something: a flag may say no.
fn is_given(members: &Object, name: &str) -> bool {
    !matches!(members.get(name), None | Some(Value::Bool(false)))
}

/// Secrets do not stand in a profile, nor on a command line, which everyone can read.
fn check_plain(members: &Object) -> Result<(), Error> {
    const PARAMETERS: &[&str] = &["client_secret", "password", "refresh_token"];
    const HEADERS: &[&str] = &["Authorization", "Proxy-Authorization"];
    if let Some(Value::Object(given)) = members.get("param") {
        if let Some(name) = PARAMETERS.iter().find(|name| given.contains_key(**name)) {
            return Err(config(format!("`param`: {name} is a secret, and is never given as it is"))
                .with_hint(format!("put it into a file and use --{}-file", name.replace('_', "-"))));
        }
    }
    if let Some(Value::Object(given)) = members.get("header") {
        let is_given = |name: &&&str| given.keys().any(|given| given.trim().eq_ignore_ascii_case(name));
        if let Some(name) = HEADERS.iter().find(is_given) {
            return Err(config(format!("`header`: {name} is a secret, and is never given as it is"))
                .with_hint(format!("put it into a file and use --header-file '{name}: FILE'")));
        }
    }
    Ok(())
}

/// Standard input holds one secret.
fn check_stdin(members: &Object) -> Result<(), Error> {
    let mut files = secret_files(members);
    files.retain(|(_, file)| *file == "-");
    match files[..] {
        [(first, _), (second, _), ..] => {
            Err(config(format!("`{first}` and `{second}` both read standard input, which holds one secret")))
        }
        _ => Ok(()),
    }
}

/// The files that secrets are to be read from, with the members that name them.
fn secret_files(members: &Object) -> Vec<(&str, &str)> {
    let mut files = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| name.ends_with("_file")) {
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value {
                Value::String(file) => files.push((name.as_str(), file.as_str())),
                Value::Array(several) => values.extend(several),
                Value::Object(named) => values.extend(named.values()),
                _ => {}
            }
        }
    }
    files
}

#[cfg(feature = "tls")]
fn trust(transport: HttpTransport, file: &Path) -> Result<HttpTransport, Error> {
    Ok(transport.roots_file(file))
}

#[cfg(feature = "tls")]
fn trust_as_the_system(transport: HttpTransport) -> Result<HttpTransport, Error> {
    Ok(transport.system_roots())
}

#[cfg(not(feature = "tls"))]
fn trust(_: HttpTransport, _: &Path) -> Result<HttpTransport, Error> {
    Err(config("--ca-file: this build has no TLS"))
}

#[cfg(not(feature = "tls"))]
fn trust_as_the_system(_: HttpTransport) -> Result<HttpTransport, Error> {
    Err(config("--system-roots: this build has no TLS"))
}

/// A day: nobody waits longer for a token, and no clock overflows with it.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

fn check_timeout(timeout: Duration) -> Result<Duration, Error> {
    match timeout {
        Duration::ZERO => Err(config("`timeout`: this must be longer than 0 s")),
        timeout => Ok(timeout.min(LONGEST_WAIT)),
    }
}

/// The secret of this name, by file or environment variable.
fn take_secret(members: &mut Object, name: &str) -> Result<Option<SecretSource>, Error> {
    let file = take_text(members, &format!("{name}_file"))?;
    let variable = take_text(members, &format!("{name}_env"))?;
    match (file, variable) {
        (None, None) => Ok(None),
        (Some(file), None) => secret_from(name, &file).map(Some),
        (None, Some(variable)) => Ok(Some(SecretSource::environment(variable))),
        (Some(_), Some(_)) => Err(config(format!("`{name}_file` and `{name}_env` are both given"))),
    }
}

fn take_pairs(members: &mut Object, name: &str) -> Result<Vec<(String, String)>, Error> {
    let fail = || wrong(name, "an object of names with files");
    let mut pairs = Vec::new();
    match members.remove(name) {
        None => {}
        Some(Value::Object(object)) => {
            for (key, value) in object {
                match value {
                    Value::String(file) => pairs.push((key, file)),
                    Value::Array(files) => {
                        for file in &files {
                            let Value::String(file) = file else { return Err(fail()) };
                            pairs.push((key.clone(), file.clone()));
                        }
                    }
                    _ => return Err(fail()),
                }
            }
        }
        Some(_) => return Err(fail()),
    }
    Ok(pairs)
}

fn take_text(members: &mut Object, name: &str) -> Result<Option<String>, Error> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name, "a string")),
    }
}

fn take_flag(members: &mut Object, name: &str) -> Result<bool, Error> {
    match members.remove(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(wrong(name, "true or false")),
    }
}

pub(crate) fn take_duration(members: &mut Object, name: &str) -> Result<Option<Duration>, Error> {
    let Some(value) = members.remove(name) else { return Ok(None) };
    match words::described_duration(&value) {
        Some(duration) => Ok(Some(duration)),
        None => Err(wrong(name, words::DURATION)),
    }
}

fn missing(grant: &str, what: &str, option: &str) -> Error {
    config(format!("the grant `{grant}` needs {what}")).with_hint(format!("give it by {option}"))
}

fn wrong(name: &str, expected: &str) -> Error {
    config(format!("`{name}`: this must be {expected}"))
}

fn config(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, message)
}
