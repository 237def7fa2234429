//! The node's side of the switch: bridge, TAP and vxlan device, kept as they should be over netlink.
//!
//! What exists is adopted, never reset: a bridge that somebody else made keeps its settings, and
//! its addresses and ports are never touched. What weft makes carries the alias [`ALIAS`], so that
//! a later run knows what it may change, and `cleanup` what it may remove.
//!
//! The uplinks' port flags are set before their links go up: for a moment without `isolated` two
//! uplinks would be a loop. What keeps the vxlan device from being there keeps nothing else.

mod error;
mod fast;
mod installed;
mod link;
mod port;
mod reset;
mod stations;
mod strays;

use std::io;

use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use rtnetlink::{LinkBridge, LinkUnspec};

use crate::{Backend, KernelTap, Mac, Mtu};
pub use error::WiringError;
pub use fast::{FastSpec, FastState};
pub use installed::{Change, Installed};
pub use link::Link;
use link::{Links, StpOff};
use port::PortFlags;
pub use reset::{Remains, ResetError};
pub use stations::Stations;
pub(crate) use stations::{Entry, Message, messages};

/// What the links that weft makes are marked with (`ip link show` prints it).
pub const ALIAS: &str = "weft";
/// What the hosts' ends of pods that weft plugs in are called at first: one that is being plugged in is not marked yet.
pub const POD_PREFIX: &str = "vethweft";

/// What is to be there.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The bridge's name.
    pub bridge: String,
    /// The TAP's name.
    pub tap: String,
    /// How the TAP is opened.
    pub backend: Backend,
    /// How many queues of it.
    pub queues: usize,
    /// The bridge's address, if it has to be made.
    pub mac: Mac,
    /// The bridge's MTU: what pods may send without being told that it is too big.
    pub mtu: Mtu,
    /// Whether the bridge learns at the TAP who is behind it: off where control says so by FDB entries.
    pub learning: bool,
    /// Whether the bridge answers for stations behind the TAP whose addresses it was told, instead of
    /// asking them.
    pub neigh_suppress: bool,
    /// The vxlan device, if the kernel is to carry frames, too.
    pub fast: Option<FastSpec>,
}

/// Makes and mends what a [`Spec`] asks for.
#[derive(Debug)]
pub struct Wiring {
    links: Links,
    spec: Spec,
    /// Whether the kernel has been found to have no vxlan devices.
    without_vxlan: bool,
}

impl Wiring {
    /// Opens netlink. To be called inside a tokio runtime, which runs the connection.
    ///
    /// # Errors
    /// No netlink socket is to be had.
    pub fn new(spec: Spec) -> Result<Self, WiringError> {
        let links = Links::open().map_err(WiringError::Socket)?;
        Ok(Self { links, spec, without_vxlan: false })
    }

    /// Changes the MTU that the bridge is to have from the next [`Wiring::reconcile`] on.
    pub fn set_mtu(&mut self, mtu: Mtu) {
        self.spec.mtu = mtu;
    }

    /// Sees to bridge and uplinks, and opens the TAP.
    ///
    /// # Errors
    /// As [`WiringError`] says. Of the vxlan device [`Installed::fast`] tells.
    pub async fn install(&mut self) -> Result<(Vec<KernelTap>, Installed), WiringError> {
        let mut installed = Installed::default();
        // The TAP first: where it is refused, no bridge is left behind.
        let found = self.links.find(&self.spec.tap).await?;
        if found.as_ref().is_some_and(|link| !link.is_tap()) {
            return Err(WiringError::NotATap(self.spec.tap.clone()));
        }
        let (taps, made) = self.open_fitting(found).await?;
        if made {
            installed.done.push(Change::TapMade);
            self.mark_tap().await?;
        }
        self.silence(&self.spec.tap).await?;
        // Only now: a TAP that nobody would know as ours vanishes with this process.
        for tap in &taps {
            tap.keep().map_err(|error| WiringError::Tap(self.spec.tap.clone(), error))?;
        }
        let bridge = self.install_bridge(&mut installed).await?;
        self.remove_stale(&bridge, &mut installed).await?;
        self.install_tap(&bridge, &mut installed).await?;
        self.without_vxlan = false;
        self.install_fast(&bridge, &mut installed).await;
        Ok((taps, installed))
    }

