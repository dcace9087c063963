//! The command's arguments and profiles, by the command's own modules. Nothing panics, an error is one line, and what was
//! given in a secret's place is not in it.

#![no_main]
#![allow(dead_code, unreachable_pub)]

extern crate alloc;

#[path = "../../../src/bin/keyfob/arguments.rs"]
mod arguments;
#[path = "../../../src/bin/keyfob/chain.rs"]
mod chain;
#[path = "../../../src/bin/keyfob/connection.rs"]
mod connection;
#[path = "../../../src/bin/keyfob/discovery.rs"]
mod discovery;
#[path = "../../../src/bin/keyfob/failure.rs"]
mod failure;
#[path = "../../../src/bin/keyfob/format.rs"]
mod format;
#[path = "../../../src/bin/keyfob/help.rs"]
mod help;
#[path = "../../../src/bin/keyfob/members.rs"]
mod members;
#[path = "../../../src/bin/keyfob/options.rs"]
mod options;
#[path = "../../../src/bin/keyfob/output.rs"]
mod output;
#[path = "../../../src/bin/keyfob/pipe.rs"]
mod pipe;
#[path = "../../../src/bin/keyfob/profile.rs"]
mod profile;
#[path = "../../../src/bin/keyfob/secrets.rs"]
mod secrets;
#[path = "../../../src/bin/keyfob/settings.rs"]
mod settings;
#[path = "../../../src/bin/keyfob/sign_command.rs"]
mod sign_command;
#[path = "../../../src/bin/keyfob/verbose.rs"]
mod verbose;
#[path = "../../../src/words.rs"]
mod words;

/// Nobody types here.
mod terminal {
    use keyfob::{Error, ErrorKind, Secret};

    pub(crate) fn read_secret(_: std::fs::File, _: &str) -> Result<Secret, Error> {
        Err(Error::new(ErrorKind::Config, "standard input: there is nobody to ask"))
    }
}

/// Its standard output is libFuzzer's.
mod process {
    pub(crate) fn is_stdout_closed() -> bool {
        false
    }
}

/// Nothing is written.
mod stderr {
    pub(crate) fn line(_: &str) {}

    pub(crate) fn for_child() -> std::process::Stdio {
        std::process::Stdio::null()
    }
}

use arguments::{Arguments, Verb};
use keyfob::{Error, ErrorKind};
use keyfob_fuzz::{place, shown};
use libfuzzer_sys::fuzz_target;
use format::Format;
use settings::Settings;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::LazyLock;

/// What stands where a secret may have gone astray.
const SENTINEL: &str = "Zq7-sentinel-7qZ";
const SECRETS: [&str; 5] = ["--client-secret", "--password", "--session-token", "--refresh-token", "--access-token"];
/// What is shown may repeat a name or a path that was given, escaped.
const MOST: usize = 12 * 4096 + 1000;

static PROFILE: LazyLock<PathBuf> = LazyLock::new(|| place("profile.json"));

// A vector of arguments, one a line, and behind a NUL the text of a profile, which every profile's name stands for. A
// byte 2 is the sentinel, where a secret has gone astray.
fuzz_target!(|data: &[u8]| {
    let (words, profile) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let words: Vec<&[u8]> = words.split(|byte| *byte == b'\n').collect();
    let arguments: Vec<OsString> = words
        .iter()
        .enumerate()
        .map(|(index, word)| {
            let text = if is_secret_place(&words, index) { SENTINEL.as_bytes() } else { b"x" };
            let bytes = word.iter().flat_map(|byte| if *byte == 2 { text } else { std::slice::from_ref(byte) });
            OsString::from_vec(bytes.copied().collect())
        })
        .collect();

    let mut format = Format::Token;
    match run(arguments, profile, &mut format) {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
            for text in shown(&error, MOST) {
                assert!(!text.contains(SENTINEL), "{text}");
            }
        }
    }
});

fn run(words: Vec<OsString>, profile: &[u8], format: &mut Format) -> Result<(), Error> {
    let mut arguments = Arguments::read(lexopt::Parser::from_args(words))?;
    if !matches!(arguments.verb, Verb::Token | Verb::Revoke | Verb::Keep) {
        return Ok(());
    }
    // No file but this one is read or made, whatever the options say.
    if arguments.profile.is_some() {
        std::fs::write(&*PROFILE, profile).expect("there is a place in memory");
        arguments.profile = Some(PROFILE.clone().into());
    }
    let mut settings = Settings::read(&arguments, format)?;
    let kept = matches!(arguments.verb, Verb::Keep).then(|| settings.kept_file().map(drop));
    let grant = settings.grant().map(drop);
    let client = settings.client().map(drop);
    kept.unwrap_or(Ok(())).and(grant).and(client)
}

/// Whether a secret that is written here can only be a mistake: as the verb, or as the value of an option that would
/// take it as it is, had keyfob any such.
fn is_secret_place(words: &[&[u8]], index: usize) -> bool {
    // An option before it may take it for its own value, and a bad value is shown.
    let is_taken = |index: usize| {
        let before = index.checked_sub(1).and_then(|index| words.get(index));
        before.is_some_and(|word| word.starts_with(b"--") && !word.contains(&b'='))
    };
    let word = words[index];
    let named = |word: &[u8]| {
        SECRETS.iter().any(|name| word.starts_with(name.as_bytes()) && word.get(name.len()) == Some(&b'='))
    };
    let is_option = |word: &[u8]| SECRETS.iter().any(|name| word == name.as_bytes());
    match index {
        0 => true,
        _ if words[..index].contains(&&b"--"[..]) => false,
        _ if named(word) => !is_taken(index),
        _ => is_option(words[index - 1]) && !is_taken(index - 1),
    }
}
