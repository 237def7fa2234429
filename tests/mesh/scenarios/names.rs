//! Two that claim one name.

use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::wire::close_message;
use peer_mesh::{CloseReason, Config, Event, PeerName, PeerState, PeerUid};
use weft_tests::mesh::member::Member;
use weft_tests::mesh::{HostId, Power, World};
use weft_tests::seeds::each_seed_of;

use crate::{SECOND, SOON, calm_down, holds, settled};

#[test]
fn of_two_with_one_disk_the_later_is_renamed_and_both_run_and_say_so() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let (old, name) = (ids[3], world.name(ids[3]));
        let links = link_losses(&world, old);
        let copy = copy_of(&mut world, old);

        world.start(copy);
        calm_down(&mut world, SOON);

        assert_eq!(world.name(old), name);
        assert_ne!(world.name(copy), name);
        assert_eq!(link_losses(&world, old), links, "{}", world.journal());
        let uid = |host: HostId| world.mesh(host).unwrap().uid();
        let renamed = Event::Renamed { from: name, to: world.name(copy), uid: uid(old) };
        assert!(heard(&world, copy, |event| *event == renamed), "{}", world.journal());
        let contested =
            |event: &Event| matches!(event, Event::NameContested { name: n, .. } if *n == name);
        assert!(heard(&world, old, contested), "{}", world.journal());
    });
}

#[test]
fn of_two_with_one_disk_the_one_that_holds_leases_keeps_the_name() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let (old, name) = (ids[3], world.name(ids[3]));
        let copy = copy_of(&mut world, old);
        world.config(copy).leases = true;

        world.start(copy);
        calm_down(&mut world, SOON);

        assert_eq!(world.name(copy), name, "{}", world.journal());
        assert_ne!(world.name(old), name);
    });
}

#[test]
fn two_with_one_disk_that_start_at_once_both_run() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let copy = copy_of(&mut world, ids[3]);
        world.kill(ids[3]);
        world.pass(SECOND);

        world.start(ids[3]);
        world.start(copy);
        calm_down(&mut world, SOON);

        assert_ne!(world.name(ids[3]), world.name(copy));
    });
}

#[test]
fn two_with_one_disk_on_both_sides_of_a_partition_are_told_apart_when_it_heals() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(8, seed);
        let copy = copy_of(&mut world, ids[3]);
        world.split(|host| u8::from(host.0 >= 4));
        world.pass(10 * SECOND);
        world.target(copy, ids[5]);
        world.start(copy);
        world.pass(20 * SECOND);

        world.heal();
        calm_down(&mut world, 60 * SECOND);

        assert_ne!(world.name(ids[3]), world.name(copy));
    });
}

#[test]
fn the_second_with_a_given_name_is_refused_and_the_first_is_undisturbed() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let (old, name) = (ids[3], world.name(ids[3]));
        world.config(old).explicit = true;
        world.kill(old);
        world.start(old);
        world.pass(SOON);
        let links = link_losses(&world, old);
        let second = copy_of(&mut world, old);

        world.start(second);
        world.pass(10 * SECOND);

        let uid = world.mesh(old).unwrap().uid();
        assert!(heard(&world, second, |event| *event == Event::NameRefused { name, uid }));
        assert_eq!(world.power(second), Power::Idle, "it runs on");
        assert_eq!(link_losses(&world, old), links, "{}", world.journal());
        assert_ne!(
            world.view(ids[0], name).map(|(_, since)| since > world.now() - 10 * SECOND),
            None
        );
        let checked = world.check();
        holds(&world, checked);
    });
}

#[test]
fn the_second_with_a_given_name_is_refused_although_its_clock_says_1970() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let (old, name) = (ids[3], world.name(ids[3]));
        world.config(old).explicit = true;
        world.kill(old);
        world.start(old);
        world.pass(SOON);
        let links = link_losses(&world, old);
        let second = copy_of(&mut world, old);
        world.set_wall_clock(second, 0);

        world.start(second);
        world.pass(20 * SECOND);

        let uid = world.mesh(old).unwrap().uid();
        assert!(heard(&world, second, |event| *event == Event::NameRefused { name, uid }));
        assert!(!heard(&world, old, |event| matches!(event, Event::NameRefused { .. })));
        assert_eq!(link_losses(&world, old), links, "{}", world.journal());
        assert_eq!(world.power(second), Power::Idle, "it runs on");
        let checked = world.check();
        holds(&world, checked);
    });
}

