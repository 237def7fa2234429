//! The guard as text for `nft -f`: pure.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use super::listing::Sets;

/// Family and name of the table that is ours alone.
pub(super) const TABLE: [&str; 2] = ["inet", "weft"];
/// The chains that are the guard's; others in the table are left alone.
pub(super) const CHAINS: [&str; 4] = ["input", "prerouting", "tunnel", "pods"];
/// Peers that are listened to, with counters. The second is IPv6's.
pub(super) const PEERS: [&str; 2] = ["peers4", "peers6"];
/// The same as destinations: their counters would count what pods send.
pub(super) const TARGETS: [&str; 2] = ["targets4", "targets6"];
/// Drops, by name.
pub(super) const DROPS: [&str; 4] =
    ["sleeve_strangers", "vxlan_strangers", "pods_to_node", "pods_to_peers"];

/// `input`: as `raw`, before others filter (0). `prerouting`: before `raw` (-300), behind the
/// defragmentation of connection tracking (-400).
const PRIORITIES: [i16; 2] = [-300, -350];

/// What to guard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    bridge: String,
    sleeve: u16,
    vxlan: u16,
}

/// The bridge's name cannot stand in a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "bridge name {0:?} cannot be guarded: at most 15 letters, digits, `-`, `_` or `.` are expected"
)]
pub struct BadBridge(String);

impl Config {
    /// The pods' bridge, and the node's UDP ports.
    ///
    /// # Errors
    /// The name would be no name, or more than one, to nft.
    pub fn new(bridge: &str, sleeve: u16, vxlan: u16) -> Result<Self, BadBridge> {
        let fits = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        // IFNAMSIZ is 16, with its zero.
        if bridge.is_empty() || bridge.len() > 15 || !bridge.chars().all(fits) {
            return Err(BadBridge(bridge.to_owned()));
        }
        Ok(Self { bridge: bridge.to_owned(), sleeve, vxlan })
    }
}

/// The commands that make, or make anew, the guard for these peers. What is there of an earlier run
/// is kept, other elements of its sets, too.
pub fn compile(config: &Config, peers: &BTreeSet<IpAddr>) -> String {
    let Config { bridge, sleeve, vxlan } = config;
    let table = TABLE.join(" ");
    let [input, prerouting] = PRIORITIES;
    let [peers4, peers6] = PEERS;
    let [targets4, targets6] = TARGETS;
    let [sleeve_strangers, vxlan_strangers, pods_to_node, pods_to_peers] = DROPS;
    let counters = DROPS.map(|name| format!("add counter {table} {name}\n")).concat();
    let flushes = CHAINS.map(|name| format!("flush chain {table} {name}\n")).concat();
    // Broadcasts and groups are not of type `local`: those of pods are caught in `tunnel`.
    let mut text = format!(
        "add table {table}
{counters}\
add set {table} {peers4} {{ type ipv4_addr; counter; }}
add set {table} {peers6} {{ type ipv6_addr; counter; }}
add set {table} {targets4} {{ type ipv4_addr; }}
add set {table} {targets6} {{ type ipv6_addr; }}
add chain {table} input {{ type filter hook input priority {input}; policy accept; }}
add chain {table} prerouting {{ type filter hook prerouting priority {prerouting}; policy accept; }}
add chain {table} tunnel
add chain {table} pods
{flushes}\
add rule {table} input iifname \"lo\" accept
add rule {table} input udp dport {{ {sleeve}, {vxlan} }} jump tunnel
add rule {table} tunnel iifname \"{bridge}\" counter name {pods_to_node} drop
add rule {table} tunnel ip saddr @{peers4} accept
add rule {table} tunnel ip6 saddr @{peers6} accept
add rule {table} tunnel udp dport {sleeve} counter name {sleeve_strangers} drop
add rule {table} tunnel udp dport {vxlan} counter name {vxlan_strangers} drop
add rule {table} prerouting iifname \"{bridge}\" meta l4proto {{ tcp, udp }} th dport {{ {sleeve}, {vxlan} }} jump pods
add rule {table} pods fib daddr type local counter name {pods_to_node} drop
add rule {table} pods ip daddr @{targets4} counter name {pods_to_peers} drop
add rule {table} pods ip6 daddr @{targets6} counter name {pods_to_peers} drop
"
    );
    text.extend(difference(&Sets::default(), peers));
    text
}

/// The same where what is there cannot be kept.
pub(super) fn rebuild(config: &Config, peers: &BTreeSet<IpAddr>) -> String {
    // Adding first makes deleting succeed when there is nothing.
    format!("add table {0}\n{1}{2}", TABLE.join(" "), removal(), compile(config, peers))
}

/// The command that takes everything away.
pub(super) fn removal() -> String {
    format!("delete table {}\n", TABLE.join(" "))
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
