//! The frame path allocates nothing: a counting allocator watches frames of known stations cross
//! two or four workers, there and back.
//!
//! Only *known* stations: a new one is a table entry, and a table may grow. The same goes for the
//! first frames through a worker, as queues and reused buffers grow to the sizes they need.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

#[path = "alloc/sleeve.rs"]
mod sleeve;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;

use etherparse::PacketBuilder;
use switch::{
    Batch, Bell, Cable, Counters, Datagram, DropReason, Forwarder, HEADER_MAX, Layers, Limits, Mac,
    MacTable, MemoryNet, MemoryTap, MemoryUnderlay, Message, Mtu, Offload, Peer, PeerId, Plan,
    PlanCell, Port, RunLimits, Segments, SendError, Takes, Tap, TapError, Tick, Underlay, Unsent,
    VNET_HEADER_LEN, Vni, Worker, vxlan,
};

/// Rounds before counting starts, and rounds that count.
const WARM_UP: u64 = 300;
const ROUNDS: u64 = 200;

const POD: Mac = Mac([2, 0, 0, 0, 0, 0]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 1]);

#[test]
fn a_small_frame_between_known_stations_costs_no_allocation() {
    let mut mesh = Mesh::new(2);

    mesh.exchange(&udp(POD, FAR, &[0; 18]), &udp(FAR, POD, &[0; 18]));

    assert!(mesh.nodes.iter().all(|node| node.counters.to_tap.frames.load() == WARM_UP + ROUNDS));
}

#[test]
fn a_full_sized_frame_between_known_stations_costs_no_allocation() {
    let mut mesh = Mesh::new(2);

    mesh.exchange(&udp(POD, FAR, &[0; 1422]), &udp(FAR, POD, &[0; 1422]));

    assert!(mesh.nodes.iter().all(|node| node.counters.to_tap.frames.load() == WARM_UP + ROUNDS));
}

#[test]
fn a_flood_to_three_peers_costs_no_allocation() {
    let mut mesh = Mesh::new(4);

    mesh.carry(&udp(POD, Mac::BROADCAST, &[0; 200]));

    for node in &mesh.nodes[1..] {
        assert_eq!(node.counters.to_tap.frames.load(), WARM_UP + ROUNDS);
    }
}

#[test]
fn a_full_batch_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    let frame = udp(POD, FAR, &[0; 1000]);

    assert_allocates_nothing(|now| {
        for _ in 0..16 {
            assert!(mesh.nodes[0].cable.send(&frame));
        }
        mesh.turn(now);
    });

    assert_eq!(mesh.nodes[1].counters.to_tap.frames.load(), 16 * (WARM_UP + ROUNDS));
}

#[test]
fn a_super_frame_that_is_cut_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    mesh.widen_sender();

    mesh.carry(&tcp(POD, FAR, &[7; 64_000]));

    assert_eq!(mesh.nodes[1].counters.segmented.load(), WARM_UP + ROUNDS);
    assert_eq!(mesh.nodes[1].counters.to_tap.frames.load(), 46 * (WARM_UP + ROUNDS));
}

#[test]
fn a_super_frame_that_is_sent_and_joined_again_costs_no_allocation() {
    for frame in [tcp(POD, FAR, &[7; 12_000]), udp(POD, FAR, &[7; 12_000])] {
        let mut mesh = Mesh::offloading(2);
        let vnet = vnet(&frame, 1000);

        assert_allocates_nothing(|now| {
            assert!(mesh.nodes[0].cable.send_with(&vnet, &frame));
            mesh.turn(now);
        });

        assert_eq!(mesh.nodes[0].counters.from_tap.frames.load(), 12 * (WARM_UP + ROUNDS));
        assert_eq!(mesh.nodes[1].counters.joined.load(), 12 * (WARM_UP + ROUNDS));
    }
}

