//! UDP 6783: what is sent there, and what comes from there for this node.

use super::offload::{cut, vnet};
use super::*;
use crate::sleeve::{HOPS, Header, Label, parse};
use crate::{Path, PlanBuilder, Route, Via};

/// This node's label; those of A, B and C are 1, 2 and 3.
pub(super) const OWN: u32 = 0x00ab_cdef;

#[test]
fn a_frame_for_a_station_goes_by_the_path_of_its_peer() {
    let mut node = Sleeved::new([Path::User, Path::Sleeve, Path::Relay(B)]);
    let stations = [A, B, C].map(|id| Mac([2, 0, 0, 0, 1, u8::try_from(id.slot()).unwrap()]));
    for (mac, id) in stations.into_iter().zip([A, B, C]) {
        node.know(mac, Port::Peer(id));
    }

    for mac in stations {
        node.emit(&udp(POD, mac, b"hello"));
    }

    assert_eq!(node.sent_to(), [addr_of(A)]);
    let sent = node.sent_by_sleeve();
    assert_eq!(
        sent,
        [
            (addr_of(B), header(OWN, 2, HOPS), udp(POD, stations[1], b"hello")),
            (addr_of(B), header(OWN, 3, HOPS), udp(POD, stations[2], b"hello")),
        ]
    );
    let counted = [A, B, C].map(|id| node.counters.peer(id).unwrap().sent.frames.load());
    assert_eq!((counted, node.drops()), ([1; 3], vec![]));
}

#[test]
fn a_frame_for_a_station_whose_peer_is_down_is_dropped_and_counted() {
    let mut node = Sleeved::new([Path::User, Path::Down, Path::Relay(B)]);
    for (mac, id) in [(FAR, B), (POD, C)] {
        node.know(mac, Port::Peer(id));

        node.emit(&udp(Mac([2, 0, 0, 0, 0, 9]), mac, b"hello"));
    }

    assert!(node.sent().is_empty() && node.sent_by_sleeve().is_empty());
    assert_eq!(node.drops(), [(DropReason::PathDown, 2)]);
}

#[test]
fn a_flood_goes_to_each_peer_once_with_its_own_header() {
    for paths in [
        [Path::User, Path::Sleeve, Path::Relay(B)],
        [Path::Sleeve, Path::User, Path::Relay(A)],
        [Path::Relay(B), Path::Fast, Path::Sleeve],
        [Path::Sleeve, Path::Down, Path::User],
    ] {
        let mut node = Sleeved::new(paths);
        let frames: Vec<_> = (0..70).map(|n| udp(POD, Mac::BROADCAST, &[n; 100])).collect();

        for frame in &frames {
            assert!(node.cable.send(frame));
        }
        while node.worker.turn(T0).unwrap().reads > 0 {}

        let by_vxlan = node.sent();
        let by_sleeve = node.sent_by_sleeve();
        for (n, (id, path)) in [A, B, C].into_iter().zip(paths).enumerate() {
            let label = u32::try_from(n + 1).unwrap();
            let to_it = by_vxlan.iter().filter(|it| it.to == addr_of(id));
            let vxlan: Vec<_> =
                to_it.map(|it| vxlan::parse(&it.payload).unwrap().1.to_vec()).collect();
            let mine = by_sleeve.iter().filter(|(_, it, _)| it.destination == self::label(label));
            let (hops, sleeve): (Vec<_>, Vec<_>) =
                mine.map(|(to, _, frame)| (*to, frame.clone())).unzip();
            let expected = |path: Path| match path {
                Path::User => (frames.clone(), vec![], id),
                Path::Sleeve => (vec![], frames.clone(), id),
                Path::Relay(relay) => (vec![], frames.clone(), relay),
                Path::Fast | Path::Down => (vec![], vec![], id),
            };
            let (by_user, by_6783, hop) = expected(path);
            assert_eq!((vxlan, sleeve), (by_user, by_6783), "{id:?} of {paths:?}");
            assert!(hops.iter().all(|to| *to == addr_of(hop)));
        }
        assert_eq!(node.drops(), []);
    }
}

