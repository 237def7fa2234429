//! A record: what a peer says of itself.
//!
//! ```text
//! flags u16 | name 6 | incarnation u64 | uid u64 | version u64 | TLV*
//!
//! type  value
//! 1     started: seconds since 1970, u64
//! 2     nickname: UTF-8
//! 3     address: 4 or 16 octets of IP, port u16                          one TLV each
//! 4     label: length of the key u8 | key | value, both UTF-8            one TLV each
//! 5     capabilities: u64
//! 6     link: name 6 | uid u64                                           one TLV each
//! 7     a peer not reached on the data path: name 6                      one TLV each
//! ```
//! Types never descend. The values of one known type ascend, so none comes twice, and a label's key
//! comes once. All other types are of newer versions: they are kept, in any number and order within
//! their type, and so are flags we do not know. A record goes on to others octet for octet as it came.

use std::net::SocketAddr;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};

use super::cursor::{Cursor, parse_address};
use super::{Malformed, Tlvs};
use crate::{PeerName, PeerUid};

mod announcement;
mod check;

pub use announcement::{Announcement, TooLong};

/// Octets of a record.
pub const MAX_RECORD: usize = 4096;
/// Links of a record: twice the degree, for the moments between opening a link and closing another.
pub const MAX_LINKS: usize = 64;
/// Labels of a record.
pub const MAX_LABELS: usize = 32;
/// Peers a record names as not reached; with more of them it says `isolated` instead.
pub const MAX_UNREACHED: usize = 32;

/// Octets before the TLVs.
pub(super) const HEADER: usize = 2 + 6 + 8 + 8 + 8;

const STARTED: u8 = 1;
const NICKNAME: u8 = 2;
const ADDRESS: u8 = 3;
const LABEL: u8 = 4;
const CAPABILITIES: u8 = 5;
const LINK: u8 = 6;
const UNREACHED: u8 = 7;

/// What decides which of two records of one name is the later one, in this order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Stamp {
    /// How often the peer has started.
    pub incarnation: u64,
    /// Which start it is, if two count the same.
    pub uid: PeerUid,
    /// How often the record has changed since.
    pub version: u64,
    /// The content, if somebody wrote two of one version.
    pub hash: u64,
}

/// A link, as one of its ends states it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Link {
    /// The other end.
    pub name: PeerName,
    /// The start of it that the link is to.
    pub uid: PeerUid,
}

/// A record's flags, those of newer versions included.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u16);

impl Flags {
    /// It has left, or was removed.
    pub const DEPARTED: Self = Self(1 << 0);
    /// Its name was chosen by somebody.
    pub const EXPLICIT: Self = Self(1 << 1);
    /// It holds address leases under its name.
    pub const LEASES: Self = Self(1 << 2);
    /// It reaches so few on the data path that it does not list the others.
    pub const ISOLATED: Self = Self(1 << 3);
    /// It has been in the mesh under its name for a while.
    pub const SETTLED: Self = Self(1 << 4);

    /// Whether all of these are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A checked view of a record's octets, which stay exactly as they came. Accessors cannot fail.
/// A clone shares the octets.
#[derive(Clone, Debug)]
pub struct Record {
    /// INVARIANT: they have passed `check::check`.
    octets: Arc<[u8]>,
    stamp: Stamp,
    name: PeerName,
    flags: Flags,
}

impl Record {
    /// Checks everything there is to check, once.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        if octets.len() > MAX_RECORD {
            return Err(Malformed("a record is longer than 4096 octets"));
        }
        let mut fields = Cursor::new(octets);
        let flags = Flags(fields.u16()?);
        let name = fields.name()?;
        let incarnation = fields.count()?;
        let uid = fields.uid()?;
        let version = fields.count()?;
        if version == 0 {
            return Err(Malformed("a record's version is zero"));
        }
        check::check(body(octets))?;
        let stamp = Stamp { incarnation, uid, version, hash: content_hash(octets) };
        Ok(Self { octets: octets.into(), stamp, name, flags })
    }

    /// Whose it is.
    pub const fn name(&self) -> PeerName {
        self.name
    }

    /// Its place in the order of the records of this name.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The start of the peer that it is of.
    pub const fn uid(&self) -> PeerUid {
        self.stamp.uid
    }

    /// All flags.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether the peer has left or was removed.
    pub const fn departed(&self) -> bool {
        self.flags.contains(Flags::DEPARTED)
    }

    /// Whether somebody chose its name.
    pub const fn explicit(&self) -> bool {
        self.flags.contains(Flags::EXPLICIT)
    }

    /// Whether it holds leases under its name.
    pub const fn leases(&self) -> bool {
        self.flags.contains(Flags::LEASES)
    }

    /// Whether it reaches so few on the data path that it does not list the others.
    pub const fn isolated(&self) -> bool {
        self.flags.contains(Flags::ISOLATED)
    }

    /// Whether it has been in the mesh under its name for a while.
    pub const fn settled(&self) -> bool {
        self.flags.contains(Flags::SETTLED)
    }

    /// When it started, in seconds since 1970 by its own clock; 0 if it does not say.
    pub fn started(&self) -> u64 {
        self.number(STARTED)
    }

    /// What people call it; may be empty.
    pub fn nickname(&self) -> &str {
        self.values(NICKNAME).next().map_or("", text)
    }

    /// Where it listens, in the order of the octets.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.values(ADDRESS).filter_map(|value| parse_address(value).ok())
    }

    /// Its labels, by the length of the key, then by key.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values(LABEL).filter_map(|value| {
            let (key, value) = split_label(value)?;
            Some((text(key), text(value)))
        })
    }

    /// What its data plane can do.
    pub fn capabilities(&self) -> u64 {
        self.number(CAPABILITIES)
    }

    /// Its links, in order.
    pub fn links(&self) -> impl Iterator<Item = Link> {
        self.values(LINK).filter_map(|value| parse_link(value).ok())
    }

    /// The peers that it does not reach on the data path, in order.
    pub fn unreached(&self) -> impl Iterator<Item = PeerName> {
        self.values(UNREACHED).filter_map(|value| Cursor::new(value).name().ok())
    }

    /// As it came.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The octets after the header: TLVs.
    pub(super) fn body(&self) -> &[u8] {
        body(&self.octets)
    }

    /// All TLVs.
    pub fn tlvs(&self) -> impl Iterator<Item = (u8, &[u8])> {
        Tlvs::new(self.body()).map_while(Result::ok)
    }

    fn values(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        let mine = self.tlvs().skip_while(move |(other, _)| *other < kind);
        mine.take_while(move |(other, _)| *other == kind).map(|(_, value)| value)
    }

    fn number(&self, kind: u8) -> u64 {
        self.values(kind).next().and_then(|value| Cursor::new(value).u64().ok()).unwrap_or(0)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
    }
}

impl Eq for Record {}

/// The first eight octets of the BLAKE2s-256 of these octets.
pub fn content_hash(octets: &[u8]) -> u64 {
    let digest: [u8; 32] = Blake2s256::digest(octets).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn body(octets: &[u8]) -> &[u8] {
    octets.get(HEADER..).unwrap_or_default()
}

fn parse_link(value: &[u8]) -> Result<Link, Malformed> {
    let mut fields = Cursor::new(value);
    Ok(Link { name: fields.name()?, uid: fields.uid()? })
}

/// A label's key and value.
fn split_label(label: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = label.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}

#[cfg(test)]
mod tests;
