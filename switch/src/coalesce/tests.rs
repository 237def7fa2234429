use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::{Segments, VNET_HEADER_LEN};

/// What was written, and with which offload.
type Written = Vec<(Vec<u8>, Offload)>;

fn coalesce(frames: &[Vec<u8>]) -> Written {
    let mut coalescer = Coalescer::new();
    let mut written = Vec::new();
    let write = |coalescer: &mut Coalescer, written: &mut Written| {
        for bundle in coalescer.finish() {
            let mut frame = bundle.header().to_vec();
            for place in bundle.parts() {
                frame.extend(&frames[place.slot][place.start..place.end]);
            }
            let header: [u8; VNET_HEADER_LEN] =
                bundle.offload().emit(bundle.layers(), bundle.header_len());
            let layers = Layers::parse(&frame);
            assert_eq!(Offload::parse(&header, &frame, layers.as_ref()), Ok(bundle.offload()));
            written.push((frame, bundle.offload()));
        }
        coalescer.clear();
    };
    for (slot, frame) in frames.iter().enumerate() {
        let place = Place { slot, start: 0, end: frame.len() };
        let layers = Layers::parse(frame);
        if layers.is_some_and(|layers| coalescer.append(frame, place, layers, false)) {
            continue;
        }
        if !coalescer.push(frame, place, layers, true) {
            write(&mut coalescer, &mut written);
            assert!(coalescer.push(frame, place, layers, true));
        }
    }
    write(&mut coalescer, &mut written);
    written
}

/// What a kernel would make of what was written.
fn segmented(written: &Written) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (frame, offload) in written {
        if offload.segment == 0 {
            frames.push(frame.clone());
            continue;
        }
        let layers = Layers::parse(frame).unwrap();
        let mut segments = Segments::new(frame, layers, offload.segment.into()).unwrap();
        let mut scratch = [0; HEADER_MAX];
        while let Some((header, payload)) = segments.next(&mut scratch) {
            frames.push([header, payload].concat());
        }
    }
    frames
}

#[derive(Clone, Debug)]
struct Flow {
    v6: bool,
    udp: bool,
    tags: bool,
    port: u16,
    options: bool,
    dont_fragment: bool,
}

impl Flow {
    fn tcp() -> Self {
        let (v6, udp, tags, options) = (false, false, false, false);
        Self { v6, udp, tags, port: 1000, options, dont_fragment: true }
    }

    /// A packet of the flow; `flags` is a set of TCP's.
    fn packet(&self, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = match (self.v6, self.tags) {
            (true, true) => ethernet.single_vlan(5.try_into().unwrap()).ipv6([1; 16], [2; 16], 64),
            (true, false) => ethernet.ipv6([1; 16], [2; 16], 64),
            (false, true) => {
                ethernet.single_vlan(5.try_into().unwrap()).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            }
            (false, false) => ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        };
        if self.udp {
            ip.udp(self.port, 2).write(&mut frame, payload).unwrap();
        } else {
            let tcp = ip.tcp(self.port, 2, sequence, 500);
            let options: &[u8] =
                if self.options { &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] } else { &[] };
            let mut tcp = tcp.options_raw(options).unwrap().ack(77);
            if flags & PSH != 0 {
                tcp = tcp.psh()
            }
            if flags & 0x01 != 0 {
                tcp = tcp.fin()
            }
            if flags & 0x02 != 0 {
                tcp = tcp.syn()
            }
            if flags & 0x04 != 0 {
                tcp = tcp.rst()
            }
            tcp.write(&mut frame, payload).unwrap();
        }
        self.fix_fragment_bit(&mut frame);
        frame
    }

    fn fix_fragment_bit(&self, frame: &mut [u8]) {
        let Some(layers) = Layers::parse(frame).filter(|_| !self.v6) else { return };
        let at = layers.network;
        frame[at + 6] = if self.dont_fragment { 0x40 } else { 0 };
        put(frame, at + 10, [0, 0]);
        let checksum = Sum::default().add(&frame[at..layers.transport]).finish();
        put(frame, at + 10, checksum);
    }

    /// The packets that a super-frame of it is cut into.
    fn cut(&self, payload: &[u8], size: usize, sequence: u32, flags: u8) -> Vec<Vec<u8>> {
        let whole = self.packet(sequence, flags, payload);
        let layers = Layers::parse(&whole).unwrap();
        let mut segments = Segments::new(&whole, layers, size).unwrap();
        let (mut scratch, mut frames) = ([0; HEADER_MAX], Vec::new());
        while let Some((header, payload)) = segments.next(&mut scratch) {
            frames.push([header, payload].concat());
        }
        frames
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    any::<(bool, bool, bool, bool, bool)>().prop_map(|(v6, udp, tags, options, dont_fragment)| {
        Flow { v6, udp, tags, port: 1000, options, dont_fragment }
    })
}

