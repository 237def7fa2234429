use super::*;
use crate::Ringer;
use crate::sleeve::{HOPS, Header};

fn plan(last_octets: &[u8]) -> Plan {
    let mtu = Mtu::new(1450).unwrap();
    let peers = last_octets.iter().map(|n| Peer { addr: ([10, 0, 0, *n], 6784).into(), mtu });
    Plan::new(Vni::DEFAULT, peers)
}

#[test]
fn peers_are_found_by_their_address() {
    let plan = plan(&[9, 3, 7]);

    assert_eq!(plan.peer_at([10, 0, 0, 3].into()), Some(PeerId::new(1)));
    assert_eq!(plan.peer_at([10, 0, 0, 4].into()), None);
    assert_eq!(plan.peer(PeerId::new(2)).unwrap().addr, ([10, 0, 0, 7], 6784).into());
    assert_eq!(plan.peer(PeerId::new(3)), None);
}

#[test]
fn every_peer_is_in_the_flood_list_once() {
    assert_eq!(plan(&[9, 3, 7]).flood(), [PeerId::new(0), PeerId::new(1), PeerId::new(2)]);
}

#[test]
fn a_plan_is_loaded_once_per_installation() {
    let cell = PlanCell::new(plan(&[1]));
    let mut seen = 0;

    assert!(cell.load_if_newer(&mut seen).is_some());
    assert!(cell.load_if_newer(&mut seen).is_none());
    cell.install(plan(&[1, 2]));

    assert_eq!(cell.load_if_newer(&mut seen).unwrap().flood().len(), 2);
    assert!(cell.load_if_newer(&mut seen).is_none());
}

#[test]
fn a_peer_is_reached_by_its_path() {
    let plan = chain();

    let way = |id| plan.way(id).map(|way| (way.tunnel, way.to));
    assert_eq!(way(A), Some((Tunnel::Vxlan, ([10, 0, 0, 1], 6784).into())));
    assert_eq!(way(B), Some((Tunnel::Sleeve, sleeve(2))));
    assert_eq!(way(C), Some((Tunnel::Sleeve, sleeve(2))), "by way of B");
    assert_eq!(way(D), None);
    assert_eq!(plan.flood(), [A, B, C]);
}

#[test]
fn a_peer_that_the_kernel_reaches_is_left_out_of_the_flood_and_may_be_a_relay() {
    let plan = Plan::builder(Vni::DEFAULT)
        .label(label(99))
        .peer(A, peer(1), route(Path::Fast, 1))
        .peer(B, peer(2), route(Path::User, 2))
        .peer(C, peer(3), route(Path::Relay(A), 3))
        .build();

    let way = |id| plan.way(id).map(|way| (way.tunnel, way.to));
    assert_eq!(way(A), Some((Tunnel::Vxlan, ([10, 0, 0, 1], 6784).into())));
    assert_eq!(way(C), Some((Tunnel::Sleeve, sleeve(1))), "by way of A");
    assert_eq!(plan.flood(), [B, C]);
    assert_eq!(plan.hop(A), Some(sleeve(1)));
}

#[test]
fn the_labels_on_a_frame_are_this_nodes_and_the_far_peers() {
    let plan = chain();

    let header = Header::of(plan.way(C).unwrap().header).unwrap();

    assert_eq!(header, Header { source: label(99), destination: label(3), hops: HOPS });
}

#[test]
fn frames_are_passed_on_to_the_peer_or_its_relay() {
    let plan = chain();

    assert_eq!(
        [A, B, C, D].map(|id| plan.hop(id)),
        [Some(sleeve(1)), Some(sleeve(2)), Some(sleeve(2)), None]
    );
}

#[test]
fn there_is_no_way_through_a_relay_that_is_not_reached_itself() {
    for relay in [B, C, D, PeerId::new(9)] {
        let plan = Plan::builder(Vni::DEFAULT)
            .label(label(99))
            .peer(B, peer(2), route(Path::Relay(relay), 2))
            .peer(C, peer(3), route(Path::Relay(B), 3))
            .peer(D, peer(4), route(Path::Down, 4))
            .build();

        assert_eq!((plan.way(B), plan.hop(B)), (None, None), "{relay:?}");
    }
}

