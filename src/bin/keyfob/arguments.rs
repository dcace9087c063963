//! The command line. Options become members of the same names and override those of the profile.

use crate::format::Format;
use crate::options::{self, Kind};
use crate::words;
use keyfob::{Error, ErrorKind};
use lexopt::{Arg, Parser, ValueExt};
use miniserde::json::{Array, Number, Object, Value};
use std::ffi::{OsStr, OsString};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Token,
    Revoke,
    Keep,
    Exec,
    Helper,
    Introspect,
    Status,
    Forget,
    Bench,
    Probe,
    Parse,
    FromCurl,
    Demo,
    Help,
    Version,
}

/// The verbs as they are typed, with how help shows and describes them.
pub(crate) const VERBS: &[(&str, Verb, &str, &str)] = &[
    ("token", Verb::Token, "[PROFILE] [options]", "print an access token, from the cache or from the server"),
    ("revoke", Verb::Revoke, "[PROFILE] [options]", "end a token at the server and forget it"),
    ("keep", Verb::Keep, "[PROFILE] --file F [options]", "keep a fresh token in a file"),
    (
        "exec",
        Verb::Exec,
        "[PROFILE] [options] -- CMD [ARG …]",
        "run a program with a token that is kept fresh; without a token it is not started",
    ),
    ("status", Verb::Status, "[PROFILE] [options]", "show what is cached or remembered, for all profiles without one"),
    (
        "forget",
        Verb::Forget,
        "[PROFILE | --all] [options]",
        "drop what is cached or remembered, without telling the server",
    ),
    (
        "helper",
        Verb::Helper,
        "git | cargo | kubectl | docker | gcp PROFILE [get | store | erase] [options]",
        "answer a program that asks for a credential, in its own words",
    ),
    (
        "introspect",
        Verb::Introspect,
        "[PROFILE] [options]",
        "ask the server about the cached token (RFC 7662); exit code 3 if it is not active",
    ),
    ("bench", Verb::Bench, "[PROFILE] [-n N] [options]", "time cold-start fetches, step by step"),
    (
        "probe",
        Verb::Probe,
        "[PROFILE] [options]",
        "fetch once and tell what was sent, answered and tolerated, and what would make the profile better; \
         store nothing",
    ),
    ("parse", Verb::Parse, "[options]", "show how keyfob reads the token response on standard input"),
    (
        "from-curl",
        Verb::FromCurl,
        "[--name NAME]",
        "make a profile and secret files of the curl command line on standard input",
    ),
    ("demo", Verb::Demo, "", "fetch from five services, played by a server in the same process (feature `demo`)"),
    ("help", Verb::Help, "[VERB | profile | exit-codes]", "print this help, or that of a verb or topic"),
];

/// The subject that `help` explains.
#[derive(Clone, Copy)]
pub(crate) enum Topic {
    All,
    Verb(Verb),
    Profile,
    ExitCodes,
}

const TOPICS: &[(&str, Topic)] = &[("profile", Topic::Profile), ("exit-codes", Topic::ExitCodes)];

pub(crate) struct Arguments {
    pub(crate) verb: Verb,
    pub(crate) topic: Topic,
    pub(crate) profile: Option<OsString>,
    /// The given options, by their names with underscores.
    pub(crate) options: Object,
    /// The program to run, with its arguments: all words after `--`. For a helper, the calling program and its action.
    pub(crate) program: Vec<OsString>,
}

impl Arguments {
    pub(crate) fn new(verb: Verb) -> Self {
        Self { verb, topic: Topic::All, profile: None, options: Object::new(), program: Vec::new() }
    }

    pub(crate) fn from_command_line() -> Result<Self, Error> {
        Self::read(Parser::from_env())
    }

