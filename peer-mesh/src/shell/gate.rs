//! The gate: who may connect, before anybody spends a thought on it.
//!
//! Three limits stand between the listener and the core. Each source may hold so many connections and open
//! so many a second, so that one host cannot crowd out the others; and connections that have not shown the
//! password yet are limited in all, so that many hosts together cannot use up the descriptors. Where that
//! limit is reached a newcomer takes a place from the source that has most, its oldest, unless its own
//! source has as many: who has one is never displaced by who has several. What is refused and what is
//! displaced is counted, and forgotten.
//!
//! A source is an IPv4 address or an IPv6 /64: whoever has one IPv6 address has all of its /64. As that is also a whole
//! network of honest peers, it may have ten times as much.
//!
//! Limit: hosts behind one address (NAT) or in one /64 share what a source may have.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mesh::MAX_UNFINISHED;

/// Connections that one IPv4 address may have at once. A peer needs one; 64 leave room for a small
/// mesh behind one address.
const PER_SOURCE: u32 = 64;
/// The pace of new connections from one IPv4 address: 20 a second.
const PACE: Duration = Duration::from_millis(50);
/// What an IPv6 /64 may have of both.
const NETWORK: u32 = 10;
/// How far ahead of its pace a source may be, but for the first one, which is on time: by a second's worth.
const BURST: Duration = Duration::from_secs(1);
/// Connections without a finished handshake, from all sources. With those that are being displaced, they
/// are as many as the core takes: it refuses none that passed here.
pub(super) const UNFINISHED: usize = MAX_UNFINISHED - DISPLACED;
/// Displaced connections of which the core has not heard yet. More come only faster than the loop turns.
const DISPLACED: usize = 64;
/// Sources remembered: those with connections (at most `MAX_UNFINISHED` and the links), and those that had
/// one within the last second. An attacker with more addresses than this meets a closed gate.
const SOURCES: usize = 4096;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// Its source has as many as it may have.
    TooMany,
    /// Its source opens them too fast.
    TooFast,
    /// There are as many unfinished ones as there may be and no source has more than this one, or there
    /// are more sources than are remembered.
    Full,
}

/// Connections refused, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refused {
    /// One source had too many connections.
    pub too_many: u64,
    /// One source opened too many a second.
    pub too_fast: u64,
    /// Too many connections had no finished handshake yet.
    pub full: u64,
    /// Let in, and ended before its handshake was, to make room for a source that had fewer.
    pub displaced: u64,
    /// The core refused it.
    pub by_core: u64,
}

/// The limits and what counts against them.
///
/// # Thread-safety
/// The accept loops, the control loop and the connections' tasks share it; each holds the lock for the
/// time of one look at a map.
#[derive(Debug)]
pub(super) struct Gate {
    unfinished_max: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    sources: BTreeMap<IpAddr, Source>,
    /// All connections without a finished handshake, displaced ones among them.
    unfinished: usize,
    /// Those that are displaced and not dropped yet.
    displaced: BTreeSet<u64>,
    /// Connections admitted so far.
    serial: u64,
    refused: Refused,
    errors: u64,
}

#[derive(Debug, Default)]
struct Source {
    open: u32,
    /// Those without a finished handshake that are not displaced, the oldest first, and how they are told.
    unfinished: BTreeMap<u64, Arc<Notify>>,
    /// When the next connection is on time, if each is due `PACE` after the one before (the generic cell
    /// rate algorithm: a token bucket in one number).
    due: Duration,
}

impl Source {
    /// Whether forgetting it changes nothing.
    fn idle(&self, now: Duration) -> bool {
        self.open == 0 && self.due <= now
    }
}

impl Gate {
    /// An open gate, for at most so many unfinished connections.
    pub(super) fn new(unfinished_max: usize) -> Arc<Self> {
        Arc::new(Self { unfinished_max, book: Mutex::default() })
    }

    /// Lets a connection in, or counts why not.
    pub(super) fn admit(
        self: &Arc<Self>,
        from: IpAddr,
        now: Duration,
    ) -> Result<Admission, Refusal> {
        let source = source_of(from);
        let mut book = self.book();
        match book.admit(source, now, self.unfinished_max) {
            Ok((serial, displaced)) => {
                Ok(Admission { gate: Arc::clone(self), source, serial, displaced })
            }
            Err(refusal) => {
                let refused = &mut book.refused;
                let counter = match refusal {
                    Refusal::TooMany => &mut refused.too_many,
                    Refusal::TooFast => &mut refused.too_fast,
                    Refusal::Full => &mut refused.full,
                };
                *counter += 1;
                Err(refusal)
            }
        }
    }

    /// Counts a connection that the core refused.
    pub(super) fn count_core_refusal(&self) {
        self.book().refused.by_core += 1;
    }

    /// Counts an accept that failed.
    pub(super) fn count_error(&self) {
        self.book().errors += 1;
    }

