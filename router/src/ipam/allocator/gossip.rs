//! What peers say: rings that merge, rings that do not, and who asks for what.

use std::time::Duration;

use peer_mesh::PeerName;

use super::io::{Output, Word};
use super::missing::Missing;
use super::{Allocator, Bygone, Incoming, Lease, LeaseState, Pull};
use crate::ipam::ring::{News, Patch, RingId};
use crate::ipam::wire::{self, Message, Trust};
use crate::ipam::{Epoch, Offset, Owner, Record, Ring, Subnet};

/// A whole ring is sent so often at most to a peer that has another.
const PAUSE: Duration = Duration::from_secs(1);
/// The messages of one come together: what is missing after this time was lost.
const GATHERING: Duration = Duration::from_secs(2);

impl Allocator {
    /// Takes a message: of a neighbour to all (`gossip`), or of a peer to this node.
    pub(super) fn hear(&mut self, from: PeerName, octets: &[u8], gossip: bool, now: Duration) {
        let (subnet, message) = match wire::parse(octets) {
            Ok(parsed) => parsed,
            Err(why) => {
                self.conflicts.malformed += 1;
                return self.say(Word::Malformed(from, why));
            }
        };
        if subnet != self.config.range.subnet() {
            // Who passes on what others say may divide the same range.
            if !gossip {
                self.note_stranger(from, subnet);
            }
            return;
        }
        match message {
            // Of a later version.
            None => {}
            Some(Message::Ring(id, patch)) => self.patch((from, gossip), id, patch, now),
            Some(Message::Pull(trust)) => self.pulled_by(from, trust),
            Some(Message::Nothing) => {
                self.asks.postpone(from, now);
                if self.ring.is_none() {
                    self.paxos.note_observer(from);
                    self.count_peers();
                }
                if let Some(pull) = &mut self.pull {
                    pull.has_nothing(from);
                }
            }
            Some(Message::Ask(ask)) => self.asked(from, ask),
            Some(Message::Deny(deny)) => self.denied(&deny, now),
            Some(Message::Introduce(id, owner)) => self.introduced_to(from, id, owner),
            Some(Message::Known(id, owner)) => self.known(from, id, owner),
            Some(
                message @ (Message::Prepare(..)
                | Message::Promise(..)
                | Message::Reject(..)
                | Message::Accept(..)
                | Message::Accepted(_)),
            ) => self.negotiate(from, message),
        }
    }

    pub(super) fn note_stranger(&mut self, name: PeerName, subnet: Subnet) {
        if self.strangers.insert(name, subnet) != Some(subnet) {
            self.say(Word::OtherRange(name, subnet));
        }
    }

    /// What a peer knows of a ring.
    fn patch(&mut self, from: (PeerName, bool), id: RingId, patch: Patch, now: Duration) {
        let (from, gossip) = from;
        let own = self.ring.as_ref().map(Ring::id);
        match own {
            Some(own) if own == id => {
                if let Some(pull) = &mut self.pull {
                    pull.hear(from, &patch);
                }
                self.merge(patch, gossip.then_some(from));
            }
            // The lower id wins: they are told of it.
            Some(own) if own < id => self.answer_other(from, own, id, now),
            Some(_) | None => self.collect(from, id, patch, now),
        }
    }

    fn answer_other(&mut self, from: PeerName, kept: RingId, dropped: RingId, now: Duration) {
        if self.answered.get(&from).is_some_and(|at| now < *at + PAUSE) {
            return;
        }
        self.answered.insert(from, now);
        self.note_other((from, now), kept, dropped);
        if let Some(pull) = &mut self.pull {
            pull.answered_by(from);
        }
        self.pulled_by(from, Trust::Compared);
    }

    fn note_other(&mut self, from: (PeerName, Duration), kept: RingId, dropped: RingId) {
        let (with, now) = from;
        let is = Some((kept, dropped));
        let news = self.conflicts.last_ring.map(|(_, kept, dropped)| (kept, dropped)) != is;
        if news {
            self.conflicts.rings += 1;
            self.conflicts.last_ring = Some((with, kept, dropped));
            self.conflicts.last_ring_at = now;
            self.say(Word::OtherRing { with, kept, dropped });
        }
    }

