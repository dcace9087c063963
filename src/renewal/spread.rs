//! The value that spreads the requests of a fleet.

use crate::fnv::fnv1a;
use core::time::Duration;

/// A stable value of one device that spreads the requests of a fleet. Set it with
/// [`TokenCache::spread`](crate::TokenCache::spread).
///
/// ```
/// use keyfob::Spread;
///
/// let spread = Spread::from_seed(b"machine id 9f86d081");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread(u32);

impl Spread {
    /// Derives the value from something unique and stable of this device: a serial number, a machine id.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Self {
        // The finalizer, because FNV leaves the upper bits of short seeds alike.
        Self(mix(fnv1a(seed.iter().copied())))
    }

    /// Returns this device's part of `whole`, from zero to just below `whole`. A program can use it to spread other work that all
    /// devices would do at one moment.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::Spread;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let delay = Spread::from_seed(b"machine id 9f86d081").of(hour);
    /// assert!(delay < hour);
    /// ```
    #[must_use]
    pub fn of(self, whole: Duration) -> Duration {
        self.salted(whole, 0)
    }

    /// Returns a part that differs with `salt`.
    pub(super) fn salted(self, whole: Duration, salt: u32) -> Duration {
        let number = if salt == 0 { self.0 } else { mix(self.0 ^ mix(salt)) };
        // In 2^-16 parts, so that nothing overflows: a year has 2^55 ns.
        whole / (1 << 16) * (number >> 16)
    }
}

/// The finalizer of MurmurHash3: each bit of the input changes each bit of the output half of the time.
fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}
