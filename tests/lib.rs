//! What weft's tests stand on: the lab in [`harness`], the simulated mesh in [`mesh`], and what
//! the fuzzers run in [`fuzz`].

#[path = "fuzz/targets.rs"]
pub mod fuzz;
pub mod harness;
pub mod mesh;
pub mod rng;
pub mod seeds;
