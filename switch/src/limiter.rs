use crate::Tick;

/// Answers that may be given in a burst: enough for every connection of a busy pod at once.
const BURST: u64 = 100;
/// Answers per second beyond that (RFC 1812 §4.3.2.8 asks for a limit, not for a number).
const PER_SECOND: u64 = 1000;

/// A token bucket: bounds what others can make us send.
#[derive(Debug)]
pub(crate) struct Limiter {
    tokens: u64,
    refilled: Tick,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { tokens: BURST, refilled: Tick::default() }
    }
}

impl Limiter {
    /// Takes a token, if there is one.
    pub(crate) fn admit(&mut self, now: Tick) -> bool {
        let earned = now.since(self.refilled).as_millis() * u128::from(PER_SECOND) / 1000;
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled = now;
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_a_thousand_a_second() {
        let mut limiter = Limiter::default();

        let burst = (0..1000).filter(|_| limiter.admit(Tick::from_millis(1))).count();
        let later = (2..1002).filter(|ms| limiter.admit(Tick::from_millis(*ms))).count();

        assert_eq!((burst, later), (100, 1000));
    }
}
