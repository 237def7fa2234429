//! What control is told of what pods say.

use super::*;
use crate::{Bell, Told};

#[tokio::test]
async fn who_has_an_address_is_told_and_the_frame_forwarded_as_usual() {
    let (mut node, bell) = Node::listening();
    let arp = arp(POD, [10, 32, 0, 1]);

    node.emit(&arp);

    assert_eq!(node.told(), [(POD, Some([10, 32, 0, 1].into()))]);
    assert_eq!(node.sent_frames(), [&arp[..]; 3]);
    assert_eq!((node.counters.told.load(), node.drops()), (1, vec![]));
    tokio::time::timeout(Duration::from_secs(5), bell.rung()).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_same_is_told_once_a_second() {
    let (mut node, _bell) = Node::listening();

    for ms in (0..3000).step_by(10) {
        assert!(node.cable.send(&arp(POD, [10, 32, 0, 1])));
        node.worker.turn(Tick::from_millis(ms)).unwrap();
    }

    assert_eq!((node.told().len(), node.counters.untold.load()), (3, 0));
}

#[tokio::test]
async fn a_flood_is_told_as_far_as_there_is_room_and_the_rest_is_counted() {
    let (mut node, _bell) = Node::listening();

    for n in 0..1000u16 {
        let [a, b] = n.to_be_bytes();
        node.emit(&arp(POD, [10, 32, a, b]));
        node.sent();
    }

    assert_eq!(node.told().len(), 64);
    assert_eq!((node.counters.told.load(), node.counters.untold.load()), (64, 1000 - 64));
}

#[tokio::test]
async fn what_was_not_told_is_told_when_it_is_said_again() {
    let (mut node, _bell) = Node::listening();
    (0..70).for_each(|n| node.emit(&arp(POD, [10, 32, 1, n])));
    node.told();

    assert!(node.cable.send(&arp(POD, [10, 32, 1, 69])));
    node.worker.turn(Tick::from_millis(500)).unwrap();

    assert_eq!(node.told(), [(POD, Some([10, 32, 1, 69].into()))]);
}

#[tokio::test]
async fn a_pinned_station_that_speaks_here_is_told_of_and_stays_where_it_is() {
    let (mut node, _bell) = Node::listening();
    node.table.pin(FAR, Port::Peer(B), T0);

    (0..10).for_each(|_| node.emit(&udp(FAR, Mac::BROADCAST, b"I am here now")));

    assert_eq!(node.told(), [(FAR, None)]);
    assert_eq!(node.table.lookup(FAR), Some(Port::Peer(B)));
    assert_eq!(node.sent().len(), 30);
}

#[tokio::test]
async fn a_pinned_station_that_speaks_behind_another_peer_is_not_told_of() {
    let (mut node, _bell) = Node::listening();
    node.table.pin(FAR, Port::Peer(B), T0);

    node.hear_from(A, &udp(FAR, POD, b"I am elsewhere"));
    node.emit(&udp(POD, Mac::BROADCAST, b"hello"));

    assert_eq!(node.told(), []);
}

#[tokio::test]
async fn what_peers_say_of_addresses_is_not_told() {
    let (mut node, _bell) = Node::listening();

    node.hear_from(A, &arp(FAR, [10, 32, 0, 2]));

    assert_eq!((node.told(), node.emitted().len()), (vec![], 1));
}

#[test]
fn where_nobody_listens_nothing_is_told() {
    let mut node = Node::new();
    node.table.pin(FAR, Port::Peer(B), T0);

    node.emit(&arp(FAR, [10, 32, 0, 2]));

    assert_eq!((node.told(), node.counters.untold.load()), (vec![], 0));
}

impl Node {
    /// One whose control listens.
    fn listening() -> (Self, Bell) {
        let bell = Bell::new().unwrap();
        let Self { worker, cable, net, table, cell, counters } = Self::new();
        let worker = worker.with_ringer(bell.ringer());
        (Self { worker, cable, net, table, cell, counters }, bell)
    }

    /// What control was told since the last call: stations, and their addresses if that was it.
    fn told(&self) -> Vec<(Mac, Option<IpAddr>)> {
        let punts = self.worker.punts();
        let all = std::iter::from_fn(|| punts.take());
        all.map(|told| match told {
            Told::Address { mac, ip } => (mac, Some(ip)),
            Told::Sighting { mac } => (mac, None),
            Told::Probe(_) => panic!("a probe"),
        })
        .collect()
    }
}

/// A gratuitous ARP request.
fn arp(mac: Mac, ip: [u8; 4]) -> Vec<u8> {
    let request = [0, 1, 0x08, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &mac.0, &[0x08, 0x06], &request, &mac.0, &ip, &[0; 6], &ip].concat()
}
