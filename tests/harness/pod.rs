//! A pod: a network namespace behind a veth pair that ends in a node.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;

use anyhow::{Context, Result, bail, ensure};

use super::host::Host;
use super::node::Node;

/// The longest pod name: `veth-NAME` is an interface.
const NAME_MAX: usize = 10;
/// What fits a VXLAN over IPv4 on an underlay of 1500.
const DEFAULT_MTU: u32 = 1450;

/// What a pod is like.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// Its name, unique on its node, at most 10 octets.
    pub name: String,
    /// Its IPv4 (or only) address with prefix length.
    pub cidr: String,
    /// A second address with prefix length, usually IPv6.
    pub cidr6: Option<String>,
    /// Its MAC; made from the address when not given.
    pub mac: Option<String>,
    /// MTU of both veth ends.
    pub mtu: u32,
}

impl PodSpec {
    /// A pod with one address and an MTU of 1450.
    #[must_use]
    pub fn new(name: &str, cidr: &str) -> Self {
        let (name, cidr) = (name.to_owned(), cidr.to_owned());
        Self { name, cidr, cidr6: None, mac: None, mtu: DEFAULT_MTU }
    }

    /// The same with a second address, such as `fd00:32::1/64`.
    #[must_use]
    pub fn cidr6(self, cidr: &str) -> Self {
        Self { cidr6: Some(cidr.to_owned()), ..self }
    }

    /// The same with this MAC.
    #[must_use]
    pub fn mac(self, mac: &str) -> Self {
        Self { mac: Some(mac.to_owned()), ..self }
    }

    /// The same with another MTU.
    #[must_use]
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }
}

/// A pod of the lab; its interface is `eth0`. It lives until [`Pod::delete`] or the lab's end.
#[derive(Clone, Debug)]
pub struct Pod {
    host: Host,
    node: Node,
    spec: PodSpec,
    mac: String,
    addr: IpAddr,
    addr6: Option<Ipv6Addr>,
}

impl Deref for Pod {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Pod {
    pub(super) fn create(node: &Node, spec: &PodSpec) -> Result<Self> {
        let name = &spec.name;
        ensure!(name.len() <= NAME_MAX, "pod name {name} is longer than {NAME_MAX}");
        let addr = address(&spec.cidr)?;
        let addr6 = match spec.cidr6.as_deref().map(address).transpose()? {
            Some(IpAddr::V6(addr)) => Some(addr),
            Some(IpAddr::V4(addr)) => bail!("{addr} is no IPv6 address"),
            None => None,
        };
        let mac = spec.mac.clone().unwrap_or_else(|| derive_mac(addr));
        let host = node.run.namespace(&format!("{}-{name}", node.name()))?;
        let pod = Self { host, node: node.clone(), spec: spec.clone(), mac, addr, addr6 };
        pod.wire()?;
        Ok(pod)
    }

    /// Its first address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Its second address.
    pub fn addr6(&self) -> Result<Ipv6Addr> {
        self.addr6.with_context(|| format!("{} has no IPv6 address", self.name()))
    }

    /// The MAC of its `eth0`.
    #[must_use]
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// The host end of its veth pair, an interface of its node.
    #[must_use]
    pub fn host_if(&self) -> String {
        format!("veth-{}", self.spec.name)
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Removes it: its port is gone when this returns.
    pub fn delete(&self) -> Result<()> {
        self.node.ip(&format!("link del {}", self.host_if()))?;
        super::clean::kill_inside(&[self.netns()], &[])?;
        self.run.root_run(&["ip", "netns", "del", &self.netns()])?;
        Ok(())
    }

    /// Removes it and makes it again on `node`, same addresses and MAC, not plugged yet.
    pub fn move_to(&self, node: &Node) -> Result<Self> {
        self.delete()?;
        node.add_pod(&self.spec.clone().mac(&self.mac))
    }

    fn wire(&self) -> Result<()> {
        let (mtu, mac, host_if) = (self.spec.mtu, &self.mac, self.host_if());
        let near = format!("link add eth0 mtu {mtu} address {mac} type veth");
        self.ip(&format!("{near} peer name {host_if} mtu {mtu} netns {}", self.node.netns()))?;
        // The host end speaks for nobody: no address, no listener reports.
        self.node.ip(&format!("link set {host_if} addrgenmode none up"))?;
        for cidr in std::iter::once(&self.spec.cidr).chain(&self.spec.cidr6) {
            let nodad = if cidr.contains(':') { "nodad" } else { "" };
            self.ip(&format!("addr add {cidr} dev eth0 {nodad}"))?;
        }
        self.ip("link set eth0 up")?;
        Ok(())
    }
}

fn address(cidr: &str) -> Result<IpAddr> {
    let (addr, _length) =
        cidr.split_once('/').with_context(|| format!("{cidr} has no prefix length"))?;
    addr.parse().with_context(|| format!("{cidr} is no address"))
}

/// A locally administered MAC that tells the address in a capture.
fn derive_mac(addr: IpAddr) -> String {
    let [a, b, c, d] = match addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(addr) => {
            let [.., a, b, c, d] = addr.octets();
            [a, b, c, d]
        }
    };
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::{address, derive_mac};

    #[test]
    fn a_mac_spells_the_address() {
        assert_eq!(derive_mac(address("10.32.0.1/12").unwrap()), "0a:58:0a:20:00:01");
    }

    #[test]
    fn an_address_needs_a_prefix_length() {
        assert!(address("10.32.0.1").is_err());
    }
}
