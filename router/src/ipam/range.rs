//! The address range, and parts of it.
//!
//! Inside the range an address is its distance from the first one, an [`Offset`]: the ring, the space and the wire know
//! nothing else, so that they need not care for the family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How far an address is from the first of the range.
pub type Offset = u32;

/// Addresses from `start` to before `end`. Never empty.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// From `start` to before `end`, unless that is nothing.
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start < end && end <= 1 << 32 { Some(Self { start, end }) } else { None }
    }

    /// One address.
    pub const fn one(at: Offset) -> Self {
        Self { start: at as u64, end: at as u64 + 1 }
    }

    /// The first.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// What follows the last.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it is one of them.
    pub const fn contains(self, at: Offset) -> bool {
        self.start <= at as u64 && (at as u64) < self.end
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What both have.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// What is left of it without `other`: before, and after.
    pub fn without(self, other: Self) -> [Option<Self>; 2] {
        let before = Self::new(self.start, self.end.min(other.start));
        let after = Self::new(self.start.max(other.end), self.end);
        [before, after]
    }

    /// The greatest block within it that is a power of two long, at most `most`, and begins at a multiple of its length;
    /// of several the last.
    pub fn greatest_block(self, most: u64) -> Option<Self> {
        let mut len = match self.len().min(most) {
            0 => return None,
            many => 1 << many.ilog2(),
        };
        loop {
            let end = self.end / len * len;
            if let Some(block) = end.checked_sub(len).and_then(|start| Self::new(start, end))
                && self.covers(block)
            {
                return Some(block);
            }
            len /= 2;
        }
    }
}

/// A network: an address and how many of its leading bits count. The others are zero.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no network, or no range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSubnet {
    /// It is not of the form ADDRESS/PREFIX.
    #[error("{0:?} is not of the form ADDRESS/PREFIX, such as 10.32.0.0/12")]
    Form(String),
    /// Bits after the prefix are set.
    #[error("{given} has bits set after its prefix: {meant} is meant?")]
    HostBits {
        /// What was given.
        given: String,
        /// The network it is in.
        meant: Subnet,
    },
    /// It is too small or too large to lease from.
    #[error("{0} is too small or too large: a range has between 4 and 2^24 addresses")]
    Size(Subnet),
    /// Of addresses that no station has: multicast, loopback, `0.0.0.0/8`.
    #[error(
        "{0} has addresses that no pod can have (multicast, loopback or 0.0.0.0/8): give a private range, such as 10.32.0.0/12"
    )]
    NoUnicast(Subnet),
    /// Of another family.
    #[error("{0} is not IPv4: addresses of pods are IPv4 today")]
    Family(Subnet),
}

