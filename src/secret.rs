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

/// A text that is wiped when it is dropped. Only [`expose`](Secret::expose) shows it.
///
/// It implements neither `Display` nor `Clone`, comparison or serialisation. [Security](crate::docs::security) says what
/// wiping guarantees and what it does not.
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

    /// Reads a secret to its end, for example from standard input or a socket, and removes one line end there. `origin` names
    /// the reader in errors. The buffer has its final size from the start, so no copy of the secret stays behind.
    ///
    /// ```
    /// use keyfob::Secret;
    ///
    /// let secret = Secret::read_from(&b"hunter2\n"[..], "standard input")?;
    /// assert_eq!(secret.expose(), "hunter2");
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if it cannot be read, is empty, is not UTF-8, holds a NUL, begins with a byte-order
    /// mark, or is longer than 64 KiB.
    #[cfg(feature = "std")]
    pub fn read_from(reader: impl std::io::Read, origin: &str) -> Result<Self, Error> {
        read::read_text(reader, read::MAX_SECRET).map_err(|why| Error::config(format!("{origin}: {why}")))
    }

    /// Returns the text. To find every use of a secret in your code, search for this name.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Takes ownership of the string without a copy, and wipes it when the secret is dropped, including its spare capacity.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Copies the text. The caller must wipe the original.
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

/// The text of a secret, which dereferences to `&str`. [`SecretSource::expose`] returns it. A text that was read from a file,
/// a variable or a provider is wiped when this value is dropped.
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
