//! Peers, as the mesh sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use peer_mesh::PeerName;

use super::{Allocator, Reach};

impl Allocator {
    pub(super) fn peer(&mut self, name: PeerName, reach: Reach, now: Duration) {
        if name == self.own.name {
            return;
        }
        let before = match reach {
            Reach::Gone => self.peers.remove(&name),
            Reach::Up | Reach::Apart | Reach::Silent => self.peers.insert(name, reach),
        };
        if before == Some(reach) {
            return;
        }
        // A majority may be there.
        self.ring_changed = true;
        self.strangers.remove(&name);
        self.paxos.forget(name);
        if reach == Reach::Up {
            // It may have started anew, and may know or give what it did not.
            self.known_by.remove(&name);
            self.introduce_at = now;
            self.asks.forgive(name);
            self.asks.reclaim_at = now;
            if let Some(pull) = &mut self.pull {
                pull.forget(name, now);
            }
        } else {
            self.asks.fail(name);
        }
    }

    /// Peers that can be asked, and take part.
    pub(super) fn up(&self) -> impl Iterator<Item = PeerName> {
        let up = self.peers.iter().filter(|(_, reach)| **reach == Reach::Up).map(|(name, _)| *name);
        up.filter(|name| !self.strangers.contains_key(name))
    }

    pub(super) fn is_up(&self, name: PeerName) -> bool {
        self.peers.get(&name) == Some(&Reach::Up)
    }

    /// Whether it runs, and be it without addresses.
    pub(super) fn is_there(&self, name: PeerName) -> bool {
        matches!(self.peers.get(&name), Some(Reach::Up | Reach::Apart))
    }

    pub(super) fn called(&mut self, name: PeerName, nickname: String) {
        if self.nicknames.get(&name) != Some(&nickname) {
            self.nicknames.insert(name, nickname);
            self.store.nickname(name);
        }
    }

    /// Those of peers that own nothing.
    pub(super) fn forget_nicknames(&mut self) {
        let owners: BTreeSet<PeerName> = self.owners().map(|(owner, _)| owner.name).collect();
        for (name, _) in self.nicknames.extract_if(.., |name, _| !owners.contains(name)) {
            self.store.nickname(name);
        }
    }
}
