//! Bridge and TAP: made, adopted, kept, mended, removed.

use std::time::Duration;

use weft_tests::harness::weft::Switch;
use weft_tests::harness::{Lab, Node, Underlay, pause, wait_until};

use crate::Cluster;

const LIMIT: Duration = Duration::from_secs(10);

fn link(node: &Node, name: &str) -> String {
    node.run(&["ip", "-d", "link", "show", name]).unwrap_or_default()
}

fn has_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn bridge_and_tap_are_as_they_should_be() {
    Lab::with("made", |lab| {
        let Cluster { nodes, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;

        let bridge = link(&nodes[0], "weave");
        has_all(&bridge, &["mtu 1450 ", "stp_state 0 ", "mcast_snooping 0 ", ",UP", "alias weft"]);
        let tap = link(&nodes[0], "weave-tap");
        has_all(&tap, &["mtu 65000 ", "master weave ", "isolated on", "learning on", "persist on"]);
        has_all(&tap, &["addrgenmode none", ",UP", "alias weft"]);
        let other = link(&nodes[1], "weave");
        let mac = |text: &str| text.split("link/ether ").nth(1).map(|it| it[..17].to_owned());
        assert_ne!(mac(&bridge), mac(&other), "bridges are stations too");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_bridge_keeps_its_mtu_whatever_is_plugged_into_it() {
    Lab::with("brmtu", |lab| {
        let Cluster { nodes, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let small = weft_tests::harness::PodSpec::new("s", "10.32.0.9/24").mtu(1280);
        let small = nodes[0].add_pod(&small)?;

        nodes[0].plug(&small)?;

        has_all(&link(&nodes[0], "weave"), &["mtu 1450 "]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_existing_bridge_is_adopted_and_never_reset() {
    Lab::with("adopt", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        a.sh("ip link add weave address 02:11:22:33:44:55 type bridge stp_state 1")?;
        a.sh("ip link set weave mtu 1400 up; ip address add 10.32.0.100/24 dev weave")?;
        let pod = a.pod("p", "10.32.0.1/24")?;
        a.plug(&pod)?;
        let before = link(a, "weave");

        let first = Switch::start(a, &[b], &[])?;
        let _second = Switch::start(b, &[a], &[])?;
        let far = b.pod("q", "10.32.0.2/24")?;
        b.plug(&far)?;

        has_all(&before, &["02:11:22:33:44:55", "mtu 1400 ", "stp_state 1"]);
        has_all(&link(a, "weave"), &["02:11:22:33:44:55", "mtu 1400 ", "stp_state 1"]);
        has_all(&first.proc.stderr(), &["STP is on"]);
        // The bridge's own address is a station like any other.
        wait_until(Duration::from_secs(40), "STP to open the port", || {
            far.ping(pod.addr(), 1).is_ok_and(|it| it.perfect())
        })?;
        assert!(far.ping("10.32.0.100".parse::<std::net::IpAddr>()?, 3)?.perfect());
        first.stop()?;
        a.run(&[&weft_tests::harness::bin("weft-switch")?.display().to_string(), "--cleanup"])?;
        assert!(link(a, "weave-tap").is_empty());
        has_all(&link(a, "weave"), &["02:11:22:33:44:55", "stp_state 1"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn devices_stay_when_it_stops_and_are_adopted_by_the_next_run() {
    Lab::with("again", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        let before = (link(&nodes[0], "weave"), link(&nodes[0], "weave-tap"));
        let index = |text: &str| text.split(':').next().map(str::to_owned);

        let last = switches.remove(0).stop()?;
        assert!(last["from_tap"]["frames"].as_u64() > Some(0), "{last}");
        let between = (link(&nodes[0], "weave"), link(&nodes[0], "weave-tap"));
        assert_eq!((index(&before.0), index(&before.1)), (index(&between.0), index(&between.1)));
        let again = Switch::start(&nodes[0], &[&nodes[1]], &[])?;

        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        let after = (link(&nodes[0], "weave"), link(&nodes[0], "weave-tap"));
        assert_eq!((index(&before.0), index(&before.1)), (index(&after.0), index(&after.1)));
        has_all(&again.proc.stderr(), &["done=[]"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn cleanup_removes_what_it_made_and_not_under_a_running_switch() {
    Lab::with("clean", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let program = weft_tests::harness::bin("weft-switch")?.display().to_string();

        let refused = nodes[0].try_run(&[&program, "--cleanup"])?;
        assert_eq!(refused.status.code(), Some(1));
        has_all(&refused.stderr, &["weave-tap", "in use", "stop the process"]);
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        switches.remove(0).stop()?;
        nodes[0].run(&[&program, "--cleanup"])?;
        assert!(link(&nodes[0], "weave").is_empty() && link(&nodes[0], "weave-tap").is_empty());
        nodes[0].run(&[&program, "--cleanup"])?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_removed_tap_is_made_again_and_traffic_goes_on() {
    Lab::with("notap", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        for round in 1..=2 {
            nodes[0].run(&["ip", "link", "del", "weave-tap"])?;
            switches[0].wait_for_count("/restarts", round)?;
            has_all(&link(&nodes[0], "weave-tap"), &["master weave", "isolated on", ",UP"]);
            wait_until(LIMIT, "traffic", || {
                pods[0].ping(pods[1].addr(), 3).is_ok_and(|it| it.perfect())
            })?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_removed_bridge_is_made_again_and_says_what_to_do() {
    Lab::with("nobr", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        nodes[0].run(&["ip", "link", "del", "weave"])?;
        switches[0].wait_for_count("/repairs", 1)?;
        wait_until(LIMIT, "the TAP in its bridge", || {
            link(&nodes[0], "weave-tap").contains("master weave")
        })?;
        switches[0].proc.wait_for_line("plug the pods into it again", LIMIT)?;
        nodes[0].plug(&pods[0])?;

        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_somebody_else_changes_is_put_right() {
    Lab::with("mend", |lab| {
        let Cluster { nodes, pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        for meddling in [
            "ip link set weave-tap nomaster",
            "ip link set weave-tap down",
            "ip link set weave down",
            "ip link set weave mtu 1500",
            "ip link set weave-tap mtu 1500",
            "bridge link set dev weave-tap isolated off",
            "bridge link set dev weave-tap learning off",
            "bridge link set dev weave-tap flood off mcast_flood off bcast_flood off",
            "bridge link set dev weave-tap locked on",
            "bridge link set dev weave-tap state 0",
        ] {
            nodes[0].sh(meddling)?;
            wait_until(LIMIT, meddling, || {
                let (bridge, tap) = (link(&nodes[0], "weave"), link(&nodes[0], "weave-tap"));
                let good = ["mtu 65000 ", "master weave ", "isolated on", "learning on", ",UP"];
                let port = [" flood on", " mcast_flood on", " bcast_flood on", "locked off"];
                good.iter().chain(&port).all(|word| tap.contains(word))
                    && tap.contains("state forwarding")
                    && ["mtu 1450 ", ",UP"].iter().all(|word| bridge.contains(word))
            })?;
            assert!(pods[0].ping(pods[1].addr(), 2)?.perfect(), "{meddling}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_underlay_that_goes_down_and_up_is_used_again() {
    Lab::with("updown", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default().switched(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        nodes[0].link_down()?;
        assert_eq!(pods[0].ping(pods[1].addr(), 3)?.received, 0);
        assert!(switches[0].count("/drops/no_route")? > 0);
        nodes[0].link_up()?;

        wait_until(LIMIT, "traffic", || {
            pods[0].ping(pods[1].addr(), 3).is_ok_and(|it| it.perfect())
        })?;
        assert_eq!(switches[0].count("/restarts")?, 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_peer_that_dies_and_returns_is_spoken_to_again() {
    Lab::with("dies", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        switches[1].proc.kill()?;
        assert_eq!(pods[0].ping(pods[1].addr(), 3)?.received, 0);
        assert!(switches[0].proc.running());
        switches[1] = Switch::start(&nodes[1], &[&nodes[0]], &[])?;

        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_switch_that_idles_uses_no_processor_time() {
    Lab::with("idle", |lab| {
        let cluster = Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let cpu = || cluster.switches[0].proc.cpu_time();
        let before = cpu()?;

        pause(Duration::from_secs(5));

        // It wakes once a second for housekeeping, and five times to print what this test reads.
        let used = cpu()? - before;
        assert!(used < Duration::from_millis(250), "{used:?} in 5 s");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_tap_that_is_renamed_or_moved_away_is_made_again() {
    for meddling in [
        // It may be gone before it can be unplugged.
        "ip link set weave-tap name tapx; ip link set tapx nomaster || true",
        "ip netns add $(ip netns identify)x; ip link set weave-tap netns $(ip netns identify)x",
    ] {
        Lab::with("away", |lab| {
            let Cluster { nodes, pods, mut switches } =
                Cluster::<2>::new(lab, &Underlay::default(), &[])?;
            let outside = nodes[0].netns();
            let meddling = meddling.replace("$(ip netns identify)", &outside);

            nodes[0].sh(&meddling)?;

            switches[0].wait_for_count("/restarts", 1)?;
            has_all(&link(&nodes[0], "weave-tap"), &["master weave", "isolated on", ",UP"]);
            wait_until(LIMIT, "traffic", || {
                pods[0].ping(pods[1].addr(), 3).is_ok_and(|it| it.perfect())
            })?;
            if meddling.contains("netns add") {
                nodes[0].sh(&format!("ip netns del {outside}x"))?;
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn two_switches_that_disagree_about_a_bridge_do_not_spin() {
    Lab::with("quarrel", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let first = Switch::start(a, &[b], &["--tap", "t1"])?;
        let options = ["--tap", "t2", "--port", "7002", "--vni", "2", "--mtu", "1300"];
        let second = Switch::start(a, &[b], &options)?;
        a.run(&["ip", "link", "set", "weave", "mtu", "1400"])?;
        pause(Duration::from_secs(1));

        let before = first.proc.cpu_time()? + second.proc.cpu_time()?;
        pause(Duration::from_secs(3));

        let used = first.proc.cpu_time()? + second.proc.cpu_time()? - before;
        assert!(used < Duration::from_millis(300), "{used:?} in 3 s");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_bridge_of_a_run_that_was_cut_short_is_known_as_ours() {
    Lab::with("short", |lab| {
        let Cluster { nodes, mut switches, .. } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        switches.remove(0).proc.kill()?;
        nodes[0].sh("ip link set weave alias ''; ip link set weave mtu 9000")?;

        let again = Switch::start(&nodes[0], &[&nodes[1]], &[])?;

        has_all(&link(&nodes[0], "weave"), &["alias weft", "mtu 1450 "]);
        again.stop()?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn cleanup_leaves_a_bridge_that_another_switch_uses() {
    Lab::with("shared", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let _running = Switch::start(a, &[b], &["--tap", "t1"])?;
        let program = weft_tests::harness::bin("weft-switch")?.display().to_string();

        let refused = a.try_run(&[&program, "--cleanup"])?;

        assert_eq!(refused.status.code(), Some(1));
        has_all(&refused.stderr, &["weave", "t1", "remove that TAP first"]);
        assert!(!link(a, "weave").is_empty());
        Ok(())
    })
    .unwrap();
}

#[test]
fn nobody_who_reads_its_output_can_stop_it() {
    Lab::with("readers", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let program = weft_tests::harness::bin("weft-switch")?.display().to_string();
        let fifo = lab.dir().join("fifo").display().to_string();
        // Nobody reads stdout, and whoever read stderr is gone.
        let line = format!(
            "mkfifo {fifo}; sleep 60 <{fifo} & exec {program} --local {} --peer {} --stats 0.1 \
             >{fifo} 2> >(head -1 >/dev/null)",
            a.addr(),
            b.addr()
        );
        let mut switch = a.spawn(&["bash", "-c", &line])?;
        wait_until(LIMIT, "the TAP", || link(a, "weave-tap").contains(",UP"))?;
        for _ in 0..400 {
            switch.signal(weft_tests::harness::Signal::SIGUSR1)?;
            pause(Duration::from_millis(2));
        }
        switch.signal(weft_tests::harness::Signal::SIGHUP)?;

        a.run(&["ip", "link", "set", "weave-tap", "down"])?;
        wait_until(LIMIT, "the TAP to be mended", || link(a, "weave-tap").contains(",UP"))?;
        switch.signal(weft_tests::harness::Signal::SIGTERM)?;

        assert!(switch.wait(Duration::from_secs(3))?.success());
        Ok(())
    })
    .unwrap();
}
