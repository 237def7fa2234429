//! Where the headers of an IP packet in an Ethernet frame are: one parse serves the flow hash,
//! checksums, segmentation, fragmentation and ICMP.

use crate::frame::{ETHERNET_LEN, VLAN_TAG_LEN};
use crate::{EtherType, Frame};

/// IP protocol numbers weft looks at (IANA "Protocol Numbers").
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP_V6: u8 = 58;
pub(crate) const ICMP_V4: u8 = 1;

/// IPv6 extension headers looked through; a packet with more is carried, but not understood.
const EXTENSIONS_MAX: usize = 8;

/// The Internet Protocol's version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IpVersion {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// Offsets into a frame that carries a well-formed IP packet.
///
/// INVARIANT: `network + (20 or 40) <= transport <= end <=` the frame's length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layers {
    /// Octets of VLAN tags.
    pub tags: usize,
    /// Where the IP header starts.
    pub network: usize,
    /// Where the transport header, or whatever follows IP's own headers, starts.
    pub transport: usize,
    /// Where the IP packet ends; Ethernet padding may follow.
    pub end: usize,
    /// The packet's IP version.
    pub version: IpVersion,
    /// What is at `transport` (an IP protocol number).
    pub protocol: u8,
    /// Whether this is a part of a larger packet: then only the first part has a transport header.
    pub fragment: bool,
    /// Whether `transport` is where the transport header is: not so in later fragments.
    pub first: bool,
    /// Whether routers may not fragment it: always so in IPv6.
    pub dont_fragment: bool,
}

impl Layers {
    /// `None` when the frame carries no IP packet, or one whose headers lie.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (ether_type, tags) = Frame::parse(octets).ok()?.ether_type();
        debug_assert!(tags.is_multiple_of(VLAN_TAG_LEN));
        let network = ETHERNET_LEN + tags;
        match ether_type {
            EtherType::Ipv4 => Self::parse_v4(octets, network),
            EtherType::Ipv6 => Self::parse_v6(octets, network),
            EtherType::Other(_) => None,
        }
    }

    fn parse_v4(octets: &[u8], network: usize) -> Option<Self> {
        let packet = octets.get(network..)?;
        let [v_ihl, _, l0, l1, _, _, frag0, frag1, _, protocol, ..] =
            *packet.first_chunk::<20>()?;
        let header_len = usize::from(v_ihl & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([l0, l1]));
        if v_ihl >> 4 != 4 || header_len < 20 || total_len < header_len || total_len > packet.len()
        {
            return None;
        }
        let offset = u16::from_be_bytes([frag0 & 0x1f, frag1]);
        let more_fragments = frag0 & 0x20 != 0;
        Some(Self {
            tags: network - ETHERNET_LEN,
            network,
            transport: network + header_len,
            end: network + total_len,
            version: IpVersion::V4,
            protocol,
            fragment: more_fragments || offset != 0,
            first: offset == 0,
            dont_fragment: frag0 & 0x40 != 0,
        })
    }

    fn parse_v6(octets: &[u8], network: usize) -> Option<Self> {
        let packet = octets.get(network..)?;
        let [v, _, _, _, l0, l1, next, ..] = *packet.first_chunk::<40>()?;
        let total_len = 40 + usize::from(u16::from_be_bytes([l0, l1]));
        if v >> 4 != 6 || total_len > packet.len() {
            return None;
        }
        let mut layers = Self {
            tags: network - ETHERNET_LEN,
            network,
            transport: network + 40,
            end: network + total_len,
            version: IpVersion::V6,
            protocol: next,
            fragment: false,
            first: true,
            dont_fragment: true,
        };
        layers.skip_extensions(octets)?;
        Some(layers)
    }

    fn skip_extensions(&mut self, octets: &[u8]) -> Option<()> {
        for _ in 0..EXTENSIONS_MAX {
            let rest = octets.get(self.transport..self.end)?;
            let len = match self.protocol {
                // Hop-by-hop options, routing, destination options: RFC 8200 §4.
                0 | 43 | 60 => 8 + usize::from(*rest.get(1)?) * 8,
                44 => {
                    let [_, _, frag0, frag1, ..] = *rest.first_chunk::<8>()?;
                    self.first = u16::from_be_bytes([frag0, frag1]) & 0xfff8 == 0;
                    self.fragment = !self.first || frag1 & 1 != 0;
                    8
                }
                _ => return Some(()),
            };
            self.protocol = *rest.first()?;
            self.transport += len;
            if self.transport > self.end {
                return None;
            }
            if !self.first {
                return Some(());
            }
        }
        None
    }

    /// Octets of the IP packet.
    pub fn packet_len(&self) -> usize {
        self.end - self.network
    }

    /// Both addresses, source first, as they are in the header.
    pub(crate) fn addresses<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        let (skip, len) = match self.version {
            IpVersion::V4 => (12, 8),
            IpVersion::V6 => (8, 32),
        };
        octets.get(self.network + skip..self.network + skip + len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tcp_packet_has_its_layers() {
        let frame = tcp_v4(&[0; 100]);

        let layers = Layers::parse(&frame).unwrap();

        assert_eq!((layers.network, layers.transport, layers.end), (14, 34, 34 + 20 + 100));
        assert_eq!((layers.version, layers.protocol), (IpVersion::V4, TCP));
        assert!(!layers.fragment);
    }

    #[test]
    fn ethernet_padding_is_not_part_of_the_packet() {
        let mut frame = tcp_v4(&[]);
        frame.extend([0; 6]);

        assert_eq!(Layers::parse(&frame).unwrap().end, frame.len() - 6);
    }

    #[test]
    fn a_length_beyond_the_frame_is_a_lie() {
        let frame = tcp_v4(&[0; 10]);

        assert_eq!(Layers::parse(&frame[..frame.len() - 1]), None);
    }

    #[test]
    fn ipv6_extension_headers_are_looked_through() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 0, 64]);
        frame.extend([0; 32]);
        frame.extend([44, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([UDP, 0, 0, 1, 0, 0, 0, 9]);
        frame.extend([0; 8]);

        let layers = Layers::parse(&frame).unwrap();

        assert_eq!((layers.transport, layers.protocol), (14 + 40 + 16, UDP));
        assert!(layers.fragment && layers.first);
    }

    proptest! {
        #[test]
        fn garbage_has_offsets_inside_the_frame_or_none(mut octets in prop::collection::vec(any::<u8>(), 0..200), v6: bool) {
            if octets.len() > 14 {
                octets[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
                octets[14] = if v6 { 0x60 } else { 0x45 };
            }
            if let Some(layers) = Layers::parse(&octets) {
                prop_assert!(layers.network < layers.transport);
                prop_assert!(layers.transport <= layers.end);
                prop_assert!(layers.end <= octets.len());
            }
        }
    }

    fn tcp_v4(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }
}
