use switch::Mac;

use crate::pod::EXPERIMENT;
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::World;

fn experiment(dst: Mac, src: Mac, octets: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &EXPERIMENT, octets].concat()
}

#[test]
fn a_broadcast_reaches_every_other_pod_once_and_never_returns() {
    each_seed(|seed| {
        let weather = Weather { loss: 0, duplication: 0, ..Weather::STORM };
        let mut world = World::new(4, weather, seed);
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
fn a_network_that_repeats_broadcasts_makes_no_storm_of_them() {
    each_seed(|seed| {
        let weather = Weather { duplication: 1000, ..Weather::CALM };
        let mut world = World::new(3, weather, seed);
        let pods = [0, 1, 2].map(|node| world.add_pod(node));

        let frame = experiment(Mac::BROADCAST, world.pods[pods[0]].mac, &[0; 46]);
        world.pods[pods[0]].send_raw(frame);
        world.pass(10_000);

        assert_eq!(pods.map(|pod| world.pods[pod].experiments.len()), [0, 2, 2]);
    });
}

#[test]
fn a_unicast_frame_is_flooded_until_its_station_speaks_and_then_seen_by_nobody_else() {
    each_seed(|seed| {
        let mut world = World::new(3, Weather::CALM, seed);
        let [a, b, third] = [0, 1, 2].map(|node| world.add_pod(node));
        let (mac_a, mac_b) = (world.pods[a].mac, world.pods[b].mac);
        let strangers = |world: &mut World, dst, src, from: usize| {
            world.pods[from].send_raw(experiment(dst, src, &[0; 46]));
            world.pass(100);
            world.pods[third].strangers
        };

        assert_eq!(strangers(&mut world, mac_b, mac_a, a), 1);
        assert_eq!(strangers(&mut world, mac_a, mac_b, b), 1);
        assert_eq!(strangers(&mut world, mac_b, mac_a, a), 1);

        assert_eq!(world.pods[b].experiments.len(), 2);
        assert_eq!(world.pods[a].experiments.len(), 1);
    });
}
