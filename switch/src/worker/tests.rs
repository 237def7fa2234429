mod offload;
mod refusals;

use std::io::IoSlice;
use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::*;
use crate::buf::Buf;
use crate::checksum::{field_of, pseudo_header, put};
use crate::layers::IpVersion;
use crate::vxlan;
use crate::{
    Cable, Datagram, DropReason, Frame, Layers, Limits, Mac, MacTable, MemoryNet, MemoryTap,
    Message, Peer, Port, RunLimits, SendError, Takes, TapError, Unsent, VNET_HEADER_LEN, Vni,
};

const T0: Tick = Tick::from_millis(1);
const A: PeerId = PeerId::new(0);
const B: PeerId = PeerId::new(1);
const C: PeerId = PeerId::new(2);
const POD: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 0x02]);

#[test]
fn a_frame_for_a_known_station_goes_to_its_peer_alone() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(POD, FAR, b"hello"));

    assert_eq!(node.sent_to(), [addr_of(B)]);
}

#[test]
fn what_is_flooded_goes_to_every_peer_once() {
    for dst in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), FAR] {
        let mut node = Node::new();

        node.emit(&udp(POD, dst, b"anybody"));

        assert_eq!(node.sent_to(), [addr_of(A), addr_of(B), addr_of(C)], "{dst}");
    }
}

#[test]
fn a_datagram_is_the_frame_behind_the_header_of_the_plan() {
    let mut node = Node::new();
    let frame = udp(POD, Mac::BROADCAST, b"hello");

    node.emit(&frame);

    for datagram in node.sent() {
        assert_eq!(vxlan::parse(&datagram.payload), Ok((Vni::DEFAULT, &frame[..])));
    }
}

#[test]
fn a_peers_frame_goes_to_the_tap_as_it_is_and_to_no_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    for dst in [POD, FAR, Mac::BROADCAST] {
        let plain = udp(Mac([2, 0, 0, 0, 0, 9]), dst, b"hello");
        let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();

        for frame in [plain, tagged] {
            node.hear_from(A, &frame);

            assert_eq!(node.emitted(), [frame]);
            assert!(node.sent().is_empty());
        }
    }
}

#[test]
fn a_frame_between_stations_of_this_node_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Local);

    node.emit(&udp(POD, FAR, b"the bridge has delivered it"));

    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::LocalDestination, 1)]);
}

#[test]
fn a_station_that_speaks_here_is_no_longer_behind_its_old_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(FAR, Mac::BROADCAST, b"I am here now"));
    node.sent();
    node.emit(&udp(POD, FAR, b"the bridge has delivered it"));

    assert!(node.sent().is_empty());
}

#[test]
fn frames_and_octets_are_counted_by_direction_and_peer() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let frame = udp(POD, FAR, b"hello");

    node.emit(&frame);
    node.hear_from(B, &udp(FAR, POD, b"hello"));

    let read = |traffic: &crate::Traffic| (traffic.frames.load(), traffic.octets.load());
    let once = (1, frame.len() as u64);
    let peer = node.counters.peer(B).unwrap();
    assert_eq!((read(&node.counters.from_tap), read(&node.counters.to_tap)), (once, once));
    assert_eq!((read(&peer.sent), read(&peer.received)), (once, once));
    assert_eq!(peer.heard(), Some(T0));
    assert_eq!(read(&node.counters.peer(A).unwrap().sent), (0, 0));
}

#[test]
fn an_ipv4_packet_with_df_that_is_too_big_is_answered() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp(POD, FAR, &[0; 2000]));

    assert_eq!(mtu_told(&node.answer()), 1450);
    assert!(node.sent().is_empty());
    assert_eq!(node.counters.icmp_sent.load(), 1);
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn an_ipv6_packet_that_is_too_big_is_answered() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&udp_v6(POD, FAR, &[0; 2000]));

    assert_eq!(mtu_told(&node.answer()), 1450);
    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_packet_without_df_that_is_too_big_is_carried_in_fragments() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let frame = may_fragment(udp(POD, FAR, &[7; 3000]));

    node.emit(&frame);

    let fragments = node.sent_frames();
    let payload: Vec<_> = fragments.iter().flat_map(|fragment| &fragment[34..]).copied().collect();
    assert_eq!((fragments.len(), &payload[..]), (3, &frame[34..]));
    assert_eq!(node.counters.fragmented.load(), 1);
    assert_eq!(node.drops(), []);
}

