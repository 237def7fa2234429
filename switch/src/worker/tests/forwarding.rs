//! Where frames go, and what is counted on the way.

use super::*;

#[test]
fn a_frame_for_a_known_station_goes_to_its_peer_alone() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(POD, FAR, b"hello"));

    assert_eq!(node.sent_to(), [addr_of(B)]);
}

#[test]
fn what_is_flooded_goes_to_every_peer_once() {
    for dst in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), FAR] {
        let mut node = Node::new();

        node.emit(&udp(POD, dst, b"anybody"));

        assert_eq!(node.sent_to(), [addr_of(A), addr_of(B), addr_of(C)], "{dst}");
    }
}

#[test]
fn a_datagram_is_the_frame_behind_the_header_of_the_plan() {
    let mut node = Node::new();
    let frame = udp(POD, Mac::BROADCAST, b"hello");

    node.emit(&frame);

    for datagram in node.sent() {
        assert_eq!(vxlan::parse(&datagram.payload), Ok((Vni::DEFAULT, &frame[..])));
    }
}

#[test]
fn a_peers_frame_goes_to_the_tap_as_it_is_and_to_no_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    for dst in [POD, FAR, Mac::BROADCAST] {
        let plain = udp(Mac([2, 0, 0, 0, 0, 9]), dst, b"hello");
        let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();

        for frame in [plain, tagged] {
            node.hear_from(A, &frame);

            assert_eq!(node.emitted(), [frame]);
            assert!(node.sent().is_empty());
        }
    }
}

#[test]
fn a_frame_between_stations_of_this_node_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Local);

    node.emit(&udp(POD, FAR, b"the bridge has delivered it"));

    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::LocalDestination, 1)]);
}

#[test]
fn a_station_that_speaks_here_is_no_longer_behind_its_old_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(FAR, Mac::BROADCAST, b"I am here now"));
    node.sent();
    node.emit(&udp(POD, FAR, b"the bridge has delivered it"));

    assert!(node.sent().is_empty());
}

#[test]
fn peers_in_slots_beyond_the_counters_are_served_and_not_counted() {
    let mut node = Node::with_counters(MemoryTap::pair(), 1);
    node.know(FAR, Port::Peer(C));

    node.emit(&udp(POD, FAR, b"to C"));
    node.hear_from(C, &udp(FAR, POD, b"from C"));
    node.hear_from(A, &udp(Mac([2, 0, 0, 0, 0, 3]), POD, b"from A"));

    assert_eq!((node.sent_to(), node.emitted().len()), (vec![addr_of(C)], 2));
    assert_eq!(node.counters.peer(A).unwrap().received.frames.load(), 1);
    assert!(node.counters.peer(C).is_none() && node.drops().is_empty());
}

#[test]
fn frames_and_octets_are_counted_by_direction_and_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let frame = udp(POD, FAR, b"hello");

    node.emit(&frame);
    node.hear_from(B, &udp(FAR, POD, b"hello"));

    let read = |traffic: &crate::Traffic| (traffic.frames.load(), traffic.octets.load());
    let once = (1, frame.len() as u64);
    let peer = node.counters.peer(B).unwrap();
    assert_eq!((read(&node.counters.from_tap), read(&node.counters.to_tap)), (once, once));
    assert_eq!((read(&peer.sent), read(&peer.received)), (once, once));
    assert_eq!(peer.heard(), Some(T0));
    assert_eq!(read(&node.counters.peer(A).unwrap().sent), (0, 0));
}

#[test]
fn a_probe_from_a_peer_goes_to_control_and_nowhere_else() {
    let mut node = Node::new();
    let probe = [&POD.0[..], &FAR.0, &[0x88, 0xb5], b"are you there"].concat();
    let punts = node.worker.punts();

    node.hear_from(B, &probe);

    let punt = probe_in(&punts);
    assert_eq!((punt.from, punt.octets()), (B, &probe[..]));
    assert!(node.emitted().is_empty() && node.sent().is_empty());
    assert_eq!(node.table.lookup(FAR), None);

    (0..100).for_each(|_| node.hear_from(B, &probe));
    assert_eq!(node.counters.punted.load(), 1 + 64);
    assert_eq!(node.drops(), [(DropReason::PuntFull, 36)]);
}

#[tokio::test]
async fn a_probe_from_a_peer_wakes_control() {
    let bell = crate::Bell::new().unwrap();
    let Node { worker, net, .. } = Node::new();
    let mut worker = worker.with_ringer(bell.ringer());
    let probe = [&POD.0[..], &FAR.0, &[0x88, 0xb5], b"are you there"].concat();

    net.deliver(datagram(addr_of(A), datagram_of(&probe)));
    worker.turn(T0).unwrap();

    tokio::time::timeout(Duration::from_secs(5), bell.rung()).await.unwrap().unwrap();
    assert_eq!(probe_in(&worker.punts()).octets(), probe);
}

#[test]
fn a_probe_from_a_pod_goes_nowhere() {
    let mut node = Node::new();

    node.emit(&[&Mac::BROADCAST.0[..], &POD.0, &[0x88, 0xb5], b"I am a node"].concat());

    assert!(node.sent().is_empty() && node.worker.punts().take().is_none());
    assert_eq!(node.drops(), [(DropReason::Probe, 1)]);
}

#[test]
fn a_plan_installed_later_is_used_from_the_next_turn_on() {
    let mut node = Node::new();
    node.cell.install(Plan::new(Vni::new(7).unwrap(), [peer(B)]));

    node.emit(&udp(POD, FAR, b"hello"));
    node.hear(addr_of(A), datagram_of(&udp(FAR, POD, b"no longer a peer")));
    node.hear(addr_of(B), datagram_of(&udp(FAR, POD, b"the old overlay")));

    let sent = node.sent();
    assert_eq!(sent.iter().map(|it| it.to).collect::<Vec<_>>(), [addr_of(B)]);
    assert_eq!(vxlan::parse(&sent[0].payload).unwrap().0, Vni::new(7).unwrap());
    assert_eq!(node.drops(), [(DropReason::UnknownVtep, 1), (DropReason::WrongVni, 1)]);
}

#[test]
fn a_turn_moves_at_most_a_batch_each_way() {
    let mut node = Node::new();
    for _ in 0..=TAP_BATCH {
        assert!(node.cable.send(&udp(POD, FAR, b"")));
    }
    for _ in 0..=UNDERLAY_BATCH {
        node.net.deliver(datagram(addr_of(A), datagram_of(&udp(FAR, POD, b""))));
    }

    let turns = [(); 3].map(|()| node.worker.turn(T0).unwrap().reads);

    assert_eq!(turns, [TAP_BATCH + UNDERLAY_BATCH, 2, 0]);
    assert_eq!(node.emitted().len(), UNDERLAY_BATCH + 1);
}
