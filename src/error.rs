//! What went wrong, sorted by who must act.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;
use zeroize::Zeroize;

/// Who must act: the table in the README has each kind with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Anything else: a mistake in keyfob.
    Internal,
    /// Usage or configuration, or a secret that cannot be read or sent: nothing was sent.
    Config,
    /// The server refused: an OAuth error (RFC 6749 section 5.2), or status 400, 401 or 403 without one.
    Refused,
    /// No connection: name look-up, connect, or a timeout before anything was sent.
    Unreachable,
    /// Cut, stalled or timed out after the request went out: the server may have issued a token.
    OutcomeUnknown,
    /// The answer cannot be used: malformed, no token response, too large, a redirect, any other status.
    Unusable,
    /// The server asks for patience (status 429 or 503), or the first fetch is put off.
    Wait,
    /// The server could not be trusted: its certificate, its name, or any other failure of TLS.
    Untrusted,
}

impl ErrorKind {
    #[cfg(all(feature = "std", unix))]
    const ALL: [Self; 8] = [
        Self::Internal,
        Self::Config,
        Self::Refused,
        Self::Unreachable,
        Self::OutcomeUnknown,
        Self::Unusable,
        Self::Wait,
        Self::Untrusted,
    ];

    /// The kind as it stands in the command's JSON, `outcome_unknown` for example.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Config => "config",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unusable => "unusable",
            Self::Wait => "wait",
            Self::Untrusted => "untrusted",
        }
    }
}

/// An error of any part of keyfob.
///
/// It never holds a secret, a URL's query or a part of an answer's body other than the OAuth error's own texts; where
/// the server echoes a secret that was sent, it is cut out of them. `Display` is one line.
///
/// ```
/// use keyfob::{Endpoint, ErrorKind};
///
/// let error = Endpoint::new("as.example/token").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert_eq!(error.to_string(), "url: it must start with https:// or http://");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    /// The hint repeats what the server said.
    is_hint_servers: bool,
    status: Option<u16>,
    oauth: Option<OAuthError>,
    retry_after: Option<Duration>,
    retryable: bool,
    /// It happened before, and its cause was not tried again.
    is_remembered: bool,
    source: Option<Box<dyn core::error::Error + Send + Sync>>,
}

struct OAuthError {
    code: String,
    description: Option<String>,
}

