//! The frame loop: from the TAP to the underlay and back, one batch at a time, in one thread.

mod receive;
mod relay;
mod run;
mod sleeve;
mod snoop;
mod transmit;
mod tunnels;
mod whole;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::buf::Batch;
use crate::frame::{ETHERNET_LEN, VLAN_TAG_LEN};
use crate::plan::PlanReader;
use crate::{Counters, Forwarder, Mtu, PeerId, Plan, PlanCell, Punts, Ringer, Tap, Tick, Underlay};
use receive::Receive;
use relay::Relay;
use snoop::Snoop;
use transmit::Transmit;
use tunnels::Tunnels;

/// Frames taken in one go from the TAP before it is the underlay's turn.
const TAP_BATCH: usize = 64;
/// Datagrams, or runs of them, taken in one go from the underlay. Few, as each may hold 64 KB, and
/// what fits the processor's cache is not fetched twice.
const UNDERLAY_BATCH: usize = 16;

/// For how many turns in a row UDP 6783 is not looked at while there was nothing on it and other
/// things move: a look that finds nothing costs a system call.
const UNSEEN: u8 = 3;

/// How long to believe that a path is narrower than planned: until control has looked, or the path
/// has recovered. A send that is too large after that asks again.
const NARROW: Duration = Duration::from_secs(2);

/// The largest frame an uplink carries, with two VLAN tags.
const FRAME_MAX: usize = ETHERNET_LEN + 2 * VLAN_TAG_LEN + Mtu::UPLINK.octets() as usize;

/// Moves frames between a TAP and an underlay as the plan says.
///
/// It owns both and all its buffers; what it shares with others is the plan, the MAC table and the
/// counters. Nothing on the way of a frame allocates, waits or logs.
#[derive(Debug)]
pub struct Worker<T, U> {
    tap: T,
    underlay: Tunnels<U>,
    shared: Shared,
    transmit: Transmit,
    receive: Receive,
    relay: Relay,
    /// For how many more turns UDP 6783 may wait.
    patience: u8,
    from_tap: Batch,
    from_underlay: Batch,
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
    /// A defect: the thread panicked, and stderr says where.
    #[error("the frame thread panicked")]
    Panicked,
}

/// What both directions go by.
#[derive(Debug)]
struct Shared {
    forwarder: Forwarder,
    counters: Arc<Counters>,
    reader: PlanReader,
    plan: Arc<Plan>,
    /// What paths were found to carry less of than this plan says, and until when to believe it.
    narrowed: Vec<(PeerId, Mtu, Tick)>,
    punts: Arc<Punts>,
    /// Where control wants to hear what pods say.
    snoop: Option<Snoop>,
}

/// What a direction works with.
struct Context<'a, T, U> {
    shared: &'a mut Shared,
    tap: &'a mut T,
    underlay: &'a mut Tunnels<U>,
    now: Tick,
}

