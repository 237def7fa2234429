//! The hello: what each side says of itself inside the handshake.
//!
//! ```text
//! TLV*                             at most 1024 octets
//!
//! type  value
//! 1     name: 6 octets             always
//! 2     uid: u64                   always
//! 3     incarnation: u64
//! 4     flags: u16                 1 explicit, 2 leases, 4 settled
//! 5     started: seconds since 1970, u64
//! 6     nickname: UTF-8
//! 7     port it listens on: u16
//! 8     address: 4 or 16 octets of IP, port u16        one TLV each
//! ```
//! Types never descend and, but for addresses, come once. All other types are of newer versions and
//! are ignored, as are flags we do not know. What is not there is zero or empty.

use std::net::SocketAddr;

use super::cursor::{Cursor, address_octets, check_count, parse_address};
use super::{MAX_ADDRESSES, MAX_NAME, Malformed, Tlvs, clip, put_tlv};
use crate::{PeerName, PeerUid};

const NAME: u8 = 1;
const UID: u8 = 2;
const INCARNATION: u8 = 3;
const FLAGS: u8 = 4;
const STARTED: u8 = 5;
const NICKNAME: u8 = 6;
const PORT: u8 = 7;
const ADDRESS: u8 = 8;

const EXPLICIT: u16 = 1 << 0;
const LEASES: u16 = 1 << 1;
const SETTLED: u16 = 1 << 2;

/// Who is at the other end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Its name.
    pub name: PeerName,
    /// This start of it.
    pub uid: PeerUid,
    /// How often it has started.
    pub incarnation: u64,
    /// Whether somebody chose its name.
    pub explicit: bool,
    /// Whether it holds leases under its name.
    pub leases: bool,
    /// Whether it has been in the mesh under its name for a while.
    pub settled: bool,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// What people call it, at most 64 octets.
    pub nickname: String,
    /// The port it listens on; 0 if it does not.
    pub port: u16,
    /// Where it listens, at most 16, in its order.
    pub addresses: Vec<SocketAddr>,
}

impl Hello {
    /// Octets of a hello. What is emitted has at most 462.
    pub const MAX: usize = 1024;

    /// One that says nothing yet but who.
    pub const fn new(name: PeerName, uid: PeerUid) -> Self {
        Self {
            name,
            uid,
            incarnation: 0,
            explicit: false,
            leases: false,
            settled: false,
            started: 0,
            nickname: String::new(),
            port: 0,
            addresses: Vec::new(),
        }
    }

    /// Reads it.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        if octets.len() > Self::MAX {
            return Err(Malformed("a hello is longer than 1024 octets"));
        }
        let tlvs = Tlvs::new(octets).collect::<Result<Vec<_>, _>>()?;
        if !tlvs.is_sorted_by(|(a, _), (b, _)| a < b || (a == b && !(NAME..=PORT).contains(b))) {
            return Err(Malformed("the TLVs of a hello are out of order, or come twice"));
        }
        let field = |kind| tlvs.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value);
        let name = field(NAME).ok_or(Malformed("a hello without a name"))?;
        let uid = field(UID).ok_or(Malformed("a hello without a uid"))?;
        let flags = field(FLAGS).map_or(Ok(0), |value| exact(value).map(u16::from_be_bytes))?;
        let number = |kind| field(kind).map_or(Ok(0), |value| exact(value).map(u64::from_be_bytes));
        Ok(Self {
            name: Cursor::new(&exact::<6>(name)?).name()?,
            uid: Cursor::new(&exact::<8>(uid)?).uid()?,
            incarnation: number(INCARNATION).and_then(check_count)?,
            explicit: flags & EXPLICIT != 0,
            leases: flags & LEASES != 0,
            settled: flags & SETTLED != 0,
            started: number(STARTED)?,
            nickname: field(NICKNAME).map_or(Ok(String::new()), parse_nickname)?,
            port: field(PORT).map_or(Ok(0), |value| exact(value).map(u16::from_be_bytes))?,
            addresses: parse_addresses(&tlvs)?,
        })
    }

    /// Writes it. A nickname or list that is too long is cut.
    pub fn emit(&self) -> Vec<u8> {
        let explicit = if self.explicit { EXPLICIT } else { 0 };
        let leases = if self.leases { LEASES } else { 0 };
        let settled = if self.settled { SETTLED } else { 0 };
        let mut out = Vec::new();
        put_tlv(&mut out, NAME, &self.name.octets());
        put_tlv(&mut out, UID, &self.uid.to_u64().to_be_bytes());
        put_tlv(&mut out, INCARNATION, &self.incarnation.to_be_bytes());
        put_tlv(&mut out, FLAGS, &(explicit | leases | settled).to_be_bytes());
        put_tlv(&mut out, STARTED, &self.started.to_be_bytes());
        put_tlv(&mut out, NICKNAME, clip(&self.nickname, MAX_NAME).as_bytes());
        put_tlv(&mut out, PORT, &self.port.to_be_bytes());
        for addr in self.addresses.iter().take(MAX_ADDRESSES) {
            put_tlv(&mut out, ADDRESS, &address_octets(addr));
        }
        out
    }
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed("a field of a hello has the wrong length"))
}

fn parse_nickname(value: &[u8]) -> Result<String, Malformed> {
    if value.len() > MAX_NAME {
        return Err(Malformed("a nickname is longer than 64 octets"));
    }
    let text = std::str::from_utf8(value);
    text.map(str::to_owned).map_err(|_| Malformed("a nickname is not UTF-8"))
}

fn parse_addresses(tlvs: &[(u8, &[u8])]) -> Result<Vec<SocketAddr>, Malformed> {
    let addresses = tlvs.iter().filter(|(kind, _)| *kind == ADDRESS);
    if addresses.clone().count() > MAX_ADDRESSES {
        return Err(Malformed("a hello has more than 16 addresses"));
    }
    addresses.map(|(_, value)| parse_address(value)).collect()
}

#[cfg(test)]
mod tests;
