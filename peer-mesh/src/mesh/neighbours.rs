//! Whom to dial and whom to let go: looked at again whenever somebody came or went, and once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::Mesh;
use super::conn::{Conn, Stage};
use crate::fingers::{LEAST, Ring};
use crate::{CloseReason, ConnId, Output, PeerName};

/// Changes that come together are looked at together.
const REVIEW_SOON: Duration = Duration::from_millis(100);
const REVIEW: Duration = Duration::from_secs(1);
/// A random address of somebody who is not there is tried this often: that is how halves of a mesh meet again.
const REDIAL: Duration = Duration::from_secs(10);
/// Where both ends want a link the lower name dials; the other waits this long for it.
const COURTESY: Duration = Duration::from_secs(3);
/// Who refused for want of room is passed over for this long.
const PASS_OVER: Duration = Duration::from_secs(30);
/// A link that is one too many is closed when its far end has more others than this, or than half of what it may have:
/// several neighbours may let go of a peer at once.
const HOLDERS: usize = 8;
/// Starting points tried at once by a peer without links.
const STARTS: usize = 3;
/// Dials at once.
const MAX_DIALS: usize = 16;

#[derive(Debug)]
pub(super) struct Neighbours {
    review_at: Duration,
    redial_at: Duration,
    /// Peers that refused, and until when they are passed over.
    full: BTreeMap<PeerName, Duration>,
    /// Peers whose dial we wait for, and since when.
    awaited: BTreeMap<PeerName, Duration>,
    /// Our neighbours on the ring of names.
    beside: BTreeSet<PeerName>,
    mesh_size: usize,
}

impl Neighbours {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            review_at: now,
            redial_at: now + REDIAL,
            full: BTreeMap::new(),
            awaited: BTreeMap::new(),
            beside: BTreeSet::new(),
            mesh_size: 1,
        }
    }

    pub(super) fn review_at(&self) -> Option<Duration> {
        Some(self.review_at)
    }

    pub(super) fn review_soon(&mut self, now: Duration) {
        self.review_at = self.review_at.min(now + REVIEW_SOON);
    }

    pub(super) fn pass_over(&mut self, name: PeerName, now: Duration) {
        self.full.insert(name, now + PASS_OVER);
    }

    pub(super) fn is_beside(&self, name: PeerName) -> bool {
        self.beside.contains(&name)
    }

    /// Peers up when last looked, ourselves among them.
    pub(super) fn mesh_size(&self) -> usize {
        self.mesh_size
    }
}

impl Mesh {
    pub(super) fn review_if_due(&mut self, now: Duration) {
        if self.neighbours.review_at > now || self.stopped {
            return;
        }
        self.neighbours.review_at = now + REVIEW;
        self.neighbours.full.retain(|_, until| *until > now);
        let names = self.names();
        let ring = self.ring(&names);
        self.neighbours.mesh_size = names.len();
        self.neighbours.beside = ring.sides(self.own.name).into_iter().collect();
        self.prune(now);
        if self.config.discovery {
            self.dial_wanted(ring, now);
            self.redial(now);
        }
        self.dial_targets(now);
    }

    /// Names of peers that are up or have a link with us, sorted, our own among them. A link is there before it counts: who has
    /// just come would be in nobody's way and nobody's need.
    fn names(&self) -> Vec<PeerName> {
        let up = self.directory.up().map(|(name, _)| name);
        let new = self.links.keys().copied().filter(|name| !self.directory.is_up(*name));
        let mut names: Vec<_> = up.chain(new).collect();
        names.sort_unstable();
        names
    }

    /// Names of peers that are up and this one, sorted.
    fn names_with(&self, name: PeerName) -> Vec<PeerName> {
        let mut names = self.names();
        if let Err(at) = names.binary_search(&name) {
            names.insert(at, name);
        }
        names
    }

