//! What an owner says of itself: its part of the range, and what it hands on.

use serde::{Deserialize, Serialize};

use super::range::Span;
use super::{Offset, Owner};

/// Most segments of a record, and most offers: what comes with more is not read.
pub(super) const MAX_PARTS: usize = 4_096;
/// Octets of a later version that are kept.
pub(super) const MAX_MORE: usize = 512;

/// What an owner says of itself. Only it writes, and each time with a higher version.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Record {
    /// How often it was written.
    pub version: u64,
    /// The digest of all that the owner knew when it last showed it: see [`super::Ring::agreed`].
    pub shown: u64,
    /// About how many addresses it has to give.
    pub free: u64,
    /// What it owns: in order, apart from each other.
    pub segments: Vec<Segment>,
    /// What it has handed on, and the recipient has not yet confirmed.
    pub offers: Vec<Offer>,
    /// The last offer of each donor that was taken up, while the donor still says it.
    pub taken: Vec<(Owner, u64)>,
    /// The number of its last offer.
    pub serial: u64,
    /// An operator wants that what nobody has is taken, though no majority of the beginning is there.
    #[serde(default)]
    pub forced: bool,
    /// Octets of a later version: kept, and passed on.
    pub more: Vec<u8>,
}

/// A part of the range.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Segment {
    /// Which.
    pub span: Span,
    /// How often it has changed hands. Of two who own the same, the higher one does.
    pub version: u64,
}

/// A part of the range that is on its way from one owner to another.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Offer {
    /// The donor's count of offers.
    pub serial: u64,
    /// Which part,
    pub segment: Segment,
    /// and to whom.
    pub to: Owner,
    /// Whether somebody may still use addresses of it, whom nobody asked.
    pub suspect: bool,
}

impl Record {
    /// Whether it is of any form that an owner writes.
    pub fn is_sound(&self, range: Span) -> bool {
        let within = |segment: &Segment| range.covers(segment.span);
        let apart = |pair: &[Segment]| match pair {
            [left, right] => left.span.end() <= right.span.start(),
            _ => true,
        };
        self.segments.iter().all(within)
            && self.segments.windows(2).all(apart)
            && self.offers.iter().all(|offer| within(&offer.segment) && offer.serial <= self.serial)
    }

    /// The segment that an address is in.
    pub fn segment_at(&self, at: Offset) -> Option<Segment> {
        let after = self.segments.partition_point(|it| it.span.start() <= u64::from(at));
        let segment = self.segments.get(after.checked_sub(1)?)?;
        segment.span.contains(at).then_some(*segment)
    }

    /// How many addresses it owns.
    pub fn owned(&self) -> u64 {
        self.segments.iter().map(|it| it.span.len()).sum()
    }

    /// Whether it has taken up that offer of that donor.
    pub fn has_taken(&self, donor: Owner, serial: u64) -> bool {
        self.taken.iter().any(|(it, last)| *it == donor && *last >= serial)
    }

    /// Adds a segment; neighbours become one.
    pub(super) fn add(&mut self, segment: Segment) {
        self.cut(segment.span);
        let at = self.segments.partition_point(|it| it.span.start() < segment.span.start());
        self.segments.insert(at, segment);
        let mut joined: Vec<Segment> = Vec::with_capacity(self.segments.len());
        for segment in self.segments.drain(..) {
            if let Some(last) = joined.last_mut()
                && last.span.end() == segment.span.start()
                && let Some(span) = Span::new(last.span.start(), segment.span.end())
            {
                *last = Segment { span, version: last.version.max(segment.version) };
            } else {
                joined.push(segment);
            }
        }
        self.segments = joined;
    }

    /// Takes a part away; what it had there.
    pub(super) fn cut(&mut self, span: Span) -> Vec<Segment> {
        let mut taken = Vec::new();
        let mut left = Vec::with_capacity(self.segments.len() + 1);
        for Segment { span: has, version } in self.segments.drain(..) {
            match has.intersection(span) {
                None => left.push(Segment { span: has, version }),
                Some(both) => {
                    taken.push(Segment { span: both, version });
                    let rest = has.without(both).into_iter().flatten();
                    left.extend(rest.map(|span| Segment { span, version }));
                }
            }
        }
        self.segments = left;
        taken
    }

    /// A hash of what the owner owns and hands on, with the owner.
    pub(super) fn content(&self, owner: Owner) -> u64 {
        let mut hash = Hash::default();
        hash.owner(owner);
        for segment in &self.segments {
            hash.segment(*segment);
        }
        hash.add(u64::MAX);
        for offer in &self.offers {
            hash.add(offer.serial);
            hash.segment(offer.segment);
            hash.owner(offer.to);
        }
        hash.add(u64::MAX);
        for (donor, serial) in &self.taken {
            hash.owner(*donor);
            hash.add(*serial);
        }
        hash.finish()
    }

    /// A hash of all of it, with the owner.
    pub(super) fn whole(&self, owner: Owner) -> u64 {
        let mut hash = Hash::default();
        [self.content(owner), self.version, self.shown, self.free, self.serial]
            .into_iter()
            .for_each(|it| hash.add(it));
        hash.add(u64::from(self.forced));
        self.more.iter().for_each(|it| hash.add(u64::from(*it)));
        hash.finish()
    }
}

/// FNV-1a by words, mixed: the same in every release, and no use to who wants two alike to differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(super) fn add(&mut self, word: u64) {
        let mixed = (word ^ (word >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = (self.0 ^ mixed ^ (mixed >> 29)).wrapping_mul(0x0100_0000_01b3);
        self.0 ^= self.0 >> 32;
    }

    pub(super) fn owner(&mut self, owner: Owner) {
        self.add(owner.name.to_u64());
        self.add(owner.epoch.0);
    }

    fn segment(&mut self, segment: Segment) {
        self.add(segment.span.start());
        self.add(segment.span.end());
        self.add(segment.version);
    }

    pub(super) fn finish(self) -> u64 {
        (self.0 ^ (self.0 >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}
