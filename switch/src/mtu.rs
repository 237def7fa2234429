use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Octets between underlay and overlay MTU over IPv4:
/// outer IPv4 20 + UDP 8 + VXLAN 8 + inner Ethernet 14 (RFC 7348 §5).
pub const OVERHEAD_V4: u16 = 20 + 8 + 8 + 14;

/// The same over IPv6, whose header has 40 octets.
pub const OVERHEAD_V6: u16 = 40 + 8 + 8 + 14;

/// The size of the largest IP packet a link carries, in octets. As everywhere on Linux it does not
/// count the Ethernet header.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Mtu(u16);

impl Mtu {
    /// Every IPv4 host takes datagrams of this size (RFC 791 §3.1); a smaller link is of no use.
    pub const MIN: Self = Self(576);
    /// What tunnel devices are set to: the tunnel judges size, not the bridge, which drops frames
    /// that are too big without a word.
    pub const UPLINK: Self = Self(65_000);
    /// The largest overlay MTU: what fits an uplink.
    pub const MAX: Self = Self::UPLINK;

    /// `None` outside of [`Mtu::MIN`] to [`Mtu::MAX`].
    pub const fn new(raw: u16) -> Option<Self> {
        if raw >= Self::MIN.0 && raw <= Self::MAX.0 { Some(Self(raw)) } else { None }
    }

    /// What is left for pods of an underlay path to `peer` that carries packets of `underlay`
    /// octets; `None` when that is too little to be of use.
    pub fn over(underlay: u32, peer: IpAddr) -> Option<Self> {
        let overhead = match peer {
            IpAddr::V4(_) => OVERHEAD_V4,
            IpAddr::V6(_) => OVERHEAD_V6,
        };
        let underlay = u16::try_from(underlay).unwrap_or(u16::MAX);
        Self::new(underlay.checked_sub(overhead)?.min(Self::MAX.0))
    }

    /// The size in octets.
    pub const fn octets(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Mtu {
    type Error = &'static str;

    fn try_from(raw: u16) -> Result<Self, Self::Error> {
        Self::new(raw).ok_or("an MTU is 576 to 65000")
    }
}

impl From<Mtu> for u16 {
    fn from(it: Mtu) -> Self {
        it.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underlay_of_1500_leaves_1450_over_ipv4_and_1430_over_ipv6() {
        assert_eq!(Mtu::over(1500, [10, 0, 0, 1].into()).map(Mtu::octets), Some(1450));
        assert_eq!(Mtu::over(1500, [0u16; 8].into()).map(Mtu::octets), Some(1430));
    }

    #[test]
    fn a_huge_underlay_is_cut_to_what_an_uplink_carries() {
        assert_eq!(Mtu::over(65_536, [127, 0, 0, 1].into()), Some(Mtu::UPLINK));
    }

    #[test]
    fn an_underlay_too_small_for_any_host_is_refused() {
        assert_eq!(Mtu::over(625, [10, 0, 0, 1].into()), None);
        assert_eq!(Mtu::over(10, [10, 0, 0, 1].into()), None);
    }
}
