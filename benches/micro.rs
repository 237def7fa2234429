//! The parts of the frame path, one by one, with what they allocate: nothing, so that a line of
//! allocations under a part is a defect of it. Only a station that is new allocates, now and then:
//! the order of eviction is a tree.
//!
//! ```text
//! cargo bench -p weft-benches --bench micro -- table
//! ```

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use etherparse::PacketBuilder;
use switch::{
    Buf, Coalescer, FlowHash, Forwarder, Frame, HEADER_MAX, Layers, Limits, Mac, MacTable, Mtu,
    Peer, PeerId, Place, Plan, Port, Segments, Tick, Vni, finish_partial, vxlan,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PEER: PeerId = PeerId::new(0);
const NOW: Tick = Tick::from_millis(1000);
/// Payload of a small request, of a full packet, of a super-frame.
const SMALL: usize = 64;
const FULL: usize = 1398;
const SUPER: usize = 64_000;
/// Packets that are joined at a time, and flows that they may be of.
const PACKETS: u32 = 44;
const FLOWS: [u16; 2] = [1, 11];
/// Stations of a large table: more than any cache holds.
const MANY: u64 = 1 << 20;
/// Of the pod that sends, and of the one that is sent to.
const FROM: u64 = 1;
const TO: u64 = 2;

fn main() {
    divan::main();
}

#[divan::bench_group]
mod table {
    use super::*;

    #[divan::bench(args = [64, 4096, 65_536])]
    fn lookup(bencher: Bencher<'_, '_>, stations: u64) {
        let table = table(stations);
        let mut next = 0;
        bencher.bench_local(|| {
            next = (next + 1) % stations;
            table.lookup(black_box(Mac::local(next)))
        });
    }

    #[divan::bench(args = [64, 4096, 65_536])]
    fn learn_known(bencher: Bencher<'_, '_>, stations: u64) {
        let table = table(stations);
        let mut next = 0;
        bencher.bench_local(|| {
            next = (next + 1) % stations;
            table.learn(black_box(Mac::local(next)), Port::Peer(PEER), NOW)
        });
    }

    /// A table that is full takes a station by losing another one.
    #[divan::bench(args = [64, 4096, 65_536])]
    fn learn_new_when_full(bencher: Bencher<'_, '_>, stations: u64) {
        let table = table(stations);
        let mut next = stations;
        bencher.bench_local(|| {
            next += 1;
            table.learn(black_box(Mac::local(next)), Port::Peer(PEER), NOW)
        });
    }
}

/// One table of a million stations under several workers at once, each on its own walk through it.
#[divan::bench_group(threads = [1, 2, 3, 4], sample_count = 20, sample_size = 20_000)]
mod shared_table {
    use super::*;

    static TABLE: LazyLock<MacTable> = LazyLock::new(|| table(MANY));
    /// Its stations move: the other one's stay.
    static RESTLESS: LazyLock<MacTable> = LazyLock::new(|| table(MANY));

    static WALKS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = Cell::new(WALKS.fetch_add(1, Relaxed) << 40);
    }

    #[divan::bench]
    fn lookup(bencher: Bencher<'_, '_>) {
        let table = &*TABLE;
        bencher.counter(ItemsCount::new(1_u64)).bench(|| table.lookup(black_box(some_station())));
    }

    #[divan::bench]
    fn learn_known(bencher: Bencher<'_, '_>) {
        let table = &*TABLE;
        bencher
            .counter(ItemsCount::new(1_u64))
            .bench(|| table.learn(black_box(some_station()), Port::Peer(PEER), NOW));
    }

    /// As frames do; one of 64 is of a station that is elsewhere now.
    #[divan::bench]
    fn learn_and_lookup_while_some_move(bencher: Bencher<'_, '_>) {
        let moved = Port::Peer(PeerId::new(1));
        let table = &*RESTLESS;
        bencher.counter(ItemsCount::new(1_u64)).bench(|| {
            let station = some_station();
            let moves = NEXT.get().is_multiple_of(64);
            let port = if moves { moved } else { Port::Peer(PEER) };
            table.learn(black_box(station), port, NOW);
            table.lookup(black_box(some_station()))
        });
    }

    /// Another one each time, in no order.
    fn some_station() -> Mac {
        let next = NEXT.get().wrapping_add(1);
        NEXT.set(next);
        Mac::local(next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44)
    }
}

#[divan::bench_group]
mod forward {
    use super::*;

