//! What `weft status paths` shows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PeerRef;
use crate::word::words;

/// The ways that frames take from this node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Paths {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// One for each other peer, in the order in which to show them.
    pub paths: Vec<Path>,
}

/// The way that frames to a peer take.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Path {
    /// To whom.
    pub peer: PeerRef,
    /// By which means.
    pub path: PathKind,
    /// The peers that carry the frames there, the first hop first; empty unless `path` is `relay`.
    #[serde(default)]
    pub via: Vec<PeerRef>,
    /// Since when.
    pub since: Timestamp,
    /// Why this one and none that is better; `null` when it is the best there is.
    pub reason: Option<String>,
    /// How often frames have begun to take another way since the peer is known.
    #[serde(default)]
    pub switches: u64,
    /// The largest packet that a pod may send on it, in octets.
    pub mtu: Option<u32>,
    /// The time there and back of probes on the line in use, smoothed, in microseconds; `null` without probes.
    pub rtt_us: Option<u64>,
    /// When the peer is probed next, on whichever line; `null` without probes.
    pub next_probe: Option<Timestamp>,
    /// How each direct line to the peer is, as probes tell; empty without probes.
    #[serde(default)]
    pub lines: BTreeMap<PathKind, LineState>,
    /// What was sent to the peer since the daemon started, on any path.
    pub sent: Traffic,
    /// What came from the peer since the daemon started, on any path.
    pub received: Traffic,
    /// Frames to or from the peer that were dropped since the daemon started.
    pub drops: u64,
}

/// Frames in one direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// Their octets, without those of the tunnel.
    pub octets: u64,
}

words! {
    /// The means by which frames reach a peer, the best first.
    PathKind {
        /// VXLAN by the kernel, UDP 6784.
        Fast = "fast",
        /// VXLAN by the daemon, UDP 6784.
        User = "user",
        /// From daemon to daemon, UDP 6783.
        Sleeve = "sleeve",
        /// Through other peers, UDP 6783.
        Relay = "relay",
        /// None works.
        Down = "down",
    }
}

words! {
    /// How a direct line to a peer is.
    LineState {
        /// Probes on it are answered, in both directions.
        Up = "up",
        /// Nothing is known yet: it is taken to work.
        Assumed = "assumed",
        /// They are not, in one direction at least.
        Down = "down",
    }
}
