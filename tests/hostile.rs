//! A hostile server, one bad habit at a time, over http and https: the real command says what is wrong with its
//! documented exit code and exact words, in time and in little memory, and hands out no token that it should not. And
//! whatever the server does, a token that was valid before is still handed out.

// The peak of a process's memory is read from /proc.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/command.rs"]
mod running;
#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod serving;
#[path = "common/time.rs"]
mod time;
#[path = "common/watched.rs"]
mod watching;

use common::{Seen, Server, Stream, answer, json};
use running::{Outcome, Place, Run, SENTINEL};
use std::fmt::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::Holder;
use watching::{Watched, watch};

/// The answer before the server turns hostile.
const EARLIER: &str = r#"{"access_token":"earl1er","token_type":"Bearer","expires_in":3600}"#;
/// As long after it, it is due for renewal, whatever this client's share is.
const LATER: Duration = Duration::from_secs(3400);
const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// The command's whole memory, with the pages of its program on disk that it touches: those of a build for debugging
/// are too many to say anything.
const MEMORY_KIB: Option<u64> = if cfg!(debug_assertions) { None } else { Some(8_000_000 / 1024) };
/// How much more than with a good server it may take: the largest body that is read, and two copies of the one text in
/// it that may be handed out.
const MORE_MEMORY_KIB: u64 = 3 * 1024 + 256;
/// Where the server keeps the command waiting, and where it is not to wait: then it has to end long before.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);
const LONG_TIMEOUT: Duration = Duration::from_secs(30);
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(8);

/// Without the cache, each row asks the server.
const NO_CACHE: &[&str] = &["--no-cache"];

// What the server does.

/// Does something with a connection, and may look at the request.
type Answering = dyn Fn(&Seen, &mut dyn Stream) + Send + Sync;
/// Does something with a connection, whatever was asked.
type Wordless = dyn Fn(&mut dyn Stream) + Send + Sync;

enum Act {
    /// As soon as there is a connection: over https, before the handshake.
    Accepted(Box<Wordless>),
    /// As soon as there is a connection that could carry a request: over https, after the handshake.
    Greeted(Box<Wordless>),
    /// Once the request was read. The connection is closed afterwards, without a goodbye of TLS.
    Asked(Box<Answering>),
    /// Once the request was read, past TLS: straight into the connection.
    Beneath(Box<Wordless>),
}

/// Answers with these bytes, and closes.
fn says(bytes: impl Into<Vec<u8>>) -> Act {
    let bytes = bytes.into();
    Act::Asked(Box::new(move |_, stream| {
        let _ = stream.write_all(&bytes);
    }))
}

/// Answers with these bytes, and stays.
fn stays_after(bytes: impl Into<Vec<u8>>) -> Act {
    let bytes = bytes.into();
    Act::Asked(Box::new(move |_, stream| {
        let _ = stream.write_all(&bytes);
        stay(stream);
    }))
}

/// Answers with the first bytes, and then with the others until the client has had enough.
fn repeats(first: impl Into<Vec<u8>>, others: impl AsRef<[u8]>) -> Act {
    let (first, others) = (first.into(), others.as_ref().repeat(1 + 16 * 1024 / others.as_ref().len()));
    Act::Asked(Box::new(move |_, stream| {
        let _ = stream.write_all(&first);
        while stream.write_all(&others).is_ok() {}
    }))
}

/// Answers with these bytes, one at a time, and starts over at the end.
fn drips(bytes: impl Into<Vec<u8>>, pause: Duration) -> Act {
    let bytes = bytes.into();
    Act::Asked(Box::new(move |_, stream| {
        for byte in bytes.iter().cycle() {
            if stream.write_all(&[*byte]).and_then(|()| stream.flush()).is_err() {
                break;
            }
            std::thread::sleep(pause);
        }
    }))
}

/// Until the client is gone.
fn stay(stream: &mut dyn Stream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
}

/// A server that behaves well until `is_hostile` is set.
fn serve(scheme: &'static str, act: Act, is_hostile: Arc<AtomicBool>) -> Server {
    let (mut accepted, mut greeted, mut asked, mut beneath) = (None, None, None, None);
    match act {
        Act::Accepted(act) => accepted = Some(act),
        Act::Greeted(act) => greeted = Some(act),
        Act::Asked(act) => asked = Some(act),
        Act::Beneath(act) => beneath = Some(act),
    }
    // The connection below TLS, for the handler.
    let below = Arc::new(Mutex::new(None));
    let connection = below.clone();
    #[cfg(feature = "tls")]
    let config = serving::config(serving::VALID, rustls::ALL_VERSIONS);
    let end = |stream: &mut dyn Stream, closer: &TcpStream| {
        let _ = closer.shutdown(std::net::Shutdown::Write);
        // What the client still sends would reset the connection, and it might not read what it was sent.
        stay(stream);
    };
    let hostile = is_hostile.clone();
    let wrapper = move |mut stream: TcpStream| -> Option<Box<dyn Stream>> {
        let is_hostile = hostile.load(Ordering::SeqCst);
        let closer = stream.try_clone().expect("a connection of ours");
        if let Some(act) = accepted.as_ref().filter(|_| is_hostile) {
            act(&mut stream);
            end(&mut stream, &closer);
            return None;
        }
        *connection.lock().unwrap() = stream.try_clone().ok();
        #[cfg(feature = "tls")]
        let mut stream: Box<dyn Stream> =
            if scheme == "https" { Box::new(serving::accept(&config, stream)?) } else { Box::new(stream) };
        #[cfg(not(feature = "tls"))]
        let mut stream: Box<dyn Stream> = Box::new(stream);
        if let Some(act) = greeted.as_ref().filter(|_| is_hostile) {
            act(&mut *stream);
            end(&mut *stream, &closer);
            return None;
        }
        Some(stream)
    };
    let handler = move |seen: &Seen, stream: &mut dyn Stream| {
        if !is_hostile.load(Ordering::SeqCst) {
            let _ = stream.write_all(&json(200, EARLIER));
            return;
        }
        if let Some(act) = &asked {
            act(seen, stream);
        }
        if let (Some(act), Some(below)) = (&beneath, &mut *below.lock().unwrap()) {
            act(below);
        }
    };
    Server::start(scheme, Box::new(wrapper), Box::new(handler))
}

