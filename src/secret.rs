//! Secrets, and where they come from.

use crate::error::Error;
use crate::text::REDACTED;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::Deref;
#[cfg(feature = "std")]
use std::path::PathBuf;
use zeroize::Zeroizing;

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

    /// Reads a secret to its end, less one line end: standard input, a socket. `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where it cannot be read, is empty, not UTF-8 or longer than 64 KiB.
    #[cfg(feature = "std")]
    pub fn read_from(reader: impl std::io::Read, origin: &str) -> Result<Self, Error> {
        read_text(reader, MAX_SECRET).map_err(|why| Error::config(format!("{origin}: {why}")))
    }

    /// The text itself. Every use of a secret is found by a search for this name.
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

/// Where a secret comes from. It is read again for each request, so that a rotated one needs no restart.
///
/// A plain text does not become a source by itself, since it could be a path or the name of a variable: say which
/// with [`file`](SecretSource::file), [`environment`](SecretSource::environment) or [`value`](SecretSource::value).
///
/// ```no_run
/// use keyfob::SecretSource;
///
/// let rotated_by_somebody = SecretSource::file("/run/credentials/my.service/secret");
/// let set_by_the_shell = SecretSource::environment("CLIENT_SECRET");
/// let in_the_program = SecretSource::value("hunter2");
/// ```
pub struct SecretSource(Source);

enum Source {
    Value(Secret),
    Provider(Box<Provider>),
    /// One whose value is told apart from others by this text.
    #[cfg(all(feature = "std", unix))]
    Identified(Box<SecretSource>, Secret),
    #[cfg(feature = "std")]
    File(PathBuf),
    /// A refresh token's file: each new one is written back.
    #[cfg(all(feature = "std", unix))]
    Rotated(RefreshFile),
    #[cfg(feature = "std")]
    Environment(String),
}

/// Called with the error where a new refresh token is safe, but not in its place.
#[cfg(all(feature = "std", unix))]
pub(crate) type Report = dyn Fn(&Error) + Send + Sync;

/// The file of a refresh token, and what is called when a new one could not be put into it.
#[cfg(all(feature = "std", unix))]
pub(crate) struct RefreshFile {
    pub(crate) path: PathBuf,
    pub(crate) report: Option<alloc::sync::Arc<Report>>,
}

type Provider = dyn Fn() -> Result<Secret, Error> + Send + Sync;

/// Longer secrets are refused: a file of this size was named by mistake.
#[cfg(feature = "std")]
pub(crate) const MAX_SECRET: usize = 64 * 1024;

impl SecretSource {
    /// Holds the secret itself. Prefer [`file`](SecretSource::file): what is compiled in cannot be rotated.
    pub fn value(secret: impl Into<Secret>) -> Self {
        Self(Source::Value(secret.into()))
    }

    /// Asks `provider` each time: flash memory, a security chip, a vault.
    ///
    /// ```
    /// use keyfob::{Secret, SecretSource};
    ///
    /// let source = SecretSource::provider(|| Ok(Secret::from("read from the chip")));
    /// ```
    pub fn provider(provider: impl Fn() -> Result<Secret, Error> + Send + Sync + 'static) -> Self {
        Self(Source::Provider(Box::new(provider)))
    }

    /// Reads a file, less one line end at its end. It must be UTF-8, not empty and at most 64 KiB long. A pipe is read to
    /// its end, which must come within 30 s; a device is refused.
    #[cfg(feature = "std")]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Reads an environment variable, less one line end at its end. It must be UTF-8 and not empty.
    ///
    /// What comes by the environment stands in the process's memory for life, where keyfob cannot wipe it, and is
    /// handed on to every child. A file is better.
    #[cfg(feature = "std")]
    pub fn environment(name: impl Into<String>) -> Self {
        Self(Source::Environment(name.into()))
    }

    /// Sets a text that stands for this secret where a token's identity is made. Default: the secret itself.
    ///
    /// A [`Store`](crate::Store) hands a token on to those alone who would send the same request, secrets included. A provider
    /// that signs a new assertion for each request never sends the same one: name the key that it signs with, and whatever
    /// else the assertion says about who asks. Two sources with the same identity share each other's tokens.
    ///
    /// ```
    /// use keyfob::{Grant, Secret, SecretSource};
    ///
    /// # fn sign() -> Secret { Secret::from("header.claims.signature") }
    /// let assertion = SecretSource::provider(|| Ok(sign())).identity("key 2026-11, issuer my-service");
    /// let grant = Grant::extension("urn:ietf:params:oauth:grant-type:jwt-bearer").secret_parameter("assertion", assertion);
    /// ```
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn identity(self, text: impl Into<Secret>) -> Self {
        Self(Source::Identified(Box::new(self), text.into()))
    }

