//! Whole Ethernet frames through AF_PACKET.

use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{LinkAddr, MsgFlags, sendto, setsockopt};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::content::{Content, Payload};
use crate::udp::now_seed;
use crate::{doze, now, report};

/// IEEE Std 802 local experimental EtherType 2: nobody answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb6];
/// Octets of a shortest frame without its checksum.
const SHORTEST: usize = 60;
/// When the device's queue is full.
const BACK_OFF: Duration = Duration::from_micros(100);

/// Sends all payloads in turn, `count` times.
pub(crate) fn send(iface: &str, count: u64, payloads: &[&str]) -> Result<()> {
    let port = Port::open(iface)?;
    let payloads = Payload::parse_all(payloads)?;
    ensure!(!payloads.is_empty(), "nothing to send");
    let mut content = Content::new(now_seed());
    for _ in 0..count {
        for payload in &payloads {
            port.send(&payload.emit(&mut content)).context("send")?;
        }
    }
    report(&json!({ "sent": count * payloads.len() as u64 }));
    Ok(())
}

/// The socket option by which a virtio header comes before every frame.
#[derive(Clone, Copy)]
struct PacketVnetHdr;

nix::setsockopt_impl!(
    PacketVnetHdr,
    libc::SOL_PACKET,
    libc::PACKET_VNET_HDR,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// Sends each payload once: what a virtual machine would give to its network card.
pub(crate) fn send_super(iface: &str, payloads: &[&str]) -> Result<()> {
    let port = Port::open(iface)?;
    setsockopt(&port.socket, PacketVnetHdr, &true).context("PACKET_VNET_HDR")?;
    let mut content = Content::new(now_seed());
    for payload in Payload::parse_all(payloads)? {
        port.send(&payload.emit(&mut content)).context("send")?;
    }
    report(&json!({ "sent": payloads.len() }));
    Ok(())
}

/// Sends all payloads in turn as fast as it goes; errors are counted.
pub(crate) fn blast(iface: &str, seconds: u64, payloads: &[&str]) -> Result<()> {
    let port = Port::open(iface)?;
    let payloads = Payload::parse_all(payloads)?;
    ensure!(!payloads.is_empty(), "nothing to send");
    let mut content = Content::new(now_seed());
    let (mut sent, mut errors) = (0_u64, 0_u64);
    let end = now() + Duration::from_secs(seconds);
    while now() < end {
        for payload in &payloads {
            match port.send(&payload.emit(&mut content)) {
                Ok(()) => sent += 1,
                Err(_error) => errors += 1,
            }
        }
    }
    report(&json!({ "sent": sent, "errors": errors }));
    Ok(())
}

/// Sends `count` frames to a station that does not exist, each from another random source.
pub(crate) fn mac_flood(iface: &str, count: u64) -> Result<()> {
    let port = Port::open(iface)?;
    let mut content = Content::new(now_seed());
    for _ in 0..count {
        let [a, b, c, d, e, _, _, _] = content.word().to_be_bytes();
        let mut frame = vec![0x02, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x02, a, b, c, d, e];
        frame.extend(ETHERTYPE);
        frame.resize(SHORTEST, 0);
        port.send(&frame).context("send")?;
    }
    report(&json!({ "sent": count }));
    Ok(())
}

/// A packet socket and the interface it sends through.
struct Port {
    socket: Socket,
    link: LinkAddr,
}

impl Port {
    fn open(iface: &str) -> Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("packet socket")?;
        // The only safe way to a link-layer address in the crates we have.
        let link = getifaddrs()?
            .filter(|it| it.interface_name == iface)
            .find_map(|it| it.address?.as_link_addr().copied());
        Ok(Self { socket, link: link.with_context(|| format!("no interface {iface}"))? })
    }

    fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        loop {
            match sendto(self.socket.as_raw_fd(), frame, &self.link, MsgFlags::empty()) {
                Ok(_length) => return Ok(()),
                Err(Errno::ENOBUFS | Errno::EAGAIN) => doze(BACK_OFF),
                Err(error) => return Err(error),
            }
        }
    }
}
