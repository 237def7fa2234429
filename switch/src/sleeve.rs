//! The sleeve on the wire: frames from process to process, on UDP 6783.
//!
//! ```text
//!  0                   1                   2                   3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Flags         |              Source label                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Destination label                  |   Hop limit   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | inner Ethernet frame, without its FCS                         |
//! ```
//! It has as many octets as VXLAN's header, so that what fits the one tunnel fits the other.
//!
//! Labels stand for peers: the source is who took the frame from a pod, the destination who gives
//! it to one, and whoever is between the two passes it on. The hop limit counts links, as IP's
//! does: who passes a frame on takes one off, and drops it when nothing is left. No flag has a
//! meaning yet. A datagram that has one is dropped, so that a flag may come to say that there is
//! something to understand.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vxlan;

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

const _: () = assert!(HEADER_LEN == vxlan::HEADER_LEN, "both tunnels leave pods the same MTU");

/// The hop limit that frames start with: the most links a frame takes.
pub const HOPS: u8 = 4;

/// Where in the header the hop limit is.
const HOPS_AT: usize = 7;

/// What stands for a peer on the wire: 24 bits. Control sees to it that no two peers share one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Label(u32);

impl Label {
    /// The largest label that fits 24 bits.
    pub const MAX: u32 = (1 << 24) - 1;

    /// `None` when `raw` needs more than 24 bits.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= Self::MAX { Some(Self(raw)) } else { None }
    }

    /// The number.
    pub const fn raw(self) -> u32 {
        self.0
    }

    const fn octets(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    const fn of(octets: [u8; 3]) -> Self {
        let [a, b, c] = octets;
        Self(u32::from_be_bytes([0, a, b, c]))
    }
}

impl TryFrom<u32> for Label {
    type Error = &'static str;

    fn try_from(raw: u32) -> Result<Self, Self::Error> {
        Self::new(raw).ok_or("a label has 24 bits")
    }
}

impl From<Label> for u32 {
    fn from(it: Label) -> Self {
        it.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// Who sends a frame to whom, and over how many links it may still go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The peer that took the frame from a pod.
    pub source: Label,
    /// The peer that gives it to one.
    pub destination: Label,
    /// Links it may take, with the one it is on.
    pub hops: u8,
}

/// Why octets are no datagram of the sleeve's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSleeve {
    /// Fewer octets than the header has.
    #[error("{len} octets are shorter than the header")]
    Short {
        /// Octets in the datagram.
        len: usize,
    },
    /// A flag is set that we know nothing of.
    #[error("unknown flags {flags:#04x}")]
    Flags {
        /// All flags of the datagram.
        flags: u8,
    },
}

impl Header {
    /// The octets of the header.
    pub const fn emit(self) -> [u8; HEADER_LEN] {
        let ([a, b, c], [x, y, z]) = (self.source.octets(), self.destination.octets());
        [0, a, b, c, x, y, z, self.hops]
    }

    /// Reads eight octets.
    ///
    /// # Errors
    /// [`BadSleeve::Flags`].
    pub const fn of(octets: [u8; HEADER_LEN]) -> Result<Self, BadSleeve> {
        let [flags, a, b, c, x, y, z, hops] = octets;
        if flags != 0 {
            return Err(BadSleeve::Flags { flags });
        }
        Ok(Self { source: Label::of([a, b, c]), destination: Label::of([x, y, z]), hops })
    }
}

/// Reads the header of a datagram, and the inner frame that follows.
///
/// # Errors
/// As [`BadSleeve`] says.
pub fn parse(datagram: &[u8]) -> Result<(Header, &[u8]), BadSleeve> {
    let (header, inner) =
        datagram.split_first_chunk().ok_or(BadSleeve::Short { len: datagram.len() })?;
    Ok((Header::of(*header)?, inner))
}

/// Rewrites the hop limit of a datagram, in place.
pub fn set_hops(datagram: &mut [u8], hops: u8) {
    if let Some(octet) = datagram.get_mut(HOPS_AT) {
        *octet = hops;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_emitted_reads_back(
            source in 0..=Label::MAX,
            destination in 0..=Label::MAX,
            hops: u8,
            frame in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let header = Header { source: Label(source), destination: Label(destination), hops };

            let datagram = [&header.emit()[..], &frame].concat();

            prop_assert_eq!(parse(&datagram), Ok((header, &frame[..])));
        }

        #[test]
        fn what_is_read_is_emitted_again(octets: [u8; HEADER_LEN]) {
            match Header::of(octets) {
                Ok(header) => prop_assert_eq!(header.emit(), octets),
                Err(error) => prop_assert_eq!(error, BadSleeve::Flags { flags: octets[0] }),
            }
        }

        #[test]
        fn only_the_hop_limit_is_rewritten(
            mut datagram in prop::collection::vec(any::<u8>(), 0..40),
            hops: u8,
        ) {
            let before = datagram.clone();

            set_hops(&mut datagram, hops);

            for (at, (octet, was)) in datagram.iter().zip(&before).enumerate() {
                prop_assert_eq!(*octet, if at == HOPS_AT { hops } else { *was });
            }
        }
    }

    #[test]
    fn the_header_is_as_documented() {
        let (source, destination) = (Label(0x12_34_56), Label(0xab_cd_ef));

        let header = Header { source, destination, hops: 4 };

        assert_eq!(header.emit(), [0, 0x12, 0x34, 0x56, 0xab, 0xcd, 0xef, 4]);
    }

    #[test]
    fn short_datagrams_and_unknown_flags_are_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(parse(&vec![0; len]), Err(BadSleeve::Short { len }));
        }
        for bit in 0..8 {
            let flags = 1 << bit;
            assert_eq!(parse(&[flags, 0, 0, 1, 0, 0, 2, 4]), Err(BadSleeve::Flags { flags }));
        }
    }

    #[test]
    fn a_label_has_24_bits() {
        assert_eq!(Label::new(Label::MAX).map(|label| label.to_string()), Some("ffffff".into()));
        assert_eq!(Label::new(Label::MAX + 1), None);
    }
}
