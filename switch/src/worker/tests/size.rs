//! Packets that the path to a peer does not carry in one piece.

use super::*;

#[test]
fn an_ipv4_packet_with_df_that_is_too_big_is_answered() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(POD, FAR, &[0; 2000]));

    assert_eq!(mtu_told(&node.answer()), 1450);
    assert!(node.sent().is_empty());
    assert_eq!(node.counters.icmp_sent.load(), 1);
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn an_ipv6_packet_that_is_too_big_is_answered() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp_v6(POD, FAR, &[0; 2000]));

    assert_eq!(mtu_told(&node.answer()), 1450);
    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_packet_without_df_that_is_too_big_is_carried_in_fragments() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let frame = may_fragment(udp(POD, FAR, &[7; 3000]));

    node.emit(&frame);

    let fragments = node.sent_frames();
    let payload: Vec<_> = fragments.iter().flat_map(|fragment| &fragment[34..]).copied().collect();
    assert_eq!((fragments.len(), &payload[..]), (3, &frame[34..]));
    assert_eq!(node.counters.fragmented.load(), 1);
    assert_eq!(node.drops(), []);
}

#[test]
fn what_is_too_big_and_no_ip_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&[&FAR.0[..], &POD.0, &[0x88, 0xb6], &[0; 2000]].concat());

    assert!(node.sent().is_empty() && node.emitted().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_header_that_padding_makes_too_big_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let mut frame = may_fragment(udp(POD, FAR, b""));
    frame.truncate(34);
    frame[16..18].copy_from_slice(&20u16.to_be_bytes());
    frame.resize(2000, 0);

    node.emit(&frame);

    assert!(node.sent().is_empty() && node.emitted().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_frame_too_big_for_one_peer_still_reaches_the_others() {
    let mut node = Node::new();
    let mut peers = [A, B, C].map(peer);
    peers[1].mtu = mtu(1000);
    node.cell.install(Plan::new(Vni::DEFAULT, peers));

    node.emit(&udp(POD, FAR, &[0; 1200]));

    assert_eq!(node.sent_to(), [addr_of(A), addr_of(C)]);
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn answers_are_limited_and_drops_are_counted_all_the_same() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    for _ in 0..150 {
        node.emit(&udp(POD, FAR, &[0; 2000]));
    }

    let counters = &node.counters;
    assert_eq!((counters.icmp_sent.load(), counters.icmp_limited.load()), (100, 50));
    assert_eq!(node.emitted().len(), 100);
    assert_eq!(node.drops(), [(DropReason::TooBig, 150)]);
}

#[test]
fn a_packet_the_socket_refuses_is_answered_with_what_the_path_carries() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);

    node.emit(&udp(POD, FAR, &[0; 1400]));

    assert_eq!(mtu_told(&node.answer()), 1350);
    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_packet_the_socket_refuses_is_fragmented_to_what_the_path_carries() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);

    node.emit(&may_fragment(udp(POD, FAR, &[0; 1400])));

    let sizes: Vec<_> = node.sent_frames().iter().map(Vec::len).collect();
    assert_eq!(sizes, [14 + 20 + 1328, 14 + 20 + 1408 - 1328]);
    assert_eq!(node.drops(), []);
}

#[test]
fn a_path_found_narrow_is_believed_for_a_while_or_until_the_next_plan() {
    for new_plan in [false, true] {
        let mut node = Node::new();
        node.know(FAR, Port::Peer(B));
        node.net.set_mtu(1400);
        node.emit(&udp(POD, FAR, &[0; 1400]));
        node.emitted();
        node.net.set_mtu(1500);

        node.emit(&udp(POD, FAR, &[0; 1400]));
        assert_eq!(mtu_told(&node.answer()), 1350);

        let mut now = T0;
        if new_plan {
            node.cell.install(Plan::new(Vni::DEFAULT, [A, B, C].map(peer)));
        } else {
            now = T0 + NARROW;
        }
        assert!(node.cable.send(&udp(POD, FAR, &[0; 1400])));
        node.worker.turn(now).unwrap();
        assert_eq!(node.sent_to(), [addr_of(B)]);
    }
}

#[test]
fn nobody_answers_in_the_name_of_a_station_that_is_not_known() {
    let mut node = Node::new();

    node.emit(&udp(POD, FAR, &[0; 1600]));

    assert_eq!(node.emitted(), Vec::<Vec<u8>>::new());
    assert_eq!(node.drops(), [(DropReason::TooBig, 3)]);
}

#[test]
fn one_narrow_path_does_not_narrow_the_others() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);
    node.emit(&udp(POD, FAR, &[0; 1400]));
    node.emitted();
    node.net.set_mtu(1500);

    node.know(Mac([2, 0, 0, 0, 0, 3]), Port::Peer(A));
    node.emit(&udp(POD, Mac([2, 0, 0, 0, 0, 3]), &[0; 1400]));

    assert_eq!(node.sent_to(), [addr_of(A)]);
}
