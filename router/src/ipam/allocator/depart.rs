//! Owners that end: peers that an operator removes, and this node when it leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use peer_mesh::PeerName;

use super::io::{Answer, Flaw, Refusal};
use super::serve::Pending;
use super::{Allocator, Leaving};
use crate::ipam::Owner;

/// A removal is answered after this time at the latest,
const REMOVAL: Duration = Duration::from_secs(3);
/// and after this one if those who have not shown that they know of it cannot.
const UNREACHABLE: Duration = Duration::from_secs(1);

impl Allocator {
    pub(super) fn remove(
        &mut self,
        pending: &mut Pending,
        want: (PeerName, bool),
        now: Duration,
    ) -> Option<Result<Answer, Refusal>> {
        let (name, force) = want;
        if pending.removed.is_none() {
            if force && !std::mem::replace(&mut self.forced, true) {
                self.ring_changed = true;
            }
            match self.begin_removal(name, force) {
                Ok(removed) => pending.removed = Some(removed),
                Err(refusal) => return Some(Err(refusal)),
            }
        }
        let (epochs, addresses) = pending.removed.clone()?;
        let ring = self.ring.as_ref()?;
        let open = ring.is_pending();
        let waiting_for: Vec<_> = if open { self.awaited().collect() } else { Vec::new() };
        let cannot = waiting_for.iter().all(|it| !self.is_up(it.name) && it.name != self.own.name);
        let waited = now.saturating_sub(pending.since);
        let enough = waited >= REMOVAL || cannot && waited >= UNREACHABLE;
        let done = !open || enough;
        let next = if waited < UNREACHABLE { UNREACHABLE } else { REMOVAL };
        pending.look_at = Some(pending.since.saturating_add(next));
        done.then_some(Ok(Answer::Removed { epochs, addresses, waiting_for }))
    }

    /// Who is not up is removed with all its epochs, who is with all but the last, unless forced.
    fn begin_removal(&mut self, name: PeerName, force: bool) -> Result<(Vec<Owner>, u64), Refusal> {
        let Some(ring) = &self.ring else { return Err(Refusal::UnknownPeer(name)) };
        let mut epochs: Vec<Owner> =
            ring.owners().map(|(owner, _)| owner).filter(|it| it.name == name).collect();
        if epochs.is_empty() {
            // Once more: the answer is the same.
            let gone = ring.removed().filter(|it| it.name == name).chain(self.bygone.of(name));
            let gone: BTreeSet<Owner> = gone.collect();
            let had = gone.iter().filter_map(|it| self.bygone.addresses(*it)).sum();
            // Where nobody owns anything, whoever is gone may be gone for so long that nobody knows of it.
            let unknown = gone.is_empty() && !(force && self.is_ownerless());
            return match unknown {
                true => Err(Refusal::UnknownPeer(name)),
                false => Ok((gone.into_iter().collect(), had)),
            };
        }
        if name == self.own.name {
            // What this node remembers of its own is outdated: it may begin anew.
            let outdated = self.rolled_back && force;
            epochs.retain(|it| outdated || *it != self.own);
            if epochs.is_empty() {
                return Err(Refusal::Oneself(name));
            }
        } else if self.is_there(name) && !force {
            epochs.pop();
            if epochs.is_empty() {
                return Err(Refusal::Alive(name));
            }
        }
        let owned = epochs.iter().filter_map(|it| ring.record(*it)).map(|it| it.owned()).sum();
        let parts =
            epochs.iter().filter_map(|it| ring.record(*it)).flat_map(|it| it.segments.clone());
        let parts: Vec<_> =
            parts.filter(|_| self.config.flaw == Some(Flaw::CallerTakesAll)).collect();
        for owner in &epochs {
            self.removed_by_us(*owner);
        }
        parts.into_iter().for_each(|it| self.recover(it));
        Ok((epochs, owned))
    }

    pub(super) fn leave(&mut self) -> Option<Result<Answer, Refusal>> {
        if let Some(Leaving { heir, addresses, done }) = &self.left {
            return done.then_some(Ok(Answer::Left { heir: *heir, addresses: *addresses }));
        }
        // Nothing is leased any more, while an heir is waited for either.
        self.retract_all();
        let owned = self.own_record().map_or(0, |own| own.owned());
        let heir = self.heir();
        if owned > 0 && heir.is_none() {
            return None;
        }
        if let Some(heir) = heir.filter(|_| owned > 0) {
            self.offer_all(heir);
        }
        let name = heir.filter(|_| owned > 0).map(|it| it.name);
        self.left = Some(Leaving { heir: name, addresses: owned, done: false });
        self.finish_leaving();
        self.leave_if_done()
    }

    fn leave_if_done(&self) -> Option<Result<Answer, Refusal>> {
        let Leaving { heir, addresses, done } = self.left.as_ref()?;
        done.then_some(Ok(Answer::Left { heir: *heir, addresses: *addresses }))
    }

    /// The owner before us, so that parts stay together; else any.
    fn heir(&self) -> Option<Owner> {
        let ring = self.ring.as_ref()?;
        let first = self.own_record()?.segments.first()?.span;
        let others = ring.owners().filter(|(owner, _)| self.is_up(owner.name));
        let before = |(owner, record): (Owner, &crate::ipam::Record)| {
            let near = record.segments.iter().filter(|it| it.span.end() <= first.start());
            (near.map(|it| it.span.end()).max(), owner)
        };
        others.map(before).max().map(|(_, owner)| owner)
    }

    /// When all is taken over, this node is no owner any more.
    pub(super) fn finish_leaving(&mut self) {
        if self.left.as_ref().is_none_or(|it| it.done) {
            return;
        }
        let own = self.own_record();
        if own.is_some_and(|it| !it.segments.is_empty()) {
            // Back from an heir that has ended, or nobody's.
            return self.offer_again();
        }
        if own.is_some_and(|it| !it.offers.is_empty()) {
            return;
        }
        let leased: Vec<_> = self.leases.offsets().collect();
        for at in leased {
            self.leases.remove(at);
            self.store.lease(at);
        }
        if let Some(left) = &mut self.left {
            left.done = true;
        }
        self.removed_by_us(self.own);
    }

    fn offer_again(&mut self) {
        let Some(heir) = self.heir() else { return };
        self.offer_all(heir);
        if let Some(left) = &mut self.left {
            left.heir = Some(heir.name);
        }
    }
}
