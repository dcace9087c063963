//! The cache for threads: the rules of `renew.rs` behind a lock that is never held during a request.

use super::fetcher::Fetcher;
use super::state::{Access, State};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::grant::Grant;
use crate::observe::Event;
use crate::renewal::{Renewal, Spread, Step};
use crate::secret::Secret;
use crate::token::{AccessToken, TokenSource};
use alloc::boxed::Box;
use alloc::format;
use core::fmt;
use core::time::Duration;
use std::time::Instant;

#[cfg(all(loom, test))]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(loom, test)))]
use std::sync::{Condvar, Mutex, MutexGuard};

/// A [`TokenCache`](crate::TokenCache) for threads. Share it through a reference, an `Arc` or a `static`.
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
/// Any number of callers cause one request. During the request, callers get the cached token if it is still valid.
/// Otherwise they wait, and all get the token or the error of the request. If it is the first request in a row to fail
/// without an answer or with an error of the server, one of the waiting callers sends another within a second, and only
/// the caller that sent the first request gets the error.
///
/// No caller waits longer than the client's [`timeout`](Client::timeout). Once a request has taken half of it, one of
/// the waiting callers sends a second request, with the rest of its own time. A refresh token or an extension grant may
/// be good for one use only, so in this case no second request is sent: the callers continue to wait, and fail with
/// [`Unreachable`](ErrorKind::Unreachable) when their time is up.
pub struct SharedTokenCache {
    fetcher: Fetcher,
    shared: Mutex<Shared>,
    wake: Condvar,
}

struct Shared {
    state: State,
    /// The number of requests under way. More than one only if one of them takes very long.
    requests: u32,
    /// When the last of them was sent.
    last_began: Instant,
    /// Counts the finished requests that waiting threads were woken for.
    finished: u32,
    /// Counts revocations. A token that was requested before one is not kept.
    epoch: u32,
    /// The number of waiting threads.
    waiting: u32,
    /// The result of the last finished request, while threads wait for it.
    outcome: Option<Result<AccessToken, Error>>,
}

