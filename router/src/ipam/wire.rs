//! What nodes say to each other about addresses: the payload of messages on the mesh's channel `ipam`.
//!
//! ```text
//! message   version u8 (1) | kind u8 | range: family u8, first 4 or 16, prefix u8 | body
//! patch     ring u64 | flags u8 (1: roster, 2: with that comes all, 4: not compared yet, 8 and more: later) | roster? | all: how many removed? | not compared: epoch u64? | removed: count * owner 14 | records: count * (owner | len | record)
//! roster    horizon u32 | count * owner
//! record    version | shown u64 | free | serial | flags u8 (1: forced) | segments | offers | taken | more
//! segment   gap to the last one's end | length | version
//! offer     serial | start | length | version | owner | flags u8 (1: suspect)
//! ```
//! Numbers without a width are LEB128. The body of [`Message::Pull`] is an octet: 1 for [`Trust::Blind`]. Kinds that are not
//! known are ignored, octets behind a known body too: a later version may add both. What makes no sense is refused whole, and nothing of it taken up.

mod cursor;
mod parts;

use std::net::IpAddr;

use peer_mesh::PeerName;

use super::paxos::{Ballot, Value};
use super::range::{Span, Subnet};
use super::record::{MAX_MORE, MAX_PARTS};
use super::ring::{Patch, RingId};
use super::{Epoch, Offer, Offset, Owner, Range, Record, Segment};
use cursor::{Cursor, put};
use parts::split;

/// The version of the form.
const VERSION: u8 = 1;
/// Octets of a message: what the mesh carries at once.
pub const MAX_MESSAGE: usize = 60_000;
/// Flags of a patch.
const ROSTER: u8 = 1;
const WHOLE: u8 = 2;
const TENTATIVE: u8 = 4;
/// Addresses asked for at once.
pub(super) const MAX_SPOTS: usize = 256;

/// Why a message was not understood. Nothing of it is taken up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadMessage {
    /// It ends too early.
    #[error("it ends in the middle of a field")]
    Short,
    /// Of a form that is not known.
    #[error("it is of version {0} of the form, and 1 is known")]
    Version(u8),
    /// It is about no range that could be.
    #[error("what it says to be the range is none")]
    Range,
    /// A field has a value that it cannot have.
    #[error("a field has a value that it cannot have: {0}")]
    Value(&'static str),
}

/// What nodes say to each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// What is known of a ring, or a part of it.
    Ring(RingId, Patch),
    /// Tell me all that you know, and whether what is told will be gone by as it is.
    Pull(Trust),
    /// There is no ring here, or none to go by: the answer to [`Message::Pull`].
    Nothing,
    /// Give me addresses.
    Ask(Ask),
    /// The answer, when there is no offer: how many addresses could be given elsewhere in the range.
    Deny(Deny),
    /// Do you know this owner?
    Introduce(RingId, Owner),
    /// It is known, durably.
    Known(RingId, Owner),
    /// The first split, first phase: how many decide, and which proposal.
    Prepare(u32, Ballot),
    /// Nothing of an older proposal will be accepted; who says so, and what it has accepted.
    Promise(Ballot, Owner, Option<(Ballot, Value)>),
    /// Not that one: how many decide here, and what was promised.
    Reject(u32, Ballot, Ballot),
    /// The second phase: take this.
    Accept(u32, Ballot, Value),
    /// It is taken.
    Accepted(Ballot),
}

/// What becomes of a ring that is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust {
    /// It is compared with what the asker knows.
    Compared,
    /// It is all that the asker knows, from then on.
    Blind,
}

/// A wish for addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ask {
    /// In which ring.
    pub ring: RingId,
    /// The asker's own count.
    pub serial: u64,
    /// Who asks,
    pub owner: Owner,
    /// with what it says of itself.
    pub record: Record,
    /// Which ones.
    pub want: Want,
}

/// Which addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Want {
    /// Any of these; urgently if somebody waits for one.
    Any(Span, bool),
    /// Just these.
    Spots(Vec<Offset>),
}

/// Why there is no offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deny {
    /// In which ring.
    pub ring: RingId,
    /// Of which wish.
    pub serial: u64,
    /// Who denies.
    pub owner: Owner,
    /// Why.
    pub why: Denial,
}

/// Why there is no offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denial {
    /// Nothing free there.
    Full,
    /// Not now: what was restored is not yet compared with others', or is known to be outdated.
    NotNow,
    /// The asker's epoch is too old to be known: it is to be born after this.
    Stale(u32),
    /// These of the wanted addresses are leased, or not the donor's to give.
    Taken(Vec<Offset>, Vec<Offset>),
}

