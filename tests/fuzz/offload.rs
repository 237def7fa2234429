//! Packets that are joined, and frames of which a TAP says what is left to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use switch::{
    Bundle, Coalescer, Counters, Datagram, DropReason, FlowHash, Forwarder, Frame, HEADER_MAX,
    IpVersion, Layers, Limits, MacTable, MemoryNet, MemoryTap, Mtu, Offload, Peer, Place, Plan,
    PlanCell, Segments, Tick, VNET_HEADER_LEN, Vni, Worker, vxlan,
};

use super::{sum, transport_sum};

const TCP: u8 = 6;

/// Octets of an event that makes a packet.
const EVENT: usize = 6;
/// An event of this kind has a frame of its own.
const RAW: u8 = 0xff;

/// What is written for a sequence of packets stands for just these, those of a flow in order.
///
/// The input is a sequence of events. One is `0xff`, a length in two octets, and a frame; any other
/// is a packet of one of 16 flows: which, what is wrong with it, its flags, length and content.
pub fn coalesce(octets: &[u8]) {
    let mut flows = [Flow { sequence: u32::MAX - 2000, id: 0xfff0 }; 16];
    let mut script = octets;
    let mut frames: Vec<(Vec<u8>, bool)> = Vec::new();
    while let Some((event, rest)) = script.split_first_chunk::<EVENT>() {
        if let [RAW, a, b, ..] = *event {
            let rest = &script[3..];
            let len = usize::from(u16::from_be_bytes([a, b])).min(rest.len());
            frames.push((rest[..len].to_vec(), false));
            script = &rest[len..];
            continue;
        }
        let flow = event[0] & 0x0f;
        frames.push((flows[usize::from(flow)].packet(*event), event[1] & 0x80 != 0));
        script = rest;
    }

    let written = written(&frames);
    let frames: Vec<_> = frames.into_iter().map(|(frame, _)| frame).collect();
    assert_eq!(by_flow(&written), by_flow(&frames));
}

#[derive(Clone, Copy)]
struct Flow {
    sequence: u32,
    id: u16,
}

impl Flow {
    /// The flow's next packet, or one that is not quite that.
    fn packet(&mut self, [flow, wrong, flags, len0, len1, content]: [u8; EVENT]) -> Vec<u8> {
        let payload = usize::from(u16::from_be_bytes([len0, len1])) % 1461;
        let (v6, udp, tagged, df) = (flow & 1 != 0, flow & 2 != 0, flow & 4 != 0, flow & 8 != 0);
        let wrong = |bit: u8| wrong & 1 << bit != 0;
        self.sequence = self.sequence.wrapping_add(u32::from(wrong(0)));
        self.id = self.id.wrapping_add(u16::from(wrong(1)));

        let mut transport = vec![0x10, u8::from(udp), 0x20, flow];
        if udp {
            let len = u16::try_from(8 + payload).unwrap().wrapping_sub(u16::from(wrong(2)));
            transport.extend(len.to_be_bytes());
            transport.extend([0, 0]);
        } else {
            let options: &[u8] = if wrong(3) { &[1, 1, 1, 0] } else { &[] };
            // As most packets of a stream: an acknowledgement, and sometimes a flag beside.
            let flags = if flags & 0x80 != 0 { flags } else { 0x10 | flags & 0x08 };
            let words = 5 + u8::try_from(options.len() / 4).unwrap();
            transport.extend(self.sequence.to_be_bytes());
            transport.extend([0, 0, 0, u8::from(wrong(2)), words << 4, flags, 1, 0, 0, 0, 0, 0]);
            transport.extend(options);
        }
        let field = if udp { 6 } else { 16 };
        transport.extend((0..payload).map(|n| content.wrapping_add(n.to_le_bytes()[0])));

        let mut frame = [2; 12].to_vec();
        if tagged {
            frame.extend([0x81, 0, 0, 7]);
        }
        let protocol = if udp { 17 } else { TCP };
        let ttl = 64 - u8::from(wrong(4));
        frame.extend(self.network((v6, df, ttl), protocol, transport.len()));
        frame.extend(transport);
        let layers = Layers::parse(&frame).unwrap();
        let checksum = !transport_sum(&frame, &layers);
        let checksum = if udp && checksum == 0 { 0xffff } else { checksum };
        let at = layers.transport + field;
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        // An octet that was changed on the way, in a packet that nobody has verified.
        if wrong(5) && !wrong(7) {
            *frame.last_mut().unwrap() ^= 1;
        }
        if wrong(6) {
            frame.extend([0xee; 5]);
        }
        self.sequence = self.sequence.wrapping_add(u32::try_from(payload).unwrap());
        self.id = self.id.wrapping_add(1);
        frame
    }

