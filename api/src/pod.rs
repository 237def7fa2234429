//! Pods: what is plugged into the bridge of a node, as the CNI plugin and `weft attach` ask for it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Cidr;

/// Plugs an interface into a pod, and the pod into the network. The pod's network namespace comes as a descriptor with the
/// request's first octet (`SCM_RIGHTS`), or by its path.
///
/// Idempotent by `id` and `ifname`: who asks again for the same namespace is told what is there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plug {
    /// Whose: a container's id, 1 to 200 octets of letters, digits, `_`, `.` and `-`.
    pub id: String,
    /// What the interface is called in the pod: 1 to 15 octets.
    pub ifname: String,
    /// The path of its network namespace, as the daemon sees it: for who passes no descriptor, and to be shown.
    pub netns: Option<String>,
    /// The network's name, of those who plug in by one; [`Gc`] goes by it.
    pub network: Option<String>,
    /// What Kubernetes calls it.
    pub pod: Option<PodName>,
    /// Its MAC address; if absent, one made of its IPv4 address.
    pub mac: Option<String>,
    /// Its MTU; that of the bridge if absent.
    pub mtu: Option<u32>,
    /// Whether what it sends to itself by a service comes back to it.
    #[serde(default = "yes")]
    pub hairpin: bool,
    /// Whether it may send by no other MAC address than its own.
    #[serde(default = "yes")]
    pub lock: bool,
    /// Where its addresses come from.
    #[serde(default)]
    pub addresses: PodAddresses,
    /// By whom its routes go; if absent, the bridge's address in its subnet.
    pub gateway: Option<IpAddr>,
    /// Its routes; a default route if absent.
    pub routes: Option<Vec<PodRoute>>,
}

const fn yes() -> bool {
    true
}

/// Where a pod's addresses come from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PodAddresses {
    /// Those that somebody else has given it: nothing is leased.
    pub given: Vec<Cidr>,
    /// Those that are to be leased, each with the prefix of its subnet or without.
    pub claimed: Vec<PodAddress>,
    /// From where one is leased, if none is claimed or given; the default subnet if absent.
    pub subnet: Option<Cidr>,
}

/// An address that is wanted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PodAddress {
    /// Which.
    pub address: IpAddr,
    /// The prefix of its subnet; that of `subnet`, or of the default subnet, if absent.
    pub prefix: Option<u8>,
}

/// A pod, as Kubernetes has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
}

/// A route of a pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PodRoute {
    /// Where to.
    pub to: Cidr,
    /// By whom; the pod's gateway if absent.
    pub via: Option<IpAddr>,
    /// Packets' size on it.
    pub mtu: Option<u32>,
    /// The maximum segment size that is announced on it.
    pub advmss: Option<u32>,
    /// Of several the lowest is taken.
    pub priority: Option<u32>,
    /// The routing table.
    pub table: Option<u32>,
    /// The scope: 0 is everywhere, 253 on the link.
    pub scope: Option<u8>,
}

/// A plugged interface.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plugged {
    /// Whose.
    pub id: String,
    /// What it is called in the pod.
    pub ifname: String,
    /// The path of the pod's network namespace, as it was told.
    pub netns: Option<String>,
    /// The network's name.
    pub network: Option<String>,
    /// What Kubernetes calls the pod.
    pub pod: Option<PodName>,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
    /// Its addresses, each with its subnet's prefix.
    pub addresses: Vec<Cidr>,
    /// By whom its routes go.
    pub gateway: Option<IpAddr>,
    /// Its routes besides those of its subnets.
    pub routes: Vec<PodRoute>,
    /// The interface's other end, a port of the bridge.
    pub host: HostEnd,
    /// The bridge.
    pub bridge: HostEnd,
    /// Since when it is there.
    pub since: Timestamp,
}

/// A link of the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
}

/// Unplugs an interface; it need not be there, nor the pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unplug {
    /// Whose.
    pub id: String,
    /// Which; all of them if absent.
    pub ifname: Option<String>,
    /// Only if the pod's network namespace has this inode.
    pub inode: Option<u64>,
}

/// Whether an interface is as it was plugged in. It is answered with 409 and what is missing if it is not, and with 404 if it never was.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Check {
    /// Whose.
    pub id: String,
    /// Which.
    pub ifname: String,
    /// The path of the pod's network namespace, for who passes no descriptor.
    pub netns: Option<String>,
}

/// Unplugs, of a network, all but these.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gc {
    /// The network's name.
    pub network: String,
    /// Those that stay.
    pub valid: Vec<Valid>,
}

/// An interface of a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Valid {
    /// Whose.
    pub id: String,
    /// Which.
    pub ifname: String,
}

/// Interfaces that are, or were, plugged in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pods {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// By container and interface.
    pub pods: Vec<Plugged>,
}
