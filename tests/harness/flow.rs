//! Numbered datagrams at a steady rate: what became of each of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::host::Host;
use super::proc::Proc;

/// Everybody on the network of the lab's pods.
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(10, 32, 0, 255);
/// Where broadcasts go.
const PORT: u16 = 7_784;
/// How long a judge may take to listen, and both to end.
const LISTEN_WAIT: Duration = Duration::from_secs(10);
const END_WAIT: Duration = Duration::from_secs(120);
/// When none has come for this time there are no more; longer than any gap that is measured.
const SILENCE: Duration = Duration::from_millis(2_500);

/// Numbered datagrams that are under way from one host to another, or to some.
#[derive(Debug)]
#[must_use = "what became of them is told by `end` or `join`"]
pub struct Flow {
    judges: Vec<Proc>,
    sender: Proc,
    count: u32,
}

/// How fast they go, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
}

/// What became of them.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How many there were.
    pub sent: u64,
    /// Those that did not arrive.
    pub lost: u64,
    /// Those that arrived after one with a higher number.
    pub reordered: u64,
    /// Those that arrived again.
    pub twice: u64,
    /// The longest time in which none arrived.
    pub gap: Duration,
    /// How long sending took.
    pub took: Duration,
}

impl Pace {
    /// One each millisecond.
    #[must_use]
    pub const fn millisecond(seconds: u32) -> Self {
        Self { rate: 1_000, seconds }
    }
}

impl Flow {
    /// Starts to send to `addr`, an address of `to`.
    pub fn start(from: &Host, to: &Host, addr: IpAddr, pace: Pace) -> Result<Self> {
        let (judge, port) = to.serve(&format!("udp-numbers {}", SILENCE.as_millis()))?;
        Self::send(from, (addr, port), pace, vec![judge])
    }

    /// Starts to send to everybody; each of `to` counts.
    pub fn broadcast(from: &Host, to: &[&Host], pace: Pace) -> Result<Self> {
        let judge = |host: &&Host| {
            let mut judge =
                host.spawn_peer(&format!("udp-numbers {} {PORT}", SILENCE.as_millis()))?;
            judge.wait_for_line("listening", LISTEN_WAIT)?;
            Ok(judge)
        };
        let judges = to.iter().map(judge).collect::<Result<_>>()?;
        Self::send(from, (EVERYBODY.into(), PORT), pace, judges)
    }

    fn send(
        from: &Host,
        (addr, port): (IpAddr, u16),
        Pace { rate, seconds }: Pace,
        judges: Vec<Proc>,
    ) -> Result<Self> {
        let count = rate * seconds;
        let sender = from.spawn_peer(&format!("udp-pace {addr} {port} {rate} {count}"))?;
        Ok(Self { judges, sender, count })
    }

    /// Waits until all were sent: what became of them. What was done meanwhile has to have ended before.
    pub fn end(self) -> Result<Outcome> {
        Self::join(vec![self])?.pop().context("no judge")
    }

    /// The same of flows that end together, and of each who counts.
    pub fn join(flows: Vec<Self>) -> Result<Vec<Outcome>> {
        for flow in &flows {
            ensure!(flow.sender.stdout().is_empty(), "all were sent before the end");
        }
        let mut outcomes = Vec::new();
        for flow in flows {
            flow.judged(&mut outcomes)?;
        }
        Ok(outcomes)
    }

    fn judged(mut self, outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.sender.wait(END_WAIT)?;
        let sent = said(&self.sender)?;
        ensure!(number(&sent, "errors")? == 0, "{sent}");
        for judge in &mut self.judges {
            judge.wait(END_WAIT)?;
            let judged = said(judge)?;
            outcomes.push(Outcome {
                sent: self.count.into(),
                lost: u64::from(self.count) - number(&judged, "received")?,
                reordered: number(&judged, "reordered")?,
                twice: number(&judged, "twice")?,
                gap: Duration::from_micros(number(&judged, "longest_gap_us")?),
                took: Duration::from_millis(number(&sent, "millis")?),
            });
        }
        Ok(())
    }
}

impl Outcome {
    /// Whether each arrived once, in the order in which they were sent.
    #[must_use]
    pub fn perfect(&self) -> bool {
        self.reordered == 0 && self.complete()
    }

    /// Whether each arrived once.
    #[must_use]
    pub fn complete(&self) -> bool {
        (self.lost, self.twice) == (0, 0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, lost, reordered, twice, gap, took } = self;
        write!(
            f,
            "of {sent} numbered frames in {took:?} lost {lost}, reordered {reordered}, twice {twice}, longest gap {gap:?}"
        )
    }
}

fn said(proc: &Proc) -> Result<Value> {
    let stdout = proc.stdout();
    super::traffic::last_json(&stdout).with_context(|| format!("{}: {stdout}", proc.label()))
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value.get(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {value}"))
}
