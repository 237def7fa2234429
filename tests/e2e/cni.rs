//! Pods of a real cluster, plugged in by the CNI plugin as a runtime runs it.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "cni/again.rs"]
mod again;
#[path = "cni/bare.rs"]
mod bare;
#[path = "cni/chain.rs"]
mod chain;
#[path = "cni/cnitool.rs"]
mod cnitool;
#[path = "cni/containerd.rs"]
mod containerd;
#[path = "cni/crash.rs"]
mod crash;
#[path = "cni/crowd.rs"]
mod crowd;
#[path = "cni/guard.rs"]
mod guard;
#[path = "cni/late.rs"]
mod late;
#[path = "cni/life.rs"]
mod life;
#[path = "cni/look.rs"]
mod look;
#[path = "cni/replay.rs"]
mod replay;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Host, Lab, Node, Underlay, wait_until};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(20);

/// A node by itself.
fn one(lab: &Lab, options: &[&str]) -> Result<(Node, Daemon)> {
    let [node] = lab.nodes::<1>(&Underlay::default())?;
    let daemon = Daemon::start(&node, options)?;
    Ok((node, daemon))
}

/// Two nodes that know each other.
fn two(lab: &Lab) -> Result<([Node; 2], Vec<Daemon>)> {
    let nodes = lab.nodes::<2>(&Underlay::default())?;
    let daemons = weftd::cluster(&nodes, &["--ipalloc-init", "consensus=2"])?;
    daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;
    Ok((nodes, daemons))
}

/// What is plugged in.
fn pods(daemon: &Daemon) -> Result<Vec<Value>> {
    let all = daemon.ask("ps")?;
    Ok(all.get("pods").and_then(Value::as_array).context("no pods")?.clone())
}

/// A link's MAC address. What a container has in /sys is the host's.
fn mac_of(host: &Host, link: &str) -> Result<String> {
    let shown = host.run(&["ip", "-o", "link", "show", "dev", link])?;
    let mac = shown.split_whitespace().skip_while(|it| *it != "link/ether").nth(1);
    mac.map(str::to_owned).with_context(|| format!("no address: {shown}"))
}

/// Nothing is left of any pod: no link, no lease but the bridge's, nothing that is plugged in, no station.
fn nothing_left(node: &Node, daemon: &Daemon) -> Result<()> {
    let links = node.run(&["ip", "-o", "link", "show", "type", "veth"])?;
    let links: Vec<_> = links.lines().filter(|it| it.contains("vethweft")).collect();
    ensure!(links.is_empty(), "links are left: {links:?}");
    let pods = pods(daemon)?;
    ensure!(pods.is_empty(), "plugged in: {pods:?}");
    let leases: Vec<_> =
        daemon.leases()?.into_iter().filter(|(id, _)| id != "weave:expose").collect();
    ensure!(leases.is_empty(), "leases are left: {leases:?}");
    // But for the bridge.
    wait_until(WAIT, "no station is left", || {
        daemon.weft("fdb here").is_ok_and(|it| it.lines().count() == 1)
    })
}
