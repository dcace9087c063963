//! A token that stays valid: fetched once, handed out until it nears its end, renewed before it is over.
//!
//! One cache holds one client, one grant and one token, so it needs no key and can never hand one user's token to
//! another. [`TokenCache`] is for one owner; [`SharedTokenCache`](crate::SharedTokenCache) is the same for threads. When
//! the server is asked is decided in `renewal.rs`, how it is asked is here.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::grant::Grant;
use crate::renewal::{Refused, Renewal, Share, Step, too_late, too_short};
use crate::secret::{Secret, SecretSource};
#[cfg(all(feature = "std", unix))]
use crate::store::{Record, Store};
use crate::token::AccessToken;
use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

#[cfg(not(all(feature = "std", unix)))]
#[path = "cache/alone.rs"]
mod turn;
#[cfg(all(feature = "std", unix))]
mod turn;

use turn::{Joined, Turn};

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
    keeper: Keeper,
    state: State,
}

impl TokenCache {
    /// A cache for what `client` gets for `grant`. Nothing is fetched yet.
    #[must_use]
    pub fn new(client: Client, grant: Grant) -> Self {
        let keeper = Keeper::new(client, grant);
        let state = keeper.first_state();
        Self { keeper, state }
    }

    /// Sets this instance's place among its likes, by which renewals are spread. Without it, it follows from the moment,
    /// to the nanosecond: set it where a device has something of its own that stays, a serial number or a machine id.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.state.renewal = Renewal::new(share);
        self
    }

    /// Puts the first fetch off by this instance's share of `spread`: until then [`token`](TokenCache::token) is an
    /// error of kind [`Wait`](ErrorKind::Wait). Call it after [`share`](TokenCache::share).
    #[must_use]
    pub fn spread_first_fetch(mut self, spread: Duration) -> Self {
        self.state.renewal.spread_first(self.keeper.now(), spread);
        self
    }

    /// Hands each new refresh token to `hook` before the access token that came with it is handed out: to be stored.
    ///
    /// If the hook fails or panics, nothing is lost: both tokens are kept, and the next call tries the hook again, without
    /// a request. The hook must not ask the same cache for a token.
    #[must_use]
    pub fn on_new_refresh_token(mut self, hook: impl Fn(&Secret) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        self.keeper.on_new_refresh_token = Some(Box::new(hook));
        self
    }

    /// Shares tokens, refusals and backoffs with the processes that use the same store: one of them asks the server, and
    /// the others wait for it or use the token at hand, as threads do.
    #[cfg(all(feature = "std", unix))]
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.keeper.store = Some(store);
        self
    }

    /// The client that asks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.keeper.client
    }

    /// A valid token that is at hand, here or in the store, and lives at least so long. The server is not asked.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where a secret cannot be read, for then nobody can say whose token to look for.
    pub fn at_hand(&mut self, min_life: Duration) -> Result<Option<AccessToken>, Error> {
        let now = self.keeper.now();
        if let Step::Use(token) = self.state.step(now, min_life) {
            return Ok(Some(token));
        }
        turn::look(&self.keeper, &mut self.state)?;
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
        let Ok(Some(entry)) = turn::look(&self.keeper, &mut self.state) else { return false };
        let is_held = |token: &AccessToken| token.expose() == held.expose();
        if self.state.renewal.held.as_ref().is_some_and(|newest| !is_held(&newest.token)) {
            return true;
        }
        let stored = entry.load(self.keeper.now()).and_then(|record| record.held);
        // A token that never was there may be one that could not be stored.
        let was_stored = held.is_stored() || self.state.stored.as_ref().is_some_and(is_held);
        let is_removed = was_stored && !stored.is_some_and(|stored| is_held(&stored.token));
        if is_removed {
            self.state.renewal.take();
        }
        is_removed
    }

    /// Why the last attempt to renew failed, if it did: while the token at hand is valid, that is no error of
    /// [`token`](TokenCache::token).
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.state.renewal.last_failure()
    }

    /// A new token from the server, whatever is at hand, stored or remembered. If that fails, nothing that was there
    /// before is lost.
    ///
    /// # Errors
    ///
    /// Those of [`Client::fetch`].
    pub fn renew(&mut self) -> Result<AccessToken, Error> {
        let result = self.keeper.renew(&mut self.state, Duration::ZERO, true);
        self.keeper.settle(result, None, Duration::ZERO)
    }

    /// A token that is valid now: the one at hand, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`Client::fetch`] where there is no valid token; [`Wait`](ErrorKind::Wait) where the server was asked
    /// too recently. A failed renewal is no error as long as the token at hand is valid.
    pub fn token(&mut self) -> Result<AccessToken, Error> {
        self.token_living(Duration::ZERO)
    }

    /// A token that lives at least so long. An unknown lifetime is long enough.
    ///
    /// # Errors
    ///
    /// As [`token`](TokenCache::token), and [`Unusable`](ErrorKind::Unusable) where even a fresh token is too short.
    pub fn token_living(&mut self, min_life: Duration) -> Result<AccessToken, Error> {
        let mut step = self.state.step(self.keeper.now(), min_life);
        if let Step::Refrain(_) = step {
            step = self.keeper.look(&mut self.state, min_life);
        }
        if let (Step::Refrain(_), Some(refused)) = (&step, self.state.renewal.refused()) {
            if self.keeper.has_other_credentials(refused) {
                self.state.renewal.forget_refusal(self.keeper.now());
                step = self.state.step(self.keeper.now(), min_life);
            }
        }
        let valid = match step {
            Step::Use(token) => return Ok(token),
            Step::Refrain(error) => return Err(error),
            Step::Renew(valid) => valid,
        };
        let result = self.keeper.renew(&mut self.state, min_life, false);
        // One may have come out of the store meanwhile.
        let valid = valid.or_else(|| self.state.step(self.keeper.now(), min_life).token());
        self.keeper.settle(result, valid, min_life)
    }

    /// When [`token`](TokenCache::token) will ask the server next, by the client's clock: a device that sleeps between
    /// its tasks, or a program that wants its token renewed before somebody waits for it, calls it then. A moment that
    /// has passed means at once; none means not before something changes, as with a token whose lifetime is unknown or
    /// that is not for keeping. It is a second after the last attempt at the earliest, so that a loop around it never spins.
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
        self.state.renewal.invalidate(self.keeper.now(), token)
    }

    /// Forgets the token, then ends it at the server. Without a token there is nothing to do.
    ///
    /// # Errors
    ///
    /// Those of [`Client::revoke`].
    pub fn revoke(&mut self) -> Result<(), Error> {
        self.keeper.revoke(|| self.state.forget())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("client", &self.keeper.client).finish_non_exhaustive()
    }
}

