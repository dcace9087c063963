//! Profiles: where they are, how they are read, and how options override them.

use crate::members::config;
use crate::options::{self, Kind};
use crate::output;
use crate::pipe::{self, is_pipe};
use crate::secrets::is_secret_file;
use crate::words;
use keyfob::{Endpoint, Error};
use miniserde::json::{self, Object, Value};
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::{Path, PathBuf};

/// Members that exclude each other.
pub(crate) const EITHER: &[(&str, &str)] = &[
    ("ca_file", "system_roots"),
    ("proxy", "no_proxy"),
    ("signing_key_file", "sign_command"),
    ("signing_key_env", "sign_command"),
];

pub(crate) fn unknown(name: &str) -> Error {
    let message = format!("profile: unknown member {name:?}");
    if options::secret(name).is_some() {
        return config(message).with_hint(format!("a profile names the file of a secret: `{name}_file`"));
    }
    match words::nearest(name, options::members().iter().map(String::as_str)) {
        Some(known) => config(format!("{message}; did you mean {known:?}?")),
        None => config(message).with_hint("`keyfob help profile` lists the members"),
    }
}

/// The largest profile: a file without an end would fill the memory.
pub(crate) const MAX_PROFILE: u64 = 1024 * 1024;

pub(crate) fn read(name: &Path) -> Result<Object, Error> {
    let file = find_profile(name)?;
    let shown = file.display();
    let text = read_text(&file).map_err(|error| {
        let why = error.get_ref().map_or_else(|| output::reason(&error), ToString::to_string);
        config(format!("profile {shown}: {why}")).with_source(error)
    })?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(config(format!("profile {shown}: larger than 1 MiB")));
    }
    match json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text)) {
        Ok(Value::Object(mut members)) => {
            if let Some((name, offset)) = words::duplicate(&text) {
                let (line, column) = words::position(&text, offset);
                return Err(config(format!(
                    "profile {shown}: duplicate member {name:?}, at line {line}, column {column}"
                )));
            }
            // A pipe has no directory of its own.
            if let (false, Some(directory)) = (is_pipe(&file), file.parent()) {
                resolve(&mut members, directory).map_err(|why| config(format!("profile {shown}: {why}")))?;
            }
            Ok(members)
        }
        // miniserde does not report where the mistake is; the library's own reader does.
        _ => Err(match Endpoint::from_json(&text) {
            Err(error) => config(format!("profile {shown}: {error}")),
            Ok(_) => config(format!("profile {shown}: not a JSON object")),
        }),
    }
}

fn read_text(file: &Path) -> std::io::Result<String> {
    let path = file.to_owned();
    let read = move || {
        let mut text = String::new();
        File::open(path)?.take(MAX_PROFILE + 1).read_to_string(&mut text).map(|_| text)
    };
    if is_pipe(file) { pipe::read(read)? } else { read() }
}

/// Resolves the paths in a profile: relative ones from its directory, and `~/` from the user's home.
fn resolve(members: &mut Object, directory: &Path) -> Result<(), String> {
    for (name, value) in members.iter_mut() {
        let is_secret = is_secret_file(name);
        let is_profile = options::source(name).is_some_and(|(_, origin)| origin == "profile");
        if !is_secret && !is_profile && options::member(name).is_none_or(|row| row.kind != Kind::Path) {
            continue;
        }
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value {
                // The name of a profile, which is found in the directories of profiles.
                Value::String(file) if is_profile && !file.contains('/') => {}
                Value::String(file) => {
                    let path = resolved(file, directory, is_secret)?;
                    let whole = path.into_os_string().into_string();
                    *file = whole.map_err(|_| format!("`{name}`: the name of the directory is not UTF-8 text"))?;
                }
                Value::Array(several) => values.extend(several.iter_mut()),
                Value::Object(named) => values.extend(named.values_mut()),
                _ => {}
            }
        }
    }
    Ok(())
}

fn resolved(file: &str, directory: &Path, is_secret: bool) -> Result<PathBuf, String> {
    if let Some(below) = file.strip_prefix("~/") {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        return home.map(|home| home.join(below)).ok_or_else(|| format!("{file}: HOME is not set to an absolute path"));
    }
    match is_secret {
        // Standard input, which is not a file.
        true if file == "-" => Ok(file.into()),
        true => Ok(credential(file).unwrap_or_else(|| directory.join(file))),
        false => Ok(directory.join(file)),
    }
}

