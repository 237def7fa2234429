//! A chain of nodes that reach only their neighbours.

use anyhow::ensure;
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping, pods};
use weft_tests::harness::{Fragment, Lab, Ping, Stopwatch, Underlay, serial, transfer};

use crate::{MEET, part};

const MB: u64 = 1_000_000;

#[test]
fn every_pair_of_a_chain_of_four_speaks_and_a_hundred_megabytes_cross_it() {
    let _turn = serial().unwrap();
    for options in [&[][..], &["--no-discovery"]] {
        Lab::with("chain", |lab| {
            let nodes = lab.nodes::<4>(&Underlay::default())?;
            for (one, other) in [(0, 2), (0, 3), (1, 3)] {
                part(&nodes[one], &nodes[other])?;
            }
            // Each is given the one before it.
            let mut daemons: Vec<Daemon> = Vec::new();
            for node in &nodes {
                let before = daemons.last().map(|it| it.node().addr().to_string());
                let args: Vec<_> = options.iter().copied().chain(before.as_deref()).collect();
                daemons.push(Daemon::start(node, &args)?);
            }
            let started = Stopwatch::start();
            let pods = pods(&nodes)?;
            all_answer(&pods, MEET)?;
            println!("{options:?}: all pods answered {:?} after the start", started.elapsed());
            for daemon in &daemons {
                daemon.wait_for_peers(4, MEET)?;
            }
            let path = daemons[0].wait_for_path(daemons[3].name(), MEET, |it| it.via.len() == 2)?;
            ensure!(path.is_through(daemons[1].name()), "{path:?}");
            println!("{options:?}: first to last: {path:?}");
            all_ping(&pods, 10)?;

            // 1500 less 50 of the tunnel's, 20 of IPv4's and 8 of ICMP's.
            let whole = Ping::new(pods[3].addr(), 10).size(1402).fragment(Fragment::Never);
            let whole = pods[0].ping_with(&whole)?;
            ensure!(whole.perfect(), "{whole:?}");
            for (from, to, bytes) in [(0, 3, 100), (3, 0, 20), (0, 2, 20), (3, 1, 20)] {
                let moved = transfer(&pods[from], &pods[to], bytes * MB)?;
                println!("{options:?}: {from} to {to}: {bytes} MB in {:.2} s", moved.secs);
                ensure!(moved.intact() && moved.bytes == bytes * MB, "{moved:?}");
            }
            Ok(())
        })
        .unwrap();
    }
}
