//! A TAP with offloads: what it says is believed only as far as the frame bears it out, and what it
//! is given stands for what came.

use super::*;
use crate::{HEADER_MAX, Offload, Segments};

pub(super) type Vnet = [u8; VNET_HEADER_LEN];

const FLAGS: usize = 0;
const KIND: usize = 1;
const HEADER: usize = 2;
const SIZE: usize = 4;
const START: usize = 6;
const FIELD: usize = 8;

#[test]
fn a_super_frame_is_sent_as_the_packets_it_stands_for() {
    for frame in
        [tcp(POD, FAR, &[7; 5000]), udp(POD, FAR, &[7; 5000]), udp_v6(POD, FAR, &[7; 5000])]
    {
        let mut node = Node::offloading();
        node.know(FAR, Port::Peer(B));

        node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

        assert_eq!(node.sent_frames(), cut(&frame, 1000));
        assert_eq!(node.counters.from_tap.frames.load(), 5);
        assert_eq!(node.counters.peer(B).unwrap().sent.frames.load(), 5);
        assert_eq!(node.drops(), []);
    }
}

#[test]
fn a_super_frame_is_flooded_to_every_peer_whole() {
    let mut node = Node::offloading();
    let frame = udp(POD, Mac::BROADCAST, &[7; 3000]);

    node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

    let sent = node.sent();
    for id in [A, B, C] {
        let to_it = sent.iter().filter(|it| it.to == addr_of(id));
        let frames: Vec<_> =
            to_it.map(|it| vxlan::parse(&it.payload).unwrap().1.to_vec()).collect();
        assert_eq!(frames, cut(&frame, 1000));
    }
}

#[test]
fn a_checksum_that_the_tap_left_half_done_is_finished() {
    for good in [tcp(POD, FAR, b"hello"), udp(POD, FAR, b"hello"), udp_v6(POD, FAR, b"hello")] {
        let mut node = Node::offloading();
        node.know(FAR, Port::Peer(B));

        node.emit_with(&vnet(&good, 0), &half_done(&good));

        assert_eq!(node.sent_frames(), [good]);
    }
}

#[test]
fn frames_and_super_frames_of_a_batch_are_sent_in_order() {
    let mut node = Node::offloading();
    node.know(FAR, Port::Peer(B));
    let mut expected = Vec::new();
    for n in 0..20 {
        let frame = udp(POD, FAR, &[n; 2500]);
        let small = udp(POD, FAR, &[n; 100]);
        assert!(node.cable.send_with(&vnet(&frame, 1000), &half_done(&frame)));
        assert!(node.cable.send(&small));
        expected.extend(cut(&frame, 1000));
        expected.push(small);
    }

    node.worker.turn(T0).unwrap();

    assert_eq!(node.sent_frames(), expected);
}

#[test]
fn every_lie_of_the_tap_is_dropped_and_counted() {
    let cases: [(&str, usize, u16); 13] = [
        ("no size", SIZE, 0),
        ("a size larger than the payload", SIZE, 5001),
        ("the largest size", SIZE, 0xffff),
        ("a start in the middle of the header", START, 36),
        ("a start at the network header", START, 14),
        ("no start", START, 0),
        ("a start behind the frame", START, 0xffff),
        ("a field elsewhere", FIELD, 4),
        ("a field behind the frame", FIELD, 0xffff),
        ("a field just behind the frame", FIELD, 5000),
        ("no field", FIELD, 0),
        ("a finished checksum", FLAGS, u16::from_ne_bytes([0, 1])),
        ("a checksum said to be valid", FLAGS, u16::from_ne_bytes([2, 1])),
    ];
    let frame = tcp(POD, FAR, &[7; 5000]);
    for (lie, at, value) in cases {
        let mut header = vnet(&frame, 1000);
        header[at..at + 2].copy_from_slice(&value.to_ne_bytes());

        assert_dropped(lie, &header, &half_done(&frame));
    }
}

