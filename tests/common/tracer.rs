//! Drives `tracer.py`: what is left in a process's memory as it exits, and time that passes while it waits.

#![allow(dead_code, reason = "each test file uses a part of it")]

use miniserde::{Deserialize, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tracer.py");

pub struct Tracer {
    python: String,
}

impl Tracer {
    /// None where it cannot work: a line says why then. With `CI=true` that is a failure.
    pub fn new(test: &str) -> Option<Self> {
        match Self::find() {
            Ok(tracer) => Some(tracer),
            Err(reason) => {
                let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!is_ci, "{test}: {reason}");
                println!("{test}: skipped, because {reason}");
                None
            }
        }
    }

    fn find() -> Result<Self, String> {
        if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
            return Err("the tracer is for Linux on x86-64 and AArch64".to_owned());
        }
        if !may_trace() {
            return Err("it takes root with CAP_SYS_PTRACE to look into a process that is not dumpable".to_owned());
        }
        // `python3` may be a script that looks for the real one each time.
        let check = "import sys; assert sys.version_info >= (3, 10), 'it is too old'; print(sys.executable)";
        let found =
            Command::new("python3").args(["-c", check]).output().map_err(|error| format!("python3: {error}"))?;
        if !found.status.success() {
            return Err(format!("python3: {}", String::from_utf8_lossy(&found.stderr).trim()));
        }
        Ok(Self { python: String::from_utf8_lossy(&found.stdout).trim().to_owned() })
    }

    pub fn python(&self) -> Command {
        Command::new(&self.python)
    }

    /// Runs the command, without any environment but its own, and searches its memory as it exits. `stdin` is a file that it
    /// reads, `options` are the tracer's.
    pub fn scan(&self, command: &Command, stdin: Option<&str>, options: &[&str], needles: &Needles) -> Scan {
        let mut tracer = self.python();
        tracer.args([SCRIPT, "scan"]).args(options);
        if let Some(file) = stdin {
            tracer.args(["--stdin", file]);
        }
        tracer.arg(command.get_program()).args(command.get_args()).env_clear();
        tracer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = command.get_current_dir() {
            tracer.current_dir(directory);
        }
        tracer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tracer.spawn().unwrap();
        // They go by a pipe, so that the command has them neither as arguments nor in its environment.
        child.stdin.take().unwrap().write_all(needles.0.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        read(&output).unwrap_or_else(|| panic!("the tracer failed: {output:?}"))
    }

    /// Moves a running process of one thread into a time namespace: it then finds another boot clock.
    pub fn suspend(&self, process: u32, namespace: &str) {
        let output = self.python().args([SCRIPT, "suspend", &process.to_string(), namespace]).output().unwrap();
        assert!(output.status.success(), "the tracer failed: {output:?}");
    }
}

/// Root in a container may be without it.
fn may_trace() -> bool {
    const CAP_SYS_PTRACE: u64 = 19;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    capabilities.is_some_and(|capabilities| capabilities >> CAP_SYS_PTRACE & 1 == 1)
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

/// What is searched for: a name and the bytes in hex, one a line.
#[derive(Default)]
pub struct Needles(String);

impl Needles {
    pub fn add(self, name: &str, text: &str) -> Self {
        self.bytes(name, text.as_bytes())
    }

    pub fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push_str(&format!("{} {digits}\n", name.replace(' ', "-")));
        self
    }

    /// A secret as it is, and as it stands in a form, in a query, and in JSON.
    pub fn secret(self, name: &str, text: &str) -> Self {
        self.add(name, text)
            .form(name, text)
            .add(&format!("{name} in a query"), &percent(text, "%20"))
            .add(&format!("{name} in JSON"), &text.replace('\\', "\\\\").replace('"', "\\\""))
            .add(&format!("{name} in PHP's JSON"), &text.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/"))
    }

    /// A secret as it stands in a form.
    pub fn form(self, name: &str, text: &str) -> Self {
        self.add(&format!("{name} in a form"), &percent(text, "+"))
    }

    /// HTTP Basic: form-encoded first.
    pub fn basic(self, id: &str, secret: &str) -> Self {
        self.add("Basic", &base64(&format!("{}:{}", percent(id, "+"), percent(secret, "+"))))
    }

    pub fn raw_basic(self, id: &str, secret: &str) -> Self {
        self.add("raw Basic", &base64(&format!("{id}:{secret}")))
    }
}

/// As application/x-www-form-urlencoded.
fn percent(text: &str, space: &str) -> String {
    let encode = |byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        b' ' => space.to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn base64(text: &str) -> String {
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let encode = |chunk: &[u8]| {
        let group = [0, 1, 2].iter().fold(0, |group, at| group << 8 | usize::from(*chunk.get(*at).unwrap_or(&0)));
        let digit = |place: usize| if place <= chunk.len() { digits[group >> (18 - 6 * place) & 63] } else { '=' };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    text.as_bytes().chunks(3).flat_map(encode).collect()
}

/// What a process did, and what it left in its memory.
#[derive(Debug)]
pub struct Scan {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// How many bytes of memory were searched.
    pub searched: usize,
    /// The needles that are there, each with a place.
    pub copies: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Needle {
    needle: String,
    places: Vec<String>,
}

#[derive(Deserialize)]
struct End {
    code: i32,
    stdout: String,
    stderr: String,
    searched: usize,
}

fn read(output: &Output) -> Option<Scan> {
    if !output.status.success() {
        return None;
    }
    let lines: Vec<&str> = std::str::from_utf8(&output.stdout).ok()?.lines().collect();
    let (end, needles) = lines.split_last()?;
    let End { code, stdout, stderr, searched } = json::from_str(end).ok()?;
    let mut copies = Vec::new();
    for line in needles {
        let Needle { needle, places } = json::from_str(line).ok()?;
        copies.extend(places.into_iter().map(|place| (needle.clone(), place)));
    }
    Some(Scan { code, stdout, stderr, searched, copies })
}