#[test]
fn a_super_frame_is_sent_as_the_packets_it_stands_for() {
    for frame in [tcp(POD, FAR, &[7; 5000]), udp(POD, FAR, &[7; 5000])] {
        for path in [Path::Sleeve, Path::Relay(A)] {
            let mut node = Sleeved::new([Path::User, path, Path::User]);
            node.know(FAR, Port::Peer(B));

            node.node.emit_with(&vnet(&frame, 1000), &half_done(&frame));

            let hop = if path == Path::Sleeve { B } else { A };
            let expected: Vec<_> = cut(&frame, 1000)
                .into_iter()
                .map(|packet| (addr_of(hop), header(OWN, 2, HOPS), packet))
                .collect();
            assert_eq!(node.sent_by_sleeve(), expected);
            assert_eq!(node.counters.peer(B).unwrap().sent.frames.load(), 5);
        }
    }
}

#[test]
fn a_path_found_narrow_is_that_of_its_own_tunnel() {
    let mut node = Sleeved::new([Path::User, Path::Relay(A), Path::User]);
    node.know(FAR, Port::Peer(B));
    node.wire.set_mtu(1400);

    node.emit(&udp(POD, FAR, &[0; 1400]));

    assert_eq!(mtu_told(&node.answer()), 1350);
    assert_eq!(node.drops(), [(DropReason::TooBig, 1)]);

    node.emit(&may_fragment(udp(POD, FAR, &[0; 1400])));
    let sent = node.sent_by_sleeve();
    assert!(
        sent.len() == 2
            && sent.iter().all(|(to, it, _)| { (*to, *it) == (addr_of(A), header(OWN, 2, HOPS)) })
    );
}

#[test]
fn without_a_socket_there_is_no_route() {
    let mut node = Node::new();
    let plan = plan([Path::Sleeve, Path::Relay(A), Path::User]);
    node.cell.install(plan);

    node.emit(&udp(POD, Mac::BROADCAST, b"hello"));

    assert_eq!(node.sent_to(), [addr_of(C)]);
    assert_eq!(node.drops(), [(DropReason::NoRoute, 2)]);
}

#[test]
fn a_frame_for_this_node_goes_to_the_tap_and_is_its_label_owners() {
    let mut node = Sleeved::new([Path::Sleeve, Path::Relay(A), Path::Relay(A)]);
    for (from, source, id, via) in [(A, 1, A, Via::Sleeve), (A, 2, B, Via::Relay)] {
        let frame = udp(FAR, POD, b"hello");

        node.hear_sleeve(from, header(source, OWN, 1), &frame);

        assert_eq!(node.emitted(), [frame]);
        assert_eq!(node.table.lookup(FAR), Some(Port::Peer(id)));
        let peer = node.counters.peer(id).unwrap();
        assert_eq!(peer.received.frames.load(), 1);
        assert_eq!((peer.heard_via(via), peer.heard_via(Via::User)), (Some(T0), None));
        assert!(node.sent().is_empty() && node.sent_by_sleeve().is_empty());
    }
    assert_eq!((node.drops(), node.counters.relayed.frames.load()), (vec![], 0));
}

#[test]
fn a_group_from_6783_goes_to_the_tap_alone() {
    let mut node = Sleeved::new([Path::Sleeve, Path::Sleeve, Path::User]);

    node.hear_sleeve(A, header(1, OWN, 1), &udp(FAR, Mac::BROADCAST, b"all"));

    assert_eq!(node.emitted().len(), 1);
    assert!(node.sent().is_empty() && node.sent_by_sleeve().is_empty());
}

