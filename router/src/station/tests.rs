use proptest::prelude::*;

use super::*;

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
            let said = Announcement { sequence, withdrawn, addresses };
            Item { owner: peer(owner), mac: mac(station), said }
        });
    prop::collection::vec(item, 0..24)
}

fn knows(items: &[Item]) -> Stations {
    let mut stations = Stations::default();
    for item in items {
        stations.merge(item.clone());
    }
    stations
}

#[test]
fn a_station_that_moves_is_behind_its_new_owner_at_once_and_stays_there() {
    let (mut here, mut there) = (Stations::default(), Stations::default());
    let first = here.announce(peer(1), mac(1), [ip(1)]).unwrap();
    assert!(there.merge(first.clone()));

    let moved = there.announce(peer(2), mac(1), [ip(1)]).unwrap();
    assert!(here.merge(moved));

    assert_eq!((here.owner(mac(1)), there.owner(mac(1))), (Some(peer(2)), Some(peer(2))));
    assert!(!here.merge(first));
    let withdrawn = here.withdraw(peer(1), mac(1)).unwrap();
    there.merge(withdrawn);
    assert_eq!(there.owner(mac(1)), Some(peer(2)));
    assert_eq!(here.digest(), there.digest());
}

#[test]
fn what_is_known_is_not_announced_again_and_what_is_new_is() {
    let mut stations = Stations::default();

    assert!(stations.announce(peer(1), mac(1), [ip(1)]).is_some());
    assert!(stations.announce(peer(1), mac(1), [ip(1)]).is_none());
    assert!(stations.announce(peer(1), mac(1), [ip(1), ip(2)]).is_some());
    assert!(stations.withdraw(peer(1), mac(1)).is_some());
    assert!(stations.withdraw(peer(1), mac(1)).is_none());
    assert!(stations.announce(peer(1), mac(1), [ip(1), ip(2)]).is_some());
}

#[test]
fn a_station_that_somebody_else_claimed_is_announced_again_by_who_has_it() {
    let mut stations = Stations::default();
    stations.announce(peer(1), mac(1), [ip(1)]);
    stations.announce(peer(2), mac(1), [ip(1)]);

    assert!(stations.announce(peer(1), mac(1), [ip(1)]).is_some());

    assert_eq!(stations.owner(mac(1)), Some(peer(1)));
}

#[test]
fn what_an_owner_announced_goes_with_it() {
    let mut stations = Stations::default();
    stations.announce(peer(1), mac(1), []);
    stations.announce(peer(1), mac(2), []);
    stations.announce(peer(2), mac(2), []);

    assert_eq!(stations.forget(peer(1)), [mac(1)]);

    assert_eq!(stations.placed().collect::<Vec<_>>(), [(mac(2), peer(2))]);
    assert_eq!(stations.forget(peer(2)), [mac(2)]);
    assert_eq!(stations, Stations::default());
}

#[test]
fn an_owner_has_a_bounded_number_of_stations() {
    let mut stations = Stations::default();
    for n in 0..MAX_STATIONS as u64 {
        assert!(stations.announce(peer(1), Mac::local(n + 1), []).is_some());
    }

    assert!(stations.announce(peer(1), Mac::local(1 << 30), []).is_none());
    assert!(stations.announce(peer(2), Mac::local(1 << 30), []).is_some());
}

#[test]
fn five_thousand_stations_fit_few_messages() {
    let all = (0..5_000).map(|n| {
        let said = Announcement { sequence: 1, withdrawn: false, addresses: [ip(1)].into() };
        Item { owner: peer(1), mac: mac(n), said }
    });

    let messages = emit(all.clone());

    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.len() <= MAX_MESSAGE));
    let read: Vec<_> = messages.iter().flat_map(|message| parse(message).unwrap()).collect();
    assert_eq!(read, all.collect::<Vec<_>>());
}

#[test]
fn what_breaks_a_rule_is_refused_whole_and_what_is_newer_is_skipped() {
    let said = Announcement { sequence: 7, withdrawn: false, addresses: [ip(1)].into() };
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
    assert_eq!(parse(&longer), Ok(vec![item]));
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
            one.merge(item);
        }
        for item in emit(said).iter().flat_map(|message| parse(message).unwrap()) {
            other.merge(item);
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
