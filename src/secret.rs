//! Secrets, and where they come from.

#[cfg(feature = "std")]
mod read;
mod source;

#[cfg(feature = "std")]
use crate::error::Error;
use crate::text::REDACTED;
#[cfg(feature = "std")]
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::Deref;
use zeroize::Zeroizing;

#[cfg(all(feature = "std", unix))]
pub(crate) use read::MAX_SECRET;
#[cfg(feature = "std")]
pub(crate) use read::io_reason;
pub use source::SecretSource;
#[cfg(all(feature = "std", unix))]
pub(crate) use source::{Identity, RefreshFile, Report};

/// A text that is wiped when it is dropped, and shown by nothing but [`expose`](Secret::expose).
///
/// There is no `Display`, no `Clone`, no comparison and no serialisation.
///
/// ```
/// use keyfob::Secret;
///
/// let secret = Secret::from("hunter2");
/// assert_eq!(secret.expose(), "hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret(‹redacted›)");
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Reads a secret to its end, without one line end there: from standard input, a socket. `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where it cannot be read, is empty, not UTF-8 or longer than 64 KiB.
    #[cfg(feature = "std")]
    pub fn read_from(reader: impl std::io::Read, origin: &str) -> Result<Self, Error> {
        read::read_text(reader, read::MAX_SECRET).map_err(|why| Error::config(format!("{origin}: {why}")))
    }

    /// Returns the text itself. Every use of a secret is found by a search for this name.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Takes the string over, spare capacity included, and wipes all of it later.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Makes a copy; the original is the caller's to wipe.
impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({REDACTED})")
    }
}

/// A secret in use: see [`SecretSource::expose`].
pub struct Exposed<'a>(Text<'a>);

enum Text<'a> {
    Borrowed(&'a str),
    Read(Secret),
}

impl<'a> Exposed<'a> {
    pub(crate) fn borrowed(text: &'a str) -> Self {
        Self(Text::Borrowed(text))
    }

    pub(crate) fn read(secret: Secret) -> Self {
        Self(Text::Read(secret))
    }
}

impl Exposed<'_> {
    pub(crate) fn into_secret(self) -> Secret {
        match self.0 {
            Text::Borrowed(text) => Secret::from(text),
            Text::Read(secret) => secret,
        }
    }
}

impl Deref for Exposed<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Borrowed(text) => text,
            Text::Read(secret) => secret.expose(),
        }
    }
}

impl fmt::Debug for Exposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exposed({REDACTED})")
    }
}
