//! weftd between real network namespaces: what an operator relies on. Its tests measure time: run them one by one.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "weftd/chain.rs"]
mod chain;
#[path = "weftd/given.rs"]
mod given;
#[path = "weftd/meet.rs"]
mod meet;
#[path = "weftd/refusals.rs"]
mod refusals;
#[path = "weftd/relay.rs"]
mod relay;
#[path = "weftd/reset.rs"]
mod reset;
#[path = "weftd/restart.rs"]
mod restart;
#[path = "weftd/spread.rs"]
mod spread;
#[path = "weftd/status.rs"]
mod status;
#[path = "weftd/stop.rs"]
mod stop;

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::weftd::{Daemon, all_answer, cluster, pods};
use weft_tests::harness::{Lab, Node, Pod, Underlay, cut};

/// How long nodes that are not measured may take to meet.
const MEET: Duration = Duration::from_secs(30);

/// Nodes with a daemon and a pod each, who all know each other.
struct Cluster<const N: usize> {
    nodes: [Node; N],
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

impl<const N: usize> Cluster<N> {
    /// Daemons that are given only the first one's address.
    fn new(lab: &Lab, options: &[&str]) -> Result<Self> {
        let nodes = lab.nodes::<N>(&Underlay::default())?;
        let daemons = cluster(&nodes, options)?;
        let pods = pods(&nodes)?;
        for daemon in &daemons {
            daemon.wait_for_peers(N, MEET)?;
        }
        all_answer(&pods, MEET)?;
        Ok(Self { nodes, daemons, pods })
    }
}

/// Nothing crosses between two nodes, either way.
fn part(one: &Node, other: &Node) -> Result<()> {
    cut(one, other)?;
    cut(other, one)
}
