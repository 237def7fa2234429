//! What is durable of an allocator, and how what it says waits for that.
//!
//! ```text
//! s             this node: epoch, ring and flags
//! p             what it has promised and accepted of the first split
//! r name epoch  an owner's record
//! x name epoch  an owner was removed
//! l offset      a lease
//! n name        what a peer is called by people
//! ```
//! Values are MessagePack with named fields, so that a later version can add some.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use peer_mesh::PeerName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::io::{Edit, Output};
use super::{Allocator, Lease};
use crate::ipam::paxos::Acceptor;
use crate::ipam::ring::News;
use crate::ipam::{Epoch, Offset, Owner, Range, Record, Ring, RingId};

/// What a node has kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its epoch; without it, nothing was kept.
    pub epoch: Option<Epoch>,
    /// The ring.
    pub ring: Option<Ring>,
    /// All who were up knew of it.
    pub introduced: bool,
    /// Others knew a newer state of it.
    pub rolled_back: bool,
    /// The ring that its leases began in.
    pub home: Option<RingId>,
    /// What it has promised.
    pub acceptor: Acceptor,
    /// What it has leased.
    pub leases: BTreeMap<Offset, Lease>,
    /// What peers are called by people.
    pub nicknames: BTreeMap<PeerName, String>,
}

/// Why what was kept cannot be used. It is as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefusedState {
    /// It is of another node.
    #[error("it is of the node {0}")]
    OtherName(PeerName),
    /// It is of another range, and there are leases.
    #[error("it is of the range {found} and has {leases} leases")]
    OtherRange {
        /// Which.
        found: Range,
        /// How many.
        leases: usize,
    },
    /// It makes no sense.
    #[error("it cannot be read: {0}")]
    Malformed(String),
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct State {
    name: PeerName,
    epoch: Epoch,
    range: Range,
    ring: Option<(RingId, u32)>,
    introduced: bool,
    rolled_back: bool,
    #[serde(default)]
    home: Option<RingId>,
}

impl Kept {
    /// What was kept by a node of this name that divides this range. Of another range, and without leases: nothing.
    pub fn read(
        edits: &BTreeMap<Vec<u8>, Vec<u8>>,
        name: PeerName,
        range: Range,
    ) -> Result<Self, RefusedState> {
        let Some(state) = edits.get(b"s".as_slice()) else {
            return if edits.is_empty() {
                Ok(Self::default())
            } else {
                Err(RefusedState::Malformed("it does not say whose it is".to_owned()))
            };
        };
        let state: State = read(state)?;
        if state.name != name {
            return Err(RefusedState::OtherName(state.name));
        }
        let mut kept = Self {
            epoch: Some(state.epoch),
            introduced: state.introduced,
            rolled_back: state.rolled_back,
            home: state.home,
            ..Self::default()
        };
        let mut ring = state.ring.map(|(id, horizon)| Ring {
            id,
            range: state.range,
            horizon,
            removed: BTreeSet::new(),
            records: BTreeMap::new(),
        });
        for (key, value) in edits {
            match (key.as_slice(), &mut ring) {
                ([b's'], _) => {}
                ([b'p'], _) => kept.acceptor = read(value)?,
                ([b'l', at @ ..], _) => {
                    let at = at.try_into().map_err(|_| malformed("a lease's key"))?;
                    kept.leases.insert(Offset::from_be_bytes(at), read(value)?);
                }
                ([b'n', name @ ..], _) => {
                    kept.nicknames.insert(read_name(name)?, read(value)?);
                }
                ([b'r', owner @ ..], Some(ring)) => {
                    ring.records.insert(read_owner(owner)?, read::<Record>(value)?);
                }
                ([b'x', owner @ ..], Some(ring)) => {
                    ring.removed.insert(read_owner(owner)?);
                }
                // Of a later version.
                _ => {}
            }
        }
        kept.ring = ring;
        kept.check(state.range)?;
        match state.range == range {
            true => Ok(kept),
            false if kept.leases.is_empty() => Ok(Self::default()),
            false => {
                Err(RefusedState::OtherRange { found: state.range, leases: kept.leases.len() })
            }
        }
    }
}

