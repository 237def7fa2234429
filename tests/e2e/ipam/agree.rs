//! The first division, and who has none left.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_tests::harness::weftd::{Daemon, text};
use weft_tests::harness::{Lab, Stopwatch, Underlay, beside, wait_until};

use crate::{SMALL, WAIT, ipam, one_each, three};

/// How long the first address may take, from three starts at once on.
const FIRST: Duration = Duration::from_secs(10);
/// And one that was freed elsewhere.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn three_nodes_that_start_at_once_divide_the_range_alike() {
    let _turn = beside().unwrap();
    Lab::with("ipam-agree", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let addrs: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        let watch = Stopwatch::start();
        let begin = |number: usize| {
            let others = addrs.iter().enumerate().filter(|(it, _)| *it != number);
            let args: Vec<_> = others.map(|(_, addr)| addr.as_str()).collect();
            let daemon = Daemon::start(&nodes[number], &args)?;
            let addr = daemon.allocate("pod")?;
            anyhow::Ok((daemon, addr, watch.elapsed()))
        };
        let started: Vec<_> = thread::scope(|scope| {
            let begin = &begin;
            let workers: Vec<_> = (0..3).map(|number| scope.spawn(move || begin(number))).collect();
            let joined = workers.into_iter().map(|it| it.join().ok().context("panicked")?);
            joined.collect::<Result<_>>()
        })?;

        let addrs: BTreeSet<_> = started.iter().map(|(_, addr, _)| *addr).collect();
        let times: Vec<_> = started.iter().map(|(_, _, time)| *time).collect();
        println!("first addresses after {times:?} from the start on");
        ensure!(addrs.len() == 3, "{addrs:?}");
        ensure!(times.iter().all(|time| *time < FIRST), "{times:?}");
        wait_until(WAIT, "one ring that all three own", || {
            let seen = started.iter().map(|(daemon, ..)| ipam(daemon));
            let Ok(seen) = seen.collect::<Result<Vec<_>>>() else { return false };
            let rings: BTreeSet<_> = seen.iter().filter_map(|it| text(it, "/ring").ok()).collect();
            let owners = |it: &serde_json::Value| it["owners"].as_array().map_or(0, Vec::len);
            rings.len() == 1 && seen.iter().all(|it| owners(it) == 3)
        })
    })
    .unwrap();
}

#[test]
fn who_has_none_left_is_given_some_until_there_are_none_at_all() {
    let _turn = beside().unwrap();
    Lab::with("ipam-donation", |lab| {
        let (_nodes, daemons) = three(lab, &SMALL)?;
        let mut all: BTreeSet<_> = one_each(&daemons)?.into_iter().collect();
        let mut slowest = Duration::ZERO;

        for number in all.len()..62 {
            // The first takes most of it, the others get theirs in between.
            let daemon = &daemons[if number % 5 == 0 { 1 + number % 2 } else { 0 }];
            let watch = Stopwatch::start();
            let addr = daemon.allocate(&format!("pod{number}"))?;
            slowest = slowest.max(watch.elapsed());
            ensure!(all.insert(addr), "{addr} twice");
        }

        println!("62 addresses, the slowest after {slowest:?}");
        for daemon in &daemons {
            let refused = daemon.post("/v1/addresses/allocate", &json!({ "id": "late" }))?;
            ensure!(refused.code == 409, "{refused:?}");
            let why = text(&refused.body, "/why")?;
            ensure!(why.contains("no address of 10.32.0.0/26 is free"), "{why}");
        }
        daemons[0].post("/v1/addresses/free", &json!({ "id": "first" }))?;
        allocate_soon(&daemons[2], "late")
    })
    .unwrap();
}

/// What was freed a moment ago is leased elsewhere: who has been told that there is none believes that for a second.
fn allocate_soon(daemon: &Daemon, id: &str) -> Result<()> {
    wait_until(SOON, &format!("{id} gets an address"), || daemon.allocate(id).is_ok())
}
