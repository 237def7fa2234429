//! From a look to the answers that docs/API.md promises. Pure.

mod connections;
mod fdb;
mod ipam;
mod metrics;
mod peers;
mod report;
mod targets;

use api::{
    ConnectionCounts, ConnectionState, Connections, LineState, PathKind, Paths, PeerRef, Peers,
    Protocol, Router, Status, Targets,
};
use peer_mesh::{NEWEST_VERSION, OLDEST_VERSION, PeerName, PeerState};

use super::look::{Look, PathLook};
use crate::liveness::{Line, Verdict};
pub use fdb::fdb;
pub use ipam::ipam;
pub use metrics::metrics;
pub use report::report;

/// The daemon's release.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The daemon at a glance.
pub fn status(look: &Look) -> Status {
    Status {
        now: look.now,
        version: VERSION.to_owned(),
        started: look.started,
        ready: look.ready,
        waiting_for: look.waiting_for.clone(),
        router: router(look),
        ipam: ipam::section(look),
    }
}

/// This node's connections, and those it wants.
pub fn connections(look: &Look) -> Connections {
    Connections { now: look.now, connections: connections::all(look) }
}

/// All peers, this node first and those that are gone last.
pub fn peers(look: &Look) -> Peers {
    Peers { now: look.now, peers: peers::all(look) }
}

/// Where this node looks for peers.
pub fn targets(look: &Look) -> Targets {
    Targets { now: look.now, targets: targets::all(look) }
}

/// How frames go to each other peer, by name.
pub fn paths(look: &Look) -> Paths {
    let paths = look.paths.iter().map(|(&name, path)| path_of(look, name, path));
    Paths { now: look.now, paths: paths.collect() }
}

fn router(look: &Look) -> Router {
    let mesh = &look.mesh;
    let all = || mesh.own.iter().chain(&mesh.peers);
    let silent = mesh.peers.iter().filter(|it| it.state == PeerState::Silent).count();
    Router {
        protocol: Protocol { min: OLDEST_VERSION.into(), max: NEWEST_VERSION.into() },
        name: mesh.name.to_string(),
        nickname: look.nickname.clone(),
        uid: mesh.uid.to_string(),
        incarnation: mesh.own.as_ref().map_or(0, |own| own.incarnation),
        fast: look.fast.clone(),
        receive: look.receive.clone(),
        encryption: false,
        password: look.password,
        discovery: look.discovery,
        targets: mesh.given.len() as u64,
        connections: count(&connections::all(look)),
        peers: mesh.peers.len() as u64 + 1,
        silent: silent as u64,
        established: all().map(|it| it.links.len() as u64).sum(),
        pending: all().map(|it| it.one_sided.len() as u64).sum(),
        trusted_subnets: Vec::new(),
    }
}

fn count(connections: &[api::Connection]) -> ConnectionCounts {
    let mut counts = ConnectionCounts::default();
    for connection in connections {
        match connection.state {
            ConnectionState::Established => counts.established += 1,
            ConnectionState::Pending => counts.pending += 1,
            ConnectionState::Retrying => counts.retrying += 1,
            ConnectionState::Failed => counts.failed += 1,
            ConnectionState::Connecting => counts.connecting += 1,
            // A word of another release: we make none.
            ConnectionState::Other(_) => {}
        }
    }
    counts
}

fn path_of(look: &Look, name: PeerName, path: &PathLook) -> api::Path {
    api::Path {
        peer: look.refer(name),
        path: kind(path),
        via: via(look, path),
        since: look.at(path.since),
        reason: path.reason.clone(),
        switches: path.switches,
        mtu: path.mtu.map(u32::from),
        rtt_us: path.rtt.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
        next_probe: path.next_probe.map(|it| look.due(it)),
        lines: path
            .lines
            .iter()
            .filter_map(|(line, is)| Some((carrying(*line)?, state(*is))))
            .collect(),
        sent: path.sent,
        received: path.received,
        drops: path.drops,
    }
}

fn kind(path: &PathLook) -> PathKind {
    match path.path {
        switch::Path::Fast => PathKind::Fast,
        switch::Path::User => PathKind::User,
        switch::Path::Sleeve => PathKind::Sleeve,
        switch::Path::Relay(_) => PathKind::Relay,
        switch::Path::Down => PathKind::Down,
    }
}

/// The path that a line makes; `None` for one that carries no frames.
fn carrying(line: Line) -> Option<PathKind> {
    match line {
        Line::Fast => Some(PathKind::Fast),
        Line::User => Some(PathKind::User),
        Line::Sleeve => Some(PathKind::Sleeve),
        Line::Mesh => None,
    }
}

fn state(verdict: Verdict) -> LineState {
    match verdict {
        Verdict::Up => LineState::Up,
        Verdict::Assumed => LineState::Assumed,
        Verdict::Down => LineState::Down,
    }
}

/// The peers that carry frames: none, unless it is a relay.
fn via(look: &Look, path: &PathLook) -> Vec<PeerRef> {
    match path.path {
        switch::Path::Relay(_) => path.via.iter().map(|&name| look.refer(name)).collect(),
        switch::Path::Fast | switch::Path::User | switch::Path::Sleeve | switch::Path::Down => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
