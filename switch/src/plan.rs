mod builder;
mod path;
mod reader;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::sleeve::Label;
use crate::{Mtu, Vni};
pub use builder::PlanBuilder;
pub use path::{Path, Route, Tunnel, Way};
use reader::Follower;
pub(crate) use reader::PlanReader;

/// A peer's slot in the [`Plan`]. The switch knows no names; control gives out the slots.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PeerId(u16);

impl PeerId {
    /// The peer in slot `slot`.
    pub const fn new(slot: u16) -> Self {
        Self(slot)
    }

    /// The number of the slot.
    pub const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// Where a station is, and where a frame came from: this node, behind the TAP, or a peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Port {
    /// Behind the TAP, on this node's bridge.
    Local,
    /// Behind the tunnel to a peer.
    Peer(PeerId),
}

/// What the frame path needs to know of a peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Peer {
    /// Where its datagrams go; those that come from this address, whatever the port, are its own,
    /// as are those from its aliases ([`PlanBuilder::alias`]).
    pub addr: SocketAddr,
    /// The largest inner IP packet the path to it carries.
    pub mtu: Mtu,
}

/// All that control tells the frame path, in one immutable value: it is replaced whole.
#[derive(Clone, Debug)]
pub struct Plan {
    vni: Vni,
    label: Option<Label>,
    entries: Box<[Option<Entry>]>,
    /// Ordered by address, each of which is one peer's.
    vteps: Box<[(IpAddr, PeerId)]>,
    /// Ordered: who may send to UDP 6783.
    sources: Box<[IpAddr]>,
    /// Ordered; each label stands for one peer, and none of them for this node.
    labels: Box<[(Label, PeerId)]>,
    flood: Box<[PeerId]>,
    /// Whether the kernel floods to somebody.
    kernel_floods: bool,
}

/// A peer, and what follows from its route and those of the others.
#[derive(Clone, Copy, Debug)]
struct Entry {
    peer: Peer,
    route: Route,
    way: Option<Way>,
    /// Who is next for frames that this node passes on to it, and where that one is.
    hop: Option<(PeerId, SocketAddr)>,
}

impl Entry {
    /// Whether it gets what the process floods: to whom the kernel floods, nobody else does.
    fn is_flooded(&self) -> bool {
        self.way.is_some() && self.route.path != Path::Fast
    }
}

impl Plan {
    /// A plan with `peers` in slots 0, 1, ..., all of which are reached by VXLAN.
    /// At most 65 536 peers, further ones are left out.
    pub fn new(vni: Vni, peers: impl IntoIterator<Item = Peer>) -> Self {
        let peers = (0..=u16::MAX).map(PeerId).zip(peers);
        let add = |plan: PlanBuilder, (id, peer)| plan.peer(id, peer, Route::default());
        peers.fold(Self::builder(vni), add).build()
    }

    /// A plan with nobody in it so far.
    pub const fn builder(vni: Vni) -> PlanBuilder {
        PlanBuilder::new(vni)
    }

    /// The overlay's identifier.
    pub fn vni(&self) -> Vni {
        self.vni
    }

    /// What stands for this node on UDP 6783.
    pub fn label(&self) -> Option<Label> {
        self.label
    }

