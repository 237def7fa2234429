use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use smoltcp::time::Instant;
use switch::{
    Cable, Datagram, Label, MemoryTap, Mtu, Path, Peer, PeerId, Plan, PlanBuilder, Port, Route,
    Tick, Tunnel, Vni,
};

use crate::bridge::BridgePort;
use crate::node::{Nets, Node, Sent};
use crate::pod::Pod;
use crate::rng::Rng;
use crate::weather::Weather;

/// The underlay's MTU unless a scenario changes it.
const UNDERLAY_MTU: u32 = 1500;

/// Nodes, pods and the network between them, on one clock that jumps from event to event.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) weather: Weather,
    pub(crate) rng: Rng,
    /// Copies of datagrams that were sent, to be played with.
    pub(crate) tapped: Option<Vec<Datagram>>,
    /// Whether TAPs have offloads, and what arrives together is handled together.
    offloads: bool,
    nets: Nets,
    /// From whom nothing reaches whom.
    cut: BTreeSet<(IpAddr, IpAddr)>,
    /// By arrival; the second number keeps what arrives together in the order it was sent.
    on_the_way: BTreeMap<(u64, u64), Sent>,
    sent: u64,
    now: u64,
}

impl World {
    /// `nodes` nodes with IPv4 addresses in a full mesh, and no pods.
    pub(crate) fn new(nodes: u8, weather: Weather, seed: u64) -> Self {
        let addrs: Vec<_> = (1..=nodes).map(|n| IpAddr::from([10, 99, 0, n])).collect();
        Self::with_nodes(&addrs, MemoryTap::pair, weather, seed)
    }

    /// The same with TAPs that have offloads.
    pub(crate) fn offloading(nodes: u8, weather: Weather, seed: u64) -> Self {
        let addrs: Vec<_> = (1..=nodes).map(|n| IpAddr::from([10, 99, 0, n])).collect();
        let world = Self::with_nodes(&addrs, MemoryTap::offloading_pair, weather, seed);
        Self { offloads: true, ..world }
    }

    /// The first with IPv6 addresses.
    pub(crate) fn over_v6(nodes: u8, weather: Weather, seed: u64) -> Self {
        let addr = |n| IpAddr::from([0xfd00, 0x99, 0, 0, 0, 0, 0, u16::from(n)]);
        let addrs: Vec<_> = (1..=nodes).map(addr).collect();
        Self::with_nodes(&addrs, MemoryTap::pair, weather, seed)
    }

    fn with_nodes(
        addrs: &[IpAddr],
        tap: fn() -> (MemoryTap, Cable),
        weather: Weather,
        seed: u64,
    ) -> Self {
        let nets = Nets::new(UNDERLAY_MTU);
        let mtu = Mtu::over(UNDERLAY_MTU, addrs[0]).unwrap();
        let nodes: Vec<_> = addrs.iter().map(|addr| Node::new(&nets, *addr, mtu, tap())).collect();
        for node in &nodes {
            let others = addrs.iter().filter(|addr| **addr != node.addr);
            let peers = others.map(|addr| Peer { addr: (*addr, 6784).into(), mtu });
            node.cell.install(Plan::new(Vni::DEFAULT, peers));
        }
        let (tapped, on_the_way, cut) = (None, BTreeMap::new(), BTreeSet::new());
        let (pods, rng) = (Vec::new(), Rng::new(seed));
        let (offloads, sent, now) = (false, 0, 1);
        Self { nodes, pods, weather, rng, tapped, offloads, nets, cut, on_the_way, sent, now }
    }

