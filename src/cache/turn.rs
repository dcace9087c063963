//! Decides which of the processes that share a store or a refresh token file sends the request.
//!
//! One process has the turn and the others wait, but sharing is never worse than not sharing. A process that has waited
//! for half of its time, or knows that the token cannot be shared, sends a request without the turn ("alone"), if that
//! does no harm.

use super::fetcher::Fetcher;
use super::state::{Access, State};
use crate::error::Error;
use crate::file::Lock;
use crate::file::draft::Draft;
use crate::file::schedule::own_number;
use crate::file::waits::Waits;
use crate::grant::Grant;
use crate::lifetime::Lifetime;
use crate::refresh_file::RefreshTurn;
use crate::renewal::{Pause, Refused, Step};
use crate::secret::io_reason;
use crate::store::{Contents, Entry, Record, Store, UNSHARED_KEPT};
use crate::token::AccessToken;
use alloc::boxed::Box;
use alloc::format;
use core::time::Duration;
use std::io;

/// The result of waiting for the turn.
pub(super) enum Join {
    /// Another process has fetched this token in the meantime; or it is still valid while another process fetches the
    /// next.
    Token(AccessToken),
    Turn(Box<Turn>),
}

/// The turn to send a request. Other processes wait until it is dropped, except for a request that is sent alone.
#[derive(Default)]
pub(super) struct Turn {
    waits: Waits,
    /// The rest of the time limit.
    patience: Duration,
    refresh: Option<RefreshTurn>,
    place: Place,
    lock: Option<Lock>,
    /// The draft for a new refresh token.
    draft: Option<Draft>,
    /// Whether another process has the turn, and this one sends a request anyway.
    is_alone: bool,
    began_at: Duration,
}

/// The store's file for the request that would be sent now.
#[derive(Default)]
pub(super) struct Place {
    entry: Option<Entry>,
    /// Why the store cannot be used.
    trouble: Option<io::Error>,
    unshared_at: Option<Duration>,
}

impl Turn {
    /// Tries to take the turn: the lock on the refresh token file, otherwise the lock on the store's file.
    fn take(&mut self, grant: &Grant) -> Result<bool, Error> {
        if let Some(path) = grant.refresh_file() {
            self.refresh = RefreshTurn::take(path)?;
            return Ok(self.refresh.is_some());
        }
        self.lock = match self.place.entry.as_ref().map(|entry| entry.slot.try_lock(true)) {
            Some(Ok(Some(lock))) => Some(lock),
            Some(Ok(None)) => return Ok(false),
            // A store that cannot be written is ignored.
            Some(Err(error)) => {
                (self.place.entry, self.place.trouble) = (None, Some(error));
                None
            }
            None => None,
        };
        Ok(true)
    }

    /// Returns how long this process waited for others.
    pub(super) fn waited(&self) -> Duration {
        self.waits.waited()
    }

    /// Returns whether another process has the turn. Then this one must not send a one-time value.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Returns whether this process should send a request without the turn.
    fn should_ask_alone(&self, fetcher: &Fetcher) -> bool {
        let is_unshared = self.place.unshared_at.is_some_and(|at| fetcher.now() < at.saturating_add(UNSHARED_KEPT));
        fetcher.grant.is_repeatable() && (is_unshared || self.waited() >= half(self.patience))
    }

