//! Small frames: those of one peer and lane leave together, equal sizes as one run.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::{Context, Transmit};
use crate::buf::Slot;
use crate::vxlan::HEADER_LEN;
use crate::worker::run::Run;
use crate::{Message, PeerId, SendError, Tap, Underlay, Unsent};

/// Parts of the messages of one call: one for each datagram, or two.
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
    /// The tunnel header, where it is not the one that the frame has: a flood goes to several
    /// peers, and each may have its own.
    pub(super) header: Option<[u8; HEADER_LEN]>,
    /// Whether it has to leave by itself.
    pub(super) alone: bool,
}

/// Which message of the last call a frame was in, where in that, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    run: usize,
    place: usize,
    sent: Result<(), SendError>,
}

impl Default for Fate {
    fn default() -> Self {
        Self { run: 0, place: 0, sent: Ok(()) }
    }
}

impl Waiting {
    /// Its datagram in parts; the second is empty where one will do.
    fn parts<'a>(&'a self, slots: &'a [Slot]) -> [&'a [u8]; 2] {
        let octets = slots.get(self.slot).map_or(&[][..], |slot| slot.buf.octets());
        match &self.header {
            None => [octets, &[]],
            Some(header) => [header, octets.get(HEADER_LEN..).unwrap_or_default()],
        }
    }
}

impl Transmit {
    /// Puts a frame among those that wait.
    pub(super) fn push_waiting(&mut self, frame: Waiting) {
        self.lanes |= 1 << frame.lane;
        self.waiting.push(frame);
        self.fates.push(Fate::default());
    }

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
            let (Some(frame), Some(fate)) = (self.waiting.get(n).copied(), self.fates.get(n))
            else {
                break;
            };
            let counters = &context.shared.counters;
            match fate.sent {
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
        self.fates.clear();
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
        let limits = context.underlay.limits(lane);
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut runs = [Run::default(); MESSAGES];
        let (mut used, mut open, mut next) = (0, 0, from);
        for (frame, fate) in self.waiting.iter().zip(&mut self.fates).skip(from) {
            if frame.lane == lane {
                let [first, second] = frame.parts(slots);
                let needs = if second.is_empty() { 1 } else { 2 };
                let Some(room) = parts.get_mut(used..used + needs) else { break };
                let joins = open > 0
                    && !frame.alone
                    && runs.get(open - 1).is_some_and(|it| it.takes(frame.id, frame.len, limits));
                open += usize::from(!joins);
                let Some(run) = runs.get_mut(open - 1) else { break };
                if !joins {
                    *run = Run::new(frame.id, used, frame.len);
                }
                for (part, octets) in room.iter_mut().zip([first, second]) {
                    *part = IoSlice::new(octets);
                }
                (fate.run, fate.place) = (open - 1, run.datagrams);
                run.add(frame.len, needs);
                if frame.alone {
                    run.close();
                }
                used += needs;
            }
            next += 1;
        }
        let open = open.min(MESSAGES);
        let outcomes = send_runs(&parts, runs.get(..open).unwrap_or_default(), lane, context);
        let sent = self.waiting.iter().zip(&mut self.fates).take(next).skip(from);
        for (_, fate) in sent.filter(|(frame, _)| frame.lane == lane) {
            fate.sent = match outcomes.get(fate.run) {
                Some(Err(unsent)) if fate.place >= unsent.sent => Err(unsent.why),
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
        let way = run.id.and_then(|id| context.shared.plan.way(id));
        let parts = parts.get(run.first..run.end).unwrap_or_default();
        *message = Message { to: way.map_or(nowhere.to, |way| way.to), parts, size: run.size };
    }
    let messages = messages.get(..runs.len()).unwrap_or_default();
    context.underlay.send(lane, messages, &mut |n, outcome| {
        if let Some(slot) = outcomes.get_mut(n) {
            *slot = outcome;
        }
    });
    outcomes
}
