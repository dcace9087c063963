//! A soak: many threads and processes, tokens of a few seconds, and a server that is at fault with one request in three.
//!
//! `cargo bench --bench soak -- SECONDS` (600 unless told otherwise) prints a table and fails where a token was handed out
//! that its server had not issued to that client, or that was over by the server's own books; where a client came before
//! the `Retry-After` it was given; and where memory, threads or files grew between the second and the last sixth of the
//! time; and where a call took longer than its time limit. This process has 8 threads and a `SharedTokenCache` for each of
//! 24 clients; 4 more processes of 2 threads each share 6 other clients with a `Store`. All of it is real HTTP, on loopback.
//!
//! 5 further processes share 8 clients under disturbance: each has another time limit, one a proxy that refuses, and one is
//! another version (`KEYFOB_SOAK_OTHER` names its build of this program). They are stopped and continued at random, the store's
//! directory goes, another user takes its name, and the file system is full now and then. Two of the clients have refresh
//! tokens in files: where one is sent again whose successor had arrived, that fails the soak as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    soak::main()
}

/// What a process has in memory and open is told by `/proc`.
#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the soak runs on Linux");
}

#[cfg(target_os = "linux")]
mod soak {
    mod disturbance;

    use disturbance::{Disturbance, Places};
    use keyfob::{
        BootClock, Client, ClientAuthentication, Clock, Endpoint, ErrorKind, Grant, HttpTransport, SecretSource,
        SharedTokenCache, Store,
    };
    use std::cell::Cell;
    use std::collections::{BTreeMap, VecDeque};
    use std::fmt::Write as _;
    use std::fs::Permissions;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::io::{ErrorKind as IoErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::ops::Range;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::{Duration, Instant};

    const THREADS: u64 = 8;
    const CLIENTS: Range<u64> = 0..24;
    const PROCESSES: u64 = 4;
    const PROCESS_THREADS: u64 = 2;
    const STORE_CLIENTS: Range<u64> = 24..30;
    /// Those of the processes that are disturbed: the last ones have refresh tokens.
    const DISTURBED_CLIENTS: Range<u64> = 30..38;
    const REFRESH_CLIENTS: Range<u64> = 36..38;
    /// The time limit of each process that is disturbed.
    const DISTURBED_TIMEOUTS_MS: [u64; 5] = [1500, 2000, 3000, 2000, 2500];
    /// The process whose proxy refuses, and the one of the other version.
    const MISLED: usize = 3;
    const OTHER: usize = 4;
    const LIVES_MS: Range<u64> = 2000..5000;
    const TIMEOUT: Duration = Duration::from_secs(2);
    /// So many connections are served at a time: none waits behind those that stall.
    const SERVING: usize = 40;
    /// How much later than its time limit a call may return, on a machine that has other things to do.
    const LATE: Duration = Duration::from_millis(500);
    /// A process that sleeps this much too long was stopped, or not given a processor.
    const GAP: Duration = Duration::from_millis(40);
    /// How long a request may be on its way, on such a machine.
    const UNDER_WAY: Duration = Duration::from_millis(100);
    const REFUSING: Duration = Duration::from_millis(300);

    /// What may grow from the second sixth of the time to the last: the mean of memory, by the allocator's leftovers; the
    /// least of threads and files. What is open for a moment says nothing, and a few stalled connections outlive a sixth
    /// of a short run.
    const MORE_KIB: f64 = 1024.0;
    const MORE_THREADS: f64 = 1.0;
    const MORE_FILES: f64 = 8.0;

    pub(crate) fn main() -> ExitCode {
        // cargo adds `--bench`.
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let report = match words[..] {
            [role @ ("share" | "disturbed"), address, salt, seconds, seed, directory] => {
                let number = |text: &str| text.parse::<u64>().expect("a number");
                let role = match role {
                    "share" => Role::Sharing(directory.into()),
                    _ => Role::Disturbed(Places { root: directory.into() }, number(seed) as usize),
                };
                let load = Load {
                    address: address.parse().expect("an address"),
                    salt: number(salt),
                    seconds: number(seconds),
                    seed: number(salt) ^ number(seed),
                    role,
                };
                let report = load.run();
                println!("{}", report.table());
                report
            }
            ["whole", seconds, directory] => whole(seconds.parse().expect("a number"), directory.as_ref(), true),
            _ => {
                let seconds = words.first().map_or("600", |seconds| seconds);
                let directory = std::env::temp_dir().join(format!("keyfob-soak-{}", std::process::id()));
                std::fs::create_dir(&directory).expect("room for a directory");
                let root = directory.join("disturbed");
                std::fs::create_dir(&root).expect("room for a directory");
                let shown = root.to_str().expect("a path in UTF-8");
                let status = disturbance::in_own_namespace(&root, &["whole", seconds, shown]);
                let report =
                    status.is_none().then(|| whole(seconds.parse().expect("a number of seconds"), &root, false));
                let _ = std::fs::remove_dir_all(directory);
                match report {
                    Some(report) => report,
                    None if status.is_some_and(|status| status.success()) => return ExitCode::SUCCESS,
                    None => return ExitCode::FAILURE,
                }
            }
        };
        for violation in &report.violations {
            eprintln!("violation: {violation}");
        }
        if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// This program's build of another version, if there is one.
    fn other_version() -> Option<PathBuf> {
        std::env::var_os("KEYFOB_SOAK_OTHER").map(PathBuf::from)
    }

    /// The server, this process's own threads, and the other processes.
    fn whole(seconds: u64, root: &Path, is_small: bool) -> Report {
        let salt = BootClock.now().as_nanos() as u64;
        let server = Server::start(salt);
        let places = Places { root: root.to_owned() };
        std::fs::set_permissions(root, Permissions::from_mode(0o755)).expect("this user's directory");
        std::fs::create_dir(places.common()).expect("room for a directory");
        std::fs::set_permissions(places.common(), Permissions::from_mode(0o1777)).expect("this user's directory");
        std::fs::create_dir(root.join("refresh")).expect("room for a directory");
        for client in REFRESH_CLIENTS {
            std::fs::write(places.refresh_file(client), server.books.refresh_token(client, 0))
                .expect("room for a file");
            std::fs::set_permissions(places.refresh_file(client), Permissions::from_mode(0o600)).expect("its owner");
        }
        let own = std::env::current_exe().expect("this program");
        let start = |program: &Path, role: &str, index: usize, directory: &Path| {
            let words = [server.address.to_string(), salt.to_string(), seconds.to_string(), index.to_string()];
            let mut command = Command::new(program);
            command.arg(role).args(words).arg(directory).stdout(Stdio::piped());
            command.spawn().expect("another process of this program")
        };
        // Not on the file system that is full now and then: without room nobody can pass a wait on.
        let calm = root.with_file_name("calm");
        let children: Vec<Child> = (0..PROCESSES as usize).map(|index| start(&own, "share", index, &calm)).collect();
        let other = other_version();
        let disturbed: Vec<Child> = (0..DISTURBED_TIMEOUTS_MS.len())
            .map(|index| match &other {
                Some(other) if index == OTHER => start(other, "disturbed", index, root),
                _ => start(&own, "disturbed", index, root),
            })
            .collect();
        let load = Load { address: server.address, salt, seconds, seed: salt ^ 99, role: Role::Alone };
        let mut disturbance = Disturbance::new(&places, &disturbed, Random(salt ^ 98), is_small);
        let mut report = std::thread::scope(|scope| {
            let ends = Instant::now() + Duration::from_secs(seconds);
            let disturbance = &mut disturbance;
            scope.spawn(move || disturbance.run(ends));
            load.run()
        });
        println!("{seconds} s, {THREADS} threads with {} clients, no store\n{}", CLIENTS.count(), report.table());
        for (index, child) in children.into_iter().enumerate() {
            let output = child.wait_with_output().expect("it ends");
            println!(
                "process {index} of {PROCESSES}, {PROCESS_THREADS} threads with {} clients and one store",
                STORE_CLIENTS.count()
            );
            println!("{}", String::from_utf8_lossy(&output.stdout));
            if !output.status.success() {
                report.violations.push(format!("in process {index}, which ended with {}", output.status));
            }
        }
        for (index, child) in disturbed.into_iter().enumerate() {
            let output = child.wait_with_output().expect("it ends");
            let is_other = index == OTHER && other.is_some();
            let what = match index {
                MISLED => ", a proxy that refuses",
                _ if is_other => ", of another version: its violations do not count",
                _ => "",
            };
            let limit = DISTURBED_TIMEOUTS_MS[index];
            println!(
                "disturbed process {index}, time limit {limit} ms{what}\n{}",
                String::from_utf8_lossy(&output.stdout)
            );
            if !output.status.success() && !is_other {
                report.violations.push(format!("in disturbed process {index}, which ended with {}", output.status));
            }
        }
        println!("the disturbance\n{}", disturbance.table());
        println!("the server\n{}", server.table());
        report.violations.append(&mut server.books.violations.lock().expect("no thread panics with it"));
        report.violations.append(&mut disturbance.violations);
        report
    }

    /// The time by which the server keeps its books, the same in all processes. It is not read by keyfob's code.
    fn monotonic() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Nothing secret, but nobody writes it by accident.
    fn mark(salt: u64, client: u64, serial: u64, ends: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (salt, client, serial, ends).hash(&mut hasher);
        hasher.finish()
    }

    /// Random enough, and one for each thread.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }

        fn within(&mut self, range: Range<u64>) -> u64 {
            range.start + self.next() % (range.end - range.start)
        }
    }

    // The server. A token says whose it is and when it ends, with a mark that only the server makes: those are its books.
    // What it writes into an answer that is at fault has no such mark.

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        Refused,
        Late,
        Stalled,
        Reset,
        Cut,
        Status500,
        Status503,
        Malformed,
        Html,
        LengthTooShort,
        LengthTooLong,
        WrongType,
    }

