//! However the TAP is opened, pods get the same.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weft::{Switch, pods};
use weft_tests::harness::{Lab, Node, Pod, Underlay, transfer_both, transfer_to};

use crate::exchange::exchange_all;

const POD_MTU: u32 = 1450;
const MB: u64 = 1_000_000;

#[test]
fn two_switches_with_offloads_carry_everything() {
    beside("offload", "offload");
}

#[test]
fn two_plain_switches_carry_everything() {
    beside("plain", "plain");
}

#[test]
fn a_plain_switch_carries_everything_to_one_with_offloads() {
    beside("plain", "offload");
}

#[test]
fn a_switch_with_offloads_carries_everything_to_a_plain_one() {
    beside("offload", "plain");
}

#[test]
fn a_switch_that_is_started_with_another_tap_keeps_its_pods_plugged() {
    Lab::with("tap-again", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let [a, b] = &nodes;
        let _other = Switch::start(b, &[a], &["--tap", "offload"])?;
        let mut switch = Switch::start(a, &[b], &["--tap", "plain"])?;
        let pods = pods(&nodes, POD_MTU)?;
        traffic_goes_on(&pods)?;
        ensure!(!multi_queue(a)?, "plain");

        for tap in ["offload", "plain", "auto", "plain", "offload", "offload"] {
            switch.stop()?;
            switch = Switch::start(a, &[b], &["--tap", tap])?;

            ensure!(multi_queue(a)? == (tap != "plain"), "{tap}");
            for pod in &pods[..1] {
                let port = a.run(&["bridge", "link", "show", "dev", &pod.host_if()])?;
                ensure!(port.contains("master weave"), "{tap}: {port}");
            }
            let port = a.run(&["bridge", "-d", "link", "show", "dev", "weave-tap"])?;
            ensure!(port.contains("master weave") && port.contains("isolated on"), "{tap}: {port}");
            traffic_goes_on(&pods).context(tap)?;
        }
        Ok(())
    })
    .unwrap();
}

fn beside(one: &str, two: &str) {
    Lab::with(&format!("{one}-{two}"), |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let [a, b] = &nodes;
        let first = Switch::start(a, &[b], &["--tap", one])?;
        let second = Switch::start(b, &[a], &["--tap", two])?;

        exchange_all(&pods(&nodes, POD_MTU)?)?;

        nothing_is_refused(&first.stop()?)?;
        nothing_is_refused(&second.stop()?)
    })
    .unwrap();
}

fn traffic_goes_on(pods: &[Pod]) -> Result<()> {
    let [p, q] = pods else { unreachable!("two pods") };
    ensure!(p.ping(q.addr(), 3)?.perfect());
    ensure!(q.ping(p.addr6()?, 3)?.perfect());
    let (forth, back) = transfer_both(p, q, 5 * MB)?;
    ensure!(forth.intact() && back.intact(), "{forth:?} {back:?}");
    ensure!(transfer_to(p, q, q.addr6()?.into(), 5 * MB)?.intact());
    Ok(())
}

fn multi_queue(node: &Node) -> Result<bool> {
    Ok(node.run(&["ip", "-d", "link", "show", "weave-tap"])?.contains("multi_queue"))
}

/// Nothing was dropped for what it was. What found a queue full is TCP's own business.
fn nothing_is_refused(stats: &Value) -> Result<()> {
    let drops = stats.get("drops").and_then(Value::as_object).context("no drops")?;
    for (reason, count) in drops {
        let full = ["underlay_full", "tap_full"].contains(&reason.as_str());
        ensure!(full || count.as_u64() == Some(0), "{count} dropped: {reason}");
    }
    Ok(())
}
