//! The command as a whole process, from its start to the token, beside its peers and a floor.
//!
//! `cargo run --release --manifest-path benches/cold_start/Cargo.toml` builds the programs (minutes, the first time),
//! measures them by turns against a server in this process, prints the tables and the aims, and draws
//! `benches/cold_start.svg`. `-- --quick` takes a tenth of the runs and draws nothing, `--builds` times clean builds as
//! well, and `--budgets` measures keyfob alone and fails where it costs more than `src/budgets.rs` allows.

mod budgets;
mod builds;
mod measure;
mod picture;
mod report;
mod server;

use builds::{Builder, Recipe};
use measure::{Subject, Tools, find, size};
use report::{Aim, Figures, Scenario};
use server::{CA, Server};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How much later what a client sends arrives when round trips are counted: much more than a fetch takes on loopback.
const DELAY: Duration = Duration::from_millis(50);

pub const TLS: &str = "https, one authority that is named";
pub const PLAIN: &str = "http";
const SYSTEM: &str = "https, the system's authorities";
const START: &str = "no fetch";
const TLS_FLOOR: &str = "rustls over TcpStream";
const PLAIN_FLOOR: &str = "std's TcpStream";
const EMPTY: &str = "an empty Rust program";

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Clone, Copy, PartialEq)]
pub enum Fetch {
    Tls,
    Plain,
    LargeTls,
    LargePlain,
}

impl Fetch {
    fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::LargeTls)
    }

    fn path(self) -> &'static str {
        if matches!(self, Self::Tls | Self::Plain) { "/token" } else { "/large" }
    }
}

/// The server, and what the programs need to fetch from it.
pub struct Lab {
    /// By kind of fetch.
    urls: [String; 4],
    /// The server's addresses for http and https, each with the way on which what is sent arrives late.
    late: [[String; 2]; 2],
    secret: String,
    cache: String,
    pub keyfob: PathBuf,
    /// Built without TLS.
    keyfob_plain: PathBuf,
    crates: [usize; 2],
}

impl Lab {
    fn new(builder: &Builder) -> Self {
        let directory = builder.directory.join("lab");
        let _ = std::fs::remove_dir_all(&directory);
        let cache = directory.join("cache");
        std::fs::create_dir_all(&cache).expect("a directory");
        let secret = directory.join("secret");
        std::fs::write(&secret, server::SECRET).expect("a secret");
        // keyfob takes no directory that others can read, and points out such a file.
        for (path, mode) in [(&cache, 0o700), (&secret, 0o600)] {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, permissions).expect("permissions");
        }
        let server = Server::start();
        let urls = [Fetch::Tls, Fetch::Plain, Fetch::LargeTls, Fetch::LargePlain].map(|fetch| {
            let (scheme, address) = if fetch.is_tls() { ("https", server.tls) } else { ("http", server.plain) };
            format!("{scheme}://{address}{}", fetch.path())
        });
        let late =
            [server.plain, server.tls].map(|to| [to, server::late(to, DELAY)].map(|address| address.to_string()));
        let [secret, cache] = [secret, cache].map(|path| path.into_os_string().into_string().expect("text"));
        let recipes = [&["cli", "tls"][..], &["cli"]].map(|features| Recipe::keyfob(features, "release"));
        let [keyfob, keyfob_plain] = recipes.each_ref().map(|recipe| builder.build(recipe));
        let crates = recipes.each_ref().map(|recipe| builder.crates(recipe));
        Self { urls, late, secret, cache, keyfob, keyfob_plain, crates }
    }

    fn url(&self, fetch: Fetch) -> &str {
        &self.urls[fetch as usize]
    }

    fn subject(&self, name: &'static str, program: &Path, words: &[&str], fetch: Fetch) -> Subject {
        let program = program.to_str().expect("text");
        Subject {
            name,
            binary: Some(program.into()),
            crates: None,
            words: [&[program], words].concat().into_iter().map(String::from).collect(),
            environment: Vec::new(),
            token: server::token(fetch.path()),
            stride: 1,
            valgrind: true,
        }
    }

    /// The URL, the file with the secret and that with the authority.
    fn peers_words(&self, fetch: Fetch) -> Vec<&str> {
        let words = [self.url(fetch), &self.secret, CA];
        words[..if fetch.is_tls() { 3 } else { 2 }].into()
    }

    fn peer(&self, name: &'static str, peer: &Peer, fetch: Fetch) -> Subject {
        let subject = self.subject(name, &peer.path, &self.peers_words(fetch), fetch);
        Subject { crates: Some(peer.crates), ..subject }
    }

    fn keyfob_as(&self, name: &'static str, program: &Path, fetch: Fetch, words: &[&str]) -> Subject {
        let common =
            ["token", "--client-id", "my-client", "--client-secret-file", &self.secret, "--url", self.url(fetch)];
        let subject = self.subject(name, program, &[&common, words].concat(), fetch);
        Subject { crates: Some(self.crates[usize::from(program == self.keyfob_plain)]), ..subject }
    }

    fn fetching(&self, name: &'static str, program: &Path, fetch: Fetch) -> Subject {
        let words: &[&str] = if fetch.is_tls() { &["--ca-file", CA] } else { &[] };
        self.keyfob_as(name, program, fetch, &[words, &["--no-cache"]].concat())
    }

    /// For http the build that speaks nothing else.
    pub fn keyfob(&self, fetch: Fetch) -> Subject {
        self.fetching("keyfob", if fetch.is_tls() { &self.keyfob } else { &self.keyfob_plain }, fetch)
    }

    /// Takes the token from the cache, but for the first run.
    pub fn cached(&self, program: &Path) -> Subject {
        self.keyfob_as("keyfob, cached", program, Fetch::Tls, &["--ca-file", CA, "--cache-dir", &self.cache])
    }

    fn curl(&self, program: &Path, fetch: Fetch, authorities: &str) -> Subject {
        let credentials = format!("my-client:{}", server::SECRET);
        // -q: without the user's own configuration.
        let mut words = vec!["-q", "-s", "-u", &credentials, "-d", "grant_type=client_credentials", self.url(fetch)];
        if fetch.is_tls() {
            words.extend(["--cacert", authorities]);
        }
        Subject { stride: 2, ..self.subject("curl", program, &words, fetch) }
    }

    /// None for a program that does not fetch.
    pub fn round_trips(&self, tools: &Tools, subject: &Subject) -> Option<f64> {
        let has = |part: &str| subject.words.iter().any(|word| word.contains(part));
        let [near, far] = self.late.iter().find(|[near, _]| has(near) && !has("--cache-dir"))?;
        Some(tools.round_trips(subject, near, far, DELAY))
    }
}