/// Returns the path of a profile: the name itself if it contains a slash, otherwise a file in the user's or the
/// system's directory of profiles.
pub(crate) fn find_profile(name: &Path) -> Result<PathBuf, Error> {
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let mut file = name.to_owned().into_os_string();
    file.push(".json");
    let places =
        own_directory().into_iter().chain([PathBuf::from("/etc")]).map(|place| place.join("keyfob").join(&file));
    let places: Vec<PathBuf> = places.collect();
    // A profile that cannot be examined may exist, with other credentials: reading it reports the fault.
    places.iter().find(|place| may_be_there(place)).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        config(format!("profile {}: not found", name.display()))
            .with_hint(format!("looked for {}; the path of another file needs a slash", places.join(" and ")))
    })
}

/// Returns the names of all profiles, each with its environments if one has to be chosen.
pub(crate) fn all() -> Vec<(String, Vec<String>)> {
    let places = own_directory().into_iter().chain([PathBuf::from("/etc")]);
    let files = places.flat_map(|place| std::fs::read_dir(place.join("keyfob")).into_iter().flatten().flatten());
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names.dedup();
    let environments = |name: &str| match read(Path::new(name)) {
        Ok(members) if !members.contains_key("environment") => match members.get("environments") {
            Some(Value::Object(environments)) => environments.keys().cloned().collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    names.into_iter().map(|name| (name.clone(), environments(&name))).collect()
}

/// Returns the path for a new profile of this name: the name itself if it contains a slash, otherwise one in the user's
/// directory.
pub(crate) fn place_for(name: &str) -> Result<PathBuf, Error> {
    if name.contains('/') {
        return Ok(name.into());
    }
    if name.is_empty() || name.starts_with('.') {
        return Err(config("the profile needs a name").with_hint("set it with --name"));
    }
    let directory =
        own_directory().ok_or_else(|| config("neither XDG_CONFIG_HOME nor HOME is set to an absolute path"))?;
    Ok(directory.join("keyfob").join(format!("{name}.json")))
}

/// Returns the user's configuration directory.
fn own_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))
}

/// Returns whether a file exists or may exist: a dangling link does, and one that this user may not examine may.
fn may_be_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory),
    }
}

/// Returns the path of a secret's file: a bare name is a credential of systemd, if there is one of that name.
pub(crate) fn locate(file: &str) -> PathBuf {
    credential(file).unwrap_or_else(|| file.into())
}

fn credential(file: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| !file.contains('/'))?;
    Some(Path::new(&directory).join(file)).filter(|credential| may_be_there(credential))
}

/// Lets the options override the members of a profile. An option also replaces members with which the profile sets the
/// same thing in another way.
pub(crate) fn override_by(members: &mut Object, options: &Object) {
    if members.is_empty() {
        return members.extend(options.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for name in options.keys() {
        // A secret, a parameter or a header is overridden whichever origin the profile gives for it.
        let base = options::source(name).map_or(name.as_str(), |(base, _)| base);
        let mut ways: Vec<String> = options::sources(base).map(|(way, _)| way).collect();
        if !ways.is_empty() {
            ways.push(base.to_owned());
        }
        for way in ways {
            match (members.get_mut(&way), options.get(name)) {
                (Some(Value::Object(present)), Some(Value::Object(given))) => {
                    remove_names(present, given, base == "header");
                }
                _ => _ = members.remove(&way),
            }
        }
        for (one, other) in EITHER {
            if name == one || name == other {
                members.remove(if name == one { *other } else { *one });
            }
        }
        if name == "environment" && !options.contains_key("url") {
            members.remove("url");
        }
    }
    // A dialect replaces the members that it sets, and GET moves the parameters into the query.
    if options.contains_key("dialect") {
        for row in options::rows().filter(|row| row.is_preset()) {
            members.remove(&row.name.replace('-', "_"));
        }
    }
    if matches!(options.get("method"), Some(Value::String(method)) if method == "GET") {
        members.remove("params");
    }
    for (name, value) in options {
        match (members.get_mut(name), value) {
            // The option sets only a part of the member.
            (Some(Value::Object(present)), Value::String(path)) if name == "field" => {
                present.insert("access_token".to_owned(), Value::String(path.clone()));
            }
            (Some(Value::Object(present)), value) if name == "lifetime" => {
                present.insert("absent".to_owned(), value.clone());
                present.insert("zero".to_owned(), value.clone());
            }
            // Parameters and headers are overridden one by one.
            (Some(Value::Object(present)), Value::Object(given)) => {
                present.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Removes from `present` the names that are also in `given`; the names of headers in any case.
fn remove_names(present: &mut Object, given: &Object, ignore_case: bool) {
    let names: Vec<String> = present.keys().cloned().collect();
    for name in names {
        if given.keys().any(|given| *given == name || (ignore_case && given.eq_ignore_ascii_case(&name))) {
            present.remove(&name);
        }
    }
}