#[test]
fn a_kind_that_is_not_the_frames_is_dropped_and_counted() {
    let frames = [
        ("tcp", half_done(&tcp(POD, FAR, &[7; 5000])), 1),
        ("udp", half_done(&udp(POD, FAR, &[7; 5000])), 5),
        ("udp over ipv6", half_done(&udp_v6(POD, FAR, &[7; 5000])), 5),
    ];
    for (name, frame, right) in frames {
        for kind in (1..=0x7f).filter(|kind| *kind != right) {
            let mut header = vnet(&frame, 1000);
            header[KIND] = kind;

            assert_dropped(&format!("{name} as {kind}"), &header, &frame);
        }
    }
}

#[test]
fn a_super_frame_that_is_none_is_dropped_and_counted() {
    let tcp = tcp(POD, FAR, &[7; 5000]);
    let honest = vnet(&tcp, 1000);
    let change = |at: usize, value: u8| {
        let mut frame = tcp.clone();
        frame[at] = value;
        frame
    };
    for (name, frame) in [
        ("arp", change(13, 0x06)),
        ("a fragment", change(20, 0x20)),
        ("another protocol", change(23, 132)),
        ("a header without beginning", change(46, 0x40)),
        ("an ip header without end", change(14, 0x4f)),
        ("a version of its own", change(14, 0x95)),
        ("a packet longer than its frame", change(16, 0xff)),
        ("cut off", tcp[..54].to_vec()),
        ("cut off in its header", tcp[..40].to_vec()),
        ("only a frame", tcp[..14].to_vec()),
        ("a header longer than the packet", {
            let mut frame = super::tcp(POD, FAR, &[7; 30]);
            frame[46] = 0xf0;
            frame
        }),
        ("without payload", super::tcp(POD, FAR, &[])),
    ] {
        assert_dropped(name, &honest, &frame);
    }
}

#[test]
fn a_checksum_beyond_the_frame_is_dropped_and_counted() {
    let frame = udp(POD, FAR, &[7; 100]);
    for (start, field) in [(0xffff, 0), (0, 0xffff), (0xffff, 0xffff), (142, 0), (34, 107)] {
        let mut header = [0; VNET_HEADER_LEN];
        header[FLAGS] = 1;
        header[START..FIELD].copy_from_slice(&u16::to_ne_bytes(start));
        header[FIELD..].copy_from_slice(&u16::to_ne_bytes(field));

        assert_dropped("beyond", &header, &frame);
    }
}

#[test]
fn the_length_of_headers_is_not_believed() {
    let frame = tcp(POD, FAR, &[7; 5000]);
    for len in [0, 1, 14, 53, 55, 5054, 0xffff] {
        let mut node = Node::offloading();
        node.know(FAR, Port::Peer(B));
        let mut header = vnet(&frame, 1000);
        header[HEADER..SIZE].copy_from_slice(&u16::to_ne_bytes(len));

        node.emit_with(&header, &half_done(&frame));

        assert_eq!(node.sent_frames(), cut(&frame, 1000), "{len}");
    }
}

#[test]
fn a_super_frame_whose_packets_are_too_big_is_answered_once() {
    let mut node = Node::offloading();
    node.know(FAR, Port::Peer(B));
    let frame = tcp(POD, FAR, &[7; 20_000]);

    node.emit_with(&vnet(&frame, 1460), &half_done(&frame));

    assert_eq!(mtu_told(&node.answer()), 1450);
    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 14)], "each packet of 1 460 octets");
}

#[test]
fn each_packet_of_a_super_frame_that_is_dropped_is_counted() {
    let frame = tcp(POD, FAR, &[7; 5000]);
    for (behind, reason) in
        [(Some(Port::Local), DropReason::LocalDestination), (None, DropReason::NoPath)]
    {
        let mut node = Node::offloading();
        match behind {
            Some(port) => node.know(FAR, port),
            None => node.cell.install(Plan::new(Vni::DEFAULT, [])),
        }

        node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

        assert_eq!(node.drops(), [(reason, 5)]);
    }
}

