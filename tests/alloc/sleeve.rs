//! UDP 6783: what is sent there, delivered from there, and passed on.

use switch::sleeve::{HOPS, Header};
use switch::{Label, Path, Route};

use super::*;

/// Of the worker's own node, and of its peers' by number.
const OWN: u32 = 99;

#[test]
fn frames_that_go_through_a_relay_cost_no_allocation() {
    let mut chain = Chain::new();
    let frame = udp(POD, FAR, &[7; 18]);

    assert_allocates_nothing(|now| {
        for _ in 0..16 {
            assert!(chain.nodes[0].cable.send(&frame));
        }
        chain.turn(now);
    });

    assert_eq!(chain.nodes[1].counters.relayed.frames.load(), 16 * (WARM_UP + ROUNDS));
    assert_eq!(chain.nodes[2].counters.to_tap.frames.load(), 16 * (WARM_UP + ROUNDS));
}

#[test]
fn a_super_frame_that_goes_through_a_relay_costs_no_allocation() {
    let mut chain = Chain::new();
    let frame = tcp(POD, FAR, &[7; 12_000]);
    let vnet = vnet(&frame, 1000);

    assert_allocates_nothing(|now| {
        assert!(chain.nodes[0].cable.send_with(&vnet, &frame));
        chain.turn(now);
    });

    assert_eq!(chain.nodes[1].counters.relayed.frames.load(), 12 * (WARM_UP + ROUNDS));
    assert_eq!(chain.nodes[2].counters.joined.load(), 12 * (WARM_UP + ROUNDS));
}

#[test]
fn a_flood_by_paths_of_all_kinds_costs_no_allocation() {
    let mut chain = Chain::new();
    let frame = udp(POD, Mac::BROADCAST, &[7; 200]);

    assert_allocates_nothing(|now| {
        for _ in 0..4 {
            assert!(chain.nodes[0].cable.send(&frame));
        }
        chain.turn(now);
    });

    for node in &chain.nodes[1..] {
        assert_eq!(node.counters.to_tap.frames.load(), 4 * (WARM_UP + ROUNDS));
    }
}

#[test]
fn a_run_that_is_passed_on_costs_no_allocation() {
    let (tap, _cable) = MemoryTap::offloading_pair();
    let frame = tcp(FAR, POD, &[7; 40_000]);
    let run = Repeating::run_behind(header(0, 1, HOPS), &frame, 1000);
    let (mut worker, counters) = sleeved(tap, run);

    assert_allocates_nothing(|now| {
        worker.turn(now).unwrap();
    });

    assert_eq!(counters.relayed.frames.load(), 40 * (WARM_UP + ROUNDS));
}

#[test]
fn a_run_for_this_node_costs_no_allocation() {
    let (tap, cable) = MemoryTap::offloading_pair();
    let run = Repeating::run_behind(header(0, OWN, HOPS), &tcp(FAR, POD, &[7; 40_000]), 1000);
    let (mut worker, counters) = sleeved(tap, run);
    let mut read = Vec::new();

    assert_allocates_nothing(|now| {
        worker.turn(now).unwrap();
        while cable.recv(&mut read) {}
    });

    assert_eq!(counters.joined.load(), 40 * (WARM_UP + ROUNDS));
}

#[test]
fn a_run_that_goes_nowhere_costs_no_allocation() {
    let cases = [
        (header(0, 7, HOPS), DropReason::RelayUnknownLabel),
        (header(0, 1, 1), DropReason::RelayHopLimit),
        (header(1, 0, HOPS), DropReason::RelayLoop),
        (header(0, 2, HOPS), DropReason::PathDown),
        (header(7, OWN, HOPS), DropReason::SleeveUnknownLabel),
        ([1, 0, 0, 0, 0, 0, 0, 1], DropReason::SleeveFlags),
    ];
    for (header, reason) in cases {
        let (tap, _cable) = MemoryTap::pair();
        let run = Repeating::run_behind(header, &tcp(FAR, POD, &[7; 4000]), 1000);
        let (mut worker, counters) = sleeved(tap, run);

        assert_allocates_nothing(|now| {
            worker.turn(now).unwrap();
        });

        assert_eq!(counters.dropped(reason), 4 * (WARM_UP + ROUNDS), "{reason}");
    }
}

