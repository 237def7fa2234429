//! Pods: interfaces that are plugged into the bridge, each by a veth pair whose one end is in the pod's network namespace.
//!
//! What is plugged in is a [`Pod`], known by its [`Key`], and kept on disk by whoever calls. What was begun is known after a death at any
//! point, and undone, without the pod's namespace: the host's end is removed, which takes the pod's with it, and the address
//! is freed. Its lease says whose it is ([`Key::of_lease`]), and a host's end that all was done to has a mark ([`Ports::mark`]).
//!
//! [`Ports`] does what is done on the host, [`configure`] what is done inside.

mod conntrack;
mod inside;
mod port;

use std::net::IpAddr;

use api::{PodName, PodRoute};
use serde::{Deserialize, Serialize};
use switch::{Mac, POD_PREFIX};

use crate::cidr::Cidr;
pub use conntrack::{flow_ends, forget_flows};
pub use inside::{Netns, NetnsError, Setup, configure, lacks};
pub use port::{BridgeLink, PortLink, Ports};

/// Which interface.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// Of which container.
    pub id: String,
    /// What it is called there.
    pub ifname: String,
}

impl Key {
    /// Under which id its addresses are leased: a name of an interface has no `/`.
    pub fn lease(&self) -> String {
        format!("{LEASE}{}/{}", self.id, self.ifname)
    }

    /// Whose addresses are leased under this id, if they are a pod's.
    pub fn of_lease(id: &str) -> Option<Self> {
        let (id, ifname) = id.strip_prefix(LEASE)?.rsplit_once('/')?;
        Some(Self { id: id.to_owned(), ifname: ifname.to_owned() })
    }
}

/// What the ids begin with that pods' addresses are leased under.
const LEASE: &str = "pod:";

/// How far an interface is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Stage {
    /// It is being plugged in.
    Coming,
    /// It is plugged in, and whoever asked may have been told so.
    There,
    /// It is being unplugged.
    Going,
}

/// An interface, as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pod {
    /// Which.
    pub key: Key,
    /// How far it is.
    pub stage: Stage,
    /// The host's end.
    pub host: String,
    /// The inode of the pod's network namespace.
    pub inode: u64,
    /// Under which boot of the host: what it was is gone with it.
    pub boot: String,
    /// The path of the namespace, as it was told.
    pub netns: Option<String>,
    /// Of which network, of those who plug in by one.
    pub network: Option<String>,
    /// What Kubernetes calls the pod.
    pub name: Option<PodName>,
    /// The pod's MAC address.
    #[serde(with = "mac")]
    pub mac: Mac,
    /// The interface's MTU.
    pub mtu: u32,
    /// What the pod sends to itself comes back.
    pub hairpin: bool,
    /// It may send by no other MAC address.
    pub lock: bool,
    /// Its addresses are leased, by [`Key::lease`].
    pub leased: bool,
    /// Its addresses.
    pub addresses: Vec<api::Cidr>,
    /// By whom its routes go.
    pub gateway: Option<IpAddr>,
    /// Its routes.
    pub routes: Vec<PodRoute>,
    /// Since when, in microseconds since 1970.
    pub since: u64,
}

impl Pod {
    /// Its addresses, as the router has them.
    pub fn cidrs(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.addresses.iter().filter_map(|it| Cidr::new(it.addr(), it.prefix()))
    }
}

/// A MAC address made of an IPv4 address, as the reference's bridge plugin makes it: the same pod address has the same one
/// wherever it is, so that who knows it need not learn anew.
pub fn mac_of(addr: IpAddr) -> Option<Mac> {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, d] = addr.octets();
            Some(Mac([0x0a, 0x58, a, b, c, d]))
        }
        IpAddr::V6(_) => None,
    }
}

/// What the host's end is called, at the `try`th attempt. Links of weft's begin with `weft`, and those that begin with `veth` are left alone by
/// whoever configures a host's own (NetworkManager, systemd-networkd).
pub fn host_name(key: &Key, try_: u8) -> String {
    use blake2::{Blake2s256, Digest};
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = Blake2s256::new();
    hash.update([try_]);
    hash.update(key.lease());
    let letter = |octet: &u8| LETTERS.get(usize::from(octet % 32)).copied().map(char::from);
    let tail = hash.finalize().iter().take(7).filter_map(letter).collect::<String>();
    format!("{POD_PREFIX}{tail}")
}

/// As text: what is on disk is read by people, too.
mod mac {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use switch::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Why an interface is not plugged in.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// There is no bridge.
    #[error("there is no bridge {0}")]
    NoBridge(String),
    /// The pod has such an interface.
    #[error("the pod's network namespace has an interface {0} already, which is not of this id")]
    Taken(String),
    /// Its namespace cannot be entered, or has gone.
    #[error("the pod's network namespace cannot be entered")]
    Netns(#[source] NetnsError),
    /// The kernel refuses.
    #[error("cannot {what}")]
    Kernel {
        /// What.
        what: &'static str,
        /// What it says.
        #[source]
        why: rtnetlink::Error,
    },
    /// It has no socket for us.
    #[error("cannot {what}")]
    Socket {
        /// What.
        what: &'static str,
        /// What it says.
        #[source]
        why: std::io::Error,
    },
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    if let rtnetlink::Error::NetlinkError(message) = error {
        Some(-message.raw_code())
    } else {
        None
    }
}

fn kernel(what: &'static str) -> impl Fn(rtnetlink::Error) -> PlugError {
    move |why| PlugError::Kernel { what, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_end_has_a_name_that_the_kernel_takes_and_another_try_has_another() {
        let key = Key { id: "b07565b06c53".into(), ifname: "eth0".into() };

        let (first, second) = (host_name(&key, 0), host_name(&key, 1));

        assert_eq!(first.len(), 15);
        assert_ne!(first, second);
        assert_eq!(first, host_name(&key, 0));
    }

    #[test]
    fn a_pod_is_read_as_it_was_written_and_with_fields_of_a_later_release() {
        let pod = Pod {
            key: Key { id: "a".into(), ifname: "eth0".into() },
            stage: Stage::There,
            host: "vethweftabcdefg".into(),
            inode: 4_026_532_000,
            boot: "b".into(),
            netns: Some("/run/netns/a".into()),
            network: Some("weft".into()),
            name: None,
            mac: Mac([0x0a, 0x58, 10, 32, 0, 1]),
            mtu: 1410,
            hairpin: true,
            lock: true,
            leased: true,
            addresses: vec!["10.32.0.1/12".parse().unwrap()],
            gateway: None,
            routes: Vec::new(),
            since: 7,
        };
        let octets = rmp_serde::to_vec_named(&pod).unwrap();
        let mut later: serde_json::Value = serde_json::to_value(&pod).unwrap();
        later.as_object_mut().unwrap().insert("colour".into(), "red".into());

        assert_eq!(rmp_serde::from_slice::<Pod>(&octets).unwrap(), pod);
        let octets = rmp_serde::to_vec_named(&later).unwrap();
        assert_eq!(rmp_serde::from_slice::<Pod>(&octets).unwrap(), pod);
    }

    #[test]
    fn a_mac_address_of_an_ipv4_address_is_one_of_a_station() {
        let mac = mac_of("10.32.0.1".parse().unwrap()).unwrap();

        assert_eq!(mac.to_string(), "0a:58:0a:20:00:01");
        assert_eq!(mac_of("fd00::1".parse().unwrap()), None);
    }
}
