//! The paths side by side: weft's user path and its fast path, the kernel's vxlan with a bridge and as
//! Flannel sets it up, and Open vSwitch's userspace datapath, each between two pods on two nodes of the lab.
//!
//! ```text
//! cargo build --release --workspace --bins      # weft-switch and weftd are taken from target/release
//! cargo bench -p weft-benches --bench paths -- --runs 5 --seconds 5
//! cargo bench -p weft-benches --bench paths -- --scenario tcp1,pp --paths weft,kernel --runs 1
//! ```
//! Absolute numbers say little on a shared machine; ratios inside one run say more. So each round
//! takes every scenario on every path in turn, and the tables have medians over the rounds. All
//! paths have the same underlay, a veth pair with its offloads on. Pods of Open vSwitch have theirs
//! off, as its userspace datapath takes no unfinished packet, and its tunnels no outer checksum, as
//! is its default. A path is built once, before the first round.
#![expect(clippy::print_stdout, reason = "tables for people")]

#[path = "paths/blast.rs"]
mod blast;
#[path = "paths/bounds.rs"]
mod bounds;
#[path = "paths/figure.rs"]
mod figure;
#[path = "paths/flannel.rs"]
mod flannel;
#[path = "paths/machine.rs"]
mod machine;
#[path = "paths/measure.rs"]
mod measure;
#[path = "paths/overlay.rs"]
mod overlay;
#[path = "paths/plot.rs"]
mod plot;
#[path = "paths/report.rs"]
mod report;
#[path = "paths/scenario.rs"]
mod scenario;
#[path = "paths/switch.rs"]
mod switch;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use weft_tests::harness::{require_root, serial};

use crate::machine::Machine;
use crate::overlay::{Kind, Overlay};
use crate::report::{Report, Trial};
use crate::scenario::Scenario;

/// Measures weft's paths beside kernel vxlan, Flannel's and Open vSwitch. Needs root.
#[derive(Debug, Parser)]
#[command(name = "paths")]
struct Args {
    /// Rounds; the tables have medians over them
    #[arg(long, env = "WEFT_BENCH_RUNS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,

    /// Seconds of each measurement
    #[arg(long, env = "WEFT_BENCH_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// What to measure
    #[arg(long = "scenario", visible_alias = "scenarios", value_delimiter = ',', default_values_t = Scenario::ALL)]
    scenarios: Vec<Scenario>,

    /// Which paths; a scenario has some of them
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    paths: Vec<Kind>,

    /// Options for weft-switch on all of its paths, such as `--queues 2`
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    weft: String,

    /// What `cargo bench` says to every benchmark, and `cargo test --all-targets` does not
    #[arg(long)]
    bench: bool,

    #[command(subcommand)]
    inside: Option<Inside>,
}

/// What this program does when it is started inside a pod.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Inside {
    /// Sends datagrams as fast as it goes
    #[command(hide = true)]
    Blast(blast::Blast),
    /// Counts datagrams
    #[command(hide = true)]
    Count(blast::Count),
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.inside {
        Some(Inside::Blast(blast)) => blast.run(),
        Some(Inside::Count(count)) => count.run(),
        None if args.bench => compare(&args),
        None => {
            println!("nothing measured: run `cargo bench`, or give --bench");
            Ok(())
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    require_root()?;
    measure::require_tools(&args.paths)?;
    let turns = turns(args);
    ensure!(!turns.is_empty(), "none of the scenarios has any of the paths");
    let _turn = serial()?;
    let mut overlays = build(&turns, &args.weft)?;
    let mut report = Report::new(filters(&overlays)?, args.runs, args.seconds)?;
    let mut failures = 0;
    for round in 1..=args.runs {
        let others = Machine::busy_now()?;
        println!(
            "round {round} of {}: the machine is {others:.2} cores busy without us",
            args.runs
        );
        report.add_background(others);
        for (scenario, kind) in &turns {
            let overlay =
                overlays.get_mut(&(*kind, scenario.mtu())).context("a path is missing")?;
            match take(*scenario, overlay, args.seconds) {
                Ok(trial) => {
                    println!("  {scenario:<14}{:<20}{trial}", kind.title());
                    report.add(*scenario, *kind, trial);
                }
                Err(error) => {
                    println!("  {scenario:<14}{:<20}FAILED: {error:#}", kind.title());
                    failures += 1;
                }
            }
        }
    }
    println!("\n{report}");
    for path in report.write()? {
        println!("{}", path.display());
    }
    if failures > 0 {
        bail!("{failures} measurements failed")
    }
    Ok(())
}

/// Scenarios and paths in the order of a round.
fn turns(args: &Args) -> Vec<(Scenario, Kind)> {
    let mut turns = Vec::new();
    for scenario in Scenario::ALL.into_iter().filter(|it| args.scenarios.contains(it)) {
        let kinds = scenario.kinds().iter().filter(|kind| args.paths.contains(kind));
        turns.extend(kinds.map(|kind| (scenario, *kind)));
    }
    turns
}

/// Only the paths that the turns need.
fn build(turns: &[(Scenario, Kind)], options: &str) -> Result<BTreeMap<(Kind, u32), Overlay>> {
    let mut overlays = BTreeMap::new();
    for (scenario, kind) in turns {
        if let Entry::Vacant(entry) = overlays.entry((*kind, scenario.mtu())) {
            entry.insert(Overlay::start(*kind, scenario.mtu(), options)?);
        }
    }
    Ok(overlays)
}

/// `bridge-nf-call-*`, which are to be the same for all.
fn filters(overlays: &BTreeMap<(Kind, u32), Overlay>) -> Result<BTreeMap<String, String>> {
    let mut all = overlays.values().map(Overlay::filters);
    let first = all.next().context("no path to measure")??;
    for other in all {
        ensure!(other? == first, "bridge-nf-call-* differs between nodes");
    }
    Ok(first)
}

fn take(scenario: Scenario, overlay: &mut Overlay, seconds: u64) -> Result<Trial> {
    overlay.require_switches()?;
    let figures = scenario.measure(overlay, seconds)?;
    Ok(Trial { figures, losses: overlay.losses()? })
}
