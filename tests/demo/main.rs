//! `make demo`: three nodes with two pods each, joined by weft-switch, at work and then gone.
#![expect(clippy::print_stdout, reason = "it is a show")]

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weft_tests::harness::weft::{Switch, counter, mesh};
use weft_tests::harness::{Lab, Node, Pod, PodSpec, Underlay, require_root};

const NODES: usize = 3;
/// How long iperf3 sends.
const SECONDS: u64 = 3;

fn main() -> Result<()> {
    require_root()?;
    Lab::with("demo", |lab| {
        let nodes = lab.nodes::<NODES>(&Underlay::default().switched())?;
        let mut switches = mesh(&nodes, &[])?;
        let pods = plug_pods(&nodes)?;

        show_cluster(&nodes, &pods);
        show_pings(&pods)?;
        show_throughput(&pods)?;
        show_stations(&nodes, &pods, &mut switches)?;
        show_links(&nodes)?;
        show_counters(&nodes, &mut switches)?;
        Ok(())
    })?;
    println!("\nNamespaces, devices and processes of the demo are removed again.");
    Ok(())
}

fn plug_pods(nodes: &[Node]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (n, node) in (1..).zip(nodes) {
        for letter in ["a", "b"] {
            let host = n * 10 + if letter == "a" { 1 } else { 2 };
            let pod = node
                .add_pod(&PodSpec::new(&format!("{letter}{n}"), &format!("10.32.0.{host}/24")))?;
            node.plug(&pod)?;
            pods.push(pod);
        }
    }
    Ok(pods)
}

fn show_cluster(nodes: &[Node], pods: &[Pod]) {
    title("A cluster: three nodes, two pods each, one underlay that knows nothing of pods");
    for node in nodes {
        let others = nodes.iter().filter(|it| it.addr() != node.addr());
        let peers: String = others.map(|it| format!(" --peer {}", it.addr())).collect();
        println!("{}  weft-switch --local {}{peers}", node.name(), node.addr());
        for pod in pods.iter().filter(|pod| pod.node().addr() == node.addr()) {
            println!("    pod {:<4} {}  {}", short(pod), pod.addr(), pod.mac());
        }
    }
    println!("\nPods are plugged with: ip link set VETH master weave");
}

fn show_pings(pods: &[Pod]) -> Result<()> {
    title("Every pod pings every other (median of 5, in microseconds)");
    print!("from\\to ");
    pods.iter().for_each(|pod| print!("{:>8}", short(pod)));
    println!();
    for from in pods {
        print!("{:<8}", short(from));
        for to in pods {
            if from.addr() == to.addr() {
                print!("{:>8}", "-");
                continue;
            }
            let ping = from.ping(to.addr(), 5)?;
            match ping.rtt().filter(|_| ping.perfect()) {
                Some(rtt) => print!("{:>8}", rtt.as_micros()),
                None => print!("{:>8}", "lost"),
            }
        }
        println!();
    }
    Ok(())
}

fn show_throughput(pods: &[Pod]) -> Result<()> {
    title("TCP between pods on different nodes (iperf3, one stream)");
    let (Some(from), Some(to)) = (pods.first(), pods.last()) else { return Ok(()) };
    let _server = {
        let mut server = to.spawn(&["iperf3", "-s", "--forceflush"])?;
        server.wait_for_line("listening", Duration::from_secs(10))?;
        server
    };
    let (target, seconds) = (to.addr().to_string(), SECONDS.to_string());
    for (direction, flag) in [("->", "--forceflush"), ("<-", "-R")] {
        let argv = ["iperf3", "-J", "-c", &target, "-t", &seconds, flag];
        let report = from.run_for(Duration::from_secs(SECONDS + 20), &argv)?;
        let report: Value = serde_json::from_str(&report)?;
        let rate = report.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
        let rate = rate.context("iperf3 tells no rate")? / 1e9;
        println!("{} {direction} {}   {rate:.2} Gbit/s", short(from), short(to));
    }
    Ok(())
}

fn show_stations(nodes: &[Node], pods: &[Pod], switches: &mut [Switch]) -> Result<()> {
    title("What each switch has learned (kill -USR1; bridges are stations too)");
    let name = |mac: &str| pods.iter().find(|pod| pod.mac() == mac).map_or("", |pod| short(pod));
    for (node, switch) in nodes.iter().zip(switches) {
        println!("{}", node.name());
        for (mac, at) in switch.stations()? {
            println!("    {mac}  at {at:<12} {}", name(&mac));
        }
    }
    Ok(())
}

fn show_links(nodes: &[Node]) -> Result<()> {
    title("What the kernel says on the first node (bridge link, bridge fdb)");
    let Some(node) = nodes.first() else { return Ok(()) };
    print!("{}", node.run(&["bridge", "link"])?);
    let fdb = node.run(&["bridge", "fdb", "show", "br", "weave"])?;
    for line in fdb.lines().filter(|line| !line.contains("permanent")) {
        println!("{line}");
    }
    Ok(())
}

fn show_counters(nodes: &[Node], switches: &mut [Switch]) -> Result<()> {
    title("Counters (--stats; every drop has a name)");
    for (node, switch) in nodes.iter().zip(switches) {
        let stats = switch.stats()?;
        let drops = stats.get("drops").and_then(Value::as_object).context("no drops")?;
        let drops: Vec<_> = drops.iter().filter(|(_, count)| count.as_u64() > Some(0)).collect();
        println!(
            "{}  from pods {:>9} frames, to pods {:>9} frames, dropped {drops:?}",
            node.name(),
            counter(&stats, "/from_tap/frames")?,
            counter(&stats, "/to_tap/frames")?,
        );
    }
    Ok(())
}

/// The pod's name without those of its run and node.
fn short(pod: &Pod) -> &str {
    pod.name().rsplit('-').next().unwrap_or_default()
}

fn title(text: &str) {
    println!("\n── {text} {}", "─".repeat(96usize.saturating_sub(text.chars().count())));
}
