//! An underlay that loses, repeats and reorders what is in it never corrupts a stream.

use anyhow::{Result, ensure};
use weft_tests::harness::weft::{Switch, counter, mesh, pods};
use weft_tests::harness::{Lab, Node, Pod, Underlay, transfer_both, transfer_to};

const MB: u64 = 1_000_000;

#[test]
fn streams_survive_the_loss_of_one_in_a_hundred() {
    for underlay in underlays() {
        suffer(&underlay, 10 * MB, |node| node.loss(1));
    }
}

#[test]
fn streams_survive_the_loss_of_one_in_twenty() {
    for underlay in underlays() {
        suffer(&underlay, 3 * MB, |node| node.loss(5));
    }
}

#[test]
fn streams_survive_datagrams_that_are_overtaken() {
    for underlay in underlays() {
        let [sent, received] = suffer(&underlay, 20 * MB, |node| detour(node, "fwd"));

        assert!(received * 100 > sent * 98, "{received} of {sent}: the way round leads nowhere");
    }
}

#[test]
fn streams_survive_datagrams_that_come_twice_and_late() {
    for underlay in underlays() {
        let [sent, received] = suffer(&underlay, 20 * MB, |node| detour(node, "dup"));

        assert!(received * 100 > sent * 102, "{received} of {sent}: the copies went nowhere");
    }
}

#[test]
fn streams_survive_the_loss_of_whole_runs() {
    suffer(&Underlay::default(), 20 * MB, |node| node.loss(5));
}

/// As on a wire: what is lost or overtaken is a datagram, not a run of them.
fn underlays() -> [Underlay; 2] {
    [1500, 9000].map(|mtu| Underlay::default().offload(false).mtu(mtu))
}

/// Streams both ways, over both families, between nodes that both have this fault. Returns how many
/// frames the first node has sent, and the second received.
fn suffer(underlay: &Underlay, octets: u64, fault: impl Fn(&Node) -> Result<()>) -> [u64; 2] {
    Lab::with("faults", |lab| {
        let nodes = lab.nodes::<2>(underlay)?;
        let switches = mesh(&nodes, &["--tap", "offload"])?;
        let pods = pods(&nodes, underlay.mtu - 50)?;
        ensure!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        nodes.iter().try_for_each(&fault)?;

        let (p, q): (&Pod, &Pod) = (&pods[0], &pods[1]);
        let (forth, back) = transfer_both(p, q, octets)?;
        let forth6 = transfer_to(p, q, q.addr6()?.into(), octets)?;
        let back6 = transfer_to(q, p, p.addr6()?.into(), octets)?;

        for stream in [forth, back, forth6, back6] {
            ensure!(stream.intact() && stream.bytes == octets, "{stream:?}");
        }
        for node in &nodes {
            ensure!(struck(node)? >= 5, "{} had no fault to speak of", node.name());
        }
        let stats = switches.into_iter().map(Switch::stop).collect::<Result<Vec<_>>>()?;
        for stats in &stats {
            ensure!(counter(stats, "/drops/bad_offload")? == 0, "{stats}");
        }
        let sent = counter(&stats[0], "/peers/0/sent/frames")?;
        Ok([sent, counter(&stats[1], "/peers/0/received/frames")?])
    })
    .unwrap()
}

/// One datagram in twenty, or a copy of it, takes a slow way: out by one end of a veth pair, and in
/// again by the other, which has the node's address.
fn detour(node: &Node, way: &str) -> Result<()> {
    let (mac, mtu) = (node.mac()?, node.run(&["cat", "/sys/class/net/eth0/mtu"])?);
    node.sh(&format!(
        "ip link add late0 mtu {mtu} type veth peer name late1 mtu {mtu} address {mac}
         ip link set late0 up; ip link set late1 up
         tc qdisc add dev late0 root tbf rate 60mbit burst 20000 limit 1000000",
        mtu = mtu.trim(),
    ))?;
    let rules = "add table netdev wlfault; add chain netdev wlfault in \
                 { type filter hook ingress device eth0 priority -500; }";
    let rule = "add rule netdev wlfault in udp dport 6784 numgen random mod 100 < 5 counter";
    node.run(&["nft", &format!("{rules}; {rule} {way} to late0")])?;
    Ok(())
}

/// Packets that the fault's rule has met.
fn struck(node: &Node) -> Result<u64> {
    let rules = node.run(&["nft", "list", "table", "netdev", "wlfault"])?;
    let mut words = rules.split_whitespace().skip_while(|word| *word != "packets");
    Ok(words.nth(1).unwrap_or_default().parse()?)
}
