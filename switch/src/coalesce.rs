//! Joining packets of a flow into super-frames, so that the kernel's stack sees few large ones.
//!
//! The rules are those of the kernel's GRO (net/ipv4/tcp_offload.c, udp_offload.c): packets are
//! joined only when segmentation would give back exactly what came. Same addresses, ports, tags,
//! TOS, TTL, DF and (TCP) acknowledgement, window and options; payloads of one size, a shorter one
//! closes; sequence numbers without a gap; identification counting up, unless DF says that it does
//! not matter; no fragments, no IPv4 options, no SYN, FIN, RST or URG; PSH closes; at most 64 KB.
//! A packet whose checksum is wrong is passed on alone, for its receiver to judge.
//!
//! Packets stay where they were received: a bundle is a header of its own and a list of places of
//! payload. The order within a flow is kept: a packet that cannot be joined closes its flow's
//! bundle. What was pushed first is written first.
//!
//! Limits: [`BUNDLES`] bundles at a time, [`PARTS`] packets each.

mod packet;

use crate::checksum::{Sum, field_of, pseudo_header, put};
use crate::layers::{IpVersion, TCP, UDP};
use crate::segment::{HEADER_MAX, header_len};
use crate::{FlowHash, Layers, Offload};
use packet::{Candidate, same_headers};

/// Bundles that can be open or waiting at a time.
pub const BUNDLES: usize = 128;
/// Packets in a bundle: what 64 KB hold at an MTU of 576 and up.
pub const PARTS: usize = 128;
/// An IP packet has at most this many octets.
const PACKET_MAX: usize = 65_535;
/// Where flows look for their newest bundle.
const INDEX: usize = 256;

const PSH: u8 = 0x08;

/// A place in a batch: which slot, and where in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The slot.
    pub slot: usize,
    /// The first octet, counted from the slot's content.
    pub start: usize,
    /// The octet behind the last.
    pub end: usize,
}

/// One or more packets that are to be written as one frame.
#[derive(Debug)]
pub struct Bundle {
    /// The headers, once packets were joined; those of a lone packet stay where they are.
    header: [u8; HEADER_MAX],
    header_len: usize,
    layers: Option<Layers>,
    /// The whole frame of the first packet; then the payloads of the others.
    parts: [Place; PARTS],
    len: usize,
    /// Payload octets of every packet but the last, and of all.
    size: usize,
    payload: usize,
    next_sequence: u32,
    next_id: u16,
    open: bool,
    /// As it came: its checksum is to be finished by the receiver.
    partial: bool,
}

/// Joins packets. Pure: it sees octets and places, and says what to write.
#[derive(Debug)]
pub struct Coalescer {
    bundles: Box<[Bundle]>,
    len: usize,
    /// The newest bundle of a flow, by its hash; one that was overwritten is simply closed.
    index: [u16; INDEX],
    /// The bundle last begun: the next packet is likely to be its flow's.
    recent: Option<usize>,
}

impl Default for Coalescer {
    fn default() -> Self {
        Self::new()
    }
}

impl Coalescer {
    /// An empty coalescer. This allocates all that it will ever need.
    pub fn new() -> Self {
        let bundles = std::iter::repeat_with(Bundle::new).take(BUNDLES).collect();
        Self { bundles, len: 0, index: [u16::MAX; INDEX], recent: None }
    }

    /// Joins a packet to the bundle of its flow, if it continues that. `verified` says that its
    /// checksum needs no look. `false` when it does not: then it is to be pushed.
    pub fn append(&mut self, frame: &[u8], place: Place, layers: Layers, verified: bool) -> bool {
        let Some(at) = self.newest_of(frame, &layers) else { return false };
        let Some(packet) = Candidate::of(frame, layers, verified) else { return false };
        self.bundles.get_mut(at).is_some_and(|bundle| bundle.append(frame, place, &packet))
    }

