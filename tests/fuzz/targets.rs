//! Fuzz targets: what has to hold for any octets, one function for each parser of the switch
//! and of the mesh.
//!
//! `cargo +nightly fuzz run NAME` in `tests/fuzz` looks for inputs that break one; the test
//! `fuzz_replay` runs all inputs that were kept. A broken property panics.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a fuzz target reports by panicking"
)]

mod control;
mod cut;
mod mesh;
mod offload;
mod relay;
mod secure;
mod worker;

use std::net::IpAddr;

use switch::neighbour::told_by;
use switch::vxlan::{self, BadVxlan, HEADER_LEN};
use switch::{
    Buf, ETHERNET_LEN, EtherType, Frame, IpVersion, Layers, Mac, Mtu, PROBE, Remedy, Runt, Vni,
    answer, finish_partial,
};

pub use control::{journal, probe, stations};
pub use cut::{fragment, segment};
pub use mesh::{mesh_batch, mesh_hello, mesh_patch, mesh_record};
pub use offload::{coalesce, vnet};
pub use relay::{relay, sleeve};
pub use secure::mesh_secure;
pub use worker::worker;

/// A function that panics on octets for which a property does not hold.
pub type Target = fn(&[u8]);

/// All targets, by the name of their corpus.
pub const TARGETS: [(&str, Target); 23] = [
    ("answer", icmp_answer),
    ("checksum", checksum),
    ("coalesce", coalesce),
    ("fragment", fragment),
    ("frame", frame),
    ("journal", journal),
    ("layers", layers),
    ("mac", mac),
    ("mesh_batch", mesh_batch),
    ("mesh_hello", mesh_hello),
    ("mesh_patch", mesh_patch),
    ("mesh_record", mesh_record),
    ("mesh_secure", mesh_secure),
    ("neighbour", neighbour),
    ("notices", notices),
    ("probe", probe),
    ("relay", relay),
    ("segment", segment),
    ("sleeve", sleeve),
    ("stations", stations),
    ("vnet", vnet),
    ("vxlan", datagram),
    ("worker", worker),
];

/// A datagram is read as RFC 7348 says, and what was taken off goes on again.
pub fn datagram(octets: &[u8]) {
    let expected = match octets {
        [flags, _, _, _, a, b, c, _, inner @ ..] if flags & 0x08 != 0 => {
            Ok((Vni::new(u32::from_be_bytes([0, *a, *b, *c])).unwrap(), inner))
        }
        [_, _, _, _, _, _, _, _, ..] => Err(BadVxlan::NoVni),
        short => Err(BadVxlan::Short { len: short.len() }),
    };
    assert_eq!(vxlan::parse(octets), expected);

    let mut buf = Buf::new();
    assert!(buf.fill(octets));
    assert_eq!(vxlan::decap(&mut buf), expected.map(|(vni, _)| vni));
    let Ok((vni, inner)) = expected else { return assert_eq!(buf.octets(), octets) };
    assert_eq!(buf.octets(), inner);

    vxlan::encap(&mut buf, vni);
    assert_eq!(buf.octets().len(), HEADER_LEN + inner.len());
    assert_eq!(vxlan::parse(buf.octets()), Ok((vni, inner)));
}

/// A frame's header is where IEEE 802.3 has it; tags never reach beyond the frame.
pub fn frame(octets: &[u8]) {
    let Ok(frame) = Frame::parse(octets) else {
        let runt = Runt { len: octets.len() };
        assert!(octets.len() < ETHERNET_LEN);
        return assert_eq!(Frame::parse(octets).unwrap_err(), runt);
    };
    assert_eq!(frame.dst().0, octets[..6]);
    assert_eq!(frame.src().0, octets[6..12]);

    let (ether_type, tags) = frame.ether_type();
    assert!(tags <= 8 && tags.is_multiple_of(4));
    let found = u16::from_be_bytes([octets[12 + tags], octets[13 + tags]]);
    match ether_type {
        EtherType::Ipv4 => assert_eq!(found, 0x0800),
        EtherType::Ipv6 => assert_eq!(found, 0x86dd),
        EtherType::Other(other) => assert_eq!(found, other),
    }
    assert_eq!(frame.is_probe(), found == PROBE);
}

/// Layers lie in order inside the frame, whatever follows the packet.
pub fn layers(octets: &[u8]) {
    let Some(layers) = Layers::parse(octets) else { return };
    let header_len = match layers.version {
        IpVersion::V4 => usize::from(octets[layers.network] & 0x0f) * 4,
        IpVersion::V6 => 40,
    };
    assert_eq!(layers.network, ETHERNET_LEN + layers.tags);
    assert!(layers.network + header_len <= layers.transport);
    assert!(layers.transport <= layers.end && layers.end <= octets.len());
    assert_eq!(layers.packet_len(), layers.end - layers.network);
    assert!(layers.fragment || layers.first);

    assert_eq!(Layers::parse(&octets[..layers.end]), Some(layers));
    assert_eq!(Layers::parse(&[octets, &[0xff; 9]].concat()), Some(layers));
    assert_eq!(Layers::parse(&octets[..layers.end - 1]), None);
}

