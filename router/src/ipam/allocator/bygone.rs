//! Who was removed, as this node remembers it: for people. The ring forgets them as soon as it can.

use std::collections::BTreeMap;

use peer_mesh::PeerName;

use crate::ipam::Owner;

/// So many are remembered.
const MOST: usize = 1024;

/// Removed owners, since this node has started.
#[derive(Debug, Default)]
pub(super) struct Bygone(BTreeMap<Owner, Past>);

/// What is known of one.
#[derive(Debug)]
struct Past {
    addresses: u64,
    /// Whether all that it had is somebody's again.
    over: bool,
}

impl Bygone {
    /// It is removed, and had so many addresses.
    pub(super) fn add(&mut self, owner: Owner, addresses: u64) {
        if self.0.len() >= MOST {
            self.0.retain(|_, past| !past.over);
        }
        if self.0.len() < MOST {
            self.0.insert(owner, Past { addresses, over: false });
        }
    }

    /// All is somebody's again.
    pub(super) fn end(&mut self) {
        self.0.values_mut().for_each(|past| past.over = true);
    }

    /// How many addresses it had, if that is known.
    pub(super) fn addresses(&self, owner: Owner) -> Option<u64> {
        self.0.get(&owner).map(|past| past.addresses)
    }

    /// Those of whom something is nobody's yet.
    pub(super) fn open(&self) -> impl Iterator<Item = Owner> {
        self.0.iter().filter(|(_, past)| !past.over).map(|(owner, _)| *owner)
    }

    /// The lives of one.
    pub(super) fn of(&self, name: PeerName) -> impl Iterator<Item = Owner> {
        self.0.keys().copied().filter(move |it| it.name == name)
    }
}
