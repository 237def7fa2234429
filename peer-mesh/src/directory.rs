//! Directory: everything known of every peer, and who of them is there.
//!
//! One record per name, the highest by its stamp. A link *counts* when both ends' records hold it, each
//! with the uid of the other's present record; peers that counted links reach from ourselves are up.
//!
//! A record that adds links takes effect at once, since reach only grows: [`Directory::merge`] follows the new links. One that
//! removes links may mark the directory stale, and [`Directory::settle`] looks at the whole graph a little later, once for
//! many such records; so a merge stays cheap in a mesh of any size. Every peer has a neighbour by which it was reached. These links
//! are a tree; only the loss of one of them can make anybody unreached, and mostly another neighbour takes its place.
//!
//! Complications: a peer that is no longer reached leaves the digest at once, since others may never have seen it, but its record
//! stays for an hour (limbo), so that an older version that somebody kept cannot bring it back. A record never reached (*heard*)
//! waits in the same limbo for the other end of its links. Limbo is bounded: what was heard goes first, then the gone.
//!
//! Invariants: the digest covers exactly the records of peers that are up, our own among them; `neighbours` is symmetric.

mod reach;
mod rename;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::digest::Digest;
use crate::wire::{Link, Patch, Record};
use crate::{ConnId, GoneReason, PeerName, PeerUid};
use reach::{Stated, links_of};

/// Records of peers that are not there are kept this long.
pub(crate) const LIMBO: Duration = Duration::from_secs(3600);
/// Records in limbo, never reached or gone. When it is full, the oldest go.
pub(crate) const MAX_LIMBO: usize = 4096;
/// Records kept of a peer beside the present one, and for how long: until the last batch that waits to say that it has changed
/// has gone out.
const MAX_OLDER: usize = 4;
const OLDER_FOR: Duration = Duration::from_secs(2);
/// Peers up or silent. Three times the largest mesh we promise.
pub(crate) const MAX_PEERS: usize = 16_384;

/// How we see a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Its record came, but no counted links reach it, and never did.
    Heard,
    Up,
    Silent,
    Gone(GoneReason),
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) standing: Standing,
    pub(crate) since: Duration,
    /// The links of the record, in order.
    links: Vec<Link>,
    /// Peers to which links count.
    pub(crate) neighbours: BTreeSet<PeerName>,
    /// How the present record follows from the one before, for those who have that.
    patch: Option<Box<Patch>>,
    /// Records before the present one that were passed on not long ago, the latest last.
    older: Vec<(Record, Duration)>,
    /// Whether the present record was passed on.
    pub(crate) passed_on: bool,
    /// The connection it came on.
    pub(crate) source: Option<ConnId>,
    /// The uid last told as up.
    told: Option<PeerUid>,
    /// Of a peer that is up, the neighbour through which it was reached.
    reached_by: Option<PeerName>,
}

/// What has changed for the rest of the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Up(PeerName, PeerUid),
    Silent(PeerName),
    Gone(PeerName, GoneReason),
    Changed(PeerName),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Merged {
    /// It is the newest we have of this peer.
    New,
    /// We have it.
    Same,
    /// We have a newer one.
    Older,
    /// There is no room for more peers.
    Overflow,
}

#[derive(Debug)]
pub(crate) struct Directory {
    own: PeerName,
    peers: BTreeMap<PeerName, Entry>,
    digest: Digest,
    stale: bool,
    limbo: usize,
    changes: Vec<Change>,
    /// Raised whenever the counted links change.
    generation: u64,
}

impl Directory {
    /// A directory that knows its own record only.
    pub(crate) fn new(own: Record, now: Duration) -> Self {
        let name = own.name();
        let mut digest = Digest::EMPTY;
        digest.toggle(name, own.stamp().hash);
        let told = Some(own.uid());
        let peers = BTreeMap::from([(name, Entry { told, ..Entry::new(own, Standing::Up, now) })]);
        Self {
            own: name,
            peers,
            digest,
            stale: false,
            limbo: 0,
            changes: Vec::new(),
            generation: 0,
        }
    }

    pub(crate) fn get(&self, name: PeerName) -> Option<&Entry> {
        self.peers.get(&name)
    }

    pub(crate) fn get_mut(&mut self, name: PeerName) -> Option<&mut Entry> {
        self.peers.get_mut(&name)
    }

