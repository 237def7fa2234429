//! Frames of those who have no business here.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use peer_mesh::PeerName;
use router::choose_label;
use switch::{Mac, Vni, sleeve, vxlan};
use weft_tests::harness::mesh::Peer;
use weft_tests::harness::weftd::{Daemon, text};
use weft_tests::harness::{
    self, Capture, Host, Lab, Node, Ping, Pod, Underlay, beside, pause, wait_until,
};

use crate::{WAIT, cluster, pod, remote};

const SLEEVE: u16 = 6783;
const VXLAN: u16 = 6784;
/// Frames of each kind.
const MANY: u64 = 1_000;
/// The EtherType of forged frames: IEEE 802 local experimental EtherType 2.
const FORGED: [u8; 2] = [0x88, 0xb6];
/// Between two datagrams: no queue on the way is to overflow, or they would be dropped for that.
const PACE: Duration = Duration::from_micros(200);
/// From the last send to the last pod.
const SETTLE: Duration = Duration::from_millis(300);
/// Between two pings.
const SOON: Duration = Duration::from_millis(20);

#[test]
fn of_a_thousand_frames_from_a_host_that_is_no_peer_none_arrives_and_each_is_counted() {
    let _turn = beside().unwrap();
    Lab::with("intruder-host", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let it = Cluster::start(&nodes[..2])?;
        let (stranger, target) = (&nodes[2], &nodes[0]);
        // The same frame from a peer's address arrives: VXLAN trusts the underlay.
        let watching = it.watching()?;
        send(&nodes[1], target.addr(), VXLAN, &it.vxlan()?, 10)?;
        send(&nodes[1], target.addr(), SLEEVE, &it.sleeve()?, 10)?;
        ensure!(forged(watching)? == 20, "a peer's own frames arrive");

        let (watching, before) = (it.watching()?, it.guard()?);
        send(stranger, target.addr(), VXLAN, &it.vxlan()?, MANY)?;
        send(stranger, target.addr(), SLEEVE, &it.sleeve()?, MANY)?;
        let (arrived, after) = (forged(watching)?, it.guard()?);

        let counted = after.since(before);
        println!("a stranger: {arrived} of {} arrived, {counted:?}", 2 * MANY);
        ensure!(arrived == 0 && counted.vxlan == MANY && counted.sleeve == MANY, "{counted:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn of_a_thousand_frames_from_a_masqueraded_pod_to_each_port_none_arrives_and_each_is_counted() {
    let _turn = beside().unwrap();
    Lab::with("intruder-pod", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let it = Cluster::start(&nodes)?;
        let (here, there) = (&nodes[1], &nodes[0]);
        here.sh("ip addr add 10.32.0.254/24 dev weave
            echo 1 >/proc/sys/net/ipv4/ip_forward
            nft 'table ip nat { chain out {
                type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }; }'")?;
        let pod = &it.pods[1];
        pod.sh("ip route add default via 10.32.0.254; ping -c1 -W1 10.32.0.254")?;
        let pinged = pod.ping(there.addr(), 3)?;
        ensure!(pinged.received > 0, "the pod does not reach the other node at all");

        // An address of that node that nobody has named as a peer's.
        there.sh("ip addr add 10.77.0.1/32 dev lo")?;
        here.sh(&format!("ip route add 10.77.0.1 via {}", there.addr()))?;
        let further = IpAddr::from([10, 77, 0, 1]);
        let (watching, before) = (it.watching()?, it.guard_of(1)?);
        for addr in [there.addr(), further] {
            send(pod, addr, VXLAN, &it.vxlan()?, MANY)?;
            send(pod, addr, SLEEVE, &it.sleeve()?, MANY)?;
        }
        send(pod, here.addr(), VXLAN, &it.vxlan()?, MANY)?;
        send(pod, here.addr(), SLEEVE, &it.sleeve()?, MANY)?;
        let (arrived, after) = (forged(watching)?, it.guard_of(1)?);

        let counted = after.since(before);
        println!("a masqueraded pod: {arrived} of {} arrived, {counted:?}", 6 * MANY);
        ensure!(arrived == 0 && counted.pods_to_peers == 4 * MANY, "{counted:?}");
        ensure!(counted.pods_to_node == 2 * MANY, "{counted:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn who_calls_itself_by_a_live_peers_name_gets_no_frame_in_and_is_turned_away() {
    let _turn = beside().unwrap();
    Lab::with("intruder-name", |lab| {
        let nodes = lab.nodes::<4>(&Underlay::default())?;
        let it = Cluster::start(&nodes[..3])?;
        let (impostor, target) = (&nodes[3], &nodes[0]);
        let name = it.daemons[1].name();
        let (watching, before) = (it.watching()?, it.guard()?);

        let known = target.addr().to_string();
        let env = [("RUST_BACKTRACE", "0")];
        let mut mesh = Peer::spawn(impostor, &env, &["--name", name, &known])?;
        // From before it is heard of until after it was turned away.
        send_over(impostor, target.addr(), &it.vxlan()?, Duration::from_secs(4))?;
        let (arrived, after) = (forged(watching)?, it.guard()?);

        let counted = after.since(before);
        println!("an impostor: {arrived} of {MANY} arrived, {counted:?}");
        wait_until(WAIT, "it is turned away", || !mesh.running())?;
        println!("it said: {}", mesh.stderr().lines().last().unwrap_or_default());
        ensure!(
            text(&it.daemons[1].status()?, "/router/name")? == name,
            "the live peer has lost its name"
        );
        ensure!(arrived == 0 && counted.vxlan == MANY, "{counted:?}");
        it.daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(3, WAIT))
    })
    .unwrap();
}

#[test]
fn a_pod_that_speaks_as_another_nodes_bridge_is_not_believed_and_its_address_goes_on() {
    let _turn = beside().unwrap();
    for (options, kind) in [(&[][..], "fast"), (&["--fastpath", "off"], "user")] {
        Lab::with("intruder-bridge", |lab| {
            let it = harness::Cluster::<3>::new(lab, options)?;
            let (watcher, victim, intruder) = (it.pod(0)?, it.daemon(1)?, it.node(2)?);
            it.wait_for(0, 1, WAIT, |path| path.kind == kind)?;
            let bridge = victim.name();
            it.node(1)?.sh("ip addr add 10.32.0.254/24 dev weave")?;
            ensure!(watcher.ping("10.32.0.254".parse::<IpAddr>()?, 2)?.received > 0);
            let pod = pod(intruder, "x", 9)?;
            ensure!(pod.ping(watcher.addr(), 2)?.received > 0);

            // Within half a second of the bridge being placed elsewhere such frames may be its own of before.
            pause(Duration::from_secs(1));
            // "Who has 10.32.0.77? Tell 10.32.0.254", which is at the bridge's address. Nobody has it: bridges would answer.
            let mac = bridge.replace(':', "");
            let asks = format!(
                "ffffffffffff{mac}08060001080006040001{mac}0a2000fe0000000000000a20004d+18"
            );
            for _ in 0..3 {
                pod.peer(WAIT, &format!("raw-send eth0 20 {asks}"))?;
                for daemon in &it.daemons {
                    let told = daemon.ask(&format!("fdb {bridge}"))?;
                    let owner = text(&told, "/stations/0/peer/name")?;
                    ensure!(owner == bridge, "{kind}, {}: {told}", daemon.node().name());
                }
                for addr in ["10.32.0.254".parse()?, it.pod(1)?.addr()] {
                    let pinged = watcher.ping_with(&Ping::new(addr, 10).interval(SOON))?;
                    ensure!(pinged.perfect(), "{kind}, {addr}: {pinged:?}");
                }
            }

            let count = |name| it.daemon(2)?.count(&format!("/stations/{name}"));
            let (claimed, moved) = (count("claimed")?, count("moved_here")?);
            println!("in the name of a bridge ({kind}): {claimed} claims, {moved} moves");
            ensure!(claimed > 0 && moved == 0, "{kind}: {claimed} claims, {moved} moves");
            it.said(2, "not believed", 1, WAIT)
        })
        .unwrap();
    }
}

/// Nodes with a daemon and a pod each.
struct Cluster {
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

/// What the guard of a node has dropped.
#[derive(Clone, Copy, Debug)]
struct Dropped {
    vxlan: u64,
    sleeve: u64,
    pods_to_peers: u64,
    pods_to_node: u64,
}

impl Dropped {
    const fn since(self, before: Self) -> Self {
        Self {
            vxlan: self.vxlan - before.vxlan,
            sleeve: self.sleeve - before.sleeve,
            pods_to_peers: self.pods_to_peers - before.pods_to_peers,
            pods_to_node: self.pods_to_node - before.pods_to_node,
        }
    }
}

impl Cluster {
    fn start(nodes: &[Node]) -> Result<Self> {
        let daemons = cluster(nodes, &[])?;
        let pods =
            nodes.iter().zip(1..).map(|(node, number)| pod(node, &format!("p{number}"), number));
        let pods = pods.collect::<Result<Vec<_>>>()?;
        for pod in &pods {
            pod.sh("ping -c1 -W1 10.32.0.99 || true")?;
        }
        let known = |node: &Node| remote(node).is_ok_and(|all| all.len() >= pods.len() - 1);
        wait_until(WAIT, "all pods are known", || nodes.iter().all(known))?;
        // Pods that have just come up say things.
        pause(Duration::from_secs(1));
        Ok(Self { daemons, pods })
    }

    /// A frame for the first pod that pretends to be from the second one.
    fn frame(&self) -> Result<Vec<u8>> {
        let [to, from, ..] = &self.pods[..] else { anyhow::bail!("two pods") };
        let (to, from): (Mac, Mac) = (to.mac().parse()?, from.mac().parse()?);
        Ok([&to.0, &from.0, &FORGED[..], &[0x5a; 46]].concat())
    }

    fn vxlan(&self) -> Result<Vec<u8>> {
        Ok([&vxlan::header(Vni::DEFAULT)[..], &self.frame()?].concat())
    }

    /// From the second node's label to the first one's.
    fn sleeve(&self) -> Result<Vec<u8>> {
        let label = |daemon: &Daemon| -> Result<_> {
            let name: PeerName = daemon.name().parse()?;
            Ok(choose_label(name, None, []).raw().to_be_bytes())
        };
        let [first, second, ..] = &self.daemons[..] else { anyhow::bail!("two daemons") };
        let ([_, to @ ..], [_, from @ ..]) = (label(first)?, label(second)?);
        let header = [&[0], &from[..], &to, &[sleeve::HOPS]].concat();
        Ok([header, self.frame()?].concat())
    }

    fn watching(&self) -> Result<Vec<Capture>> {
        self.pods.iter().map(|pod| Capture::start(pod, "eth0", "ether proto 0x88b6")).collect()
    }

    fn guard(&self) -> Result<Dropped> {
        self.guard_of(0)
    }

    fn guard_of(&self, number: usize) -> Result<Dropped> {
        // The daemon asks nft once a second at most.
        pause(Duration::from_millis(1_200));
        let daemon = self.daemons.get(number).context("a daemon")?;
        let count = |name| daemon.count(&format!("/guard/{name}"));
        Ok(Dropped {
            vxlan: count("vxlan_strangers")?,
            sleeve: count("sleeve_strangers")?,
            pods_to_peers: count("pods_to_peers")?,
            pods_to_node: count("pods_to_node")?,
        })
    }
}

/// How many forged frames any pod has got.
fn forged(watching: Vec<Capture>) -> Result<usize> {
    pause(SETTLE);
    watching.into_iter().map(|it| Ok(it.stop()?.len())).sum()
}

fn send(from: &Host, to: IpAddr, port: u16, datagram: &[u8], count: u64) -> Result<()> {
    from.inside(async || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        for _ in 0..count {
            socket.send_to(datagram, (to, port))?;
            pause(PACE);
        }
        Ok(())
    })
}

/// Sends [`MANY`] datagrams to VXLAN's port, spread over this time.
fn send_over(from: &Host, to: IpAddr, datagram: &[u8], time: Duration) -> Result<()> {
    let pace = time / u32::try_from(MANY)?;
    from.inside(async || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        for _ in 0..MANY {
            socket.send_to(datagram, (to, VXLAN))?;
            pause(pace);
        }
        Ok(())
    })
}
