//! Time: a clock that only goes forward, and goes on while the device sleeps.

use core::time::Duration;

/// Tells the time since some fixed moment, mostly the boot.
///
/// It must never go back, and should count the time that the device was suspended: a token's life goes on meanwhile.
/// It is no wall clock, so a device whose date is wrong is no worse off. Any `Fn() -> Duration` is one:
///
/// ```
/// use core::time::Duration;
/// use keyfob::Clock;
///
/// let stopped = || Duration::from_secs(42);
/// assert_eq!(stopped.now(), Duration::from_secs(42));
/// ```
pub trait Clock: Send + Sync {
    /// Returns the time since the clock's fixed moment.
    fn now(&self) -> Duration;

    /// Returns the time since 1970 began, by a wall clock. Default: none.
    ///
    /// It dates an [`Assertion`](crate::Assertion) and `{now}` in a [template](crate::Endpoint#templates). Otherwise only
    /// [`LifetimeRules::trust_clock`](crate::LifetimeRules::trust_clock) asks for it, for an answer without a `Date`.
    fn wall_time(&self) -> Option<Duration> {
        None
    }
}

impl<F: Fn() -> Duration + Send + Sync> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// The system's clock since boot.
///
/// On Linux and Android it is `CLOCK_BOOTTIME`, on Apple's systems `CLOCK_MONOTONIC`: both count the time in suspend.
/// Elsewhere it is [`std::time::Instant`], which stops there on some systems: a token that ran out during a suspend may
/// then be handed out once more.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

#[cfg(feature = "std")]
impl Clock for BootClock {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn now(&self) -> Duration {
        #[cfg(not(target_vendor = "apple"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(target_vendor = "apple")]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        // Neither part is ever negative on these clocks; zero is the safe reading if one were.
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn now(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    fn wall_time(&self) -> Option<Duration> {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()
    }
}
