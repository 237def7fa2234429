//! From the underlay to the TAP.

use std::io::IoSlice;

use super::whole::is_super_frame;
use super::{Context, FRAME_MAX, Shared};
use crate::buf::{Batch, Slot};
use crate::checksum::{field_of, pseudo_header, put};
use crate::coalesce::{Bundle, Coalescer, PARTS, Place};
use crate::layers::{TCP, UDP};
use crate::segment::{HEADER_MAX, Segments, header_len};
use crate::vxlan::{self, BadVxlan, HEADER_LEN};
use crate::{
    Counters, DropReason, Frame, Layers, Offload, PeerId, Port, Punt, Takes, Tap, TapError, Told,
    VNET_HEADER_LEN, Verdict, Via, Vni, finish_partial,
};

/// Turns datagrams into frames for the bridge.
#[derive(Debug)]
pub(super) struct Receive {
    coalescer: Coalescer,
}

impl Receive {
    pub(super) fn new() -> Self {
        Self { coalescer: Coalescer::new() }
    }

    /// Handles a batch of datagrams and runs of datagrams: when this returns, all was written.
    pub(super) fn handle<T: Tap, U>(&mut self, batch: &mut Batch, context: &mut Context<'_, T, U>) {
        for slot in 0..batch.len() {
            self.handle_slot(batch.slots_mut(), slot, context);
        }
        self.flush(batch.slots(), context);
    }

    fn handle_slot<T: Tap, U>(
        &mut self,
        slots: &mut [Slot],
        at: usize,
        context: &mut Context<'_, T, U>,
    ) {
        let Some(slot) = slots.get(at) else { return };
        let (len, stride) = (slot.buf.octets().len(), slot.stride);
        let Some(id) = context.shared.plan.peer_at(slot.from) else {
            let datagrams = if stride == 0 { 1 } else { len.div_ceil(stride) };
            let counters = &context.shared.counters;
            return (0..datagrams).for_each(|_| counters.count_drop(DropReason::UnknownVtep));
        };
        let own = context.shared.plan.vni();
        let whole = stride == 0 || stride >= len || is_super_frame(slot.buf.octets(), stride, own);
        let step = if whole { len } else { stride };
        let mut start = 0;
        loop {
            let place = Place { slot: at, start, end: (start + step).min(len) };
            match open(slots, place, own)
                .and_then(|place| accept(slots, place, (id, Via::User), context))
            {
                Ok(None) => {}
                Ok(Some(place)) => self.deliver(slots, place, Origin { id, stride }, context),
                Err(reason) => context.shared.counters.count_drop(reason),
            }
            start += step;
            if start >= len {
                return;
            }
        }
    }

    /// Gives a peer's frame to the TAP, in a form that it takes.
    pub(super) fn deliver<T: Tap, U>(
        &mut self,
        slots: &mut [Slot],
        place: Place,
        origin: Origin,
        context: &mut Context<'_, T, U>,
    ) {
        let Some(frame) = frame_mut(slots, place) else { return };
        let layers = Layers::parse(frame);
        let takes = context.tap.takes();
        let joins = layers.is_some_and(|it| takes_protocol(takes, it.protocol));
        if let Some(layers) = layers {
            if let Some(segment) = segment_of(frame, &layers, origin, context.shared) {
                return self.deliver_super(slots, place, (layers, segment), context);
            }
            // The kernel joins only datagrams whose outer checksum it has verified
            // (net/ipv4/udp_offload.c, udp_gro_receive_segment): it covers the inner one.
            let verified = origin.stride > 0;
            if joins && self.coalescer.append(frame, place, layers, verified) {
                return;
            }
            if finish_partial(frame, &layers) {
                context.shared.counters.checksums.add(1);
            }
        }
        if frame.len() > FRAME_MAX {
            return context.shared.counters.count_drop(DropReason::Oversize);
        }
        if !self.coalescer.push(frame, place, layers, joins) {
            self.flush(slots, context);
            self.coalescer.push(octets_at(slots, place), place, layers, joins);
        }
    }

