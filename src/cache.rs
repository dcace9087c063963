//! A token that stays valid: fetched once, handed out until it nears its end, renewed before it is over.
//!
//! One cache holds one client, one grant and one token, so it needs no key and can never hand one user's token to
//! another. [`TokenCache`] is for one owner; [`SharedTokenCache`](crate::SharedTokenCache) is the same for threads. When
//! the server is asked is decided in `renewal.rs`, how it is asked in `cache/keeper.rs`, and which of several processes asks
//! it in `cache/turn.rs`.

mod fetcher;
mod state;
#[cfg(all(feature = "std", unix))]
mod adopt;
#[cfg_attr(not(all(feature = "std", unix)), path = "cache/alone.rs")]
mod turn;
mod renew;
#[cfg(feature = "std")]
mod shared;

#[cfg(feature = "std")]
pub use shared::SharedTokenCache;

use self::fetcher::Fetcher;
use self::state::State;
use crate::client::Client;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::grant::Grant;
use crate::renewal::{Renewal, Spread, Step};
use crate::secret::Secret;
#[cfg(all(feature = "std", unix))]
use crate::store::Store;
use crate::token::AccessToken;
use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

/// A cache for one owner, with or without `std`.
///
/// ```
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, Error, Grant, Request, Response, TokenCache};
///
/// let answer = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
/// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, answer, || Duration::ZERO);
/// let mut tokens = TokenCache::new(client, Grant::client_credentials());
/// assert_eq!(tokens.token()?.expose(), "abc"); // fetched
/// assert_eq!(tokens.token()?.expose(), "abc"); // at hand
/// # Ok::<(), Error>(())
/// ```
pub struct TokenCache {
    fetcher: Fetcher,
    state: State,
}

