//! Stations that claim to be what they are not.

use super::*;

#[test]
fn nobody_here_is_the_bridge_of_a_peer_whatever_it_says() {
    let mut world = World::new(2);
    let bridge = Mac(name(1).octets());
    world.put(1, Input::Learned(bridge));
    world.run(1_000);
    let claims = [Input::Learned(bridge), Input::Address(bridge, ip(9)), Input::Learned(mac(1))];

    claims.into_iter().for_each(|it| world.put(0, it));
    world.run(1_000);

    for node in &world.nodes {
        assert_eq!(node.stations.owner(bridge), Some(name(1)));
        assert_eq!(node.stations.owner(mac(1)), Some(name(0)));
    }
    assert!(world.nodes[0].counts().claimed > 0);
    let said = |it: &&Output| matches!(it, Output::Say(Word::Claimed(mac)) if *mac == bridge);
    assert_eq!(world.done[0].iter().filter(said).count(), 1);
}

#[test]
fn that_somebody_claims_to_be_a_peers_bridge_is_said_once_in_ten_minutes() {
    let mut world = World::new(2);
    let bridge = Mac(name(1).octets());
    world.put(1, Input::Learned(bridge));
    world.run(1_000);

    // For nearly 21 minutes.
    for _ in 0..125 {
        world.put(0, Input::Learned(bridge));
        world.run(10_000);
    }

    assert!(world.nodes[0].counts().claimed >= 125);
    let said = |it: &&Output| matches!(it, Output::Say(Word::Claimed(_)));
    assert_eq!(world.done[0].iter().filter(said).count(), 3);
}
