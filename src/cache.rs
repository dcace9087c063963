//! A token that stays valid: fetched once, handed out until it is about to expire, and renewed before that.
//!
//! One cache holds one client, one grant and one token, so it needs no key and can never hand one user's token to
//! another. [`TokenCache`] is for one owner, [`SharedTokenCache`](crate::SharedTokenCache) for threads. `renewal.rs` decides
//! when to ask the server, `cache/renew.rs` how, and `cache/turn.rs` which of several processes does it.

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

/// Keeps the token of one client and one grant valid. For one owner, with or without `std`; threads share a
/// [`SharedTokenCache`](crate::SharedTokenCache).
///
/// ```
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, Error, Grant, Request, Response, TokenCache};
///
/// let answer = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
/// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, answer, || Duration::ZERO);
/// let mut tokens = TokenCache::new(client, Grant::client_credentials());
/// assert_eq!(tokens.token()?.expose(), "abc"); // fetched
/// assert_eq!(tokens.token()?.expose(), "abc"); // from the cache
/// # Ok::<(), Error>(())
/// ```
pub struct TokenCache {
    fetcher: Fetcher,
    state: State,
}

impl TokenCache {
    /// Creates an empty cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let fetcher = Fetcher::new(client, grant);
        let state = State::new(fetcher.now());
        Self { fetcher, state }
    }

    /// Sets the value that spreads the renewals of a fleet. Default: derived from the clock's time at creation, in nanoseconds.
    /// Set it if the device has something unique and stable: a serial number, a machine id.
    #[must_use]
    pub fn spread(mut self, spread: Spread) -> Self {
        self.state.renewal = Renewal::new(spread);
        self
    }

    /// Delays the first fetch by this device's part of `spread`. Default: no delay. Until then [`token`](TokenCache::token)
    /// fails with [`Wait`](ErrorKind::Wait). Call [`spread`](TokenCache::spread) first.
    #[must_use]
    pub fn spread_first_fetch(mut self, spread: Duration) -> Self {
        self.state.renewal.spread_first(self.fetcher.now(), spread);
        self
    }

    /// Sets the hook that stores new refresh tokens. It is called with each new refresh token before the access token that came
    /// with it is returned. Default: none; the cache keeps the newest refresh token in memory.
    ///
    /// If the hook fails or panics, both tokens are kept, and the next call runs the hook again without a request. The hook must
    /// not ask the same cache for a token.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.fetcher.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// Sets the store through which this cache shares tokens, refusals and backoffs with other processes. Default: none.
    ///
    /// One process sends the request; the others wait for its token. See [`Store`] for what is shared and how long
    /// processes wait.
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.fetcher.store = Some(store);
        self
    }

    /// Returns the client that sends the requests.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.fetcher.client
    }

    /// Returns the token in the cache or its store, if one is valid for at least `min_life`. Sends no request.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if a secret cannot be read: the store finds a token by the request's secrets.
    pub fn at_hand(&mut self, min_life: Duration) -> Result<Option<AccessToken>, Error> {
        let now = self.fetcher.now();
        if let Step::Use(token) = self.state.step(now, min_life) {
            return Ok(Some(token));
        }
        self.fetcher.read_store(&mut self.state, min_life)?;
        Ok(self.state.step(now, min_life).token())
    }

    /// Takes over changes that other processes made in the store. Returns whether this cache's token changed. Sends no request.
    ///
    /// A token that another process replaced gives way to the newer one. A stored token that another process revoked is
    /// forgotten. Nothing changes if there is no store, it cannot be read, or the token was never in it.
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
        // A token that never was in the store may be one that could not be stored.
        let was_stored = held.is_stored() || self.state.store.token.as_ref().is_some_and(is_held);
        let is_removed = was_stored && !stored.is_some_and(|stored| is_held(&stored.token));
        if is_removed {
            self.state.renewal.take();
        }
        is_removed
    }

    /// Returns why the last attempt to renew failed; `None` after a success. While the token in the cache is valid,
    /// [`token`](TokenCache::token) does not report such a failure.
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.state.renewal.last_failure()
    }

    /// Returns a new token from the server, even if the cache or the store has a valid one or a backoff is in effect. If the
    /// request fails, the cache keeps the token that it had.
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
    /// Those of [`Client::fetch`], if there is no valid token. After a failure no request is sent for a while (the backoff);
    /// until then the error is the same, with the remaining time in [`Error::retry_after`]. A failed renewal is not an error
    /// while the token in the cache is valid.
    pub fn token(&mut self) -> Result<AccessToken, Error> {
        self.token_valid_for(Duration::ZERO)
    }

    /// Returns a token that is valid for at least `min_life`: the one in the cache, or a new one. A token whose lifetime is
    /// unknown is accepted.
    ///
    /// # Errors
    ///
    /// Those of [`token`](TokenCache::token), and [`Unusable`](ErrorKind::Unusable) if even a new token lives for less.
    pub fn token_valid_for(&mut self, min_life: Duration) -> Result<AccessToken, Error> {
        let mut step = self.state.step(self.fetcher.now(), min_life);
        if let Step::Refrain(_) = step {
            // If a secret cannot be read, the next request reports it.
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
        // Reading the store may have brought a token in the meantime.
        let valid = valid.or_else(|| self.state.step(self.fetcher.now(), min_life).token());
        self.fetcher.hand_out(result, valid, min_life)
    }

    /// Returns when [`token`](TokenCache::token) will next send a request, as a moment of the client's clock. A device that
    /// sleeps between its tasks, or a program that renews ahead of use, calls [`token`](TokenCache::token) then.
    ///
    /// A moment in the past means at once. `None` means not before something changes: the token's lifetime is unknown, or the
    /// token is not for keeping. The moment is at least 1 s after the last attempt, so a loop around it never spins.
    /// [`invalidate`](TokenCache::invalidate), a longer `min_life` and new credentials may cause an earlier request.
    ///
    /// If a refresh token or another grant that is good for one use may be used up, the moment comes every 10 s: the grant's
    /// source is read again, and a request is sent only if it gives a different value.
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

    /// Reports that a protected resource refused `token` (status 401), so that the next call renews it. Returns whether to try
    /// again with a new token: `false` only if `token` itself had just replaced a refused one.
    pub fn invalidate(&mut self, token: &AccessToken) -> bool {
        self.state.renewal.invalidate(self.fetcher.now(), token)
    }

    /// Forgets the token, the refresh token that came with it and remembered failures, in the store too. The server is not
    /// asked or told: see [`revoke`](TokenCache::revoke) for that. Returns whether there was a valid token or a failure.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if a secret cannot be read: the store finds its files by the request's secrets. Then
    /// nothing is forgotten.
    pub fn forget(&mut self) -> Result<bool, Error> {
        self.fetcher.read_store(&mut self.state, Duration::ZERO)?;
        let [held, unsaved, ..] = self.state.forget();
        let renewal = &mut self.state.renewal;
        let pause = renewal.pause.take();
        (renewal.failures, renewal.refusals) = (0, 0);
        turn::forget(&self.fetcher, true);
        let now = self.fetcher.now();
        Ok(pause.is_some() || [held, unsaved].iter().flatten().any(|token| !token.is_expired(now)))
    }

    /// Forgets the token, in the store too, then revokes it at the server. Does nothing if there is no token.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the endpoint has no way to revoke a token; then nothing is forgotten. Otherwise
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
