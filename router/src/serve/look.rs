//! What there is to tell of a daemon at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{PeerRef, Timestamp};
use peer_mesh::PeerName;
use peer_mesh::shell::{PeerView, Snapshot};

use super::ipam::IpamLook;
use crate::liveness::{Line, Verdict};
use crate::node::Whereabouts;

/// Everything that answers are made of, at one moment. Moments are by the mesh's clock, as in the snapshot.
#[derive(Clone, Debug)]
pub struct Look {
    /// The wall clock when the mesh's was at `mesh.now`.
    pub now: Timestamp,
    /// When the daemon started.
    pub started: Timestamp,
    /// Whether all steps of starting are done.
    pub ready: bool,
    /// The steps that are not, in words.
    pub waiting_for: Vec<String>,
    /// Whether peers must prove that they know a password.
    pub password: bool,
    /// Whether addresses that were learned from peers are dialled.
    pub discovery: bool,
    /// What people call this node.
    pub nickname: String,
    /// How the kernel's fast path is: `on`, or `off` and why.
    pub fast: String,
    /// Who receives UDP 6784.
    pub receive: String,
    /// Who is there, and who reaches whom.
    pub mesh: Arc<Snapshot>,
    /// How frames go to each other peer.
    pub paths: BTreeMap<PeerName, PathLook>,
    /// Who owns which addresses; `None` where none are managed.
    pub ipam: Option<Arc<IpamLook>>,
    /// The switch's counters, by group and name: see [`super::counters()`].
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// The kernel, and what it can do.
    pub kernel: api::Kernel,
    /// How long events wait.
    pub control: api::Control,
}

/// How frames go to a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathLook {
    /// By which means.
    pub path: switch::Path,
    /// The peers that carry them, first hop first; empty unless it is a relay.
    pub via: Vec<PeerName>,
    /// Since when.
    pub since: Duration,
    /// Why this one and none that is better; `None` when it is the best there is.
    pub reason: Option<String>,
    /// How often it has changed.
    pub switches: u64,
    /// The largest packet that a pod may send; `None` when there is no way.
    pub mtu: Option<u16>,
    /// The time there and back, as probes have it.
    pub rtt: Option<Duration>,
    /// When the peer is probed next.
    pub next_probe: Option<Duration>,
    /// How each direct line is, as probes tell.
    pub lines: Vec<(Line, Verdict)>,
    /// Stations behind it.
    pub stations: u64,
    /// Whether what is exchanged with it is counted; if not, none of it is known.
    pub counted: bool,
    /// What was sent to the peer, on any path.
    pub sent: api::Traffic,
    /// What came from the peer, on any path.
    pub received: api::Traffic,
    /// Frames to or from the peer that were dropped.
    pub drops: u64,
}

/// Where stations are, at one moment.
#[derive(Clone, Debug)]
pub struct FdbLook {
    /// Who is there, and how frames go to them.
    pub look: Arc<Look>,
    /// When, by the clock of the rows.
    pub now: Duration,
    /// The stations that are told, by MAC address.
    pub rows: Vec<Whereabouts>,
    /// How many there are.
    pub total: usize,
}

/// How a peer stands to this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// There is a link with it.
    Linked,
    /// Others reach it.
    Up,
    /// It is silent.
    Silent,
    /// It is gone, or nobody has heard of it.
    Absent,
}

impl Look {
    /// A moment of the mesh's clock by the wall clock, in whole milliseconds.
    pub(super) fn at(&self, moment: Duration) -> Timestamp {
        let ms = |moment: Duration| i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
        let since = ms(self.mesh.now).saturating_sub(ms(moment));
        let at = self.now.as_millisecond().saturating_sub(since);
        Timestamp::from_millisecond(at).unwrap_or(self.now)
    }

    /// So long ago, by the wall clock.
    pub(super) fn ago(&self, time: Duration) -> Timestamp {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let at = self.now.as_millisecond().saturating_sub(ms);
        Timestamp::from_millisecond(at).unwrap_or(self.now)
    }

    /// When something is due: at once, if it has been for a while.
    pub(super) fn due(&self, moment: Duration) -> Timestamp {
        self.at(moment.max(self.mesh.now))
    }

    pub(super) fn peer(&self, name: PeerName) -> Option<&PeerView> {
        let peers = &self.mesh.peers;
        peers.binary_search_by_key(&name, |it| it.name).ok().and_then(|at| peers.get(at))
    }

    /// What people call a peer, ourselves included; empty for one that is not known.
    pub(super) fn nickname(&self, name: PeerName) -> &str {
        if name == self.mesh.name {
            return &self.nickname;
        }
        let gone = &self.mesh.gone;
        let gone =
            || gone.binary_search_by_key(&name, |it| it.name).ok().and_then(|at| gone.get(at));
        let known = self.peer(name).map(|it| it.nickname.as_str());
        known.or_else(|| gone().map(|it| it.nickname.as_str())).unwrap_or_default()
    }

    pub(super) fn refer(&self, name: PeerName) -> PeerRef {
        PeerRef { name: name.to_string(), nickname: self.nickname(name).to_owned() }
    }

    pub(super) fn is_linked(&self, name: PeerName) -> bool {
        self.mesh.links.binary_search_by_key(&name, |it| it.name).is_ok()
    }

    pub(super) fn standing(&self, name: PeerName) -> Standing {
        if self.is_linked(name) {
            return Standing::Linked;
        }
        match self.peer(name).map(|it| it.state) {
            Some(peer_mesh::PeerState::Up) => Standing::Up,
            Some(peer_mesh::PeerState::Silent) => Standing::Silent,
            Some(peer_mesh::PeerState::Gone) | None => Standing::Absent,
        }
    }
}
