//! A `weftd` on a node of the lab, and `weft` beside it.
//!
//! State directory and socket are the defaults: each node has its own `/var/lib` and `/run`.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wait::poll;
use super::{Deadline, Node, Ping, Pod, PodSpec, Proc, Signal, Stopwatch, bin};

/// How long a daemon may take to come up and to stop.
const WAIT: Duration = Duration::from_secs(20);

/// A `weftd` with its command line. Dropping it kills it; [`Daemon::stop`] lets it end by itself.
#[derive(Debug)]
pub struct Daemon {
    /// The process of the last start.
    pub proc: Proc,
    node: Node,
    args: Vec<String>,
    name: String,
}

impl Daemon {
    /// Starts a daemon with these peers and options, and waits until it is ready.
    pub fn start(node: &Node, args: &[&str]) -> Result<Self> {
        Self::start_through(&[], node, args)
    }

    /// The same by way of another command.
    pub fn start_through(wrapper: &[&str], node: &Node, args: &[&str]) -> Result<Self> {
        let proc = ready(spawn_through(wrapper, node, args)?)?;
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut daemon = Self { proc, node: node.clone(), args, name: String::new() };
        daemon.name = text(&daemon.status()?, "/router/name")?;
        Ok(daemon)
    }

    /// Its name in the mesh.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.proc.kill().map(drop)
    }

    /// Starts it again with the same command line, after it has ended, and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        self.proc = ready(spawn(&self.node, &args)?)?;
        Ok(())
    }

    /// Starts it again with another command line.
    pub fn restart_with(&mut self, args: &[&str]) -> Result<()> {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.restart()
    }

    /// Stops it with SIGTERM; it has to end well. How long that took.
    pub fn stop(&mut self) -> Result<Duration> {
        let watch = Stopwatch::start();
        self.proc.signal(Signal::SIGTERM)?;
        let status = self.proc.wait(WAIT)?;
        let took = watch.elapsed();
        ensure!(status.success(), "{}: {status}: {}", self.node.name(), self.proc.stderr());
        Ok(took)
    }

    /// What `weft` with these words prints.
    pub fn weft(&self, words: &str) -> Result<String> {
        let program = path("weft")?;
        let argv: Vec<_> = [program.as_str()].into_iter().chain(words.split(' ')).collect();
        self.node.run(&argv)
    }

    /// What `weft status -o json` tells.
    pub fn status(&self) -> Result<Value> {
        self.ask("status")
    }

    /// What `weft WORDS -o json` tells: `status peers`, `status paths`, ..
    pub fn ask(&self, words: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.weft(&format!("{words} -o json"))?)?)
    }

    /// What `weft report` tells.
    pub fn report(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.weft("report")?)?)
    }

    /// A counter of the report by its path, such as `/drops/runt`; 0 when it is not told.
    pub fn count(&self, pointer: &str) -> Result<u64> {
        let report = self.report()?;
        let counter = report.pointer(&format!("/counters{pointer}"));
        Ok(counter.and_then(Value::as_u64).unwrap_or_default())
    }

    /// How it reaches a peer, as `weft status paths` says; `None` while it does not know it.
    pub fn path_to(&self, name: &str) -> Result<Option<Path>> {
        let all = self.ask("status paths")?;
        let rows = all.get("paths").and_then(Value::as_array).context("no paths")?;
        let row = rows.iter().find(|row| text(row, "/peer/name").is_ok_and(|it| it == name));
        row.map(Path::read).transpose()
    }

    /// Waits until the path to a peer is one that `fits`. How it is then.
    pub fn wait_for_path(
        &self,
        name: &str,
        limit: Duration,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Path> {
        let mut last = None;
        let found = poll(limit, || {
            last = self.path_to(name)?;
            Ok(last.clone().filter(&fits))
        })?;
        let own = self.node.name();
        found.with_context(|| format!("{own} to {name}: after {limit:?} the path is {last:?}"))
    }

    /// The peers that `weft status peers` shows as up, itself among them.
    pub fn up(&self) -> Result<usize> {
        let all = self.ask("status peers")?;
        let rows = all.get("peers").and_then(Value::as_array).context("no peers")?;
        Ok(rows.iter().filter(|row| text(row, "/state").is_ok_and(|it| it == "up")).count())
    }

    /// Waits until it sees so many peers up, itself among them.
    pub fn wait_for_peers(&self, count: usize, limit: Duration) -> Result<()> {
        let mut last = 0;
        let seen = poll(limit, || {
            last = self.up()?;
            Ok((last == count).then_some(()))
        })?;
        seen.with_context(|| format!("{}: {last} peers are up, not {count}", self.node.name()))
    }
}

/// How a peer is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path {
    /// `fast`, `user`, `sleeve`, `relay` or `down`.
    pub kind: String,
    /// The names of those in between.
    pub via: Vec<String>,
    /// Why, when there is more to say.
    pub reason: Option<String>,
    /// The largest packet of a pod's that fits.
    pub mtu: Option<u32>,
}

