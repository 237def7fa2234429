use switch::Mac;

use crate::flows::{Family, Transfer, complete};
use crate::pod::EXPERIMENT;
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::World;

#[test]
fn traffic_follows_a_pod_that_moved_within_one_frame_of_its_first() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::CALM, seed);
        let (peer, pod) = (world.add_pod(0), world.add_pod(1));
        let (peer_mac, pod_mac) = (world.pods[peer].mac, world.pods[pod].mac);
        let say = |world: &mut World, from: usize, dst: Mac, src: Mac| {
            world.pods[from].send_raw([&dst.0[..], &src.0, &EXPERIMENT, &[0; 46]].concat());
            world.pass(100);
        };
        say(&mut world, peer, pod_mac, peer_mac);
        say(&mut world, pod, peer_mac, pod_mac);

        world.move_pod(pod, 2);
        say(&mut world, pod, peer_mac, pod_mac);
        let received = world.nodes[1].counters.to_tap.frames.load();
        say(&mut world, peer, pod_mac, peer_mac);

        assert_eq!(world.pods[peer].experiments.len(), 2);
        assert_eq!(world.pods[pod].experiments.len(), 2);
        assert_eq!(world.nodes[1].counters.to_tap.frames.load(), received, "the old node");
    });
}

#[test]
fn tcp_goes_on_when_its_pods_move_in_a_storm() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::STORM, seed);
        let (from, to) = (world.add_pod(0), world.add_pod(1));
        let mut transfer = Transfer::start(&mut world, (from, to), Family::V4, 0, 1 << 19);
        let mut moves = vec![(1 << 18, to, 2), (1 << 17, from, 1), (1 << 16, to, 0)];

        world.run(600_000, |world| {
            if let Some((_, pod, node)) = moves.pop_if(|(after, _, _)| transfer.received() > *after)
            {
                world.move_pod(pod, node);
            }
            transfer.pump(world)
        });

        assert!(moves.is_empty());
    });
}

#[test]
fn a_pod_that_moves_to_its_peers_node_and_away_again_is_reached() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::CALM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));

        for (nth, node) in [(0, 1), (1, 0), (2, 1)] {
            world.move_pod(b, node);
            let transfer = Transfer::start(&mut world, (b, a), Family::V4, nth, 50_000);
            complete(&mut world, vec![transfer]);
        }
    });
}
