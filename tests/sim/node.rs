use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use switch::sleeve::{self, HEADER_LEN, HOPS, Header};
use switch::{
    Cable, Counters, Datagram, DropReason, ETHERNET_LEN, FlowHash, Forwarder, Frame, HEADER_MAX,
    IpVersion, Layers, Limits, MacTable, MemoryNet, MemoryTap, MemoryUnderlay, Mtu, Offload, Path,
    PeerId, Plan, PlanCell, Port, Segments, Tick, Tunnel, VNET_HEADER_LEN, Vni, Worker, vxlan,
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
    nets: Nets,
}

/// The networks of both tunnels: they differ only by the port.
#[derive(Clone, Debug)]
pub(crate) struct Nets {
    pub(crate) vxlan: MemoryNet,
    pub(crate) sleeve: MemoryNet,
}

/// A datagram of either tunnel.
pub(crate) type Sent = (Tunnel, Datagram);

impl Nets {
    pub(crate) fn new(mtu: u32) -> Self {
        Self { vxlan: MemoryNet::new(mtu), sleeve: MemoryNet::new(mtu) }
    }

    fn of(&self, tunnel: Tunnel) -> &MemoryNet {
        match tunnel {
            Tunnel::Vxlan => &self.vxlan,
            Tunnel::Sleeve => &self.sleeve,
        }
    }

    fn take(&self) -> Option<Sent> {
        let of = |tunnel| self.of(tunnel).take().map(|datagram| (tunnel, datagram));
        of(Tunnel::Vxlan).or_else(|| of(Tunnel::Sleeve))
    }
}

/// What became of a frame of a pod.
pub(crate) struct Outcome {
    pub(crate) datagrams: Vec<Sent>,
    /// ICMP errors for the pod that sent it.
    pub(crate) answers: Vec<Vec<u8>>,
}

impl Node {
    pub(crate) fn new(
        nets: &Nets,
        addr: IpAddr,
        path_mtu: Mtu,
        (tap, cable): (MemoryTap, Cable),
    ) -> Self {
        let table = Arc::new(MacTable::new(Limits::default()));
        let cell = Arc::new(PlanCell::new(Plan::new(Vni::DEFAULT, [])));
        let counters = Arc::new(Counters::new(16));
        let worker = Worker::new(
            tap,
            nets.vxlan.attach(addr),
            Forwarder::new(Arc::clone(&table)),
            Arc::clone(&cell),
            Arc::clone(&counters),
        );
        let worker = worker.with_sleeve(nets.sleeve.attach(addr));
        let (bridge, nets) = (Bridge::default(), nets.clone());
        Self { addr, bridge, table, cell, counters, path_mtu, worker, cable, nets }
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

        let datagrams = drain(|| self.nets.take());
        let answers = self.take_emitted();
        let refused = self.check_sent(frame, &peers, &datagrams);
        assert_eq!(self.counters.dropped(DropReason::TooBig) - too_big, refused);
        assert_eq!(self.dropped() - dropped, refused + u64::from(peers.is_empty()));
        assert_eq!(self.counters.icmp_sent.load() - icmp, answers.len() as u64);
        Outcome { datagrams, answers }
    }

    /// The network delivers a datagram.
    ///
    /// Its frame comes out of the TAP as it is, or it is passed on if it came for another, or it is
    /// dropped and counted once; in VXLAN nothing goes back to the network.
    pub(crate) fn handle_datagram(&mut self, (tunnel, datagram): Sent, now: Tick) -> Handled {
        assert_ne!(datagram.from, self.addr, "a switch heard itself");
        let (from, payload) = (datagram.from, datagram.payload.clone());
        let dropped = self.dropped();

        self.nets.of(tunnel).deliver(datagram);
        self.turn(now);

        let passed = self.take_passed(tunnel, from);
        let mut emitted = self.take_emitted();
        let drops = self.dropped() - dropped;
        assert_eq!(emitted.len() as u64 + passed.len() as u64 + drops, 1);
        if let Some(frame) = emitted.first() {
            assert_eq!(self.frame_in(tunnel, &payload), Some(&frame[..]));
        }
        if let Some((_, datagram)) = passed.first() {
            assert_eq!(datagram.payload, one_hop_less(&payload));
        }
        Handled { frame: emitted.pop(), passed }
    }

    /// The network delivers datagrams that arrive together, neighbours of one size as a run.
    ///
    /// What comes out of the TAP stands for their frames, those of a flow in order, and so do those
    /// that are passed on.
    pub(crate) fn handle_burst(
        &mut self,
        tunnel: Tunnel,
        burst: Vec<Datagram>,
        now: Tick,
    ) -> (Vec<Vec<u8>>, Vec<Sent>) {
        let dropped = self.dropped();
        let arrived: Vec<_> = burst
            .iter()
            .filter_map(|datagram| Some(self.frame_in(tunnel, &datagram.payload)?.to_vec()))
            .collect();
        let others: Vec<_> = burst.iter().map(|datagram| one_hop_less(&datagram.payload)).collect();
        let total = burst.len() as u64;

        for (run, size) in runs(burst) {
            self.nets.of(tunnel).deliver_run(run, size);
        }
        while self.worker.turn(now).unwrap().reads > 0 {}

        let passed = self.take_passed(tunnel, self.addr);
        let mut frame = Vec::new();
        let emitted = drain(|| self.cable.recv_with(&mut frame).map(|vnet| (vnet, frame.clone())));
        let frames: Vec<_> = emitted.iter().flat_map(segmented).collect();
        let outcomes = frames.len() as u64 + passed.len() as u64 + self.dropped() - dropped;
        assert_eq!(outcomes, total);
        if frames.len() == arrived.len() {
            assert_eq!(by_flow(&frames), by_flow(&arrived));
        }
        let mut others = others.iter();
        for (_, datagram) in &passed {
            assert!(others.any(|other| *other == datagram.payload), "changed, or out of order");
        }
        (frames, passed)
    }

