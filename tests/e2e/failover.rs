//! weftd when what carries frames fails: how long nothing arrives, what is lost, and what is said. Its tests measure time:
//! run them one by one.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "failover/flapping.rs"]
mod flapping;
#[path = "failover/mixed.rs"]
mod mixed;
#[path = "failover/one_way.rs"]
mod one_way;
#[path = "failover/receive.rs"]
mod receive;
#[path = "failover/restart.rs"]
mod restart;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::weftd::{Daemon, Path, all_answer, cluster, pods};
use weft_tests::harness::{Flow, Lab, Node, Pace, Pod, Underlay};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(30);
/// The bound for the longest gap of a flow of one frame a millisecond.
const GAP: Duration = Duration::from_secs(1);

/// Nodes with a daemon and a pod each, who all know each other.
struct Cluster<const N: usize> {
    nodes: [Node; N],
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

impl<const N: usize> Cluster<N> {
    /// All with these options.
    fn new(lab: &Lab, options: &[&str]) -> Result<Self> {
        let nodes = lab.nodes::<N>(&Underlay::default())?;
        let daemons = cluster(&nodes, options)?;
        Self::of(nodes, daemons)
    }

    /// These.
    fn of(nodes: [Node; N], daemons: Vec<Daemon>) -> Result<Self> {
        let pods = pods(&nodes)?;
        for daemon in &daemons {
            daemon.wait_for_peers(N, WAIT)?;
        }
        all_answer(&pods, WAIT)?;
        Ok(Self { nodes, daemons, pods })
    }

    /// The same, when the kernel carries everything.
    fn fast(lab: &Lab) -> Result<Self> {
        let it = Self::new(lab, &[])?;
        for from in 0..N {
            for to in (0..N).filter(|to| *to != from) {
                it.wait_for(from, to, WAIT, |path| path.kind == "fast")?;
            }
        }
        Ok(it)
    }

    fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number).context("no such node")
    }

    fn daemon(&self, number: usize) -> Result<&Daemon> {
        self.daemons.get(number).context("no such daemon")
    }

    fn pod(&self, number: usize) -> Result<&Pod> {
        self.pods.get(number).context("no such pod")
    }

    /// How the one reaches the other.
    fn path(&self, from: usize, to: usize) -> Result<Path> {
        let name = self.daemon(to)?.name();
        self.daemon(from)?.path_to(name)?.context("no path")
    }

    fn wait_for(
        &self,
        from: usize,
        to: usize,
        limit: Duration,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Path> {
        self.daemon(from)?.wait_for_path(self.daemon(to)?.name(), limit, fits)
    }

    /// Waits until the kernel carries frames between the two, in both directions.
    fn wait_for_fast(&self, one: usize, other: usize) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            self.wait_for(from, to, WAIT, |path| path.kind == "fast")?;
        }
        Ok(())
    }

    /// A frame a millisecond from the one's pod to the other's.
    fn flow(&self, from: usize, to: usize, seconds: u32) -> Result<Flow> {
        let to = self.pod(to)?;
        Flow::start(self.pod(from)?, to, to.addr(), Pace::millisecond(seconds))
    }

    /// The same both ways.
    fn flows(&self, one: usize, other: usize, seconds: u32) -> Result<[Flow; 2]> {
        Ok([self.flow(one, other, seconds)?, self.flow(other, one, seconds)?])
    }

    /// One to everybody each millisecond; all others count. One at a time.
    fn floods(&self, from: usize, seconds: u32) -> Result<Flow> {
        let to = self.pods.iter().enumerate().filter(|(number, _)| *number != from);
        let to: Vec<&weft_tests::harness::Host> = to.map(|(_, pod)| &**pod).collect();
        Flow::broadcast(self.pod(from)?, &to, Pace::millisecond(seconds))
    }
}

/// What became of flows that were to arrive whole: each frame once.
fn whole(what: &str, flows: impl IntoIterator<Item = Flow>) -> Result<()> {
    for outcome in Flow::join(flows.into_iter().collect())? {
        println!("{what}: {outcome}");
        ensure!(outcome.complete(), "{what}: {outcome}");
    }
    Ok(())
}

/// What became of flows that were to be cut short for less than this: that much may be lost, and nothing come twice.
fn gapped(what: &str, flows: impl IntoIterator<Item = Flow>, limit: Duration) -> Result<()> {
    for outcome in Flow::join(flows.into_iter().collect())? {
        println!("{what}: {outcome}");
        ensure!(outcome.gap < limit && outcome.twice == 0, "{what}: {outcome}");
        ensure!(u128::from(outcome.lost) <= limit.as_millis(), "{what}: {outcome}");
    }
    Ok(())
}
