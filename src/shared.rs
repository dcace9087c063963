//! The cache for threads: the rules of `cache.rs` behind a lock that is never held while the server is asked.

use crate::cache::{Access, Keeper, State};
use crate::client::Client;
use crate::error::Error;
use crate::grant::Grant;
use crate::renewal::{Renewal, Share, Step};
use crate::secret::Secret;
use crate::token::{AccessToken, TokenSource};
use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

#[cfg(all(loom, test))]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(loom, test)))]
use std::sync::{Condvar, Mutex, MutexGuard};

/// A cache for threads: share it by reference, in an `Arc` or as a `static`.
///
/// ```no_run
/// use keyfob::{Client, Endpoint, Grant, SecretSource, SharedTokenCache};
/// use std::sync::LazyLock;
///
/// static TOKENS: LazyLock<SharedTokenCache> = LazyLock::new(|| {
///     let endpoint = Endpoint::new("https://as.example/token").expect("this is a URL");
///     let client = Client::new(endpoint).client_id("id").client_secret(SecretSource::file("/run/secrets/id"));
///     SharedTokenCache::new(client, Grant::client_credentials())
/// });
///
/// let header = TOKENS.token()?.authorization()?.expose().to_owned();
/// # Ok::<(), keyfob::Error>(())
/// ```
///
/// One request is in flight, whatever the number of callers. While it is, those who come get the token at hand if it is
/// still valid; else they wait, and get what the request came to. The lock is held for a few instructions only.
pub struct SharedTokenCache {
    keeper: Keeper,
    shared: Mutex<Shared>,
    landed: Condvar,
}

struct Shared {
    state: State,
    /// A thread is asking the server.
    in_flight: bool,
    /// Counts the flights, so that those who wait know theirs.
    flight: u32,
    /// Counts what makes a flight's token unwelcome: revocations.
    epoch: u32,
    waiting: u32,
    /// What the last flight came to, as long as somebody waits for it.
    outcome: Option<Result<AccessToken, Error>>,
}

