//! Without an operating system that has files and processes, nothing is shared: it is always this program's turn.

use super::{Access, Keeper};
use crate::error::Error;
use crate::token::AccessToken;
use core::time::Duration;

pub(crate) enum Joined {
    #[allow(dead_code, reason = "no other process has one")]
    Token(AccessToken),
    Turn(Turn),
}

pub(crate) struct Turn;

impl Turn {
    pub(crate) fn waited(&self) -> Duration {
        Duration::ZERO
    }

    pub(crate) fn save(&mut self, _: &AccessToken) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn is_alone(&self) -> bool {
        false
    }

    pub(crate) fn end(self, _: &Keeper, _: &mut impl Access, _: &Result<AccessToken, Error>) {}
}

pub(crate) fn join(_: &Keeper, _: &mut impl Access, _: Duration, _: bool) -> Result<Joined, Error> {
    Ok(Joined::Turn(Turn))
}

pub(crate) fn look(_: &Keeper, _: &mut impl Access, _: Duration) -> Result<(), Error> {
    Ok(())
}

pub(crate) fn forget(_: &Keeper) -> Option<AccessToken> {
    None
}
