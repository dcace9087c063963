//! Places of values in an answer.

use crate::error::Error;
use crate::json::{self, Kind, Span, Wanted};
use crate::secret::Secret;
use crate::transport::ResponseHeaders;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// The place of a value in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Names and array indices joined by dots: `data.0.token`.
    Path(Cow<'static, str>),
    /// The whole body.
    Body,
    /// A header by its name.
    Header(String),
    /// A cookie by its name, in a `Set-Cookie` header (RFC 6265 section 4.1).
    Cookie(String),
}

/// A header or cookie that occurs with two different values.
pub(crate) struct Ambiguous;

impl Place {
    /// Parses `data.0.token`, `header:NAME`, `cookie:NAME`, or an empty text for the whole body. An error names the
    /// description's `member`.
    pub(crate) fn parse(member: &str, text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.is_empty() {
            return Ok(Self::Body);
        }
        let named = |prefix: &str| text.strip_prefix(prefix).map(|name| (is_name(name), String::from(name)));
        match (named("header:"), named("cookie:")) {
            (Some((true, name)), _) => Ok(Self::Header(name)),
            (_, Some((true, name))) => Ok(Self::Cookie(name)),
            (Some(_), _) | (_, Some(_)) => {
                Err(Error::config(format!("{member}: {text:?} does not name a header or a cookie")))
            }
            _ if text.split('.').any(str::is_empty) || text.split('.').count() > json::MAX_PATH => {
                Err(Error::config(format!("{member}: {text:?} is not a path: names joined by dots, at most 8")))
            }
            _ => Ok(Self::Path(text.into())),
        }
    }

    /// Parses like [`parse`](Place::parse), but refuses the whole body, which only the token can be.
    pub(crate) fn of_member(member: &str, text: impl Into<String>) -> Result<Self, Error> {
        match Self::parse(member, text)? {
            Self::Body => {
                Err(Error::config(format!("{member}: \"\" is the whole body, which only the access token can be")))
            }
            place => Ok(place),
        }
    }

    /// Returns the path in the body. For any other place it is empty, which is never found.
    pub(crate) fn path(&self) -> &str {
        if let Self::Path(path) = self { path } else { "" }
    }

    /// Returns whether the path goes through an object or array.
    pub(crate) fn is_nested(&self) -> bool {
        self.path().contains('.') || self.starts_in_array()
    }

    /// Returns whether the path may start at an array.
    pub(crate) fn starts_in_array(&self) -> bool {
        json::is_index(json::first_name(self.path()))
    }

    /// Returns the value from the headers, if the place is there. An empty value counts as none, because it removes a
    /// cookie.
    pub(crate) fn in_headers<'h>(&self, headers: &'h ResponseHeaders) -> Result<Option<&'h str>, Ambiguous> {
        match self {
            Self::Path(_) | Self::Body => Ok(None),
            Self::Header(name) => one_of(headers.all(name)),
            Self::Cookie(name) => one_of(headers.all("set-cookie").filter_map(|cookie| {
                let (found, value) = cookie.split(';').next()?.split_once('=')?;
                (found.trim() == name).then_some(value)
            })),
        }
    }

    /// Returns a decoded copy of the value: a string's text, or any other value as JSON. None if it is `null` or
    /// ambiguous.
    pub(crate) fn text(&self, headers: &ResponseHeaders, body: &[u8]) -> Option<(Kind, Secret)> {
        match self {
            Self::Path(path) => {
                let span = find(body, path)?;
                Some((span.kind, json::text(body, span, true)?))
            }
            _ => Some((Kind::String, self.in_headers(headers).ok()??.into())),
        }
    }
}

/// Shows the place in the notation of [`Place::parse`].
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Body => Ok(()),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// Finds the value at a path in a JSON text.
pub(crate) fn find(body: &[u8], path: &str) -> Option<Span> {
    let mut wanted = [Wanted::new(path)];
    json::scan(body, &mut wanted).ok().filter(|found| found.twice.is_none())?;
    wanted[0].span
}

/// Returns whether this can be the name of a header or a cookie: a token of RFC 9110 section 5.6.2.
pub(crate) fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

fn one_of<'h>(values: impl Iterator<Item = &'h str>) -> Result<Option<&'h str>, Ambiguous> {
    let mut values = values.map(str::trim).filter(|value| !value.is_empty());
    let first = values.next();
    if values.any(|value| Some(value) != first) { Err(Ambiguous) } else { Ok(first) }
}
