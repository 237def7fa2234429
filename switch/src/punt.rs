use crossbeam_queue::ArrayQueue;

use crate::{PeerId, Via};

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
/// # Thread-safety
/// One worker puts in, any thread takes out; neither waits.
#[derive(Debug)]
pub struct Punts(ArrayQueue<Punt>);

impl Default for Punts {
    fn default() -> Self {
        Self(ArrayQueue::new(WAITING))
    }
}

impl Punts {
    /// `false` when there is no room.
    pub(crate) fn put(&self, punt: Punt) -> bool {
        self.0.push(punt).is_ok()
    }

    /// The oldest frame.
    pub fn take(&self) -> Option<Punt> {
        self.0.pop()
    }
}
