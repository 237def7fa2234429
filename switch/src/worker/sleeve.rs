//! From UDP 6783: frames for this node, and frames to be passed on.
//!
//! Who may send here are the peers, by their addresses; whose a frame is, its label says, as it may
//! have come by way of another. A frame for this node's label goes to the TAP and nowhere else; one
//! for another's goes to that peer, or to the relay on the way to it, and never to the TAP, never to
//! several, and never back. Two plans that contradict each other may still send a frame in circles:
//! the hop limit ends that.
//!
//! Limit: who is next is told from who sent it by address. Two peers behind one address cannot be
//! each other's next.

use std::net::IpAddr;

use super::Context;
use super::receive::{Origin, Receive, accept, octets_at};
use super::relay::Relay;
use crate::buf::{Batch, Slot};
use crate::coalesce::Place;
use crate::sleeve::{self, BadSleeve, HEADER_LEN, Header};
use crate::{DropReason, PeerId, Plan, Tap, Underlay, Via};

/// What is to be done with a datagram.
#[derive(Clone, Copy)]
enum Course {
    /// Its frame is this node's, and came from that peer.
    Ours(PeerId, Via),
    /// It is to go on to the way to that peer, with so many hops left.
    PassOn(PeerId, u8),
}

impl Receive {
    /// Handles a batch of datagrams and runs of datagrams from UDP 6783: when this returns, all was
    /// written or sent.
    pub(super) fn handle_sleeve<T: Tap, U: Underlay>(
        &mut self,
        batch: &mut Batch,
        relay: &mut Relay,
        context: &mut Context<'_, T, U>,
    ) {
        for slot in 0..batch.len() {
            self.handle_sleeve_slot(batch.slots_mut(), slot, relay, context);
        }
        relay.flush(batch.slots(), context);
        self.flush(batch.slots(), context);
    }

    fn handle_sleeve_slot<T: Tap, U: Underlay>(
        &mut self,
        slots: &mut [Slot],
        at: usize,
        relay: &mut Relay,
        context: &mut Context<'_, T, U>,
    ) {
        let Some(slot) = slots.get(at) else { return };
        let (len, stride, from) = (slot.buf.octets().len(), slot.stride, slot.from);
        let known = context.shared.plan.is_source(from);
        let step = if stride == 0 { len } else { stride };
        // The kernel puts together what came from one port, and that is all that a node sends: a
        // run may be for several nodes. Mostly it is for one.
        let mut last = None;
        let mut start = 0;
        loop {
            let place = Place { slot: at, start, end: start.saturating_add(step).min(len) };
            let course = if known {
                course_of(octets_at(slots, place), from, &context.shared.plan, &mut last)
            } else {
                Err(DropReason::SleeveUnknownSource)
            };
            match course {
                Ok(Course::PassOn(id, hops)) => {
                    set_hops(slots, place, hops);
                    relay.push(slots, place, id, context);
                }
                Ok(Course::Ours(id, via)) => {
                    let frame = Place { start: start + HEADER_LEN, ..place };
                    match accept(slots, frame, (id, via), context) {
                        Ok(None) => {}
                        Ok(Some(frame)) => {
                            self.deliver(slots, frame, Origin { id, stride }, context);
                        }
                        Err(reason) => context.shared.counters.count_drop(reason),
                    }
                }
                Err(reason) => context.shared.counters.count_drop(reason),
            }
            start += step;
            if start >= len {
                return;
            }
        }
    }
}

/// A header, and what is to be done with datagrams that have it.
type Seen = Option<([u8; HEADER_LEN], Result<Course, DropReason>)>;

/// What is to be done with a datagram from a peer's address; `last` is what was to be done with the
/// one before.
fn course_of(
    datagram: &[u8],
    from: IpAddr,
    plan: &Plan,
    last: &mut Seen,
) -> Result<Course, DropReason> {
    let Some(octets) = datagram.first_chunk() else { return Err(DropReason::ShortSleeve) };
    if let Some((_, course)) = last.as_ref().filter(|(header, _)| header == octets) {
        return *course;
    }
    let course = match Header::of(*octets) {
        Ok(header) => judge(header, from, plan),
        Err(BadSleeve::Short { .. }) => Err(DropReason::ShortSleeve),
        Err(BadSleeve::Flags { .. }) => Err(DropReason::SleeveFlags),
    };
    *last = Some((*octets, course));
    course
}

fn judge(header: Header, from: IpAddr, plan: &Plan) -> Result<Course, DropReason> {
    let Header { source, destination, hops } = header;
    if plan.label() == Some(destination) {
        let id = plan.peer_labelled(source).ok_or(DropReason::SleeveUnknownLabel)?;
        let via = if plan.is_of(id, from) { Via::Sleeve } else { Via::Relay };
        return Ok(Course::Ours(id, via));
    }
    if plan.label() == Some(source) {
        return Err(DropReason::RelayLoop);
    }
    let id = plan.peer_labelled(destination).ok_or(DropReason::RelayUnknownLabel)?;
    let hops = hops.checked_sub(1).filter(|left| *left > 0).ok_or(DropReason::RelayHopLimit)?;
    let next = plan.next(id).ok_or(DropReason::PathDown)?;
    if plan.is_of(next, from) {
        return Err(DropReason::RelayLoop);
    }
    Ok(Course::PassOn(id, hops))
}

fn set_hops(slots: &mut [Slot], place: Place, hops: u8) {
    let octets = slots.get_mut(place.slot).map(|slot| slot.buf.octets_mut());
    if let Some(datagram) = octets.and_then(|octets| octets.get_mut(place.start..place.end)) {
        sleeve::set_hops(datagram, hops);
    }
}