/// What does not change: who asks, for what, and who wants to know.
pub(crate) struct Keeper {
    pub(crate) client: Client,
    grant: Grant,
    #[cfg(all(feature = "std", unix))]
    pub(crate) store: Option<Store>,
    pub(crate) on_new_refresh_token: Option<Box<Hook>>,
}

type Hook = dyn Fn(&Secret) -> Result<(), Error> + Send + Sync;

/// What changes with each renewal.
pub(crate) struct State {
    pub(crate) renewal: Renewal,
    /// The token that came with the newest refresh token.
    refresh: Option<AccessToken>,
    /// A token whose refresh token the hook has not stored yet, and when it came. It is handed out once that is done.
    unsaved: Option<(AccessToken, Duration)>,
    /// The fingerprint of what the original request carries, where that can be used once and was.
    used: Option<u32>,
    /// When the store was written by this process, or what it took over from it was.
    #[cfg(all(feature = "std", unix))]
    heard_at: Duration,
    /// The token that this process has put into the store.
    #[cfg(all(feature = "std", unix))]
    stored: Option<AccessToken>,
}

/// The way to the state: [`State`] itself for one owner, a lock around each step for threads. In between anything may
/// happen, to the state too, and each step may be the last: a hook may panic.
pub(crate) trait Access {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T;
}

impl Access for State {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        work(self)
    }
}

/// What a renewal's requests came to. Three things can be used up, each by its fingerprint or by a flag: the newest
/// refresh token (`is_refresh_spent`); what the original request carries, by a success (`used`); and the same, perhaps,
/// by an answer that was lost (`Failure::Request::spent`), after which nothing is sent until the source gives another.
pub(crate) struct Attempt {
    result: Result<AccessToken, Failure>,
    /// The refresh token was refused, or may have been used up: it is not sent again.
    is_refresh_spent: bool,
    /// What the original request carries, if it is used up now.
    used: Option<u32>,
}

