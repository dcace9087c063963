//! Errors, sorted by who must act.

mod echo;

pub(crate) use self::echo::Echoes;

use crate::text::{REDACTED, one_line, shorten};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
#[cfg(all(feature = "std", unix))]
use alloc::string::ToString;
use core::fmt;
use core::time::Duration;
use zeroize::Zeroize;

#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use alloc::rc::Rc as Shared;
#[cfg(target_has_atomic = "ptr")]
pub(crate) use alloc::sync::Arc as Shared;

/// The kind of an error: it says who must act, and whether a retry can help. [Errors and exit codes](crate::docs::errors) lists
/// each kind with its exit code. [`Error::is_retryable`] decides for a single error.
///
/// ```
/// use keyfob::{Error, ErrorKind};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::Config | ErrorKind::Refused | ErrorKind::Untrusted => "somebody must act",
///         _ if error.is_retryable() => "try again later",
///         _ => "see the message",
///     }
/// }
///
/// assert_eq!(advice(&Error::new(ErrorKind::Unreachable, "no network")), "try again later");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A mistake in keyfob. Do not retry; report it.
    Internal,
    /// The configuration is wrong, or a secret cannot be read or sent. Nothing was sent. Do not retry before it is corrected.
    Config,
    /// The server refused: an OAuth error (RFC 6749 section 5.2) under a status of 2xx or 4xx, status 400, 401 or 403 without
    /// one, or a value that [`Endpoint::refused_if`](crate::Endpoint::refused_if) names. Or a proxy did: status 407.
    ///
    /// Do not retry with the same credentials: servers lock clients out that do. The caches ask again after minutes to hours.
    Refused,
    /// There was no connection: the name look-up or the connect failed, or time ran out before anything was sent. Retry with
    /// growing pauses: the request cannot have had an effect.
    Unreachable,
    /// The connection was cut, stalled or timed out after the request was sent, so the server may have issued a token. Retry
    /// only if a second request does no harm: not with a refresh token that is valid for one use.
    OutcomeUnknown,
    /// The answer cannot be used: malformed, no token response, too large, a redirect, any other status. Retry with growing
    /// pauses after a status of 5xx and after the error codes `server_error` and `temporarily_unavailable`, which are faults
    /// of the server; otherwise check the URL and the description first.
    Unusable,
    /// The server asks to wait (status 429 or 503), or the first fetch is delayed. Retry after [`Error::retry_after`].
    Wait,
    /// The server cannot be trusted: its certificate, its name, or any other failure of TLS. Do not retry
    /// before the roots, the name or the device's clock are corrected.
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

    /// Returns the kind's name, such as `outcome_unknown`. The command's JSON uses it.
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
/// It holds no secret, no query of a URL, and of an answer's body only the texts of an OAuth error, or a short explanation if
/// the server sent none. A text in which the server repeats a secret that was sent is replaced with `‹redacted›`. `Display`
/// is one line.
///
/// A clone costs a few allocations and shares the source. With the feature `std`, an `Error` converts into `std::io::Error`.
///
/// ```
/// use keyfob::{Endpoint, ErrorKind};
///
/// let error = Endpoint::new("as.example/token").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert_eq!(error.to_string(), "url: it must start with https:// or http://");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    /// The hint repeats what the server said.
    is_hint_servers: bool,
    status: Option<u16>,
    said: Option<Said>,
    retry_after: Option<Duration>,
    retryable: bool,
    /// It was not caused by a request of its own: a cache has remembered it.
    is_remembered: bool,
    source: Option<Shared<dyn core::error::Error + Send + Sync>>,
}

/// The server's own words: an error code of RFC 6749 section 5.2 or another word in its place, an explanation, or both.
#[derive(Clone)]
struct Said {
    code: Option<String>,
    text: Option<String>,
}

