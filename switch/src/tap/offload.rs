use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::plain::error_of;
use super::{Takes, Tap, TapError};
use crate::coalesce::PARTS;
use crate::{Batch, VNET_HEADER_LEN, sys};

/// `TUN_F_*`: which unfinished frames the kernel may hand over (include/uapi/linux/if_tun.h).
const CSUM: u32 = 0x01;
const TSO4: u32 = 0x02;
const TSO6: u32 = 0x04;
const TSO_ECN: u32 = 0x08;
/// Since Linux 6.2, both or neither.
const USO: u32 = 0x20 | 0x40;

/// From all that we can handle down to nothing: the first that the kernel knows is used.
const OFFLOADS: [u32; 5] =
    [CSUM | TSO4 | TSO6 | TSO_ECN | USO, CSUM | TSO4 | TSO6 | TSO_ECN, CSUM | TSO4 | TSO6, CSUM, 0];

/// A kernel TAP device with offloads: a read or a write may be a super-frame of up to 64 KB.
///
/// It has as many queues as were opened.
#[derive(Debug)]
pub struct OffloadTap {
    file: File,
    offloads: u32,
    takes: Takes,
}

impl OffloadTap {
    /// Opens a queue of the TAP device `name`, which is created if there is none.
    ///
    /// # Errors
    /// Those of open(2) on /dev/net/tun and of TUNSETIFF: `EPERM` without CAP_NET_ADMIN, `EINVAL`
    /// when the name is taken by another kind of device, or by a TAP without several queues.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        sys::attach_tap(file.as_fd(), name)?;
        rustix::io::ioctl_fionbio(&file, true)?;
        // Without its header, offloads would be accepted all the same, and frames be misread.
        sys::set_tap_header_len(file.as_fd(), VNET_HEADER_LEN)?;
        let known = |offloads: &u32| sys::set_tap_offloads(file.as_fd(), *offloads).is_ok();
        let offloads = OFFLOADS.into_iter().find(known).unwrap_or(0);
        // Writing super-frames needs no permission; a kernel that knows USO takes those of UDP.
        let takes = Takes { tcp: true, udp: offloads & USO != 0 };
        Ok(Self { file, offloads, takes })
    }

    /// The `TUN_F_*` that the kernel has accepted.
    pub fn offloads(&self) -> u32 {
        self.offloads
    }
}

impl AsFd for OffloadTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Tap for OffloadTap {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        let file = &mut self.file;
        loop {
            let read = batch.read_next(|slot| {
                let len = file.read(slot.buf.spare_behind_mut::<VNET_HEADER_LEN>())?;
                slot.buf.set_len(len.saturating_sub(VNET_HEADER_LEN));
                slot.vnet = slot.buf.before();
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
        vnet: &[u8; VNET_HEADER_LEN],
        parts: &[IoSlice<'_>],
    ) -> Result<(), TapError> {
        // The headers of a bundle, its payloads, and this.
        let mut all = [IoSlice::new(&[]); PARTS + 2];
        let [first, rest @ ..] = &mut all;
        *first = IoSlice::new(vnet);
        for (to, from) in rest.iter_mut().zip(parts) {
            *to = *from;
        }
        let all = all.get(..=parts.len()).ok_or(TapError::Refused)?;
        loop {
            match self.file.write_vectored(all) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    return Err(TapError::Refused);
                }
                Err(error) => return Err(error_of(&error)),
            }
        }
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn refuse(&mut self, without: Takes) {
        self.takes.tcp &= !without.tcp;
        self.takes.udp &= !without.udp;
    }
}
