//! The frame loop: from the TAP to the underlay and back, one batch at a time, in one thread.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;

use crate::buf::{Batch, Buf, Slot};
use crate::frame::{ETHERNET_LEN, VLAN_TAG_LEN};
use crate::limiter::Limiter;
use crate::segment::{HEADER_MAX, Segments};
use crate::too_big::{Fragments, Remedy, answer};
use crate::vxlan::{self, BadVxlan, HEADER_LEN};
use crate::{
    Counters, DropReason, FlowHash, Forwarder, Frame, Layers, Mtu, Peer, PeerId, Plan, PlanCell,
    Port, SendError, Tap, Tick, Underlay, Verdict, finish_partial,
};

/// Frames taken in one go from one side before it is the other's turn.
const BATCH: usize = 32;

/// The largest frame an uplink carries, with two VLAN tags.
const FRAME_MAX: usize = ETHERNET_LEN + 2 * VLAN_TAG_LEN + Mtu::UPLINK.octets() as usize;

/// Moves frames between a TAP and an underlay as the plan says.
///
/// It owns both and all its buffers; what it shares with others is the plan, the MAC table and the
/// counters. Nothing on the way of a frame allocates, waits or logs.
#[derive(Debug)]
pub struct Worker<T, U> {
    path: Path<T, U>,
    batch: Batch,
}

