//! The stand-in for `turn.rs` without files and processes: nothing is shared, and this program always has the turn.

use super::fetcher::Fetcher;
use super::state::Access;
use crate::error::Error;
use crate::token::AccessToken;
use core::time::Duration;

pub(super) enum Join {
    #[allow(dead_code, reason = "there is no other process")]
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

    pub(super) fn end(self, _: &Fetcher, _: &mut impl Access, _: &Result<AccessToken, Error>) {}
}

pub(super) fn join(_: &Fetcher, _: &mut impl Access, _: Duration, _: bool, _: Duration) -> Result<Join, Error> {
    Ok(Join::Turn(Turn))
}

pub(super) fn read_store(_: &Fetcher, _: &mut impl Access, _: Duration) -> Result<(), Error> {
    Ok(())
}

pub(super) fn forget(_: &Fetcher, _: bool) -> [Option<AccessToken>; 2] {
    [None, None]
}
