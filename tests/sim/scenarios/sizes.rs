use crate::flows::{Family, Transfer, complete, echo_udp};
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::World;

/// What the pods believe in is an underlay of 1500.
const NARROW: u32 = 1400;

/// Delayed and overtaken, but not lost: a lost fragment takes its packet with it for a minute.
const BREEZE: Weather = Weather { loss: 0, duplication: 0, ..Weather::STORM };

#[test]
fn tcp_with_df_finds_out_the_path_mtu_by_icmp() {
    for (family, told) in [(Family::V4, 1350), (Family::V6, 1350)] {
        each_seed(|seed| {
            let mut world = World::new(2, Weather::STORM, seed);
            world.set_underlay_mtu(NARROW);
            let (a, b) = (world.add_pod(0), world.add_pod(1));

            let transfer = Transfer::start(&mut world, (a, b), family, 0, 200_000);
            complete(&mut world, vec![transfer]);

            assert_eq!(world.pods[a].told.first(), Some(&told));
            assert!(world.nodes[0].counters.icmp_sent.load() > 0);
        });
    }
}

#[test]
fn a_path_that_narrows_under_a_connection_does_not_end_it() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));
        let mut transfer = Transfer::start(&mut world, (a, b), Family::V4, 0, 400_000);

        world.run(600_000, |world| {
            transfer.pump(world);
            transfer.received() > 100_000
        });
        world.set_underlay_mtu(NARROW);
        complete(&mut world, vec![transfer]);

        assert_eq!(world.pods[a].told.last(), Some(&1350));
    });
}

#[test]
fn tcp_without_df_is_carried_in_fragments() {
    each_seed(|seed| {
        let mut world = World::new(2, BREEZE, seed);
        world.set_underlay_mtu(NARROW);
        let (a, b) = (world.add_pod(0), world.add_pod(1));
        world.pods[a].never_set_df();

        let transfer = Transfer::start(&mut world, (a, b), Family::V4, 0, 100_000);
        complete(&mut world, vec![transfer]);

        assert!(world.nodes[0].counters.fragmented.load() > 50);
        assert!(world.pods[a].told.is_empty());
        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
    });
}

#[test]
fn fragments_of_a_host_are_fragmented_again_and_reassembled() {
    each_seed(|seed| {
        let mut world = World::new(2, BREEZE, seed);
        world.set_underlay_mtu(1000);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        echo_udp(&mut world, (a, b), Family::V4, 6000);

        assert!(world.nodes.iter().all(|node| node.counters.fragmented.load() >= 4));
        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
    });
}
