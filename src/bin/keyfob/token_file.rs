//! The file that `keep` writes. At any time it contains a valid token, or it does not exist.
//!
//! Others may be able to create, link and rename files in its directory. So each name is opened without following a
//! link or waiting, and at the start only files of an earlier run are removed or replaced.

use crate::output;
use keyfob::{AccessToken, Error, ErrorKind};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct TokenFile {
    path: PathBuf,
    mode: u32,
    claim: Claim,
    /// The token in the file, and when it is to be removed.
    content: Option<(AccessToken, Duration)>,
    /// The file that was written last, while it may still have a name.
    file: Option<File>,
}

impl TokenFile {
    /// Claims the file for this process. Removes the file of an earlier run, and moves a file of the user's aside.
    pub(crate) fn claim(path: PathBuf, mode: u32) -> Result<Self, Error> {
        let fail = |why: &str| config(format!("token file {}: {why}", path.display()));
        let io_fail = |error: io::Error| fail(&output::reason(&error)).with_source(error);
        if path.file_name().is_none() || path.is_dir() {
            return Err(fail("it is a directory"));
        }
        let mut claim = Claim::take(beside(&path, "keyfob")).map_err(|refusal| match refusal {
            Refusal::Io(error) => io_fail(error),
            Refusal::Busy => fail("another keyfob keep is at work on it"),
            Refusal::Foreign(name, what) => fail(&format!("{} {what}", name.display()))
                .with_hint("remove it, or keep the token in another directory"),
        })?;
        if !claim.is_new {
            remove_own(&beside(&path, "new")).map_err(io_fail)?;
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_fail(error)),
            Ok(metadata) if !metadata.is_file() => {
                return Err(fail("it is there, and no file that could be replaced"));
            }
            Ok(metadata) if !is_own(&metadata) => return Err(fail("it is there, and is another user's")),
            // An earlier run could not remove its file, but empty it.
            Ok(metadata) if claim.names(&metadata) || (!claim.is_new && metadata.len() == 0) => {
                fs::remove_file(&path).map_err(io_fail)?;
            }
            Ok(_) => {
                let mut aside = path.clone().into_os_string();
                aside.push(".old");
                let aside = PathBuf::from(aside);
                if fs::symlink_metadata(&aside).is_ok() {
                    return Err(
                        fail("it is there, and so is one of its name with .old").with_hint("remove one of them")
                    );
                }
                fs::rename(&path, &aside).map_err(io_fail)?;
                output::note(&format!("keyfob: {} was there already; it is {} now", path.display(), aside.display()));
            }
        }
        claim.is_to_go = true;
        Ok(Self { path, mode, claim, content: None, file: None })
    }

    /// Puts a token into the file. It is to be removed at `until` unless a newer one arrives.
    pub(crate) fn write(&mut self, token: &AccessToken, line: &str, until: Duration) -> Result<(), Error> {
        let draft = beside(&self.path, "new");
        // Removes the rest of a failed write. A file of another user's makes the next step fail.
        let _ = remove_own(&draft);
        let mut write = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            let mut put = || -> io::Result<()> {
                let mut text = String::with_capacity(line.len() + 1);
                text.push_str(line);
                text.push('\n');
                file.write_all(text.as_bytes())?;
                // Independent of the umask, and only once the file is complete.
                file.set_permissions(Permissions::from_mode(self.mode))?;
                self.claim.note(&file.metadata()?)?;
                fs::rename(&draft, &self.path)
            };
            put().inspect_err(|_| drop(fs::remove_file(&draft)))?;
            Ok(file)
        };
        let file = write().map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::AlreadyExists => format!("{} is there, and {NOT_MADE_HERE}", draft.display()),
                _ => output::reason(&error),
            };
            self.fail(ErrorKind::Config, &why).with_source(error)
        })?;
        if let Some(old) = self.file.replace(file) {
            let _ = empty_if_named(&old);
        }
        self.content = Some((token.clone(), until));
        Ok(())
    }

    /// Returns whether the file contains this token, with the same life.
    pub(crate) fn holds(&self, token: &AccessToken) -> bool {
        let is_same = |held: &AccessToken| held.expose() == token.expose() && held.lifetime() == token.lifetime();
        self.token().is_some_and(is_same)
    }

    /// Returns the token in the file.
    pub(crate) fn token(&self) -> Option<&AccessToken> {
        self.content.as_ref().map(|(held, _)| held)
    }

    /// Returns when the token is to be removed, if that is known.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.content.as_ref().map(|(_, until)| *until).filter(|until| *until < Duration::MAX)
    }

    /// Removes the file. If it cannot be removed or was renamed, empties it, and the call should be repeated.
    ///
    /// # Errors
    ///
    /// `Internal` if the file still exists, with or without the token.
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        self.content = None;
        let Some(file) = &self.file else { return Ok(()) };
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(there) if file.metadata().is_ok_and(|own| is_same(&own, &there)) => fs::remove_file(&self.path),
            // Another file has taken its place.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let emptied = empty_if_named(file);
        let (error, rest) = match (removed, emptied) {
            (Ok(()), Ok(())) => {
                self.file = None;
                return Ok(());
            }
            (Err(error), Ok(())) => (error, "it is empty now"),
            (_, Err(error)) => (error, "the token is still in it"),
        };
        Err(self
            .fail(ErrorKind::Internal, &format!("it cannot be removed: {}; {rest}", output::reason(&error)))
            .with_source(error))
    }

    fn fail(&self, kind: ErrorKind, why: &str) -> Error {
        Error::new(kind, format!("token file {}: {why}", self.path.display()))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = self.remove();
        // If the file still exists, its claim must remain too.
        self.claim.is_to_go = self.file.is_none();
    }
}

