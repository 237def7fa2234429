use crate::PeerName;
use crate::dice::mix;

/// Buckets of a digest: each names about 16 of 1 000 records, so that finding one that differs costs 64 hashes and 16 names.
pub(crate) const BUCKETS: usize = 64;

/// A hash of a set of records, kept up to date as records come and go: the sum of their content hashes by exclusive or,
/// apart in buckets by name. Equal sets have equal digests in whatever order they were built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Digest([u64; BUCKETS]);

impl Digest {
    pub(crate) const EMPTY: Self = Self([0; BUCKETS]);

    /// Adds a record with this content hash, or takes it away if it was there.
    pub(crate) fn toggle(&mut self, name: PeerName, hash: u64) {
        if let Some(bucket) = self.0.get_mut(bucket_of(name)) {
            *bucket ^= mix(hash);
        }
    }

    /// One hash of all.
    pub(crate) fn root(&self) -> u64 {
        self.0.iter().fold(0, |root, &bucket| mix(root ^ bucket))
    }

    pub(crate) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.0
    }

    /// The buckets that differ, as a bitmap.
    pub(crate) fn differing(&self, theirs: &[u64; BUCKETS]) -> u64 {
        let differ = self.0.iter().zip(theirs).map(|(ours, theirs)| u64::from(ours != theirs));
        differ.rev().fold(0, |map, bit| map << 1 | bit)
    }
}

/// The bucket a name belongs to.
pub(crate) fn bucket_of(name: PeerName) -> usize {
    usize::try_from(mix(name.to_u64()) % BUCKETS as u64).unwrap_or(0)
}

/// Whether a bitmap of buckets has this name's.
pub(crate) fn covers(map: u64, name: PeerName) -> bool {
    map >> bucket_of(name) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_records_does_not_matter_and_what_is_taken_away_leaves_no_trace() {
        let (a, b) = (PeerName::local(1), PeerName::local(2));
        let mut one = Digest::EMPTY;
        let mut other = Digest::EMPTY;

        one.toggle(a, 7);
        one.toggle(b, 8);
        other.toggle(b, 8);
        other.toggle(a, 6);
        other.toggle(a, 6);
        other.toggle(a, 7);

        assert_eq!(one, other);
        assert_ne!(one.root(), Digest::EMPTY.root());
    }

    #[test]
    fn only_the_bucket_of_a_record_differs() {
        let name = PeerName::local(99);
        let mut digest = Digest::EMPTY;
        digest.toggle(name, 1);

        let map = digest.differing(Digest::EMPTY.buckets());

        assert_eq!(map.count_ones(), 1);
        assert!(covers(map, name));
    }
}
