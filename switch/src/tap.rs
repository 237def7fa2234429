//! The TAP: where frames of this node's bridge come out and go in.

use std::io::{self, IoSlice};

use crate::{Batch, DropReason};

mod memory;
mod plain;

pub use memory::{Cable, MemoryTap};
pub use plain::PlainTap;

/// A port that frames are read from and written to.
///
/// `send` takes a frame in parts, so that headers built elsewhere and a payload that stays where it
/// is make one frame without a copy.
pub trait Tap {
    /// Reads frames into the free slots of `batch` until it is full or no frame is left.
    ///
    /// # Errors
    /// The device is gone: no further call will succeed. What was read before stays in the batch.
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()>;

    /// Writes one frame. On error nothing was written.
    ///
    /// # Errors
    /// The frame is lost; the device may still be fine.
    fn send(&mut self, parts: &[IoSlice<'_>]) -> Result<(), TapError>;
}

/// Why the TAP did not take a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TapError {
    /// Its queue is full.
    #[error("the queue is full")]
    Full,
    /// The link is down.
    #[error("the link is down")]
    Down,
    /// Anything else, with its errno.
    #[error("errno {0}")]
    Other(i32),
}

impl From<TapError> for DropReason {
    fn from(error: TapError) -> Self {
        match error {
            TapError::Full => Self::TapFull,
            TapError::Down => Self::TapDown,
            TapError::Other(_) => Self::TapError,
        }
    }
}