impl SharedTokenCache {
    /// Creates an empty cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let fetcher = Fetcher::new(client, grant);
        let state = State::new(fetcher.now());
        let last_began = Instant::now();
        let shared = Shared { state, requests: 0, last_began, finished: 0, epoch: 0, waiting: 0, outcome: None };
        Self { fetcher, shared: Mutex::new(shared), wake: Condvar::new() }
    }

    /// Sets the value that spreads a fleet's renewals: see [`TokenCache::spread`](crate::TokenCache::spread).
    #[must_use]
    pub fn spread(self, spread: Spread) -> Self {
        self.lock().state.renewal = Renewal::new(spread);
        self
    }

    /// Delays the first fetch: see [`TokenCache::spread_first_fetch`](crate::TokenCache::spread_first_fetch).
    #[must_use]
    pub fn spread_first_fetch(self, spread: Duration) -> Self {
        let now = self.fetcher.now();
        self.lock().state.renewal.spread_first(now, spread);
        self
    }

    /// Sets the hook that stores new refresh tokens: see
    /// [`TokenCache::on_new_refresh_token`](crate::TokenCache::on_new_refresh_token). The hook runs in the thread that sent the
    /// request, and no lock is held while it runs.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.fetcher.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// Sets the store: see [`TokenCache::store`](crate::TokenCache::store).
    #[cfg(unix)]
    #[must_use]
    pub fn store(mut self, store: crate::Store) -> Self {
        self.fetcher.store = Some(store);
        self
    }

    /// Returns the client that sends the requests.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.fetcher.client
    }

    /// Returns the grant with which the tokens are requested.
    #[cfg(unix)]
    pub(crate) fn grant(&self) -> &Grant {
        &self.fetcher.grant
    }

    /// Returns a valid token from the cache or its store, without a request: see
    /// [`TokenCache::at_hand`](crate::TokenCache::at_hand).
    ///
    /// # Errors
    ///
    /// As [`TokenCache::at_hand`](crate::TokenCache::at_hand).
    pub fn at_hand(&self, min_life: Duration) -> Result<Option<AccessToken>, Error> {
        let (step, epoch) = {
            let shared = self.lock();
            (shared.state.step(self.fetcher.now(), min_life), shared.epoch)
        };
        if let Step::Use(token) = step {
            return Ok(Some(token));
        }
        self.fetcher.read_store(&mut Locked { cache: self, epoch }, min_life)?;
        Ok(self.valid(min_life))
    }

    /// Returns why the last attempt to renew failed: see [`TokenCache::last_failure`](crate::TokenCache::last_failure).
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.lock().state.renewal.last_failure()
    }

    /// Returns a new token from the server: see [`TokenCache::renew`](crate::TokenCache::renew). If another thread's request is
    /// under way, waits for its result.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::renew`](crate::TokenCache::renew).
    pub fn renew(&self) -> Result<AccessToken, Error> {
        self.get(Duration::ZERO, true)
    }

    /// Returns a valid token, from the cache or the server: see [`TokenCache::token`](crate::TokenCache::token).
    ///
    /// # Errors
    ///
    /// Those of [`TokenCache::token`](crate::TokenCache::token), and [`Unreachable`](ErrorKind::Unreachable) if another
    /// thread's request has taken the whole [`timeout`](Client::timeout).
    pub fn token(&self) -> Result<AccessToken, Error> {
        self.token_valid_for(Duration::ZERO)
    }

    /// Returns a token that is valid for at least `min_life`: see
    /// [`TokenCache::token_valid_for`](crate::TokenCache::token_valid_for).
    ///
    /// # Errors
    ///
    /// Those of [`token`](SharedTokenCache::token) and of
    /// [`TokenCache::token_valid_for`](crate::TokenCache::token_valid_for).
    pub fn token_valid_for(&self, min_life: Duration) -> Result<AccessToken, Error> {
        self.get(min_life, false)
    }

    /// Returns a token; with `force` always a new one.
    fn get(&self, min_life: Duration, force: bool) -> Result<AccessToken, Error> {
        let (mut has_read_store, mut has_checked_refusal) = (false, false);
        let patience = self.fetcher.client.patience();
        // Not set for a cached token, so that it reads no clock.
        let mut waits_since = None::<Instant>;
        let mut shared = self.lock();
        loop {
            let mut step = if force { Step::Renew(None) } else { shared.state.step(self.fetcher.now(), min_life) };
            let has_time = || waits_since.map(|since| since.elapsed() < patience);
            let is_first_failure = |error| self.fetcher.is_first_failure(&shared.state, error);
            if matches!(&step, Step::Refrain(error) if has_time() == Some(true) && is_first_failure(error)) {
                step = Step::Renew(None);
            }
            match step {
                Step::Use(token) => return Ok(token),
                Step::Refrain(_) if !has_read_store => {
                    // Reads files, so not under the lock.
                    let mut state = Locked { cache: self, epoch: shared.epoch };
                    drop(shared);
                    has_read_store = true;
                    // The next request reports a secret that cannot be read.
                    let _ = self.fetcher.read_store(&mut state, min_life);
                    shared = self.lock();
                }
                Step::Refrain(error) => {
                    let Some(refused) = shared.state.renewal.refused().filter(|_| !has_checked_refusal) else {
                        return Err(error);
                    };
                    // May read secrets from files, so not under the lock.
                    drop(shared);
                    has_checked_refusal = true;
                    let has_changed = self.fetcher.has_other_credentials(refused);
                    shared = self.lock();
                    shared.state.renewal.looked(self.fetcher.now());
                    if has_changed && shared.state.renewal.refused() == Some(refused) {
                        shared.state.renewal.forget_refusal(self.fetcher.now());
                    }
                }
                Step::Renew(Some(token)) if shared.requests > 0 => return Ok(token),
                Step::Renew(None) if shared.requests > 0 && !self.is_overdue(&shared) => {
                    let elapsed = shared.last_began.elapsed();
                    let rest = patience.saturating_sub(waits_since.get_or_insert_with(Instant::now).elapsed());
                    if rest.is_zero() {
                        return Err(self.timeout(elapsed));
                    }
                    let limit = match self.fetcher.is_repeatable() {
                        true => rest.min((patience / 2).saturating_sub(elapsed)),
                        false => rest,
                    };
                    let since = Instant::now();
                    let outcome;
                    (shared, outcome) = self.wait(shared, limit);
                    if let Some(outcome) = outcome {
                        drop(shared);
                        self.fetcher.client.notify(|| Event::Waited { elapsed: since.elapsed() });
                        return self.fetcher.hand_out(outcome, None, min_life);
                    }
                }
                Step::Renew(None) if has_time() == Some(false) => {
                    let failure = shared.state.renewal.last_failure().filter(|_| shared.requests == 0);
                    return Err(failure.unwrap_or_else(|| self.timeout(shared.last_began.elapsed())));
                }
                Step::Renew(_) => {
                    let waited = waits_since.map(|since| since.elapsed()).unwrap_or_default();
                    let result = self.fetch(shared, min_life, force, waited);
                    let valid = if result.is_err() && !force { self.valid(min_life) } else { None };
                    return self.fetcher.hand_out(result, valid, min_life);
                }
            }
        }
    }

    /// Returns whether a request has taken so long that another thread may also send one.
    fn is_overdue(&self, shared: &Shared) -> bool {
        self.fetcher.is_repeatable() && shared.last_began.elapsed() >= self.fetcher.client.patience() / 2
    }

    fn timeout(&self, elapsed: Duration) -> Error {
        let (host, seconds) = (self.fetcher.client.endpoint().authority(), elapsed.as_secs());
        let message = format!("another thread has been asking {host} for {seconds} s and has not finished");
        Error::new(ErrorKind::Unreachable, message)
    }

    /// Returns when the server will be asked next: see [`TokenCache::next_attempt`](crate::TokenCache::next_attempt).
    #[must_use]
    pub fn next_attempt(&self) -> Option<Duration> {
        self.lock().state.renewal.next_attempt()
    }

    /// Reports that a protected resource refused `token`: see
    /// [`TokenCache::invalidate`](crate::TokenCache::invalidate). If several threads were refused with the same token,
    /// they cause a single request.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        let now = self.fetcher.now();
        self.lock().state.renewal.invalidate(now, token)
    }

    /// Forgets the token, then revokes it at the server: see [`TokenCache::revoke`](crate::TokenCache::revoke). A token
    /// that is being fetched at that moment is returned to the waiting callers, but not kept.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::revoke`](crate::TokenCache::revoke).
    pub fn revoke(&self) -> Result<(), Error> {
        self.fetcher.revoke(|| {
            let mut shared = self.lock();
            shared.epoch = shared.epoch.wrapping_add(1);
            // Threads that have not woken up yet must not get the token that is revoked now.
            shared.outcome = None;
            shared.state.forget()
        })
    }

    /// Sends a request, without the lock. `waited` is the used part of the time limit.
    fn fetch(
        &self,
        mut shared: MutexGuard<'_, Shared>,
        min_life: Duration,
        force: bool,
        waited: Duration,
    ) -> Result<AccessToken, Error> {
        shared.requests += 1;
        shared.last_began = Instant::now();
        let mut state = Locked { cache: self, epoch: shared.epoch };
        drop(shared);

        // Wakes the waiting threads even if a hook, a transport or a clock panics.
        let mut finish = Finish { cache: self, outcome: None };
        let result = self.fetcher.renew(&mut state, min_life, force, waited);
        finish.outcome = Some(result.clone());
        result
    }

    /// Returns the token that is still valid after a failed renewal. The previous token may have been revoked or
    /// refused since, so it is looked up again.
    fn valid(&self, min_life: Duration) -> Option<AccessToken> {
        self.lock().state.step(self.fetcher.now(), min_life).token()
    }

    /// Waits for a request to finish, for `limit` at most. Returns its result, unless another has finished since.
    fn wait<'c>(
        &'c self,
        mut shared: MutexGuard<'c, Shared>,
        limit: Duration,
    ) -> (MutexGuard<'c, Shared>, Option<Result<AccessToken, Error>>) {
        let (finished, since) = (shared.finished, Instant::now());
        shared.waiting += 1;
        while shared.finished == finished {
            let left = limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            (shared, _) = self.wake.wait_timeout(shared, left).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        shared.waiting -= 1;
        let outcome = match &shared.outcome {
            Some(outcome) if shared.finished == finished.wrapping_add(1) => Some(outcome.clone()),
            _ => None,
        };
        if shared.waiting == 0 {
            shared.outcome = None;
        }
        (shared, outcome)
    }

    /// Locks the state. A panic under the lock (in a clock) leaves nothing half done, so poisoning is ignored.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The state during a request, locked for one step at a time.
struct Locked<'c> {
    cache: &'c SharedTokenCache,
    epoch: u32,
}

