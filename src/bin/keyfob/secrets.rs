//! Reads secrets from files, standard input, environment variables and other profiles.

use crate::chain::Links;
use crate::failure::hint;
use crate::members::{config, take_pairs, take_text};
use crate::options::{self, Kind};
use crate::output;
use crate::pipe::{self, is_pipe};
use crate::profile::locate;
use crate::terminal;
use keyfob::{Error, Secret, SecretSource};
use miniserde::json::{Object, Value};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the secret of this name, from the origin that the members give.
pub(crate) fn take_secret(members: &mut Object, links: &mut Links, name: &str) -> Result<Option<SecretSource>, Error> {
    let mut found = None::<(String, SecretSource)>;
    for (member, origin) in options::given(members, name) {
        let Some(place) = take_text(members, &member)? else { continue };
        if let Some((first, _)) = found {
            return Err(config(format!("`{first}` and `{member}` are both given")));
        }
        found = Some((member, secret_at(origin.ending, name, &place, links)?));
    }
    Ok(found.map(|(_, source)| source))
}

/// Returns names with secrets, from the origin that the members give. A name with several secrets appears several
/// times.
pub(crate) fn take_secret_pairs(
    members: &mut Object,
    links: &mut Links,
    name: &str,
) -> Result<Vec<(String, SecretSource)>, Error> {
    let mut pairs = Vec::new();
    for (member, origin) in options::given(members, name) {
        for (name, place) in take_pairs(members, &member, origin.what)? {
            let source = secret_at(origin.ending, &name, &place, links)?;
            pairs.push((name, source));
        }
    }
    Ok(pairs)
}

fn secret_at(origin: &str, name: &str, place: &str, links: &mut Links) -> Result<SecretSource, Error> {
    match origin {
        "env" => Ok(SecretSource::environment(place)),
        "profile" => links.token_of(place),
        _ => secret_from(name, place),
    }
}

/// Returns a secret from a file, or for `-` from standard input. At a terminal the secret's name is the prompt.
pub(crate) fn secret_from(name: &str, file: &str) -> Result<SecretSource, Error> {
    if file == "-" {
        // Not through std's buffer, which keeps a copy of its content.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
        let stdin = stdin.map_err(|_| config("standard input: cannot be read"))?;
        if stdin.is_terminal() {
            return Ok(terminal::read_secret(stdin, &name.replace('_', " "))?.into());
        }
        return Ok(Secret::read_from(stdin, "standard input")?.into());
    }
    let path = locate(file);
    // A pipe can be read only once, and with a cache a secret is read more often.
    if is_pipe(&path) {
        let origin = format!("secret file {}", path.display());
        let from = origin.clone();
        let secret = pipe::read(move || match File::open(path) {
            Ok(file) => Secret::read_from(file, &from),
            Err(error) => Err(config(format!("{from}: {}", output::reason(&error))).with_source(error)),
        });
        let secret = secret.map_err(|error| config(format!("{origin}: {error}")).with_source(error))?;
        return Ok(secret?.into());
    }
    warn_if_public(&path);
    Ok(SecretSource::file(path))
}

/// Warns if everyone on the machine can read the file. In containers that is common, and may be intended.
pub(crate) fn warn_if_public(file: &Path) {
    if std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.mode() & 0o004 != 0) {
        hint(&format!("secret file {}: everybody can read it (chmod o-r)", file.display()));
    }
}

/// Refuses secrets that are written in a profile or on the command line, where everyone can read them.
pub(crate) fn check_plain(members: &Object) -> Result<(), Error> {
    const PARAMETERS: &[&str] = &["client_secret", "password", "refresh_token"];
    const HEADERS: &[&str] = &["Authorization", "Proxy-Authorization"];
    if let Some(Value::Object(given)) = members.get("param") {
        let is_given = |name: &&&str| given.get(**name).is_some_and(|value| !is_template(value));
        if let Some(name) = PARAMETERS.iter().find(is_given) {
            return Err(config(format!("`param`: {name} is a secret and must not be written here"))
                .with_hint(format!("put it into a file and use --{}-file", name.replace('_', "-"))));
        }
    }
    if let Some(Value::Object(given)) = members.get("header") {
        let is_given = |name: &&&str| {
            given.iter().any(|(given, value)| given.trim().eq_ignore_ascii_case(name) && !is_template(value))
        };
        if let Some(name) = HEADERS.iter().find(is_given) {
            return Err(config(format!("`header`: {name} is a secret and must not be written here"))
                .with_hint(format!("put it into a file and use --header-file '{name}: FILE'")));
        }
    }
    Ok(())
}

/// Returns whether a value names a variable, so that the value itself need not be a secret.
fn is_template(value: &Value) -> bool {
    matches!(value, Value::String(text) if text.contains('{'))
}

/// Refuses two secrets from standard input, which can be read only once.
pub(crate) fn check_stdin(members: &Object) -> Result<(), Error> {
    let mut files = secret_files(members);
    files.retain(|(_, file)| *file == "-");
    match files[..] {
        [(first, _), (second, _), ..] => {
            Err(config(format!("`{first}` and `{second}` both read standard input, which has one secret")))
        }
        _ => Ok(()),
    }
}

/// Returns the files of secrets and of the client's certificate, with the members that name them.
pub(crate) fn secret_files(members: &Object) -> Vec<(&str, &str)> {
    texts(members, is_secret_file)
}

/// Returns the texts of some members, with the members' names.
pub(crate) fn texts(members: &Object, is_wanted: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let mut texts = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| is_wanted(name)) {
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value {
                Value::String(text) => texts.push((name.as_str(), text.as_str())),
                Value::Array(several) => values.extend(several),
                Value::Object(named) => values.extend(named.values()),
                _ => {}
            }
        }
    }
    texts
}

/// Returns the origins of this kind that the members give for secrets: environment variables (`env`), profiles
/// (`profile`).
pub(crate) fn places(members: &Object, origin: &str) -> Vec<String> {
    let is_wanted = |name: &str| options::source(name).is_some_and(|(_, of)| of == origin);
    texts(members, is_wanted).into_iter().map(|(_, place)| place.to_owned()).collect()
}

/// Returns whether this member names a file that is located like a secret's.
pub(crate) fn is_secret_file(name: &str) -> bool {
    options::source(name).is_some_and(|(_, origin)| origin == "file")
        || options::member(name).is_some_and(|row| row.kind == Kind::Credential)
}
