//! `keyfob status` and `keyfob forget`: the cached tokens and remembered failures of this machine. They never ask the
//! server.

use crate::arguments::Arguments;
use crate::failure::{self, whole_seconds};
use crate::format::Format;
use crate::members::{config, nothing_cached, take_flag};
use crate::output::{self, line, to_json};
use crate::profile;
use crate::settings::{self, Settings};
use keyfob::{BootClock, Clock, Error, Store};
use miniserde::Serialize;
use miniserde::json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Serialize)]
struct Row<'a> {
    profile: Option<&'a str>,
    environment: Option<&'a str>,
    host: Option<&'a str>,
    /// `valid`, `failed` or `none`.
    state: &'a str,
    expires_in: Option<u64>,
    next_attempt_in: Option<u64>,
    error: Option<&'a str>,
    message: Option<&'a str>,
    cache: Option<String>,
}

/// The cached state of a request.
struct Known {
    host: String,
    cache: Option<PathBuf>,
    /// The remaining life of the valid token, if there is one. The inner value is none if the life is unknown.
    token: Option<Option<Duration>>,
    failure: Option<Error>,
    next: Option<Duration>,
}

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    if arguments.options.get("format").is_some_and(|format| !matches!(format, Value::String(f) if f == "json")) {
        return Err(config("status: --format must be json, or left out"));
    }
    let is_json = *format == Format::Json;
    let one = arguments.profile.as_ref().map(|profile| profile.to_string_lossy().into_owned());
    if one.is_some() || arguments.options.contains_key("url") {
        let environment = match arguments.options.get("environment") {
            Some(Value::String(environment)) => Some(environment.clone()),
            _ => None,
        };
        let known = known(&arguments, false)?;
        show(one.as_deref(), environment.as_deref(), &Ok(known), is_json).map(|(code, _)| code)
    } else {
        let (mut first, mut valid, mut cache) = (None, 0, None);
        for (name, environments) in profile::all() {
            let environments: Vec<Option<String>> = match environments.is_empty() {
                true => vec![None],
                false => environments.into_iter().map(Some).collect(),
            };
            for environment in environments {
                arguments.profile = Some(name.clone().into());
                if let Some(environment) = &environment {
                    arguments.options.insert("environment".to_owned(), Value::String(environment.clone()));
                }
                let known = known(&arguments, true);
                if environment.is_some() {
                    arguments.options.remove("environment");
                }
                let (code, is_valid) = show(Some(&name), environment.as_deref(), &known, is_json)?;
                valid += usize::from(is_valid);
                first = first.or((!is_valid).then_some(code));
                cache = cache.or(known.ok().and_then(|known| known.cache));
            }
        }
        let others = store(&arguments)?.map_or(0, |store| store.valid_tokens()).saturating_sub(valid);
        if !is_json {
            match (others, valid, first) {
                (0, 0, None) => line("there is no profile, and no valid token is cached")?,
                (0, ..) => {}
                (others, ..) => line(&format!("{others} more valid in the cache, which no profile describes"))?,
            }
        }
        Ok(first.unwrap_or(ExitCode::SUCCESS))
    }
}

pub(crate) fn forget(mut arguments: Arguments, format: &mut Format) -> Result<(), Error> {
    let is_all = take_flag(&mut arguments.options, "all")?;
    let has_one = arguments.profile.is_some() || arguments.options.contains_key("url");
    let forgotten = match (is_all, has_one) {
        (true, true) => return Err(config("forget: --all is for no profile")),
        (false, false) => return Err(config("forget: neither a profile nor --all is given")),
        (true, false) => match store(&arguments)? {
            Some(store) => {
                let count = store.valid_tokens();
                store.clear();
                count > 0
            }
            None => false,
        },
        (false, true) => {
            let mut settings = Settings::read(&arguments, format)?;
            let (grant, store) = (settings.grant()?, settings.store()?);
            settings::tokens(settings.client()?, grant, store).forget()?
        }
    };
    output::forgotten(forgotten, *format)
}

