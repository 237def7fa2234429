//! Frames that are passed on from peer to peer.

use proptest::prelude::*;

use super::sleeve::{OWN, Sleeved, datagram_by, header};
use super::*;
use crate::Path;

#[test]
fn a_frame_for_another_is_passed_on_with_one_hop_less_and_nothing_else_changed() {
    let paths = [Path::User, Path::Sleeve, Path::Relay(B)];
    for (from, destination, to) in [(A, 2, B), (B, 1, A), (A, 3, B)] {
        let mut node = Sleeved::new(paths);
        let frame = udp(POD, FAR, b"hello");
        let source = if from == A { 1 } else { 3 };

        node.hear_sleeve(from, header(source, destination, 4), &frame);

        let passed = (addr_of(to), header(source, destination, 3), frame.clone());
        assert_eq!(node.sent_by_sleeve(), [passed]);
        assert!(node.emitted().is_empty() && node.sent().is_empty());
        let relayed = &node.counters.relayed;
        assert_eq!((relayed.frames.load(), relayed.octets.load()), (1, frame.len() as u64));
        assert_eq!((node.table.lookup(POD), node.drops()), (None, vec![]));
    }
}

#[test]
fn a_group_is_passed_on_to_the_one_peer_its_label_says() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);

    node.hear_sleeve(A, header(1, 2, 4), &udp(POD, Mac::BROADCAST, b"all"));

    let sent: Vec<_> = node.sent_by_sleeve().into_iter().map(|(to, ..)| to).collect();
    assert_eq!(sent, [addr_of(B)]);
    assert!(node.emitted().is_empty() && node.sent().is_empty());
}

#[test]
fn what_may_not_be_passed_on_is_counted_under_its_own_reason() {
    let cases = [
        ([Path::Sleeve; 3], A, (1, 9, 4), DropReason::RelayUnknownLabel),
        ([Path::Sleeve; 3], A, (1, 2, 1), DropReason::RelayHopLimit),
        ([Path::Sleeve; 3], A, (1, 2, 0), DropReason::RelayHopLimit),
        ([Path::Sleeve; 3], A, (3, 1, 4), DropReason::RelayLoop),
        ([Path::Sleeve, Path::Relay(A), Path::User], A, (1, 2, 4), DropReason::RelayLoop),
        ([Path::Sleeve; 3], A, (OWN, 2, 4), DropReason::RelayLoop),
        ([Path::Sleeve, Path::Down, Path::User], A, (1, 2, 4), DropReason::PathDown),
        ([Path::Sleeve, Path::Relay(C), Path::Down], A, (1, 2, 4), DropReason::PathDown),
    ];
    for (paths, from, (source, destination, hops), reason) in cases {
        let mut node = Sleeved::new(paths);

        node.hear_sleeve(from, header(source, destination, hops), &udp(POD, FAR, b"hello"));

        assert_eq!(node.drops(), [(reason, 1)]);
        assert!(node.sent_by_sleeve().is_empty() && node.emitted().is_empty());
        assert_eq!(node.counters.relayed.frames.load(), 0);
    }
}

#[test]
fn nothing_is_passed_back_to_another_address_of_who_sent_it() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);
    node.install_alias(B, [10, 1, 0, 2].into());

    let looping = datagram_by(header(1, 2, 4), &udp(POD, FAR, b"hello"));
    node.wire.deliver(datagram([10, 1, 0, 2].into(), looping));
    node.worker.turn(T0).unwrap();

    assert_eq!(node.drops(), [(DropReason::RelayLoop, 1)]);
    assert!(node.sent_by_sleeve().is_empty());
}

#[test]
fn a_run_is_passed_on_as_one_run_and_in_pieces_where_the_socket_refuses_that() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);
    let frames: Vec<_> = (0..40).map(|n| udp(POD, FAR, &[n; 1000])).collect();
    let run: Vec<_> = frames.iter().flat_map(|it| datagram_by(header(1, 2, 4), it)).collect();
    // More than a run of 40 would meet it.
    node.wire.refuse(libc::EIO, 39, 1);

    for refused in [1, 1] {
        node.wire.deliver_run(datagram(addr_of(A), run.clone()), 8 + frames[0].len());
        node.worker.turn(T0).unwrap();

        let sent: Vec<_> = node.sent_by_sleeve().into_iter().map(|(.., frame)| frame).collect();
        assert_eq!(sent, frames);
        assert_eq!(node.counters.udp_refusals.eio.load(), refused, "it was one run of 40");
    }
    assert_eq!(node.counters.relayed.frames.load(), 80);
}

#[test]
fn what_the_next_link_does_not_carry_is_dropped_and_counted() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);
    node.wire.set_mtu(1000);

    node.hear_sleeve(A, header(1, 2, 4), &udp(POD, FAR, &[0; 1200]));

    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
    assert!(node.emitted().is_empty(), "its sender is told by its own node");
}

proptest! {
    /// Whatever comes in a run: each datagram is delivered, passed on once, or dropped and counted
    /// once, and for each destination in the order it came.
    #[test]
    fn a_run_for_several_is_taken_apart_without_loss(
        run in prop::collection::vec((0..5u32, 0..5u8), 1..60),
        shorter in 0..60usize,
    ) {
        let mut node = Sleeved::new([Path::Sleeve, Path::Sleeve, Path::Relay(B)]);
        let mut expected = Vec::new();
        let mut lost = 0;
        let mut octets = Vec::new();
        for (n, (destination, hops)) in run.iter().enumerate() {
            let mut frame = udp(POD, FAR, &[u8::try_from(n).unwrap(); 100]);
            if n + 1 == run.len() {
                frame.truncate(frame.len() - shorter);
            }
            octets.extend(datagram_by(header(1, *destination, *hops), &frame));
            match destination {
                2 | 3 if *hops > 1 => expected.push((addr_of(B), header(1, *destination, hops - 1), frame)),
                _ => lost += 1,
            }
        }

        let size = 8 + udp(POD, FAR, &[0; 100]).len();
        node.wire.deliver_run(datagram(addr_of(A), octets), size);
        node.worker.turn(T0).unwrap();

        let by = |label: u32, all: &[(IpAddr, crate::sleeve::Header, Vec<u8>)]| -> Vec<_> {
            all.iter().filter(|(_, it, _)| it.destination.raw() == label).cloned().collect()
        };
        let sent = node.sent_by_sleeve();
        prop_assert_eq!(by(2, &sent), by(2, &expected));
        prop_assert_eq!(by(3, &sent), by(3, &expected));
        prop_assert_eq!(sent.len(), expected.len());
        prop_assert_eq!(node.drops().iter().map(|(_, n)| n).sum::<u64>(), lost);
        prop_assert_eq!(node.counters.relayed.frames.load(), expected.len() as u64);
    }
}
