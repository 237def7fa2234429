//! What ADD and DEL cost: `weft-cni` beside the reference plugins `bridge` and `host-local`, in the same run.
//!
//! On one node, pods are added eight at a time and removed again, by turns with either plugin; the figures are those of whole
//! processes, from the start of the plugin to its end. `WEFT_PODS=200` is how many a round has.
#![expect(clippy::print_stdout, reason = "a table for people")]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::runtime::{Container, network};
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Lab, Node, Underlay, serial};

/// At once.
const AT_ONCE: usize = 8;
/// By turns.
const ROUNDS: usize = 3;
/// Where the reference plugins are.
const REFERENCE: &str = "/usr/lib/cni";

/// A plugin, and how it is configured.
struct Plugin {
    name: &'static str,
    program: String,
    config: Value,
}

fn main() -> Result<()> {
    if !env::args().any(|arg| arg == "--bench") {
        println!("nothing measured: run `cargo bench`, or give --bench");
        return Ok(());
    }
    let pods = env::var("WEFT_PODS").ok().and_then(|it| it.parse().ok()).unwrap_or(100);
    let _turn = serial()?;
    Lab::with("bench-cni", |lab| {
        let [node] = lab.nodes::<1>(&Underlay::default())?;
        let _daemon = Daemon::start(&node, &["--expose", "10.32.0.1/12"])?;
        node.run(&["mkdir", "-p", "/run/ipam"])?;
        let plugins = [weft()?, reference()];
        let mut all: [[Vec<Duration>; 2]; 2] = Default::default();
        for round in 0..ROUNDS {
            for (plugin, took) in plugins.iter().zip(&mut all) {
                let containers =
                    (0..pods).map(|number| Container::new(&node, &format!("r{round}{number}")));
                let containers = containers.collect::<Result<Vec<_>>>()?;
                for (verb, took) in ["ADD", "DEL"].into_iter().zip(took) {
                    took.extend(run(&node, plugin, verb, &containers)?);
                }
                containers.into_iter().try_for_each(Container::delete)?;
            }
        }
        println!("{pods} pods, {AT_ONCE} at once, {ROUNDS} rounds by turns; ms");
        let mut medians = Vec::new();
        for (plugin, took) in plugins.iter().zip(&mut all) {
            for (verb, took) in ["ADD", "DEL"].into_iter().zip(took) {
                took.sort_unstable();
                let [half, most, last] = [50, 99, 100].map(|percent| at(took, percent));
                println!(
                    "{verb} {:<18} p50 {half:6.1}  p99 {most:6.1}  max {last:6.1}",
                    plugin.name
                );
                medians.push((half, most));
            }
        }
        if let [add, del, other_add, other_del] = &medians[..] {
            println!(
                "weft to reference: ADD p50 {:.2} p99 {:.2}, DEL p50 {:.2} p99 {:.2}",
                add.0 / other_add.0,
                add.1 / other_add.1,
                del.0 / other_del.0,
                del.1 / other_del.1
            );
        }
        Ok(())
    })
}

fn weft() -> Result<Plugin> {
    Ok(Plugin { name: "weft-cni", program: weftd::path("weft-cni")?, config: network("1.0.0") })
}

fn reference() -> Plugin {
    let config = json!({
        "cniVersion": "1.0.0", "name": "reference", "type": "bridge", "bridge": "reference0", "isGateway": true,
        "ipam": { "type": "host-local", "subnet": "10.200.0.0/16", "dataDir": "/run/ipam", "routes": [{ "dst": "0.0.0.0/0" }] }
    });
    Plugin { name: "bridge+host-local", program: format!("{REFERENCE}/bridge"), config }
}

/// Calls a plugin for each container.
fn run(node: &Node, plugin: &Plugin, verb: &str, of: &[Container]) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        while let Some(container) = of.get(next.fetch_add(1, Relaxed)) {
            took.push(call(node, plugin, verb, container)?);
        }
        Ok(took)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for thread in threads {
            let took = thread.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
            all.extend(took?);
        }
        Ok(all)
    })
}

/// How long a call took: the shell that enters the node measures, so that entering is not counted.
fn call(node: &Node, plugin: &Plugin, verb: &str, of: &Container) -> Result<Duration> {
    let script = format!(
        "exec 3<<'END'\n{config}\nEND\nbegan=$(date +%s%N)\n\
         CNI_COMMAND={verb} CNI_CONTAINERID={id} CNI_IFNAME=eth0 CNI_NETNS={netns} CNI_PATH={REFERENCE} {program} <&3 >/dev/null || exit 1\n\
         ended=$(date +%s%N)\necho $((ended - began))",
        config = plugin.config,
        id = of.id,
        netns = of.netns(),
        program = plugin.program,
    );
    let said = node.run(&["sh", "-c", &script])?;
    let nanos = said.trim().parse().with_context(|| format!("{said:?}"))?;
    let took = Duration::from_nanos(nanos);
    ensure!(took < Duration::from_secs(20), "{verb} of {} took {took:?}", of.id);
    Ok(took)
}

/// In milliseconds.
fn at(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
}