#[test]
fn a_run_from_6783_comes_out_as_one_that_stands_for_it() {
    let mut node = Sleeved::new([Path::Sleeve, Path::User, Path::User]);
    let frame = tcp(FAR, POD, &[7; 8700]);
    let packets = cut(&frame, 1000);
    let run = packets.iter().flat_map(|packet| datagram_by(header(1, OWN, 4), packet)).collect();

    node.wire.deliver_run(datagram(addr_of(A), run), 8 + packets[0].len());
    node.worker.turn(T0).unwrap();

    let mut joined = Vec::new();
    assert_eq!(node.cable.recv_with(&mut joined), Some(vnet(&frame, 1000)));
    assert_eq!(joined, half_done(&frame));
    assert_eq!(node.counters.peer(A).unwrap().received.frames.load(), 9);
}

#[test]
fn each_bad_datagram_on_6783_is_counted_under_its_own_reason() {
    let stranger = IpAddr::from([192, 0, 2, 1]);
    let good = datagram_by(header(1, OWN, 4), &udp(FAR, POD, b"hello"));
    let with = |at: usize, octet: u8| {
        let mut datagram = good.clone();
        datagram[at] = octet;
        datagram
    };
    let cases = [
        (stranger, good.clone(), DropReason::SleeveUnknownSource),
        (addr_of(A), vec![], DropReason::ShortSleeve),
        (addr_of(A), good[..7].to_vec(), DropReason::ShortSleeve),
        (addr_of(A), with(0, 0x80), DropReason::SleeveFlags),
        (addr_of(A), with(0, 0x08), DropReason::SleeveFlags),
        (addr_of(A), with(1, 7), DropReason::SleeveUnknownLabel),
        (addr_of(A), with(4, 7), DropReason::RelayUnknownLabel),
        (addr_of(A), good[..21].to_vec(), DropReason::Runt),
        (addr_of(A), with(14, 0xff), DropReason::BadSource),
        (addr_of(A), datagram_by(header(OWN, OWN, 4), b""), DropReason::SleeveUnknownLabel),
    ];
    for (from, payload, reason) in cases {
        let mut node = Sleeved::new([Path::Sleeve; 3]);

        node.wire.deliver(datagram(from, payload));
        node.worker.turn(T0).unwrap();

        assert_eq!(node.drops(), [(reason, 1)]);
        assert!(node.emitted().is_empty() && node.sent_by_sleeve().is_empty());
        assert_eq!(node.table.lookup(FAR), None, "{reason}: nothing is learned from it");
    }
}

#[test]
fn a_run_from_a_stranger_is_counted_datagram_by_datagram() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);

    node.wire.deliver_run(datagram([192, 0, 2, 1].into(), vec![0; 950]), 100);
    node.worker.turn(T0).unwrap();

    assert_eq!(node.drops(), [(DropReason::SleeveUnknownSource, 10)]);
}

#[test]
fn a_probe_by_6783_goes_to_control_as_its_label_owners() {
    let mut node = Sleeved::new([Path::Sleeve, Path::Relay(A), Path::User]);
    let probe = [&POD.0[..], &FAR.0, &[0x88, 0xb5], b"are you there"].concat();

    node.hear_sleeve(A, header(2, OWN, 3), &probe);

    let punt = probe_in(&node.worker.punts());
    assert_eq!((punt.from, punt.via), (B, Via::Relay));
    assert!(node.emitted().is_empty());
}

#[test]
fn a_peer_is_heard_from_an_alias_on_both_tunnels_as_from_its_own_address() {
    let mut node = Sleeved::new([Path::Sleeve; 3]);
    let alias = [10, 1, 0, 2].into();
    let (by_vxlan, by_sleeve) = (udp(FAR, POD, b"one"), udp(Mac([2, 0, 0, 0, 0, 3]), POD, b"two"));
    node.install_alias(B, alias);

    node.hear(alias, datagram_of(&by_vxlan));
    node.wire.deliver(datagram(alias, datagram_by(header(2, OWN, 4), &by_sleeve)));
    node.worker.turn(T0).unwrap();

    assert_eq!(node.emitted(), [by_vxlan, by_sleeve]);
    assert_eq!(node.table.lookup(FAR), Some(Port::Peer(B)));
    let heard = node.counters.peer(B).unwrap();
    assert!(heard.heard_via(Via::User).is_some() && heard.heard_via(Via::Sleeve).is_some());
    assert_eq!((heard.heard_via(Via::Relay), node.drops()), (None, vec![]));
}

