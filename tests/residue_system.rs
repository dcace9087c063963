//! The library on the system's allocator leaves none over http, and copies of secrets in free memory over https. If there are
//! none any more, src/docs/security.md is too modest; and this is the control of `residue_wiped.rs`, which differs in the allocator
//! alone.

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

fn main() -> std::process::ExitCode {
    library::main("the system's allocator", |[http, basic, https @ ..]| {
        http + basic == 0 && https.iter().all(|copies| *copies > 0)
    })
}
