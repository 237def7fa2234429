//! What follows from the ring as it is: what is handed on is taken up, what is nobody's is taken, and who was removed begins
//! anew.

use std::time::Duration;

use super::io::{Flaw, Word};
use super::{Allocator, LeaseState};
use crate::ipam::range::Span;
use crate::ipam::record::MAX_PARTS;
use crate::ipam::{Offer, Offset, Owner, Record, Ring, Segment};

/// Between two times that this node shows what it knows.
const BETWEEN: Duration = Duration::from_millis(100);
/// Between two times that it says how much it has to give.
pub(super) const HINT: Duration = Duration::from_secs(1);
/// So few are said as they are, more about.
const FEW: u64 = 4;

impl Allocator {
    /// Brings this node's record, space and leases in line with the ring.
    pub(super) fn settle(&mut self) {
        if self.pull.is_none() {
            self.sprout();
            self.bury();
        }
        self.look();
        if self.pull.is_some() {
            return;
        }
        if self.bygone.open().next().is_some() && !self.is_pending() {
            self.bygone.end();
        }
        if self.own_record().is_none() {
            return;
        }
        self.tell_forced();
        self.take_up();
        self.drop_taken();
        self.yield_usurped();
        let careless = self.config.flaw == Some(Flaw::NoBarrier);
        let agreed = self.is_pending() && (careless || self.awaited().next().is_none());
        self.reassured = true;
        if agreed && self.may_recover() {
            // Who takes what is decided by what all have shown, and not by what follows from it.
            let (back, gaps) = (self.stranded(), self.gaps());
            // Who was away may have been removed, and not know it yet.
            self.reassured = back.is_empty() && gaps.is_empty() || self.strange().is_empty();
            if self.reassured || careless {
                self.take_back(back);
                self.take_gaps(gaps);
                self.forget_removed();
            }
        }
        self.finish_leaving();
        self.look();
    }

    /// Whether there is something that all must agree on.
    fn is_pending(&self) -> bool {
        self.ring.as_ref().is_some_and(Ring::is_pending)
    }

    /// Our epoch was removed: what it owned is others'.
    pub(super) fn reborn(&mut self) {
        let Some(ring) = &self.ring else { return };
        if !ring.is_removed(self.own) || self.left.is_some() {
            return;
        }
        let old = self.own;
        self.reclaim_all();
        self.renew_epoch();
        self.rebuild_space();
        self.say(Word::Reborn(old, self.own));
    }

    /// What is offered to this node becomes its own.
    fn take_up(&mut self) {
        let Some(ring) = &self.ring else { return };
        let Some(own) = ring.record(self.own) else { return };
        let mut taken: Vec<(Owner, Offer)> = Vec::new();
        for (donor, record) in ring.owners().filter(|(donor, _)| *donor != self.own) {
            let fresh = record.offers.iter().filter(|it| it.to == self.own);
            let fresh = fresh.filter(|it| !own.has_taken(donor, it.serial));
            taken.extend(fresh.map(|offer| (donor, *offer)));
        }
        if taken.is_empty() || self.left.is_some() {
            return;
        }
        if self.config.flaw == Some(Flaw::NoTakeUp) {
            taken.iter().for_each(|(_, offer)| self.gain(offer.segment.span, offer.suspect));
            return;
        }
        self.write_own(|own| {
            for (donor, offer) in &taken {
                let Segment { span, version } = offer.segment;
                own.add(Segment { span, version: version + 1 });
                own.taken.retain(|(it, serial)| it != donor || *serial > offer.serial);
                if !own.taken.iter().any(|(it, _)| it == donor) {
                    own.taken.push((*donor, offer.serial));
                }
            }
            own.taken.sort_unstable();
        });
        for (_, offer) in &taken {
            self.gain(offer.segment.span, offer.suspect);
        }
        self.asks.got(&taken.iter().map(|(donor, _)| *donor).collect());
    }

    /// A span is this node's from now on.
    fn gain(&mut self, span: Span, suspect: bool) {
        if suspect {
            self.space.add_suspect(span);
        } else {
            self.space.add(span);
        }
        let leased: Vec<_> = self.leases.range(span).collect();
        for at in leased {
            self.space.remove(Span::one(at));
            self.settle_lease(at);
        }
        self.keep_probed();
        // Who looks for some is to know that there are.
        self.hinted_at = Duration::ZERO;
    }

