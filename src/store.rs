//! The store: one small file for each identity, by which processes of one user share tokens, refusals and backoffs.
//!
//! A file is believed only if it is this user's, closed to others, sealed with the key of this boot and about the very
//! same request; anything else is as good as no file. Times are those of the boot clock, so no wall clock is asked, and
//! a reboot, which makes a new key, empties the store.
//!
//! The files are `keyfob1-CLOCK-REQUEST.token`, with the token and what the server said, and `keyfob1-CLOCK-ROUTE.pause`, with
//! what failed on the way to it. `1` is the format, CLOCK the time namespace (0 for the system's own); the others are keyed
//! fingerprints. `keyfob-key` holds the key.

#[cfg(test)]
mod model;
mod record;

pub(crate) use record::{Contents, Record, UNSHARED_KEPT};

use crate::client::Client;
use crate::client_auth::ClientAuthentication;
use crate::encode;
use crate::endpoint::{Endpoint, LifetimeRules, LifetimeUnit, NotPositive, Parameters, Refresh};
use crate::error::Error;
use crate::field::{Field, FieldValue};
use crate::file::{self, Draft, Slot, Waits};
use crate::grant::Grant;
use crate::secret::SecretSource;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hasher;
use core::time::Duration;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A directory in which the processes of one user share tokens: give it to a cache.
///
/// ```no_run
/// use keyfob::{Client, Endpoint, Grant, SecretSource, Store, TokenCache};
///
/// let client = Client::new(Endpoint::new("https://as.example/oauth/token")?)
///     .client_id("my-client")
///     .client_secret(SecretSource::file("/run/secrets/my-client"));
/// // Fetched by the first process that needs it, then there for all of them, until a reboot.
/// let mut tokens = TokenCache::new(client, Grant::client_credentials()).store(Store::find()?);
/// println!("{}", tokens.token()?.authorization()?.expose());
/// # Ok::<(), keyfob::Error>(())
/// ```
///
/// The library's processes and the command's share them too. What is shared belongs to one request, secrets included:
/// its URL, parameters, headers and credentials. The files hold the token, and are named by a keyed fingerprint of the
/// request. A token whose lifetime is unknown or not credible is never stored, for nobody could tell when it ends.
///
/// What the server said, a refusal or a request to wait, holds for all who would send the same request. A failure on the way (no
/// connection, no trust, no answer) holds only for those whose transport names the same [route](crate::Transport::route) and
/// whose [time limit](crate::Client::timeout) is the same.
///
/// One process asks and the others wait for it, for half of their time limit at the most (up to five eighths, so that not all
/// of them go on at one moment). Then each asks by itself, and likewise where the last token could not be stored. A refresh
/// token or an extension grant is never sent by two processes: there the whole time limit is waited, and the error is of kind
/// [`Unreachable`](crate::ErrorKind::Unreachable).
///
/// Before a refresh token of which the store holds the only successor is sent, the store makes sure that there is room for 64 KiB;
/// if there is not, nothing is sent, and the error is of kind [`Config`](crate::ErrorKind::Config).
///
/// Programs with another version of keyfob can use the same directory: if the format of the files is the same they share, else
/// they leave each other's files alone, save those that are older than 40 days. The same holds for time namespaces.
///
/// It is there on Linux and Android, for it needs to know one boot from the next.
#[derive(Clone)]
pub struct Store {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    /// What the kernel calls this boot; none where it cannot be asked, and then nothing is shared.
    boot: Option<String>,
    /// What the names of files begin with that this process reads and removes.
    prefix: String,
    note: Option<String>,
}

/// The number of the files' format: of their content, of how their names are made, and of who may write when. It is part of
/// each name, so programs with another format neither read nor remove these files. Change it with any of the three.
const FORMAT: u32 = 1;

/// What the kernel calls this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The files of other formats and clocks are removed at this age: more than a refresh token is kept without use.
const FOREIGN_KEPT: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// Places for all users: in each of them a directory of this user's own. They are tried in this order.
const COMMON: [&str; 4] = ["/run", "/var/run", "/dev/shm", "/tmp"];

/// No file is larger: a token is at most 1 MiB long, and each byte is written with three at the most.
const MAX_FILE: usize = 8 * 1024 * 1024;

const KEY: &str = "keyfob-key";

