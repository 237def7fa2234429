//! What the bridge device hears pods say of their addresses, and whom they ask for.
//!
//! With `neigh_suppress` on the TAP's port the bridge keeps from the TAP what it can answer itself, and
//! what nobody has asked for: requests for known addresses, gratuitous ARP, unsolicited advertisements,
//! duplicate address detection. So frame threads hear nothing of a pod that only says these. The bridge
//! device gets every broadcast and multicast of its ports, and packet sockets hear that: also what came
//! from peers through the TAP. Of whom it is, the listener has to know.
//!
//! What leaves by the kernel's vxlan device is heard there if that is asked for, answers to others' questions among it: no frame thread sees them.
//!
//! Unicast between two pods of one node is not heard. A filter in the kernel leaves out all IPv6 but neighbour
//! discovery, and what finds the sockets' buffers full is lost: it will be said again.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::RecvFlags;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::neighbour::{self, ADVERTISEMENT, ARP, IPV6, SOLICITATION};
use crate::{Mac, sys};

/// The largest message that is looked at: Ethernet, IPv6, and a few options.
const MESSAGE: u16 = 256;
/// Frames that wait to be heard, in octets of kernel memory: some hundred.
const BUFFER: usize = 128 << 10;
/// Frames taken at once from each socket.
const BATCH: usize = 256;

/// What somebody says, by its MAC address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Said {
    /// It has this address.
    Has(Mac, IpAddr),
    /// It looks for who has this address.
    Asks(Mac, IpAddr),
}

/// Listens on a bridge. What it hears is what the bridge device gets from now on.
#[derive(Debug)]
pub struct Ear {
    arp: AsyncFd<Arc<OwnedFd>>,
    discovery: AsyncFd<Arc<OwnedFd>>,
    leaving: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl Ear {
    /// Listens on the bridge of this interface index. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Packet sockets are not for us (they need CAP_NET_RAW), or there is no such interface.
    pub fn open(bridge: u32) -> io::Result<Self> {
        let (arp, discovery) = (listen(bridge, ARP, &[])?, listen(bridge, IPV6, &DISCOVERY)?);
        Ok(Self { arp, discovery, leaving: None })
    }

    /// Listens at the vxlan device of this interface index, too, or at none any more. The kernel copies each frame that
    /// leaves by it for that.
    ///
    /// # Errors
    /// As those of [`Ear::open`].
    pub fn attend(&mut self, fast: Option<u32>) -> io::Result<()> {
        self.leaving = fast.map(|fast| listen(fast, ALL, &LEAVING)).transpose()?;
        Ok(())
    }

    /// Waits until somebody says something, and returns what is said: all that waits, but not more than some hundred
    /// frames. May be empty.
    ///
    /// # Errors
    /// The bridge went down or away: this ear is deaf.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn heard(&self) -> io::Result<Vec<Said>> {
        tokio::select! {
            ready = self.arp.readable() => take(ready?),
            ready = self.discovery.readable() => take(ready?),
            ready = readable(self.leaving.as_ref()) => take(ready?),
        }
    }
}

async fn readable(
    socket: Option<&AsyncFd<Arc<OwnedFd>>>,
) -> io::Result<AsyncFdReadyGuard<'_, Arc<OwnedFd>>> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

fn listen(
    bridge: u32,
    ether_type: u16,
    filter: &[SockFilter],
) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // Of no protocol until it is bound: nothing comes in unfiltered.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    if !filter.is_empty() {
        socket.attach_filter(filter)?;
    }
    sys::bind_packet(socket.as_fd(), bridge, ether_type)?;
    sys::readable(Arc::new(socket.into()))
}

fn take(mut ready: AsyncFdReadyGuard<'_, Arc<OwnedFd>>) -> io::Result<Vec<Said>> {
    let (mut heard, mut message) = (Vec::new(), [0; MESSAGE as usize]);
    for _ in 0..BATCH {
        let got = ready.try_io(|socket| {
            let (len, _) = rustix::net::recv(socket.get_ref(), &mut message, RecvFlags::empty())?;
            Ok(len)
        });
        match got {
            Ok(Ok(len)) => {
                let frame = message.get(..len).unwrap_or_default();
                heard.extend(neighbour::told_by(frame).map(|(mac, addr)| Said::Has(mac, addr)));
                heard.extend(neighbour::asked_by(frame).map(|(mac, addr)| Said::Asks(mac, addr)));
            }
            Ok(Err(error)) => return Err(error),
            Err(_nothing_more) => break,
        }
    }
    Ok(heard)
}

/// Every EtherType (`ETH_P_ALL`): sockets of one hear nothing of what leaves.
const ALL: u16 = 3;
/// Where a filter finds which way a frame goes (`SKF_AD_OFF + SKF_AD_PKTTYPE`, include/uapi/linux/filter.h).
const PACKET_TYPE: u32 = 0xffff_f004;
/// It leaves (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;

/// Where ICMPv6's type is, without extension headers, and where IPv6 says what follows it: Ethernet has 14 octets, IPv6 40.
const KIND: u32 = 14 + 40;
const NEXT_HEADER: u32 = 14 + 6;

/// Classic BPF (linux/bpf_common.h): only neighbour solicitations and advertisements pass.
const DISCOVERY: [SockFilter; 7] = [
    load_octet(NEXT_HEADER),
    unless(crate::layers::ICMP_V6, 4),
    load_octet(KIND),
    when(SOLICITATION, 1),
    unless(ADVERTISEMENT, 1),
    pass(MESSAGE as u32),
    pass(0),
];

/// Only ARP and those pass, and only what leaves.
const LEAVING: [SockFilter; 12] = [
    load_octet(PACKET_TYPE),
    unless(OUTGOING, 9),
    SockFilter::new(0x28, 0, 0, 12),
    SockFilter::new(0x15, 6, 0, ARP as u32),
    SockFilter::new(0x15, 0, 6, IPV6 as u32),
    load_octet(NEXT_HEADER),
    unless(crate::layers::ICMP_V6, 4),
    load_octet(KIND),
    when(SOLICITATION, 1),
    unless(ADVERTISEMENT, 1),
    pass(MESSAGE as u32),
    pass(0),
];

const fn load_octet(at: u32) -> SockFilter {
    SockFilter::new(0x30, 0, 0, at)
}
/// Goes on when the octet is that, else over so many.
const fn unless(octet: u8, over: u8) -> SockFilter {
    SockFilter::new(0x15, 0, over, octet as u32)
}
const fn when(octet: u8, over: u8) -> SockFilter {
    SockFilter::new(0x15, over, 0, octet as u32)
}
const fn pass(octets: u32) -> SockFilter {
    SockFilter::new(0x06, 0, 0, octets)
}
