use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// All the randomness of a core, from one seed: a ChaCha20 stream, since handshake keys come from it too.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha20Rng);

impl Dice {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A seed for something that needs a stream of its own.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }

    /// A number below `end`; 0 if `end` is 0. The bias is below 2^-32 for what we pick from.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.u64().checked_rem(end).unwrap_or(0)).unwrap_or(0)
    }

    /// Between a half and one and a half of `mean`, so that peers that start together do not stay together.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        mean / 2 + mean * u32::try_from(self.below(1024)).unwrap_or(0) / 1024
    }

    /// Moves a random choice of at most `count` items to the front, and cuts off the rest.
    pub(crate) fn choose<T>(&mut self, items: &mut Vec<T>, count: usize) {
        let count = count.min(items.len());
        for at in 0..count {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
        items.truncate(count);
    }
}

/// A well-mixed function of its argument (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
