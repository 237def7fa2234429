//! VXLAN that is filtered between two nodes, in one direction only.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::{Cluster, Lab, Proto, Stopwatch, Stream, cut_port, pause, serial};

use crate::{GAP, LONG, gapped, whole};

/// By now traffic has been noticed: it is looked for twice a second.
const BEGUN: Duration = Duration::from_millis(1_200);
/// How long a stream goes on: through the cut and through the healing.
const STREAM: u32 = 12;
/// Its speed, in Mbit/s.
const SPEED: u32 = 8;

#[test]
fn vxlan_that_one_peer_does_not_hear_goes_over_udp_6783_both_ways_and_back_without_a_loss() {
    let _turn = serial().unwrap();
    Lab::with("one-way", |lab| {
        let it = Cluster::<3>::fast(lab)?;
        for (from, to) in [(0, 1), (2, 0)] {
            let third = 3 - from - to;
            let stream = Stream::start(it.pod(from)?, it.pod(to)?, SPEED, STREAM)?;

            let away = cut(&it, from, to, third)?;
            let back = heal(&it, from, to)?;

            println!(
                "n{} to n{}: both say so after {away:?}, fast after {back:?}",
                from + 1,
                to + 1
            );
            let octets = stream.end()?.octets;
            println!("a stream went on: {octets} octets");
            ensure!(octets > u64::from(STREAM * SPEED) * 1_000_000 / 8 * 9 / 10, "{octets}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn with_udp_6783_filtered_too_frames_go_through_the_third_and_back() {
    let _turn = serial().unwrap();
    Lab::with("both-ports", |lab| {
        let it = Cluster::<3>::fast(lab)?;
        let flows = it.flows(0, 1, LONG)?;
        pause(BEGUN);

        for port in [6783, 6784] {
            cut_port(&it.nodes[0], &it.nodes[1], Proto::Udp, port)?;
        }

        let watch = Stopwatch::start();
        let through = it.daemon(2)?.name().to_owned();
        for (from, to) in [(0, 1), (1, 0)] {
            let path = it.wait_for(from, to, GAP * 3, |path| path.is_through(&through))?;
            println!("n{} to n{} after {:?}: {path:?}", from + 1, to + 1, watch.elapsed());
            ensure!(path.reason.is_some(), "{path:?}");
        }
        gapped("UDP 6783 and 6784 cut", flows, GAP * 2)?;
        let flows = it.flows(0, 1, LONG)?;
        it.nodes[1].heal()?;
        it.wait_for_fast(0, 1)?;
        whole("back from the third", flows)
    })
    .unwrap();
}

/// Drops VXLAN in this direction: after how long both ends say that they go over UDP 6783.
fn cut(it: &Cluster<3>, from: usize, to: usize, third: usize) -> Result<Duration> {
    let flows = it.flows(from, to, LONG)?;
    let others = [it.flow(from, third, LONG)?, it.flow(third, to, LONG)?];
    pause(BEGUN);
    cut_port(it.node(from)?, it.node(to)?, Proto::Udp, 6784)?;
    let watch = Stopwatch::start();
    for (from, to) in [(from, to), (to, from)] {
        let path = it.wait_for(from, to, GAP * 2, |path| path.kind == "sleeve")?;
        ensure!(path.reason.is_some_and(|why| why.contains("6784")));
    }
    let took = watch.elapsed();
    gapped("UDP 6784 cut in one direction", flows, GAP)?;
    for (from, to) in [(from, third), (third, from), (to, third), (third, to)] {
        let path = it.path(from, to)?;
        ensure!(path.kind == "fast", "{path:?}");
    }
    whole("meanwhile with the third", others)?;
    Ok(took)
}

/// Lets it pass again: after how long both ends are on the fast path.
fn heal(it: &Cluster<3>, from: usize, to: usize) -> Result<Duration> {
    let flows = it.flows(from, to, LONG)?;
    pause(BEGUN);
    it.node(to)?.heal()?;
    let watch = Stopwatch::start();
    it.wait_for_fast(from, to)?;
    let took = watch.elapsed();
    whole("healed", flows)?;
    Ok(took)
}
