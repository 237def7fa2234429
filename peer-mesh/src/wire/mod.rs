//! The mesh on the wire: octets become values here, and nowhere else.
//!
//! ```text
//! frame      len u16 | ciphertext             sealed and opened in `secure`
//! batch      message*                         the plaintext of a frame, at most MAX_BATCH
//! message    type u8 | len u16 | body
//! record     fixed header | TLV*              the body of one kind of message
//! TLV        type u8 | len u16 | value
//! ```
//! Numbers are big-endian. Every decoder takes any octets, and gives a value that cannot be wrong or
//! says what is [`Malformed`]; it allocates no more than a small multiple of what came. What a newer
//! version adds is kept where it is somebody else's to read (records) and ignored where it is ours
//! (messages, the hello). `docs/WIRE.md` has the tables, and what may change without a new version.

mod channel;
mod close;
mod cursor;
mod hello;
mod message;
mod patch;
mod record;
#[cfg(test)]
pub(crate) mod strategies;
mod tlv;

pub use channel::ChannelName;
pub use close::{close_message, close_reason};
pub use hello::Hello;
pub use message::{
    BUCKETS, MAX_BATCH, MAX_ENTRIES, MAX_PAYLOAD, MAX_TEXT, Message, Messages, messages,
};
pub use patch::{Patch, PatchError};
pub use record::{
    Announcement, Flags, Link, MAX_LABELS, MAX_LINKS, MAX_RECORD, MAX_UNREACHED, Record, Stamp,
    TooLong, content_hash,
};
pub use tlv::{Malformed, Tlvs, put_tlv};

/// Addresses a peer tells of, in a record, a hello or a message, at most.
pub const MAX_ADDRESSES: usize = 16;
/// Octets of a nickname, and of a label's key and value, at most.
pub const MAX_NAME: usize = 64;

/// Incarnations and versions count up to this. Nobody starts or changes so often, and who is told so high a number
/// by mistake or malice still has room to go above it.
pub const MAX_COUNT: u64 = 1 << 48;

/// The count after this one; the last one again at the end.
pub(crate) fn next_count(count: u64) -> u64 {
    count.saturating_add(1).min(MAX_COUNT)
}

/// As much of the beginning of a text as fits this many octets.
pub fn clip(text: &str, octets: usize) -> &str {
    text.split_at_checked(text.floor_char_boundary(octets)).map_or(text, |(head, _)| head)
}
