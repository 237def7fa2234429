//! Random faults, and what they have taught.

use weft_tests::mesh::script::generate;
use weft_tests::mesh::shrink;
use weft_tests::seeds::each_seed_of;

#[test]
fn whatever_happens_all_agree_once_it_is_over() {
    each_seed_of(200, shrink::run_seed);
}

#[test]
fn the_same_seed_is_the_same_run() {
    each_seed_of(3, |seed| {
        let (hosts, steps) = generate(seed);
        let run = || shrink::run(seed, hosts, &steps).map_err(|failure| failure.why);

        assert_eq!(run(), run());
    });
}
