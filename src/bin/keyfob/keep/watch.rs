//! Notices changes of the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The interval at which the store is examined: a token that another process revoked is removed from the file within
/// this time.
const LOOK: Duration = Duration::from_secs(2);

/// The directory of the store. If it has changed, the store may have changed.
pub(crate) struct Watch {
    directory: PathBuf,
    seen: Option<SystemTime>,
    /// When it is examined next.
    pub(crate) at: Duration,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), seen: None, at: Duration::ZERO }
    }

    /// Returns whether the directory has changed since the last call. Examines it at most once per [`LOOK`].
    pub(crate) fn has_changed(&mut self, now: Duration) -> bool {
        if now < self.at {
            return false;
        }
        self.at = now + LOOK;
        let changed_at = std::fs::metadata(&self.directory).and_then(|directory| directory.modified()).ok();
        // Two changes within one tick of the system's clock have the same time.
        let is_recent = changed_at.is_some_and(|at| at.elapsed().is_ok_and(|age| age < 2 * LOOK));
        std::mem::replace(&mut self.seen, changed_at) != changed_at || is_recent
    }
}
