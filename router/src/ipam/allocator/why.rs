//! Why a request is not answered yet, or cannot be.

use std::net::IpAddr;
use std::time::Duration;

use super::io::{Init, Refusal, Wish};
use super::serve::Pending;
use super::{Allocator, LeaseState};
use crate::ipam::{Owner, Subnet};

impl Allocator {
    /// What a request still waits for.
    pub(super) fn why(&self, pending: &Pending) -> Refusal {
        match (&pending.request.wish, self.why_not_ready()) {
            (Wish::Leave, _) => match self.left.as_ref().and_then(|it| it.heir) {
                Some(heir) => Refusal::NotTaken(heir),
                None => Refusal::NoHeir,
            },
            _ if self.store.failing.is_some() => {
                Refusal::Unsaved(self.store.failing.clone().unwrap_or_default())
            }
            (_, Some(why)) => why,
            (Wish::Claim { addr, .. }, None) => self.why_not_that(*addr),
            (Wish::Allocate { id, .. }, None) if self.reclaimed(id).is_some() => {
                match self.reclaimed(id).map(|addr| self.why_not_that(addr)) {
                    Some(why @ Refusal::OwnerUnreachable { up: false, .. }) => why,
                    _ => Refusal::Reclaiming(self.leases.unsettled().count()),
                }
            }
            (Wish::Allocate { subnet, .. }, None) => self.why_none(*subnet, pending.since),
            (Wish::Free { id, .. }, None) => Refusal::Unknown(id.clone()),
            (Wish::Remove { name, .. }, None) => Refusal::UnknownPeer(*name),
        }
    }

    /// Why there is none, for who asks since then.
    pub(super) fn why_none(&self, subnet: Subnet, since: Duration) -> Refusal {
        let Some(usable) = self.config.range.usable(subnet) else {
            return Refusal::NoSubnet(subnet, self.config.range);
        };
        let is_up = |(owner, _): &(Owner, u64)| self.is_up(owner.name);
        let (up, away): (Vec<_>, Vec<_>) = self.undenied(usable, since).partition(is_up);
        let names = |owners: Vec<(Owner, u64)>| {
            owners.into_iter().map(|(owner, free)| (owner.name, free)).collect()
        };
        if !up.is_empty() {
            Refusal::Unanswered { subnet, owners: names(up) }
        } else if self.gap_in(usable) {
            self.recovering(format!("no address of {subnet} is free, and a part of it"))
        } else if !away.is_empty() {
            Refusal::Unreachable { subnet, owners: names(away) }
        } else {
            Refusal::Full { subnet }
        }
    }

    /// Which lease of before is still to be claimed for it.
    fn reclaimed(&self, id: &str) -> Option<IpAddr> {
        let mut all = self.leases.of(id).filter(|(_, it)| it.state == LeaseState::Reclaiming);
        all.next().map(|(at, _)| self.config.range.addr(at))
    }

    /// Why not this address.
    fn why_not_that(&self, addr: IpAddr) -> Refusal {
        let at = self.config.range.offset(addr);
        match at.and_then(|at| self.ring.as_ref()?.owner_of(at)) {
            Some(Owner { name: owner, .. }) => {
                Refusal::OwnerUnreachable { addr, owner, up: self.is_up(owner) }
            }
            None => self.recovering(addr.to_string()),
        }
    }

    fn recovering(&self, what: String) -> Refusal {
        let (waiting_for, needed, known) = self.recovery();
        Refusal::Recovering { what, waiting_for, needed, known }
    }

    /// Why this node does not lease yet.
    pub(super) fn why_not_ready(&self) -> Option<Refusal> {
        if self.left.is_some() {
            return Some(Refusal::Left);
        }
        if self.rolled_back {
            return Some(Refusal::RolledBack);
        }
        if self.ring.is_none() {
            return Some(match self.config.init {
                Init::Consensus(_) | Init::Majority(_) | Init::Observer(_) => self.no_consensus(),
                Init::Seed(_) => Refusal::NoRing,
            });
        }
        self.not_pulled().or_else(|| {
            let known = self.introduced && self.own_record().is_some();
            (!known).then(|| Refusal::NotIntroduced(self.strange()))
        })
    }

    /// How many must agree on the first ring, and how many are there to do so.
    pub(super) fn agreeing(&self) -> (usize, usize) {
        let voters = self.up().filter(|it| !self.paxos.is_observer(*it)).count();
        (self.paxos.quorum(), voters + usize::from(self.votes()))
    }

    fn no_consensus(&self) -> Refusal {
        let (needed, known) = self.agreeing();
        Refusal::NoConsensus {
            needed,
            known,
            others: self.paxos.others.iter().map(|(name, count)| (*name, *count)).collect(),
        }
    }
}
