//! Reading and writing the fields that are not TLVs.
//!
//! ```text
//! address    len u8 (6 or 18) | 4 or 16 octets of IP | port u16
//! channel    len u8 (1 to 16) | name
//! list       count u16 | item*
//! varint     LEB128: seven bits an octet, the lowest first; in as few octets as it takes
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ChannelName, MAX_COUNT, Malformed, Tlvs};
use crate::{PeerName, PeerUid};

const CUT_SHORT: Malformed = Malformed("cut short");
/// Octets of an IPv4 address with its port.
const V4: usize = 4 + 2;
/// Octets of an IPv6 address with its port.
const V6: usize = 16 + 2;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// An incarnation or a version.
    pub(super) fn count(&mut self) -> Result<u64, Malformed> {
        self.u64().and_then(check_count)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let octet = self.u8()?;
            let bits = u64::from(octet & 0x7f);
            if (bits << shift) >> shift != bits || (octet == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a varint is not in its shortest form"))
    }

    /// A length as varint, and as many octets.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.length()?;
        self.take(len)
    }

    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.varint()?).map_err(|_| CUT_SHORT)
    }

    pub(super) fn name(&mut self) -> Result<PeerName, Malformed> {
        PeerName::new(self.array()?).ok_or(Malformed("zero or a group address as a peer's name"))
    }

    pub(super) fn uid(&mut self) -> Result<PeerUid, Malformed> {
        PeerUid::new(self.u64()?).ok_or(Malformed("zero as a uid"))
    }

    pub(super) fn channel(&mut self) -> Result<ChannelName, Malformed> {
        let len = usize::from(self.u8()?);
        ChannelName::parse(self.take(len)?)
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let len = usize::from(self.u8()?);
        parse_address(self.take(len)?)
    }

    /// A list of at most `max` items, each of at least `least` octets.
    pub(super) fn list<T>(
        &mut self,
        max: usize,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(Malformed("a list is longer than its bound"));
        }
        if count * least > self.0.len() {
            return Err(CUT_SHORT);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// The end of the fields: what follows are TLVs of a newer version, which say nothing to us.
    pub(super) fn end(self) -> Result<(), Malformed> {
        Tlvs::new(self.0).try_for_each(|tlv| tlv.map(drop))
    }
}

/// The same number, if it can be an incarnation or a version.
pub(super) fn check_count(number: u64) -> Result<u64, Malformed> {
    let sane = number <= MAX_COUNT;
    sane.then_some(number).ok_or(Malformed("an incarnation or version above 2^48"))
}

/// An address without its length: 4 or 16 octets of IP, and a port.
pub(super) fn parse_address(octets: &[u8]) -> Result<SocketAddr, Malformed> {
    let mut fields = Cursor::new(octets);
    let ip = match octets.len() {
        V4 => IpAddr::V4(Ipv4Addr::from(fields.array::<4>()?)),
        V6 => IpAddr::V6(Ipv6Addr::from(fields.array::<16>()?)),
        _ => return Err(Malformed("an address is neither IPv4 nor IPv6")),
    };
    Ok(SocketAddr::new(ip, fields.u16()?))
}

/// The same, written.
pub(super) fn address_octets(addr: &SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(V6);
    match addr.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(addr.port().to_be_bytes());
    out
}

/// Octets of an address with its length.
pub(super) const fn address_len(addr: &SocketAddr) -> usize {
    1 + if addr.is_ipv4() { V4 } else { V6 }
}

/// Octets of the shortest address with its length.
pub(super) const ADDRESS_LEAST: usize = 1 + V4;

pub(super) fn put_address(out: &mut Vec<u8>, addr: &SocketAddr) {
    out.push(if addr.is_ipv4() { 6 } else { 18 });
    out.extend(address_octets(addr));
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [.., low] = value.to_be_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Octets of a number as varint.
pub(super) fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_has_one_form_only() {
        for octets in [&[0x80, 0x00][..], &[0xff; 10], &[0x80; 11], &[0x80]] {
            assert!(Cursor::new(octets).varint().is_err(), "{octets:x?}");
        }
    }

    proptest! {
        #[test]
        fn a_varint_reads_back(value in any::<u64>(), shift in 0u32..64) {
            let (value, mut octets) = (value >> shift, Vec::new());
            put_varint(&mut octets, value);

            prop_assert_eq!(Cursor::new(&octets).varint(), Ok(value));
            prop_assert_eq!(octets.len(), varint_len(value));
        }

        #[test]
        fn octets_that_read_as_a_varint_are_written_so(octets in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut cursor = Cursor::new(&octets);
            if let Ok(value) = cursor.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&octets[..octets.len() - cursor.0.len()], again);
            }
        }
    }
}
