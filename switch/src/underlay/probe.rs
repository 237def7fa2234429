//! What UDP of this kernel really does, found out at start.
//!
//! Runs of datagrams (`UDP_SEGMENT`) are sent over the loopback device, and what arrives is compared
//! with what was sent; then the same to a socket that takes runs in one piece (`UDP_GRO`). Where
//! loopback is down, or slow to deliver, nothing is known, and what is refused shows in use. A device
//! may refuse what loopback takes: what shows in use counts in any case.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::udp::{sending_socket, socket};
use super::{Message, RUN_DATAGRAMS};
use crate::buf::{Batch, Slot};
use crate::{Clock, sys};

/// Datagrams in the runs that are tried: `UDP_MAX_SEGMENTS` since Linux 6.9, and before.
const RUNS: [usize; 2] = [128, RUN_DATAGRAMS];
/// Most datagrams of a run that is sent, whatever the kernel takes: some to spare below its limit.
const RUN_MAX: usize = 120;

/// Octets of each datagram but the last of a run, which has one less.
const SIZE: usize = 16;

/// For all waits together. Loopback delivers before a send returns, unless the processor is busy.
const PATIENCE: Duration = Duration::from_millis(10);

/// What UDP of this kernel was found to do; `None` where nothing is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UdpProbe {
    /// Most datagrams that one send makes of a run: 1 when it makes none, or not the right ones.
    pub segments: Option<usize>,
    /// Whether a run is received in one piece.
    pub gro: Option<bool>,
}

impl UdpProbe {
    /// Tries it over the loopback device, in the address family of `local`. Waits for 10 ms at most.
    pub fn run(local: IpAddr) -> Self {
        let clock = Clock::start();
        Self::over(|gro| Pair::open(local, gro, clock))
    }

    /// Most datagrams that a run is to have; 1: there are to be no runs.
    pub fn run_len(self) -> usize {
        self.segments.unwrap_or(RUN_DATAGRAMS).min(RUN_MAX)
    }

    fn over<L: Loopback>(open: impl Fn(bool) -> io::Result<L>) -> Self {
        let segments = segments(&open);
        let gro = segments.filter(|most| *most > 1).and_then(|_| joins(&open));
        Self { segments, gro }
    }
}

/// A way for datagrams that leads back to where it starts.
trait Loopback {
    fn send(&mut self, message: &Message<'_>) -> io::Result<()>;

    /// The next datagram, or run of them, and how large those of a run are (else 0); `None` when
    /// none comes in time.
    fn recv(&mut self) -> Option<(&[u8], usize)>;
}

fn segments<L: Loopback>(open: &impl Fn(bool) -> io::Result<L>) -> Option<usize> {
    // Alone first: what is not delivered at all says nothing about runs.
    if !arrives(open, 1)? {
        return None;
    }
    for datagrams in RUNS {
        if arrives(open, datagrams)? {
            return Some(datagrams);
        }
    }
    Some(1)
}

/// Whether a run arrives as the datagrams it consists of; `None` when too little arrives to tell.
fn arrives<L: Loopback>(open: &impl Fn(bool) -> io::Result<L>, datagrams: usize) -> Option<bool> {
    let mut way = open(false).ok()?;
    let octets = pattern(datagrams);
    if let Err(error) = way.send(&run(&octets, &parts(&octets))) {
        return is_refusal(&error).then_some(false);
    }
    for sent in octets.chunks(SIZE) {
        if way.recv()? != (sent, 0) {
            return Some(false);
        }
    }
    Some(true)
}

/// Whether a run is received in one piece; `None` when nothing arrives.
fn joins<L: Loopback>(open: &impl Fn(bool) -> io::Result<L>) -> Option<bool> {
    // A socket was to be had a moment ago: what is refused is the option.
    let Ok(mut way) = open(true) else { return Some(false) };
    let octets = pattern(RUN_DATAGRAMS);
    way.send(&run(&octets, &parts(&octets))).ok()?;
    Some(way.recv()? == (&octets, SIZE))
}

/// No two datagrams of it are the same.
fn pattern(datagrams: usize) -> Vec<u8> {
    let octet = |n: usize| (n * 7 + n / 251).to_le_bytes()[0];
    (0..datagrams * SIZE - 1).map(octet).collect()
}

fn parts(octets: &[u8]) -> Vec<IoSlice<'_>> {
    octets.chunks(SIZE).map(IoSlice::new).collect()
}

