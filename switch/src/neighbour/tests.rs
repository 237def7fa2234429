use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, RawHardwareAddress,
};

use super::*;

const POD: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 32, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const V6_OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

#[test]
fn an_arp_request_or_reply_tells_of_its_sender() {
    for operation in [ArpOperation::Request, ArpOperation::Reply] {
        assert_eq!(told_by(&arp(operation, POD, V4)), Some((POD, V4.into())), "{operation:?}");
    }
}

#[test]
fn a_request_and_a_solicitation_tell_whom_their_sender_asks_for() {
    let (ours, theirs) = (Ipv4Addr::new(10, 32, 0, 1), Ipv4Addr::new(10, 32, 0, 2));
    let request = arp(ArpOperation::Request, POD, ours);
    let reply = arp(ArpOperation::Reply, POD, ours);
    let gratuitous = arp(ArpOperation::Request, POD, theirs);
    let probe = arp(ArpOperation::Request, POD, Ipv4Addr::UNSPECIFIED);
    assert_eq!(asked_by(&request), Some((POD, theirs.into())));
    assert!([reply, gratuitous, probe].iter().all(|frame| asked_by(frame).is_none()));

    let (ours, theirs) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let asks = discovery(ours, &solicitation(theirs, Some(POD)));
    let tells = discovery(ours, &advertisement(theirs, Some(POD)));
    let detects = discovery(Ipv6Addr::UNSPECIFIED, &solicitation(theirs, None));
    assert_eq!(asked_by(&asks), Some((POD, theirs.into())));
    assert!([tells, detects].iter().all(|frame| asked_by(frame).is_none()));
}

#[test]
fn padding_does_not_matter() {
    let mut padded = arp(ArpOperation::Request, POD, V4);
    padded.resize(60, 0);

    assert_eq!(told_by(&padded), Some((POD, V4.into())));
}

#[test]
fn an_arp_probe_and_addresses_that_nobody_has_tell_nothing() {
    for ip in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1], [127, 0, 0, 1]] {
        assert_eq!(told_by(&arp(ArpOperation::Request, POD, ip.into())), None, "{ip:?}");
    }
    for mac in [Mac::BROADCAST, Mac::ZERO, Mac([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(told_by(&arp(ArpOperation::Request, mac, V4)), None, "{mac}");
    }
}

#[test]
fn arp_of_other_networks_and_operations_tells_nothing() {
    let good = arp(ArpOperation::Request, POD, V4);
    for (at, octet) in [(15, 6), (16, 0x86), (18, 8), (19, 16), (21, 3), (21, 0), (20, 1)] {
        let mut bad = good.clone();
        bad[at] = octet;

        assert_eq!(told_by(&bad), None, "octet {at}");
    }
}

#[test]
fn a_solicitation_tells_of_who_asks() {
    let asked = solicitation(V6, Some(OTHER));

    assert_eq!(told_by(&discovery(V6, &asked)), Some((OTHER, V6.into())), "what its option says");
    let without = solicitation(V6, None);
    assert_eq!(told_by(&discovery(V6, &without)), Some((POD, V6.into())), "who sent it");
}

#[test]
fn duplicate_address_detection_tells_nothing() {
    let asked = solicitation(V6, None);

    assert_eq!(told_by(&discovery(Ipv6Addr::UNSPECIFIED, &asked)), None);
}

#[test]
fn an_advertisement_tells_of_its_target() {
    let told = advertisement(V6, Some(OTHER));

    assert_eq!(told_by(&discovery(V6_OTHER, &told)), Some((OTHER, V6.into())));
    let without = advertisement(V6, None);
    assert_eq!(told_by(&discovery(V6_OTHER, &without)), Some((POD, V6.into())));
}

#[test]
fn a_link_local_address_is_one() {
    let ip = "fe80::1".parse().unwrap();

    assert_eq!(told_by(&discovery(ip, &solicitation(ip, Some(POD)))), Some((POD, ip.into())));
}

#[test]
fn discovery_that_a_router_may_have_passed_on_tells_nothing() {
    let mut routed = discovery(V6, &advertisement(V6, Some(POD)));
    routed[14 + 7] = 254;

    assert_eq!(told_by(&routed), None);
}

#[test]
fn other_icmp_other_protocols_and_other_codes_tell_nothing() {
    let good = discovery(V6, &advertisement(V6, Some(POD)));
    for (at, octet) in [(14, 0x40), (14 + 6, 17), (54, 134), (54, 137), (55, 1)] {
        let mut bad = good.clone();
        bad[at] = octet;

        assert_eq!(told_by(&bad), None, "octet {at}");
    }
}

#[test]
fn options_are_searched_and_malformed_ones_refused() {
    let plain = discovery(V6, &advertisement(V6, None));
    let with = |options: &[u8]| {
        let mut frame = [&plain[..], options].concat();
        frame[14 + 5] += u8::try_from(options.len()).unwrap();
        told_by(&frame)
    };

    let link = [TARGET_LINK, 1, 2, 0, 0, 0, 0, 2];
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    assert_eq!(with(&[nonce, link].concat()), Some((OTHER, V6.into())));
    assert_eq!(with(&[14, 0, 0, 0, 0, 0, 0, 0]), None, "no length");
    assert_eq!(with(&[14, 2, 0, 0, 0, 0, 0, 0]), None, "longer than the message");
    assert_eq!(with(&[TARGET_LINK, 1, 1, 0, 0, 0, 0, 2]), None, "a group");
}

#[test]
fn frames_with_tags_tell_nothing() {
    let plain = arp(ArpOperation::Request, POD, V4);
    let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();

    assert_eq!(told_by(&tagged), None);
}

#[test]
fn a_group_as_sender_tells_nothing() {
    let mut frame = arp(ArpOperation::Request, POD, V4);
    frame[6] |= 1;

    assert_eq!(told_by(&frame), None);
}

#[test]
fn a_frame_cut_short_tells_nothing() {
    for whole in [
        arp(ArpOperation::Request, POD, V4),
        discovery(V6, &solicitation(V6, Some(POD))),
        discovery(V6, &advertisement(V6, Some(POD))),
    ] {
        for len in 0..whole.len() {
            assert_eq!(told_by(&whole[..len]), None, "{len} of {}", whole.len());
        }
    }
}

#[test]
fn an_ipv4_address_is_announced_by_a_gratuitous_request() {
    let frame = announce(POD, V4.into());

    let packet = ArpPacket::new_checked(&frame.octets()[ETHERNET_LEN..]).unwrap();
    let expected = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(POD.0),
        source_protocol_addr: V4,
        target_hardware_addr: EthernetAddress::BROADCAST,
        target_protocol_addr: V4,
    };
    assert_eq!(ArpRepr::parse(&packet).unwrap(), expected);
    assert_eq!(header_of(&frame), (Mac::BROADCAST, EthernetProtocol::Arp));
    assert_eq!(frame.octets().len(), 42);
}

