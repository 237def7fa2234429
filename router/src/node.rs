//! The control core: everything that happens on a node goes in, everything that is to be done comes out.
//!
//! [`Node::step`] takes what has happened at one moment and says what is to be done. It reads no clock and rolls no dice,
//! so the same inputs at the same times give the same outputs: that is what the flight recorder lives on.
//!
//! It owns the stations of this node (who is plugged into the bridge, and with which addresses) and announces them; takes
//! up what others announce; finds out who answers on the direct path; and folds all this with the mesh's topology into
//! plans. Its invariants: a station of ours that others believe in is on our bridge, or is taken back; a slot is not given
//! to another peer before what was learned of it is flushed; what was told to the outside is told again only if it has
//! changed.

mod io;
mod kept;
mod local;
mod settle;
mod size;
#[cfg(test)]
mod tests;
mod told;
mod whereabouts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::{Label, Mac, PeerId};

pub use io::{Input, Output, Peer, Word};
pub use whereabouts::Whereabouts;

use crate::liveness::{Finding, Liveness};
use crate::plan::{self, Chosen};
use crate::pmtu::Sizes;
use crate::station::{Stations, emit};
use crate::{Slots, choose_label};
use kept::Kept;
use local::Local;

/// The mesh's label for a peer's number on UDP 6783,
pub const LABEL: &str = "data.label";
/// for what all its paths carry,
pub const LEAST: &str = "data.mtu";
/// and for the ring of addresses that it began in.
pub const RING: &str = "ipam.ring";

/// What is announced together waits for this long.
const GATHER: Duration = Duration::from_millis(5);
/// How often what has aged is let go, and what was told to the mesh is told again.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// What the daemon was told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Config {
    /// For plans.
    pub plan: plan::Config,
    /// Whether frames go directly to peers that there is no link to.
    pub discovery: bool,
}

/// The control core.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Node {
    own: PeerName,
    label: Label,
    /// The ring of addresses that this node began in.
    ring: Option<u64>,
    config: Config,
    peers: BTreeMap<PeerName, Peer>,
    sizes: Sizes,
    stations: Stations,
    local: Local,
    slots: Slots,
    liveness: Liveness,
    /// What inputs of this step have brought to light.
    #[serde(skip)]
    found: Vec<Finding>,
    /// Whether there is a kernel device to send with.
    fast: bool,
    told: Told,
    /// Announcements of ours that wait, and until when.
    waiting: Vec<(PeerName, Mac)>,
    flush_at: Option<Duration>,
    housekeeping_at: Duration,
    settled_at: Option<Duration>,
    /// Peers of the last run of which the mesh has not told yet.
    kept: Kept,
    /// Peers that are gone and still have their slot.
    leaving: BTreeSet<PeerName>,
    topology_changed: bool,
    stations_changed: bool,
    counts: Counts,
}

/// What the outside was last told, so that it is told changes only.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Told {
    paths: BTreeMap<PeerName, Path>,
    placements: BTreeMap<Mac, Placement>,
    /// Which station has an address, and whether it is on this node.
    answers: BTreeMap<IpAddr, (Mac, bool)>,
    /// Which station had an address that is nobody's now, and until when: pods may still go by that.
    had: BTreeMap<IpAddr, (Mac, Duration)>,
    /// For which addresses, that were nobody's, pods here have asked, and when: somebody may have answered unheard.
    asked: BTreeMap<IpAddr, Duration>,
    /// Which stations say that they have an address.
    claims: BTreeSet<(IpAddr, Mac)>,
    digest: u64,
    labels: BTreeMap<String, String>,
    sources: Vec<IpAddr>,
    /// Peers that the mesh was told not to be reached directly.
    unreached: BTreeSet<PeerName>,
    no_slot: BTreeSet<PeerName>,
    /// Most peers answer nowhere.
    alone: bool,
    /// Of paths and placements.
    hash: u64,
}

/// How a peer is reached.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Path {
    /// Slot, address, MTU, path and reason.
    pub chosen: Chosen,
    /// Through whom, the first hop first.
    pub via: Vec<PeerName>,
    /// Since when.
    pub since: Duration,
    /// Whether the first of them is lost at the moment, so that frames go nowhere.
    pub stranded: bool,
    /// How often it has changed.
    pub switches: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Placement {
    id: PeerId,
    since: Duration,
}