fn run<'a>(octets: &[u8], parts: &'a [IoSlice<'a>]) -> Message<'a> {
    let nowhere = SocketAddr::from(([0; 4], 0));
    Message { to: nowhere, parts, size: SIZE.min(octets.len()) }
}

/// Whether the kernel says that it cannot, and not that it could not.
fn is_refusal(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Two sockets on the loopback device.
struct Pair {
    from: UdpSocket,
    to: UdpSocket,
    addr: SocketAddr,
    batch: Batch,
    clock: Clock,
}

impl Pair {
    fn open(local: IpAddr, gro: bool, clock: Clock) -> io::Result<Self> {
        let loopback = match local {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let from = sending_socket(loopback)?;
        let to = socket(SocketAddr::new(loopback, 0))?;
        if gro {
            sys::set_udp_gro(to.as_fd())?;
        }
        to.bind(&SocketAddr::new(loopback, 0).into())?;
        // Nobody else's datagrams.
        to.connect(&from.local_addr()?.into())?;
        let to = UdpSocket::from(to);
        Ok(Self { from, addr: to.local_addr()?, to, batch: Batch::new(1), clock })
    }

    fn wait(&self) -> bool {
        let left = PATIENCE.saturating_sub(self.clock.elapsed());
        let mut fds = [PollFd::new(&self.to, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        matches!(poll(&mut fds, Some(&timeout)), Ok(1))
    }
}

impl Loopback for Pair {
    fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        let message = Message { to: self.addr, ..*message };
        match sys::send_batch(self.from.as_fd(), &[message]) {
            (_, None) => Ok(()),
            (_, Some(error)) => Err(error),
        }
    }

    fn recv(&mut self) -> Option<(&[u8], usize)> {
        if !self.wait() {
            return None;
        }
        self.batch.clear();
        self.batch.read_many(|slots| sys::recv_batch(self.to.as_fd(), slots)).ok()?;
        let Slot { buf, stride, .. } = self.batch.slots().first()?;
        Some((buf.octets(), *stride))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn a_kernel_that_does_all_is_believed() {
        for (most, run_len) in [(128, 120), (127, 64), (64, 64)] {
            let found = UdpProbe::over(|gro| Ok(Way { most, gro, ..Way::default() }));

            let segments = if most >= 128 { 128 } else { 64 };
            assert_eq!(found, UdpProbe { segments: Some(segments), gro: Some(true) });
            assert_eq!(found.run_len(), run_len);
        }
    }

    #[test]
    fn a_kernel_that_refuses_runs_gets_none() {
        let found = UdpProbe::over(|gro| Ok(Way { most: 1, gro, ..Way::default() }));

        assert_eq!(found, UdpProbe { segments: Some(1), gro: None });
        assert_eq!(found.run_len(), 1);
    }

    #[test]
    fn a_kernel_that_spoils_runs_gets_none() {
        let found =
            UdpProbe::over(|gro| Ok(Way { most: 128, spoils: true, gro, ..Way::default() }));

        assert_eq!(found.segments, Some(1));
    }

    #[test]
    fn a_kernel_that_joins_nothing_is_sent_runs_all_the_same() {
        let without = |gro: bool| {
            let open = Way { most: 128, ..Way::default() };
            if gro { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(open) }
        };
        let in_vain = |_| Ok(Way { most: 128, ..Way::default() });

        let expected = UdpProbe { segments: Some(128), gro: Some(false) };
        assert_eq!([UdpProbe::over(without), UdpProbe::over(in_vain)], [expected; 2]);
    }

    #[test]
    fn where_nothing_arrives_nothing_is_known() {
        let no_address = |_| Err::<Way, _>(io::ErrorKind::AddrNotAvailable.into());
        let lost = |_| Ok(Way { most: 128, loses: true, ..Way::default() });
        let down = |_| Ok(Way::default());

        for found in [UdpProbe::over(no_address), UdpProbe::over(lost), UdpProbe::over(down)] {
            assert_eq!(found, UdpProbe::default());
            assert_eq!(found.run_len(), RUN_DATAGRAMS);
        }
    }

    #[test]
    fn this_kernel_answers_in_time() {
        let clock = Clock::start();

        for local in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let found = UdpProbe::run(local);

            assert_ne!(found.run_len(), 0, "{found:?}");
        }
        assert!(clock.elapsed() < 100 * PATIENCE);
    }

    /// A kernel that takes messages of at most `most` datagrams.
    #[derive(Default)]
    struct Way {
        most: usize,
        gro: bool,
        spoils: bool,
        loses: bool,
        waiting: VecDeque<(Vec<u8>, usize)>,
        taken: Vec<u8>,
    }

    impl Loopback for Way {
        fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
            let octets: Vec<_> = message.parts.iter().flat_map(|it| it.iter().copied()).collect();
            if message.parts.len() > self.most {
                let errno = if self.most == 0 { libc::ENETUNREACH } else { libc::EINVAL };
                return Err(io::Error::from_raw_os_error(errno));
            }
            let stride = if self.gro { SIZE } else { 0 };
            let piece = if self.gro { octets.len() } else { SIZE };
            self.waiting.extend(octets.chunks(piece).map(|it| (it.to_vec(), stride)));
            if self.spoils && self.waiting.len() > 1 {
                self.waiting.back_mut().unwrap().0[0] ^= 1;
            }
            Ok(())
        }

        fn recv(&mut self) -> Option<(&[u8], usize)> {
            let (taken, stride) = self.waiting.pop_front().filter(|_| !self.loses)?;
            self.taken = taken;
            Some((&self.taken, stride))
        }
    }
}
