//! A blaster and a counter of datagrams that cost less than the path between them.
//!
//! iperf3 makes a few system calls for each packet, so that on two processors it and not the path
//! is measured. Here one call sends 64 datagrams, and one receives as many as there are. Each is
//! still a packet of its own to the kernel: no segmentation offload. Of many flows each has a socket
//! and sends a few datagrams at a time, each of another size: one call cannot send for all.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use weft_tests::harness::{Deadline, Stopwatch};

/// Datagrams per system call, of one flow and of one among many.
const BATCH: usize = 64;
const FEW: usize = 4;
/// Between the sizes of two datagrams: a prime, so that all sizes come in no order that matters.
const STRIDE: usize = 389;
/// What may wait while the counter is not scheduled: its own losses are not the path's.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the first datagram may take to come.
const FIRST: Duration = Duration::from_secs(10);
/// How often the counter looks at the clock when nothing comes.
const LULL: Duration = Duration::from_millis(100);
/// The longest datagram that is counted whole.
const LONGEST: usize = 2048;

/// Sends datagrams as fast as it goes.
#[derive(Debug, Args)]
pub(crate) struct Blast {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: u64,
    /// Flows that take turns
    #[arg(long, default_value_t = 1)]
    flows: usize,
    /// Octets of the shortest datagram
    #[arg(long)]
    least: usize,
    /// Octets of the longest
    #[arg(long)]
    most: usize,
}

/// Counts datagrams, from the first one on.
#[derive(Debug, Args)]
pub(crate) struct Count {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    seconds: u64,
}

impl Blast {
    pub(crate) fn run(&self) -> Result<()> {
        let sockets = (0..self.flows).map(|_| self.socket()).collect::<Result<Vec<_>>>()?;
        let batch = if self.flows == 1 { BATCH } else { FEW };
        let octets = vec![0x5a; self.most];
        let sizes = (0..self.flows * batch).map(|n| self.least + n * STRIDE % self.spread());
        let slices: Vec<_> =
            sizes.map(|size| [IoSlice::new(octets.get(..size).unwrap_or(&octets))]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(batch, None);
        // As connected: no address for each.
        let to: Vec<Option<SockaddrIn>> = vec![None; batch];
        // A little longer than the counter counts.
        let end = Deadline::after(Duration::from_secs(self.seconds) + LULL);
        let (start, mut sent) = (Stopwatch::start(), 0_u64);
        for (socket, slices) in sockets.iter().zip(slices.chunks_exact(batch)).cycle() {
            if end.passed() {
                break;
            }
            let fd = socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, slices, &to, [], MsgFlags::empty()) {
                Ok(results) => sent += results.count() as u64,
                // The pod's own queue is full, or a lost answer has come back.
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(error) => return Err(error).context("sendmmsg"),
            }
        }
        report(sent, start.elapsed());
        Ok(())
    }

    fn socket(&self) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(self.to)?;
        Ok(socket)
    }

    /// How many sizes there are.
    fn spread(&self) -> usize {
        self.most.saturating_sub(self.least) + 1
    }
}

impl Count {
    #[expect(clippy::print_stdout, reason = "its output is how it reports")]
    pub(crate) fn run(&self) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::RcvBufForce,
            &RECEIVE_BUFFER,
        )
        .context("a large receive buffer")?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)).into())?;
        println!("listening");
        socket.set_read_timeout(Some(FIRST))?;
        receive(&socket, &mut Buffers::new())?;
        socket.set_read_timeout(Some(LULL))?;
        let mut buffers = Buffers::new();
        let end = Deadline::after(Duration::from_secs(self.seconds));
        let (start, mut received) = (Stopwatch::start(), 0_u64);
        while !end.passed() {
            match receive(&socket, &mut buffers) {
                Ok(count) => received += count,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error).context("recvmmsg"),
            }
        }
        report(received, start.elapsed());
        Ok(())
    }
}

/// Where a call of `recvmmsg` puts things.
struct Buffers {
    headers: MultiHeaders<SockaddrIn>,
    octets: Vec<[u8; LONGEST]>,
}

impl Buffers {
    fn new() -> Self {
        let headers = MultiHeaders::preallocate(BATCH, None);
        Self { headers, octets: vec![[0; LONGEST]; BATCH] }
    }
}

/// Waits for a datagram and takes what else is there.
fn receive(socket: &Socket, buffers: &mut Buffers) -> Result<u64, Errno> {
    let mut slices: Vec<_> = buffers.octets.iter_mut().map(|it| [IoSliceMut::new(it)]).collect();
    let flags = MsgFlags::MSG_WAITFORONE;
    let got = recvmmsg(socket.as_raw_fd(), &mut buffers.headers, &mut slices, flags, None)?;
    Ok(got.count() as u64)
}

#[expect(clippy::print_stdout, reason = "its output is how it reports")]
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn report(count: u64, time: Duration) {
    println!("{}", json!({ "per_second": count as f64 / time.as_secs_f64() }));
}
