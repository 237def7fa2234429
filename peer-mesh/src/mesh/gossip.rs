//! How records travel.
//!
//! A record that is new and whose peer is up is passed on, once, along *eager* links: those to our neighbours on the ring of names,
//! and of the others an eighth that depends on the record, so that the load of different records falls on different links. That
//! is a connected graph with a small diameter for each record, and a peer gets a record about three times instead of once from every neighbour.
//! A record that somebody misses is found by the comparison of digests (`sync`).
//!
//! What waits for a neighbour is a set of names: a link that is slow sends the latest record of each and skips those between. A neighbour
//! that shows us a record first is not sent it. Records of peers that are not reached are kept to ourselves: a stranger's
//! inventions go no further than its neighbours.

use std::time::Duration;

use super::Mesh;
use super::outgoing::Form;
use crate::dice::mix;
use crate::directory::{Merged, Standing};
use crate::wire::{Message, Patch, PatchError, Record};
use crate::{ConnId, GoneReason, PeerName};

/// In meshes up to this size all links are eager.
const ALL_EAGER: usize = 32;
/// One of this many links that are not to neighbours on the ring is eager for a record.
const EAGER_ONE_OF: u64 = 8;

impl Mesh {
    /// Takes in a record that came on a connection.
    pub(super) fn learn(
        &mut self,
        record: Record,
        patch: Option<Patch>,
        id: ConnId,
        now: Duration,
    ) {
        let name = record.name();
        if name == self.own.name {
            return self.meet_record(&record, id, now);
        }
        let known_before = self.directory.get(name).is_some();
        match self.directory.merge(record, patch, now) {
            Merged::New => {
                self.stats.merged += 1;
                if let Some(entry) = self.directory.get_mut(name) {
                    entry.source = Some(id);
                }
                self.seen_at(id, name);
                self.learn_from_record(name);
                if self.directory.is_up(name) || known_before && self.has_left(name) {
                    self.pass_on(name, Some(id), now);
                }
            }
            Merged::Same => {
                self.stats.stale += 1;
                self.seen_at(id, name);
            }
            Merged::Older => {
                self.stats.stale += 1;
                self.correct(id, name, now);
            }
            Merged::Overflow => self.stats.overflow += 1,
        }
    }

    /// Takes in a change to a record; asks for the whole record if it is a change to another than ours.
    pub(super) fn learn_patch(&mut self, patch: Patch, id: ConnId, now: Duration) {
        let name = patch.name();
        let result = match self.directory.get(name) {
            Some(entry) if entry.record.stamp().hash == patch.hash() => {
                self.stats.stale += 1;
                return self.seen_at(id, name);
            }
            Some(entry) => patch.apply(&entry.record),
            None => Err(PatchError::OtherBase),
        };
        match result {
            Ok(record) => return self.learn(record, Some(patch), id, now),
            // Who sent it may be innocent: two records of one hash can be made.
            Err(PatchError::Malformed(_)) => self.stats.malformed += 1,
            Err(PatchError::OtherBase) => {
                let entry = self.directory.get(name).filter(|_| name != self.own.name);
                if entry.is_some_and(|entry| patch.is_older_than(entry.record.stamp())) {
                    self.stats.stale += 1;
                    return;
                }
            }
        }
        self.send_message(id, Message::Want(vec![name]), now);
    }

    fn has_left(&self, name: PeerName) -> bool {
        self.directory
            .get(name)
            .is_some_and(|entry| entry.standing == Standing::Gone(GoneReason::Left))
    }

    /// The far end of a connection has the record that we have.
    fn seen_at(&mut self, id: ConnId, name: PeerName) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.out.unwant(name);
        }
    }

    /// A neighbour believes something outdated.
    fn correct(&mut self, id: ConnId, name: PeerName, now: Duration) {
        if (self.directory.is_up(name) || self.has_left(name))
            && let Some(conn) = self.conns.get_mut(&id)
        {
            conn.out.want(name, Form::Whole, now);
        }
    }

    /// Where the peer says it listens goes into the book.
    fn learn_from_record(&mut self, name: PeerName) {
        let Some(entry) = self.directory.get(name).filter(|_| self.config.discovery) else {
            return;
        };
        for addr in entry.record.addresses() {
            self.unsaved |= self.book.learn(addr, Some(name), &mut self.dice);
        }
    }

    /// Passes the present record of a peer on to the neighbours whose turn it is.
    pub(super) fn pass_on(&mut self, name: PeerName, except: Option<ConnId>, now: Duration) {
        let Some(entry) = self.directory.get_mut(name) else { return };
        entry.passed_on = true;
        let news = Form::News(entry.base());
        for (&far, id) in &self.links {
            if Some(*id) != except
                && (self.links.len() <= ALL_EAGER && self.neighbours.mesh_size() <= ALL_EAGER
                    || self.is_eager(far, name))
                && let Some(conn) = self.conns.get_mut(id)
            {
                conn.out.want(name, news, now);
            }
        }
    }

    /// The same at both ends of a link, as long as they know the same names.
    fn is_eager(&self, far: PeerName, record: PeerName) -> bool {
        let link = self.own.name.to_u64() ^ far.to_u64();
        self.neighbours.is_beside(far)
            || mix(link ^ mix(record.to_u64())).is_multiple_of(EAGER_ONE_OF)
    }
}
