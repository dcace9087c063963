//! Waits for a moment, a signal or a thread, with a clock that keeps running while the device sleeps.

use keyfob::{BootClock, Clock, Error, ErrorKind};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Waits until a moment of the boot clock. `thread::sleep` does not count the time in suspend.
pub(crate) fn sleep_until(at: Duration) {
    let timer = Timer::new().ok();
    while BootClock.now() < at {
        match &timer {
            Some(timer) => timer.wait(&[], Some(at)),
            // No descriptor is left; one may be free a second later.
            None => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}

/// Ignores the first SIGINT, SIGTERM or SIGHUP from now on and obeys the second. For a request that should be finished,
/// which takes no longer than --timeout. Returns the handlers.
pub(crate) fn finish_first() -> Vec<SigId> {
    let mut handlers = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)) {
        let is_second = Arc::new(AtomicBool::new(false));
        // The order matters: the first signal finds the flag unset and sets it. If a handler cannot be registered, the
        // signal keeps its effect.
        handlers.extend(signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, is_second.clone()));
        handlers.extend(signal_hook::flag::register(signal, is_second));
    }
    handlers
}

/// Returns whether the process was started with this signal ignored, as by nohup(1). A program that it starts inherits
/// this, unless a handler is set.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}

/// Lets the next SIGINT or SIGTERM end the process at once.
pub(crate) fn end_at_next_signal() {
    for signal in [SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true)));
    }
}

/// A timer that counts the time in suspend. It expires at once if its moment has passed.
struct Timer {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    descriptor: OwnedFd,
}

impl Timer {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn new() -> Result<Self, Error> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map(|descriptor| Self { descriptor })
            .map_err(|_| Error::new(ErrorKind::Internal, "there is no timer"))
    }

    /// Waits until one of these descriptors can be read, or until the moment. A signal may end the wait earlier.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait(&self, others: &[&UnixStream], until: Option<Duration>) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // A time of zero would disarm the timer.
        let until = until.map(|until| until.max(Duration::from_nanos(1))).unwrap_or_default();
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Timespec { tv_sec: until.as_secs() as _, tv_nsec: until.subsec_nanos() as _ };
        let _ = timerfd_settime(
            &self.descriptor,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: zero, it_value: at },
        );
        let mut descriptors = vec![PollFd::new(&self.descriptor, PollFlags::IN)];
        descriptors.extend(others.iter().map(|other| PollFd::new(*other, PollFlags::IN)));
        let _ = poll(&mut descriptors, None);
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn new() -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Checks the clock every second, because no timer of this system counts the time in suspend.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn wait(&self, others: &[&UnixStream], until: Option<Duration>) {
        let left = until.map_or(Duration::MAX, |until| until.saturating_sub(BootClock.now()));
        let left = left.min(Duration::from_secs(1));
        let mut descriptors: Vec<PollFd<'_>> = others.iter().map(|other| PollFd::new(*other, PollFlags::IN)).collect();
        let timeout = rustix::time::Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let _ = poll(&mut descriptors, Some(&timeout));
    }
}

/// The events that end a wait early.
pub(crate) struct Events {
    timer: Timer,
    woken: UnixStream,
    wake: UnixStream,
    hangup: Arc<AtomicBool>,
    /// The number of the signal, or 0.
    end: Arc<AtomicUsize>,
    received: Option<SignalDelivery<UnixStream, WithRawSiginfo>>,
}

/// A signal that was received.
pub(crate) struct Received {
    pub(crate) signal: i32,
    /// Whether the kernel sent it. For a terminal it sends the signal to all processes of a group.
    pub(crate) is_by_kernel: bool,
}

impl Events {
    /// Registers SIGHUP for [`is_hangup`](Events::is_hangup), and SIGTERM and SIGINT for [`is_end`](Events::is_end).
    pub(crate) fn new() -> Result<Self, Error> {
        Self::with(|events| {
            // Register the flags first: a wait that is woken then finds them set.
            signal_hook::flag::register(SIGHUP, events.hangup.clone())?;
            for signal in [SIGTERM, SIGINT] {
                signal_hook::flag::register_usize(signal, events.end.clone(), signal as usize)?;
            }
            for signal in [SIGHUP, SIGTERM, SIGINT, SIGCHLD] {
                signal_hook::low_level::pipe::register(signal, events.wake.try_clone()?)?;
            }
            Ok(())
        })
    }

    /// Registers SIGCHLD and these signals for [`received`](Events::received), except those that the process was
    /// started to ignore.
    pub(crate) fn of(signals: &[i32]) -> Result<Self, Error> {
        Self::with(|events| {
            let signals = signals.iter().filter(|signal| !is_ignored(**signal)).chain([&SIGCHLD]);
            let (woken, wake) = (events.woken.try_clone()?, events.wake.try_clone()?);
            events.received = Some(SignalDelivery::with_pipe(woken, wake, WithRawSiginfo, signals)?);
            Ok(())
        })
    }

    fn with(register: impl FnOnce(&mut Self) -> std::io::Result<()>) -> Result<Self, Error> {
        let fail = |error| Error::new(ErrorKind::Internal, "signals cannot be handled").with_source(error);
        let (woken, wake) = UnixStream::pair().map_err(fail)?;
        for end in [&woken, &wake] {
            end.set_nonblocking(true).map_err(fail)?;
        }
        let mut events =
            Self { timer: Timer::new()?, woken, wake, hangup: Arc::default(), end: Arc::default(), received: None };
        register(&mut events).map_err(fail)?;
        Ok(events)
    }

    /// Returns the signals that were received since the last call.
    pub(crate) fn received(&mut self) -> Vec<Received> {
        let pending = self.received.iter_mut().flat_map(SignalDelivery::pending);
        // The codes of the kernel are positive.
        pending.map(|info| Received { signal: info.si_signo, is_by_kernel: info.si_code > 0 }).collect()
    }

    /// Waits for any of the events, until this moment of the boot clock at the latest.
    pub(crate) fn wait(&mut self, until: Option<Duration>) {
        self.timer.wait(&[&self.woken], until);
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }

    /// Returns a function with which another thread ends a wait.
    pub(crate) fn waker(&self) -> impl FnOnce() + Send + 'static {
        let wake = self.wake.try_clone();
        move || {
            if let Ok(mut wake) = wake {
                let _ = wake.write(b"!");
            }
        }
    }

    /// Makes [`end_signal`](Events::end_signal) report SIGHUP as well.
    pub(crate) fn end_at_hangup(&self) {
        let _ = signal_hook::flag::register_usize(SIGHUP, self.end.clone(), SIGHUP as usize);
    }

    /// Returns whether a hangup was received since the last call.
    pub(crate) fn is_hangup(&self) -> bool {
        self.hangup.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_end(&self) -> bool {
        self.end_signal().is_some()
    }

    /// Returns the signal that asks the process to end.
    pub(crate) fn end_signal(&self) -> Option<u8> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}
