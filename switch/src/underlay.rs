//! The underlay: where datagrams of and to the peers come in and go out.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::{Batch, DropReason, FlowHash};

mod memory;
mod udp;

pub use memory::{Datagram, MemoryNet, MemoryUnderlay};
pub use udp::{DropGauge, OpenError, UdpUnderlay, is_host, path_mtu};

/// A network that carries datagrams between nodes.
pub trait Underlay {
    /// Reads datagrams into the free slots of `batch` until it is full or none is left.
    ///
    /// # Errors
    /// The socket is of no more use. What was read before stays in the batch.
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()>;

    /// Sends one datagram, unfragmented. Datagrams of one `flow` leave from one source port.
    ///
    /// # Errors
    /// The datagram is lost; the socket is still fine.
    fn send(&mut self, to: SocketAddr, flow: FlowHash, datagram: &[u8]) -> Result<(), SendError>;

    /// The size of the largest IP packet that the path to `to` carries, as far as is known: what
    /// [`SendError::TooBig`] was decided by. Not for every frame.
    ///
    /// # Errors
    /// There is no path.
    fn path_mtu(&self, to: IpAddr) -> io::Result<u32>;
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The path does not carry a datagram of this size.
    #[error("larger than the path carries")]
    TooBig,
    /// There is no route, or its link is down.
    #[error("no route")]
    NoRoute,
    /// The socket's buffer is full.
    #[error("the socket's buffer is full")]
    Full,
    /// A local firewall rule refused it.
    #[error("refused by a firewall rule")]
    Refused,
    /// Anything else, with its errno.
    #[error("errno {0}")]
    Other(i32),
}

impl From<SendError> for DropReason {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooBig => Self::TooBig,
            SendError::NoRoute => Self::NoRoute,
            SendError::Full => Self::UnderlayFull,
            SendError::Refused => Self::UnderlayRefused,
            SendError::Other(_) => Self::UnderlayError,
        }
    }
}
