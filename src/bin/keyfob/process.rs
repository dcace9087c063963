//! Prepares the process before it holds a secret.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Turns off core dumps, and hides this process's memory and environment from other processes of the same user. A
/// failure is ignored, because the work is possible without it.
pub(crate) fn harden() {
    // The limit is for systems without the second measure. It does not stop a core dump that goes into a pipe.
    let limit = CORE_LIMIT.get_or_init(|| getrlimit(Resource::Core));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..*limit });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // With a handler, a write beyond the limit on file sizes is an error, like a full disk, and does not end the
    // process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// The core limit with which the process was started.
static CORE_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Restores the limit that a started program inherits. On Linux this process stays without dumps.
pub(crate) fn restore_core_limit() {
    if let Some(limit) = CORE_LIMIT.get() {
        let _ = setrlimit(Resource::Core, Rlimit { ..*limit });
    }
}

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Examines standard output before std does: std replaces a closed one with /dev/null, and the output would be lost
/// without an error.
#[ctor::ctor]
fn look_at_stdout() {
    IS_STDOUT_CLOSED.store(rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
}

/// Returns whether the process was started without a standard output.
pub(crate) fn is_stdout_closed() -> bool {
    IS_STDOUT_CLOSED.load(Ordering::Relaxed)
}
