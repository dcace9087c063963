//! The command line. Options are collected as the members of a profile of their names, which they override.

use crate::output::Format;
use crate::words;
use keyfob::{Error, ErrorKind};
use lexopt::{Arg, Parser, ValueExt};
use miniserde::json::{Array, Number, Object, Value};
use std::ffi::OsString;

const VERBS: &[&str] = &["token", "revoke", "keep", "bench", "parse", "demo", "help"];

pub(crate) const HELP: &str = include_str!("help.txt");

#[derive(PartialEq, Eq)]
pub(crate) enum Verb {
    Token,
    Revoke,
    Keep,
    Bench,
    Parse,
    Demo,
    Help,
    Version,
}

pub(crate) struct Arguments {
    pub(crate) verb: Verb,
    pub(crate) profile: Option<OsString>,
    /// What was given, by the options' names with underscores.
    pub(crate) options: Object,
}

/// What an option's value is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Texts: the option may be repeated.
    Texts,
    /// Names with values, joined by this character: the option may be repeated.
    Pairs(char),
    /// A duration: seconds, or a number with a unit.
    Duration,
    /// A whole number.
    Number,
    Flag,
}

/// The options of `token`, `revoke`, `keep` and `bench`.
const OPTIONS: &[(&str, Kind)] = &[
    ("url", Kind::Text),
    ("dialect", Kind::Text),
    ("grant", Kind::Text),
    ("params", Kind::Text),
    ("auth", Kind::Text),
    ("method", Kind::Text),
    ("client-id", Kind::Text),
    ("username", Kind::Text),
    ("client-secret-file", Kind::Text),
    ("client-secret-env", Kind::Text),
    ("password-file", Kind::Text),
    ("password-env", Kind::Text),
    ("session-token-file", Kind::Text),
    ("session-token-env", Kind::Text),
    ("refresh-token-file", Kind::Text),
    ("refresh-token-env", Kind::Text),
    ("access-token-file", Kind::Text),
    ("access-token-env", Kind::Text),
    ("scope", Kind::Texts),
    ("param", Kind::Pairs('=')),
    ("param-file", Kind::Pairs('=')),
    ("header", Kind::Pairs(':')),
    ("header-file", Kind::Pairs(':')),
    ("environment", Kind::Text),
    ("field", Kind::Text),
    ("basic-raw", Kind::Flag),
    ("ca-file", Kind::Text),
    ("system-roots", Kind::Flag),
    ("client-cert-file", Kind::Text),
    ("client-key-file", Kind::Text),
    ("client-key-env", Kind::Text),
    ("proxy", Kind::Text),
    ("no-proxy", Kind::Flag),
    ("connect-to", Kind::Text),
    ("allow-http", Kind::Flag),
    ("timeout", Kind::Duration),
    ("lifetime", Kind::Duration),
    ("min-valid", Kind::Duration),
    ("no-cache", Kind::Flag),
    ("fresh", Kind::Flag),
    ("cache-dir", Kind::Text),
    ("wait", Kind::Duration),
    ("splay", Kind::Duration),
    ("format", Kind::Text),
    ("verbose", Kind::Flag),
];

/// The options that only `keep` has.
const KEEP_OPTIONS: &[(&str, Kind)] = &[("file", Kind::Text), ("mode", Kind::Text), ("on-renew", Kind::Text)];

/// The options that only `bench` has. `single` is for what it starts itself: one fetch, timed for the other process.
const BENCH_OPTIONS: &[(&str, Kind)] =
    &[("count", Kind::Number), ("pause", Kind::Duration), ("processes", Kind::Flag), ("single", Kind::Flag)];

/// The options that a profile may have as members, with underscores for hyphens: those of `token` and `keep`.
pub(crate) fn members() -> impl Iterator<Item = &'static str> {
    [OPTIONS, KEEP_OPTIONS].into_iter().flatten().map(|(name, _)| *name)
}

/// The options of `parse`.
const PARSE_OPTIONS: &[(&str, Kind)] =
    &[("status", Kind::Number), ("content-type", Kind::Text), ("show-secrets", Kind::Flag)];

impl Arguments {
    pub(crate) fn from_command_line() -> Result<Self, Error> {
        Self::read(Parser::from_env())
    }

