//! Restarts: what a flow between two pods loses while a daemon is not there, and what it begins with.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping};
use weft_tests::harness::{Lab, Node, Ping, Pod, Proc, Proto, cut_port, pause, serial, wait_until};

use crate::{Cluster, MEET};

/// Datagrams a second: what is lost is the gap in milliseconds.
const RATE: u32 = 1000;
/// How long a flow may pause on the user path.
const GAP_MAX: Duration = Duration::from_secs(2);
const FILE: &str = "/var/lib/weft/plan";

#[test]
fn on_the_user_path_a_restart_at_once_is_a_short_gap() {
    let _turn = serial().unwrap();
    restart_at_once::<2>("restart-2").unwrap();
    restart_at_once::<3>("restart-3").unwrap();
}

fn restart_at_once<const N: usize>(name: &str) -> Result<()> {
    Lab::with(name, |lab| {
        let Cluster { nodes, mut daemons, pods } = Cluster::<N>::new(lab, &["--fastpath", "off"])?;
        let [near, far, ..] = pods.as_slice() else { bail!("too few pods") };
        let daemon = daemons.get_mut(1).context("a daemon")?;
        wait_for_plan(nodes.get(1).context("a node")?, N - 1)?;
        for way in ["kill -9", "SIGTERM"] {
            let flows = Flow::both(near, far, 8)?;
            pause(Duration::from_secs(2));

            end(daemon, way)?;
            daemon.restart()?;

            for flow in flows {
                let seen = flow.end()?;
                println!("{N} nodes, {way}: {seen:?}");
                ensure!(seen.gap < GAP_MAX && seen.twice == 0, "{seen:?}");
                ensure!(seen.lost < u64::from(RATE) * GAP_MAX.as_secs(), "{seen:?}");
            }
            daemon.wait_for_peers(N, MEET)?;
        }
        all_ping(&pods, 3)
    })
}

#[test]
fn a_restart_does_not_wait_for_a_mesh_that_takes_long() {
    let _turn = serial().unwrap();
    Lab::with("restart-slow", |lab| {
        let mut it = Cluster::<2>::new(lab, &["--fastpath", "off"])?;
        wait_for_plan(&it.nodes[1], 1)?;
        let flows = Flow::both(&it.pods[0], &it.pods[1], 16)?;
        pause(Duration::from_secs(1));

        it.daemons[1].kill()?;
        block_mesh(&it.nodes)?;
        it.daemons[1].restart()?;
        pause(Duration::from_secs(10));
        ensure!(it.daemons[1].up()? == 1, "the mesh is there");
        it.nodes.iter().try_for_each(Node::heal)?;

        for flow in flows {
            let seen = flow.end()?;
            println!("mesh blocked for 10 s: {seen:?}");
            ensure!(seen.gap < GAP_MAX && seen.twice == 0, "{seen:?}");
        }
        it.daemons[1].wait_for_peers(2, MEET)?;
        all_ping(&it.pods, 3)
    })
    .unwrap();
}

#[test]
fn on_the_fast_path_a_restart_loses_nothing() {
    let _turn = serial().unwrap();
    Lab::with("restart-fast", |lab| {
        let mut it = Cluster::<2>::new(lab, &["--fastpath", "require"])?;
        let names = [1, 0].map(|far: usize| it.daemons[far].name().to_owned());
        for (daemon, far) in it.daemons.iter().zip(&names) {
            daemon.wait_for_path(far, MEET, |path| path.kind == "fast")?;
        }
        wait_for_plan(&it.nodes[1], 1)?;
        for way in ["kill -9", "SIGTERM"] {
            let flows = Flow::both(&it.pods[0], &it.pods[1], 8)?;
            pause(Duration::from_secs(1));

            let daemon = &mut it.daemons[1];
            end(daemon, way)?;
            daemon.restart()?;

            for flow in flows {
                let seen = flow.end()?;
                println!("fast, {way}: {seen:?}");
                ensure!(seen.lost == 0 && seen.twice == 0, "{seen:?}");
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_file_that_is_garbage_is_put_aside_and_said_and_the_mesh_is_waited_for() {
    let _turn = serial().unwrap();
    Lab::with("restart-bad", |lab| {
        let mut it = Cluster::<2>::new(lab, &["--fastpath", "off"])?;
        wait_for_plan(&it.nodes[1], 1)?;
        ensure!(it.nodes[1].run(&["stat", "-c", "%a", FILE])?.trim() == "600");

        it.daemons[1].kill()?;
        it.nodes[1].sh(&format!("head -c 4096 /dev/urandom >{FILE}"))?;
        block_mesh(&it.nodes)?;
        it.daemons[1].restart()?;

        let daemon = &mut it.daemons[1];
        println!("{}", daemon.proc.wait_for_line("cannot be used", Duration::from_secs(5))?);
        it.nodes[1].run(&["test", "-e", "/var/lib/weft/plan.bad"])?;
        // Nobody has told this node of the other: that is how it is without a plan.
        let dark = it.pods[0].ping_with(&Ping::new(it.pods[1].addr(), 20))?;
        ensure!(dark.received == 0, "{dark:?}");
        it.nodes.iter().try_for_each(Node::heal)?;
        all_answer(&it.pods, MEET)?;
        wait_for_plan(&it.nodes[1], 1)
    })
    .unwrap();
}

fn end(daemon: &mut Daemon, way: &str) -> Result<()> {
    if way == "SIGTERM" { daemon.stop().map(|_took| ()) } else { daemon.kill() }
}

/// Neither can dial the other.
fn block_mesh([one, two]: &[Node; 2]) -> Result<()> {
    cut_port(one, two, Proto::Tcp, 6783)?;
    cut_port(two, one, Proto::Tcp, 6783)
}

/// Until the node has written down that it reaches so many peers. The file is small: its length tells.
fn wait_for_plan(node: &Node, peers: usize) -> Result<()> {
    let least = 60 + 60 * peers;
    wait_until(Duration::from_secs(10), "the plan on disk", || {
        let size = node.run(&["stat", "-c", "%s", FILE]);
        size.is_ok_and(|size| size.trim().parse().is_ok_and(|size: usize| size > least))
    })?;
    // What has changed since is there within a second.
    pause(Duration::from_secs(2));
    Ok(())
}

/// Numbered datagrams from one pod to another.
struct Flow {
    judge: Proc,
    sender: Proc,
    count: u64,
}

/// What became of them.
#[derive(Debug)]
struct Seen {
    lost: u64,
    twice: u64,
    gap: Duration,
}

impl Flow {
    fn both(one: &Pod, two: &Pod, seconds: u32) -> Result<[Self; 2]> {
        Ok([Self::start(one, two, seconds)?, Self::start(two, one, seconds)?])
    }

    fn start(from: &Pod, to: &Pod, seconds: u32) -> Result<Self> {
        let (judge, port) = to.serve("udp-numbers")?;
        let count = RATE * seconds;
        let words = format!("udp-pace {} {port} {RATE} {count}", to.addr());
        Ok(Self { judge, sender: from.spawn_peer(&words)?, count: count.into() })
    }

    fn end(mut self) -> Result<Seen> {
        self.sender.wait(Duration::from_secs(60))?;
        self.judge.wait(Duration::from_secs(30))?;
        let stdout = self.judge.stdout();
        let said: Value = serde_json::from_str(stdout.lines().last().context("nothing")?)?;
        let number = |path: &str| said.pointer(path).and_then(Value::as_u64).context("no number");
        Ok(Seen {
            lost: self.count - number("/received")?,
            twice: number("/twice")?,
            gap: Duration::from_micros(number("/longest_gap_us")?),
        })
    }
}
