//! A refresh token in a file: one process at a time spends it, and the new one takes its place before anything else.

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

/// This process may spend the refresh token, and the file can take a new one.
pub(crate) struct RefreshTurn {
    /// The file itself, not a symbolic link to it.
    path: PathBuf,
    slot: Slot,
    lock: Lock,
    draft: Option<Draft>,
    /// The file, where it has to be written in place.
    in_place: Option<File>,
    report: Option<Arc<Report>>,
}

/// Room that is set aside for a new token before the old one is sent: as much as a secret and its line end can take.
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

    /// Takes the turn, unless another process has it.
    pub(crate) fn take(RefreshFile { path, report }: &RefreshFile) -> Result<Option<Self>, Error> {
        let fail = |error: &io::Error| {
            Error::config(format!(
                "refresh token file {}: it cannot be rewritten: {}",
                path.display(),
                io_reason(error)
            ))
            .with_hint(
                "the server may hand out a new refresh token with each use, and nothing is sent where it would be lost: \
                 put the file where this user can write (a symbolic link to it will do); into a container, mount its \
                 directory",
            )
        };
        let found = || -> io::Result<_> {
            // A new file is to take the place of the file, not of a link to it.
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
            // Reading it tells what is wrong in the words for any secret file.
            Err(error) => {
                SecretSource::file(path).expose()?;
                return Err(fail(&error));
            }
        };
        let names = lock.names().map_err(|error| fail(&error))?;
        if names > 1 {
            return Err(Error::config(format!(
                "refresh token file {}: it has {names} names (hard links), and a new token would reach only one of them",
                path.display()
            ))
            .with_hint("keep one of them, and make the others symbolic links to it"));
        }
        let mut turn = Self { path, slot, lock, draft: None, in_place: None, report: report.clone() };
        turn.recover()?;
        turn.prepare().map_err(|error| fail(&error).with_source(error))?;
        Ok(Some(turn))
    }

    /// Finishes what a process began that was killed: the token in the file is used up, and the new one lies beside it.
    fn recover(&mut self) -> Result<(), Error> {
        match self.slot.finish(&self.lock) {
            Ok(Some(lock)) => self.lock = lock,
            Ok(None) => {}
            Err(error) => {
                let path = self.path.display();
                return Err(Error::config(format!(
                    "refresh token file {path}: a newer token cannot be put into it: {}",
                    io_reason(&error)
                ))
                .with_hint(self.beside(&self.slot.draft_name()))
                .with_source(error));
            }
        }
        Ok(())
    }

    /// Tells where the new token is.
    fn beside(&self, name: &str) -> String {
        format!(
            "it is in {}: move it to its place, for the old one is used up",
            self.path.with_file_name(name).display()
        )
    }

    /// Makes a draft with room for a new token, and has the file ready where that must be written in place.
    fn prepare(&mut self) -> io::Result<()> {
        if self.slot.is_mount_point()? {
            self.in_place = Some(self.slot.writable(&self.lock, ROOM)?);
        }
        let mut draft = self.slot.draft(Some(&self.lock))?;
        draft.reserve(ROOM)?;
        self.draft = Some(draft);
        Ok(())
    }

    /// Puts the new refresh token into the file, so that it survives a power cut. If it only got into the draft beside the
    /// file, that is reported where the grant has a report, and an error where it has none.
    pub(crate) fn save(&mut self, token: &Secret) -> Result<(), Error> {
        let before = self.lock.content().unwrap_or_default();
        let line_end: &[u8] = match before[..] {
            [.., b'\r', b'\n'] => b"\r\n",
            [.., b'\n'] => b"\n",
            _ => b"",
        };
        // Many servers hand out the same one again.
        if before.strip_suffix(line_end) == Some(token.expose().as_bytes()) {
            return Ok(());
        }
        let contents = [token.expose().as_bytes(), line_end];
        let Err(Unfinished { error, left_in }) = self.put(&contents) else { return Ok(()) };
        let path = self.path.display();
        let message = format!("refresh token file {path}: the new token cannot be put into it: {}", io_reason(&error));
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
        // More room than it needs: as long as that is there, the draft is not whole.
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
