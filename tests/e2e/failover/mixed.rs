//! Nodes that carry frames by different means, side by side.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping, cluster, spawn};
use weft_tests::harness::{
    Cluster, Flow, Lab, Node, Pace, Proto, Underlay, beside, cut_port, pause, serial, transfer,
};

use crate::{AFTER, GAP, LONG, WAIT, whole};

/// From the start of flows to a fault: by then both ends know that there is traffic.
const BEGUN: Duration = Duration::from_millis(1_500);
const MB: u64 = 1_000_000;

#[test]
fn nodes_with_and_without_a_kernel_that_carries_frames_reach_each_other_and_floods_come_once() {
    let _turn = serial().unwrap();
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("mixed", |lab| {
            let nodes = lab.nodes::<4>(&underlay)?;
            let any = if nodes[0].addr().is_ipv4() { "0.0.0.0" } else { "::" };
            let _foreign = nodes[2].inside(async || Ok(UdpSocket::bind((any, 6784))?))?;
            let first = nodes[0].addr().to_string();
            let daemons = vec![
                Daemon::start(&nodes[0], &["--local", &first])?,
                Daemon::start(&nodes[1], &["--fastpath", "off", &first])?,
                Daemon::start(&nodes[2], &[&first])?,
                Daemon::start_through(&["env", "WEAVE_NO_FASTDP=1"], &nodes[3], &[&first])?,
            ];
            let it = Cluster::of(nodes, daemons)?;
            all_answer(&it.pods, WAIT)?;
            let said = it.daemon(2)?.proc.stderr();
            let line = said.lines().find(|line| line.contains("UDP port is in use"));
            println!("{}", line.context("nothing is said of the port that is taken")?);

            all_ping(&it.pods, 5)?;
            for from in 0..4 {
                let others = it.pods.iter().enumerate().filter(|(to, _)| *to != from);
                let others: Vec<&weft_tests::harness::Host> = others.map(|(_, it)| &**it).collect();
                let pace = Pace { rate: 500, seconds: 1 };
                whole("floods", [Flow::broadcast(it.pod(from)?, &others, pace)?])?;
                for to in (0..4).filter(|to| *to != from) {
                    let moved = transfer(it.pod(from)?, it.pod(to)?, 5 * MB)?;
                    ensure!(moved.intact(), "{moved:?}");
                }
            }
            for (from, to, kind) in [(0, 1, "fast"), (1, 0, "user"), (2, 0, "user"), (3, 2, "user")]
            {
                let path = it.path(from, to)?;
                ensure!(path.kind == kind, "n{} to n{}: {path:?}", from + 1, to + 1);
            }
            Ok(())
        })
        .unwrap();
    }
}

/// Whether bridged packets pass iptables, as Kubernetes wants it, or not.
#[test]
fn with_br_netfilter_and_without_it_all_arrives_once_also_when_the_path_changes() {
    let _turn = serial().unwrap();
    for calls in ["1", "0"] {
        Lab::with("netfilter", |lab| {
            let nodes = lab.nodes::<3>(&Underlay::default())?;
            for node in &nodes {
                node.sh(&format!(
                    "for each in /proc/sys/net/bridge/bridge-nf-call-*; do echo {calls} >$each; done"
                ))?;
            }
            let daemons = cluster(&nodes, &[])?;
            let it = Cluster::of(nodes, daemons)?;
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                it.wait_for_fast(one, other)?;
            }
            whole("floods", [it.floods(0, 2)?])?;
            let others = it.flows(0, 2, LONG)?;
            let flows = it.flows(0, 1, LONG)?;
            pause(BEGUN);
            cut_port(it.node(0)?, it.node(1)?, Proto::Udp, 6784)?;
            it.wait_for(1, 0, WAIT, |path| path.kind == "sleeve")?;
            it.node(1)?.heal()?;
            it.wait_for_fast(0, 1)?;
            let outcomes = Flow::stop(flows.into_iter().chain(others).collect(), AFTER)?;
            for (number, outcome) in outcomes.iter().enumerate() {
                let cut = number < 2;
                println!("bridge-nf-call {calls}: {}: {outcome}", if cut { "cut and healed" } else { "with the third" });
                ensure!(outcome.twice == 0 && if cut { outcome.gap < GAP } else { outcome.lost == 0 });
            }
            let moved = transfer(it.pod(1)?, it.pod(0)?, 5 * MB)?;
            ensure!(moved.intact(), "{moved:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_kernel_that_has_to_carry_frames_and_cannot_is_a_reason_not_to_start() {
    let _turn = beside().unwrap();
    Lab::with("require", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let taken = nodes[0].inside(async || Ok(UdpSocket::bind(("0.0.0.0", 6784))?))?;

        let mut refused = spawn(&nodes[0], &["--fastpath", "require"])?;
        let ended = refused.wait(Duration::from_secs(20))?;

        let said = refused.stderr();
        println!("{}", said.lines().last().context("nothing is said")?);
        ensure!(ended.code() == Some(1), "{ended}");
        ensure!(said.lines().filter(|line| line.contains("--fastpath require")).count() == 1);
        drop(taken);
        starts(&nodes[0])
    })
    .unwrap();
}

fn starts(node: &Node) -> Result<()> {
    Daemon::start(node, &["--fastpath", "require"])?.stop().map(drop)
}