/// Returns the cache of all requests.
fn store(arguments: &Arguments) -> Result<Option<Store>, Error> {
    match arguments.options.get("cache_dir") {
        Some(Value::String(directory)) => Store::at(directory).map(Some),
        _ => Ok(Store::find().ok()),
    }
}

/// Reads the cached state. With `is_one_of_many`, reads nothing that can be read only once.
fn known(arguments: &Arguments, is_one_of_many: bool) -> Result<Known, Error> {
    // A format in the profile is for tokens.
    let mut settings = Settings::read(arguments, &mut Format::Token)?;
    if is_one_of_many && settings.reads_once() {
        return Err(config("not known: a secret comes from standard input or a pipe"));
    }
    let (grant, store) = (settings.grant()?, settings.store()?);
    let cache = store.as_ref().map(|store| store.path().to_owned());
    let mut tokens = settings::tokens(settings.client()?, grant, store);
    let now = BootClock.now();
    let token = tokens.at_hand(Duration::ZERO)?.map(|token| token.remaining(now));
    Ok(Known {
        host: tokens.client().endpoint().authority().to_owned(),
        cache,
        failure: tokens.last_failure(),
        next: tokens.next_attempt().map(|at| at.saturating_sub(now)),
        token,
    })
}

/// Prints one line. Returns its exit code, and whether there is a valid token.
fn show(
    profile: Option<&str>,
    environment: Option<&str>,
    known: &Result<Known, Error>,
    is_json: bool,
) -> Result<(ExitCode, bool), Error> {
    let name = [profile, environment].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let (state, error) = match known {
        Ok(Known { token: Some(_), failure, .. }) => ("valid", failure.as_ref()),
        Ok(Known { failure: None, .. }) => ("none", None),
        Ok(Known { failure, .. }) => ("failed", failure.as_ref()),
        Err(error) => ("failed", Some(error)),
    };
    let known = known.as_ref().ok();
    let left = known.and_then(|known| known.token.flatten());
    // Without a token or a failure the next attempt is immediate.
    let next = known.filter(|_| state != "none").and_then(|known| known.next).map(whole_seconds);
    let host = known.map_or(&name, |known| &known.host);
    if is_json {
        let message = error.map(ToString::to_string);
        line(&to_json(&Row {
            profile,
            environment,
            host: known.map(|known| known.host.as_str()),
            state,
            expires_in: left.map(|left| left.as_secs()),
            next_attempt_in: next,
            error: error.map(|error| error.kind().as_str()),
            message: message.as_deref(),
            cache: known.and_then(|known| Some(known.cache.as_ref()?.to_string_lossy().into_owned())),
        }))?;
    } else {
        let mut text = if name.is_empty() { host.clone() } else { name.clone() };
        match left {
            Some(left) => text.push_str(&format!(": valid for {} s", left.as_secs())),
            None if state == "valid" => text.push_str(": valid"),
            None => {}
        }
        if state == "none" {
            text.push_str(": no token");
        } else if let Some(error) = error {
            text.push_str(&format!("{} {error}", if state == "valid" { "; not renewed:" } else { ":" }));
        }
        match (state, next) {
            (_, None) => {}
            ("valid", Some(next)) => text.push_str(&format!("; to be renewed in {next} s")),
            (_, Some(next)) => text.push_str(&format!("; next attempt in {next} s at the earliest")),
        }
        if let Some(cache) = known.and_then(|known| known.cache.as_ref()) {
            text.push_str(&format!(" ({host}, in {})", cache.display()));
        }
        line(&text)?;
    }
    let code = match (state, error) {
        ("valid", _) => ExitCode::SUCCESS,
        (_, Some(error)) => failure::exit_code(error),
        (_, None) => failure::exit_code(&nothing_cached()),
    };
    Ok((code, state == "valid"))
}
