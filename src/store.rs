//! The store: one small file for each request, through which the processes of one user share tokens, refusals and backoffs.
//!
//! A file counts only if it is this user's, closed to others, sealed with the key of this boot and written for the very
//! same request; any other file is ignored. Times are those of the boot clock, so the wall clock does not matter. A reboot
//! makes a new key, which empties the store.
//!
//! The files are `keyfob1-CLOCK-REQUEST.token`, with the token and what the server said, and `keyfob1-CLOCK-ROUTE.pause`, with
//! failures on the way to the server. `1` is the format, CLOCK the time namespace (0 for the system's own), REQUEST and ROUTE
//! are keyed fingerprints. `keyfob-key` holds the key.

mod identity;
mod key;
#[cfg(test)]
mod model;
mod place;
mod record;

pub(crate) use self::key::Entry;
pub(crate) use self::record::{Contents, Record, UNSHARED_KEPT};

use self::key::Key;
use self::place::{boot_id, in_memory, no_boot, open, own_directory, private, reason, taken, time_namespace};
use crate::client::Client;
use crate::clock::{BootClock, Clock as _};
use crate::encode;
use crate::error::Error;
use crate::file::Slot;
use crate::file::draft::place_of_draft;
use crate::file::waits::Waits;
use crate::grant::Grant;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use rustix::fs::{self, Mode};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A directory through which the processes of one user share tokens. Set it with
/// [`TokenCache::store`](crate::TokenCache::store).
///
/// ```no_run
/// use keyfob::{Client, Endpoint, Grant, SecretSource, Store, TokenCache};
///
/// let client = Client::new(Endpoint::new("https://as.example/oauth/token")?)
///     .client_id("my-client")
///     .client_secret(SecretSource::file("/run/secrets/my-client"));
/// // The first process that needs a token fetches it; all of them use it, until it expires or the system reboots.
/// let mut tokens = TokenCache::new(client, Grant::client_credentials()).store(Store::find()?);
/// println!("{}", tokens.token()?.authorization()?.expose());
/// # Ok::<(), keyfob::Error>(())
/// ```
///
/// Programs that use the library and the `keyfob` command share tokens with each other too.
///
/// # What is shared, and with whom
///
/// Two processes share if they would send the same request, secrets included: the same URL, parameters, headers and
/// credentials. A file holds the access token, a refresh token that came with it, and the last refusal; its name is a keyed
/// fingerprint of the request. A token whose lifetime is unknown or not credible is never stored, because nothing would say
/// when it expires.
///
/// What the server said (a refusal, a request to wait) holds for every process that would send the same request. A failure on
/// the way to the server (no connection, no trust, no answer) holds only for processes whose transport names the same
/// [route](crate::Transport::route) and whose [time limit](crate::Client::timeout) is the same.
///
/// # How long processes wait for each other
///
/// One process sends the request and the others wait for it: for half to five eighths of their time limit, spread so that they
/// do not all continue at once. Then each sends its own request. The same happens, without a wait, for an hour after a token that
/// could not be stored.
///
/// A refresh token or an extension grant is never sent by two processes at once. There a process waits for its whole time
/// limit, and then fails with [`Unreachable`](crate::ErrorKind::Unreachable).
///
/// # Refresh tokens
///
/// If the store is the only place for the next refresh token, 64 KiB are reserved before the current one is sent. If that fails,
/// nothing is sent, and the error is of kind [`Config`](crate::ErrorKind::Config).
///
/// # Versions and systems
///
/// Different versions of keyfob can use the same directory. They share if their file format is the same; otherwise each leaves
/// the other's files alone until they are 40 days old. The same holds for different time namespaces.
///
/// A store needs to distinguish one boot from the next, which only Linux and Android let it do.
#[derive(Clone)]
pub struct Store {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    /// The kernel's name for this boot. If it is unknown, nothing is shared.
    boot: Option<String>,
    /// The prefix of the files that this process reads and removes.
    prefix: String,
    note: Option<String>,
}

/// The number of the file format: the content, how names are made, and who may write when. It is part of each name, so
/// programs with another format neither read nor remove these files. Change it whenever one of the three changes.
const FORMAT: u32 = 1;

/// Files of other formats and clocks are removed at this age. An unused refresh token is kept for less.
const FOREIGN_KEPT: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// Directories for all users, in which this user's own directory may be. They are tried in this order.
const COMMON: [&str; 4] = ["/run", "/var/run", "/dev/shm", "/tmp"];

const KEY: &str = "keyfob-key";