    #[divan::bench]
    fn from_pod_to_peer(bencher: Bencher<'_, '_>) {
        let (mut forwarder, plan, octets) = (forwarder(), plan(), frame(SMALL));
        bencher.bench_local(|| {
            let frame = Frame::parse(black_box(&octets)).ok()?;
            Some(forwarder.forward(&plan, Port::Local, frame, NOW))
        });
    }

    #[divan::bench]
    fn from_peer_to_pod(bencher: Bencher<'_, '_>) {
        let (mut forwarder, plan, octets) = (forwarder(), plan(), frame(SMALL));
        // From the far pod's side: what it sends comes from the peer.
        let back = reversed(octets);
        bencher.bench_local(|| {
            let frame = Frame::parse(black_box(&back)).ok()?;
            Some(forwarder.forward(&plan, Port::Peer(PEER), frame, NOW))
        });
    }
}

#[divan::bench(args = [SMALL, FULL, SUPER])]
fn encap(bencher: Bencher<'_, '_>, payload: usize) {
    let frame = frame(payload);
    let mut buf = Buf::new();
    buf.fill(&frame);
    bencher.bench_local(|| {
        // As after a read: the frame behind the headroom.
        buf.set_len(frame.len());
        vxlan::encap(black_box(&mut buf), Vni::DEFAULT);
    });
}

#[divan::bench(args = [SMALL, FULL])]
fn encap_and_decap(bencher: Bencher<'_, '_>, payload: usize) {
    let mut buf = Buf::new();
    buf.fill(&frame(payload));
    bencher.bench_local(|| {
        vxlan::encap(black_box(&mut buf), Vni::DEFAULT);
        vxlan::decap(&mut buf)
    });
}

#[divan::bench]
fn layers_and_flow_hash(bencher: Bencher<'_, '_>) {
    let octets = frame(FULL);
    bencher.bench(|| {
        let octets = black_box(&octets);
        FlowHash::of(octets, Layers::parse(octets).as_ref())
    });
}

#[divan::bench(args = [SMALL, FULL, SUPER])]
fn checksum_finish(bencher: Bencher<'_, '_>, payload: usize) {
    let octets = frame_left_half_done(payload);
    let Some(layers) = Layers::parse(&octets) else { return };
    // Finished once, it is finished: each round needs the octets as they were.
    let mut finished = octets.clone();
    bencher.counter(BytesCount::new(payload)).bench_local(|| {
        let field = layers.transport + 16..layers.transport + 18;
        if let (Some(to), Some(from)) = (finished.get_mut(field.clone()), octets.get(field)) {
            to.copy_from_slice(from);
        }
        assert!(finish_partial(black_box(&mut finished), &layers));
    });
}

/// A super-frame into packets, TCP as the MTU says and UDP into small datagrams.
#[divan::bench_group]
mod segment {
    use super::*;

    #[divan::bench]
    fn tcp(bencher: Bencher<'_, '_>) {
        let octets = frame(SUPER);
        let (Some(layers), Some(mtu)) = (Layers::parse(&octets), Mtu::new(1450)) else { return };
        bencher
            .counter(BytesCount::new(SUPER))
            .bench(|| Some(count(Segments::fitting(black_box(&octets), layers, mtu)?)));
    }

    #[divan::bench]
    fn udp(bencher: Bencher<'_, '_>) {
        let octets = datagram(SMALL * 64);
        let Some(layers) = Layers::parse(&octets) else { return };
        bencher
            .counter(ItemsCount::new(64_u64))
            .bench(|| Some(count(Segments::new(black_box(&octets), layers, SMALL)?)));
    }

    fn count(mut segments: Segments<'_>) -> usize {
        let (mut scratch, mut count) = ([0; HEADER_MAX], 0);
        while let Some(segment) = segments.next(&mut scratch) {
            black_box(segment);
            count += 1;
        }
        count
    }
}

/// A batch of packets into super-frames, as they come off the socket.
#[divan::bench_group]
mod coalesce {
    use super::*;

    #[divan::bench(args = FLOWS)]
    fn checked(bencher: Bencher<'_, '_>, flows: u16) {
        join(bencher, flows, false);
    }

    /// The kernel has checked the outer checksum, which covers the inner one.
    #[divan::bench(args = FLOWS)]
    fn verified(bencher: Bencher<'_, '_>, flows: u16) {
        join(bencher, flows, true);
    }

