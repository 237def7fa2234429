use proptest::prelude::*;

use super::*;

const T0: Duration = Duration::ZERO;

fn peer(n: u64) -> PeerName {
    PeerName::local(n)
}

fn mac(n: u64) -> Mac {
    Mac::local(1000 + n)
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 32, 0, n])
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let said = (1_u64..5, any::<bool>(), prop::collection::btree_set(0_u8..4, 0..3));
    let item =
        (0_u64..4, 0_u64..4, said).prop_map(|(owner, station, (sequence, withdrawn, ips))| {
            let addresses =
                if withdrawn { BTreeSet::new() } else { ips.into_iter().map(ip).collect() };
            let more = More { flags: u8::try_from(station).unwrap() << 1, octets: vec![7] };
            let said = Announcement { sequence, withdrawn, addresses, more };
            Item { owner: peer(owner), mac: mac(station), said }
        });
    prop::collection::vec(item, 0..24)
}

/// Nothing yet, of owners who are present.
fn everybody() -> Stations {
    let mut stations = Stations::default();
    (0..8).for_each(|n| stations.set_present(peer(n), true, T0));
    stations
}

fn knows(items: &[Item]) -> Stations {
    let mut stations = everybody();
    for item in items {
        stations.merge(item.clone(), T0);
    }
    stations
}

#[test]
fn a_station_that_moves_is_behind_its_new_owner_at_once_and_stays_there() {
    let (mut here, mut there) = (everybody(), everybody());
    let first = here.announce(peer(1), mac(1), [ip(1)], T0).unwrap();
    assert_eq!(there.merge(first.clone(), T0), Merged::New);

    let moved = there.announce(peer(2), mac(1), [ip(1)], T0).unwrap();
    assert_eq!(here.merge(moved, T0), Merged::New);

    assert_eq!((here.owner(mac(1)), there.owner(mac(1))), (Some(peer(2)), Some(peer(2))));
    assert_eq!(here.merge(first, T0), Merged::Known);
    let withdrawn = here.withdraw(peer(1), mac(1), T0).unwrap();
    there.merge(withdrawn, T0);
    assert_eq!(there.owner(mac(1)), Some(peer(2)));
    assert_eq!(here.digest(), there.digest());
}

#[test]
fn what_is_known_is_not_announced_again_and_what_is_new_is() {
    let mut stations = everybody();

    assert!(stations.announce(peer(1), mac(1), [ip(1)], T0).is_some());
    assert!(stations.announce(peer(1), mac(1), [ip(1)], T0).is_none());
    assert!(stations.announce(peer(1), mac(1), [ip(1), ip(2)], T0).is_some());
    assert!(stations.withdraw(peer(1), mac(1), T0).is_some());
    assert!(stations.withdraw(peer(1), mac(1), T0).is_none());
    assert!(stations.announce(peer(1), mac(1), [ip(1), ip(2)], T0).is_some());
}

#[test]
fn a_station_that_somebody_else_claimed_is_announced_again_by_who_has_it() {
    let mut stations = everybody();
    stations.announce(peer(1), mac(1), [ip(1)], T0);
    stations.announce(peer(2), mac(1), [ip(1)], T0);

    assert!(stations.announce(peer(1), mac(1), [ip(1)], T0).is_some());

    assert_eq!(stations.owner(mac(1)), Some(peer(1)));
}

#[test]
fn what_an_owner_announced_goes_with_it() {
    let mut stations = everybody();
    stations.announce(peer(1), mac(1), [], T0);
    stations.announce(peer(1), mac(2), [], T0);
    stations.announce(peer(2), mac(2), [], T0);

    stations.forget(peer(1));

    let placed: Vec<_> = stations.placed().map(|(mac, owner, _)| (mac, owner)).collect();
    assert_eq!(placed, [(mac(2), peer(2))]);
    stations.forget(peer(2));
    assert!(stations.is_empty());
}

#[test]
fn an_owner_has_a_bounded_number_of_stations() {
    let mut stations = everybody();
    for n in 0..MAX_STATIONS as u64 {
        assert!(stations.announce(peer(1), Mac::local(n + 1), [], T0).is_some());
    }

    assert!(stations.announce(peer(1), Mac::local(1 << 30), [], T0).is_none());
    assert!(stations.announce(peer(2), Mac::local(1 << 30), [], T0).is_some());
}