#[test]
fn a_super_frame_that_is_flooded_costs_no_allocation() {
    let mut mesh = Mesh::offloading(4);
    let frame = udp(POD, Mac::BROADCAST, &[7; 12_000]);
    let vnet = vnet(&frame, 1000);

    assert_allocates_nothing(|now| {
        assert!(mesh.nodes[0].cable.send_with(&vnet, &frame));
        mesh.turn(now);
    });

    for node in &mesh.nodes[1..] {
        assert_eq!(node.counters.joined.load(), 12 * (WARM_UP + ROUNDS));
    }
}

#[test]
fn runs_of_small_frames_cost_no_allocation() {
    let mut mesh = Mesh::offloading(2);
    let frame = udp(POD, FAR, &[7; 18]);

    assert_allocates_nothing(|now| {
        for _ in 0..16 {
            assert!(mesh.nodes[0].cable.send(&frame));
        }
        mesh.turn(now);
    });

    assert_eq!(mesh.nodes[1].counters.joined.load(), 16 * (WARM_UP + ROUNDS));
}

#[test]
fn a_run_of_datagrams_that_is_joined_costs_no_allocation() {
    for frame in [tcp(FAR, POD, &[7; 40_000]), udp(FAR, POD, &[7; 40_000])] {
        let (tap, cable) = MemoryTap::offloading_pair();
        let (mut worker, counters) = worker(tap, Repeating::run(&frame, 1000));
        let mut read = Vec::new();

        assert_allocates_nothing(|now| {
            worker.turn(now).unwrap();
            while cable.recv(&mut read) {}
        });

        assert_eq!(counters.joined.load(), 40 * (WARM_UP + ROUNDS));
    }
}

#[test]
fn a_peers_super_frame_costs_no_allocation() {
    let (tap, cable) = MemoryTap::offloading_pair();
    let (mut worker, counters) = worker(tap, Repeating::whole(&tcp(FAR, POD, &[7; 40_000])));
    let mut read = Vec::new();

    assert_allocates_nothing(|now| {
        worker.turn(now).unwrap();
        while cable.recv(&mut read) {}
    });

    assert_eq!(counters.segmented.load(), WARM_UP + ROUNDS);
    assert_eq!(counters.to_tap.frames.load(), WARM_UP + ROUNDS, "handed on whole");
}

#[test]
fn a_tap_that_refuses_super_frames_costs_no_allocation() {
    let (tap, cable) = MemoryTap::offloading_pair();
    cable.refuse_super_frames();
    let run = Repeating::run(&tcp(FAR, POD, &[7; 40_000]), 1000);
    let (mut worker, counters) = worker(tap, run);
    let mut read = Vec::new();

    assert_allocates_nothing(|now| {
        worker.turn(now).unwrap();
        while cable.recv(&mut read) {}
    });

    assert_eq!(counters.tap_fallbacks.load(), 1);
    assert_eq!(counters.to_tap.frames.load(), 40 * (WARM_UP + ROUNDS));
}

#[test]
fn a_lying_tap_costs_no_allocation() {
    let mut mesh = Mesh::offloading(2);
    let frame = tcp(POD, FAR, &[7; 12_000]);
    let mut vnet = vnet(&frame, 1000);
    vnet[1] = 5;

    assert_allocates_nothing(|now| {
        assert!(mesh.nodes[0].cable.send_with(&vnet, &frame));
        mesh.turn(now);
    });

    assert_eq!(mesh.dropped(0, DropReason::BadOffload), WARM_UP + ROUNDS);
}

#[test]
fn a_half_done_checksum_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    let mut frame = udp(POD, FAR, &[0; 1000]);
    // The pseudo-header's sum alone: 10.32.0.1, 10.32.0.2, UDP and the length.
    let sum: u16 = 0x0a20 + 1 + 0x0a20 + 2 + 17 + 1008;
    frame[40..42].copy_from_slice(&sum.to_be_bytes());

    mesh.carry(&frame);

    assert_eq!(mesh.nodes[1].counters.checksums.load(), WARM_UP + ROUNDS);
}

#[test]
fn a_packet_that_is_too_big_and_answered_costs_no_allocation() {
    for frame in [udp(POD, FAR, &[0; 2000]), udp_v6(POD, FAR, &[0; 2000])] {
        let mut mesh = Mesh::new(2);

        mesh.carry(&frame);

        assert_eq!(mesh.nodes[0].counters.icmp_sent.load(), WARM_UP + ROUNDS);
        assert_eq!(mesh.dropped(0, DropReason::TooBig), WARM_UP + ROUNDS);
    }
}

