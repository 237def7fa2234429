use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use super::{OffloadTap, PlainTap, Takes, Tap, TapError};
use crate::{Batch, VNET_HEADER_LEN, sys};

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
    steering: Steering,
    /// A name in the abstract space is the network namespace's own, and gone with its holders.
    lock: Arc<UnixDatagram>,
}

/// Who says which queue of a TAP a frame goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Steering {
    /// Nobody: there is one queue.
    OneQueue,
    /// Our program, by the flow alone.
    ByFlow,
    /// The kernel, by what was last written, as it refused the program with this errno: a flow may
    /// change queues, and so its source port. Reordered for a moment, not lost.
    Refused(i32),
}

#[derive(Debug)]
enum Kind {
    Offload(OffloadTap),
    Plain(PlainTap),
}

impl KernelTap {
    /// Opens the TAP device `name`, which is created if there is none: `queues` of it, or one where
    /// it goes without offloads. A flow keeps to one queue, where the kernel can be told so.
    ///
    /// # Errors
    /// As those of [`OffloadTap::open`] and [`PlainTap::open`]; `EBUSY` when a process has it open.
    pub fn open(name: &str, backend: Backend, queues: usize) -> io::Result<Vec<Self>> {
        let lock = SocketAddr::from_abstract_name(format!("weft/tap/{name}"))?;
        let lock = UnixDatagram::bind_addr(&lock).map_err(|error| {
            let held = error.kind() == ErrorKind::AddrInUse;
            if held { io::Error::from_raw_os_error(libc::EBUSY) } else { error }
        })?;
        let lock = Arc::new(lock);
        let tap = |kind| Self { kind, steering: Steering::OneQueue, lock: Arc::clone(&lock) };
        let plain = || PlainTap::open(name).map(|it| vec![tap(Kind::Plain(it))]);
        let offload = || -> io::Result<Vec<_>> {
            let queue = |_| OffloadTap::open(name).map(|it| tap(Kind::Offload(it)));
            (0..queues.max(1)).map(queue).collect()
        };
        let unfit = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        let mut taps = match backend {
            Backend::Offload => offload()?,
            Backend::Plain => plain()?,
            Backend::Auto => match offload() {
                Err(error) if unfit(&error) => plain()?,
                opened => opened?,
            },
        };
        if let [first, _, ..] = taps.as_slice() {
            let steering = Steering::of(&sys::steer_by_flow(first.as_fd()));
            taps.iter_mut().for_each(|tap| tap.steering = steering);
        }
        Ok(taps)
    }

    /// Makes the device outlive this process, with its port flags and FDB entries.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn keep(&self) -> io::Result<()> {
        sys::set_persistent(self.as_fd(), true)
    }

    /// Whether super-frames go through it, and which the kernel hands over (`TUN_F_*`).
    pub fn offloads(&self) -> Option<u32> {
        match &self.kind {
            Kind::Offload(tap) => Some(tap.offloads()),
            Kind::Plain(_) => None,
        }
    }

    /// What keeps other wefts out.
    pub(super) fn lock(&self) -> Arc<UnixDatagram> {
        Arc::clone(&self.lock)
    }

    /// Who says which queue a frame goes to.
    pub fn steering(&self) -> Steering {
        self.steering
    }
}

impl Steering {
    fn of(set: &io::Result<()>) -> Self {
        match set {
            Ok(()) => Self::ByFlow,
            Err(error) => Self::Refused(error.raw_os_error().unwrap_or_default()),
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_refused_program_is_not_taken_for_a_set_one() {
        let no_tap = File::open("/dev/null").unwrap();

        let set = sys::steer_by_flow(no_tap.as_fd());

        assert!(matches!(Steering::of(&set), Steering::Refused(errno) if errno != 0), "{set:?}");
    }
}