    /// What was sent for a datagram that came from `from`: in VXLAN nothing, and never back.
    fn take_passed(&self, tunnel: Tunnel, from: IpAddr) -> Vec<Sent> {
        let passed = drain(|| self.nets.take());
        for (to_tunnel, datagram) in &passed {
            assert_eq!((tunnel, *to_tunnel), (Tunnel::Sleeve, Tunnel::Sleeve), "split horizon");
            assert_ne!(datagram.to, from, "sent back");
            let (header, _) = sleeve::parse(&datagram.payload).unwrap();
            assert_ne!(Some(header.destination), self.cell.load().label(), "passed on our own");
        }
        passed
    }

    /// The frame in a datagram, if it is for this node.
    fn frame_in<'a>(&self, tunnel: Tunnel, payload: &'a [u8]) -> Option<&'a [u8]> {
        match tunnel {
            Tunnel::Vxlan => {
                let (vni, frame) = vxlan::parse(payload).ok()?;
                (vni == Vni::DEFAULT).then_some(frame)
            }
            Tunnel::Sleeve => {
                let (header, frame) = sleeve::parse(payload).ok()?;
                (Some(header.destination) == self.cell.load().label()).then_some(frame)
            }
        }
    }

    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let counts = DropReason::ALL.map(|reason| (reason, self.counters.dropped(reason)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).sum()
    }

    /// Who has to have a frame, by what the table says at this moment.
    fn receivers(&self, frame: &[u8]) -> Vec<PeerId> {
        let plan = self.cell.load();
        let dst = Frame::parse(frame).unwrap().dst();
        let place = if dst.is_group() { None } else { self.table.lookup(dst) };
        let all: Vec<_> = match place {
            None => plan.peers().map(|(id, _)| id).collect(),
            Some(Port::Local) => Vec::new(),
            Some(Port::Peer(id)) => vec![id],
        };
        let up = |id: &PeerId| plan.route(*id).is_some_and(|route| route.path != Path::Down);
        all.into_iter().filter(up).collect()
    }

    /// Checks what was sent to `peers` for a frame; returns to how many of them nothing was, as it
    /// does not fit.
    fn check_sent(&self, frame: &[u8], peers: &[PeerId], datagrams: &[Sent]) -> u64 {
        let plan = self.cell.load();
        let mut refused = 0;
        let mut seen = 0;
        for id in peers {
            let (tunnel, to, header) = expected_way(&plan, *id);
            let to_peer = |(by, datagram): &&Sent| {
                let worn = datagram.payload.get(..HEADER_LEN) == Some(&header[..]);
                (*by, datagram.to, worn) == (tunnel, to, true)
            };
            let parts: Vec<_> = datagrams.iter().filter(to_peer).collect();
            seen += parts.len();
            let mtu = plan.peer(*id).unwrap().mtu.min(self.path_mtu);
            if frame.len() <= ETHERNET_LEN + usize::from(mtu.octets()) {
                let [(_, whole)] = parts[..] else { panic!("{} datagrams, not one", parts.len()) };
                assert_eq!((whole.from, &whole.payload[HEADER_LEN..]), (self.addr, frame));
            } else {
                assert_ne!(parts.len(), 1, "a frame that does not fit was sent in one datagram");
                refused += u64::from(parts.is_empty());
            }
        }
        assert_eq!(seen, datagrams.len(), "a stranger got it");
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

/// What becomes of a datagram.
pub(crate) struct Handled {
    pub(crate) frame: Option<Vec<u8>>,
    pub(crate) passed: Vec<Sent>,
}

/// How a plan's words have a peer's frames sent: by which tunnel, where to, and with what header.
fn expected_way(plan: &Plan, id: PeerId) -> (Tunnel, IpAddr, [u8; HEADER_LEN]) {
    let route = plan.route(id).unwrap();
    let hop = |id| plan.route(id).unwrap().sleeve.unwrap().ip();
    let header = || {
        let (source, destination) = (plan.label().unwrap(), route.label.unwrap());
        Header { source, destination, hops: HOPS }.emit()
    };
    match route.path {
        Path::Fast | Path::User => {
            (Tunnel::Vxlan, plan.peer(id).unwrap().addr.ip(), vxlan::header(Vni::DEFAULT))
        }
        Path::Sleeve => (Tunnel::Sleeve, hop(id), header()),
        Path::Relay(relay) => (Tunnel::Sleeve, hop(relay), header()),
        Path::Down => panic!("there is no way to a peer that is down"),
    }
}

fn one_hop_less(payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    if let Some(hops) = payload.get_mut(7) {
        *hops = hops.wrapping_sub(1);
    }
    payload
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