#[test]
fn a_packet_that_is_too_big_and_fragmented_costs_no_allocation() {
    let mut mesh = Mesh::new(2);

    mesh.carry(&may_fragment(udp(POD, FAR, &[0; 6000])));

    assert_eq!(mesh.nodes[0].counters.fragmented.load(), WARM_UP + ROUNDS);
    assert_eq!(mesh.nodes[1].counters.to_tap.frames.load(), 5 * (WARM_UP + ROUNDS));
}

#[test]
fn a_path_that_carries_less_than_planned_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    mesh.net.set_mtu(1400);

    mesh.carry(&udp(POD, FAR, &[0; 1400]));

    assert_eq!(mesh.nodes[0].counters.icmp_sent.load(), WARM_UP + ROUNDS);
}

#[test]
fn a_frame_of_a_pod_that_is_dropped_costs_no_allocation() {
    let beside = Mac([2, 0, 0, 0, 0, 9]);
    let cases = [
        (vec![2; 13], DropReason::Runt),
        (udp(Mac::BROADCAST, FAR, &[]), DropReason::BadSource),
        (udp(POD, beside, &[]), DropReason::LocalDestination),
        ([&FAR.0[..], &POD.0, &[0x88, 0xb6], &[0; 2000]].concat(), DropReason::TooBig),
    ];
    for (frame, reason) in cases {
        let mut mesh = Mesh::new(2);
        mesh.nodes[0].table.learn(beside, Port::Local, Tick::from_millis(0));

        mesh.carry(&frame);

        assert_eq!(mesh.dropped(0, reason), WARM_UP + ROUNDS, "{reason}");
    }
}

#[test]
fn a_frame_without_a_path_costs_no_allocation() {
    let mut mesh = Mesh::new(1);

    mesh.carry(&udp(POD, Mac::BROADCAST, &[]));

    assert_eq!(mesh.dropped(0, DropReason::NoPath), WARM_UP + ROUNDS);
}

#[test]
fn what_pods_tell_control_costs_no_allocation() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (mut mesh, bell) = (Mesh::new(2), Bell::new().unwrap());
    mesh.listen(&bell);
    let moved = Mac([2, 0, 0, 0, 0, 9]);
    mesh.nodes[0].table.pin(moved, Port::Peer(PeerId::new(0)), Tick::from_millis(0));
    let sighted = udp(moved, FAR, &[0; 18]);

    assert_allocates_nothing(|now| {
        let [.., a, b] = now.as_millis().to_be_bytes();
        // More than is told: some find the queue full, or are too many.
        for n in 0..4 {
            assert!(mesh.nodes[0].cable.send(&arp(POD, [10, n, a, b])));
        }
        assert!(mesh.nodes[0].cable.send(&sighted));
        mesh.turn(now);
        let punts = mesh.nodes[0].worker.punts();
        if now.as_millis().is_multiple_of(20) {
            while punts.take().is_some() {}
        }
    });

    let counters = &mesh.nodes[0].counters;
    assert!(counters.told.load() > 100 && counters.untold.load() > 100);
}

#[test]
fn a_bad_datagram_costs_no_allocation() {
    type Spoil = fn(&mut Datagram);
    let cases: [(Spoil, DropReason); 6] = [
        (|it| it.from = [192, 0, 2, 1].into(), DropReason::UnknownVtep),
        (|it| it.payload.truncate(7), DropReason::ShortVxlan),
        (|it| it.payload[0] = 0, DropReason::NoVni),
        (|it| it.payload[4] ^= 1, DropReason::WrongVni),
        (|it| it.payload.truncate(21), DropReason::Runt),
        (|it| it.payload[14] |= 1, DropReason::BadSource),
    ];
    for (spoil, reason) in cases {
        let mut mesh = Mesh::new(2);

        mesh.carry_spoiled(&udp(POD, FAR, &[0; 100]), spoil);

        assert_eq!(mesh.dropped(1, reason), WARM_UP + ROUNDS, "{reason}");
    }
}

