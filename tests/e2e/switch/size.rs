//! Packets that are too big for the path: answered, or carried in fragments; never lost in silence.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::{
    Fragment, Lab, Ping, Pod, Underlay, transfer, transfer_to, udp_echo, wait_until,
};

use crate::Cluster;

/// Pods that think of 1500 octets behind a tunnel that has room for 1450 (IPv4) or 1430 (IPv6).
fn cluster(lab: &Lab, underlay: &Underlay) -> Result<Cluster<2>> {
    Cluster::with_pod_mtu(lab, underlay, &[], 1500)
}

fn too_big_for(from: &Pod, to: impl Into<IpAddr>) -> Result<Option<u32>> {
    let to = to.into();
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let ping = Ping::new(to, 3).size(1500 - headers).fragment(Fragment::Never);
    let stats = from.ping_with(&ping)?;
    assert_eq!(stats.received, 0);
    Ok(stats.too_big)
}

#[test]
fn with_df_the_sender_is_told_the_mtu() {
    for (underlay, mtu) in [(Underlay::default(), 1450), (Underlay::v6(), 1430)] {
        Lab::with("df", |lab| {
            let Cluster { pods, mut switches, .. } = cluster(lab, &underlay)?;

            assert_eq!(too_big_for(&pods[0], pods[1].addr())?, Some(mtu));
            assert_eq!(too_big_for(&pods[0], pods[1].addr6()?)?, Some(mtu));

            assert!(switches[0].count("/icmp_sent")? >= 2);
            assert_eq!(switches[0].count("/drops/too_big")?, switches[0].count("/icmp_sent")?);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn without_df_the_packet_is_carried_in_fragments() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("nodf", |lab| {
            let Cluster { pods, mut switches, .. } = cluster(lab, &underlay)?;

            for size in [1472, 4000, 20_000] {
                let ping = Ping::new(pods[1].addr(), 5).size(size).fragment(Fragment::Allowed);
                assert!(pods[0].ping_with(&ping)?.perfect(), "{size} octets");
            }
            assert!(switches[0].count("/fragmented")? >= 5);
            assert_eq!(switches[0].count("/drops/too_big")?, 0);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn tcp_finds_its_way_through_a_path_narrower_than_the_pods_think() {
    Lab::with("pmtud", |lab| {
        let Cluster { pods, .. } = &cluster(lab, &Underlay::default())?;

        assert!(transfer(&pods[0], &pods[1], 10_000_000)?.intact());
        assert!(transfer_to(&pods[1], &pods[0], pods[0].addr6()?.into(), 10_000_000)?.intact());
        let echoed = udp_echo(&pods[0], &pods[1], pods[1].addr6()?.into(), 20_000, 5)?;
        assert!(echoed.received >= 4, "all but those that found out: {echoed:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_underlay_that_becomes_narrower_is_noticed() {
    Lab::with("narrow", |lab| {
        let Cluster { nodes, pods, mut switches } = cluster(lab, &Underlay::default())?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        for node in &nodes {
            node.run(&["ip", "link", "set", "eth0", "mtu", "1400"])?;
        }

        wait_until(Duration::from_secs(3), "the new MTU", || {
            switches.iter_mut().all(|it| it.count("/peers/0/mtu").is_ok_and(|mtu| mtu == 1350))
        })?;
        assert_eq!(too_big_for(&pods[0], pods[1].addr())?, Some(1350));
        let ping = Ping::new(pods[1].addr(), 5).size(1400).fragment(Fragment::Allowed);
        assert!(pods[0].ping_with(&ping)?.perfect());
        assert!(transfer(&pods[0], &pods[1], 5_000_000)?.intact());
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_mtu_given_by_the_operator_is_kept() {
    Lab::with("mtu", |lab| {
        let cluster =
            Cluster::<2>::with_pod_mtu(lab, &Underlay::default(), &["--mtu", "1300"], 1500)?;
        let Cluster { nodes, pods, .. } = &cluster;

        assert_eq!(too_big_for(&pods[0], pods[1].addr())?, Some(1300));
        let link = nodes[0].run(&["ip", "link", "show", "weave"])?;
        assert!(link.contains("mtu 1300 "), "{link}");
        Ok(())
    })
    .unwrap();
}
