//! The clock for waits between processes, and the points at which another process may act. In tests a thread plays a
//! process, and the test sets the time and decides which thread continues.

#[cfg(not(test))]
pub(crate) use real::own_number;
#[cfg(not(test))]
pub(super) use real::{now, point, sleep};
#[cfg(test)]
pub(crate) use scheduled::{SCHEDULER, Scheduler, own_number};
#[cfg(test)]
pub(super) use scheduled::{now, point, sleep};

mod real {
    use crate::clock::{BootClock, Clock as _};
    use core::time::Duration;

    pub(in super::super) fn now() -> Duration {
        BootClock.now()
    }

    /// Returns a number that other processes of this moment do not have.
    pub(crate) fn own_number() -> u32 {
        std::process::id()
    }

    pub(in super::super) fn sleep(length: Duration) {
        std::thread::sleep(length);
    }

    #[cfg(not(test))]
    pub(in super::super) fn point() {}
}

#[cfg(test)]
mod scheduled {
    use super::real;
    use alloc::rc::Rc;
    use core::time::Duration;
    use std::cell::RefCell;

    pub(crate) trait Scheduler {
        fn now(&self) -> Duration;
        fn own_number(&self) -> u32;
        fn sleep(&self, length: Duration);
        fn point(&self);
    }

    std::thread_local! {
        pub(crate) static SCHEDULER: RefCell<Option<Rc<dyn Scheduler>>> = const { RefCell::new(None) };
    }

    fn scheduler() -> Option<Rc<dyn Scheduler>> {
        SCHEDULER.with_borrow(Clone::clone)
    }

    pub(in super::super) fn now() -> Duration {
        scheduler().map_or_else(real::now, |scheduler| scheduler.now())
    }

    pub(crate) fn own_number() -> u32 {
        scheduler().map_or_else(real::own_number, |scheduler| scheduler.own_number())
    }

    pub(in super::super) fn sleep(length: Duration) {
        scheduler().map_or_else(|| real::sleep(length), |scheduler| scheduler.sleep(length));
    }

    pub(in super::super) fn point() {
        if let Some(scheduler) = scheduler() {
            scheduler.point();
        }
    }
}
