//! The chain `exposed`: exposed networks reach what is outside, and what is outside reaches them. Pure.
//!
//! What leaves an exposed network gets this node's address, as the others out there know no pods; what comes from outside gets the
//! bridge's, as pods may have no route back. What stays inside keeps its own. Where the hooks of IP see bridged packets
//! (br_netfilter), these pass here too, with the bridge as the interface that they leave by: so the first rule looks at that, and the second
//! leaves out sources that are never routed. NAT looks at the first packet of a connection only.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ruleset::TABLE;
use crate::cidr::Cidr;

/// Its name: `masquerade` is a word of nft's.
pub(super) const CHAIN: &str = "exposed";
/// As others' source NAT.
const SRCNAT: i16 = 100;

/// The commands that make it, or take it away when nothing is exposed.
pub(super) fn compile(bridge: &str, exposed: &BTreeSet<Cidr>) -> String {
    let table = TABLE.join(" ");
    // Adding first makes deleting succeed when there is nothing, and deleting makes it one that has this hook.
    let mut text = format!(
        "add chain {table} {CHAIN}\nflush chain {table} {CHAIN}\ndelete chain {table} {CHAIN}\n"
    );
    if exposed.is_empty() {
        return text;
    }
    text += &format!(
        "add chain {table} {CHAIN} {{ type nat hook postrouting priority {SRCNAT}; policy accept; }}
add rule {table} {CHAIN} ip daddr 224.0.0.0/4 return
add rule {table} {CHAIN} ip6 daddr ff00::/8 return
"
    );
    let networks: BTreeSet<_> = exposed.iter().map(|it| it.network()).collect();
    for network in networks {
        let (ip, unrouted) = match network.addr() {
            IpAddr::V4(_) => ("ip", "{ 0.0.0.0/8, 169.254.0.0/16 }"),
            IpAddr::V6(_) => ("ip6", "{ ::, fe80::/10 }"),
        };
        text += &format!(
            "add rule {table} {CHAIN} oifname != \"{bridge}\" {ip} saddr {network} {ip} daddr != {network} masquerade fully-random
add rule {table} {CHAIN} oifname \"{bridge}\" {ip} daddr {network} {ip} saddr != {network} {ip} saddr != {unrouted} masquerade fully-random
"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exposed_network_has_a_rule_for_either_way_and_none_has_the_chain_removed() {
        let exposed =
            ["10.32.0.1/12", "10.40.0.1/12", "fd00:32::1/64"].map(|it| it.parse().unwrap());

        let (some, none) = (compile("weave", &exposed.into()), compile("weave", &BTreeSet::new()));

        assert_eq!(some, include_str!("golden-exposed.nft"));
        assert!(none.ends_with("delete chain inet weft exposed\n"), "{none}");
    }
}