proptest! {
    #[test]
    fn what_was_cut_is_joined_again(
        flow in flow(),
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
        size in 200..3000usize,
        sequence: u32,
        flags in prop::sample::select(vec![0, PSH]),
    ) {
        let whole = flow.packet(sequence, flags, &payload);
        let frames = flow.cut(&payload, size, sequence, flags);

        let written = coalesce(&frames);

        prop_assert_eq!(written.len(), 1);
        let (joined, offload) = &written[0];
        prop_assert_eq!(joined.len(), whole.len());
        prop_assert_eq!(usize::from(offload.segment), if frames.len() > 1 { size } else { 0 });
        prop_assert_eq!(segmented(&written), frames);
    }

    /// Whatever comes: segmentation gives back every packet, unchanged, in its flow's order.
    #[test]
    fn nothing_is_lost_changed_or_reordered_within_a_flow(
        packets in prop::collection::vec((0..4u16, 0..6u32, 0..4u8, 0..5usize, any::<bool>()), 1..300),
        flow in flow(),
    ) {
        let mut sequences = [0u32; 4];
        let frames: Vec<_> = packets.into_iter().map(|(n, jump, kind, size, damage)| {
            let flow = Flow { port: 1000 + n, ..flow.clone() };
            let payload = vec![u8::try_from(n).unwrap(); [0, 1, 100, 100, 1400][size]];
            let flags = [0, 0, PSH, 0x01][usize::from(kind)];
            let sequence = &mut sequences[usize::from(n)];
            *sequence = sequence.wrapping_add(if jump == 0 { 7 } else { 0 });
            let mut frame = flow.packet(*sequence, flags, &payload);
            *sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
            if damage && jump == 1 {
                let last = frame.len() - 1;
                frame[last] ^= 1;
            }
            frame
        }).collect();

        let given_back = segmented(&coalesce(&frames));

        let key = |frame: &Vec<u8>| frame[if flow.v6 { 54 } else { 34 } + if flow.tags { 4 } else { 0 } + 1];
        prop_assert_eq!(given_back.len(), frames.len());
        for n in 0..4u16 {
            let of = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let port = (1000 + n).to_be_bytes()[1];
                frames.iter().filter(|it| key(it) == port).cloned().collect()
            };
            // UDP and TCP without DF count identification up; with DF it does not matter.
            let blind = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                frames.into_iter().map(|frame| without_id(frame, &flow)).collect()
            };
            prop_assert_eq!(blind(of(&given_back)), blind(of(&frames)));
        }
    }
}

fn without_id(mut frame: Vec<u8>, flow: &Flow) -> Vec<u8> {
    if !flow.v6 && flow.dont_fragment {
        let at = if flow.tags { 18 } else { 14 };
        frame[at + 4..at + 6].fill(0);
        frame[at + 10..at + 12].fill(0);
    }
    frame
}

#[test]
fn a_gap_an_acknowledgement_or_another_flag_keeps_packets_apart() {
    let flow = Flow::tcp();
    let first = flow.packet(0, 0, &[1; 100]);
    let apart = |second: Vec<u8>| coalesce(&[first.clone(), second]).len() == 2;

    assert!(!apart(flow.packet(100, 0, &[1; 100])), "in order");
    assert!(!apart(flow.packet(100, PSH, &[1; 100])), "PSH closes, and comes along");
    assert!(apart(flow.packet(101, 0, &[1; 100])), "a gap");
    assert!(apart(flow.packet(0, 0, &[1; 100])), "a repetition");
    assert!(apart(flow.packet(100, 0, &[1; 101])), "a larger one");
    assert!(apart(flow.packet(100, 0x01, &[1; 100])), "FIN");
    assert!(apart(flow.packet(100, 0x02, &[1; 100])), "SYN");
    assert!(apart(flow.packet(100, 0x04, &[1; 100])), "RST");
    let mut other = flow.packet(100, 0, &[1; 100]);
    other[15] = 0x10;
    assert!(apart(other), "another TOS");
}

#[test]
fn a_shorter_packet_and_psh_close() {
    let flow = Flow::tcp();
    let frames = [
        flow.packet(0, 0, &[1; 100]),
        flow.packet(100, 0, &[1; 50]),
        flow.packet(150, 0, &[1; 50]),
        flow.packet(200, PSH, &[1; 50]),
        flow.packet(250, 0, &[1; 50]),
    ];

    let sizes: Vec<_> = coalesce(&frames).iter().map(|(it, _)| it.len() - 54).collect();

    assert_eq!(sizes, [150, 100, 50]);
}

#[test]
fn a_packet_with_a_wrong_checksum_goes_on_alone() {
    let flow = Flow::tcp();
    let mut bad = flow.packet(100, 0, &[1; 100]);
    bad[80] ^= 1;
    let frames = [flow.packet(0, 0, &[1; 100]), bad.clone(), flow.packet(200, 0, &[1; 100])];

    let written = coalesce(&frames);

    assert_eq!(written.len(), 3);
    assert_eq!(written[1], (bad, Offload::NONE));
}

#[test]
fn datagrams_without_a_checksum_and_fragments_go_on_alone() {
    let flow = Flow { udp: true, ..Flow::tcp() };
    let mut bare = flow.packet(0, 0, &[1; 100]);
    bare[40..42].fill(0);
    assert_eq!(coalesce(&[bare.clone(), bare]).len(), 2);

    let mut fragment = flow.packet(0, 0, &[1; 100]);
    fragment[20] = 0x20;
    assert_eq!(coalesce(&[fragment.clone(), fragment]).len(), 2);
}

#[test]
fn a_super_frame_ends_at_64_kilobytes() {
    let flow = Flow::tcp();
    let frames: Vec<_> = (0..100).map(|n| flow.packet(n * 1400, 0, &[1; 1400])).collect();

    let written = coalesce(&frames);

    assert!(written.iter().all(|(frame, _)| frame.len() <= 14 + 65_535));
    assert_eq!(written.len(), 3);
}
