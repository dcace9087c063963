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

/// The server, and what the programs need to fetch from it.
pub struct Lab {
    server: Server,
    late_plain: String,
    late_tls: String,
    secret: String,
    cache: String,
    pub keyfob: PathBuf,
    keyfob_crates: usize,
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
        let [late_plain, late_tls] = [server.plain, server.tls].map(|to| server::late(to, DELAY).to_string());
        let [secret, cache] = [secret, cache].map(|path| path.into_os_string().into_string().expect("text"));
        let recipe = Recipe::keyfob(&["cli", "tls"], "release");
        let (keyfob, keyfob_crates) = (builder.build(&recipe), builder.crates(&recipe));
        Self { server, late_plain, late_tls, secret, cache, keyfob, keyfob_crates }
    }

    fn path(fetch: Fetch) -> &'static str {
        if matches!(fetch, Fetch::Tls | Fetch::Plain) { "/token" } else { "/large" }
    }

    fn url(&self, fetch: Fetch) -> String {
        let path = Self::path(fetch);
        match fetch {
            Fetch::Tls | Fetch::LargeTls => format!("https://{}{path}", self.server.tls),
            Fetch::Plain | Fetch::LargePlain => format!("http://{}{path}", self.server.plain),
        }
    }

    fn subject(&self, name: &'static str, program: &Path, words: &[&str], fetch: Fetch) -> Subject {
        let program = program.to_str().expect("text");
        Subject {
            name,
            binary: Some(program.into()),
            crates: None,
            words: [&[program], words].concat().into_iter().map(String::from).collect(),
            environment: Vec::new(),
            token: server::token(Self::path(fetch)),
            stride: 1,
            valgrind: true,
        }
    }

    /// A program that takes the URL, the file with the secret and that with the authority.
    fn peer(&self, name: &'static str, program: &Path, fetch: Fetch) -> Subject {
        let (url, mut words) = (self.url(fetch), vec![]);
        words.extend([url.as_str(), &self.secret]);
        if url.starts_with("https") {
            words.push(CA);
        }
        self.subject(name, program, &words, fetch)
    }

    fn keyfob_as(&self, name: &'static str, program: &Path, fetch: Fetch, words: &[&str]) -> Subject {
        let url = self.url(fetch);
        let common = ["token", "--client-id", "my-client", "--client-secret-file", &self.secret, "--url", &url];
        let subject = self.subject(name, program, &[&common, words].concat(), fetch);
        Subject { crates: Some(self.keyfob_crates), ..subject }
    }

    fn fetching(&self, name: &'static str, program: &Path, fetch: Fetch) -> Subject {
        let words: &[&str] = if self.url(fetch).starts_with("https") { &["--ca-file", CA] } else { &[] };
        self.keyfob_as(name, program, fetch, &[words, &["--no-cache"]].concat())
    }

    pub fn keyfob(&self, fetch: Fetch) -> Subject {
        self.fetching("keyfob", &self.keyfob, fetch)
    }

    /// Takes the token from the cache, but for the first run.
    pub fn cached(&self, program: &Path) -> Subject {
        self.keyfob_as("keyfob, cached", program, Fetch::Tls, &["--ca-file", CA, "--cache-dir", &self.cache])
    }

    fn curl(&self, program: &Path, fetch: Fetch, authorities: &str) -> Subject {
        let (credentials, url) = (format!("my-client:{}", server::SECRET), self.url(fetch));
        // -q: without the user's own configuration.
        let mut words = vec!["-q", "-s", "-u", &credentials, "-d", "grant_type=client_credentials", &url];
        if url.starts_with("https") {
            words.extend(["--cacert", authorities]);
        }
        Subject { stride: 2, ..self.subject("curl", program, &words, fetch) }
    }

    pub fn round_trips(&self, tools: &Tools, subject: &Subject) -> f64 {
        let (plain, tls) = (self.server.plain.to_string(), self.server.tls.to_string());
        let tls_is_used = subject.words.iter().any(|word| word.contains(&tls));
        let (near, far) = if tls_is_used { (&tls, &self.late_tls) } else { (&plain, &self.late_plain) };
        tools.round_trips(subject, near, far, DELAY)
    }
}

