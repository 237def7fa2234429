use proptest::prelude::*;

use super::*;

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const C: Mac = Mac([2, 0, 0, 0, 0, 0xc]);

#[test]
fn what_is_there_as_it_should_be_needs_nothing() {
    let there = Entries {
        floods: [node(1)].into(),
        remotes: [(A, node(1))].into(),
        ..entries(&[(A, Kind::Announced), (B, Kind::Learned)], &[(1, A)])
    };

    assert_eq!(ledger(there.clone()).edits(&there), []);
}

#[test]
fn a_station_is_removed_before_anything_is_placed_and_names_come_last() {
    let it = ledger(entries(&[(A, Kind::Announced)], &[(1, A)]));

    let edits = it.edits(&entries(&[(B, Kind::Announced)], &[(2, B)]));

    let expected = [
        Edit::Forget(A, Uplink::Tap),
        Edit::Unname(addr(1)),
        Edit::Place(B, station(Kind::Announced, Uplink::Tap)),
        Edit::Name(addr(2), B),
    ];
    assert_eq!(edits, expected);
}

#[test]
fn a_learned_station_that_is_announced_is_removed_where_it_was_and_placed_anew() {
    for (was, to) in [(Uplink::Tap, Uplink::Tap), (Uplink::Fast, Uplink::Tap)] {
        let it = ledger(placed(&[(A, Kind::Learned, was)]));

        let edits = it.edits(&placed(&[(A, Kind::Announced, to)]));

        let place = Edit::Place(A, station(Kind::Announced, to));
        assert_eq!(edits, [Edit::Forget(A, was), place]);
    }
}

#[test]
fn a_station_that_changes_its_uplink_is_moved_in_place() {
    for kind in [Kind::Announced, Kind::Learned] {
        for (was, to) in [(Uplink::Tap, Uplink::Fast), (Uplink::Fast, Uplink::Tap)] {
            let it = ledger(placed(&[(A, kind, was)]));

            let edits = it.edits(&placed(&[(A, kind, to)]));

            assert_eq!(edits, [Edit::Place(A, station(kind, to))]);
        }
    }
}

#[test]
fn an_address_that_changes_its_station_is_renamed_in_place() {
    let it = ledger(entries(&[], &[(1, A)]));

    assert_eq!(it.edits(&entries(&[], &[(1, B)])), [Edit::Name(addr(1), B)]);
}

/// A goes, B comes to the fast path, C leaves it.
#[test]
fn the_vxlan_device_knows_a_mac_for_as_long_as_the_bridge_gives_it_frames_for_it() {
    let it = ledger(Entries {
        remotes: [(A, node(1)), (C, node(3))].into(),
        floods: [node(1), node(3)].into(),
        ..placed(&[
            (A, Kind::Announced, Uplink::Fast),
            (B, Kind::Announced, Uplink::Tap),
            (C, Kind::Announced, Uplink::Fast),
        ])
    });

    let edits = it.edits(&Entries {
        remotes: [(B, node(2))].into(),
        floods: [node(2)].into(),
        neighbours: [(addr(2), B)].into(),
        ..placed(&[(B, Kind::Announced, Uplink::Fast), (C, Kind::Announced, Uplink::Tap)])
    });

    let expected = [
        Edit::Unflood(node(1)),
        Edit::Unflood(node(3)),
        Edit::Forget(A, Uplink::Fast),
        Edit::Point(B, node(2)),
        Edit::Place(B, station(Kind::Announced, Uplink::Fast)),
        Edit::Place(C, station(Kind::Announced, Uplink::Tap)),
        Edit::Unpoint(A),
        Edit::Unpoint(C),
        Edit::Flood(node(2)),
        Edit::Name(addr(2), B),
    ];
    assert_eq!(edits, expected);
}

#[test]
fn a_mac_that_goes_to_another_node_is_pointed_there_in_place() {
    let to = |n| Entries { remotes: [(A, node(n))].into(), ..Entries::default() };

    assert_eq!(ledger(to(1)).edits(&to(2)), [Edit::Point(A, node(2))]);
}

#[test]
fn what_an_earlier_run_left_stays_until_the_owner_has_settled() {
    let left = Entries {
        remotes: [(B, node(2))].into(),
        floods: [node(2)].into(),
        ..entries(&[(A, Kind::Announced)], &[(1, A)])
    };
    let mut it = Ledger { installed: left, ..Ledger::default() };
    assert_eq!(it.edits(&Entries::default()), []);

    it.settle();

    let expected = [
        Edit::Unflood(node(2)),
        Edit::Forget(A, Uplink::Tap),
        Edit::Unname(addr(1)),
        Edit::Unpoint(B),
    ];
    assert_eq!(it.edits(&Entries::default()), expected);
}

#[test]
fn what_was_asked_for_in_this_run_goes_before_it_has_settled() {
    let left = Entries {
        remotes: [(A, node(1)), (B, node(2)), (C, node(3))].into(),
        floods: [node(1), node(2)].into(),
        ..entries(&[(A, Kind::Announced), (B, Kind::Announced)], &[])
    };
    let mut it = Ledger { installed: left, ..Ledger::default() };
    it.claim(&Entries {
        remotes: [(C, node(3))].into(),
        floods: [node(1)].into(),
        ..entries(&[(A, Kind::Announced)], &[])
    });

    let expected =
        [Edit::Unflood(node(1)), Edit::Forget(A, Uplink::Tap), Edit::Unpoint(A), Edit::Unpoint(C)];
    assert_eq!(it.edits(&Entries::default()), expected);
}

