//! Space: the addresses of this node's own segments, and which of them are free.
//!
//! Each owned address is free, resting, or leased. A freed address rests: it is leased again only when its time has passed,
//! or when there is no other, so that who still believes in its last holder has time to learn better. Free addresses are
//! kept as runs, so that finding one costs the same in a small space and in a large one.
//!
//! Invariant: runs of `free` are apart, not adjacent, and within the owned segments; they share no address with `resting`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Offset;
use super::range::Span;

/// Which addresses are free. See the module.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// Runs, from first to what follows the last.
    free: BTreeMap<u64, u64>,
    count: u64,
    resting: BTreeMap<Offset, Duration>,
    /// By when their rest ends.
    rests: BTreeSet<(Duration, Offset)>,
    /// Free addresses that somebody may use without having been asked.
    suspect: BTreeMap<u64, u64>,
    /// Addresses that somebody uses without a lease, and until when they are left alone.
    occupied: BTreeMap<Offset, Duration>,
    /// Where the next search begins.
    cursor: u64,
}

impl Space {
    /// Adds free addresses.
    pub fn add(&mut self, span: Span) {
        self.remove(span);
        self.count += span.len();
        insert(&mut self.free, span);
    }

    /// Adds free addresses that somebody may still use.
    pub fn add_suspect(&mut self, span: Span) {
        self.add(span);
        insert(&mut self.suspect, span);
    }

    /// Takes a span out, whatever of it was here.
    pub fn remove(&mut self, span: Span) {
        self.count -= erase(&mut self.free, span);
        erase(&mut self.suspect, span);
        self.occupied.retain(|at, _| !span.contains(*at));
        let last = Offset::try_from(span.end() - 1).unwrap_or(Offset::MAX);
        let first = Offset::try_from(span.start()).unwrap_or(Offset::MAX);
        let resting: Vec<_> =
            self.resting.range(first..=last).map(|(at, end)| (*end, *at)).collect();
        for (end, at) in resting {
            self.resting.remove(&at);
            self.rests.remove(&(end, at));
        }
    }

    /// The next free address within `usable`, after the one that was leased last; of those that nobody may still use, if
    /// there are such. It stays free.
    pub fn next(&self, usable: Span) -> Option<(Offset, bool)> {
        let from = self.cursor.clamp(usable.start(), usable.end());
        let halves = [Span::new(from, usable.end()), Span::new(usable.start(), from)];
        let halves = halves.into_iter().flatten();
        let clean = halves.clone().find_map(|half| self.first_clean(half));
        let clean = clean.map(|at| (at, false));
        let suspect =
            || halves.clone().find_map(|half| first(&self.free, half)).map(|at| (at, true));
        let (at, suspect) = clean.or_else(suspect)?;
        Some((Offset::try_from(at).ok()?, suspect))
    }

    /// The address that has rested longest within `usable`, when there is no free one.
    pub fn next_resting(&self, usable: Span) -> Option<Offset> {
        self.rests.iter().map(|(_, at)| *at).find(|at| usable.contains(*at))
    }

    /// Takes an address that is free or rests. Whether it was.
    pub fn take(&mut self, at: Offset) -> bool {
        let found = self.is_free(at);
        if found {
            self.remove(Span::one(at));
            self.cursor = u64::from(at) + 1;
        }
        found
    }

    /// Whether an address is free, or rests.
    pub fn is_free(&self, at: Offset) -> bool {
        run_at(&self.free, u64::from(at)).is_some() || self.resting.contains_key(&at)
    }

    /// Whether somebody may use an address without having been asked.
    pub fn is_suspect(&self, at: Offset) -> bool {
        run_at(&self.suspect, u64::from(at)).is_some()
    }

    /// Whether somebody may use one of these.
    pub fn has_suspect(&self, span: Span) -> bool {
        runs(&self.suspect, span).next().is_some()
    }

    /// Somebody uses an address without a lease: it is left alone until then.
    pub fn occupy(&mut self, at: Offset, until: Duration) {
        self.remove(Span::one(at));
        self.occupied.insert(at, until);
    }

