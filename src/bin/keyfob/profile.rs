//! A profile: where it is, what it may hold, and how the options override it.

use crate::arguments;
use crate::output;
use crate::words;
use keyfob::{Endpoint, Error, ErrorKind};
use miniserde::json::{self, Object, Value};
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The members of an endpoint's description, which the library reads.
pub(crate) const DESCRIPTION: &[&str] = &[
    "url",
    "environments",
    "environment",
    "path",
    "dialect",
    "grant",
    "params",
    "auth",
    "method",
    "basic_raw",
    "omit_grant_type",
    "scope_required",
    "allow_http",
    "param",
    "header",
    "field",
    "keep",
    "lifetime",
    "revoke",
    "revocation_url",
    "var",
    "refresh",
];

/// Those of them that a dialect may set.
const PRESET: &[&str] = &["grant", "params", "auth", "method", "omit_grant_type", "scope_required", "revoke"];

/// The secrets: each has a member with `_file` and one with `_env`.
pub(crate) const SECRETS: &[&str] =
    &["client_secret", "password", "session_token", "refresh_token", "access_token", "client_key"];

/// Members of which there can be one, since each says otherwise.
pub(crate) const EITHER: &[(&str, &str)] = &[("ca_file", "system_roots"), ("proxy", "no_proxy")];

/// Whether a profile may have this member: a part of the endpoint's description, or an option.
pub(crate) fn is_member(name: &str) -> bool {
    let is_like = |(option, name)| name == if option == b'-' { b'_' } else { option };
    let is_it = |option: &str| option.len() == name.len() && option.bytes().zip(name.bytes()).all(is_like);
    DESCRIPTION.contains(&name) || arguments::members().any(is_it)
}

pub(crate) fn unknown(name: &str) -> Error {
    if SECRETS.contains(&name) {
        return config(format!("profile: unknown member {name:?}"))
            .with_hint(format!("a profile holds no secret, but where it is: `{name}_file`"));
    }
    let options: Vec<String> = arguments::members().map(|name| name.replace('-', "_")).collect();
    match words::nearest(name, DESCRIPTION.iter().copied().chain(options.iter().map(String::as_str))) {
        Some(known) => config(format!("profile: unknown member {name:?}; did you mean {known:?}?")),
        None => config(format!("profile: unknown member {name:?}"))
            .with_hint("`keyfob help` lists the options, which are its members with underscores for hyphens"),
    }
}

/// The secret that a member of this name tells the place of.
pub(crate) fn secret_named(name: &str) -> Option<&str> {
    let secret = name.strip_suffix("_file").or_else(|| name.strip_suffix("_env"))?;
    SECRETS.contains(&secret).then_some(secret)
}

/// A file without an end would fill the memory.
pub(crate) const MAX_PROFILE: u64 = 1024 * 1024;

pub(crate) fn read(name: &Path) -> Result<Object, Error> {
    let file = find_profile(name)?;
    let shown = file.display();
    let text = read_within(&file).map_err(|error| {
        let why = error.get_ref().map_or_else(|| output::reason(&error), ToString::to_string);
        config(format!("profile {shown}: {why}")).with_source(error)
    })?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(config(format!("profile {shown}: it is larger than 1 MiB")));
    }
    match json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text)) {
        Ok(Value::Object(mut members)) => {
            if let Some((name, offset)) = words::duplicate(&text) {
                let (line, column) = words::position(&text, offset);
                return Err(config(format!(
                    "profile {shown}: duplicate member {name:?}, at line {line}, column {column}"
                )));
            }
            // A pipe is in no directory of its own.
            if let (false, Some(directory)) = (is_pipe(&file), file.parent()) {
                resolve(&mut members, directory).map_err(|why| config(format!("profile {shown}: {why}")))?;
            }
            Ok(members)
        }
        // miniserde does not say where the mistake is; the library's own reader does.
        _ => Err(match Endpoint::from_json(&text) {
            Err(error) => config(format!("profile {shown}: {error}")),
            Ok(_) => config(format!("profile {shown}: this is not a JSON object")),
        }),
    }
}

/// Reads a profile, but one that comes out of a pipe not for ever: nobody may be at its other end.
fn read_within(file: &Path) -> std::io::Result<String> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let path = file.to_owned();
    let read = move || {
        let mut text = String::new();
        File::open(path)?.take(MAX_PROFILE + 1).read_to_string(&mut text).map(|_| text)
    };
    if !is_pipe(file) {
        return read();
    }
    let (done, text) = std::sync::mpsc::sync_channel(1);
    // Opening it may wait as well, and nothing but a thread can be left to that.
    std::thread::Builder::new().spawn(move || done.send(read()))?;
    text.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        Err(std::io::Error::new(
            IoKind::TimedOut,
            format!("nothing whole came out of it within {} s", PATIENCE.as_secs()),
        ))
    })
}

