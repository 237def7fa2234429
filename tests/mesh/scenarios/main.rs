//! The mesh, simulated: see [`weft_tests::mesh`].
//!
//! A failure prints how to replay its seed. `WEFT_SEED=7` runs that seed alone, `WEFT_SEEDS=500`
//! runs the first 500.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod churn;
mod future;
mod growth;
mod hostile;
mod names;
mod network;
mod random;
mod reach;
mod silence;

use std::io::Write;
use std::time::Duration;

use weft_tests::mesh::{HostId, Weather, World};

const SECOND: Duration = Duration::from_secs(1);
/// A mesh that nothing ails agrees within this time.
const SOON: Duration = Duration::from_secs(30);
/// Links are tidied up in this time: who was refused as surplus tries again after 30 s.
const TIDY: Duration = Duration::from_secs(40);
/// How often a scenario that measures time looks.
const TICK: Duration = Duration::from_millis(10);

/// A mesh of that many peers in good weather that agree; everybody knows the first three.
fn settled(peers: usize, seed: u64) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, Weather::CALM);
    let ids = world.add_many(peers, |_| (0..peers.min(3)).collect());
    world.start_all(&ids);
    calm_down(&mut world, SOON);
    (world, ids)
}

/// All agree within `limit`, and once links are tidied up everything is as it must be.
fn calm_down(world: &mut World, limit: Duration) -> Duration {
    let took = world.settle(limit);
    let took = holds(world, took);
    world.pass(TIDY);
    let checked = world.check();
    holds(world, checked);
    took
}

/// Fails with the journal if something is wrong.
fn holds<T>(world: &World, verdict: Result<T, String>) -> T {
    verdict.unwrap_or_else(|why| panic!("{why}\n{}", world.journal()))
}

/// The time it took, or a failure with the journal.
fn done(world: &World, took: Option<Duration>, what: &str) -> Duration {
    took.unwrap_or_else(|| panic!("not in time: {what}\n{}", world.journal()))
}

/// A line for people, past the capture of the test harness.
fn report(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "    {line}");
}
