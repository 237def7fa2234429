//! Seeds to run a scenario with: `WEFT_SEED=7` is that one alone, `WEFT_SEEDS=500` the first 500,
//! `WEFT_FROM=400` those from there on.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know as such")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{env, thread};

/// Seeds each scenario is run with unless `WEFT_SEEDS` says otherwise.
const SEEDS: u64 = 20;

/// From so many seeds on they are shared among all processors, and progress is said.
const MANY: u64 = 10_000;

/// Runs `scenario` with each seed; the one that fails is printed.
pub fn each_seed(scenario: impl Fn(u64) + Sync) {
    each_seed_of(SEEDS, scenario);
}

/// The same with the first `usual` seeds unless `WEFT_SEEDS` says otherwise.
pub fn each_seed_of(usual: u64, scenario: impl Fn(u64) + Sync) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, last) = match number("WEFT_SEED") {
        Some(seed) => (seed, seed),
        None => (number("WEFT_FROM").unwrap_or(1), number("WEFT_SEEDS").unwrap_or(usual)),
    };
    let (next, name) = (AtomicU64::new(first), test_name());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed > last {
                return;
            }
            if seed % MANY == 0 {
                eprintln!("{name}: seed {seed} of {last}");
            }
            let _replay = Replay { seed, name: &name, next: &next };
            scenario(seed);
        }
    };
    if last.saturating_sub(first) < MANY {
        return work();
    }
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
}

/// Says how to repeat the run in which a panic dropped it, and begins no other.
struct Replay<'a> {
    seed: u64,
    name: &'a str,
    next: &'a AtomicU64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.next.store(u64::MAX / 2, Relaxed);
            let (seed, name, target) = (self.seed, self.name, target());
            eprintln!("seed {seed} failed; replay it with");
            eprintln!("  WEFT_SEED={seed} cargo test -p weft-tests --test {target} -- {name}");
        }
    }
}

/// The running test's name: libtest gives it to the thread.
fn test_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// The test target that runs: its file's name without the hash that cargo appends.
fn target() -> String {
    let file = env::current_exe().unwrap_or_default();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match stem.rsplit_once('-') {
        Some((target, _)) => target.to_owned(),
        None => stem.into_owned(),
    }
}
