//! What processes share of a renewal: the newer token, and failures that are not one process's own.

use super::{Held, Pause, Refused, Renewal};
use crate::error::ErrorKind;
use crate::token::{AccessToken, Lifetime};

impl Renewal {
    /// Takes over a token that another process fetched, if it is newer and was not refused here.
    pub(crate) fn adopt(&mut self, other: Held) {
        let is_refused = self.invalidated.as_ref().is_some_and(|token| token.expose() == other.token.expose());
        let is_newer = self.held.as_ref().is_none_or(|held| held.fetched_at < other.fetched_at);
        if is_newer && !is_refused {
            self.invalidated = None;
            self.held = Some(other);
        }
    }

    /// The token at hand, if it says when it ends: only such a one is stored.
    pub(crate) fn lasting(&self) -> Option<AccessToken> {
        let token = &self.held.as_ref()?.token;
        matches!(token.lifetime(), Lifetime::Until(_)).then(|| token.clone())
    }
}

impl Pause {
    /// Whether another way to the server, or more time, might have fared better: no answer of the server's came, and nothing
    /// was used up.
    pub(crate) fn is_of_route(&self) -> bool {
        let is_before_answer =
            matches!(self.error.kind(), ErrorKind::Unreachable | ErrorKind::Untrusted | ErrorKind::OutcomeUnknown);
        // 407 is a proxy's.
        (is_before_answer || self.error.status() == Some(407)) && !matches!(self.refused, Some(Refused::Once(_)))
    }
}
