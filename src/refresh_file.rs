//! A refresh token in a file: one process at a time sends it, and the new one is written before anything else happens.

use crate::error::Error;
use crate::file::draft::{Draft, Unfinished};
use crate::file::waits::Waits;
use crate::file::{Lock, Slot};
use crate::secret::{MAX_SECRET, RefreshFile, Report, Secret, SecretSource, io_reason};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The turn to send the refresh token. The file can take a new one.
pub(crate) struct RefreshTurn {
    /// The file itself, not a symbolic link to it.
    path: PathBuf,
    slot: Slot,
    lock: Lock,
    draft: Option<Draft>,
    /// The file, if it must be written in place.
    in_place: Option<File>,
    report: Option<Arc<Report>>,
}

/// The room that is reserved for a new token before the old one is sent: the longest secret and its line end, in bytes.
const ROOM: usize = MAX_SECRET + 2;

impl RefreshTurn {
    /// Waits for the turn to spend the refresh token in `file`; returns how long that took.
    pub(crate) fn wait(file: &RefreshFile, patience: Duration, host: &str) -> Result<(Self, Duration), Error> {
        let mut waits = Waits::default();
        loop {
            if let Some(turn) = Self::take(file)? {
                return Ok((turn, waits.waited()));
            }
            waits.wait(patience, host)?;
        }
    }

    /// Takes the turn. `None` if another process has it.
    pub(crate) fn take(RefreshFile { path, report }: &RefreshFile) -> Result<Option<Self>, Error> {
        let fail = |error: &io::Error| {
            Error::config(format!(
                "refresh token file {}: cannot be rewritten: {}",
                path.display(),
                io_reason(error)
            ))
            .with_hint(
                "the server may replace the refresh token with each use, so nothing is sent unless the new one can be \
                 stored: put the file where this user can write (a symbolic link to it will do); for a container, mount \
                 its directory",
            )
        };
        let found = || -> io::Result<_> {
            // The new file must replace the file, not a link to it.
            let path = path.canonicalize()?;
            let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let slot = Slot::new(Arc::new(rustix::fs::open(directory, flags, Mode::empty())?), name);
            Ok((slot.try_lock(false)?, slot, path))
        };
        let (lock, slot, path) = match found() {
            Ok((Some(lock), slot, path)) => (lock, slot, path),
            Ok((None, ..)) => return Ok(None),
            // Reading it reports what is wrong as for any secret file.
            Err(error) => {
                SecretSource::file(path).expose()?;
                return Err(fail(&error));
            }
        };
        let names = lock.names().map_err(|error| fail(&error))?;
        if names > 1 {
            return Err(Error::config(format!(
                "refresh token file {}: has {names} names (hard links), and a new token would reach only one of them",
                path.display()
            ))
            .with_hint("keep one name, and make the others symbolic links to it"));
        }
        let mut turn = Self { path, slot, lock, draft: None, in_place: None, report: report.clone() };
        turn.recover()?;
        turn.prepare().map_err(|error| fail(&error).with_source(error))?;
        Ok(Some(turn))
    }

    /// Finishes what a killed process began: the token in the file is used up, and the new one is in the draft beside it.
    fn recover(&mut self) -> Result<(), Error> {
        match self.slot.finish(&self.lock) {
            Ok(Some(lock)) => self.lock = lock,
            Ok(None) => {}
            Err(error) => {
                let path = self.path.display();
                return Err(Error::config(format!(
                    "refresh token file {path}: cannot write the newer token: {}",
                    io_reason(&error)
                ))
                .with_hint(self.beside(&self.slot.draft_name()))
                .with_source(error));
            }
        }
        Ok(())
    }

    /// Returns a hint that says where the new token is.
    fn beside(&self, name: &str) -> String {
        format!(
            "the new token is in {}: move it into place, because the old one is used up",
            self.path.with_file_name(name).display()
        )
    }

    /// Creates a draft with room for a new token, and opens the file if it must be written in place.
    fn prepare(&mut self) -> io::Result<()> {
        if self.slot.is_mount_point()? {
            self.in_place = Some(self.slot.writable(&self.lock, ROOM)?);
        }
        let mut draft = self.slot.draft(Some(&self.lock))?;
        draft.reserve(ROOM)?;
        self.draft = Some(draft);
        Ok(())
    }

    /// Writes the new refresh token into the file, so that it survives a power cut. If it only got into the draft beside the
    /// file, calls the grant's report; without one, returns an error.
    pub(crate) fn save(&mut self, token: &Secret) -> Result<(), Error> {
        let before = self.lock.content().unwrap_or_default();
        let line_end: &[u8] = match before[..] {
            [.., b'\r', b'\n'] => b"\r\n",
            [.., b'\n'] => b"\n",
            _ => b"",
        };
        // Many servers return the same refresh token again.
        if before.strip_suffix(line_end) == Some(token.expose().as_bytes()) {
            return Ok(());
        }
        let contents = [token.expose().as_bytes(), line_end];
        let Err(Unfinished { error, left_in }) = self.put(&contents) else { return Ok(()) };
        let path = self.path.display();
        let message = format!("refresh token file {path}: cannot write the new token: {}", io_reason(&error));
        let Some(name) = left_in else {
            return Err(Error::config(message)
                .with_hint("the old one may be used up: sign in again")
                .with_source(error));
        };
        let error = Error::config(message).with_hint(self.beside(&name)).with_source(error);
        match &self.report {
            Some(report) => {
                report(&error);
                Ok(())
            }
            None => Err(error),
        }
    }

    fn put(&mut self, contents: &[&[u8]]) -> Result<(), Unfinished> {
        if self.draft.is_none() {
            self.prepare()?;
        }
        let Some(mut draft) = self.draft.take() else { return Err(io::Error::from(io::ErrorKind::Other).into()) };
        // One byte more than needed: with filler at its end the draft is recognised as incomplete.
        let length = contents.iter().map(|content| content.len()).sum::<usize>();
        if length >= ROOM {
            draft.reserve(length + 1)?;
        }
        match &self.in_place {
            Some(file) => draft.commit_over(contents, file)?,
            None => self.lock = draft.commit(contents, true)?,
        }
        Ok(())
    }
}
