//! The tolerant reader beside serde_json, miniserde and a peer's own type: instructions, time and allocations of a call,
//! how they grow with the answer, and how many answers of the corpus each reads right.
//!
//! `cargo run --release --manifest-path benches/reader/Cargo.toml` prints Markdown. Instructions are counted where
//! valgrind is installed. Each call gets a fresh copy of the answer, for the reader changes its body; what the copying
//! costs is taken off again.

mod corpus;

use keyfob::{ExpiresIn, Members, Response, TokenResponse};
use serde::Deserialize;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Answer {
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn copy(&self) -> Response {
        let response = Response::new(self.status, self.body.clone());
        match &self.content_type {
            Some(content_type) => response.with_header("content-type", content_type),
            None => response,
        }
    }
}

/// The members of a token response as a subject read them.
struct Token<'a> {
    access_token: &'a str,
    token_type: Option<&'a str>,
    expires_in: Option<u64>,
    refresh_token: Option<&'a str>,
    /// As one text, made only where it is looked at: a peer keeps a list.
    scope: &'a dyn Fn() -> Option<String>,
}

/// Reads `answer` from `copy`, which may be changed, and shows the token to `look` if one comes out.
type Read = fn(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>));

const KEYFOB: &str = "keyfob";
const BASE: &str = "serde_json, borrowed";
const SUBJECTS: [(&str, Read); 6] = [
    (KEYFOB, keyfob),
    (BASE, serde_borrowed),
    ("serde_json, owned", serde_owned),
    ("serde-json-core, borrowed", serde_json_core),
    ("miniserde, owned", miniserde),
    ("oauth2's BasicTokenResponse", oauth2),
];

static MEMBERS: LazyLock<Members> = LazyLock::new(Members::default);

fn keyfob(_: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    let Ok(token) = TokenResponse::read(copy, &MEMBERS) else {
        return;
    };
    look(&Token {
        access_token: token.access_token,
        token_type: token.token_type,
        expires_in: match token.expires_in {
            ExpiresIn::NotPositive => Some(0),
            ExpiresIn::Units(seconds) => Some(seconds),
            _ => None,
        },
        refresh_token: token.refresh_token,
        scope: &|| token.scope.map(str::to_owned),
    });
}

/// What is wanted of the peers: the same members, in types that they offer.
macro_rules! wanted {
    ($name:ident, $text:ty, $derive:path $(, $lifetime:lifetime)?) => {
        #[derive($derive)]
        struct $name $(<$lifetime>)? {
            access_token: $text,
            token_type: Option<$text>,
            expires_in: Option<u64>,
            refresh_token: Option<$text>,
            scope: Option<$text>,
        }

        impl $(<$lifetime>)? $name $(<$lifetime>)? {
            fn show(&self, look: &mut dyn FnMut(&Token<'_>)) {
                look(&Token {
                    access_token: self.access_token.as_ref(),
                    token_type: self.token_type.as_ref().map(AsRef::as_ref),
                    expires_in: self.expires_in,
                    refresh_token: self.refresh_token.as_ref().map(AsRef::as_ref),
                    scope: &|| self.scope.as_ref().map(|text| AsRef::<str>::as_ref(text).to_owned()),
                });
            }
        }
    };
}

wanted!(Borrowed, &'a str, Deserialize, 'a);
wanted!(Owned, String, Deserialize);
wanted!(MiniOwned, String, miniserde::Deserialize);

fn is_success(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

fn serde_borrowed(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    if let (true, Ok(token)) = (is_success(answer), serde_json::from_slice::<Borrowed>(copy.body_mut())) {
        token.show(look);
    }
}

fn serde_owned(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    if let (true, Ok(token)) = (is_success(answer), serde_json::from_slice::<Owned>(copy.body_mut())) {
        token.show(look);
    }
}

fn serde_json_core(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    if let (true, Ok((token, _))) = (is_success(answer), serde_json_core::from_slice::<Borrowed>(copy.body_mut())) {
        token.show(look);
    }
}

fn miniserde(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    let Ok(text) = std::str::from_utf8(copy.body_mut()) else { return };
    if let (true, Ok(token)) = (is_success(answer), miniserde::json::from_str::<MiniOwned>(text)) {
        token.show(look);
    }
}

fn oauth2(answer: &Answer, copy: &mut Response, look: &mut dyn FnMut(&Token<'_>)) {
    use oauth2::TokenResponse;
    use oauth2::basic::BasicTokenResponse;

    if let (true, Ok(token)) = (is_success(answer), serde_json::from_slice::<BasicTokenResponse>(copy.body_mut())) {
        look(&Token {
            access_token: token.access_token().secret(),
            token_type: Some(token.token_type().as_ref()),
            expires_in: token.expires_in().map(|life| life.as_secs()),
            refresh_token: token.refresh_token().map(|token| token.secret().as_str()),
            scope: &|| {
                let scopes: Vec<&str> = token.scopes()?.iter().map(|scope| scope.as_str()).collect();
                Some(scopes.join(" "))
            },
        });
    }
}

/// The alphabet of a JWT, in no order.
fn letters(length: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    let mut state = 1u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(alphabet[(state >> 16) as usize % alphabet.len()])
    };
    (0..length).map(|_| letter()).collect()
}

/// So long is the refresh token: with an access token of 72 bytes, the answer has 220.
const REFRESH: usize = 49;

/// A normal answer with an access token of so many bytes, and more members behind the usual ones.
fn answer(token: usize, more: &str) -> Answer {
    let token = letters(token);
    let body = format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600,"refresh_token":"{}","scope":"read write"{more}}}"#,
        &letters(REFRESH)
    );
    Answer { status: 200, content_type: Some("application/json".to_owned()), body: body.into_bytes() }
}

