//! Random lists of faults, and quiet points between them.

use std::time::Duration;

use peer_mesh::PeerState;

use super::host::{HostId, Power};
use super::oracle::Verdict;
use super::weather::Weather;
use super::world::World;
use crate::rng::Rng;

/// The first hosts are the addresses that every host is given. At a quiet point they run: without
/// them a host that lost its disk knows nobody.
const SEEDS: usize = 3;
/// After the faults end, everybody agrees within this time. An unreachable entry of the book is
/// dialled every 10 s, and there may be several.
const SETTLE: Duration = Duration::from_secs(120);
/// And nothing changes within this time.
const REST: Duration = Duration::from_secs(40);

/// One thing that happens. Hosts are numbers; a step that makes no sense where it stands does
/// nothing, so that any step can be taken out of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A host without a process starts one, with what its disk holds.
    Start(usize),
    /// The same, with an empty disk.
    StartWiped(usize),
    /// The same, with the disk as it was once.
    StartRolledBack(usize),
    /// The same, with the disk and the name of another host.
    StartCopy(usize, usize),
    /// An image of the disk is kept.
    Image(usize),
    /// The process dies.
    Kill(usize),
    /// The host loses its power.
    PowerOff(usize),
    /// The process stands still.
    Stop(usize),
    /// The process goes on.
    Resume(usize),
    /// The clock leaps forward, by seconds.
    Jump(usize, u64),
    /// It leaves for good.
    Leave(usize),
    /// The first removes the second, if it sees it silent.
    Remove(usize, usize),
    /// Hosts whose bit is set are on the other side.
    Split(u32),
    /// The first's packets to the second are dropped.
    Block(usize, usize),
    /// Nothing is blocked.
    Heal,
    /// Bad weather.
    Storm,
    /// Good weather.
    Calm,
    /// Time passes, in milliseconds.
    Pass(u64),
    /// All faults end, all settle, and everything is checked.
    Quiet,
}

/// A list of steps for some hosts, as a seed says.
pub fn generate(seed: u64) -> (usize, Vec<Step>) {
    let mut rng = Rng::new(seed ^ 0x7363_7269_7074);
    let hosts =
        usize::try_from(if rng.chance(800) { rng.within(5..=12) } else { rng.within(13..=30) });
    let hosts = hosts.unwrap();
    let mut steps = vec![Step::Pass(rng.within(0..=8_000))];
    for _ in 0..rng.within(3..=16) {
        steps.push(random_step(&mut rng, hosts));
        if rng.chance(700) {
            let wait = if rng.chance(200) { 30_000 } else { 4_000 };
            steps.push(Step::Pass(rng.within(0..=wait)));
        }
        if rng.chance(60) {
            steps.push(Step::Quiet);
        }
    }
    steps.push(Step::Quiet);
    (hosts, steps)
}

fn random_step(rng: &mut Rng, hosts: usize) -> Step {
    let last = hosts as u64 - 1;
    let mut one = || usize::try_from(rng.within(0..=last)).unwrap();
    let (a, b) = (one(), one());
    let bits = u32::try_from(rng.bits() & 0xffff_ffff).unwrap();
    match rng.within(0..=24) {
        0 | 1 => Step::Start(a),
        2 => Step::StartWiped(a),
        3 => Step::StartRolledBack(a),
        4 => Step::StartCopy(a, b),
        5 => Step::Image(a),
        6..=8 => Step::Kill(a),
        9 | 10 => Step::PowerOff(a),
        11 | 12 => Step::Stop(a),
        13 | 14 => Step::Resume(a),
        15 => Step::Jump(a, rng.within(1..=200)),
        16 => Step::Leave(a),
        17 => Step::Remove(a, b),
        18..=20 => Step::Split(bits),
        21 | 22 => Step::Block(a, b),
        23 => Step::Heal,
        _ => {
            if rng.chance(500) {
                Step::Storm
            } else {
                Step::Calm
            }
        }
    }
}

