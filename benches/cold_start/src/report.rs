//! The tables and the aims.

use crate::builds::{Builder, told};
use crate::measure::{Sample, Subject, Tools, libraries, median, quartiles, size};
use std::path::Path;

/// What was found of a subject.
pub struct Figures {
    pub subject: Subject,
    pub samples: Vec<Sample>,
    pub instructions: Option<f64>,
    pub calls: Option<(f64, f64)>,
    pub trips: Option<f64>,
}

impl Figures {
    pub fn wall(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.wall))
    }

    pub fn memory(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.memory))
    }
}

/// Subjects that do the same; the first is what the others are compared with.
pub struct Scenario {
    pub title: &'static str,
    pub rows: Vec<Figures>,
    /// Those that are not here, and why.
    pub missing: Vec<(&'static str, &'static str)>,
}

impl Scenario {
    pub fn table(&self) {
        println!("\n**{}**\n\n| | {} |\n|---|{}", self.title, COLUMNS.join(" | "), "---:|".repeat(COLUMNS.len()));
        self.rows.iter().for_each(|row| println!("| {} |", row.cells(&self.rows[0]).join(" | ")));
        for (name, why) in &self.missing {
            println!("| {name} | {why} |{}", " |".repeat(COLUMNS.len() - 1));
        }
    }
}

const COLUMNS: [&str; 13] = [
    "wall, ms (quartiles)",
    "×",
    "CPU, ms",
    "M instr.",
    "×",
    "peak MiB",
    "×",
    "page faults",
    "syscalls",
    "threads",
    "round trips",
    "KiB + libraries",
    "crates",
];

impl Figures {
    fn cells(&self, first: &Self) -> [String; COLUMNS.len() + 1] {
        let [lower, wall, upper] = quartiles(self.samples.iter().map(|sample| sample.wall)).map(|wall| wall / 1e3);
        let cpu = median(self.samples.iter().map(|sample| sample.cpu)) / 1e3;
        let by_instructions = self.instructions.zip(first.instructions).map(|(this, first)| this / first);
        let binary = self.subject.binary.as_ref();
        [
            self.subject.name.into(),
            format!("{} ({}–{})", times(wall), times(lower), times(upper)),
            times(self.wall() / first.wall()),
            times(cpu),
            self.instructions.map_or("-".into(), |count| times(count / 1e6)),
            by_instructions.map_or("-".into(), times),
            times(self.memory() / 1024.0),
            times(self.memory() / first.memory()),
            cell(Some(median(self.samples.iter().map(|sample| sample.faults))), 0),
            cell(self.calls.map(|calls| calls.0), 0),
            cell(self.calls.map(|calls| calls.1), 0),
            cell(self.trips, 0),
            binary.map_or("-".into(), |path| format!("{:.0} + {}", size(path) / 1024.0, libraries(path))),
            cell(self.subject.crates.map(|crates| crates as f64), 0),
        ]
    }
}

/// With three digits at least.
pub fn times(figure: f64) -> String {
    let decimals = match figure {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{figure:.decimals$}")
}

pub fn cell(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.decimals$}"))
}

pub struct Aim {
    pub what: &'static str,
    /// None where it was not measured.
    pub figure: Option<f64>,
    /// None where it is only told.
    pub most: Option<f64>,
}

pub fn aims(aims: &[Aim]) {
    println!("\n| aim | at most | found | |\n|---|---:|---:|---|");
    for Aim { what, figure, most } in aims {
        let (verdict, at_most) = match (figure, most) {
            (_, None) => ("", String::new()),
            (None, Some(most)) => ("not measured", most.to_string()),
            (Some(figure), Some(most)) if figure <= most => ("reached", most.to_string()),
            (Some(_), Some(most)) => ("**not reached**", most.to_string()),
        };
        println!("| {what} | {at_most} | {} | {verdict} |", cell(*figure, 3));
    }
}

/// When, on what and with what it was measured.
pub fn circumstances(tools: &Tools, go: bool, python: Option<&Path>) {
    let first = |text: String| text.lines().next().unwrap_or("-").to_owned();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = told("date", &["+%F"]);
    println!("{}, {}, {cores} cores, Linux {}.", date.trim(), model.trim_matches([' ', '\t', ':']), kernel.trim());
    let mut versions = vec![first(told("rustc", &["--version"])), first(told("valgrind", &["--version"]))];
    versions.push(first(told("curl", &["--version"])).split(" libcurl").next().unwrap_or_default().into());
    if go {
        let package = told("dpkg-query", &["-W", "-f=${Version}", "golang-golang-x-oauth2-dev"]);
        versions.push(format!("{}, x/oauth2 {package}", told("go", &["version"]).trim()));
    }
    if let Some(python) = python {
        let python = python.to_str().expect("text");
        let told =
            told(python, &["-c", "import sys,requests_oauthlib as r;print(sys.version.split()[0], r.__version__)"]);
        versions.push(format!("Python {}", told.trim().replace(' ', ", requests-oauthlib ")));
    }
    versions.push(Builder::versions(&["oauth2", "ureq", "reqwest", "rustls", "ring"]));
    versions.retain(|version| version != "-");
    println!("{}.", versions.join("; "));
    if tools.valgrind.is_none() {
        println!("Instructions and heap are not told without valgrind: apt-get install valgrind.");
    }
    if tools.strace.is_none() {
        println!("System calls and threads are not told without strace: apt-get install strace.");
    }
}
