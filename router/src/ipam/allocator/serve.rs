//! What somebody on this node wants, until it is answered.

use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;

use super::ask::Prospect;
use super::io::{Answer, Output, Refusal, Request, Wish, Word};
use super::{Allocator, Lease, LeaseState, REST};
use crate::ipam::range::Span;
use crate::ipam::{Offset, Owner, Ring, Subnet};

/// An address that somebody may use is waited for so long.
const PROBE: Duration = Duration::from_secs(1);
/// An address that somebody uses without a lease is left alone for so long.
const OCCUPIED: Duration = Duration::from_secs(600);
/// A request that was not yet answered for good.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    /// Since when.
    pub(super) since: Duration,
    /// Its answer waits for what it says to be durable,
    answered: bool,
    /// and is about this new lease.
    fresh: Option<Offset>,
    /// Where it needs an address that is not here.
    pub(super) needs: Option<Span>,
    /// Which address it needs.
    pub(super) claims: Option<Offset>,
    /// Who has it.
    pub(super) taken_by: Option<PeerName>,
    /// Which address is asked for on the network, and until when.
    pub(super) probing: Option<(Offset, Duration)>,
    /// What was begun: who was removed.
    pub(super) removed: Option<(Vec<Owner>, u64)>,
    /// When to look again.
    pub(super) look_at: Option<Duration>,
}

impl Allocator {
    pub(super) fn wish(&mut self, request: Request) {
        let new = Pending {
            since: Duration::MAX,
            request,
            answered: false,
            fresh: None,
            needs: None,
            claims: None,
            taken_by: None,
            probing: None,
            removed: None,
            look_at: None,
        };
        self.pending.insert(new.request.token, new);
    }

    /// Whether somebody waits for an address.
    pub(super) fn has_wishes(&self) -> bool {
        let is = |it: &Pending| {
            !it.answered && matches!(it.request.wish, Wish::Allocate { .. } | Wish::Claim { .. })
        };
        self.pending.values().any(is)
    }

    /// Answers that are not yet out are taken back: what they are about may be no longer this node's. The caller takes what
    /// is not out of the space.
    pub(super) fn retract_all(&mut self) {
        for (token, pending) in &mut self.pending {
            if let Some((at, _)) = pending.probing.take() {
                self.space.add_suspect(Span::one(at));
            }
            if let Some(at) = pending.fresh.take()
                && self.store.retract(*token, &mut self.out).is_some()
            {
                self.leases.remove(at);
                self.store.lease(at);
                // Nobody has used it.
                self.space.add(Span::one(at));
                pending.answered = false;
            }
        }
    }

    /// Whether somebody waits for a removal.
    pub(super) fn is_removing(&self) -> bool {
        let is = |it: &Pending| !it.answered && matches!(it.request.wish, Wish::Remove { .. });
        self.pending.values().any(is)
    }

    /// Answers what can be.
    pub(super) fn serve(&mut self, now: Duration) {
        let waiting = self.pending.iter().filter(|(_, it)| !it.answered).map(|(token, _)| *token);
        let waiting: Vec<u64> = waiting.collect();
        for token in waiting {
            let Some(mut pending) = self.pending.remove(&token) else { continue };
            pending.since = pending.since.min(now);
            (pending.needs, pending.claims) = (None, None);
            let answer = self.try_to(&mut pending, now);
            pending.answered = answer.is_some();
            if pending.answered {
                self.unprobe(&mut pending);
                pending.look_at = None;
            }
            self.pending.insert(token, pending);
            if let Some(answer) = answer {
                self.out.push(Output::Reply(token, answer));
            }
        }
        self.space.vacate(now);
    }

    fn try_to(&mut self, pending: &mut Pending, now: Duration) -> Option<Result<Answer, Refusal>> {
        match pending.request.wish.clone() {
            Wish::Allocate { id, subnet } => self.allocate(pending, (id, subnet), now),
            Wish::Claim { id, addr, subnet } => self.claim(pending, id, (addr, subnet)),
            Wish::Free { id, addr } => Some(self.free_leases(&id, addr, now)),
            Wish::Remove { name, force } => self.remove(pending, (name, force), now),
            Wish::Leave => self.leave(),
        }
    }