#[test]
fn of_two_with_one_disk_the_later_is_renamed_although_its_clock_says_1970() {
    each_seed_of(20, |seed| {
        let (mut world, ids) = settled(6, seed);
        let (old, name) = (ids[3], world.name(ids[3]));
        let links = link_losses(&world, old);
        let copy = copy_of(&mut world, old);
        world.set_wall_clock(copy, 0);

        world.start(copy);
        calm_down(&mut world, SOON);

        assert_eq!(world.name(old), name, "{}", world.journal());
        assert_ne!(world.name(copy), name);
        assert_eq!(link_losses(&world, old), links, "{}", world.journal());
    });
}

#[test]
fn a_member_that_says_somebody_else_has_the_name_stops_nobody_who_is_settled() {
    each_seed_of(5, |seed| {
        let (mut world, ids) = settled(6, seed);
        ids.iter().for_each(|id| world.config(*id).explicit = true);
        for id in &ids {
            world.kill(*id);
            world.start(*id);
        }
        world.pass(SOON);
        let names: Vec<_> = ids.iter().map(|id| world.name(*id)).collect();
        let uid = PeerUid::new(seed + 1).unwrap();
        let lies = names.iter().map(|name| CloseReason::DuplicateName { name: *name, uid });
        let host = world.add();
        let targets = ids.iter().map(|id| addr(*id)).collect();
        let (member, desk) = Member::new(world.name(host), targets, seed);
        world.start_process(host, Box::new(member));
        world.pass(5 * SECOND);

        for lie in lies {
            desk.borrow_mut().say.push(close_message(&lie));
            world.pass(5 * SECOND);
        }

        for (id, name) in ids.iter().zip(names) {
            assert_eq!((world.power(*id), world.name(*id)), (Power::Runs, name));
            let contested = Event::NameContested { name, uid };
            assert!(heard(&world, *id, |event| *event == contested), "{}", world.journal());
        }
        world.kill(host);
        calm_down(&mut world, SOON);
    });
}

#[test]
fn a_wiped_node_that_restarts_again_and_again_keeps_its_name() {
    each_seed_of(20, |seed| {
        for (explicit, power) in [(true, false), (false, false), (true, true), (false, true)] {
            let (mut world, ids) = settled(8, seed);
            let (host, name) = (ids[5], world.name(ids[5]));
            world.config(host).explicit = explicit;

            for _ in 0..4 {
                restart_wiped(&mut world, host, power);
                let pause = world.rng().within(50..=3_000);
                world.pass(Duration::from_millis(pause));
                assert_eq!(world.power(host), Power::Runs, "{}", world.journal());
            }
            calm_down(&mut world, SOON);

            assert_eq!(world.name(host), name, "{}", world.journal());
            assert!(world.all_see(name, Some(PeerState::Up)));
            let contested = |event: &Event| matches!(event, Event::NameContested { .. });
            assert!(!heard(&world, host, contested), "{}", world.journal());
        }
    });
}

/// The process dies, or the host loses its power; it starts again at once with an empty disk.
fn restart_wiped(world: &mut World, host: HostId, power: bool) {
    if power {
        world.power_off(host);
        world.wipe(host);
        world.boot(host);
    } else {
        world.kill(host);
        world.wipe(host);
        world.start(host);
    }
}

/// The address of a host outside of all private networks.
fn addr(id: HostId) -> SocketAddr {
    let [_, a, b, c] = (id.0 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], Config::PORT))
}

/// A new host with the disk and the name of another, as it is now.
fn copy_of(world: &mut World, host: HostId) -> HostId {
    let copy = world.add();
    world.copy_disk(host, copy);
    copy
}

fn heard(world: &World, host: HostId, what: impl Fn(&Event) -> bool) -> bool {
    world.heard(host).any(|(_, event)| what(event))
}

/// Links that a host lost for other reasons than that it has too many.
fn link_losses(world: &World, host: HostId) -> Vec<(Duration, PeerName)> {
    let lost = world.heard(host).filter_map(|(at, event)| {
        let Event::LinkDown { name, reason } = event else { return None };
        let planned = matches!(reason, CloseReason::Surplus | CloseReason::Doubled);
        (!planned).then_some((*at, *name))
    });
    lost.collect()
}
