//! Giving addresses to others who ask for some.

use peer_mesh::PeerName;

use super::Allocator;
use crate::ipam::range::Span;
use crate::ipam::ring::Patch;
use crate::ipam::wire::{Ask, Denial, Deny, Message, Want};
use crate::ipam::{Offer, Offset, Owner, Record, Ring, Segment};

/// Who asks before somebody waits is given some by who has at least so many.
const MANY: u64 = 64;

impl Allocator {
    /// Somebody asks.
    pub(super) fn asked(&mut self, from: PeerName, ask: Ask) {
        let Some(ring) = self.ring.as_ref() else { return self.send(from, &Message::Nothing) };
        if ring.id() != ask.ring {
            // Of two rings one is dropped when both are known.
            let message = Message::Ring(ring.id(), ring.whole());
            return self.send(from, &message);
        }
        let records = vec![(ask.owner, ask.record)];
        self.merge(Patch { records, ..Patch::default() }, None);
        let Some(ring) = self.ring.as_ref() else { return };
        if ring.record(ask.owner).is_none() {
            let why = Denial::Stale(ring.last_born());
            let message = Message::Ring(ring.id(), ring.whole());
            self.send(from, &message);
            return self.deny(from, ask.serial, why);
        }
        let gives = self.pull.is_none() && !self.rolled_back && self.left.is_none();
        let Some(own) = self.own_record().filter(|_| gives) else {
            return self.deny(from, ask.serial, Denial::NotNow);
        };
        // What was offered, and not yet heard of, is said again.
        let offered = own.offers.iter().any(|it| it.to == ask.owner);
        match ask.want {
            _ if offered => self.send_own(from),
            _ if !Self::has_room(own) => self.deny(from, ask.serial, Denial::Full),
            Want::Any(span, urgent) => {
                let free = self.space.free_in(span);
                let most = if urgent { (free / 2).max(1) } else { free / 2 };
                let enough = free >= if urgent { 1 } else { MANY };
                match self.space.block(span, most).filter(|_| enough) {
                    Some(block) => {
                        self.offer(&[block], ask.owner);
                        self.send_own(from);
                    }
                    None => self.deny(from, ask.serial, Denial::Full),
                }
            }
            Want::Spots(spots) => self.asked_for_spots(from, (ask.serial, ask.owner), &spots),
        }
    }

    fn asked_for_spots(&mut self, from: PeerName, ask: (u64, Owner), spots: &[Offset]) {
        let (serial, owner) = ask;
        let (mut free, mut leased, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for at in spots.iter().copied() {
            if self.leases.get(at).is_some() {
                leased.push(at);
            } else if self.owns(at) && !self.is_probing(at) {
                // Also what somebody uses without a lease: that is who asks.
                free.push(Span::one(at));
            } else {
                foreign.push(at);
            }
        }
        if !leased.is_empty() || !foreign.is_empty() {
            self.deny(from, serial, Denial::Taken(leased, foreign));
        }
        if !free.is_empty() {
            self.offer(&free, owner);
            self.send_own(from);
        }
    }

    /// Hands parts of what is free on.
    fn offer(&mut self, blocks: &[Span], to: Owner) {
        let suspect: Vec<_> = blocks.iter().map(|it| self.space.has_suspect(*it)).collect();
        for block in blocks {
            self.space.remove(*block);
        }
        self.write_own(|own| {
            for (block, suspect) in blocks.iter().zip(suspect) {
                for Segment { span, version } in own.cut(*block) {
                    own.serial += 1;
                    let segment = Segment { span, version: version + 1 };
                    own.offers.push(Offer { serial: own.serial, segment, to, suspect });
                }
            }
        });
    }

    /// Everything goes to one.
    pub(super) fn offer_all(&mut self, to: Owner) {
        let all: Vec<_> = self.own_record().into_iter().flat_map(|own| &own.segments).collect();
        let all: Vec<_> = all.into_iter().map(|it| it.span).collect();
        for span in &all {
            // Who used its addresses may not know yet.
            self.space.add_suspect(*span);
        }
        self.offer(&all, to);
    }

    fn send_own(&mut self, to: PeerName) {
        let Some((id, record)) = self.ring.as_ref().map(Ring::id).zip(self.own_record().cloned())
        else {
            return;
        };
        let records: Vec<(Owner, Record)> = vec![(self.own, record)];
        self.send(to, &Message::Ring(id, Patch { records, ..Patch::default() }));
    }

    fn deny(&mut self, to: PeerName, serial: u64, why: Denial) {
        let Some(ring) = self.ring.as_ref().map(Ring::id) else { return };
        self.send(to, &Message::Deny(Deny { ring, serial, owner: self.own, why }));
    }
}
