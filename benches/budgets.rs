//! What keyfob's inner loops may cost, in instructions and allocations: figures that do not depend on the machine's speed.
//!
//! `cargo bench --bench budgets` counts them, by running itself under valgrind, and fails where one is over its budget.
//! Each is of one call: the difference between many calls and few, so that the program's start counts for nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use keyfob::{
    Client, ClientCredentials, Endpoint, Error, Grant, Members, Parameters, Request, Response, SharedTokenCache,
    TokenCache, TokenResponse,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is measured, and what it may cost: instructions with about 3 % to spare, for compilers differ; allocations with
/// nothing to spare. To raise one on purpose, change it here, and say in that commit what is had for it.
const BUDGETS: [Budget; 7] = [
    Budget { name: "reading an answer of 220 bytes", prepare: || reading(72, ""), instructions: 3_600, allocations: 0 },
    Budget { name: "reading an 8 KB JWT", prepare: || reading(8192, ""), instructions: 27_200, allocations: 0 },
    Budget { name: "reading an answer of 64 KB", prepare: reading_64_kb, instructions: 1_036_000, allocations: 0 },
    Budget { name: "building a request, form", prepare: building_form, instructions: 14_400, allocations: 11 },
    Budget { name: "building a request, JSON", prepare: building_json, instructions: 11_700, allocations: 9 },
    Budget { name: "a hit of TokenCache", prepare: hitting, instructions: 162, allocations: 0 },
    Budget { name: "a hit of SharedTokenCache", prepare: hitting_shared, instructions: 203, allocations: 0 },
];

struct Budget {
    name: &'static str,
    prepare: fn() -> Box<dyn FnMut()>,
    instructions: u64,
    allocations: u64,
}

fn reading(token: usize, more: &str) -> Box<dyn FnMut()> {
    let token = "eyJhbGciOiJSUzI1NiJ9.".chars().cycle().take(token).collect::<String>();
    let refresh_token = "0123456789".chars().cycle().take(49).collect::<String>();
    let answer = format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600,"refresh_token":"{refresh_token}","scope":"read write"{more}}}"#
    );
    let mut response = keyfob::Response::new(200, answer).with_header("content-type", "application/json");
    let members = Members::default();
    Box::new(move || {
        // Without an escape in what is wanted, the reader leaves the body as it is, so it can be read again.
        let read = TokenResponse::read(black_box(&mut response), &members);
        assert_eq!(black_box(read.unwrap()).access_token.len(), token.len());
    })
}

/// Most of it is in many small members that nobody asked for.
fn reading_64_kb() -> Box<dyn FnMut()> {
    let group = r#"{"id":12345,"name":"Group \u0041 of many","roles":["reader","writer"],"active":true,"since":null}"#;
    reading(8192, &format!(r#","groups":[{}]"#, vec![group; 576].join(",")))
}

fn building(endpoint: Endpoint) -> Box<dyn FnMut()> {
    let credentials = ClientCredentials::default()
        .client_id("my client")
        .client_secret(keyfob::SecretSource::value("s3cret/with+signs"));
    let grant = Grant::client_credentials().scope("read write").parameter("audience", "https://api.example");
    Box::new(move || {
        let request = Request::token(&endpoint, &credentials, &grant).unwrap();
        assert!(black_box(&request).body().is_some());
    })
}

fn building_form() -> Box<dyn FnMut()> {
    building(Endpoint::new("https://as.example/oauth/token").unwrap())
}

fn building_json() -> Box<dyn FnMut()> {
    building(Endpoint::new("https://as.example/oauth/token").unwrap().parameters(Parameters::Json))
}

/// With a clock that costs nothing: the system's depends on the machine.
fn client() -> Client {
    let answer = |_: &Request| Ok::<_, Error>(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
    Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), answer, || Duration::ZERO)
}

fn hitting() -> Box<dyn FnMut()> {
    let mut tokens = TokenCache::new(client(), Grant::client_credentials());
    tokens.token().unwrap();
    Box::new(move || assert_eq!(black_box(tokens.token().unwrap()).expose(), "abc"))
}

fn hitting_shared() -> Box<dyn FnMut()> {
    let tokens = SharedTokenCache::new(client(), Grant::client_credentials());
    tokens.token().unwrap();
    Box::new(move || assert_eq!(black_box(tokens.token().unwrap()).expose(), "abc"))
}

/// Counts what is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does all the work. A block that grows is a new one, by the trait's own `realloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, index, calls] = &arguments[..] {
        assert_eq!(flag, "--repeat");
        let mut call = (BUDGETS[index.parse::<usize>().unwrap()].prepare)();
        for _ in 0..calls.parse().unwrap() {
            call();
        }
        return ExitCode::SUCCESS;
    }

    let mut code = ExitCode::SUCCESS;
    println!("| a call | instructions | budget | allocations | budget |\n|---|--:|--:|--:|--:|");
    for (index, budget) in BUDGETS.iter().enumerate() {
        let (instructions, allocations) = (instructions(index), allocations(budget));
        println!(
            "| {} | {instructions} | {} | {allocations} | {} |",
            budget.name, budget.instructions, budget.allocations
        );
        for (what, figure, most) in
            [("instructions", instructions, budget.instructions), ("allocations", allocations, budget.allocations)]
        {
            if figure > most {
                eprintln!(
                    "error: {}: {figure} {what}, over the budget of {most} (to raise it on purpose: BUDGETS in {})",
                    budget.name,
                    file!()
                );
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn allocations(budget: &Budget) -> u64 {
    let mut call = (budget.prepare)();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    call();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn instructions(index: usize) -> u64 {
    let count = |calls: u64| -> u64 {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().unwrap());
        valgrind.args(["--repeat".to_owned(), index.to_string(), calls.to_string()]);
        let output = valgrind.output().expect("instructions are counted by valgrind: apt-get install valgrind");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let (_, total) = log.split_once("Collected : ").expect("callgrind tells the total");
        total.lines().next().unwrap().trim().parse().unwrap()
    };
    (count(1100) - count(100)) / 1000
}
