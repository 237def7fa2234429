//! One connection: from dialling or accepting to its end.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::{DEAD_AFTER, HANDSHAKE, Mesh};
use crate::secure::Secure;
use crate::wire::{Hello, MAX_BATCH, Message, close_message};
use crate::{CloseReason, ConnId, Event, Output, PeerName};

/// Octets given to the socket and not yet taken by it. More are not made: what has
/// to be said waits as a set of names, and a slow neighbour skips what is outdated.
const WINDOW: usize = 256 * 1024;
/// Octets of messages of either kind that cannot be skipped; beyond, they are dropped and counted.
const MAX_QUEUE: usize = 512 * 1024;
/// Changed records wait this long for others to go with them.
pub(super) const BATCH: Duration = Duration::from_millis(50);
/// And this long after the last batch: what one event brings about goes in a few batches, not in dozens.
const SPACING: Duration = Duration::from_millis(250);
/// A connection that is refused for want of room gets its snapshot in this time.
const PARTING: Duration = Duration::from_secs(5);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The TCP connection is being made.
    Dialling,
    /// Octets of the handshake go to and fro.
    Handshake,
    /// A live peer may have the newcomer's name: waiting whether it says something.
    Contested,
    /// We said welcome, the other end has not yet.
    Welcomed,
    /// Both said welcome.
    Linked,
    /// Refused with a snapshot that is being sent.
    Parting,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) outbound: bool,
    pub(super) stage: Stage,
    /// When the stage began, or for the handshake when the connection did.
    pub(super) opened: Duration,
    /// When octets last came.
    pub(super) heard: Duration,
    pub(super) secure: Option<Secure>,
    pub(super) hello: Option<Hello>,
    /// What the other end knows of our name, from its welcome.
    pub(super) welcomed: bool,
    /// Whether the other end has told addresses of others.
    pub(super) told_addresses: bool,
    pub(super) out: Outgoing,
    /// Keepalives in a row whose root is none of ours.
    pub(super) mismatches: u32,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What keeps the mesh together, and goes first.
    queue: Queue,
    /// What others gossip. However much it is, links stay up and records travel.
    bulk: Queue,
    /// Names whose records are to be sent: whole, or as a patch if there is one.
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
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Form {
    Patch,
    Whole,
}

impl Conn {
    pub(super) fn accepted(remote: SocketAddr, now: Duration) -> Self {
        Self::new(remote, false, Stage::Handshake, now)
    }

    pub(super) fn dialled(remote: SocketAddr, now: Duration) -> Self {
        Self::new(remote, true, Stage::Dialling, now)
    }

    fn new(remote: SocketAddr, outbound: bool, stage: Stage, now: Duration) -> Self {
        Self {
            remote,
            local: None,
            outbound,
            stage,
            opened: now,
            heard: now,
            secure: None,
            hello: None,
            welcomed: false,
            told_addresses: false,
            out: Outgoing::default(),
            mismatches: 0,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.stage == Stage::Linked
    }

    pub(super) fn peer(&self) -> Option<PeerName> {
        self.hello.as_ref().map(|hello| hello.name)
    }

    /// When something must be done about it by the clock alone.
    pub(super) fn deadline(&self) -> Duration {
        let overdue = self.overdue_at();
        self.out.at.map_or(overdue, |at| at.min(overdue))
    }

    /// When it has lasted too long.
    pub(super) fn overdue_at(&self) -> Duration {
        match self.stage {
            Stage::Linked => self.heard + DEAD_AFTER,
            Stage::Parting => self.opened + PARTING,
            Stage::Contested => self.opened + super::admission::CONTEST,
            Stage::Dialling | Stage::Handshake | Stage::Welcomed => self.opened + HANDSHAKE,
        }
    }
}

impl Outgoing {
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

