//! Nodes that take no part, or divide something else.

use std::time::Duration;

use anyhow::ensure;
use weft_tests::harness::weftd::{Daemon, text};
use weft_tests::harness::{Lab, Stopwatch, Underlay, beside, pause, wait_until};

use crate::{WAIT, ipam, number};

/// How long the first address may take after a start.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn nobody_waits_for_a_node_that_manages_no_addresses() {
    let _turn = beside().unwrap();
    Lab::with("ipam-none", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let first = nodes[0].addr().to_string();
        let two = ["--ipalloc-init", "consensus=2"];
        let mut none = Daemon::start(&nodes[2], &["--ipalloc-range", "none"])?;
        let third = nodes[2].addr().to_string();
        let mut one = Daemon::start(&nodes[0], &[&two[..], &[&third]].concat())?;
        let other = Daemon::start(&nodes[1], &[&two[..], &[&first]].concat())?;
        other.wait_for_peers(3, WAIT)?;
        let addrs = [one.allocate("pod")?, other.allocate("pod")?];
        ensure!(addrs[0] != addrs[1], "{addrs:?}");

        // As after a start of the host: it has to ask the others whether its state is the last.
        one.kill()?;
        one.node().sh("rm /run/weft/ipam.witness")?;
        let watch = Stopwatch::start();
        one.restart()?;
        one.wait_for_peers(3, WAIT)?;
        one.allocate("more")?;
        let took = watch.elapsed();
        println!("restarted beside a node without addresses: the next one after {took:?}");
        ensure!(took < SOON, "{took:?}");

        none.stop()?;
        none.restart_with(&["--ipalloc-range", "10.64.0.0/12", &first])?;
        for daemon in [&one, &none] {
            wait_until(WAIT, "the other range is shown", || {
                let what = ipam(daemon).and_then(|it| text(&it, "/conflicts/0/what"));
                what.is_ok_and(|it| it.contains("10.64.0.0/12") && it.contains("10.32.0.0/12"))
            })?;
        }
        one.allocate("beside another range")?;
        none.stop()?;
        none.restart_with(&[&two[..], &[&first]].concat())?;
        none.wait_for_peers(3, WAIT)?;
        none.allocate("pod")?;
        wait_until(WAIT, "the conflict is over", || {
            ipam(&one).is_ok_and(|it| it["conflicts"].as_array().is_some_and(Vec::is_empty))
        })?;
        ensure!(number(&ipam(&none)?, "/here/leased")? == 1);

        // It runs, so nobody takes its addresses without force; and with force it claims them again when it manages some.
        none.stop()?;
        none.restart_with(&["--ipalloc-range", "none", &first])?;
        none.wait_for_peers(3, WAIT)?;
        one.wait_for_peers(3, WAIT)?;
        // What the mesh tells is gathered before it is looked at.
        pause(Duration::from_millis(300));
        let name = none.name().to_owned();
        let seen = ipam(&one)?;
        let owners = seen["owners"].as_array().into_iter().flatten();
        let state = owners.filter(|it| it["name"] == *name).map(|it| it["state"].to_string());
        ensure!(state.collect::<Vec<_>>() == ["\"apart\""], "{seen}");
        let removed = one.weft(&format!("rmpeer {name}"));
        ensure!(removed.is_err(), "a peer that runs was removed: {removed:?}");
        one.weft(&format!("rmpeer {name} --force"))?;
        none.stop()?;
        none.restart_with(&[&two[..], &[&first]].concat())?;
        wait_until(WAIT, "what it has leased is its own again", || {
            let leased = ipam(&none).and_then(|it| number(&it, "/here/leased"));
            leased.is_ok_and(|leased| leased == 1)
        })?;
        Ok(())
    })
    .unwrap();
}
