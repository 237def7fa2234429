//! The kernel's vxlan device receives nothing, or is not there any more.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weft_tests::harness::{Cluster, Flow, Lab, Node, Stopwatch, pause, serial, wait_until};

use crate::{AFTER, GAP, LONG, WAIT, gapped, whole};

/// Drops all that the device takes off its header.
const FILTER: &str = "nft 'add table netdev wedge; add chain netdev wedge in \
    { type filter hook ingress device vxlan-6784 priority 0; }; add rule netdev wedge in counter drop'";
const RELEASE: &str = "nft delete table netdev wedge";
/// Floods that a move may cost: 2 ms of them, as one uplink stops before the other begins.
const FLOODS_LOST: u128 = 2;
/// What the log says.
const PROCESS: &str = "the kernel's vxlan device receives nothing";
const KERNEL: &str = "the kernel receives VXLAN";

#[test]
fn the_process_receives_while_the_kernels_device_does_not_and_nothing_is_lost_when_it_does_again() {
    let _turn = serial().unwrap();
    Lab::with("wedged", |lab| {
        let it = Cluster::<3>::fast(lab)?;
        let flows = under_way(&it)?;

        it.nodes[0].sh(FILTER)?;
        let watch = Stopwatch::start();
        it.said(0, PROCESS, 1, GAP * 2)?;

        println!("filtered: the process receives after {:?}", watch.elapsed());
        gapped("filtered", flows, GAP)?;
        all_fast(&it)?;
        let flows = under_way(&it)?;
        let before = it.logged(0, KERNEL)?;
        it.nodes[0].sh(RELEASE)?;
        let watch = Stopwatch::start();
        it.said(0, KERNEL, before + 1, WAIT)?;
        println!("the kernel receives after {:?}", watch.elapsed());
        whole("the kernel receives again", flows)?;
        all_fast(&it)?;

        // With the port in other hands it cannot be set up again.
        let flows = under_way(&it)?;
        let port = take_port(&it.nodes[0])?;
        let watch = Stopwatch::start();
        let path = it.wait_for(0, 2, GAP * 2, |path| path.kind == "user")?;
        println!("down, and its port taken: after {:?} {path:?}", watch.elapsed());
        ensure!(path.reason.is_some(), "{path:?}");
        gapped("down", flows, GAP)?;
        let flows = under_way(&it)?;
        drop(port);
        let watch = Stopwatch::start();
        it.wait_for_fast(0, 2)?;
        println!("its port free: fast after {:?}", watch.elapsed());
        it.said(0, KERNEL, before + 2, WAIT)?;
        println!("the kernel receives after {:?}", watch.elapsed());
        moved("up again", flows)
    })
    .unwrap();
}

/// Until nobody is on another line than the kernel's, as peers are for a while that have missed something.
fn all_fast(it: &Cluster<3>) -> Result<()> {
    [(0, 1), (0, 2), (1, 2)].iter().try_for_each(|(one, other)| it.wait_for_fast(*one, *other))
}

/// Frames from and to the first node, and floods to all, by now on their way.
fn under_way(it: &Cluster<3>) -> Result<Vec<Flow>> {
    let [there, back] = it.flows(0, 2, LONG)?;
    let flows = vec![there, back, it.floods(2, LONG)?];
    pause(Duration::from_millis(500));
    Ok(flows)
}

/// What became of flows while the peer moved to another uplink of its own accord: the last one is the floods.
fn moved(what: &str, flows: Vec<Flow>) -> Result<()> {
    let outcomes = Flow::stop(flows, AFTER)?;
    outcomes.iter().for_each(|outcome| println!("{what}: {outcome}"));
    let [there, back, floods @ ..] = &outcomes[..] else { bail!("two flows and floods") };
    ensure!(there.complete() && back.complete(), "{what}");
    // Where nothing runs for a while the move takes longer, too.
    let stalled = there.gap.max(back.gap).as_millis();
    for outcome in floods {
        let lost = u128::from(outcome.lost);
        ensure!(outcome.twice == 0 && lost <= FLOODS_LOST.max(stalled), "{what}: {outcome}");
    }
    Ok(())
}

/// Sets the device down, and takes its port before it is up again.
fn take_port(node: &Node) -> Result<UdpSocket> {
    for _ in 0..100 {
        node.run(&["ip", "link", "set", "vxlan-6784", "down"])?;
        let taken = node.inside(async || Ok(UdpSocket::bind(("0.0.0.0", 6784)).ok()))?;
        if let Some(port) = taken {
            return Ok(port);
        }
    }
    bail!("the device is up again each time")
}

#[test]
fn a_vxlan_device_that_is_deleted_is_missed_for_less_than_a_second_and_made_again() {
    let _turn = serial().unwrap();
    Lab::with("deleted", |lab| {
        let it = Cluster::<2>::fast(lab)?;
        let (flows, floods) = (it.flows(0, 1, LONG)?, it.floods(0, LONG)?);
        pause(Duration::from_millis(500));

        it.nodes[0].run(&["ip", "link", "del", "vxlan-6784"])?;
        let watch = Stopwatch::start();
        let there = || it.nodes[0].run(&["bridge", "link", "show", "dev", "vxlan-6784"]);
        wait_until(GAP, "made again", || there().is_ok_and(|it| it.contains("master weave")))?;
        println!("deleted, and made again after {:?}", watch.elapsed());
        it.wait_for_fast(0, 1)?;
        println!("fast after {:?}", watch.elapsed());

        gapped("deleted", flows.into_iter().chain([floods]), GAP)
    })
    .unwrap();
}
