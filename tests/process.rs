//! What the command keeps from others while it runs: its memory, its environment, a core dump.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/tracer.rs"]
mod tracer;

use common::{Server, json};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

const TOKEN: &str = r#"{"access_token":"t","expires_in":3600}"#;

/// The command, in a process of [`as_nobody`]: opened before, for its directory may be root's alone.
const KEYFOB: &str = "/proc/self/fd/3";

/// Runs these words as another user than root, from whom nothing is kept.
fn as_nobody(words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = r#"exec 3<"$0" && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@""#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob")]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn is_skipped() -> bool {
    if tracer::is_root() {
        return false;
    }
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "only root can act as another user");
    println!("process: skipped, because only root can act as another user");
    true
}

/// The command as it waits for an answer that does not come before its server goes.
struct Waiting {
    process: Child,
    _answer: mpsc::Sender<()>,
    _server: Server,
}

impl Waiting {
    /// `prepare` makes a command of its words.
    fn start(prepare: impl Fn(&[&str]) -> Command) -> Self {
        let (asked, is_asked) = mpsc::channel();
        let (answer, may_answer) = mpsc::channel::<()>();
        let (asked, may_answer) = (Mutex::new(asked), Mutex::new(may_answer));
        let server = Server::with(move |_, _| {
            let _ = asked.lock().unwrap().send(());
            let _ = may_answer.lock().unwrap().recv();
        });
        let url = server.url("/t");
        let process = prepare(&["token", "--no-cache", "--client-id", "i", "--url", &url]).spawn().unwrap();
        is_asked.recv_timeout(Duration::from_secs(20)).unwrap();
        Self { process, _answer: answer, _server: server }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_it() {
    if is_skipped() {
        return;
    }
    let can_open = |process: u32, file: &str| {
        let file = format!("/proc/{process}/{file}");
        as_nobody(&["sh", "-c", r#": <"$0""#, &file]).status().unwrap().success()
    };
    let waiting = Waiting::start(|words| as_nobody(&[&[KEYFOB], words].concat()));
    // The control is a program of the same user that does nothing about it.
    let mut control = as_nobody(&["sh", "-c", "echo; read end"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(control.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    for file in ["mem", "environ", "maps", "auxv"] {
        assert!(can_open(control.id(), file), "{file} of the control");
        assert!(!can_open(waiting.process.id(), file), "{file}");
    }
    assert!(can_open(waiting.process.id(), "status"), "what everyone may read");
    drop(control.stdin.take());
    control.wait().unwrap();
}

#[test]
fn no_core_is_dumped() {
    let waiting = Waiting::start(|words| {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -c unlimited; exec "$0" "$@""#, env!("CARGO_BIN_EXE_keyfob")]).args(words);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    });
    // The limit that nobody could raise again is left to a program that keyfob becomes.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", waiting.process.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<&str>>(), ["0", "unlimited", "bytes"]);
}

/// The files in `/proc` are root's then, and the command must still find its own descriptors there.
#[test]
fn a_secret_comes_in_by_descriptor_all_the_same() {
    if is_skipped() {
        return;
    }
    let server = Server::answering(json(200, TOKEN));
    for file in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        // The pipe must be this user's too, to be opened anew.
        let script = r#"printf hunter2 | "$0" "$@""#;
        let url = server.url("/t");
        let words = ["token", "--no-cache", "--client-id", "i", "--client-secret-file", file, "--url", &url];
        let output = as_nobody(&[&["sh", "-c", script, KEYFOB], &words[..]].concat()).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"t\n"[..]), "{file}");
    }
    // i:hunter2
    assert!(server.requests().iter().all(|seen| seen.header("authorization") == Some("Basic aTpodW50ZXIy")));
}
