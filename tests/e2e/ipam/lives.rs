//! Daemons that die: with their leases kept, or for good.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_tests::harness::weftd::{self, Daemon, text};
use weft_tests::harness::{Lab, Stopwatch, Underlay, beside, cut, pause, serial, wait_until};

use crate::{SMALL, WAIT, ipam, number, one_each, three};

/// What a dead owner had is usable after this time.
const USABLE: Duration = Duration::from_secs(5);
/// Who has had links for so long is settled in the mesh (docs/MESH.md).
const SETTLED: Duration = Duration::from_secs(11);

#[test]
fn every_lease_that_was_told_outlives_a_kill_in_the_midst_of_requests() {
    let _turn = serial().unwrap();
    Lab::with("ipam-kill", |lab| {
        let (_nodes, mut daemons) = three(lab, &[])?;
        one_each(&daemons)?;
        let mut told = BTreeMap::new();
        for round in 0..3 {
            let first = &daemons[0];
            let pid = first.proc.pid();
            let answered: Vec<_> = thread::scope(|scope| {
                let work = |worker: usize| {
                    let ids = (0..400).map(move |n| format!("r{round}w{worker}n{n}"));
                    // Who is killed answers no more.
                    let ask = |id: String| first.allocate(&id).ok().map(|addr| (id, addr));
                    ids.map_while(ask).collect::<Vec<_>>()
                };
                let workers: Vec<_> =
                    (0..4).map(|worker| scope.spawn(move || work(worker))).collect();
                pause(Duration::from_millis(400));
                let mut kill = std::process::Command::new("kill");
                ensure!(kill.args(["-9", &pid.to_string()]).status()?.success(), "kill {pid}");
                let joined = workers.into_iter().map(|it| it.join().ok().context("panicked"));
                joined.collect::<Result<Vec<_>>>()
            })?;
            daemons[0].kill()?;
            told.extend(answered.into_iter().flatten());
            let watch = Stopwatch::start();
            daemons[0].restart()?;
            let again = daemons[0].allocate(&format!("again{round}"))?;

            let leases: BTreeMap<_, _> = daemons[0].leases()?.into_iter().collect();
            println!("{} told; leases again after {:?}", told.len(), watch.elapsed());
            for (id, addr) in &told {
                ensure!(leases.get(id) == Some(addr), "{id} had {addr}, has {:?}", leases.get(id));
            }
            ensure!(!told.values().any(|addr| *addr == again), "{again} was leased already");
        }
        ensure!(told.len() > 20, "only {} leases", told.len());
        Ok(())
    })
    .unwrap();
}

/// A machine made from the disk of another one that runs.
#[test]
fn a_copy_of_a_running_node_gives_way_to_it() {
    let _turn = beside().unwrap();
    Lab::with("ipam-copy", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let first = nodes[0].addr().to_string();
        let named = ["--name", "02:00:00:00:00:22", &first];
        let _first = Daemon::start(&nodes[0], &[])?;
        let mut original = Daemon::start(&nodes[1], &named)?;
        original.wait_for_peers(2, WAIT)?;
        let leased = original.allocate("pod")?;
        let copy = lab.dir().join("copy");
        let copy = copy.to_str().context("no text")?;
        nodes[1].sh(&format!("cp -a /var/lib/weft {copy}"))?;
        // All that decides besides the leases is on the side of who was there before.
        pause(SETTLED);
        nodes[2].sh(&format!("mkdir -p /var/lib/weft; cp -a {copy}/. /var/lib/weft"))?;

        let mut late = weftd::spawn(&nodes[2], &named)?;

        let ended = late.wait(WAIT)?;
        ensure!(!ended.success() && late.stderr().contains("is taken"), "{}", late.stderr());
        ensure!(original.proc.running(), "{}", original.proc.stderr());
        ensure!(original.leases()? == [("pod".to_owned(), leased)]);
        original.allocate("another")?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_a_dead_owner_had_is_usable_soon_after_it_is_removed() {
    let _turn = beside().unwrap();
    Lab::with("ipam-rmpeer", |lab| {
        let (_nodes, mut daemons) = three(lab, &SMALL)?;
        one_each(&daemons)?;
        let dead = daemons[2].name().to_owned();
        let had = number(&ipam(&daemons[2])?, "/here/owned")?;
        wait_until(WAIT, "the first knows that the third has some", || {
            ipam(&daemons[0]).is_ok_and(|it| {
                let owners = it["owners"].as_array().cloned().unwrap_or_default();
                owners.iter().any(|of| of["name"] == json!(dead) && of["free"] != json!(0))
            })
        })?;
        daemons[2].kill()?;
        wait_until(WAIT, "the dead one is missed", || daemons[0].up().is_ok_and(|up| up == 2))?;
        let mut count = 0;
        let refused = loop {
            let replied = daemons[0]
                .post("/v1/addresses/allocate", &json!({ "id": format!("pod{count}") }))?;
            if replied.code != 200 {
                break replied;
            }
            count += 1;
            ensure!(count < 62, "the dead one's were leased");
        };
        let what_to_do = text(&refused.body, "/what_to_do")?;
        ensure!(what_to_do.contains(&format!("weft rmpeer {dead}")), "{refused:?}");

        let watch = Stopwatch::start();
        let said = daemons[0].weft("rmpeer n3")?;
        let removed = watch.elapsed();
        daemons[0].allocate("after").context("after rmpeer")?;

        println!("{}: removed after {removed:?}, leased after {:?}", said.trim(), watch.elapsed());
        ensure!(watch.elapsed() < USABLE, "{:?}", watch.elapsed());
        ensure!(said.contains(&had.to_string()), "{said}, not {had}");
        wait_until(WAIT, "nobody waits for anything", || {
            ipam(&daemons[1]).is_ok_and(|it| it["removals"] == json!([]))
        })
    })
    .unwrap();
}

#[test]
fn a_removal_says_for_whom_it_waits_and_is_done_when_that_one_is_back() {
    let _turn = beside().unwrap();
    Lab::with("ipam-awaited", |lab| {
        let (nodes, mut daemons) = three(lab, &SMALL)?;
        one_each(&daemons)?;
        let (awaited, dead) = (daemons[1].name().to_owned(), daemons[2].name().to_owned());
        daemons[2].kill()?;
        cut(&nodes[0], &nodes[1])?;
        cut(&nodes[1], &nodes[0])?;
        wait_until(WAIT, "both are missed", || daemons[0].up().is_ok_and(|up| up == 1))?;

        let removal = daemons[0].post("/v1/rmpeer", &json!({ "name": dead }))?;

        ensure!(removal.code == 200, "{removal:?}");
        ensure!(
            removal.body.pointer("/waiting_for/0/name") == Some(&awaited.as_str().into()),
            "{removal:?}"
        );
        let seen = ipam(&daemons[0])?;
        let shown = seen.pointer("/removals/0/waiting_for/0/name");
        ensure!(shown == Some(&awaited.as_str().into()), "{seen}");
        nodes.iter().try_for_each(weft_tests::harness::Node::heal)?;
        let watch = Stopwatch::start();
        wait_until(WAIT, "the removal is done", || {
            let done =
                |it: &serde_json::Value| it["removals"] == json!([]) && it["unowned"] == json!(0);
            daemons[..2].iter().all(|daemon| ipam(daemon).is_ok_and(|it| done(&it)))
        })?;
        println!("done {:?} after the network was mended", watch.elapsed());
        Ok(())
    })
    .unwrap();
}
