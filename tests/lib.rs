//! What weft's tests stand on: the lab in [`harness`], the simulated mesh in [`mesh`], what
//! the fuzzers run in [`fuzz`], and the batches that a ledger is killed in, in [`mod@ledger`].

#[path = "fuzz/targets.rs"]
pub mod fuzz;
pub mod harness;
pub mod ledger;
pub mod mesh;
pub mod rng;
pub mod seeds;
