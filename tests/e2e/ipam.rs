//! Addresses of a real cluster: who leases which, and who takes over from whom.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "ipam/agree.rs"]
mod agree;
#[path = "ipam/apart.rs"]
mod apart;
#[path = "ipam/exposed.rs"]
mod exposed;
#[path = "ipam/full.rs"]
mod full;
#[path = "ipam/lives.rs"]
mod lives;
#[path = "ipam/mixed.rs"]
mod mixed;
#[path = "ipam/moves.rs"]
mod moves;
#[path = "ipam/told.rs"]
mod told;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Lab, Node, Underlay};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(20);
/// 62 addresses for three nodes.
const SMALL: [&str; 2] = ["--ipalloc-range", "10.32.0.0/26"];

/// Three nodes that know each other, and whose first division all agree upon.
fn three(lab: &Lab, options: &[&str]) -> Result<([Node; 3], Vec<Daemon>)> {
    let nodes = lab.nodes::<3>(&Underlay::default())?;
    let options = [options, &["--ipalloc-init", "consensus=3"]].concat();
    let daemons = weftd::cluster(&nodes, &options)?;
    daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(3, WAIT))?;
    Ok((nodes, daemons))
}

/// Each has an address, so that each takes part.
fn one_each(daemons: &[Daemon]) -> Result<Vec<IpAddr>> {
    let all: Vec<_> = daemons.iter().map(|it| it.allocate("first")).collect::<Result<_>>()?;
    ensure!(all.iter().collect::<BTreeSet<_>>().len() == all.len(), "twice the same: {all:?}");
    Ok(all)
}

/// What `weft status ipam` says.
fn ipam(daemon: &Daemon) -> Result<Value> {
    daemon.ask("status ipam")
}

fn number(of: &Value, pointer: &str) -> Result<u64> {
    of.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {of}"))
}