/// What there is to measure: for each scenario its subjects, and those that are missing.
struct Plan {
    title: &'static str,
    subjects: Vec<Subject>,
    missing: Vec<(&'static str, &'static str)>,
}

impl Plan {
    fn new(title: &'static str, subjects: impl Into<Vec<Subject>>) -> Self {
        Self { title, subjects: subjects.into(), missing: Vec::new() }
    }

    fn add(&mut self, name: &'static str, program: &Installed, subject: impl FnOnce(&Path) -> Subject) {
        match program {
            Ok(program) => self.subjects.push(subject(program)),
            Err(why) => self.missing.push((name, why)),
        }
    }
}

/// A program, or what to install for it.
type Installed = Result<PathBuf, &'static str>;

/// All that is measured but keyfob's default build, which the lab has.
struct Programs {
    keyfob_static: PathBuf,
    small: [PathBuf; 2],
    empty: Peer,
    floor_plain: Peer,
    floor_plain_whole: Peer,
    floor_plain_static: Peer,
    floor_tls: Peer,
    floor_tls_whole: Peer,
    floor_tls_static: Peer,
    oauth2_ureq: Peer,
    oauth2_reqwest: Peer,
    go: Installed,
    python: Installed,
    curl: Installed,
}

struct Peer {
    path: PathBuf,
    crates: usize,
}

impl Programs {
    fn new(builder: &Builder) -> Self {
        let keyfob = Recipe::keyfob(&["cli", "tls"], "release").fixed();
        let small =
            [&["command", "tls"][..], &["command"]].map(|features| builder.build(&Recipe::keyfob(features, "small")));
        let built = |recipe: Recipe| Peer { path: builder.build(&recipe), crates: builder.crates(&recipe) };
        Self {
            keyfob_static: builder.build(&keyfob),
            small,
            empty: built(Recipe::here("empty")),
            floor_plain: built(Recipe::here("floor-plain")),
            floor_plain_whole: built(Recipe::here("floor-plain").whole()),
            floor_plain_static: built(Recipe::here("floor-plain").fixed()),
            floor_tls: built(Recipe::here("floor-tls")),
            floor_tls_whole: built(Recipe::here("floor-tls").whole()),
            floor_tls_static: built(Recipe::here("floor-tls").fixed()),
            oauth2_ureq: built(Recipe::here("oauth2-ureq")),
            oauth2_reqwest: built(Recipe::here("oauth2-reqwest")),
            go: builder.go(),
            python: builder.python(),
            curl: find("curl").ok_or("not installed here: apt-get install curl"),
        }
    }