impl Store {
    /// The store in the first of these directories that is this user's, closed to others (mode 0700) and in memory:
    /// `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR`, and `keyfob-UID` in `/run`, `/var/run`, `/dev/shm`, `/tmp`, which is made
    /// where it is not there. Where something else has that name, `keyfob-UID-1` to `keyfob-UID-3` are tried as well, and
    /// [`note`](Store::note) says so.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where there is none; the hint says why for each.
    pub fn find() -> Result<Self, Error> {
        let boot = boot_id().map_err(|error| {
            Error::config(no_boot(&error)).with_hint("mount /proc, or do without the cache").with_source(error)
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
            // Nothing is made where it could not be used.
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
                // Anybody can make a name in a directory for all, so one that is taken is no reason to do without.
                let Some(why) = taken(&common, &name) else { break };
                note.get_or_insert_with(|| format!("{} {why}", path.display()));
            }
        }
        let error = match note {
            Some(note) => Error::config(format!("there is no place for the cache: {note}")),
            None => Error::config("there is no place for the cache"),
        };
        Err(error.with_hint(reasons.join("; ")))
    }

    /// The store in the directory at `path`, which may be on any file system. It is made where it is not there; its
    /// parent must be.
    ///
    /// Where the system does not say which boot this is, nothing is shared, and [`note`](Store::note) says so.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where it is not this user's or not closed to others, and where it cannot be
    /// made.
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

    /// Returns what the user should know about this store, if there is something: another user has taken the directory's usual
    /// name, or nothing can be shared.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place for what `client` gets for `grant`, with the secrets as they are now; or why the directory cannot be used any
    /// more. Where another process is just making the key, that is waited for.
    pub(crate) fn entry(&self, client: &Client, grant: &Grant, waits: &mut Waits) -> Result<io::Result<Entry>, Error> {
        let key = match self.key(waits, client) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let mut name = key.seal("name");
        name.add(describe(client, grant));
        credentials(client, grant, &mut name)?;
        let slot = Slot::new(self.directory.clone(), format!("{}{}.token", self.prefix, name.finish()));
        Ok(Ok(Entry { slot, key }))
    }

    /// The place for what befalls only those who reach the server as `client` does, and have as much time. None where its
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

    /// The key of this boot, made by who comes first.
    fn key(&self, waits: &mut Waits, client: &Client) -> io::Result<Key> {
        let boot = self.boot.as_deref().ok_or_else(|| io::Error::other("the name of this boot is not known"))?;
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
            // Before the others can have the new key, and begin to use it.
            self.clear();
            draft.commit(&[text.expose().as_bytes()], false).map_err(|unfinished| unfinished.error)?;
            // It is read as the others read it; what cannot be read would be made again and again.
            return read().ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }

    /// Removes all files of this format: their key is gone, so nobody can read them any more.
    fn clear(&self) {
        let format = format!("keyfob{FORMAT}-");
        for name in self.names().filter(|name| name.trim_start_matches('.').starts_with(&format)) {
            Slot::new(self.directory.clone(), name).remove();
        }
    }

    /// The names of the files that some keyfob has made, but for the key.
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

    /// Removes what is over, but for `own`: files of tokens and failures whose time has passed, and what nobody can read any
    /// more. What another format or clock has made is left alone until it is old.
    pub(crate) fn sweep(&self, now: Duration, own: &Entry) {
        for name in self.names().filter(|name| name != own.slot.name()) {
            let slot = Slot::new(self.directory.clone(), &*name);
            let place = file::place_of_draft(&name);
            if !name.trim_start_matches('.').starts_with(&self.prefix) {
                if slot.is_older_than(FOREIGN_KEPT, now) {
                    slot.remove();
                }
                continue;
            }
            if place.is_none() && record::lives_on(&slot, &own.key, now) {
                continue;
            }
            // Who writes a draft mostly has the lock of its place first, and the draft's own a moment later.
            let _place = match place {
                Some(place) => match Slot::new(self.directory.clone(), place).try_lock(false) {
                    Ok(None) => continue,
                    lock => lock.ok().flatten(),
                },
                None => None,
            };
            // Whoever is at work on it has the lock, and may have written it since.
            if let Ok(Some(_lock)) = slot.try_lock(false) {
                if place.is_some() || !record::lives_on(&slot, &own.key, now) {
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

/// The file of one identity.
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    key: Key,
}

impl Entry {
    /// Returns a draft of this file with room for a new refresh token of any size, so that a full disk shows before the old one
    /// is sent.
    pub(crate) fn rehearse(&self) -> io::Result<Draft> {
        const ROOM: usize = 64 * 1024;
        let mut draft = self.slot.own_draft()?;
        draft.reserve(ROOM)?;
        Ok(draft)
    }
}

/// Makes fingerprints and seals that nobody makes without it. It is in memory and in the store's directory alone, and
/// another one for each boot.
#[derive(Clone)]
struct Key(Zeroizing<[u64; 4]>);

impl Key {
    /// Reads the key's file: the boot's name, then 64 hex digits.
    fn read(bytes: &[u8], boot: &str) -> Option<Self> {
        let digits = core::str::from_utf8(bytes).ok()?.strip_prefix(boot)?.strip_prefix('\n')?;
        let mut key = Zeroizing::new([0; 4]);
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (part, digits) in key.iter_mut().zip(digits.as_bytes().chunks(16)) {
            *part = u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(key))
    }

    fn seal(&self, purpose: &str) -> Seal {
        let [a, b, c, d] = *self.0;
        let mut seal = Seal([sip(a, b), sip(c, d)]);
        seal.add(purpose);
        seal
    }
}

/// SipHash-2-4 under two keys: 128 bits that tell nothing to who has not the key.
#[allow(
    deprecated,
    reason = "std has no other keyed hash with a fixed algorithm, and 128 bits for a MAC need no crate"
)]
struct Seal([core::hash::SipHasher; 2]);

#[allow(deprecated, reason = "as above")]
fn sip(a: u64, b: u64) -> core::hash::SipHasher {
    core::hash::SipHasher::new_with_keys(a, b)
}

impl Seal {
    /// Texts are told apart by their lengths.
    fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        for hasher in &mut self.0 {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text);
        }
    }

