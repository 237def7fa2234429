use std::collections::{BTreeMap, VecDeque};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Packet};
use switch::{Frame, Layers, Mac};

const TCP_BUFFER: usize = 65_535;
const UDP_BUFFER: usize = 16_384;
const PACKETS: usize = 32;

/// EtherType for local experiments (IEEE 802): frames of it are kept for the test to see.
pub(crate) const EXPERIMENT: [u8; 2] = [0x88, 0xb6];

/// A host with a TCP/IP stack. It does path MTU discovery as a kernel does: it believes an ICMP
/// error that quotes its own packet, and sends no larger ones from then on.
pub(crate) struct Pod {
    pub(crate) mac: Mac,
    /// The node whose bridge it is plugged into.
    pub(crate) node: usize,
    /// Unicast frames for others that the bridge flooded to it.
    pub(crate) strangers: usize,
    /// MTUs it was told by ICMP errors.
    pub(crate) told: Vec<usize>,
    /// Frames of the experimental EtherType that came.
    pub(crate) experiments: Vec<Vec<u8>>,
    /// The last ARP or neighbour discovery message of each station.
    introductions: BTreeMap<Mac, Vec<u8>>,
    number: u8,
    seed: u64,
    interface: Interface,
    link: Link,
    sockets: SocketSet<'static>,
}

impl Pod {
    pub(crate) fn new(number: u8, node: usize, mtu: usize, seed: u64) -> Self {
        let mac = Mac::local(u64::from(number));
        let mut link = Link { mtu, ..Link::default() };
        let interface = interface(number, mac, &mut link, seed);
        Self {
            mac,
            node,
            strangers: 0,
            told: Vec::new(),
            experiments: Vec::new(),
            introductions: BTreeMap::new(),
            number,
            seed,
            interface,
            link,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    pub(crate) fn v4(&self) -> IpAddress {
        v4(self.number)
    }

    pub(crate) fn v6(&self) -> IpAddress {
        v6(self.number)
    }

    /// Clears DF in all IPv4 packets: a host without path MTU discovery.
    pub(crate) fn never_set_df(&mut self) {
        self.link.clears_df = true;
    }

    /// A frame came in by the veth pair.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        let frame = Frame::parse(octets).unwrap();
        if frame.dst() != self.mac && !frame.dst().is_group() {
            self.strangers += 1;
            return;
        }
        if octets.get(12..14) == Some(&EXPERIMENT) {
            self.experiments.push(octets.to_vec());
        }
        if introduces(octets) {
            self.introductions.insert(frame.src(), octets.to_vec());
        }
        if let Some(mtu) = told_mtu(octets) {
            self.told.push(mtu);
            self.narrow(mtu);
        }
        self.link.received.push_back(octets.to_vec());
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.link, &mut self.sockets);
    }

    /// When it wants to be polled next.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        self.interface.poll_at(now, &self.sockets)
    }

    /// The next frame it has sent.
    pub(crate) fn take_sent(&mut self) -> Option<Vec<u8>> {
        self.link.sent.pop_front()
    }

    /// Sends a frame past the stack.
    pub(crate) fn send_raw(&mut self, frame: Vec<u8>) {
        self.link.sent.push_back(frame);
    }

    pub(crate) fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = tcp_socket();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn connect(&mut self, to: IpAddress, port: u16, from_port: u16) -> SocketHandle {
        let mut socket = tcp_socket();
        socket.connect(self.interface.context(), (to, port), from_port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn open_udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || {
            udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; PACKETS], vec![0; UDP_BUFFER])
        };
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn open_ping(&mut self, ident: u16) -> SocketHandle {
        let buffer = || {
            icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; PACKETS], vec![0; UDP_BUFFER])
        };
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(ident)).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn icmp(&mut self, handle: SocketHandle) -> &mut icmp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn narrow(&mut self, mtu: usize) {
        if mtu < self.link.mtu {
            self.link.mtu = mtu;
            // The stack asks its device once, so it gets a new interface. The sockets stay, and the
            // neighbours are introduced again: with nobody to send it to, the stack forgets a fast
            // retransmission for good.
            self.interface = interface(self.number, self.mac, &mut self.link, self.seed);
            self.link.received.extend(self.introductions.values().cloned());
        }
    }
}

fn v4(number: u8) -> IpAddress {
    IpAddress::v4(10, 32, 0, number)
}

fn v6(number: u8) -> IpAddress {
    IpAddress::v6(0xfd00, 0x32, 0, 0, 0, 0, 0, number.into())
}

fn interface(number: u8, mac: Mac, link: &mut Link, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
    config.random_seed = seed;
    let mut interface = Interface::new(config, link, Instant::ZERO);
    // Buffers are few, and one that waits for a lost fragment is one less.
    interface.set_reassembly_timeout(Duration::from_millis(200));
    interface.update_ip_addrs(|addrs| {
        addrs.push(IpCidr::new(v4(number), 24)).unwrap();
        addrs.push(IpCidr::new(v6(number), 64)).unwrap();
    });
    interface
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    // Keeps the neighbour known, too: entries are forgotten after a minute of silence.
    socket.set_keep_alive(Some(Duration::from_secs(1)));
    socket
}

/// Whether a frame says where an address is.
fn introduces(octets: &[u8]) -> bool {
    match Layers::parse(octets) {
        None => octets.get(12..14) == Some(&[0x08, 0x06]),
        Some(layers) => {
            layers.protocol == 58 && matches!(octets.get(layers.transport), Some(135 | 136))
        }
    }
}

/// The MTU that "fragmentation needed" (RFC 1191) or "packet too big" (RFC 4443) tells.
fn told_mtu(octets: &[u8]) -> Option<usize> {
    let layers = Layers::parse(octets)?;
    let icmp = octets.get(layers.transport..layers.end)?;
    let mtu: [u8; 2] = match (layers.protocol, icmp.get(..2)?) {
        (1, [3, 4]) | (58, [2, 0]) => icmp.get(6..8)?.try_into().ok()?,
        _ => return None,
    };
    Some(usize::from(u16::from_be_bytes(mtu)))
}

/// The pod's end of its veth pair.
#[derive(Default)]
struct Link {
    mtu: usize,
    clears_df: bool,
    /// Identifies packets that may be fragmented; the stack gives all of them a zero.
    ident: u16,
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outlet<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Outlet<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Outlet(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outlet<'_>> {
        Some(Outlet(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 14 + self.mtu;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Outlet<'a>(&'a mut Link);

impl phy::TxToken for Outlet<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        if self.0.clears_df && frame.get(12..14) == Some(&[0x08, 0x00]) {
            let mut packet = Ipv4Packet::new_unchecked(frame.get_mut(14..).unwrap());
            self.0.ident = self.0.ident.wrapping_add(1);
            packet.set_ident(self.0.ident);
            packet.set_dont_frag(false);
            packet.fill_checksum();
        }
        self.0.sent.push_back(frame);
        result
    }
}