#[test]
fn an_ipv6_address_is_announced_by_an_advertisement_that_overrides() {
    let frame = announce(POD, V6.into());

    let packet = Ipv6Packet::new_checked(&frame.octets()[ETHERNET_LEN..]).unwrap();
    let ip = Ipv6Repr::parse(&packet).unwrap();
    assert_eq!((ip.src_addr, ip.dst_addr.to_string()), (V6, "ff02::1".into()));
    assert_eq!((ip.hop_limit, ip.next_header), (HOP_LIMIT, IpProtocol::Icmpv6));
    let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
    let sums = ChecksumCapabilities::default();
    let message = Icmpv6Repr::parse(&ip.src_addr, &ip.dst_addr, &icmp, &sums).unwrap();
    assert_eq!(message, Icmpv6Repr::Ndisc(advertisement(V6, Some(POD))));
    let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(header_of(&frame), (group, EthernetProtocol::Ipv6));
}

proptest! {
    #[test]
    fn what_is_announced_is_what_is_heard(mac: [u8; 6], v4: [u8; 4], v6: [u8; 16]) {
        let mac = Mac(mac);

        for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
            let told = told_by(announce(mac, ip).octets());

            prop_assert_eq!(told, (mac.is_station() && is_ones_own(ip)).then_some((mac, ip)));
        }
    }

    #[test]
    fn no_octets_make_it_panic(
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..3u8,
    ) {
        if let Some(ether_type) = octets.get_mut(12..14) {
            ether_type.copy_from_slice(if kind == 0 { &[0x08, 0x06] } else { &[0x86, 0xdd] });
        }
        if let (1, Some(header)) = (kind, octets.get_mut(14..62)) {
            header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 100, ICMP_V6, HOP_LIMIT]);
            header[40..42].copy_from_slice(&[SOLICITATION, 0]);
        }

        if let Some((mac, ip)) = told_by(&octets) {
            prop_assert!(mac.is_station() && is_ones_own(ip));
        }
    }
}

/// Whom an announcement is for, and what is in it; it is its station's own.
fn header_of(frame: &Announcement) -> (Mac, EthernetProtocol) {
    let header = EthernetFrame::new_checked(frame.octets()).unwrap();
    let header = EthernetRepr::parse(&header).unwrap();
    assert_eq!(header.src_addr, EthernetAddress(POD.0));
    (Mac(header.dst_addr.0), header.ethertype)
}

fn ethernet(dst: Mac, protocol: EthernetProtocol, len: usize) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_LEN + len];
    let (src_addr, dst_addr) = (EthernetAddress(POD.0), EthernetAddress(dst.0));
    let repr = EthernetRepr { src_addr, dst_addr, ethertype: protocol };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    frame
}

fn arp(operation: ArpOperation, mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(mac.0),
        source_protocol_addr: ip,
        target_hardware_addr: EthernetAddress(OTHER.0),
        target_protocol_addr: Ipv4Addr::new(10, 32, 0, 2),
    };
    let mut frame = ethernet(Mac::BROADCAST, EthernetProtocol::Arp, repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET_LEN..]));
    frame
}

fn solicitation(target_addr: Ipv6Addr, link: Option<Mac>) -> NdiscRepr<'static> {
    NdiscRepr::NeighborSolicit { target_addr, lladdr: link.map(raw) }
}

fn advertisement(target_addr: Ipv6Addr, link: Option<Mac>) -> NdiscRepr<'static> {
    let flags = NdiscNeighborFlags::OVERRIDE;
    NdiscRepr::NeighborAdvert { flags, target_addr, lladdr: link.map(raw) }
}

fn raw(mac: Mac) -> RawHardwareAddress {
    EthernetAddress(mac.0).into()
}

fn discovery(src_addr: Ipv6Addr, message: &NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(*message);
    let dst_addr = "ff02::1".parse().unwrap();
    let ip = Ipv6Repr {
        src_addr,
        dst_addr,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let len = ip.buffer_len() + message.buffer_len();
    let mut frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), EthernetProtocol::Ipv6, len);
    let mut packet = Ipv6Packet::new_unchecked(&mut frame[ETHERNET_LEN..]);
    ip.emit(&mut packet);
    let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.emit(&src_addr, &dst_addr, &mut icmp, &ChecksumCapabilities::default());
    frame
}
