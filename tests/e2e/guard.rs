//! The tunnel guard between real network namespaces: who gets through, and what is counted.

#[path = "guard/intruders.rs"]
mod intruders;
#[path = "guard/pods.rs"]
mod pods;
#[path = "guard/receive.rs"]
mod receive;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use router::guard::{Config, Count, Damage, Guard, Installed, MARK};
use socket2::SockRef;
use weft_tests::harness::{Host, Lab, Node, Pod, Stopwatch, Underlay, beside, pause, serial};

const SLEEVE: u16 = 6783;
const VXLAN: u16 = 6784;
const MANY: usize = 1000;
/// A datagram of ours: what nobody else sends here.
const FORGED: &[u8] = &[0x08, 0, 0, 0, 0, 0x1a, 0x80, 0];
/// From the last send to the socket's queue: loopback and veths take microseconds.
const SETTLE: Duration = Duration::from_millis(100);

#[test]
fn datagrams_of_strangers_are_dropped_and_counted_and_those_of_peers_pass_and_are_counted() {
    let _turn = beside().unwrap();
    for underlay in [Underlay::default().switched(), Underlay::v6().switched()] {
        Lab::with("guard-strangers", |lab| {
            let [one, peer, stranger] = lab.nodes(&underlay)?;
            let ears = Ears::of(&one)?;
            send(&stranger, one.addr(), VXLAN, 10)?;
            ensure!(ears.heard()? == [0, 10], "without a guard all is heard");

            let guard = guarded(&one, &[peer.addr()])?;
            for port in [SLEEVE, VXLAN] {
                send(&stranger, one.addr(), port, MANY)?;
            }
            ensure!(ears.heard()? == [0, 0]);
            send(&peer, one.addr(), SLEEVE, 30)?;
            send(&peer, one.addr(), VXLAN, 70)?;
            marked(&one, one.addr(), 5)?;
            ensure!(ears.heard()? == [30, 75]);

            let tally = one.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.sleeve_strangers) == MANY, "{tally:?}");
            ensure!(packets(tally.vxlan_strangers) == MANY, "{tally:?}");
            ensure!(tally.pods_to_node == Count::default(), "{tally:?}");
            let [(addr, heard)] = tally.peers.iter().collect::<Vec<_>>()[..] else {
                anyhow::bail!("{tally:?}")
            };
            ensure!((*addr, packets(*heard)) == (peer.addr(), 100), "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_newcomer_reaches_tcp_6783_and_other_ports_are_not_looked_at() {
    let _turn = beside().unwrap();
    Lab::with("guard-open", |lab| {
        let [one, stranger] = lab.nodes(&Underlay::default())?;
        let _guard = guarded(&one, &[])?;
        let mesh = one.inside(async || Ok(TcpListener::bind(("0.0.0.0", SLEEVE))?))?;
        let others = one.inside(async || {
            Ok([UdpSocket::bind(("0.0.0.0", 4789))?, UdpSocket::bind(("0.0.0.0", 8472))?])
        })?;

        connect(&stranger, one.addr(), SLEEVE)?;
        send(&stranger, one.addr(), 4789, 10)?;
        send(&stranger, one.addr(), 8472, 10)?;

        mesh.set_nonblocking(true)?;
        mesh.accept().context("no newcomer")?;
        pause(SETTLE);
        for other in &others {
            ensure!(heard(other)? == 10);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_pods_send_to_the_tunnels_ports_reaches_neither_their_node_nor_a_peer() {
    let _turn = beside().unwrap();
    // With and without the kernel's br_netfilter on the pods' bridge.
    for bridged in ["1", "0"] {
        Lab::with("guard-pods", |lab| {
            let [one, two] = lab.nodes(&Underlay::default())?;
            let (far, near) = (Ears::of(&one)?, Ears::of(&two)?);
            let _far_guard = guarded(&one, &[two.addr()])?;
            let pod = masqueraded_pod(&two, bridged)?;
            let targets = [one.addr(), two.addr(), "10.32.0.1".parse()?];

            // The attack is one: it passes for the peer, whose address it has.
            for target in targets {
                send(&pod, target, VXLAN, 10)?;
            }
            ensure!((far.heard()?, near.heard()?) == ([0, 10], [0, 20]));
            let guard = guarded(&two, &[one.addr()])?;
            for port in [SLEEVE, VXLAN] {
                for target in targets {
                    send(&pod, target, port, MANY)?;
                }
            }
            ensure!((far.heard()?, near.heard()?) == ([0, 0], [0, 0]));

            let tally = two.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.pods_to_peers) == 2 * MANY, "{tally:?}");
            ensure!(packets(tally.pods_to_node) == 4 * MANY, "{tally:?}");
            ensure!(tally.peers.values().all(|it| *it == Count::default()), "{tally:?}");
            let _mesh = one.inside(async || Ok(TcpListener::bind(("0.0.0.0", SLEEVE))?))?;
            ensure!(connect(&pod, one.addr(), SLEEVE).is_err());
            connect(&two, one.addr(), SLEEVE)
        })
        .unwrap();
    }
}

#[test]
fn a_pods_broadcast_in_a_peers_name_is_not_heard() {
    let _turn = beside().unwrap();
    Lab::with("guard-broadcast", |lab| {
        let [one, two] = lab.nodes(&Underlay::default())?;
        let near = Ears::of(&two)?;
        let pod = masqueraded_pod(&two, "1")?;
        two.sh("echo 0 | tee /proc/sys/net/ipv4/conf/*/rp_filter")?;
        pod.sh(&format!("ip addr add {}/32 dev eth0", one.addr()))?;
        let forge = async || {
            let socket = UdpSocket::bind((one.addr(), 0))?;
            socket.set_broadcast(true)?;
            for target in ["10.32.0.255", "224.0.0.1"] {
                (0..10).try_for_each(|_| socket.send_to(FORGED, (target, VXLAN)).map(drop))?;
            }
            Ok(())
        };
        pod.inside(forge)?;
        ensure!(near.heard()? == [0, 20], "without a guard it is heard");

        let guard = guarded(&two, &[one.addr()])?;
        pod.inside(forge)?;

        ensure!(near.heard()? == [0, 0]);
        let tally = two.inside(async || Ok(guard.counters().await?))?;
        ensure!(packets(tally.pods_to_node) == 20, "{tally:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_others_have_done_to_the_table_is_mended_and_their_rules_are_left_alone() {
    let _turn = beside().unwrap();
    Lab::with("guard-mend", |lab| {
        let [one, peer] = lab.nodes(&Underlay::default())?;
        let ears = Ears::of(&one)?;
        let mut guard = guarded(&one, &[peer.addr()])?;
        let peer_addr = peer.addr();
        for (harm, damage) in [
            ("flush ruleset".to_owned(), Some(Damage::Gone)),
            ("flush chain inet weft tunnel".to_owned(), Some(Damage::Rules)),
            ("insert rule inet weft input accept".to_owned(), Some(Damage::Rules)),
            ("add table inet weft { flags dormant; }".to_owned(), Some(Damage::Rules)),
            (format!("delete element inet weft peers4 {{ {peer_addr} }}"), Some(Damage::Peers)),
            ("add element inet weft peers4 { 10.99.0.77 }".to_owned(), Some(Damage::Peers)),
            ("add chain inet weft theirs; add rule inet weft theirs accept".into(), None),
        ] {
            let others =
                "table ip other { chain in { type filter hook input priority 0; counter; }; }";
            one.run(&["nft", &format!("{harm}; {others}")])?;
            let before = one.run(&["nft", "list", "table", "ip", "other"])?;

            let found = one.inside(async || Ok(guard.verify().await?))?;
            ensure!(found == damage, "{harm}: {found:?}");
            let again = one.inside(async || Ok(guard.verify().await?))?;
            ensure!(again.is_none(), "{harm}: {again:?}");

            ensure!(before == one.run(&["nft", "list", "table", "ip", "other"])?, "{harm}");
            one.run(&["nft", "delete", "table", "ip", "other"])?;
            send(&peer, one.addr(), VXLAN, 1)?;
            ensure!(ears.heard()? == [0, 1], "{harm}");
            one.inside(async || Ok(guard.set_peers(&BTreeSet::new()).await?))?;
            send(&peer, one.addr(), VXLAN, 1)?;
            ensure!(ears.heard()? == [0, 0], "{harm}");
            one.inside(async || Ok(guard.set_peers(&[peer_addr].into()).await?))?;
        }
        let table = one.run(&["nft", "list", "table", "inet", "weft"])?;
        ensure!(table.contains("chain theirs"), "{table}");
        ensure!(one.inside(async || Ok(Guard::remove().await?))?);
        ensure!(!one.inside(async || Ok(Guard::remove().await?))?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_second_installation_keeps_counters_and_peers_unless_it_cannot() {
    let _turn = beside().unwrap();
    Lab::with("guard-again", |lab| {
        let [one, peer] = lab.nodes(&Underlay::default())?;
        let _ears = Ears::of(&one)?;
        let config = Config::new("weave", SLEEVE, VXLAN)?;
        let mut guard = guarded(&one, &[peer.addr()])?;
        send(&peer, one.addr(), VXLAN, 7)?;
        one.inside(async || {
            let before = guard.counters().await?;
            let (mut next, made) = Guard::install(&config).await?;
            ensure!(made == Installed::Kept && next.counters().await? == before, "{made:?}");
            ensure!(before.peers.values().all(|it| it.packets == 7), "{before:?}");

            let more = [peer.addr(), "10.99.0.9".parse()?, "::ffff:10.99.0.8".parse()?].into();
            next.set_peers(&more).await?;
            let after = next.counters().await?;
            ensure!(
                after.peers.len() == 3
                    && after.peers.get(&peer.addr()) == before.peers.get(&peer.addr())
            );
            // Behind its back.
            guard.set_peers(&["10.99.0.9".parse()?].into()).await?;
            next.set_peers(&[peer.addr()].into()).await?;
            let found = next.verify().await?;
            ensure!(found.is_none(), "{found:?} {next:?}");
            Ok(())
        })?;

        one.run(&[
            "nft",
            "delete table inet weft
             add table inet weft
             add chain inet weft input { type filter hook input priority 5; }
             add set inet weft peers4 { type ipv4_addr; }
             add element inet weft peers4 { 10.99.0.2 }",
        ])?;
        let made = one.inside(async || {
            let (guard, made) = Guard::install(&config).await?;
            ensure!(guard.counters().await?.peers.contains_key(&peer.addr()));
            Ok(made)
        })?;
        ensure!(made == Installed::Rebuilt, "{made:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn nothing_slips_through_while_rules_and_peers_change() {
    let _turn = serial().unwrap();
    Lab::with("guard-change", |lab| {
        let [one, stranger] = lab.nodes(&Underlay::default())?;
        let ears = Ears::of(&one)?;
        let mut guard = guarded(&one, &[])?;
        let config = Config::new("weave", SLEEVE, VXLAN)?;
        let target = SocketAddr::new(one.addr(), VXLAN);
        let socket = stranger.inside(async || Ok(UdpSocket::bind(("0.0.0.0", 0))?))?;
        let changing = AtomicBool::new(true);
        let many: BTreeSet<IpAddr> =
            (0..1000_u32).map(|n| IpAddr::from((0x0a63_1000 + n).to_be_bytes())).collect();

        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0_u64;
                while changing.load(Ordering::Relaxed) {
                    sent += u64::from(socket.send_to(FORGED, target).is_ok());
                    pause(Duration::from_micros(50));
                }
                sent
            });
            let changed = one.inside(async || {
                let first = Stopwatch::start();
                guard.set_peers(&many).await?;
                eprintln!("guard: 1000 peers set in {} ms", first.elapsed().as_millis());
                let reading = Stopwatch::start();
                let known = guard.counters().await?.peers.len();
                eprintln!("guard: {known} counters in {} ms", reading.elapsed().as_millis());
                for n in 1..10 {
                    guard.set_peers(&many.iter().skip(n).copied().collect()).await?;
                    guard = Guard::install(&config).await?.0;
                }
                Ok(())
            });
            changing.store(false, Ordering::Relaxed);
            changed.map(|()| sender.join())
        });

        let sent = sent?.map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        ensure!(ears.heard()? == [0, 0]);
        let dropped = one.inside(async || Ok(guard.counters().await?.vxlan_strangers.packets))?;
        ensure!(sent > 100 && dropped == sent, "{dropped} of {sent}");
        Ok(())
    })
    .unwrap();
}

/// Plain sockets on the tunnel's ports of a node.
struct Ears([UdpSocket; 2]);

impl Ears {
    fn of(node: &Node) -> Result<Self> {
        let any = match node.addr() {
            IpAddr::V4(_) => "0.0.0.0",
            IpAddr::V6(_) => "::",
        };
        node.inside(async || {
            Ok(Self([UdpSocket::bind((any, SLEEVE))?, UdpSocket::bind((any, VXLAN))?]))
        })
    }

    /// What has arrived since, on 6783 and on 6784.
    fn heard(&self) -> Result<[usize; 2]> {
        pause(SETTLE);
        let Self([sleeve, vxlan]) = self;
        Ok([heard(sleeve)?, heard(vxlan)?])
    }
}

fn heard(socket: &UdpSocket) -> Result<usize> {
    socket.set_nonblocking(true)?;
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 64]) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

fn guarded(node: &Node, peers: &[IpAddr]) -> Result<Guard> {
    let config = Config::new("weave", SLEEVE, VXLAN)?;
    node.inside(async || {
        let (mut guard, installed) = Guard::install(&config).await?;
        ensure!(installed == Installed::Fresh, "{installed:?}");
        guard.set_peers(&peers.iter().copied().collect()).await?;
        Ok(guard)
    })
}

/// A pod behind the bridge `weave`, whose packets leave the node with the node's address.
fn masqueraded_pod(node: &Node, bridged: &str) -> Result<Pod> {
    node.sh(&format!(
        "ip link add weave type bridge mcast_snooping 0
         ip link set weave up
         ip addr add 10.32.0.1/24 brd + dev weave
         echo 1 >/proc/sys/net/ipv4/ip_forward
         echo {bridged} >/proc/sys/net/bridge/bridge-nf-call-iptables
         nft 'table ip nat {{ chain out {{
             type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }}; }}'"
    ))?;
    let pod = node.pod("p", "10.32.0.2/24")?;
    node.plug(&pod)?;
    pod.sh("ip route add default via 10.32.0.1")?;
    // The first datagrams are not to wait for ARP: a queue holds only some.
    pod.sh("ping -c1 -W1 10.32.0.1")?;
    Ok(pod)
}

fn send(from: &Host, to: IpAddr, port: u16, count: usize) -> Result<()> {
    from.inside(async || post(&socket(to)?, to, port, count))
}

/// Sends as a node tries its own kernel.
fn marked(from: &Host, to: IpAddr, count: usize) -> Result<()> {
    from.inside(async || {
        let socket = socket(to)?;
        SockRef::from(&socket).set_mark(MARK)?;
        post(&socket, to, VXLAN, count)
    })
}

fn socket(to: IpAddr) -> Result<UdpSocket> {
    Ok(UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?)
}

fn post(socket: &UdpSocket, to: IpAddr, port: u16, count: usize) -> Result<()> {
    for number in 0..count {
        socket.send_to(FORGED, (to, port))?;
        if number == 0 {
            pause(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn connect(from: &Host, to: IpAddr, port: u16) -> Result<()> {
    from.inside(async || {
        TcpStream::connect_timeout(&SocketAddr::new(to, port), Duration::from_millis(500))?;
        Ok(())
    })
}

fn packets(count: Count) -> usize {
    usize::try_from(count.packets).unwrap_or(usize::MAX)
}