    fn plans(&self, lab: &Lab, builder: &Builder) -> Vec<Plan> {
        let mut plans = vec![self.fetches(lab, Fetch::Tls), self.fetches(lab, Fetch::Plain)];
        match std::fs::read(BUNDLE) {
            Ok(bundle) => {
                let path = builder.directory.join("lab/bundle.pem");
                let with_ours = [bundle, std::fs::read(CA).expect("the authority")].concat();
                std::fs::write(&path, with_ours).expect("a bundle");
                plans.push(self.with_system_roots(lab, path.to_str().expect("text")));
            }
            Err(_) => println!("no {BUNDLE} here: apt-get install ca-certificates"),
        }
        let empty = lab.subject(EMPTY, &self.empty.path, &[], Fetch::Plain);
        let empty = Subject { token: String::new(), crates: Some(self.empty.crates), ..empty };
        let cached = Subject { name: "keyfob, cached, static", ..lab.cached(&self.keyfob_static) };
        let mut starts = Plan::new(START, [empty, lab.cached(&lab.keyfob), cached]);
        starts.add("curl --version", &self.curl, |program| Subject {
            token: "curl".into(),
            ..lab.subject("curl --version", program, &["--version"], Fetch::Plain)
        });
        plans.push(starts);
        plans
    }