/// What there is to measure: for each scenario its subjects, and those that are missing.
struct Plan {
    title: &'static str,
    subjects: Vec<Subject>,
    missing: Vec<(&'static str, &'static str)>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    for word in &words {
        assert!(["--quick", "--builds", "--budgets"].contains(&word.as_str()), "no option of this program: {word}");
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

    let features = ["cli", "tls"];
    let keyfob_static = builder.build(&Recipe::keyfob(&features, "release").fixed());
    let [small, small_plain] =
        [&features[..], &["cli"]].map(|features| size(&builder.build(&Recipe::keyfob(features, "small"))));
    let here = |name| {
        let recipe = Recipe::here(name);
        (builder.build(&recipe), Some(builder.crates(&recipe)))
    };
    let [empty, floor_plain, floor_tls, ureq, reqwest] =
        ["empty", "floor-plain", "floor-tls", "oauth2-ureq", "oauth2-reqwest"].map(here);
    let [floor_plain_static, floor_tls_static] =
        ["floor-plain", "floor-tls"].map(|name| builder.build(&Recipe::here(name).fixed()));
    let (go, python, curl) =
        (builder.go(), builder.python(), find("curl").ok_or("not installed here: apt-get install curl"));

    let fetches = |title, floor: (&'static str, &(PathBuf, Option<usize>), &Path), fetch| {
        let (name, (program, crates), fixed) = floor;
        let mut subjects = vec![
            Subject { crates: *crates, ..lab.peer(name, program, fetch) },
            Subject { crates: *crates, ..lab.peer("the same, static", fixed, fetch) },
            lab.keyfob(fetch),
            lab.fetching("keyfob, static", &keyfob_static, fetch),
            Subject { crates: ureq.1, ..lab.peer("oauth2 with ureq", &ureq.0, fetch) },
            Subject { crates: reqwest.1, ..lab.peer("oauth2 with reqwest", &reqwest.0, fetch) },
        ];
        let mut missing = Vec::new();
        let mut add = |name, subject: Result<Subject, &'static str>| match subject {
            Ok(subject) => subjects.push(subject),
            Err(why) => missing.push((name, why)),
        };
        add(
            "Go's clientcredentials",
            go.as_ref()
                .map_err(|why| *why)
                .map(|program| Subject { valgrind: false, ..lab.peer("Go's clientcredentials", program, fetch) }),
        );
        add("curl", curl.as_ref().map_err(|why| *why).map(|program| lab.curl(program, fetch, CA)));
        add(
            "Python's requests-oauthlib",
            python.as_ref().map_err(|why| *why).map(|program| {
                let mut subject = lab.peer("Python's requests-oauthlib", program, fetch);
                subject.words.insert(1, concat!(env!("CARGO_MANIFEST_DIR"), "/subjects/backend_application.py").into());
                let environment = vec![("OAUTHLIB_INSECURE_TRANSPORT", "1".into())];
                Subject { binary: None, stride: 20, environment, ..subject }
            }),
        );
        Plan { title, subjects, missing }
    };
    let tls_floor = (TLS_FLOOR, &floor_tls, floor_tls_static.as_path());
    let plain_floor = (PLAIN_FLOOR, &floor_plain, floor_plain_static.as_path());
    let mut plans = vec![fetches(TLS, tls_floor, Fetch::Tls), fetches(PLAIN, plain_floor, Fetch::Plain)];

    let mut system = Plan { title: SYSTEM, subjects: vec![], missing: vec![] };
    match std::fs::read(BUNDLE) {
        Ok(bundle) => {
            let path = builder.directory.join("lab/bundle.pem");
            let with_ours = [bundle, std::fs::read(CA).expect("the authority")].concat();
            std::fs::write(&path, with_ours).expect("a bundle");
            let path = path.to_str().expect("text");
            let mut floor = Subject { crates: floor_tls.1, ..lab.peer(TLS_FLOOR, &floor_tls.0, Fetch::Tls) };
            *floor.words.last_mut().expect("the authority") = path.into();
            let keyfob = lab.keyfob_as("keyfob", &lab.keyfob, Fetch::Tls, &["--system-roots", "--no-cache"]);
            let environment = vec![("SSL_CERT_FILE", path.into())];
            system.subjects.extend([floor, Subject { environment, ..keyfob }]);
            system.subjects.extend(curl.iter().map(|program| lab.curl(program, Fetch::Tls, path)));
            plans.push(system);
        }
        Err(_) => println!("no {BUNDLE} here: apt-get install ca-certificates"),
    }

