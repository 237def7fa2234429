//! Who has an address: what ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861) tell of it, and how
//! it is told.
//!
//! ```text
//!  Ethernet 14 | ARP: htype 2, ptype 2, hlen 1, plen 1, operation 2,
//!                     sender MAC 6, sender IP 4, target MAC 6, target IP 4
//!  Ethernet 14 | IPv6 40 | ICMPv6: type 1, code 1, checksum 2, flags 4, target 16, options
//! ```
//!
//! VLAN tags are not looked through: a tagged frame speaks of another network than the bridge's own.
//! Checksums are not verified, as who lies can compute them. Extension headers before ICMPv6 are not
//! looked through; no host sends any.

mod announce;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Mac;
use crate::frame::ETHERNET_LEN;
use crate::layers::ICMP_V6;
pub use announce::{Announcement, announce};

pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

/// Neighbour solicitation and advertisement, and which option of theirs has the address that the
/// message is about: the source's, the target's link-layer address (RFC 4861 §4.3, §4.4, §4.6).
pub(crate) const SOLICITATION: u8 = 135;
pub(crate) const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

/// What no router has passed on (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;

/// The station and the IP address that a frame says it has, as others take it for true: from ARP
/// requests and replies, neighbour solicitations and advertisements. A question without an answer,
/// asked from no address (ARP probe, duplicate address detection), tells nothing.
#[inline]
pub fn told_by(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let (header, payload) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let [_, _, _, _, _, _, sender @ .., a, b] = *header;
    let told = match u16::from_be_bytes([a, b]) {
        ARP => told_by_arp(payload),
        IPV6 => told_by_discovery(Mac(sender), payload),
        _ => None,
    };
    told.filter(|(mac, ip)| Mac(sender).is_station() && mac.is_station() && is_ones_own(*ip))
}

/// Who asks for which IP address, to send something there: from ARP requests and neighbour solicitations. Who asks from
/// no address, or for its own, does not.
pub fn asked_by(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let (asker, own) = told_by(frame)?;
    let (header, payload) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let asked = match u16::from_be_bytes(*header.last_chunk()?) {
        ARP => asked_by_arp(payload),
        _ => asked_by_discovery(payload),
    };
    asked.filter(|ip| *ip != own && is_ones_own(*ip)).map(|ip| (asker, ip))
}

fn asked_by_arp(packet: &[u8]) -> Option<IpAddr> {
    let [_, _, _, _, _, _, 0, 1, rest @ ..] = packet.first_chunk::<28>()? else { return None };
    rest.last_chunk::<4>().map(|target| Ipv4Addr::from(*target).into())
}

fn asked_by_discovery(packet: &[u8]) -> Option<IpAddr> {
    let (_, message) = packet.split_first_chunk::<40>()?;
    let [SOLICITATION, _, _, _, _, _, _, _, target @ ..] = message.first_chunk::<24>()? else {
        return None;
    };
    target.first_chunk::<16>().map(|target| Ipv6Addr::from(*target).into())
}

fn told_by_arp(packet: &[u8]) -> Option<(Mac, IpAddr)> {
    // Ethernet and IPv4, six octets and four, request or reply.
    let [0, 1, 0x08, 0, 6, 4, 0, 1 | 2, rest @ ..] = packet.first_chunk::<28>()? else {
        return None;
    };
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    Some((Mac(*mac), Ipv4Addr::from(*rest.first_chunk::<4>()?).into()))
}

fn told_by_discovery(sender: Mac, packet: &[u8]) -> Option<(Mac, IpAddr)> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let [0x60..=0x6f, _, _, _, l0, l1, ICMP_V6, HOP_LIMIT, addresses @ ..] = header else {
        return None;
    };
    let message = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
    let ([kind, 0, _, _, _, _, _, _, target @ ..], options) = message.split_first_chunk::<24>()?
    else {
        return None;
    };
    let (ip, option) = match *kind {
        SOLICITATION => (addresses.first_chunk::<16>()?, SOURCE_LINK),
        ADVERTISEMENT => (target, TARGET_LINK),
        _ => return None,
    };
    let link = link_address(option, options)?;
    Some((link.unwrap_or(sender), Ipv6Addr::from(*ip).into()))
}

/// What the option `wanted` says; `None` when the options are malformed.
fn link_address(wanted: u8, mut options: &[u8]) -> Option<Option<Mac>> {
    while let [kind, units, ..] = options {
        // An option of no length makes the message invalid (RFC 4861 §7.1).
        let (option, rest) = options.split_at_checked(usize::from(*units).max(1) * 8)?;
        if *units == 0 {
            return None;
        }
        if let ([_, 1, mac @ ..], true) = (option, *kind == wanted) {
            return Some(mac.first_chunk().copied().map(Mac));
        }
        options = rest;
    }
    Some(None)
}

/// Whether a station can have the address for itself.
fn is_ones_own(ip: IpAddr) -> bool {
    let others = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    };
    !(others || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback())
}

#[cfg(test)]
mod tests;
