//! Stations of which addresses are not known.

use super::*;

fn ip6(n: u16) -> IpAddr {
    [0xfd00, 0, 0, 0, 0, 0, 0, n].into()
}

/// Until when it is listened, in seconds.
fn until(world: &World) -> u64 {
    let node = &world.nodes[0];
    (0..1_000).find(|second| !node.has_nameless(ms(second * 1_000))).unwrap()
}

#[test]
fn it_is_listened_until_each_station_has_both_kinds_of_addresses_but_not_for_ever() {
    let mut world = World::new(1);
    world.put(0, Input::Learned(Mac(name(0).octets())));
    world.run(50);
    assert_eq!(until(&world), 0, "the bridge itself");

    world.put(0, Input::Learned(mac(1)));
    world.run(50);
    assert_eq!(until(&world), 601);
    world.put(0, Input::Heard(mac(1), ip(1)));
    world.run(50);
    assert_eq!(until(&world), 61);
    world.put(0, Input::Address(mac(1), ip6(1)));
    world.run(50);
    assert_eq!(until(&world), 0);

    world.put(0, Input::Learned(mac(2)));
    world.put(0, Input::Heard(mac(2), ip6(2)));
    world.run(50);
    assert_eq!(until(&world), 61);
    // Another station has it now.
    world.put(0, Input::Heard(mac(1), ip6(2)));
    world.run(50);
    assert_eq!(until(&world), 601);
}
