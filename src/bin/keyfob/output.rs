//! Output: one answer on standard output, messages on standard error.

use crate::format::Format;
use crate::{process, stderr};
use keyfob::{Error, ErrorKind};
use miniserde::{Serialize, json};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

#[derive(Serialize)]
struct RevokedAnswer {
    revoked: bool,
}

#[derive(Serialize)]
struct ForgottenAnswer {
    forgotten: bool,
}

/// Prints whether there was anything to forget.
pub(crate) fn forgotten(forgotten: bool, format: Format) -> Result<(), Error> {
    line(match (format, forgotten) {
        (Format::Json, _) => return line(&to_json(&ForgottenAnswer { forgotten })),
        (_, true) => "forgotten",
        (_, false) => "nothing to forget",
    })
}

/// Prints whether there was a token to revoke.
pub(crate) fn revoked(revoked: bool, format: Format) -> Result<(), Error> {
    line(match (format, revoked) {
        (Format::Json, _) => return line(&to_json(&RevokedAnswer { revoked })),
        (_, true) => "revoked",
        (_, false) => "nothing to revoke",
    })
}

/// Returns JSON on one line that cannot deceive a terminal: miniserde escapes the characters that JSON requires, and
/// all other hidden characters can only be inside strings.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let text = json::to_string(value);
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FFF9}'..='\u{FFFB}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
    };
    if !text.contains(is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns the reason of a failed read or write in plain words.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        io::ErrorKind::StorageFull => "no space left".to_owned(),
        kind => kind.to_string(),
    }
}

/// Writes one line to standard output, without std's buffer, which would keep a copy of the token.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    check_stdout()?;
    let write = || {
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut line = String::with_capacity(text.len() + 1);
        line.push_str(text);
        line.push('\n');
        stdout.write_all(line.as_bytes())
    };
    write().map_err(|error| {
        Error::new(ErrorKind::Internal, format!("standard output: {}", reason(&error))).with_source(error)
    })
}

/// Returns an error if the process was started without a standard output.
pub(crate) fn check_stdout() -> Result<(), Error> {
    match process::is_stdout_closed() {
        true => Err(Error::new(ErrorKind::Internal, "standard output is closed")),
        false => Ok(()),
    }
}

/// Writes one line to standard error.
pub(crate) fn note(text: &str) {
    stderr::line(text);
}
