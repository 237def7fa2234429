//! Paths that carry less than their routes say.

use super::*;
use crate::plan::Reason;
use crate::pmtu::Change;

const MOST: u16 = 1_450;
const FITS: u16 = 1_350;

fn mtu(octets: u16) -> Mtu {
    Mtu::new(octets).unwrap()
}

/// Two nodes with traffic, between which less fits from now on; after fifteen seconds.
fn narrowed() -> World {
    let plan = plan::Config { fast: true, ..config().plan };
    let mut world = World::of(2, Config { plan, ..config() });
    for n in 0..2 {
        world.put(n, Input::Fast(true));
        world.put(n, Input::Carries(name(1 - n as u64), Some(mtu(MOST))));
    }
    world.run(5_000);
    world.fits = FITS;
    carry(&mut world, 15);
    world
}

/// Runs for so many seconds, with traffic from the one to the other.
fn carry(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.put(0, Input::Traffic(name(1)));
        world.run(1_000);
    }
}

fn path(world: &World) -> (Way, u16, Reason) {
    let chosen = world.nodes[0].told.paths[&name(1)].chosen;
    (chosen.route.path, chosen.peer.mtu.octets(), chosen.reason)
}

fn lessons(world: &World) -> Vec<u16> {
    let lesson =
        |it: &Output| if let Output::Teach(_, mtu) = it { Some(mtu.octets()) } else { None };
    world.done[0].iter().filter_map(lesson).collect()
}

#[test]
fn the_kernel_is_told_of_a_narrow_path_and_goes_on_carrying() {
    let mut world = narrowed();
    world.put(0, Input::Carries(name(1), Some(mtu(FITS))));
    carry(&mut world, 10);

    assert_eq!(path(&world), (Way::Fast, FITS, Reason::Direct));
    assert_eq!(lessons(&world), [FITS]);
    let (before, after) = (mtu(MOST), mtu(FITS));
    let word = Word::Carries(Change { name: name(1), before, after });
    let said = world.done[0].iter().filter(|it| matches!(it, Output::Say(it) if *it == word));
    assert_eq!(said.count(), 1);
    assert_eq!(world.nodes[0].told.labels[LEAST], FITS.to_string());
}

#[test]
fn what_the_kernel_does_not_take_up_the_process_does() {
    let mut world = narrowed();
    carry(&mut world, 10);

    assert_eq!(path(&world), (Way::User, FITS, Reason::Narrow));
    assert_eq!(lessons(&world), [FITS]);

    world.fits = MOST;
    carry(&mut world, 25);
    assert_eq!(path(&world), (Way::Fast, MOST, Reason::Direct));
}
