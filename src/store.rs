//! The store: one small file for each identity, by which processes of one user share tokens, refusals and backoffs.
//!
//! A file is believed only if it is this user's, closed to others, sealed with the key of this boot and about the very
//! same request; anything else is as good as no file. Times are those of the boot clock, so no wall clock is asked, and
//! a reboot, which makes a new key, empties the store.

mod record;

pub(crate) use record::Record;

use crate::client::Client;
use crate::encode;
use crate::error::Error;
use crate::file::{self, Slot};
use crate::grant::Grant;
use crate::secret::FieldValue;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
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
/// request. A token whose lifetime is unknown or not credible is never stored, for nobody could tell when
/// it is over.
///
/// It is there on Linux and Android, for it needs to know one boot from the next.
#[derive(Clone)]
pub struct Store {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    boot: String,
}

/// What the kernel calls this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Places for all users: in each of them a directory of this user's own. They are tried in this order.
const COMMON: [&str; 4] = ["/run", "/var/run", "/dev/shm", "/tmp"];

/// No file is larger: a token is at most 1 MiB long, and each byte is written with three at the most.
const MAX_FILE: usize = 8 * 1024 * 1024;

const KEY: &str = "keyfob-key";

impl Store {
    /// The store in the first of these directories that is this user's, closed to others (mode 0700) and in memory:
    /// `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR`, and `keyfob-UID` in `/run`, `/var/run`, `/dev/shm`, `/tmp`, which is made
    /// where it is not there.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) where there is none; the hint says why for each.
    pub fn find() -> Result<Self, Error> {
        let boot = boot_id()?;
        let mut reasons = Vec::new();
        let mut attempt = |directory: io::Result<OwnedFd>, path: &Path| match directory.and_then(in_memory) {
            Ok(directory) => Some(Self { directory: directory.into(), path: path.to_owned(), boot: boot.clone() }),
            Err(error) => {
                reasons.push(format!("{}: {}", path.display(), reason(&error)));
                None
            }
        };
        for variable in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
            // systemd names several with colons in between.
            let paths = std::env::var_os(variable).unwrap_or_default();
            for path in std::env::split_paths(&paths).filter(|path| path.is_absolute()) {
                if let Some(store) = attempt(open(&path), &path) {
                    return Ok(store);
                }
            }
        }
        let own = format!("keyfob-{}", rustix::process::geteuid().as_raw());
        for place in COMMON {
            let place = Path::new(place);
            if let Some(store) = attempt(open(place).and_then(|place| own_directory(&place, &own)), &place.join(&own)) {
                return Ok(store);
            }
        }
        Err(Error::config("there is no place for the cache").with_hint(reasons.join("; ")))
    }

    /// The store in the directory at `path`, which may be on any file system. It is made where it is not there; its
    /// parent must be.
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
        Ok(Self { directory: directory.into(), boot: boot_id()?, path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place for what `client` gets for `grant`, with the secrets as they are now. None where the directory cannot
    /// be used any more: then it is done without.
    pub(crate) fn entry(&self, client: &Client, grant: &Grant) -> Result<Option<Entry>, Error> {
        let Ok(key) = self.key() else { return Ok(None) };
        let mut name = key.seal("name");
        name.add(describe(client, grant));
        credentials(client, grant, &mut name)?;
        let slot = Slot::new(self.directory.clone(), format!("keyfob-{}.token", name.finish()));
        Ok(Some(Entry { slot, key }))
    }

    /// The key of this boot, made by who comes first.
    fn key(&self) -> io::Result<Key> {
        let slot = Slot::new(self.directory.clone(), KEY);
        let read = || slot.read(256).ok().and_then(|bytes| Key::read(&bytes, &self.boot));
        // Others make it in a few milliseconds, if they live.
        for _ in 0..1000 {
            if let Some(key) = read() {
                return Ok(key);
            }
            let Some(_lock) = slot.try_lock(true)? else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            if let Some(key) = read() {
                return Ok(key);
            }
            let mut bytes = Zeroizing::new([0; 32]);
            File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
            let text = encode::exact(|out| {
                writeln!(out, "{}", self.boot)?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            });
            slot.draft(None)?.commit(&[text.expose().as_bytes()], false).map_err(|unfinished| unfinished.error)?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Removes what is over, but for `own`: files of tokens and refusals whose time has passed, and what nobody can read
    /// any more.
    pub(crate) fn sweep(&self, now: Duration, own: &Entry) {
        let Ok(directory) = fs::Dir::read_from(&self.directory) else { return };
        for entry in directory.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_token = name.starts_with("keyfob-") && name.ends_with(".token");
            let is_draft = name.starts_with(".keyfob-") && name.ends_with(".token.new");
            if name == own.slot.name() || !(is_token || is_draft) {
                continue;
            }
            let slot = Slot::new(self.directory.clone(), name);
            if is_token && record::lives_on(&slot, &own.key, now) {
                continue;
            }
            // Who writes a draft has the lock of its place first, and the draft's own a moment later.
            let _place = match name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")) {
                Some(place) => match Slot::new(self.directory.clone(), place).try_lock(false) {
                    Ok(None) => continue,
                    lock => lock.ok().flatten(),
                },
                None => None,
            };
            // Whoever is at work on it has the lock, and may have written it since.
            if let Ok(Some(_lock)) = slot.try_lock(false) {
                if !(is_token && record::lives_on(&slot, &own.key, now)) {
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

/// Makes fingerprints and seals that nobody makes without it. It is in memory and in the store's directory alone, and
/// another one for each boot.
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
        // What another version has written may be read otherwise.
        seal.add(env!("CARGO_PKG_VERSION"));
        seal.add(purpose);
        seal
    }
}

/// SipHash-2-4 under two keys: 128 bits that tell nothing to who has not the key.
#[allow(deprecated, reason = "std's other hasher takes no key and promises no algorithm")]
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

    fn finish(self) -> String {
        let [high, low] = self.0.map(|hasher| u128::from(hasher.finish()));
        format!("{:032x}", high << 64 | low)
    }
}

/// What hashes itself, piece by piece: as one text it costs less.
struct Pieces(Vec<u8>);

impl Hasher for Pieces {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The same for processes whose words have other sizes.
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// It is asked for the pieces alone.
    fn finish(&self) -> u64 {
        0
    }
}

/// All that makes this request what it is, and its answer be read as it is, but for the secrets.
fn describe(client: &Client, grant: &Grant) -> Vec<u8> {
    let endpoint = client.endpoint();
    let mut pieces = Pieces(Vec::with_capacity(512));
    let out = &mut pieces;
    endpoint.url.without_query().hash(out);
    (endpoint.method, endpoint.parameters, endpoint.authentication, endpoint.basic_raw).hash(out);
    (endpoint.omit_grant_type, &grant.grant_type, &client.credentials().client_id, &grant.scope).hash(out);
    (&endpoint.members, &endpoint.session_members, endpoint.lifetime).hash(out);
    for fields in [&endpoint.headers, &endpoint.extra, &grant.fields, &grant.parameters] {
        fields.len().hash(out);
        for field in fields {
            let plain = match &field.value {
                FieldValue::Plain(value) => Some(value),
                FieldValue::Secret(_) | FieldValue::Line(_) => None,
            };
            (&field.name, plain, field.is_list).hash(out);
        }
    }
    pieces.0
}

/// Adds each secret that would be sent now. A query counts as one, for it may hold one.
fn credentials(client: &Client, grant: &Grant, mark: &mut Seal) -> Result<(), Error> {
    let endpoint = client.endpoint();
    mark.add(&endpoint.url.as_str()[endpoint.url.without_query().len()..]);
    for source in [client.credentials().client_secret.as_ref(), grant.bearer.as_ref()] {
        match source {
            Some(source) => mark.add(&*source.expose()?),
            None => mark.add(""),
        }
    }
    for field in [&endpoint.extra, &endpoint.headers, &grant.fields, &grant.parameters].into_iter().flatten() {
        if let Some(source) = field.secret_source() {
            mark.add(&*source.expose()?);
        }
    }
    // Its key follows from it.
    match &client.credentials().certificate {
        Some(certificate) => mark.add(&*certificate.chain.expose()?),
        None => mark.add(""),
    }
    Ok(())
}

fn boot_id() -> Result<String, Error> {
    match std::fs::read_to_string(BOOT_ID) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_string()),
        _ => Err(Error::config("the cache needs a kernel that names its boots, and this one does not")),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The directory of this name below `place`, made where it is not there; no symbolic link.
fn own_directory(place: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not made where it could not be used.
    in_memory_system(place)?;
    match fs::mkdirat(place, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::openat(place, name, flags, Mode::empty())?)
}

fn in_memory(directory: OwnedFd) -> io::Result<OwnedFd> {
    let directory = private(directory)?;
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
