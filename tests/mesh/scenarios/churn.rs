//! A long time.

use std::time::Duration;

use weft_tests::mesh::{Power, Weather, World};
use weft_tests::seeds::each_seed_of;

use crate::{SOON, holds, report};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const PEERS: usize = 10;
/// What may stay allocated from one day to the next: books and maps that are not yet full.
const GROWTH: i64 = 64 * 1024;

#[test]
fn a_week_of_churn_costs_no_memory() {
    each_seed_of(1, |seed| {
        let mut world = World::new(seed, Weather::CALM);
        let ids = world.add_many(PEERS, |_| vec![0, 1, 2]);
        world.start_all(&ids);
        let mut days = Vec::new();

        for _ in 0..7 {
            let before = world.happenings();
            let heap = allocation_counter::measure(|| day(&mut world)).bytes_current;
            days.push((world.happenings() - before, heap, sizes(&world)));
            report(format_args!("day {}: {:?}", days.len(), days.last()));
        }

        let (happenings, ..) = days[1];
        for (count, heap, (records, connections, book)) in &days[1..] {
            assert!(*count < happenings * 3 / 2, "{days:?}");
            assert!(*heap < GROWTH, "{days:?}");
            assert!(*records <= 2 * PEERS && *connections <= 4 * PEERS, "{days:?}");
            assert!(*book <= 4 * PEERS, "{days:?}");
        }
        let checked = world.check();
        holds(&world, checked);
    });
}

/// Peers come and go as they like; at the end of the day all are there.
fn day(world: &mut World) {
    let until = world.now() + DAY - 2 * SOON;
    while world.now() < until {
        let host = world.rng().within(0..=PEERS as u64 - 1);
        let host = world.hosts().nth(usize::try_from(host).unwrap()).unwrap();
        match (world.power(host), world.rng().within(0..=3)) {
            (Power::Runs, 0) => world.leave(host),
            (Power::Runs, 1) => world.power_off(host),
            (Power::Runs, _) => world.kill(host),
            // Mostly off, so that a week is soon over.
            (Power::Off, 0) => world.boot(host),
            (Power::Idle, 0) => world.start(host),
            (Power::Idle | Power::Off | Power::Stopped, _) => {}
        }
        let pause = world.rng().within(1..=120);
        world.pass(Duration::from_secs(pause));
    }
    for host in world.hosts() {
        match world.power(host) {
            Power::Idle => world.start(host),
            Power::Off => world.boot(host),
            Power::Runs | Power::Stopped => {}
        }
    }
    let took = world.settle(SOON);
    holds(world, took);
    world.pass(SOON);
}

/// Records, connections and entries of the book of whoever has most.
fn sizes(world: &World) -> (usize, usize, usize) {
    let most = |size: &dyn Fn(&peer_mesh::Mesh) -> usize| {
        world.running().filter_map(|host| world.mesh(host)).map(size).max().unwrap_or_default()
    };
    let records = most(&|mesh| mesh.stats().records);
    let connections = most(&|mesh| mesh.stats().connections);
    (records, connections, most(&|mesh| mesh.saved().book.len()))
}
