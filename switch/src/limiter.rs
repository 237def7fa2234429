use crate::Tick;

/// A token bucket: bounds what others can make us do.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: u64,
    per_second: u64,
    tokens: u64,
    refilled: Tick,
}

impl Limiter {
    /// Admits so many at once, and so many a second beyond that.
    pub(crate) fn new(burst: u64, per_second: u64) -> Self {
        Self { burst, per_second, tokens: burst, refilled: Tick::default() }
    }

    /// Takes a token, if there is one.
    pub(crate) fn admit(&mut self, now: Tick) -> bool {
        let earned = now.since(self.refilled).as_millis() * u128::from(self.per_second) / 1000;
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
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
        let mut limiter = Limiter::new(100, 1000);

        let burst = (0..1000).filter(|_| limiter.admit(Tick::from_millis(1))).count();
        let later = (2..1002).filter(|ms| limiter.admit(Tick::from_millis(*ms))).count();

        assert_eq!((burst, later), (100, 1000));
    }
}
