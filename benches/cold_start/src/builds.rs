//! Builds what is measured, each program with its own features in its own run of cargo.

use crate::measure::{find, median};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
const KEYFOB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");

pub struct Builder {
    /// Everything that is built goes here.
    pub directory: PathBuf,
    host: String,
}

/// What cargo is told of a program.
pub struct Recipe<'a> {
    pub manifest: &'a str,
    pub name: &'a str,
    pub features: &'a [&'a str],
    pub profile: &'a str,
    pub fixed: bool,
}

impl<'a> Recipe<'a> {
    pub fn keyfob(features: &'a [&'a str], profile: &'a str) -> Self {
        Self { manifest: KEYFOB, name: "keyfob", features, profile, fixed: false }
    }

    pub fn here(name: &'a str) -> Self {
        Self { manifest: HERE, name, features: &[], profile: "release", fixed: false }
    }

    /// Optimised as a whole, as keyfob is.
    pub fn whole(self) -> Self {
        Self { profile: "whole", ..self }
    }

    /// The recipe of src/docs/costs.md for a program without libraries, at a fixed address.
    pub fn fixed(self) -> Self {
        Self { fixed: true, profile: "device", ..self }
    }

    fn features(&self) -> [String; 3] {
        let name = [self.name];
        let features = if self.features.is_empty() { &name } else { self.features };
        ["--no-default-features".into(), "--features".into(), features.join(",")]
    }
}

impl Builder {
    pub fn new() -> Self {
        let version = told("rustc", &["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc tells its host");
        // In the target directory that this program itself was built in.
        let own = std::env::current_exe().expect("this program");
        let directory = own.ancestors().nth(2).expect("a target directory").join("subjects");
        std::fs::create_dir_all(&directory).expect("a directory for what is built");
        Self { host: host.into(), directory }
    }

    pub fn build(&self, recipe: &Recipe) -> PathBuf {
        let Recipe { manifest, name, profile, fixed, .. } = *recipe;
        // The same program with other features would be built over it.
        let of = if manifest == HERE { "peers".into() } else { format!("keyfob-{}", recipe.features.join("-")) };
        let target = self.directory.join(if fixed { format!("{of}-static") } else { of });
        eprintln!("building {name}, {profile}, in {}", target.display());
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--bin", name, "--profile", profile]);
        cargo.args(recipe.features()).arg("--target-dir").arg(&target);
        let mut built = target.clone();
        if fixed {
            // With a target, the flags are for the program alone, not for what runs at build time.
            cargo.args(["--target", &self.host]);
            cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
            built.push(&self.host);
        }
        assert!(cargo.status().expect("cargo").success(), "{name} was not built");
        built.join(profile).join(name)
    }

    pub fn crates(&self, recipe: &Recipe) -> usize {
        let mut cargo = cargo();
        cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--manifest-path", recipe.manifest]);
        let output = cargo.args(recipe.features()).output().expect("cargo");
        let tree = String::from_utf8_lossy(&output.stdout);
        tree.lines().map(|line| line.trim_end_matches(" (*)")).collect::<std::collections::BTreeSet<_>>().len()
    }

    pub fn go(&self) -> Result<PathBuf, &'static str> {
        let missing = "not installed here: apt-get install golang-go golang-golang-x-oauth2-dev";
        let go = find("go").ok_or(missing)?;
        let program = self.directory.join("clientcredentials");
        let mut command = Command::new(go);
        // By Debian's packages, so that nothing is fetched.
        command.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&program);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/subjects/clientcredentials.go"));
        command.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")]);
        command.env("GOCACHE", self.directory.join("go-cache"));
        if command.status().is_ok_and(|status| status.success()) { Ok(program) } else { Err(missing) }
    }

    pub fn python(&self) -> Result<PathBuf, &'static str> {
        let missing = "not installed here: needs python3 with venv, and pip install requests-oauthlib";
        let environment = self.directory.join("venv");
        let python = environment.join("bin/python");
        let works = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        if !works(Command::new(&python).args(["-c", "import requests_oauthlib"])) {
            let made = works(Command::new("python3").args(["-m", "venv"]).arg(&environment))
                && works(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).arg("requests-oauthlib"));
            if !made {
                return Err(missing);
            }
        }
        Ok(python)
    }

    /// Clean builds of keyfob's library and of ureq with its rustls, in seconds.
    pub fn times(&self, rounds: usize) -> [f64; 2] {
        let features: [(&str, &[&str]); 2] =
            [(KEYFOB, &[]), (HERE, &["--no-default-features", "--features", "ureq-alone"])];
        for (manifest, _) in features {
            let fetched = cargo().args(["fetch", "--quiet", "--locked", "--manifest-path", manifest]).status();
            assert!(fetched.expect("cargo").success(), "the dependencies were not fetched");
        }
        let target = self.directory.join("clean");
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for ((manifest, features), seconds) in features.iter().zip(&mut seconds) {
                let _ = std::fs::remove_dir_all(&target);
                let mut cargo = cargo();
                cargo.args([
                    "build",
                    "--quiet",
                    "--release",
                    "--offline",
                    "--locked",
                    "--lib",
                    "--manifest-path",
                    manifest,
                ]);
                cargo.args(*features).arg("--target-dir").arg(&target);
                let start = Instant::now();
                assert!(cargo.status().expect("cargo").success(), "it was not built");
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.map(median)
    }

    /// The versions of these crates: the peers', and keyfob's where it has others.
    pub fn versions(names: &[&str]) -> String {
        let [mut here, keyfobs] = [HERE, KEYFOB].map(|manifest| {
            let lock = std::fs::read_to_string(Path::new(manifest).with_extension("lock")).expect("a lock file");
            names.iter().flat_map(|name| versions_in(&lock, name)).collect::<Vec<_>>()
        });
        let others: Vec<_> =
            keyfobs.iter().filter(|line| !here.contains(line)).map(|line| format!("keyfob's {line}")).collect();
        here.extend(others);
        here.join(", ")
    }
}

fn versions_in(lock: &str, name: &str) -> Vec<String> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    lock.split(&entry).skip(1).map(|rest| format!("{name} {}", rest.split('"').next().unwrap_or_default())).collect()
}

/// Without what the caller's settings would change in the programs.
fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    cargo
}

/// What a program says, if it is there.
pub fn told(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).into_owned()
}
