//! Address book: where peers are or were, and when each address may be dialled next.
//!
//! Given addresses are the operator's and never leave the book by themselves. Learned ones come from records and handshakes; they
//! survive the records, so that two halves of a mesh that were apart for any time find each other
//! again. The book is bounded: of the learned addresses random ones go, so that what is left is a fair sample of the mesh. A fair
//! sample of that is what outlives the process.
//!
//! A failed dial makes the next one wait longer, by half again each time, scattered by a half to either side. How long at
//! most depends on why it failed: nobody there is worth a look every few seconds, a wrong password once a minute. A handshake
//! does not end that, only a link that lasts: where small packets pass and large ones do not, handshakes succeed for ever.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::dice::{Dice, mix};
use crate::{CloseReason, Known, PeerName};

/// Learned addresses kept: two for each peer of the largest mesh that we promise, and more.
pub(crate) const MAX_LEARNED: usize = 16_384;
/// Of them, those that outlive the process.
pub(crate) const MAX_SAVED: usize = 1024;
/// Given addresses kept.
pub(crate) const MAX_GIVEN: usize = 256;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Somebody may start there at any moment.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What somebody must come and change.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A link that lasted this long was a good one.
const LASTING: Duration = Duration::from_secs(30);

/// An address.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Whether the operator named it.
    pub(crate) given: bool,
    /// Who was there last.
    pub(crate) name: Option<PeerName>,
    /// Whether it turned out to be ourselves, when last dialled. Another time it may be another: of what the operator
    /// names, an address may move, and one behind a balancer be everybody's.
    pub(crate) own: bool,
    /// A connection to it is being made or stands.
    pub(crate) busy: bool,
    /// When it may be dialled.
    pub(crate) next: Duration,
    /// Why the last attempt failed.
    pub(crate) last: Option<CloseReason>,
    /// When the other end last said who it is.
    reached: Duration,
    /// Attempts that have failed since the last one that did not.
    pub(crate) attempts: u32,
    /// When the last connection there ended, or failed to be made.
    pub(crate) ended: Option<Duration>,
    pause: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    places: BTreeMap<SocketAddr, Place>,
    learned: usize,
    /// Whether addresses that only mean something on this machine mean peers of ours.
    loopback: bool,
}

impl Book {
    pub(crate) fn new(loopback: bool) -> Self {
        Self { loopback, ..Self::default() }
    }

    pub(crate) fn allow_loopback(&mut self, allow: bool) {
        self.loopback |= allow;
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Place> {
        self.places.get(&addr)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Place)> {
        self.places.iter().map(|(&addr, place)| (addr, place))
    }

    /// The operator names an address. `false`: there are too many.
    pub(crate) fn give(&mut self, addr: SocketAddr) -> bool {
        let known = self.get(addr).is_some_and(|place| place.given);
        if !known && self.places.values().filter(|place| place.given).count() >= MAX_GIVEN {
            return false;
        }
        let place = self.places.entry(addr).or_insert_with(|| {
            self.learned += 1;
            Place::new(None)
        });
        if !std::mem::replace(&mut place.given, true) {
            self.learned -= 1;
        }
        place.next = Duration::ZERO;
        place.pause = FIRST_PAUSE;
        place.own = false;
        true
    }

    /// Nobody names it any more: it stays as a learned one.
    pub(crate) fn ungive(&mut self, addr: SocketAddr, dice: &mut Dice) {
        let Some(place) = self.places.get_mut(&addr).filter(|place| place.given) else { return };
        place.given = false;
        self.learned += 1;
        if place.own {
            self.forget(addr);
        } else if self.learned > MAX_LEARNED {
            self.drop_some(dice);
        }
    }

    /// The operator takes it back.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        if let Some(place) = self.places.remove(&addr)
            && !place.given
        {
            self.learned -= 1;
        }
    }

    /// A peer is said to be there. Whether the book has changed.
    pub(crate) fn learn(
        &mut self,
        addr: SocketAddr,
        name: Option<PeerName>,
        dice: &mut Dice,
    ) -> bool {
        if let Some(place) = self.places.get_mut(&addr) {
            let changed = name.is_some() && place.name != name && !place.busy;
            if changed {
                place.name = name;
                place.own = false;
            }
            return changed;
        }
        if !dialable(addr) || addr.ip().is_loopback() && !self.loopback {
            return false;
        }
        if self.learned >= MAX_LEARNED {
            self.drop_some(dice);
        }
        self.places.insert(addr, Place::new(name));
        self.learned += 1;
        true
    }