/// A world of that many hosts, started, in which the steps are then taken.
pub fn world(seed: u64, hosts: usize) -> World {
    let mut world = World::new(seed, Weather::STORM);
    let ids = world.add_many(hosts, |_| (0..SEEDS).collect());
    world.start_all(&ids);
    world
}

/// Takes the steps, one after the other.
pub fn play(world: &mut World, steps: &[Step]) -> Verdict {
    let hosts = world.hosts().count();
    let id = |number: usize| HostId(u32::try_from(number % hosts).unwrap());
    for step in steps {
        match *step {
            Step::Start(a) => revive(world, id(a), |_, _| {}),
            Step::StartWiped(a) => revive(world, id(a), World::wipe),
            Step::StartRolledBack(a) => revive(world, id(a), World::roll_back),
            Step::StartCopy(a, b) => {
                // A copy of what was never started is an empty disk under another's name.
                revive(world, id(a), |world, host| world.copy_disk(id(b), host));
            }
            Step::Image(a) => world.image(id(a)),
            Step::Kill(a) if alive(world, id(a)) => world.kill(id(a)),
            Step::PowerOff(a) if world.power(id(a)) != Power::Off => world.power_off(id(a)),
            Step::Stop(a) if world.power(id(a)) == Power::Runs => world.stop(id(a)),
            Step::Resume(a) if world.power(id(a)) == Power::Stopped => world.resume(id(a)),
            Step::Jump(a, secs) => world.jump(id(a), Duration::from_secs(secs)),
            Step::Leave(a) if world.power(id(a)) == Power::Runs => world.leave(id(a)),
            Step::Remove(a, b) => remove(world, id(a), id(b))?,
            Step::Split(bits) => world.split(|host| u8::from(bits >> (host.0 % 32) & 1 == 1)),
            Step::Block(a, b) => world.block(id(a), id(b)),
            Step::Heal => world.heal(),
            Step::Storm => world.set_weather(Weather::STORM),
            Step::Calm => world.set_weather(Weather::CALM),
            Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
            Step::Quiet => quiet(world)?,
            Step::Kill(_)
            | Step::PowerOff(_)
            | Step::Stop(_)
            | Step::Resume(_)
            | Step::Leave(_) => {}
        }
    }
    Ok(())
}

fn alive(world: &World, host: HostId) -> bool {
    matches!(world.power(host), Power::Runs | Power::Stopped)
}

/// Starts a host that does not run, after something was done to its disk.
fn revive(world: &mut World, host: HostId, prepare: impl FnOnce(&mut World, HostId)) {
    match world.power(host) {
        Power::Runs | Power::Stopped => {}
        Power::Idle => {
            prepare(world, host);
            world.start(host);
        }
        Power::Off => {
            prepare(world, host);
            world.boot(host);
        }
    }
}

/// A peer that is up cannot be removed.
fn remove(world: &mut World, host: HostId, other: HostId) -> Verdict {
    let name = world.name(other);
    let state = world.view(host, name).map(|(state, _)| state);
    let removed = world.power(host) == Power::Runs && world.remove(host, name);
    if removed && state == Some(PeerState::Up) {
        return Err(format!("#{} removed #{} which it saw up", host.0, other.0));
    }
    Ok(())
}

fn quiet(world: &mut World) -> Verdict {
    world.heal();
    for host in world.hosts().collect::<Vec<_>>() {
        if world.power(host) == Power::Stopped {
            world.resume(host);
        }
    }
    for host in world.hosts().take(SEEDS).collect::<Vec<_>>() {
        revive(world, host, |_, _| {});
    }
    world.set_weather(Weather::CALM);
    world.say("all faults are over");
    world.settle(SETTLE)?;
    // Links that are no longer needed are closed, and missing ones made, at leisure.
    world.pass(REST);
    world.check()?;
    world.check_rest(REST)?;
    world.check()
}