/// A message about a range, as octets. Patches that are too long become several.
pub fn emit(range: Range, message: &Message) -> Vec<Vec<u8>> {
    match message {
        Message::Ring(id, patch) => {
            split(patch).iter().map(|it| emit_patch(range, *id, it)).collect()
        }
        Message::Pull(_)
        | Message::Nothing
        | Message::Ask(_)
        | Message::Deny(_)
        | Message::Introduce(..)
        | Message::Known(..)
        | Message::Prepare(..)
        | Message::Promise(..)
        | Message::Reject(..)
        | Message::Accept(..)
        | Message::Accepted(_) => vec![emit_one(range, message)],
    }
}

fn head(range: Range, kind: u8) -> Vec<u8> {
    let mut to = vec![VERSION, kind];
    match range.subnet().first() {
        IpAddr::V4(first) => {
            to.push(4);
            to.extend(first.octets());
        }
        IpAddr::V6(first) => {
            to.push(6);
            to.extend(first.octets());
        }
    }
    to.push(range.subnet().prefix());
    to
}

fn emit_patch(range: Range, id: RingId, patch: &Patch) -> Vec<u8> {
    let mut to = head(range, 1);
    to.extend(id.0.to_be_bytes());
    let flags = [
        (patch.roster.is_some(), ROSTER),
        (patch.whole.is_some(), WHOLE),
        (patch.tentative.is_some(), TENTATIVE),
    ];
    to.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    if let Some((horizon, alive)) = &patch.roster {
        to.extend(horizon.to_be_bytes());
        put::count(&mut to, alive.len());
        alive.iter().for_each(|it| put::owner(&mut to, *it));
    }
    if let Some(removed) = patch.whole {
        put::count(&mut to, removed);
    }
    if let Some(epoch) = patch.tentative {
        to.extend(epoch.0.to_be_bytes());
    }
    put::count(&mut to, patch.removed.len());
    patch.removed.iter().for_each(|it| put::owner(&mut to, *it));
    put::count(&mut to, patch.records.len());
    for (owner, record) in &patch.records {
        put::owner(&mut to, *owner);
        put::octets(&mut to, &put::record(record));
    }
    to
}

fn emit_one(range: Range, message: &Message) -> Vec<u8> {
    let kind = match message {
        Message::Ring(..) => 1,
        Message::Pull(_) => 2,
        Message::Nothing => 3,
        Message::Ask(_) => 4,
        Message::Deny(_) => 5,
        Message::Introduce(..) => 6,
        Message::Known(..) => 7,
        Message::Prepare(..) => 8,
        Message::Promise(..) => 9,
        Message::Reject(..) => 10,
        Message::Accept(..) => 11,
        Message::Accepted(_) => 12,
    };
    let mut to = head(range, kind);
    match message {
        Message::Ring(..) | Message::Nothing => {}
        Message::Pull(trust) => to.push(u8::from(*trust == Trust::Blind)),
        Message::Ask(ask) => emit_ask(&mut to, ask),
        Message::Deny(deny) => emit_deny(&mut to, deny),
        Message::Introduce(id, owner) | Message::Known(id, owner) => {
            to.extend(id.0.to_be_bytes());
            put::owner(&mut to, *owner);
        }
        Message::Prepare(n, ballot) => {
            put::number(&mut to, u64::from(*n));
            put::ballot(&mut to, *ballot);
        }
        Message::Promise(ballot, owner, accepted) => {
            put::ballot(&mut to, *ballot);
            put::owner(&mut to, *owner);
            to.push(u8::from(accepted.is_some()));
            if let Some((ballot, value)) = accepted {
                put::ballot(&mut to, *ballot);
                put::value(&mut to, value);
            }
        }
        Message::Reject(n, ballot, promised) => {
            put::number(&mut to, u64::from(*n));
            put::ballot(&mut to, *ballot);
            put::ballot(&mut to, *promised);
        }
        Message::Accept(n, ballot, value) => {
            put::number(&mut to, u64::from(*n));
            put::ballot(&mut to, *ballot);
            put::value(&mut to, value);
        }
        Message::Accepted(ballot) => put::ballot(&mut to, *ballot),
    }
    to
}

fn emit_ask(to: &mut Vec<u8>, ask: &Ask) {
    to.extend(ask.ring.0.to_be_bytes());
    put::number(to, ask.serial);
    put::owner(to, ask.owner);
    put::octets(to, &put::record(&ask.record));
    match &ask.want {
        Want::Any(span, urgent) => {
            to.push(u8::from(*urgent));
            put::number(to, span.start());
            put::number(to, span.len());
        }
        Want::Spots(spots) => {
            to.push(2);
            put::spots(to, spots);
        }
    }
}

