//! A cluster: nodes with a daemon and a pod each, who all know each other.

use std::time::Duration;

use anyhow::{Context, Result};

use super::flow::{Flow, Pace};
use super::host::Host;
use super::lab::Lab;
use super::node::Node;
use super::pod::Pod;
use super::underlay::Underlay;
use super::wait::wait_until;
use super::weftd::{Daemon, Path, all_answer, cluster, pods};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(30);

/// Nodes with a daemon and a pod each, who all know each other.
#[derive(Debug)]
pub struct Cluster<const N: usize> {
    /// Its nodes.
    pub nodes: [Node; N],
    /// One on each.
    pub daemons: Vec<Daemon>,
    /// One on each.
    pub pods: Vec<Pod>,
}

impl<const N: usize> Cluster<N> {
    /// All with these options; they are given only the first one's address.
    pub fn new(lab: &Lab, options: &[&str]) -> Result<Self> {
        let nodes = lab.nodes::<N>(&Underlay::default())?;
        let daemons = cluster(&nodes, options)?;
        Self::of(nodes, daemons)
    }

    /// These.
    pub fn of(nodes: [Node; N], daemons: Vec<Daemon>) -> Result<Self> {
        let pods = pods(&nodes)?;
        for daemon in &daemons {
            daemon.wait_for_peers(N, WAIT)?;
        }
        all_answer(&pods, WAIT)?;
        Ok(Self { nodes, daemons, pods })
    }

    /// The same, when the kernel carries everything.
    pub fn fast(lab: &Lab) -> Result<Self> {
        let it = Self::new(lab, &[])?;
        for from in 0..N {
            for to in (0..N).filter(|to| *to != from) {
                it.wait_for(from, to, WAIT, |path| path.kind == "fast")?;
            }
        }
        Ok(it)
    }

    /// A node by its number.
    pub fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number).context("no such node")
    }

    /// Its daemon.
    pub fn daemon(&self, number: usize) -> Result<&Daemon> {
        self.daemons.get(number).context("no such daemon")
    }

    /// Its pod.
    pub fn pod(&self, number: usize) -> Result<&Pod> {
        self.pods.get(number).context("no such pod")
    }

    /// How the one reaches the other.
    pub fn path(&self, from: usize, to: usize) -> Result<Path> {
        let name = self.daemon(to)?.name();
        self.daemon(from)?.path_to(name)?.context("no path")
    }

    /// Waits until that is so.
    pub fn wait_for(
        &self,
        from: usize,
        to: usize,
        limit: Duration,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Path> {
        self.daemon(from)?.wait_for_path(self.daemon(to)?.name(), limit, fits)
    }

    /// Waits until the kernel carries frames between the two, in both directions.
    pub fn wait_for_fast(&self, one: usize, other: usize) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            self.wait_for(from, to, WAIT, |path| path.kind == "fast")?;
        }
        Ok(())
    }

    /// A frame a millisecond from the one's pod to the other's.
    pub fn flow(&self, from: usize, to: usize, seconds: u32) -> Result<Flow> {
        let to = self.pod(to)?;
        Flow::start(self.pod(from)?, to, to.addr(), Pace::millisecond(seconds))
    }

    /// The same both ways.
    pub fn flows(&self, one: usize, other: usize, seconds: u32) -> Result<[Flow; 2]> {
        Ok([self.flow(one, other, seconds)?, self.flow(other, one, seconds)?])
    }

    /// One to everybody each millisecond; all others count. One at a time.
    pub fn floods(&self, from: usize, seconds: u32) -> Result<Flow> {
        let to = self.pods.iter().enumerate().filter(|(number, _)| *number != from);
        let to: Vec<&Host> = to.map(|(_, pod)| &**pod).collect();
        Flow::broadcast(self.pod(from)?, &to, Pace::millisecond(seconds))
    }

    /// How often its daemon's log says so.
    pub fn logged(&self, node: usize, words: &str) -> Result<usize> {
        let log = self.daemon(node)?.proc.stderr();
        Ok(log.lines().filter(|line| line.contains(words)).count())
    }

    /// Waits until it has said so this often.
    pub fn said(&self, node: usize, words: &str, times: usize, limit: Duration) -> Result<()> {
        let said = || self.logged(node, words).is_ok_and(|count| count >= times);
        wait_until(limit, words, said)
    }
}