    fn allocate(
        &mut self,
        pending: &mut Pending,
        want: (String, Subnet),
        now: Duration,
    ) -> Option<Result<Answer, Refusal>> {
        let (id, subnet) = want;
        let range = self.config.range;
        let Some(usable) = range.usable(subnet) else {
            return Some(Err(Refusal::NoSubnet(subnet, range)));
        };
        let has = self.leases.of(&id).find(|(at, _)| usable.contains(*at));
        match has.map(|(at, lease)| (at, lease.state)) {
            Some((at, LeaseState::Owned)) => return Some(Ok(Answer::Leased(range.addr(at)))),
            // It may be its own again in a moment.
            Some((_, LeaseState::Reclaiming)) => return None,
            // Another has it: who asks again gets one of its own.
            Some((at, LeaseState::Lost(_))) => self.release(at, now),
            None => {}
        }
        self.used = true;
        if let Some(refusal) = self.blocked() {
            return refusal.err().map(Err);
        }
        if let Some((at, until)) = pending.probing {
            if now < until {
                return None;
            }
            pending.probing = None;
            if self.owns(at) {
                return Some(Ok(self.lease(pending, id, (at, subnet))));
            }
        }
        match self.space.next(usable) {
            Some((at, false)) => {
                self.space.take(at);
                return Some(Ok(self.lease(pending, id, (at, subnet))));
            }
            Some((at, true)) => {
                self.space.take(at);
                pending.probing = Some((at, now + PROBE));
                self.out.push(Output::Probe(at, range.addr(at)));
                return None;
            }
            None => pending.needs = Some(usable),
        }
        match self.prospect(usable, pending.since) {
            Prospect::Asked => None,
            prospect @ (Prospect::Denied | Prospect::Open) => match self.space.next_resting(usable)
            {
                Some(at) => {
                    pending.needs = None;
                    self.space.take(at);
                    Some(Ok(self.lease(pending, id, (at, subnet))))
                }
                None if prospect == Prospect::Denied => {
                    Some(Err(self.why_none(subnet, pending.since)))
                }
                None => None,
            },
        }
    }

    fn lease(&mut self, pending: &mut Pending, id: String, of: (Offset, Subnet)) -> Answer {
        let (at, subnet) = of;
        let (since, prefix) = (pending.request.wall, Some(subnet.prefix()));
        let lease = Lease { id, since, state: LeaseState::Owned, prefix };
        self.leases.insert(at, lease);
        self.store.lease(at);
        pending.fresh = Some(at);
        Answer::Leased(self.config.range.addr(at))
    }

    /// Why nothing can be leased now: for good (`Err`), or until that changes.
    fn blocked(&self) -> Option<Result<(), Refusal>> {
        let leaves = self.pending.values().any(|it| it.request.wish == Wish::Leave);
        if self.left.is_some() || leaves {
            return Some(Err(Refusal::Left));
        }
        if self.rolled_back {
            return Some(Err(Refusal::RolledBack));
        }
        let ready = self.pull.is_none() && self.own_record().is_some() && self.introduced;
        (!ready).then_some(Ok(()))
    }

    fn claim(
        &mut self,
        pending: &mut Pending,
        id: String,
        of: (IpAddr, Subnet),
    ) -> Option<Result<Answer, Refusal>> {
        let (addr, subnet) = of;
        let range = self.config.range;
        let claimable = range.claimable(subnet);
        let at = range.offset(addr).filter(|at| claimable.is_some_and(|it| it.contains(*at)));
        let Some(at) = at else {
            return Some(Err(Refusal::OutOfRange { addr, subnet, range }));
        };
        if let Some(lease) = self.leases.get(at) {
            return match lease.state {
                _ if lease.id != id => Some(Err(Refusal::TakenHere { addr, id: lease.id.clone() })),
                LeaseState::Owned => Some(Ok(Answer::Leased(addr))),
                LeaseState::Reclaiming => None,
                LeaseState::Lost(owner) => Some(Err(Refusal::Taken { addr, owner })),
            };
        }
        self.used = true;
        if let Some(refusal) = self.blocked() {
            return refusal.err().map(Err);
        }
        if self.owns(at) {
            return Some(match self.space.take(at) {
                true => Ok(self.lease(pending, id, (at, subnet))),
                // Somebody uses it, or is asked whether.
                false => Err(Refusal::InUse(addr)),
            });
        }
        pending.claims = Some(at);
        pending.taken_by.map(|owner| Err(Refusal::Taken { addr, owner }))
    }

