//! The sockets that receive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use rustix::net::sockopt;
use socket2::Socket;

use super::OpenError;
use super::udp::socket;
use crate::sys;

/// A burst of 10 ms at 10 Gbit/s and some: what may wait while this thread is not scheduled.
const RECEIVE_BUFFER: usize = 16 << 20;

/// A socket for each worker on one port that nobody else has.
pub(super) fn receivers(addr: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let open = |shared: bool| {
        let socket = receiver(addr)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    // Alone first: a socket that shares its port would also share it with another weft's.
    let alone = open(false)?;
    if workers < 2 {
        return Ok(vec![alone]);
    }
    drop(alone);
    (0..workers).map(|_| open(true)).collect()
}

/// The same, for datagrams that a rule brings there.
pub(super) fn transparent_receivers(
    addr: SocketAddr,
    workers: usize,
) -> Result<Vec<UdpSocket>, OpenError> {
    let failed = |error| open_error(addr, error);
    let open = |addr: SocketAddr, shared: bool| {
        let socket = receiver(addr).map_err(failed)?;
        // One flag in the kernel, for sockets of IPv6, too.
        socket.set_ip_transparent_v4(true).map_err(OpenError::NotTransparent)?;
        socket.set_reuse_port(shared).map_err(failed)?;
        socket.bind(&addr.into()).map_err(failed)?;
        Ok(socket)
    };
    // Of ports that are shared, too, the kernel would choose one that somebody else shares.
    let first = open(addr, false)?;
    first.set_reuse_port(true).map_err(failed)?;
    let first = UdpSocket::from(first);
    let addr = first.local_addr().map_err(failed)?;
    let others = (1..workers).map(|_| open(addr, true).map(UdpSocket::from));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn receiver(addr: SocketAddr) -> io::Result<Socket> {
    let socket = socket(addr)?;
    set_receive_buffer(&socket, RECEIVE_BUFFER)?;
    // Without it each datagram comes alone: slower, not wrong.
    drop(sys::set_udp_gro(socket.as_fd()));
    Ok(socket)
}

pub(super) fn open_error(addr: SocketAddr, error: io::Error) -> OpenError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::Taken(addr),
        Some(libc::EADDRNOTAVAIL) => OpenError::NoSuchAddress(addr.ip()),
        _ => OpenError::Other(addr, error),
    }
}

/// Any address of that family.
pub(super) fn any(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Beyond net.core.rmem_max where we may, up to it otherwise.
fn set_receive_buffer(socket: &Socket, size: usize) -> io::Result<()> {
    if sockopt::set_socket_recv_buffer_size_force(socket, size).is_err() {
        socket.set_recv_buffer_size(size)?;
    }
    Ok(())
}
