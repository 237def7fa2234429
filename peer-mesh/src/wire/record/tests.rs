use proptest::prelude::*;

use super::*;
use crate::wire::strategies::{announcement, few_names, newer, newer_tlvs, record};
use crate::wire::{MAX_ADDRESSES, MAX_COUNT, put_tlv};

fn header() -> Vec<u8> {
    let announcement = Announcement::new(PeerName::local(1), PeerUid::new(2).unwrap(), 3);
    announcement.emit().unwrap().octets().to_vec()
}

fn with(tlvs: &[(u8, &[u8])]) -> Result<Record, Malformed> {
    let mut octets = header();
    for (kind, value) in tlvs {
        put_tlv(&mut octets, *kind, value);
    }
    Record::parse(&octets)
}

#[test]
fn a_record_of_nothing_is_its_header() {
    let record = with(&[]).unwrap();

    assert_eq!(record.octets().len(), HEADER);
    assert_eq!(
        Announcement::from(&record),
        Announcement::new(PeerName::local(1), PeerUid::new(2).unwrap(), 3)
    );
}

#[test]
fn a_record_is_small_in_memory() {
    assert!(size_of::<Record>() <= 64);
}

#[test]
fn a_record_without_a_name_a_uid_or_a_version_is_malformed() {
    // Where they are: the name at 2, the uid at 16, the version at 24.
    for field in [2..8, 16..24, 24..32] {
        let mut octets = header();
        octets[field.clone()].fill(0);
        assert!(Record::parse(&octets).is_err(), "{field:?}");
    }
}

#[test]
fn a_record_that_counts_too_far_is_malformed() {
    for (field, least) in [(8, 0), (24, 1)] {
        let mut octets = header();
        for (count, fits) in [(least, true), (MAX_COUNT, true), (MAX_COUNT + 1, false)] {
            octets[field..field + 8].copy_from_slice(&count.to_be_bytes());
            assert_eq!(Record::parse(&octets).is_ok(), fits, "{count} at {field}");
        }
    }
}

#[test]
fn a_record_that_is_cut_short_is_malformed() {
    let octets = header();

    for len in 0..octets.len() {
        assert_eq!(Record::parse(&octets[..len]), Err(Malformed("cut short")));
    }
}

#[test]
fn a_record_takes_what_newer_versions_add() {
    let record = with(&[(0, b"x"), (8, b"b"), (8, b"a"), (8, b"a"), (200, b"")]).unwrap();

    assert_eq!(record.tlvs().count(), 5);
}

#[test]
fn tlvs_that_are_not_in_order_are_malformed() {
    let link = |name| [&[2, 0, 0, 0, 0, name][..], &[1; 8]].concat();
    let (one, two) = (link(1), link(2));
    let number = [1; 8];

    assert!(with(&[(LINK, &one), (LINK, &two)]).is_ok());
    for tlvs in [
        [(LINK, &two[..]), (LINK, &one[..])],
        [(LINK, &one), (LINK, &one)],
        [(LINK, &one), (STARTED, &number)],
        [(STARTED, &number), (STARTED, &[2; 8])],
        [(NICKNAME, b"a"), (NICKNAME, b"b")],
        [(LABEL, b"\x01kv"), (LABEL, b"\x01kw")],
        [(200, b""), (8, b"")],
    ] {
        assert!(with(&tlvs).is_err(), "{tlvs:x?}");
    }
}

#[test]
fn a_value_that_its_type_cannot_have_is_malformed() {
    for (kind, value) in [
        (STARTED, &b"1234567"[..]),
        (NICKNAME, &[b'n'; 65]),
        (NICKNAME, &[0xff]),
        (ADDRESS, b"12345"),
        (ADDRESS, b"1234567"),
        (LABEL, b""),
        (LABEL, b"\x02k"),
        (LABEL, &[&[64][..], &[b'k'; 64], &[b'v'; 65]].concat()),
        (CAPABILITIES, b"123456789"),
        (LINK, b"\x02aaaaabbbbbbb"),
        (LINK, b"\x02aaaaabbbbbbbbb"),
        (LINK, b"\x01aaaaabbbbbbbb"),
        (LINK, b"\x02aaaaa\0\0\0\0\0\0\0\0"),
        (UNREACHED, b"\x01aaaaa"),
        (UNREACHED, b"\x02aaaaaa"),
    ] {
        assert!(with(&[(kind, value)]).is_err(), "{kind} {value:x?}");
    }
}

