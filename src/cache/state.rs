//! The part of a cache that changes: the token, the newest refresh token, and what the last attempt came to.

use crate::error::Error;
use crate::grant::Grant;
use crate::renewal::{Renewal, Spread, Step, too_late};
use crate::request::Request;
use crate::token::AccessToken;
use core::time::Duration;

/// What changes with each renewal.
pub(super) struct State {
    pub(super) renewal: Renewal,
    /// The token that came with the newest refresh token.
    pub(super) refresh: Option<AccessToken>,
    /// A token whose refresh token the hook has not stored yet, and when it came. It is handed out once that is done.
    pub(super) unsaved: Option<(AccessToken, Duration)>,
    /// The fingerprint of what the original request carries, where that can be used once and was.
    pub(super) used: Option<u32>,
    /// The token that came with the refresh token that is being sent.
    pub(super) sending: Option<AccessToken>,
    /// What this process knows about its file in the store.
    #[cfg(all(feature = "std", unix))]
    pub(super) store: InStore,
}

/// What this process knows about its file in the store.
#[cfg(all(feature = "std", unix))]
#[derive(Default)]
pub(super) struct InStore {
    /// When this process wrote the file, or when another wrote what this one has taken over.
    pub(super) known_at: Duration,
    /// The token that this process has put there.
    pub(super) token: Option<AccessToken>,
}

/// The way to the state: [`State`] itself for one owner, a lock around each step for threads. In between anything may
/// happen, to the state too, and each step may be the last: a hook may panic.
pub(super) trait Access {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T;
}

impl Access for State {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        work(self)
    }
}
/// Whether what a request carried is used up: a refresh token, or the parameters of a grant that is good for one use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// It is as good as before, as far as anybody knows.
    No,
    /// Perhaps: the answer was lost, or cannot be read.
    Maybe,
    /// It was taken for a token, or refused for good.
    Yes,
}
/// What an attempt came to: one request, or two where the refresh token gave way to the original grant.
pub(super) struct Attempt {
    pub(super) result: Result<AccessToken, Error>,
    /// The request that the original grant makes, where it was made.
    pub(super) original: Option<Request>,
    /// Whether what the original request carries is used up.
    pub(super) spent: Spent,
    /// Likewise the newest refresh token.
    pub(super) refresh_spent: Spent,
    /// Whether the server refused what was sent last.
    pub(super) is_refused: bool,
}

impl Attempt {
    /// Nothing was sent.
    pub(super) fn nothing(error: Error) -> Self {
        Self { result: Err(error), original: None, spent: Spent::No, refresh_spent: Spent::No, is_refused: false }
    }
}

/// What an attempt starts from.
pub(super) struct Start {
    /// The token that came with the newest refresh token, unless another thread is sending that.
    pub(super) refresh: Option<AccessToken>,
    /// The fingerprint of what the original request carries once, if that is used up.
    pub(super) used: Option<u32>,
    pub(super) at: Duration,
    /// The part of the time limit that went by while another thread or process was waited for.
    pub(super) waited: Duration,
}
impl State {
    /// The state of a cache that begins at `now`.
    pub(super) fn new(now: Duration) -> Self {
        // Devices of one kind boot alike, but not to the nanosecond.
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

    /// Lends the newest refresh token to an attempt. Nobody else gets it until that has ended; if it panics, ever.
    pub(super) fn take_refresh(&mut self, grant: &Grant) -> Option<AccessToken> {
        let refresh = self.refresh.take_if(|_| !grant.is_kept_in_file())?;
        self.sending = Some(refresh.clone());
        Some(refresh)
    }

    /// Takes over what the requests came to. A token is not handed out yet: its refresh token may have to be stored.
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
            (Err(_), None) => {}
        }
        result
    }

    /// The hook has stored the refresh token that came with `token`.
    pub(super) fn saved(&mut self, token: &AccessToken) {
        self.unsaved.take_if(|(unsaved, _)| unsaved.is_same(token));
    }

    /// Keeps a token that was asked for at `asked_at` and came at `fetched_at`, once all that came with it is stored.
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

    /// Forgets all tokens; returns the one that was at hand, and one that was not handed out yet.
    pub(super) fn forget(&mut self) -> [Option<AccessToken>; 2] {
        (self.refresh, self.sending) = (None, None);
        [self.renewal.take(), self.unsaved.take().map(|(token, _)| token)]
    }
}
