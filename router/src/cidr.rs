//! An address with the length of its network's prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and its network: `10.32.0.1/12`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

/// It is no address with a prefix.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no address with a prefix, such as 10.32.0.1/12")]
pub struct BadCidr(String);

impl Cidr {
    /// `None` when the prefix is longer than the address.
    pub const fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let most = if addr.is_ipv4() { 32 } else { 128 };
        if prefix <= most { Some(Self { addr, prefix }) } else { None }
    }

    /// The address.
    pub const fn addr(self) -> IpAddr {
        self.addr
    }

    /// How many bits of it are its network's.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its network: the same with zeros after the prefix.
    #[must_use]
    pub fn network(self) -> Self {
        let bits = left(self.addr) & mask(self.prefix);
        let addr = match self.addr {
            // The upper half of the upper half.
            IpAddr::V4(_) => {
                Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap_or_default()).into()
            }
            IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
        };
        Self { addr, ..self }
    }

    /// Whether all of the other network is in this one.
    pub fn contains(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.overlaps(other)
    }

    /// Whether there is an address that is in both networks.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.addr.is_ipv4() == other.addr.is_ipv4()
            && left(self.addr) & mask == left(other.addr) & mask
    }
}

/// The address in the upper bits.
fn left(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or_default()
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let parse = || {
            let (addr, prefix) = text.split_once('/')?;
            let digits = prefix.bytes().all(|it| it.is_ascii_digit());
            Self::new(addr.parse().ok()?, prefix.parse().ok().filter(|_| digits)?)
        };
        parse().ok_or_else(|| BadCidr(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_with_its_prefix_reads_back_as_it_was_written() {
        for text in ["10.32.0.1/12", "0.0.0.0/0", "fd00:32::1/64", "::/0", "1.2.3.4/32"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in ["10.32.0.1", "10.32.0.1/33", "::/129", "10.32/12", "1.2.3.4/+8", "", "/8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_has_zeros_after_its_prefix() {
        for (text, network) in [
            ("10.47.255.255/12", "10.32.0.0/12"),
            ("10.32.0.1/32", "10.32.0.1/32"),
            ("10.32.0.1/0", "0.0.0.0/0"),
            ("fd00:32::1/64", "fd00:32::/64"),
            ("fd00::1/0", "::/0"),
        ] {
            assert_eq!(cidr(text).network(), cidr(network));
        }
    }

    #[test]
    fn networks_overlap_when_one_is_in_the_other() {
        let (range, part) = (cidr("10.32.0.0/12"), cidr("10.40.1.0/24"));

        assert!(range.overlaps(part) && part.overlaps(range));
        assert!(range.contains(part) && !part.contains(range) && range.contains(range));
        assert!(!range.overlaps(cidr("10.48.0.0/12")));
        assert!(cidr("0.0.0.0/0").contains(range) && !cidr("::/0").overlaps(range));
    }
}
