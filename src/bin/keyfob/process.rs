//! What the process asks of the operating system before it holds a secret.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// No core dump, and no look into this process's memory or environment for others of the same user. Where the system
/// refuses, there is nothing better to do than to go on.
pub(crate) fn harden() {
    // The limit is for systems without the other; it does not stop a core that goes into a pipe.
    let limit = CORE_LIMIT.get_or_init(|| getrlimit(Resource::Core));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..*limit });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // A limit on the size of files is then an error of the write, like a full disk, and does not end the process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// The limit that the process was started with.
static CORE_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Restores what a program inherits that is started. This process stays as it is: its dumps are off on Linux.
pub(crate) fn restore_core_limit() {
    if let Some(limit) = CORE_LIMIT.get() {
        let _ = setrlimit(Resource::Core, Rlimit { ..*limit });
    }
}

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks at standard output before std does: std opens /dev/null in the place of a closed one, and what is written there
/// would be lost without an error.
#[ctor::ctor]
fn look_at_stdout() {
    IS_STDOUT_CLOSED.store(rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
}

/// Whether the process was started without a standard output.
pub(crate) fn is_stdout_closed() -> bool {
    IS_STDOUT_CLOSED.load(Ordering::Relaxed)
}
