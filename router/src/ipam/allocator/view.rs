//! How address management stands, for who wants to know.

use std::collections::BTreeSet;
use std::time::Duration;

use peer_mesh::PeerName;

use super::io::{Refusal, Wish};
use super::{Allocator, Lease, LeaseState, Reach};
use crate::ipam::{Epoch, Offer, Offset, Owner, RingId, Subnet};

/// How far a node has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Nobody has wanted an address.
    Idle,
    /// It leases.
    Ready,
    /// It does not, for this reason.
    Waiting(Refusal),
}

/// How address management stands.
#[derive(Clone, Debug)]
pub struct View {
    /// How far this node has come.
    pub stage: Stage,
    /// The ring.
    pub ring: Option<RingId>,
    /// This node's epoch.
    pub epoch: Epoch,
    /// Addresses of this node's own,
    pub owned: u64,
    /// those leased,
    pub leased: u64,
    /// those that can be,
    pub free: u64,
    /// and those of them that rest.
    pub resting: u64,
    /// Addresses of its own that somebody uses without a lease.
    pub occupied: u64,
    /// How many must agree on the first split, and how many are known.
    pub consensus: Option<(usize, usize)>,
    /// Who owns what.
    pub owners: Vec<OwnerView>,
    /// Who was removed, and whose removal is not done.
    pub removals: Vec<RemovalView>,
    /// Addresses that nobody owns at the moment.
    pub unowned: u64,
    /// Leases here of addresses that others own.
    pub lost: Vec<(Offset, Lease, Option<PeerName>)>,
    /// Who waits for an address: for whom, since when, for what.
    pub pending: Vec<(String, Duration, Refusal)>,
    /// Rings that were begun separately: with whom, which was kept, which dropped.
    pub other_ring: Option<(PeerName, RingId, RingId)>,
    /// When that was first seen.
    pub other_ring_at: Duration,
    /// Why nothing can be saved at the moment.
    pub failing: Option<String>,
    /// Peers whose range is another.
    pub strangers: Vec<(PeerName, Subnet)>,
    /// Peers that count the nodes that make the ring otherwise, as long as there is none.
    pub other_counts: Vec<(PeerName, u32)>,
    /// How often rings, and parts of one, were found to be owned twice, and messages that made no sense.
    pub conflicts: (u64, u64, u64),
}

/// An owner.
#[derive(Clone, Debug)]
pub struct OwnerView {
    /// Who.
    pub owner: Owner,
    /// What people call it, if that is known.
    pub nickname: String,
    /// What it owns.
    pub addresses: u64,
    /// How much of it is free, as it last said.
    pub free: u64,
    /// How the mesh sees it; `None`: it is this node.
    pub reach: Option<Reach>,
}

/// A removal that is not done.
#[derive(Clone, Debug)]
pub struct RemovalView {
    /// Who was removed.
    pub owner: Owner,
    /// How many addresses it had, if this node has seen it removed.
    pub addresses: Option<u64>,
    /// Who has not shown that it knows, or is out of reach.
    pub waiting_for: Vec<(Owner, Reach)>,
}

impl Allocator {
    /// How it stands.
    pub fn view(&self) -> View {
        let ring = self.ring.as_ref();
        let (_, resting) = self.space.counts();
        let stage = self.stage();
        let rolled_back = matches!(stage, Stage::Waiting(Refusal::RolledBack));
        // As far as is known now, which may be another than it was lost to.
        let other = |at| {
            let owner = ring.and_then(|it| it.owner_of(at));
            owner.filter(|it| it.name != self.own.name).map(|it| it.name)
        };
        let state = |(at, lease): (Offset, &Lease)| match lease.state {
            // One that was rolled back has leases that it has freed since, and given away.
            LeaseState::Owned if rolled_back => Some((at, lease.clone(), Some(other(at)?))),
            LeaseState::Owned => None,
            LeaseState::Reclaiming => Some((at, lease.clone(), None)),
            LeaseState::Lost(owner) => Some((at, lease.clone(), other(at).or(Some(owner)))),
        };
        let others = self.paxos.others.iter().map(|(name, count)| (*name, *count));
        View {
            stage,
            ring: ring.map(super::Ring::id),
            epoch: self.own.epoch,
            owned: self.own_record().map_or(0, |it| self.addresses(self.own, it)),
            leased: u64::try_from(self.leases.len()).unwrap_or(u64::MAX),
            free: self.free(),
            resting,
            occupied: self.space.occupied(),
            consensus: ring.is_none().then(|| self.agreeing()),
            owners: self.owners().map(|(owner, record)| self.owner_view(owner, record)).collect(),
            removals: self.removals(),
            unowned: ring.map_or(0, |it| it.gaps().iter().map(|gap| gap.len()).sum()),
            lost: self.leases.iter().filter_map(state).collect(),
            pending: self.waiting(),
            other_ring: self.conflicts.last_ring,
            other_ring_at: self.conflicts.last_ring_at,
            failing: self.store.failing.clone(),
            strangers: self.strangers.iter().map(|(name, subnet)| (*name, *subnet)).collect(),
            other_counts: if ring.is_none() { others.collect() } else { Vec::new() },
            conflicts: (self.conflicts.rings, self.conflicts.usurped, self.conflicts.malformed),
        }
    }