/// What the core has counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Announcements of other peers that were news.
    pub merged: u64,
    /// Announcements that were known.
    pub known: u64,
    /// Announcements for which there was no room.
    pub full: u64,
    /// Messages that made no sense.
    pub malformed: u64,
    /// Announcements of our own.
    pub announced: u64,
    /// Stations of ours that were taken back.
    pub withdrawn: u64,
    /// Moves that were refused because there were too many.
    pub frozen: u64,
    /// Frames of stations here that bore the address of a peer's bridge, and were not believed.
    pub claimed: u64,
    /// Stations that came here from another node.
    pub moved_here: u64,
    /// Addresses that moved to another station.
    pub addresses_moved: u64,
    /// Plans made.
    pub plans: u64,
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes heard.
    pub probes_heard: u64,
}

impl Node {
    /// A node that knows nobody.
    pub fn new(own: PeerName, config: Config) -> Self {
        Self {
            own,
            label: choose_label(own, None, []),
            ring: None,
            config,
            peers: BTreeMap::new(),
            sizes: Sizes::default(),
            stations: Stations::default(),
            local: Local::default(),
            slots: Slots::default(),
            liveness: Liveness::default(),
            found: Vec::new(),
            fast: false,
            told: Told::default(),
            waiting: Vec::new(),
            flush_at: None,
            housekeeping_at: HOUSEKEEPING,
            settled_at: None,
            kept: Kept::default(),
            leaving: BTreeSet::new(),
            topology_changed: true,
            stations_changed: true,
            counts: Counts::default(),
        }
    }

    /// Takes what has happened up to `now`, and says what is to be done.
    pub fn step(&mut self, now: Duration, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.liveness.wake(now);
        for input in inputs {
            self.handle(input, now, &mut outputs);
        }
        let mut findings = std::mem::take(&mut self.found);
        findings.extend(self.liveness.handle_timeout(now));
        let changed = findings.iter().any(|it| matches!(it, Finding::Changed(_)));
        self.topology_changed |= changed;
        self.let_go(now);
        self.measure(now, &mut outputs);
        if now >= self.housekeeping_at {
            self.keep_house(now, &mut outputs);
        }
        self.teach(now, &mut outputs);
        self.settle(now, &mut outputs);
        if self.flush_at.is_some_and(|at| now >= at) {
            self.announce_waiting(&mut outputs);
        }
        // Now it is known where to.
        for finding in findings {
            if let Finding::Send(name, packet) = finding {
                self.send_probe(name, packet, &mut outputs);
            }
        }
        self.liveness.sleep(now);
        outputs
    }

