//! Who is evicted when the table is full.
//!
//! Each port keeps its stations in two lists: `fresh`, seen once, and `proven`, found to have been
//! seen again when their turn came. The port with the most stations loses one: the oldest fresh
//! one, and when there is none a proven one that was not seen since the hand of the clock last
//! passed it. A flood of made-up addresses is all fresh, and so evicts itself.

use std::collections::BTreeMap;

use crate::{Mac, Port};

/// A place in the order: unique, and later ones are larger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ticket(u64);

/// How many stations may be passed over in one eviction: a bound on the work, not on fairness.
const ROUNDS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Order {
    ports: BTreeMap<Port, Stations>,
    /// INVARIANT: the sum of the ports' stations.
    len: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct Stations {
    fresh: BTreeMap<Ticket, Place>,
    proven: BTreeMap<Ticket, Place>,
    /// Where the clock over the proven stations stands.
    hand: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    mac: Mac,
    /// When the station had last been seen as it was put here.
    seen: u64,
}

impl Order {
    /// Stations behind all ports.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A station came to `port`.
    pub(super) fn join(&mut self, mac: Mac, port: Port, seen: u64) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.len += 1;
        self.ports.entry(port).or_default().fresh.insert(ticket, Place { mac, seen });
        ticket
    }

    /// The station with this ticket left `port`.
    pub(super) fn leave(&mut self, port: Port, ticket: Ticket) {
        let Some(stations) = self.ports.get_mut(&port) else { return };
        if stations.fresh.remove(&ticket).or_else(|| stations.proven.remove(&ticket)).is_some() {
            self.len -= 1;
        }
        if stations.len() == 0 {
            self.ports.remove(&port);
        }
    }

    /// Takes out the station that makes room for one behind `newcomer`. `seen` tells when a
    /// station was last seen.
    pub(super) fn evict(&mut self, newcomer: Port, seen: impl Fn(Mac) -> u64) -> Option<Mac> {
        // At a tie the newcomer's own port pays.
        let largest = self.ports.iter_mut().max_by_key(|(port, it)| (it.len(), **port == newcomer));
        let (_, stations) = largest?;
        let victim = stations.evict_fresh(&seen).or_else(|| stations.evict_proven(&seen))?;
        self.len -= 1;
        Some(victim)
    }
}

impl Stations {
    fn len(&self) -> usize {
        self.fresh.len() + self.proven.len()
    }

    fn evict_fresh(&mut self, seen: impl Fn(Mac) -> u64) -> Option<Mac> {
        let mut rounds = ROUNDS;
        loop {
            let (ticket, place) = self.fresh.pop_first()?;
            let last = seen(place.mac);
            if last <= place.seen || rounds == 0 {
                return Some(place.mac);
            }
            rounds -= 1;
            self.proven.insert(ticket, Place { seen: last, ..place });
        }
    }

    fn evict_proven(&mut self, seen: impl Fn(Mac) -> u64) -> Option<Mac> {
        let mut rounds = ROUNDS;
        loop {
            let (ticket, place) = self.next_proven()?;
            self.hand = Some(ticket);
            let last = seen(place.mac);
            if last <= place.seen || rounds == 0 {
                self.proven.remove(&ticket);
                return Some(place.mac);
            }
            rounds -= 1;
            self.proven.insert(ticket, Place { seen: last, ..place });
        }
    }

    /// The proven station after the hand, round the clock.
    fn next_proven(&self) -> Option<(Ticket, Place)> {
        let after = self.hand.map_or(Ticket(0), |Ticket(hand)| Ticket(hand + 1));
        let next = self.proven.range(after..).next().or_else(|| self.proven.first_key_value());
        next.map(|(ticket, place)| (*ticket, *place))
    }
}