    fn deliver_super<T: Tap, U>(
        &mut self,
        slots: &mut [Slot],
        place: Place,
        (layers, segment): (Layers, u16),
        context: &mut Context<'_, T, U>,
    ) {
        context.shared.counters.segmented.add(1);
        if !takes_protocol(context.tap.takes(), layers.protocol) {
            self.flush(slots, context);
            let frame = octets_at(slots, place);
            return write_segments(frame, layers, segment, &context.shared.counters, context.tap);
        }
        let Some(frame) = frame_mut(slots, place) else { return };
        let transport_len = layers.end - layers.transport;
        let pseudo = pseudo_header(frame, &layers, transport_len).fold();
        put(frame, layers.transport + field_of(layers.protocol).unwrap_or_default(), pseudo);
        let offload = Offload { segment, checksum: true };
        if !self.coalescer.push_whole(place, layers, frame, offload) {
            self.flush(slots, context);
            self.coalescer.push_whole(place, layers, octets_at(slots, place), offload);
        }
    }

    /// Writes all that waits to be joined.
    pub(super) fn flush<T: Tap, U>(&mut self, slots: &[Slot], context: &mut Context<'_, T, U>) {
        for bundle in self.coalescer.finish() {
            write_bundle(bundle, slots, &context.shared.counters, context.tap);
        }
        self.coalescer.clear();
    }
}

/// Where a frame came from: whose datagram, and how large those of its run are.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) id: PeerId,
    pub(super) stride: usize,
}

/// Payload octets of the packets that a super-frame stands for; `None` when it is none.
fn segment_of(frame: &[u8], layers: &Layers, origin: Origin, shared: &Shared) -> Option<u16> {
    let mtu = usize::from(shared.mtu_of(origin.id).octets());
    let size = match layers.protocol {
        // The sender's own size is not told: what the path carries is what it had in mind.
        TCP if layers.packet_len() > mtu => {
            (mtu - layers.tags).checked_sub(header_len(frame, layers)? - layers.network)?
        }
        // Datagrams stay apart even where the path would carry all of them in one.
        UDP if origin.stride > 0 => origin.stride,
        _ => return None,
    };
    let payload = layers.end.checked_sub(header_len(frame, layers)?)?;
    u16::try_from(size).ok().filter(|size| *size > 0 && usize::from(*size) < payload)
}

/// Finds the frame in a VXLAN datagram.
fn open(slots: &[Slot], place: Place, own: Vni) -> Result<Place, DropReason> {
    let (vni, _) = vxlan::parse(octets_at(slots, place)).map_err(|bad| match bad {
        BadVxlan::Short { .. } => DropReason::ShortVxlan,
        BadVxlan::NoVni => DropReason::NoVni,
    })?;
    if vni != own {
        return Err(DropReason::WrongVni);
    }
    Ok(Place { start: place.start + HEADER_LEN, ..place })
}

/// Learns from a peer's frame, and says whether it is for this node's bridge; `None` when control
/// has it.
pub(super) fn accept<T, U>(
    slots: &[Slot],
    place: Place,
    (id, via): (PeerId, Via),
    context: &mut Context<'_, T, U>,
) -> Result<Option<Place>, DropReason> {
    let (shared, now) = (&mut *context.shared, context.now);
    let octets = octets_at(slots, place);
    if let Some(peer) = shared.counters.peer(id) {
        peer.received.count(octets.len());
        peer.hear(via, now);
    }
    let frame = Frame::parse(octets).map_err(|_| DropReason::Runt)?;
    if frame.is_probe() {
        if !shared.punts.put(Told::Probe(Punt::new(id, via, octets))) {
            return Err(DropReason::PuntFull);
        }
        shared.counters.punted.add(1);
        return Ok(None);
    }
    match shared.forwarder.forward(&shared.plan, Port::Peer(id), frame, now) {
        Verdict::Local => Ok(Some(place)),
        Verdict::Drop(reason) => Err(reason),
        // Split horizon: what came from a peer goes to no other.
        Verdict::Peer(_) | Verdict::Flood => Err(DropReason::NoPath),
    }
}

