//! A socket that refuses: what can be sent is sent, and the rest is counted, packet by packet.

use super::offload::{cut, vnet};
use super::*;

/// Frames for a peer that wait together, as one run.
fn emit_run(node: &mut Node, frames: &[Vec<u8>]) {
    frames.iter().for_each(|frame| assert!(node.cable.send(frame)));
    node.worker.turn(T0).unwrap();
}

fn frames(n: u8) -> Vec<Vec<u8>> {
    (0..n).map(|mark| udp(POD, FAR, &[mark; 64])).collect()
}

#[test]
fn small_frames_whose_run_is_refused_are_sent_and_the_next_run_is_not_tried() {
    for errno in [libc::EIO, libc::EINVAL, libc::EMSGSIZE] {
        let mut node = Node::new();
        node.know(FAR, Port::Peer(B));
        node.net.refuse(errno, 1, usize::MAX);

        for _ in 0..2 {
            emit_run(&mut node, &frames(40));
            assert_eq!(node.sent_frames(), frames(40));
        }

        assert_eq!(node.counters.udp_fallbacks.load(), 2);
        assert_eq!(node.refusals(), [errno; 6], "asked with 40, 20, 10, 5, 3 and 2, once each");
        assert_eq!(node.drops(), []);
    }
}

#[test]
fn a_super_frame_whose_run_is_refused_is_sent_in_pieces() {
    let mut node = Node::offloading();
    node.know(FAR, Port::Peer(B));
    node.net.refuse(libc::EIO, 10, usize::MAX);
    let frame = tcp(POD, FAR, &[7; 40_000]);

    node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

    assert_eq!(node.sent_frames(), cut(&frame, 1000));
    assert_eq!(node.counters.peer(B).unwrap().sent.frames.load(), 40);
    assert_eq!(node.counters.udp_fallbacks.load(), 1);
    assert_eq!(node.drops(), []);
}

#[test]
fn without_memory_for_a_run_its_packets_are_sent_and_runs_go_on() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.refuse(libc::ENOBUFS, 20, 1);

    emit_run(&mut node, &frames(40));
    emit_run(&mut node, &frames(40));

    assert_eq!(node.sent_frames(), [frames(40), frames(40)].concat());
    assert_eq!((node.refusals(), node.drops()), (vec![libc::ENOBUFS], vec![]));
}

#[test]
fn without_any_memory_each_packet_is_counted_as_dropped() {
    let mut node = Node::offloading();
    node.know(FAR, Port::Peer(B));
    node.net.refuse(libc::ENOBUFS, 0, usize::MAX);
    let frame = tcp(POD, FAR, &[7; 40_000]);

    emit_run(&mut node, &frames(30));
    node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::UnderlayFull, 70)]);
    assert_eq!(node.counters.peer(B).unwrap().sent.frames.load(), 0);
    assert_eq!(node.refusals(), [libc::ENOBUFS; 4], "each run, and its first datagram once more");
}

#[test]
fn a_narrow_path_is_no_reason_to_do_without_runs() {
    for errno in [libc::EMSGSIZE, libc::EINVAL] {
        let mut node = Node::new();
        node.know(FAR, Port::Peer(B));
        node.net.set_mtu(1400);
        // What a run is refused with before Linux 6.14; a single datagram gets EMSGSIZE.
        node.net.refuse(errno, 1, 1);
        let large: Vec<_> = (0..10).map(|mark| udp(POD, FAR, &[mark; 1400])).collect();

        emit_run(&mut node, &large);
        let told = node.emitted().len();
        emit_run(&mut node, &frames(40));

        assert_eq!((told, node.drops()), (10, vec![(DropReason::TooBig, 10)]));
        assert_eq!(node.sent_frames(), frames(40));
        assert_eq!((node.refusals(), node.counters.udp_fallbacks.load()), (vec![errno], 0));
    }
}

impl Node {
    /// The errnos that were counted.
    fn refusals(&self) -> Vec<i32> {
        let counts = &self.counters.udp_refusals;
        let counts = [
            (libc::EIO, &counts.eio),
            (libc::EINVAL, &counts.einval),
            (libc::EMSGSIZE, &counts.emsgsize),
            (libc::ENOBUFS, &counts.enobufs),
        ];
        let times = |count: &crate::Counter| usize::try_from(count.load()).unwrap();
        counts.iter().flat_map(|(errno, count)| vec![*errno; times(count)]).collect()
    }
}