    /// The peer in a slot.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.entry(id).map(|entry| &entry.peer)
    }

    /// How control wants the peer in a slot to be reached.
    pub fn route(&self, id: PeerId) -> Option<&Route> {
        self.entry(id).map(|entry| &entry.route)
    }

    /// What is done with frames for a peer; `None` when there is no way: its path is down, or the
    /// plan lacks what its path needs.
    pub fn way(&self, id: PeerId) -> Option<&Way> {
        self.entry(id)?.way.as_ref()
    }

    /// Where frames go that this node passes on to a peer: to itself or to its relay, on UDP 6783.
    pub fn hop(&self, id: PeerId) -> Option<SocketAddr> {
        self.entry(id)?.hop.map(|(_, addr)| addr)
    }

    /// Who gets frames that this node passes on to a peer: the peer itself, or its relay.
    pub fn next(&self, id: PeerId) -> Option<PeerId> {
        self.entry(id)?.hop.map(|(next, _)| next)
    }

    /// The peer whose datagrams come from `addr`.
    pub fn peer_at(&self, addr: IpAddr) -> Option<PeerId> {
        let place = self.vteps.binary_search_by_key(&addr, |(vtep, _)| *vtep).ok()?;
        self.vteps.get(place).map(|(_, id)| *id)
    }

    /// Whether an address is one that a peer sends from, on either tunnel.
    pub fn is_of(&self, id: PeerId, addr: IpAddr) -> bool {
        let Some(Entry { peer, route, .. }) = self.entry(id) else { return false };
        let own = [Some(peer.addr), route.sleeve].into_iter().flatten().any(|it| it.ip() == addr);
        own || self.peer_at(addr) == Some(id)
    }

    /// The peer that a label stands for; `None`, too, for one that several claim.
    pub fn peer_labelled(&self, label: Label) -> Option<PeerId> {
        let place = self.labels.binary_search_by_key(&label, |(label, _)| *label).ok()?;
        self.labels.get(place).map(|(_, id)| *id)
    }

    /// Whether datagrams on UDP 6783 may come from `addr`: it is a peer's, for either tunnel.
    pub fn is_source(&self, addr: IpAddr) -> bool {
        self.sources.binary_search(&addr).is_ok()
    }

    /// The peers in order of their slots.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        let slots = (0..=u16::MAX).map(PeerId).zip(&self.entries);
        slots.filter_map(|(id, entry)| Some((id, &entry.as_ref()?.peer)))
    }

    /// Who gets what the process floods: each peer to which there is a way, once, but for those to
    /// whom the kernel floods ([`Path::Fast`]).
    pub fn flood(&self) -> &[PeerId] {
        &self.flood
    }

    /// Whether what is flooded gets to no peer at all.
    pub fn reaches_nobody(&self) -> bool {
        self.flood.is_empty() && !self.kernel_floods
    }

    fn entry(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(id.slot())?.as_ref()
    }
}

/// Where control puts the plan and workers find it.
///
/// # Thread-safety
/// Any thread may install and any may load. A worker calls [`PlanCell::load_if_newer`] once per
/// batch: that is one atomic load unless there is something new. Who installs holds a lock, of which workers
/// know nothing once they have begun, and wakes those that sleep.
#[derive(Debug)]
pub struct PlanCell {
    plan: ArcSwap<Plan>,
    generation: AtomicU64,
    followers: Mutex<Vec<Follower>>,
}

impl PlanCell {
    /// A cell that holds `plan` as generation 1.
    pub fn new(plan: Plan) -> Self {
        let (plan, generation) = (ArcSwap::from_pointee(plan), AtomicU64::new(1));
        Self { plan, generation, followers: Mutex::default() }
    }

    /// Replaces the plan.
    pub fn install(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        // After the plan: who sees the new generation also sees the new plan, or a newer one.
        self.unsettle();
    }

    /// As if the same plan had been installed anew: [`PlanCell::is_settled`] is about what lies in the TAP now.
    pub fn unsettle(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.followers().retain(Follower::wake);
    }

    /// Whether all that lay in the TAP when a plan was last installed went where that plan, or one before it, wanted it:
    /// what is sent by another plan came to the TAP after that. Also while no thread runs. A thread that
    /// the processor is kept from may take as long as it likes.
    pub fn is_settled(&self) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        self.followers().iter().all(|it| it.has_settled(generation))
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan, if it was replaced since `seen`, which is brought up to date.
    pub fn load_if_newer(&self, seen: &mut u64) -> Option<Arc<Plan>> {
        let generation = self.generation.load(Ordering::Acquire);
        if generation == *seen {
            return None;
        }
        *seen = generation;
        Some(self.plan.load_full())
    }

    /// The plan.
    pub fn load(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// How often a plan was installed, or [`PlanCell::unsettle`] was called.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
