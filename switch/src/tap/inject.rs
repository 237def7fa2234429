use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use rustix::io::Errno;

use super::KernelTap;
use crate::VNET_HEADER_LEN;

/// Writes frames of control's own to this node's bridge: they come out of the TAP's port.
///
/// It holds a queue of the TAP open: it has to be dropped before the TAP is opened anew, or what the
/// kernel puts into that queue is read by nobody.
///
/// # Thread-safety
/// A worker may write to the same queue at the same time: a frame is one system call.
#[derive(Debug)]
pub struct Injector {
    queue: OwnedFd,
    /// Whether a header goes before each frame.
    vnet: bool,
    /// Whoever holds a queue holds the device.
    _lock: Arc<UnixDatagram>,
}

impl Injector {
    /// An injector that uses a queue of `tap`.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(tap: &KernelTap) -> io::Result<Self> {
        let queue = tap.as_fd().try_clone_to_owned()?;
        Ok(Self { queue, vnet: tap.offloads().is_some(), _lock: tap.lock() })
    }

    /// Gives a complete frame to the bridge.
    ///
    /// # Errors
    /// The frame is lost. `EIO`: the link is down; `EBADFD`: the TAP is gone; `EAGAIN`, `ENOBUFS`:
    /// there is no memory for it now; `EINVAL`: it is shorter than an Ethernet header.
    pub fn inject(&self, frame: &[u8]) -> io::Result<()> {
        let header = [0; VNET_HEADER_LEN];
        let header = if self.vnet { &header[..] } else { &[] };
        let parts = [IoSlice::new(header), IoSlice::new(frame)];
        loop {
            match rustix::io::writev(&self.queue, &parts) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
