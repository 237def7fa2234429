//! All that a peer knows of a ring, in as many messages as it takes.

use std::collections::BTreeSet;

use crate::ipam::Owner;
use crate::ipam::ring::Patch;

/// What has not come yet of all that a peer knows.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    records: BTreeSet<Owner>,
    /// Who is known to be removed, of so many.
    removed: BTreeSet<Owner>,
    removals: usize,
}

impl Missing {
    /// Behind a message that begins to tell all; `None` if it does not.
    pub(super) fn of(first: &Patch) -> Option<Self> {
        let removals = first.whole?;
        let (_, alive) = first.roster.as_ref()?;
        let mut it = Self { records: alive.clone(), removed: BTreeSet::new(), removals };
        it.hear(first);
        Some(it)
    }

    /// Some of it has come.
    pub(super) fn hear(&mut self, patch: &Patch) {
        for (owner, _) in &patch.records {
            self.records.remove(owner);
        }
        self.removed.extend(&patch.removed);
    }

    /// Whether all has come.
    pub(super) fn is_nothing(&self) -> bool {
        self.records.is_empty() && self.removed.len() >= self.removals
    }
}