    const FAULTS: [(Fault, &str); 13] = [
        (Fault::None, "none"),
        (Fault::Refused, "connections refused for 0.3 s"),
        (Fault::Late, "0.2 to 1.2 s late"),
        (Fault::Stalled, "no answer at all"),
        (Fault::Reset, "reset"),
        (Fault::Cut, "cut body"),
        (Fault::Status500, "500"),
        (Fault::Status503, "503 with Retry-After"),
        (Fault::Malformed, "malformed JSON"),
        (Fault::Html, "HTML"),
        (Fault::LengthTooShort, "length too short"),
        (Fault::LengthTooLong, "length too long"),
        (Fault::WrongType, "a number for a token"),
    ];

    struct Books {
        salt: u64,
        serial: AtomicU64,
        counts: [AtomicU64; FAULTS.len()],
        /// For each client, nanoseconds before which it was asked not to come.
        not_before: [AtomicU64; STORE_CLIENTS.end as usize],
        /// When it was asked that.
        asked_at: [AtomicU64; STORE_CLIENTS.end as usize],
        /// For each client, its last requests and their answers.
        history: Mutex<BTreeMap<u64, VecDeque<String>>>,
        /// For each client, the refresh token that it is to send, and whether that has arrived.
        refresh: Mutex<BTreeMap<u64, (u64, bool)>>,
        /// Refresh tokens sent again because the answer had not arrived.
        lost: AtomicU64,
        violations: Mutex<Vec<String>>,
        refusing: AtomicBool,
    }

