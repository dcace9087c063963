//! The file that `keep` is for. What it holds is valid whenever somebody reads it, or it is not there.

use keyfob::{AccessToken, Error, ErrorKind};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::output;

pub(crate) struct TokenFile {
    path: PathBuf,
    mode: u32,
    /// Locked while this process is at work on the file. It also tells that a file there was left by an earlier run, and
    /// is not the user's own.
    _claim: File,
    claim_path: PathBuf,
    /// What is in it, and until when it stays.
    content: Option<(AccessToken, Duration)>,
}

impl TokenFile {
    /// Takes the file: from now on it is this process's. What an earlier run left is removed; what somebody else has put
    /// there is moved aside.
    pub(crate) fn claim(path: PathBuf, mode: u32) -> Result<Self, Error> {
        let fail = |why: &str| config(format!("token file {}: {why}", path.display()));
        let io_fail = |error: io::Error| fail(&output::reason(&error)).with_source(error);
        if path.file_name().is_none() || path.is_dir() {
            return Err(fail("it is a directory"));
        }
        let claim_path = beside(&path, "keyfob");
        let (claim, is_new) = loop {
            let is_new = !claim_path.exists();
            let claim = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&claim_path);
            let claim = claim.map_err(io_fail)?;
            if flock(&claim, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(fail("another keyfob keep is at work on it"));
            }
            // One that was ending meanwhile has taken its claim away, and this lock would keep nobody out.
            let number = |metadata: io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
            if number(claim.metadata()) == number(fs::symlink_metadata(&claim_path)) {
                break (claim, is_new);
            }
        };
        if !is_new {
            let _ = fs::remove_file(beside(&path, "new"));
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_fail(error)),
            Ok(_) if !is_new => fs::remove_file(&path).map_err(io_fail)?,
            Ok(metadata) if !metadata.is_file() => {
                let _ = fs::remove_file(&claim_path);
                return Err(fail("it is there, and no file that could be replaced"));
            }
            Ok(_) => {
                let mut aside = path.clone().into_os_string();
                aside.push(".old");
                if Path::new(&aside).exists() {
                    let _ = fs::remove_file(&claim_path);
                    return Err(
                        fail("it is there, and so is one of its name with .old").with_hint("remove one of them")
                    );
                }
                fs::rename(&path, &aside).map_err(io_fail)?;
                output::note(&format!(
                    "keyfob: {} was there already; it is {} now",
                    path.display(),
                    Path::new(&aside).display()
                ));
            }
        }
        Ok(Self { path, mode, _claim: claim, claim_path, content: None })
    }

    /// Puts a token into the file; it is removed at `until` unless a newer one comes.
    pub(crate) fn write(&mut self, token: &AccessToken, line: &str, until: Duration) -> Result<(), Error> {
        let draft = beside(&self.path, "new");
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&draft);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            let mut text = String::with_capacity(line.len() + 1);
            text.push_str(line);
            text.push('\n');
            file.write_all(text.as_bytes())?;
            // Past the umask, and not before it is whole.
            file.set_permissions(Permissions::from_mode(self.mode))?;
            fs::rename(&draft, &self.path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&draft);
            config(format!("token file {}: {}", self.path.display(), output::reason(&error))).with_source(error)
        })?;
        self.content = Some((token.clone(), until));
        Ok(())
    }

    /// Whether this token is in it, with the same life.
    pub(crate) fn holds(&self, token: &AccessToken) -> bool {
        let is_same = |held: &AccessToken| held.expose() == token.expose() && held.lifetime() == token.lifetime();
        self.content.as_ref().is_some_and(|(held, _)| is_same(held))
    }

    /// When it is to be removed, if that is known.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.content.as_ref().map(|(_, until)| *until).filter(|until| *until < Duration::MAX)
    }

    pub(crate) fn remove(&mut self) {
        if self.content.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        self.remove();
        let _ = fs::remove_file(&self.claim_path);
    }
}

/// A hidden name in the same directory.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}
