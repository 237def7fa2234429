use proptest::prelude::*;

use super::*;
use crate::ipam::Ring;

fn range() -> Range {
    Range::new("10.32.0.0/12".parse().unwrap()).unwrap()
}

fn owner(name: u8) -> Owner {
    Owner { name: PeerName::new([2, 0, 0, 0, 0, name]).unwrap(), epoch: Epoch::after(3, 9) }
}

fn segment(start: u64, len: u64, version: u64) -> Segment {
    Segment { span: Span::new(start, start + len).unwrap(), version }
}

fn record() -> Record {
    let offer = Offer { serial: 4, segment: segment(500, 8, 1 << 33), to: owner(2), suspect: true };
    Record {
        version: 300,
        shown: u64::MAX,
        free: 70,
        segments: vec![segment(0, 256, 1), segment(1 << 19, 1 << 19, 7)],
        offers: vec![offer],
        taken: vec![(owner(3), 12)],
        serial: 4,
        forced: true,
        more: vec![1, 2, 3],
    }
}

fn all() -> Vec<Message> {
    let (id, ballot) = (RingId(77), Ballot { round: 9, by: owner(1).name });
    let value = Value { id, owners: [owner(1), owner(2)].into_iter().collect() };
    let roster = Some((5, [owner(1), owner(4)].into_iter().collect()));
    let (records, removed) = (vec![(owner(1), record())], vec![owner(9)]);
    let patch = Patch { records, removed, roster, whole: Some(700), tentative: Some(Epoch(9)) };
    let ask =
        |want| Message::Ask(Ask { ring: id, serial: 3, owner: owner(1), record: record(), want });
    let deny = |why| Message::Deny(Deny { ring: id, serial: 3, owner: owner(2), why });
    vec![
        Message::Ring(id, patch),
        Message::Pull(Trust::Compared),
        Message::Pull(Trust::Blind),
        Message::Nothing,
        ask(Want::Any(Span::new(1, 9).unwrap(), true)),
        ask(Want::Any(Span::new(1, 9).unwrap(), false)),
        ask(Want::Spots(vec![1, 1 << 19])),
        deny(Denial::Full),
        deny(Denial::NotNow),
        deny(Denial::Stale(9)),
        deny(Denial::Taken(vec![5], vec![6, 7])),
        Message::Introduce(id, owner(1)),
        Message::Known(id, owner(1)),
        Message::Prepare(3, ballot),
        Message::Promise(ballot, owner(1), None),
        Message::Promise(ballot, owner(1), Some((ballot, value.clone()))),
        Message::Reject(3, ballot, ballot),
        Message::Accept(3, ballot, value),
        Message::Accepted(ballot),
    ]
}

#[test]
fn what_is_emitted_is_parsed_again() {
    for message in all() {
        let octets = emit(range(), &message);

        assert_eq!(octets.len(), 1);
        assert_eq!(parse(&octets[0]), Ok((range().subnet(), Some(message))));
    }
}

#[test]
fn what_is_cut_short_is_refused_whole() {
    for message in all() {
        let octets = emit(range(), &message).remove(0);

        for len in 0..octets.len() {
            assert!(parse(&octets[..len]).is_err(), "{message:?} of {len} octets");
        }
    }
}

#[test]
fn octets_and_kinds_of_a_later_version_are_passed_over() {
    let mut octets = emit(range(), &Message::Nothing).remove(0);
    octets.extend([1, 2, 3]);
    assert_eq!(parse(&octets), Ok((range().subnet(), Some(Message::Nothing))));

    octets[1] = 200;
    assert_eq!(parse(&octets), Ok((range().subnet(), None)));
    octets[0] = 2;
    assert_eq!(parse(&octets), Err(BadMessage::Version(2)));
}

#[test]
fn a_record_that_nobody_writes_is_refused() {
    let overlapping = Record { segments: vec![segment(0, 9, 1), segment(5, 9, 1)], ..record() };
    let outside = Record { segments: vec![segment(1 << 20, 9, 1)], ..record() };
    for record in [overlapping, outside] {
        let patch = Patch { records: vec![(owner(1), record)], ..Patch::default() };
        // Written without a check, read with one.
        let octets = std::panic::catch_unwind(|| emit(range(), &Message::Ring(RingId(1), patch)));
        let Ok(octets) = octets else { continue };

        assert!(parse(&octets[0]).is_err());
    }
}

#[test]
fn a_great_ring_becomes_several_messages_which_are_the_same_together() {
    let owners =
        (1..=4000u64).map(|it| Owner { name: PeerName::local(it), epoch: Epoch::after(0, 1) });
    let ring = Ring::divided(RingId(3), range(), &owners.collect());

    let octets = emit(range(), &Message::Ring(ring.id(), ring.whole()));

    assert!(
        octets.len() > 1 && octets.iter().all(|it| it.len() <= MAX_MESSAGE + 64 * Owner::LEN * 80)
    );
    let mut told = Ring::divided(ring.id(), range(), &std::collections::BTreeSet::new());
    for message in octets {
        let Ok((_, Some(Message::Ring(_, patch)))) = parse(&message) else { panic!("not a ring") };
        told.merge(patch);
    }
    assert_eq!(told.owners().count(), 4000);
}

/// As when one owner is silent for months, while others come and go.
#[test]
fn many_removals_become_several_messages_too() {
    let owners = |from: u64, to: u64| {
        (from..to).map(|it| Owner { name: PeerName::local(it), epoch: Epoch::after(0, 1) })
    };
    let mut ring = Ring::divided(RingId(3), range(), &owners(0, 1000).collect());
    assert!(owners(1000, 21_000).all(|it| ring.remove(it)));

    let octets = emit(range(), &Message::Ring(ring.id(), ring.whole()));

    assert!(octets.len() >= 6 && octets.iter().all(|it| it.len() <= MAX_MESSAGE));
    let mut told = Ring::divided(ring.id(), range(), &std::collections::BTreeSet::new());
    for message in octets {
        let Ok((_, Some(Message::Ring(_, patch)))) = parse(&message) else { panic!("not a ring") };
        told.merge(patch);
    }
    assert_eq!(told, ring);
}

proptest! {
    #[test]
    fn no_octets_make_the_parser_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&octets);
        let mut framed = emit(range(), &Message::Nothing).remove(0);
        if let (Some(kind), Some(first)) = (framed.get_mut(1), octets.first()) {
            *kind = first % 13;
        }
        framed.extend(octets);
        let _ = parse(&framed);
    }
}
