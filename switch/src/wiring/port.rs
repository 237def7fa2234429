//! The uplinks as ports of the bridge: plugged in, with the flags of their ports, and forwarding.
//!
//! `guard` and `root_block` are the operator's: they do something only where STP is on.

use std::mem::discriminant;

use netlink_packet_route::link::{BridgePortState, InfoBridgePort};
use rtnetlink::{LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::{Change, Installed, Link, Wiring, WiringError};

/// Those flags of a bridge's port that decide which frames cross it.
#[derive(Clone, Debug)]
pub(super) struct PortFlags([InfoBridgePort; 9]);

impl Default for PortFlags {
    /// As the kernel makes a port; one too old to know a flag behaves the same.
    fn default() -> Self {
        Self([
            InfoBridgePort::Isolated(false),
            InfoBridgePort::Learning(true),
            InfoBridgePort::NeighSupress(false),
            InfoBridgePort::UnicastFlood(true),
            InfoBridgePort::MulticastFlood(true),
            InfoBridgePort::BroadcastFlood(true),
            InfoBridgePort::HairpinMode(false),
            // In this order: where `mab` is on, `locked` cannot go alone.
            InfoBridgePort::Locked(false),
            InfoBridgePort::Mab(false),
        ])
    }
}

impl PortFlags {
    /// What an uplink's are to be.
    pub(super) fn uplink(learning: bool, neigh_suppress: bool) -> Self {
        let mut flags = Self::default();
        flags.note(&InfoBridgePort::Isolated(true));
        flags.note(&InfoBridgePort::Learning(learning));
        flags.note(&InfoBridgePort::NeighSupress(neigh_suppress));
        flags
    }

    /// Takes note of what the kernel says of a port, if it is one of these flags.
    pub(super) fn note(&mut self, info: &InfoBridgePort) {
        let same = |flag: &&mut InfoBridgePort| discriminant(*flag) == discriminant(info);
        if let Some(flag) = self.0.iter_mut().find(same) {
            flag.clone_from(info);
        }
    }

    /// Those of `self` that are not so in `found`.
    fn missing_in(self, found: &Self) -> Vec<InfoBridgePort> {
        let pairs = self.0.into_iter().zip(&found.0);
        pairs.filter(|(wanted, found)| wanted != *found).map(|(wanted, _)| wanted).collect()
    }
}

impl Wiring {
    /// Makes a link a port of the bridge. It is down afterwards.
    pub(super) async fn plug(&self, link: &mut Link, bridge: &Link) -> Result<(), WiringError> {
        let down = LinkUnspec::new_with_index(link.index).down().build();
        self.links.change(down, "setting an uplink down").await?;
        link.up = false;
        let plug = LinkUnspec::new_with_index(link.index).controller(bridge.index).build();
        self.links.change(plug, "plugging an uplink into the bridge").await?;
        // What was read is of the port it was before, if it was one.
        (link.port, link.is_stopped) = (PortFlags::default(), false);
        Ok(())
    }

    /// Sets those flags of an uplink's port that are not as they should be. Tells whether there were any.
    pub(super) async fn set_flags(
        &self,
        link: &Link,
        wanted: PortFlags,
    ) -> Result<bool, WiringError> {
        let missing = wanted.missing_in(&link.port);
        if missing.is_empty() {
            return Ok(false);
        }
        let port = LinkBridgePort::new(link.index);
        let flags =
            missing.into_iter().fold(port, LinkMessageBuilder::<LinkBridgePort>::append_info_data);
        self.links.change(flags.build(), "setting an uplink's port flags").await?;
        Ok(true)
    }

    /// Lets an uplink's port forward again that somebody has stopped. Where STP is on, that is STP's.
    pub(super) async fn set_forwarding(
        &self,
        link: &Link,
        bridge: &Link,
        change: Change,
        installed: &mut Installed,
    ) -> Result<(), WiringError> {
        if !link.is_stopped || bridge.stp {
            return Ok(());
        }
        let port = LinkBridgePort::new(link.index).state(BridgePortState::Forwarding).build();
        self.links.change(port, "letting an uplink's port forward").await?;
        installed.done.push(change);
        Ok(())
    }
}
