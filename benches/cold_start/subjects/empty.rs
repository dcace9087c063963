//! What any Rust program costs.

fn main() {}
