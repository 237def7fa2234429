//! A peer of the gossip mesh on a node of the lab: the example `mesh` of `peer-mesh`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::wait::{pause, poll};
use super::{Node, Proc, Signal, example};

/// The port peers listen on.
pub const PORT: u16 = 6783;
/// How long a peer may take to start and to stop.
const WAIT: Duration = Duration::from_secs(10);

/// Pause between two looks at what peers have said.
const LOOK: Duration = Duration::from_millis(50);

/// A running peer. Dropping it kills it; [`Peer::leave`] lets it say goodbye.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub proc: Proc,
    /// Its name at its start.
    pub name: String,
    /// This start of it.
    pub uid: String,
}

/// What a peer last said of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// `up`, `silent` or `gone`.
    pub state: String,
    /// The uid with which it came up last.
    pub uid: String,
    /// When it was said: milliseconds since 1970.
    pub at: u64,
}

impl Peer {
    /// Starts a peer with these arguments and waits until it runs.
    pub fn start(node: &Node, args: &[&str]) -> Result<Self> {
        Self::start_env(node, &[], args)
    }

    /// As [`Self::start`], with environment variables.
    pub fn start_env(node: &Node, env: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        Self::ready(Self::spawn(node, env, args)?)
    }

    /// Starts a process without waiting for it.
    pub fn spawn(node: &Node, env: &[(&str, &str)], args: &[&str]) -> Result<Proc> {
        let program = example("mesh")?.into_os_string().into_string();
        let program = program.ok().context("the target directory is no text")?;
        let mut argv = vec![program.as_str(), "--json"];
        argv.extend(args);
        node.spawn_env(env, &argv)
    }

    /// Waits until a started process says that it runs.
    pub fn ready(mut proc: Proc) -> Result<Self> {
        let line = proc.wait_for_line("\"started\"", WAIT)?;
        let started: Value = serde_json::from_str(&line)?;
        Ok(Self { proc, name: text(&started, "name"), uid: text(&started, "uid") })
    }

    /// Everything it has said, oldest first.
    pub fn events(&self) -> Result<Vec<Value>> {
        let said = self.proc.stdout();
        let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// What it has said of this kind.
    pub fn said(&self, kind: &str) -> Result<Vec<Value>> {
        Ok(self.events()?.into_iter().filter(|event| text(event, "event") == kind).collect())
    }

    /// How it sees the others, by name.
    pub fn view(&self) -> Result<BTreeMap<String, Seen>> {
        let mut view = BTreeMap::<String, Seen>::new();
        for event in self.events()? {
            let (state, name) = (text(&event, "event"), text(&event, "name"));
            let at = event.get("time_ms").and_then(Value::as_u64).unwrap_or_default();
            match state.as_str() {
                "up" => drop(view.insert(name, Seen { state, uid: text(&event, "uid"), at })),
                "silent" | "gone" => {
                    let seen = view.get_mut(&name).with_context(|| format!("{event}: never up"))?;
                    (seen.state, seen.at) = (state, at);
                }
                // All other events.
                _ => {}
            }
        }
        Ok(view)
    }

    /// When it said the last of these names to be in this state; else what it lacks.
    pub fn sees(&self, state: &str, names: &[&str]) -> Result<Result<u64, String>> {
        let (view, mut last) = (self.view()?, 0);
        for name in names.iter().filter(|name| **name != self.name) {
            match view.get(*name) {
                Some(seen) if seen.state == state => last = last.max(seen.at),
                other => return Ok(Err(format!("{} sees {name} as {other:?}", self.name))),
            }
        }
        Ok(Ok(last))
    }

    /// Waits until it says something that `matches`, from the start of the process on.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = poll(limit, || Ok(self.events()?.into_iter().find(&matches)))?;
        found.with_context(|| format!("{}: no {what} within {limit:?}", self.proc.label()))
    }

    /// Everything there is to see, as of after this call.
    pub fn status(&mut self) -> Result<Value> {
        let before = self.said("status")?.len();
        self.proc.signal(Signal::SIGUSR1)?;
        let status = poll(WAIT, || Ok(self.said("status")?.into_iter().nth(before)))?;
        status.with_context(|| format!("{}: no status", self.proc.label()))
    }

    /// Stops it with SIGTERM; it has to end well.
    pub fn leave(&mut self) -> Result<()> {
        self.proc.signal(Signal::SIGTERM)?;
        let status = self.proc.wait(WAIT)?;
        ensure!(status.success(), "{}: {status}: {}", self.proc.label(), self.proc.stderr());
        Ok(())
    }
}

/// Waits until every one of `peers` sees all these names as `state`; returns when the last one said so, in
/// milliseconds since 1970.
pub fn all_see(peers: &[Peer], state: &str, names: &[&str], limit: Duration) -> Result<u64> {
    let (mut missing, mut done) = (String::new(), 0);
    let seen = poll(limit, || {
        // Reading all that thirty peers have said takes a while: those that are done are read again only
        // at the end.
        while let Some(peer) = peers.get(done) {
            if let Err(lacks) = peer.sees(state, names)? {
                missing = lacks;
                pause(LOOK);
                return Ok(None);
            }
            done += 1;
        }
        done = 0;
        let all = peers.iter().map(|peer| peer.sees(state, names)).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().collect::<Result<Vec<_>, _>>().ok())
    })?;
    let last = seen.map(|times| times.into_iter().max().unwrap_or_default());
    last.with_context(|| format!("not all {state} within {limit:?}: {missing}"))
}

/// All names, for [`all_see`].
pub fn names(peers: &[Peer]) -> Vec<&str> {
    peers.iter().map(|peer| peer.name.as_str()).collect()
}

/// Where the peer on a node listens.
pub fn endpoint(node: &Node) -> String {
    SocketAddr::new(node.addr(), PORT).to_string()
}

/// A field of an event as text; empty when there is none.
pub fn text(event: &Value, field: &str) -> String {
    event.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// When an event was said: milliseconds since 1970.
pub fn at(event: &Value) -> u64 {
    event.get("time_ms").and_then(Value::as_u64).unwrap_or_default()
}
