//! Secrets that are the tokens of other profiles.

use crate::connection::DEFAULT_TIMEOUT;
use crate::format::Format;
use crate::members::{config, nothing_cached};
use crate::profile;
use crate::secrets::places;
use crate::settings::{Settings, shared_tokens};
use keyfob::{AccessToken, Error, ErrorKind, Secret, SecretSource, SharedTokenCache, TokenSource};
use miniserde::json::Object;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The options that also apply to the other profiles.
const INHERITED: &[&str] = &["cache_dir", "no_cache", "fresh", "offline", "verbose"];

/// The profiles that lead to this one, to detect a cycle: files, and names for messages.
#[derive(Clone, Default)]
pub(crate) struct Trail(Vec<(PathBuf, String)>);

impl Trail {
    pub(crate) fn new(name: &Path) -> Result<Self, Error> {
        Self::default().and(name)
    }

    /// Returns the trail extended by this profile.
    fn and(&self, name: &Path) -> Result<Self, Error> {
        let file = profile::find_profile(name)?;
        let file = file.canonicalize().unwrap_or(file);
        let mut trail = self.0.clone();
        let start = trail.iter().position(|(known, _)| *known == file);
        trail.push((file, name.display().to_string()));
        match start {
            None => Ok(Self(trail)),
            Some(start) => {
                let names: Vec<&str> = trail[start..].iter().map(|(_, name)| name.as_str()).collect();
                Err(config(format!("profiles that ask each other for a token: {}", names.join(" -> "))))
            }
        }
    }
}

/// The profiles whose tokens a profile needs.
pub(crate) struct Links(Vec<Link>);

struct Link {
    name: String,
    /// Taken on first use.
    settings: Option<Settings>,
    login: Option<Arc<Login>>,
    /// The members that the profile keeps of its answer.
    kept: Vec<String>,
    /// The environment variables that contain its secrets.
    variables: Vec<String>,
}

impl Links {
    /// Reads the profiles that the members name, and those that they name in turn. Reads no secret yet.
    pub(crate) fn read(members: &Object, options: &Object, trail: &Trail) -> Result<Self, Error> {
        let is_inherited = |(name, _): &(&String, _)| INHERITED.contains(&name.as_str());
        let options: Object =
            options.iter().filter(is_inherited).map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut names = places(members, "profile");
        names.sort();
        names.dedup();
        let read = |name: String| {
            let path = Path::new(&name);
            let trail = trail.and(path)?;
            let members = profile::read(path)?;
            let settings = Settings::of(members, &options, false, &mut Format::Token, &trail);
            let settings = settings.map_err(|error| within(error, &name))?;
            let (kept, variables) = (settings.kept.clone(), settings.secret_variables());
            Ok(Link { name, settings: Some(settings), login: None, kept, variables })
        };
        names.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Limits the time of each fetch.
    pub(crate) fn limit(&mut self, most: Duration) {
        for settings in self.settings_mut() {
            let timeout = settings.connection.timeout.unwrap_or(DEFAULT_TIMEOUT).min(most);
            settings.connection.timeout = Some(timeout);
            settings.links.limit(timeout);
        }
    }

    fn settings_mut(&mut self) -> impl Iterator<Item = &mut Settings> {
        self.0.iter_mut().filter_map(|link| link.settings.as_mut())
    }

    /// Returns the settings of the profiles that have not been used yet.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &Settings> {
        self.0.iter().filter_map(|link| link.settings.as_ref())
    }

    /// Returns the environment variables that contain the profiles' secrets.
    pub(crate) fn secret_variables(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|link| link.variables.iter().cloned())
    }

    /// Returns the secret whose value is the token of this profile.
    pub(crate) fn token_of(&mut self, name: &str) -> Result<SecretSource, Error> {
        let link = self.0.iter_mut().find(|link| link.name == name);
        let login =
            link.ok_or_else(|| Error::new(ErrorKind::Internal, format!("profile {name:?} was not read")))?.login()?;
        Ok(SecretSource::token(login.clone()).identity_of(login.tokens.clone()))
    }

    /// Returns the members that the profiles keep of their answers, with their sources.
    pub(crate) fn kept(&mut self) -> Result<Vec<(String, SecretSource)>, Error> {
        let mut kept = Vec::new();
        for link in &mut self.0 {
            for name in link.kept.clone() {
                let login = link.login()?;
                let (tokens, member) = (login.tokens.clone(), name.clone());
                kept.push((name, SecretSource::provider(move || login.member(&member)).identity_of(tokens)));
            }
        }
        Ok(kept)
    }
}

impl Link {
    fn login(&mut self) -> Result<Arc<Login>, Error> {
        if let Some(settings) = self.settings.take() {
            let login = Login::new(&self.name, settings).map_err(|error| within(error, &self.name))?;
            self.login = Some(Arc::new(login));
        }
        self.login.clone().ok_or_else(|| Error::new(ErrorKind::Internal, format!("profile {:?} failed", self.name)))
    }
}

/// The tokens of another profile.
struct Login {
    name: String,
    tokens: Arc<SharedTokenCache>,
    min_life: Duration,
    /// Whether the next token is fetched from the server even if one is cached.
    is_fresh: AtomicBool,
    /// Whether the server must not be asked.
    is_offline: bool,
}

impl Login {
    fn new(name: &str, mut settings: Settings) -> Result<Self, Error> {
        let asked = settings.asked;
        let (grant, store) = (settings.grant()?, settings.store()?);
        let tokens = shared_tokens(settings.client()?, grant, store);
        Ok(Self {
            name: name.to_owned(),
            tokens: Arc::new(tokens),
            min_life: asked.min_valid.unwrap_or_default(),
            is_fresh: asked.fresh.into(),
            is_offline: asked.offline,
        })
    }

    fn member(&self, name: &str) -> Result<Secret, Error> {
        match self.token()?.member(name) {
            Some(value) => Ok(value.expose().into()),
            None => {
                let error =
                    Error::new(ErrorKind::Unusable, format!("the answer has no member {name:?}, which it is to keep"));
                Err(within(error, &self.name))
            }
        }
    }
}

impl TokenSource for Login {
    fn token(&self) -> Result<AccessToken, Error> {
        let token = match self.is_fresh.swap(false, Ordering::Relaxed) {
            _ if self.is_offline => {
                self.tokens.at_hand(self.min_life).and_then(|token| token.ok_or_else(nothing_cached))
            }
            true => self.tokens.renew(),
            false => self.tokens.token_valid_for(self.min_life),
        };
        token.map_err(|error| within(error, &self.name))
    }

    fn invalidate(&self, token: &AccessToken) -> bool {
        self.tokens.invalidate(token)
    }
}

fn within(error: Error, name: &str) -> Error {
    error.within(format!("profile {name:?}"))
}
