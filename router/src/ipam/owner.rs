//! Who owns a part of the range: a peer, in one of its epochs.

use std::fmt;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

/// One life of a peer's state: made with the state, gone with it.
///
/// The upper half says after which others it was made: it is greater than that of all epochs of the ring at that time. So
/// a ring that has outlived the removal of an epoch can tell it from one that it has not heard of yet. The lower half is
/// random.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one that seeds have before they have started.
    pub const SEED: Self = Self(0);

    /// Born after `last`.
    pub fn after(last: u32, random: u32) -> Self {
        Self((u64::from(last.saturating_add(1)) << 32) | u64::from(random))
    }

    /// After which others it was made.
    pub const fn born(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A peer in one of its epochs.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Owner {
    /// What it is called.
    pub name: PeerName,
    /// Which of its lives.
    pub epoch: Epoch,
}

impl Owner {
    /// Octets on the wire.
    pub const LEN: usize = 14;
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.epoch)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
