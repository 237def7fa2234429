//! Messages, and the batches they come in.
//!
//! ```text
//! batch := message*
//! message := type u8 | len u16 | body, len octets
//!
//! type            body
//!  1  welcome     known u64 | observed address
//!  2  keepalive   root u64 | list of (channel, digest u64)
//!  3  record      a record
//!  4  patch       a patch
//!  5  buckets     64 x hash u64
//!  6  held        buckets u64 | list of (name 6, hash u64)
//!  7  want        list of name 6
//!  8  broadcast   channel | len u16 | payload
//!  9  unicast     channel | from 6 | to 6 | hops u8 | len u16 | payload
//! 10  addresses   list of address
//! 11  close       code u8 | len u16 | text, UTF-8 | 0, or 1 | name 6 | uid u64
//! ```
//! After the fields of a body, TLVs of a newer version may follow; they are ignored. Only a record
//! fills its body: it has TLVs of its own. A message of another type is skipped.

use std::net::SocketAddr;

use super::cursor::{ADDRESS_LEAST, Cursor};
use super::{ChannelName, MAX_ADDRESSES, Malformed, Patch, Record};
use crate::{PeerName, PeerUid};

mod emit;

/// Octets of a batch: what fits one sealed frame, with room for what sealing adds.
pub const MAX_BATCH: usize = 65_000;
/// Octets of the payload of a broadcast or unicast: the rest of a batch is for names.
pub const MAX_PAYLOAD: usize = 60_000;
/// Names in a `Held` or `Want`: 14 octets each, so that a batch holds one that is full.
pub const MAX_ENTRIES: usize = 4_096;
/// Octets of the text of a `Close`.
pub const MAX_TEXT: usize = 256;
/// Buckets that the names are divided into for anti-entropy.
pub const BUCKETS: usize = 64;

/// Digests in a keepalive.
const MAX_DIGESTS: usize = 16;
/// Octets of a message before its body.
const HEADER: usize = 1 + 2;

const WELCOME: u8 = 1;
const KEEPALIVE: u8 = 2;
const RECORD: u8 = 3;
const PATCH: u8 = 4;
const HASHES: u8 = 5;
const HELD: u8 = 6;
const WANT: u8 = 7;
const BROADCAST: u8 = 8;
const UNICAST: u8 = 9;
const ADDRESSES: u8 = 10;
const CLOSE: u8 = 11;

/// What peers say to each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The first thing said, by both.
    Welcome {
        /// The highest incarnation known of the receiver's name; 0 if none is.
        known: u64,
        /// The address the receiver is seen at.
        observed: SocketAddr,
    },
    /// The sender lives, and this is what it holds.
    Keepalive {
        /// The hash of all records it counts.
        root: u64,
        /// The digests of its channels, at most 16.
        digests: Vec<(ChannelName, u64)>,
    },
    /// A record, whole.
    Record(Record),
    /// A change to a record.
    Patch(Patch),
    /// Anti-entropy: the hash of each bucket of names.
    Buckets(Box<[u64; BUCKETS]>),
    /// Anti-entropy: what is in some of the buckets.
    Held {
        /// Which buckets this is about, as bits: bucket 0 is the lowest.
        buckets: u64,
        /// All records in them, by name and content hash, at most [`MAX_ENTRIES`].
        entries: Vec<(PeerName, u64)>,
    },
    /// The records of these are wanted, at most [`MAX_ENTRIES`].
    Want(Vec<PeerName>),
    /// For all who take part in a channel.
    Broadcast {
        /// The channel.
        channel: ChannelName,
        /// How many more times it may be passed on.
        hops: u8,
        /// The payload, at most [`MAX_PAYLOAD`].
        octets: Vec<u8>,
    },
    /// For one who takes part in a channel.
    Unicast {
        /// The channel.
        channel: ChannelName,
        /// Who said it.
        from: PeerName,
        /// Who is to hear it.
        to: PeerName,
        /// How many more times it may be passed on.
        hops: u8,
        /// The payload, at most [`MAX_PAYLOAD`].
        octets: Vec<u8>,
    },
    /// Where other peers listen, at most 16.
    Addresses(Vec<SocketAddr>),
    /// The sender closes the connection. [`super::close_reason`] says why.
    Close {
        /// The reason's number.
        code: u8,
        /// What there is to say about it, at most [`MAX_TEXT`] octets.
        text: String,
        /// The peer it is about.
        name: Option<(PeerName, PeerUid)>,
    },
    /// A message of a newer version: to be skipped.
    Unknown(u8),
}