    fn network(&self, (v6, df, ttl): (bool, bool, u8), protocol: u8, len: usize) -> Vec<u8> {
        let len = u16::try_from(len).unwrap();
        if v6 {
            let [a, b] = len.to_be_bytes();
            let fixed = [0x86, 0xdd, 0x60, 0, 0, 0, a, b, protocol, ttl];
            return [&fixed[..], &[0xfd; 16], &[0xfc; 16]].concat();
        }
        let ([a, b], [c, d]) = ((20 + len).to_be_bytes(), self.id.to_be_bytes());
        let flags = if df { 0x40 } else { 0 };
        let fixed = [0x45, 0, a, b, c, d, flags, 0, ttl, protocol, 0, 0];
        let mut header = [&fixed[..], &[10, 0, 0, 1, 10, 0, 0, 2]].concat();
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        [&[0x08, 0x00][..], &header].concat()
    }
}

/// The packets that what is written for these stands for.
fn written(frames: &[(Vec<u8>, bool)]) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new();
    let mut written = Vec::new();
    let flush = |coalescer: &mut Coalescer, written: &mut Vec<Vec<u8>>| {
        coalescer.finish().for_each(|bundle| written.extend(packets_of(bundle, frames)));
        coalescer.clear();
    };
    for (slot, (frame, verified)) in frames.iter().enumerate() {
        let place = Place { slot, start: 0, end: frame.len() };
        let layers = Layers::parse(frame);
        if layers.is_some_and(|layers| coalescer.append(frame, place, layers, *verified)) {
            continue;
        }
        if !coalescer.push(frame, place, layers, true) {
            flush(&mut coalescer, &mut written);
            assert!(coalescer.push(frame, place, layers, true));
        }
    }
    flush(&mut coalescer, &mut written);
    written
}

fn packets_of(bundle: &Bundle, frames: &[(Vec<u8>, bool)]) -> Vec<Vec<u8>> {
    let mut frame = bundle.header().to_vec();
    for place in bundle.parts() {
        frame.extend(&frames[place.slot].0[place.start..place.end]);
    }
    let offload = bundle.offload();
    let vnet = offload.emit(bundle.layers(), bundle.header_len());
    let layers = Layers::parse(&frame);
    assert_eq!(Offload::parse(&vnet, &frame, layers.as_ref()), Ok(offload));
    let packets = segmented(&frame, offload);
    assert_eq!(packets.len(), bundle.packets());
    packets
}

/// The packets a frame stands for.
fn segmented(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let layers = Layers::parse(frame);
    let segments = layers.and_then(|it| Segments::new(frame, it, offload.segment.into()));
    let Some(mut segments) = segments else { return vec![frame.to_vec()] };
    let mut scratch = [0; HEADER_MAX];
    let mut packets = Vec::new();
    while let Some((header, payload)) = segments.next(&mut scratch) {
        packets.push([header, payload].concat());
    }
    packets
}

/// The packets of each flow in order; without what is behind them, and what DF says does not
/// matter: the identification, and the checksum over it.
fn by_flow(frames: &[Vec<u8>]) -> BTreeMap<(usize, Vec<u8>), Vec<Vec<u8>>> {
    let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for frame in frames {
        let mut frame = frame.clone();
        let layers = Layers::parse(&frame);
        let hash = FlowHash::of(&frame, layers.as_ref()).pick(1 << 20);
        let addresses = frame.get(..12).unwrap_or_default().to_vec();
        if let Some(layers) = layers {
            frame.truncate(layers.end);
            if layers.version == IpVersion::V4 && layers.dont_fragment {
                frame[layers.network + 4..layers.network + 6].fill(0);
                frame[layers.network + 10..layers.network + 12].fill(0);
            }
        }
        flows.entry((hash, addresses)).or_default().push(frame);
    }
    flows
}

const HOME: [u8; 4] = [10, 0, 0, 1];
const PEERS: [u8; 2] = [2, 3];
const MTU: u16 = 1450;
/// Frames are no longer than this.
const FRAME_MAX: usize = 20_000;

