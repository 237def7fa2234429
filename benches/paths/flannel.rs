//! The kernel's vxlan device as Flannel sets it up (pkg/backend/vxlan, v0.27): on each node a network of its own behind a
//! bridge, one route, one neighbour and one FDB entry for each other node, and no learning.

use anyhow::{Context, Result};
use weft_tests::harness::{Node, Pod};

/// The pods' addresses: each in its node's network.
pub(crate) const PODS: [&str; 2] = ["10.244.1.2/24", "10.244.2.2/24"];
/// Flannel's VNI and port.
const VNI: u32 = 1;
const PORT: u16 = 8472;

/// Wires a node to its pod and to the other node.
pub(crate) fn join(node: &Node, peer: &Node, pod: &Pod) -> Result<()> {
    let (own, far) = (network(node)?, network(peer)?);
    let (local, remote, mtu) = (node.addr(), peer.addr(), mtu(pod)?);
    node.sh(&format!(
        "sysctl -qw net.ipv4.ip_forward=1
         ip link add cni0 type bridge
         ip link set cni0 mtu {mtu} up
         ip addr add 10.244.{own}.1/24 dev cni0
         ip link add flannel.1 address 0e:00:00:00:00:0{own} mtu {mtu} type vxlan id {VNI} dstport {PORT} local {local} nolearning
         ip addr add 10.244.{own}.0/32 dev flannel.1
         ip link set flannel.1 up
         ip route add 10.244.{far}.0/24 via 10.244.{far}.0 dev flannel.1 onlink
         ip neigh add 10.244.{far}.0 lladdr 0e:00:00:00:00:0{far} dev flannel.1 nud permanent
         bridge fdb append 0e:00:00:00:00:0{far} dev flannel.1 dst {remote} self permanent"
    ))?;
    node.plug_into(pod, "cni0")?;
    pod.sh(&format!("ip route add default via 10.244.{own}.1")).map(drop)
}

/// The number of a node's network: that of its address.
fn network(node: &Node) -> Result<u8> {
    match node.addr() {
        std::net::IpAddr::V4(addr) => Ok(addr.octets()[3]),
        std::net::IpAddr::V6(addr) => anyhow::bail!("{addr} has no network"),
    }
}

fn mtu(pod: &Pod) -> Result<u32> {
    let said = pod.run(&["cat", "/sys/class/net/eth0/mtu"])?;
    said.trim().parse().with_context(|| format!("an MTU of {said}"))
}
