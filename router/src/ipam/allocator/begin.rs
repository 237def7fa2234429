//! From nothing to a part in a ring: seeds, the first split, comparing what was restored, and being known.

use std::collections::BTreeSet;
use std::time::Duration;

use peer_mesh::PeerName;

use super::io::{Init, Word};
use super::{AGAIN, Allocator, Pull, Reach};
use crate::ipam::paxos::{self, Move};
use crate::ipam::record::Hash;
use crate::ipam::ring::RingId;
use crate::ipam::wire::{Message, Trust};
use crate::ipam::{Epoch, Owner, Record, Ring};

impl Allocator {
    /// A seed knows the ring without asking: it is the same wherever it is made.
    pub(super) fn sow(&mut self) {
        let Init::Seed(names) = &self.config.init else { return };
        if self.ring.is_some() || !names.contains(&self.own.name) {
            return;
        }
        let mut hash = Hash::default();
        hash.add(u64::from(self.config.range.subnet().prefix()));
        let seeds = names.iter().map(|name| Owner { name: *name, epoch: Epoch::SEED });
        let seeds: BTreeSet<Owner> = seeds.collect();
        for seed in &seeds {
            hash.owner(*seed);
        }
        let ring = Ring::divided(RingId(hash.finish() >> 1), self.config.range, &seeds);
        // Its state may have been lost: others would know.
        self.pull = Some(Pull::sown());
        self.store.whole(&ring);
        self.ring = Some(ring);
    }

    /// Goes on to the next stage, if it is time to.
    pub(super) fn begin(&mut self, now: Duration) {
        if self.wants_ring() && self.store.failing.is_none() {
            self.count_peers();
            let due = self.paxos.poll_timeout().is_none_or(|at| now >= at);
            if due && self.can_propose() {
                let moves = match self.votes() {
                    true => {
                        let up = self.up().count();
                        let moves = self.paxos.propose(now, up, &mut self.rng);
                        self.store.promised(&self.paxos.acceptor);
                        moves
                    }
                    false => self.paxos.urge(now),
                };
                self.perform(moves);
            }
        }
        self.compare(now);
        self.reborn();
        self.take_part();
        self.introduce(now);
    }

    /// Whether this node is to bring about a ring.
    pub(super) fn wants_ring(&self) -> bool {
        let may = match self.config.init {
            Init::Consensus(_) | Init::Majority(_) | Init::Observer(_) => true,
            Init::Seed(_) => false,
        };
        may && self.ring.is_none() && (self.has_wishes() || self.urged && self.votes())
    }

    /// Whether a majority is up; for who does not vote, somebody who may.
    pub(super) fn can_propose(&self) -> bool {
        match self.votes() {
            true => self.up().count() + 1 >= self.paxos.quorum(),
            false => self.up().next().is_some(),
        }
    }

    pub(super) fn votes(&self) -> bool {
        matches!(self.config.init, Init::Consensus(_) | Init::Majority(_))
    }

    /// Who was given peers, and no number, counts those that it sees, too.
    pub(super) fn count_peers(&mut self) {
        if matches!(self.config.init, Init::Majority(_)) && self.ring.is_none() {
            let there = |reach: &Reach| matches!(reach, Reach::Up | Reach::Silent);
            let peers = self.peers.iter().filter(|(_, reach)| there(reach)).map(|(name, _)| *name);
            let strangers = &self.strangers;
            self.paxos.count_peers(peers.filter(|name| !strangers.contains_key(name)));
        }
    }

    pub(super) fn negotiate(&mut self, from: PeerName, message: Message) {
        if self.ring.is_some() {
            // It is decided: who asks is told.
            if matches!(message, Message::Prepare(..) | Message::Accept(..)) && self.pull.is_none()
            {
                self.send_ring(from);
            }
            return;
        }
        let asks = matches!(message, Message::Prepare(..) | Message::Accept(..));
        if asks && !self.votes() {
            return self.send(from, &Message::Nothing);
        }
        if let Message::Prepare(paxos::URGE, _) = message {
            self.paxos.note_observer(from);
            self.urged = true;
            return self.count_peers();
        }
        self.count_peers();
        let before = (self.paxos.acceptor.clone(), self.paxos.others.clone());
        let moves = self.paxos.handle(from, message);
        if self.paxos.acceptor != before.0 {
            self.store.promised(&self.paxos.acceptor);
        }
        let others = self.paxos.others.clone();
        for (name, count) in others.into_iter().filter(|(name, _)| !before.1.contains_key(name)) {
            self.say(Word::OtherCount(name, count));
        }
        self.perform(moves);
    }

    fn send_ring(&mut self, to: PeerName) {
        if let Some(message) = self.all() {
            self.send(to, &message);
        }
    }

    fn perform(&mut self, moves: Vec<Move>) {
        for it in moves {
            match it {
                Move::All(message) => self.send_all(&message),
                Move::One(to, message) => self.send(to, &message),
                Move::Decided(value) => {
                    let ring = Ring::divided(value.id, self.config.range, &value.owners);
                    self.take_ring(ring);
                }
            }
        }
    }

