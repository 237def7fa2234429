//! Cutting a super-frame into packets that fit.
//!
//! A TAP with offloads hands over TCP and UDP packets of up to 64 KB, and so does a kernel vxlan
//! sender on a virtual link. They are cut as the kernel itself would cut them
//! (net/ipv4/tcp_offload.c, net/ipv4/udp_offload.c): the headers are repeated with their own
//! lengths, sequence numbers, identification and checksums, FIN and PSH stay on the last segment,
//! CWR on the first. The payload is not copied: a segment is a header in scratch memory and a slice
//! of the super-frame.

use crate::checksum::{Sum, nonzero_for, pseudo_header, put};
use crate::layers::{IpVersion, TCP, UDP};
use crate::{Layers, Mtu};

/// Room for the headers of a segment: Ethernet 14, two VLAN tags 8, IPv4 with options or IPv6 with
/// some extension headers 60, TCP with options 60, and some to spare.
pub const HEADER_MAX: usize = 192;

/// Where TCP's flags are, counted from its header, and those that not every segment repeats.
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The segments of a super-frame, in order.
#[derive(Debug)]
pub struct Segments<'a> {
    layers: Layers,
    header: &'a [u8],
    payload: &'a [u8],
    /// Octets of payload in all segments but the last.
    mss: usize,
    /// Octets of payload emitted so far.
    done: usize,
}

impl<'a> Segments<'a> {
    /// The segments of at most `mtu` octets that `frame` is to be cut into; `None` when it is no
    /// TCP packet with payload that can be cut. UDP keeps its datagrams: it cannot be cut by size.
    pub fn fitting(frame: &'a [u8], layers: Layers, mtu: Mtu) -> Option<Self> {
        if layers.protocol != TCP {
            return None;
        }
        let mtu = usize::from(mtu.octets()).checked_sub(layers.tags)?;
        let headers = header_len(frame, &layers)? - layers.network;
        Self::new(frame, layers, mtu.checked_sub(headers)?)
    }

    /// The segments with `size` octets of payload each (the last may have less) that `frame` is to
    /// be cut into; `None` when it is no TCP or UDP packet with payload.
    pub fn new(frame: &'a [u8], layers: Layers, size: usize) -> Option<Self> {
        let header_len = header_len(frame, &layers)?;
        let (header, payload) = frame.get(..layers.end)?.split_at_checked(header_len)?;
        let cuts = size > 0 && !payload.is_empty();
        cuts.then_some(Self { layers, header, payload, mss: size, done: 0 })
    }

    /// Octets of headers that every segment has.
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Octets of payload of every segment but the last.
    pub fn size(&self) -> usize {
        self.mss
    }

    /// How many segments are still to come.
    pub fn left(&self) -> usize {
        (self.payload.len() - self.done).div_ceil(self.mss)
    }

    /// Leaves out those that are still to come. Returns how many these were.
    pub(crate) fn skip_rest(&mut self) -> usize {
        let left = self.left();
        self.done = self.payload.len();
        left
    }

    /// Writes the next segment's headers to the front of `scratch`, and returns them with their
    /// payload.
    pub fn next<'s>(&mut self, scratch: &'s mut [u8]) -> Option<(&'s [u8], &'a [u8])> {
        let rest = self.payload.get(self.done..).filter(|rest| !rest.is_empty())?;
        let payload = rest.get(..self.mss).unwrap_or(rest);
        let header = scratch.get_mut(..self.header.len())?;
        header.copy_from_slice(self.header);
        self.fix_network(header, payload.len());
        match self.layers.protocol {
            UDP => self.fix_udp(header, payload),
            _ => self.fix_tcp(header, payload),
        }
        self.done += payload.len();
        Some((header, payload))
    }

    fn fix_network(&self, header: &mut [u8], payload_len: usize) {
        let at = self.layers.network;
        let len = |skip| u16::try_from(header.len() - at - skip + payload_len).unwrap_or(u16::MAX);
        match self.layers.version {
            IpVersion::V4 => {
                put(header, at + 2, len(0).to_be_bytes());
                let index = u16::try_from(self.done / self.mss).unwrap_or_default();
                let id = read_u16(self.header, at + 4).wrapping_add(index);
                put(header, at + 4, id.to_be_bytes());
                put(header, at + 10, [0, 0]);
                let ip = header.get(at..self.layers.transport).unwrap_or_default();
                put(header, at + 10, Sum::default().add(ip).finish());
            }
            IpVersion::V6 => put(header, at + 4, len(40).to_be_bytes()),
        }
    }

    fn fix_tcp(&self, header: &mut [u8], payload: &[u8]) {
        let at = self.layers.transport;
        let sequence = u32::try_from(self.done)
            .unwrap_or_default()
            .wrapping_add(read_u32(self.header, at + 4));
        let [a, b, c, d] = sequence.to_be_bytes();
        put(header, at + 4, [a, b]);
        put(header, at + 6, [c, d]);
        if let Some(flags) = header.get_mut(at + FLAGS) {
            if self.done + payload.len() < self.payload.len() {
                *flags &= !(FIN | PSH);
            }
            if self.done > 0 {
                *flags &= !CWR;
            }
        }
        self.fix_checksum(header, payload, 16);
    }

    fn fix_udp(&self, header: &mut [u8], payload: &[u8]) {
        let at = self.layers.transport;
        let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        put(header, at + 4, len.to_be_bytes());
        self.fix_checksum(header, payload, 6);
    }

    fn fix_checksum(&self, header: &mut [u8], payload: &[u8], field: usize) {
        let at = self.layers.transport;
        put(header, at + field, [0, 0]);
        let transport = header.get(at..).unwrap_or_default();
        let pseudo = pseudo_header(self.header, &self.layers, transport.len() + payload.len());
        let checksum = pseudo.add(transport).add(payload).finish();
        put(header, at + field, nonzero_for(self.layers.protocol, checksum));
    }
}

