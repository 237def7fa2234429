use std::ops::RangeInclusive;

use crate::rng::Rng;

/// What the network does to datagrams. Chances are in a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) reorder: u64,
    /// Milliseconds on the way, the least and the most.
    pub(crate) delay: (u64, u64),
}

/// How long a datagram that is overtaken stays behind, in milliseconds.
const DETOUR: RangeInclusive<u64> = 5..=30;

impl Weather {
    /// Everything arrives, once and in order.
    pub(crate) const CALM: Self = Self { loss: 0, duplication: 0, reorder: 0, delay: (1, 1) };

    /// One in twenty each is lost, repeated, overtaken.
    pub(crate) const STORM: Self = Self { loss: 50, duplication: 50, reorder: 50, delay: (1, 3) };

    /// The delays of the copies of a datagram that arrive.
    pub(crate) fn delays(&self, rng: &mut Rng) -> Vec<u64> {
        if rng.chance(self.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.duplication) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    fn delay(&self, rng: &mut Rng) -> u64 {
        let detour = if rng.chance(self.reorder) { rng.within(DETOUR) } else { 0 };
        rng.within(self.delay.0..=self.delay.1) + detour
    }
}
