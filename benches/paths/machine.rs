//! What the machine and the switches spend.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use weft_tests::harness::{Stopwatch, pause};

use crate::overlay::Overlay;

/// Clock ticks per second in `/proc/stat`: USER_HZ, 100 on every Linux of ours.
const USER_HZ: f64 = 100.0;
/// How long to look at a machine that has nothing to do for us.
const LOOK: Duration = Duration::from_millis(500);

/// Processor time of the whole machine, of everybody on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    seconds: f64,
}

/// What a load cost while it ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Cores that were busy, on average.
    pub(crate) cores: f64,
    /// Of them with both weft-switches; `None` on other paths.
    pub(crate) switch_cores: Option<f64>,
    /// Resident memory of the larger weft-switch, in MiB.
    pub(crate) rss_mib: Option<f64>,
}

impl Machine {
    pub(crate) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let fields = line.context("/proc/stat starts with no cpu line")?.split_whitespace();
        let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
        // man 5 proc_stat: user, nice, system, idle, iowait, irq, softirq; what follows is others'
        // or counted already.
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = *ticks else {
            anyhow::bail!("the cpu line of /proc/stat is short")
        };
        Ok(Self { seconds: (user + nice + system + irq + softirq) / USER_HZ })
    }

    /// Cores that are busy right now, whoever keeps them so.
    pub(crate) fn busy_now() -> Result<f64> {
        let (before, watch) = (Self::now()?, Stopwatch::start());
        pause(LOOK);
        Ok((Self::now()?.seconds - before.seconds) / watch.elapsed().as_secs_f64())
    }
}

impl Usage {
    /// Watches for `time`, beginning now.
    pub(crate) fn watch(overlay: &Overlay, time: Duration) -> Result<Self> {
        let (machine, switches) = (Machine::now()?, overlay.switch_time()?);
        let watch = Stopwatch::start();
        pause(time);
        let elapsed = watch.elapsed().as_secs_f64();
        let cores = (Machine::now()?.seconds - machine.seconds) / elapsed;
        let after = overlay.switch_time()?;
        let spent = |(before, after): (&Duration, Duration)| after.saturating_sub(*before);
        let spent: Duration = switches.iter().zip(after).map(spent).sum();
        let switch_cores = (!switches.is_empty()).then(|| spent.as_secs_f64() / elapsed);
        Ok(Self { cores, switch_cores, rss_mib: overlay.switch_rss_mib()? })
    }
}
