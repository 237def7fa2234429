//! Who sees what: a pod's unicast traffic is nobody else's.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use weft_tests::harness::weft::counter;
use weft_tests::harness::{Capture, Lab, Pod, PodSpec, Underlay, transfer, udp_echo};

use crate::{Cluster, carries, hex, mac_octets};

#[test]
fn a_third_pod_sees_nothing_of_two_that_talk() {
    Lab::with("private", |lab| {
        let Cluster { nodes, pods, .. } = &Cluster::<3>::new(lab, &Underlay::default(), &[])?;
        let mut bystanders = vec![pods[2].clone()];
        for (n, node) in nodes.iter().take(2).enumerate() {
            let pod = node.add_pod(&PodSpec::new("q", &format!("10.32.0.{}/24", 100 + n)))?;
            node.plug(&pod)?;
            bystanders.push(pod);
        }
        // Once they know each other, everything is unicast.
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        let captures: Vec<_> = bystanders
            .iter()
            .map(|pod| Capture::start(pod, "eth0", "ip"))
            .collect::<Result<_>>()?;
        let wire = Capture::start(&nodes[2], "eth0", "udp port 6784")?;

        assert!(transfer(&pods[0], &pods[1], 5_000_000)?.intact());
        assert_eq!(udp_echo(&pods[1], &pods[0], pods[0].addr(), 500, 50)?.received, 50);

        for capture in captures {
            let seen = capture.stop()?;
            assert!(seen.is_empty(), "{} foreign frames, first {:?}", seen.len(), seen[0]);
        }
        let pair = [pods[0].mac(), pods[1].mac()].map(mac_octets).concat();
        let twin = [pods[1].mac(), pods[0].mac()].map(mac_octets).concat();
        let leaked = wire.stop()?;
        // Inner addresses start behind Ethernet 14, IPv4 20, UDP 8 and VXLAN 8.
        let inner = |it: &weft_tests::harness::Packet| it.octets.get(50..62).map(<[u8]>::to_vec);
        assert!(
            !leaked.iter().any(|it| [&pair, &twin].map(|p| Some(p.clone())).contains(&inner(it)))
        );
        Ok(())
    })
    .unwrap();
}

/// Octets of all frames of the next test: those of one size share a run.
const LEN: usize = 142;

#[test]
fn a_pod_whose_frames_lie_sees_nothing_of_the_others() {
    Lab::with("lies", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let accomplice = nodes[1].add_pod(&PodSpec::new("a", "10.32.0.101/24"))?;
        nodes[1].plug(&accomplice)?;
        for pod in [&pods[1], &accomplice] {
            assert!(pods[0].ping(pod.addr(), 2)?.perfect());
        }
        let mut frames = Vec::new();
        // Of many flows: some of both kinds leave by one port.
        for n in 0..64 {
            frames.push(hex(&lying(&accomplice, n)));
            frames.push(hex(&honest(&pods[1], n)));
        }
        // Longer than any that was sent: those would be too many to capture.
        let spy = Capture::start(&accomplice, "eth0", &format!("greater {}", LEN + 1))?;

        let blast = format!("raw-blast eth0 2 {}", frames.join(" "));
        pods[0].peer(Duration::from_secs(20), &blast)?;

        let arrived = switches[1].wait_for_count("/to_tap/frames", 1000)?;
        let seen = spy.stop()?;
        let leaks = seen.iter().filter(|it| carries(it, b"SECRET")).count();
        println!("{arrived} frames arrived, {leaks} with those of others in them");
        assert_eq!(leaks, 0);
        assert_eq!(switches[1].count("/segmented")?, 0);
        Ok(())
    })
    .unwrap();
}

/// A frame with a VLAN tag, which bridges let through unseen, whose packet says that it is longer.
fn lying(to: &Pod, n: u8) -> Vec<u8> {
    let addresses = [&mac_octets(to.mac())[..], &[2, 0, 0, 0, 0x66, n]].concat();
    let tag = [0x81, 0, 0, 5, 8, 0];
    let ip = [0x45, 0, 2, 0x30, 0, 1, 0, 0, 64, 253, 0, 0, 10, 32, 0, 1, 10, 32, 0, 101];
    padded([&addresses[..], &tag, &ip, b"LYING"].concat())
}

fn honest(to: &Pod, n: u8) -> Vec<u8> {
    let addresses = [&mac_octets(to.mac())[..], &[2, 0, 0, 0, 0x67, n]].concat();
    padded([&addresses[..], &[0x88, 0xb6], b"SECRET"].concat())
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(LEN, 0);
    frame
}

#[test]
fn a_flooding_pod_costs_the_others_no_entry() {
    Lab::with("flood", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<3>::new(lab, &Underlay::default(), &["--table-size", "64"])?;
        let flooder = nodes[0].add_pod(&PodSpec::new("f", "10.32.0.66/24"))?;
        nodes[0].plug(&flooder)?;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            assert!(pods[from].ping(pods[to].addr(), 3)?.perfect());
        }

        flooder.peer(Duration::from_secs(20), "mac-flood eth0 20000")?;

        for switch in &mut switches {
            switch.wait_for_count("/table/evicted", 1000)?;
        }
        // Stations of node 1 and 2 as everybody sees them; the flooder is behind node 0.
        for (n, switch) in switches.iter_mut().enumerate() {
            let stations = switch.stations()?;
            assert!(stations.len() <= 64, "{} stations", stations.len());
            for m in [1, 2] {
                let at = if m == n { "local".into() } else { nodes[m].addr().to_string() };
                assert!(stations.contains(&(pods[m].mac().into(), at)), "node {n}: {stations:?}");
            }
        }
        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        assert!(pods[1].ping(pods[2].addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}

/// Between two lines of counters, which are due every 0.2 s, in milliseconds.
const GAP_MAX: u64 = 3000;
/// What a switch may have in memory, in KiB.
const RSS_MAX: u64 = 65_536;

#[test]
fn a_flooding_pod_keeps_the_switch_from_nothing_else() {
    Lab::with("flood-control", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        for _ in 0..2 {
            pods[0].peer(Duration::from_secs(60), "mac-flood eth0 100000")?;
        }
        // Notices of the flood are still waiting.
        nodes[0].run(&["ip", "link", "set", "weave-tap", "nomaster"])?;
        switches[0].wait_for_count("/repairs", 1)?;

        assert!(pods[0].ping(pods[1].addr(), 3)?.perfect());
        for switch in &mut switches {
            let rss = switch.proc.rss_kib()?;
            let times = times_of(&switch.proc.stdout());
            let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
            println!("{rss} KiB; at most {gap:?} ms between two of {} lines", times.len());
            assert!(rss < RSS_MAX, "{rss} KiB");
            assert!(gap.is_some_and(|gap| gap < GAP_MAX), "{gap:?} ms");
        }
        let last = times_of(&switches[0].proc.stdout()).pop();
        let stopped = counter(&switches.remove(0).stop()?, "/time_ms")?;
        println!("stopped {:?} ms after the last line", last.map(|last| stopped - last));
        assert!(last.is_some_and(|last| stopped - last < GAP_MAX));
        Ok(())
    })
    .unwrap();
}

/// The times of all lines of counters.
fn times_of(stdout: &str) -> Vec<u64> {
    let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| counter(&line, "/time_ms").ok()).collect()
}
