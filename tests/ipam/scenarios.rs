//! Many seeds, and rules that must be missed when they are left out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use router::ipam::Flaw;
use weft_tests::seeds::each_seed_of;

use super::play::{run_flawed, run_seed};

/// Seeds of random lists in one run of the tests.
const SEEDS: u64 = 3000;

#[test]
fn random_faults_never_lease_an_address_twice() {
    let [leased, refused, seeds] = [const { AtomicU64::new(0) }; 3];
    each_seed_of(SEEDS, |seed| {
        let (some, none) = run_seed(seed);
        leased.fetch_add(some, Relaxed);
        refused.fetch_add(none, Relaxed);
        seeds.fetch_add(1, Relaxed);
    });
    let [leased, refused, seeds] = [leased, refused, seeds].map(AtomicU64::into_inner);
    println!("{seeds} seeds: {leased} leases, {refused} refusals");
    assert!(leased > seeds, "hardly anything was leased");
}

/// So many of the first seeds must fail without a rule, or the scripts no longer aim at it.
const LEAST: usize = 10;

/// How many of the first seeds fail without a rule.
fn caught(flaw: Flaw) -> usize {
    let failures: Vec<_> = (1..=300).filter_map(|seed| run_flawed(seed, flaw)).collect();
    println!("{flaw:?}: {} of 300 seeds fail, the first: {:?}", failures.len(), failures.first());
    failures.len()
}

#[test]
fn without_the_barrier_the_simulation_fails() {
    assert!(caught(Flaw::NoBarrier) >= LEAST);
}

#[test]
fn without_taking_up_the_simulation_fails() {
    assert!(caught(Flaw::NoTakeUp) >= LEAST);
}

#[test]
fn when_the_caller_takes_all_the_simulation_fails() {
    assert!(caught(Flaw::CallerTakesAll) >= LEAST);
}
