//! Addresses that go from one node to another.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weft_tests::harness::weftd::text;
use weft_tests::harness::{Lab, Node, Ping, Pod, PodSpec, Stopwatch, beside, serial};

use crate::{WAIT, ipam, number, one_each, three};

/// An address answers after this time, wherever it is.
const SOON: Duration = Duration::from_secs(1);

fn pod(node: &Node, name: &str, addr: std::net::IpAddr) -> Result<Pod> {
    let pod = node.add_pod(&PodSpec::new(name, &format!("{addr}/12")))?;
    node.plug(&pod)?;
    Ok(pod)
}

fn next(addr: std::net::IpAddr) -> Result<std::net::IpAddr> {
    match addr {
        std::net::IpAddr::V4(addr) => Ok(std::net::Ipv4Addr::from_bits(addr.to_bits() + 1).into()),
        std::net::IpAddr::V6(_) => anyhow::bail!("{addr} is none of the range"),
    }
}

/// Pings until there is an answer. How long that took.
fn answers(from: &Pod, to: std::net::IpAddr, limit: Duration) -> Result<Duration> {
    let watch = Stopwatch::start();
    let ping = Ping::new(to, 2).interval(Duration::from_millis(20));
    let ping = ping.wait(Duration::from_millis(100));
    weft_tests::harness::wait_until(limit, &format!("{to} answers"), || {
        from.ping_with(&ping).is_ok_and(|stats| stats.received > 0)
    })?;
    Ok(watch.elapsed())
}

#[test]
fn an_address_that_went_to_a_pod_of_another_node_answers_at_once() {
    let _turn = serial().unwrap();
    Lab::with("ipam-moves", |lab| {
        let (nodes, daemons) = three(lab, &[])?;
        one_each(&daemons)?;
        let client = pod(&nodes[2], "client", daemons[2].allocate("client")?)?;
        let addr = daemons[0].allocate("old")?;
        let old = pod(&nodes[0], "old", addr)?;
        answers(&client, addr, WAIT)?;

        old.delete()?;
        daemons[0].post("/v1/addresses/free", &json!({ "id": "old" }))?;
        let claimed = json!({ "id": "new", "address": format!("{addr}/12") });
        let watch = Stopwatch::start();
        ensure!(daemons[1].post("/v1/addresses/claim", &claimed)?.address()? == addr);
        let given = watch.elapsed();
        let _new = pod(&nodes[1], "new", addr)?;
        let took = answers(&client, addr, WAIT)?;

        println!(
            "{addr} was given over within {given:?}, and answered {took:?} after it was plugged in"
        );
        ensure!(took < SOON, "{took:?}");
        let taken = json!({ "id": "third", "address": format!("{addr}/12") });
        let refused = daemons[2].post("/v1/addresses/claim", &taken)?;
        ensure!(
            refused.code == 409 && text(&refused.body, "/why")?.contains(daemons[1].name()),
            "{refused:?}"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pod_that_a_removed_node_has_left_keeps_its_address() {
    let _turn = beside().unwrap();
    Lab::with("ipam-orphan", |lab| {
        let (nodes, mut daemons) = three(lab, &["--ipalloc-range", "10.32.0.0/28"])?;
        one_each(&daemons)?;
        // On the nodes that are left, with addresses of the one that is removed: one here, one elsewhere, seen from either.
        let addr = daemons[2].leases()?[0].1;
        let next = next(addr)?;
        let _squatters = [pod(&nodes[0], "squatter", addr)?, pod(&nodes[1], "other", next)?];
        let name = daemons[2].name().to_owned();
        daemons[2].kill()?;
        weft_tests::harness::wait_until(WAIT, "it is missed", || {
            daemons[0].up().is_ok_and(|up| up == 2)
        })?;

        let removal = daemons[0].post("/v1/rmpeer", &json!({ "name": name }))?;
        ensure!(removal.code == 200, "{removal:?}");
        let mut leased = Vec::new();
        for number in 0..28 {
            let id = json!({ "id": format!("pod{number}") });
            let replied = daemons[number % 2].post("/v1/addresses/allocate", &id)?;
            leased.extend(replied.address());
        }

        println!("{} leased, but for {addr} and {next}", leased.len());
        ensure!(!leased.contains(&addr) && !leased.contains(&next), "leased twice: {leased:?}");
        // 14, less two that the others have and the two that somebody uses.
        ensure!(leased.len() == 10, "{leased:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_node_that_is_reset_hands_its_addresses_over() {
    let _turn = beside().unwrap();
    Lab::with("ipam-leave", |lab| {
        let (nodes, mut daemons) = three(lab, &[])?;
        one_each(&daemons)?;
        let owned = number(&ipam(&daemons[2])?, "/here/owned")?;
        let weft = weft_tests::harness::weftd::path("weft")?;

        let refused = nodes[2].try_run(&[&weft, "reset"])?;
        daemons[2].post("/v1/addresses/free", &json!({ "id": "first" }))?;
        let watch = Stopwatch::start();
        let left = nodes[2].try_run(&[&weft, "reset"])?;

        ensure!(refused.stderr.contains("1 addresses are leased here"), "{refused:?}");
        println!("{} within {:?}", left.stdout.trim(), watch.elapsed());
        ensure!(left.stdout.contains(&format!("{owned} IPs handed to")), "{left:?}");
        ensure!(left.stderr.contains("stop weftd"), "{left:?}");
        ensure!(text(&ipam(&daemons[2])?, "/state")? == "left");
        daemons[2].stop()?;
        let all = nodes[2].try_run(&[&weft, "reset", "--all"])?;
        ensure!(all.status.success() && all.stdout.contains("ipam.redb"), "{all:?}");
        daemons[..2].iter().try_for_each(|daemon| daemon.allocate("after").map(drop))
    })
    .unwrap();
}
