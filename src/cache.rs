//! A token that stays valid: fetched once, handed out until it nears its end, renewed before it is over.
//!
//! One cache holds one client, one grant and one token, so it needs no key and can never hand one user's token to
//! another. [`TokenCache`] is for one owner; [`SharedTokenCache`](crate::SharedTokenCache) is the same for threads. When
//! the server is asked is decided in `renewal.rs`, how it is asked is here.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::grant::Grant;
use crate::observe::Event;
#[cfg(all(feature = "std", unix))]
use crate::renewal::Pause;
use crate::renewal::{Refused, Renewal, Spread, Step, too_late, too_short};
use crate::request::Request;
use crate::secret::Secret;
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

    /// Returns the client that asks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.keeper.client
    }

    /// Returns a token that is in the cache or its store and valid for at least `min_life`. The server is not asked.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where a secret cannot be read, for then nobody can say whose token to look for.
    pub fn at_hand(&mut self, min_life: Duration) -> Result<Option<AccessToken>, Error> {
        let now = self.keeper.now();
        if let Step::Use(token) = self.state.step(now, min_life) {
            return Ok(Some(token));
        }
        self.keeper.look(&mut self.state, min_life)?;
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
        let Ok(Some(entry)) = turn::look(&self.keeper, &mut self.state, Duration::ZERO) else { return false };
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
        let result = self.keeper.renew(&mut self.state, Duration::ZERO, true, Duration::ZERO);
        self.keeper.settle(result, None, Duration::ZERO)
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
        let mut step = self.state.step(self.keeper.now(), min_life);
        if let Step::Refrain(_) = step {
            // What is wrong with a secret is told by who sends it.
            let _ = self.keeper.look(&mut self.state, min_life);
            step = self.state.step(self.keeper.now(), min_life);
        }
        if let (Step::Refrain(_), Some(refused)) = (&step, self.state.renewal.refused()) {
            self.state.renewal.looked(self.keeper.now());
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
        let result = self.keeper.renew(&mut self.state, min_life, false, Duration::ZERO);
        // One may have come out of the store meanwhile.
        let valid = valid.or_else(|| self.state.step(self.keeper.now(), min_life).token());
        self.keeper.settle(result, valid, min_life)
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
        self.state.renewal.invalidate(self.keeper.now(), token)
    }

    /// Forgets the token, then ends it at the server. Without a token there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) where the endpoint knows no way to end a token: then nothing is forgotten. Otherwise
    /// those of [`Client::revoke`].
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
    /// The token that came with the refresh token that is being sent.
    lent: Option<AccessToken>,
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

/// Whether what a request carried is used up: a refresh token, or the parameters of a grant that is good for one use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spent {
    /// It is as good as before, as far as anybody knows.
    No,
    /// Perhaps: the answer was lost, or cannot be read.
    Maybe,
    /// It was taken for a token, or refused for good.
    Yes,
}

/// One request for a token, and what it came to.
struct Sent {
    request: Request,
    result: Result<AccessToken, Error>,
    spent: Spent,
}

/// What an attempt came to: one request, or two where the refresh token gave way to the original grant.
struct Attempt {
    result: Result<AccessToken, Error>,
    /// The request that the original grant makes, where it was made.
    original: Option<Request>,
    /// Whether what the original request carries is used up.
    spent: Spent,
    /// Likewise the newest refresh token.
    refresh_spent: Spent,
}

impl Attempt {
    /// Nothing was sent.
    fn nothing(error: Error) -> Self {
        Self { result: Err(error), original: None, spent: Spent::No, refresh_spent: Spent::No }
    }
}

/// What an attempt starts from.
struct Start {
    /// The token that came with the newest refresh token, unless another thread is sending that.
    refresh: Option<AccessToken>,
    /// The token that is valid until now: some services renew a token with itself.
    present: Option<AccessToken>,
    /// The fingerprint of what the original request carries once, if that is used up.
    used: Option<u32>,
    at: Duration,
    /// The part of the time limit that went by while another thread or process was waited for.
    waited: Duration,
}