/// Whoever has an address according to a frame is a station that the frame names, and padding
/// changes nothing.
pub fn neighbour(octets: &[u8]) {
    let Some((mac, ip)) = told_by(octets) else { return };
    let names = |name: &[u8]| octets.windows(name.len()).any(|it| it == name);
    assert!(mac.is_station() && names(&mac.0));
    assert!(!ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback());
    match (ip, Frame::parse(octets).unwrap().ether_type()) {
        (IpAddr::V4(ip), (EtherType::Other(0x0806), 0)) => assert!(names(&ip.octets())),
        (IpAddr::V6(ip), (EtherType::Ipv6, 0)) => assert!(names(&ip.octets())),
        other => panic!("{other:?}"),
    }
    assert_eq!(told_by(&[octets, &[0xff; 9]].concat()), Some((mac, ip)));
}

/// Finishing a checksum makes it right, changes nothing else, and does nothing the second time.
pub fn checksum(octets: &[u8]) {
    let Some(layers) = Layers::parse(octets) else { return };
    let mut frame = octets.to_vec();
    if !finish_partial(&mut frame, &layers) {
        return assert_eq!(frame, octets);
    }
    assert!(!layers.fragment);
    assert_eq!(transport_sum(&frame, &layers), 0xffff);

    let mut again = frame.clone();
    finish_partial(&mut again, &layers);
    assert_eq!(again, frame);

    let field = layers.transport + if layers.protocol == 6 { 16 } else { 6 };
    frame[field..field + 2].copy_from_slice(&octets[field..field + 2]);
    assert_eq!(frame, octets);
}

/// An ICMP error is a well-formed packet of bounded length for the sender, and never answered.
pub fn icmp_answer(octets: &[u8]) {
    let Some((mtu, frame)) = mtu_and_frame(octets) else { return };
    let Some(layers) = Layers::parse(frame) else {
        return assert_eq!(Remedy::of(frame, None), Remedy::None);
    };
    if Remedy::of(frame, Some(&layers)) != Remedy::Answer {
        return;
    }
    let mut out = Buf::new();
    assert!(answer(frame, &layers, mtu, &mut out));

    let mut reply = out.octets().to_vec();
    let parsed = Layers::parse(&reply).unwrap();
    let (longest, icmp, addresses) = match layers.version {
        IpVersion::V4 => (576, 1, 12..20),
        IpVersion::V6 => (1280, 58, 8..40),
    };
    let (parsed_frame, asked) = (Frame::parse(&reply).unwrap(), Frame::parse(frame).unwrap());
    assert_eq!((parsed_frame.dst(), parsed_frame.src()), (asked.src(), asked.dst()));
    assert_eq!((parsed.version, parsed.protocol, parsed.tags), (layers.version, icmp, layers.tags));
    assert!(parsed.packet_len() <= longest && parsed.end == reply.len());
    let swapped = &reply[parsed.network..][addresses.clone()];
    let (dst, src) = swapped.split_at(addresses.len() / 2);
    assert_eq!([src, dst].concat(), frame[layers.network..][addresses]);
    assert_eq!(icmp_sum(&reply, &parsed), 0xffff);

    if parsed.version == IpVersion::V4 {
        assert_eq!(sum(&reply[parsed.network..parsed.transport]), 0xffff);
        // With DF it asks for an answer, if any packet does.
        reply[parsed.network + 6] |= 0x40;
    }
    let remedy = Remedy::of(&reply, Layers::parse(&reply).as_ref());
    assert_eq!(remedy, Remedy::None);
}

/// Text that is read as an address is what the address is printed as.
pub fn mac(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string(), text.to_ascii_lowercase());
    }
}

/// A datagram of netlink messages holds at most one notice for each header that fits in it.
pub fn notices(octets: &[u8]) {
    const NETLINK_HEADER: usize = 16;
    assert!(switch::notices_in(octets).len() <= octets.len() / NETLINK_HEADER);
}

/// The first two octets as an MTU, and the others.
fn mtu_and_frame(octets: &[u8]) -> Option<(Mtu, &[u8])> {
    let ([a, b], frame) = octets.split_first_chunk()?;
    let range = Mtu::MAX.octets() - Mtu::MIN.octets() + 1;
    let mtu = Mtu::new(Mtu::MIN.octets() + u16::from_be_bytes([*a, *b]) % range)?;
    Some((mtu, frame))
}

/// The one's complement sum (RFC 1071), the plain way. 0xffff when it includes a right checksum.
fn sum(octets: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in octets.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or_default());
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// The sum over the pseudo-header and what follows the IP headers.
fn transport_sum(frame: &[u8], layers: &Layers) -> u16 {
    let addresses = match layers.version {
        IpVersion::V4 => &frame[layers.network + 12..layers.network + 20],
        IpVersion::V6 => &frame[layers.network + 8..layers.network + 40],
    };
    let transport = &frame[layers.transport..layers.end];
    let len = u32::try_from(transport.len()).unwrap().to_be_bytes();
    sum(&[addresses, &len, &[0, layers.protocol], transport].concat())
}

/// The sum that ICMP's checksum is over: without a pseudo-header in IPv4.
fn icmp_sum(frame: &[u8], layers: &Layers) -> u16 {
    match layers.version {
        IpVersion::V4 => sum(&frame[layers.transport..layers.end]),
        IpVersion::V6 => transport_sum(frame, layers),
    }
}