#[test]
fn a_record_holds_so_much_and_no_more() {
    let mut full = Announcement::new(PeerName::local(1), PeerUid::new(2).unwrap(), 3);
    let numbers = |count: usize| (0..u64::try_from(count).unwrap()).map(PeerName::local);
    let uid = PeerUid::new(9).unwrap();
    full.links = numbers(MAX_LINKS).map(|name| Link { name, uid }).collect();
    full.unreached = numbers(MAX_UNREACHED).collect();
    full.addresses =
        (0..MAX_ADDRESSES).map(|i| ([10, 0, 0, u8::try_from(i).unwrap()], 6783).into()).collect();
    full.labels = (0..MAX_LABELS).map(|i| (format!("key{i}"), "v".repeat(50))).collect();
    full.nickname = "n".repeat(64);
    assert!(full.emit().is_ok());

    let mut more = vec![full; 5];
    more[0].links.insert(Link { name: PeerName::local(1000), uid });
    more[1].unreached.insert(PeerName::local(1000));
    more[2].addresses.push(([10, 1, 0, 0], 6783).into());
    more[3].labels.insert("another".into(), String::new());
    more[4].nickname.push('n');
    for announcement in more {
        assert!(announcement.emit().is_err());
    }
}

#[test]
fn a_record_that_is_longer_than_any_is_not_emitted() {
    let mut long = Announcement::new(PeerName::local(1), PeerUid::new(2).unwrap(), 3);
    long.labels = (0..MAX_LABELS).map(|i| (format!("{i:064}"), "v".repeat(64))).collect();

    assert_eq!(long.emit(), Err(TooLong("a record is longer than 4096 octets")));

    long.labels = [("k".repeat(70_000), "v".repeat(70_000))].into();
    assert!(long.emit().is_err());
}

#[test]
fn the_later_of_two_records_is_the_one_of_the_later_start() {
    let stamp = |incarnation, uid, version, hash| {
        let uid = PeerUid::new(uid).unwrap();
        Stamp { incarnation, uid, version, hash }
    };

    let ascending = [
        stamp(1, 9, 9, 9),
        stamp(2, 1, 9, 9),
        stamp(2, 2, 1, 9),
        stamp(2, 2, 2, 1),
        stamp(2, 2, 2, 2),
    ];

    assert!(ascending.is_sorted());
}

proptest! {
    #[test]
    fn what_is_announced_is_read(announcement in announcement()) {
        let record = announcement.emit().unwrap();

        let mut read = Announcement::from(&record);

        let order = |a: &SocketAddr, b: &SocketAddr| a.cmp(b);
        read.addresses.sort_by(order);
        prop_assert_eq!(read, announcement);
    }

    #[test]
    fn a_record_is_kept_octet_for_octet_with_what_a_newer_version_put_into_it(
        announcement in announcement(), tlvs in newer_tlvs(), flags in 0u16..0x800,
    ) {
        let record = announcement.emit().unwrap();
        let octets = newer(record.octets(), &tlvs, flags << 5);

        let read = Record::parse(&octets).unwrap();

        prop_assert_eq!(read.octets(), &octets);
        prop_assert_eq!(Announcement::from(&read), Announcement::from(&record));
        prop_assert_eq!(read.stamp().hash, content_hash(&octets));
    }

    #[test]
    fn octets_that_were_changed_are_a_record_or_malformed(
        record in record(), at in any::<prop::sample::Index>(), octet in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut octets = record.octets().to_vec();
        let at = at.index(octets.len());
        octets[at] = octet;
        let short = cut.index(octets.len());

        for octets in [&octets[..], &octets[..short]] {
            if let Ok(read) = Record::parse(octets) {
                prop_assert_eq!(read.octets(), octets);
                let kept: usize = read.tlvs().map(|(_, value)| 3 + value.len()).sum();
                prop_assert_eq!(HEADER + kept, octets.len());
            }
        }
    }

    #[test]
    fn any_octets_are_a_record_or_malformed(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::parse(&octets);
    }

    #[test]
    fn records_of_one_name_have_one_order(
        parts in prop::collection::vec((0u64..3, 1u64..3, 1u64..3, few_names()), 3),
    ) {
        let stamps: Vec<_> = parts.iter().map(|&(incarnation, uid, version, unreached)| {
            let mut announcement = Announcement::new(PeerName::local(0), PeerUid::new(uid).unwrap(), incarnation);
            announcement.version = version;
            announcement.unreached.insert(unreached);
            announcement.emit().unwrap()
        }).collect();

        for (a, b) in stamps.iter().zip(stamps.iter().skip(1)) {
            prop_assert_eq!(a.stamp() == b.stamp(), a == b);
            prop_assert_eq!(a.stamp().cmp(&b.stamp()), b.stamp().cmp(&a.stamp()).reverse());
        }
        if let [a, b, c] = &stamps[..] && a.stamp() <= b.stamp() && b.stamp() <= c.stamp() {
            prop_assert!(a.stamp() <= c.stamp());
        }
    }
}
