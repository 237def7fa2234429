//! Which links count, and whom they reach.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Change, Directory, Standing};
use crate::wire::{Link, Record};
use crate::{PeerName, PeerUid};

/// What a peer said of its links before.
pub(super) struct Stated {
    pub(super) uid: PeerUid,
    pub(super) links: Vec<Link>,
}

impl Directory {
    /// Compares what is new in a peer's links with what their other ends say. Only what is new: records
    /// come by the thousand, and most change one link.
    pub(super) fn relink(&mut self, name: PeerName, before: Stated, now: Duration) {
        let Some(entry) = self.peers.get(&name) else { return };
        let ours = Link { name, uid: entry.record.uid() };
        let (kept, lost): (Vec<Link>, Vec<PeerName>) = if before.uid == ours.uid {
            let lost = before.links.iter().filter(|link| entry.links.binary_search(link).is_err());
            let lost = lost.map(|link| link.name).filter(|far| entry.neighbours.contains(far));
            let lost = lost.collect();
            (before.links, lost)
        } else {
            // What others say of it is of its former start.
            (Vec::new(), entry.neighbours.iter().copied().collect())
        };
        let found = entry.links.iter().filter(|link| kept.binary_search(link).is_err());
        let found: Vec<_> =
            found.filter(|link| self.is_stated(**link, ours)).map(|link| link.name).collect();
        for far in lost {
            self.link_lost(name, far);
        }
        for far in found {
            self.link_found(name, far, now);
        }
    }

    /// Whether the far end of a link states it, too.
    fn is_stated(&self, link: Link, ours: Link) -> bool {
        let far = self.peers.get(&link.name).filter(|_| link.name != ours.name);
        far.is_some_and(|far| {
            far.record.uid() == link.uid && far.links.binary_search(&ours).is_ok()
        })
    }

    fn link_lost(&mut self, name: PeerName, far: PeerName) {
        self.generation += 1;
        for (one, other) in [(name, far), (far, name)] {
            if let Some(entry) = self.peers.get_mut(&one) {
                entry.neighbours.remove(&other);
            }
        }
        if self.is_up(name) && self.is_up(far) {
            self.stale = true;
        }
    }

    fn link_found(&mut self, name: PeerName, far: PeerName, now: Duration) {
        self.generation += 1;
        for (one, other) in [(name, far), (far, name)] {
            if let Some(entry) = self.peers.get_mut(&one) {
                entry.neighbours.insert(other);
            }
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
            self.limbo -= usize::from(entry.in_limbo());
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

    fn has_departed(&self, name: PeerName) -> bool {
        self.peers.get(&name).is_some_and(|entry| entry.record.departed())
    }

    pub(super) fn reached(&self) -> BTreeSet<PeerName> {
        let mut reached = BTreeSet::from([self.own]);
        let mut edge = vec![self.own];
        while let Some(name) = edge.pop() {
            let far = self.peers.get(&name).into_iter().flat_map(|entry| &entry.neighbours);
            let far = far.copied().filter(|&far| !self.has_departed(far));
            edge.extend(far.filter(|&far| reached.insert(far)));
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
}

/// The links of a record, in order.
pub(super) fn links_of(record: &Record) -> Vec<Link> {
    let mut links: Vec<_> = record.links().collect();
    links.sort_unstable();
    links
}