impl Access for Locked<'_> {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut shared = self.cache.lock();
        let result = work(&mut shared.state);
        // A token that was revoked in the meantime is not restored.
        if shared.epoch != self.epoch {
            shared.state.forget();
        }
        result
    }
}

/// Ends a request when it is dropped, whatever happened.
struct Finish<'c> {
    cache: &'c SharedTokenCache,
    outcome: Option<Result<AccessToken, Error>>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let mut shared = self.cache.lock();
        shared.requests -= 1;
        // Another request may still bring a token.
        if shared.requests == 0 || matches!(self.outcome, Some(Ok(_))) {
            shared.finished = shared.finished.wrapping_add(1);
            // Without an outcome, the next of the waiting threads sends a request.
            let is_first_failure = |error: &Error| self.cache.fetcher.is_first_failure(&shared.state, error);
            let outcome = self.outcome.take().filter(|outcome| !outcome.as_ref().is_err_and(is_first_failure));
            shared.outcome = outcome.filter(|_| shared.waiting > 0);
            drop(shared);
            self.cache.wake.notify_all();
        }
    }
}

impl TokenSource for SharedTokenCache {
    fn token(&self) -> Result<AccessToken, Error> {
        self.token()
    }

    fn invalidate(&self, token: &AccessToken) -> bool {
        self.invalidate(token)
    }
}

impl fmt::Debug for SharedTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTokenCache").field("client", &self.fetcher.client).finish_non_exhaustive()
    }
}

#[cfg(all(loom, test))]
mod model;