    /// Forgets some: those without a name first, since records bring back the others. Some, so that many new ones cost
    /// little each.
    fn drop_some(&mut self, dice: &mut Dice) {
        let learned = self.iter().filter(|(_, place)| !place.given && !place.busy);
        let (mut named, mut unnamed): (Vec<_>, Vec<_>) = learned
            .map(|(addr, place)| (place.name.is_some(), addr))
            .partition(|(named, _)| *named);
        dice.choose(&mut unnamed, MAX_LEARNED / 64);
        dice.choose(&mut named, MAX_LEARNED / 64 - unnamed.len());
        for (_, addr) in unnamed.into_iter().chain(named) {
            self.forget(addr);
        }
    }

    /// A peer has left for good: nobody is there.
    pub(crate) fn left(&mut self, name: PeerName) {
        let gone: Vec<_> = self
            .iter()
            .filter(|(_, p)| !p.given && !p.busy && p.name == Some(name))
            .map(|(addr, _)| addr)
            .collect();
        for addr in gone {
            self.forget(addr);
        }
    }

    /// It is being dialled.
    pub(crate) fn dialling(&mut self, addr: SocketAddr) {
        if let Some(place) = self.places.get_mut(&addr) {
            place.busy = true;
        }
    }

    /// The dial reached somebody. Whether the name there is new to the book.
    pub(crate) fn reached(&mut self, addr: SocketAddr, name: PeerName, now: Duration) -> bool {
        let Some(place) = self.places.get_mut(&addr) else { return false };
        place.reached = now;
        place.attempts = 0;
        place.last = None;
        place.own = false;
        place.name.replace(name) != Some(name)
    }

    /// The connection dialled there ended.
    pub(crate) fn ended(
        &mut self,
        addr: SocketAddr,
        reason: &CloseReason,
        now: Duration,
        dice: &mut Dice,
    ) {
        let Some(place) = self.places.get_mut(&addr) else { return };
        place.busy = false;
        place.own = matches!(reason, CloseReason::Oneself);
        if place.own && !place.given {
            return self.forget(addr);
        }
        if place.last.is_none() && now >= place.reached + LASTING {
            place.pause = FIRST_PAUSE;
        }
        let longest = longest_pause(reason);
        place.next = now + dice.around(if place.own { longest } else { place.pause });
        place.pause = (place.pause * 3 / 2).min(longest).max(FIRST_PAUSE);
        place.attempts = place.attempts.saturating_add(1);
        place.ended = Some(now);
        place.last = Some(reason.clone());
    }

    /// Whether it may be dialled now.
    pub(crate) fn is_due(&self, addr: SocketAddr, now: Duration) -> bool {
        self.places.get(&addr).is_some_and(|place| place.is_due(now))
    }

    /// What outlives the process: of the learned addresses as many as that, always the same ones.
    pub(crate) fn saved(&self) -> Vec<Known> {
        let learned = self.iter().filter(|(_, place)| !place.given && !place.own);
        let mut learned: Vec<_> =
            learned.map(|(addr, place)| Known { addr, name: place.name }).collect();
        if learned.len() > MAX_SAVED {
            learned.sort_by_cached_key(|known| lot(known.addr));
            learned.truncate(MAX_SAVED);
            learned.sort_unstable_by_key(|known| known.addr);
        }
        learned
    }
}

impl Place {
    fn new(name: Option<PeerName>) -> Self {
        Self {
            given: false,
            name,
            own: false,
            busy: false,
            next: Duration::ZERO,
            last: None,
            reached: Duration::ZERO,
            attempts: 0,
            ended: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        !self.busy && self.next <= now
    }
}

/// Where an address stands in an order that has nothing to do with what is at it.
fn lot(addr: SocketAddr) -> u64 {
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    octets.iter().fold(u64::from(addr.port()), |lot, octet| mix(lot ^ u64::from(*octet)))
}

/// Whether an address that others tell of can be a peer's.
fn dialable(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

fn longest_pause(reason: &CloseReason) -> Duration {
    match reason {
        CloseReason::OtherVersion { .. }
        | CloseReason::NotWeft
        | CloseReason::WrongPassword
        | CloseReason::DuplicateName { .. }
        | CloseReason::Oneself
        | CloseReason::Malformed(_)
        | CloseReason::Other(_) => REFUSED_PAUSE,
        CloseReason::Lost(_)
        | CloseReason::Unreachable(_)
        | CloseReason::Full
        | CloseReason::HandshakeTimeout(_)
        | CloseReason::Silent(_)
        | CloseReason::Doubled
        | CloseReason::Surplus
        | CloseReason::Leaving
        | CloseReason::Forgotten => LONGEST_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes().map(|octet| octet | 8), 6783))
    }

    fn dice() -> Dice {
        Dice::new([1; 32])
    }