    /// Reads the arguments after the program's name.
    pub(crate) fn read(mut parser: Parser) -> Result<Self, Error> {
        let verb = match parser.next().map_err(wrong)? {
            None | Some(Arg::Long("help") | Arg::Short('h')) => Verb::Help,
            Some(Arg::Long("version") | Arg::Short('V')) => Verb::Version,
            // cargo starts a helper with this word only.
            Some(Arg::Long("cargo-plugin")) => {
                return Ok(Self { program: vec!["cargo".into()], ..Self::new(Verb::Helper) });
            }
            Some(Arg::Value(word)) => verb(&word)?,
            Some(_) => return Err(usage(format!("no command before the options; the commands are {}", verbs()))),
        };
        let has_profile = options::option(verb, "url").is_some();
        let mut arguments = Self::new(verb);
        loop {
            if verb == Verb::Exec {
                // The words after `--` belong to the program.
                let mut words = parser.try_raw_args();
                if let Some(words) = words.as_mut().filter(|words| words.peek() == Some(OsStr::new("--"))) {
                    arguments.program = words.skip(1).collect();
                    return Ok(arguments);
                }
            }
            let Some(argument) = parser.next().map_err(wrong)? else { return Ok(arguments) };
            let (shown, name, row) = match argument {
                Arg::Long("help") | Arg::Short('h') => {
                    if verb != Verb::Help {
                        (arguments.verb, arguments.topic) = (Verb::Help, Topic::Verb(verb));
                    }
                    return Ok(arguments);
                }
                Arg::Long(name) => match options::option(verb, name) {
                    Some(row) => (format!("--{name}"), name.to_owned(), row),
                    None => return Err(unknown(name, verb)),
                },
                Arg::Short(letter) => {
                    let row = options::rows().find(|row| row.short == Some(letter) && row.is_option_of(verb));
                    let row =
                        row.ok_or_else(|| usage("unknown one-letter option; there are -h, -V, -v and, for bench, -n"))?;
                    (format!("-{letter}"), row.name.to_owned(), row)
                }
                Arg::Value(topic) if verb == Verb::Help && matches!(arguments.topic, Topic::All) => {
                    arguments.topic = self::topic(&topic)?;
                    continue;
                }
                Arg::Value(word)
                    if verb == Verb::Helper && (arguments.program.is_empty() || arguments.profile.is_some()) =>
                {
                    arguments.program.push(word);
                    continue;
                }
                Arg::Value(profile) if has_profile && arguments.profile.is_none() => {
                    arguments.profile = Some(profile);
                    continue;
                }
                Arg::Value(_) if verb == Verb::Exec => {
                    return Err(usage("exec: unexpected argument; the program comes after --"));
                }
                Arg::Value(_) => return Err(usage("unexpected argument; a secret is never given on the command line")),
            };
            let value = match row.kind {
                Kind::Flag => Value::Bool(true),
                _ => text(&name, parser.value().map_err(|_| usage(format!("{shown} needs a value")))?)?,
            };
            arguments.set(&name, row.kind, value)?;
        }
    }