/// The file next to the token file that is locked while a process uses that. It identifies the files that the process
/// wrote: the last one, and the one that is to replace it.
struct Claim {
    path: PathBuf,
    file: File,
    is_new: bool,
    written: [Mark; 2],
    /// Whether it is removed at the end.
    is_to_go: bool,
}

/// Identifies an unchanged file: its inode number and the time when it was written.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Mark(u64, i64, i64);

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }
}

enum Refusal {
    Io(io::Error),
    Busy,
    /// A name that is taken, and the kind of the file that has it.
    Foreign(PathBuf, &'static str),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Each round except the last means that the file was just replaced, so this many cannot be chance.
const ROUNDS: usize = 10;

const NOT_MADE_HERE: &str = "was not made by keyfob";

impl Claim {
    fn take(path: PathBuf) -> Result<Self, Refusal> {
        for _ in 0..ROUNDS {
            // Check before opening, because opening alone may have an effect.
            let is_new = match fs::symlink_metadata(&path) {
                Ok(there) => {
                    check(&path, &there)?;
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error.into()),
            };
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => File::from(file),
                // A link was just put there.
                Err(rustix::io::Errno::LOOP) => continue,
                Err(error) => return Err(Refusal::Io(error.into())),
            };
            let own = file.metadata()?;
            check(&path, &own)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Refusal::Busy),
                Err(error) => return Err(Refusal::Io(error.into())),
            }
            // A process that ended in the meantime has removed its claim, and a lock on that excludes nobody.
            if fs::symlink_metadata(&path).is_ok_and(|there| is_same(&there, &own)) {
                let Some(written) = read_marks(&file)? else { return Err(Refusal::Foreign(path, NOT_MADE_HERE)) };
                return Ok(Self { path, file, is_new, written, is_to_go: is_new });
            }
        }
        Err(Refusal::Foreign(path, "is replaced again and again"))
    }

    /// Returns whether this run or an earlier one wrote this file.
    fn names(&self, metadata: &Metadata) -> bool {
        self.written.contains(&Mark::of(metadata))
    }

    /// Records that this file is about to replace the last one.
    fn note(&mut self, next: &Metadata) -> io::Result<()> {
        self.written = [self.written[1], Mark::of(next)];
        let text: String = self.written.iter().map(|Mark(a, b, c)| format!("{a:020} {b:020} {c:020}\n")).collect();
        // The length is constant and there is one write: a killed process leaves the old marks or the new ones.
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let is_there = |own: Metadata| fs::symlink_metadata(&self.path).is_ok_and(|there| is_same(&there, &own));
        if self.is_to_go && self.file.metadata().is_ok_and(is_there) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads the marks in a claim: empty ones if its process wrote no token. None if this is not a claim.
fn read_marks(file: &File) -> io::Result<Option<[Mark; 2]>> {
    let mut bytes = [0; 256];
    let count = file.read_at(&mut bytes, 0)?;
    let mut marks = [Mark::default(); 2];
    if count == 0 {
        return Ok(Some(marks));
    }
    let text = std::str::from_utf8(&bytes[..count]).unwrap_or_default();
    let read = |line: &str| -> Option<Mark> {
        let mut numbers = line.split(' ');
        let mark = Mark(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        numbers.next().is_none().then_some(mark)
    };
    let mut lines = text.lines();
    for mark in &mut marks {
        match lines.next().and_then(read) {
            Some(read) => *mark = read,
            None => return Ok(None),
        }
    }
    Ok(lines.next().is_none().then_some(marks))
}

/// Checks that this can be a claim of this user's. A file or a link of another user's is not touched.
fn check(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    let what = match metadata {
        _ if !metadata.is_file() => "is not a regular file",
        _ if !is_own(metadata) => "is another user's",
        _ if metadata.nlink() > 1 => NOT_MADE_HERE,
        _ => return Ok(()),
    };
    Err(Refusal::Foreign(path.to_owned(), what))
}

/// Removes a regular file of this user's. Ignores any other file of this name.
fn remove_own(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() && is_own(&there) => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Empties a file that still has a name, because it could not be removed, was renamed, or is linked elsewhere.
fn empty_if_named(file: &File) -> io::Result<()> {
    match file.metadata()?.nlink() {
        0 => Ok(()),
        _ => file.set_len(0),
    }
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Returns a hidden name in the same directory.
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
