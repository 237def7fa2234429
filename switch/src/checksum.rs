//! The Internet checksum (RFC 1071), and finishing those that a sender left to its network card.
//!
//! A kernel that sends through a virtual link leaves the checksum of a TCP or UDP packet half done:
//! the field holds the folded sum of the pseudo-header, and whoever puts the packet on a wire is to
//! add the rest. Encapsulated packets arrive like that too, and nobody but us can finish them.

use crate::layers::{IpVersion, TCP, UDP};
use crate::{Layers, sys};

/// A one's complement sum in progress. Byte order does not matter until it is read out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds octets. All but the last slice of a sum must have an even length.
    pub(crate) fn add(self, octets: &[u8]) -> Self {
        let (chunks, rest) = octets.as_chunks::<32>();
        let bulk = if chunks.is_empty() { 0 } else { sys::sum_chunks(chunks) };
        let (words, rest) = rest.as_chunks::<4>();
        let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut tail = [0; 4];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        let tail = u64::from(u32::from_ne_bytes(tail));
        // Each addend is folded below 2^33, so that four of them cannot overflow.
        Self(fold_32(self.0) + fold_32(bulk) + words + tail)
    }

    pub(crate) fn add_u16(self, value: u16) -> Self {
        self.add(&value.to_be_bytes())
    }

    /// The sum folded to 16 bits, as it stands on the wire.
    pub(crate) fn fold(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or_default().to_ne_bytes()
    }

    /// The checksum: the complement of the folded sum.
    pub(crate) fn finish(self) -> [u8; 2] {
        self.fold().map(|octet| !octet)
    }
}

/// End-around carry: 2^32 is 1 in one's complement arithmetic of any width that divides 32.
fn fold_32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The plain way to sum: eight lanes of 32-bit words. Compiled again where there are wider registers.
#[inline(always)]
pub(crate) fn sum_lanes(chunks: &[[u8; 32]]) -> u64 {
    let mut lanes = [0u64; 8];
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    lanes.into_iter().map(fold_32).sum()
}

/// The sum of the pseudo-header of a packet whose transport part has `len` octets
/// (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn pseudo_header(frame: &[u8], layers: &Layers, len: usize) -> Sum {
    let len = u32::try_from(len).unwrap_or_default();
    Sum::default()
        .add(layers.addresses(frame))
        .add(&len.to_be_bytes())
        .add_u16(u16::from(layers.protocol))
}

/// Where the transport protocol keeps its checksum, counted from its header.
pub(crate) fn field_of(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// Finishes a checksum that holds only the pseudo-header's sum. Returns whether it did.
///
/// One finished checksum in 65 536 looks the same; finishing it again does not change it.
pub fn finish_partial(frame: &mut [u8], layers: &Layers) -> bool {
    if layers.fragment {
        return false;
    }
    let Some(field) = field_of(layers.protocol).map(|offset| layers.transport + offset) else {
        return false;
    };
    let Some(segment) = frame.get(layers.transport..layers.end) else { return false };
    let pseudo = pseudo_header(frame, layers, segment.len());
    let Some(found) = frame.get(field..field + 2).filter(|_| field + 2 <= layers.end) else {
        return false;
    };
    if found != pseudo.fold()
        || (layers.version, layers.protocol, found) == (IpVersion::V4, UDP, &[0, 0])
    {
        return false;
    }
    // The field holds the pseudo-header's sum: summing the segment as it is adds it in.
    let checksum = Sum::default().add(segment).finish();
    put(frame, field, nonzero_for(layers.protocol, checksum));
    true
}

/// UDP sends a checksum of zero as all ones, as zero says that there is none (RFC 768).
pub(crate) fn nonzero_for(protocol: u8, checksum: [u8; 2]) -> [u8; 2] {
    if protocol == UDP && checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

/// Writes a 16-bit field; one outside of `octets` is left out.
pub(crate) fn put(octets: &mut [u8], at: usize, value: [u8; 2]) {
    if let Some(field) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, checksum::Sum16BitWords};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_equals_a_plain_reference(octets in prop::collection::vec(any::<u8>(), 0..3000)) {
            let reference = Sum16BitWords::new().add_slice(&octets).ones_complement();

            prop_assert_eq!(Sum::default().add(&octets).finish(), reference.to_ne_bytes());
        }

        #[test]
        fn a_sum_in_even_parts_is_the_sum_of_the_whole(
            octets in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0..150usize,
        ) {
            let (head, tail) = octets.split_at((cut * 2).min(octets.len() & !1));

            let parts = Sum::default().add(head).add(tail).fold();

            prop_assert_eq!(parts, Sum::default().add(&octets).fold());
        }

        #[test]
        fn a_checksum_left_half_done_is_finished(
            payload in prop::collection::vec(any::<u8>(), 0..1400),
            v6: bool,
            udp: bool,
        ) {
            let good = packet(&payload, v6, udp);
            let layers = Layers::parse(&good).unwrap();
            let field = layers.transport + field_of(layers.protocol).unwrap();
            let mut half_done = good.clone();
            let pseudo = pseudo_header(&good, &layers, layers.end - layers.transport);
            put(&mut half_done, field, pseudo.fold());

            prop_assert!(finish_partial(&mut half_done, &layers));

            prop_assert_eq!(half_done, good);
        }

        #[test]
        fn a_finished_checksum_stays_as_it_is(
            payload in prop::collection::vec(any::<u8>(), 0..1400),
            v6: bool,
            udp: bool,
        ) {
            let good = packet(&payload, v6, udp);
            let mut frame = good.clone();

            finish_partial(&mut frame, &Layers::parse(&good).unwrap());

            prop_assert_eq!(frame, good);
        }
    }

    #[test]
    fn a_wrong_checksum_is_left_wrong() {
        let mut frame = packet(b"payload", false, false);
        frame[50] ^= 1;
        let layers = Layers::parse(&frame).unwrap();

        assert!(!finish_partial(&mut frame.clone(), &layers));
    }

    fn packet(payload: &[u8], v6: bool, udp: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = if v6 {
            ethernet.ipv6([1; 16], [2; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        if udp {
            ip.udp(1000, 2000).write(&mut frame, payload).unwrap();
        } else {
            ip.tcp(1000, 2000, 3, 4).write(&mut frame, payload).unwrap();
        }
        frame
    }
}
