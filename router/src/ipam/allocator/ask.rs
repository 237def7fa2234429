//! Asking others for addresses, and giving some to who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peer_mesh::PeerName;

use super::io::Word;
use super::{Allocator, LeaseState};
use crate::ipam::range::Span;
use crate::ipam::wire::{Ask, Denial, Deny, MAX_SPOTS, Message, Want};
use crate::ipam::{Offset, Owner, Ring, Segment};

/// Who is asked has so long to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// For so long after a denial nobody is asked the same again.
const BELIEF: Duration = Duration::from_secs(1);
/// For so long it is an answer to requests that were made before it.
const MEMORY: Duration = Duration::from_secs(10);
/// Who did not answer, or not now, is asked again after this time.
const RETRY: Duration = Duration::from_millis(300);
/// Who has fewer free addresses asks for more before somebody waits,
const FEW: u64 = 16;
/// but not more often.
const EARLY: Duration = Duration::from_secs(5);
/// Between two times that leases of before are claimed.
const RECLAIM: Duration = Duration::from_secs(1);
/// and that those are claimed which another has leased, as it may have freed them since.
const LOST: Duration = Duration::from_secs(10);

/// What was asked of others.
#[derive(Debug, Default)]
pub(super) struct Asks {
    serial: u64,
    open: BTreeMap<u64, Open>,
    /// Who has denied addresses of which part, and when.
    denied: BTreeMap<(Owner, Span), Duration>,
    /// Who has not answered, or could not.
    failed: BTreeMap<Owner, Duration>,
    /// When it was last looked whom to ask.
    asked_at: Duration,
    early_at: Duration,
    pub(super) reclaim_at: Duration,
    lost_at: Duration,
}

#[derive(Debug)]
struct Open {
    of: Owner,
    want: Want,
    until: Duration,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prospect {
    /// Somebody is asked, or can be.
    Asked,
    /// All have denied.
    Denied,
    /// Some cannot be asked, or have not answered.
    Open,
}

impl Asks {
    /// `needs`: whether somebody waits for what others have.
    pub(super) fn poll_timeout(&self, needs: bool) -> Option<Duration> {
        let denied = self.denied.values().map(|at| *at + BELIEF);
        let denied = denied.filter(|at| *at > self.asked_at);
        let beliefs = denied.chain(self.failed.values().copied()).filter(|_| needs);
        self.open.values().map(|it| it.until).chain(beliefs).min()
    }

    /// When leases of before are claimed again.
    pub(super) fn claims_at(&self, unsettled: bool, lost: bool) -> Option<Duration> {
        let soon = unsettled.then_some(self.reclaim_at);
        soon.into_iter().chain(lost.then_some(self.lost_at)).min()
    }

    /// A peer came up: what it did not answer is no reproach.
    pub(super) fn forgive(&mut self, name: PeerName) {
        self.denied.retain(|(it, _), _| it.name != name);
        self.failed.retain(|it, _| it.name != name);
    }

    /// A peer cannot answer any more.
    pub(super) fn fail(&mut self, name: PeerName) {
        self.open.retain(|_, it| it.of.name != name);
    }

    /// A peer cannot answer yet.
    pub(super) fn postpone(&mut self, name: PeerName, now: Duration) {
        let open: Vec<_> = self.open.extract_if(.., |_, it| it.of.name == name).collect();
        self.failed.extend(open.into_iter().map(|(_, it)| (it.of, now + RETRY)));
    }

    /// Those have given.
    pub(super) fn got(&mut self, donors: &BTreeSet<Owner>) {
        self.open.retain(|_, it| !donors.contains(&it.of));
    }

    fn is_asking_any(&self) -> bool {
        self.open.values().any(|it| matches!(it.want, Want::Any(..)))
    }

    fn is_asking_spots(&self, of: Owner) -> bool {
        self.open.values().any(|it| it.of == of && matches!(it.want, Want::Spots(_)))
    }
}

impl Allocator {
    /// Asks for what is wanted and not here.
    pub(super) fn ask(&mut self, now: Duration) {
        for (_, open) in self.asks.open.extract_if(.., |_, it| it.until <= now) {
            self.asks.failed.insert(open.of, now + RETRY);
        }
        self.asks.denied.retain(|_, at| *at + MEMORY > now);
        self.asks.asked_at = now;
        self.asks.failed.retain(|_, until| *until > now);
        if !self.may_ask() {
            return;
        }
        self.ask_for_any(now);
        self.ask_for_claims(now);
        if self.leases.has_unsettled() && now >= self.asks.reclaim_at {
            self.asks.reclaim_at = now + RECLAIM;
            self.reclaim(self.leases.unsettled().collect(), now);
        }
        if self.leases.has_lost() && now >= self.asks.lost_at {
            self.asks.lost_at = now + LOST;
            self.reclaim(self.leases.lost().collect(), now);
        }
    }

