use crate::flows::{Family, Transfer, burst_udp, complete, echo_udp, ping};
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::World;

const MEGABYTE: usize = 1 << 20;

#[test]
fn tcp_between_two_nodes_survives_a_storm() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        let transfer = Transfer::start(&mut world, (a, b), Family::V4, 0, MEGABYTE);

        complete(&mut world, vec![transfer]);
    });
}

#[test]
fn tcp_over_ipv6_survives_a_storm_over_an_ipv6_underlay() {
    each_seed(|seed| {
        let mut world = World::over_v6(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        let transfer = Transfer::start(&mut world, (a, b), Family::V6, 0, MEGABYTE);

        complete(&mut world, vec![transfer]);
    });
}

#[test]
fn tcp_of_joined_packets_survives_a_storm() {
    each_seed(|seed| {
        let mut world = World::offloading(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        let there = Transfer::start(&mut world, (a, b), Family::V4, 0, MEGABYTE / 2);
        let back = Transfer::start(&mut world, (b, a), Family::V6, 1, MEGABYTE / 2);
        complete(&mut world, vec![there, back]);

        assert!(world.nodes.iter().all(|node| node.counters.joined.load() > 50));
        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
    });
}

#[test]
fn joined_packets_of_many_flows_reach_their_own_pods() {
    each_seed(|seed| {
        let mut world = World::offloading(3, Weather::STORM, seed);
        let pods: Vec<_> = (0..6).map(|n| world.add_pod(n % 3)).collect();
        let pairs = [(0, 1), (1, 2), (2, 0), (3, 1), (4, 0), (5, 4)];

        let transfers = pairs.iter().zip(0..).map(|((from, to), nth)| {
            let family = if nth % 2 == 0 { Family::V4 } else { Family::V6 };
            Transfer::start(&mut world, (pods[*from], pods[*to]), family, nth, MEGABYTE / 10)
        });
        let transfers = transfers.collect();
        complete(&mut world, transfers);

        assert!(world.nodes.iter().all(|node| node.counters.joined.load() > 0));
        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
    });
}

#[test]
fn udp_of_any_size_is_echoed_in_a_storm_through_a_tap_with_offloads() {
    each_seed(|seed| {
        let mut world = World::offloading(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        for len in [1, 17, 512, 1400] {
            echo_udp(&mut world, (a, b), Family::V4, len);
            echo_udp(&mut world, (b, a), Family::V6, len.min(1380));
        }
    });
}

#[test]
fn datagrams_that_are_sent_together_arrive_once_each_and_in_order() {
    each_seed(|seed| {
        let mut world = World::offloading(2, Weather::CALM, seed);
        let pair = (world.add_pod(0), world.add_pod(1));
        // Whoever is not known yet gets but one datagram through.
        echo_udp(&mut world, pair, Family::V4, 1);
        echo_udp(&mut world, pair, Family::V6, 1);

        for family in [Family::V4, Family::V6] {
            for len in [8, 100, 400] {
                burst_udp(&mut world, pair, family, len);
            }
        }

        assert!(world.nodes[1].counters.joined.load() > 50);
    });
}

#[test]
fn tcp_between_three_nodes_in_all_directions_survives_a_storm() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::STORM, seed);
        let pods = [0, 1, 2].map(|node| world.add_pod(node));
        let pairs = [(0, 1), (1, 2), (2, 0)];

        let transfers = [(0, Family::V4), (1, Family::V6)].iter().flat_map(|(nth, family)| {
            pairs.map(|(from, to)| (pods[from], pods[to], *family, *nth))
        });
        let transfers: Vec<_> = transfers
            .map(|(from, to, family, nth)| {
                Transfer::start(&mut world, (from, to), family, nth, MEGABYTE / 6)
            })
            .collect();

        complete(&mut world, transfers);
    });
}

#[test]
fn in_calm_weather_nothing_is_dropped_and_no_third_pod_or_node_sees_the_traffic() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::CALM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));
        let third = [0, 1, 2].map(|node| world.add_pod(node));

        let there = Transfer::start(&mut world, (a, b), Family::V4, 0, MEGABYTE / 10);
        let back = Transfer::start(&mut world, (b, a), Family::V6, 1, MEGABYTE / 10);
        complete(&mut world, vec![there, back]);

        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
        assert_eq!(third.map(|pod| world.pods[pod].strangers), [0; 3]);
        let questions = world.nodes[2].counters.to_tap.frames.load();
        assert_eq!(questions, 2, "who has b's address, in each family");
    });
}

#[test]
fn pods_of_one_node_talk_without_the_switch() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::CALM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(0));

        let transfer = Transfer::start(&mut world, (a, b), Family::V4, 0, MEGABYTE / 10);
        complete(&mut world, vec![transfer]);

        // The question who has b's address is all that had to be flooded.
        assert_eq!(world.nodes[0].counters.from_tap.frames.load(), 1);
        assert_eq!(world.nodes[1].counters.from_tap.frames.load(), 0);
    });
}

#[test]
fn udp_of_any_size_is_echoed_in_a_storm() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        for len in [1, 17, 512, 1400] {
            echo_udp(&mut world, (a, b), Family::V4, len);
            echo_udp(&mut world, (b, a), Family::V6, len.min(1380));
        }
    });
}

#[test]
fn a_ping_is_answered_at_once_in_calm_weather_and_soon_in_a_storm() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::CALM, seed);
        let pods = [0, 1, 2].map(|node| world.add_pod(node));
        assert_eq!(ping(&mut world, pods[0], pods[1]), 1);
        assert_eq!(ping(&mut world, pods[1], pods[2]), 1);

        world.weather = Weather::STORM;
        assert!(ping(&mut world, pods[2], pods[0]) < 10);
    });
}
