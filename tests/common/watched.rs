//! Runs the command and looks at it as it is about to speak: how long it took, and how much memory it needed.

#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

use super::running::{Outcome, Run};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// A command that has not come to its end by then never will.
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Watched {
    pub outcome: Outcome,
    pub took: Duration,
    /// The most memory that it ever had, in KiB: its share of the programs on disk included. None where that cannot be
    /// seen: the command closes its process to others, and only root may look into it then.
    pub peak: Option<u64>,
}

/// Runs it to its end.
///
/// The kernel forgets a process's memory as it exits, and what it tells of children is mixed with their parent's. So
/// the command is given outputs that are full already: it stops at the first thing it says, with all of its work done,
/// and its peak can be read at leisure.
pub fn watch(run: Run) -> Watched {
    let ((stdout, its_stdout), (stderr, its_stderr)) = (Full::new(), Full::new());
    let mut command = run.command();
    command.stdin(Stdio::null()).stdout(OwnedFd::from(its_stdout)).stderr(OwnedFd::from(its_stderr));
    let started = Instant::now();
    let mut child = command.spawn().expect("the command starts");
    // Its ends of the outputs are closed here, so that they end with it.
    drop(command);
    let peak = peak_as_it_speaks(&mut child, started);
    let spoke = started.elapsed();
    let (stdout, stderr) = (std::thread::spawn(|| stdout.text()), std::thread::spawn(|| stderr.text()));
    let status = wait(&mut child, started);
    let took = if peak.is_some() { spoke } else { started.elapsed() };
    let (stdout, stderr) = (stdout.join().expect("standard output is read"), stderr.join().expect("and the other"));
    Watched { outcome: Outcome { code: status.code(), stdout, stderr }, took, peak }
}

/// One that does not end is killed, and the outcome shows it.
fn wait(child: &mut Child, started: Instant) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn peak_as_it_speaks(child: &mut Child, started: Instant) -> Option<u64> {
    let process = format!("/proc/{}", child.id());
    let process = Path::new(&process);
    let mut was_waiting = false;
    while started.elapsed() < PATIENCE && child.try_wait().expect("it is our child").is_none() {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let has_connection = match has_connection(process) {
            Ok(has_connection) => has_connection,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                tell_that_nothing_is_seen();
                return None;
            }
            // It has just ended.
            Err(_) => break,
        };
        // Twice in a row, so that no short wait is taken for this one.
        let is_waiting = field("State:").starts_with('S') && !has_connection;
        if is_waiting && was_waiting {
            return Some(field("VmHWM:").trim_end_matches(" kB").parse().expect("the peak is a number"));
        }
        was_waiting = is_waiting;
        std::thread::sleep(Duration::from_millis(2));
    }
    // Ended without a word, or not at all: its peak is not known, and the outcome will show it.
    let _ = child.kill();
    Some(u64::MAX)
}

fn tell_that_nothing_is_seen() {
    static ONCE: Once = Once::new();
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "only root can see how much memory the command takes");
    ONCE.call_once(|| println!("how much memory the command takes is not measured: only root can see it"));
}

/// Whether it holds a socket besides its outputs.
fn has_connection(process: &Path) -> std::io::Result<bool> {
    let target = |path: &Path| std::fs::read_link(path).unwrap_or_default();
    let outputs = [1, 2].map(|number| target(&process.join(format!("fd/{number}"))));
    Ok(std::fs::read_dir(process.join("fd"))?
        .flatten()
        .map(|file| target(&file.path()))
        .any(|target| target.to_string_lossy().starts_with("socket:") && !outputs.contains(&target)))
}

/// The reading end of a stream that holds as much as it can, and then the command's output.
struct Full {
    reader: UnixStream,
    filled: u64,
}

impl Full {
    fn new() -> (Self, UnixStream) {
        let (reader, mut writer) = UnixStream::pair().expect("a pair of sockets");
        writer.set_nonblocking(true).expect("a socket of ours");
        let mut filled = 0;
        loop {
            match writer.write(&[b'.'; 16 * 1024]) {
                Ok(count) => filled += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the output cannot be filled: {error}"),
            }
        }
        writer.set_nonblocking(false).expect("a socket of ours");
        (Self { reader, filled }, writer)
    }

    /// Everything that came after the filling, to the end.
    fn text(mut self) -> String {
        std::io::copy(&mut (&mut self.reader).take(self.filled), &mut std::io::sink()).expect("the filling is read");
        let mut text = String::new();
        self.reader.read_to_string(&mut text).expect("the command's output is UTF-8");
        text
    }
}