    #[test]
    fn the_book_is_bounded_and_what_was_given_stays() {
        let (mut book, mut dice) = (Book::new(false), dice());
        book.give(SocketAddr::from(([10, 0, 0, 1], 6783)));

        for n in 0..100_000 {
            book.learn(SocketAddr::from(([11, 0, 0, 1], 1)), None, &mut dice);
            book.learn(
                SocketAddr::from((std::net::Ipv4Addr::from(0x0c00_0000 + n), 6783)),
                None,
                &mut dice,
            );
        }

        let (most, count) = (MAX_LEARNED + 1, book.iter().count());
        assert!(count <= most && count > most - MAX_LEARNED / 64 - 1, "{count}");
        assert!(book.get(SocketAddr::from(([10, 0, 0, 1], 6783))).is_some());
        assert_eq!(book.saved().len(), MAX_SAVED);
    }

    #[test]
    fn what_is_no_longer_given_stays_as_learned_and_counts_as_such() {
        let (mut book, mut dice) = (Book::new(false), dice());
        let given = SocketAddr::from(([10, 0, 0, 1], 6783));
        book.give(given);
        for n in 0..u32::try_from(MAX_LEARNED).unwrap() - 1 {
            book.learn((std::net::Ipv4Addr::from(0x0c00_0000 + n), 6783).into(), None, &mut dice);
        }

        book.ungive(given, &mut dice);
        book.ungive(given, &mut dice);

        assert!(book.get(given).is_some_and(|place| !place.given));
        assert_eq!((book.learned, book.saved().len()), (MAX_LEARNED, MAX_SAVED));
        book.give(addr(1));
        book.ungive(addr(1), &mut dice);
        let count = book.iter().count();
        assert!(book.learned == count && count <= MAX_LEARNED, "{count}");
    }

    #[test]
    fn failures_make_the_pauses_longer_up_to_what_their_reason_allows() {
        let lost = CloseReason::Unreachable("refused".to_owned());
        for (reason, longest) in
            [(lost, LONGEST_PAUSE), (CloseReason::WrongPassword, REFUSED_PAUSE)]
        {
            let (mut book, mut dice) = (Book::new(false), dice());
            book.give(addr(1));
            let mut pauses = Vec::new();
            for _ in 0..40 {
                book.dialling(addr(1));
                assert!(!book.is_due(addr(1), Duration::MAX));
                book.ended(addr(1), &reason, Duration::ZERO, &mut dice);
                pauses.push(book.get(addr(1)).unwrap().next);
            }

            assert!(pauses[0] <= FIRST_PAUSE * 3 / 2);
            assert!(
                pauses[20..].iter().all(|&pause| pause >= longest / 2 && pause <= longest * 3 / 2),
                "{pauses:?}"
            );
        }
    }

    #[test]
    fn our_own_address_is_forgotten_and_a_given_one_tried_again_in_a_while() {
        let (mut book, mut dice) = (Book::new(false), dice());
        book.learn(addr(1), None, &mut dice);
        book.give(addr(2));

        book.ended(addr(1), &CloseReason::Oneself, Duration::ZERO, &mut dice);
        book.ended(addr(2), &CloseReason::Oneself, Duration::ZERO, &mut dice);

        assert!(book.get(addr(1)).is_none());
        assert!(!book.is_due(addr(2), REFUSED_PAUSE / 4));
        assert!(book.is_due(addr(2), REFUSED_PAUSE * 3 / 2));
        assert!(book.saved().is_empty());
    }

    #[test]
    fn links_that_do_not_last_make_the_pauses_longer_and_one_that_does_ends_that() {
        let (mut book, mut dice) = (Book::new(false), dice());
        book.give(addr(1));
        let mut now = Duration::ZERO;
        let mut lasts = |book: &mut Book, time: Duration| {
            book.reached(addr(1), PeerName::local(1), now);
            now += time;
            book.ended(addr(1), &CloseReason::Silent(time), now, &mut dice);
            let pause = book.get(addr(1)).unwrap().next - now;
            now += pause;
            pause
        };

        let pauses: Vec<_> = (0..20).map(|_| lasts(&mut book, LASTING / 10)).collect();

        assert!(pauses[15..].iter().all(|pause| *pause >= LONGEST_PAUSE / 2), "{pauses:?}");
        assert!(lasts(&mut book, LASTING) <= FIRST_PAUSE * 3 / 2);
    }

    #[test]
    fn addresses_that_cannot_be_a_peers_are_not_learned() {
        let (mut book, mut dice) = (Book::new(false), dice());
        for text in [
            "0.0.0.0:1",
            "224.0.0.1:1",
            "10.0.0.1:0",
            "127.0.0.1:1",
            "[::]:1",
            "[::1]:1",
            "[ff02::1]:1",
        ] {
            assert!(!book.learn(text.parse().unwrap(), None, &mut dice), "{text}");
        }

        book.allow_loopback(true);

        assert!(book.learn("127.0.0.1:1".parse().unwrap(), None, &mut dice));
    }
}
