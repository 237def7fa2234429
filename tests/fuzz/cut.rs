//! Packets that are cut: into TCP segments, and into IP fragments.

use switch::{Buf, Fragments, HEADER_MAX, IpVersion, Layers, Mtu, Segments};

use super::{mtu_and_frame, sum, transport_sum};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Segments are well-formed, fit, and carry the payload in order.
pub fn segment(octets: &[u8]) {
    let Some((mtu, frame)) = mtu_and_frame(octets) else { return };
    let Some(layers) = Layers::parse(frame) else { return };
    let Some(mut segments) = Segments::fitting(frame, layers, mtu) else { return };
    let tcp_len = usize::from(frame[layers.transport + 12] >> 4) * 4;
    let payload = &frame[layers.transport + tcp_len..layers.end];

    let mut scratch = [0; HEADER_MAX];
    let mut carried = Vec::new();
    while let Some((header, part)) = segments.next(&mut scratch) {
        let last = carried.len() + part.len() == payload.len();
        check_segment(frame, &layers, (carried.len(), last), &[header, part].concat());
        assert!(header.len() - 14 + part.len() <= usize::from(mtu.octets()));
        carried.extend_from_slice(part);
    }
    assert_eq!(carried, payload);
}

fn check_segment(frame: &[u8], layers: &Layers, (done, last): (usize, bool), segment: &[u8]) {
    let parsed = Layers::parse(segment).unwrap();
    assert_eq!(parsed.end, segment.len());
    assert_eq!((parsed.version, parsed.transport), (layers.version, layers.transport));
    assert_eq!(transport_sum(segment, &parsed), 0xffff);
    if parsed.version == IpVersion::V4 {
        assert_eq!(sum(&segment[parsed.network..parsed.transport]), 0xffff);
    }
    let (tcp, original) = (&segment[parsed.transport..], &frame[layers.transport..]);
    assert_eq!(tcp[..4], original[..4]);
    assert_eq!(sequence(tcp), sequence(original).wrapping_add(u32::try_from(done).unwrap()));
    let mut kept = 0xff;
    kept &= if last { 0xff } else { !(FIN | PSH) };
    kept &= if done == 0 { 0xff } else { !CWR };
    assert_eq!(tcp[13], original[13] & kept);
}

fn sequence(tcp: &[u8]) -> u32 {
    u32::from_be_bytes(tcp[4..8].try_into().unwrap())
}

/// Fragments are well-formed, fit, and are the packet once more when put together.
pub fn fragment(octets: &[u8]) {
    let Some((mtu, frame)) = mtu_and_frame(octets) else { return };
    let Some(layers) = Layers::parse(frame) else { return };
    if layers.version == IpVersion::V6 || layers.dont_fragment {
        return assert!(Fragments::new(frame, &layers, mtu).is_none());
    }
    let payload = &frame[layers.transport..layers.end];
    let (start, more) = place(&frame[layers.network..]);
    let Some(mut fragments) = Fragments::new(frame, &layers, mtu) else {
        let too_far = start + payload.len() > usize::from(u16::MAX);
        return assert!(payload.is_empty() || too_far);
    };

    let mut carried = Vec::new();
    let mut complete = false;
    let mut out = Buf::new();
    while fragments.next(&mut out) {
        let (offset, more_follow) = check_fragment(frame, &layers, mtu, out.octets());
        let part = &out.octets()[layers.transport..];
        assert!(!complete && offset == start + carried.len());
        carried.extend_from_slice(part);
        complete = carried.len() == payload.len();
        assert_eq!(more_follow, more || !complete);
    }
    assert_eq!(carried, payload);
}

/// Checks a fragment by itself; returns its offset in octets and whether more follow.
fn check_fragment(frame: &[u8], layers: &Layers, mtu: Mtu, fragment: &[u8]) -> (usize, bool) {
    let parsed = Layers::parse(fragment).unwrap();
    assert_eq!(parsed.end, fragment.len());
    assert!(fragment.len() - 14 <= usize::from(mtu.octets()));
    assert_eq!(fragment[..layers.network], frame[..layers.network]);
    let (header, original) = (&fragment[parsed.network..], &frame[layers.network..]);
    assert_eq!(parsed.transport, layers.transport);
    assert_eq!(sum(&header[..layers.transport - layers.network]), 0xffff);
    // All but length, flags, offset and checksum; options are blanked here and there.
    assert_eq!([&header[..2], &header[4..6]], [&original[..2], &original[4..6]]);
    assert_eq!([&header[8..10], &header[12..20]], [&original[8..10], &original[12..20]]);
    assert!(!parsed.dont_fragment);
    place(header)
}

/// The offset in octets that an IPv4 header says, and whether more fragments follow.
fn place(header: &[u8]) -> (usize, bool) {
    let field = u16::from_be_bytes([header[6], header[7]]);
    (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0)
}