    fn ring<'a>(&self, names: &'a [PeerName]) -> Ring<'a> {
        Ring::new(names, self.config.degree)
    }

    /// Whether either of us and a peer wants the other by ring and fingers.
    pub(super) fn is_needed(&self, name: PeerName) -> bool {
        let names = self.names_with(name);
        let ring = self.ring(&names);
        let own = self.own.name;
        ring.wanted(own, |_| true).contains(&name) || ring.wanted(name, |_| true).contains(&own)
    }

    /// Whether a peer would be our neighbour on the ring.
    pub(super) fn is_beside(&self, name: PeerName) -> bool {
        self.ring(&self.names_with(name)).sides(self.own.name).contains(&name)
    }

    /// A link that neither end needs; the youngest, since the mesh has had less time to lean on it.
    pub(super) fn surplus(&self) -> Option<ConnId> {
        let names = self.names();
        let ring = self.ring(&names);
        let own = self.own.name;
        let wanted = ring.wanted(own, |_| true);
        let unneeded = self.links.iter().filter(|&(&name, _)| {
            !wanted.contains(&name)
                && !ring.wanted(name, |_| true).contains(&own)
                && self.is_held(name)
        });
        unneeded.map(|(_, &id)| id).max()
    }

    /// A link that is not to a neighbour on the ring: there is another way to whoever is at its end.
    fn finger(&self) -> Option<ConnId> {
        let fingers = self
            .links
            .iter()
            .filter(|&(&name, _)| !self.neighbours.is_beside(name) && self.is_held(name));
        fingers.map(|(_, &id)| id).max()
    }

    /// Whether others hold a neighbour in the mesh as well: losing our link it would not seem to be silent, not even for
    /// the moment that its newest links need to get around.
    fn is_held(&self, name: PeerName) -> bool {
        self.directory
            .get(name)
            .is_some_and(|entry| entry.neighbours.len() > HOLDERS.min(self.config.degree / 2))
    }

    fn prune(&mut self, now: Duration) {
        while self.links.len() > self.config.degree {
            let Some(id) = self.surplus().or_else(|| self.finger()) else { return };
            self.close(id, &CloseReason::Surplus, now);
        }
    }

    fn dial_wanted(&mut self, ring: Ring<'_>, now: Duration) {
        let own = self.own.name;
        let wanted =
            ring.wanted(own, |name| self.links.contains_key(&name) || self.can_be_had(name, now));
        let missing: Vec<_> =
            wanted.into_iter().filter(|name| !self.links.contains_key(name)).collect();
        self.neighbours.awaited.retain(|name, _| missing.contains(name));
        for &name in &missing {
            let since = *self.neighbours.awaited.entry(name).or_insert(now);
            let ours = own < name
                || now >= since + COURTESY
                || !ring.wanted(name, |_| true).contains(&own);
            if ours {
                self.dial_peer(name, now);
            }
        }
        let least = LEAST.min(self.config.degree);
        if self.links.len() + missing.len() < least {
            let more: BTreeSet<_> = ring
                .more(own)
                .filter(|&n| !self.links.contains_key(&n) && self.can_be_had(n, now))
                .collect();
            for name in more.into_iter().take(least - self.links.len() - missing.len()) {
                self.dial_peer(name, now);
            }
        }
    }

    /// Whether dialling a peer may lead to a link: it has room, and an address that has not just failed.
    fn can_be_had(&self, name: PeerName, now: Duration) -> bool {
        !self.neighbours.full.contains_key(&name)
            && (self.is_meeting(name)
                || self.places_of(name).any(|addr| self.book.is_due(addr, now)))
    }

    /// Whether a connection with this peer is on its way to be a link.
    fn is_meeting(&self, name: PeerName) -> bool {
        self.conns.values().any(|conn| {
            conn.stage != Stage::Parting
                && match conn.peer() {
                    Some(peer) => peer == name,
                    None => {
                        conn.outbound
                            && self
                                .book
                                .get(conn.remote)
                                .is_some_and(|place| place.name == Some(name))
                    }
                }
        })
    }

    fn places_of(&self, name: PeerName) -> impl Iterator<Item = SocketAddr> {
        self.directory.get(name).into_iter().flat_map(|entry| entry.record.addresses())
    }

    fn dial_peer(&mut self, name: PeerName, now: Duration) {
        if self.is_meeting(name) || !self.has_room(name) {
            return;
        }
        let mut places: Vec<_> =
            self.places_of(name).filter(|&addr| self.book.is_due(addr, now)).collect();
        self.dice.choose(&mut places, 1);
        for addr in places {
            self.dial(addr, now);
        }
    }

    fn dial(&mut self, addr: SocketAddr, now: Duration) {
        if self.conns.values().filter(|conn| conn.outbound && !conn.is_linked()).count()
            >= MAX_DIALS
        {
            return;
        }
        let id = self.next_conn();
        self.conns.insert(id, Conn::dialled(addr, now));
        self.book.dialling(addr);
        self.outputs.push_back(Output::Dial { conn: id, addr });
    }

    /// Dials what the operator named and is not in the mesh; without any link, whatever there is. Without discovery nothing
    /// else is dialled: then a named peer is wanted as a neighbour though others reach it, or the mesh would lose link after link.
    fn dial_targets(&mut self, now: Duration) {
        let alone = self.links.is_empty();
        let due = self.book.iter().filter(|(_, place)| place.is_due(now) && (place.given || alone));
        let is_wanted = |name: PeerName| {
            let beside = !self.config.discovery && !self.links.contains_key(&name);
            alone || !self.directory.is_up(name) || beside && self.has_room(name)
        };
        let missing = due.filter(|(_, place)| place.name.is_none_or(is_wanted));
        let mut missing: Vec<_> = missing.map(|(addr, _)| addr).collect();
        if alone {
            let trying = self.conns.values().filter(|conn| conn.outbound).count();
            self.dice.choose(&mut missing, STARTS.saturating_sub(trying));
        }
        for addr in missing {
            self.dial(addr, now);
        }
    }

    fn redial(&mut self, now: Duration) {
        if now < self.neighbours.redial_at {
            return;
        }
        self.neighbours.redial_at = now + self.dice.around(REDIAL);
        let absent = |name: PeerName| !self.directory.is_up(name);
        let due = self
            .book
            .iter()
            .filter(|(_, place)| place.is_due(now) && place.name.is_none_or(absent));
        let mut due: Vec<_> = due.map(|(addr, _)| addr).collect();
        self.dice.choose(&mut due, 1);
        for addr in due {
            self.dial(addr, now);
        }
    }
}