    /// Whether others would give this node something.
    pub(super) fn may_ask(&self) -> bool {
        self.pull.is_none() && self.left.is_none() && self.own_record().is_some()
    }

    fn ask_for_any(&mut self, now: Duration) {
        let waits = self.pending.values().find_map(|it| Some((it.needs?, it.since)));
        let early = || {
            let few = self.used && self.free() < FEW && now >= self.asks.early_at;
            few.then(|| self.config.range.usable(self.config.subnet)).flatten()
        };
        let waits = waits.map(|(span, since)| (span, since, true));
        let Some((span, since, urgent)) = waits.or_else(|| Some((early()?, now, false))) else {
            return;
        };
        if self.asks.is_asking_any() || self.rolled_back {
            return;
        }
        if !urgent {
            self.asks.early_at = now + EARLY;
        }
        if let Some(donor) = self.donor(span, since, now) {
            self.put(donor, Want::Any(span, urgent), now);
        }
    }

    /// Of whom to ask next: who has most, as far as is known.
    fn donor(&mut self, span: Span, since: Duration, now: Duration) -> Option<Owner> {
        let dice = self.rng.bits();
        let candidates = self.candidates(span);
        let fresh = candidates.filter(|(owner, _)| {
            let denied = self.asks.denied.get(&(*owner, span));
            self.is_up(owner.name)
                && denied.is_none_or(|at| *at <= since && *at + BELIEF <= now)
                && !self.asks.failed.contains_key(owner)
        });
        let rank = |owner: &Owner, free: u64| {
            (free.checked_ilog2(), owner.epoch.0.rotate_left(17) ^ owner.name.to_u64() ^ dice)
        };
        fresh.max_by_key(|(owner, free)| rank(owner, *free)).map(|(owner, _)| owner)
    }

    /// Others who own a part of a span, and about how much they have to give.
    fn candidates(&self, span: Span) -> impl Iterator<Item = (Owner, u64)> + '_ {
        let owners = self.ring.iter().flat_map(Ring::owners);
        let owners = owners.filter(move |(owner, record)| {
            let within = |it: &Segment| it.span.intersection(span).is_some();
            *owner != self.own && record.segments.iter().any(within)
        });
        owners.map(|(owner, record)| (owner, record.free))
    }

    /// Whether asking others may still help who asks since then.
    pub(super) fn prospect(&self, span: Span, since: Duration) -> Prospect {
        if self.asks.is_asking_any() {
            return Prospect::Asked;
        }
        let awaited = self.gap_in(span) && {
            let (waiting_for, needed, known) = self.recovery();
            waiting_for.iter().any(|it| self.is_up(*it) || *it == self.own.name)
                || waiting_for.is_empty() && known >= needed
        };
        let mut prospect = if awaited { Prospect::Open } else { Prospect::Denied };
        for (owner, free) in self.undenied(span, since) {
            let denied_before = self.asks.denied.contains_key(&(owner, span));
            match self.is_up(owner.name) {
                true if self.asks.failed.contains_key(&owner) || denied_before => {
                    prospect = Prospect::Open;
                }
                true => return Prospect::Asked,
                // Who had nothing when it went has nothing yet: who waits need not wait for it.
                false if free > 0 => prospect = Prospect::Open,
                false => {}
            }
        }
        prospect
    }

