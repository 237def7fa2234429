//! Two nodes that do not reach each other, and a third one.

use std::time::Duration;

use anyhow::ensure;
use weft_tests::harness::weftd::{all_answer, all_ping};
use weft_tests::harness::{Cluster, Lab, Proto, Stopwatch, cut_port, serial, transfer};

use crate::part;

const MB: u64 = 1_000_000;

#[test]
fn a_cut_between_two_nodes_is_carried_by_the_third_within_five_seconds_and_healed_within_ten() {
    let _turn = serial().unwrap();
    Lab::with("relay", |lab| {
        let Cluster { nodes, daemons, pods } = Cluster::<3>::new(lab, &[])?;
        let [a, b, c] = &daemons[..] else { anyhow::bail!("three daemons") };
        ensure!(a.path_to(c.name())?.is_some_and(|path| path.is_direct()));

        part(&nodes[0], &nodes[2])?;
        let cut = Stopwatch::start();
        let five = Duration::from_secs(5);
        all_answer(&pods, five)?;
        println!("through the third after {:?}", cut.elapsed());
        for (from, to) in [(a, c), (c, a)] {
            let left = five.saturating_sub(cut.elapsed());
            let path = from.wait_for_path(to.name(), left, |it| it.is_through(b.name()))?;
            println!("{} says so after {:?}: {path:?}", from.node().name(), cut.elapsed());
            ensure!(path.reason.is_some(), "{path:?}");
        }
        // Only now: what was sent before may have got lost.
        all_ping(&pods, 10)?;
        let carried = b.count("/relayed/frames")?;
        let moved = transfer(&pods[0], &pods[2], 100 * MB)?;
        ensure!(moved.intact(), "{moved:?}");
        let carried = b.count("/relayed/frames")? - carried;
        println!("100 MB in {:.2} s, {carried} frames relayed", moved.secs);
        ensure!(carried > 100 * MB / 1450);

        nodes.iter().try_for_each(|node| node.heal())?;
        let healed = Stopwatch::start();
        for (from, to) in [(a, c), (c, a)] {
            let left = Duration::from_secs(10).saturating_sub(healed.elapsed());
            let path = from.wait_for_path(to.name(), left, |it| it.is_direct())?;
            println!("{} direct after {:?}: {path:?}", from.node().name(), healed.elapsed());
        }
        let relayed = b.count("/relayed/frames")?;
        all_ping(&pods, 10)?;
        ensure!(b.count("/relayed/frames")? == relayed, "pods' frames still take the third");
        Ok(())
    })
    .unwrap();
}

#[test]
fn vxlan_that_is_filtered_goes_over_udp_6783_within_a_second_and_through_the_third_without_that() {
    let _turn = serial().unwrap();
    Lab::with("filtered", |lab| {
        let Cluster { nodes, daemons, pods } = Cluster::<3>::new(lab, &[])?;
        let [a, b, c] = &daemons[..] else { anyhow::bail!("three daemons") };

        // One way only: the other end has to be told.
        cut_port(&nodes[0], &nodes[2], Proto::Udp, 6784)?;
        let cut = Stopwatch::start();
        all_answer(&pods, Duration::from_secs(1))?;

        println!("over UDP 6783 after {:?}", cut.elapsed());
        for (from, to) in [(a, c), (c, a)] {
            let left = Duration::from_secs(5).saturating_sub(cut.elapsed());
            let path = from.wait_for_path(to.name(), left, |it| it.kind == "sleeve")?;
            println!("{} says so after {:?}: {path:?}", from.node().name(), cut.elapsed());
        }
        cut_port(&nodes[0], &nodes[2], Proto::Udp, 6783)?;
        let cut = Stopwatch::start();
        all_answer(&pods, Duration::from_secs(5))?;

        println!("through the third after {:?}", cut.elapsed());
        for (from, to) in [(a, c), (c, a)] {
            let left = Duration::from_secs(5).saturating_sub(cut.elapsed());
            let path = from.wait_for_path(to.name(), left, |it| it.is_through(b.name()))?;
            println!("{} says so after {:?}: {path:?}", from.node().name(), cut.elapsed());
        }
        all_ping(&pods, 5)
    })
    .unwrap();
}
