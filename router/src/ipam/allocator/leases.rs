//! Which addresses are leased on this node, and to whom.

use std::collections::{BTreeMap, BTreeSet};

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

use crate::ipam::Offset;

/// A leased address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lease {
    /// To whom: what who asked says, such as a container's id.
    pub id: String,
    /// Since when, in microseconds since 1970.
    pub since: u64,
    /// Whether this node owns the address.
    pub state: LeaseState,
    /// The prefix of the subnet that it was asked of; none was kept by earlier releases.
    #[serde(default)]
    pub prefix: Option<u8>,
}

/// Whether this node owns an address that it has leased.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LeaseState {
    /// It does.
    Owned,
    /// It did, before its epoch was removed or its ring dropped: it is claimed again.
    Reclaiming,
    /// Another owns it, and has leased it: two may use it.
    Lost(PeerName),
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    by_addr: BTreeMap<Offset, Lease>,
    by_id: BTreeMap<String, BTreeSet<Offset>>,
    unsettled: BTreeSet<Offset>,
    lost: BTreeSet<Offset>,
}

impl From<BTreeMap<Offset, Lease>> for Leases {
    fn from(leases: BTreeMap<Offset, Lease>) -> Self {
        let mut it = Self::default();
        leases.into_iter().for_each(|(at, lease)| it.insert(at, lease));
        it
    }
}

impl Leases {
    pub(super) fn insert(&mut self, at: Offset, lease: Lease) {
        self.remove(at);
        self.by_id.entry(lease.id.clone()).or_default().insert(at);
        self.sort(at, lease.state);
        self.by_addr.insert(at, lease);
    }

    pub(super) fn remove(&mut self, at: Offset) -> Option<Lease> {
        let lease = self.by_addr.remove(&at)?;
        self.sort(at, LeaseState::Owned);
        if let Some(own) = self.by_id.get_mut(&lease.id) {
            own.remove(&at);
            if own.is_empty() {
                self.by_id.remove(&lease.id);
            }
        }
        Some(lease)
    }

    pub(super) fn set(&mut self, at: Offset, state: LeaseState) -> Option<&Lease> {
        self.by_addr.get_mut(&at)?.state = state;
        self.sort(at, state);
        self.by_addr.get(&at)
    }

    fn sort(&mut self, at: Offset, state: LeaseState) {
        self.unsettled.remove(&at);
        self.lost.remove(&at);
        match state {
            LeaseState::Owned => {}
            LeaseState::Reclaiming => drop(self.unsettled.insert(at)),
            LeaseState::Lost(_) => drop(self.lost.insert(at)),
        }
    }

    pub(super) fn get(&self, at: Offset) -> Option<&Lease> {
        self.by_addr.get(&at)
    }

    /// Those of one holder.
    pub(super) fn of<'a>(&'a self, id: &str) -> impl Iterator<Item = (Offset, &'a Lease)> {
        let own = self.by_id.get(id).into_iter().flatten();
        own.filter_map(|at| Some((*at, self.by_addr.get(at)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, &Lease)> {
        self.by_addr.iter().map(|(at, lease)| (*at, lease))
    }

    pub(super) fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.by_addr.keys().copied()
    }

    pub(super) fn range(&self, span: crate::ipam::Span) -> impl Iterator<Item = Offset> {
        let last = Offset::try_from(span.end() - 1).unwrap_or(Offset::MAX);
        let first = Offset::try_from(span.start()).unwrap_or(Offset::MAX);
        self.by_addr.range(first..=last).map(|(at, _)| *at)
    }

    /// The one made last.
    pub(super) fn last(&self) -> Option<Offset> {
        self.by_addr.iter().max_by_key(|(at, lease)| (lease.since, **at)).map(|(at, _)| *at)
    }

    /// Those that are to be claimed again.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = Offset> {
        self.unsettled.iter().copied()
    }

    pub(super) fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Those that another has.
    pub(super) fn lost(&self) -> impl Iterator<Item = Offset> {
        self.lost.iter().copied()
    }

    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_addr.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }
}
