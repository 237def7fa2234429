use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::Mac;

const POD: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn mtu(octets: u16) -> Mtu {
    Mtu::new(octets).unwrap()
}

fn v4(payload: &[u8], dont_fragment: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(POD, FAR)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 2000)
        .write(&mut frame, payload)
        .unwrap();
    if !dont_fragment {
        frame[20] &= !0x40;
        let mut header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
        header.dont_fragment = false;
        header.header_checksum = header.calc_header_checksum();
        frame[14..34].copy_from_slice(&header.to_bytes());
    }
    frame
}

fn v6(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(POD, FAR)
        .ipv6([1; 16], [2; 16], 64)
        .udp(1000, 2000)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn remedy(frame: &[u8]) -> Remedy {
    Remedy::of(frame, Layers::parse(frame).as_ref())
}

fn answer_to(frame: &[u8], mtu: Mtu) -> Vec<u8> {
    let mut out = Buf::new();
    assert!(answer(frame, &Layers::parse(frame).unwrap(), mtu, &mut out));
    out.octets().to_vec()
}

#[test]
fn each_kind_of_packet_has_its_remedy() {
    assert_eq!(remedy(&v4(&[0; 2000], false)), Remedy::Fragment);
    assert_eq!(remedy(&v4(&[0; 2000], true)), Remedy::Answer);
    assert_eq!(remedy(&v6(&[0; 2000])), Remedy::Answer);
    assert_eq!(remedy(&[0; 2000]), Remedy::None);
}

#[test]
fn ipv4_with_df_is_answered_with_fragmentation_needed() {
    let frame = v4(&[7; 2000], true);

    let reply = answer_to(&frame, mtu(1450));

    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
    assert_eq!(ip.header().source(), [10, 0, 0, 2]);
    assert_eq!(ip.header().destination(), [10, 0, 0, 1]);
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("no ICMP") };
    let expected = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1450 };
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
    assert_eq!(icmp.payload(), &frame[14..14 + 576 - 28]);
    assert_eq!(Frame::parse(&reply).unwrap().dst(), Mac(POD));
    assert_eq!(Frame::parse(&reply).unwrap().src(), Mac(FAR));
}

#[test]
fn ipv6_is_answered_with_packet_too_big() {
    let frame = v6(&[7; 2000]);

    let reply = answer_to(&frame, mtu(1430));

    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else { panic!("no ICMPv6") };
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1430 });
    assert!(icmp.is_checksum_valid([2; 16], [1; 16]));
    assert_eq!(reply.len(), 14 + 1280);
}

#[test]
fn a_tagged_packet_is_answered_under_its_tag_and_has_four_octets_less() {
    let plain = v4(&[7; 2000], true);
    let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();

    let reply = answer_to(&tagged, mtu(1450));

    assert_eq!(reply[12..18], [0x81, 0, 0, 5, 0x08, 0x00]);
    assert_eq!(reply[18 + 20 + 6..18 + 20 + 8], 1446u16.to_be_bytes());
}

#[test]
fn no_error_is_sent_for_errors_groups_and_later_fragments() {
    let error = answer_to(&v4(&[7; 2000], true), mtu(1450));
    assert_eq!(
        remedy(&{
            let mut it = error;
            it[20] |= 0x40;
            it
        }),
        Remedy::None
    );
    assert_eq!(remedy(&answer_to(&v6(&[7; 2000]), mtu(1430))), Remedy::None);

    let mut group = v4(&[7; 2000], true);
    group[..6].copy_from_slice(&[0x01, 0, 0x5e, 0, 0, 1]);
    assert_eq!(remedy(&group), Remedy::None);

    let mut later = v4(&[7; 2000], true);
    later[21] = 9;
    assert_eq!(remedy(&later), Remedy::None);
}

proptest! {
    #[test]
    fn fragments_reassemble_to_the_packet(
        payload in prop::collection::vec(any::<u8>(), 0..9000),
        size in 576..2000u16,
        more: bool,
        start in 0..100u16,
    ) {
        let mut frame = v4(&payload, false);
        let mut header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
        header.more_fragments = more;
        header.fragment_offset = start.try_into().unwrap();
        frame[14..34].copy_from_slice(&header.to_bytes());
        let mut fragments = Fragments::new(&frame, &Layers::parse(&frame).unwrap(), mtu(size)).unwrap();

        let mut carried = Vec::<u8>::new();
        let mut last_more = true;
        let mut out = Buf::new();
        while fragments.next(&mut out) {
            let fragment = out.octets();
            prop_assert!(fragment.len() <= 14 + usize::from(size));
            prop_assert_eq!(&fragment[..14], &frame[..14]);
            let (ip, part) = Ipv4Header::from_slice(&fragment[14..]).unwrap();
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            prop_assert_eq!(ip.identification, header.identification);
            let offset = usize::from(ip.fragment_offset.value()) - usize::from(start);
            prop_assert_eq!(offset * 8, carried.len());
            prop_assert!(last_more);
            last_more = ip.more_fragments;
            carried.extend(part);
        }

        prop_assert_eq!(last_more, more);
        prop_assert_eq!(carried, &frame[34..]);
    }
}

#[test]
fn what_would_reach_beyond_the_largest_packet_is_not_fragmented() {
    let mut frame = v4(&[0; 2000], false);
    let layers = Layers::parse(&frame).unwrap();
    let start = u16::try_from((65_535 - 2008) / 8).unwrap();
    for (start, fits) in [(start, true), (start + 1, false)] {
        frame[20..22].copy_from_slice(&start.to_be_bytes());

        assert_eq!(Fragments::new(&frame, &layers, mtu(1450)).is_some(), fits);
    }
}

#[test]
fn options_that_are_for_the_first_fragment_only_are_blanked_in_the_others() {
    let mut header = Ipv4Header::from_slice(&v4(&[0; 2000], false)[14..]).unwrap().0;
    // Record route (7, not copied), then loose source route (131, copied).
    let options: &[u8] = &[7, 7, 4, 0, 0, 0, 0, 131, 3, 4, 0, 0];
    header.options = options.try_into().unwrap();

    blank_first_only_options(&mut header);

    assert_eq!(header.options.as_slice(), [1, 1, 1, 1, 1, 1, 1, 131, 3, 4, 0, 0]);
}

#[test]
fn later_fragments_have_only_the_options_that_are_copied() {
    let mut frame = v4(&[7; 2000], false);
    let mut header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    let options: &[u8] = &[7, 7, 4, 0, 0, 0, 0, 131, 3, 4, 0, 0];
    header.options = options.try_into().unwrap();
    header.set_payload_len(2008).unwrap();
    header.header_checksum = header.calc_header_checksum();
    frame.splice(14..34, header.to_bytes());
    let mut fragments = Fragments::new(&frame, &Layers::parse(&frame).unwrap(), mtu(1000)).unwrap();

    let mut seen = Vec::new();
    let mut out = Buf::new();
    while fragments.next(&mut out) {
        seen.push(out.octets()[34..46].to_vec());
    }

    let later = vec![1, 1, 1, 1, 1, 1, 1, 131, 3, 4, 0, 0];
    assert_eq!(seen, [options.to_vec(), later.clone(), later]);
}
