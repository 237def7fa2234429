//! The frame loop, under a script of frames and datagrams.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use switch::{
    Cable, Counters, Datagram, DropReason, Forwarder, Frame, Limits, MacTable, MemoryNet,
    MemoryTap, MemoryUnderlay, Mtu, PUNT_LEN, Peer, PeerId, Plan, PlanCell, Port, Tick, Told, Vni,
    Worker, vxlan,
};

/// Whatever comes, each frame and datagram is carried to where it has to go, or counted as dropped
/// once; nothing returns to where it came from.
///
/// The input is a sequence of events: what, how many octets (two octets), and these.
pub fn worker(octets: &[u8]) {
    let mut bench = Bench::new();
    let mut script = octets;
    while let Some(([what, a, b], rest)) = script.split_first_chunk() {
        let len = u16::from_be_bytes([*a, *b]);
        let (octets, rest) = rest.split_at(usize::from(len).min(rest.len()));
        bench.event(*what, len, octets);
        script = rest;
    }
    bench.take_punts();
}

const HOME: [u8; 4] = [10, 0, 0, 1];
const STRANGER: [u8; 4] = [192, 0, 2, 1];

/// An event with this bit has zeroes after its octets, so that a short input makes a long frame.
const LONG: u8 = 0x80;

struct Bench {
    worker: Worker<MemoryTap, MemoryUnderlay>,
    cable: Cable,
    net: MemoryNet,
    plan: Plan,
    table: Arc<MacTable>,
    counters: Arc<Counters>,
    now: Tick,
    /// What control has to be given: whose, and which frames.
    probes: VecDeque<(PeerId, Vec<u8>)>,
}

impl Bench {
    fn new() -> Self {
        let (tap, cable) = MemoryTap::pair();
        let net = MemoryNet::new(1500);
        // Few stations, so that a short script can fill the table.
        let limits = Limits { stations: 4, ..Limits::default() };
        let table = Arc::new(MacTable::new(limits));
        let mtus = [1450, 1000].map(|mtu| Mtu::new(mtu).unwrap());
        let peers = [2, 3].into_iter().zip(mtus);
        let peers = peers.map(|(n, mtu)| Peer { addr: ([10, 0, 0, n], 6784).into(), mtu });
        let plan = Plan::new(Vni::DEFAULT, peers);
        let cell = Arc::new(PlanCell::new(plan.clone()));
        let counters = Arc::new(Counters::new(2));
        let forwarder = Forwarder::new(Arc::clone(&table));
        let underlay = net.attach(HOME.into());
        let worker = Worker::new(tap, underlay, forwarder, cell, Arc::clone(&counters));
        Self {
            worker,
            cable,
            net,
            plan,
            table,
            counters,
            now: Tick::from_millis(1),
            probes: VecDeque::new(),
        }
    }

    fn event(&mut self, what: u8, len: u16, octets: &[u8]) {
        let mut octets = octets.to_vec();
        if what & LONG != 0 {
            octets.resize(3000.max(octets.len()), 0);
        }
        match what & !LONG {
            0..=15 => self.emit(&octets),
            16..=31 => self.hear([10, 0, 0, 2], octets),
            32..=47 => {
                self.hear([10, 0, 0, 2], [&[8, 0, 0, 0, 0, 0x1a, 0x80, 0], &octets[..]].concat())
            }
            48..=63 => {
                self.hear([10, 0, 0, 3], [&[8, 0, 0, 0, 0, 0x1a, 0x80, 0], &octets[..]].concat())
            }
            64..=79 => self.hear(STRANGER, octets),
            // All paths are wide enough for the least MTU there is, or no fragment fits.
            80..=95 => self.net.set_mtu(650 + u32::from(len)),
            112..=127 => self.hear_run(&octets),
            _ => {
                self.now = Tick::from_millis(self.now.as_millis() + u64::from(len));
                self.take_punts();
            }
        }
    }

    /// A pod sends a frame.
    fn emit(&mut self, octets: &[u8]) {
        let dropped = self.dropped();
        let answers = self.counters.icmp_sent.load();

        assert!(self.cable.send(octets));
        assert_eq!(self.worker.turn(self.now).unwrap().reads, 1);

        let receivers = self.receivers(octets);
        let mut refused = u64::from(receivers.is_empty());
        let sent: Vec<_> = std::iter::from_fn(|| self.net.take()).collect();
        for datagram in &sent {
            assert_eq!(datagram.from, IpAddr::from(HOME));
            assert!(receivers.contains(&datagram.to));
            assert_eq!(vxlan::parse(&datagram.payload).unwrap().0, Vni::DEFAULT);
        }
        for receiver in receivers {
            let to_it = |datagram: &&Datagram| datagram.to == receiver;
            let parts: Vec<_> = sent.iter().filter(to_it).collect();
            match parts[..] {
                [] => refused += 1,
                // A packet whose Ethernet padding does not fit is sent without it, and all of a
                // packet's own octets otherwise.
                [whole] => assert!(whole.payload.len() <= vxlan::HEADER_LEN + octets.len()),
                [..] => assert!(parts.iter().all(|part| part.payload.len() < octets.len())),
            }
        }
        assert_eq!(self.dropped() - dropped, refused);
        let emitted = self.take_emitted();
        assert_eq!(self.counters.icmp_sent.load() - answers, emitted.len() as u64);
        for answer in emitted {
            let (answer, asked) = (Frame::parse(&answer).unwrap(), Frame::parse(octets).unwrap());
            assert_eq!((answer.dst(), answer.src()), (asked.src(), asked.dst()));
        }
    }

