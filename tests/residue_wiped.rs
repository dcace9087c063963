//! The library on an allocator that wipes leaves no copy of a secret in its memory.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/tls.rs"]
mod https;
#[path = "residue/library.rs"]
mod library;
#[path = "common/tracer.rs"]
mod tracer;

#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    library::main("an allocator that wipes", |copies| copies == [0; 4])
}