#[test]
fn what_is_too_big_and_no_ip_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    node.emit(&[&FAR.0[..], &POD.0, &[0x88, 0xb6], &[0; 2000]].concat());

    assert!(node.sent().is_empty() && node.emitted().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_header_that_padding_makes_too_big_is_dropped() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    let mut frame = may_fragment(udp(POD, FAR, b""));
    frame.truncate(34);
    frame[16..18].copy_from_slice(&20u16.to_be_bytes());
    frame.resize(2000, 0);

    node.emit(&frame);

    assert!(node.sent().is_empty() && node.emitted().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_frame_too_big_for_one_peer_still_reaches_the_others() {
    let mut node = Node::new();
    let mut peers = [A, B, C].map(peer);
    peers[1].mtu = mtu(1000);
    node.cell.install(Plan::new(Vni::DEFAULT, peers));

    node.emit(&udp(POD, FAR, &[0; 1200]));

    assert_eq!(node.sent_to(), [addr_of(A), addr_of(C)]);
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn answers_are_limited_and_drops_are_counted_all_the_same() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));

    for _ in 0..150 {
        node.emit(&udp(POD, FAR, &[0; 2000]));
    }

    let counters = &node.counters;
    assert_eq!((counters.icmp_sent.load(), counters.icmp_limited.load()), (100, 50));
    assert_eq!(node.emitted().len(), 100);
    assert_eq!(node.drops(), [(DropReason::TooBig, 150)]);
}

#[test]
fn a_packet_the_socket_refuses_is_answered_with_what_the_path_carries() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);

    node.emit(&udp(POD, FAR, &[0; 1400]));

    assert_eq!(mtu_told(&node.answer()), 1350);
    assert!(node.sent().is_empty());
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_packet_the_socket_refuses_is_fragmented_to_what_the_path_carries() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);

    node.emit(&may_fragment(udp(POD, FAR, &[0; 1400])));

    let sizes: Vec<_> = node.sent_frames().iter().map(Vec::len).collect();
    assert_eq!(sizes, [14 + 20 + 1328, 14 + 20 + 1408 - 1328]);
    assert_eq!(node.drops(), []);
}

#[test]
fn a_path_found_narrow_is_believed_for_a_while_or_until_the_next_plan() {
    for new_plan in [false, true] {
        let mut node = Node::new();
        node.know(FAR, Port::Peer(B));
        node.net.set_mtu(1400);
        node.emit(&udp(POD, FAR, &[0; 1400]));
        node.emitted();
        node.net.set_mtu(1500);

        node.emit(&udp(POD, FAR, &[0; 1400]));
        assert_eq!(mtu_told(&node.answer()), 1350);

        let mut now = T0;
        if new_plan {
            node.cell.install(Plan::new(Vni::DEFAULT, [A, B, C].map(peer)));
        } else {
            now = T0 + NARROW;
        }
        assert!(node.cable.send(&udp(POD, FAR, &[0; 1400])));
        node.worker.turn(now).unwrap();
        assert_eq!(node.sent_to(), [addr_of(B)]);
    }
}

#[test]
fn nobody_answers_in_the_name_of_a_station_that_is_not_known() {
    let mut node = Node::new();

    node.emit(&udp(POD, FAR, &[0; 1600]));

    assert_eq!(node.emitted(), Vec::<Vec<u8>>::new());
    assert_eq!(node.drops(), [(DropReason::TooBig, 3)]);
}

#[test]
fn a_probe_from_a_peer_goes_to_control_and_nowhere_else() {
    let mut node = Node::new();
    let probe = [&POD.0[..], &FAR.0, &[0x88, 0xb5], b"are you there"].concat();
    let punts = node.worker.punts();

    node.hear_from(B, &probe);

    let punt = punts.take().unwrap();
    assert_eq!((punt.from, punt.octets()), (B, &probe[..]));
    assert!(node.emitted().is_empty() && node.sent().is_empty());
    assert_eq!(node.table.lookup(FAR), None);

    (0..100).for_each(|_| node.hear_from(B, &probe));
    assert_eq!(node.counters.punted.load(), 1 + 64);
    assert_eq!(node.drops(), [(DropReason::PuntFull, 36)]);
}

#[test]
fn a_probe_from_a_pod_goes_nowhere() {
    let mut node = Node::new();

    node.emit(&[&Mac::BROADCAST.0[..], &POD.0, &[0x88, 0xb5], b"I am a node"].concat());

    assert!(node.sent().is_empty() && node.worker.punts().take().is_none());
    assert_eq!(node.drops(), [(DropReason::Probe, 1)]);
}

#[test]
fn one_narrow_path_does_not_narrow_the_others() {
    let mut node = Node::new();
    node.know(FAR, Port::Peer(B));
    node.net.set_mtu(1400);
    node.emit(&udp(POD, FAR, &[0; 1400]));
    node.emitted();
    node.net.set_mtu(1500);

    node.know(Mac([2, 0, 0, 0, 0, 3]), Port::Peer(A));
    node.emit(&udp(POD, Mac([2, 0, 0, 0, 0, 3]), &[0; 1400]));

    assert_eq!(node.sent_to(), [addr_of(A)]);
}

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

