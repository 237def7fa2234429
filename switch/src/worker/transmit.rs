//! From the TAP to the underlay.

mod runs;
mod slow;

use std::io::IoSlice;

use super::Context;
use crate::buf::{Batch, Buf, Slot};
use crate::checksum::{Sum, nonzero_for, put};
use crate::frame::ETHERNET_LEN;
use crate::limiter::Limiter;
use crate::segment::{HEADER_MAX, Segments};
use crate::vxlan::HEADER_LEN;
use crate::{
    Counters, DropReason, FlowHash, Frame, Layers, Message, Offload, PeerId, SendError, Tap,
    Underlay, Verdict, Way,
};
use runs::{Fate, Waiting};

/// Frames that may wait to be sent together; a flood to many peers sends them in several goes.
const WAITING: usize = 512;
/// Datagrams in a message that is made of a super-frame.
const RUN: usize = 128;
/// Scratch memory for the headers of each of them.
const HEADERS: usize = HEADER_LEN + HEADER_MAX;

/// ICMP answers that may be given in a burst: enough for every connection of a busy pod at once.
const ANSWERS_BURST: u64 = 100;
/// Answers per second beyond that (RFC 1812 §4.3.2.8 asks for a limit, not for a number).
const ANSWERS_PER_SECOND: u64 = 1000;

/// Turns frames of the bridge into datagrams.
#[derive(Debug)]
pub(super) struct Transmit {
    /// Frames of the batch that wait, in order; those of a slot have their tunnel header.
    waiting: Vec<Waiting>,
    fates: Vec<Fate>,
    /// Which lanes they wait for, as a set of bits.
    lanes: u64,
    headers: Box<[u8]>,
    scratch: Buf,
    spare: Buf,
    answers: Limiter,
}

/// Packets of a super-frame that were not sent.
struct Missing {
    packets: usize,
    why: SendError,
}

impl Missing {
    fn count(&self, counters: &Counters) {
        counters.count_drops(self.why.into(), self.packets);
    }
}

/// How a frame is to be sent.
#[derive(Clone, Copy)]
struct Job {
    slot: usize,
    flow: FlowHash,
    /// Payload octets of the packets that a super-frame stands for; 0 for a plain frame.
    segment: usize,
    /// How many these are, for who drops them; 1 for a plain frame.
    packets: usize,
    layers: Option<Layers>,
    /// It says that it is IP, and its headers lie: it shares no run with frames of others. A
    /// receiver that believes in its length might take theirs for a part of it.
    alone: bool,
}