impl Error {
    /// An error of `kind`, for those who write a [`Transport`](crate::Transport) or a [`SecretSource`](crate::SecretSource).
    ///
    /// `message` says what failed and why, in lower case, and holds no secret. Control characters in it are escaped.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: one_line(message.as_ref()),
            hint: None,
            is_hint_servers: false,
            status: None,
            oauth: None,
            retry_after: None,
            retryable: kind == ErrorKind::Unreachable,
            is_remembered: false,
            source: None,
        }))
    }

    /// Adds what the user can do about it. Control characters in it are escaped.
    #[must_use]
    pub fn with_hint(mut self, hint: impl AsRef<str>) -> Self {
        self.0.hint = Some(one_line(hint.as_ref()));
        self
    }

    /// Adds the error that caused this one. Its texts must be free of secrets.
    #[must_use]
    pub fn with_source(mut self, source: impl core::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error once more, for the next who asks. Its source stays with the first.
    pub(crate) fn repeat(&self) -> Self {
        let Inner {
            kind, message, hint, is_hint_servers, status, oauth, retry_after, retryable, is_remembered, ..
        } = &*self.0;
        Self(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            hint: hint.clone(),
            is_hint_servers: *is_hint_servers,
            status: *status,
            oauth: oauth.as_ref().map(|OAuthError { code, description }| OAuthError {
                code: code.clone(),
                description: description.clone(),
            }),
            retry_after: *retry_after,
            retryable: *retryable,
            is_remembered: *is_remembered,
            source: None,
        }))
    }

    /// The same failure for somebody who asks before `left` has passed, and causes no request.
    pub(crate) fn remembered(mut self, left: Duration) -> Self {
        // What the server asked for says so itself, and asking at once is no advice then.
        if self.0.kind != ErrorKind::Wait {
            let hint = self.0.hint.take().map(|hint| hint + "; ").unwrap_or_default();
            self.0.hint = Some(hint + "`TokenCache::renew` asks at once");
            self.0.is_remembered = true;
        }
        self.with_retry_after(Some(left))
    }

    /// Hands each of its parts to `field`, for a store; [`recall`](Error::recall) makes the same error of them again.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn keep(&self, field: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        let inner = &*self.0;
        field("kind", inner.kind.as_str())?;
        field("message", &inner.message)?;
        if let Some(hint) = &inner.hint {
            field("hint", hint)?;
        }
        if let Some(status) = inner.status {
            field("status", &status.to_string())?;
        }
        if let Some(oauth) = &inner.oauth {
            field("code", &oauth.code)?;
            if let Some(description) = &oauth.description {
                field("description", description)?;
            }
        }
        if inner.retryable { field("retryable", "") } else { Ok(()) }
    }

    /// The error whose parts were kept.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn recall<'t>(field: &dyn Fn(&str) -> Option<&'t str>) -> Option<Self> {
        let kind = field("kind")?;
        let kind = ErrorKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let mut error = Self::new(kind, field("message")?).retryable(field("retryable").is_some());
        error.0.hint = field("hint").map(one_line);
        error.0.status = field("status").and_then(|status| status.parse().ok());
        Some(match field("code") {
            Some(code) => error.with_oauth(code, field("description")),
            None => error,
        })
    }

    pub(crate) fn config(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_oauth(mut self, code: &str, description: Option<&str>) -> Self {
        self.0.oauth = Some(OAuthError { code: code.to_owned(), description: description.map(ToOwned::to_owned) });
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    /// Marks the error as one after which the same request may be sent again.
    pub(crate) fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// A hint that repeats what the server said.
    pub(crate) fn with_server_hint(mut self, hint: impl AsRef<str>) -> Self {
        self.0.is_hint_servers = true;
        self.with_hint(hint)
    }

    /// Cuts `secret` out of the server's texts, where it was echoed, as it is or encoded.
    pub(crate) fn without(mut self, secret: &str) -> Self {
        if let Some(oauth) = &mut self.0.oauth {
            // A registered code is no echo, even of a secret that is a part of it.
            if !CODES.contains(&oauth.code.as_str()) {
                cut(&mut oauth.code, secret);
            }
            oauth.description.iter_mut().for_each(|text| cut(text, secret));
        }
        if self.0.is_hint_servers {
            self.0.hint.iter_mut().for_each(|text| cut(text, secret));
        }
        self
    }

    /// Who must act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the user can do about it, where that is known: one line.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The error code of RFC 6749 section 5.2, as the server sent it: `invalid_client` for example.
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.oauth.as_ref().map(|oauth| oauth.code.as_str())
    }

    /// The server's own explanation, as it sent it: escape control characters before you print it.
    #[must_use]
    pub fn oauth_error_description(&self) -> Option<&str> {
        self.0.oauth.as_ref()?.description.as_deref()
    }

    /// Returns the time before which the server is not asked again: what it asked for (RFC 9110 section 10.2.3), or what
    /// is left of a cache's own wait after an earlier failure.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same request may succeed later, and does no harm if it is sent again.
    ///
    /// True as well for [`ErrorKind::Wait`], but not before [`Error::retry_after`]. A request whose outcome is unknown
    /// is safe to repeat only where asking twice is harmless: not with a refresh token that the server may have rotated.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

pub(crate) const REDACTED: &str = "‹redacted›";

/// The server's texts are cut to this many characters in a message.
const MAX_DESCRIPTION: usize = 300;

const ALMOST_A_SECOND: Duration = Duration::from_nanos(999_999_999);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(oauth) = &self.0.oauth {
            write!(f, ": {}", shorten(&oauth.code))?;
            if let Some(description) = &oauth.description {
                write!(f, " ({})", shorten(description))?;
            }
        }
        match self.0.retry_after.filter(|_| self.0.is_remembered) {
            // Rounded up: who comes earlier is turned away.
            Some(left) => write!(f, "; not asked again for {} s", left.saturating_add(ALMOST_A_SECOND).as_secs()),
            None => Ok(()),
        }
    }
}

/// As `Display`, with the kind and the hint, so that `unwrap()` stays readable.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.kind().as_str())?;
        match self.hint() {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The error codes of RFC 6749 section 5.2, RFC 8628 section 3.5 and RFC 8707 section 2.
const CODES: [&str; 11] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "authorization_pending",
    "slow_down",
    "access_denied",
    "expired_token",
    "invalid_target",
];

