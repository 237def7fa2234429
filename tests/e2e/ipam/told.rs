//! What who gets no address is told, and who must get one.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::weftd::{Daemon, cluster, text};
use weft_tests::harness::{Lab, Stopwatch, Underlay, beside, wait_until};

use crate::{SMALL, WAIT, ipam, one_each, three};

/// Tries with clusters that start and are asked at once.
const TRIES: usize = 2;

#[test]
fn of_a_first_node_and_those_given_its_address_whoever_is_asked_first_leases() {
    let _turn = beside().unwrap();
    for number in 0..TRIES {
        Lab::with(&format!("ipam-first{number}"), |lab| {
            let nodes = lab.nodes::<3>(&Underlay::default())?;
            let daemons = cluster(&nodes, &[])?;
            // Only another than the first, then all at once.
            if number % 2 == 0 {
                daemons[2].allocate("early")?;
            }
            let leased: Vec<_> = thread::scope(|scope| {
                let all = daemons.iter().map(|it| scope.spawn(|| it.allocate("pod")));
                let all: Vec<_> = all.collect();
                all.into_iter().map(|it| it.join().ok().context("panicked")?).collect::<Result<_>>()
            })?;
            ensure!(
                leased[0] != leased[1] && leased[1] != leased[2] && leased[0] != leased[2],
                "{leased:?}"
            );
            wait_until(WAIT, "one ring", || {
                let ring = |it: &Daemon| text(&ipam(it)?, "/ring");
                let rings: Result<Vec<_>> = daemons.iter().map(ring).collect();
                rings.is_ok_and(|it| it.iter().all(|ring| *ring == it[0]))
            })
        })
        .unwrap();
    }
}

#[test]
fn observers_get_addresses_whoever_is_asked_first() {
    let _turn = beside().unwrap();
    // The one that votes first, given to the others, and given the others' first.
    for votes in [0, 1] {
        Lab::with(&format!("ipam-observer{votes}"), |lab| {
            let nodes = lab.nodes::<3>(&Underlay::default())?;
            let first = nodes[0].addr().to_string();
            let mut daemons = Vec::new();
            for (number, node) in nodes.iter().enumerate() {
                let observes = ["--ipalloc-init", "observer"];
                let init: &[&str] = if number == votes { &[] } else { &observes };
                let peer = (number > 0).then_some(first.as_str());
                let args: Vec<&str> = init.iter().copied().chain(peer).collect();
                daemons.push(Daemon::start(node, &args)?);
            }
            daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(3, WAIT))?;
            for number in [2, 1, 0] {
                daemons[number].allocate("pod")?;
            }
            Ok(())
        })
        .unwrap();
    }
}

/// Leases until there is no more.
fn fill(daemon: &Daemon, name: &str) -> Result<(usize, Value)> {
    for number in 0..WAIT.as_millis() {
        let id = json!({ "id": format!("{name}{number}") });
        let answer = daemon.post("/v1/addresses/allocate", &id)?;
        if answer.code != 200 {
            return Ok((usize::try_from(number)?, answer.body));
        }
    }
    anyhow::bail!("never full")
}

fn why(body: &Value) -> Result<String> {
    Ok(format!("{}: {}", text(body, "/why")?, text(body, "/what_to_do")?))
}

#[test]
fn a_dead_node_that_had_nothing_left_is_named_and_removed_by_its_nickname_also_after_a_restart() {
    let _turn = beside().unwrap();
    Lab::with("ipam-full-dead", |lab| {
        let (nodes, mut daemons) = three(lab, &SMALL)?;
        one_each(&daemons)?;
        // It takes most of what the others had.
        for number in [1, 0, 2] {
            fill(&daemons[number], "pod")?;
        }
        let (_, body) = fill(&daemons[0], "more")?;
        ensure!(why(&body)?.contains("no address of 10.32.0.0/26 is free: free some"), "{body}");
        let dead = daemons[1].name().to_owned();
        daemons[1].kill()?;
        wait_until(WAIT, "it is silent", || daemons[0].up().is_ok_and(|up| up == 2))?;

        let watch = Stopwatch::start();
        let (_, body) = fill(&daemons[0], "more")?;

        let why = why(&body)?;
        println!("after {:?}: {why}", watch.elapsed());
        ensure!(why.contains(&dead) && why.contains("weft rmpeer"), "{why}");
        // Nobody has to know by which name the mesh had it.
        daemons[0].kill()?;
        daemons[0].restart()?;
        daemons[0].wait_for_peers(2, WAIT)?;
        daemons[0].weft(&format!("rmpeer {}", nodes[1].name()))?;
        for number in 0..6 {
            daemons[0].allocate(&format!("later{number}"))?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn who_waits_for_what_a_removed_node_had_is_told_for_whom() {
    let _turn = beside().unwrap();
    Lab::with("ipam-not-yet", |lab| {
        let (_nodes, mut daemons) = three(lab, &SMALL)?;
        let addrs = one_each(&daemons)?;
        let [removed, silent] = [1, 2].map(|it: usize| daemons[it].name().to_owned());
        daemons[1].kill()?;
        daemons[2].kill()?;
        wait_until(WAIT, "both are silent", || daemons[0].up().is_ok_and(|up| up == 1))?;
        daemons[0].weft(&format!("rmpeer {removed}"))?;

        let claim = json!({ "id": "claim", "address": format!("{}/26", addrs[1]) });
        let claimed = daemons[0].post("/v1/addresses/claim", &claim)?;
        let (_, filled) = fill(&daemons[0], "pod")?;

        for body in [&claimed.body, &filled] {
            let why = why(body)?;
            println!("{why}");
            ensure!(why.contains("not taken over yet") && why.contains(&silent), "{why}");
        }
        daemons[0].weft(&format!("rmpeer {silent}"))?;
        let claimed = daemons[0].post("/v1/addresses/claim", &claim)?;
        ensure!(claimed.code == 200, "{claimed:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_is_freed_a_moment_after_somebody_was_refused_is_leased_to_him() {
    let _turn = beside().unwrap();
    Lab::with("ipam-freed", |lab| {
        let (_nodes, daemons) = three(lab, &SMALL)?;
        one_each(&daemons)?;
        for daemon in &daemons {
            fill(daemon, "pod")?;
        }
        for round in 0..2 {
            let (_, body) = fill(&daemons[1], "late")?;
            ensure!(why(&body)?.contains("free some"), "{body}");
            let id = if round == 0 { "first".to_owned() } else { format!("round{}", round - 1) };
            daemons[if round == 0 { 0 } else { 1 }]
                .post("/v1/addresses/free", &json!({ "id": id }))?;
            let watch = Stopwatch::start();
            daemons[1].allocate(&format!("round{round}"))?;
            let took = watch.elapsed();
            println!("leased {took:?} after it was freed");
            ensure!(took < Duration::from_secs(3), "{took:?}");
        }
        Ok(())
    })
    .unwrap();
}
