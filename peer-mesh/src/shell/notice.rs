//! What goes out to the rest of the process: events, in order, never at the loop's expense.
//!
//! The queue has room for so many events and so many octets of channel messages. While there is none,
//! events are dropped and counted, and the first thing that fits again is the count. Whoever reads it takes
//! a snapshot; what was said on a channel comes again by its digest, and a unicast may always be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use crate::Event;

/// Events that may wait for a reader.
const EVENTS: usize = 1024;
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
    octets: Arc<AtomicUsize>,
}

impl Notices {
    /// The next one; `None` when the mesh has stopped.
    pub async fn next(&mut self) -> Option<Notice> {
        let notice = self.queue.recv().await?;
        self.octets.fetch_sub(weight(&notice), Relaxed);
        Some(notice)
    }
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Teller {
    queue: mpsc::Sender<Notice>,
    /// Octets that wait. The reader only lowers it: a stale look costs an event, never the bound.
    octets: Arc<AtomicUsize>,
    lost: u64,
    lost_ever: u64,
}

/// The two ends.
pub(super) fn notices() -> (Teller, Notices) {
    let (to, queue) = mpsc::channel(EVENTS);
    let octets = Arc::<AtomicUsize>::default();
    let teller = Teller { queue: to, octets: Arc::clone(&octets), lost: 0, lost_ever: 0 };
    (teller, Notices { queue, octets })
}

impl Teller {
    /// Tells, if there is room.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_lost();
        if self.lost > 0 || !self.offer(Notice::Event(event)) {
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

    fn offer(&self, notice: Notice) -> bool {
        let weight = weight(&notice);
        if self.octets.load(Relaxed) + weight > OCTETS {
            return false;
        }
        self.octets.fetch_add(weight, Relaxed);
        let sent = self.queue.try_send(notice).is_ok();
        if !sent {
            self.octets.fetch_sub(weight, Relaxed);
        }
        sent
    }
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
    use crate::PeerName;

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
