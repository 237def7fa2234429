//! Datagrams that are passed on: from UDP 6783 to UDP 6783, from where they lie.
//!
//! Those for one peer leave together, equal sizes as one run; what came as one run goes as one.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::Context;
use super::receive::octets_at;
use super::run::Run;
use crate::buf::Slot;
use crate::coalesce::Place;
use crate::sleeve::HEADER_LEN;
use crate::{Counters, Message, PeerId, Underlay, Unsent};

/// Datagrams of one call, and messages that they make.
const DATAGRAMS: usize = 256;
const MESSAGES: usize = 32;

/// Datagrams that wait to be passed on.
#[derive(Debug)]
pub(super) struct Relay {
    datagrams: Vec<Place>,
    runs: Vec<Run>,
}

impl Relay {
    /// This allocates all that it will ever need.
    pub(super) fn new() -> Self {
        Self { datagrams: Vec::with_capacity(DATAGRAMS), runs: Vec::with_capacity(MESSAGES) }
    }

    /// Takes a datagram for the way to `id`. Those of a peer are sent in the order they are taken.
    pub(super) fn push<T, U: Underlay>(
        &mut self,
        slots: &[Slot],
        place: Place,
        id: PeerId,
        context: &mut Context<'_, T, U>,
    ) {
        let len = place.end - place.start;
        let limits = context.underlay.sleeve_limits();
        let joins = |run: &Run| run.takes(id, len, limits);
        let new_run = !self.runs.last().is_some_and(joins);
        if self.datagrams.len() == DATAGRAMS || new_run && self.runs.len() == MESSAGES {
            self.flush(slots, context);
        }
        if new_run || self.runs.is_empty() {
            self.runs.push(Run::new(id, self.datagrams.len(), len));
        }
        self.datagrams.push(place);
        if let Some(run) = self.runs.last_mut() {
            run.add(len, 1);
        }
    }

    /// Sends all that waits.
    pub(super) fn flush<T, U: Underlay>(
        &mut self,
        slots: &[Slot],
        context: &mut Context<'_, T, U>,
    ) {
        if self.runs.is_empty() {
            return;
        }
        let mut parts = [IoSlice::new(&[]); DATAGRAMS];
        for (part, place) in parts.iter_mut().zip(&self.datagrams) {
            *part = IoSlice::new(octets_at(slots, *place));
        }
        let nowhere = Message { to: SocketAddr::from(([0; 4], 0)), parts: &[], size: 0 };
        let mut messages = [nowhere; MESSAGES];
        for (message, run) in messages.iter_mut().zip(&self.runs) {
            let to = run.id.and_then(|id| context.shared.plan.hop(id)).unwrap_or(nowhere.to);
            let parts = parts.get(run.first..run.end).unwrap_or_default();
            *message = Message { to, parts, size: run.size };
        }
        let messages = messages.get(..self.runs.len()).unwrap_or_default();
        let counters = &context.shared.counters;
        context.underlay.send_sleeve(messages, &mut |n, outcome| {
            if let Some(message) = messages.get(n) {
                count(message, outcome, counters);
            }
        });
        self.datagrams.clear();
        self.runs.clear();
    }
}

fn count(message: &Message<'_>, outcome: Result<(), Unsent>, counters: &Counters) {
    let sent = outcome.map_or_else(|unsent| unsent.sent, |()| message.parts.len());
    let octets = |parts: &[IoSlice<'_>]| parts.iter().map(|part| part.len()).sum::<usize>();
    let passed = message.parts.get(..sent).unwrap_or_default();
    counters.relayed.count_many(sent, octets(passed) - sent * HEADER_LEN);
    if let Err(unsent) = outcome {
        (sent..message.parts.len()).for_each(|_| counters.count_drop(unsent.why.into()));
    }
}