#[test]
fn a_frame_of_a_peer_larger_than_the_tap_takes_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    mesh.widen_sender();
    let grow = |it: &mut Datagram| it.payload.resize(65_100, 0);

    mesh.carry_spoiled(&[&FAR.0[..], &POD.0, &[0x88, 0xb6], &[0; 64_000]].concat(), grow);

    assert_eq!(mesh.dropped(1, DropReason::Oversize), WARM_UP + ROUNDS);
}

#[test]
fn a_full_tap_costs_no_allocation() {
    let mut mesh = Mesh::new(2);
    let frame = udp(POD, FAR, &[0; 100]);

    assert_allocates_nothing(|now| {
        // Nobody takes frames out of the second node's cable: it is full after 1000.
        for _ in 0..4 {
            assert!(mesh.nodes[0].cable.send(&frame));
        }
        mesh.turn_without_reading(now);
    });

    assert_eq!(mesh.dropped(1, DropReason::TapFull), 4 * (WARM_UP + ROUNDS) - 1000);
}

#[test]
fn a_side_that_refuses_costs_no_allocation() {
    for (error, reason) in [
        (SendError::NoRoute, DropReason::NoRoute),
        (SendError::Full, DropReason::UnderlayFull),
        (SendError::Refused, DropReason::UnderlayRefused),
        (SendError::Other(5), DropReason::UnderlayError),
    ] {
        let (tap, cable) = MemoryTap::pair();
        let (mut worker, counters) = worker(tap, Refusing(error));
        let frame = udp(POD, FAR, &[]);

        assert_allocates_nothing(|now| {
            assert!(cable.send(&frame));
            worker.turn(now).unwrap();
        });

        assert_eq!(counters.dropped(reason), WARM_UP + ROUNDS, "{reason}");
    }
    for (error, reason) in
        [(TapError::Down, DropReason::TapDown), (TapError::Other(5), DropReason::TapError)]
    {
        let mut mesh = Mesh::new(2);
        let (mut worker, counters) = worker(Refusing(error), mesh.net.attach(addr(1)));
        let frame = udp(POD, FAR, &[]);

        assert_allocates_nothing(|now| {
            assert!(mesh.nodes[0].cable.send(&frame));
            mesh.nodes[0].worker.turn(now).unwrap();
            mesh.net.deliver_all();
            worker.turn(now).unwrap();
        });

        assert_eq!(counters.dropped(reason), WARM_UP + ROUNDS, "{reason}");
    }
}

/// Without this, the others would prove nothing where the counting does not work.
#[test]
fn an_allocation_is_noticed() {
    let mut mesh = Mesh::new(2);
    let frame = udp(Mac([2, 0, 0, 0, 0, 9]), FAR, &[]);
    assert!(mesh.nodes[0].cable.send(&frame));

    let counted = allocation_counter::measure(|| mesh.turn(Tick::from_millis(1)));

    assert!(counted.count_total > 0, "a new station is an entry in two tables");
}

/// Nodes in a full mesh; the first is POD's and the second FAR's, and all of them know that.
struct Mesh {
    nodes: Vec<Node>,
    net: MemoryNet,
    /// What is read from cables is read into this.
    frame: Vec<u8>,
}

struct Node {
    worker: Worker<MemoryTap, MemoryUnderlay>,
    cable: Cable,
    table: Arc<MacTable>,
    cell: Arc<PlanCell>,
    counters: Arc<Counters>,
}

impl Mesh {
    fn new(nodes: u8) -> Self {
        Self::with_taps(nodes, MemoryTap::pair)
    }

    fn offloading(nodes: u8) -> Self {
        Self::with_taps(nodes, MemoryTap::offloading_pair)
    }

    fn with_taps(nodes: u8, tap: fn() -> (MemoryTap, Cable)) -> Self {
        let net = MemoryNet::new(1500);
        let nodes = (0..nodes).map(|n| Node::new(&net, tap(), n, nodes)).collect();
        Self { nodes, net, frame: Vec::new() }
    }

