#![expect(clippy::print_stdout, reason = "figures are printed")]

use peer_mesh::PeerName;
use proptest::prelude::*;

use super::*;
use crate::ipam::{Epoch, Offer, Record};

fn range() -> Range {
    Range::new("10.32.0.0/26".parse().unwrap()).unwrap()
}

fn owner(name: u8, born: u32) -> Owner {
    let name = PeerName::new([2, 0, 0, 0, 0, name]).unwrap();
    Owner { name, epoch: Epoch::after(born.wrapping_sub(1), 7) }
}

fn span(start: u64, end: u64) -> Span {
    Span::new(start, end).unwrap()
}

fn three() -> Ring {
    let owners = [owner(1, 1), owner(2, 1), owner(3, 1)].into_iter().collect();
    Ring::divided(RingId(5), range(), &owners)
}

fn shown(ring: &mut Ring) {
    let digest = ring.digest();
    let owners: Vec<_> = ring.owners().map(|(owner, _)| owner).collect();
    owners.into_iter().for_each(|it| ring.write(it, |record| record.shown = digest));
}

#[test]
fn the_range_is_divided_in_blocks_and_nothing_is_left() {
    let ring = three();

    let parts: Vec<_> =
        ring.claims().into_iter().map(|(span, ..)| (span.start(), span.end())).collect();
    assert_eq!(parts, [(0, 32), (32, 48), (48, 64)]);
    assert!(ring.gaps().is_empty() && !ring.is_pending());
}

#[test]
fn more_owners_than_addresses_share_what_there_is() {
    let owners: BTreeSet<_> = (1..=100).map(|it| owner(it, 1)).collect();

    let ring = Ring::divided(RingId(5), range(), &owners);

    assert_eq!(ring.owners().map(|(_, it)| it.owned()).sum::<u64>(), 64);
    assert!(ring.owners().count() == 100 && ring.gaps().is_empty());
}

#[test]
fn what_a_removed_owner_had_is_a_gap_that_the_owner_before_it_takes() {
    let mut ring = three();

    ring.remove(owner(2, 1));

    assert_eq!(ring.gaps(), [span(32, 48)]);
    assert_eq!(ring.taker(span(32, 48)), Some(owner(1, 1)));
    ring.remove(owner(1, 1));
    assert_eq!(ring.taker(span(0, 48)), Some(owner(3, 1)));
}

#[test]
fn a_gap_is_agreed_upon_when_all_have_shown_the_same_ring() {
    let mut ring = three();
    ring.remove(owner(2, 1));

    assert!(ring.is_pending() && !ring.agreed());
    shown(&mut ring);
    assert!(ring.agreed());
    ring.write(owner(3, 1), |record| drop(record.cut(span(50, 52))));
    assert_eq!(ring.unshown().count(), 2);
}

#[test]
fn an_offer_is_no_gap_until_its_recipient_is_removed() {
    let mut ring = three();
    let segment = Segment { span: span(0, 8), version: 2 };
    let offer = Offer { serial: 1, segment, to: owner(3, 1), suspect: false };
    ring.write(owner(1, 1), |record| {
        record.cut(segment.span);
        record.serial = 1;
        record.offers.push(offer);
    });

    assert!(ring.gaps().is_empty());
    assert_eq!(ring.owner_of(3), Some(owner(3, 1)));
    ring.remove(owner(3, 1));
    assert_eq!(ring.stranded().collect::<Vec<_>>(), [(owner(1, 1), offer)]);
}

#[test]
fn who_was_removed_stays_removed_when_it_is_forgotten() {
    let mut old = three();
    old.write(owner(2, 1), |record| record.free = 9);
    let mut ring = three();
    ring.remove(owner(2, 1));
    ring.rise(ring.last_born());

    let news = ring.merge(old.whole());

    assert!(news.is_empty() && ring.removed().next().is_none());
    assert!(ring.is_removed(owner(2, 1)) && ring.record(owner(2, 1)).is_none());
    assert!(!ring.is_removed(owner(2, 2)));
}

#[test]
fn the_ring_of_a_thousand_peers_is_less_than_64_kib_and_stays_so_for_a_year() {
    let range = Range::new("10.32.0.0/12".parse().unwrap()).unwrap();
    let name = |it: u32| PeerName::local(u64::from(it) + 1);
    let first = (0..1000).map(|it| Owner { name: name(it), epoch: Epoch::after(0, it) }).collect();
    let mut ring = Ring::divided(RingId(5), range, &first);
    let size = |ring: &Ring| {
        let message = crate::ipam::Message::Ring(ring.id(), ring.whole());
        crate::ipam::emit(range, &message).iter().map(Vec::len).sum::<usize>()
    };
    let at_first = size(&ring);

    let mut alive: std::collections::VecDeque<_> = first.into_iter().collect();
    let mut greatest = 0;
    for (day, next) in (0..365).zip((1000..).step_by(100)) {
        let removed = alive.drain(..100).filter(|it| ring.remove(*it)).count();
        assert_eq!(removed, 100);
        recover(&mut ring);
        alive.extend((next..next + 100).map(|it| join(&mut ring, name(it), it)));
        ring.rise(ring.last_born());
        greatest = size(&ring).max(greatest);
        assert!(ring.gaps().is_empty(), "day {day}");
    }

    println!("a thousand peers: {at_first} octets at first, at most {greatest} in a year");
    assert!(at_first < 65_536 && greatest < 65_536, "{at_first}, {greatest}");
}