impl Store {
    /// Opens the store in the first of these directories that is this user's, closed to others (mode 0700) and in memory:
    ///
    /// 1. `$RUNTIME_DIRECTORY`,
    /// 2. `$XDG_RUNTIME_DIR`,
    /// 3. `keyfob-UID` in `/run`, `/var/run`, `/dev/shm` or `/tmp`, created if needed. If another user has taken that name,
    ///    `keyfob-UID-1` to `keyfob-UID-3` are tried as well, and [`note`](Store::note) says so.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if none of them can be used; the hint gives the reason for each.
    pub fn find() -> Result<Self, Error> {
        let boot = boot_id().map_err(|error| {
            Error::config(no_boot(&error)).with_hint("mount /proc, or use no cache").with_source(error)
        })?;
        let at = |directory: OwnedFd, path: PathBuf, note| Self::of(directory, path, Some(boot.clone()), note);
        let mut reasons = Vec::new();
        let mut fail = |path: &Path, error: &io::Error| reasons.push(format!("{}: {}", path.display(), reason(error)));
        for variable in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
            // systemd names several with colons in between.
            let paths = std::env::var_os(variable).unwrap_or_default();
            for path in std::env::split_paths(&paths).filter(|path| path.is_absolute()) {
                match open(&path).and_then(private).and_then(in_memory) {
                    Ok(directory) => return Ok(at(directory, path, None)),
                    Err(error) => fail(&path, &error),
                }
            }
        }
        let own = format!("keyfob-{}", rustix::process::geteuid().as_raw());
        let mut note = None;
        for place in COMMON.map(Path::new) {
            // No directory is created where it could not be used.
            let common = match open(place).and_then(in_memory) {
                Ok(common) => common,
                Err(error) => {
                    fail(&place.join(&own), &error);
                    continue;
                }
            };
            for suffix in ["", "-1", "-2", "-3"] {
                let name = format!("{own}{suffix}");
                let path = place.join(&name);
                match own_directory(&common, &name).and_then(private) {
                    Ok(directory) => return Ok(at(directory, path, note)),
                    Err(error) => fail(&path, &error),
                }
                // Any user can take a name in a directory for all, so the next name is tried.
                let Some(why) = taken(&common, &name) else { break };
                note.get_or_insert_with(|| format!("{} {why}", path.display()));
            }
        }
        let error = match note {
            Some(note) => Error::config(format!("no directory for the cache: {note}")),
            None => Error::config("no directory for the cache"),
        };
        Err(error.with_hint(reasons.join("; ")))
    }

    /// Opens the store in the directory at `path`, on any file system. Creates the directory if needed, but not its parent.
    ///
    /// If the system does not name its boots, nothing is shared, and [`note`](Store::note) says so.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the directory is not this user's, is open to others, or cannot be created.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let fail = |why: &str| Error::config(format!("cache directory {}: {why}", path.display()));
        let open = || {
            match fs::mkdir(&path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            private(open(&path)?)
        };
        let directory = open().map_err(|error: io::Error| {
            let error_text = reason(&error);
            match error.get_ref().is_some() {
                true => fail(&error_text).with_hint(format!("chmod 700 {}", path.display())),
                false => fail(&error_text).with_source(error),
            }
        })?;
        let boot = boot_id();
        let note = boot.as_ref().err().map(no_boot);
        Ok(Self::of(directory, path, boot.ok(), note))
    }

    fn of(directory: OwnedFd, path: PathBuf, boot: Option<String>, note: Option<String>) -> Self {
        let prefix = format!("keyfob{FORMAT}-{}-", time_namespace());
        Self { directory: Arc::new(directory), path, boot, prefix, note }
    }

    /// Returns what the user should know about this store: that another user has taken the directory's usual name, or that
    /// nothing can be shared. `None` if all is well.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns for how many requests the store has a valid token, whoever would send them.
    #[must_use]
    pub fn valid_tokens(&self) -> usize {
        let key = Slot::new(self.directory.clone(), KEY).read(256).ok();
        let Some(key) = key.and_then(|bytes| Key::read(&bytes, self.boot.as_deref()?)) else { return 0 };
        let now = BootClock.now();
        let is_valid = |name: &String| {
            let slot = Slot::new(self.directory.clone(), name.as_str());
            let record = Entry { slot, key: key.clone() }.load(now);
            record.and_then(|record| record.held).is_some_and(|held| !held.token.is_expired(now))
        };
        self.names().filter(|name| name.starts_with(&self.prefix) && name.ends_with(".token")).filter(is_valid).count()
    }

    /// Returns the file for what `client` gets for `grant`, with the secrets as they are now; or why the directory can no
    /// longer be used. If another process is just making the key, waits for it.
    pub(crate) fn entry(&self, client: &Client, grant: &Grant, waits: &mut Waits) -> Result<io::Result<Entry>, Error> {
        let key = match self.key(waits, client) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let mut name = key.seal("name");
        name.add(identity::describe(client, grant));
        identity::credentials(client, grant, &mut name)?;
        let slot = Slot::new(self.directory.clone(), format!("{}{}.token", self.prefix, name.finish()));
        Ok(Ok(Entry { slot, key }))
    }

    /// Returns the file for failures that concern only clients with the same route and time limit as `client`. `None` if its
    /// transport does not name its route.
    pub(crate) fn entry_by_route(&self, entry: &Entry, client: &Client) -> Option<Entry> {
        let route = client.route()?;
        let mut name = entry.key.seal("route");
        name.add(entry.slot.name());
        name.add(route.expose());
        name.add(client.patience().as_nanos().to_le_bytes());
        let slot = Slot::new(self.directory.clone(), format!("{}{}.pause", self.prefix, name.finish()));
        Some(Entry { slot, key: entry.key.clone() })
    }

    /// Returns the file for a wait that the server asked a process for that may not replace `entry`.
    pub(crate) fn entry_of_wait(&self, entry: &Entry) -> Entry {
        let mut name = entry.key.seal("wait");
        name.add(entry.slot.name());
        let slot = Slot::new(self.directory.clone(), format!("{}{}.pause", self.prefix, name.finish()));
        Entry { slot, key: entry.key.clone() }
    }

    /// Returns the key of this boot. The first process makes it.
    fn key(&self, waits: &mut Waits, client: &Client) -> io::Result<Key> {
        let boot = self.boot.as_deref().ok_or_else(|| io::Error::other("the name of this boot is unknown"))?;
        let slot = Slot::new(self.directory.clone(), KEY);
        let read = || slot.read(256).ok().and_then(|bytes| Key::read(&bytes, boot));
        // Others make it in a few milliseconds, unless they are stopped.
        let patience = Duration::from_secs(1).min(client.patience() / 2);
        loop {
            if let Some(key) = read() {
                return Ok(key);
            }
            let Some(_lock) = slot.try_lock(true)? else {
                let host = client.endpoint().authority();
                waits.wait(patience, host).map_err(|_| io::ErrorKind::TimedOut)?;
                continue;
            };
            if let Some(key) = read() {
                return Ok(key);
            }
            let mut bytes = Zeroizing::new([0; 32]);
            File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
            let text = encode::exact(|out| {
                writeln!(out, "{boot}")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            });
            let draft = slot.own_draft()?;
            // Nobody can read the files that the old key has sealed. They are removed before another process can use the new key.
            self.clear();
            draft.commit(&[text.expose().as_bytes()], false).map_err(|unfinished| unfinished.error)?;
            // Read back as the other processes read it: a key that cannot be read would be made again and again.
            return read().ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }

    /// Removes the tokens and remembered failures of all requests.
    pub fn clear(&self) {
        let format = format!("keyfob{FORMAT}-");
        for name in self.names().filter(|name| name.trim_start_matches('.').starts_with(&format)) {
            Slot::new(self.directory.clone(), name).remove();
        }
    }

    /// Returns the names of the files that any version of keyfob has made, except the key.
    fn names(&self) -> impl Iterator<Item = String> + use<> {
        let entries = fs::Dir::read_from(&self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name().to_str().ok()?;
            let (is_draft, stem) = match name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")) {
                Some(stem) => (true, stem),
                None => (false, name),
            };
            let is_of = |kind: &str| stem.ends_with(kind) || (is_draft && stem.contains(&format!("{kind}.")));
            (stem.starts_with("keyfob") && (is_of(".token") || is_of(".pause"))).then(|| name.to_owned())
        })
    }

    /// Removes expired and unreadable files, except `own`. Files of another format or clock are left alone until they are old.
    pub(crate) fn sweep(&self, now: Duration, own: &Entry) {
        for name in self.names().filter(|name| name != own.slot.name()) {
            let slot = Slot::new(self.directory.clone(), &*name);
            let place = place_of_draft(&name);
            if !name.trim_start_matches('.').starts_with(&self.prefix) {
                if slot.is_older_than(FOREIGN_KEPT, now) {
                    slot.remove();
                }
                continue;
            }
            if place.is_none() && record::is_alive(&slot, &own.key, now) {
                continue;
            }
            // A process that writes a draft mostly locks its place first, and the draft a moment later.
            let _place = match place {
                Some(place) => match Slot::new(self.directory.clone(), place).try_lock(false) {
                    Ok(None) => continue,
                    lock => lock.ok().flatten(),
                },
                None => None,
            };
            // A process that works on the file has the lock, and may have written it since.
            if let Ok(Some(_lock)) = slot.try_lock(false) {
                if place.is_some() || !record::is_alive(&slot, &own.key, now) {
                    slot.remove();
                }
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