    /// Gathers a ring that is not ours, until it is whole.
    fn collect(&mut self, from: PeerName, id: RingId, patch: Patch, now: Duration) {
        // What does not come in time does not come: whoever tells a part then is asked for the whole.
        let waiting = self.incoming.take().filter(|it| now < it.since + GATHERING);
        let incoming = match (Missing::of(&patch), waiting) {
            (Some(missing), _) => Incoming { from, id, patch, missing, since: now },
            (None, Some(mut it)) if it.from == from && it.id == id => {
                it.missing.hear(&patch);
                it.patch.records.extend(patch.records);
                it.patch.removed.extend(patch.removed);
                it
            }
            // What one tells is not given up for a part that another tells.
            (None, Some(it)) if it.id <= id => return self.incoming = Some(it),
            // Only a part was told to all: the whole is asked for.
            (None, _) => {
                if self.answered.get(&from).is_none_or(|at| now >= *at + PAUSE) {
                    self.answered.insert(from, now);
                    self.send(from, &Message::Pull(Trust::Blind));
                }
                return;
            }
        };
        if incoming.missing.is_nothing() {
            self.adopt(from, id, incoming.patch, now);
        } else {
            self.incoming = Some(incoming);
        }
    }

    /// Takes up a ring in place of none, or of one with a higher id.
    fn adopt(&mut self, from: PeerName, id: RingId, whole: Patch, now: Duration) {
        let ring = Ring::told(id, self.config.range, whole);
        if let Some(old) = self.ring.take() {
            self.store.whole(&old);
            if !self.leases.is_empty() || old.record(self.own).is_some() {
                self.note_other((from, now), id, old.id());
            }
        }
        self.pull = None;
        self.bygone = Bygone::default();
        self.reclaim_all();
        self.take_ring(ring);
        if self.own_record().is_none() {
            self.renew_epoch();
        }
    }

    /// This ring is ours from now on. All of it is told.
    pub(super) fn take_ring(&mut self, ring: Ring) {
        self.store.whole(&ring);
        self.say(Word::Ring(ring.id()));
        let message = Message::Ring(ring.id(), ring.whole());
        self.ring = Some(ring);
        let messages = wire::emit(self.config.range, &message).into_iter();
        self.out.extend(messages.map(|message| Output::Broadcast { message, except: None }));
        // Who is there from the beginning is known to all who know the ring.
        self.introduced |= self.own_record().is_some();
        self.rebuild_space();
        self.ring_changed = true;
        self.asks.reclaim_at = Duration::ZERO;
    }

    /// The ring that this node's leases began in: another one than that which all have now, if it had some when two met.
    pub fn home(&self) -> Option<RingId> {
        self.home
    }

    /// Without leases, it is the one that all have.
    pub(super) fn come_home(&mut self) {
        let ring = self.ring.as_ref().map(Ring::id);
        if ring.is_some() && self.home != ring && (self.home.is_none() || self.leases.is_empty()) {
            self.home = ring;
            self.store.state = true;
        }
    }

    /// A new life, born after all that the ring has seen.
    pub(super) fn renew_epoch(&mut self) {
        let last = self.ring.as_ref().map_or(0, Ring::last_born);
        self.own = Owner { name: self.config.name, epoch: Epoch::after(last, self.rng.half()) };
        self.introduced = false;
        self.known_by.clear();
        self.rolled_back = false;
        self.store.state = true;
    }

    /// All leases are to be claimed again: another may own them.
    pub(super) fn reclaim_all(&mut self) {
        self.retract_all();
        let all: Vec<_> = self.leases.offsets().collect();
        for at in all {
            self.leases.set(at, LeaseState::Reclaiming);
            self.store.lease(at);
        }
        self.asks.reclaim_at = Duration::ZERO;
    }

