//! What to do with a packet that is too big for the path.
//!
//! As a router would (RFC 1191, RFC 8201, RFC 791 §3.2): IPv4 without DF is fragmented; IPv4 with
//! DF and IPv6 are answered with "fragmentation needed" and "packet too big". The answer comes from
//! the address the packet was for, as the kernel's own tunnels do it (net/ipv4/ip_tunnel_core.c):
//! a switch has no address of its own in the pods' network.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv4HeaderSlice,
    Ipv6FlowLabel, Ipv6Header, Ipv6HeaderSlice,
};

use crate::frame::ETHERNET_LEN;
use crate::layers::{ICMP_V4, ICMP_V6, IpVersion};
use crate::{Buf, Frame, Layers, Mtu};

/// An ICMP error over IPv4 is at most this long in all (RFC 1812 §4.3.2.3).
const ANSWER_V4_MAX: usize = 576;
/// An ICMPv6 error is at most as long as the least IPv6 MTU (RFC 4443 §2.4).
const ANSWER_V6_MAX: usize = 1280;
/// Hops an answer may take; it takes none.
const TTL: u8 = 64;

/// What to do with a packet larger than the MTU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// Send it in fragments: [`Fragments`].
    Fragment,
    /// Tell its sender: [`answer`].
    Answer,
    /// Nothing helps: not IP, or a packet that no error may be sent for.
    None,
}

impl Remedy {
    /// The remedy for the packet in `frame`.
    pub fn of(frame: &[u8], layers: Option<&Layers>) -> Self {
        let Some(layers) = layers else { return Self::None };
        if layers.version == IpVersion::V4 && !layers.dont_fragment {
            return Self::Fragment;
        }
        if may_answer(frame, layers) { Self::Answer } else { Self::None }
    }
}

/// Writes the frame that tells the sender of the packet in `frame` that packets of at most `mtu`
/// octets fit. `false`, and an empty buffer, when there is none to write.
#[must_use]
pub fn answer(frame: &[u8], layers: &Layers, mtu: Mtu, out: &mut Buf) -> bool {
    let mtu = mtu.octets().saturating_sub(u16::try_from(layers.tags).unwrap_or_default());
    let mut writer = Writer::new(out);
    let written = match layers.version {
        IpVersion::V4 => answer_v4(frame, layers, mtu, &mut writer),
        IpVersion::V6 => answer_v6(frame, layers, mtu, &mut writer),
    };
    writer.finish(written.is_some())
}

/// Whether an ICMP error may be sent for a packet (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)): not for an
/// ICMP error, not for what went to a group, not for a later fragment, not to nobody.
fn may_answer(octets: &[u8], layers: &Layers) -> bool {
    let to_group = Frame::parse(octets).is_ok_and(|frame| frame.dst().is_group());
    let kind = octets.get(layers.transport).copied();
    let packet = octets.get(layers.network..layers.end).unwrap_or_default();
    !to_group
        && layers.first
        && match layers.version {
            IpVersion::V4 => Ipv4HeaderSlice::from_slice(packet).is_ok_and(|ip| {
                let (src, dst) = (ip.source_addr(), ip.destination_addr());
                // Echo reply 0, echo 8 and the queries from 13 on are no errors.
                let is_error = layers.protocol == ICMP_V4 && matches!(kind, Some(1..=7 | 9..=12));
                let from_nobody = src.is_unspecified() || src.is_multicast() || src.is_broadcast();
                !(is_error || from_nobody || dst.is_multicast() || dst.is_broadcast())
            }),
            IpVersion::V6 => Ipv6HeaderSlice::from_slice(packet).is_ok_and(|ip| {
                let (src, dst) = (ip.source_addr(), ip.destination_addr());
                let is_error = layers.protocol == ICMP_V6 && kind.is_none_or(|kind| kind < 128);
                !(is_error || src.is_unspecified() || src.is_multicast() || dst.is_multicast())
            }),
        }
}

fn answer_v4(frame: &[u8], layers: &Layers, mtu: u16, out: &mut Writer<'_>) -> Option<()> {
    let packet = frame.get(layers.network..layers.end)?;
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let quote = packet.get(..ANSWER_V4_MAX - 20 - 8).unwrap_or(packet);
    let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), quote);
    let len = u16::try_from(8 + quote.len()).ok()?;
    let (src, dst) = (ip.destination(), ip.source());
    let mut header = Ipv4Header::new(len, TTL, IpNumber::ICMP, src, dst).ok()?;
    header.header_checksum = header.calc_header_checksum();
    out.put_reversed_ethernet(frame, layers)?;
    out.put(&header.to_bytes())?;
    out.put(&icmp.to_bytes())?;
    out.put(quote)
}

