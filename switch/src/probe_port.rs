//! Probes on the kernel's path: frames of EtherType [`PROBE`] between the bridges of two nodes.
//!
//! A frame that is sent out of the vxlan device goes to the one node that the device's FDB names for its
//! destination. If that is the address of the far node's bridge it ends there, and a packet socket on
//! that bridge hears it: vxlan device, underlay, vxlan device and bridge have done what they do for
//! pods' frames. Who hears cannot tell by which port of the bridge a frame came in, and a pod can send such frames, too: so a
//! filter in the kernel lets only those through that have a token which no pod is told. All others cost no room and wake nobody.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::RecvFlags;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{PROBE, PUNT_LEN, sys};

/// Frames that wait to be heard, in octets of kernel memory: some hundred small ones.
const BUFFER: usize = 128 << 10;
/// Frames taken at once.
const BATCH: usize = 256;

/// What a probe has to say to be heard.
pub type Token = [u8; 8];

/// Hears and sends probes. It hears what is for the bridge itself, and nothing that this node sends.
#[derive(Debug)]
pub struct ProbePort(AsyncFd<Arc<OwnedFd>>);

/// A probe that came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The frame, or the first [`PUNT_LEN`] octets of it.
    pub octets: Vec<u8>,
    /// Octets of the frame.
    pub len: usize,
}

impl ProbePort {
    /// Listens on the bridge of this interface index for probes with this token, [`TOKEN_AT`] octets behind their beginning. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Packet sockets are not for us (they need CAP_NET_RAW), or there is no such interface.
    pub fn open(bridge: u32, token: Token) -> io::Result<Self> {
        // Of no protocol until it is bound: nothing comes in unfiltered.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.attach_filter(&for_us(token))?;
        sys::bind_packet(socket.as_fd(), bridge, PROBE)?;
        Ok(Self(sys::readable(Arc::new(socket.into()))?))
    }

    /// Waits until probes come, and returns those that are there, but not more than some hundred. May
    /// be empty.
    ///
    /// # Errors
    /// The bridge went down or away: this port is deaf.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn heard(&self) -> io::Result<Vec<Heard>> {
        let mut ready = self.0.readable().await?;
        let (mut heard, mut frame) = (Vec::new(), [0; PUNT_LEN]);
        while heard.len() < BATCH {
            let got = ready.try_io(|socket| {
                Ok(rustix::net::recv(socket.get_ref(), &mut frame, RecvFlags::TRUNC)?)
            });
            match got {
                Ok(Ok((kept, len))) => {
                    let octets = frame.get(..kept).unwrap_or_default().to_vec();
                    heard.push(Heard { octets, len });
                }
                Ok(Err(error)) => return Err(error),
                Err(_nothing_more) => break,
            }
        }
        Ok(heard)
    }

    /// Sends an Ethernet frame out of the interface of this index.
    ///
    /// # Errors
    /// The interface is down or away, or its queue is full.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        sys::send_packet(self.0.get_ref().as_fd(), interface, PROBE, frame)
    }
}

/// Where a filter finds for whom a frame is (`SKF_AD_OFF + SKF_AD_PKTTYPE`, include/uapi/linux/filter.h).
const PACKET_TYPE: u32 = 0xffff_f004;
/// For the interface itself: not for all, not for another, and not leaving (`PACKET_HOST`).
const HOST: u32 = 0;

/// Where probes have their token: behind Ethernet's header, four octets that say what they are, and a version.
pub const TOKEN_AT: usize = 14 + 4 + 1;
const TOKEN_HIGH: u32 = 14 + 4 + 1;
const TOKEN_LOW: u32 = TOKEN_HIGH + 4;

/// Classic BPF (linux/bpf_common.h): only what is for the interface itself and has the token passes. A load beyond a
/// frame's end drops it.
fn for_us(token: Token) -> [SockFilter; 8] {
    let [a, b, c, d, e, f, g, h] = token;
    [
        SockFilter::new(0x30, 0, 0, PACKET_TYPE),
        SockFilter::new(0x15, 0, 5, HOST),
        SockFilter::new(0x20, 0, 0, TOKEN_HIGH),
        SockFilter::new(0x15, 0, 3, u32::from_be_bytes([a, b, c, d])),
        SockFilter::new(0x20, 0, 0, TOKEN_LOW),
        SockFilter::new(0x15, 0, 1, u32::from_be_bytes([e, f, g, h])),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}