/// Whatever a TAP says of a frame, it is sent as what it stands for, or dropped once; and whatever
/// comes in a run, the TAP is told the truth about what it is given.
///
/// The input is the size of a run's datagrams (two octets), a virtio header, and a frame, which
/// gets zeroes behind it up to the length of headers that the former tells.
pub fn vnet(octets: &[u8]) {
    let Some(([a, b], rest)) = octets.split_first_chunk() else { return };
    let Some((header, frame)) = rest.split_first_chunk::<VNET_HEADER_LEN>() else { return };
    let stride = usize::from(u16::from_be_bytes([*a, *b]));
    let len = usize::from(u16::from_ne_bytes([header[2], header[3]])) % FRAME_MAX;
    let mut frame = frame.to_vec();
    frame.truncate(FRAME_MAX);
    frame.resize(frame.len().max(len), 0);

    let offload = Offload::parse(header, &frame, Layers::parse(&frame).as_ref());
    if offload.is_ok_and(|it| it.checksum) {
        let (start, field) = Offload::partial(header);
        assert!(start <= field && field + 2 <= frame.len());
    }
    let mut bench = Bench::new();
    bench.emit(header, &frame, offload.ok());
    bench.hear(&frame, stride);
}

struct Bench {
    worker: Worker<MemoryTap, switch::MemoryUnderlay>,
    cable: switch::Cable,
    net: MemoryNet,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Self {
        let (tap, cable) = MemoryTap::offloading_pair();
        let net = MemoryNet::new(1500);
        let mtu = Mtu::new(MTU).unwrap();
        let peers = PEERS.map(|n| Peer { addr: ([10, 0, 0, n], 6784).into(), mtu });
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, peers)));
        let counters = Arc::new(Counters::new(2));
        let forwarder = Forwarder::new(Arc::new(MacTable::new(Limits::default())));
        let underlay = net.attach(HOME.into());
        let worker = Worker::new(tap, underlay, forwarder, cell, Arc::clone(&counters));
        Self { worker, cable, net, counters }
    }

    /// A pod sends a frame to a station that nobody knows.
    fn emit(&mut self, header: &[u8; VNET_HEADER_LEN], frame: &[u8], offload: Option<Offload>) {
        assert!(self.cable.send_with(header, frame));
        assert_eq!(self.worker.turn(Tick::from_millis(1)).unwrap().reads, 1);

        let sent: Vec<_> = std::iter::from_fn(|| self.net.take()).collect();
        let dropped = self.dropped();
        let Ok(parsed) = Frame::parse(frame) else {
            return assert_eq!((sent.len(), dropped), (0, 1));
        };
        let Some(offload) = offload else {
            assert_eq!(self.counters.dropped(DropReason::BadOffload), 1);
            return assert_eq!((sent.len(), dropped), (0, 1));
        };
        let nowhere = parsed.is_probe() || parsed.src() == parsed.dst();
        if nowhere || !parsed.src().is_station() {
            return assert_eq!((sent.len(), dropped), (0, 1));
        }
        let packets = segmented(frame, offload);
        let fits = packets.iter().all(|it| it.len() <= 14 + usize::from(MTU));
        for peer in PEERS {
            let to_it = |it: &&Datagram| it.to == std::net::IpAddr::from([10, 0, 0, peer]);
            let inner = |it: &Datagram| vxlan::parse(&it.payload).unwrap().1.to_vec();
            let frames: Vec<_> = sent.iter().filter(to_it).map(inner).collect();
            if offload.segment > 0 && fits {
                assert_eq!(frames, packets);
            } else if fits {
                assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [frame.len()]);
            }
        }
        assert_eq!(dropped, self.counters.dropped(DropReason::TooBig));
        assert!(!fits || dropped == 0);
        let mut answer = Vec::new();
        while self.cable.recv(&mut answer) {}
    }

    /// A peer sends a frame, or many in a run.
    fn hear(&mut self, frame: &[u8], stride: usize) {
        let before = self.dropped();
        let payload = [&vxlan::header(Vni::DEFAULT)[..], frame].concat();
        let from = [10, 0, 0, PEERS[0]].into();

        self.net.deliver_run(Datagram { from, to: HOME.into(), payload }, stride);
        assert_eq!(self.worker.turn(Tick::from_millis(2)).unwrap().reads, 1);

        assert_eq!(self.net.take(), None);
        let mut emitted = 0;
        let mut given = Vec::new();
        while let Some(header) = self.cable.recv_with(&mut given) {
            emitted += 1;
            assert!(Offload::parse(&header, &given, Layers::parse(&given).as_ref()).is_ok());
        }
        assert!(emitted + self.counters.punted.load() + self.dropped() - before > 0);
    }

    fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).sum()
    }
}
