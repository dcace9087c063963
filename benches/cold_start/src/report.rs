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
        println!("\n**{}**\n", self.title);
        print!(
            "| | wall, ms (quartiles) | × | CPU, ms | M instr. | × | peak MiB | × | page faults | syscalls | threads "
        );
        println!(
            "| round trips | KiB + libraries | crates |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
        );
        let first = &self.rows[0];
        for row in &self.rows {
            let [lower, wall, upper] = quartiles(row.samples.iter().map(|sample| sample.wall)).map(|wall| wall / 1e3);
            let cpu = median(row.samples.iter().map(|sample| sample.cpu)) / 1e3;
            let faults = median(row.samples.iter().map(|sample| sample.faults));
            let (by_wall, by_memory) = (row.wall() / first.wall(), row.memory() / first.memory());
            let by_instructions = row.instructions.zip(first.instructions).map(|(this, first)| this / first);
            print!("| {} | {wall:.2} ({lower:.2}–{upper:.2}) | {by_wall:.2} | {cpu:.2} ", row.subject.name);
            print!("| {} ", cell(row.instructions.map(|count| count / 1e6), 2));
            print!("| {} | {:.1} | {by_memory:.2} | {faults:.0} ", cell(by_instructions, 2), row.memory() / 1024.0);
            print!("| {} | {} ", cell(row.calls.map(|calls| calls.0), 0), cell(row.calls.map(|calls| calls.1), 0));
            print!("| {} ", cell(row.trips, 0));
            match &row.subject.binary {
                Some(path) => print!("| {:.0} + {} ", size(path) / 1024.0, libraries(path)),
                None => print!("| - "),
            }
            println!("| {} |", cell(row.subject.crates.map(|crates| crates as f64), 0));
        }
        for (name, why) in &self.missing {
            println!("| {name} | {why} |{}", " |".repeat(12));
        }
    }
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
    println!("{}.", versions.join("; "));
    if tools.valgrind.is_none() {
        println!("Instructions and heap are not told without valgrind: apt-get install valgrind.");
    }
    if tools.strace.is_none() {
        println!("System calls and threads are not told without strace: apt-get install strace.");
    }
}
