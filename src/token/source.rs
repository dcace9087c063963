//! The interface for code that needs a token.

use super::{AccessToken, ended};
use crate::error::{Error, Shared};

/// Returns valid tokens. Code that takes a `TokenSource` can be tested without a server.
///
/// Implemented for [`SharedTokenCache`](crate::SharedTokenCache), for [`AccessToken`] (which returns a clone of itself), for
/// closures such as `|| client.fetch(&grant)`, and for an `Arc` of any of them.
///
/// ```
/// use keyfob::{AccessToken, Error, TokenSource};
///
/// fn header(tokens: &dyn TokenSource) -> Result<String, Error> {
///     Ok(tokens.token()?.authorization()?.expose().to_owned())
/// }
///
/// assert_eq!(header(&AccessToken::bearer("stand-in")?)?, "Bearer stand-in");
/// # Ok::<(), Error>(())
/// ```
pub trait TokenSource {
    /// Returns a token that is valid now.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`](crate::ErrorKind), depending on the source.
    fn token(&self) -> Result<AccessToken, Error>;

    /// Reports that a protected resource refused `token` (status 401). Returns whether another call of
    /// [`token`](TokenSource::token) may bring a better one. Default: false.
    fn invalidate(&self, token: &AccessToken) -> bool {
        let _ = token;
        false
    }
}

impl TokenSource for AccessToken {
    fn token(&self) -> Result<AccessToken, Error> {
        if self.is_ended() { Err(ended()) } else { Ok(self.clone()) }
    }
}

impl<F: Fn() -> Result<AccessToken, Error>> TokenSource for F {
    fn token(&self) -> Result<AccessToken, Error> {
        self()
    }
}

#[cfg(target_has_atomic = "ptr")]
impl<T: TokenSource + ?Sized> TokenSource for Shared<T> {
    fn token(&self) -> Result<AccessToken, Error> {
        (**self).token()
    }

    fn invalidate(&self, token: &AccessToken) -> bool {
        (**self).invalidate(token)
    }
}