/// Replaces each `secret` in `text`, and wipes what stood there.
fn cut(text: &mut String, secret: &str) {
    if secret.is_empty() {
        return;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut found = false;
    while let Some(first) = rest.chars().next() {
        match echo(rest, secret) {
            Some(length) => {
                found = true;
                clean.push_str(REDACTED);
                rest = &rest[length..];
            }
            None => {
                clean.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if found {
        text.zeroize();
        *text = clean;
    } else {
        clean.zeroize();
    }
}

/// The length of `secret` at the start of `text`, each of its characters as it is or [encoded].
fn echo(text: &str, secret: &str) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let first = secret.chars().next()?;
    if !text.starts_with(first) && encoded(text, first).is_none() {
        return None;
    }
    // A percent sign may be one, or begin the encoding of one: both ways are gone, and the longest counts.
    let mut ends = alloc::vec![0];
    for c in secret.chars() {
        let mut next = Vec::new();
        for end in ends {
            let rest = &text[end..];
            let plain = rest.starts_with(c).then(|| c.len_utf8());
            for length in [plain, encoded(rest, c)].into_iter().flatten() {
                if !next.contains(&(end + length)) {
                    next.push(end + length);
                }
            }
        }
        if next.is_empty() {
            return None;
        }
        ends = next;
    }
    ends.into_iter().max()
}

/// The length of `c` at the start of `text`, percent-encoded (in either case), form-encoded, escaped as in JSON or as in
/// HTML.
fn encoded(text: &str, c: char) -> Option<usize> {
    let number = |digits: Option<&str>, radix: u32| u32::from_str_radix(digits?, radix).ok();
    let is_it = |length: usize, number: Option<u32>| (number == Some(u32::from(c))).then_some(length);
    match text.as_bytes() {
        [b'%', ..] => {
            let mut at = 0;
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let digits = text.get(at..)?.strip_prefix('%')?.get(..2);
                at = (number(digits, 16) == Some(u32::from(byte))).then_some(at + 3)?;
            }
            Some(at)
        }
        [b'+', ..] => is_it(1, Some(u32::from(' '))),
        [b'\\', b'u', ..] => {
            let mut at = 0;
            for unit in c.encode_utf16(&mut [0; 2]) {
                let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4);
                at = (number(digits, 16) == Some(u32::from(*unit))).then_some(at + 6)?;
            }
            Some(at)
        }
        [b'\\', escaped, ..] => {
            let meant = match escaped {
                b'b' => 8,
                b't' => 9,
                b'n' => 10,
                b'f' => 12,
                b'r' => 13,
                b'"' | b'\\' | b'/' => u32::from(*escaped),
                _ => return None,
            };
            is_it(2, Some(meant))
        }
        [b'&', rest @ ..] => {
            // `&#x10FFFF;` is the longest; some write zeros in front.
            let end = 1 + rest.iter().take(12).position(|byte| *byte == b';')?;
            let meant = match &text[1..end] {
                "amp" => Some(u32::from('&')),
                "quot" => Some(u32::from('"')),
                "apos" => Some(u32::from('\'')),
                "lt" => Some(u32::from('<')),
                "gt" => Some(u32::from('>')),
                name => match name.strip_prefix("#x").or(name.strip_prefix("#X")) {
                    Some(digits) => number(Some(digits), 16),
                    None => number(name.strip_prefix('#'), 10),
                },
            };
            is_it(end + 1, meant)
        }
        _ => None,
    }
}

/// One line of a text that the server may have made as long as it likes.
pub(crate) fn shorten(text: &str) -> String {
    let nth = |text: &str| text.char_indices().nth(MAX_DESCRIPTION).map(|(end, _)| end);
    // What is not shown is not even copied. Escapes only make it longer.
    let rest = nth(text);
    let mut short = one_line(&text[..rest.unwrap_or(text.len())]);
    let end = nth(&short);
    if rest.is_some() || end.is_some() {
        short.truncate(end.unwrap_or(short.len()));
        short.push('…');
    }
    short
}

/// Escapes what could break a line or deceive a terminal: control characters and invisible or bidirectional marks.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' | '\n' | '\t' if line.ends_with(' ') => {}
            '\r' | '\n' | '\t' => line.push(' '),
            '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' => {
                let _ = write!(line, "{}", c.escape_unicode());
            }
            c if c.is_control() => line.push_str(&c.escape_unicode().to_string()),
            c => line.push(c),
        }
    }
    line
}
