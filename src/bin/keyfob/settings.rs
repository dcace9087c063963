//! Builds a client and a grant from a profile and the options.

// The path is for the fuzz target, which includes this file from elsewhere.
#[path = "settings/client.rs"]
mod client;

pub(crate) use client::{shared_tokens, spread, tokens};

use crate::arguments::{Arguments, Verb};
use crate::chain::{Links, Trail};
use crate::connection::{Connection, DEFAULT_TIMEOUT, LONGEST_WAIT};
use crate::discovery;
use crate::failure::warn;
use crate::format::Format;
use crate::members::{
    config, is_given, take_duration, take_flag, take_object, take_text, take_texts, take_words, wrong,
};
use crate::options;
use crate::output;
use crate::pipe::is_pipe;
use crate::profile::{self, EITHER, locate, override_by, unknown};
use crate::secrets::{
    check_plain, check_stdin, places, secret_files, take_secret, take_secret_pairs, texts, warn_if_public,
};
use crate::sign_command::{self, SignCommand};
use crate::words;
use keyfob::{AccessToken, Assertion, Endpoint, Error, Grant, SecretSource};
use miniserde::json::{self, Object, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Settings {
    /// The members that are still to be read: client id, user name, scope and the origins of the secrets.
    members: Object,
    endpoint: Endpoint,
    pub(crate) asked: Asked,
    cache_dir: Option<PathBuf>,
    pub(crate) connection: Connection,
    /// The client authentication method, if it is given.
    auth: Option<String>,
    /// Whether a token is fetched with a refresh token whose successor only the cache can keep.
    pub(crate) needs_store: bool,
    is_revocation: bool,
    /// Whose metadata has the endpoints.
    issuer: Option<String>,
    /// The other profiles whose tokens this one needs.
    pub(crate) links: Links,
    /// The secret parameters, once they have been taken from the members.
    parameters: Option<Vec<(String, SecretSource)>>,
    /// The members that are kept of the answer, and the variables with a value of their own.
    pub(crate) kept: Vec<String>,
    variables: Vec<String>,
}

/// How to get the token.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) min_valid: Option<Duration>,
    pub(crate) no_cache: bool,
    pub(crate) fresh: bool,
    pub(crate) offline: bool,
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

/// The grants with a name of their own; any other word is sent as it is.
const GRANTS: &[&str] = &[DEFAULT_GRANT, "password", "bearer_session", "refresh_token", "jwt_bearer"];

/// The grant type of `jwt_bearer` (RFC 7523 section 2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The members that describe assertions.
const OF_ASSERTIONS: [&str; 5] = ["algorithm", "key_id", "audience", "claim", "assertion_header"];

/// The parameters that are exchanged as a grant (RFC 6749 section 4.1.3, RFC 7521, 7636, 8628, 8693). They belong to
/// the grant and are not sent with the refresh token that it yields.
const EXCHANGED: &[&str] =
    &["assertion", "code", "code_verifier", "device_code", "subject_token", "actor_token", "ticket"];

impl Settings {
    /// Reads profile and options. Sets `format` as soon as it is known, because it decides how an error is shown.
    pub(crate) fn read(arguments: &Arguments, format: &mut Format) -> Result<Self, Error> {
        let (members, trail) = match &arguments.profile {
            Some(name) => (profile::read(Path::new(name))?, Trail::new(Path::new(name))?),
            None => (Object::new(), Trail::default()),
        };
        let is_revocation = matches!(arguments.verb, Verb::Revoke | Verb::Introspect);
        let mut options = arguments.options.clone();
        // The servers of other profiles are not asked either.
        if matches!(arguments.verb, Verb::Status | Verb::Forget) {
            options.insert("offline".to_owned(), Value::Bool(true));
        }
        let mut settings = Self::of(members, &options, is_revocation, format, &trail)?;
        settings.links.limit(settings.connection.timeout.unwrap_or(DEFAULT_TIMEOUT));
        Ok(settings)
    }

    /// Reads the members of the last profile of `trail`, and the options.
    pub(crate) fn of(
        mut members: Object,
        options: &Object,
        is_revocation: bool,
        format: &mut Format,
        trail: &Trail,
    ) -> Result<Self, Error> {
        if options.contains_key("issuer") && !options.contains_key("url") {
            ["url", "environments", "environment", "path"].iter().for_each(|name| _ = members.remove(*name));
        }
        override_by(&mut members, options);
        // A profile cannot set this.
        match members.remove("error_to").filter(|_| options.contains_key("error_to")) {
            None => {}
            Some(Value::String(place)) if place == "stdout" || place == "stderr" => {}
            Some(_) => return Err(config("--error-to: must be stdout or stderr")),
        }
        let offline = options.get("offline").and_then(|_| members.remove("offline")).is_some();
        if offline && options.contains_key("fresh") {
            return Err(config("`offline` and `fresh` are both given").with_hint("remove one of them"));
        }
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
        let links = Links::read(&members, options, trail)?;
        let kept = texts(&members, |name| name == "keep").into_iter().map(|(_, place)| place.to_owned()).collect();
        let ways = options::given(&members, "var").into_iter().map(|(way, _)| way).chain(["var".to_owned()]);
        let named = ways.filter_map(|way| match members.get(&way) {
            Some(Value::Object(named)) => Some(named.keys().cloned().collect::<Vec<_>>()),
            _ => None,
        });
        let variables = named.flatten().collect();
        let auth = match members.get("auth") {
            Some(Value::String(auth)) => Some(auth.clone()),
            _ => None,
        };
        let (mut description, mut others) = (Object::new(), Object::new());
        for (name, value) in members {
            let row = options::member(&name).ok_or_else(|| unknown(&name))?;
            let known = if row.is_described() { &mut description } else { &mut others };
            known.insert(name, value);
        }
        let mut members = others;
        let issuer = discovery::describe(&mut description);
        let endpoint = Endpoint::from_json(&json::to_string(&Value::Object(description)))?;
        Ok(Self {
            endpoint,
            asked: Asked {
                min_valid: take_duration(&mut members, "min_valid")?,
                no_cache: take_flag(&mut members, "no_cache")?,
                fresh: take_flag(&mut members, "fresh")?,
                offline,
                wait: take_duration(&mut members, "wait")?.unwrap_or_default().min(LONGEST_WAIT),
                splay: take_duration(&mut members, "splay")?.unwrap_or_default().min(LONGEST_WAIT),
                verbose: take_flag(&mut members, "verbose")?,
            },
            cache_dir: take_text(&mut members, "cache_dir")?.map(PathBuf::from),
            connection: Connection::take(&mut members)?,
            auth,
            needs_store: false,
            is_revocation,
            links,
            issuer,
            parameters: None,
            kept,
            variables,
            members,
        })
    }

    /// Returns whether a member is still to be read.
    pub(crate) fn has(&self, name: &str) -> bool {
        is_given(&self.members, name)
    }

    /// Returns whether the grant can be sent more than once. That includes one that exchanges only the tokens of other
    /// profiles.
    pub(crate) fn is_repeatable(&self) -> bool {
        let name = self.endpoint.grant_type().unwrap_or(DEFAULT_GRANT);
        let has_exchanged = |origin: &str| {
            let given = self.members.get(&format!("param_{origin}"));
            EXCHANGED.iter().any(|name| {
                matches!(given, Some(Value::Object(given)) if given.contains_key(*name))
                    || self.members.contains_key(&format!("{name}_{origin}"))
            })
        };
        [DEFAULT_GRANT, "password", "bearer_session"].contains(&name)
            || (name == JWT_BEARER && self.has_key())
            || name != "refresh_token" && has_exchanged("profile") && !has_exchanged("file") && !has_exchanged("env")
    }

    /// Returns whether a fetch may use up a grant: this one or that of a profile whose token is needed.
    pub(crate) fn may_be_used_up(&self) -> bool {
        !self.is_repeatable() || self.links.settings().any(Self::may_be_used_up)
    }

    /// Returns whether a certificate comes from a pipe, which can be read only once.
    pub(crate) fn has_piped_certificates(&self) -> bool {
        let own = matches!(self.members.get("client_cert_file"), Some(Value::String(file)) if is_pipe(&locate(file)));
        own || self.connection.ca_file.as_deref().is_some_and(is_pipe)
    }

    /// Returns whether a secret comes from standard input or a pipe, which can be read only once.
    pub(crate) fn reads_once(&self) -> bool {
        let is_stdin = |file: &str| ["-", "/dev/stdin"].contains(&file);
        let own = secret_files(&self.members).iter().any(|(_, file)| is_stdin(file) || is_pipe(&locate(file)));
        own || self.links.settings().any(|other| other.reads_once() || other.has_piped_certificates())
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
            // A new refresh token is written back to the file.
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
            JWT_BEARER if self.has_key() => Grant::jwt_bearer(self.assertion(true)?),
            "" => return Err(config("`grant`: must not be empty")),
            other => match words::nearest(other, GRANTS.iter().copied()) {
                // A similar word is a mistake. It would be sent without the secret that the grant needs.
                Some(known) => return Err(config(format!("unknown grant {other:?}; did you mean {known:?}?"))),
                None => Grant::extension(other),
            },
        };
        for scope in take_texts(&mut self.members, "scope")? {
            grant = grant.scope(scope);
        }
        for (name, source) in self.secret_parameters(true)? {
            grant = grant.secret_parameter(name, source);
        }
        Ok(grant)
    }

    /// Returns whether there is a key to sign with, or a command that signs.
    fn has_key(&self) -> bool {
        ["signing_key_file", "signing_key_env", "sign_command"].iter().any(|name| is_given(&self.members, name))
    }

    /// Returns the assertion that authenticates the client, if there is one.
    fn client_assertion(&mut self) -> Result<Option<Assertion>, Error> {
        let is_grant = self.endpoint.grant_type() == Some(JWT_BEARER) && self.has_key();
        match self.auth.as_deref() {
            Some("client_secret_jwt") if !self.has_key() => self.assertion(true).map(Some),
            Some("private_key_jwt") if is_grant => self.assertion(false).map(Some),
            _ if is_grant => Ok(None),
            _ if self.has_key() => self.assertion(true).map(Some),
            _ => match OF_ASSERTIONS.iter().find(|name| is_given(&self.members, name)) {
                Some(name) => {
                    Err(config(format!("`{name}` belongs to an assertion, and there is no key to sign one with"))
                        .with_hint("name the key (--signing-key-file); a parameter of the request is set with --param"))
                }
                None => Ok(None),
            },
        }
    }

    /// Returns the described assertions. Without `has_claims` the claims are left out: for the client's assertions if
    /// they belong to the grant.
    fn assertion(&mut self, has_claims: bool) -> Result<Assertion, Error> {
        // Works on a copy, because the grant and the client may both sign.
        let mut members = self.members.clone();
        let algorithm = take_text(&mut members, "algorithm")?;
        let mut assertion = match take_secret(&mut members, &mut self.links, "signing_key")? {
            Some(key) => Assertion::new(key),
            None if is_given(&members, "sign_command") => {
                let words = take_words(&mut members, "sign_command")?;
                let algorithm = algorithm.clone().ok_or_else(|| {
                    config("`sign_command` does not say how it signs").with_hint("set it with --algorithm")
                })?;
                let timeout = self.connection.timeout.unwrap_or(sign_command::PATIENCE);
                Assertion::with_signer(SignCommand::new(words, algorithm, timeout, self.secret_variables())?)
            }
            None => Assertion::with_client_secret(),
        };
        if let Some(algorithm) = algorithm {
            assertion = assertion.algorithm(algorithm);
        }
        if let Some(id) = take_text(&mut members, "key_id")? {
            assertion = assertion.key_id(id);
        }
        for (name, value) in take_object(&mut members, "assertion_header")? {
            let Value::String(text) = value else {
                return Err(wrong("assertion_header", "an object of names with texts"));
            };
            assertion = assertion.header(name, text);
        }
        if let Some(audience) = take_text(&mut members, "audience")? {
            assertion = assertion.audience(audience);
        }
        let claims = take_object(&mut members, "claim")?;
        for (name, value) in claims.into_iter().filter(|_| has_claims) {
            assertion = assertion.json_claim(name, &json::to_string(&value))?;
        }
        Ok(assertion)
    }

    /// Takes the secret parameters that belong to the grant, or the others, which are in every request for a token.
    fn secret_parameters(&mut self, of_grant: bool) -> Result<Vec<(String, SecretSource)>, Error> {
        let all = match self.parameters.take() {
            Some(all) => all,
            None => {
                let mut all = take_secret_pairs(&mut self.members, &mut self.links, "param")?;
                for name in ["subject_token", "actor_token"] {
                    let source = take_secret(&mut self.members, &mut self.links, name)?;
                    all.extend(source.map(|source| (name.to_owned(), source)));
                }
                all
            }
        };
        let (taken, rest) = all.into_iter().partition(|(name, _)| EXCHANGED.contains(&name.as_str()) == of_grant);
        self.parameters = Some(rest);
        Ok(taken)
    }

    /// Returns the token to revoke, if one is given.
    pub(crate) fn access_token(&mut self) -> Result<Option<AccessToken>, Error> {
        Ok(match take_secret(&mut self.members, &mut self.links, "access_token")? {
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
        Ok((file.into(), mode, take_words(&mut self.members, "on_renew")?))
    }

    /// Returns the environment variables that contain secrets.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        let mut variables = places(&self.members, "env");
        variables.extend(self.links.secret_variables());
        variables
    }

    fn needed(&mut self, grant: &str, secret: &str) -> Result<SecretSource, Error> {
        let option = format!("--{}-file", secret.replace('_', "-"));
        take_secret(&mut self.members, &mut self.links, secret)?
            .ok_or_else(|| missing(grant, &format!("a {}", secret.replace('_', " ")), &option))
    }
}

fn missing(grant: &str, what: &str, option: &str) -> Error {
    config(format!("the grant `{grant}` needs {what}")).with_hint(format!("set it with {option}"))
}
