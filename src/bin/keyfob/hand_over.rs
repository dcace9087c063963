//! The answer to curl if there is no token, even if the command line could not be read far enough to know the format.

use crate::arguments::{self, Requested};
use crate::format::Format;
use crate::profile;
use crate::words;
use miniserde::json::{self, Value};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// Returns the format of an error. It is curl's if the answer may be meant for curl, because an empty configuration
/// makes curl send its request without a token.
pub(crate) fn format_of_error(format: Format) -> Format {
    match format {
        Format::Token if may_be_for_curl() && !std::io::stdout().is_terminal() => Format::Curl,
        format => format,
    }
}

fn may_be_for_curl() -> bool {
    match arguments::requested() {
        // A word that is not UTF-8 names no format, so curl's may be meant.
        Requested::Format(word) => word.to_str().is_none_or(is_like_curl),
        Requested::Profiles(profiles) => profiles.iter().any(|(name, surely)| says_curl(name).unwrap_or(*surely)),
    }
}

/// Returns whether a profile sets curl's format. None if it cannot be found or read.
fn says_curl(name: &OsStr) -> Option<bool> {
    let path = profile::find_profile(Path::new(name)).ok()?;
    // Only a regular file can be read a second time.
    path.metadata().ok().filter(|file| file.is_file())?;
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(profile::MAX_PROFILE + 1).read_to_end(&mut text));
    read.ok().filter(|_| text.len() as u64 <= profile::MAX_PROFILE)?;
    let text = String::from_utf8_lossy(&text);
    Some(match json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text)) {
        Ok(Value::Object(members)) => match members.get("format") {
            Some(Value::String(word)) => is_like_curl(word),
            _ => false,
        },
        _ => text.to_ascii_lowercase().contains("curl"),
    })
}

/// Returns whether this is curl's format, or an unknown format with a similar name.
fn is_like_curl(word: &str) -> bool {
    match Format::from_name(word) {
        Some(format) => format == Format::Curl,
        None => words::nearest(word, ["curl"]).is_some(),
    }
}