#[test]
fn stations_of_an_owner_who_is_not_present_wait_and_are_forgotten_after_a_minute() {
    let mut stations = everybody();
    let said = Announcement::new(1, [].into());
    stations.merge(Item { owner: peer(99), mac: mac(1), said }, T0);
    let digest = everybody().digest();

    assert_eq!((stations.owner(mac(1)), stations.digest()), (None, digest));
    let mut arrived = stations.clone();
    arrived.set_present(peer(99), true, T0);
    assert_eq!(arrived.owner(mac(1)), Some(peer(99)));
    arrived.age(ABSENT * 2);
    assert_eq!(arrived.owner(mac(1)), Some(peer(99)));
    stations.age(ABSENT);
    assert!(stations.is_empty());
}

#[test]
fn owners_who_are_not_present_are_bounded() {
    let mut stations = everybody();
    let said = Announcement::new(1, [].into());

    let merged = (0..1_000).filter(|n| {
        let item = Item { owner: peer(1_000 + n), mac: mac(*n), said: said.clone() };
        stations.merge(item, T0) == Merged::New
    });

    assert_eq!(merged.count(), MAX_ABSENT);
}

#[test]
fn what_was_taken_back_is_remembered_for_ten_minutes_and_counts_for_nothing() {
    let mut stations = everybody();
    let (nothing, mut firsts) = (stations.digest(), Vec::new());
    for n in 0..MAX_STATIONS as u64 + 10 {
        let (at, mac) = (Duration::from_millis(n), Mac::local(n + 1));
        firsts.push(stations.announce(peer(1), mac, [], at).unwrap());
        stations.withdraw(peer(1), mac, at).unwrap();
    }

    assert_eq!(stations.digest(), nothing);
    assert_eq!(stations.merge(firsts.pop().unwrap(), T0), Merged::Known);
    assert_eq!(stations.iter().count(), MAX_STATIONS);
    stations.age(TAKEN_BACK * 2);
    assert_eq!(stations.iter().count(), 0);
}

#[test]
fn five_thousand_stations_fit_few_messages() {
    let all = (0..5_000).map(|n| {
        let said = Announcement::new(1, [ip(1)].into());
        Item { owner: peer(1), mac: mac(n), said }
    });

    let messages = emit(all.clone());

    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.len() <= MAX_MESSAGE));
    let read: Vec<_> = messages.iter().flat_map(|message| parse(message).unwrap()).collect();
    assert_eq!(read, all.collect::<Vec<_>>());
}

#[test]
fn what_breaks_a_rule_is_refused_whole_and_what_is_newer_is_kept() {
    let said = Announcement::new(7, [ip(1)].into());
    let item = Item { owner: peer(1), mac: mac(1), said };
    let good = emit([item.clone()]).remove(0);
    let broken = |at: usize, octet: u8| {
        let mut octets = good.clone();
        octets[at] = octet;
        parse(&[good.clone(), octets].concat())
    };

    assert_eq!(broken(2, 1), Err(BadStations::Owner));
    assert_eq!(broken(8, 1), Err(BadStations::Mac));
    assert_eq!(broken(14, 1), Err(BadStations::Sequence));
    assert_eq!(broken(23, 17), Err(BadStations::Addresses));
    assert_eq!(broken(24, 5), Err(BadStations::Addresses));
    assert_eq!(broken(23, 2), Err(BadStations::Short));
    assert_eq!(parse(&good[..good.len() - 1]), Err(BadStations::Short));
    let mut longer = good.clone();
    longer[1] += 3;
    longer.extend([1, 2, 3]);
    longer[22] = 0x80;
    let more = More { flags: 0x80, octets: vec![1, 2, 3] };
    let newer = Item { said: Announcement { more, ..item.said.clone() }, ..item };
    assert_eq!(parse(&longer), Ok(vec![newer.clone()]));
    assert_eq!(emit([newer]), [longer]);
}

proptest! {
    #[test]
    fn the_order_in_which_things_are_heard_does_not_matter(
        (items, shuffled) in items().prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
    ) {
        let twice: Vec<_> = items.iter().chain(&shuffled).cloned().collect();

        let (one, other, both) = (knows(&items), knows(&shuffled), knows(&twice));

        prop_assert_eq!(&one, &other);
        prop_assert_eq!(&one, &both);
        prop_assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn halves_that_heard_different_things_agree_once_they_have_exchanged_them(
        here in items(), there in items(),
    ) {
        let (mut one, mut other) = (knows(&here), knows(&there));
        let said: Vec<_> = one.iter().collect();
        let answered: Vec<_> = other.iter().collect();

        for item in emit(answered).iter().flat_map(|message| parse(message).unwrap()) {
            one.merge(item, T0);
        }
        for item in emit(said).iter().flat_map(|message| parse(message).unwrap()) {
            other.merge(item, T0);
        }

        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(items) = parse(&octets) {
            let read: Vec<_> = emit(items.clone()).iter().flat_map(|it| parse(it).unwrap()).collect();
            prop_assert_eq!(read, items);
        }
    }
}
