#![expect(clippy::print_stdout, reason = "figures")]

use rustix::time::{ClockId, clock_gettime};
use switch::{Mtu, Vni};

use super::*;
use crate::node::{Config, Input, Peer};
use crate::plan::{self, Standing};
use crate::station::{Announcement, Item, More, emit};

const OWN: PeerName = PeerName::local(0);

fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

fn mac(n: u64) -> Mac {
    Mac::local(1_000 + n)
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 32, 0, n])
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node that these peers have told of their stations, at 1 s.
fn node(peers: u64, announced: impl Iterator<Item = (u64, u64)>) -> Node {
    let mtu = Mtu::new(1450).unwrap();
    let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu, fast: false };
    let mut node = Node::new(OWN, Config { plan, discovery: true });
    let peer = |n: u64| {
        let [.., b, a] = n.to_be_bytes();
        let addresses = vec![([10, 99, b, a], 6783).into()];
        let label = Some(crate::choose_label(name(n), None, []));
        let (standing, route) = (Standing::Up, Some(vec![]));
        Peer { uid: 1, standing, addresses, label, least: None, route, neighbour: true, ring: None }
    };
    node.step(secs(0), (1..=peers).map(|n| Input::Peer(name(n), peer(n))));
    let items = announced.map(|(owner, n)| {
        let [.., b, a] = n.to_be_bytes();
        let addresses =
            [[10, 32, b, a].into(), [0xfd00, 0, 0, 0, 0, 0, 0, u16::from_be_bytes([b, a])].into()];
        let said = Announcement {
            sequence: 1,
            withdrawn: false,
            addresses: addresses.into(),
            more: More::default(),
        };
        Item { owner: name(owner), mac: mac(n), said }
    });
    let messages = emit(items).into_iter();
    let told = messages.map(|message| Input::Stations { via: name(1), message });
    node.step(secs(1), told.collect::<Vec<_>>());
    node
}

#[test]
fn a_station_is_where_its_node_says_with_its_addresses_since_it_is_there() {
    let mut node = node(2, [(1, 1), (2, 2)].into_iter());

    node.step(
        secs(5),
        [Input::Learned(mac(0)), Input::Address(mac(0), ip(9)), Input::Learned(mac(2))],
    );

    let row = |n: u64, peer: u64, since: u64, addresses: &[IpAddr]| Whereabouts {
        mac: mac(n),
        peer: name(peer),
        addresses: addresses.into(),
        since: Some(secs(since)),
        announced: true,
    };
    let with = |n: u8| [ip(n), [0xfd00, 0, 0, 0, 0, 0, 0, n.into()].into()];
    let expected = vec![row(0, 0, 5, &[ip(9)]), row(1, 1, 1, &with(1)), row(2, 0, 5, &with(2))];
    assert_eq!(node.whereabouts(9), (expected, 3));
    let slot = node.paths().find(|(peer, _)| *peer == name(1)).unwrap().1.chosen.id;
    assert_eq!(node.behind(), [(slot, 1)].into());
}

#[test]
fn of_too_many_the_first_are_told_and_how_many_there_are() {
    let node = node(1, (0..9).map(|n| (1, n)));

    let (rows, total) = node.whereabouts(4);

    assert_eq!((rows.len(), rows[3].mac, total), (4, mac(3), 9));
}

#[test]
fn a_look_at_5_000_stations_takes_no_2_ms_of_the_control_loop() {
    let node = node(100, (0..5_000).map(|n| (1 + n % 100, n)));
    // Of the processor's time, as other tests run beside this one.
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let took = |work: &dyn Fn() -> usize| {
        let times = (0..200).map(|_| {
            let start = now();
            assert!(work() > 0);
            now() - start
        });
        times.min().unwrap()
    };

    let rows = took(&|| node.whereabouts(65_536).0.len());
    let counts = took(&|| node.behind().len());

    println!("rows {rows:?}, counts {counts:?}");
    assert!(rows + counts < Duration::from_millis(2), "{rows:?} {counts:?}");
}