    /// The first node believes in a path that carries anything, and so does the network.
    fn widen_sender(&mut self) {
        self.net.set_mtu(u32::MAX);
        self.nodes[0].cell.install(Plan::new(Vni::DEFAULT, [peer(1, Mtu::MAX)]));
    }

    /// POD's control listens to what pods say.
    fn listen(&mut self, bell: &Bell) {
        let node = self.nodes.remove(0);
        let worker = node.worker.with_ringer(bell.ringer());
        self.nodes.insert(0, Node { worker, ..node });
    }

    /// POD's node is given `frame`, round after round.
    fn carry(&mut self, frame: &[u8]) {
        self.carry_spoiled(frame, |_| {});
    }

    /// The same, and each datagram is changed on its way.
    fn carry_spoiled(&mut self, frame: &[u8], spoil: impl Fn(&mut Datagram)) {
        assert_allocates_nothing(|now| {
            assert!(self.nodes[0].cable.send(frame));
            self.nodes[0].worker.turn(now).unwrap();
            while let Some(mut datagram) = self.net.take() {
                spoil(&mut datagram);
                self.net.deliver(datagram);
            }
            self.turn(now);
        });
    }

    /// POD's node is given `there` and FAR's node `back`, round after round.
    fn exchange(&mut self, there: &[u8], back: &[u8]) {
        assert_allocates_nothing(|now| {
            assert!(self.nodes[0].cable.send(there));
            assert!(self.nodes[1].cable.send(back));
            self.turn(now);
        });
    }

    /// Frames go from pods to pods.
    fn turn(&mut self, now: Tick) {
        self.turn_without_reading(now);
        for node in &self.nodes {
            while node.cable.recv(&mut self.frame) {}
        }
    }

    fn turn_without_reading(&mut self, now: Tick) {
        for _ in 0..2 {
            for node in &mut self.nodes {
                node.worker.turn(now).unwrap();
            }
            self.net.deliver_all();
        }
    }

    fn dropped(&self, node: usize, reason: DropReason) -> u64 {
        self.nodes[node].counters.dropped(reason)
    }
}

impl Node {
    fn new(net: &MemoryNet, (tap, cable): (MemoryTap, Cable), number: u8, nodes: u8) -> Self {
        let table = Arc::new(MacTable::new(Limits::default()));
        let others: Vec<_> = (0..nodes).filter(|n| *n != number).collect();
        for (home, mac) in [(0, POD), (1, FAR)] {
            let slot = others.iter().position(|n| *n == home).map(|slot| slot.try_into().unwrap());
            let port = slot.map_or(Port::Local, |slot| Port::Peer(PeerId::new(slot)));
            table.learn(mac, port, Tick::from_millis(0));
        }
        let peers = others.iter().map(|n| peer(*n, mtu(1450)));
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, peers)));
        let counters = Arc::new(Counters::new(4));
        let forwarder = Forwarder::new(Arc::clone(&table));
        let underlay = net.attach(addr(number));
        let worker =
            Worker::new(tap, underlay, forwarder, Arc::clone(&cell), Arc::clone(&counters));
        Self { worker, cable, table, cell, counters }
    }
}

/// Calls `round` until everything has the size it needs, and then some more while counting.
fn assert_allocates_nothing(mut round: impl FnMut(Tick)) {
    let mut rounds = |range: std::ops::Range<u64>| {
        // One a millisecond: slow enough for each ICMP error to be admitted.
        range.map(Tick::from_millis).for_each(&mut round);
    };
    rounds(1..WARM_UP + 1);

    let counted = allocation_counter::measure(|| rounds(WARM_UP + 1..WARM_UP + ROUNDS + 1));

    assert_eq!(counted.count_total, 0, "{counted:?}");
}

fn worker<T: Tap, U: Underlay>(tap: T, underlay: U) -> (Worker<T, U>, Arc<Counters>) {
    let table = Arc::new(MacTable::new(Limits::default()));
    let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [peer(0, mtu(1450))])));
    let counters = Arc::new(Counters::new(1));
    (Worker::new(tap, underlay, Forwarder::new(table), cell, Arc::clone(&counters)), counters)
}

