//! How a cache renews its token: with the refresh token or the original grant, in turn with other processes.

use super::fetcher::Fetcher;
use super::state::{Access, Attempt, Spent, Start};
use super::turn::{self, Join, Turn};
use crate::error::{Error, ErrorKind};
use crate::grant::Grant;
use crate::observe::Event;
use crate::renewal::{Refused, too_late, too_short};
use crate::request::Request;
use crate::token::AccessToken;
use core::time::Duration;

/// One request for a token, and its result.
struct Sent {
    request: Request,
    result: Result<AccessToken, Error>,
    spent: Spent,
    is_refused: bool,
}

/// Returns whether the server answered, with neither a token nor a request to wait. A proxy's refusal (status 407, or no status
/// if no request got through) says nothing about the credentials.
fn is_answer(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Refused => error.status().is_some_and(|status| status != 407),
        kind => kind == ErrorKind::Unusable,
    }
}

/// The codes of RFC 8628 section 3.5 that are not refusals: the user has not answered yet.
const NOT_YET: [&str; 2] = ["authorization_pending", "slow_down"];

/// The codes of RFC 6749 section 5.2 that judge the client or its grant, under whatever status.
const REFUSALS: [&str; 5] =
    ["invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"];

/// Returns whether the answer refuses the credentials of `grant`. For a user's password, every final answer without a
/// token is a refusal: many logins answer a wrong password with a page, a redirect or a status of their own, and lock
/// the account after a few.
fn is_refusal(grant: &Grant, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Refused => error.oauth_error().is_none_or(|code| !NOT_YET.contains(&code)),
        ErrorKind::Unusable => {
            let is_final = error.status().is_some() && !error.is_retryable();
            error.oauth_error().is_some_and(|code| REFUSALS.contains(&code)) || (is_final && grant.is_login())
        }
        _ => false,
    }
}

/// Returns whether the server may have accepted the request although no usable answer came.
fn is_lost(error: &Error) -> bool {
    match (error.kind(), error.status()) {
        (ErrorKind::OutcomeUnknown, _) => true,
        // A gateway that got no answer itself.
        (_, Some(502 | 504)) => true,
        // A success that cannot be read. An OAuth error is an error under any status.
        (ErrorKind::Unusable, status) => status.is_none_or(|status| status < 300) && error.oauth_error().is_none(),
        _ => false,
    }
}

impl Fetcher {
    /// Returns whether the credentials differ from the refused ones.
    pub(super) fn has_other_credentials(&self, refused: Refused) -> bool {
        self.client.request(&self.grant).is_ok_and(|request| match refused {
            Refused::Request(fingerprint) => request.fingerprint() != fingerprint,
            Refused::Once(once) => request.once() != once,
        })
    }

    /// Returns whether a second thread may send a request without harm to the first one's.
    #[cfg(feature = "std")]
    pub(super) fn is_repeatable(&self) -> bool {
        self.grant.is_repeatable()
    }

    /// Returns whether `error` is the first failure in a row, and of a kind that a second request may avoid. Then one
    /// of the waiting callers sends a request: a single lost answer must not fail all of them.
    #[cfg(feature = "std")]
    pub(super) fn is_first_failure(&self, state: &super::state::State, error: &Error) -> bool {
        let is_passing = error.is_retryable() && error.kind() != ErrorKind::Wait;
        is_passing && state.renewal.failures == 1 && self.grant.is_repeatable()
    }

    /// Takes over what other processes have stored.
    pub(super) fn read_store(&self, state: &mut impl Access, min_life: Duration) -> Result<(), Error> {
        turn::read_store(self, state, min_life).map(drop)
    }

    /// Renews the token, unless another process has done so; with `force` in any case. `waited` is the used part of the
    /// time limit.
    pub(super) fn renew(
        &self,
        state: &mut impl Access,
        min_life: Duration,
        force: bool,
        waited: Duration,
    ) -> Result<AccessToken, Error> {
        let now = self.now();
        state.with(|state| state.renewal.begins(now));
        let is_unsaved = state.with(|state| state.unsaved.is_some());
        let mut turn = match turn::join(self, state, min_life, force || is_unsaved, waited)? {
            Join::Token(token) => {
                if token.is_stored() {
                    self.client.notify(|| Event::StoreHit);
                }
                return Ok(token);
            }
            Join::Turn(turn) => turn,
        };
        let elapsed = turn.waited();
        if !elapsed.is_zero() {
            self.client.notify(|| Event::Waited { elapsed });
        }
        let result = self.renew_in(&mut turn, state, waited);
        turn.end(self, state, &result);
        if let Err(error) = &result {
            let next_attempt = state.with(|state| state.renewal.next_attempt());
            self.client.notify(|| Event::RenewalFailed { error, next_attempt });
        }
        result
    }

