//! Where this node looks for peers: what the operator gave, with what became of it, and what was learned.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use peer_mesh::Target;
use peer_mesh::shell::{Endpoint, Given};

use super::connections::is_trouble;
use crate::serve::look::{Look, Standing};

type Book<'a> = BTreeMap<SocketAddr, &'a Target>;

/// Those that were given, in the mesh's order, then those that were learned, by address.
pub(super) fn all(look: &Look) -> Vec<api::Target> {
    let book: Book<'_> = look.mesh.targets.iter().map(|it| (it.addr, it)).collect();
    let given = look.mesh.given.iter().map(|it| of_given(look, it, &book));
    let learned = book.values().filter(|it| !it.given).map(|it| {
        let peer = it.addr.to_string();
        api::Target { peer, given: false, ..outcome(look, Some(it)) }
    });
    given.chain(learned).collect()
}

fn of_given(look: &Look, given: &Given, book: &Book<'_>) -> api::Target {
    let mut places: Vec<_> =
        given.addrs.iter().filter_map(|addr| book.get(addr)).copied().collect();
    // One that is there is enough; else the one that is tried next.
    places.sort_by_key(|it| (!is_there(look, it), it.next));
    let first = places.first().copied();
    let resolved = match given.peer {
        Endpoint::Addr(_) => Vec::new(),
        Endpoint::Name { .. } => given.addrs.clone(),
    };
    let target =
        api::Target { peer: given.peer.to_string(), given: true, resolved, ..outcome(look, first) };
    match (&given.failed, given.next) {
        (Some(why), next) if !first.is_some_and(|it| is_there(look, it)) => api::Target {
            last_error: Some(format!("cannot look it up: {why}")),
            next_try: next.map(|it| look.due(it)),
            ..target
        },
        (Some(_) | None, _) => target,
    }
}

/// What became of the last attempt at an address.
fn outcome(look: &Look, target: Option<&Target>) -> api::Target {
    let missing = target.filter(|it| !is_there(look, it));
    let next = missing.filter(|it| it.given || it.last.is_some()).and_then(|it| it.next);
    // Whom others reach is dialled when a link is wanted, and not when its time has come.
    let is_up = |it: &&Target| it.name.is_some_and(|name| look.standing(name) == Standing::Up);
    let next = next.filter(|&next| !missing.is_some_and(|it| is_up(&it)) || next > look.mesh.now);
    api::Target {
        peer: String::new(),
        given: false,
        resolved: Vec::new(),
        last_error: missing.and_then(|it| it.last.as_ref()).map(ToString::to_string),
        attempts: missing.map_or(0, |it| it.attempts),
        next_try: next.map(|it| look.due(it)),
    }
}

/// Whether there is nothing to do about an address: its peer is in the mesh, and nothing is wrong with the way there.
fn is_there(look: &Look, target: &Target) -> bool {
    match target.name.map(|name| look.standing(name)) {
        Some(Standing::Linked) => true,
        Some(Standing::Up) => !target.last.as_ref().is_some_and(is_trouble),
        Some(Standing::Silent | Standing::Absent) | None => false,
    }
}
