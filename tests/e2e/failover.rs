//! weftd when what carries frames fails: how long nothing arrives, what is lost, and what is said. Its tests measure time, and run
//! alone but for two.
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
/// So many seconds a flow would go on, if it were not stopped: longer than anything here takes.
const LONG: u32 = 60;
/// How long flows go on when all is seen that was waited for: what comes of it shows at once.
const AFTER: Duration = Duration::from_secs(1);

/// Stops flows that were to arrive whole: what became of them, each frame once.
fn whole(what: &str, flows: impl IntoIterator<Item = Flow>) -> Result<()> {
    for outcome in Flow::stop(flows.into_iter().collect(), AFTER)? {
        println!("{what}: {outcome}");
        ensure!(outcome.complete(), "{what}: {outcome}");
    }
    Ok(())
}

/// Stops flows that were to be cut short for less than this: that much may be lost, and nothing come twice. They go on for as
/// long, so that one which is still cut is seen.
fn gapped(what: &str, flows: impl IntoIterator<Item = Flow>, limit: Duration) -> Result<()> {
    for outcome in Flow::stop(flows.into_iter().collect(), limit)? {
        println!("{what}: {outcome}");
        ensure!(outcome.gap < limit && outcome.twice == 0, "{what}: {outcome}");
        ensure!(u128::from(outcome.lost) <= limit.as_millis(), "{what}: {outcome}");
    }
    Ok(())
}
