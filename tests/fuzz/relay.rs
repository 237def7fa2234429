//! What a worker makes of UDP 6783.

use std::net::IpAddr;
use std::sync::Arc;

use switch::sleeve::{self, BadSleeve, HEADER_LEN, Header};
use switch::{
    Buf, Cable, Counters, Datagram, DropReason, Forwarder, Label, Limits, MacTable, MemoryNet,
    MemoryTap, MemoryUnderlay, Mtu, Path, Peer, PeerId, Plan, PlanBuilder, PlanCell, Port, Route,
    Tick, Told, Vni, Worker,
};

/// A header is read as documented, what was read is emitted again, and rewriting the hop limit
/// changes nothing else.
pub fn sleeve(octets: &[u8]) {
    let label = |a: u8, b: u8, c: u8| Label::new(u32::from_be_bytes([0, a, b, c])).unwrap();
    let expected = match octets {
        [0, a, b, c, x, y, z, hops, inner @ ..] => {
            let (source, destination) = (label(*a, *b, *c), label(*x, *y, *z));
            Ok((Header { source, destination, hops: *hops }, inner))
        }
        [flags, _, _, _, _, _, _, _, ..] => Err(BadSleeve::Flags { flags: *flags }),
        short => Err(BadSleeve::Short { len: short.len() }),
    };
    assert_eq!(sleeve::parse(octets), expected);
    let Ok((header, inner)) = expected else { return };
    assert_eq!([&header.emit()[..], inner].concat(), octets);

    let mut rewritten = octets.to_vec();
    sleeve::set_hops(&mut rewritten, !header.hops);
    assert_eq!(sleeve::parse(&rewritten), Ok((Header { hops: !header.hops, ..header }, inner)));
}

/// Whatever comes to UDP 6783, alone or as a run: each datagram is for the pods, or for control, or
/// is passed on with one hop less to somebody else than who sent it, or is counted as dropped: one
/// of these, once.
///
/// The input is a sequence of events: who sends and in how large datagrams (an octet), how many
/// octets (two), and these.
pub fn relay(octets: &[u8]) {
    let mut bench = Bench::new();
    let mut script = octets;
    while let Some(([what, a, b], rest)) = script.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*a, *b])).min(Buf::new().spare_mut().len());
        let (octets, rest) = rest.split_at(len.min(rest.len()));
        bench.hear(*what, octets);
        script = rest;
    }
}

const HOME: [u8; 4] = [10, 0, 0, 1];
const OWN: u32 = 1;
/// Who sends, by the lowest two bits of an event: the last one is a stranger.
const SENDERS: [u8; 4] = [2, 3, 4, 9];

struct Bench {
    worker: Worker<MemoryTap, MemoryUnderlay>,
    cable: Cable,
    vxlan: MemoryNet,
    net: MemoryNet,
    table: Arc<MacTable>,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Self {
        let (tap, cable) = MemoryTap::pair();
        let (vxlan, net) = (MemoryNet::new(1500), MemoryNet::new(1500));
        let table = Arc::new(MacTable::new(Limits { stations: 4, ..Limits::default() }));
        let cell = Arc::new(PlanCell::new(plan()));
        let counters = Arc::new(Counters::new(4));
        let forwarder = Forwarder::new(Arc::clone(&table));
        let underlay = vxlan.attach(HOME.into());
        let worker = Worker::new(tap, underlay, forwarder, cell, Arc::clone(&counters));
        let worker = worker.with_sleeve(net.attach(HOME.into()));
        Self { worker, cable, vxlan, net, table, counters }
    }

    fn hear(&mut self, what: u8, octets: &[u8]) {
        let from = IpAddr::from([10, 0, 0, SENDERS[usize::from(what & 3)]]);
        let stride = usize::from(what >> 2) * 8;
        let size = if stride == 0 { octets.len().max(1) } else { stride };
        let datagrams: Vec<_> = octets.chunks(size).collect();
        let before = self.counts();
        let segmented = self.counters.segmented.load();

        let run = Datagram { from, to: HOME.into(), payload: octets.to_vec() };
        self.net.deliver_run(run, stride);
        assert_eq!(self.worker.turn(Tick::from_millis(1)).unwrap().reads, 1);

        assert_eq!(self.vxlan.take(), None, "nothing leaves by the other tunnel");
        let passed = self.check_passed(from, &datagrams);
        let emitted = self.check_emitted();
        let [dropped, punted, relayed] = self.counts();
        assert_eq!(relayed - before[2], passed);
        let others = passed + dropped - before[0] + punted - before[1];
        let all = datagrams.len().max(1) as u64;
        if self.counters.segmented.load() == segmented {
            assert_eq!(emitted + others, all);
        } else {
            assert!(emitted > 0 && others < all);
        }
        assert!(from != IpAddr::from([10, 0, 0, 9]) || dropped - before[0] == all, "a stranger");
        while let Some(told) = self.worker.punts().take() {
            assert!(matches!(told, Told::Probe(punt) if punt.from.slot() < 3));
        }
    }

    /// What was passed on is what came, in order for each destination, with one hop less.
    fn check_passed(&self, from: IpAddr, datagrams: &[&[u8]]) -> u64 {
        let mut passed = 0;
        let mut came = datagrams.iter();
        while let Some(datagram) = self.net.take() {
            passed += 1;
            assert_ne!(datagram.to, from);
            let (header, inner) = sleeve::parse(&datagram.payload).unwrap();
            assert_ne!(header.destination.raw(), OWN);
            assert!(header.hops > 0);
            let came = came.any(|came| {
                came.get(..7) == datagram.payload.get(..7)
                    && came.get(7) == Some(&(header.hops + 1))
                    && came.get(HEADER_LEN..) == Some(inner)
            });
            assert!(came, "changed, or out of order");
        }
        passed
    }

    fn check_emitted(&self) -> u64 {
        let (mut frame, mut emitted) = (Vec::new(), 0);
        while self.cable.recv(&mut frame) {
            emitted += 1;
        }
        let learned = self.table.entries(Tick::from_millis(1));
        assert!(learned.iter().all(|row| row.port != Port::Local));
        emitted
    }

    /// Dropped, punted, relayed.
    fn counts(&self) -> [u64; 3] {
        let dropped = DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).sum();
        [dropped, self.counters.punted.load(), self.counters.relayed.frames.load()]
    }
}

/// 2 by the sleeve, 3 by VXLAN, 4 by way of 3, 5 down; their labels are their numbers.
fn plan() -> Plan {
    let paths = [Path::Sleeve, Path::User, Path::Relay(PeerId::new(1)), Path::Down];
    let label = |raw| Label::new(raw).unwrap();
    let add = |plan: PlanBuilder, (slot, path): (u8, Path)| {
        let addr = [10, 0, 0, slot + 2];
        let peer = Peer { addr: (addr, 6784).into(), mtu: Mtu::new(1450).unwrap() };
        let sleeve = Some((addr, 6783).into());
        let route = Route { path, label: Some(label(u32::from(slot) + 2)), sleeve };
        plan.peer(PeerId::new(slot.into()), peer, route)
    };
    (0..).zip(paths).fold(Plan::builder(Vni::DEFAULT).label(label(OWN)), add).build()
}