    /// Writes a first record, when this node is to own something.
    fn take_part(&mut self) {
        if self.pull.is_some() || self.left.is_some() || self.own_record().is_some() {
            return;
        }
        let Some(ring) = self.ring.as_ref() else { return };
        if self.wants_part() {
            if ring.last_born() >= self.own.epoch.born() {
                self.renew_epoch();
            }
            self.write_own(|_| {});
        }
    }

    /// Other lives of this name have ended: the mesh has only one of them.
    pub(super) fn bury(&mut self) {
        let own = self.own;
        let others = self.owners().map(|(owner, _)| owner).filter(|it| it.name == own.name);
        let others: Vec<_> = others.filter(|it| *it != own && it.epoch != Epoch::SEED).collect();
        others.into_iter().for_each(|it| self.removed_by_us(it));
    }

    fn wants_part(&self) -> bool {
        self.has_wishes() || self.leases.has_unsettled() || self.is_removing()
    }

    /// Whether this node may act on what all who are left agree upon. Where nobody owns anything any more a majority of
    /// those of the beginning must be there, but for those removed, so that no two sides begin anew; or an operator says so.
    pub(super) fn may_recover(&self) -> bool {
        let Some(ring) = &self.ring else { return false };
        let forced = self.forced || ring.owners().any(|(_, record)| record.forced);
        let (needed, known) = self.needed_to_recover();
        self.introduced && (!self.is_ownerless() || forced || known >= needed)
    }

    /// How many of the beginning must be there where nobody owns anything, and how many are.
    pub(super) fn needed_to_recover(&self) -> (usize, usize) {
        let removed = self.ring.iter().flat_map(Ring::removed).map(|it| it.name);
        let removed: BTreeSet<PeerName> = removed.collect();
        (self.paxos.quorum_without(removed.len()), self.up().count() + 1)
    }

    /// Whether nobody owns anything: all who did were removed.
    pub(super) fn is_ownerless(&self) -> bool {
        let owners = self.ring.iter().flat_map(Ring::owners);
        owners.into_iter().all(|(_, record)| record.segments.is_empty())
    }

    /// What an operator has said here is for all to know, as long as it matters.
    pub(super) fn tell_forced(&mut self) {
        let Some(told) = self.own_record().map(|own| own.forced) else { return };
        let ownerless = self.is_ownerless();
        let forced = ownerless && (told || self.forced);
        self.forced &= ownerless;
        if told != forced {
            self.write_own(|own| own.forced = forced);
        }
    }

    /// Whether others are still to learn of this node.
    pub(super) fn is_introducing(&self) -> bool {
        let is = !self.introduced || !self.reassured;
        is && self.pull.is_none() && self.own_record().is_some()
    }

    fn introduce(&mut self, now: Duration) {
        if !self.is_introducing() {
            return;
        }
        let missing = self.strange();
        if missing.is_empty() {
            self.store.state |= !std::mem::replace(&mut self.introduced, true);
            self.reassured = true;
            // It may act on what all agree upon from now on.
            self.ring_changed = true;
            return;
        }
        if now < self.introduce_at {
            return;
        }
        self.introduce_at = now + AGAIN;
        let Some((id, record)) = self.ring.as_ref().map(Ring::id).zip(self.own_record().cloned())
        else {
            return;
        };
        let records = vec![(self.own, record)];
        let patch = crate::ipam::ring::Patch { records, ..Default::default() };
        for to in missing {
            self.send(to, &Message::Ring(id, patch.clone()));
            self.send(to, &Message::Introduce(id, self.own));
        }
    }

    /// Who is up and has not said that it knows this node.
    pub(super) fn strange(&self) -> Vec<PeerName> {
        self.up().filter(|name| !self.known_by.contains(name)).collect()
    }

    pub(super) fn known(&mut self, by: PeerName, id: RingId, owner: Owner) {
        if self.ring.as_ref().map(Ring::id) == Some(id) && owner == self.own {
            self.known_by.insert(by);
        }
    }

    pub(super) fn introduced_to(&mut self, from: PeerName, id: RingId, owner: Owner) {
        let Some(ring) = &self.ring else { return self.send(from, &Message::Pull(Trust::Blind)) };
        if ring.id() != id {
            return;
        }
        if ring.record(owner).is_some() {
            self.send(from, &Message::Known(id, owner));
        } else if ring.is_removed(owner) {
            // It does not know that yet.
            self.send_ring(from);
        }
    }

    /// A seed's first record takes the place of the one that was made for it.
    pub(super) fn sprout(&mut self) {
        let seed = Owner { name: self.own.name, epoch: Epoch::SEED };
        let Some(ring) = self.ring.as_ref().filter(|_| self.pull.is_none()) else { return };
        let Some(record) = ring.record(seed) else { return };
        let segments = record.segments.clone();
        if ring.last_born() >= self.own.epoch.born() && ring.record(self.own).is_none() {
            self.renew_epoch();
        }
        self.write_own(|own: &mut Record| {
            for mut segment in segments {
                segment.version += 1;
                own.add(segment);
            }
        });
        self.removed_by_us(seed);
        // It is known by the seed's name to all who know the ring.
        self.introduced = true;
        self.store.state = true;
        self.rebuild_space();
    }
}
