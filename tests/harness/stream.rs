//! A TCP stream of a steady speed: what arrived of it, second by second.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::pod::Pod;
use super::proc::Proc;

/// How long both may take to listen, and to end.
const WAIT: Duration = Duration::from_secs(30);

/// A stream that is under way, by iperf3.
#[derive(Debug)]
#[must_use = "what became of it is told by `end`"]
pub struct Stream {
    server: Proc,
    client: Proc,
    seconds: u32,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// Octets that have arrived.
    pub octets: u64,
    /// Mbit/s that were sent, second by second.
    pub speeds: Vec<f64>,
}

impl Stream {
    /// Starts it, at so many Mbit/s and for so many seconds.
    pub fn start(from: &Pod, to: &Pod, mbits: u32, seconds: u32) -> Result<Self> {
        let mut server = to.spawn(&["iperf3", "-s", "-1", "--forceflush"])?;
        server.wait_for_line("Server listening", WAIT)?;
        let (addr, time, speed) = (to.addr().to_string(), seconds.to_string(), format!("{mbits}M"));
        // BBR takes a stall for a path of some hundred bit/s, and has been seen to pace the next segment by that: 17 s (`ss -tino`:
        // nothing in flight, the timer's rest 15 s).
        let mut args = vec!["iperf3", "-J", "-C", "reno"];
        args.extend(["-c", &addr, "-t", &time, "-b", &speed]);
        let client = from.spawn(&args)?;
        Ok(Self { server, client, seconds })
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Streamed> {
        let ended = self.client.wait(Duration::from_secs(self.seconds.into()) + WAIT)?;
        ensure!(ended.success(), "{ended}: {}", self.client.stdout());
        self.server.wait(WAIT)?;
        let said: Value = serde_json::from_str(&self.client.stdout())?;
        let octets = said.pointer("/end/sum_received/bytes").and_then(Value::as_u64);
        let octets = octets.with_context(|| format!("nothing received: {said}"))?;
        let intervals = said.get("intervals").and_then(Value::as_array).context("no intervals")?;
        let speed = |it: &Value| it.pointer("/sum/bits_per_second").and_then(Value::as_f64);
        let speeds = intervals.iter().filter_map(speed).map(|it| (it / 1e6).round()).collect();
        Ok(Streamed { octets, speeds })
    }
}
