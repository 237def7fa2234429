//! Addresses of stations.

use super::*;

#[test]
fn an_address_that_gets_another_station_is_said_to_the_pods_of_every_node() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.put(0, Input::Address(mac(1), ip(5)));
    world.run(1_000);
    let answer = |it: &Output| matches!(it, Output::Answer(addr, Some(at)) if (*addr, *at) == (ip(5), mac(1)));
    assert!(world.done.iter().all(|done| done.iter().any(answer)));

    world.put(1, Input::Learned(mac(2)));
    world.put(1, Input::Address(mac(2), ip(5)));
    world.run(50);

    let moved =
        |it: &Output| matches!(it, Output::Moved(addr, at) if (*addr, *at) == (ip(5), mac(2)));
    assert!(world.done.iter().all(|done| done.iter().filter(|it| moved(it)).count() == 1));
}

#[test]
fn an_address_that_was_nobodys_for_a_while_and_gets_another_station_is_said_to_the_pods() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.put(0, Input::Address(mac(1), ip(5)));
    world.run(1_000);
    world.put(0, Input::Unlearned(mac(1)));
    world.run(5_000);

    world.put(1, Input::Learned(mac(2)));
    world.put(1, Input::Heard(mac(2), ip(5)));
    world.run(50);

    let moved =
        |it: &Output| matches!(it, Output::Moved(addr, at) if (*addr, *at) == (ip(5), mac(2)));
    assert!(world.done.iter().all(|done| done.iter().filter(|it| moved(it)).count() == 1));
}

/// The one that has it answers the question only, past all ears, as kernels do that know who asks.
#[test]
fn an_address_that_was_asked_for_when_nobody_was_known_to_have_it_is_said_to_the_pods_here() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.put(1, Input::Learned(mac(2)));
    world.run(1_000);
    // All bridges hear it; the one that asks is on the first.
    (0..3).for_each(|node| world.put(node, Input::Asked(mac(1), ip(5))));
    world.run(1_000_000);

    world.put(1, Input::Heard(mac(2), ip(5)));
    world.run(1_000);

    let moved =
        |it: &Output| matches!(it, Output::Moved(addr, at) if (*addr, *at) == (ip(5), mac(2)));
    let said: Vec<_> =
        world.done.iter().map(|done| done.iter().filter(|it| moved(it)).count()).collect();
    assert_eq!(said, [1, 0, 0]);
    assert_eq!(world.nodes[0].counts().addresses_moved, 0);
}

#[test]
fn an_address_that_is_known_when_it_is_asked_for_is_not_said_again() {
    let mut world = World::new(2);
    world.put(0, Input::Learned(mac(1)));
    world.put(1, Input::Learned(mac(2)));
    world.put(1, Input::Address(mac(2), ip(5)));
    world.run(1_000);

    world.put(0, Input::Asked(mac(1), ip(5)));
    world.put(1, Input::Heard(mac(2), ip(5)));
    world.run(1_000);

    assert!(!world.done.iter().flatten().any(|it| matches!(it, Output::Moved(..))));
}

#[test]
fn an_address_that_comes_back_with_the_station_it_had_is_not_said_to_the_pods() {
    let mut world = World::new(2);
    for _ in 0..2 {
        world.put(0, Input::Learned(mac(1)));
        world.put(0, Input::Address(mac(1), ip(5)));
        world.run(1_000);
        world.put(0, Input::Unlearned(mac(1)));
        world.run(1_000);
    }

    assert!(!world.done.iter().flatten().any(|it| matches!(it, Output::Moved(..))));
}

#[test]
fn what_the_bridge_hears_is_believed_of_stations_here_and_of_no_others() {
    let mut world = World::new(2);
    world.put(0, Input::Learned(mac(1)));
    world.put(1, Input::Learned(mac(2)));
    world.run(1_000);

    [0, 1].into_iter().for_each(|n| world.put(n, Input::Heard(mac(1), ip(1))));
    world.run(50);

    assert_eq!(world.nodes[1].stations.owner(mac(1)), Some(name(0)));
    let said = world.nodes[1].stations.get(name(0), mac(1)).unwrap();
    assert_eq!(said.addresses, [ip(1)].into());
    assert_eq!(world.nodes[1].counts().moved_here, 0);
}

#[test]
fn a_station_that_moves_comes_with_its_addresses_but_for_those_that_another_has_by_now() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    [1, 2].into_iter().for_each(|n| world.put(0, Input::Address(mac(1), ip(n))));
    world.run(1_000);
    world.put(2, Input::Learned(mac(2)));
    world.put(2, Input::Address(mac(2), ip(2)));
    world.run(1_000);

    world.put(1, Input::Sighting(mac(1)));
    world.run(50);

    let said = world.nodes[2].stations.get(name(1), mac(1)).unwrap();
    assert_eq!(said.addresses, [ip(1)].into());
    assert_eq!(world.nodes[2].told.answers[&ip(1)].0, mac(1));
}

#[test]
fn an_address_that_goes_back_to_who_had_it_before_is_followed_back_and_forth() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.put(1, Input::Learned(mac(2)));

    for round in 0..6 {
        let (node, mac) = (round % 2, mac(round as u64 % 2 + 1));
        world.put(node, Input::Address(mac, ip(5)));
        world.run(1_000);

        let answers = world.nodes.iter().map(|node| node.told.answers[&ip(5)].0);
        assert_eq!(answers.collect::<BTreeSet<_>>(), BTreeSet::from([mac]), "round {round}");
    }
    world.agree();
}