// What the command has to make of it.

struct Row {
    what: &'static str,
    act: Box<dyn Fn() -> Act + Send + Sync>,
    options: &'static [&'static str],
    waits: bool,
    /// Over http and over https; none where the row is not for it.
    expected: [Option<Expected>; 2],
    /// Whether a request reaches the server.
    asks: bool,
    /// The answer takes the place of the earlier one, though this call can do nothing with it.
    replaces: bool,
}

#[derive(Clone)]
struct Expected {
    code: i32,
    stdout: String,
    /// With `{host}` for the server's address.
    stderr: String,
}

impl<S: AsRef<str>> From<(i32, S)> for Expected {
    /// The exit code, and the lines on standard output, or on standard error if it is not 0.
    fn from((code, lines): (i32, S)) -> Self {
        let lines = format!("{}\n", lines.as_ref());
        let (stdout, stderr) = if code == 0 { (lines, String::new()) } else { (String::new(), lines) };
        Self { code, stdout, stderr }
    }
}

fn row(what: &'static str, act: impl Fn() -> Act + Send + Sync + 'static, expected: impl Into<Expected>) -> Row {
    let expected = Some(expected.into());
    let asks = matches!(act(), Act::Asked(_) | Act::Beneath(_));
    let expected = [expected.clone(), expected];
    Row { what, act: Box::new(act), options: &[], waits: false, expected, asks, replaces: false }
}

impl Row {
    /// The server keeps the command waiting until its time is over.
    fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    fn replaces(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Over https it comes out otherwise.
    fn over_tls(mut self, expected: (i32, &str)) -> Self {
        self.expected[1] = Some(Expected::from(expected));
        self
    }

    fn only_over_tls(mut self) -> Self {
        self.expected[0] = None;
        self
    }
}

const GOOD: (i32, &str) = (0, "t0ken");
const LATE: (i32, &str) = (4, "keyfob: no complete answer from {host} within 2 s");
const CUT: (i32, &str) = (4, "keyfob: the connection to {host} ended before the answer did: unexpected end of file");
const LOST_TLS: (i32, &str) = (4, "keyfob: the connection to {host} ended before the answer did: TLS failed");
const SILENT: (i32, &str) = (
    4,
    "keyfob: the connection to {host} ended before the answer did: unexpected end of file\n\
     hint: the server sent nothing: if it speaks TLS, write https:// in the URL",
);
const NO_TLS: (i32, &str) = (
    7,
    "keyfob: {host}: it closed the connection during the TLS handshake\n\
     hint: check the port, and whether the URL should say http://",
);
const START: &str = "it does not begin with HTTP/1.1";
const VERSION: &str = "its version is neither HTTP/1.1 nor HTTP/1.0";
const STATUS: &str = "its status does not have three digits";
const CONTROL: &str = "a header holds a control character";
const LENGTH: &str = "its Content-Length is no number";
const NAME: &str = "the name of a header is not valid";
const SIZE: &str = "a chunk's size is no number";
const LINE: &str = "the line of a chunk's size is longer than 16 KiB";
const TOO_LARGE: (i32, &str) = (5, "keyfob: the answer is larger than 1 MiB");
const HEAD_TOO_LARGE: (i32, &str) = (5, "keyfob: the answer's headers are larger than 16 KiB");

fn not_http(why: &str) -> (i32, String) {
    (5, format!("keyfob: the answer from {{host}} is not HTTP: {why}"))
}

/// 2xx, and no token in it.
fn no_token(why: &str) -> (i32, String) {
    let place = match why.starts_with("the body is not a JSON object") {
        true => "the body is the token itself, name its place, \"\" (--field)",
        false => "the token is in another place, name it (--field)",
    };
    let hint = format!("hint: is this the token endpoint? if {place}");
    (5, format!("keyfob: the answer is no token response: {why}\n{hint}"))
}

/// Runs the rows, each over http and https, and tells of all that went wrong: without a cache, and with one that holds a
/// valid token.
#[track_caller]
fn check(rows: Vec<Row>) {
    let place = Place::new();
    #[cfg(feature = "tls")]
    place.file("here/ca.pem", serving::CA);
    let schemes: &[&'static str] = if cfg!(feature = "tls") { &["http", "https"] } else { &["http"] };
    let good = row("good", || says(json(200, TOKEN)), GOOD);
    let usual_peak = |scheme: &'static str| {
        let (watched, faults) = run(&place, &good, scheme, u64::MAX).expect("a row for both");
        assert_eq!(faults, "");
        (scheme, watched.peak.unwrap_or(u64::MAX))
    };
    let later = later();
    let schemes: Vec<(&'static str, u64)> = schemes.iter().map(|scheme| usual_peak(scheme)).collect();
    let (waiting, quick): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.waits);
    let (report, largest) = (Mutex::new(String::new()), Mutex::new((0, String::new())));
    // Those that wait do so together; the others are not to be slowed down by each other.
    for (rows, at_once) in [(waiting, 24), (quick, 2)] {
        let jobs = rows.iter().flat_map(|row| schemes.iter().map(move |scheme| (row, *scheme)));
        let jobs = Mutex::new(jobs.collect::<Vec<_>>().into_iter());
        let work = || {
            loop {
                let Some((row, (scheme, usual_peak))) = jobs.lock().unwrap().next() else { break };
                let Some((watched, mut faults)) = run(&place, row, scheme, usual_peak) else { continue };
                faults.push_str(&run_with_an_earlier_token(&place, row, scheme, later.as_ref()));
                let what = format!("{scheme}, {}", row.what);
                let peak = watched.peak.unwrap_or_default();
                println!("{what}: {:.2} s, {peak} KiB", watched.took.as_secs_f32());
                if !faults.is_empty() {
                    writeln!(report.lock().unwrap(), "{what}:{faults}").unwrap();
                }
                let mut largest = largest.lock().unwrap();
                if peak > largest.0 {
                    *largest = (peak, what);
                }
            }
        };
        std::thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
    }
    println!("usual {schemes:?}, the most {:?}", largest.into_inner().unwrap());
    let report = report.into_inner().unwrap();
    assert!(report.is_empty(), "\n{report}");
}

/// The command's words for this row, but for the cache.
fn words(row: &Row, scheme: &str, server: &Server) -> Vec<String> {
    let timeout = if row.waits { SHORT_TIMEOUT } else { LONG_TIMEOUT };
    let (url, seconds) = (server.url("/token"), timeout.as_secs().to_string());
    let fixed = ["token", "--url", &url, "--timeout", &seconds, "--client-id", "id", "--client-secret-file", "secret"];
    let trust: &[&str] = if scheme == "https" { &["--ca-file", "ca.pem"] } else { &[] };
    [&fixed, trust].concat().into_iter().map(str::to_owned).collect()
}

/// Another place on the boot clock, where the earlier token is due for renewal. It takes root; elsewhere there is none,
/// which a line says, and with `CI=true` that is a failure.
fn later() -> Option<Holder> {
    match Holder::start_unseen(LATER) {
        Ok(later) => Some(later),
        Err(reason) => {
            assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "no time namespace: {reason}");
            println!("no token is seen to become due for renewal, because there is no time namespace: {reason}");
            None
        }
    }
}