    struct Server {
        address: SocketAddr,
        books: Arc<Books>,
    }

    impl Server {
        fn start(salt: u64) -> Self {
            let books = Arc::new(Books {
                salt,
                serial: AtomicU64::new(0),
                counts: Default::default(),
                not_before: Default::default(),
                asked_at: Default::default(),
                history: Mutex::default(),
                refresh: Mutex::default(),
                lost: AtomicU64::new(0),
                violations: Mutex::default(),
                refusing: AtomicBool::new(false),
            });
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
            let address = listener.local_addr().expect("the port's number");
            let (give, take) = mpsc::sync_channel::<(TcpStream, u64)>(SERVING);
            let take = Arc::new(Mutex::new(take));
            for _ in 0..SERVING {
                let (take, books) = (take.clone(), books.clone());
                std::thread::spawn(move || {
                    loop {
                        let next = take.lock().expect("no thread panics with it").recv();
                        let Ok((stream, seed)) = next else { return };
                        let _ = books.serve(stream, Random(seed));
                    }
                });
            }
            let doors = books.clone();
            std::thread::spawn(move || doors.accept(listener, address, &give));
            Self { address, books }
        }

        fn table(&self) -> String {
            let counts: Vec<u64> = self.books.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let all: u64 = counts.iter().sum();
            let mut table = format!("| requests | {all} |\n|---|---:|\n");
            for ((_, name), count) in FAULTS.iter().zip(&counts) {
                let _ = writeln!(table, "| fault: {name} | {count} |");
            }
            for (client, (serial, _)) in &*self.books.refresh.lock().expect("no thread panics with it") {
                let _ = writeln!(table, "| refresh tokens of client {client} | {serial} |");
            }
            let lost = self.books.lost.load(Ordering::Relaxed);
            let _ = writeln!(table, "| of them sent again, since the answer was not taken | {lost} |");
            table
        }
    }