    /// Mends bridge and uplinks where somebody changed them. The TAP must exist.
    ///
    /// # Errors
    /// As [`WiringError`] says. Of the vxlan device [`Installed::fast`] tells.
    pub async fn reconcile(&mut self) -> Result<Installed, WiringError> {
        let mut installed = Installed::default();
        let bridge = self.install_bridge(&mut installed).await?;
        self.install_tap(&bridge, &mut installed).await?;
        self.install_fast(&bridge, &mut installed).await;
        Ok(installed)
    }

    /// Removes TAP and bridge if weft made them. Returns the names of those it removed.
    ///
    /// # Errors
    /// A process has the TAP open, another TAP of weft's is in the bridge, or netlink refused.
    pub async fn cleanup(&self) -> Result<Vec<String>, WiringError> {
        let mut removed = Vec::new();
        let Spec { tap, bridge, .. } = &self.spec;
        if let Some(link) = self.links.find(tap).await?.filter(|it| it.is_ours() && it.is_tap()) {
            let fitting = if link.multi_queue { Backend::Offload } else { Backend::Plain };
            // Fails when somebody has it open: deleting it would only make them repair it.
            drop(self.open_tap_as(fitting)?);
            self.links.delete(link.index).await?;
            removed.push(tap.clone());
        }
        let found = self.links.find(bridge).await?;
        if let Some(link) = found.filter(|it| it.is_ours() && it.is_bridge()) {
            if let Some(other) = self.links.uplinks_of(link.index).await?.pop() {
                return Err(WiringError::BridgeInUse(bridge.clone(), other.name));
            }
            self.links.delete(link.index).await?;
            removed.push(bridge.clone());
        }
        Ok(removed)
    }

