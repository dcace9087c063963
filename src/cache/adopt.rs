//! How a cache takes over the results of other processes.

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
            // The other process may not know of this process's own wait, so its record does not end or shorten that.
            let is_unknown = |pause: &Pause| pause.is_asked() && pause.since > self.store.known_at;
            let own = self.renewal.pause.take();
            let own = own.filter(|own| own.refused.is_none() && (record.pause.is_some() || is_unknown(own)));
            (self.renewal.failures, self.renewal.refusals) = (record.failures, record.refusals);
            self.renewal.pause = own;
            self.renewal.adopt_pause(record.pause, 0, 0);
            self.store.known_at = record.written_at;
            // A refresh token that is being sent is not sent a second time.
            let sending = self.sending.as_ref().and_then(AccessToken::refresh_token).map(Secret::expose);
            let is_being_sent = |token: &Secret| sending == Some(token.expose());
            self.refresh = record.refresh.filter(|token| !token.refresh_token().is_some_and(is_being_sent));
            self.used = used.or(self.used);
        }
    }

    /// Takes over the failure of another process with the same route.
    pub(super) fn adopt_pause(&mut self, record: Record) {
        self.renewal.adopt_pause(record.pause, record.failures, record.refusals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::renewal::Refused;
    use alloc::string::ToString;
    use core::time::Duration;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns a requested wait, a failure on the way, or a refusal, with its two ends.
    fn pause((kind, until, calm_until): (ErrorKind, u64, u64)) -> Pause {
        let refused = (kind == ErrorKind::Refused).then_some(Refused::Request(0));
        let error = Error::new(kind, kind.as_str());
        Pause { since: s(5), until: s(until), calm_until: s(calm_until), error, refused }
    }

    fn record(written_at: u64, pause: Option<Pause>, failures: u32) -> Record {
        let (held, refresh, is_used, unshared_at) = (None, None, false, None);
        Record { written_at: s(written_at), held, refresh, is_used, failures, refusals: 0, pause, unshared_at }
    }

    #[test]
    fn no_pause_is_shortened_and_the_error_is_that_of_the_one_that_decides() {
        use ErrorKind::{Refused, Unreachable, Wait};
        type Row = (Option<(ErrorKind, u64, u64)>, Option<(ErrorKind, u64, u64)>, Option<(ErrorKind, u64, u64)>);
        let both: [Row; 7] = [
            (None, Some((Wait, 20, 20)), Some((Wait, 20, 20))),
            // A token was held, so the failure's calm wait is long.
            (Some((Wait, 20, 20)), Some((Unreachable, 6, 90)), Some((Wait, 20, 90))),
            (Some((Unreachable, 6, 90)), Some((Wait, 20, 20)), Some((Wait, 20, 90))),
            (Some((Wait, 20, 20)), Some((Wait, 10, 10)), Some((Wait, 20, 20))),
            (Some((Wait, 10, 10)), Some((Wait, 20, 20)), Some((Wait, 20, 20))),
            (Some((Wait, 10, 10)), Some((Refused, 15, 15)), Some((Refused, 15, 15))),
            (Some((Wait, 20, 20)), Some((Refused, 15, 15)), Some((Wait, 20, 20))),
        ];
        // The record of the request alone may also end a pause.
        let by_request: [Row; 4] = [
            (Some((Wait, 20, 20)), None, Some((Wait, 20, 20))),
            (Some((Unreachable, 20, 20)), None, None),
            (Some((Refused, 20, 20)), None, None),
            (Some((Refused, 20, 20)), Some((Wait, 10, 10)), Some((Wait, 10, 10))),
        ];
        let by_route: [Row; 1] = [(Some((Refused, 20, 20)), None, Some((Refused, 20, 20)))];
        let ways: [(&str, &[Row]); 4] =
            [("request", &both), ("request", &by_request), ("route", &both), ("route", &by_route)];
        for (way, rows) in ways {
            for (own, other, expected) in rows {
                let mut state = State::new(s(0));
                (state.renewal.pause, state.renewal.failures) = (own.map(pause), 2);
                let record = record(7, other.map(pause), 1);
                match way {
                    "request" => state.adopt(record, None),
                    _ => state.adopt_pause(record),
                }
                let parts = |pause: &Pause| (pause.error.to_string(), pause.until, pause.calm_until);
                let expected = expected.map(pause);
                assert_eq!(
                    state.renewal.pause.as_ref().map(parts),
                    expected.as_ref().map(parts),
                    "by {way}: {own:?}, {other:?}"
                );
                let refused = |pause: &Option<Pause>| pause.as_ref().is_some_and(|pause| pause.refused.is_some());
                assert_eq!(refused(&state.renewal.pause), refused(&expected), "by {way}: {own:?}, {other:?}");
            }
        }
    }
}
