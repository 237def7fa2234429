use std::time::Duration;

use crate::rng::Rng;

/// What the network does to octets. Chances are in a thousand, times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// One way, the least and the most; each pair of hosts has its own.
    pub delay: (u64, u64),
    /// What a segment takes longer, at most.
    pub jitter: u64,
    /// Segments lost: TCP sends them again, later.
    pub loss: u64,
    /// Segments that arrive in two parts, or together with the one before.
    pub chop: u64,
    /// By how much a process wakes up late, at most.
    pub lag: u64,
    /// Octets a second through one connection; 0 is no limit.
    pub rate: u64,
}

/// TCP's shortest retransmission timeout (Linux, TCP_RTO_MIN).
pub(super) const RTO: Duration = Duration::from_millis(200);
/// The longest (Linux, TCP_RTO_MAX).
pub(super) const RTO_MAX: Duration = Duration::from_secs(120);

impl Weather {
    /// One machine hall: nothing is lost, nothing is split.
    pub const CALM: Self =
        Self { delay: (200, 1_000), jitter: 100, loss: 0, chop: 0, lag: 0, rate: 0 };

    /// A bad network between busy machines.
    pub const STORM: Self =
        Self { delay: (200, 30_000), jitter: 3_000, loss: 20, chop: 200, lag: 2_000, rate: 0 };

    /// What a segment needs from one host to the other: the pair's own time, jitter, and a
    /// retransmission for each loss.
    pub(super) fn delay(&self, pair: u64, rng: &mut Rng) -> Duration {
        let (least, most) = self.delay;
        let own = least + pair % (most - least + 1);
        let jitter = if self.jitter == 0 { 0 } else { rng.within(0..=self.jitter) };
        let mut lost = Duration::ZERO;
        let mut rto = RTO;
        while self.loss > 0 && rng.chance(self.loss) {
            lost += rto;
            rto *= 2;
        }
        Duration::from_micros(own + jitter) + lost
    }

    /// How late a process wakes up.
    pub(super) fn lag(&self, rng: &mut Rng) -> Duration {
        Duration::from_micros(if self.lag == 0 { 0 } else { rng.within(0..=self.lag) })
    }

    /// How long the octets take through the bottleneck.
    pub(super) fn serialise(&self, octets: usize) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(octets as u64 * 1_000_000 / self.rate)
    }
}
