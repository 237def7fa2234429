//! What waits to be sent on a connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Mesh;
use super::conn::Stage;
use crate::wire::{MAX_BATCH, Message};
use crate::{CloseReason, ConnId, PeerName};

/// Octets given to the socket and not yet taken by it. More are not made: what has
/// to be said waits as a set of names, and a slow neighbour skips what is outdated.
const WINDOW: usize = 256 * 1024;
/// Octets of messages of either kind that cannot be skipped; beyond, they are dropped and counted.
const MAX_QUEUE: usize = 512 * 1024;
/// Changed records wait this long for others to go with them.
pub(super) const BATCH: Duration = Duration::from_millis(50);
/// And this long after the last batch: what one event brings about goes in a few batches, not in dozens.
const SPACING: Duration = Duration::from_millis(250);

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What keeps the mesh together, and goes first.
    queue: Queue,
    /// What others gossip. However much it is, links stay up and records travel.
    bulk: Queue,
    /// Names whose records are to be sent, and how.
    records: BTreeMap<PeerName, Form>,
    in_flight: usize,
    at: Option<Duration>,
    /// Before this no batch is sent for the sake of records alone.
    spaced: Duration,
}

/// Messages in a bounded queue.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    octets: usize,
}

impl Queue {
    /// `false`: there are too many.
    fn push(&mut self, message: Message) -> bool {
        let len = message.emitted_len();
        let room = self.octets + len <= MAX_QUEUE;
        if room {
            self.octets += len;
            self.messages.push_back(message);
        }
        room
    }

    /// Appends what fits. `false`: something is left.
    fn emit(&mut self, batch: &mut Vec<u8>) -> bool {
        while let Some(message) = self.messages.front() {
            let len = message.emitted_len();
            if batch.len() + len > MAX_BATCH {
                return false;
            }
            message.emit(batch);
            self.octets -= len;
            self.messages.pop_front();
        }
        true
    }
}

/// How a record is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// It is news: as a patch to the record of this hash, which the other end has.
    News(Option<u64>),
    /// Whole, as it was asked for, or the other end has none.
    Whole,
}

impl Outgoing {
    /// When what waits is to be sent.
    pub(super) fn due(&self) -> Option<Duration> {
        self.at
    }

    /// Octets were given to the socket.
    pub(super) fn handed_over(&mut self, octets: usize) {
        self.in_flight += octets;
    }

    /// Queues a message to go at once. `false`: there are too many.
    fn push(&mut self, message: Message, now: Duration) -> bool {
        self.at = Some(now);
        self.queue.push(message)
    }

    /// The same for what others gossip.
    fn push_bulk(&mut self, message: Message, now: Duration) -> bool {
        self.at = Some(now);
        self.bulk.push(message)
    }

    /// Has a record sent with the next batch. What is asked for does not wait as long as what is news. Of news that waits
    /// already the other end has what it had then, however often the record has changed since.
    pub(super) fn want(&mut self, name: PeerName, form: Form, now: Duration) {
        let wanted = self.records.entry(name).or_insert(form);
        let due = match form {
            Form::News(_) => (now + BATCH).max(self.spaced),
            Form::Whole => {
                *wanted = Form::Whole;
                now + BATCH
            }
        };
        self.at = Some(self.at.map_or(due, |at| at.min(due)));
    }

    /// The other end has it.
    pub(super) fn unwant(&mut self, name: PeerName) {
        self.records.remove(&name);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.messages.is_empty() && self.records.is_empty() && self.bulk.messages.is_empty()
    }

    /// Whether nothing given to the socket waits there.
    pub(super) fn is_flowing(&self) -> bool {
        self.in_flight < WINDOW
    }

    fn is_due(&self, now: Duration) -> bool {
        self.at.is_some_and(|at| at <= now)
    }
}

impl Mesh {
    /// The socket has taken this many octets of what `Output::Send` gave.
    pub fn handle_written(&mut self, id: ConnId, octets: usize, now: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let was_flowing = conn.out.is_flowing();
        conn.out.in_flight = conn.out.in_flight.saturating_sub(octets);
        if !was_flowing && !conn.out.is_empty() {
            conn.out.at = Some(now);
        }
        self.flush(now);
    }

    /// Sends a message at once. Not being able to is counted.
    pub(super) fn send_message(&mut self, id: ConnId, message: Message, now: Duration) -> bool {
        let sent = self.conns.get_mut(&id).is_some_and(|conn| conn.out.push(message, now));
        if !sent {
            self.stats.dropped += 1;
        }
        sent
    }

    /// Sends what others gossip, after what keeps the mesh together.
    pub(super) fn send_bulk(&mut self, id: ConnId, message: Message, now: Duration) -> bool {
        let sent = self.conns.get_mut(&id).is_some_and(|conn| conn.out.push_bulk(message, now));
        if !sent {
            self.stats.dropped += 1;
        }
        sent
    }

    /// Sends all batches that are due.
    pub(super) fn flush(&mut self, now: Duration) {
        let due: Vec<_> =
            self.conns.iter().filter(|(_, conn)| conn.out.is_due(now)).map(|(&id, _)| id).collect();
        for id in due {
            self.flush_conn(id, now);
        }
    }

    fn flush_conn(&mut self, id: ConnId, now: Duration) {
        while self.conns.get(&id).is_some_and(|conn| conn.out.is_flowing() && !conn.out.is_empty())
        {
            let batch = self.next_batch(id, now);
            if !batch.is_empty() && !self.send_batch(id, &batch) {
                break;
            }
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.out.at = None;
        if conn.stage == Stage::Parting && conn.out.is_empty() {
            self.close(id, &CloseReason::Full, now);
        }
    }

    /// Takes as much as fits into a batch from what waits: messages, then records, then what others gossip.
    fn next_batch(&mut self, id: ConnId, now: Duration) -> Vec<u8> {
        let mut batch = Vec::new();
        let Some(conn) = self.conns.get_mut(&id) else { return batch };
        if !conn.out.records.is_empty() {
            conn.out.spaced = now + SPACING;
        }
        if !conn.out.queue.emit(&mut batch) {
            return batch;
        }
        while let Some((&name, &form)) = conn.out.records.first_key_value() {
            if let Some(entry) = self.directory.get(name) {
                let patch = match form {
                    Form::News(base) => base.and_then(|base| entry.patch_to(base)),
                    Form::Whole => None,
                };
                let whole = || Message::Record(entry.record.clone());
                let message = patch.map_or_else(whole, Message::Patch);
                if batch.len() + message.emitted_len() > MAX_BATCH {
                    return batch;
                }
                message.emit(&mut batch);
            }
            conn.out.records.remove(&name);
        }
        conn.out.bulk.emit(&mut batch);
        batch
    }
}