fn emit_deny(to: &mut Vec<u8>, deny: &Deny) {
    to.extend(deny.ring.0.to_be_bytes());
    put::number(to, deny.serial);
    put::owner(to, deny.owner);
    match &deny.why {
        Denial::Full => to.push(1),
        Denial::NotNow => to.push(2),
        Denial::Stale(born) => {
            to.push(3);
            to.extend(born.to_be_bytes());
        }
        Denial::Taken(leased, foreign) => {
            to.push(4);
            put::spots(to, leased);
            put::spots(to, foreign);
        }
    }
}

/// Reads a message: which range it is about, and what it says, unless that is of a later version.
pub fn parse(octets: &[u8]) -> Result<(Subnet, Option<Message>), BadMessage> {
    let mut from = Cursor::new(octets);
    match from.u8()? {
        VERSION => {}
        other => return Err(BadMessage::Version(other)),
    }
    let kind = from.u8()?;
    let first = match from.u8()? {
        4 => IpAddr::from(from.array::<4>()?),
        6 => IpAddr::from(from.array::<16>()?),
        _ => return Err(BadMessage::Range),
    };
    let subnet = Subnet::of(first, from.u8()?).filter(|it| it.first() == first);
    let subnet = subnet.ok_or(BadMessage::Range)?;
    let message = match kind {
        1 => Message::Ring(from.ring()?, patch(&mut from, subnet)?),
        2 => Message::Pull(if from.u8()? == 1 { Trust::Blind } else { Trust::Compared }),
        3 => Message::Nothing,
        4 => Message::Ask(ask(&mut from, subnet)?),
        5 => Message::Deny(deny(&mut from)?),
        6 => Message::Introduce(from.ring()?, from.owner()?),
        7 => Message::Known(from.ring()?, from.owner()?),
        8 => Message::Prepare(from.number32("peers")?, from.ballot()?),
        9 => {
            let (ballot, owner) = (from.ballot()?, from.owner()?);
            let accepted = match from.u8()? {
                0 => None,
                _ => Some((from.ballot()?, from.value()?)),
            };
            Message::Promise(ballot, owner, accepted)
        }
        10 => Message::Reject(from.number32("peers")?, from.ballot()?, from.ballot()?),
        11 => Message::Accept(from.number32("peers")?, from.ballot()?, from.value()?),
        12 => Message::Accepted(from.ballot()?),
        _ => return Ok((subnet, None)),
    };
    Ok((subnet, Some(message)))
}

fn patch(from: &mut Cursor<'_>, subnet: Subnet) -> Result<Patch, BadMessage> {
    let range = Range::new(subnet).map_err(|_| BadMessage::Range)?;
    let flags = from.u8()?;
    let roster = match flags & ROSTER {
        0 => None,
        _ => Some((u32::from_be_bytes(from.array()?), from.owners()?.into_iter().collect())),
    };
    let whole = match flags & WHOLE {
        0 => None,
        _ => Some(from.number32("how many were removed")?).filter(|_| roster.is_some()),
    };
    let whole = whole.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let tentative = match flags & TENTATIVE {
        0 => None,
        _ => Some(Epoch(u64::from_be_bytes(from.array()?))),
    };
    let removed = from.owners()?;
    let count = from.count(Owner::LEN)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push((from.owner()?, from.record(range.span())?));
    }
    Ok(Patch { records, removed, roster, whole, tentative })
}

fn ask(from: &mut Cursor<'_>, subnet: Subnet) -> Result<Ask, BadMessage> {
    let range = Range::new(subnet).map_err(|_| BadMessage::Range)?;
    let (ring, serial, owner) = (from.ring()?, from.number()?, from.owner()?);
    let record = from.record(range.span())?;
    let want = match from.u8()? {
        2 => Want::Spots(from.spots()?),
        urgent @ (0 | 1) => Want::Any(from.span()?, urgent == 1),
        _ => return Err(BadMessage::Value("what is wanted")),
    };
    Ok(Ask { ring, serial, owner, record, want })
}

fn deny(from: &mut Cursor<'_>) -> Result<Deny, BadMessage> {
    let (ring, serial, owner) = (from.ring()?, from.number()?, from.owner()?);
    let why = match from.u8()? {
        1 => Denial::Full,
        3 => Denial::Stale(u32::from_be_bytes(from.array()?)),
        4 => Denial::Taken(from.spots()?, from.spots()?),
        // What a later version may have as a reason is no reason to wait.
        _ => Denial::NotNow,
    };
    Ok(Deny { ring, serial, owner, why })
}

#[cfg(test)]
mod tests;