    /// How many somebody uses without a lease.
    pub fn occupied(&self) -> u64 {
        u64::try_from(self.occupied.len()).unwrap_or(u64::MAX)
    }

    /// Those that were left alone for long enough are to be tried again.
    pub fn vacate(&mut self, now: Duration) {
        if self.occupied.is_empty() {
            return;
        }
        let vacant: Vec<_> = self.occupied.extract_if(.., |_, until| *until <= now).collect();
        vacant.into_iter().for_each(|(at, _)| self.add_suspect(Span::one(at)));
    }

    /// Somebody was asked: nobody uses it.
    pub fn acquit(&mut self, at: Offset) {
        erase(&mut self.suspect, Span::one(at));
    }

    /// Lets an address rest until then.
    pub fn rest(&mut self, at: Offset, until: Duration) {
        self.remove(Span::one(at));
        self.resting.insert(at, until);
        self.rests.insert((until, at));
    }

    /// Ends the rest of those whose time has passed.
    pub fn wake(&mut self, now: Duration) {
        while let Some((until, at)) = self.rests.first().copied().filter(|(until, _)| *until <= now)
        {
            self.rests.remove(&(until, at));
            self.resting.remove(&at);
            self.count += 1;
            insert(&mut self.free, Span::one(at));
        }
    }

    /// The search goes on behind this address.
    pub fn resume(&mut self, at: Offset) {
        self.cursor = u64::from(at) + 1;
    }

    /// How many addresses within a span can be leased: those free, and those that rest.
    pub fn free_in(&self, span: Span) -> u64 {
        let runs = runs(&self.free, span).filter_map(|run| run.intersection(span));
        let resting = self.resting.keys().filter(|at| span.contains(**at)).count();
        runs.map(Span::len).sum::<u64>() + u64::try_from(resting).unwrap_or(u64::MAX)
    }

    /// How many addresses are free, and how many rest.
    pub fn counts(&self) -> (u64, u64) {
        (self.count, u64::try_from(self.resting.len()).unwrap_or(u64::MAX))
    }

    /// The greatest aligned block of free addresses within `wanted`, of at most `most`.
    pub fn block(&self, wanted: Span, most: u64) -> Option<Span> {
        let runs = runs(&self.free, wanted).filter_map(|run| run.intersection(wanted));
        let blocks = runs.filter_map(|run| run.greatest_block(most));
        let blocks = blocks.max_by_key(|it| (it.len(), it.start()));
        // What rests is given one by one, when there is nothing else.
        blocks.or_else(|| self.next_resting(wanted).filter(|_| most > 0).map(Span::one))
    }

    fn first_clean(&self, within: Span) -> Option<u64> {
        if self.suspect.is_empty() {
            return first(&self.free, within);
        }
        for run in runs(&self.free, within) {
            let mut at = run.start().max(within.start());
            while let Some(end) = run_at(&self.suspect, at) {
                at = end;
            }
            if at < run.end().min(within.end()) {
                return Some(at);
            }
        }
        None
    }
}

/// The first address of runs within a span.
fn first(map: &BTreeMap<u64, u64>, within: Span) -> Option<u64> {
    runs(map, within).next().map(|run| run.start().max(within.start()))
}

/// The runs that share something with a span.
fn runs(map: &BTreeMap<u64, u64>, span: Span) -> impl Iterator<Item = Span> + Clone {
    let before = map.range(..span.start()).next_back();
    let before = before.filter(|(_, end)| **end > span.start());
    let within = map.range(span.start()..span.end());
    before.into_iter().chain(within).filter_map(|(start, end)| Span::new(*start, *end))
}

/// The end of the run that an address is in.
fn run_at(map: &BTreeMap<u64, u64>, at: u64) -> Option<u64> {
    map.range(..=at).next_back().map(|(_, end)| *end).filter(|end| *end > at)
}