impl Subnet {
    /// The network that an address is in.
    pub fn of(addr: IpAddr, prefix: u8) -> Option<Self> {
        let first = match addr {
            IpAddr::V4(addr) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask))
            }
            IpAddr::V6(addr) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { first, prefix })
    }

    /// Its first address.
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// How many leading bits count.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is in it.
    pub fn contains(self, addr: IpAddr) -> bool {
        Self::of(addr, self.prefix) == Some(self)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let form = || BadSubnet::Form(text.to_owned());
        let (addr, prefix) = text.split_once('/').ok_or_else(form)?;
        let addr: IpAddr = addr.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        let subnet = Self::of(addr, prefix).ok_or_else(form)?;
        if subnet.first != addr {
            return Err(BadSubnet::HostBits { given: text.to_owned(), meant: subnet });
        }
        Ok(subnet)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// What the ring divides.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Range(Subnet);

impl Range {
    /// The whole of a network, if it can be divided.
    pub fn new(subnet: Subnet) -> Result<Self, BadSubnet> {
        match subnet.first {
            // No range is larger than a block of these.
            IpAddr::V4(first) if matches!(first.octets(), [0 | 127 | 224..=239, ..]) => {
                Err(BadSubnet::NoUnicast(subnet))
            }
            IpAddr::V4(_) if (8..=30).contains(&subnet.prefix) => Ok(Self(subnet)),
            IpAddr::V4(_) => Err(BadSubnet::Size(subnet)),
            IpAddr::V6(_) => Err(BadSubnet::Family(subnet)),
        }
    }

    /// As a network.
    pub const fn subnet(self) -> Subnet {
        self.0
    }

    /// All of it.
    pub fn span(self) -> Span {
        Span { start: 0, end: 1 << (32 - u32::from(self.0.prefix.min(31))) }
    }

    /// The offset of an address that is in it.
    pub fn offset(self, addr: IpAddr) -> Option<Offset> {
        match (addr, self.0.first) {
            (IpAddr::V4(addr), IpAddr::V4(first)) if self.0.contains(IpAddr::V4(addr)) => {
                addr.to_bits().checked_sub(first.to_bits())
            }
            _ => None,
        }
    }

    /// The address at an offset.
    pub fn addr(self, at: Offset) -> IpAddr {
        match self.0.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(at)).into(),
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits().wrapping_add(u128::from(at))).into()
            }
        }
    }

    /// Where a network lies in it, if it is a part of it.
    pub fn part(self, subnet: Subnet) -> Option<Span> {
        let start = u64::from(self.offset(subnet.first)?);
        let bits = 32u32.checked_sub(u32::from(subnet.prefix))?;
        Span::new(start, start + (1 << bits)).filter(|part| self.span().covers(*part))
    }

    /// The network of an address with this prefix, or the range where that is greater.
    pub fn network(self, addr: IpAddr, prefix: u8) -> Subnet {
        let subnet = Subnet::of(addr, prefix).filter(|it| self.part(*it).is_some());
        subnet.unwrap_or(self.0)
    }

    /// What of a network can be claimed: what can be leased, and of one without a broadcast address (RFC 3021) all.
    pub fn claimable(self, subnet: Subnet) -> Option<Span> {
        match self.part(subnet)? {
            small if small.len() <= 2 => small.intersection(self.usable(self.0)?),
            _ => self.usable(subnet),
        }
    }

    /// What of a network can be leased: all but its first and its last address.
    pub fn usable(self, subnet: Subnet) -> Option<Span> {
        let part = self.part(subnet)?;
        Span::new(part.start + 1, part.end.checked_sub(1)?)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Range {
        Range::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_claim_is_of_its_network_but_not_its_first_or_last_address() {
        let range = range("10.32.0.0/16");
        let claimable = |text: &str, addr: &str| {
            let at = range.offset(addr.parse().unwrap()).unwrap();
            range.claimable(text.parse().unwrap()).map(|it| it.contains(at))
        };

        assert_eq!(claimable("10.32.1.0/24", "10.32.1.255"), Some(false));
        assert_eq!(claimable("10.32.1.0/24", "10.32.1.254"), Some(true));
        assert_eq!(claimable("10.32.1.0/24", "10.32.2.1"), Some(false));
        assert_eq!(claimable("10.32.1.255/32", "10.32.1.255"), Some(true));
        assert_eq!(claimable("10.32.0.0/32", "10.32.0.0"), None);
        assert_eq!(claimable("10.0.0.0/8", "10.32.0.1"), None);
        assert_eq!(range.network("10.32.0.1".parse().unwrap(), 8), range.subnet());
    }

    #[test]
    fn an_address_is_its_distance_from_the_first() {
        let range = range("10.32.0.0/12");

        assert_eq!(range.offset("10.32.1.2".parse().unwrap()), Some(258));
        assert_eq!(range.addr(258), "10.32.1.2".parse::<IpAddr>().unwrap());
        assert_eq!(range.offset("10.48.0.0".parse().unwrap()), None);
        assert_eq!(range.span().len(), 1 << 20);
    }

    #[test]
    fn first_and_last_of_a_network_are_not_leased() {
        let range = range("10.32.0.0/12");

        let usable = range.usable("10.32.4.0/24".parse().unwrap()).unwrap();

        assert_eq!((usable.start(), usable.end()), (1025, 1279));
        assert_eq!(range.usable("10.64.0.0/24".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_network_is_told_what_is_meant() {
        let text = |text: &str| text.parse::<Subnet>().unwrap_err().to_string();

        assert_eq!(
            text("10.32.0.1/12"),
            "10.32.0.1/12 has bits set after its prefix: 10.32.0.0/12 is meant?"
        );
        assert!(text("10.32.0.0").contains("ADDRESS/PREFIX"));
        assert!(text("10.32.0.0/33").contains("ADDRESS/PREFIX"));
        let small = Range::new("10.32.0.0/31".parse().unwrap());
        assert_eq!(small, Err(BadSubnet::Size("10.32.0.0/31".parse().unwrap())));
    }

    proptest! {
        #[test]
        fn the_greatest_block_is_aligned_within_and_no_greater_one_is(
            start in 0u64..500, len in 1u64..500, most in 1u64..600
        ) {
            let span = Span::new(start, start + len).unwrap();

            let block = span.greatest_block(most).unwrap();

            prop_assert!(span.covers(block) && block.len() <= most);
            prop_assert!(block.len().is_power_of_two() && block.start().is_multiple_of(block.len()));
            let twice = block.len() * 2;
            let fits = (0..1024 / twice).filter_map(|n| Span::new(n * twice, (n + 1) * twice));
            prop_assert!(twice > most || !fits.into_iter().any(|it| span.covers(it)));
        }
    }
}