impl TokenCache {
    /// A cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let fetcher = Fetcher::new(client, grant);
        let state = State::new(fetcher.now());
        Self { fetcher, state }
    }

    /// Sets the value by which a fleet's renewals are spread. Default: the moment, to the nanosecond. Set it where a device has
    /// something of its own that stays: a serial number, a machine id.
    #[must_use]
    pub fn spread(mut self, spread: Spread) -> Self {
        self.state.renewal = Renewal::new(spread);
        self
    }

    /// Delays the first fetch by this instance's part of `spread`: until then [`token`](TokenCache::token) is an
    /// error of kind [`Wait`](ErrorKind::Wait). Call it after [`share`](TokenCache::spread).
    #[must_use]
    pub fn spread_first_fetch(mut self, spread: Duration) -> Self {
        self.state.renewal.spread_first(self.fetcher.now(), spread);
        self
    }

    /// Hands each new refresh token to `hook` before the access token that came with it is handed out: to be stored.
    ///
    /// If the hook fails or panics, nothing is lost: both tokens are kept, and the next call tries the hook again, without
    /// a request. The hook must not ask the same cache for a token.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.fetcher.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// Shares tokens, refusals and backoffs with the processes that use the same store: one of them asks the server, and
    /// the others wait for it or use the token at hand, as threads do.
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.fetcher.store = Some(store);
        self
    }

    /// Returns the client that asks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.fetcher.client
    }

    /// Returns a token that is in the cache or its store and valid for at least `min_life`. The server is not asked.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where a secret cannot be read, for then nobody can say whose token to look for.
    pub fn at_hand(&mut self, min_life: Duration) -> Result<Option<AccessToken>, Error> {
        let now = self.fetcher.now();
        if let Step::Use(token) = self.state.step(now, min_life) {
            return Ok(Some(token));
        }
        self.fetcher.read_store(&mut self.state, min_life)?;
        Ok(self.state.step(now, min_life).token())
    }

    /// Takes over what other processes have changed in the store, and returns whether this cache's token changed with it.
    ///
    /// A token that another process replaced gives way to the newer one. A token that was stored and is there no longer,
    /// because another process revoked it, is forgotten. Nothing changes without a store, where the store cannot be read,
    /// and for a token that never was in it. The server is not asked.
    ///
    /// [`token`](TokenCache::token) does not read the store while it has a valid token. Call this every few seconds in a
    /// program that hands its token on for longer, for example in a file.
    #[cfg(all(feature = "std", unix))]
    pub fn follow_store(&mut self) -> bool {
        let Some(held) = self.state.renewal.held.as_ref().map(|held| held.token.clone()) else { return false };
        let Ok(Some(entry)) = turn::read_store(&self.fetcher, &mut self.state, Duration::ZERO) else { return false };
        let is_held = |token: &AccessToken| token.expose() == held.expose();
        if self.state.renewal.held.as_ref().is_some_and(|newest| !is_held(&newest.token)) {
            return true;
        }
        let stored = entry.load(self.fetcher.now()).and_then(|record| record.held);
        // A token that never was there may be one that could not be stored.
        let was_stored = held.is_stored() || self.state.store.token.as_ref().is_some_and(is_held);
        let is_removed = was_stored && !stored.is_some_and(|stored| is_held(&stored.token));
        if is_removed {
            self.state.renewal.take();
        }
        is_removed
    }

    /// Returns why the last attempt to renew failed, if it did. While the token in the cache is valid, that is no error of
    /// [`token`](TokenCache::token).
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.state.renewal.last_failure()
    }

    /// Returns a new token from the server, whatever is in the cache, stored or remembered. If that fails, a token that was
    /// there before is kept.
    ///
    /// # Errors
    ///
    /// Those of [`Client::fetch`].
    pub fn renew(&mut self) -> Result<AccessToken, Error> {
        let result = self.fetcher.renew(&mut self.state, Duration::ZERO, true, Duration::ZERO);
        self.fetcher.hand_out(result, None, Duration::ZERO)
    }

    /// Returns a token that is valid now: the one in the cache, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`Client::fetch`] where there is no valid token. A failure is remembered: until its time has passed, the
    /// server is not asked again, and the error is the same, with what is left of the time in [`Error::retry_after`]. A
    /// failed renewal is no error as long as the token in the cache is valid.
    pub fn token(&mut self) -> Result<AccessToken, Error> {
        self.token_valid_for(Duration::ZERO)
    }

    /// Returns a token that is valid for at least `min_life`: the one in the cache, or a new one. An unknown lifetime is long
    /// enough.
    ///
    /// # Errors
    ///
    /// As [`token`](TokenCache::token), and [`Unusable`](ErrorKind::Unusable) where even a fresh token is too short.
    pub fn token_valid_for(&mut self, min_life: Duration) -> Result<AccessToken, Error> {
        let mut step = self.state.step(self.fetcher.now(), min_life);
        if let Step::Refrain(_) = step {
            // What is wrong with a secret is told by who sends it.
            let _ = self.fetcher.read_store(&mut self.state, min_life);
            step = self.state.step(self.fetcher.now(), min_life);
        }
        if let (Step::Refrain(_), Some(refused)) = (&step, self.state.renewal.refused()) {
            self.state.renewal.looked(self.fetcher.now());
            if self.fetcher.has_other_credentials(refused) {
                self.state.renewal.forget_refusal(self.fetcher.now());
                step = self.state.step(self.fetcher.now(), min_life);
            }
        }
        let valid = match step {
            Step::Use(token) => return Ok(token),
            Step::Refrain(error) => return Err(error),
            Step::Renew(valid) => valid,
        };
        let result = self.fetcher.renew(&mut self.state, min_life, false, Duration::ZERO);
        // One may have come out of the store meanwhile.
        let valid = valid.or_else(|| self.state.step(self.fetcher.now(), min_life).token());
        self.fetcher.hand_out(result, valid, min_life)
    }

    /// When [`token`](TokenCache::token) will ask the server next, by the client's clock: a device that sleeps between
    /// its tasks, or a program that wants its token renewed before somebody waits for it, calls it then. A moment that
    /// has passed means at once; none means not before something changes, as with a token whose lifetime is unknown or
    /// that is not for keeping. It is a second after the last attempt at the earliest, so that a loop around it never spins.
    ///
    /// While what the grant sends may be used up, it is every 10 s: then its source is read, and the server asked only where
    /// that gives another.
    ///
    /// [`invalidate`](TokenCache::invalidate), a longer life asked for and new credentials may make it sooner.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::{Client, Endpoint, Error, Grant, Request, Response, TokenCache};
    ///
    /// let answer = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
    /// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, answer, || Duration::ZERO);
    /// let mut tokens = TokenCache::new(client, Grant::client_credentials());
    /// assert_eq!(tokens.next_attempt(), Some(Duration::ZERO)); // at once
    /// tokens.token()?;
    /// assert!(tokens.next_attempt().is_some_and(|at| at < Duration::from_secs(3600)));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn next_attempt(&self) -> Option<Duration> {
        self.state.renewal.next_attempt()
    }

    /// Says that a protected resource refused `token` (status 401). Tells whether another try makes sense: it does
    /// unless this token had just replaced another that was refused.
    pub fn invalidate(&mut self, token: &AccessToken) -> bool {
        self.state.renewal.invalidate(self.fetcher.now(), token)
    }

    /// Forgets the token, then ends it at the server. Without a token there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where the endpoint knows no way to end a token: then nothing is forgotten. Otherwise
    /// those of [`Client::revoke`].
    pub fn revoke(&mut self) -> Result<(), Error> {
        self.fetcher.revoke(|| self.state.forget())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("client", &self.fetcher.client).finish_non_exhaustive()
    }
}
