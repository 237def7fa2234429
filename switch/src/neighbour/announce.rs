use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ADVERTISEMENT, ARP, HOP_LIMIT, IPV6, TARGET_LINK};
use crate::checksum::{pseudo_header, put};
use crate::frame::ETHERNET_LEN;
use crate::layers::ICMP_V6;
use crate::{Layers, Mac};

/// Ethernet 14 + IPv6 40 + neighbour advertisement 24 + one option 8; the ARP one has 14 + 28.
const LEN: usize = ETHERNET_LEN + 40 + 24 + 8;

/// All nodes of the link, and the address of their group (RFC 4291 §2.7.1, RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// What is said replaces what is known (RFC 4861 §4.4).
const OVERRIDE: u8 = 0x20;

/// A frame that tells all who hear it that a station has an address.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    octets: [u8; LEN],
    len: usize,
}

impl Announcement {
    /// The frame.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut octets = [0; LEN];
        let all = parts.iter().copied().flatten();
        let len = octets.iter_mut().zip(all).map(|(to, octet)| *to = *octet).count();
        Self { octets, len }
    }
}

/// The frame that tells everybody that `mac` has `ip`: a gratuitous ARP request as `arping -U` sends
/// it (RFC 5227 §3), or an unsolicited neighbour advertisement that overrides (RFC 4861 §7.2.6).
///
/// It bears `mac` as its sender: a bridge port that learns takes the station for one behind it.
pub fn announce(mac: Mac, ip: IpAddr) -> Announcement {
    match ip {
        IpAddr::V4(ip) => by_arp(mac, ip),
        IpAddr::V6(ip) => by_discovery(mac, ip),
    }
}

fn by_arp(mac: Mac, ip: Ipv4Addr) -> Announcement {
    let (all, ip) = (Mac::BROADCAST.0, ip.octets());
    // Ethernet and IPv4, six octets and four, a request.
    let kind = [0, 1, 0x08, 0, 6, 4, 0, 1];
    Announcement::of(&[&all, &mac.0, &ARP.to_be_bytes(), &kind, &mac.0, &ip, &all, &ip])
}

fn by_discovery(mac: Mac, ip: Ipv6Addr) -> Announcement {
    let (target, all) = (ip.octets(), ALL_NODES.octets());
    let header = [0x60, 0, 0, 0, 0, 24 + 8, ICMP_V6, HOP_LIMIT];
    let message = [ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    let mut frame = Announcement::of(&[
        &ALL_NODES_MAC.0,
        &mac.0,
        &IPV6.to_be_bytes(),
        &header,
        &target,
        &all,
        &message,
        &target,
        &[TARGET_LINK, 1],
        &mac.0,
    ]);
    if let Some(layers) = Layers::parse(frame.octets()) {
        let sum = checksum(frame.octets(), &layers);
        put(&mut frame.octets, layers.transport + 2, sum);
    }
    frame
}

fn checksum(frame: &[u8], layers: &Layers) -> [u8; 2] {
    let message = frame.get(layers.transport..layers.end).unwrap_or_default();
    pseudo_header(frame, layers, message.len()).add(message).finish()
}
