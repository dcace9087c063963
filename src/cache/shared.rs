//! The cache for threads: the rules of `keeper.rs` behind a lock that is never held while the server is asked.

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
/// One request is under way, whatever the number of callers. While it is, callers get the token in the cache if it is still
/// valid; otherwise they wait, and get the token or the error that the request brings.
///
/// Nobody waits longer than the client's [`timeout`](Client::timeout). Once a request has taken half of it, one of those
/// who wait asks as well, in the rest of its own time, where that does no harm. It does with a refresh token or an
/// extension grant, which may be good for one use: then they go on waiting, and the error says so in the end.
pub struct SharedTokenCache {
    fetcher: Fetcher,
    shared: Mutex<Shared>,
    landed: Condvar,
}

struct Shared {
    state: State,
    /// The number of threads that are asking the server: more than one only where one takes very long.
    flights: u32,
    /// When the last of them began.
    last_began: Instant,
    /// Counts what those who wait are woken for.
    landings: u32,
    /// Counts what makes a flight's token unwelcome: revocations.
    epoch: u32,
    waiting: u32,
    /// What the last landing brought, as long as somebody waits for it.
    outcome: Option<Result<AccessToken, Error>>,
}

impl SharedTokenCache {
    /// A cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let fetcher = Fetcher::new(client, grant);
        let state = State::new(fetcher.now());
        let last_began = Instant::now();
        let shared = Shared { state, flights: 0, last_began, landings: 0, epoch: 0, waiting: 0, outcome: None };
        Self { fetcher, shared: Mutex::new(shared), landed: Condvar::new() }
    }

    /// As [`TokenCache::spread`](crate::TokenCache::spread).
    #[must_use]
    pub fn spread(self, spread: Spread) -> Self {
        self.lock().state.renewal = Renewal::new(spread);
        self
    }

    /// As [`TokenCache::spread_first_fetch`](crate::TokenCache::spread_first_fetch).
    #[must_use]
    pub fn spread_first_fetch(self, spread: Duration) -> Self {
        let now = self.fetcher.now();
        self.lock().state.renewal.spread_first(now, spread);
        self
    }

    /// As [`TokenCache::on_new_refresh_token`](crate::TokenCache::on_new_refresh_token). The hook runs in the thread
    /// that asked the server, and no lock is held meanwhile.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.fetcher.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// As [`TokenCache::store`](crate::TokenCache::store).
    #[cfg(unix)]
    #[must_use]
    pub fn store(mut self, store: crate::Store) -> Self {
        self.fetcher.store = Some(store);
        self
    }

    /// Returns the client that asks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.fetcher.client
    }

    /// As [`TokenCache::at_hand`](crate::TokenCache::at_hand).
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

    /// As [`TokenCache::last_failure`](crate::TokenCache::last_failure).
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.lock().state.renewal.last_failure()
    }

    /// As [`TokenCache::renew`](crate::TokenCache::renew). A request that another thread has under way counts.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::renew`](crate::TokenCache::renew).
    pub fn renew(&self) -> Result<AccessToken, Error> {
        self.get(Duration::ZERO, true)
    }

    /// As [`TokenCache::token`](crate::TokenCache::token).
    ///
    /// # Errors
    ///
    /// As [`TokenCache::token`](crate::TokenCache::token), and [`Unreachable`](ErrorKind::Unreachable) where another
    /// thread's request has taken the whole [`timeout`](Client::timeout).
    pub fn token(&self) -> Result<AccessToken, Error> {
        self.token_valid_for(Duration::ZERO)
    }

    /// As [`TokenCache::token_valid_for`](crate::TokenCache::token_valid_for).
    ///
    /// # Errors
    ///
    /// Those of [`token`](SharedTokenCache::token) and of
    /// [`TokenCache::token_valid_for`](crate::TokenCache::token_valid_for).
    pub fn token_valid_for(&self, min_life: Duration) -> Result<AccessToken, Error> {
        self.get(min_life, false)
    }

    /// Returns a token; with `force` one that the server is asked for now.
    fn get(&self, min_life: Duration, force: bool) -> Result<AccessToken, Error> {
        let (mut is_store_read, mut is_refusal_checked) = (false, false);
        let patience = self.fetcher.client.patience();
        // The clock is not read for a hit.
        let mut came = None::<Instant>;
        let mut shared = self.lock();
        loop {
            let step = if force { Step::Renew(None) } else { shared.state.step(self.fetcher.now(), min_life) };
            match step {
                Step::Use(token) => return Ok(token),
                Step::Refrain(_) if !is_store_read => {
                    // Files are read for this, so not under the lock.
                    let mut state = Locked { cache: self, epoch: shared.epoch };
                    drop(shared);
                    is_store_read = true;
                    // What is wrong with a secret is told by who sends it.
                    let _ = self.fetcher.read_store(&mut state, min_life);
                    shared = self.lock();
                }
                Step::Refrain(error) => {
                    let Some(refused) = shared.state.renewal.refused().filter(|_| !is_refusal_checked) else {
                        return Err(error);
                    };
                    // Secrets may be read from files for this, so not under the lock.
                    drop(shared);
                    is_refusal_checked = true;
                    let is_other = self.fetcher.has_other_credentials(refused);
                    shared = self.lock();
                    shared.state.renewal.looked(self.fetcher.now());
                    if is_other && shared.state.renewal.refused() == Some(refused) {
                        shared.state.renewal.forget_refusal(self.fetcher.now());
                    }
                }
                Step::Renew(Some(token)) if shared.flights > 0 => return Ok(token),
                Step::Renew(None) if shared.flights > 0 && !self.is_overdue(&shared) => {
                    let taken = shared.last_began.elapsed();
                    let rest = patience.saturating_sub(came.get_or_insert_with(Instant::now).elapsed());
                    if rest.is_zero() {
                        return Err(self.waited_in_vain(taken));
                    }
                    let limit = match self.fetcher.is_repeatable() {
                        true => rest.min((patience / 2).saturating_sub(taken)),
                        false => rest,
                    };
                    let began = Instant::now();
                    let outcome;
                    (shared, outcome) = self.wait(shared, limit);
                    if let Some(outcome) = outcome {
                        drop(shared);
                        self.fetcher.client.tell(|| Event::Waited { elapsed: began.elapsed() });
                        return self.fetcher.hand_out(outcome, None, min_life);
                    }
                }
                Step::Renew(_) => {
                    let result = self.fly(shared, min_life, force, came.map(|came| came.elapsed()).unwrap_or_default());
                    let valid = if result.is_err() && !force { self.valid(min_life) } else { None };
                    return self.fetcher.hand_out(result, valid, min_life);
                }
            }
        }
    }

    /// Whether a request has taken so long that another thread may ask beside it.
    fn is_overdue(&self, shared: &Shared) -> bool {
        self.fetcher.is_repeatable() && shared.last_began.elapsed() >= self.fetcher.client.patience() / 2
    }

    fn waited_in_vain(&self, taken: Duration) -> Error {
        let (host, seconds) = (self.fetcher.client.endpoint().authority(), taken.as_secs());
        let message = format!("another thread has been asking {host} for {seconds} s and has not finished");
        Error::new(ErrorKind::Unreachable, message)
    }

    /// As [`TokenCache::next_attempt`](crate::TokenCache::next_attempt).
    #[must_use]
    pub fn next_attempt(&self) -> Option<Duration> {
        self.lock().state.renewal.next_attempt()
    }

    /// As [`TokenCache::invalidate`](crate::TokenCache::invalidate): a hundred threads that were refused with the same
    /// token cause one request.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        let now = self.fetcher.now();
        self.lock().state.renewal.invalidate(now, token)
    }

    /// Forgets the token, then ends it at the server. A token that is being fetched meanwhile is handed to those who
    /// wait for it, and not kept.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::revoke`](crate::TokenCache::revoke).
    pub fn revoke(&self) -> Result<(), Error> {
        self.fetcher.revoke(|| {
            let mut shared = self.lock();
            shared.epoch = shared.epoch.wrapping_add(1);
            // Whoever is not awake yet must not be given what is ended now.
            shared.outcome = None;
            shared.state.forget()
        })
    }

    /// Asks the server, without the lock. `waited` is the part of the time limit that has gone by.
    fn fly(
        &self,
        mut shared: MutexGuard<'_, Shared>,
        min_life: Duration,
        force: bool,
        waited: Duration,
    ) -> Result<AccessToken, Error> {
        shared.flights += 1;
        shared.last_began = Instant::now();
        let mut state = Locked { cache: self, epoch: shared.epoch };
        drop(shared);

        // Lands even if a hook, a transport or a clock panics: those who wait must not wait for nothing.
        let mut landing = Landing { cache: self, outcome: None };
        let result = self.fetcher.renew(&mut state, min_life, force, waited);
        landing.outcome = Some(again(&result));
        result
    }

    /// Returns the valid token that a failed renewal leaves: not simply the one that it began with, which may be revoked
    /// or refused by now.
    fn valid(&self, min_life: Duration) -> Option<AccessToken> {
        self.lock().state.step(self.fetcher.now(), min_life).token()
    }

    /// Waits for a landing, for `limit` at most; returns what it brought, unless that is not known any more.
    fn wait<'c>(
        &'c self,
        mut shared: MutexGuard<'c, Shared>,
        limit: Duration,
    ) -> (MutexGuard<'c, Shared>, Option<Result<AccessToken, Error>>) {
        let (landings, began) = (shared.landings, Instant::now());
        shared.waiting += 1;
        while shared.landings == landings {
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            (shared, _) = self.landed.wait_timeout(shared, left).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        shared.waiting -= 1;
        let outcome = match &shared.outcome {
            Some(outcome) if shared.landings == landings.wrapping_add(1) => Some(again(outcome)),
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
        shared.flights -= 1;
        // Another may still bring a token.
        if shared.flights == 0 || matches!(self.outcome, Some(Ok(_))) {
            shared.landings = shared.landings.wrapping_add(1);
            shared.outcome = self.outcome.take().filter(|_| shared.waiting > 0);
            drop(shared);
            self.cache.landed.notify_all();
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
