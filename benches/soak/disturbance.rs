//! What goes on around the processes of the soak that must be prepared for anything: they are stopped and continued, their
//! file system is full now and then, the store's directory goes, and another user makes its name first.

use super::Random;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user that nobody is.
const OTHER_USER: u32 = 65534;

/// How long a process is stopped, in milliseconds: longer than all time limits, too.
const STOPPED_MS: std::ops::Range<u64> = 20..5000;
const FULL_MS: std::ops::Range<u64> = 200..1500;

/// The places of the processes below a directory of the soak.
pub(crate) struct Places {
    pub(crate) root: PathBuf,
}

impl Places {
    /// Everybody may make names here, as in `/tmp`.
    pub(crate) fn common(&self) -> PathBuf {
        self.root.join("common")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.common().join("store")
    }

    pub(crate) fn refresh_file(&self, client: u64) -> PathBuf {
        self.root.join(format!("refresh/{client}"))
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }

    /// A file of a keyfob with another format: nobody may touch it.
    fn foreign(&self) -> PathBuf {
        self.store().join("keyfob4294967295-1-0123456789abcdef.token")
    }
}

/// Runs this program again in a namespace of mounts of its own, with a small file system in memory; `None` where it
/// cannot be had.
pub(crate) fn in_own_namespace(place: &Path, words: &[&str]) -> Option<std::process::ExitStatus> {
    let mounted = |script: &str| {
        let mut command = Command::new("unshare");
        let is_root = rustix::process::geteuid().is_root();
        command.args(if is_root { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
        let script = format!("mount -t tmpfs -o size=8m,mode=0755 soak {} && {script}", place.display());
        command.args(["--", "sh", "-c", &script]);
        command
    };
    let mut trial = mounted("true");
    if !trial.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let own = std::env::current_exe().ok()?;
    mounted("exec \"$0\" \"$@\"").arg(own).args(words).status().ok()
}

/// Ends a process when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What disturbs the processes, and how often it did.
pub(crate) struct Disturbance<'p> {
    places: &'p Places,
    random: Random,
    processes: Vec<Pid>,
    stopped: BTreeMap<usize, Instant>,
    full_until: Option<Instant>,
    counts: BTreeMap<&'static str, u64>,
    other_user: Option<Ended>,
    is_small: bool,
    has_other_user: bool,
    is_foreign_made: bool,
    pub(crate) violations: Vec<String>,
}

impl<'p> Disturbance<'p> {
    /// With `is_small` the places are on a file system that can be filled.
    pub(crate) fn new(places: &'p Places, processes: &[Child], random: Random, is_small: bool) -> Self {
        // Takes the store's name whenever it can, and leaves there what would hold up or mislead whoever uses it.
        let script = "while :; do mkdir -m 777 \"$0\" && mkfifo \"$0/keyfob-key\" && ln -s /etc/passwd \"$0/keyfob1-x.token\"; \
                      sleep 0.02; done";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(places.store()).uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
        let other_user = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Ended);
        Self {
            places,
            random,
            processes: processes.iter().map(Pid::from_child).collect(),
            stopped: BTreeMap::new(),
            full_until: None,
            counts: BTreeMap::new(),
            has_other_user: other_user.is_some(),
            other_user,
            is_small,
            is_foreign_made: false,
            violations: Vec::new(),
        }
    }

    /// Goes on until `ends`, and leaves everything running.
    pub(crate) fn run(&mut self, ends: Instant) {
        while Instant::now() < ends {
            self.go_on(Instant::now());
            match self.random.within(0..20) {
                0..=9 => self.stop(),
                10 if self.is_small && self.full_until.is_none() => self.fill(),
                11 => self.remove_store(),
                _ => {}
            }
            self.look_at_store();
            std::thread::sleep(Duration::from_millis(self.random.within(20..200)));
        }
        self.go_on(ends + Duration::from_secs(60));
        self.other_user = None;
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn stop(&mut self) {
        let index = self.random.within(0..self.processes.len() as u64) as usize;
        let length = Duration::from_millis(self.random.within(STOPPED_MS));
        // Never all: the one that goes on must get its token.
        if self.stopped.len() + 2 > self.processes.len() || self.stopped.contains_key(&index) {
            return;
        }
        if kill_process(self.processes[index], Signal::STOP).is_ok() {
            self.stopped.insert(index, Instant::now() + length);
            self.count("a process stopped");
        }
    }

    /// Ends what is to end by now.
    fn go_on(&mut self, now: Instant) {
        let processes = &self.processes;
        self.stopped.retain(|index, until| {
            let goes_on = *until <= now;
            if goes_on {
                let _ = kill_process(processes[*index], Signal::CONT);
            }
            !goes_on
        });
        if self.full_until.is_some_and(|until| until <= now) {
            let _ = fs::remove_file(self.places.filler());
            self.full_until = None;
        }
    }

    fn fill(&mut self) {
        let Ok(mut file) = fs::File::create(self.places.filler()) else { return };
        for size in [65536, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        self.full_until = Some(Instant::now() + Duration::from_millis(self.random.within(FULL_MS)));
        self.count("the file system full");
    }

    /// Takes the store's directory back from another user, and puts a file of another format into it, which nobody may
    /// remove.
    fn look_at_store(&mut self) {
        let store = self.places.store();
        match fs::symlink_metadata(&store) {
            Ok(directory) if directory.uid() == rustix::process::geteuid().as_raw() => {
                let is_there = fs::symlink_metadata(self.places.foreign()).is_ok();
                // An old version may be among the processes.
                if self.is_foreign_made && !is_there && super::other_version().is_none() {
                    self.violations.push("a file of another format was removed".to_owned());
                }
                self.is_foreign_made = is_there || fs::write(self.places.foreign(), []).is_ok();
            }
            Ok(_) => {
                self.count("the store's directory another user's");
                let _ = fs::remove_dir_all(&store);
                let _ = fs::DirBuilder::new().mode(0o700).create(&store);
            }
            Err(_) => {}
        }
    }

    fn remove_store(&mut self) {
        let _ = fs::remove_dir_all(self.places.store());
        self.is_foreign_made = false;
        self.count("the store's directory removed");
    }

    pub(crate) fn table(&self) -> String {
        let mut skipped = String::new();
        if !self.is_small {
            skipped += "a full file system: skipped, there is no mount namespace to be had\n";
        }
        if !self.has_other_user {
            skipped += "another user: skipped, for want of root\n";
        }
        let mut table = format!("{skipped}| disturbance | times |\n|---|---:|\n");
        for (what, count) in &self.counts {
            let _ = writeln!(table, "| {what} | {count} |");
        }
        table
    }
}
