//! Stations of which no address is known.

use super::*;

#[test]
fn a_station_has_no_known_address_until_it_is_heard_and_is_listened_for_ten_minutes() {
    let mut world = World::new(1);
    let is = |world: &World| world.nodes[0].has_nameless(world.now);
    world.put(0, Input::Learned(Mac(name(0).octets())));
    world.run(50);
    assert!(!is(&world));

    world.put(0, Input::Learned(mac(1)));
    world.put(0, Input::Learned(mac(2)));
    world.put(0, Input::Heard(mac(1), ip(1)));
    world.run(50);
    assert!(is(&world));

    let node = &world.nodes[0];
    assert!(node.has_nameless(ms(599_000)) && !node.has_nameless(ms(601_000)));
    world.put(0, Input::Address(mac(2), ip(2)));
    world.run(50);
    assert!(!is(&world));

    // Another station has it now.
    world.put(0, Input::Heard(mac(1), ip(2)));
    world.run(50);
    assert!(is(&world));
}