#[test]
fn udp_6783_waits_only_for_a_few_turns_while_other_things_move() {
    let mut node = Sleeved::new([Path::Sleeve, Path::User, Path::User]);
    node.know(FAR, Port::Peer(B));
    assert_eq!(node.worker.turn(T0).unwrap().reads, 0);
    let waiting = datagram(addr_of(A), datagram_by(header(1, OWN, 4), &udp(FAR, POD, b"hello")));
    node.wire.deliver(waiting);

    let reads = (0..5).map(|_| {
        assert!(node.cable.send(&udp(POD, FAR, b"hello")));
        node.worker.turn(T0).unwrap().reads
    });

    assert_eq!(reads.collect::<Vec<_>>(), [1, 1, 1, 2, 1]);
}

/// A node with UDP 6783 open.
pub(super) struct Sleeved {
    pub(super) node: Node,
    /// The network of UDP 6783; [`Node::net`] is that of VXLAN.
    pub(super) wire: MemoryNet,
}

impl std::ops::Deref for Sleeved {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl std::ops::DerefMut for Sleeved {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Sleeved {
    /// With the peers A, B and C behind these paths.
    pub(super) fn new(paths: [Path; 3]) -> Self {
        let mut node = Node::offloading();
        let wire = MemoryNet::new(1500);
        let worker = std::mem::replace(&mut node.worker, Node::new().worker);
        node.worker = worker.with_sleeve(wire.attach(HOME.into()));
        node.cell.install(plan(paths));
        Self { node, wire }
    }

    /// Everybody is behind the sleeve, and a peer sends from another address, too.
    pub(super) fn install_alias(&self, id: PeerId, addr: IpAddr) {
        self.cell.install(builder([Path::Sleeve; 3]).alias(id, addr).build());
    }

    /// A peer sends a frame to UDP 6783, or passes it on.
    pub(super) fn hear_sleeve(&mut self, from: PeerId, header: Header, frame: &[u8]) {
        self.wire.deliver(datagram(addr_of(from), datagram_by(header, frame)));
        self.worker.turn(T0).unwrap();
    }

    /// What was sent on UDP 6783 since the last call.
    pub(super) fn sent_by_sleeve(&self) -> Vec<(IpAddr, Header, Vec<u8>)> {
        let sent = std::iter::from_fn(|| self.wire.take());
        sent.map(|it| {
            let (header, frame) = parse(&it.payload).unwrap();
            (it.to, header, frame.to_vec())
        })
        .collect()
    }
}

fn plan(paths: [Path; 3]) -> Plan {
    builder(paths).build()
}

fn builder(paths: [Path; 3]) -> PlanBuilder {
    let peers = [A, B, C].into_iter().zip(paths).zip(1..);
    let add = |plan: PlanBuilder, ((id, path), n)| {
        let sleeve = Some((addr_of(id), 6783).into());
        plan.peer(id, peer(id), Route { path, label: Some(label(n)), sleeve })
    };
    peers.fold(Plan::builder(Vni::DEFAULT).label(label(OWN)), add)
}

pub(super) fn header(source: u32, destination: u32, hops: u8) -> Header {
    Header { source: label(source), destination: label(destination), hops }
}

pub(super) fn datagram_by(header: Header, frame: &[u8]) -> Vec<u8> {
    [&header.emit()[..], frame].concat()
}

fn label(raw: u32) -> Label {
    Label::new(raw).unwrap()
}