/// How much a turn has moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Reads that gave something: frames, super-frames, runs of datagrams.
    pub reads: usize,
    /// Their octets.
    pub octets: usize,
    /// Whether a batch was full: there may be more.
    pub full: bool,
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
        let (reader, narrowed, punts) = (PlanReader::new(cell), Vec::new(), Arc::default());
        let plan = reader.load();
        Self {
            tap,
            underlay: Tunnels { vxlan: underlay, sleeve: None },
            shared: Shared { forwarder, counters, reader, plan, narrowed, punts, snoop: None },
            transmit: Transmit::new(),
            receive: Receive::new(),
            relay: Relay::new(),
            patience: 0,
            from_tap: Batch::new(TAP_BATCH),
            from_underlay: Batch::new(UNDERLAY_BATCH),
        }
    }

    /// The worker with `sleeve` for UDP 6783: it receives there, and sends what the plan wants sent
    /// there. Without it, that goes nowhere (`no_route`).
    #[must_use]
    pub fn with_sleeve(mut self, sleeve: U) -> Self {
        self.underlay.sleeve = Some(sleeve);
        self
    }

    /// The worker with a bell that it rings when it has something for control, who is from then on
    /// also told what frames of pods say: [`Told::Address`](crate::Told) and
    /// [`Told::Sighting`](crate::Told). To be called before [`Worker::punts`].
    #[must_use]
    pub fn with_ringer(self, ringer: Ringer) -> Self {
        self.with_punts(Arc::new(Punts::ringing(ringer)))
    }

    /// The worker with a place for what it has for control that outlives it. Where that is rung for, control is told what pods say, too.
    /// To be called before [`Worker::punts`].
    #[must_use]
    pub(crate) fn with_punts(mut self, punts: Arc<Punts>) -> Self {
        self.shared.snoop = punts.are_rung_for().then(Snoop::new);
        self.shared.punts = punts;
        self
    }

    /// Moves at most one batch each way, without waiting. When nothing was read there is nothing
    /// to do until one side has something.
    ///
    /// # Errors
    /// One side is of no more use; frames already read from it were handled.
    pub fn turn(&mut self, now: Tick) -> Result<Moved, Fault> {
        let Self { tap, underlay, shared, .. } = self;
        shared.refresh(now);
        let mut context = Context { shared, tap, underlay, now };
        let mut moved = Moved::default();

        let batch = &mut self.from_underlay;
        batch.clear();
        let read = context.underlay.vxlan.recv(batch);
        if !batch.is_empty() {
            moved.count(batch);
            self.receive.handle(batch, &mut context);
        }
        read.map_err(Fault::Underlay)?;

        let batch = &mut self.from_tap;
        batch.clear();
        let read = context.tap.recv(batch);
        if !batch.is_empty() {
            moved.count(batch);
            self.transmit.handle(batch, &mut context);
        }
        context.shared.reader.end_turn(batch.is_full());
        read.map_err(Fault::Tap)?;
        self.turn_sleeve(&mut moved, now)?;
        for refusals in self.underlay.take_refusals() {
            self.shared.counters.count_refusals(refusals);
        }
        Ok(moved)
    }

    /// Moves a batch from UDP 6783, if that is open.
    fn turn_sleeve(&mut self, moved: &mut Moved, now: Tick) -> Result<(), Fault> {
        if self.underlay.sleeve.is_none() {
            return Ok(());
        }
        if moved.reads > 0 && self.patience > 0 {
            self.patience -= 1;
            return Ok(());
        }
        let Self { tap, underlay, shared, .. } = self;
        let batch = &mut self.from_underlay;
        batch.clear();
        let read = underlay.recv_sleeve(batch);
        self.patience = if batch.is_empty() { UNSEEN } else { 0 };
        if !batch.is_empty() {
            moved.count(batch);
            let mut context = Context { shared, tap, underlay, now };
            self.receive.handle_sleeve(batch, &mut self.relay, &mut context);
        }
        read.map_err(Fault::Underlay)
    }

    /// Has who installs plans wait for this worker, and ring when there is one.
    pub(crate) fn follow(&self, ringer: Ringer) {
        self.shared.reader.follow(ringer);
    }

    /// Where frames for control are put.
    pub fn punts(&self) -> Arc<Punts> {
        Arc::clone(&self.shared.punts)
    }

    /// Both sides, to wait for.
    pub fn sides(&self) -> (&T, &U) {
        (&self.tap, &self.underlay.vxlan)
    }

    /// UDP 6783, to wait for, if it is open.
    pub fn sleeve(&self) -> Option<&U> {
        self.underlay.sleeve.as_ref()
    }
}

impl Moved {
    fn count(&mut self, batch: &Batch) {
        self.reads += batch.len();
        self.full |= batch.is_full();
        self.octets += batch.slots().iter().map(|slot| slot.buf.octets().len()).sum::<usize>();
    }
}

impl Shared {
    fn refresh(&mut self, now: Tick) {
        if let Some(plan) = self.reader.load_if_newer() {
            self.plan = plan;
            self.narrowed.clear();
        }
        self.narrowed.retain(|(.., until)| now < *until);
    }

    fn mtu_of(&self, id: PeerId) -> Mtu {
        let planned = self.plan.peer(id).map_or(Mtu::MIN, |peer| peer.mtu);
        match self.narrowed.iter().find(|(other, ..)| *other == id) {
            Some((_, narrowed, _)) => planned.min(*narrowed),
            None => planned,
        }
    }

    /// The socket refused a size that the plan allows: asks what the path carries now.
    fn narrow(&mut self, id: PeerId, underlay: &Tunnels<impl Underlay>, now: Tick) {
        // For one behind a relay: what the way to that carries.
        let Some(way) = self.plan.way(id) else { return };
        let to = way.to.ip();
        let Ok(carried) = underlay.path_mtu(way.tunnel, to) else { return };
        let mtu = Mtu::over(carried, to).unwrap_or(Mtu::MIN);
        self.narrowed.retain(|(other, ..)| *other != id);
        self.narrowed.push((id, mtu, now + NARROW));
    }
}

#[cfg(test)]
mod tests;
