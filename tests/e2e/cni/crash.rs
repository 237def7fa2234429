//! A daemon that dies in the middle of a step.

use anyhow::{Result, ensure};
use weft_tests::harness::runtime::{Container, add, call, code, del, network};
use weft_tests::harness::weftd::Daemon;
use weft_tests::harness::{Lab, Node, Underlay, beside};

use crate::{nothing_left, pods};

/// A daemon that dies after this step.
fn dying(node: &Node, step: &str) -> Result<Daemon> {
    Daemon::start_through(&["env", &format!("WEFTD_CRASH_AT={step}")], node, &[])
}

#[test]
fn what_a_killed_daemon_has_begun_is_undone_by_the_next() {
    let _turn = beside().unwrap();
    Lab::with("cni-crash", |lab| {
        let [node] = lab.nodes::<1>(&Underlay::default())?;
        for step in ["coming", "leased", "made", "configured", "announced", "there"] {
            let container = Container::new(&node, step)?;
            let mut daemon = dying(&node, step)?;
            let of = (step, "eth0", &*container.netns());

            let failed = call(&node, "ADD", of, &network("1.1.0"))?;
            ensure!(code(&failed)? == 11, "{step}: {failed:?}");
            ensure!(daemon.proc.stderr().contains(step), "{step}: it did not die there");
            daemon.restart()?;

            // After the last step it may have been told.
            let there = pods(&daemon)?.len();
            ensure!(there == usize::from(step == "there"), "{step}: {there} are plugged in");
            if there == 0 {
                nothing_left(&node, &daemon)?;
            }
            add(&node, &container)?;
            del(&node, step)?;
            nothing_left(&node, &daemon)?;
            daemon.stop()?;
            println!("killed after {step}: nothing left, and the next ADD works");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_a_killed_daemon_was_unplugging_is_unplugged_by_the_next() {
    let _turn = beside().unwrap();
    Lab::with("cni-crash-del", |lab| {
        let [node] = lab.nodes::<1>(&Underlay::default())?;
        for step in ["going", "removed", "freed"] {
            let container = Container::new(&node, step)?;
            let mut daemon = dying(&node, step)?;
            add(&node, &container)?;

            // It is written down, and done by the next.
            del(&node, step)?;
            daemon.restart()?;

            nothing_left(&node, &daemon)?;
            del(&node, step)?;
            add(&node, &container)?;
            del(&node, step)?;
            daemon.stop()?;
        }
        Ok(())
    })
    .unwrap();
}
