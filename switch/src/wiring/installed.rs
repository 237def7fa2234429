use super::FastState;
use crate::Mac;

/// Where bridge and uplinks are, and what had to be done for that.
#[derive(Debug, Default)]
pub struct Installed {
    /// The bridge's interface index.
    pub bridge: u32,
    /// The TAP's interface index.
    pub tap: u32,
    /// The vxlan device's interface index, if there is one, up or not.
    pub fast_port: Option<u32>,
    /// What has become of the vxlan device.
    pub fast: FastState,
    /// The bridge's address.
    pub mac: Option<Mac>,
    /// What was done, in the order it was done; empty when all was as it should be.
    pub done: Vec<Change>,
    /// Settings of an adopted bridge that differ from what weft would have chosen.
    pub differing: Vec<&'static str>,
}

/// Something that was done to a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The bridge was made.
    BridgeMade,
    /// The bridge had another name, and was given its own.
    BridgeRenamed,
    /// The bridge's MTU was set.
    BridgeMtu,
    /// The bridge was set up.
    BridgeUp,
    /// The TAP was made.
    TapMade,
    /// A TAP that an earlier run had under another name was removed.
    StaleTapRemoved,
    /// The TAP was made a port of the bridge.
    TapPlugged,
    /// The TAP's port flags were set.
    TapFlags,
    /// The TAP's MTU was set.
    TapMtu,
    /// The TAP was set up.
    TapUp,
    /// The TAP's port was let forward again.
    TapForwards,
    /// The vxlan device was made.
    FastMade,
    /// A link of the vxlan device's name that was not as it has to be was removed, for the device to have it.
    FastReplaced,
    /// The vxlan device had another name, and was given its own.
    FastRenamed,
    /// A vxlan device of ours that was in the way of the one that is kept was removed.
    StaleFastRemoved,
    /// The vxlan device was marked as ours.
    FastMarked,
    /// The vxlan device was kept from making itself IPv6 addresses.
    FastSilenced,
    /// The vxlan device was made a port of the bridge.
    FastPlugged,
    /// The vxlan device's port flags were set.
    FastFlags,
    /// The vxlan device's MTU was set.
    FastMtu,
    /// The vxlan device was set up.
    FastUp,
    /// The vxlan device's port was let forward again.
    FastForwards,
}

impl Installed {
    /// Whether a port of the bridge is an uplink: no station of this node is behind it.
    pub fn is_uplink(&self, port: u32) -> bool {
        port == self.tap || Some(port) == self.fast_port
    }
}
