//! A simulated TCP connection: two ends and two streams of octets, each in order.
//!
//! What its process writes goes into the kernel's buffer as far as there is room, from there in
//! segments through the network, and into the other kernel's buffer until the process there reads.
//! A blocked path keeps the segments and tries again, ever more rarely, and nobody is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::ConnId;

use super::host::HostId;

/// A connection, never used twice.
pub(super) type Key = u64;

/// Octets a kernel takes from a process before the other end has acknowledged them.
const SEND_BUFFER: usize = 256 * 1024;
/// Octets a kernel keeps for a process that does not read.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// Where there is no host.
pub(super) const NOBODY: HostId = HostId(u32::MAX);

#[derive(Debug)]
pub(super) struct Conn {
    /// Who dialled, who accepted.
    pub(super) ends: [End; 2],
    /// What each end writes.
    pub(super) streams: [Stream; 2],
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: HostId,
    /// What its process calls the connection, while it knows it.
    pub(super) conn: Option<ConnId>,
    pub(super) phase: Phase,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Opening,
    Open,
    /// The process has closed it; what it wrote is on its way, what comes is thrown away.
    Lingering,
    /// The kernel answers with a reset.
    Dead,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Written by the process, not taken by the kernel.
    pub(super) unsent: VecDeque<u8>,
    /// Whether the process closes when `unsent` is empty.
    pub(super) closing: bool,
    pub(super) segments: VecDeque<Segment>,
    /// Octets in the sender's kernel.
    buffered: usize,
    /// Of those, octets that arrived, but whose acknowledgement did not.
    pub(super) unacknowledged: usize,
    /// When the last segment arrives.
    last: Duration,
    /// Whether an arrival is queued for the head of `segments`.
    pub(super) awaited: bool,
    /// Arrived, and not read.
    inbox: Vec<u8>,
    /// Failed attempts in a row to get through.
    pub(super) tries: u32,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) at: Duration,
    pub(super) octets: Vec<u8>,
    pub(super) fin: bool,
}

impl Conn {
    pub(super) fn new(dialler: End, acceptor: End) -> Self {
        Self { ends: [dialler, acceptor], streams: Default::default() }
    }

    pub(super) fn hosts(&self, from: usize) -> (HostId, HostId) {
        (self.ends[from].host, self.ends[1 - from].host)
    }
}

impl End {
    pub(super) fn new(host: HostId, local: SocketAddr, remote: SocketAddr) -> Self {
        Self { host, conn: None, phase: Phase::Opening, local, remote }
    }
}

impl Stream {
    /// Nothing arrives before this time.
    pub(super) fn not_before(&mut self, at: Duration) {
        self.last = self.last.max(at);
    }

    /// Octets that the kernel takes now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let room = SEND_BUFFER - self.buffered.min(SEND_BUFFER);
        let taken = room.min(self.unsent.len());
        self.buffered += taken;
        self.unsent.drain(..taken).collect()
    }

    /// Puts octets, or the end of the stream, on their way.
    pub(super) fn push(&mut self, segment: Segment) {
        self.last = self.last.max(segment.at);
        self.segments.push_back(Segment { at: self.last, ..segment });
    }

    /// The other kernel has these octets and has said so, or not.
    pub(super) fn arrived(&mut self, octets: usize, acknowledged: bool) {
        if acknowledged {
            // A reset may have emptied it meanwhile.
            self.buffered = self.buffered.saturating_sub(octets + self.unacknowledged);
            self.unacknowledged = 0;
        } else {
            self.unacknowledged += octets;
        }
    }

    /// Nothing more goes through.
    pub(super) fn cut(&mut self) {
        self.segments.clear();
        self.unsent.clear();
        self.inbox = Vec::new();
        (self.buffered, self.unacknowledged) = (0, 0);
    }

    /// Whether the receiver's kernel has room for these octets.
    pub(super) fn has_room(&self, octets: usize) -> bool {
        self.inbox.is_empty() || self.inbox.len() + octets <= RECEIVE_BUFFER
    }

    /// Keeps octets for a process that does not read. Whether they are the first.
    pub(super) fn keep(&mut self, octets: &[u8]) -> bool {
        self.inbox.extend_from_slice(octets);
        self.inbox.len() == octets.len()
    }

    pub(super) fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }
}
