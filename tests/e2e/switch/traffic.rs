//! All kinds of traffic between pods on different nodes.

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::{
    Capture, Direction, Fragment, Lab, Ping, Underlay, pause, transfer_both, transfer_to, udp_echo,
};

use crate::{Cluster, carries, frame, hex, mac_octets};

const MB: u64 = 1_000_000;

#[test]
fn pods_on_two_nodes_ping_each_other_over_either_underlay() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("ping2", |lab| {
            let Cluster { pods, .. } = &Cluster::<2>::new(lab, &underlay, &[])?;

            assert!(pods[0].ping(pods[1].addr(), 10)?.perfect());
            assert!(pods[0].ping(pods[1].addr6()?, 10)?.perfect());
            assert!(pods[1].ping(pods[0].addr(), 10)?.perfect());
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn pods_on_three_nodes_ping_each_other() {
    Lab::with("ping3", |lab| {
        let Cluster { pods, .. } = &Cluster::<3>::new(lab, &Underlay::default(), &[])?;

        for (n, from) in pods.iter().enumerate() {
            for to in pods.iter().skip(n + 1) {
                assert!(from.ping(to.addr(), 5)?.perfect());
                assert!(from.ping(to.addr6()?, 5)?.perfect());
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_hundred_megabytes_cross_both_ways_at_once() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("tcp", |lab| {
            let Cluster { pods, .. } = &Cluster::<2>::new(lab, &underlay, &[])?;

            let (forth, back) = transfer_both(&pods[0], &pods[1], 100 * MB)?;

            assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
            assert_eq!((forth.bytes, back.bytes), (100 * MB, 100 * MB));
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn three_nodes_exchange_streams_and_datagrams_with_each_other() {
    Lab::with("tcp3", |lab| {
        let Cluster { pods, .. } = &Cluster::<3>::new(lab, &Underlay::default(), &[])?;

        for (one, two) in [(0, 1), (1, 2), (2, 0)] {
            let (forth, back) = transfer_both(&pods[one], &pods[two], 100 * MB)?;
            assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
            assert_eq!((forth.bytes, back.bytes), (100 * MB, 100 * MB));
            for size in [0, 1, 700, 1400, 60_000] {
                for to in [pods[two].addr(), pods[two].addr6()?.into()] {
                    let echoed = udp_echo(&pods[one], &pods[two], to, size, 5)?;
                    assert_eq!((echoed.received, echoed.corrupt), (5, 0), "{size} octets to {to}");
                }
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn tcp_over_ipv6_crosses() {
    Lab::with("tcp6", |lab| {
        let Cluster { pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;

        let sent = transfer_to(&pods[0], &pods[1], pods[1].addr6()?.into(), 20 * MB)?;

        assert!(sent.intact());
        Ok(())
    })
    .unwrap();
}

#[test]
fn datagrams_of_every_size_come_back_unchanged() {
    Lab::with("udp", |lab| {
        let Cluster { pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;

        for size in (0..=1400).step_by(100).chain([1, 7, 1399, 60_000]) {
            for to in [pods[1].addr(), pods[1].addr6()?.into()] {
                let echoed = udp_echo(&pods[0], &pods[1], to, size, 5)?;
                assert_eq!((echoed.received, echoed.corrupt), (5, 0), "{size} octets to {to}");
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn jumbo_frames_cross_an_underlay_that_carries_them() {
    Lab::with("jumbo", |lab| {
        let underlay = Underlay::default().mtu(9000);
        let mut cluster = Cluster::<2>::with_pod_mtu(lab, &underlay, &[], 8950)?;
        let pods = &cluster.pods;

        let whole = Ping::new(pods[1].addr(), 5).size(8950 - 28).fragment(Fragment::Never);
        assert!(pods[0].ping_with(&whole)?.perfect());
        let sent = transfer_to(&pods[0], &pods[1], pods[1].addr(), 50 * MB)?;

        assert!(sent.intact());
        assert_eq!(cluster.switches[0].count("/fragmented")?, 0);
        assert_eq!(cluster.switches[0].count("/peers/0/mtu")?, 8950);
        Ok(())
    })
    .unwrap();
}

#[test]
fn tagged_frames_cross_with_their_tags() {
    Lab::with("vlan", |lab| {
        let Cluster { pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        assert!(pods[0].ping(pods[1].addr(), 1)?.perfect());
        let capture = Capture::start(&pods[1], "eth0", "")?;
        let addresses = [mac_octets(pods[1].mac()), mac_octets(pods[0].mac())].concat();

        for tags in [&[0x81, 0x00, 0x20, 0x05][..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5][..]] {
            let tagged = [&addresses, tags, &[0x88, 0xb6], b"tagged payload"].concat();
            pods[0].peer(Duration::from_secs(5), &format!("raw-send eth0 1 {}", hex(&tagged)))?;
            capture.wait_for("tagged frame", Duration::from_secs(5), |it| {
                it.octets.starts_with(&tagged)
            })?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_broadcast_reaches_every_other_node_exactly_once_and_never_returns() {
    Lab::with("bcast", |lab| {
        let Cluster { pods, mut switches, .. } =
            Cluster::<4>::new(lab, &Underlay::default().switched(), &[])?;
        let captures: Vec<_> = pods
            .iter()
            .map(|pod| Capture::directed(pod, "eth0", Direction::In, ""))
            .collect::<Result<_>>()?;
        let mark = b"a broadcast with a mark";
        let octets = frame("ff:ff:ff:ff:ff:ff", pods[0].mac(), mark);

        pods[0].peer(Duration::from_secs(5), &format!("raw-send eth0 20 {}", hex(&octets)))?;
        captures[3].wait_for("broadcast", Duration::from_secs(5), |it| carries(it, mark))?;
        pause(Duration::from_millis(300));

        let seen: Vec<_> = captures
            .into_iter()
            .map(|capture| Ok(capture.stop()?.iter().filter(|it| carries(it, mark)).count()))
            .collect::<Result<_>>()?;
        assert_eq!(seen, [0, 20, 20, 20]);
        for switch in &mut switches {
            assert_eq!(switch.count("/drops/local_destination")?, 0);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn multicast_reaches_all_who_joined_once() {
    Lab::with("mcast", |lab| {
        let Cluster { pods, .. } = &Cluster::<3>::new(lab, &Underlay::default(), &[])?;
        for (group, port) in [("239.1.2.3", 5001), ("ff05::1234", 5002)] {
            let listen = format!("mcast-recv eth0 {group} {port} 3");
            let mut listeners = [pods[1].spawn_peer(&listen)?, pods[2].spawn_peer(&listen)?];
            for listener in &mut listeners {
                listener.wait_for_line("listening", Duration::from_secs(5))?;
            }

            let send = format!("mcast-send eth0 {group} {port} 10");
            pods[0].peer(Duration::from_secs(5), &send)?;

            for listener in &mut listeners {
                listener.wait(Duration::from_secs(10))?;
                let heard = listener.stdout();
                let heard: serde_json::Value =
                    serde_json::from_str(heard.lines().last().unwrap_or_default())?;
                assert_eq!(heard["received"], 10, "{heard}");
                assert_eq!(heard["duplicates"], 0, "{heard}");
            }
        }
        Ok(())
    })
    .unwrap();
}