    fn fetches(&self, lab: &Lab, fetch: Fetch) -> Plan {
        let (title, name, floor, whole, fixed) = match fetch {
            Fetch::Tls => (TLS, TLS_FLOOR, &self.floor_tls, &self.floor_tls_whole, &self.floor_tls_static),
            _ => (PLAIN, PLAIN_FLOOR, &self.floor_plain, &self.floor_plain_whole, &self.floor_plain_static),
        };
        let subjects = [
            lab.peer(name, floor, fetch),
            lab.peer("the floor, built as keyfob", whole, fetch),
            lab.peer("the floor, static", fixed, fetch),
            lab.keyfob(fetch),
            lab.fetching("keyfob, static", &self.keyfob_static, fetch),
            lab.peer("oauth2 with ureq", &self.oauth2_ureq, fetch),
            lab.peer("oauth2 with reqwest", &self.oauth2_reqwest, fetch),
        ];
        let mut plan = Plan::new(title, subjects);
        if !fetch.is_tls() {
            plan.subjects.insert(4, lab.fetching("keyfob, with TLS", &lab.keyfob, fetch));
        }
        let name = "Go's clientcredentials";
        plan.add(name, &self.go, |program| Subject {
            valgrind: false,
            ..lab.subject(name, program, &lab.peers_words(fetch), fetch)
        });
        plan.add("curl", &self.curl, |program| lab.curl(program, fetch, CA));
        let name = "Python's requests-oauthlib";
        plan.add(name, &self.python, |program| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/subjects/backend_application.py");
            let words = [&[script], &lab.peers_words(fetch)[..]].concat();
            let environment = vec![("OAUTHLIB_INSECURE_TRANSPORT", "1".into())];
            Subject { binary: None, stride: 20, environment, ..lab.subject(name, program, &words, fetch) }
        });
        plan
    }

    /// The bundle is the system's, and has the server's authority besides.
    fn with_system_roots(&self, lab: &Lab, bundle: &str) -> Plan {
        let mut floor = lab.peer(TLS_FLOOR, &self.floor_tls, Fetch::Tls);
        *floor.words.last_mut().expect("the authority") = bundle.into();
        let keyfob = lab.keyfob_as("keyfob", &lab.keyfob, Fetch::Tls, &["--system-roots", "--no-cache"]);
        let environment = vec![("SSL_CERT_FILE", bundle.into())];
        let mut plan = Plan::new(SYSTEM, [floor, Subject { environment, ..keyfob }]);
        plan.add("curl", &self.curl, |program| lab.curl(program, Fetch::Tls, bundle));
        plan
    }

    /// The floor's and keyfob's, for each kind of fetch.
    fn heap(&self, lab: &Lab, tools: &Tools) -> [[Option<f64>; 4]; 2] {
        let all = [Fetch::Tls, Fetch::LargeTls, Fetch::Plain, Fetch::LargePlain];
        let floor = |fetch: Fetch| if fetch.is_tls() { &self.floor_tls } else { &self.floor_plain };
        [
            all.map(|fetch| tools.heap(&lab.peer("the floor", floor(fetch), fetch))),
            all.map(|fetch| tools.heap(&lab.keyfob(fetch))),
        ]
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| !["--quick", "--builds", "--budgets"].contains(&word.as_str())) {
        eprintln!("usage: cold_start [--quick] [--builds] | --budgets");
        return ExitCode::FAILURE;
    }
    let asked = |option: &str| words.iter().any(|word| word == option);
    let builder = Builder::new();
    let tools = Tools {
        launch: builder.build(&Recipe::here("launch").fixed()),
        valgrind: find("valgrind"),
        strace: find("strace"),
        scratch: builder.directory.clone(),
    };
    let lab = Lab::new(&builder);
    if asked("--budgets") {
        return budgets::check(&lab, &builder, &tools);
    }
    let (rounds, repeats) = if asked("--quick") { (20, 1) } else { (200, 5) };
    let programs = Programs::new(&builder);
    let scenarios = measured(&lab, &tools, programs.plans(&lab, &builder), rounds, repeats);
    let heap = programs.heap(&lab, &tools);
    let mut by_name = lab.fetching("keyfob, static", &programs.keyfob_static, Fetch::Plain);
    by_name.words.iter_mut().for_each(|word| *word = word.replace("127.0.0.1", "localhost"));
    tools.sample(&by_name);
    let builds = asked("--builds").then(|| builder.times(if asked("--quick") { 1 } else { 3 }));

    report::circumstances(&tools, programs.go.is_ok(), programs.python.as_deref().ok());
    let launchers = scenarios[0].rows[0].samples.iter().map(|sample| sample.launchers).fold(0.0, f64::max) / 1024.0;
    println!(
        "Medians of {rounds} rounds (curl takes part in every second, Python in every twentieth). \
         × compares with the first of each table. A peak is told from {launchers:.1} MiB on."
    );
    scenarios.iter().for_each(Scenario::table);
    println!("\n**Heap at its peak, bytes**\n");
    println!(
        "| | https, an answer of 220 bytes | of 8 KiB | http, of 220 bytes | of 8 KiB |\n|---|---:|---:|---:|---:|"
    );
    for (name, heap) in ["the floor", "keyfob"].into_iter().zip(heap) {
        println!("| {name} | {} |", heap.map(|bytes| report::cell(bytes, 0)).join(" | "));
    }
    println!("\nThe static build found `localhost` by its name.");
    if let Some([keyfob, ureq]) = builds {
        println!("A clean build of the library took {keyfob:.1} s, of ureq with its rustls {ureq:.1} s.");
    }
    report::aims(&all_aims(&scenarios, &programs, heap[1], builds));

    if asked("--quick") {
        return ExitCode::SUCCESS;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../cold_start.svg");
    std::fs::write(path, picture::picture(&scenarios)).expect("the picture can be written");
    println!("\nThe picture is in benches/cold_start.svg.");
    ExitCode::SUCCESS
}

fn measured(lab: &Lab, tools: &Tools, plans: Vec<Plan>, rounds: usize, repeats: usize) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = plans
        .into_iter()
        .map(|Plan { title, subjects, missing }| {
            let row = |subject| Figures { subject, samples: vec![], instructions: None, calls: None, trips: None };
            Scenario { title, rows: subjects.into_iter().map(row).collect(), missing }
        })
        .collect();
    // The first round fills caches, keyfob's among them, and does not count.
    for round in 0..=rounds {
        let mut rows: Vec<_> = scenarios.iter_mut().flat_map(|scenario| &mut scenario.rows).enumerate().collect();
        // In an order of its own: none always comes after the one that leaves the least in the processor's caches.
        rows.sort_by_key(|(index, _)| BuildHasherDefault::<DefaultHasher>::default().hash_one((round, *index)));
        for (_, row) in rows {
            if round % row.subject.stride == 0 {
                let sample = tools.sample(&row.subject);
                row.samples.extend((round > 0).then_some(sample));
            }
        }
    }
    for row in scenarios.iter_mut().flat_map(|scenario| &mut scenario.rows) {
        eprintln!("counting: {}", row.subject.name);
        row.instructions = tools.instructions(&row.subject, if row.subject.stride > 2 { 1 } else { repeats });
        row.calls = tools.calls(&row.subject);
        row.trips = lab.round_trips(tools, &row.subject);
    }
    scenarios
}

