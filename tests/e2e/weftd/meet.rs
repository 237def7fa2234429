//! Nodes that meet, and nodes that come back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping, cluster, pods, text};
use weft_tests::harness::{Cluster, Lab, Node, Ping, Pod, Stopwatch, Underlay, pause, serial};

#[test]
fn five_nodes_that_are_given_one_address_each_carry_all_pods_within_ten_seconds() {
    let _turn = serial().unwrap();
    // The first one is given nobody, so nothing tells it the underlay's family.
    for (underlay, options) in
        [(Underlay::default(), &[][..]), (Underlay::v6(), &["--local", "::"][..])]
    {
        Lab::with("meet", |lab| {
            let nodes = lab.nodes::<5>(&underlay)?;
            let starting = Stopwatch::start();
            let daemons = cluster(&nodes, options)?;
            let started = Stopwatch::start();
            println!("{:?}: five starts took {:?}", underlay.family, starting.elapsed());
            let pods = pods(&nodes)?;

            all_answer(&pods, Duration::from_secs(10).saturating_sub(started.elapsed()))?;

            println!("{:?}: all pods answered after {:?}", underlay.family, started.elapsed());
            let names: BTreeSet<_> = daemons.iter().map(Daemon::name).collect();
            ensure!(names.len() == 5, "{names:?}");
            for daemon in &daemons {
                daemon.wait_for_peers(5, Duration::from_secs(5))?;
            }
            all_ping(&pods, 5)
        })
        .unwrap();
    }
}

#[test]
fn a_killed_daemon_carries_again_three_seconds_after_its_start_and_its_pods_were_never_forgotten() {
    let _turn = serial().unwrap();
    Lab::with("restart", |lab| {
        let Cluster { nodes, mut daemons, pods } = Cluster::<3>::new(lab, &[])?;
        let before = daemons[2].status()?;
        let monitor = nodes[0].spawn(&["bridge", "monitor", "fdb"])?;
        let ended = AtomicBool::new(false);

        let (looks, took) = thread::scope(|scope| {
            let watcher = scope.spawn(|| looks_while_there(&nodes[0], &pods[2], &ended));
            let took = kill_and_start(&mut daemons[2], &pods);
            ended.store(true, Relaxed);
            (watcher.join(), took)
        });
        let looks = looks.map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        let took = took?;

        println!("all pods answered {took:?} after the start; seen {looks} times meanwhile");
        ensure!(took < Duration::from_secs(3), "{took:?}");
        ensure!(looks > 20, "only {looks} looks");
        let gone = monitor.stdout();
        let gone: Vec<_> = gone.lines().filter(|line| line.starts_with("Deleted")).collect();
        let gone: Vec<_> = gone.into_iter().filter(|it| it.contains(pods[2].mac())).collect();
        ensure!(gone.is_empty(), "{gone:?}");
        same_node_new_start(&before, &daemons[2].status()?)?;
        all_ping(&pods, 5)
    })
    .unwrap();
}

#[test]
fn a_daemon_that_is_started_again_at_once_does_not_go_dark_a_second_time() {
    let _turn = serial().unwrap();
    Lab::with("restart-at-once", |lab| {
        let Cluster { nodes: _nodes, mut daemons, pods } = Cluster::<3>::new(lab, &[])?;
        for round in 0..3 {
            daemons[2].kill()?;
            // As long as it takes whoever watches over it.
            pause(Duration::from_millis(800));
            let watch = Stopwatch::start();
            daemons[2].restart()?;
            all_answer(&pods, Duration::from_secs(3))?;
            let took = watch.elapsed();

            let ping = Ping::new(pods[2].addr(), 80).interval(Duration::from_millis(50));
            let stats = pods[0].ping_with(&ping)?;

            let lost = stats.sent - stats.received;
            println!(
                "round {round}: all pods answered after {took:?}, then {lost} of {} lost",
                stats.sent
            );
            ensure!(lost <= 2, "{lost} lost");
        }
        Ok(())
    })
    .unwrap();
}

fn kill_and_start(daemon: &mut Daemon, pods: &[Pod]) -> Result<Duration> {
    daemon.kill()?;
    // Long enough for the others to see that it is silent.
    pause(Duration::from_secs(5));
    let watch = Stopwatch::start();
    daemon.restart()?;
    all_answer(pods, Duration::from_secs(10))?;
    let took = watch.elapsed();
    // What an earlier run has left is taken away after 15 s: nothing of it may be wanted.
    pause(Duration::from_secs(17));
    Ok(took)
}

/// How often a pod was looked for and found on the bridge of another node, until `ended`.
fn looks_while_there(node: &Node, pod: &Pod, ended: &AtomicBool) -> Result<u32> {
    let mut looks = 0;
    while !ended.load(Relaxed) {
        let fdb = node.run(&["bridge", "fdb", "show", "br", "weave"])?;
        ensure!(fdb.contains(pod.mac()), "after {looks} looks the bridge has only\n{fdb}");
        looks += 1;
        pause(Duration::from_millis(20));
    }
    Ok(looks)
}

fn same_node_new_start(before: &Value, after: &Value) -> Result<()> {
    let incarnation = |status: &Value| {
        status.pointer("/router/incarnation").and_then(Value::as_u64).context("no incarnation")
    };
    println!("incarnation {} was {}", incarnation(after)?, incarnation(before)?);
    ensure!(text(before, "/router/name")? == text(after, "/router/name")?, "{before} {after}");
    ensure!(text(before, "/router/uid")? != text(after, "/router/uid")?, "{before} {after}");
    ensure!(incarnation(after)? > incarnation(before)?, "{before} {after}");
    Ok(())
}