    let start = |name, program: &Path, words: &[&str]| Subject {
        token: String::new(),
        ..lab.subject(name, program, words, Fetch::Tls)
    };
    let mut starts = vec![
        start(EMPTY, &empty.0, &[]),
        lab.cached(&lab.keyfob),
        Subject { name: "keyfob, cached, static", ..lab.cached(&keyfob_static) },
    ];
    starts.extend(curl.iter().map(|program| start("curl --version", program, &["--version"])));
    plans.push(Plan { title: START, subjects: starts, missing: vec![] });

    let scenarios = measured(&lab, &tools, plans, rounds, repeats);

    report::circumstances(go.is_ok(), python.as_ref().ok().and_then(|path| path.to_str()));
    let launchers = scenarios[0].rows[0].samples.iter().map(|sample| sample.launchers).fold(0.0, f64::max) / 1024.0;
    println!(
        "Medians of {rounds} rounds (curl takes part in every second, Python in every twentieth). \
         The first of each table is what × compares with. A peak is told from {launchers:.1} MiB on."
    );
    scenarios.iter().for_each(Scenario::table);

    println!(
        "\n**Heap at its peak, bytes**\n\n| | https, answer of 220 bytes | of 8 KiB | http, of 220 bytes | of 8 KiB |\n|---|---:|---:|---:|---:|"
    );
    let all = [Fetch::Tls, Fetch::LargeTls, Fetch::Plain, Fetch::LargePlain];
    let floor_heap = all.map(|fetch| {
        let program = if lab.url(fetch).starts_with("https") { &floor_tls.0 } else { &floor_plain.0 };
        tools.heap(&lab.peer("the floor", program, fetch))
    });
    let keyfob_heap = all.map(|fetch| tools.heap(&lab.keyfob(fetch)));
    for (name, heap) in [("the floor", floor_heap), ("keyfob", keyfob_heap)] {
        println!("| {name} | {} |", heap.map(|bytes| report::cell(bytes, 0)).join(" | "));
    }

    let mut named = lab.fetching("keyfob, static", &keyfob_static, Fetch::Plain);
    named.words.iter_mut().for_each(|word| *word = word.replace("127.0.0.1", "localhost"));
    tools.sample(&named);
    println!("\nThe static build finds `localhost` by its name.");

    let builds = asked("--builds").then(|| {
        let [keyfob, ureq] = builder.times(if asked("--quick") { 1 } else { 3 });
        println!("A clean build of the library takes {keyfob:.1} s, of ureq with its rustls {ureq:.1} s.");
        keyfob / ureq
    });
    report::aims(&all_aims(&scenarios, [small, small_plain], keyfob_heap, builds));

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
        for row in scenarios.iter_mut().flat_map(|scenario| &mut scenario.rows) {
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
        let fetches = !row.subject.token.is_empty() && !row.subject.words.iter().any(|word| word == "--cache-dir");
        row.trips = fetches.then(|| lab.round_trips(tools, &row.subject));
    }
    scenarios
}

/// What the command is meant to cost at most.
fn all_aims(scenarios: &[Scenario], small: [f64; 2], heap: [Option<f64>; 4], builds: Option<f64>) -> Vec<Aim> {
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
        aim("size, `--profile small`, MB", 1.65, Some(small[0] / 1e6)),
        aim("… without TLS, MB", 0.66, Some(small[1] / 1e6)),
        aim("https: heap for 8 KiB, KB", 110.0, heap[1].map(|bytes| bytes / 1e3)),
        aim("http: heap for 8 KiB, KB", 50.0, heap[3].map(|bytes| bytes / 1e3)),
        aim("clean build of the library, to ureq's", 1.35, builds),
    ]
}
