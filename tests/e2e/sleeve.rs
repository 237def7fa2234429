//! UDP 6783 between real network namespaces: direct, through relays, and from strangers. The switch
//! is `lab-sleeve`, whose plan is its arguments.
#![expect(
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as such"
)]

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weft_tests::harness::weft::{counter, pods};
use weft_tests::harness::{
    Capture, Family, Fragment, Lab, Node, Ping, Pod, Proc, Underlay, bin, cut, pause,
    transfer_both, transfer_to, udp_echo,
};

const MB: u64 = 1_000_000;
const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_hundred_megabytes_cross_by_udp_6783_both_ways_at_once() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("sleeve", |lab| {
            let mut it = Cluster::<2>::new(lab, &underlay, |_, _| "sleeve".into())?;
            let capture = Capture::start(&it.nodes[0], "eth0", "udp")?;
            for size in [0, 1, 700, 1400, 60_000] {
                let to = it.pods[1].addr();
                let echoed = udp_echo(&it.pods[0], &it.pods[1], to, size, 5)?;
                assert_eq!((echoed.received, echoed.corrupt), (5, 0), "{size} octets");
            }
            let packets = capture.stop()?;
            assert!(packets.len() > 50);
            assert!(packets.iter().all(|it| ports(&it.octets, underlay.family) == [6783; 2]));

            let (forth, back) = transfer_both(&it.pods[0], &it.pods[1], 100 * MB)?;

            assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
            for n in 0..2 {
                assert_eq!(it.count(n, "/udp_fallbacks")?, 0);
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn pods_of_two_nodes_that_do_not_reach_each_other_speak_through_a_third() {
    for underlay in [Underlay::default(), Underlay::default().offload(false)] {
        Lab::with("relay", |lab| {
            let mut it = Cluster::<3>::new(lab, &underlay, |from, to| {
                if from.abs_diff(to) == 2 { "1".into() } else { "user".into() }
            })?;
            cut(&it.nodes[0], &it.nodes[2])?;
            cut(&it.nodes[2], &it.nodes[0])?;

            let (forth, back) = transfer_both(&it.pods[0], &it.pods[2], 100 * MB)?;

            assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
            // 1500 less 50 of the tunnel's, 20 of IPv4's and 8 of ICMP's.
            let whole = Ping::new(it.pods[2].addr(), 10).size(1402).fragment(Fragment::Never);
            assert!(it.pods[0].ping_with(&whole)?.perfect());
            let least = 2 * 100 * MB / 1450;
            assert!(it.count(1, "/relayed/frames")? > least);
            assert_eq!(it.count(1, "/udp_fallbacks")?, 0);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn every_pair_of_a_chain_of_four_speaks() {
    Lab::with("chain", |lab| {
        let it =
            Cluster::<4>::new(lab, &Underlay::default(), |from, to| match from.abs_diff(to) {
                1 => "sleeve".into(),
                _ if from < to => (from + 1).to_string(),
                _ => (from - 1).to_string(),
            })?;
        for (one, other) in [(0, 2), (0, 3), (1, 3)] {
            cut(&it.nodes[one], &it.nodes[other])?;
            cut(&it.nodes[other], &it.nodes[one])?;
        }

        for (n, from) in it.pods.iter().enumerate() {
            for to in it.pods.iter().skip(n + 1) {
                assert!(from.ping(to.addr(), 5)?.perfect());
            }
        }
        let transfer = transfer_to(&it.pods[0], &it.pods[3], it.pods[3].addr(), 100 * MB)?;
        assert!(transfer.intact(), "{transfer:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_path_to_a_relay_that_becomes_narrow_is_told_to_the_pods() {
    Lab::with("narrow", |lab| {
        let mut it = Cluster::<3>::new(lab, &Underlay::default(), |from, to| {
            if from.abs_diff(to) == 2 { "1".into() } else { "sleeve".into() }
        })?;
        assert!(it.pods[0].ping(it.pods[2].addr(), 3)?.perfect());

        it.nodes[0].run(&["ip", "link", "set", "eth0", "mtu", "1400"])?;
        let whole = Ping::new(it.pods[2].addr(), 3).size(1402).fragment(Fragment::Never);
        let told = it.pods[0].ping_with(&whole)?;

        assert_eq!((told.received, told.too_big), (0, Some(1350)));
        let transfer = transfer_to(&it.pods[0], &it.pods[2], it.pods[2].addr(), 10 * MB)?;
        assert!(transfer.intact(), "{transfer:?}");
        assert!(it.count(0, "/icmp_sent")? > 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn datagrams_of_a_host_that_is_no_peer_are_counted_and_go_nowhere() {
    Lab::with("stranger", |lab| {
        let mut it =
            Cluster::<2>::new(lab, &Underlay::default().switched(), |_, _| "sleeve".into())?;
        assert!(it.pods[0].ping(it.pods[1].addr(), 3)?.perfect());
        let [stranger] = lab.nodes::<1>(&Underlay::default().switched())?;
        let before = it.count(1, "/relayed/frames")?;

        let to = it.nodes[1].addr();
        let send = format!(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             [s.sendto(bytes([0, 0x77, 0, 0, 0x77, 0, 1, 4]) + b'x' * 60, ('{to}', 6783)) \
             for _ in range(1000)]"
        );
        stranger.run(&["python3", "-c", &send])?;
        pause(Duration::from_millis(500));

        assert_eq!(it.count(1, "/drops/sleeve_unknown_source")?, 1000);
        assert_eq!(it.count(1, "/relayed/frames")?, before);
        assert!(it.pods[0].ping(it.pods[1].addr(), 3)?.perfect());
        Ok(())
    })
    .unwrap();
}

/// The UDP ports of a packet of the underlay.
fn ports(packet: &[u8], family: Family) -> [u16; 2] {
    let at = match family {
        Family::V4 => 14 + 20,
        Family::V6 => 14 + 40,
    };
    [at, at + 2].map(|at| u16::from_be_bytes([packet[at], packet[at + 1]]))
}

/// Nodes with a switch and a pod each.
struct Cluster<const N: usize> {
    nodes: [Node; N],
    switches: Vec<Proc>,
    pods: Vec<Pod>,
}

impl<const N: usize> Cluster<N> {
    /// `path` says how the first of two nodes reaches the second.
    fn new(lab: &Lab, underlay: &Underlay, path: impl Fn(usize, usize) -> String) -> Result<Self> {
        let nodes = lab.nodes::<N>(underlay)?;
        let program = bin("lab-sleeve")?.into_os_string().into_string().ok().context("no text")?;
        let mut switches = Vec::new();
        for (own, node) in nodes.iter().enumerate() {
            let mut argv = vec![program.clone(), node.addr().to_string(), own.to_string()];
            for (n, other) in nodes.iter().enumerate().filter(|(n, _)| *n != own) {
                argv.push(format!("{n}={}={}", other.addr(), path(own, n)));
            }
            let argv: Vec<_> = argv.iter().map(String::as_str).collect();
            let mut switch = node.spawn(&argv)?;
            switch.wait_for_line("switching", WAIT)?;
            switches.push(switch);
        }
        let pods = pods(&nodes, 1430)?;
        Ok(Self { nodes, switches, pods })
    }

    /// A counter of a node's, as of after this call.
    fn count(&mut self, node: usize, path: &str) -> Result<u64> {
        pause(Duration::from_millis(500));
        let out = self.switches[node].stdout();
        let mut whole = out.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let last = whole.rfind(|line| line.starts_with('{')).context("no counters")?;
        counter(&serde_json::from_str::<Value>(last)?, path)
    }
}
