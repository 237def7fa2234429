//! Where pods' packets to other nodes are stopped: at the bridge or where they are routed.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use router::guard::{Damage, Guard};
use socket2::{Domain, Protocol, Socket, Type};
use weft_tests::harness::{Lab, Node, Pod, Underlay, beside, pause};

use super::{Ears, MANY, SETTLE, SLEEVE, VXLAN, connect, guarded, masqueraded_pod, packets, send};

/// What a service has, which another node's tunnel port is behind.
const SERVICE: &str = "10.96.0.1";
const SERVICE_PORT: u16 = 53;

#[test]
fn who_translates_the_address_of_a_pods_packet_does_not_get_it_past_the_guard() {
    let _turn = beside().unwrap();
    for bridged in ["1", "0"] {
        Lab::with("guard-dnat", |lab| {
            let [one, two] = lab.nodes(&Underlay::default())?;
            let far = Ears::of(&one)?;
            let pod = masqueraded_pod(&two, bridged)?;
            two.run(&[
                "nft",
                &format!(
                    "add chain ip nat in {{ type nat hook prerouting priority -100; }}
                     add rule ip nat in ip daddr {SERVICE} udp dport {SERVICE_PORT} dnat to {}:{VXLAN}",
                    one.addr()
                ),
            ])?;
            let attack = |count| send(&pod, SERVICE.parse()?, SERVICE_PORT, count);
            attack(10)?;
            ensure!(far.heard()? == [0, 10], "without a guard it is heard");

            let guard = guarded(&two, &[one.addr()])?;
            attack(MANY)?;

            ensure!(far.heard()? == [0, 0], "br_netfilter {bridged}");
            let tally = two.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.pods_to_peers) == MANY, "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn whatever_becomes_of_br_netfilter_and_the_bridge_somebody_looks() {
    let _turn = beside().unwrap();
    Lab::with("guard-raised", |lab| {
        let [one, two] = lab.nodes(&Underlay::default())?;
        let far = Ears::of(&one)?;
        let pod = masqueraded_pod(&two, "1")?;
        let mut guard = guarded(&two, &[one.addr()])?;
        let stopped = |pod: &_| -> Result<()> {
            [SLEEVE, VXLAN].iter().try_for_each(|port| send(pod, one.addr(), *port, MANY))?;
            ensure!(connect(pod, one.addr(), SLEEVE).is_err());
            ensure!(far.heard()? == [0, 0]);
            Ok(())
        };
        let _mesh = one.inside(async || Ok(std::net::TcpListener::bind(("0.0.0.0", SLEEVE))?))?;
        ensure!(looks(&two)? == Looks { bridge: true, forward: false });
        stopped(&pod)?;

        for bridged in ["0", "1"] {
            two.sh(&format!("echo {bridged} >/proc/sys/net/bridge/bridge-nf-call-iptables"))?;
            stopped(&pod).context("before anybody has seen it")?;
            ensure!(verified(&two, &mut guard)?.is_none());
            let at_bridge = bridged == "1";
            ensure!(looks(&two)? == Looks { bridge: at_bridge, forward: !at_bridge });
            stopped(&pod)?;
        }

        for harm in ["flush chain netdev weft ingress", "delete table netdev weft"] {
            two.run(&["nft", harm])?;
            ensure!(verified(&two, &mut guard)? == Some(Damage::Pods), "{harm}");
            ensure!(verified(&two, &mut guard)?.is_none(), "{harm}");
            stopped(&pod).context(harm)?;
        }

        two.sh("ip link del weave; ip link add weave type bridge; ip link set weave up")?;
        two.sh("ip addr add 10.32.0.1/24 brd + dev weave")?;
        two.plug(&pod)?;
        // Some kernels know the chain's bridge by its name, and need no bridge to begin with; for others we do it.
        let _damage = verified(&two, &mut guard)?;
        ensure!(looks(&two)? == Looks { bridge: true, forward: false });
        stopped(&pod)?;

        // From the beginning without a bridge, until there is one.
        two.sh("ip link del weave")?;
        ensure!(two.inside(async || Ok(Guard::remove().await?))?);
        guard = guarded(&two, &[one.addr()])?;
        two.sh("ip link add weave type bridge; ip link set weave up")?;
        ensure!(verified(&two, &mut guard)?.is_none());
        ensure!(looks(&two)? == Looks { bridge: true, forward: false });
        ensure!(two.inside(async || Ok(Guard::remove().await?))?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_was_counted_at_the_bridge_stays_counted_when_pods_are_looked_at_elsewhere() {
    let _turn = beside().unwrap();
    // The kernel takes 1024 hooks for a device.
    let full: String = (0..1024)
        .map(|n| {
            format!("add chain netdev full c{n} {{ type filter hook ingress device \"weave\" priority 9; }}\n")
        })
        .collect();
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    for (away, back) in [
        (format!("echo 0 >{switch}"), format!("echo 1 >{switch}")),
        (
            format!(
                "nft 'flush chain netdev weft ingress; delete chain netdev weft ingress'; nft 'add table netdev full; {full}'"
            ),
            "nft delete table netdev full".to_owned(),
        ),
    ] {
        Lab::with("guard-carried", |lab| {
            let [one, two] = lab.nodes(&Underlay::default())?;
            let far = Ears::of(&one)?;
            let pod = masqueraded_pod(&two, "1")?;
            let mut guard = guarded(&two, &[one.addr()])?;

            for (what, at_bridge) in [("true", true), (&away, false), (&back, true)] {
                two.sh(what)?;
                verified(&two, &mut guard)?;
                let tables = two.run(&["nft", "list", "tables"])?;
                ensure!(tables.contains("netdev weft") == at_bridge, "{tables}");
                send(&pod, one.addr(), VXLAN, MANY)?;
            }

            ensure!(far.heard()? == [0, 0]);
            let tally = two.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.pods_to_peers) == 3 * MANY, "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn what_pods_say_of_the_size_of_packets_between_nodes_is_not_believed() {
    let _turn = beside().unwrap();
    for (underlay, bridged) in
        [(Underlay::default(), "1"), (Underlay::default(), "0"), (Underlay::v6(), "1")]
    {
        Lab::with("guard-size", |lab| {
            let [one, two] = lab.nodes(&underlay)?;
            let _ears = (Ears::of(&one)?, Ears::of(&two)?);
            let pod = masqueraded_pod(&two, bridged)?;
            two.sh("ip addr add fd00:77::1/64 nodad dev weave; sysctl -qw net.ipv6.conf.all.forwarding=1")?;
            pod.sh("ip addr add fd00:77::2/64 nodad dev eth0; ip -6 route add default via fd00:77::1")?;
            one.sh(&format!("ip -6 route add fd00:77::/64 via {} || true", two.addr()))?;
            // Its own node, of the path to the other; and the other, of the path to its own.
            let attacks = [(&two, &one), (&one, &two)];
            for (node, peer) in attacks {
                say_too_big(&pod, node.addr(), peer.addr())?;
                ensure!(is_narrow(node, peer)?, "without a guard it is believed");
                node.sh("ip route flush cache; ip -6 route flush cache")?;
                ensure!(!is_narrow(node, peer)?);
            }

            let guard = guarded(&two, &[one.addr()])?;
            for (node, peer) in attacks {
                say_too_big(&pod, node.addr(), peer.addr())?;
                ensure!(!is_narrow(node, peer)?, "{} of {}", node.addr(), peer.addr());
            }
            let tally = two.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.pods_too_big) == 2, "{tally:?}");
            // Of the way to a pod it may say so.
            say_too_big(&pod, two.addr(), "10.32.0.9".parse()?)?;
            let tally = two.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.pods_too_big) == 2, "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// An MTU that nobody has.
const NARROW: u16 = 1300;

/// Sends `to` that its datagrams of the tunnel to `peer` are too big (RFC 792, RFC 4443 section 3.2).
fn say_too_big(pod: &Pod, to: IpAddr, peer: IpAddr) -> Result<()> {
    let udp = [VXLAN.to_be_bytes(), VXLAN.to_be_bytes(), [5, 0x78], [0, 0]].concat();
    let (domain, protocol, mut message) = match (to, peer) {
        (IpAddr::V6(to), IpAddr::V6(peer)) => {
            let quoted = [&[0x60, 0, 0, 0, 5, 0x78, 17, 64][..], &to.octets(), &peer.octets()];
            let message = [&[2, 0, 0, 0, 0, 0][..], &NARROW.to_be_bytes(), &quoted.concat(), &udp];
            (Domain::IPV6, Protocol::ICMPV6, message.concat())
        }
        (IpAddr::V4(to), IpAddr::V4(peer)) => {
            let quoted = [
                &[0x45, 0, 5, 0x8c, 0, 1, 0x40, 0, 64, 17, 0, 0][..],
                &to.octets(),
                &peer.octets(),
            ];
            let message = [&[3, 4, 0, 0, 0, 0][..], &NARROW.to_be_bytes(), &quoted.concat(), &udp];
            (Domain::IPV4, Protocol::ICMPV4, message.concat())
        }
        _ => return Ok(()),
    };
    if to.is_ipv4() {
        let (words, _) = message.as_chunks::<2>();
        let mut sum: u32 = words.iter().map(|it| u32::from(u16::from_be_bytes(*it))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum)?;
        message.splice(2..4, sum.to_be_bytes());
    }
    pod.inside(async || {
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
        Ok(())
    })?;
    pause(SETTLE);
    Ok(())
}

fn is_narrow(node: &Node, peer: &Node) -> Result<bool> {
    let route = node.sh(&format!("ip route get {}", peer.addr()))?;
    Ok(route.contains(&format!("mtu {NARROW}")))
}

#[derive(Debug, Eq, PartialEq)]
struct Looks {
    bridge: bool,
    forward: bool,
}

fn looks(node: &Node) -> Result<Looks> {
    let rules = node.run(&["nft", "list", "ruleset"])?;
    Ok(Looks { bridge: rules.contains("hook ingress"), forward: rules.contains("hook forward") })
}

fn verified(node: &Node, guard: &mut Guard) -> Result<Option<Damage>> {
    node.inside(async || Ok(guard.verify().await?))
}