/// The answers that are measured, by name.
fn answers() -> Vec<(&'static str, Answer)> {
    // As some servers send it: the token's claims once more, in many small members.
    let group = r#"{"id":12345,"name":"Group \u0041 of many","roles":["reader","writer"],"active":true,"since":null}"#;
    let groups = format!(r#","groups":[{}]"#, vec![group; 576].join(","));
    let small = answer(72, "");
    assert_eq!(small.body.len(), 220);
    let large = answer(8192, &groups);
    assert!((64_000..66_000).contains(&large.body.len()), "{}", large.body.len());
    vec![("an answer of 220 bytes", small), ("an 8 KB JWT", answer(8192, "")), ("an answer of 64 KB", large)]
}

/// Answers of these sizes, that differ in their token only.
fn growing() -> Vec<(usize, Answer)> {
    let rest = answer(0, "").body.len();
    [256, 1024, 4096, 16_384, 65_536].map(|size| (size, answer(size - rest, ""))).into()
}

/// Counts what is asked for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls `read` so many times, each with a fresh copy; or copies only.
fn repeat(read: Option<Read>, answer: &Answer, times: usize) {
    let mut copy = answer.copy();
    for _ in 0..times {
        black_box(copy.body_mut()).copy_from_slice(black_box(&answer.body));
        if let Some(read) = read {
            read(black_box(answer), black_box(&mut copy), &mut |token| {
                black_box(token);
            });
        }
    }
}

fn check(read: Read, answer: &Answer) {
    let text = std::str::from_utf8(&answer.body).expect("ours");
    let expected = text.split('"').nth(3).expect("the access token comes first");
    let mut seen = 0;
    read(answer, &mut answer.copy(), &mut |token| {
        assert_eq!(token.access_token, expected);
        assert_eq!(token.token_type.map(str::to_ascii_lowercase).as_deref(), Some("bearer"));
        assert_eq!((token.expires_in, token.refresh_token), (Some(3600), Some(letters(REFRESH).as_str())));
        assert_eq!((token.scope)().as_deref(), Some("read write"));
        seen += 1;
    });
    assert_eq!(seen, 1);
}

fn allocations(read: Read, answer: &Answer) -> usize {
    let mut copy = answer.copy();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    read(answer, &mut copy, &mut |token| {
        black_box(token);
    });
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Nanoseconds of a call of each subject: the median of rounds in which all have their turn.
fn times(answer: &Answer) -> Vec<f64> {
    const ROUNDS: usize = 31;
    let calls = (4_000_000 / answer.body.len()).max(20);
    let subjects: Vec<Option<Read>> = SUBJECTS.iter().map(|(_, read)| Some(*read)).chain([None]).collect();
    let mut all = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (read, times) in subjects.iter().zip(&mut all) {
            let start = Instant::now();
            repeat(*read, answer, calls);
            times.push(start.elapsed().as_nanos() as f64 / calls as f64);
        }
    }
    let mut medians: Vec<f64> = all
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
        .collect();
    let copying = medians.pop().expect("the last is the copying alone");
    medians.iter().map(|time| time - copying).collect()
}

/// Instructions of a call: those of 120 less those of 20, so that the program's start counts for nothing.
fn instructions(subject: usize, answer: usize) -> Option<f64> {
    let count = |subject: usize, times: usize| -> Option<u64> {
        let program = std::env::current_exe().expect("this program has a path");
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
        valgrind.args(["--repeat".to_owned(), subject.to_string(), answer.to_string(), times.to_string()]);
        let output = valgrind.output().ok()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let total = log.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind tells the total");
        Some(total.1.trim().parse().expect("a number"))
    };
    let call = |subject| Some((count(subject, 120)? - count(subject, 20)?) as f64 / 100.0);
    Some(call(subject)? - call(SUBJECTS.len())?)
}

fn all_answers() -> Vec<Answer> {
    let measured = answers().into_iter().map(|(_, answer)| answer);
    measured.chain(growing().into_iter().map(|(_, answer)| answer)).collect()
}

fn shown(instructions: Option<f64>, digits: usize) -> String {
    instructions.map_or("-".to_owned(), |count| format!("{count:.digits$}"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, subject, answer, times] = &arguments[..] {
        assert_eq!(flag, "--repeat");
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let read = SUBJECTS.get(number(subject)).map(|(_, read)| *read);
        repeat(read, &all_answers()[number(answer)], number(times));
        return;
    }
    assert!(arguments.is_empty(), "there are no options");

    println!("{}\n", platform());
    let mut aims = Vec::new();
    for (index, (name, answer)) in answers().iter().enumerate() {
        println!("### {} ({} bytes)\n", name, answer.body.len());
        println!("| | instructions | × {BASE} | ns | × {BASE} | allocations |\n|---|--:|--:|--:|--:|--:|");
        let times = times(answer);
        let counts: Vec<Option<f64>> = (0..SUBJECTS.len()).map(|subject| instructions(subject, index)).collect();
        for (subject, (name, read)) in SUBJECTS.iter().enumerate() {
            check(*read, answer);
            let ratio = counts[subject].zip(counts[1]).map(|(count, base)| count / base);
            println!(
                "| {name} | {} | {} | {:.0} | {:.2} | {} |",
                shown(counts[subject], 0),
                shown(ratio, 2),
                times[subject],
                times[subject] / times[1],
                allocations(*read, answer),
            );
        }
        aims.push((
            *name,
            counts[0].zip(counts[1]).map(|(ours, base)| ours / base),
            allocations(SUBJECTS[0].1, answer),
        ));
        println!();
    }

    println!("### Instructions per byte, as the token grows\n");
    let names: Vec<&str> = SUBJECTS.iter().map(|(name, _)| *name).collect();
    println!("| bytes | {} |\n|--:|{}", names.join(" | "), "--:|".repeat(names.len()));
    for (index, (size, answer)) in growing().iter().enumerate() {
        let cells: Vec<String> = SUBJECTS
            .iter()
            .enumerate()
            .map(|(subject, (_, read))| {
                check(*read, answer);
                shown(instructions(subject, answers().len() + index).map(|count| count / *size as f64), 2)
            })
            .collect();
        println!("| {size} | {} |", cells.join(" | "));
    }

    println!("\n### The corpus\n");
    corpus::print();

    println!("\n### Aims\n");
    for ((name, ratio, allocations), aim) in aims.iter().zip([0.7, 1.2]) {
        let verdict = |is_met: bool| if is_met { "met" } else { "NOT met" };
        match ratio {
            Some(ratio) => {
                println!("- {name}: at most {aim} of {BASE}'s instructions: {ratio:.2}, {}", verdict(*ratio <= aim))
            }
            None => println!("- {name}: at most {aim} of {BASE}'s instructions: valgrind is not installed here"),
        }
        println!("- {name}: no allocation: {allocations}, {}", verdict(*allocations == 0));
    }
}

/// What was measured, and on what.
fn platform() -> String {
    let lock = include_str!("../Cargo.lock");
    let versions = ["serde_json", "serde-json-core", "miniserde", "oauth2"].map(|name| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).expect("it is in Cargo.lock");
        format!("{name} {}", rest.split('"').next().unwrap_or_default())
    });
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or(std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}; {}; {cpu}, {cores} cores; {}",
        versions.join(", "),
        said("rustc", &["-V"]),
        said("date", &["-u", "+%F"])
    )
}