/// Makes the paths in a profile count from its directory, and `~/` from the user's home.
fn resolve(members: &mut Object, directory: &Path) -> Result<(), String> {
    const PATHS: &[&str] = &["ca_file", "cache_dir", "file"];
    for (name, value) in members.iter_mut() {
        let is_secret = secret_named(name).is_some_and(|_| name.ends_with("_file"))
            || ["param_file", "header_file", "client_cert_file"].contains(&name.as_str());
        if !is_secret && !PATHS.contains(&name.as_str()) {
            continue;
        }
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value {
                Value::String(file) => {
                    let path = resolved(file, directory, is_secret)?;
                    let whole = path.into_os_string().into_string();
                    *file = whole.map_err(|_| format!("`{name}`: its directory's name is not UTF-8 text"))?;
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
        return home.map(|home| home.join(below)).ok_or_else(|| format!("{file}: HOME does not say where that is"));
    }
    match is_secret {
        // Standard input, which is no file.
        true if file == "-" => Ok(file.into()),
        true => Ok(credential(file).unwrap_or_else(|| directory.join(file))),
        false => Ok(directory.join(file)),
    }
}

/// A path if it has a slash, else a name in the user's or the system's directory of profiles.
pub(crate) fn find_profile(name: &Path) -> Result<PathBuf, Error> {
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let mut file = name.to_owned().into_os_string();
    file.push(".json");
    let places = own.into_iter().chain([PathBuf::from("/etc")]).map(|place| place.join("keyfob").join(&file));
    let places: Vec<PathBuf> = places.collect();
    // One that cannot be looked at may be there all the same, with other credentials: reading it shows what is wrong.
    places.iter().find(|place| may_be_there(place)).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        config(format!("profile {}: there is none", name.display()))
            .with_hint(format!("looked for {}; a file elsewhere is named with a slash", places.join(" and ")))
    })
}

/// Whether this exists, or may exist: a dangling link does, and what this user may not look at may.
fn may_be_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory),
    }
}

/// Where a secret's file is: a bare name is one of systemd's credentials, where there are any of that name.
pub(crate) fn locate(file: &str) -> PathBuf {
    credential(file).unwrap_or_else(|| file.into())
}

fn credential(file: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| !file.contains('/'))?;
    Some(Path::new(&directory).join(file)).filter(|credential| may_be_there(credential))
}

/// Puts the options over a profile's members. What an option says anew, the profile no longer says in another way.
pub(crate) fn override_by(members: &mut Object, options: &Object) {
    for name in options.keys() {
        if let Some(secret) = secret_named(name) {
            members.remove(&format!("{secret}_file"));
            members.remove(&format!("{secret}_env"));
        }
        // A parameter or header is overridden whichever way the profile says it.
        let other = match name.as_str() {
            "param" => Some("param_file"),
            "param_file" => Some("param"),
            "header" => Some("header_file"),
            "header_file" => Some("header"),
            _ => None,
        };
        if let (Some(other), Some(Value::Object(given))) = (other, options.get(name)) {
            for place in [name.as_str(), other] {
                if let Some(Value::Object(present)) = members.get_mut(place) {
                    remove_names(present, given, name.starts_with("header"));
                }
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
    // What a dialect sets, it sets anew; and GET moves the parameters into the query.
    if options.contains_key("dialect") {
        for name in PRESET {
            members.remove(*name);
        }
    }
    if matches!(options.get("method"), Some(Value::String(method)) if method == "GET") {
        members.remove("params");
    }
    for (name, value) in options {
        match (members.get_mut(name), value) {
            // The option says a part of what the profile says.
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

/// Removes those of `present` that `given` names as well; headers have their names in any case.
fn remove_names(present: &mut Object, given: &Object, ignore_case: bool) {
    let names: Vec<String> = present.keys().cloned().collect();
    for name in names {
        if given.keys().any(|given| *given == name || (ignore_case && given.eq_ignore_ascii_case(&name))) {
            present.remove(&name);
        }
    }
}

pub(crate) fn is_pipe(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.file_type().is_fifo())
}

fn config(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, message)
}
