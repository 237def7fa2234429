use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::{OffloadTap, PlainTap, Takes, Tap, TapError};
use crate::{Batch, VNET_HEADER_LEN};

/// How a TAP is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// With offloads where the kernel and the device have them.
    Auto,
    /// With offloads, or not at all.
    Offload,
    /// Without: frame by frame.
    Plain,
}

/// A kernel TAP device, with or without offloads. While it lives no other weft opens the device.
#[derive(Debug)]
pub struct KernelTap {
    kind: Kind,
    /// A name in the abstract space is the network namespace's own, and gone with its holder.
    _lock: UnixDatagram,
}

#[derive(Debug)]
enum Kind {
    Offload(OffloadTap),
    Plain(PlainTap),
}

impl KernelTap {
    /// Opens the TAP device `name`, which is created if there is none.
    ///
    /// # Errors
    /// As those of [`OffloadTap::open`] and [`PlainTap::open`]; `EBUSY` when a process has it open.
    pub fn open(name: &str, backend: Backend) -> io::Result<Self> {
        let lock = SocketAddr::from_abstract_name(format!("weft/tap/{name}"))?;
        let lock = UnixDatagram::bind_addr(&lock).map_err(|error| {
            let held = error.kind() == ErrorKind::AddrInUse;
            if held { io::Error::from_raw_os_error(libc::EBUSY) } else { error }
        })?;
        let offload = || OffloadTap::open(name).map(Kind::Offload);
        let plain = || PlainTap::open(name).map(Kind::Plain);
        let unfit = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        let kind = match backend {
            Backend::Offload => offload()?,
            Backend::Plain => plain()?,
            Backend::Auto => match offload() {
                Err(error) if unfit(&error) => plain()?,
                opened => opened?,
            },
        };
        Ok(Self { kind, _lock: lock })
    }

    /// Whether super-frames go through it, and which the kernel hands over (`TUN_F_*`).
    pub fn offloads(&self) -> Option<u32> {
        match &self.kind {
            Kind::Offload(tap) => Some(tap.offloads()),
            Kind::Plain(_) => None,
        }
    }
}

impl AsFd for KernelTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Offload(tap) => tap.as_fd(),
            Kind::Plain(tap) => tap.as_fd(),
        }
    }
}

impl Tap for KernelTap {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        match &mut self.kind {
            Kind::Offload(tap) => tap.recv(batch),
            Kind::Plain(tap) => tap.recv(batch),
        }
    }

    fn send(
        &mut self,
        vnet: &[u8; VNET_HEADER_LEN],
        parts: &[IoSlice<'_>],
    ) -> Result<(), TapError> {
        match &mut self.kind {
            Kind::Offload(tap) => tap.send(vnet, parts),
            Kind::Plain(tap) => tap.send(vnet, parts),
        }
    }

    fn takes(&self) -> Takes {
        match &self.kind {
            Kind::Offload(tap) => tap.takes(),
            Kind::Plain(tap) => tap.takes(),
        }
    }

    fn refuse(&mut self, without: Takes) {
        match &mut self.kind {
            Kind::Offload(tap) => tap.refuse(without),
            Kind::Plain(tap) => tap.refuse(without),
        }
    }
}
