//! The daemon's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the daemon's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a shell: cores are told the time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// The moment at which it reads `time`.
    pub(crate) fn at(&self, time: Duration) -> tokio::time::Instant {
        (self.0 + time).into()
    }
}

/// Time since 1970.
#[expect(clippy::disallowed_methods, reason = "a shell: people read it")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
