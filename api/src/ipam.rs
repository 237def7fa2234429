//! What `weft status ipam` shows.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Cidr;
use crate::word::words;

/// The address range: who owns which part of it, and what is not as it should be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ipam {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// Whether addresses can be had here.
    pub state: IpamState,
    /// Why it is not ready, and what to do.
    pub reason: Option<String>,
    /// All addresses that there are; `null` where none are managed.
    pub range: Option<Cidr>,
    /// From where an address is, if nobody says; `null` likewise.
    pub default_subnet: Option<Cidr>,
    /// How many addresses the range has.
    pub addresses: u64,
    /// The ring that divides the range: 16 hexadecimal digits; `null` while there is none.
    pub ring: Option<String>,
    /// This node's name.
    pub name: String,
    /// Under which this node owns: 16 hexadecimal digits, made with the state file; `null` without one.
    pub epoch: Option<String>,
    /// This node's part.
    pub here: Here,
    /// The agreement on the first division; `null` unless it is awaited.
    pub consensus: Option<Consensus>,
    /// Who owns addresses, in the order in which to show them: this node first.
    #[serde(default)]
    pub owners: Vec<Owner>,
    /// Owners that were removed, and whose addresses nobody has taken over yet.
    #[serde(default)]
    pub removals: Vec<Removing>,
    /// Addresses that nobody owns at the moment.
    #[serde(default)]
    pub unowned: u64,
    /// What contradicts itself.
    #[serde(default)]
    pub conflicts: Vec<Conflict>,
    /// Leases here of addresses that another node owns now.
    #[serde(default)]
    pub lost: Vec<LostLease>,
    /// Requests that wait, the oldest first.
    #[serde(default)]
    pub pending: Vec<PendingRequest>,
}

/// A node's part of the range.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Here {
    /// Addresses that it owns.
    pub owned: u64,
    /// Those of them that are leased.
    pub leased: u64,
    /// Those that can be leased.
    pub free: u64,
    /// Those that were freed a moment ago, and rest while there are others.
    pub resting: u64,
    /// The addresses of its bridge.
    pub exposed: Vec<Cidr>,
}

/// An agreement that is awaited.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Consensus {
    /// How many nodes have to take part.
    pub needed: u64,
    /// How many are known, this one among them.
    pub known: u64,
}

/// A node that owns addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
    /// Under which it owns them: 16 hexadecimal digits.
    pub epoch: String,
    /// How many.
    pub addresses: u64,
    /// How many of them are free, as it last said; `null` if it has not.
    pub free: Option<u64>,
    /// How it is seen from here.
    pub state: OwnerState,
}

/// An owner that was removed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Removing {
    /// Its name.
    pub name: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
    /// The epoch that was removed: 16 hexadecimal digits.
    pub epoch: String,
    /// How many it had; 0 if the daemon has not seen it removed.
    pub addresses: u64,
    /// For whom that waits; empty once somebody may take them over.
    #[serde(default)]
    pub waiting_for: Vec<Awaited>,
}

/// A peer that something waits for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Awaited {
    /// Its name.
    pub name: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
    /// Why, as `unreachable`.
    pub reason: String,
}

/// What contradicts itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Conflict {
    /// What.
    pub what: String,
    /// What to do about it.
    pub what_to_do: String,
}

/// A lease here of an address that another node owns now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LostLease {
    /// The address.
    pub address: IpAddr,
    /// Who has it here.
    pub id: String,
    /// The name of the node that owns it.
    pub owner: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
}

/// A request for an address that waits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PendingRequest {
    /// For whom.
    pub id: String,
    /// Which address is claimed; `null` for any.
    pub address: Option<IpAddr>,
    /// Since when.
    pub since: Timestamp,
    /// For what.
    pub waiting_for: String,
}

words! {
    /// Whether addresses can be had.
    IpamState {
        /// This node manages none.
        Off = "off",
        /// Nobody has asked yet: the range is not divided.
        Idle = "idle",
        /// Nodes agree on the first division.
        AwaitingConsensus = "awaiting consensus",
        /// This node has no say in that, and waits for the others.
        Priming = "priming",
        /// The range is divided, and this node has not heard from the others how.
        Joining = "joining",
        /// They can.
        Ready = "ready",
        /// Requests wait for addresses.
        Waiting = "waiting",
        /// Nothing can be saved, as on a disk without room: nothing is leased until it can.
        Unsaved = "unsaved",
        /// What this node has stored is older than what others know of it: it leases nothing new.
        Quarantined = "quarantined",
        /// What this node has stored does not fit: it leases nothing.
        Refused = "refused",
        /// This node has handed all that it owned to another, and leases nothing any more.
        Left = "left",
    }
}

words! {
    /// How an owner is seen from here.
    OwnerState {
        /// It is this node.
        Own = "self",
        /// It is reached.
        Up = "up",
        /// It is reached, and manages no addresses of the range.
        Apart = "apart",
        /// It is not reached, but its hold time has not passed.
        Silent = "silent",
        /// It is gone, or owns under another epoch now.
        Gone = "gone",
    }
}
