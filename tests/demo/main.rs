//! `make demo`: three nodes with two pods each, joined by weftd, at work; a link is cut and healed; then all is gone.
#![expect(clippy::print_stdout, reason = "it is a show")]

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weft_tests::harness::weftd::{Daemon, all_answer, cluster};
use weft_tests::harness::{
    Lab, Node, Ping, Pod, PodSpec, Stopwatch, Underlay, cut, require_root, wait_until,
};

const NODES: usize = 3;
/// How long iperf3 sends.
const SECONDS: u64 = 3;
/// How long anything else may take.
const WAIT: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    require_root()?;
    Lab::with("demo", |lab| {
        let nodes = lab.nodes::<NODES>(&Underlay::default().switched())?;
        let daemons = cluster(&nodes, &["--ipalloc-init", &format!("consensus={NODES}")])?;
        let started = Stopwatch::start();
        let pods = plug_pods(&daemons)?;
        all_answer(&pods, WAIT)?;
        let met = started.elapsed();

        show_cluster(&nodes, &daemons, &pods);
        println!("All pods answered {} ms after the last start.", met.as_millis());
        for daemon in &daemons {
            daemon.wait_for_peers(NODES, WAIT)?;
        }
        show_pings(&pods)?;
        show_throughput("TCP between pods on different nodes", &pods)?;
        for what in ["status", "status connections", "status peers", "status paths", "status ipam"]
        {
            daemons.iter().take(1).try_for_each(|first| show_weft(first, what))?;
        }
        show_cut(&nodes, &daemons, &pods)?;
        show_healed(&nodes, &daemons, &pods)?;
        show_counters(&daemons)
    })?;
    println!("\nNamespaces, devices and processes of the demo are removed again.");
    Ok(())
}

/// Two for each node, with addresses from its part of the range.
fn plug_pods(daemons: &[Daemon]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (n, daemon) in (1..).zip(daemons) {
        for letter in ["a", "b"] {
            let name = format!("{letter}{n}");
            let addr = daemon.allocate(&name)?;
            let pod = daemon.node().add_pod(&PodSpec::new(&name, &format!("{addr}/12")))?;
            daemon.node().plug(&pod)?;
            pods.push(pod);
        }
    }
    Ok(pods)
}

fn show_cluster(nodes: &[Node], daemons: &[Daemon], pods: &[Pod]) {
    title(
        "A cluster: three nodes, two pods each; the nodes are given the first one's address only",
    );
    let first = nodes.first().map(|node| node.addr().to_string()).unwrap_or_default();
    for (n, (node, daemon)) in nodes.iter().zip(daemons).enumerate() {
        let peer = if n == 0 { "" } else { &first };
        println!("{} {:<11} weftd {peer:<11} named {}", node.name(), node.addr(), daemon.name());
        for pod in pods.iter().filter(|pod| pod.node().addr() == node.addr()) {
            println!("    pod {:<4} {}  {}", short(pod), pod.addr(), pod.mac());
        }
    }
    println!(
        "\nPods are plugged with: ip link set VETH master weave; their addresses are leased by POST /v1/addresses/allocate"
    );
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
            let ping =
                from.ping_with(&Ping::new(to.addr(), 5).interval(Duration::from_millis(10)))?;
            match ping.rtt().filter(|_| ping.perfect()) {
                Some(rtt) => print!("{:>8}", rtt.as_micros()),
                None => print!("{:>8}", "lost"),
            }
        }
        println!();
    }
    Ok(())
}

fn show_throughput(what: &str, pods: &[Pod]) -> Result<()> {
    title(&format!("{what} (iperf3, one stream)"));
    let (Some(from), Some(to)) = (pods.first(), pods.last()) else { return Ok(()) };
    let mut server = to.spawn(&["iperf3", "-s", "--forceflush"])?;
    server.wait_for_line("listening", WAIT)?;
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

fn show_weft(daemon: &Daemon, what: &str) -> Result<()> {
    title(&format!("{}: weft {what}", daemon.node().name()));
    print!("{}", daemon.weft(what)?);
    Ok(())
}

/// The first and the last node do not reach each other any more.
fn show_cut(nodes: &[Node], daemons: &[Daemon], pods: &[Pod]) -> Result<()> {
    let ([first, relay, last], [one, _, other]) = (daemons, nodes) else { return Ok(()) };
    title("The underlay drops everything between n1 and n3, both ways");
    cut(one, other)?;
    cut(other, one)?;
    let watch = Stopwatch::start();
    wait_for_answer(pods)?;
    println!("pods of n1 and n3 speak again after {} ms", watch.elapsed().as_millis());
    for (from, to) in [(first, last), (last, first)] {
        from.wait_for_path(to.name(), WAIT, |path| path.is_through(relay.name()))?;
        show_weft(from, "status paths")?;
    }
    show_throughput("TCP through the relay", pods)
}

fn show_healed(nodes: &[Node], daemons: &[Daemon], pods: &[Pod]) -> Result<()> {
    let [first, _, last] = daemons else { return Ok(()) };
    title("The underlay is whole again");
    nodes.iter().try_for_each(Node::heal)?;
    let watch = Stopwatch::start();
    for (from, to) in [(first, last), (last, first)] {
        from.wait_for_path(to.name(), WAIT, |path| path.is_direct())?;
    }
    println!("n1 and n3 go the direct way again after {} ms", watch.elapsed().as_millis());
    wait_for_answer(pods)?;
    show_weft(first, "status paths")
}

/// Waits until the first pod has an answer from the last.
fn wait_for_answer(pods: &[Pod]) -> Result<()> {
    let (Some(from), Some(to)) = (pods.first(), pods.last()) else { return Ok(()) };
    let ping = Ping::new(to.addr(), 1).wait(Duration::from_millis(100));
    wait_until(WAIT, "an answer", || from.ping_with(&ping).is_ok_and(|it| it.received == 1))
}

fn show_counters(daemons: &[Daemon]) -> Result<()> {
    title("Counters (weft report; every drop has a name)");
    for daemon in daemons {
        let report = daemon.report()?;
        let drops = report.pointer("/counters/drops").and_then(Value::as_object);
        let drops = drops.context("no drops")?;
        let drops = drops.iter().filter(|(_, count)| count.as_u64() > Some(0));
        let drops: Vec<_> = drops.map(|(why, count)| format!("{count} {why}")).collect();
        let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
        let count = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        println!(
            "{}  from pods {:>9} frames, to pods {:>9}, relayed {:>9}, dropped {drops}",
            daemon.node().name(),
            count("/counters/from_tap/frames"),
            count("/counters/to_tap/frames"),
            count("/counters/relayed/frames"),
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
