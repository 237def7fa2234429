use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and how many of its bits name the subnet: `10.32.0.1/12`. In JSON it is that text.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    addr: IpAddr,
    /// INVARIANT: at most as many bits as the address has.
    prefix: u8,
}

/// Text that is no CIDR.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an address, a slash and a number of bits, such as 10.32.0.1/12")]
pub struct NotACidr(String);

impl Cidr {
    /// `None` if the address has fewer bits.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if addr.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        (u32::from(prefix) <= bits).then_some(Self { addr, prefix })
    }

    /// The address.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits name the subnet.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The subnet: all other bits are zero.
    pub fn network(&self) -> Self {
        let prefix = u32::from(self.prefix);
        let addr = match self.addr {
            IpAddr::V4(addr) => {
                let mask = !u32::MAX.checked_shr(prefix).unwrap_or(0);
                Ipv4Addr::from_bits(addr.to_bits() & mask).into()
            }
            IpAddr::V6(addr) => {
                let mask = !u128::MAX.checked_shr(prefix).unwrap_or(0);
                Ipv6Addr::from_bits(addr.to_bits() & mask).into()
            }
        };
        Self { addr, ..*self }
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let parse = || {
            let (addr, prefix) = text.split_once('/')?;
            // A number may have a sign otherwise.
            let digits = prefix.chars().all(|c| c.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|_| digits)?;
            Self::new(addr.parse().ok()?, prefix)
        };
        parse().ok_or_else(|| NotACidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = NotACidr;

    fn try_from(text: String) -> Result<Self, NotACidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cidr_is_an_address_and_a_number_of_its_bits() {
        for good in
            ["10.32.0.1/12", "0.0.0.0/0", "10.32.0.1/32", "fd00:32::1/64", "::/0", "::1/128"]
        {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/",
            "10.32.0.1",
            "10.32.0.1/",
            "10.32.0.1/33",
            "10.32.0.1/+8",
            "10.32.0.1/-1",
            "10.32.0.1/ 8",
            "10.32.0/8",
            "::1/129",
            "::1/256",
            "[::1]/64",
            "10.32.0.1/8/8",
            "/8",
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(NotACidr(bad.into())));
        }
    }

    #[test]
    fn a_subnet_has_no_bits_besides_its_own() {
        for (of, network) in [
            ("10.47.3.1/12", "10.32.0.0/12"),
            ("10.32.0.1/32", "10.32.0.1/32"),
            ("255.255.255.255/0", "0.0.0.0/0"),
            ("fd00:32::1/64", "fd00:32::/64"),
            ("ffff::1/0", "::/0"),
            ("ffff::1/128", "ffff::1/128"),
        ] {
            assert_eq!(of.parse::<Cidr>().unwrap().network().to_string(), network);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(addr in any::<IpAddr>(), prefix in any::<u8>()) {
            if let Some(cidr) = Cidr::new(addr, prefix) {
                prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
                prop_assert_eq!(cidr.network().network(), cidr.network());
            }
        }
    }
}
