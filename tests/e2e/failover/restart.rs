//! Daemons that die, stand still and start again: what flows lose while one is not there, and what it begins with.

use std::env;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weft_tests::harness::weftd::{Daemon, all_answer};
use weft_tests::harness::{
    Cluster, Lab, Node, Ping, Proto, Signal, beside, cut_port, pause, serial, wait_until,
};

use crate::{LONG, WAIT, gapped, whole};

/// The bound on the user path.
const GAP: Duration = Duration::from_secs(2);
/// The last plan.
const FILE: &str = "/var/lib/weft/plan";
/// By now a daemon that was away has told the kernel all that it has heard since.
const SETTLED: Duration = Duration::from_secs(3);

#[test]
fn a_daemon_that_is_dead_and_one_that_stands_still_lose_nothing_and_neither_do_their_next_starts() {
    let _turn = serial().unwrap();
    let seconds = if env::var_os("WEFT_LONG").is_some() { 30 } else { 10 };
    Lab::with("dead", |lab| {
        // Each of the two has three others that are well.
        let mut it = Cluster::<5>::fast(lab)?;
        let under_way = [it.flows(2, 0, seconds + LONG)?, it.flows(3, 1, seconds + LONG)?];
        pause(Duration::from_millis(500));

        it.daemons[0].kill()?;
        it.daemons[1].proc.signal(Signal::SIGSTOP)?;
        pause(Duration::from_secs(seconds.into()));
        let path = it.path(2, 0)?;
        it.daemons[1].proc.signal(Signal::SIGCONT)?;
        it.daemons[0].restart()?;
        for daemon in &it.daemons {
            daemon.wait_for_peers(5, WAIT)?;
        }
        pause(SETTLED);

        let flows = under_way.into_iter().flatten();
        whole(&format!("killed, and stopped, for {seconds} s, and well again"), flows)?;
        println!("the path to the dead one: {path:?}");
        ensure!(path.kind == "fast" && path.reason.is_some(), "{path:?}");
        it.wait_for_fast(2, 0)?;
        it.wait_for_fast(3, 1)
    })
    .unwrap();
}

#[test]
fn on_the_user_path_a_daemon_that_ends_and_starts_again_is_missed_for_less_than_two_seconds() {
    let _turn = serial().unwrap();
    Lab::with("restart-user", |lab| {
        let mut it = Cluster::<3>::new(lab, &["--fastpath", "off"])?;
        wait_for_plan(it.node(1)?, 2)?;
        for way in ["kill -9", "SIGTERM"] {
            let flows = it.flows(0, 1, LONG)?;
            pause(Duration::from_millis(500));

            restart(&mut it, way)?;

            let path = it.path(0, 1)?;
            ensure!(path.kind == "user", "{path:?}");
            it.daemon(1)?.wait_for_peers(3, WAIT)?;
            gapped(&format!("on the user path, {way}"), flows, GAP)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_restart_does_not_wait_for_a_mesh_that_takes_long() {
    let _turn = serial().unwrap();
    Lab::with("restart-slow", |lab| {
        let mut it = Cluster::<2>::new(lab, &["--fastpath", "off"])?;
        wait_for_plan(&it.nodes[1], 1)?;
        let flows = it.flows(0, 1, LONG)?;
        pause(Duration::from_millis(500));

        it.daemons[1].kill()?;
        block_mesh(&it.nodes)?;
        it.daemons[1].restart()?;
        pause(Duration::from_secs(6));
        ensure!(it.daemons[1].up()? == 1, "the mesh is there");
        it.nodes.iter().try_for_each(Node::heal)?;

        it.daemons[1].wait_for_peers(2, WAIT)?;
        gapped("the mesh blocked for 6 s", flows, GAP)
    })
    .unwrap();
}

#[test]
fn on_the_fast_path_a_daemon_that_ends_and_starts_again_at_once_loses_nothing() {
    let _turn = serial().unwrap();
    Lab::with("restart-fast", |lab| {
        let mut it = Cluster::<2>::fast(lab)?;
        wait_for_plan(&it.nodes[1], 1)?;
        for way in ["kill -9", "SIGTERM"] {
            let flows = it.flows(0, 1, LONG)?;
            pause(Duration::from_millis(500));

            restart(&mut it, way)?;

            it.daemon(1)?.wait_for_peers(2, WAIT)?;
            whole(&format!("fast, {way}"), flows)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_last_plan_that_is_garbage_is_put_aside_and_said_and_the_mesh_is_waited_for() {
    let _turn = beside().unwrap();
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
        all_answer(&it.pods, WAIT)?;
        wait_for_plan(&it.nodes[1], 1)
    })
    .unwrap();
}

/// The second daemon ends that way and starts again at once.
fn restart<const N: usize>(it: &mut Cluster<N>, way: &str) -> Result<()> {
    let Some(daemon) = it.daemons.get_mut(1) else { bail!("no such daemon") };
    end(daemon, way)?;
    daemon.restart()
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
