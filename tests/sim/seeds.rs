use std::env;

/// Seeds each scenario is run with unless `WEFT_SEEDS` says otherwise.
const SEEDS: u64 = 30;

/// Runs `scenario` with each seed; the one that fails is printed.
pub(crate) fn each_seed(scenario: impl Fn(u64)) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("WEFT_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WEFT_SEEDS").unwrap_or(SEEDS),
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
            eprintln!("seed {seed} failed; replay it with");
            eprintln!("  WEFT_SEED={seed} cargo test -p weft-tests --test sim -- {name}");
        }
    }
}
