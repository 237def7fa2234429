use super::*;

const CONFIG: Config = Config {
    vni: Vni::DEFAULT,
    vxlan_port: 6784,
    sleeve_port: 6783,
    mtu: match Mtu::new(1450) {
        Some(mtu) => mtu,
        None => panic!("a valid MTU"),
    },
};

fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn own() -> Own {
    Own { name: name(0), label: label(100) }
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 99, 0, n])
}

fn fact(n: u8, route: Option<&[u64]>) -> Fact {
    Fact {
        standing: Standing::Up,
        addresses: vec![ip(n)],
        label: Some(label(100 + u32::from(n))),
        route: route.map(|hops| hops.iter().map(|hop| name(*hop)).collect()),
        mtu: None,
    }
}

/// Peers 1, 2, ... with these routes, in slots of their own.
fn topology(routes: &[Option<&[u64]>]) -> (Topology, Slots) {
    let facts = (1..).zip(routes).map(|(n, route)| (name(u64::from(n)), fact(n, *route)));
    let topology: Topology = facts.collect();
    let mut slots = Slots::default();
    for name in topology.keys() {
        slots.assign(*name).unwrap();
    }
    (topology, slots)
}

fn folded(topology: &Topology, slots: &Slots, before: &BTreeMap<PeerName, Chosen>) -> Folded {
    let stations = &Stations::default();
    fold(&Known { own: own(), topology, stations, slots, config: &CONFIG }, before)
}

fn how(folded: &Folded, n: u64) -> (Path, Reason) {
    let chosen = folded.paths[&name(n)];
    (chosen.route.path, chosen.reason)
}

#[test]
fn peers_that_are_reached_directly_are_reached_by_vxlan_and_get_floods() {
    let (topology, slots) = topology(&[Some(&[]), Some(&[])]);

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(how(&folded, 1), (Path::User, Reason::Direct));
    assert_eq!(folded.plan.flood().len(), 2);
    assert_eq!(folded.plan.peer_at(ip(2)), slots.get(name(2)));
    assert_eq!(folded.plan.label(), Some(label(100)));
}

#[test]
fn a_peer_that_is_not_reached_directly_is_reached_through_another() {
    let (topology, slots) = topology(&[Some(&[]), Some(&[1])]);

    let folded = folded(&topology, &slots, &BTreeMap::new());

    let relay = slots.get(name(1)).unwrap();
    assert_eq!(how(&folded, 2), (Path::Relay(relay), Reason::NotReached));
    let way = folded.plan.way(slots.get(name(2)).unwrap()).unwrap();
    assert_eq!(way.to, SocketAddr::new(ip(1), 6783));
}

#[test]
fn a_peer_without_a_way_or_whose_relay_is_lost_is_down_and_the_reason_is_said() {
    let (mut topology, slots) = topology(&[None, Some(&[1]), Some(&[9]), Some(&[])]);
    topology.get_mut(&name(4)).unwrap().addresses.clear();

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(how(&folded, 1), (Path::Down, Reason::NoRoute));
    assert_eq!(how(&folded, 2), (Path::Down, Reason::RelayLost));
    assert_eq!(how(&folded, 3), (Path::Down, Reason::RelayLost));
    assert_eq!(how(&folded, 4), (Path::Down, Reason::NoAddress));
    assert!(folded.plan.flood().is_empty());
}

#[test]
fn a_silent_peer_keeps_its_path_until_it_is_gone() {
    let (mut topology, slots) = topology(&[Some(&[]), Some(&[])]);
    let before = folded(&topology, &slots, &BTreeMap::new());
    let silent = topology.get_mut(&name(1)).unwrap();
    (silent.standing, silent.route) = (Standing::Silent, None);

    let kept = folded(&topology, &slots, &before.paths);
    let never_seen = folded(&topology, &slots, &BTreeMap::new());
    topology.remove(&name(1));
    let gone = folded(&topology, &slots, &kept.paths);

    assert_eq!(how(&kept, 1), (Path::User, Reason::Kept));
    assert_eq!(kept.plan.flood(), before.plan.flood());
    assert_eq!(how(&never_seen, 1), (Path::Down, Reason::NoRoute));
    assert!(!gone.paths.contains_key(&name(1)));
}

#[test]
fn announced_stations_of_others_are_behind_their_owners() {
    let (topology, slots) = topology(&[Some(&[])]);
    let mut stations = Stations::default();
    let [here, there, unknown] = [1, 2, 3].map(Mac::local);
    stations.announce(name(0), here, []);
    stations.announce(name(1), there, []);
    stations.announce(name(7), unknown, []);

    let (topology, stations, slots) = (&topology, &stations, &slots);
    let known = Known { own: own(), topology, stations, slots, config: &CONFIG };
    let folded = fold(&known, &BTreeMap::new());

    let port = Port::Peer(slots.get(name(1)).unwrap());
    assert_eq!(folded.placements, BTreeMap::from([(there, port)]));
}

#[test]
fn a_peer_without_a_slot_is_left_out_and_ourselves_are_no_peer() {
    let (mut topology, slots) = topology(&[Some(&[])]);
    topology.insert(name(5), fact(5, Some(&[])));
    topology.insert(own().name, fact(0, Some(&[])));

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(folded.paths.len(), 1);
}