    /// All entries by name, our own among them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerName, &Entry)> {
        self.peers.iter().map(|(&name, entry)| (name, entry))
    }

    pub(crate) fn is_up(&self, name: PeerName) -> bool {
        self.peers.get(&name).is_some_and(|entry| entry.standing == Standing::Up)
    }

    /// Peers that are up, our own among them, by name.
    pub(crate) fn up(&self) -> impl Iterator<Item = (PeerName, &Entry)> {
        self.iter().filter(|(_, entry)| entry.standing == Standing::Up)
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether `settle` has something to do.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes a record in, if it is newer than what we have. `patch`, if it came as one, is kept for those who have the one before.
    pub(crate) fn merge(&mut self, record: Record, patch: Option<Patch>, now: Duration) -> Merged {
        let name = record.name();
        let Some(entry) = self.peers.get_mut(&name) else { return self.insert(record, now) };
        match record.stamp().cmp(&entry.record.stamp()) {
            std::cmp::Ordering::Less => return Merged::Older,
            std::cmp::Ordering::Equal => return Merged::Same,
            std::cmp::Ordering::Greater => {}
        }
        // Nobody has the one before if it was not passed on, as the first of a peer that has just started.
        let useful = entry.passed_on;
        let patch = patch.or_else(|| Patch::between(&entry.record, &record));
        entry.patch = patch.filter(|_| useful).map(Box::new);
        if entry.passed_on {
            entry.older.push((entry.record.clone(), now));
            let outdated = entry.older.len().saturating_sub(MAX_OLDER);
            entry.older.drain(..outdated);
        }
        if entry.standing == Standing::Up {
            self.digest.toggle(name, entry.record.stamp().hash);
            self.digest.toggle(name, record.stamp().hash);
            if entry.told == Some(record.uid()) {
                self.changes.push(Change::Changed(name));
            } else {
                self.stale = true;
            }
        }
        let links = std::mem::replace(&mut entry.links, links_of(&record));
        let before = Stated { uid: entry.record.uid(), links };
        entry.record = record;
        entry.passed_on = false;
        entry.source = None;
        self.relink(name, before, now);
        self.judge_departed(name, now);
        Merged::New
    }

    fn insert(&mut self, record: Record, now: Duration) -> Merged {
        if self.limbo >= MAX_LIMBO {
            self.make_room();
        }
        if self.peers.len() - self.limbo >= MAX_PEERS {
            return Merged::Overflow;
        }
        let name = record.name();
        self.limbo += 1;
        let before = Stated { uid: record.uid(), links: Vec::new() };
        self.peers.insert(name, Entry::new(record, Standing::Heard, now));
        self.relink(name, before, now);
        self.judge_departed(name, now);
        Merged::New
    }

    /// Forgets a quarter of what is in limbo: what was only heard before what was there once, and of
    /// either the oldest. A quarter, so that a stream of inventions costs little each. Nothing in
    /// limbo may keep newcomers out: whoever wants to can fill it.
    fn make_room(&mut self) {
        let in_limbo = self.iter().filter(|(_, entry)| entry.in_limbo());
        let order = |(name, entry): (PeerName, &Entry)| {
            (entry.standing != Standing::Heard, entry.since, name)
        };
        let mut limbo: Vec<_> = in_limbo.map(order).collect();
        limbo.sort_unstable();
        for (.., name) in limbo.into_iter().take(MAX_LIMBO / 4) {
            self.forget(name);
        }
    }

    fn judge_departed(&mut self, name: PeerName, now: Duration) {
        if self.peers.get(&name).is_some_and(|entry| entry.record.departed()) {
            self.gone(name, GoneReason::Left, now);
        }
    }

    /// Declares a peer gone. What it is told of later with the same record does not bring it back, new links do.
    pub(crate) fn gone(&mut self, name: PeerName, reason: GoneReason, now: Duration) {
        let Some(entry) = self.peers.get_mut(&name).filter(|_| name != self.own) else { return };
        match entry.standing {
            Standing::Gone(_) => return,
            Standing::Heard => {}
            Standing::Up => {
                self.digest.toggle(name, entry.record.stamp().hash);
                self.stale = true;
                self.limbo += 1;
                self.changes.push(Change::Gone(name, reason));
            }
            Standing::Silent => {
                self.limbo += 1;
                self.changes.push(Change::Gone(name, reason));
            }
        }
        entry.standing = Standing::Gone(reason);
        entry.since = now;
        entry.told = None;
    }

    /// Ends what has lasted too long: silence after `hold`, limbo after an hour. To be called about once a second.
    pub(crate) fn age(&mut self, hold: Duration, now: Duration) {
        let over = |entry: &Entry, limit| now.saturating_sub(entry.since) >= limit;
        for entry in self.peers.values_mut().filter(|entry| !entry.older.is_empty()) {
            entry.older.retain(|(_, since)| now < *since + OLDER_FOR);
            entry.older.shrink_to_fit();
        }
        let silent: Vec<_> = self
            .iter()
            .filter(|(_, e)| e.standing == Standing::Silent && over(e, hold))
            .map(|(name, _)| name)
            .collect();
        for name in silent {
            self.gone(name, GoneReason::Silence, now);
        }
        let forgotten: Vec<_> = self
            .iter()
            .filter(|(_, e)| e.in_limbo() && over(e, LIMBO))
            .map(|(name, _)| name)
            .collect();
        for name in forgotten {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: PeerName) {
        let Some(entry) = self.peers.remove(&name) else { return };
        self.limbo -= 1;
        for far in entry.neighbours {
            if let Some(far) = self.peers.get_mut(&far) {
                far.neighbours.remove(&name);
            }
        }
    }
}

impl Entry {
    /// The far ends of links that its record holds and that do not count.
    pub(crate) fn one_sided(&self) -> impl Iterator<Item = PeerName> {
        let names = self.links.iter().map(|link| link.name);
        names.filter(|name| !self.neighbours.contains(name))
    }

    /// Whether it is kept without being there.
    fn in_limbo(&self) -> bool {
        matches!(self.standing, Standing::Heard | Standing::Gone(_))
    }

    /// The hash of the record that a patch to the present one is for, if there is one.
    pub(crate) fn base(&self) -> Option<u64> {
        self.patch.as_ref().map(|patch| patch.base())
    }

    /// A patch to the present record for who has the one of this hash.
    pub(crate) fn patch_to(&self, base: u64) -> Option<Patch> {
        match &self.patch {
            Some(patch) if patch.base() == base => Some((**patch).clone()),
            Some(_) | None => {
                let older = self.older.iter().find(|(old, _)| old.stamp().hash == base);
                Patch::between(&older?.0, &self.record)
            }
        }
    }

    fn new(record: Record, standing: Standing, since: Duration) -> Self {
        Self {
            links: links_of(&record),
            record,
            standing,
            since,
            neighbours: BTreeSet::new(),
            patch: None,
            older: Vec::new(),
            source: None,
            passed_on: false,
            told: None,
            reached_by: None,
        }
    }
}

#[cfg(test)]
mod tests;