#[test]
fn there_is_no_sleeve_without_labels_on_both_sides_and_an_address() {
    let full = route(Path::Sleeve, 1);
    let build = |builder: PlanBuilder, route| builder.peer(A, peer(1), route).build();
    let labelled = || Plan::builder(Vni::DEFAULT).label(label(99));

    assert!(build(labelled(), full).way(A).is_some());
    assert!(build(Plan::builder(Vni::DEFAULT), full).way(A).is_none());
    assert!(build(labelled(), Route { label: None, ..full }).way(A).is_none());
    assert!(build(labelled(), Route { sleeve: None, ..full }).way(A).is_none());
}

#[test]
fn a_label_that_several_claim_is_nobodys() {
    let plan = Plan::builder(Vni::DEFAULT)
        .label(label(99))
        .peer(A, peer(1), route(Path::User, 7))
        .peer(B, peer(2), route(Path::User, 7))
        .peer(C, peer(3), route(Path::User, 99))
        .peer(D, peer(4), route(Path::User, 4))
        .build();

    let found = [7, 99, 4, 5].map(|raw| plan.peer_labelled(label(raw)));
    assert_eq!(found, [None, None, Some(D), None]);
}

#[test]
fn a_peer_behind_a_nat_is_known_by_both_its_addresses() {
    let natted = Route { sleeve: Some(([192, 0, 2, 1], 40_000).into()), ..route(Path::Sleeve, 1) };
    let plan = Plan::builder(Vni::DEFAULT).label(label(99)).peer(A, peer(1), natted).build();

    assert!(plan.is_source([192, 0, 2, 1].into()) && plan.is_source([10, 0, 0, 1].into()));
    assert!(!plan.is_source([192, 0, 2, 2].into()));
    assert_eq!(plan.way(A).unwrap().to, ([192, 0, 2, 1], 40_000).into());
}

#[test]
fn a_peer_is_known_by_its_aliases_on_both_tunnels() {
    let plan = Plan::builder(Vni::DEFAULT)
        .label(label(99))
        .alias(A, [10, 1, 0, 1].into())
        .peer(A, peer(1), route(Path::User, 1))
        .peer(B, peer(2), route(Path::User, 2))
        .alias(A, [10, 2, 0, 1].into())
        .build();

    for addr in [[10, 0, 0, 1], [10, 1, 0, 1], [10, 2, 0, 1]] {
        assert_eq!(plan.peer_at(addr.into()), Some(A), "{addr:?}");
        assert!(plan.is_source(addr.into()) && plan.is_of(A, addr.into()), "{addr:?}");
        assert!(!plan.is_of(B, addr.into()), "{addr:?}");
    }
    assert_eq!(plan.way(A).unwrap().to, ([10, 0, 0, 1], 6784).into());
}

#[test]
fn an_address_that_several_claim_is_whose_main_one_it_is_or_the_lowest_slots() {
    let plan = Plan::builder(Vni::DEFAULT)
        .peer(A, peer(1), Route::default())
        .peer(B, peer(2), Route::default())
        .peer(C, peer(3), Route::default())
        .alias(A, [10, 0, 0, 3].into())
        .alias(C, [10, 1, 0, 9].into())
        .alias(B, [10, 1, 0, 9].into())
        .build();

    assert_eq!(plan.peer_at([10, 0, 0, 3].into()), Some(C));
    assert_eq!(plan.peer_at([10, 1, 0, 9].into()), Some(B));
    assert!(!plan.is_of(A, [10, 0, 0, 3].into()) && !plan.is_of(C, [10, 1, 0, 9].into()));
}

#[test]
fn the_aliases_of_who_has_left_a_slot_are_nobodys() {
    let replaced = Plan::builder(Vni::DEFAULT)
        .peer(A, peer(1), Route::default())
        .alias(A, [10, 1, 0, 1].into())
        .peer(A, peer(2), Route::default())
        .alias(D, [10, 1, 0, 4].into())
        .build();

    for addr in [[10, 1, 0, 1], [10, 1, 0, 4]] {
        assert_eq!(replaced.peer_at(addr.into()), None, "{addr:?}");
        assert!(!replaced.is_source(addr.into()), "{addr:?}");
    }
}