    /// Gives every node a new plan: `path` says how the first of two nodes reaches the second, and
    /// by which relay if by one.
    pub(crate) fn route(&mut self, path: impl Fn(usize, usize) -> Via) {
        let addrs: Vec<_> = self.nodes.iter().map(|node| node.addr).collect();
        let mtu = Mtu::over(UNDERLAY_MTU, addrs[0]).unwrap();
        for own in 0..addrs.len() {
            let add = |plan: PlanBuilder, other: usize| {
                let path = match path(own, other) {
                    Via::User => Path::User,
                    Via::Sleeve => Path::Sleeve,
                    Via::Node(relay) => Path::Relay(slot(own, relay)),
                    Via::Down => Path::Down,
                };
                let sleeve = Some((addrs[other], 6783).into());
                let route = Route { path, label: Some(label(other)), sleeve };
                plan.peer(slot(own, other), Peer { addr: (addrs[other], 6784).into(), mtu }, route)
            };
            let others = (0..addrs.len()).filter(|other| *other != own);
            let plan = others.fold(Plan::builder(Vni::DEFAULT).label(label(own)), add);
            self.nodes[own].cell.install(plan.build());
        }
    }

    /// From now on nothing of one node's reaches the other, and the other way round.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        let (one, other) = (self.nodes[one].addr, self.nodes[other].addr);
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Plugs a new pod into a node's bridge; its MTU is what the switch would tell CNI.
    pub(crate) fn add_pod(&mut self, node: usize) -> usize {
        let mtu = usize::from(Mtu::over(UNDERLAY_MTU, self.nodes[node].addr).unwrap().octets());
        let number = u8::try_from(self.pods.len() + 1).unwrap();
        self.pods.push(Pod::new(number, node, mtu, self.rng.bits()));
        self.pods.len() - 1
    }

    /// Takes a pod, with its addresses and connections, from its node to another.
    pub(crate) fn move_pod(&mut self, pod: usize, node: usize) {
        let old = &mut self.nodes[self.pods[pod].node];
        old.bridge.unplug(BridgePort::Pod(pod));
        // As the watch on the bridge's notices does it.
        old.table.forget(self.pods[pod].mac, Port::Local);
        self.pods[pod].node = node;
    }

    /// Narrows or widens all links. Plans and pods do not know.
    pub(crate) fn set_underlay_mtu(&mut self, mtu: u32) {
        self.nets.vxlan.set_mtu(mtu);
        self.nets.sleeve.set_mtu(mtu);
        for node in &mut self.nodes {
            node.path_mtu = Mtu::over(mtu, node.addr).unwrap();
        }
    }

    /// Lets time pass until `done`, which is asked after everything that happens; it may use
    /// sockets meanwhile. Fails after `limit` milliseconds.
    pub(crate) fn run(&mut self, limit: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = self.now + limit;
        self.settle();
        while !done(self) {
            assert!(self.now < deadline, "not done after {limit} ms");
            self.settle();
            self.advance();
            self.settle();
        }
    }

    /// Lets `time` milliseconds pass.
    pub(crate) fn pass(&mut self, time: u64) {
        let until = self.now + time;
        self.run(time + 1, |world| world.now >= until);
    }

    /// A datagram arrives that no node has sent.
    pub(crate) fn inject(&mut self, datagram: Datagram) {
        self.inject_by(Tunnel::Vxlan, datagram);
    }

    /// The same by either tunnel.
    pub(crate) fn inject_by(&mut self, tunnel: Tunnel, datagram: Datagram) {
        self.arrive((tunnel, datagram));
        self.settle();
    }

    /// Datagrams that are on their way.
    pub(crate) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Sets the clock to the next event, and lets arrive what is due then.
    fn advance(&mut self) {
        self.now = self.next_event().max(self.now + 1);
        let later = self.on_the_way.split_off(&(self.now + 1, 0));
        let due = std::mem::replace(&mut self.on_the_way, later).into_values();
        if !self.offloads {
            return due.for_each(|datagram| self.arrive(datagram));
        }
        let mut bursts: BTreeMap<(IpAddr, bool), Vec<Datagram>> = BTreeMap::new();
        due.for_each(|(tunnel, datagram)| {
            bursts.entry((datagram.to, tunnel == Tunnel::Sleeve)).or_default().push(datagram);
        });
        for ((to, by_sleeve), burst) in bursts {
            let tunnel = if by_sleeve { Tunnel::Sleeve } else { Tunnel::Vxlan };
            let to = self.nodes.iter().position(|node| node.addr == to).unwrap();
            let now = Tick::from_millis(self.now);
            let (frames, passed) = self.nodes[to].handle_burst(tunnel, burst, now);
            self.launch(passed);
            for frame in frames {
                self.bridge(to, BridgePort::Uplink, &frame);
            }
        }
    }