/// Lets the command have a token from the server as long as that behaves well, and tells what is wrong if the command
/// loses it by what the server does then: when the user wants another (`--fresh`), and when it is due for renewal.
fn run_with_an_earlier_token(place: &Place, row: &Row, scheme: &'static str, later: Option<&Holder>) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let Some(expected) = row.expected[usize::from(scheme == "https")].as_ref().filter(|_| !row.replaces) else {
        return String::new();
    };
    let is_hostile = Arc::new(AtomicBool::new(false));
    let server = serve(scheme, (row.act)(), is_hostile.clone());
    let earlier = Outcome { code: Some(0), stdout: "earl1er\n".to_owned(), stderr: String::new() };
    let stderr = expected.stderr.replace("{host}", &server.address().to_string());
    let hostile = Outcome { code: Some(expected.code), stdout: expected.stdout.clone(), stderr };
    let is_good = expected.code == 0;
    // Renewed by a good answer, kept if it is a bad one.
    let kept = if is_good { &hostile } else { &earlier };
    let mut faults = String::new();
    let mut check = |what: &str, run: Run, later: Option<&Holder>, accepted: &[&Outcome], requests: Option<bool>| {
        let before = server.requests().len();
        let outcome = match later {
            Some(later) => outcome_in(later, run),
            None => run.outcome(),
        };
        if !accepted.contains(&&outcome) {
            let text = format!("{outcome:?}").chars().take(600).collect::<String>();
            write!(faults, "\n  {what}: {text}").unwrap();
        }
        let asked = server.requests().len() - before;
        if requests.is_some_and(|asks| asked != usize::from(asks)) {
            write!(faults, "\n  {what}: {asked} requests").unwrap();
        }
    };
    let directory = || place.path(&format!("cache/{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let run = |cache: &str, more: &[&str]| {
        let own = ["--cache-dir", cache];
        let more = own.iter().chain(more).map(|word| (*word).to_owned());
        place.keyfob(words(row, scheme, &server).into_iter().chain(more))
    };

    let cache = directory();
    check("at first", run(&cache, &[]), None, &[&earlier], Some(true));
    is_hostile.store(true, Ordering::SeqCst);
    let fresh = [&["--fresh"], row.options].concat();
    check("--fresh", run(&cache, &fresh), None, &[&hostile], Some(row.asks));
    // A good answer may be one that is not for keeping.
    check("after --fresh", run(&cache, &[]), None, &[kept, &earlier], (!is_good).then_some(false));

    if later.is_none() {
        return faults;
    }
    is_hostile.store(false, Ordering::SeqCst);
    let cache = directory();
    check("again at first", run(&cache, &[]), None, &[&earlier], Some(true));
    is_hostile.store(true, Ordering::SeqCst);
    check("due for renewal", run(&cache, &[]), later, &[kept], Some(row.asks));
    let after = (!is_good).then_some(false);
    check("after the renewal", run(&cache, &[]), later, &[kept, &earlier], after);
    faults
}

