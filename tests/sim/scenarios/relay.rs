//! Nodes that do not all reach each other, and those that pass frames on.

use std::net::IpAddr;

use switch::sleeve::{HOPS, Header};
use switch::{Datagram, DropReason, Label, Mac, Port, Tunnel};

use crate::flows::{Family, Transfer, complete, ping};
use crate::pod::EXPERIMENT;
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::{Via, World, label, slot};

#[test]
fn tcp_crosses_a_relay_in_a_storm() {
    each_seed(|seed| {
        for make in [World::new, World::offloading] {
            let mut world = make(3, Weather::STORM, seed);
            world.cut(0, 2);
            world.route(|from, to| if from.abs_diff(to) == 2 { Via::Node(1) } else { Via::Sleeve });
            let [a, b, c] = [0, 1, 2].map(|node| world.add_pod(node));
            let pairs = [(a, c), (c, a), (a, b), (b, c)];

            let transfers = (0..).zip(pairs).map(|(nth, pair)| {
                let family = if nth % 2 == 0 { Family::V4 } else { Family::V6 };
                Transfer::start(&mut world, pair, family, nth, 60_000)
            });
            let transfers = transfers.collect();
            complete(&mut world, transfers);

            assert!(world.nodes[1].counters.relayed.frames.load() > 80);
            assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
        }
    });
}

#[test]
fn paths_of_every_kind_carry_the_same_flows() {
    each_seed(|seed| {
        let mut world = World::new(4, Weather::STORM, seed);
        let kinds = |n: u64| match n {
            0 => Via::User,
            1 => Via::Sleeve,
            _ => Via::Node(3),
        };
        let chosen: Vec<_> = (0..9).map(|_| kinds(world.rng.within(0..=2))).collect();
        world.route(|from, to| match (from, to) {
            (3, _) | (_, 3) => Via::Sleeve,
            (from, to) => chosen[from * 3 + to],
        });
        let pods: Vec<_> = (0..4).map(|node| world.add_pod(node)).collect();

        let pairs = [(0, 1), (1, 2), (2, 0), (3, 0)];
        let start = |(nth, (from, to)): (u16, (usize, usize))| {
            Transfer::start(&mut world, (pods[from], pods[to]), Family::V4, nth, 30_000)
        };
        let transfers = (0..).zip(pairs).map(start).collect();
        complete(&mut world, transfers);
    });
}

#[test]
fn every_pair_of_a_chain_speaks_hop_by_hop() {
    each_seed(|seed| {
        let mut world = chain(Weather { loss: 0, ..Weather::STORM }, seed);
        let pods: Vec<_> = (0..4).map(|node| world.add_pod(node)).collect();

        for from in 0..4 {
            for to in (0..4).filter(|to| *to != from) {
                ping(&mut world, pods[from], pods[to]);
            }
        }
        let (first, last) = (pods[0], pods[3]);
        let transfer = Transfer::start(&mut world, (first, last), Family::V4, 0, 100_000);
        complete(&mut world, vec![transfer]);

        assert!(world.nodes.iter().all(|node| node.drops().is_empty()));
        assert!([1, 2].iter().all(|n| world.nodes[*n].counters.relayed.frames.load() > 100));
    });
}

#[test]
fn a_broadcast_reaches_every_node_of_a_chain_once_and_never_returns() {
    each_seed(|seed| {
        let mut world = chain(Weather { loss: 0, duplication: 0, ..Weather::STORM }, seed);
        let pods: Vec<_> = (0..8).map(|n| world.add_pod(n % 4)).collect();
        let frames: Vec<_> = pods
            .iter()
            .map(|pod| {
                let octets = world.rng.octets(46);
                experiment(Mac::BROADCAST, world.pods[*pod].mac, &octets)
            })
            .collect();

        for (pod, frame) in pods.iter().zip(&frames) {
            world.pods[*pod].send_raw(frame.clone());
        }
        world.pass(1000);

        for (pod, own) in pods.iter().zip(&frames) {
            let mut seen = world.pods[*pod].experiments.clone();
            let mut others: Vec<_> = frames.iter().filter(|frame| *frame != own).cloned().collect();
            seen.sort();
            others.sort();
            assert_eq!(seen, others);
        }
    });
}

#[test]
fn two_plans_that_send_a_frame_back_and_forth_lose_it_at_once() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::CALM, seed);
        world.route(|from, to| match (from, to) {
            (0, 2) => Via::Node(1),
            (1, 2) => Via::Node(0),
            _ => Via::Sleeve,
        });
        let sent = lose(&mut world, 2);

        assert_eq!(world.nodes[1].drops(), [(DropReason::RelayLoop, sent)]);
        assert_eq!(relayed(&world), [0, 0, 0]);
    });
}

