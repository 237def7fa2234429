//! What flows lose when what carries them fails, and when daemons start again: the longest gap of one frame a
//! millisecond, over several runs.
//!
//! ```text
//! cargo build --release --workspace --bins      # weftd is taken from target/release
//! cargo bench -p weft-benches --bench failover -- --runs 5
//! ```
#![expect(clippy::print_stdout, reason = "tables for people")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use weft_tests::harness::{
    Cluster, Flow, Lab, Outcome, Proto, Signal, cut_port, pause, require_root, serial,
};

/// How long a path may take to be what it was.
const WAIT: Duration = Duration::from_secs(30);
/// From the start of the flows to the fault: by then a peer is known to have traffic, and probed often.
const BEGUN: Duration = Duration::from_millis(1500);

/// What the vxlan device gets is dropped.
const WEDGE: &str = "nft 'add table netdev wedge; add chain netdev wedge in \
    { type filter hook ingress device vxlan-6784 priority 0; }; add rule netdev wedge in counter drop'";

/// Measures fail-over and restarts of weftd. Needs root.
#[derive(Debug, Parser)]
#[command(name = "failover")]
struct Args {
    /// How often each
    #[arg(long, env = "WEFT_BENCH_RUNS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,

    /// What `cargo bench` says to every benchmark, and `cargo test --all-targets` does not
    #[arg(long)]
    bench: bool,
}

/// A fault of the first of three nodes, or of what it hears.
struct Fault {
    title: &'static str,
    /// Options of the daemons.
    options: &'static [&'static str],
    /// How long the flows take, in seconds.
    seconds: u32,
    strike: fn(&mut Cluster<3>) -> Result<()>,
    /// Until all is as before.
    mend: fn(&mut Cluster<3>) -> Result<()>,
}

const FAULTS: [Fault; 6] = [
    Fault {
        title: "UDP 6784 dropped one way",
        options: &[],
        seconds: 4,
        strike: |it| cut_port(it.node(1)?, it.node(0)?, Proto::Udp, 6784),
        mend: |it| it.node(0)?.heal(),
    },
    Fault {
        title: "kernel receives nothing",
        options: &[],
        seconds: 4,
        strike: |it| {
            it.node(0)?.sh(WEDGE)?;
            Ok(())
        },
        mend: |it| it.node(0)?.sh("nft delete table netdev wedge").map(drop),
    },
    Fault {
        title: "vxlan-6784 deleted",
        options: &[],
        seconds: 4,
        strike: |it| it.node(0)?.sh("ip link del vxlan-6784").map(drop),
        mend: |_| Ok(()),
    },
    Fault {
        title: "killed and started, fast path",
        options: &[],
        seconds: 5,
        strike: restart,
        mend: |_| Ok(()),
    },
    Fault {
        title: "stopped for 2 s, fast path",
        options: &[],
        seconds: 5,
        strike: |it| {
            let daemon = it.daemons.first_mut().context("no daemon")?;
            daemon.proc.signal(Signal::SIGSTOP)?;
            pause(Duration::from_secs(2));
            daemon.proc.signal(Signal::SIGCONT)
        },
        mend: |_| Ok(()),
    },
    Fault {
        title: "killed and started, user path",
        options: &["--fastpath", "off"],
        seconds: 5,
        strike: restart,
        mend: |_| Ok(()),
    },
];

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("nothing measured: run `cargo bench`, or give --bench");
        return Ok(());
    }
    require_root()?;
    let _turn = serial()?;
    println!("three nodes; a frame a millisecond each way between two; {} runs", args.runs);
    println!(
        "{:<34}{:>16}{:>16}{:>12}{:>8}",
        "", "gap, median ms", "gap, most ms", "lost, most", "twice"
    );
    for fault in FAULTS {
        let outcomes = fault.measure(args.runs)?;
        let mut gaps: Vec<Duration> = outcomes.iter().map(|it| it.gap).collect();
        gaps.sort_unstable();
        let (median, most) = (gaps.get(gaps.len() / 2), gaps.last());
        let millis = |gap: Option<&Duration>| gap.map_or(0, Duration::as_millis);
        let lost = outcomes.iter().map(|it| it.lost).max().unwrap_or_default();
        let twice: u64 = outcomes.iter().map(|it| it.twice).sum();
        let (median, most) = (millis(median), millis(most));
        println!("{:<34}{median:>16}{most:>16}{lost:>12}{twice:>8}", fault.title);
    }
    Ok(())
}

impl Fault {
    fn measure(&self, runs: u64) -> Result<Vec<Outcome>> {
        let lab = Lab::new("bench-failover")?;
        let mut it = Cluster::<3>::new(&lab, self.options)?;
        let kind = if self.options.is_empty() { "fast" } else { "user" };
        let mut outcomes = Vec::new();
        for _ in 0..runs {
            for (from, to) in [(0, 1), (1, 0)] {
                it.wait_for(from, to, WAIT, |path| path.kind == kind)?;
            }
            // The last plan is on disk, and a hold-down has begun anew.
            pause(Duration::from_secs(2));
            let flows = it.flows(0, 1, self.seconds)?;
            pause(BEGUN);
            (self.strike)(&mut it).context(self.title)?;
            let seen = Flow::join(flows.into())?;
            ensure!(seen.iter().all(|it| it.sent > it.lost), "{}: nothing came", self.title);
            outcomes.extend(seen);
            (self.mend)(&mut it).context(self.title)?;
        }
        Ok(outcomes)
    }
}

fn restart(it: &mut Cluster<3>) -> Result<()> {
    let daemon = it.daemons.first_mut().context("no daemon")?;
    daemon.kill()?;
    daemon.restart()
}