    /// Reads the words behind the command's name.
    pub(crate) fn read(mut parser: Parser) -> Result<Self, Error> {
        let verb = match parser.next().map_err(wrong)? {
            None | Some(Arg::Long("help") | Arg::Short('h')) => Verb::Help,
            Some(Arg::Long("version") | Arg::Short('V')) => Verb::Version,
            Some(Arg::Value(verb)) => match verb.to_str() {
                Some("token") => Verb::Token,
                Some("revoke") => Verb::Revoke,
                Some("keep") => Verb::Keep,
                Some("bench") => Verb::Bench,
                Some("parse") => Verb::Parse,
                Some("demo") => Verb::Demo,
                Some("help") => Verb::Help,
                // Any other word is not shown: it may be a secret that went astray.
                word => {
                    let word = word.unwrap_or_default();
                    return Err(match words::nearest(word, VERBS.iter().copied()) {
                        Some(verb) => usage(format!("unknown command \"{word}\"; did you mean \"{verb}\"?")),
                        None => usage("the first word is none of token, revoke, keep, bench, parse, demo, help"),
                    });
                }
            },
            Some(_) => {
                return Err(usage(
                    "the first word must say what to do: token, revoke, keep, bench, parse, demo or help",
                ));
            }
        };
        let known: [&[_]; 2] = match verb {
            Verb::Token | Verb::Revoke => [OPTIONS, &[]],
            Verb::Keep => [OPTIONS, KEEP_OPTIONS],
            Verb::Bench => [OPTIONS, BENCH_OPTIONS],
            Verb::Parse => [PARSE_OPTIONS, &[]],
            Verb::Demo | Verb::Help | Verb::Version => [&[], &[]],
        };
        let mut arguments = Self { verb, profile: None, options: Object::new() };
        while let Some(argument) = parser.next().map_err(wrong)? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => {
                    arguments.verb = Verb::Help;
                    return Ok(arguments);
                }
                Arg::Long(name) => {
                    let Some((name, kind)) = known.iter().copied().flatten().find(|(known, _)| *known == name).copied()
                    else {
                        return Err(unknown(name, known.iter().copied().flatten().map(|(known, _)| *known)));
                    };
                    let value = match kind {
                        Kind::Flag => Value::Bool(true),
                        _ => text(name, parser.value().map_err(|_| usage(format!("--{name} wants a value")))?)?,
                    };
                    arguments.set(name, kind, value)?;
                }
                Arg::Short('v') if known[0].len() == OPTIONS.len() => {
                    arguments.set("verbose", Kind::Flag, Value::Bool(true))?;
                }
                Arg::Short('n') if arguments.verb == Verb::Bench => {
                    let count = parser.value().map_err(|_| usage("-n wants a value"))?;
                    arguments.set("count", Kind::Number, text("count", count)?)?;
                }
                Arg::Short(_) => return Err(usage("there are no one-letter options but -h, -v, -V and bench's -n")),
                Arg::Value(profile) => {
                    if known[0].len() != OPTIONS.len() || arguments.profile.replace(profile).is_some() {
                        return Err(usage("there is a word too many; a secret is never given on the command line"));
                    }
                }
            }
        }
        Ok(arguments)
    }

    fn set(&mut self, option: &str, kind: Kind, value: Value) -> Result<(), Error> {
        let member = option.replace('-', "_");
        let value = match (kind, value) {
            (Kind::Text | Kind::Flag, value) => value,
            // The text is not shown: it may be a secret.
            (Kind::Duration, Value::String(text)) => match words::duration(&text) {
                Some(_) => Value::String(text),
                None => return Err(usage(format!("--{option}: this must be {}", words::DURATION))),
            },
            (Kind::Number, Value::String(text)) => match text.parse() {
                Ok(seconds) if text.bytes().all(|byte| byte.is_ascii_digit()) => Value::Number(Number::U64(seconds)),
                _ => return Err(usage(format!("--{option}: this must be a whole number"))),
            },
            (Kind::Texts, value) => {
                let mut texts = match self.options.remove(&member) {
                    Some(Value::Array(texts)) => texts,
                    _ => Array::new(),
                };
                texts.push(value);
                Value::Array(texts)
            }
            (Kind::Pairs(joint), Value::String(text)) => {
                let Some((name, value)) = text.split_once(joint) else {
                    // The text is not shown: it may be a secret.
                    return Err(usage(format!("--{option}: this must be NAME{joint}VALUE")));
                };
                let mut pairs = match self.options.remove(&member) {
                    Some(Value::Object(pairs)) => pairs,
                    _ => Object::new(),
                };
                let value = Value::String(if joint == ':' { value.trim() } else { value }.to_owned());
                // One value is a text, and several are a list.
                let value = match pairs.remove(name) {
                    None => value,
                    Some(Value::Array(mut values)) => {
                        values.push(value);
                        Value::Array(values)
                    }
                    Some(first) => Value::Array([first, value].into_iter().collect()),
                };
                pairs.insert(name.to_owned(), value);
                Value::Object(pairs)
            }
            (Kind::Duration | Kind::Number | Kind::Pairs(_), other) => other,
        };
        let is_repeatable = matches!(kind, Kind::Texts | Kind::Pairs(_) | Kind::Flag);
        if self.options.insert(member, value).is_some() && !is_repeatable {
            return Err(usage(format!("--{option} is given twice")));
        }
        Ok(())
    }
}