fn answer_v6(frame: &[u8], layers: &Layers, mtu: u16, out: &mut Writer<'_>) -> Option<()> {
    let packet = frame.get(layers.network..layers.end)?;
    let ip = Ipv6HeaderSlice::from_slice(packet).ok()?;
    let quote = packet.get(..ANSWER_V6_MAX - 40 - 8).unwrap_or(packet);
    let kind = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
    let icmp = Icmpv6Header::with_checksum(kind, ip.destination(), ip.source(), quote).ok()?;
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(8 + quote.len()).ok()?,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: TTL,
        source: ip.destination(),
        destination: ip.source(),
    };
    out.put_reversed_ethernet(frame, layers)?;
    out.put(&header.to_bytes())?;
    out.put(&icmp.to_bytes())?;
    out.put(quote)
}

/// The fragments of an IPv4 packet, in order.
#[derive(Debug)]
pub struct Fragments<'a> {
    ethernet: &'a [u8],
    header: Ipv4Header,
    payload: &'a [u8],
    /// Octets of payload in all fragments but the last: a multiple of eight.
    step: usize,
    done: usize,
}

impl<'a> Fragments<'a> {
    /// The fragments of at most `mtu` octets of the packet in `frame`; `None` when it is not IPv4,
    /// may not be fragmented, or has no payload: then padding made the frame too big. `None`, too,
    /// for a fragment that says it reaches beyond the largest packet there is.
    pub fn new(frame: &'a [u8], layers: &Layers, mtu: Mtu) -> Option<Self> {
        if layers.version != IpVersion::V4 || layers.dont_fragment {
            return None;
        }
        let (ethernet, packet) = frame.get(..layers.end)?.split_at_checked(layers.network)?;
        let (header, payload) = Ipv4Header::from_slice(packet).ok()?;
        let room = usize::from(mtu.octets()).checked_sub(layers.tags + header.header_len())?;
        let step = room & !7;
        let end = usize::from(header.fragment_offset.value()) * 8 + payload.len();
        if end > usize::from(u16::MAX) {
            return None;
        }
        (step > 0 && !payload.is_empty()).then_some(Self {
            ethernet,
            header,
            payload,
            step,
            done: 0,
        })
    }

    /// Writes the next fragment to `out`. `false`, and an empty buffer, when there are no more.
    #[must_use]
    pub fn next(&mut self, out: &mut Buf) -> bool {
        let mut writer = Writer::new(out);
        let written = self.write(&mut writer);
        writer.finish(written.is_some())
    }

    fn write(&mut self, out: &mut Writer<'_>) -> Option<()> {
        let rest = self.payload.get(self.done..).filter(|rest| !rest.is_empty())?;
        let part = rest.get(..self.step).unwrap_or(rest);
        let mut header = self.header.clone();
        let offset = u16::try_from(self.done / 8).ok()? + header.fragment_offset.value();
        header.fragment_offset = offset.try_into().ok()?;
        header.more_fragments |= part.len() < rest.len();
        if offset > 0 {
            blank_first_only_options(&mut header);
        }
        header.set_payload_len(part.len()).ok()?;
        header.header_checksum = header.calc_header_checksum();
        out.put(self.ethernet)?;
        out.put(&header.to_bytes())?;
        self.done += part.len();
        out.put(part)
    }
}

/// Options without the copied flag are only in the first fragment (RFC 791 §3.1): they become
/// no-operations, as the kernel does it, so that the header keeps its length.
fn blank_first_only_options(header: &mut Ipv4Header) {
    const NOP: u8 = 1;
    const COPIED: u8 = 0x80;
    let options: &mut [u8] = header.options.as_mut();
    let mut at = 0;
    while let Some(kind) = options.get(at).copied() {
        let len = match kind {
            0 => return,
            NOP => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or_default()).max(2),
        };
        if kind & COPIED == 0
            && let Some(option) = options.get_mut(at..at + len)
        {
            option.fill(NOP);
        }
        at += len;
    }
}

/// Writes into a buffer's spare room.
struct Writer<'a> {
    out: &'a mut Buf,
    len: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Buf) -> Self {
        out.set_len(0);
        Self { out, len: 0 }
    }

    fn put(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.len + octets.len();
        self.out.spare_mut().get_mut(self.len..end)?.copy_from_slice(octets);
        self.len = end;
        Some(())
    }

    /// The Ethernet header of a reply: addresses swapped, VLAN tags and EtherType kept.
    fn put_reversed_ethernet(&mut self, octets: &[u8], layers: &Layers) -> Option<()> {
        let frame = Frame::parse(octets).ok()?;
        self.put(&frame.src().0)?;
        self.put(&frame.dst().0)?;
        self.put(octets.get(ETHERNET_LEN - 2..layers.network)?)
    }

    fn finish(self, complete: bool) -> bool {
        self.out.set_len(if complete { self.len } else { 0 });
        complete
    }
}

#[cfg(test)]
mod tests;
