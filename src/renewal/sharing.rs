//! The parts of a renewal that processes share: the newer token, and failures that concern more than one process.

use super::{Held, Pause, Refused, Renewal};
use crate::error::ErrorKind;
use crate::lifetime::Lifetime;
use crate::token::AccessToken;

impl Renewal {
    /// Takes over a token that another process fetched, if it is newer and no resource has refused it here.
    pub(crate) fn adopt(&mut self, other: Held) {
        let is_refused = self.invalidated.as_ref().is_some_and(|token| token.expose() == other.token.expose());
        let is_newer = self.held.as_ref().is_none_or(|held| held.fetched_at < other.fetched_at);
        if is_newer && !is_refused {
            self.invalidated = None;
            self.held = Some(other);
        }
    }

    /// Takes over a pause of another process beside this one's own.
    pub(crate) fn adopt_pause(&mut self, pause: Option<Pause>, failures: u32, refusals: u32) {
        let Some(pause) = pause else { return };
        (self.failures, self.refusals) = (self.failures.max(failures), self.refusals.max(refusals));
        self.pause = Some(match self.pause.take() {
            Some(own) => own.merge(pause),
            None => pause,
        });
    }

    /// Returns the current token if its expiry is known; only then can it be stored.
    pub(crate) fn lasting(&self) -> Option<AccessToken> {
        let token = &self.held.as_ref()?.token;
        matches!(token.lifetime(), Lifetime::Until(_)).then(|| token.clone())
    }
}

impl Pause {
    /// Returns whether another route to the server, or more time, might have succeeded: the server did not answer, and no
    /// one-time value was used up.
    pub(crate) fn is_of_route(&self) -> bool {
        let is_before_answer =
            matches!(self.error.kind(), ErrorKind::Unreachable | ErrorKind::Untrusted | ErrorKind::OutcomeUnknown);
        // Status 407 comes from a proxy.
        (is_before_answer || self.error.status() == Some(407)) && !matches!(self.refused, Some(Refused::Once(_)))
    }
}
