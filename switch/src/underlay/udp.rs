use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::lane::{Lane, SendMany};
use super::receivers::{any, open_error, receivers, transparent_receivers};
use super::valve::Valve;
use super::{Message, RUN_DATAGRAMS, Refusals, RunLimits, Underlay, Unsent};
use crate::{Batch, sys};

/// Sending sockets, and so source ports, that flows are spread over.
const SENDERS: usize = 16;

const SEND_BUFFER: usize = 4 << 20;
/// Octets in a run: with IP, UDP and Ethernet headers it must stay below 64 KB, or the kernel cuts
/// it before the device does.
const RUN_OCTETS: usize = 65_000;

/// Nobody reads from the sending sockets; the kernel raises this to its least.
const NO_BUFFER: usize = 0;

/// Kernel UDP sockets: one that receives, and a few that send; or one that does both.
///
/// All are bound to one address and none is connected: a connected socket loses a datagram to every
/// ICMP error. The outer checksum is on and DF is set, so that a path that is too narrow shows up
/// as an error and not as fragments.
#[derive(Debug)]
pub struct UdpUnderlay {
    local: IpAddr,
    receiver: UdpSocket,
    /// Of a transparent receiver.
    valve: Option<Arc<Valve>>,
    lanes: Box<[Lane<UdpSocket>]>,
    limits: RunLimits,
    refusals: Refusals,
}

/// Why the underlay could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has the port.
    #[error("UDP port {0} is taken")]
    Taken(SocketAddr),
    /// No interface has the address.
    #[error("this host has no address {0}")]
    NoSuchAddress(IpAddr),
    /// A socket may not, or cannot, be given datagrams that are for another port.
    #[error("cannot make a UDP socket transparent")]
    NotTransparent(#[source] io::Error),
    /// Anything else.
    #[error("cannot open a UDP socket on {0}")]
    Other(SocketAddr, #[source] io::Error),
}

impl UdpUnderlay {
    /// Binds to `local`: receives on `port`, sends from ports of the kernel's choice. There are
    /// `workers` of them; each flow of a peer, told by its source port, comes to one. Datagrams
    /// leave in runs of at most `run_len`; with 1, one by one.
    ///
    /// # Errors
    /// As [`OpenError`] says; nothing is left open.
    pub fn open(
        local: IpAddr,
        port: u16,
        workers: usize,
        run_len: usize,
    ) -> Result<Vec<Self>, OpenError> {
        let addr = SocketAddr::new(local, port);
        let receivers = receivers(addr, workers).map_err(|error| open_error(addr, error))?;
        Self::with_senders(local, receivers, run_len)
    }

    /// The same, but receives on [`UdpUnderlay::port`] what a tproxy rule brings there: the port of VXLAN
    /// is the kernel's, or anybody's. With `port` 0 the kernel chooses one that nobody has.
    ///
    /// # Errors
    /// As [`OpenError`] says; nothing is left open.
    pub fn open_transparent(
        local: IpAddr,
        port: u16,
        workers: usize,
        run_len: usize,
    ) -> Result<Vec<Self>, OpenError> {
        // The rule looks for a socket with an address of the interface, which need not be a datagram's.
        let addr = SocketAddr::new(any(local), port);
        let mut opened = Self::with_senders(local, transparent_receivers(addr, workers)?, run_len)?;
        for it in &mut opened {
            let valve = Valve::new(&it.receiver).map_err(|error| open_error(addr, error))?;
            it.valve = Some(Arc::new(valve));
        }
        Ok(opened)
    }

    /// Binds to `local` and `port`, and sends from there, too: what comes from anywhere else does
    /// not get through NATs, or past a firewall that only lets this port through. There is one
    /// lane, and the datagrams of a peer all come to one of the `workers`.
    ///
    /// # Errors
    /// As [`OpenError`] says; nothing is left open.
    pub fn open_sleeve(
        local: IpAddr,
        port: u16,
        workers: usize,
        run_len: usize,
    ) -> Result<Vec<Self>, OpenError> {
        let addr = SocketAddr::new(local, port);
        let open = |receiver: UdpSocket| {
            set_up_sending(&receiver, local)?;
            let lanes = [Lane::new(receiver.try_clone()?, run_len)].into();
            Ok(Self::new(local, receiver, lanes, run_len))
        };
        let opened = receivers(addr, workers);
        let opened = opened.and_then(|them| them.into_iter().map(open).collect());
        opened.map_err(|error| open_error(addr, error))
    }

    fn with_senders(
        local: IpAddr,
        receivers: Vec<UdpSocket>,
        run_len: usize,
    ) -> Result<Vec<Self>, OpenError> {
        let lane = |_| Ok(Lane::new(sending_socket(local)?, run_len));
        let open = |receiver| {
            let lanes = (0..SENDERS).map(lane).collect::<io::Result<_>>()?;
            Ok(Self::new(local, receiver, lanes, run_len))
        };
        let opened = receivers.into_iter().map(open).collect::<io::Result<_>>();
        opened.map_err(|error| open_error(SocketAddr::new(local, 0), error))
    }

    fn new(
        local: IpAddr,
        receiver: UdpSocket,
        lanes: Box<[Lane<UdpSocket>]>,
        run_len: usize,
    ) -> Self {
        // What is to be sent one by one is made ready in runs all the same.
        let datagrams = if run_len > 1 { run_len } else { RUN_DATAGRAMS };
        let limits = RunLimits { datagrams, octets: RUN_OCTETS };
        Self { local, receiver, valve: None, lanes, limits, refusals: Refusals::default() }
    }

    /// The port that it receives on.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.receiver.local_addr()?.port())
    }

    /// Stops and starts a transparent receiver; gone with it.
    pub(crate) fn valve(&self) -> Weak<Valve> {
        self.valve.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    /// Another descriptor of the socket that receives: while it is open the port is taken.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(crate) fn duplicate(&self) -> io::Result<UdpSocket> {
        self.receiver.try_clone()
    }

    /// Reads, from another thread, how many datagrams the kernel dropped as its buffer was full.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn drop_gauge(&self) -> io::Result<DropGauge> {
        Ok(DropGauge(self.receiver.try_clone()?))
    }
}

