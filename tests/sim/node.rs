use std::net::IpAddr;
use std::sync::Arc;

use switch::{
    Cable, Counters, Datagram, DropReason, ETHERNET_LEN, Forwarder, Frame, Limits, MacTable,
    MemoryNet, MemoryTap, MemoryUnderlay, Mtu, Peer, Plan, PlanCell, Port, Tick, Vni, Worker,
    vxlan,
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
    pub(crate) fn new(net: &MemoryNet, addr: IpAddr, path_mtu: Mtu) -> Self {
        let (tap, cable) = MemoryTap::pair();
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

fn drain<T>(next: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::from_fn(next).collect()
}