#[test]
fn packets_of_a_flow_come_out_as_one_that_stands_for_them() {
    for frame in
        [tcp(FAR, POD, &[7; 9000]), udp(FAR, POD, &[7; 9000]), udp_v6(FAR, POD, &[7; 9000])]
    {
        let mut node = Node::offloading();
        let packets = cut(&frame, 1000);

        node.hear_all_from(A, &packets);

        let [(header, joined)] = &node.emitted_with()[..] else { panic!("not one") };
        assert_eq!(*header, vnet(&frame, 1000));
        assert_eq!(joined, &half_done(&frame));
        assert_eq!(node.counters.joined.load(), 9);
        assert_eq!(node.counters.to_tap.frames.load(), 9);
    }
}

#[test]
fn a_run_of_datagrams_comes_out_as_one_that_stands_for_them() {
    for frame in
        [tcp(FAR, POD, &[7; 8700]), udp(FAR, POD, &[7; 8700]), udp_v6(FAR, POD, &[7; 8700])]
    {
        let mut node = Node::offloading();
        let packets = cut(&frame, 1000);
        let run: Vec<_> = packets.iter().flat_map(|packet| datagram_of(packet)).collect();

        node.net.deliver_run(datagram(addr_of(A), run), datagram_of(&packets[0]).len());
        node.worker.turn(T0).unwrap();

        let [(header, joined)] = &node.emitted_with()[..] else { panic!("not one") };
        assert_eq!((*header, joined), (vnet(&frame, 1000), &half_done(&frame)));
        assert_eq!(node.counters.peer(A).unwrap().received.frames.load(), 9);
    }
}

#[test]
fn a_packet_that_is_alone_comes_out_as_it_came() {
    let mut node = Node::offloading();
    let frame = tcp(FAR, POD, &[7; 1000]);

    node.hear_from(A, &frame);

    assert_eq!(node.emitted_with(), [([0; VNET_HEADER_LEN], frame)]);
}

#[test]
fn datagrams_that_a_kernel_sent_in_one_stay_apart_however_small() {
    for offloads in [true, false] {
        for (payload, size) in [(600, 64), (3000, 64), (9000, 1000), (100, 99)] {
            for frame in [udp(FAR, POD, &vec![7; payload]), udp_v6(FAR, POD, &vec![7; payload])] {
                let mut node = if offloads { Node::offloading() } else { Node::new() };

                let whole = datagram(addr_of(A), datagram_of(&half_done(&frame)));
                node.net.deliver_run(whole, size);
                node.worker.turn(T0).unwrap();

                let packets: Vec<_> = node.emitted_with().iter().flat_map(segmented).collect();
                assert_eq!(packets, cut(&frame, size), "{payload} octets in pieces of {size}");
                assert_eq!(node.counters.segmented.load(), 1);
            }
        }
    }
}

#[test]
fn a_super_frame_of_a_peer_goes_to_the_tap_whole() {
    let mut node = Node::offloading();
    let frame = tcp(FAR, POD, &[7; 30_000]);

    node.hear_from(A, &half_done(&frame));

    // Of 1450 octets 20 are IP's and 20 TCP's.
    assert_eq!(node.emitted_with(), [(vnet(&frame, 1410), half_done(&frame))]);
    assert_eq!(node.counters.segmented.load(), 1);
}

#[test]
fn a_tap_that_refuses_gets_the_packets_one_by_one_from_then_on() {
    for frame in
        [tcp(FAR, POD, &[7; 5000]), udp(FAR, POD, &[7; 5000]), udp_v6(FAR, POD, &[7; 5000])]
    {
        let mut node = Node::offloading();
        node.cable.refuse_super_frames();
        let packets = cut(&frame, 1000);

        for _ in 0..3 {
            node.hear_all_from(A, &packets);

            assert_eq!(node.emitted(), packets);
        }
        assert_eq!(node.counters.tap_fallbacks.load(), 1, "asked once, and never again");
        assert_eq!(node.counters.to_tap.frames.load(), 15);
        assert_eq!((node.counters.joined.load(), node.drops()), (0, vec![]));
    }
}

