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
    /// Returns the time since the clock's fixed moment, or [`Duration::MAX`] if the clock cannot be read: then every
    /// cached token counts as expired, and a client asks for no other one.
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
///
/// A reading that cannot be true is not believed: nanoseconds of a second or more, or more than 136 years since boot. C
/// libraries with two sizes of `time_t` cause it (32-bit MIPS with musl). `/proc/uptime`, which counts the time in suspend
/// too, takes its place; without that the clock [cannot be read](Clock::now).
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
        believed(time.tv_sec, time.tv_nsec).unwrap_or_else(since_boot_by_file)
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

/// Returns a reading of the clock since boot, unless it cannot be true.
#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn believed(seconds: impl TryInto<u32>, nanoseconds: impl TryInto<u32>) -> Option<Duration> {
    let nanoseconds = nanoseconds.try_into().ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
    Some(Duration::new(u64::from(seconds.try_into().ok()?), nanoseconds))
}

/// Reads `/proc/uptime`: the seconds since boot, with hundredths, then the idle time.
#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
#[cold]
fn since_boot_by_file() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    since_boot(&text).unwrap_or(Duration::MAX)
}

#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn since_boot(text: &str) -> Option<Duration> {
    let (seconds, hundredths) = text.split_once(' ')?.0.split_once('.')?;
    let hundredths: u32 = hundredths.parse().ok().filter(|_| hundredths.len() == 2)?;
    believed(seconds.parse::<u64>().ok()?, hundredths * 10_000_000)
}

#[cfg(all(test, feature = "std", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_cannot_be_true_is_not_believed() {
        // As 32-bit MIPS with musl gives it: the nanoseconds are in the upper half of the seconds.
        for (seconds, nanoseconds, expected) in [
            (0, 0, Some(Duration::ZERO)),
            (1_234, 999_999_999, Some(Duration::new(1_234, 999_999_999))),
            (4_294_967_295, 0, Some(Duration::from_secs(4_294_967_295))),
            (4_294_967_296, 0, None),
            (61_012_922_427_506_687, 0, None),
            (1_234, 1_000_000_000, None),
            (-1, 0, None),
            (1_234, -1, None),
            (i64::MAX, i64::MAX, None),
            (i64::MIN, i64::MIN, None),
        ] {
            assert_eq!(believed(seconds, nanoseconds), expected, "{seconds} {nanoseconds}");
        }
    }

    #[test]
    fn the_uptime_file_is_the_second_way() {
        for (text, expected) in [
            ("12.34 45.67\n", Some(Duration::from_millis(12_340))),
            ("0.00 0.00\n", Some(Duration::ZERO)),
            ("", None),
            ("12.34", None),
            ("12 34\n", None),
            ("12.3 4\n", None),
            ("12.345 4\n", None),
            ("-1.00 4\n", None),
            ("x.00 4\n", None),
            ("4294967296.00 4\n", None),
            ("99999999999999999999.00 4\n", None),
        ] {
            assert_eq!(since_boot(text), expected, "{text:?}");
        }
        let (before, now, after) = (BootClock.now(), since_boot_by_file(), BootClock.now());
        assert!(before.as_millis() / 10 <= now.as_millis() / 10 + 1 && now <= after, "{before:?} {now:?} {after:?}");
    }
}
