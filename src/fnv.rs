//! The hash by which one request is told from another.

/// The hash FNV-1a, which distinguishes inputs but does not hide them.
pub(crate) struct Fnv(pub(crate) u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811C_9DC5)
    }
}

impl Fnv {
    pub(crate) fn add(&mut self, text: &str) -> &mut Self {
        self.add_bytes(text.as_bytes());
        self
    }

    /// Adds bytes with their length, so that two lists of the same bytes with other boundaries have different hashes.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.iter().copied().chain([0]));
    }

    pub(crate) fn value(&self) -> u32 {
        self.0
    }

    fn fold(&mut self, bytes: impl Iterator<Item = u8>) {
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    }
}

/// Returns the hash of some bytes.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut hash = Fnv::default();
    hash.fold(bytes);
    hash.0
}