    fn add_secret(&mut self, source: &SecretSource) -> Result<(), Error> {
        match source.own_identity() {
            // Apart from any value, for two sources are not one because one's value is the other's identity.
            Some(identity) => {
                self.add("identity");
                self.add(identity.expose());
            }
            None => self.add(&*source.expose()?),
        }
        Ok(())
    }

    fn finish(self) -> String {
        let [high, low] = self.0.map(|hasher| u128::from(hasher.finish()));
        format!("{:032x}", high << 64 | low)
    }
}

/// The parts of a request's identity, as one text: each with its length, so that no two can be taken for one.
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// One that may be absent; an empty one is there.
    fn option(&mut self, text: Option<&str>) {
        self.0.push(text.is_some().into());
        self.add(text.unwrap_or_default());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn time(&mut self, time: Duration) {
        self.0.extend_from_slice(&time.as_nanos().to_le_bytes());
    }
}

/// All that makes this request what it is, and its answer be read as it is, but for the secrets. The order and the words are
/// part of [`FORMAT`].
fn describe(client: &Client, grant: &Grant) -> Vec<u8> {
    let endpoint = client.endpoint();
    let mut parts = Parts(Vec::with_capacity(512));
    let out = &mut parts;
    describe_request(out, endpoint);
    out.option(grant.grant_type.as_deref());
    out.option(client.credentials().client_id.as_deref());
    out.add(&grant.scope);
    for (path, is_only) in endpoint.members.parts() {
        out.add(path);
        out.flag(is_only);
    }
    out.count(endpoint.session_members.len());
    for path in &endpoint.session_members {
        out.add(path);
    }
    let LifetimeRules { absent, not_positive, unit, maximum } = endpoint.lifetime;
    out.flag(absent.is_some());
    out.time(absent.unwrap_or_default());
    let (meaning, lives) = match not_positive {
        NotPositive::Once => ("once", Duration::ZERO),
        NotPositive::Unknown => ("unknown", Duration::ZERO),
        NotPositive::Lives(lives) => ("lives", lives),
    };
    out.add(meaning);
    out.time(lives);
    out.add(match unit {
        LifetimeUnit::Seconds => "s",
        LifetimeUnit::Milliseconds => "ms",
        LifetimeUnit::Minutes => "min",
    });
    out.time(maximum);
    for fields in [&endpoint.headers, &endpoint.extra, &grant.fields, &grant.parameters] {
        describe_fields(out, fields);
    }
    describe_templates(out, endpoint);
    if !endpoint.variables.is_empty() {
        out.add("variables");
        describe_fields(out, &endpoint.variables);
    }
    match &endpoint.refresh {
        Refresh::Standard => {}
        Refresh::Never => out.add("no refresh"),
        Refresh::Block { endpoint, with_token, authenticates } => {
            out.add("refresh");
            out.flag(*with_token);
            out.flag(*authenticates);
            describe_request(out, endpoint);
            describe_fields(out, &endpoint.headers);
            describe_fields(out, &endpoint.extra);
            describe_templates(out, endpoint);
        }
    }
    parts.0
}

fn describe_request(out: &mut Parts, endpoint: &Endpoint) {
    out.add(endpoint.url.without_query());
    out.add(endpoint.method.as_str());
    out.add(match endpoint.parameters {
        Parameters::Form => "form",
        Parameters::Json => "json",
        Parameters::Query => "query",
    });
    out.add(endpoint.authentication.as_ref().map_or("", ClientAuthentication::as_str));
    out.flag(endpoint.basic_raw);
    out.flag(endpoint.omit_grant_type);
}

