use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{PeerName, Psk};

/// What a [`Mesh`](crate::Mesh) is told once, at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name, and whether somebody chose it: a chosen name is never changed, only refused.
    pub name: PeerName,
    /// Whether the operator gave the name.
    pub explicit: bool,
    /// What people call this peer; usually the host's name.
    pub nickname: String,
    /// Addresses others may dial. Empty: the local addresses of our connections, with `port`.
    pub addresses: Vec<SocketAddr>,
    /// The TCP port we listen on.
    pub port: u16,
    /// Shared secret; [`Psk::open`] for a mesh without a password.
    pub psk: Psk,
    /// Starting points: addresses to dial until the peers there are in the mesh.
    pub targets: Vec<SocketAddr>,
    /// Whether peers that others tell us of are dialled too.
    pub discovery: bool,
    /// Links we keep; a peer with more closes the surplus.
    pub degree: usize,
    /// A silent peer is gone after this time.
    pub hold: Duration,
    /// When this process started, in seconds since 1970 by the wall clock: decides between two peers of one name
    /// that have both just come, or have both been there for a while.
    pub started: u64,
    /// Anything others may want to know, such as a zone. Short.
    pub labels: BTreeMap<String, String>,
    /// What this peer's data plane can do, as bits the router defines.
    pub capabilities: u64,
    /// Whether we hold address leases under this name: then it is the other one of two that gives way.
    pub leases: bool,
}

impl Config {
    /// The port of the control protocol (Weave Net's, kept).
    pub const PORT: u16 = 6783;
    /// Links a peer keeps. Two on each side of the ring of names and two per doubling of the mesh are
    /// 24 at 1 000 peers and 30 at 8 000.
    pub const DEGREE: usize = 32;
    /// Long enough for a host to reboot, short enough that its stations do not linger.
    pub const HOLD: Duration = Duration::from_secs(120);

    /// A peer with this name, the defaults, and nobody to dial.
    pub fn new(name: PeerName) -> Self {
        Self {
            name,
            explicit: false,
            nickname: String::new(),
            addresses: Vec::new(),
            port: Self::PORT,
            psk: Psk::open(),
            targets: Vec::new(),
            discovery: true,
            degree: Self::DEGREE,
            hold: Self::HOLD,
            started: 0,
            labels: BTreeMap::new(),
            capabilities: 0,
            leases: false,
        }
    }
}

/// What outlives a process: the shell stores it whenever [`Event::Save`](crate::Event::Save) says so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Saved {
    /// The highest incarnation used under this name.
    pub incarnation: u64,
    /// Addresses where peers were, the best first.
    pub book: Vec<Known>,
}

/// An address in the book.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    /// Where to dial.
    pub addr: SocketAddr,
    /// Who was there.
    pub name: Option<PeerName>,
}
