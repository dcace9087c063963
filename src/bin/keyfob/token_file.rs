//! The file that `keep` is for. What it holds is valid whenever somebody reads it, or it is not there.
//!
//! The directory may be one in which others can make, link and rename files. So each name is opened without following a
//! link or waiting, and nothing is removed or replaced at the start but what an earlier run left.

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
    /// What is in it, and until when it stays.
    content: Option<(AccessToken, Duration)>,
    /// The file that was written last, while it may still have a name.
    file: Option<File>,
}

impl TokenFile {
    /// Takes the file: from now on it is this process's. What an earlier run left is removed; what the user has put there
    /// is moved aside.
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
            // An empty one could be emptied by an earlier run, but not removed.
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

    /// Puts a token into the file; it is to be removed at `until` unless a newer one comes.
    pub(crate) fn write(&mut self, token: &AccessToken, line: &str, until: Duration) -> Result<(), Error> {
        let draft = beside(&self.path, "new");
        // What a write that failed has left. Anybody else's makes the next one fail.
        let _ = remove_own(&draft);
        let mut write = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            let mut put = || -> io::Result<()> {
                let mut text = String::with_capacity(line.len() + 1);
                text.push_str(line);
                text.push('\n');
                file.write_all(text.as_bytes())?;
                // Past the umask, and not before it is whole.
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

    /// Whether this token is in it, with the same life.
    pub(crate) fn holds(&self, token: &AccessToken) -> bool {
        let is_same = |held: &AccessToken| held.expose() == token.expose() && held.lifetime() == token.lifetime();
        self.token().is_some_and(is_same)
    }

    /// The token that is in it.
    pub(crate) fn token(&self) -> Option<&AccessToken> {
        self.content.as_ref().map(|(held, _)| held)
    }

    /// When it is to be removed, if that is known.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.content.as_ref().map(|(_, until)| *until).filter(|until| *until < Duration::MAX)
    }

    /// Removes the file. Where it cannot be removed, or has another name by now, it is emptied; call it again then.
    ///
    /// # Errors
    ///
    /// `Internal` where the file is still there, with or without the token.
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        self.content = None;
        let Some(file) = &self.file else { return Ok(()) };
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(there) if file.metadata().is_ok_and(|own| is_same(&own, &there)) => fs::remove_file(&self.path),
            // Somebody has put another file there.
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
        // With what is still there stays what says whose it is.
        self.claim.is_to_go = self.file.is_none();
    }
}

/// The file beside the token's that is locked while a process is at work on it. It says which files that process wrote:
/// the last one, and the one that is to replace it.
struct Claim {
    path: PathBuf,
    file: File,
    is_new: bool,
    written: [Mark; 2],
    /// It is removed at the end.
    is_to_go: bool,
}

/// Which file it was, and that nobody has written to it since: its number, and when it was written.
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
    /// A name that is taken, and by what.
    Foreign(PathBuf, &'static str),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Each round but the last means that the file was just replaced, so that many are no accident.
const ROUNDS: usize = 10;

const NOT_MADE_HERE: &str = "was not made by keyfob";

impl Claim {
    fn take(path: PathBuf) -> Result<Self, Refusal> {
        for _ in 0..ROUNDS {
            // Before it is opened, for opening alone may have an effect.
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
                // A link was put there just now.
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
            // One that was ending meanwhile has taken its claim away, and this lock would keep nobody out.
            if fs::symlink_metadata(&path).is_ok_and(|there| is_same(&there, &own)) {
                let Some(written) = read_marks(&file)? else { return Err(Refusal::Foreign(path, NOT_MADE_HERE)) };
                return Ok(Self { path, file, is_new, written, is_to_go: is_new });
            }
        }
        Err(Refusal::Foreign(path, "is replaced again and again"))
    }

    /// Whether an earlier run wrote this file, or this one did.
    fn names(&self, metadata: &Metadata) -> bool {
        self.written.contains(&Mark::of(metadata))
    }

    /// Notes that this file is about to replace the last one.
    fn note(&mut self, next: &Metadata) -> io::Result<()> {
        self.written = [self.written[1], Mark::of(next)];
        let text: String = self.written.iter().map(|Mark(a, b, c)| format!("{a:020} {b:020} {c:020}\n")).collect();
        // Always of one length, and written at once: whoever is killed leaves the old marks or the new ones.
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

/// The marks in a claim: none in one whose process wrote no token. Nothing where this is no claim.
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

/// Whether this can be a claim of this user's: what another has put there, or linked there, is not touched.
fn check(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    let what = match metadata {
        _ if !metadata.is_file() => "is not a regular file",
        _ if !is_own(metadata) => "is another user's",
        _ if metadata.nlink() > 1 => NOT_MADE_HERE,
        _ => return Ok(()),
    };
    Err(Refusal::Foreign(path.to_owned(), what))
}

/// Removes a regular file of this user's; what else has this name is left alone.
fn remove_own(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() && is_own(&there) => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Empties a file that still has a name: it could not be removed, was renamed, or is linked elsewhere.
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