    /// The text that stands for the secret, where it has one.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn own_identity(&self) -> Option<&Secret> {
        match &self.0 {
            Source::Identified(_, identity) => Some(identity),
            _ => None,
        }
    }

    /// A file with a refresh token, which is rewritten when the server hands out a new one.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn rotated(file: RefreshFile) -> Self {
        Self(Source::Rotated(file))
    }

    /// The file that a new one is written back to.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn rotated_file(&self) -> Option<&RefreshFile> {
        match &self.0 {
            Source::Rotated(file) => Some(file),
            Source::Identified(source, _) => source.rotated_file(),
            _ => None,
        }
    }

    /// The secret as it is now: borrowed where it is held, else read, and wiped when this is dropped.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where a file or a variable is missing, empty, too long or not UTF-8;
    /// whatever a provider returns.
    pub fn expose(&self) -> Result<Exposed<'_>, Error> {
        match &self.0 {
            Source::Value(secret) => Ok(Exposed::borrowed(secret.expose())),
            Source::Provider(provider) => provider().map(Exposed::read),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.expose(),
            #[cfg(feature = "std")]
            Source::File(path) => read_file(path).map(Exposed::read),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => read_file(path).map(Exposed::read),
            #[cfg(feature = "std")]
            Source::Environment(name) => read_environment(name).map(Exposed::read),
        }
    }

    /// The secret as it is now, where RFC 6749 appendix A makes it one line of text: the client secret, a password, a
    /// token. A control character in it is always a mistake, mostly a second line end, which would be sent encoded.
    /// `what` is the secret's name in messages.
    pub(crate) fn expose_line(&self, what: &str) -> Result<Exposed<'_>, Error> {
        let secret = self.expose()?;
        // Of the control characters only a password may hold one: a tab (RFC 6749 appendix A).
        let is_wrong = |c: char| c.is_ascii_control() && !(c == '\t' && what == "password");
        let Some((offset, c)) = secret.char_indices().find(|(_, c)| is_wrong(*c)) else { return Ok(secret) };
        let kind = match c {
            '\n' | '\r' => "a line end",
            '\t' => "a tab",
            _ => "a control character",
        };
        let origin = self.origin().unwrap_or_else(|| format!("the {what}"));
        Err(Error::config(format!("{origin}: byte {offset} is {kind}, which a {what} cannot hold"))
            .with_hint("take it out; only a single line end at the very end of a file or variable is ignored"))
    }

    /// The place that it is read from, for messages. None where it is held or provided.
    fn origin(&self) -> Option<String> {
        match &self.0 {
            Source::Value(_) | Source::Provider(_) => None,
            #[cfg(feature = "std")]
            Source::File(path) => Some(file_origin(path)),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => Some(file_origin(path)),
            #[cfg(feature = "std")]
            Source::Environment(name) => Some(format!("environment variable {name}")),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.origin(),
        }
    }
}

/// A file as messages name it: with its whole path, since the current directory is often not the expected one.
#[cfg(feature = "std")]
fn file_origin(path: &std::path::Path) -> String {
    let whole = std::path::absolute(path);
    format!("secret file {}", whole.as_deref().unwrap_or(path).display())
}

/// As [`SecretSource::value`].
impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::value(secret)
    }
}

/// As [`SecretSource::value`]: the text is the secret, not a path. It is taken over and wiped later.
impl From<String> for SecretSource {
    fn from(text: String) -> Self {
        Self::value(text)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Value(secret) => secret.fmt(f),
            Source::Provider(_) => f.write_str("Provider"),
            #[cfg(all(feature = "std", unix))]
            Source::Identified(source, _) => source.fmt(f),
            #[cfg(feature = "std")]
            Source::File(path) => f.debug_tuple("File").field(path).finish(),
            #[cfg(all(feature = "std", unix))]
            Source::Rotated(RefreshFile { path, .. }) => f.debug_tuple("Rotated").field(path).finish(),
            #[cfg(feature = "std")]
            Source::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
        }
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

