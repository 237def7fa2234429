//! The log: lines on stderr, written by a thread of its own, and not more of a kind than anybody can read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::tick::Clock;
use switch::Lines;

/// Lines of one kind that may come at once,
const BURST: u32 = 20;
/// and then one in this time.
const EACH: Duration = Duration::from_secs(1);

/// Starts logging. The lines go out until [`Lines::finish`].
pub(crate) fn start(level: LevelFilter) -> std::io::Result<(Lines, Muffler)> {
    let output = Lines::start("log", std::io::stderr())?;
    let muffler = Muffler::new();
    let writer = output.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    tracing_subscriber::registry()
        .with(lines.with_filter(muffler.clone()).with_filter(level))
        .init();
    Ok((output, muffler))
}

/// Leaves out lines of a kind that has come too often. Errors are never left out: after one the process ends.
///
/// # Thread-safety
/// Clones are the same; each line takes a lock for as long as it takes to look at a counter.
#[derive(Clone, Debug)]
pub(crate) struct Muffler {
    clock: Clock,
    kinds: Arc<Mutex<HashMap<Identifier, Kind>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// When all lines so far would have been written, one in `EACH`.
    paid: Duration,
    left_out: u64,
}

impl Muffler {
    fn new() -> Self {
        Self { clock: Clock::start(), kinds: Arc::default() }
    }

    /// Lines left out since this was last asked.
    pub(crate) fn take_left_out(&self) -> u64 {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.values_mut().map(|kind| std::mem::take(&mut kind.left_out)).sum()
    }

    fn admit(&self, kind: Identifier, now: Duration) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_default();
        let due = kind.paid.max(now) + EACH;
        if due > now + EACH * BURST {
            kind.left_out += 1;
            return false;
        }
        kind.paid = due;
        true
    }
}

impl<S> Filter<S> for Muffler {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Who asks for more than news wants all of it.
        let quiet = matches!(*metadata.level(), Level::WARN | Level::INFO);
        !quiet || self.admit(metadata.callsite(), self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_cut_to_twenty_and_one_a_second_and_the_rest_counted() {
        let muffler = Muffler::new();
        let logged = tracing_subscriber::registry().with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::sink)
                .with_filter(muffler.clone()),
        );
        tracing::subscriber::with_default(logged, || {
            for n in 0..100 {
                tracing::warn!(n, "too often");
            }
            tracing::warn!("something else");
        });

        assert_eq!(muffler.take_left_out(), 80);
        assert_eq!(muffler.take_left_out(), 0);
    }
}