    fn set(&mut self, option: &str, kind: Kind, value: Value) -> Result<(), Error> {
        let member = option.replace('-', "_");
        let value = match (kind, value) {
            (
                Kind::Text | Kind::Flag | Kind::Secret | Kind::OwnSecret | Kind::Credential | Kind::Path | Kind::Json,
                value,
            ) => value,
            // The text is not shown: it may be a secret.
            (Kind::Duration, Value::String(text)) => match words::duration(&text) {
                Some(_) => Value::String(text),
                None => return Err(usage(format!("--{option}: must be {}", words::DURATION))),
            },
            (Kind::Number, Value::String(text)) => match text.parse() {
                Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Value::Number(Number::U64(number)),
                _ => return Err(usage(format!("--{option}: must be a whole number"))),
            },
            (Kind::Texts, value) => {
                let mut texts = match self.options.remove(&member) {
                    Some(Value::Array(texts)) => texts,
                    _ => Array::new(),
                };
                texts.push(value);
                Value::Array(texts)
            }
            (Kind::Pairs(joint) | Kind::SecretPairs(joint), Value::String(text)) => {
                let Some((name, value)) = text.split_once(joint) else {
                    // The text is not shown: it may be a secret.
                    return Err(usage(format!("--{option}: must be NAME{joint}VALUE")));
                };
                let mut pairs = match self.options.remove(&member) {
                    Some(Value::Object(pairs)) => pairs,
                    _ => Object::new(),
                };
                let value = Value::String(if joint == ':' { value.trim() } else { value }.to_owned());
                // A single value is a text, several are a list.
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
            (Kind::Duration | Kind::Number | Kind::Pairs(_) | Kind::SecretPairs(_), other) => other,
        };
        let is_repeatable = matches!(kind, Kind::Texts | Kind::Pairs(_) | Kind::SecretPairs(_) | Kind::Flag);
        if self.options.insert(member, value).is_some() && !is_repeatable {
            return Err(usage(format!("--{option} is given twice")));
        }
        Ok(())
    }
}

/// Returns the format that the command line asks for, even if the rest of it is wrong.
pub(crate) fn requested_format() -> Format {
    match requested() {
        Requested::Format(word) => word.to_str().and_then(Format::from_name).unwrap_or(Format::Token),
        Requested::Profiles(_) => Format::Token,
    }
}

/// Returns whether `--error-to stdout` is given, even if the rest is wrong.
pub(crate) fn is_error_to_stdout() -> bool {
    let words: Vec<OsString> = std::env::args_os().take_while(|word| word != "--").collect();
    // A single fetch of bench reports to its parent process.
    if words.get(2).is_some_and(|word| word == "--single") {
        return false;
    }
    words.iter().any(|word| word == "--error-to=stdout") || words.windows(2).any(|two| two == ["--error-to", "stdout"])
}

/// The format that the command line asks for, as far as it can be understood.
pub(crate) enum Requested {
    /// The named format. It counts even if the rest is wrong, because curl must not send a request without a token.
    Format(OsString),
    /// No format is named. One of these words may be a token's profile, which can name it. The flag says that the word
    /// can be nothing else: a word after an unknown option may be that option's value.
    Profiles(Vec<(OsString, bool)>),
}

pub(crate) fn requested() -> Requested {
    let verb = std::env::args_os().nth(1).unwrap_or_default();
    // An unknown verb was probably meant for `token`, or is the profile of a `token` that was forgotten.
    let is_wrong = !verb.as_encoded_bytes().starts_with(b"-") && !VERBS.iter().any(|(known, ..)| verb == *known);
    let is_token = is_wrong || verb == "token";
    let is_exec = verb == "exec";
    let (mut format, mut profiles) = (None::<OsString>, Vec::new());
    let mut is_known = true;
    let mut words = std::env::args_os().skip(1 + usize::from(is_token));
    if is_wrong {
        profiles.push((verb, false));
    }
    while let Some(word) = words.next() {
        if is_exec && word == "--" {
            break;
        }
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
        let known = options::option(Verb::Token, name);
        is_known = known.is_some() || value.is_some();
        let takes_value = known.is_some_and(|row| row.kind != Kind::Flag);
        let value = value.or_else(|| if takes_value { words.next() } else { None });
        if name == "format" && format.as_ref().is_none_or(|format| format != "curl") {
            // An option without a value may have been meant for curl.
            format = Some(value.unwrap_or_else(|| "curl".into()));
        }
    }
    match format {
        // The output is the program's, so no error in curl's format would be read.
        Some(format) if !is_exec || format == "json" => Requested::Format(format),
        _ => Requested::Profiles(if is_token { profiles } else { Vec::new() }),
    }
}

fn text(option: &str, value: OsString) -> Result<Value, Error> {
    match value.string() {
        Ok(text) => Ok(Value::String(text)),
        Err(_) => Err(usage(format!("--{option}: the value is not UTF-8 text"))),
    }
}

fn verb(word: &OsStr) -> Result<Verb, Error> {
    // An unknown word is shown only if it resembles a verb: it may be a misplaced secret.
    let word = word.to_str().unwrap_or_default();
    if let Some((_, verb, ..)) = VERBS.iter().find(|(name, ..)| *name == word) {
        return Ok(*verb);
    }
    Err(match words::nearest(word, VERBS.iter().map(|(name, ..)| *name)) {
        Some(verb) => usage(format!("unknown command {word:?}; did you mean {verb:?}?")),
        None => usage(format!("unknown command; the commands are {}", verbs())),
    })
}

fn verbs() -> String {
    VERBS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
}

fn topic(word: &OsStr) -> Result<Topic, Error> {
    let word = word.to_str().unwrap_or_default();
    let of_verbs = VERBS.iter().map(|(name, verb, ..)| (*name, Topic::Verb(*verb)));
    let topics: Vec<_> = of_verbs.chain(TOPICS.iter().copied()).collect();
    if let Some((_, topic)) = topics.iter().find(|(name, _)| *name == word) {
        return Ok(*topic);
    }
    Err(match words::nearest(word, topics.iter().map(|(name, _)| *name)) {
        Some(topic) => usage(format!("help: unknown topic {word:?}; did you mean {topic:?}?")),
        None => usage(format!("help: unknown topic; the topics are {}, profile and exit-codes", verbs())),
    })
}

fn unknown(option: &str, verb: Verb) -> Error {
    let error = |nearest: &str| usage(format!("unknown option --{option}{nearest}"));
    if options::secret(option).is_some() {
        return error("")
            .with_hint(format!("everyone can read argument lists: put it into a file and use --{option}-file"));
    }
    let known = options::rows().filter(|row| row.is_option_of(verb) && !row.is_hidden());
    let known: Vec<String> = known.flat_map(options::Row::names).collect();
    match words::nearest(option, known.iter().map(String::as_str)) {
        Some(known) => error(&format!("; did you mean --{known}?")),
        None => error(""),
    }
}

/// Converts an error of lexopt. Its own message is not shown: it repeats the arguments, which may hold a secret.
fn wrong(error: lexopt::Error) -> Error {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => usage(format!("{option} takes no value")),
        lexopt::Error::MissingValue { option: Some(option) } => usage(format!("{option} needs a value")),
        _ => usage("the command line cannot be read"),
    }
}

pub(crate) fn usage(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, format!("usage: {}", message.as_ref()))
        .with_hint("`keyfob help` lists the commands and options")
}
