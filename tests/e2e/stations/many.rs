//! Many stations at once.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::{Lab, Node, Stopwatch, Underlay, serial, wait_until};

use crate::{WAIT, cluster, remote};

const MANY: usize = 5_000;
/// The bound, from the first one on the owner's bridge to the last one on the last node's.
const PROGRAMMED: Duration = Duration::from_secs(2);
/// After this a silent node is gone.
const HOLD: &str = "3";

#[test]
fn five_thousand_stations_are_programmed_everywhere_in_under_two_seconds_and_gone_with_their_owner()
{
    let _turn = serial().unwrap();
    Lab::with("stations-many", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let mut daemons = cluster(&nodes, &["--hold", HOLD])?;
        let batch = lab.dir().join("stations");
        let batch = batch.to_str().context("a path that is text")?;
        fs::write(batch, lines()?)?;
        nodes[2].sh("ip link add many type veth peer name far
            ip link set many addrgenmode none; ip link set far addrgenmode none up
            ip link set many up master weave")?;

        let watch = Stopwatch::start();
        nodes[2].run(&["bridge", "-batch", batch])?;
        let written = watch.elapsed();
        let others = [&nodes[0], &nodes[1]];
        wait_until(WAIT, "all are programmed", || has(&others, |count| count >= MANY))?;
        let programmed = watch.elapsed();
        println!("{MANY} stations: on the owner's bridge after {written:?}, programmed everywhere after {programmed:?}");

        let owner = daemons.last_mut().context("three")?;
        owner.proc.kill()?;
        let watch = Stopwatch::start();
        wait_until(WAIT, "all are gone", || has(&others, |count| count == 0))?;
        println!("gone {:?} after their owner was killed (--hold {HOLD})", watch.elapsed());

        ensure!(programmed < PROGRAMMED, "programmed after {programmed:?}");
        Ok(())
    })
    .unwrap();
}

fn lines() -> Result<String> {
    let mut lines = String::new();
    for number in 0..MANY {
        let (high, low) = (number / 256, number % 256);
        writeln!(lines, "fdb add 02:55:00:00:{high:02x}:{low:02x} dev many master static")?;
    }
    Ok(lines)
}

/// Whether the number of these stations that each node's bridge has is as wanted.
fn has(nodes: &[&Node], wanted: impl Fn(usize) -> bool) -> bool {
    let ours =
        |node: &Node| Some(remote(node).ok()?.iter().filter(|it| it.starts_with("02:55")).count());
    nodes.iter().all(|node| ours(node).is_some_and(&wanted))
}