    /// The network delivers a datagram.
    fn hear(&mut self, from: [u8; 4], payload: Vec<u8>) {
        let dropped = self.dropped();
        let segmented = self.counters.segmented.load();
        let punted = self.counters.punted.load();

        let frame = payload.get(vxlan::HEADER_LEN..).unwrap_or_default().to_vec();
        self.net.deliver(Datagram { from: from.into(), to: HOME.into(), payload });
        assert_eq!(self.worker.turn(self.now).unwrap().reads, 1);

        assert_eq!(self.net.take(), None);
        let emitted = self.take_emitted().len() as u64;
        let punted = self.counters.punted.load() - punted;
        match self.counters.segmented.load() - segmented {
            0 => assert_eq!(emitted + punted + self.dropped() - dropped, 1),
            _ => assert!(emitted > 0 && punted == 0 && self.dropped() == dropped),
        }
        assert!(from != STRANGER || emitted + punted == 0);
        let probe = Frame::parse(&frame).is_ok_and(Frame::is_probe);
        assert!(punted == 0 || probe, "only probes are for control");
        assert!(emitted == 0 || !probe, "and no probe is for the pods");
        if punted > 0 {
            let [.., n] = from;
            self.probes.push_back((PeerId::new(u16::from(n) - 2), frame));
        }
    }

    /// The network delivers octets with a stride, as `UDP_GRO` does: the first two of them.
    fn hear_run(&mut self, octets: &[u8]) {
        let Some(([a, b], octets)) = octets.split_first_chunk() else { return };
        let stride = usize::from(u16::from_be_bytes([*a, *b])).max(1);
        let datagrams: Vec<_> = octets.chunks(stride).collect();
        let several = datagrams.iter().skip(1).any(|datagram| is_ours(datagram));
        let before = self.dropped() + self.counters.punted.load();
        let segmented = self.counters.segmented.load();

        let run =
            Datagram { from: [10, 0, 0, 2].into(), to: HOME.into(), payload: octets.to_vec() };
        self.net.deliver_run(run, stride);
        assert_eq!(self.worker.turn(self.now).unwrap().reads, 1);

        assert_eq!(self.net.take(), None);
        let emitted = self.take_emitted();
        let handled = emitted.len() as u64 + self.dropped() + self.counters.punted.load() - before;
        let apart = handled == datagrams.len().max(1) as u64;
        let whole = handled == 1 && !several;
        assert!(apart || whole || self.counters.segmented.load() > segmented);
        // Nobody is given the datagrams of others along with his own.
        let longest = if several { stride - vxlan::HEADER_LEN } else { octets.len() };
        assert!(emitted.iter().all(|frame| frame.len() <= longest));
        while self.worker.punts().take().is_some() {}
        self.probes.clear();
    }

    /// Control takes what was put aside for it.
    fn take_punts(&mut self) {
        let punts = self.worker.punts();
        for (from, frame) in self.probes.drain(..) {
            let Some(Told::Probe(punt)) = punts.take() else { panic!("no probe") };
            assert_eq!((punt.from, punt.len), (from, frame.len()));
            assert_eq!(punt.octets(), &frame[..frame.len().min(PUNT_LEN)]);
        }
        assert!(punts.take().is_none());
    }

    /// Who has to have a frame, by what the table says after the worker learned from it.
    fn receivers(&self, octets: &[u8]) -> Vec<IpAddr> {
        let Ok(frame) = Frame::parse(octets) else { return Vec::new() };
        if !frame.src().is_station() || frame.is_probe() {
            return Vec::new();
        }
        let place = if frame.dst().is_group() { None } else { self.table.lookup(frame.dst()) };
        let addr = |peer: &Peer| peer.addr.ip();
        match place {
            None => self.plan.peers().map(|(_, peer)| addr(peer)).collect(),
            Some(Port::Local) => Vec::new(),
            Some(Port::Peer(id)) => self.plan.peer(id).map(addr).into_iter().collect(),
        }
    }

    fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).sum()
    }

    fn take_emitted(&self) -> Vec<Vec<u8>> {
        let mut frame = Vec::new();
        std::iter::from_fn(|| self.cable.recv(&mut frame).then(|| frame.clone())).collect()
    }
}

/// Whether it is a datagram of the overlay.
fn is_ours(datagram: &[u8]) -> bool {
    vxlan::parse(datagram).is_ok_and(|(vni, _)| vni == Vni::DEFAULT)
}
