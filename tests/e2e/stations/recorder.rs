//! The flight recorder: what happened to five nodes, run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::weftd::{Daemon, path};
use weft_tests::harness::{
    Lab, Node, Output, Pod, Stopwatch, Underlay, beside, cut, pause, serial,
};

use crate::{WAIT, cluster, pod};

/// How often everything is done, and how long that goes on in all: about half a minute.
const ROUNDS: u8 = 6;
const ROUND: Duration = Duration::from_secs(5);
/// A replay takes at most this part of the time that was recorded.
const FASTER: u32 = 10;

#[test]
fn the_journals_of_five_nodes_in_chaos_run_again_to_the_same_plans_in_a_tenth_of_the_time() {
    let turn = beside().unwrap();
    Lab::with("recorder", |lab| {
        let nodes = lab.nodes::<5>(&Underlay::default())?;
        let mut daemons = cluster(&nodes, &[])?;
        let mut pods = Vec::new();
        for (node, number) in nodes.iter().zip(1..) {
            pods.push(pod(node, &format!("p{number}"), number)?);
        }
        for round in 0..ROUNDS {
            chaos(round, &nodes, &mut daemons, &mut pods)?;
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(nodes.len(), WAIT))?;
        let file = |number| lab.dir().join(format!("journal-{number}"));
        for (number, daemon) in daemons.iter().enumerate() {
            daemon.weft(&format!("report --journal {}", text(&file(number))?))?;
        }
        drop((turn, daemons));

        let _turn = serial()?;
        let mut longest = None;
        for (number, node) in nodes.iter().enumerate() {
            let file = file(number);
            let recorded = replays(node, &file)?;
            if longest.as_ref().is_none_or(|(time, _)| *time < recorded) {
                longest = Some((recorded, file));
            }
        }
        let (recorded, file) = longest.context("five journals")?;
        ensure!(recorded > f64::from(ROUNDS) * 4.0, "the longest journal has {recorded} s only");
        refuses_what_is_not_whole(&nodes[0], &file)
    })
    .unwrap();
}

/// Things that happen to nodes, links and pods at once. All is well at the end.
#[expect(clippy::indexing_slicing, reason = "there are five of each")]
fn chaos(round: u8, nodes: &[Node], daemons: &mut [Daemon], pods: &mut [Pod]) -> Result<()> {
    let watch = Stopwatch::start();
    let (n, count) = (usize::from(round), nodes.len());
    let at = |offset: usize| (n + offset) % count;
    let (one, two) = (&nodes[at(0)], &nodes[at(1)]);
    cut(one, two)?;
    cut(two, one)?;
    let moved = pods[at(2)].move_to(&nodes[at(3)])?;
    nodes[at(3)].plug(&moved)?;
    moved.sh("ping -c2 -i 0.2 -W1 10.32.0.99 >/dev/null || true")?;
    // The first one is spared: its journal has everything.
    let victim = &mut daemons[1 + n % (count - 1)];
    victim.proc.kill()?;
    pause(Duration::from_secs(2));
    victim.restart()?;
    one.heal()?;
    two.heal()?;
    pods[at(2)] = moved.move_to(&nodes[at(2)])?;
    nodes[at(2)].plug(&pods[at(2)])?;
    pods[at(2)].sh("ping -c2 -i 0.2 -W1 10.32.0.99 >/dev/null || true")?;
    pause(ROUND.saturating_sub(watch.elapsed()));
    Ok(())
}

/// Runs a journal again. How many seconds it has.
fn replays(node: &Node, file: &Path) -> Result<f64> {
    let watch = Stopwatch::start();
    let output = replay(node, file)?;
    let took = watch.elapsed();
    ensure!(output.status.success(), "{}: {}", output.status, output.stderr);
    let summary = output.stdout.lines().last().context("it says nothing")?;
    println!(
        "{}: {} octets: {summary}; the process took {took:?}",
        node.name(),
        fs::metadata(file)?.len()
    );
    ensure!(summary.contains(", 0 otherwise than then;"), "{summary}");
    let recorded = summary.split(" steps over ").nth(1).and_then(|it| it.split(' ').next());
    let recorded: f64 = recorded.context(summary.to_owned())?.parse()?;
    ensure!(took < Duration::from_secs_f64(recorded) / FASTER, "{took:?} for {recorded} s");
    Ok(recorded)
}

fn refuses_what_is_not_whole(node: &Node, file: &Path) -> Result<()> {
    let whole = fs::read(file)?;
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    *altered.get_mut(middle).context("an octet")? ^= 1;
    let short = whole.get(..whole.len() - 100).context("a long one")?;
    for (what, octets) in [("cut off", short), ("altered", &altered), ("no journal", &b"abc"[..])] {
        let bad: PathBuf = file.with_extension("bad");
        fs::write(&bad, octets)?;

        let output = replay(node, &bad)?;

        println!("{what}: {}", output.stderr.trim_end());
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        ensure!(output.stderr.lines().count() == 1 && output.stderr.contains(what), "{output:?}");
    }
    Ok(())
}

fn replay(node: &Node, file: &Path) -> Result<Output> {
    node.try_run(&[&path("weftd")?, "--replay", text(file)?])
}

fn text(file: &Path) -> Result<&str> {
    file.to_str().context("a path that is text")
}