#[test]
fn a_tap_that_refuses_gets_a_peers_super_frame_in_pieces() {
    let mut node = Node::offloading();
    node.cable.refuse_super_frames();
    let frame = tcp(FAR, POD, &[7; 30_000]);

    for _ in 0..3 {
        node.hear_from(A, &half_done(&frame));

        assert_eq!(node.emitted(), cut(&frame, 1410));
    }
    assert_eq!(node.counters.tap_fallbacks.load(), 1);
    assert_eq!(node.drops(), []);
}

#[test]
fn a_tap_that_refuses_one_protocol_is_still_given_the_other() {
    let mut node = Node::offloading();
    node.cable.refuse_super_frames();
    let (stream, datagrams) = (tcp(FAR, POD, &[7; 5000]), udp(FAR, POD, &[7; 5000]));

    for _ in 0..2 {
        node.hear_all_from(A, &cut(&stream, 1000));
        node.hear_all_from(A, &cut(&datagrams, 1000));
    }

    assert_eq!(node.counters.tap_fallbacks.load(), 2, "once for each");
    assert_eq!(node.emitted().len(), 20);
}

fn assert_dropped(lie: &str, header: &Vnet, frame: &[u8]) {
    let mut node = Node::offloading();

    node.emit_with(header, frame);

    assert_eq!(node.drops(), [(DropReason::BadOffload, 1)], "{lie}");
    assert!(node.sent().is_empty() && node.emitted().is_empty(), "{lie}");
    assert_eq!(node.table.lookup(POD), None, "{lie}: nothing is learned from it");
}

/// What a TAP says of a super-frame with packets of `size`; 0: of a frame with half a checksum.
pub(super) fn vnet(frame: &[u8], size: u16) -> Vnet {
    let layers = Layers::parse(frame).unwrap();
    let (kind, header, field): (u8, usize, u16) = match (layers.protocol, layers.version) {
        (6, IpVersion::V4) => (1, 20, 16),
        (6, IpVersion::V6) => (4, 20, 16),
        _ => (5, 8, 6),
    };
    let native = |value: usize| u16::try_from(value).unwrap().to_ne_bytes();
    let kind = if size > 0 { kind } else { 0 };
    let fields = [
        [1, kind],
        native(layers.transport + header),
        size.to_ne_bytes(),
        native(layers.transport),
        field.to_ne_bytes(),
    ];
    fields.concat().try_into().unwrap()
}

/// The complete packets that a super-frame stands for.
pub(super) fn cut(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let layers = Layers::parse(frame).unwrap();
    let mut segments = Segments::new(frame, layers, size).unwrap();
    let mut scratch = [0; HEADER_MAX];
    let mut packets = Vec::new();
    while let Some((header, payload)) = segments.next(&mut scratch) {
        packets.push([header, payload].concat());
    }
    packets
}

/// What the kernel makes of what a TAP was given.
fn segmented((header, frame): &(Vnet, Vec<u8>)) -> Vec<Vec<u8>> {
    match Offload::parse(header, frame, Layers::parse(frame).as_ref()).unwrap() {
        Offload { segment: 0, .. } => vec![frame.clone()],
        Offload { segment, .. } => cut(frame, segment.into()),
    }
}

impl Node {
    pub(super) fn offloading() -> Self {
        Self::with_tap(MemoryTap::offloading_pair())
    }

    pub(super) fn emit_with(&mut self, header: &Vnet, frame: &[u8]) {
        assert!(self.cable.send_with(header, frame));
        self.worker.turn(T0).unwrap();
    }

    /// A peer's frames arrive before the worker's next turn.
    fn hear_all_from(&mut self, id: PeerId, frames: &[Vec<u8>]) {
        for frame in frames {
            self.net.deliver(datagram(addr_of(id), datagram_of(frame)));
        }
        self.worker.turn(T0).unwrap();
    }

    fn emitted_with(&self) -> Vec<(Vnet, Vec<u8>)> {
        let mut frame = Vec::new();
        let mut next = || self.cable.recv_with(&mut frame).map(|header| (header, frame.clone()));
        std::iter::from_fn(&mut next).collect()
    }
}