    /// A lease of before is this node's own again.
    fn settle_lease(&mut self, at: Offset) {
        let state = self.leases.get(at).map(|it| it.state);
        if state.is_some_and(|state| state != LeaseState::Owned) {
            self.leases.set(at, LeaseState::Owned);
            self.store.lease(at);
            self.say(Word::Regained(self.config.range.addr(at)));
        }
    }

    /// Offers that were taken up are done, and so is what we took up and the donor no longer says.
    fn drop_taken(&mut self) {
        let Some(ring) = &self.ring else { return };
        let Some(own) = ring.record(self.own) else { return };
        let is_taken = |offer: &Offer| {
            ring.record(offer.to).is_some_and(|to| to.has_taken(self.own, offer.serial))
        };
        let is_said = |(donor, serial): &(Owner, u64)| {
            let says = |offer: &Offer| offer.to == self.own && offer.serial <= *serial;
            ring.record(*donor).is_some_and(|it| it.offers.iter().any(says))
        };
        let offers: Vec<_> = own.offers.iter().filter(|it| !is_taken(it)).copied().collect();
        let taken: Vec<_> = own.taken.iter().filter(|it| is_said(it)).copied().collect();
        if offers.len() < own.offers.len() || taken.len() < own.taken.len() {
            self.write_own(|own| (own.offers, own.taken) = (offers, taken));
        }
    }

    /// Two own the same, as after a copy of a disk: the higher version has it, then the lower owner.
    fn yield_usurped(&mut self) {
        let Some(ring) = &self.ring else { return };
        let Some(own) = ring.record(self.own) else { return };
        let rank = |segment: &Segment, owner: Owner| (segment.version, std::cmp::Reverse(owner));
        let mut lost: Vec<(Span, Owner)> = Vec::new();
        for (owner, record) in ring.owners().filter(|(owner, _)| *owner != self.own) {
            lost.extend(overlaps(&own.segments, &record.segments).filter_map(
                |(ours, theirs, span)| {
                    (rank(&theirs, owner) > rank(&ours, self.own)).then_some((span, owner))
                },
            ));
        }
        if !lost.is_empty() {
            self.retract_all();
        }
        for (span, by) in lost {
            self.write_own(|own| drop(own.cut(span)));
            self.space.remove(span);
            self.conflicts.usurped += 1;
            let from = self.config.range.addr(Offset::try_from(span.start()).unwrap_or(0));
            self.say(Word::Usurped { from, count: span.len(), by });
            let leased: Vec<_> = self.leases.range(span).collect();
            for at in leased {
                self.leases.set(at, LeaseState::Reclaiming);
                self.store.lease(at);
            }
            self.asks.reclaim_at = Duration::ZERO;
        }
    }

    /// Our offers to somebody who was removed: what nobody else has of them.
    fn stranded(&self) -> Vec<(Offer, Vec<Span>)> {
        let Some(ring) = &self.ring else { return Vec::new() };
        let claims = ring.claims();
        let own = ring.stranded().filter(|(donor, _)| *donor == self.own);
        let parts = own.map(|(_, offer)| {
            // Its recipient may have taken it up, and handed parts of it on.
            let others = claims.iter().filter(|(_, owner, _)| *owner != offer.to);
            let others: Vec<_> = others.map(|(span, ..)| *span).collect();
            (offer, rest(offer.segment.span, &others))
        });
        parts.collect()
    }

    /// They are ours again: all agree that nobody has taken them up.
    fn take_back(&mut self, back: Vec<(Offer, Vec<Span>)>) {
        if back.is_empty() {
            return;
        }
        let version = self.ring.as_ref().map_or(0, Ring::next_generation);
        self.write_own(|own| own.offers.retain(|it| back.iter().all(|(offer, _)| offer != it)));
        for span in back.into_iter().flat_map(|(_, parts)| parts) {
            self.recover(Segment { span, version });
        }
    }

    /// Gaps that are ours to take.
    fn gaps(&self) -> Vec<Span> {
        let Some(ring) = &self.ring else { return Vec::new() };
        ring.gaps().into_iter().filter(|gap| ring.taker(*gap) == Some(self.own)).collect()
    }

