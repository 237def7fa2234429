//! The guard as text for `nft -f`: pure.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use super::listing::Sets;
use super::masquerade;
use crate::cidr::Cidr;

/// Family and name of the table that is ours alone.
pub(super) const TABLE: [&str; 2] = ["inet", "weft"];
/// The chains that are the guard's; others in the table are left alone.
pub(super) const CHAINS: [&str; 9] = [
    "input",
    "prerouting",
    "forward",
    "tunnel",
    "own",
    "receive",
    "leaving",
    QUOTED,
    masquerade::CHAIN,
];
/// The one whose rules name the peers.
pub(super) const QUOTED: &str = "quoted";
/// Peers that are listened to, with counters. The second is IPv6's.
pub(super) const PEERS: [&str; 2] = ["peers4", "peers6"];
/// The same for all other uses: the counters above count once for each datagram that is let in.
pub(super) const TARGETS: [&str; 2] = ["targets4", "targets6"];
/// Drops, by name.
pub(super) const DROPS: [&str; 7] = [
    "sleeve_strangers",
    "vxlan_strangers",
    "pods_to_node",
    "pods_to_peers",
    "to_receiver",
    "local_users",
    "pods_too_big",
];

/// Low bits of the mark (`SO_MARK`) of what a node may send to its own tunnel ports by `lo`. Setting one takes CAP_NET_ADMIN, or
/// CAP_NET_RAW.
pub const MARK: u32 = 0x77;
/// The bits of a mark that are looked at: others are for others to set.
const MARK_MASK: u32 = 0xff;

/// `input` and `forward`: as `raw`, before others filter (0). `prerouting`: before `raw` (-300), behind the defragmentation of
/// connection tracking and of tproxy (-400).
pub(super) const RAW: i16 = -300;
const PREROUTING: i16 = -350;

/// What to guard, and who receives VXLAN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub(super) bridge: String,
    sleeve: u16,
    vxlan: u16,
    receiver: Option<u16>,
    receive: Receive,
    pods: Pods,
    /// What is masqueraded; as long as nobody has said, that chain is left as it is.
    exposed: Option<BTreeSet<Cidr>>,
}

/// Where pods' packets to the tunnel ports of other nodes are stopped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Pods {
    /// In `forward`, which all that is routed passes.
    #[default]
    Routed,
    /// Where they leave the bridge for the node, in [`super::pods`]. What is only bridged does not pass there.
    Raised,
}

/// Who receives what comes to the port of VXLAN from other hosts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Receive {
    /// Whoever has the port: the kernel's vxlan device, or a plain socket.
    #[default]
    Kernel,
    /// The process, by a transparent socket on another port. While there is none, it is as with `Kernel`.
    User,
}

/// An interface's name cannot stand in a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "interface name {0:?} cannot be guarded: at most 15 letters, digits, `-`, `_` or `.` are expected"
)]
pub struct BadName(String);

impl Config {
    /// The pods' bridge, and the node's UDP ports. The kernel receives.
    ///
    /// # Errors
    /// The name would be no name, or more than one, to nft.
    pub fn new(bridge: &str, sleeve: u16, vxlan: u16) -> Result<Self, BadName> {
        let bridge = checked(bridge)?;
        Ok(Self {
            bridge,
            sleeve,
            vxlan,
            receiver: None,
            receive: Receive::Kernel,
            pods: Pods::Routed,
            exposed: None,
        })
    }

    /// The same with the port of the transparent socket: nothing that is sent to it gets there.
    #[must_use]
    pub fn with_receiver(self, port: Option<u16>) -> Self {
        Self { receiver: port, ..self }
    }

    /// The same with this one receiving; without a port of a transparent socket it is the kernel.
    #[must_use]
    pub fn with_receive(self, receive: Receive) -> Self {
        Self { receive, ..self }
    }

    /// The same with pods' packets stopped there.
    #[must_use]
    pub(super) fn with_pods(self, pods: Pods) -> Self {
        Self { pods, ..self }
    }

    /// The same with these networks masqueraded.
    #[must_use]
    pub(super) fn with_exposed(self, exposed: BTreeSet<Cidr>) -> Self {
        Self { exposed: Some(exposed), ..self }
    }

    pub(super) fn pods(&self) -> Pods {
        self.pods
    }

    pub(super) fn vxlan(&self) -> u16 {
        self.vxlan
    }

    /// Whether there is a socket that VXLAN could be brought to.
    pub(super) fn has_receiver(&self) -> bool {
        self.receiver.is_some()
    }
}

