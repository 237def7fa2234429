use crossbeam_queue::ArrayQueue;

use crate::{PeerId, Ringer, Via};

/// The EtherType of in-band probes: IEEE 802 local experimental EtherType 1.
pub const PROBE: u16 = 0x88b5;

/// How much of a punted frame is kept.
pub const PUNT_LEN: usize = 256;

/// Frames that may wait for control.
const WAITING: usize = 64;

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

/// Where a worker puts frames for control: bounded, as nobody may make us hold on to memory.
///
/// Where there is a [`Bell`](crate::Bell) it is rung for a frame that waits alone. Who takes frames
/// for that takes all of them: while some are left, nobody is told of more.
///
/// # Thread-safety
/// One worker puts in, any thread takes out; neither waits.
#[derive(Debug)]
pub struct Punts {
    queue: ArrayQueue<Punt>,
    ringer: Option<Ringer>,
}

impl Default for Punts {
    fn default() -> Self {
        Self { queue: ArrayQueue::new(WAITING), ringer: None }
    }
}

impl Punts {
    pub(crate) fn ringing(ringer: Ringer) -> Self {
        Self { ringer: Some(ringer), ..Self::default() }
    }

    /// `false` when there is no room.
    pub(crate) fn put(&self, punt: Punt) -> bool {
        let put = self.queue.push(punt).is_ok();
        // Counted after the push: if another frame is still there, who takes that one has yet to
        // look for the next, and finds this one.
        if let Some(ringer) = self.ringer.as_ref().filter(|_| put && self.queue.len() <= 1) {
            ringer.ring();
        }
        put
    }

    /// The oldest frame.
    pub fn take(&self) -> Option<Punt> {
        self.queue.pop()
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

    #[tokio::test]
    async fn a_full_queue_refuses_and_stays_as_it_is() {
        let punts = Punts::default();

        let taken = (0..100).filter(|_| punts.put(punt())).count();

        assert_eq!(taken, WAITING);
        assert_eq!(std::iter::from_fn(|| punts.take()).count(), WAITING);
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

    fn punt() -> Punt {
        Punt::new(PeerId::new(0), Via::User, b"are you there")
    }
}