    fn take_gaps(&mut self, gaps: Vec<Span>) {
        let version = self.ring.as_ref().map_or(0, Ring::next_generation);
        for span in gaps {
            self.recover(Segment { span, version });
        }
    }

    pub(super) fn recover(&mut self, segment: Segment) {
        self.write_own(|own| own.add(segment));
        self.gain(segment.span, true);
        let from = Offset::try_from(segment.span.start()).unwrap_or(0);
        let from = self.config.range.addr(from);
        self.say(Word::Recovered { from, count: segment.span.len() });
    }

    /// When all is somebody's again, nobody needs to remember who was removed.
    fn forget_removed(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let whole = ring.gaps().is_empty() && ring.stranded().next().is_none();
        let count = ring.removed().count();
        if whole && count > 0 && ring.agreed() {
            ring.rise(ring.last_born());
            self.horizon_by_us();
            self.say(Word::RemovalDone(count));
        }
    }

    /// For which owners what is nobody's waits: who has not shown that it knows of it; and who has and is out of reach, as it
    /// may have removed this node since, which was away.
    pub(super) fn awaited(&self) -> impl Iterator<Item = Owner> {
        let digest = self.ring.as_ref().map(Ring::digest);
        let owners = self.ring.iter().flat_map(Ring::owners);
        let is_here = |it: Owner| it == self.own || self.is_up(it.name);
        let awaited = move |(owner, record): &(Owner, &Record)| {
            Some(record.shown) != digest || !is_here(*owner)
        };
        owners.filter(awaited).map(|(owner, _)| owner)
    }

    /// Looks whether others wait for this node to show what it knows.
    pub(super) fn look(&mut self) {
        let ring = self.ring.as_ref().filter(|_| self.pull.is_none());
        let ring = ring.filter(|ring| ring.record(self.own).is_some() && ring.is_pending());
        let digest = ring.map(Ring::digest);
        let shown = self.own_record().map(|own| own.shown);
        self.to_show = digest.filter(|digest| Some(*digest) != shown);
    }

    /// Shows what it knows, while there is something that all must agree on.
    pub(super) fn show(&mut self, now: Duration) {
        if self.ring_changed {
            self.look();
        }
        if now < self.show_at {
            return;
        }
        if let Some(digest) = self.to_show.take() {
            self.show_at = now + BETWEEN;
            self.write_own(|own| own.shown = digest);
        }
    }

    /// Whether what others believe to be free here is far from true.
    pub(super) fn is_to_hint(&self) -> bool {
        let Some(own) = self.own_record().filter(|_| self.pull.is_none()) else { return false };
        let free = self.free();
        class(free) != class(own.free) || free <= FEW && free != own.free
    }

    /// Says how much it has to give.
    pub(super) fn hint(&mut self, now: Duration) {
        if now >= self.hinted_at + HINT && self.is_to_hint() {
            self.hinted_at = now;
            let free = self.free();
            self.write_own(|own| own.free = free);
        }
    }

    /// Whether a record has room for more parts: it must fit a message.
    pub(super) fn has_room(record: &Record) -> bool {
        record.segments.len() + record.offers.len() + record.taken.len() < MAX_PARTS / 2
    }
}

/// About how many.
fn class(count: u64) -> u32 {
    count.checked_ilog2().map_or(0, |log| log + 1)
}

/// What two lists of segments, each in order, both have.
fn overlaps<'a>(
    ours: &'a [Segment],
    theirs: &'a [Segment],
) -> impl Iterator<Item = (Segment, Segment, Span)> + 'a {
    theirs.iter().flat_map(move |their| {
        let from = ours.partition_point(|it| it.span.end() <= their.span.start());
        let near = ours.get(from..).unwrap_or_default().iter();
        let near = near.take_while(|it| it.span.start() < their.span.end());
        near.filter_map(|our| Some((*our, *their, our.span.intersection(their.span)?)))
    })
}

/// What is left of a span without others.
fn rest(span: Span, others: &[Span]) -> Vec<Span> {
    others.iter().fold(vec![span], |left, other| {
        left.into_iter().flat_map(|it| it.without(*other)).flatten().collect()
    })
}
