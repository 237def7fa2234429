//! What weft's end-to-end tests stand on: the lab in [`harness`], and what
//! the fuzzers run in [`fuzz`].

#[path = "fuzz/targets.rs"]
pub mod fuzz;
pub mod harness;