    /// When [`Self::step`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Duration {
        let settle = self.settled_at.filter(|_| self.stations_changed).map(|at| at + self.rest());
        let (lines, sizes) = (self.liveness.poll_timeout(), self.sizes.poll_timeout());
        let timers = [lines, sizes, self.flush_at, settle, self.kept.until];
        timers.into_iter().flatten().fold(self.housekeeping_at, Duration::min)
    }

    /// What we are called.
    pub fn name(&self) -> PeerName {
        self.own
    }

    /// How each peer is reached.
    pub fn paths(&self) -> impl Iterator<Item = (PeerName, &Path)> {
        self.told.paths.iter().map(|(name, path)| (*name, path))
    }

    /// Which lines to each peer work.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// All stations, ours and others'.
    pub fn stations(&self) -> &Stations {
        &self.stations
    }

    /// A hash of how peers are reached and where stations are.
    pub fn hash(&self) -> u64 {
        self.told.hash
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn handle(&mut self, input: Input, now: Duration, outputs: &mut Vec<Output>) {
        match input {
            Input::Restored(last, hold) => self.restore(*last, hold, now),
            Input::Peer(name, peer) => self.peer(name, peer, now),
            Input::PeerGone(name) => self.peer_gone(name),
            Input::Renamed(name) => self.renamed(name, now),
            Input::Ring(ring) => {
                self.ring = ring;
                self.stations.set_home(ring);
                self.stations.set_ring(self.own, ring, now);
                self.stations_changed = true;
            }
            Input::Stations { via, message } => self.stations_told(via, &message, now, outputs),
            Input::StateWanted(to) => {
                let messages = emit(self.stations.iter()).into_iter();
                outputs.extend(messages.map(|message| Output::Tell { to, message }));
            }
            Input::Local(macs) => self.all_local(macs, now, outputs),
            Input::Learned(mac) => self.learned(mac, now, outputs),
            Input::Unlearned(mac) => self.unlearned(mac, now),
            Input::Address(mac, addr) => self.address(mac, addr, now, outputs),
            Input::Heard(mac, addr) => self.heard(mac, addr, now, outputs),
            Input::Asked(mac, addr) => self.asked(mac, addr, now),
            Input::Sighting(mac) => self.sighting(mac, now, outputs),
            Input::Traffic(name) => {
                self.liveness.note_traffic(name, now);
                self.sizes.note_traffic(name, now);
            }
            Input::Probe(from, packet) => {
                self.counts.probes_heard += 1;
                self.found.extend(self.liveness.heard(from, packet, now));
            }
            Input::Size(from, probe) => self.size(from, probe, now, outputs),
            Input::Fast(fast) => {
                self.topology_changed |= std::mem::replace(&mut self.fast, fast) != fast;
                self.found.extend(self.liveness.set_fast(fast, now));
            }
            Input::Carries(name, mtu) => {
                let before = self.sizes.get(name);
                self.sizes.set_route(name, mtu, now);
                self.topology_changed |= before != self.sizes.get(name);
            }
        }
    }

    fn peer(&mut self, name: PeerName, peer: Peer, now: Duration) {
        if name == self.own {
            return;
        }
        let before = if self.kept.names.remove(&name) { None } else { self.peers.get(&name) };
        if before == Some(&peer) {
            return;
        }
        let before_ring = before.and_then(|it| it.ring);
        self.leaving.remove(&name);
        if self.may_go_directly(&peer) {
            self.liveness.track(name, now);
        } else {
            self.liveness.forget(name);
        }
        if before.is_some_and(|it| it.uid != peer.uid) {
            // The mesh has forgotten what it was told of the one before, and what that did not answer is no reproach.
            self.told.unreached.remove(&name);
            self.liveness.renew(name, now);
        } else if before.is_some_and(|it| it.standing != peer.standing) {
            self.liveness.suspect(name, now);
        }
        if before.is_some_and(|it| it.neighbour && !peer.neighbour) {
            self.liveness.suspect(name, now);
        }
        if before.is_none() {
            self.resume(name, now);
            self.stations.set_present(name, true, now);
            self.stations_changed = true;
        }
        if before_ring != peer.ring {
            self.stations.set_ring(name, peer.ring, now);
            self.stations_changed = true;
        }
        self.peers.insert(name, peer);
        self.topology_changed = true;
    }

    fn peer_gone(&mut self, name: PeerName) {
        if self.peers.remove(&name).is_none() {
            return;
        }
        self.kept.names.remove(&name);
        self.liveness.forget(name);
        self.sizes.forget(name);
        self.told.unreached.remove(&name);
        self.told.no_slot.remove(&name);
        self.stations.forget(name);
        self.leaving.insert(name);
        (self.topology_changed, self.stations_changed) = (true, true);
    }

    /// What the old name owned is no longer ours: it is announced under the new one.
    fn renamed(&mut self, name: PeerName, now: Duration) {
        if name == self.own {
            return;
        }
        self.peer_gone(name);
        self.leaving.remove(&name);
        self.slots.release(name);
        let old = std::mem::replace(&mut self.own, name);
        self.stations.forget(old);
        self.stations.set_present(name, true, now);
        self.stations.set_ring(name, self.ring, now);
        self.label = choose_label(name, None, []);
        let again: Vec<_> = self.local.macs().collect();
        again.into_iter().for_each(|mac| self.announce(mac, now));
        (self.topology_changed, self.stations_changed) = (true, true);
    }
}