    /// Has a record sent with the next batch. What is asked for does not wait as long as what is news.
    pub(super) fn want(&mut self, name: PeerName, form: Form, now: Duration) {
        let wanted = self.records.entry(name).or_insert(form);
        *wanted = form.max(*wanted);
        let due = match form {
            Form::Patch => (now + BATCH).max(self.spaced),
            Form::Whole => now + BATCH,
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
                let patch = entry.patch.as_ref().filter(|_| form == Form::Patch);
                let message = patch.map_or_else(
                    || Message::Record(entry.record.clone()),
                    |p| Message::Patch((**p).clone()),
                );
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

    pub(super) fn send_batch(&mut self, id: ConnId, batch: &[u8]) -> bool {
        let mut octets = Vec::with_capacity(batch.len() + 32);
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if !conn.secure.as_mut().is_some_and(|secure| secure.seal(batch, &mut octets)) {
            return false;
        }
        self.stats.sent_batches += 1;
        self.transmit(id, octets);
        true
    }

    /// Sends what the handshake has to say.
    pub(super) fn transmit_handshake(&mut self, id: ConnId) {
        let secure = self.conns.get_mut(&id).and_then(|conn| conn.secure.as_mut());
        let octets = secure.map(Secure::take_transmit).unwrap_or_default();
        if !octets.is_empty() {
            self.transmit(id, octets);
        }
    }

    fn transmit(&mut self, id: ConnId, octets: Vec<u8>) {
        self.stats.sent_octets += octets.len() as u64;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.out.in_flight += octets.len();
        }
        self.outputs.push_back(Output::Send { conn: id, octets });
    }

    /// The last words of one who leaves go out whatever waits before them.
    pub(super) fn tell_departure(&mut self, id: ConnId, now: Duration) {
        let Some(own) = self.directory.get(self.own.name) else { return };
        let mut batch = Vec::new();
        Message::Record(own.record.clone()).emit(&mut batch);
        self.transmit_handshake(id);
        self.send_batch(id, &batch);
        self.close(id, &CloseReason::Leaving, now);
    }

    /// Closes a connection and, if it can be, tells the other end why.
    pub(super) fn close(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        let mut batch = Vec::new();
        close_message(reason).emit(&mut batch);
        self.transmit_handshake(id);
        self.send_batch(id, &batch);
        if self.conns.contains_key(&id) {
            self.outputs.push_back(Output::Close { conn: id });
        }
        self.ended(id, reason, now);
    }

    /// The other end closes and says why.
    pub(super) fn handle_close(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        let peer = self.conns.get(&id).and_then(Conn::peer);
        if self.conns.contains_key(&id) {
            self.outputs.push_back(Output::Close { conn: id });
        }
        self.ended(id, reason, now);
        match reason {
            CloseReason::Full | CloseReason::Surplus => {
                if let Some(peer) = peer {
                    self.neighbours.pass_over(peer, now);
                }
            }
            CloseReason::DuplicateName { name, uid }
                if *name == self.own.name && *uid != self.own.uid =>
            {
                self.name_refused(id, *uid, now);
            }
            CloseReason::Lost(_)
            | CloseReason::Unreachable(_)
            | CloseReason::OtherVersion { .. }
            | CloseReason::NotWeft
            | CloseReason::WrongPassword
            | CloseReason::Oneself
            | CloseReason::DuplicateName { .. }
            | CloseReason::HandshakeTimeout(_)
            | CloseReason::Silent(_)
            | CloseReason::Malformed(_)
            | CloseReason::Doubled
            | CloseReason::Leaving
            | CloseReason::Forgotten
            | CloseReason::Other(_) => {}
        }
    }

    /// Takes a connection out of everything it was part of.
    pub(super) fn ended(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        let Some(conn) = self.conns.remove(&id) else { return };
        if matches!(reason, CloseReason::Malformed(_)) {
            self.stats.malformed += 1;
        }
        if conn.outbound {
            self.book.ended(conn.remote, reason, now, &mut self.dice);
        }
        self.sync.ended(id);
        self.neighbours.review_soon(now);
        match conn.peer() {
            Some(name) if self.links.get(&name) == Some(&id) => {
                self.links.remove(&name);
                self.channels.link_down(name);
                self.unpublish(name, now);
                self.event(Event::LinkDown { name, reason: reason.clone() });
            }
            Some(_) | None => {
                self.event(Event::Refused {
                    addr: conn.remote,
                    outbound: conn.outbound,
                    reason: reason.clone(),
                });
            }
        }
    }

    /// Ends what has lasted too long.
    pub(super) fn end_overdue(&mut self, now: Duration) {
        let overdue: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.overdue_at() <= now)
            .map(|(&id, conn)| (id, conn.stage))
            .collect();
        for (id, stage) in overdue {
            match stage {
                Stage::Linked => self.close(id, &CloseReason::Silent(DEAD_AFTER), now),
                Stage::Parting => self.close(id, &CloseReason::Full, now),
                Stage::Contested => self.contest_over(id, now),
                Stage::Dialling | Stage::Handshake | Stage::Welcomed => {
                    self.close(id, &CloseReason::HandshakeTimeout(HANDSHAKE), now);
                }
            }
        }
    }
}