impl SharedTokenCache {
    /// A cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let keeper = Keeper::new(client, grant);
        let state = keeper.first_state();
        let shared = Shared { state, in_flight: false, flight: 0, epoch: 0, waiting: 0, outcome: None };
        Self { keeper, shared: Mutex::new(shared), landed: Condvar::new() }
    }

    /// As [`TokenCache::share`](crate::TokenCache::share).
    #[must_use]
    pub fn share(self, share: Share) -> Self {
        self.lock().state.renewal = Renewal::new(share);
        self
    }

    /// As [`TokenCache::spread_first_fetch`](crate::TokenCache::spread_first_fetch).
    #[must_use]
    pub fn spread_first_fetch(self, spread: Duration) -> Self {
        let now = self.keeper.now();
        self.lock().state.renewal.spread_first(now, spread);
        self
    }

    /// As [`TokenCache::on_new_refresh_token`](crate::TokenCache::on_new_refresh_token). The hook runs in the thread
    /// that asked the server, and no lock is held meanwhile.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.keeper.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// As [`TokenCache::store`](crate::TokenCache::store).
    #[cfg(unix)]
    #[must_use]
    pub fn store(mut self, store: crate::Store) -> Self {
        self.keeper.store = Some(store);
        self
    }

    /// A token that is valid now: the one at hand, or a new one.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::token`](crate::TokenCache::token).
    pub fn token(&self) -> Result<AccessToken, Error> {
        self.token_living(Duration::ZERO)
    }

    /// A token that lives at least so long. An unknown lifetime is long enough.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::token_living`](crate::TokenCache::token_living).
    pub fn token_living(&self, min_life: Duration) -> Result<AccessToken, Error> {
        let (mut is_looked, mut is_refusal_checked) = (false, false);
        let mut shared = self.lock();
        loop {
            match shared.state.step(self.keeper.now(), min_life) {
                Step::Use(token) => return Ok(token),
                Step::Refrain(_) if !is_looked => {
                    // Files are read for this, so not under the lock.
                    let mut state = Locked { cache: self, epoch: shared.epoch };
                    drop(shared);
                    is_looked = true;
                    let _ = self.keeper.look(&mut state, min_life);
                    shared = self.lock();
                }
                Step::Refrain(error) => {
                    let Some(refused) = shared.state.renewal.refused().filter(|_| !is_refusal_checked) else {
                        return Err(error);
                    };
                    // Secrets may be read from files for this, so not under the lock.
                    drop(shared);
                    is_refusal_checked = true;
                    let is_other = self.keeper.has_other_credentials(refused);
                    shared = self.lock();
                    if is_other && shared.state.renewal.refused() == Some(refused) {
                        shared.state.renewal.forget_refusal(self.keeper.now());
                    }
                }
                Step::Renew(Some(token)) if shared.in_flight => return Ok(token),
                Step::Renew(None) if shared.in_flight => {
                    let outcome;
                    (shared, outcome) = self.wait(shared);
                    if let Some(outcome) = outcome {
                        drop(shared);
                        return self.keeper.settle(outcome, None, min_life);
                    }
                }
                Step::Renew(_) => {
                    let result = self.fly(shared, min_life);
                    let valid = if result.is_err() { self.at_hand(min_life) } else { None };
                    return self.keeper.settle(result, valid, min_life);
                }
            }
        }
    }

    /// As [`TokenCache::next_attempt`](crate::TokenCache::next_attempt).
    #[must_use]
    pub fn next_attempt(&self) -> Option<Duration> {
        self.lock().state.renewal.next_attempt()
    }

    /// As [`TokenCache::invalidate`](crate::TokenCache::invalidate): a hundred threads that were refused with the same
    /// token cause one request.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        let now = self.keeper.now();
        self.lock().state.renewal.invalidate(now, token)
    }

    /// Forgets the token, then ends it at the server. A token that is being fetched meanwhile is handed to those who
    /// wait for it, and not kept.
    ///
    /// # Errors
    ///
    /// Those of [`Client::revoke`].
    pub fn revoke(&self) -> Result<(), Error> {
        self.keeper.revoke(|| {
            let mut shared = self.lock();
            shared.epoch = shared.epoch.wrapping_add(1);
            // Whoever is not awake yet must not be given what is ended now.
            shared.outcome = None;
            shared.state.forget()
        })
    }

    /// Asks the server, without the lock.
    fn fly(&self, mut shared: MutexGuard<'_, Shared>, min_life: Duration) -> Result<AccessToken, Error> {
        shared.in_flight = true;
        let mut state = Locked { cache: self, epoch: shared.epoch };
        drop(shared);

        // Lands even if a hook, a transport or a clock panics: those who wait must not wait for ever.
        let mut landing = Landing { cache: self, outcome: None };
        let result = self.keeper.renew(&mut state, min_life, false);
        landing.outcome = Some(again(&result));
        result
    }

    /// What a failed renewal leaves: not simply the token that it began with, which may be revoked or refused by now.
    fn at_hand(&self, min_life: Duration) -> Option<AccessToken> {
        self.lock().state.step(self.keeper.now(), min_life).token()
    }

    /// Waits for the flight that is under way; returns what it came to, unless that is not known any more.
    fn wait<'c>(
        &'c self,
        mut shared: MutexGuard<'c, Shared>,
    ) -> (MutexGuard<'c, Shared>, Option<Result<AccessToken, Error>>) {
        let flight = shared.flight;
        shared.waiting += 1;
        while shared.flight == flight {
            shared = self.landed.wait(shared).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        shared.waiting -= 1;
        let outcome = match &shared.outcome {
            Some(outcome) if shared.flight == flight.wrapping_add(1) => Some(again(outcome)),
            _ => None,
        };
        if shared.waiting == 0 {
            shared.outcome = None;
        }
        (shared, outcome)
    }

    /// A panic under the lock (in a clock) leaves nothing half done, so it does not poison the cache.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The same outcome once more, for the next who waits.
fn again(outcome: &Result<AccessToken, Error>) -> Result<AccessToken, Error> {
    match outcome {
        Ok(token) => Ok(token.clone()),
        Err(error) => Err(error.clone()),
    }
}

/// The state during a flight, locked for each step alone.
struct Locked<'c> {
    cache: &'c SharedTokenCache,
    epoch: u32,
}

impl Access for Locked<'_> {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut shared = self.cache.lock();
        let result = work(&mut shared.state);
        // What was revoked meanwhile does not come back.
        if shared.epoch != self.epoch {
            shared.state.forget();
        }
        result
    }
}

/// Ends a flight when it is dropped, whatever happened.
struct Landing<'c> {
    cache: &'c SharedTokenCache,
    outcome: Option<Result<AccessToken, Error>>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut shared = self.cache.lock();
        shared.in_flight = false;
        shared.flight = shared.flight.wrapping_add(1);
        shared.outcome = self.outcome.take().filter(|_| shared.waiting > 0);
        drop(shared);
        self.cache.landed.notify_all();
    }
}

impl TokenSource for SharedTokenCache {
    fn token(&self) -> Result<AccessToken, Error> {
        self.token()
    }
}

impl fmt::Debug for SharedTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTokenCache").field("client", &self.keeper.client).finish_non_exhaustive()
    }
}

#[cfg(all(loom, test))]
mod model;
