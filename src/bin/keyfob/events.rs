//! Waiting, on a clock that goes on while the device sleeps, for a moment, a signal or a thread.

use keyfob::{BootClock, Clock, Error, ErrorKind};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Waits until a moment of the boot clock. What `thread::sleep` waits does not count the time in suspend.
pub(crate) fn sleep_until(at: Duration) {
    let timer = Timer::new().ok();
    while BootClock.now() < at {
        match &timer {
            Some(timer) => timer.wait(&[], Some(at)),
            // No descriptor is left: that may be over by then.
            None => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}

/// From now on the first SIGINT, SIGTERM or SIGHUP is not obeyed, the second is: for a request that is better finished,
/// which it is within --timeout.
pub(crate) fn finish_first() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let is_second = Arc::new(AtomicBool::new(false));
        // In this order: the first signal finds the flag down, and raises it. Without handlers it is as it was.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, is_second.clone());
        let _ = signal_hook::flag::register(signal, is_second);
    }
}

/// The next SIGINT or SIGTERM ends the process at once.
pub(crate) fn end_at_next_signal() {
    for signal in [SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true)));
    }
}

/// A timer that goes off after a suspend too, at once if its moment has passed.
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

    /// Waits until one of these can be read, or until the moment; a signal may end it earlier.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait(&self, others: &[&UnixStream], until: Option<Duration>) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // The time zero would turn it off.
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

    /// Looks at the clock every second, for here no timer counts the time in suspend.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn wait(&self, others: &[&UnixStream], until: Option<Duration>) {
        let left = until.map_or(Duration::MAX, |until| until.saturating_sub(BootClock.now()));
        let left = left.min(Duration::from_secs(1));
        let mut descriptors: Vec<PollFd<'_>> = others.iter().map(|other| PollFd::new(*other, PollFlags::IN)).collect();
        let timeout = rustix::time::Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let _ = poll(&mut descriptors, Some(&timeout));
    }
}

/// What ends a wait besides the clock.
pub(crate) struct Events {
    timer: Timer,
    woken: UnixStream,
    wake: UnixStream,
    hangup: Arc<AtomicBool>,
    /// The signal, or 0.
    end: Arc<AtomicUsize>,
}

impl Events {
    /// From now on SIGHUP, SIGTERM and SIGINT are for [`is_hangup`](Events::is_hangup) and [`is_end`](Events::is_end).
    pub(crate) fn new() -> Result<Self, Error> {
        let setup = || -> std::io::Result<_> {
            let (woken, wake) = UnixStream::pair()?;
            woken.set_nonblocking(true)?;
            wake.set_nonblocking(true)?;
            let (hangup, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            // The flags first: who is woken finds them set.
            signal_hook::flag::register(SIGHUP, hangup.clone())?;
            for signal in [SIGTERM, SIGINT] {
                signal_hook::flag::register_usize(signal, end.clone(), signal as usize)?;
            }
            for signal in [SIGHUP, SIGTERM, SIGINT, SIGCHLD] {
                signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
            }
            Ok((woken, wake, hangup, end))
        };
        let (woken, wake, hangup, end) =
            setup().map_err(|error| Error::new(ErrorKind::Internal, "signals cannot be handled").with_source(error))?;
        Ok(Self { timer: Timer::new()?, woken, wake, hangup, end })
    }

    /// Waits for any of it, until this moment of the boot clock at the latest.
    pub(crate) fn wait(&mut self, until: Option<Duration>) {
        self.timer.wait(&[&self.woken], until);
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }

    /// Ends a wait from another thread when it is called.
    pub(crate) fn waker(&self) -> impl FnOnce() + Send + 'static {
        let wake = self.wake.try_clone();
        move || {
            if let Ok(mut wake) = wake {
                let _ = wake.write(b"!");
            }
        }
    }

    /// From now on SIGHUP is for [`end_signal`](Events::end_signal) as well.
    pub(crate) fn end_at_hangup(&self) {
        let _ = signal_hook::flag::register_usize(SIGHUP, self.end.clone(), SIGHUP as usize);
    }

    /// Whether a hangup came since this was asked last.
    pub(crate) fn is_hangup(&self) -> bool {
        self.hangup.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_end(&self) -> bool {
        self.end_signal().is_some()
    }

    /// The signal that says it is to end.
    pub(crate) fn end_signal(&self) -> Option<u8> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}