    /// Ensures that a new refresh token can be stored, if the store is the only place for it and the request may use up
    /// the old one.
    fn prepare(&mut self, fetcher: &Fetcher, state: &mut impl Access) -> Result<(), Error> {
        let Some(store) = &fetcher.store else { return Ok(()) };
        let is_stored_here = !fetcher.grant.is_kept_in_file() && fetcher.on_new_refresh_token.is_none();
        let is_refresh = fetcher.grant.is_refresh() || state.with(|state| state.refresh.is_some());
        // With a repeatable grant, a lost refresh token costs only another request.
        if fetcher.grant.is_repeatable() || !is_refresh || !is_stored_here {
            return Ok(());
        }
        let draft = match (&self.place.entry, self.place.trouble.take()) {
            (Some(entry), _) => entry.reserve(),
            (None, trouble) => Err(trouble.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        };
        self.draft = Some(draft.map_err(|error| {
            let (path, why) = (store.path().display(), io_reason(&error));
            Error::config(format!("cache directory {path}: cannot store the new refresh token: {why}"))
                .with_hint(
                    "the server may replace the refresh token with each use, so nothing is sent unless the new one can be \
                     stored: make room, use another directory (`Store::at`), or keep the token in a file \
                     (`Grant::refresh_token_file`)",
                )
                .with_source(error)
        })?);
        Ok(())
    }

    /// Writes the new refresh token that came with `token` into its file.
    pub(super) fn save(&mut self, token: &AccessToken) -> Result<(), Error> {
        match (&mut self.refresh, token.refresh_token()) {
            (Some(refresh), Some(token)) => refresh.save(token),
            _ => Ok(()),
        }
    }

    /// Stores the result of the attempt for the other processes, and ends the turn.
    pub(super) fn end(mut self, fetcher: &Fetcher, state: &mut impl Access, result: &Result<AccessToken, Error>) {
        let (Some(before), Some(store)) = (self.place.entry.take(), &fetcher.store) else { return };
        let now = fetcher.now();
        // A process that took longer than its time limit was stopped, or the machine was suspended: its failure does
        // not concern the others.
        let was_stopped = now.saturating_sub(self.began_at) > fetcher.client.patience() + Duration::from_secs(1);
        let (is_of_route, is_of_all) = state.with(|state| match &state.renewal.pause {
            Some(pause) if pause.is_of_route() => (!was_stopped, false),
            Some(pause) => (false, !was_stopped || matches!(pause.refused, Some(Refused::Once(_)))),
            None => (false, result.is_ok()),
        });
        if let Some(by_route) = store.entry_by_route(&before, &fetcher.client).filter(|_| is_of_route || is_of_all) {
            let content = state.with(|State { renewal, .. }| {
                let pause = renewal.pause.as_ref().filter(|_| is_of_route);
                let (failures, refusals) = (renewal.failures, renewal.refusals);
                Entry::compose(&Contents { pause, failures, refusals, ..Contents::default() }, now)
            });
            by_route.write(content, None);
        }
        let is_shareable = |token: &AccessToken| matches!(token.lifetime(), Lifetime::Until(_));
        let unshared_at = match result {
            Ok(token) if is_shareable(token) => None,
            Ok(_) => Some(now),
            Err(_) => self.place.unshared_at,
        };
        let is_ours = match &self.lock {
            Some(lock) => before.slot.is_locked_by(lock).unwrap_or(false),
            None => !self.is_alone,
        };
        let is_apart = !is_ours && fetcher.grant.is_repeatable();
        // A process without the turn may have stored a wait that the server asked for in the meantime.
        let in_place = before.load(now);
        if let Some(record) = in_place.as_ref().filter(|record| is_of_all && record.written_at > self.began_at) {
            let asked = record.pause.clone().filter(Pause::is_asked);
            state.with(|state| state.renewal.adopt_pause(asked, 0, 0));
        }
        if is_apart {
            let has_token = result.as_ref().is_ok_and(is_shareable);
            if !self.may_replace(&before, in_place.as_ref(), has_token) {
                // The record stays, but a wait that the server asked for concerns every process.
                let of_wait = store.entry_of_wait(&before);
                let content = state.with(|State { renewal, .. }| {
                    renewal.adopt_pause(of_wait.load(now).and_then(|record| record.pause), 0, 0);
                    let pause = renewal.pause.as_ref().filter(|pause| pause.is_asked())?;
                    Entry::compose(&Contents { pause: Some(pause), ..Contents::default() }, now)
                });
                if content.is_some() {
                    of_wait.write(content, None);
                }
                return;
            }
            // Another process may be sending the older refresh token.
            let is_new = |refresh: &AccessToken| result.as_ref().is_ok_and(|token| token.is_same(refresh));
            state.with(|state| state.refresh = state.refresh.take().filter(is_new));
        }
        let after = store.entry(&fetcher.client, &fetcher.grant, &mut self.waits).ok().and_then(Result::ok);
        let is_same = after.as_ref().is_some_and(|after| after.slot.name() == before.slot.name());
        let newest = state.with(|state| state.refresh.clone());
        let newest = newest.as_ref().and_then(AccessToken::refresh_token);
        // A refresh token that the grant's own source has is not stored a second time.
        let is_in_source = newest.is_some_and(|newest| fetcher.grant.is_refresh_by(newest.expose()));
        let refresh = newest.filter(|_| !is_in_source && !fetcher.grant.is_kept_in_file());
        // The used-up refresh token may be older than the one in this record.
        let is_used = state
            .with(|state| state.used)
            .is_some_and(|used| fetcher.client.request(&fetcher.grant).is_ok_and(|request| request.once() == used));
        // A rotated refresh token changes the request's identity, as expected. If any other secret has changed, the
        // token may belong to the old or the new one, so it is not stored.
        if let Some(after) = after.filter(|_| is_same || is_in_source) {
            let content = state.with(|state| {
                // Read again later what the server told another process in the meantime, because this process does not
                // know it yet.
                if is_of_all || in_place.is_none() {
                    state.store.known_at = now;
                }
                let own = (state.renewal.pause.as_ref(), state.renewal.failures, state.renewal.refusals);
                // A failure of this process or its route does not concern the others. The last answer of the server
                // does.
                let (pause, failures, refusals) = match (is_of_all, &in_place) {
                    (true, _) => own,
                    (false, Some(record)) => (record.pause.as_ref(), record.failures, record.refusals),
                    (false, None) => (None, 0, 0),
                };
                let held = state.renewal.held.as_ref();
                Entry::compose(&Contents { held, refresh, is_used, failures, refusals, pause, unshared_at }, now)
            });
            if after.write(content, self.draft.take().filter(|_| is_same)) {
                state.with(|state| state.store.token = state.renewal.lasting());
            }
            store.sweep(now, &after);
        }
        if !is_same && !is_apart {
            before.slot.remove();
        }
    }

    /// Returns whether the file may be replaced without the lock. That must not lose a newer token in it, nor a refresh
    /// token, which the process with the turn may be sending.
    fn may_replace(&self, entry: &Entry, in_place: Option<&Record>, has_token: bool) -> bool {
        // The file existed, so another process has removed it on purpose.
        let is_forgotten = self.lock.is_some() && !entry.slot.is_there();
        // If the lock was taken, another process has written the record since.
        let is_since = |record: &&Record| self.lock.is_some() || record.written_at > self.began_at;
        let is_newer = in_place.filter(is_since).is_some_and(|record| record.held.is_some() || !has_token);
        let has_refresh = in_place.is_some_and(|record| record.refresh.is_some());
        !is_forgotten && !is_newer && (has_token || !has_refresh)
    }
}

/// Returns how long a process waits for others: half of its time plus up to an eighth, so that not all of them continue
/// at once.
fn half(patience: Duration) -> Duration {
    // Multiplication by the golden ratio spreads consecutive numbers evenly.
    let part = own_number().wrapping_mul(0x9E37_79B9) >> 16;
    patience / 2 + patience / 8 / (1 << 16) * part
}

/// Takes over the results that other processes have stored for the current request. Returns the store's file for it.
pub(super) fn read_store(
    fetcher: &Fetcher,
    state: &mut impl Access,
    min_life: Duration,
) -> Result<Option<Entry>, Error> {
    Ok(find(fetcher, state, min_life, &mut Waits::default())?.entry)
}

fn find(fetcher: &Fetcher, state: &mut impl Access, min_life: Duration, waits: &mut Waits) -> Result<Place, Error> {
    let Some(store) = &fetcher.store else { return Ok(Place::default()) };
    let mut place = match store.entry(&fetcher.client, &fetcher.grant, waits)? {
        Ok(entry) => Place { entry: Some(entry), ..Place::default() },
        Err(error) => Place { trouble: Some(error), ..Place::default() },
    };
    adopt(fetcher, state, store, &mut place, min_life);
    Ok(place)
}

fn adopt(fetcher: &Fetcher, state: &mut impl Access, store: &Store, place: &mut Place, min_life: Duration) {
    let Some(entry) = &place.entry else { return };
    let now = fetcher.now();
    let is_current = || {
        let current = store.entry(&fetcher.client, &fetcher.grant, &mut Waits::default());
        current.is_ok_and(|current| current.is_ok_and(|current| current.slot.name() == entry.slot.name()))
    };
    if let Some((record, used)) = load(fetcher, entry, is_current, now) {
        place.unshared_at = record.unshared_at;
        state.with(|state| state.adopt(record, used));
    }
    // With a valid token the second file need not be read.
    if matches!(state.with(|state| state.step(now, min_life)), Step::Use(_)) {
        return;
    }
    let others = [store.entry_by_route(entry, &fetcher.client), Some(store.entry_of_wait(entry))];
    for entry in others.into_iter().flatten() {
        if let Some((record, _)) = load(fetcher, &entry, is_current, now) {
            state.with(|state| state.adopt_pause(record));
        }
    }
}

/// Reads the file, and fills in the fingerprints of the current request. Also returns the fingerprint of the one-time
/// value, if that is used up. `is_current` returns whether the file still belongs to the current request.
fn load(
    fetcher: &Fetcher,
    entry: &Entry,
    is_current: impl Fn() -> bool,
    now: Duration,
) -> Option<(Record, Option<u32>)> {
    let mut record = entry.load(now)?;
    let refused = record.pause.as_mut().and_then(|pause| pause.refused.as_mut());
    let mut used = None;
    if refused.is_some() || record.is_used {
        // The record is for exactly this request, so this request was refused or used up.
        if let Ok(request) = fetcher.client.request(&fetcher.grant) {
            used = record.is_used.then(|| request.once());
            match refused {
                Some(Refused::Request(fingerprint)) => *fingerprint = request.fingerprint(),
                Some(Refused::Once(once)) => *once = request.once(),
                None => {}
            }
        }
        // Another process may have written a new refresh token into its file since the entry was found.
        if !is_current() {
            return None;
        }
    }
    Some((record, used))
}

/// Waits for the turn to send a request, unless another process brings a token first. With `force` that token does not
/// count.
pub(super) fn join(
    fetcher: &Fetcher,
    state: &mut impl Access,
    min_life: Duration,
    force: bool,
    waited: Duration,
) -> Result<Join, Error> {
    let patience = fetcher.client.patience().saturating_sub(waited);
    let mut turn = Turn { patience, ..Turn::default() };
    let host = fetcher.client.endpoint().authority();
    let step = |state: &mut _, waits: &Waits| -> Result<Step, Error> {
        match Access::with(state, |state: &mut State| state.step(fetcher.now(), min_life)) {
            _ if force => Ok(Step::Renew(None)),
            // After waiting for another process, that process's failure is the error.
            Step::Refrain(error) if waits.has_waited() => {
                Err(Access::with(state, |state: &mut State| state.renewal.last_failure()).unwrap_or(error))
            }
            Step::Refrain(error) => Err(error),
            step => Ok(step),
        }
    };
    loop {
        // A secret is read once, not after each nap. Only a refresh token file is read again, because the process with
        // the turn rewrites it.
        match (&turn.place.entry, &fetcher.store) {
            (Some(_), Some(store)) if !fetcher.grant.is_kept_in_file() => {
                adopt(fetcher, state, store, &mut turn.place, min_life);
            }
            _ => turn.place = find(fetcher, state, min_life, &mut turn.waits)?,
        }
        // After a failed request, one of the waiting processes sends its own at the end of the backoff, within a
        // second.
        let has_waited = turn.waits.has_waited() || !waited.is_zero();
        let is_first_failure = has_waited
            && !force
            && state.with(|state| match state.step(fetcher.now(), min_life) {
                Step::Refrain(error) => fetcher.is_first_failure(state, &error),
                _ => false,
            });
        if is_first_failure && turn.waits.wait(patience, host).is_ok() {
            continue;
        }
        let valid = match step(state, &turn.waits)? {
            Step::Use(token) => return Ok(Join::Token(token)),
            step => step.token(),
        };
        if turn.take(&fetcher.grant)? {
            // Read the files again: another process may have finished just now, and the refresh token is then a new
            // one.
            if turn.refresh.is_some() {
                turn.place = find(fetcher, state, min_life, &mut turn.waits)?;
            } else if let Some(store) = &fetcher.store {
                adopt(fetcher, state, store, &mut turn.place, min_life);
            }
            if let Step::Use(token) = step(state, &turn.waits)? {
                return Ok(Join::Token(token));
            }
            turn.prepare(fetcher, state)?;
        } else if let Some(token) = valid {
            return Ok(Join::Token(token));
        } else if turn.should_ask_alone(fetcher) {
            turn.is_alone = true;
        } else {
            turn.waits.wait(patience, host)?;
            continue;
        }
        // A request with hardly any time left would fail, and use up a one-time value.
        if patience.saturating_sub(turn.waited()) < patience / 8 {
            return Err(turn.waits.timeout(host));
        }
        turn.began_at = fetcher.now();
        return Ok(Join::Turn(Box::new(turn)));
    }
}

/// Removes what the store has for this request. Returns its token, and the one that came with its refresh token. With
/// `failures`, also removes the failures of its route.
pub(super) fn forget(fetcher: &Fetcher, failures: bool) -> [Option<AccessToken>; 2] {
    match remove(fetcher, failures) {
        Some(Record { held, refresh, .. }) => [held.map(|held| held.token), refresh],
        None => [None, None],
    }
}

fn remove(fetcher: &Fetcher, failures: bool) -> Option<Record> {
    let mut turn = Turn::default();
    let entry = |waits: &mut Waits| fetcher.store.as_ref()?.entry(&fetcher.client, &fetcher.grant, waits).ok()?.ok();
    loop {
        turn.place.entry = Some(entry(&mut turn.waits)?);
        // A process that is fetching would store its token again, so wait for it for a limited time.
        let is_ours = turn.take(&fetcher.grant).unwrap_or(true);
        if !is_ours && turn.waits.wait(half(fetcher.client.patience()), fetcher.client.endpoint().authority()).is_ok() {
            continue;
        }
        let entry = entry(&mut turn.waits)?;
        let record = entry.load(fetcher.now());
        entry.slot.remove();
        if let (true, Some(store)) = (failures, &fetcher.store) {
            store.entry_by_route(&entry, &fetcher.client).inspect(|entry| entry.slot.remove());
            store.entry_of_wait(&entry).slot.remove();
        }
        return record;
    }
}
