//! Ring: who owns which part of the address range.
//!
//! Each owner has a [`Record`] that only it writes, with the segments that it owns and the offers by which it hands parts of
//! them on. Rings of the same id merge, whatever is lost, doubled or late on the way:
//!
//! - of two versions of a record the higher one counts;
//! - an owner that was seen and is seen no more has been removed, and stays so.
//!
//! For the second a ring knows whom it has ever seen: those with a record, those in `removed`, and all epochs born up to the
//! `horizon`. So merging is the union of two sets that only grow, seen and removed, and of the greater records: commutative,
//! associative and idempotent, by construction.
//!
//! A segment changes hands in three writes: the donor turns it into an offer; the recipient takes the offer up as a segment
//! of its own, with a higher version; the donor drops the offer. At any time one of both has it in its record.
//!
//! What nobody has in his record, a gap, is left by owners that were removed. It may be taken only when all owners have
//! shown the digest of the same ring ([`Ring::agreed`]), and only by the owner before it ([`Ring::taker`]). When there is
//! no gap left and all agree, the removed are forgotten up to a new horizon: the ring does not grow with its past.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Epoch;
use super::range::Span;
use super::record::Hash;
use super::{Offset, Owner, Range, Record, Segment};

/// Versions between two agreements about what nobody has: more than a segment changes hands.
const GENERATION: u64 = 1 << 32;

/// What tells rings apart that were begun separately.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RingId(pub u64);

impl std::fmt::Display for RingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who owns which part of the range. See the module.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ring {
    pub(super) id: RingId,
    pub(super) range: Range,
    pub(super) horizon: u32,
    /// Born after the horizon.
    pub(super) removed: BTreeSet<Owner>,
    pub(super) records: BTreeMap<Owner, Record>,
}

/// A part of a ring, or all of it, on its way to others.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Patch {
    /// Records.
    pub records: Vec<(Owner, Record)>,
    /// Owners that were removed.
    pub removed: Vec<Owner>,
    /// All that have a record, and the horizon: whoever was born up to it and is not among them is removed.
    pub roster: Option<(u32, BTreeSet<Owner>)>,
    /// If it says all that its sender knew: how many it has removed. With the roster goes everything else, though perhaps in
    /// several messages.
    pub whole: Option<usize>,
    /// Its sender, who owns under this epoch, has restored it, and does not know yet what others know of it.
    pub tentative: Option<Epoch>,
}

/// What merging has changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct News {
    /// Whose record.
    pub records: BTreeSet<Owner>,
    /// Who is removed.
    pub removed: BTreeSet<Owner>,
    /// How many addresses each of those had.
    pub left: BTreeMap<Owner, u64>,
    /// Whether the horizon has risen.
    pub horizon: bool,
}

impl News {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.removed.is_empty() && !self.horizon
    }
}

impl Ring {
    /// A ring that is divided among these owners, in blocks.
    pub fn divided(id: RingId, range: Range, owners: &BTreeSet<Owner>) -> Self {
        let owners: Vec<Owner> = owners.iter().copied().collect();
        let mut records = BTreeMap::new();
        divide(range.span(), &owners, &mut records);
        records.values_mut().for_each(|record| record.free = record.owned());
        Self { id, range, horizon: 0, removed: BTreeSet::new(), records }
    }

    /// A ring that others have told whole.
    pub fn told(id: RingId, range: Range, whole: Patch) -> Self {
        let horizon = whole.roster.map_or(0, |(horizon, _)| horizon);
        let after = |it: &Owner| it.epoch.born() > horizon;
        let removed = whole.removed.into_iter().filter(after).collect();
        let mut it = Self { id, range, horizon, removed, records: BTreeMap::new() };
        for (owner, record) in whole.records {
            let known = it.records.entry(owner).or_default();
            if *known < record {
                *known = record;
            }
        }
        it
    }

    /// What tells it from others.
    pub const fn id(&self) -> RingId {
        self.id
    }

    /// What it divides.
    pub const fn range(&self) -> Range {
        self.range
    }

    /// All owners that were not removed, and what they say.
    pub fn owners(&self) -> impl Iterator<Item = (Owner, &Record)> {
        self.records.iter().map(|(owner, record)| (*owner, record))
    }

    /// What an owner says.
    pub fn record(&self, owner: Owner) -> Option<&Record> {
        self.records.get(&owner)
    }

    /// Those removed whose removal is not yet forgotten.
    pub fn removed(&self) -> impl Iterator<Item = Owner> {
        self.removed.iter().copied()
    }