#[test]
fn a_plan_installed_later_is_used_from_the_next_turn_on() {
    let mut node = Node::new();
    node.cell.install(Plan::new(Vni::new(7).unwrap(), [peer(B)]));

    node.emit(&udp(POD, FAR, b"hello"));
    node.hear(addr_of(A), datagram_of(&udp(FAR, POD, b"no longer a peer")));
    node.hear(addr_of(B), datagram_of(&udp(FAR, POD, b"the old overlay")));

    let sent = node.sent();
    assert_eq!(sent.iter().map(|it| it.to).collect::<Vec<_>>(), [addr_of(B)]);
    assert_eq!(vxlan::parse(&sent[0].payload).unwrap().0, Vni::new(7).unwrap());
    assert_eq!(node.drops(), [(DropReason::UnknownVtep, 1), (DropReason::WrongVni, 1)]);
}

#[test]
fn a_turn_moves_at_most_a_batch_each_way() {
    let mut node = Node::new();
    for _ in 0..=TAP_BATCH {
        assert!(node.cable.send(&udp(POD, FAR, b"")));
    }
    for _ in 0..=UNDERLAY_BATCH {
        node.net.deliver(datagram(addr_of(A), datagram_of(&udp(FAR, POD, b""))));
    }

    let turns = [(); 3].map(|()| node.worker.turn(T0).unwrap().reads);

    assert_eq!(turns, [TAP_BATCH + UNDERLAY_BATCH, 2, 0]);
    assert_eq!(node.emitted().len(), UNDERLAY_BATCH + 1);
}

#[test]
fn what_a_full_tap_refuses_is_counted() {
    let mut node = Node::new();

    for _ in 0..1001 {
        node.hear_from(A, &udp(FAR, POD, b""));
    }

    assert_eq!(node.drops(), [(DropReason::TapFull, 1)]);
}

#[test]
fn each_failure_of_a_side_is_counted_under_its_own_reason() {
    let of_underlay = [
        (SendError::NoRoute, DropReason::NoRoute),
        (SendError::Full, DropReason::UnderlayFull),
        (SendError::Refused, DropReason::UnderlayRefused),
        (SendError::Other(5), DropReason::UnderlayError),
        (SendError::TooBig, DropReason::TooBig),
    ];
    for (error, reason) in of_underlay {
        let (tap, cable) = MemoryTap::pair();
        let (mut worker, counters) = worker_between(tap, Refusing(error));
        cable.send(&[&FAR.0[..], &POD.0, &[0x88, 0xb6]].concat());

        worker.turn(T0).unwrap();

        assert_eq!(drops(&counters), [(reason, 3)], "one for each peer");
    }
    let of_tap = [
        (TapError::Full, DropReason::TapFull),
        (TapError::Down, DropReason::TapDown),
        (TapError::Other(5), DropReason::TapError),
    ];
    for (error, reason) in of_tap {
        let net = MemoryNet::new(1500);
        let (mut worker, counters) = worker_between(Refusing(error), net.attach(HOME.into()));
        net.deliver(datagram(addr_of(A), datagram_of(&udp(FAR, POD, b""))));

        worker.turn(T0).unwrap();

        assert_eq!(drops(&counters), [(reason, 1)]);
        assert_eq!(counters.to_tap.frames.load(), 0);
    }
}

#[test]
fn what_was_read_before_a_side_failed_is_handled() {
    let net = MemoryNet::new(1500);
    let (mut worker, counters) = worker_between(Broken, net.attach(HOME.into()));
    assert!(matches!(worker.turn(T0), Err(Fault::Tap(_))));
    assert_eq!(counters.dropped(DropReason::Runt), 1);

    let (tap, _cable) = MemoryTap::pair();
    let (mut worker, counters) = worker_between(tap, Broken);
    assert!(matches!(worker.turn(T0), Err(Fault::Underlay(_))));
    assert_eq!(counters.dropped(DropReason::UnknownVtep), 1);
}

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

    fn with_tap((tap, cable): (MemoryTap, Cable)) -> Self {
        let net = MemoryNet::new(1500);
        let table = Arc::new(MacTable::new(Limits::default()));
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [A, B, C].map(peer))));
        let counters = Arc::new(Counters::new(3));
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
        Err(io::ErrorKind::HostUnreachable.into())
    }
}

/// A side that reads one empty frame and then fails.
struct Broken;

impl Broken {
    fn read(batch: &mut Batch) -> io::Result<()> {
        let read = batch.read_next(|slot| {
            slot.buf.set_len(0);
            io::Result::Ok(())
        });
        assert!(matches!(read, Some(Ok(()))));
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Tap for Broken {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        Self::read(batch)
    }

    fn send(&mut self, _: &[u8; VNET_HEADER_LEN], _: &[IoSlice<'_>]) -> Result<(), TapError> {
        Ok(())
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _: Takes) {}
}

impl Underlay for Broken {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        Self::read(batch)
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
