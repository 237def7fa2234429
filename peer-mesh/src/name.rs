//! Who a peer is: its name, this start of its process, and how often it has started.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A peer's name: 48 bits in the form of a MAC address. The bridge of its node carries it as its address,
/// so a name is an individual, locally or globally administered address: never zero, never a group's.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerName(u64);

impl PeerName {
    /// Octets of a name on the wire.
    pub const LEN: usize = 6;

    /// The name with these octets, unless they are zero or a group address.
    pub const fn new(octets: [u8; 6]) -> Option<Self> {
        let [a, b, c, d, e, f] = octets;
        if a & 0x01 != 0 {
            return None;
        }
        match u64::from_be_bytes([0, 0, a, b, c, d, e, f]) {
            0 => None,
            raw => Some(Self(raw)),
        }
    }

    /// A locally administered name with the low 46 bits of `seed`.
    pub const fn local(seed: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = seed.to_be_bytes();
        Self(u64::from_be_bytes([0, 0, (a & !0x01) | 0x02, b, c, d, e, f]))
    }

    /// Its six octets, first on the wire first.
    pub const fn octets(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// The name as a number below 2^48.
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.octets();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PeerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no peer name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no peer name: six octets in hex, such as 0a:1b:2c:3d:4e:5f, not zero and not a group address"
)]
pub struct NotAName(String);

impl FromStr for PeerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let bad = || NotAName(text.to_owned());
        let mut octets = [0; Self::LEN];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Self::new(octets).ok_or_else(bad)
    }
}

/// One start of a peer's process: random, never zero.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PeerUid(u64);

impl PeerUid {
    /// The uid with this value, unless it is zero.
    pub const fn new(raw: u64) -> Option<Self> {
        if raw == 0 { None } else { Some(Self(raw)) }
    }

    /// Its value.
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PeerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PeerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        let name: PeerName = "0a:1b:2c:3d:4e:5f".parse().unwrap();

        assert_eq!(name.to_string(), "0a:1b:2c:3d:4e:5f");
        assert_eq!(PeerName::new(name.octets()), Some(name));
    }

    #[test]
    fn what_no_station_can_have_is_no_name() {
        for text in [
            "",
            "00:00:00:00:00:00",
            "01:00:00:00:00:01",
            "0a:1b:2c:3d:4e",
            "0a:1b:2c:3d:4e:5f:60",
            "a:1b:2c:3d:4e:5f",
            "0g:1b:2c:3d:4e:5f",
            "+a:1b:2c:3d:4e:5f",
        ] {
            assert!(text.parse::<PeerName>().is_err(), "{text:?}");
        }
    }
}