    /// Leases outside of what this node owns: it was leaving when it stopped.
    pub(super) fn reclaim_others(&mut self) {
        let Some(ring) = &self.ring else { return };
        let own = ring.record(self.own);
        let is_own = |at: Offset| own.is_some_and(|own| own.segment_at(at).is_some());
        let state = |(at, lease): (Offset, &Lease)| {
            (lease.state == LeaseState::Owned && !is_own(at)).then_some(at)
        };
        let others: Vec<_> = self.leases.iter().filter_map(state).collect();
        for at in others {
            self.leases.set(at, LeaseState::Reclaiming);
            self.store.lease(at);
        }
    }

    /// Merges, and passes on what was news.
    pub(super) fn merge(&mut self, patch: Patch, via: Option<PeerName>) {
        let own = patch.records.iter().find(|(owner, _)| *owner == self.own);
        let newer = own.is_some_and(|(_, theirs)| self.is_newer(theirs));
        let Some(ring) = &mut self.ring else { return };
        let news = ring.merge(patch);
        if news.is_empty() {
            return;
        }
        self.ring_changed = true;
        self.store.note(&news);
        news.left.iter().for_each(|(owner, addresses)| self.bygone.add(*owner, *addresses));
        self.pass_on(&news, via);
        if newer && !news.removed.contains(&self.own) {
            if !std::mem::replace(&mut self.rolled_back, true) {
                self.store.state = true;
                self.say(Word::RolledBack);
            }
            self.rebuild_space();
        }
    }

    /// Whether it is a record of ours that we do not remember.
    fn is_newer(&self, theirs: &Record) -> bool {
        self.own_record().is_none_or(|own| own < theirs)
    }

    fn pulled_by(&mut self, from: PeerName, trust: Trust) {
        // Who goes by what a seed has made by itself is no witness for it.
        let vain = trust == Trust::Blind && self.pull.as_ref().is_some_and(Pull::is_sown);
        let message = self.all().filter(|_| !vain).unwrap_or(Message::Nothing);
        self.send(from, &message);
    }

    /// All that this node knows of the ring, and whether that has been compared.
    pub(super) fn all(&self) -> Option<Message> {
        let ring = self.ring.as_ref()?;
        let tentative = self.pull.as_ref().map(|_| self.own.epoch);
        Some(Message::Ring(ring.id(), Patch { tentative, ..ring.whole() }))
    }

    /// A neighbour may not know what we know. What is not yet compared is not told unasked.
    pub(super) fn tell_all(&mut self, to: PeerName) {
        let Some(ring) = self.ring.as_ref().filter(|_| self.pull.is_none()) else { return };
        let message = Message::Ring(ring.id(), ring.whole());
        let messages = wire::emit(self.config.range, &message).into_iter();
        self.out.extend(messages.map(|message| Output::Tell { to, message }));
    }

    /// The mesh has given us another name: what the old one owned may be another's who has it.
    pub(super) fn renamed(&mut self, name: PeerName) {
        if name == self.config.name {
            return;
        }
        self.config.name = name;
        self.reclaim_all();
        self.renew_epoch();
        if let Some(pull) = &mut self.pull {
            pull.disown();
        }
        self.paxos.rename(self.own);
        self.rebuild_space();
        self.ring_changed = true;
    }

    /// What changed by our own doing, beside the own record.
    pub(super) fn removed_by_us(&mut self, owner: Owner) {
        let had = self.ring.as_ref().and_then(|ring| ring.record(owner)).map_or(0, Record::owned);
        if let Some(ring) = &mut self.ring
            && ring.remove(owner)
        {
            self.bygone.add(owner, had);
            self.news.removed.insert(owner);
            self.ring_changed = true;
        }
    }

    /// All the removed were forgotten.
    pub(super) fn horizon_by_us(&mut self) {
        self.news = News { horizon: true, ..std::mem::take(&mut self.news) };
        self.ring_changed = true;
    }
}