    impl Books {
        /// Takes connections in; while it refuses them there is no listener.
        fn accept(&self, listener: TcpListener, address: SocketAddr, give: &mpsc::SyncSender<(TcpStream, u64)>) {
            let mut random = Random(self.salt);
            let mut listener = Some(listener);
            loop {
                if self.refusing.swap(false, Ordering::SeqCst) {
                    listener = None;
                    std::thread::sleep(REFUSING);
                }
                let open = match &listener {
                    Some(open) => open,
                    // Somebody's connection may have that port for a moment.
                    None => match TcpListener::bind(address) {
                        Ok(open) => listener.insert(open),
                        Err(_) => {
                            std::thread::sleep(Duration::from_millis(20));
                            continue;
                        }
                    },
                };
                let _ = open.set_nonblocking(true);
                match open.accept() {
                    Ok((stream, _)) => {
                        let _ = stream.set_nonblocking(false);
                        let _ = give.send((stream, random.next()));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }

        fn serve(&self, mut stream: TcpStream, mut random: Random) -> std::io::Result<()> {
            let fault = if random.within(0..3) == 0 { random.within(1..FAULTS.len() as u64) as usize } else { 0 };
            self.counts[fault].fetch_add(1, Ordering::Relaxed);
            let fault = FAULTS[fault].0;
            stream.set_read_timeout(Some(2 * TIMEOUT))?;
            if matches!(fault, Fault::Reset | Fault::Refused) {
                self.refusing.fetch_or(fault == Fault::Refused, Ordering::SeqCst);
                // Closed with something unread, a connection is reset.
                while stream.peek(&mut [0])? == 0 {}
                return Ok(());
            }
            let body = read_request(&mut stream)?;
            let parameter = |name: &str| body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let client = parameter("client_id").and_then(|id| id.parse::<u64>().ok()).unwrap_or(u64::MAX);
            let own = format!("secret{client}");
            if client >= DISTURBED_CLIENTS.end || parameter("client_secret") != Some(&own) {
                self.violation(format!("a request of nobody's: {body:?}"));
                return Ok(());
            }
            let now = monotonic();
            // A process that is stopped with the answer, or has no room for it, cannot pass it on.
            if let Some(not_before) = self.not_before.get(client as usize) {
                let not_before = Duration::from_nanos(not_before.load(Ordering::SeqCst));
                // What another thread or process had sent by then does not count.
                let asked_at = Duration::from_nanos(self.asked_at[client as usize].load(Ordering::SeqCst));
                if now < not_before && now > asked_at + UNDER_WAY {
                    let history = self.history.lock().expect("no thread panics with it").remove(&client);
                    let history = Vec::from(history.unwrap_or_default()).join("\n    ");
                    let early = not_before - now;
                    self.violation(format!(
                        "client {client} came {early:?} before it was asked to, at {now:?}\n    {history}"
                    ));
                }
            }
            self.note(client, format!("{now:?}: a request, which gets {fault:?}"));
            let spent = match REFRESH_CLIENTS.contains(&client) {
                true => match self.spent(client, parameter("refresh_token").unwrap_or_default()) {
                    Some(serial) => Some(serial),
                    None => return Ok(()),
                },
                false => None,
            };

            let decoy = format!("decoy-of-{client}-that-nobody-may-have");
            let life = random.within(LIVES_MS);
            let mut asked_until = 0;
            match fault {
                Fault::Stalled => {
                    let _ = stream.read(&mut [0])?;
                    return Ok(());
                }
                Fault::Late => std::thread::sleep(Duration::from_millis(random.within(200..1200))),
                _ => {}
            }
            let good = |token: &str| {
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{}}}"#, life / 1000)
            };
            let rotated = spent.filter(|_| matches!(fault, Fault::None | Fault::Late)).map(|serial| serial + 1);
            if let Some(serial) = rotated {
                self.refresh.lock().expect("no thread panics with it").insert(client, (serial, false));
            }
            let (status, more, body, length) = match fault {
                Fault::None | Fault::Late => {
                    let mut body = good(&self.issue(client, life));
                    if let Some(serial) = rotated {
                        body.pop();
                        let _ = write!(body, r#","refresh_token":"{}"}}"#, self.refresh_token(client, serial));
                    }
                    (200, String::new(), body, 0)
                }
                Fault::Status500 => (500, String::new(), good(&decoy), 0),
                Fault::Status503 => {
                    let seconds = random.within(1..3);
                    let until = monotonic() + Duration::from_secs(seconds);
                    asked_until = until.as_nanos() as u64;
                    (503, format!("Retry-After: {seconds}\r\n"), good(&decoy), 0)
                }
                Fault::Malformed => (200, String::new(), good(&decoy).replace("\",\"", "\" \""), 0),
                Fault::Html => (200, String::new(), format!("<html><body>{}</body></html>", good(&decoy)), 0),
                Fault::LengthTooShort => (200, String::new(), good(&decoy), -(random.within(1..60) as i64)),
                Fault::LengthTooLong => (200, String::new(), good(&decoy), random.within(1..60) as i64),
                Fault::WrongType => (200, String::new(), good("\u{0}").replace("\"\u{0}\"", "1234567890"), 0),
                _ => (200, String::new(), good(&decoy), 0),
            };
            let length = body.len() as i64 + length;
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
            );
            let sent = if fault == Fault::Cut { random.within(0..body.len() as u64) as usize } else { body.len() };
            stream.write_all(&[head.as_bytes(), &body.as_bytes()[..sent]].concat())?;
            let life = life / 1000;
            self.note(client, format!("{:?}: answered {fault:?} to that of {now:?}, life {life} s", monotonic()));
            // Who was out of patience by then has not read it, and so ends by a reset.
            if (asked_until != 0 || rotated.is_some()) && stream.read(&mut [0])? == 0 {
                if let Some(serial) = rotated {
                    let mut refresh = self.refresh.lock().expect("no thread panics with it");
                    refresh.entry(client).and_modify(|(current, arrived)| *arrived |= *current == serial);
                } else if let Some(not_before) = self.not_before.get(client as usize) {
                    self.asked_at[client as usize].store(monotonic().as_nanos() as u64, Ordering::SeqCst);
                    not_before.store(asked_until, Ordering::SeqCst);
                }
            }
            Ok(())
        }

        fn issue(&self, client: u64, life_ms: u64) -> String {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            // Whole seconds are told, and no more are given.
            let ends = (monotonic() + Duration::from_secs(life_ms / 1000)).as_nanos() as u64;
            format!("{client}.{serial}.{ends}.{:x}", mark(self.salt, client, serial, ends))
        }

        fn refresh_token(&self, client: u64, serial: u64) -> String {
            format!("{serial}.{:x}", mark(self.salt, client, serial, 0))
        }

        /// Returns which refresh token of this client is sent, if it is one that may be.
        fn spent(&self, client: u64, token: &str) -> Option<u64> {
            let serial = token.split('.').next().and_then(|serial| serial.parse().ok()).unwrap_or(u64::MAX);
            if token != self.refresh_token(client, serial) {
                self.violation(format!("client {client} sent {token:?}, no refresh token of its"));
                return None;
            }
            let (current, arrived) =
                *self.refresh.lock().expect("no thread panics with it").entry(client).or_insert((0, false));
            if serial < current && arrived {
                self.violation(format!(
                    "client {client} sent refresh token {serial} again, after {current} had arrived"
                ));
            }
            self.lost.fetch_add(u64::from(serial < current), Ordering::Relaxed);
            Some(current)
        }

        fn note(&self, client: u64, text: String) {
            const KEPT: usize = 12;
            if STORE_CLIENTS.contains(&client) {
                let mut history = self.history.lock().expect("no thread panics with it");
                let lines = history.entry(client).or_default();
                lines.drain(..(lines.len() + 1).saturating_sub(KEPT));
                lines.push_back(text);
            }
        }

        fn violation(&self, text: String) {
            self.violations.lock().expect("no thread panics with it").push(text);
        }
    }

