mod forwarding;
mod lies;
mod offload;
mod received;
mod refusals;
mod relay;
mod sides;
mod size;
mod sleeve;
mod snoop;

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::*;
use crate::buf::Buf;
use crate::checksum::{field_of, pseudo_header, put};
use crate::layers::IpVersion;
use crate::vxlan;
use crate::{
    Cable, Datagram, DropReason, Frame, Layers, Limits, Mac, MacTable, MemoryNet, MemoryTap, Peer,
    Port, VNET_HEADER_LEN, Vni,
};

const T0: Tick = Tick::from_millis(1);
const A: PeerId = PeerId::new(0);
const B: PeerId = PeerId::new(1);
const C: PeerId = PeerId::new(2);
const POD: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 0x02]);
const HOME: [u8; 4] = [10, 0, 0, 100];

/// A worker with a cable to its pods, a network, and the peers A, B and C.
struct Node {
    worker: Worker<MemoryTap, crate::MemoryUnderlay>,
    cable: Cable,
    net: MemoryNet,
    table: Arc<MacTable>,
    cell: Arc<PlanCell>,
    counters: Arc<Counters>,
}

impl Node {
    fn new() -> Self {
        Self::with_tap(MemoryTap::pair())
    }

    fn with_tap(pair: (MemoryTap, Cable)) -> Self {
        Self::with_counters(pair, 3)
    }

    fn with_counters((tap, cable): (MemoryTap, Cable), slots: usize) -> Self {
        let net = MemoryNet::new(1500);
        let table = Arc::new(MacTable::new(Limits::default()));
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [A, B, C].map(peer))));
        let counters = Arc::new(Counters::new(slots));
        let forwarder = Forwarder::new(Arc::clone(&table));
        let underlay = net.attach(HOME.into());
        let worker =
            Worker::new(tap, underlay, forwarder, Arc::clone(&cell), Arc::clone(&counters));
        Self { worker, cable, net, table, cell, counters }
    }

    fn know(&self, mac: Mac, port: Port) {
        self.table.learn(mac, port, T0);
    }

    /// A pod sends a frame.
    fn emit(&mut self, frame: &[u8]) {
        assert!(self.cable.send(frame));
        self.worker.turn(T0).unwrap();
    }

    /// A peer sends a frame.
    fn hear_from(&mut self, id: PeerId, frame: &[u8]) {
        self.hear(addr_of(id), datagram_of(frame));
    }

    fn hear(&mut self, from: IpAddr, payload: Vec<u8>) {
        self.net.deliver(datagram(from, payload));
        self.worker.turn(T0).unwrap();
    }

    /// What came out at the pods' end since the last call.
    fn emitted(&self) -> Vec<Vec<u8>> {
        let mut frame = Vec::new();
        std::iter::from_fn(|| self.cable.recv(&mut frame).then(|| frame.clone())).collect()
    }

    /// The one frame that came out at the pods' end.
    fn answer(&self) -> Vec<u8> {
        let mut frames = self.emitted();
        assert_eq!(frames.len(), 1);
        frames.remove(0)
    }

    /// What was sent to peers since the last call.
    fn sent(&self) -> Vec<Datagram> {
        std::iter::from_fn(|| self.net.take()).collect()
    }

    fn sent_to(&self) -> Vec<IpAddr> {
        self.sent().iter().map(|it| it.to).collect()
    }

    fn sent_frames(&self) -> Vec<Vec<u8>> {
        self.sent().iter().map(|it| vxlan::parse(&it.payload).unwrap().1.to_vec()).collect()
    }

    fn drops(&self) -> Vec<(DropReason, u64)> {
        drops(&self.counters)
    }
}

/// The probe that control was given.
fn probe_in(punts: &Punts) -> crate::Punt {
    match punts.take() {
        Some(crate::Told::Probe(punt)) => punt,
        other => panic!("no probe: {other:?}"),
    }
}

fn drops(counters: &Counters) -> Vec<(DropReason, u64)> {
    let counts = DropReason::ALL.map(|reason| (reason, counters.dropped(reason)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn worker_between<T: Tap, U: Underlay>(tap: T, underlay: U) -> (Worker<T, U>, Arc<Counters>) {
    let forwarder = Forwarder::new(Arc::new(MacTable::new(Limits::default())));
    let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [A, B, C].map(peer))));
    let counters = Arc::new(Counters::new(3));
    (Worker::new(tap, underlay, forwarder, cell, Arc::clone(&counters)), counters)
}

fn addr_of(id: PeerId) -> IpAddr {
    [10, 0, 0, 1 + u8::try_from(id.slot()).unwrap()].into()
}

fn peer(id: PeerId) -> Peer {
    Peer { addr: (addr_of(id), 6784).into(), mtu: mtu(1450) }
}

fn mtu(octets: u16) -> Mtu {
    Mtu::new(octets).unwrap()
}

fn datagram(from: IpAddr, payload: Vec<u8>) -> Datagram {
    Datagram { from, to: HOME.into(), payload }
}

fn datagram_of(frame: &[u8]) -> Vec<u8> {
    let mut buf = Buf::new();
    assert!(buf.fill(frame));
    vxlan::encap(&mut buf, Vni::DEFAULT);
    buf.octets().to_vec()
}

fn udp(src: Mac, dst: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2(src.0, dst.0).ipv4([10, 32, 0, 1], [10, 32, 0, 2], 64);
    ip.udp(1000, 2000).write(&mut frame, payload).unwrap();
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

/// An IPv4 packet with its DF bit cleared.
fn may_fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20] &= !0x40;
    let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
    frame
}

/// A packet as a kernel leaves it to its network card.
fn half_done(good: &[u8]) -> Vec<u8> {
    let mut frame = good.to_vec();
    let layers = Layers::parse(good).unwrap();
    let pseudo = pseudo_header(good, &layers, layers.end - layers.transport);
    put(&mut frame, layers.transport + field_of(layers.protocol).unwrap(), pseudo.fold());
    frame
}

/// The MTU that an ICMP error to POD tells it.
fn mtu_told(answer: &[u8]) -> u32 {
    assert_eq!(Frame::parse(answer).unwrap().dst(), POD);
    match Layers::parse(answer).unwrap().version {
        IpVersion::V4 => {
            assert_eq!(answer[34..36], [3, 4], "fragmentation needed");
            u32::from_be_bytes([0, 0, answer[40], answer[41]])
        }
        IpVersion::V6 => {
            assert_eq!(answer[54..56], [2, 0], "packet too big");
            u32::from_be_bytes(answer[58..62].try_into().unwrap())
        }
    }
}
