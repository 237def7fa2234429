//! Reusable frame buffers with headroom, and batches of them.
//!
//! A buffer is allocated once and lives as long as its worker. Reads land behind the headroom, so
//! that a tunnel header can be put before a frame, and taken off a datagram, without moving it.

use std::net::IpAddr;

use crate::VNET_HEADER_LEN;

/// Octets kept free before a frame that was read; room for any tunnel header weft may send.
const HEADROOM: usize = 64;

/// The largest read a buffer holds: a UDP payload over IPv4 is at most 65 507 octets (65 535 - 20
/// - 8), an Ethernet frame from the TAP 65 000 + 14 + two VLAN tags.
pub const CAPACITY: usize = 65_536;

/// One frame or datagram, in storage that is used again and again. The default has no storage: it
/// stands in for a buffer that is lent out.
#[derive(Debug, Default)]
pub struct Buf {
    storage: Box<[u8]>,
    /// INVARIANT: `start <= end <= storage.len()`.
    start: usize,
    end: usize,
}

impl Buf {
    /// An empty buffer. This allocates; do it when a worker is built, not per frame.
    pub fn new() -> Self {
        let storage = vec![0; HEADROOM + CAPACITY].into_boxed_slice();
        Self { storage, start: HEADROOM, end: HEADROOM }
    }

    /// What is in the buffer.
    pub fn octets(&self) -> &[u8] {
        self.storage.get(self.start..self.end).unwrap_or_default()
    }

    /// What is in the buffer, to be changed in place.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        self.storage.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Empties the buffer and lends the room behind the headroom; follow with [`Buf::set_len`].
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.storage.get_mut(HEADROOM..).unwrap_or_default()
    }

    /// Says how much of [`Buf::spare_mut`] was written; more than there is counts as all of it.
    pub fn set_len(&mut self, len: usize) {
        self.start = HEADROOM;
        self.end = HEADROOM + len.min(CAPACITY);
    }

    /// As [`Buf::spare_mut`], with the `N` octets before it: a reader that puts a header first
    /// leaves it there. Follow with [`Buf::set_len`] of what came after it.
    pub fn spare_behind_mut<const N: usize>(&mut self) -> &mut [u8] {
        const { assert!(N <= HEADROOM) };
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.storage.get_mut(HEADROOM - N..).unwrap_or_default()
    }

    /// The `N` octets before what was read.
    pub fn before<const N: usize>(&self) -> [u8; N] {
        let header = self.storage.get(HEADROOM - N..).and_then(|rest| rest.first_chunk());
        header.copied().unwrap_or([0; N])
    }

    /// Replaces the content; `false`, and an empty buffer, when it does not fit.
    pub fn fill(&mut self, octets: &[u8]) -> bool {
        let Some(room) = self.spare_mut().get_mut(..octets.len()) else { return false };
        room.copy_from_slice(octets);
        self.set_len(octets.len());
        true
    }

    /// Replaces the content by two parts; `false`, and an empty buffer, when they do not fit.
    pub fn fill_parts(&mut self, first: &[u8], second: &[u8]) -> bool {
        let len = first.len() + second.len();
        let Some((head, tail)) =
            self.spare_mut().get_mut(..len).and_then(|room| room.split_at_mut_checked(first.len()))
        else {
            return false;
        };
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        self.set_len(len);
        true
    }

    /// Puts `header` before the content.
    ///
    /// # Panics
    /// When the headroom is used up: a defect of the caller, who pushes one header per read.
    pub fn push_front<const N: usize>(&mut self, header: [u8; N]) {
        const { assert!(N <= HEADROOM) };
        assert!(self.start >= N, "headroom is used up");
        self.start -= N;
        if let Some(room) = self.octets_mut().first_chunk_mut() {
            *room = header;
        }
    }

    /// Takes `len` octets off the front; at most all of them.
    pub fn pop_front(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }
}

/// Buffers that one call fills and one loop works off.
#[derive(Debug)]
pub struct Batch {
    slots: Box<[Slot]>,
    len: usize,
}

/// A buffer and where its content came from.
#[derive(Debug)]
pub struct Slot {
    /// The frame or datagram.
    pub buf: Buf,
    /// The address of the host that sent it; unspecified for what came from the TAP.
    pub from: IpAddr,
    /// From the underlay: octets of each datagram but the last in a run; 0 when there is only one.
    pub stride: usize,
    /// From the TAP: what is left to do with the frame.
    pub vnet: [u8; VNET_HEADER_LEN],
}

impl Batch {
    /// A batch of `slots` empty buffers. This allocates all that they will ever need.
    pub fn new(slots: usize) -> Self {
        let from = IpAddr::from([0, 0, 0, 0]);
        let slot = || Slot { buf: Buf::new(), from, stride: 0, vnet: [0; VNET_HEADER_LEN] };
        Self { slots: std::iter::repeat_with(slot).take(slots).collect(), len: 0 }
    }

    /// Forgets the content, keeps the storage.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Frames in the batch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in the batch.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lends the next free slot to `read`; it is taken when `read` says so, and given back when it
    /// fails. `None` when the batch is full.
    pub fn read_next<E>(
        &mut self,
        read: impl FnOnce(&mut Slot) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let slot = self.slots.get_mut(self.len)?;
        let outcome = read(slot);
        if outcome.is_ok() {
            self.len += 1;
        }
        Some(outcome)
    }

    /// Lends all free slots to `read`, which says how many it has taken, from the first on.
    pub fn read_many<E>(
        &mut self,
        read: impl FnOnce(&mut [Slot]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let free = self.slots.get_mut(self.len..).unwrap_or_default();
        let room = free.len();
        let taken = read(free)?.min(room);
        self.len += taken;
        Ok(taken)
    }

    /// Whether there is no free slot.
    pub fn is_full(&self) -> bool {
        self.len == self.slots.len()
    }

    /// The filled slots.
    pub fn slots(&self) -> &[Slot] {
        self.slots.get(..self.len).unwrap_or_default()
    }

    /// The filled slots, to be changed in place.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        self.slots.get_mut(..self.len).unwrap_or_default()
    }

    /// The filled slots, in the order they were read.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_goes_before_the_content_and_comes_off_again() {
        let mut buf = Buf::new();
        assert!(buf.fill(b"frame"));

        buf.push_front(*b"head");
        assert_eq!(buf.octets(), b"headframe");
        buf.pop_front(4);

        assert_eq!(buf.octets(), b"frame");
    }

    #[test]
    fn more_than_fits_is_refused() {
        let mut buf = Buf::new();

        assert!(buf.fill(&vec![1; CAPACITY]));
        assert!(!buf.fill(&vec![1; CAPACITY + 1]));
        assert_eq!(buf.octets(), b"");
    }

    #[test]
    fn popping_more_than_there_is_empties_the_buffer() {
        let mut buf = Buf::new();
        assert!(buf.fill(b"ab"));

        buf.pop_front(9);

        assert_eq!(buf.octets(), b"");
    }

    #[test]
    fn a_full_batch_lends_nothing() {
        let mut batch = Batch::new(2);
        let mut read = |fail: bool| batch.read_next(|_| if fail { Err(()) } else { Ok(()) });

        assert_eq!(read(false), Some(Ok(())));
        assert_eq!(read(true), Some(Err(())));
        assert_eq!(read(false), Some(Ok(())));
        assert_eq!(read(false), None);
        assert_eq!(batch.iter_mut().count(), 2);
    }
}