    fn join(bencher: Bencher<'_, '_>, flows: u16, verified: bool) {
        let packets = packets(flows);
        let mut coalescer = Coalescer::new();
        bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
            coalescer.clear();
            for (slot, packet) in packets.iter().enumerate() {
                let packet = black_box(packet);
                let place = Place { slot, start: 0, end: packet.len() };
                let layers = Layers::parse(packet);
                let joined = layers.is_some_and(|it| coalescer.append(packet, place, it, verified));
                if !joined {
                    coalescer.push(packet, place, layers, true);
                }
            }
            let bundles = coalescer.finish().count();
            assert_eq!(bundles, usize::from(flows), "a bundle for each flow");
        });
    }
}

/// A table that is full of stations behind the peer.
fn table(stations: u64) -> MacTable {
    let limit = usize::try_from(stations).unwrap_or(usize::MAX);
    let table = MacTable::new(Limits { stations: limit, ..Limits::default() });
    for station in 0..stations {
        table.learn(Mac::local(station), Port::Peer(PEER), NOW);
    }
    table
}

/// Knows both pods.
fn forwarder() -> Forwarder {
    let table = MacTable::new(Limits::default());
    table.learn(Mac::local(FROM), Port::Local, NOW);
    table.learn(Mac::local(TO), Port::Peer(PEER), NOW);
    Forwarder::new(Arc::new(table))
}

fn plan() -> Plan {
    let peer = |mtu| Peer { addr: ([10, 99, 0, 2], 6784).into(), mtu };
    Plan::new(Vni::DEFAULT, Mtu::new(1450).map(peer))
}

/// Full packets of TCP streams, without a gap, in turns of four.
fn packets(flows: u16) -> Vec<Vec<u8>> {
    let whole = |flow: u16, n: u32| {
        let sequence = n * u32::try_from(FULL).unwrap_or_default();
        packet(40_000 + flow, sequence, FULL)
    };
    let mut sent = vec![0; usize::from(flows)];
    let turns = (0..PACKETS / 4).flat_map(|turn| [turn; 4]);
    let flow_of = |turn: u32| u16::try_from(turn % u32::from(flows)).unwrap_or_default();
    let mut packets = Vec::new();
    for flow in turns.map(flow_of) {
        if let Some(sent) = sent.get_mut(usize::from(flow)) {
            packets.push(whole(flow, *sent));
            *sent += 1;
        }
    }
    packets
}

/// A UDP packet between the pods.
fn datagram(payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(Mac::local(FROM).0, Mac::local(TO).0)
        .ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64)
        .udp(40_000, 5201);
    #[expect(clippy::expect_used, reason = "these payloads fit, and a Vec takes all")]
    packet.write(&mut frame, &vec![0x5a; payload]).expect("a packet");
    frame
}

/// A TCP packet between the pods.
fn frame(payload: usize) -> Vec<u8> {
    packet(40_000, 1, payload)
}

fn packet(port: u16, sequence: u32, payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(Mac::local(FROM).0, Mac::local(TO).0)
        .ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64)
        .tcp(port, 5201, sequence, 1000)
        .ack(1);
    #[expect(clippy::expect_used, reason = "these payloads fit, and a Vec takes all")]
    packet.write(&mut frame, &vec![0x5a; payload]).expect("a packet");
    frame
}

/// The same from the other pod, as far as a switch sees.
fn reversed(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(macs) = frame.get_mut(..12) {
        macs.rotate_left(6);
    }
    frame
}

/// As a kernel leaves it to a network card: in the field is the pseudo-header's sum.
fn frame_left_half_done(payload: usize) -> Vec<u8> {
    let mut frame = frame(payload);
    let Some(layers) = Layers::parse(&frame) else { return frame };
    let len = u32::try_from(layers.end - layers.transport).unwrap_or_default();
    let addresses = frame.get(layers.transport - 8..layers.transport).unwrap_or_default();
    let words = addresses.chunks(2).map(|it| it.iter().fold(0, |sum, o| sum << 8 | u32::from(*o)));
    let mut sum = words.sum::<u32>() + len + u32::from(layers.protocol);
    while let Some(carry) = Some(sum >> 16).filter(|carry| *carry > 0) {
        sum = (sum & 0xffff) + carry;
    }
    let sum = u16::try_from(sum).unwrap_or_default().to_be_bytes();
    if let Some(field) = frame.get_mut(layers.transport + 16..layers.transport + 18) {
        field.copy_from_slice(&sum);
    }
    frame
}
