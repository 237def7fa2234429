//! Faults of the underlay: cuts, loss, dead links, dead nodes.
//!
//! They are rules in a table of their own (`netdev wlfault`) on the ingress of the receiving
//! node's `eth0`: before conntrack, before routing, before anything weft installs, and for
//! every protocol. A capture on that `eth0` still shows what is then dropped. Neighbour discovery
//! passes a cut, as ARP does, so that a one-way cut stays one-way.

use anyhow::{Result, ensure};

use super::clean::kill_inside;
use super::node::Node;

/// A transport protocol, for cuts by port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Drops all IP from `from` to `to`; the other direction goes on.
pub fn cut(from: &Node, to: &Node) -> Result<()> {
    to.drop_in(&source(from))
}

/// Drops one destination port from `from` to `to`; the rest goes on.
pub fn cut_port(from: &Node, to: &Node, proto: Proto, port: u16) -> Result<()> {
    let proto = match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    };
    to.drop_in(&format!("{} {proto} dport {port}", source(from)))
}

/// Drops packets from `from` to `to` of more than so many octets, and tells nobody: a link of another MTU in between.
pub fn narrow(from: &Node, to: &Node, octets: u32) -> Result<()> {
    to.drop_in(&format!("{} meta length > {octets}", source(from)))
}

impl Node {
    /// Drops this share of all that arrives on the underlay. Loss adds to loss.
    pub fn loss(&self, percent: u32) -> Result<()> {
        ensure!(percent <= 100, "{percent} percent loss");
        self.drop_in(&format!("numgen random mod 100 < {percent}"))
    }

    /// Removes the cuts, the loss and the silence of a power-off.
    pub fn heal(&self) -> Result<()> {
        // Adding first makes deleting succeed when there is nothing to heal.
        self.nft(&["add table netdev wlfault".into(), "delete table netdev wlfault".into()])
    }

    /// Takes `eth0` down as an administrator would: routes go, addresses stay.
    pub fn link_down(&self) -> Result<()> {
        self.ip("link set eth0 down").map(drop)
    }

    /// Takes `eth0` up again.
    pub fn link_up(&self) -> Result<()> {
        self.ip("link set eth0 up").map(drop)
    }

    /// Takes the carrier away, as a pulled cable does. Between two nodes on one veth pair this
    /// is the other node's `eth0` going down; on a switched underlay no other node notices.
    pub fn carrier_down(&self) -> Result<()> {
        self.far().host.ip(&format!("link set {} down", self.far().link)).map(drop)
    }

    /// Gives the carrier back.
    pub fn carrier_up(&self) -> Result<()> {
        self.far().host.ip(&format!("link set {} up", self.far().link)).map(drop)
    }

    /// The power fails: first nothing enters or leaves, then every process on the node and in
    /// its pods is killed, so nobody sees a FIN or a goodbye; captures there die too. Devices
    /// stay, as does the node's file system. [`Node::heal`] brings the power back; what ran must
    /// be started again.
    pub fn power_off(&self) -> Result<()> {
        self.nft(&[
            self.add_chain("in", "ingress"),
            self.add_chain("out", "egress"),
            "insert rule netdev wlfault in drop".into(),
            "insert rule netdev wlfault out drop".into(),
        ])?;
        kill_inside(&self.spaces(), &[self.holder()])
    }

    fn drop_in(&self, matching: &str) -> Result<()> {
        let nd = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        self.nft(&[
            self.add_chain("in", "ingress"),
            // Twice does no harm, and a rule cannot be added only once.
            format!("insert rule netdev wlfault in {nd}"),
            format!("add rule netdev wlfault in {matching} counter drop"),
        ])
    }

    fn add_chain(&self, name: &str, hook: &str) -> String {
        format!(
            "add table netdev wlfault; add chain netdev wlfault {name} \
             {{ type filter hook {hook} device \"eth0\" priority -500; }}"
        )
    }

    fn nft(&self, commands: &[String]) -> Result<()> {
        self.run(&["nft", &commands.join("; ")]).map(drop)
    }
}

fn source(node: &Node) -> String {
    match node.addr() {
        std::net::IpAddr::V4(addr) => format!("ip saddr {addr}"),
        std::net::IpAddr::V6(addr) => format!("ip6 saddr {addr}"),
    }
}
