//! `weft reset`: everything that weft made goes, and nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::weftd::{Daemon, pod};
use weft_tests::harness::{Lab, Node, Underlay, beside, bin, pause, wait_until};

/// Links as they are, without what changes by itself, and all rules.
fn seen(node: &Node) -> Result<String> {
    let links = node.run(&["ip", "-j", "link"])?;
    let neighbours = node.run(&["ip", "neigh", "show", "nud", "permanent"])?;
    Ok(format!("{links}\n{}\n{neighbours}", node.run(&["nft", "-s", "list", "ruleset"])?))
}

/// The same when it stays so: a TAP that its process has left loses its carrier a moment later, which the kernel tells once a
/// second at most (net/core/link_watch.c).
fn settled(node: &Node) -> Result<String> {
    let mut last = seen(node)?;
    wait_until(Duration::from_secs(10), "links that stay as they are", || {
        pause(Duration::from_millis(1500));
        seen(node).is_ok_and(|now| std::mem::replace(&mut last, now.clone()) == now)
    })?;
    Ok(last)
}

fn reset(node: &Node, words: &[&str]) -> Result<(bool, String)> {
    let program = bin("weft")?.to_string_lossy().into_owned();
    let output = node.try_run(&[&[program.as_str(), "reset"], words].concat())?;
    Ok((output.status.success(), format!("{}{}", output.stdout, output.stderr)))
}

#[test]
fn reset_removes_all_that_weft_made_and_only_that() {
    let _turn = beside().unwrap();
    Lab::with("reset", |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        node.sh(
            "ip link add br9 type bridge; ip link add other type veth peer name far; nft add table inet mine",
        )?;
        let before = seen(&node)?;
        let mut daemon = Daemon::start(&node, &["--fastpath", "require", "--expose", "10.32.0.9/24"])?;
        let pod = pod(&node, "p1", 1)?;
        let name = daemon.name().to_owned();

        let (done, said) = reset(&node, &["--force"])?;
        ensure!(!done && said.contains("stop weftd first"), "{said}");
        ensure!(daemon.proc.running());
        daemon.kill()?;
        let running = settled(&node)?;
        let (done, said) = reset(&node, &[])?;
        ensure!(!done && said.contains(&pod.host_if()), "{said}");
        let (done, listed) = reset(&node, &["--dry-run", "--force"])?;
        ensure!(done && seen(&node)? == running, "{listed}");
        pod.delete()?;
        let (done, removed) = reset(&node, &[])?;

        println!("{removed}");
        ensure!(done && removed == listed, "{removed}, not {listed}");
        for what in
            ["weave", "10.32.0.9/24", "/exposed", "weave-tap", "vxlan-6784", "inet weft", "netdev weft", "/plan", "weft.sock"]
        {
            ensure!(removed.contains(what), "no {what} in {removed}");
        }
        let after = seen(&node)?;
        ensure!(after == before, "before: {before}\nafter: {after}");
        let (done, again) = reset(&node, &[])?;
        ensure!(done && again.is_empty(), "{again}");
        daemon.restart()?;
        ensure!(daemon.status()?.pointer("/router/name") == Some(&name.into()), "another name");
        daemon.stop()?;
        let (done, said) = reset(&node, &["--all"])?;
        ensure!(!done && said.contains("this node owns") && said.contains("weft rmpeer"), "{said}");
        let (_, listed) = reset(&node, &["--all", "--force", "--dry-run"])?;
        let (done, said) = reset(&node, &["--all", "--force"])?;
        ensure!(done && said.contains("mesh.json") && said.contains("ipam.redb"), "{said}");
        ensure!(listed == said && said.contains("/run/weft/ipam.witness"), "{said}, not {listed}");
        ensure!(!node.try_run(&["test", "-e", "/run/weft/ipam.witness"])?.status.success());
        ensure!(seen(&node)? == before);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_bridge_that_weft_only_adopted_stays() {
    let _turn = beside().unwrap();
    Lab::with("reset-foreign", |lab| {
        let [one, two] = lab.nodes(&Underlay::default())?;
        two.sh("ip link add weave type bridge; ip link set weave up")?;
        let mut first = Daemon::start(&one, &[])?;
        let mut second = Daemon::start(&two, &[&one.addr().to_string()])?;
        let pods = [pod(&one, "p1", 1)?, pod(&two, "p2", 2)?];
        weft_tests::harness::weftd::all_answer(&pods, crate::MEET)?;
        ensure!(
            two.run(&["ip", "neigh", "show", "dev", "weave", "nud", "permanent"])?
                .contains("10.32.0.")
        );
        second.stop()?;

        let (done, said) = reset(&two, &[])?;

        ensure!(done && !said.contains("link weave\n"), "{said}");
        let links = two.run(&["ip", "-br", "link"])?;
        ensure!(
            links.contains("weave ")
                && !links.contains("weave-tap")
                && links.contains(&pods[1].host_if()),
            "{links}"
        );
        let left = two.run(&["ip", "neigh", "show", "dev", "weave", "nud", "permanent"])?;
        ensure!(!left.contains("10.32.0."), "{left}");
        first.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn a_dry_run_beside_a_daemon_tells_what_would_be_handed_over_and_removed() {
    let _turn = beside().unwrap();
    Lab::with("reset-dry", |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        let mut daemon = Daemon::start(&node, &["--ipalloc-range", "10.32.0.0/24"])?;
        daemon.weft("expose")?;
        daemon.allocate("p1")?;
        let pod = pod(&node, "p1", 1)?;
        let before = (settled(&node)?, daemon.leases()?);

        let (done, said) = reset(&node, &["--dry-run", "--all"])?;

        println!("{said}");
        ensure!(done && daemon.proc.running(), "{said}");
        ensure!((seen(&node)?, daemon.leases()?) == before);
        for what in [
            "256 IPs to hand to another node, 1 of them leased to pods",
            "link weave\n",
            "/24 of weave\n",
            "inet weft\n",
            "/ipam.redb\n",
            "/ipam.witness\n",
            "weftd runs: stop it",
            &pod.host_if(),
        ] {
            ensure!(said.contains(what), "no {what} in {said}");
        }
        daemon.stop().map(drop)
    })
    .unwrap();
}
