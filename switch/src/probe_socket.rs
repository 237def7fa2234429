//! Sends probes on UDP, of any size and unfragmented, and tells the kernel what paths carry.
//!
//! A link that carries less than the route says, and a router whose ICMP is filtered, tell nobody. What probes have found
//! out the kernel has to know for its own tunnel: it is told as a router would, by an ICMP message (RFC 1191) that this
//! node sends to itself. It quotes a datagram of this socket's, so that the kernel knows whose it is
//! (net/ipv4/udp.c, `__udp4_lib_err`), and lowers the route's MTU for `net.ipv4.route.mtu_expires`, ten minutes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, UdpHeader};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Mtu, OVERHEAD_V4, sys};

/// What routers look at of a datagram: hops it may take.
const TTL: u8 = 64;
/// Octets of an IPv4 header without options, and of one of UDP.
const HEADERS: u16 = 20 + 8;

/// Sends probes.
#[derive(Debug)]
pub struct ProbeSocket(UdpSocket);

impl ProbeSocket {
    /// A socket at one of the node's addresses.
    ///
    /// # Errors
    /// The address is not the node's.
    pub fn open(local: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        // DF, and as large as the interface takes, whatever the route has learned (ip(7)).
        match local {
            IpAddr::V4(_) => sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
            IpAddr::V6(_) => {
                sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
                sys::set_ipv6_dont_fragment(socket.as_fd())?;
            }
        }
        Ok(Self(socket))
    }

    /// Sends one.
    ///
    /// # Errors
    /// It is lost: too big for the interface, no route, or a full queue.
    pub fn send(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.send_to(octets, to).map(drop)
    }

    /// Tells the kernel that on the way to an address packets fit that leave so much to an inner one.
    ///
    /// # Errors
    /// `Unsupported` over IPv6; else what the socket says: it takes CAP_NET_RAW. That the kernel has taken it up is seen in
    /// [`path_mtu`](crate::path_mtu).
    pub fn teach(&self, to: SocketAddr, mtu: Mtu) -> io::Result<()> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (self.0.local_addr()?, to) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let socket = Socket::new(Domain::IPV4, Type::RAW.cloexec(), Some(Protocol::ICMPV4))?;
        socket.bind(&SocketAddr::from((*from.ip(), 0)).into())?;
        let fits = mtu.octets() + OVERHEAD_V4;
        let message = too_big((*from.ip(), from.port()), (*to.ip(), to.port()), fits);
        let message = message.ok_or(io::ErrorKind::InvalidInput)?;
        socket.send_to(&message, &SocketAddr::from((*from.ip(), 0)).into()).map(drop)
    }
}

/// What a router sends that a datagram does not fit through: so much does.
fn too_big(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), fits: u16) -> Option<Vec<u8>> {
    let len = fits.checked_add(1)?;
    let (src, dst) = (from.0.octets(), to.0.octets());
    let mut ip = Ipv4Header::new(len.checked_sub(20)?, TTL, IpNumber::UDP, src, dst).ok()?;
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let length = len.checked_sub(20).filter(|length| *length >= HEADERS)?;
    let udp = UdpHeader { source_port: from.1, destination_port: to.1, length, checksum: 0 };
    let quote = [&ip.to_bytes()[..], &udp.to_bytes()[..]].concat();
    let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: fits };
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), &quote);
    Some([&icmp.to_bytes()[..], &quote].concat())
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, UdpHeaderSlice};

    use super::*;

    #[test]
    fn the_message_says_what_fits_and_quotes_the_datagram_that_does_not() {
        let (from, to) = (([10, 99, 0, 1].into(), 7), ([10, 99, 0, 2].into(), 6784));

        let message = too_big(from, to, 1_400).unwrap();

        let icmp = Icmpv4Slice::from_slice(&message).unwrap();
        let fits = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1_400 };
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(fits));
        let ip = Ipv4HeaderSlice::from_slice(icmp.payload()).unwrap();
        assert_eq!((ip.source_addr(), ip.destination_addr()), (from.0, to.0));
        assert!(ip.dont_fragment() && ip.total_len() > 1_400);
        let udp = UdpHeaderSlice::from_slice(&icmp.payload()[20..]).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port()), (7, 6784));
    }
}
