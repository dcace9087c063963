//! Whose turn it is to ask the server, among the processes that share a store or a refresh token's file.

use super::{Access, Keeper, State};
use crate::error::Error;
use crate::file::{Lock, Waits};
use crate::grant::Grant;
use crate::refresh_file::RefreshTurn;
use crate::renewal::{Refused, Step};
use crate::store::Entry;
use crate::token::AccessToken;
use alloc::boxed::Box;
use core::time::Duration;

/// What a process finds that wants to renew.
pub(crate) enum Joined {
    /// Another has done it meanwhile; or it is about to, and until then this one is valid.
    Token(AccessToken),
    Turn(Box<Turn>),
}

/// This process asks the server; the others wait until this is dropped.
pub(crate) struct Turn {
    waits: Waits,
    refresh: Option<RefreshTurn>,
    entry: Option<(Entry, Option<Lock>)>,
}

impl Turn {
    /// Tries to get the turn: by the refresh token's file, else by the store's.
    fn take(&mut self, grant: &Grant, entry: Option<Entry>) -> Result<bool, Error> {
        if let Some(path) = grant.refresh_file() {
            self.refresh = RefreshTurn::take(path)?;
            self.entry = entry.map(|entry| (entry, None));
            return Ok(self.refresh.is_some());
        }
        self.entry = match entry.map(|entry| (entry.slot.try_lock(true), entry)) {
            Some((Ok(Some(lock)), entry)) => Some((entry, Some(lock))),
            Some((Ok(None), _)) => return Ok(false),
            // A store that cannot be written is done without.
            Some((Err(_), _)) | None => None,
        };
        Ok(true)
    }

    /// How long the others were waited for.
    pub(crate) fn waited(&self) -> Duration {
        self.waits.waited()
    }

    /// Puts the new refresh token that came with `token` into its file.
    pub(crate) fn save(&mut self, token: &AccessToken) -> Result<(), Error> {
        match (&mut self.refresh, token.refresh_token()) {
            (Some(refresh), Some(token)) => refresh.save(token),
            _ => Ok(()),
        }
    }

    /// Tells the others what the attempt came to, and lets them go on.
    pub(crate) fn end(self, keeper: &Keeper, state: &mut impl Access) {
        let (Some((before, _lock)), Some(store)) = (&self.entry, &keeper.store) else { return };
        let now = keeper.now();
        let after = store.entry(&keeper.client, &keeper.grant).ok().flatten();
        let is_same = after.as_ref().is_some_and(|after| after.slot.name() == before.slot.name());
        let newest = state.with(|state| state.refresh.clone());
        let newest = newest.as_ref().and_then(AccessToken::refresh_token);
        // What the grant's own source has need not stand here as well.
        let is_in_source = newest.is_some_and(|newest| keeper.grant.is_refresh_by(newest.expose()));
        let refresh = newest.filter(|_| !is_in_source && !keeper.grant.is_kept_in_file());
        // A refresh token that was rotated makes another request of it. Any other secret that is another one by now was
        // perhaps not what was sent, and then nobody can say whose token this is.
        if let Some(after) = after.filter(|_| is_same || is_in_source) {
            let content = state.with(|state| {
                state.heard_at = now;
                after.compose(&state.renewal, refresh, state.used.is_some() && !is_in_source, now)
            });
            if after.write(content) {
                state.with(|state| state.stored = state.renewal.lasting());
            }
            store.sweep(now, &after);
        }
        if !is_same {
            before.slot.remove();
        }
    }
}

/// Takes over what other processes have left about what would be sent now; returns its place.
pub(crate) fn look(keeper: &Keeper, state: &mut impl Access) -> Result<Option<Entry>, Error> {
    let Some(store) = &keeper.store else { return Ok(None) };
    let entry = store.entry(&keeper.client, &keeper.grant)?;
    if let Some(entry) = &entry {
        adopt(keeper, state, entry);
    }
    Ok(entry)
}

fn adopt(keeper: &Keeper, state: &mut impl Access, entry: &Entry) {
    let Some(mut record) = entry.load(keeper.now()) else { return };
    let refused = record.pause.as_mut().and_then(|pause| pause.refused.as_mut());
    let mut used = None;
    if refused.is_some() || record.is_used {
        // The record is about this very request, so what was refused or used then is what would be sent now.
        if let Ok(request) = keeper.client.request(&keeper.grant) {
            used = record.is_used.then(|| request.once());
            match refused {
                Some(Refused::Request(fingerprint)) => *fingerprint = request.fingerprint(),
                Some(Refused::Once(once)) => *once = request.once(),
                None => {}
            }
        }
    }
    state.with(|state| state.adopt(record, used));
}

/// Waits for this process's turn to renew, unless another's token will do. With `anew` none will.
pub(crate) fn join(keeper: &Keeper, state: &mut impl Access, min_life: Duration, anew: bool) -> Result<Joined, Error> {
    let mut turn = Turn { waits: Waits::default(), refresh: None, entry: None };
    let step = |state: &mut _, waits: &Waits| -> Result<Step, Error> {
        match Access::with(state, |state: &mut State| state.step(keeper.now(), min_life)) {
            _ if anew => Ok(Step::Renew(None)),
            // Who has waited for another's attempt is told what it came to.
            Step::Refrain(error) if !waits.waited().is_zero() => {
                Err(Access::with(state, |state: &mut State| state.renewal.last_failure()).unwrap_or(error))
            }
            Step::Refrain(error) => Err(error),
            step => Ok(step),
        }
    };
    loop {
        let entry = look(keeper, state)?;
        let valid = match step(state, &turn.waits)? {
            Step::Use(token) => return Ok(Joined::Token(token)),
            step => step.token(),
        };
        if turn.take(&keeper.grant, entry)? {
            // Once more, for another may have finished just now; and then the refresh token is another one.
            match &turn.entry {
                Some(_) if turn.refresh.is_some() => turn.entry = look(keeper, state)?.map(|entry| (entry, None)),
                Some((entry, _)) => adopt(keeper, state, entry),
                None => {}
            }
            return Ok(match step(state, &turn.waits)? {
                Step::Use(token) => Joined::Token(token),
                _ => Joined::Turn(Box::new(turn)),
            });
        }
        if let Some(token) = valid {
            return Ok(Joined::Token(token));
        }
        turn.waits.wait(keeper.client.patience(), keeper.client.endpoint().authority())?;
    }
}

/// Takes the token of this identity out of the store.
pub(crate) fn forget(keeper: &Keeper) -> Option<AccessToken> {
    let mut waits = Waits::default();
    loop {
        let entry = keeper.store.as_ref()?.entry(&keeper.client, &keeper.grant).ok()??;
        // Whoever is asking would bring it back, so it is waited for; but not for ever.
        let mut turn = Turn { waits: Waits::default(), refresh: None, entry: None };
        let is_ours = turn.take(&keeper.grant, Some(entry)).unwrap_or(true);
        if !is_ours && waits.wait(keeper.client.patience(), keeper.client.endpoint().authority()).is_ok() {
            continue;
        }
        let entry = keeper.store.as_ref()?.entry(&keeper.client, &keeper.grant).ok()??;
        let record = entry.load(keeper.now());
        entry.slot.remove();
        return record?.held.map(|held| held.token);
    }
}
