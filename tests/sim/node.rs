use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use switch::{
    Cable, Counters, Datagram, DropReason, ETHERNET_LEN, FlowHash, Forwarder, Frame, HEADER_MAX,
    IpVersion, Layers, Limits, MacTable, MemoryNet, MemoryTap, MemoryUnderlay, Mtu, Offload, Peer,
    Plan, PlanCell, Port, Segments, Tick, VNET_HEADER_LEN, Vni, Worker, vxlan,
};

use crate::bridge::Bridge;

/// A switch between a bridge and the network, watched by an oracle: every frame and datagram is
/// given to it by itself, and all that comes of it is compared with what has to.
pub(crate) struct Node {
    pub(crate) addr: IpAddr,
    pub(crate) bridge: Bridge,
    pub(crate) table: Arc<MacTable>,
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) counters: Arc<Counters>,
    /// What the links carry for pods, which the switch is to find out by itself.
    pub(crate) path_mtu: Mtu,
    worker: Worker<MemoryTap, MemoryUnderlay>,
    cable: Cable,
    net: MemoryNet,
}

/// What became of a frame of a pod.
pub(crate) struct Outcome {
    pub(crate) datagrams: Vec<Datagram>,
    /// ICMP errors for the pod that sent it.
    pub(crate) answers: Vec<Vec<u8>>,
}

impl Node {
    pub(crate) fn new(
        net: &MemoryNet,
        addr: IpAddr,
        path_mtu: Mtu,
        (tap, cable): (MemoryTap, Cable),
    ) -> Self {
        let table = Arc::new(MacTable::new(Limits::default()));
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [])));
        let counters = Arc::new(Counters::new(16));
        let worker = Worker::new(
            tap,
            net.attach(addr),
            Forwarder::new(Arc::clone(&table)),
            Arc::clone(&cell),
            Arc::clone(&counters),
        );
        let (bridge, net) = (Bridge::default(), net.clone());
        Self { addr, bridge, table, cell, counters, path_mtu, worker, cable, net }
    }

    /// The bridge forwards a frame of a pod to the TAP.
    ///
    /// It is sent once to each peer that has to have it and to nobody else; where it does not fit
    /// it is sent in parts, or dropped and counted once.
    pub(crate) fn handle_frame(&mut self, frame: &[u8], now: Tick) -> Outcome {
        let peers = self.receivers(frame);
        let too_big = self.counters.dropped(DropReason::TooBig);
        let dropped = self.dropped();
        let icmp = self.counters.icmp_sent.load();

        assert!(self.cable.send(frame));
        self.turn(now);

        let datagrams = drain(|| self.net.take());
        let answers = self.take_emitted();
        let refused = self.check_sent(frame, &peers, &datagrams);
        assert_eq!(self.counters.dropped(DropReason::TooBig) - too_big, refused);
        assert_eq!(self.dropped() - dropped, refused + u64::from(peers.is_empty()));
        assert_eq!(self.counters.icmp_sent.load() - icmp, answers.len() as u64);
        Outcome { datagrams, answers }
    }

    /// The network delivers a datagram.
    ///
    /// Its frame comes out of the TAP as it is, or it is dropped and counted once; nothing goes
    /// back to the network.
    pub(crate) fn handle_datagram(&mut self, datagram: Datagram, now: Tick) -> Option<Vec<u8>> {
        assert_ne!(datagram.from, self.addr, "a switch heard itself");
        let payload = datagram.payload.clone();
        let dropped = self.dropped();

        self.net.deliver(datagram);
        self.turn(now);

        assert_eq!(self.net.take(), None, "what came from a peer goes to no peer");
        let mut emitted = self.take_emitted();
        assert_eq!(emitted.len() as u64 + self.dropped() - dropped, 1);
        if let Some(frame) = emitted.first() {
            assert_eq!(vxlan::parse(&payload), Ok((Vni::DEFAULT, &frame[..])));
        }
        emitted.pop()
    }

    /// The network delivers datagrams that arrive together, neighbours of one size as a run.
    ///
    /// What comes out of the TAP stands for their frames, those of a flow in order.
    pub(crate) fn handle_burst(&mut self, burst: Vec<Datagram>, now: Tick) -> Vec<Vec<u8>> {
        let dropped = self.dropped();
        let arrived: Vec<_> = burst
            .iter()
            .filter_map(|datagram| Some(vxlan::parse(&datagram.payload).ok()?.1.to_vec()))
            .collect();
        let total = burst.len() as u64;

        for (run, size) in runs(burst) {
            self.net.deliver_run(run, size);
        }
        while self.worker.turn(now).unwrap().reads > 0 {}

        assert_eq!(self.net.take(), None, "what came from a peer goes to no peer");
        let mut frame = Vec::new();
        let emitted = drain(|| self.cable.recv_with(&mut frame).map(|vnet| (vnet, frame.clone())));
        let frames: Vec<_> = emitted.iter().flat_map(segmented).collect();
        assert_eq!(frames.len() as u64 + self.dropped() - dropped, total);
        if frames.len() == arrived.len() {
            assert_eq!(by_flow(&frames), by_flow(&arrived));
        }
        frames
    }

    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let counts = DropReason::ALL.map(|reason| (reason, self.counters.dropped(reason)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).sum()
    }

    /// Who has to have a frame, by what the table says at this moment.
    fn receivers(&self, frame: &[u8]) -> Vec<Peer> {
        let plan = self.cell.load();
        let dst = Frame::parse(frame).unwrap().dst();
        let place = if dst.is_group() { None } else { self.table.lookup(dst) };
        match place {
            None => plan.peers().map(|(_, peer)| *peer).collect(),
            Some(Port::Local) => Vec::new(),
            Some(Port::Peer(id)) => plan.peer(id).copied().into_iter().collect(),
        }
    }

    /// Checks what was sent to `peers` for a frame; returns to how many of them nothing was, as it
    /// does not fit.
    fn check_sent(&self, frame: &[u8], peers: &[Peer], datagrams: &[Datagram]) -> u64 {
        for datagram in datagrams {
            assert_eq!(datagram.from, self.addr);
            assert!(peers.iter().any(|peer| peer.addr.ip() == datagram.to), "a stranger got it");
        }
        let mut refused = 0;
        for peer in peers {
            let to_peer = |datagram: &&Datagram| datagram.to == peer.addr.ip();
            let parts: Vec<_> = datagrams.iter().filter(to_peer).collect();
            if frame.len() <= ETHERNET_LEN + usize::from(peer.mtu.min(self.path_mtu).octets()) {
                let [whole] = parts[..] else { panic!("{} datagrams, not one", parts.len()) };
                assert_eq!(vxlan::parse(&whole.payload), Ok((Vni::DEFAULT, frame)));
            } else {
                assert_ne!(parts.len(), 1, "a frame that does not fit was sent in one datagram");
                refused += u64::from(parts.is_empty());
            }
        }
        refused
    }

    fn turn(&mut self, now: Tick) {
        assert_eq!(self.worker.turn(now).unwrap().reads, 1);
    }

    fn take_emitted(&self) -> Vec<Vec<u8>> {
        let mut frame = Vec::new();
        drain(|| self.cable.recv(&mut frame).then(|| std::mem::take(&mut frame)))
    }
}