/// As the allocators do it: the owner before takes what is left.
fn recover(ring: &mut Ring) {
    let gaps = ring.gaps().into_iter().map(|gap| (gap, ring.taker(gap).unwrap()));
    let version = ring.next_generation();
    for (span, taker) in gaps.collect::<Vec<_>>() {
        ring.write(taker, |record| record.add(Segment { span, version }));
    }
}

/// As the allocator does it: who has most gives half of it.
fn join(ring: &mut Ring, name: PeerName, random: u32) -> Owner {
    let who = Owner { name, epoch: Epoch::after(ring.last_born(), random) };
    let (donor, most) = ring
        .owners()
        .max_by_key(|(_, it)| it.owned())
        .map(|(owner, it)| (owner, it.clone()))
        .unwrap();
    let segment = most.segments.iter().max_by_key(|it| it.span.len()).unwrap();
    let span = segment.span.greatest_block(segment.span.len() / 2).unwrap();
    let version = segment.version + 2;
    ring.write(donor, |record| drop(record.cut(span)));
    ring.write(who, |record| record.add(Segment { span, version }));
    who
}

#[test]
fn ten_thousand_segments_merge_quickly() {
    let range = Range::new("10.32.0.0/12".parse().unwrap()).unwrap();
    let mut ring = Ring::divided(RingId(5), range, &BTreeSet::new());
    for it in 0..10_000u32 {
        let name = PeerName::local(u64::from(it % 2_500) + 1);
        let start = u64::from(it) * 100;
        let segment = Segment { span: span(start, start + 60), version: 3 };
        ring.write(Owner { name, epoch: Epoch::after(0, 1) }, |record| record.add(segment));
    }
    let mut newer = ring.clone();
    let owners: Vec<_> = newer.owners().map(|(owner, _)| owner).collect();
    owners.into_iter().for_each(|it| newer.write(it, |record| record.free = 5));

    let least = (0..5).map(|_| {
        let (mut ring, patch) = (ring.clone(), newer.whole());
        #[expect(clippy::disallowed_methods, reason = "it is real time that is measured")]
        let began = std::time::Instant::now();
        let news = ring.merge(patch);
        assert_eq!(news.records.len(), 2_500);
        began.elapsed()
    });
    let least = least.min().unwrap();

    println!("10 000 segments of 2 500 owners merged in {least:?}");
    assert!(least < std::time::Duration::from_millis(5), "{least:?}");
}

fn record() -> impl Strategy<Value = Record> {
    (1u64..4, 0u64..60, 1u64..5).prop_map(|(version, start, len)| {
        let segments = vec![Segment { span: span(start, start + len), version }];
        Record { version, segments, ..Record::default() }
    })
}

fn owners() -> impl Strategy<Value = Owner> {
    (1u8..5, 1u32..4).prop_map(|(name, born)| owner(name, born))
}

/// Any ring, also such as no run brings about.
fn ring() -> impl Strategy<Value = Ring> {
    let records = prop::collection::btree_map(owners(), record(), 0..6);
    let removed = prop::collection::btree_set(owners(), 0..4);
    (records, removed, 0u32..4).prop_map(|(mut records, removed, horizon)| {
        let removed: BTreeSet<_> =
            removed.into_iter().filter(|it| it.epoch.born() > horizon).collect();
        records.retain(|owner, _| !removed.contains(owner));
        Ring { id: RingId(5), range: range(), horizon, removed, records }
    })
}

fn merged(a: &Ring, b: &Ring) -> Ring {
    let mut ring = a.clone();
    ring.merge(b.whole());
    ring
}

proptest! {
    #[test]
    fn merging_rings_in_any_order_gives_the_same_ring(a in ring(), b in ring(), c in ring()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn what_changed_is_all_that_others_need(a in ring(), b in ring(), c in ring()) {
        let mut whole = a.clone();
        let mut parts = merged(&a, &c);
        let mut news = whole.merge(b.whole());
        // Of a risen horizon all that live are told, so that no other is believed to.
        if news.horizon {
            news.records.extend(whole.owners().map(|(owner, _)| owner));
        }

        parts.merge(whole.part(&news));

        prop_assert_eq!(parts.whole_digest(), merged(&merged(&a, &c), &b).whole_digest());
    }

    #[test]
    fn alike_rings_have_one_digest_and_others_another(a in ring(), b in ring()) {
        prop_assert_eq!(a.whole_digest() == b.whole_digest(), a == b);
    }
}
