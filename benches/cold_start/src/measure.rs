//! What a program takes: by its own run, and by valgrind and strace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A program with its arguments.
#[derive(Clone)]
pub struct Subject {
    pub name: &'static str,
    /// The file whose size is told.
    pub binary: Option<PathBuf>,
    pub crates: Option<usize>,
    pub words: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    /// What it prints is, or holds, this.
    pub token: String,
    /// Takes part in each so many rounds: the slow ones would take most of the time.
    pub stride: usize,
    /// Go's runtime starts more threads than valgrind bears with.
    pub valgrind: bool,
}

/// One run. Times are in microseconds, the memory is in KiB.
pub struct Sample {
    pub wall: f64,
    pub cpu: f64,
    pub memory: f64,
    pub faults: f64,
    /// The launcher's memory: the least that is told for another.
    pub launchers: f64,
}

pub struct Tools {
    pub launch: PathBuf,
    pub valgrind: Option<PathBuf>,
    pub strace: Option<PathBuf>,
    /// For what strace writes.
    pub scratch: PathBuf,
}

/// A program of this name on the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quartiles(values)[1]
}

pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

impl Tools {
    fn run(&self, before: &[&str], subject: &Subject) -> Output {
        let mut command = Command::new(&self.launch);
        command.args(before).args(&subject.words);
        // cargo's own variables would make the loader look for libraries in its directories.
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(subject.environment.iter().cloned());
        let output = command.output().expect("the launcher starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = !output.status.success() || !said.contains(&subject.token);
        assert!(!failed, "{}: {said}{}", subject.name, String::from_utf8_lossy(&output.stderr));
        output
    }

    pub fn sample(&self, subject: &Subject) -> Sample {
        let output = self.run(&[], subject);
        let said = String::from_utf8_lossy(&output.stderr);
        let figures = said.lines().last().expect("the launcher's line").split(' ').map(|word| word.parse());
        let [wall, cpu, memory, faults, launchers] = figures.collect::<Result<Vec<f64>, _>>().expect("numbers")[..]
        else {
            panic!("five numbers: {said}")
        };
        Sample { wall, cpu, memory, faults, launchers }
    }

    fn valgrind(&self, subject: &Subject, tool: &str, figure: &str) -> Option<f64> {
        let valgrind = self.valgrind.as_ref()?.to_str()?;
        if !subject.valgrind {
            return None;
        }
        let out = format!("--{tool}-out-file=/dev/null");
        let output = self.run(&[valgrind, &format!("--tool={tool}"), &out], subject);
        let said = String::from_utf8_lossy(&output.stderr);
        let (_, rest) = said.split_once(figure).unwrap_or_else(|| panic!("valgrind does not tell: {said}"));
        let number: String = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        Some(number.replace(',', "").parse().expect("a number"))
    }

    /// The instructions in user space.
    pub fn instructions(&self, subject: &Subject, runs: usize) -> Option<f64> {
        let runs: Option<Vec<f64>> = (0..runs).map(|_| self.valgrind(subject, "callgrind", "Collected :")).collect();
        runs.map(median)
    }

    /// What is allocated at the moment when that is most.
    pub fn heap(&self, subject: &Subject) -> Option<f64> {
        self.valgrind(subject, "dhat", "At t-gmax:")
    }

    /// The system calls and the threads besides the first. What the server has sent is read in one piece or in more: the
    /// run with the fewest calls counts.
    pub fn calls(&self, subject: &Subject) -> Option<(f64, f64)> {
        let strace = self.strace.as_ref()?.to_str()?;
        let path = self.scratch.join("strace");
        let runs = (0..3).map(|_| {
            self.run(&[strace, "-f", "-qq", "-e", "signal=none", "-o", path.to_str().expect("text")], subject);
            let trace = std::fs::read(&path).expect("what strace wrote");
            let trace = String::from_utf8_lossy(&trace);
            let calls: Vec<&str> = trace.lines().filter(|line| !line.contains(" resumed>")).collect();
            let threads = calls.iter().filter(|call| call.contains("CLONE_THREAD")).count();
            (calls.len() as f64, threads as f64)
        });
        runs.min_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// How often it waits for the server: how many times `delay` it takes longer where all that it sends arrives later by
    /// that, and TCP's own handshake, which the kernel answers at once.
    pub fn round_trips(&self, subject: &Subject, near: &str, far: &str, delay: Duration) -> f64 {
        let far =
            Subject { words: subject.words.iter().map(|word| word.replace(near, far)).collect(), ..subject.clone() };
        let [near, far] = [subject, &far].map(|subject| median((0..5).map(|_| self.sample(subject).wall)));
        1.0 + ((far - near) / delay.as_micros() as f64).round()
    }
}

pub fn size(path: &Path) -> f64 {
    std::fs::metadata(path).expect("a program that was built").len() as f64
}

/// How many libraries a program loads.
pub fn libraries(path: &Path) -> usize {
    let told = Command::new("ldd").arg(path).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&told).matches("=> /").count()
}