/// What the command is meant to cost at most.
fn all_aims(scenarios: &[Scenario], programs: &Programs, heap: [Option<f64>; 4], builds: Option<[f64; 2]>) -> Vec<Aim> {
    type Figure = fn(&Figures) -> Option<f64>;
    let (wall, memory): (Figure, Figure) = (|row| Some(row.wall()), |row| Some(row.memory()));
    let instructions: Figure = |row| row.instructions;
    let (threads, trips): (Figure, Figure) = (|row| row.calls.map(|calls| calls.1), |row| row.trips);
    let of = |title, name: &str, figure: Figure| {
        let scenario = scenarios.iter().find(|scenario| scenario.title == title)?;
        figure(scenario.rows.iter().find(|row| row.subject.name == name)?)
    };
    let ratio = |title, this, other, figure| Some(of(title, this, figure)? / of(title, other, figure)?);
    let from_system = |other, figure| Some(of(SYSTEM, "keyfob", figure)? / other?);
    let aim = |what, most, figure| Aim { what, figure, most: Some(most) };
    let told = |what, figure| Aim { what, figure, most: None };
    vec![
        aim("https: instructions, to the floor", 1.08, ratio(TLS, "keyfob", TLS_FLOOR, instructions)),
        aim("https: wall, to the floor", 1.10, ratio(TLS, "keyfob", TLS_FLOOR, wall)),
        aim("https: memory, to the floor", 1.35, ratio(TLS, "keyfob", TLS_FLOOR, memory)),
        aim("https: wall, to curl", 0.25, ratio(TLS, "keyfob", "curl", wall)),
        aim("https, static: instructions, to the floor", 0.97, ratio(TLS, "keyfob, static", TLS_FLOOR, instructions)),
        aim("https, static: wall, to the floor", 0.90, ratio(TLS, "keyfob, static", TLS_FLOOR, wall)),
        aim("https, static: memory, to the floor", 0.90, ratio(TLS, "keyfob, static", TLS_FLOOR, memory)),
        aim("http: instructions, to the floor", 1.6, ratio(PLAIN, "keyfob", PLAIN_FLOOR, instructions)),
        told("… built with TLS", ratio(PLAIN, "keyfob, with TLS", PLAIN_FLOOR, instructions)),
        told("the system's authorities: instructions, to the floor", ratio(SYSTEM, "keyfob", TLS_FLOOR, instructions)),
        told("… to one that is named", from_system(of(TLS, "keyfob", instructions), instructions)),
        told("… wall, to one that is named", from_system(of(TLS, "keyfob", wall), wall)),
        told("… wall, to curl", ratio(SYSTEM, "keyfob", "curl", wall)),
        aim("cached: instructions, to an empty program", 1.6, ratio(START, "keyfob, cached", EMPTY, instructions)),
        aim("cached: wall, to `curl --version`", 0.15, ratio(START, "keyfob, cached", "curl --version", wall)),
        aim("https: threads", 0.0, of(TLS, "keyfob", threads)),
        aim("http: threads", 0.0, of(PLAIN, "keyfob", threads)),
        aim("https: round trips", 3.0, of(TLS, "keyfob", trips)),
        aim("http: round trips", 2.0, of(PLAIN, "keyfob", trips)),
        aim("size, `--profile small`, MB", 1.65, Some(size(&programs.small[0]) / 1e6)),
        aim("… without TLS, MB", 0.66, Some(size(&programs.small[1]) / 1e6)),
        aim("https: heap for 8 KiB, KB", 110.0, heap[1].map(|bytes| bytes / 1e3)),
        aim("http: heap for 8 KiB, KB", 50.0, heap[3].map(|bytes| bytes / 1e3)),
        aim("clean build of the library, to ureq's", 1.35, builds.map(|[keyfob, ureq]| keyfob / ureq)),
    ]
}
