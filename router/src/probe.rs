//! Probes of the direct data path, on the wire.
//!
//! ```text
//! VXLAN header 8 | dst MAC 6 | src MAC 6 | 0x88b5 | "weft" 4 | version 1 | kind 1 | 0 0 | nonce u64 | zeros
//! ```
//! They travel where frames do, in VXLAN on UDP 6784, as frames between the two nodes' bridges (their names), and are
//! handed to control there. Kind 1 asks; kind 2 answers, with the nonce of the question: who has not seen that cannot
//! answer. The frame has 60 octets, the least that Ethernet has (IEEE 802.3, 3.2.7). Answers of a later version are
//! answers, questions of a later version are answered in ours.

use peer_mesh::PeerName;
use switch::{PROBE, Vni, vxlan};

/// Octets of a probe's frame that say something, addresses among them; zeros follow.
pub const HEAD: usize = 6 + 6 + 2 + 4 + 4 + 8;
/// Octets of a probe's frame.
const FRAME: usize = 60;
const MAGIC: [u8; 4] = *b"weft";
const VERSION: u8 = 1;

/// What a probe says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Do you hear me?
    Ask,
    /// I do.
    Answer,
}

/// A probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// What it says.
    pub kind: Kind,
    /// The question's number.
    pub nonce: u64,
}

impl Probe {
    /// The datagram that carries it.
    pub fn emit(self, vni: Vni, from: PeerName, to: PeerName) -> Vec<u8> {
        let mut octets = Vec::with_capacity(vxlan::HEADER_LEN + FRAME);
        octets.extend(vxlan::header(vni));
        octets.extend(to.octets());
        octets.extend(from.octets());
        octets.extend(PROBE.to_be_bytes());
        octets.extend(MAGIC);
        let kind = match self.kind {
            Kind::Ask => 1,
            Kind::Answer => 2,
        };
        octets.extend([VERSION, kind, 0, 0]);
        octets.extend(self.nonce.to_be_bytes());
        octets.resize(vxlan::HEADER_LEN + FRAME, 0);
        octets
    }

    /// Reads an inner frame, if it is a probe.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (_macs, rest) = frame.split_first_chunk::<12>()?;
        let (ether_type, rest) = rest.split_first_chunk::<2>()?;
        let (magic, rest) = rest.split_first_chunk::<4>()?;
        let ([version, kind, _, _], rest) = rest.split_first_chunk::<4>()?;
        let (nonce, _zeros) = rest.split_first_chunk::<8>()?;
        if u16::from_be_bytes(*ether_type) != PROBE || *magic != MAGIC || *version < VERSION {
            return None;
        }
        let kind = match kind {
            1 => Kind::Ask,
            2 => Kind::Answer,
            _ => return None,
        };
        Some(Self { kind, nonce: u64::from_be_bytes(*nonce) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_probe_reads_back_as_it_was_written_and_is_a_frame_of_the_least_size() {
        for kind in [Kind::Ask, Kind::Answer] {
            let probe = Probe { kind, nonce: 0x0102_0304_0506_0708 };

            let octets = probe.emit(Vni::DEFAULT, PeerName::local(1), PeerName::local(2));

            let (vni, frame) = vxlan::parse(&octets).unwrap();
            assert_eq!((vni, frame.len()), (Vni::DEFAULT, 60));
            assert!(switch::Frame::parse(frame).unwrap().is_probe());
            assert_eq!(Probe::parse(frame), Some(probe));
            assert_eq!(Probe::parse(&frame[..HEAD]), Some(probe));
            assert_eq!(Probe::parse(&frame[..HEAD - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_probe_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Probe::parse(&octets);
        }
    }
}
