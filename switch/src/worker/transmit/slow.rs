//! The slow path of sending: packets that the path to a peer does not carry in one piece.

use std::io::IoSlice;

use super::{Context, Job, Transmit, super_frame};
use crate::buf::{Buf, Slot};
use crate::segment::{HEADER_MAX, Segments};
use crate::too_big::{Fragments, Remedy, answer};
use crate::vxlan::HEADER_LEN;
use crate::worker::receive::write;
use crate::{DropReason, FlowHash, Frame, Layers, Message, PeerId, Port, Tap, Underlay};

impl Transmit {
    /// The packets of a super-frame are too big for the path: TCP without DF is cut smaller, UDP
    /// without DF fragmented, and of all others the sender is told.
    pub(super) fn handle_super_too_big<T: Tap, U: Underlay>(
        &mut self,
        slots: &[Slot],
        id: PeerId,
        job: Job,
        context: &mut Context<'_, T, U>,
    ) {
        let Some((frame, layers)) = super_frame(slots, job) else { return };
        let mtu = context.shared.mtu_of(id);
        if Remedy::of(frame, Some(&layers)) != Remedy::Fragment {
            return self.refuse((frame, job.packets), Some(&layers), id, context);
        }
        if let Some(mut smaller) = Segments::fitting(frame, layers, mtu) {
            while smaller.left() > 0 {
                if let Err(missing) = self.send_segments(&mut smaller, id, job.flow, context) {
                    missing.count(&context.shared.counters);
                }
            }
            return;
        }
        let Some(mut datagrams) = Segments::new(frame, layers, job.segment) else { return };
        let (mut whole, mut scratch) = (Buf::default(), std::mem::take(&mut self.scratch));
        std::mem::swap(&mut whole, &mut self.spare);
        let mut header = [0; HEADER_MAX];
        while let Some((header, payload)) = datagrams.next(&mut header) {
            if whole.fill_parts(header, payload) {
                send_fragments(whole.octets(), id, &mut scratch, context);
            }
        }
        (self.scratch, self.spare) = (scratch, whole);
    }

    /// A packet that the path to `id` does not carry in one piece.
    pub(super) fn handle_too_big<T: Tap, U: Underlay>(
        &mut self,
        slots: &[Slot],
        id: PeerId,
        slot: usize,
        context: &mut Context<'_, T, U>,
    ) {
        let Some(slot) = slots.get(slot) else { return };
        let layers = Layers::parse(slot.buf.octets());
        if Remedy::of(slot.buf.octets(), layers.as_ref()) == Remedy::Fragment {
            let mut scratch = std::mem::take(&mut self.scratch);
            send_fragments(slot.buf.octets(), id, &mut scratch, context);
            self.scratch = scratch;
        } else {
            self.refuse((slot.buf.octets(), 1), layers.as_ref(), id, context);
        }
    }

    /// Drops a frame, of so many packets that are too big, and tells its sender where there is a
    /// way to.
    fn refuse<T: Tap, U: Underlay>(
        &mut self,
        (frame, packets): (&[u8], usize),
        layers: Option<&Layers>,
        id: PeerId,
        context: &mut Context<'_, T, U>,
    ) {
        let Context { shared, tap, now, .. } = context;
        let counters = &shared.counters;
        counters.count_drops(DropReason::TooBig, packets);
        let Some(layers) = layers.filter(|it| Remedy::of(frame, Some(it)) == Remedy::Answer) else {
            return;
        };
        // The answer bears the name of the station it was for, and so teaches the bridge where that
        // is: only who is known to be behind this peer is spoken for.
        let dst = Frame::parse(frame).map(Frame::dst);
        if !dst.is_ok_and(|dst| shared.forwarder.is_behind(dst, Port::Peer(id))) {
            return;
        }
        if !self.answers.admit(*now) {
            counters.icmp_limited.add(1);
        } else if answer(frame, layers, shared.mtu_of(id), &mut self.scratch) {
            counters.icmp_sent.add(1);
            write(&[IoSlice::new(self.scratch.octets())], counters, *tap);
        }
    }
}

/// Sends the IPv4 packet in `frame` in fragments.
fn send_fragments<T: Tap, U: Underlay>(
    frame: &[u8],
    id: PeerId,
    scratch: &mut Buf,
    context: &mut Context<'_, T, U>,
) {
    let Context { shared, underlay, .. } = context;
    let counters = &shared.counters;
    let fragments =
        Layers::parse(frame).and_then(|layers| Fragments::new(frame, &layers, shared.mtu_of(id)));
    let (Some(mut fragments), Some(way)) = (fragments, shared.plan.way(id)) else {
        return counters.count_drop(DropReason::TooBig);
    };
    counters.fragmented.add(1);
    while fragments.next(scratch) {
        let len = scratch.octets().len();
        let layers = Layers::parse(scratch.octets());
        let flow = FlowHash::of(scratch.octets(), layers.as_ref());
        let lane = underlay.lane(way.tunnel, flow);
        scratch.push_front(way.header);
        let parts = [IoSlice::new(scratch.octets())];
        let message = Message { to: way.to, parts: &parts, size: len + HEADER_LEN };
        let mut outcome = Ok(());
        underlay.send(lane, &[message], &mut |_, it| outcome = it);
        match (outcome, counters.peer(id)) {
            (Ok(()), Some(peer)) => peer.sent.count(len),
            (Ok(()), None) => {}
            (Err(unsent), _) => counters.count_drop(unsent.why.into()),
        }
    }
}