    /// Sends the request, has a new refresh token stored, and only then keeps the new token. The state is up to date at
    /// each step, so nothing is lost if the hook fails or panics.
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
        // Without the turn, another process may be sending the refresh token already.
        let may_take = !turn.is_alone();
        let (refresh, used) =
            state.with(|state| (may_take.then(|| state.take_refresh(&self.grant)).flatten(), state.used));
        let is_first = state.with(|state| state.renewal.refusals == 0);
        let present = state.with(|state| state.renewal.held.as_ref().map(|held| held.token.clone()));
        let present = present.filter(|token| !token.is_expired(at) && !token.is_ended());
        let start = Start { refresh, present, used, is_first, at, waited };
        let attempt = self.attempt(&start);
        let fetched_at = self.now();
        let token = state.with(|state| state.receive(&start, fetched_at, attempt))?;
        self.save(turn, &token)?;
        let now = self.now();
        state.with(|state| state.keep(now, start.at, fetched_at, token))
    }

    /// Sends the refresh token if there is one, otherwise the original grant with all its parameters. At most two requests: if
    /// the server refuses the refresh token, the original grant follows.
    fn attempt(&self, start: &Start) -> Attempt {
        let original = || self.client.request(&self.grant);
        let endpoint = self.client.endpoint();
        let present = start.present.as_ref().and_then(|token| endpoint.renewal(None, Some(token.expose())));
        if let Some((grant, request)) =
            present.and_then(|grant| self.client.request(&grant).ok().map(|request| (grant, request)))
        {
            let Sent { request, result, is_refused, .. } = self.send(request, &grant, start);
            if !result.as_ref().is_err_and(is_answer) {
                let original = result.is_err().then(|| original().unwrap_or(request));
                return Attempt { result, original, spent: Spent::No, refresh_spent: Spent::No, is_refused };
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
        // Each source is read once, and not before it is needed.
        let own = self.grant.is_refresh().then(original);
        if own.as_ref().is_some_and(|own| own.as_ref().is_ok_and(|own| own.is_refresh_by(refresh))) {
            // The source of the grant has the newest refresh token.
            let attempt = self.by_original(start, own.unwrap_or_else(original));
            return Attempt { refresh_spent: attempt.spent, ..attempt };
        }
        let Sent { request, result, spent, is_refused } = match self.client.request(&grant) {
            Ok(request) => self.send(request, &grant, start),
            Err(error) => return Attempt::nothing(error),
        };
        let Err(error) = &result else {
            return Attempt { result, original: None, spent: Spent::No, refresh_spent: spent, is_refused };
        };
        let original = own.unwrap_or_else(original);
        let has_other = original.as_ref().is_ok_and(|original| start.used != Some(original.once()));
        if is_answer(error) && (has_other || spent == Spent::Yes) {
            return Attempt { refresh_spent: Spent::Yes, ..self.by_original(start, original) };
        }
        // A refusal is remembered together with its request, and later requests are compared with that.
        let original = Some(original.unwrap_or(request));
        Attempt { result, original, spent: Spent::No, refresh_spent: spent, is_refused }
    }

    /// Sends the original grant, unless it is used up.
    fn by_original(&self, start: &Start, request: Result<Request, Error>) -> Attempt {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::nothing(error),
        };
        if start.used == Some(request.once()) {
            // Strict servers revoke all tokens of a family when one of them is used again.
            return Attempt::nothing(
                Error::config("the grant was already used once, and the refresh token it returned is lost")
                    .with_hint("sign in again"),
            );
        }
        let mut sent = self.send(request, &self.grant, start);
        // The service may have ended the other service's token that was sent. Try once with a new one, but not after
        // each refusal in a row.
        if sent.is_refused && start.is_first && self.client.invalidate_sources(&self.grant) {
            let again = self.client.request(&self.grant).ok();
            let again = again.filter(|again| again.fingerprint() != sent.request.fingerprint());
            sent = again.map_or(sent, |again| self.send(again, &self.grant, start));
        }
        let Sent { request, result, spent, is_refused } = sent;
        Attempt { result, original: Some(request), spent, refresh_spent: Spent::No, is_refused }
    }

    fn send(&self, mut request: Request, grant: &Grant, start: &Start) -> Sent {
        request.set_waited(start.waited.saturating_add(self.now().saturating_sub(start.at)));
        let exchanged = self.client.exchange(grant, &request);
        let is_refused = exchanged.as_ref().is_err_and(|error| is_refusal(grant, error));
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
            // A refresh token from an answer that came too late can still be used.
            Ok((token, Err(late))) if token.refresh_token().is_none() => Err(late),
            Ok((token, _)) => Ok(token),
            Err(error) => Err(error),
        };
        Sent { request, result, spent, is_refused }
    }

    fn save(&self, turn: &mut Turn, token: &AccessToken) -> Result<(), Error> {
        turn.save(token)?;
        match (&self.on_new_refresh_token, token.refresh_token()) {
            (Some(hook), Some(refresh_token)) => hook(refresh_token),
            _ => Ok(()),
        }
    }

    /// Forgets all tokens, the stored one too, then revokes each at the server, even if one fails. If the endpoint cannot
    /// revoke a token, none is forgotten.
    pub(super) fn revoke(&self, forget: impl FnOnce() -> [Option<AccessToken>; 4]) -> Result<(), Error> {
        self.client.check_revocation()?;
        let [held, unsaved, newest, sending] = forget();
        let [stored, stored_newest] = turn::forget(self, false);
        let is_other = |token: &AccessToken| held.as_ref().is_none_or(|held| held.expose() != token.expose());
        let tokens = [held.clone(), unsaved, stored.filter(is_other)];
        // The newest refresh token came with an older token if the last renewal brought none.
        let carriers = [newest, sending, stored_newest];
        let mut first = Ok(());
        for (index, carrier) in carriers.iter().enumerate() {
            let Some(refresh_token) = carrier.as_ref().and_then(AccessToken::refresh_token) else { continue };
            let others = tokens.iter().chain(&carriers[..index]).flatten().filter_map(AccessToken::refresh_token);
            if others.into_iter().all(|other| other.expose() != refresh_token.expose()) {
                first = first.and(self.client.revoke_refresh_token(refresh_token));
            }
        }
        for token in tokens.into_iter().flatten() {
            first = first.and(self.client.revoke(token));
        }
        first
    }

    /// Returns the result for the caller: after a failed renewal the token that is still valid, if there is one. A new
    /// token that does not live for `min_life` is an error.
    pub(super) fn hand_out(
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
