//! weftd when what carries frames fails: how long nothing arrives, what is lost, and what is said. Its tests measure time:
//! run them one by one.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

#[path = "failover/flapping.rs"]
mod flapping;
#[path = "failover/mixed.rs"]
mod mixed;
#[path = "failover/narrow.rs"]
mod narrow;
#[path = "failover/one_way.rs"]
mod one_way;
#[path = "failover/receive.rs"]
mod receive;
#[path = "failover/restart.rs"]
mod restart;

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::Flow;

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(30);
/// The bound for the longest gap of a flow of one frame a millisecond.
const GAP: Duration = Duration::from_secs(1);

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