    /// Whether it was removed.
    pub fn is_removed(&self, owner: Owner) -> bool {
        self.removed.contains(&owner)
            || owner.epoch.born() <= self.horizon && !self.records.contains_key(&owner)
    }

    /// After which epoch a new owner is to be born.
    pub fn last_born(&self) -> u32 {
        let owners = self.records.keys().chain(&self.removed);
        owners.map(|it| it.epoch.born()).fold(self.horizon, u32::max)
    }

    /// Takes up what others know.
    pub fn merge(&mut self, patch: Patch) -> News {
        let mut news = News::default();
        let Patch { records, removed, roster, whole: _, tentative: _ } = patch;
        let (horizon, alive) = roster.map_or((0, None), |(horizon, alive)| (horizon, Some(alive)));
        let is_gone = |owner: &Owner| {
            let missed = alive.as_ref().is_some_and(|alive| !alive.contains(owner));
            missed && owner.epoch.born() <= horizon
        };
        let gone = self.records.keys().copied().filter(is_gone).collect::<Vec<_>>();
        let known = |owner: &Owner| self.is_removed(*owner);
        let records: Vec<_> = records.into_iter().filter(|(owner, _)| !known(owner)).collect();
        for owner in removed.into_iter().chain(gone) {
            let had = self.records.get(&owner).map_or(0, Record::owned);
            if self.remove(owner) {
                news.removed.insert(owner);
                news.left.insert(owner, had);
            }
        }
        for (owner, record) in
            records.into_iter().filter(|(owner, _)| !news.removed.contains(owner))
        {
            if self.records.get(&owner).is_none_or(|own| *own < record) {
                self.records.insert(owner, record);
                news.records.insert(owner);
            }
        }
        if alive.is_some() && horizon > self.horizon {
            self.rise(horizon);
            news.horizon = true;
        }
        news
    }

    /// All of it.
    pub fn whole(&self) -> Patch {
        Patch {
            records: self.records.iter().map(|(owner, record)| (*owner, record.clone())).collect(),
            removed: self.removed.iter().copied().collect(),
            roster: Some(self.roster()),
            whole: Some(self.removed.len()),
            tentative: None,
        }
    }

    /// What has changed.
    pub fn part(&self, news: &News) -> Patch {
        let record = |owner: &Owner| Some((*owner, self.records.get(owner)?.clone()));
        Patch {
            records: news.records.iter().filter_map(record).collect(),
            removed: news.removed.iter().copied().collect(),
            roster: news.horizon.then(|| self.roster()),
            whole: None,
            tentative: None,
        }
    }

    fn roster(&self) -> (u32, BTreeSet<Owner>) {
        (self.horizon, self.records.keys().copied().collect())
    }

    /// Removes an owner for good. Whether that is news.
    pub(super) fn remove(&mut self, owner: Owner) -> bool {
        let news = !self.is_removed(owner);
        self.records.remove(&owner);
        if news && owner.epoch.born() > self.horizon {
            self.removed.insert(owner);
        }
        news
    }

    /// Forgets the removed that were born up to there.
    pub(super) fn rise(&mut self, horizon: u32) {
        self.horizon = self.horizon.max(horizon);
        let horizon = self.horizon;
        self.removed.retain(|it| it.epoch.born() > horizon);
    }

    /// Writes an owner's record, with the next version.
    pub(super) fn write(&mut self, owner: Owner, change: impl FnOnce(&mut Record)) {
        let record = self.records.entry(owner).or_default();
        change(record);
        record.version += 1;
    }

    /// What all owners must know alike before a gap is taken. Never zero.
    pub fn digest(&self) -> u64 {
        let mut hash = Hash::default();
        hash.add(self.id.0);
        hash.add(u64::from(self.horizon));
        self.removed.iter().for_each(|it| hash.owner(*it));
        let records = self.records.iter().map(|(owner, record)| record.content(*owner));
        hash.add(records.fold(0, u64::wrapping_add));
        hash.finish().max(1)
    }

    /// A digest of all that it holds.
    pub fn whole_digest(&self) -> u64 {
        let records = self.records.iter().map(|(owner, record)| record.whole(*owner));
        records.fold(self.digest(), u64::wrapping_add)
    }

    /// The version of what is taken by agreement: above all that its former owners may have handed on since, unheard.
    pub(super) fn next_generation(&self) -> u64 {
        let segments = self.records.values().flat_map(|it| &it.segments);
        let last = segments.map(|it| it.version).max().unwrap_or(0);
        (last / GENERATION + 1).saturating_mul(GENERATION)
    }

