//! What has to hold for a record's TLVs.

use super::{
    ADDRESS, CAPABILITIES, LABEL, LINK, MAX_LABELS, MAX_LINKS, MAX_UNREACHED, NICKNAME, STARTED,
    UNREACHED, parse_link, split_label,
};
use crate::PeerName;
use crate::wire::cursor::{Cursor, parse_address};
use crate::wire::{MAX_ADDRESSES, MAX_NAME, Malformed, Tlvs};

/// Whether these are the TLVs of a record.
pub(super) fn check(body: &[u8]) -> Result<(), Malformed> {
    let mut last = Last { kind: 0, value: &[], count: 0 };
    for tlv in Tlvs::new(body) {
        let (kind, value) = tlv?;
        last = last.then(kind, value)?;
        let most = check_value(kind, value)?;
        if last.count > most {
            return Err(Malformed("a record has too many TLVs of one type"));
        }
    }
    Ok(())
}

/// The TLV before, and how many of its type there were up to it.
struct Last<'a> {
    kind: u8,
    value: &'a [u8],
    count: usize,
}

impl<'a> Last<'a> {
    /// The next one, if it may follow this one.
    fn then(&self, kind: u8, value: &'a [u8]) -> Result<Self, Malformed> {
        if kind > self.kind || self.count == 0 {
            return Ok(Self { kind, value, count: 1 });
        }
        if kind < self.kind {
            return Err(Malformed("a record's TLVs are out of order"));
        }
        if (STARTED..=UNREACHED).contains(&kind) && value <= self.value {
            return Err(Malformed("a record's TLVs of one type are out of order"));
        }
        if kind == LABEL && same_key(value, self.value) {
            return Err(Malformed("a label comes twice"));
        }
        Ok(Self { kind, value, count: self.count + 1 })
    }
}

/// Whether this is a value of the type; then how many of the type there may be.
fn check_value(kind: u8, value: &[u8]) -> Result<usize, Malformed> {
    match kind {
        STARTED | CAPABILITIES if value.len() != 8 => Err(Malformed("a number is not 8 octets")),
        STARTED | CAPABILITIES => Ok(1),
        NICKNAME => check_text(value).map(|()| 1),
        ADDRESS => parse_address(value).map(|_| MAX_ADDRESSES),
        LABEL => check_label(value).map(|()| MAX_LABELS),
        LINK if value.len() != PeerName::LEN + 8 => Err(Malformed("a link is not 14 octets")),
        LINK => parse_link(value).map(|_| MAX_LINKS),
        UNREACHED if value.len() != PeerName::LEN => Err(Malformed("a name is not 6 octets")),
        UNREACHED => Cursor::new(value).name().map(|_| MAX_UNREACHED),
        _ => Ok(usize::MAX),
    }
}

fn check_label(value: &[u8]) -> Result<(), Malformed> {
    let (key, value) = split_label(value).ok_or(Malformed("a label is cut short"))?;
    check_text(key)?;
    check_text(value)
}

fn check_text(octets: &[u8]) -> Result<(), Malformed> {
    if octets.len() > MAX_NAME {
        return Err(Malformed("a nickname or label is longer than 64 octets"));
    }
    std::str::from_utf8(octets).map(drop).map_err(|_| Malformed("a text is not UTF-8"))
}

fn same_key(a: &[u8], b: &[u8]) -> bool {
    split_label(a).map(|(key, _)| key) == split_label(b).map(|(key, _)| key)
}
