//! Playing a list of faults, and making a failing one short.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::script::{self, Step};

/// Time a failing list is made shorter for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A list of steps that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong.
    pub why: String,
    /// The last that happened.
    pub journal: String,
}

/// Plays a list of steps in a world of its own. A panic of a core is a failure like any other.
pub fn run(seed: u64, hosts: usize, steps: &[Step]) -> Result<u64, Failure> {
    let mut world = script::world(seed, hosts);
    let played = catch_unwind(AssertUnwindSafe(|| script::play(&mut world, steps)));
    let why = match played {
        Ok(Ok(())) => return Ok(world.journal().hash()),
        Ok(Err(why)) => why,
        Err(panic) => format!("panic: {}", message(&*panic)),
    };
    Err(Failure { why, journal: world.journal().to_string() })
}

/// Plays the list of a seed; one that fails is made as short as time allows, and printed.
pub fn run_seed(seed: u64) {
    let (hosts, steps) = script::generate(seed);
    let Err(first) = run(seed, hosts, &steps) else { return };
    let (steps, failure) = shrink(seed, hosts, steps, first.clone());
    panic!(
        "seed {seed}: {}\n{}\nfails already with {} of {hosts} hosts' steps, by: {}\n    ({seed}, {hosts}, &{steps:?}),\n",
        first.why,
        failure.journal,
        steps.len(),
        failure.why,
    );
}

/// Leaves out parts of the list, large ones first, as long as what is left fails.
fn shrink(seed: u64, hosts: usize, steps: Vec<Step>, failure: Failure) -> (Vec<Step>, Failure) {
    #[expect(clippy::disallowed_methods, reason = "bounds real time, decides nothing simulated")]
    let began = Instant::now();
    let (mut steps, mut failure) = (steps, failure);
    let mut part = steps.len().div_ceil(2);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() {
            if began.elapsed() > PATIENCE {
                return (steps, failure);
            }
            let end = (at + part).min(steps.len());
            let rest = [&steps[..at], &steps[end..]].concat();
            match run(seed, hosts, &rest) {
                Ok(_) => at = end,
                Err(why) => (steps, failure, shorter) = (rest, why, true),
            }
        }
        if part == 1 && !shorter {
            return (steps, failure);
        }
        part = (part / 2).max(1);
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
