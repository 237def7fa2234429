//! Comparing what two neighbours believe, and exchanging what differs.
//!
//! Every keepalive carries the root hash of its sender's digest. When a neighbour's differs from ours, and from what ours was in the
//! last seconds, twice in a row, one of the two (the lower name; the higher if that does not happen) sends the hashes of its 64 buckets.
//! The other answers with names and hashes of all it holds in the buckets that differ; the first then sends what the
//! other lacks and asks for what itself lacks. One comparison at a time, so that a newcomer with many neighbours fetches the mesh once.

use std::collections::VecDeque;
use std::time::Duration;

use super::outgoing::Form;
use super::{KEEPALIVE, Mesh};
use crate::digest::{BUCKETS, bucket_of, covers};
use crate::wire::{MAX_ENTRIES, Message};
use crate::{ChannelName, ConnId, PeerName};

/// A comparison that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(5);
/// Own roots remembered: a neighbour that is that far behind is only slow.
const RECENT: Duration = Duration::from_secs(5);
/// While what we believe keeps changing, a comparison is of little use, and made only this often.
const WHILE_CHANGING: Duration = Duration::from_secs(10);

/// The comparison that we have begun, and what our root was.
#[derive(Debug)]
pub(super) struct Sync {
    with: Option<(ConnId, Duration)>,
    last: Option<Duration>,
    roots: VecDeque<(u64, Duration)>,
    changed: Duration,
}

impl Sync {
    pub(super) fn new(now: Duration) -> Self {
        Self { with: None, last: None, roots: VecDeque::new(), changed: now }
    }

    /// Notes our present root; to be called every half second.
    pub(super) fn tick(&mut self, root: u64, now: Duration) {
        if self.roots.back().is_none_or(|&(last, _)| last != root) {
            self.changed = now;
            self.roots.push_back((root, now));
        }
        // A root was ours until the next one was.
        while self.roots.get(1).is_some_and(|&(_, since)| since + RECENT < now) {
            self.roots.pop_front();
        }
        self.with = self.with.filter(|&(_, began)| now < began + DEADLINE);
    }

    pub(super) fn ended(&mut self, id: ConnId) {
        self.with = self.with.filter(|&(with, _)| with != id);
    }

    fn was_ours(&self, root: u64) -> bool {
        self.roots.iter().any(|&(ours, _)| ours == root)
    }

    fn may_begin(&self, now: Duration) -> bool {
        let quiet = now >= self.changed + KEEPALIVE;
        self.with.is_none() && (quiet || self.last.is_none_or(|last| now >= last + WHILE_CHANGING))
    }
}

impl Mesh {
    pub(super) fn send_keepalives(&mut self, now: Duration) {
        let linked: Vec<_> = self.links.values().copied().collect();
        for id in linked {
            self.send_keepalive(id, now);
        }
    }

    pub(super) fn send_keepalive(&mut self, id: ConnId, now: Duration) {
        let keepalive = Message::Keepalive { root: self.root(), digests: self.channels.digests() };
        self.send_message(id, keepalive, now);
    }

    pub(super) fn handle_keepalive(
        &mut self,
        id: ConnId,
        root: u64,
        digests: &[(ChannelName, u64)],
        now: Duration,
    ) {
        let ours = self.root();
        let known = root == ours || self.sync.was_ours(root);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(name) = conn.peer() else { return };
        conn.mismatches = if known { 0 } else { conn.mismatches + 1 };
        let first = now < conn.opened + KEEPALIVE && self.sync.last.is_none() && conn.outbound;
        let patience = if first {
            1
        } else if self.own.name < name {
            2
        } else {
            4
        };
        if conn.mismatches >= patience
            && (first && self.sync.with.is_none() || self.sync.may_begin(now))
        {
            conn.mismatches = 0;
            self.begin_sync(id, now);
        }
        for event in self.channels.compare(name, digests, now) {
            self.event(event);
        }
    }

    fn begin_sync(&mut self, id: ConnId, now: Duration) {
        let buckets = Message::Buckets(Box::new(*self.directory.digest().buckets()));
        if self.send_message(id, buckets, now) {
            self.sync.with = Some((id, now));
        }
    }

    /// A neighbour shows its digest: answer with what we hold where it differs.
    /// It has no reason to do so before it is a neighbour, nor twice between two keepalives: the answer costs a look at all
    /// that we know.
    pub(super) fn handle_buckets(&mut self, id: ConnId, buckets: &[u64; BUCKETS], now: Duration) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.is_linked()) else { return };
        if conn.compared.is_some_and(|last| now < last + KEEPALIVE / 2) {
            self.stats.dropped += 1;
            return;
        }
        conn.compared = Some(now);
        let map = self.fitting(self.directory.digest().differing(buckets));
        let entries: Vec<_> = self.held(map).collect();
        self.send_message(id, Message::Held { buckets: map, entries }, now);
    }

    /// Of these buckets as many, the last first, as one answer holds. What does not fit is left for the next comparison.
    fn fitting(&self, map: u64) -> u64 {
        let mut counts = [0; BUCKETS];
        for (name, _) in self.held(map) {
            if let Some(count) = counts.get_mut(bucket_of(name)) {
                *count += 1;
            }
        }
        let (mut left, mut fitting) = (MAX_ENTRIES, 0);
        for (bucket, count) in counts.iter().enumerate().rev().filter(|(n, _)| map >> n & 1 == 1) {
            let Some(rest) = left.checked_sub(*count) else { break };
            (left, fitting) = (rest, fitting | 1 << bucket);
        }
        fitting
    }

    fn held(&self, map: u64) -> impl Iterator<Item = (PeerName, u64)> {
        let up = self.directory.up().filter(move |&(name, _)| covers(map, name));
        up.map(|(name, entry)| (name, entry.record.stamp().hash))
    }

    /// The answer: what one lacks and the other holds changes hands.
    pub(super) fn handle_held(
        &mut self,
        id: ConnId,
        map: u64,
        entries: &[(PeerName, u64)],
        now: Duration,
    ) {
        if self.sync.with.is_none_or(|(with, _)| with != id) {
            return;
        }
        self.sync.with = None;
        self.sync.last = Some(now);
        let theirs: std::collections::BTreeMap<_, _> = entries.iter().copied().collect();
        let lacking: Vec<_> = self
            .held(map)
            .filter(|(name, hash)| theirs.get(name) != Some(hash))
            .map(|(name, _)| name)
            .collect();
        let is_ours = |name, hash| {
            self.directory.get(name).is_some_and(|entry| entry.record.stamp().hash == hash)
        };
        let wanted: Vec<_> = theirs
            .iter()
            .filter(|&(&name, &hash)| !is_ours(name, hash))
            .map(|(&name, _)| name)
            .collect();
        for names in wanted.chunks(MAX_ENTRIES) {
            self.send_message(id, Message::Want(names.to_vec()), now);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        for name in lacking {
            conn.out.want(name, Form::Whole, now);
        }
    }

    /// A neighbour asks for records.
    pub(super) fn handle_want(&mut self, id: ConnId, names: &[PeerName], now: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        for &name in names.iter().filter(|&&name| self.directory.get(name).is_some()) {
            conn.out.want(name, Form::Whole, now);
        }
    }
}
