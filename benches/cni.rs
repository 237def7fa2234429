//! What ADD and DEL cost: `weft-cni` beside the reference plugins `bridge` and `host-local`, in the same run.
//!
//! On one node, pods are added eight at a time and removed again, by turns with either plugin; the figures are those of whole
//! processes, from the start of the plugin to its end. `WEFT_PODS=200` is how many a round has.
#![expect(clippy::print_stdout, reason = "a table for people")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use weft_tests::harness::runtime::{Container, network};
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Lab, Node, Stopwatch, Underlay, serial};

/// At once.
const AT_ONCE: usize = 8;
/// By turns.
const ROUNDS: usize = 3;
/// What this program is called with inside the node.
const CALLS: &str = "calls";
/// Where the reference plugins are.
const REFERENCE: &str = "/usr/lib/cni";

/// A plugin, and how it is configured.
struct Plugin {
    name: &'static str,
    program: String,
    config: Value,
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().collect();
    if let [_, what, args @ ..] = &args[..]
        && what == CALLS
    {
        return calls(args);
    }
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

/// Calls a plugin for each container, and tells how long each call took. The calls are made by one process that has entered the
/// node, as a runtime's are: entering is not counted, and takes no processor from what is.
fn run(node: &Node, plugin: &Plugin, verb: &str, of: &[Container]) -> Result<Vec<Duration>> {
    let own = env::current_exe()?;
    let own = own.to_str().context("an odd path")?;
    let (config, program) = (plugin.config.to_string(), &*plugin.program);
    let each: Vec<_> = of.iter().map(|it| format!("{}={}", it.id, it.netns())).collect();
    let mut argv = vec![own, CALLS, verb, program, &config];
    argv.extend(each.iter().map(String::as_str));
    let said = node.run(&argv)?;
    let took = said.lines().map(|it| Ok(Duration::from_nanos(it.parse()?)));
    let took = took.collect::<Result<Vec<_>>>().with_context(|| format!("{said:?}"))?;
    ensure!(took.len() == of.len(), "{} of {}", took.len(), of.len());
    Ok(took)
}

/// What [`run`] has started: prints a line of nanoseconds for each call.
fn calls(args: &[String]) -> Result<()> {
    let [verb, program, config, each @ ..] = args else { bail!("{args:?}") };
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        while let Some(of) = each.get(next.fetch_add(1, Relaxed)) {
            took.push(call(verb, program, config, of).with_context(|| format!("{verb} {of}"))?);
        }
        Ok(took)
    };
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let all = threads
            .into_iter()
            .map(|it| it.join().map_err(|_| anyhow!("a thread has panicked"))?);
        all.collect::<Result<Vec<_>>>()
    })?;
    all.into_iter().flatten().for_each(|it| println!("{}", it.as_nanos()));
    Ok(())
}

/// One call, from the start of the process to its end.
fn call(verb: &str, program: &str, config: &str, of: &str) -> Result<Duration> {
    let (id, netns) = of.split_once('=').context("no namespace")?;
    let began = Stopwatch::start();
    let mut plugin = Command::new(program)
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")])
        .envs([("CNI_NETNS", netns), ("CNI_PATH", REFERENCE)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    plugin.stdin.take().context("no stdin")?.write_all(config.as_bytes())?;
    let said = plugin.wait_with_output()?;
    let took = began.elapsed();
    ensure!(said.status.success(), "{said:?}");
    Ok(took)
}

/// In milliseconds.
fn at(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
}
