//! What there is to see of a mesh at one moment, and the last such look, for those to whom that is enough.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::gate::Refused;
use super::givers::Given;
use super::input::Clock;
use crate::{GonePeer, LinkView, Mesh, PeerName, PeerState, PeerUid, Pending, Stats, Target};

/// What a mesh looks like at one moment. Times are since its start.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub now: Duration,
    /// Our name.
    pub name: PeerName,
    /// This start of us.
    pub uid: PeerUid,
    /// A hash of everything we believe: equal on peers that believe the same.
    pub root: u64,
    /// Ourselves, as the others are told.
    pub own: Option<PeerView>,
    /// Every other peer that is up or silent, by name.
    pub peers: Vec<PeerView>,
    /// Peers that are gone, by name, while they are remembered.
    pub gone: Vec<GonePeer>,
    /// Our links, by name.
    pub links: Vec<LinkView>,
    /// Connections that are no links, or not yet, the oldest first.
    pub pending: Vec<Pending>,
    /// The peers that were given, addresses first.
    pub given: Vec<Given>,
    /// What we dial.
    pub targets: Vec<Target>,
    /// What the core counted.
    pub stats: Stats,
    /// What the shell counted.
    pub shell: ShellStats,
}

impl Snapshot {
    /// How old a recent one is at most.
    pub const RECENT: Duration = Duration::from_millis(100);

    /// Of a mesh that has not started: nobody is there.
    pub fn empty(name: PeerName, uid: PeerUid) -> Self {
        Self {
            now: Duration::ZERO,
            name,
            uid,
            root: 0,
            own: None,
            peers: Vec::new(),
            gone: Vec::new(),
            links: Vec::new(),
            pending: Vec::new(),
            given: Vec::new(),
            targets: Vec::new(),
            stats: Stats::default(),
            shell: ShellStats::default(),
        }
    }

    /// What the core shows; the rest is the shell's.
    pub(super) fn of(mesh: &Mesh, given: Vec<Given>, shell: ShellStats, now: Duration) -> Self {
        Self {
            now,
            name: mesh.name(),
            uid: mesh.uid(),
            root: mesh.root(),
            own: mesh.own().map(PeerView::from),
            peers: mesh.peers().map(PeerView::from).collect(),
            gone: mesh.gone().collect(),
            links: mesh.links().collect(),
            pending: mesh.pending().collect(),
            given,
            targets: mesh.targets().collect(),
            stats: mesh.stats(),
            shell,
        }
    }
}

/// A peer, as its own record describes it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Its name.
    pub name: PeerName,
    /// This start of it.
    pub uid: PeerUid,
    /// Its nickname.
    pub nickname: String,
    /// How it is seen.
    pub state: PeerState,
    /// Since when.
    pub since: Duration,
    /// Its neighbours.
    pub links: Vec<PeerName>,
    /// Those that it says are neighbours, and who do not say so.
    pub one_sided: Vec<PeerName>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// How often it has started.
    pub incarnation: u64,
    /// When it started, in seconds since 1970 by its own clock; 0 if it does not say.
    pub started: u64,
    /// Whether somebody chose its name.
    pub explicit: bool,
    /// Whether it holds address leases under its name.
    pub leases: bool,
    /// What it wants known.
    pub labels: BTreeMap<String, String>,
    /// What its data plane can do, as bits the router defines.
    pub capabilities: u64,
    /// The peers that it does not reach on the data path.
    pub unreached: Vec<PeerName>,
    /// Whether there are more of them than it lists.
    pub isolated: bool,
}

impl From<crate::Peer<'_>> for PeerView {
    fn from(peer: crate::Peer<'_>) -> Self {
        Self {
            name: peer.name,
            uid: peer.uid,
            nickname: peer.nickname.to_owned(),
            state: peer.state,
            since: peer.since,
            links: peer.links,
            one_sided: peer.one_sided,
            addresses: peer.addresses,
            incarnation: peer.record.stamp().incarnation,
            started: peer.record.started(),
            explicit: peer.record.explicit(),
            leases: peer.record.leases(),
            labels: peer.record.labels().map(owned).collect(),
            capabilities: peer.record.capabilities(),
            unreached: peer.record.unreached().collect(),
            isolated: peer.record.isolated(),
        }
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Counters of the shell; each only grows, but for the sizes at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ShellStats {
    /// Connections refused before a handshake.
    pub refused: Refused,
    /// Accepts that failed, as for want of descriptors.
    pub accept_errors: u64,
    /// Events that the reader was too slow for.
    pub events_lost: u64,
    /// `Refused` events beyond those that may wait for the reader. They are not among the lost.
    pub refusals_untold: u64,
    /// State that could not be stored.
    pub state_failures: u64,
    /// Connections cut because more waited to be written than a connection may have.
    pub overruns: u64,
    /// Connections that came in and have no finished handshake.
    pub unfinished: usize,
}

/// The last snapshot that anybody asked for.
///
/// # Thread-safety
/// The loop and all handles share it; each holds the lock for as long as it takes to copy a pointer.
#[derive(Debug)]
pub(super) struct Recent {
    clock: Clock,
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl Recent {
    /// None yet.
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, last: Mutex::default() })
    }

    /// The last one, while it is recent.
    pub(super) fn get(&self) -> Option<Arc<Snapshot>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.clock.now().saturating_sub(Snapshot::RECENT);
        last.clone().filter(|snapshot| snapshot.now >= oldest)
    }

    /// Here is a new one.
    pub(super) fn set(&self, snapshot: &Arc<Snapshot>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Arc::clone(snapshot));
    }
}
