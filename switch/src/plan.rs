use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::{Mtu, Vni};

/// A peer's slot in the [`Plan`]. The switch knows no names; control gives out the slots.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Where its datagrams go; those that come from this address, whatever the port, are its own.
    pub addr: SocketAddr,
    /// The largest inner IP packet the path to it carries.
    pub mtu: Mtu,
}

/// All that control tells the frame path, in one immutable value: it is replaced whole.
#[derive(Clone, Debug)]
pub struct Plan {
    vni: Vni,
    peers: Box<[Peer]>,
    /// Ordered by address.
    vteps: Box<[(IpAddr, PeerId)]>,
    flood: Box<[PeerId]>,
}

impl Plan {
    /// A plan with `peers` in slots 0, 1, ...; every one of them gets what is flooded.
    /// At most 65 536 peers, further ones are left out.
    pub fn new(vni: Vni, peers: impl IntoIterator<Item = Peer>) -> Self {
        let peers: Box<[_]> = peers.into_iter().take(usize::from(u16::MAX) + 1).collect();
        let ids = || (0..=u16::MAX).map(PeerId).take(peers.len());
        let mut vteps: Vec<_> = peers.iter().map(|peer| peer.addr.ip()).zip(ids()).collect();
        vteps.sort_unstable();
        Self { vni, flood: ids().collect(), vteps: vteps.into(), peers }
    }

    /// The overlay's identifier.
    pub fn vni(&self) -> Vni {
        self.vni
    }

    /// The peer in a slot.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.slot())
    }

    /// The peer whose datagrams come from `addr`.
    pub fn peer_at(&self, addr: IpAddr) -> Option<PeerId> {
        let place = self.vteps.binary_search_by_key(&addr, |(vtep, _)| *vtep).ok()?;
        self.vteps.get(place).map(|(_, id)| *id)
    }

    /// The peers in order of their slots.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        (0..=u16::MAX).map(PeerId).zip(&self.peers)
    }

    /// Who gets what is flooded; each peer at most once.
    pub fn flood(&self) -> &[PeerId] {
        &self.flood
    }
}

/// Where control puts the plan and workers find it.
///
/// # Thread-safety
/// Any thread may install and any may load. A worker calls [`PlanCell::load_if_newer`] once per
/// batch: that is one atomic load unless there is something new.
#[derive(Debug)]
pub struct PlanCell {
    plan: ArcSwap<Plan>,
    generation: AtomicU64,
}

impl PlanCell {
    /// A cell that holds `plan` as generation 1.
    pub fn new(plan: Plan) -> Self {
        Self { plan: ArcSwap::from_pointee(plan), generation: AtomicU64::new(1) }
    }

    /// Replaces the plan.
    pub fn install(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        // After the plan: who sees the new generation also sees the new plan, or a newer one.
        self.generation.fetch_add(1, Ordering::Release);
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

    /// How often a plan was installed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(last_octets: &[u8]) -> Plan {
        let mtu = Mtu::new(1450).unwrap();
        let peers = last_octets.iter().map(|n| Peer { addr: ([10, 0, 0, *n], 6784).into(), mtu });
        Plan::new(Vni::DEFAULT, peers)
    }

    #[test]
    fn peers_are_found_by_their_address() {
        let plan = plan(&[9, 3, 7]);

        assert_eq!(plan.peer_at([10, 0, 0, 3].into()), Some(PeerId::new(1)));
        assert_eq!(plan.peer_at([10, 0, 0, 4].into()), None);
        assert_eq!(plan.peer(PeerId::new(2)).unwrap().addr, ([10, 0, 0, 7], 6784).into());
        assert_eq!(plan.peer(PeerId::new(3)), None);
    }

    #[test]
    fn every_peer_is_in_the_flood_list_once() {
        assert_eq!(plan(&[9, 3, 7]).flood(), [PeerId::new(0), PeerId::new(1), PeerId::new(2)]);
    }

    #[test]
    fn a_plan_is_loaded_once_per_installation() {
        let cell = PlanCell::new(plan(&[1]));
        let mut seen = 0;

        assert!(cell.load_if_newer(&mut seen).is_some());
        assert!(cell.load_if_newer(&mut seen).is_none());
        cell.install(plan(&[1, 2]));

        assert_eq!(cell.load_if_newer(&mut seen).unwrap().flood().len(), 2);
        assert!(cell.load_if_newer(&mut seen).is_none());
    }
}
