//! What `weft status peers` shows.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::word::words;

/// All peers that are known, this one first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Peers {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// In the order in which to show them.
    pub peers: Vec<Peer>,
}

/// A peer, as it describes itself and as this node sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Peer {
    /// Its name: 48 bits in the form of a MAC address.
    pub name: String,
    /// What people call it; any text.
    pub nickname: String,
    /// This start of it: 16 hexadecimal digits.
    pub uid: String,
    /// How often it has started.
    pub incarnation: u64,
    /// How it is seen from here.
    pub state: PeerState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why, when there is more to say than the state does.
    pub reason: Option<String>,
    /// Its connections.
    #[serde(default)]
    pub connections: Vec<PeerConnection>,
    /// Where it listens.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
}

/// A connection of a peer to another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerConnection {
    /// The other peer's name.
    pub name: String,
    /// The other peer's nickname.
    pub nickname: String,
    /// Whether both ends state it.
    pub established: bool,
    /// Whether the peer dialled; `null` where this node cannot know.
    pub outbound: Option<bool>,
    /// The far end, over TCP; `null` where this node cannot know.
    pub addr: Option<SocketAddr>,
}

/// Which peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerRef {
    /// Its name.
    pub name: String,
    /// Its nickname.
    #[serde(default)]
    pub nickname: String,
}

words! {
    /// How a peer is seen from here.
    PeerState {
        /// Reached over links that both ends state.
        Up = "up",
        /// Not reached, but its hold time has not passed: what it owns is kept.
        Silent = "silent",
        /// It left, was removed, or was silent for longer than the hold time.
        Gone = "gone",
    }
}
