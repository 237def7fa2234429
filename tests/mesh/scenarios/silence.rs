//! Who is no longer there, and who is there again.

use std::time::Duration;

use peer_mesh::{Config, Event, PeerState};
use weft_tests::mesh::{HostId, World};
use weft_tests::seeds::each_seed_of;

use crate::{SECOND, SOON, TICK, calm_down, done, holds, report, settled};

/// A peer that is cut off is silent everywhere in this time.
const NOTICED: Duration = Duration::from_secs(5);
const SILENT: Option<PeerState> = Some(PeerState::Silent);
const UP: Option<PeerState> = Some(PeerState::Up);

#[test]
fn a_peer_without_power_is_silent_everywhere_in_five_seconds_and_then_gone() {
    each_seed_of(3, |seed| {
        let (mut world, ids) = settled(50, seed);
        let (name, began) = (world.name(ids[7]), world.now());

        world.power_off(ids[7]);
        let took = world.until(NOTICED, TICK, |world| world.all_see(name, SILENT));
        let silent = done(&world, took, "silent everywhere");
        world.pass(Config::HOLD - NOTICED - SECOND);
        assert!(world.all_see(name, SILENT), "gone too early");
        let took = world.until(3 * NOTICED, TICK, |world| world.all_see(name, None));
        done(&world, took, "gone everywhere");

        report(format_args!("power-off in 50: silent everywhere after {silent:?}"));
        assert_only_silent(&world, began, &[ids[7]]);
        let checked = world.check();
        holds(&world, checked);
    });
}

#[test]
fn ten_of_thirty_that_lose_power_at_once_are_silent_everywhere_in_five_seconds() {
    each_seed_of(10, |seed| {
        let (mut world, ids) = settled(30, seed);
        let names: Vec<_> = ids[10..20].iter().map(|id| world.name(*id)).collect();

        ids[10..20].iter().for_each(|id| world.power_off(*id));
        let took = world
            .until(NOTICED, TICK, |world| names.iter().all(|name| world.all_see(*name, SILENT)));

        done(&world, took, "ten silent everywhere");
        calm_down(&mut world, 10 * SECOND);
    });
}

#[test]
fn a_peer_that_leaves_is_gone_everywhere_in_a_second() {
    each_seed_of(10, |seed| {
        let (mut world, ids) = settled(30, seed);
        let (name, began) = (world.name(ids[3]), world.now());

        world.leave(ids[3]);
        let took = world.until(SECOND, TICK, |world| world.all_see(name, None));

        done(&world, took, "gone everywhere");
        world.pass(200 * SECOND);
        assert!(world.all_see(name, None), "it is back");
        assert_only_silent(&world, began, &[]);
    });
}

#[test]
fn a_process_that_stands_still_is_silent_and_then_back_under_its_name() {
    each_seed_of(10, |seed| {
        let (mut world, ids) = settled(20, seed);
        let (name, uid) = (world.name(ids[5]), world.mesh(ids[5]).unwrap().uid());

        world.stop(ids[5]);
        let took = world.until(NOTICED, TICK, |world| world.all_see(name, SILENT));
        done(&world, took, "silent everywhere");
        world.pass(15 * SECOND);
        world.resume(ids[5]);
        let back = calm_down(&mut world, 10 * SECOND);

        report(format_args!("back after standing still: {back:?}"));
        let mesh = world.mesh(ids[5]).unwrap();
        assert_eq!((mesh.name(), mesh.uid()), (name, uid));
        assert!(world.all_see(name, UP));
        assert_nobody_renamed(&world);
    });
}

#[test]
fn a_wiped_node_is_back_under_its_old_name_in_three_seconds() {
    each_seed_of(10, |seed| {
        let (mut world, ids) = settled(20, seed);
        for pause in [Duration::ZERO, SECOND, 20 * SECOND, 200 * SECOND] {
            world.kill(ids[9]);
            world.pass(pause);

            back_in_three_seconds(&mut world, ids[9]);
        }
    });
}

#[test]
fn a_node_that_lost_power_and_its_disk_is_back_under_its_old_name_in_three_seconds() {
    each_seed_of(10, |seed| {
        let (mut world, ids) = settled(20, seed);
        for pause in [SECOND, 20 * SECOND, 200 * SECOND] {
            world.power_off(ids[9]);
            world.pass(pause);

            world.wipe(ids[9]);
            world.boot(ids[9]);
            expect_back(&mut world, ids[9]);
        }
    });
}

#[test]
fn halves_meet_again_although_the_only_given_address_is_destroyed() {
    each_seed_of(5, |seed| {
        let mut world = World::new(seed, weft_tests::mesh::Weather::CALM);
        let ids = world.add_many(20, |_| vec![0]);
        world.start_all(&ids);
        calm_down(&mut world, SOON);

        world.split(|host| u8::from(host.0 >= 10));
        world.pass(7_200 * SECOND);
        let checked = world.check();
        holds(&world, checked);
        world.power_off(ids[0]);
        world.pass(10 * SECOND);
        world.heal();
        let took = calm_down(&mut world, 300 * SECOND);

        report(format_args!("halves met after {took:?}"));
    });
}

#[test]
fn restarting_all_one_after_the_other_makes_nobody_gone() {
    each_seed_of(5, |seed| {
        let (mut world, ids) = settled(12, seed);

        for id in &ids {
            world.kill(*id);
            world.pass(Duration::from_millis(500));
            world.start(*id);
            world.pass(2 * SECOND);
        }

        calm_down(&mut world, 10 * SECOND);
        let gone =
            |id: &HostId| world.heard(*id).any(|(_, event)| matches!(event, Event::Gone { .. }));
        assert!(!ids.iter().any(gone), "{}", world.journal());
    });
}

fn back_in_three_seconds(world: &mut World, id: HostId) {
    world.wipe(id);
    world.start(id);
    expect_back(world, id);
}

fn expect_back(world: &mut World, id: HostId) {
    let name = world.name(id);
    let took = world.until(3 * SECOND, TICK, |world| {
        world.name(id) == name && world.agree().is_ok() && world.all_see(name, UP)
    });
    done(world, took, "back everywhere");
    assert_nobody_renamed(world);
    calm_down(world, 10 * SECOND);
    assert_nobody_renamed(world);
}

fn assert_nobody_renamed(world: &World) {
    let renamed = |event: &Event| {
        let kinds = matches!(event, Event::Renamed { .. } | Event::NameContested { .. });
        kinds || matches!(event, Event::NameRefused { .. })
    };
    for host in world.hosts() {
        let found = world.heard(host).find(|(_, event)| renamed(event));
        assert_eq!(found, None, "{}", world.journal());
    }
}

/// Nobody but these was called silent since then. While a mesh starts, links are opened and closed so fast that somebody may
/// seem to be silent for a moment.
fn assert_only_silent(world: &World, since: Duration, hosts: &[HostId]) {
    let names: Vec<_> = hosts.iter().map(|host| world.name(*host)).collect();
    for host in world.running() {
        let wrong = world
            .heard(host)
            .filter(|(at, _)| *at >= since)
            .find(|(_, event)| matches!(event, Event::Silent { name } if !names.contains(name)));
        assert_eq!(wrong, None, "#{} said so\n{}", host.0, world.journal());
    }
}