fn addr(node: u8) -> IpAddr {
    [10, 0, 0, node].into()
}

fn peer(node: u8, mtu: Mtu) -> Peer {
    Peer { addr: (addr(node), 6784).into(), mtu }
}

fn mtu(octets: u16) -> Mtu {
    Mtu::new(octets).unwrap()
}

fn udp(src: Mac, dst: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2(src.0, dst.0).ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64);
    ip.udp(1000, 2000).write(&mut frame, payload).unwrap();
    frame
}

/// A gratuitous ARP request.
fn arp(mac: Mac, ip: [u8; 4]) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&ip);
    frame[38..42].copy_from_slice(&ip);
    frame
}

fn udp_v6(src: Mac, dst: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2(src.0, dst.0).ipv6([0xfd; 16], [0xfc; 16], 64);
    ip.udp(1000, 2000).write(&mut frame, payload).unwrap();
    frame
}

fn tcp(src: Mac, dst: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2(src.0, dst.0).ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64);
    ip.tcp(1000, 2000, 3, 4).write(&mut frame, payload).unwrap();
    frame
}

fn may_fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20] &= !0x40;
    frame
}

/// What a TAP says of a super-frame with packets of `size`.
fn vnet(frame: &[u8], size: u16) -> [u8; VNET_HEADER_LEN] {
    let layers = Layers::parse(frame).unwrap();
    Offload { segment: size, checksum: true }.emit(Some(&layers), 54)
}

/// An underlay that has the same datagram, or run of them, from the first peer at every turn.
struct Repeating {
    octets: Vec<u8>,
    stride: usize,
}

impl Repeating {
    fn run(frame: &[u8], size: usize) -> Self {
        Self::run_behind(vxlan::header(Vni::DEFAULT), frame, size)
    }

    fn run_behind(tunnel: [u8; vxlan::HEADER_LEN], frame: &[u8], size: usize) -> Self {
        let layers = Layers::parse(frame).unwrap();
        let mut segments = Segments::new(frame, layers, size).unwrap();
        let stride = vxlan::HEADER_LEN + segments.header_len() + size;
        let (mut octets, mut scratch) = (Vec::new(), [0; HEADER_MAX]);
        while let Some((header, payload)) = segments.next(&mut scratch) {
            octets.extend([&tunnel[..], header, payload].concat());
        }
        Self { octets, stride }
    }

    fn nothing() -> Self {
        Self { octets: Vec::new(), stride: 0 }
    }

    fn whole(frame: &[u8]) -> Self {
        Self { octets: [&vxlan::header(Vni::DEFAULT)[..], frame].concat(), stride: 0 }
    }
}

impl Underlay for Repeating {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.octets.is_empty() {
            return Ok(());
        }
        let read = batch.read_next(|slot| {
            (slot.from, slot.stride) = (addr(0), self.stride);
            if slot.buf.fill(&self.octets) { Ok(()) } else { Err(()) }
        });
        assert_eq!(read, Some(Ok(())));
        Ok(())
    }

    fn send(
        &mut self,
        _: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        (0..messages.len()).for_each(|n| outcome(n, Ok(())));
    }

    fn lanes(&self) -> usize {
        1
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: 64, octets: 65_000 }
    }

    fn path_mtu(&self, _: IpAddr) -> io::Result<u32> {
        Ok(1500)
    }
}

/// A side that has nothing to read and takes nothing.
struct Refusing<E>(E);

impl Tap for Refusing<TapError> {
    fn recv(&mut self, _: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, _: &[u8; VNET_HEADER_LEN], _: &[IoSlice<'_>]) -> Result<(), TapError> {
        Err(self.0)
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _: Takes) {}
}

impl Underlay for Refusing<SendError> {
    fn recv(&mut self, _: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        _: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        (0..messages.len()).for_each(|n| outcome(n, Err(self.0.into())));
    }

    fn lanes(&self) -> usize {
        1
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: 64, octets: 65_000 }
    }

    fn path_mtu(&self, _: IpAddr) -> io::Result<u32> {
        Ok(1500)
    }
}
