//! All that the control loop hears of.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use switch::engine::Engine;
use switch::{Fault, Notice, Watch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often stations are aged, paths are measured, and links are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

pub(crate) enum Event {
    Stop(&'static str),
    PrintStations,
    PrintStats,
    Housekeeping,
    Reload,
    Notices(std::io::Result<Vec<Notice>>),
    FramesEnded(Fault),
}

/// Where events come from.
pub(crate) struct Sources {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user: Signal,
    housekeeping: Interval,
    stats: Option<Interval>,
    pub(crate) watch: Watch,
}

impl Sources {
    pub(crate) fn open(stats: Option<Duration>) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            user: listen(SignalKind::user_defined1())?,
            housekeeping: every(HOUSEKEEPING),
            stats: stats.map(every),
            watch: Watch::open().context("cannot watch the bridge")?,
        })
    }

    pub(crate) async fn next(&mut self, engine: &mut Engine) -> Event {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Event::Stop("SIGINT"),
            _ = self.terminate.recv() => Event::Stop("SIGTERM"),
            fault = engine.ended() => Event::FramesEnded(fault),
            _ = self.hangup.recv() => Event::Reload,
            _ = self.user.recv() => Event::PrintStations,
            _ = or_never(self.stats.as_mut().map(|it| Box::pin(it.tick()))) => Event::PrintStats,
            _ = self.housekeeping.tick() => Event::Housekeeping,
            notices = self.watch.next_batch() => Event::Notices(notices),
        }
    }
}

async fn or_never<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
