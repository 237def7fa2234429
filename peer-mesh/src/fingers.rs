//! Which links a peer wants: a small world over the ring of names.
//!
//! Names lie on a circle of 2^48. A peer wants the two names on each side of it, so that the ring holds when
//! any one peer is lost, and *fingers*: the successor of its own name plus 2^48 / 2^k for each k, so that any
//! peer is reached in about log2(n) hops. The points are taken by key space and not by rank: a join moves
//! only the fingers whose point lies just before the new name, about log2(n) in the whole mesh, and not every peer's.
//! A peer that cannot be had (full, or not reached by dialling) is passed over for the next clockwise.
//!
//! Up to [`CLIQUE`] peers everybody wants everybody, if the degree allows it.

use std::collections::BTreeSet;

use crate::PeerName;
use crate::dice::mix;

/// Neighbours wanted on each side of the ring.
pub(crate) const SIDE: usize = 2;
/// Below this many links a peer looks for more.
pub(crate) const LEAST: usize = 16;
/// Meshes of at most this many peers are full meshes.
pub(crate) const CLIQUE: usize = LEAST + 1;

const SPACE: u64 = 1 << 48;

/// The circle of names: sorted, each once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a> {
    names: &'a [PeerName],
    /// Meshes of at most this many peers are full meshes.
    clique: usize,
}

impl<'a> Ring<'a> {
    /// `names` are sorted; nobody keeps more than `degree` links.
    pub(crate) fn new(names: &'a [PeerName], degree: usize) -> Self {
        Self { names, clique: CLIQUE.min(degree + 1) }
    }

    /// All names once, clockwise, from the first that is not before `point`.
    fn from(self, point: u64) -> impl Iterator<Item = PeerName> + use<'a> {
        let at = self.names.partition_point(|name| name.to_u64() < point % SPACE);
        let (before, after) = self.names.split_at(at);
        after.iter().chain(before).copied()
    }

    /// The neighbours of `own` on both sides, clockwise ones first. Being beside each other is mutual.
    pub(crate) fn sides(self, own: PeerName) -> Vec<PeerName> {
        let others = || self.from(own.to_u64() + 1).filter(move |&name| name != own);
        let count = others().count();
        let mut sides: Vec<_> = others().take(SIDE).collect();
        sides.extend(others().skip(count.saturating_sub(SIDE).max(sides.len())));
        sides
    }

    /// Whom `own` should have links with; `open` says whom it can have. More than `least` only where ring and fingers say so.
    pub(crate) fn wanted(
        self,
        own: PeerName,
        open: impl Fn(PeerName) -> bool,
    ) -> BTreeSet<PeerName> {
        let usable = |name: PeerName| name != own && open(name);
        if self.names.len() <= self.clique {
            return self.names.iter().copied().filter(|&name| usable(name)).collect();
        }
        let mut wanted: BTreeSet<_> =
            self.clockwise(own, &usable).chain(self.anticlockwise(own, &usable)).collect();
        for k in 1..48 {
            let point = own.to_u64() + (SPACE >> k);
            let Some(finger) = self.from(point).find(|&name| usable(name)) else { break };
            // From here on the points lie before the nearest neighbour.
            if !wanted.insert(finger)
                && self.from(point).next() == self.clockwise(own, &|n| n != own).next()
            {
                break;
            }
        }
        wanted
    }

    /// More peers, in an order of `own`'s own, for one whose links are too few.
    pub(crate) fn more(self, own: PeerName) -> impl Iterator<Item = PeerName> + use<'a> {
        let points = (0..4 * LEAST as u64).map(move |i| mix(own.to_u64() ^ mix(i)) % SPACE);
        let random = points.filter_map(move |point| self.from(point).find(|&name| name != own));
        // In a small mesh the points may miss names that lie close behind others.
        random.chain(self.from(own.to_u64() + 1).filter(move |&name| name != own))
    }

    fn clockwise(
        self,
        own: PeerName,
        usable: &impl Fn(PeerName) -> bool,
    ) -> impl Iterator<Item = PeerName> {
        self.from(own.to_u64() + 1).filter(move |&name| usable(name)).take(SIDE)
    }

    fn anticlockwise(
        self,
        own: PeerName,
        usable: &impl Fn(PeerName) -> bool,
    ) -> impl Iterator<Item = PeerName> {
        let at = self.names.partition_point(|&name| name < own);
        let (before, after) = self.names.split_at(at);
        before
            .iter()
            .rev()
            .chain(after.iter().rev())
            .copied()
            .filter(move |&name| usable(name))
            .take(SIDE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: u64) -> Vec<PeerName> {
        let mut names: Vec<_> = (0..count).map(|i| PeerName::local(mix(i))).collect();
        names.sort();
        names
    }

    #[test]
    fn a_small_mesh_is_a_full_mesh() {
        let names = names(17);

        let wanted = Ring::new(&names, 32).wanted(names[3], |_| true);

        assert_eq!(wanted.len(), 16);
    }

    #[test]
    fn a_peer_wants_its_neighbours_on_the_ring_and_a_finger_per_doubling() {
        let names = names(1000);
        let ring = Ring::new(&names, 32);

        let sizes: Vec<_> = names.iter().map(|&own| ring.wanted(own, |_| true).len()).collect();

        assert!(sizes.iter().all(|&n| (8..=18).contains(&n)), "{sizes:?}");
        for window in names.windows(3) {
            let [a, b, c] = [window[0], window[1], window[2]];
            let wanted = ring.wanted(b, |_| true);
            assert!(wanted.contains(&a) && wanted.contains(&c));
        }
    }

    #[test]
    fn who_cannot_be_had_is_passed_over_for_the_next_clockwise() {
        let names = names(1000);
        let ring = Ring::new(&names, 32);
        let taken = ring.wanted(names[0], |_| true);

        let wanted = ring.wanted(names[0], |name| !taken.contains(&name));

        assert!(wanted.is_disjoint(&taken));
        assert!(wanted.len() + 3 >= taken.len());
    }

    #[test]
    fn a_join_changes_what_few_others_want() {
        let all = names(1001);
        let mut before = all.clone();
        before.remove(500);

        let changed = before.iter().filter(|&&own| {
            Ring::new(&before, 32).wanted(own, |_| true)
                != Ring::new(&all, 32).wanted(own, |_| true)
        });

        let changed = changed.count();
        assert!((1..=40).contains(&changed), "{changed}");
    }

    proptest! {
        #[test]
        fn being_beside_is_mutual(count in 2_u64..60, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let names = names(count);
            let ring = Ring::new(&names, 32);
            let (a, b) = (*a.get(&names), *b.get(&names));

            prop_assert_eq!(ring.sides(a).contains(&b), ring.sides(b).contains(&a));
            prop_assert!(!ring.sides(a).contains(&a));
        }
    }
}
