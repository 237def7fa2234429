//! The underlay: how nodes reach each other before any weft runs.
//!
//! Two nodes are joined by one veth pair; more hang on a bridge in a namespace of its own, one
//! veth each. Inside a node the interface is always `eth0`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Result, ensure};

use super::host::Host;
use super::lab::Run;
use super::node::Node;

/// Address family of the underlay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// Nodes are 10.99.0.N/24.
    V4,
    /// Nodes are fd99::N/64.
    V6,
}

/// What an underlay is like.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// MTU of every underlay interface and of the bridge.
    pub mtu: u32,
    /// Address family.
    pub family: Family,
    /// Checksum, segmentation and receive offloads of the veths. On, as veths come, a packet may
    /// cross with an unfinished checksum and up to 64 KiB long; off, it crosses as on a wire.
    pub offload: bool,
    /// A bridge even for two nodes: more can join later, and one node's carrier can fail alone.
    pub switched: bool,
}

impl Default for Underlay {
    fn default() -> Self {
        Self { mtu: 1500, family: Family::V4, offload: true, switched: false }
    }
}

impl Underlay {
    /// The default over IPv6.
    #[must_use]
    pub fn v6() -> Self {
        Self { family: Family::V6, ..Self::default() }
    }

    /// The same with another MTU.
    #[must_use]
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }

    /// The same with the veths' offloads on or off.
    #[must_use]
    pub fn offload(self, offload: bool) -> Self {
        Self { offload, ..self }
    }

    /// The same with a bridge whatever the number of nodes.
    #[must_use]
    pub fn switched(self) -> Self {
        Self { switched: true, ..self }
    }

    fn addr(&self, number: u16) -> IpAddr {
        match self.family {
            Family::V4 => {
                let [high, low] = number.to_be_bytes();
                Ipv4Addr::new(10, 99, high, low).into()
            }
            Family::V6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, number).into(),
        }
    }

    fn settle(&self, host: &Host, link: &str) -> Result<()> {
        host.ip(&format!("link set {link} up"))?;
        if !self.offload {
            let features = ["rx", "tx", "tso", "gso", "gro"];
            let off = features.iter().flat_map(|feature| [*feature, "off"]);
            let argv: Vec<&str> = ["ethtool", "-K", link].into_iter().chain(off).collect();
            host.run(&argv)?;
        }
        Ok(())
    }

    fn assign(&self, host: &Host, addr: IpAddr) -> Result<()> {
        match self.family {
            Family::V4 => host.ip(&format!("addr add {addr}/24 dev eth0"))?,
            Family::V6 => host.ip(&format!("addr add {addr}/64 dev eth0 nodad"))?,
        };
        Ok(())
    }
}

/// The other end of a node's `eth0`.
#[derive(Clone, Debug)]
pub(super) struct FarEnd {
    pub(super) host: Host,
    pub(super) link: String,
}

/// What has been wired so far.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    bridge: Option<Host>,
    nodes: u16,
}

impl Wiring {
    /// Makes `count` nodes and shows each to `keep` as soon as it exists.
    pub(super) fn add_nodes(
        &mut self,
        run: &Arc<Run>,
        underlay: &Underlay,
        count: usize,
        mut keep: impl FnMut(Node),
    ) -> Result<Vec<Node>> {
        let pair = count == 2 && !underlay.switched && self.bridge.is_none();
        let mut hosts = Vec::new();
        for _ in 0..count {
            self.nodes += 1;
            let host = run.namespace(&format!("n{}", self.nodes))?;
            hosts.push((host, underlay.addr(self.nodes)));
        }
        let wired = match hosts.as_slice() {
            [(one, _), (two, _)] if pair => join(underlay, one, two)?,
            _ => self.attach(run, underlay, &hosts)?,
        };
        let mut nodes = Vec::new();
        for ((host, addr), far) in hosts.into_iter().zip(wired) {
            underlay.settle(&host, "eth0")?;
            underlay.assign(&host, addr)?;
            let node = Node::start(&host, addr, far)?;
            keep(node.clone());
            nodes.push(node);
        }
        Ok(nodes)
    }

    fn attach(
        &mut self,
        run: &Arc<Run>,
        underlay: &Underlay,
        hosts: &[(Host, IpAddr)],
    ) -> Result<Vec<FarEnd>> {
        let bridge = match &self.bridge {
            Some(bridge) => bridge.clone(),
            None => self.bridge.insert(bridge(run, underlay.mtu)?).clone(),
        };
        let mut wired = Vec::new();
        for (host, _addr) in hosts {
            let (mtu, link) = (underlay.mtu, host.name().to_owned());
            ensure!(link.len() <= 15, "{link} is too long for an interface");
            let near = format!("link add eth0 mtu {mtu} type veth");
            host.ip(&format!("{near} peer name {link} mtu {mtu} netns {}", bridge.netns()))?;
            bridge.ip(&format!("link set {link} master ul"))?;
            underlay.settle(&bridge, &link)?;
            wired.push(FarEnd { host: bridge.clone(), link });
        }
        Ok(wired)
    }
}

/// One veth pair between two nodes.
fn join(underlay: &Underlay, one: &Host, two: &Host) -> Result<Vec<FarEnd>> {
    let mtu = underlay.mtu;
    let near = format!("link add eth0 mtu {mtu} type veth");
    one.ip(&format!("{near} peer name eth0 mtu {mtu} netns {}", two.netns()))?;
    let far = |host: &Host| FarEnd { host: host.clone(), link: "eth0".to_owned() };
    Ok(vec![far(two), far(one)])
}

/// The underlay's switch. Its frames pass no netfilter hook: it stands for hardware.
fn bridge(run: &Arc<Run>, mtu: u32) -> Result<Host> {
    let host = run.namespace("ul")?;
    host.sh("for each in /proc/sys/net/bridge/bridge-nf-call-*; do
                 if [ -e \"$each\" ]; then echo 0 >\"$each\"; fi
             done")?;
    host.ip("link add ul type bridge stp_state 0 mcast_snooping 0")?;
    host.ip(&format!("link set ul mtu {mtu}"))?;
    host.ip("link set ul addrgenmode none up")?;
    Ok(host)
}