    fn free_leases(
        &mut self,
        id: &str,
        addr: Option<IpAddr>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let only = addr.map(|addr| self.config.range.offset(addr));
        let own = self.leases.of(id).map(|(at, _)| at);
        let own: Vec<_> = own.filter(|at| only.is_none_or(|only| only == Some(*at))).collect();
        if own.is_empty() {
            return Err(Refusal::Unknown(id.to_owned()));
        }
        for at in &own {
            self.release(*at, now);
        }
        Ok(Answer::Freed(own.into_iter().map(|at| self.config.range.addr(at)).collect()))
    }

    fn release(&mut self, at: Offset, now: Duration) {
        let Some(lease) = self.leases.remove(at) else { return };
        self.store.lease(at);
        if lease.state == LeaseState::Owned && self.owns(at) {
            self.space.rest(at, now + REST);
        }
    }

    /// Whether somebody uses an address that is to be leased.
    pub(super) fn probed(&mut self, at: Offset, used: bool) {
        let waits = self.pending.values_mut().find(|it| it.probing.is_some_and(|(it, _)| it == at));
        match (waits, used) {
            (Some(pending), false) => pending.probing = Some((at, Duration::ZERO)),
            (Some(pending), true) => {
                pending.probing = None;
                self.space.occupy(at, pending.since.saturating_add(OCCUPIED));
                self.say(Word::InUse(self.config.range.addr(at)));
            }
            (None, _) => {}
        }
    }

    /// What is about to be leased is not free.
    pub(super) fn keep_probed(&mut self) {
        for (at, _) in self.pending.values().filter_map(|it| it.probing) {
            self.space.remove(Span::one(at));
        }
    }

    /// Whether an address is about to be leased.
    pub(super) fn is_probing(&self, at: Offset) -> bool {
        self.pending.values().any(|it| it.probing.is_some_and(|(it, _)| it == at))
    }

    /// What was asked for on the network is not needed.
    fn unprobe(&mut self, pending: &mut Pending) {
        if let Some((at, _)) = pending.probing.take() {
            self.space.add_suspect(Span::one(at));
        }
    }

    /// Answers those whose time has passed.
    pub(super) fn expire(&mut self, now: Duration, free: &mut Vec<Output>) {
        let late = self.pending.iter().filter(|(_, it)| it.request.until <= now);
        let late: Vec<u64> = late.map(|(token, _)| *token).collect();
        for token in late {
            let Some(mut pending) = self.pending.remove(&token) else { continue };
            self.unprobe(&mut pending);
            let why = if pending.answered {
                let Some(Output::Reply(_, answer)) = self.store.retract(token, &mut self.out)
                else {
                    continue;
                };
                if let Some(at) = pending.fresh {
                    self.release(at, now);
                }
                let failing = self.store.failing.clone();
                let slow = || "the disk takes too long".to_owned();
                // That it has nothing any more is no more durable than that it was freed.
                let lasting = answer.err().filter(|why| !matches!(why, Refusal::Unknown(_)));
                lasting.unwrap_or_else(|| Refusal::Unsaved(failing.unwrap_or_else(slow)))
            } else {
                self.why(&pending)
            };
            free.push(Output::Reply(token, Err(why)));
        }
    }

    /// The ring's owners, for who wants to know.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Owner, &crate::ipam::Record)> {
        self.ring.iter().flat_map(Ring::owners)
    }
}
