//! weft-switch between real network namespaces: what an operator relies on.

#[path = "switch/links.rs"]
mod links;
#[path = "switch/moves.rs"]
mod moves;
#[path = "switch/privacy.rs"]
mod privacy;
#[path = "switch/refusals.rs"]
mod refusals;
#[path = "switch/size.rs"]
mod size;
#[path = "switch/traffic.rs"]
mod traffic;

use anyhow::Result;
use weft_tests::harness::weft::{Switch, mesh, pods};
use weft_tests::harness::{Lab, Node, Packet, Pod, Underlay};

/// Nodes with a switch and a pod each, all peers of each other.
struct Cluster<const N: usize> {
    nodes: [Node; N],
    switches: Vec<Switch>,
    pods: Vec<Pod>,
}

impl<const N: usize> Cluster<N> {
    fn new(lab: &Lab, underlay: &Underlay, options: &[&str]) -> Result<Self> {
        Self::with_pod_mtu(lab, underlay, options, 1430)
    }

    fn with_pod_mtu(lab: &Lab, underlay: &Underlay, options: &[&str], mtu: u32) -> Result<Self> {
        let nodes = lab.nodes::<N>(underlay)?;
        let switches = mesh(&nodes, options)?;
        let pods = pods(&nodes, mtu)?;
        Ok(Self { nodes, switches, pods })
    }
}

/// The frame's addresses and what follows, as hexadecimal digits: for raw senders.
fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn mac_octets(mac: &str) -> Vec<u8> {
    mac.split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect()
}

/// A frame between two stations with an EtherType nobody uses (IEEE 802 local experimental 2).
fn frame(dst: &str, src: &str, payload: &[u8]) -> Vec<u8> {
    [&mac_octets(dst), &mac_octets(src), &[0x88, 0xb6][..], payload].concat()
}

fn carries(packet: &Packet, mark: &[u8]) -> bool {
    packet.octets.windows(mark.len()).any(|window| window == mark)
}
