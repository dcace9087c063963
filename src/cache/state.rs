//! The part of a cache that changes: the token, the newest refresh token, and the result of the last attempt.

use crate::error::Error;
use crate::grant::Grant;
use crate::renewal::{Renewal, Spread, Step, too_late};
use crate::request::Request;
use crate::token::AccessToken;
use core::time::Duration;

/// The parts of a cache that change with each renewal.
pub(super) struct State {
    pub(super) renewal: Renewal,
    /// The token that came with the newest refresh token.
    pub(super) refresh: Option<AccessToken>,
    /// A token that waits until the hook has stored its refresh token, and when it arrived.
    pub(super) unsaved: Option<(AccessToken, Duration)>,
    /// The fingerprint of the original request's one-time value, if that is used up.
    pub(super) used: Option<u32>,
    /// The token that came with the refresh token that is being sent now.
    pub(super) sending: Option<AccessToken>,
    /// What this process knows about its file in the store.
    #[cfg(all(feature = "std", unix))]
    pub(super) store: InStore,
}

/// What this process knows about its file in the store.
#[cfg(all(feature = "std", unix))]
#[derive(Default)]
pub(super) struct InStore {
    /// When this process wrote the file, or when another process wrote the record that this one has adopted.
    pub(super) known_at: Duration,
    /// The token that this process has stored there.
    pub(super) token: Option<AccessToken>,
}

/// Access to the state: direct for a single owner, under a lock for threads. The state may change between two calls,
/// and any call may be the last, because a hook may panic.
pub(super) trait Access {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T;
}

impl Access for State {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        work(self)
    }
}

/// Whether a request used up its refresh token or its one-time grant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// It can still be used.
    No,
    /// Unknown: the answer was lost, or cannot be read.
    Maybe,
    /// The server exchanged it for a token, or refused it for good.
    Yes,
}

/// The result of an attempt: of one request, or of two if the refresh token gave way to the original grant.
pub(super) struct Attempt {
    pub(super) result: Result<AccessToken, Error>,
    /// The original grant's request, if it was built.
    pub(super) original: Option<Request>,
    /// Whether the original grant is used up.
    pub(super) spent: Spent,
    /// Whether the newest refresh token is used up.
    pub(super) refresh_spent: Spent,
    /// Whether the server refused the last request.
    pub(super) is_refused: bool,
}

impl Attempt {
    /// Returns an attempt that failed before anything was sent.
    pub(super) fn nothing(error: Error) -> Self {
        Self { result: Err(error), original: None, spent: Spent::No, refresh_spent: Spent::No, is_refused: false }
    }
}

/// The start of an attempt.
pub(super) struct Start {
    /// The token that came with the newest refresh token, unless another thread is sending that.
    pub(super) refresh: Option<AccessToken>,
    /// The token that has been valid so far: some services renew a token with itself.
    pub(super) present: Option<AccessToken>,
    /// The fingerprint of the original request's one-time value, if that is used up.
    pub(super) used: Option<u32>,
    /// Whether the previous attempt was not refused.
    pub(super) is_first: bool,
    pub(super) at: Duration,
    /// The part of the time limit that was spent waiting for other threads and processes.
    pub(super) waited: Duration,
}

impl State {
    /// Creates the state of a cache at `now`.
    pub(super) fn new(now: Duration) -> Self {
        // Devices of one kind boot in about the same time, but not to the nanosecond.
        let moment = now.as_nanos().to_le_bytes();
        Self {
            renewal: Renewal::new(Spread::from_seed(&moment)),
            refresh: None,
            unsaved: None,
            used: None,
            sending: None,
            #[cfg(all(feature = "std", unix))]
            store: InStore::default(),
        }
    }

    pub(super) fn step(&self, now: Duration, min_life: Duration) -> Step {
        self.renewal.step(now, min_life)
    }

    /// Takes the newest refresh token for an attempt. No other attempt gets it until this one has ended, and never if it
    /// panics.
    pub(super) fn take_refresh(&mut self, grant: &Grant) -> Option<AccessToken> {
        let refresh = self.refresh.take_if(|_| !grant.is_kept_in_file())?;
        self.sending = Some(refresh.clone());
        Some(refresh)
    }

    /// Records the result of an attempt. Its token is not handed out yet, because its refresh token may have to be
    /// stored.
    pub(super) fn receive(&mut self, start: &Start, now: Duration, attempt: Attempt) -> Result<AccessToken, Error> {
        let Attempt { result, original, spent, refresh_spent, is_refused } = attempt;
        let sending =
            self.sending.take_if(|sending| start.refresh.as_ref().is_some_and(|refresh| refresh.is_same(sending)));
        if refresh_spent == Spent::No && self.refresh.is_none() {
            self.refresh = sending;
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
            (Err(error), Some(request)) => {
                let refused = is_refused.then(|| request.fingerprint());
                self.renewal.failed(now, start.at, error, refused);
            }
            // The source of a secret asked to wait: nothing was sent.
            (Err(error), None) => self.renewal.waits(now, error.retry_after().unwrap_or_default()),
        }
        result
    }

    /// Records that the refresh token that came with `token` is stored.
    pub(super) fn saved(&mut self, token: &AccessToken) {
        self.unsaved.take_if(|(unsaved, _)| unsaved.is_same(token));
    }

    /// Keeps a token that was requested at `asked_at` and arrived at `fetched_at`, once its refresh token is stored.
    pub(super) fn keep(
        &mut self,
        now: Duration,
        asked_at: Duration,
        fetched_at: Duration,
        token: AccessToken,
    ) -> Result<AccessToken, Error> {
        self.saved(&token);
        if token.is_expired(now) {
            let error = too_late();
            self.renewal.failed(now, asked_at, &error, None);
            return Err(error);
        }
        self.renewal.succeeded(now, asked_at, fetched_at, &token);
        Ok(token)
    }

    /// Forgets all tokens. Returns the current one, one that was not handed out yet, and two that came with a refresh token: the
    /// newest one, and one that is being sent.
    pub(super) fn forget(&mut self) -> [Option<AccessToken>; 4] {
        let unsaved = self.unsaved.take().map(|(token, _)| token);
        [self.renewal.take(), unsaved, self.refresh.take(), self.sending.take()]
    }
}
