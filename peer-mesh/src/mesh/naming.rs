//! Two peers of one name.
//!
//! A record of our own name with another uid is nearly always ourselves of an earlier life, kept by the others: we go above its
//! incarnation, and that is the end of it. Another *live* peer answers that by going above ours in turn. So a uid that goes twice above
//! what we have published since we last saw it is alive. Once is not enough: two who have not met for long may hold different
//! incarnations of one that is dead, as may, for moments, neighbours of one that has just died.
//! Neighbours of both find out sooner: the newcomer waits until the incumbent has said something, or is dropped.
//!
//! Which of two gives way both compute alike from what each says of itself: one without leases before one with, then one that is not
//! *settled* before one that is, then the one that started later, then by uid. Settled is who has been in the mesh for ten seconds, so
//! that an incumbent keeps its name whatever a newcomer's clock shows. Who gives way takes a new name, or stops if the operator
//! chose the name. The other goes on undisturbed.
//!
//! That a neighbour says somebody else keeps our name is hearsay: a newcomer believes it, a settled peer asks to be shown the record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::neighbours::Neighbours;
use super::own::{Publisher, announcement, record_of};
use super::sync::Sync;
use super::views::Routes;
use super::{Mesh, uid};
use crate::dice::mix;
use crate::wire::{Announcement, MAX_COUNT, Record, Stamp, next_count};
use crate::{CloseReason, ConnId, Event, PeerName, PeerUid};

/// Who has had links for this long is settled.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// That we are goes with the next record, or alone after half to all of this time: not all of a mesh that started at once at once.
const SETTLED_TOLD: Duration = Duration::from_secs(20);
/// Who answers us so often is alive.
const ANSWERS: u32 = 2;
/// Namesakes remembered; more at once are not believable.
const MAX_RIVALS: usize = 64;

/// What decides between two peers of one name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claim {
    pub(super) leases: bool,
    pub(super) settled: bool,
    pub(super) started: u64,
    pub(super) uid: PeerUid,
}

impl Claim {
    fn of_record(record: &Record) -> Self {
        let (leases, settled) = (record.leases(), record.settled());
        Self { leases, settled, started: record.started(), uid: record.uid() }
    }

    /// Whether this one keeps the name.
    pub(super) fn beats(&self, other: &Self) -> bool {
        let order = |claim: &Self| (!claim.leases, !claim.settled, claim.started, claim.uid);
        order(self) < order(other)
    }
}

/// Uids seen under our name.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    seen: BTreeMap<PeerUid, Seen>,
    told: BTreeMap<PeerUid, ()>,
    /// The last record of our name and another uid, and on which connection it came.
    shown: Option<(ConnId, Claim)>,
}

/// A uid whose records were above ours.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The highest incarnation of it.
    incarnation: u64,
    /// How often it has gone above one that we had published after the one before.
    answers: u32,
}

impl Mesh {
    fn claim(&self) -> Claim {
        let &Announcement { leases, settled, started, uid, .. } = &self.own;
        Claim { leases, settled, started, uid }
    }

    /// Notes how long we have been in the mesh, and tells the others.
    pub(super) fn settle_down(&mut self, now: Duration) {
        if self.links.is_empty() && !self.own.settled {
            self.linked_since = None;
        }
        let Some(settled) = self.linked_since.map(|since| since + SETTLED_AFTER) else { return };
        self.own.settled |= now >= settled;
        let spread = mix(self.own.uid.to_u64()) % 1024;
        let told = settled
            + SETTLED_TOLD / 2
            + SETTLED_TOLD / 2 * u32::try_from(spread).unwrap_or(0) / 1024;
        let published = self.directory.get(self.own.name);
        if now >= told && published.is_some_and(|entry| !entry.record.settled()) {
            self.publish_soon(false, now);
        }
    }

