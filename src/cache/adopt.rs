//! What a cache takes over from other processes.

use super::state::State;
use crate::renewal::Pause;
use crate::secret::Secret;
use crate::store::Record;
use crate::token::AccessToken;

impl State {
    /// Takes over another process's record, if it is newer than what this process knows. `used` is the fingerprint of the
    /// original request's one-time value, if that is used up.
    pub(super) fn adopt(&mut self, record: Record, used: Option<u32>) {
        if let Some(held) = record.held {
            self.renewal.adopt(held);
        }
        if record.written_at > self.store.known_at {
            self.store.known_at = record.written_at;
            (self.renewal.pause, self.renewal.failures, self.renewal.refusals) =
                (record.pause, record.failures, record.refusals);
            // A refresh token that is being sent is not sent a second time.
            let sending = self.sending.as_ref().and_then(AccessToken::refresh_token).map(Secret::expose);
            let is_being_sent = |token: &Secret| sending == Some(token.expose());
            self.refresh = record.refresh.filter(|token| !token.refresh_token().is_some_and(is_being_sent));
            self.used = used.or(self.used);
        }
    }

    /// Takes over the failure of another process with the same route, if its pause lasts longer than this one's.
    pub(super) fn adopt_pause(&mut self, record: Record) {
        let until = |pause: &Option<Pause>| pause.as_ref().map(|pause| pause.until.max(pause.calm_until));
        if until(&record.pause) > until(&self.renewal.pause) {
            (self.renewal.pause, self.renewal.failures, self.renewal.refusals) =
                (record.pause, record.failures, record.refusals);
        }
    }
}
