//! VXLAN on the wire (RFC 7348 §5).
//!
//! ```text
//!  0                   1                   2                   3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |R|R|R|R|I|R|R|R|            Reserved                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                VXLAN Network Identifier (VNI) |   Reserved    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | inner Ethernet frame, without its FCS                         |
//! ```
//! Reserved bits are sent as zero and ignored on receipt.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Buf;

/// Octets of the VXLAN header.
pub const HEADER_LEN: usize = 8;

/// The I flag: the VNI field is valid. No other flag is ever sent.
const FLAG_I: u8 = 0x08;

/// VXLAN network identifier: 24 bits (RFC 7348 §5).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The largest identifier that fits 24 bits.
    pub const MAX: u32 = (1 << 24) - 1;
    /// What weft uses unless told otherwise: the port's own number, easy to spot in a capture.
    pub const DEFAULT: Self = Self::new(6784).unwrap();

    /// `None` when `raw` needs more than 24 bits.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= Self::MAX { Some(Self(raw)) } else { None }
    }

    const fn octets(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

impl TryFrom<u32> for Vni {
    type Error = &'static str;

    fn try_from(raw: u32) -> Result<Self, Self::Error> {
        Self::new(raw).ok_or("a VNI has 24 bits")
    }
}

impl From<Vni> for u32 {
    fn from(it: Vni) -> Self {
        it.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why octets are no VXLAN datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadVxlan {
    /// Fewer octets than the header has.
    #[error("{len} octets are shorter than a VXLAN header")]
    Short {
        /// Octets in the datagram.
        len: usize,
    },
    /// The I flag is clear: there is no VNI to go by.
    #[error("the I flag is clear")]
    NoVni,
}

/// Reads the header of a datagram: its VNI, and the inner frame that follows.
pub fn parse(datagram: &[u8]) -> Result<(Vni, &[u8]), BadVxlan> {
    let Some(([flags, _, _, _, a, b, c, _], inner)) = datagram.split_first_chunk::<HEADER_LEN>()
    else {
        return Err(BadVxlan::Short { len: datagram.len() });
    };
    if flags & FLAG_I == 0 {
        return Err(BadVxlan::NoVni);
    }
    Ok((Vni(u32::from_be_bytes([0, *a, *b, *c])), inner))
}

/// The header of an overlay.
pub fn header(vni: Vni) -> [u8; HEADER_LEN] {
    let [a, b, c] = vni.octets();
    [FLAG_I, 0, 0, 0, a, b, c, 0]
}

/// Turns the frame in `buf` into a datagram, in place: the header goes into the headroom.
pub fn encap(buf: &mut Buf, vni: Vni) {
    buf.push_front(header(vni));
}

/// Turns the datagram in `buf` into the inner frame, in place. On error `buf` is unchanged.
pub fn decap(buf: &mut Buf) -> Result<Vni, BadVxlan> {
    let (vni, _) = parse(buf.octets())?;
    buf.pop_front(HEADER_LEN);
    Ok(vni)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buf_of(octets: &[u8]) -> Buf {
        let mut buf = Buf::new();
        assert!(buf.fill(octets));
        buf
    }

    proptest! {
        #[test]
        fn what_is_encapsulated_comes_out_again(
            raw in 0..=Vni::MAX,
            frame in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let vni = Vni::new(raw).unwrap();
            let mut buf = buf_of(&frame);

            encap(&mut buf, vni);
            prop_assert_eq!(buf.octets().len(), frame.len() + HEADER_LEN);
            prop_assert_eq!(decap(&mut buf), Ok(vni));

            prop_assert_eq!(buf.octets(), &frame[..]);
        }

        #[test]
        fn reserved_bits_are_ignored_on_receipt(reserved: [u8; 5], raw in 0..=Vni::MAX) {
            let [flags, a, b, c, d] = reserved;
            let [x, y, z] = Vni(raw).octets();

            let datagram = [flags | FLAG_I, a, b, c, x, y, z, d];

            prop_assert_eq!(parse(&datagram), Ok((Vni(raw), &[][..])));
        }
    }

    #[test]
    fn the_header_is_as_in_the_rfc() {
        let mut buf = buf_of(&[0xaa]);

        encap(&mut buf, Vni::new(0x12_34_56).unwrap());

        assert_eq!(buf.octets(), [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0, 0xaa]);
    }

    #[test]
    fn short_and_flagless_datagrams_are_refused_and_left_alone() {
        for len in 0..HEADER_LEN {
            let mut buf = buf_of(&vec![0xff; len]);
            assert_eq!(decap(&mut buf), Err(BadVxlan::Short { len }));
            assert_eq!(buf.octets().len(), len);
        }
        assert_eq!(decap(&mut buf_of(&[0xf7; 40])), Err(BadVxlan::NoVni));
    }

    #[test]
    fn a_vni_has_24_bits() {
        assert!(Vni::new(Vni::MAX).is_some());
        assert_eq!(Vni::new(Vni::MAX + 1), None);
    }
}