/// The format that the command line asks for, even if the rest of it is wrong.
pub(crate) fn requested_format() -> Format {
    match requested() {
        Requested::Format(word) => word.to_str().and_then(Format::from_name).unwrap_or(Format::Token),
        Requested::Profiles(_) => Format::Token,
    }
}

/// What the command line says about the format, as far as it can be understood.
pub(crate) enum Requested {
    /// It names one. Whatever else is said: curl must be kept from sending a request without a token.
    Format(OsString),
    /// It does not; for a token these words may be the profile that does. Each comes with whether it can be nothing else:
    /// one behind an unknown option may be that option's value.
    Profiles(Vec<(OsString, bool)>),
}

pub(crate) fn requested() -> Requested {
    let verb = std::env::args_os().nth(1).unwrap_or_default();
    // A word that is no verb was probably meant for `token`, or is the profile of one that was forgotten.
    let is_wrong = !verb.as_encoded_bytes().starts_with(b"-") && !VERBS.iter().any(|known| verb == *known);
    let is_token = is_wrong || verb == "token";
    let (mut format, mut profiles) = (None::<OsString>, Vec::new());
    let mut is_known = true;
    let mut words = std::env::args_os().skip(1 + usize::from(is_token));
    if is_wrong {
        profiles.push((verb, false));
    }
    while let Some(word) = words.next() {
        let Some(option) = word.to_str().and_then(|word| word.strip_prefix("--")) else {
            match word.as_encoded_bytes().starts_with(b"-") {
                true => is_known = word == "-v",
                false => profiles.push((word, std::mem::replace(&mut is_known, true))),
            }
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (option, None),
        };
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        is_known = known.is_some() || value.is_some();
        let takes_value = known.is_some_and(|(_, kind)| !matches!(kind, Kind::Flag));
        let value = value.or_else(|| if takes_value { words.next() } else { None });
        if name == "format" && format.as_ref().is_none_or(|format| format != "curl") {
            // Without a value it may have been meant for curl.
            format = Some(value.unwrap_or_else(|| "curl".into()));
        }
    }
    match format {
        Some(format) => Requested::Format(format),
        None => Requested::Profiles(if is_token { profiles } else { Vec::new() }),
    }
}

fn text(option: &str, value: OsString) -> Result<Value, Error> {
    match value.string() {
        Ok(text) => Ok(Value::String(text)),
        Err(_) => Err(usage(format!("--{option}: the value is not UTF-8 text"))),
    }
}

fn unknown(option: &str, known: impl Iterator<Item = &'static str>) -> Error {
    let secrets = ["client-secret", "password", "session-token", "refresh-token", "access-token", "client-key"];
    let error = |nearest: &str| usage(format!("there is no option --{option}{nearest}"));
    match secrets.iter().find(|secret| **secret == option) {
        Some(secret) => {
            error("").with_hint(format!("everyone can read argument lists: put it into a file and use --{secret}-file"))
        }
        None => {
            error(&words::nearest(option, known).map_or(String::new(), |known| format!("; did you mean --{known}?")))
        }
    }
}

/// lexopt's own messages are not shown: they repeat what was given, which may be a secret.
fn wrong(error: lexopt::Error) -> Error {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => usage(format!("{option} takes no value")),
        lexopt::Error::MissingValue { option: Some(option) } => usage(format!("{option} wants a value")),
        _ => usage("the command line cannot be read"),
    }
}

pub(crate) fn usage(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, format!("usage: {}", message.as_ref())).with_hint("keyfob help shows what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_every_option() {
        let words: Vec<&str> = HELP.split([' ', ',', '\n', '[', ']', '(', ')']).collect();
        // What `bench` starts itself is nobody else's; and of the options for variables, the help has examples.
        let is_left_out = |name: &str| name == "single" || name.ends_with("-env");
        for (name, _) in [OPTIONS, KEEP_OPTIONS, BENCH_OPTIONS, PARSE_OPTIONS].into_iter().flatten() {
            assert!(is_left_out(name) || words.contains(&&*format!("--{name}")), "help does not have --{name}");
        }
    }
}