impl Path {
    fn read(row: &Value) -> Result<Self> {
        let via = row.get("via").and_then(Value::as_array).context("no via")?;
        Ok(Self {
            kind: text(row, "/path")?,
            via: via.iter().map(|hop| text(hop, "/name")).collect::<Result<_>>()?,
            reason: row.get("reason").and_then(Value::as_str).map(str::to_owned),
            mtu: row.get("mtu").and_then(Value::as_u64).and_then(|mtu| mtu.try_into().ok()),
        })
    }

    /// Whether frames go there as VXLAN, without anybody in between.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        matches!(&self.kind[..], "fast" | "user")
    }

    /// Whether they go through this peer first.
    #[must_use]
    pub fn is_through(&self, name: &str) -> bool {
        self.kind == "relay" && self.via.first().is_some_and(|first| first == name)
    }
}

/// Starts a daemon without waiting for it: for starts that are to fail.
pub fn spawn(node: &Node, args: &[&str]) -> Result<Proc> {
    spawn_through(&[], node, args)
}

/// The same by way of another command: one that takes capabilities away, for example.
pub fn spawn_through(wrapper: &[&str], node: &Node, args: &[&str]) -> Result<Proc> {
    let program = path("weftd")?;
    // What the caller's shell has set is not for the nodes.
    let unset = ["KUBE_PEERS", "WEAVE_PASSWORD", "WEAVE_MTU", "WEAVE_EXPOSE_IP"];
    let env: Vec<_> = ["env"].into_iter().chain(unset.iter().flat_map(|it| ["-u", *it])).collect();
    node.spawn(&[&env, wrapper, &[&program, "--nickname", node.name()], args].concat())
}

/// Starts a daemon on each node, each but the first with the first one's address only, and waits until each is ready.
pub fn cluster(nodes: &[Node], options: &[&str]) -> Result<Vec<Daemon>> {
    let first = nodes.first().map(|node| node.addr().to_string());
    let start = |(number, node): (usize, &Node)| {
        let peer = first.as_deref().filter(|_| number > 0);
        Daemon::start(node, &options.iter().copied().chain(peer).collect::<Vec<_>>())
    };
    nodes.iter().enumerate().map(start).collect()
}

/// A pod on each node, plugged: 10.32.0.N and fd00:32::N, with the MTU that an Ethernet leaves.
pub fn pods(nodes: &[Node]) -> Result<Vec<Pod>> {
    let pod = |(number, node): (usize, &Node)| pod(node, &format!("p{number}"), number + 1);
    nodes.iter().enumerate().map(pod).collect()
}

/// A pod, plugged: 10.32.0.N and fd00:32::N.
pub fn pod(node: &Node, name: &str, number: usize) -> Result<Pod> {
    let spec = PodSpec::new(name, &format!("10.32.0.{number}/24"));
    let pod = node.add_pod(&spec.cidr6(&format!("fd00:32::{number:x}/64")))?;
    node.plug(&pod)?;
    Ok(pod)
}

/// Waits until each pod has had an answer from each other. How long that took.
pub fn all_answer(pods: &[Pod], limit: Duration) -> Result<Duration> {
    let (watch, deadline) = (Stopwatch::start(), Deadline::after(limit));
    each(pods, |from| {
        for to in others(pods, from) {
            let ping = Ping::new(to, 2).interval(Duration::from_millis(20));
            let answered = poll(deadline.left(), || {
                let stats = from.ping_with(&ping.clone().wait(Duration::from_millis(200)))?;
                Ok((stats.received > 0).then_some(()))
            })?;
            answered.with_context(|| format!("{} has no answer from {to}", from.name()))?;
        }
        Ok(())
    })?;
    Ok(watch.elapsed())
}

/// Pings from each pod to each other, `count` times: every one has to be answered once.
pub fn all_ping(pods: &[Pod], count: u32) -> Result<()> {
    each(pods, |from| {
        for to in others(pods, from) {
            let stats =
                from.ping_with(&Ping::new(to, count).interval(Duration::from_millis(20)))?;
            ensure!(stats.perfect(), "{} to {to}: {stats:?}", from.name());
        }
        Ok(())
    })
}

fn others<'a>(pods: &'a [Pod], from: &Pod) -> impl Iterator<Item = IpAddr> + use<'a> {
    let own = from.addr();
    pods.iter().map(Pod::addr).filter(move |addr| *addr != own)
}

/// Does it for all pods at once.
fn each(pods: &[Pod], work: impl Fn(&Pod) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = pods.iter().map(|pod| scope.spawn(move || work(pod))).collect();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => outcome?,
                Err(_panicked) => bail!("what was done for a pod has panicked"),
            }
        }
        Ok(())
    })
}

fn ready(mut proc: Proc) -> Result<Proc> {
    proc.wait_for_line(": ready", WAIT)?;
    Ok(proc)
}

/// A text by its path in an answer.
pub fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {pointer} in {value}"))?.to_owned())
}

/// The path of a program of this workspace.
pub fn path(program: &str) -> Result<String> {
    bin(program)?.into_os_string().into_string().ok().context("the target directory is no text")
}
