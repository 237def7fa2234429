//! What `weft fdb` shows.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{PathKind, PeerRef};

/// Where stations are, as the daemon believes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fdb {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// How many there are; of more than 65 536 the rest is not told.
    pub total: u64,
    /// By MAC address.
    pub stations: Vec<Station>,
}

/// A station: a MAC address that sends and receives frames.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Station {
    /// Its MAC address.
    pub mac: String,
    /// Whether it is on this node.
    pub here: bool,
    /// Behind which peer it is; this node itself if it is here.
    pub peer: PeerRef,
    /// By which means frames reach it; `null` if it is here.
    pub path: Option<PathKind>,
    /// The addresses that it is known to have.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Since when it is there; `null` where that is not known.
    pub since: Option<Timestamp>,
    /// Whether its node has announced it; else only frames have told of it.
    #[serde(default)]
    pub announced: bool,
}