    /// Who owns a part of a span and has not said since then that it has nothing.
    pub(super) fn undenied(
        &self,
        span: Span,
        since: Duration,
    ) -> impl Iterator<Item = (Owner, u64)> + '_ {
        let denied = move |owner: Owner| self.asks.denied.get(&(owner, span));
        let all = self.candidates(span);
        all.filter(move |(owner, _)| denied(*owner).is_none_or(|at| *at <= since))
    }

    /// Whether a part of a span is nobody's at the moment.
    pub(super) fn gap_in(&self, span: Span) -> bool {
        let gaps = self.ring.iter().flat_map(Ring::gaps);
        gaps.into_iter().any(|gap| gap.intersection(span).is_some())
    }

    /// For whom what is nobody's waits; else how many must be there, and how many are.
    pub(super) fn recovery(&self) -> (Vec<PeerName>, usize, usize) {
        let (needed, known) = self.needed_to_recover();
        (self.awaited().map(|it| it.name).collect(), needed, known)
    }

    fn ask_for_claims(&mut self, now: Duration) {
        let wanted: Vec<_> = self.pending.values().filter_map(|it| it.claims).collect();
        for at in wanted {
            let owner = self.ring.as_ref().and_then(|ring| ring.owner_of(at));
            if let Some(owner) = owner.filter(|it| *it != self.own && self.is_up(it.name))
                && !self.asks.is_asking_spots(owner)
                && !self.asks.failed.contains_key(&owner)
            {
                self.put(owner, Want::Spots(vec![at]), now);
            }
        }
    }

    /// Leases of before, asked back from who owns them now.
    fn reclaim(&mut self, spots: Vec<Offset>, now: Duration) {
        let mut by: BTreeMap<Owner, Vec<Offset>> = BTreeMap::new();
        let mut ours = Vec::new();
        if let Some(ring) = &self.ring {
            let owner = |at: Offset| Some((at, ring.owner_of(at)?));
            for (at, owner) in spots.into_iter().filter_map(owner) {
                if owner == self.own {
                    ours.push(at);
                } else if self.is_up(owner.name) {
                    by.entry(owner).or_default().push(at);
                }
            }
        }
        for at in ours {
            self.leases.set(at, LeaseState::Owned);
            self.store.lease(at);
            self.space.remove(Span::one(at));
            self.say(Word::Regained(self.config.range.addr(at)));
        }
        for (owner, spots) in by {
            // All have their turn.
            let over = spots.len().saturating_sub(MAX_SPOTS);
            let first = usize::try_from(self.rng.below(over as u64 + 1)).unwrap_or(0);
            let spots = spots.into_iter().skip(first).take(MAX_SPOTS).collect();
            if !self.asks.is_asking_spots(owner) {
                self.put(owner, Want::Spots(spots), now);
            }
        }
    }

    fn put(&mut self, of: Owner, want: Want, now: Duration) {
        let Some((ring, record)) = self.ring.as_ref().map(Ring::id).zip(self.own_record().cloned())
        else {
            return;
        };
        self.asks.serial += 1;
        let serial = self.asks.serial;
        self.asks.open.insert(serial, Open { of, want: want.clone(), until: now + PATIENCE });
        let ask = Ask { ring, serial, owner: self.own, record, want };
        self.send(of.name, &Message::Ask(ask));
    }

    /// Who was asked has nothing to give.
    pub(super) fn denied(&mut self, deny: &Deny, now: Duration) {
        if self.ring.as_ref().map(Ring::id) != Some(deny.ring) {
            return;
        }
        // Serials begin anew with each start: a late answer may be to another question.
        let open = self
            .asks
            .open
            .extract_if(deny.serial..=deny.serial, |_, it| it.of.name == deny.owner.name)
            .next();
        let Some((_, open)) = open else { return };
        match &deny.why {
            // Who asks before somebody waits is given nothing where there is not plenty.
            Denial::Full if matches!(open.want, Want::Any(_, false)) => {}
            Denial::Full => {
                if let Want::Any(span, _) = open.want {
                    self.asks.denied.insert((open.of, span), now);
                }
            }
            Denial::NotNow => {
                self.asks.failed.insert(open.of, now + RETRY);
            }
            Denial::Stale(born) => {
                // Who was removed begins anew with all that belongs to that.
                let removed = self.ring.as_ref().is_some_and(|ring| ring.is_removed(self.own));
                let own = self.own_record().is_none_or(|own| own.segments.is_empty());
                if own && !removed && *born >= self.own.epoch.born() {
                    self.renew_epoch();
                    self.ring_changed = true;
                }
            }
            Denial::Taken(leased, _) => {
                for at in leased.iter().copied() {
                    self.lose(at, open.of.name);
                }
            }
        }
    }

    /// An address is another's for good.
    fn lose(&mut self, at: Offset, owner: PeerName) {
        for pending in self.pending.values_mut().filter(|it| it.claims == Some(at)) {
            pending.taken_by = Some(owner);
        }
        if self.leases.get(at).is_some_and(|it| it.state == LeaseState::Reclaiming) {
            let id = self.leases.set(at, LeaseState::Lost(owner)).map(|it| it.id.clone());
            self.store.lease(at);
            let (addr, id) = (self.config.range.addr(at), id.unwrap_or_default());
            self.say(Word::Lost { addr, id, owner });
        }
    }

    /// How many addresses of the default network could be leased.
    pub(super) fn free(&self) -> u64 {
        let (free, resting) = self.space.counts();
        let Some(part) = self.config.range.part(self.config.subnet) else { return 0 };
        let ends =
            [part.start(), part.end() - 1].into_iter().filter_map(|it| Offset::try_from(it).ok());
        let ends = ends.filter(|at| self.space.is_free(*at)).count();
        (free + resting).saturating_sub(u64::try_from(ends).unwrap_or(0))
    }
}
