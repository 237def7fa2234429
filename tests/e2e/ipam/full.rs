//! State directories on disks without room.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::weftd::{self, Daemon, text};
use weft_tests::harness::{Lab, Node, Replied, Underlay, beside, wait_until};

use crate::{WAIT, ipam, one_each};

/// Makes the state directory a small disk.
fn small_disk(node: &Node) -> Result<()> {
    node.sh("mkdir -p /var/lib/weft; mount -t tmpfs -o size=8m lab /var/lib/weft").map(drop)
}

fn fill(node: &Node) -> Result<()> {
    let filled = node.try_run(&["dd", "if=/dev/zero", "of=/var/lib/weft/filler", "bs=4096"])?;
    ensure!(filled.stderr.contains("No space left"), "{}", filled.stderr);
    Ok(())
}

fn allocate(daemon: &Daemon, id: &str) -> Result<Replied> {
    daemon.post("/v1/addresses/allocate", &json!({ "id": id }))
}

fn lacks_room(refused: &Replied) -> Result<()> {
    ensure!(refused.code == 500, "{refused:?}");
    ensure!(text(&refused.body, "/why")?.contains("make room"), "{refused:?}");
    Ok(())
}

#[test]
fn a_node_whose_disk_is_full_starts_again_with_its_leases_and_leases_more_when_there_is_room() {
    let _turn = beside().unwrap();
    Lab::with("ipam-full", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        small_disk(&nodes[1])?;
        let mut daemons = weftd::cluster(&nodes, &["--ipalloc-init", "consensus=2"])?;
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;
        one_each(&daemons)?;
        let pods = weftd::pods(&nodes)?;
        weftd::all_answer(&pods, WAIT)?;
        fill(&nodes[1])?;
        // What the ledger has room for within itself is leased.
        let mut count = 0;
        let refused = loop {
            let replied = allocate(&daemons[1], &format!("pod{count}"))?;
            count += 1;
            if replied.code != 200 {
                break replied;
            }
        };
        println!("{count} asked for on a full disk: {refused:?}");
        lacks_room(&refused)?;
        let before = daemons[1].leases()?;
        ensure!(before.len() == count, "{before:?}");

        daemons[1].kill()?;
        daemons[1].restart()?;

        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;
        weftd::all_answer(&pods, WAIT)?;
        ensure!(daemons[1].leases()? == before, "{:?}, not {before:?}", daemons[1].leases()?);
        let said = daemons[1].proc.stderr();
        ensure!(said.contains("/var/lib/weft/mesh.json") && said.contains("make room"), "{said}");
        lacks_room(&allocate(&daemons[1], "late")?)?;
        ensure!(allocate(&daemons[0], "elsewhere")?.code == 200);
        nodes[1].sh("rm /var/lib/weft/filler")?;
        wait_until(WAIT, "an address", || {
            allocate(&daemons[1], "late").is_ok_and(|it| it.code == 200)
        })?;
        let after = daemons[1].leases()?;
        ensure!(before.iter().all(|it| after.contains(it)), "{after:?}");
        // And what was told is stored.
        daemons[1].kill()?;
        daemons[1].restart()?;
        ensure!(daemons[1].leases()? == after);
        Ok(())
    })
    .unwrap();
}

/// It can save nothing, so it says nothing of what it was told.
#[test]
fn nobody_waits_for_a_node_whose_disk_is_full() {
    let _turn = beside().unwrap();
    Lab::with("ipam-full-others", |lab| {
        let nodes = lab.nodes::<4>(&Underlay::default())?;
        small_disk(&nodes[2])?;
        let three = ["--ipalloc-init", "consensus=3"];
        let mut daemons = weftd::cluster(&nodes[..3], &three)?;
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(3, WAIT))?;
        one_each(&daemons)?;
        fill(&nodes[2])?;
        let mut refused = (0..10_000).map(|count| allocate(&daemons[2], &format!("pod{count}")));
        let refused = refused.find(|it| it.as_ref().map_or(true, |it| it.code != 200));
        lacks_room(&refused.context("there is always room")??)?;

        let state = |daemon: &Daemon| -> Result<String> {
            let seen = ipam(daemon)?;
            let owners = seen.pointer("/owners").and_then(Value::as_array).context("no owners")?;
            let of = |it: &&Value| it.pointer("/nickname").and_then(Value::as_str) == Some("n3");
            text(owners.iter().find(of).context("n3 owns nothing")?, "/state")
        };

        for round in 0..3 {
            daemons[0].kill()?;
            daemons[0].restart()?;
            let again = allocate(&daemons[0], &format!("after restart {round}"))?;
            ensure!(again.code == 200, "{again:?}");
        }
        let first = nodes[0].addr().to_string();
        let late = Daemon::start(&nodes[3], &[&three[..], &[&first]].concat())?;
        late.wait_for_peers(4, WAIT)?;
        let joined = allocate(&late, "pod")?;
        ensure!(joined.code == 200, "{joined:?}");
        ensure!(state(&late)? == "apart", "{}", state(&late)?);

        nodes[2].sh("rm /var/lib/weft/filler")?;
        wait_until(WAIT, "n3 takes part again", || state(&late).is_ok_and(|it| it == "up"))?;
        ensure!(allocate(&daemons[2], "late")?.code == 200);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_node_that_has_never_had_room_carries_frames_and_says_why_it_leases_nothing() {
    let _turn = beside().unwrap();
    Lab::with("ipam-never", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        small_disk(&nodes[1])?;
        fill(&nodes[1])?;

        let daemons = weftd::cluster(&nodes, &[])?;

        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;
        weftd::all_answer(&weftd::pods(&nodes)?, WAIT)?;
        let seen = ipam(&daemons[1])?;
        ensure!(text(&seen, "/state")? == "refused", "{seen}");
        ensure!(text(&seen, "/reason")?.contains("make room"), "{seen}");
        ensure!(allocate(&daemons[1], "pod")?.code == 503);
        Ok(())
    })
    .unwrap();
}
