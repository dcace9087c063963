//! What a change may cost. To raise one on purpose, change it here, in the commit that needs it, and say in that commit
//! what is had for it. The figures are of rustc 1.95 on x86_64 Linux with glibc; the slack is for what differs between
//! machines: 2 % of a size, 3 % of memory, 5 % of instructions and 4 system calls, for the runtime reads the process's map,
//! which is longer where paths are.

/// `--profile small` with the feature `command`, in bytes.
const SMALL_TLS: f64 = 2_261_000.0;
const SMALL_PLAIN: f64 = 1_201_000.0;
/// A fetch by an address, as it is built by default; for http without TLS.
const INSTRUCTIONS_TLS: f64 = 3_225_000.0;
const INSTRUCTIONS_PLAIN: f64 = 541_000.0;
const CALLS_TLS: f64 = 111.0;
const CALLS_PLAIN: f64 = 94.0;
/// A token from the cache.
const INSTRUCTIONS_CACHED: f64 = 567_000.0;
const CALLS_CACHED: f64 = 112.0;
/// Bytes, for an answer with a token of 8 KiB.
const HEAP_TLS: f64 = 46_400.0;
const HEAP_PLAIN: f64 = 29_400.0;
const THREADS: f64 = 0.0;
const TRIPS_TLS: f64 = 3.0;
const TRIPS_PLAIN: f64 = 2.0;

use crate::builds::{Builder, Recipe};
use crate::measure::{Tools, size};
use crate::{Fetch, Lab};
use std::process::ExitCode;

/// Measures them all and tells which are over.
pub fn check(lab: &Lab, builder: &Builder, tools: &Tools) -> ExitCode {
    if tools.valgrind.is_none() || tools.strace.is_none() {
        eprintln!("error: the budgets need valgrind and strace: apt-get install valgrind strace");
        return ExitCode::FAILURE;
    }
    let small = |features: &[&str]| Some(size(&builder.build(&Recipe::keyfob(features, "small"))));
    let [tls, plain, large_tls, large_plain] =
        [Fetch::Tls, Fetch::Plain, Fetch::LargeTls, Fetch::LargePlain].map(|fetch| lab.keyfob(fetch));
    let cached = lab.cached(&lab.keyfob);
    let calls = [&tls, &plain, &cached].map(|subject| tools.calls(subject));
    let instructions = [&tls, &plain, &cached].map(|subject| tools.instructions(subject, 3));
    let threads = calls.iter().flatten().map(|calls| calls.1).fold(0.0, f64::max);
    let figures = [
        ("SMALL_TLS", SMALL_TLS, small(&["command", "tls"])),
        ("SMALL_PLAIN", SMALL_PLAIN, small(&["command"])),
        ("INSTRUCTIONS_TLS", INSTRUCTIONS_TLS, instructions[0]),
        ("INSTRUCTIONS_PLAIN", INSTRUCTIONS_PLAIN, instructions[1]),
        ("INSTRUCTIONS_CACHED", INSTRUCTIONS_CACHED, instructions[2]),
        ("CALLS_TLS", CALLS_TLS, calls[0].map(|calls| calls.0)),
        ("CALLS_PLAIN", CALLS_PLAIN, calls[1].map(|calls| calls.0)),
        ("CALLS_CACHED", CALLS_CACHED, calls[2].map(|calls| calls.0)),
        ("HEAP_TLS", HEAP_TLS, tools.heap(&large_tls)),
        ("HEAP_PLAIN", HEAP_PLAIN, tools.heap(&large_plain)),
        ("THREADS", THREADS, Some(threads)),
        ("TRIPS_TLS", TRIPS_TLS, lab.round_trips(tools, &tls)),
        ("TRIPS_PLAIN", TRIPS_PLAIN, lab.round_trips(tools, &plain)),
    ];
    let mut code = ExitCode::SUCCESS;
    for (name, budget, figure) in figures {
        let figure = figure.expect("both tools are there, and all of it is measured");
        println!("{name}: {figure:.0}, of {budget:.0} at most");
        if figure > budget {
            println!(
                "error: {name} is over its budget (to raise it on purpose: the top of benches/cold_start/src/budgets.rs)"
            );
            code = ExitCode::FAILURE;
        }
    }
    code
}
