//! The gossip mesh between real processes. What measures time or processor time runs alone, the rest side by side.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "mesh/attack.rs"]
mod attack;
#[path = "mesh/names.rs"]
mod names;
#[path = "mesh/passwords.rs"]
mod passwords;
#[path = "mesh/restarts.rs"]
mod restarts;
#[path = "mesh/thirty.rs"]
mod thirty;

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::Node;
use weft_tests::harness::mesh::{Peer, all_see, endpoint, names as all_names};

/// How long a few peers may take to meet: dials back off while not all of them listen yet.
const MEET: Duration = Duration::from_secs(10);

fn name(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Starts a peer on each node, each with the first one's address, and waits until all see all.
fn meet(nodes: &[Node], args: &[&str]) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let (name, first) = (name(number + 1), nodes.first().map(endpoint));
        let mut all = vec!["--name", &name];
        all.extend(args);
        if number > 0 {
            all.extend(first.as_deref());
        }
        peers.push(Peer::start(node, &all)?);
    }
    all_see(&peers, "up", &all_names(&peers), MEET)?;
    Ok(peers)
}
