//! The host's side of a pod: the veth pair, and the host's end of it as a port of the bridge.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourState};
use rtnetlink::{Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};
use switch::{ALIAS, Mac, POD_PREFIX, netlink};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::expose::cidr_of;

use super::inside::run;
use super::{PlugError, Pod, errno, kernel};

/// A port that does not forward yet is looked at so often, and so many times.
const AGAIN: Duration = Duration::from_millis(2);
const TRIES: u32 = 500;

/// The host's links.
#[derive(Clone, Debug)]
pub struct Ports(Handle);

/// The bridge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BridgeLink {
    /// Its index.
    pub index: u32,
    /// Its address.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
}

/// The host's end of a veth pair.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortLink {
    /// Its index.
    pub index: u32,
    /// Its address.
    pub mac: Option<Mac>,
    /// The bridge that it is a port of.
    pub bridge: Option<u32>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether weft made it, to the end: [`Ports::mark`].
    pub ours: bool,
    /// Whether it is one of a veth pair.
    pub veth: bool,
    /// As a port: learning, locked, hairpin, and whether it forwards.
    learning: bool,
    /// Kernels before 5.18 have no such flag.
    locked: Option<bool>,
    hairpin: bool,
    forwards: bool,
}

impl PortLink {
    /// Whether it is a port of this bridge, as this pod's is to be.
    pub fn fits(&self, bridge: &BridgeLink, pod: &Pod) -> bool {
        let flags = !self.learning
            && self.locked.is_none_or(|it| it == pod.lock)
            && self.hairpin == pod.hairpin;
        self.bridge == Some(bridge.index) && self.up && flags
    }
}

impl Ports {
    /// Opens netlink.
    ///
    /// # Errors
    /// No netlink socket is to be had.
    pub fn open() -> io::Result<Self> {
        netlink::connect().map(Self)
    }

    /// The bridge of this name.
    ///
    /// # Errors
    /// There is none, or netlink refused.
    pub async fn bridge(&self, name: &str) -> Result<BridgeLink, PlugError> {
        let message = self.get(name).await?;
        let none = || PlugError::NoBridge(name.to_owned());
        let message = message.ok_or_else(none)?;
        let (mut mac, mut mtu) = (None, 0);
        for it in &message.attributes {
            if let LinkAttribute::Address(octets) = it {
                mac = octets.as_slice().try_into().ok().map(Mac);
            } else if let LinkAttribute::Mtu(octets) = it {
                mtu = *octets;
            }
        }
        Ok(BridgeLink { index: message.header.index, mac: mac.ok_or_else(none)?, mtu })
    }

