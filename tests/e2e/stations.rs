//! Stations, the tunnel guard, ARP and the flight recorder of real daemons. What measures time runs
//! alone, the rest side by side.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "stations/addresses.rs"]
mod addresses;
#[path = "stations/guarded.rs"]
mod guarded;
#[path = "stations/intruders.rs"]
mod intruders;
#[path = "stations/many.rs"]
mod many;
#[path = "stations/moves.rs"]
mod moves;
#[path = "stations/recorder.rs"]
mod recorder;

use std::time::Duration;

use anyhow::{Context, Result};
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Node, Ping, Pod, PodSpec, Stopwatch, wait_until};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(20);

/// Daemons that all see each other.
fn cluster(nodes: &[Node], options: &[&str]) -> Result<Vec<Daemon>> {
    let daemons = weftd::cluster(nodes, options)?;
    daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(nodes.len(), WAIT))?;
    Ok(daemons)
}

/// A pod, plugged: 10.32.0.N and fd00:32::N.
fn pod(node: &Node, name: &str, number: u8) -> Result<Pod> {
    let pod = unplugged(node, name, number)?;
    node.plug(&pod)?;
    Ok(pod)
}

fn unplugged(node: &Node, name: &str, number: u8) -> Result<Pod> {
    let spec = PodSpec::new(name, &format!("10.32.0.{number}/24"));
    node.add_pod(&spec.cidr6(&format!("fd00:32::{number}/64")))
}

/// The stations that a node's bridge has behind the TAP, announced by their nodes.
fn remote(node: &Node) -> Result<Vec<String>> {
    let all = node.run(&["bridge", "fdb", "show", "br", "weave"])?;
    let announced = all.lines().filter(|line| line.contains(" dev ") && line.contains("sticky"));
    announced.map(|line| Ok(line.split(' ').next().context("a MAC")?.to_owned())).collect()
}

/// Waits until a station is, or is not, behind the TAP of all these nodes.
fn wait_for_station(nodes: &[&Node], mac: &str, there: bool, limit: Duration) -> Result<()> {
    let what = format!("{mac} {}", if there { "is known" } else { "is gone" });
    wait_until(limit, &what, || {
        let known =
            |node: &&Node| remote(node).is_ok_and(|all| all.iter().any(|it| it == mac) == there);
        nodes.iter().all(known)
    })
}

/// Pings until there is an answer. How long that took since `watch` was started.
fn answered_since(watch: Stopwatch, from: &Pod, to: &Pod, limit: Duration) -> Result<Duration> {
    let ping = Ping::new(to.addr(), 3).interval(Duration::from_millis(20));
    let ping = ping.wait(Duration::from_millis(100));
    wait_until(limit, &format!("{} answers {}", to.name(), from.name()), || {
        from.ping_with(&ping).is_ok_and(|stats| stats.received > 0)
    })?;
    Ok(watch.elapsed())
}