    /// What was refused so far.
    pub(super) fn refused(&self) -> Refused {
        self.book().refused
    }

    /// Accepts that failed.
    pub(super) fn errors(&self) -> u64 {
        self.book().errors
    }

    /// Connections that came in and have no finished handshake.
    pub(super) fn unfinished(&self) -> usize {
        self.book().unfinished
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn admit(
        &mut self,
        from: IpAddr,
        now: Duration,
        unfinished_max: usize,
    ) -> Result<(u64, Arc<Notify>), Refusal> {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&from) {
            self.sources.retain(|_, source| !source.idle(now));
            if self.sources.len() >= SOURCES {
                return Err(Refusal::Full);
            }
        }
        let times = if from.is_ipv4() { 1 } else { NETWORK };
        let pace = PACE / times;
        let source = self.sources.entry(from).or_default();
        if source.open >= PER_SOURCE * times {
            return Err(Refusal::TooMany);
        }
        let due = source.due.max(now);
        if due - now > BURST - pace {
            return Err(Refusal::TooFast);
        }
        let has = source.unfinished.len();
        if self.unfinished - self.displaced.len() >= unfinished_max && !self.displace(has) {
            return Err(Refusal::Full);
        }
        self.serial += 1;
        self.unfinished += 1;
        let displaced = Arc::<Notify>::default();
        let source = self.sources.entry(from).or_default();
        source.due = due + pace;
        source.open += 1;
        source.unfinished.insert(self.serial, Arc::clone(&displaced));
        Ok((self.serial, displaced))
    }

    /// Ends the oldest unfinished connection of the source that has most, if those are more than `has`; of
    /// several such sources the one that has waited longest.
    fn displace(&mut self, has: usize) -> bool {
        let oldest = |source: &Source| source.unfinished.keys().next().copied();
        let most = self
            .sources
            .values_mut()
            .max_by_key(|source| (source.unfinished.len(), Reverse(oldest(source))));
        let Some(most) = most else { return false };
        if most.unfinished.len() <= has || self.displaced.len() >= DISPLACED {
            return false;
        }
        let Some((serial, displaced)) = most.unfinished.pop_first() else { return false };
        self.displaced.insert(serial);
        self.refused.displaced += 1;
        displaced.notify_one();
        true
    }

    fn finish(&mut self, from: IpAddr, serial: u64) {
        let source = self.sources.get_mut(&from);
        let waited = source.is_some_and(|source| source.unfinished.remove(&serial).is_some());
        if waited || self.displaced.remove(&serial) {
            self.unfinished -= 1;
        }
    }
}

/// What counts as one source.
fn source_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) => IpAddr::V4(addr),
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX))),
    }
}

/// A connection that was let in. It counts until this is dropped: hold it as long as the descriptor, and as
/// long as the core has it.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub(super) struct Admission {
    gate: Arc<Gate>,
    source: IpAddr,
    serial: u64,
    displaced: Arc<Notify>,
}

impl Admission {
    /// Its handshake is finished: it counts for its source only.
    pub(super) fn finish(&self) {
        self.gate.book().finish(self.source, self.serial);
    }

