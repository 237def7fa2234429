//! Numbered datagrams at a steady rate: what became of each of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::host::Host;
use super::proc::Proc;
use super::wait::pause;

/// Everybody on the network of the lab's pods.
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(10, 32, 0, 255);
/// Where broadcasts go.
const PORT: u16 = 7_784;
/// How long each may take to begin, and both to end.
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
        Ok(Self { judges, sender })
    }

    /// Waits until all were sent: what became of them. What was done meanwhile has to have ended before.
    pub fn end(self) -> Result<Outcome> {
        Self::join(vec![self])?.pop().context("no judge")
    }

    /// The same of flows that end together, and of each who counts.
    pub fn join(mut flows: Vec<Self>) -> Result<Vec<Outcome>> {
        Self::are_under_way(&mut flows)?;
        Self::judged(flows)
    }

    /// The same, but they go on for this time only: long enough to show whatever else becomes of them.
    pub fn stop(mut flows: Vec<Self>, after: Duration) -> Result<Vec<Outcome>> {
        Self::are_under_way(&mut flows)?;
        pause(after);
        for flow in &mut flows {
            flow.sender.wait_for_line("sending", LISTEN_WAIT)?;
            if flow.sender.running() {
                flow.sender.signal(Signal::SIGTERM)?;
            }
        }
        Self::judged(flows)
    }

    fn are_under_way(flows: &mut [Self]) -> Result<()> {
        let running = flows.iter_mut().all(|flow| flow.sender.running());
        ensure!(running, "all were sent before the end");
        Ok(())
    }

    fn judged(mut flows: Vec<Self>) -> Result<Vec<Outcome>> {
        for flow in &mut flows {
            flow.sender.wait(END_WAIT)?;
            for judge in &mut flow.judges {
                if judge.running() {
                    judge.signal(Signal::SIGTERM)?;
                }
            }
        }
        let mut outcomes = Vec::new();
        for Self { judges, sender } in &mut flows {
            let told = said(sender)?;
            ensure!(number(&told, "errors")? == 0, "{told}");
            let sent = number(&told, "sent")?;
            for judge in judges {
                judge.wait(END_WAIT)?;
                let judged = said(judge)?;
                outcomes.push(Outcome {
                    sent,
                    lost: sent - number(&judged, "received")?,
                    reordered: number(&judged, "reordered")?,
                    twice: number(&judged, "twice")?,
                    gap: Duration::from_micros(number(&judged, "longest_gap_us")?),
                    took: Duration::from_millis(number(&told, "millis")?),
                });
            }
        }
        Ok(outcomes)
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