impl Kept {
    fn check(&self, range: Range) -> Result<(), RefusedState> {
        let end = range.span().end();
        let is_sound = |record: &Record| record.is_sound(range.span());
        let records = self.ring.iter().flat_map(Ring::owners);
        if !records.map(|(_, record)| record).all(is_sound)
            || self.leases.keys().any(|at| u64::from(*at) >= end)
        {
            return Err(malformed("a part of it is outside of its range"));
        }
        Ok(())
    }

    /// Whose it is, how many addresses that node owns by it, and how many it has leased; `None`: nothing was kept.
    pub fn whose(
        edits: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Option<(PeerName, u64, usize)>, RefusedState> {
        let Some(state) = edits.get(b"s".as_slice()) else { return Ok(None) };
        let state: State = read(state)?;
        let kept = Self::read(edits, state.name, state.range)?;
        let own = Owner { name: state.name, epoch: state.epoch };
        let owned = kept.ring.as_ref().and_then(|ring| ring.record(own)).map_or(0, Record::owned);
        Ok(Some((state.name, owned, kept.leases.len())))
    }
}

fn read<T: DeserializeOwned>(octets: &[u8]) -> Result<T, RefusedState> {
    rmp_serde::from_slice(octets).map_err(|error| RefusedState::Malformed(error.to_string()))
}

fn malformed(what: &str) -> RefusedState {
    RefusedState::Malformed(what.to_owned())
}

fn read_name(octets: &[u8]) -> Result<PeerName, RefusedState> {
    let name = octets.try_into().ok().and_then(PeerName::new);
    name.ok_or_else(|| malformed("a nickname's key"))
}

fn read_owner(octets: &[u8]) -> Result<Owner, RefusedState> {
    let parts = octets.split_first_chunk::<6>();
    let parts =
        parts.and_then(|(name, epoch)| Some((PeerName::new(*name)?, epoch.try_into().ok()?)));
    let (name, epoch) = parts.ok_or_else(|| malformed("an owner's key"))?;
    Ok(Owner { name, epoch: Epoch(u64::from_be_bytes(epoch)) })
}

fn owner_key(kind: u8, owner: Owner) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(owner.name.octets());
    key.extend(owner.epoch.0.to_be_bytes());
    key
}

/// What has changed since it was last said to be saved, and what waits for that.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) state: bool,
    acceptor: Option<Acceptor>,
    owners: BTreeSet<Owner>,
    leases: BTreeSet<Offset>,
    nicknames: BTreeSet<PeerName>,
    /// Removed owners that are on disk.
    removed: BTreeSet<Owner>,
    seq: u64,
    gate: VecDeque<(u64, Vec<Output>)>,
    /// Why saving fails.
    pub(super) failing: Option<String>,
}

impl Store {
    /// What is on disk already.
    pub(super) fn begin(&mut self, ring: Option<&Ring>, fresh: bool) {
        self.removed = ring.map(|ring| ring.removed.clone()).unwrap_or_default();
        self.state = fresh;
    }

    pub(super) fn note(&mut self, news: &News) {
        self.owners.extend(news.records.iter().chain(&news.removed));
        self.state |= news.horizon;
    }

    /// All of a ring: it was made, or is dropped.
    pub(super) fn whole(&mut self, ring: &Ring) {
        self.state = true;
        self.owners.extend(ring.owners().map(|(owner, _)| owner).chain(ring.removed()));
    }

    pub(super) fn lease(&mut self, at: Offset) {
        self.leases.insert(at);
    }

    pub(super) fn nickname(&mut self, name: PeerName) {
        self.nicknames.insert(name);
    }

    /// What was promised is to be kept.
    pub(super) fn promised(&mut self, acceptor: &Acceptor) {
        self.acceptor = Some(acceptor.clone());
    }