#[test]
fn what_is_local_now_goes_before_the_owner_has_settled() {
    let left = Entries {
        remotes: [(A, node(1)), (B, node(1))].into(),
        ..entries(&[(A, Kind::Announced), (B, Kind::Announced)], &[(1, A), (2, B)])
    };
    let mut it = Ledger { installed: left, ..Ledger::default() };

    it.release(Some(A), Some(addr(1)));

    let expected = [Edit::Forget(A, Uplink::Tap), Edit::Unname(addr(1)), Edit::Unpoint(A)];
    assert_eq!(it.edits(&Entries::default()), expected);
}

#[test]
fn who_is_flooded_to_by_the_process_now_is_not_by_the_kernel_before_the_owner_has_settled() {
    let left = Entries { floods: [node(1), node(2)].into(), ..Entries::default() };
    let mut it = Ledger { installed: left, ..Ledger::default() };

    it.release_flood(node(2));

    assert_eq!(it.edits(&Entries::default()), [Edit::Unflood(node(2))]);
}

proptest! {
    #[test]
    fn the_edits_make_the_installed_into_the_desired(from in any_entries(), to in any_entries()) {
        let mut it = ledger(from);

        for edit in it.edits(&to) {
            it.note(edit);
        }

        prop_assert_eq!(&it.installed, &to);
        prop_assert_eq!(it.edits(&to), []);
    }

    #[test]
    fn a_station_is_never_on_the_fast_uplink_while_the_device_does_not_know_it(
        from in any_entries(),
        to in any_entries(),
    ) {
        let [from, to] = [from, to].map(pointed);
        let mut it = ledger(from);

        for edit in it.edits(&to) {
            it.note(edit);
            let Entries { stations, remotes, .. } = &it.installed;
            let fast = stations.iter().filter(|(_, it)| it.uplink == Uplink::Fast);
            for (mac, _) in fast {
                prop_assert!(remotes.contains_key(mac), "{mac} after {edit:?}");
            }
        }
    }

    #[test]
    fn before_it_is_settled_nothing_is_lost_that_was_not_asked_for(
        from in any_entries(),
        to in any_entries(),
    ) {
        let mut it = Ledger { installed: from.clone(), ..Ledger::default() };
        it.claim(&to);

        for edit in it.edits(&to) {
            it.note(edit);
        }

        let Entries { stations, remotes, floods, neighbours } = &it.installed;
        prop_assert!(from.stations.keys().all(|mac| stations.contains_key(mac)));
        prop_assert!(to.stations.iter().all(|(k, v)| stations.get(k) == Some(v)));
        prop_assert!(from.neighbours.keys().all(|addr| neighbours.contains_key(addr)));
        prop_assert!(to.neighbours.iter().all(|(k, v)| neighbours.get(k) == Some(v)));
        prop_assert!(floods.is_superset(&from.floods) && floods.is_superset(&to.floods));
        prop_assert!(to.remotes.iter().all(|(k, v)| remotes.get(k) == Some(v)));
        let asked = |mac| to.stations.contains_key(mac);
        prop_assert!(from.remotes.keys().all(|mac| remotes.contains_key(mac) || asked(mac)));
    }
}

fn addr(n: u8) -> IpAddr {
    IpAddr::from([10, 32, 0, n])
}

fn node(n: u8) -> IpAddr {
    IpAddr::from([192, 168, 0, n])
}

fn station(kind: Kind, uplink: Uplink) -> Station {
    Station { kind, uplink }
}

fn placed(stations: &[(Mac, Kind, Uplink)]) -> Entries {
    let stations = stations.iter().map(|(mac, kind, uplink)| (*mac, station(*kind, *uplink)));
    Entries { stations: stations.collect(), ..Entries::default() }
}

fn entries(stations: &[(Mac, Kind)], neighbours: &[(u8, Mac)]) -> Entries {
    let stations: Vec<_> = stations.iter().map(|(mac, kind)| (*mac, *kind, Uplink::Tap)).collect();
    let neighbours = neighbours.iter().map(|(n, mac)| (addr(*n), *mac)).collect();
    Entries { neighbours, ..placed(&stations) }
}

fn ledger(installed: Entries) -> Ledger {
    let mut ledger = Ledger { installed, ..Ledger::default() };
    ledger.settle();
    ledger
}

/// The same where the vxlan device knows all that the bridge gives it.
fn pointed(mut it: Entries) -> Entries {
    for (mac, _) in it.stations.iter().filter(|(_, it)| it.uplink == Uplink::Fast) {
        it.remotes.entry(*mac).or_insert_with(|| node(9));
    }
    it
}

fn any_entries() -> impl Strategy<Value = Entries> {
    let kind = prop_oneof![Just(Kind::Announced), Just(Kind::Learned)];
    let uplink = prop_oneof![Just(Uplink::Tap), Just(Uplink::Fast)];
    let mac = || (0_u64..8).prop_map(Mac::local);
    let station = (kind, uplink).prop_map(|(kind, uplink)| Station { kind, uplink });
    let stations = prop::collection::btree_map(mac(), station, 0..8);
    let remotes = prop::collection::btree_map(mac(), (0_u8..4).prop_map(node), 0..8);
    let floods = prop::collection::btree_set((0_u8..4).prop_map(node), 0..4);
    let neighbours = prop::collection::btree_map((0_u8..8).prop_map(addr), mac(), 0..8);
    (stations, remotes, floods, neighbours).prop_map(|(stations, remotes, floods, neighbours)| {
        Entries { stations, remotes, floods, neighbours }
    })
}