/// A side of the worker that is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The TAP device is gone.
    #[error("the TAP device is gone")]
    Tap(#[source] io::Error),
    /// The underlay socket failed.
    #[error("the underlay socket failed")]
    Underlay(#[source] io::Error),
    /// Waiting failed.
    #[error("poll failed")]
    Poll(#[source] io::Error),
}

#[derive(Debug)]
struct Path<T, U> {
    tap: T,
    underlay: U,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    cell: Arc<PlanCell>,
    plan: Arc<Plan>,
    generation: u64,
    /// What paths were found to carry less of than this plan says.
    narrowed: Vec<(PeerId, Mtu)>,
    answers: Limiter,
    scratch: Buf,
}

impl<T: Tap, U: Underlay> Worker<T, U> {
    /// A worker between `tap` and `underlay`. This allocates all it will ever need.
    pub fn new(
        tap: T,
        underlay: U,
        forwarder: Forwarder,
        cell: Arc<PlanCell>,
        counters: Arc<Counters>,
    ) -> Self {
        let (plan, answers, scratch) = (cell.load(), Limiter::default(), Buf::new());
        let (generation, narrowed) = (0, Vec::new());
        Self {
            path: Path {
                tap,
                underlay,
                forwarder,
                counters,
                cell,
                plan,
                generation,
                narrowed,
                answers,
                scratch,
            },
            batch: Batch::new(BATCH),
        }
    }

    /// Moves at most one batch each way, without waiting. Returns how many frames it took in: at 0
    /// there is nothing to do until one side has something to read.
    ///
    /// # Errors
    /// One side is of no more use; frames already read from it were handled.
    pub fn turn(&mut self, now: Tick) -> Result<usize, Fault> {
        let Self { path, batch } = self;
        path.refresh();

        batch.clear();
        let read = path.underlay.recv(batch);
        batch.iter_mut().for_each(|slot| path.handle_datagram(slot, now));
        let taken = batch.len();
        read.map_err(Fault::Underlay)?;

        batch.clear();
        let read = path.tap.recv(batch);
        batch.iter_mut().for_each(|slot| path.handle_frame(&mut slot.buf, now));
        read.map_err(Fault::Tap)?;
        Ok(taken + batch.len())
    }

    /// Both sides, to wait for.
    pub fn sides(&self) -> (&T, &U) {
        (&self.path.tap, &self.path.underlay)
    }
}

impl<T: Tap, U: Underlay> Path<T, U> {
    fn refresh(&mut self) {
        if let Some(plan) = self.cell.load_if_newer(&mut self.generation) {
            self.plan = plan;
            self.narrowed.clear();
        }
    }

    /// A frame from the TAP.
    fn handle_frame(&mut self, buf: &mut Buf, now: Tick) {
        self.counters.from_tap.count(buf.octets().len());
        let Ok(frame) = Frame::parse(buf.octets()) else {
            return self.counters.count_drop(DropReason::Runt);
        };
        match self.forwarder.forward(&self.plan, Port::Local, frame, now) {
            Verdict::Peer(id) => self.send(id, buf, now),
            Verdict::Flood => self.flood(buf, now),
            Verdict::Drop(reason) => self.counters.count_drop(reason),
            // Split horizon: what came from the TAP never returns to it.
            Verdict::Local => self.counters.count_drop(DropReason::LocalDestination),
        }
    }

    fn flood(&mut self, buf: &mut Buf, now: Tick) {
        let mut next = 0;
        while let Some(id) = self.plan.flood().get(next).copied() {
            self.send(id, buf, now);
            next += 1;
        }
    }

    /// A datagram from the underlay.
    fn handle_datagram(&mut self, slot: &mut Slot, now: Tick) {
        match self.receive(slot.from, &mut slot.buf, now) {
            Ok(id) => self.deliver(id, &mut slot.buf),
            Err(reason) => self.counters.count_drop(reason),
        }
    }

    /// Turns a datagram into the frame in it, if it is one for this node's bridge.
    fn receive(&self, from: IpAddr, buf: &mut Buf, now: Tick) -> Result<PeerId, DropReason> {
        let id = self.plan.peer_at(from).ok_or(DropReason::UnknownVtep)?;
        let vni = vxlan::decap(buf).map_err(|bad| match bad {
            BadVxlan::Short { .. } => DropReason::ShortVxlan,
            BadVxlan::NoVni => DropReason::NoVni,
        })?;
        if vni != self.plan.vni() {
            return Err(DropReason::WrongVni);
        }
        if let Some(peer) = self.counters.peer(id) {
            peer.received.count(buf.octets().len());
            peer.hear(now);
        }
        let frame = Frame::parse(buf.octets()).map_err(|_| DropReason::Runt)?;
        match self.forwarder.forward(&self.plan, Port::Peer(id), frame, now) {
            Verdict::Local => Ok(id),
            Verdict::Drop(reason) => Err(reason),
            // Split horizon: what came from a peer goes to no other.
            Verdict::Peer(_) | Verdict::Flood => Err(DropReason::NoPath),
        }
    }

    /// Gives a peer's frame to the TAP, in a form that a bridge port takes.
    fn deliver(&mut self, from: PeerId, buf: &mut Buf) {
        if let Some(layers) = Layers::parse(buf.octets()) {
            let mtu = self.mtu_of(from);
            if layers.packet_len() > usize::from(mtu.octets())
                && let Some(segments) = Segments::new(buf.octets(), layers, mtu)
            {
                self.counters.segmented.add(1);
                return self.deliver_segments(segments);
            }
            if finish_partial(buf.octets_mut(), &layers) {
                self.counters.checksums.add(1);
            }
        }
        if buf.octets().len() > FRAME_MAX {
            return self.counters.count_drop(DropReason::Oversize);
        }
        self.write(&[IoSlice::new(buf.octets())]);
    }

    fn deliver_segments(&mut self, mut segments: Segments<'_>) {
        let mut scratch = [0; HEADER_MAX];
        while let Some((header, payload)) = segments.next(&mut scratch) {
            self.write(&[IoSlice::new(header), IoSlice::new(payload)]);
        }
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) {
        match self.tap.send(parts) {
            Ok(()) => self.counters.to_tap.count(parts.iter().map(|part| part.len()).sum()),
            Err(error) => self.counters.count_drop(error.into()),
        }
    }

    /// Sends a frame to a peer, by whatever means its size asks for. `buf` is as it was afterwards.
    fn send(&mut self, id: PeerId, buf: &mut Buf, now: Tick) {
        let Some(peer) = self.plan.peer(id).copied() else {
            return self.counters.count_drop(DropReason::NoPath);
        };
        let layers = Layers::parse(buf.octets());
        let flow = FlowHash::of(buf.octets(), layers.as_ref());
        let fits = buf.octets().len() <= ETHERNET_LEN + usize::from(self.mtu_of(id).octets());
        let sent = if fits { self.tunnel(id, &peer, flow, buf) } else { Err(SendError::TooBig) };
        match sent {
            Ok(()) => {}
            Err(SendError::TooBig) => {
                if fits {
                    self.narrow(id, &peer);
                }
                self.handle_too_big(id, &peer, buf, now);
            }
            Err(error) => self.counters.count_drop(error.into()),
        }
    }

    /// Sends a frame to a peer in one datagram.
    fn tunnel(
        &mut self,
        id: PeerId,
        peer: &Peer,
        flow: FlowHash,
        buf: &mut Buf,
    ) -> Result<(), SendError> {
        let len = buf.octets().len();
        vxlan::encap(buf, self.plan.vni());
        let sent = self.underlay.send(peer.addr, flow, buf.octets());
        buf.pop_front(HEADER_LEN);
        if let (Ok(()), Some(peer)) = (sent, self.counters.peer(id)) {
            peer.sent.count(len);
        }
        sent
    }

    /// The slow path: a packet that the path to `id` does not carry in one piece.
    fn handle_too_big(&mut self, id: PeerId, peer: &Peer, buf: &Buf, now: Tick) {
        let mtu = self.mtu_of(id);
        let layers = Layers::parse(buf.octets());
        let mut scratch = std::mem::take(&mut self.scratch);
        match (Remedy::of(buf.octets(), layers.as_ref()), &layers) {
            (Remedy::Fragment, Some(layers)) => {
                self.send_fragments(
                    id,
                    peer,
                    Fragments::new(buf.octets(), layers, mtu),
                    &mut scratch,
                );
            }
            (Remedy::Answer, Some(layers)) => {
                self.counters.count_drop(DropReason::TooBig);
                if !self.answers.admit(now) {
                    self.counters.icmp_limited.add(1);
                } else if answer(buf.octets(), layers, mtu, &mut scratch) {
                    self.counters.icmp_sent.add(1);
                    self.write(&[IoSlice::new(scratch.octets())]);
                }
            }
            (Remedy::None, _) | (_, None) => self.counters.count_drop(DropReason::TooBig),
        }
        self.scratch = scratch;
    }

    fn send_fragments(
        &mut self,
        id: PeerId,
        peer: &Peer,
        fragments: Option<Fragments<'_>>,
        scratch: &mut Buf,
    ) {
        let Some(mut fragments) = fragments else {
            return self.counters.count_drop(DropReason::TooBig);
        };
        self.counters.fragmented.add(1);
        while fragments.next(scratch) {
            let layers = Layers::parse(scratch.octets());
            let flow = FlowHash::of(scratch.octets(), layers.as_ref());
            if let Err(error) = self.tunnel(id, peer, flow, scratch) {
                self.counters.count_drop(error.into());
            }
        }
    }

    /// The socket refused a size that the plan allows: asks what the path carries now.
    fn narrow(&mut self, id: PeerId, peer: &Peer) {
        let Ok(underlay) = self.underlay.path_mtu(peer.addr.ip()) else { return };
        let mtu = Mtu::over(underlay, peer.addr.ip()).unwrap_or(Mtu::MIN);
        self.narrowed.retain(|(other, _)| *other != id);
        self.narrowed.push((id, mtu));
    }

    fn mtu_of(&self, id: PeerId) -> Mtu {
        let planned = self.plan.peer(id).map_or(Mtu::MIN, |peer| peer.mtu);
        match self.narrowed.iter().find(|(other, _)| *other == id) {
            Some((_, narrowed)) => planned.min(*narrowed),
            None => planned,
        }
    }
}

#[cfg(test)]
mod tests;
