//! Whether to look again at once, or to sleep until there is something.
//!
//! Waking a thread on another core costs tens of microseconds, more than all the work on a small
//! frame. So after a frame the loop looks again for a while before it sleeps. That pays only where
//! frames come one after the other, a request and its answer, and costs processor time: so it looks
//! only while frames have lately come close together, only briefly during bulk transfer, which needs
//! the core for other things, and for no more than a bounded share of the time. Between two looks it
//! yields: who else has work for this core goes first.

use std::time::Duration;

use crate::Moved;

/// How long to look after the last frame: some wake-ups' worth.
const WINDOW: Duration = Duration::from_micros(100);
/// A turn that moves more octets than this is bulk transfer.
const BULK: usize = 3000;
/// How long after that it still is, and how long to look then. With one worker 20 to 35 us gave more
/// than 60 or 100; with two workers 0 and 30 us differ by no more than the noise.
const BULK_LASTS: Duration = Duration::from_micros(500);
const BULK_WINDOW: Duration = Duration::from_micros(30);
/// Frames further apart than this on average are not worth looking for.
const SPARSE: Duration = Duration::from_micros(300);
/// No gap counts for more than this, so that the average comes down again within a few frames.
const GAP_MAX: Duration = Duration::from_millis(2);
/// Of each second at most this many percent are spent looking, in bursts of at most `SAVED_MAX`.
const SHARE_PERCENT: u32 = 80;
const SAVED_MAX: Duration = Duration::from_millis(5);

/// When to look instead of sleep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Poll {
    /// While it pays.
    Adaptive,
    /// Never.
    Off,
    /// Always for this long after the last frame.
    Fixed(Duration),
}

/// Decides, turn by turn. Pure: it is told the time since the start.
#[derive(Debug)]
pub(crate) struct Spin {
    poll: Poll,
    last_frame: Duration,
    last_bulk: Option<Duration>,
    /// Average time between turns that moved something.
    gap: Duration,
    /// Time that may still be spent looking.
    saved: Duration,
    last_turn: Duration,
}

impl Spin {
    pub(crate) fn new(poll: Poll) -> Self {
        let zero = Duration::ZERO;
        let (last_frame, last_turn, saved) = (zero, zero, SAVED_MAX);
        Self { poll, last_frame, last_bulk: None, gap: GAP_MAX, saved, last_turn }
    }

    /// After a turn: whether to take another without sleeping. `slept` says whether the turn came
    /// after a sleep.
    pub(crate) fn again(&mut self, moved: Moved, now: Duration, slept: bool) -> bool {
        let since = now.saturating_sub(self.last_turn);
        self.last_turn = now;
        self.saved = (self.saved + since * SHARE_PERCENT / 100).min(SAVED_MAX);
        if moved.reads > 0 {
            self.note_frames(moved, now);
            // Without looking, only a full batch says that there is more; else poll tells.
            return self.poll != Poll::Off || moved.full;
        }
        if !slept {
            self.saved = self.saved.saturating_sub(since);
        }
        let idle = now.saturating_sub(self.last_frame);
        match self.poll {
            Poll::Off => false,
            Poll::Fixed(window) => idle < window,
            Poll::Adaptive => {
                let bulk = self.last_bulk.is_some_and(|at| now.saturating_sub(at) < BULK_LASTS);
                let window = if bulk { BULK_WINDOW } else { WINDOW };
                idle < window && self.gap < SPARSE && self.saved > Duration::ZERO
            }
        }
    }

    fn note_frames(&mut self, moved: Moved, now: Duration) {
        let gap = now.saturating_sub(self.last_frame).min(GAP_MAX);
        self.gap = (self.gap * 7 + gap) / 8;
        self.last_frame = now;
        if moved.octets > BULK {
            self.last_bulk = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Moved = Moved { reads: 1, octets: 100, full: false };
    const NOTHING: Moved = Moved { reads: 0, octets: 0, full: false };

    /// Frames `gap` apart: for how much of the time the loop looks rather than sleeps.
    fn share(poll: Poll, gap_us: u64, frame: Moved) -> f64 {
        let mut spin = Spin::new(poll);
        let (mut looked, mut awake) = (0, false);
        let end = 2_000_000;
        for us in 0..end {
            let moved = if us % gap_us == 0 { frame } else { NOTHING };
            if !awake && moved.reads == 0 {
                continue;
            }
            let slept = !awake;
            awake = spin.again(moved, Duration::from_micros(us), slept);
            looked += u64::from(awake && moved.reads == 0);
        }
        f64::from(u32::try_from(looked).unwrap()) / f64::from(u32::try_from(end).unwrap())
    }

    #[test]
    fn frames_close_together_are_waited_for_awake() {
        assert!(share(Poll::Adaptive, 50, FRAME) > 0.7);
    }

    #[test]
    fn looking_has_a_bounded_share_of_the_time() {
        for gap in [20, 50, 99, 150] {
            assert!(share(Poll::Adaptive, gap, FRAME) < 0.85, "{gap} us");
        }
    }

    #[test]
    fn frames_far_apart_are_slept_for() {
        for gap in [500, 1000, 10_000, 100_000] {
            assert!(share(Poll::Adaptive, gap, FRAME) < 0.005, "{gap} us");
        }
    }

    #[test]
    fn bulk_transfer_is_looked_for_briefly() {
        let bulk = Moved { reads: 1, octets: 60_000, full: false };

        assert!(share(Poll::Adaptive, 100, bulk) < 0.35);
    }

    #[test]
    fn the_operator_may_say_always_or_never() {
        assert!(share(Poll::Off, 50, FRAME) < 1e-9);
        let always = Poll::Fixed(Duration::from_micros(100));
        assert!(share(always, 1000, FRAME) > 0.09);
    }
}