/// Reads how many datagrams the kernel dropped at a socket.
#[derive(Debug)]
pub struct DropGauge(UdpSocket);

impl DropGauge {
    /// The number so far.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn load(&self) -> io::Result<u32> {
        sys::socket_drops(self.0.as_fd())
    }
}

/// The size of the largest IP packet that the route from `local` to `to` carries. The kernel's
/// own answer, with what it has learned from ICMP, as it would apply it to a datagram now.
///
/// # Errors
/// There is no route.
pub fn path_mtu(local: IpAddr, to: IpAddr) -> io::Result<u32> {
    let socket = UdpSocket::bind((local, 0))?;
    // Connecting sends nothing, and the port does not matter.
    socket.connect((to, 9))?;
    let mtu = match to {
        IpAddr::V4(_) => sockopt::ip_mtu(&socket)?,
        IpAddr::V6(_) => sockopt::ipv6_mtu(&socket)?,
    };
    Ok(mtu)
}

impl AsFd for UdpUnderlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl Underlay for UdpUnderlay {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        while !batch.is_full() {
            let mut drained = false;
            let read = batch.read_many(|slots| {
                let read = sys::recv_batch(self.receiver.as_fd(), slots)?;
                drained = read < slots.len();
                Ok::<_, io::Error>(read)
            });
            match read {
                // Fewer than there was room for: no need to hear that there are no more.
                Ok(_) if drained => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // All that came before this call was handled.
                    if let Some(valve) = self.valve.as_ref().filter(|_| batch.is_empty()) {
                        // Refused: whoever has asked finds out, and tries.
                        let _refused = valve.settle_if_empty();
                    }
                    return Ok(());
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        lane: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.send(messages, &mut self.refusals, outcome);
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn limits(&self) -> RunLimits {
        self.limits
    }

    fn take_refusals(&mut self) -> Refusals {
        std::mem::take(&mut self.refusals)
    }

    fn path_mtu(&self, to: IpAddr) -> io::Result<u32> {
        path_mtu(self.local, to)
    }
}

impl SendMany for UdpSocket {
    fn send_many(&mut self, messages: &[Message<'_>]) -> (usize, Option<io::Error>) {
        sys::send_batch(self.as_fd(), messages)
    }
}

pub(super) fn sending_socket(local: IpAddr) -> io::Result<UdpSocket> {
    let addr = SocketAddr::new(local, 0);
    let socket = socket(addr)?;
    set_up_sending(&socket, local)?;
    socket.set_recv_buffer_size(NO_BUFFER)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// DF on all that leaves, and room for it.
fn set_up_sending(socket: &impl AsFd, local: IpAddr) -> io::Result<()> {
    match local {
        IpAddr::V4(_) => sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?,
        IpAddr::V6(_) => {
            sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?;
            sys::set_ipv6_dont_fragment(socket.as_fd())?;
        }
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SEND_BUFFER).is_err() {
        SockRef::from(socket).set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(())
}

pub(super) fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Errors that belong to a datagram or to a moment, not to the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EMSGSIZE
                | libc::EPROTO
        )
    )
}

/// Whether an address can be a node's: not unspecified, not a group or broadcast, not one that is only
/// good together with an interface, and not IPv4 in IPv6's clothes.
pub fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            !(addr == Ipv4Addr::UNSPECIFIED || addr.is_multicast() || addr == Ipv4Addr::BROADCAST)
        }
        IpAddr::V6(addr) => {
            let bound_to_link = addr.is_unicast_link_local() || addr.to_ipv4_mapped().is_some();
            !(addr == Ipv6Addr::UNSPECIFIED || addr.is_multicast() || bound_to_link)
        }
    }
}
