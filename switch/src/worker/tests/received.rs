//! What is wrong with what comes, and what can be put right.

use super::*;

#[test]
fn each_bad_datagram_is_counted_under_its_own_reason() {
    let datagram = |frame: &[u8]| [&[8, 0, 0, 0, 0, 0x1a, 0x80, 0], frame].concat();
    let cases: [(Vec<u8>, DropReason); 9] = [
        (vec![], DropReason::ShortVxlan),
        (vec![8; 7], DropReason::ShortVxlan),
        (vec![0; 60], DropReason::NoVni),
        (vec![0xf7; 60], DropReason::NoVni),
        (vec![8; 60], DropReason::WrongVni),
        (datagram(&[]), DropReason::Runt),
        (datagram(&[2; 13]), DropReason::Runt),
        (datagram(&udp(Mac::BROADCAST, POD, b"")), DropReason::BadSource),
        (datagram(&[2; 65_400]), DropReason::Oversize),
    ];
    for (payload, reason) in cases {
        let mut node = Node::new();

        node.hear(addr_of(A), payload);

        assert_eq!(node.drops(), [(reason, 1)]);
        assert!(node.emitted().is_empty() && node.sent().is_empty(), "{reason}");
    }
}

#[test]
fn a_datagram_of_no_peer_is_dropped_and_teaches_nothing() {
    let mut node = Node::new();

    node.hear([10, 0, 0, 99].into(), datagram_of(&udp(FAR, POD, b"let me in")));

    assert_eq!(node.drops(), [(DropReason::UnknownVtep, 1)]);
    assert!(node.emitted().is_empty());
    assert_eq!(node.table.lookup(FAR), None);
}

#[test]
fn each_bad_frame_of_a_pod_is_counted_under_its_own_reason() {
    let mut node = Node::new();

    node.emit(&[2; 13]);
    node.emit(&udp(Mac::ZERO, POD, b""));
    node.cell.install(Plan::new(Vni::DEFAULT, []));
    node.emit(&udp(POD, FAR, b""));

    let reasons = [DropReason::Runt, DropReason::BadSource, DropReason::NoPath];
    assert_eq!(node.drops(), reasons.map(|reason| (reason, 1)));
}

#[test]
fn a_super_frame_of_a_peer_is_cut_to_what_its_path_carries() {
    let mut node = Node::new();
    let payload: Vec<_> = (0..30_000u32).map(|n| n.to_le_bytes()[0]).collect();

    node.hear_from(A, &tcp(FAR, POD, &payload));

    let segments = node.emitted();
    let carried: Vec<_> = segments.iter().flat_map(|it| &it[54..]).copied().collect();
    assert_eq!((segments.len(), carried), (22, payload));
    assert!(segments.iter().all(|segment| segment.len() <= 14 + 1450));
    assert_eq!(node.counters.segmented.load(), 1);
    assert_eq!(node.counters.to_tap.frames.load(), 22);
}

#[test]
fn a_checksum_a_peer_left_half_done_is_finished() {
    for good in [udp(FAR, POD, b"hello"), tcp(FAR, POD, b"hello"), udp_v6(FAR, POD, b"hello")] {
        let mut node = Node::new();

        node.hear_from(A, &half_done(&good));

        assert_eq!(node.emitted(), [good]);
        assert_eq!(node.counters.checksums.load(), 1);
    }
}
