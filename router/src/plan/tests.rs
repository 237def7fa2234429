use super::*;

const CONFIG: Config = Config {
    vni: Vni::DEFAULT,
    ipv6: false,
    mtu: match Mtu::new(1450) {
        Some(mtu) => mtu,
        None => panic!("a valid MTU"),
    },
    fast: false,
};

fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn own() -> Own {
    Own { name: name(0), label: label(100), fast: false }
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 99, 0, n])
}

fn fact(n: u8, route: Option<&[u64]>) -> Fact {
    Fact {
        standing: Standing::Up,
        addresses: vec![SocketAddr::new(ip(n), 6783)],
        label: Some(label(100 + u32::from(n))),
        route: route.map(|hops| hops.iter().map(|hop| name(*hop)).collect()),
        allowed: true,
        choice: Choice { line: Some(Line::User), quiet: false },
        mtu: None,
        narrow: false,
        least: None,
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
    fold(&Known { own: own(), topology, slots, config: &CONFIG }, before)
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
fn a_peer_without_a_way_is_tried_on_6783_and_one_without_an_address_is_down() {
    let (mut topology, slots) = topology(&[None, Some(&[9]), Some(&[])]);
    topology.get_mut(&name(3)).unwrap().addresses.clear();

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(how(&folded, 1), (Path::Sleeve, Reason::NoRoute));
    assert_eq!(how(&folded, 2), (Path::Down, Reason::RelayLost));
    assert_eq!(how(&folded, 3), (Path::Down, Reason::NoAddress));
    assert_eq!(folded.plan.flood(), [slots.get(name(1)).unwrap()]);
}

#[test]
fn a_silent_peer_whose_relay_is_lost_for_a_moment_is_reached_through_it_again() {
    let (mut topology, slots) = topology(&[Some(&[]), Some(&[1])]);
    let before = folded(&topology, &slots, &BTreeMap::new());
    topology.get_mut(&name(2)).unwrap().standing = Standing::Silent;
    topology.get_mut(&name(1)).unwrap().route = Some(vec![name(7)]);

    let lost = folded(&topology, &slots, &before.paths);
    topology.get_mut(&name(1)).unwrap().route = Some(vec![]);
    let back = folded(&topology, &slots, &lost.paths);

    let [relay, far] = [1, 2].map(|n| slots.get(name(n)).unwrap());
    assert_eq!(lost.stranded, BTreeSet::from([name(2)]));
    assert_eq!(lost.plan.route(far).unwrap().path, Path::Down);
    assert_eq!(back.stranded, BTreeSet::new());
    assert_eq!(back.plan.route(far).unwrap().path, Path::Relay(relay));
}

#[test]
fn the_first_address_of_the_underlays_family_is_sent_to_and_all_may_send() {
    let (mut topology, slots) = topology(&[Some(&[])]);
    let addresses =
        ["[fd00::1]:6783", "0.0.0.0:6783", "224.0.0.1:6783", "10.99.0.1:7000", "10.99.1.1:6783"];
    topology.get_mut(&name(1)).unwrap().addresses =
        addresses.map(|addr| addr.parse().unwrap()).into();

    let folded = folded(&topology, &slots, &BTreeMap::new());

    let id = slots.get(name(1));
    assert_eq!(folded.plan.peer(id.unwrap()).unwrap().addr, "10.99.0.1:7001".parse().unwrap());
    assert_eq!(folded.plan.peer_at("10.99.1.1".parse().unwrap()), id);
    assert_eq!(folded.plan.peer_at("fd00::1".parse().unwrap()), None);
}

#[test]
fn through_a_relay_goes_what_the_narrowest_part_of_the_way_carries() {
    let mtu = |octets| Some(Mtu::new(octets).unwrap());
    let (mut topology, slots) = topology(&[Some(&[]), Some(&[1])]);
    topology.get_mut(&name(1)).unwrap().mtu = mtu(1400);
    topology.get_mut(&name(1)).unwrap().least = mtu(1300);
    topology.get_mut(&name(2)).unwrap().mtu = mtu(900);
    topology.get_mut(&name(2)).unwrap().least = mtu(1350);

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(folded.paths[&name(1)].peer.mtu.octets(), 1400);
    assert_eq!(folded.paths[&name(2)].peer.mtu.octets(), 1300);
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
fn a_peer_without_a_slot_is_left_out_and_ourselves_are_no_peer() {
    let (mut topology, slots) = topology(&[Some(&[])]);
    topology.insert(name(5), fact(5, Some(&[])));
    topology.insert(own().name, fact(0, Some(&[])));

    let folded = folded(&topology, &slots, &BTreeMap::new());

    assert_eq!(folded.paths.len(), 1);
}
