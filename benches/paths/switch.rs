//! A weft-switch under measurement: what it spends, and what it says it has lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weft::Switch;
use weft_tests::harness::{Node, Proc, wait_until};

/// How long a switch may take to come up, and to print its counters.
const WAIT: Duration = Duration::from_secs(20);
/// Seconds between two lines of counters: five short lines a second cost the path nothing.
const INTERVAL: &str = "0.2";

/// Counters by their path in the stats, such as `/drops/runt`.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What a switch has counted during one measurement.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Counters of losses that are not zero.
    pub(crate) losses: Counts,
    /// Frames to its peer, and from it.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A running switch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Measured {
    proc: Proc,
    /// Its counters when they were last looked at.
    seen: Counts,
}

impl Measured {
    pub(crate) fn start(node: &Node, peer: &Node, options: &[&str]) -> Result<Self> {
        let (local, peer) = (node.addr().to_string(), peer.addr().to_string());
        let mut args = vec!["--local", &local, "--peer", &peer, "--stats", INTERVAL];
        args.extend(options);
        let mut proc = Switch::spawn_raw(node, &args)?;
        proc.wait_for_line("switching", WAIT)?;
        Ok(Self { proc, seen: Counts::new() })
    }

    /// An error that quotes its last words when it has ended.
    pub(crate) fn require_running(&mut self) -> Result<()> {
        let said = self.proc.stderr();
        let last = said.lines().last().unwrap_or_default();
        ensure!(self.proc.running(), "weft-switch has ended: {last}");
        Ok(())
    }

    /// Processor time it has used.
    pub(crate) fn time(&self) -> Result<Duration> {
        self.proc.cpu_time()
    }

    /// Its resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        self.proc.rss_kib()
    }

    /// What it has counted since this was last called.
    ///
    /// An error when a counter runs backwards, or when the switch had to mend itself.
    pub(crate) fn count(&mut self) -> Result<Counted> {
        let now = self.counts()?;
        let before = std::mem::replace(&mut self.seen, now);
        let (mut losses, mut sent, mut received) = (Counts::new(), 0, 0);
        for (path, count) in self.seen.iter().filter(|(path, _)| only_grows(path)) {
            let earlier = before.get(path).copied().unwrap_or_default();
            let more = count.checked_sub(earlier);
            let more = more.with_context(|| format!("{path} fell from {earlier} to {count}"))?;
            let mends = matches!(path.as_str(), "/restarts" | "/repairs");
            ensure!(!mends || more == 0 || before.is_empty(), "{path} grew by {more}");
            match path.as_str() {
                "/peers/0/sent/frames" => sent = more,
                "/peers/0/received/frames" => received = more,
                path if more > 0 && is_loss(path) => {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    losses.insert(name.to_owned(), more);
                }
                _ => {}
            }
        }
        Ok(Counted { losses, sent, received })
    }

    /// Its counters, as of after this call.
    fn counts(&mut self) -> Result<Counts> {
        let path = self.proc.stdout_path().to_owned();
        let mut file = File::open(&path).with_context(|| format!("no {}", path.display()))?;
        let from = file.seek(SeekFrom::End(0))?;
        let mut found = None;
        wait_until(WAIT, "a line of counters", || {
            found = line_behind(&mut file, from);
            found.is_some() || !self.proc.running()
        })?;
        let mut counts = Counts::new();
        collect(&found.context("weft-switch has ended")?, "", &mut counts);
        Ok(counts)
    }
}

/// The first whole line of counters behind an offset, which may be in the middle of a line.
fn line_behind(file: &mut File, from: u64) -> Option<Value> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(from)).ok()?;
    file.read_to_string(&mut text).ok()?;
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut values = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.find(|value| value.get("uptime_ms").is_some())
}

/// All numbers of `value` by their paths.
fn collect(value: &Value, path: &str, counts: &mut Counts) {
    match value {
        Value::Number(number) => {
            counts.extend(number.as_u64().map(|count| (path.to_owned(), count)));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, it)| collect(it, &format!("{path}/{name}"), counts));
        }
        Value::Array(elements) => {
            let elements = elements.iter().enumerate();
            elements.for_each(|(n, it)| collect(it, &format!("{path}/{n}"), counts));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Sizes and times of the stats come and go; all else counts from the start.
fn only_grows(path: &str) -> bool {
    let traffic = path.ends_with("/frames") || path.ends_with("/octets");
    traffic || is_loss(path) || matches!(path, "/restarts" | "/repairs")
}

fn is_loss(path: &str) -> bool {
    let fallback = path.contains("fallback") || path == "/icmp_limited";
    path.starts_with("/drops/") || path.starts_with("/kernel_drops/") || fallback
}
