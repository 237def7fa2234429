//! Switches that nobody here wrote: the other node of an interoperability test.

use anyhow::Result;

use super::node::Node;

/// UDP port and VNI of weft.
const WEFT: u16 = 6784;

impl Node {
    /// Makes this node a kernel VTEP: bridge `weave` with a learning `vxlan-6784` that floods to
    /// `peers`. Pods are plugged as on any node.
    pub fn kernel_vxlan(&self, peers: &[&Self], vni: u32) -> Result<()> {
        let local = self.addr();
        let checksum = if local.is_ipv4() { "udpcsum" } else { "" };
        self.ip("link add weave type bridge stp_state 0 mcast_snooping 0")?;
        self.ip(&format!(
            "link add vxlan-6784 type vxlan id {vni} dstport {WEFT} local {local} dev eth0 {checksum}"
        ))?;
        self.ip("link set vxlan-6784 master weave addrgenmode none up")?;
        for peer in peers {
            let peer = peer.addr().to_string();
            let flood = ["bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vxlan-6784"];
            let argv: Vec<&str> = flood.into_iter().chain(["dst", &peer]).collect();
            self.run(&argv)?;
        }
        self.ip("link set weave up").map(drop)
    }
}