    /// The stations that the bridge has behind ports other than the uplinks.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn stations(&self, installed: &Installed) -> io::Result<Stations> {
        stations::read(installed).await
    }

    /// Frames for the TAP that the kernel dropped because its queue was full.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn tap_drops(&self) -> Result<u64, WiringError> {
        Ok(self.links.find(&self.spec.tap).await?.map_or(0, |link| link.tx_dropped))
    }

    async fn install_bridge(&self, installed: &mut Installed) -> Result<Link, WiringError> {
        let name = &self.spec.bridge;
        let mut bridge = match self.links.find(name).await? {
            Some(link) => link,
            None => {
                let back = self.rename_bridge().await?;
                if !back {
                    self.make_bridge().await?;
                }
                installed.done.push(if back { Change::BridgeRenamed } else { Change::BridgeMade });
                let made = self.links.find(name).await?;
                made.ok_or_else(|| WiringError::NotABridge(name.clone()))?
            }
        };
        if !bridge.is_bridge() {
            return Err(WiringError::NotABridge(name.clone()));
        }
        (installed.bridge, installed.mac) = (bridge.index, bridge.mac);
        if bridge.mac == Some(self.spec.mac) && !bridge.is_ours() {
            // Nobody else gives a bridge this address: an earlier run of ours was cut short.
            self.mark(&self.spec.bridge).await?;
            bridge.adopt();
        }
        if bridge.is_ours() {
            // A bridge follows its ports' MTU until it is set explicitly, after its creation.
            self.set_mtu_of(&mut bridge, self.spec.mtu, Change::BridgeMtu, installed).await?;
        } else {
            installed.differing = bridge.differing(self.spec.mtu);
        }
        self.set_up(&bridge, Change::BridgeUp, installed).await?;
        Ok(bridge)
    }

    async fn make_bridge(&self) -> Result<(), WiringError> {
        let message = LinkBridge::new(&self.spec.bridge)
            .address(self.spec.mac.0.to_vec())
            .set_stp_off()
            .mcast_snooping(false)
            .build();
        self.links.add(message, "creating the bridge").await?;
        self.mark(&self.spec.bridge).await
    }

    async fn mark(&self, name: &str) -> Result<(), WiringError> {
        let alias = LinkUnspec::new_with_name(name).alias(ALIAS).build();
        self.links.change(alias, "marking a link").await
    }

    /// Opens the TAP. One that weft once made for another backend is made anew: it is nobody's but
    /// ours, and nobody has it open. Tells whether the TAP was made.
    async fn open_fitting(
        &self,
        found: Option<Link>,
    ) -> Result<(Vec<KernelTap>, bool), WiringError> {
        let ours = found.as_ref().filter(|link| link.is_ours());
        if let Some(link) = ours
            && link.multi_queue != (self.spec.backend != Backend::Plain)
        {
            // Fails when somebody has it open.
            drop(self.open_tap_as(if link.multi_queue {
                Backend::Offload
            } else {
                Backend::Plain
            })?);
            self.links.delete(link.index).await?;
            return Ok((self.open_tap()?, true));
        }
        Ok((self.open_tap()?, found.is_none()))
    }

    fn open_tap(&self) -> Result<Vec<KernelTap>, WiringError> {
        self.open_tap_as(self.spec.backend)
    }

    fn open_tap_as(&self, backend: Backend) -> Result<Vec<KernelTap>, WiringError> {
        let name = &self.spec.tap;
        KernelTap::open(name, backend, self.spec.queues).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => WiringError::Busy(name.clone()),
                Some(libc::EPERM | libc::EACCES) => WiringError::Denied("opening the TAP"),
                Some(libc::EINVAL) => WiringError::NotATap(name.clone()),
                _ => WiringError::Tap(name.clone(), error),
            }
        })
    }

    /// What a TAP that was just made gets: our mark, and an address that is set and so left alone
    /// by udev.
    async fn mark_tap(&self) -> Result<(), WiringError> {
        let [.., d, e, f] = self.spec.mac.0;
        let message = LinkUnspec::new_with_name(&self.spec.tap)
            .alias(ALIAS)
            .address(vec![0xfe, 0x77, 0x74, d, e, f])
            .build();
        self.links.change(message, "marking the TAP").await
    }

    /// No IPv6 addresses on an uplink: they would make it speak MLD and RS into the overlay.
    async fn silence(&self, name: &str) -> Result<(), WiringError> {
        let silence = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let message = LinkUnspec::new_with_name(name)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silence]))
            .build();
        // A kernel without IPv6 refuses this, and needs it as little.
        let silenced = self.links.change(message, "silencing an uplink").await;
        if let Err(WiringError::Netlink(..)) = silenced { Ok(()) } else { silenced }
    }

    async fn install_tap(
        &self,
        bridge: &Link,
        installed: &mut Installed,
    ) -> Result<(), WiringError> {
        let name = &self.spec.tap;
        let gone = || WiringError::TapGone(name.clone());
        let mut tap = self.links.find(name).await?.ok_or_else(gone)?;
        installed.tap = tap.index;
        self.set_mtu_of(&mut tap, Mtu::UPLINK, Change::TapMtu, installed).await?;
        match tap.controller {
            Some(controller) if controller == bridge.index => {}
            Some(_) => return Err(WiringError::Elsewhere(name.clone())),
            None => {
                self.plug(&mut tap, bridge).await?;
                installed.done.push(Change::TapPlugged);
            }
        }
        let Spec { learning, neigh_suppress, .. } = self.spec;
        if self.set_flags(&tap, PortFlags::uplink(learning, neigh_suppress)).await? {
            installed.done.push(Change::TapFlags);
        }
        self.set_up(&tap, Change::TapUp, installed).await?;
        self.set_forwarding(&tap, bridge, Change::TapForwards, installed).await
    }

    async fn set_mtu_of(
        &self,
        link: &mut Link,
        mtu: Mtu,
        change: Change,
        installed: &mut Installed,
    ) -> Result<(), WiringError> {
        let mtu = u32::from(mtu.octets());
        if link.mtu == mtu && !installed.done.contains(&Change::BridgeMade) {
            return Ok(());
        }
        let message = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
        self.links.change(message, "setting an MTU").await?;
        link.mtu = mtu;
        installed.done.push(change);
        Ok(())
    }

    async fn set_up(
        &self,
        link: &Link,
        change: Change,
        installed: &mut Installed,
    ) -> Result<(), WiringError> {
        if link.up {
            return Ok(());
        }
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.links.change(message, "setting a link up").await?;
        installed.done.push(change);
        Ok(())
    }
}
