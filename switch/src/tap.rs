//! The TAP: where frames of this node's bridge come out and go in.

use std::io::{self, IoSlice};

use crate::{Batch, DropReason, VNET_HEADER_LEN};

mod inject;
mod kernel;
mod memory;
mod offload;
mod plain;

pub use inject::Injector;
pub use kernel::{Backend, KernelTap, Steering};
pub use memory::{Cable, MemoryTap};
pub use offload::OffloadTap;
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

    /// Writes one frame, or a super-frame if it takes such. On error nothing was written.
    ///
    /// # Errors
    /// The frame is lost; the device may still be fine.
    fn send(&mut self, vnet: &[u8; VNET_HEADER_LEN], parts: &[IoSlice<'_>])
    -> Result<(), TapError>;

    /// Which super-frames it takes at the moment.
    fn takes(&self) -> Takes;

    /// Does without the super-frames of a protocol from now on: the device refused one.
    fn refuse(&mut self, without: Takes);
}

/// Which super-frames a TAP takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Takes {
    /// Of TCP, and half-done checksums.
    pub tcp: bool,
    /// Of UDP.
    pub udp: bool,
}

/// Why the TAP did not take a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TapError {
    /// It does not take a super-frame like this one.
    #[error("the super-frame was refused")]
    Refused,
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
            TapError::Refused | TapError::Other(_) => Self::TapError,
        }
    }
}
