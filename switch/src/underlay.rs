//! The underlay: where datagrams of and to the peers come in and go out.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use crate::{Batch, DropReason};

mod lane;
mod memory;
mod probe;
mod receivers;
mod udp;
mod valve;

pub use memory::{Datagram, MemoryNet, MemoryUnderlay};
pub use probe::UdpProbe;
pub use udp::{DropGauge, OpenError, UdpUnderlay, is_host, path_mtu};
pub(crate) use valve::Valve;

/// Datagrams in a run: what every kernel with UDP_SEGMENT takes (`UDP_MAX_SEGMENTS` before 6.9).
const RUN_DATAGRAMS: usize = 64;

/// A network that carries datagrams between nodes.
pub trait Underlay {
    /// Reads datagrams into the free slots of `batch` until it is full or none is left.
    ///
    /// # Errors
    /// The socket is of no more use. What was read before stays in the batch.
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()>;

    /// Sends messages in order, unfragmented, from the source port of `lane`, and tells the outcome
    /// of each by its index.
    fn send(
        &mut self,
        lane: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    );

    /// How many source ports there are.
    fn lanes(&self) -> usize;

    /// How large a [`Message`] may be.
    fn limits(&self) -> RunLimits;

    /// What was refused and worked around since this was last asked.
    fn take_refusals(&mut self) -> Refusals {
        Refusals::default()
    }

    /// The size of the largest IP packet that the path to `to` carries, as far as is known: what
    /// [`SendError::TooBig`] was decided by. Not for every frame.
    ///
    /// # Errors
    /// There is no path.
    fn path_mtu(&self, to: IpAddr) -> io::Result<u32>;
}

/// One datagram, or a run of datagrams of one size to one peer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// The octets, in parts. No part holds octets of two datagrams.
    pub parts: &'a [IoSlice<'a>],
    /// Octets of each datagram; the last may have less.
    pub size: usize,
}

impl Message<'_> {
    /// Whether it is more than one datagram.
    pub fn is_run(&self) -> bool {
        self.octets() > self.size
    }

    /// How many datagrams it consists of.
    pub fn count(&self) -> usize {
        self.octets().div_ceil(self.size.max(1))
    }

    /// The first `n` datagrams, and those after them.
    pub fn split_at(&self, n: usize) -> (Self, Self) {
        let mut left = n.saturating_mul(self.size.max(1));
        let beyond = |part: &IoSlice<'_>| {
            let beyond = left == 0;
            left = left.saturating_sub(part.len());
            beyond
        };
        let at = self.parts.iter().position(beyond).unwrap_or(self.parts.len());
        let (first, rest) = self.parts.split_at_checked(at).unwrap_or_default();
        (Self { parts: first, ..*self }, Self { parts: rest, ..*self })
    }

    /// The same in messages of at most `n` datagrams.
    pub fn pieces(&self, n: usize) -> impl Iterator<Item = Self> {
        let mut rest = *self;
        std::iter::from_fn(move || {
            let (piece, others) = rest.split_at(n.max(1));
            rest = others;
            Some(piece).filter(|piece| !piece.parts.is_empty())
        })
    }

    fn octets(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// How large a message may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunLimits {
    /// Most datagrams.
    pub datagrams: usize,
    /// Most octets.
    pub octets: usize,
}

/// What a socket refused, and what was done about it: counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refusals {
    /// Runs that went in pieces.
    pub runs: u64,
    /// Runs that were refused, by errno.
    pub eio: u64,
    /// The same.
    pub einval: u64,
    /// The same.
    pub emsgsize: u64,
    /// The same, and single datagrams that were tried once more.
    pub enobufs: u64,
}

/// A message that was not, or not wholly, sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsent {
    /// How many of its datagrams were sent: the first ones.
    pub sent: usize,
    /// Why not more.
    pub why: SendError,
}

impl From<SendError> for Unsent {
    fn from(why: SendError) -> Self {
        Self { sent: 0, why }
    }
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