/// Neighbours of one sender and size, of which the last may be shorter, as UDP_GRO puts them
/// together; the size is 0 where there is one alone.
fn runs(burst: Vec<Datagram>) -> Vec<(Datagram, usize)> {
    const RUN_MAX: usize = 64_000;
    let mut runs: Vec<(Datagram, usize)> = Vec::new();
    for datagram in burst {
        let len = datagram.payload.len();
        if let Some((run, size)) = runs.last_mut() {
            let each = if *size == 0 { run.payload.len() } else { *size };
            let open = run.payload.len().is_multiple_of(each.max(1));
            let fits = 0 < len && len <= each && run.payload.len() + len <= RUN_MAX;
            if run.from == datagram.from && open && fits {
                run.payload.extend(&datagram.payload);
                *size = each;
                continue;
            }
        }
        runs.push((datagram, 0));
    }
    runs
}

/// What a kernel makes of a super-frame, so that a pod gets packets.
fn segmented((vnet, frame): &([u8; VNET_HEADER_LEN], Vec<u8>)) -> Vec<Vec<u8>> {
    let layers = Layers::parse(frame);
    let offload = Offload::parse(vnet, frame, layers.as_ref()).unwrap();
    if offload == Offload::NONE {
        return vec![frame.clone()];
    }
    let mut segments = Segments::new(frame, layers.unwrap(), offload.segment.into()).unwrap();
    let mut scratch = [0; HEADER_MAX];
    let mut packets = Vec::new();
    while let Some((header, payload)) = segments.next(&mut scratch) {
        packets.push([header, payload].concat());
    }
    packets
}

/// The frames of each flow in order, without what DF says does not matter: the identification, and
/// the checksum over it.
fn by_flow(frames: &[Vec<u8>]) -> BTreeMap<usize, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for frame in frames {
        let mut frame = frame.clone();
        let layers = Layers::parse(&frame);
        let flow = FlowHash::of(&frame, layers.as_ref()).pick(1 << 16);
        if let Some(layers) = layers.filter(|it| it.version == IpVersion::V4 && it.dont_fragment) {
            frame[layers.network + 4..layers.network + 6].fill(0);
            frame[layers.network + 10..layers.network + 12].fill(0);
        }
        flows.entry(flow).or_default().push(frame);
    }
    flows
}

fn drain<T>(next: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::from_fn(next).collect()
}
