//! Small frames: those of one peer and lane leave together, equal sizes as one run.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::{Context, Transmit};
use crate::buf::Slot;
use crate::vxlan::HEADER_LEN;
use crate::{Message, PeerId, RunLimits, SendError, Tap, Underlay, Unsent};

/// Datagrams in the messages of one call.
const PARTS: usize = 256;
/// Messages of one call.
const MESSAGES: usize = 32;

/// A frame that waits to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) slot: usize,
    pub(super) id: PeerId,
    pub(super) lane: usize,
    /// Octets, with the tunnel header.
    pub(super) len: usize,
    /// Which message of the last call it was in, where in that, and what became of it.
    pub(super) run: usize,
    pub(super) place: usize,
    pub(super) sent: Result<(), SendError>,
}

/// Frames that make one message.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    id: Option<PeerId>,
    /// Which parts are its own.
    first: usize,
    end: usize,
    /// Octets of each datagram; the last may have less, and then nothing follows it.
    size: usize,
    octets: usize,
    closed: bool,
}

impl Run {
    fn takes(&self, frame: &Waiting, limits: RunLimits) -> bool {
        self.id == Some(frame.id)
            && !self.closed
            && frame.len <= self.size
            && self.end - self.first < limits.datagrams
            && self.octets + frame.len <= limits.octets
    }

    fn add(&mut self, frame: &Waiting) {
        self.end += 1;
        self.octets += frame.len;
        self.closed = frame.len < self.size;
    }
}

impl Transmit {
    /// Sends all that waits.
    pub(super) fn flush<T: Tap, U: Underlay>(
        &mut self,
        slots: &mut [Slot],
        context: &mut Context<'_, T, U>,
    ) {
        while self.lanes != 0 {
            let lane = usize::try_from(self.lanes.trailing_zeros()).unwrap_or_default();
            self.lanes &= self.lanes - 1;
            let mut from = 0;
            while from < self.waiting.len() {
                from = self.send_some(slots, lane, from, context);
            }
        }
        for n in 0..self.waiting.len() {
            let previous = n.checked_sub(1).and_then(|n| self.waiting.get(n)).map(|it| it.slot);
            let Some(frame) = self.waiting.get(n) else { break };
            if previous != Some(frame.slot)
                && let Some(slot) = slots.get_mut(frame.slot)
            {
                slot.buf.pop_front(HEADER_LEN);
            }
        }
        for n in 0..self.waiting.len() {
            let Some(frame) = self.waiting.get(n).copied() else { break };
            let counters = &context.shared.counters;
            match frame.sent {
                Ok(()) => {
                    if let Some(peer) = counters.peer(frame.id) {
                        peer.sent.count(frame.len - HEADER_LEN);
                    }
                }
                Err(SendError::TooBig) => {
                    context.shared.narrow(frame.id, context.underlay, context.now);
                    self.handle_too_big(slots, frame.id, frame.slot, context);
                }
                Err(error) => counters.count_drop(error.into()),
            }
        }
        self.waiting.clear();
    }

    /// Sends, of what waits for `lane` from place `from` on, as much as one call takes. Returns
    /// where to go on.
    fn send_some<T: Tap, U: Underlay>(
        &mut self,
        slots: &[Slot],
        lane: usize,
        from: usize,
        context: &mut Context<'_, T, U>,
    ) -> usize {
        let limits = context.underlay.limits();
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut runs = [Run::default(); MESSAGES];
        let (mut used, mut open, mut next) = (0, 0, from);
        for frame in self.waiting.iter_mut().skip(from) {
            if frame.lane == lane {
                let Some(part) = parts.get_mut(used) else { break };
                let joins =
                    open > 0 && runs.get(open - 1).is_some_and(|it| it.takes(frame, limits));
                open += usize::from(!joins);
                let Some(run) = runs.get_mut(open - 1) else { break };
                if !joins {
                    let (first, end, size) = (used, used, frame.len);
                    *run = Run { id: Some(frame.id), first, end, size, ..Run::default() };
                }
                *part = IoSlice::new(slots.get(frame.slot).map_or(&[], |slot| slot.buf.octets()));
                (frame.run, frame.place) = (open - 1, run.end - run.first);
                run.add(frame);
                used += 1;
            }
            next += 1;
        }
        let open = open.min(MESSAGES);
        let outcomes = send_runs(&parts, runs.get(..open).unwrap_or_default(), lane, context);
        for frame in self.waiting.iter_mut().take(next).skip(from).filter(|it| it.lane == lane) {
            frame.sent = match outcomes.get(frame.run) {
                Some(Err(unsent)) if frame.place >= unsent.sent => Err(unsent.why),
                Some(_) | None => Ok(()),
            };
        }
        next
    }
}

fn send_runs<T: Tap, U: Underlay>(
    parts: &[IoSlice<'_>],
    runs: &[Run],
    lane: usize,
    context: &mut Context<'_, T, U>,
) -> [Result<(), Unsent>; MESSAGES] {
    let mut outcomes = [Ok(()); MESSAGES];
    let nowhere = Message { to: SocketAddr::from(([0; 4], 0)), parts: &[], size: 0 };
    let mut messages = [nowhere; MESSAGES];
    for (message, run) in messages.iter_mut().zip(runs) {
        // A peer that has left the plan since gets an address that no route leads to.
        let peer = run.id.and_then(|id| context.shared.plan.peer(id));
        let parts = parts.get(run.first..run.end).unwrap_or_default();
        *message = Message { to: peer.map_or(nowhere.to, |peer| peer.addr), parts, size: run.size };
    }
    let messages = messages.get(..runs.len()).unwrap_or_default();
    context.underlay.send(lane, messages, &mut |n, outcome| {
        if let Some(slot) = outcomes.get_mut(n) {
            *slot = outcome;
        }
    });
    outcomes
}
