//! What the process asks of the operating system before it holds a secret.

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core dump, and no look into this process's memory or environment for others of the same user. Where the system
/// refuses, there is nothing better to do than to go on.
pub(crate) fn harden() {
    // The limit is for systems without the other; it does not stop a core that goes into a pipe.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
