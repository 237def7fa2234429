//! Daemons that end, and frame threads that die.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping};
use weft_tests::harness::{Cluster, Lab, Stopwatch, beside, serial, wait_until};

/// How long what is not measured may take.
const WAIT: Duration = Duration::from_secs(10);

#[test]
fn sigterm_ends_it_within_two_seconds_and_bridge_tap_and_guard_stay() {
    let _turn = serial().unwrap();
    Lab::with("stop", |lab| {
        let Cluster { nodes, mut daemons, pods } = Cluster::<3>::new(lab, &[])?;

        let took = daemons[2].stop()?;

        println!("ended after {took:?}");
        ensure!(took < Duration::from_secs(2), "{took:?}");
        let links = nodes[2].run(&["ip", "-br", "link"])?;
        ensure!(links.contains("weave-tap") && links.contains("weave "), "{links}");
        nodes[2].run(&["nft", "list", "table", "inet", "weft"])?;
        ensure!(nodes[2].try_run(&["test", "-e", "/run/weft/weft.sock"])?.status.code() == Some(1));
        let gone = Stopwatch::start();
        daemons[0].wait_for_peers(2, Duration::from_secs(3))?;
        println!("gone elsewhere {:?} later", gone.elapsed());
        all_ping(&pods[..2], 5)?;

        daemons[2].restart()?;
        let again = Stopwatch::start();
        all_answer(&pods, Duration::from_secs(10))?;
        println!("all pods answered {:?} after the next start", again.elapsed());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_tap_that_is_deleted_under_the_daemon_is_made_again_with_all_that_the_bridge_knew() {
    let _turn = serial().unwrap();
    Lab::with("tap", |lab| {
        let Cluster { nodes, mut daemons, pods } = Cluster::<3>::new(lab, &[])?;

        nodes[0].run(&["ip", "link", "del", "weave-tap"])?;
        let watch = Stopwatch::start();
        all_answer(&pods, Duration::from_secs(5))?;

        println!("all pods answered {:?} after the TAP was gone", watch.elapsed());
        ensure!(daemons[0].proc.running());
        // The kernel may have carried all the time.
        wait_until(WAIT, "frame threads on a new TAP", || {
            daemons[0].count("/engine/restarts").is_ok_and(|restarts| restarts >= 1)
        })?;
        wait_for_ready(&daemons[0], true)?;
        let fdb = || nodes[0].run(&["bridge", "fdb", "show", "br", "weave"]);
        wait_until(Duration::from_secs(5), "all stations", || {
            fdb().is_ok_and(|fdb| pods[1..].iter().all(|pod| fdb.contains(pod.mac())))
        })?;
        let port = nodes[0].run(&["bridge", "-d", "link", "show", "dev", "weave-tap"])?;
        for flag in ["isolated on", "learning off", "neigh_suppress on"] {
            ensure!(port.contains(flag), "no {flag} in {port}");
        }
        all_ping(&pods, 5)
    })
    .unwrap();
}

#[test]
fn a_tap_that_cannot_be_made_again_is_said_and_the_daemon_says_that_it_is_not_ready() {
    let _turn = beside().unwrap();
    Lab::with("no-tap", |lab| {
        let Cluster { nodes, mut daemons, pods } = Cluster::<2>::new(lab, &[])?;

        // Something else takes the TAP's name before the daemon does.
        nodes[0].sh("for try in $(seq 100); do ip link del weave-tap || true
            ip link add weave-tap type veth peer name other && exit; done; exit 1")?;

        let watch = Stopwatch::start();
        wait_for_ready(&daemons[0], false)?;
        println!("says that it is not ready after {:?}", watch.elapsed());
        println!("{}", daemons[0].proc.wait_for_line("is not a TAP device", WAIT)?);
        nodes[0].run(&["ip", "link", "del", "weave-tap"])?;

        wait_for_ready(&daemons[0], true)?;
        all_answer(&pods, WAIT).map(drop)
    })
    .unwrap();
}

#[test]
fn a_tap_under_another_name_carries_what_the_one_before_did() {
    let _turn = beside().unwrap();
    Lab::with("renamed", |lab| {
        let options = ["--fastpath", "off"];
        let Cluster { nodes, mut daemons, pods } = Cluster::<3>::new(lab, &options)?;

        daemons[2].stop()?;
        daemons[2] = Daemon::start(&nodes[2], &["--fastpath", "off", "--tap", "other"])?;
        println!("all answer {:?} after the start with --tap other", all_answer(&pods, WAIT)?);
        nodes[2].sh("! ip link show weave-tap")?;
        nodes[1].run(&["ip", "link", "set", "weave-tap", "name", "renamed"])?;
        wait_until(WAIT, "the renamed TAP is gone", || {
            nodes[1].sh("! ip link show renamed && ip link show weave-tap").is_ok()
        })?;
        println!("all answer {:?} after the TAP was renamed", all_answer(&pods, WAIT)?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_bridge_that_was_renamed_has_its_name_back_and_its_pods_go_on() {
    let _turn = beside().unwrap();
    Lab::with("bridge-renamed", |lab| {
        let Cluster { nodes, daemons, pods } = Cluster::<2>::new(lab, &[])?;
        let index = || nodes[0].run(&["cat", "/sys/class/net/weave/ifindex"]);
        let before = index()?;

        nodes[0].run(&["ip", "link", "set", "weave", "name", "elsewhere"])?;
        let watch = Stopwatch::start();
        wait_until(WAIT, "the name is back", || index().is_ok_and(|now| now == before))?;

        println!("the bridge has its name back after {:?}", watch.elapsed());
        all_ping(&pods, 5)?;
        wait_for_ready(&daemons[0], true)
    })
    .unwrap();
}

#[test]
fn a_bridge_that_cannot_be_mended_is_said_and_the_daemon_is_not_ready() {
    let _turn = beside().unwrap();
    Lab::with("bridge-taken", |lab| {
        let Cluster { nodes, daemons, pods } = Cluster::<2>::new(lab, &[])?;

        // Somebody has made it theirs, and our TAP is in it.
        nodes[0].sh("ip link set weave name elsewhere alias theirs")?;
        wait_for_ready(&daemons[0], false)?;
        nodes[0].run(&["ip", "link", "del", "elsewhere"])?;

        wait_for_ready(&daemons[0], true)?;
        nodes[0].plug(&pods[0])?;
        all_answer(&pods, WAIT).map(drop)
    })
    .unwrap();
}

fn wait_for_ready(daemon: &Daemon, ready: bool) -> Result<()> {
    wait_until(WAIT, if ready { "ready" } else { "not ready" }, || {
        daemon.status().is_ok_and(|status| status.get("ready") == Some(&ready.into()))
    })
}
