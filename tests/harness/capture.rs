//! Captures: tcpdump on one interface of a host.
//!
//! tcpdump is asked for immediate mode: without it what lies in an unfinished block of the
//! kernel's ring when tcpdump is stopped is lost. Directions are its option `-Q`: libpcap 1.10
//! runs the first packets through the filter once more by itself, and there the filter words
//! `inbound` and `outbound` match nothing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::host::Host;
use super::pcap::{self, Packet};
use super::proc::Proc;
use super::wait::{pause, poll};

/// How long tcpdump may take to start or to stop.
const TCPDUMP_WAIT: Duration = Duration::from_secs(10);
/// From the last frame in the kernel's buffer to the file: tcpdump reads at once, so this only
/// has to outlast its turn on a busy processor.
const SETTLE: Duration = Duration::from_millis(100);

/// Which packets of an interface to capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// What it receives.
    In,
    /// What it sends.
    Out,
    /// Both.
    Both,
}

/// A running capture. It sees every frame from the moment [`Capture::start`] returns.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Proc,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture on `interface` what matches `filter` (pcap-filter(7); empty: all).
    pub fn start(host: &Host, interface: &str, filter: &str) -> Result<Self> {
        Self::directed(host, interface, Direction::Both, filter)
    }

    /// As [`Self::start`], in one direction only.
    pub fn directed(
        host: &Host,
        interface: &str,
        direction: Direction,
        filter: &str,
    ) -> Result<Self> {
        let words = ["inbound", "outbound"];
        ensure!(!words.iter().any(|it| filter.contains(it)), "directions are no filter");
        let direction = match direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Both => "inout",
        };
        let file = host.run.log_base("capture").with_extension("pcap");
        let path = file.to_str().context("the lab's directory is no text")?;
        // -Z root: changing user would clear the parent-death signal.
        let flags = ["-n", "-U", "-Z", "root", "--immediate-mode", "-B", "16384", "-s", "0"];
        let mut argv = vec!["tcpdump", "-i", interface, "-w", path, "-Q", direction];
        argv.extend(flags);
        argv.extend(filter.split_whitespace());
        let mut tcpdump = host.spawn(&argv)?;
        tcpdump.wait_for_line("listening on", TCPDUMP_WAIT)?;
        Ok(Self { tcpdump, file })
    }

    /// What has been seen so far.
    pub fn packets(&self) -> Result<Vec<Packet>> {
        let octets =
            fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        pcap::parse(&octets)
    }

    /// How many seen packets `matches` so far.
    pub fn count(&self, matches: impl Fn(&Packet) -> bool) -> Result<usize> {
        Ok(self.packets()?.iter().filter(|packet| matches(packet)).count())
    }

    /// Waits for a packet that `matches`, seen since the start.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&Packet) -> bool,
    ) -> Result<Packet> {
        let found = poll(limit, || Ok(self.packets()?.into_iter().find(&matches)))?;
        found.with_context(|| format!("no {what} captured within {limit:?}"))
    }

    /// Stops and returns everything seen; an error if the kernel had to drop some of it, as
    /// then nothing can be said about what was not seen.
    pub fn stop(mut self) -> Result<Vec<Packet>> {
        pause(SETTLE);
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait(TCPDUMP_WAIT)?;
        let said = self.tcpdump.stderr();
        if !said.lines().any(|line| line == "0 packets dropped by kernel") {
            bail!("an incomplete capture: {}", said.trim());
        }
        self.packets()
    }
}