    fn next_event(&mut self) -> u64 {
        let now = instant(self.now);
        let due = |at: Instant| u64::try_from(at.total_micros()).unwrap_or_default().div_ceil(1000);
        let timers = self.pods.iter_mut().filter_map(|pod| pod.poll_at(now)).map(due);
        let arrival = self.on_the_way.keys().next().map(|(at, _)| *at);
        timers.chain(arrival).min().unwrap_or(self.now + 1000)
    }

    /// Pods answer one another until nobody has anything to say at this moment.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for pod in 0..self.pods.len() {
                self.pods[pod].poll(instant(self.now));
                while let Some(frame) = self.pods[pod].take_sent() {
                    quiet = false;
                    self.bridge(self.pods[pod].node, BridgePort::Pod(pod), &frame);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn arrive(&mut self, sent: Sent) {
        let now = Tick::from_millis(self.now);
        let to = self.nodes.iter().position(|node| node.addr == sent.1.to).unwrap();
        let handled = self.nodes[to].handle_datagram(sent, now);
        self.launch(handled.passed);
        if let Some(frame) = handled.frame {
            self.bridge(to, BridgePort::Uplink, &frame);
        }
    }

    /// The network takes datagrams, as the weather is.
    fn launch(&mut self, datagrams: Vec<Sent>) {
        for (tunnel, datagram) in datagrams {
            if self.cut.contains(&(datagram.from, datagram.to)) {
                continue;
            }
            for delay in self.weather.delays(&mut self.rng) {
                self.sent += 1;
                let key = (self.now + delay, self.sent);
                self.on_the_way.insert(key, (tunnel, datagram.clone()));
            }
        }
    }

    fn bridge(&mut self, node: usize, from: BridgePort, frame: &[u8]) {
        let here = |(_, pod): &(usize, &Pod)| pod.node == node;
        let pods = self.pods.iter().enumerate().filter(here).map(|(n, _)| BridgePort::Pod(n));
        let ports = std::iter::once(BridgePort::Uplink).chain(pods).collect();
        for port in self.nodes[node].bridge.forward(from, frame, ports) {
            match port {
                BridgePort::Pod(pod) => self.pods[pod].receive(frame),
                BridgePort::Uplink => self.uplink(node, frame),
            }
        }
    }

    fn uplink(&mut self, node: usize, frame: &[u8]) {
        let outcome = self.nodes[node].handle_frame(frame, Tick::from_millis(self.now));
        if let Some(tapped) = &mut self.tapped {
            tapped.extend(outcome.datagrams.iter().map(|(_, datagram)| datagram.clone()));
        }
        self.launch(outcome.datagrams);
        for answer in outcome.answers {
            self.bridge(node, BridgePort::Uplink, &answer);
        }
    }
}

/// How a scenario wants a node reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    User,
    Sleeve,
    /// By way of this node.
    Node(usize),
    Down,
}

/// What stands for a node on UDP 6783.
pub(crate) fn label(node: usize) -> Label {
    Label::new(0x10_0000 + u32::try_from(node).unwrap()).unwrap()
}

/// The slot that a node has for another: they count up, and leave out the node itself.
pub(crate) fn slot(own: usize, other: usize) -> PeerId {
    assert_ne!(own, other);
    PeerId::new(u16::try_from(if other < own { other } else { other - 1 }).unwrap())
}

fn instant(ms: u64) -> Instant {
    Instant::from_millis(i64::try_from(ms).unwrap())
}
