//! The bridge's own address, out of the range.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_tests::harness::weftd::{Daemon, text};
use weft_tests::harness::{Lab, Node, Underlay, beside, wait_until};

use crate::{WAIT, ipam, three};

const SOON: Duration = Duration::from_secs(10);

fn has(node: &Node, address: &str) -> Result<bool> {
    Ok(node.run(&["ip", "-o", "addr", "show", "dev", "weave"])?.contains(address))
}

#[test]
fn an_exposed_address_is_leased_and_there_after_a_restart_until_it_is_hidden() {
    let _turn = beside().unwrap();
    Lab::with("ipam-expose", |lab| {
        let [node, _] = lab.nodes::<2>(&Underlay::default())?;
        let mut daemon = Daemon::start(&node, &[])?;

        let first = daemon.weft("expose")?;
        daemon.weft("expose 10.32.7.7/12")?;
        daemon.weft("expose 10.7.0.1/24")?;

        let first = first.split_whitespace().next().context("no address")?.to_owned();
        let all = [first.as_str(), "10.32.7.7/12", "10.7.0.1/24"];
        let exposed = |there: bool| {
            let what = format!("the bridge's addresses are there: {there}");
            wait_until(SOON, &what, || {
                all.iter().all(|it| has(&node, it).is_ok_and(|is| is == there))
            })
        };
        exposed(true)?;
        let leases = daemon.leases()?;
        ensure!(
            leases.len() == 2 && leases.iter().all(|(id, _)| id == "weave:expose"),
            "{leases:?}"
        );
        let taken = json!({ "id": "pod", "address": "10.32.7.7/12" });
        ensure!(daemon.post("/v1/addresses/claim", &taken)?.code == 409);
        daemon.stop()?;
        node.sh("ip addr flush dev weave")?;
        daemon.restart()?;
        exposed(true)?;
        let seen = daemon.ask("status ipam")?;
        ensure!(seen["here"]["exposed"].as_array().is_some_and(|it| it.len() == 3), "{seen}");
        daemon.weft("hide")?;
        exposed(false)?;
        ensure!(daemon.leases()?.is_empty());
        daemon.stop()?;
        daemon.restart()?;
        exposed(false)
    })
    .unwrap();
}

#[test]
fn no_request_leases_or_frees_in_the_name_of_the_bridge() {
    let _turn = beside().unwrap();
    Lab::with("ipam-reserved", |lab| {
        let [node, _] = lab.nodes::<2>(&Underlay::default())?;
        let daemon = Daemon::start(&node, &[])?;
        daemon.weft("expose")?;
        let before = daemon.leases()?;

        for (path, body) in [
            ("allocate", json!({ "id": "weave:expose" })),
            ("claim", json!({ "id": "weave:expose", "address": "10.32.0.9/12" })),
            ("free", json!({ "id": "weave:expose" })),
        ] {
            let refused = daemon.post(&format!("/v1/addresses/{path}"), &body)?;
            ensure!(refused.code == 400, "{path}: {refused:?}");
            ensure!(text(&refused.body, "/what_to_do")?.contains("weft hide"), "{refused:?}");
        }

        ensure!(before.len() == 1 && daemon.leases()? == before, "{before:?}");
        let looked = daemon.post("/v1/addresses/lookup", &json!({ "id": "weave:expose" }))?;
        ensure!(looked.code == 200, "{looked:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_exposed_address_that_another_node_has_leased_is_a_conflict_until_it_is_free_there() {
    let _turn = beside().unwrap();
    Lab::with("ipam-contested", |lab| {
        let (_nodes, mut daemons) = three(lab, &[])?;
        let addr = daemons[0].allocate("pod")?;
        let exposed = format!("{addr}/12");
        let shown = |daemon: &Daemon| -> Result<Vec<String>> {
            let seen = ipam(daemon)?;
            let all = seen["conflicts"].as_array().context("no conflicts")?;
            all.iter().map(|it| text(it, "/what")).collect()
        };
        daemons[1].stop()?;
        let first = daemons[0].node().addr().to_string();
        let as_before = ["--ipalloc-init", "consensus=3", &first];
        let exposing = [&as_before[..], &["--expose", &exposed]].concat();
        daemons[1].restart_with(&exposing)?;

        wait_until(WAIT, "the conflict is shown", || {
            shown(&daemons[1]).is_ok_and(|it| it.iter().any(|what| what.contains(&exposed)))
        })?;
        ensure!(
            daemons[1]
                .weft("status ipam")?
                .contains(&format!("conflict: the bridge has {exposed}"))
        );
        ensure!(daemons[1].count("/ipam/exposed_contested")? == 1);
        let said = daemons[1].proc.stderr();
        ensure!(said.matches("the bridge has").count() == 1, "{said}");
        daemons[0].post("/v1/addresses/free", &json!({ "id": "pod" }))?;

        let is_leased = |daemon: &Daemon, there: bool| {
            let leases = daemon.leases();
            leases.is_ok_and(|it| it.contains(&("weave:expose".to_owned(), addr)) == there)
        };
        wait_until(WAIT, "the bridge leases it", || is_leased(&daemons[1], true))?;
        wait_until(WAIT, "the conflict is over", || {
            shown(&daemons[1]).is_ok_and(|it| it.is_empty())
        })?;
        // A start without it frees it.
        daemons[1].stop()?;
        daemons[1].restart_with(&as_before)?;
        ensure!(is_leased(&daemons[1], true));
        wait_until(2 * WAIT, "it is free", || is_leased(&daemons[1], false))
    })
    .unwrap();
}
