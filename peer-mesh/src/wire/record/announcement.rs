use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{
    ADDRESS, CAPABILITIES, Flags, HEADER, LABEL, LINK, Link, NICKNAME, Record, STARTED, UNREACHED,
};
use crate::wire::cursor::address_octets;
use crate::wire::{Malformed, put_tlv};
use crate::{PeerName, PeerUid};

/// What a peer says of itself, as its owner edits it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// Whose it is.
    pub name: PeerName,
    /// This start of it.
    pub uid: PeerUid,
    /// How often it has started.
    pub incarnation: u64,
    /// How often this has changed; at least 1 on the wire.
    pub version: u64,
    /// Whether it has left or was removed.
    pub departed: bool,
    /// Whether somebody chose its name.
    pub explicit: bool,
    /// Whether it holds leases under its name.
    pub leases: bool,
    /// Whether it reaches too few on the data path to list the others.
    pub isolated: bool,
    /// Whether it has been in the mesh under its name for a while.
    pub settled: bool,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// What people call it.
    pub nickname: String,
    /// Where it listens. A set: their order is not kept.
    pub addresses: Vec<SocketAddr>,
    /// Anything others may want to know.
    pub labels: BTreeMap<String, String>,
    /// What its data plane can do.
    pub capabilities: u64,
    /// Its links.
    pub links: BTreeSet<Link>,
    /// The peers it does not reach on the data path.
    pub unreached: BTreeSet<PeerName>,
}

/// More than fits a record, and of what.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too much for a record: {0}")]
pub struct TooLong(pub &'static str);

impl Announcement {
    /// One that says nothing yet but who.
    pub const fn new(name: PeerName, uid: PeerUid, incarnation: u64) -> Self {
        Self {
            name,
            uid,
            incarnation,
            version: 1,
            departed: false,
            explicit: false,
            leases: false,
            isolated: false,
            settled: false,
            started: 0,
            nickname: String::new(),
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            capabilities: 0,
            links: BTreeSet::new(),
            unreached: BTreeSet::new(),
        }
    }

    /// The record of it.
    pub fn emit(&self) -> Result<Record, TooLong> {
        let mut out = Vec::with_capacity(HEADER + self.links.len() * (3 + PeerName::LEN + 8));
        out.extend(self.flags().0.to_be_bytes());
        out.extend(self.name.octets());
        out.extend(self.incarnation.to_be_bytes());
        out.extend(self.uid.to_u64().to_be_bytes());
        out.extend(self.version.max(1).to_be_bytes());
        put_number(&mut out, STARTED, self.started);
        if !self.nickname.is_empty() {
            put_tlv(&mut out, NICKNAME, self.nickname.as_bytes());
        }
        put_set(&mut out, ADDRESS, self.addresses.iter().map(address_octets));
        put_set(&mut out, LABEL, self.labels.iter().map(label_octets));
        put_number(&mut out, CAPABILITIES, self.capabilities);
        put_set(&mut out, LINK, self.links.iter().map(link_octets));
        put_set(&mut out, UNREACHED, self.unreached.iter().map(|name| name.octets()));
        // What is of the right form by its type can only be too much.
        Record::parse(&out).map_err(|Malformed(why)| TooLong(why))
    }

    fn flags(&self) -> Flags {
        let flags = [
            (self.departed, Flags::DEPARTED),
            (self.explicit, Flags::EXPLICIT),
            (self.leases, Flags::LEASES),
            (self.isolated, Flags::ISOLATED),
            (self.settled, Flags::SETTLED),
        ];
        Flags(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, Flags(bit))| all | bit))
    }
}

/// What of a record is known to this version: the rest is not in an announcement.
impl From<&Record> for Announcement {
    fn from(record: &Record) -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            version: record.stamp().version,
            departed: record.departed(),
            explicit: record.explicit(),
            leases: record.leases(),
            isolated: record.isolated(),
            settled: record.settled(),
            started: record.started(),
            nickname: record.nickname().to_owned(),
            addresses: record.addresses().collect(),
            labels: record.labels().map(owned).collect(),
            capabilities: record.capabilities(),
            links: record.links().collect(),
            unreached: record.unreached().collect(),
            ..Self::new(record.name(), record.uid(), record.stamp().incarnation)
        }
    }
}

/// Nothing for zero, which is what is read where nothing is.
fn put_number(out: &mut Vec<u8>, kind: u8, value: u64) {
    if value != 0 {
        put_tlv(out, kind, &value.to_be_bytes());
    }
}

fn put_set<T: AsRef<[u8]> + Ord>(out: &mut Vec<u8>, kind: u8, values: impl Iterator<Item = T>) {
    for value in values.collect::<BTreeSet<_>>() {
        put_tlv(out, kind, value.as_ref());
    }
}

/// A key that is too long gets a length that is refused.
fn label_octets((key, value): (&String, &String)) -> Vec<u8> {
    let len = u8::try_from(key.len()).unwrap_or(u8::MAX);
    [&[len], key.as_bytes(), value.as_bytes()].concat()
}

fn link_octets(link: &Link) -> [u8; PeerName::LEN + 8] {
    let [a, b, c, d, e, f] = link.name.octets();
    let [g, h, i, j, k, l, m, n] = link.uid.to_u64().to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}
