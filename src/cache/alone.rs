//! Without an operating system that has files and processes, nothing is shared: it is always this program's turn.

use super::keeper::Keeper;
use super::state::Access;
use crate::error::Error;
use crate::token::AccessToken;
use core::time::Duration;

pub(super) enum Joined {
    #[allow(dead_code, reason = "no other process has one")]
    Token(AccessToken),
    Turn(Turn),
}

pub(super) struct Turn;

impl Turn {
    pub(super) fn waited(&self) -> Duration {
        Duration::ZERO
    }

    pub(super) fn save(&mut self, _: &AccessToken) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn is_alone(&self) -> bool {
        false
    }

    pub(super) fn end(self, _: &Keeper, _: &mut impl Access, _: &Result<AccessToken, Error>) {}
}

pub(super) fn join(_: &Keeper, _: &mut impl Access, _: Duration, _: bool, _: Duration) -> Result<Joined, Error> {
    Ok(Joined::Turn(Turn))
}

pub(super) fn look(_: &Keeper, _: &mut impl Access, _: Duration) -> Result<(), Error> {
    Ok(())
}

pub(super) fn forget(_: &Keeper) -> Option<AccessToken> {
    None
}