enum Failure {
    /// A request failed; its fingerprint, and that of what it carries if sending it again could do harm.
    Request { error: Error, fingerprint: u32, spent: Option<u32> },
    /// Nothing was sent.
    Nothing(Error),
}

impl Attempt {
    /// One that used nothing up.
    fn of(result: Result<AccessToken, Failure>) -> Self {
        Self { result, is_refresh_spent: false, used: None }
    }
}

/// What is gone before an attempt begins.
#[derive(Clone, Copy)]
struct Spent {
    /// The fingerprint of what can be used once, and was.
    used: Option<u32>,
    /// The part of the time limit that went by while another process was waited for.
    waited: Duration,
}

/// Whether the refresh token itself was refused, or the code or password.
fn is_grant_refused(error: &Error) -> bool {
    error.oauth_error() == Some("invalid_grant")
}

impl Keeper {
    pub(crate) fn new(client: Client, grant: Grant) -> Self {
        Self {
            client,
            grant,
            #[cfg(all(feature = "std", unix))]
            store: None,
            on_new_refresh_token: None,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.client.now()
    }

    pub(crate) fn first_state(&self) -> State {
        // Devices of one kind boot alike, but not to the nanosecond.
        let moment = self.now().as_nanos().to_le_bytes();
        State {
            renewal: Renewal::new(Share::from_seed(&moment)),
            refresh: None,
            unsaved: None,
            used: None,
            #[cfg(all(feature = "std", unix))]
            heard_at: Duration::ZERO,
            #[cfg(all(feature = "std", unix))]
            stored: None,
        }
    }

    /// Whether the credentials differ from those that were refused.
    pub(crate) fn has_other_credentials(&self, refused: Refused) -> bool {
        self.client.request(&self.grant).is_ok_and(|request| match refused {
            Refused::Request(fingerprint) => request.fingerprint() != fingerprint,
            Refused::Once(once) => request.once() != once,
        })
    }

    /// What to do for somebody who asks for a token, when other processes have been looked at.
    pub(crate) fn look(&self, state: &mut impl Access, min_life: Duration) -> Step {
        // What is wrong with a secret is told by who sends it.
        let _ = turn::look(self, state);
        state.with(|state| state.step(self.now(), min_life))
    }

    /// Renews, unless another process has done so; with `anew` in any case.
    pub(crate) fn renew(&self, state: &mut impl Access, min_life: Duration, anew: bool) -> Result<AccessToken, Error> {
        let now = self.now();
        state.with(|state| state.renewal.begins(now));
        let is_unsaved = state.with(|state| state.unsaved.is_some());
        let mut turn = match turn::join(self, state, min_life, anew || is_unsaved)? {
            Joined::Token(token) => return Ok(token),
            Joined::Turn(turn) => turn,
        };
        let result = self.renew_in(&mut turn, state);
        turn.end(self, state);
        result
    }

    /// Asks the server, has a new refresh token stored, and only then takes the new token over. The state has what came
    /// at each point, so that nothing is lost if the hook fails or panics.
    fn renew_in(&self, turn: &mut Turn, state: &mut impl Access) -> Result<AccessToken, Error> {
        if let Some((token, fetched_at)) = state.with(|state| state.unsaved.clone()) {
            self.save(turn, &token)?;
            let now = self.now();
            state.with(|state| state.unsaved = None);
            if !token.is_expired(now) {
                return state.with(|state| state.keep(now, fetched_at, token));
            }
        }
        let (refresh, used) = state.with(|state| (state.refresh.clone(), state.used));
        let refresh = refresh.as_ref().filter(|_| !self.grant.is_kept_in_file());
        let attempt = self.attempt(refresh, Spent { used, waited: turn.waited() });
        let fetched_at = self.now();
        let token = state.with(|state| state.receive(fetched_at, attempt))?;
        self.save(turn, &token)?;
        let now = self.now();
        state.with(|state| state.keep(now, fetched_at, token))
    }

    /// Asks the server: by the refresh token where there is one, else (or if that is refused) by the original grant with
    /// all its parameters. At most two requests.
    fn attempt(&self, refresh: Option<&AccessToken>, spent: Spent) -> Attempt {
        let Some(secret) = refresh.and_then(AccessToken::refresh_token) else { return self.by_original(spent) };
        if !self.grant.is_refresh_by(secret.expose()) {
            let attempt = self.by_refresh_token(secret, spent);
            return attempt.unwrap_or_else(|| Attempt { is_refresh_spent: true, ..self.by_original(spent) });
        }
        // The original grant's own source gives the newest refresh token.
        let attempt = self.by_original(spent);
        let is_refresh_spent = match &attempt.result {
            Err(Failure::Request { error, spent, .. }) => spent.is_some() || is_grant_refused(error),
            _ => false,
        };
        Attempt { is_refresh_spent, ..attempt }
    }

    /// By the refresh token; none if it is refused, and the original grant is to be tried instead.
    fn by_refresh_token(&self, secret: &Secret, given: Spent) -> Option<Attempt> {
        let grant = Grant::refresh_token(SecretSource::value(secret.expose()));
        let (error, mut fingerprint, spent) = match self.fetch(&grant, Spent { used: None, ..given }) {
            Ok((token, _)) => return Some(Attempt::of(Ok(token))),
            Err(Failure::Nothing(error)) => return Some(Attempt::of(Err(Failure::Nothing(error)))),
            Err(Failure::Request { error, fingerprint, spent }) => (error, fingerprint, spent),
        };
        if error.kind() == ErrorKind::Refused {
            let original = self.client.request(&self.grant).ok();
            let can_ask_anew = original.as_ref().is_some_and(|original| given.used != Some(original.once()));
            // Where the refresh token is all there is, it is given up only if it is refused itself.
            if can_ask_anew || is_grant_refused(&error) {
                return None;
            }
            // The refusal is remembered for the request by which other credentials are recognised.
            fingerprint = original.map_or(fingerprint, |original| original.fingerprint());
        }
        // If the answer was lost, the refresh token is used up, and the original grant is left to try later.
        let result = Err(Failure::Request { error, fingerprint, spent: None });
        Some(Attempt { is_refresh_spent: spent.is_some(), ..Attempt::of(result) })
    }

    /// By the original grant.
    fn by_original(&self, spent: Spent) -> Attempt {
        match self.fetch(&self.grant, spent) {
            Ok((token, once)) => {
                // Not where the server hands the same refresh token out again.
                let is_other = |token: &Secret| !self.grant.is_refresh_by(token.expose());
                let is_used = !self.grant.is_repeatable() && token.refresh_token().is_some_and(is_other);
                Attempt { used: Some(once).filter(|_| is_used), ..Attempt::of(Ok(token)) }
            }
            Err(failure) => Attempt::of(Err(failure)),
        }
    }

    /// Fetches a token, unless what the request carries is used up; returns the fingerprint of that with it.
    fn fetch(&self, grant: &Grant, Spent { used, waited }: Spent) -> Result<(AccessToken, u32), Failure> {
        let mut request = self.client.request(grant).map_err(Failure::Nothing)?;
        request.set_waited(waited);
        let (fingerprint, once) = (request.fingerprint(), request.once());
        if used == Some(once) {
            // Strict servers end the whole family of tokens when they see one of them again.
            return Err(Failure::Nothing(
                Error::config("what the grant sends was used up, and the refresh token that came for it is lost")
                    .with_hint("a new one is needed: sign in again"),
            ));
        }
        match self.client.exchange(&request) {
            Ok((token, Err(error))) if token.refresh_token().is_none() => {
                Err(Failure::Request { error, fingerprint, spent: Some(once).filter(|_| !request.is_repeatable()) })
            }
            Ok((token, _)) => Ok((token, once)),
            Err(error) => {
                // A success that cannot be read has used up what was sent all the same.
                let is_unread = error.kind() == ErrorKind::Unusable && error.status().is_none_or(|status| status < 300);
                // A gateway that got no answer (502, 504) does not know either.
                let is_lost = error.kind() == ErrorKind::OutcomeUnknown || matches!(error.status(), Some(502 | 504));
                let is_spent = is_unread || is_lost;
                let spent = Some(once).filter(|_| is_spent && !request.is_repeatable());
                Err(Failure::Request { error, fingerprint, spent })
            }
        }
    }

    fn save(&self, turn: &mut Turn, token: &AccessToken) -> Result<(), Error> {
        turn.save(token)?;
        match (&self.on_new_refresh_token, token.refresh_token()) {
            (Some(hook), Some(refresh_token)) => hook(refresh_token),
            _ => Ok(()),
        }
    }

    /// Forgets all tokens, the stored one too, then ends them at the server, all of them even if one fails.
    pub(crate) fn revoke(&self, forget: impl FnOnce() -> [Option<AccessToken>; 2]) -> Result<(), Error> {
        let [held, unsaved] = forget();
        let is_other = |token: &AccessToken| held.as_ref().is_none_or(|held| held.expose() != token.expose());
        let stored = turn::forget(self).filter(is_other);
        let mut first = Ok(());
        for token in [held, unsaved, stored].into_iter().flatten() {
            first = first.and(self.client.revoke(token));
        }
        first
    }

    /// What the caller gets: a failed renewal takes no valid token away, and a fresh one that is too short is an error.
    pub(crate) fn settle(
        &self,
        result: Result<AccessToken, Error>,
        valid: Option<AccessToken>,
        min_life: Duration,
    ) -> Result<AccessToken, Error> {
        let now = self.now();
        let result = result.and_then(|token| match token.remaining(now) {
            Some(life) if life.is_zero() => Err(too_late()),
            Some(life) if life < min_life => Err(too_short(life, min_life)),
            _ => Ok(token),
        });
        result.or_else(|error| valid.filter(|token| !token.is_expired(now)).ok_or(error))
    }
}

impl State {
    pub(crate) fn step(&self, now: Duration, min_life: Duration) -> Step {
        self.renewal.step(now, min_life)
    }

