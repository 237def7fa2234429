//! Where pods' packets to other nodes are stopped: at the bridge or where they are routed.

use anyhow::{Context, Result, ensure};
use router::guard::{Damage, Guard};
use weft_tests::harness::{Lab, Node, Underlay};

use super::{Ears, MANY, SLEEVE, VXLAN, connect, guarded, masqueraded_pod, packets, send};

/// What a service has, which another node's tunnel port is behind.
const SERVICE: &str = "10.96.0.1";
const SERVICE_PORT: u16 = 53;

#[test]
fn who_translates_the_address_of_a_pods_packet_does_not_get_it_past_the_guard() {
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