    pub(super) fn is_dirty(&self) -> bool {
        let marked = !self.owners.is_empty() || !self.leases.is_empty();
        self.state || self.acceptor.is_some() || marked || !self.nicknames.is_empty()
    }

    /// Says what is to be saved; `out` waits for it.
    pub(super) fn save(&mut self, edits: Vec<Edit>, out: Vec<Output>) -> Output {
        self.seq += 1;
        self.gate.push_back((self.seq, out));
        Output::Save(self.seq, edits)
    }

    /// What follows from what is not yet saved waits, too.
    pub(super) fn hold(&mut self, out: Vec<Output>, free: &mut Vec<Output>) {
        match self.gate.back_mut() {
            // Questions and answers are said again; as long as nothing can be saved they would only pile up.
            Some((_, waiting)) if self.failing.is_some() => {
                waiting.extend(out.into_iter().filter(|it| !matches!(it, Output::Send { .. })));
            }
            Some((_, waiting)) => waiting.extend(out),
            None => free.extend(out),
        }
    }

    pub(super) fn release(&mut self, seq: u64) -> Vec<Output> {
        let mut all = Vec::new();
        while let Some((_, out)) = self.gate.pop_front_if(|(it, _)| *it <= seq) {
            all.extend(out);
        }
        all
    }

    /// Takes back an answer that waits, or is about to (`out`). Whether it did.
    pub(super) fn retract(&mut self, token: u64, out: &mut Vec<Output>) -> Option<Output> {
        let is = |output: &Output| matches!(output, Output::Reply(it, _) if *it == token);
        self.gate.iter_mut().map(|(_, out)| out).chain([out]).find_map(|out| {
            let at = out.iter().position(is)?;
            Some(out.remove(at))
        })
    }
}

impl Allocator {
    /// All that has changed, as it is now.
    pub(super) fn edits(&mut self) -> Vec<Edit> {
        let mut edits = Vec::new();
        if std::mem::take(&mut self.store.state) {
            let state = State {
                name: self.own.name,
                epoch: self.own.epoch,
                range: self.config.range,
                ring: self.ring.as_ref().map(|ring| (ring.id, ring.horizon)),
                introduced: self.introduced,
                rolled_back: self.rolled_back,
                home: self.home,
            };
            edits.push(Edit { key: b"s".to_vec(), value: emit(&state) });
        }
        if let Some(acceptor) = self.store.acceptor.take() {
            edits.push(Edit { key: b"p".to_vec(), value: emit(&acceptor) });
        }
        // Those that a risen horizon has made superfluous.
        let removed = self.ring.as_ref().map(|ring| ring.removed.clone()).unwrap_or_default();
        self.store.owners.extend(self.store.removed.symmetric_difference(&removed).copied());
        self.store.removed = removed;
        for owner in std::mem::take(&mut self.store.owners) {
            let ring = self.ring.as_ref();
            let record = ring.and_then(|ring| ring.record(owner));
            edits.push(Edit { key: owner_key(b'r', owner), value: record.and_then(emit) });
            let removed = ring.is_some_and(|ring| ring.removed.contains(&owner));
            edits.push(Edit { key: owner_key(b'x', owner), value: removed.then(Vec::new) });
        }
        for at in std::mem::take(&mut self.store.leases) {
            let mut key = vec![b'l'];
            key.extend(at.to_be_bytes());
            edits.push(Edit { key, value: self.leases.get(at).and_then(emit) });
        }
        for name in std::mem::take(&mut self.store.nicknames) {
            let mut key = vec![b'n'];
            key.extend(name.octets());
            edits.push(Edit { key, value: self.nicknames.get(&name).and_then(emit) });
        }
        edits
    }
}

fn emit(value: &impl Serialize) -> Option<Vec<u8>> {
    // Writing to memory fails for no type of ours.
    rmp_serde::to_vec_named(value).ok()
}
