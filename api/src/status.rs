//! What `weft status` shows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cidr, Consensus, IpamState};

/// The daemon at a glance. Services that come later (`dns`) are optional sections beside `router`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// The daemon's release.
    pub version: String,
    /// When the daemon started.
    pub started: Timestamp,
    /// Whether all steps of starting are done. Until then the answer's code is 503.
    pub ready: bool,
    /// The steps of starting that are not done.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    /// The switch and the mesh.
    pub router: Router,
    /// The management of addresses; `null` where there is none.
    pub ipam: Option<IpamStatus>,
}

/// The management of addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IpamStatus {
    /// Whether addresses can be had here.
    pub state: IpamState,
    /// Why it is not ready, and what to do.
    pub reason: Option<String>,
    /// The agreement on the first division; `null` unless it is awaited.
    pub consensus: Option<Consensus>,
    /// All addresses that there are.
    pub range: Cidr,
    /// From where an address is, if nobody says.
    pub default_subnet: Cidr,
}

/// The switch and the mesh.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Router {
    /// The versions of the mesh's protocol that this node speaks.
    pub protocol: Protocol,
    /// The node's name: 48 bits in the form of a MAC address.
    pub name: String,
    /// What people call the node.
    pub nickname: String,
    /// This start of the node: 16 hexadecimal digits.
    #[serde(default)]
    pub uid: String,
    /// How often the node has started.
    #[serde(default)]
    pub incarnation: u64,
    /// How the kernel's fast path is: `on`, or `off` and why.
    #[serde(default)]
    pub fast: String,
    /// Who receives UDP 6784: `kernel`, `process`, or `process, plain socket`.
    #[serde(default)]
    pub receive: String,
    /// Whether pods' frames are encrypted between nodes.
    pub encryption: bool,
    /// Whether peers must prove that they know a password.
    #[serde(default)]
    pub password: bool,
    /// Whether addresses that were learned from peers are dialled.
    pub discovery: bool,
    /// Peers that were given by the operator.
    pub targets: u64,
    /// This node's connections, by state.
    pub connections: ConnectionCounts,
    /// Peers that are up or silent, this one among them.
    pub peers: u64,
    /// Those of them that are silent.
    #[serde(default)]
    pub silent: u64,
    /// Connections of all peers that both of their ends state; each end counts.
    pub established: u64,
    /// Connections of all peers that only one end states.
    pub pending: u64,
    /// Subnets within which frames are not encrypted, as CIDR.
    #[serde(default)]
    pub trusted_subnets: Vec<String>,
}

/// A range of versions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Protocol {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

/// Connections, counted by [`crate::ConnectionState`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ConnectionCounts {
    /// Links.
    pub established: u64,
    /// Connections without a finished handshake.
    pub pending: u64,
    /// Links that were lost and are to be made again.
    pub retrying: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Connections that are being made.
    pub connecting: u64,
}

impl ConnectionCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        [self.established, self.pending, self.retrying, self.failed, self.connecting]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}