fn describe_fields(out: &mut Parts, fields: &[Field]) {
    out.count(fields.len());
    for field in fields {
        out.add(&field.name);
        out.option(field.given().as_deref());
        out.flag(matches!(field.value, FieldValue::Json(_)));
    }
}

/// A URL that names variables, but for its query: see [`credentials`].
fn describe_templates(out: &mut Parts, endpoint: &Endpoint) {
    if let Some(template) = &endpoint.template {
        out.add("template");
        out.add(template.without_query());
    }
}

/// Adds each secret that would be sent now, or what stands for it. A query counts as one, for it may hold one.
fn credentials(client: &Client, grant: &Grant, mark: &mut Seal) -> Result<(), Error> {
    let endpoint = client.endpoint();
    mark.add(&endpoint.url.as_str()[endpoint.url.without_query().len()..]);
    let block = match &endpoint.refresh {
        Refresh::Block { endpoint, .. } => Some(&**endpoint),
        Refresh::Standard | Refresh::Never => None,
    };
    for endpoint in [Some(endpoint), block].into_iter().flatten() {
        if let Some(query) = endpoint.template.as_ref().and_then(|template| template.query()) {
            mark.add(query.text());
        }
    }
    for source in [client.credentials().client_secret.as_ref(), grant.bearer.as_ref()] {
        match source {
            Some(source) => mark.add_secret(source)?,
            None => mark.add(""),
        }
    }
    for field in [&endpoint.extra, &endpoint.headers, &grant.fields, &grant.parameters].into_iter().flatten() {
        if let Some(source) = field.secret_source() {
            mark.add_secret(source)?;
        }
    }
    for field in
        endpoint.variables.iter().chain(block.iter().flat_map(|block| block.extra.iter().chain(&block.headers)))
    {
        if let Some(source) = field.secret_source() {
            mark.add_secret(source)?;
        }
    }
    // Its key follows from it.
    match &client.credentials().certificate {
        Some(certificate) => mark.add_secret(&certificate.chain)?,
        None => mark.add(""),
    }
    Ok(())
}

fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string(BOOT_ID)?;
    match text.trim() {
        "" => Err(io::Error::other("it is empty")),
        name => Ok(name.to_string()),
    }
}

fn no_boot(error: &io::Error) -> String {
    format!("the cache needs the name of this boot, and {BOOT_ID} cannot be read: {}", reason(error))
}

/// Names this process's boot clock: a time namespace has one of its own, and the moments of one mean nothing by another. The
/// offset belongs to the name, for the kernel uses the numbers of namespaces again.
fn time_namespace() -> String {
    const INITIAL: u64 = 0xEFFF_FFFA;
    match fs::stat("/proc/self/ns/time") {
        Ok(stat) if stat.st_ino != INITIAL => {
            let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
            let offset = offsets.lines().find_map(|line| line.strip_prefix("boottime")).unwrap_or_default();
            let offset: Vec<&str> = offset.split_whitespace().collect();
            format!("{}.{}", stat.st_ino, offset.join("."))
        }
        // A kernel that has none has one clock.
        _ => "0".to_string(),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The directory of this name below `place`, made where it is not there; no symbolic link.
fn own_directory(place: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::mkdirat(place, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::openat(place, name, flags, Mode::empty())?)
}

/// Says what has taken this name, where something has.
fn taken(place: &OwnedFd, name: &str) -> Option<&'static str> {
    let stat = fs::statat(place, name, fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(match stat.st_uid == rustix::process::geteuid().as_raw() {
        true => "is no directory for this user alone (chmod 700)",
        false => "belongs to another user",
    })
}

fn in_memory(directory: OwnedFd) -> io::Result<OwnedFd> {
    in_memory_system(&directory)?;
    Ok(directory)
}

fn private(directory: OwnedFd) -> io::Result<OwnedFd> {
    match file::is_private(&fs::fstat(&directory)?) {
        true => Ok(directory),
        false => Err(io::Error::other("it is not this user's, or open to others")),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn in_memory_system(directory: &OwnedFd) -> io::Result<()> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58F6;
    match fs::fstatfs(directory)?.f_type as u32 {
        TMPFS | RAMFS => Ok(()),
        _ => Err(io::Error::other("it is not in memory")),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn in_memory_system(_: &OwnedFd) -> io::Result<()> {
    Err(io::Error::other("whether it is in memory is not known here"))
}

fn reason(error: &io::Error) -> String {
    match error.get_ref() {
        Some(own) => own.to_string(),
        None => crate::secret::io_reason(error),
    }
}
