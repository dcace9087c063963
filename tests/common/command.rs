//! Runs the `keyfob` command in a place of its own: no environment but what a test sets, no directory but its own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Stands in every secret of these tests. No output may hold it, unless a test says so.
pub const SENTINEL: &str = "hunter2";

/// A temporary directory with a home and a current directory.
pub struct Place {
    root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("command-{}-{number}", std::process::id());
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        // What a former process of the same number left behind.
        let _ = std::fs::remove_dir_all(&root);
        for directory in ["here", "home", "config"] {
            std::fs::create_dir_all(root.join(directory)).expect("a temporary directory");
        }
        let cache = DirBuilder::new().mode(0o700).create(root.join("cache"));
        cache.expect("a directory of this user's own");
        let place = Self { root };
        place.file("here/secret", SENTINEL);
        place
    }

    pub fn path(&self, name: &str) -> String {
        self.root.join(name).into_os_string().into_string().expect("the build directory's path is UTF-8")
    }

    /// Writes a file below the place; `here/` is the current directory.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().expect("a file stands in a directory")).expect("a directory");
        // For this user alone, as a secret should be.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.as_mut().expect("a temporary file");
        file.write_all(text.as_ref()).expect("a temporary file");
    }

    pub fn keyfob<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let (verb, options) = arguments.split_at(arguments.len().min(1));
        command.args(verb);
        // What one test caches is no other test's, and nobody else's.
        let cached = ["token", "revoke", "keep", "exec", "status", "forget", "helper", "probe"];
        let is_cached = verb.iter().any(|verb| cached.iter().any(|cached| verb == cached));
        if is_cached && !options.iter().any(|option| option == "--cache-dir" || option == "--no-cache") {
            command.arg("--cache-dir").arg(self.root.join("cache"));
        }
        command.args(options);
        command.env_clear().current_dir(self.root.join("here"));
        command.env("HOME", self.root.join("home"));
        command.env("XDG_CONFIG_HOME", self.root.join("config"));
        Run { command, input: Vec::new() }
    }

    /// `keyfob token --url URL --no-cache` with these options.
    pub fn token(&self, url: &str, options: &[&str]) -> Run {
        self.keyfob([&["token", "--url", url, "--no-cache"], options].concat())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The command, not yet started.
pub struct Run {
    command: Command,
    input: Vec<u8>,
}

impl Run {
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_variable(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// What it reads on standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// The bare command, for tests with a standard output of their own.
    pub fn command(self) -> Command {
        self.command
    }

    /// In a process group of its own, whose parent is this test: in a group that nobody would continue, the kernel does not stop
    /// a process at SIGTSTP, and the group of a test that a service runs is one.
    pub fn in_own_group(mut self) -> Self {
        std::os::unix::process::CommandExt::process_group(&mut self.command, 0);
        self
    }

    /// Runs it to its end. Its output may not hold a secret.
    #[track_caller]
    pub fn outcome(self) -> Outcome {
        let outcome = self.outcome_with_secrets();
        let leaks = [&outcome.stdout, &outcome.stderr].iter().any(|text| text.contains(SENTINEL));
        assert!(!leaks, "a secret stands in the output: {outcome:?}");
        outcome
    }

    /// Runs it to its end. Its output may hold a secret: the token that was asked for.
    pub fn outcome_with_secrets(mut self) -> Outcome {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("it has a standard input");
        // It need not read everything, or anything.
        let _ = stdin.write_all(&self.input);
        drop(stdin);
        let output = child.wait_with_output().expect("the command ends");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

/// What the command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    #[track_caller]
    pub fn is(&self, code: i32, stdout: &str, stderr: &str) {
        let expected = Self { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        assert_eq!(*self, expected);
    }

    /// It succeeded with this one line, and nothing else.
    #[track_caller]
    pub fn prints(&self, line: &str) {
        self.is(0, &format!("{line}\n"), "");
    }

    /// It failed with this code and these lines on standard error, and nothing on standard output.
    #[track_caller]
    pub fn fails(&self, code: i32, lines: &str) {
        self.is(code, "", &format!("{lines}\n"));
    }

    /// As [`fails`](Outcome::fails), and curl is told to send nothing: the profile may have asked for its format.
    #[track_caller]
    pub fn fails_and_stops_curl(&self, code: i32, lines: &str) {
        self.is(code, "proto = \"-all\"\n", &format!("{lines}\n"));
    }
}

/// An address on loopback that refuses connections as long as this lives: the port is taken, but nobody listens there.
pub struct Refusing {
    _listener: TcpListener,
    stream: TcpStream,
}

impl Refusing {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let stream = TcpStream::connect(listener.local_addr().expect("the port's number")).expect("a connection");
        Self { _listener: listener, stream }
    }

    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("the port's number")
    }
}

/// Reads what there is, once.
pub fn read_once(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 16 * 1024];
    let count = stream.read(&mut buffer).unwrap_or(0);
    buffer.truncate(count);
    buffer
}
