use std::time::Duration;

use crate::Tick;

/// Repairs that are made at once; more within [`QUIET`] means that somebody undoes them.
const FREE: u32 = 20;
/// After so long without a repair all is forgiven.
const QUIET: Duration = Duration::from_secs(60);
/// The longest pause between two repairs.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Keeps two that disagree about a link from undoing each other's work all day.
#[derive(Debug, Default)]
pub(super) struct Patience {
    repairs: u32,
    last: Tick,
    until: Tick,
}

impl Patience {
    /// Whether a repair may be made now.
    pub(super) fn has_passed(&self, now: Tick) -> bool {
        now >= self.until
    }

    /// A repair was made. Returns how long the next one has to wait.
    pub(super) fn note_repair(&mut self, now: Tick) -> Duration {
        if now.since(self.last) > QUIET {
            self.repairs = 0;
        }
        self.repairs += 1;
        self.last = now;
        let doubled = self.repairs.saturating_sub(FREE).min(16);
        let pause =
            if doubled == 0 { Duration::ZERO } else { Duration::from_secs(1 << (doubled - 1)) };
        let pause = pause.min(PAUSE_MAX);
        self.until = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarrel_slows_down_and_a_single_change_is_mended_at_once() {
        let mut patience = Patience::default();
        let mut repairs = 0;

        for ms in (0..600_000).step_by(10) {
            let now = Tick::from_millis(ms);
            if patience.has_passed(now) {
                patience.note_repair(now);
                repairs += 1;
            }
        }
        assert!((30..60).contains(&repairs), "{repairs} in ten minutes");

        let later = Tick::from_millis(900_000);
        assert!(patience.has_passed(later));
        assert_eq!(patience.note_repair(later), Duration::ZERO);
    }
}
