//! How many: mass starts, what a change costs, what rest costs.

use std::env;
use std::time::{Duration, Instant};

use weft_tests::mesh::growth::{Growth, grow};
use weft_tests::mesh::{Weather, World};
use weft_tests::seeds::{each_seed, each_seed_of};

use crate::{SOON, calm_down, holds, report};

/// What one join or leave may cost each peer: octets, and batches for each link.
const CHANGE: (f64, f64) = (16_000.0, 4.0);
/// What a peer may send at rest among a thousand, in octets a second.
const REST: f64 = 2_000.0;

#[test]
fn three_peers_that_start_at_once_agree() {
    each_seed(|seed| {
        measured(3, seed);
    });
}

#[test]
fn fifty_peers_that_start_at_once_agree_and_a_change_is_cheap() {
    each_seed_of(3, |seed| {
        let growth = measured(50, seed);

        report(&growth);
        assert_cheap(&growth);
    });
}

/// With `WEFT_LONG` (`make test-long`) a thousand: that takes a quarter of an hour.
#[test]
fn hundreds_of_peers_that_start_at_once_agree_and_change_and_rest_are_cheap() {
    let peers = if env::var_os("WEFT_LONG").is_some() { 1_000 } else { 300 };
    each_seed_of(1, |seed| {
        let growth = measured(peers, seed);

        report(&growth);
        assert_cheap(&growth);
        assert!(growth.rest.max < REST, "{growth}");
    });
}

#[test]
fn three_hundred_peers_that_know_one_address_spread_their_links() {
    each_seed_of(1, |seed| {
        #[expect(clippy::disallowed_methods, reason = "says how long the simulation takes")]
        let began = Instant::now();
        let mut world = World::new(seed, Weather::CALM);
        let ids = world.add_many(300, |_| vec![0]);
        ids.iter().for_each(|id| world.config(*id).degree = 32);

        world.start_all(&ids);
        let took = world.settle(SOON);
        let took = holds(&world, took);
        world.pass(2 * SOON);

        let checked = world.check();
        holds(&world, checked);
        let (least, degree) = world.degrees();
        let wall = began.elapsed();
        report(format_args!(
            "star of 300: {took:?}, degree least {least}, {degree}, real {wall:?}"
        ));
    });
}

#[test]
fn peers_that_start_one_after_the_other_in_bad_weather_agree() {
    each_seed(|seed| {
        let mut world = World::new(seed, Weather::STORM);
        let ids = world.add_many(12, |number| vec![number / 2]);

        for id in ids {
            world.start(id);
            let pause = Duration::from_millis(world.rng().within(0..=2_000));
            world.pass(pause);
        }

        calm_down(&mut world, SOON);
    });
}

fn measured(peers: usize, seed: u64) -> Growth {
    grow(peers, seed).unwrap_or_else(|why| panic!("{peers} peers: {why}")).1
}

fn assert_cheap(growth: &Growth) {
    for (octets, batches) in [growth.join, growth.leave] {
        assert!(octets.max <= CHANGE.0 && batches.max <= CHANGE.1, "{growth}");
    }
}