    /// Whether there is something that all must agree on: somebody was removed, or something is nobody's.
    pub fn is_pending(&self) -> bool {
        !self.removed.is_empty() || !self.gaps().is_empty() || self.stranded().next().is_some()
    }

    /// Offers to somebody who was removed, and whose they were.
    pub(super) fn stranded(&self) -> impl Iterator<Item = (Owner, super::Offer)> {
        let offers = |(owner, record): (Owner, &'_ Record)| {
            let offers = record.offers.clone().into_iter();
            offers.map(move |offer| (owner, offer))
        };
        self.owners().flat_map(offers).filter(|(_, offer)| self.is_removed(offer.to))
    }

    /// Whether all owners have shown that they know what this ring knows.
    pub fn agreed(&self) -> bool {
        self.unshown().next().is_none()
    }

    /// Who has not.
    pub fn unshown(&self) -> impl Iterator<Item = Owner> {
        let digest = self.digest();
        self.owners().filter(move |(_, it)| it.shown != digest).map(|(owner, _)| owner)
    }

    /// What nobody has: neither owned, nor on its way.
    pub fn gaps(&self) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for (span, ..) in self.claims() {
            gaps.extend(Span::new(at, span.start()));
            at = at.max(span.end());
        }
        gaps.extend(Span::new(at, self.range.span().end()));
        gaps
    }

    /// Who may take a gap, when all agree: the owner of the segment before it, around the circle.
    pub fn taker(&self, gap: Span) -> Option<Owner> {
        let before = |(owner, record): (Owner, &Record)| {
            let last = |segments: &[Segment]| segments.last().map(|it| it.span.start());
            let split = record.segments.partition_point(|it| it.span.start() < gap.start());
            let near = record.segments.get(..split).and_then(last);
            // After all that is before the gap comes, around the circle, what is behind it.
            near.map(|at| (true, at))
                .or_else(|| Some((false, last(&record.segments)?)))
                .map(|at| (at, owner))
        };
        let nearest = self.owners().filter_map(before).max().map(|(_, owner)| owner);
        nearest.or_else(|| self.records.keys().next().copied())
    }

    /// Segments, and offers that are not taken up, by their start: which part, whose, and the version.
    pub fn claims(&self) -> Vec<(Span, Owner, u64)> {
        let mut claims = Vec::new();
        for (owner, record) in &self.records {
            claims.extend(record.segments.iter().map(|it| (it.span, *owner, it.version)));
            for offer in &record.offers {
                let to = self.records.get(&offer.to);
                if !to.is_some_and(|it| it.has_taken(*owner, offer.serial)) {
                    claims.push((offer.segment.span, offer.to, offer.segment.version));
                }
            }
        }
        claims.sort_unstable();
        claims
    }

    /// Who owns an address, as far as is known here.
    pub fn owner_of(&self, at: Offset) -> Option<Owner> {
        let has = |(owner, record): (Owner, &Record)| {
            record.segment_at(at).map(|segment| (segment.version, owner))
        };
        let offered = |(owner, record): (Owner, &Record)| {
            let to = |it: &&super::Offer| it.segment.span.contains(at) && !self.is_removed(it.to);
            let offer = record.offers.iter().find(to)?;
            let taken = self.record(offer.to).is_some_and(|it| it.has_taken(owner, offer.serial));
            (!taken).then_some((offer.segment.version, offer.to))
        };
        let owners = self.owners().filter_map(has).chain(self.owners().filter_map(offered));
        owners.max().map(|(_, owner)| owner)
    }
}

/// Halves the span while there are several owners.
fn divide(span: Span, owners: &[Owner], records: &mut BTreeMap<Owner, Record>) {
    let (left, right) = owners.split_at(owners.len() / 2);
    let middle = span.start() + span.len() / 2;
    match (Span::new(span.start(), middle), Span::new(middle, span.end()), owners) {
        (_, _, []) => {}
        (Some(first), Some(second), [_, _, ..]) => {
            divide(first, left, records);
            divide(second, right, records);
        }
        // One owner, or one address.
        (_, _, [owner, others @ ..]) => {
            let segments = vec![Segment { span, version: 1 }];
            records.insert(*owner, Record { version: 1, segments, ..Record::default() });
            for other in others {
                records.insert(*other, Record { version: 1, ..Record::default() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
