//! Values that mean a refusal in spite of a success status.

use crate::error::Error;
use crate::json::{self, Kind};
use crate::place::{self, Place};
use crate::transport::ResponseHeaders;
use alloc::format;
use alloc::string::String;
use core::fmt;
use miniserde::json::Value;

/// A place with the value that means a refusal or, with `is_not`, the only value that does not.
pub(crate) struct RefusedIf {
    place: Place,
    is_not: bool,
    kind: Kind,
    /// A string's text, or anything else as JSON.
    text: String,
}

impl RefusedIf {
    /// Takes a place and a JSON value: `false`, `"error"`, `{"not": 0}`.
    pub(crate) fn new(place: impl Into<String>, value: &str) -> Result<Self, Error> {
        let place = Place::of_member("refused_if", place)?;
        // keyfob's own reader reads only members of objects.
        let document = format!("{{\"v\":{value}}}");
        let other = place::find(document.as_bytes(), "v.not");
        let span = other.or_else(|| place::find(document.as_bytes(), "v"));
        let span = span.filter(|span| !matches!(span.kind, Kind::Object | Kind::Array));
        let text = span.and_then(|span| Some((span.kind, json::text(document.as_bytes(), span, false)?)));
        // An object must have `not` as its only member.
        let is_alone = match miniserde::json::from_str(value) {
            Ok(Value::Object(members)) => members.len() == 1,
            _ => true,
        };
        let Some((kind, text)) = text.filter(|_| is_alone) else {
            return Err(Error::config(format!(
                "`refused_if.{place}`: this must be a string, a number, true, false or null, or one of these as {{\"not\": VALUE}}"
            )));
        };
        Ok(Self { place, is_not: other.is_some(), kind, text: text.expose().into() })
    }

    /// Returns whether an answer has the value in the place or, with `not`, another one.
    pub(crate) fn matches(&self, headers: &ResponseHeaders, body: &[u8]) -> bool {
        let found = self.place.text(headers, body);
        found.is_some_and(|(kind, text)| (kind == self.kind && text.expose() == self.text) != self.is_not)
    }

    /// Returns the parts for the identity of a request.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn parts(&self) -> (&Place, [bool; 2], &str) {
        (&self.place, [self.is_not, self.kind == Kind::String], &self.text)
    }
}

/// Shows the condition. It comes from the description, not from the server, so it may be shown.
impl fmt::Display for RefusedIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}{}", self.place, if self.is_not { "not " } else { "" }, self.text)
    }
}
