//! What goes out to the rest of the process: events, in order, never at the loop's expense.
//!
//! The queue has room for so many events and so many octets of channel messages. While there is none,
//! events are dropped and counted, and the first thing that fits again is the count. Whoever reads it takes
//! a snapshot; what was said on a channel comes again by its digest, and a unicast may always be lost.
//!
//! Whoever reaches the port can make `Refused` events, so those have a share of the room: beyond it they are
//! dropped and counted by themselves, and displace nothing. A snapshot would not show what they said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use crate::Event;

/// Events that may wait for a reader.
const EVENTS: usize = 1024;
/// `Refused` events among them.
const REFUSALS: usize = 128;
/// Octets of channel messages in them.
const OCTETS: usize = 8 << 20;

/// Something the reader of [`Notices`] has to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Something happened.
    Event(Event),
    /// The reader was too slow: so many events were dropped before the next one. Take a snapshot.
    Lost(u64),
}

/// The events of a mesh. They end when it stops.
#[derive(Debug)]
pub struct Notices {
    queue: mpsc::Receiver<Notice>,
    waiting: Arc<Waiting>,
}

/// What waits in the queue. The reader only lowers it: a stale look costs an event, never a bound.
#[derive(Debug, Default)]
struct Waiting {
    octets: AtomicUsize,
    refusals: AtomicUsize,
}

impl Notices {
    /// The next one; `None` when the mesh has stopped.
    pub async fn next(&mut self) -> Option<Notice> {
        let notice = self.queue.recv().await?;
        self.waiting.lower(&notice);
        Some(notice)
    }
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Teller {
    queue: mpsc::Sender<Notice>,
    waiting: Arc<Waiting>,
    lost: u64,
    lost_ever: u64,
    refusals_untold: u64,
}

/// The two ends.
pub(super) fn notices() -> (Teller, Notices) {
    let (to, queue) = mpsc::channel(EVENTS);
    let waiting = Arc::<Waiting>::default();
    let teller = Teller {
        queue: to,
        waiting: Arc::clone(&waiting),
        lost: 0,
        lost_ever: 0,
        refusals_untold: 0,
    };
    (teller, Notices { queue, waiting })
}

impl Teller {
    /// Tells, if there is room.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_lost();
        let notice = Notice::Event(event);
        if is_refusal(&notice) {
            let room = self.waiting.refusals.load(Relaxed) < REFUSALS;
            self.refusals_untold += u64::from(self.lost > 0 || !room || !self.offer(notice));
        } else if self.lost > 0 || !self.offer(notice) {
            self.lost += 1;
            self.lost_ever += 1;
        }
    }

    /// Tells that events were lost, if some were and there is room by now.
    pub(super) fn tell_lost(&mut self) {
        if self.lost > 0 && self.offer(Notice::Lost(self.lost)) {
            self.lost = 0;
        }
    }

    /// Events lost so far.
    pub(super) fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    /// `Refused` events that found no room.
    pub(super) fn refusals_untold(&self) -> u64 {
        self.refusals_untold
    }

    fn offer(&self, notice: Notice) -> bool {
        if self.waiting.octets.load(Relaxed) + weight(&notice) > OCTETS {
            return false;
        }
        let Ok(place) = self.queue.try_reserve() else { return false };
        // Before it can be read, so that it is lowered after it was raised.
        self.waiting.raise(&notice);
        place.send(notice);
        true
    }
}

impl Waiting {
    fn raise(&self, notice: &Notice) {
        self.octets.fetch_add(weight(notice), Relaxed);
        self.refusals.fetch_add(usize::from(is_refusal(notice)), Relaxed);
    }

    fn lower(&self, notice: &Notice) {
        self.octets.fetch_sub(weight(notice), Relaxed);
        self.refusals.fetch_sub(usize::from(is_refusal(notice)), Relaxed);
    }
}

fn is_refusal(notice: &Notice) -> bool {
    matches!(notice, Notice::Event(Event::Refused { .. }))
}

fn weight(notice: &Notice) -> usize {
    match notice {
        Notice::Event(Event::Broadcast { octets, .. } | Event::Unicast { octets, .. }) => {
            octets.len()
        }
        Notice::Event(
            Event::Up { .. }
            | Event::Silent { .. }
            | Event::Gone { .. }
            | Event::Changed { .. }
            | Event::LinkUp { .. }
            | Event::LinkDown { .. }
            | Event::Refused { .. }
            | Event::NameContested { .. }
            | Event::Renamed { .. }
            | Event::NameRefused { .. }
            | Event::Save
            | Event::StateWanted { .. },
        )
        | Notice::Lost(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CloseReason, PeerName};

    fn silent(n: u64) -> Event {
        Event::Silent { name: PeerName::local(n) }
    }

    #[tokio::test]
    async fn a_slow_reader_loses_events_and_is_told_how_many() {
        let (mut teller, mut notices) = notices();
        for n in 0..EVENTS as u64 + 5 {
            teller.tell(silent(n));
        }

        for n in 0..EVENTS as u64 {
            assert_eq!(notices.next().await, Some(Notice::Event(silent(n))));
        }
        teller.tell(silent(9999));

        assert_eq!(notices.next().await, Some(Notice::Lost(5)));
        assert_eq!(notices.next().await, Some(Notice::Event(silent(9999))));
        assert_eq!(teller.lost_ever(), 5);
    }

    #[tokio::test]
    async fn refusals_displace_nothing_else_and_are_counted() {
        let (mut teller, mut notices) = notices();
        let addr = "10.99.0.1:7".parse().unwrap();
        let refused = Event::Refused { addr, outbound: false, reason: CloseReason::NotWeft };
        let rest = (EVENTS - REFUSALS) as u64;

        (0..10_000).for_each(|_| teller.tell(refused.clone()));
        (0..rest).for_each(|n| teller.tell(silent(n)));

        assert_eq!((teller.lost_ever(), teller.refusals_untold()), (0, 10_000 - REFUSALS as u64));
        for _ in 0..REFUSALS {
            assert_eq!(notices.next().await, Some(Notice::Event(refused.clone())));
        }
        for n in 0..rest {
            assert_eq!(notices.next().await, Some(Notice::Event(silent(n))));
        }
        teller.tell(refused.clone());
        assert_eq!(notices.next().await, Some(Notice::Event(refused)));
    }

    #[tokio::test]
    async fn a_loss_is_told_though_nothing_else_happens() {
        let (mut teller, mut notices) = notices();
        (0..=EVENTS as u64).for_each(|n| teller.tell(silent(n)));
        notices.next().await;

        teller.tell_lost();

        for _ in 1..EVENTS {
            notices.next().await;
        }
        assert_eq!(notices.next().await, Some(Notice::Lost(1)));
    }

    #[tokio::test]
    async fn the_end_of_the_mesh_is_the_end_of_its_events() {
        let (mut teller, mut notices) = notices();
        teller.tell(silent(1));
        drop(teller);

        assert_eq!(notices.next().await, Some(Notice::Event(silent(1))));
        assert_eq!(notices.next().await, None);
    }
}
