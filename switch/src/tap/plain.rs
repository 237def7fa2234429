use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use tun_tap::{Iface, Mode};

use super::{Takes, Tap, TapError};
use crate::{Batch, VNET_HEADER_LEN, sys};

/// A kernel TAP device without offloads: one frame a read, one frame a write.
///
/// Unless it is kept ([`KernelTap::keep`](super::KernelTap::keep)) or was persistent before, the
/// device goes with the last descriptor.
#[derive(Debug)]
pub struct PlainTap {
    file: File,
}

impl PlainTap {
    /// Opens the TAP device `name`, which is created if there is none.
    ///
    /// # Errors
    /// Those of open(2) on /dev/net/tun and of TUNSETIFF: `EPERM` without CAP_NET_ADMIN, `EBUSY`
    /// when a process has it open, `EINVAL` when the name is taken by another kind of device.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = sys::file_of(Iface::without_packet_info(name, Mode::Tap)?);
        rustix::io::ioctl_fionbio(&file, true)?;
        // A device that somebody used with offloads would go on handing over unfinished frames.
        sys::set_tap_offloads(file.as_fd(), 0)?;
        Ok(Self { file })
    }
}

impl AsFd for PlainTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Tap for PlainTap {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        let file = &mut self.file;
        loop {
            let read = batch.read_next(|slot| {
                let len = file.read(slot.buf.spare_mut())?;
                slot.buf.set_len(len);
                slot.vnet = [0; VNET_HEADER_LEN];
                Ok::<_, io::Error>(())
            });
            match read {
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }

    fn send(
        &mut self,
        _vnet: &[u8; VNET_HEADER_LEN],
        parts: &[IoSlice<'_>],
    ) -> Result<(), TapError> {
        loop {
            match self.file.write_vectored(parts) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error_of(&error)),
            }
        }
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _without: Takes) {}
}

pub(super) fn error_of(error: &io::Error) -> TapError {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => TapError::Full,
        // What the driver says while the link is down (drivers/net/tun.c, tun_get_user).
        Some(libc::EIO) => TapError::Down,
        errno => TapError::Other(errno.unwrap_or_default()),
    }
}
