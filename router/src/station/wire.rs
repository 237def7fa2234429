//! Stations on the wire: the payload of a broadcast on the mesh's channel `stations`.
//!
//! ```text
//! message   item*
//! item      len u16 | owner 6 | mac 6 | sequence u64 | flags u8 | count u8 | address* | more
//! address   family u8 (4 or 6) | 4 or 16 octets
//! ```
//! Numbers are big-endian. `len` counts what follows it. Flag 1: taken back. Other flags, and up to 512 octets after the
//! addresses, are of a later version: they are kept and passed on as they are, so that peers of both versions know the
//! same. Sequence numbers are at most 2^48, so that nobody can use them up by one message.

use std::collections::BTreeSet;
use std::net::IpAddr;

use peer_mesh::PeerName;
use switch::Mac;

use super::{Announcement, Item, MAX_ADDRESSES, More};

/// Octets of a message: what the mesh carries at once.
pub const MAX_MESSAGE: usize = 60_000;
/// The highest sequence number.
pub(super) const MAX_SEQUENCE: u64 = 1 << 48;

const WITHDRAWN: u8 = 1;
/// Octets of a later version that are kept.
const MAX_MORE: usize = 512;

/// Why a message was not understood. Nothing of it is taken up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadStations {
    /// It ends in the middle of an item.
    #[error("it ends in the middle of an item")]
    Short,
    /// An owner's name is zero or a group address.
    #[error("an owner's name is zero or a group address")]
    Owner,
    /// A station's address is zero or a group address.
    #[error("a station's address is zero or a group address")]
    Mac,
    /// A sequence number is zero or above 2^48.
    #[error("a sequence number is zero or above 2^48")]
    Sequence,
    /// An address is of neither family, or there are more than 16.
    #[error("an address is neither IPv4 nor IPv6, or there are more than 16")]
    Addresses,
    /// What follows the addresses is longer than 512 octets.
    #[error("what follows the addresses is longer than 512 octets")]
    Long,
}

/// Items as messages, as few as hold them.
pub fn emit(items: impl IntoIterator<Item = Item>) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for item in items {
        let octets = emit_one(&item);
        match messages.last_mut() {
            Some(last) if last.len() + octets.len() <= MAX_MESSAGE => last.extend(octets),
            Some(_) | None => messages.push(octets),
        }
    }
    messages
}

fn emit_one(item: &Item) -> Vec<u8> {
    let Item { owner, mac, said } = item;
    let mut body = Vec::with_capacity(64);
    body.extend(owner.octets());
    body.extend(mac.0);
    body.extend(said.sequence.to_be_bytes());
    body.push(said.more.flags & !WITHDRAWN | if said.withdrawn { WITHDRAWN } else { 0 });
    let addresses: Vec<_> = said.addresses.iter().take(MAX_ADDRESSES).collect();
    body.push(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
    for addr in addresses {
        match addr {
            IpAddr::V4(addr) => {
                body.push(4);
                body.extend(addr.octets());
            }
            IpAddr::V6(addr) => {
                body.push(6);
                body.extend(addr.octets());
            }
        }
    }
    body.extend(&said.more.octets);
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut octets = len.to_be_bytes().to_vec();
    octets.extend(body);
    octets
}

/// Reads a message: all its items, or why not.
pub fn parse(mut octets: &[u8]) -> Result<Vec<Item>, BadStations> {
    let mut items = Vec::new();
    while !octets.is_empty() {
        let (len, rest) = octets.split_first_chunk().ok_or(BadStations::Short)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (body, rest) = rest.split_at_checked(len).ok_or(BadStations::Short)?;
        items.push(parse_one(body)?);
        octets = rest;
    }
    Ok(items)
}

fn parse_one(body: &[u8]) -> Result<Item, BadStations> {
    let (owner, rest) = body.split_first_chunk::<6>().ok_or(BadStations::Short)?;
    let (mac, rest) = rest.split_first_chunk::<6>().ok_or(BadStations::Short)?;
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(BadStations::Short)?;
    let ([flags, count], mut rest) = rest.split_first_chunk::<2>().ok_or(BadStations::Short)?;
    let owner = PeerName::new(*owner).ok_or(BadStations::Owner)?;
    let mac = Some(Mac(*mac)).filter(|mac| mac.is_station()).ok_or(BadStations::Mac)?;
    let sequence = u64::from_be_bytes(*sequence);
    if sequence == 0 || sequence > MAX_SEQUENCE {
        return Err(BadStations::Sequence);
    }
    if usize::from(*count) > MAX_ADDRESSES {
        return Err(BadStations::Addresses);
    }
    let mut addresses = BTreeSet::new();
    for _ in 0..*count {
        let (family, after) = rest.split_first().ok_or(BadStations::Short)?;
        let (addr, after) = parse_address(*family, after)?;
        addresses.insert(addr);
        rest = after;
    }
    if rest.len() > MAX_MORE {
        return Err(BadStations::Long);
    }
    let more = More { flags: flags & !WITHDRAWN, octets: rest.to_vec() };
    let said = Announcement { sequence, withdrawn: flags & WITHDRAWN != 0, addresses, more };
    Ok(Item { owner, mac, said })
}

fn parse_address(family: u8, octets: &[u8]) -> Result<(IpAddr, &[u8]), BadStations> {
    match family {
        4 => octets.split_first_chunk::<4>().map(|(addr, rest)| (IpAddr::from(*addr), rest)),
        6 => octets.split_first_chunk::<16>().map(|(addr, rest)| (IpAddr::from(*addr), rest)),
        _ => return Err(BadStations::Addresses),
    }
    .ok_or(BadStations::Short)
}

/// FNV-1a over an item's octets, mixed: stable over releases, and no use to who wants two alike to differ.
pub(super) fn hash(item: &Item) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let raw = emit_one(item).iter().fold(0xcbf2_9ce4_8422_2325, step);
    (raw ^ (raw >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
