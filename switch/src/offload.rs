//! What a TAP says beside a frame: the header that virtio defines and TUN/TAP shares.
//!
//! ```text
//!  0        1          2          4           6             8
//! +--------+----------+----------+-----------+-------------+-------------+
//! | flags  | gso_type | hdr_len  | gso_size  | csum_start  | csum_offset |
//! +--------+----------+----------+-----------+-------------+-------------+
//! ```
//! All fields are in the host's order (include/uapi/linux/virtio_net.h, `struct virtio_net_hdr`).
//! `hdr_len` is not to be trusted: on a bridge it may be the length of the first memory fragment.

use crate::Layers;
use crate::checksum::field_of;
use crate::layers::{IpVersion, TCP, UDP};
use crate::segment::header_len;

/// Octets of the header: the legacy form, which every kernel has.
pub const VNET_HEADER_LEN: usize = 10;

/// The transport checksum holds the pseudo-header's sum and is to be finished.
const NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Beside a TCP type: CWR is set on the first segment.
const GSO_ECN: u8 = 0x80;

/// What is left to do with a frame before it can go on a wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offload {
    /// Payload octets of each packet that this super-frame stands for; 0 when it is one packet.
    pub segment: u16,
    /// Whether the transport checksum holds the pseudo-header's sum.
    pub checksum: bool,
}

/// The header contradicts itself or the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the offload header lies")]
pub struct BadOffload;

impl Offload {
    /// A frame that is complete as it is.
    pub const NONE: Self = Self { segment: 0, checksum: false };

    /// Reads the header of `frame`, whose IP packet is laid out as `layers`.
    pub fn parse(
        header: &[u8; VNET_HEADER_LEN],
        frame: &[u8],
        layers: Option<&Layers>,
    ) -> Result<Self, BadOffload> {
        let [flags, kind, _, _, size0, size1, start0, start1, field0, field1] = *header;
        let checksum = flags & NEEDS_CSUM != 0;
        let start = usize::from(u16::from_ne_bytes([start0, start1]));
        let field = usize::from(u16::from_ne_bytes([field0, field1]));
        if checksum && start + field + 2 > frame.len() {
            return Err(BadOffload);
        }
        let kind = kind & !GSO_ECN;
        if kind == GSO_NONE {
            return Ok(Self { segment: 0, checksum });
        }
        let layers = layers.ok_or(BadOffload)?;
        let segment = u16::from_ne_bytes([size0, size1]);
        let expected = match (kind, layers.version) {
            (GSO_TCPV4, IpVersion::V4) | (GSO_TCPV6, IpVersion::V6) => TCP,
            (GSO_UDP_L4, _) => UDP,
            _ => return Err(BadOffload),
        };
        let payload = header_len(frame, layers).and_then(|len| layers.end.checked_sub(len));
        let honest = checksum
            && segment > 0
            && payload.is_some_and(|payload| payload >= segment.into())
            && layers.protocol == expected
            && !layers.fragment
            && start == layers.transport
            && Some(field) == field_of(layers.protocol);
        if honest { Ok(Self { segment, checksum }) } else { Err(BadOffload) }
    }

    /// The checksum that a complete frame still lacks, as offsets: where its coverage starts, and
    /// where it stands. For frames that are no super-frames, whatever their protocol.
    pub fn partial(header: &[u8; VNET_HEADER_LEN]) -> (usize, usize) {
        let [_, _, _, _, _, _, start0, start1, field0, field1] = *header;
        let start = usize::from(u16::from_ne_bytes([start0, start1]));
        (start, start + usize::from(u16::from_ne_bytes([field0, field1])))
    }

    /// Writes the header of a frame whose IP packet is laid out as `layers`, and whose headers end
    /// at `header_len`.
    pub fn emit(self, layers: Option<&Layers>, header_len: usize) -> [u8; VNET_HEADER_LEN] {
        let Some(layers) = layers.filter(|_| self != Self::NONE) else {
            return [0; VNET_HEADER_LEN];
        };
        let kind = match (self.segment, layers.protocol, layers.version) {
            (0, ..) => GSO_NONE,
            (_, TCP, IpVersion::V4) => GSO_TCPV4,
            (_, TCP, IpVersion::V6) => GSO_TCPV6,
            _ => GSO_UDP_L4,
        };
        let flags = if self.checksum { NEEDS_CSUM } else { 0 };
        let field = field_of(layers.protocol).unwrap_or_default();
        let [len0, len1] = native(header_len);
        let [size0, size1] = self.segment.to_ne_bytes();
        let [start0, start1] = native(layers.transport);
        let [field0, field1] = native(field);
        [flags, kind, len0, len1, size0, size1, start0, start1, field0, field1]
    }
}

fn native(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn tcp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut frame, &[7; 3000])
            .unwrap();
        frame
    }

    #[test]
    fn what_is_emitted_reads_back() {
        let frame = tcp();
        let layers = Layers::parse(&frame).unwrap();
        for offload in [
            Offload { segment: 1400, checksum: true },
            Offload { segment: 0, checksum: true },
            Offload::NONE,
        ] {
            let header = offload.emit(Some(&layers), 54);
            assert_eq!(Offload::parse(&header, &frame, Some(&layers)), Ok(offload));
        }
    }

    #[test]
    fn every_lie_is_found() {
        let frame = tcp();
        let layers = Layers::parse(&frame).unwrap();
        let honest = Offload { segment: 1400, checksum: true }.emit(Some(&layers), 54);
        let lie = |at: usize, value: u8| {
            let mut header = honest;
            header[at] = value;
            Offload::parse(&header, &frame, Some(&layers))
        };

        assert!(Offload::parse(&honest, &frame, Some(&layers)).is_ok());
        assert!(lie(2, 0xff).is_ok(), "hdr_len is not looked at");
        assert_eq!(lie(0, 0), Err(BadOffload), "a super-frame with a finished checksum");
        assert_eq!(lie(1, GSO_TCPV6), Err(BadOffload));
        assert_eq!(lie(1, GSO_UDP_L4), Err(BadOffload));
        assert_eq!(lie(1, 3), Err(BadOffload), "UFO was never asked for");
        assert_eq!(lie(6, 33), Err(BadOffload));
        assert_eq!(lie(8, 6), Err(BadOffload));
        let mut sizeless = honest;
        sizeless[4..6].fill(0);
        assert_eq!(Offload::parse(&sizeless, &frame, Some(&layers)), Err(BadOffload));
        assert_eq!(Offload::parse(&honest, &frame, None), Err(BadOffload));
        for (size, outcome) in [(3000, Ok(())), (3001, Err(BadOffload)), (0xffff, Err(BadOffload))]
        {
            let header = Offload { segment: size, checksum: true }.emit(Some(&layers), 54);
            assert_eq!(Offload::parse(&header, &frame, Some(&layers)).map(drop), outcome, "{size}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_harm(header: [u8; VNET_HEADER_LEN], len in 0..100usize) {
            let frame = &tcp()[..len];
            let layers = Layers::parse(frame);
            if Offload::parse(&header, frame, layers.as_ref()).is_ok_and(|it| it.checksum) {
                let (start, field) = Offload::partial(&header);
                prop_assert!(start <= field && field + 2 <= frame.len());
            }
        }
    }
}
