//! A `weftd` on a node of the lab, and `weft` beside it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::wait::poll;
use super::{Node, Proc, Signal, bin};

/// How long a daemon may take to come up and to stop.
const WAIT: Duration = Duration::from_secs(20);

/// A `weftd` with its command line. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    /// The process of the last start.
    pub proc: Proc,
    node: Node,
    args: Vec<String>,
}

impl Daemon {
    /// Starts a daemon with these peers and options, and waits until it is ready.
    pub fn start(node: &Node, args: &[&str]) -> Result<Self> {
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        let proc = spawn(node, &args)?;
        Ok(Self { proc, node: node.clone(), args })
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Starts it again with the same command line, after it has ended, and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        self.proc = spawn(&self.node, &self.args)?;
        Ok(())
    }

    /// Stops it with SIGTERM; it has to end well.
    pub fn stop(&mut self) -> Result<()> {
        self.proc.signal(Signal::SIGTERM)?;
        let status = self.proc.wait(WAIT)?;
        ensure!(status.success(), "{}: {status}: {}", self.node.name(), self.proc.stderr());
        Ok(())
    }

    /// What `weft` with these words prints.
    pub fn weft(&self, words: &str) -> Result<String> {
        let program = path("weft")?;
        let argv: Vec<_> = [program.as_str()].into_iter().chain(words.split(' ')).collect();
        self.node.run(&argv)
    }

    /// A counter of the report by its path, such as `/drops/runt`; 0 when it is not told.
    pub fn count(&self, pointer: &str) -> Result<u64> {
        let report: Value = serde_json::from_str(&self.weft("report")?)?;
        let counter = report.pointer(&format!("/counters{pointer}"));
        Ok(counter.and_then(Value::as_u64).unwrap_or_default())
    }

    /// Its name in the mesh.
    pub fn name(&self) -> Result<String> {
        let status: Value = serde_json::from_str(&self.weft("status -o json")?)?;
        let name = status.pointer("/router/name").and_then(Value::as_str);
        Ok(name.context("a status without a name")?.to_owned())
    }

    /// Waits until it sees so many peers up, itself among them.
    pub fn wait_for_peers(&self, count: usize, limit: Duration) -> Result<()> {
        let mut last = 0;
        let seen = poll(limit, || {
            let all: Value = serde_json::from_str(&self.weft("status peers -o json")?)?;
            let rows = all.get("peers").and_then(Value::as_array).context("no peers")?;
            let up = rows.iter().filter(|row| row.get("state").is_some_and(|it| it == "up"));
            last = up.count();
            Ok((last == count).then_some(()))
        })?;
        seen.with_context(|| format!("{}: {last} peers are up, not {count}", self.node.name()))
    }
}

/// Starts a daemon on each node, each but the first with the first one's address only, and waits until all see
/// each other.
pub fn cluster(nodes: &[Node], options: &[&str]) -> Result<Vec<Daemon>> {
    let first = nodes.first().map(|node| node.addr().to_string());
    let start = |(number, node): (usize, &Node)| {
        let peer = first.as_deref().filter(|_| number > 0);
        // All nodes of the lab are one machine, whose identity would name them alike.
        let name = format!("02:00:00:00:00:{:02x}", number + 1);
        let args = ["--name", &name].into_iter().chain(options.iter().copied()).chain(peer);
        Daemon::start(node, &args.collect::<Vec<_>>())
    };
    let all: Vec<_> = nodes.iter().enumerate().map(start).collect::<Result<_>>()?;
    all.iter().try_for_each(|daemon| daemon.wait_for_peers(nodes.len(), WAIT))?;
    Ok(all)
}

/// The path of a program of this workspace.
pub fn path(program: &str) -> Result<String> {
    bin(program)?.into_os_string().into_string().ok().context("the target directory is no text")
}

fn spawn(node: &Node, args: &[String]) -> Result<Proc> {
    let program = path("weftd")?;
    let mut argv = vec![program.as_str(), "--nickname", node.name()];
    argv.extend(args.iter().map(String::as_str));
    let mut proc = node.spawn(&argv)?;
    proc.wait_for_line(": ready", WAIT)?;
    Ok(proc)
}
