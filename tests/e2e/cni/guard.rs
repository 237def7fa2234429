//! Pods that say they are another.

use std::time::Duration;

use anyhow::{Context, ensure};
use weft_tests::harness::runtime::{Container, add, address};
use weft_tests::harness::{Capture, Lab, Ping, beside, pause};

use crate::{mac_of, two};

#[test]
fn a_pod_that_sends_by_anothers_mac_address_is_not_heard_and_moves_nobody() {
    let _turn = beside().unwrap();
    Lab::with("cni-spoof", |lab| {
        let (nodes, daemons) = two(lab)?;
        let victim = Container::new(&nodes[1], "victim")?;
        let to = address(&add(&nodes[1], &victim)?)?;
        let [liar, client] =
            [Container::new(&nodes[0], "liar")?, Container::new(&nodes[0], "client")?];
        let from = address(&add(&nodes[0], &liar)?)?;
        add(&nodes[0], &client)?;
        let answers = |of: &Container| of.host().ping_with(&Ping::new(to, 5));
        ensure!(answers(&client)?.perfect() && answers(&liar)?.perfect());
        let stations = daemons[1].weft("fdb")?;

        let own = mac_of(liar.host(), "eth0")?;
        for mac in [
            mac_of(victim.host(), "eth0")?,
            mac_of(client.host(), "eth0")?,
            mac_of(&nodes[1], "weave")?,
            "02:00:00:00:00:77".to_owned(),
        ] {
            let seen = Capture::start(victim.host(), "eth0", &format!("icmp and src host {from}"))?;
            liar.host().sh(&format!(
                "ip link set eth0 address {mac}; ip neigh replace {to} lladdr {} dev eth0",
                mac_of(victim.host(), "eth0")?
            ))?;
            let lies = liar.host().ping_with(&Ping::new(to, 5).wait(Duration::from_millis(200)))?;
            pause(Duration::from_millis(200));
            ensure!(lies.received == 0, "{mac}: {lies:?}");
            let heard = seen.stop()?.len();
            ensure!(heard == 0, "{mac}: {heard} frames arrived");
            let others = answers(&client)?;
            ensure!(others.perfect(), "{mac}: another pod's traffic has moved: {others:?}");
        }
        ensure!(daemons[1].weft("fdb")?.lines().count() == stations.lines().count());
        liar.host().sh(&format!("ip link set eth0 address {own}; ip neigh flush dev eth0"))?;
        let honest = answers(&liar)?;
        ensure!(honest.received > 0, "{honest:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pods_frames_of_our_own_kind_go_nowhere() {
    let _turn = beside().unwrap();
    Lab::with("cni-forge", |lab| {
        let (nodes, _daemons) = two(lab)?;
        let [liar, victim] = [Container::new(&nodes[0], "liar")?, Container::new(&nodes[1], "victim")?];
        add(&nodes[0], &liar)?;
        let to = address(&add(&nodes[1], &victim)?)?;
        ensure!(liar.host().ping(to, 3)?.perfect());
        let bridge = mac_of(&nodes[1], "weave")?;

        // Probes are of EtherType 0x88b5; and VXLAN to a node, by way of the host.
        let seen = Capture::start(&nodes[1], "weave", "ether proto 0x88b5")?;
        let script = format!(
            "import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind(('eth0',0))\n\
             own=bytes.fromhex('{own}')\n\
             frame=bytes.fromhex('{}')+own+bytes.fromhex('88b5')+b'weft'+bytes(60)\n\
             [s.send(frame) for _ in range(20)]\n\
             u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
             [u.sendto(bytes.fromhex('0800000000000100')+bytes(60),('{}',6784)) for _ in range(20)]\n",
            bridge.replace(':', ""),
            nodes[1].addr(),
            own = mac_of(liar.host(), "eth0")?.replace(':', "")
        );
        liar.host().run(&["python3", "-c", &script]).context("python3 sends frames")?;
        pause(Duration::from_millis(300));

        let forged = seen.stop()?;
        let own = mac_of(liar.host(), "eth0")?.replace(':', "");
        let from = forged.iter().filter(|it| hex(it.octets.get(6..12)) == own).count();
        ensure!(from == 0, "{from} forged probes arrived at the other node's bridge");
        Ok(())
    })
    .unwrap();
}

fn hex(octets: Option<&[u8]>) -> String {
    octets.unwrap_or_default().iter().map(|it| format!("{it:02x}")).collect()
}
