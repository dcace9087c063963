//! Processes of the command that run at the same time, and places that only root can make.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use crate::common::{Seen, Server, json};
use crate::running::{Outcome, Run};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A process that runs. It does not outlive the test.
pub struct Started(Option<Child>);

impl Started {
    /// Starts it without anything on its standard input.
    pub fn new(run: Run) -> Self {
        Self::command(run.command())
    }

    pub fn command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("the command starts")))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
    }

    pub fn id(&mut self) -> u32 {
        self.child().id()
    }

    pub fn signal(&mut self, signal: Signal) {
        let id = Pid::from_child(self.child());
        kill_process(id, signal).expect("it is this test's own process");
    }

    pub fn is_running(&mut self) -> bool {
        self.child().try_wait().expect("it is this test's own process").is_none()
    }

    /// Ends it where it stands, if it still runs, and tells whether it did.
    pub fn kill(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let mut child = self.0.take().expect("it has not been waited for");
        let _ = child.kill();
        child.wait().expect("it is this test's own process").signal() == Some(9)
    }

    /// Waits for its end, but not for ever.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome {
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < Duration::from_secs(40), "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        let child = self.0.take().expect("it has not been waited for");
        let output = child.wait_with_output().expect("the command ends");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts so many at once and waits for all of them.
pub fn at_once(count: usize, run: impl Fn() -> Run) -> Vec<Outcome> {
    let started: Vec<Started> = (0..count).map(|_| Started::new(run())).collect();
    started.into_iter().map(Started::outcome).collect()
}

/// Issues tok-1, tok-2 and so on after a while, each for so many seconds.
pub fn issuing(seconds: u64, delay: Duration) -> Server {
    let issued = AtomicUsize::new(0);
    Server::with(move |_, stream| {
        let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(delay);
        let token = format!(r#"{{"access_token":"tok-{number}","token_type":"Bearer","expires_in":{seconds}}}"#);
        let _ = stream.write_all(&json(200, &token));
    })
}

/// The value of a field of a form that was sent.
pub fn field(seen: &Seen, name: &str) -> Option<String> {
    let body = seen.body_text();
    body.split('&').find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Waits until it is so. That is for what comes soon; the limit is for a machine that is very busy.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "after 20 s still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether `unshare` with these arguments works here: for root on Linux it does.
pub fn can_unshare(test: &str, arguments: &[&str]) -> bool {
    can(test, "it needs root on Linux, and namespaces", Command::new("unshare").args(arguments).arg("true"))
}

/// Whether this command works here. Where it does not, the test is skipped, with a line that says why; in CI that is a
/// failure.
pub fn can(test: &str, need: &str, command: &mut Command) -> bool {
    let reason = match command.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("{test}: skipped, because {need}: {reason}");
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "in CI nothing is skipped");
    false
}

pub const MOUNTS: &[&str] = &["-m"];
/// Two hours ahead, as after a suspend.
pub const AHEAD: &[&str] = &["-T", "--boottime", "7200", "-f"];

/// A shell script in namespaces of its own, in which `keyfob` is the command. What it mounts, nobody else sees; and a
/// mount over the place where the command is does not hide it.
pub fn script(namespaces: &[&str], run: Run, script: &str) -> Command {
    let like = run.command();
    let mut command = Command::new("unshare");
    let text = format!("exec 3<\"$KEYFOB\"\nkeyfob() {{ /proc/self/fd/3 \"$@\"; }}\n{script}");
    command.args(namespaces).args(["sh", "-euc", &text, "sh"]).args(like.get_args());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("KEYFOB", like.get_program());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = like.get_current_dir() {
        command.current_dir(directory);
    }
    command
}
