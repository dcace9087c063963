//! A time namespace: another place on the boot clock, as a process finds it after a suspend. Making one needs root.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that keeps the namespace alive. It ends with its standard input.
#[allow(dead_code)]
pub struct Holder {
    process: Child,
    pub namespace: String,
    /// The mount namespace of the process.
    pub mounts: String,
}

#[allow(dead_code)] // Each program uses one of the two.
impl Holder {
    /// One whose boot clock is ahead by this.
    pub fn start(ahead: Duration) -> Result<Self, String> {
        Self::start_by(ahead, "")
    }

    /// One whose boot clock is ahead by this, for processes that enter `mounts` too: they cannot see that the time
    /// namespace is another, so time seems to have passed. All that they find in `/proc` is the name of the boot.
    pub fn start_unseen(ahead: Duration) -> Result<Self, String> {
        let hide = "name=$(cat /proc/sys/kernel/random/boot_id); mount -t tmpfs none /proc;
            mkdir -p /proc/sys/kernel/random; echo $name >/proc/sys/kernel/random/boot_id;";
        Self::start_by(ahead, hide)
    }

    fn start_by(ahead: Duration, first: &str) -> Result<Self, String> {
        let boot_time = format!("--boottime={}", ahead.as_secs());
        let mut process = Command::new("unshare")
            .args(["-m", "-T", &boot_time, "-f", "sh", "-ec", &format!("{first} echo $$; read end || true")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut id = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut id).unwrap();
        if id.trim().is_empty() {
            let mut reason = String::new();
            process.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
            process.wait().unwrap();
            return Err(reason.trim().lines().next().unwrap_or("unshare does not say why").to_owned());
        }
        let id = id.trim();
        Ok(Self { process, namespace: format!("/proc/{id}/ns/time"), mounts: format!("/proc/{id}/ns/mnt") })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