    /// Takes over what another process has left, if that is newer than what is known here. `used` is the fingerprint of
    /// what the original request carries, if that is used up.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn adopt(&mut self, record: Record, used: Option<u32>) {
        if let Some(held) = record.held {
            self.renewal.adopt(held);
        }
        if record.written_at > self.heard_at {
            self.heard_at = record.written_at;
            (self.renewal.pause, self.renewal.failures, self.renewal.refusals) =
                (record.pause, record.failures, record.refusals);
            self.refresh = record.refresh;
            self.used = used.or(self.used);
        }
    }

    /// Takes over what the requests came to. A token is not handed out yet: its refresh token may have to be stored.
    fn receive(&mut self, now: Duration, attempt: Attempt) -> Result<AccessToken, Error> {
        if attempt.is_refresh_spent {
            self.refresh = None;
        }
        self.used = attempt.used.or(self.used);
        match attempt.result {
            Ok(token) => {
                // A server that sends no new refresh token leaves the old one valid (RFC 6749 section 6).
                if token.refresh_token().is_some() {
                    self.refresh = Some(token.clone());
                    self.unsaved = Some((token.clone(), now));
                }
                Ok(token)
            }
            Err(Failure::Nothing(error)) => Err(error),
            Err(Failure::Request { error, spent: Some(once), .. }) => {
                self.renewal.spent(&error, once);
                Err(error)
            }
            Err(Failure::Request { error, fingerprint, spent: None }) => {
                self.renewal.failed(now, &error, fingerprint);
                Err(error)
            }
        }
    }

    /// Keeps a token that came at `fetched_at`, once all that came with it is stored.
    fn keep(&mut self, now: Duration, fetched_at: Duration, token: AccessToken) -> Result<AccessToken, Error> {
        self.unsaved = None;
        if token.is_expired(now) {
            let error = too_late();
            self.renewal.failed(now, &error, 0);
            return Err(error);
        }
        self.renewal.succeeded(now, fetched_at, &token);
        Ok(token)
    }

    /// Forgets all tokens; returns the one that was at hand, and one that was not handed out yet.
    pub(crate) fn forget(&mut self) -> [Option<AccessToken>; 2] {
        self.refresh = None;
        [self.renewal.take(), self.unsaved.take().map(|(token, _)| token)]
    }
}