    /// Returns when another one has taken its place: it is to be closed. For one waiter.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut book = self.gate.book();
        book.finish(self.source, self.serial);
        if let Some(source) = book.sources.get_mut(&self.source) {
            // An idle source is forgotten when there are too many: its pace may still count.
            source.open = source.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    const T0: Duration = Duration::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    fn host(n: u32) -> IpAddr {
        IpAddr::from((0x0a63_0000 + n).to_be_bytes())
    }

    fn admit_all(gate: &Arc<Gate>, from: IpAddr, now: Duration, count: usize) -> Vec<Admission> {
        (0..count).filter_map(|_| gate.admit(from, now).ok()).collect()
    }

    #[test]
    fn a_source_may_open_twenty_at_once_and_then_twenty_a_second() {
        let gate = Gate::new(UNFINISHED);

        let burst = admit_all(&gate, host(1), T0, 100).len();
        let second =
            (0..1000).filter(|ms| gate.admit(host(1), Duration::from_millis(*ms)).is_ok()).count();

        assert_eq!(burst, 20);
        assert_eq!(second, 19, "the twentieth is due at the full second");
        assert_eq!(gate.refused().too_fast, 80 + 1000 - 19);
    }

    #[test]
    fn a_source_that_was_quiet_gets_its_burst_back_and_no_more() {
        let gate = Gate::new(UNFINISHED);
        drop(admit_all(&gate, host(1), T0, 100));

        let after = admit_all(&gate, host(1), 100 * SECOND, 100).len();

        assert_eq!(after, 20);
    }

    #[test]
    fn a_source_never_has_more_than_sixty_four_connections() {
        let gate = Gate::new(UNFINISHED);
        let mut held = Vec::new();
        for second in 0..10 {
            held.extend(admit_all(&gate, host(1), second * SECOND, 100));
        }

        assert_eq!(held.len(), 64);
        assert_eq!(gate.admit(host(1), 20 * SECOND).unwrap_err(), Refusal::TooMany);
        held.pop();
        assert!(gate.admit(host(1), 20 * SECOND).is_ok());
    }

    #[test]
    fn one_source_takes_nothing_from_another() {
        let gate = Gate::new(UNFINISHED);
        let _held = admit_all(&gate, host(1), T0, 100);

        assert!(gate.admit(host(2), T0).is_ok());
    }

    #[test]
    fn an_address_is_one_source_whether_it_comes_over_a_v4_or_a_v6_socket() {
        let gate = Gate::new(UNFINISHED);
        let _held = admit_all(&gate, "10.99.0.1".parse().unwrap(), T0, 100);

        assert_eq!(
            gate.admit("::ffff:10.99.0.1".parse().unwrap(), T0).unwrap_err(),
            Refusal::TooFast
        );
    }

    #[test]
    fn unfinished_connections_are_limited_in_all_and_finished_ones_are_not() {
        let gate = Gate::new(8);
        let held: Vec<_> = (0..8).map(|n| gate.admit(host(n), T0).unwrap()).collect();

        assert_eq!(gate.admit(host(1), T0).unwrap_err(), Refusal::Full);
        held[0].finish();
        held[0].finish();
        assert_eq!(gate.unfinished(), 7);
        assert!(gate.admit(host(1), T0).is_ok());
        assert_eq!(gate.refused().displaced, 0);
        drop(held);
        assert_eq!(gate.unfinished(), 0);
    }

    fn is_displaced(admission: &Admission) -> bool {
        std::pin::pin!(admission.displaced())
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_newcomer_takes_the_oldest_place_of_the_source_that_has_most() {
        let gate = Gate::new(8);
        let few = admit_all(&gate, host(1), T0, 3);
        let many = admit_all(&gate, host(2), T0, 5);

        let newcomer = gate.admit(host(3), T0).unwrap();

        let displaced: Vec<_> = many.iter().map(is_displaced).collect();
        assert_eq!(displaced, [true, false, false, false, false]);
        assert!(!few.iter().chain([&newcomer]).any(is_displaced));
        // Until it is dropped the core may have it still.
        assert_eq!((gate.unfinished(), gate.refused().displaced), (9, 1));
        drop(many);
        assert_eq!(gate.unfinished(), 4);
        drop((few, newcomer));
        assert_eq!(gate.unfinished(), 0);
    }

    #[test]
    fn who_has_most_displaces_nobody() {
        let gate = Gate::new(8);
        let held: Vec<_> = (1..=2).flat_map(|n| admit_all(&gate, host(n), T0, 4)).collect();

        assert_eq!(gate.admit(host(1), T0).unwrap_err(), Refusal::Full);
        assert!(!held.iter().any(is_displaced));
    }

    #[test]
    fn among_sources_with_one_place_each_the_oldest_goes() {
        let gate = Gate::new(8);
        let held: Vec<_> = (0..8).map(|n| gate.admit(host(9 - n), T0).unwrap()).collect();

        let _newcomer = gate.admit(host(20), T0).unwrap();

        let displaced: Vec<_> = held.iter().map(is_displaced).collect();
        assert_eq!(displaced.iter().position(|it| *it), Some(0));
        assert_eq!(displaced.iter().filter(|it| **it).count(), 1);
    }

    #[test]
    fn the_core_never_has_more_unfinished_connections_than_it_takes() {
        let gate = Gate::new(UNFINISHED);
        let mut held = Vec::new();
        for n in 0..10_000 {
            held.extend(gate.admit(host(n % 4000), SECOND * (n / 4000)));
        }

        assert_eq!(gate.unfinished(), MAX_UNFINISHED);
        assert_eq!(gate.refused().displaced, DISPLACED as u64);
    }

    #[test]
    fn an_ipv6_network_is_one_source_with_ten_times_as_much() {
        let gate = Gate::new(UNFINISHED);
        let addr = |net: u16, n: u16| IpAddr::from([0xfd00, 0, 0, net, 0, 0, 0, n]);

        let admitted = (0..1000).filter_map(|n| gate.admit(addr(1, n), T0).ok()).count();

        assert_eq!(admitted, 200);
        assert!(gate.admit(addr(2, 0), T0).is_ok());
    }

    #[test]
    fn sources_that_went_are_forgotten_when_new_ones_need_the_room() {
        let gate = Gate::new(UNFINISHED);
        let many = u32::try_from(SOURCES).unwrap();
        for n in 0..many {
            drop(gate.admit(host(n), T0));
        }

        assert_eq!(gate.admit(host(many), T0).unwrap_err(), Refusal::Full);
        assert!(gate.admit(host(many), SECOND).is_ok());
        assert!(gate.book().sources.len() < 10);
    }
}
