//! weftd between real network namespaces: what an operator relies on. What measures time runs alone, the rest side by side.
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
#[path = "weftd/seen.rs"]
mod seen;
#[path = "weftd/spread.rs"]
mod spread;
#[path = "weftd/status.rs"]
mod status;
#[path = "weftd/stop.rs"]
mod stop;

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::{Node, cut};

/// How long nodes that are not measured may take to meet.
const MEET: Duration = Duration::from_secs(30);

/// Nothing crosses between two nodes, either way.
fn part(one: &Node, other: &Node) -> Result<()> {
    cut(one, other)?;
    cut(other, one)
}