/// Adds a run that shares nothing with others; neighbours become one.
fn insert(map: &mut BTreeMap<u64, u64>, span: Span) {
    let (mut start, mut end) = (span.start(), span.end());
    if let Some((before, until)) = map.range(..start).next_back().map(|(a, b)| (*a, *b))
        && until >= start
    {
        start = before;
        end = end.max(until);
    }
    if let Some(until) = map.remove(&end) {
        end = until;
    }
    map.insert(start, end);
}

/// Removes a span from runs. How many addresses of it were there.
fn erase(map: &mut BTreeMap<u64, u64>, span: Span) -> u64 {
    let hit: Vec<Span> = runs(map, span).collect();
    let mut erased = 0;
    for run in hit {
        map.remove(&run.start());
        for rest in run.without(span).into_iter().flatten() {
            map.insert(rest.start(), rest.end());
        }
        erased += run.intersection(span).map_or(0, Span::len);
    }
    erased
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USABLE: Span = Span::new(0, 64).unwrap();

    fn space() -> Space {
        let mut space = Space::default();
        space.add(Span::new(0, 64).unwrap());
        space
    }

    #[test]
    fn the_search_goes_on_behind_the_last_one_and_around() {
        let mut space = space();

        assert_eq!(space.next(USABLE), Some((0, false)));
        assert!(space.take(0) && !space.take(0));
        assert_eq!(space.next(USABLE), Some((1, false)));
        space.resume(63);
        assert_eq!(space.next(USABLE), Some((1, false)));
    }

    #[test]
    fn a_freed_address_rests_while_there_are_others() {
        let mut space = space();
        space.take(5);
        space.rest(5, Duration::from_secs(30));

        assert_eq!(space.next(Span::one(5)), None);
        assert_eq!(space.next_resting(USABLE), Some(5));
        space.wake(Duration::from_secs(30));
        assert_eq!(space.next(Span::one(5)), Some((5, false)));
    }

    #[test]
    fn what_others_may_still_use_comes_last() {
        let mut space = Space::default();
        space.add_suspect(Span::new(0, 8).unwrap());
        space.add(Span::new(8, 10).unwrap());

        assert_eq!(space.next(USABLE), Some((8, false)));
        assert!(space.take(8) && space.take(9));
        assert_eq!(space.next(USABLE), Some((0, true)));
        space.acquit(3);
        assert_eq!(space.next(USABLE), Some((3, false)));
    }

    proptest! {
        #[test]
        fn a_space_is_a_set_of_addresses(
            steps in prop::collection::vec((0u8..5, 0u32..50, 1u64..9), 0..80)
        ) {
            let (mut space, mut free, mut resting) =
                (Space::default(), BTreeSet::new(), BTreeSet::new());
            for (what, at, len) in steps {
                let span = Span::new(u64::from(at), u64::from(at) + len).unwrap();
                let all = (0..64).filter(|it| span.contains(*it));
                match what {
                    0 => {
                        space.add(span);
                        all.for_each(|it| { free.insert(it); resting.remove(&it); });
                    }
                    1 => {
                        space.remove(span);
                        all.for_each(|it| { free.remove(&it); resting.remove(&it); });
                    }
                    2 => {
                        let is = free.remove(&at) | resting.remove(&at);
                        prop_assert_eq!(space.take(at), is);
                    }
                    3 => {
                        space.rest(at, Duration::from_secs(len));
                        free.remove(&at);
                        resting.insert(at);
                    }
                    _ => {
                        space.add_suspect(span);
                        all.for_each(|it| { free.insert(it); resting.remove(&it); });
                    }
                }
                prop_assert_eq!(space.counts(), (free.len() as u64, resting.len() as u64));
                prop_assert_eq!(space.next(USABLE).is_some(), !free.is_empty());
                let within = free.iter().chain(&resting).filter(|it| span.contains(**it)).count();
                prop_assert_eq!(space.free_in(span), within as u64);
                prop_assert!((0..64).all(|it| space.is_free(it) == (free.contains(&it) || resting.contains(&it))));
                if let Some(block) = space.block(USABLE, 8) {
                    let mut all = (0..64).filter(|it| block.contains(*it));
                    prop_assert!(all.all(|it| space.is_free(it)));
                }
            }
        }
    }
}
