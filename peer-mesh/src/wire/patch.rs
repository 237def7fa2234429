//! A patch: how a record that changed a little crosses the mesh.
//!
//! ```text
//! name 6 | base u64 | hash u64 | flags u16 | incarnation varint | version varint | len varint | edits, len octets
//!
//! edit    copy varint | len varint | inserted, len octets | skip varint
//! ```
//! `base` and `hash` are the content hashes of the record it applies to and of the result. The result
//! has the incarnation and uid of the base, which say for those who lack it how late the result is, and
//! the flags and version given here. Its TLVs are made from those of the base, edit by edit: `copy` octets are taken over, the inserted ones come, `skip`
//! octets are left out. What is left after the last edit is taken over.

use std::cmp::Ordering;

use super::cursor::{Cursor, check_count, put_varint, varint_len};
use super::record::{Flags, HEADER, Stamp};
use super::tlv::TLV_HEADER;
use super::{MAX_RECORD, Malformed, Record, put_tlv};
use crate::PeerName;

/// The difference between two records of one start of a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patch {
    name: PeerName,
    base: u64,
    hash: u64,
    flags: Flags,
    incarnation: u64,
    version: u64,
    edits: Vec<u8>,
}

/// Why a patch cannot be applied. Nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// It applies to another record: ask for the whole one.
    #[error("the patch applies to another version of the record")]
    OtherBase,
    /// What comes out is not what was promised.
    #[error("a patch gives no record: {0}")]
    Malformed(#[from] Malformed),
}

impl Patch {
    /// What makes `new` of `old`. `None` if they are not of one start of one peer, or if `new` itself
    /// is not longer.
    pub fn between(old: &Record, new: &Record) -> Option<Self> {
        let (from, to) = (old.stamp(), new.stamp());
        if (old.name(), from.incarnation, from.uid) != (new.name(), to.incarnation, to.uid) {
            return None;
        }
        let patch = Self {
            name: new.name(),
            base: from.hash,
            hash: to.hash,
            flags: new.flags(),
            incarnation: to.incarnation,
            version: to.version,
            edits: edits(old, new),
        };
        (patch.emitted_len() < new.octets().len()).then_some(patch)
    }

    /// The record that `old` becomes.
    pub fn apply(&self, old: &Record) -> Result<Record, PatchError> {
        let from = old.stamp();
        let base = (self.name, self.incarnation, self.base);
        if (old.name(), from.incarnation, from.hash) != base {
            return Err(PatchError::OtherBase);
        }
        let mut out = Vec::with_capacity(HEADER + old.body().len() + self.edits.len());
        out.extend(self.flags.0.to_be_bytes());
        out.extend(self.name.octets());
        out.extend(from.incarnation.to_be_bytes());
        out.extend(from.uid.to_u64().to_be_bytes());
        out.extend(self.version.to_be_bytes());
        let mut body = Cursor::new(old.body());
        for edit in Edits(Cursor::new(&self.edits)) {
            let edit = edit?;
            out.extend_from_slice(body.take(edit.copy)?);
            out.extend_from_slice(edit.insert);
            body.take(edit.skip)?;
        }
        out.extend_from_slice(body.take_rest());
        let new = Record::parse(&out)?;
        if new.stamp().hash != self.hash {
            return Err(Malformed("the result has another hash").into());
        }
        Ok(new)
    }

    /// Whose record it changes.
    pub const fn name(&self) -> PeerName {
        self.name
    }

    /// The content hash of the record it applies to.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The content hash of what comes out.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether a record of this stamp is later than what comes out.
    pub fn is_older_than(&self, stamp: Stamp) -> bool {
        (self.incarnation, self.version) < (stamp.incarnation, stamp.version)
    }

    /// Reads a patch; TLVs of a newer version may follow it.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Cursor::new(octets);
        let patch = Self::read(&mut fields)?;
        fields.end().map(|()| patch)
    }

    pub(super) fn read(fields: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let name = fields.name()?;
        let (base, hash) = (fields.u64()?, fields.u64()?);
        let flags = Flags(fields.u16()?);
        let incarnation = check_count(fields.varint()?)?;
        let version = check_count(fields.varint()?)?;
        let edits = fields.counted()?;
        if edits.len() > MAX_RECORD {
            return Err(Malformed("a patch is longer than a record"));
        }
        Edits(Cursor::new(edits)).try_for_each(|edit| edit.map(drop))?;
        let edits = edits.to_vec();
        Ok(Self { name, base, hash, flags, incarnation, version, edits })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.name.octets());
        out.extend(self.base.to_be_bytes());
        out.extend(self.hash.to_be_bytes());
        out.extend(self.flags.0.to_be_bytes());
        put_varint(out, self.incarnation);
        put_varint(out, self.version);
        put_varint(out, self.edits.len() as u64);
        out.extend_from_slice(&self.edits);
    }

    /// Octets that `emit` appends.
    pub fn emitted_len(&self) -> usize {
        let fixed = PeerName::LEN + 8 + 8 + 2;
        let counts = varint_len(self.incarnation) + varint_len(self.version);
        fixed + counts + varint_len(self.edits.len() as u64) + self.edits.len()
    }
}

/// One step from the old TLVs to the new ones.
struct Edit<'a> {
    copy: usize,
    insert: &'a [u8],
    skip: usize,
}

struct Edits<'a>(Cursor<'a>);

impl<'a> Edits<'a> {
    fn take(&mut self) -> Result<Edit<'a>, Malformed> {
        let Self(fields) = self;
        let edit =
            Edit { copy: fields.length()?, insert: fields.counted()?, skip: fields.length()? };
        // Nobody who knows the format writes it, and it would only cost time.
        if edit.insert.is_empty() && edit.skip == 0 {
            return Err(Malformed("an edit changes nothing"));
        }
        Ok(edit)
    }
}

impl<'a> Iterator for Edits<'a> {
    type Item = Result<Edit<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.take()).inspect(|edit| {
            if edit.is_err() {
                self.0 = Cursor::new(&[]);
            }
        })
    }
}

/// The edits from one record to another. Right for any two lists of TLVs, short if both are sorted.
fn edits(old: &Record, new: &Record) -> Vec<u8> {
    let (mut old, mut new) = (old.tlvs().peekable(), new.tlvs().peekable());
    let mut pending = Pending::default();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return pending.finish(),
        };
        if order.is_le() {
            let len = old.next().map_or(0, |(_, value)| TLV_HEADER + value.len());
            pending.pass(len, order.is_eq());
        }
        if order.is_ge()
            && let Some((kind, value)) = new.next()
            && order.is_gt()
        {
            put_tlv(&mut pending.insert, kind, value);
        }
    }
}

/// An edit that is being made, and those before it.
#[derive(Default)]
struct Pending {
    copy: usize,
    insert: Vec<u8>,
    skip: usize,
    out: Vec<u8>,
}

impl Pending {
    /// Takes over a TLV of the old record, or leaves it out.
    fn pass(&mut self, len: usize, keep: bool) {
        if !keep {
            self.skip += len;
            return;
        }
        self.flush();
        self.copy += len;
    }

    fn flush(&mut self) {
        if self.insert.is_empty() && self.skip == 0 {
            return;
        }
        put_varint(&mut self.out, self.copy as u64);
        put_varint(&mut self.out, self.insert.len() as u64);
        self.out.append(&mut self.insert);
        put_varint(&mut self.out, self.skip as u64);
        (self.copy, self.skip) = (0, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }
}

#[cfg(test)]
mod tests;