#[test]
fn who_stays_keeps_its_slot_when_others_leave() {
    let plan = Plan::builder(Vni::DEFAULT).peer(C, peer(3), Route::default()).build();

    assert_eq!(plan.peers().map(|(id, _)| id).collect::<Vec<_>>(), [C]);
    assert_eq!((plan.peer(A), plan.flood()), (None, &[C][..]));
    assert_eq!(plan.peer_at([10, 0, 0, 3].into()), Some(C));
}

const A: PeerId = PeerId::new(0);
const B: PeerId = PeerId::new(1);
const C: PeerId = PeerId::new(2);
const D: PeerId = PeerId::new(3);

/// A by VXLAN, B by the sleeve, C by way of B, D not at all.
fn chain() -> Plan {
    Plan::builder(Vni::DEFAULT)
        .label(label(99))
        .peer(A, peer(1), route(Path::User, 1))
        .peer(B, peer(2), route(Path::Sleeve, 2))
        .peer(C, peer(3), route(Path::Relay(B), 3))
        .peer(D, peer(4), route(Path::Down, 4))
        .build()
}

fn peer(n: u8) -> Peer {
    Peer { addr: ([10, 0, 0, n], 6784).into(), mtu: Mtu::new(1450).unwrap() }
}

fn route(path: Path, n: u8) -> Route {
    Route { path, label: Some(label(n.into())), sleeve: Some(sleeve(n)) }
}

fn sleeve(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 6783).into()
}

fn label(raw: u32) -> Label {
    Label::new(raw).unwrap()
}

#[test]
fn a_plan_has_settled_when_each_reader_that_is_left_has_emptied_the_tap_by_it() {
    let cell = Arc::new(PlanCell::new(plan(&[1])));
    assert!(cell.is_settled(), "nobody reads");
    let mut readers = [PlanReader::new(Arc::clone(&cell)), PlanReader::new(Arc::clone(&cell))];
    readers.iter().for_each(|it| it.follow(Ringer::new().unwrap()));
    assert!(!cell.is_settled());

    // What this one has read came by the plan before.
    readers[0].end_turn(false);
    assert!(!cell.is_settled());
    let turn = |reader: &mut PlanReader, full| {
        drop(reader.load_if_newer());
        reader.end_turn(full);
    };
    readers.iter_mut().for_each(|it| turn(it, false));
    assert!(cell.is_settled());

    cell.unsettle();
    assert!(!cell.is_settled());
    turn(&mut readers[0], false);
    for _ in 1..PlanReader::QUEUE {
        turn(&mut readers[1], true);
        assert!(!cell.is_settled(), "there may be more");
    }
    turn(&mut readers[1], true);
    assert!(cell.is_settled(), "as much as fits into the queue");

    cell.install(plan(&[2]));
    let [first, second] = readers;
    drop(first);
    assert!(!cell.is_settled());
    drop(second);
    assert!(cell.is_settled(), "nobody reads any more");
}

#[test]
fn who_follows_is_rung_for_a_plan_until_it_is_gone() {
    let cell = Arc::new(PlanCell::new(plan(&[1])));
    let reader = PlanReader::new(Arc::clone(&cell));
    let ringer = Ringer::new().unwrap();
    reader.follow(ringer.clone());
    let rung = || rustix::io::read(ringer.fd(), &mut [0; 8]).is_ok();

    assert!(!rung());
    cell.install(plan(&[2]));
    assert!(rung());
    cell.unsettle();
    assert!(rung());
    drop(reader);
    cell.install(plan(&[3]));
    assert!(!rung());
}

#[test]
fn who_begins_anew_again_and_again_leaves_nothing_behind() {
    let cell = Arc::new(PlanCell::new(plan(&[1])));

    for _ in 0..3 {
        PlanReader::new(Arc::clone(&cell)).follow(Ringer::new().unwrap());
    }

    assert_eq!(cell.followers().len(), 1);
}
