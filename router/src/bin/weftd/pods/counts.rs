//! How often what was done with pods.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    plugged: AtomicU64,
    unplugged: AtomicU64,
    refused: AtomicU64,
    undone: AtomicU64,
    put_back: AtomicU64,
    queued: AtomicU64,
    flows_forgotten: AtomicU64,
}

impl Counts {
    /// Plugged in.
    pub(super) fn plugged(&self) {
        self.plugged.fetch_add(1, Relaxed);
    }

    /// Unplugged, as was asked for.
    pub(super) fn unplugged(&self) {
        self.unplugged.fetch_add(1, Relaxed);
    }

    /// Refused.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Begun, and undone.
    pub(super) fn undone(&self) {
        self.undone.fetch_add(1, Relaxed);
    }

    /// Put back as it should be.
    pub(super) fn put_back(&self) {
        self.put_back.fetch_add(1, Relaxed);
    }

    /// Done for what the CNI plugin had queued.
    pub(super) fn queued(&self) {
        self.queued.fetch_add(1, Relaxed);
    }

    /// Flows that conntrack has forgotten of an address that was given anew.
    pub(super) fn forgotten(&self, flows: u64) {
        self.flows_forgotten.fetch_add(flows, Relaxed);
    }

    /// As a report has them.
    pub(crate) fn group(&self) -> BTreeMap<String, u64> {
        let all = [
            ("plugged", &self.plugged),
            ("unplugged", &self.unplugged),
            ("refused", &self.refused),
            ("undone", &self.undone),
            ("put_back", &self.put_back),
            ("queued", &self.queued),
            ("flows_forgotten", &self.flows_forgotten),
        ];
        all.map(|(name, count)| (name.to_owned(), count.load(Relaxed))).into()
    }
}