/// Whether the server answered, and neither with a token nor with "later". A proxy's refusal (status 407, or none where it
/// let no request through) says nothing about what was sent to the server.
fn is_answer(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Refused => error.status().is_some_and(|status| status != 407),
        kind => kind == ErrorKind::Unusable,
    }
}

/// Whether the server may have taken what was sent, and nobody heard of it.
fn is_lost(error: &Error) -> bool {
    match (error.kind(), error.status()) {
        (ErrorKind::OutcomeUnknown, _) => true,
        // A gateway that got no answer does not know either.
        (_, Some(502 | 504)) => true,
        // A success that cannot be read; but an error of OAuth's is one under any status.
        (ErrorKind::Unusable, status) => status.is_none_or(|status| status < 300) && error.oauth_error().is_none(),
        _ => false,
    }
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
            renewal: Renewal::new(Spread::from_seed(&moment)),
            refresh: None,
            unsaved: None,
            used: None,
            lent: None,
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

    /// Whether a thread may ask beside another: without harm to what that sends.
    #[cfg(feature = "std")]
    pub(crate) fn is_repeatable(&self) -> bool {
        self.grant.is_repeatable()
    }

    /// Takes over what other processes have left.
    pub(crate) fn look(&self, state: &mut impl Access, min_life: Duration) -> Result<(), Error> {
        turn::look(self, state, min_life).map(drop)
    }

    /// Renews, unless another process has done so; with `anew` in any case. `waited` is the part of the time limit that has
    /// gone by.
    pub(crate) fn renew(
        &self,
        state: &mut impl Access,
        min_life: Duration,
        anew: bool,
        waited: Duration,
    ) -> Result<AccessToken, Error> {
        let now = self.now();
        state.with(|state| state.renewal.begins(now));
        let is_unsaved = state.with(|state| state.unsaved.is_some());
        let mut turn = match turn::join(self, state, min_life, anew || is_unsaved)? {
            Joined::Token(token) => {
                if token.is_stored() {
                    self.client.tell(|| Event::StoreHit);
                }
                return Ok(token);
            }
            Joined::Turn(turn) => turn,
        };
        let elapsed = turn.waited();
        if !elapsed.is_zero() {
            self.client.tell(|| Event::Waited { elapsed });
        }
        let result = self.renew_in(&mut turn, state, waited);
        turn.end(self, state, &result);
        if let Err(error) = &result {
            let next_attempt = state.with(|state| state.renewal.next_attempt());
            self.client.tell(|| Event::RenewalFailed { error, next_attempt });
        }
        result
    }

    /// Asks the server, has a new refresh token stored, and only then takes the new token over. The state has what came
    /// at each point, so that nothing is lost if the hook fails or panics.
    fn renew_in(&self, turn: &mut Turn, state: &mut impl Access, waited: Duration) -> Result<AccessToken, Error> {
        if let Some((token, fetched_at)) = state.with(|state| state.unsaved.clone()) {
            self.save(turn, &token)?;
            let now = self.now();
            state.with(|state| state.saved(&token));
            if !token.is_expired(now) {
                return state.with(|state| state.keep(now, fetched_at, fetched_at, token));
            }
        }
        let at = self.now();
        let waited = waited.saturating_add(turn.waited());
        // Without the turn it may be on its way already.
        let may_lend = !turn.is_alone();
        let (refresh, used) =
            state.with(|state| (may_lend.then(|| state.lend_refresh(&self.grant)).flatten(), state.used));
        let present = state.with(|state| state.renewal.held.as_ref().map(|held| held.token.clone()));
        let present = present.filter(|token| !token.is_expired(at) && !token.is_ended());
        let start = Start { refresh, present, used, at, waited };
        let attempt = self.attempt(&start);
        let fetched_at = self.now();
        let token = state.with(|state| state.receive(&start, fetched_at, attempt))?;
        self.save(turn, &token)?;
        let now = self.now();
        state.with(|state| state.keep(now, start.at, fetched_at, token))
    }

    /// Asks the server: with the refresh token where there is one, else with the original grant and all its parameters. At
    /// most two requests: a refresh that was answered, and not with a token or "later", gives way to the original grant.
    fn attempt(&self, start: &Start) -> Attempt {
        let original = || self.client.request(&self.grant);
        let endpoint = self.client.endpoint();
        let present = start.present.as_ref().and_then(|token| endpoint.renewal(None, Some(token.expose())));
        if let Some((grant, request)) =
            present.and_then(|grant| self.client.request(&grant).ok().map(|request| (grant, request)))
        {
            let Sent { request, result, .. } = self.send(request, &grant, start);
            if !result.as_ref().is_err_and(is_answer) {
                let original = result.is_err().then(|| original().unwrap_or(request));
                return Attempt { result, original, spent: Spent::No, refresh_spent: Spent::No };
            }
        }
        let renewal = start.refresh.as_ref().and_then(|token| {
            let refresh_token = token.refresh_token()?;
            let grant = endpoint.renewal(Some(refresh_token.expose()), Some(token.expose()))?;
            Some((refresh_token, grant))
        });
        let Some((refresh, grant)) = renewal else {
            return self.by_original(start, original());
        };
        // Each source is read once, and none before it is needed.
        let own = self.grant.is_refresh().then(original);
        if own.as_ref().is_some_and(|own| own.as_ref().is_ok_and(|own| own.is_refresh_by(refresh))) {
            // The grant's own source has the newest refresh token.
            let attempt = self.by_original(start, own.unwrap_or_else(original));
            return Attempt { refresh_spent: attempt.spent, ..attempt };
        }
        let Sent { request, result, spent } = match self.client.request(&grant) {
            Ok(request) => self.send(request, &grant, start),
            Err(error) => return Attempt::nothing(error),
        };
        let Err(error) = &result else {
            return Attempt { result, original: None, spent: Spent::No, refresh_spent: spent };
        };
        let original = own.unwrap_or_else(original);
        let has_other = original.as_ref().is_ok_and(|original| start.used != Some(original.once()));
        if is_answer(error) && (has_other || spent == Spent::Yes) {
            return Attempt { refresh_spent: Spent::Yes, ..self.by_original(start, original) };
        }
        // A refusal is remembered for the request by which other credentials are recognised.
        Attempt { result, original: Some(original.unwrap_or(request)), spent: Spent::No, refresh_spent: spent }
    }

    /// Asks with the original grant, unless what it carries is used up.
    fn by_original(&self, start: &Start, request: Result<Request, Error>) -> Attempt {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::nothing(error),
        };
        if start.used == Some(request.once()) {
            // Strict servers end the whole family of tokens when they see one of them again.
            return Attempt::nothing(
                Error::config("the grant was already used once, and the refresh token it returned is lost")
                    .with_hint("a new one is needed: sign in again"),
            );
        }
        let Sent { request, result, spent } = self.send(request, &self.grant, start);
        Attempt { result, original: Some(request), spent, refresh_spent: Spent::No }
    }

    fn send(&self, mut request: Request, grant: &Grant, start: &Start) -> Sent {
        request.set_waited(start.waited.saturating_add(self.now().saturating_sub(start.at)));
        let exchanged = self.client.exchange(grant, &request);
        let spent = match &exchanged {
            _ if grant.is_repeatable() => Spent::No,
            Ok((token, in_time)) => match (token.refresh_token(), grant.is_refresh()) {
                // A refresh token that was not replaced stays valid (RFC 6749 section 6).
                (None, true) => Spent::No,
                (None, false) => in_time.as_ref().map_or(Spent::Maybe, |()| Spent::No),
                (Some(token), _) if request.is_refresh_by(token) => Spent::No,
                (Some(_), _) => Spent::Yes,
            },
            Err(error) if error.oauth_error() == Some("invalid_grant") => Spent::Yes,
            Err(error) if is_lost(error) => Spent::Maybe,
            Err(_) => Spent::No,
        };
        let result = match exchanged {
            // A refresh token that came too late is good all the same.
            Ok((token, Err(late))) if token.refresh_token().is_none() => Err(late),
            Ok((token, _)) => Ok(token),
            Err(error) => Err(error),
        };
        Sent { request, result, spent }
    }

    fn save(&self, turn: &mut Turn, token: &AccessToken) -> Result<(), Error> {
        turn.save(token)?;
        match (&self.on_new_refresh_token, token.refresh_token()) {
            (Some(hook), Some(refresh_token)) => hook(refresh_token),
            _ => Ok(()),
        }
    }

    /// Forgets all tokens, the stored one too, then ends them at the server, all of them even if one fails. Where the
    /// endpoint cannot end a token, none is forgotten.
    pub(crate) fn revoke(&self, forget: impl FnOnce() -> [Option<AccessToken>; 2]) -> Result<(), Error> {
        self.client.check_revocation()?;
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
            // What is being sent is not sent once more.
            let lent = self.lent.as_ref().and_then(AccessToken::refresh_token).map(Secret::expose);
            let is_lent = |token: &Secret| lent == Some(token.expose());
            self.refresh = record.refresh.filter(|token| !token.refresh_token().is_some_and(is_lent));
            self.used = used.or(self.used);
        }
    }

    /// Lends the newest refresh token to an attempt. Nobody else gets it until that has ended; if it panics, ever.
    fn lend_refresh(&mut self, grant: &Grant) -> Option<AccessToken> {
        let refresh = self.refresh.take_if(|_| !grant.is_kept_in_file())?;
        self.lent = Some(refresh.clone());
        Some(refresh)
    }

    /// Takes over a failure of another process that reaches the server in the same way, where that lasts longer than what is
    /// known here.
    #[cfg(all(feature = "std", unix))]
    fn adopt_pause(&mut self, record: Record) {
        let until = |pause: &Option<Pause>| pause.as_ref().map(|pause| pause.until.max(pause.calm_until));
        if until(&record.pause) > until(&self.renewal.pause) {
            (self.renewal.pause, self.renewal.failures, self.renewal.refusals) =
                (record.pause, record.failures, record.refusals);
        }
    }

    /// Takes over what the requests came to. A token is not handed out yet: its refresh token may have to be stored.
    fn receive(&mut self, start: &Start, now: Duration, attempt: Attempt) -> Result<AccessToken, Error> {
        let Attempt { result, original, spent, refresh_spent } = attempt;
        let lent = self.lent.take_if(|lent| start.refresh.as_ref().is_some_and(|refresh| refresh.is_same(lent)));
        if refresh_spent == Spent::No && self.refresh.is_none() {
            self.refresh = lent;
        }
        match (&result, original) {
            (Ok(token), original) => {
                self.used = original.filter(|_| spent == Spent::Yes).map(|request| request.once()).or(self.used);
                if token.refresh_token().is_some() {
                    self.refresh = Some(token.clone());
                    self.unsaved = Some((token.clone(), now));
                }
            }
            (Err(error), Some(request)) if spent == Spent::Maybe => self.renewal.spent(error, request.once()),
            (Err(error), Some(request)) => self.renewal.failed(now, start.at, error, request.fingerprint()),
            (Err(_), None) => {}
        }
        result
    }

    /// The hook has stored the refresh token that came with `token`.
    fn saved(&mut self, token: &AccessToken) {
        self.unsaved.take_if(|(unsaved, _)| unsaved.is_same(token));
    }

    /// Keeps a token that was asked for at `asked_at` and came at `fetched_at`, once all that came with it is stored.
    fn keep(
        &mut self,
        now: Duration,
        asked_at: Duration,
        fetched_at: Duration,
        token: AccessToken,
    ) -> Result<AccessToken, Error> {
        self.saved(&token);
        if token.is_expired(now) {
            let error = too_late();
            self.renewal.failed(now, asked_at, &error, 0);
            return Err(error);
        }
        self.renewal.succeeded(now, asked_at, fetched_at, &token);
        Ok(token)
    }

    /// Forgets all tokens; returns the one that was at hand, and one that was not handed out yet.
    pub(crate) fn forget(&mut self) -> [Option<AccessToken>; 2] {
        (self.refresh, self.lent) = (None, None);
        [self.renewal.take(), self.unsaved.take().map(|(token, _)| token)]
    }
}
