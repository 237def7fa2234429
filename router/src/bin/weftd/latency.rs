//! How long events wait until they are handled.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Recent events are those of the last one to two times this.
const WINDOW: Duration = Duration::from_secs(60);
/// Longer waits count as this.
const LONGEST: u64 = 60_000_000;

/// What was measured, in microseconds.
#[derive(Debug)]
pub(crate) struct Latency {
    events: u64,
    longest: Duration,
    /// This window and the one before it.
    windows: [Histogram<u64>; 2],
    until: Duration,
}

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // Two digits: a percent.
        let window = || Histogram::new_with_bounds(1, LONGEST, 2);
        Ok(Self {
            events: 0,
            longest: Duration::ZERO,
            windows: [window()?, window()?],
            until: WINDOW,
        })
    }

    /// An event that has waited for so long was handled.
    pub(crate) fn note(&mut self, waited: Duration, now: Duration) {
        if now >= self.until {
            self.windows.swap(0, 1);
            let [current, _] = &mut self.windows;
            current.reset();
            self.until = now + WINDOW;
        }
        let [current, _] = &mut self.windows;
        current.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(LONGEST).max(1));
        self.events += 1;
        self.longest = self.longest.max(waited);
    }

    pub(crate) fn report(&self) -> api::Control {
        let [current, before] = &self.windows;
        let mut recent = current.clone();
        // Both have the same bounds.
        let _ = recent.add(before);
        api::Control {
            events: self.events,
            latency_p50_us: recent.value_at_quantile(0.5),
            latency_p99_us: recent.value_at_quantile(0.99),
            latency_max_us: u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_event_of_a_hundred_shows_in_the_maximum_and_ages_out_of_the_percentiles() {
        let mut latency = Latency::new().unwrap();
        for n in 0..100 {
            let waited = Duration::from_micros(if n < 2 { 50_000 } else { 100 });
            latency.note(waited, Duration::from_millis(n));
        }

        let report = latency.report();
        assert_eq!((report.events, report.latency_max_us), (100, 50_000));
        assert!((99..=101).contains(&report.latency_p50_us), "{report:?}");
        assert!(report.latency_p99_us > 49_000, "{report:?}");

        latency.note(Duration::from_micros(100), WINDOW);
        latency.note(Duration::from_micros(100), WINDOW * 2);
        let report = latency.report();
        assert!(report.latency_p99_us < 200, "{report:?}");
        assert_eq!(report.latency_max_us, 50_000);
    }
}
