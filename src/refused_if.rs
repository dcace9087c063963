//! Values that say no under a status of success.

use crate::error::Error;
use crate::json::{self, Kind};
use crate::place::{self, Place};
use crate::transport::ResponseHeaders;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// A place, and the value that says no if it is there.
pub(crate) struct RefusedIf {
    place: Place,
    kind: Kind,
    /// A string's text, or anything else as JSON.
    text: String,
}

impl RefusedIf {
    /// Takes a place and a JSON value: `false`, `"error"`, `1`.
    pub(crate) fn new(place: impl Into<String>, value: &str) -> Result<Self, Error> {
        let place = Place::of_member("refused_if", place)?;
        // Our own reader reads objects.
        let document = format!("{{\"v\":{value}}}");
        let span = place::find(document.as_bytes(), "v");
        let span = span.filter(|span| !matches!(span.kind, Kind::Object | Kind::Array));
        let text = span.and_then(|span| Some((span.kind, json::text(document.as_bytes(), span, false)?)));
        let Some((kind, text)) = text else {
            return Err(Error::config(format!(
                "`refused_if.{place}`: this must be a string, a number, true, false or null"
            )));
        };
        Ok(Self { place, kind, text: text.expose().into() })
    }

    /// Whether an answer has the value in the place.
    pub(crate) fn matches(&self, headers: &ResponseHeaders, body: &[u8]) -> bool {
        self.place.text(headers, body).is_some_and(|(kind, text)| kind == self.kind && text.expose() == self.text)
    }

    /// Each part, for an identity.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn parts(&self) -> (&Place, bool, &str) {
        (&self.place, self.kind == Kind::String, &self.text)
    }
}

/// Shows the condition: it is the description's, and not the server's.
impl fmt::Display for RefusedIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}", self.place, self.text)
    }
}
