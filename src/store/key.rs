//! The keyed fingerprints and seals of a store's files.

use super::identity;
use crate::error::Error;
use crate::file::Slot;
use crate::secret::{Identity, SecretSource};
use alloc::format;
use alloc::string::String;
use core::hash::Hasher;
use zeroize::Zeroizing;

/// The file of one identity, and the key that its content is sealed with.
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    pub(super) key: Key,
}

/// The key for fingerprints and seals, which nobody can forge without it. It exists only in memory and in the store's
/// directory, and each boot makes a new one.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u64; 4]>);

impl Key {
    /// Reads the key's file: the name of the boot, then 64 hex digits.
    pub(super) fn read(bytes: &[u8], boot: &str) -> Option<Self> {
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

    pub(super) fn seal(&self, purpose: &str) -> Seal {
        let [a, b, c, d] = *self.0;
        let mut seal = Seal([sip(a, b), sip(c, d)]);
        seal.add(purpose);
        seal
    }
}

/// SipHash-2-4 under two keys: 128 bits that reveal nothing without the key.
#[allow(
    deprecated,
    reason = "std has no other keyed hash with a fixed algorithm, and 128 bits for a MAC need no crate"
)]
pub(super) struct Seal([core::hash::SipHasher; 2]);

#[allow(deprecated, reason = "as above")]
fn sip(a: u64, b: u64) -> core::hash::SipHasher {
    core::hash::SipHasher::new_with_keys(a, b)
}

impl Seal {
    /// Adds a text with its length, so that two different lists of texts never give the same seal.
    pub(super) fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        for hasher in &mut self.0 {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text);
        }
    }

    /// Adds the value of `source`, or its identity if one is set.
    pub(super) fn add_secret(&mut self, source: &SecretSource) -> Result<(), Error> {
        match source.own_identity() {
            // With a mark, because one source's identity may equal another's value.
            Some(Identity::Text(identity)) => {
                self.add("identity");
                self.add(identity.expose());
            }
            Some(Identity::Cache(tokens)) => {
                self.add("cache");
                self.add(identity::describe(tokens.client(), tokens.grant()));
                identity::credentials(tokens.client(), tokens.grant(), self)?;
            }
            None => self.add(&*source.expose()?),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        let [high, low] = self.0.map(|hasher| u128::from(hasher.finish()));
        format!("{:032x}", high << 64 | low)
    }
}