impl Error {
    /// Creates an error, for your own [`Transport`](crate::Transport) or [`SecretSource`](crate::SecretSource).
    ///
    /// `message` says what failed and why, in lower case, and must not hold a secret. Control characters in it are escaped.
    /// The error is retryable if its kind is [`Unreachable`](ErrorKind::Unreachable).
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: one_line(message.as_ref()),
            hint: None,
            is_hint_servers: false,
            status: None,
            said: None,
            retry_after: None,
            retryable: kind == ErrorKind::Unreachable,
            is_remembered: false,
            source: None,
        }))
    }

    /// Sets the hint: what the user can do about the error. Control characters in it are escaped. Default: none.
    #[must_use]
    pub fn with_hint(mut self, hint: impl AsRef<str>) -> Self {
        self.0.hint = Some(one_line(hint.as_ref()));
        self
    }

    /// Sets the error that caused this one, which `source()` returns. Its texts must not hold a secret. Default: none.
    #[must_use]
    pub fn with_source(mut self, source: impl core::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Shared::new(source));
        self
    }

    /// Returns the same failure for a caller that asks before `left` has passed. No request is sent.
    pub(crate) fn remembered(mut self, left: Duration) -> Self {
        // If the server asked to wait, asking at once is no advice.
        if self.0.kind != ErrorKind::Wait {
            let hint = self.0.hint.take().map(|hint| hint + "; ").unwrap_or_default();
            self.0.hint = Some(hint + "`TokenCache::renew` asks at once");
            self.0.is_remembered = true;
        }
        self.with_retry_after(Some(left))
    }

    /// Passes each part of the error to `field`, for a store. [`recall`](Error::recall) restores the error from them.
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
        if let Some(Said { code, text }) = &inner.said {
            code.as_ref().map_or(Ok(()), |code| field("code", code))?;
            text.as_ref().map_or(Ok(()), |text| field("description", text))?;
        }
        if inner.retryable { field("retryable", "") } else { Ok(()) }
    }

    /// Restores an error from the parts that [`keep`](Error::keep) passed on.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn recall<'t>(field: &dyn Fn(&str) -> Option<&'t str>) -> Option<Self> {
        let kind = field("kind")?;
        let kind = ErrorKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let mut error = Self::new(kind, field("message")?).retryable(field("retryable").is_some());
        error.0.hint = field("hint").map(one_line);
        error.0.status = field("status").and_then(|status| status.parse().ok());
        Some(error.with_said(field("code"), field("description")))
    }

    pub(crate) fn config(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Adds the subject in front of the message, as `subject: message`. All other parts stay the same.
    ///
    /// ```
    /// use keyfob::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Config, "the chip does not answer").within("client secret");
    /// assert_eq!(error.to_string(), "client secret: the chip does not answer");
    /// ```
    #[must_use]
    pub fn within(mut self, subject: impl AsRef<str>) -> Self {
        self.0.message = format!("{}: {}", one_line(subject.as_ref()), self.0.message);
        self
    }

    /// Adds the member of the description that caused the error.
    pub(crate) fn in_member(self, name: &str) -> Self {
        self.within(format!("`{name}`"))
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds the server's own words: the code and the description of an OAuth error, or a text alone.
    pub(crate) fn with_said(mut self, code: Option<&str>, text: Option<&str>) -> Self {
        let said = Said { code: code.map(ToOwned::to_owned), text: text.map(ToOwned::to_owned) };
        self.0.said = Some(said).filter(|said| said.code.is_some() || said.text.is_some());
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

    /// Sets a hint that repeats a text of the server.
    pub(crate) fn with_server_hint(mut self, hint: impl AsRef<str>) -> Self {
        self.0.is_hint_servers = true;
        self.with_hint(hint)
    }

    /// Removes each of the server's texts that echoes a secret, and shortens the others to [`MAX_KEPT`].
    pub(crate) fn without(mut self, echoes: &Echoes<'_>) -> Self {
        if let Some(Said { code, text }) = &mut self.0.said {
            // A registered code is no echo, even of a secret that is a part of it.
            for text in code.iter_mut().filter(|code| !is_registered(code)).chain(text) {
                if echoes.are_in(text) {
                    text.zeroize();
                    REDACTED.clone_into(text);
                }
                let end = (0..=MAX_KEPT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
                text.truncate(end.min(text.len()));
            }
        }
        // Without the server's text the hint says nothing.
        if self.0.is_hint_servers && self.0.hint.as_ref().is_some_and(|hint| echoes.are_in(hint)) {
            self.0.hint.zeroize();
        }
        self
    }

    /// Returns the kind, which says who must act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the hint: what the user can do about the error, in one line. None if that is not known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the HTTP status of the answer. None if there was no answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns the OAuth error code, such as `invalid_client`. None if there was none.
    ///
    /// Only registered codes are returned (RFC 6749 section 11.4). Any other word of the server is in the message alone.
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.said.as_ref()?.code.as_deref().filter(|code| is_registered(code))
    }

    /// Returns the `error_description` (RFC 6749 section 5.2), of at most 1 KiB. None if there was none. It is the server's
    /// text: escape control characters before you print it.
    #[must_use]
    pub fn oauth_error_description(&self) -> Option<&str> {
        self.0.said.as_ref().filter(|said| said.code.is_some())?.text.as_deref()
    }

    /// Returns the time to wait before the next request, from now: the server's `Retry-After` (RFC 9110 section 10.2.3), or the
    /// rest of a cache's wait after an earlier failure. None if neither is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns whether the same request may succeed later and can be sent again without harm.
    ///
    /// For [`ErrorKind::Wait`] it is true, but wait for [`Error::retry_after`] first. After
    /// [`ErrorKind::OutcomeUnknown`] it depends on the grant: it is false for a refresh token, which the server may have rotated.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

/// The number of bytes of a server's text that are kept. A message shows 300 characters of them.
const MAX_KEPT: usize = 1024;

const ALMOST_A_SECOND: Duration = Duration::from_nanos(999_999_999);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.said.as_ref().map(|Said { code, text }| (code, text)) {
            Some((Some(code), Some(text))) => write!(f, ": {} ({})", shorten(code), shorten(text))?,
            Some((Some(word), None) | (None, Some(word))) => write!(f, ": {}", shorten(word))?,
            Some((None, None)) | None => {}
        }
        match self.0.retry_after.filter(|_| self.0.is_remembered) {
            // Rounded up: an earlier request would be turned away.
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

/// Wraps the error with [`std::io::Error::other`], for functions that return errors of I/O.
#[cfg(feature = "std")]
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Returns whether a word is a registered error code.
pub(crate) fn is_registered(word: &str) -> bool {
    CODES.contains(&word)
}

/// The registered codes that a token endpoint may answer with: those of RFC 6749 (sections 5.2 and 4.1.2.1), RFC 6750,
/// RFC 8628 and CIBA, RFC 8707, RFC 9396, RFC 9449, RFC 7009, and OpenID Connect.
const CODES: [&str; 28] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
    "unsupported_response_type",
    "server_error",
    "temporarily_unavailable",
    "invalid_token",
    "insufficient_scope",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "transaction_failed",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "unsupported_token_type",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "insufficient_user_authentication",
    "need_info",
    "request_denied",
];