    /// Takes a packet that was not appended: `frame` is at `place`. `joins` says whether what takes
    /// the bundles takes super-frames of its protocol. `false` when there is no room: write what
    /// there is, clear, and push again.
    pub fn push(
        &mut self,
        frame: &[u8],
        place: Place,
        layers: Option<Layers>,
        joins: bool,
    ) -> bool {
        if self.len == self.bundles.len() {
            return false;
        }
        let at = self.open(place, layers);
        let Some(layers) = layers else { return true };
        let packet = if joins { Candidate::of(frame, layers, false) } else { None };
        let entry = FlowHash::of(frame, Some(&layers)).pick(INDEX);
        // Whatever it is, later packets of its flow must not overtake it.
        let newest = packet.as_ref().filter(|packet| !packet.closes).map(|_| at);
        if let Some(slot) = self.index.get_mut(entry) {
            *slot = newest.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX);
        }
        self.recent = newest;
        if let (Some(packet), Some(bundle)) = (packet, self.bundles.get_mut(at)) {
            bundle.begin(frame, &packet);
        }
        true
    }

    /// Takes a super-frame as it is: it goes on with `offload`.
    pub fn push_whole(
        &mut self,
        place: Place,
        layers: Layers,
        frame: &[u8],
        offload: Offload,
    ) -> bool {
        if self.len == self.bundles.len() {
            return false;
        }
        let entry = FlowHash::of(frame, Some(&layers)).pick(INDEX);
        if let Some(newest) = self.index.get_mut(entry) {
            *newest = u16::MAX;
        }
        self.recent = None;
        let at = self.open(place, Some(layers));
        if let Some(bundle) = self.bundles.get_mut(at) {
            bundle.size = usize::from(offload.segment);
            bundle.partial = offload.checksum;
            bundle.header_len = header_len(frame, &layers).unwrap_or_default();
        }
        true
    }

    /// The bundles, oldest first, with their headers finished.
    pub fn finish(&mut self) -> impl Iterator<Item = &Bundle> {
        self.bundles.iter_mut().take(self.len).map(|bundle| {
            bundle.finish();
            &*bundle
        })
    }

    /// Forgets all bundles.
    pub fn clear(&mut self) {
        self.len = 0;
        self.index = [u16::MAX; INDEX];
        self.recent = None;
    }

    /// Bundles waiting to be written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn newest_of(&self, frame: &[u8], layers: &Layers) -> Option<usize> {
        let flow_of = |at: usize| {
            let bundle = self.bundles.get(at).filter(|_| at < self.len)?;
            bundle.is_flow_of(frame, layers).then_some(at)
        };
        self.recent.and_then(flow_of).or_else(|| {
            let entry = FlowHash::of(frame, Some(layers)).pick(INDEX);
            flow_of(self.index.get(entry).map_or(usize::MAX, |at| usize::from(*at)))
        })
    }

    fn open(&mut self, place: Place, layers: Option<Layers>) -> usize {
        let at = self.len;
        if let Some(bundle) = self.bundles.get_mut(at) {
            bundle.reset(place, layers);
            self.len += 1;
        }
        at
    }
}

impl Bundle {
    fn new() -> Self {
        Self {
            header: [0; HEADER_MAX],
            header_len: 0,
            layers: None,
            parts: [Place::default(); PARTS],
            len: 0,
            size: 0,
            payload: 0,
            next_sequence: 0,
            next_id: 0,
            open: false,
            partial: false,
        }
    }

    /// How the packet is laid out, if it is IP.
    pub fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    /// The headers of the super-frame; empty when the first part is the whole frame.
    pub fn header(&self) -> &[u8] {
        if self.len > 1 { self.header.get(..self.header_len).unwrap_or_default() } else { &[] }
    }

    /// Where the headers end.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Where the octets are that follow the headers.
    pub fn parts(&self) -> impl Iterator<Item = Place> {
        let skip = if self.len > 1 { self.header_len } else { 0 };
        self.parts.iter().take(self.len).enumerate().map(move |(n, place)| {
            if n == 0 { Place { start: place.start + skip, ..*place } } else { *place }
        })
    }

    /// Packets in it.
    pub fn packets(&self) -> usize {
        self.len
    }

    /// What the TAP is to be told.
    pub fn offload(&self) -> Offload {
        let joined = self.len > 1;
        let segment =
            if joined || self.partial { u16::try_from(self.size).unwrap_or(0) } else { 0 };
        Offload { segment, checksum: joined || self.partial }
    }

