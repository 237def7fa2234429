//! Pings, transfers, datagrams, whole frames, captures.

use std::time::Duration;

use anyhow::Context;
use weft_tests::harness::{
    Capture, Direction, Fragment, Lab, Packet, Ping, PodSpec, Underlay, pause, transfer_both,
    transfer_to, udp_echo,
};

use crate::{VNI, vxlan_pair};

const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn two_pods_talk_over_kernel_vxlan() {
    Lab::with("kernel-vxlan", |lab| {
        let (_, [p, q]) = vxlan_pair(lab, &Underlay::default())?;

        let stats = p.ping(q.addr(), 5)?;
        assert!(stats.perfect() && stats.rtt().is_some(), "{stats:?}");
        assert!(p.ping(q.addr6()?, 5)?.perfect());

        let (forth, back) = transfer_both(&p, &q, 20 * MIB)?;
        assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
        assert_eq!((forth.bytes, back.bytes), (20 * MIB, 20 * MIB));
        assert_ne!(forth.hash_sent, back.hash_sent);
        assert!(transfer_to(&p, &q, q.addr6()?.into(), MIB + 3)?.intact());

        for size in [0, 1, 1400, 60_000] {
            let echo = udp_echo(&p, &q, q.addr(), size, 10)?;
            assert_eq!((echo.received, echo.corrupt), (10, 0), "{size} octets");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn three_nodes_on_a_bridge_talk_over_an_ipv6_underlay_without_offloads() {
    Lab::with("three-v6", |lab| {
        let [a, b, c] = lab.nodes::<3>(&Underlay::v6().offload(false).mtu(9000))?;
        a.kernel_vxlan(&[&b, &c], VNI)?;
        b.kernel_vxlan(&[&a, &c], VNI)?;
        c.kernel_vxlan(&[&a, &b], VNI)?;
        let mut pods = Vec::new();
        for (number, node) in [(1, &a), (2, &b), (3, &c)] {
            let cidr = format!("10.32.0.{number}/24");
            let pod = node.add_pod(&PodSpec::new("p", &cidr).mtu(8900))?;
            node.plug(&pod)?;
            pods.push(pod);
        }

        for from in &pods {
            for to in &pods {
                let ping = Ping::new(to.addr(), 3).size(8800).fragment(Fragment::Never);
                let stats = from.ping_with(&ping)?;
                assert!(stats.perfect(), "{} to {}: {stats:?}", from.name(), to.name());
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn offloads_are_on_unless_switched_off() {
    Lab::with("offload", |lab| {
        let [a, _] = lab.nodes::<2>(&Underlay::default())?;
        let [c, _, _] = lab.nodes::<3>(&Underlay::default().offload(false))?;

        assert!(a.run(&["ethtool", "-k", "eth0"])?.contains("tx-checksumming: on"));
        let off = c.run(&["ethtool", "-k", "eth0"])?;
        for feature in ["tx-checksumming", "rx-checksumming", "tcp-segmentation-offload"] {
            assert!(off.contains(&format!("{feature}: off")), "{off}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_ping_tells_the_mtu_it_was_answered_with() {
    Lab::with("too-big", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default().mtu(1400))?;
        let p = a.add_pod(&PodSpec::new("p", "10.32.0.2/24").cidr6("fd00:32::2/64").mtu(1500))?;
        a.sh(&format!("ip addr add 10.32.0.1/24 dev {}", p.host_if()))?;
        a.sh(&format!("ip addr add fd00:32::1/64 dev {} nodad", p.host_if()))?;
        a.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")?;
        a.sh("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")?;
        a.sh("ip addr add fd99::1/64 dev eth0 nodad")?;
        p.run(&["ip", "route", "add", "default", "via", "10.32.0.1"])?;
        p.run(&["ip", "-6", "route", "add", "default", "via", "fd00:32::1"])?;
        b.sh(&format!("ip route add 10.32.0.0/24 via {}", a.addr()))?;
        let over = |to| Ping::new(to, 2).size(1450).fragment(Fragment::Never);

        let v4 = p.ping_with(&over(b.addr()))?;
        let v6 = p.ping_with(&over("fd99::2".parse()?))?;
        let carried =
            p.ping_with(&Ping::new(b.addr(), 2).size(1450).fragment(Fragment::Allowed))?;

        assert_eq!((v4.received, v4.too_big), (0, Some(1400)), "{v4:?}");
        assert_eq!((v6.received, v6.too_big), (0, Some(1400)), "{v6:?}");
        assert!(carried.perfect(), "{carried:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_capture_has_the_octets_of_the_wire() {
    Lab::with("capture", |lab| {
        let ([a, _b], [p, q]) = vxlan_pair(lab, &Underlay::default())?;
        let outer = Capture::directed(&a, "eth0", Direction::Out, "udp dst port 6784")?;
        let inner = Capture::start(&q, "eth0", "")?;
        let tagged = [mac_hex(q.mac()), mac_hex(p.mac()), "8100002a88b6c0ffee".into()].concat();

        p.peer(LIMIT, &format!("raw-send eth0 1 {tagged}+60"))?;
        inner.wait_for("tagged frame", LIMIT, |it| frame_type(it) == Some([0x81, 0x00]))?;
        let (outer, inner) = (outer.stop()?, inner.stop()?);

        let tail = outer_tail(&outer).context("no tagged frame on the underlay")?;
        assert!(inner.iter().any(|it| it.octets.get(12..) == Some(tail)), "{inner:02x?}");
        assert!(outer.iter().all(|it| it.octets.get(42..46) == Some(&[8, 0, 0, 0])));
        assert!(outer.iter().all(|it| it.at > Duration::from_secs(1_600_000_000)));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_capture_tells_directions_from_its_first_packet_on() {
    Lab::with("directions", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default())?;
        for (direction, expected) in
            [(Direction::In, &[0][..]), (Direction::Out, &[8]), (Direction::Both, &[8, 0])]
        {
            let capture = Capture::directed(&a, "eth0", direction, "icmp")?;
            assert!(a.ping(b.addr(), 1)?.perfect());

            let packets = capture.stop()?;

            let types: Vec<u8> = packets.iter().map(|it| it.octets[34]).collect();
            assert_eq!(types, expected, "{direction:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_multicast_arrives_once() {
    Lab::with("multicast", |lab| {
        let (_, [p, q]) = vxlan_pair(lab, &Underlay::default())?;
        for group in ["239.1.2.3", "ff15::123"] {
            let mut receiver = q.spawn_peer(&format!("mcast-recv eth0 {group} 7777 2"))?;
            receiver.wait_for_line("listening", LIMIT)?;

            p.peer(LIMIT, &format!("mcast-send eth0 {group} 7777 20"))?;
            receiver.wait(LIMIT)?;

            let said = receiver.stdout();
            assert!(said.contains(r#""received":20"#), "{group}: {said}");
            assert!(said.contains(r#""duplicates":0"#), "{group}: {said}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_flood_of_sources_fills_the_table_of_the_other_node() {
    Lab::with("mac-flood", |lab| {
        let ([_a, b], [p, _q]) = vxlan_pair(lab, &Underlay::default())?;

        p.peer(LIMIT, "mac-flood eth0 300")?;
        pause(Duration::from_millis(200));

        let table = b.run(&["bridge", "fdb", "show", "br", "weave"])?;
        let learned = table.lines().filter(|line| line.contains("master weave")).count();
        assert!(learned >= 300, "{learned} stations");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_blast_does_not_stop_at_errors_and_is_counted() {
    Lab::with("blast", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default())?;
        let mut count = b.spawn_peer("udp-count 7000 3")?;
        count.wait_for_line("listening", LIMIT)?;

        let closed = a.peer(LIMIT, &format!("udp-blast {} 9 1", b.addr()))?;
        let sent =
            a.peer(LIMIT, &format!("udp-blast {} 7000 1 +0 00 0800000000001a80+65499", b.addr()))?;
        count.wait(LIMIT)?;

        assert!(closed["sent"].as_u64() > Some(100), "{closed}");
        assert!(sent["sent"].as_u64() > Some(100), "{sent}");
        assert!(!count.stdout().contains(r#""received":0"#), "{}", count.stdout());
        Ok(())
    })
    .unwrap();
}

fn mac_hex(mac: &str) -> String {
    mac.replace(':', "")
}

fn frame_type(packet: &Packet) -> Option<[u8; 2]> {
    packet.octets.get(12..14)?.try_into().ok()
}

/// What the first tunnelled 802.1Q frame carries behind its addresses: 14 octets of Ethernet,
/// 20 of IPv4, 8 of UDP, 8 of VXLAN and 12 of addresses come before it.
fn outer_tail(outer: &[Packet]) -> Option<&[u8]> {
    let tagged = outer.iter().find(|it| it.octets.get(62..64) == Some(&[0x81, 0x00]))?;
    tagged.octets.get(62..)
}
