//! Says on behalf of a pod that its addresses are its own, by its interface.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use crate::neighbour::announce;
use crate::{Mac, sys};

/// EtherTypes by which such frames go (include/uapi/linux/if_ether.h).
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Sends gratuitous ARP and neighbour advertisements out of one interface of the network namespace that it was opened in, from
/// whatever namespace it is used in.
#[derive(Debug)]
pub struct Greeter {
    socket: OwnedFd,
    interface: u32,
    mac: Mac,
}

impl Greeter {
    /// For the interface of this index, which has this address.
    ///
    /// # Errors
    /// Packet sockets are not for us: they need CAP_NET_RAW.
    pub fn open(interface: u32, mac: Mac) -> io::Result<Self> {
        // Of no protocol: it hears nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        Ok(Self { socket: socket.into(), interface, mac })
    }

    /// Tells all who hear it that this address is the interface's.
    ///
    /// # Errors
    /// The interface is down or away.
    pub fn greet(&self, addr: IpAddr) -> io::Result<()> {
        let ether_type = if addr.is_ipv4() { ARP } else { IPV6 };
        let frame = announce(self.mac, addr);
        sys::send_packet(self.socket.as_fd(), self.interface, ether_type, frame.octets())
    }
}
