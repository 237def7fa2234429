//! Clusters that leased addresses separately, and have met.

use super::*;

/// Nodes 0 and 1 began in one ring, nodes 2 and 3 in the one given.
fn halves(other: u64) -> World {
    let mut world = World::new(4);
    let ring = |n: u8| Some(if n < 2 { 1 } else { other });
    for n in 0..4 {
        world.put(n.into(), Input::Ring(ring(n)));
        for far in (0..4).filter(|far| *far != n) {
            let peer = Peer { ring: ring(far), ..peer(far) };
            world.put(n.into(), Input::Peer(name(far.into()), peer));
        }
    }
    world.run(10);
    world
}

/// The pod of node 1, and later that of node 3, say that they have an address.
fn twice(world: &mut World, macs: [Mac; 2]) {
    for (n, mac) in [(1, macs[0]), (3, macs[1])] {
        world.put(n, Input::Learned(mac));
        world.put(n, Input::Address(mac, ip(1)));
        world.run(50);
    }
    world.run(3000);
}

/// How often pods of the first half were told that an address has another station.
fn moved(world: &World) -> usize {
    let all = world.done[..2].iter().flatten();
    all.filter(|output| matches!(output, Output::Moved(..))).count()
}

/// Whom a node believes to have the address.
fn answer(world: &World, n: usize) -> Mac {
    world.nodes[n].told.answers[&ip(1)].0
}

#[test]
fn in_each_half_a_station_that_both_have_is_where_it_was() {
    let mut world = halves(2);

    twice(&mut world, [mac(1), mac(1)]);

    let owner = |n: usize| world.nodes[n].stations().owner(mac(1));
    assert_eq!([0, 1, 2, 3].map(owner), [1, 1, 3, 3].map(|n| Some(name(n))));
    assert_eq!(moved(&world), 0);
    let announced: u64 = world.nodes.iter().map(|node| node.counts().announced).sum();
    assert!(announced <= 4, "{announced} announcements of two stations");
}

#[test]
fn in_each_half_an_address_that_both_have_leads_to_the_own_station() {
    let mut world = halves(2);

    twice(&mut world, [mac(1), mac(2)]);

    assert_eq!([0, 1, 2, 3].map(|n| answer(&world, n)), [1, 1, 2, 2].map(mac));
    assert_eq!(moved(&world), 0);
}

#[test]
fn within_one_ring_the_last_one_has_the_address() {
    let mut world = halves(1);

    twice(&mut world, [mac(1), mac(2)]);

    assert_eq!([0, 1, 2, 3].map(|n| answer(&world, n)), [mac(2); 4]);
}

#[test]
fn who_comes_home_believes_what_the_others_there_believe() {
    let mut world = halves(2);
    twice(&mut world, [mac(1), mac(2)]);

    world.put(2, Input::Ring(Some(1)));
    world.run(3000);

    assert_eq!(answer(&world, 2), mac(1));
}
