//! Seeds to run a scenario with: `WEFT_SEED=7` is that one alone, `WEFT_SEEDS=500` the first 500.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know as such")]

use std::env;

/// Seeds each scenario is run with unless `WEFT_SEEDS` says otherwise.
const SEEDS: u64 = 20;

/// Runs `scenario` with each seed; the one that fails is printed.
pub fn each_seed(scenario: impl Fn(u64)) {
    each_seed_of(SEEDS, scenario);
}

/// The same with the first `usual` seeds unless `WEFT_SEEDS` says otherwise.
pub fn each_seed_of(usual: u64, scenario: impl Fn(u64)) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("WEFT_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WEFT_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        let _replay = Replay { seed };
        scenario(seed);
    }
}

/// Says how to repeat the run in which a panic dropped it.
struct Replay {
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let (seed, name) = (self.seed, thread.name().unwrap_or_default());
            let target = target();
            eprintln!("seed {seed} failed; replay it with");
            eprintln!("  WEFT_SEED={seed} cargo test -p weft-tests --test {target} -- {name}");
        }
    }
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