    /// The host's end of this name.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn find(&self, name: &str) -> Result<Option<PortLink>, PlugError> {
        Ok(self.get(name).await?.as_ref().map(PortLink::of))
    }

    /// Whether the host itself has this address.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn is_of_host(&self, addr: IpAddr) -> Result<bool, PlugError> {
        let there = self.0.address().get().execute().try_collect::<Vec<_>>().await;
        let there = there.map_err(kernel("read the host's addresses"))?;
        Ok(there.iter().filter_map(cidr_of).any(|it| it.addr() == addr))
    }

    async fn get(&self, name: &str) -> Result<Option<LinkMessage>, PlugError> {
        let mut found = self.0.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(message) => Ok(message),
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            Err(why) => Err(PlugError::Kernel { what: "look for a link", why }),
        }
    }

    /// Makes a pod's veth pair: its end in the namespace, set down, and the host's as a port of the bridge, set up, over which by
    /// no other MAC address than the pod's anything comes in.
    ///
    /// # Errors
    /// The pod has an interface of that name, or netlink refused: nothing is there.
    pub async fn make(
        &self,
        pod: &Pod,
        bridge: &BridgeLink,
        netns: BorrowedFd<'_>,
    ) -> Result<u32, PlugError> {
        let inner = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pod.key.ifname.clone())
            .address(pod.mac.0.to_vec())
            .mtu(pod.mtu)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner)))
            .name(pod.host.clone())
            .mtu(pod.mtu)
            .controller(bridge.index)
            .up()
            .build();
        self.0.link().add(pair).execute().await.map_err(|why| match errno(&why) {
            Some(libc::EEXIST) => PlugError::Taken(pod.key.ifname.clone()),
            _ => PlugError::Kernel { what: "make the veth pair", why },
        })?;
        let made = self.find(&pod.host).await?.ok_or_else(|| vanished(&pod.host))?;
        self.settle(made.index, pod).await?;
        Ok(made.index)
    }

    /// Puts the host's end back as it should be.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn put_back(
        &self,
        index: u32,
        bridge: &BridgeLink,
        pod: &Pod,
    ) -> Result<(), PlugError> {
        let plug = LinkUnspec::new_with_index(index).controller(bridge.index).up().build();
        self.change(plug, "plug the veth pair into the bridge").await?;
        self.settle(index, pod).await?;
        self.mark(index).await
    }

    /// Says, where it outlives this process, that all has been done that makes a pod of this link.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn mark(&self, index: u32) -> Result<(), PlugError> {
        let mut link = LinkUnspec::new_with_index(index).build();
        link.attributes.push(LinkAttribute::IfAlias(ALIAS.to_owned()));
        self.change(link, "mark the veth pair").await
    }

    /// The port's flags, and what the bridge knows of the pod.
    async fn settle(&self, index: u32, pod: &Pod) -> Result<(), PlugError> {
        let flags = || {
            LinkBridgePort::new(index)
                .append_info_data(InfoBridgePort::Learning(false))
                .append_info_data(InfoBridgePort::HairpinMode(pod.hairpin))
        };
        let locked = flags().append_info_data(InfoBridgePort::Locked(pod.lock)).build();
        match self.0.link().change(locked).execute().await {
            // Older than 5.18: the kernel has no such flag, and learns from nobody there either way.
            Err(error) if errno(&error) == Some(libc::EINVAL) => {
                self.change(flags().build(), "set the port's flags").await?;
            }
            outcome => outcome.map_err(kernel("set the port's flags"))?,
        }
        // Sticky: no other port takes it over.
        let station = self.0.neighbours().add_bridge(index, &pod.mac.0).replace();
        let station = station.state(NeighbourState::Noarp);
        let station = station.flags(NeighbourFlags::Controller | NeighbourFlags::Sticky);
        station.execute().await.map_err(kernel("tell the bridge where the pod is"))
    }

    /// Links called as hosts' ends of this bridge's pods are, of a weft that has not come to the end with them.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn begun(&self, bridge: &BridgeLink) -> Result<Vec<String>, PlugError> {
        let mut all = pin!(self.0.link().get().execute());
        let mut begun = Vec::new();
        while let Some(message) = all.try_next().await.map_err(kernel("read the links"))? {
            let link = PortLink::of(&message);
            if !link.veth || link.ours || link.bridge.is_some_and(|it| it != bridge.index) {
                continue;
            }
            begun.extend(message.attributes.into_iter().filter_map(|it| {
                let LinkAttribute::IfName(name) = it else { return None };
                name.starts_with(POD_PREFIX).then_some(name)
            }));
        }
        Ok(begun)
    }

    /// The stations of all bridges, each at its port.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn stations(&self) -> Result<BTreeSet<(u32, Mac)>, PlugError> {
        let all = self.0.neighbours().get().set_address_family(AddressFamily::Bridge);
        let mut all = pin!(all.execute());
        let mut stations = BTreeSet::new();
        while let Some(entry) = all.try_next().await.map_err(kernel("read the bridge's FDB"))? {
            // Of those that the port itself keeps the bridge knows nothing.
            let bridge = |it: &NeighbourAttribute| matches!(it, NeighbourAttribute::Controller(_));
            if !entry.attributes.iter().any(bridge) {
                continue;
            }
            stations.extend(entry.attributes.iter().filter_map(|it| {
                let NeighbourAttribute::LinkLayerAddress(octets) = it else { return None };
                Some((entry.header.ifindex, Mac(octets.as_slice().try_into().ok()?)))
            }));
        }
        Ok(stations)
    }

    /// Waits until a port forwards, which begins when the pod's end is up: the kernel tells its bridge about once in a second, or
    /// when somebody asks for the link (`linkwatch_sync_dev`, 6.8).
    ///
    /// # Errors
    /// It is gone, or does not forward within a second.
    pub async fn wait_until_forwarding(&self, name: &str) -> Result<PortLink, PlugError> {
        for _ in 0..TRIES {
            let link = self.find(name).await?.ok_or_else(|| vanished(name))?;
            if link.forwards {
                return Ok(link);
            }
            sleep(AGAIN).await;
        }
        let why = io::Error::from(io::ErrorKind::TimedOut);
        Err(PlugError::Socket { what: "have the port forward", why })
    }

    /// Removes the host's end, and with it the pod's. Whether it was there. What is no veth, or not ours, stays.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn remove(&self, name: &str) -> Result<bool, PlugError> {
        // Of one that was just made the mark may be missing.
        let Some(link) = self.find(name).await?.filter(|it| it.veth) else { return Ok(false) };
        aside(async move |handle| match handle.link().del(link.index).execute().await {
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(false),
            outcome => outcome.map(|()| true).map_err(kernel("remove the veth pair")),
        })
        .await
    }

    async fn change(&self, message: LinkMessage, what: &'static str) -> Result<(), PlugError> {
        self.0.link().change(message).execute().await.map_err(kernel(what))
    }
}

impl PortLink {
    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign enums of many variants")]
    fn of(message: &LinkMessage) -> Self {
        let up = message.header.flags.contains(LinkFlags::Up);
        let mut link = Self { index: message.header.index, up, ..Self::default() };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(octets) => {
                    link.mac = octets.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::Controller(0) => {}
                LinkAttribute::Controller(index) => link.bridge = Some(*index),
                LinkAttribute::IfAlias(alias) => link.ours = alias == ALIAS,
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|it| link.note(it)),
                _ => {}
            }
        }
        link
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign enums of many variants")]
    fn note(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.veth = *kind == InfoKind::Veth,
            LinkInfo::PortData(InfoPortData::BridgePort(infos)) => {
                for info in infos {
                    match info {
                        InfoBridgePort::Learning(on) => self.learning = *on,
                        InfoBridgePort::Locked(on) => self.locked = Some(*on),
                        InfoBridgePort::HairpinMode(on) => self.hairpin = *on,
                        InfoBridgePort::State(state) => {
                            self.forwards = *state == BridgePortState::Forwarding;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Asks the kernel for what it takes long for, by a socket and on a thread of its own: several at once wait for it together.
async fn aside<T: Send + 'static>(
    work: impl AsyncFnOnce(Handle) -> Result<T, PlugError> + Send + 'static,
) -> Result<T, PlugError> {
    let failed = |why| PlugError::Socket { what: "ask the kernel", why: io::Error::other(why) };
    spawn_blocking(|| run(work)).await.map_err(failed)?
}

fn vanished(name: &str) -> PlugError {
    let why = io::Error::new(io::ErrorKind::NotFound, format!("{name} has gone"));
    PlugError::Socket { what: "find the veth pair", why }
}
