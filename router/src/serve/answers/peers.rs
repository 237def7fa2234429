//! All peers: how each is seen, and the links it says it has.

use std::collections::BTreeMap;

use api::{Peer, PeerConnection, PeerState};
use peer_mesh::shell::PeerView;
use peer_mesh::{GonePeer, GoneReason, LinkView, PeerName};

use super::connections::is_trouble;
use crate::serve::look::Look;

/// This node, the others by name, and those that are gone, by name.
pub(super) fn all(look: &Look) -> Vec<Peer> {
    let mesh = &look.mesh;
    let own = mesh.own.iter().map(|own| of(look, own, own_links(look, own)));
    let others = mesh.peers.iter().map(|it| of(look, it, links(look, it)));
    let gone = mesh.gone.iter().map(|it| of_gone(look, it));
    own.chain(others).chain(gone).collect()
}

fn of(look: &Look, peer: &PeerView, connections: Vec<PeerConnection>) -> Peer {
    let (state, reason) = match peer.state {
        peer_mesh::PeerState::Up => (PeerState::Up, None),
        peer_mesh::PeerState::Silent => (PeerState::Silent, why_silent(look, peer.name)),
        peer_mesh::PeerState::Gone => (PeerState::Gone, None),
    };
    Peer {
        name: peer.name.to_string(),
        nickname: look.nickname(peer.name).to_owned(),
        uid: peer.uid.to_string(),
        incarnation: peer.incarnation,
        state,
        since: look.at(peer.since),
        reason,
        connections,
        addresses: peer.addresses.clone(),
    }
}

fn of_gone(look: &Look, gone: &GonePeer) -> Peer {
    let reason = match gone.reason {
        GoneReason::Left => "it left",
        GoneReason::Removed => "it was removed",
        GoneReason::Silence => "it was silent for longer than the hold time",
    };
    Peer {
        name: gone.name.to_string(),
        nickname: gone.nickname.clone(),
        uid: gone.uid.to_string(),
        incarnation: gone.incarnation,
        state: PeerState::Gone,
        since: look.at(gone.since),
        reason: Some(reason.to_owned()),
        connections: Vec::new(),
        addresses: Vec::new(),
    }
}

/// What ended our own link with a peer, if it was the last one there.
fn why_silent(look: &Look, name: PeerName) -> Option<String> {
    let mut places = look.mesh.targets.iter().filter(|it| it.name == Some(name));
    let last = places.find_map(|it| it.last.as_ref().filter(|last| is_trouble(last)));
    last.map(ToString::to_string)
}

/// The links of this node: what others are told of them comes a moment later.
fn own_links(look: &Look, own: &PeerView) -> Vec<PeerConnection> {
    let mut links: BTreeMap<_, _> = said(own).map(|(name, both)| (name, (both, None))).collect();
    for link in &look.mesh.links {
        links.entry(link.name).or_default().1 = Some(link);
    }
    let links = links.into_iter();
    links.map(|(name, (established, link))| of_own(look, name, established, link)).collect()
}

fn of_own(
    look: &Look,
    name: PeerName,
    established: bool,
    link: Option<&LinkView>,
) -> PeerConnection {
    PeerConnection {
        outbound: link.map(|link| link.outbound),
        addr: link.map(|link| link.addr),
        ..connection(look, name, established)
    }
}

/// The links of another. Of one with us it is known who dialled.
fn links(look: &Look, peer: &PeerView) -> Vec<PeerConnection> {
    let ours = look.mesh.links.iter().find(|link| link.name == peer.name);
    let links = said(peer).collect::<BTreeMap<_, _>>().into_iter();
    let links = links.map(|(name, established)| {
        let ours = ours.filter(|_| name == look.mesh.name);
        PeerConnection {
            outbound: ours.map(|link| !link.outbound),
            ..connection(look, name, established)
        }
    });
    links.collect()
}

/// Whom a peer says it has links with, and whether they say so, too.
fn said(peer: &PeerView) -> impl Iterator<Item = (PeerName, bool)> {
    let both = peer.links.iter().map(|&name| (name, true));
    both.chain(peer.one_sided.iter().map(|&name| (name, false)))
}

fn connection(look: &Look, name: PeerName, established: bool) -> PeerConnection {
    PeerConnection {
        name: name.to_string(),
        nickname: look.nickname(name).to_owned(),
        established,
        outbound: None,
        addr: None,
    }
}
