//! Directory: everything known of every peer, and who of them is there.
//!
//! One record per name, the highest by its stamp. A link *counts* when both ends' records hold it, each
//! with the uid of the other's present record; peers that counted links reach from ourselves are up.
//!
//! A record that adds links takes effect at once, since reach only grows: [`Directory::merge`] follows the new links. One that
//! removes links marks the directory stale, and [`Directory::settle`] looks at the whole graph a little later, once for
//! many such records; so a merge stays cheap in a mesh of any size.
//!
//! Complications: a peer that is no longer reached leaves the digest at once, since others may never have seen it, but its record
//! stays for an hour (limbo), so that an older version that somebody kept cannot bring it back. A record never reached (*heard*)
//! waits in the same limbo for the other end of its links. Limbo is bounded: what was heard goes first.
//!
//! Invariants: the digest covers exactly the records of peers that are up, our own among them; `neighbours` is symmetric.

mod rename;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::digest::Digest;
use crate::wire::{Link, Patch, Record};
use crate::{ConnId, GoneReason, PeerName, PeerUid};

/// Records of peers that are not there are kept this long.
pub(crate) const LIMBO: Duration = Duration::from_secs(3600);
/// Records in limbo, never reached or gone: one hostile peer fills this and nothing else.
pub(crate) const MAX_LIMBO: usize = 4096;
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
    /// Peers to which links count.
    pub(crate) neighbours: BTreeSet<PeerName>,
    /// How the present record follows from the one before, for those who have that.
    pub(crate) patch: Option<Box<Patch>>,
    /// Whether the present record was passed on.
    pub(crate) passed_on: bool,
    /// The connection it came on.
    pub(crate) source: Option<ConnId>,
    /// The uid last told as up.
    told: Option<PeerUid>,
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
        entry.patch = patch.or_else(|| Patch::between(&entry.record, &record)).map(Box::new);
        if entry.standing == Standing::Up {
            self.digest.toggle(name, entry.record.stamp().hash);
            self.digest.toggle(name, record.stamp().hash);
            if entry.told == Some(record.uid()) {
                self.changes.push(Change::Changed(name));
            } else {
                self.stale = true;
            }
        }
        entry.record = record;
        entry.passed_on = false;
        entry.source = None;
        self.relink(name, now);
        self.judge_departed(name, now);
        Merged::New
    }

    fn insert(&mut self, record: Record, now: Duration) -> Merged {
        if self.limbo >= MAX_LIMBO && !self.make_room() || self.peers.len() >= MAX_PEERS + MAX_LIMBO
        {
            return Merged::Overflow;
        }
        let name = record.name();
        self.limbo += 1;
        self.peers.insert(name, Entry::new(record, Standing::Heard, now));
        self.relink(name, now);
        self.judge_departed(name, now);
        Merged::New
    }

    /// Forgets half of what was only heard, the oldest first; what was reached once stays. Half, so that
    /// a stream of inventions costs little each.
    fn make_room(&mut self) -> bool {
        let heard =
            self.iter().filter(|(_, e)| e.standing == Standing::Heard && e.neighbours.is_empty());
        let mut heard: Vec<_> = heard.map(|(name, entry)| (entry.since, name)).collect();
        heard.sort_unstable();
        heard.truncate(heard.len().div_ceil(2));
        let found = !heard.is_empty();
        for (_, name) in heard {
            self.forget(name);
        }
        found
    }

    fn judge_departed(&mut self, name: PeerName, now: Duration) {
        if self.peers.get(&name).is_some_and(|entry| entry.record.departed()) {
            self.gone(name, GoneReason::Left, now);
        }
    }

    /// Compares a peer's links with those of their other ends.
    fn relink(&mut self, name: PeerName, now: Duration) {
        let Some(entry) = self.peers.get(&name) else { return };
        let ours = Link { name, uid: entry.record.uid() };
        let counted: BTreeSet<_> = entry
            .record
            .links()
            .filter(|link| link.name != name)
            .filter(|link| {
                self.peers.get(&link.name).is_some_and(|far| {
                    far.record.uid() == link.uid && far.record.links().any(|link| link == ours)
                })
            })
            .map(|link| link.name)
            .collect();
        let before = match self.peers.get_mut(&name) {
            Some(entry) => std::mem::replace(&mut entry.neighbours, counted.clone()),
            None => BTreeSet::new(),
        };
        for lost in before.difference(&counted) {
            self.link_lost(name, *lost);
        }
        for &found in counted.difference(&before) {
            self.link_found(name, found, now);
        }
    }

    fn link_lost(&mut self, name: PeerName, far: PeerName) {
        self.generation += 1;
        if let Some(entry) = self.peers.get_mut(&far) {
            entry.neighbours.remove(&name);
        }
        if self.is_up(name) && self.is_up(far) {
            self.stale = true;
        }
    }

    fn link_found(&mut self, name: PeerName, far: PeerName, now: Duration) {
        self.generation += 1;
        if let Some(entry) = self.peers.get_mut(&far) {
            entry.neighbours.insert(name);
        }
        match (self.is_up(name), self.is_up(far)) {
            (true, false) => self.reach(far, now),
            (false, true) => self.reach(name, now),
            (true, true) | (false, false) => {}
        }
    }

    /// Marks a peer up, and all that its links reach.
    fn reach(&mut self, first: PeerName, now: Duration) {
        let mut edge = vec![first];
        while let Some(name) = edge.pop() {
            let Some(entry) = self.peers.get_mut(&name) else { continue };
            if entry.standing == Standing::Up || entry.record.departed() {
                continue;
            }
            if matches!(entry.standing, Standing::Heard | Standing::Gone(_)) {
                self.limbo -= 1;
            }
            entry.standing = Standing::Up;
            entry.since = now;
            entry.told = Some(entry.record.uid());
            self.digest.toggle(name, entry.record.stamp().hash);
            self.changes.push(Change::Up(name, entry.record.uid()));
            edge.extend(&entry.neighbours);
        }
    }

    /// Looks at the whole graph: who is no longer reached is silent.
    pub(crate) fn settle(&mut self, now: Duration) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let reached = self.reached();
        let lost: Vec<_> =
            self.up().map(|(name, _)| name).filter(|name| !reached.contains(name)).collect();
        for name in lost {
            self.silence(name, now);
        }
        for name in reached {
            let Some(entry) = self.peers.get_mut(&name).filter(|_| name != self.own) else {
                continue;
            };
            let uid = entry.record.uid();
            if entry.told.replace(uid) != Some(uid) {
                entry.since = now;
                self.changes.push(Change::Up(name, uid));
            }
        }
    }

    fn reached(&self) -> BTreeSet<PeerName> {
        let mut reached = BTreeSet::from([self.own]);
        let mut edge = vec![self.own];
        while let Some(name) = edge.pop() {
            let far = self.peers.get(&name).into_iter().flat_map(|entry| &entry.neighbours);
            edge.extend(far.copied().filter(|&far| reached.insert(far)));
        }
        reached
    }

    fn silence(&mut self, name: PeerName, now: Duration) {
        let Some(entry) = self.peers.get_mut(&name) else { return };
        self.digest.toggle(name, entry.record.stamp().hash);
        entry.standing = Standing::Silent;
        entry.since = now;
        entry.told = None;
        self.changes.push(Change::Silent(name));
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
        let silent: Vec<_> = self
            .iter()
            .filter(|(_, e)| e.standing == Standing::Silent && over(e, hold))
            .map(|(name, _)| name)
            .collect();
        for name in silent {
            self.gone(name, GoneReason::Silence, now);
        }
        let in_limbo = |e: &Entry| matches!(e.standing, Standing::Heard | Standing::Gone(_));
        let forgotten: Vec<_> = self
            .iter()
            .filter(|(_, e)| in_limbo(e) && over(e, LIMBO))
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
    fn new(record: Record, standing: Standing, since: Duration) -> Self {
        Self {
            record,
            standing,
            since,
            neighbours: BTreeSet::new(),
            patch: None,
            source: None,
            passed_on: false,
            told: None,
        }
    }
}

#[cfg(test)]
mod tests;
