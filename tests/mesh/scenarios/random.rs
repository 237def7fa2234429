//! Random faults, and what they have taught.

use weft_tests::mesh::script::{Step, generate};
use weft_tests::mesh::shrink;
use weft_tests::seeds::each_seed_of;

/// Lists of faults that once failed: seed, hosts, steps.
const ONCE_FAILED: [(u64, usize, &[Step]); 0] = [];

#[test]
fn whatever_happens_all_agree_once_it_is_over() {
    each_seed_of(300, shrink::run_seed);
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for (seed, hosts, steps) in ONCE_FAILED {
        let played = shrink::run(seed, hosts, steps);

        assert!(played.is_ok(), "({seed}, {hosts}, &{steps:?}): {played:#?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    each_seed_of(3, |seed| {
        let (hosts, steps) = generate(seed);
        let run = || shrink::run(seed, hosts, &steps).map_err(|failure| failure.why);

        assert_eq!(run(), run());
    });
}
