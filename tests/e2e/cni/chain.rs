//! What follows weft-cni in the chain of `weft setup-cni`: the plugins of containernetworking, run by libcni as by a runtime.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::cnitool::{self, Cnitool};
use weft_tests::harness::runtime::{Container, address};
use weft_tests::harness::{Host, Lab, Node, beside, transfer_to};

use crate::{WAIT, nothing_left, one, two};

/// Of the node, and of the pod: TCP and UDP.
const TCP: (u16, u16) = (8080, 80);
const UDP: (u16, u16) = (8053, 53);

/// Octets that go through a port of the node.
const OCTETS: u64 = 300_000;
/// Octets that take two seconds at the limit.
const MUCH: u64 = 2_000_000;
/// Of the limit, in bits a second.
const RATE: u64 = 8_000_000;
/// The devices that take what comes from a pod.
const IFBS: &str = "ip -br link show type ifb";

#[test]
fn a_port_of_the_host_leads_to_a_pod_and_is_closed_with_it() {
    cnitool::program().unwrap();
    let _turn = beside().unwrap();
    Lab::with("cni-hostport", |lab| {
        let (nodes, mut daemons) = two(lab)?;
        let runtimes = [Cnitool::set_up(&daemons[0])?, Cnitool::set_up(&daemons[1])?];
        forward(&nodes, false)?;
        let [server, near] = [Container::new(&nodes[0], "server")?, Container::new(&nodes[0], "near")?];
        let far = Container::new(&nodes[1], "far")?;
        let mapping = |(host, pod): (u16, u16), protocol: &str| {
            json!({ "hostPort": host, "containerPort": pod, "protocol": protocol })
        };
        let wanted = json!({ "portMappings": [mapping(TCP, "tcp"), mapping(UDP, "udp")] });
        ensure!(!rules(&nodes[0])?.contains("8080"));

        runtimes[0].add(&server, &wanted)?;
        runtimes[0].add(&near, &json!({}))?;
        runtimes[1].add(&far, &json!({}))?;

        let addr = nodes[0].addr();
        let all: [(&str, &Host, IpAddr); 6] = [
            ("the other node", &nodes[1], addr),
            ("a pod of the other node", far.host(), addr),
            ("a pod of this node", near.host(), addr),
            ("this node", &nodes[0], addr),
            ("this node, by its loopback", &nodes[0], Ipv4Addr::LOCALHOST.into()),
            ("the pod itself", server.host(), addr),
        ];
        let mut echo = server.host().spawn_peer(&format!("udp-echo {}", UDP.1))?;
        echo.wait_for_line("listening", WAIT)?;
        // It is the operator's to have the nodes forward, as Kubernetes wants of each.
        daemons[0].proc.wait_for_line("the host does not forward", WAIT)?;
        ensure!(datagrams(&nodes[1], addr, 1)? == 0);
        forward(&nodes, true)?;
        for (who, from, to) in all {
            through_the_port(from, to, server.host()).with_context(|| who.to_owned())?;
        }
        ensure!(rules(&nodes[0])?.contains("8080"), "the rules are not where they are looked for");

        runtimes[0].del(&server, &wanted)?;
        let closed = send(&nodes[1], addr).map(drop);
        let why = closed.err().map(|it| format!("{it:#}")).unwrap_or_default();
        ensure!(why.contains("refused"), "it is not closed: {why}");
        let left = rules(&nodes[0])?;
        ensure!(!left.contains("8080") && !left.contains("CNI-DN-"), "rules are left: {left}");
        runtimes[0].del(&near, &json!({}))?;
        runtimes[1].del(&far, &json!({}))?;
        nothing_left(&nodes[0], &daemons[0])?;
        nothing_left(&nodes[1], &daemons[1])
    })
    .unwrap();
}

/// By TCP and by UDP; all of it arrives.
fn through_the_port(from: &Host, to: IpAddr, server: &Host) -> Result<()> {
    let mut serving = server.spawn_peer(&format!("tcp-serve {}", TCP.1))?;
    serving.wait_for_line("listening", WAIT)?;
    let sent = send(from, to)?;
    serving.wait(WAIT)?;
    let hash = sent.get("hash").context("no hash")?.to_string();
    ensure!(serving.stdout().contains(&hash), "{sent} is not {}", serving.stdout());
    let echoed = datagrams(from, to, 5)?;
    ensure!(echoed == 5, "{echoed} datagrams of 5 came back");
    Ok(())
}

/// How many of these come back.
fn datagrams(from: &Host, to: IpAddr, count: u32) -> Result<u64> {
    let line = format!("udp-send {to} {} 200 {count}", UDP.0);
    from.peer(WAIT, &line)?.get("received").and_then(Value::as_u64).context("no count")
}

fn forward(nodes: &[Node], on: bool) -> Result<()> {
    let line = format!("echo {} >/proc/sys/net/ipv4/ip_forward", u8::from(on));
    nodes.iter().try_for_each(|node| node.sh(&line).map(drop))
}

fn send(from: &Host, to: IpAddr) -> Result<Value> {
    from.peer(WAIT, &format!("tcp-send {to} {} {OCTETS} 7", TCP.0))
}

/// What portmap may have written, by whichever of its means.
fn rules(node: &Node) -> Result<String> {
    node.sh("iptables-save; nft list ruleset")
}

#[test]
fn a_pods_bandwidth_is_limited_both_ways_and_the_limits_go_with_it() {
    cnitool::program().unwrap();
    let _turn = beside().unwrap();
    Lab::with("cni-bandwidth", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let runtime = Cnitool::set_up(&daemon)?;
        let (slow, fast) = (&Container::new(&node, "slow")?, &Container::new(&node, "fast")?);
        let client = &Container::new(&node, "client")?;
        let burst = RATE / 10;
        let wanted = json!({ "bandwidth": {
            "ingressRate": RATE, "ingressBurst": burst, "egressRate": RATE, "egressBurst": burst,
        }});

        let to_slow = address(&runtime.add(slow, &wanted)?)?;
        let to_fast = address(&runtime.add(fast, &json!({}))?)?;
        let to_client = address(&runtime.add(client, &json!({}))?)?;

        let rate = |from: &Container, to: &Container, addr| -> Result<f64> {
            let done = transfer_to(from.host(), to.host(), addr, MUCH)?;
            ensure!(done.intact() && done.bytes == MUCH, "{done:?}");
            #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
            Ok(MUCH as f64 * 8e-6 / done.secs)
        };
        let (into, out_of) = (rate(client, slow, to_slow)?, rate(slow, client, to_client)?);
        let without = rate(client, fast, to_fast)?;
        println!("Mbit/s: {into:.1} into it, {out_of:.1} out of it, {without:.1} without a limit");
        for limited in [into, out_of] {
            ensure!(
                limited < 16.0 && limited > 2.0,
                "{limited} Mbit/s are not near the limit of 8"
            );
            ensure!(without > 4.0 * limited, "{without} Mbit/s are not without a limit");
        }
        let limits = || node.run(&["tc", "qdisc", "show"]);
        let there = limits()?;
        ensure!(there.contains("tbf") && there.contains("ingress"), "{there}");
        ensure!(!node.sh(IFBS)?.is_empty(), "its ifb is not there");

        runtime.del(slow, &wanted)?;
        let left = limits()?;
        ensure!(!left.contains("tbf") && !left.contains("ingress"), "limits are left: {left}");
        ensure!(node.sh(IFBS)?.is_empty(), "its ifb is left");
        runtime.del(fast, &json!({}))?;
        runtime.del(client, &json!({}))?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}
