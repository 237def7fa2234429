//! The parts of the frame path, one by one, with what they allocate: nothing, so that a line of
//! allocations under a part is a defect of it. Only a station that is new allocates, now and then:
//! the order of eviction is a tree.
//!
//! ```text
//! cargo bench -p weft-benches --bench micro -- table
//! ```

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use etherparse::PacketBuilder;
use switch::{
    Buf, FlowHash, Forwarder, Frame, HEADER_MAX, Layers, Limits, Mac, MacTable, Mtu, Peer, PeerId,
    Plan, Port, Segments, Tick, Vni, finish_partial, vxlan,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PEER: PeerId = PeerId::new(0);
const NOW: Tick = Tick::from_millis(1000);
/// Payload of a small request, of a full packet, of a super-frame.
const SMALL: usize = 64;
const FULL: usize = 1398;
const SUPER: usize = 64_000;
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

#[divan::bench(args = [SMALL, FULL])]
fn vxlan_encap_and_decap(bencher: Bencher<'_, '_>, payload: usize) {
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

#[divan::bench]
fn super_frame_cut(bencher: Bencher<'_, '_>) {
    let octets = frame(SUPER);
    let (Some(layers), Some(mtu)) = (Layers::parse(&octets), Mtu::new(1450)) else { return };
    bencher.counter(BytesCount::new(SUPER)).bench(|| {
        let mut segments = Segments::fitting(black_box(&octets), layers, mtu)?;
        let (mut scratch, mut count) = ([0; HEADER_MAX], 0);
        while let Some(segment) = segments.next(&mut scratch) {
            black_box(segment);
            count += 1;
        }
        Some(count)
    });
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

/// A TCP packet between the pods.
fn frame(payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(Mac::local(FROM).0, Mac::local(TO).0)
        .ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64)
        .tcp(40_000, 5201, 1, 1000);
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
