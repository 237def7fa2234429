//! Which links count, and whom they reach.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Change, Directory, Standing};
use crate::wire::{Link, Record};
use crate::{PeerName, PeerUid};

/// Links from ourselves to anybody, if the mesh has a shape that we would give it.
const FAR: usize = 32;

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
        for (child, by) in [(name, far), (far, name)] {
            let entry = self.peers.get(&child).filter(|entry| entry.standing == Standing::Up);
            if entry.is_some_and(|entry| entry.reached_by == Some(by)) && !self.reattach(child) {
                self.stale = true;
            }
        }
    }

    /// Finds another neighbour by which a peer is reached. `false`: perhaps there is none.
    fn reattach(&mut self, child: PeerName) -> bool {
        let Some(entry) = self.peers.get(&child) else { return false };
        let by = entry.neighbours.iter().copied().find(|&by| self.leads_home(by, child));
        let Some(by) = by else { return false };
        if let Some(entry) = self.peers.get_mut(&child) {
            entry.reached_by = Some(by);
        }
        true
    }

    /// Whether the way by which a peer was reached still leads to ourselves, and not through `child`.
    fn leads_home(&self, from: PeerName, child: PeerName) -> bool {
        let mut at = from;
        for _ in 0..FAR {
            if at == self.own {
                return true;
            }
            let entry = self.peers.get(&at).filter(|entry| entry.standing == Standing::Up);
            let by =
                entry.and_then(|entry| entry.reached_by.filter(|by| entry.neighbours.contains(by)));
            match by {
                Some(by) if at != child => at = by,
                Some(_) | None => return false,
            }
        }
        false
    }

    fn link_found(&mut self, name: PeerName, far: PeerName, now: Duration) {
        self.generation += 1;
        for (one, other) in [(name, far), (far, name)] {
            if let Some(entry) = self.peers.get_mut(&one) {
                entry.neighbours.insert(other);
            }
        }
        match (self.is_up(name), self.is_up(far)) {
            (true, false) => self.reach(far, name, now),
            (false, true) => self.reach(name, far, now),
            (true, true) | (false, false) => {}
        }
    }

    /// Marks a peer up, and all that its links reach.
    fn reach(&mut self, first: PeerName, by: PeerName, now: Duration) {
        let mut edge = VecDeque::from([(first, by)]);
        while let Some((name, by)) = edge.pop_front() {
            let Some(entry) = self.peers.get_mut(&name) else { continue };
            if entry.standing == Standing::Up || entry.record.departed() {
                continue;
            }
            self.limbo -= usize::from(entry.in_limbo());
            entry.standing = Standing::Up;
            entry.reached_by = Some(by);
            entry.since = now;
            entry.told = Some(entry.record.uid());
            self.digest.toggle(name, entry.record.stamp().hash);
            self.changes.push(Change::Up(name, entry.record.uid()));
            edge.extend(entry.neighbours.iter().map(|&far| (far, name)));
        }
    }

    /// Looks at the whole graph: who is no longer reached is silent.
    pub(crate) fn settle(&mut self, now: Duration) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let reached = self.reached();
        let lost: Vec<_> =
            self.up().map(|(name, _)| name).filter(|name| !reached.contains_key(name)).collect();
        for name in lost {
            self.silence(name, now);
        }
        for (name, by) in reached {
            let Some(entry) = self.peers.get_mut(&name).filter(|_| name != self.own) else {
                continue;
            };
            entry.reached_by = Some(by);
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

    /// Who is reached from ourselves, and by whom.
    pub(super) fn reached(&self) -> BTreeMap<PeerName, PeerName> {
        let mut reached = BTreeMap::from([(self.own, self.own)]);
        let mut edge = VecDeque::from([self.own]);
        while let Some(name) = edge.pop_front() {
            let far = self.peers.get(&name).into_iter().flat_map(|entry| &entry.neighbours);
            for &far in far.filter(|far| !self.has_departed(**far)) {
                if let Entry::Vacant(new) = reached.entry(far) {
                    new.insert(name);
                    edge.push_back(far);
                }
            }
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
