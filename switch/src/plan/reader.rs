//! How workers read the plan, and show how far they are with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::{Plan, PlanCell};
use crate::Ringer;

/// A worker's side of a [`PlanCell`].
#[derive(Debug)]
pub(crate) struct PlanReader {
    cell: Arc<PlanCell>,
    /// The generation that was loaded last, and how many turns were made by it.
    seen: u64,
    turns: u32,
    /// The generation of which nothing older is in hand. Control reads it.
    settled: Arc<AtomicU64>,
}

/// What the cell keeps of a reader that can be woken.
#[derive(Debug)]
pub(super) struct Follower {
    settled: Weak<AtomicU64>,
    ringer: Ringer,
}

impl PlanReader {
    /// After so many full batches the TAP's queue, of 1 000 frames, holds nothing that it held before them.
    pub(crate) const QUEUE: u32 = 16;

    pub(crate) fn new(cell: Arc<PlanCell>) -> Self {
        Self { cell, seen: 0, turns: 0, settled: Arc::default() }
    }

    /// The plan, whether it is new or not.
    pub(crate) fn load(&self) -> Arc<Plan> {
        self.cell.load()
    }

    /// The plan, if it was replaced since this was last asked: at the begin of a turn.
    pub(crate) fn load_if_newer(&mut self) -> Option<Arc<Plan>> {
        let newer = self.cell.load_if_newer(&mut self.seen);
        if newer.is_some() {
            self.turns = 0;
        }
        newer
    }

    /// A turn has ended: all that was read from the TAP went where the plan wants it. `full` says that there may be more.
    pub(crate) fn end_turn(&mut self, full: bool) {
        self.turns = self.turns.saturating_add(1);
        if (!full || self.turns >= Self::QUEUE) && self.settled.load(Ordering::Relaxed) != self.seen
        {
            self.settled.store(self.seen, Ordering::Release);
        }
    }

    /// Has the cell wait for this reader from now on, and wake it with `ringer`.
    pub(crate) fn follow(&self, ringer: Ringer) {
        let follower = Follower { settled: Arc::downgrade(&self.settled), ringer };
        let mut followers = self.cell.followers();
        followers.retain(Follower::is_there);
        followers.push(follower);
    }
}

impl Follower {
    /// Wakes its worker. Returns whether there is one.
    pub(super) fn wake(&self) -> bool {
        if self.is_there() {
            self.ringer.ring();
        }
        self.is_there()
    }

    fn is_there(&self) -> bool {
        self.settled.strong_count() > 0
    }

    /// Whether its worker, if there is one, has nothing in hand from before `generation`.
    pub(super) fn has_settled(&self, generation: u64) -> bool {
        self.settled.upgrade().is_none_or(|it| it.load(Ordering::Acquire) >= generation)
    }
}
