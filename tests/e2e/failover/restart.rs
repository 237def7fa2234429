//! Daemons that die, stand still and start again.

use std::env;
use std::time::Duration;

use anyhow::ensure;
use weft_tests::harness::{Lab, Signal, pause, serial};

use crate::{Cluster, gapped, whole};

/// The bound on the user path.
const GAP: Duration = Duration::from_secs(2);

#[test]
fn a_daemon_that_is_dead_and_one_that_stands_still_lose_nothing_and_neither_do_their_next_starts() {
    let _turn = serial().unwrap();
    let seconds = if env::var_os("WEFT_LONG").is_some() { 30 } else { 10 };
    Lab::with("dead", |lab| {
        // Each of the two has three others that are well.
        let mut it = Cluster::<5>::fast(lab)?;
        let under_way = [it.flows(2, 0, seconds + 7)?, it.flows(3, 1, seconds + 7)?];
        pause(Duration::from_millis(500));

        it.daemons[0].kill()?;
        it.daemons[1].proc.signal(Signal::SIGSTOP)?;
        pause(Duration::from_secs(seconds.into()));
        let path = it.path(2, 0)?;
        it.daemons[1].proc.signal(Signal::SIGCONT)?;
        it.daemons[0].restart()?;

        let flows = under_way.into_iter().flatten();
        whole(&format!("killed, and stopped, for {seconds} s, and well again"), flows)?;
        println!("the path to the dead one: {path:?}");
        ensure!(path.kind == "fast" && path.reason.is_some(), "{path:?}");
        it.wait_for_fast(2, 0)?;
        it.wait_for_fast(3, 1)
    })
    .unwrap();
}

#[test]
fn a_daemon_that_is_killed_and_started_again_at_once_is_missed_for_less_than_two_seconds() {
    let _turn = serial().unwrap();
    Lab::with("restart-user", |lab| {
        let mut it = Cluster::<3>::new(lab, &["--fastpath", "off"])?;
        let flows = it.flows(0, 1, 5)?;
        pause(Duration::from_millis(500));

        it.daemons[0].kill()?;
        it.daemons[0].restart()?;

        let path = it.path(1, 0)?;
        ensure!(path.kind == "user", "{path:?}");
        gapped("killed and started again on the user path", flows, GAP)
    })
    .unwrap();
}
