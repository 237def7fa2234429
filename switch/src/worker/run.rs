use crate::{PeerId, RunLimits};

/// Datagrams that make one message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// Whom they are for.
    pub(super) id: Option<PeerId>,
    /// Which parts are its own.
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) datagrams: usize,
    /// Octets of each datagram; the last may have less, and then nothing follows it.
    pub(super) size: usize,
    octets: usize,
    closed: bool,
}

impl Run {
    /// An empty run, whose parts begin at `first`, and whose datagrams have `size` octets.
    pub(super) fn new(id: PeerId, first: usize, size: usize) -> Self {
        Self { id: Some(id), first, end: first, size, ..Self::default() }
    }

    /// Whether a datagram of `len` octets for `id` can follow.
    pub(super) fn takes(&self, id: PeerId, len: usize, limits: RunLimits) -> bool {
        self.id == Some(id)
            && !self.closed
            && len <= self.size
            && self.datagrams < limits.datagrams
            && self.octets + len <= limits.octets
    }

    /// Adds a datagram of `len` octets in so many parts.
    pub(super) fn add(&mut self, len: usize, parts: usize) {
        self.end += parts;
        self.datagrams += 1;
        self.octets += len;
        self.closed = len < self.size;
    }

    /// Nothing is to follow.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}