    fn read(secret: Secret) -> Self {
        Self(Text::Read(secret))
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

#[cfg(feature = "std")]
fn read_file(path: &std::path::Path) -> Result<Secret, Error> {
    let fail = |why: &str| Error::config(format!("{}: {why}", file_origin(path)));
    let open = || {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = open().map_err(|error: std::io::Error| fail(&io_reason(&error)).with_source(error))?;
    if metadata.is_dir() {
        return Err(fail("it is a directory"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(fail("it is a device"));
        }
        if kind.is_fifo() {
            return read_text(Patient(file), MAX_SECRET).map_err(|why| fail(&why));
        }
    }
    if metadata.len() > MAX_SECRET as u64 {
        return Err(fail("it is longer than 64 KiB, so it cannot be a secret"));
    }
    // A pipe does not tell its length; a file does, and the buffer then has its final size.
    let size = if metadata.is_file() { metadata.len() as usize } else { MAX_SECRET };
    read_text(file, size).map_err(|why| fail(&why))
}

#[cfg(all(feature = "std", not(unix)))]
fn open_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}

/// Opens it without waiting for somebody at the other end of a pipe.
#[cfg(all(feature = "std", unix))]
fn open_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// A pipe whose other end takes its time, but not for ever.
#[cfg(all(feature = "std", unix))]
struct Patient(std::fs::File);

#[cfg(all(feature = "std", unix))]
impl Patient {
    const NAP: core::time::Duration = core::time::Duration::from_millis(5);
    const NAPS: u32 = 6000;
}

#[cfg(all(feature = "std", unix))]
impl std::io::Read for Patient {
    /// Waits for the first writer too: a pipe that nobody has opened yet reads like one that has ended.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, poll};
        for _ in 0..Self::NAPS {
            match self.0.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) => {
                    // It has ended only if there was somebody.
                    let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
                    let nothing = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
                    if poll(&mut descriptors, Some(&nothing)).is_ok_and(|count| count > 0) {
                        return Ok(0);
                    }
                }
                result => return result,
            }
            std::thread::sleep(Self::NAP);
        }
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

/// Reads a secret of at most `size` bytes, less one line end at its end, without ever growing a buffer.
#[cfg(feature = "std")]
fn read_text(mut reader: impl std::io::Read, size: usize) -> Result<Secret, String> {
    // One byte more than expected, to see the end.
    let mut bytes = Zeroizing::new(alloc::vec![0; size + 1]);
    let mut length = 0;
    loop {
        match reader.read(&mut bytes[length..]) {
            Ok(0) if length > size => return Err("it is longer than 64 KiB, or grew while it was read".into()),
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_reason(&error)),
        }
    }
    text(&bytes[..length])
}

/// A secret's text, less one line end at its end.
#[cfg(feature = "std")]
fn text(bytes: &[u8]) -> Result<Secret, String> {
    let text = bytes.strip_suffix(b"\n").map_or(bytes, |text| text.strip_suffix(b"\r").unwrap_or(text));
    match core::str::from_utf8(text) {
        Ok("") => Err("it is empty".into()),
        Ok(text) if text.starts_with('\u{FEFF}') => Err("it begins with a byte-order mark: save it without one".into()),
        Ok(text) if text.contains('\0') => Err("it holds a NUL, so it is not text".into()),
        Ok(text) => Ok(Secret::from(text)),
        Err(_) => Err("it is not UTF-8 text".into()),
    }
}

#[cfg(feature = "std")]
fn read_environment(name: &str) -> Result<Secret, Error> {
    let fail = |why: &str| Error::config(format!("environment variable {name}: {why}"));
    let value = std::env::var_os(name).ok_or_else(|| fail("it is not set"))?;
    text(&Zeroizing::new(value.into_encoded_bytes())).map_err(|why| fail(&why))
}

#[cfg(feature = "std")]
const ENFILE: i32 = 23;
#[cfg(feature = "std")]
const EMFILE: i32 = 24;

/// Why an operation on a file failed, in lower case and without the operating system's error number.
#[cfg(feature = "std")]
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a directory".into(),
        // What has no kind of its own in `std`.
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => "too many files are open".into(),
        kind => format!("{kind}"),
    }
}

/// A name with a plain or a secret value: a parameter or a header that the user adds.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: FieldValue,
    /// In JSON it is an array's element even if there is no other of its name.
    pub(crate) is_list: bool,
}

pub(crate) enum FieldValue {
    Plain(String),
    Secret(SecretSource),
    /// A secret of one line, as RFC 6749 appendix A has it.
    Line(SecretSource),
}

impl Field {
    pub(crate) fn plain(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: FieldValue::Plain(value.into()), is_list: false }
    }

    pub(crate) fn secret(name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        Self { name: name.into(), value: FieldValue::Secret(value.into()), is_list: false }
    }

    pub(crate) fn line(name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        Self { name: name.into(), value: FieldValue::Line(value.into()), is_list: false }
    }

    pub(crate) fn expose(&self) -> Result<Exposed<'_>, Error> {
        match &self.value {
            FieldValue::Plain(text) => Ok(Exposed::borrowed(text)),
            FieldValue::Secret(source) => source.expose(),
            FieldValue::Line(source) => source.expose_line(&self.name.replace('_', " ")),
        }
    }

    /// Where its value comes from, if that is secret.
    pub(crate) fn secret_source(&self) -> Option<&SecretSource> {
        match &self.value {
            FieldValue::Plain(_) => None,
            FieldValue::Secret(source) | FieldValue::Line(source) => Some(source),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            FieldValue::Plain(text) => write!(f, "{}: {text:?}", self.name),
            FieldValue::Secret(source) | FieldValue::Line(source) => write!(f, "{}: {source:?}", self.name),
        }
    }
}