impl Transmit {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(WAITING),
            fates: Vec::with_capacity(WAITING),
            lanes: 0,
            headers: vec![0; RUN * HEADERS].into(),
            scratch: Buf::new(),
            spare: Buf::new(),
            answers: Limiter::new(ANSWERS_BURST, ANSWERS_PER_SECOND),
        }
    }

    /// Handles a batch of frames and super-frames: when this returns, all was sent.
    pub(super) fn handle<T: Tap, U: Underlay>(
        &mut self,
        batch: &mut Batch,
        context: &mut Context<'_, T, U>,
    ) {
        for slot in 0..batch.len() {
            self.handle_slot(batch.slots_mut(), slot, context);
        }
        self.flush(batch.slots_mut(), context);
    }

    fn handle_slot<T: Tap, U: Underlay>(
        &mut self,
        slots: &mut [Slot],
        at: usize,
        context: &mut Context<'_, T, U>,
    ) {
        let Some(slot) = slots.get_mut(at) else { return };
        let (shared, octets) = (&mut *context.shared, slot.buf.octets());
        let layers = Layers::parse(octets);
        let Ok(frame) = Frame::parse(octets) else {
            shared.counters.from_tap.count(octets.len());
            return shared.counters.count_drop(DropReason::Runt);
        };
        let alone = layers.is_none() && frame.is_ip();
        let offload = Offload::parse(&slot.vnet, octets, layers.as_ref());
        let segment = offload.map_or(0, |offload| usize::from(offload.segment));
        let packets = layers.map_or(1, |it| packets_in(&it, octets, segment));
        shared.counters.from_tap.count_many(packets, octets.len());
        let verdict = match offload {
            Ok(_) if frame.is_probe() => Verdict::Drop(DropReason::Probe),
            Ok(_) => shared.forward_from_tap(frame, octets, context.now),
            Err(_) => Verdict::Drop(DropReason::BadOffload),
        };
        if offload.is_ok_and(|it| it.checksum && it.segment == 0) {
            complete_checksum(slot, layers.as_ref());
        }
        let flow = FlowHash::of(slot.buf.octets(), layers.as_ref());
        let job = Job { slot: at, flow, segment, packets, layers, alone };
        match verdict {
            Verdict::Peer(id) => self.send(slots, id, job, context),
            Verdict::Flood => {
                let mut next = 0;
                while let Some(id) = context.shared.plan.flood().get(next).copied() {
                    self.send(slots, id, job, context);
                    next += 1;
                }
            }
            Verdict::Drop(reason) => context.shared.counters.count_drops(reason, packets),
            // Split horizon: what came from the TAP never returns to it.
            Verdict::Local => {
                context.shared.counters.count_drops(DropReason::LocalDestination, packets);
            }
        }
    }

    /// Sends a frame to a peer, or puts it among those that wait.
    fn send<T: Tap, U: Underlay>(
        &mut self,
        slots: &mut [Slot],
        id: PeerId,
        job: Job,
        context: &mut Context<'_, T, U>,
    ) {
        if job.segment > 0 {
            // What waits has come before: it must not be overtaken.
            self.flush(slots, context);
            return self.send_super(slots, id, job, context);
        }
        let Some(slot) = slots.get_mut(job.slot) else { return };
        let Some(way) = context.shared.plan.way(id) else {
            return context.shared.counters.count_drop(DropReason::PathDown);
        };
        // A flood meets its own frame waiting for another peer, with its tunnel header on.
        let waits = self.waiting.last().is_some_and(|last| last.slot == job.slot);
        let worn = if waits { HEADER_LEN } else { 0 };
        let mtu = usize::from(context.shared.mtu_of(id).octets());
        if slot.buf.octets().len() > worn + ETHERNET_LEN + mtu {
            self.flush(slots, context);
            return self.handle_too_big(slots, id, job.slot, context);
        }
        let lane = context.underlay.lane(way.tunnel, job.flow);
        if !waits {
            slot.buf.push_front(way.header);
        }
        let octets = slot.buf.octets();
        let header = (waits && !octets.starts_with(&way.header)).then_some(way.header);
        let (len, alone) = (octets.len(), job.alone);
        self.push_waiting(Waiting { slot: job.slot, id, lane, len, header, alone });
        if self.waiting.len() == WAITING {
            self.flush(slots, context);
        }
    }

    /// Sends a super-frame as runs of datagrams: headers are made, the payload stays in place.
    fn send_super<T: Tap, U: Underlay>(
        &mut self,
        slots: &[Slot],
        id: PeerId,
        job: Job,
        context: &mut Context<'_, T, U>,
    ) {
        let Some((frame, layers)) = super_frame(slots, job) else { return };
        let Some(mut segments) = Segments::new(frame, layers, job.segment) else {
            return context.shared.counters.count_drop(DropReason::BadOffload);
        };
        let packet = segments.header_len() - layers.network + segments.size();
        if packet + layers.tags > usize::from(context.shared.mtu_of(id).octets()) {
            return self.handle_super_too_big(slots, id, job, context);
        }
        while segments.left() > 0 {
            match self.send_segments(&mut segments, id, job.flow, context) {
                Ok(()) => {}
                Err(Missing { why: SendError::TooBig, packets }) => {
                    let job = Job { packets: packets + segments.left(), ..job };
                    context.shared.narrow(id, context.underlay, context.now);
                    return self.handle_super_too_big(slots, id, job, context);
                }
                Err(missing) => missing.count(&context.shared.counters),
            }
        }
    }

    /// Sends as many segments as one message takes; what remains is spread evenly, as a small rest
    /// costs as much as a full message.
    fn send_segments<T: Tap, U: Underlay>(
        &mut self,
        segments: &mut Segments<'_>,
        id: PeerId,
        flow: FlowHash,
        context: &mut Context<'_, T, U>,
    ) -> Result<(), Missing> {
        let Some(Way { tunnel, to, header: outer }) = context.shared.plan.way(id).copied() else {
            return Err(Missing { packets: segments.skip_rest(), why: SendError::NoRoute });
        };
        let lane = context.underlay.lane(tunnel, flow);
        let limits = context.underlay.limits(lane);
        let size = HEADER_LEN + segments.header_len() + segments.size();
        let most = (limits.octets / size).clamp(1, limits.datagrams.min(RUN));
        let messages = segments.left().div_ceil(most).max(1);
        let mut parts = [IoSlice::new(&[]); 2 * RUN];
        let mut packets = 0;
        let mut rooms = self.headers.chunks_exact_mut(HEADERS);
        for pair in parts.as_chunks_mut::<2>().0.iter_mut().take(segments.left().div_ceil(messages))
        {
            let Some(room) = rooms.next() else { break };
            let Some((front, rest)) = room.split_first_chunk_mut::<HEADER_LEN>() else { break };
            *front = outer;
            let Some((header, payload)) = segments.next(rest) else { break };
            let header_len = header.len();
            packets += 1;
            let headers = room.get(..HEADER_LEN + header_len).unwrap_or_default();
            *pair = [IoSlice::new(headers), IoSlice::new(payload)];
        }
        let parts = parts.get(..2 * packets).unwrap_or_default();
        let mut outcome = Ok(());
        let message = Message { to, parts, size };
        context.underlay.send(lane, &[message], &mut |_, it| outcome = it);
        let sent = outcome.map_or_else(|unsent| unsent.sent, |()| packets);
        if let Some(peer) = context.shared.counters.peer(id) {
            let octets: usize = parts.iter().take(2 * sent).map(|part| part.len()).sum();
            peer.sent.count_many(sent, octets - sent * HEADER_LEN);
        }
        outcome.map_err(|unsent| Missing { packets: packets - sent, why: unsent.why })
    }
}

fn super_frame(slots: &[Slot], job: Job) -> Option<(&[u8], Layers)> {
    Some((slots.get(job.slot)?.buf.octets(), job.layers?))
}

/// How many packets a frame stands for.
fn packets_in(layers: &Layers, frame: &[u8], segment: usize) -> usize {
    match crate::segment::header_len(frame, layers) {
        Some(header_len) if segment > 0 => (layers.end - header_len).div_ceil(segment).max(1),
        Some(_) | None => 1,
    }
}

/// Finishes the checksum that the kernel has left to its network card, whatever the protocol.
fn complete_checksum(slot: &mut Slot, layers: Option<&Layers>) {
    let (start, field) = Offload::partial(&slot.vnet);
    let octets = slot.buf.octets_mut();
    let end = layers.map_or(octets.len(), |layers| layers.end);
    let Some(covered) = octets.get(start..end) else { return };
    let checksum = Sum::default().add(covered).finish();
    let protocol = layers.map_or(0, |layers| layers.protocol);
    put(octets, field, nonzero_for(protocol, checksum));
}