fn checked(name: &str) -> Result<String, BadName> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    // IFNAMSIZ is 16, with its zero.
    if name.is_empty() || name.len() > 15 || !name.chars().all(fits) {
        return Err(BadName(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// The commands that make, or make anew, the guard for these peers. What is there of an earlier run
/// is kept, other elements of its sets, too.
pub fn compile(config: &Config, peers: &BTreeSet<IpAddr>) -> String {
    let mut text = objects();
    text += &rules(config);
    text += &forwarding(config);
    text += &switch(config);
    text += &quoted(TABLE, peers);
    text += &masquerading(config);
    text.extend(difference(&Sets::default(), peers));
    text
}

/// The commands that have exposed networks masqueraded.
pub(super) fn masquerading(config: &Config) -> String {
    let exposed = config.exposed.as_ref();
    exposed.map(|it| masquerade::compile(&config.bridge, it)).unwrap_or_default()
}

/// The table, and all that is always in it and is not a rule.
fn objects() -> String {
    let table = TABLE.join(" ");
    let [peers4, peers6] = PEERS;
    let [targets4, targets6] = TARGETS;
    let counters = DROPS.map(|name| format!("add counter {table} {name}\n")).concat();
    format!(
        "add table {table}
{counters}\
add set {table} {peers4} {{ type ipv4_addr; counter; }}
add set {table} {peers6} {{ type ipv6_addr; counter; }}
add set {table} {targets4} {{ type ipv4_addr; }}
add set {table} {targets6} {{ type ipv6_addr; }}
add chain {table} input {{ type filter hook input priority {RAW}; policy accept; }}
add chain {table} tunnel
add chain {table} own
add chain {table} receive
add chain {table} leaving
add chain {table} {QUOTED}
flush chain {table} input
flush chain {table} tunnel
flush chain {table} own
flush chain {table} leaving
"
    )
}

/// Who gets through.
///
/// This is the one hook that every datagram of the kernel's tunnel passes, and it costs some hundredths of all that is done for
/// one. So others are there only while they have something to do.
fn rules(config: &Config) -> String {
    let Config { bridge, sleeve, vxlan, receiver, .. } = config;
    let (table, ports) = (TABLE.join(" "), ports(config));
    let [peers4, peers6] = PEERS;
    let [sleeve_strangers, vxlan_strangers, pods_to_node, _, to_receiver, local_users, _] = DROPS;
    // What tproxy has brought still has VXLAN's port. When nobody has the receiver's any more, anybody may
    // be given it, and is to have what comes: hence the look at the socket.
    let direct = receiver.map_or_else(String::new, |port| {
        format!(
            "add rule {table} input udp dport {port} socket transparent 1 counter name {to_receiver} drop\n"
        )
    });
    format!(
        "\
add rule {table} input udp dport {ports} goto tunnel
add rule {table} input iifname \"{bridge}\" tcp dport {ports} counter name {pods_to_node} drop
add rule {table} input iifname \"{bridge}\" meta l4proto {{ icmp, ipv6-icmp }} jump {QUOTED}
{direct}\
add rule {table} tunnel iifname \"{bridge}\" counter name {pods_to_node} drop
add rule {table} tunnel iifname lo goto own
add rule {table} tunnel ip saddr @{peers4} accept
add rule {table} tunnel ip6 saddr @{peers6} accept
add rule {table} tunnel udp dport {sleeve} counter name {sleeve_strangers} drop
add rule {table} tunnel udp dport {vxlan} counter name {vxlan_strangers} drop
add rule {table} own meta mark & {MARK_MASK:#x} == {MARK:#x} accept
add rule {table} own counter name {local_users} drop
add rule {table} leaving iifname != \"{bridge}\" return
add rule {table} leaving oifname \"{bridge}\" return
{}",
        leaving(config, &table)
    )
}

/// What pods may not send to anybody outside of their bridge, in the chain `leaving` of a table.
pub(super) fn leaving(config: &Config, table: &str) -> String {
    let (sleeve, ports, [_, _, _, pods_to_peers, ..]) = (config.sleeve, ports(config), DROPS);
    format!(
        "add rule {table} leaving udp dport {ports} counter name {pods_to_peers} drop
add rule {table} leaving tcp dport {sleeve} counter name {pods_to_peers} drop
"
    )
}

/// The commands that keep pods from saying how much the paths between nodes carry: ICMP that a packet is too big (RFC 792, RFC 4443)
/// and that quotes one to a peer, or is for a peer. The kernel believes it of whoever sends it, for ten minutes.
pub(super) fn quoted([family, name]: [&str; 2], peers: &BTreeSet<IpAddr>) -> String {
    let (table, [.., drop]) = (format!("{family} {name}"), DROPS);
    let mut text = format!("flush chain {table} {QUOTED}\n");
    // The quoted packet is behind 8 octets of ICMP, and its destination 16 or 24 octets into it.
    let kinds = [
        ("icmp type destination-unreachable icmp code frag-needed", "@th,192,32", "ip daddr"),
        ("icmpv6 type packet-too-big", "@th,256,128", "ip6 daddr"),
    ];
    for (number, (message, quotes, is_for)) in kinds.into_iter().enumerate() {
        let of_family = peers.iter().filter(|addr| addr.is_ipv6() == (number == 1));
        let (mut octets, mut addrs) = (Vec::new(), Vec::new());
        for addr in of_family {
            addrs.push(addr.to_string());
            octets.push(match addr {
                IpAddr::V4(addr) => format!("{:#x}", addr.to_bits()),
                IpAddr::V6(addr) => format!("{:#x}", addr.to_bits()),
            });
        }
        if addrs.is_empty() {
            continue;
        }
        for (what, all) in [(quotes, octets), (is_for, addrs)] {
            let all = all.join(", ");
            // Writing to a string does not fail.
            let _written = writeln!(
                text,
                "add rule {table} {QUOTED} {message} {what} {{ {all} }} counter name {drop} drop"
            );
        }
    }
    text
}

/// The commands that have `forward` look at what pods send, or that take it away.
pub(super) fn forwarding(config: &Config) -> String {
    let (table, ports, bridge) = (TABLE.join(" "), ports(config), &config.bridge);
    let rules = (config.pods == Pods::Routed).then(|| {
        format!(
            "add rule {table} forward th dport {ports} jump leaving
add rule {table} forward iifname \"{bridge}\" meta l4proto {{ icmp, ipv6-icmp }} jump {QUOTED}
"
        )
    });
    base("forward", RAW, rules.as_deref())
}

/// The commands that make a chain at the hook of its name, with these rules; without rules it is no more.
fn base(name: &str, priority: i16, rules: Option<&str>) -> String {
    let table = TABLE.join(" ");
    let make = format!(
        "add chain {table} {name} {{ type filter hook {name} priority {priority}; policy accept; }}
flush chain {table} {name}
"
    );
    // Adding first makes deleting succeed when there is nothing.
    rules.map_or_else(|| format!("{make}delete chain {table} {name}\n"), |it| format!("{make}{it}"))
}

/// Both ports: as a range, which costs less than a set, where they are neighbours.
pub(super) fn ports(Config { sleeve, vxlan, .. }: &Config) -> String {
    if sleeve.checked_add(1) == Some(*vxlan) {
        format!("{sleeve}-{vxlan}")
    } else {
        format!("{{ {sleeve}, {vxlan} }}")
    }
}

/// The commands that make the one receive whom `config` names, and nobody else.
pub(super) fn switch(config: &Config) -> String {
    let Config { bridge, vxlan, receiver, receive, .. } = config;
    let table = TABLE.join(" ");
    let chosen = receiver.filter(|_| *receive == Receive::User);
    let hook =
        chosen.map(|_| format!("add rule {table} prerouting udp dport {vxlan} goto receive\n"));
    let mut text = format!("flush chain {table} receive\n");
    text += &base("prerouting", PREROUTING, hook.as_deref());
    let Some(port) = chosen else { return text };
    // What pods send is for `input`, as if nobody brought anything. What comes by `lo` is left to whoever has the port: so a node
    // tries its own kernel's receiving.
    text += &format!(
        "add rule {table} receive iifname \"{bridge}\" return\nadd rule {table} receive iifname lo return\n"
    );
    for (family, targets) in ["ip", "ip6"].into_iter().zip(TARGETS) {
        text += &format!(
            "add rule {table} receive udp dport {vxlan} {family} saddr @{targets} fib daddr type local tproxy {family} to :{port} accept\n"
        );
    }
    text
}

/// The same where what is there cannot be kept.
pub(super) fn rebuild(config: &Config, peers: &BTreeSet<IpAddr>) -> String {
    // Adding first makes deleting succeed when there is nothing.
    format!("add table {0}\n{1}{2}", TABLE.join(" "), removal(TABLE), compile(config, peers))
}

/// The command that takes a table away.
pub(super) fn removal(table: [&str; 2]) -> String {
    format!("delete table {}\n", table.join(" "))
}

/// The commands that make the elements of the sets into these peers; `None` when they are.
pub(super) fn difference(there: &Sets, peers: &BTreeSet<IpAddr>) -> Option<String> {
    let mut text = String::new();
    let none = BTreeSet::new();
    for (number, (listened, target)) in PEERS.iter().zip(TARGETS).enumerate() {
        let of_family = |addr: &&IpAddr| addr.is_ipv6() == (number == 1);
        for set in [*listened, target] {
            let there = there.get(set).unwrap_or(&none);
            let gone = there.difference(peers).copied().collect();
            let new = peers.difference(there).filter(of_family).copied().collect();
            append(&mut text, "delete", set, &gone);
            append(&mut text, "add", set, &new);
        }
    }
    (!text.is_empty()).then_some(text)
}

fn append(text: &mut String, verb: &str, set: &str, elements: &BTreeSet<IpAddr>) {
    if elements.is_empty() {
        return;
    }
    let elements: Vec<String> = elements.iter().map(IpAddr::to_string).collect();
    let table = TABLE.join(" ");
    // Writing to a string does not fail.
    let _written = writeln!(text, "{verb} element {table} {set} {{ {} }}", elements.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    fn sets(peers4: &[&str], peers6: &[&str]) -> Sets {
        let both =
            [("peers4", peers4), ("targets4", peers4), ("peers6", peers6), ("targets6", peers6)];
        both.into_iter().map(|(name, it)| (name.to_owned(), addrs(it))).collect()
    }

    #[test]
    fn the_guard_of_a_node_with_two_peers_is_this_text() {
        let config = Config::new("weave", 6783, 6784).unwrap();

        let text = compile(&config, &addrs(&["10.99.0.2", "fd99::3"]));

        assert_eq!(text, include_str!("golden.nft"));
    }

    #[test]
    fn with_a_transparent_socket_its_port_is_closed_and_two_rules_bring_vxlan_there() {
        let config = Config::new("weave", 6783, 6784).unwrap().with_receiver(Some(40_000));
        let without = compile(&Config::new("weave", 6783, 6784).unwrap(), &BTreeSet::new());

        let kernel = compile(&config, &BTreeSet::new());
        let user = compile(&config.with_receive(Receive::User), &BTreeSet::new());

        let added = |text: &str, to: &str| -> Vec<_> {
            let there: BTreeSet<_> = to.lines().collect();
            text.lines().filter(|it| !there.contains(it)).map(str::to_owned).collect()
        };
        assert_eq!(
            added(&kernel, &without),
            [
                "add rule inet weft input udp dport 40000 socket transparent 1 counter name to_receiver drop"
            ]
        );
        assert_eq!(
            added(&user, &kernel),
            [
                "add rule inet weft prerouting udp dport 6784 goto receive",
                "add rule inet weft receive iifname \"weave\" return",
                "add rule inet weft receive iifname lo return",
                "add rule inet weft receive udp dport 6784 ip saddr @targets4 fib daddr type local tproxy ip to :40000 accept",
                "add rule inet weft receive udp dport 6784 ip6 saddr @targets6 fib daddr type local tproxy ip6 to :40000 accept",
            ]
        );
        assert_eq!(added(&kernel, &user), ["delete chain inet weft prerouting"]);
    }

    #[test]
    fn what_is_stopped_at_the_bridge_needs_no_hook_that_bridged_packets_pass() {
        let config = Config::new("weave", 6783, 6784).unwrap();

        let raised = forwarding(&config.clone().with_pods(Pods::Raised));

        assert!(forwarding(&config).contains("forward th dport 6783-6784 jump leaving\n"));
        assert!(raised.ends_with("delete chain inet weft forward\n"), "{raised}");
    }

    #[test]
    fn names_that_nft_would_read_otherwise_are_refused() {
        for name in ["", "weave*", "we ave", "a\" accept", "weave;", "0123456789abcdef", "wéave"] {
            assert!(Config::new(name, 6783, 6784).is_err(), "{name}");
        }
        assert!(Config::new("br-0.weave_1", 1, 2).is_ok());
    }

    #[test]
    fn a_peer_that_goes_and_one_that_comes_are_two_commands_for_each_set() {
        let there = sets(&["10.0.0.1", "10.0.0.2"], &[]);

        let text = difference(&there, &addrs(&["10.0.0.2", "fd00::3"])).unwrap();

        let expected = "delete element inet weft peers4 { 10.0.0.1 }
delete element inet weft targets4 { 10.0.0.1 }
add element inet weft peers6 { fd00::3 }
add element inet weft targets6 { fd00::3 }
";
        assert_eq!(text, expected);
    }

    #[test]
    fn peers_that_are_there_need_no_command() {
        let there = sets(&["10.0.0.1"], &["fd00::3"]);

        assert_eq!(difference(&there, &addrs(&["fd00::3", "10.0.0.1"])), None);
    }
}
