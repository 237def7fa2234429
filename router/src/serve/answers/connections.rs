//! This node's connections: links, those that may become links, and those that are wanted and are not there.
//!
//! The mesh dials addresses, some at a time, and those that it does not need now it does not dial at all. So
//! of the addresses without a connection only those are shown whose peer is missing, or where the last
//! attempt found something wrong and another is to come.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{Connection, ConnectionState};
use peer_mesh::{CloseReason, LinkView, PeerName, Pending, Progress, Target};

use crate::serve::look::{Look, Standing};

/// All of them: links first, then by how far they have come, and by address.
pub(super) fn all(look: &Look) -> Vec<Connection> {
    let mesh = &look.mesh;
    let dialled: BTreeMap<_, _> = mesh.targets.iter().map(|it| (it.addr, it)).collect();
    let links = mesh.links.iter().map(|it| of_link(look, it));
    let pending = mesh.pending.iter().map(|it| {
        let target = dialled.get(&it.addr).copied().filter(|_| it.outbound);
        of_pending(look, it, target)
    });
    let wanted = mesh.targets.iter().filter(|it| is_wanted(look, it));
    let wanted = wanted.map(|it| of_target(look, it));
    let mut all: Vec<_> = links.chain(pending).chain(wanted).collect();
    all.sort_by(|one, other| (&one.state, one.addr).cmp(&(&other.state, other.addr)));
    all
}

fn of_link(look: &Look, link: &LinkView) -> Connection {
    let reason = look.paths.get(&link.name).and_then(|path| path.reason.clone());
    Connection {
        outbound: link.outbound,
        since: look.at(link.since),
        reason,
        ..connection(look, link.addr, ConnectionState::Established, Some(link.name))
    }
}

fn of_pending(look: &Look, it: &Pending, target: Option<&Target>) -> Connection {
    let before = target.and_then(|it| it.last.as_ref()).filter(|last| is_trouble(last));
    let before = before.map(ToString::to_string);
    let (state, reason) = match it.progress {
        Progress::Dialling => (ConnectionState::Connecting, before),
        Progress::Handshake => (ConnectionState::Pending, None),
        Progress::Contested => (ConnectionState::Pending, Some(CONTESTED.to_owned())),
        Progress::Welcomed => (ConnectionState::Pending, Some(WELCOMED.to_owned())),
        Progress::Parting => (ConnectionState::Pending, Some(PARTING.to_owned())),
    };
    let name = it.name.or_else(|| target.and_then(|it| it.name));
    Connection {
        outbound: it.outbound,
        since: look.at(it.since),
        reason,
        attempts: target.map_or(0, |it| it.attempts),
        ..connection(look, it.addr, state, name)
    }
}

const CONTESTED: &str = "another live peer may have its name";
const WELCOMED: &str = "waits for the other end's word";
const PARTING: &str = "no link is needed: being told of other peers";

fn of_target(look: &Look, target: &Target) -> Connection {
    let was_link = target.name.is_some()
        && target.attempts <= 1
        && target.last.as_ref().is_some_and(ends_a_link);
    let state = if was_link { ConnectionState::Retrying } else { ConnectionState::Failed };
    Connection {
        since: look.at(target.ended.unwrap_or(look.mesh.now)),
        reason: target.last.as_ref().map(ToString::to_string),
        attempts: target.attempts,
        next_try: target.next.map(|it| look.due(it)),
        ..connection(look, target.addr, state, target.name)
    }
}

/// What all of them have. What is not known of it yet is left out.
fn connection(
    look: &Look,
    addr: SocketAddr,
    state: ConnectionState,
    name: Option<PeerName>,
) -> Connection {
    let path = name.and_then(|name| look.paths.get(&name));
    Connection {
        outbound: true,
        addr,
        state,
        name: name.map(|name| name.to_string()),
        nickname: name.map(|name| look.nickname(name).to_owned()),
        encrypted: false,
        path: path.map(super::kind),
        via: path.map(|path| super::via(look, path)).unwrap_or_default(),
        mtu: path.and_then(|path| path.mtu).map(u32::from),
        since: look.now,
        reason: None,
        attempts: 0,
        next_try: None,
    }
}

/// Whether an address without a connection is one that should have one.
fn is_wanted(look: &Look, target: &Target) -> bool {
    let (Some(next), Some(last)) = (target.next, &target.last) else { return false };
    match target.name.map(|name| look.standing(name)) {
        Some(Standing::Linked) => false,
        Some(Standing::Up) => is_trouble(last) && next > look.mesh.now,
        Some(Standing::Silent) => true,
        // Addresses outlive their peers: what was learned of the dead is tried one by one.
        Some(Standing::Absent) | None => target.given || look.mesh.links.is_empty(),
    }
}

/// Whether an attempt that ended so found something wrong. The rest is how a mesh keeps few links.
pub(super) fn is_trouble(last: &CloseReason) -> bool {
    match last {
        CloseReason::Lost(_)
        | CloseReason::Unreachable(_)
        | CloseReason::OtherVersion { .. }
        | CloseReason::NotWeft
        | CloseReason::WrongPassword
        | CloseReason::Oneself
        | CloseReason::DuplicateName { .. }
        | CloseReason::HandshakeTimeout(_)
        | CloseReason::Silent(_)
        | CloseReason::Malformed(_)
        | CloseReason::Other(_) => true,
        CloseReason::Full
        | CloseReason::Doubled
        | CloseReason::Surplus
        | CloseReason::Leaving
        | CloseReason::Forgotten => false,
    }
}

/// Whether this is how a link ends, and not how an attempt fails.
fn ends_a_link(last: &CloseReason) -> bool {
    match last {
        CloseReason::Lost(_)
        | CloseReason::Silent(_)
        | CloseReason::Malformed(_)
        | CloseReason::Doubled
        | CloseReason::Surplus
        | CloseReason::Leaving
        | CloseReason::Forgotten
        | CloseReason::Other(_) => true,
        CloseReason::Unreachable(_)
        | CloseReason::OtherVersion { .. }
        | CloseReason::NotWeft
        | CloseReason::WrongPassword
        | CloseReason::Oneself
        | CloseReason::DuplicateName { .. }
        | CloseReason::Full
        | CloseReason::HandshakeTimeout(_) => false,
    }
}