fn takes_protocol(takes: Takes, protocol: u8) -> bool {
    match protocol {
        TCP => takes.tcp,
        UDP => takes.udp,
        _ => false,
    }
}

fn write_bundle<T: Tap>(bundle: &Bundle, slots: &[Slot], counters: &Counters, tap: &mut T) {
    let offload = bundle.offload();
    let vnet = offload.emit(bundle.layers(), bundle.header_len());
    let mut parts = [IoSlice::new(&[]); PARTS + 1];
    let mut n = 0;
    let payloads = bundle.parts().map(|place| octets_at(slots, place));
    let headers = std::iter::once(bundle.header()).filter(|header| !header.is_empty());
    for (part, octets) in parts.iter_mut().zip(headers.chain(payloads)) {
        *part = IoSlice::new(octets);
        n += 1;
    }
    let parts = parts.get(..n).unwrap_or_default();
    match tap.send(&vnet, parts) {
        Ok(()) => {
            let octets = parts.iter().map(|part| part.len()).sum();
            counters.to_tap.count_many(bundle.packets(), octets);
            if bundle.packets() > 1 {
                counters.joined.add(bundle.packets() as u64);
            }
        }
        Err(TapError::Refused) if offload != Offload::NONE => {
            counters.tap_fallbacks.add(1);
            let protocol = bundle.layers().map_or(0, |layers| layers.protocol);
            tap.refuse(Takes { tcp: protocol == TCP, udp: protocol == UDP });
            write_apart(bundle, slots, counters, tap);
        }
        Err(error) => (0..bundle.packets()).for_each(|_| counters.count_drop(error.into())),
    }
}

/// The device refused a super-frame: writes what it was made of.
fn write_apart<T: Tap>(bundle: &Bundle, slots: &[Slot], counters: &Counters, tap: &mut T) {
    if let (1, Some(layers)) = (bundle.packets(), bundle.layers()) {
        for place in bundle.parts() {
            let segment = bundle.offload().segment;
            write_segments(octets_at(slots, place), *layers, segment, counters, tap);
        }
        return;
    }
    for place in bundle.parts() {
        // The headers of every packet are still where they came: before its payload.
        let place = Place { start: place.start - bundle.header_len(), ..place };
        write(&[IoSlice::new(octets_at(slots, place))], counters, tap);
    }
}

fn write_segments<T: Tap>(
    frame: &[u8],
    layers: Layers,
    segment: u16,
    counters: &Counters,
    tap: &mut T,
) {
    let Some(mut segments) = Segments::new(frame, layers, segment.into()) else {
        return counters.count_drop(DropReason::Oversize);
    };
    let mut scratch = [0; HEADER_MAX];
    while let Some((header, payload)) = segments.next(&mut scratch) {
        write(&[IoSlice::new(header), IoSlice::new(payload)], counters, tap);
    }
}

/// Writes a frame that is complete.
pub(super) fn write<T: Tap>(parts: &[IoSlice<'_>], counters: &Counters, tap: &mut T) {
    match tap.send(&[0; VNET_HEADER_LEN], parts) {
        Ok(()) => counters.to_tap.count(parts.iter().map(|part| part.len()).sum()),
        Err(error) => counters.count_drop(error.into()),
    }
}

pub(super) fn octets_at(slots: &[Slot], place: Place) -> &[u8] {
    let slot = slots.get(place.slot).map(|slot| slot.buf.octets()).unwrap_or_default();
    slot.get(place.start..place.end).unwrap_or_default()
}

fn frame_mut(slots: &mut [Slot], place: Place) -> Option<&mut [u8]> {
    slots.get_mut(place.slot)?.buf.octets_mut().get_mut(place.start..place.end)
}