#[test]
fn a_frame_for_a_peer_that_is_down_costs_no_allocation() {
    let (tap, cable) = MemoryTap::pair();
    let (mut worker, counters) = sleeved(tap, Repeating::nothing());
    let gone = Mac([2, 0, 0, 0, 0, 7]);
    let frame = udp(POD, gone, &[0; 100]);

    assert_allocates_nothing(|now| {
        assert!(cable.send(&frame));
        worker.turn(now).unwrap();
    });

    assert_eq!(counters.dropped(DropReason::PathDown), WARM_UP + ROUNDS);
}

/// Three nodes: the first is POD's and the third FAR's. Those two speak by way of the second, and
/// with that one by VXLAN there and by the sleeve back.
struct Chain {
    nodes: Vec<Node>,
    nets: [MemoryNet; 2],
    frame: Vec<u8>,
}

impl Chain {
    fn new() -> Self {
        let nets = [MemoryNet::new(1500), MemoryNet::new(1500)];
        let [vxlan, sleeve] = &nets;
        let nodes = (0..3).map(|number| {
            let mut node = Node::new(vxlan, MemoryTap::offloading_pair(), number, 3);
            let (tap, cable) = MemoryTap::offloading_pair();
            let forwarder = Forwarder::new(Arc::clone(&node.table));
            let (cell, counters) = (Arc::clone(&node.cell), Arc::clone(&node.counters));
            let worker = Worker::new(tap, vxlan.attach(addr(number)), forwarder, cell, counters);
            node.worker = worker.with_sleeve(sleeve.attach(addr(number)));
            node.cable = cable;
            node.cell.install(chain_plan(number));
            let far = if number == 2 { Port::Local } else { Port::Peer(PeerId::new(1)) };
            node.table.learn(FAR, far, Tick::from_millis(0));
            node
        });
        Self { nodes: nodes.collect(), nets, frame: Vec::new() }
    }

    fn turn(&mut self, now: Tick) {
        for _ in 0..4 {
            for node in &mut self.nodes {
                while node.worker.turn(now).unwrap().reads > 0 {}
            }
            self.nets.iter().for_each(MemoryNet::deliver_all);
        }
        for node in &self.nodes {
            while node.cable.recv(&mut self.frame) {}
        }
    }
}

fn chain_plan(own: u8) -> Plan {
    let slots = (0..3).filter(|number| *number != own).zip(0..);
    let path = |other| match (own, other) {
        (0, 2) => Path::Relay(PeerId::new(0)),
        (2, 0) => Path::Relay(PeerId::new(1)),
        (0, _) => Path::User,
        _ => Path::Sleeve,
    };
    slots
        .fold(Plan::builder(Vni::DEFAULT).label(label(own.into())), |plan, (other, slot)| {
            let sleeve = Some((addr(other), 6783).into());
            let route = Route { path: path(other), label: Some(label(other.into())), sleeve };
            plan.peer(PeerId::new(slot), peer(other, mtu(1450)), route)
        })
        .build()
}

/// A worker with the peers 0 and 1 on UDP 6783, from which `repeating` comes, and 2, which is down.
fn sleeved<T: Tap>(tap: T, repeating: Repeating) -> (Worker<T, Repeating>, Arc<Counters>) {
    let table = Arc::new(MacTable::new(Limits::default()));
    table.learn(Mac([2, 0, 0, 0, 0, 7]), Port::Peer(PeerId::new(2)), Tick::from_millis(0));
    let paths = [Path::Sleeve, Path::Sleeve, Path::Down];
    let plan = (0..).zip(paths).fold(
        Plan::builder(Vni::DEFAULT).label(label(OWN)),
        |plan, (number, path)| {
            let sleeve = Some((addr(number), 6783).into());
            let route = Route { path, label: Some(label(number.into())), sleeve };
            plan.peer(PeerId::new(number.into()), peer(number, mtu(1450)), route)
        },
    );
    let cell = Arc::new(PlanCell::new(plan.build()));
    let counters = Arc::new(Counters::new(3));
    let forwarder = Forwarder::new(table);
    let worker = Worker::new(tap, Repeating::nothing(), forwarder, cell, Arc::clone(&counters));
    (worker.with_sleeve(repeating), counters)
}

fn header(source: u32, destination: u32, hops: u8) -> [u8; 8] {
    Header { source: label(source), destination: label(destination), hops }.emit()
}

fn label(raw: u32) -> Label {
    Label::new(raw).unwrap()
}
