//! A range and the routes of a real network namespace.

use anyhow::{Context, Result, bail, ensure};
use router::Cidr;
use router::overlap::{check, read};
use weft_tests::harness::{Lab, Node, Underlay};

/// What is said of a range.
fn said(node: &Node, range: &str) -> Result<Option<String>> {
    let range: Cidr = range.parse()?;
    let routes = node.inside(async || Ok(read().await?))?;
    Ok(check(range, &routes, "weave").err().map(|error| error.to_string()))
}

fn is_named(node: &Node, range: &str, what: &str) -> Result<()> {
    let said = said(node, range)?.with_context(|| format!("{range} is free"))?;
    let expected = format!("the range {range} overlaps with the {what}: choose another");
    ensure!(said.starts_with(&expected), "{said}, not {expected}");
    Ok(())
}

fn is_free(node: &Node, range: &str) -> Result<()> {
    match said(node, range)? {
        None => Ok(()),
        Some(said) => bail!("{said}"),
    }
}

#[test]
fn a_route_or_address_that_a_range_overlaps_with_is_found_and_named() {
    Lab::with("overlap", |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        node.sh(
            "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
            ip link add weave type bridge; ip link set weave up
            ip link add d1 type veth peer name d3; ip link add d2 type veth peer name d4
            for it in d1 d2 d3 d4; do ip link set $it up; done
            ip addr add 10.32.0.1/12 dev weave; ip addr add fd00:32::1/64 dev weave
            ip addr add 192.0.2.1/24 dev d1 noprefixroute
            ip addr add 172.20.1.1/16 dev d1; ip addr add fd00:20::1/64 dev d1
            ip route add default dev d2; ip route add 0.0.0.0/1 dev d1; ip route add 128.0.0.0/1 dev d1
            ip route add 10.64.0.0/16 via 172.20.0.9 table 52
            ip route add 10.65.0.0/16 dev d2 table 1000
            ip route add 10.96.0.0/12 nexthop dev d1 nexthop dev d2
            ip route add unreachable 10.0.0.0/8 metric 9999
            ip route add blackhole 10.80.7.0/24
            ip route add fd00:40::/32 dev d2",
        )?;
        let own = format!("{}/24", node.addr());
        let own: Cidr = own.parse()?;

        for free in ["10.32.0.0/12", "10.48.0.0/12", "fd00:32::/48", "192.0.3.0/24", "10.81.0.0/16"] {
            is_free(&node, free)?;
        }
        let underlay = own.network();
        for (range, what) in [
            ("10.64.0.0/12", "route 10.64.0.0/16 via 172.20.0.9 dev d1 (table 52)"),
            ("10.65.1.0/24", "route 10.65.0.0/16 dev d2 (table 1000)"),
            ("10.96.0.0/16", "route 10.96.0.0/12 dev d1 dev d2 (table main)"),
            ("10.80.0.0/16", "route blackhole 10.80.7.0/24 (table main)"),
            ("172.20.0.0/20", "address 172.20.1.1/32 dev d1"),
            ("172.20.16.0/20", "route 172.20.0.0/16 dev d1 (table main)"),
            ("192.0.2.0/28", "address 192.0.2.1/32 dev d1"),
            ("fd00:20::/48", "address fd00:20::1/128 dev d1"),
            ("fd00:40:1::/48", "route fd00:40::/32 dev d2 (table main)"),
            (&underlay.to_string(), &format!("address {}/32 dev eth0", node.addr())),
        ] {
            is_named(&node, range, what)?;
        }
        node.sh("ip route del 10.64.0.0/16 table 52; ip route del 10.65.0.0/16 table 1000")?;
        is_free(&node, "10.64.0.0/12")
    })
    .unwrap();
}