/// Where the payload of a TCP or UDP packet starts; `None` for anything else.
pub(crate) fn header_len(frame: &[u8], layers: &Layers) -> Option<usize> {
    if layers.fragment {
        return None;
    }
    let transport_len = match layers.protocol {
        TCP => usize::from(frame.get(layers.transport + 12)? >> 4) * 4,
        UDP => 8,
        _ => return None,
    };
    let least = if layers.protocol == TCP { 20 } else { 8 };
    let header_len = layers.transport + transport_len;
    let fits = transport_len >= least && header_len <= HEADER_MAX && header_len <= layers.end;
    fits.then_some(header_len)
}

fn read_u16(octets: &[u8], at: usize) -> u16 {
    let field = octets.get(at..).and_then(|rest| rest.first_chunk());
    u16::from_be_bytes(field.copied().unwrap_or_default())
}

fn read_u32(octets: &[u8], at: usize) -> u32 {
    let field = octets.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_be_bytes(field.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_carry_the_payload_in_order_and_are_valid_packets(
            payload in prop::collection::vec(any::<u8>(), 1..20_000),
            v6: bool,
            mtu in 1280..9000u16,
            sequence: u32,
        ) {
            let frame = super_frame(&payload, v6, sequence);

            let segments = cut(&frame, mtu);

            let mut carried = Vec::<u8>::new();
            for (n, segment) in segments.iter().enumerate() {
                let packet = SlicedPacket::from_ethernet(segment).unwrap();
                let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
                let last = n + 1 == segments.len();
                prop_assert!(segment.len() <= 14 + usize::from(mtu));
                prop_assert_eq!(tcp.sequence_number(), sequence.wrapping_add(u32::try_from(carried.len()).unwrap()));
                prop_assert_eq!((tcp.psh(), tcp.fin(), tcp.cwr()), (last, last, n == 0));
                prop_assert!(checksums_hold(segment));
                carried.extend(tcp.payload());
            }
            prop_assert_eq!(carried, payload);
        }
    }

    #[test]
    fn identification_counts_up() {
        let frame = super_frame(&[7; 5000], false, 1);
        let first = read_u16(&frame, 18);

        let ids: Vec<_> = cut(&frame, 1450).iter().map(|it| read_u16(it, 18)).collect();

        assert_eq!(ids, [first, first + 1, first + 2, first + 3]);
    }

    #[test]
    fn what_is_no_tcp_with_payload_is_not_cut() {
        let mtu = Mtu::new(1450).unwrap();
        let mut udp = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut udp, &[0; 3000])
            .unwrap();
        assert!(Segments::fitting(&udp, Layers::parse(&udp).unwrap(), mtu).is_none());

        let bare = super_frame(&[], false, 1);
        assert!(Segments::fitting(&bare, Layers::parse(&bare).unwrap(), mtu).is_none());
    }

    fn super_frame(payload: &[u8], v6: bool, sequence: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if v6 {
            ethernet.ipv6([1; 16], [2; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut tcp = ip.tcp(1, 2, sequence, 1000).psh().fin();
        tcp = tcp.cwr();
        tcp.write(&mut frame, payload).unwrap();
        frame
    }

    fn cut(frame: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let layers = Layers::parse(frame).unwrap();
        let mut segments = Segments::fitting(frame, layers, Mtu::new(mtu).unwrap()).unwrap();
        let mut scratch = [0; HEADER_MAX];
        let mut out = Vec::new();
        while let Some((header, payload)) = segments.next(&mut scratch) {
            out.push([header, payload].concat());
        }
        out
    }

    fn checksums_hold(frame: &[u8]) -> bool {
        let layers = Layers::parse(frame).unwrap();
        let tcp = &frame[layers.transport..layers.end];
        let ip = &frame[layers.network..layers.transport];
        let transport = pseudo_header(frame, &layers, tcp.len()).add(tcp).finish() == [0, 0];
        let network = layers.version == IpVersion::V6 || Sum::default().add(ip).finish() == [0, 0];
        transport && network
    }
}
