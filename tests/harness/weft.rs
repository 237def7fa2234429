//! A `weft-switch` on a node of the lab.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::wait::poll;
use super::{Node, Pod, Proc, Signal, bin};

/// How long a switch may take to come up, to answer, and to stop.
const WAIT: Duration = Duration::from_secs(10);

/// A running `weft-switch`. Dropping it kills it; [`Switch::stop`] lets it say goodbye.
#[derive(Debug)]
pub struct Switch {
    /// The process.
    pub proc: Proc,
}

impl Switch {
    /// Starts a switch on `node` with these peers and further options, and waits until it runs.
    pub fn start(node: &Node, peers: &[&Node], options: &[&str]) -> Result<Self> {
        Self::start_through(&[], node, peers, options)
    }

    /// The same by way of another command: one that takes capabilities away, for example.
    pub fn start_through(
        wrapper: &[&str],
        node: &Node,
        peers: &[&Node],
        options: &[&str],
    ) -> Result<Self> {
        let mut switch = Self { proc: Self::spawn_through(wrapper, node, peers, options)? };
        switch.proc.wait_for_line("switching", WAIT)?;
        Ok(switch)
    }

    /// Starts it without waiting: for starts that are to fail.
    pub fn spawn(node: &Node, peers: &[&Node], options: &[&str]) -> Result<Proc> {
        Self::spawn_through(&[], node, peers, options)
    }

    fn spawn_through(
        wrapper: &[&str],
        node: &Node,
        peers: &[&Node],
        options: &[&str],
    ) -> Result<Proc> {
        let local = node.addr().to_string();
        let peers: Vec<_> = peers.iter().map(|peer| peer.addr().to_string()).collect();
        let mut args = vec!["--local", &local, "--stats", "0.2"];
        peers.iter().for_each(|peer| args.extend(["--peer", peer]));
        args.extend(options);
        let program = program()?;
        node.spawn(&[wrapper, &[&program], &args].concat())
    }

    /// Starts it with exactly these arguments.
    pub fn spawn_raw(node: &Node, args: &[&str]) -> Result<Proc> {
        let program = program()?;
        let mut argv = vec![program.as_str()];
        argv.extend(args);
        node.spawn(&argv)
    }

    /// Its counters, as of after this call.
    pub fn stats(&mut self) -> Result<Value> {
        let before = self.lines_with("\"uptime_ms\"").len();
        // The line under way may have been made before the call, the one after it was not.
        let line = poll(WAIT, || Ok(self.lines_with("\"uptime_ms\"").into_iter().nth(before + 1)))?;
        Ok(serde_json::from_str(&line.context("weft-switch prints no stats")?)?)
    }

    /// A counter by its path in the stats, such as `/drops/runt`.
    pub fn count(&mut self, path: &str) -> Result<u64> {
        counter(&self.stats()?, path)
    }

    /// Waits until a counter is at least `least`.
    pub fn wait_for_count(&mut self, path: &str, least: u64) -> Result<u64> {
        let mut last = 0;
        let reached = poll(WAIT, || {
            last = self.count(path)?;
            Ok((last >= least).then_some(last))
        })?;
        reached.with_context(|| format!("{path} is {last}, not {least}"))
    }

    /// Its stations, from MAC to where they are: `local`, or a peer's address.
    pub fn stations(&mut self) -> Result<Vec<(String, String)>> {
        let before = self.lines_with("\"stations\":[").len();
        self.proc.signal(Signal::SIGUSR1)?;
        let line = poll(WAIT, || Ok(self.lines_with("\"stations\":[").into_iter().nth(before)))?;
        let value: Value = serde_json::from_str(&line.context("weft-switch prints no stations")?)?;
        let rows = value.get("stations").and_then(Value::as_array).context("no stations")?;
        let text = |row: &Value, name| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let row = |row| Some((text(row, "mac")?, text(row, "at")?));
        rows.iter().map(row).collect::<Option<_>>().context("malformed stations")
    }

    /// Stops it with SIGTERM and returns its last counters.
    pub fn stop(mut self) -> Result<Value> {
        self.proc.signal(Signal::SIGTERM)?;
        let status = self.proc.wait(WAIT)?;
        if !status.success() {
            bail!("weft-switch ended with {status}: {}", self.proc.stderr());
        }
        let last = self.lines_with("\"uptime_ms\"").pop();
        Ok(serde_json::from_str(&last.context("weft-switch printed no stats")?)?)
    }

    fn lines_with(&self, pattern: &str) -> Vec<String> {
        let out = self.proc.stdout();
        let whole = out.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.filter(|line| line.contains(pattern)).map(str::to_owned).collect()
    }
}

/// A counter by its path in the stats, such as `/drops/runt`.
pub fn counter(stats: &Value, path: &str) -> Result<u64> {
    stats.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path} in {stats}"))
}

/// Starts a switch on every node, each with all the others as peers.
pub fn mesh(nodes: &[Node], options: &[&str]) -> Result<Vec<Switch>> {
    let start = |node: &Node| {
        let others: Vec<_> = nodes.iter().filter(|it| it.addr() != node.addr()).collect();
        Switch::start(node, &others, options)
    };
    nodes.iter().map(start).collect()
}

/// A pod on each node, plugged: 10.32.0.N and fd00:32::N.
pub fn pods(nodes: &[Node], mtu: u32) -> Result<Vec<Pod>> {
    let pod = |(n, node): (usize, &Node)| {
        let spec = super::PodSpec::new(&format!("p{n}"), &format!("10.32.0.{}/24", n + 1));
        let pod = node.add_pod(&spec.cidr6(&format!("fd00:32::{}/64", n + 1)).mtu(mtu))?;
        node.plug(&pod)?;
        Ok(pod)
    };
    nodes.iter().enumerate().map(pod).collect()
}

fn program() -> Result<String> {
    bin("weft-switch")?
        .into_os_string()
        .into_string()
        .ok()
        .context("the target directory is no text")
}