/// Runs the command later.
fn outcome_in(later: &Holder, run: Run) -> Outcome {
    let keyfob = run.command();
    let mut command = std::process::Command::new("nsenter");
    command.args([format!("--time={}", later.namespace), format!("--mount={}", later.mounts)]);
    // Whoever enters another mount namespace begins at its root.
    let place = keyfob.get_current_dir().expect("a place");
    command.args(["--", "env", "-C"]).arg(place).arg(keyfob.get_program()).args(keyfob.get_args()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.stdin(Stdio::null()).output().expect("nsenter starts");
    let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a row, and tells what went wrong.
fn run(place: &Place, row: &Row, scheme: &'static str, usual_peak: u64) -> Option<(Watched, String)> {
    let expected = row.expected[usize::from(scheme == "https")].as_ref()?;
    let server = serve(scheme, (row.act)(), Arc::new(AtomicBool::new(true)));
    let timeout = if row.waits { SHORT_TIMEOUT } else { LONG_TIMEOUT };
    let words = words(row, scheme, &server);
    let words = words.iter().map(String::as_str);
    let watched = watch(place.keyfob(words.chain(NO_CACHE.iter().chain(row.options).copied())));

    let mut faults = String::new();
    let outcome = &watched.outcome;
    let stderr = expected.stderr.replace("{host}", &server.address().to_string());
    if (outcome.code, &outcome.stdout, &outcome.stderr) != (Some(expected.code), &expected.stdout, &stderr) {
        let short = |text: &str| text.chars().take(600).collect::<String>();
        for (verb, code, stdout, stderr) in [
            ("got", outcome.code, &outcome.stdout, &outcome.stderr),
            ("not", Some(expected.code), &expected.stdout, &stderr),
        ] {
            write!(faults, "\n  {verb} {code:?} {:?} {:?}", short(stdout), short(stderr)).unwrap();
        }
    }
    if [&outcome.stdout, &outcome.stderr].iter().any(|text| text.contains(SENTINEL)) {
        faults.push_str("\n  a secret stands in the output");
    }
    let latest = if row.waits { timeout + MARGIN } else { MARGIN };
    if watched.took > latest || (row.waits && watched.took < timeout) {
        write!(faults, "\n  took {:?}", watched.took).unwrap();
    }
    let most = usual_peak.saturating_add(MORE_MEMORY_KIB);
    if let Some(peak) = watched.peak.filter(|peak| *peak > MEMORY_KIB.unwrap_or(most).min(most)) {
        write!(faults, "\n  took {peak} KiB, {usual_peak} with a good server").unwrap();
    }
    let requests = server.requests().len();
    if requests != usize::from(row.asks) {
        write!(faults, "\n  {requests} requests").unwrap();
    }
    Some((watched, faults))
}

/// The head of an answer with these header lines, each with its end.
fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

fn chunks(bytes: &str) -> String {
    format!("{}{bytes}", head("transfer-encoding: chunked\r\n"))
}

fn with_length(length: usize, body: &str) -> String {
    format!("{}{body}", head(&format!("content-length: {length}\r\n")))
}

#[test]
fn silence_and_dripping() {
    let second = Duration::from_secs(1);
    check(vec![
        row("accepts and says nothing", || Act::Accepted(Box::new(stay)), LATE)
            .over_tls((4, "keyfob: no connection to {host} within 2 s"))
            .waits(),
        row("reads nothing after the handshake", || Act::Greeted(Box::new(stay)), LATE).waits(),
        row("reads the request and says nothing", || stays_after(""), LATE).waits(),
        row("a byte a second", move || drips(json(200, TOKEN), second), LATE).waits(),
        row("a byte each 10 ms, without end", || drips(head("") + "{", Duration::from_millis(10)), LATE).waits(),
        row("stays after the status line", || stays_after("HTTP/1.1 200 OK\r\n"), LATE).waits(),
        row("stays mid header", || stays_after("HTTP/1.1 200 OK\r\ncontent-ty"), LATE).waits(),
        row("stays after the headers", || stays_after(head("content-length: 64\r\n")), LATE).waits(),
        row("stays mid body", || stays_after(with_length(TOKEN.len() + 1, TOKEN)), LATE).waits(),
        row("stays after a body without a length", || stays_after(head("") + TOKEN), LATE).waits(),
        row("stays mid chunk", || stays_after(chunks("40\r\n{")), LATE).waits(),
        row("stays mid chunk size", || stays_after(chunks("4")), LATE).waits(),
        row("stays before the last chunk", || stays_after(chunks(&format!("{:x}\r\n{TOKEN}\r\n", TOKEN.len()))), LATE)
            .waits(),
        row("stays after the whole answer", || stays_after(json(200, TOKEN)), GOOD),
        row(
            "1xx answers, one each 50 ms",
            || drips_lines("HTTP/1.1 102 Wait\r\n\r\n", Duration::from_millis(50)),
            LATE,
        )
        .waits(),
        row("an empty line each 50 ms", || drips_lines("\r\n", Duration::from_millis(50)), LATE).waits(),
    ]);
}

/// Answers with this text, again and again.
fn drips_lines(text: &'static str, pause: Duration) -> Act {
    Act::Asked(Box::new(move |_, stream| {
        while stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok() {
            std::thread::sleep(pause);
        }
    }))
}

#[test]
fn endless_things() {
    check(vec![
        row("a body without a length", || repeats(head(""), "x"), TOO_LARGE),
        row(
            "a body of the largest length",
            || repeats(head("content-length: 18446744073709551615\r\n"), "x"),
            TOO_LARGE,
        ),
        row("a body of 2 MiB that starts with a token", || says(json(200, &padded(2 << 20))), TOO_LARGE),
        row("the same without a length", || says(head("") + &padded(2 << 20)), TOO_LARGE),
        row("a body of exactly 1 MiB", || says(json(200, &padded(1 << 20))), GOOD),
        row("50 MB of [", || repeats(head("content-length: 50000000\r\n"), "["), TOO_LARGE),
        row("a header line", || repeats("HTTP/1.1 200 OK\r\nx: ", "y"), HEAD_TOO_LARGE),
        row("a header name", || repeats("HTTP/1.1 200 OK\r\n", "y"), HEAD_TOO_LARGE),
        row("a status line", || repeats("HTTP/1.1 200 ", "O"), HEAD_TOO_LARGE),
        row("headers", || repeats("HTTP/1.1 200 OK\r\n", "x: y\r\n"), HEAD_TOO_LARGE),
        row("large headers", || repeats("HTTP/1.1 200 OK\r\n", format!("x: {}\r\n", "y".repeat(1000))), HEAD_TOO_LARGE),
        row("empty lines", || repeats("", "\r\n"), HEAD_TOO_LARGE),
        row("spaces", || repeats("", " "), not_http(START)),
        row("one chunk", || repeats(chunks("ffffffffffffffff\r\n"), "x"), TOO_LARGE),
        row("tiny chunks", || repeats(chunks(""), "1\r\nx\r\n"), TOO_LARGE),
        row(
            "tiny chunks of a token",
            || repeats(chunks(&format!("{:x}\r\n{TOKEN}\r\n", TOKEN.len())), "1\r\n \r\n"),
            TOO_LARGE,
        ),
        row("a chunk size", || repeats(chunks(""), "0"), not_http(LINE)),
        row("a chunk extension", || repeats(chunks("2;"), "x"), not_http(LINE)),
        row("a trailer line", || repeats(chunks(&format!("{:x}\r\n{TOKEN}\r\n0\r\nx: ", TOKEN.len())), "y"), GOOD),
        row("trailers", || repeats(chunks(&format!("{:x}\r\n{TOKEN}\r\n0\r\n", TOKEN.len())), "x: y\r\n"), GOOD),
        row("1xx answers", || repeats("", "HTTP/1.1 103 Early Hints\r\n\r\n"), TOO_LARGE),
        row("1xx answers with headers", || repeats("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), TOO_LARGE),
        row("100 answers", || repeats("", "HTTP/1.1 100 Continue\r\n\r\n"), TOO_LARGE),
    ]);
}

/// A token, and spaces up to this length.
fn padded(length: usize) -> String {
    format!("{TOKEN}{}", " ".repeat(length - TOKEN.len()))
}

#[test]
fn closed_too_early() {
    let whole_chunk = || format!("{:x}\r\n{TOKEN}\r\n", TOKEN.len());
    check(vec![
        row("right after accept", || Act::Accepted(Box::new(|_| {})), SILENT).over_tls(NO_TLS),
        row("after the handshake", || Act::Greeted(Box::new(|_| {})), SILENT).over_tls(CUT),
        row("after reading the request", || says(""), SILENT).over_tls(CUT),
        row("mid status line", || says("HTTP/1.1 20"), CUT),
        row("after the status line", || says("HTTP/1.1 200 OK\r\n"), CUT),
        row("mid header", || says("HTTP/1.1 200 OK\r\ncontent-le"), CUT),
        row("before the empty line", || says("HTTP/1.1 200 OK\r\ncontent-length: 64\r\n"), CUT),
        row("after the headers", || says(head("content-length: 64\r\n")), CUT),
        row("mid body", || says(with_length(TOKEN.len(), &TOKEN[..20])), CUT),
        row("a byte before the length", || says(with_length(TOKEN.len() + 1, TOKEN)), CUT),
        row(
            "mid body without a length",
            || says(head("") + &TOKEN[..20]),
            no_token("the JSON text is cut off, at byte 20"),
        ),
        row("mid chunk size", || says(chunks("4")), CUT),
        row("after a chunk size", || says(chunks("40\r\n")), CUT),
        row("mid chunk", || says(chunks("40\r\n{\"access_token\":")), CUT),
        row("before the last chunk", move || says(chunks(&whole_chunk())), CUT),
        // The body is whole by then.
        row("after the last chunk's size", move || says(chunks(&format!("{}0\r\n", whole_chunk()))), GOOD),
        row("mid trailer", move || says(chunks(&format!("{}0\r\nx: y", whole_chunk()))), GOOD),
        row("after a 1xx answer", || says("HTTP/1.1 100 Continue\r\n\r\n"), CUT),
    ]);
}

#[test]
fn lies_about_the_body() {
    let length = TOKEN.len();
    let two = || [json(200, TOKEN), json(200, r#"{"access_token":"second"}"#)].concat();
    let refused_first = || [json(400, r#"{"error":"x"}"#), json(200, TOKEN)].concat();
    let compressed = (
        5,
        "keyfob: the answer is no token response: the body is compressed, though nothing asked for it\n\
         hint: ask for it as it is: send `Accept-Encoding: identity` (--header)",
    );
    let gzip = || {
        let packed = b"\x1F\x8B\x08\0\0\0\0\0\0\x03\x01\x17\0\xE8\xFF{\"access_token\":\"t0ken\"}\0\0\0\0\x17\0\0\0";
        let head = head(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", packed.len()));
        [head.as_bytes(), packed].concat()
    };
    check(vec![
        row(
            "a length that cuts the token's object",
            move || says(with_length(length - 1, TOKEN)),
            no_token("the JSON text is cut off, at byte 63"),
        ),
        row(
            "a length that cuts the token",
            || says(with_length(20, TOKEN)),
            no_token("the JSON text is cut off, at byte 20"),
        ),
        row("a length of zero", || says(with_length(0, TOKEN)), no_token("the body is empty")),
        row("more bytes than the length", move || says(with_length(length, &format!("{TOKEN}garbage"))), GOOD),
        row(
            "two lengths",
            move || says(head(&format!("content-length: {length}\r\ncontent-length: 7\r\n")) + TOKEN),
            not_http("it has two lengths"),
        ),
        row(
            "two lengths in a line",
            move || says(head(&format!("content-length: {length}, 7\r\n")) + TOKEN),
            not_http(LENGTH),
        ),
        row(
            "a length with a sign",
            move || says(head(&format!("content-length: +{length}\r\n")) + TOKEN),
            not_http(LENGTH),
        ),
        row("a negative length", || says(head("content-length: -1\r\n") + TOKEN), not_http(LENGTH)),
        row(
            "a length beyond 64 bits",
            || says(head("content-length: 99999999999999999999\r\n") + TOKEN),
            not_http(LENGTH),
        ),
        row(
            "a length and chunks",
            move || {
                says(
                    head("content-length: 5\r\ntransfer-encoding: chunked\r\n")
                        + &format!("{length:x}\r\n{TOKEN}\r\n0\r\n\r\n"),
                )
            },
            GOOD,
        ),
        row(
            "a length, and chunks that are none",
            move || says(head(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")) + TOKEN),
            CUT,
        ),
        row(
            "a chunk larger than its size",
            || says(chunks(&format!("5\r\n{TOKEN}\r\n0\r\n\r\n"))),
            not_http("a chunk is longer than its size"),
        ),
        row("a chunk smaller than its size", || says(chunks(&format!("1f4\r\n{TOKEN}\r\n0\r\n\r\n"))), CUT),
        row("a negative chunk size", || says(chunks(&format!("-1\r\n{TOKEN}\r\n0\r\n\r\n"))), not_http(SIZE)),
        row(
            "a chunk size beyond 64 bits",
            || says(chunks(&format!("10000000000000000\r\n{TOKEN}\r\n0\r\n\r\n"))),
            not_http(SIZE),
        ),
        row("two answers at once", move || says(two()), GOOD),
        row(
            "two answers at once, the second good",
            move || says(refused_first()),
            (3, "keyfob: the server refused (status 400): x"),
        ),
        row("gzip", move || says(gzip()), compressed),
        row("204 with a body", || says(json(204, TOKEN)), no_token("the body is empty")),
        row("304 with a body", || says(json(304, TOKEN)), (5, "keyfob: the server answered with status 304")),
        row(
            "101 and another protocol",
            || says("HTTP/1.1 101 Switching\r\nupgrade: h2c\r\n\r\n\0\0\0"),
            (5, "keyfob: the server answered with status 101"),
        ),
    ]);
}

#[test]
fn no_http_at_all() {
    let garbage = || {
        let mut state = 1u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(100_000)
        .collect();
        bytes
    };
    let not_utf8 = || {
        let head = b"HTTP/1.1 200 \xFF\r\nx: \xFF\xFE\r\ncontent-type: \xC3\x28\r\ncontent-length: 64\r\n\r\n";
        [&head[..], TOKEN.as_bytes()].concat()
    };
    let beneath = |bytes: &'static [u8]| {
        Act::Beneath(Box::new(move |stream| {
            let _ = stream.write_all(bytes);
        }))
    };
    let status = |line: &str| format!("{line}\r\ncontent-length: {}\r\n\r\n{TOKEN}", TOKEN.len());
    let mut rows = vec![
        row("garbage", move || says(garbage()), not_http(START)),
        row("HTTP/0.9", || says(TOKEN), not_http("it is JSON without a head")),
        row(
            "HTML of HTTP/0.9",
            || says("<html><body>Hello</body></html>\r\n"),
            not_http("it is HTML or XML without a head"),
        ),
        row("obs-fold", || says(head("x: y\r\n z\r\ncontent-length: 64\r\n") + TOKEN), GOOD),
        row("a header without a colon", || says(head("what\r\n") + TOKEN), not_http("a header has no colon")),
        row("a header without a name", || says(head(": y\r\n") + TOKEN), not_http(NAME)),
        row("a space before the colon", || says(head("content-length : 64\r\n") + TOKEN), not_http(NAME)),
        row("NUL in a header", || says(head("x: a\0b\r\n") + TOKEN), not_http(CONTROL)),
        row("NUL in a header's name", || says(head("x\0y: a\r\n") + TOKEN), not_http(NAME)),
        row(
            "NUL in the reason",
            || says("HTTP/1.1 200 O\0K\r\n\r\n"),
            not_http("its status line holds a control character"),
        ),
        row("CR alone in a header", || says(head("x: a\rset-cookie: b\r\n") + TOKEN), not_http(CONTROL)),
        row("bytes that are not UTF-8 in headers", move || says(not_utf8()), GOOD),
        row("a status of 999", || says(json(999, TOKEN)), (5, "keyfob: the server answered with status 999")),
        row("status 600", || says(json(600, TOKEN)), (5, "keyfob: the server answered with status 600")),
        row(
            "answers before it is asked",
            || {
                Act::Greeted(Box::new(|stream| {
                    let _ = stream.write_all(&json(200, TOKEN));
                    let _ = stream.flush();
                }))
            },
            GOOD,
        ),
        row("an alert in the middle of TLS", move || beneath(&[21, 3, 3, 0, 2, 2, 80]), LOST_TLS).only_over_tls(),
        row("garbage in the middle of TLS", move || beneath(&[b'x'; 100]), LOST_TLS).only_over_tls(),
        row(
            "a broken record in the middle of TLS",
            move || beneath(b"\x17\x03\x03\x00\x14xxxxxxxxxxxxxxxxxxxx"),
            LOST_TLS,
        )
        .only_over_tls(),
    ];
    for (line, why) in [
        ("HTTP/1.1 0 Zero", STATUS),
        ("HTTP/1.1 99 Low", STATUS),
        ("HTTP/1.1 000 Zero", STATUS),
        ("HTTP/1.1 099 Low", STATUS),
        ("HTTP/1.1 2000 High", STATUS),
        ("HTTP/1.1 -200 OK", STATUS),
        ("HTTP/1.1 2x0 OK", STATUS),
        ("HTTP/1.1200 OK", STATUS),
        ("HTTP/1.1", STATUS),
        ("HTTP/2.0 200 OK", VERSION),
        ("HTP/1.1 200 OK", START),
        ("200 OK", START),
        ("ICY 200 OK", "it is a radio stream"),
    ] {
        rows.push(row(line, move || says(status(line)), not_http(why)));
    }
    check(rows);
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = [Server::answering(json(200, TOKEN)), Server::answering(json(200, TOKEN))];
    let [other, plain] = [elsewhere[0].url("/token"), elsewhere[1].url("/token")];
    let mut rows = Vec::new();
    for (status, what) in [
        (301, ["301 to the same host", "301 to a path", "301 to another host", "301 to http"]),
        (302, ["302 to the same host", "302 to a path", "302 to another host", "302 to http"]),
        (303, ["303 to the same host", "303 to a path", "303 to another host", "303 to http"]),
        (307, ["307 to the same host", "307 to a path", "307 to another host", "307 to http"]),
        (308, ["308 to the same host", "308 to a path", "308 to another host", "308 to http"]),
    ] {
        let expected = |place: &str| {
            let message =
                format!("keyfob: the server redirects (status {status}), and credentials are not sent after it");
            (5, format!("{message}\nhint: it names {place}; if that is the token endpoint, use its URL"))
        };
        let redirects = move |place: &str| {
            let place = place.to_owned();
            Act::Asked(Box::new(move |seen, stream| {
                let place = place.replace("{host}", seen.header("host").unwrap());
                let _ = stream.write_all(&answer(status, &[&format!("location: {place}")], TOKEN));
            }))
        };
        let (other, plain) = (other.replace("http:", "https:"), plain.clone());
        for (what, place) in what.into_iter().zip(["https://{host}/next".to_owned(), "/next".to_owned(), other, plain])
        {
            let expected = expected(&place);
            rows.push(row(what, move || redirects(&place), expected));
        }
    }
    check(rows);
    for server in elsewhere {
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn a_location_that_deceives() {
    const BARE: (i32, &str) = (5, "keyfob: the server redirects (status 302), and credentials are not sent after it");
    let redirects = |place: &[u8]| {
        says([&b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: "[..], place, b"\r\n\r\n"].concat())
    };
    let long = || format!("https://as.example/{}", "a".repeat(15_000));
    check(vec![
        row("with terminal escapes", move || redirects(b"https://as.example/\x1B[2J\x1B[31m"), not_http(CONTROL)),
        row("with a bell", move || redirects(b"https://as.example/\x07"), not_http(CONTROL)),
        row("with DEL", move || redirects(b"https://as.example/\x7F"), not_http(CONTROL)),
        row("with C1 controls", move || redirects("https://as.example/\u{9B}2J".as_bytes()), BARE),
        row("with bidi marks", move || redirects("https://as.example/\u{202E}moc.live".as_bytes()), BARE),
        row("that is not UTF-8", move || redirects(b"https://as.example/\xFF\xFE"), BARE),
        row("of 15 KB", move || redirects(long().as_bytes()), BARE),
        row("with the secret", move || redirects(b"https://as.example/hunter2/x?s=hunter2"), BARE),
    ]);
}

#[test]
fn a_200_with_a_token_that_is_none() {
    let mut rows = Vec::new();
    for (what, body, why) in [
        ("empty", r#"{"access_token":""}"#, "the access token is empty, at byte 17"),
        (
            "a space",
            r#"{"access_token":"t0 ken"}"#,
            "the access token holds a character that is not visible ASCII, at byte 19",
        ),
        (
            "spaces around",
            r#"{"access_token":" t0ken "}"#,
            "the access token holds a character that is not visible ASCII, at byte 17",
        ),
        ("a control character", "{\"access_token\":\"t0\u{1}ken\"}", "a control character in a string, at byte 19"),
        (
            "an escaped line end",
            r#"{"access_token":"t0\r\nken"}"#,
            "the access token holds a character that is not visible ASCII, at byte 19",
        ),
        (
            "an escaped NUL",
            r#"{"access_token":"t0ken\u0000"}"#,
            "the access token holds a character that is not visible ASCII, at byte 22",
        ),
        (
            "non-ASCII",
            r#"{"access_token":"t\u00f6ken"}"#,
            "the access token holds a character that is not visible ASCII, at byte 18",
        ),
        ("half a surrogate", r#"{"access_token":"t0ken\ud800"}"#, "half of a surrogate pair in a string, at byte 22"),
        (
            "two tokens",
            r#"{"access_token":"t0ken","access_token":"other"}"#,
            "duplicate member with two values, at byte 40",
        ),
        (
            "two tokens, one escaped",
            r#"{"access_token":"t0ken","\u0061ccess_token":"other"}"#,
            "duplicate member with two values, at byte 45",
        ),
        ("no token", r#"{"token_type":"Bearer","expires_in":3600}"#, "there is no access token"),
        ("an empty object", "{}", "there is no access token"),
        ("null", r#"{"access_token":null}"#, "the access token is no string, at byte 16"),
        ("a number", r#"{"access_token":12345}"#, "the access token is no string, at byte 16"),
        ("true", r#"{"access_token":true}"#, "the access token is no string, at byte 16"),
        (
            "an object",
            r#"{"access_token":{"value":"t0ken"}}"#,
            "the access token is an object, not a string, at byte 16",
        ),
        ("an array", r#"{"access_token":["t0ken"]}"#, "the access token is no string, at byte 16"),
        ("nested", r#"{"data":{"access_token":"t0ken"}}"#, "there is no access token"),
        ("in an array", r#"[{"access_token":"t0ken"}]"#, "the body is not a JSON object"),
        ("a bare string", r#""t0ken""#, "the body is not a JSON object"),
        ("plain text", "t0ken", "the body is not a JSON object"),
        (
            "under an error member",
            r#"{"error":{"access_token":"t0ken"}}"#,
            "the member `error` is no string, at byte 9",
        ),
        (
            "beside an error that is true",
            r#"{"error":true,"access_token":"t0ken"}"#,
            "the member `error` is no string, at byte 9",
        ),
        ("cut", r#"{"access_token":"t0ken","#, "the JSON text is cut off, at byte 24"),
        ("cut in the token", r#"{"access_token":"t0k"#, "the JSON text is cut off, at byte 20"),
        ("trailing garbage", r#"{"access_token":"t0ken"}garbage"#, "text after the end of the JSON object, at byte 24"),
        (
            "two objects",
            r#"{"access_token":"t0ken"}{"access_token":"t0ken"}"#,
            "text after the end of the JSON object, at byte 24",
        ),
        ("HTML", "<!doctype html><title>Log in</title>", "the body is HTML or XML, not JSON"),
        ("HTML with a token", r#"<script>{"access_token":"t0ken"}</script>"#, "the body is HTML or XML, not JSON"),
        ("nothing", "", "the body is empty"),
        ("spaces alone", " \r\n\t ", "the body is empty"),
        ("single quotes", "{'access_token':'t0ken'}", "a member name in quotes is missing, at byte 1"),
        ("a comment", r#"{/* */"access_token":"t0ken"}"#, "a member name in quotes is missing, at byte 1"),
        ("a form without its type", "access_token=t0ken", "the body is not a JSON object"),
        ("NULs alone", "\0\0\0\0", "the body is UTF-16, not UTF-8"),
        ("a NUL in the token", "{\"access_token\":\"t0\0ken\"}", "a control character in a string, at byte 19"),
        ("a NUL behind", "{\"access_token\":\"t0ken\"}\0", "text after the end of the JSON object, at byte 24"),
        ("a NUL between", "{\"access_token\":\0\"t0ken\"}", "not a JSON value, at byte 16"),
        (
            "a type with a line end",
            r#"{"access_token":"t0ken","token_type":"a\nb"}"#,
            "the token type holds a character that is not printable ASCII, at byte 39",
        ),
        (
            "a type that is a number",
            r#"{"access_token":"t0ken","token_type":1}"#,
            "the token type is no string, at byte 37",
        ),
    ] {
        rows.push(row(what, move || says(json(200, body)), no_token(why)));
    }
    rows.push(row(
        "raw non-ASCII",
        || says(json(200, "{\"access_token\":\"t\u{F6}ken\"}")),
        no_token("the access token holds a character that is not visible ASCII, at byte 18"),
    ));
    rows.push(row(
        "not UTF-8",
        || says([&b"HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"access_token\":\"t\xFF0ken\"}"[..]].concat()),
        no_token("the access token holds a character that is not visible ASCII, at byte 18"),
    ));
    check(rows);
}

#[test]
fn nesting() {
    let start = r#"{"access_token":"t0ken","x":"#;
    let nested = move |levels: usize, open: &str, close: &str| {
        format!("{start}{}{}}}", open.repeat(levels - 1), close.repeat(levels - 1))
    };
    let objects =
        move |levels: usize| format!("{start}{}{{}}{}}}", r#"{"a":"#.repeat(levels - 2), "}".repeat(levels - 2));
    let too_deep =
        |width: usize| no_token(&format!("nested deeper than 128 levels, at byte {}", start.len() + 127 * width));
    check(vec![
        row("objects, 128 levels", move || says(json(200, &objects(128))), GOOD),
        row("objects, 129 levels", move || says(json(200, &objects(129))), too_deep(5)),
        row("objects, 100,000 levels", move || says(json(200, &objects(100_000))), too_deep(5)),
        row("arrays, 128 levels", move || says(json(200, &nested(128, "[", "]"))), GOOD),
        row("arrays, 129 levels", move || says(json(200, &nested(129, "[", "]"))), too_deep(1)),
        row("arrays, 100,000 levels", move || says(json(200, &nested(100_000, "[", "]"))), too_deep(1)),
        row(
            "arrays, 100,000 levels, never closed",
            move || says(json(200, &format!("{start}{}", "[".repeat(100_000)))),
            too_deep(1),
        ),
        row("an array of 1 MB", move || says(json(200, &format!("{start}[{}0]}}", "0,".repeat(500_000)))), GOOD),
        row("50,000 members", move || says(json(200, &format!("{start}0{}}}", r#","a":1"#.repeat(50_000)))), GOOD),
    ]);
}

#[test]
fn refusals_that_deceive() {
    const UNSAID: &str = "keyfob: the server refused (status 400) and gave no reason in the words of OAuth\n\
         hint: check the credentials, and that the request is what the service documents (--dialect, --params, --auth)";
    let refused = |text: &str| (3, format!("keyfob: the server refused (status 400): {text}"));
    let error = |code: &str, description: &str| {
        json(400, &format!(r#"{{"error":"{code}","error_description":"{description}"}}"#))
    };
    let cut = |text: &str| format!("{}\u{2026}", &text.repeat(300)[..300]);
    let secret = move || error("hunter2", "hunter2 is wrong");
    let redacted = "\u{2039}redacted\u{203A} (\u{2039}redacted\u{203A})";
    check(vec![
        row("terminal escapes", move || says(error("x", r"\u001b[2J\u0007")), refused(r"x (\u{1b}[2J\u{7})")),
        row("terminal escapes in the code", move || says(error(r"x\u001b[31m", "")), refused(r"x\u{1b}[31m")),
        row("C1 controls", move || says(error("x", r"\u009b2J")), refused(r"x (\u{9b}2J)")),
        row(
            "bidi marks",
            move || says(error("x", r"a\u202eb\u2066c\ufeff")),
            refused(r"x (a\u{202e}b\u{2066}c\u{feff})"),
        ),
        row("more lines", move || says(error("x", r"a\r\nkeyfob: well\n")), refused("x (a keyfob: well )")),
        row("raw terminal escapes", move || says(error("x", "\u{1B}[2J")), (3, UNSAID)),
        row("60 KB", move || says(error("x", &"a".repeat(60_000))), refused(&format!("x ({})", cut("a")))),
        row(
            "60 KB of bidi marks",
            move || says(error("x", &r"\u202e".repeat(10_000))),
            refused(&format!("x ({})", cut(r"\u{202e}"))),
        ),
        row("the secret in code and description", move || says(secret()), refused(redacted)),
        row(
            "an error beside a token",
            || says(json(200, r#"{"error":"x","access_token":"t0ken"}"#)),
            (3, "keyfob: the server refused (status 200): x"),
        ),
    ]);
}

#[test]
fn refusals_of_a_megabyte() {
    let refused = |text: &str| (3, format!("keyfob: the server refused (status 400): {text}"));
    let error = |code: &[u8], description: &[u8]| {
        let body = [&b"{\"error\":\""[..], code, b"\",\"error_description\":\"", description, b"\"}"].concat();
        [format!("HTTP/1.1 400 Bad\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
    };
    let too_long = "x (\u{2039}too long\u{203A})";
    check(vec![
        row("a description", move || says(error(b"x", &[b'a'; 1_000_000])), refused(too_long)),
        row("a description of escapes", move || says(error(b"x", &br"\u001b".repeat(160_000))), refused(too_long)),
        row("a description of bidi marks", move || says(error(b"x", &br"\u202e".repeat(160_000))), refused(too_long)),
        row("a description that is not UTF-8", move || says(error(b"x", &[0xFF; 1_000_000])), refused(too_long)),
        row("a code", move || says(error(&[b'a'; 1_000_000], b"")), refused("\u{2039}too long\u{203A}")),
    ]);
}

#[test]
fn answers_of_a_megabyte() {
    let long = "m".repeat(1_000_000);
    let of_type = |token_type: &str| json(200, &format!(r#"{{"access_token":"t0ken","token_type":"{token_type}"}}"#));
    let of_token = |token: &str| json(200, &format!(r#"{{"access_token":"{token}"}}"#));
    let message = format!(
        "keyfob: a token of type \"{}\u{2026}\" cannot be sent as a bearer token\n\
         hint: such a token needs more than a header; ask whoever runs the server for a bearer token",
        &long[..300]
    );
    let (token_type, token) = (of_type(&long), of_token(&long));
    check(vec![
        row("a type", move || says(token_type.clone()), (5, message)).with(&["--format", "header"]).replaces(),
        row("a token", move || says(token.clone()), (0, long)),
    ]);
}

#[test]
fn patience_without_end() {
    const WAIT: (i32, &str) = (6, "keyfob: the server asks to wait (status 503)");
    const LONG_WAIT: (i32, &str) =
        (6, "keyfob: the server asks to wait (status 503)\nhint: not before 18446744073709551615 s from now");
    const IN_JSON: &str = concat!(
        r#"{"error":"wait","message":"the server asks to wait (status 503)","status":503,"#,
        r#""oauth_error":null,"retry_after":18446744073709551615,"retryable":true}"#
    );
    const FOREVER: &str = "retry-after: 99999999999999999999999999";
    let not_utf8 = b"HTTP/1.1 503 Busy\r\nretry-after: \xFF\xFE\r\ncontent-length: 0\r\n\r\n";
    check(vec![
        row("a huge Retry-After", || says(answer(503, &[FOREVER], "")), LONG_WAIT),
        row("the same in JSON", || says(answer(503, &[FOREVER], "")), (6, IN_JSON)).with(&["--format", "json"]),
        row("a Retry-After that is not UTF-8", move || says(not_utf8.to_vec()), WAIT),
    ]);
}

#[test]
fn escapes_in_json() {
    // In order: escape, right-to-left override, a tag character (a copy of `A` that nobody sees).
    let refusal = || answer(400, &[], r#"{"error":"x\u001b\u202e\udb40\udc41"}"#);
    let shown = concat!(
        r#"{"error":"refused","message":"the server refused (status 400): x\\u{1b}\\u{202e}\\u{e0041}","status":400,"#,
        r#""oauth_error":null,"retry_after":null,"retryable":false}"#
    );
    check(vec![row("hidden characters", move || says(refusal()), (3, shown)).with(&["--format", "json"])]);
}
