//! Pods that are plugged, unplugged, and move.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::{Lab, Pod, Proc, Stopwatch, Underlay, pause, serial, wait_until};

use crate::{WAIT, answered_since, cluster, pod, unplugged, wait_for_station};

/// The bound of each of these.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_pod_plugged_by_hand_is_known_everywhere_in_under_a_second_and_unplugged_gone_as_soon() {
    let _turn = serial().unwrap();
    Lab::with("stations-plug", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let daemons = cluster(&nodes, &[])?;
        // Each bridge is a station, too.
        wait_until(WAIT, "all bridges are known everywhere", || {
            daemons.iter().all(|it| it.count("/stations/now").is_ok_and(|now| now == 3))
        })?;
        let pod = unplugged(&nodes[0], "p", 1)?;
        let others = [&nodes[1], &nodes[2]];

        let watch = Stopwatch::start();
        nodes[0].plug(&pod)?;
        let _speaking = speak(&pod)?;
        wait_for_station(&others, pod.mac(), true, WAIT)?;
        // Frames tell a bridge of it before its node has told all.
        wait_until(WAIT, "all have heard of it", || {
            daemons.iter().all(|it| it.count("/stations/now").is_ok_and(|now| now >= 4))
        })?;
        let known = watch.elapsed();
        for daemon in &daemons {
            let now = daemon.count("/stations/now")?;
            ensure!(now == 4, "{}: {now} stations", daemon.node().name());
        }
        println!("known on the other nodes after {known:?}");
        // Late reports of the kernel must not be taken for news.
        pause(Duration::from_millis(500));
        let watch = Stopwatch::start();
        nodes[0].run(&["ip", "link", "set", &pod.host_if(), "nomaster"])?;
        wait_for_station(&others, pod.mac(), false, WAIT)?;
        let gone = watch.elapsed();
        println!("gone from the other nodes after {gone:?}");

        ensure!(known < SOON && gone < SOON, "known after {known:?}, gone after {gone:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pod_that_moves_is_followed_in_under_a_second() {
    let _turn = serial().unwrap();
    Lab::with("stations-move", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let _daemons = cluster(&nodes, &[])?;
        let (watcher, mover) = (pod(&nodes[0], "w", 1)?, pod(&nodes[1], "m", 2)?);
        answered_since(Stopwatch::start(), &watcher, &mover, WAIT)?;

        let mut mover = mover;
        for (number, to) in [2, 1, 2].into_iter().enumerate() {
            mover = mover.move_to(&nodes[to])?;
            let watch = Stopwatch::start();
            nodes[to].plug(&mover)?;
            let took = answered_since(watch, &watcher, &mover, WAIT)?;
            println!("move {number}: answers from its new node after {took:?}");
            ensure!(took < SOON, "after {took:?}");
        }
        wait_for_station(&[&nodes[0], &nodes[1]], mover.mac(), true, WAIT)
    })
    .unwrap();
}

#[test]
fn a_pod_whose_node_was_powered_off_is_followed_at_once_to_the_node_that_has_it_now() {
    let _turn = serial().unwrap();
    Lab::with("stations-fail-over", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let daemons = cluster(&nodes, &[])?;
        let (watcher, mover) = (pod(&nodes[0], "w", 1)?, pod(&nodes[1], "m", 2)?);
        answered_since(Stopwatch::start(), &watcher, &mover, WAIT)?;
        wait_for_station(&[&nodes[0], &nodes[2]], mover.mac(), true, WAIT)?;
        nodes[1].power_off()?;
        let silent = || {
            let said = daemons.first().map(|it| it.proc.stderr());
            said.is_some_and(|it| it.contains("peer is silent"))
        };
        wait_until(WAIT, "the node is silent", silent)?;
        wait_for_station(&[&nodes[0], &nodes[2]], mover.mac(), true, SOON).context("kept")?;

        let spec = unplugged(&nodes[2], "m", 2)?;
        ensure!(spec.mac() == mover.mac());
        let watch = Stopwatch::start();
        nodes[2].plug(&spec)?;
        let mut speaking = speak(&spec)?;
        let took = answered_since(watch, &watcher, &spec, WAIT)?;
        println!("answers from its new node after {took:?}");
        speaking.kill()?;

        ensure!(took < SOON, "after {took:?}");
        ensure!(!daemons[0].proc.stderr().contains("peer is gone"), "it was not only silent");
        Ok(())
    })
    .unwrap();
}

/// A pod that has work to do: it looks for another.
fn speak(pod: &Pod) -> Result<Proc> {
    pod.spawn(&["ping", "-i", "0.2", "-W", "1", "10.32.0.1"])
}
