//! What there is to tell of the address range at one moment.

use std::net::IpAddr;
use std::time::Duration;

use api::{Cidr, Conflict, Consensus, Here, IpamState};
use peer_mesh::PeerName;

/// The address range, as this node has it. Moments are by the clock of `now`; how peers are seen is added from the mesh.
#[derive(Clone, Debug)]
pub struct IpamLook {
    /// When.
    pub now: Duration,
    /// Whether addresses can be had here.
    pub state: IpamState,
    /// Why it is not ready, and what to do.
    pub reason: Option<String>,
    /// All addresses that there are.
    pub range: Cidr,
    /// From where an address is, if nobody says.
    pub default_subnet: Cidr,
    /// The ring that divides the range.
    pub ring: Option<u64>,
    /// Under which this node owns addresses.
    pub epoch: Option<u64>,
    /// This node's part.
    pub here: Here,
    /// The agreement on the first division, while it is awaited.
    pub consensus: Option<Consensus>,
    /// Who owns addresses, in any order: without those that were removed.
    pub owners: Vec<OwnerLook>,
    /// Those that were removed and whose addresses nobody has taken over yet, in any order.
    pub removals: Vec<RemovalLook>,
    /// Addresses that nobody owns at the moment.
    pub unowned: u64,
    /// What contradicts itself.
    pub conflicts: Vec<Conflict>,
    /// Leases here of addresses that another node owns now.
    pub lost: Vec<LostLook>,
    /// Requests that wait.
    pub pending: Vec<PendingLook>,
}

/// Who owns addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerLook {
    /// Its name.
    pub name: PeerName,
    /// As the ring has it: for peers that the mesh has forgotten.
    pub nickname: String,
    /// Under which it owns them.
    pub epoch: u64,
    /// Whether it is known to own under another epoch now: this one is nobody's any more.
    pub replaced: bool,
    /// How many.
    pub addresses: u64,
    /// How many of them are free, as it last said.
    pub free: Option<u64>,
    /// Whether it is there, and manages no addresses of the range.
    pub apart: bool,
}

/// An owner that was removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemovalLook {
    /// Its name.
    pub name: PeerName,
    /// As the ring has it.
    pub nickname: String,
    /// The epoch that was removed.
    pub epoch: u64,
    /// How many it had; 0 if this node has not seen it removed.
    pub addresses: u64,
    /// For whom that waits, and why.
    pub waiting_for: Vec<(PeerName, String)>,
}

/// A lease here of an address that another node owns now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostLook {
    /// The address.
    pub address: IpAddr,
    /// Who has it here.
    pub id: String,
    /// Who owns it.
    pub owner: PeerName,
}

/// A request that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingLook {
    /// For whom.
    pub id: String,
    /// Which address is claimed; `None` for any.
    pub address: Option<IpAddr>,
    /// Since when.
    pub since: Duration,
    /// For what.
    pub waiting_for: String,
}

impl IpamLook {
    /// How many addresses the range has.
    pub(super) fn addresses(&self) -> u64 {
        let bits: u32 = if self.range.addr().is_ipv4() { 32 } else { 128 };
        let free = bits.saturating_sub(u32::from(self.range.prefix()));
        1_u64.checked_shl(free).unwrap_or(u64::MAX)
    }
}
