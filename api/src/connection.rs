//! What `weft status connections` shows.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::word::words;
use crate::{PathKind, PeerRef};

/// This node's connections, and those it wants.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connections {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// In the order in which to show them.
    pub connections: Vec<Connection>,
}

/// A connection of this node to a peer, or to an address where one may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connection {
    /// Whether this node dials, or has dialled.
    pub outbound: bool,
    /// The far end, over TCP.
    pub addr: SocketAddr,
    /// How far it has come.
    pub state: ConnectionState,
    /// The peer's name, once it is known.
    pub name: Option<String>,
    /// The peer's nickname, once it is known.
    pub nickname: Option<String>,
    /// Whether frames to this peer are encrypted.
    pub encrypted: bool,
    /// The path that frames to this peer take; `null` while there is no peer.
    pub path: Option<PathKind>,
    /// The peers that carry the frames there, the first hop first; empty unless `path` is `relay`.
    #[serde(default)]
    pub via: Vec<PeerRef>,
    /// The largest packet that a pod may send on that path, in octets.
    pub mtu: Option<u32>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why it is in this state, when there is more to say than the state does.
    pub reason: Option<String>,
    /// Attempts that have failed since the last one that did not.
    #[serde(default)]
    pub attempts: u32,
    /// When it is tried again; `null` for never, and while it stands or is being made.
    pub next_try: Option<Timestamp>,
}

words! {
    /// How far a connection has come.
    ConnectionState {
        /// It is a link: both ends are who they say, and gossip crosses it.
        Established = "established",
        /// The TCP connection stands, the handshake is not finished.
        Pending = "pending",
        /// It was a link, was lost, and will be tried again.
        Retrying = "retrying",
        /// It could not be made; `next_try` says whether it will be tried again.
        Failed = "failed",
        /// The TCP connection is being made.
        Connecting = "connecting",
    }
}
