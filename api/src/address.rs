//! Addresses: who asks for one, what is leased, and what becomes of those of nodes that are gone.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Awaited, Cidr};

/// Asks for an address. Whoever has one in that subnet gets the same.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Allocate {
    /// For whom: 1 to 256 octets, without control characters.
    pub id: String,
    /// From where; the default subnet if it is absent.
    pub subnet: Option<Cidr>,
}

/// Asks for a certain address, as when a container has it already.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// For whom.
    pub id: String,
    /// Which one, and in which subnet.
    pub address: Cidr,
}

/// The answer to both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Leased {
    /// Who has it.
    pub id: String,
    /// The address, with the subnet's prefix.
    pub address: Cidr,
}

/// Asks which addresses somebody has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lookup {
    /// Who.
    pub id: String,
    /// Only those in this subnet; all if it is absent.
    pub subnet: Option<Cidr>,
}

/// Gives addresses back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Free {
    /// Whose.
    pub id: String,
    /// Which one; all of them if it is absent.
    pub address: Option<IpAddr>,
}

/// Addresses that are, or were, leased on this node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Leases {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// By address.
    pub leases: Vec<Lease>,
}

/// An address that somebody has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lease {
    /// Who.
    pub id: String,
    /// The address, with the subnet's prefix.
    pub address: Cidr,
    /// Since when.
    pub since: Timestamp,
}

/// Removes a peer: others take its addresses over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RemovePeer {
    /// Its name or nickname.
    pub name: String,
    /// Although it is up.
    #[serde(default)]
    pub force: bool,
}

/// A peer that was removed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
    /// The epochs that were removed: each of 16 hexadecimal digits.
    pub epochs: Vec<String>,
    /// Addresses that it owned.
    pub addresses: u64,
    /// For whom it waits that others take them over; empty if it waits for nobody.
    #[serde(default)]
    pub waiting_for: Vec<Awaited>,
}

/// Hands all addresses of this node to another.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Leave {}

/// Who has them now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Left {
    /// Its name; `null` if there was nobody to hand them to, or nothing to hand over.
    pub heir: Option<String>,
    /// Its nickname; `null` likewise.
    pub nickname: Option<String>,
    /// How many.
    pub addresses: u64,
}

/// Gives the bridge an address, so that this node and pods reach each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Expose {
    /// Which one; one is leased in the default subnet if it is absent.
    pub address: Option<Cidr>,
}

/// Takes an address from the bridge again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hide {
    /// Which one; all that it was given if it is absent.
    pub address: Option<Cidr>,
}

/// The answer to both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exposed {
    /// The addresses that the bridge has been given now.
    pub addresses: Vec<Cidr>,
}
