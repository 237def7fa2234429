//! What workers have for control.

use std::net::IpAddr;

use crossbeam_queue::ArrayQueue;

use crate::{Mac, PeerId, Ringer, Via};

/// The EtherType of in-band probes: IEEE 802 local experimental EtherType 1.
pub const PROBE: u16 = 0x88b5;

/// How much of a punted frame is kept.
pub const PUNT_LEN: usize = 256;

/// Something a worker has for control.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "nothing on a frame's way allocates")]
pub enum Told {
    /// A probe came from a peer.
    Probe(Punt),
    /// A frame from the TAP says that a station has an address.
    Address {
        /// The station.
        mac: Mac,
        /// The address.
        ip: IpAddr,
    },
    /// A frame from the TAP is of a station that is pinned behind a peer.
    Sighting {
        /// The station.
        mac: Mac,
    },
}

/// A frame that is not for the bridge but for control.
#[derive(Clone, Copy, Debug)]
pub struct Punt {
    /// Whose it is.
    pub from: PeerId,
    /// Which way it came.
    pub via: Via,
    /// Octets of the frame; more than [`PUNT_LEN`] are not kept.
    pub len: usize,
    octets: [u8; PUNT_LEN],
}

impl Punt {
    pub(crate) fn new(from: PeerId, via: Via, frame: &[u8]) -> Self {
        let mut octets = [0; PUNT_LEN];
        for (to, octet) in octets.iter_mut().zip(frame) {
            *to = *octet;
        }
        Self { from, via, len: frame.len(), octets }
    }

    /// The frame, or the start of it.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len.min(PUNT_LEN)).unwrap_or_default()
    }
}

/// Where a worker puts what it has for control: bounded, as nobody may make us hold on to memory.
/// Probes have a queue of their own, which no pod can fill.
///
/// Where there is a [`Bell`](crate::Bell) it is rung for what comes into an empty queue. Who takes
/// something for that takes all: while something is left, nobody is told of more.
///
/// # Thread-safety
/// One worker puts in, any thread takes out; neither waits.
#[derive(Debug)]
pub struct Punts {
    probes: ArrayQueue<Told>,
    others: ArrayQueue<Told>,
    ringer: Option<Ringer>,
}

impl Default for Punts {
    fn default() -> Self {
        let queue = || ArrayQueue::new(Self::WAITING);
        Self { probes: queue(), others: queue(), ringer: None }
    }
}

impl Punts {
    /// How many probes may wait for control, and how much else.
    pub const WAITING: usize = 64;

    pub(crate) fn ringing(ringer: Ringer) -> Self {
        Self { ringer: Some(ringer), ..Self::default() }
    }

    pub(crate) fn are_rung_for(&self) -> bool {
        self.ringer.is_some()
    }

    /// `false` when there is no room.
    pub(crate) fn put(&self, told: Told) -> bool {
        let queue = match told {
            Told::Probe(_) => &self.probes,
            Told::Address { .. } | Told::Sighting { .. } => &self.others,
        };
        let put = queue.push(told).is_ok();
        // Counted after the push: if something else is still there, who takes that has yet to look
        // for more, and finds this.
        if let Some(ringer) = self.ringer.as_ref().filter(|_| put && queue.len() <= 1) {
            ringer.ring();
        }
        put
    }

    /// The oldest probe; where there is none, the oldest of all else.
    pub fn take(&self) -> Option<Told> {
        self.probes.pop().or_else(|| self.others.pop())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::Bell;

    const SOON: Duration = Duration::from_millis(50);
    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn only_the_first_of_several_frames_rings() {
        let bell = Bell::new().unwrap();
        let punts = Punts::ringing(bell.ringer());

        assert!(punts.put(punt()));
        timeout(DEADLINE, bell.rung()).await.unwrap().unwrap();
        assert!(punts.put(punt()));
        assert!(timeout(SOON, bell.rung()).await.is_err());

        while punts.take().is_some() {}
        assert!(punts.put(punt()));
        timeout(DEADLINE, bell.rung()).await.unwrap().unwrap();
    }

    #[test]
    fn a_full_queue_refuses_and_stays_as_it_is() {
        let punts = Punts::default();

        let taken = (0..100).filter(|_| punts.put(punt())).count();

        assert_eq!(taken, Punts::WAITING);
        assert_eq!(std::iter::from_fn(|| punts.take()).count(), Punts::WAITING);
    }

    #[test]
    fn what_pods_say_takes_no_room_from_probes() {
        let punts = Punts::default();

        while punts.put(Told::Sighting { mac: Mac::local(1) }) {}

        assert!(punts.put(punt()));
        assert!(matches!(punts.take(), Some(Told::Probe(_))));
        assert!(matches!(punts.take(), Some(Told::Sighting { .. })));
    }

    #[tokio::test]
    async fn no_frame_is_left_lying_however_two_threads_meet() {
        const FRAMES: usize = 5_000;
        let bell = Bell::new().unwrap();
        let punts = Arc::new(Punts::ringing(bell.ringer()));
        let from = Arc::clone(&punts);
        let worker = std::thread::spawn(move || {
            for _ in 0..FRAMES {
                while !from.put(punt()) {
                    std::thread::yield_now();
                }
            }
        });

        let mut taken = 0;
        while taken < FRAMES {
            timeout(DEADLINE, bell.rung()).await.expect("a frame waits and nobody rang").unwrap();
            taken += std::iter::from_fn(|| punts.take()).count();
        }

        worker.join().unwrap();
    }

    fn punt() -> Told {
        Told::Probe(Punt::new(PeerId::new(0), Via::User, b"are you there"))
    }
}