    /// A record of our own name came.
    pub(super) fn meet_record(&mut self, record: &Record, id: ConnId, now: Duration) {
        let Some(published) = self.directory.get(self.own.name).map(|entry| entry.record.stamp())
        else {
            return;
        };
        let stamp = record.stamp();
        let rival = Claim::of_record(record);
        if rival.uid != self.own.uid && !record.departed() {
            self.rivals.shown = Some((id, rival));
        }
        if stamp <= published {
            if stamp == published {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.out.unwant(self.own.name);
                }
            } else if let Some(conn) = self.conns.get_mut(&id) {
                conn.out.want(self.own.name, super::outgoing::Form::Whole, now);
            }
            return;
        }
        if stamp.incarnation >= MAX_COUNT {
            return self.exhausted(record.uid(), now);
        }
        if record.uid() == self.own.uid {
            // Nobody else writes under our uid; whatever this is, we go above it.
            return self.raise_incarnation(stamp.incarnation, now);
        }
        let is_alive = !record.departed() && self.rivals.shows_life(stamp, published.incarnation);
        self.raise_incarnation(stamp.incarnation, now);
        if is_alive {
            self.contest(rival, now);
        }
    }

    /// A live peer says in a handshake that it has our name. Either it closes the connection, or we do.
    pub(super) fn meet_namesake(&mut self, id: ConnId, rival: Claim, now: Duration) {
        if self.claim().beats(&rival) {
            let reason = CloseReason::DuplicateName { name: self.own.name, uid: self.own.uid };
            self.close(id, &reason, now);
        } else {
            self.ended_quietly(id);
        }
        self.contest(rival, now);
    }

    fn ended_quietly(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = super::conn::Stage::Parting;
        }
    }

    fn contest(&mut self, rival: Claim, now: Duration) {
        if self.claim().beats(&rival) {
            self.say_contested(rival.uid);
        } else {
            self.give_way(rival.uid, now);
        }
    }

    /// A neighbour closed because another keeps our name.
    pub(super) fn name_refused(&mut self, id: ConnId, keeper: PeerUid, now: Duration) {
        let shown = self.rivals.shown.filter(|(at, rival)| *at == id && rival.uid == keeper);
        match shown {
            Some((_, rival)) if self.own.settled => self.contest(rival, now),
            None if self.own.settled => self.say_contested(keeper),
            Some(_) | None => self.give_way(keeper, now),
        }
    }

    /// Says once per rival that the name is contested, and by whom.
    pub(super) fn say_contested(&mut self, rival: PeerUid) {
        if self.rivals.told.len() < MAX_RIVALS && self.rivals.told.insert(rival, ()).is_none() {
            self.event(Event::NameContested { name: self.own.name, uid: rival });
        }
    }

    /// Another has the better claim to our name.
    pub(super) fn give_way(&mut self, keeper: PeerUid, now: Duration) {
        if self.stopped {
            return;
        }
        let from = self.own.name;
        if self.own.explicit {
            self.stop(&CloseReason::DuplicateName { name: from, uid: keeper }, now);
            return self.event(Event::NameRefused { name: from, uid: keeper });
        }
        let all: Vec<_> = self.conns.keys().copied().collect();
        for id in all {
            self.close(id, &CloseReason::Leaving, now);
        }
        self.rename(now);
        self.event(Event::Renamed { from, to: self.own.name, uid: keeper });
        self.event(Event::Save);
    }

    /// Starts over under a new name. Who was up is silent for the rest of the node, as after the loss of all links: it comes up again
    /// when we have links, or is gone after the hold time. To forget everybody here would leave those who never come back
    /// up there for ever, and to call them gone would hand what they own to others.
    fn rename(&mut self, now: Duration) {
        self.config.name = self.unused_name();
        self.config.leases = false;
        self.own = announcement(&self.config, 1, uid(&mut self.dice));
        self.directory.rename(record_of(&self.own), now);
        self.publisher = Publisher::new(now);
        self.neighbours = Neighbours::new(now);
        self.sync = Sync::new(now);
        self.routes = Routes::default();
        self.rivals = Rivals::default();
        self.linked_since = None;
        self.exceptions.clear();
        self.apply_changes(now);
    }

    fn unused_name(&mut self) -> PeerName {
        loop {
            let name = PeerName::local(self.dice.u64());
            if self.directory.get(name).is_none() {
                return name;
            }
        }
    }

    /// Somebody has used up our name: no incarnation is above this one.
    fn exhausted(&mut self, keeper: PeerUid, now: Duration) {
        // The next start must not begin at the end: by then the others may have forgotten that record.
        self.own.incarnation = 0;
        self.event(Event::Save);
        self.give_way(keeper, now);
    }

    /// Goes above an incarnation that others know under our name.
    pub(super) fn raise_incarnation(&mut self, known: u64, now: Duration) {
        self.own.incarnation = self.own.incarnation.max(next_count(known));
        self.event(Event::Save);
        self.publish_soon(true, now);
    }
}

impl Rivals {
    /// Notes a record above ours; whether it shows that its peer is alive.
    fn shows_life(&mut self, stamp: Stamp, published: u64) -> bool {
        let Stamp { uid, incarnation, .. } = stamp;
        if self.seen.len() >= MAX_RIVALS && !self.seen.contains_key(&uid) {
            return false;
        }
        let seen = self.seen.entry(uid).or_insert(Seen { incarnation, answers: 0 });
        if seen.incarnation < published && published < incarnation {
            seen.answers += 1;
        }
        seen.incarnation = seen.incarnation.max(incarnation);
        seen.answers >= ANSWERS
    }
}