impl Message {
    fn parse(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Cursor::new(body);
        let message = Self::read(kind, &mut fields)?;
        fields.end().map(|()| message)
    }

    fn read(kind: u8, fields: &mut Cursor<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            WELCOME => Self::Welcome { known: fields.count()?, observed: fields.address()? },
            KEEPALIVE => Self::Keepalive {
                root: fields.u64()?,
                digests: fields.list(MAX_DIGESTS, 2 + 8, |f| Ok((f.channel()?, f.u64()?)))?,
            },
            RECORD => Self::Record(Record::parse(fields.take_rest())?),
            PATCH => Self::Patch(Patch::read(fields)?),
            HASHES => Self::Buckets(Box::new(read_hashes(fields)?)),
            HELD => Self::Held {
                buckets: fields.u64()?,
                entries: fields.list(MAX_ENTRIES, 6 + 8, |f| Ok((f.name()?, f.u64()?)))?,
            },
            WANT => Self::Want(fields.list(MAX_ENTRIES, 6, Cursor::name)?),
            BROADCAST => Self::Broadcast {
                channel: fields.channel()?,
                hops: fields.u8()?,
                octets: read_payload(fields)?,
            },
            UNICAST => Self::Unicast {
                channel: fields.channel()?,
                from: fields.name()?,
                to: fields.name()?,
                hops: fields.u8()?,
                octets: read_payload(fields)?,
            },
            ADDRESSES => {
                Self::Addresses(fields.list(MAX_ADDRESSES, ADDRESS_LEAST, Cursor::address)?)
            }
            CLOSE => Self::Close {
                code: fields.u8()?,
                text: read_text(fields)?,
                name: read_subject(fields)?,
            },
            newer => {
                fields.take_rest();
                Self::Unknown(newer)
            }
        })
    }
}

/// The messages of a batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    left: Cursor<'a>,
    too_long: bool,
}

/// The messages of a batch. Ends after the first error.
pub const fn messages(batch: &[u8]) -> Messages<'_> {
    Messages { left: Cursor::new(batch), too_long: batch.len() > MAX_BATCH }
}

impl Messages<'_> {
    fn take(&mut self) -> Result<Message, Malformed> {
        if self.too_long {
            return Err(Malformed("a batch is longer than 65000 octets"));
        }
        let kind = self.left.u8()?;
        let len = usize::from(self.left.u16()?);
        Message::parse(kind, self.left.take(len)?)
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let message = self.take();
        if message.is_err() {
            self.left = Cursor::new(&[]);
        }
        Some(message)
    }
}

fn read_hashes(fields: &mut Cursor<'_>) -> Result<[u64; BUCKETS], Malformed> {
    let mut hashes = [0; BUCKETS];
    for hash in &mut hashes {
        *hash = fields.u64()?;
    }
    Ok(hashes)
}

fn read_payload(fields: &mut Cursor<'_>) -> Result<Vec<u8>, Malformed> {
    let len = usize::from(fields.u16()?);
    if len > MAX_PAYLOAD {
        return Err(Malformed("a payload is longer than 60000 octets"));
    }
    fields.take(len).map(<[u8]>::to_vec)
}

fn read_text(fields: &mut Cursor<'_>) -> Result<String, Malformed> {
    let len = usize::from(fields.u16()?);
    if len > MAX_TEXT {
        return Err(Malformed("a text is longer than 256 octets"));
    }
    let text = std::str::from_utf8(fields.take(len)?);
    text.map(str::to_owned).map_err(|_| Malformed("a text is not UTF-8"))
}

fn read_subject(fields: &mut Cursor<'_>) -> Result<Option<(PeerName, PeerUid)>, Malformed> {
    match fields.u8()? {
        0 => Ok(None),
        1 => Ok(Some((fields.name()?, fields.uid()?))),
        _ => Err(Malformed("a choice is neither 0 nor 1")),
    }
}

#[cfg(test)]
mod tests;
