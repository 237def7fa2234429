//! Networks in which not everybody reaches everybody.

use weft_tests::mesh::{HostId, Weather, World};
use weft_tests::seeds::each_seed_of;

use crate::{SECOND, calm_down};

#[test]
fn peers_behind_nat_with_equal_addresses_are_up_everywhere() {
    each_seed_of(20, |seed| {
        let mut world = World::new(seed, Weather::CALM);
        let ids = world.add_many(6, |_| vec![0, 1]);
        let hidden: Vec<_> = (0..6).map(|n| world.add_behind_nat(n % 3)).collect();
        hidden.iter().for_each(|id| world.target(*id, ids[1]));

        world.start_all(&ids);
        world.start_all(&hidden);

        settles(&mut world);
    });
}

#[test]
fn pairs_that_packets_pass_only_one_way_are_up_at_each_other_through_others() {
    each_seed_of(20, |seed| {
        let mut world = World::new(seed, Weather::CALM);
        // Who reaches none of the addresses it is given finds nobody.
        let ids = world.add_many(15, |_| (0..15).collect());
        for _ in 0..40 {
            let (a, b) = (any(&mut world, &ids), any(&mut world, &ids));
            world.block(a, b);
        }

        world.start_all(&ids);

        settles(&mut world);
    });
}

#[test]
fn a_path_that_becomes_one_way_costs_a_link_and_no_peer() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = crate::settled(8, seed);

        for _ in 0..6 {
            let (a, b) = (any(&mut world, &ids), any(&mut world, &ids));
            world.block(a, b);
            world.pass(3 * SECOND);
        }

        settles(&mut world);
    });
}

#[test]
fn a_chain_of_networks_is_one_mesh() {
    each_seed_of(10, |seed| {
        let mut world = World::new(seed, Weather::CALM);
        let ids = world.add_many(9, |number| vec![number.saturating_sub(1)]);
        for a in &ids {
            for b in ids.iter().filter(|b| b.0 / 3 > a.0 / 3 + 1 || a.0 / 3 > b.0 / 3 + 1) {
                world.block(*a, *b);
            }
        }

        world.start_all(&ids);

        settles(&mut world);
    });
}

fn any(world: &mut World, ids: &[HostId]) -> HostId {
    let last = ids.len() as u64 - 1;
    ids[usize::try_from(world.rng().within(0..=last)).unwrap()]
}

/// All that can reach one another agree, and stay so.
fn settles(world: &mut World) {
    calm_down(world, 60 * SECOND);
}