    /// All that is leased here.
    pub fn leases(&self) -> impl Iterator<Item = (Offset, &Lease)> {
        self.leases.iter()
    }

    /// What is leased to one holder.
    pub fn leases_of<'a>(&'a self, id: &str) -> impl Iterator<Item = (Offset, &'a Lease)> {
        self.leases.of(id)
    }

    fn stage(&self) -> Stage {
        match self.why_not_ready() {
            None => Stage::Ready,
            Some(why @ (Refusal::Left | Refusal::RolledBack)) => Stage::Waiting(why),
            // It takes part when somebody wants an address.
            Some(_) if !self.used && self.pull.is_none() => match self.ring {
                Some(_) => Stage::Ready,
                None => Stage::Idle,
            },
            Some(why) => Stage::Waiting(why),
        }
    }

    fn owner_view(&self, owner: Owner, record: &super::super::Record) -> OwnerView {
        let own = owner == self.own;
        // What others say of that may be older than what they own.
        let free = if own { self.free() } else { record.free.min(record.owned()) };
        // A seed that has not taken up its part yet.
        let seed = owner == Owner { name: self.own.name, epoch: Epoch::SEED };
        let reach = (!own && !seed).then(|| self.reach(owner));
        let nickname = self.nicknames.get(&owner.name).cloned().unwrap_or_default();
        OwnerView { owner, nickname, addresses: self.addresses(owner, record), free, reach }
    }

    /// How many an owner has. What is on its way is the donor's until it has arrived.
    fn addresses(&self, owner: Owner, record: &super::super::Record) -> u64 {
        let taken = |it: &Offer| {
            let to = self.ring.as_ref().and_then(|ring| ring.record(it.to));
            to.is_some_and(|to| to.has_taken(owner, it.serial))
        };
        let offered = record.offers.iter().filter(|it| !taken(it)).map(|it| it.segment.span.len());
        record.owned() + offered.sum::<u64>()
    }

    /// An epoch that has ended is not there, whoever has its name.
    fn reach(&self, owner: Owner) -> Reach {
        let last = self.owners().map(|(it, _)| it).filter(|it| it.name == owner.name).max();
        let ended = last != Some(owner) || owner.name == self.own.name && owner != self.own;
        let reach = self.peers.get(&owner.name).copied().unwrap_or(Reach::Gone);
        if ended { Reach::Gone } else { reach }
    }

    fn removals(&self) -> Vec<RemovalView> {
        let Some(ring) = &self.ring else { return Vec::new() };
        let reach = |it: Owner| if it == self.own { Reach::Up } else { self.reach(it) };
        if !ring.is_pending() {
            return Vec::new();
        }
        // The ring keeps only those in mind who were born after the last removal was done.
        let removed: BTreeSet<_> = ring.removed().chain(self.bygone.open()).collect();
        // The same for all.
        let waiting_for: Vec<_> = self.awaited().map(|it| (it, reach(it))).collect();
        let removed = removed.into_iter().map(|owner| RemovalView {
            owner,
            addresses: self.bygone.addresses(owner),
            waiting_for: waiting_for.clone(),
        });
        removed.collect()
    }

    fn waiting(&self) -> Vec<(String, Duration, Refusal)> {
        let waits = self.pending.values().filter_map(|it| match &it.request.wish {
            Wish::Allocate { id, .. } | Wish::Claim { id, .. } => {
                Some((id.clone(), it.since, self.why(it)))
            }
            Wish::Free { .. } | Wish::Remove { .. } | Wish::Leave => None,
        });
        waits.collect()
    }
}