#[test]
fn a_circle_of_plans_ends_at_who_sent_the_frame() {
    each_seed(|seed| {
        let mut world = World::new(4, Weather::CALM, seed);
        // 0 to 1 to 2 to 0.
        world.route(|from, to| if to == 3 { Via::Node((from + 1) % 3) } else { Via::Sleeve });
        let sent = lose(&mut world, 3);

        assert_eq!(world.nodes[0].drops(), [(DropReason::RelayLoop, sent)]);
        assert_eq!(relayed(&world), [0, sent, sent, 0]);
    });
}

#[test]
fn the_hop_limit_ends_a_circle_that_leaves_the_sender_out() {
    each_seed(|seed| {
        let mut world = World::new(5, Weather::CALM, seed);
        // 0 to 1, and from there to 2 to 3 to 1.
        let next = [1, 2, 3, 1];
        world.route(|from, to| if to == 4 { Via::Node(next[from]) } else { Via::Sleeve });
        let sent = lose(&mut world, 4);

        let drops: Vec<_> = world.nodes.iter().map(|node| node.drops()).collect();
        assert_eq!(drops[1], [(DropReason::RelayHopLimit, sent)]);
        assert!([0, 2, 3, 4].iter().all(|n| drops[*n].is_empty()));
        assert_eq!(relayed(&world), [0, sent, sent, sent, 0]);
    });
}

#[test]
fn forged_datagrams_are_each_counted_and_none_arrives() {
    each_seed(|seed| {
        let mut world = chain(Weather::CALM, seed);
        let pod = world.add_pod(1);
        let frame = experiment(world.pods[pod].mac, Mac::local(77), &[0; 46]);
        let (peer, stranger) = (world.nodes[0].addr, IpAddr::from([192, 0, 2, 1]));
        let unknown = Label::new(7).unwrap();
        let own = label(1);

        for (from, source, destination) in [
            (stranger, label(0), own),
            (stranger, label(0), label(2)),
            (peer, unknown, own),
            (peer, own, own),
            (peer, own, label(2)),
            (peer, label(0), unknown),
        ] {
            let header = Header { source, destination, hops: HOPS };
            let payload = [&header.emit()[..], &frame].concat();
            let to = world.nodes[1].addr;
            world.inject_by(Tunnel::Sleeve, Datagram { from, to, payload });
        }
        world.pass(100);

        assert_eq!(world.pods[pod].experiments, Vec::<Vec<u8>>::new());
        assert_eq!(world.nodes[1].table.lookup(Mac::local(77)), None);
        assert_eq!(
            world.nodes[1].drops(),
            [
                (DropReason::SleeveUnknownSource, 2),
                (DropReason::SleeveUnknownLabel, 2),
                (DropReason::RelayUnknownLabel, 1),
                (DropReason::RelayLoop, 1),
            ]
        );
        assert_eq!(relayed(&world), [0; 4]);
    });
}

#[test]
fn a_connection_survives_the_paths_under_it() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::STORM, seed);
        let (a, c) = (world.add_pod(0), world.add_pod(2));
        let mut transfer = Transfer::start(&mut world, (a, c), Family::V4, 0, 400_000);
        let mut paths = vec![Via::User, Via::Node(1), Via::Down, Via::Sleeve];
        let mut due = 0;

        world.run(600_000, |world| {
            if world.now() >= due
                && let Some(path) = paths.pop()
            {
                due = world.now() + 500;
                let far = |from: usize, to: usize| from.abs_diff(to) == 2;
                world.route(|from, to| if far(from, to) { path } else { Via::Sleeve });
            }
            transfer.pump(world) && paths.is_empty()
        });
    });
}

/// Four nodes of which only neighbours reach each other; the others go by the next on the way.
fn chain(weather: Weather, seed: u64) -> World {
    let mut world = World::new(4, weather, seed);
    for (one, other) in [(0, 2), (0, 3), (1, 3)] {
        world.cut(one, other);
    }
    world.route(|from, to| match (from, to) {
        (from, to) if from.abs_diff(to) == 1 => Via::Sleeve,
        (from, to) if from < to => Via::Node(from + 1),
        (from, _) => Via::Node(from - 1),
    });
    world
}

/// The first node's pod sends frames to a station of the node `to`, none of which can arrive.
/// Returns how many.
fn lose(world: &mut World, to: usize) -> u64 {
    const FRAMES: u64 = 20;
    let (from, far) = (world.add_pod(0), world.add_pod(to));
    let (src, dst) = (world.pods[from].mac, world.pods[far].mac);
    let now = switch::Tick::from_millis(world.now());
    world.nodes[0].table.learn(dst, Port::Peer(slot(0, to)), now);

    for n in 0..FRAMES {
        world.pods[from].send_raw(experiment(dst, src, &[u8::try_from(n).unwrap(); 46]));
    }
    world.pass(1000);

    assert!(world.pods[far].experiments.is_empty());
    assert_eq!(world.on_the_way(), 0, "all have come to an end");
    FRAMES
}

fn relayed(world: &World) -> Vec<u64> {
    world.nodes.iter().map(|node| node.counters.relayed.frames.load()).collect()
}

fn experiment(dst: Mac, src: Mac, octets: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &EXPERIMENT, octets].concat()
}