    /// Reads a request and returns its body.
    fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
        let (mut bytes, mut buffer) = (Vec::with_capacity(2048), [0; 2048]);
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                if length.and_then(|length| length.trim().parse().ok()) == Some(body.len()) {
                    return Ok(body.to_owned());
                }
            }
            match stream.read(&mut buffer)? {
                0 => return Err(IoErrorKind::UnexpectedEof.into()),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    // The clients.

    thread_local! {
        /// When this thread's call last asked the time: by that moment's answer it decided.
        static ASKED_AT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    struct Noted;

    impl Clock for Noted {
        fn now(&self) -> Duration {
            ASKED_AT.set(monotonic());
            BootClock.now()
        }
    }

    /// For how long this process did not run.
    #[derive(Default)]
    struct Stopped {
        ms: AtomicU64,
        ticks: AtomicU64,
    }

    enum Role {
        Alone,
        /// With a store in this directory.
        Sharing(PathBuf),
        Disturbed(Places, usize),
    }

    struct Load {
        address: SocketAddr,
        salt: u64,
        seconds: u64,
        seed: u64,
        role: Role,
    }

    #[derive(Default)]
    struct Report {
        calls: u64,
        tokens: u64,
        stored: u64,
        errors: BTreeMap<&'static str, u64>,
        /// The nearest to its end, by the server's books, that a token was handed out.
        closest: Option<Duration>,
        longest_call: Duration,
        longest_without: Duration,
        samples: Vec<[f64; 3]>,
        violations: Vec<String>,
    }

    impl Load {
        fn clients(&self) -> Range<u64> {
            match self.role {
                Role::Alone => CLIENTS,
                Role::Sharing(_) => STORE_CLIENTS,
                Role::Disturbed(..) => DISTURBED_CLIENTS,
            }
        }

        fn timeout(&self) -> Duration {
            match self.role {
                Role::Disturbed(_, index) => Duration::from_millis(DISTURBED_TIMEOUTS_MS[index]),
                _ => TIMEOUT,
            }
        }

        fn client(&self, id: u64) -> Client {
            let endpoint = Endpoint::new(format!("http://{}/token", self.address)).expect("a URL");
            let endpoint = endpoint.authentication(ClientAuthentication::ClientSecretPost);
            let mut transport = HttpTransport::new().no_proxy();
            if matches!(self.role, Role::Disturbed(_, MISLED)) {
                // Port 1 is nobody's.
                transport = transport.proxy("http://127.0.0.1:1").expect("a proxy's URL");
            }
            let client = Client::new(endpoint).transport(transport).clock(Noted).timeout(self.timeout());
            client.client_id(id.to_string()).client_secret(SecretSource::value(format!("secret{id}").as_str()))
        }

        fn caches(&self) -> Vec<(u64, SharedTokenCache)> {
            let store = match &self.role {
                Role::Alone => None,
                Role::Sharing(directory) => Some(Store::at(directory).expect("a store")),
                // Another user may have the name, or there is no room for it.
                Role::Disturbed(places, _) => Store::at(places.store()).ok(),
            };
            let cache = |id: u64| {
                let grant = match &self.role {
                    Role::Disturbed(places, _) if REFRESH_CLIENTS.contains(&id) => {
                        Grant::refresh_token_file(places.refresh_file(id))
                    }
                    _ => Grant::client_credentials(),
                };
                let cache = SharedTokenCache::new(self.client(id), grant);
                match &store {
                    Some(store) => cache.store(store.clone()),
                    None => cache,
                }
            };
            self.clients().map(|id| (id, cache(id))).collect()
        }

        fn run(&self) -> Report {
            let ends = Instant::now() + Duration::from_secs(self.seconds);
            let mut report = Report::default();
            // When each client last had a token.
            let had: Vec<Mutex<Option<Instant>>> = self.clients().map(|_| Mutex::new(None)).collect();
            let mut random = Random(self.seed);
            while Instant::now() < ends {
                // What is disturbed begins again now and then, as a program would that runs for a short time.
                let until = match self.role {
                    Role::Disturbed(..) => ends.min(Instant::now() + Duration::from_millis(random.within(1000..8000))),
                    _ => ends,
                };
                let round = self.round(&had, until, &mut random);
                report.add(round);
            }
            report.compare(matches!(self.role, Role::Disturbed(_, MISLED)));
            report
        }

        fn round(&self, had: &[Mutex<Option<Instant>>], ends: Instant, random: &mut Random) -> Report {
            let caches = self.caches();
            let threads = if matches!(self.role, Role::Alone) { THREADS } else { PROCESS_THREADS };
            let stopped = Stopped::default();
            std::thread::scope(|scope| {
                let (caches, stopped) = (&caches, &stopped);
                let threads: Vec<_> = (0..threads)
                    .map(|_| {
                        let random = Random(random.next());
                        scope.spawn(move || self.ask(caches, had, stopped, random, ends))
                    })
                    .collect();
                let mut report = Report::default();
                let mut sampled = Instant::now();
                while Instant::now() < ends || threads.iter().any(|thread| !thread.is_finished()) {
                    // From here on: the process may also be stopped while it takes a sample.
                    let slept = Instant::now();
                    if sampled.elapsed() >= Duration::from_millis(100) && Instant::now() < ends {
                        report.samples.push(sample());
                        sampled = Instant::now();
                    }
                    std::thread::sleep(Duration::from_millis(10));
                    let gap = slept.elapsed();
                    if gap > GAP {
                        stopped.ms.fetch_add(gap.as_millis() as u64, Ordering::SeqCst);
                    }
                    stopped.ticks.fetch_add(1, Ordering::SeqCst);
                }
                threads.into_iter().for_each(|thread| report.add(thread.join().expect("no thread panics")));
                report
            })
        }

        fn ask(
            &self,
            caches: &[(u64, SharedTokenCache)],
            had: &[Mutex<Option<Instant>>],
            stopped: &Stopped,
            mut random: Random,
            ends: Instant,
        ) -> Report {
            let mut report = Report::default();
            while Instant::now() < ends {
                let index = random.within(0..caches.len() as u64) as usize;
                let (id, tokens) = &caches[index];
                let (begun, before) = (Instant::now(), stopped.ms.load(Ordering::SeqCst));
                let result = tokens.token();
                let mut took = begun.elapsed();
                if took > self.timeout() {
                    // Whoever counts the time may not have been woken yet.
                    let ticks = stopped.ticks.load(Ordering::SeqCst);
                    while stopped.ticks.load(Ordering::SeqCst) < ticks + 2 {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    let gaps = stopped.ms.load(Ordering::SeqCst) - before;
                    took = took.saturating_sub(Duration::from_millis(gaps));
                }
                if took > self.timeout() + LATE {
                    report.violations.push(format!("client {id}: a call took {took:?}: {:?}", result.as_ref().err()));
                }
                report.longest_call = report.longest_call.max(took);
                report.calls += 1;
                match result {
                    Ok(token) => {
                        report.tokens += 1;
                        report.stored += u64::from(token.is_stored());
                        match self.left(*id, token.expose()) {
                            Ok(left) => report.closest = Some(report.closest.map_or(left, |least| least.min(left))),
                            Err(what) => report.violations.push(format!("client {id} was handed {what}")),
                        }
                        let now = Instant::now();
                        let before = had[index].lock().expect("no thread panics with it").replace(now);
                        let without = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
                        report.longest_without = report.longest_without.max(without);
                    }
                    Err(error) => {
                        *report.errors.entry(error.kind().as_str()).or_default() += 1;
                        let is_expected = match error.kind() {
                            // Without room for its successor a refresh token is not sent.
                            ErrorKind::Config => {
                                let is_full =
                                    REFRESH_CLIENTS.contains(id) && error.to_string().contains("no storage space");
                                is_full || matches!(self.role, Role::Disturbed(_, MISLED))
                            }
                            kind => !matches!(kind, ErrorKind::Internal | ErrorKind::Untrusted),
                        };
                        if !is_expected {
                            report.violations.push(format!("client {id}: {error:?}"));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(random.within(1..5)));
            }
            report
        }

        /// What is left of a token by the server's books, at the moment it was decided to hand it out.
        fn left(&self, id: u64, token: &str) -> Result<Duration, String> {
            let parts: Vec<&str> = token.split('.').collect();
            let [client, serial, ends, given] = parts[..] else { return Err(format!("{token:?}, no token")) };
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{token:?}, no token"));
            let (client, serial, ends) = (number(client)?, number(serial)?, number(ends)?);
            if given != format!("{:x}", mark(self.salt, client, serial, ends)) {
                return Err(format!("{token:?}, which was never issued"));
            }
            if client != id {
                return Err(format!("{token:?}, which is another's"));
            }
            let asked_at = ASKED_AT.get();
            match Duration::from_nanos(ends).checked_sub(asked_at) {
                Some(left) if !left.is_zero() => Ok(left),
                _ => Err(format!("{token:?}, over for {:?}", asked_at - Duration::from_nanos(ends))),
            }
        }
    }

    /// Memory in KiB, threads and open files of this process.
    fn sample() -> [f64; 3] {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
        let number = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
        };
        let files = std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
        [number("VmRSS:"), number("Threads:"), files as f64]
    }

    impl Report {
        fn add(&mut self, other: Self) {
            self.calls += other.calls;
            self.tokens += other.tokens;
            self.stored += other.stored;
            for (kind, count) in other.errors {
                *self.errors.entry(kind).or_default() += count;
            }
            self.closest = [self.closest, other.closest].into_iter().flatten().min();
            self.longest_call = self.longest_call.max(other.longest_call);
            self.longest_without = self.longest_without.max(other.longest_without);
            self.samples.extend(other.samples);
            self.violations.extend(other.violations);
        }

        /// The second sixth of the time, and the last: the mean of memory, the least of threads and files.
        fn sixths(&self) -> [[f64; 3]; 2] {
            let sixth = (self.samples.len() / 6).max(1);
            let told = |samples: &[[f64; 3]]| {
                let of = |what: usize| samples.iter().map(move |sample| sample[what]);
                let mean = of(0).sum::<f64>() / samples.len().max(1) as f64;
                [mean, of(1).fold(f64::INFINITY, f64::min), of(2).fold(f64::INFINITY, f64::min)]
            };
            let last = self.samples.len().saturating_sub(sixth);
            [told(&self.samples[sixth.min(last)..(2 * sixth).min(self.samples.len())]), told(&self.samples[last..])]
        }

        fn compare(&mut self, is_misled: bool) {
            let [second, last] = self.sixths();
            for (what, most) in [MORE_KIB, MORE_THREADS, MORE_FILES].into_iter().enumerate() {
                if last[what] > second[what] + most {
                    let name = ["KiB of memory", "threads", "open files"][what];
                    self.violations.push(format!("from {:.1} {name} to {:.1}", second[what], last[what]));
                }
            }
            if self.tokens == 0 && !is_misled {
                self.violations.push("not a single token".to_owned());
            }
        }

        fn table(&self) -> String {
            let [second, last] = self.sixths();
            let mut table = format!(
                "| calls | {} |\n|---|---:|\n| tokens handed out | {} |\n| of them by another process | {} |\n",
                self.calls, self.tokens, self.stored
            );
            for (kind, count) in &self.errors {
                let _ = writeln!(table, "| errors: {kind} | {count} |");
            }
            let closest = self.closest.unwrap_or_default();
            let _ = writeln!(table, "| least left of a token handed out | {:.3} s |", closest.as_secs_f64());
            let _ = writeln!(table, "| longest call | {:.1} s |", self.longest_call.as_secs_f64());
            let _ = writeln!(
                table,
                "| longest that a client was without a token | {:.1} s |",
                self.longest_without.as_secs_f64()
            );
            for (what, name) in ["memory, KiB", "threads, the least", "open files, the least"].into_iter().enumerate() {
                let _ = writeln!(
                    table,
                    "| {name} in the second and the last sixth | {:.1}, {:.1} |",
                    second[what], last[what]
                );
            }
            let _ = writeln!(table, "| violations | {} |", self.violations.len());
            table
        }
    }
}
