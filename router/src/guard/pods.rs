//! The table of the netdev family: what pods send to other nodes' tunnel ports does not leave the bridge.
//!
//! Where the kernel's br_netfilter shows bridged packets to the hooks of IP, each packet between pods would pass `forward` on both
//! nodes. The ingress hook of the bridge device sees only what the bridge hands to the node, and that already with the addresses
//! that `prerouting` may have given it (DNAT). Without br_netfilter these are given later, so that `forward` has to look; but then
//! nothing that is only bridged passes it.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use super::ruleset::{Config, QUOTED, RAW, leaving, ports, quoted};

/// Family and name of the table.
pub(super) const TABLE: [&str; 2] = ["netdev", "weft"];
/// Its chains.
pub(super) const CHAINS: [&str; 3] = ["ingress", "leaving", QUOTED];

/// Whether bridged packets, of IPv4 and of IPv6, pass the hooks of IP in the network namespace of the calling thread.
pub(super) fn are_seen_by_hooks() -> bool {
    ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"].iter().all(|switch| {
        let said = fs::read_to_string(format!("/proc/sys/net/bridge/{switch}"));
        said.is_ok_and(|said| said.trim() != "0")
    })
}

/// The commands that make the table, or make it anew. There has to be the bridge.
pub(super) fn compile(config: &Config, peers: &BTreeSet<IpAddr>) -> String {
    let (table, ports, bridge) = (TABLE.join(" "), ports(config), &config.bridge);
    // What is for the node itself is for `input`, and a pod may reach a pod by way of its node.
    format!(
        "add table {table}
add counter {table} pods_to_peers
add counter {table} pods_too_big
add chain {table} leaving
add chain {table} {QUOTED}
add chain {table} ingress {{ type filter hook ingress device \"{bridge}\" priority {RAW}; policy accept; }}
flush chain {table} leaving
flush chain {table} ingress
add rule {table} ingress th dport {ports} jump leaving
add rule {table} ingress meta l4proto {{ icmp, ipv6-icmp }} jump {QUOTED}
add rule {table} leaving fib daddr type != unicast return
add rule {table} leaving fib daddr oifname \"{bridge}\" return
{}{}",
        leaving(config, &table),
        quoted(TABLE, peers)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_may_not_send_is_looked_at_where_it_leaves_their_bridge() {
        let config = Config::new("weave", 6783, 6784).unwrap();

        let peers = ["10.99.0.2", "fd99::3"].map(|it| it.parse().unwrap()).into();

        assert_eq!(compile(&config, &peers), include_str!("golden-netdev.nft"));
    }
}