    fn reset(&mut self, place: Place, layers: Option<Layers>) {
        self.layers = layers;
        self.len = 1;
        // Not of any flow until it begins one.
        self.header.fill(0);
        self.open = false;
        self.partial = false;
        self.size = 0;
        self.header_len = 0;
        if let Some(first) = self.parts.first_mut() {
            *first = place;
        }
    }

    fn begin(&mut self, frame: &[u8], packet: &Candidate) {
        self.header_len = packet.header_len;
        if let (Some(room), Some(header)) =
            (self.header.get_mut(..packet.header_len), frame.get(..packet.header_len))
        {
            room.copy_from_slice(header);
        }
        // The first part must not bring Ethernet padding along.
        if let Some(first) = self.parts.first_mut() {
            first.end = first.start + packet.layers.end;
        }
        self.size = packet.payload;
        self.payload = packet.payload;
        self.next_sequence = packet.sequence.wrapping_add(wrap_u32(packet.payload));
        self.next_id = packet.id.wrapping_add(1);
        self.open = !packet.closes;
    }

    /// Whether a packet has this bundle's addresses, protocol and ports.
    fn is_flow_of(&self, frame: &[u8], layers: &Layers) -> bool {
        let Some(own) = &self.layers else { return false };
        let ports = layers.transport..layers.transport + 4;
        (own.transport, own.protocol) == (layers.transport, layers.protocol)
            && own.addresses(&self.header) == layers.addresses(frame)
            && self.header.get(ports.clone()) == frame.get(ports)
    }

    fn append(&mut self, frame: &[u8], place: Place, packet: &Candidate) -> bool {
        let total = self.header_len - self.layers.map_or(0, |it| it.network) + self.payload;
        let joins = self.open
            && self.len < PARTS
            && packet.payload <= self.size
            && total + packet.payload <= PACKET_MAX
            && packet.header_len == self.header_len
            && self.continues(packet)
            && same_headers(
                self.header.get(..self.header_len).unwrap_or_default(),
                frame,
                &packet.layers,
            );
        if !joins {
            self.open = false;
            return false;
        }
        if let Some(part) = self.parts.get_mut(self.len) {
            let start = place.start + packet.header_len;
            *part = Place { start, end: start + packet.payload, ..place };
        }
        self.len += 1;
        self.payload += packet.payload;
        self.next_sequence = self.next_sequence.wrapping_add(wrap_u32(packet.payload));
        self.next_id = self.next_id.wrapping_add(1);
        self.open = !packet.closes && packet.payload == self.size;
        if packet.layers.protocol == TCP {
            let flags = packet.layers.transport + 13;
            let psh = frame.get(flags).copied().unwrap_or_default() & PSH;
            if let Some(flags) = self.header.get_mut(flags) {
                *flags |= psh;
            }
        }
        true
    }

    fn continues(&self, packet: &Candidate) -> bool {
        let in_order = packet.layers.protocol == UDP || packet.sequence == self.next_sequence;
        let counts = packet.layers.dont_fragment || packet.id == self.next_id;
        in_order && counts
    }

    /// Gives a super-frame its lengths and half-done checksum.
    fn finish(&mut self) {
        let Some(layers) = self.layers.filter(|_| self.len > 1) else { return };
        let Some(header) = self.header.get_mut(..self.header_len) else { return };
        let (network, transport) = (layers.network, layers.transport);
        let packet_len = self.header_len - network + self.payload;
        let transport_len = self.header_len - transport + self.payload;
        let len = |octets: usize| u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes();
        match layers.version {
            IpVersion::V4 => {
                put(header, network + 2, len(packet_len));
                put(header, network + 10, [0, 0]);
                let ip = header.get(network..transport).unwrap_or_default();
                let checksum = Sum::default().add(ip).finish();
                put(header, network + 10, checksum);
            }
            IpVersion::V6 => put(header, network + 4, len(packet_len - 40)),
        }
        if layers.protocol == UDP {
            put(header, transport + 4, len(transport_len));
        }
        let pseudo = pseudo_header(header, &layers, transport_len).fold();
        put(header, transport + field_of(layers.protocol).unwrap_or_default(), pseudo);
    }
}

fn wrap_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_default()
}

#[cfg(test)]
mod tests;
