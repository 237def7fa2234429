//! The paths side by side: weft's user path, the kernel's vxlan with a bridge, and Open vSwitch's
//! userspace datapath, each between two pods on two nodes of the lab.
//!
//! ```text
//! cargo build --release --workspace --bins      # weft-switch is taken from target/release
//! cargo bench -p weft-benches --bench paths -- --runs 5 --seconds 5
//! ```
//! Absolute numbers say little on a shared machine; ratios inside one run say more. So each round
//! measures every path once, in turn, and the table has medians over the rounds. All three have
//! the same underlay, a veth pair with its offloads on. Pods of Open vSwitch have theirs off, as
//! its userspace datapath takes no unfinished packet, and its tunnels no outer checksum, as is its
//! default.
#![expect(clippy::print_stdout, reason = "a table for people")]

#[path = "paths/blast.rs"]
mod blast;
#[path = "paths/measure.rs"]
mod measure;
#[path = "paths/overlay.rs"]
mod overlay;
#[path = "paths/report.rs"]
mod report;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use weft_tests::harness::{require_root, serial};

use crate::measure::Sample;
use crate::overlay::{Kind, Overlay};
use crate::report::Report;

/// Measures weft's user path beside kernel vxlan and Open vSwitch. Needs root.
#[derive(Debug, Parser)]
#[command(name = "paths")]
struct Args {
    /// Rounds; the table has medians over them
    #[arg(long, env = "WEFT_BENCH_RUNS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,

    /// Seconds of each measurement
    #[arg(long, env = "WEFT_BENCH_SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Which paths
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    paths: Vec<Kind>,

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
    /// Sends small datagrams as fast as it goes
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
    let _turn = serial()?;
    let overlays: Vec<_> =
        args.paths.iter().map(|kind| Overlay::start(*kind)).collect::<Result<_>>()?;
    let [first, ..] = overlays.as_slice() else { anyhow::bail!("no path to measure") };
    let mut report = Report::new(first, args.runs, args.seconds)?;
    for overlay in &overlays {
        ensure!(overlay.filters()? == *report.filters(), "bridge-nf-call-* differs between nodes");
    }
    for round in 1..=args.runs {
        for overlay in &overlays {
            let sample = Sample::take(overlay, args.seconds)?;
            println!("{round}/{} {:<20} {sample}", args.runs, overlay.kind().title());
            report.add(overlay.kind(), sample);
        }
    }
    println!("\n{report}");
    println!("{}", report.write()?.display());
    Ok(())
}
