//! What curl is told where there is no token, also when nobody could read yet that the answer was meant for curl.

use crate::arguments::{self, Requested};
use crate::nearest::nearest;
use crate::output::Format;
use crate::settings;
use miniserde::json::{self, Value};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// The format in which an error is told. It is curl's where the answer may be meant for curl: an empty configuration
/// makes curl send its request without a token.
pub(crate) fn format_of_error(format: Format) -> Format {
    match format {
        Format::Token if may_be_for_curl() && !std::io::stdout().is_terminal() => Format::Curl,
        format => format,
    }
}

fn may_be_for_curl() -> bool {
    match arguments::requested() {
        Requested::Format(word) => is_like_curl(word.to_str()),
        Requested::Profiles(profiles) => profiles.iter().any(|name| may_say_curl(name)),
    }
}

/// Whether a profile says, or may say, that the format is curl's: also one that cannot be found or read.
fn may_say_curl(name: &OsStr) -> bool {
    let Ok(path) = settings::find_profile(Path::new(name)) else { return true };
    // What is no regular file may not be read twice.
    if !path.metadata().is_ok_and(|file| file.is_file()) {
        return true;
    }
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(settings::MAX_PROFILE + 1).read_to_end(&mut text));
    if read.is_err() || text.len() as u64 > settings::MAX_PROFILE {
        return true;
    }
    let text = String::from_utf8_lossy(&text);
    match json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text)) {
        Ok(Value::Object(members)) => match members.get("format") {
            Some(Value::String(word)) => is_like_curl(Some(word)),
            _ => false,
        },
        _ => text.to_ascii_lowercase().contains("curl"),
    }
}

/// Whether this is curl's format, or no format and written like it.
fn is_like_curl(word: Option<&str>) -> bool {
    word.is_some_and(|word| match Format::from_name(word) {
        Some(format) => format == Format::Curl,
        None => nearest(word, &["curl"]).is_some(),
    })
}
