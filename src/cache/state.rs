//! The part of a cache that changes: the token, the newest refresh token, and what the last attempt came to.

use crate::error::Error;
use crate::grant::Grant;
#[cfg(all(feature = "std", unix))]
use crate::renewal::Pause;
use crate::renewal::{Renewal, Spread, Step, too_late};
use crate::request::Request;
#[cfg(all(feature = "std", unix))]
use crate::secret::Secret;
#[cfg(all(feature = "std", unix))]
use crate::store::Record;
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
    pub(super) lent: Option<AccessToken>,
    /// When the store was written by this process, or what it took over from it was.
    #[cfg(all(feature = "std", unix))]
    pub(super) heard_at: Duration,
    /// The token that this process has put into the store.
    #[cfg(all(feature = "std", unix))]
    pub(super) stored: Option<AccessToken>,
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
}

impl Attempt {
    /// Nothing was sent.
    pub(super) fn nothing(error: Error) -> Self {
        Self { result: Err(error), original: None, spent: Spent::No, refresh_spent: Spent::No }
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
            lent: None,
            #[cfg(all(feature = "std", unix))]
            heard_at: Duration::ZERO,
            #[cfg(all(feature = "std", unix))]
            stored: None,
        }
    }

    pub(super) fn step(&self, now: Duration, min_life: Duration) -> Step {
        self.renewal.step(now, min_life)
    }

    /// Takes over what another process has left, if that is newer than what is known here. `used` is the fingerprint of
    /// what the original request carries, if that is used up.
    #[cfg(all(feature = "std", unix))]
    pub(super) fn adopt(&mut self, record: Record, used: Option<u32>) {
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
    pub(super) fn lend_refresh(&mut self, grant: &Grant) -> Option<AccessToken> {
        let refresh = self.refresh.take_if(|_| !grant.is_kept_in_file())?;
        self.lent = Some(refresh.clone());
        Some(refresh)
    }

    /// Takes over a failure of another process that reaches the server in the same way, where that lasts longer than what is
    /// known here.
    #[cfg(all(feature = "std", unix))]
    pub(super) fn adopt_pause(&mut self, record: Record) {
        let until = |pause: &Option<Pause>| pause.as_ref().map(|pause| pause.until.max(pause.calm_until));
        if until(&record.pause) > until(&self.renewal.pause) {
            (self.renewal.pause, self.renewal.failures, self.renewal.refusals) =
                (record.pause, record.failures, record.refusals);
        }
    }

    /// Takes over what the requests came to. A token is not handed out yet: its refresh token may have to be stored.
    pub(super) fn receive(&mut self, start: &Start, now: Duration, attempt: Attempt) -> Result<AccessToken, Error> {
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
            self.renewal.failed(now, asked_at, &error, 0);
            return Err(error);
        }
        self.renewal.succeeded(now, asked_at, fetched_at, &token);
        Ok(token)
    }

    /// Forgets all tokens; returns the one that was at hand, and one that was not handed out yet.
    pub(super) fn forget(&mut self) -> [Option<AccessToken>; 2] {
        (self.refresh, self.lent) = (None, None);
        [self.renewal.take(), self.unsaved.take().map(|(token, _)| token)]
    }
}
